//! Channels: opened, several in one transaction; spliced; closed; and how they stand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, OutPoint, ScriptBuf, TxOut};
use borsh::{BorshDeserialize, BorshSerialize};
use lightning::ln::channel_state::ChannelDetails;
use lightning::ln::funding::{FundingTxInput, SpliceContribution};
use lightning::ln::types::ChannelId;
use lightning::util::errors::APIError;

use super::course::Splice;
use super::node::{Inner, LightningNode};
use super::observation::{ChannelNumber, NodeId, Output};
use super::record;
use super::wallet::Belonging;
use crate::Fault;

/// A peer that does not answer within this time keeps no other channel of the same transaction waiting.
const OPENING_PATIENCE: Duration = Duration::from_secs(60);
/// How long a closing waits for the writing of what came before it.
const WRITING_PATIENCE: Duration = Duration::from_secs(3);

/// Two outputs of 330 sat by which either end can pay more for a closing (BOLT 3).
const ANCHORS_SAT: u64 = 2 * 330;

/// Generous for a splice without inputs of the wallet's, and for a closing, in weight units.
const SPLICE_WEIGHT: u64 = 1_200;
const CLOSING_WEIGHT: u64 = 800;
/// One input of the wallet's, with the witness of its key.
const INPUT_WEIGHT: u64 = 4 * 41 + 66;
/// LDK pays so much more, in sat, before it closes a channel without its peer (`force_close_avoidance_max_fee_satoshis`).
const AVOIDANCE_SAT: u64 = 1_000;

/// A channel that is asked for. All of its value is ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opening {
    /// Its number, never used for another channel.
    pub channel: ChannelNumber,
    /// The other end.
    pub peer: NodeId,
    /// Its value, in sat.
    pub value_sat: u64,
    /// Whether the network is told of it.
    pub public: bool,
    /// The most that its part of the funding transaction may pay to miners, in sat.
    pub fee_max_sat: u64,
}

/// How a channel is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closing {
    /// With the peer, at once.
    Cooperative,
    /// Alone; our money comes after the delay that the peer asked for.
    Unilateral,
}

/// How a channel stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelStanding {
    /// Its number.
    pub channel: ChannelNumber,
    /// The other end.
    pub peer: NodeId,
    /// Both ends' money in it, in sat.
    pub value_sat: u64,
    /// What is ours, in msat, what is in payments of ours under way counted.
    pub balance_msat: u64,
    /// What we can send over it, in msat.
    pub outbound_msat: u64,
    /// What we can receive over it, in msat.
    pub inbound_msat: u64,
    /// The smallest next payment of ours, in msat.
    pub next_outbound_min_msat: u64,
    /// The largest next payment of ours, in msat.
    pub next_outbound_max_msat: u64,
    /// How many payments are under way to and from the peer.
    pub pending: u64,
    /// Whether it is confirmed on chain.
    pub ready: bool,
    /// Whether it is ready and the peer is connected.
    pub usable: bool,
    /// Whether we opened it.
    pub ours: bool,
    /// Whether the network is told of it.
    pub public: bool,
    /// Where its money is.
    pub funding: Option<Output>,
    /// What we have paid to miners for its opening and splices, in sat.
    pub fee_sat: u64,
    /// Whether the peer can splice.
    pub splices: bool,
}

/// What is kept of what a channel costs.
#[derive(Clone, Copy, Default, BorshSerialize, BorshDeserialize)]
struct ChannelRecord {
    fee_sat: u64,
    /// The last splice that is in it, and its fee: its event may come again.
    splice: Option<([u8; 32], u64)>,
}

/// Channels that will share one funding transaction.
#[derive(Default)]
pub(crate) struct FundingBatch(BTreeMap<ChannelNumber, Member>);

struct Member {
    opening: Opening,
    /// As LDK calls it until it is funded, and where its money goes; none until the peer has agreed.
    agreed: Option<(ChannelId, ScriptBuf)>,
}

