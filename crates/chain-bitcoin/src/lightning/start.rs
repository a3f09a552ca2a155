//! Reads what the store holds, brings it up to the chain's tip, and sets it in motion.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::BlockHash;
use bitcoin::block::Header;
use lightning::chain::channelmonitor::{ChannelMonitor, ChannelMonitorUpdate};
use lightning::chain::transaction::TransactionData;
use lightning::chain::{BestBlock, Listen};
use lightning::events::bump_transaction::{BumpTransactionEventHandler, Wallet};
use lightning::io::Cursor;
use lightning::ln::channelmanager::{ChainParameters, ChannelManagerReadArgs};
use lightning::ln::msgs::BaseMessageHandler;
use lightning::ln::peer_handler::{IgnoringMessageHandler, MessageHandler};
use lightning::ln::types::ChannelId;
use lightning::routing::gossip::{NetworkGraph, P2PGossipSync};
use lightning::routing::scoring::{
    ProbabilisticScorer, ProbabilisticScoringDecayParameters, ProbabilisticScoringFeeParameters,
};
use lightning::sign::{EntropySource, InMemorySigner, NodeSigner, Recipient};
use lightning::util::ser::{Readable, ReadableArgs};
use lightning_block_sync::UnboundedCache;
use lightning_block_sync::init::{synchronize_listeners, validate_best_block_header};
use lightning_block_sync::poll::ValidatedBlockHeader;
use tokio::sync::{mpsc, watch};

use super::chain::{Broadcaster, FeeRates};
use super::closings::Closings;
use super::cycle::{self, MANAGER, Wake};
use super::forwards::Counting;
use super::keys::Keys;
use super::lsps::Lsps;
use super::node::{Inner, Locks};
use super::observation::{OBSERVATIONS_MAX, Observations};
use super::outbox::Outbox;
use super::persist::{MONITORS, Persister, UPDATES};
use super::sale_records::Sales;
use super::settings::LightningSettings;
use super::store::Store;
use super::sweep::{SWEEPER, SweeperStore};
use super::tasks;
use super::types::{
    Channels, Graph, Log, MessageRoutes, Monitors, Peers, Routes, Scorer, Spawner, Sweeper,
    Verifier,
};
use super::wallet::HotWallet;
use crate::Fault;
use crate::chain::ChainSource;

type Monitor = ChannelMonitor<InMemorySigner>;
type Started = (Arc<Inner>, Observations, std::thread::JoinHandle<()>);

pub(crate) const GRAPH: &[u8] = b"graph";
pub(crate) const SCORER: &[u8] = b"scorer";
const NETWORK: &[u8] = b"network";
const IDENTITY: &[u8] = b"identity";

/// What all parts share, made before there are any channels.
struct Ground {
    store: Arc<Store>,
    keys: Arc<Keys>,
    fee_rates: Arc<FeeRates>,
    outbox: Arc<Outbox>,
    closings: Arc<Closings>,
    broadcaster: Arc<Broadcaster>,
    log: Arc<Log>,
    wallet: Arc<dyn HotWallet>,
    graph: Arc<Graph>,
    scorer: Arc<RwLock<Scorer>>,
    persister: Arc<Persister>,
    monitors: Arc<Monitors>,
}

