//! A bitcoind on regtest, a node of ours, and an ldk-node at the other end.
//!
//! Tests are plain functions: ldk-node brings its own runtime, ours runs on one that is made here.

use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bitcoin::{Amount, Network};
use forebay_chain_bitcoin::Fault;
use forebay_chain_bitcoin::bitcoind::Bitcoind;
use forebay_chain_bitcoin::bitcoind::regtest::{Regtest, RegtestSettings};
use forebay_chain_bitcoin::chain::ChainSource;
use forebay_chain_bitcoin::lightning::{
    ChannelNumber, ChannelStanding, Closing, HotWallet, InvoiceTerms, LightningNode,
    LightningSettings, NodeId, Observation, Observations, Opening, PaymentTerms, Seed,
};
use ldk_node::lightning::ln::msgs::SocketAddress;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::coins::TestCoins;
use crate::esplora::{self, Server};

/// The longest that anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// The chain, and where everybody's files lie.
pub(crate) struct World {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) regtest: Regtest,
    pub(crate) folder: TempDir,
    /// Where our nodes get their blocks, if not from bitcoind itself.
    esplora: Option<Server>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Vec::new())
    }

    /// With an index of all transactions, which an Electrum server needs.
    pub(crate) fn indexed() -> Self {
        Self::with(vec!["-txindex=1".to_owned()])
    }

    /// With an Esplora server, which our nodes stand on.
    pub(crate) fn on_esplora() -> Self {
        let mut world = Self::indexed();
        let server = Server::start(&world.regtest, world.folder.path());
        world.esplora = Some(world.runtime.block_on(server));
        world
    }

    pub(crate) fn stop_esplora(&mut self) {
        let server = self.esplora.as_mut().expect("there is one");
        self.runtime.block_on(server.stop());
    }

    pub(crate) fn start_esplora_again(&mut self) {
        let server = self.esplora.as_mut().expect("there is one");
        self.runtime.block_on(server.start_again());
    }

    /// Where the node of this name gets its blocks.
    fn source(&self, name: &str) -> ChainSource {
        let node = self.regtest.client_settings();
        match &self.esplora {
            None => Arc::new(Bitcoind::new(node).expect("the URL is one")).into(),
            Some(server) => {
                let headers = self.folder.path().join(format!("{name}-headers"));
                esplora::client(esplora::settings(server.url(), &node, headers)).into()
            }
        }
    }

    fn with(arguments: Vec<String>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let binary = RegtestSettings::binary_in(&root);
        let settings = RegtestSettings {
            arguments,
            ..RegtestSettings::new(binary, folder.path().join("bitcoind"))
        };
        let regtest = runtime
            .block_on(Regtest::start(settings))
            .unwrap_or_else(|error| panic!("{error}"));
        let world = Self {
            runtime: Arc::new(runtime),
            regtest,
            folder,
            esplora: None,
        };
        world.mine(101);
        world
    }

    /// Makes blocks. Whoever must have seen them is waited for by what it then reports.
    pub(crate) fn mine(&self, blocks: u32) {
        self.runtime
            .block_on(self.regtest.mine(blocks))
            .expect("bitcoind makes blocks");
    }

    pub(crate) fn pay(&self, address: &bitcoin::Address, sat: u64) {
        self.runtime
            .block_on(self.regtest.pay(address, Amount::from_sat(sat)))
            .expect("the miner has coins");
    }

    pub(crate) fn height(&self) -> u32 {
        self.runtime
            .block_on(self.regtest.client().tip())
            .expect("bitcoind answers")
            .height
    }

    /// How many transactions wait for a block.
    pub(crate) fn mempool(&self) -> usize {
        let client = self.regtest.client();
        let pool: Vec<String> = self
            .runtime
            .block_on(client.call("getrawmempool", &[]))
            .expect("bitcoind answers");
        pool.len()
    }

    /// What is unspent at an address, in sat, as bitcoind finds it among all coins of the chain.
    pub(crate) fn unspent_at(&self, address: &bitcoin::Address) -> u64 {
        let wanted = serde_json::json!([format!("addr({address})")]);
        let found: serde_json::Value = self
            .runtime
            .block_on(
                self.regtest
                    .client()
                    .call("scantxoutset", &["start".into(), wanted]),
            )
            .expect("bitcoind answers");
        let total = found["total_amount"].as_f64().expect("a number");
        Amount::from_btc(total)
            .expect("no more than there is")
            .to_sat()
    }

    /// Puts other blocks in place of the newest, and one more. What the old ones held is in the new ones but the first.
    pub(crate) fn reorg(&self, depth: u32) {
        let height = self.height() - depth + 1;
        self.runtime.block_on(async {
            let first = self.regtest.client().block_hash(height).await;
            let first = first.expect("bitcoind answers").expect("it is there");
            let taken_out = self.regtest.invalidate(first).await;
            taken_out.expect("bitcoind takes it out");
            let empty = self.regtest.mine_only(&[]).await;
            empty.expect("bitcoind makes a block");
        });
        self.mine(depth);
    }

    pub(crate) fn ours(&self, name: &str) -> Ours {
        Ours::start(
            self,
            name,
            our_settings(self, name, Seed::new(seed_of(name))),
        )
    }

    /// With coins: without them it takes no channel with anchors.
    pub(crate) fn theirs(&self, name: &str) -> Theirs {
        self.with_coins(Theirs::start(self, name))
    }

    pub(crate) fn with_coins(&self, theirs: Theirs) -> Theirs {
        let address = theirs.node.onchain_payment().new_address();
        self.pay(&address.expect("an address"), 1_000_000);
        self.mine(1);
        until("the peer sees its coins", || {
            let synced = theirs.node.sync_wallets().is_ok();
            synced && theirs.node.list_balances().spendable_onchain_balance_sats > 0
        });
        theirs
    }

    /// Ours has coins, and both a channel of ours, of this value, that is ready.
    pub(crate) fn channel(&self, ours: &Ours, theirs: &Theirs, sat: u64) -> ChannelNumber {
        self.fund(ours, 2 * sat + 200_000);
        let channel = ChannelNumber(7);
        ours.connect(theirs);
        ours.node
            .open_channel(Opening {
                channel,
                peer: theirs.id(),
                value_sat: sat,
                public: false,
                fee_max_sat: 10_000,
            })
            .expect("the peer is there");
        self.ready(ours, theirs, channel);
        channel
    }

    pub(crate) fn fund(&self, ours: &Ours, sat: u64) {
        self.pay(&ours.wallet.address(), sat);
        self.mine(1);
        until("the coins are seen", || ours.wallet.spendable_sat() >= sat);
    }

    /// Mines a channel that is pending, and waits until both can use it.
    pub(crate) fn ready(&self, ours: &Ours, theirs: &Theirs, channel: ChannelNumber) {
        ours.wait(
            "the channel is pending",
            |o| matches!(o, Observation::ChannelPending { channel: c, .. } if *c == channel),
        );
        self.settle(theirs);
        until("the channel is usable", || {
            ours.channel(channel).is_some_and(|c| c.usable)
        });
        until("the peer can use the channel", || {
            let id = ours.key();
            let channels = theirs.node.list_channels();
            channels
                .iter()
                .any(|c| c.counterparty_node_id == id && c.is_usable)
        });
    }

    /// Six blocks of what is in the mempool, seen by the peer.
    pub(crate) fn settle(&self, theirs: &Theirs) {
        std::thread::sleep(Duration::from_millis(200));
        self.mine(6);
        theirs.node.sync_wallets().expect("the peer sees blocks");
    }
}

