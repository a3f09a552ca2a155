//! One embedded store for everything that the Lightning node must not forget.
//!
//! Changes are queued in order and written by one thread, all that wait in one transaction with one sync. What is read
//! is what was queued last, durable or not; who needs more waits for [`Store::durable`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::watch;

use crate::Fault;

const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("lightning");
const FORMAT_KEY: &[u8] = b"format";
const FORMAT: &[u8] = &[1];
/// How often the store was written, 8 bytes, the highest first.
const GENERATION_KEY: &[u8] = b"generation";

/// Keys and their new values; none removes a key.
type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A key and its value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// How far the store's changes are on stable storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    /// All changes up to this number.
    Durable(u64),
    /// Writing failed; nothing will be written any more.
    Broken,
}

#[derive(Default)]
struct Waiting {
    /// Records, not handed to the writer yet.
    records: Changes,
    /// Monitors, not handed to the writer yet.
    monitors: Changes,
    /// With the writer.
    writing: Arc<Changes>,
    /// Number of the last change of records.
    last: u64,
}

/// The store.
pub(crate) struct Store {
    database: Database,
    waiting: Mutex<Waiting>,
    progress: watch::Sender<Progress>,
    generation: AtomicU64,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// Changes that are written together.
pub(crate) struct Batch {
    changes: Arc<Changes>,
    /// Never read back before a restart.
    manager: Option<Entry>,
    up_to: u64,
}

impl Batch {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.manager.is_none()
    }
}

/// The monitors of a batch that is being put together.
pub(crate) struct Monitors(Changes);

