//! The node with the operator's real wallet: all that either asks of the other.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::{Address, Network};
use forebay_chain_bitcoin::bitcoind::Bitcoind;
use forebay_chain_bitcoin::lightning::{
    ChannelNumber, Closing, HotWallet, LightningNode, Observation, Opening, Seed,
};
use forebay_chain_bitcoin::wallet::{self, Wallet, WalletSettings};

use crate::world::{Theirs, World, our_settings, payment, seed_of, until};

const CHANNEL: ChannelNumber = ChannelNumber(1);

struct Run<'a> {
    world: &'a World,
    theirs: &'a Theirs,
    node: LightningNode,
    wallet: Arc<Wallet>,
    told: tokio::sync::mpsc::UnboundedReceiver<Observation>,
}

impl<'a> Run<'a> {
    fn start(world: &'a World, theirs: &'a Theirs) -> Self {
        let settings = our_settings(world, "operator", Seed::new(seed_of("operator")));
        let file = world.folder.path().join("wallet");
        let bitcoind = Bitcoind::new(world.regtest.client_settings()).expect("the URL is one");
        let bitcoind = Arc::new(bitcoind);
        let (out, told) = tokio::sync::mpsc::unbounded_channel();
        let (node, wallet) = world.runtime.block_on(async {
            let mut wallet_settings = WalletSettings::new(file);
            wallet_settings.birthday_height = Some(1);
            let seed = wallet::Seed(seed_of("coins"));
            let wallet = Wallet::open(wallet_settings, &seed, Arc::clone(&bitcoind)).await;
            let wallet = Arc::new(wallet.unwrap_or_else(|fault| panic!("{fault}")));
            tokio::spawn(keep_in_sync(Arc::downgrade(&wallet)));
            let started = LightningNode::start(settings, bitcoind, wallet.clone()).await;
            let (node, mut observations) = started.unwrap_or_else(|fault| panic!("{fault}"));
            tokio::spawn(async move {
                while let Some(observed) = observations.next().await {
                    // The test has ended when it takes no more.
                    let _taken = out.send(observed.observation.clone());
                    observed.acknowledge();
                }
            });
            (node, wallet)
        });
        let run = Self {
            world,
            theirs,
            node,
            wallet,
            told,
        };
        let address = theirs.address.parse().expect("an address");
        world
            .runtime
            .block_on(run.node.connect(theirs.id(), address))
            .expect("it answers");
        run
    }

    fn stop(self) {
        self.world.runtime.block_on(self.node.stop());
        let wallet = Arc::downgrade(&self.wallet);
        drop(self.wallet);
        until("the wallet is closed", || wallet.strong_count() == 0);
    }

    fn wait(&mut self, is_it: impl Fn(&Observation) -> bool) -> Observation {
        let mut found = None;
        until("it is observed", || {
            while let Ok(observation) = self.told.try_recv() {
                if is_it(&observation) {
                    found = Some(observation);
                    return true;
                }
            }
            false
        });
        found.expect("it was found")
    }

    fn open(&mut self, channel: ChannelNumber, value_sat: u64) {
        self.node
            .open_channel(Opening {
                channel,
                peer: self.theirs.id(),
                value_sat,
                public: false,
                fee_max_sat: 10_000,
            })
            .expect("the peer is there");
    }

    fn spendable(&self) -> u64 {
        self.wallet.spendable_sat()
    }

    fn channel(&self) -> Option<(u64, bool, u64)> {
        let channels = self.node.channels().expect("readable");
        let found = channels.into_iter().find(|c| c.channel == CHANNEL);
        found.map(|c| (c.value_sat, c.usable && c.pending == 0, c.fee_sat))
    }

    fn pay(&mut self, msat: u64) {
        until("nothing is under way", || {
            self.channel().is_some_and(|c| c.1)
        });
        let invoice = self.theirs.invoice(msat);
        self.node.pay(&payment(&invoice)).expect("there is room");
        self.wait(|o| matches!(o, Observation::Sent { .. }));
        until("nothing is under way", || {
            self.channel().is_some_and(|c| c.1)
        });
    }
}