pub(crate) async fn start(
    settings: LightningSettings,
    chain: ChainSource,
    wallet: Arc<dyn HotWallet>,
) -> Result<Started, Fault> {
    let listener = match settings.listen {
        Some(address) => Some(super::peers::listen(address).await?),
        None => None,
    };
    let wake = Arc::new(Wake::default());
    let store = open_store(&settings, &wake)?;
    let kept = read_monitors(&store)?;
    let ground = Ground::new(&settings, &chain, store, wallet, &kept.updates).await?;
    let monitors = ground.revive(kept)?;
    let tip = validate_best_block_header(&chain)
        .await
        .map_err(block_fault)?;
    let (channels, channels_block) = ground.channels(&settings, &monitors, &tip)?;
    let (sweeper, sweeper_block) = ground.sweeper(&tip)?;
    ground.follow_channels(&monitors, &channels);
    let places = ground.put_in_place(monitors, &channels)?;
    let mut cache = UnboundedCache::new();
    let tip = ground
        .catch_up(
            &settings,
            &chain,
            &mut cache,
            places,
            [
                (
                    channels_block,
                    &*ground.outbox as &(dyn Listen + Send + Sync),
                ),
                (channels_block, &*ground.closings),
                (channels_block, &*channels),
                (sweeper_block, &*sweeper),
            ],
        )
        .await?;
    ground.put_fundings_right(&channels)?;
    let assembled = ground.assemble(settings, chain, wake, channels, sweeper);
    let (inner, observations) = assembled.await?;
    let writer = set_in_motion(&inner, listener, cache, tip)?;
    Ok((inner, observations, writer))
}

fn open_store(settings: &LightningSettings, wake: &Arc<Wake>) -> Result<Arc<Store>, Fault> {
    std::fs::create_dir_all(&settings.folder).map_err(|error| Fault::Store {
        detail: format!("{}: {error}", settings.folder.display()),
    })?;
    let ring = {
        let wake = Arc::clone(wake);
        Box::new(move || wake.ring())
    };
    let path = settings.folder.join("lightning.redb");
    let known = settings.generation_min;
    if known > 0 && !path.exists() {
        // Nothing is made in its place.
        return Err(Fault::OldStore { found: 0, known });
    }
    let store = Store::open(&path, ring)?;
    let found = store.generation();
    if found < known {
        return Err(Fault::OldStore { found, known });
    }
    let network = settings.network.to_string();
    match store.read(NETWORK)? {
        Some(found) if found != network.as_bytes() => {
            let found = String::from_utf8_lossy(&found);
            return Err(Fault::Store {
                detail: format!(
                    "it is on {found}, but the configuration says {network}; use another folder for each network"
                ),
            });
        }
        Some(_) => {}
        None => store.put(NETWORK.to_vec(), network.into_bytes()),
    }
    Ok(Arc::new(store))
}

/// A folder is one node's for ever: with other keys its channels would be lost.
fn check_identity(store: &Store, keys: &Keys) -> Result<(), Fault> {
    let identity = keys
        .get_node_id(Recipient::Node)
        .map_err(|()| damaged("the node's key"))?
        .serialize();
    match store.read(IDENTITY)? {
        Some(found) if found != identity => Err(Fault::OtherNode),
        Some(_) => Ok(()),
        None => {
            store.put(IDENTITY.to_vec(), identity.to_vec());
            Ok(())
        }
    }
}

/// Monitors as they lie in the store, and the updates that came after each.
struct Kept {
    monitors: Vec<Vec<u8>>,
    /// By the monitor's name, in order.
    changes: BTreeMap<String, Vec<Vec<u8>>>,
    names: Vec<String>,
    updates: BTreeMap<String, Vec<u64>>,
}

fn read_monitors(store: &Store) -> Result<Kept, Fault> {
    let mut kept = Kept {
        monitors: Vec::new(),
        changes: BTreeMap::new(),
        names: Vec::new(),
        updates: BTreeMap::new(),
    };
    for (name, value) in store.written_under(MONITORS)? {
        kept.names.push(text(name)?);
        kept.monitors.push(value);
    }
    for (mut key, value) in store.written_under(UPDATES)? {
        // The name, a slash, and the update's number in 8 bytes.
        let number = key.split_off(key.len().saturating_sub(8));
        key.pop();
        let number: [u8; 8] = number.try_into().map_err(|_| damaged("an update's key"))?;
        let name = text(key)?;
        kept.changes.entry(name.clone()).or_default().push(value);
        let numbers = kept.updates.entry(name).or_default();
        numbers.push(u64::from_be_bytes(number));
    }
    Ok(kept)
}

