//! Points in time and spans of it; the clock itself is outside.

use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;

/// A point in time, in milliseconds since the Unix epoch.
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
pub struct Timestamp(pub u64);

/// A span of time, in milliseconds.
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
pub struct Milliseconds(pub u64);

impl Timestamp {
    /// The last moment that can be written.
    pub const MAX: Self = Self(u64::MAX);

    /// The moment this many milliseconds after the Unix epoch.
    #[inline]
    #[must_use]
    pub const fn new(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// Milliseconds since the Unix epoch.
    #[inline]
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The moment `span` later, or `None` past [`Timestamp::MAX`].
    #[inline]
    #[must_use]
    pub const fn checked_add(self, span: Milliseconds) -> Option<Self> {
        match self.0.checked_add(span.0) {
            Some(milliseconds) => Some(Self(milliseconds)),
            None => None,
        }
    }

    /// The moment `span` later, or [`Timestamp::MAX`].
    #[inline]
    #[must_use]
    pub const fn saturating_add(self, span: Milliseconds) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The moment `span` earlier, or `None` before the Unix epoch.
    #[inline]
    #[must_use]
    pub const fn checked_sub(self, span: Milliseconds) -> Option<Self> {
        match self.0.checked_sub(span.0) {
            Some(milliseconds) => Some(Self(milliseconds)),
            None => None,
        }
    }

    /// The moment `span` earlier, or the Unix epoch.
    #[inline]
    #[must_use]
    pub const fn saturating_sub(self, span: Milliseconds) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// The span since `earlier`; zero when `earlier` is in fact later.
    #[inline]
    #[must_use]
    pub const fn since(self, earlier: Self) -> Milliseconds {
        Milliseconds(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

impl Milliseconds {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The longest span that can be written.
    pub const MAX: Self = Self(u64::MAX);

    /// A span of this many milliseconds.
    #[inline]
    #[must_use]
    pub const fn new(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// A span of this many seconds, or [`Milliseconds::MAX`].
    #[inline]
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// The plain number of milliseconds.
    #[inline]
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The sum, or [`Milliseconds::MAX`].
    #[inline]
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, or zero.
    #[inline]
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Milliseconds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ms", self.0)
    }
}
