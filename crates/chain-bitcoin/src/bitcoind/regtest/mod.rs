//! A local bitcoind on a chain of its own, for tests and the demonstration. Nothing else in this crate knows of it.

mod miner;

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bitcoin::{Address, Amount, BlockHash, Network, Transaction, Txid};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{Bitcoind, BitcoindSettings, Credentials, HealthLimits};
use crate::Fault;
use miner::Miner;

/// How a bitcoind is started.
#[derive(Clone, Debug)]
pub struct RegtestSettings {
    /// The binary.
    pub binary: PathBuf,
    /// Its data folder, made when it is not there; a second start in it goes on with its chain.
    pub folder: PathBuf,
    /// Added to its command line, such as `-txindex=1`.
    pub arguments: Vec<String>,
}

impl RegtestSettings {
    /// The one that `FOREBAY_BITCOIND` names, else the one that `cargo xtask bitcoind` links to below the repository's root.
    #[must_use]
    pub fn binary_in(root: &Path) -> PathBuf {
        std::env::var_os("FOREBAY_BITCOIND")
            .map_or_else(|| root.join("tools/bitcoin/bitcoind"), PathBuf::from)
    }

    /// In that folder, without further arguments.
    #[must_use]
    pub fn new(binary: PathBuf, folder: PathBuf) -> Self {
        Self {
            binary,
            folder,
            arguments: Vec::new(),
        }
    }
}

/// A running bitcoind on regtest, on a port of its own choosing; ended when dropped.
pub struct Regtest {
    child: Child,
    settings: RegtestSettings,
    port: u16,
    client: Bitcoind,
    miner: Mutex<Miner>,
    burnt: AtomicU32,
    kept: bool,
}

/// The longest a start may take on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);
/// A port can be taken between our look at it and bitcoind's.
const TRIES_MAX: usize = 5;
/// How long it may take to put its chain on disk.
const STOP_MAX: Duration = Duration::from_secs(30);
const USER: &str = "forebay";
const PASSWORD: &str = "regtest";