impl Monitors {
    /// Whether none has changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Store {
    /// Opens or makes the store. `wake` is called whenever a change has been queued.
    pub(crate) fn open(path: &Path, wake: Box<dyn Fn() + Send + Sync>) -> Result<Self, Fault> {
        let database = Database::create(path).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => Fault::StoreInUse {
                path: path.to_owned(),
            },
            other => store_fault(other.into()),
        })?;
        check_format(&database)?;
        let (progress, _) = watch::channel(Progress::Durable(0));
        let store = Self {
            database,
            waiting: Mutex::default(),
            progress,
            generation: AtomicU64::new(0),
            wake,
        };
        if let Some(written) = store.read(GENERATION_KEY)? {
            let bytes = written.try_into().map_err(|_| Fault::Store {
                detail: "its generation cannot be read".to_owned(),
            })?;
            store
                .generation
                .store(u64::from_be_bytes(bytes), Ordering::SeqCst);
        }
        Ok(store)
    }

    /// How often it was written: of two copies of a store, the older has the lower one.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// The value last queued or written.
    pub(crate) fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let writing = {
            let waiting = self.lock();
            let queued = waiting.records.get(key);
            if let Some(value) = queued.or_else(|| waiting.monitors.get(key)) {
                return Ok(value.clone());
            }
            Arc::clone(&waiting.writing)
        };
        if let Some(value) = writing.get(key) {
            return Ok(value.clone());
        }
        self.read_written(key).map_err(store_fault)
    }

    fn read_written(&self, key: &[u8]) -> Result<Option<Vec<u8>>, redb::Error> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }

    /// All that is written under keys with this prefix, without the prefix. What is only queued is not in it.
    pub(crate) fn written_under(&self, prefix: &[u8]) -> Result<Vec<Entry>, Fault> {
        self.scan(prefix).map_err(store_fault)
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<Entry>, redb::Error> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        let mut found = Vec::new();
        for entry in table.range(prefix..)? {
            let (key, value) = entry?;
            let Some(rest) = key.value().strip_prefix(prefix) else {
                break;
            };
            found.push((rest.to_vec(), value.value().to_vec()));
        }
        Ok(found)
    }

    /// Queues new values of records, all in one transaction.
    pub(crate) fn write(&self, changes: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>) {
        {
            let mut waiting = self.lock();
            waiting.records.extend(changes);
            waiting.last += 1;
        }
        (self.wake)();
    }

    /// Queues new values of monitors, all in one transaction.
    pub(crate) fn write_monitors(
        &self,
        changes: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
    ) {
        self.lock().monitors.extend(changes);
        (self.wake)();
    }

    /// Queues one new value.
    pub(crate) fn put(&self, key: Vec<u8>, value: Vec<u8>) {
        self.write([(key, Some(value))]);
    }

    /// Waits until all that is queued now is on stable storage.
    ///
    /// # Errors
    ///
    /// [`Fault::Stopped`] when the store can write no more.
    pub(crate) async fn durable(&self) -> Result<(), Fault> {
        let wanted = self.lock().last;
        let mut progress = self.progress.subscribe();
        let reached = progress
            .wait_for(|p| match p {
                Progress::Durable(number) => *number >= wanted,
                Progress::Broken => true,
            })
            .await
            .map_err(|_| Fault::Stopped)?;
        match *reached {
            Progress::Durable(_) => Ok(()),
            Progress::Broken => Err(Fault::Stopped),
        }
    }

    /// Hands over the monitors that are queued. What comes later waits for the next batch: the manager that is serialised
    /// after this has made all of them.
    pub(crate) fn take_monitors(&self) -> Monitors {
        Monitors(std::mem::take(&mut self.lock().monitors))
    }

    /// Completes a batch with the records that are queued, also those that came while the manager was serialised: it may
    /// have forgotten an event since its record was queued. One batch is put together at a time.
    pub(crate) fn take(&self, monitors: Monitors, manager: Option<Entry>) -> Batch {
        let mut waiting = self.lock();
        let mut changes = std::mem::take(&mut waiting.records);
        changes.extend(monitors.0);
        let changes = Arc::new(changes);
        waiting.writing = Arc::clone(&changes);
        Batch {
            changes,
            manager,
            up_to: waiting.last,
        }
    }

    /// Makes a batch durable with one sync.
    ///
    /// # Errors
    ///
    /// When it fails the store is broken for good: what memory says is ahead of the disk from then on.
    pub(crate) fn commit(&self, batch: Batch) -> Result<(), Fault> {
        let outcome = self.write_batch(&batch).map_err(store_fault);
        self.progress.send_replace(match outcome {
            Ok(()) => Progress::Durable(batch.up_to),
            Err(_) => Progress::Broken,
        });
        outcome
    }

    /// Says that nothing will be written any more.
    pub(crate) fn end(&self) {
        self.progress.send_replace(Progress::Broken);
    }

    fn write_batch(&self, batch: &Batch) -> Result<(), redb::Error> {
        let generation = self.generation() + 1;
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            table.insert(GENERATION_KEY, generation.to_be_bytes().as_slice())?;
            for (key, value) in batch.changes.iter() {
                match value {
                    Some(value) => drop(table.insert(key.as_slice(), value.as_slice())?),
                    None => drop(table.remove(key.as_slice())?),
                }
            }
            if let Some((key, value)) = &batch.manager {
                table.insert(key.as_slice(), value.as_slice())?;
            }
        }
        transaction.commit()?;
        self.generation.store(generation, Ordering::SeqCst);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

/// Writes the format's number into a new store, and refuses one with another number.
fn check_format(database: &Database) -> Result<(), Fault> {
    let found = (|| -> Result<Option<Vec<u8>>, redb::Error> {
        let transaction = database.begin_write()?;
        let found = {
            let mut table = transaction.open_table(TABLE)?;
            let found = table.get(FORMAT_KEY)?.map(|value| value.value().to_vec());
            if found.is_none() {
                table.insert(FORMAT_KEY, FORMAT)?;
            }
            found
        };
        transaction.commit()?;
        Ok(found)
    })()
    .map_err(store_fault)?;
    match found {
        Some(found) if found != FORMAT => Err(Fault::StoreFormat),
        _ => Ok(()),
    }
}

