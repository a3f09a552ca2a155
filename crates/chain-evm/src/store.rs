//! The record of sent transactions: what makes asking twice pay once, across a kill.

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_channel::Address;
use forebay_quantity::{EffectId, Hash32};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// One line of the record.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Entry {
    /// A transaction is about to be sent. Several under one nonce are replacements; one of them at most is included.
    Sending(Sending),
    /// The nonce will never be used by this effect: the nodes refused it before any could have taken it, or a
    /// foreign transaction used it up for certain.
    Abandoned {
        /// The effect.
        effect: EffectId,
        /// Its step.
        step: u8,
        /// The nonce given back.
        nonce: u64,
    },
    /// The caller's journal holds the outcome, so the effect is never asked for again.
    Forgotten {
        /// The effect.
        effect: EffectId,
    },
    /// Whose record this is: its first entry, and nowhere else.
    MadeFor {
        /// The account.
        account: Address,
        /// The EVM chain id.
        chain_id: u64,
    },
    /// What an effect is asked for, before anything is signed for it.
    Asked {
        /// The effect.
        effect: EffectId,
        /// The digest of what the caller's journal asks for under that number.
        request: Hash32,
    },
}

impl Entry {
    /// The effect that it is about.
    fn effect(&self) -> Option<EffectId> {
        match self {
            Self::Sending(Sending { effect, .. })
            | Self::Abandoned { effect, .. }
            | Self::Forgotten { effect }
            | Self::Asked { effect, .. } => Some(*effect),
            Self::MadeFor { .. } => None,
        }
    }
}

/// A signed transaction of an effect's step.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Sending {
    /// The effect.
    pub effect: EffectId,
    /// Which of the effect's transactions: a token's allowance comes before its deposit.
    pub step: u8,
    /// The account's nonce.
    pub nonce: u64,
    /// The transaction's hash.
    pub hash: Hash32,
    /// The highest fee it pays, in wei per gas.
    pub fee_max: u128,
    /// The tip it pays, in wei per gas.
    pub tip_max: u128,
    /// The transaction as it goes over the wire.
    pub raw: Vec<u8>,
}

/// Where the record is kept.
pub trait EffectStore: Send {
    /// All entries, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    fn load(&mut self) -> io::Result<Vec<Entry>>;

    /// Appends one; durable when this returns.
    ///
    /// # Errors
    /// When it is not durable; the entry may be found by a later `load` or not.
    fn append(&mut self, entry: &Entry) -> io::Result<()>;
}

/// A record that ends with the process, for tests and throw-away chains.
#[derive(Default, Debug)]
pub struct MemoryStore {
    entries: Vec<Entry>,
}

impl EffectStore for MemoryStore {
    fn load(&mut self) -> io::Result<Vec<Entry>> {
        Ok(self.entries.clone())
    }

    fn append(&mut self, entry: &Entry) -> io::Result<()> {
        self.entries.push(entry.clone());
        Ok(())
    }
}

/// The largest entry: a transaction of [`forebay_channel::vault::BATCH_MAX`] redemptions is some 16 KiB.
const ENTRY_MAX: u32 = 1 << 20;

/// A record in one file: frames of length, CRC-32C and entry, each synced before anything is sent.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    file: File,
    /// How much of the file is whole frames.
    length: u64,
    /// True after a write failed whose traces could not be removed.
    broken: bool,
}

impl FileStore {
    /// Opens or creates the record, cuts a torn last frame, and drops what was forgotten.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is damaged before its end.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_path_buf();
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)?;
        let mut store = Self {
            path,
            file,
            length: 0,
            broken: false,
        };
        let entries = store.load()?;
        let kept = without_forgotten(&entries);
        if kept.len() < entries.len() {
            store.rewrite(&kept)?;
        }
        sync_folder(&store.path)?;
        Ok(store)
    }

    fn rewrite(&mut self, entries: &[Entry]) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut file = File::create(&beside)?;
        for entry in entries {
            file.write_all(&frame(entry)?)?;
        }
        file.sync_all()?;
        std::fs::rename(&beside, &self.path)?;
        self.file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&self.path)?;
        self.length = self.file.metadata()?.len();
        Ok(())
    }
}

impl EffectStore for FileStore {
    fn load(&mut self) -> io::Result<Vec<Entry>> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes)?;
        let (entries, whole) = frames(&bytes)?;
        self.length = u64::try_from(whole).map_err(io::Error::other)?;
        if whole < bytes.len() {
            self.file.set_len(self.length)?;
            self.file.sync_all()?;
        }
        Ok(entries)
    }

    fn append(&mut self, entry: &Entry) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier write failed; start again"));
        }
        let bytes = frame(entry)?;
        let written = self
            .file
            .write_all(&bytes)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Half a frame in the middle would be damage; and after a failed sync nobody knows what is on disk.
            self.broken = self
                .file
                .set_len(self.length)
                .and_then(|()| self.file.sync_data())
                .is_err();
            return Err(error);
        }
        self.length += u64::try_from(bytes.len()).map_err(io::Error::other)?;
        Ok(())
    }
}

