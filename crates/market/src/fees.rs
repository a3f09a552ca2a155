//! Fees: released over hours, and accrued to every unit at once.

use crate::notes::RAY;
use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::{Amount, Milliseconds, Timestamp, mul_div_ceil};

/// Fees on their way to those who hold units, so that nobody can step in for a moment and take them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct FeeRelease {
    /// Not released yet.
    locked: Amount,
    /// Up to when it was released.
    released_at: Timestamp,
    /// When the last of it is released.
    ends_at: Timestamp,
}

impl FeeRelease {
    /// Nothing to release.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self {
            locked: Amount::ZERO,
            released_at: now,
            ends_at: now,
        }
    }

    /// What is not released yet.
    #[must_use]
    pub const fn locked(&self) -> Amount {
        self.locked
    }

    /// Takes what was released since the last time: linear in time, rounded down, all of it at the end.
    pub fn release(&mut self, now: Timestamp) -> Amount {
        let elapsed = now.since(self.released_at);
        let span = self.ends_at.since(self.released_at);
        let released = if elapsed >= span {
            self.locked
        } else {
            let part = self
                .locked
                .mul_div_floor(elapsed.value().into(), span.value().into());
            part.expect("a part of the locked amount: elapsed < span")
        };
        // Time that released nothing is not spent: polling often must not lock fees for ever.
        if released.is_zero() && !self.locked.is_zero() {
            return Amount::ZERO;
        }
        self.locked = self.locked.saturating_sub(released);
        self.released_at = self.released_at.max(now);
        released
    }

    /// Adds a fee that takes `window` to release; gives back what was released before it.
    ///
    /// The end is the mean of both ends weighted by amount, rounded up, so that dust delays nothing. A fee past
    /// [`Amount::MAX`] with the rest is cut there.
    pub fn add(&mut self, fee: Amount, now: Timestamp, window: Milliseconds) -> Amount {
        let released = self.release(now);
        let total = self.locked.saturating_add(fee);
        let span = self.ends_at.since(self.released_at);
        // A release that rounded to nothing left the old start behind; the new fee starts with it, a moment early.
        let window = window.saturating_add(now.since(self.released_at));
        let span = weighted_span(span, self.locked, window, total);
        self.locked = total;
        self.ends_at = self.released_at.saturating_add(span);
        released
    }
}

/// `(old * old_weight + new * (total - old_weight)) / total`, rounded up, without passing 128 bits.
fn weighted_span(
    old: Milliseconds,
    old_weight: Amount,
    new: Milliseconds,
    total: Amount,
) -> Milliseconds {
    if total.is_zero() {
        return Milliseconds::ZERO;
    }
    let added = total.saturating_sub(old_weight);
    let (from, towards, weight) = (old.value(), new.value(), added.value());
    let distance = u128::from(from.abs_diff(towards));
    let whole = total.value();
    if towards >= from {
        let moved =
            mul_div_ceil(distance, weight, whole).and_then(|moved| u64::try_from(moved).ok());
        return Milliseconds(from.saturating_add(moved.unwrap_or(u64::MAX)));
    }
    let moved = forebay_quantity::mul_div_floor(distance, weight, whole);
    let moved = moved.and_then(|moved| u64::try_from(moved).ok());
    Milliseconds(from.saturating_sub(moved.unwrap_or(0)))
}

/// What every unit has earned since the beginning, times [`RAY`]: one addition pays all holders.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Accrual {
    per_unit: u128,
}

impl Accrual {
    /// What one unit has earned so far, in rays; a holder notes it when it enters.
    #[must_use]
    pub const fn per_unit(&self) -> u128 {
        self.per_unit
    }

    /// Gives `amount` to `units` alike, rounded down; false, and nothing is given, without units or past 128 bits.
    pub fn add(&mut self, amount: Amount, units: Amount) -> bool {
        let raise = amount.mul_div_floor(RAY, units.value());
        let total = raise.and_then(|raise| self.per_unit.checked_add(raise.value()));
        match total {
            Some(per_unit) => {
                self.per_unit = per_unit;
                true
            }
            None => false,
        }
    }

    /// What `units` have earned since `entered_per_unit`, rounded down; `None` past 128 bits.
    #[must_use]
    pub const fn earned_floor(&self, units: Amount, entered_per_unit: u128) -> Option<Amount> {
        units.mul_div_floor(self.per_unit.saturating_sub(entered_per_unit), RAY)
    }
}
