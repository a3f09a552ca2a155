//! Commands: what somebody wishes, or what an adapter saw. Nothing here is a fact until the core has said so.

use alloc::string::String;

use forebay_channel::{Address, PeerKeys, Verified, Voucher};
use forebay_quantity::{
    Amount, AssetId, ChannelSerial, CommandId, EffectId, Hash32, PacketId, PeerId, SourceId,
    Timestamp,
};

use crate::bitcoin::BitcoinFact;
use crate::claim::{ClaimOrder, ClaimPaid};
use crate::lightning::LightningCommand;
use crate::rejection::RejectCode;
use crate::reserve::ReserveCommand;
use crate::sale::SaleCommand;
use crate::state::{
    AssetDefinition, AssetPolicy, BitcoinDefinition, Genesis, LiquidityPolicy, PeerPolicy,
    Relation, SalePolicy, VaultRules,
};

/// Everything that may change the pool.
#[derive(Debug, Clone)]
pub enum Command<'a> {
    /// An operator's instruction; the same id never takes effect twice [I11].
    Admin(CommandId, Admin),
    /// An ILP prepare from a peer.
    Prepare(Prepare<'a>),
    /// An ILP fulfill from the peer that a packet was forwarded to.
    Fulfill {
        /// Who answered.
        peer: PeerId,
        /// The packet answered.
        packet: PacketId,
        /// The 32 bytes whose SHA-256 must be the packet's condition.
        preimage: [u8; 32],
    },
    /// An ILP reject from the peer that a packet was forwarded to, or from the link when it could not be delivered.
    Reject {
        /// Who answered.
        peer: PeerId,
        /// The packet answered.
        packet: PacketId,
        /// The ILP code to pass back.
        code: RejectCode,
    },
    /// A peer named its keys on its link.
    Keys {
        /// Whose keys.
        peer: PeerId,
        /// The keys.
        keys: PeerKeys,
    },
    /// A voucher from a peer, its signature checked by the link.
    Voucher {
        /// Who pays.
        peer: PeerId,
        /// The lane's cumulative amount in the chain's base units, and who signed it.
        voucher: Verified<Voucher>,
    },
    /// Something happened in an asset's vault.
    Chain(ChainFact),
    /// The outcome of a chain effect, if it is known without a fact from the chain.
    Outcome {
        /// Which effect.
        effect: EffectId,
        /// `Ok` when the chain took it, `Err` with a short reason when it never will.
        failure: Option<String>,
    },
    /// A price source reported: reference nano-units per whole unit of the asset.
    Price {
        /// The asset priced.
        asset: AssetId,
        /// Who says so.
        source: SourceId,
        /// Price in 10⁻¹² of the reference unit per whole unit.
        price: u128,
        /// When the source says it was seen.
        at: Timestamp,
    },
    /// Time passed: expire packets, plan settlements and rebalancing. Does bounded work.
    Tick,
    /// What an asset's vault says it was built with.
    VaultRules {
        /// Whose vault.
        asset: AssetId,
        /// Its rules, which never change.
        rules: VaultRules,
    },
    /// A settlement over Lightning, or what Lightning says of one.
    Lightning(LightningCommand),
    /// What the wallet on Bitcoin saw in the chain at finality depth.
    Bitcoin(BitcoinFact),
    /// An LP paid an invoice of ours, and what it brought is ours for good.
    ClaimPaid(ClaimPaid),
    /// The reserve on Bitcoin: its rules, and what is seen of it.
    Reserve(ReserveCommand),
    /// A channel sold just in time, or a payment of others that passed through.
    Sale(SaleCommand),
    /// A payment of the wallet's on Bitcoin is final.
    PaymentFinal {
        /// The effect that it was made for.
        id: EffectId,
        /// The transaction that made it.
        txid: Hash32,
        /// What it paid to miners, in millisatoshi.
        fee: Amount,
    },
    /// The wallet on Bitcoin will never make a payment, for certain: nothing was signed for it.
    PaymentRefused {
        /// The effect that it was wanted for.
        id: EffectId,
    },
}

/// An ILP prepare, its raw bytes left with the link.
#[derive(Debug, Clone, Copy)]
pub struct Prepare<'a> {
    /// The account it came from.
    pub peer: PeerId,
    /// The link's request id, answered with the same.
    pub request: u32,
    /// In the incoming account's base units.
    pub amount: u64,
    /// When the sender stops waiting.
    pub expires_at: Timestamp,
    /// SHA-256 of the preimage that fulfils it.
    pub condition: [u8; 32],
    /// A valid ILP address.
    pub destination: &'a [u8],
}

