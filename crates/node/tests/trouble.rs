//! What goes wrong on links and disks, and what the pool makes of it.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::*;
use forebay_chain_evm::Key;
use forebay_channel::{Domain, PacketName, PeerKeys, PeerMessage};
use forebay_ilp::btp::{self, Entry, FrameType, RequestId};
use forebay_ilp::{ErrorCode, Link, PacketType, ildcp};
use forebay_journal::testing::{Faults, FaultyStorage};
use forebay_node::{CommandFault, Ending, Node, RunningNode};
use forebay_pool::Command;
use forebay_quantity::{PacketId, Timestamp};
use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message;

/// A funded pool with Alice and Bob on their links; the folder goes with its guard.
async fn linked() -> (tempfile::TempDir, RunningNode, Client, Client) {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let alice = Client::connect(node.btp_address(), "alice").await;
    let bob = Client::connect(node.btp_address(), "bob").await;
    (folder, node, alice, bob)
}

#[tokio::test]
async fn without_an_answer_the_sender_gets_r00_and_a_late_fulfillment_is_discarded() {
    let (_folder, node, mut alice, mut bob) = linked().await;

    alice.prepare(1, 1_000_000, 1_600).await;
    let (id, _, expires_at) = bob.hear_prepare().await;
    assert_eq!(
        alice.hear_reject().await,
        (1, ErrorCode::R00TransferTimedOut)
    );
    assert!(
        now() >= expires_at,
        "not before the time that Bob was given"
    );
    bob.fulfill(id, &PREIMAGE, b"").await;

    alice.prepare(2, 1_000_000, 10_000).await;
    let (id, ..) = bob.hear_prepare().await;
    bob.fulfill(id, &PREIMAGE, b"").await;
    assert_eq!(
        alice.hear().await,
        Heard::Fulfill {
            id: 2,
            preimage: PREIMAGE,
            data: vec![]
        }
    );
    assert_eq!(node.figures().late_answers.value(), 1);
    node.stop().await;
}

#[tokio::test]
async fn a_wrong_preimage_is_f05_and_moves_nothing() {
    let (_folder, node, mut alice, mut bob) = linked().await;
    alice.prepare(1, 1_000_000, 10_000).await;
    let (id, ..) = bob.hear_prepare().await;
    bob.fulfill(id, &[8; 32], b"").await;
    assert_eq!(alice.hear_reject().await, (1, ErrorCode::F05WrongCondition));
    let owed = node
        .core()
        .query(|state| state.balance(state.peer(BOB).unwrap().clearing))
        .await
        .unwrap();
    assert!(owed.credit().is_zero());
    node.stop().await;
}

#[tokio::test]
async fn a_next_hop_that_is_not_there_is_t01_at_once() {
    let (_folder, node, mut alice, mut bob) = linked().await;
    alice.prepare(1, 1_000_000, 10_000).await;
    bob.hear_prepare().await;
    bob.socket.close(None).await.unwrap();
    drop(bob);
    while node.figures().connected.clone_set().contains(&BOB) {
        tokio::task::yield_now().await;
    }
    alice.prepare(2, 1_000_000, 10_000).await;
    assert_eq!(
        alice.hear_reject().await,
        (2, ErrorCode::T01PeerUnreachable)
    );
    node.stop().await;
}

#[tokio::test]
async fn only_the_right_token_and_name_get_in_by_either_way_of_naming() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let address = node.btp_address();
    let base = format!("ws://{address}");
    assert!(Client::try_connect(&base, None, "alice").await.is_ok());
    assert!(Client::try_connect(&base, Some(""), "alice").await.is_ok());
    assert!(
        Client::try_connect(&base, Some("alice"), "alice")
            .await
            .is_ok()
    );
    assert!(
        Client::try_connect(&format!("{base}/accounts/alice/ilp/btp"), None, "alice")
            .await
            .is_ok()
    );
    assert!(Client::try_connect(&base, None, "mallory").await.is_err());
    assert!(Client::try_connect(&base, None, "").await.is_err());
    assert!(
        Client::try_connect(&base, Some("bob"), "alice")
            .await
            .is_err()
    );
    assert!(
        Client::try_connect(&format!("{base}/accounts/bob/ilp/btp"), None, "alice")
            .await
            .is_err()
    );

    // Anything before auth ends the connection without an answer.
    let (mut socket, _) = tokio_tungstenite::connect_async(&base).await.unwrap();
    socket
        .send(Message::Binary(vec![6, 0, 0, 0, 1, 0].into()))
        .await
        .unwrap();
    let mut stranger = Client {
        socket,
        link: Link::client(),
    };
    assert_eq!(stranger.read().await, None);
    node.stop().await;
}

