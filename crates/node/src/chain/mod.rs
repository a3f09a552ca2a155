//! Between the core and the chains: requests go out once each, facts come in as commands, outcomes only when final.

mod facts;
mod requests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forebay_chain_evm::{
    Account, AccountSettings, Fault, FeePolicy, FileStore, FollowerSettings, Key, Retry, RpcNodes,
    Vault, VaultParameters, gas_reserve_needed,
};
use forebay_channel::Address;
use forebay_channel::vault::{Place, VaultObservation};
use forebay_pool::{
    AssetDefinition, ChainFact, ChainRequest, Command, Depth, FactAt, Rejection, State, VaultFact,
    VaultRules,
};
use forebay_quantity::{Amount, AssetId, BlockHeight, EffectId};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::clock::{self, ClockFault};
use crate::config::ChainConfig;
use crate::core::{CommandFault, CoreHandle};
use crate::wall;
pub(crate) use facts::serial_of;

/// How often a chain is asked for news.
const POLL: Duration = Duration::from_millis(500);
/// How long one question to a node may take.
const QUESTION_MAX: Duration = Duration::from_secs(10);
/// Pauses between attempts grow up to this.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a vault may take to be read up to the chain's head when the pool starts.
pub(crate) const CATCHING_UP_MAX: Duration = Duration::from_secs(900);
/// The same when an asset is listed on a running pool; reading goes on after it.
pub(crate) const FIRST_HEAD_MAX: Duration = Duration::from_secs(15);

/// Why a chain or a vault cannot be used.
#[derive(Debug, Error)]
pub enum ChainFault {
    /// The adapter's own words.
    #[error(transparent)]
    Adapter(#[from] Fault),
    /// Nothing says how to reach it.
    #[error(
        "no JSON-RPC is configured for chain {0}: add [chains.{0}] with rpc_urls to the configuration"
    )]
    UnknownChain(u64),
    /// The record of sent transactions cannot be opened.
    #[error("the record of sent transactions cannot be opened: {0}")]
    Record(#[from] std::io::Error),
    /// The past of a vault could not be read.
    #[error(
        "what the vaults on chain {0} did could not be read up to the chain's head in time: is the node at rpc_urls in sync and answering?"
    )]
    Behind(u64),
    /// The vault holds something else than the asset.
    #[error("the vault {vault} holds {holds}, not {token}")]
    OtherToken {
        /// The contract.
        vault: Address,
        /// Its token.
        holds: Address,
        /// What the asset says.
        token: Address,
    },
    /// The asset counts in other units than the vault.
    #[error(
        "the vault {vault} counts in {found} decimal places: list the asset with --chain-scale {found}, not {named}"
    )]
    OtherScale {
        /// The contract.
        vault: Address,
        /// What its token says.
        found: u8,
        /// What the asset says.
        named: u8,
    },
    /// The vault obeys another key.
    #[error("the vault {vault} has the operator {operator}, not this pool's key {ours}")]
    OtherOperator {
        /// The contract.
        vault: Address,
        /// Whom it obeys.
        operator: Address,
        /// Our key.
        ours: Address,
    },
    /// The clock is far ahead of the chain.
    #[error(transparent)]
    Clock(#[from] ClockFault),
}

struct Chain {
    account: Arc<Account>,
    from_block: BlockHeight,
}

/// Every chain that is configured, and every vault on it that is listed.
pub(crate) struct Chains {
    chains: BTreeMap<u64, Chain>,
    vaults: Mutex<BTreeMap<AssetId, Arc<Vault>>>,
    changed: watch::Sender<()>,
    core: CoreHandle,
    clock_ahead_max_ms: u64,
}

