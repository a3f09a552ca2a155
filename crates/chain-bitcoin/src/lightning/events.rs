//! What LDK reports, told on, and what it asks for, done.

use std::sync::Arc;
use std::time::Duration;

use lightning::events::{
    ClaimedHTLC, Event, FundingInfo, HTLCHandlingFailureType, PaymentPurpose, ReplayEvent,
};
use lightning::ln::types::ChannelId;
use lightning::routing::router::Path;
use lightning::sign::SpendableOutputDescriptor;
use lightning::types::payment::{PaymentHash as LdkHash, PaymentPreimage};
use lightning::util::ser::Writeable;

use super::channel::output_of;
use super::invoice::{InvoiceRecord, invoice_change};
use super::node::Inner;
use super::observation::{ChannelNumber, NodeId, Observation, Observed};
use super::payment::{Unheard, failure_of};
use crate::Fault;

/// After an observation was dropped unacknowledged, before it is told again.
const REPEAT_PAUSE: Duration = Duration::from_secs(1);

impl Inner {
    /// Tells the listener, and waits until it has kept it.
    pub(crate) async fn tell(&self, observation: Observation) -> Result<(), Unheard> {
        let (observed, kept) = Observed::new(observation);
        if self.observations.send(observed).await.is_ok() && kept.await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(REPEAT_PAUSE).await;
        Err(Unheard)
    }
}

/// Handles one event; LDK forgets it once this is done, and repeats it after a restart before that.
pub(crate) async fn handle(inner: Arc<Inner>, event: Event) -> Result<(), ReplayEvent> {
    inner.dispatch(event).await.map_err(|Unheard| ReplayEvent())
}

/// As [`handle`], for what comes of channels: while a forwarded payment is being counted, all else waits.
pub(crate) async fn handle_of_channels(inner: Arc<Inner>, event: Event) -> Result<(), ReplayEvent> {
    match inner.counting.is_under_way() {
        true => Err(ReplayEvent()),
        false => handle(inner, event).await,
    }
}

impl Inner {
    async fn dispatch(&self, event: Event) -> Result<(), Unheard> {
        match event {
            Event::PaymentClaimable { .. }
            | Event::PaymentClaimed { .. }
            | Event::PaymentSent { .. }
            | Event::PaymentFailed { .. }
            | Event::HTLCHandlingFailed { .. } => self.payment_event(event).await,
            Event::FundingGenerationReady { .. }
            | Event::ChannelPending { .. }
            | Event::ChannelReady { .. }
            | Event::ChannelClosed { .. }
            | Event::OpenChannelRequest { .. }
            | Event::SplicePending { .. }
            | Event::SpliceFailed { .. }
            | Event::DiscardFunding { .. }
            | Event::FundingTransactionReadyForSigning { .. } => self.channel_event(event).await,
            Event::SpendableOutputs {
                outputs,
                channel_id,
            } => self.spendable(outputs, channel_id),
            Event::PaymentPathSuccessful {
                payment_hash: Some(hash),
                path,
                ..
            } => {
                self.path_done(hash, &path);
                Ok(())
            }
            Event::PaymentForwarded { .. } => self.forwarded(event).await,
            Event::BumpTransaction(bump) => {
                self.bumper.handle_event(&bump).await;
                Ok(())
            }
            Event::HTLCIntercepted { .. } => {
                self.intercepted(event).await;
                Ok(())
            }
            // Failed paths of payments, probes and offers: nothing that the pool books.
            _ => Ok(()),
        }
    }

