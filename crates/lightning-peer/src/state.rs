//! The node's own numbers, to the millisatoshi.

use ldk_node::ChannelDetails;
use ldk_node::payment::{PaymentDetails, PaymentDirection, PaymentKind, PaymentStatus};
use serde::{Deserialize, Serialize};

/// Two outputs of 330 sat by which either end can pay more for a closing (BOLT 3): `ldk-node` opens channels with them, and so do
/// those that it is tried with.
pub(crate) const ANCHORS_SAT: u64 = 2 * 330;

/// What the node has, is owed and was paid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its own id.
    pub node: String,
    /// Its coins on chain, in satoshi.
    pub wallet_sat: u64,
    /// Its open channels.
    pub channels: Vec<Channel>,
    /// What came by payments of invoices, in millisatoshi.
    pub received_msat: u64,
    /// What went by payments of invoices, without the fees, in millisatoshi.
    pub sent_msat: u64,
    /// What routing them cost, in millisatoshi.
    pub fees_msat: u64,
    /// Payments that have neither arrived nor failed: open invoices are not among them.
    pub under_way: u64,
}

/// A channel as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Where its money is, as txid:index.
    pub funding: String,
    /// The other end.
    pub peer: String,
    /// What both ends have in it, in satoshi.
    pub value_sat: u64,
    /// What is this node's in it, in millisatoshi.
    pub ours_msat: u64,
    /// Whether this node opened it.
    pub is_ours: bool,
    /// Whether it can be used now.
    pub is_usable: bool,
}

impl State {
    pub(crate) fn add_payment(&mut self, payment: &PaymentDetails) {
        if !matches!(payment.kind, PaymentKind::Bolt11 { .. }) {
            return;
        }
        let amount = payment.amount_msat.unwrap_or(0);
        match (payment.direction, payment.status) {
            (PaymentDirection::Inbound, PaymentStatus::Succeeded) => self.received_msat += amount,
            (PaymentDirection::Outbound, PaymentStatus::Succeeded) => {
                self.sent_msat += amount;
                self.fees_msat += payment.fee_paid_msat.unwrap_or(0);
            }
            (PaymentDirection::Outbound, PaymentStatus::Pending) => self.under_way += 1,
            (PaymentDirection::Inbound, PaymentStatus::Pending) | (_, PaymentStatus::Failed) => {}
        }
    }
}

impl Channel {
    /// With nothing under way, the two ends' money is all that the channel holds. What LDK says that an end can send leaves out the
    /// reserve that it has to keep and, of the end that opened the channel, the anchors; it is floored at nothing, and then the
    /// other end's part tells both.
    pub(crate) fn of(details: &ChannelDetails) -> Self {
        let (anchors, anchors_of_peer) = match details.is_outbound {
            true => (ANCHORS_SAT, 0),
            false => (0, ANCHORS_SAT),
        };
        let kept = details.unspendable_punishment_reserve.unwrap_or(0) + anchors;
        let kept_of_peer = details.counterparty_unspendable_punishment_reserve + anchors_of_peer;
        let value_msat = details.channel_value_sats * 1_000;
        let theirs = details.inbound_capacity_msat + kept_of_peer * 1_000;
        let ours_msat = match details.outbound_capacity_msat {
            0 => value_msat.saturating_sub(theirs),
            ours => ours + kept * 1_000,
        };
        Self {
            funding: details
                .funding_txo
                .map(|place| place.to_string())
                .unwrap_or_default(),
            peer: details.counterparty_node_id.to_string(),
            value_sat: details.channel_value_sats,
            ours_msat,
            is_ours: details.is_outbound,
            is_usable: details.is_usable,
        }
    }
}