impl Ground {
    async fn new(
        settings: &LightningSettings,
        chain: &ChainSource,
        store: Arc<Store>,
        wallet: Arc<dyn HotWallet>,
        updates: &BTreeMap<String, Vec<u64>>,
    ) -> Result<Self, Fault> {
        let log = Arc::new(Log);
        let fee_rates = Arc::new(FeeRates::start(chain).await?);
        let outbox = Arc::new(Outbox::load(Arc::clone(&store))?);
        let broadcaster = Broadcaster::start(chain.clone(), Arc::clone(&outbox));
        let broadcaster = Arc::new(broadcaster);
        let closings = Closings::load(Arc::clone(&store), Arc::clone(&wallet))?;
        let closings = Arc::new(closings);
        let keys = Arc::new(Keys::new(&settings.seed, Arc::clone(&wallet)));
        check_identity(&store, &keys)?;
        let graph = Arc::new(read_graph(settings, &store, &log)?);
        let scorer = Arc::new(RwLock::new(read_scorer(&store, &graph, &log)?));
        let persister = Arc::new(Persister::new(
            Arc::clone(&store),
            Arc::clone(&closings),
            updates.clone(),
        ));
        let monitors = Arc::new(Monitors::new(
            None,
            Arc::clone(&broadcaster),
            Arc::clone(&log),
            Arc::clone(&fee_rates),
            Arc::clone(&persister),
            Arc::clone(&keys),
            keys.get_peer_storage_key(),
        ));
        Ok(Self {
            store,
            keys,
            fee_rates,
            outbox,
            closings,
            broadcaster,
            log,
            wallet,
            graph,
            scorer,
            persister,
            monitors,
        })
    }

    /// Reads the monitors, and applies to each the updates that came after it was written whole.
    fn revive(&self, kept: Kept) -> Result<Vec<(BlockHash, Monitor)>, Fault> {
        let mut revived = Vec::new();
        for (name, bytes) in kept.names.iter().zip(&kept.monitors) {
            let (block, monitor) =
                <(BlockHash, Monitor)>::read(&mut Cursor::new(bytes), (&*self.keys, &*self.keys))
                    .map_err(|_| damaged("a channel's monitor"))?;
            for update in kept.changes.get(name).into_iter().flatten() {
                let update = ChannelMonitorUpdate::read(&mut Cursor::new(update))
                    .map_err(|_| damaged("a monitor's update"))?;
                monitor
                    .update_monitor(&update, &self.broadcaster, &self.fee_rates, &self.log)
                    .map_err(|()| damaged("a monitor's update"))?;
            }
            revived.push((block, monitor));
        }
        Ok(revived)
    }

    /// The channel manager, read or new, and the block that it stands at.
    fn channels(
        &self,
        settings: &LightningSettings,
        monitors: &[(BlockHash, Monitor)],
        tip: &ValidatedBlockHeader,
    ) -> Result<(Arc<Channels>, BlockHash), Fault> {
        let routes = Arc::new(Routes::new(
            Arc::clone(&self.graph),
            Arc::clone(&self.log),
            Arc::clone(&self.keys),
            Arc::clone(&self.scorer),
            ProbabilisticScoringFeeParameters::default(),
        ));
        let message_routes = Arc::new(MessageRoutes::new(
            Arc::clone(&self.graph),
            Arc::clone(&self.keys),
        ));
        let Some(bytes) = self.store.read(MANAGER)? else {
            let channels = Channels::new(
                Arc::clone(&self.fee_rates),
                Arc::clone(&self.monitors),
                Arc::clone(&self.broadcaster),
                routes,
                message_routes,
                Arc::clone(&self.log),
                Arc::clone(&self.keys),
                Arc::clone(&self.keys),
                Arc::clone(&self.keys),
                settings.for_ldk(),
                ChainParameters {
                    network: settings.network,
                    best_block: best_block(tip),
                },
                now_s(),
            );
            return Ok((Arc::new(channels), tip.header.block_hash()));
        };
        let arguments = ChannelManagerReadArgs::new(
            Arc::clone(&self.keys),
            Arc::clone(&self.keys),
            Arc::clone(&self.keys),
            Arc::clone(&self.fee_rates),
            Arc::clone(&self.monitors),
            Arc::clone(&self.broadcaster),
            routes,
            message_routes,
            Arc::clone(&self.log),
            settings.for_ldk(),
            monitors.iter().map(|(_, monitor)| monitor).collect(),
        );
        let (block, channels) = <(BlockHash, Channels)>::read(&mut Cursor::new(bytes), arguments)
            .map_err(|error| Fault::Store {
            detail: format!("the channels cannot be read ({error:?})"),
        })?;
        Ok((Arc::new(channels), block))
    }

