//! Brings everything up: the chains, the contracts, the price sources, the pool, the LPs and the peers.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use forebay_api::{ASSETS, AddAsset, AddPeer, Asset, AssetPolicy, PEERS, Peer, PeerPolicy, Units};
use forebay_chain_evm::anvil::{AnvilProcess, AnvilSettings, FUNDED_KEYS};
use forebay_chain_evm::{
    Account, AccountSettings, Key, MemoryStore, RpcNodes, VaultParameters, test_token_code,
};
use forebay_channel::{Address, Finality};
use forebay_market::RAY;
use forebay_node::connect::View;
use forebay_quantity::{Amount, EffectId};
use serde_json::Value;

use super::lightning_peer::LightningPeer;
use super::processes::{Process, answer, forebay};
use super::regtest::{self, Bitcoin};
use super::rpc::Rpc;
use crate::client::Client;

/// The chain's id: anvil's own.
const CHAIN_ID: u64 = 31_337;
/// One packet of peer a: a thousandth of an ether, some three dollars.
pub(super) const PACKET: u64 = 1_000_000;
/// What peer a pays while the pool is killed, in its packet units (gwei).
pub(super) const PAYMENT: u64 = 1_600 * PACKET;
/// Notes, in millionths of the dollar token.
pub(super) const NOTES: u128 = 15_000_000_000;
const SHARES: u128 = 15_000_000_000;
/// Peer a's deposit: 3 ether.
const DEPOSIT_WEI: u128 = 3_000_000_000_000_000_000;
/// What the pool's lane to peer a covers, in gwei, once the pool has redeemed as much.
const ALLOTMENT_A: u128 = 400_000_000;
pub(super) const WAIT: Duration = Duration::from_secs(40);

/// A peer's own side.
pub(super) struct Side {
    pub(super) process: Process,
    /// Where its software connects, as `plugin.cjs` takes it.
    pub(super) listen: String,
}

/// How all peers' sides stand.
pub(super) struct Views {
    pub(super) a: View,
    pub(super) b: View,
    pub(super) c: View,
}

/// Everything that runs, in the order in which it is ended: clients first, the chains last.
pub(super) struct World {
    pub(super) folder: PathBuf,
    pub(super) passphrase: String,
    pub(super) tools: PathBuf,
    /// In ether; settles by vouchers.
    pub(super) a: Side,
    /// In a token; settles by vouchers.
    pub(super) b: Side,
    /// In bitcoin; settles over Lightning.
    pub(super) c: Side,
    /// Through this node.
    pub(super) lightning_peer: LightningPeer,
    pub(super) pool: Process,
    pub(super) prices: Vec<Process>,
    pub(super) anvil: AnvilProcess,
    pub(super) bitcoin: Bitcoin,
    pub(super) rpc: Rpc,
    pub(super) vault_usdx: Address,
    pub(super) token: Address,
    pub(super) address_b: String,
    /// What the note holder has put in, from the LP's own command.
    pub(super) lp_note: PathBuf,
}

/// Says where things stand.
pub(super) fn progress(began: Instant, text: &str) {
    eprintln!("[{:5.1} s] {text}", began.elapsed().as_secs_f32());
}

struct Contracts {
    token: Address,
    vault_eth: Address,
    vault_usdx: Address,
}