impl Chains {
    /// Connects to every configured chain.
    ///
    /// # Errors
    /// [`ChainFault`].
    pub(crate) async fn connect(
        configured: &BTreeMap<String, ChainConfig>,
        key: &Key,
        data_directory: &Path,
        core: CoreHandle,
        clock_ahead_max_ms: u64,
    ) -> Result<Self, ChainFault> {
        let mut chains = BTreeMap::new();
        for (id, config) in configured {
            let Ok(id) = id.parse::<u64>() else { continue };
            let nodes = RpcNodes {
                agreeing_min: if config.rpc_urls.len() >= 3 { 2 } else { 1 },
                urls: config.rpc_urls.clone(),
                timeout: QUESTION_MAX,
            };
            let settings = AccountSettings {
                poll_interval: POLL,
                ..AccountSettings::new(nodes, id)
            };
            let store = FileStore::open(data_directory.join(format!("chain-{id}.sent")))?;
            let account = Account::connect(settings, key.clone(), Box::new(store)).await?;
            chains.insert(
                id,
                Chain {
                    account: Arc::new(account),
                    from_block: BlockHeight(config.from_block),
                },
            );
        }
        let (changed, _) = watch::channel(());
        Ok(Self {
            chains,
            vaults: Mutex::default(),
            changed,
            core,
            clock_ahead_max_ms,
        })
    }

    /// Checks that the records of sent transactions are those of the journal that gives this state.
    ///
    /// # Errors
    /// [`ChainFault`].
    pub(crate) async fn check_records(&self, state: &State) -> Result<(), ChainFault> {
        let outstanding = state.chain_effects();
        let outstanding = outstanding.map(|(id, request)| (id, request.digest()));
        let (last, outstanding) = (state.last_effect(), outstanding.collect());
        for chain in self.chains.values() {
            chain.account.check_record(last, &outstanding).await?;
        }
        Ok(())
    }

    /// Connects to an asset's vault and checks that it is ours and holds the right thing.
    ///
    /// # Errors
    /// [`ChainFault`].
    pub(crate) async fn inspect(
        &self,
        definition: &AssetDefinition,
    ) -> Result<Arc<Vault>, ChainFault> {
        let chain = self
            .chains
            .get(&definition.chain_id)
            .ok_or(ChainFault::UnknownChain(definition.chain_id))?;
        let vault = Vault::connect(Arc::clone(&chain.account), definition.vault).await?;
        let parameters = vault.parameters().await?;
        let (operator, ours) = (parameters.operator, chain.account.address());
        if operator != ours {
            return Err(ChainFault::OtherOperator {
                vault: definition.vault,
                operator,
                ours,
            });
        }
        let holds = parameters.asset.unwrap_or(Address::ZERO);
        if holds != definition.token {
            return Err(ChainFault::OtherToken {
                vault: definition.vault,
                holds,
                token: definition.token,
            });
        }
        let (found, named) = (vault.scale().await?, definition.chain_scale);
        if found != named {
            return Err(ChainFault::OtherScale {
                vault: definition.vault,
                found,
                named,
            });
        }
        Ok(Arc::new(vault))
    }

    /// Whether the configuration says how to reach a chain.
    pub(crate) fn knows(&self, chain_id: u64) -> bool {
        self.chains.contains_key(&chain_id)
    }

    /// Follows a listed asset's vault from where the core stands; says whether it was read up to the chain's head in time.
    ///
    /// # Errors
    /// [`ChainFault`].
    pub(crate) async fn attach(
        self: &Arc<Self>,
        asset: AssetId,
        definition: &AssetDefinition,
        cursor: Option<FactAt>,
        wait_max: Duration,
    ) -> Result<bool, ChainFault> {
        let vault = self.inspect(definition).await?;
        self.tell_rules(asset, &vault).await?;
        self.vaults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(asset, Arc::clone(&vault));
        self.changed.send_replace(());
        let from_block = self
            .chains
            .get(&definition.chain_id)
            .map_or(BlockHeight(0), |chain| chain.from_block);
        let from = cursor.map_or(from_block, |at| BlockHeight(at.block));
        let (first_head, mut told) = watch::channel(None);
        let settings = FollowerSettings {
            poll_interval: POLL,
            ..FollowerSettings::from(from)
        };
        tokio::spawn(follow(Arc::clone(self), vault, asset, settings, first_head));
        let head = tokio::time::timeout(wait_max, told.wait_for(Option::is_some)).await;
        let head = head.ok().and_then(Result::ok).and_then(|time| *time);
        if let Some(time) = head {
            clock::check_not_ahead(
                wall::now(),
                definition.chain_id,
                time,
                self.clock_ahead_max_ms,
            )?;
        }
        Ok(head.is_some())
    }

