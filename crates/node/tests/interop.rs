//! Interledger's own npm packages as parent, peer, sender and receiver: real programs that speak to a real pool.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use common::pools::{BOTH_WAYS, Pool, RECEIVER};
use common::*;
use forebay_node::{HttpMode, HttpUplink, Uplink};
use forebay_pool::*;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// What a customer may owe these pools, and more than any payment here.
const CREDIT: u128 = 50_000_000;
/// Node starts slowly on a busy machine, and STREAM tries again.
const PATIENCE: Duration = Duration::from_secs(150);

/// A program of `tools/ilp` that says things in JSON, line by line.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    name: String,
}

impl Program {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/ilp"));
        assert!(
            folder.join("node_modules/ilp-connector").is_dir(),
            "the npm packages are missing: run cargo xtask setup"
        );
        let mut child = Command::new("node")
            .arg(name)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs: run cargo xtask setup");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            lines,
            name: name.into(),
        }
    }

    /// The next line that holds this field.
    async fn says(&mut self, field: &str) -> Value {
        let said = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                let said: Value = serde_json::from_str(&line).unwrap_or_default();
                if said.get(field).is_some() {
                    return said;
                }
            }
            panic!("{} ended without saying {field}", self.name)
        });
        said.await
            .unwrap_or_else(|_| panic!("{} does not say {field}", self.name))
    }

    /// What it says last, once its input has ended.
    async fn ends(mut self) -> Value {
        drop(self.child.stdin.take());
        self.says("last").await
    }
}

fn whole(said: &Value, field: &str) -> u128 {
    let text = said[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field} in {said}"));
    text.parse().unwrap()
}

fn text<'a>(said: &'a Value, field: &str) -> &'a str {
    said[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field} in {said}"))
}

fn btp(address: SocketAddr, token: &str) -> String {
    format!("btp+ws://:{token}@{address}")
}

/// Pays a STREAM receiver, and returns what was sent and what arrived.
async fn pay_by_stream(from: &str, to: &str, amount: u128) -> (u128, u128) {
    let mut receiver = Program::start("stream-receive.cjs", &[to]);
    let where_to = receiver.says("destination_account").await;
    let (account, secret) = (
        text(&where_to, "destination_account"),
        text(&where_to, "shared_secret"),
    );
    let mut sender = Program::start(
        "stream-send.cjs",
        &[from, account, secret, &amount.to_string()],
    );
    let paid = sender.says("last").await;
    let received = receiver.ends().await;
    assert_eq!(whole(&paid, "delivered"), whole(&received, "received"));
    (whole(&paid, "sent"), whole(&received, "received"))
}

/// An account of ilp-connector whose link it listens for.
fn account(relation: &str, port: u16, token: &str, routes: bool) -> Value {
    json!({
        "relation": relation,
        "plugin": "ilp-plugin-btp",
        "assetCode": "USD",
        "assetScale": 6,
        "options": { "listener": { "port": port, "secret": token } },
        "sendRoutes": routes,
        "receiveRoutes": routes,
    })
}

/// Runs ilp-connector with a link for the pool, and one for a customer of its own called bob.
async fn connector(address: &str, pool: Value, bob: Value) -> Program {
    let configuration = json!({
        "env": "test",
        "ilpAddress": address,
        "backend": "one-to-one",
        "spread": 0,
        "routeBroadcastInterval": 1_000,
        "accounts": { "forebay": pool, "bob": bob },
    });
    Program::start("connector.cjs", &[&configuration.to_string()])
}

fn dialled(peer: &str, port: u16, token: &str) -> Vec<Uplink> {
    vec![Uplink {
        peer: peer.into(),
        url: format!("ws://127.0.0.1:{port}/"),
        username: None,
        token: token.into(),
    }]
}

