//! Price sources, and the guards that stop a book when they disagree or fall silent.

use crate::price::Price;
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;
use forebay_quantity::{Bps, Milliseconds, SourceId, Timestamp};

/// Fewer sources than this never make a price, whatever the guards say: two cannot outvote one.
pub const SOURCES_MIN: usize = 3;

/// The most reports that one median takes; more sources than this outvote nobody better.
pub const SOURCES_MAX: usize = 16;

/// The latest price that one source gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct SourceReport {
    /// Who says it.
    pub source: SourceId,
    /// What it says.
    pub price: Price,
    /// When it reached us, by our own sequencer.
    pub at: Timestamp,
}

/// When reports make a price.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Guards {
    /// How many fresh sources a price needs; fewer than [`SOURCES_MIN`] counts as that.
    pub sources_min: u8,
    /// A report older than this is not fresh.
    pub age_max_ms: Milliseconds,
    /// More than half of the fresh sources lie within this of their median.
    pub deviation_max: Bps,
}

/// Why there is no price; the book of that asset stops until there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum GuardTripped {
    /// Fewer sources than needed have ever reported.
    TooFew {
        /// How many did.
        have: u8,
        /// How many must.
        need: u8,
    },
    /// Enough sources have reported, but too few of them lately.
    Stale {
        /// How many reports are fresh.
        fresh: u8,
        /// How many must be.
        need: u8,
    },
    /// No more than half of the fresh sources lie near their median.
    TooFarApart {
        /// How many do.
        agreeing: u8,
        /// How many are fresh.
        fresh: u8,
    },
}

impl fmt::Display for GuardTripped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFew { have, need } => {
                write!(out, "{have} price sources have reported, {need} are needed")
            }
            Self::Stale { fresh, need } => {
                write!(out, "{fresh} price sources are fresh, {need} are needed")
            }
            Self::TooFarApart { agreeing, fresh } => write!(
                out,
                "{agreeing} of {fresh} price sources are near their median, more than half are needed"
            ),
        }
    }
}

impl core::error::Error for GuardTripped {}

/// The median of all fresh reports, one a source (its newest); of two middle ones their mean, rounded down.
///
/// While more than half of the fresh sources are honest, it lies between two honest prices: a liar is outvoted
/// and does not stop the book. A report from after `now` is not fresh. Halts on more than [`SOURCES_MAX`] reports.
///
/// # Errors
/// The guard that tripped.
pub fn median(
    reports: &[SourceReport],
    now: Timestamp,
    guards: Guards,
) -> Result<Price, GuardTripped> {
    assert!(
        reports.len() <= SOURCES_MAX,
        "[I12] more than {SOURCES_MAX} price reports"
    );
    let need = usize::from(guards.sources_min).max(SOURCES_MIN);
    let newest = |report: &&SourceReport| is_newest(reports, report);
    let have = reports.iter().filter(newest).count();
    if have < need {
        return Err(GuardTripped::TooFew {
            have: small(have),
            need: small(need),
        });
    }
    let mut prices = [0u128; SOURCES_MAX];
    let mut fresh = 0;
    let is_fresh =
        |report: &&SourceReport| report.at <= now && now.since(report.at) <= guards.age_max_ms;
    for report in reports.iter().filter(newest).filter(is_fresh) {
        prices[fresh] = report.price.value();
        fresh += 1;
    }
    if fresh < need {
        return Err(GuardTripped::Stale {
            fresh: small(fresh),
            need: small(need),
        });
    }
    let prices = &mut prices[..fresh];
    prices.sort_unstable();
    let middle = (prices[(fresh - 1) / 2] + prices[fresh / 2]) / 2;
    let agreeing = prices
        .iter()
        .filter(|price| near(**price, middle, guards.deviation_max))
        .count();
    if agreeing * 2 <= fresh {
        return Err(GuardTripped::TooFarApart {
            agreeing: small(agreeing),
            fresh: small(fresh),
        });
    }
    Ok(Price::new(middle).expect("a mean of two prices lies between them"))
}

/// One vote a source: its newest report, the first listed of equally new ones.
fn is_newest(reports: &[SourceReport], report: &SourceReport) -> bool {
    let best = reports
        .iter()
        .filter(|other| other.source == report.source)
        .reduce(|best, other| if other.at > best.at { other } else { best });
    best.is_some_and(|best| core::ptr::eq(best, report))
}

fn near(price: u128, middle: u128, deviation_max: Bps) -> bool {
    // PRICE_MAX times ten thousand is under 2^128; past that the allowed side saturates above it.
    price.abs_diff(middle) * 10_000 <= middle.saturating_mul(u128::from(deviation_max.value()))
}

fn small(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}
