//! Whatever happens to the machine, synced frames survive, in order, and only the newest unsynced ones are lost.

use std::sync::Arc;

use forebay_journal::testing::{FaultCounts, Faults, FaultyStorage};
use forebay_journal::{Journal, OpenFault, Options, Recovery};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Append { bytes: usize, fill: u8 },
    Sync,
    Snapshot,
    Prune,
    Close,
    Kill,
    Crash,
    OpenFails { after: u64 },
    SyncFails { after: u64 },
    WriteFails { after: u64 },
    WriteShort { after: u64 },
    Full { room: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (prop_oneof![Just(408_usize), 0..2000_usize], prop_oneof![Just(0_u8), any::<u8>()]).prop_map(|(bytes, fill)| Step::Append { bytes, fill }),
        6 => Just(Step::Sync),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Prune),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        2 => Just(Step::Crash),
        1 => (0..4_u64).prop_map(|after| Step::OpenFails { after }),
        1 => (0..4_u64).prop_map(|after| Step::SyncFails { after }),
        1 => (0..4_u64).prop_map(|after| Step::WriteFails { after }),
        1 => (0..4_u64).prop_map(|after| Step::WriteShort { after }),
        1 => (0..20_000_u64).prop_map(|room| Step::Full { room }),
    ]
}

/// What an honest observer remembers.
struct Observer {
    storage: FaultyStorage,
    journal: Option<Journal>,
    appended: Vec<Vec<u8>>,
    synced: usize,
}

fn options() -> Options {
    Options {
        identity: [9; 32],
        segment_bytes: 8192,
    }
}

impl Observer {
    fn new(seed: u64) -> Self {
        let storage = FaultyStorage::new(seed);
        Self {
            storage,
            journal: None,
            appended: Vec::new(),
            synced: 0,
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Append { bytes, fill } => self.append(*bytes, *fill),
            Step::Sync => self.sync(),
            Step::Snapshot => self.snapshot(),
            Step::Prune => drop(self.journal().prune()),
            Step::Close => self.close(),
            Step::Kill => {
                self.storage.kill();
                self.journal = None;
            }
            Step::Crash => self.crash(),
            Step::OpenFails { after } => self.open_with_failing_sync(*after),
            Step::SyncFails { after } => self.set_faults(Faults {
                sync_fails_in: Some(*after),
                ..Faults::default()
            }),
            Step::WriteFails { after } => self.set_faults(Faults {
                write_fails_in: Some(*after),
                ..Faults::default()
            }),
            Step::WriteShort { after } => self.set_faults(Faults {
                write_short_in: Some(*after),
                ..Faults::default()
            }),
            Step::Full { room } => {
                let used: usize = self.storage.files().values().map(Vec::len).sum();
                let capacity_bytes = Some(used as u64 + room);
                self.set_faults(Faults {
                    capacity_bytes,
                    ..Faults::default()
                });
            }
        }
        if self
            .journal
            .as_ref()
            .is_some_and(|journal| journal.poisoned().is_some())
        {
            self.check_poisoned();
            self.journal = None;
        }
    }

    fn set_faults(&mut self, faults: Faults) {
        self.journal();
        self.storage.set_faults(faults);
    }

    fn append(&mut self, bytes: usize, fill: u8) {
        let mut payload = vec![fill; bytes];
        payload.extend_from_slice(&(self.appended.len() as u64).to_le_bytes());
        // A fault leaves it open whether the frame is there, so it counts as appended.
        self.journal();
        self.appended.push(payload.clone());
        if let Ok(sequence) = self.journal().append(&payload) {
            assert_eq!(sequence.0, self.appended.len() as u64);
        }
    }

    fn sync(&mut self) {
        if self.journal().sync().is_ok() {
            self.synced = self.appended.len();
        }
    }

    fn snapshot(&mut self) {
        self.sync();
        let state = digest(&self.appended);
        let journal = self.journal();
        if journal.poisoned().is_none() {
            let head = journal.head();
            drop(journal.snapshot(head, &state));
        }
    }

    fn close(&mut self) {
        self.journal();
        let journal = self.journal.take().expect("just opened");
        if journal.close().is_ok() {
            self.synced = self.appended.len();
        }
    }

    /// A disk that fails while recovery repairs the journal is a fault, and no reason to call it damaged.
    fn open_with_failing_sync(&mut self, after: u64) {
        self.storage.kill();
        self.journal = None;
        let faults = Faults {
            sync_fails_in: Some(after),
            ..Faults::default()
        };
        self.storage.set_faults(faults);
        match Journal::open(Arc::new(self.storage.clone()), options()) {
            Ok((journal, recovery)) => {
                self.check_recovered(&journal, recovery);
                self.journal = Some(journal);
            }
            Err(OpenFault::Fault(_)) => {}
            Err(refusal) => panic!("legal crash refused: {refusal}"),
        }
    }

