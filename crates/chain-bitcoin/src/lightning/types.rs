//! LDK's generic parts, put together once.

use std::sync::{Arc, RwLock};

use lightning::chain::Filter;
use lightning::chain::chainmonitor::ChainMonitor;
use lightning::ln::channelmanager::ChannelManager;
use lightning::ln::peer_handler::{IgnoringMessageHandler, PeerManager};
use lightning::onion_message::messenger::DefaultMessageRouter;
use lightning::routing::gossip::{NetworkGraph, P2PGossipSync};
use lightning::routing::router::DefaultRouter;
use lightning::routing::scoring::{ProbabilisticScorer, ProbabilisticScoringFeeParameters};
use lightning::sign::InMemorySigner;
use lightning::util::logger::{Level, Logger, Record};
use lightning::util::native_async::FutureSpawner;
use lightning::util::sweep::OutputSweeperSync;
use lightning_block_sync::gossip::GossipVerifier;
use lightning_net_tokio::SocketDescriptor;

use super::chain::{Broadcaster, FeeRates};
use super::keys::Keys;
use super::lsps::Lsps;
use super::persist::Persister;
use super::sweep::SweeperStore;
use crate::chain::ChainSource;

pub(crate) type Monitors = ChainMonitor<
    InMemorySigner,
    Arc<dyn Filter + Send + Sync>,
    Arc<Broadcaster>,
    Arc<FeeRates>,
    Arc<Log>,
    Arc<Persister>,
    Arc<Keys>,
>;
pub(crate) type Graph = NetworkGraph<Arc<Log>>;
pub(crate) type Scorer = ProbabilisticScorer<Arc<Graph>, Arc<Log>>;
pub(crate) type Routes = DefaultRouter<
    Arc<Graph>,
    Arc<Log>,
    Arc<Keys>,
    Arc<RwLock<Scorer>>,
    ProbabilisticScoringFeeParameters,
    Scorer,
>;
pub(crate) type MessageRoutes = DefaultMessageRouter<Arc<Graph>, Arc<Log>, Arc<Keys>>;
pub(crate) type Channels = ChannelManager<
    Arc<Monitors>,
    Arc<Broadcaster>,
    Arc<Keys>,
    Arc<Keys>,
    Arc<Keys>,
    Arc<FeeRates>,
    Arc<Routes>,
    Arc<MessageRoutes>,
    Arc<Log>,
>;
/// Looks up in the chain what gossip says about channels, so that nobody fills the graph with channels that do not exist.
pub(crate) type Verifier = GossipVerifier<Spawner, Arc<ChainSource>, Arc<Log>>;
pub(crate) type Gossip = P2PGossipSync<Arc<Graph>, Arc<Verifier>, Arc<Log>>;
pub(crate) type Peers = PeerManager<
    SocketDescriptor,
    Arc<Channels>,
    Arc<Gossip>,
    Arc<IgnoringMessageHandler>,
    Arc<Log>,
    Arc<Lsps>,
    Arc<Keys>,
    Arc<Monitors>,
>;
pub(crate) type Sweeper = OutputSweeperSync<
    Arc<Broadcaster>,
    Arc<Keys>,
    Arc<FeeRates>,
    Arc<dyn Filter + Send + Sync>,
    Arc<SweeperStore>,
    Arc<Log>,
    Arc<Keys>,
>;

/// LDK's log as tracing events. Its two finest levels, which may show what is in a payment, are left out.
pub(crate) struct Log;

impl Logger for Log {
    fn log(&self, record: Record) {
        let (place, text) = (record.module_path, record.args);
        match record.level {
            Level::Gossip | Level::Trace => {}
            Level::Debug => tracing::debug!(target: "lightning", place, "{text}"),
            Level::Info => tracing::info!(target: "lightning", place, "{text}"),
            Level::Warn => tracing::warn!(target: "lightning", place, "{text}"),
            Level::Error => tracing::error!(target: "lightning", place, "{text}"),
        }
    }
}

/// Starts LDK's tasks on the node's runtime, from whatever thread.
pub(crate) struct Spawner(pub(crate) tokio::runtime::Handle);

impl FutureSpawner for Spawner {
    fn spawn<T: Future<Output = ()> + Send + 'static>(&self, future: T) {
        self.0.spawn(future);
    }
}
