//! A bitcoind on regtest, a pool, and a peer's own side, with a Lightning channel each way.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Amount as Coins, Network};
use forebay_api::{
    AddBitcoin, AddPeer, Address as ApiAddress, Asset, AssetPolicy, BITCOIN, BITCOIN_ADDRESSES,
    Bitcoin, NewAddress, PEERS, Peer, PeerPolicy, Relation, STATUS, Status, Units,
};
use forebay_chain_bitcoin::bitcoind::Credentials;
use forebay_chain_bitcoin::bitcoind::regtest::{Regtest, RegtestSettings};
use forebay_node::connect::{Config as PeerConfig, STATUS_FILE, View};
use forebay_quantity::Amount;

use crate::client::Client;
use crate::demo::processes::{Process, answer, forebay};
use crate::keys::Passphrase;

/// One packet, in millisatoshi.
pub(super) const PACKET_MSAT: u64 = 100_000;
/// The account that settles over Lightning, and the one on credit whose packets go to it and come from it.
pub(super) const PEER: &str = "peer";
/// Its token too.
pub(super) const USER: &str = "user";
pub(super) const SOFTWARE_TOKEN: &str = "software";

/// What the operator, and the peer, bring, in two coins each: while one funds a channel the other is the reserve.
const COINS_SAT: u64 = 5_000_000;
/// The channel that the peer opens.
const CHANNEL_SAT: u64 = 2_000_000;
/// The channel that the pool opens.
const ALLOTMENT_MSAT: u128 = 2_000_000_000;
/// Each settlement of the pool is of this many packets, each of the peer's of as many.
const SETTLED_PACKETS: u64 = 15;
const PLENTY_MSAT: u128 = 1_000_000_000_000;
/// Blocks that make a deposit and a channel count.
const BLOCKS: u32 = 6;
pub(super) const WAIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
/// Shorter than any settlement.
const GLANCE: Duration = Duration::from_millis(5);
/// While channels wait for blocks.
const BLOCK_EVERY: Duration = Duration::from_millis(400);

/// Everything that runs, clients first.
pub(super) struct World {
    _peer: Process,
    pool: Process,
    pub(super) regtest: Regtest,
    folder: PathBuf,
    passphrase: String,
    pool_address: SocketAddr,
    software_address: SocketAddr,
}

impl World {
    /// Starts all of it; when this returns, both may pay and be paid.
    pub(super) async fn start(folder: &Path) -> Result<Self> {
        let passphrase = hex::encode(crate::keys::random::<16>()?);
        crate::keys::write_private(&folder.join("passphrase"), passphrase.as_bytes())?;
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let binary = RegtestSettings::binary_in(&repository);
        let regtest = Regtest::start(RegtestSettings::new(binary, folder.join("bitcoind"))).await?;
        regtest.mine(101).await?;
        let Credentials::User { name, password } = regtest.client_settings().credentials else {
            bail!("a regtest bitcoind is started with a user");
        };
        let cookie = folder.join("cookie").display().to_string();
        crate::keys::write_private(Path::new(&cookie), format!("{name}:{password}").as_bytes())?;
        let url = regtest.client_settings().url;
        let pool_address = free_address()?;
        found_pool(folder, &passphrase, &url, &cookie, pool_address)?;
        let pool = start_pool(folder, &passphrase)?;
        let client = reach(folder).await?;
        list(&client).await?;
        open_account(&client, USER).await?;
        let capital: ApiAddress = client
            .post(
                BITCOIN_ADDRESSES,
                &NewAddress {
                    payout: None,
                    lp: None,
                },
            )
            .await?;
        pay(&regtest, &capital.address).await?;
        let shown: Bitcoin = client.read(BITCOIN).await?;
        let node = format!("{}@{}", shown.node, shown.address);
        let software_address = free_address()?;
        found_peer(
            folder,
            &passphrase,
            (&url, &cookie),
            &node,
            (pool_address, software_address),
        )?;
        let config = folder.join("peer/connect.toml");
        let mut command = forebay(&passphrase)?;
        command.args(["connect", "--peer-config"]).arg(&config);
        let peer = Process::start("peer", command, folder)?;
        let world = Self {
            _peer: peer,
            pool,
            regtest,
            folder: folder.to_owned(),
            passphrase,
            pool_address,
            software_address,
        };
        world.open_channels().await?;
        Ok(world)
    }

