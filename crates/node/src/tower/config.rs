//! What a `forebay watch` process needs to start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use forebay_api::Units;
use forebay_channel::Address;
use forebay_quantity::Amount;
use serde::{Deserialize, Serialize};

use crate::config::{ConfigFault, read_file};

/// The configuration file of a watchtower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where vouchers, heads and sent transactions are kept; one process owns it.
    pub data_directory: PathBuf,
    /// The key that pays for gas, made by `forebay watch init`. It is nobody's signer: all it can lose is gas money.
    pub keys_file: PathBuf,
    /// Where principals connect.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Those it acts for, by name.
    pub principals: BTreeMap<String, Principal>,
    /// JSON-RPC of each chain, by chain id, through nodes that the watchtower's own operator trusts.
    pub chains: BTreeMap<String, Chain>,
    /// Numbers that rarely need a change.
    #[serde(default)]
    pub limits: Limits,
}

/// One that the watchtower acts for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// What it shows when it connects.
    pub token: String,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// JSON-RPC over HTTP of one own node, or of three of which two must agree.
    pub rpc_urls: Vec<String>,
    /// The vaults that gas is spent for.
    pub vaults: Vec<WatchedVault>,
}

/// A vault that gas is spent for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchedVault {
    /// The contract.
    pub address: String,
    /// The least worth a transaction, in the chain's base units.
    #[serde(default = "default_claim_min")]
    pub claim_min: Units,
}

/// Numbers that rarely need a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Lanes guarded for one principal.
    pub lanes_max: usize,
    /// Connections open at a time.
    pub connections_max: usize,
    /// An answer is in the chain's hands this long before its deadline, in milliseconds.
    pub answer_margin_ms: u64,
    /// The part of the time for an answer that is left to the principal, in basis points.
    pub patience_bps: u32,
    /// What a transaction may offer at first, in wei per gas.
    pub fee_per_gas_planned: Units,
    /// What it may offer when the answer is due, in wei per gas.
    pub fee_per_gas_max: Units,
    /// A transaction that waits this long is replaced by a dearer one; a tenth of it when the answer is due. In milliseconds.
    pub stuck_after_ms: u64,
    /// How often a chain is asked for news, in milliseconds.
    pub poll_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lanes_max: 10_000,
            connections_max: 1_000,
            answer_margin_ms: 3 * 3_600_000,
            patience_bps: 2_500,
            fee_per_gas_planned: Units(Amount::new(50_000_000_000)),
            fee_per_gas_max: Units(Amount::new(1_000_000_000_000)),
            stuck_after_ms: 60_000,
            poll_ms: 1_000,
        }
    }
}

impl Config {
    /// Reads and checks a file; relative paths in it are taken from the file's own folder.
    ///
    /// # Errors
    /// [`ConfigFault`], whose text says what to change.
    pub fn load(path: &Path) -> Result<Self, ConfigFault> {
        let mut config: Self = read_file(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.data_directory = folder.join(&config.data_directory);
        config.keys_file = folder.join(&config.keys_file);
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigFault> {
        let bad = |field: String, why| Err(ConfigFault::BadValue { field, why });
        for (name, principal) in &self.principals {
            let twins = self.principals.values();
            let twins = twins.filter(|other| other.token == principal.token);
            if principal.token.is_empty() || twins.count() > 1 {
                return bad(
                    format!("principals.{name}.token"),
                    "give each principal a token of its own",
                );
            }
        }
        for (id, chain) in &self.chains {
            if id.parse::<u64>().is_err() {
                return Err(ConfigFault::BadChainId(id.clone()));
            }
            if chain.rpc_urls.is_empty() {
                return bad(
                    format!("chains.{id}.rpc_urls"),
                    "name at least one JSON-RPC URL",
                );
            }
            let mut vaults = chain.vaults.iter();
            if vaults.any(|vault| vault.address.parse::<Address>().is_err()) {
                return bad(
                    format!("chains.{id}.vaults"),
                    "write a vault's address as 40 hexadecimal digits after 0x",
                );
            }
        }
        if self.limits.patience_bps > 10_000 {
            return bad(
                "limits.patience_bps".into(),
                "at most 10000: the whole time for an answer",
            );
        }
        if self.limits.poll_ms == 0 || self.limits.lanes_max > LANES_MAX {
            return bad(
                "limits".into(),
                "poll_ms is above 0, and lanes_max at most 1000000",
            );
        }
        Ok(())
    }
}

/// Half a gibibyte of slots.
const LANES_MAX: usize = 1_000_000;

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7771))
}

fn default_claim_min() -> Units {
    Units(Amount::new(1))
}