impl LightningNode {
    /// Asks a peer for a channel; what becomes of it is reported. A channel that is there already is left as it is. The hot
    /// wallet keeps its reserve for each channel; when it has too little, the channel is reported closed.
    ///
    /// # Errors
    ///
    /// [`Fault::PeerOffline`]; [`Fault::Channel`] with LDK's reason.
    pub fn open_channel(&self, opening: Opening) -> Result<(), Fault> {
        self.open_channels(&[opening]).remove(0)
    }

    /// Asks for several channels, funded by one transaction. Each that cannot be asked for, or whose peer does not
    /// agree, is left out; its fault stands in its place.
    pub fn open_channels(&self, openings: &[Opening]) -> Vec<Result<(), Fault>> {
        let inner = &self.inner;
        let present: Vec<_> = inner.channels.list_channels();
        let is_new = |o: &Opening| present.iter().all(|c| c.user_channel_id != o.channel.0);
        let fresh: Vec<_> = openings.iter().copied().filter(is_new).collect();
        // All are there before the first peer can agree: the transaction waits for them.
        inner.lock_openings().push(FundingBatch(
            fresh
                .iter()
                .map(|o| {
                    let member = Member {
                        opening: *o,
                        agreed: None,
                    };
                    (o.channel, member)
                })
                .collect(),
        ));
        let outcomes = openings
            .iter()
            .map(|o| match is_new(o) {
                true => inner.ask_for(o).inspect_err(|_| inner.leave_out(o.channel)),
                false => Ok(()),
            })
            .collect();
        inner.limit_patience(fresh.iter().map(|o| o.channel).collect());
        outcomes
    }

    /// Adds money of the hot wallet to a channel, in sat. The wallet keeps its reserve for each channel.
    ///
    /// # Errors
    ///
    /// [`Fault::UnknownChannel`]; [`Fault::NotEnoughCoins`]; [`Fault::FeeTooHigh`]; [`Fault::Channel`] with LDK's reason.
    pub fn splice_in(
        &self,
        channel: ChannelNumber,
        value_sat: u64,
        fee_max_sat: u64,
    ) -> Result<(), Fault> {
        let details = self.inner.details(channel)?;
        let rate = self.inner.fee_rates.funding();
        self.inner.leave_reserve(value_sat)?;
        let inputs = self.inner.wallet.splice_inputs(value_sat, rate)?;
        let places: Vec<_> = inputs.iter().map(FundingTxInput::outpoint).collect();
        let count = u64::try_from(inputs.len()).unwrap_or(u64::MAX);
        let weight = SPLICE_WEIGHT.saturating_add(count.saturating_mul(INPUT_WEIGHT));
        within(fee_of_weight(weight, rate), fee_max_sat)
            .inspect_err(|_| self.inner.give_back(&places))?;
        let contribution = SpliceContribution::SpliceIn {
            value: Amount::from_sat(value_sat),
            inputs,
            change_script: Some(self.inner.wallet.script()?),
        };
        self.splice(&details, contribution, rate)
            .inspect_err(|_| self.inner.give_back(&places))
    }

    /// Takes money, in sat, out of a channel into the hot wallet.
    ///
    /// # Errors
    ///
    /// [`Fault::UnknownChannel`]; [`Fault::FeeTooHigh`]; [`Fault::Channel`] with LDK's reason.
    pub fn splice_out(
        &self,
        channel: ChannelNumber,
        value_sat: u64,
        fee_max_sat: u64,
    ) -> Result<(), Fault> {
        let details = self.inner.details(channel)?;
        let rate = self.inner.fee_rates.funding();
        within(fee_of_weight(SPLICE_WEIGHT, rate), fee_max_sat)?;
        let contribution = SpliceContribution::SpliceOut {
            outputs: vec![TxOut {
                value: Amount::from_sat(value_sat),
                script_pubkey: self.inner.wallet.script()?,
            }],
        };
        self.splice(&details, contribution, rate)
    }

