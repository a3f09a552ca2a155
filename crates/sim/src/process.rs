//! The pool's process: the real sequencer and the real journal over a disk that fails, and what a restart does.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_journal::testing::{Faults, FaultyStorage};
use forebay_journal::{Fault, Head, Journal, Options};
use forebay_pool::{Sequencer, State};
use forebay_quantity::Hash32;

const SEGMENT_BYTES: u64 = 64 << 10;
const IDENTITY: [u8; 32] = [42; 32];

pub(crate) struct Running {
    pub(crate) sequencer: Sequencer,
    journal: Journal,
}

pub(crate) struct Process {
    pub(crate) storage: FaultyStorage,
    pub(crate) running: Option<Running>,
    /// The state's digest after each frame.
    digests: BTreeMap<u64, Hash32>,
    /// The hash of each frame.
    hashes: BTreeMap<u64, Hash32>,
    pub(crate) pruned: bool,
}

/// The state that a copy of the journal's files gives, and its last frame's number.
pub(crate) fn state_of_copy(files: BTreeMap<String, Vec<u8>>) -> (u64, State) {
    let storage = Arc::new(FaultyStorage::from_files(0, files));
    let (journal, mut recovery) = Journal::open(storage, options())
        .unwrap_or_else(|fault| panic!("[I10] a copy of the journal does not open: {fault}"));
    let snapshot = recovery.snapshot.take();
    let state = snapshot.map(|snapshot| State::restore(&snapshot.state));
    let state = state.map(|state| state.expect("[I10] our own snapshot is readable"));
    let mut sequencer = Sequencer::new(state.unwrap_or_default());
    while let Some(frame) = recovery.next_frame().expect("a copy has no faults") {
        sequencer.replay(frame.payload).expect("our own journal");
    }
    (journal.head().sequence.0, sequencer.state().clone())
}

fn hash_of(head: Head) -> Hash32 {
    Hash32(head.hash.0)
}

fn options() -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES,
        ..Options::new(IDENTITY)
    }
}

impl Process {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            storage: FaultyStorage::new(seed),
            running: None,
            digests: BTreeMap::from([(0, State::default().digest())]),
            hashes: BTreeMap::new(),
            pruned: false,
        }
    }

    /// Opens the journal and rebuilds the state; gives the number of the last frame recovered.
    pub(crate) fn start(&mut self) -> u64 {
        self.storage.set_faults(Faults::default());
        let (journal, mut recovery) = Journal::open(Arc::new(self.storage.clone()), options())
            .unwrap_or_else(|fault| panic!("[I10] the journal does not open again: {fault}"));
        let snapshot = recovery.snapshot.take();
        let state = match snapshot {
            Some(snapshot) => {
                let state =
                    State::restore(&snapshot.state).expect("[I10] our own snapshot is readable");
                let at = snapshot.head.sequence.0;
                assert_eq!(
                    Some(&state.digest()),
                    self.digests.get(&at),
                    "[I10] the snapshot of frame {at} is not the state that was there"
                );
                state
            }
            None => State::default(),
        };
        let mut sequencer = Sequencer::new(state);
        while let Some(frame) = recovery.next_frame().expect("the faults are off") {
            sequencer
                .replay(frame.payload)
                .unwrap_or_else(|fault| panic!("[I10] frame {}: {fault:?}", frame.sequence));
        }
        let last = journal.head().sequence.0;
        assert_eq!(
            Some(&sequencer.state().digest()),
            self.digests.get(&last),
            "[I10] recovery up to frame {last} gives another state"
        );
        self.digests.retain(|sequence, _| *sequence <= last);
        self.hashes.retain(|sequence, _| *sequence <= last);
        self.hashes.insert(last, hash_of(journal.head()));
        self.running = Some(Running { sequencer, journal });
        last
    }

    pub(crate) fn is_up(&self) -> bool {
        self.running.is_some()
    }

    pub(crate) fn state(&self) -> &State {
        self.running
            .as_ref()
            .expect("asked of a running pool")
            .sequencer
            .state()
    }

    pub(crate) fn sequencer(&mut self) -> &mut Sequencer {
        &mut self
            .running
            .as_mut()
            .expect("asked of a running pool")
            .sequencer
    }

    /// The number of the frame that is appended next; its digest is noted here.
    pub(crate) fn expect_frame(&mut self) -> u64 {
        let running = self.running.as_ref().expect("asked of a running pool");
        let sequence = running.journal.head().sequence.0 + 1;
        let digest = running.sequencer.state().digest();
        self.digests.insert(sequence, digest);
        sequence
    }

    pub(crate) fn append(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let running = self.running.as_mut().expect("asked of a running pool");
        let sequence = running.journal.append(payload)?;
        let hash = hash_of(running.journal.head());
        self.hashes.insert(sequence.0, hash);
        Ok(())
    }

    /// The last frame and its hash.
    pub(crate) fn head(&self) -> (u64, Hash32) {
        let running = self.running.as_ref().expect("asked of a running pool");
        let head = running.journal.head();
        (head.sequence.0, hash_of(head))
    }

    /// The hash of a frame, of which a copy that has it knows no other.
    pub(crate) fn hash_at(&self, sequence: u64) -> Option<Hash32> {
        self.hashes.get(&sequence).copied()
    }

    pub(crate) fn sync(&mut self) -> Result<(), Fault> {
        self.running
            .as_mut()
            .expect("asked of a running pool")
            .journal
            .sync()
    }

    /// Writes a snapshot of what is synced; gives false when the disk would not have it.
    pub(crate) fn snapshot(&mut self, prune: bool) -> bool {
        let running = self.running.as_mut().expect("asked of a running pool");
        let head = running.journal.head();
        let bytes = running.sequencer.state().snapshot();
        if running.journal.snapshot(head, &bytes).is_err() {
            return false;
        }
        if prune {
            // One that fails may have removed some segments before.
            self.pruned |= running
                .journal
                .prune()
                .map_or(true, |segments| segments > 0);
        }
        true
    }

    /// The process ends; with the power, what was not synced may be lost.
    pub(crate) fn die(&mut self, power_lost: bool) {
        self.running = None;
        if power_lost {
            self.storage.crash();
        } else {
            self.storage.kill();
        }
    }

    /// Replays the whole journal from nothing, and the state from its own snapshot [I10].
    pub(crate) fn audit_replay(&self) {
        let live = self.state().digest();
        let again = State::restore(&self.state().snapshot()).expect("our own snapshot is readable");
        assert_eq!(
            again.digest(),
            live,
            "[I10] a state restored from its snapshot differs"
        );
        if self.pruned {
            return;
        }
        let mut recovery = Journal::replay(Arc::new(self.storage.clone()), IDENTITY)
            .unwrap_or_else(|fault| panic!("[I10] the journal does not replay: {fault}"));
        let mut sequencer = Sequencer::new(State::default());
        while let Some(frame) = recovery.next_frame().expect("reading does not fail") {
            sequencer.replay(frame.payload).expect("our own journal");
        }
        assert_eq!(
            sequencer.state().digest(),
            live,
            "[I10] the journal replayed from nothing gives another state"
        );
    }
}
