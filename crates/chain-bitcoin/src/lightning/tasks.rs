//! The node's own clockwork: events, blocks, fee rates, and LDK's timers.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bitcoin::Block;
use bitcoin::block::Header;
use lightning::chain::transaction::TransactionData;
use lightning::chain::{BestBlock, Listen};
use lightning::util::ser::Writeable;
use lightning_block_sync::poll::{ChainPoller, ValidatedBlockHeader};
use lightning_block_sync::{SpvClient, UnboundedCache};
use tokio::net::TcpListener;

use super::events;
use super::node::Inner;
use super::observation::{NodeId, Observation, Observed, PaymentFailure};
use super::start::{GRAPH, SCORER};
use crate::Fault;

/// How often a change of what can be sent and received is looked for.
const CAPACITY_PERIOD: Duration = Duration::from_millis(250);
/// Before closings that are about to be told are looked at again.
const CLOSINGS_PAUSE: Duration = Duration::from_millis(50);
const PEERS_PERIOD: Duration = Duration::from_secs(10);
const CHANNELS_PERIOD: Duration = Duration::from_secs(60);
const REBROADCAST_PERIOD: Duration = Duration::from_secs(30);
const FEES_PERIOD: Duration = Duration::from_secs(60);
const NETWORK_PERIOD: Duration = Duration::from_secs(3_600);

/// Starts all of it. Each ends when the node does.
pub(crate) fn spawn_all(
    inner: &Arc<Inner>,
    listener: Option<TcpListener>,
    cache: UnboundedCache,
    tip: ValidatedBlockHeader,
) -> Result<(), Fault> {
    if let Some(listener) = listener {
        spawn(inner, super::peers::accept(Arc::clone(inner), listener));
    }
    spawn(inner, super::peers::keep_connected(Arc::clone(inner)));
    spawn(inner, channel_events(Arc::clone(inner)));
    spawn(inner, monitor_events(Arc::clone(inner)));
    spawn(inner, follow(Arc::clone(inner), cache, tip));
    spawn(inner, capacity(Arc::clone(inner)));
    spawn(inner, super::forwards::tell_forwards(Arc::clone(inner)));
    spawn(inner, super::sales::sale_events(Arc::clone(inner)));
    spawn(inner, super::sales::look_after_sales(Arc::clone(inner)));
    spawn(inner, update_fees(Arc::clone(inner)));
    spawn(
        inner,
        tell_never_left(Arc::clone(inner), inner.never_left()?),
    );
    every(inner, PEERS_PERIOD, |inner| {
        inner.peers.timer_tick_occurred()
    });
    every(inner, CHANNELS_PERIOD, |inner| {
        inner.channels.timer_tick_occurred();
    });
    every(inner, REBROADCAST_PERIOD, |inner| {
        inner.monitors.rebroadcast_pending_claims();
        inner.broadcaster.hand_in_again();
    });
    every(inner, NETWORK_PERIOD, |inner| {
        inner.graph.remove_stale_channels_and_tracking();
        inner.announce();
        inner.save_network_view();
    });
    Ok(())
}

fn spawn(inner: &Arc<Inner>, task: impl Future<Output = ()> + Send + 'static) {
    let mut ended = inner.ended.subscribe();
    tokio::spawn(async move {
        tokio::select! {
            () = task => {}
            _ = ended.wait_for(|ended| *ended) => {}
        }
    });
}

fn every(inner: &Arc<Inner>, period: Duration, action: fn(&Inner)) {
    let owned = Arc::clone(inner);
    spawn(inner, async move {
        let mut ticks = tokio::time::interval(period);
        loop {
            ticks.tick().await;
            action(&owned);
        }
    });
}

async fn channel_events(inner: Arc<Inner>) {
    loop {
        let is_behind = Arc::new(AtomicBool::new(false));
        let handle = |event| {
            let (inner, is_behind) = (Arc::clone(&inner), Arc::clone(&is_behind));
            async move {
                let handled = events::handle_of_channels(inner, event).await;
                is_behind.fetch_or(handled.is_err(), Ordering::SeqCst);
                handled
            }
        };
        inner.channels.process_pending_events_async(handle).await;
        // After a payment that was counted, other events waited.
        if inner.counting.end() {
            continue;
        }
        let is_behind = is_behind.load(Ordering::SeqCst);
        if !is_behind && inner.tell_closings().await {
            // What it waits for is the monitors' events: they are handled by another task.
            inner.monitor_events.notify_one();
            tokio::time::sleep(CLOSINGS_PAUSE).await;
            continue;
        }
        inner.channel_events.notified().await;
    }
}

/// Apart from the channels' events, since what is done on chain must not wait for the listener.
async fn monitor_events(inner: Arc<Inner>) {
    loop {
        let handle = |event| events::handle(Arc::clone(&inner), event);
        inner.monitors.process_pending_events_async(handle).await;
        inner.closings.round();
        inner.monitor_events.notified().await;
    }
}

