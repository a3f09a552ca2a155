//! `forebay connect`: a peer's own side.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use forebay_api::Units;
use forebay_node::BitcoinConfig;
use forebay_node::connect::{
    self, Chain, Config, LightningConfig, LightningView, Limits, LndConfig, Pool, STATUS_FILE,
    Software, View,
};

use crate::keys::{self, Passphrase};
use crate::output::show;
use crate::{runtime, stop_signal};

/// Arguments of `forebay connect`.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// Configuration file of the peer's side.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "connect.toml"
    )]
    peer_config: PathBuf,
    /// Go on after the chain dropped a block that had been final. Compare `connect show` with the vault first.
    #[arg(long)]
    after_reorg: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make keys, configuration and data directory of a peer's side.
    Init(Box<Init>),
    /// Show how the running peer's side stands.
    Show,
    /// Redeem what the pool's best voucher is worth now.
    Redeem,
    /// Of an account that settles over Lightning.
    #[command(subcommand)]
    Lightning(OnLightning),
}

#[derive(Debug, Subcommand)]
enum OnLightning {
    /// Print an address of the running node's wallet that was never used: what arrives there funds channels.
    Address,
}

#[derive(Debug, Args)]
struct Init {
    /// Folder to make it in.
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// The pool's BTP URL, e.g. wss://pool.example/.
    #[arg(long)]
    pool_url: String,
    /// The account's name at the pool, if it wants one.
    #[arg(long)]
    pool_username: Option<String>,
    /// The account's token at the pool.
    #[arg(long)]
    pool_token: String,
    /// Where the peer's software connects.
    #[arg(long, default_value = "127.0.0.1:7770")]
    listen: SocketAddr,
    /// The token that the software must show; otherwise one is drawn.
    #[arg(long)]
    software_token: Option<String>,
    /// EVM chain id of the vault.
    #[arg(long, required_unless_present = "pool_node")]
    chain_id: Option<u64>,
    /// JSON-RPC of a node that the peer trusts; may be given several times.
    #[arg(long = "rpc", required_unless_present = "pool_node")]
    rpc_urls: Vec<String>,
    /// The pool's vault.
    #[arg(long, required_unless_present = "pool_node")]
    vault: Option<String>,
    #[command(flatten)]
    lightning: InitLightning,
    /// Decimal places of packet amounts, as agreed with the pool.
    #[arg(long)]
    asset_scale: u8,
    /// What the pool may owe unsecured, in packet units.
    #[arg(long, default_value = "0")]
    credit_to_pool: Units,
    /// How far ahead of its packets the peer pays, in packet units.
    #[arg(long, default_value = "0")]
    prepay: Units,
    /// What is deposited once the channel is open, in the chain's base units.
    #[arg(long, default_value = "0")]
    deposit: Units,
    /// The pool's vouchers are redeemed once they are worth this much, in the chain's base units.
    #[arg(long, default_value = "340282366920938463463374607431768211455")]
    redeem_threshold: Units,
}

/// What an account that settles over Lightning needs in place of a chain and a vault.
#[derive(Debug, Args)]
struct InitLightning {
    /// The pool's Lightning node, as id@host:port: the account settles over Lightning.
    #[arg(long, conflicts_with_all = ["chain_id", "rpc_urls", "vault", "deposit", "redeem_threshold"],
          requires_all = ["account", "bitcoin_network", "node"])]
    pool_node: Option<String>,
    /// The account's ILP address at the pool.
    #[arg(long, requires = "pool_node")]
    account: Option<String>,
    /// `bitcoin`, `testnet4`, `signet` or `regtest`.
    #[arg(long, requires = "pool_node")]
    bitcoin_network: Option<String>,
    /// JSON-RPC of the peer's own bitcoind: a Lightning node runs inside `connect`.
    #[arg(long, requires = "pool_node", group = "node")]
    bitcoind_url: Option<String>,
    /// The API of an Esplora server, in place of a bitcoind.
    #[arg(long, requires = "pool_node", group = "node",
          conflicts_with_all = ["bitcoind_cookie", "bitcoind_user"])]
    esplora_url: Option<String>,
    /// In place of both, the REST interface of a Lightning node that runs anyway: LND, or one that speaks as it does.
    #[arg(long, requires = "pool_node", group = "node", value_name = "URL",
          conflicts_with_all = ["bitcoind_cookie", "bitcoind_user", "lightning_listen", "channel_sat"])]
    lnd_url: Option<String>,
    /// The file with the macaroon that lets us ask that node.
    #[arg(long, requires = "lnd_url", value_name = "FILE")]
    lnd_macaroon: Option<PathBuf>,
    /// The file `.cookie` in its data folder.
    #[arg(long, requires = "pool_node", conflicts_with = "bitcoind_user")]
    bitcoind_cookie: Option<PathBuf>,
    /// A user of it, in place of the cookie.
    #[arg(long, requires = "bitcoind_password_file")]
    bitcoind_user: Option<String>,
    /// A file that holds that user's password alone.
    #[arg(long, requires = "bitcoind_user")]
    bitcoind_password_file: Option<PathBuf>,
    /// Where the peer's Lightning node listens; without it, it only connects to the pool's.
    #[arg(long, requires = "pool_node")]
    lightning_listen: Option<SocketAddr>,
    /// The value of the channel that is opened to the pool, in satoshi; 0 to open none.
    #[arg(long, requires = "pool_node", default_value_t = 0)]
    channel_sat: u64,
}

