//! bitcoind goes away, falls back, and comes back, while payments and closings are under way.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use forebay_chain_bitcoin::bitcoind::Bitcoind;
use forebay_chain_bitcoin::bitcoind::regtest::{Regtest, RegtestSettings};
use forebay_chain_bitcoin::lightning::{
    ChannelNumber, Closing, HotWallet, LightningNode, Observation, Opening, Seed,
};
use forebay_chain_bitcoin::{Fault, Retry};
use serde_json::{Value, json};

use crate::coins::TestCoins;
use crate::world::{World, our_settings, seed_of, until};

#[test]
fn payments_go_on_while_bitcoind_is_down_and_a_closing_reaches_the_chain_once_it_is_back() {
    let mut world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    let channel = world.channel(&ours, &theirs, 500_000);
    let stopped = world.runtime.block_on(world.regtest.stop());
    stopped.expect("bitcoind stops");
    ours.give(&theirs, 2, 10_000_000);
    ours.close(channel, Closing::Cooperative)
        .expect("it is open");
    ours.wait(
        "it is closed",
        |o| matches!(o, Observation::ChannelClosed { channel: c, .. } if *c == channel),
    );
    // Who starts a node now is told what is missing.
    let fault = start_another(&world);
    assert!(matches!(fault, Fault::SourceDown { .. }), "{fault}");

    let started = world.runtime.block_on(world.regtest.start_again());
    started.expect("bitcoind starts again");
    until("the closing waits for a block", || world.mempool() == 1);
    let before = ours.wallet.spendable_sat();
    world.mine(6);
    ours.wait("the money is back", |o| {
        matches!(o, Observation::ChannelReturned { .. })
    });
    until("the wallet has it", || {
        ours.wallet.spendable_sat() > before + 470_000
    });
}

#[test]
fn a_bitcoind_that_falls_back_takes_nothing_from_a_channel_and_is_followed_once_it_has_caught_up() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    let channel = world.channel(&ours, &theirs, 500_000);
    until("the chain is known", || {
        ours.node.height() == world.height()
    });
    let height = world.height();
    let fallen = world.runtime.block_on(async {
        let hash = world.regtest.client().block_hash(height - 7).await;
        let hash = hash.expect("bitcoind answers").expect("it is there");
        let invalid = world.regtest.invalidate(hash).await;
        invalid.expect("bitcoind takes it out");
        hash
    });
    assert_eq!(world.height(), height - 8);
    // As long as several looks at the chain.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(ours.node.height(), height, "what is known stays known");
    assert_eq!(ours.pay(&theirs.invoice(1_000_000)), Some(0));
    ours.quiet();
    let again = world.runtime.block_on(world.regtest.reconsider(fallen));
    again.expect("bitcoind has the blocks");
    world.mine(1);
    until("the chain is followed", || ours.node.height() == height + 1);
    assert!(ours.channel(channel).is_some_and(|c| c.usable));
}

/// Why another node does not start.
fn start_another(world: &World) -> Fault {
    let settings = our_settings(world, "other", Seed::new(seed_of("other")));
    let bitcoind = Bitcoind::new(world.regtest.client_settings()).expect("the URL is one");
    let bitcoind = Arc::new(bitcoind);
    let started = world.runtime.block_on(async {
        let wallet = TestCoins::start(seed_of("other"), bitcoind.clone());
        LightningNode::start(settings, bitcoind, wallet).await
    });
    started.err().expect("it has no chain of its own")
}

/// A bitcoind of another network at the address of one that has stopped.
struct Stranger(Child);

