//! An Esplora server that lies, stammers, is busy, or is before another chain.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bitcoin::Block;
use bitcoin::consensus::encode::{deserialize, serialize};
use forebay_chain_bitcoin::esplora::Esplora;
use forebay_chain_bitcoin::{Fault, Retry};

use crate::esplora::{Gateway, Reply, client, settings};
use crate::world::World;

struct Liar {
    world: World,
    gateway: Gateway,
    ours: Arc<Esplora>,
}

async fn start() -> Liar {
    at_height(20).await
}

async fn at_height(height: u32) -> Liar {
    let world = World::indexed().await;
    world.mine(height).await;
    let gateway = Gateway::start(world.node.client_settings()).await;
    let headers = world.folder.path().join("headers");
    let mut settings = settings(gateway.url(), &world.node.client_settings(), headers);
    settings.pause = std::time::Duration::ZERO;
    let ours = client(settings);
    ours.check().await.expect("it is healthy");
    Liar {
        world,
        gateway,
        ours,
    }
}

impl Liar {
    /// What comes of following the chain and reading its tip while answers to these paths are changed so.
    async fn told(
        &self,
        part: &'static str,
        lie: impl Fn(Reply) -> Reply + Send + 'static,
    ) -> Result<Block, Fault> {
        self.gateway
            .lie(move |path, reply| match path.contains(part) {
                true => lie(reply),
                false => reply,
            });
        self.world.mine(1).await;
        let told = self.read().await;
        self.gateway.tell_the_truth();
        told
    }

    async fn read(&self) -> Result<Block, Fault> {
        let tip = self.ours.tip().await?;
        self.ours.block(tip.hash).await
    }

    /// Once the truth is told again, all of it is seen.
    async fn is_none_the_worse(&self) {
        let block = self.read().await.expect("it tells the truth");
        let truth = self.world.node.client().tip().await.expect("it answers");
        assert_eq!(block.block_hash(), truth.hash);
        let above = self.ours.block_hash(truth.height + 1).await;
        assert_eq!(above.expect("it answers"), None);
    }
}

fn changed(change: impl Fn(&mut Block)) -> impl Fn(Reply) -> Reply {
    move |mut reply| {
        let mut block: Block = deserialize(&reply.body).expect("a block");
        change(&mut block);
        reply.body = serialize(&block);
        reply
    }
}

#[tokio::test]
async fn a_block_that_is_not_whole_or_is_another_is_not_taken() {
    let liar = start().await;
    let address = crate::world::elsewhere();
    let other = serialize(&liar.read().await.expect("it tells the truth"));
    let paid = liar
        .world
        .node
        .pay(&address, bitcoin::Amount::from_sat(50_000));
    paid.await.expect("it is paid");
    let raw = "/raw";
    let cut = |reply: Reply| Reply::new(200, &reply.body[..reply.body.len() - 1]);
    let longer = |mut reply: Reply| {
        reply.body.push(0);
        reply
    };
    let told = [
        ("cut", liar.told(raw, cut).await),
        ("longer", liar.told(raw, longer).await),
        ("empty", liar.told(raw, |_| Reply::new(200, "")).await),
        ("HTML", liar.told(raw, |_| Reply::new(200, "<html>")).await),
        (
            "another",
            liar.told(raw, move |_| Reply::new(200, other.clone()))
                .await,
        ),
        (
            "no work",
            liar.told(raw, changed(|block| block.header.nonce ^= 1))
                .await,
        ),
        (
            "fewer",
            liar.told(raw, changed(|block| block.txdata.truncate(0)))
                .await,
        ),
        (
            "richer",
            liar.told(
                raw,
                changed(|block| {
                    block.txdata[0].output[0].value = bitcoin::Amount::MAX_MONEY;
                }),
            )
            .await,
        ),
        (
            "witness",
            liar.told(
                raw,
                changed(|block| {
                    block.txdata[0].input[0].witness = bitcoin::Witness::from_slice(&[[7; 32]]);
                }),
            )
            .await,
        ),
    ];
    for (what, told) in told {
        let fault = told.expect_err(what);
        assert!(matches!(fault, Fault::Nonsense { .. }), "{what}: {fault}");
        assert_eq!(fault.retry(), Retry::Later);
    }
    let huge = liar
        .told(raw, |_| Reply::new(200, vec![0; 4_000_001]))
        .await;
    let fault = huge.expect_err("too much");
    assert!(fault.to_string().contains("too long"), "{fault}");
    let gone = liar.told(raw, |_| Reply::new(404, "Block not found")).await;
    assert!(matches!(gone, Err(Fault::BlockGone { .. })), "{gone:?}");
    liar.is_none_the_worse().await;
}

#[tokio::test]
async fn a_header_that_does_not_stand_on_what_is_known_is_not_taken() {
    let liar = start().await;
    let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest).header;
    let genesis = bitcoin::consensus::encode::serialize_hex(&genesis);
    let flipped = |mut reply: Reply| {
        // A digit of the nonce.
        reply.body[155] = if reply.body[155] == b'0' { b'1' } else { b'0' };
        reply
    };
    let told = [
        (
            "another",
            liar.told("/header", move |_| Reply::new(200, genesis.clone()))
                .await,
        ),
        ("changed", liar.told("/header", flipped).await),
        (
            "short",
            liar.told("/header", |_| Reply::new(200, "00")).await,
        ),
        (
            "no hash",
            liar.told("/tip/hash", |_| Reply::new(200, "latest")).await,
        ),
        (
            "no text",
            liar.told("/tip/hash", |_| Reply::new(200, vec![0xff; 64]))
                .await,
        ),
    ];
    for (what, told) in told {
        let fault = told.expect_err(what);
        assert!(matches!(fault, Fault::Nonsense { .. }), "{what}: {fault}");
    }
    // A tip of which nobody has heard.
    let invented = liar
        .told("/tip/hash", |_| Reply::new(200, "7".repeat(64)))
        .await;
    assert!(
        matches!(invented, Err(Fault::BlockGone { .. })),
        "{invented:?}"
    );
    liar.is_none_the_worse().await;
}

