//! Quotes: what an amount paid in gives, and what of it is fee.

use crate::rate::Rate;
use forebay_quantity::{Amount, PPM_ONE, Ppm};

/// What a trade pays out, in base units of the asset paid out; `out_gross = fee + out_net`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quote {
    /// The amount at the rate, rounded down.
    pub out_gross: Amount,
    /// What the pool keeps, rounded up.
    pub fee: Amount,
    /// What is paid out.
    pub out_net: Amount,
}

/// Quotes `amount_in` at `rate`, less `spread` of what it gives; a spread over the whole takes the whole.
///
/// `None` when the gross amount passes [`Amount::MAX`].
#[inline]
#[must_use]
pub fn quote(rate: Rate, amount_in: Amount, spread: Ppm) -> Option<Quote> {
    let out_gross = rate.convert_floor(amount_in)?;
    let fee = fee_ceil(out_gross, spread);
    let out_net = out_gross
        .checked_sub(fee)
        .expect("[I9] a fee of at most the whole leaves no more than the exact rate gives");
    Some(Quote {
        out_gross,
        fee,
        out_net,
    })
}

#[inline]
fn fee_ceil(gross: Amount, spread: Ppm) -> Amount {
    let spread = spread.value().min(PPM_ONE);
    let Some(units) = gross.to_u64() else {
        let fee = Ppm(spread).of_ceil(gross);
        return fee.expect("a part of at most the whole fits");
    };
    // Quotient and remainder apart keep the product within 64 bits, where dividing by a constant is cheap.
    let (whole, one) = (u64::from(spread), u64::from(PPM_ONE));
    let fee = (units / one) * whole + ((units % one) * whole).div_ceil(one);
    Amount::from(fee)
}

/// STREAM gives up on a path that shows less than three digits of precision.
pub const STREAM_PRECISION_MIN: u64 = 1_000;

/// True when a largest packet has STREAM's three digits on both accounts it touches.
///
/// Ask once for each direction, with that direction's rate and the payer's largest packet.
#[must_use]
pub fn stream_precision_ok(packet_max: Amount, rate: Rate) -> bool {
    let enough = Amount::from(STREAM_PRECISION_MIN);
    let received = rate.convert_floor(packet_max).unwrap_or(Amount::MAX);
    packet_max >= enough && received >= enough
}
