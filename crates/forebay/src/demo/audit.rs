//! The last word of the demonstration: a fresh replay of the journal against what the chain's RPC says.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use borsh::BorshDeserialize;
use forebay_journal::{Journal, LocalDisk};
use forebay_pool::{Event, Sequencer, State};
use forebay_quantity::Amount;

use super::rpc::Rpc;

/// What a replay of the whole journal gives.
pub(super) struct Replay {
    pub(super) state: State,
    /// Packets fulfilled.
    pub(super) packets: u64,
    /// Packets prepared.
    pub(super) prepared: u64,
}

/// Replays the journal from its first frame, past every snapshot, so that nothing of the running process is trusted.
pub(super) fn replay(data: &Path) -> Result<Replay> {
    let storage = LocalDisk::read_only(data.join("journal"));
    let mut recovery = Journal::replay(std::sync::Arc::new(storage), [0; 32])?;
    let mut sequencer = Sequencer::new(State::default());
    let (mut packets, mut prepared) = (0, 0);
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
        }
    }
    Ok(Replay {
        state: sequencer.state().clone(),
        packets,
        prepared,
    })
}

/// Compares every balance that both know; the first that differs is named.
pub(super) fn compare(state: &State, rpc: &Rpc) -> Result<()> {
    state
        .ledger()
        .check_balanced()
        .map_err(|error| anyhow::anyhow!("the replayed books do not balance: {error:?}"))?;
    for (id, asset) in state.assets() {
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
    if state.assets().count() != 2 {
        bail!(
            "the journal knows of {} assets, not of two",
            state.assets().count()
        );
    }
    Ok(())
}

fn same(code: &str, what: &str, chain: u128, journal: Amount) -> Result<()> {
    ensure!(
        chain == journal.value(),
        "{code}: {what} is {chain} on the chain and {journal} in the replayed journal"
    );
    Ok(())
}
