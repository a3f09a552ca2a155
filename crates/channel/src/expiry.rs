//! Expiry arithmetic for a packet or lock passed on.

use forebay_quantity::{Milliseconds, Timestamp};

/// Why nothing can be forwarded under an incoming expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExpiryRefusal {
    /// The incoming promise has ended.
    Expired {
        /// When it ended.
        incoming: Timestamp,
    },
    /// It has not ended, but no time is left once the margin is taken off.
    TooShort {
        /// What is left until the incoming expiry.
        left: Milliseconds,
        /// What has to be left at the least.
        margin: Milliseconds,
    },
}

/// The expiry to offer the next hop: `margin` before `incoming`, and no later than `hold_max` from now.
///
/// # Errors
/// When the result would not lie after `now`.
pub fn outgoing_expiry(
    incoming: Timestamp,
    now: Timestamp,
    margin: Milliseconds,
    hold_max: Milliseconds,
) -> Result<Timestamp, ExpiryRefusal> {
    if incoming <= now {
        return Err(ExpiryRefusal::Expired { incoming });
    }
    let too_short = ExpiryRefusal::TooShort {
        left: incoming.since(now),
        margin,
    };
    let latest = incoming.checked_sub(margin).ok_or(too_short)?;
    let outgoing = latest.min(now.saturating_add(hold_max));
    if outgoing <= now {
        return Err(too_short);
    }
    // [I8] the outgoing promise ends at least the margin before the incoming one.
    assert!(
        outgoing.saturating_add(margin) <= incoming,
        "[I8] outgoing expiry within the margin"
    );
    Ok(outgoing)
}
