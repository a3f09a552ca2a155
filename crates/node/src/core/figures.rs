//! Counters that anybody may read while the node runs.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};

use forebay_ilp::ErrorCode;
use forebay_quantity::PeerId;

use super::histogram::Histogram;

/// What the node did since it started.
#[derive(Debug, Default)]
pub struct Figures {
    /// Batches made durable.
    pub syncs: Count,
    /// Events in them.
    pub records: Count,
    /// Prepares accepted.
    pub accepted: Count,
    /// Prepares refused.
    pub refused: Count,
    /// Rejects that this pool gave, by code.
    pub own_rejects: Rejects,
    /// Rejects of next hops and expiries that went back, by code.
    pub relayed_rejects: Rejects,
    /// How long frames stayed in the pool, from the socket's hand to the links', the sync included.
    pub latency: Histogram,
    /// How long each append with its sync took.
    pub sync_time: Histogram,
    /// Batches of events that the live feed was too slow to take.
    pub feed_missed: Count,
    /// Streams ended because they were read too slowly.
    pub slow_readers: Count,
    /// Whether packets are taken.
    pub readiness: Readiness,
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
    /// Why nothing is accepted any more, once that is so.
    pub stopped: OnceLock<String>,
}

/// What keeps packets out, if anything does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The chains are being caught up with.
    Starting,
    /// Packets are taken.
    Serving,
    /// New packets are refused until the process ends.
    Draining,
    /// The journal failed.
    Failed,
}

/// The mode now.
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

impl Readiness {
    /// The mode now.
    pub fn mode(&self) -> Mode {
        match self.0.load(Ordering::Relaxed) {
            0 => Mode::Starting,
            1 => Mode::Serving,
            2 => Mode::Draining,
            _ => Mode::Failed,
        }
    }

    pub(crate) fn set(&self, mode: Mode) {
        let number = match mode {
            Mode::Starting => 0,
            Mode::Serving => 1,
            Mode::Draining => 2,
            Mode::Failed => 3,
        };
        self.0.store(number, Ordering::Relaxed);
    }
}

/// Rejects by ILP code, in fixed places.
#[derive(Debug)]
pub struct Rejects {
    listed: Vec<Count>,
    unlisted: Count,
}

impl Default for Rejects {
    fn default() -> Self {
        Self {
            listed: ErrorCode::LISTED.iter().map(|_| Count::default()).collect(),
            unlisted: Count::default(),
        }
    }
}

impl Rejects {
    pub(crate) fn add(&self, code: [u8; 3]) {
        let code = ErrorCode::from_bytes(code);
        let at = ErrorCode::LISTED
            .iter()
            .position(|listed| Some(*listed) == code);
        at.map_or(&self.unlisted, |at| &self.listed[at]).add(1);
    }

    /// Each code that RFC 27 lists with its count, then all others as one.
    pub fn by_code(&self) -> impl Iterator<Item = (String, u64)> {
        let name = |code: &ErrorCode| String::from_utf8_lossy(&code.to_bytes()).into_owned();
        let listed = ErrorCode::LISTED.iter().map(name).zip(&self.listed);
        let other = [("other".to_owned(), &self.unlisted)];
        listed
            .chain(other)
            .map(|(code, count)| (code, count.value()))
    }

    /// All of them.
    pub fn sum(&self) -> u64 {
        self.by_code().map(|(_, count)| count).sum()
    }
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
