//! Fees: released over hours, so that nobody steps in for a moment and takes them.

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::{Amount, Milliseconds, Timestamp, mul_div_ceil, mul_div_floor};

/// Fees on their way to those who hold units, so that nobody can step in for a moment and take them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct FeeRelease {
    /// Not released yet.
    locked: Amount,
    /// Up to when it was released.
    released_at: Timestamp,
    /// How long after that the last of it is released, in 2^-32 of a millisecond: fees come in far more often
    /// than once a millisecond, and each must move the end by its own small part.
    span: u128,
}

const SPAN_BITS: u32 = 32;

impl FeeRelease {
    /// Nothing to release.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self {
            locked: Amount::ZERO,
            released_at: now,
            span: 0,
        }
    }

    /// What is not released yet.
    #[must_use]
    pub const fn locked(&self) -> Amount {
        self.locked
    }

    /// Takes what was released since the last time: linear in time, rounded down, all of it at the end.
    pub fn release(&mut self, now: Timestamp) -> Amount {
        let elapsed = finely(now.since(self.released_at));
        if elapsed >= self.span {
            return self.release_all(now);
        }
        let part = self.locked.mul_div_floor(elapsed, self.span);
        let released = part.expect("elapsed < span, so it is a part of the locked amount");
        // Time that released nothing is not spent: polling often must not lock fees for ever.
        if released.is_zero() {
            return Amount::ZERO;
        }
        self.locked = self.locked.saturating_sub(released);
        self.span -= elapsed;
        self.released_at = now;
        released
    }

    /// Adds a fee that takes `window` to release; gives back what was released before it.
    ///
    /// All that is locked then ends at the mean of both ends weighted by amount, rounded up: dust delays nothing.
    /// What would pass [`Amount::MAX`] is cut there.
    pub fn add(&mut self, fee: Amount, now: Timestamp, window: Milliseconds) -> Amount {
        let released = self.release(now);
        let before = self.locked;
        let total = before.saturating_add(fee);
        // A release that rounded to nothing left its time unspent. It is spent here: the new fee has not waited for it,
        // and what it would have given is less than a unit.
        self.span -= finely(now.since(self.released_at));
        self.released_at = self.released_at.max(now);
        self.span = weighted_mean_ceil(self.span, before, finely(window), total);
        self.locked = total;
        released
    }

    fn release_all(&mut self, now: Timestamp) -> Amount {
        let released = self.locked;
        self.locked = Amount::ZERO;
        self.span = 0;
        self.released_at = self.released_at.max(now);
        released
    }
}

const fn finely(span: Milliseconds) -> u128 {
    (span.value() as u128) << SPAN_BITS
}

/// `(old * old_weight + new * (total - old_weight)) / total`, rounded up, without passing 128 bits.
fn weighted_mean_ceil(old: u128, old_weight: Amount, new: u128, total: Amount) -> u128 {
    let added = total.saturating_sub(old_weight).value();
    let distance = old.abs_diff(new);
    if new >= old {
        let moved = mul_div_ceil(distance, added, total.value());
        return old + moved.unwrap_or(0);
    }
    let moved = mul_div_floor(distance, added, total.value());
    old - moved.unwrap_or(0)
}
