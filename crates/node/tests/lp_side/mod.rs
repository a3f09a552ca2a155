//! An LP's side, whole: pays in and is paid, by outputs and by invoices, with its own token; bitcoind judges the outputs.

use forebay_api::BitcoinLp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::*;

const LP_TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// What the interface answers to one who has this token, and how.
async fn send(
    node: &RunningNode,
    token: &str,
    (method, path): (Method, &str),
    body: Option<Value>,
) -> (StatusCode, Value) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}{path}", node.admin_address());
    let mut request = http.request(method, url).bearer_auth(token);
    if let Some(body) = body {
        let key = format!("{:032x}", Sha256::digest(body.to_string()));
        request = request
            .header("Idempotency-Key", &key[..32])
            .body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

struct Lp<'a> {
    node: &'a RunningNode,
    owner: String,
}

impl Lp<'_> {
    async fn write(&self, method: Method, what: &str, body: Value) -> (StatusCode, Value) {
        let path = format!("/v1/bitcoin/lps/{}/{what}", self.owner);
        send(self.node, LP_TOKEN, (method, &path), Some(body)).await
    }

    async fn withdraw(&self, body: Value) -> BitcoinLp {
        let (status, answer) = self.write(Method::POST, "withdrawals", body).await;
        assert!(status.is_success(), "{status} {answer}");
        serde_json::from_value(answer).unwrap()
    }

    async fn view(&self) -> BitcoinLp {
        let (_, all) = send(self.node, LP_TOKEN, (Method::GET, "/v1/bitcoin/lps"), None).await;
        let mut all: Vec<BitcoinLp> = serde_json::from_value(all).unwrap();
        assert_eq!(all.len(), 1, "an LP sees itself alone");
        all.remove(0)
    }

    async fn worth(&self) -> u128 {
        self.view().await.worth.0.value()
    }

    async fn is_paid(&self, withdrawn: u128) {
        until("the withdrawal has ended", async || {
            let view = self.view().await;
            (view.withdrawals.is_empty() && view.withdrawn.0.value() == withdrawn).then_some(())
        })
        .await;
    }
}

/// What bitcoind's own set of unspent outputs holds at an address, in satoshi, and in how many.
async fn unspent(regtest: &Regtest, address: &str) -> (u64, usize) {
    let (start, scanned) = (json!("start"), json!([format!("addr({address})")]));
    let found: Value = regtest
        .client()
        .call("scantxoutset", &[start, scanned])
        .await
        .unwrap();
    let bitcoin = found["total_amount"].as_f64().unwrap();
    let count = found["unspents"].as_array().unwrap().len();
    let sat = bitcoin::Amount::from_btc(bitcoin).unwrap().to_sat();
    (sat, count)
}

async fn mempool(regtest: &Regtest) -> Vec<bitcoin::Txid> {
    regtest.client().call("getrawmempool", &[]).await.unwrap()
}

async fn pay(regtest: &Regtest, address: &str, sat: u64) {
    let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> = address.parse().unwrap();
    let amount = bitcoin::Amount::from_sat(sat);
    let paid = regtest.pay(&address.assume_checked(), amount).await;
    paid.unwrap();
}

