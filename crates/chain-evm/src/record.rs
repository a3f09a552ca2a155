//! The transactions under way, rebuilt from the store when a process starts.

use crate::fault::Fault;
use crate::store::{EffectStore, Entry, Sending};
use forebay_channel::Address;
use forebay_quantity::{EffectId, Hash32};
use std::collections::{BTreeMap, BTreeSet};

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
    /// What effects are asked for, of those that said so.
    asked: BTreeMap<EffectId, Hash32>,
}

impl Attempt {
    /// The version sent last.
    pub(crate) fn newest(&self) -> &Sending {
        self.versions.last().expect("an attempt has a version")
    }
}

impl Record {
    /// Reads what an earlier process left, of the same account.
    pub(crate) fn open(
        mut store: Box<dyn EffectStore>,
        account: Address,
        chain_id: u64,
    ) -> Result<Self, Fault> {
        let entries = store.load()?;
        let ours = Entry::MadeFor { account, chain_id };
        match entries.first() {
            None => store.append(&ours)?,
            Some(first) if *first == ours => {}
            Some(_) => return Err(Fault::OtherRecord { account, chain_id }),
        }
        let (attempts, asked) = under_way(entries);
        Ok(Self {
            store,
            attempts,
            asked,
        })
    }

    /// Notes what an effect is asked for, durably, before anything is signed for it.
    pub(crate) fn claim(&mut self, effect: EffectId, request: Hash32) -> Result<(), Fault> {
        if !self.is_free(effect) {
            return self.check(effect, request);
        }
        self.store.append(&Entry::Asked { effect, request })?;
        self.asked.insert(effect, request);
        Ok(())
    }

    /// The effects that it knows, in order.
    pub(crate) fn effects(&self) -> BTreeSet<EffectId> {
        let sent = self.attempts.keys().map(|(effect, _)| *effect);
        sent.chain(self.asked.keys().copied()).collect()
    }

    /// An effect that it knows is this request, and no other.
    pub(crate) fn check(&self, effect: EffectId, request: Hash32) -> Result<(), Fault> {
        if self.is_free(effect) || self.asked.get(&effect) == Some(&request) {
            return Ok(());
        }
        Err(Fault::OtherRequest { effect })
    }

    /// Drops an effect.
    pub(crate) fn forget(&mut self, effect: EffectId) -> Result<(), Fault> {
        self.store.append(&Entry::Forgotten { effect })?;
        self.attempts.retain(|(known, _), _| *known != effect);
        self.asked.remove(&effect);
        Ok(())
    }

    fn is_free(&self, effect: EffectId) -> bool {
        let mut sent = self.attempts.range((effect, 0)..=(effect, u8::MAX));
        sent.next().is_none() && !self.asked.contains_key(&effect)
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

fn under_way(entries: Vec<Entry>) -> (BTreeMap<Slot, Attempt>, BTreeMap<EffectId, Hash32>) {
    let mut attempts: BTreeMap<Slot, Attempt> = BTreeMap::new();
    let mut asked = BTreeMap::new();
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
            Entry::Forgotten { effect } => {
                attempts.retain(|(known, _), _| *known != effect);
                asked.remove(&effect);
            }
            Entry::Asked { effect, request } => {
                asked.insert(effect, request);
            }
            Entry::MadeFor { .. } => {}
        }
    }
    (attempts, asked)
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

    const ACCOUNT: Address = Address::new([1; 20]);
    const MADE_FOR: Entry = Entry::MadeFor {
        account: ACCOUNT,
        chain_id: 1,
    };

    fn stored(entries: &[Entry]) -> Box<MemoryStore> {
        let mut store = MemoryStore::default();
        for entry in entries {
            store.append(entry).expect("memory does not fail");
        }
        Box::new(store)
    }

    fn record(entries: &[Entry]) -> Record {
        let store = stored(&[&[MADE_FOR], entries].concat());
        Record::open(store, ACCOUNT, 1).expect("memory does not fail")
    }

    #[test]
    fn a_record_of_another_account_or_of_nobody_is_refused() {
        let open = |entries: &[Entry], account, chain_id| {
            Record::open(stored(entries), account, chain_id).map(drop)
        };
        let sent = Entry::Sending(sending(1, 5));
        assert!(open(&[], ACCOUNT, 1).is_ok(), "a new one becomes ours");
        assert!(open(&[MADE_FOR, sent.clone()], ACCOUNT, 1).is_ok());
        for (entries, account, chain_id) in [
            (vec![MADE_FOR], ACCOUNT, 2),
            (vec![MADE_FOR], Address::new([2; 20]), 1),
            (vec![sent.clone()], ACCOUNT, 1),
            (vec![sent, MADE_FOR], ACCOUNT, 1),
        ] {
            let refused = open(&entries, account, chain_id);
            assert!(
                matches!(refused, Err(Fault::OtherRecord { .. })),
                "{entries:?}: {refused:?}"
            );
        }
    }

    #[test]
    fn an_effect_is_one_request_until_it_is_forgotten() {
        let (effect, other) = (EffectId::new(7), EffectId::new(8));
        let (this, that) = (Hash32::new([1; 32]), Hash32::new([2; 32]));
        let mut record = record(&[Entry::Sending(sending(8, 5))]);
        let refused =
            |outcome: Result<(), Fault>| matches!(outcome, Err(Fault::OtherRequest { .. }));
        assert!(record.claim(effect, this).is_ok());
        assert!(record.claim(effect, this).is_ok(), "asked again");
        assert!(refused(record.claim(effect, that)));
        assert!(refused(record.check(effect, that)));
        assert!(
            refused(record.claim(other, this)),
            "sent for nobody knows what"
        );
        assert_eq!(record.effects(), BTreeSet::from([effect, other]));

        let mut store = record.store;
        let again = stored(&store.load().expect("memory does not fail"));
        let mut record = Record::open(again, ACCOUNT, 1).expect("ours");
        assert!(
            refused(record.claim(effect, that)),
            "after a restart as well"
        );
        assert!(record.claim(effect, this).is_ok());
        record.forget(effect).expect("memory does not fail");
        assert!(record.claim(effect, that).is_ok());
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
