//! The reserve on Bitcoin: who guards it, what lies in it, and which drafts wait for members. Amounts are in satoshi.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Units;

/// The reserve as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reserve {
    /// The watch-only descriptor, with its checksum: whoever has it sees all addresses and spends nothing.
    pub descriptor: String,
    /// How many members sign beside the operator, and alone after 90 days.
    pub threshold: u32,
    /// How many members there are.
    pub members: u32,
    /// The most that the operator's key alone should hold.
    pub hot_max: Units,
    /// What lies in outputs that are final.
    pub total: Units,
    /// Those outputs, oldest first.
    pub outputs: Vec<ReserveOutput>,
    /// What waits for members, oldest first.
    pub drafts: Vec<ReserveDraft>,
}

/// An output of the reserve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReserveOutput {
    /// Transaction and place, `txid:index`.
    pub outpoint: String,
    /// What is in it.
    pub amount: Units,
    /// How many blocks old it is; at 12,960 members may spend it alone.
    pub blocks: u32,
}

/// A spend of the reserve that lacks signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReserveDraft {
    /// The demand that it is for.
    pub number: u64,
    /// What it spends.
    pub spends: Units,
    /// What it pays to the hot wallet; zero for a renewal.
    pub pays: Units,
    /// What the miners get.
    pub fee: Units,
    /// For each member, in the order of their places: whether it has signed.
    pub members_signed: Vec<bool>,
    /// The PSBT as it is now, in base64 (BIP 174): what members sign.
    pub psbt: String,
}

/// A copy of a draft that somebody has signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedCopy {
    /// The PSBT, in base64.
    pub psbt: String,
}

/// What became of a signed copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CopyTaken {
    /// The transaction, once enough have signed and it was handed in.
    pub transaction: Option<String>,
}
