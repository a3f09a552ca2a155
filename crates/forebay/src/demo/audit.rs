//! The last word of the demonstration: a fresh replay of the journal against what the chains' own nodes say, the pool's
//! Lightning node, and the `ldk-node` at the other end of its channels.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use borsh::BorshDeserialize;
use forebay_chain_evm::Key;
use forebay_journal::{Journal, LocalDisk};
use forebay_node::connect::LightningView;
use forebay_pool::{Event, LightningEvent, Rail, Sequencer, State};
use forebay_quantity::Amount;

use super::lightning_peer::{Counted, CountedChannel};
use super::regtest::{Bitcoin, CHANNEL_SAT, COINS_SAT};
use super::rpc::Rpc;

/// Millisatoshi in a satoshi.
const SAT: u128 = 1_000;

/// What a replay of the whole journal gives.
pub(super) struct Replay {
    pub(super) state: State,
    /// Packets fulfilled.
    pub(super) packets: u64,
    /// Packets prepared.
    pub(super) prepared: u64,
    /// Settlements over Lightning that arrived, to the pool and from it.
    pub(super) lightning_payments: u64,
}

/// Replays the journal from its first frame, past every snapshot, so that nothing of the running process is trusted.
pub(super) fn replay(data: &Path) -> Result<Replay> {
    let storage = LocalDisk::read_only(data.join("journal"));
    let mut recovery = Journal::replay(std::sync::Arc::new(storage), [0; 32])?;
    let mut sequencer = Sequencer::new(State::default());
    let (mut packets, mut prepared, mut lightning_payments) = (0, 0, 0);
    while let Some(frame) = recovery.next_frame()? {
        sequencer
            .replay(frame.payload)
            .map_err(|_| anyhow::anyhow!("frame {} cannot be read", frame.sequence))?;
        // A batch is a stamp of eight bytes, then its events (spec/events.md).
        let mut rest = frame
            .payload
            .get(8..)
            .context("a batch begins with its stamp")?;
        while !rest.is_empty() {
            let event = Event::deserialize(&mut rest)
                .map_err(|error| anyhow::anyhow!("frame {}: {error}", frame.sequence))?;
            packets += u64::from(matches!(event, Event::PacketFulfilled { .. }));
            prepared += u64::from(matches!(event, Event::PacketPrepared { .. }));
            let is_payment = matches!(
                event,
                Event::Lightning(
                    LightningEvent::Received { .. } | LightningEvent::SettlementPaid { .. }
                )
            );
            lightning_payments += u64::from(is_payment);
        }
    }
    Ok(Replay {
        state: sequencer.state().clone(),
        packets,
        prepared,
        lightning_payments,
    })
}

/// Compares every balance that the vaults know as well; the first that differs is named.
pub(super) fn compare_vaults(state: &State, rpc: &Rpc) -> Result<()> {
    state
        .ledger()
        .check_balanced()
        .map_err(|error| anyhow::anyhow!("the replayed books do not balance: {error:?}"))?;
    let in_vaults = state
        .assets()
        .filter(|(_, asset)| asset.rail == Rail::Vault);
    for (id, asset) in in_vaults {
        let code = &asset.definition.code;
        let vault = asset.definition.vault.to_string();
        let books = rpc.books(&vault)?;
        let (mut allotted, mut deposits) = (0, 0);
        for (_, peer) in state.peers().filter(|(_, peer)| peer.asset == id) {
            let Some(channel) = &peer.channel else {
                continue;
            };
            let (pool, own) = rpc.lanes(&vault, channel.serial().value())?;
            same(code, "allotment", pool.ceiling, channel.outgoing.ceiling())?;
            same(code, "paid to the peer", pool.paid, channel.outgoing.paid())?;
            same(
                code,
                "the peer's deposit",
                own.ceiling,
                channel.incoming.ceiling(),
            )?;
            same(code, "paid by the peer", own.paid, channel.incoming.paid())?;
            allotted += pool.ceiling - pool.paid;
            deposits += own.ceiling - own.paid;
        }
        same(code, "free money", books.free, asset.chain_free())?;
        same(code, "allotments", allotted, asset.vault.chain_allotted)?;
        same(code, "deposits", deposits, asset.vault.chain_deposits)?;
        same(code, "note units", books.units, asset.vault.units)?;
        same(
            code,
            "the note index",
            books.index,
            Amount::new(asset.vault.index),
        )?;
        let held = match asset.definition.token.to_string() {
            token if asset.definition.token != forebay_channel::Address::ZERO => {
                rpc.token_balance(&token, &vault)?
            }
            _ => rpc.balance(&vault)?,
        };
        let claimed = books.free + allotted + deposits;
        ensure!(
            held == claimed,
            "{code}: the vault holds {held}, and its books say {claimed}"
        );
    }
    let count = state.assets().count();
    ensure!(
        count == 3,
        "the journal knows of {count} assets, not of three"
    );
    Ok(())
}

