//! Bad input over real sockets: each is refused in clear words or passed over, loses nothing, and troubles nobody else.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use std::sync::Arc;

use common::*;
use forebay_ilp::ErrorCode;
use forebay_journal::testing::{Faults, FaultyStorage};
use forebay_node::{Ending, Node, RunningNode};

/// Connections that one process opens and leaves alone.
const IDLE: usize = 10_000;
/// Asks this program for them, in a process of its own.
const IDLE_AT: &str = "FOREBAY_TEST_IDLE_AT";

/// A packet goes through and comes back; how long that took.
async fn goes_through(alice: &mut Client, bob: &mut Client, id: u32) -> Duration {
    let began = Instant::now();
    alice.prepare(id, 1_000_000, 10_000).await;
    let (packet, ..) = bob.hear_prepare().await;
    bob.fulfill(packet, &PREIMAGE, b"").await;
    let expected = Heard::Fulfill {
        id,
        preimage: PREIMAGE,
        data: vec![],
    };
    assert_eq!(alice.hear().await, expected);
    began.elapsed()
}

/// What Bob has earned: owed to him, or paid by voucher.
async fn earned_by_bob(node: &RunningNode) -> u128 {
    let earned = node.core().query(|state| {
        let bob = state.peer(BOB).unwrap();
        let accounts = [bob.clearing, bob.vouchers_out];
        accounts.map(|account| state.balance(account).credit().value())
    });
    earned.await.unwrap().iter().sum()
}

#[tokio::test]
async fn a_request_id_that_is_in_flight_is_refused_and_the_packet_under_it_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    let mut bob = Client::connect(node.btp_address(), "bob").await;
    alice.prepare(1, 1_000_000, 10_000).await;
    let (packet, amount, _) = bob.hear_prepare().await;
    alice.prepare(1, 2_000_000, 10_000).await;
    assert_eq!(alice.hear_reject().await, (1, ErrorCode::F00BadRequest));
    bob.fulfill(packet, &PREIMAGE, b"").await;
    assert!(matches!(alice.hear().await, Heard::Fulfill { id: 1, .. }));
    // A fulfillment played again pays nothing again.
    bob.fulfill(packet, &PREIMAGE, b"").await;
    goes_through(&mut alice, &mut bob, 2).await;
    assert_eq!(earned_by_bob(&node).await, 2 * u128::from(amount));
    node.stop().await;
}

#[tokio::test]
async fn an_expired_packet_an_amount_of_zero_and_the_largest_amount_each_get_their_answer() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    let mut bob = Client::connect(node.btp_address(), "bob").await;
    alice.prepare(1, 1_000_000, 0).await;
    assert_eq!(
        alice.hear_reject().await,
        (1, ErrorCode::R00TransferTimedOut)
    );
    alice.prepare(2, u64::MAX, 10_000).await;
    assert_eq!(alice.hear_reject().await, (2, ErrorCode::F08AmountTooLarge));
    // A packet of nothing carries data and moves nothing.
    alice.prepare(3, 0, 10_000).await;
    let (packet, amount, _) = bob.hear_prepare().await;
    assert_eq!(amount, 0);
    bob.fulfill(packet, &PREIMAGE, b"").await;
    assert!(matches!(alice.hear().await, Heard::Fulfill { id: 3, .. }));
    assert_eq!(earned_by_bob(&node).await, 0);
    node.stop().await;
}

#[tokio::test]
async fn a_destination_that_leads_back_to_the_sender_is_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    for (id, to) in [(1, "test.pool.alice"), (2, "test.pool.alice.shop.till")] {
        alice.prepare_to(to, id, 1_000_000, 10_000, b"").await;
        assert_eq!(alice.hear_reject().await, (id, ErrorCode::F02Unreachable));
    }
    node.stop().await;
}

/// A WebSocket with nothing said on it yet.
fn raw_socket(address: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(stream)
}

#[tokio::test]
async fn a_frame_that_announces_a_gib_ends_its_connection_and_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let address = node.btp_address();
    let before = resident_kib();
    for _ in 0..20 {
        let ended = tokio::task::spawn_blocking(move || {
            let mut stream = raw_socket(address).unwrap();
            // A masked binary frame of 2^30 bytes (RFC 6455, section 5.2).
            stream
                .write_all(&[0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4, 9, 9])
                .unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest)
        });
        // Ended in order or cut off; the read would fail by its time-out if it were still open.
        let refusal = ended.await.unwrap().map_err(|error| error.kind());
        assert!(
            !matches!(refusal, Err(ErrorKind::WouldBlock)),
            "{refusal:?}"
        );
    }
    let grown = resident_kib().saturating_sub(before);
    assert!(
        grown < 200 << 10,
        "{grown} KiB for twenty promises of a GiB"
    );
    let mut alice = Client::connect(address, "alice").await;
    let mut bob = Client::connect(address, "bob").await;
    goes_through(&mut alice, &mut bob, 1).await;
    node.stop().await;
}

