//! `forebay watch`: a watchtower.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use forebay_api::Units;
use forebay_node::tower::{
    self, Chain, Config, Limits, Principal, STATUS_FILE, View, WatchedVault,
};
use forebay_quantity::Amount;

use crate::keys::{self, Passphrase};
use crate::output::show;
use crate::{runtime, stop_signal};

/// Arguments of `forebay watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Configuration file of the watchtower.
    #[arg(long, global = true, value_name = "FILE", default_value = "watch.toml")]
    watch_config: PathBuf,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the gas key, configuration and data directory of a watchtower.
    Init(Init),
    /// Show how the running watchtower stands.
    Show,
}

#[derive(Debug, Args)]
struct Init {
    /// Folder to make it in.
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// Where principals connect; put TLS in front when they are on other machines.
    #[arg(long, default_value = "127.0.0.1:7771")]
    listen: SocketAddr,
    /// EVM chain id of the vaults.
    #[arg(long)]
    chain_id: u64,
    /// JSON-RPC of a node that the watchtower trusts; may be given several times.
    #[arg(long = "rpc", required = true)]
    rpc_urls: Vec<String>,
    /// A vault that gas is spent for; may be given several times.
    #[arg(long = "vault", required = true)]
    vaults: Vec<String>,
    /// Whom it acts for; may be given several times. Each gets a token, which is printed once.
    #[arg(long = "principal", required = true)]
    principals: Vec<String>,
}

impl Watch {
    pub(crate) fn run(self, passphrase: &Passphrase, json: bool) -> Result<()> {
        match self.action {
            None => watch(&self.watch_config, passphrase),
            Some(Action::Init(init)) => init.run(passphrase),
            Some(Action::Show) => show(json, &view(&self.watch_config)?, draw),
        }
    }
}

fn watch(config: &Path, passphrase: &Passphrase) -> Result<()> {
    let config = Config::load(config)?;
    let key = keys::open(&config.keys_file, passphrase)?;
    runtime(2)?.block_on(async {
        let running = tower::start(config, key).await?;
        let mut look = tokio::time::interval(Duration::from_secs(1));
        let mut stop = Box::pin(stop_signal());
        loop {
            tokio::select! {
                stopped = &mut stop => { stopped?; break }
                _ = look.tick() => if running.has_ended() { break },
            }
        }
        running.stop().await.context("the data directory failed")
    })
}

fn draw(view: &View) {
    println!(
        "listens on {}, pays gas as {}; {} transactions under way",
        view.listen, view.address, view.transactions
    );
    for (name, lanes) in &view.lanes {
        println!("{name}: {} lanes", lanes.count);
        for (channel, held) in &lanes.held {
            println!("  {channel}: a voucher over {held}");
        }
    }
    for act in &view.acts {
        println!("acted: {act}");
    }
}

fn view(config: &Path) -> Result<View> {
    let path = Config::load(config)?.data_directory.join(STATUS_FILE);
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "{} cannot be read: has `forebay watch` been started once?",
            path.display()
        )
    })?;
    Ok(serde_json::from_str(&text)?)
}

impl Init {
    fn run(self, passphrase: &Passphrase) -> Result<()> {
        let path = self.directory.join("watch.toml");
        if path.exists() {
            bail!("{} exists: a watchtower lives here already", path.display());
        }
        std::fs::create_dir_all(self.directory.join("data"))
            .with_context(|| format!("{} cannot be made", self.directory.display()))?;
        let mut principals = BTreeMap::new();
        for name in self.principals {
            let token = hex::encode(keys::random::<16>()?);
            principals.insert(name, Principal { token });
        }
        let vaults = self.vaults.into_iter().map(|address| WatchedVault {
            address,
            claim_min: Units(Amount::new(1)),
        });
        let chain = Chain {
            rpc_urls: self.rpc_urls,
            vaults: vaults.collect(),
        };
        let config = Config {
            data_directory: "data".into(),
            keys_file: "key.json".into(),
            listen: self.listen,
            principals,
            chains: BTreeMap::from([(self.chain_id.to_string(), chain)]),
            limits: Limits::default(),
        };
        let key = keys::create(&self.directory.join("key.json"), passphrase)?;
        keys::write_private(&path, toml::to_string_pretty(&config)?.as_bytes())?;
        Config::load(&path)?;
        println!(
            "This watchtower pays gas as {}: send gas money there, and nothing else.",
            key.address()
        );
        for (name, principal) in &config.principals {
            println!("For the configuration of {name}:");
            println!(
                "[[watchtowers]]\nurl = \"ws://{}/\"\ntoken = \"{}\"",
                self.listen, principal.token
            );
        }
        println!("Next: `forebay watch --watch-config {}`.", path.display());
        Ok(())
    }
}