    fn splice(
        &self,
        details: &ChannelDetails,
        contribution: SpliceContribution,
        rate: u32,
    ) -> Result<(), Fault> {
        let channel = ChannelNumber(details.user_channel_id);
        let was_asked = self.inner.is_asked(channel)?;
        // Before LDK knows of it, so that no splice of ours is ever taken for the peer's.
        self.inner.note_asked(channel);
        self.inner
            .channels
            .splice_channel(
                &details.channel_id,
                &details.counterparty.node_id,
                contribution,
                rate,
                None,
            )
            .map_err(|error| {
                if !was_asked {
                    self.inner.forget_asked(channel);
                }
                channel_fault(error)
            })
    }

    /// Closes a channel. That it is closed is reported.
    ///
    /// # Errors
    ///
    /// [`Fault::UnknownChannel`]; [`Fault::PeerOffline`] when it is needed; [`Fault::Channel`] with LDK's reason.
    pub async fn close(&self, channel: ChannelNumber, closing: Closing) -> Result<(), Fault> {
        let deadline = tokio::time::Instant::now() + WRITING_PATIENCE;
        loop {
            let details = self.inner.details(channel)?;
            let (id, peer) = (&details.channel_id, &details.counterparty.node_id);
            let outcome = match closing {
                Closing::Cooperative if self.inner.peers.peer_by_node_id(peer).is_none() => {
                    return Err(Fault::PeerOffline);
                }
                Closing::Cooperative => self.inner.channels.close_channel(id, peer),
                Closing::Unilateral => self.inner.channels.force_close_broadcasting_latest_txn(
                    id,
                    peer,
                    "closed by its operator".to_owned(),
                ),
            };
            match outcome {
                // Refused so while a change before this is being written, which takes milliseconds.
                Err(APIError::ChannelUnavailable { .. })
                    if tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => return other.map_err(channel_fault),
            }
        }
    }

    /// Closes a channel together with its peer if that costs us no more than so much, in sat: nothing where the peer opened
    /// it.
    ///
    /// # Errors
    ///
    /// [`Fault::FeeTooHigh`], and those of [`Self::close`].
    pub async fn close_within(
        &self,
        channel: ChannelNumber,
        fee_max_sat: u64,
    ) -> Result<(), Fault> {
        if self.inner.details(channel)?.is_outbound {
            let fee_sat = fee_of_weight(CLOSING_WEIGHT, self.inner.fee_rates.funding());
            within(fee_sat.saturating_add(AVOIDANCE_SAT), fee_max_sat)?;
        }
        self.close(channel, Closing::Cooperative).await
    }

    /// How all open channels stand.
    ///
    /// # Errors
    ///
    /// [`Fault::Store`].
    pub fn channels(&self) -> Result<Vec<ChannelStanding>, Fault> {
        let all = self.inner.channels.list_channels();
        all.iter()
            .map(|details| self.inner.describe(details))
            .collect()
    }
}

impl Inner {
    fn ask_for(&self, opening: &Opening) -> Result<(), Fault> {
        let peer = public_key(&opening.peer)?;
        if self.peers.peer_by_node_id(&peer).is_none() {
            return Err(Fault::PeerOffline);
        }
        let mut config = self.channels.get_current_config();
        config.channel_handshake_config.announce_for_forwarding = opening.public;
        self.channels
            .create_channel(
                peer,
                opening.value_sat,
                0,
                opening.channel.0,
                None,
                Some(config),
            )
            .map(drop)
            .map_err(channel_fault)
    }

