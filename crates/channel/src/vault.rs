//! What a vault contract is asked for and what it reports, in plain types shared by every rail that has one.

use crate::{
    address::Address,
    digest::{
        CoopClose, CosignedRaise, Freeze, KeyChange, LaneId, MarkDown, NetOff, Release, ShareExit,
        Voucher, keccak256,
    },
    signature::Signature,
};
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::{Amount, BlockHeight, ChannelSerial, Hash32, Timestamp};

/// The most vouchers in one redemption, and raises in one raise: they have to fit into a block.
pub const BATCH_MAX: usize = 100;

/// What a new channel is opened with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Opening {
    /// Never used before in this vault.
    pub serial: ChannelSerial,
    /// Signs vouchers of the pool's lane.
    pub pool_signer: Address,
    /// Signs vouchers of the peer's lane.
    pub peer_signer: Address,
    /// Where the pool's lane pays, and where the rest of the peer's deposit returns.
    pub peer_payout: Address,
    /// The first allotment, in base units; zero for none yet.
    pub allotment: Amount,
    /// The end of its term; `None` only without an allotment.
    pub term_end: Option<Timestamp>,
    /// The peer's deposit, paid by the caller, in base units; zero for none yet.
    pub deposit: Amount,
}

/// One allotment raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Raise {
    /// The channel.
    pub serial: ChannelSerial,
    /// Added to the ceiling, in base units; zero only renews the term.
    pub amount: Amount,
    /// The new end of its term; `None` leaves it.
    pub term_end: Option<Timestamp>,
}

/// A voucher with its payer's signature.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub struct SignedVoucher {
    /// The voucher.
    pub voucher: Voucher,
    /// The payer's signature.
    pub signature: Signature,
}

/// The most signatures under one message of the committee: its places are numbered in eight bits.
pub const COSIGNATURES_MAX: usize = 255;

/// The cohort in which all notes are paid when a vault runs down; others are numbered below it.
pub const RUN_DOWN_COHORT: u32 = (1 << 24) - 1;

/// A committee member's signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Cosignature {
    /// Its place in the committee, from zero; a list is in strictly ascending order of it.
    pub member: u8,
    /// The signature.
    pub signature: Signature,
}

/// A call on a vault. Times are rounded down to the chain's seconds.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum VaultRequest {
    /// Opens a channel; operator only.
    Open(Opening),
    /// Adds to the peer's deposit; a token's allowance is arranged along with it.
    Deposit {
        /// The channel.
        serial: ChannelSerial,
        /// In base units.
        amount: Amount,
        /// The channel's payout address, so that the deposit cannot fall to another channel.
        peer_payout: Address,
    },
    /// Raises allotments and renews terms, at most [`BATCH_MAX`]; operator only.
    Raise(Vec<Raise>),
    /// Lowers a ceiling at once, with the payee's signature.
    Release(Release, Signature),
    /// Gives notice of a lower ceiling.
    StartLowering {
        /// The channel.
        serial: ChannelSerial,
        /// The lane.
        lane: LaneId,
        /// The ceiling announced, cumulative.
        ceiling: Amount,
    },
    /// Executes that notice.
    FinishLowering {
        /// The channel.
        serial: ChannelSerial,
        /// The lane.
        lane: LaneId,
    },
    /// Redeems vouchers, at most [`BATCH_MAX`]; of several, those that pay nothing are skipped.
    Redeem(Vec<SignedVoucher>),
    /// Nets both lanes: the pool's signature, then the peer's.
    NetOff(NetOff, Signature, Signature),
    /// Closes at once: the pool's signature, then the peer's.
    CloseTogether(CoopClose, Signature, Signature),
    /// Gives notice of a close.
    StartClose(ChannelSerial),
    /// Executes that notice.
    FinishClose(ChannelSerial),
    /// Changes a lane's signer with the other side's signature.
    ChangeKey(KeyChange, Signature),
    /// Gives notice of another signer of a lane.
    StartKeyChange {
        /// The channel.
        serial: ChannelSerial,
        /// The lane.
        lane: LaneId,
        /// The signer announced.
        signer: Address,
    },
    /// Executes that notice.
    FinishKeyChange {
        /// The channel.
        serial: ChannelSerial,
        /// The lane.
        lane: LaneId,
    },
    /// Pays the caller's reclaim balance to an address.
    Reclaim(Address),
    /// Mints notes to the caller for this many base units.
    DepositNote(Amount),
    /// Locks this many units of the caller's notes in today's exit cohort.
    RequestExit(Amount),
    /// Pays the oldest exit cohorts, at most this many.
    PayExits(u32),
    /// Pays a member of a cohort what it has coming.
    ClaimExit {
        /// The cohort.
        cohort: u32,
        /// The member.
        member: Address,
    },
    /// Adds first-loss capital; the share holder only.
    DepositShare(Amount),
    /// Burns share units for the amount that the committee signed; the share holder only.
    WithdrawShare(ShareExit, Vec<Cosignature>),
    /// Lets the index rise to this many ray; operator only.
    Accrue(Amount),
    /// Shows that the operator is there; operator only.
    Heartbeat,
    /// Raises one allotment beside the bucket; operator only.
    RaiseCosigned(CosignedRaise, Vec<Cosignature>),
    /// Stops raises and renewals for some days.
    Freeze(Freeze, Vec<Cosignature>),
    /// Lowers the index.
    MarkDown(MarkDown, Vec<Cosignature>),
    /// Starts the run-down, for ever.
    StartRunDown,
}

