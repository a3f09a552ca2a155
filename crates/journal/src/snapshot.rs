//! Snapshot files: one state, the frame it stands for, and a digest over both.

use sha2::{Digest, Sha256};

use crate::fault::Fault;
use crate::format::{FORMAT_VERSION, FrameHash, Head, Sequence, array_at, u32_at, u64_at};
use crate::storage::{Storage, write_all};

const MAGIC: [u8; 8] = *b"FOREBAYS";
const HEADER_BYTES: usize = 128;
const DIGEST_AT: usize = 96;
const PARTIAL_NAME: &str = "snapshot.partial";
/// How many are kept: the newest may turn out to be unreadable.
pub(crate) const SNAPSHOTS_KEPT: usize = 2;

pub(crate) fn name_of(sequence: Sequence) -> String {
    format!("snapshot-{:020}", sequence.0)
}

pub(crate) fn sequence_of(name: &str) -> Option<Sequence> {
    let digits = name.strip_prefix("snapshot-")?;
    let sequence = Sequence(digits.parse().ok()?);
    (name_of(sequence) == name).then_some(sequence)
}

/// Writes a snapshot under a temporary name, syncs it, renames it and syncs the folder.
pub(crate) fn write(
    storage: &dyn Storage,
    identity: &[u8; 32],
    head: Head,
    state: &[u8],
) -> Result<(), Fault> {
    let written = write_renamed(storage, identity, head, state);
    if written.is_err() {
        // On a full disk half a snapshot is space that the next segment needs.
        let _ = storage.remove(PARTIAL_NAME);
    }
    written
}

fn write_renamed(
    storage: &dyn Storage,
    identity: &[u8; 32],
    head: Head,
    state: &[u8],
) -> Result<(), Fault> {
    let name = name_of(head.sequence);
    let fault = |error| Fault::from_io(format!("writing {name}"), error);
    let header = encode_header(identity, head, state);
    let file = storage.create(PARTIAL_NAME).map_err(fault)?;
    write_all(&*file, &header, 0).map_err(fault)?;
    write_all(&*file, state, u64_len(&header)).map_err(fault)?;
    file.sync().map_err(fault)?;
    storage.rename(PARTIAL_NAME, &name).map_err(fault)?;
    storage.sync_names(&name).map_err(fault)
}

fn encode_header(identity: &[u8; 32], head: Head, state: &[u8]) -> Vec<u8> {
    let mut header = vec![0; HEADER_BYTES];
    header[0..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&128_u32.to_le_bytes());
    header[16..24].copy_from_slice(&head.sequence.0.to_le_bytes());
    header[24..32].copy_from_slice(&u64_len(state).to_le_bytes());
    header[32..64].copy_from_slice(identity);
    header[64..96].copy_from_slice(&head.hash.0);
    let digest = digest_of(&header, state);
    header[DIGEST_AT..].copy_from_slice(&digest);
    header
}

fn digest_of(header: &[u8], state: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(&header[..DIGEST_AT]);
    hasher.update(state);
    hasher.finalize().into()
}

fn u64_len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("usize fits u64")
}

/// What a snapshot file turned out to be.
pub(crate) enum Parsed {
    Whole {
        identity: [u8; 32],
        head: Head,
        state: Vec<u8>,
    },
    Newer(u32),
    Damaged(&'static str),
}

pub(crate) fn parse(mut file: Vec<u8>) -> Parsed {
    if file.len() < HEADER_BYTES {
        return Parsed::Damaged("it is shorter than its header");
    }
    if file[0..8] != MAGIC {
        return Parsed::Damaged("it does not begin with FOREBAYS");
    }
    let version = u32_at(&file, 8);
    if u64_at(&file, 24) != u64_len(&file[HEADER_BYTES..]) && version <= FORMAT_VERSION {
        return Parsed::Damaged("its length is not the one it states");
    }
    if digest_of(&file, &file[HEADER_BYTES..]) != array_at::<32>(&file, DIGEST_AT) {
        // A newer format may place its digest elsewhere; only a version field that was itself
        // damaged could make an old file look new, and then its digest would not match either.
        return if version > FORMAT_VERSION {
            Parsed::Newer(version)
        } else {
            Parsed::Damaged("its digest does not match")
        };
    }
    if version > FORMAT_VERSION {
        return Parsed::Newer(version);
    }
    let identity = array_at(&file, 32);
    let head = Head {
        sequence: Sequence(u64_at(&file, 16)),
        hash: FrameHash(array_at(&file, 64)),
    };
    Parsed::Whole {
        identity,
        head,
        state: file.split_off(HEADER_BYTES),
    }
}

/// Sequences of the snapshots among `names`, newest first.
pub(crate) fn newest_first(names: &[String]) -> Vec<Sequence> {
    let mut sequences: Vec<Sequence> = names.iter().filter_map(|name| sequence_of(name)).collect();
    sequences.sort_unstable_by(|left, right| right.cmp(left));
    sequences
}
