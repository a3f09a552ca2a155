//! Listed assets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Units;

/// A listed asset as the pool sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Asset {
    /// Code, e.g. `ETH`.
    pub code: String,
    /// Decimal places of packet amounts and of the ledger.
    pub scale: u8,
    /// Decimal places of the chain's base unit.
    pub chain_scale: u8,
    /// EVM chain id.
    pub chain_id: u64,
    /// The vault contract, 0x….
    pub vault: String,
    /// The token contract; the zero address for the chain's own coin.
    pub token: String,
    /// How it is quoted and kept.
    pub policy: AssetPolicy,
    /// The price believed now, in reference units for one whole unit; absent while the book does not quote.
    pub price: Option<String>,
    /// Stopped by the operator or by a reorg.
    pub halted: bool,
    /// What each price source said last.
    pub sources: Vec<SourceView>,
}

/// What one source said last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceView {
    /// Its number in the configuration, from zero.
    pub source: u16,
    /// In reference units for one whole unit.
    pub price: String,
    /// When it arrived, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// Lists an asset whose vault is deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddAsset {
    /// Code.
    pub code: String,
    /// Decimal places of packet amounts.
    pub scale: u8,
    /// Decimal places of the chain's base unit.
    pub chain_scale: u8,
    /// EVM chain id.
    pub chain_id: u64,
    /// The vault contract.
    pub vault: String,
    /// The token; absent for the chain's own coin.
    #[serde(default)]
    pub token: Option<String>,
    /// How it is quoted and kept; absent fields take their defaults.
    #[serde(default)]
    pub policy: AssetPolicy,
}

/// Replaces an asset's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetAsset {
    /// The new policy; fields left out keep their values only when the caller sends them back.
    #[serde(default)]
    pub policy: Option<AssetPolicy>,
    /// Stop (`true`) or resume (`false`) quoting.
    #[serde(default)]
    pub halted: Option<bool>,
}

/// How an asset is quoted and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AssetPolicy {
    /// Fresh price sources needed, at least three.
    pub sources_min: u8,
    /// A price older than this is not fresh, in milliseconds.
    pub price_age_max_ms: u64,
    /// More than half of the sources lie within this of their median, in basis points.
    pub price_deviation_max_bps: u16,
    /// The half-spread never falls below this, in parts per million.
    pub spread_floor_ppm: u32,
    /// How much of one standard deviation over the holding time is charged, in parts per million.
    pub volatility_multiplier_ppm: u32,
    /// How long a position is expected to be held, in milliseconds.
    pub holding_time_ms: u64,
    /// What a trade of `depth` pays on top, in parts per million.
    pub size_ppm_per_depth: u32,
    /// The trade that pays it, in base units of the ledger.
    pub depth: Units,
    /// What inventory at the end of its range adds or takes, in parts per million.
    pub skew_ppm_max: u32,
    /// The most that may be lent into other assets, in base units of the ledger.
    pub lent_max: Units,
    /// What notes are promised a day, in parts per million.
    pub note_rate_ppm: u32,
    /// How often the note index is raised, in milliseconds.
    pub index_interval_ms: u64,
}

impl Default for AssetPolicy {
    fn default() -> Self {
        Self {
            sources_min: 3,
            price_age_max_ms: 60_000,
            price_deviation_max_bps: 200,
            spread_floor_ppm: 1_000,
            volatility_multiplier_ppm: 0,
            holding_time_ms: 60_000,
            size_ppm_per_depth: 0,
            depth: Units(forebay_quantity::Amount::ZERO),
            skew_ppm_max: 0,
            lent_max: Units(forebay_quantity::Amount::ZERO),
            note_rate_ppm: 100,
            index_interval_ms: 3_600_000,
        }
    }
}
