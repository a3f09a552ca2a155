//! What a `forebay connect` process needs to start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use forebay_api::Units;
use forebay_chain_bitcoin::Network;
use forebay_chain_bitcoin::lnd::LndSettings;
use forebay_channel::{Address, ChannelPolicy, NodeId};
use forebay_pool::MILLISATOSHI_SCALE;
use forebay_quantity::{Amount, Milliseconds};
use serde::{Deserialize, Serialize};

use super::core::{Policy, Rail, VaultRail};
use crate::config::{ConfigFault, read_file};
use crate::lightning::{BitcoinConfig, network};
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
    /// Of an account that settles by vouchers: the chain with the pool's vault, through a node that the peer trusts itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Chain>,
    /// Of an account that settles over Lightning: with whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lightning: Option<LightningConfig>,
    /// Of an account that settles over Lightning: the bitcoind under the node inside this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitcoin: Option<BitcoinConfig>,
    /// In its place: a Lightning node that the peer runs anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lnd: Option<LndConfig>,
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

/// With whom an account settles over Lightning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LightningConfig {
    /// The account's ILP address at the pool.
    pub account: String,
    /// The pool's Lightning node, as id@host:port.
    pub pool_node: String,
    /// Decimal places of packet amounts, as agreed with the pool; at most 11, those of a millisatoshi.
    pub asset_scale: u8,
    /// The value of the channel that is opened to the pool's node, in satoshi; 0 to open none.
    #[serde(default)]
    pub channel_sat: u64,
}

impl LightningConfig {
    /// The pool's node, and where it listens.
    ///
    /// # Errors
    /// [`ConfigFault::BadValue`].
    pub(super) fn pool(&self) -> Result<(NodeId, &str), ConfigFault> {
        let (id, host) = self.pool_node.split_once('@').unwrap_or_default();
        let mut bytes = [0; 33];
        let is_id = hex::decode_to_slice(id, &mut bytes).is_ok() && matches!(bytes[0], 2 | 3);
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
        if !is_id || !has_port {
            return Err(bad(
                "lightning.pool_node",
                "write it as the pool's operator gave it: 66 hexadecimal digits, @, host:port",
            ));
        }
        Ok((NodeId(bytes), host))
    }
}

/// A Lightning node that the peer runs anyway: LND, or one that speaks its REST interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LndConfig {
    /// Its REST interface. A certificate that it made itself is named by the environment variable `SSL_CERT_FILE`.
    pub url: String,
    /// The file with a macaroon that lets us make and look at invoices, pay, sign messages, connect peers and see channels;
    /// left out where the node wants none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macaroon_file: Option<PathBuf>,
    /// `bitcoin`, `testnet4`, `signet` or `regtest`.
    pub network: String,
}

impl LndConfig {
    /// # Errors
    /// [`ConfigFault::BadValue`].
    pub(super) fn settings(&self) -> Result<LndSettings, ConfigFault> {
        Ok(LndSettings {
            url: self.url.clone(),
            macaroon_file: self.macaroon_file.clone(),
            network: network("lnd.network", &self.network)?,
        })
    }

    fn check(&self) -> Result<(), ConfigFault> {
        let is_near = self.url.starts_with("http://127.0.0.1:")
            || self.url.starts_with("http://localhost:")
            || self.url.starts_with("http://[::1]:");
        if !self.url.starts_with("https://") && !is_near {
            return Err(bad(
                "lnd.url",
                "use an https:// URL, or http:// on this machine: whoever reads the macaroon can pay with it",
            ));
        }
        self.settings().map(drop)
    }
}

/// How the account is settled, as configured.
pub(super) enum Settling<'a> {
    /// By vouchers.
    Vault(&'a Chain),
    /// By Lightning payments.
    Lightning(NodeConfig<'a>, &'a LightningConfig),
}

