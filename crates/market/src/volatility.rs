//! How much a price moves, as an exponentially weighted mean of squared returns.

use crate::price::Price;
use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::{Milliseconds, Ppm, mul_div_ceil};

/// The mean square of an asset's returns, per hour; starts at zero.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug, BorshSerialize, BorshDeserialize,
)]
pub struct Volatility {
    /// Squared parts per million per hour, times 2^32 so that short steps decay it too.
    variance: u128,
}

const HOUR_MS: u128 = 3_600_000;
const FRACTION_BITS: u32 = 32;
/// A jump past tenfold counts as tenfold: it stops the book by its guards, not by this.
const RETURN_MAX_PPM: u64 = 10_000_000;

impl Volatility {
    /// Takes in a move from one price to the next over `elapsed`.
    ///
    /// The old mean keeps the weight `averaging_time / (elapsed + averaging_time)`; rounds up.
    #[must_use]
    pub fn update(
        self,
        price_old: Price,
        price_new: Price,
        elapsed: Milliseconds,
        averaging_time: Milliseconds,
    ) -> Self {
        let averaging_ms = u128::from(averaging_time.value()).max(1);
        let weights_ms = averaging_ms + u128::from(elapsed.value());
        let step = u128::from(price_old.distance_ppm_ceil(price_new).min(RETURN_MAX_PPM));
        // (10^7)^2 x 3.6 x 10^6 x 2^32 is under 2^101.
        let moved = (step * step * HOUR_MS) << FRACTION_BITS;
        let kept = mul_div_ceil(self.variance, averaging_ms, weights_ms).unwrap_or(u128::MAX);
        Self {
            variance: kept.saturating_add(moved.div_ceil(weights_ms)),
        }
    }

    /// One standard deviation of the return over `holding_time`, in parts per million, rounded up.
    #[must_use]
    pub fn over_ceil(self, holding_time: Milliseconds) -> Ppm {
        let scale = HOUR_MS << FRACTION_BITS;
        let square = mul_div_ceil(self.variance, u128::from(holding_time.value()), scale);
        let root = sqrt_ceil(square.unwrap_or(u128::MAX));
        Ppm(u32::try_from(root).unwrap_or(u32::MAX))
    }
}

/// The least integer whose square is not under `square`.
fn sqrt_ceil(square: u128) -> u128 {
    let root = square.isqrt();
    root + u128::from(root * root < square)
}