#[tokio::test]
async fn the_newest_link_of_a_peer_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let mut old = Client::connect(node.btp_address(), "bob").await;
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    alice.prepare(1, 1_000_000, 10_000).await;
    old.hear_prepare().await;
    let mut new = Client::connect(node.btp_address(), "bob").await;
    assert_eq!(old.read().await, None, "the old link is closed");
    alice.prepare(2, 1_000_000, 10_000).await;
    new.hear_prepare().await;
    node.stop().await;
}

#[tokio::test]
async fn hostile_frames_are_answered_or_passed_over_and_the_link_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    for garbage in [
        vec![],
        vec![0xff; 40],
        vec![
            6, 0, 0, 0, 9, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        ],
    ] {
        alice.send(garbage).await;
    }
    let mut frame = Vec::new();
    btp::encode_ilp(
        &mut frame,
        FrameType::Message,
        RequestId(1),
        &[12, 3, 1, 2, 3],
    );
    alice.send(frame).await;
    assert_eq!(alice.hear_reject().await, (1, ErrorCode::F01InvalidPacket));
    let mut frame = Vec::new();
    btp::encode_message(&mut frame, RequestId(2), &[Entry::text("gossip", "?")]);
    alice.send(frame).await;
    assert_eq!(
        alice.hear().await,
        Heard::Error {
            id: 2,
            code: "F00".into()
        }
    );
    let mut frame = Vec::new();
    btp::encode_transfer(&mut frame, RequestId(3), 1_000, &[]);
    alice.send(frame).await;
    assert_eq!(
        alice.hear().await,
        Heard::Error {
            id: 3,
            code: "F00".into()
        }
    );
    let mut frame = Vec::new();
    btp::encode_message(
        &mut frame,
        RequestId(4),
        &[Entry::bytes("forebay", &[0xff; 64])],
    );
    alice.send(frame).await;
    assert_eq!(
        alice.hear().await,
        Heard::Error {
            id: 4,
            code: "F01".into()
        }
    );
    // Answers to nothing that was asked.
    alice.fulfill(77, &PREIMAGE, b"").await;
    alice.reject(78, ErrorCode::F00BadRequest, b"", b"").await;
    alice.prepare_to("test.nowhere", 5, 1, 10_000, b"").await;
    assert_eq!(alice.hear_reject().await, (5, ErrorCode::F02Unreachable));
    assert_eq!(node.figures().unreadable_frames.value(), 3);
    node.stop().await;
}

#[tokio::test]
async fn ildcp_tells_a_child_its_address_and_asset() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    let request = ildcp::request(Timestamp(now().0 + 10_000));
    let mut frame = Vec::new();
    alice
        .link
        .encode_prepare(&mut frame, RequestId(1), &request)
        .unwrap();
    alice.send(frame).await;
    let Heard::Fulfill {
        id: 1,
        preimage,
        data,
    } = alice.hear().await
    else {
        panic!("a fulfill was expected")
    };
    assert_eq!(preimage, [0; 32]);
    // RFC 31 by hand: length, address, scale, length, code.
    assert_eq!(data, b"\x0ftest.pool.alice\x09\x03ETH");
    node.stop().await;
}

