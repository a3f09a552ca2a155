//! The pool at rest: its books beside its wallet and node, its peer's node, and bitcoind.

use anyhow::{Context, Result, ensure};
use bitcoin::bip32::Xpriv;
use bitcoin::{Amount as Coins, Network};
use forebay_api::{BITCOIN, BOOKS, Bitcoin, Books, PEERS, Peer};
use serde_json::{Value, json};

use super::Report;
use super::world::{PEER, World, until};

/// Millisatoshi in a satoshi.
const SAT: u128 = 1_000;

impl World {
    /// Waits until nothing is under way, and gives what the pool owns then, in millisatoshi: the same by its books, and by
    /// its wallet and its channels.
    pub(super) async fn come_to_rest(&self) -> Result<u128> {
        let client = self.client()?;
        let (mut seen, mut bitcoin) = (String::new(), None);
        let rest = until("the books are what wallet and channels hold", async || {
            let peer: Peer = client.read(&format!("{PEERS}/{PEER}")).await?;
            let books: Books = client.read(BOOKS).await?;
            let now: Bitcoin = client.read(BITCOIN).await?;
            ensure!(books.balanced, "the books are not balanced");
            let view = self.peer_view()?.lightning.context("the peer's node")?;
            let ours = peer.lightning.as_ref().context("an account on Lightning")?;
            let is_idle = peer.in_flight == 0
                && ours.under_way.0.is_zero()
                && view.under_way.0.is_zero()
                && view.credited == view.paid;
            let asset = books.assets.iter().find(|asset| asset.code == "BTC");
            let booked = asset.context("BTC is listed")?.vault.0.value();
            let owned = owned(&now);
            // What one end can send the other can receive: each node's own word.
            let sums = [sum(&now, |c| c.outbound.0), sum(&now, |c| c.inbound.0)];
            let theirs = [view.inbound.0.value(), view.outbound.0.value()];
            seen = format!(
                "idle {is_idle}, books {booked}, wallet and channels {owned}, outbound and inbound {sums:?}, by the peer {theirs:?}"
            );
            let agrees = is_idle && booked == owned && sums == theirs;
            bitcoin = Some(now);
            Ok(agrees.then_some(owned))
        })
        .await;
        let owned = rest.with_context(|| seen.clone())?;
        let in_wallet = self.by_bitcoind().await?;
        let shown = bitcoin.context("it was read")?;
        ensure!(
            u128::from(in_wallet) == shown.confirmed.0.value() + shown.pending.0.value(),
            "bitcoind finds {in_wallet} sat under the wallet's keys, and the wallet says {} and {}",
            shown.confirmed,
            shown.pending
        );
        Ok(owned)
    }

    /// Satoshi under the keys of the pool's wallet, as bitcoind counts all that is unspent: BIP 86's two branches.
    async fn by_bitcoind(&self) -> Result<u64> {
        let seed = self.pool_key()?.derive("bitcoin wallet");
        let master = Xpriv::new_master(Network::Regtest, &seed)?;
        let branch = |number: u8| json!({ "desc": format!("tr({master}/86'/1'/0'/{number}/*)"), "range": 1_000 });
        let wanted = [json!("start"), json!([branch(0), branch(1)])];
        let client = self.regtest.client();
        let found: Value = client.call("scantxoutset", &wanted).await?;
        let total = found["total_amount"].as_f64().context("an amount")?;
        Ok(Coins::from_btc(total)?.to_sat())
    }

    /// What the pool's journal says it paid and was paid, beside what the peer's side says it got and paid.
    pub(super) fn compare_totals(&self, report: &Report) -> Result<()> {
        let view = self.peer_view()?.lightning.context("the peer's node")?;
        let by_peer = (view.received.0.value(), view.paid.0.value());
        let by_pool = (report.paid, report.received);
        ensure!(
            by_peer == by_pool,
            "the pool paid and received {by_pool:?} msat by its journal, {by_peer:?} by its peer"
        );
        Ok(())
    }
}

fn owned(bitcoin: &Bitcoin) -> u128 {
    let in_wallet = bitcoin.confirmed.0.value() + bitcoin.pending.0.value();
    in_wallet * SAT + sum(bitcoin, |channel| channel.balance.0)
}

fn sum(
    bitcoin: &Bitcoin,
    part: impl Fn(&forebay_api::LightningChannel) -> forebay_quantity::Amount,
) -> u128 {
    let channels = bitcoin.channels.iter();
    channels.map(|channel| part(channel).value()).sum()
}
