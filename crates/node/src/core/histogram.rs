//! How long things took, in fixed buckets: adding to one costs two additions and takes no memory.

use std::time::Duration;

use super::figures::Count;

/// Upper ends of the buckets, in microseconds: from the cost of a wake-up to what nobody should wait for.
pub const BUCKETS_US: [u64; 18] = [
    25, 50, 100, 150, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 20_000,
    50_000, 100_000, 1_000_000,
];

/// Counts by bucket, and their sum.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Count; BUCKETS_US.len()],
    beyond: Count,
    sum_us: Count,
}

/// A histogram's counts at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// By bucket, the last for what lies beyond them all; not cumulative.
    pub buckets: [u64; BUCKETS_US.len() + 1],
    /// Of everything, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// Adds `times` things that took so long.
    pub(crate) fn add(&self, took: Duration, times: u64) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = BUCKETS_US.partition_point(|end| *end < took);
        self.buckets.get(at).unwrap_or(&self.beyond).add(times);
        self.sum_us.add(took.saturating_mul(times));
    }

    /// The counts now.
    pub fn counted(&self) -> Counted {
        let mut buckets = [0; BUCKETS_US.len() + 1];
        let counts = self.buckets.iter().chain([&self.beyond]);
        for (bucket, count) in buckets.iter_mut().zip(counts) {
            *bucket = count.value();
        }
        Counted {
            buckets,
            sum_us: self.sum_us.value(),
        }
    }
}

impl Counted {
    /// How many in all.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What came since another count.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut buckets = self.buckets;
        for (now, before) in buckets.iter_mut().zip(earlier.buckets) {
            *now = now.saturating_sub(before);
        }
        Self {
            buckets,
            sum_us: self.sum_us.saturating_sub(earlier.sum_us),
        }
    }

    /// The end of the bucket in which `per_mille` of all are reached, in microseconds; none without any. What lies beyond
    /// the last bucket counts as twice its end.
    pub fn quantile_us(&self, per_mille: u64) -> Option<u64> {
        let wanted = self
            .count()
            .saturating_mul(per_mille)
            .div_ceil(1_000)
            .max(1);
        let mut reached = 0;
        let ends = BUCKETS_US
            .into_iter()
            .chain([2 * BUCKETS_US[BUCKETS_US.len() - 1]]);
        for (count, end) in self.buckets.into_iter().zip(ends) {
            reached += count;
            if reached >= wanted {
                return Some(end);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_ends_of_the_buckets_that_a_sorted_list_gives() {
        let histogram = Histogram::default();
        assert_eq!(histogram.counted().quantile_us(500), None);
        for (took, times) in [(10, 4), (25, 1), (26, 3), (900, 1), (2_000_000, 1)] {
            histogram.add(Duration::from_micros(took), times);
        }
        let counted = histogram.counted();
        assert_eq!(counted.count(), 10);
        assert_eq!(counted.sum_us, 2_001_043);
        let quantiles = [500, 501, 800, 900, 1_000].map(|q| counted.quantile_us(q));
        assert_eq!(
            quantiles.map(Option::unwrap_or_default),
            [25, 50, 50, 1_000, 2_000_000]
        );
        histogram.add(Duration::from_micros(1), 7);
        assert_eq!(histogram.counted().since(&counted).count(), 7);
    }
}
