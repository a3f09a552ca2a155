//! Damage at rest: the same frames or a clear refusal, never other frames.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_journal::testing::{Faults, FaultyStorage};
use forebay_journal::{Head, Journal, OpenFault, Options, Report};

type Files = BTreeMap<String, Vec<u8>>;

const LAST_SEGMENT: &str = "segment-0000000001";
const SNAPSHOT: &str = "snapshot-00000000000000000003";

fn options() -> Options {
    Options {
        identity: [3; 32],
        segment_bytes: 8192,
    }
}

fn payload(sequence: u64) -> Vec<u8> {
    vec![u8::try_from(sequence).expect("small"); 700]
}

/// Seven frames in two segments, synced one by one, with a snapshot at 3.
fn write_journal(storage: &FaultyStorage) -> Journal {
    let (mut journal, _) = Journal::open(Arc::new(storage.clone()), options()).expect("opens");
    for sequence in 1..=7 {
        journal.append(&payload(sequence)).expect("appends");
        journal.sync().expect("syncs");
        if sequence == 3 {
            journal.snapshot(journal.head(), b"three").expect("writes");
        }
    }
    journal
}

fn closed_journal() -> (Files, Head) {
    let storage = FaultyStorage::new(1);
    let head = write_journal(&storage).close().expect("closes");
    let mut files = storage.files();
    files.remove("next.preparing");
    assert_eq!(
        files.len(),
        3,
        "two segments and a snapshot: {:?}",
        files.keys()
    );
    (files, head)
}

fn crashed_journal() -> Files {
    let storage = FaultyStorage::new(1);
    drop(write_journal(&storage));
    storage.crash();
    let mut files = storage.files();
    files.remove("next.preparing");
    files
}

/// Opens, checks that what comes back is true, and returns the head and the report.
fn open(files: Files) -> Result<(Head, Report), OpenFault> {
    let storage = FaultyStorage::from_files(1, files);
    let (journal, mut recovery) = Journal::open(Arc::new(storage), options())?;
    let mut sequence = 0;
    if let Some(snapshot) = &recovery.snapshot {
        assert_eq!(
            (snapshot.head.sequence.0, &snapshot.state[..]),
            (3, &b"three"[..])
        );
        sequence = 3;
    }
    while let Some(frame) = recovery.next_frame().expect("the storage works") {
        sequence += 1;
        assert_eq!(
            (frame.sequence.0, frame.payload),
            (sequence, &payload(sequence)[..])
        );
    }
    assert_eq!(sequence, journal.head().sequence.0);
    Ok((journal.head(), recovery.report))
}

fn each_flip(files: &Files, mut judge: impl FnMut(&str, usize, Files)) {
    for (name, bytes) in files {
        for byte in 0..bytes.len() {
            // One bit of each byte, another one each time, keeps this within seconds.
            let mut flipped = files.clone();
            flipped.get_mut(name).expect("it is there")[byte] ^= 1 << (byte % 8);
            judge(name, byte, flipped);
        }
    }
}

#[test]
fn any_flipped_bit_in_a_closed_journal_gives_the_same_frames_or_a_refusal() {
    let (files, head) = closed_journal();
    let (mut same, mut refused, mut fell_back) = (0, 0, 0);
    each_flip(&files, |name, byte, flipped| match open(flipped) {
        Ok((found, report)) => {
            assert_eq!(found, head, "{name} byte {byte}");
            same += 1;
            fell_back += report.damaged_snapshots.len();
        }
        Err(OpenFault::Fault(fault)) => {
            panic!("{name} byte {byte}: no fault was injected: {fault}")
        }
        Err(_) => refused += 1,
    });
    assert!(
        same > 0 && refused > 2800 && fell_back > 100,
        "{same} {refused} {fell_back}"
    );
}

#[test]
fn a_flipped_bit_after_a_crash_costs_at_most_the_last_frame_and_is_reported() {
    let mut cut = 0;
    each_flip(&crashed_journal(), |name, byte, flipped| {
        if let Ok((found, report)) = open(flipped) {
            match found.sequence.0 {
                7 => {}
                6 => {
                    let torn = report.torn_tail.expect("a cut is reported");
                    assert_eq!((torn.segment.as_str(), torn.sequence.0), (LAST_SEGMENT, 7));
                    cut += 1;
                }
                other => panic!("{name} byte {byte}: {other} frames came back"),
            }
        }
    });
    assert!(
        cut > 700,
        "the last frame has nothing after it that says it was synced"
    );
}

