//! Counters that anybody may read while the node runs.

use std::sync::atomic::{AtomicU64, Ordering};

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
}
