//! Events: facts, in the past tense. They are what the journal holds and all that the state is made of.

use alloc::boxed::Box;
use alloc::string::String;

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_channel::{PeerKeys, Signature};
use forebay_quantity::{
    Amount, AssetId, ChannelSerial, CommandId, EffectId, Hash32, PacketId, PeerId, SourceId,
    Timestamp,
};

use crate::bitcoin::BitcoinFact;
use crate::claim::ClaimEvent;
use crate::command::{Depth, FactAt, VaultFact};
use crate::effect::ChainRequest;
use crate::lightning::LightningEvent;
use crate::rejection::RejectCode;
use crate::reserve::ReserveEvent;
use crate::sale::SaleEvent;
use crate::state::{
    AssetDefinition, AssetPolicy, BitcoinDefinition, Genesis, LiquidityPolicy, PeerPolicy,
    Relation, SalePolicy, VaultRules,
};

/// One fact. The variant order is the wire format (`spec/events.md`): new variants go to the end.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Event {
    /// A packet was accepted and its legs are pending.
    PacketPrepared {
        /// Its id.
        packet: PacketId,
        /// Who sent it.
        in_peer: PeerId,
        /// The sender's request id.
        in_request: u32,
        /// Who gets it.
        out_peer: PeerId,
        /// Sender's base units.
        amount_in: u64,
        /// Next hop's base units.
        amount_out: u64,
        /// Kept by the pool, in the next hop's base units.
        fee: u64,
        /// When the sender stops waiting.
        expires_in: Timestamp,
        /// When we stop waiting.
        expires_out: Timestamp,
        /// SHA-256 of the preimage.
        condition: [u8; 32],
    },
    /// A packet's preimage came: its legs are posted.
    PacketFulfilled {
        /// Its id.
        packet: PacketId,
        /// Who sent it.
        in_peer: PeerId,
        /// The sender's request id.
        in_request: u32,
        /// The proof.
        preimage: [u8; 32],
    },
    /// A packet was refused further on or timed out: its legs are voided.
    PacketRejected {
        /// Its id.
        packet: PacketId,
        /// Who sent it.
        in_peer: PeerId,
        /// The sender's request id.
        in_request: u32,
        /// The ILP code passed back.
        code: RejectCode,
    },
    /// We owe this voucher to a peer; from now on its amount counts as signed.
    VoucherSigned {
        /// Who is paid.
        peer: PeerId,
        /// On which channel.
        serial: ChannelSerial,
        /// The lane's cumulative amount.
        amount: Amount,
    },
    /// A peer's voucher was accepted.
    VoucherHeld {
        /// Who pays.
        peer: PeerId,
        /// On which channel.
        serial: ChannelSerial,
        /// The lane's cumulative amount.
        amount: Amount,
        /// The peer's signature over it.
        signature: Signature,
    },
    /// A price source reported.
    PriceReported {
        /// The asset priced.
        asset: AssetId,
        /// Who says so.
        source: SourceId,
        /// 10⁻¹² of the reference unit per whole unit.
        price: u128,
        /// When it was seen.
        at: Timestamp,
    },
    /// The pool exists.
    Founded(Box<Genesis>),
    /// An asset is listed.
    AssetAdded(Box<AssetDefinition>, Box<AssetPolicy>),
    /// An asset's policy is replaced.
    AssetSet(AssetId, Box<AssetPolicy>),
    /// A book stopped quoting.
    BookHalted {
        /// Whose.
        asset: AssetId,
        /// `true` when the chain was reorganised below our depth.
        deep_reorg: bool,
    },
    /// A book quotes again.
    BookResumed(AssetId),
    /// An account is open.
    PeerAdded {
        /// Address segment.
        name: String,
        /// Its asset.
        asset: AssetId,
        /// SHA-256 of its token.
        token_hash: Hash32,
        /// Its policy.
        policy: Box<PeerPolicy>,
    },
    /// A peer's policy is replaced.
    PeerSet(PeerId, Box<PeerPolicy>),
    /// A peer sends nothing more.
    PeerRemoved(PeerId),
    /// A prefix leads to a peer.
    RouteAdded {
        /// Whole segments.
        prefix: String,
        /// Next hop.
        peer: PeerId,
    },
    /// A prefix leads nowhere.
    RouteRemoved {
        /// Whole segments.
        prefix: String,
    },
    /// A peer named its keys.
    KeysNamed {
        /// Whose.
        peer: PeerId,
        /// The keys.
        keys: PeerKeys,
    },
    /// A transaction is wanted.
    ChainDemanded {
        /// Idempotency key.
        id: EffectId,
        /// What.
        request: ChainRequest,
    },
    /// A transaction's outcome is known.
    ChainSettled {
        /// Which.
        id: EffectId,
        /// Whether it failed for good.
        failed: bool,
    },
    /// The chain said something.
    ChainSaw {
        /// Whose vault.
        asset: AssetId,
        /// Where.
        at: FactAt,
        /// How settled.
        depth: Depth,
        /// What.
        fact: VaultFact,
    },
    /// An operator's instruction was carried out; written by versions that kept no digest.
    CommandTaken(CommandId),
    /// An operator's instruction was carried out.
    InstructionTaken {
        /// Its id.
        id: CommandId,
        /// SHA-256 of what was instructed: the same id with anything else is refused.
        digest: Hash32,
    },
    /// What a peer is to the pool was said anew.
    RelationSet(PeerId, Relation),
    /// What an asset's vault was built with is known.
    VaultRulesKnown(AssetId, VaultRules),
    /// An asset on Bitcoin is listed.
    BitcoinAdded(Box<BitcoinDefinition>, Box<AssetPolicy>),
    /// A settlement over Lightning went a step further.
    Lightning(LightningEvent),
    /// Notes on Bitcoin were paid their rate: no contract keeps their index, so the core does.
    IndexRaised {
        /// Whose.
        asset: AssetId,
        /// New index in ray (10²⁷).
        index: u128,
    },
    /// The wallet on Bitcoin saw this in the chain.
    BitcoinSaw(BitcoinFact),
    /// Something happened to an LP's claim on Bitcoin.
    Claim(ClaimEvent),
    /// Something is known of the reserve on Bitcoin.
    Reserve(ReserveEvent),
    /// How large Lightning channels are kept was said anew.
    LiquiditySet(Box<LiquidityPolicy>),
    /// The Lightning node's store was written so often by now: who starts with one that was written less often has an old
    /// copy.
    LightningStored {
        /// How often.
        generation: u64,
    },
    /// A channel was sold just in time, or a payment of others passed through.
    Sale(SaleEvent),
    /// To whom channels are sold, and for what, was said anew.
    SalesSet(Box<SalePolicy>),
}