impl InitLightning {
    /// The sections that say how the account settles.
    fn sections(
        self,
        asset_scale: u8,
    ) -> (
        Option<LightningConfig>,
        Option<BitcoinConfig>,
        Option<LndConfig>,
    ) {
        let (Some(account), Some(pool_node), Some(network)) =
            (self.account, self.pool_node, self.bitcoin_network)
        else {
            return (None, None, None);
        };
        let lightning = LightningConfig {
            account,
            pool_node,
            asset_scale,
            channel_sat: self.channel_sat,
        };
        let source = match (self.bitcoind_url, self.esplora_url) {
            (Some(url), _) => Some(BitcoinConfig::new(&network, &url)),
            (None, Some(url)) => Some(BitcoinConfig::on_esplora(&network, &url)),
            (None, None) => None,
        };
        let bitcoin = source.map(|source| BitcoinConfig {
            cookie_file: self.bitcoind_cookie,
            rpc_user: self.bitcoind_user,
            rpc_password_file: self.bitcoind_password_file,
            lightning_listen: self.lightning_listen,
            ..source
        });
        let lnd = self.lnd_url.map(|url| LndConfig {
            url,
            macaroon_file: self.lnd_macaroon,
            network,
        });
        (Some(lightning), bitcoin, lnd)
    }
}

impl Connect {
    pub(crate) fn run(self, passphrase: &Passphrase, json: bool) -> Result<()> {
        match self.action {
            None => stand_in_line(&self.peer_config, passphrase, self.after_reorg),
            Some(Action::Init(init)) => init.run(passphrase),
            Some(Action::Show) => show(json, &view(&self.peer_config)?, draw),
            Some(Action::Redeem) => redeem(&self.peer_config),
            Some(Action::Lightning(OnLightning::Address)) => {
                let lightning = view(&self.peer_config)?.lightning;
                let lightning = lightning.context("this account settles by vouchers")?;
                if lightning.deposit_address.is_empty() {
                    bail!(
                        "this account settles through your own Lightning node: ask that for an address"
                    );
                }
                show(json, &lightning.deposit_address, |address| {
                    println!("{address}");
                })
            }
        }
    }
}

fn stand_in_line(config: &Path, passphrase: &Passphrase, after_reorg: bool) -> Result<()> {
    let config = Config::load(config)?;
    let key = keys::open(&config.keys_file, passphrase)?;
    runtime(2)?.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let running = connect::start(config, key).await?;
        if after_reorg {
            running.settle_reorg();
        }
        let mut redeem = signal(SignalKind::user_defined1())?;
        let mut look = tokio::time::interval(std::time::Duration::from_secs(1));
        let mut stop = Box::pin(stop_signal());
        loop {
            tokio::select! {
                stopped = &mut stop => { stopped?; break }
                _ = redeem.recv() => running.redeem(),
                _ = look.tick() => if running.has_ended() { break },
            }
        }
        eprintln!("draining: what is held is redeemed first");
        running.drain().await.context("the journal failed")
    })
}

