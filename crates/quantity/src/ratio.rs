//! Ratios in basis points and parts per million.

use crate::Amount;
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;

/// The whole, in parts per million.
pub const PPM_ONE: u32 = 1_000_000;

/// Basis points: 10,000 are the whole.
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
pub struct Bps(pub u32);

impl Bps {
    /// The ratio of this many basis points.
    #[inline]
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The plain number of basis points.
    #[inline]
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// This part of `amount`, rounded down; `None` past [`Amount::MAX`].
    #[inline]
    #[must_use]
    pub const fn of_floor(self, amount: Amount) -> Option<Amount> {
        amount.mul_div_floor(self.0 as u128, 10_000)
    }

    /// This part of `amount`, rounded up; `None` past [`Amount::MAX`].
    #[inline]
    #[must_use]
    pub const fn of_ceil(self, amount: Amount) -> Option<Amount> {
        amount.mul_div_ceil(self.0 as u128, 10_000)
    }
}

impl fmt::Display for Bps {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} bps", self.0)
    }
}

/// Parts per million: 1,000,000 are the whole.
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
pub struct Ppm(pub u32);

impl Ppm {
    /// The ratio of this many parts per million.
    #[inline]
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The plain number of parts per million.
    #[inline]
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// This part of `amount`, rounded down; `None` past [`Amount::MAX`].
    #[inline]
    #[must_use]
    pub const fn of_floor(self, amount: Amount) -> Option<Amount> {
        amount.mul_div_floor(self.0 as u128, PPM_ONE as u128)
    }

    /// This part of `amount`, rounded up; `None` past [`Amount::MAX`].
    #[inline]
    #[must_use]
    pub const fn of_ceil(self, amount: Amount) -> Option<Amount> {
        amount.mul_div_ceil(self.0 as u128, PPM_ONE as u128)
    }
}

impl fmt::Display for Ppm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ppm", self.0)
    }
}