/// A node of ours, whose observations are kept and acknowledged as they come.
pub(crate) struct Ours {
    runtime: Arc<Runtime>,
    pub(crate) node: Arc<LightningNode>,
    pub(crate) wallet: Arc<TestCoins>,
    told: Arc<Mutex<Vec<Observation>>>,
    /// Whether observations are acknowledged.
    keeps: Arc<AtomicBool>,
}

/// A node of ours whose observations the test takes itself.
pub(crate) fn start_silent(
    world: &World,
    name: &str,
) -> (Arc<LightningNode>, Observations, Arc<TestCoins>) {
    start_node(
        world,
        name,
        our_settings(world, name, Seed::new(seed_of(name))),
    )
}

fn start_node(
    world: &World,
    name: &str,
    settings: LightningSettings,
) -> (Arc<LightningNode>, Observations, Arc<TestCoins>) {
    let bitcoind = Bitcoind::new(world.regtest.client_settings()).expect("the URL is one");
    let bitcoind = Arc::new(bitcoind);
    let wallet = {
        let _on = world.runtime.enter();
        TestCoins::start(seed_of(name), Arc::clone(&bitcoind))
    };
    // As a wallet that outlives its process, it knows its coins from the start.
    let height = world.height();
    until("the wallet knows its coins", || wallet.height() >= height);
    let started = LightningNode::start(settings, world.source(name), wallet.clone());
    let (node, observations) = world
        .runtime
        .block_on(started)
        .unwrap_or_else(|fault| panic!("{fault}"));
    (Arc::new(node), observations, wallet)
}

