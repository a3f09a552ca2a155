//! What can be asked of a vault, and by whom.

use forebay_channel::{
    Address, CoopClose, CosignedRaise, Freeze, KeyChange, LaneId, MarkDown, NetOff, Release,
    Signature,
    vault::{Cosignature, SignedVoucher},
};

/// Who sends a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sender {
    Operator,
    Account(Address),
}

/// A call on the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Open {
        serial: u64,
        pool_signer: Address,
        peer_signer: Address,
        payout: Address,
        allotment: u128,
        term_end_s: u64,
    },
    Deposit {
        serial: u64,
        amount: u128,
        payout: Address,
    },
    /// The client turns the ceiling asked for into what is added to the one that stands. A term that ends at zero
    /// leaves the one that runs.
    Raise {
        serial: u64,
        ceiling: u128,
        term_end_s: u64,
    },
    Redeem {
        serial: u64,
        lane: LaneId,
        amount: u128,
        signature: Signature,
    },
    /// Of several, those that pay nothing are skipped.
    #[allow(dead_code, reason = "only the suite of all rails asks for it so far")]
    RedeemMany(Vec<SignedVoucher>),
    /// With the payee's signature under the channel's nonce.
    #[allow(dead_code, reason = "only the suite of all rails asks for it so far")]
    Release(Release, Signature),
    /// The pool's signature, then the peer's.
    #[allow(dead_code, reason = "only the suite of all rails asks for it so far")]
    NetOff(NetOff, Signature, Signature),
    /// The pool's signature, then the peer's.
    #[allow(dead_code, reason = "only the suite of all rails asks for it so far")]
    CloseTogether(CoopClose, Signature, Signature),
    /// With the other side's signature under the channel's nonce.
    #[allow(dead_code, reason = "only the suite of all rails asks for it so far")]
    ChangeKey(KeyChange, Signature),
    StartLowering {
        serial: u64,
        lane: LaneId,
        ceiling: u128,
    },
    FinishLowering {
        serial: u64,
        lane: LaneId,
    },
    StartClose {
        serial: u64,
    },
    FinishClose {
        serial: u64,
    },
    StartKeyChange {
        serial: u64,
        signer: Address,
    },
    FinishKeyChange {
        serial: u64,
    },
    DepositNote {
        owner: Address,
        amount: u128,
    },
    RequestExit {
        owner: Address,
        units: u128,
    },
    PayExits,
    #[allow(dead_code, reason = "only the suite of all rails asks for it so far")]
    ClaimExit {
        cohort: u32,
        member: Address,
    },
    Heartbeat,
    RaiseCosigned(CosignedRaise, Vec<Cosignature>),
    Freeze(Freeze, Vec<Cosignature>),
    MarkDown(MarkDown, Vec<Cosignature>),
    #[allow(dead_code, reason = "only the suite of all rails asks for it so far")]
    StartRunDown,
    Accrue {
        index: u128,
    },
    DepositShare {
        amount: u128,
    },
    WithdrawShare {
        amount: u128,
    },
}