/// Through which node.
pub(super) enum NodeConfig<'a> {
    /// The one inside this process.
    Own(&'a BitcoinConfig),
    /// One that runs anyway.
    External(&'a LndConfig),
}

impl NodeConfig<'_> {
    /// # Errors
    /// [`ConfigFault::BadValue`].
    pub(super) fn network(&self) -> Result<Network, ConfigFault> {
        match self {
            Self::Own(bitcoin) => bitcoin.network(),
            Self::External(lnd) => Ok(lnd.settings()?.network),
        }
    }
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
        if let Some(bitcoin) = &mut config.bitcoin {
            bitcoin.within(folder);
        }
        let lnd = config.lnd.as_mut();
        if let Some(macaroon) = lnd.and_then(|lnd| lnd.macaroon_file.as_mut()) {
            *macaroon = folder.join(&*macaroon);
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigFault> {
        if !self.pool.url.starts_with("ws://") && !self.pool.url.starts_with("wss://") {
            return Err(bad("pool.url", "use a ws:// or wss:// URL"));
        }
        if !self.software.listen.ip().is_loopback() {
            return Err(bad(
                "software.listen",
                "the peer's software connects on this machine only: use 127.0.0.1",
            ));
        }
        match self.settling()? {
            Settling::Vault(chain) => self.check_chain(chain),
            Settling::Lightning(node, lightning) => self.check_lightning(&node, lightning),
        }
    }

    /// How the account is settled: exactly one way.
    ///
    /// # Errors
    /// [`ConfigFault::BadValue`].
    pub(super) fn settling(&self) -> Result<Settling<'_>, ConfigFault> {
        let on = match (&self.bitcoin, &self.lnd) {
            (Some(bitcoin), None) => Some(NodeConfig::Own(bitcoin)),
            (None, Some(lnd)) => Some(NodeConfig::External(lnd)),
            (None, None) | (Some(_), Some(_)) => None,
        };
        let has_node = self.bitcoin.is_some() || self.lnd.is_some();
        match (&self.chain, &self.lightning, on) {
            (Some(chain), None, _) if !has_node => Ok(Settling::Vault(chain)),
            (None, Some(lightning), Some(on)) => Ok(Settling::Lightning(on, lightning)),
            _ => Err(bad(
                "chain",
                "write [chain] for an account that settles by vouchers; for one that settles over Lightning write \
                 [lightning], and [bitcoin] for a node inside `connect` or [lnd] for one that runs anyway",
            )),
        }
    }

    fn check_chain(&self, chain: &Chain) -> Result<(), ConfigFault> {
        if chain.rpc_urls.is_empty() {
            return Err(bad("chain.rpc_urls", "name at least one JSON-RPC URL"));
        }
        if chain.vault.parse::<Address>().is_err() {
            return Err(bad(
                "chain.vault",
                "write the vault's address as 40 hexadecimal digits after 0x",
            ));
        }
        if !self.limits.deposit.0.is_zero() && self.limits.prepay.0.is_zero() {
            return Err(bad(
                "limits.prepay",
                "a peer with a deposit pays ahead: name a sum above zero",
            ));
        }
        Ok(())
    }

    fn check_lightning(
        &self,
        node: &NodeConfig<'_>,
        lightning: &LightningConfig,
    ) -> Result<(), ConfigFault> {
        match node {
            NodeConfig::Own(bitcoin) => bitcoin.check()?,
            NodeConfig::External(lnd) => lnd.check()?,
        }
        if lightning.channel_sat > 0 && matches!(node, NodeConfig::External(_)) {
            return Err(bad(
                "lightning.channel_sat",
                "a node that runs anyway opens its channels itself: leave it out, and open one to the pool's node there",
            ));
        }
        lightning.pool()?;
        if lightning.asset_scale > MILLISATOSHI_SCALE {
            return Err(bad(
                "lightning.asset_scale",
                "a millisatoshi has 11 decimal places: use at most that",
            ));
        }
        if forebay_ilp::Address::parse(lightning.account.as_bytes()).is_err() {
            return Err(bad(
                "lightning.account",
                "write the ILP address that the pool's operator gave the account",
            ));
        }
        if !self.limits.deposit.0.is_zero() {
            return Err(bad(
                "limits.deposit",
                "an account that settles over Lightning deposits nothing: lightning.channel_sat is what its channel holds",
            ));
        }
        if lightning.channel_sat > 0 && self.limits.prepay.0.is_zero() {
            return Err(bad(
                "limits.prepay",
                "a peer with a channel pays ahead: name a sum above zero",
            ));
        }
        Ok(())
    }

    /// What the core goes by.
    pub(super) fn policy(&self, rail: Rail, asset_scale: u8) -> Policy {
        Policy {
            rail,
            asset_scale,
            credit_to_pool: self.limits.credit_to_pool.0,
            prepay: self.limits.prepay.0,
        }
    }

    /// What the core goes by on a vault's channel, for the key's address and the decimal places of the vault's token.
    pub(super) fn vault_rail(&self, chain: &Chain, signer: Address, chain_scale: u8) -> Rail {
        Rail::Vault(VaultRail {
            signer,
            payout: signer,
            chain_id: chain.chain_id,
            vault: chain.vault.parse().unwrap_or(Address::ZERO),
            chain_scale,
            deposit: self.limits.deposit.0,
            channel: ChannelPolicy {
                redeem_threshold: self.limits.redeem_threshold.0,
                claim_min: self.limits.claim_min.0,
                answer_margin: Milliseconds(self.limits.answer_margin_ms),
            },
        })
    }
}

fn bad(field: &str, why: &'static str) -> ConfigFault {
    ConfigFault::BadValue {
        field: field.into(),
        why,
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7770))
}
