//! Notes: units in one asset's vault, worth an index that all of them share.

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::{Amount, Bps, Milliseconds, mul_div_floor};

/// One, as the index counts it: 10^27.
pub const RAY: u128 = 10u128.pow(27);

/// A day, over which rates are stated.
pub const DAY: Milliseconds = Milliseconds(86_400_000);

/// What one unit of a note is worth in base units of its asset, times [`RAY`].
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize,
)]
pub struct Index(pub u128);

impl Index {
    /// One base unit a unit.
    pub const ONE: Self = Self(RAY);

    /// The index with this value, in rays.
    #[must_use]
    pub const fn new(rays: u128) -> Self {
        Self(rays)
    }

    /// The value in rays.
    #[must_use]
    pub const fn value(self) -> u128 {
        self.0
    }

    /// Units for a deposit, rounded down; `None` past 128 bits or when the index is nothing.
    #[must_use]
    pub const fn units_for_deposit_floor(self, deposit: Amount) -> Option<Amount> {
        deposit.mul_div_floor(RAY, self.0)
    }

    /// What `units` claim, rounded down; `None` past 128 bits.
    #[must_use]
    pub const fn claim_floor(self, units: Amount) -> Option<Amount> {
        units.mul_div_floor(self.0, RAY)
    }

    /// What `units` claim, rounded up: the side of the pool's obligations.
    #[must_use]
    pub const fn claim_ceil(self, units: Amount) -> Option<Amount> {
        units.mul_div_ceil(self.0, RAY)
    }

    /// The highest index that the vault contract allows `elapsed` after this one was set, rounded down as it rounds.
    ///
    /// `rate_max_ray_per_day` is the contract's own figure; more than a day counts as a day.
    #[must_use]
    pub const fn raise_max_floor(self, rate_max_ray_per_day: u128, elapsed: Milliseconds) -> Self {
        let day_s = DAY.value() / 1000;
        let elapsed_s = elapsed.value() / 1000;
        let elapsed_s = if elapsed_s > day_s { day_s } else { elapsed_s };
        let Some(rate) = mul_div_floor(rate_max_ray_per_day, elapsed_s as u128, day_s as u128)
        else {
            return self;
        };
        match mul_div_floor(self.0, rate, RAY) {
            Some(raise) => Self(self.0.saturating_add(raise)),
            None => Self(u128::MAX),
        }
    }

    /// The index after `paid` was given to `units`, rounded down, so that no claim is raised unpaid.
    ///
    /// `None` without units, or past 128 bits: then nothing may be paid.
    #[must_use]
    pub fn raised_floor(self, paid: Amount, units: Amount) -> Option<Self> {
        let raise = paid.mul_div_floor(RAY, units.value())?;
        self.0.checked_add(raise.value()).map(Self)
    }
}

/// The free money that must stay in a vault: `ratio` of the note claims, rounded up; [`Amount::MAX`] past that.
#[must_use]
pub const fn floor_needed(ratio: Bps, note_claims: Amount) -> Amount {
    match ratio.of_ceil(note_claims) {
        Some(needed) => needed,
        None => Amount::MAX,
    }
}

/// True when `free` money covers the floor.
#[must_use]
pub fn floor_holds(free: Amount, ratio: Bps, note_claims: Amount) -> bool {
    free >= floor_needed(ratio, note_claims)
}

/// Basis points in one.
const WHOLE_BPS: u128 = 10_000;

/// What exits can be paid now, in base units: the largest m with free − m ≥ ratio × (claims − m), as the vault has it.
///
/// Sums that pass 128 bits on the way give what is above the floor as it stands, which is never more.
#[must_use]
pub fn payable_to_exits(free: Amount, ratio: Bps, note_claims: Amount) -> Amount {
    let ratio_bps = u128::from(ratio.value());
    let above = || {
        let have = free.checked_mul(WHOLE_BPS)?;
        let kept = note_claims.checked_mul(ratio_bps)?;
        let over = have.saturating_sub(kept).value();
        let most = over.checked_div(WHOLE_BPS.checked_sub(ratio_bps)?)?;
        Some(Amount::new(most).min(free))
    };
    above().unwrap_or_else(|| free.saturating_sub(floor_needed(ratio, note_claims)))
}