    /// All channels that have a monitor are followed to their end, and those that are open under the names that they have
    /// now.
    fn follow_channels(&self, monitors: &[(BlockHash, Monitor)], channels: &Channels) {
        let ids = monitors.iter().map(|(_, monitor)| monitor.channel_id().0);
        self.closings.forget_all_but(&ids.collect());
        for details in channels.list_channels() {
            let Some(funding) = details.funding_txo else {
                continue;
            };
            let (id, funding) = (details.channel_id, funding.into_bitcoin_outpoint());
            let balance = super::channel::balance_msat(&details);
            self.closings.adopt(id, funding, balance);
            self.closings.name(&details);
        }
    }

    /// A funding that was signed before a kill is of a channel that LDK has, or was never seen by anybody.
    fn put_fundings_right(&self, channels: &Channels) -> Result<(), Fault> {
        let known: Vec<_> = channels
            .list_channels()
            .iter()
            .filter_map(|details| Some(details.funding_txo?.txid))
            .collect();
        for (txid, is_splice) in self.wallet.waiting() {
            match known.contains(&txid) {
                true => self.wallet.handed_in(txid)?,
                // LDK tells of each splice that a restart has ended.
                false if is_splice => {}
                false => self.wallet.give_up(txid)?,
            }
        }
        Ok(())
    }

    fn sweeper(&self, tip: &ValidatedBlockHeader) -> Result<(Arc<Sweeper>, BlockHash), Fault> {
        let store = Arc::new(SweeperStore(Arc::clone(&self.store)));
        let Some(bytes) = self.store.read(SWEEPER)? else {
            let sweeper = Sweeper::new(
                best_block(tip),
                Arc::clone(&self.broadcaster),
                Arc::clone(&self.fee_rates),
                None,
                Arc::clone(&self.keys),
                Arc::clone(&self.keys),
                store,
                Arc::clone(&self.log),
            );
            return Ok((Arc::new(sweeper), tip.header.block_hash()));
        };
        let arguments = (
            Arc::clone(&self.broadcaster),
            Arc::clone(&self.fee_rates),
            None,
            Arc::clone(&self.keys),
            Arc::clone(&self.keys),
            store,
            Arc::clone(&self.log),
        );
        let (block, sweeper) = <(BestBlock, Sweeper)>::read(&mut Cursor::new(bytes), arguments)
            .map_err(|_| damaged("the sweeper"))?;
        Ok((Arc::new(sweeper), block.block_hash))
    }

    /// Hands the monitors over, each with the block that it stands at.
    ///
    /// What the store holds is durable, and LDK has to be told so of a monitor's first write alone: it remembers no other
    /// that it waits for, and a channel whose node was killed right after that write would wait for ever. It is told before
    /// any block, since LDK takes it for a bug when it finds the funding of such a channel in the chain.
    fn put_in_place(
        &self,
        monitors: Vec<(BlockHash, Monitor)>,
        channels: &Channels,
    ) -> Result<Vec<(BlockHash, ChannelId)>, Fault> {
        const FIRST_WRITE: u64 = 0;
        let mut places = Vec::new();
        for (block, monitor) in monitors {
            let (channel, update) = (monitor.channel_id(), monitor.get_latest_update_id());
            self.monitors
                .load_existing_monitor(channel, monitor)
                .map_err(|()| damaged("a channel's monitor"))?;
            places.push((block, channel));
            if update == FIRST_WRITE {
                self.monitors
                    .channel_monitor_updated(channel, update)
                    .map_err(|_| damaged("a channel's monitor"))?;
                // This is what makes LDK hear of it; no peer is connected that something could be sent to.
                let _nothing = channels.get_and_clear_pending_msg_events();
            }
        }
        Ok(places)
    }

