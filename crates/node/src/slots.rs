//! A file of records that are replaced in place: what a process keeps of a thing takes the same space for ever.
//!
//! Each slot has two halves that are written in turn. A write that a crash tears leaves the half before it whole, so
//! that what a sync has confirmed is there afterwards. Drawn in `spec/slots.md`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// One half of a slot.
const HALF_BYTES: usize = 256;
/// Checksum, generation, length.
const HEAD_BYTES: usize = 4 + 8 + 2;
/// The longest record: a voucher or a head with its names and signature takes some 160 bytes.
pub(crate) const RECORD_BYTES_MAX: usize = HALF_BYTES - HEAD_BYTES;

/// A record in use, with its slot.
pub(crate) type Record = (usize, Vec<u8>);

struct Slot {
    generation: u64,
    is_used: bool,
}

/// An open file of slots, which one process owns.
pub(crate) struct Slots {
    file: File,
    slots: Vec<Slot>,
    slots_max: usize,
    is_dirty: bool,
    /// A write or a sync failed: what is on the disk is not known until the file is opened again.
    is_broken: bool,
}

impl Slots {
    /// Opens or makes the file; gives the records in use with their slots.
    ///
    /// # Errors
    /// When it cannot be read or written, or another process has it.
    pub(crate) fn open(path: &Path, slots_max: usize) -> io::Result<(Self, Vec<Record>)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("{} is in use by another process", path.display());
                return Err(io::Error::other(text));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        let bytes = file.metadata()?.len();
        let count = usize::try_from(bytes).unwrap_or(usize::MAX) / (2 * HALF_BYTES);
        let mut slots = Self {
            file,
            slots: Vec::new(),
            slots_max,
            is_dirty: false,
            is_broken: false,
        };
        let mut records = Vec::new();
        for place in 0..count {
            let (generation, record) = slots.read(place)?;
            slots.slots.push(Slot {
                generation,
                is_used: !record.is_empty(),
            });
            if !record.is_empty() {
                records.push((place, record));
            }
        }
        Ok((slots, records))
    }

    /// A slot that is not in use; `None` when all are.
    pub(crate) fn free(&mut self) -> Option<usize> {
        if let Some(place) = self.slots.iter().position(|slot| !slot.is_used) {
            return Some(place);
        }
        if self.slots.len() >= self.slots_max {
            return None;
        }
        self.slots.push(Slot {
            generation: 0,
            is_used: false,
        });
        Some(self.slots.len() - 1)
    }

    /// Replaces what a slot holds; durable after [`Slots::sync`]. An empty record frees it.
    ///
    /// # Errors
    /// The disk's; nothing is taken after one until the file is opened again.
    pub(crate) fn write(&mut self, place: usize, record: &[u8]) -> io::Result<()> {
        assert!(
            record.len() <= RECORD_BYTES_MAX,
            "[I12] a record fits its slot"
        );
        self.check()?;
        let slot = &mut self.slots[place];
        slot.generation += 1;
        slot.is_used = !record.is_empty();
        let mut half = [0; HALF_BYTES];
        half[4..12].copy_from_slice(&slot.generation.to_le_bytes());
        let length = u16::try_from(record.len()).expect("shorter than a half");
        half[12..14].copy_from_slice(&length.to_le_bytes());
        half[HEAD_BYTES..HEAD_BYTES + record.len()].copy_from_slice(record);
        let checksum = crc32c::crc32c(&half[4..]);
        half[..4].copy_from_slice(&checksum.to_le_bytes());
        let offset = offset_of(place, slot.generation);
        // A slot at the end is written whole, so that the file's length tells how many there are.
        let written = if slot.generation == 1 {
            let mut both = [0; 2 * HALF_BYTES];
            both[HALF_BYTES..].copy_from_slice(&half);
            self.file.write_all_at(&both, offset_of(place, 0))
        } else {
            self.file.write_all_at(&half, offset)
        };
        self.is_dirty = true;
        written.inspect_err(|_| self.is_broken = true)
    }

    /// Makes all that was written durable.
    ///
    /// # Errors
    /// The disk's; nothing is taken after one until the file is opened again.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.check()?;
        if !std::mem::take(&mut self.is_dirty) {
            return Ok(());
        }
        self.file.sync_data().inspect_err(|_| self.is_broken = true)
    }

    fn check(&self) -> io::Result<()> {
        if self.is_broken {
            return Err(io::Error::other("a write failed before; start again"));
        }
        Ok(())
    }

    /// The newer of the halves that are whole.
    fn read(&self, place: usize) -> io::Result<(u64, Vec<u8>)> {
        let mut newest = (0, Vec::new());
        for half in 0..2 {
            let mut bytes = [0; HALF_BYTES];
            self.file
                .read_exact_at(&mut bytes, offset_of(place, half))?;
            if let Some((generation, record)) = parse(&bytes)
                && generation > newest.0
            {
                newest = (generation, record.to_vec());
            }
        }
        Ok(newest)
    }
}

