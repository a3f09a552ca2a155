//! Journals as released software wrote them, and a second, naive encoder written from `spec/journal.md` alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_journal::testing::FaultyStorage;
use forebay_journal::{FrameHash, Head, Journal, OpenFault, Options, Sequence};
use sha2::{Digest, Sha256};

const IDENTITY: [u8; 32] = *b"golden journal of the test pool!";
const SEGMENT_BYTES: usize = 8192;

type Files = BTreeMap<String, Vec<u8>>;

/// Bitwise CRC32C (RFC 3720, B.4), starting from another checksum.
fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    let mut crc = !seed;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

fn le32(value: usize) -> [u8; 4] {
    u32::try_from(value).expect("small").to_le_bytes()
}

fn le64(value: usize) -> [u8; 8] {
    u64::try_from(value).expect("small").to_le_bytes()
}

fn padded(mut bytes: Vec<u8>, multiple: usize) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(multiple), 0);
    bytes
}

fn segment_header(version: usize, index: usize, first: usize, previous: [u8; 32]) -> Vec<u8> {
    let mut bytes = b"FOREBAYJ".to_vec();
    bytes.extend([le32(version), le32(4096)].concat());
    bytes.extend([le64(index), le64(first), le64(SEGMENT_BYTES)].concat());
    bytes.extend([IDENTITY, previous].concat());
    let crc = crc32c(0, &bytes);
    bytes.extend(crc.to_le_bytes());
    padded(bytes, 4096)
}

fn seed_of(header: &[u8]) -> u32 {
    u32::from_le_bytes(header[104..108].try_into().expect("four bytes"))
}

fn chain(previous: [u8; 32], sequence: usize, payload: &[u8]) -> [u8; 32] {
    sha256(&[&previous, &le64(sequence), &le64(payload.len()), payload])
}

fn with_crc(seed: u32, body: Vec<u8>) -> Vec<u8> {
    let crc = crc32c(seed, &body).to_le_bytes();
    padded([b"FBfr".to_vec(), crc.to_vec(), body].concat(), 8)
}

fn frame_v1(seed: u32, sequence: usize, previous: [u8; 32], payload: &[u8]) -> Vec<u8> {
    let hash = chain(previous, sequence, payload);
    let lengths = [le64(payload.len()), le64(sequence)].concat();
    with_crc(
        seed,
        [lengths, previous.to_vec(), hash.to_vec(), payload.to_vec()].concat(),
    )
}

fn frame_v2(
    seed: u32,
    sequence: usize,
    synced: usize,
    previous: [u8; 32],
    payload: &[u8],
) -> Vec<u8> {
    let hash = chain(previous, sequence, payload);
    let lengths = [le32(1).to_vec(), le32(payload.len()).to_vec()].concat();
    let numbers = [le64(sequence), le64(synced)].concat();
    with_crc(
        seed,
        [
            lengths,
            numbers,
            previous.to_vec(),
            hash.to_vec(),
            payload.to_vec(),
        ]
        .concat(),
    )
}

fn mark_v2(seed: u32, sequence: usize, hash: [u8; 32]) -> Vec<u8> {
    let lengths = [le32(2), le32(0)].concat();
    let numbers = [le64(sequence), le64(sequence)].concat();
    with_crc(
        seed,
        [lengths, numbers, hash.to_vec(), hash.to_vec()].concat(),
    )
}

fn snapshot(version: usize, sequence: usize, hash: [u8; 32], state: &[u8]) -> Vec<u8> {
    let mut bytes = b"FOREBAYS".to_vec();
    bytes.extend([le32(version), le32(128)].concat());
    bytes.extend([le64(sequence), le64(state.len())].concat());
    bytes.extend([IDENTITY, hash].concat());
    let digest = sha256(&[&bytes, state]);
    [bytes, digest.to_vec(), state.to_vec()].concat()
}

fn payload(sequence: usize) -> Vec<u8> {
    let length = [5, 0, 1300, 8, 1900, 1000, 3, 900][sequence - 1];
    (0..length)
        .map(|at| u8::try_from((at * 7 + sequence * 31) % 256).expect("below 256"))
        .collect()
}