/// Who has bitcoin: the pool's key and its node's channels, and peer c's `ldk-node`, which counts for itself.
pub(super) struct Holders<'a> {
    pub(super) pool: &'a Key,
    pub(super) channels: &'a [forebay_api::LightningChannel],
    pub(super) c_counts: &'a Counted,
    pub(super) c_shows: &'a LightningView,
}

/// Compares, to the millisatoshi, the books with the outputs that bitcoind counts and with both Lightning nodes.
pub(super) async fn compare_bitcoin(
    state: &State,
    bitcoin: &Bitcoin,
    holders: &Holders<'_>,
) -> Result<()> {
    let Holders {
        pool,
        channels,
        c_counts,
        c_shows,
    } = holders;
    ensure!(
        c_counts.under_way == 0,
        "peer c's node has a payment under way"
    );
    let mut ours = 0;
    for channel in *channels {
        let place = channel.funding.as_deref().context("a channel is funded")?;
        let seen = find(c_counts, place)?;
        let held = Amount::from(bitcoin.output(place).await?);
        let what = format!("what {place} holds");
        same("BTC", &what, held.value(), channel.value.0)?;
        same("BTC", &what, seen.value_sat.into(), channel.value.0)?;
        // Each node counts its own end.
        let (here, there) = (channel.balance.0.value(), u128::from(seen.ours_msat));
        let value = Amount::new(held.value() * SAT);
        same("BTC", &format!("both ends of {place}"), here + there, value)?;
        ours += here;
    }
    let asset = state.asset_on_bitcoin().and_then(|id| state.asset(id));
    let asset = asset.context("bitcoin is listed")?;
    let booked = state.balance(asset.accounts.vault).debit();
    let wallet = u128::from(bitcoin.wallet(pool).await?) * SAT;
    same(
        "BTC",
        "the pool's wallet and channels",
        wallet + ours,
        booked,
    )?;
    let known = state.peers().find(|(_, peer)| peer.name == "c");
    let known = known.and_then(|(_, peer)| peer.lightning.as_deref());
    let known = known.context("peer c settles over Lightning")?;
    let paid = [u128::from(c_counts.sent_msat), c_shows.paid.0.value()];
    let was_paid = [
        u128::from(c_counts.received_msat),
        c_shows.received.0.value(),
    ];
    for (paid, was_paid) in paid.into_iter().zip(was_paid) {
        same("BTC", "what peer c paid", paid, known.received)?;
        same("BTC", "what peer c was paid", was_paid, known.paid)?;
    }
    let fees = Amount::from(c_counts.fees_msat);
    same("BTC", "peer c's routing", c_shows.fees.0.value(), fees)?;
    compare_coins(bitcoin, c_counts, known.received, known.paid).await
}

/// What peer c's node has in all is what it was given, less what it paid the pool, the miners and others, and what it was paid.
async fn compare_coins(
    bitcoin: &Bitcoin,
    c: &Counted,
    paid: Amount,
    was_paid: Amount,
) -> Result<()> {
    let own = c.channels.iter().find(|channel| channel.is_ours);
    let own = own.context("peer c's node opened a channel")?;
    same(
        "BTC",
        "the channel that peer c's node opened",
        own.value_sat.into(),
        Amount::from(CHANNEL_SAT),
    )?;
    let miners = u128::from(bitcoin.fee(&own.funding).await?);
    let given: u128 = COINS_SAT.into_iter().map(u128::from).sum();
    let spent = Amount::new((given - miners) * SAT);
    let spent = spent
        .checked_sub(paid)
        .context("peer c paid more than it had")?;
    let left = spent.value() + was_paid.value() - u128::from(c.fees_msat);
    let channels: u128 = c
        .channels
        .iter()
        .map(|channel| u128::from(channel.ours_msat))
        .sum();
    let has = u128::from(c.wallet_sat) * SAT + channels;
    same("BTC", "all that peer c's node has", has, Amount::new(left))
}

/// The same channel as the node at its other end sees it.
fn find<'a>(c: &'a Counted, place: &str) -> Result<&'a CountedChannel> {
    let mut usable = c.channels.iter().filter(|channel| channel.is_usable);
    usable
        .find(|channel| channel.funding == place)
        .with_context(|| format!("peer c's node knows no usable channel {place}"))
}

fn same(code: &str, what: &str, seen: u128, booked: Amount) -> Result<()> {
    ensure!(
        seen == booked.value(),
        "{code}: {what}: {seen} by those who hold it, and {booked} by the books"
    );
    Ok(())
}
