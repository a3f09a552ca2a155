//! Amounts in an asset's base units, and their conversion between scales.

use crate::wide;
use borsh::{BorshDeserialize, BorshSerialize};
use core::{fmt, str::FromStr};

/// The largest asset scale understood here: 10^38 is the last power of ten that fits in 128 bits.
pub const SCALE_MAX: u8 = 38;

/// A count of base units of one asset; the asset itself is known by the account that holds it.
#[derive(
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    BorshSerialize,
    BorshDeserialize,
)]
pub struct Amount(u128);

impl Amount {
    /// No units.
    pub const ZERO: Self = Self(0);
    /// The largest amount that can be written.
    pub const MAX: Self = Self(u128::MAX);

    /// An amount of `units` base units.
    #[inline]
    #[must_use]
    pub const fn new(units: u128) -> Self {
        Self(units)
    }

    /// The count of base units.
    #[inline]
    #[must_use]
    pub const fn value(self) -> u128 {
        self.0
    }

    /// True for no units at all.
    #[inline]
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` past [`Amount::MAX`].
    #[inline]
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// The difference, or `None` below zero.
    #[inline]
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// The product with a plain number, or `None` past [`Amount::MAX`].
    #[inline]
    #[must_use]
    pub const fn checked_mul(self, times: u128) -> Option<Self> {
        match self.0.checked_mul(times) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// The sum, or [`Amount::MAX`] when it passes that.
    #[inline]
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, or zero when `other` is larger.
    #[inline]
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `self * numerator / denominator` rounded down; `None` on a zero denominator or past [`Amount::MAX`].
    #[inline]
    #[must_use]
    pub const fn mul_div_floor(self, numerator: u128, denominator: u128) -> Option<Self> {
        match wide::mul_div_floor(self.0, numerator, denominator) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// `self * numerator / denominator` rounded up; `None` on a zero denominator or past [`Amount::MAX`].
    #[inline]
    #[must_use]
    pub const fn mul_div_ceil(self, numerator: u128, denominator: u128) -> Option<Self> {
        match wide::mul_div_ceil(self.0, numerator, denominator) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// The count of base units as 64 bits (the width of an ILP packet), or `None` when it does not fit.
    #[inline]
    #[must_use]
    pub fn to_u64(self) -> Option<u64> {
        u64::try_from(self.0).ok()
    }
}

impl From<u64> for Amount {
    #[inline]
    fn from(units: u64) -> Self {
        Self(u128::from(units))
    }
}

impl From<u128> for Amount {
    #[inline]
    fn from(units: u128) -> Self {
        Self(units)
    }
}

impl TryFrom<Amount> for u64 {
    type Error = core::num::TryFromIntError;

    #[inline]
    fn try_from(amount: Amount) -> Result<Self, Self::Error> {
        Self::try_from(amount.0)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

/// Why a text is not an amount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParseAmountError {
    /// The text is empty.
    Empty,
    /// Something other than the digits 0 to 9 stands at this byte.
    NotADigit(usize),
    /// The number passes 2^128 - 1.
    TooLarge,
}

impl fmt::Display for ParseAmountError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(
                out,
                "the amount is empty; write a whole number of base units"
            ),
            Self::NotADigit(at) => write!(
                out,
                "byte {at} of the amount is not a digit; write a whole number of base units"
            ),
            Self::TooLarge => write!(out, "the amount is larger than 2^128 - 1"),
        }
    }
}

impl core::error::Error for ParseAmountError {}

impl FromStr for Amount {
    type Err = ParseAmountError;

    /// Reads a decimal count of base units: digits only, no sign, space or separator.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ParseAmountError::Empty);
        }
        let mut units: u128 = 0;
        for (at, byte) in text.bytes().enumerate() {
            if !byte.is_ascii_digit() {
                return Err(ParseAmountError::NotADigit(at));
            }
            units = units
                .checked_mul(10)
                .and_then(|tens| tens.checked_add(u128::from(byte - b'0')))
                .ok_or(ParseAmountError::TooLarge)?;
        }
        Ok(Self(units))
    }
}

/// Converts between scales of one asset, rounding down.
///
/// Gives the amount at `to_scale` and the remainder, in units of `from_scale`, that no whole unit holds;
/// the caller books that remainder. `None` past [`Amount::MAX`] or for a scale over [`SCALE_MAX`].
#[must_use]
pub fn rescale_floor(amount: Amount, from_scale: u8, to_scale: u8) -> Option<(Amount, Amount)> {
    if from_scale > SCALE_MAX || to_scale > SCALE_MAX {
        return None;
    }
    let factor = 10u128.pow(u32::from(from_scale.abs_diff(to_scale)));
    if to_scale >= from_scale {
        return Some((amount.checked_mul(factor)?, Amount::ZERO));
    }
    Some((Amount(amount.0 / factor), Amount(amount.0 % factor)))
}
