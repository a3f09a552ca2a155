//! `forebay init`: keys, configuration, data directory, and the first event of the journal.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use forebay_channel::Address;
use forebay_journal::{Journal, LocalDisk, Options};
use forebay_node::{BitcoinConfig, ChainConfig, Config, Limits, PriceSource};
use forebay_pool::{Admin, Command, Genesis, Sequencer, State};
use forebay_quantity::{ChannelSerial, CommandId, Timestamp};

use crate::keys::{self, Passphrase};

/// Founds a pool in a new folder.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The folder to make; it gets forebay.toml, key.json and data/.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The pool's ILP address, e.g. g.forebay or test.pool; peers live under it.
    #[arg(long)]
    operator: String,
    /// Where connectors reach the pool by BTP.
    #[arg(long, default_value = "127.0.0.1:7768")]
    btp_listen: SocketAddr,
    /// Where the operator's commands reach it, on this machine.
    #[arg(long, default_value = "127.0.0.1:7769")]
    admin_listen: SocketAddr,
    /// A chain's JSON-RPC, e.g. 1=http://127.0.0.1:8545; once for each node.
    #[arg(long = "chain", value_name = "ID=URL")]
    chains: Vec<String>,
    /// The first block that can hold anything of the vaults.
    #[arg(long, default_value_t = 0)]
    from_block: u64,
    /// A bitcoind's JSON-RPC, e.g. regtest=http://127.0.0.1:18443; the network is bitcoin, testnet4, signet or regtest.
    #[arg(long, value_name = "NETWORK=URL", requires = "bitcoin_cookie")]
    bitcoin: Option<String>,
    /// The file .cookie in that bitcoind's data folder.
    #[arg(long, value_name = "FILE")]
    bitcoin_cookie: Option<PathBuf>,
    /// The API of an Esplora server in place of a bitcoind, e.g. bitcoin=https://esplora.example/api.
    #[arg(long, value_name = "NETWORK=URL", conflicts_with_all = ["bitcoin", "bitcoin_cookie"])]
    bitcoin_esplora: Option<String>,
    /// Where the Lightning node listens.
    #[arg(long, default_value = "127.0.0.1:9735")]
    lightning_listen: SocketAddr,
    /// A price source, e.g. ETH=https://api.example/eth#/data/price; at least three for each asset.
    #[arg(long = "price", value_name = "CODE=URL#POINTER")]
    prices: Vec<String>,
    /// How often prices are fetched, in milliseconds.
    #[arg(long, default_value_t = 10_000)]
    price_poll_ms: u64,
    /// An outgoing packet expires this much earlier than the incoming one, in milliseconds.
    #[arg(long, default_value_t = 1_000)]
    expiry_margin_ms: u64,
    /// No packet is held longer, in milliseconds.
    #[arg(long, default_value_t = 30_000)]
    hold_max_ms: u64,
}

impl Init {
    pub(crate) fn run(self, passphrase: &Passphrase) -> Result<()> {
        let folder = &self.folder;
        ensure!(
            !folder.join("forebay.toml").exists(),
            "{} holds a pool already",
            folder.display()
        );
        let config = self.config()?;
        config.check()?;
        std::fs::create_dir_all(folder.join("data"))
            .with_context(|| format!("{} cannot be made", folder.display()))?;
        let key = keys::create(&folder.join("key.json"), passphrase)?;
        found(folder, &config.limits, self.genesis(key.address())?)?;
        // Last, so that a folder with a configuration is a whole one.
        keys::write_private(
            &folder.join("forebay.toml"),
            toml::to_string_pretty(&config)?.as_bytes(),
        )?;
        println!(
            "The pool {} is founded in {}.",
            self.operator,
            folder.display()
        );
        println!(
            "Its key's address is {}: it needs money for gas on every chain.",
            key.address()
        );
        println!(
            "Next: deploy a vault (forebay vault deploy), start the pool (forebay run), list the asset (forebay assets add)."
        );
        Ok(())
    }

    fn config(&self) -> Result<Config> {
        let mut chains: BTreeMap<String, ChainConfig> = BTreeMap::new();
        for text in &self.chains {
            let (id, url) = text
                .split_once('=')
                .with_context(|| format!("--chain {text}: write ID=URL"))?;
            let from_block = self.from_block;
            let chain = chains.entry(id.into()).or_insert_with(|| ChainConfig {
                rpc_urls: Vec::new(),
                from_block,
            });
            chain.rpc_urls.push(url.into());
        }
        let mut prices: BTreeMap<String, Vec<PriceSource>> = BTreeMap::new();
        for text in &self.prices {
            let (code, source) = text
                .split_once('=')
                .with_context(|| format!("--price {text}: write CODE=URL#POINTER"))?;
            let (url, pointer) = source.split_once('#').unwrap_or((source, ""));
            let source = PriceSource {
                url: url.into(),
                pointer: pointer.into(),
                poll_ms: self.price_poll_ms,
            };
            prices.entry(code.into()).or_default().push(source);
        }
        Ok(Config {
            data_directory: "data".into(),
            btp_listen: self.btp_listen,
            admin_listen: self.admin_listen,
            keys_file: "key.json".into(),
            chains,
            bitcoin: self.bitcoin()?,
            prices,
            uplinks: Vec::new(),
            http_listen: None,
            http_url: None,
            http_uplinks: Vec::new(),
            watchtowers: Vec::new(),
            witnesses: Vec::new(),
            witness_quorum: None,
            limits: Limits::default(),
        })
    }

    fn bitcoin(&self) -> Result<Option<BitcoinConfig>> {
        let source = match (&self.bitcoin, &self.bitcoin_esplora) {
            (Some(text), _) => {
                let (network, url) = network_and_url("--bitcoin", text)?;
                BitcoinConfig::new(network, url)
            }
            (None, Some(text)) => {
                let (network, url) = network_and_url("--bitcoin-esplora", text)?;
                BitcoinConfig::on_esplora(network, url)
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(BitcoinConfig {
            cookie_file: self.bitcoin_cookie.clone(),
            lightning_listen: Some(self.lightning_listen),
            ..source
        }))
    }

    fn genesis(&self, pool_signer: Address) -> Result<Genesis> {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the clock stands before 1970")?;
        Ok(Genesis {
            operator: self.operator.clone(),
            pool_signer,
            expiry_margin_ms: self.expiry_margin_ms,
            hold_max_ms: self.hold_max_ms,
            forward_min_ms: 500,
            // Milliseconds, so that a pool founded anew by the same operator never meets a serial of the old one.
            first_serial: ChannelSerial(u64::try_from(since_epoch.as_millis())?),
        })
    }
}

fn network_and_url<'a>(option: &str, text: &'a str) -> Result<(&'a str, &'a str)> {
    let pair = text.split_once('=');
    pair.with_context(|| format!("{option} {text}: write NETWORK=URL"))
}

fn found(folder: &Path, limits: &Limits, genesis: Genesis) -> Result<()> {
    let storage = LocalDisk::open(folder.join("data").join("journal"))?;
    let options = Options {
        segment_bytes: limits.segment_bytes,
        ..Options::new([0; 32])
    };
    let (mut journal, _) = Journal::open(Arc::new(storage), options)?;
    let mut sequencer = Sequencer::new(State::default());
    let now = Timestamp(genesis.first_serial.0);
    let found = Command::Admin(CommandId(keys::random()?), Admin::Found(genesis));
    sequencer
        .apply(now, &found)
        .map_err(|rejection| anyhow!("{rejection}"))?;
    if let Some(payload) = sequencer.batch() {
        journal.append(payload)?;
    }
    journal.close()?;
    Ok(())
}
