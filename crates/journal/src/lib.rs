//! The journal: batches of opaque bytes in, the same bytes out after any crash.
//!
//! It holds hash-chained frames in preallocated segment files, group commit (many appends, one sync),
//! snapshots, and recovery that tells a torn tail from damage. The layout is drawn in `spec/journal.md`.
//! It never looks into a payload, never reads a clock, and never retries a failed sync. Its only thread
//! fills the next segment with zeros, and only where the storage allows it.
//! All I/O goes through [`Storage`]: [`LocalDisk`] for real, [`testing::FaultyStorage`] for the simulator.

mod fault;
mod format;
mod journal;
mod local;
mod lookup;
mod preparation;
mod recovered;
mod recovery;
mod scan;
mod snapshot;
mod storage;
pub mod testing;
mod upgrade;

pub use fault::{Fault, OpenFault, Retry};
pub use format::{FORMAT_VERSION, FrameHash, Head, Sequence};
pub use journal::{Counts, Journal, Options, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
pub use local::LocalDisk;
pub use lookup::hash_at;
pub use recovered::{Frame, Recovery, Report, Snapshot, TornTail};
pub use storage::{Storage, StoredFile};
