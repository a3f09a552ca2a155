//! The wall clock, the one place that reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use forebay_quantity::Timestamp;

/// The time now; the epoch itself when the clock stands before it, which the guards then refuse.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