    /// Tells the core what the vault was built with, before anything that happened in it.
    async fn tell_rules(&self, asset: AssetId, vault: &Vault) -> Result<(), ChainFault> {
        let rules = rules(&vault.parameters().await?);
        match self
            .core
            .command(Command::VaultRules { asset, rules })
            .await
        {
            Ok(()) | Err(CommandFault::Rejected(Rejection::AlreadyTaken)) => {}
            Err(CommandFault::Rejected(rejection)) => {
                error!(
                    asset = asset.0,
                    "the vault's rules were refused: {rejection}"
                )
            }
            // Whoever started this hears of it from the core itself.
            Err(CommandFault::Stopped(_)) => {}
        }
        Ok(())
    }

    /// Whether an asset's vault is followed.
    pub(crate) fn follows(&self, asset: AssetId) -> bool {
        let vaults = self.vaults.lock().unwrap_or_else(PoisonError::into_inner);
        vaults.contains_key(&asset)
    }

    /// Gas money and what of it is set aside for open channels, by chain.
    pub(crate) async fn gas(&self) -> Vec<(u64, Amount, Amount)> {
        let mut gas = Vec::new();
        for (&id, chain) in &self.chains {
            let channels = self.channels_on(id).await;
            let balance = chain.account.balance().await.unwrap_or(Amount::ZERO);
            gas.push((
                id,
                balance,
                gas_reserve_needed(channels, &FeePolicy::default()),
            ));
        }
        gas
    }

    async fn channels_on(&self, chain_id: u64) -> u32 {
        let count = self.core.query(move |state| {
            let on_chain = state.peers().filter(|(_, peer)| {
                let asset = state.asset(peer.asset);
                peer.channel.is_some()
                    && asset.is_some_and(|asset| asset.definition.chain_id == chain_id)
            });
            on_chain.count()
        });
        count
            .await
            .ok()
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0)
    }

    /// The vault of an asset, once it is attached.
    async fn vault(&self, asset: AssetId) -> Arc<Vault> {
        let mut changed = self.changed.subscribe();
        loop {
            let vault = self
                .vaults
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&asset)
                .cloned();
            if let Some(vault) = vault {
                return vault;
            }
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Carries one request out, however long it takes, and reports its outcome once that is final.
    async fn carry_out(&self, effect: EffectId, request: ChainRequest) {
        let vault = self.vault(request.asset()).await;
        let mut pause = POLL;
        loop {
            let failure = match self.attempt(&vault, effect, &request).await {
                Ok(true) => None,
                Ok(false) => Some("the transaction was reverted".to_owned()),
                Err(fault) => match self.is_hopeless(&vault, effect, &fault).await {
                    true => Some(fault.to_string()),
                    false => {
                        warn!(effect = effect.0, "a chain request waits: {fault}");
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(PAUSE_MAX);
                        continue;
                    }
                },
            };
            if let Some(why) = &failure {
                warn!(effect = effect.0, ?request, "a chain request failed: {why}");
            }
            match self
                .core
                .command(Command::Outcome { effect, failure })
                .await
            {
                Ok(()) | Err(CommandFault::Rejected(_)) => {}
                // It is outstanding still, and found in the record at the next start.
                Err(CommandFault::Stopped(_)) => return,
            }
            if let Err(fault) = vault.account().forget(effect).await {
                warn!("the record of sent transactions keeps one that is done: {fault}");
            }
            return;
        }
    }

    async fn attempt(
        &self,
        vault: &Vault,
        effect: EffectId,
        request: &ChainRequest,
    ) -> Result<bool, Fault> {
        vault.account().claim(effect, request.digest()).await?;
        let translated = requests::translate(vault, request).await?;
        if matches!(request, ChainRequest::Open { .. }) {
            // The one being opened counts already, and the vault adds it again.
            let chain_id = self.chain_of(vault);
            vault.set_channels_open(self.channels_on(chain_id).await.saturating_sub(1));
        }
        vault
            .execute(effect, &translated, forebay_channel::Finality::Final)
            .await
            .map(|inclusion| inclusion.succeeded)
    }

    fn chain_of(&self, vault: &Vault) -> u64 {
        let found = self
            .chains
            .iter()
            .find(|(_, chain)| Arc::ptr_eq(&chain.account, vault.account()));
        found.map_or(0, |(&id, _)| id)
    }

    /// Nothing was sent, and the contract says no or asking again never helps: the core plans anew.
    async fn is_hopeless(&self, vault: &Vault, effect: EffectId, fault: &Fault) -> bool {
        let says_no = matches!(fault, Fault::Refused { .. }) || fault.retry() == Retry::Never;
        says_no && !vault.account().knows(effect).await
    }
}

