//! The peer's own side, whole, at the other end of the pool's link and channels.

use bitcoin::address::NetworkUnchecked;
use forebay_chain_bitcoin::bitcoind::Credentials;
use forebay_chain_evm::Key;
use forebay_node::connect::{self, LightningView, RunningConnect, STATUS_FILE, View};

use super::*;

/// What Carol pays ahead, in millisatoshi, which are her packet units.
pub(super) const PREPAY: u128 = 20_000 * SAT;

fn key() -> Key {
    Key::from_bytes([7; 32]).unwrap()
}

/// Coins in the wallet that `connect` will find in its folder.
async fn prefund(folder: &Path, regtest: &Regtest) {
    let bitcoind = Arc::new(Bitcoind::new(regtest.client_settings()).unwrap());
    std::fs::create_dir_all(folder.join("bitcoin")).unwrap();
    let settings = WalletSettings::new(folder.join("bitcoin/wallet.redb"));
    let seed = wallet::Seed(key().derive("bitcoin wallet"));
    let wallet = Wallet::open(settings, &seed, bitcoind).await.unwrap();
    for _ in 0..2 {
        let address = wallet.address(Purpose::ChannelFunding).unwrap();
        let coins = bitcoin::Amount::from_sat(1_000_000);
        regtest.pay(&address, coins).await.unwrap();
    }
    regtest.mine(1).await.unwrap();
    wallet.sync().await.unwrap();
}

fn peer_config(
    folder: &Path,
    regtest: &Regtest,
    node: &RunningNode,
    pool: (NodeId, u16),
) -> connect::Config {
    let bitcoind = regtest.client_settings();
    let Credentials::User { name, password } = bitcoind.credentials else {
        panic!("regtest has a user")
    };
    std::fs::write(folder.join("rpc-password"), password).unwrap();
    let text = format!(
        "data_directory = {folder:?}\nkeys_file = \"key.json\"\n\
         [pool]\nurl = \"ws://{}/\"\ntoken = \"carol\"\n\
         [software]\nlisten = \"127.0.0.1:{}\"\ntoken = \"software\"\n\
         [lightning]\naccount = \"test.pool.carol\"\npool_node = \"{}@127.0.0.1:{}\"\nasset_scale = 11\n\
         channel_sat = 200000\n\
         [bitcoin]\nnetwork = \"regtest\"\nrpc_url = \"{}\"\nrpc_user = \"{name}\"\nrpc_password_file = \"rpc-password\"\n\
         confirmations = 1\n\
         [limits]\nprepay = \"{PREPAY}\"\ncredit_to_pool = \"100000000\"\n",
        node.btp_address(),
        free_port(),
        pool.0,
        pool.1,
        bitcoind.url
    );
    let path = folder.join("connect.toml");
    std::fs::write(&path, text).unwrap();
    connect::Config::load(&path).unwrap()
}

