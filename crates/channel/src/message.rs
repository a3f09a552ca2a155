//! What a pool, a peer's own side and a watchtower say to each other beside ILP packets: the `forebay` BTP sub-protocol,
//! version 1.
//! Encoded by borsh, one message in one protocol-data entry named [`PROTOCOL`]; drawn in `spec/protocol.md`.

use alloc::string::String;
use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::{Amount, ChannelSerial, PacketId, Timestamp};

use crate::{Address, LaneId, NodeId, SignedHead};

/// Name of the protocol-data entry.
pub const PROTOCOL: &str = "forebay";

/// The largest message taken, in bytes: the answer to a resume of [`RESUME_MAX`] requests, all of them fulfilled.
pub const MESSAGE_MAX: usize = 40_960;

/// The most requests, answers or packets in one message.
pub const RESUME_MAX: usize = 1_024;

/// One message. New variants go to the end; an unknown one is answered by an error and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum PeerMessage {
    /// Peer → pool, first after each authentication: who signs for the peer and where it is paid.
    Hello {
        /// Signs the peer's vouchers.
        signer: Address,
        /// Receives what the pool's vouchers pay.
        payout: Address,
        /// The signer's signature over both ([`PeerKeys`](crate::PeerKeys)) in the vault's domain, EIP-2098 compact.
        proof: [u8; 64],
    },
    /// Pool → peer, after each hello and whenever any of it changes.
    Terms(Terms),
    /// Either way: the payer's signature over a lane's cumulative amount.
    Voucher {
        /// Channel.
        serial: ChannelSerial,
        /// Cumulative amount in the chain's base units.
        amount: Amount,
        /// EIP-2098 compact signature: r, then s with the parity of y in its highest bit.
        signature: [u8; 64],
    },
    /// Answer to a voucher: what the payee now counts as secured on the lane, cumulative, in the chain's base units.
    VoucherHeld {
        /// Channel.
        serial: ChannelSerial,
        /// Cumulative amount secured.
        secured: Amount,
        /// Why the voucher was refused, if it was.
        refused: Option<String>,
    },
    /// Peer → pool after a reconnect: the request ids of prepares it sent and has no answer to.
    Resume {
        /// Request ids, at most [`RESUME_MAX`].
        requests: Vec<u32>,
    },
    /// Pool → peer: what became of them. A fulfilled one names its preimage; one that is neither here nor pending was rejected.
    Resumed {
        /// Fulfilled requests.
        fulfilled: Vec<(u32, [u8; 32])>,
        /// Requests still waiting for the next hop: their answers follow as ordinary responses.
        pending: Vec<u32>,
    },
    /// Principal → watchtower: the best voucher it holds on a lane, to be redeemed when a notice threatens it.
    Guard {
        /// Which lane.
        lane: GuardedLane,
        /// Cumulative amount in the chain's base units.
        amount: Amount,
        /// The payer's signature.
        signature: [u8; 64],
    },
    /// Watchtower → principal: what it keeps for that lane now.
    Guarded {
        /// Which lane.
        lane: GuardedLane,
        /// Of the voucher kept; zero for none.
        amount: Amount,
        /// Why the voucher just sent was not taken, if it was not.
        refused: Option<String>,
    },
    /// Peer → pool, after terms that name its open channel: the highest voucher of the pool that it holds. The pool signs
    /// nothing for a channel that it knew when it started before it has heard this.
    Held {
        /// Channel.
        serial: ChannelSerial,
        /// Cumulative amount in the chain's base units; zero for none.
        amount: Amount,
        /// The pool's signature.
        signature: [u8; 64],
    },
    /// Pool → witness: what do you know of my journal?
    HeadAsked {
        /// The pool's key.
        pool: Address,
    },
    /// Pool → witness: where my journal stands.
    HeadTold(SignedHead),
    /// Witness → pool: the highest head that it knows, once it has taken what it was told.
    HeadKnown {
        /// The pool's key.
        pool: Address,
        /// The head, as the pool signed it.
        known: Option<SignedHead>,
    },
    /// Pool → peer, once on each link, after hello: all packets that its books have in flight to the peer.
    PacketsAsked {
        /// At most [`RESUME_MAX`]; more come in further messages.
        packets: Vec<PacketName>,
    },
    /// Peer → pool: which of them have never come and would be refused now. The pool rejects them at once.
    PacketsUnknown {
        /// At most [`RESUME_MAX`].
        packets: Vec<PacketName>,
    },
    /// Peer → pool, first after each authentication of an account that settles over Lightning: whose node settles for it.
    LightningHello {
        /// The peer's Lightning node.
        node: NodeId,
        /// That node's signature over [`node_claim`](crate::node_claim), in zbase32 as Lightning nodes sign messages.
        proof: String,
    },
    /// Pool → peer, after each such hello and whenever any of it changes, such as after each payment credited.
    LightningTerms(LightningTerms),
    /// Either way, payer → payee: asks for the invoice of a settlement. The same id gets the same invoice for ever [I16].
    InvoiceAsked {
        /// The payer's number for the settlement, never used for another.
        settlement: u64,
        /// In millisatoshi.
        amount: Amount,
    },
    /// Payee → payer: the invoice of that settlement.
    InvoiceTold {
        /// The payer's number.
        settlement: u64,
        /// BOLT 11 text; none when it is refused.
        invoice: Option<String>,
        /// Why there is none.
        refused: Option<String>,
    },
}

