//! Percentiles, and figures rounded to what they are worth.

use serde::Serialize;

/// How long packets or requests took, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Latency {
    pub(super) p50_us: u32,
    pub(super) p99_us: u32,
    pub(super) p999_us: u32,
}

impl Latency {
    /// Of these; there is at least one.
    pub(super) fn of(latencies_us: &mut [u32]) -> Self {
        latencies_us.sort_unstable();
        Self {
            p50_us: at(latencies_us, 500),
            p99_us: at(latencies_us, 990),
            p999_us: at(latencies_us, 999),
        }
    }

    /// As cells of a table, under [`Latency::HEADS`].
    pub(super) fn cells(&self) -> [String; 3] {
        [self.p50_us, self.p99_us, self.p999_us].map(|us| us.to_string())
    }

    pub(super) const HEADS: [&str; 3] = ["p50 µs", "p99 µs", "p99.9 µs"];
}

/// The value that so many of a thousand are below.
pub(super) fn at(sorted: &[u32], per_mille: usize) -> u32 {
    let last = sorted.len().saturating_sub(1);
    let place = sorted.len() * per_mille / 1_000;
    sorted.get(place.min(last)).copied().unwrap_or(0)
}

/// `count` a second over `elapsed_us`.
pub(super) fn per_second(count: u64, elapsed_us: u128) -> u64 {
    let rate = u128::from(count) * 1_000_000 / elapsed_us.max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// `total` shared by `count`, to two decimal places.
#[expect(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "a measurement, not money"
)]
pub(super) fn each(total: u64, count: u64) -> f64 {
    (total as f64 / count.max(1) as f64 * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::{Latency, each, per_second};

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        let mut thousand: Vec<u32> = (1..=1_000).rev().collect();
        let latency = Latency::of(&mut thousand);
        assert_eq!(latency.p50_us, 501);
        assert_eq!(latency.p99_us, 991);
        assert_eq!(latency.p999_us, 1_000);
        assert_eq!(Latency::of(&mut [7]).p999_us, 7);
    }

    #[test]
    fn rates_and_shares_are_of_the_whole() {
        assert_eq!(per_second(3, 1_500_000), 2);
        assert_eq!(per_second(3, 0), 3_000_000);
        assert!((each(10, 4) - 2.5).abs() < f64::EPSILON);
    }
}