#[tokio::test]
async fn a_peer_that_speaks_the_inverted_dialect_is_answered_in_it() {
    let (_folder, node, mut alice, mut bob) = linked().await;
    // The prepare in a response, as interledger-rs sends it.
    let plain = {
        let mut frame = Vec::new();
        let condition: [u8; 32] = sha2::Digest::finalize(sha2::Digest::chain_update(
            <sha2::Sha256 as sha2::Digest>::new(),
            PREIMAGE,
        ))
        .into();
        let prepare = forebay_ilp::PrepareView {
            amount: 1_000_000,
            expires_at: Timestamp(now().0 + 10_000),
            condition: &condition,
            destination: forebay_ilp::Address::parse(b"test.pool.bob.shop").unwrap(),
            data: b"",
        };
        prepare.encode(&mut frame).unwrap();
        frame
    };
    let mut frame = Vec::new();
    btp::encode_ilp(&mut frame, FrameType::Response, RequestId(1), &plain);
    alice.send(frame).await;
    let (id, ..) = bob.hear_prepare().await;
    bob.fulfill(id, &PREIMAGE, b"").await;
    let answer = alice.read().await.unwrap();
    assert_eq!(answer[0], 6, "the fulfill in a message");
    let answer = btp::Frame::parse(&answer).unwrap();
    assert_eq!(answer.request_id, RequestId(1));
    assert_eq!(
        answer.protocol_data.ilp().and_then(PacketType::of),
        Some(PacketType::Fulfill)
    );
    node.stop().await;
}

#[tokio::test]
async fn a_disk_that_fails_stops_acceptance_and_nothing_of_its_batch_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let storage = FaultyStorage::new(1);
    let node = funded_on(folder.path(), Arc::new(storage.clone())).await;
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    let mut bob = Client::connect(node.btp_address(), "bob").await;
    alice.prepare(1, 1_000_000, 10_000).await;
    let (waiting, ..) = bob.hear_prepare().await;

    storage.set_faults(Faults {
        sync_fails_in: Some(0),
        ..Faults::default()
    });
    alice.prepare(2, 1_000_000, 10_000).await;
    assert_eq!(alice.hear_reject().await, (2, ErrorCode::T00InternalError));
    alice.prepare(3, 1_000_000, 10_000).await;
    assert_eq!(alice.hear_reject().await, (3, ErrorCode::T00InternalError));
    // A fulfillment that cannot be stored is not relayed [I7], and neither is any prepare.
    bob.fulfill(waiting, &PREIMAGE, b"").await;
    alice.prepare(4, 1_000_000, 10_000).await;
    assert_eq!(alice.hear_reject().await, (4, ErrorCode::T00InternalError));
    bob.prepare_to("test.pool.alice.x", 9, 1, 10_000, b"").await;
    assert_eq!(bob.hear_reject().await, (9, ErrorCode::T00InternalError));
    let refused = node.core().command(Command::Tick).await;
    assert!(
        matches!(refused, Err(CommandFault::Stopped(_))),
        "{refused:?}"
    );
    assert!(matches!(node.drain().await, Ending::Failed(_)));
}

#[tokio::test]
async fn a_restart_keeps_packets_in_flight_and_tells_the_peer_what_became_of_them() {
    let (folder, node, mut alice, mut bob) = linked().await;
    for request in 1..=2 {
        alice.prepare(request, 1_000_000, 20_000).await;
    }
    let (first, ..) = bob.hear_prepare().await;
    let (second, ..) = bob.hear_prepare().await;
    bob.fulfill(first, &PREIMAGE, b"").await;
    assert_eq!(
        alice.hear().await,
        Heard::Fulfill {
            id: 1,
            preimage: PREIMAGE,
            data: vec![]
        }
    );
    let digest = node.core().query(|state| state.digest()).await.unwrap();
    assert_eq!(node.stop().await, Ending::Stopped);

    let node = Node::start(config(folder.path()), keys()).await.unwrap();
    assert_eq!(
        node.core().query(|state| state.digest()).await.unwrap(),
        digest,
        "[I10]"
    );
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    let mut bob = Client::connect(node.btp_address(), "bob").await;
    let resume = PeerMessage::Resume {
        requests: vec![1, 2, 3],
    }
    .encode();
    let mut frame = Vec::new();
    btp::encode_message(
        &mut frame,
        RequestId(50),
        &[Entry::bytes("forebay", &resume)],
    );
    alice.send(frame).await;
    let Heard::Response { id: 50, data } = alice.hear().await else {
        panic!("a response was expected")
    };
    let resumed = PeerMessage::decode(&data).unwrap();
    let expected = PeerMessage::Resumed {
        fulfilled: vec![(1, PREIMAGE)],
        pending: vec![2],
    };
    assert_eq!(resumed, expected);

    bob.fulfill(second, &PREIMAGE, b"late but in time").await;
    assert_eq!(
        alice.hear().await,
        Heard::Fulfill {
            id: 2,
            preimage: PREIMAGE,
            data: b"late but in time".to_vec()
        }
    );
    node.stop().await;
}

