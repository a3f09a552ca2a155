//! Bitcoin in the demonstration: a chain of its own, coins for the pool and for peer c's `ldk-node`, Lightning channels between
//! them, and what bitcoind itself says of all that.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bitcoin::address::NetworkUnchecked;
use bitcoin::bip32::Xpriv;
use bitcoin::{Address, Amount as Coins, Network};
use forebay_api::{
    AddBitcoin, AddPeer, Address as ApiAddress, Asset, AssetPolicy, BITCOIN, BITCOIN_ADDRESSES,
    Bitcoin as Shown, NewAddress, PEERS, Peer, PeerPolicy, Units,
};
use forebay_chain_bitcoin::bitcoind::Credentials;
use forebay_chain_bitcoin::bitcoind::regtest::{Regtest, RegtestSettings};
use forebay_chain_evm::Key;
use forebay_node::connect::View;
use forebay_quantity::Amount;
use serde_json::{Value, json};

use super::lightning_peer::LightningPeer;
use super::processes::answer;
use super::world::{Side, WAIT, free_port, progress, reach, view};
use crate::client::Client;

/// One packet of peer c: five thousand satoshi, some three dollars, in millisatoshi.
const PACKET_MSAT: u64 = 5_000_000;
/// What peer c pays in each of its payments.
pub(super) const PAYMENT_MSAT: u64 = 200 * PACKET_MSAT;
/// The operator's capital, in two coins: while one funds a channel, the other is what lets a channel in.
const CAPITAL_SAT: [u64; 2] = [7_500_000, 7_500_000];
/// What peer c's node has, in two coins for the same reason.
pub(super) const COINS_SAT: [u64; 2] = [5_000_000, 5_000_000];
/// The channel that peer c's node opens: more than it pays, and pays ahead.
pub(super) const CHANNEL_SAT: u64 = 4_000_000;
/// The channel that the pool opens to peer c's node: `ldk-node` lets a tenth of it be under way, which is what the pool may owe.
const ALLOTMENT_MSAT: u128 = 5_000_000_000;
/// How far peer c pays ahead.
const PREPAY_MSAT: u64 = 60 * PACKET_MSAT;
/// What the pool may owe peer c before it settles.
const CREDIT_MSAT: u64 = 400_000_000;
/// After a deposit this many blocks make it count, and a channel's funding too.
const BLOCKS: u32 = 6;

/// A bitcoind on regtest.
pub(super) struct Bitcoin {
    regtest: Regtest,
    /// As bitcoind's own cookie file has it: the user, a colon, the password.
    cookie: PathBuf,
    /// As host:port.
    address: String,
}

impl Bitcoin {
    /// Starts it, with coins to give away.
    pub(super) async fn start(folder: &Path, repository: &Path) -> Result<Self> {
        let binary = RegtestSettings::binary_in(repository);
        let mut settings = RegtestSettings::new(binary, folder.join("bitcoind"));
        // What a transaction paid to miners is asked for at the end.
        settings.arguments.push("-txindex=1".into());
        let regtest = Regtest::start(settings).await?;
        regtest.mine(101).await?;
        let Credentials::User { name, password } = regtest.client_settings().credentials else {
            bail!("a bitcoind on regtest is started with a user")
        };
        let cookie = folder.join("bitcoind.cookie");
        crate::keys::write_private(&cookie, format!("{name}:{password}").as_bytes())?;
        let url = regtest.client_settings().url;
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        Ok(Self {
            address: address.to_owned(),
            regtest,
            cookie,
        })
    }

