//! The reserve on Bitcoin: what lies in it, what the operator's key alone may hold, and what is moved between the two. All
//! amounts are in millisatoshi.

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::{Amount, Hash32};

use crate::bitcoin::Outpoint;

/// What the operator configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReserveRules {
    /// The most that the operator's key alone should hold: hot wallet and channels together.
    pub hot_max: Amount,
    /// SHA-256 of the reserve's descriptor: who may spend it.
    pub descriptor: Hash32,
}

/// Where money on chain lies now, as far as it is final; absolute, so that telling it again changes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Whereabouts {
    /// What the hot wallet can spend now.
    pub spendable: Amount,
    /// What it can spend soon, once it lies deep enough.
    pub waiting: Amount,
    /// What it is to pay and has not signed, for want of coins perhaps.
    pub wanted: Amount,
    /// In outputs of the reserve.
    pub reserve: Amount,
    /// How old the oldest of them is, in days of 144 blocks.
    pub oldest_days: u32,
}

/// A fact about the reserve. The variant order is the wire format (`spec/events.md`): new variants go to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ReserveEvent {
    /// Its rules were said, or said anew.
    RulesSet(ReserveRules),
    /// Money on chain lies elsewhere than before.
    Found(Whereabouts),
    /// A transaction of the reserve paid this to somebody who is neither it nor the hot wallet.
    Lost {
        /// Which transaction.
        txid: Hash32,
        /// How much.
        amount: Amount,
    },
    /// Somebody paid this into it, who is neither it nor the hot wallet.
    Given {
        /// Which output.
        outpoint: Outpoint,
        /// How much.
        amount: Amount,
    },
}

/// A wish of the operator's configuration, or what was seen of the reserve in the chain at finality depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReserveCommand {
    /// The configuration names these.
    Rules(ReserveRules),
    /// Where money on chain lies now.
    Found(Whereabouts),
    /// What somebody paid into it who is neither it nor the hot wallet is final.
    Given {
        /// Which output.
        outpoint: Outpoint,
        /// How much.
        amount: Amount,
    },
    /// A transaction of the reserve that is final.
    Spent {
        /// Which transaction.
        txid: Hash32,
        /// The demand that it was drafted for, if it was for one.
        demand: Option<forebay_quantity::EffectId>,
        /// What it paid to miners.
        fee: Amount,
        /// What it paid to others than the reserve and the hot wallet.
        lost: Amount,
    },
}
