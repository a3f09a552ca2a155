//! A storage in memory that fails on demand, for tests and the simulator. Everything follows from the seed.
//!
//! It keeps what a machine keeps: what was written (seen by every read), and what is durable. A crash loses an
//! arbitrary subset of the unsynced sectors, tears some of them inside, and loses the latest renames and creations.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::storage::{Storage, StoredFile};

/// The unit a disk writes whole, mostly.
pub const SECTOR_BYTES: usize = 512;

/// Faults to come. Counters count down with each operation; `None` means never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// The n-th sync from now fails (0: the next), once, and the kernel forgets that the data was dirty.
    pub sync_fails_in: Option<u64>,
    /// The n-th write from now fails with an I/O error, once.
    pub write_fails_in: Option<u64>,
    /// The n-th write from now is short, once.
    pub write_short_in: Option<u64>,
    /// All files together may grow to this many bytes; a write beyond it is short, then ENOSPC.
    pub capacity_bytes: Option<u64>,
}

/// How often each fault has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultCounts {
    /// Syncs that failed.
    pub syncs_failed: u64,
    /// Writes that failed.
    pub writes_failed: u64,
    /// Writes that were short.
    pub writes_short: u64,
    /// Writes or reservations refused for lack of space.
    pub full: u64,
    /// Crashes.
    pub crashes: u64,
    /// Unsynced sectors that a crash lost.
    pub sectors_lost: u64,
    /// Unsynced sectors that a crash tore inside.
    pub sectors_torn: u64,
}

/// A cloneable handle: the simulator keeps one, the journal gets the other.
#[derive(Clone)]
pub struct FaultyStorage(Arc<Mutex<Machine>>);

struct Machine {
    random: SplitMix,
    /// Handles of an earlier life are dead.
    life: u64,
    files: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// Changes of names since the last sync of names, oldest first.
    unsynced_names: Vec<NameChange>,
    faults: Faults,
    counts: FaultCounts,
    syncs: u64,
}

enum NameChange {
    Set(String, u64),
    Rename(String, String),
    Remove(String),
}

#[derive(Default)]
struct Inode {
    written: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that differ and that the kernel still knows to be dirty.
    dirty: BTreeSet<usize>,
}

impl FaultyStorage {
    /// An empty, faultless storage; `seed` decides what later crashes keep.
    pub fn new(seed: u64) -> Self {
        Self::from_files(seed, BTreeMap::new())
    }

    /// A storage that durably holds these files.
    pub fn from_files(seed: u64, files: BTreeMap<String, Vec<u8>>) -> Self {
        let mut machine = Machine {
            random: SplitMix(seed),
            life: 0,
            files: BTreeMap::new(),
            next_inode: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            faults: Faults::default(),
            counts: FaultCounts::default(),
            syncs: 0,
        };
        for (name, bytes) in files {
            let inode = machine.new_inode(bytes);
            machine.names.insert(name, inode);
        }
        machine.durable_names = machine.names.clone();
        Self(Arc::new(Mutex::new(machine)))
    }

    /// Replaces the faults to come.
    pub fn set_faults(&self, faults: Faults) {
        self.machine().faults = faults;
    }

    /// How often each fault has happened.
    pub fn fault_counts(&self) -> FaultCounts {
        self.machine().counts
    }

    /// Syncs of files that succeeded.
    pub fn syncs(&self) -> u64 {
        self.machine().syncs
    }

    /// Power is lost: unsynced sectors survive, vanish or tear as the seed decides; open handles are dead.
    pub fn crash(&self) {
        self.machine().crash();
    }

    /// The process is killed: everything written survives in the kernel; open handles are dead.
    pub fn kill(&self) {
        self.machine().life += 1;
    }

    /// Flips one bit of a file, on the disk and in the cache.
    ///
    /// # Panics
    /// When there is no such file or byte.
    pub fn flip_bit(&self, name: &str, byte: usize, bit: u8) {
        let mut machine = self.machine();
        let inode = machine.names[name];
        let inode = machine.files.get_mut(&inode).expect("a name has an inode");
        inode.written[byte] ^= 1 << bit;
        if let Some(stored) = inode.durable.get_mut(byte) {
            *stored ^= 1 << bit;
        }
    }

