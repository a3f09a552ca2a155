//! The half-spread: floor, volatility over the holding time, size, and inventory skew.

use crate::volatility::Volatility;
use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::{Amount, Milliseconds, PPM_ONE, Ppm, mul_div_ceil, mul_div_floor};

/// How wide a pair is quoted; all ratios are of the amount paid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct SpreadPolicy {
    /// The half-spread never falls below this, whatever the skew gives.
    pub floor_ppm: Ppm,
    /// How much of one standard deviation over the holding time is charged; 1,000,000 is all of it.
    pub volatility_multiplier_ppm: Ppm,
    /// How long the pool expects to hold what it took in.
    pub holding_time_ms: Milliseconds,
    /// What a trade of `depth` pays on top; smaller and larger ones in proportion.
    pub size_ppm_per_depth: Ppm,
    /// The trade, in base units of the asset that this policy is stated for, that pays `size_ppm_per_depth`;
    /// zero charges every trade in full.
    pub depth: Amount,
    /// What each asset's inventory at the end of its range adds to or takes from the half-spread.
    pub skew_ppm_max: Ppm,
}

impl SpreadPolicy {
    /// The part that no single trade changes, floor and volatility of both assets: computed once a price, not once a packet.
    #[must_use]
    pub fn resting_ceil(&self, volatility_in: Volatility, volatility_out: Volatility) -> Ppm {
        let moves = [volatility_in, volatility_out].map(|volatility| {
            let deviation = volatility.over_ceil(self.holding_time_ms).value();
            part_ceil(
                self.volatility_multiplier_ppm,
                u128::from(deviation),
                u128::from(PPM_ONE),
            )
        });
        // The deviation of a ratio is at most the sum of both deviations, however they move together.
        let volatility = moves[0].value().saturating_add(moves[1].value());
        Ppm(self.floor_ppm.value().saturating_add(volatility))
    }

    /// The half-spread of one trade: `resting` + size + skew, rounded up, between the floor and the whole.
    ///
    /// `amount` is what moves of the asset that `depth` counts.
    #[inline]
    #[must_use]
    pub fn half_spread_ceil(&self, resting: Ppm, amount: Amount, skew: Skew) -> Ppm {
        let size = self.size_ceil(amount);
        let plain = i64::from(resting.value()) + i64::from(size.value());
        let skewed = (plain + i64::from(skew.0)).min(i64::from(PPM_ONE));
        let spread = u32::try_from(skewed).unwrap_or(0);
        Ppm(spread.max(self.floor_ppm.value()).min(PPM_ONE))
    }

    #[inline]
    fn size_ceil(&self, amount: Amount) -> Ppm {
        part_ceil(self.size_ppm_per_depth, amount.value(), self.depth.value())
    }
}

/// Which way an asset moves in a trade, seen from the pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// The pool receives it.
    In,
    /// The pool pays it.
    Out,
}

/// What the pool holds of one asset, and what it wants to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Inventory {
    /// What it holds, in base units.
    pub position: Amount,
    /// What it wants to hold.
    pub target: Amount,
    /// How far from the target the skew is at its largest; at zero, any distance is.
    pub range: Amount,
}

/// Parts per million added to the half-spread, or taken from it when negative.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug, BorshSerialize, BorshDeserialize,
)]
pub struct Skew(pub i32);

impl Skew {
    /// No skew.
    pub const NONE: Self = Self(0);

    /// Both together, never past what 32 bits hold.
    #[inline]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Inventory {
    /// What this asset's inventory adds to a trade that moves it this way: positive when the trade takes it further
    /// from its target. Rounds up when it adds, down when it gives.
    #[inline]
    #[must_use]
    pub fn skew(&self, flow: Flow, skew_ppm_max: Ppm) -> Skew {
        let surplus = self.position.checked_sub(self.target);
        let distance = match surplus {
            Some(surplus) => surplus,
            None => self.target.saturating_sub(self.position),
        };
        if distance.is_zero() {
            return Skew::NONE;
        }
        let worsens = surplus.is_some() == (flow == Flow::In);
        if worsens {
            return Skew(signed(
                part_ceil(skew_ppm_max, distance.value(), self.range.value()).min(skew_ppm_max),
            ));
        }
        let gives = part_floor(skew_ppm_max, distance.value(), self.range.value());
        Skew(-signed(gives.min(skew_ppm_max)))
    }
}

/// The skew of a trade from what both inventories are.
#[inline]
#[must_use]
pub fn skew(inventory_in: &Inventory, inventory_out: &Inventory, skew_ppm_max: Ppm) -> Skew {
    let received = inventory_in.skew(Flow::In, skew_ppm_max);
    received.and(inventory_out.skew(Flow::Out, skew_ppm_max))
}

/// `ratio * numerator / denominator` rounded up; `u32::MAX` past that, the whole ratio on a zero denominator.
#[inline]
fn part_ceil(ratio: Ppm, numerator: u128, denominator: u128) -> Ppm {
    if denominator == 0 {
        return ratio;
    }
    let part = mul_div_ceil(u128::from(ratio.value()), numerator, denominator);
    Ppm(part
        .and_then(|part| u32::try_from(part).ok())
        .unwrap_or(u32::MAX))
}

/// As [`part_ceil`], rounded down.
#[inline]
fn part_floor(ratio: Ppm, numerator: u128, denominator: u128) -> Ppm {
    if denominator == 0 {
        return ratio;
    }
    let part = mul_div_floor(u128::from(ratio.value()), numerator, denominator);
    Ppm(part
        .and_then(|part| u32::try_from(part).ok())
        .unwrap_or(u32::MAX))
}

fn signed(ppm: Ppm) -> i32 {
    i32::try_from(ppm.value()).unwrap_or(i32::MAX)
}
