//! The wallet's file: each change of it is one durable write, or none.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use bdk_wallet::ChangeSet;
use bdk_wallet::chain::Merge;
use bitcoin::OutPoint;
use forebay_quantity::EffectId;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::deposit::{DepositRecord, Observation};
use super::payment::PaymentRecord;
use crate::Fault;

/// What BDK noted, in pieces to be merged in order.
const PIECES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("pieces");
/// What each address is for, by its place in the descriptor.
const PURPOSES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("purposes");
const PAYMENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("payments");
const DEPOSITS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("deposits");
const OBSERVATIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("observations");
/// One row: the next number of an observation, so that none is used twice after all were forgotten.
const NEXT: TableDefinition<'_, (), u64> = TableDefinition::new("next_observation");

/// More pieces than this are merged into one at the next start, so that a start stays short.
const PIECES_MAX: usize = 1_000;

/// What an address of the wallet is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Purpose {
    /// An LP pays in.
    Deposit(super::DepositTag),
    /// The operator's own money for channels, and what their closes pay back.
    ChannelFunding,
    /// What a payment of ours left over.
    Change,
    /// What pays for moving the reserve.
    ReserveRenewal,
    /// What the reserve pays back to the hot wallet.
    FromReserve,
}

/// All that the file holds.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) wallet: Option<ChangeSet>,
    pub(super) purposes: BTreeMap<u32, Purpose>,
    pub(super) payments: BTreeMap<EffectId, PaymentRecord>,
    pub(super) deposits: BTreeMap<OutPoint, DepositRecord>,
    pub(super) observations: BTreeMap<u64, Observation>,
    pub(super) next_observation: u64,
}

/// What happens to the file at once.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) wallet: Option<ChangeSet>,
    pub(super) purpose: Option<(u32, Purpose)>,
    pub(super) payments: Vec<(EffectId, PaymentRecord)>,
    pub(super) deposits: Vec<(OutPoint, Option<DepositRecord>)>,
    /// Each under its number.
    pub(super) observations: Vec<(u64, Observation)>,
    /// Observations below this number were kept elsewhere.
    pub(super) forget_below: Option<u64>,
}

impl Change {
    /// Of what BDK noted alone.
    pub(crate) fn of_wallet(wallet: Option<ChangeSet>) -> Self {
        Self {
            wallet,
            ..Self::default()
        }
    }
}

pub(crate) struct Store {
    database: Database,
    next_piece: u64,
    /// A write failed, so that what is in memory may be ahead of the file: nothing is written any more.
    failed: bool,
}

