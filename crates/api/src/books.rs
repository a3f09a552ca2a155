//! What the pool holds and owes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Units;

/// How the node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The operator's ILP address.
    pub operator: String,
    /// Who signs the pool's vouchers and calls the vaults, 0x….
    pub pool_signer: String,
    /// Where peers connect, `ws://…`.
    pub btp: String,
    /// Takes packets; false while it drains or after a fault.
    pub accepting: bool,
    /// Packets in flight.
    pub packets_in_flight: u64,
    /// Packets fulfilled since this process started.
    pub packets_fulfilled: u64,
    /// Frames in the journal.
    pub journal_frames: u64,
    /// Milliseconds since this process started.
    pub uptime_ms: u64,
    /// What stops it or will stop it, in words.
    pub alarms: Vec<String>,
    /// The version of the program.
    pub version: String,
}

/// The books, by asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Books {
    /// The pool's time, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Debits equal credits in every asset, and claims are within reserves.
    pub balanced: bool,
    /// One entry an asset.
    pub assets: Vec<AssetBooks>,
    /// Gas money, by chain.
    pub chains: Vec<ChainCost>,
}

/// One asset's books, in the ledger's base units unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssetBooks {
    /// Code.
    pub code: String,
    /// Decimal places of these amounts.
    pub scale: u8,
    /// Decimal places of amounts in the chain's base units.
    pub chain_scale: u8,
    /// The vault's free money and remaining allotments.
    pub vault: Units,
    /// Free money in the vault, in the chain's base units.
    pub chain_free: Units,
    /// Remaining allotments, in the chain's base units.
    pub chain_allotted: Units,
    /// What notes may claim.
    pub notes: Units,
    /// First-loss capital.
    pub shares: Units,
    /// Fees earned and not yet paid to notes.
    pub fees: Units,
    /// Fees earned over the pool's life.
    pub fees_earned: Units,
    /// What the pool owes peers for packets.
    pub owed_to_peers: Units,
    /// What peers owe the pool for packets.
    pub owed_by_peers: Units,
    /// Vouchers held of peers, not redeemed.
    pub vouchers_held: Units,
    /// Vouchers signed to peers, not redeemed.
    pub vouchers_out: Units,
    /// What swaps lent out of this asset; absent amounts were brought in.
    pub lent: Units,
    /// What swaps brought into this asset.
    pub borrowed: Units,
    /// The note index, in ray.
    pub note_index: Units,
    /// What a stolen operator key would cost now.
    pub stolen_key_cost: Units,
    /// Of the vault's money, what lies on Bitcoin in the reserve, in the chain's base units; zero for what has a vault.
    pub chain_reserved: Units,
    /// In the vault, or on peers' vouchers that their deposits cover.
    pub reserves: Units,
    /// Lent into other assets by swaps, and owed by peers on credit.
    pub outstanding: Units,
    /// Of notes, of peers, of vouchers signed, and of other assets for what swaps brought in.
    pub claims: Units,
    /// Reserves and what is outstanding for each one claimed, in parts per million, rounded down; absent without claims.
    pub coverage_ppm: Option<u64>,
    /// Exit cohorts that wait for money.
    pub cohorts_waiting: u32,
}

/// Gas money on a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChainCost {
    /// EVM chain id.
    pub chain_id: u64,
    /// The operator's balance, in wei.
    pub gas_money: Units,
    /// What is set aside for channels that are open, in wei.
    pub gas_reserved: Units,
}

/// Carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// Always true.
    pub done: bool,
}