impl Stranger {
    fn start(world: &World, network: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folder = world.folder.path().join(network);
        std::fs::create_dir(&folder).expect("a folder");
        let child = Command::new(RegtestSettings::binary_in(&root))
            .arg(format!("-{network}"))
            .arg(format!("-datadir={}", folder.display()))
            .arg(format!("-rpcport={}", world.regtest.port()))
            .args(["-rpcuser=forebay", "-rpcpassword=regtest", "-server"])
            .args(["-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1"])
            // It asks nobody for blocks.
            .args(["-connect=0", "-listen=0", "-dnsseed=0", "-fixedseeds=0"])
            .args(["-networkactive=0", "-printtoconsole=0", "-dbcache=16"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a bitcoind");
        let stranger = Self(child);
        until("it answers", || {
            let client = world.regtest.client();
            let info = client.call::<Value>("getblockchaininfo", &[]);
            let info = world.runtime.block_on(info);
            info.is_ok_and(|info| info["chain"] == network)
        });
        stranger
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// As when somebody starts bitcoind with another option, or points the pool's address at another one.
#[test]
fn a_bitcoind_of_another_network_in_place_of_ours_is_named_and_nothing_is_acted_on_until_ours_is_back()
 {
    let mut world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    let channel = world.channel(&ours, &theirs, 500_000);
    until("the chain is known", || {
        ours.node.height() == world.height()
    });
    let (height, standing) = (world.height(), ours.channel(channel));
    let coins = ours.wallet.spendable_sat();
    for network in ["signet", "testnet4"] {
        let stopped = world.runtime.block_on(world.regtest.stop());
        stopped.expect("bitcoind stops");
        let stranger = Stranger::start(&world, network);
        let client = world.regtest.client();
        let tip = world.runtime.block_on(client.tip());
        let check = world.runtime.block_on(client.check()).map(|info| info.tip);
        for fault in [tip, check].map(|answer| answer.expect_err("it is not ours")) {
            let text = fault.to_string();
            assert!(text.contains(network) && text.contains("regtest"), "{text}");
            assert_eq!(fault.retry(), Retry::Never);
        }
        let fault = start_another(&world);
        assert!(matches!(fault, Fault::WrongNetwork { .. }), "{fault}");
        // As long as several looks at the chain.
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(ours.node.height(), height, "what is known stays known");
        assert_eq!(ours.channel(channel), standing);
        assert_eq!(ours.wallet.spendable_sat(), coins);
        let closed = |o: &Observation| matches!(o, Observation::ChannelClosed { .. });
        assert!(!ours.told().iter().any(closed));
        drop(stranger);
        let started = world.runtime.block_on(world.regtest.start_again());
        started.expect("bitcoind starts again");
    }
    assert_eq!(ours.pay(&theirs.invoice(1_000_000)), Some(0));
    ours.quiet();
    world.mine(1);
    until("the chain is followed", || ours.node.height() == height + 1);
    theirs.node.sync_wallets().expect("the peer sees blocks");
    ours.node
        .open_channel(Opening {
            channel: ChannelNumber(8),
            peer: theirs.id(),
            value_sat: 300_000,
            public: false,
            fee_max_sat: 10_000,
        })
        .expect("the peer is there");
    world.ready(&ours, &theirs, ChannelNumber(8));
}

/// It knows that there are blocks, and does not have them.
#[test]
fn a_bitcoind_that_lacks_blocks_says_so_and_is_followed_once_it_has_them() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    let channel = world.channel(&ours, &theirs, 500_000);
    until("the chain is known", || {
        ours.node.height() == world.height()
    });
    let height = world.height();
    let fresh = ahead_of(&world, 6);
    let checked = || world.runtime.block_on(world.regtest.client().check());
    for (number, (header, _)) in (1..).zip(&fresh) {
        ask(&world, world.regtest.client(), "submitheader", header);
        let answer = checked();
        match number {
            ..=3 => assert_eq!(
                answer.expect("it may be so for a moment").headers,
                height + number
            ),
            _ => {
                let fault = answer.expect_err("it lags");
                let text = fault.to_string();
                assert!(text.contains(&format!("fetch {number} blocks")), "{text}");
                assert_eq!(fault.retry(), Retry::Later);
            }
        }
    }
    // As long as several looks at the chain.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(ours.node.height(), height);
    assert_eq!(ours.pay(&theirs.invoice(1_000_000)), Some(0));
    ours.quiet();
    for (_, block) in &fresh {
        ask(&world, world.regtest.client(), "submitblock", block);
    }
    assert_eq!(checked().expect("it has them all").tip.height, height + 6);
    until("the chain is followed", || ours.node.height() == height + 6);
    assert!(ours.channel(channel).is_some_and(|c| c.usable));
}

/// Headers and blocks that come next, from a bitcoind that was given all that there is.
fn ahead_of(world: &World, blocks: u32) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = world.folder.path().join("ahead");
    let settings = RegtestSettings::new(RegtestSettings::binary_in(&root), folder);
    let ahead = world.runtime.block_on(Regtest::start(settings));
    let ahead = ahead.unwrap_or_else(|error| panic!("{error}"));
    let at = |node: &Bitcoind, height| {
        let hash = world.runtime.block_on(node.block_hash(height));
        let hash = json!(hash.expect("it answers").expect("it is there"));
        let (header, block) = ([hash.clone(), json!(false)], [hash, json!(0)]);
        let header = node.call("getblockheader", &header);
        let header: String = world.runtime.block_on(header).expect("it is there");
        let block = node.call("getblock", &block);
        let block: String = world.runtime.block_on(block).expect("it is there");
        (header, block)
    };
    let height = world.height();
    for known in 1..=height {
        let (_, block) = at(world.regtest.client(), known);
        ask(world, ahead.client(), "submitblock", &block);
    }
    let mined = world.runtime.block_on(ahead.mine(blocks));
    mined.expect("it makes blocks");
    let next = height + 1..=height + blocks;
    next.map(|height| at(ahead.client(), height)).collect()
}

fn ask(world: &World, node: &Bitcoind, method: &'static str, text: &str) {
    let parameters = [json!(text)];
    let asked = node.call::<Value>(method, &parameters);
    let answer = world.runtime.block_on(asked).expect("it is valid");
    assert_eq!(answer, Value::Null, "{method}");
}