impl Ours {
    fn start(world: &World, name: &str, settings: LightningSettings) -> Self {
        let runtime = Arc::clone(&world.runtime);
        let (node, mut observations, wallet) = start_node(world, name, settings);
        let told = Arc::new(Mutex::new(Vec::new()));
        let keeps = Arc::new(AtomicBool::new(true));
        let (told_too, keeps_too) = (Arc::clone(&told), Arc::clone(&keeps));
        runtime.spawn(async move {
            while let Some(observed) = observations.next().await {
                let observation = observed.observation.clone();
                told_too.lock().expect("lock").push(observation);
                if keeps_too.load(Ordering::SeqCst) {
                    observed.acknowledge();
                }
            }
        });
        Self {
            runtime,
            node,
            wallet,
            told,
            keeps,
        }
    }

    /// From now on observations are told and not acknowledged.
    pub(crate) fn keep_no_more(&self) {
        self.keeps.store(false, Ordering::SeqCst);
    }

    pub(crate) fn stop(self) {
        let node = Arc::into_inner(self.node).expect("nobody else uses it");
        self.runtime.block_on(node.stop());
    }

    pub(crate) fn key(&self) -> bitcoin::secp256k1::PublicKey {
        bitcoin::secp256k1::PublicKey::from_slice(&self.node.identity()).expect("a key")
    }

    pub(crate) fn connect(&self, theirs: &Theirs) {
        let address = theirs.address.parse().expect("an address");
        self.runtime
            .block_on(self.node.connect(theirs.id(), address))
            .expect("the peer answers");
    }

    pub(crate) fn close(&self, channel: ChannelNumber, closing: Closing) -> Result<(), Fault> {
        self.runtime.block_on(self.node.close(channel, closing))
    }