    /// After [`OPENING_PATIENCE`], those whose peers have not agreed are left out.
    fn limit_patience(&self, channels: Vec<ChannelNumber>) {
        let Some(inner) = self.me.upgrade() else {
            return;
        };
        let weak = Arc::downgrade(&inner);
        self.runtime.spawn(async move {
            tokio::time::sleep(OPENING_PATIENCE).await;
            let Some(inner) = weak.upgrade() else { return };
            for channel in channels {
                if inner.waits_for_peer(channel) {
                    inner.give_up(channel, "the peer did not answer in time");
                }
            }
        });
    }

    fn waits_for_peer(&self, channel: ChannelNumber) -> bool {
        self.lock_openings()
            .iter()
            .any(|b| b.0.get(&channel).is_some_and(|m| m.agreed.is_none()))
    }

    /// Ends a channel that has no funding yet. LDK reports it closed.
    fn give_up(&self, channel: ChannelNumber, reason: &str) {
        self.lock_reasons().insert(channel, reason.to_owned());
        self.leave_out(channel);
        if let Ok(details) = self.details(channel) {
            let (id, peer) = (&details.channel_id, &details.counterparty.node_id);
            // A channel that went away by itself meanwhile is what was wanted.
            let _unless_gone =
                self.channels
                    .force_close_broadcasting_latest_txn(id, peer, reason.to_owned());
        }
    }

    /// A peer has agreed to a channel. Once all of its transaction have, it is made.
    pub(crate) fn agreed(&self, channel: ChannelNumber, temporary: ChannelId, script: ScriptBuf) {
        if let Some(member) = self
            .lock_openings()
            .iter_mut()
            .find_map(|batch| batch.0.get_mut(&channel))
        {
            member.agreed = Some((temporary, script));
        }
        self.fund_complete_batches();
    }

    /// Takes a channel out of the transaction that would have funded it.
    pub(crate) fn leave_out(&self, channel: ChannelNumber) {
        for batch in self.lock_openings().iter_mut() {
            batch.0.remove(&channel);
        }
        self.fund_complete_batches();
    }

    fn fund_complete_batches(&self) {
        let mut complete = Vec::new();
        self.lock_openings().retain_mut(|batch| {
            if batch.0.values().any(|m| m.agreed.is_none()) {
                return true;
            }
            complete.push(std::mem::take(batch));
            false
        });
        for batch in complete.into_iter().filter(|b| !b.0.is_empty()) {
            if let Err(fault) = self.fund(&batch) {
                let reason = fault.to_string();
                for channel in batch.0.keys() {
                    self.give_up(*channel, &reason);
                }
            }
        }
    }

    fn fund(&self, batch: &FundingBatch) -> Result<(), Fault> {
        let mut outputs = Vec::new();
        let mut channels = Vec::new();
        for member in batch.0.values() {
            let Some((temporary, script)) = &member.agreed else {
                continue;
            };
            outputs.push(TxOut {
                value: Amount::from_sat(member.opening.value_sat),
                script_pubkey: script.clone(),
            });
            channels.push((*temporary, public_key(&member.opening.peer)?));
        }
        let total = outputs.iter().map(|output| output.value.to_sat()).sum();
        self.leave_reserve(total)?;
        let (transaction, fee_sat) = self.wallet.fund(outputs, self.fee_rates.funding())?;
        let txid = transaction.compute_txid();
        let members = batch.0.values();
        let fee_max_sat = members.map(|member| member.opening.fee_max_sat);
        let fee_max_sat = fee_max_sat.fold(0, u64::saturating_add);
        if let Err(fault) = within(fee_sat, fee_max_sat) {
            self.wallet.give_up(txid)?;
            return Err(fault);
        }
        self.book_funding(batch, fee_sat);
        let named: Vec<_> = channels.iter().map(|(id, peer)| (id, peer)).collect();
        self.channels
            .batch_funding_transaction_generated(&named, transaction)
            .map_err(|error| {
                if let Err(fault) = self.wallet.give_up(txid) {
                    tracing::error!(target: "lightning", %fault, "coins of a channel that came to nothing stay set aside");
                }
                channel_fault(error)
            })
    }

