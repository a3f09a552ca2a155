//! What a caller relies on, each claim on its own.

use std::sync::Arc;

use forebay_journal::testing::FaultyStorage;
use forebay_journal::{Journal, LocalDisk, Options, Recovery, Sequence, hash_at};

fn options() -> Options {
    Options {
        identity: [7; 32],
        segment_bytes: 8192,
    }
}

fn frames(recovery: &mut Recovery) -> Vec<(u64, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(frame) = recovery.next_frame().expect("the storage works") {
        frames.push((frame.sequence.0, frame.payload.to_vec()));
    }
    frames
}

#[test]
fn frames_come_back_in_order_across_segments() {
    let storage = Arc::new(FaultyStorage::new(1));
    let (mut journal, recovery) = Journal::open(storage.clone(), options()).expect("opens");
    assert!(recovery.report.created);
    let expected: Vec<(u64, Vec<u8>)> = (1..=100)
        .map(|n| (n, vec![n as u8; 200 + n as usize]))
        .collect();
    for (sequence, payload) in &expected {
        assert_eq!(
            journal.append(payload).expect("appends"),
            Sequence(*sequence)
        );
    }
    journal.sync().expect("syncs");
    let head = journal.head();
    drop(journal);
    let (journal, mut recovery) = Journal::open(storage, options()).expect("opens");
    assert_eq!(frames(&mut recovery), expected);
    assert_eq!(journal.head(), head);
    assert!(recovery.report.segments > 3);
}

#[test]
fn a_directory_takes_frames_and_snapshots() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let open = || {
        let disk = LocalDisk::open(directory.path().join("a/b")).expect("opens");
        Journal::open(Arc::new(disk), options()).expect("opens")
    };
    let (mut journal, _) = open();
    for n in 0..50_u8 {
        journal.append(&[n; 300]).expect("appends");
    }
    journal.sync().expect("syncs");
    journal
        .snapshot(journal.head(), b"the state at 50")
        .expect("writes");
    journal.append(b"after").expect("appends");
    journal.close().expect("closes");
    let (_, mut recovery) = open();
    assert_eq!(
        recovery.snapshot.clone().expect("there is one").state,
        b"the state at 50"
    );
    assert_eq!(frames(&mut recovery), vec![(51, b"after".to_vec())]);
}

#[test]
fn a_frames_hash_is_found_in_whichever_segment_it_lies_and_no_other_is() {
    let storage = Arc::new(FaultyStorage::new(7));
    let (mut journal, _) = Journal::open(storage.clone(), options()).expect("it opens");
    let mut heads = vec![journal.head()];
    for number in 0..200_u32 {
        journal.append(&[7; 300]).expect("appended");
        if number % 5 == 0 {
            journal.sync().expect("synced");
        }
        heads.push(journal.head());
    }
    journal.sync().expect("synced");
    assert!(journal.counts().segments > 1, "more than one segment");
    for head in heads {
        let found = hash_at(&*storage, &options().identity, head.sequence).expect("readable");
        assert_eq!(found, Some(head.hash), "frame {}", head.sequence);
    }
    let beyond = hash_at(&*storage, &options().identity, Sequence(201)).expect("readable");
    assert_eq!(beyond, None);
}
