//! How fast settlements are between two nodes. It prints nothing and judges nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{
    InvoiceTerms, LightningNode, Observation, Observations, PaymentHash, PaymentTerms, read_invoice,
};
use crate::Fault;

/// How many settlements, and of what.
#[derive(Clone, Copy, Debug)]
pub struct SettlementLoad {
    /// How many.
    pub count: u32,
    /// How many are under way together.
    pub at_once: u32,
    /// Of how much each, in msat.
    pub amount_msat: u64,
    /// The number of the first; each takes the next. Numbers that were used before pay nothing.
    pub first: u128,
}

/// What was measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettlementFigures {
    /// From the first invoice asked for to the last payment reported as sent.
    pub elapsed: Duration,
    /// Of each, from asking for its invoice to its being reported as sent; the shortest first.
    pub latencies: Vec<Duration>,
}

impl SettlementFigures {
    /// Settlements in a thousand seconds.
    #[must_use]
    pub fn per_1000_s(&self) -> u128 {
        let count = u128::try_from(self.latencies.len()).unwrap_or(u128::MAX);
        count.saturating_mul(1_000_000_000) / self.elapsed.as_micros().max(1)
    }

    /// What so many per cent of the latencies do not exceed.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let place = self.latencies.len().saturating_mul(percent) / 100;
        let last = self.latencies.len().saturating_sub(1);
        self.latencies
            .get(place.min(last))
            .copied()
            .unwrap_or_default()
    }
}

/// Settles from `payer` to `payee`: for each, the payee makes the invoice and the payer pays it. What the payer reports
/// is acknowledged here; what the payee reports, by somebody else.
///
/// # Errors
///
/// What asking for an invoice or paying it says, save that there is no room now: then it is asked again.
/// [`Fault::Stopped`] when the payer stops.
pub async fn settlements(
    payer: &Arc<LightningNode>,
    told: &mut Observations,
    payee: &Arc<LightningNode>,
    load: SettlementLoad,
) -> Result<SettlementFigures, Fault> {
    let started = Instant::now();
    let mut asking = JoinSet::new();
    let mut under_way: BTreeMap<PaymentHash, Instant> = BTreeMap::new();
    let mut sent = BTreeMap::new();
    let mut latencies = Vec::new();
    let mut next = 0;
    while latencies.len() < usize::try_from(load.count).unwrap_or(usize::MAX) {
        while next < load.count && asking.len() + under_way.len() < load.at_once as usize {
            let number = load.first.wrapping_add(u128::from(next));
            asking.spawn(settle(
                Arc::clone(payer),
                Arc::clone(payee),
                number.to_be_bytes(),
                load.amount_msat,
            ));
            next += 1;
        }
        tokio::select! {
            Some(asked) = asking.join_next() => {
                let (hash, since) = asked.map_err(|_| Fault::Stopped)??;
                under_way.insert(hash, since);
            }
            observed = told.next() => {
                let observed = observed.ok_or(Fault::Stopped)?;
                if let Observation::Sent { hash, .. } = observed.observation {
                    sent.insert(hash, Instant::now());
                }
                observed.acknowledge();
            }
        }
        // A payment may be reported before the task that asked for it has said its hash.
        sent.retain(|hash, end| match under_way.remove(hash) {
            Some(since) => {
                latencies.push(*end - since);
                false
            }
            None => true,
        });
    }
    let elapsed = started.elapsed();
    latencies.sort_unstable();
    Ok(SettlementFigures { elapsed, latencies })
}

async fn settle(
    payer: Arc<LightningNode>,
    payee: Arc<LightningNode>,
    settlement: [u8; 16],
    amount_msat: u64,
) -> Result<(PaymentHash, Instant), Fault> {
    let since = Instant::now();
    let terms = InvoiceTerms {
        amount_msat,
        expiry_s: 3_600,
        final_cltv: super::FINAL_CLTV_MIN,
        payer: 0,
    };
    let invoice = payee.invoice(settlement, terms).await?;
    let hash = read_invoice(&invoice, payer.inner.network)?.hash;
    let payment = PaymentTerms {
        invoice,
        fee_max_msat: 0,
        timeout: Duration::from_secs(60),
        cltv_max: None,
    };
    loop {
        match payer.pay(&payment) {
            Err(Fault::NoRoute) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(fault) => return Err(fault),
            Ok(_) => return Ok((hash, since)),
        }
    }
}
