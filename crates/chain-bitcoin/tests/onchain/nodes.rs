//! bitcoind as the chain source.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::{Amount, FeeRate, Network, OutPoint};
use forebay_chain_bitcoin::bitcoind::regtest::Regtest;
use forebay_chain_bitcoin::bitcoind::{Bitcoind, BitcoindSettings, Credentials};
use forebay_chain_bitcoin::chain::{ChainSource, FeeTarget, HealthLimits, agree};
use forebay_chain_bitcoin::{Fault, Retry};
use lightning_block_sync::{BlockData, BlockSource};

use crate::world::{World, elsewhere};

fn unix_time_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("the clock stands after 1970").as_secs()
}

fn client(settings: BitcoindSettings) -> Bitcoind {
    Bitcoind::new(settings).expect("the URL is one")
}

fn source(world: &World) -> ChainSource {
    Arc::new(client(world.node.client_settings())).into()
}

fn changed(node: &Regtest, change: impl FnOnce(&mut BitcoindSettings)) -> Bitcoind {
    let mut settings = node.client_settings();
    change(&mut settings);
    client(settings)
}

#[tokio::test]
async fn a_bitcoind_is_checked_before_it_is_believed() {
    let mut world = World::start().await;
    let downloading = world.node.client().check().await;
    assert!(
        matches!(&downloading, Err(Fault::SourceLags { .. })),
        "{downloading:?}"
    );
    world
        .node
        .set_time(unix_time_s() - 86_400)
        .await
        .expect("regtest has a clock to set");
    world.mine(1).await;
    let info = world.node.client().check().await.expect("it is healthy");
    assert_eq!(info.tip.height, 1);
    let strict = changed(&world.node, |s| s.limits = HealthLimits::default());
    let fault = strict.check().await.expect_err("the tip is a day old");
    assert!(matches!(fault, Fault::SourceLags { .. }), "{fault}");
    world.node.set_time(0).await.expect("it takes the clock's");
    world.mine(1).await;
    strict.check().await.expect("the tip is new");

    let other_network = changed(&world.node, |s| s.network = Network::Bitcoin);
    let fault = other_network.check().await.expect_err("it is on regtest");
    assert!(matches!(&fault, Fault::WrongNetwork { .. }), "{fault}");
    assert_eq!(fault.retry(), Retry::Never);

    let stranger = changed(&world.node, |s| {
        s.credentials = Credentials::User {
            name: "forebay".into(),
            password: "guessed".into(),
        };
    });
    let fault = stranger.tip().await.expect_err("it is not known");
    assert!(matches!(fault, Fault::SourceDenies { .. }), "{fault}");

    let hash = world
        .node
        .client()
        .block_hash(99)
        .await
        .expect("it answers");
    assert_eq!(hash, None);
    let refused = world.node.client().call::<u32>("getwalletinfo", &[]).await;
    let fault = refused.expect_err("it has no wallet");
    assert_eq!(fault.retry(), Retry::Never, "{fault}");

    let gone = world.node.client_settings();
    world.node.stop().await.expect("it stops");
    let fault = client(gone).tip().await.expect_err("it is gone");
    assert!(matches!(fault, Fault::SourceDown { .. }), "{fault}");
    assert_eq!(fault.retry(), Retry::Later);
    world.node.start_again().await.expect("it starts again");
    assert_eq!(world.height().await, 2);
}

/// bitcoind writes a cookie at each start unless it has a password, so this one is written by hand, as a rotation is.
#[tokio::test]
async fn a_cookie_is_read_again_when_it_has_changed() {
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(".cookie");
    let with_cookie = changed(&world.node, |s| {
        s.credentials = Credentials::Cookie(path.clone());
    });
    let fault = with_cookie.tip().await.expect_err("no cookie yet");
    assert!(fault.to_string().contains("no cookie at"), "{fault}");
    std::fs::write(&path, "__cookie__:of-the-last-start").expect("it is written");
    let fault = with_cookie.tip().await.expect_err("an old cookie");
    assert!(matches!(fault, Fault::SourceDenies { .. }), "{fault}");
    std::fs::write(&path, "forebay:regtest\n").expect("it is written");
    with_cookie.tip().await.expect("the new cookie is read");
}

