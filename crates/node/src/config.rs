//! What a process needs to start; everything else is state and enters by command.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::http::{HttpMode, HttpUplink};
use crate::lightning::BitcoinConfig;
use crate::link::Uplink;
use crate::tower::Tower;
use crate::witness::Witness;

/// The configuration file of a pool process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the journal lives; one process owns it.
    pub data_directory: PathBuf,
    /// Where connectors reach the pool by BTP.
    #[serde(default = "default_btp_listen")]
    pub btp_listen: SocketAddr,
    /// Where the operator's commands reach it; keep it on this machine.
    #[serde(default = "default_admin_listen")]
    pub admin_listen: SocketAddr,
    /// The key file, made by `forebay init`.
    pub keys_file: PathBuf,
    /// JSON-RPC of each chain, by chain id.
    #[serde(default)]
    pub chains: BTreeMap<String, ChainConfig>,
    /// Bitcoin and the Lightning node; left out, the pool has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitcoin: Option<BitcoinConfig>,
    /// Where prices come from, by asset code.
    #[serde(default)]
    pub prices: BTreeMap<String, Vec<PriceSource>>,
    /// Peers that we dial; the others dial us.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uplinks: Vec<Uplink>,
    /// Where connectors reach the pool by HTTP; left out, none does.
    #[serde(default)]
    pub http_listen: Option<SocketAddr>,
    /// The URL of that, as others see it: where peers send their answers.
    #[serde(default)]
    pub http_url: Option<String>,
    /// Peers that we call by HTTP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http_uplinks: Vec<HttpUplink>,
    /// Watchtowers that the best vouchers are handed to.
    #[serde(default)]
    pub watchtowers: Vec<Tower>,
    /// Who remembers where the journal stands: enough of them have to agree before a started pool signs anything.
    #[serde(default)]
    pub witnesses: Vec<Witness>,
    /// How many of them; more than half when left out.
    #[serde(default)]
    pub witness_quorum: Option<usize>,
    /// Numbers that rarely need a change.
    #[serde(default)]
    pub limits: Limits,
}

/// How to reach a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// JSON-RPC over HTTP of one own node, or of three of which two must agree.
    pub rpc_urls: Vec<String>,
    /// The first block that can hold anything of the vaults.
    #[serde(default)]
    pub from_block: u64,
}

/// One source of one asset's price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceSource {
    /// What is fetched, by HTTP or HTTPS.
    pub url: String,
    /// Where in the answer the price stands (RFC 6901): a number, or a decimal string, of reference units per whole unit.
    pub pointer: String,
    /// How often, in milliseconds.
    #[serde(default = "default_poll_ms")]
    pub poll_ms: u64,
}

