//! A whole pool process with its own wallet and Lightning node, on a real bitcoind; at the other end of its channels a
//! Lightning node of the peer's, and what the peer says on its link said by hand.
#![allow(clippy::unwrap_used)]

mod common;
mod ldk_peer;
mod lp_side;
mod peers_own_node;
mod peers_side;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use forebay_chain_bitcoin::bitcoind::Bitcoind;
use forebay_chain_bitcoin::bitcoind::regtest::{Regtest, RegtestSettings};
use forebay_chain_bitcoin::lightning::{
    Closing, InvoiceTerms, LightningNode, LightningSettings, Observation, Observations,
    PaymentTerms, Seed, read_invoice,
};
use forebay_chain_bitcoin::wallet::{self, Purpose, Wallet, WalletSettings};
use forebay_chain_bitcoin::{Network, genesis_hash};
use forebay_channel::{LightningTerms, NodeId, PROTOCOL, PeerMessage, node_claim};
use forebay_ilp::btp::{self, Entry, RequestId};
use forebay_node::{Config, Node, RunningNode};
use forebay_pool::*;
use forebay_quantity::*;
use sha2::{Digest, Sha256};

const BTC: AssetId = AssetId(0);
const CAROL: PeerId = PeerId(0);
const DAVE: PeerId = PeerId(1);
/// Millisatoshi in a satoshi.
const SAT: u128 = 1_000;
const PATIENCE: Duration = Duration::from_secs(60);

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn regtest(folder: &Path) -> Regtest {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let binary = RegtestSettings::binary_in(&root);
    let settings = RegtestSettings::new(binary, folder.join("bitcoind"));
    let regtest = Regtest::start(settings).await.unwrap();
    regtest.mine(101).await.unwrap();
    regtest
}

fn pool_config(folder: &Path, regtest: &Regtest, lightning_port: u16) -> Config {
    let bitcoind = regtest.client_settings();
    let forebay_chain_bitcoin::bitcoind::Credentials::User { name, password } =
        bitcoind.credentials
    else {
        panic!("regtest has a user")
    };
    std::fs::write(folder.join("rpc-password"), password).unwrap();
    let text = format!(
        "data_directory = {folder:?}\nbtp_listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nkeys_file = \"keys\"\n\
         [bitcoin]\nnetwork = \"regtest\"\nrpc_url = \"{}\"\nrpc_user = \"{name}\"\nrpc_password_file = \"rpc-password\"\n\
         lightning_listen = \"127.0.0.1:{lightning_port}\"\n\
         [limits]\nsegment_bytes = 1048576\ndrain_max_ms = 2000\n",
        bitcoind.url
    );
    let path = folder.join("forebay.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path).unwrap()
}

/// A pool with an asset on Bitcoin, Carol who is paid over Lightning, and Dave who may owe and be owed.
async fn found(node: &RunningNode) {
    let core = node.core();
    admin(
        core,
        Admin::Found(Genesis {
            operator: "test.pool".into(),
            pool_signer: keys().pool.address(),
            expiry_margin_ms: 1_000,
            hold_max_ms: 30_000,
            forward_min_ms: 500,
            first_serial: ChannelSerial(100),
        }),
    )
    .await;
    let bitcoin = BitcoinDefinition {
        code: "BTC".into(),
        scale: 11,
        genesis: Hash32(genesis_hash(Network::Regtest)),
        index_rate_max: 0,
    };
    admin(core, Admin::AddBitcoin(bitcoin, policy())).await;
    for (name, credit, allotment) in [("carol", 0, 500_000 * SAT), ("dave", 1_000_000 * SAT, 0)] {
        let token_hash = Hash32(Sha256::digest(name.as_bytes()).into());
        let policy = PeerPolicy {
            settle_threshold: Amount::new(1_000 * SAT),
            ..peer_policy(credit, allotment)
        };
        let added = Admin::AddPeer {
            name: name.into(),
            asset: BTC,
            token_hash,
            policy,
        };
        admin(core, added).await;
    }
    // He is paid without a channel of his own.
    let relation = Relation {
        debt_max: Amount::new(1_000_000 * SAT),
        ..Relation::CHILD
    };
    admin(core, Admin::SetRelation(DAVE, relation)).await;
}

/// What the operator's interface says, or does.
async fn ask(
    node: &RunningNode,
    folder: &Path,
    path: &str,
    body: Option<&str>,
) -> serde_json::Value {
    let token = std::fs::read_to_string(folder.join("admin.token")).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}{path}", node.admin_address());
    let request = match body {
        Some(body) => http
            .post(url)
            .header("Idempotency-Key", format!("{:032x}", now().0))
            .body(body.to_owned()),
        None => http.get(url),
    };
    let answer = request.bearer_auth(token.trim()).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap()
}

