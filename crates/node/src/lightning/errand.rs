//! What the core wants done on Lightning, each once.

use std::sync::Arc;
use std::time::Duration;

use forebay_chain_bitcoin::Retry;
use forebay_chain_bitcoin::lightning::{
    ChannelNumber, Opening, PaymentStanding, PaymentTerms, read_invoice,
};
use forebay_channel::NodeId;
use forebay_pool::{Command, LightningCommand, lightning_fee_max};
use forebay_quantity::{Amount, EffectId, Hash32};
use tokio::sync::mpsc;
use tracing::warn;

use super::Lightning;
use super::payout::Due;

/// Other ways are looked for this long when one fails.
const PAYMENT_TIMEOUT: Duration = Duration::from_secs(60);
/// A node that is busy with an earlier attempt is asked again after this long, this often.
const BUSY_PAUSE: Duration = Duration::from_millis(200);
const BUSY_MAX: u32 = 50;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Pay the invoice with this hash.
    Pay(Hash32),
    /// Open a channel; the demand is its number.
    Open {
        demand: EffectId,
        node: NodeId,
        /// In millisatoshi.
        amount: Amount,
    },
    /// Pay an LP or the reserve by an output.
    PayOut(Due),
    /// Draft a spend of the reserve: so much back to the hot wallet, in millisatoshi, or a renewal.
    Draft(EffectId, Option<Amount>),
}

/// Carries errands out as they come; the core bounds how many are outstanding.
pub(crate) async fn run_errands(
    lightning: Arc<Lightning>,
    mut errands: mpsc::UnboundedReceiver<Errand>,
) {
    while let Some(errand) = errands.recv().await {
        let lightning = Arc::clone(&lightning);
        tokio::spawn(async move {
            match errand {
                Errand::Pay(hash) => lightning.pay(hash).await,
                Errand::Open {
                    demand,
                    node,
                    amount,
                } => lightning.open(demand, node, amount).await,
                Errand::PayOut(due) => lightning.is_due(due),
                Errand::Draft(demand, back) => lightning.draft(demand, back).await,
            }
        });
    }
}

impl Lightning {
    /// Begins a payment that the core has journalled, unless it is under way. Its end is observed.
    pub(super) async fn pay(&self, hash: Hash32) {
        let _outcomes_wait = self.outcome.lock().await;
        let is_wanted = self.core.query(move |state| state.is_paying(hash)).await;
        // What has ended meanwhile is never paid again [I16].
        if !is_wanted.unwrap_or(false) {
            return;
        }
        if let Err(why) = self.begin_payment(hash).await {
            warn!(%hash, "an invoice could not be paid: {why}");
            self.tell(LightningCommand::Failed { hash }).await;
        }
    }

    /// # Errors
    /// Why nothing is under way, for certain.
    async fn begin_payment(&self, hash: Hash32) -> Result<(), String> {
        let invoice = self.told().get(&hash).cloned();
        let Some(invoice) = invoice else {
            return match self.node.payment(hash.0) {
                Ok(PaymentStanding::Pending | PaymentStanding::Sent { .. }) => Ok(()),
                Ok(PaymentStanding::Unknown | PaymentStanding::Failed) => {
                    Err("it had not left before the last restart".into())
                }
                Err(fault) => {
                    warn!(%hash, "how a payment stands cannot be told now: {fault}");
                    Ok(())
                }
            };
        };
        let read = read_invoice(&invoice, self.network).map_err(|fault| fault.to_string())?;
        let amount = Amount::from(read.amount_msat.unwrap_or(0));
        let terms = PaymentTerms {
            invoice,
            fee_max_msat: lightning_fee_max(amount).to_u64().unwrap_or(u64::MAX),
            timeout: PAYMENT_TIMEOUT,
            cltv_max: None,
        };
        for _ in 0..BUSY_MAX {
            match self.node.pay(&terms) {
                Ok(_) => return Ok(()),
                Err(fault) if fault.retry() == Retry::Now => tokio::time::sleep(BUSY_PAUSE).await,
                Err(fault) => return Err(fault.to_string()),
            }
        }
        Err("the node is busy with an earlier attempt".into())
    }

    /// Asks for a channel; that it is funded, or closed again, is observed.
    async fn open(&self, demand: EffectId, node: NodeId, amount: Amount) {
        let opening = Opening {
            channel: ChannelNumber(u128::from(demand.0)),
            peer: node.0,
            value_sat: u64::try_from(amount.value() / 1_000).unwrap_or(u64::MAX),
            public: false,
        };
        if let Err(fault) = self.node.open_channel(opening) {
            warn!(%node, demand = demand.0, "a channel cannot be opened: {fault}");
            self.opening_failed(demand, fault.to_string()).await;
        }
    }

    pub(super) async fn opening_failed(&self, demand: EffectId, why: String) -> bool {
        let failed = Command::Outcome {
            effect: demand,
            failure: Some(why),
        };
        !matches!(
            self.core.command(failed).await,
            Err(crate::core::CommandFault::Stopped(_))
        )
    }
}