    async fn payment_event(&self, event: Event) -> Result<(), Unheard> {
        match event {
            Event::PaymentClaimable {
                payment_hash,
                amount_msat,
                purpose,
                claim_deadline,
                ..
            } => {
                let deadline = claim_deadline.unwrap_or(0);
                self.claimable(payment_hash, amount_msat, &purpose, deadline)
                    .await
            }
            Event::PaymentClaimed {
                payment_hash,
                amount_msat,
                htlcs,
                ..
            } => self.claimed(payment_hash, amount_msat, &htlcs).await,
            Event::PaymentSent {
                payment_hash,
                payment_preimage,
                amount_msat,
                fee_paid_msat,
                ..
            } => {
                let paid = (amount_msat.unwrap_or(0), fee_paid_msat.unwrap_or(0));
                self.payment_sent(payment_hash.0, payment_preimage.0, paid)
                    .await
            }
            Event::PaymentFailed {
                payment_id, reason, ..
            } => self.payment_failed(payment_id.0, failure_of(reason)).await,
            Event::HTLCHandlingFailed {
                failure_type: HTLCHandlingFailureType::Receive { payment_hash },
                ..
            } => self.returned(payment_hash).await,
            Event::HTLCHandlingFailed {
                failure_type: failed @ HTLCHandlingFailureType::Forward { .. },
                ..
            } => {
                self.sale_failed(failed).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A payment to us is held. Ours by settlement is claimed at once; a hold invoice's waits for its owner; all else
    /// goes back, also what pays an invoice a second time.
    async fn claimable(
        &self,
        hash: LdkHash,
        amount_msat: u64,
        purpose: &PaymentPurpose,
        deadline_height: u32,
    ) -> Result<(), Unheard> {
        let is_invoice = matches!(purpose, PaymentPurpose::Bolt11InvoicePayment { .. });
        let record = self.record_for_event(hash).await?;
        let Some(record) = record.filter(|r| is_invoice && !r.received) else {
            self.channels.fail_htlc_backwards(&hash);
            return Ok(());
        };
        match record.settlement {
            Some(settlement) => {
                let preimage = self.keys.preimage(settlement);
                self.channels.claim_funds(PaymentPreimage(preimage));
                Ok(())
            }
            None => {
                let kept = self.hold(&hash.0, deadline_height);
                readable(kept).await?;
                self.tell(Observation::Claimable {
                    hash: hash.0,
                    payer: record.payer,
                    amount_msat,
                    deadline_height,
                })
                .await
            }
        }
    }

    async fn claimed(
        &self,
        hash: LdkHash,
        amount_msat: u64,
        parts: &[ClaimedHTLC],
    ) -> Result<(), Unheard> {
        let Some(record) = self.record_for_event(hash).await? else {
            return Ok(());
        };
        self.tell(Observation::Received {
            settlement: record.settlement,
            payer: record.payer,
            hash: hash.0,
            amount_msat,
        })
        .await?;
        if record.received {
            return Ok(());
        }
        let parts: Vec<_> = parts
            .iter()
            .map(|part| (part.channel_id, part.value_msat))
            .collect();
        let received = InvoiceRecord {
            received: true,
            ..record
        };
        let mut changes = self.closings.received(&parts);
        changes.push(invoice_change(&hash.0, &received));
        self.store.write(changes);
        self.release(&hash.0);
        Ok(())
    }

    /// A part of a payment of ours has arrived, by this path.
    fn path_done(&self, hash: LdkHash, path: &Path) {
        let Some(first) = path.hops.first() else {
            return;
        };
        let msat = path.final_value_msat().saturating_add(path.fee_msat());
        let name = first.short_channel_id;
        let id = self.channels.list_channels().into_iter().find(|details| {
            details.short_channel_id == Some(name) || details.outbound_scid_alias == Some(name)
        });
        if let Some(details) = id {
            self.closings.name(&details);
        }
        let hops: Vec<u8> = path.hops.iter().flat_map(Writeable::encode).collect();
        self.closings.sent(hash.0, &hops, name, msat);
    }

    /// What was sent back without being held needs no report.
    async fn returned(&self, hash: LdkHash) -> Result<(), Unheard> {
        if readable(self.went_back(&hash.0)).await? {
            self.tell(Observation::Returned { hash: hash.0 }).await?;
            self.release(&hash.0);
        }
        Ok(())
    }

    /// The record of an invoice of ours.
    async fn record_for_event(&self, hash: LdkHash) -> Result<Option<InvoiceRecord>, Unheard> {
        readable(self.find_invoice(&hash.0)).await
    }

    async fn channel_event(&self, event: Event) -> Result<(), Unheard> {
        match event {
            Event::FundingGenerationReady {
                temporary_channel_id,
                output_script,
                user_channel_id,
                ..
            } => {
                let channel = ChannelNumber(user_channel_id);
                self.agreed(channel, temporary_channel_id, output_script);
                Ok(())
            }
            Event::ChannelPending {
                user_channel_id,
                counterparty_node_id,
                funding_txo,
                channel_id,
                ..
            } => {
                let channel = ChannelNumber(user_channel_id);
                self.note_id(&channel_id, channel);
                let ours_sat = self.opened_sat(channel).map_err(|_| Unheard)?;
                self.closings.funded(channel_id, funding_txo, ours_sat);
                if let Ok(details) = self.details(channel) {
                    self.closings.name(&details);
                }
                let handed_in = self.wallet.handed_in(funding_txo.txid);
                handed_in.map_err(|_| Unheard)?;
                let fee_sat = self.fee_of(channel).map_err(|_| Unheard)?;
                self.tell(Observation::ChannelPending {
                    channel,
                    peer: counterparty_node_id.serialize(),
                    funding: super::channel::output_of_bitcoin(funding_txo),
                    fee_sat,
                })
                .await
            }
            Event::ChannelReady {
                user_channel_id,
                counterparty_node_id,
                channel_id,
                ..
            } => {
                if let Ok(details) = self.details(ChannelNumber(user_channel_id)) {
                    self.closings.name(&details);
                }
                let channel = ChannelNumber(user_channel_id);
                self.sale_ready(channel, &channel_id, &counterparty_node_id)
                    .await;
                self.tell(Observation::ChannelReady {
                    channel,
                    peer: counterparty_node_id.serialize(),
                })
                .await
            }
            Event::ChannelClosed {
                user_channel_id,
                reason,
                counterparty_node_id,
                channel_funding_txo,
                last_local_balance_msat,
                ..
            } => {
                let channel = ChannelNumber(user_channel_id);
                self.leave_out(channel);
                self.sale_closed(channel).await;
                let own_reason = self.lock_reasons().get(&channel).cloned();
                self.tell(Observation::ChannelClosed {
                    channel,
                    peer: counterparty_node_id.map(|node| node.serialize()),
                    funding: channel_funding_txo.map(output_of),
                    balance_msat: last_local_balance_msat,
                    reason: own_reason.unwrap_or_else(|| reason.to_string()),
                })
                .await?;
                self.lock_reasons().remove(&channel);
                Ok(())
            }
            Event::OpenChannelRequest {
                temporary_channel_id,
                counterparty_node_id,
                ..
            } => {
                self.decide_inbound(temporary_channel_id, counterparty_node_id.serialize());
                Ok(())
            }
            other => self.splice_event(other).await,
        }
    }

    /// Money of a closed channel is ours. Outputs to the hot wallet's own scripts need no sweeping.
    fn spendable(
        &self,
        outputs: Vec<SpendableOutputDescriptor>,
        channel_id: Option<ChannelId>,
    ) -> Result<(), Unheard> {
        self.sweeper
            .track_spendable_outputs(outputs, channel_id, true, None)
            .map_err(|()| Unheard)
    }

    async fn splice_event(&self, event: Event) -> Result<(), Unheard> {
        match event {
            Event::SplicePending {
                user_channel_id,
                channel_id,
                new_funding_txo,
                ..
            } => {
                let channel = ChannelNumber(user_channel_id);
                let handed_in = self.wallet.handed_in(new_funding_txo.txid);
                handed_in.map_err(|_| Unheard)?;
                let fee_sat = self
                    .book_splice(channel, channel_id, new_funding_txo)
                    .map_err(|_| Unheard)?;
                self.tell(Observation::SplicePending {
                    channel,
                    funding: super::channel::output_of_bitcoin(new_funding_txo),
                    fee_sat,
                })
                .await
            }
            Event::SpliceFailed {
                user_channel_id,
                contributed_inputs,
                ..
            } => {
                let channel = ChannelNumber(user_channel_id);
                let back = self.wallet.give_back(&contributed_inputs);
                back.map_err(|_| Unheard)?;
                self.forget_asked(channel);
                self.tell(Observation::SpliceFailed { channel }).await
            }
            Event::DiscardFunding {
                funding_info: FundingInfo::Tx { transaction },
                ..
            } => {
                let given_up = self.wallet.give_up(transaction.compute_txid());
                given_up.map_err(|_| Unheard)
            }
            Event::FundingTransactionReadyForSigning {
                channel_id,
                counterparty_node_id,
                unsigned_transaction,
                ..
            } => {
                self.sign_splice(channel_id, counterparty_node_id, unsigned_transaction);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn sign_splice(
        &self,
        channel: ChannelId,
        peer: bitcoin::secp256k1::PublicKey,
        unsigned: bitcoin::Transaction,
    ) {
        let shared = self.funding_output(&channel);
        let signed = shared.and_then(|shared| self.wallet.sign_splice(unsigned, shared));
        let signed = match signed {
            Ok(signed) => signed,
            Err(fault) => {
                tracing::error!(target: "lightning", %fault, "the hot wallet cannot sign a splice");
                return;
            }
        };
        if let Err(error) = self
            .channels
            .funding_transaction_signed(&channel, &peer, signed)
        {
            // The peer left meanwhile: LDK asks again once it is back.
            tracing::warn!(target: "lightning", ?error, "a splice was not signed");
        }
    }

    /// A peer wants to open a channel to us: its money, and room for us to receive. It is taken as long as the hot
    /// wallet can still pay for every channel to be closed by us alone.
    fn decide_inbound(&self, temporary: ChannelId, peer: NodeId) {
        let Ok(key) = super::channel::public_key(&peer) else {
            return;
        };
        let reserve = self.reserve_of(self.channels.list_channels().len() + 1);
        let has_reserve = self.wallet.spendable_sat() >= reserve;
        let outcome = match self.accepts_channels && has_reserve {
            true => {
                let number = self.draw_channel_number();
                self.channels
                    .accept_inbound_channel(&temporary, &key, number.0, None)
            }
            false => self.channels.force_close_broadcasting_latest_txn(
                &temporary,
                &key,
                "no channel can be taken now".to_owned(),
            ),
        };
        if let Err(error) = outcome {
            tracing::warn!(target: "lightning", ?error, "a channel that a peer asked for came to nothing");
        }
    }
}

/// A store that cannot be read keeps the event waiting.
async fn readable<T>(answer: Result<T, Fault>) -> Result<T, Unheard> {
    match answer {
        Ok(found) => Ok(found),
        Err(fault) => {
            tracing::error!(target: "lightning", %fault, "a record cannot be read");
            tokio::time::sleep(REPEAT_PAUSE).await;
            Err(Unheard)
        }
    }
}
