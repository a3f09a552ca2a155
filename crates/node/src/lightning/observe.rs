//! What the Lightning node reports, told to the core before the node may forget it.

use std::sync::Arc;

use forebay_chain_bitcoin::lightning::{ChannelNumber, Observation, Observations, PaymentStanding};
use forebay_channel::NodeId;
use forebay_pool::LightningCommand;
use forebay_quantity::{Amount, EffectId, Hash32, PeerId};
use tracing::{info, warn};

use super::lp::lp_of;
use super::{Lightning, settlement_of};

/// Hands each observation to the core, and back as kept once it is durable there.
pub(crate) async fn observe(lightning: Arc<Lightning>, mut observations: Observations) {
    while let Some(observed) = observations.next().await {
        if !lightning.take(&observed.observation).await {
            // The core has stopped: the node tells it again after the next start.
            return;
        }
        observed.acknowledge();
    }
}

impl Lightning {
    /// Whether an observation is durable, or nothing that has to be.
    async fn take(&self, observation: &Observation) -> bool {
        match observation {
            Observation::Received {
                settlement: Some(id),
                payer,
                amount_msat,
                ..
            } => {
                if let Some(lp) = lp_of(*payer) {
                    return self.invoice_paid(lp, *id, *amount_msat).await;
                }
                let (Some(settlement), Ok(peer)) = (settlement_of(*id), u32::try_from(*payer))
                else {
                    return true;
                };
                self.tell(LightningCommand::Received {
                    peer: PeerId(peer),
                    settlement,
                    amount: Amount::from(*amount_msat),
                })
                .await
            }
            Observation::Sent { hash, fee_msat, .. } => {
                self.told().remove(&Hash32(*hash));
                self.tell(LightningCommand::Sent {
                    hash: Hash32(*hash),
                    fee: Amount::from(*fee_msat),
                })
                .await
            }
            Observation::Failed { hash, reason } => {
                warn!(hash = %Hash32(*hash), ?reason, "a payment failed");
                self.failed(Hash32(*hash)).await
            }
            Observation::Capacity {
                peer,
                outbound_msat,
                inbound_msat,
            } => {
                self.capacity(NodeId(*peer), *outbound_msat, *inbound_msat)
                    .await
            }
            Observation::ChannelPending {
                channel, fee_sat, ..
            } => match demand_of(*channel) {
                Some(demand) => {
                    let fee = Amount::new(u128::from(*fee_sat) * 1_000);
                    self.tell(LightningCommand::Funded { demand, fee }).await
                }
                None => true,
            },
            Observation::ChannelClosed {
                channel,
                funding,
                reason,
                ..
            } => {
                info!(channel = channel.0, "a Lightning channel closed: {reason}");
                match demand_of(*channel).filter(|_| funding.is_none()) {
                    Some(demand) => self.opening_failed(demand, reason.clone()).await,
                    None => true,
                }
            }
            // No hold invoice of ours exists: whoever pays one made it up.
            Observation::Claimable { hash, .. } => {
                if let Err(fault) = self.node.fail(*hash) {
                    warn!("a payment that nobody asked for stays held: {fault}");
                }
                true
            }
            Observation::Received {
                settlement: None, ..
            }
            | Observation::Returned { .. }
            | Observation::ChannelReady { .. }
            | Observation::ChannelReturned { .. }
            | Observation::SplicePending { .. }
            | Observation::SpliceFailed { .. } => true,
        }
    }

    /// A payment failed for certain, unless it was begun again since that was said.
    async fn failed(&self, hash: Hash32) -> bool {
        let _payments_wait = self.outcome.lock().await;
        if matches!(self.node.payment(hash.0), Ok(PaymentStanding::Pending)) {
            return true;
        }
        self.told().remove(&hash);
        self.tell(LightningCommand::Failed { hash }).await
    }

    async fn capacity(&self, node: NodeId, outbound_msat: u64, inbound_msat: u64) -> bool {
        let named = self.core.query(move |state| state.peer_at(node)).await;
        match named {
            Ok(Some(peer)) => {
                self.tell(LightningCommand::Capacity {
                    peer,
                    outbound: Amount::from(outbound_msat),
                    inbound: Amount::from(inbound_msat),
                })
                .await
            }
            // It is told when the node is named.
            Ok(None) => true,
            Err(_) => false,
        }
    }
}

/// The demand that a channel was opened for; none for a channel that the other end opened.
fn demand_of(channel: ChannelNumber) -> Option<EffectId> {
    u64::try_from(channel.0).ok().map(EffectId)
}