    /// Reads to all parts the blocks that each has missed.
    async fn catch_up<'a>(
        &'a self,
        settings: &LightningSettings,
        chain: &ChainSource,
        cache: &mut UnboundedCache,
        monitors: Vec<(BlockHash, ChannelId)>,
        others: [(BlockHash, &'a (dyn Listen + Send + Sync)); 4],
    ) -> Result<ValidatedBlockHeader, Fault> {
        let monitors: Vec<_> = monitors
            .into_iter()
            .map(|(block, channel)| {
                let ground = self;
                (block, OneMonitor { ground, channel })
            })
            .collect();
        let mut listeners = others.to_vec();
        listeners.extend(
            monitors
                .iter()
                .map(|(block, listener)| (*block, listener as &(dyn Listen + Send + Sync))),
        );
        synchronize_listeners(chain, settings.network, cache, listeners)
            .await
            .map_err(block_fault)
    }

    async fn assemble(
        self,
        settings: LightningSettings,
        chain: ChainSource,
        wake: Arc<Wake>,
        channels: Arc<Channels>,
        sweeper: Arc<Sweeper>,
    ) -> Result<(Arc<Inner>, Observations), Fault> {
        let gossip = Arc::new(P2PGossipSync::new(
            Arc::clone(&self.graph),
            None,
            Arc::clone(&self.log),
        ));
        let sells = settings.sells_channels;
        let (keys, store) = (&self.keys, &self.store);
        let lsps = Arc::new(Lsps::new(sells, keys, &channels, store, &self.broadcaster).await?);
        let sales = Sales::load(Arc::clone(store))?;
        let handlers = MessageHandler {
            chan_handler: Arc::clone(&channels),
            route_handler: Arc::clone(&gossip),
            onion_message_handler: Arc::new(IgnoringMessageHandler {}),
            custom_message_handler: Arc::clone(&lsps),
            send_only_message_handler: Arc::clone(&self.monitors),
        };
        let peers = Arc::new(Peers::new(
            handlers,
            now_s(),
            &self.keys.get_secure_random_bytes(),
            Arc::clone(&self.log),
            Arc::clone(&self.keys),
        ));
        let verifier = Verifier::new(
            Arc::new(chain.clone()),
            Spawner(tokio::runtime::Handle::current()),
            Arc::clone(&gossip),
            Arc::clone(&peers),
        );
        gossip.add_utxo_lookup(Some(Arc::new(verifier)));
        let bumper = BumpTransactionEventHandler::new(
            Arc::clone(&self.broadcaster),
            Arc::new(Wallet::new(Arc::clone(&self.wallet), Arc::clone(&self.log))),
            Arc::clone(&self.keys),
            Arc::clone(&self.log),
        );
        let (sender, observed) = mpsc::channel(OBSERVATIONS_MAX);
        let (ended, has_ended) = watch::channel(false);
        let inner = Arc::new_cyclic(|me| Inner {
            me: me.clone(),
            runtime: tokio::runtime::Handle::current(),
            network: settings.network,
            alias: settings.alias,
            announced: settings.announced,
            accepts_channels: settings.accepts_channels,
            reserve_sat: settings.reserve_sat,
            poll: settings.poll,
            store: self.store,
            keys: self.keys,
            wallet: self.wallet,
            chain,
            fee_rates: self.fee_rates,
            outbox: self.outbox,
            closings: self.closings,
            broadcaster: self.broadcaster,
            channels,
            monitors: self.monitors,
            persister: self.persister,
            peers,
            gossip,
            graph: self.graph,
            scorer: self.scorer,
            sweeper,
            bumper,
            lsps,
            sales,
            counting: Counting::default(),
            observations: sender,
            wake,
            channel_events: tokio::sync::Notify::new(),
            monitor_events: tokio::sync::Notify::new(),
            ended,
            locks: Locks::default(),
        });
        let observations = Observations {
            observed,
            ended: has_ended,
        };
        Ok((inner, observations))
    }
}

/// A monitor that reads blocks which others have read already.
struct OneMonitor<'a> {
    ground: &'a Ground,
    channel: ChannelId,
}