    /// All files as a reader sees them now.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let machine = self.machine();
        let content = |inode: &u64| machine.files[inode].written.clone();
        machine
            .names
            .iter()
            .map(|(name, inode)| (name.clone(), content(inode)))
            .collect()
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0
            .lock()
            .expect("no panic happens while the lock is held")
    }

    fn handle(&self, machine: &Machine, inode: u64) -> Box<dyn StoredFile> {
        Box::new(FaultyFile {
            storage: self.clone(),
            inode,
            life: machine.life,
        })
    }
}

impl Storage for FaultyStorage {
    fn names(&self) -> io::Result<Vec<String>> {
        let machine = self.machine();
        Ok(machine
            .names
            .keys()
            .filter(|name| !name.contains('/'))
            .cloned()
            .collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        let machine = self.machine();
        let inode = *machine.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(&machine, inode))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        let mut machine = self.machine();
        let inode = machine.new_inode(Vec::new());
        machine.change_name(NameChange::Set(name.to_owned(), inode));
        Ok(self.handle(&machine, inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut machine = self.machine();
        if !machine.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        machine.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut machine = self.machine();
        if !machine.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        machine.change_name(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_names(&self, _name: &str) -> io::Result<()> {
        let mut machine = self.machine();
        if counts_down(&mut machine.faults.sync_fails_in) {
            machine.counts.syncs_failed += 1;
            return Err(io::Error::other("injected: the sync of the folder failed"));
        }
        machine.unsynced_names.clear();
        machine.durable_names = machine.names.clone();
        Ok(())
    }

    fn allows_threads(&self) -> bool {
        false
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

impl Machine {
    fn new_inode(&mut self, bytes: Vec<u8>) -> u64 {
        let inode = self.next_inode;
        self.next_inode += 1;
        let durable = bytes.clone();
        self.files.insert(
            inode,
            Inode {
                written: bytes,
                durable,
                dirty: BTreeSet::new(),
            },
        );
        inode
    }

    fn change_name(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.unsynced_names.push(change);
        self.forget_unnamed();
    }

    fn forget_unnamed(&mut self) {
        let mut named: BTreeSet<u64> = self.names.values().copied().collect();
        named.extend(self.durable_names.values());
        named.extend(
            self.unsynced_names
                .iter()
                .filter_map(|change| match change {
                    NameChange::Set(_, inode) => Some(*inode),
                    NameChange::Rename(..) | NameChange::Remove(_) => None,
                }),
        );
        self.files.retain(|inode, _| named.contains(inode));
    }

    fn crash(&mut self) {
        self.life += 1;
        self.counts.crashes += 1;
        let kept = self.random.below(self.unsynced_names.len() + 1);
        let mut names = std::mem::take(&mut self.durable_names);
        self.unsynced_names
            .drain(..)
            .take(kept)
            .for_each(|change| apply(&mut names, &change));
        self.durable_names = names.clone();
        self.names = names;
        for inode in self.files.values_mut() {
            inode.crash(&mut self.random, &mut self.counts);
        }
        self.forget_unnamed();
    }

    fn live(&mut self, life: u64, inode: u64) -> io::Result<&mut Inode> {
        if life != self.life {
            return Err(io::Error::other(
                "this handle is of a process that has died",
            ));
        }
        self.files
            .get_mut(&inode)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// How many of `wanted` bytes from `end_now` on still fit.
    fn room(&self, inode: u64, end: u64) -> u64 {
        let Some(capacity) = self.faults.capacity_bytes else {
            return end;
        };
        let others: u64 = self
            .files
            .iter()
            .filter(|(other, _)| **other != inode)
            .map(|(_, file)| u64_of(file.written.len()))
            .sum();
        let own = u64_of(self.files[&inode].written.len());
        end.min(own.max(capacity.saturating_sub(others)))
    }
}

fn apply(names: &mut BTreeMap<String, u64>, change: &NameChange) {
    match change {
        NameChange::Set(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
    }
}

impl Inode {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        if self.written.len() < end {
            self.grow(end);
        }
        self.written[offset..end].copy_from_slice(bytes);
        self.dirty
            .extend(offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
    }

    fn grow(&mut self, bytes: usize) {
        self.dirty
            .extend(self.written.len() / SECTOR_BYTES..bytes.div_ceil(SECTOR_BYTES));
        self.written.resize(bytes, 0);
    }

    fn sync(&mut self) {
        let bytes = self.written.len();
        self.durable.resize(bytes, 0);
        for sector in std::mem::take(&mut self.dirty) {
            let range = sector * SECTOR_BYTES..bytes.min((sector + 1) * SECTOR_BYTES);
            self.durable[range.clone()].copy_from_slice(&self.written[range]);
        }
    }

    /// Some dirty sectors reach the disk, the others are forgotten: they look written until the next crash.
    fn fail_sync(&mut self, random: &mut SplitMix) {
        let dirty: Vec<usize> = std::mem::take(&mut self.dirty).into_iter().collect();
        for sector in dirty {
            if random.below(2) == 0 {
                self.keep(sector, SECTOR_BYTES);
            }
        }
    }

    fn crash(&mut self, random: &mut SplitMix, counts: &mut FaultCounts) {
        // Three kinds of machine: one that writes in order, one that writes in any order, one that tears sectors.
        let order = random.below(3);
        let dirty: Vec<usize> = std::mem::take(&mut self.dirty).into_iter().collect();
        let prefix = random.below(dirty.len() + 1);
        for (position, sector) in dirty.into_iter().enumerate() {
            let kept = match order {
                0 => position < prefix,
                _ => random.below(2) == 0,
            };
            let tears = if order == 0 {
                position == prefix
            } else {
                order == 2 && random.below(4) == 0
            };
            if tears {
                counts.sectors_torn += 1;
                self.keep(sector, random.below(SECTOR_BYTES));
            } else if kept {
                self.keep(sector, SECTOR_BYTES);
            } else {
                counts.sectors_lost += 1;
            }
        }
        self.written = self.durable.clone();
    }

    /// Makes the first bytes of one sector durable.
    fn keep(&mut self, sector: usize, bytes: usize) {
        let start = sector * SECTOR_BYTES;
        let end = self.written.len().min(start + bytes);
        if end <= start {
            return;
        }
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        self.durable[start..end].copy_from_slice(&self.written[start..end]);
    }
}

struct FaultyFile {
    storage: FaultyStorage,
    inode: u64,
    life: u64,
}

impl StoredFile for FaultyFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(u64_of(
            self.storage
                .machine()
                .live(self.life, self.inode)?
                .written
                .len(),
        ))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut machine = self.storage.machine();
        let written = &machine.live(self.life, self.inode)?.written;
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(written.len());
        let count = buffer.len().min(written.len() - start);
        buffer[..count].copy_from_slice(&written[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut machine = self.storage.machine();
        machine.live(self.life, self.inode)?;
        if counts_down(&mut machine.faults.write_fails_in) {
            machine.counts.writes_failed += 1;
            return Err(io::Error::other("injected: the write failed"));
        }
        let mut end = machine.room(self.inode, offset + u64_of(bytes.len()));
        if end <= offset && !bytes.is_empty() {
            machine.counts.full += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        if counts_down(&mut machine.faults.write_short_in) && end - offset > 1 {
            machine.counts.writes_short += 1;
            let count = usize_of(end - offset);
            end = offset + 1 + u64_of(machine.random.below(count - 1));
        }
        let count = usize_of(end - offset);
        machine
            .live(self.life, self.inode)?
            .write(&bytes[..count], usize_of(offset));
        Ok(count)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let mut machine = self.storage.machine();
        machine.live(self.life, self.inode)?;
        if machine.room(self.inode, bytes) < bytes {
            machine.counts.full += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = machine.live(self.life, self.inode)?;
        if inode.written.len() < usize_of(bytes) {
            inode.grow(usize_of(bytes));
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut machine = self.storage.machine();
        machine.live(self.life, self.inode)?;
        if counts_down(&mut machine.faults.sync_fails_in) {
            machine.counts.syncs_failed += 1;
            let Machine { random, files, .. } = &mut *machine;
            files
                .get_mut(&self.inode)
                .expect("live, as asked above")
                .fail_sync(random);
            return Err(io::Error::other("injected: the sync failed"));
        }
        machine.live(self.life, self.inode)?.sync();
        machine.syncs += 1;
        Ok(())
    }
}

fn counts_down(counter: &mut Option<u64>) -> bool {
    match counter {
        None => false,
        Some(0) => {
            *counter = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
    }
}

/// Small, seeded and good enough to choose sectors (Steele, Lea and Flood, 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize_of(self.next() % u64_of(bound.max(1)))
    }
}

fn u64_of(value: usize) -> u64 {
    u64::try_from(value).expect("usize fits u64")
}

fn usize_of(value: u64) -> usize {
    usize::try_from(value).expect("a file in memory is smaller than the memory")
}
