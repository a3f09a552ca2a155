//! Starts the wallet and the Lightning node of a pool.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use forebay_chain_bitcoin::chain::ChainSource;
use forebay_chain_bitcoin::lightning::{LightningNode, LightningSettings, Observations, Seed};
use forebay_chain_bitcoin::wallet::{self, Wallet, WalletSettings};
use forebay_chain_bitcoin::{Fault, genesis_hash};
use forebay_chain_evm::Key;
use forebay_channel::NodeId;
use forebay_pool::{Rail, State};
use forebay_quantity::Hash32;
use thiserror::Error;
use tracing::{info, warn};

use super::{BitcoinConfig, Guarded, Lightning, LightningFace, head};
use crate::config::{Config, ConfigFault};
use crate::core::CoreHandle;

/// Why a pool's Lightning node does not start.
#[derive(Debug, Error)]
pub enum LightningFault {
    /// The section `[bitcoin]` cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigFault),
    /// bitcoind, the wallet or the node.
    #[error(transparent)]
    Bitcoin(#[from] Fault),
    /// The node's store is an old copy, or is lost.
    #[error(
        "the Lightning store is an old copy, or is lost: it was written {found} times, and this pool knows that it was written \
         {known} times. Put the newest back: a channel that goes on from an old copy falls to its peer. Where there is none, \
         move bitcoin/lightning.redb in {} away, and `forebay bitcoin recover` has the peers close the channels",
        data.display()
    )]
    OldStore {
        /// By the store.
        found: u64,
        /// By the journal, or by the file beside the store.
        known: u64,
        /// The data directory.
        data: std::path::PathBuf,
    },
    /// There is no section `[bitcoin]`.
    #[error("no [bitcoin] is configured")]
    NoBitcoin,
    /// Channels are recovered without their store, and it is there.
    #[error(
        "{} is there: start the pool with it. Only when it cannot be read, and no newer copy exists, move it away and try again",
        store.display()
    )]
    NotLost {
        /// The store.
        store: std::path::PathBuf,
    },
    /// A file beside the store.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// The journal's asset is on another chain.
    #[error(
        "the asset {code} is on the chain that begins with {listed}, and the configuration names {network}: use the \
         network that it was listed on"
    )]
    OtherChain {
        /// The asset.
        code: String,
        /// Hash of its chain's first block.
        listed: Hash32,
        /// As configured.
        network: String,
    },
}

/// A Lightning node that runs, and what it reports.
pub(crate) struct Started {
    pub(crate) lightning: Arc<Lightning>,
    pub(crate) observations: Observations,
}

/// Starts what `[bitcoin]` names; nothing when it is left out.
///
/// # Errors
/// [`LightningFault`], whose text says what to do.
pub(crate) async fn start(
    config: &Config,
    key: &Key,
    state: &State,
    core: &CoreHandle,
) -> Result<Option<Started>, LightningFault> {
    let listed = state.assets().find_map(|(_, asset)| match asset.rail {
        Rail::Bitcoin { genesis } => Some((asset.definition.code.clone(), genesis)),
        Rail::Vault => None,
    });
    let Some(bitcoin) = &config.bitcoin else {
        if let Some((code, _)) = listed {
            warn!(asset = %code, "no [bitcoin] is configured: accounts in this asset cannot settle");
        }
        return Ok(None);
    };
    let network = bitcoin.network()?;
    let genesis = genesis_hash(network);
    if let Some((code, listed)) = listed.filter(|(_, listed)| listed.0 != genesis) {
        return Err(LightningFault::OtherChain {
            code,
            listed,
            network: bitcoin.network.clone(),
        });
    }
    let folder = config.data_directory.join("bitcoin");
    let chain = ChainSource::open(bitcoin.source(&folder)?)?;
    chain.check().await?;
    let wallet = WalletSettings::new(folder.join("wallet.redb"));
    let seed = wallet::Seed(key.derive("bitcoin wallet"));
    let wallet = Wallet::open(wallet, &seed, chain.clone()).await?;
    let wallet = Arc::new(wallet);
    let reserve = match &bitcoin.reserve {
        Some(reserve) => {
            let at = (key, folder.as_path());
            Some(Guarded::open(bitcoin, reserve, at, chain.clone()).await?)
        }
        None => None,
    };
    let head = head::path(&config.data_directory);
    let settings = LightningSettings {
        generation_min: head::read(&head)?.max(state.lightning_stored()),
        ..settings(bitcoin, folder, network, key)
    };
    let started = LightningNode::start(settings, chain, wallet.clone()).await;
    let (node, observations) = started.map_err(|fault| match fault {
        Fault::OldStore { found, known } => LightningFault::OldStore {
            found,
            known,
            data: config.data_directory.clone(),
        },
        other => LightningFault::Bitcoin(other),
    })?;
    let face = LightningFace {
        node: NodeId(node.identity()),
        address: address(bitcoin),
        genesis,
    };
    info!(node = %face.node, address = %face.address, %network, "the Lightning node runs");
    let lightning = Arc::new(Lightning {
        node,
        wallet,
        network,
        core: core.clone(),
        face,
        reserve,
        head,
        told: Mutex::new(BTreeMap::new()),
        due: Mutex::new(BTreeMap::new()),
        waits: AtomicU64::new(0),
        outcome: tokio::sync::Mutex::new(()),
    });
    Ok(Some(Started {
        lightning,
        observations,
    }))
}

pub(super) fn settings(
    bitcoin: &BitcoinConfig,
    folder: std::path::PathBuf,
    network: forebay_chain_bitcoin::Network,
    key: &Key,
) -> LightningSettings {
    LightningSettings {
        listen: bitcoin.lightning_listen,
        alias: bitcoin.alias.clone(),
        confirmations: bitcoin.confirmations,
        sells_channels: bitcoin.sells_channels,
        ..LightningSettings::new(folder, network, Seed::new(key.derive("lightning")))
    }
}

fn address(bitcoin: &BitcoinConfig) -> String {
    let listened = bitcoin.lightning_listen.map(|listen| listen.to_string());
    bitcoin
        .lightning_address
        .clone()
        .or(listened)
        .unwrap_or_default()
}
