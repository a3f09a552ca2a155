//! What the core wants done on Lightning, each once.

use std::sync::Arc;
use std::time::Duration;

use forebay_chain_bitcoin::lightning::{
    ChannelNumber, Opening, PaymentStanding, PaymentTerms, read_invoice,
};
use forebay_chain_bitcoin::{Fault, Retry};
use forebay_channel::NodeId;
use forebay_pool::{
    ChainRequest, Command, LightningChannelId, LightningCommand, SaleId, lightning_fee_max,
};
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
    /// Change the peer's channels.
    Change(EffectId, ChannelChange),
    /// Pay an LP or the reserve by an output.
    PayOut(Due),
    /// Draft a spend of the reserve: so much back to the hot wallet, in millisatoshi, or a renewal.
    Draft(EffectId, Option<Amount>),
}

/// What is to be done with a channel; amounts are in millisatoshi.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChannelChange {
    /// Open one; the demand is its number.
    Open { node: NodeId, amount: Amount },
    /// Add to one of this value.
    SpliceIn {
        channel: LightningChannelId,
        value: Amount,
        amount: Amount,
    },
    /// Take out of one of this value.
    SpliceOut {
        channel: LightningChannelId,
        value: Amount,
        amount: Amount,
    },
    /// Open one that was sold; the demand is its number.
    Sell {
        sale: SaleId,
        node: NodeId,
        amount: Amount,
    },
    /// Close one; this is ours in it, or more.
    Close {
        channel: LightningChannelId,
        amount: Amount,
    },
}

impl ChannelChange {
    /// The change that a demand asks for; none of a vault's.
    pub(crate) fn of(request: &ChainRequest) -> Option<Self> {
        match *request {
            ChainRequest::OpenLightning { node, amount, .. } => Some(Self::Open { node, amount }),
            ChainRequest::SpliceIn {
                channel,
                value,
                amount,
                ..
            } => Some(Self::SpliceIn {
                channel,
                value,
                amount,
            }),
            ChainRequest::SpliceOut {
                channel,
                value,
                amount,
                ..
            } => Some(Self::SpliceOut {
                channel,
                value,
                amount,
            }),
            ChainRequest::SellLightning {
                sale, node, amount, ..
            } => Some(Self::Sell { sale, node, amount }),
            ChainRequest::CloseLightning {
                channel, amount, ..
            }
            | ChainRequest::CloseSold {
                channel, amount, ..
            } => Some(Self::Close { channel, amount }),
            ChainRequest::Open { .. }
            | ChainRequest::Raise { .. }
            | ChainRequest::Redeem { .. }
            | ChainRequest::RaiseIndex { .. }
            | ChainRequest::PayExits { .. }
            | ChainRequest::StartClose { .. }
            | ChainRequest::FinishNotice { .. }
            | ChainRequest::StartLower { .. }
            | ChainRequest::Heartbeat { .. }
            | ChainRequest::ToReserve { .. }
            | ChainRequest::FromReserve { .. }
            | ChainRequest::RenewReserve { .. } => None,
        }
    }

    fn moved(&self) -> Amount {
        match self {
            Self::Open { amount, .. }
            | Self::SpliceIn { amount, .. }
            | Self::SpliceOut { amount, .. }
            | Self::Sell { amount, .. }
            | Self::Close { amount, .. } => *amount,
        }
    }
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
                Errand::PayOut(due) => lightning.is_due(due),
                Errand::Draft(demand, back) => lightning.draft(demand, back).await,
                Errand::Change(demand, change) => lightning.change(demand, change).await,
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

    /// Begins a change of channels; what comes of it is observed. After a crash it is asked for again: a channel is opened
    /// once under its number, and a splice that came about has left the channel with another value.
    async fn change(&self, demand: EffectId, change: ChannelChange) {
        let moved = change.moved();
        let fee_max = self
            .core
            .query(move |state| state.liquidity().fee_max(moved));
        let Ok(fee_max) = fee_max.await else {
            // A core that has stopped asks again after its next start.
            return;
        };
        let begun = match change {
            ChannelChange::Open { node, amount } => self.node.open_channel(Opening {
                channel: ChannelNumber(u128::from(demand.0)),
                peer: node.0,
                value_sat: satoshi(amount),
                public: false,
                fee_max_sat: satoshi(fee_max),
            }),
            ChannelChange::SpliceIn {
                channel,
                value,
                amount,
            } => self.splice(channel, value, |number| {
                let node = &self.node;
                node.splice_in(number, satoshi(amount), satoshi(fee_max))
            }),
            ChannelChange::SpliceOut {
                channel,
                value,
                amount,
            } => self.splice(channel, value, |number| {
                let node = &self.node;
                node.splice_out(number, satoshi(amount), satoshi(fee_max))
            }),
            ChannelChange::Sell { sale, node, amount } => {
                self.sell(demand, sale, (node, amount, fee_max)).await
            }
            ChannelChange::Close { channel, .. } => {
                let number = ChannelNumber(channel.0);
                self.node.close_within(number, satoshi(fee_max)).await
            }
        };
        if let Err(fault) = begun {
            warn!(
                demand = demand.0,
                ?change,
                "a channel is left as it is: {fault}"
            );
            self.change_failed(demand, fault.to_string()).await;
        }
    }

    fn splice(
        &self,
        channel: LightningChannelId,
        value: Amount,
        splice: impl FnOnce(ChannelNumber) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let number = ChannelNumber(channel.0);
        let channels = self.node.channels()?;
        let standing = channels.iter().find(|standing| standing.channel == number);
        let standing = standing.ok_or(Fault::UnknownChannel)?;
        if standing.value_sat != satoshi(value) {
            return Err(Fault::Channel {
                why: format!("it holds {} sat by now", standing.value_sat),
            });
        }
        splice(number)
    }

    pub(super) async fn change_failed(&self, demand: EffectId, why: String) -> bool {
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

pub(super) fn satoshi(amount: Amount) -> u64 {
    u64::try_from(amount.value() / 1_000).unwrap_or(u64::MAX)
}
