//! What can go wrong between us and a chain.

use alloy::transports::TransportError;
use forebay_channel::Address;
use forebay_quantity::{Amount, BlockHeight, EffectId};
use thiserror::Error;

/// Whether, and when, asking again may help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// At once.
    Now,
    /// After a while, or once somebody has acted.
    Later,
    /// Not without a change of what is asked.
    Never,
}

/// The world failed, or the chain said no.
#[derive(Debug, Error)]
pub enum Fault {
    /// No RPC node answered.
    #[error("no RPC node answers ({url}); check the URL and that the node runs")]
    RpcDown {
        /// The last one asked.
        url: String,
        /// Why it did not answer.
        #[source]
        source: TransportError,
    },
    /// A node answered with an error that is not a refusal by the contract.
    #[error("the RPC node {url} refused {method}: {source}")]
    RpcRefused {
        /// The node.
        url: String,
        /// What was asked.
        method: &'static str,
        /// Its answer.
        #[source]
        source: TransportError,
    },
    /// Nodes that have to agree do not.
    #[error("fewer than {needed} RPC nodes agree on {method}")]
    NodesDisagree {
        /// What was asked.
        method: &'static str,
        /// How many have to give the same answer.
        needed: usize,
    },
    /// A URL that is none.
    #[error("`{url}` is not an http or https URL")]
    BadUrl {
        /// The text given.
        url: String,
    },
    /// The node follows another chain.
    #[error(
        "the RPC node is on chain {found}, but the configuration says chain {expected}; use a node of chain {expected}"
    )]
    WrongChain {
        /// As configured.
        expected: u64,
        /// As the node says.
        found: u64,
    },
    /// There is no contract at the vault's address.
    #[error("there is no contract at {address}; check the vault's address and the chain")]
    NoContract {
        /// The address.
        address: Address,
    },
    /// The contract at the vault's address is not the vault that this program was built with.
    #[error("the contract at {address} is not this version's vault ({detail}); do not use it")]
    WrongCode {
        /// The address.
        address: Address,
        /// What differs.
        detail: String,
    },
    /// The sender cannot pay for gas.
    #[error("{address} has {have} wei, but {need} wei are needed for gas; send it {} wei more", need.saturating_sub(*have))]
    NoGasMoney {
        /// What it has, in wei.
        have: Amount,
        /// What it needs, in wei.
        need: Amount,
        /// The sender.
        address: Address,
    },
    /// The chain asks for more than the highest fee we pay.
    #[error(
        "the chain asks {need} wei per gas, and the configured limit is {max}; wait, or raise the limit"
    )]
    FeesTooHigh {
        /// The fee now, in wei per gas.
        need: u128,
        /// The limit, in wei per gas.
        max: u128,
    },
    /// The contract would refuse, so nothing was sent.
    #[error("the vault refuses: {reason}")]
    Refused {
        /// The contract's error.
        reason: VaultRefusal,
    },
    /// The request cannot be written as a call.
    #[error("the request does not fit the contract: {what}")]
    BadRequest {
        /// Which field, and why.
        what: &'static str,
    },
    /// The transaction is not in the chain yet; its effect goes on when asked for again.
    #[error("transaction of effect {effect} is not included after {waited_s} s; ask again")]
    NotIncluded {
        /// The effect.
        effect: EffectId,
        /// How long this call waited, in seconds.
        waited_s: u64,
    },
    /// The effect has no transaction under way.
    #[error("effect {effect} has no transaction under way; submit it first")]
    NotSubmitted {
        /// The effect.
        effect: EffectId,
    },
    /// Another transaction used up the nonce of this effect's; a new one is made when asked for again.
    #[error(
        "nonce {nonce} of effect {effect} was used by a transaction that is not ours; does somebody else use this key?"
    )]
    NonceTaken {
        /// The effect.
        effect: EffectId,
        /// The nonce.
        nonce: u64,
    },
    /// The chain dropped a final block.
    #[error("the chain dropped block {block}, which was final; the book of this chain halts")]
    DeepReorg {
        /// The lowest block known to have changed.
        block: BlockHeight,
    },
    /// The record of sent transactions failed.
    #[error("the record of sent transactions failed: {source}")]
    Store {
        /// Why.
        #[from]
        source: std::io::Error,
    },
    /// The record was made for another account, or by a version that did not say for which.
    #[error(
        "the record of sent transactions is not that of {account} on chain {chain_id}: put back the one that is, or restore the data directory whole"
    )]
    OtherRecord {
        /// Our account.
        account: Address,
        /// Our chain.
        chain_id: u64,
    },
    /// The record knows the effect as another request.
    #[error(
        "effect {effect} has transactions for another request: this journal and the record of sent transactions do not belong together; restore the data directory whole"
    )]
    OtherRequest {
        /// The effect.
        effect: EffectId,
    },
    /// The record knows an effect that the journal has not come to yet.
    #[error(
        "the record of sent transactions knows effect {effect}, and this journal has come to {last} only: it is an old copy; restore the data directory whole"
    )]
    RecordAhead {
        /// The effect.
        effect: EffectId,
        /// The journal's last.
        last: EffectId,
    },
    /// A node's answer makes no sense.
    #[error("the RPC node's answer to {method} makes no sense: {what}")]
    Nonsense {
        /// What was asked.
        method: &'static str,
        /// What is wrong with it.
        what: String,
    },
}

impl Fault {
    /// Whether asking again may help.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::NotIncluded { .. } | Self::NotSubmitted { .. } | Self::NonceTaken { .. } => {
                Retry::Now
            }
            Self::RpcDown { .. }
            | Self::RpcRefused { .. }
            | Self::NodesDisagree { .. }
            | Self::NoGasMoney { .. }
            | Self::FeesTooHigh { .. }
            | Self::Store { .. }
            | Self::OtherRequest { .. }
            | Self::Nonsense { .. } => Retry::Later,
            Self::Refused { reason } => reason.retry(),
            Self::BadUrl { .. }
            | Self::WrongChain { .. }
            | Self::NoContract { .. }
            | Self::WrongCode { .. }
            | Self::BadRequest { .. }
            | Self::OtherRecord { .. }
            | Self::RecordAhead { .. }
            | Self::DeepReorg { .. } => Retry::Never,
        }
    }
}

/// The contract's own "no", by the name of its error.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{name}")]
pub struct VaultRefusal {
    /// The error's name in the contract's interface, or the raw data when it is none of them.
    pub name: String,
}

impl VaultRefusal {
    /// Whether time, or money from elsewhere, may change the contract's mind.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self.name.as_str() {
            "TooEarly" | "NotEnoughFree" | "BelowFloor" | "ExitsOverdue" | "IndexTooFast"
            | "GasTooLow" | "TransferFailed" => Retry::Later,
            _ => Retry::Never,
        }
    }
}