/// An operator's instruction.
#[derive(Debug, Clone, borsh::BorshSerialize)]
pub enum Admin {
    /// Founds the pool: accepted once, as the first event of a journal.
    Found(Genesis),
    /// Registers an asset and its vault.
    AddAsset(AssetDefinition, AssetPolicy),
    /// Replaces an asset's policy.
    SetAsset(AssetId, AssetPolicy),
    /// Opens an account with a connector; the name is its ILP address segment.
    AddPeer {
        /// Address segment, unique.
        name: String,
        /// The account's asset.
        asset: AssetId,
        /// SHA-256 of the bearer token of its link.
        token_hash: Hash32,
        /// Limits and thresholds.
        policy: PeerPolicy,
    },
    /// Replaces a peer's policy.
    SetPeer(PeerId, PeerPolicy),
    /// Refuses new packets from a peer and closes its channel.
    RemovePeer(PeerId),
    /// Routes an address prefix to a peer.
    AddRoute {
        /// Whole segments, e.g. `g.other`.
        prefix: String,
        /// Next hop.
        peer: PeerId,
    },
    /// Forgets a route.
    RemoveRoute {
        /// The prefix as it was added.
        prefix: String,
    },
    /// Stops quoting an asset until resumed.
    HaltBook(AssetId),
    /// Quotes an asset again.
    ResumeBook(AssetId),
    /// Says what a peer is to the pool.
    SetRelation(PeerId, Relation),
    /// Registers an asset on Bitcoin.
    AddBitcoin(BitcoinDefinition, AssetPolicy),
    /// Tells of an LP on Bitcoin, or asks something for it.
    Claim(ClaimOrder),
    /// Says how large Lightning channels are kept.
    SetLiquidity(LiquidityPolicy),
    /// Says to whom channels are sold just in time, and for what.
    SetSales(SalePolicy),
}

impl Admin {
    /// SHA-256 of the instruction: what its id stands for ever after [I11].
    pub fn digest(&self) -> Hash32 {
        use sha2::Digest;
        let bytes = borsh::to_vec(self).expect("memory takes every byte");
        Hash32(sha2::Sha256::digest(bytes).into())
    }
}

/// How settled a chain fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, borsh::BorshSerialize, borsh::BorshDeserialize)]
pub enum Depth {
    /// In a block that may still be reorganised: notices are acted on, money is not counted.
    Seen,
    /// At finality depth: counts.
    Final,
}

/// Where on the chain a fact stands; facts are taken once each, in this order.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    borsh::BorshSerialize,
    borsh::BorshDeserialize,
)]
pub struct FactAt {
    /// Block number.
    pub block: u64,
    /// Index of the log within its block.
    pub log: u32,
}

/// One event of an asset's vault contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainFact {
    /// Whose vault.
    pub asset: AssetId,
    /// Position on the chain.
    pub at: FactAt,
    /// How settled.
    pub depth: Depth,
    /// What happened.
    pub fact: VaultFact,
}

/// A notice on a channel, named from the vault's point of view.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    borsh::BorshSerialize,
    borsh::BorshDeserialize,
)]
pub enum NoticeKind {
    /// The channel ends.
    Close,
    /// The pool lowers its allotment to the peer.
    AllotmentLowering,
    /// The peer withdraws deposit.
    DepositWithdrawal,
    /// The peer's lane gets another signer.
    PeerKeyChange,
    /// The pool's lane gets another signer.
    PoolKeyChange,
}