/// Has the operator's interface replace something.
async fn put(node: &RunningNode, folder: &Path, path: &str, body: &str) {
    let token = std::fs::read_to_string(folder.join("admin.token")).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}{path}", node.admin_address());
    let request = http
        .put(url)
        .header("Idempotency-Key", format!("{:032x}", now().0))
        .body(body.to_owned());
    let answer = request.bearer_auth(token.trim()).send().await.unwrap();
    let status = answer.status();
    assert!(
        status.is_success(),
        "{path}: {}",
        answer.text().await.unwrap()
    );
}

/// The peer's own Lightning node.
struct Own {
    node: LightningNode,
    wallet: Arc<Wallet>,
    seen: Observations,
}

async fn own_node(folder: &Path, regtest: &Regtest) -> Own {
    let bitcoind = Arc::new(Bitcoind::new(regtest.client_settings()).unwrap());
    let folder = folder.join("peer");
    std::fs::create_dir_all(&folder).unwrap();
    let settings = WalletSettings::new(folder.join("wallet.redb"));
    let seed = wallet::Seed([9; 32]);
    let wallet = Wallet::open(settings, &seed, Arc::clone(&bitcoind))
        .await
        .unwrap();
    let wallet = Arc::new(wallet);
    let settings = LightningSettings {
        poll: Duration::from_millis(100),
        confirmations: 1,
        ..LightningSettings::new(folder, Network::Regtest, Seed::new([8; 32]))
    };
    let (node, seen) = LightningNode::start(settings, bitcoind, wallet.clone())
        .await
        .unwrap();
    Own { node, wallet, seen }
}

