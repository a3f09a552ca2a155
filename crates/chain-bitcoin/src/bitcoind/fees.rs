//! What a transaction pays: bitcoind's estimate, between bounds.

use bitcoin::FeeRate;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{Bitcoind, views};
use crate::Fault;

/// In how many blocks a transaction should be in the chain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FeeTarget {
    /// From 1 to 1,008, which is what bitcoind estimates.
    pub blocks: u16,
}

/// What is paid when bitcoind has no estimate, and the bounds of what is paid when it has one.
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
    fn choose(&self, estimate: Option<FeeRate>) -> FeeRate {
        estimate
            .unwrap_or(self.fallback)
            .max(self.min)
            .min(self.max)
    }
}

#[derive(Deserialize)]
struct Estimate {
    /// Bitcoins per 1,000 virtual bytes.
    feerate: Option<Box<RawValue>>,
}

impl Bitcoind {
    /// What to pay to be in the chain that soon.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn fee_rate(&self, target: FeeTarget) -> Result<FeeRate, Fault> {
        const METHOD: &str = "estimatesmartfee";
        let answer: Estimate = self.call(METHOD, &[json!(target.blocks)]).await?;
        let per_kilobyte = answer
            .feerate
            .map(|number| views::bitcoins(METHOD, &number))
            .transpose()?;
        // A virtual byte is 4 weight units.
        let estimate =
            per_kilobyte.map(|amount| FeeRate::from_sat_per_kwu(amount.to_sat().div_ceil(4)));
        Ok(self.settings.fees.choose(estimate))
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