    /// That the hot wallet can pay so much, in sat, and still hurry all channels along that have to be closed alone.
    fn leave_reserve(&self, value_sat: u64) -> Result<(), Fault> {
        let needed = self.reserve_of(self.channels.list_channels().len());
        let needed = value_sat.saturating_add(needed);
        let have = self.wallet.spendable_sat();
        if have < needed {
            return Err(Fault::NotEnoughCoins {
                needed: Amount::from_sat(needed),
                have: Amount::from_sat(have),
            });
        }
        Ok(())
    }

    /// Coins of a splice that came to nothing.
    pub(crate) fn give_back(&self, inputs: &[OutPoint]) {
        if let Err(fault) = self.wallet.give_back(inputs) {
            tracing::error!(target: "lightning", %fault, "coins of a splice stay set aside");
        }
    }

    /// Divides a transaction's fee among its channels; what is left over is the first one's.
    fn book_funding(&self, batch: &FundingBatch, fee_sat: u64) {
        let count = u64::try_from(batch.0.len()).unwrap_or(u64::MAX).max(1);
        let mut left_over = fee_sat % count;
        for channel in batch.0.keys() {
            let fee_sat = fee_sat / count + std::mem::take(&mut left_over);
            let record = ChannelRecord {
                fee_sat,
                splice: None,
            };
            let opened = batch.0.get(channel).map_or(0, |m| m.opening.value_sat);
            self.store.write([
                (channel_key(*channel), Some(record::write(&record))),
                (opened_key(*channel), Some(record::write(&opened))),
            ]);
        }
    }

    /// What we put into a channel when it was opened, in sat.
    pub(crate) fn opened_sat(&self, channel: ChannelNumber) -> Result<u64, Fault> {
        let value = self.store.read(&opened_key(channel))?;
        let opened: Option<u64> = value.as_deref().map(record::read).transpose()?;
        Ok(opened.unwrap_or(0))
    }

    /// That we asked for a splice of a channel is kept until it is pending or came to nothing: a restart must know whose it
    /// is.
    fn note_asked(&self, channel: ChannelNumber) {
        self.store.put(asked_key(channel), record::write(&true));
    }

    fn is_asked(&self, channel: ChannelNumber) -> Result<bool, Fault> {
        Ok(self.store.read(&asked_key(channel))?.is_some())
    }

    pub(crate) fn forget_asked(&self, channel: ChannelNumber) {
        self.store.write([(asked_key(channel), None)]);
    }

    /// What a channel's opening and splices have cost us, in sat.
    pub(crate) fn fee_of(&self, channel: ChannelNumber) -> Result<u64, Fault> {
        Ok(self.cost_record(channel)?.fee_sat)
    }

    fn cost_record(&self, channel: ChannelNumber) -> Result<ChannelRecord, Fault> {
        let value = self.store.read(&channel_key(channel))?;
        let kept: Option<ChannelRecord> = value.as_deref().map(record::read).transpose()?;
        Ok(kept.unwrap_or_default())
    }