/// Eight frames: the last three do not fit into the first segment. Synced after 2, 5 and 8; a snapshot at 5.
fn expected(version: usize) -> Files {
    let mut files = Files::new();
    let mut hash = sha256(&[b"forebay journal genesis", &IDENTITY]);
    for (index, sequences) in [(0, 1..=5), (1, 6..=8)] {
        let mut bytes = segment_header(version, index, *sequences.start(), hash);
        let seed = seed_of(&bytes);
        let last = *sequences.end();
        for sequence in sequences {
            let payload = payload(sequence);
            let synced = [0, 0, 2, 2, 2, 5, 5, 5][sequence - 1];
            bytes.extend(match version {
                1 => frame_v1(seed, sequence, hash, &payload),
                _ => frame_v2(seed, sequence, synced, hash, &payload),
            });
            hash = chain(hash, sequence, &payload);
        }
        if version == 2 && index == 1 {
            bytes.extend(mark_v2(seed, last, hash));
        }
        bytes.resize(SEGMENT_BYTES, 0);
        files.insert(format!("segment-{index:010}"), bytes);
        if index == 0 {
            let name = format!("snapshot-{last:020}");
            files.insert(
                name,
                snapshot(version, last, hash, b"the state after five frames"),
            );
        }
    }
    files
}

fn directory(version: usize) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../spec/journals/v{version}"))
}

fn golden(version: usize) -> Files {
    let directory = directory(version);
    let entries =
        fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries
        .map(|entry| {
            let entry = entry.expect("the directory can be listed");
            let name = entry.file_name().into_string().expect("names are ASCII");
            (name, fs::read(entry.path()).expect("the file can be read"))
        })
        .collect()
}

fn options() -> Options {
    Options {
        identity: IDENTITY,
        segment_bytes: SEGMENT_BYTES as u64,
    }
}

/// Opens, compares every frame from `first` on, and returns the storage's files afterwards.
fn open_and_compare(files: Files, first: usize, upgraded_from: Option<u32>) -> Files {
    let storage = FaultyStorage::from_files(1, files);
    let (journal, mut recovery) =
        Journal::open(Arc::new(storage.clone()), options()).expect("opens");
    assert_eq!(recovery.report.upgraded_from, upgraded_from);
    assert_eq!(recovery.report.torn_tail, None);
    assert_eq!(
        recovery
            .snapshot
            .as_ref()
            .map(|snapshot| snapshot.head.sequence.0),
        (first > 1).then_some(5)
    );
    for sequence in first..=8 {
        let frame = recovery
            .next_frame()
            .expect("the storage works")
            .expect("a frame is there");
        assert_eq!(
            (frame.sequence.0, frame.payload),
            (sequence as u64, &payload(sequence)[..])
        );
    }
    assert_eq!(recovery.next_frame().expect("the storage works"), None);
    let mut hash = sha256(&[b"forebay journal genesis", &IDENTITY]);
    for sequence in 1..=8 {
        hash = chain(hash, sequence, &payload(sequence));
    }
    assert_eq!(
        journal.head(),
        Head {
            sequence: Sequence(8),
            hash: FrameHash(hash)
        }
    );
    storage.files()
}

/// Says where files differ, rather than printing them.
fn assert_same(found: &Files, expected: &Files) {
    assert!(found.keys().eq(expected.keys()), "{:?}", found.keys());
    for (name, bytes) in expected {
        let differs = found[name]
            .iter()
            .zip(bytes)
            .position(|(left, right)| left != right);
        assert_eq!((differs, found[name].len()), (None, bytes.len()), "{name}");
    }
}

fn without_snapshots(mut files: Files) -> Files {
    files.retain(|name, _| !name.starts_with("snapshot"));
    files
}

#[test]
fn the_golden_journals_are_what_the_specification_draws() {
    for version in [1, 2] {
        assert_same(&golden(version), &expected(version));
    }
}

#[test]
fn this_software_writes_the_golden_journal_byte_for_byte() {
    let storage = FaultyStorage::new(1);
    let (mut journal, _) = Journal::open(Arc::new(storage.clone()), options()).expect("opens");
    for sequence in 1..=8 {
        journal.append(&payload(sequence)).expect("appends");
        if [2, 5, 8].contains(&sequence) {
            journal.sync().expect("syncs");
        }
        if sequence == 5 {
            journal
                .snapshot(journal.head(), b"the state after five frames")
                .expect("writes");
        }
    }
    journal.close().expect("closes");
    let mut files = storage.files();
    files.remove("next.preparing");
    assert_same(&files, &golden(2));
}