fn alices_key() -> Key {
    Key::from_bytes([29; 32]).unwrap()
}

/// Says hello as Alice's `forebay connect` does, and passes over what is heard until the terms come.
async fn hello(client: &mut Client) -> Vec<Heard> {
    hello_by(client, peer_keys(&alices_key()), &alices_key(), 2).await
}

/// The same for Bob.
async fn bobs_hello(client: &mut Client) -> Vec<Heard> {
    hello_by(client, peer_keys(&bobs_key()), &bobs_key(), 3).await
}

/// Names keys with a proof by `prover`, for the vault whose address is made of this byte.
async fn hello_by(client: &mut Client, keys: PeerKeys, prover: &Key, vault: u8) -> Vec<Heard> {
    let domain = Domain::new(31_337, forebay_channel::Address::new([vault; 20]));
    let hello = PeerMessage::Hello {
        signer: keys.signer,
        payout: keys.payout,
        proof: prover.sign_message(&domain, &keys).0,
    };
    let mut frame = Vec::new();
    let hello = hello.encode();
    let entry = [Entry::bytes("forebay", &hello)];
    btp::encode_message(&mut frame, RequestId(60), &entry);
    client.send(frame).await;
    let mut before = Vec::new();
    loop {
        match client.hear().await {
            Heard::Response { id: 60, .. } => return before,
            refused @ Heard::Error { id: 60, .. } => return vec![refused],
            other => before.push(other),
        }
    }
}

fn fulfilled(id: u32, data: &[u8]) -> Heard {
    Heard::Fulfill {
        id,
        preimage: PREIMAGE,
        data: data.to_vec(),
    }
}

#[tokio::test]
async fn keys_are_named_only_by_whoever_holds_them() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    let other = Key::from_bytes([28; 32]).unwrap();
    let heard = hello_by(&mut alice, peer_keys(&alices_key()), &other, 2).await;
    assert!(
        matches!(heard[..], [Heard::Error { id: 60, .. }]),
        "{heard:?}"
    );
    let named = |state: &forebay_pool::State| state.peer(ALICE).unwrap().keys.is_some();
    assert!(!node.core().query(named).await.unwrap());
    hello(&mut alice).await;
    assert!(node.core().query(named).await.unwrap());
    node.stop().await;
}

#[tokio::test]
async fn more_requests_than_one_answer_holds_are_refused_and_as_many_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    let most = u32::try_from(forebay_channel::RESUME_MAX).unwrap();
    for (id, count) in [(70, most + 1), (71, most)] {
        let resume = PeerMessage::Resume {
            requests: (0..count).collect(),
        };
        let resume = resume.encode();
        let mut frame = Vec::new();
        let entry = [Entry::bytes("forebay", &resume)];
        btp::encode_message(&mut frame, RequestId(id), &entry);
        alice.send(frame).await;
    }
    assert!(matches!(alice.hear().await, Heard::Error { id: 70, .. }));
    assert!(matches!(alice.hear().await, Heard::Response { id: 71, .. }));
    // The fullest answer there can be passes a link.
    let fulfilled = (0..most).map(|request| (request, PREIMAGE)).collect();
    let pending = Vec::new();
    let resumed = PeerMessage::Resumed { fulfilled, pending }.encode();
    assert!(PeerMessage::decode(&resumed).is_some());
    let mut frame = Vec::new();
    let entry = [Entry::bytes("forebay", &resumed)];
    btp::encode_message(&mut frame, RequestId(0), &entry);
    assert!(frame.len() <= btp::FRAME_SIZE_MAX);
    node.stop().await;
}