/// Numbers that rarely need a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// BTP connections that have not authenticated yet, at a time, one more shows out the oldest; and as many by HTTP.
    pub connections_max: usize,
    /// How long a BTP connection may take to authenticate, in milliseconds.
    pub auth_max_ms: u64,
    /// Frames of the journal between snapshots.
    pub snapshot_frames: u64,
    /// Bytes of a journal segment, a multiple of 4096.
    pub segment_bytes: u64,
    /// The wall clock may stand this far behind the journal's last stamp, in milliseconds.
    pub clock_behind_max_ms: u64,
    /// It may stand this far before a chain's head, in milliseconds.
    pub clock_ahead_max_ms: u64,
    /// Draining waits this long for packets in flight, in milliseconds.
    pub drain_max_ms: u64,
    /// Witnesses are told where the journal stands no more often than this, in milliseconds.
    pub witness_interval_ms: u64,
    /// Threads for sockets.
    pub socket_threads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            auth_max_ms: 10_000,
            snapshot_frames: 100_000,
            segment_bytes: 64 << 20,
            clock_behind_max_ms: 2_000,
            clock_ahead_max_ms: 3_600_000,
            drain_max_ms: 35_000,
            witness_interval_ms: 1_000,
            socket_threads: 2,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigFault {
    /// The file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// It is no configuration.
    #[error("{path} is no configuration of forebay: {source}")]
    Malformed {
        /// The file.
        path: String,
        /// What the reader stumbled over.
        source: Box<toml::de::Error>,
    },
    /// A chain id that is no number.
    #[error("chains.{0}: a chain is named by its chain id, a number such as 1")]
    BadChainId(String),
    /// A number that makes no sense.
    #[error("{field}: {why}")]
    BadValue {
        /// Which.
        field: String,
        /// What is wrong with it.
        why: &'static str,
    },
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
        if let Some(bitcoin) = &mut config.bitcoin {
            bitcoin.within(folder);
        }
        config.check()?;
        Ok(config)
    }

    /// Checks what no type can.
    ///
    /// # Errors
    /// The first [`ConfigFault`] found.
    pub fn check(&self) -> Result<(), ConfigFault> {
        for (id, chain) in &self.chains {
            if id.parse::<u64>().is_err() {
                return Err(ConfigFault::BadChainId(id.clone()));
            }
            if chain.rpc_urls.is_empty() {
                return Err(bad(
                    format!("chains.{id}.rpc_urls"),
                    "name at least one JSON-RPC URL",
                ));
            }
        }
        if let Some(bitcoin) = &self.bitcoin {
            bitcoin.check()?;
        }
        for (code, sources) in &self.prices {
            for (at, source) in sources.iter().enumerate() {
                let field = |name: &str| format!("prices.{code}[{at}].{name}");
                if source.poll_ms < 100 {
                    return Err(bad(
                        field("poll_ms"),
                        "poll no more often than every 100 ms",
                    ));
                }
                if !source.pointer.is_empty() && !source.pointer.starts_with('/') {
                    return Err(bad(
                        field("pointer"),
                        "a JSON pointer is empty or starts with '/'",
                    ));
                }
                if !source.url.starts_with("http://") && !source.url.starts_with("https://") {
                    return Err(bad(field("url"), "use an http:// or https:// URL"));
                }
            }
        }
        for (at, uplink) in self.http_uplinks.iter().enumerate() {
            let field = |name: &str| format!("http_uplinks[{at}].{name}");
            if !uplink.url.starts_with("http://") && !uplink.url.starts_with("https://") {
                return Err(bad(field("url"), "use an http:// or https:// URL"));
            }
            if uplink.mode == HttpMode::Async
                && (self.http_url.is_none() || self.http_listen.is_none())
            {
                return Err(bad(
                    field("mode"),
                    "answers come to http_url, which needs http_listen: set both",
                ));
            }
        }
        let quorum = self.witness_quorum.unwrap_or(1);
        if quorum == 0 || quorum > self.witnesses.len().max(1) {
            return Err(bad(
                "witness_quorum".into(),
                "at least 1, and no more than there are witnesses",
            ));
        }
        if !self.admin_listen.ip().is_loopback() {
            return Err(bad(
                "admin_listen".into(),
                "the operator's interface listens on this machine only: use 127.0.0.1",
            ));
        }
        Ok(())
    }
}

impl Config {
    /// How many witnesses have to agree.
    pub(crate) fn quorum(&self) -> usize {
        let majority = self.witnesses.len() / 2 + 1;
        self.witness_quorum.unwrap_or(majority)
    }
}

/// Reads a configuration file of any of our processes, unchecked.
pub(crate) fn read_file<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ConfigFault> {
    let name = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| ConfigFault::Unreadable {
        path: name(),
        source,
    })?;
    toml::from_str(&text).map_err(|source| ConfigFault::Malformed {
        path: name(),
        source: Box::new(source),
    })
}

fn bad(field: String, why: &'static str) -> ConfigFault {
    ConfigFault::BadValue { field, why }
}

fn default_btp_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7768))
}

fn default_admin_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7769))
}

fn default_poll_ms() -> u64 {
    10_000
}