/// What a vault contract says of itself, in the chain's base units; running totals are absolute, so a fact applies once and only once.
#[derive(Debug, Clone, PartialEq, Eq, borsh::BorshSerialize, borsh::BorshDeserialize)]
pub enum VaultFact {
    /// An LP deposited principal and received units.
    NoteDeposited {
        /// LP address.
        owner: Address,
        /// Units minted.
        units: Amount,
        /// What arrived.
        amount: Amount,
    },
    /// An LP locked units for exit.
    ExitRequested {
        /// LP address.
        owner: Address,
        /// The day's cohort.
        cohort: u64,
        /// Units locked.
        units: Amount,
    },
    /// A cohort was paid in part or whole: units burnt, money out of free.
    ExitPaid {
        /// Which cohort.
        cohort: u64,
        /// Units burnt.
        units: Amount,
        /// What left the vault's free money.
        amount: Amount,
    },
    /// The note index rose.
    IndexRaised {
        /// New index in ray (10²⁷).
        index: u128,
    },
    /// The invited share holder added first-loss capital.
    SharesDeposited {
        /// What arrived.
        amount: Amount,
    },
    /// The share holder took capital out.
    SharesWithdrawn {
        /// What left.
        amount: Amount,
    },
    /// A channel exists.
    ChannelOpened {
        /// Its serial.
        serial: ChannelSerial,
        /// Who signs for the peer.
        peer_signer: Address,
        /// Who signs for the pool.
        pool_signer: Address,
    },
    /// The peer's lane has this much deposited over the channel's life.
    PeerDeposited {
        /// Which channel.
        serial: ChannelSerial,
        /// Cumulative deposit: the lane's ceiling.
        ceiling: Amount,
    },
    /// The peer's deposit was withdrawn down to this ceiling.
    PeerWithdrew {
        /// Which channel.
        serial: ChannelSerial,
        /// Cumulative deposit left: the lane's ceiling.
        ceiling: Amount,
        /// By our signed release, so that a running notice goes on.
        released: bool,
    },
    /// The pool's lane guarantees this much over the channel's life.
    AllotmentRaised {
        /// Which channel.
        serial: ChannelSerial,
        /// The lane's ceiling.
        ceiling: Amount,
    },
    /// The allotment stands until then.
    AllotmentRenewed {
        /// Which channel.
        serial: ChannelSerial,
        /// After this anybody may start to lower it.
        term_ends: Timestamp,
    },
    /// The pool's lane was lowered, by release or at the end of a notice.
    AllotmentLowered {
        /// Which channel.
        serial: ChannelSerial,
        /// The lane's ceiling.
        ceiling: Amount,
        /// By the peer's signed release, so that a running notice goes on.
        released: bool,
    },
    /// A voucher of the pool was redeemed.
    PoolPaid {
        /// Which channel.
        serial: ChannelSerial,
        /// The lane's paid total.
        paid: Amount,
    },
    /// A voucher of the peer was redeemed.
    PeerPaid {
        /// Which channel.
        serial: ChannelSerial,
        /// The lane's paid total.
        paid: Amount,
    },
    /// A notice runs.
    NoticeGiven {
        /// Which channel.
        serial: ChannelSerial,
        /// What it announces.
        kind: NoticeKind,
        /// The ceiling announced, where the notice lowers one.
        ceiling: Amount,
        /// When it may be executed.
        deadline: Timestamp,
    },
    /// A notice that was seen did not become final: a reorg dropped it.
    NoticeDropped {
        /// Which channel.
        serial: ChannelSerial,
        /// What it had announced.
        kind: NoticeKind,
    },
    /// A lane's signer changed.
    KeyChanged {
        /// Which channel.
        serial: ChannelSerial,
        /// `true` for the peer's key, `false` for the pool's.
        of_peer: bool,
        /// The new signer.
        signer: Address,
    },
    /// Both lanes' paid and ceilings rose by the same amount without money moving.
    NettedOff {
        /// Which channel.
        serial: ChannelSerial,
        /// By how much.
        amount: Amount,
    },
    /// The channel is finished; what remained went home.
    ChannelClosed {
        /// Which channel.
        serial: ChannelSerial,
        /// The pool lane's paid total.
        pool_paid: Amount,
        /// The peer lane's paid total.
        peer_paid: Amount,
    },
    /// The chain was reorganised below the depth we rely on.
    DeepReorg,
    /// Of what a channel's allotment rose by, this much was co-signed by the committee and not taken from the bucket.
    RaiseCosigned {
        /// Which channel.
        serial: ChannelSerial,
        /// By how much.
        amount: Amount,
    },
    /// The operator showed that it is there.
    HeartbeatSeen {
        /// When.
        at: Timestamp,
    },
    /// The committee stopped raises and renewals.
    Frozen {
        /// Until then.
        until: Timestamp,
    },
    /// The committee lowered the note index and wrote off all share units.
    MarkedDown {
        /// New index in ray (10²⁷).
        index: u128,
    },
    /// The vault runs down: all notes alike are paid in kind, then the share holder.
    RunDownStarted,
}