    /// Coins for the peer, then its account, and blocks until a channel each way can be used.
    async fn open_channels(&self) -> Result<()> {
        let address = self.coins_address(|_| true).await?;
        pay(&self.regtest, &address).await?;
        // It shows another once coins have come: without them neither end could open its channel.
        self.coins_address(|shown| *shown != address).await?;
        let client = self.client()?;
        open_account(&client, PEER).await?;
        until("there is a channel each way", async || {
            let bitcoin: Bitcoin = client.read(BITCOIN).await?;
            let usable = bitcoin.channels.iter().filter(|channel| channel.usable);
            let are_usable = usable.count() == 2;
            if !are_usable {
                self.regtest.mine(1).await?;
                tokio::time::sleep(BLOCK_EVERY).await;
            }
            Ok(are_usable.then_some(()))
        })
        .await?;
        self.regtest.mine(BLOCKS).await?;
        Ok(())
    }

    async fn coins_address(&self, is_wanted: impl Fn(&String) -> bool) -> Result<String> {
        until("the peer's node says where coins go", async || {
            let lightning = self.peer_view().ok().and_then(|view| view.lightning);
            let address = lightning.map(|lightning| lightning.deposit_address);
            Ok(address.filter(&is_wanted))
        })
        .await
    }

    pub(super) fn pool_address(&self) -> SocketAddr {
        self.pool_address
    }

    pub(super) fn software_address(&self) -> SocketAddr {
        self.software_address
    }

    pub(super) fn pool_data(&self) -> PathBuf {
        self.folder.join("pool/data")
    }

    pub(super) fn client(&self) -> Result<Client> {
        Client::of(&self.folder.join("pool/forebay.toml"))
    }

    /// The pool's key, from which its wallet's is made.
    pub(super) fn pool_key(&self) -> Result<forebay_chain_evm::Key> {
        let passphrase = Passphrase::in_file(self.folder.join("passphrase"));
        crate::keys::open(&self.folder.join("pool/key.json"), &passphrase)
    }

    /// Waits until the pool has begun a settlement. One that was tried before the channels could be used is begun anew half a
    /// minute later.
    pub(super) async fn settles(&self) -> Result<()> {
        let client = self.client()?;
        let path = format!("{PEERS}/{PEER}");
        let began = Instant::now();
        loop {
            let peer: Peer = client.read(&path).await?;
            let settles = |lightning: &forebay_api::LightningView| !lightning.under_way.0.is_zero();
            if peer.lightning.as_ref().is_some_and(settles) {
                return Ok(());
            }
            ensure!(
                began.elapsed() < WAIT,
                "no settlement was begun in {WAIT:?}"
            );
            tokio::time::sleep(GLANCE).await;
        }
    }

    pub(super) fn kill_pool(&mut self) -> Result<()> {
        self.pool.kill()
    }

    /// Starts it on what it left, and waits until both channels can be used again.
    pub(super) async fn restart_pool(&mut self) -> Result<()> {
        self.pool = start_pool(&self.folder, &self.passphrase)?;
        let client = reach(&self.folder).await?;
        until("the channels can be used again", async || {
            let bitcoin: Bitcoin = client.read(BITCOIN).await?;
            let usable = bitcoin.channels.iter().filter(|channel| channel.usable);
            Ok((usable.count() >= 2).then_some(()))
        })
        .await
        .with_context(|| self.pool.complaints())
    }

    /// Copies the Lightning store of the pool, which must not run.
    pub(super) fn keep_store(&self) -> Result<()> {
        std::fs::copy(self.store(), self.folder.join("old.redb"))?;
        Ok(())
    }

    /// Puts that copy in place of the newest store, and sees that the pool does not start with it.
    pub(super) async fn refuses_kept_store(&mut self) -> Result<()> {
        std::fs::rename(self.store(), self.folder.join("newest.redb"))?;
        std::fs::copy(self.folder.join("old.redb"), self.store())?;
        self.pool = start_pool(&self.folder, &self.passphrase)?;
        until("the pool ends by itself", async || {
            Ok(self.pool.has_ended().then_some(()))
        })
        .await?;
        let said = self.pool.complaints();
        ensure!(
            said.contains("the Lightning store is an old copy"),
            "with an old Lightning store the pool ended otherwise: {said}"
        );
        Ok(())
    }

    fn store(&self) -> PathBuf {
        self.pool_data().join("bitcoin/lightning.redb")
    }

    pub(super) fn peer_view(&self) -> Result<View> {
        let config = PeerConfig::load(&self.folder.join("peer/connect.toml"))?;
        let text = std::fs::read_to_string(config.data_directory.join(STATUS_FILE))?;
        Ok(serde_json::from_str(&text)?)
    }
}