impl World {
    /// Starts all of it; when this returns, each peer that pays may pay, and each that is paid may be paid.
    pub(super) async fn start(folder: &Path, began: Instant) -> Result<Self> {
        let tools = tools()?;
        let repository = tools.parent().context("tools lies in a folder")?;
        let passphrase = hex::encode(crate::keys::random::<16>()?);
        let (anvil,) = chain(folder, &tools)?;
        let mut prices = price_sources(folder)?;
        let bitcoin = Bitcoin::start(folder, repository).await?;
        progress(
            began,
            &format!(
                "chains at {} and {} and three price sources, one of which lies, run",
                anvil.url(),
                bitcoin.url()
            ),
        );
        let keys = make_keys(folder, &passphrase, (anvil.url(), &bitcoin), &mut prices)?;
        let contracts = deploy(anvil.url(), &keys).await?;
        progress(
            began,
            &format!(
                "a token and two vaults are deployed; ETH {}, USDX {}",
                contracts.vault_eth, contracts.vault_usdx
            ),
        );
        let pool = start_pool(folder, &passphrase)?;
        let url = anvil.url().to_owned();
        let runtime = tokio::runtime::Handle::current();
        let (deposits, channels, listed) = std::thread::scope(|scope| {
            let deposits = scope.spawn(|| deposit_all(folder, &passphrase, &url, &contracts));
            let channels = scope.spawn(|| {
                let opened = regtest::open_channels(folder, &passphrase, &bitcoin, began);
                runtime.block_on(opened)
            });
            let listed = scope.spawn(|| list_all(folder, &contracts, began));
            (deposits.join(), channels.join(), listed.join())
        });
        listed.map_err(|_| anyhow::anyhow!("listing met a bug"))??;
        deposits.map_err(|_| anyhow::anyhow!("a deposit met a bug"))??;
        let (lightning_peer, c) =
            channels.map_err(|_| anyhow::anyhow!("opening channels met a bug"))??;
        progress(
            began,
            "the pool runs, two LPs have deposited: notes and first-loss shares",
        );
        let world = Self {
            folder: folder.to_owned(),
            a: Side::start(folder, "peer-a", &passphrase)?,
            b: Side::start(folder, "peer-b", &passphrase)?,
            c,
            lightning_peer,
            passphrase,
            tools,
            pool,
            prices,
            rpc: Rpc::new(anvil.url()),
            anvil,
            bitcoin,
            vault_usdx: contracts.vault_usdx,
            token: contracts.token,
            address_b: keys.peer_b.clone(),
            lp_note: folder.join("lp-note.json"),
        };
        world.wait_until(
            "peer a's deposit is final and a voucher is signed",
            |views| {
                let Views { a, b, .. } = views;
                a.ready && b.ready && !a.signed.0.is_zero() && !b.allotment_ceiling.0.is_zero()
            },
        )?;
        Ok(world)
    }

    /// Starts the pool again on the data that the killed one left.
    pub(super) async fn restart_pool(&mut self) -> Result<()> {
        self.pool = start_pool(&self.folder, &self.passphrase)?;
        reach(&self.folder.join("pool/forebay.toml")).await?;
        Ok(())
    }

    /// Kills peer b's side and starts it again on the data that it left.
    pub(super) fn restart_peer_b(&mut self) -> Result<()> {
        self.b.process.kill()?;
        self.b = Side::start(&self.folder, "peer-b", &self.passphrase)?;
        let id = self.b.process.id();
        self.wait_until("peer b is back", |views| views.b.pid == id && views.b.ready)?;
        Ok(())
    }

    /// How all peers' sides stand.
    pub(super) fn views(&self) -> Result<Views> {
        let of = |name| view(&self.folder.join(name));
        Ok(Views {
            a: of("peer-a")?,
            b: of("peer-b")?,
            c: of("peer-c")?,
        })
    }