/// What was decided in memory and never stored may not leave by another door: the greeting of a new link.
#[tokio::test]
async fn after_a_failed_disk_no_new_link_hears_of_a_voucher() {
    let folder = tempfile::tempdir().unwrap();
    let storage = FaultyStorage::new(1);
    let node = funded_on(folder.path(), Arc::new(storage.clone())).await;
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    let mut bob = Client::connect(node.btp_address(), "bob").await;
    alice.prepare(1, 1_000_000, 10_000).await;
    let (id, ..) = bob.hear_prepare().await;
    storage.set_faults(Faults {
        sync_fails_in: Some(0),
        ..Faults::default()
    });
    bob.fulfill(id, &PREIMAGE, b"").await;
    alice.prepare(2, 1_000_000, 10_000).await;
    assert_eq!(alice.hear_reject().await, (2, ErrorCode::T00InternalError));
    let mut anew = Client::connect(node.btp_address(), "bob").await;
    assert_eq!(anew.read().await, None);
    node.drain().await;
}

#[tokio::test]
async fn a_payer_that_was_away_gets_the_fulfill_with_its_data_once_it_says_hello() {
    let (_folder, node, mut alice, mut bob) = linked().await;
    alice.prepare(1, 1_000_000, 20_000).await;
    let (first, ..) = bob.hear_prepare().await;
    drop(alice);
    while node.figures().connected.clone_set().contains(&ALICE) {
        tokio::task::yield_now().await;
    }
    bob.fulfill(first, &PREIMAGE, b"receipt").await;
    while node.figures().fulfilled.value() < 1 {
        tokio::task::yield_now().await;
    }
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    assert!(hello(&mut alice).await.contains(&fulfilled(1, b"receipt")));
    assert!(
        !hello(&mut alice).await.contains(&fulfilled(1, b"receipt")),
        "once only"
    );
    node.stop().await;
}

#[tokio::test]
async fn what_a_payee_says_again_after_a_restart_brings_its_payer_the_data() {
    let (folder, node, mut alice, mut bob) = linked().await;
    alice.prepare(1, 1_000_000, 20_000).await;
    let (first, ..) = bob.hear_prepare().await;
    bob.fulfill(first, &PREIMAGE, b"receipt").await;
    assert_eq!(alice.hear().await, fulfilled(1, b"receipt"));
    node.stop().await;

    let node = Node::start(config(folder.path()), keys()).await.unwrap();
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    let mut bob = Client::connect(node.btp_address(), "bob").await;
    hello(&mut alice).await;
    bob.fulfill(first, &PREIMAGE, b"receipt").await;
    assert_eq!(alice.hear().await, fulfilled(1, b"receipt"));
    bob.fulfill(first, &PREIMAGE, b"receipt").await;
    alice.prepare(2, 1_000_000, 20_000).await;
    let (second, ..) = bob.hear_prepare().await;
    bob.fulfill(second, &PREIMAGE, b"").await;
    assert_eq!(alice.hear().await, fulfilled(2, b""), "once only");
    node.stop().await;

    // A peer that does not speak may have given the request's number to a new packet.
    let node = Node::start(config(folder.path()), keys()).await.unwrap();
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    let mut bob = Client::connect(node.btp_address(), "bob").await;
    bob.fulfill(second, &PREIMAGE, b"receipt").await;
    while node.figures().late_answers.value() < 1 {
        tokio::task::yield_now().await;
    }
    alice.prepare(3, 1_000_000, 20_000).await;
    let (third, ..) = bob.hear_prepare().await;
    bob.fulfill(third, &PREIMAGE, b"").await;
    assert_eq!(alice.hear().await, fulfilled(3, b""));
    // One that was only about to say hello gets the data with it.
    let heard = hello(&mut alice).await;
    let is_receipt =
        |heard: &Heard| matches!(heard, Heard::Fulfill { data, .. } if data == b"receipt");
    assert!(heard.iter().any(is_receipt), "{heard:?}");
    node.stop().await;
}