/// A pool with capital and a channel to Carol's node, through which an LP is paid.
async fn pool_with_channel(
    folder: &Path,
    regtest: &Regtest,
    port: u16,
) -> (RunningNode, Own, Client) {
    let pool_folder = folder.join("pool");
    std::fs::create_dir_all(&pool_folder).unwrap();
    let config = pool_config(&pool_folder, regtest, port);
    let node = Node::start(config, keys()).await.unwrap();
    found(&node).await;
    let address = ask(&node, &pool_folder, "/v1/bitcoin/addresses", Some("{}")).await;
    pay(regtest, address["address"].as_str().unwrap(), 10_000_000).await;
    regtest.mine(6).await.unwrap();
    let mut own = own_node(folder, regtest).await;
    let address = own.wallet.address(Purpose::ChannelFunding).unwrap();
    pay(regtest, &address.to_string(), 1_000_000).await;
    regtest.mine(1).await.unwrap();
    own.wallet.sync().await.unwrap();
    until("the capital is in the books", async || {
        (held(&node).await == 10_000_000 * SAT).then_some(())
    })
    .await;
    let shown = ask(&node, &pool_folder, "/v1/bitcoin", None).await;
    let pool = node_id(shown["node"].as_str().unwrap());
    let listens: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    own.node.connect(pool.0, listens).await.unwrap();
    let mut carol = Client::connect(node.btp_address(), "carol").await;
    hello(&mut carol, &own, pool).await;
    own.next(|seen| matches!(seen, Observation::ChannelPending { .. }))
        .await;
    until("the channel carries something", async || {
        regtest.mine(1).await.unwrap();
        (!account(&node).await.outbound.is_zero()).then_some(())
    })
    .await;
    (node, own, carol)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_lp_pays_in_and_out_on_chain_and_over_lightning_and_bitcoind_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let pool_folder = folder.path().join("pool");
    let regtest = regtest(folder.path()).await;
    let port = free_port();
    let (node, mut own, _carol) = pool_with_channel(folder.path(), &regtest, port).await;
    let admin_token = std::fs::read_to_string(pool_folder.join("admin.token")).unwrap();

    // The LP pays in, and has a token for its claim.
    let payout = own
        .wallet
        .address(Purpose::ChannelFunding)
        .unwrap()
        .to_string();
    let asked = json!({ "payout": payout }).to_string();
    let address = ask(&node, &pool_folder, "/v1/bitcoin/addresses", Some(&asked)).await;
    let owner = address["owner"].as_str().unwrap().to_owned();
    let token = json!({ "name": "lp", "role": "lp", "subject": owner, "token": LP_TOKEN });
    ask(&node, &pool_folder, "/v1/tokens", Some(&token.to_string())).await;
    let lp = Lp { node: &node, owner };
    pay(&regtest, address["address"].as_str().unwrap(), 2_000_000).await;
    regtest.mine(6).await.unwrap();
    until("the deposit is the LP's", async || {
        (lp.worth().await == 2_000_000 * SAT).then_some(())
    })
    .await;

    // It takes some out: one transaction, which a shallow reorg only delays.
    regtest.mine(1).await.unwrap();
    let under_way = lp.withdraw(json!({ "amount": "500000000" })).await;
    let [withdrawal] = &under_way.withdrawals[..] else {
        panic!("{under_way:?}")
    };
    assert_eq!(withdrawal.address.as_deref(), Some(&payout[..]));
    let arrives = withdrawal.amount.0.value();
    assert_eq!(arrives + withdrawal.fee_max.0.value(), 500_000 * SAT);
    until("the payment is in the mempool", async || {
        (mempool(&regtest).await.len() == 1).then_some(())
    })
    .await;
    let block = regtest.mine(2).await.unwrap()[0];
    assert_eq!(unspent(&regtest, &payout).await, (sat(arrives), 1));
    regtest.invalidate(block).await.unwrap();
    assert_eq!(unspent(&regtest, &payout).await, (0, 0));
    assert_eq!(lp.view().await.withdrawals.len(), 1);
    for _ in 0..3 {
        regtest.mine_only(&[]).await.unwrap();
    }
    until("the payment is in the mempool again", async || {
        (mempool(&regtest).await.len() == 1).then_some(())
    })
    .await;
    regtest.mine(6).await.unwrap();
    lp.is_paid(arrives).await;
    assert_eq!(unspent(&regtest, &payout).await, (sat(arrives), 1));
    let worth = lp.worth().await;
    assert!(
        worth >= 1_500_000 * SAT,
        "what miners did not take is back: {worth}"
    );
    let books = held(&node).await;
    agrees(&node, &pool_folder, books).await;

    // What cannot be paid is refused, in words.
    for (body, why) in [
        (json!({ "amount": "1000000" }), "go to miners"),
        (json!({ "amount": "900000000000" }), "the claim is worth"),
        (
            json!({ "invoice": invoice_of_nobody() }),
            "it is for bitcoin",
        ),
        (json!({ "amount": "1", "invoice": "x" }), "leave amount out"),
    ] {
        let (status, answer) = lp.write(Method::POST, "withdrawals", body).await;
        let detail = answer["detail"].as_str().unwrap();
        assert!(
            status.is_client_error() && detail.contains(why),
            "{status} {detail}"
        );
    }
    assert_eq!(lp.worth().await, worth);

    // By its own invoice; not by one that the operator names for it.
    let terms = InvoiceTerms {
        amount_msat: 30_000_000,
        expiry_s: 3_600,
        final_cltv: 144,
        payer: 0,
    };
    let invoice = own.node.invoice([3; 16], terms).await.unwrap();
    let body = json!({ "invoice": invoice });
    let path = format!("/v1/bitcoin/lps/{}/withdrawals", lp.owner);
    let by_operator = (Method::POST, path.as_str());
    let (status, _) = send(&node, admin_token.trim(), by_operator, Some(body.clone())).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    lp.withdraw(body.clone()).await;
    own.next(|seen| {
        matches!(
            seen,
            Observation::Received {
                amount_msat: 30_000_000,
                ..
            }
        )
    })
    .await;
    lp.is_paid(arrives + 30_000 * SAT).await;
    assert_eq!(
        lp.worth().await,
        worth - 30_000 * SAT,
        "a direct channel costs nothing"
    );
    // The same request again, as after a lost answer: nothing more is paid.
    lp.withdraw(body).await;
    lp.is_paid(arrives + 30_000 * SAT).await;

    // It pays in by an invoice of the pool's.
    until("the channel carries as much to the pool", async || {
        (account(&node).await.inbound.value() > 20_000 * SAT).then_some(())
    })
    .await;
    let asked = json!({ "amount": "20000000" });
    let (status, answer) = lp.write(Method::POST, "invoices", asked.clone()).await;
    assert!(status.is_success(), "{status} {answer}");
    let (_, again) = lp.write(Method::POST, "invoices", asked).await;
    assert_eq!(answer, again, "the same key has the same invoice");
    let payment = PaymentTerms {
        invoice: answer["invoice"].as_str().unwrap().to_owned(),
        fee_max_msat: 10_000,
        timeout: Duration::from_secs(10),
        cltv_max: None,
    };
    own.node.pay(&payment).unwrap();
    until("what it paid by invoice is the LP's", async || {
        (lp.worth().await == worth - 10_000 * SAT).then_some(())
    })
    .await;
    let books = held(&node).await;
    agrees(&node, &pool_folder, books).await;

    // All the rest, to a new address.
    let elsewhere = own
        .wallet
        .address(Purpose::ChannelFunding)
        .unwrap()
        .to_string();
    let (status, _) = lp
        .write(Method::PUT, "payout", json!({ "payout": elsewhere }))
        .await;
    assert!(status.is_success());
    let last = lp.withdraw(json!({})).await;
    assert_eq!(last.worth.0, Amount::ZERO);
    let rest = last.withdrawals[0].amount.0.value();
    until("the payment is in the mempool", async || {
        (!mempool(&regtest).await.is_empty()).then_some(())
    })
    .await;
    regtest.mine(6).await.unwrap();
    lp.is_paid(arrives + 30_000 * SAT + rest).await;
    assert_eq!(unspent(&regtest, &elsewhere).await, (sat(rest), 1));
    assert_eq!(unspent(&regtest, &payout).await, (sat(arrives), 1));
    let books = held(&node).await;
    agrees(&node, &pool_folder, books).await;
    node.stop().await;
    own.node.stop().await;
}

fn sat(millisatoshi: u128) -> u64 {
    u64::try_from(millisatoshi / SAT).unwrap()
}
