//! `forebay watch`: a watchtower. It keeps the best voucher of each lane that its principals hand it, and redeems it
//! when a notice threatens it and the principal does not.
//!
//! It holds no key that signs anything of theirs: its own pays for gas, and a redemption's money goes to the payee that
//! the channel names. It is a witness too: it remembers the highest journal head that its principals told it. What it does, and when, is decided by [`forebay_channel::watch_step`] from what the vault says
//! now; here are the sockets, the slots and the chain.

mod chain;
mod client;
mod config;
mod keeper;
mod kept;
mod serve;
mod status;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use forebay_chain_bitcoin::Boxed;
use forebay_chain_evm::{Account, AccountSettings, FeePolicy, FileStore, Key, RpcNodes, Vault};
use forebay_channel::{Address, WatchPolicy};
use forebay_quantity::{Bps, Milliseconds, Timestamp};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::info;

pub use client::Tower;
pub(crate) use client::{Guarded, guard_pool, keep_guarded};
pub use config::{Chain, Config, Limits, Principal, WatchedVault};
pub use status::{Lanes, STATUS_FILE, View};

use crate::witness::{self, Heads};
use keeper::{Input, Keeper, VaultKey, Watched};
use kept::{PrincipalId, Vouchers};

/// How long one transaction is waited for before it is looked at anew.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Why a watchtower does not start.
#[derive(Debug, Error)]
pub enum TowerFault {
    /// What it keeps cannot be opened.
    #[error("the data directory cannot be used: {0}")]
    Data(#[from] std::io::Error),
    /// A chain or a vault is not as configured.
    #[error(transparent)]
    Chain(#[from] forebay_chain_evm::Fault),
    /// The port cannot be listened on.
    #[error(
        "listen: {address} cannot be listened on: {source}; is another process using the port?"
    )]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
}

/// A watchtower that runs until it is stopped.
pub struct RunningTower {
    listen: SocketAddr,
    inputs: mpsc::Sender<Input>,
    keeper: JoinHandle<std::io::Result<()>>,
}

/// Opens the data directory and watches. Must be called within a tokio runtime.
///
/// # Errors
/// [`TowerFault`], whose text says what to do.
pub fn start(config: Config, key: Key) -> Boxed<Result<RunningTower, TowerFault>> {
    Box::pin(starting(config, key))
}

async fn starting(config: Config, key: Key) -> Result<RunningTower, TowerFault> {
    crate::socket::install_tls();
    std::fs::create_dir_all(&config.data_directory)?;
    let vouchers = Vouchers::open(
        &config.data_directory.join("vouchers"),
        config.limits.lanes_max,
        config.principals.len(),
    )?;
    // A principal is one pool, or none.
    let heads = config.data_directory.join(witness::FILE);
    let heads = Heads::open(&heads, config.principals.len())?;
    let mut accounts = BTreeMap::new();
    let mut vaults = BTreeMap::new();
    for (id, chain) in &config.chains {
        let Ok(chain_id) = id.parse::<u64>() else {
            continue;
        };
        let account = connect(&config, chain_id, chain, key.clone()).await?;
        for watched in &chain.vaults {
            let address = watched.address.parse().unwrap_or(Address::ZERO);
            let vault = Arc::new(Vault::connect(Arc::clone(&account), address).await?);
            let parameters = vault.parameters().await?;
            let policy = WatchPolicy {
                claim_min: watched.claim_min.0,
                answer_margin: Milliseconds(config.limits.answer_margin_ms),
                notice: chain::notice_of(&parameters),
                patience: Bps::new(config.limits.patience_bps),
            };
            let key = VaultKey {
                chain_id,
                vault: address,
            };
            let now = Timestamp(0);
            vaults.insert(key, Watched { vault, policy, now });
        }
        accounts.insert(chain_id, account);
    }
    let address = config.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| TowerFault::Listen { address, source })?;
    let listen = listener.local_addr()?;
    let (inputs, receiver) = mpsc::channel(keeper::INPUTS_MAX);
    let poll = Duration::from_millis(config.limits.poll_ms);
    for (key, watched) in &vaults {
        let vault = Arc::clone(&watched.vault);
        tokio::spawn(chain::follow(vault, *key, poll, inputs.clone()));
    }
    let status = status::Status::new(
        &config.data_directory,
        key.address().to_string(),
        listen.to_string(),
        config.principals.keys().cloned(),
    );
    let keeper = Keeper::new((vouchers, heads), accounts, vaults, inputs.clone(), status);
    let keeper = tokio::spawn(keeper.run(receiver));
    let principals = config.principals.iter();
    let principals = principals
        .map(|(name, principal)| (serve::token_hash(&principal.token), PrincipalId::of(name)));
    let desk = Arc::new(serve::Desk {
        principals: principals.collect(),
        inputs: inputs.clone(),
    });
    tokio::spawn(serve::serve(listener, desk, config.limits.connections_max));
    info!(%listen, gas_key = %key.address(), "watching");
    Ok(RunningTower {
        listen,
        inputs,
        keeper,
    })
}

async fn connect(
    config: &Config,
    chain_id: u64,
    chain: &Chain,
    key: Key,
) -> Result<Arc<Account>, TowerFault> {
    let mut nodes = RpcNodes::own(chain.rpc_urls.first().cloned().unwrap_or_default());
    nodes.urls.clone_from(&chain.rpc_urls);
    nodes.agreeing_min = if chain.rpc_urls.len() >= 3 { 2 } else { 1 };
    let limits = &config.limits;
    let settings = AccountSettings {
        poll_interval: Duration::from_millis(limits.poll_ms),
        wait_max: WAIT_MAX,
        fees: FeePolicy {
            fee_per_gas_max: limits.fee_per_gas_max.0.value(),
            fee_per_gas_planned: limits.fee_per_gas_planned.0.value(),
            stuck_after: Duration::from_millis(limits.stuck_after_ms),
        },
        ..AccountSettings::new(nodes, chain_id)
    };
    let store = FileStore::open(config.data_directory.join(format!("chain-{chain_id}.sent")))?;
    Ok(Arc::new(
        Account::connect(settings, key, Box::new(store)).await?,
    ))
}

impl RunningTower {
    /// Where principals connect.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Whether it has ended by itself, which only a failing disk makes it do.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.keeper.is_finished()
    }

    /// Ends at once; transactions under way are gone on with at the next start.
    ///
    /// # Errors
    /// The disk's, that ended it before.
    pub async fn stop(self) -> std::io::Result<()> {
        // A keeper that is gone has ended already.
        let _ = self.inputs.send(Input::Stop).await;
        match self.keeper.await {
            Ok(ended) => ended,
            Err(_) => panic!("the watchtower met a bug; its report is above"),
        }
    }
}