/// Of the very first block that we hear of, the height follows from nothing else.
#[tokio::test]
async fn a_height_that_the_block_itself_does_not_say_is_not_taken() {
    let liar = start().await;
    let headers = liar.world.folder.path().join("others");
    let fresh = client(settings(
        liar.gateway.url(),
        &liar.world.node.client_settings(),
        headers,
    ));
    liar.gateway
        .lie(|path, reply| match path.contains("/status") {
            true => Reply::new(200, r#"{"in_best_chain":true,"height":1000000}"#),
            false => reply,
        });
    let fault = fresh.tip().await.expect_err("it lies");
    assert!(fault.to_string().contains("its height is 20"), "{fault}");
    liar.gateway.tell_the_truth();
    assert_eq!(fresh.tip().await.expect("it tells the truth").height, 20);
}

#[tokio::test]
async fn a_busy_server_is_asked_again_and_not_for_ever() {
    let liar = start().await;
    let busy = |times: usize, status: u16| {
        let left = AtomicUsize::new(times);
        liar.gateway.lie(move |path, reply| {
            let is_left = |left: usize| left.checked_sub(1);
            let still = path.ends_with("/hash")
                && left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_left)
                    .is_ok();
            match still {
                true => Reply {
                    headers: "retry-after: 0\r\n".to_owned(),
                    ..Reply::new(status, "slow down")
                },
                false => reply,
            }
        });
    };
    for status in [429, 502, 503, 504] {
        busy(3, status);
        liar.ours.tip().await.expect("it answers the fourth time");
        busy(4, status);
        liar.gateway.asked();
        let fault = liar.ours.tip().await.expect_err("it is busy");
        assert!(matches!(fault, Fault::SourceDown { .. }), "{fault}");
        assert_eq!(liar.gateway.asked().len(), 4);
    }
    let says = async |status| {
        busy(1, status);
        liar.gateway.asked();
        let fault = liar.ours.tip().await.expect_err("it says no");
        assert_eq!(liar.gateway.asked().len(), 1, "{status}");
        fault
    };
    assert!(matches!(says(401).await, Fault::SourceDenies { .. }));
    assert!(matches!(says(403).await, Fault::SourceDenies { .. }));
    assert!(matches!(
        says(500).await,
        Fault::SourceRefused { code: 500, .. }
    ));
    let moved = says(301).await.to_string();
    assert!(moved.contains("configure that one"), "{moved}");
    liar.is_none_the_worse().await;
}

#[tokio::test]
async fn a_chain_of_less_work_takes_nothing_away() {
    let liar = start().await;
    let known = liar.ours.tip().await.expect("it tells the truth");
    let other = World::indexed().await;
    let made = other.node.mine_to(&crate::world::elsewhere(), 10).await;
    made.expect("blocks are made");
    liar.gateway.put_before(other.node.client_settings());
    assert_eq!(liar.ours.tip().await.expect("it is a chain"), known);
    let hash = liar.ours.block_hash(10).await.expect("it is known");
    let truth = liar.world.node.client().block_hash(10).await;
    assert_eq!(hash, truth.expect("it answers"));
    liar.gateway.put_before(liar.world.node.client_settings());
    liar.is_none_the_worse().await;
}

#[tokio::test]
async fn another_chain_behind_the_same_url_is_not_followed() {
    // More than we hold on to at the first, so that both chains having the same first block does not count.
    let liar = at_height(160).await;
    let known = liar.ours.tip().await.expect("it tells the truth");
    let other = World::indexed().await;
    let address = crate::world::elsewhere();
    for height in [10, 200] {
        // Lower than ours, then higher.
        let made = other
            .node
            .mine_to(&address, height - other.height().await)
            .await;
        made.expect("blocks are made");
        liar.gateway.put_before(other.node.client_settings());
        let fault = liar.ours.tip().await.expect_err("it is another chain");
        let is_told = matches!(fault, Fault::WrongNetwork { .. } | Fault::BlockGone { .. });
        assert!(is_told, "{fault}");
    }
    liar.gateway.put_before(liar.world.node.client_settings());
    assert_eq!(liar.ours.tip().await.expect("it is back"), known);
    liar.is_none_the_worse().await;
}

#[tokio::test]
async fn a_server_without_packages_gets_the_transactions_one_by_one() {
    let liar = start().await;
    let amount = bitcoin::Amount::from_sat(1_000_000);
    let paid = liar
        .world
        .node
        .pay(&crate::world::elsewhere(), amount)
        .await;
    let (paid, _) = liar
        .ours
        .in_mempool(paid.expect("it is paid"))
        .await
        .expect("it is there");
    liar.ours
        .submit_package(std::slice::from_ref(&paid))
        .await
        .expect("it knows packages");
    liar.gateway.asked();
    liar.gateway
        .lie(|path, reply| match path.contains("package") {
            true => Reply::new(404, "endpoint does not exist"),
            false => reply,
        });
    liar.ours
        .submit_package(&[paid])
        .await
        .expect("it takes one");
    assert_eq!(liar.gateway.asked(), ["/txs/package", "/tx"]);
}