fn name((id, _, expires_at): (u32, u64, Timestamp)) -> PacketName {
    let packet = PacketId(id);
    PacketName { expires_at, packet }
}

/// Which packets the pool asked for, among what was heard.
fn asked(heard: &[Heard]) -> Vec<Vec<PacketName>> {
    let messages = heard.iter().filter_map(|heard| match heard {
        Heard::Message { data, .. } => PeerMessage::decode(data),
        _ => None,
    });
    let asked = messages.filter_map(|message| match message {
        PeerMessage::PacketsAsked { packets } => Some(packets),
        _ => None,
    });
    asked.collect()
}

async fn say(client: &mut Client, id: u32, message: &PeerMessage) {
    let message = message.encode();
    let mut frame = Vec::new();
    let entry = [Entry::bytes("forebay", &message)];
    btp::encode_message(&mut frame, RequestId(id), &entry);
    client.send(frame).await;
}

/// Says that these packets never came, and waits until the pool has heard it.
async fn disown(client: &mut Client, packets: Vec<PacketName>) {
    say(client, 61, &PeerMessage::PacketsUnknown { packets }).await;
    loop {
        match client.hear().await {
            Heard::Response { id: 61, .. } => return,
            Heard::Error { id: 61, code } => panic!("refused with {code}"),
            _ => {}
        }
    }
}

/// Seen in the demo: what a killed pool had journalled and not sent held its sender up for thirty seconds.
#[tokio::test]
async fn a_restarted_pool_asks_the_payee_and_rejects_at_once_what_never_came_there() {
    let (folder, node, mut alice, mut bob) = linked().await;
    let mut sent = Vec::new();
    for request in 1..=2 {
        alice.prepare(request, 1_000_000, 25_000).await;
        sent.push(bob.hear_prepare().await);
    }
    node.stop().await;

    let node = Node::start(config(folder.path()), keys()).await.unwrap();
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    hello(&mut alice).await;
    let mut bob = Client::connect(node.btp_address(), "bob").await;
    let heard = bobs_hello(&mut bob).await;
    let (first, second) = (name(sent[0]), name(sent[1]));
    assert_eq!(asked(&heard), [[first, second]]);
    let began = std::time::Instant::now();
    disown(&mut bob, vec![first]).await;
    assert_eq!(
        alice.hear_reject().await,
        (1, ErrorCode::T01PeerUnreachable)
    );
    assert!(began.elapsed() < std::time::Duration::from_secs(5));
    // Whoever answers what it has disowned is not paid for it.
    bob.fulfill(first.packet.0, &PREIMAGE, b"").await;
    bob.fulfill(second.packet.0, &PREIMAGE, b"").await;
    assert_eq!(alice.hear().await, fulfilled(2, b""));
    assert_eq!(node.figures().late_answers.value(), 1);
    let books = |state: &forebay_pool::State| {
        let (alice, bob) = (state.peer(ALICE).unwrap(), state.peer(BOB).unwrap());
        let owed = state.balance(alice.clearing).debit().value();
        let earned = state.balance(bob.clearing).credit().value();
        (
            owed,
            earned + state.balance(bob.vouchers_out).credit().value(),
        )
    };
    let books = node.core().query(books).await.unwrap();
    assert_eq!(books, (1_000_000, u128::from(sent[1].1)));
    node.stop().await;
}

#[tokio::test]
async fn packets_are_asked_for_once_on_each_link_and_behind_the_packets_sent_there() {
    let (_folder, node, mut alice, mut bob) = linked().await;
    let none = asked(&bobs_hello(&mut bob).await);
    assert!(none.is_empty(), "nothing is in flight: {none:?}");
    alice.prepare(1, 1_000_000, 25_000).await;
    let first = name(bob.hear_prepare().await);
    let none = asked(&bobs_hello(&mut bob).await);
    assert!(none.is_empty(), "once on a link: {none:?}");

    let mut bob = Client::connect(node.btp_address(), "bob").await;
    alice.prepare(2, 1_000_000, 25_000).await;
    let second = name(bob.hear_prepare().await);
    let mut heard = bobs_hello(&mut bob).await;
    while asked(&heard).is_empty() {
        heard.push(bob.hear().await);
    }
    assert_eq!(asked(&heard), [[first, second]]);
    node.stop().await;
}

