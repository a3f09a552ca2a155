//! A running pool sells a channel just in time to an `ldk-node` that settles for one of its accounts; another one pays.

use ldk_node::lightning_invoice::Bolt11Invoice;
use ldk_node::payment::{PaymentKind, PaymentStatus};

use super::*;

const PAYMENT_MSAT: u64 = 300_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_channel_is_sold_to_an_account_s_node_when_a_payment_comes_and_the_books_agree() {
    let folder = tempfile::tempdir().unwrap();
    let pool_folder: PathBuf = folder.path().join("pool");
    std::fs::create_dir_all(&pool_folder).unwrap();
    let regtest = regtest(folder.path()).await;
    let port = free_port();
    let mut config = pool_config(&pool_folder, &regtest, port);
    config.bitcoin.as_mut().unwrap().sells_channels = true;
    let node = Node::start(config, keys()).await.unwrap();
    found(&node).await;
    let address = ask(&node, &pool_folder, "/v1/bitcoin/addresses", Some("{}")).await;
    let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> =
        address["address"].as_str().unwrap().parse().unwrap();
    let coins = bitcoin::Amount::from_sat(10_000_000);
    regtest.pay(&address.assume_checked(), coins).await.unwrap();

    let shown = ask(&node, &pool_folder, "/v1/bitcoin", None).await;
    assert_eq!(shown["sales"]["buyers"], "peers");
    let pool = node_id(shown["node"].as_str().unwrap());
    let key = bitcoin::secp256k1::PublicKey::from_slice(&pool.0).unwrap();
    let listens = SocketAddress::from_str(&format!("127.0.0.1:{port}")).unwrap();
    let place = (folder.path(), &regtest);
    let buyer = Judge::named("buyer", 1_000_000, place, |builder| {
        builder.set_liquidity_source_lsps2(key, listens.clone(), None);
    })
    .await;
    let payer = Judge::named("payer", 4_000_000, place, |_| {}).await;
    regtest.mine(6).await.unwrap();
    until("the capital is in the books", async || {
        (held(&node).await == 10_000_000 * SAT).then_some(())
    })
    .await;
    until("the payer sees its coins", async || {
        payer.blocks(&regtest).await;
        let coins = payer.0.list_balances().spendable_onchain_balance_sats;
        (coins > 3_000_000).then_some(())
    })
    .await;
    let opened = payer.0.open_channel(key, listens, 2_000_000, None, None);
    opened.unwrap();
    until("the payer can pay", async || {
        payer.blocks(&regtest).await;
        let channels = payer.0.list_channels();
        channels.iter().any(|c| c.is_usable).then_some(())
    })
    .await;

    // A stranger buys nothing; the node of Dave's account does.
    assert!(buy(&buyer).is_err());
    let mut dave = Client::connect(node.btp_address(), "dave").await;
    let claim = node_claim("test.pool.dave", pool);
    let hello = PeerMessage::LightningHello {
        node: NodeId(buyer.0.node_id().serialize()),
        proof: buyer.0.sign_message(claim.as_bytes()),
    };
    say(&mut dave, 1, &hello).await;
    let invoice = until("it is sold", async || buy(&buyer).ok()).await;
    let id = payer.0.bolt11_payment().send(&invoice, None).unwrap();
    until("the payment arrives", async || {
        let payment = payer.0.payment(&id).unwrap();
        assert_ne!(payment.status, PaymentStatus::Failed);
        (payment.status == PaymentStatus::Succeeded).then_some(())
    })
    .await;

    // What the buyer did not get, at least the rent of thirty days: 3,600 ppm.
    let received = buyer.0.list_payments_with_filter(|payment| {
        matches!(payment.kind, PaymentKind::Bolt11Jit { .. })
            && payment.status == PaymentStatus::Succeeded
    });
    assert_eq!(received.len(), 1);
    let earned = u128::from(PAYMENT_MSAT - received[0].amount_msat.unwrap());
    assert!(earned >= u128::from(PAYMENT_MSAT) * 3_600 / 1_000_000);
    let sales = until("what was earned is booked", async || {
        let sales = node.core().query(|state| state.sales().clone());
        let sales = sales.await.unwrap();
        (!sales.earned.is_zero()).then_some(sales)
    })
    .await;
    assert_eq!(sales.earned.value(), earned);
    assert!(!sales.cost.is_zero(), "miners were paid");
    let books = held(&node).await;
    assert_eq!(books, 10_000_000 * SAT + earned - sales.cost.value());
    payer.blocks(&regtest).await;
    agrees(&node, &pool_folder, books).await;

    // What passes by the channel later is booked as well.
    let plain: Bolt11Invoice = buyer.invoice(20_000_000).parse().unwrap();
    payer.0.bolt11_payment().send(&plain, None).unwrap();
    let routed = until("the routing fee is booked", async || {
        let sales = node.core().query(|state| state.sales().clone());
        let routed = sales.await.unwrap().routed;
        (!routed.is_zero()).then_some(routed)
    })
    .await;
    let books = held(&node).await;
    assert_eq!(
        books,
        10_000_000 * SAT + earned - sales.cost.value() + routed.value()
    );
    agrees(&node, &pool_folder, books).await;

    let shown = ask(&node, &pool_folder, "/v1/bitcoin", None).await;
    assert_eq!(shown["sold"]["earned"], earned.to_string());
    let channels = shown["channels"].as_array().unwrap();
    let sold: Vec<_> = channels
        .iter()
        .filter(|channel| !channel["earned"].is_null())
        .collect();
    assert_eq!(sold.len(), 1);
    assert_eq!(sold[0]["peer"], "dave");
    assert_eq!(sold[0]["earned"], earned.to_string());
    node.stop().await;
    buyer.0.stop().unwrap();
    payer.0.stop().unwrap();
}

fn buy(buyer: &Judge) -> Result<Bolt11Invoice, ldk_node::NodeError> {
    let description = Bolt11InvoiceDescription::Direct(Description::empty());
    let buying = buyer.0.bolt11_payment();
    buying.receive_via_jit_channel(PAYMENT_MSAT, &description, 3_600, None)
}
