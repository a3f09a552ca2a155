//! What the pool does with its channels of its own accord, judged by the `ldk-node` at their other end.

mod sale;

use std::str::FromStr;

use ldk_node::lightning::ln::msgs::SocketAddress;
use ldk_node::lightning_invoice::{Bolt11InvoiceDescription, Description};

use super::*;

/// What Carol earns in one packet: `ldk-node` lets a tenth of a channel be under way, and the last payment may still be.
const PACKET_SAT: u64 = 24_000;
/// And what of it is hers: a thousandth is the pool's.
const EARNED_SAT: u64 = 23_976;
/// After so many less than half of what is wanted is left.
const PACKETS: u32 = 11;

struct Judge(ldk_node::Node);

impl Judge {
    async fn start(folder: &Path, regtest: &Regtest) -> Self {
        Self::named("judge", 1_000_000, (folder, regtest), |_| {}).await
    }

    /// With so many coins, in satoshi.
    async fn named(
        name: &str,
        coins: u64,
        (folder, regtest): (&Path, &Regtest),
        set: impl FnOnce(&mut ldk_node::Builder),
    ) -> Self {
        let mut builder = ldk_node::Builder::new();
        builder.set_network(Network::Regtest);
        builder.set_storage_dir_path(folder.join(name).display().to_string());
        builder.set_chain_source_bitcoind_rpc(
            "127.0.0.1".into(),
            regtest.port(),
            "forebay".into(),
            "regtest".into(),
        );
        set(&mut builder);
        let node = builder.build().unwrap();
        node.start().unwrap();
        // Without coins it takes no channel with anchors.
        let address = node.onchain_payment().new_address().unwrap();
        let coins = bitcoin::Amount::from_sat(coins);
        regtest.pay(&address, coins).await.unwrap();
        regtest.mine(1).await.unwrap();
        Self(node)
    }

    fn invoice(&self, amount_msat: u64) -> String {
        let description = Bolt11InvoiceDescription::Direct(Description::empty());
        let payment = self.0.bolt11_payment();
        let invoice = payment.receive(amount_msat, &description, 3_600);
        invoice.unwrap().to_string()
    }

    /// What the channels hold, in satoshi, and what can be sent to it, in millisatoshi.
    fn channels(&self) -> Vec<(u64, u64)> {
        let channels = self.0.list_channels();
        let usable = channels.iter().filter(|channel| channel.is_usable);
        usable
            .map(|channel| (channel.channel_value_sats, channel.inbound_capacity_msat))
            .collect()
    }

    async fn blocks(&self, regtest: &Regtest) {
        // Both nodes ask for blocks now and then: more at once would leave them behind.
        tokio::time::sleep(Duration::from_millis(400)).await;
        regtest.mine(1).await.unwrap();
        self.0.sync_wallets().unwrap();
    }
}