/// A packet from the pool to the peer. Its number alone comes again after a while; with its expiry it is this one's.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize,
)]
pub struct PacketName {
    /// When the pool stops waiting, as the prepare says it.
    pub expires_at: Timestamp,
    /// The prepare's request id.
    pub packet: PacketId,
}

/// What the pool offers a peer that settles over Lightning.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LightningTerms {
    /// As for any account, in millisatoshi where chain units are meant: `held` is all that the peer has paid and `signed` all
    /// that it was paid over Lightning; chain, vault, token and channel are none.
    pub terms: Terms,
    /// Hash of the first block of the chain that the channels are on.
    pub genesis: [u8; 32],
    /// The pool's Lightning node.
    pub node: NodeId,
    /// Where that node listens, as host:port; empty when it does not.
    pub address: String,
}

/// A lane that a watchtower guards, named so that no other anywhere has the same name.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize,
)]
pub struct GuardedLane {
    /// EVM chain id.
    pub chain_id: u64,
    /// The vault contract.
    pub vault: Address,
    /// The channel.
    pub serial: ChannelSerial,
    /// The lane on which the principal is paid.
    pub lane: LaneId,
}

/// What the pool offers a peer.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Terms {
    /// The peer's ILP address.
    pub address: String,
    /// Asset code.
    pub asset_code: String,
    /// Decimal places of packet amounts.
    pub asset_scale: u8,
    /// Decimal places of voucher amounts.
    pub chain_scale: u8,
    /// EVM chain id.
    pub chain_id: u64,
    /// The vault contract.
    pub vault: Address,
    /// The token; zero for the chain's own coin.
    pub token: Address,
    /// Who signs the pool's vouchers.
    pub pool_signer: Address,
    /// The channel, once the pool has asked for one.
    pub serial: Option<ChannelSerial>,
    /// Whether the channel is open at finality depth.
    pub open: bool,
    /// Of the peer's lane: the highest voucher the pool holds, cumulative chain units.
    pub held: Amount,
    /// Of the pool's lane: the highest voucher the pool has signed, cumulative chain units.
    pub signed: Amount,
    /// What the peer may owe without security, in packet units.
    pub credit: Amount,
    /// The largest packet, in packet units.
    pub packet_max: u64,
    /// The pool pays once it owes this much, in packet units.
    pub settle_threshold: Amount,
    /// The pool's view: what the pool owes the peer for packets (credit) in packet units.
    pub owed_to_peer: Amount,
    /// The pool's view: what the peer owes the pool for packets, in packet units.
    pub owed_to_pool: Amount,
}

impl PeerMessage {
    /// The message as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("memory takes every byte")
    }

    /// The message in these bytes; `None` when they are none, too many, or more than one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MESSAGE_MAX {
            return None;
        }
        borsh::from_slice(bytes).ok()
    }
}