impl Listen for OneMonitor<'_> {
    fn filtered_block_connected(&self, header: &Header, data: &TransactionData, height: u32) {
        let Ground {
            monitors,
            broadcaster,
            fee_rates,
            log,
            ..
        } = self.ground;
        if let Ok(monitor) = monitors.get_monitor(self.channel) {
            monitor.block_connected(header, data, height, &**broadcaster, &**fee_rates, log);
        }
    }

    fn blocks_disconnected(&self, fork_point: BestBlock) {
        let Ground {
            monitors,
            broadcaster,
            fee_rates,
            log,
            ..
        } = self.ground;
        if let Ok(monitor) = monitors.get_monitor(self.channel) {
            monitor.blocks_disconnected(fork_point, &**broadcaster, &**fee_rates, log);
        }
    }
}

fn set_in_motion(
    inner: &Arc<Inner>,
    listener: Option<tokio::net::TcpListener>,
    cache: UnboundedCache,
    tip: ValidatedBlockHeader,
) -> Result<std::thread::JoinHandle<()>, Fault> {
    tasks::spawn_all(inner, listener, cache, tip)?;
    let writer = Arc::clone(inner);
    std::thread::Builder::new()
        .name("lightning-writer".to_owned())
        .spawn(move || {
            let wake = Arc::clone(&writer.wake);
            cycle::run(&writer, &wake);
        })
        .map_err(|error| Fault::Store {
            detail: format!("no thread can be had: {error}"),
        })
}

fn read_graph(settings: &LightningSettings, store: &Store, log: &Arc<Log>) -> Result<Graph, Fault> {
    match store.read(GRAPH)? {
        Some(bytes) => NetworkGraph::read(&mut Cursor::new(bytes), Arc::clone(log))
            .map_err(|_| damaged("the view of the network")),
        None => Ok(NetworkGraph::new(settings.network, Arc::clone(log))),
    }
}

fn read_scorer(store: &Store, graph: &Arc<Graph>, log: &Arc<Log>) -> Result<Scorer, Fault> {
    let decay = ProbabilisticScoringDecayParameters::default();
    let (graph, log) = (Arc::clone(graph), Arc::clone(log));
    match store.read(SCORER)? {
        Some(bytes) => ProbabilisticScorer::read(&mut Cursor::new(bytes), (decay, graph, log))
            .map_err(|_| damaged("what is known of ways")),
        None => Ok(ProbabilisticScorer::new(decay, graph, log)),
    }
}

fn best_block(tip: &ValidatedBlockHeader) -> BestBlock {
    BestBlock::new(tip.header.block_hash(), tip.height)
}

fn now_s() -> u32 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

fn text(bytes: Vec<u8>) -> Result<String, Fault> {
    String::from_utf8(bytes).map_err(|_| damaged("a monitor's name"))
}

fn damaged(what: &str) -> Fault {
    Fault::Store {
        detail: format!(
            "{what} cannot be read; restore the folder from a backup made while the node was stopped"
        ),
    }
}

pub(crate) fn block_fault(error: lightning_block_sync::BlockSourceError) -> Fault {
    match error.into_inner().downcast::<Fault>() {
        Ok(fault) => *fault,
        Err(other) => Fault::Nonsense {
            method: "a block or header",
            what: other.to_string(),
        },
    }
}
