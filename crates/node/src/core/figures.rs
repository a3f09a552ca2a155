//! Counters that anybody may read while the node runs.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use forebay_quantity::PeerId;

/// What the node did since it started.
#[derive(Debug, Default)]
pub struct Figures {
    /// Batches made durable.
    pub syncs: Count,
    /// Events in them.
    pub records: Count,
    /// Prepares refused.
    pub refused: Count,
    /// Answers that came late or to nothing, and were discarded.
    pub late_answers: Count,
    /// Links dropped because they read too slowly.
    pub slow_links: Count,
    /// Frames that could not be read.
    pub unreadable_frames: Count,
    /// Price reports that could not be read or were refused.
    pub bad_prices: Count,
    /// Snapshots written.
    pub snapshots: Count,
    /// Packets whose fulfillment was relayed.
    pub fulfilled: Count,
    /// Sequence number of the journal's newest frame.
    pub frames: Count,
    /// Whose links are up.
    pub connected: Connected,
}

/// One counter.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// The count now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// The peers whose links are up.
#[derive(Debug, Default)]
pub struct Connected(RwLock<BTreeSet<PeerId>>);

impl Connected {
    /// All of them, as it is now.
    pub fn clone_set(&self) -> BTreeSet<PeerId> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn note(&self, peer: PeerId, is_up: bool) {
        let mut peers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let _ = if is_up {
            peers.insert(peer)
        } else {
            peers.remove(&peer)
        };
    }
}
