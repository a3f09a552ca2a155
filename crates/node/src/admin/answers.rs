//! Answers to writes, kept for those who ask again because they never heard.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use forebay_quantity::CommandId;
use hyper::body::Bytes;
use sha2::{Digest, Sha256};

/// Answers kept: hours of an operator's work. After them, and after a restart, the core's own memory of instructions
/// [I11] takes over, and the answer is made anew from the state.
const ANSWERS_MAX: usize = 1_024;

/// What a request asks for, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked([u8; 32]);

impl Asked {
    pub(super) fn new(method: &str, path: &str, body: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        for part in [method.as_bytes(), b" ", path.as_bytes(), b"\n", body] {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }
}

/// The last answers to writes that took effect.
#[derive(Debug, Default)]
pub(super) struct Answers(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_key: HashMap<CommandId, (Asked, Bytes)>,
    in_order: VecDeque<CommandId>,
}

/// What is known of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    Nothing,
    Answer(Bytes),
    OtherRequest,
}

impl Answers {
    pub(super) fn find(&self, key: CommandId, asked: Asked) -> Known {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.by_key.get(&key) {
            None => Known::Nothing,
            Some((first, answer)) if *first == asked => Known::Answer(answer.clone()),
            Some(_) => Known::OtherRequest,
        }
    }

    pub(super) fn keep(&self, key: CommandId, asked: Asked, answer: Bytes) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.by_key.insert(key, (asked, answer)).is_none() {
            kept.in_order.push_back(key);
        }
        if kept.in_order.len() > ANSWERS_MAX
            && let Some(oldest) = kept.in_order.pop_front()
        {
            kept.by_key.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_its_request_alone_and_the_oldest_makes_room() {
        let answers = Answers::default();
        let asked = Asked::new("POST", "/v1/peers", b"{}");
        let key = |number: usize| CommandId((number as u128).to_be_bytes());
        for number in 0..=ANSWERS_MAX {
            answers.keep(key(number), asked, Bytes::from(number.to_string()));
        }
        assert_eq!(answers.find(key(0), asked), Known::Nothing);
        assert_eq!(answers.find(key(1), asked), Known::Answer(Bytes::from("1")));
        let other = Asked::new("POST", "/v1/peers", b"{ }");
        assert_eq!(answers.find(key(1), other), Known::OtherRequest);
    }
}
