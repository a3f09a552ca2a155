//! The chain as the peer sees it: through its own node, by its own key.

use std::sync::Arc;
use std::time::Duration;

use forebay_chain_evm::{
    Account, AccountSettings, Fault, FileStore, Follower, FollowerSettings, Inclusion, Key, Retry,
    RpcNodes, Vault,
};
use forebay_channel::vault::VaultRequest;
use forebay_channel::{Address, Finality};
use forebay_quantity::{BlockHeight, EffectId};
use tokio::time::sleep;
use tracing::{info, warn};

use super::config::{Chain, Config};
use super::core::Command;
use super::shell::{Input, Inputs};
use super::state::State;

const POLL: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_secs(2);

/// Connects to the vault, whose code is checked.
pub(super) async fn connect(config: &Config, chain: &Chain, key: Key) -> Result<Arc<Vault>, Fault> {
    let mut nodes = RpcNodes::own(chain.rpc_urls.first().cloned().unwrap_or_default());
    nodes.urls.clone_from(&chain.rpc_urls);
    nodes.agreeing_min = chain.rpc_urls.len().div_ceil(2).max(1);
    let mut settings = AccountSettings::new(nodes, chain.chain_id);
    settings.poll_interval = POLL;
    let store = FileStore::open(config.data_directory.join("sent"))?;
    let account = Arc::new(Account::connect(settings, key, Box::new(store)).await?);
    let address: Address = chain.vault.parse().unwrap_or(Address::ZERO);
    Ok(Arc::new(Vault::connect(account, address).await?))
}

/// Reports what the vault says, for as long as anybody listens.
pub(super) async fn follow(vault: Arc<Vault>, from: u64, inputs: Inputs) {
    let settings = FollowerSettings {
        poll_interval: POLL,
        ..FollowerSettings::from(BlockHeight::new(from))
    };
    let mut follower: Follower = vault.follow(settings);
    while let Some(report) = follower.next().await {
        match report {
            Ok(observation) => {
                if inputs.give(Input::Chain(observation)).is_err() {
                    return;
                }
            }
            Err(fault) => warn!("the chain cannot be followed now: {fault}"),
        }
    }
}

/// Checks that the record of sent transactions is that of the journal that gives this state.
pub(super) async fn check_record(vault: &Vault, state: &State) -> Result<(), Fault> {
    let demands = state.demands.iter();
    let outstanding = demands.map(|(id, request)| (*id, request.digest()));
    let account = vault.account();
    account
        .check_record(state.last_effect, &outstanding.collect())
        .await
}

async fn execute(vault: &Vault, id: EffectId, request: &VaultRequest) -> Result<Inclusion, Fault> {
    vault.account().claim(id, request.digest()).await?;
    vault.execute(id, request, Finality::Final).await
}

/// Carries out one transaction, once, however often it takes to be told how it ended.
pub(super) async fn transact(
    vault: Arc<Vault>,
    id: EffectId,
    request: VaultRequest,
    inputs: Inputs,
) {
    let succeeded = loop {
        match execute(&vault, id, &request).await {
            Ok(inclusion) => {
                info!(
                    effect = id.value(),
                    gas_used = inclusion.gas_used,
                    "transaction {}",
                    inclusion.transaction
                );
                break inclusion.succeeded;
            }
            Err(fault) => match fault.retry() {
                Retry::Now => {}
                Retry::Later => {
                    warn!("transaction {} waits: {fault}", id.value());
                    sleep(PAUSE).await;
                }
                Retry::Never => {
                    warn!("transaction {} cannot be made: {fault}", id.value());
                    break false;
                }
            },
        }
    };
    // Without anybody to tell, the process is ending, and the next one asks again.
    let _ = inputs.give(Input::Command(Command::Outcome(id, succeeded)));
}