fn draw(view: &View) {
    let state = if view.ready {
        "agreed with the pool"
    } else {
        "waiting for the pool"
    };
    let name = view.ilp_address.as_deref().unwrap_or("no address yet");
    match &view.lightning {
        Some(lightning) => println!("{name} ({}), {state}", lightning.node),
        None => println!("{name} ({}), {state}; channel {}", view.address, view.phase),
    }
    println!(
        "packets, in packet units: sent {}, received {}, of which unpaid {}",
        view.sent, view.received, view.unpaid
    );
    match &view.lightning {
        Some(lightning) => draw_lightning(lightning),
        None => draw_lanes(view),
    }
    for alarm in &view.alarms {
        println!("alarm: {alarm}");
    }
}

fn draw_lightning(view: &LightningView) {
    println!(
        "to the pool, in millisatoshi: paid {}, credited {}, under way {}; the channels carry {}",
        view.paid, view.credited, view.under_way, view.outbound
    );
    println!(
        "from the pool, in millisatoshi: received {}, {} invoices open; the channels carry {}",
        view.received, view.open_invoices, view.inbound
    );
    if view.deposit_address.is_empty() {
        return println!("fees paid, in millisatoshi: {}", view.fees);
    }
    println!(
        "fees paid, in millisatoshi: {}; our own channel: {}; coins for channels: {}",
        view.fees, view.channel, view.deposit_address
    );
}

fn draw_lanes(view: &View) {
    println!(
        "to the pool, in chain units: deposit {}, signed {}, redeemed {}",
        view.deposit_ceiling, view.signed, view.deposit_paid
    );
    println!(
        "from the pool, in chain units: allotment {}, held {}, redeemed {}",
        view.allotment_ceiling, view.held, view.redeemed
    );
}

fn redeem(config: &Path) -> Result<()> {
    let view = view(config)?;
    let pid = i32::try_from(view.pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .context("no process is named")?;
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).with_context(|| {
        format!(
            "process {} cannot be reached: is `forebay connect` running?",
            view.pid
        )
    })?;
    println!(
        "asked process {} to redeem; `forebay connect show` tells the outcome",
        view.pid
    );
    Ok(())
}

fn view(config: &Path) -> Result<View> {
    let path = Config::load(config)?.data_directory.join(STATUS_FILE);
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "{} cannot be read: has `forebay connect` been started once?",
            path.display()
        )
    })?;
    Ok(serde_json::from_str(&text)?)
}

impl Init {
    fn run(self, passphrase: &Passphrase) -> Result<()> {
        let path = self.directory.join("connect.toml");
        if path.exists() {
            bail!(
                "{} exists: a peer's side lives here already",
                path.display()
            );
        }
        std::fs::create_dir_all(self.directory.join("data"))
            .with_context(|| format!("{} cannot be made", self.directory.display()))?;
        let token = match self.software_token {
            Some(token) => token,
            None => hex::encode(keys::random::<16>()?),
        };
        let chain = self
            .chain_id
            .zip(self.vault)
            .map(|(chain_id, vault)| Chain {
                chain_id,
                rpc_urls: self.rpc_urls,
                vault,
                asset_scale: self.asset_scale,
                from_block: 0,
            });
        let (lightning, bitcoin, lnd) = self.lightning.sections(self.asset_scale);
        let config = Config {
            data_directory: "data".into(),
            keys_file: "key.json".into(),
            pool: Pool {
                url: self.pool_url,
                username: self.pool_username,
                token: self.pool_token,
            },
            software: Software {
                listen: self.listen,
                token: token.clone(),
            },
            chain,
            lightning,
            bitcoin,
            lnd,
            watchtowers: Vec::new(),
            limits: Limits {
                credit_to_pool: self.credit_to_pool,
                prepay: self.prepay,
                deposit: self.deposit,
                redeem_threshold: self.redeem_threshold,
                ..Limits::default()
            },
        };
        let key = keys::create(&self.directory.join("key.json"), passphrase)?;
        keys::write_private(&path, toml::to_string_pretty(&config)?.as_bytes())?;
        Config::load(&path)?;
        if config.chain.is_some() {
            println!(
                "This peer signs, deposits and is paid as {}: send gas money and the deposit there.",
                key.address()
            );
        } else if config.bitcoin.is_some() {
            println!(
                "Coins for its channels go where `forebay connect lightning address` says once it runs."
            );
        } else {
            println!("Your Lightning node opens a channel to the pool's node itself.");
        }
        println!(
            "Its software connects to btp+ws://:{token}@{}.",
            self.listen
        );
        println!("Next: `forebay connect --peer-config {}`.", path.display());
        Ok(())
    }
}
