//! What a start refuses, and what an end leaves.

use std::sync::Arc;

use forebay_chain_bitcoin::Fault;
use forebay_chain_bitcoin::bitcoind::Bitcoind;
use forebay_chain_bitcoin::lightning::{LightningNode, Seed};

use crate::coins::TestCoins;
use crate::world::{World, copy, listening_ours, our_settings, seed_of, until};

#[test]
fn an_old_copy_of_the_store_or_none_is_refused_where_its_generation_is_known() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    world.channel(&ours, &theirs, 500_000);
    ours.stop();
    let (folder, old, newest) = (
        world.folder.path().join("ours"),
        world.folder.path().join("old"),
        world.folder.path().join("newest"),
    );
    copy(&folder, &old);
    let ours = world.ours("ours");
    ours.connect(&theirs);
    ours.quiet();
    assert!(ours.pay(&theirs.invoice(1_000_000)).is_some());
    ours.quiet();
    let known = ours.node.generation();
    ours.stop();
    let start = || {
        let mut settings = our_settings(&world, "ours", Seed::new(seed_of("ours")));
        settings.generation_min = known;
        let bitcoind = Bitcoind::new(world.regtest.client_settings()).expect("the URL is one");
        let bitcoind = Arc::new(bitcoind);
        world.runtime.block_on(async {
            let wallet = TestCoins::start(seed_of("ours"), Arc::clone(&bitcoind));
            LightningNode::start(settings, bitcoind, wallet).await
        })
    };
    std::fs::rename(&folder, &newest).expect("on one disk");
    assert!(
        matches!(start(), Err(Fault::OldStore { found: 0, .. })),
        "none at all"
    );
    std::fs::remove_dir_all(&folder).expect("it is ours");
    copy(&old, &folder);
    let refused = start();
    assert!(
        matches!(refused, Err(Fault::OldStore { found, .. }) if found > 0 && found < known),
        "an old copy"
    );
    drop(refused);
    std::fs::remove_dir_all(&folder).expect("it is ours");
    std::fs::rename(&newest, &folder).expect("on one disk");
    let (node, _observations) = start().unwrap_or_else(|fault| panic!("{fault}"));
    world
        .runtime
        .block_on(node.connect(theirs.id(), theirs.address.parse().expect("an address")))
        .expect("the peer answers");
    until("the channel is usable", || {
        node.channels().is_ok_and(|c| c.len() == 1 && c[0].usable)
    });
    world.runtime.block_on(node.stop());
}

#[test]
fn a_folder_is_refused_to_a_second_process_another_seed_and_another_network() {
    let world = World::new();
    let ours = world.ours("ours");
    let identity = ours.node.identity();
    let start = |seed: [u8; 32], network| {
        let mut settings = our_settings(&world, "ours", Seed::new(seed));
        settings.network = network;
        let bitcoind = Bitcoind::new(world.regtest.client_settings()).expect("the URL is one");
        let bitcoind = Arc::new(bitcoind);
        world.runtime.block_on(async {
            let wallet = TestCoins::start(seed, Arc::clone(&bitcoind));
            LightningNode::start(settings, bitcoind, wallet).await
        })
    };
    let regtest = bitcoin::Network::Regtest;
    assert!(matches!(
        start(seed_of("ours"), regtest),
        Err(Fault::StoreInUse { .. })
    ));
    ours.stop();
    assert!(matches!(start([1; 32], regtest), Err(Fault::OtherNode)));
    assert!(matches!(
        start(seed_of("ours"), bitcoin::Network::Signet),
        Err(Fault::Store { .. })
    ));
    assert_eq!(world.ours("ours").node.identity(), identity);
}

#[test]
fn a_node_that_has_ended_connects_to_nobody_and_leaves_its_store_free() {
    let world = World::new();
    let (theirs, address) = listening_ours(&world, "theirs");
    let ours = world.ours("ours");
    let connected = ours.node.connect(theirs.node.identity(), address);
    world.runtime.block_on(connected).expect("it listens");
    let again = world.runtime.block_on(async {
        ours.node.end().await;
        ours.node.connect(theirs.node.identity(), address).await
    });
    assert!(matches!(again, Err(Fault::Stopped)));
    until("it has left", || theirs.node.connected().is_empty());
    ours.stop();
    // Its store would be in use if a connection were left.
    world.ours("ours");
}