fn store_fault(error: redb::Error) -> Fault {
    Fault::Store {
        detail: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::Store;

    fn open(folder: &tempfile::TempDir) -> Store {
        Store::open(&folder.path().join("store"), Box::new(|| {})).expect("a new folder")
    }

    fn take(store: &Store) -> super::Batch {
        store.take(store.take_monitors(), None)
    }

    fn commit(store: &Store) {
        store.commit(take(store)).expect("the disk has room");
    }

    #[test]
    fn what_was_queued_is_read_before_during_and_after_its_commit() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder);
        store.put(b"a".to_vec(), b"1".to_vec());
        assert_eq!(store.read(b"a").expect("read"), Some(b"1".to_vec()));
        let batch = take(&store);
        assert_eq!(store.read(b"a").expect("read"), Some(b"1".to_vec()));
        store.put(b"a".to_vec(), b"2".to_vec());
        store.commit(batch).expect("commit");
        assert_eq!(store.read(b"a").expect("read"), Some(b"2".to_vec()));
        drop(store);
        assert_eq!(
            open(&folder).read(b"a").expect("read"),
            Some(b"1".to_vec()),
            "the second value was never committed"
        );
    }

    /// A kill between two batches once left a payment pending for ever: the manager of the first had forgotten the event of
    /// its end already, and its record was in the second.
    #[test]
    fn what_is_queued_while_the_manager_is_serialised_is_in_its_batch_if_it_is_a_record() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder);
        store.write_monitors([(b"m1".to_vec(), Some(b"1".to_vec()))]);
        let monitors = store.take_monitors();
        store.put(b"r".to_vec(), b"1".to_vec());
        store.write_monitors([(b"m2".to_vec(), Some(b"1".to_vec()))]);
        let manager = Some((b"manager".to_vec(), b"1".to_vec()));
        let batch = store.take(monitors, manager);
        store.commit(batch).expect("the disk has room");
        drop(store);
        let store = open(&folder);
        for (key, is_there) in [("m1", true), ("r", true), ("manager", true), ("m2", false)] {
            let found = store.read(key.as_bytes()).expect("read");
            assert_eq!(found.is_some(), is_there, "{key}");
        }
    }

    #[test]
    fn a_scan_finds_its_prefix_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder);
        for key in ["a/1", "b/1", "b/2", "c/1"] {
            store.put(key.into(), key.into());
        }
        commit(&store);
        store.write([(b"b/1".to_vec(), None)]);
        commit(&store);
        let found = store.written_under(b"b/").expect("scan");
        assert_eq!(found, vec![(b"2".to_vec(), b"b/2".to_vec())]);
    }

    #[test]
    fn a_store_of_another_format_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder);
        store.put(b"format".to_vec(), vec![9]);
        commit(&store);
        drop(store);
        let again = Store::open(&folder.path().join("store"), Box::new(|| {}));
        assert!(matches!(again, Err(crate::Fault::StoreFormat)));
    }

    #[test]
    fn a_store_counts_how_often_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder);
        assert_eq!(store.generation(), 0);
        for expected in 1..=3 {
            store.put(b"a".to_vec(), b"1".to_vec());
            commit(&store);
            assert_eq!(store.generation(), expected);
        }
        drop(store);
        assert_eq!(open(&folder).generation(), 3);
    }

    #[test]
    fn two_nodes_cannot_open_one_store() {
        let folder = tempfile::tempdir().expect("a folder");
        let _first = open(&folder);
        let second = Store::open(&folder.path().join("store"), Box::new(|| {}));
        assert!(matches!(second, Err(crate::Fault::StoreInUse { .. })));
    }

    #[tokio::test]
    async fn durable_waits_for_what_was_queued_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder);
        store.durable().await.expect("nothing waits");
        store.put(b"a".to_vec(), b"1".to_vec());
        let early = tokio::time::timeout(std::time::Duration::from_millis(20), store.durable());
        assert!(early.await.is_err(), "not committed yet");
        commit(&store);
        store.durable().await.expect("committed");
    }
}