#[test]
fn the_refusal_of_a_corrupt_middle_says_where_and_what_to_do() {
    let (mut files, _) = closed_journal();
    files.remove(SNAPSHOT);
    files.get_mut("segment-0000000000").expect("it is there")[4096 + 800 + 100] ^= 4;
    let before = files.clone();
    let storage = FaultyStorage::from_files(1, files);
    let refusal = Journal::open(Arc::new(storage.clone()), options()).expect_err("refused");
    let text = refusal.to_string();
    for part in [
        "segment-0000000000",
        "byte 4896",
        "frame 2 ",
        "restore this file from a backup",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(storage.files() == before, "nothing was changed");
}

#[test]
fn a_damaged_snapshot_falls_back_to_the_older_one_or_to_the_beginning() {
    let storage = FaultyStorage::new(1);
    let mut journal = write_journal(&storage);
    journal.snapshot(journal.head(), b"seven").expect("writes");
    drop(journal);
    let newest = "snapshot-00000000000000000007";
    storage.flip_bit(newest, 130, 0);
    let (_, report) = open(storage.files()).expect("falls back");
    assert_eq!(report.damaged_snapshots.len(), 1);
    assert_eq!(report.damaged_snapshots[0].0, newest);
    assert_eq!(report.frames, 4);
    storage.flip_bit(SNAPSHOT, 3, 0);
    let (_, report) = open(storage.files()).expect("falls back");
    assert_eq!((report.damaged_snapshots.len(), report.frames), (2, 7));
}

#[test]
fn a_missing_segment_is_named() {
    let storage = FaultyStorage::new(1);
    let (mut journal, _) = Journal::open(Arc::new(storage.clone()), options()).expect("opens");
    for sequence in 1..=30 {
        journal.append(&payload(sequence)).expect("appends");
    }
    journal.sync().expect("syncs");
    journal.snapshot(journal.head(), b"thirty").expect("writes");
    let files = storage.files();
    let open_without = |gone: &[&str]| {
        let mut files = files.clone();
        files.retain(|name, _| !gone.contains(&name.as_str()));
        Journal::open(Arc::new(FaultyStorage::from_files(1, files)), options()).err()
    };
    let last = files
        .keys()
        .rfind(|name| name.starts_with("segment"))
        .expect("there are some")
        .clone();
    let snapshot = "snapshot-00000000000000000030";

    let middle = open_without(&["segment-0000000002"])
        .expect("refused")
        .to_string();
    assert!(middle.contains("segment-0000000002 is missing"), "{middle}");
    let first = open_without(&["segment-0000000000", snapshot])
        .expect("refused")
        .to_string();
    assert!(first.contains("segment-0000000000 is missing"), "{first}");
    let end = open_without(&[&last]).expect("refused");
    assert!(matches!(end, OpenFault::BehindSnapshot { .. }), "{end}");
    assert!(
        open_without(&["segment-0000000000"]).is_none(),
        "the snapshot makes it unnecessary"
    );
}

#[test]
fn a_snapshot_of_another_history_is_refused() {
    let (mut files, _) = closed_journal();
    let storage = FaultyStorage::new(1);
    let (mut journal, _) = Journal::open(Arc::new(storage.clone()), options()).expect("opens");
    for _ in 0..3 {
        journal.append(b"something else").expect("appends");
    }
    journal.sync().expect("syncs");
    journal.snapshot(journal.head(), b"three").expect("writes");
    files.insert(SNAPSHOT.to_owned(), storage.files()[SNAPSHOT].clone());
    assert!(matches!(
        open(files),
        Err(OpenFault::SnapshotDisagrees { .. })
    ));
}

#[test]
fn pruning_keeps_what_the_older_snapshot_needs() {
    let storage = FaultyStorage::new(1);
    let (mut journal, _) = Journal::open(Arc::new(storage.clone()), options()).expect("opens");
    assert_eq!(
        journal.prune().expect("works"),
        0,
        "without snapshots nothing goes"
    );
    for sequence in 1..=40 {
        journal.append(&payload(sequence)).expect("appends");
        if sequence % 10 == 0 {
            journal.sync().expect("syncs");
            journal.snapshot(journal.head(), &[7]).expect("writes");
        }
    }
    assert!(journal.prune().expect("works") > 3);
    drop(journal);
    storage.crash();
    storage.flip_bit("snapshot-00000000000000000040", 128, 1);
    let (_, mut recovery) = Journal::open(Arc::new(storage), options()).expect("opens");
    assert_eq!(
        recovery
            .snapshot
            .as_ref()
            .expect("the older one")
            .head
            .sequence
            .0,
        30
    );
    assert_eq!(
        recovery
            .next_frame()
            .expect("works")
            .expect("a frame")
            .sequence
            .0,
        31
    );
}

#[test]
fn a_batch_too_large_is_refused_and_the_journal_goes_on() {
    let (mut journal, _) =
        Journal::open(Arc::new(FaultyStorage::new(1)), options()).expect("opens");
    let most = usize::try_from(journal.payload_bytes_max()).expect("small");
    assert!(journal.append(&vec![1; most + 1]).is_err());
    journal
        .append(&vec![1; most])
        .expect("exactly the most fits");
    journal.append(b"next").expect("goes on");
    journal.sync().expect("goes on");
}

#[test]
fn a_disk_near_full_is_reported_while_there_is_room_left() {
    let storage = FaultyStorage::new(1);
    let (mut journal, _) = Journal::open(Arc::new(storage.clone()), options()).expect("opens");
    let faults = Faults {
        capacity_bytes: Some(8192),
        ..Default::default()
    };
    storage.set_faults(faults);
    journal.append(&[1; 600]).expect("appends");
    journal.sync().expect("syncs");
    assert!(
        journal
            .shortage()
            .is_some_and(forebay_journal::Fault::is_full)
    );
    let mut more = 0;
    let fault = loop {
        match journal.append(&[2; 600]).and_then(|_| journal.sync()) {
            Ok(()) => more += 1,
            Err(fault) => break fault,
        }
    };
    assert!(fault.is_full() && more == 4, "{more} more, then {fault}");
    assert!(journal.sync().is_err(), "poisoned");
    storage.set_faults(Default::default());
    let (mut journal, recovery) = Journal::open(Arc::new(storage), options()).expect("opens");
    assert_eq!(recovery.report.frames, 5);
    journal.append(&[3; 600]).expect("there is space again");
}

#[test]
fn impossible_segment_sizes_are_refused() {
    for segment_bytes in [0, 4096, 8193, (1 << 30) + 4096] {
        let options = Options {
            identity: [3; 32],
            segment_bytes,
        };
        let refusal = Journal::open(Arc::new(FaultyStorage::new(1)), options).err();
        assert!(matches!(refusal, Some(OpenFault::SegmentBytes { .. })));
    }
}

#[test]
fn a_full_disk_opens_takes_what_fits_and_gives_back_half_a_snapshot() {
    let storage = FaultyStorage::new(1);
    drop(write_journal(&storage));
    storage.crash();
    let used: usize = storage.files().values().map(Vec::len).sum();
    let faults = Faults {
        capacity_bytes: Some(used as u64),
        ..Faults::default()
    };
    storage.set_faults(faults);
    let (mut journal, _) = Journal::open(Arc::new(storage.clone()), options()).expect("opens");
    journal
        .append(&[1; 100])
        .expect("fits into the last segment");
    journal.sync().expect("syncs");
    let fault = journal
        .snapshot(journal.head(), &vec![2; used])
        .expect_err("no room");
    assert!(fault.is_full(), "{fault}");
    assert!(!storage.files().contains_key("snapshot.partial"));
    journal
        .append(&[1; 100])
        .expect("a snapshot that failed does not stop the journal");
}

#[test]
fn a_replay_reads_from_the_first_frame_past_snapshots_and_changes_nothing() {
    let storage = FaultyStorage::new(1);
    let mut journal = write_journal(&storage);
    journal.append(b"unsynced").expect("appends");
    let before = storage.files();
    let mut replay = Journal::replay(Arc::new(storage.clone()), options().identity).expect("reads");
    assert!(replay.snapshot.is_none());
    let mut frames = 0;
    while let Some(frame) = replay.next_frame().expect("the storage works") {
        frames += 1;
        assert_eq!(frame.sequence.0, frames);
    }
    assert_eq!(frames, 8);
    assert!(storage.files() == before);
    journal.sync().expect("the writer goes on");
    let empty = Arc::new(FaultyStorage::new(1));
    assert!(Journal::replay(empty, options().identity).is_err());
}
