//! What the wallet on Bitcoin sees in the chain, at finality depth.

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_channel::Address;
use forebay_quantity::{Amount, Hash32};

/// An output of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Outpoint {
    /// The transaction, in the byte order of the chain.
    pub txid: Hash32,
    /// Which of its outputs.
    pub index: u32,
}

/// Something final, in millisatoshi; the same output or transaction counts once, for ever. The variant order is the wire
/// format (`spec/events.md`): new variants go to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum BitcoinFact {
    /// Bitcoin arrived at an address that was made for it.
    Deposited {
        /// Which output.
        outpoint: Outpoint,
        /// Stands for where the LP is paid back; none for the operator's capital, which becomes shares.
        owner: Option<Address>,
        /// What arrived.
        amount: Amount,
    },
    /// A transaction of the wallet's own paid this to miners.
    MinersPaid {
        /// Which.
        txid: Hash32,
        /// How much.
        amount: Amount,
    },
    /// The chain dropped a block that held something final.
    DeepReorg,
}
