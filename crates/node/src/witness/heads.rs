//! What a witness remembers: the highest head of each pool that told it one, in a slot of constant size [I14].

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use borsh::BorshDeserialize;
use forebay_chain_evm::FastVerifier;
use forebay_channel::{Address, PeerMessage, SignedHead, kept};

use crate::slots::Slots;

/// The file's name in a data directory.
pub(crate) const FILE: &str = "heads";

/// The heads that a process remembers.
pub(crate) struct Heads {
    slots: Slots,
    known: BTreeMap<Address, (usize, SignedHead)>,
}

impl Heads {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// When it cannot be read or written, or another process has it.
    pub(crate) fn open(path: &Path, pools_max: usize) -> io::Result<Self> {
        let (slots, records) = Slots::open(path, pools_max)?;
        let mut known = BTreeMap::new();
        for (place, record) in records {
            let head = SignedHead::try_from_slice(&record)
                .ok()
                .filter(|head| head.is_genuine(&FastVerifier))
                .ok_or_else(|| {
                    io::Error::other(format!("slot {place} of {} is damaged", path.display()))
                })?;
            known.insert(head.head.pool, (place, head));
        }
        Ok(Self { slots, known })
    }

    /// Answers a pool's question or word; `None` for any other message. What is answered is durable.
    pub(crate) fn answer(&mut self, message: &PeerMessage) -> Option<Result<PeerMessage, String>> {
        let (pool, told) = match message {
            PeerMessage::HeadAsked { pool } => (*pool, Ok(())),
            PeerMessage::HeadTold(told) => (told.head.pool, self.take(told)),
            _ => return None,
        };
        Some(told.map(|()| PeerMessage::HeadKnown {
            pool,
            known: self.known.get(&pool).map(|(_, head)| *head),
        }))
    }

    fn take(&mut self, told: &SignedHead) -> Result<(), String> {
        if !told.is_genuine(&FastVerifier) {
            return Err("the head is not signed by the pool that it names".into());
        }
        let pool = told.head.pool;
        let before = self.known.get(&pool).copied();
        let now = kept(before.map(|(_, head)| head), *told);
        if before.is_some_and(|(_, head)| head == now) {
            return Ok(());
        }
        let place = match before {
            Some((place, _)) => Some(place),
            None => self.slots.free(),
        };
        let place = place.ok_or("this witness remembers no more pools")?;
        let record = borsh::to_vec(&now).expect("memory takes every byte");
        let written = self.slots.write(place, &record);
        let durable = written.and_then(|()| self.slots.sync());
        durable.map_err(|fault| format!("the witness's disk failed: {fault}"))?;
        self.known.insert(pool, (place, now));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_chain_evm::Key;
    use forebay_channel::JournalHead;
    use forebay_quantity::Hash32;

    fn told(key: &Key, start: u64, sequence: u64) -> SignedHead {
        let head = JournalHead {
            pool: key.address(),
            start,
            process: [1; 16],
            sequence,
            hash: Hash32::new([7; 32]),
        };
        SignedHead {
            head,
            signature: key.sign(&head.digest()),
        }
    }

    #[test]
    fn a_witness_remembers_the_highest_head_across_starts_in_constant_space_and_believes_no_forger()
    {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        let key = Key::from_bytes([5; 32]).expect("a key");
        let mut heads = Heads::open(&path, 1).expect("it opens");
        let asked = PeerMessage::HeadAsked {
            pool: key.address(),
        };
        let known = |known| {
            Some(Ok(PeerMessage::HeadKnown {
                pool: key.address(),
                known,
            }))
        };
        assert_eq!(heads.answer(&asked), known(None));
        for sequence in 1..=500 {
            let head = told(&key, 1, sequence);
            assert_eq!(
                heads.answer(&PeerMessage::HeadTold(head)),
                known(Some(head))
            );
        }
        assert_eq!(std::fs::metadata(&path).expect("there").len(), 512);
        let newest = told(&key, 1, 500);
        let older = PeerMessage::HeadTold(told(&key, 2, 499));
        assert_eq!(heads.answer(&older), known(Some(newest)), "[I14]");

        let mut forged = told(&key, 3, 900);
        forged.head.sequence = 901;
        let answer = heads.answer(&PeerMessage::HeadTold(forged));
        assert!(matches!(answer, Some(Err(_))), "{answer:?}");
        let other = Key::from_bytes([6; 32]).expect("a key");
        let answer = heads.answer(&PeerMessage::HeadTold(told(&other, 1, 1)));
        assert!(matches!(answer, Some(Err(_))), "[I12] no place: {answer:?}");

        drop(heads);
        let mut heads = Heads::open(&path, 1).expect("it opens");
        assert_eq!(heads.answer(&asked), known(Some(newest)));
    }
}