#[tokio::test]
async fn a_packet_is_disowned_by_its_payee_its_number_and_its_expiry_and_not_once_answered() {
    let (_folder, node, mut alice, mut bob) = linked().await;
    alice.prepare(1, 1_000_000, 25_000).await;
    let first = name(bob.hear_prepare().await);
    alice.prepare(2, 1_000_000, 25_000).await;
    let second = name(bob.hear_prepare().await);
    bob.fulfill(second.packet.0, &PREIMAGE, b"").await;
    assert_eq!(alice.hear().await, fulfilled(2, b""));

    let later = Timestamp(first.expires_at.0 + 1);
    let strangers = [
        PacketName {
            expires_at: later,
            ..first
        },
        PacketName {
            packet: PacketId(first.packet.0 + (1 << 20)),
            ..first
        },
        second,
    ];
    disown(&mut bob, strangers.to_vec()).await;
    disown(&mut alice, vec![first]).await;
    let most = forebay_channel::RESUME_MAX;
    let packets = vec![first; most + 1];
    say(&mut bob, 62, &PeerMessage::PacketsUnknown { packets }).await;
    assert!(matches!(bob.hear().await, Heard::Error { id: 62, .. }));
    // All of that changed nothing; the right name does, however often it is said.
    bob.fulfill(first.packet.0, &[8; 32], b"").await;
    assert_eq!(alice.hear_reject().await, (1, ErrorCode::F05WrongCondition));
    alice.prepare(3, 1_000_000, 25_000).await;
    let third = name(bob.hear_prepare().await);
    disown(&mut bob, vec![third; most]).await;
    assert_eq!(
        alice.hear_reject().await,
        (3, ErrorCode::T01PeerUnreachable)
    );
    assert_eq!(node.figures().relayed_rejects.sum(), 2);
    node.stop().await;
}

#[tokio::test]
async fn draining_refuses_new_prepares_waits_for_the_old_and_leaves_a_snapshot() {
    let (folder, node, mut alice, mut bob) = linked().await;
    alice.prepare(1, 1_000_000, 10_000).await;
    let (id, ..) = bob.hear_prepare().await;
    let draining = tokio::spawn(node.drain());
    // The drain is told on its own way; a prepare that overtakes it is forwarded like any other.
    let mut request = 2;
    loop {
        alice.prepare(request, 1_000_000, 10_000).await;
        let overtook =
            tokio::time::timeout(std::time::Duration::from_millis(200), bob.hear_prepare()).await;
        let Ok((early, ..)) = overtook else { break };
        bob.fulfill(early, &PREIMAGE, b"").await;
        assert!(matches!(alice.hear().await, Heard::Fulfill { .. }));
        request += 1;
    }
    assert_eq!(
        alice.hear_reject().await,
        (request, ErrorCode::T03ConnectorBusy)
    );
    bob.fulfill(id, &PREIMAGE, b"").await;
    assert_eq!(
        alice.hear().await,
        Heard::Fulfill {
            id: 1,
            preimage: PREIMAGE,
            data: vec![]
        }
    );
    assert_eq!(draining.await.unwrap(), Ending::Drained);
    let names = std::fs::read_dir(folder.path().join("journal")).unwrap();
    assert!(names.into_iter().any(|name| {
        name.unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("snapshot")
    }));
    let again = Node::start(config(folder.path()), keys()).await.unwrap();
    again.stop().await;
}

#[tokio::test]
async fn a_second_process_on_the_data_directory_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let second = Node::start(config(folder.path()), keys()).await;
    let words = second.err().expect("it is refused").to_string();
    assert!(words.contains("in use by another process"), "{words}");
    node.stop().await;
}