    pub(super) fn url(&self) -> String {
        self.regtest.client_settings().url
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn cookie(&self) -> String {
        self.cookie.display().to_string()
    }

    /// Lets it run on after this program.
    pub(super) fn keep(self) -> u32 {
        self.regtest.keep()
    }

    /// Makes blocks.
    pub(super) async fn mine(&self, blocks: u32) -> Result<()> {
        self.regtest.mine(blocks).await?;
        Ok(())
    }

    /// Pays coins of these values.
    async fn pay(&self, address: &str, coins_sat: [u64; 2]) -> Result<()> {
        let address: Address<NetworkUnchecked> = address.parse()?;
        let address = address.require_network(Network::Regtest)?;
        for sat in coins_sat {
            self.regtest.pay(&address, Coins::from_sat(sat)).await?;
        }
        Ok(())
    }

    async fn ask(&self, method: &'static str, parameters: &[Value]) -> Result<Value> {
        Ok(self.regtest.client().call(method, parameters).await?)
    }

    /// Satoshi in the wallet of a key, which bitcoind counts in its own set of outputs: those of BIP 86's two branches.
    pub(super) async fn wallet(&self, key: &Key) -> Result<u64> {
        let seed = key.derive("bitcoin wallet");
        let master = Xpriv::new_master(Network::Regtest, &seed)?;
        let branch = |number: u8| {
            let descriptor = format!("tr({master}/86'/1'/0'/{number}/*)");
            json!({ "desc": descriptor, "range": 1_000 })
        };
        let branches = json!([branch(0), branch(1)]);
        let found = self
            .ask("scantxoutset", &[json!("start"), branches])
            .await?;
        satoshi(&found["total_amount"])
    }

    /// What an output that is not spent holds, in satoshi.
    pub(super) async fn output(&self, place: &str) -> Result<u64> {
        let (txid, index) = place.split_once(':').context("an output has an index")?;
        let index: u32 = index.parse()?;
        let output = self.ask("gettxout", &[json!(txid), json!(index)]).await?;
        ensure!(
            !output.is_null(),
            "bitcoind knows no unspent output {place}"
        );
        satoshi(&output["value"])
    }

    /// What the transaction that an output is of paid to miners, in satoshi.
    pub(super) async fn fee(&self, place: &str) -> Result<u64> {
        let (txid, _) = place.split_once(':').context("an output has an index")?;
        let parameters = [json!(txid), json!(2)];
        let transaction = self.ask("getrawtransaction", &parameters).await?;
        satoshi(&transaction["fee"])
    }

    /// Transactions in its blocks, save those that pay the miner.
    pub(super) async fn transactions(&self) -> Result<u64> {
        let tip = self.ask("getblockcount", &[]).await?;
        let blocks = tip.as_u64().context("a height is a number")? + 1;
        let all = self.ask("getchaintxstats", &[json!(1)]).await?;
        let all = all["txcount"].as_u64().context("a count is a number")?;
        Ok(all.saturating_sub(blocks))
    }
}

/// bitcoind writes bitcoins with eight decimal places.
fn satoshi(value: &Value) -> Result<u64> {
    let bitcoins = value
        .as_f64()
        .with_context(|| format!("{value} is no amount"))?;
    Ok(Coins::from_btc(bitcoins)?.to_sat())
}

/// Brings the operator's capital in, starts peer c's node and its side, and opens a channel each way between the nodes; when
/// this returns, peer c may pay and be paid.
pub(super) async fn open_channels(
    folder: &Path,
    passphrase: &str,
    bitcoin: &Bitcoin,
    began: Instant,
) -> Result<(LightningPeer, Side)> {
    let lightning_peer = LightningPeer::start(folder, bitcoin)?;
    let config = folder.join("pool/forebay.toml");
    let client = reach(&config).await?;
    let capital = NewAddress {
        payout: None,
        lp: None,
    };
    let capital: ApiAddress = client.post(BITCOIN_ADDRESSES, &capital).await?;
    bitcoin.pay(&capital.address, CAPITAL_SAT).await?;
    let listed = AddBitcoin {
        code: "BTC".into(),
        scale: 11,
        policy: AssetPolicy {
            price_age_max_ms: 5_000,
            spread_floor_ppm: 1_500,
            lent_max: Units(Amount::new(10_000_000_000)),
            ..AssetPolicy::default()
        },
    };
    let _: Asset = client.post(BITCOIN, &listed).await.context("listing BTC")?;
    let coins = lightning_peer.new_address().await?;
    bitcoin.pay(&coins, COINS_SAT).await?;
    bitcoin.mine(BLOCKS).await?;
    let shown: Shown = client.read(BITCOIN).await?;
    let pool_node = format!("{}@{}", shown.node, shown.address);
    let token = hex::encode(crate::keys::random::<16>()?);
    let side = start_side(folder, passphrase, (&pool_node, &lightning_peer), &token)?;
    lightning_peer.has_coins(COINS_SAT.iter().sum()).await?;
    has_capital(&client).await?;
    progress(
        began,
        "a bitcoind on regtest and an ldk-node run; the operator and peer c have coins",
    );
    let account = AddPeer {
        name: "c".into(),
        asset: "BTC".into(),
        token,
        policy: PeerPolicy {
            packet_max: PACKET_MSAT,
            settle_threshold: Units(Amount::new(100_000_000)),
            allotment: Units(Amount::new(ALLOTMENT_MSAT)),
            ..PeerPolicy::default()
        },
    };
    let _: Peer = client
        .post(PEERS, &account)
        .await
        .context("the account c")?;
    lightning_peer.open_channel(&pool_node, CHANNEL_SAT).await?;
    let prepaid = Amount::from(PREPAY_MSAT);
    wait_for(folder, bitcoin, "both channels carry something", |view| {
        let lightning = view.lightning.as_ref();
        view.ready && lightning.is_some_and(|l| l.credited.0 >= prepaid && !l.inbound.0.is_zero())
    })
    .await?;
    progress(
        began,
        "a Lightning channel each way, and peer c's ldk-node has paid ahead through its own",
    );
    Ok((lightning_peer, side))
}

fn start_side(
    folder: &Path,
    passphrase: &str,
    (pool_node, lightning_peer): (&str, &LightningPeer),
    token: &str,
) -> Result<Side> {
    let pool = forebay_node::Config::load(&folder.join("pool/forebay.toml"))?;
    let place = folder.join("peer-c").display().to_string();
    let pool_url = format!("ws://{}/", pool.btp_listen);
    let listen = format!("127.0.0.1:{}", free_port()?);
    let (prepay, credit) = (PREPAY_MSAT.to_string(), CREDIT_MSAT.to_string());
    let macaroon = lightning_peer.macaroon();
    let arguments = [
        ["--directory", &place],
        ["--pool-url", &pool_url],
        ["--pool-token", token],
        ["--listen", &listen],
        ["--software-token", "software"],
        ["--pool-node", pool_node],
        ["--account", "test.pool.c"],
        ["--bitcoin-network", "regtest"],
        ["--lnd-url", &lightning_peer.url],
        ["--lnd-macaroon", &macaroon],
        ["--asset-scale", "11"],
        ["--prepay", &prepay],
        ["--credit-to-pool", &credit],
    ];
    let words = ["connect", "init"]
        .into_iter()
        .chain(arguments.into_iter().flatten());
    answer(passphrase, words).context("forebay connect init")?;
    Side::start(folder, "peer-c", passphrase)
}

/// Waits until the pool's wallet has seen the operator's capital.
async fn has_capital(client: &Client) -> Result<()> {
    let until = Instant::now() + WAIT;
    loop {
        let shown: Shown = client.read(BITCOIN).await?;
        if shown.confirmed.0 >= Amount::from(CAPITAL_SAT.iter().sum::<u64>()) {
            return Ok(());
        }
        ensure!(Instant::now() < until, "the pool's wallet does not get on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Makes blocks until peer c's side shows what is wanted.
async fn wait_for(
    folder: &Path,
    bitcoin: &Bitcoin,
    what: &str,
    is_so: impl Fn(&View) -> bool,
) -> Result<()> {
    let until = Instant::now() + 2 * WAIT;
    loop {
        let shown = view(&folder.join("peer-c"));
        if shown.as_ref().is_ok_and(&is_so) {
            return Ok(());
        }
        ensure!(
            Instant::now() < until,
            "waited until {what}; peer c: {shown:?}"
        );
        bitcoin.mine(1).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
