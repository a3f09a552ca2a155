//! LPs on Bitcoin: who they are, and what they take out. Amounts are in millisatoshi.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Units;

/// An LP on Bitcoin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BitcoinLp {
    /// What stands for it in the books, for ever.
    pub owner: String,
    /// The address that it is paid at.
    pub payout: String,
    /// What its notes claim now, rounded down; withdrawals under way are no part of it.
    pub worth: Units,
    /// All that it was paid.
    pub withdrawn: Units,
    /// What is being paid to it, oldest first.
    pub withdrawals: Vec<Withdrawal>,
}

/// A withdrawal under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Withdrawal {
    /// Its number.
    pub number: u64,
    /// What arrives.
    pub amount: Units,
    /// The most that miners or routing are paid from the claim; what they do not take comes back as notes.
    pub fee_max: Units,
    /// By an output to this address.
    pub address: Option<String>,
    /// Or by the invoice with this payment hash.
    pub payment_hash: Option<String>,
}

/// Pays an LP elsewhere from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPayout {
    /// An address of the pool's network that no other LP is paid at.
    pub payout: String,
}

/// Pays an LP out of its claim.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Withdraw {
    /// By an output to its payout address: what the claim sinks by, of which miners are paid. All of it when absent.
    #[serde(default)]
    pub amount: Option<Units>,
    /// Or by this invoice, which names an amount; routing is paid from the claim beyond it.
    #[serde(default)]
    pub invoice: Option<String>,
}

/// Asks for an invoice: what is paid on it becomes the LP's notes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvoice {
    /// What it is over.
    pub amount: Units,
}

/// An invoice to pay, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invoice {
    /// BOLT 11.
    pub invoice: String,
}
