//! The node: its parts, and how they are started and stopped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use bitcoin::Network;
use lightning::events::bump_transaction::{BumpTransactionEventHandler, Wallet};
use tokio::sync::{Notify, mpsc, watch};

use super::chain::{Broadcaster, FeeRates};
use super::channel::FundingBatch;
use super::closings::Closings;
use super::cycle::Wake;
use super::forwards::Counting;
use super::keys::Keys;
use super::lsps::Lsps;
use super::observation::{ChannelNumber, NodeId, Observations, Observed};
use super::outbox::Outbox;
use super::peers::WantedPeers;
use super::persist::Persister;
use super::sale_records::Sales;
use super::settings::LightningSettings;
use super::store::Store;
use super::types::{Channels, Gossip, Graph, Log, Monitors, Peers, Scorer, Sweeper};
use super::wallet::HotWallet;
use crate::chain::ChainSource;
use crate::{Boxed, Fault};

/// How long a stop waits for connections to end.
const CLOSING_PATIENCE: Duration = Duration::from_secs(10);

pub(crate) type Bumper = BumpTransactionEventHandler<
    Arc<Broadcaster>,
    Arc<Wallet<Arc<dyn HotWallet>, Arc<Log>>>,
    Arc<Keys>,
    Arc<Log>,
>;

/// A running Lightning node.
///
/// All its requests may be made from several tasks at once. What comes of them is reported in [`Observations`].
pub struct LightningNode {
    pub(crate) inner: Arc<Inner>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

pub(crate) struct Inner {
    pub(crate) me: Weak<Inner>,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) network: Network,
    pub(crate) alias: String,
    pub(crate) announced: Vec<SocketAddr>,
    pub(crate) accepts_channels: bool,
    pub(crate) reserve_sat: u64,
    pub(crate) poll: Duration,
    pub(crate) store: Arc<Store>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) wallet: Arc<dyn HotWallet>,
    pub(crate) chain: ChainSource,
    pub(crate) fee_rates: Arc<FeeRates>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) closings: Arc<Closings>,
    pub(crate) broadcaster: Arc<Broadcaster>,
    pub(crate) channels: Arc<Channels>,
    pub(crate) monitors: Arc<Monitors>,
    pub(crate) persister: Arc<Persister>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) gossip: Arc<Gossip>,
    pub(crate) graph: Arc<Graph>,
    pub(crate) scorer: Arc<RwLock<Scorer>>,
    pub(crate) sweeper: Arc<Sweeper>,
    pub(crate) lsps: Arc<Lsps>,
    pub(crate) sales: Sales,
    pub(crate) counting: Counting,
    pub(crate) bumper: Bumper,
    pub(crate) observations: mpsc::Sender<Observed>,
    pub(crate) wake: Arc<Wake>,
    pub(crate) channel_events: Notify,
    pub(crate) monitor_events: Notify,
    pub(crate) ended: watch::Sender<bool>,
    pub(crate) locks: Locks,
}

/// What requests and events share, each behind a lock of its own.
#[derive(Default)]
pub(crate) struct Locks {
    invoices: Mutex<()>,
    payments: Mutex<()>,
    openings: Mutex<Vec<FundingBatch>>,
    /// Why we gave channels up, for the report of their end.
    reasons: Mutex<BTreeMap<ChannelNumber, String>>,
    wanted: Mutex<WantedPeers>,
}

impl LightningNode {
    /// Starts the node where it stopped, however it stopped.
    ///
    /// It first reads the blocks that it has missed. Events that were not acknowledged are reported again.
    ///
    /// # Errors
    ///
    /// [`Fault::StoreInUse`], [`Fault::StoreFormat`], [`Fault::OldStore`] and [`Fault::Store`] for its folder; [`Fault::Listen`];
    /// [`Fault::SourceDown`] and its kin.
    pub fn start(
        settings: LightningSettings,
        chain: impl Into<ChainSource>,
        wallet: Arc<dyn HotWallet>,
    ) -> Boxed<Result<(Self, Observations), Fault>> {
        let chain = chain.into();
        Box::pin(async move {
            let started = super::start::start(settings, chain, wallet).await?;
            let (inner, observations, writer) = started;
            let node = Self {
                inner,
                writer: Mutex::new(Some(writer)),
            };
            Ok((node, observations))
        })
    }

    /// Who the node is on Lightning.
    #[must_use]
    pub fn identity(&self) -> NodeId {
        self.inner.channels.get_our_node_id().serialize()
    }

    /// The height of the last block that the node knows.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.inner.channels.current_best_block().height
    }

    /// How often the store was written. Whoever remembers it elsewhere can refuse an old copy, with which a node would publish
    /// states that it has given up, and lose its channels for that.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.inner.store.generation()
    }

    /// Whether the node has stopped: by [`Self::stop`], or since its store cannot be written any more.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.inner.has_ended()
    }

    /// Leaves the peers, writes what waits, and ends. Its store is free once the last connection has let go of it.
    pub async fn end(&self) {
        self.inner.save_network_view();
        // Nobody is connected to again.
        self.inner.lock_wanted().clear();
        self.inner.peers.disconnect_all_peers();
        self.inner.end();
        let writer = lock(&self.writer).take();
        if let Some(writer) = writer {
            // A writer that panicked has nothing left to wait for.
            let _joined = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }

    /// Ends, and waits until its store is free.
    pub async fn stop(self) {
        self.end().await;
        let store = Arc::downgrade(&self.inner.store);
        drop(self);
        let deadline = tokio::time::Instant::now() + CLOSING_PATIENCE;
        while store.strong_count() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for LightningNode {
    fn drop(&mut self) {
        self.inner.end();
    }
}

impl Inner {
    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
        // It holds the gossip that holds it.
        self.gossip.add_utxo_lookup(None);
        self.wake.ring();
    }

    pub(crate) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    pub(crate) fn ring_events(&self) {
        self.channel_events.notify_one();
        self.monitor_events.notify_one();
    }

    /// What the hot wallet keeps for so many channels, in sat.
    pub(crate) fn reserve_of(&self, channels: usize) -> u64 {
        let count = u64::try_from(channels).unwrap_or(u64::MAX);
        self.reserve_sat.saturating_mul(count)
    }

    pub(crate) fn draw_channel_number(&self) -> ChannelNumber {
        use lightning::sign::EntropySource;
        let bytes = self.keys.get_secure_random_bytes();
        let mut number = [0; 16];
        number.copy_from_slice(&bytes[..16]);
        ChannelNumber(u128::from_be_bytes(number))
    }

    pub(crate) fn lock_invoices(&self) -> MutexGuard<'_, ()> {
        lock(&self.locks.invoices)
    }

    pub(crate) fn lock_payments(&self) -> MutexGuard<'_, ()> {
        lock(&self.locks.payments)
    }

    pub(crate) fn lock_openings(&self) -> MutexGuard<'_, Vec<FundingBatch>> {
        lock(&self.locks.openings)
    }

    pub(crate) fn lock_reasons(&self) -> MutexGuard<'_, BTreeMap<ChannelNumber, String>> {
        lock(&self.locks.reasons)
    }

    pub(crate) fn lock_wanted(&self) -> MutexGuard<'_, WantedPeers> {
        lock(&self.locks.wanted)
    }
}

/// None of these locks guards more than one step, so that a panic under one leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