    /// Adds a splice's fee to its channel's costs, once. Who asked for a splice brings all the money in it and pays all of
    /// its fee. The transaction was handed in with the event, or before a restart, and then waits in the outbox or has been
    /// seen in the chain.
    pub(crate) fn book_splice(
        &self,
        channel: ChannelNumber,
        id: ChannelId,
        funding: OutPoint,
    ) -> Result<Option<u64>, Fault> {
        let txid = funding.txid;
        let mut record = self.cost_record(channel)?;
        if let Some((known, fee_sat)) = record.splice
            && known == txid.to_byte_array()
        {
            return Ok(Some(fee_sat));
        }
        let Some(course) = self.closings.course(id) else {
            return Ok(None);
        };
        let found = self.broadcaster.recent(&txid);
        let found = found.or_else(|| self.outbox.find(&txid));
        let seen = || course.steps().into_iter().find(|step| step.txid == txid);
        let Some(transaction) = found.or_else(|| Some(seen()?.transaction)) else {
            return Ok(None);
        };
        let spent = self.wallet.spent_sat(&transaction);
        let is_to_us =
            |output: &&TxOut| self.wallet.belonging(&output.script_pubkey) == Belonging::Channels;
        let has_our_money = spent > 0 || transaction.output.iter().any(|o| is_to_us(&o));
        let is_ours = has_our_money && self.is_asked(channel)?;
        let paid: u64 = transaction.output.iter().map(|o| o.value.to_sat()).sum();
        let brought = course.value_sat.saturating_add(spent);
        let index = usize::try_from(funding.vout).unwrap_or(usize::MAX);
        let value = transaction.output.get(index).map(|o| o.value.to_sat());
        let value_sat = value.unwrap_or(course.value_sat);
        let (fee_sat, grown_sat) = match is_ours {
            true => (
                brought.saturating_sub(paid),
                value_sat.cast_signed() - course.value_sat.cast_signed(),
            ),
            false => (0, 0),
        };
        record.fee_sat = record.fee_sat.saturating_add(fee_sat);
        record.splice = Some((txid.to_byte_array(), fee_sat));
        let splice = Splice {
            txid: txid.to_byte_array(),
            grown_sat,
            fee_sat,
        };
        let mut changes = self.closings.spliced(id, splice, funding, value_sat);
        changes.push((channel_key(channel), Some(record::write(&record))));
        changes.push((asked_key(channel), None));
        self.store.write(changes);
        Ok(Some(fee_sat))
    }

    pub(crate) fn note_id(&self, id: &ChannelId, channel: ChannelNumber) {
        self.store.put(id_key(id), record::write(&channel.0));
    }

    /// The number of a channel that is or was funded.
    pub(crate) fn number_of(&self, id: &ChannelId) -> Result<Option<ChannelNumber>, Fault> {
        let value = self.store.read(&id_key(id))?;
        let number: Option<u128> = value.as_deref().map(record::read).transpose()?;
        Ok(number.map(ChannelNumber))
    }

    pub(crate) fn details(&self, channel: ChannelNumber) -> Result<ChannelDetails, Fault> {
        self.channels
            .list_channels()
            .into_iter()
            .find(|c| c.user_channel_id == channel.0)
            .ok_or(Fault::UnknownChannel)
    }

    /// What a splice of this channel spends of it.
    pub(crate) fn funding_output(&self, id: &ChannelId) -> Result<TxOut, Fault> {
        let all = self.channels.list_channels();
        all.iter()
            .find(|details| details.channel_id == *id)
            .and_then(ChannelDetails::get_funding_output)
            .ok_or(Fault::UnknownChannel)
    }

    fn describe(&self, details: &ChannelDetails) -> Result<ChannelStanding, Fault> {
        let channel = ChannelNumber(details.user_channel_id);
        let pending = details.pending_inbound_htlcs.len() + details.pending_outbound_htlcs.len();
        Ok(ChannelStanding {
            channel,
            peer: details.counterparty.node_id.serialize(),
            value_sat: details.channel_value_satoshis,
            balance_msat: balance_msat(details),
            outbound_msat: details.outbound_capacity_msat,
            inbound_msat: details.inbound_capacity_msat,
            next_outbound_min_msat: details.next_outbound_htlc_minimum_msat,
            next_outbound_max_msat: details.next_outbound_htlc_limit_msat,
            pending: u64::try_from(pending).unwrap_or(u64::MAX),
            ready: details.is_channel_ready,
            usable: details.is_usable,
            ours: details.is_outbound,
            public: details.is_announced,
            funding: details.funding_txo.map(output_of),
            fee_sat: self.fee_of(channel)?,
            splices: details.counterparty.features.supports_splicing()
                && details.counterparty.features.supports_quiescence(),
        })
    }
}

