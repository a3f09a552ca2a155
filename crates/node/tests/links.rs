//! Packets through the pool over real BTP links.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use forebay_ilp::{AmountTooLarge, ErrorCode};

#[tokio::test]
async fn a_packet_crosses_assets_and_its_fulfillment_and_data_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    let mut bob = Client::connect(node.btp_address(), "bob").await;

    let expires_at = alice.prepare(1, 1_000_000, 10_000).await;
    let Heard::Prepare {
        id,
        amount,
        expires_at: shortened,
        destination,
        data,
    } = bob.hear().await
    else {
        panic!("a prepare was expected")
    };
    // 0.001 ETH at 2,000 USD is 2 USD, less 0.1 %; the expiry is shortened by the margin of 1 s.
    assert_eq!(amount, 1_998_000);
    assert_eq!(shortened.0, expires_at.0 - 1_000);
    assert_eq!(
        (destination.as_str(), data.as_slice()),
        ("test.pool.bob.shop", b"hello".as_slice())
    );

    bob.fulfill(id, &PREIMAGE, b"thanks").await;
    assert_eq!(
        alice.hear().await,
        Heard::Fulfill {
            id: 1,
            preimage: PREIMAGE,
            data: b"thanks".to_vec()
        }
    );

    alice.prepare(2, 1_000_000, 10_000).await;
    let (id, ..) = bob.hear_prepare().await;
    bob.reject(
        id,
        ErrorCode::F06UnexpectedPayment,
        b"who are you?",
        b"detail",
    )
    .await;
    assert_eq!(
        alice.hear().await,
        Heard::Reject {
            id: 2,
            code: ErrorCode::F06UnexpectedPayment,
            by: "test.pool.bob.shop".into(),
            message: "who are you?".into(),
            data: b"detail".to_vec(),
        }
    );
    node.stop().await;
}

#[tokio::test]
async fn each_refusal_has_its_code_and_a_neighbour_that_passes() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    let mut bob = Client::connect(node.btp_address(), "bob").await;

    alice.prepare(1, 1_000_000_001, 10_000).await;
    let Heard::Reject {
        id: 1,
        code: ErrorCode::F08AmountTooLarge,
        by,
        data,
        ..
    } = alice.hear().await
    else {
        panic!("F08 was expected")
    };
    assert_eq!(by, "test.pool");
    let AmountTooLarge { received, maximum } = AmountTooLarge::from_bytes(&data).unwrap();
    assert_eq!(received, 1_000_000_001);
    assert!(maximum <= 1_000_000_000);

    alice
        .prepare_to("test.elsewhere.carol", 2, 1, 10_000, b"")
        .await;
    assert_eq!(alice.hear_reject().await, (2, ErrorCode::F02Unreachable));
    alice.prepare_to("peer.other", 3, 1, 10_000, b"").await;
    assert_eq!(alice.hear_reject().await, (3, ErrorCode::F02Unreachable));
    alice.prepare(4, 1_000_000, 900).await;
    assert_eq!(
        alice.hear_reject().await,
        (4, ErrorCode::R02InsufficientTimeout)
    );
    // Bob has no credit and has paid nothing.
    bob.prepare_to("test.pool.alice.x", 5, 1_000_000, 10_000, b"")
        .await;
    assert_eq!(
        bob.hear_reject().await,
        (5, ErrorCode::T04InsufficientLiquidity)
    );

    alice.prepare(6, 1_000_000, 10_000).await;
    bob.hear_prepare().await;
    node.stop().await;
}