/// Each packet pays 0.1 %, rounded up.
fn assert_fee(sent: u128, received: u128) {
    assert!(received <= sent - sent / 1_000, "{received} of {sent}");
    assert!(
        received >= sent - sent / 1_000 - 100,
        "{received} of {sent}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ilp_connector_is_the_parent_and_forwards_what_the_pool_does_not_know() {
    let (link, bobs) = (free_port(), free_port());
    let mut parent = connector(
        "test.parent",
        account("child", link, "between us", true),
        account("child", bobs, "bobs", false),
    )
    .await;
    let related = Relation {
        kind: RelationKind::Parent,
        ..BOTH_WAYS
    };
    let accounts = [("top", CREDIT, related), ("alice", CREDIT, Relation::CHILD)];
    let uplinks = dialled("top", link, "between us");
    let pool = Pool::start("test.parent.forebay", &accounts, uplinks).await;
    pool.waits_for("test", Some("top")).await;
    // Told by CCP, and not only by being the parent.
    pool.waits_for("test.parent", Some("top")).await;
    let bob = btp(SocketAddr::from(([127, 0, 0, 1], bobs)), "bobs");
    let (sent, received) =
        pay_by_stream(&btp(pool.node.btp_address(), "alice"), &bob, 4_000_000).await;
    assert_eq!(sent, 4_000_000);
    assert_fee(sent, received);
    assert_eq!(
        pool.balance(0).await,
        (received, 0),
        "what the pool owes its parent"
    );
    assert_eq!(pool.balance(1).await, (0, sent), "what Alice owes the pool");
    parent.says("listening").await;
    pool.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ilp_connector_is_a_peer_and_both_learn_from_the_other_whom_it_reaches() {
    let (link, bobs) = (free_port(), free_port());
    let _connector = connector(
        "test.conn",
        account("peer", link, "between us", true),
        account("child", bobs, "bobs", false),
    )
    .await;
    let accounts = [("conn", CREDIT, BOTH_WAYS), ("alice", CREDIT, RECEIVER)];
    let pool = Pool::start("test.pool", &accounts, dialled("conn", link, "between us")).await;
    pool.waits_for("test.conn", Some("conn")).await;
    let alice = btp(pool.node.btp_address(), "alice");
    let bob = btp(SocketAddr::from(([127, 0, 0, 1], bobs)), "bobs");
    let (sent, received) = pay_by_stream(&alice, &bob, 3_000_000).await;
    assert_fee(sent, received);
    assert_eq!(pool.balance(0).await, (received, 0));
    // And back: the connector knows of the pool by CCP alone.
    let (back, arrived) = pay_by_stream(&bob, &alice, 2_000_000).await;
    assert_fee(back, arrived);
    assert_eq!(
        pool.balance(0).await,
        (received - back, 0),
        "packets both ways settle each other"
    );
    assert_eq!(pool.balance(1).await, (0, sent - arrived));
    pool.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ilp_plugin_http_sends_and_receives_a_stream_payment() {
    let (ours, shops) = (free_port(), free_port());
    let accounts = [("shop", 0, RECEIVER), ("alice", CREDIT, Relation::CHILD)];
    let pool = Pool::start_with("test.pool", &accounts, |config| {
        config.http_listen = Some(SocketAddr::from(([127, 0, 0, 1], ours)));
        config.http_uplinks = vec![HttpUplink {
            peer: "shop".into(),
            url: format!("http://127.0.0.1:{shops}/"),
            token: "pool".into(),
            mode: HttpMode::Sync,
        }];
    })
    .await;
    let plugin = |port: u16, token: &str| {
        json!({
            "incoming": { "port": port, "staticToken": "pool" },
            "outgoing": { "url": format!("http://127.0.0.1:{ours}/ilp"), "staticToken": token },
        })
        .to_string()
    };
    let (sender, receiver) = (plugin(free_port(), "alice"), plugin(shops, "shop"));
    let (sent, received) = pay_by_stream(&sender, &receiver, 4_000_000).await;
    assert_eq!(sent, 4_000_000);
    assert_fee(sent, received);
    assert_eq!(pool.balance(0).await, (received, 0));
    assert_eq!(pool.balance(1).await, (0, sent));
    pool.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interledger_pay_quotes_and_pays_a_stateless_receiver_across_assets() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let endpoint = |name: &str| btp(node.btp_address(), name);
    let mut receiver = Program::start("stateless-receive.cjs", &[&endpoint("bob")]);
    let where_to = receiver.says("destination_account").await;
    let (account, secret) = (
        text(&where_to, "destination_account"),
        text(&where_to, "shared_secret"),
    );
    assert!(account.starts_with("test.pool.bob."), "{account}");
    // 0.01 ETH at 2,000 USD is 20 USD, less 0.1 %.
    let prices = json!({ "ETH": 2_000, "USD": 1 }).to_string();
    let arguments = [&endpoint("alice"), account, secret, "10000000", &prices];
    let paid = Program::start("pay.cjs", &arguments).says("last").await;
    assert_eq!(paid["error"], Value::Null, "{paid}");
    assert_eq!(whole(&paid, "sent"), 10_000_000);
    let delivered = whole(&paid, "delivered");
    assert!(delivered >= whole(&paid, "least_expected"));
    assert_fee(20_000_000, delivered);
    assert_eq!(whole(&receiver.ends().await, "received"), delivered);
    node.stop().await;
}
