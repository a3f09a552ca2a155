//! Accounts with connectors.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{LightningView, Relation, Units};

/// An account with a connector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// Its ILP address segment.
    pub name: String,
    /// Its ILP address.
    pub address: String,
    /// Its asset's code.
    pub asset: String,
    /// Decimal places of the account's amounts.
    pub scale: u8,
    /// Limits and thresholds.
    pub policy: PeerPolicy,
    /// What it is to the pool.
    pub relation: Relation,
    /// Whether its link is up.
    pub connected: bool,
    /// Takes part no more.
    pub removed: bool,
    /// What the pool owes it for packets.
    pub owed_to_peer: Units,
    /// What it owes the pool for packets.
    pub owed_to_pool: Units,
    /// Packets of it in flight.
    pub in_flight: u32,
    /// Its channel, once one is asked for.
    pub channel: Option<ChannelView>,
    /// How it settles over Lightning, if it does.
    #[serde(default)]
    pub lightning: Option<LightningView>,
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelView {
    /// Serial.
    pub serial: u64,
    /// `opening`, `open`, `closing` or `closed`.
    pub phase: String,
    /// When a running close may be executed, in milliseconds since the Unix epoch.
    pub close_deadline_ms: Option<u64>,
    /// When the allotment's term ends, in milliseconds since the Unix epoch.
    pub term_ends_ms: u64,
    /// The lane on which the pool pays, in the chain's base units.
    pub pool: LaneView,
    /// The lane on which the peer pays, in the chain's base units.
    pub peer: LaneView,
}

/// One lane, cumulative over the channel's life, in the chain's base units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LaneView {
    /// What the chain guarantees.
    pub ceiling: Units,
    /// What it has paid.
    pub paid: Units,
    /// The highest voucher.
    pub promised: Units,
}

/// A channel with its account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerChannel {
    /// The account's name.
    pub peer: String,
    /// Its asset's code.
    pub asset: String,
    /// Decimal places of the lanes' amounts.
    pub chain_scale: u8,
    /// The channel.
    pub channel: ChannelView,
}

/// Opens an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddPeer {
    /// Its ILP address segment.
    pub name: String,
    /// Its asset's code.
    pub asset: String,
    /// The bearer token of its link; only its SHA-256 is kept.
    pub token: String,
    /// Limits and thresholds; absent fields take their defaults.
    #[serde(default)]
    pub policy: PeerPolicy,
}

/// Replaces an account's limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPeer {
    /// The new policy.
    pub policy: PeerPolicy,
}

/// Limits and thresholds, in the ledger's base units of the account's asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PeerPolicy {
    /// What it may owe without security; zero unless granted.
    pub credit: Units,
    /// The largest packet either way.
    pub packet_max: u64,
    /// Packets of it that may be in flight.
    pub in_flight_max: u32,
    /// The pool pays by voucher once it owes this much.
    pub settle_threshold: Units,
    /// What it goes on owing after that.
    pub settle_target: Units,
    /// What the lane to the peer should still cover after a raise; zero for a peer that only sends.
    pub allotment: Units,
    /// How long an allotment stands, in milliseconds.
    pub allotment_term_ms: u64,
    /// The pool redeems its vouchers on chain once they are worth this much.
    pub redeem_threshold: Units,
}

impl Default for PeerPolicy {
    fn default() -> Self {
        let none = Units(forebay_quantity::Amount::ZERO);
        Self {
            credit: none,
            packet_max: 1_000_000_000,
            in_flight_max: 1_024,
            settle_threshold: none,
            settle_target: none,
            allotment: none,
            allotment_term_ms: 7 * 86_400_000,
            redeem_threshold: Units(forebay_quantity::Amount::MAX),
        }
    }
}

/// A route of the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Whole address segments.
    pub prefix: String,
    /// Next hop, by name.
    pub peer: String,
}