/// Looks until there is something.
pub(super) async fn until<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        ensure!(began.elapsed() < WAIT, "not within {WAIT:?}: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

fn found_pool(
    folder: &Path,
    passphrase: &str,
    url: &str,
    cookie: &str,
    btp: SocketAddr,
) -> Result<()> {
    let (admin, lightning) = (free_address()?, free_address()?);
    let place = folder.join("pool").display().to_string();
    let (btp, admin, lightning) = (btp.to_string(), admin.to_string(), lightning.to_string());
    let bitcoin = format!("regtest={url}");
    let words = [
        ["init", &place],
        ["--operator", "test.pool"],
        ["--btp-listen", &btp],
        ["--admin-listen", &admin],
        ["--bitcoin", &bitcoin],
        ["--bitcoin-cookie", cookie],
        ["--lightning-listen", &lightning],
    ];
    answer(passphrase, words.concat()).context("forebay init")?;
    Ok(())
}

fn start_pool(folder: &Path, passphrase: &str) -> Result<Process> {
    let mut command = forebay(passphrase)?;
    let config = folder.join("pool/forebay.toml");
    command.arg("--config").arg(config).arg("run");
    Process::start("pool", command, folder)
}

async fn list(client: &Client) -> Result<()> {
    let listed = AddBitcoin {
        code: "BTC".into(),
        scale: 11,
        policy: AssetPolicy::default(),
    };
    let _: Asset = client.post(BITCOIN, &listed).await.context("listing BTC")?;
    Ok(())
}

/// One of the two accounts.
async fn open_account(client: &Client, name: &str) -> Result<()> {
    let units = |msat: u128| Units(Amount::new(msat));
    let policy = match name {
        PEER => PeerPolicy {
            settle_threshold: units(u128::from(SETTLED_PACKETS * PACKET_MSAT)),
            allotment: units(ALLOTMENT_MSAT),
            ..PeerPolicy::default()
        },
        _ => PeerPolicy {
            credit: units(PLENTY_MSAT),
            ..PeerPolicy::default()
        },
    };
    let account = AddPeer {
        name: name.into(),
        asset: "BTC".into(),
        token: name.into(),
        policy,
    };
    let _: Peer = client.post(PEERS, &account).await.context("an account")?;
    if name == USER {
        // It is owed as well, without a channel of its own.
        let relation = Relation {
            debt_max: units(PLENTY_MSAT),
            ..Relation::default()
        };
        let path = format!("{PEERS}/{name}/relation");
        let _: Peer = client.put(&path, &relation).await.context("its relation")?;
    }
    Ok(())
}

fn found_peer(
    folder: &Path,
    passphrase: &str,
    (url, cookie): (&str, &str),
    node: &str,
    (pool, software): (SocketAddr, SocketAddr),
) -> Result<()> {
    let place = folder.join("peer").display().to_string();
    let (pool, software) = (format!("ws://{pool}/"), software.to_string());
    let account = format!("test.pool.{PEER}");
    let prepaid = (2 * SETTLED_PACKETS * PACKET_MSAT).to_string();
    let (credit, channel) = (PLENTY_MSAT.to_string(), CHANNEL_SAT.to_string());
    let words = [
        ["connect", "init"],
        ["--directory", &place],
        ["--pool-url", &pool],
        ["--pool-token", PEER],
        ["--listen", &software],
        ["--software-token", SOFTWARE_TOKEN],
        ["--pool-node", node],
        ["--account", &account],
        ["--bitcoin-network", "regtest"],
        ["--bitcoind-url", url],
        ["--bitcoind-cookie", cookie],
        ["--channel-sat", &channel],
        ["--asset-scale", "11"],
        ["--prepay", &prepaid],
        ["--credit-to-pool", &credit],
    ];
    answer(passphrase, words.concat()).context("forebay connect init")?;
    Ok(())
}

async fn pay(regtest: &Regtest, address: &str) -> Result<()> {
    let address: Address<NetworkUnchecked> = address.parse()?;
    let address = address.require_network(Network::Regtest)?;
    for _ in 0..2 {
        regtest.pay(&address, Coins::from_sat(COINS_SAT)).await?;
    }
    regtest.mine(BLOCKS).await?;
    Ok(())
}

async fn reach(folder: &Path) -> Result<Client> {
    let config = folder.join("pool/forebay.toml");
    until("the pool answers", async || {
        let Ok(client) = Client::of(&config) else {
            return Ok(None);
        };
        let status: Result<Status> = client.read(STATUS).await;
        Ok(status.is_ok().then_some(client))
    })
    .await
}

/// An address that is free now: the system gives the next port to somebody else.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