fn rules(parameters: &VaultParameters) -> VaultRules {
    VaultRules {
        bucket_capacity: parameters.bucket_capacity,
        bucket_refill_per_day: parameters.bucket_refill_per_day,
        heartbeat_max_ms: u64::from(parameters.heartbeat_max_s) * 1_000,
        has_committee: !parameters.committee.is_empty(),
    }
}

/// Carries requests out as they come; the core bounds how many are outstanding.
pub(crate) async fn dispatch(
    chains: Arc<Chains>,
    mut requests: mpsc::UnboundedReceiver<(EffectId, ChainRequest)>,
) {
    while let Some((effect, request)) = requests.recv().await {
        let chains = Arc::clone(&chains);
        tokio::spawn(async move { chains.carry_out(effect, request).await });
    }
}

async fn follow(
    chains: Arc<Chains>,
    vault: Arc<Vault>,
    asset: AssetId,
    settings: FollowerSettings,
    first_head: watch::Sender<Option<forebay_quantity::Timestamp>>,
) {
    let mut follower = vault.follow(settings);
    info!(asset = asset.0, vault = %vault.address(), from = settings.from.value(), "following the vault");
    while let Some(observation) = follower.next().await {
        let (fact, at, depth) = match observation {
            Ok(VaultObservation::Head(head)) => {
                if chains.core.chain_heard(asset, head.time).is_err() {
                    return;
                }
                first_head.send_if_modified(|first| first.replace(head.time).is_none());
                continue;
            }
            Ok(VaultObservation::Fact {
                fact,
                place,
                finality,
                ..
            }) => {
                let (Some(fact), Some(depth)) = (facts::fact(&fact), facts::depth(finality)) else {
                    continue;
                };
                (fact, at(place), depth)
            }
            Ok(VaultObservation::Retracted { fact, place }) => {
                let Some(fact) = facts::retracted(&fact) else {
                    continue;
                };
                (fact, at(place), Depth::Seen)
            }
            Ok(VaultObservation::DeepReorg { block }) => {
                error!(
                    asset = asset.0,
                    "the chain dropped block {block}, which was final: the book halts"
                );
                (
                    VaultFact::DeepReorg,
                    FactAt {
                        block: block.value(),
                        log: 0,
                    },
                    Depth::Seen,
                )
            }
            Err(fault) => {
                warn!(
                    asset = asset.0,
                    "the vault cannot be followed for now: {fault}"
                );
                continue;
            }
        };
        let seen = format!("{fact:?}");
        match chains
            .core
            .command(Command::Chain(ChainFact {
                asset,
                at,
                depth,
                fact,
            }))
            .await
        {
            Ok(()) | Err(CommandFault::Rejected(Rejection::AlreadyTaken)) => {}
            Err(CommandFault::Rejected(rejection)) => {
                error!(asset = asset.0, seen, "a fact was refused: {rejection}")
            }
            Err(CommandFault::Stopped(_)) => return,
        }
    }
}

fn at(place: Place) -> FactAt {
    FactAt {
        block: place.block.value(),
        log: place.log_index,
    }
}
