//! What a transaction pays: the source's estimate, between bounds.

use bitcoin::FeeRate;

/// In how many blocks a transaction should be in the chain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FeeTarget {
    /// From 1 to 1,008, which is what is estimated.
    pub blocks: u16,
}

/// What is paid when there is no estimate, and the bounds of what is paid when there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FeePolicy {
    /// Without an estimate, as just after a start and on regtest.
    pub fallback: FeeRate,
    /// Never less: below this, nodes do not pass a transaction on.
    pub min: FeeRate,
    /// Never more, whatever the estimate says.
    pub max: FeeRate,
}

impl Default for FeePolicy {
    fn default() -> Self {
        let sat_per_vbyte = FeeRate::from_sat_per_vb_u32;
        Self {
            fallback: sat_per_vbyte(10),
            min: sat_per_vbyte(1),
            max: sat_per_vbyte(500),
        }
    }
}

impl FeePolicy {
    pub(crate) fn choose(&self, estimate: Option<FeeRate>) -> FeeRate {
        estimate
            .unwrap_or(self.fallback)
            .max(self.min)
            .min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_taken_between_the_bounds_and_its_absence_is_no_fault() {
        let policy = FeePolicy::default();
        let rate = FeeRate::from_sat_per_kwu;
        assert_eq!(policy.choose(None), rate(2_500));
        assert_eq!(policy.choose(Some(rate(1_000))), rate(1_000));
        assert_eq!(policy.choose(Some(rate(1))), rate(250));
        assert_eq!(policy.choose(Some(rate(1_000_000))), rate(125_000));
    }
}