#[test]
fn the_current_golden_journal_is_read_and_left_as_it_is() {
    assert_same(&open_and_compare(golden(2), 6, None), &golden(2));
    open_and_compare(without_snapshots(golden(2)), 1, None);
}

#[test]
fn a_version_1_journal_is_upgraded_and_a_copy_kept() {
    for (files, first) in [(golden(1), 6), (without_snapshots(golden(1)), 1)] {
        let after = open_and_compare(files.clone(), first, Some(1));
        for (name, bytes) in &files {
            assert_eq!(
                &after[&format!("before-upgrade-v1/{name}")],
                bytes,
                "{name}"
            );
        }
        let kept = after
            .into_iter()
            .filter(|(name, _)| !name.contains('/'))
            .collect();
        open_and_compare(kept, first, None);
    }
}

#[test]
fn an_upgrade_that_crashes_anywhere_goes_on() {
    for fails_in in 0..20 {
        for seed in 0..5 {
            let storage = FaultyStorage::from_files(seed, golden(1));
            let faults = forebay_journal::testing::Faults {
                sync_fails_in: Some(fails_in),
                ..Default::default()
            };
            storage.set_faults(faults);
            let opened = Journal::open(Arc::new(storage.clone()), options());
            assert!(matches!(opened, Ok(_) | Err(OpenFault::Fault(_))));
            drop(opened);
            storage.set_faults(Default::default());
            storage.crash();
            let upgraded = Journal::open(Arc::new(storage.clone()), options()).expect("goes on");
            assert_eq!(upgraded.0.head().sequence, Sequence(8));
            for (name, bytes) in golden(1)
                .iter()
                .filter(|(name, _)| name.starts_with("segment"))
            {
                assert_eq!(
                    &storage.files()[&format!("before-upgrade-v1/{name}")],
                    bytes
                );
            }
        }
    }
}

#[test]
fn a_version_1_journal_that_is_damaged_is_refused_and_left_as_it_is() {
    let mut files = golden(1);
    files.get_mut("segment-0000000001").expect("it is there")[4096 + 200] ^= 1;
    let storage = FaultyStorage::from_files(1, files.clone());
    let refusal = Journal::open(Arc::new(storage.clone()), options()).expect_err("refused");
    assert!(
        matches!(refusal, OpenFault::Corrupt { offset: 4096, .. }),
        "{refusal}"
    );
    assert_same(&storage.files(), &files);
}

#[test]
fn a_newer_format_is_refused_with_its_version() {
    for name in ["segment-0000000001", "snapshot-00000000000000000005"] {
        let mut files = golden(2);
        files.get_mut(name).expect("it is there")[8] = 3;
        let storage = FaultyStorage::from_files(1, files.clone());
        let refusal = Journal::open(Arc::new(storage.clone()), options()).expect_err("refused");
        assert!(
            matches!(refusal, OpenFault::NewerFormat { found: 3, .. }),
            "{refusal}"
        );
        assert!(refusal.to_string().contains("upgrade the software"));
        assert_same(&storage.files(), &files);
    }
}

#[test]
fn the_journal_of_another_pool_is_refused() {
    let other = Options {
        identity: [1; 32],
        segment_bytes: SEGMENT_BYTES as u64,
    };
    let storage = FaultyStorage::from_files(1, golden(2));
    let refusal = Journal::open(Arc::new(storage), other).expect_err("refused");
    assert!(
        matches!(refusal, OpenFault::OtherIdentity { .. }),
        "{refusal}"
    );
}

#[test]
fn a_replay_reads_either_version_as_it_is() {
    for version in [1, 2] {
        let storage = FaultyStorage::from_files(1, golden(version));
        let mut replay = Journal::replay(Arc::new(storage.clone()), IDENTITY).expect("reads");
        for sequence in 1..=8 {
            let frame = replay
                .next_frame()
                .expect("the storage works")
                .expect("a frame is there");
            assert_eq!(frame.payload, payload(sequence));
        }
        assert_same(&storage.files(), &golden(version));
    }
}
