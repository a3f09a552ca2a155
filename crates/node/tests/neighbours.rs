//! Pools as peers of each other over real BTP links: they tell each other routes, and packets cross all of them.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::pools::{BOTH_WAYS, Pool, RECEIVER, uplink};
use common::*;
use forebay_ilp::ErrorCode;
use forebay_node::{HttpMode, HttpUplink};
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

    // After a restart, what was learned is asked for anew, and the debts are the same.
    let debts = (b.balance(0).await, b.balance(1).await);
    let b = b.restart().await;
    b.waits_for("test.a", Some("a")).await;
    b.waits_for("test.c", Some("c")).await;
    a.waits_for("test.c", Some("b")).await;
    c.waits_for("test.a", Some("b")).await;
    assert_eq!((b.balance(0).await, b.balance(1).await), debts);

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

/// Pools that call each other by HTTP: A's account with B is named b there, and the other way round.
async fn calling(mode: HttpMode) {
    let ports = [free_port(), free_port()];
    let start = |own: usize, accounts| async move {
        let names = ["a", "b"];
        let (name, other) = (names[own], names[1 - own]);
        Pool::start_with(&format!("test.{name}"), accounts, |config| {
            config.http_listen = Some(([127, 0, 0, 1], ports[own]).into());
            config.http_url = Some(format!("http://127.0.0.1:{}/ilp", ports[own]));
            config.http_uplinks = vec![HttpUplink {
                peer: other.into(),
                url: format!("http://127.0.0.1:{}/ilp", ports[1 - own]),
                token: name.into(),
                mode,
            }];
        })
        .await
    };
    let a_accounts = [
        ("b", 9_000_000, BOTH_WAYS),
        ("buyer", 9_000_000, Relation::CHILD),
    ];
    let b_accounts = [("a", 9_000_000, BOTH_WAYS), ("shop", 0, RECEIVER)];
    let a = start(0, &a_accounts).await;
    let b = start(1, &b_accounts).await;
    a.waits_for("test.b", Some("b")).await;
    b.waits_for("test.a", Some("a")).await;
    let mut buyer = Client::connect(a.node.btp_address(), "buyer").await;
    let mut shop = Client::connect(b.node.btp_address(), "shop").await;
    for id in 1..=3 {
        buyer
            .prepare_to("test.b.shop.till", id, 1_000_000, 20_000, b"hello")
            .await;
        let (at_shop, amount, _) = shop.hear_prepare().await;
        assert_eq!(amount, 998_001);
        shop.fulfill(at_shop, &PREIMAGE, b"thanks").await;
        let data = b"thanks".to_vec();
        assert_eq!(
            buyer.hear().await,
            Heard::Fulfill {
                id,
                preimage: PREIMAGE,
                data
            }
        );
    }
    assert_eq!(
        (a.balance(0).await, b.balance(0).await),
        ((2_997_000, 0), (0, 2_997_000))
    );
    a.node.stop().await;
    b.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_exchange_routes_and_packets_by_http_answered_in_the_response() {
    calling(HttpMode::Sync).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_exchange_routes_and_packets_by_http_answered_by_requests() {
    calling(HttpMode::Async).await;
}
