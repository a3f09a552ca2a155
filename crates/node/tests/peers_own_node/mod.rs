//! The peer's own side, whole, where the peer runs a Lightning node anyway: an `ldk-node` that is asked as LND is.

use bitcoin::address::NetworkUnchecked;
use bitcoin::base64::Engine;
use bitcoin::base64::engine::general_purpose::STANDARD;
use forebay_chain_bitcoin::bitcoind::Credentials;
use forebay_chain_bitcoin::lnd::{InvoiceStanding, Lnd, LndSettings, Paid};
use forebay_lightning_peer::{Peer, Settings};
use forebay_node::connect;

use super::peers_side::{PREPAY, agree, shown, started};
use super::*;

/// What it is paid in one packet: `ldk-node` lets a tenth of a channel that others opened be under way.
const PACKET_SAT: u64 = 24_000;
/// The channel that it opens.
const CHANNEL_SAT: u64 = 200_000;

/// The node, and where it is asked.
struct Own {
    peer: Peer,
    url: String,
}

impl Own {
    async fn start(folder: &Path, regtest: &Regtest) -> Self {
        let Credentials::User { name, password } = regtest.client_settings().credentials else {
            panic!("regtest has a user")
        };
        let settings = Settings {
            folder: folder.join("own"),
            bitcoind: ([127, 0, 0, 1], regtest.port()).into(),
            user: name,
            password,
            listen: ([127, 0, 0, 1], free_port()).into(),
        };
        let peer = Peer::start(settings).unwrap();
        let at = peer.serve(([127, 0, 0, 1], 0).into()).await.unwrap();
        let own = Self {
            peer,
            url: format!("http://{at}"),
        };
        let address = own.ask("/v1/newaddress", None).await["address"].to_string();
        let address: bitcoin::Address<NetworkUnchecked> =
            address.trim_matches('"').parse().unwrap();
        for _ in 0..2 {
            let coins = bitcoin::Amount::from_sat(1_000_000);
            regtest
                .pay(&address.clone().assume_checked(), coins)
                .await
                .unwrap();
        }
        regtest.mine(1).await.unwrap();
        own
    }

    fn client(&self) -> Lnd {
        let settings = LndSettings {
            url: self.url.clone(),
            macaroon_file: Some(self.peer.macaroon_file()),
            network: Network::Regtest,
        };
        Lnd::new(&settings).unwrap()
    }