/// Gives each block to all that have to see it.
struct Followers(Arc<Inner>);

impl Listen for Followers {
    fn filtered_block_connected(&self, header: &Header, data: &TransactionData, height: u32) {
        self.0.outbox.filtered_block_connected(header, data, height);
        self.0
            .closings
            .filtered_block_connected(header, data, height);
        self.0
            .monitors
            .filtered_block_connected(header, data, height);
        self.0
            .channels
            .filtered_block_connected(header, data, height);
        self.0
            .sweeper
            .filtered_block_connected(header, data, height);
    }

    fn block_connected(&self, block: &Block, height: u32) {
        self.0.outbox.block_connected(block, height);
        self.0.closings.block_connected(block, height);
        self.0.monitors.block_connected(block, height);
        self.0.channels.block_connected(block, height);
        self.0.sweeper.block_connected(block, height);
    }

    fn blocks_disconnected(&self, fork_point: BestBlock) {
        self.0.outbox.blocks_disconnected(fork_point);
        self.0.closings.blocks_disconnected(fork_point);
        self.0.monitors.blocks_disconnected(fork_point);
        self.0.channels.blocks_disconnected(fork_point);
        self.0.sweeper.blocks_disconnected(fork_point);
    }
}

async fn follow(inner: Arc<Inner>, mut cache: UnboundedCache, tip: ValidatedBlockHeader) {
    let poller = ChainPoller::new(&inner.chain, inner.network);
    let followers = Followers(Arc::clone(&inner));
    let mut client = SpvClient::new(tip, poller, &mut cache, &followers);
    loop {
        match client.poll_best_tip().await {
            Ok((_, true)) => inner.after_blocks(),
            Ok((_, false)) => {}
            Err(error) => {
                let fault = super::start::block_fault(error);
                tracing::warn!(target: "lightning", %fault, "the chain source gives no blocks");
            }
        }
        tokio::time::sleep(inner.poll).await;
    }
}

impl Inner {
    fn after_blocks(&self) {
        if self
            .sweeper
            .regenerate_and_broadcast_spend_if_necessary()
            .is_err()
        {
            tracing::warn!(target: "lightning", "closed channels cannot be swept now");
        }
        self.monitors.archive_fully_resolved_channel_monitors();
        self.ring_events();
    }

    /// Keeps what is known of the network, so that a restart need not learn it again.
    pub(crate) fn save_network_view(&self) {
        let scorer = self
            .scorer
            .read()
            .expect("nothing panics while it holds this lock")
            .encode();
        self.store.write([
            (GRAPH.to_vec(), Some(self.graph.encode())),
            (SCORER.to_vec(), Some(scorer)),
        ]);
    }
}

async fn update_fees(inner: Arc<Inner>) {
    loop {
        tokio::time::sleep(FEES_PERIOD).await;
        // Blocks that it lacks may hold what the node has to answer in time.
        if let Err(fault) = inner.chain.check().await {
            tracing::error!(target: "lightning", %fault, "the chain is not seen as it is");
        }
        if let Err(fault) = inner.fee_rates.update(&inner.chain).await {
            tracing::warn!(target: "lightning", %fault, "fee rates stay as they were");
        }
    }
}

/// Reports payments that a crash kept from leaving.
async fn tell_never_left(inner: Arc<Inner>, hashes: Vec<[u8; 32]>) {
    for hash in hashes {
        while inner
            .payment_failed(hash, PaymentFailure::NeverLeft)
            .await
            .is_err()
        {}
    }
}

/// Reports what can be sent to and received from each peer, when it has changed.
async fn capacity(inner: Arc<Inner>) {
    let mut told: BTreeMap<NodeId, (u64, u64)> = BTreeMap::new();
    let mut ticks = tokio::time::interval(CAPACITY_PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = inner.capacities();
        let gone: Vec<_> = told
            .keys()
            .filter(|peer| !now.contains_key(*peer))
            .map(|peer| (*peer, (0, 0)))
            .collect();
        for (peer, capacity) in now.into_iter().chain(gone) {
            if told.get(&peer) == Some(&capacity)
                || (capacity == (0, 0) && !told.contains_key(&peer))
            {
                continue;
            }
            let (observed, _) = Observed::new(Observation::Capacity {
                peer,
                outbound_msat: capacity.0,
                inbound_msat: capacity.1,
            });
            if inner.observations.send(observed).await.is_err() {
                return;
            }
            told.insert(peer, capacity);
        }
    }
}

impl Inner {
    fn capacities(&self) -> BTreeMap<NodeId, (u64, u64)> {
        let mut sums: BTreeMap<NodeId, (u64, u64)> = BTreeMap::new();
        for channel in self.channels.list_usable_channels() {
            let (outbound, inbound) = sums
                .entry(channel.counterparty.node_id.serialize())
                .or_default();
            *outbound = outbound.saturating_add(channel.outbound_capacity_msat);
            *inbound = inbound.saturating_add(channel.inbound_capacity_msat);
        }
        sums
    }
}
