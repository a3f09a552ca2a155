//! What a `forebay connect` process needs to start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use forebay_api::Units;
use forebay_channel::{Address, ChannelPolicy};
use forebay_quantity::{Amount, Milliseconds};
use serde::{Deserialize, Serialize};

use super::core::Policy;
use crate::config::{ConfigFault, read_file};
use crate::tower::Tower;

/// The configuration file of a peer's own side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where its journal lives; one process owns it.
    pub data_directory: PathBuf,
    /// The key file, made by `forebay connect init`: it signs vouchers, deposits, and is paid.
    pub keys_file: PathBuf,
    /// The pool.
    pub pool: Pool,
    /// The peer's own software.
    pub software: Software,
    /// The chain with the pool's vault, through a node that the peer trusts itself.
    pub chain: Chain,
    /// Watchtowers that the pool's best voucher is handed to.
    #[serde(default)]
    pub watchtowers: Vec<Tower>,
    /// What the peer risks and pays.
    #[serde(default)]
    pub limits: Limits,
}

/// How the pool is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// `ws://` or `wss://`.
    pub url: String,
    /// The account's name, if the pool wants one.
    #[serde(default)]
    pub username: Option<String>,
    /// The account's token.
    pub token: String,
}

/// Where the peer's own software connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Software {
    /// Address to listen on; keep it on this machine.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// The token it must show.
    pub token: String,
}

/// The chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// EVM chain id.
    pub chain_id: u64,
    /// JSON-RPC over HTTP of one own node, or of three of which two must agree.
    pub rpc_urls: Vec<String>,
    /// The vault that this peer has looked at and agreed to.
    pub vault: String,
    /// Decimal places of packet amounts, as agreed with the pool.
    pub asset_scale: u8,
    /// The first block that can hold anything of the vault.
    #[serde(default)]
    pub from_block: u64,
}

/// What the peer risks and pays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// What the pool may owe unsecured, in packet units.
    pub credit_to_pool: Units,
    /// How far ahead of its packets the peer pays, in packet units.
    pub prepay: Units,
    /// What is deposited once the channel is open, in the chain's base units.
    pub deposit: Units,
    /// The pool's vouchers are redeemed once they are worth this much, in the chain's base units.
    pub redeem_threshold: Units,
    /// The least worth a transaction, in the chain's base units.
    pub claim_min: Units,
    /// Notices are answered this long before their deadline, in milliseconds.
    pub answer_margin_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            credit_to_pool: Units(Amount::ZERO),
            prepay: Units(Amount::ZERO),
            deposit: Units(Amount::ZERO),
            redeem_threshold: Units(Amount::MAX),
            claim_min: Units(Amount::new(1)),
            answer_margin_ms: 6 * 3_600_000,
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
        let bad = |field: &str, why| {
            Err(ConfigFault::BadValue {
                field: field.into(),
                why,
            })
        };
        if !self.pool.url.starts_with("ws://") && !self.pool.url.starts_with("wss://") {
            return bad("pool.url", "use a ws:// or wss:// URL");
        }
        if !self.software.listen.ip().is_loopback() {
            return bad(
                "software.listen",
                "the peer's software connects on this machine only: use 127.0.0.1",
            );
        }
        if self.chain.rpc_urls.is_empty() {
            return bad("chain.rpc_urls", "name at least one JSON-RPC URL");
        }
        if self.chain.vault.parse::<Address>().is_err() {
            return bad(
                "chain.vault",
                "write the vault's address as 40 hexadecimal digits after 0x",
            );
        }
        if !self.limits.deposit.0.is_zero() && self.limits.prepay.0.is_zero() {
            return bad(
                "limits.prepay",
                "a peer with a deposit pays ahead: name a sum above zero",
            );
        }
        Ok(())
    }

    /// What the core goes by, for the key's address and the decimal places of the vault's token.
    #[must_use]
    pub fn policy(&self, signer: Address, chain_scale: u8) -> Policy {
        let Limits {
            credit_to_pool,
            prepay,
            deposit,
            redeem_threshold,
            claim_min,
            answer_margin_ms,
        } = self.limits.clone();
        Policy {
            signer,
            payout: signer,
            chain_id: self.chain.chain_id,
            vault: self.chain.vault.parse().unwrap_or(Address::ZERO),
            asset_scale: self.chain.asset_scale,
            chain_scale,
            credit_to_pool: credit_to_pool.0,
            prepay: prepay.0,
            deposit: deposit.0,
            channel: ChannelPolicy {
                redeem_threshold: redeem_threshold.0,
                claim_min: claim_min.0,
                answer_margin: Milliseconds(answer_margin_ms),
            },
        }
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7770))
}