fn parse(half: &[u8; HALF_BYTES]) -> Option<(u64, &[u8])> {
    let checksum = u32::from_le_bytes(*half.first_chunk()?);
    if crc32c::crc32c(&half[4..]) != checksum {
        return None;
    }
    let generation = u64::from_le_bytes(*half[4..].first_chunk()?);
    let length = usize::from(u16::from_le_bytes(*half[12..].first_chunk()?));
    Some((generation, half.get(HEAD_BYTES..HEAD_BYTES + length)?))
}

/// Odd generations lie in the second half.
fn offset_of(place: usize, generation: u64) -> u64 {
    let halves = u64::try_from(place).expect("usize fits u64") * 2 + generation % 2;
    halves * 256
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(path: &Path) -> Vec<Record> {
        Slots::open(path, 8).expect("it opens").1
    }

    #[test]
    fn what_was_synced_is_there_again_and_a_freed_slot_is_used_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("slots");
        let (mut slots, none) = Slots::open(&path, 2).expect("it opens");
        assert!(none.is_empty());
        for record in [b"one".as_slice(), b"two"] {
            let place = slots.free().expect("room");
            slots.write(place, record).expect("written");
        }
        assert_eq!(slots.free(), None, "[I12] the bound holds");
        slots.write(0, b"one again").expect("written");
        slots.sync().expect("synced");
        assert!(
            Slots::open(&path, 2).is_err(),
            "a second process is refused"
        );
        drop(slots);
        let expected = [(0, b"one again".to_vec()), (1, b"two".to_vec())];
        assert_eq!(records(&path), expected);
        let (mut slots, _) = Slots::open(&path, 2).expect("it opens");
        slots.write(0, b"").expect("freed");
        slots.sync().expect("synced");
        assert_eq!(slots.free(), Some(0));
        drop(slots);
        assert_eq!(records(&path), [(1, b"two".to_vec())]);
    }

    #[test]
    fn a_torn_write_leaves_the_record_before_it_and_the_space_stays_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("slots");
        let (mut slots, _) = Slots::open(&path, 8).expect("it opens");
        let place = slots.free().expect("room");
        for number in 1..=1_000_u32 {
            slots.write(place, &number.to_le_bytes()).expect("written");
        }
        slots.sync().expect("synced");
        drop(slots);
        let bytes = std::fs::read(&path).expect("readable");
        assert_eq!(bytes.len(), 512, "a thousand records later");
        // The last write went to the first half: 1,000 is even. Whatever part of it a crash keeps, 999 or 1,000 is there.
        for kept in 0..=256 {
            let mut torn = bytes.clone();
            torn[kept..256].fill(0xa5);
            std::fs::write(&path, &torn).expect("writable");
            let found = records(&path);
            let expected = if kept == 256 { 1_000_u32 } else { 999 };
            assert_eq!(found, [(0, expected.to_le_bytes().to_vec())], "kept {kept}");
        }
    }
}