#[tokio::test]
async fn a_peer_that_writes_byte_by_byte_slows_nobody_else_and_is_understood_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let address = node.btp_address();
    let slow = tokio::task::spawn_blocking(move || {
        let mut stream = raw_socket(address).unwrap();
        let mut auth = Vec::new();
        let mut link = forebay_ilp::Link::client();
        link.start(&mut auth, forebay_ilp::btp::RequestId(9), None, "alice");
        let size = u8::try_from(auth.len()).unwrap();
        assert!(size < 126);
        for byte in [0x82, 0x80 | size, 0, 0, 0, 0].into_iter().chain(auth) {
            stream.write_all(&[byte]).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).unwrap();
        answer[0]
    });
    // Meanwhile others come and go. Bob has earned nothing, so his packets are refused, and at once.
    let mut bob = Client::connect(address, "bob").await;
    let mut answered = 0;
    while !slow.is_finished() {
        answered += 1;
        bob.prepare_to("test.nowhere", answered, 1, 10_000, b"")
            .await;
        let code = bob.hear_reject().await;
        assert_eq!(code, (answered, ErrorCode::F02Unreachable));
    }
    assert!(answered > 20, "{answered} answers beside the slow writer");
    assert_eq!(slow.await.unwrap(), 0x82, "a binary message: it is let in");
    node.stop().await;
}

#[tokio::test]
async fn a_peer_that_reads_no_answers_is_dropped_and_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let address = node.btp_address();
    let mut alice = Client::connect(address, "alice").await;
    let mut bob = Client::connect(address, "bob").await;
    let flooding = tokio::spawn(async move {
        // Each is answered by a reject of its own, and none of them is read.
        for id in 1..2_000_000 {
            let condition = [0; 32];
            let destination = forebay_ilp::Address::parse(b"test.nowhere").unwrap();
            let prepare = forebay_ilp::PrepareView {
                amount: 1,
                expires_at: forebay_quantity::Timestamp(now().0 + 10_000),
                condition: &condition,
                destination,
                data: b"",
            };
            let mut frame = Vec::new();
            alice
                .link
                .encode_prepare(&mut frame, forebay_ilp::btp::RequestId(id), &prepare)
                .unwrap();
            let message = tokio_tungstenite::tungstenite::Message::Binary(frame.into());
            let sent = futures_util::SinkExt::send(&mut alice.socket, message);
            match tokio::time::timeout(Duration::from_secs(2), sent).await {
                // Slowed down: the pool reads no more from it, or it was dropped.
                Err(_) | Ok(Err(_)) => return (id, alice),
                Ok(Ok(())) => {}
            }
        }
        panic!("two million unread answers, and the pool goes on reading");
    });
    let mut served = 0_u32;
    while !flooding.is_finished() {
        served += 1;
        bob.prepare_to("test.nowhere", served, 1, 10_000, b"").await;
        let heard = bob.hear_reject().await;
        assert_eq!(heard, (served, ErrorCode::F02Unreachable));
    }
    let (_, alice) = flooding.await.unwrap();
    drop(alice);
    assert!(served > 10, "{served} packets of others beside the flood");
    let mut alice = Client::connect(address, "alice").await;
    goes_through(&mut alice, &mut bob, 1).await;
    node.stop().await;
}

fn bytes_in(storage: &FaultyStorage) -> u64 {
    let bytes: usize = storage.files().values().map(Vec::len).sum();
    u64::try_from(bytes).unwrap()
}

