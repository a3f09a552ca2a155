//! The transactions under way, rebuilt from the store when a process starts.

use crate::store::{EffectStore, Entry, Sending};
use forebay_quantity::EffectId;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

/// One transaction of an effect.
pub(crate) type Slot = (EffectId, u8);

/// All versions of one transaction, oldest first; never empty, all of one nonce.
pub(crate) struct Attempt {
    pub(crate) nonce: u64,
    pub(crate) versions: Vec<Sending>,
    /// False while no node can have taken it.
    pub(crate) may_be_known: bool,
}

/// The transactions under way, with the store that outlives the process.
pub(crate) struct Record {
    pub(crate) store: Box<dyn EffectStore>,
    pub(crate) attempts: BTreeMap<Slot, Attempt>,
}

impl Attempt {
    /// The version sent last.
    pub(crate) fn newest(&self) -> &Sending {
        self.versions.last().expect("an attempt has a version")
    }
}

impl Record {
    /// Reads what an earlier process left.
    pub(crate) fn open(mut store: Box<dyn EffectStore>) -> io::Result<Self> {
        let attempts = attempts(store.load()?);
        Ok(Self { store, attempts })
    }

    /// The lowest nonce that nobody uses. Below `pending` the chain or its pool has a transaction for each; above
    /// it we hold some, and what an abandoned attempt gave back is a gap that has to be filled first.
    pub(crate) fn unused(&self, pending: u64) -> u64 {
        let held: BTreeSet<u64> = self
            .attempts
            .values()
            .map(|attempt| attempt.nonce)
            .collect();
        let mut nonce = pending;
        while held.contains(&nonce) {
            nonce += 1;
        }
        nonce
    }
}

fn attempts(entries: Vec<Entry>) -> BTreeMap<Slot, Attempt> {
    let mut attempts: BTreeMap<Slot, Attempt> = BTreeMap::new();
    for entry in entries {
        match entry {
            Entry::Sending(sending) => {
                // A process that was killed cannot say whether it had sent.
                let fresh = Attempt {
                    nonce: sending.nonce,
                    versions: Vec::new(),
                    may_be_known: true,
                };
                attempts
                    .entry((sending.effect, sending.step))
                    .or_insert(fresh)
                    .versions
                    .push(sending);
            }
            Entry::Abandoned { effect, step, .. } => {
                attempts.remove(&(effect, step));
            }
            Entry::Forgotten { effect } => attempts.retain(|(known, _), _| *known != effect),
        }
    }
    attempts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use forebay_quantity::Hash32;

    fn sending(effect: u64, nonce: u64) -> Sending {
        let effect = EffectId::new(effect);
        Sending {
            effect,
            step: 0,
            nonce,
            hash: Hash32::ZERO,
            fee_max: 0,
            tip_max: 0,
            raw: Vec::new(),
        }
    }

    fn record(entries: &[Entry]) -> Record {
        let mut store = MemoryStore::default();
        for entry in entries {
            store.append(entry).expect("memory does not fail");
        }
        Record::open(Box::new(store)).expect("memory does not fail")
    }

    #[test]
    fn the_lowest_nonce_that_nobody_uses_is_next() {
        let held = [5, 6, 8].map(|nonce| Entry::Sending(sending(nonce, nonce)));
        for (pending, next) in [(0, 0), (5, 7), (6, 7), (7, 7), (8, 9), (9, 9), (20, 20)] {
            assert_eq!(
                record(&held).unused(pending),
                next,
                "with {pending} pending"
            );
        }
    }

    #[test]
    fn replacements_share_an_attempt_and_what_ended_is_gone() {
        let effect = EffectId::new;
        let record = record(&[
            Entry::Sending(sending(1, 5)),
            Entry::Sending(sending(2, 6)),
            Entry::Sending(sending(1, 5)),
            Entry::Sending(sending(3, 7)),
            Entry::Abandoned {
                effect: effect(2),
                step: 0,
                nonce: 6,
            },
            Entry::Forgotten { effect: effect(3) },
        ]);
        assert_eq!(
            record.attempts.keys().copied().collect::<Vec<_>>(),
            [(effect(1), 0)]
        );
        let attempt = &record.attempts[&(effect(1), 0)];
        assert_eq!((attempt.versions.len(), attempt.may_be_known), (2, true));
        assert_eq!(record.unused(5), 6);
    }
}