/// What a transaction of this weight pays at a rate in sat per 1,000 weight units, rounded up.
fn fee_of_weight(weight: u64, rate: u32) -> u64 {
    weight.saturating_mul(u64::from(rate)).div_ceil(1_000)
}

fn within(fee_sat: u64, max_sat: u64) -> Result<(), Fault> {
    match fee_sat <= max_sat {
        true => Ok(()),
        false => Err(Fault::FeeTooHigh {
            fee: Amount::from_sat(fee_sat),
            max: Amount::from_sat(max_sat),
        }),
    }
}

/// What is ours in a channel. LDK tells what can be sent and received, each floored at nothing: less what its owner must
/// leave in the channel, and less the anchors, which the channel's funder pays. At least one of them is above nothing,
/// and says it exactly. While a splice is pending they are the lower of before and after.
pub(crate) fn balance_msat(details: &ChannelDetails) -> u64 {
    let msat = |sat: u64| sat.saturating_mul(1_000);
    let has_anchors = details
        .channel_type
        .as_ref()
        .is_some_and(|kind| kind.supports_anchors_zero_fee_htlc_tx());
    let anchors = if has_anchors { msat(ANCHORS_SAT) } else { 0 };
    let (ours, theirs) = match details.is_outbound {
        true => (anchors, 0),
        false => (0, anchors),
    };
    if details.outbound_capacity_msat > 0 {
        let sent = details.pending_outbound_htlcs.iter();
        return details
            .outbound_capacity_msat
            .saturating_add(msat(details.unspendable_punishment_reserve.unwrap_or(0)))
            .saturating_add(ours)
            .saturating_add(sent.map(|htlc| htlc.amount_msat).sum());
    }
    let coming = details.pending_inbound_htlcs.iter();
    msat(details.channel_value_satoshis)
        .saturating_sub(details.inbound_capacity_msat)
        .saturating_sub(msat(details.counterparty.unspendable_punishment_reserve))
        .saturating_sub(theirs)
        .saturating_sub(coming.map(|htlc| htlc.amount_msat).sum())
}

/// The number of a channel by LDK's id, which alone is left of it once it is closed.
fn id_key(id: &ChannelId) -> Vec<u8> {
    [b"channel-id/".as_slice(), &id.0].concat()
}

pub(crate) fn output_of(outpoint: lightning::chain::transaction::OutPoint) -> Output {
    Output {
        txid: outpoint.txid.to_byte_array(),
        index: u32::from(outpoint.index),
    }
}

pub(crate) fn public_key(node: &NodeId) -> Result<PublicKey, Fault> {
    PublicKey::from_slice(node).map_err(|_| Fault::BadNodeId)
}

fn opened_key(channel: ChannelNumber) -> Vec<u8> {
    [b"opened/".as_slice(), &channel.0.to_be_bytes()].concat()
}

fn asked_key(channel: ChannelNumber) -> Vec<u8> {
    [b"asked/".as_slice(), &channel.0.to_be_bytes()].concat()
}

fn channel_key(channel: ChannelNumber) -> Vec<u8> {
    [b"channel/".as_slice(), &channel.0.to_be_bytes()].concat()
}

fn channel_fault(error: APIError) -> Fault {
    let why = match error {
        APIError::APIMisuseError { err }
        | APIError::FeeRateTooHigh { err, .. }
        | APIError::InvalidRoute { err }
        | APIError::ChannelUnavailable { err } => err,
        APIError::MonitorUpdateInProgress => "an earlier change is being written".to_owned(),
        APIError::IncompatibleShutdownScript { .. } => {
            "the peer takes no such address for the closing".to_owned()
        }
    };
    Fault::Channel { why }
}

pub(crate) fn output_of_bitcoin(outpoint: bitcoin::OutPoint) -> Output {
    Output {
        txid: outpoint.txid.to_byte_array(),
        index: outpoint.vout,
    }
}
