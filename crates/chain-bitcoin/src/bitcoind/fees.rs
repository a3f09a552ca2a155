//! bitcoind's own estimates of fees.

use bitcoin::FeeRate;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{Bitcoind, views};
use crate::Fault;
use crate::chain::FeeTarget;

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