fn frame(entry: &Entry) -> io::Result<Vec<u8>> {
    let body = borsh::to_vec(entry).map_err(|error| io::Error::other(error.to_string()))?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|length| *length <= ENTRY_MAX);
    let length = length.ok_or_else(|| io::Error::other("an entry is too large"))?;
    let mut bytes = Vec::with_capacity(body.len() + 8);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// Reads whole frames; gives how many bytes they take. A bad frame at the very end is torn, one before it is damage.
fn frames(bytes: &[u8]) -> io::Result<(Vec<Entry>, usize)> {
    let mut entries = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match one_frame(&bytes[at..]) {
            Frame::Whole(entry, length) => {
                entries.push(entry);
                at += length;
            }
            Frame::Torn => break,
            Frame::Damaged => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "the record of sent transactions is damaged at byte {at}; restore it from a copy"
                    ),
                ));
            }
        }
    }
    Ok((entries, at))
}

enum Frame {
    Whole(Entry, usize),
    Torn,
    Damaged,
}

fn one_frame(bytes: &[u8]) -> Frame {
    let Some((head, rest)) = bytes.split_first_chunk::<8>() else {
        return Frame::Torn;
    };
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let crc = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if length > ENTRY_MAX {
        return Frame::Damaged;
    }
    let Ok(length) = usize::try_from(length) else {
        return Frame::Damaged;
    };
    let Some(body) = rest.get(..length) else {
        return Frame::Torn;
    };
    let last = rest.len() == length;
    match Entry::try_from_slice(body) {
        Ok(entry) if crc32c::crc32c(body) == crc => Frame::Whole(entry, length + 8),
        Ok(_) | Err(_) if last => Frame::Torn,
        Ok(_) | Err(_) => Frame::Damaged,
    }
}

fn without_forgotten(entries: &[Entry]) -> Vec<Entry> {
    let forgotten: Vec<EffectId> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Forgotten { effect } => Some(*effect),
            Entry::Sending(_)
            | Entry::Abandoned { .. }
            | Entry::MadeFor { .. }
            | Entry::Asked { .. } => None,
        })
        .collect();
    let keeps = |entry: &&Entry| {
        let effect = entry.effect();
        effect.is_none_or(|effect| !forgotten.contains(&effect))
    };
    entries.iter().filter(keeps).cloned().collect()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sending(effect: u64, nonce: u64) -> Entry {
        Entry::Sending(Sending {
            effect: EffectId::new(effect),
            step: 0,
            nonce,
            hash: Hash32::new([7; 32]),
            fee_max: 9,
            tip_max: 1,
            raw: vec![1, 2, 3],
        })
    }

    fn asked(effect: u64) -> Entry {
        Entry::Asked {
            effect: EffectId::new(effect),
            request: Hash32::new([effect.to_le_bytes()[0]; 32]),
        }
    }

    fn record() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sent");
        (folder, path)
    }

    #[test]
    fn what_was_appended_is_there_after_reopening() {
        let (_folder, path) = record();
        let mut store = FileStore::open(&path).expect("created");
        store.append(&sending(1, 10)).expect("appended");
        store.append(&sending(2, 11)).expect("appended");
        let mut again = FileStore::open(&path).expect("reopened");
        assert_eq!(
            again.load().expect("read"),
            [sending(1, 10), sending(2, 11)]
        );
    }

    #[test]
    fn a_torn_last_frame_is_cut_at_every_length_and_appending_goes_on() {
        let (_folder, path) = record();
        let first = frame(&sending(1, 10)).expect("framed");
        let second = frame(&sending(2, 11)).expect("framed");
        for torn in 0..second.len() {
            let mut bytes = first.clone();
            bytes.extend_from_slice(&second[..torn]);
            std::fs::write(&path, &bytes).expect("written");
            let mut store = FileStore::open(&path).expect("opened");
            store.append(&sending(3, 12)).expect("appended");
            assert_eq!(
                store.load().expect("read"),
                [sending(1, 10), sending(3, 12)],
                "torn at {torn}"
            );
        }
    }

    #[test]
    fn damage_before_the_end_is_refused() {
        let (_folder, path) = record();
        let mut bytes = frame(&sending(1, 10)).expect("framed");
        bytes[9] ^= 1;
        bytes.extend_from_slice(&frame(&sending(2, 11)).expect("framed"));
        std::fs::write(&path, &bytes).expect("written");
        let error = FileStore::open(&path).expect_err("damaged");
        assert!(error.to_string().contains("byte 0"), "{error}");
    }

    #[test]
    fn forgotten_effects_leave_the_record_when_it_is_opened() {
        let (_folder, path) = record();
        let mut store = FileStore::open(&path).expect("created");
        let made_for = Entry::MadeFor {
            account: Address::new([1; 20]),
            chain_id: 1,
        };
        for entry in [
            made_for.clone(),
            asked(1),
            sending(1, 10),
            asked(2),
            sending(2, 11),
            Entry::Forgotten {
                effect: EffectId::new(1),
            },
        ] {
            store.append(&entry).expect("appended");
        }
        let mut again = FileStore::open(&path).expect("reopened");
        let kept = again.load().expect("read");
        assert_eq!(kept, [made_for, asked(2), sending(2, 11)]);
    }
}