impl Regtest {
    /// Starts one and waits until it answers. A fresh chain has no block but the first, and no coins: see [`Self::mine`].
    ///
    /// # Errors
    /// When the binary is missing (says how to get it), ends, or does not answer in time.
    pub async fn start(settings: RegtestSettings) -> io::Result<Self> {
        let (child, port, client) = launch(&settings, None).await?;
        Ok(Self {
            child,
            settings,
            port,
            client,
            miner: Mutex::new(Miner::new()),
            burnt: AtomicU32::new(0),
            kept: false,
        })
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> &Bitcoind {
        &self.client
    }

    /// What makes another client of it.
    #[must_use]
    pub fn client_settings(&self) -> BitcoindSettings {
        client_settings(self.port)
    }

    /// The port of its RPC on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Makes blocks, paid to a miner that [`Self::pay`] spends from; what they pay can be spent 100 blocks later.
    ///
    /// # Errors
    /// As [`Bitcoind::call`].
    pub async fn mine(&self, blocks: u32) -> Result<Vec<BlockHash>, Fault> {
        let address = self.miner.lock().await.address();
        self.mine_to(&address, blocks).await
    }

    /// Makes blocks, paid to this address.
    ///
    /// # Errors
    /// As [`Bitcoind::call`].
    pub async fn mine_to(&self, address: &Address, blocks: u32) -> Result<Vec<BlockHash>, Fault> {
        /// More in one call may take longer than an answer may.
        const AT_ONCE_MAX: u32 = 500;
        let mut hashes = Vec::new();
        let mut left = blocks;
        while left > 0 {
            let now = left.min(AT_ONCE_MAX);
            let made: Vec<BlockHash> = self
                .client
                .call(
                    "generatetoaddress",
                    &[json!(now), json!(address.to_string())],
                )
                .await?;
            hashes.extend(made);
            left -= now;
        }
        Ok(hashes)
    }

    /// Makes one block of just these transactions, in this order, whether or not they are in the mempool.
    ///
    /// # Errors
    /// As [`Bitcoind::call`]; also when the block would not be valid.
    pub async fn mine_only(&self, transactions: &[Transaction]) -> Result<BlockHash, Fault> {
        let texts: Vec<_> = transactions
            .iter()
            .map(bitcoin::consensus::encode::serialize_hex)
            .collect();
        // Its reward is burnt under a number, since a block just like one that was taken out is refused.
        let number = self.burnt.fetch_add(1, Ordering::Relaxed);
        let output = format!("raw(6a04{number:08x})");
        let made: Value = self
            .client
            .call("generateblock", &[json!(output), json!(texts)])
            .await?;
        serde_json::from_value(made["hash"].clone()).map_err(|error| Fault::Nonsense {
            method: "generateblock",
            what: error.to_string(),
        })
    }

    /// Pays from what was mined and hands the transaction in; mines when there is too little to spend yet.
    ///
    /// # Errors
    /// As [`Bitcoind::call`].
    pub async fn pay(&self, address: &Address, amount: Amount) -> Result<Txid, Fault> {
        let mut miner = self.miner.lock().await;
        if !miner.can_pay(amount) {
            self.mine_to(&miner.address(), miner::MATURITY + 1).await?;
            miner.look(&self.client).await?;
        }
        let transaction = miner.pay(address, amount)?;
        self.client.broadcast(&transaction).await
    }

    /// Takes this block and all above it out of the chain, as a reorg does; what they held goes back to the mempool.
    /// The first block in their place is best made by [`Self::mine_only`]: one just like a block taken out is refused.
    ///
    /// # Errors
    /// As [`Bitcoind::call`].
    pub async fn invalidate(&self, block: BlockHash) -> Result<(), Fault> {
        self.client.call("invalidateblock", &[json!(block)]).await
    }

    /// Takes back [`Self::invalidate`].
    ///
    /// # Errors
    /// As [`Bitcoind::call`].
    pub async fn reconsider(&self, block: BlockHash) -> Result<(), Fault> {
        self.client.call("reconsiderblock", &[json!(block)]).await
    }

    /// Sets the time that its next blocks are stamped with, and by which it judges their age; Unix seconds, 0 for the clock's.
    ///
    /// # Errors
    /// As [`Bitcoind::call`].
    pub async fn set_time(&self, unix_s: u64) -> Result<(), Fault> {
        self.client.call("setmocktime", &[json!(unix_s)]).await
    }

    /// Ends it in order, so that its chain and its mempool are on disk.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn stop(&mut self) -> io::Result<()> {
        let asked = self.client.call::<Value>("stop", &[]).await;
        asked.map_err(io::Error::other)?;
        let started = Instant::now();
        while self.child.try_wait()?.is_none() {
            if started.elapsed() > STOP_MAX {
                return Err(io::Error::other("bitcoind does not stop"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Starts it again in its folder and on its port, so that its clients find it.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_again(&mut self) -> io::Result<()> {
        end(&mut self.child);
        (self.child, self.port, self.client) = launch(&self.settings, Some(self.port)).await?;
        Ok(())
    }

    /// Lets it run on after this program.
    #[must_use]
    pub fn keep(mut self) -> u32 {
        self.kept = true;
        self.id()
    }
}

impl Drop for Regtest {
    fn drop(&mut self) {
        if !self.kept {
            end(&mut self.child);
        }
    }
}

async fn launch(
    settings: &RegtestSettings,
    port: Option<u16>,
) -> io::Result<(Child, u16, Bitcoind)> {
    if !settings.binary.is_file() {
        let message = format!(
            "there is no bitcoind at {}; run `cargo xtask bitcoind`",
            settings.binary.display()
        );
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    std::fs::create_dir_all(&settings.folder)?;
    for _ in 0..TRIES_MAX {
        let port = port.map_or_else(free_port, Ok)?;
        let mut child = command(settings, port)?.spawn()?;
        let client = Bitcoind::new(client_settings(port)).map_err(io::Error::other)?;
        if answers(&client, &mut child, &settings.folder).await? {
            return Ok((child, port, client));
        }
    }
    let log = settings.folder.join("output.log");
    let said = std::fs::read_to_string(log).unwrap_or_default();
    Err(io::Error::other(format!("bitcoind does not start: {said}")))
}

/// False when it ended by itself.
async fn answers(client: &Bitcoind, child: &mut Child, folder: &Path) -> io::Result<bool> {
    let started = Instant::now();
    while started.elapsed() < START_MAX {
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        if is_in(client, folder).await {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    end(child);
    Err(io::Error::other("bitcoind does not answer"))
}

/// Whether the one that answers is the one of this folder: another may have taken the port, with the same password.
async fn is_in(client: &Bitcoind, folder: &Path) -> bool {
    let Ok(info) = client.call::<Value>("getrpcinfo", &[]).await else {
        return false;
    };
    let log = info["logpath"].as_str().map(Path::new);
    match (log.map(Path::canonicalize), folder.canonicalize()) {
        (Some(Ok(log)), Ok(folder)) => log.starts_with(folder),
        _ => false,
    }
}

fn command(settings: &RegtestSettings, port: u16) -> io::Result<Command> {
    let output = File::create(settings.folder.join("output.log"))?;
    let mut command = Command::new(&settings.binary);
    command
        .arg("-regtest")
        .arg(format!("-datadir={}", settings.folder.display()))
        .arg(format!("-rpcport={port}"))
        .arg(format!("-rpcuser={USER}"))
        .arg(format!("-rpcpassword={PASSWORD}"))
        .args([
            "-server",
            "-rest",
            "-rpcbind=127.0.0.1",
            "-rpcallowip=127.0.0.1",
        ])
        .args([
            "-listen=0",
            "-listenonion=0",
            "-dnsseed=0",
            "-discover=0",
            "-fixedseeds=0",
        ])
        // Its caches are small, since it lives for a test; and it does not check its whole index at each block, as it does
        // on regtest, which makes thousands of blocks take minutes.
        .args([
            "-dbcache=16",
            "-persistmempool=1",
            "-printtoconsole=0",
            "-checkblockindex=0",
            "-checkmempool=0",
        ])
        .args(&settings.arguments)
        .stdin(Stdio::null())
        .stderr(output.try_clone()?)
        .stdout(output);
    Ok(command)
}

/// A chain made for a test stands still between its steps, so no age of its tip is too great.
fn client_settings(port: u16) -> BitcoindSettings {
    let credentials = Credentials::User {
        name: USER.to_owned(),
        password: PASSWORD.to_owned(),
    };
    let url = format!("http://127.0.0.1:{port}");
    let mut settings = BitcoindSettings::new(url, credentials, Network::Regtest);
    settings.limits = HealthLimits {
        tip_age_max: Duration::MAX,
        ..HealthLimits::default()
    };
    settings
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn end(child: &mut Child) {
    // Both fail only when the process has ended already.
    let _ended = child.kill();
    let _reaped = child.wait();
}
