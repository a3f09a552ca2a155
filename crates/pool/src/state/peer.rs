//! A peer: one account of a connector, in one asset, with its lanes and limits.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_channel::{Channel, PeerKeys, Signature};
use forebay_quantity::{AccountId, Amount, AssetId, EffectId, Hash32, PeerId, Timestamp};

use super::LightningAccount;
use crate::effect::Effect;

/// Limits and thresholds of an account, in its ledger units.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PeerPolicy {
    /// What it may owe us without security; zero unless granted.
    pub credit: Amount,
    /// The largest packet either way.
    pub packet_max: u64,
    /// Packets of it that may be in flight.
    pub in_flight_max: u32,
    /// We pay by voucher once we owe this much (RFC 32).
    pub settle_threshold: Amount,
    /// What we go on owing after that.
    pub settle_target: Amount,
    /// What its lane should still cover after a raise; zero for a peer that only sends.
    pub allotment: Amount,
    /// An allotment stands this long, in milliseconds, and is renewed at half of it.
    pub allotment_term_ms: u64,
    /// We redeem its vouchers on chain once they are worth this much.
    pub redeem_threshold: Amount,
}

impl PeerPolicy {
    /// The allotment is raised again when less than this is left.
    pub(crate) fn allotment_low(&self) -> Amount {
        Amount::new(self.allotment.value() / 2)
    }
}

/// What a peer is to the pool (RFC 34).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum RelationKind {
    /// It lives under our address.
    Child,
    /// An equal, with an address of its own.
    Peer,
    /// We live under its address: what nobody else reaches goes there.
    Parent,
}

/// What a peer is to the pool, which routes pass between them, and what the pool may owe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Relation {
    /// Child, peer or parent.
    pub kind: RelationKind,
    /// We tell it our routes.
    pub sends_routes: bool,
    /// We take its routes.
    pub receives_routes: bool,
    /// What we may owe it beyond what our lane to it covers, in its ledger units; settled outside the vaults.
    pub debt_max: Amount,
}

impl Relation {
    /// A child that exchanges no routes and is owed nothing that is not covered.
    pub const CHILD: Self = Self {
        kind: RelationKind::Child,
        sends_routes: false,
        receives_routes: false,
        debt_max: Amount::ZERO,
    };

    /// Whether any route passes.
    pub fn exchanges_routes(&self) -> bool {
        self.sends_routes || self.receives_routes
    }
}

/// Chain effects under way for a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct PeerDemands {
    pub(crate) open: Option<EffectId>,
    pub(crate) raise: Option<EffectId>,
    pub(crate) redeem: Option<EffectId>,
    pub(crate) close: Option<EffectId>,
    pub(crate) retry_at: Timestamp,
}

/// An account with a connector.
#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub struct Peer {
    /// Address segment under the operator's address.
    pub name: String,
    /// The account's asset.
    pub asset: AssetId,
    /// SHA-256 of its token.
    pub token_hash: Hash32,
    /// Limits and thresholds.
    pub policy: PeerPolicy,
    /// Sends and receives nothing more.
    pub removed: bool,
    /// Claim: what we owe the peer, or (debit) what it owes us.
    pub clearing: AccountId,
    /// Asset: its vouchers, accepted and not redeemed.
    pub vouchers_held: AccountId,
    /// Claim: our vouchers, signed and not redeemed.
    pub vouchers_out: AccountId,
    /// Its keys, once named.
    pub keys: Option<PeerKeys>,
    /// Its channel, in chain units; `incoming` is the lane on which it pays us. Apart, since it is half as large as all the
    /// rest, and a peer that only sends has none.
    pub channel: Option<Box<Channel>>,
    /// The amount that the best voucher held was signed for; a key change may leave it good for less.
    pub best_amount: Amount,
    /// The signature on it.
    pub best_signature: Signature,
    /// When its allotment's term ends.
    pub term_ends: Timestamp,
    /// Of the lane that pays us, credited so far over the channel's life, in ledger units.
    pub credited: Amount,
    /// Paid ahead by it and not used up; nothing that we must cover by our lane.
    pub prepaid: Amount,
    /// Packets of it in flight.
    pub in_flight: u32,
    pub(crate) demands: PeerDemands,
    /// Its last fulfilled requests with their preimages, oldest first: for a link that broke before it heard.
    pub(crate) answers: VecDeque<(u32, [u8; 32])>,
    /// What it is to us.
    pub relation: Relation,
    /// How it settles over Lightning, if it does.
    pub lightning: Option<Box<LightningAccount>>,
}

impl Peer {
    /// The voucher it should hold, to be sent again whenever its link opens.
    pub fn voucher_owed(&self, peer: PeerId) -> Option<Effect> {
        let channel = self.channel.as_ref()?;
        let amount = channel.outgoing.promised();
        (amount > channel.outgoing.paid()).then_some(Effect::SendVoucher {
            peer,
            serial: channel.serial(),
            amount,
        })
    }
}