async fn keep_in_sync(wallet: std::sync::Weak<Wallet>) {
    while let Some(wallet) = wallet.upgrade() {
        // bitcoind may have ended before the test.
        let _synced = wallet.sync().await;
        drop(wallet);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn the_operators_coins_open_enlarge_and_close_channels_and_come_back() {
    let world = World::new();
    let theirs = world.theirs("theirs");
    let mut run = Run::start(&world, &theirs);
    let script = run.wallet.script().expect("an address");
    let address = Address::from_script(&script, Network::Regtest).expect("an address");
    world.pay(&address, 1_500_000);
    world.pay(&address, 1_500_000);
    world.mine(1);
    until("the coins are seen", || run.spendable() == 3_000_000);

    run.open(CHANNEL, 500_000);
    run.wait(|o| matches!(o, Observation::ChannelPending { .. }));
    world.settle(&theirs);
    run.wait(|o| matches!(o, Observation::ChannelReady { .. }));
    run.pay(1_000_000);
    let (_, _, opening_fee) = run.channel().expect("it is open");
    assert!(opening_fee > 0);
    until("the rest is change", || {
        run.spendable() == 2_500_000 - opening_fee
    });

    run.stop();
    let mut run = Run::start(&world, &theirs);
    assert_eq!(
        run.spendable(),
        2_500_000 - opening_fee,
        "after a restart too"
    );
    until("the channel is usable", || {
        run.channel().is_some_and(|c| c.1)
    });
    run.node
        .splice_in(CHANNEL, 300_000, 10_000)
        .expect("there are coins");
    run.wait(|o| matches!(o, Observation::SplicePending { .. }));
    world.settle(&theirs);
    until("it is larger", || {
        run.channel().is_some_and(|c| c.0 == 800_000)
    });
    let (_, _, fees) = run.channel().expect("it is open");
    until("the rest is change", || run.spendable() == 2_200_000 - fees);
    run.pay(1_000_000);

    run.node
        .splice_out(CHANNEL, 100_000, 10_000)
        .expect("there is money in it");
    run.wait(|o| matches!(o, Observation::SplicePending { .. }));
    world.settle(&theirs);
    until("the money is back", || run.spendable() == 2_300_000 - fees);
    // The wallet reads a block by itself, and both ends have to agree on the splice's depth.
    until("it is smaller", || {
        run.channel().is_some_and(|c| c.0 < 800_000)
    });
    let value = run.channel().expect("it is open").0;

    let closed = run.node.close(CHANNEL, Closing::Unilateral);
    world.runtime.block_on(closed).expect("it is open");
    run.wait(|o| matches!(o, Observation::ChannelClosed { .. }));
    until("the money is back, less what the closing cost", || {
        world.mine(24);
        std::thread::sleep(Duration::from_millis(300));
        run.spendable() + 20_000 > 2_300_000 - fees + value - 2_000
    });
    run.stop();
}

#[test]
fn coins_of_a_channel_that_came_to_nothing_are_free_again() {
    let world = World::new();
    let theirs = world.theirs("theirs");
    let run = Run::start(&world, &theirs);
    let script = run.wallet.script().expect("an address");
    let address = Address::from_script(&script, Network::Regtest).expect("an address");
    world.pay(&address, 1_000_000);
    world.mine(1);
    until("the coins are seen", || run.spendable() == 1_000_000);
    // Signed, and then the process ended before LDK had it: nobody can have seen it.
    let output = bitcoin::TxOut {
        value: bitcoin::Amount::from_sat(600_000),
        script_pubkey: script,
    };
    let (transaction, fee_sat) =
        HotWallet::fund(&*run.wallet, vec![output], 1_000).expect("there are coins");
    assert!(fee_sat > 0);
    assert_eq!(run.wallet.waiting(), [(transaction.compute_txid(), false)]);
    assert_eq!(run.spendable(), 0);
    run.stop();

    let mut run = Run::start(&world, &theirs);
    assert_eq!(run.wallet.waiting(), []);
    until("the coins are free", || run.spendable() == 1_000_000);
    run.open(CHANNEL, 2_000_000);
    let told = run.wait(|o| matches!(o, Observation::ChannelClosed { .. }));
    let Observation::ChannelClosed { reason, .. } = told else {
        unreachable!("it was asked for");
    };
    assert!(reason.contains("can be spent"), "{reason}");
    assert_eq!(run.spendable(), 1_000_000);
    run.open(ChannelNumber(2), 600_000);
    run.wait(|o| matches!(o, Observation::ChannelPending { .. }));
    run.stop();
}