    pub(super) fn wait_until(&self, what: &str, is_so: impl Fn(&Views) -> bool) -> Result<Views> {
        let until = Instant::now() + WAIT;
        loop {
            // A file that is being replaced, or not yet there, is looked at again.
            let views = self.views();
            if let Ok(views) = views {
                if is_so(&views) {
                    return Ok(views);
                }
                let Views { a, b, c } = views;
                ensure!(
                    Instant::now() < until,
                    "waited {WAIT:?} until {what}; a: {a:?}; b: {b:?}; c: {c:?}; pool: {}",
                    self.pool.complaints()
                );
            }
            ensure!(
                Instant::now() < until,
                "waited {WAIT:?} until {what}; peer a: {}; pool: {}",
                self.a.process.complaints(),
                self.pool.complaints()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The operator's client.
    pub(super) fn client(&self) -> Result<Client> {
        Client::of(&self.folder.join("pool/forebay.toml"))
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("pool/data")
    }
}

/// What a peer's side shows.
pub(super) fn view(folder: &Path) -> Result<View> {
    Ok(serde_json::from_str(&std::fs::read_to_string(
        folder.join("data/status.json"),
    )?)?)
}

/// The folder with the locked npm packages and scripts.
fn tools() -> Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let here = std::env::current_dir()?;
    let from_source = Path::new(env!("CARGO_MANIFEST_DIR"));
    for start in [executable.as_path(), here.as_path(), from_source] {
        for folder in start.ancestors() {
            if folder.join("tools/ilp/stream-send.cjs").is_file() {
                return Ok(folder.join("tools"));
            }
        }
    }
    bail!(
        "the folder tools/ with the npm scripts is not above {} or {}: run this within the repository",
        executable.display(),
        here.display()
    )
}

fn chain(folder: &Path, tools: &Path) -> Result<(AnvilProcess,)> {
    let binary = match std::env::var_os("FOREBAY_ANVIL") {
        Some(path) => PathBuf::from(path),
        None => AnvilSettings::binary_in(tools.parent().context("tools lies in a folder")?),
    };
    ensure!(
        tools.join("ilp/node_modules/ilp-plugin-btp").is_dir(),
        "the npm packages are not installed: run `cargo xtask setup`"
    );
    let settings = AnvilSettings {
        log: Some(folder.join("anvil.log")),
        ..AnvilSettings::new(binary)
    };
    Ok((AnvilProcess::start(&settings)?,))
}

fn price_sources(folder: &Path) -> Result<Vec<Process>> {
    let sources = [
        ["60000", "3000", "1"],
        ["60030", "3001.5", "1.0002"],
        ["6.28", "31.4159", "271.8"],
    ];
    let mut processes = Vec::new();
    for (at, worths) in sources.iter().enumerate() {
        let mut command = forebay("")?;
        command.args(["demo", "price-source"]).args(worths);
        processes.push(Process::start(&format!("prices-{at}"), command, folder)?);
    }
    Ok(processes)
}

struct Keys {
    pool: Address,
    note: Address,
    share: Address,
    peer_a: Address,
    peer_b: String,
}

fn make_keys(
    folder: &Path,
    passphrase: &str,
    (chain, bitcoin): (&str, &Bitcoin),
    prices: &mut [Process],
) -> Result<Keys> {
    let mut arguments: Vec<String> = ["init", "--operator", "test.pool", "--price-poll-ms", "500"]
        .map(String::from)
        .to_vec();
    for process in prices {
        let url = text(&process.line(WAIT)?, "url")?;
        for code in ["BTC", "ETH", "USDX"] {
            arguments.extend(["--price".into(), format!("{code}={url}#/{code}")]);
        }
    }
    let (btp, admin, lightning) = (free_port()?, free_port()?, free_port()?);
    arguments.extend(["--bitcoin".into(), format!("regtest={}", bitcoin.url())]);
    arguments.extend(["--bitcoin-cookie".into(), bitcoin.cookie()]);
    arguments.extend([
        "--lightning-listen".into(),
        format!("127.0.0.1:{lightning}"),
    ]);
    arguments.extend(["--chain".into(), format!("{CHAIN_ID}={chain}")]);
    arguments.extend(["--btp-listen".into(), format!("127.0.0.1:{btp}")]);
    arguments.extend(["--admin-listen".into(), format!("127.0.0.1:{admin}")]);
    arguments.push(folder.join("pool").display().to_string());
    let (founded, note, share) = std::thread::scope(|scope| {
        let note = scope.spawn(|| new_key(passphrase, &folder.join("lp-note.json")));
        let share = scope.spawn(|| new_key(passphrase, &folder.join("lp-share.json")));
        (answer(passphrase, &arguments), note.join(), share.join())
    });
    founded.context("forebay init")?;
    let bug = |_| anyhow::anyhow!("making a key met a bug");
    let (note, share) = (note.map_err(bug)??, share.map_err(bug)??);
    // The peers' folders are made once the vaults are known; their keys are needed before, for the money.
    let peer_a = new_key(passphrase, &folder.join("peer-a-key.json"))?;
    let peer_b = new_key(passphrase, &folder.join("peer-b-key.json"))?;
    let pool = crate::keys::address(&folder.join("pool/key.json"))?
        .parse()
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(Keys {
        pool,
        note,
        share,
        peer_a,
        peer_b: peer_b.to_string(),
    })
}

fn new_key(passphrase: &str, path: &Path) -> Result<Address> {
    let made = answer(
        passphrase,
        ["--json", "keys", "new", &path.display().to_string()],
    )?;
    text(&made, "address")?
        .parse()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

async fn deploy(url: &str, keys: &Keys) -> Result<Contracts> {
    let settings = AccountSettings {
        poll_interval: Duration::from_millis(50),
        ..AccountSettings::new(RpcNodes::own(url), CHAIN_ID)
    };
    let deployer = Account::connect(
        settings,
        Key::from_bytes(FUNDED_KEYS[0])?,
        Box::new(MemoryStore::default()),
    )
    .await?;
    let (seen, ether) = (Finality::Seen, 1_000_000_000_000_000_000_u128);
    let code = test_token_code("Demo dollar", "USDX", 6, 1_000_000_000_000);
    let wei = |ether_count: u128| Amount::new(ether_count * ether);
    let effect = EffectId::new;
    let peer_b: Address = keys
        .peer_b
        .parse()
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let for_eth = parameters(None, keys);
    let (token, eth, ..) = tokio::try_join!(
        deployer.deploy(effect(1), code, seen),
        deployer.deploy_vault(effect(2), &for_eth, seen),
        deployer.pay(effect(3), keys.pool, wei(50), seen),
        deployer.pay(effect(4), keys.note, wei(5), seen),
        deployer.pay(effect(5), keys.share, wei(5), seen),
        deployer.pay(effect(6), keys.peer_a, wei(50), seen),
        deployer.pay(effect(7), peer_b, wei(5), seen),
    )?;
    let for_usdx = parameters(Some(token.address), keys);
    let (usdx, ..) = tokio::try_join!(
        deployer.deploy_vault(effect(8), &for_usdx, seen),
        deployer.pay_token(
            effect(9),
            token.address,
            keys.note,
            Amount::new(NOTES),
            seen
        ),
        deployer.pay_token(
            effect(10),
            token.address,
            keys.share,
            Amount::new(SHARES),
            seen
        ),
    )?;
    Ok(Contracts {
        token: token.address,
        vault_eth: eth.address,
        vault_usdx: usdx.address,
    })
}

fn parameters(asset: Option<Address>, keys: &Keys) -> VaultParameters {
    VaultParameters {
        asset,
        operator: keys.pool,
        share_holder: Some(keys.share),
        floor_bps: 2_000,
        close_period_s: 86_400,
        exit_notice_s: 86_400,
        term_max_s: 30 * 86_400,
        // A tenth a day, so that a demonstration of half a minute shows it.
        index_rate_max_ray_per_day: RAY / 10,
        note_min: Amount::new(1_000),
        bucket_capacity: Amount::MAX,
        bucket_refill_per_day: Amount::ZERO,
        heartbeat_max_s: 30 * 86_400,
        committee_spend: 0,
        committee_freeze: 0,
        committee: Vec::new(),
    }
}

fn start_pool(folder: &Path, passphrase: &str) -> Result<Process> {
    let mut command = forebay(passphrase)?;
    command
        .arg("--config")
        .arg(folder.join("pool/forebay.toml"))
        .arg("run");
    Process::start("pool", command, folder)
}

fn deposit_all(folder: &Path, passphrase: &str, url: &str, contracts: &Contracts) -> Result<()> {
    let deposit = |key: &str, amount: u128, share: bool| {
        let mut arguments: Vec<String> = ["--json", "lp", "deposit", "--rpc", url, "--chain-id"]
            .map(String::from)
            .to_vec();
        arguments.extend([
            CHAIN_ID.to_string(),
            "--key".into(),
            folder.join(key).display().to_string(),
        ]);
        arguments.extend([
            "--vault".into(),
            contracts.vault_usdx.to_string(),
            amount.to_string(),
        ]);
        arguments.extend(share.then(|| "--share".into()));
        answer(passphrase, arguments).with_context(|| format!("the deposit with {key}"))
    };
    std::thread::scope(|scope| {
        let note = scope.spawn(|| deposit("lp-note.json", NOTES, false));
        deposit("lp-share.json", SHARES, true)?;
        note.join()
            .map_err(|_| anyhow::anyhow!("a deposit met a bug"))?
    })?;
    Ok(())
}

/// Lists the assets, opens the accounts and makes the peers' folders; with a runtime of its own, on this thread.
fn list_all(folder: &Path, contracts: &Contracts, began: Instant) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(list(folder, contracts, began))
}

async fn list(folder: &Path, contracts: &Contracts, began: Instant) -> Result<()> {
    let path = folder.join("pool/forebay.toml");
    let client = reach(&path).await?;
    let units = |amount: u128| Units(Amount::new(amount));
    let policy = AssetPolicy {
        price_age_max_ms: 5_000,
        spread_floor_ppm: 1_500,
        lent_max: units(20_000_000_000),
        note_rate_ppm: 50_000,
        index_interval_ms: 4_000,
        ..AssetPolicy::default()
    };
    let eth = AddAsset {
        code: "ETH".into(),
        scale: 9,
        chain_scale: 18,
        chain_id: CHAIN_ID,
        vault: contracts.vault_eth.to_string(),
        token: None,
        policy: policy.clone(),
    };
    let usdx = AddAsset {
        code: "USDX".into(),
        scale: 6,
        chain_scale: 6,
        vault: contracts.vault_usdx.to_string(),
        token: Some(contracts.token.to_string()),
        policy,
        ..eth.clone()
    };
    for asset in [eth, usdx] {
        let _: Asset = client
            .post(ASSETS, &asset)
            .await
            .with_context(|| format!("listing {}", asset.code))?;
    }
    let payer = PeerPolicy {
        packet_max: PACKET,
        redeem_threshold: units(1_200_000_000),
        settle_threshold: units(50_000_000),
        allotment: units(ALLOTMENT_A),
        ..PeerPolicy::default()
    };
    let payee = PeerPolicy {
        packet_max: 10_000_000,
        settle_threshold: units(200_000_000),
        allotment: units(4_000_000_000),
        ..PeerPolicy::default()
    };
    for (name, asset, policy) in [("a", "ETH", payer), ("b", "USDX", payee)] {
        let token = hex::encode(crate::keys::random::<16>()?);
        let peer = AddPeer {
            name: name.into(),
            asset: asset.into(),
            token: token.clone(),
            policy,
        };
        let _: Peer = client
            .post(PEERS, &peer)
            .await
            .with_context(|| format!("opening the account {name}"))?;
        make_peer(folder, name, &token, contracts)?;
    }
    progress(began, "two assets are listed and two accounts opened");
    Ok(())
}

/// Waits until the node's interface answers.
pub(super) async fn reach(path: &Path) -> Result<Client> {
    let until = Instant::now() + WAIT;
    loop {
        let found: Result<Client> = async {
            let client = Client::of(path)?;
            let _: forebay_api::Status = client.read(forebay_api::STATUS).await?;
            Ok(client)
        }
        .await;
        match found {
            Ok(client) => return Ok(client),
            Err(error) => ensure!(
                Instant::now() < until,
                "the pool does not answer: {error:#}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What `forebay connect init` writes, with the key that was made before.
fn make_peer(folder: &Path, name: &str, token: &str, contracts: &Contracts) -> Result<()> {
    use forebay_node::connect::{Chain, Config, Limits, Pool, Software};
    let pool = forebay_node::Config::load(&folder.join("pool/forebay.toml"))?;
    let rpc_urls = pool
        .chains
        .get(&CHAIN_ID.to_string())
        .context("the pool's chain")?
        .rpc_urls
        .clone();
    let units = |amount: u128| Units(Amount::new(amount));
    let (vault, asset_scale, limits) = match name {
        "a" => (
            contracts.vault_eth,
            9,
            Limits {
                prepay: units(u128::from(60 * PACKET)),
                deposit: units(DEPOSIT_WEI),
                credit_to_pool: units(200_000_000),
                ..Limits::default()
            },
        ),
        _ => (
            contracts.vault_usdx,
            6,
            Limits {
                credit_to_pool: units(1_000_000_000),
                ..Limits::default()
            },
        ),
    };
    let config = Config {
        data_directory: "data".into(),
        keys_file: format!("../peer-{name}-key.json").into(),
        pool: Pool {
            url: format!("ws://{}/", pool.btp_listen),
            username: None,
            token: token.into(),
        },
        software: Software {
            listen: ([127, 0, 0, 1], free_port()?).into(),
            token: "software".into(),
        },
        chain: Some(Chain {
            chain_id: CHAIN_ID,
            rpc_urls,
            vault: vault.to_string(),
            asset_scale,
            from_block: 0,
        }),
        lightning: None,
        bitcoin: None,
        lnd: None,
        watchtowers: Vec::new(),
        limits,
    };
    let place = folder.join(format!("peer-{name}"));
    std::fs::create_dir_all(place.join("data"))?;
    crate::keys::write_private(
        &place.join("connect.toml"),
        toml::to_string_pretty(&config)?.as_bytes(),
    )
}

impl Side {
    /// Starts `forebay connect` in a folder that has been made for it.
    pub(super) fn start(folder: &Path, name: &str, passphrase: &str) -> Result<Self> {
        let path = folder.join(name).join("connect.toml");
        let config = forebay_node::connect::Config::load(&path)?;
        let mut command = forebay(passphrase)?;
        command.args(["connect", "--peer-config"]).arg(&path);
        let software = config.software;
        Ok(Self {
            process: Process::start(name, command, folder)?,
            listen: format!("btp+ws://:{}@{}", software.token, software.listen),
        })
    }
}

/// A Node program of tools/ilp.
pub(super) fn node(tools: &Path, script: &str) -> Command {
    let mut command = Command::new("node");
    command.current_dir(tools.join("ilp")).arg(script);
    command
}

pub(super) fn text(value: &Value, field: &str) -> Result<String> {
    Ok(value[field]
        .as_str()
        .with_context(|| format!("no {field} in {value}"))?
        .to_owned())
}

/// A port that is free now: the system gives the next one to somebody else.
pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