impl Event {
    /// Whether this is one step of one packet: these are counted, everything else is told one by one.
    pub fn is_of_packet(&self) -> bool {
        match self {
            Self::PacketPrepared { .. }
            | Self::PacketFulfilled { .. }
            | Self::PacketRejected { .. } => true,
            Self::VoucherSigned { .. }
            | Self::VoucherHeld { .. }
            | Self::PriceReported { .. }
            | Self::Founded(_)
            | Self::AssetAdded(..)
            | Self::AssetSet(..)
            | Self::BookHalted { .. }
            | Self::BookResumed(_)
            | Self::PeerAdded { .. }
            | Self::PeerSet(..)
            | Self::PeerRemoved(_)
            | Self::RouteAdded { .. }
            | Self::RouteRemoved { .. }
            | Self::KeysNamed { .. }
            | Self::ChainDemanded { .. }
            | Self::ChainSettled { .. }
            | Self::ChainSaw { .. }
            | Self::CommandTaken(_)
            | Self::InstructionTaken { .. }
            | Self::RelationSet(..)
            | Self::VaultRulesKnown(..)
            | Self::BitcoinAdded(..)
            | Self::Lightning(_)
            | Self::IndexRaised { .. }
            | Self::BitcoinSaw(_)
            | Self::Claim(_)
            | Self::Reserve(_)
            | Self::LiquiditySet(_)
            | Self::LightningStored { .. }
            | Self::Sale(_)
            | Self::SalesSet(_) => false,
        }
    }
}