/// Dave pays Carol, and she is paid over Lightning.
async fn flow(node: &RunningNode, judge: &Judge, dave: &mut Client, carol: &mut Client, id: u32) {
    let before = account(node).await.paid;
    packet(dave, carol, id, PACKET_SAT * 1_000).await;
    let (settlement, amount) = heard(carol, |message| match message {
        PeerMessage::InvoiceAsked { settlement, amount } => Some((settlement, amount)),
        _ => None,
    })
    .await;
    let told = PeerMessage::InvoiceTold {
        settlement,
        invoice: Some(judge.invoice(amount.to_u64().unwrap())),
        refused: None,
    };
    say(carol, id, &told).await;
    until("the settlement is posted", async || {
        (account(node).await.paid > before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_channel_is_enlarged_as_flow_needs_and_closed_when_idle_and_the_books_agree() {
    let folder = tempfile::tempdir().unwrap();
    let pool_folder: PathBuf = folder.path().join("pool");
    std::fs::create_dir_all(&pool_folder).unwrap();
    let regtest = regtest(folder.path()).await;
    let port = free_port();
    let node = Node::start(pool_config(&pool_folder, &regtest, port), keys())
        .await
        .unwrap();
    found(&node).await;
    let address = ask(&node, &pool_folder, "/v1/bitcoin/addresses", Some("{}")).await;
    let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> =
        address["address"].as_str().unwrap().parse().unwrap();
    let coins = bitcoin::Amount::from_sat(10_000_000);
    regtest.pay(&address.assume_checked(), coins).await.unwrap();
    let judge = Judge::start(folder.path(), &regtest).await;
    regtest.mine(6).await.unwrap();
    until("the capital is in the books", async || {
        (held(&node).await == 10_000_000 * SAT).then_some(())
    })
    .await;

    // Carol's node is the judge; the pool opens a channel as large as her allotment.
    let shown = ask(&node, &pool_folder, "/v1/bitcoin", None).await;
    let pool = node_id(shown["node"].as_str().unwrap());
    let listens = SocketAddress::from_str(&format!("127.0.0.1:{port}")).unwrap();
    let key = bitcoin::secp256k1::PublicKey::from_slice(&pool.0).unwrap();
    judge.0.connect(key, listens, true).unwrap();
    let mut carol = Client::connect(node.btp_address(), "carol").await;
    let claim = node_claim("test.pool.carol", pool);
    let hello = PeerMessage::LightningHello {
        node: NodeId(judge.0.node_id().serialize()),
        proof: judge.0.sign_message(claim.as_bytes()),
    };
    say(&mut carol, 1, &hello).await;
    until("the channel is open", async || {
        judge.blocks(&regtest).await;
        let known = account(&node).await;
        let is_open = !known.outbound.is_zero() && !known.channels.is_empty();
        (is_open && judge.channels().len() == 1).then_some(())
    })
    .await;
    assert_eq!(judge.channels()[0].0, 500_000);

    // Flow: twice what went to her in a day is wanted, and less than half of it is left.
    let mut dave = Client::connect(node.btp_address(), "dave").await;
    for id in 0..PACKETS {
        flow(&node, &judge, &mut dave, &mut carol, 2 + id).await;
    }
    let flowed = u64::from(PACKETS) * EARNED_SAT;
    // Her allotment, less the hundredth of the larger channel that has to stay in it.
    let wanted = 490_000 * SAT;
    until("the channel carries as much as is wanted", async || {
        judge.blocks(&regtest).await;
        let carried = account(&node).await.outbound.value();
        (carried >= wanted).then_some(())
    })
    .await;
    let known = account(&node).await;
    let (_, channel) = known.channels.first_key_value().unwrap();
    let (value, inbound) = judge.channels()[0];
    assert_eq!(u128::from(value) * SAT, channel.value.value());
    assert_eq!(
        known.channels.len(),
        1,
        "it was enlarged: no other was opened"
    );
    assert!(u128::from(inbound) >= wanted);
    let cost = channel.cost.value() / SAT;
    assert!(
        cost > 300 && cost < 10_000,
        "{cost} sat for two transactions"
    );
    let books = held(&node).await;
    assert_eq!(
        books,
        10_000_000 * SAT - u128::from(flowed) * SAT - known.cost.value()
    );
    agrees(&node, &pool_folder, books).await;
    flow(&node, &judge, &mut dave, &mut carol, 2 + PACKETS).await;

    // Idle, and money is dear: the channel is closed, and none is opened again.
    let mut liquidity = shown["liquidity"].clone();
    liquidity["idle_ms"] = 1.into();
    liquidity["rest_ms"] = 1.into();
    liquidity["capital_ppm_per_day"] = 4_000_000_000_u32.into();
    let set = serde_json::json!({ "liquidity": liquidity });
    put(&node, &pool_folder, "/v1/bitcoin", &set.to_string()).await;
    until("the money is back", async || {
        node.core().command(Command::Tick).await.unwrap();
        judge.blocks(&regtest).await;
        let known = account(&node).await;
        let is_closed = judge.0.list_channels().is_empty() && known.channels.is_empty();
        (is_closed && known.cost.value() / SAT > cost).then_some(())
    })
    .await;
    assert!(account(&node).await.is_asleep);
    let known = account(&node).await;
    let books = held(&node).await;
    let flowed = u128::from(u64::from(PACKETS + 1) * EARNED_SAT) * SAT;
    assert_eq!(books, 10_000_000 * SAT - flowed - known.cost.value());
    agrees(&node, &pool_folder, books).await;
    let judged = judge.0.list_balances().spendable_onchain_balance_sats;
    assert_eq!(
        u128::from(judged - 1_000_000) * SAT,
        flowed,
        "she has what she was paid"
    );
    node.stop().await;
    judge.0.stop().unwrap();
}