/// What the peer's side shows, once it shows what is wanted.
pub(super) async fn shown(
    folder: &Path,
    regtest: &Regtest,
    what: &str,
    wanted: impl Fn(&View, &LightningView) -> bool,
) -> LightningView {
    let since = Instant::now();
    loop {
        let text = std::fs::read_to_string(folder.join(STATUS_FILE)).unwrap_or_default();
        let view: Option<View> = serde_json::from_str(&text).ok();
        let lightning = view.as_ref().and_then(|view| view.lightning.clone());
        if let (Some(view), Some(lightning)) = (&view, &lightning)
            && wanted(view, lightning)
        {
            return lightning.clone();
        }
        // A channel that could not be opened at once is tried again after half a minute.
        assert!(since.elapsed() < 3 * PATIENCE, "{what}: {text}");
        regtest.mine(1).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Both sides say the same of what passed between them, and nothing is under way.
pub(super) async fn agree(folder: &Path, regtest: &Regtest, node: &RunningNode) -> LightningView {
    let view = shown(folder, regtest, "all is settled", |_, lightning| {
        lightning.under_way.0.is_zero() && lightning.credited == lightning.paid
    })
    .await;
    let known = until("the pool has nothing under way", async || {
        Some(account(node).await).filter(|account| account.settlement.is_none())
    })
    .await;
    assert_eq!(
        (known.received, known.paid),
        (view.paid.0, view.received.0),
        "to the millisatoshi"
    );
    view
}

pub(super) async fn started(config: &connect::Config) -> RunningConnect {
    connect::start(config.clone(), key()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connect_pays_ahead_and_is_paid_over_real_channels() {
    let folder = tempfile::tempdir().unwrap();
    let pool_folder: PathBuf = folder.path().join("pool");
    let peer_folder: PathBuf = folder.path().join("carol");
    std::fs::create_dir_all(&pool_folder).unwrap();
    let regtest = regtest(folder.path()).await;
    prefund(&peer_folder, &regtest).await;
    let port = free_port();
    let config = pool_config(&pool_folder, &regtest, port);
    let node = Node::start(config, keys()).await.unwrap();
    found(&node).await;
    let address = ask(&node, &pool_folder, "/v1/bitcoin/addresses", Some("{}")).await;
    let address: bitcoin::Address<NetworkUnchecked> =
        address["address"].as_str().unwrap().parse().unwrap();
    let capital = bitcoin::Amount::from_sat(10_000_000);
    regtest
        .pay(&address.assume_checked(), capital)
        .await
        .unwrap();
    regtest.mine(6).await.unwrap();
    until("the capital is in the books", async || {
        (held(&node).await == 10_000_000 * SAT).then_some(())
    })
    .await;

    // Each opens a channel to the other; Carol pays ahead once hers can carry it.
    let described = ask(&node, &pool_folder, "/v1/bitcoin", None).await;
    let pool = node_id(described["node"].as_str().unwrap());
    let config = peer_config(&peer_folder, &regtest, &node, (pool, port));
    let running = started(&config).await;
    let view = shown(&peer_folder, &regtest, "paid ahead", |view, lightning| {
        view.ready && lightning.credited.0.value() == PREPAY && !lightning.inbound.0.is_zero()
    })
    .await;
    assert_eq!(view.channel, "funded");
    assert_eq!(account(&node).await.received.value(), PREPAY);
    until("the pool can pay", async || {
        let account = account(&node).await;
        (account.outbound.value() > 100_000 * SAT).then_some(())
    })
    .await;

    // Dave, on credit, pays Carol's software; the pool settles by an invoice of Carol's node.
    let mut software = Client::connect(running.listen(), "software").await;
    shown(&peer_folder, &regtest, "software", |view, _| {
        view.software_connected
    })
    .await;
    let mut dave = Client::connect(node.btp_address(), "dave").await;
    let earned = packet(&mut dave, &mut software, 1, 50_000_000).await;
    let view = shown(&peer_folder, &regtest, "paid", |_, lightning| {
        lightning.received.0.value() == u128::from(earned)
    })
    .await;
    assert_eq!(view.open_invoices, 0);

    // Carol's software pays Dave what it has ahead, and more is paid ahead.
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
    agree(&peer_folder, &regtest, &node).await;

    agrees(&node, &pool_folder, held(&node).await).await;
    running.drain().await.unwrap();
    node.stop().await;
}

#[test]
fn a_configuration_names_one_way_to_settle_and_all_that_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let id = format!("02{}", "11".repeat(32));
    let good = format!(
        "data_directory = \"data\"\nkeys_file = \"key.json\"\n\
         [pool]\nurl = \"ws://127.0.0.1:1/\"\ntoken = \"t\"\n[software]\ntoken = \"s\"\n\
         [limits]\nprepay = \"5\"\n\
         [bitcoin]\nnetwork = \"regtest\"\nrpc_url = \"http://127.0.0.1:1\"\ncookie_file = \"cookie\"\n\
         [lightning]\naccount = \"test.pool.carol\"\npool_node = \"{id}@127.0.0.1:9735\"\nasset_scale = 9\nchannel_sat = 5\n"
    );
    let load = |text: &str| {
        let path = folder.path().join("connect.toml");
        std::fs::write(&path, text).unwrap();
        connect::Config::load(&path).map_err(|fault| fault.to_string())
    };
    let loaded = load(&good).unwrap();
    let cookie = loaded.bitcoin.unwrap().cookie_file.unwrap();
    assert_eq!(
        cookie,
        folder.path().join("cookie"),
        "from the file's own folder"
    );
    let chain = "[chain]\nchain_id = 1\nrpc_urls = [\"http://127.0.0.1:1\"]\nvault = \
                 \"0x0101010101010101010101010101010101010101\"\nasset_scale = 9\n";
    let rows = [
        ("[chain]", format!("{good}{chain}")),
        (
            "[chain]",
            good[..good.find("[lightning]").unwrap()].to_owned(),
        ),
        ("lightning.pool_node", good.replace(&id, "02")),
        (
            "lightning.pool_node",
            good.replace(&id, &id.replacen("02", "05", 1)),
        ),
        ("lightning.pool_node", good.replace(":9735", "")),
        (
            "lightning.account",
            good.replace("test.pool.carol", "carol?"),
        ),
        (
            "lightning.asset_scale",
            good.replace("asset_scale = 9", "asset_scale = 12"),
        ),
        ("bitcoin.network", good.replace("regtest", "testnet9")),
        (
            "limits.prepay",
            good.replace("prepay = \"5\"", "prepay = \"0\""),
        ),
        (
            "limits.deposit",
            good.replace("[limits]", "[limits]\ndeposit = \"5\""),
        ),
    ];
    let own = good[..good.find("[bitcoin]").unwrap()].to_owned()
        + &good[good.find("[lightning]").unwrap()..];
    let lnd = "[lnd]\nurl = \"https://127.0.0.1:8080\"\nmacaroon_file = \"a.macaroon\"\nnetwork = \"regtest\"\n";
    let outside = own.replace("channel_sat = 5\n", "") + lnd;
    let macaroon = load(&outside).unwrap().lnd.unwrap().macaroon_file;
    assert_eq!(macaroon, Some(folder.path().join("a.macaroon")));
    load(&outside.replace("https", "http")).unwrap();
    let own_node = [
        ("[lnd]", own.clone()),
        ("[lnd]", format!("{good}{lnd}")),
        ("lightning.channel_sat", format!("{own}{lnd}")),
        (
            "lnd.url",
            outside.replace("https://127.0.0.1", "http://10.0.0.1"),
        ),
        (
            "lnd.url",
            outside.replace("https://127.0.0.1:8080", "http://127.0.0.1.example:8080"),
        ),
        ("lnd.network", outside.replace("regtest", "testnet9")),
    ];
    for (field, text) in rows.into_iter().chain(own_node) {
        let why = load(&text).expect_err(field);
        assert!(why.contains(field), "{field}: {why}");
    }
}
