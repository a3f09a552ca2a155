//! Witnesses that remember where the pool's journal stands, and what a started pool makes of their word [I14].

use forebay_channel::{Address, JournalHead, Rollback, SignedHead, is_still_ours, kept, may_go_on};
use forebay_quantity::Hash32;

use crate::random::Random;
use crate::signing::sign;

/// How many there are.
pub(crate) const WITNESSES: usize = 3;
/// How many have to agree: more than half.
const QUORUM: usize = 2;

/// The end of a journal, and what it says of its frames.
pub(crate) struct Ending<'a> {
    pub(crate) sequence: u64,
    pub(crate) hash: Hash32,
    pub(crate) hash_at: &'a dyn Fn(u64) -> Option<Hash32>,
}

/// All witnesses, and who the running pool is to them.
pub(crate) struct Witnesses {
    pool: Address,
    kept: [Option<SignedHead>; WITNESSES],
    awake: [bool; WITNESSES],
    start: u64,
    process: [u8; 16],
}

impl Witnesses {
    pub(crate) fn new(pool: Address) -> Self {
        Self {
            pool,
            kept: [None; WITNESSES],
            awake: [true; WITNESSES],
            start: 0,
            process: [0; 16],
        }
    }

    /// Each of them sleeps with this chance in a thousand.
    pub(crate) fn sleep(&mut self, random: &mut Random, per_mille: u64) {
        self.awake = self.awake.map(|_| !random.chance(per_mille));
    }

    /// Lets a started process take its place; false while too few witnesses are awake.
    pub(crate) fn prove(
        &mut self,
        ending: &Ending<'_>,
        random: &mut Random,
    ) -> Result<bool, Rollback> {
        #[cfg(feature = "planted-bugs")]
        if forebay_quantity::planted::is(forebay_quantity::planted::Bug::OldCopyAccepted) {
            return Ok(true);
        }
        for known in self.known() {
            let ours = (ending.hash_at)(known.head.sequence);
            may_go_on(ending.sequence, ours, Some(&known.head))?;
        }
        if self.awake.iter().filter(|awake| **awake).count() < QUORUM {
            return Ok(false);
        }
        let highest = self.known().map(|known| known.head.start).max();
        self.start = highest.unwrap_or(0) + 1;
        self.process = [0; 16];
        self.process[..8].copy_from_slice(&random.next().to_le_bytes());
        let agreed = self.tell(ending.sequence, ending.hash)?;
        Ok(agreed.len() >= QUORUM)
    }

    /// Tells those that are awake where the running pool's journal stands; gives those that took its word.
    pub(crate) fn tell(&mut self, sequence: u64, hash: Hash32) -> Result<Vec<usize>, Rollback> {
        let head = JournalHead {
            pool: self.pool,
            start: self.start,
            process: self.process,
            sequence,
            hash,
        };
        let signature = sign(&head.digest(), self.pool);
        let ours = SignedHead { head, signature };
        let mut agreed = Vec::new();
        for (number, known) in self.kept.iter_mut().enumerate() {
            if !self.awake[number] {
                continue;
            }
            let answer = kept(*known, ours);
            *known = Some(answer);
            is_still_ours(&head, &answer.head)?;
            if answer.head == head {
                agreed.push(number);
            }
        }
        Ok(agreed)
    }

    /// Another process proves a copy of the same journal and takes the place; the one that runs hears of it when it tells.
    pub(crate) fn be_taken(&mut self, ending: &Ending<'_>, random: &mut Random) -> bool {
        let ours = (self.start, self.process);
        let taken = self.prove(ending, random);
        (self.start, self.process) = ours;
        taken == Ok(true)
    }

    fn known(&self) -> impl Iterator<Item = &SignedHead> {
        let awake = self.kept.iter().zip(self.awake);
        awake.filter_map(|(known, awake)| known.as_ref().filter(|_| awake))
    }
}