impl VaultRequest {
    /// Keccak-256 of the request: what its effect's number stands for.
    #[must_use]
    pub fn digest(&self) -> Hash32 {
        keccak256(&borsh::to_vec(self).expect("memory takes every byte"))
    }
}

/// Something that a vault reports to have happened. Ceilings and paids are cumulative, in base units.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, BorshSerialize, BorshDeserialize)]
#[expect(
    missing_docs,
    reason = "the fields are those of the contract's events, told there"
)]
pub enum VaultFact {
    /// A channel was opened.
    Opened {
        serial: ChannelSerial,
        pool_signer: Address,
        peer_signer: Address,
        peer_payout: Address,
    },
    /// The pool lane's ceiling rose.
    Raised {
        serial: ChannelSerial,
        ceiling: Amount,
    },
    /// The allotment's term was set.
    Renewed {
        serial: ChannelSerial,
        term_end: Timestamp,
    },
    /// The peer lane's ceiling rose by what arrived.
    Deposited {
        serial: ChannelSerial,
        from: Address,
        amount: Amount,
        ceiling: Amount,
    },
    /// A lane paid.
    Redeemed {
        serial: ChannelSerial,
        lane: LaneId,
        paid: Amount,
    },
    /// Notice of a lower ceiling.
    LoweringStarted {
        serial: ChannelSerial,
        lane: LaneId,
        ceiling: Amount,
        deadline: Timestamp,
    },
    /// A ceiling fell; a nonce was used up exactly when `released`.
    Lowered {
        serial: ChannelSerial,
        lane: LaneId,
        ceiling: Amount,
        released: bool,
    },
    /// Both lanes were netted: both paids as they stand now; both ceilings rose by `amount`.
    NettedOff {
        serial: ChannelSerial,
        pool_paid: Amount,
        peer_paid: Amount,
        amount: Amount,
    },
    /// Notice of a close.
    CloseStarted {
        serial: ChannelSerial,
        by: Address,
        deadline: Timestamp,
    },
    /// The channel closed with these paids.
    Closed {
        serial: ChannelSerial,
        pool_paid: Amount,
        peer_paid: Amount,
    },
    /// Notice of another signer.
    KeyChangeStarted {
        serial: ChannelSerial,
        lane: LaneId,
        signer: Address,
        deadline: Timestamp,
    },
    /// A lane's signer changed; the former one's vouchers count up to `former_ceiling`.
    KeyChanged {
        serial: ChannelSerial,
        lane: LaneId,
        former: Address,
        signer: Address,
        former_ceiling: Amount,
        consented: bool,
    },
    /// A payout failed; it can be reclaimed.
    PayoutFailed { payee: Address, amount: Amount },
    /// A reclaim balance was paid.
    Reclaimed {
        payee: Address,
        to: Address,
        amount: Amount,
    },
    /// Notes were minted.
    NoteDeposited {
        member: Address,
        amount: Amount,
        units: Amount,
    },
    /// Notes were locked in a cohort.
    ExitRequested {
        member: Address,
        cohort: u32,
        units: Amount,
        due_at: Timestamp,
    },
    /// Units of a cohort were burnt and their money set aside.
    ExitsPaid {
        cohort: u32,
        units: Amount,
        amount: Amount,
        units_left: Amount,
    },
    /// A member was paid from a cohort.
    ExitClaimed {
        cohort: u32,
        member: Address,
        amount: Amount,
    },
    /// The index rose, in ray.
    Accrued { index: Amount },
    /// First-loss capital came in.
    ShareDeposited { amount: Amount, units: Amount },
    /// Share units were burnt and paid.
    ShareWithdrawn {
        units: Amount,
        amount: Amount,
        nonce: u64,
    },
    /// The operator's key is alive.
    Heartbeat { at: Timestamp },
    /// No raise and no renewal before that time.
    FrozenUntil { until: Timestamp },
    /// The committee lowered the index, in ray, and wrote off all share units.
    MarkedDown {
        index: Amount,
        share_units: Amount,
        nonce: u64,
    },
    /// A raise that is reported beside this did not count against the bucket.
    Cosigned {
        serial: ChannelSerial,
        amount: Amount,
        nonce: u64,
    },
    /// From now on all units alike are paid, in the cohort [`RUN_DOWN_COHORT`].
    RunDownStarted { units: Amount },
}

