//! The Lightning node that peer c runs anyway: an `ldk-node` in a process of its own, set up as its owner would.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bitcoin::base64::Engine;
use bitcoin::base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::processes::Process;
use super::regtest::Bitcoin;
use super::world::{WAIT, free_port, text};

/// The program beside this one.
const PROGRAM: &str = "forebay-lightning-peer";

/// The node.
pub(super) struct LightningPeer {
    pub(super) process: Process,
    /// LND's REST interface.
    pub(super) url: String,
    macaroon: PathBuf,
    http: reqwest::Client,
}

/// Its own numbers.
#[derive(Debug, Deserialize)]
pub(super) struct Counted {
    pub(super) wallet_sat: u64,
    pub(super) channels: Vec<CountedChannel>,
    pub(super) received_msat: u64,
    pub(super) sent_msat: u64,
    pub(super) fees_msat: u64,
    pub(super) under_way: u64,
}

/// A channel as the node sees it.
#[derive(Debug, Deserialize)]
pub(super) struct CountedChannel {
    pub(super) funding: String,
    pub(super) value_sat: u64,
    pub(super) ours_msat: u64,
    pub(super) is_ours: bool,
    pub(super) is_usable: bool,
}

impl LightningPeer {
    pub(super) fn start(folder: &Path, bitcoin: &Bitcoin) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name(PROGRAM);
        ensure!(
            program.is_file(),
            "{} is not there: start the demonstration by `cargo xtask demo`, which builds it",
            program.display()
        );
        let place = folder.join("lightning-peer");
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut command = Command::new(program);
        command.arg("--folder").arg(&place);
        command.args(["--bitcoind", bitcoin.address()]);
        command.args(["--bitcoind-cookie", &bitcoin.cookie()]);
        command.args(["--listen", &listen.to_string()]);
        let mut process = Process::start("lightning-peer", command, folder)?;
        let said = process.line(WAIT)?;
        Ok(Self {
            process,
            url: text(&said, "rest")?,
            macaroon: text(&said, "macaroon")?.into(),
            http: reqwest::Client::new(),
        })
    }

    pub(super) fn macaroon(&self) -> String {
        self.macaroon.display().to_string()
    }

    /// What it counts.
    pub(super) fn counted(&mut self) -> Result<Counted> {
        Ok(serde_json::from_value(self.process.ask()?)?)
    }

    pub(super) async fn new_address(&self) -> Result<String> {
        text(&self.ask("/v1/newaddress", None).await?, "address")
    }

    /// Waits until its wallet has seen so much.
    pub(super) async fn has_coins(&self, sat: u64) -> Result<()> {
        let until = Instant::now() + WAIT;
        loop {
            let balance = self.ask("/v1/balance/blockchain", None).await?;
            if text(&balance, "confirmed_balance")?.parse::<u64>()? >= sat {
                return Ok(());
            }
            ensure!(Instant::now() < until, "peer c's wallet does not get on");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Opens a channel to a node, as id@host:port.
    pub(super) async fn open_channel(&self, to: &str, sat: u64) -> Result<()> {
        let (id, host) = to.split_once('@').context("a node and its address")?;
        let at = json!({ "addr": { "pubkey": id, "host": host }, "perm": true });
        // `forebay connect` may have asked for the same by now.
        if let Err(error) = self.ask("/v1/peers", Some(at)).await {
            ensure!(
                format!("{error:#}").contains("already connected"),
                "{error:#}"
            );
        }
        let key = STANDARD.encode(hex::decode(id).map_err(|error| anyhow!("{id}: {error}"))?);
        let opened = json!({ "node_pubkey": key, "local_funding_amount": sat.to_string() });
        self.ask("/v1/channels", Some(opened)).await.map(drop)
    }

    async fn ask(&self, path: &str, body: Option<Value>) -> Result<Value> {
        let url = format!("{}{path}", self.url);
        let request = match &body {
            Some(body) => self.http.post(url).body(body.to_string()),
            None => self.http.get(url),
        };
        let macaroon = hex::encode(std::fs::read(&self.macaroon)?);
        let request = request.header("Grpc-Metadata-macaroon", macaroon);
        let answer = request.send().await.context("peer c's Lightning node")?;
        let is_success = answer.status().is_success();
        let said = answer.text().await?;
        ensure!(is_success, "peer c's Lightning node refused {path}: {said}");
        Ok(serde_json::from_str(&said)?)
    }
}