    fn crash(&mut self) {
        self.storage.crash();
        self.journal = None;
    }

    fn check_poisoned(&mut self) {
        let journal = self.journal.as_mut().expect("asked by the caller");
        self.storage.set_faults(Faults::default());
        assert!(
            journal.append(b"late").is_err(),
            "a poisoned journal takes nothing"
        );
        assert!(journal.sync().is_err(), "a poisoned journal syncs nothing");
    }

    /// Opens when needed: the faults are lifted first, as an operator would before starting again.
    fn journal(&mut self) -> &mut Journal {
        if self.journal.is_none() {
            self.storage.set_faults(Faults::default());
            let storage = Arc::new(self.storage.clone());
            let (journal, recovery) = Journal::open(storage, options())
                .unwrap_or_else(|fault| panic!("legal crash refused: {fault}"));
            self.check_recovered(&journal, recovery);
            self.journal = Some(journal);
        }
        self.journal.as_mut().expect("opened above")
    }

    fn check_recovered(&mut self, journal: &Journal, mut recovery: Recovery) {
        let survivors = usize::try_from(journal.head().sequence.0).expect("small");
        assert!(
            survivors >= self.synced,
            "{} synced, {survivors} recovered",
            self.synced
        );
        assert!(survivors <= self.appended.len(), "nothing is invented");
        self.appended.truncate(survivors);
        let mut next = 0;
        if let Some(snapshot) = &recovery.snapshot {
            next = usize::try_from(snapshot.head.sequence.0).expect("small");
            assert_eq!(snapshot.state, digest(&self.appended[..next]));
        }
        while let Some(frame) = recovery.next_frame().expect("the storage works") {
            assert_eq!(frame.sequence.0, next as u64 + 1);
            assert_eq!(frame.payload, self.appended[next]);
            next += 1;
        }
        assert_eq!(next, survivors);
        self.synced = survivors;
    }
}

fn digest(payloads: &[Vec<u8>]) -> Vec<u8> {
    let sum = payloads.iter().flatten().fold(17_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
    });
    [(payloads.len() as u64).to_le_bytes(), sum.to_le_bytes()].concat()
}

fn run(seed: u64, steps: &[Step]) -> FaultCounts {
    let mut observer = Observer::new(seed);
    for step in steps {
        observer.take(step);
    }
    observer.crash();
    observer.journal();
    observer.storage.fault_counts()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn synced_frames_survive_and_only_the_newest_unsynced_are_lost(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        run(seed, &steps);
    }
}

#[test]
fn the_faults_above_do_happen() {
    let appends = |count| {
        (0..count).map(|n| Step::Append {
            bytes: 900,
            fill: n as u8,
        })
    };
    let mut total = FaultCounts::default();
    for seed in 0..30 {
        let mut steps: Vec<Step> = appends(5).collect();
        steps.extend([Step::Sync, Step::WriteShort { after: 0 }]);
        steps.extend(appends(3));
        steps.extend([Step::Crash, Step::SyncFails { after: 0 }]);
        steps.extend(appends(2));
        steps.extend([Step::Sync, Step::WriteFails { after: 0 }]);
        steps.extend(appends(2));
        steps.push(Step::Full { room: 100 });
        steps.extend(appends(30));
        let counts = run(seed, &steps);
        total.syncs_failed += counts.syncs_failed;
        total.writes_failed += counts.writes_failed;
        total.writes_short += counts.writes_short;
        total.full += counts.full;
        total.sectors_lost += counts.sectors_lost;
        total.sectors_torn += counts.sectors_torn;
    }
    assert!(total.syncs_failed >= 30 && total.writes_failed >= 30 && total.writes_short >= 30);
    assert!(
        total.full >= 30 && total.sectors_lost > 0 && total.sectors_torn > 0,
        "{total:?}"
    );
}

/// The zeros over a torn tail fail to reach the disk; what they should have covered comes back under the next frame.
#[test]
fn a_torn_tail_that_comes_back_is_cut_again() {
    // With its header and number each frame is one sector, so writing the next one leaves its neighbours alone.
    let append = |fill| Step::Append { bytes: 408, fill };
    let steps = [
        append(1),
        append(2),
        append(3),
        Step::Crash,
        Step::OpenFails { after: 0 },
        append(4),
        Step::Sync,
    ];
    for seed in 0..300 {
        run(seed, &steps);
    }
}
