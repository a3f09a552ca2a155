//! What the Lightning node reports, told to the core before the node may forget it.

use std::sync::Arc;

use forebay_chain_bitcoin::lightning::{ChannelNumber, Observation, Observations, PaymentStanding};
use forebay_channel::NodeId;
use forebay_pool::{ChainRequest, LightningChannelId, LightningCommand};
use forebay_quantity::{Amount, EffectId, Hash32, PeerId};
use tracing::{info, warn};

use super::lp::lp_of;
use super::wallet::millisatoshi;
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
                    let fee = millisatoshi(*fee_sat);
                    self.tell(LightningCommand::Funded { demand, fee }).await
                }
                None => true,
            },
            Observation::ChannelReady { channel, peer } => {
                self.channel_ready(*channel, NodeId(*peer)).await
            }
            Observation::ChannelClosed {
                channel,
                funding,
                balance_msat,
                reason,
                ..
            } => {
                info!(channel = channel.0, "a Lightning channel closed: {reason}");
                match (funding, demand_of(*channel)) {
                    (None, Some(demand)) => self.change_failed(demand, reason.clone()).await,
                    (None, None) => true,
                    (Some(_), _) => {
                        self.tell(LightningCommand::ChannelClosed {
                            channel: LightningChannelId(channel.0),
                            balance: Amount::from(balance_msat.unwrap_or(0)),
                        })
                        .await
                    }
                }
            }
            Observation::ClosingPaid {
                channel,
                txid,
                fee_sat,
            } => {
                self.tell(LightningCommand::ClosingPaid {
                    channel: LightningChannelId(channel.0),
                    txid: Hash32(*txid),
                    fee: millisatoshi(*fee_sat),
                })
                .await
            }
            Observation::ChannelReturned {
                channel,
                cost_msat,
                gain_msat,
            } => {
                self.tell(LightningCommand::ChannelReturned {
                    channel: LightningChannelId(channel.0),
                    cost: Amount::from(*cost_msat),
                    gain: Amount::from(*gain_msat),
                })
                .await
            }
            // Who asks for a splice pays for it: this one is the peer's.
            Observation::SplicePending {
                fee_sat: Some(0), ..
            } => true,
            Observation::SplicePending {
                channel,
                funding,
                fee_sat,
            } => {
                self.tell(LightningCommand::Spliced {
                    channel: LightningChannelId(channel.0),
                    txid: Hash32(funding.txid),
                    fee: millisatoshi(fee_sat.unwrap_or(0)),
                })
                .await
            }
            Observation::SpliceFailed { channel } => self.splice_failed(*channel).await,
            Observation::TermsAsked { .. }
            | Observation::ChannelAsked { .. }
            | Observation::PaymentHeld { .. }
            | Observation::Forwarded { .. } => self.take_sale(observation).await,
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
            | Observation::Returned { .. } => true,
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

    /// A channel can be used, or is of another size than before.
    async fn channel_ready(&self, channel: ChannelNumber, node: NodeId) -> bool {
        let Ok(named) = self.core.query(move |state| state.peer_at(node)).await else {
            return false;
        };
        let channels = self.node.channels().unwrap_or_default();
        let standing = channels.iter().find(|standing| standing.channel == channel);
        match (named, standing) {
            (Some(peer), Some(standing)) => {
                self.tell_capacity(peer, node).await;
                self.tell_channel(peer, standing).await
            }
            // It is told when the node is named; one that is closed by now needs no telling.
            (None, _) | (_, None) => true,
        }
    }

    /// A splice came to nothing, perhaps the one that the core waits for.
    async fn splice_failed(&self, channel: ChannelNumber) -> bool {
        let channel = LightningChannelId(channel.0);
        let waiting = self.core.query(move |state| {
            let mut effects = state.chain_effects();
            let is_it = |request: &ChainRequest| {
                let is_close = matches!(request, ChainRequest::CloseLightning { .. });
                request.lightning_channel() == Some(channel) && !is_close
            };
            effects
                .find(|(_, request)| is_it(request))
                .map(|(id, _)| id)
        });
        match waiting.await {
            Ok(Some(demand)) => {
                self.change_failed(demand, "the peer took no splice".into())
                    .await
            }
            Ok(None) => true,
            Err(_) => false,
        }
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
