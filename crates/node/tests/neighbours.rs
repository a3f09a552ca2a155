//! Pools as peers of each other over real BTP links: they tell each other routes, and packets cross all of them.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::pools::{BOTH_WAYS, Pool, RECEIVER, uplink};
use common::*;
use forebay_ilp::ErrorCode;
use forebay_pool::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_crosses_three_pools_that_told_each_other_their_routes() {
    const CREDIT: u128 = 10_000_000;
    // C is dialled by B, and B by A; each names its accounts after the other pool, which is also its token there.
    let c = Pool::start(
        "test.c",
        &[("b", CREDIT, BOTH_WAYS), ("shop", 0, RECEIVER)],
        vec![],
    )
    .await;
    let b_accounts = [("a", CREDIT, BOTH_WAYS), ("c", CREDIT, BOTH_WAYS)];
    let b = Pool::start("test.b", &b_accounts, vec![uplink("c", &c, "b")]).await;
    let a_accounts = [("b", CREDIT, BOTH_WAYS), ("buyer", CREDIT, Relation::CHILD)];
    let a = Pool::start("test.a", &a_accounts, vec![uplink("b", &b, "a")]).await;
    a.waits_for("test.c", Some("b")).await;
    c.waits_for("test.a", Some("b")).await;

    let mut buyer = Client::connect(a.node.btp_address(), "buyer").await;
    let mut shop = Client::connect(c.node.btp_address(), "shop").await;
    let sent = buyer
        .prepare_to("test.c.shop.till", 1, 1_000_000, 20_000, b"hello")
        .await;
    let Heard::Prepare {
        id,
        amount,
        expires_at,
        destination,
        data,
    } = shop.hear().await
    else {
        panic!("a prepare was expected")
    };
    // Three hops, each of which keeps 0.1 % and a second.
    assert_eq!(amount, 997_002);
    assert_eq!(expires_at.0, sent.0 - 3_000);
    assert_eq!(
        (destination.as_str(), &data[..]),
        ("test.c.shop.till", &b"hello"[..])
    );
    shop.fulfill(id, &PREIMAGE, b"thanks").await;
    let heard = Heard::Fulfill {
        id: 1,
        preimage: PREIMAGE,
        data: b"thanks".to_vec(),
    };
    assert_eq!(buyer.hear().await, heard);
    // Each owes the next what it passed on.
    assert_eq!(a.balance(0).await, (999_000, 0));
    assert_eq!(
        (b.balance(0).await, b.balance(1).await),
        ((0, 999_000), (998_001, 0))
    );
    assert_eq!(
        (c.balance(0).await, c.balance(1).await),
        ((0, 998_001), (997_002, 0))
    );

    // Up to the debt agreed on.
    for id in 2..=6 {
        buyer
            .prepare_to("test.c.shop.till", id, 1_000_000, 20_000, b"")
            .await;
        let refused = match shop.read_within(Duration::from_millis(500)).await {
            Some(_) => None,
            None => Some(buyer.hear_reject().await.1),
        };
        let full = (id == 6).then_some(ErrorCode::T04InsufficientLiquidity);
        assert_eq!(refused, full, "packet {id}");
    }

    // B is gone: what it told is forgotten, and its neighbours answer for themselves.
    b.node.stop().await;
    a.waits_for("test.c", None).await;
    c.waits_for("test.a", None).await;
    buyer
        .prepare_to("test.c.shop.till", 9, 1_000_000, 20_000, b"")
        .await;
    loop {
        if let Heard::Reject { id: 9, code, .. } = buyer.hear().await {
            assert_eq!(code, ErrorCode::F02Unreachable);
            break;
        }
    }
    a.node.stop().await;
    c.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_below_another_sends_there_what_it_does_not_know() {
    let parent = Relation {
        kind: RelationKind::Parent,
        ..BOTH_WAYS
    };
    let child = Relation {
        kind: RelationKind::Child,
        ..BOTH_WAYS
    };
    let top = Pool::start(
        "test.top",
        &[("low", 9_000_000, child), ("shop", 0, RECEIVER)],
        vec![],
    )
    .await;
    let accounts = [
        ("top", 9_000_000, parent),
        ("buyer", 9_000_000, Relation::CHILD),
    ];
    let low = Pool::start("test.top.low", &accounts, vec![uplink("top", &top, "low")]).await;
    low.waits_for("test", Some("top")).await;
    low.waits_for("test.top", Some("top")).await;
    let mut buyer = Client::connect(low.node.btp_address(), "buyer").await;
    let mut shop = Client::connect(top.node.btp_address(), "shop").await;
    buyer
        .prepare_to("test.top.shop", 1, 1_000_000, 20_000, b"")
        .await;
    let (id, amount, _) = shop.hear_prepare().await;
    assert_eq!(amount, 998_001);
    shop.fulfill(id, &PREIMAGE, b"").await;
    assert!(matches!(buyer.hear().await, Heard::Fulfill { id: 1, .. }));
    // Nobody knows this one: the parent says so.
    buyer
        .prepare_to("test.nowhere.x", 2, 1_000_000, 20_000, b"")
        .await;
    let Heard::Reject {
        id: 2, code, by, ..
    } = buyer.hear().await
    else {
        panic!("a reject was expected")
    };
    assert_eq!((code, by.as_str()), (ErrorCode::F02Unreachable, "test.top"));
    low.node.stop().await;
    top.node.stop().await;
}
