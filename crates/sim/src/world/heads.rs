//! Witnesses of the journal, old copies of it and second processes [I14].

use std::collections::BTreeMap;

use super::{START_MS, World, knows_voucher_of};
use crate::process::state_of_copy;
use crate::trace;
use crate::witness::Ending;

impl World {
    /// Tells witnesses where the journal stands, at a bounded rate; one that knows a later start stops the pool.
    pub(super) fn tell_witnesses(&mut self) {
        if self.now < self.next_tell {
            return;
        }
        self.next_tell = self.now + self.tell_every;
        let (sequence, hash) = self.process.head();
        let sleepy = if self.calm { 0 } else { 150 };
        self.witnesses.sleep(&mut self.random, sleepy);
        match self.witnesses.tell(sequence, hash) {
            Ok(agreed) => {
                for witness in agreed {
                    self.auditor.witnessed(witness, sequence);
                }
            }
            Err(rollback) => {
                self.counts.add("fault", "second process noticed");
                self.stop_for(&rollback.to_string());
            }
        }
    }

    /// Whoever else has taken the pool's place is heard of now, and the pool takes it back.
    pub(crate) fn settle_place(&mut self) {
        self.next_tell = 0;
        self.end_batch(None);
        self.restart_at = self.now;
    }

    /// Somebody starts a second process on a copy of the journal as it is now.
    pub(crate) fn start_second(&mut self) {
        if !self.is_up() || self.halted {
            return;
        }
        self.end_batch(None);
        if !self.is_up() || self.halted {
            return;
        }
        let (sequence, hash) = self.process.head();
        let hash_at = |sequence| self.process.hash_at(sequence);
        let ending = Ending {
            sequence,
            hash,
            hash_at: &hash_at,
        };
        if self.witnesses.be_taken(&ending, &mut self.random) {
            self.counts.add("fault", "second process");
        }
    }

    /// An old copy of the journal is put back and started: witnesses or peers show what it is before it has signed
    /// anything, or it is as good as the newest.
    pub(super) fn start_old_copy(&mut self, files: BTreeMap<String, Vec<u8>>) {
        let (sequence, state) = state_of_copy(files);
        let Some(hash) = self.process.hash_at(sequence) else {
            return;
        };
        trace::step(|| {
            format!(
                "{} a copy that ends at frame {sequence} is started",
                self.now - START_MS
            )
        });
        self.counts.add("fault", "old copy put back");
        let hash_at = |at| self.process.hash_at(at).filter(|_| at <= sequence);
        let ending = Ending {
            sequence,
            hash,
            hash_at: &hash_at,
        };
        match self.witnesses.prove(&ending, &mut self.random) {
            Err(_) => return self.counts.add("fault", "old copy refused by a witness"),
            Ok(false) => return self.counts.add("fault", "too few witnesses"),
            Ok(true) => {}
        }
        if self
            .actors
            .iter()
            .any(|actor| !knows_voucher_of(&state, actor))
        {
            return self.counts.add("fault", "old copy refused by a peer");
        }
        self.auditor.goes_on(sequence, &state, self.actors.iter());
        self.counts.add("fault", "old copy as good as the newest");
    }

    /// The newest journal proves itself to the witnesses; false while too few of them are awake.
    pub(super) fn prove(&mut self, sequence: u64) -> bool {
        let (at, hash) = self.process.head();
        assert_eq!(at, sequence, "nothing is appended before the proof");
        let hash_at = |sequence| self.process.hash_at(sequence);
        let ending = Ending {
            sequence,
            hash,
            hash_at: &hash_at,
        };
        match self.witnesses.prove(&ending, &mut self.random) {
            Ok(proved) => proved,
            Err(rollback) => panic!("[I14] the newest journal is refused: {rollback}"),
        }
    }
}