fn full_at(storage: &FaultyStorage, capacity_bytes: u64) {
    storage.set_faults(Faults {
        capacity_bytes: Some(capacity_bytes),
        ..Faults::default()
    });
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_start_under_load_or_at_the_snapshot_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.limits.segment_bytes = 64 << 10;
    let start =
        |storage: &FaultyStorage| Node::start_on(config.clone(), keys(), Arc::new(storage.clone()));
    let storage = FaultyStorage::new(1);
    full_at(&storage, 4_096);
    let refused = start(&storage).await.err().expect("nothing can be written");
    assert!(refused.to_string().contains("space"), "{refused}");
    storage.set_faults(Faults::default());
    storage.kill();

    // Under load, from one packet to the next.
    let node = start(&storage).await.unwrap();
    fund(node.core()).await;
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    let mut bob = Client::connect(node.btp_address(), "bob").await;
    full_at(&storage, bytes_in(&storage) + 4_096);
    let (mut through, mut each) = (0_u32, 0);
    let code = loop {
        alice.prepare(through + 1, 1_000_000, 10_000).await;
        let answer = tokio::select! {
            (packet, amount, _) = bob.hear_prepare() => {
                each = amount;
                bob.fulfill(packet, &PREIMAGE, b"").await;
                // A fulfillment that cannot be stored is not relayed: nothing is heard then [I7].
                tokio::time::timeout(Duration::from_secs(1), alice.hear()).await.ok()
            }
            heard = alice.hear() => Some(heard),
        };
        match answer {
            Some(Heard::Fulfill { .. }) => through += 1,
            Some(Heard::Reject { code, .. }) => break code,
            Some(other) => panic!("{other:?}"),
            None => {
                alice.prepare(1_000_000, 1_000_000, 10_000).await;
                break alice.hear_reject().await.1;
            }
        }
    };
    assert_eq!(code, ErrorCode::T00InternalError);
    assert!(through > 0, "something went through before");
    let Ending::Failed(words) = node.drain().await else {
        panic!("it ends for want of a journal")
    };
    assert!(words.contains("space"), "{words}");

    // With room again all that was acknowledged is there; then a snapshot finds none.
    storage.set_faults(Faults::default());
    storage.kill();
    let node = start(&storage).await.unwrap();
    assert!(earned_by_bob(&node).await >= u128::from(through) * u128::from(each));
    let digest = node.core().query(|state| state.digest()).await.unwrap();
    full_at(&storage, bytes_in(&storage));
    println!("draining on a full disk: {:?}", node.drain().await);
    storage.set_faults(Faults::default());
    storage.kill();
    let node = start(&storage).await.unwrap();
    assert_eq!(
        node.core().query(|state| state.digest()).await.unwrap(),
        digest
    );
    node.stop().await;
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse().unwrap()
}

/// Not a claim: the second process of the test below, which opens connections and leaves them alone until it is ended.
#[test]
fn a_child_opens_what_it_is_told() {
    let Ok(address) = std::env::var(IDLE_AT) else {
        return;
    };
    let address: SocketAddr = address.parse().unwrap();
    let idle: Vec<_> = (0..IDLE).map(|_| raw_socket(address).unwrap()).collect();
    println!("\nopen {}", idle.len());
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_keep_no_peer_out_and_slow_none_down() {
    let folder = tempfile::tempdir().unwrap();
    funded(folder.path()).await.stop().await;
    let mut config = config(folder.path());
    // They stay for the whole of the test, and fill every place there is.
    config.limits.auth_max_ms = 600_000;
    config.limits.connections_max = IDLE;
    let node = Node::start(config, keys()).await.unwrap();
    for source in 0..3 {
        for (asset, whole) in [(ETH, 2_000), (USD, 1)] {
            let price = forebay_pool::Command::Price {
                asset,
                source: forebay_quantity::SourceId(source),
                price: whole * 10_u128.pow(12),
                at: now(),
            };
            node.core().command(price).await.unwrap();
        }
    }
    let before = resident_kib();
    let mut child = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_child_opens_what_it_is_told", "--nocapture"])
        .env(IDLE_AT, node.btp_address().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let opened = tokio::task::spawn_blocking(move || {
        let lines = BufReader::new(output).lines();
        let line = lines
            .map(Result::unwrap)
            .find(|line| line.starts_with("open "));
        line.expect("the child says when it has them all")
    });
    assert_eq!(opened.await.unwrap(), format!("open {IDLE}"));
    let bytes_each = resident_kib().saturating_sub(before) * 1_024 / u64::try_from(IDLE).unwrap();

    let mut alice = Client::connect(node.btp_address(), "alice").await;
    let mut bob = Client::connect(node.btp_address(), "bob").await;
    let mut latencies = Vec::new();
    for id in 1..=200 {
        latencies.push(goes_through(&mut alice, &mut bob, id).await);
    }
    latencies.sort();
    println!(
        "{IDLE} idle connections: {bytes_each} bytes each; packets beside them: p50 {:?}, p99 {:?}",
        latencies[100], latencies[198]
    );
    assert!(latencies[100] < Duration::from_millis(100), "{latencies:?}");
    assert!(bytes_each < 256 << 10, "{bytes_each} bytes for each");
    child.kill().unwrap();
    child.wait().unwrap();
    node.stop().await;
}