impl Store {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When another process has it open, or it is damaged, or the disk fails.
    pub(crate) fn open(path: &Path) -> Result<(Self, Kept), Fault> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| Fault::WalletStore {
                what: error.to_string(),
            })?;
        }
        Self::with(Database::create(path).map_err(fault)?)
    }

    fn with(database: Database) -> Result<(Self, Kept), Fault> {
        let mut store = Self {
            database,
            next_piece: 0,
            failed: false,
        };
        store.write(&Change::default())?;
        let kept = store.read()?;
        Ok((store, kept))
    }

    /// Makes all of a change durable.
    ///
    /// # Errors
    /// When the disk fails: then nothing of it counts, and nothing more is written until the file is opened again.
    pub(crate) fn write(&mut self, change: &Change) -> Result<(), Fault> {
        if self.failed {
            return Err(fault_of_content(
                "a write failed before; start again once the disk works",
            ));
        }
        let written = self.commit(change);
        self.failed = written.is_err();
        self.next_piece += u64::from(change.wallet.is_some());
        written
    }

    fn commit(&self, change: &Change) -> Result<(), Fault> {
        let write = self.database.begin_write().map_err(fault)?;
        put(&write, self.next_piece, change)?;
        write.commit().map_err(fault)
    }

    fn read(&mut self) -> Result<Kept, Fault> {
        let read = self.database.begin_read().map_err(fault)?;
        let mut kept = Kept::default();
        let mut pieces = 0;
        for row in read
            .open_table(PIECES)
            .map_err(fault)?
            .iter()
            .map_err(fault)?
        {
            let (number, piece) = row.map_err(fault)?;
            self.next_piece = number.value() + 1;
            pieces += 1;
            let piece: ChangeSet = parse(piece.value())?;
            kept.wallet.get_or_insert_default().merge(piece);
        }
        for row in read
            .open_table(PURPOSES)
            .map_err(fault)?
            .iter()
            .map_err(fault)?
        {
            let (index, purpose) = row.map_err(fault)?;
            kept.purposes.insert(index.value(), parse(purpose.value())?);
        }
        for row in read
            .open_table(PAYMENTS)
            .map_err(fault)?
            .iter()
            .map_err(fault)?
        {
            let (id, record) = row.map_err(fault)?;
            let id = EffectId::new(id.value());
            kept.payments.insert(id, parse(record.value())?);
        }
        for row in read
            .open_table(DEPOSITS)
            .map_err(fault)?
            .iter()
            .map_err(fault)?
        {
            let (outpoint, record) = row.map_err(fault)?;
            let outpoint = OutPoint::from_str(outpoint.value()).map_err(fault_of_content)?;
            kept.deposits.insert(outpoint, parse(record.value())?);
        }
        for row in read
            .open_table(OBSERVATIONS)
            .map_err(fault)?
            .iter()
            .map_err(fault)?
        {
            let (number, observation) = row.map_err(fault)?;
            kept.observations
                .insert(number.value(), parse(observation.value())?);
        }
        let next = read
            .open_table(NEXT)
            .map_err(fault)?
            .get(())
            .map_err(fault)?;
        kept.next_observation = next.map_or(0, |next| next.value());
        drop(read);
        if pieces > PIECES_MAX {
            self.merge(kept.wallet.as_ref())?;
        }
        Ok(kept)
    }

    /// Puts one piece in place of all.
    fn merge(&mut self, wallet: Option<&ChangeSet>) -> Result<(), Fault> {
        let write = self.database.begin_write().map_err(fault)?;
        {
            let mut pieces = write.open_table(PIECES).map_err(fault)?;
            pieces.retain(|_, _| false).map_err(fault)?;
            let bytes = text(&wallet)?;
            pieces
                .insert(self.next_piece, bytes.as_slice())
                .map_err(fault)?;
        }
        write.commit().map_err(fault)?;
        self.next_piece += 1;
        Ok(())
    }
}

fn put(write: &WriteTransaction, next_piece: u64, change: &Change) -> Result<(), Fault> {
    let mut pieces = write.open_table(PIECES).map_err(fault)?;
    if let Some(piece) = &change.wallet {
        let bytes = text(piece)?;
        pieces.insert(next_piece, bytes.as_slice()).map_err(fault)?;
    }
    let mut purposes = write.open_table(PURPOSES).map_err(fault)?;
    if let Some((index, purpose)) = &change.purpose {
        let bytes = text(purpose)?;
        purposes.insert(index, bytes.as_slice()).map_err(fault)?;
    }
    let mut payments = write.open_table(PAYMENTS).map_err(fault)?;
    for (id, record) in &change.payments {
        let bytes = text(record)?;
        payments
            .insert(id.value(), bytes.as_slice())
            .map_err(fault)?;
    }
    let mut deposits = write.open_table(DEPOSITS).map_err(fault)?;
    for (outpoint, record) in &change.deposits {
        let key = outpoint.to_string();
        match record {
            Some(record) => deposits.insert(key.as_str(), text(record)?.as_slice()),
            None => deposits.remove(key.as_str()),
        }
        .map_err(fault)?;
    }
    let mut observations = write.open_table(OBSERVATIONS).map_err(fault)?;
    let mut next = write.open_table(NEXT).map_err(fault)?;
    for (number, observation) in &change.observations {
        let bytes = text(observation)?;
        observations
            .insert(number, bytes.as_slice())
            .map_err(fault)?;
        next.insert((), number + 1).map_err(fault)?;
    }
    if let Some(below) = change.forget_below {
        observations
            .retain(|number, _| number >= below)
            .map_err(fault)?;
    }
    Ok(())
}