/// Not to the miner's address: two chains made in the same second would be the same.
async fn mine_elsewhere(world: &World, blocks: u32) {
    let made = world.node.mine_to(&elsewhere(), blocks).await;
    made.expect("blocks are made");
}

#[tokio::test]
async fn two_bitcoinds_on_different_branches_are_told() {
    let (one, two) = tokio::join!(World::start(), World::start());
    let sources = [source(&one), source(&two)];
    let nodes = [&sources[0], &sources[1]];
    agree(&nodes, 6).await.expect("both have block 0 alone");
    one.mine(7).await;
    let lagging = agree(&nodes, 6).await.expect_err("7 apart");
    assert!(matches!(lagging, Fault::SourceLags { .. }), "{lagging}");
    mine_elsewhere(&two, 6).await;
    agree(&nodes, 6).await.expect("block 0 is 6 below block 6");
    mine_elsewhere(&two, 1).await;
    // Each has mined block 1 by itself.
    let fault = agree(&nodes, 6).await.expect_err("another block 1");
    assert!(
        matches!(fault, Fault::NodesDisagree { height: 1 }),
        "{fault}"
    );
}

#[tokio::test]
async fn coins_are_mined_paid_and_seen_and_a_reorg_takes_them_back() {
    let world = World::start().await;
    let (node, client) = (&world.node, source(&world));
    let fallback = client.fee_rate(FeeTarget { blocks: 6 }).await;
    assert_eq!(
        fallback.expect("it answers"),
        FeeRate::from_sat_per_kwu(2_500)
    );

    let address = elsewhere();
    let amount = Amount::from_sat(123_456_789);
    let txid = node.pay(&address, amount).await.expect("it is paid");
    let outpoint = OutPoint { txid, vout: 0 };
    let seen = client.unspent(outpoint).await.expect("it answers");
    let seen = seen.expect("it is in the mempool");
    assert_eq!((seen.value, seen.confirmations), (amount, 0));
    assert_eq!(seen.script, address.script_pubkey());

    world.mine(2).await;
    let tip = client.tip().await.expect("it answers");
    let seen = client.unspent(outpoint).await.expect("it answers");
    assert_eq!(seen.expect("it is in a block").confirmations, 2);
    let held = client
        .block_hash(tip.height - 1)
        .await
        .expect("it answers")
        .expect("there is one");
    let block = client.block(held).await.expect("it has it");
    let payment = block.txdata[1].clone();
    assert_eq!(payment.compute_txid(), txid);
    client
        .broadcast(&payment)
        .await
        .expect("it is in the chain already");

    let header = client.get_header(&held, None).await.expect("it has it");
    assert_eq!(
        (header.header, header.height),
        (block.header, tip.height - 1)
    );
    let below = header.header.prev_blockhash;
    let below = client.get_header(&below, None).await.expect("it has it");
    assert_eq!(header.chainwork, below.chainwork + header.header.work());
    let best = client.get_best_block().await.expect("it has one");
    assert_eq!(best, (tip.hash, Some(tip.height)));
    let read = client.get_block(&held).await.expect("it has it");
    assert!(matches!(read, BlockData::FullBlock(read) if read == block));

    node.invalidate(held).await.expect("it is taken out");
    let seen = client.unspent(outpoint).await.expect("it answers");
    assert_eq!(seen.expect("back in the mempool").confirmations, 0);
    let only = node.mine_only(&[]).await.expect("an empty block");
    let empty = client.block(only).await.expect("it has it");
    assert_eq!(empty.txdata.len(), 1);
}
