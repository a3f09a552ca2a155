//! The last word of the demonstration: a fresh replay of the journal against what the chains' own nodes say, and the
//! Lightning nodes at both ends.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use borsh::BorshDeserialize;
use forebay_chain_evm::Key;
use forebay_journal::{Journal, LocalDisk};
use forebay_node::connect::LightningView;
use forebay_pool::{Event, LightningEvent, Rail, Sequencer, State};
use forebay_quantity::Amount;

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

/// Who has bitcoin: the pool's key and its node's channels, peer c's key and what its own side says.
pub(super) struct Holders<'a> {
    pub(super) pool: &'a Key,
    pub(super) channels: &'a [forebay_api::LightningChannel],
    pub(super) c: &'a Key,
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
        c,
        c_shows,
    } = holders;
    let (mut value, mut ours) = (0, 0);
    for channel in *channels {
        let place = channel.funding.as_deref().context("a channel is funded")?;
        let held = Amount::from(bitcoin.output(place).await?);
        same(
            "BTC",
            &format!("what {place} holds"),
            held.value(),
            channel.value.0,
        )?;
        value += held.value() * SAT;
        ours += channel.balance.0.value();
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
    same(
        "BTC",
        "what peer c paid",
        c_shows.paid.0.value(),
        known.received,
    )?;
    same(
        "BTC",
        "what peer c was paid",
        c_shows.received.0.value(),
        known.paid,
    )?;
    // What of the channels is not the pool's is what peer c put in, less what it paid, and what it was paid.
    let put_in = u128::from(CHANNEL_SAT) * SAT;
    let left = (put_in + known.paid.value()).checked_sub(known.received.value());
    let left = left.context("peer c paid more than it had")?;
    same(
        "BTC",
        "peer c's part of the channels",
        value - ours,
        Amount::new(left),
    )?;
    let spent = put_in + c_shows.fees.0.value();
    let left = Amount::new(u128::from(COINS_SAT) * SAT - spent);
    let wallet = u128::from(bitcoin.wallet(c).await?) * SAT;
    same("BTC", "peer c's wallet", wallet, left)
}

fn same(code: &str, what: &str, seen: u128, booked: Amount) -> Result<()> {
    ensure!(
        seen == booked.value(),
        "{code}: {what}: {seen} by those who hold it, and {booked} by the books"
    );
    Ok(())
}