fn text(value: &impl Serialize) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(value).map_err(fault_of_content)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(fault_of_content)
}

fn fault(error: impl Into<redb::Error>) -> Fault {
    Fault::WalletStore {
        what: error.into().to_string(),
    }
}

fn fault_of_content(error: impl std::fmt::Display) -> Fault {
    Fault::WalletStore {
        what: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use bitcoin::BlockHash;
    use bitcoin::hashes::Hash;
    use redb::StorageBackend;
    use redb::backends::FileBackend;

    use super::*;
    use crate::chain::BlockPlace;

    fn observation(height: u32) -> Observation {
        let hash = BlockHash::all_zeros();
        Observation::DeepReorg {
            block: BlockPlace { height, hash },
        }
    }

    fn of_observation(number: u64) -> Change {
        Change {
            observations: vec![(number, observation(7))],
            ..Change::default()
        }
    }

    fn of_block(height: u32) -> Change {
        let mut wallet = ChangeSet::default();
        let hash = BlockHash::all_zeros();
        wallet.local_chain.blocks.insert(height, Some(hash));
        Change {
            wallet: Some(wallet),
            ..Change::default()
        }
    }

    #[test]
    fn numbers_of_observations_are_never_used_again_and_pieces_are_brought_together() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wallet.redb");
        let (mut store, kept) = Store::open(&path).expect("it opens");
        assert!(kept.wallet.is_none() && kept.next_observation == 0);
        for number in 0..3 {
            store.write(&of_observation(number)).expect("it is written");
        }
        let forget_below = Some(3);
        store
            .write(&Change {
                forget_below,
                ..Change::default()
            })
            .expect("it is written");
        let blocks = u32::try_from(PIECES_MAX).expect("it is small") + 1;
        for height in 0..blocks {
            store.write(&of_block(height)).expect("it is written");
        }
        drop(store);
        for _ in 0..2 {
            let (store, kept) = Store::open(&path).expect("it opens");
            assert_eq!(kept.next_observation, 3);
            assert!(kept.observations.is_empty());
            let wallet = kept.wallet.expect("it was written");
            assert_eq!(wallet.local_chain.blocks.len(), PIECES_MAX + 1);
            let read = store.database.begin_read().expect("it reads");
            let pieces = read.open_table(PIECES).expect("it is there");
            assert_eq!(pieces.iter().expect("it reads").count(), 1);
        }
    }

    /// A disk that can be told to fail.
    #[derive(Debug)]
    struct Disk(FileBackend, Arc<AtomicBool>);

    impl Disk {
        fn check(&self) -> io::Result<()> {
            if self.1.load(Ordering::SeqCst) {
                return Err(io::Error::other("no space left"));
            }
            Ok(())
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.check().and_then(|()| self.0.set_len(len))
        }

        fn sync_data(&self) -> io::Result<()> {
            self.check().and_then(|()| self.0.sync_data())
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.check().and_then(|()| self.0.write(offset, data))
        }
    }

    #[test]
    fn after_a_write_that_failed_nothing_is_written_and_the_file_is_as_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wallet.redb");
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .expect("it is made");
        let fails = Arc::new(AtomicBool::new(false));
        let disk = Disk(FileBackend::new(file).expect("it is locked"), fails.clone());
        let database = Database::builder().create_with_backend(disk);
        let (mut store, _) = Store::with(database.expect("it opens")).expect("it reads");
        store.write(&of_observation(0)).expect("it is written");
        fails.store(true, Ordering::SeqCst);
        assert!(store.write(&of_observation(1)).is_err());
        fails.store(false, Ordering::SeqCst);
        let refused = store
            .write(&of_observation(2))
            .expect_err("it failed before");
        assert!(refused.to_string().contains("start again"), "{refused}");
        drop(store);
        let (_, kept) = Store::open(&path).expect("it opens");
        assert_eq!(kept.observations.len(), 1);
        assert_eq!(kept.next_observation, 1);
    }
}
