//! What a pool's channels held, when its Lightning store is lost: its peers close them, and its key finds what that pays.

use std::sync::Arc;
use std::time::Duration;

use forebay_chain_bitcoin::chain::{ChainSource, SourceSettings};
use forebay_chain_bitcoin::lightning::{LightningNode, Recovered, Seed, recover};
use forebay_chain_bitcoin::script_of;
use forebay_chain_bitcoin::wallet::{self, Wallet, WalletSettings};
use forebay_chain_evm::Key;
use tracing::{info, warn};

use super::start::{LightningFault, settings};
use crate::config::Config;

/// bitcoind looks through all that is unspent each time.
const EVERY: Duration = Duration::from_secs(60);
/// How long that may take on the main network.
const SCAN_MAX: Duration = Duration::from_secs(900);

/// Stands in for a pool's Lightning node whose store is lost: each peer that connects is told that its channels are not
/// known, and closes them. What they pay to the pool's key is sent to an address as it comes, and handed to `told`. Runs
/// until it is dropped.
///
/// # Errors
/// [`LightningFault`]; also when the store is there.
pub async fn recover_channels(
    config: &Config,
    key: &Key,
    to: &str,
    told: impl Fn(&Recovered),
) -> Result<(), LightningFault> {
    let Some(bitcoin) = &config.bitcoin else {
        return Err(LightningFault::NoBitcoin);
    };
    let folder = config.data_directory.join("bitcoin");
    let store = folder.join("lightning.redb");
    if store.exists() {
        return Err(LightningFault::NotLost { store });
    }
    let network = bitcoin.network()?;
    let to = script_of(to, network)?;
    let mut reached = bitcoin.source(&folder)?;
    if let SourceSettings::Bitcoind(reached) = &mut reached {
        reached.timeout = SCAN_MAX;
    }
    let chain = ChainSource::open(reached)?;
    chain.check().await?;
    std::fs::create_dir_all(&folder)?;
    let wallet = WalletSettings::new(folder.join("wallet.redb"));
    let seed = wallet::Seed(key.derive("bitcoin wallet"));
    let wallet = Arc::new(Wallet::open(wallet, &seed, chain.clone()).await?);
    // Apart from where the lost one lay, so that no pool takes this one for it.
    let settings = settings(bitcoin, folder.join("recovery"), network, key);
    let started = LightningNode::start(settings, chain.clone(), wallet.clone());
    let (_node, observations) = started.await?;
    tokio::spawn(observations.acknowledge_all());
    info!("peers that connect are told to close their channels");
    let seed = Seed::new(key.derive("lightning"));
    loop {
        match recover(&seed, &chain, wallet.clone(), to.clone()).await {
            Ok(Some(recovered)) => told(&recovered),
            Ok(None) => {}
            Err(fault) => warn!("what peers have paid cannot be fetched now: {fault}"),
        }
        tokio::time::sleep(EVERY).await;
    }
}