    async fn ask(&self, path: &str, body: Option<serde_json::Value>) -> serde_json::Value {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}{path}", self.url);
        let request = match &body {
            Some(body) => http.post(url).body(body.to_string()),
            None => http.get(url),
        };
        let macaroon = hex::encode(std::fs::read(self.peer.macaroon_file()).unwrap());
        let request = request.header("Grpc-Metadata-macaroon", macaroon);
        let text = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn config(&self, folder: &Path, node: &RunningNode, pool: (NodeId, u16)) -> connect::Config {
        let text = format!(
            "data_directory = {folder:?}\nkeys_file = \"key.json\"\n\
             [pool]\nurl = \"ws://{}/\"\ntoken = \"carol\"\n\
             [software]\nlisten = \"127.0.0.1:{}\"\ntoken = \"software\"\n\
             [lightning]\naccount = \"test.pool.carol\"\npool_node = \"{}@127.0.0.1:{}\"\nasset_scale = 11\n\
             [lnd]\nnetwork = \"regtest\"\nurl = \"{}\"\nmacaroon_file = {:?}\n\
             [limits]\nprepay = \"{PREPAY}\"\ncredit_to_pool = \"100000000\"\n",
            node.btp_address(),
            free_port(),
            pool.0,
            pool.1,
            self.url,
            self.peer.macaroon_file(),
        );
        std::fs::create_dir_all(folder).unwrap();
        let path = folder.join("connect.toml");
        std::fs::write(&path, text).unwrap();
        connect::Config::load(&path).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connect_settles_through_a_node_that_the_peer_runs_anyway_and_that_node_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let pool_folder: PathBuf = folder.path().join("pool");
    let peer_folder: PathBuf = folder.path().join("carol");
    std::fs::create_dir_all(&pool_folder).unwrap();
    let regtest = regtest(folder.path()).await;
    let own = Own::start(folder.path(), &regtest).await;
    let port = free_port();
    let config = pool_config(&pool_folder, &regtest, port);
    let node = Node::start(config, keys()).await.unwrap();
    found(&node).await;
    let address = ask(&node, &pool_folder, "/v1/bitcoin/addresses", Some("{}")).await;
    let address: bitcoin::Address<NetworkUnchecked> =
        address["address"].as_str().unwrap().parse().unwrap();
    // In two coins: while one funds a channel, the other lets a channel in.
    let address = address.assume_checked();
    for _ in 0..2 {
        let capital = bitcoin::Amount::from_sat(5_000_000);
        regtest.pay(&address, capital).await.unwrap();
    }
    regtest.mine(6).await.unwrap();
    until("the capital is in the books", async || {
        (held(&node).await == 10_000_000 * SAT).then_some(())
    })
    .await;

    // Carol's own node opens its channel, as its owner tells it to; the pool opens the other one.
    let described = ask(&node, &pool_folder, "/v1/bitcoin", None).await;
    let pool = node_id(described["node"].as_str().unwrap());
    let config = own.config(&peer_folder, &node, (pool, port));
    let running = started(&config).await;
    until("both are connected", async || {
        let opened = serde_json::json!({
            "node_pubkey": STANDARD.encode(pool.0), "local_funding_amount": CHANNEL_SAT.to_string(),
        });
        let answer = own.ask("/v1/channels", Some(opened)).await;
        (answer == serde_json::json!({})).then_some(())
    })
    .await;
    let view = shown(&peer_folder, &regtest, "paid ahead", |view, lightning| {
        view.ready && lightning.credited.0.value() == PREPAY && !lightning.inbound.0.is_zero()
    })
    .await;
    assert_eq!(view.node, own.peer.id());
    assert!(view.deposit_address.is_empty());
    until("the pool can pay", async || {
        let account = account(&node).await;
        (account.outbound.value() > 100_000 * SAT).then_some(())
    })
    .await;

    // Dave pays Carol's software. Her side is ended at once, whether the pool has paid her node by then or not.
    let mut software = Client::connect(running.listen(), "software").await;
    shown(&peer_folder, &regtest, "software", |view, _| {
        view.software_connected
    })
    .await;
    let mut dave = Client::connect(node.btp_address(), "dave").await;
    let earned = packet(&mut dave, &mut software, 1, PACKET_SAT * 1_000).await;
    running.drain().await.unwrap();
    // On another port: within one process the first one is let go of a moment later.
    let config = own.config(&peer_folder, &node, (pool, port));
    let running = started(&config).await;
    // An invoice that the pool gave up, because her side had just ended, stays open until its time is over.
    shown(&peer_folder, &regtest, "paid", |_, lightning| {
        lightning.received.0.value() == u128::from(earned)
    })
    .await;

    // Carol's software pays Dave what it has ahead, and more is paid ahead.
    let mut software = Client::connect(running.listen(), "software").await;
    shown(&peer_folder, &regtest, "ready again", |view, _| {
        view.ready && view.software_connected
    })
    .await;
    software
        .prepare_to("test.pool.dave.shop", 1, 15_000_000, 20_000, b"")
        .await;
    let (request, _, _) = dave.hear_prepare().await;
    dave.fulfill(request, &PREIMAGE, b"").await;
    let answer = software.hear().await;
    assert!(matches!(answer, Heard::Fulfill { .. }), "{answer:?}");
    let again = PREPAY + 15_000 * SAT;
    shown(
        &peer_folder,
        &regtest,
        "paid ahead again",
        |_, lightning| lightning.credited.0.value() == again,
    )
    .await;
    let view = agree(&peer_folder, &regtest, &node).await;
    agrees(&node, &pool_folder, held(&node).await).await;

    // Its own word, to the millisatoshi.
    let counted = own.peer.state();
    assert_eq!(u128::from(counted.sent_msat), view.paid.0.value());
    assert_eq!(u128::from(counted.received_msat), view.received.0.value());
    assert_eq!(u128::from(counted.fees_msat), view.fees.0.value());
    let hers: u128 = counted
        .channels
        .iter()
        .map(|c| u128::from(c.ours_msat))
        .sum();
    let put_in = u128::from(CHANNEL_SAT) * SAT;
    assert_eq!(hers, put_in + view.received.0.value() - view.paid.0.value());
    running.drain().await.unwrap();
    node.stop().await;
    own.peer.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_invoice_or_a_payment_asked_for_twice_is_the_same_one() {
    let folder = tempfile::tempdir().unwrap();
    let regtest = regtest(folder.path()).await;
    let own = Own::start(folder.path(), &regtest).await;
    let lnd = own.client();
    let id = lnd.identity().await.unwrap();
    assert_eq!(NodeId(id).to_string(), own.peer.id());
    let text = "what it signs";
    let proof = lnd.sign_message(text).await.unwrap();
    assert!(forebay_chain_bitcoin::lightning::verify_message(
        text, &proof, id
    ));

    let terms = InvoiceTerms {
        amount_msat: 5_000,
        expiry_s: 3_600,
        final_cltv: 144,
        payer: 0,
    };
    let preimage = [5; 32];
    let hash: [u8; 32] = Sha256::digest(preimage).into();
    assert_eq!(lnd.standing(hash).await.unwrap(), InvoiceStanding::Unknown);
    let first = lnd.invoice(preimage, terms).await.unwrap();
    let read = read_invoice(&first, Network::Regtest).unwrap();
    assert_eq!(
        (read.hash, read.payee, read.amount_msat),
        (hash, id, Some(5_000))
    );
    assert_eq!(lnd.invoice(preimage, terms).await.unwrap(), first);
    let larger = InvoiceTerms {
        amount_msat: 5_001,
        ..terms
    };
    assert!(lnd.invoice(preimage, larger).await.is_err());
    assert_eq!(lnd.standing(hash).await.unwrap(), InvoiceStanding::Open);

    // Without any channel the payment fails for certain, and says the same when it is looked at again.
    let stranger = own_node(folder.path(), &regtest).await.node;
    let invoice = stranger.invoice([9; 16], terms).await.unwrap();
    let hash = read_invoice(&invoice, Network::Regtest).unwrap().hash;
    assert_eq!(lnd.payment(hash).await.unwrap(), Paid::Unknown);
    let terms = PaymentTerms {
        invoice,
        fee_max_msat: 1_000,
        timeout: Duration::from_secs(5),
        cltv_max: None,
    };
    assert!(matches!(
        lnd.pay(&terms).await.unwrap(),
        Paid::Failed { .. }
    ));
    assert!(matches!(
        lnd.payment(hash).await.unwrap(),
        Paid::Failed { .. }
    ));

    // Whoever does not show the macaroon is told nothing.
    let settings = LndSettings {
        url: own.url.clone(),
        macaroon_file: None,
        network: Network::Regtest,
    };
    let refused = Lnd::new(&settings).unwrap().identity().await;
    assert!(refused.unwrap_err().to_string().contains("macaroon"));
    stranger.stop().await;
    own.peer.stop().unwrap();
}
