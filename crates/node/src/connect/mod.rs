//! `forebay connect`: the peer's own side, standing in line between its connector and a pool.
//!
//! Towards the pool it is a BTP client, towards the peer's own software a BTP server on this machine. It passes ILP
//! packets unchanged, keeps the peer's own clearing balance from them, pays the pool ahead by vouchers, and takes no
//! packet from the pool that the pool has not secured within the limit granted to it. What it decides is in [`Core`],
//! without I/O; the shell around it has the sockets, the key, the disk and the chain.

mod account;
mod chain;
mod config;
mod core;
mod event;
mod lightning;
mod links;
mod memory;
mod reply;
mod shell;
mod state;
mod status;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::thread::JoinHandle;

use forebay_chain_bitcoin::{Boxed, genesis_hash};
use forebay_chain_evm::Key;
use forebay_channel::Address;
use forebay_journal::Fault as JournalFault;
use thiserror::Error;
use tokio::net::TcpListener;
use tracing::info;

pub use self::core::{
    Command, Core, Effect, LightningCommand, LightningEffect, LightningRail, Policy, Rail,
    VaultRail,
};
pub use account::{GivenInvoice, LightningAccount, LightningEvent, OwnChannel, Settlement};
pub use config::{Chain, Config, LightningConfig, Limits, LndConfig, Pool, Software};
pub use event::Event;
pub use memory::MemoryFault;
pub use state::{Incoming, Outgoing, State};
pub use status::{LightningView, STATUS_FILE, View};

use crate::config::ConfigFault;
use crate::tower::{Guarded, keep_guarded};
use crate::witness::{self, Heads};
use config::Settling;
use shell::{Input, Inputs, Means, Shell};

/// Pools that a peer's side is a witness for: its own, and room for a pool that changes its key.
const POOLS_MAX: usize = 8;

/// Why the peer's side does not start.
#[derive(Debug, Error)]
pub enum ConnectFault {
    /// Its memory cannot be opened.
    #[error(transparent)]
    Memory(#[from] MemoryFault),
    /// The chain or the vault is not as configured.
    #[error(transparent)]
    Chain(#[from] forebay_chain_evm::Fault),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigFault),
    /// bitcoind, the wallet or a Lightning node.
    #[error(transparent)]
    Bitcoin(#[from] forebay_chain_bitcoin::Fault),
    /// The software's port cannot be listened on.
    #[error(
        "software.listen: {address} cannot be listened on: {source}; is another process using the port?"
    )]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The system gives no thread or folder.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// A peer's side that runs until it is drained.
pub struct RunningConnect {
    listen: SocketAddr,
    inputs: Inputs,
    thread: JoinHandle<Result<(), JournalFault>>,
    node: Option<lightning::Running>,
}

/// Opens the data directory, recovers, and stands in line. Must be called within a tokio runtime.
///
/// # Errors
/// [`ConnectFault`], whose text says what to do.
pub fn start(config: Config, key: Key) -> Boxed<Result<RunningConnect, ConnectFault>> {
    Box::pin(starting(config, key))
}

async fn starting(config: Config, key: Key) -> Result<RunningConnect, ConnectFault> {
    crate::socket::install_tls();
    let signer = key.address();
    let (memory, state) = memory::Memory::open(&config.data_directory, &owner(&config, signer)?)?;
    let (inputs, receiver) = shell::inputs();
    let (means, node, policy) = means(&config, key, &inputs, &state).await?;
    let address = config.software.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| ConnectFault::Listen { address, source })?;
    let listen = listener.local_addr()?;
    let core = Core::new(policy, state);
    let status = status::Status::new(&config.data_directory, signer.to_string());
    let runtime = tokio::runtime::Handle::current();
    let heads = Heads::open(&config.data_directory.join(witness::FILE), POOLS_MAX)?;
    let (guarded, source) = tokio::sync::watch::channel(Guarded::default());
    for tower in config.watchtowers {
        tokio::spawn(keep_guarded(tower, source.clone()));
    }
    let shell = Shell::new(
        (core, memory, heads),
        means,
        (inputs.clone(), runtime),
        (status, guarded),
    );
    let thread = std::thread::Builder::new()
        .name("connect".into())
        .spawn(move || shell.run(&receiver))?;
    tokio::spawn(links::serve_software(
        listener,
        config.software.token,
        inputs.clone(),
    ));
    tokio::spawn(links::keep_pool(config.pool, inputs.clone()));
    info!(%listen, %signer, "the peer's software may connect");
    Ok(RunningConnect {
        listen,
        inputs,
        thread,
        node,
    })
}

/// Whose the data directory is: one that settled by vouchers is none for Lightning, nor for another account.
fn owner(config: &Config, signer: Address) -> Result<String, ConfigFault> {
    Ok(match config.settling()? {
        Settling::Vault(_) => signer.to_string(),
        Settling::Lightning(_, lightning) => format!("{signer} for {}", lightning.account),
    })
}

/// Reaches the vault or starts the Lightning node, and follows what either reports.
async fn means(
    config: &Config,
    key: Key,
    inputs: &Inputs,
    state: &State,
) -> Result<(Means, Option<lightning::Running>, Policy), ConnectFault> {
    match config.settling()? {
        Settling::Vault(chain) => {
            let from = state.follow_from().max(chain.from_block);
            let vault = chain::connect(config, chain, key.clone()).await?;
            chain::check_record(&vault, state).await?;
            let rail = config.vault_rail(chain, key.address(), vault.scale().await?);
            tokio::spawn(chain::follow(vault.clone(), from, inputs.clone()));
            let policy = config.policy(rail, chain.asset_scale);
            Ok((Means::Vault(key, vault), None, policy))
        }
        Settling::Lightning(on, account) => {
            let from = (&key, state);
            let node = lightning::start(config, (&on, account), from, inputs.clone()).await?;
            let rail = Rail::Lightning(LightningRail {
                account: account.account.clone(),
                genesis: genesis_hash(on.network()?),
                pool_node: account.pool()?.0,
                channel_sat: account.channel_sat,
            });
            let policy = config.policy(rail, account.asset_scale);
            Ok((Means::Lightning(node.lightning()), Some(node), policy))
        }
    }
}

impl RunningConnect {
    /// Where the peer's software connects.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Redeems whatever the pool's best voucher is worth now.
    pub fn redeem(&self) {
        // A thread that has ended has nothing to redeem.
        let _ = self.inputs.give(Input::Command(Command::RedeemNow));
    }

    /// Goes on after a block that had been final was lost: the operator has looked at the vault.
    pub fn settle_reorg(&self) {
        // A thread that has ended goes on with nothing.
        let _ = self.inputs.give(Input::Command(Command::SettleReorg));
    }

    /// Whether it has ended by itself, which only a failing journal makes it do.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Redeems what is held, waits until no transaction is under way, snapshots, and ends. A Lightning payment under way is
    /// not waited for: it is found as it stands at the next start.
    ///
    /// # Errors
    /// The journal's fault that ended it.
    pub async fn drain(self) -> Result<(), JournalFault> {
        let _ = self.inputs.give(Input::Drain);
        let ended = tokio::task::spawn_blocking(move || self.thread.join()).await;
        if let Some(node) = self.node {
            node.stop().await;
        }
        match ended {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => panic!("the connect thread met a bug; its report is above"),
        }
    }
}
