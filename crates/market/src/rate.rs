//! The rate between two assets' base units, as a product and a shift.

use crate::price::Price;
use borsh::{BorshDeserialize, BorshSerialize, io};
use forebay_quantity::{Amount, mul_div_floor, widening_mul};

/// How many base units of one asset go for one of another: `mantissa / 2^shift`.
///
/// Never more than the true ratio of the prices, and less by under 2^-60 of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, BorshSerialize)]
pub struct Rate {
    /// The leading 64 bits, the first of which is set.
    mantissa: u64,
    /// At most [`SHIFT_MAX`].
    shift: u8,
}

/// With 64 leading bits this reaches down to rates of 2^-64, under which no packet converts to a unit.
const SHIFT_MAX: u8 = 127;

impl Rate {
    /// The rate from an asset paid in to an asset paid out, each with its price per whole unit and its scale.
    ///
    /// `None` when the rate is outside 2^-64 to 2^64, or a scale passes 38.
    #[must_use]
    pub fn between(price_in: Price, scale_in: u8, price_out: Price, scale_out: u8) -> Option<Self> {
        if scale_in.max(scale_out) > forebay_quantity::SCALE_MAX {
            return None;
        }
        let lift = |over: u8, under: u8| 10u128.pow(u32::from(over.saturating_sub(under)));
        let numerator = widening_mul(price_in.value(), lift(scale_out, scale_in));
        let denominator = widening_mul(price_out.value(), lift(scale_in, scale_out));
        let (top, top_exponent) = leading_floor(numerator);
        let (bottom, bottom_exponent) = leading_ceil(denominator);
        // Both have their highest bit set, so the quotient has 64 or 65 bits.
        let quotient = mul_div_floor(top, 1 << 64, bottom)?;
        let excess = u64::BITS.checked_sub(quotient.leading_zeros())?;
        let mantissa = u64::try_from(quotient >> excess).ok()?;
        let shift = 64 + bottom_exponent - top_exponent - i32::try_from(excess).ok()?;
        Self::from_parts(mantissa, u8::try_from(shift).ok()?)
    }

    /// The rate `mantissa / 2^shift`; `None` unless the mantissa's highest bit is set and the shift at most 127.
    #[must_use]
    pub const fn from_parts(mantissa: u64, shift: u8) -> Option<Self> {
        if mantissa.leading_zeros() != 0 || shift > SHIFT_MAX {
            return None;
        }
        Some(Self { mantissa, shift })
    }

    /// The mantissa and the shift.
    #[must_use]
    pub const fn parts(self) -> (u64, u8) {
        (self.mantissa, self.shift)
    }

    /// What `amount` converts to, rounded down; `None` past [`Amount::MAX`].
    #[inline]
    #[must_use]
    pub fn convert_floor(self, amount: Amount) -> Option<Amount> {
        let mantissa = u128::from(self.mantissa);
        if amount.value() <= u128::from(u64::MAX) {
            return Some(Amount::new((amount.value() * mantissa) >> self.shift));
        }
        let (high, low) = widening_mul(amount.value(), mantissa);
        if self.shift == 0 {
            return (high == 0).then_some(Amount::new(low));
        }
        if high >> self.shift != 0 {
            return None;
        }
        let lifted = high << (128 - u32::from(self.shift));
        Some(Amount::new(lifted | (low >> self.shift)))
    }

    /// What a packet's `amount` converts to, rounded down; `None` past 64 bits.
    #[inline]
    #[must_use]
    pub fn convert_floor_u64(self, amount: u64) -> Option<u64> {
        u64::try_from((u128::from(amount) * u128::from(self.mantissa)) >> self.shift).ok()
    }
}

impl BorshDeserialize for Rate {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let mantissa = u64::deserialize_reader(reader)?;
        let shift = u8::deserialize_reader(reader)?;
        Self::from_parts(mantissa, shift)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a rate out of range"))
    }
}

/// The leading 128 bits of a number that is not zero, rounded down, and the power of two they are to be multiplied by.
fn leading_floor((high, low): (u128, u128)) -> (u128, i32) {
    if high == 0 {
        let lifted = low.leading_zeros();
        return (low << lifted, -exponent(lifted));
    }
    let lifted = high.leading_zeros();
    let dropped = 128 - lifted;
    let leading = match lifted {
        0 => high,
        _ => (high << lifted) | (low >> dropped),
    };
    (leading, exponent(dropped))
}

/// As [`leading_floor`], rounded up.
fn leading_ceil(number: (u128, u128)) -> (u128, i32) {
    let (leading, exponent) = leading_floor(number);
    let (high, low) = number;
    let dropped = 128 - high.leading_zeros();
    let exact = high == 0 || low.trailing_zeros() >= dropped;
    match leading.checked_add(u128::from(!exact)) {
        Some(leading) => (leading, exponent),
        None => (1 << 127, exponent + 1),
    }
}

fn exponent(bits: u32) -> i32 {
    i32::try_from(bits).expect("at most 128 bits")
}
