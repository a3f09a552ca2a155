//! What happens now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Packets and their latency, with the last hour behind them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Live {
    /// The node's clock, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Since the process started.
    pub packets_accepted: u64,
    /// Since the process started.
    pub packets_fulfilled: u64,
    /// Rejects that went to a packet's sender, ours and those of next hops, since the process started.
    pub packets_rejected: u64,
    /// In flight now.
    pub packets_in_flight: u64,
    /// Links that are up.
    pub links_up: u32,
    /// How long half of the frames of the last interval stayed in the pool, sync included, in microseconds.
    pub latency_p50_us: Option<u64>,
    /// The same for 99 in 100.
    pub latency_p99_us: Option<u64>,
    /// Oldest first, one every [`interval_ms`](Self::interval_ms), at most 720.
    pub samples: Vec<Sample>,
    /// Milliseconds between samples.
    pub interval_ms: u64,
}

/// One moment of the last hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// In milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Fulfilled since the sample before.
    pub fulfilled: u64,
    /// Rejected since the sample before.
    pub rejected: u64,
    /// Half of the frames since the sample before stayed no longer, in microseconds; absent without frames.
    pub latency_p50_us: Option<u64>,
    /// The same for 99 in 100.
    pub latency_p99_us: Option<u64>,
    /// By asset, in the order in which they were listed.
    pub assets: Vec<AssetSample>,
}

/// One asset at that moment, in the ledger's base units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssetSample {
    /// Code.
    pub code: String,
    /// In the vault, or on covered vouchers of peers.
    pub reserves: Units,
    /// What a stolen operator key would have cost.
    pub stolen_key_cost: Units,
    /// In parts per million; absent without claims.
    pub coverage_ppm: Option<u64>,
}

use crate::Units;

/// Something that needs somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alarm {
    /// Which kind: `runs-down`, `frozen`, `halted`, `not-quoted`, `under-covered`, `unbalanced`, `notice`, `gas-low`, `stopped`, `chain-silent`, `reserve-late`, `above-cap`.
    pub kind: String,
    /// The asset, peer or chain concerned.
    pub subject: String,
    /// What is wrong and what to do.
    pub detail: String,
}

/// A fact of the journal, told once it is synced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventView {
    /// The journal's frame and the place in it, `frame.place`; the stream resumes after it.
    pub id: String,
    /// The batch's time, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Which kind, e.g. `voucher-signed`.
    pub kind: String,
    /// The account concerned, by name.
    pub peer: Option<String>,
    /// The asset concerned, by code.
    pub asset: Option<String>,
    /// The LP concerned, by address.
    pub owner: Option<String>,
    /// In words.
    pub text: String,
}