impl VaultFact {
    /// The channel it is about, if it is about one.
    #[must_use]
    pub const fn serial(&self) -> Option<ChannelSerial> {
        match *self {
            Self::Opened { serial, .. }
            | Self::Raised { serial, .. }
            | Self::Renewed { serial, .. }
            | Self::Deposited { serial, .. }
            | Self::Redeemed { serial, .. }
            | Self::LoweringStarted { serial, .. }
            | Self::Lowered { serial, .. }
            | Self::NettedOff { serial, .. }
            | Self::CloseStarted { serial, .. }
            | Self::Closed { serial, .. }
            | Self::KeyChangeStarted { serial, .. }
            | Self::KeyChanged { serial, .. }
            | Self::Cosigned { serial, .. } => Some(serial),
            Self::PayoutFailed { .. }
            | Self::Reclaimed { .. }
            | Self::NoteDeposited { .. }
            | Self::ExitRequested { .. }
            | Self::ExitsPaid { .. }
            | Self::ExitClaimed { .. }
            | Self::Accrued { .. }
            | Self::ShareDeposited { .. }
            | Self::ShareWithdrawn { .. }
            | Self::Heartbeat { .. }
            | Self::FrozenUntil { .. }
            | Self::MarkedDown { .. }
            | Self::RunDownStarted { .. } => None,
        }
    }
}

/// Where on the chain a fact lies; with the block's hash, so that a reorg makes it another place.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize,
)]
pub struct Place {
    /// The block's height.
    pub block: BlockHeight,
    /// The position among all logs of the block.
    pub log_index: u32,
    /// The block's hash.
    pub block_hash: Hash32,
}

/// The chain's clock and depths.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Head {
    /// The newest block.
    pub latest: BlockHeight,
    /// Its timestamp, which is what deadlines are compared with.
    pub time: Timestamp,
    /// The newest block under the `safe` tag.
    pub safe: BlockHeight,
    /// The newest block under the `finalized` tag.
    pub finalized: BlockHeight,
}

/// What a follower of a vault reports, in the chain's order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum VaultObservation {
    /// A fact reached a depth; each is reported at most once a depth, and always once at the last one.
    Fact {
        /// What happened.
        fact: VaultFact,
        /// Where.
        place: Place,
        /// The transaction.
        transaction: Hash32,
        /// How deep it lies.
        finality: crate::Finality,
    },
    /// A reorg dropped a fact that was reported as seen or safe.
    Retracted {
        /// What did not happen after all.
        fact: VaultFact,
        /// Where it had been.
        place: Place,
    },
    /// All facts up to here were reported.
    Head(Head),
    /// The chain dropped a block that had been final: nothing more is reported, and the book halts.
    DeepReorg {
        /// The lowest block known to have changed.
        block: BlockHeight,
    },
}
