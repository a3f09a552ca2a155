//! bitcoind goes away, falls back, and comes back, while payments and closings are under way.

use std::time::Duration;

use forebay_chain_bitcoin::lightning::{Closing, HotWallet, LightningNode, Observation, Seed};
use forebay_chain_bitcoin::{Fault, bitcoind::Bitcoind};

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
    let settings = our_settings(&world, "other", Seed::new(seed_of("other")));
    let bitcoind = Bitcoind::new(world.regtest.client_settings()).expect("the URL is one");
    let bitcoind = std::sync::Arc::new(bitcoind);
    let started = world.runtime.block_on(async {
        let wallet = TestCoins::start(seed_of("other"), bitcoind.clone());
        LightningNode::start(settings, bitcoind, wallet).await
    });
    let fault = started.err().expect("there is no bitcoind");
    assert!(matches!(fault, Fault::BitcoindDown { .. }), "{fault}");

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
