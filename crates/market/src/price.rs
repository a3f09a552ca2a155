//! A price in the common reference unit.

use borsh::{BorshDeserialize, BorshSerialize, io};
use core::{fmt, str::FromStr};

/// Digits after the point: a price counts units of 10^-12 of the reference.
pub const PRICE_SCALE: u8 = 12;

/// The highest price: 10^18 of the reference for one whole unit of an asset.
pub const PRICE_MAX: u128 = 10u128.pow(30);

/// What one WHOLE unit of an asset is worth, in units of 10^-12 of the reference; never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize)]
pub struct Price(u128);

impl Price {
    /// A price of this many 10^-12 of the reference; `None` for zero or past [`PRICE_MAX`].
    #[must_use]
    pub const fn new(value: u128) -> Option<Self> {
        if value == 0 || value > PRICE_MAX {
            return None;
        }
        Some(Self(value))
    }

    /// The count of 10^-12 of the reference.
    #[inline]
    #[must_use]
    pub const fn value(self) -> u128 {
        self.0
    }

    /// How far this price is from `other`, in parts per million of the lower of both, rounded up.
    ///
    /// Symmetric, and at least the absolute logarithm of their ratio. Saturates at `u64::MAX`.
    #[must_use]
    pub fn distance_ppm_ceil(self, other: Self) -> u64 {
        let distance = self.0.abs_diff(other.0);
        let lower = self.0.min(other.0);
        // PRICE_MAX times a million is under 2^128.
        u64::try_from((distance * 1_000_000).div_ceil(lower)).unwrap_or(u64::MAX)
    }
}

impl BorshDeserialize for Price {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let value = u128::deserialize_reader(reader)?;
        Self::new(value)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a price out of range"))
    }
}

impl fmt::Display for Price {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = 10u128.pow(u32::from(PRICE_SCALE));
        write!(out, "{}.{:012}", self.0 / one, self.0 % one)
    }
}

/// Why a text is not a price.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParsePriceError {
    /// Something else than digits with at most one point among them.
    NotDecimal,
    /// Zero, or less than 10^-12 of the reference.
    Zero,
    /// More than [`PRICE_MAX`].
    TooLarge,
}

impl fmt::Display for ParsePriceError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDecimal => write!(
                out,
                "not a decimal number; write digits with at most one point, such as 3512.25"
            ),
            Self::Zero => write!(out, "a price cannot be zero"),
            Self::TooLarge => write!(out, "a price cannot exceed 10^18 of the reference"),
        }
    }
}

impl core::error::Error for ParsePriceError {}

impl FromStr for Price {
    type Err = ParsePriceError;

    /// Reads a decimal number of the reference such as `3512.25`; digits past the twelfth are cut.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) {
            return Err(ParsePriceError::NotDecimal);
        }
        let fraction = part.bytes().chain(core::iter::repeat(b'0'));
        let fraction = fraction.take(usize::from(PRICE_SCALE));
        let mut value: u128 = 0;
        for digit in whole.bytes().chain(fraction) {
            value = value * 10 + u128::from(digit - b'0');
            if value > PRICE_MAX {
                return Err(ParsePriceError::TooLarge);
            }
        }
        Self::new(value).ok_or(ParsePriceError::Zero)
    }
}