impl Own {
    async fn next(&mut self, wanted: impl Fn(&Observation) -> bool) -> Observation {
        let found = async {
            loop {
                let observed = self.seen.next().await.expect("the node runs");
                let observation = observed.observation.clone();
                observed.acknowledge();
                if wanted(&observation) {
                    return observation;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found)
            .await
            .expect("it is observed")
    }
}

/// Says something of the sub-protocol.
async fn say(client: &mut Client, id: u32, message: &PeerMessage) {
    let mut frame = Vec::new();
    let bytes = message.encode();
    let entry = Entry::bytes(PROTOCOL, &bytes);
    btp::encode_message(&mut frame, RequestId(id), &[entry]);
    client.send(frame).await;
}

/// The next thing said of the sub-protocol that is wanted.
async fn heard<T>(client: &mut Client, mut wanted: impl FnMut(PeerMessage) -> Option<T>) -> T {
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        let Some(bytes) = client.read_within(Duration::from_secs(1)).await else {
            continue;
        };
        let data = match client.link.receive(&bytes) {
            Ok(
                forebay_ilp::LinkEvent::Message(_, data)
                | forebay_ilp::LinkEvent::Response(_, data),
            ) => data.find(PROTOCOL).map(|entry| entry.data.to_vec()),
            _ => None,
        };
        let message = data.and_then(|data| PeerMessage::decode(&data));
        if let Some(found) = message.and_then(&mut wanted) {
            return found;
        }
    }
    panic!("it was not said")
}

async fn hello(client: &mut Client, own: &Own, pool: NodeId) -> LightningTerms {
    let proof = own.node.sign_message(&node_claim("test.pool.carol", pool));
    let hello = PeerMessage::LightningHello {
        node: NodeId(own.node.identity()),
        proof,
    };
    say(client, 1, &hello).await;
    heard(client, |message| match message {
        PeerMessage::LightningTerms(terms) => Some(terms),
        _ => None,
    })
    .await
}

fn node_id(text: &str) -> NodeId {
    let bytes: Vec<u8> = (0..33)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    NodeId(bytes.try_into().unwrap())
}

async fn account(node: &RunningNode) -> LightningAccount {
    let account = node.core().query(|state| {
        let peer = state.peer(CAROL).unwrap();
        peer.lightning.as_deref().unwrap().clone()
    });
    account.await.unwrap()
}

async fn held(node: &RunningNode) -> u128 {
    let held = node.core().query(|state| {
        state.ledger().check_balanced().unwrap();
        let asset = state.asset(BTC).unwrap();
        state.balance(asset.accounts.vault).debit().value()
    });
    held.await.unwrap()
}

/// What the wallet and our side of all channels come to, as the node itself says, in millisatoshi.
async fn owned(node: &RunningNode, folder: &Path) -> u128 {
    let bitcoin = ask(node, folder, "/v1/bitcoin", None).await;
    let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<u128>().unwrap();
    let channels = bitcoin["channels"].as_array().unwrap();
    let in_channels: u128 = channels
        .iter()
        .map(|channel| number(&channel["balance"]))
        .sum();
    (number(&bitcoin["confirmed"]) + number(&bitcoin["pending"])) * SAT + in_channels
}

/// The node comes to own what the books say, to the millisatoshi: a channel's balance follows a payment by a few messages.
async fn agrees(node: &RunningNode, folder: &Path, books: u128) {
    until("the node owns what the books say", async || {
        (owned(node, folder).await == books).then_some(())
    })
    .await;
}

/// Dave, on credit, pays Carol, who fulfils.
async fn packet(dave: &mut Client, carol: &mut Client, id: u32, amount: u64) -> u64 {
    dave.prepare_to("test.pool.carol.shop", id, amount, 20_000, b"")
        .await;
    let (request, arrived, _) = carol.hear_prepare().await;
    carol.fulfill(request, &PREIMAGE, b"").await;
    loop {
        match dave.hear().await {
            Heard::Fulfill { .. } => return arrived,
            Heard::Reject { code, message, .. } => panic!("{code:?} {message}"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_peer_is_paid_and_pays_over_lightning_and_the_books_agree_with_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let pool_folder: PathBuf = folder.path().join("pool");
    std::fs::create_dir_all(&pool_folder).unwrap();
    let regtest = regtest(folder.path()).await;
    let port = free_port();
    let config = pool_config(&pool_folder, &regtest, port);
    let node = Node::start(config, keys()).await.unwrap();
    found(&node).await;

    // The operator's capital arrives, and counts once it lies deep enough.
    let address = ask(&node, &pool_folder, "/v1/bitcoin/addresses", Some("{}")).await;
    let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> =
        address["address"].as_str().unwrap().parse().unwrap();
    regtest
        .pay(
            &address.assume_checked(),
            bitcoin::Amount::from_sat(10_000_000),
        )
        .await
        .unwrap();
    regtest.mine(6).await.unwrap();
    until("the capital is in the books", async || {
        (held(&node).await == 10_000_000 * SAT).then_some(())
    })
    .await;
    assert_eq!(owned(&node, &pool_folder).await, 10_000_000 * SAT);

    // Carol's node has coins for its reserve, and the pool opens a channel to it.
    let mut own = own_node(folder.path(), &regtest).await;
    let address = own.wallet.address(Purpose::ChannelFunding).unwrap();
    regtest
        .pay(&address, bitcoin::Amount::from_sat(1_000_000))
        .await
        .unwrap();
    regtest.mine(1).await.unwrap();
    own.wallet.sync().await.unwrap();
    let shown = ask(&node, &pool_folder, "/v1/bitcoin", None).await;
    let pool = node_id(shown["node"].as_str().unwrap());
    let listens: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    own.node.connect(pool.0, listens).await.unwrap();
    let mut carol = Client::connect(node.btp_address(), "carol").await;
    let terms = hello(&mut carol, &own, pool).await;
    assert_eq!(
        (terms.node, terms.genesis),
        (pool, genesis_hash(Network::Regtest))
    );
    own.next(|seen| matches!(seen, Observation::ChannelPending { .. }))
        .await;
    let usable = until("the channel carries something", async || {
        regtest.mine(1).await.unwrap();
        Some(account(&node).await).filter(|account| !account.outbound.is_zero())
    })
    .await;
    assert!(usable.outbound.value() > 400_000 * SAT);

    // Dave pays Carol 50,000 sat in a packet; the pool settles by Carol's invoice.
    let mut dave = Client::connect(node.btp_address(), "dave").await;
    let earned = packet(&mut dave, &mut carol, 1, 50_000_000).await;
    let (settlement, amount) = heard(&mut carol, |message| match message {
        PeerMessage::InvoiceAsked { settlement, amount } => Some((settlement, amount)),
        _ => None,
    })
    .await;
    assert_eq!(amount.value(), u128::from(earned));
    let terms = InvoiceTerms {
        amount_msat: earned,
        expiry_s: 3_600,
        final_cltv: 144,
        payer: 0,
    };
    let mut id = [0; 16];
    id[8..].copy_from_slice(&settlement.to_be_bytes());
    let invoice = own.node.invoice(id, terms).await.unwrap();
    let told = PeerMessage::InvoiceTold {
        settlement,
        invoice: Some(invoice.clone()),
        refused: None,
    };
    say(&mut carol, 2, &told).await;
    let received = own
        .next(|seen| matches!(seen, Observation::Received { .. }))
        .await;
    assert!(matches!(received, Observation::Received { amount_msat, .. } if amount_msat == earned));
    until("the settlement is posted", async || {
        let account = account(&node).await;
        (account.settlement.is_none() && account.paid == amount).then_some(())
    })
    .await;
    let books = held(&node).await;
    agrees(&node, &pool_folder, books).await;
    // Told once more, the same invoice is paid no more.
    say(&mut carol, 3, &told).await;

    // Carol pays the pool ahead by an invoice of the pool's, from what it was paid.
    until("the channel carries as much to the pool", async || {
        let carried = account(&node).await.inbound;
        (carried.value() > 20_000 * SAT).then_some(())
    })
    .await;
    let asked = PeerMessage::InvoiceAsked {
        settlement: 1,
        amount: Amount::new(20_000 * SAT),
    };
    say(&mut carol, 4, &asked).await;
    let invoice = heard(&mut carol, |message| match message {
        PeerMessage::InvoiceTold {
            invoice, refused, ..
        } => Some(invoice.unwrap_or_else(|| panic!("refused: {refused:?}"))),
        _ => None,
    })
    .await;
    let view = read_invoice(&invoice, Network::Regtest).unwrap();
    assert_eq!((view.payee, view.amount_msat), (pool.0, Some(20_000_000)));
    let payment = PaymentTerms {
        invoice,
        fee_max_msat: 10_000,
        timeout: Duration::from_secs(10),
        cltv_max: None,
    };
    own.node.pay(&payment).unwrap();
    let credited = heard(&mut carol, |message| match message {
        PeerMessage::LightningTerms(terms) if !terms.terms.held.is_zero() => Some(terms),
        _ => None,
    })
    .await;
    assert_eq!(credited.terms.held, Amount::new(20_000 * SAT));
    assert_eq!(credited.terms.owed_to_peer, Amount::new(20_000 * SAT));
    assert_eq!(held(&node).await, books + 20_000 * SAT);
    agrees(&node, &pool_folder, books + 20_000 * SAT).await;

    // An invoice that is none ends a settlement, and the debt stands.
    packet(&mut dave, &mut carol, 2, 30_000_000).await;
    let next = heard(&mut carol, |message| match message {
        PeerMessage::InvoiceAsked { settlement, .. } => Some(settlement),
        _ => None,
    })
    .await;
    assert_ne!(next, settlement);
    let refused = PeerMessage::InvoiceTold {
        settlement: next,
        invoice: Some(invoice_of_nobody()),
        refused: None,
    };
    say(&mut carol, 5, &refused).await;
    until("a bad invoice ends the settlement", async || {
        account(&node).await.settlement.is_none().then_some(())
    })
    .await;
    assert_eq!(
        account(&node).await.paid.value(),
        u128::from(earned),
        "nothing was paid"
    );

    // Stopped and started again within one process, it finds its stores free.
    node.stop().await;
    let config = pool_config(&pool_folder, &regtest, port);
    let node = Node::start(config, keys()).await.unwrap();
    // The peer closes the channel alone: what the pool had in it comes back, and the books agree to the millisatoshi.
    let before = held(&node).await;
    let channel = own.node.channels().unwrap()[0].channel;
    own.node.close(channel, Closing::Unilateral).await.unwrap();
    until("the closing is on its way", async || {
        let waiting: Vec<String> = regtest.client().call("getrawmempool", &[]).await.unwrap();
        (!waiting.is_empty()).then_some(())
    })
    .await;
    until("all of it is back, and booked", async || {
        regtest.mine(1).await.unwrap();
        let (books, owned) = (held(&node).await, owned(&node, &pool_folder).await);
        (books < before && books == owned).then_some(())
    })
    .await;
    assert!(account(&node).await.channels.is_empty());
    node.stop().await;
    own.node.stop().await;
}

/// BOLT 11's own example, on another network.
fn invoice_of_nobody() -> String {
    "lnbc1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq9qrsgq357wnc5r2ueh7ck6q93dj32dlqnls087fxdwk8qakdyafkq3yap9us6v52vjjsrvywa6rt52cm9r9zqt8r2t7mlcwspyetp5h2tztugp9lfyql".into()
}