    pub(crate) fn channel(&self, channel: ChannelNumber) -> Option<ChannelStanding> {
        let channels = self.node.channels().expect("the store can be read");
        channels.into_iter().find(|c| c.channel == channel)
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn told(&self) -> Vec<Observation> {
        self.told.lock().expect("lock").clone()
    }

    /// Waits for an observation, which may have come before.
    pub(crate) fn wait(&self, what: &str, is_it: impl Fn(&Observation) -> bool) -> Observation {
        let mut found = None;
        until(what, || {
            found = self.told().into_iter().find(&is_it);
            found.is_some()
        });
        found.expect("it was found")
    }

    pub(crate) fn invoice(&self, settlement: u8, amount_msat: u64) -> String {
        self.runtime
            .block_on(self.node.invoice([settlement; 16], terms(amount_msat)))
            .unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// Pays them so much, in msat, in parts: ldk-node lets a tenth of a channel be under way.
    pub(crate) fn give(&self, theirs: &Theirs, parts: u32, part_msat: u64) {
        for _ in 0..parts {
            assert_eq!(self.pay(&theirs.invoice(part_msat)), Some(0));
            self.quiet();
        }
    }

    /// Waits until nothing is under way: a payment that has arrived still takes room until both have put it away.
    pub(crate) fn quiet(&self) {
        until("nothing is under way", || {
            let channels = self.node.channels().expect("the store can be read");
            channels.iter().all(|c| c.pending == 0 && c.usable)
        });
    }

    /// Pays, and waits for the end: the fee, if it arrived.
    pub(crate) fn pay(&self, invoice: &str) -> Option<u64> {
        let hash = hash_of(invoice);
        self.node
            .pay(&payment(invoice))
            .unwrap_or_else(|fault| panic!("{fault}"));
        let end = self.wait("the payment ends", |o| match o {
            Observation::Sent { hash: h, .. } | Observation::Failed { hash: h, .. } => *h == hash,
            _ => false,
        });
        match end {
            Observation::Sent { fee_msat, .. } => Some(fee_msat),
            _ => None,
        }
    }
}

/// A node of ours that peers can open channels to, and where it listens.
pub(crate) fn listening_ours(world: &World, name: &str) -> (Ours, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    (ours_at(world, name, address, false), address)
}

/// A node of ours that listens there, and sells channels or does not.
pub(crate) fn ours_at(world: &World, name: &str, address: SocketAddr, sells: bool) -> Ours {
    let mut settings = our_settings(world, name, Seed::new(seed_of(name)));
    settings.listen = Some(address);
    settings.sells_channels = sells;
    Ours::start(world, name, settings)
}

pub(crate) fn our_settings(world: &World, name: &str, seed: Seed) -> LightningSettings {
    let mut settings =
        LightningSettings::new(world.folder.path().join(name), Network::Regtest, seed);
    settings.poll = Duration::from_millis(100);
    settings
}

pub(crate) fn seed_of(name: &str) -> [u8; 32] {
    use bitcoin::hashes::{Hash, sha256};
    sha256::Hash::hash(name.as_bytes()).to_byte_array()
}

pub(crate) fn terms(amount_msat: u64) -> InvoiceTerms {
    InvoiceTerms {
        amount_msat,
        expiry_s: 3_600,
        final_cltv: 80,
        payer: 5,
    }
}

pub(crate) fn payment(invoice: &str) -> PaymentTerms {
    PaymentTerms {
        invoice: invoice.to_owned(),
        fee_max_msat: 10_000,
        timeout: Duration::from_secs(10),
        cltv_max: None,
    }
}

pub(crate) fn hash_of(invoice: &str) -> [u8; 32] {
    forebay_chain_bitcoin::lightning::read_invoice(invoice, Network::Regtest)
        .expect("an invoice")
        .hash
}

/// The node at the other end.
pub(crate) struct Theirs {
    pub(crate) node: Arc<ldk_node::Node>,
    pub(crate) address: String,
}

impl Theirs {
    /// In its own folder, where a second start finds what the first one left.
    pub(crate) fn start(world: &World, name: &str) -> Self {
        Self::start_with(world, name, |_| {})
    }

    pub(crate) fn start_with(
        world: &World,
        name: &str,
        set: impl FnOnce(&mut ldk_node::Builder),
    ) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut builder = ldk_node::Builder::new();
        builder.set_network(Network::Regtest);
        builder.set_storage_dir_path(world.folder.path().join(name).display().to_string());
        let rpc = world.regtest.port();
        builder.set_chain_source_bitcoind_rpc(
            "127.0.0.1".into(),
            rpc,
            "forebay".into(),
            "regtest".into(),
        );
        let listening = SocketAddress::from_str(&address).expect("an address");
        builder
            .set_listening_addresses(vec![listening])
            .expect("one address");
        builder.set_node_alias(name.to_owned()).expect("short");
        set(&mut builder);
        let node = builder.build().expect("a node");
        node.start().expect("the node starts");
        let node = Arc::new(node);
        Self { node, address }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.node.node_id().serialize()
    }

    /// An invoice of this node's, in msat.
    pub(crate) fn invoice(&self, amount_msat: u64) -> String {
        use ldk_node::lightning_invoice::{Bolt11InvoiceDescription, Description};
        let description = Bolt11InvoiceDescription::Direct(Description::empty());
        self.node
            .bolt11_payment()
            .receive(amount_msat, &description, 3_600)
            .expect("an invoice")
            .to_string()
    }

    pub(crate) fn pay(&self, invoice: &str) {
        let invoice = ldk_node::lightning_invoice::Bolt11Invoice::from_str(invoice);
        let invoice = invoice.expect("an invoice");
        until("the payment leaves", || {
            self.node.bolt11_payment().send(&invoice, None).is_ok()
        });
    }

    /// What the peer says is its own in its channel with us, in msat: what it can send, what it must leave in, and the
    /// anchors of 330 sat that a funder pays; or, when it can send nothing, all that is not so ours.
    pub(crate) fn balance_msat(&self) -> u64 {
        let channels = self.node.list_channels();
        // An opening that came to nothing leaves one behind that never is ready.
        channels
            .iter()
            .filter(|c| c.is_channel_ready)
            .map(|c| {
                let (ours, theirs) = if c.is_outbound {
                    (0, 660_000)
                } else {
                    (660_000, 0)
                };
                if c.outbound_capacity_msat > 0 {
                    let reserve = c.unspendable_punishment_reserve.unwrap_or(0) * 1_000;
                    return c.outbound_capacity_msat + reserve + theirs;
                }
                let reserve = c.counterparty_unspendable_punishment_reserve * 1_000;
                c.channel_value_sats * 1_000 - c.inbound_capacity_msat - reserve - ours
            })
            .sum()
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        // It may have been stopped by the test.
        let _unless_stopped = self.node.stop();
    }
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port()
}

/// Copies a folder whole.
pub(crate) fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status();
    assert!(copied.expect("there is a cp").success());
}

/// Waits until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until it is what is expected, and says what it was when it never is.
pub(crate) fn until_equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &T,
    mut found: impl FnMut() -> T,
) {
    let started = Instant::now();
    loop {
        let now = found();
        if now == *expected {
            return;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "{what} is {now:?}, not {expected:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
