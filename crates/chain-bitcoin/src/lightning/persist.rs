//! Hands channel monitors to the store, and tells LDK once they are durable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use lightning::chain::ChannelMonitorUpdateStatus;
use lightning::chain::chainmonitor::Persist;
use lightning::chain::channelmonitor::{ChannelMonitor, ChannelMonitorUpdate};
use lightning::ln::types::ChannelId;
use lightning::sign::InMemorySigner;
use lightning::util::persist::MonitorName;
use lightning::util::ser::Writeable;

use super::closings::Closings;
use super::store::Store;

/// After so many updates a monitor is written whole, so that a restart has few to apply: they cost a restart about as
/// much as one monitor of a busy channel.
const UPDATES_MAX: usize = 100;

pub(crate) const MONITORS: &[u8] = b"monitor/";
pub(crate) const UPDATES: &[u8] = b"update/";
const ARCHIVE: &[u8] = b"archive/";

/// Queues what LDK wants durable and answers at once that it is under way: messages that depend on it stay with LDK
/// until the writer has synced it, together with the channel manager that made it.
pub(crate) struct Persister {
    store: Arc<Store>,
    closings: Arc<Closings>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// Of each monitor, the updates in the store since it was written whole.
    updates: BTreeMap<String, Vec<u64>>,
    /// Updates queued, not confirmed to LDK yet.
    queued: Vec<(ChannelId, u64)>,
}

impl Persister {
    /// Goes on from the updates that the store holds.
    pub(crate) fn new(
        store: Arc<Store>,
        closings: Arc<Closings>,
        updates: BTreeMap<String, Vec<u64>>,
    ) -> Self {
        Self {
            store,
            closings,
            progress: Mutex::new(Progress {
                updates,
                queued: Vec::new(),
            }),
        }
    }

    /// Takes the updates that are queued. To be called before the batch is taken from the store is too early: an
    /// update may come in between; so this is called first and names only what the batch is sure to contain.
    pub(crate) fn take_queued(&self) -> Vec<(ChannelId, u64)> {
        std::mem::take(&mut self.lock().queued)
    }

    fn write_whole(&self, name: String, monitor: &ChannelMonitor<InMemorySigner>) {
        let mut changes = vec![(monitor_key(&name), Some(monitor.encode()))];
        let stale = self.lock().updates.remove(&name).unwrap_or_default();
        changes.extend(stale.into_iter().map(|id| (update_key(&name, id), None)));
        self.store.write_monitors(changes);
    }

    fn write_update(&self, name: String, update: &ChannelMonitorUpdate) {
        let key = update_key(&name, update.update_id);
        self.lock()
            .updates
            .entry(name)
            .or_default()
            .push(update.update_id);
        self.store.write_monitors([(key, Some(update.encode()))]);
    }

    fn updates_of(&self, name: &str) -> usize {
        self.lock().updates.get(name).map_or(0, Vec::len)
    }

    /// Comes after the change itself is queued, so that who takes this finds the change in the store's queue.
    fn note(&self, channel: ChannelId, update: u64) -> ChannelMonitorUpdateStatus {
        self.lock().queued.push((channel, update));
        ChannelMonitorUpdateStatus::InProgress
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

impl Persist<InMemorySigner> for Persister {
    fn persist_new_channel(
        &self,
        monitor_name: MonitorName,
        monitor: &ChannelMonitor<InMemorySigner>,
    ) -> ChannelMonitorUpdateStatus {
        let funding = monitor.get_funding_txo().into_bitcoin_outpoint();
        self.closings.watch(monitor.channel_id(), funding);
        self.write_whole(monitor_name.to_string(), monitor);
        self.note(monitor.channel_id(), monitor.get_latest_update_id())
    }

    fn update_persisted_channel(
        &self,
        monitor_name: MonitorName,
        update: Option<&ChannelMonitorUpdate>,
        monitor: &ChannelMonitor<InMemorySigner>,
    ) -> ChannelMonitorUpdateStatus {
        let name = monitor_name.to_string();
        match update {
            Some(update) if self.updates_of(&name) < UPDATES_MAX => {
                self.write_update(name, update);
            }
            _ => self.write_whole(name, monitor),
        }
        match update {
            Some(update) => self.note(monitor.channel_id(), update.update_id),
            None => ChannelMonitorUpdateStatus::InProgress,
        }
    }

    fn archive_persisted_channel(&self, monitor_name: MonitorName) {
        let name = monitor_name.to_string();
        let stale = self.lock().updates.remove(&name).unwrap_or_default();
        let Ok(Some(monitor)) = self.store.read(&monitor_key(&name)) else {
            return;
        };
        let mut changes = vec![
            ([ARCHIVE, name.as_bytes()].concat(), Some(monitor)),
            (monitor_key(&name), None),
        ];
        changes.extend(stale.into_iter().map(|id| (update_key(&name, id), None)));
        self.store.write_monitors(changes);
    }
}

fn monitor_key(name: &str) -> Vec<u8> {
    [MONITORS, name.as_bytes()].concat()
}

fn update_key(name: &str, update: u64) -> Vec<u8> {
    [UPDATES, name.as_bytes(), b"/", &update.to_be_bytes()].concat()
}
