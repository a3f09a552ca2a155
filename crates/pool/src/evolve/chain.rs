//! Lanes, vouchers and vaults. Facts come in chain units; the books keep ledger units, always the floor of what the
//! chain holds, so that no rounding ever leaves a claim uncovered.

use forebay_channel::{Address, Lowering, Signature};
use forebay_ledger::Balance;
use forebay_market::{Index, Notes, waterfall};
use forebay_quantity::{AccountId, Amount, AssetId, ChannelSerial, PeerId, Timestamp};

use super::{draw, on_channel, post};
use crate::command::{Depth, FactAt, NoticeKind, VaultFact};
use crate::state::{Peer, State};

pub(super) fn voucher_signed(state: &mut State, id: PeerId, amount: Amount) {
    let peer = state.peer_of(id);
    let (asset, clearing, out) = (peer.asset, peer.clearing, peer.vouchers_out);
    let channel = state
        .peer_mut(id)
        .channel
        .as_mut()
        .expect("[I4] a voucher needs a channel");
    let before = channel.outgoing.promised();
    channel.outgoing.sign(amount); // [I4] [I5]
    let units = ledger_delta(state, asset, before, amount);
    post(state, clearing, out, units);
    clamp_prepaid(state, id);
    assert_covered(state, asset);
}

pub(super) fn voucher_held(state: &mut State, id: PeerId, amount: Amount, signature: Signature) {
    let peer = state.peer_mut(id);
    let channel = peer
        .channel
        .as_mut()
        .expect("[I5] a voucher needs a channel");
    assert!(
        channel.incoming.may_hold(amount).is_ok(),
        "[I5] voucher amounts only grow"
    );
    channel.incoming.hold(amount);
    peer.best_amount = amount;
    peer.best_signature = signature;
    credit_secured(state, id);
}

pub(super) fn saw(state: &mut State, asset: AssetId, at: FactAt, depth: Depth, fact: &VaultFact) {
    if depth == Depth::Final {
        let cursor = &mut state.asset_mut(asset).vault.cursor;
        assert!(
            cursor.is_none_or(|last| last < at),
            "[I11] a fact counts once"
        );
        *cursor = Some(at);
    }
    match fact {
        VaultFact::NoteDeposited {
            owner,
            units,
            amount,
        } => note_deposited(state, asset, *owner, *units, *amount),
        VaultFact::ExitRequested {
            owner,
            cohort,
            units,
        } => exit_requested(state, asset, *owner, *cohort, *units),
        VaultFact::ExitPaid {
            cohort,
            units,
            amount,
        } => exit_paid(state, asset, *cohort, *units, *amount),
        VaultFact::IndexRaised { index } => index_raised(state, asset, *index),
        VaultFact::SharesDeposited { amount } => {
            let units = grow_vault(state, asset, *amount);
            let accounts = state.asset_of(asset).accounts;
            post(state, accounts.vault, accounts.shares, units);
        }
        VaultFact::SharesWithdrawn { amount } => {
            let units = shrink_vault(state, asset, *amount);
            let accounts = state.asset_of(asset).accounts;
            draw(
                state,
                asset,
                &[accounts.shares, accounts.fees],
                accounts.vault,
                units,
            );
        }
        VaultFact::ChannelOpened { serial, .. } => on_channel(state, *serial, |peer| {
            peer.demands.open = None;
            peer.channel.as_mut().expect("on its channel").opened();
        }),
        VaultFact::PeerDeposited { serial, ceiling } => peer_deposited(state, *serial, *ceiling),
        VaultFact::PeerWithdrew {
            serial,
            ceiling,
            released,
        } => {
            peer_withdrew(state, *serial, *ceiling, *released);
        }
        VaultFact::AllotmentRaised { serial, ceiling } => {
            drain_bucket(state, asset, *serial, *ceiling);
            on_lane_out(state, *serial, |peer| {
                peer.demands.raise = None;
                peer.channel
                    .as_mut()
                    .expect("on its channel")
                    .outgoing
                    .ceiling_is(*ceiling);
            });
        }
        VaultFact::AllotmentRenewed { serial, term_ends } => on_channel(state, *serial, |peer| {
            peer.demands.raise = None;
            peer.term_ends = *term_ends;
        }),
        VaultFact::AllotmentLowered {
            serial,
            ceiling,
            released,
        } => on_lane_out(state, *serial, |peer| {
            let channel = peer.channel.as_mut().expect("on its channel");
            if *released {
                channel.outgoing.released(*ceiling);
            } else {
                channel.outgoing_lowered(*ceiling);
                peer.demands.close = None;
            }
        }),
        VaultFact::PoolPaid { serial, paid } => pool_paid(state, *serial, *paid),
        VaultFact::PeerPaid { serial, paid } => peer_paid(state, *serial, *paid),
        VaultFact::NoticeGiven {
            serial,
            kind,
            ceiling,
            deadline,
        } => {
            notice_given(state, *serial, *kind, *ceiling, *deadline);
        }
        VaultFact::NoticeDropped { serial, kind } => notice_dropped(state, *serial, *kind),
        VaultFact::KeyChanged {
            serial,
            of_peer,
            signer,
        } => on_channel(state, *serial, |peer| {
            if *of_peer {
                peer.channel
                    .as_mut()
                    .expect("on its channel")
                    .key_changed(*signer);
            }
        }),
        VaultFact::NettedOff { serial, amount } => netted_off(state, *serial, *amount),
        VaultFact::ChannelClosed {
            serial,
            pool_paid,
            peer_paid,
        } => {
            channel_closed(state, *serial, *pool_paid, *peer_paid);
        }
        VaultFact::DeepReorg => state.asset_mut(asset).halted = true,
        VaultFact::RaiseCosigned { amount, .. } => refill_bucket(state, asset, *amount),
        VaultFact::HeartbeatSeen { at } => {
            let mirror = state.asset_mut(asset);
            mirror.heartbeat_demand = None;
            mirror.vault.heartbeat_at = mirror.vault.heartbeat_at.max(*at);
        }
        VaultFact::Frozen { until } => state.asset_mut(asset).vault.frozen_until = *until,
        VaultFact::MarkedDown { index } => marked_down(state, asset, *index),
        VaultFact::RunDownStarted => {
            let vault = &mut state.asset_mut(asset).vault;
            vault.runs_down = true;
            // All units wait in one cohort now; who asked earlier is paid no earlier.
            vault.cohorts.clear();
        }
    }
    assert_covered(state, asset);
}

pub(super) fn note_deposited(
    state: &mut State,
    asset: AssetId,
    owner: Address,
    units: Amount,
    amount: Amount,
) {
    let posted = grow_vault(state, asset, amount);
    let vault = &mut state.asset_mut(asset).vault;
    vault.units = sum(vault.units, units);
    let held = vault.holders.entry(owner).or_default();
    held.units = sum(held.units, units);
    held.paid_in = sum(held.paid_in, amount);
    let accounts = state.asset_of(asset).accounts;
    post(state, accounts.vault, accounts.notes, posted);
}

fn exit_requested(state: &mut State, asset: AssetId, owner: Address, cohort: u64, units: Amount) {
    let vault = &mut state.asset_mut(asset).vault;
    if let Some(held) = vault.holders.get_mut(&owner) {
        let left = held.units.saturating_sub(units);
        held.paid_in = held
            .paid_in
            .mul_div_floor(left.value(), held.units.value())
            .unwrap_or(Amount::ZERO);
        held.units = left;
        if left.is_zero() {
            vault.holders.remove(&owner);
        }
    }
    let waiting = vault.cohorts.entry(cohort).or_default();
    waiting.units = sum(waiting.units, units);
    let locked = waiting.members.entry(owner).or_default();
    *locked = sum(*locked, units);
}

fn exit_paid(state: &mut State, asset: AssetId, cohort: u64, units: Amount, amount: Amount) {
    #[cfg(feature = "planted-bugs")]
    let amount = if forebay_quantity::planted::is(forebay_quantity::planted::Bug::VaultNotLowered) {
        Amount::ZERO
    } else {
        amount
    };
    let posted = shrink_vault(state, asset, amount);
    let mirror = state.asset_mut(asset);
    mirror.exits_demand = None;
    let vault = &mut mirror.vault;
    vault.units = vault.units.saturating_sub(units);
    if let Some(waiting) = vault.cohorts.get_mut(&cohort) {
        waiting.units = waiting.units.saturating_sub(units);
        if waiting.units.is_zero() {
            vault.cohorts.remove(&cohort);
        }
    }
    let empty = vault.units.is_zero();
    let accounts = state.asset_of(asset).accounts;
    draw(
        state,
        asset,
        &[accounts.notes, accounts.fees, accounts.shares],
        accounts.vault,
        posted,
    );
    if empty {
        // What rounding left when the last unit went belongs to the buffer.
        let rest = state.balance(accounts.notes).credit();
        post(state, accounts.notes, accounts.fees, rest);
    }
}

pub(super) fn index_raised(state: &mut State, asset: AssetId, index: u128) {
    let before = state.asset_of(asset).note_claims();
    let now = state.now;
    let mirror = state.asset_mut(asset);
    mirror.index_demand = None;
    mirror.vault.index = index;
    mirror.vault.index_at = now;
    let due = ledger_delta(state, asset, before, state.asset_of(asset).note_claims());
    let mirror = state.asset_mut(asset);
    mirror.released = mirror.payable_fees(now).saturating_sub(due);
    mirror.release.release(now);
    let accounts = mirror.accounts;
    draw(
        state,
        asset,
        &[accounts.fees, accounts.shares],
        accounts.notes,
        due,
    );
}

/// What a raise allots is drained when it is heard of, which is later than on chain and never leaves more in the mirror.
fn drain_bucket(state: &mut State, asset: AssetId, serial: ChannelSerial, ceiling: Amount) {
    let before = channel_of(state, serial)
        .and_then(|id| state.peer_of(id).channel.as_ref())
        .map(|channel| channel.outgoing.ceiling());
    let Some(before) = before else { return };
    let now = state.now;
    let mirror = state.asset_mut(asset);
    let level = mirror.bucket(now);
    let drained = level.min(ceiling.saturating_sub(before));
    mirror.vault.bucket_drained = drained;
    mirror.vault.bucket = level.saturating_sub(drained);
    mirror.vault.bucket_at = now;
}

/// The vault reports a co-signed raise right after the raise itself.
fn refill_bucket(state: &mut State, asset: AssetId, amount: Amount) {
    let vault = &mut state.asset_mut(asset).vault;
    let back = amount.min(vault.bucket_drained);
    vault.bucket = vault.bucket.saturating_add(back);
    vault.bucket_drained = Amount::ZERO;
}

/// Notes bear what was booked as lost and could fall on nobody else; shares are gone before. What is left of either is the
/// fee buffer's.
fn marked_down(state: &mut State, asset: AssetId, index: u128) {
    let before = state.asset_of(asset).note_claims();
    let now = state.now;
    let mirror = state.asset_mut(asset);
    (mirror.vault.index, mirror.vault.index_at) = (index, now);
    let relief = ledger_delta(state, asset, state.asset_of(asset).note_claims(), before);
    let accounts = state.asset_of(asset).accounts;
    let relief = relief.min(state.ledger.account(accounts.notes).debit_room());
    let lost = state.balance(accounts.losses).debit().min(relief);
    post(state, accounts.notes, accounts.losses, lost);
    post(
        state,
        accounts.notes,
        accounts.fees,
        relief.saturating_sub(lost),
    );
    let shares = state.balance(accounts.shares).credit();
    post(state, accounts.shares, accounts.fees, shares);
}

fn peer_deposited(state: &mut State, serial: ChannelSerial, ceiling: Amount) {
    let Some((id, asset, before)) = lane_in(state, serial) else {
        return;
    };
    let channel = state
        .peer_mut(id)
        .channel
        .as_mut()
        .expect("found by lane_in");
    channel.incoming.ceiling_is(ceiling);
    let added = ceiling.saturating_sub(before.ceiling);
    let deposits = sum(state.asset_of(asset).vault.chain_deposits, added);
    set_deposits(state, asset, deposits);
    credit_secured(state, id);
}

fn peer_withdrew(state: &mut State, serial: ChannelSerial, ceiling: Amount, released: bool) {
    let Some((id, asset, before)) = lane_in(state, serial) else {
        return;
    };
    let channel = state
        .peer_mut(id)
        .channel
        .as_mut()
        .expect("found by lane_in");
    match released {
        true => channel.incoming.released(ceiling),
        false => channel.incoming.lowered(ceiling),
    }
    let gone = before.ceiling.saturating_sub(ceiling);
    let deposits = state
        .asset_of(asset)
        .vault
        .chain_deposits
        .saturating_sub(gone);
    set_deposits(state, asset, deposits);
    write_off_uncollectable(state, id, ceiling);
}

fn pool_paid(state: &mut State, serial: ChannelSerial, paid: Amount) {
    let Some(id) = channel_of(state, serial) else {
        return;
    };
    let peer = state.peer_of(id);
    let (asset, out) = (peer.asset, peer.vouchers_out);
    let lane = peer.channel.as_ref().expect("found by channel_of").outgoing;
    let known = ledger_delta(state, asset, lane.paid(), lane.promised().min(paid));
    on_lane_out(state, serial, |peer| {
        peer.channel
            .as_mut()
            .expect("on its channel")
            .outgoing
            .paid_is(paid)
    });
    let moved = shrink_vault(state, asset, paid.saturating_sub(lane.paid()));
    let accounts = state.asset_of(asset).accounts;
    let ours = known.min(moved);
    post(state, out, accounts.vault, ours);
    // Both sides are floored, each by itself: a unit that left the promise and not the vault is kept.
    post(state, out, accounts.fees, known.saturating_sub(ours));
    // More than we know to have signed: somebody else signs with our key. The book halts, the loss is booked.
    bear_loss(state, asset, accounts.vault, moved.saturating_sub(ours));
}

fn peer_paid(state: &mut State, serial: ChannelSerial, paid: Amount) {
    let Some((id, asset, before)) = lane_in(state, serial) else {
        return;
    };
    let peer = state.peer_mut(id);
    let channel = peer.channel.as_mut().expect("found by lane_in");
    if channel.incoming.may_hold(paid).is_ok() {
        channel.incoming.hold(paid);
    }
    channel.incoming.paid_is(paid);
    // A better voucher may have come since this was asked for: what it adds is asked for anew.
    peer.demands.redeem = None;
    credit_secured(state, id);
    let moved = paid.saturating_sub(before.paid);
    let deposits = state
        .asset_of(asset)
        .vault
        .chain_deposits
        .saturating_sub(moved);
    set_deposits(state, asset, deposits);
    let arrived = grow_vault(state, asset, moved);
    let owed = ledger_delta(state, asset, before.paid, paid);
    let accounts = state.asset_of(asset).accounts;
    let held = state.peer_of(id).vouchers_held;
    let matched = owed.min(arrived);
    post(state, accounts.vault, held, matched);
    post(
        state,
        accounts.vault,
        accounts.fees,
        arrived.saturating_sub(matched),
    );
    post(state, accounts.losses, held, owed.saturating_sub(matched));
}

fn notice_given(
    state: &mut State,
    serial: ChannelSerial,
    kind: NoticeKind,
    ceiling: Amount,
    deadline: Timestamp,
) {
    on_channel(state, serial, |peer| {
        let own = matches!(kind, NoticeKind::AllotmentLowering | NoticeKind::Close);
        if own {
            peer.demands.close = None;
        }
        let channel = peer.channel.as_mut().expect("on its channel");
        match kind {
            NoticeKind::Close => channel.close_announced(deadline),
            NoticeKind::AllotmentLowering => channel
                .outgoing
                .lowering_announced(Lowering { ceiling, deadline }),
            NoticeKind::DepositWithdrawal => channel
                .incoming
                .lowering_announced(Lowering { ceiling, deadline }),
            NoticeKind::PeerKeyChange => channel.key_change_announced(deadline),
            NoticeKind::PoolKeyChange => {}
        }
    });
}

fn notice_dropped(state: &mut State, serial: ChannelSerial, kind: NoticeKind) {
    on_channel(state, serial, |peer| {
        let channel = peer.channel.as_mut().expect("on its channel");
        match kind {
            NoticeKind::Close => channel.close_withdrawn(),
            NoticeKind::AllotmentLowering => channel.outgoing.lowering_withdrawn(),
            NoticeKind::DepositWithdrawal => channel.incoming.lowering_withdrawn(),
            NoticeKind::PeerKeyChange => channel.key_change_withdrawn(),
            NoticeKind::PoolKeyChange => {}
        }
    });
}

/// Both lanes were paid by the same amount against each other: their vouchers cancel.
fn netted_off(state: &mut State, serial: ChannelSerial, amount: Amount) {
    let Some((id, asset, before)) = lane_in(state, serial) else {
        return;
    };
    let peer = state.peer_mut(id);
    let channel = peer.channel.as_mut().expect("found by lane_in");
    let signed = channel.outgoing.promised();
    let out_paid = channel.outgoing.paid();
    channel.incoming.net_off(amount);
    channel.outgoing.net_off(amount);
    let paid = channel.incoming.paid();
    if channel.incoming.may_hold(paid).is_ok() {
        channel.incoming.hold(paid);
    }
    credit_secured(state, id);
    let peer = state.peer_of(id);
    let (held, out, clearing) = (peer.vouchers_held, peer.vouchers_out, peer.clearing);
    let collected = ledger_delta(state, asset, before.paid, paid);
    let vouched =
        ledger_delta(state, asset, out_paid, signed.min(sum(out_paid, amount))).min(collected);
    post(state, out, held, vouched);
    draw(
        state,
        asset,
        &[clearing],
        held,
        collected.saturating_sub(vouched),
    );
    clamp_prepaid(state, id);
}

fn channel_closed(
    state: &mut State,
    serial: ChannelSerial,
    pool_paid_at: Amount,
    peer_paid_at: Amount,
) {
    let Some(id) = channel_of(state, serial) else {
        return;
    };
    pool_paid(state, serial, pool_paid_at);
    peer_paid(state, serial, peer_paid_at);
    write_off_uncollectable(state, id, peer_paid_at);
    let peer = state.peer_of(id);
    let (asset, out, clearing) = (peer.asset, peer.vouchers_out, peer.clearing);
    let channel = peer.channel.as_ref().expect("found by channel_of");
    let (allotted, deposited) = (channel.outgoing.remaining(), channel.incoming.remaining());
    // Vouchers it never redeemed are worth nothing now; the debt behind them stands.
    let unredeemed = state.balance(out).credit();
    post(state, out, clearing, unredeemed);
    let vault = &mut state.asset_mut(asset).vault;
    vault.chain_allotted = vault.chain_allotted.saturating_sub(allotted);
    let deposits = vault.chain_deposits.saturating_sub(deposited);
    set_deposits(state, asset, deposits);
    let peer = state.peer_mut(id);
    peer.channel = None;
    peer.credited = Amount::ZERO;
    peer.demands = crate::state::PeerDemands::default();
    peer.term_ends = Timestamp(0);
}

/// Credits the peer with what its best voucher secures beyond what was credited before.
fn credit_secured(state: &mut State, id: PeerId) {
    let peer = state.peer_of(id);
    let Some(channel) = &peer.channel else { return };
    let secured = state
        .asset_of(peer.asset)
        .ledger_floor(channel.incoming.secured().max(channel.incoming.paid()));
    let fresh = secured.saturating_sub(peer.credited);
    let (held, clearing) = (peer.vouchers_held, peer.clearing);
    post(state, held, clearing, fresh);
    let peer = state.peer_mut(id);
    peer.credited = sum(peer.credited, fresh);
    peer.prepaid = sum(peer.prepaid, fresh);
    clamp_prepaid(state, id);
}

/// Books as lost what was credited on vouchers that can pay no more than `collectable` over the channel's life.
fn write_off_uncollectable(state: &mut State, id: PeerId, collectable: Amount) {
    let peer = state.peer_of(id);
    let (asset, held) = (peer.asset, peer.vouchers_held);
    let kept = state.asset_of(asset).ledger_floor(collectable);
    let lost = peer
        .credited
        .saturating_sub(kept)
        .min(state.balance(held).debit());
    bear_loss(state, asset, held, lost);
    let peer = state.peer_mut(id);
    peer.credited = peer.credited.saturating_sub(lost);
}

/// Books a loss down the waterfall: fees, then shares. What would fall on notes stays on the loss account, because only
/// the committee may lower their index.
pub(super) fn bear_loss(state: &mut State, asset: AssetId, credit: AccountId, loss: Amount) {
    let mirror = state.asset_of(asset);
    let accounts = mirror.accounts;
    let notes = Notes {
        units: mirror.vault.units,
        index: Index(mirror.vault.index),
    };
    let fees = state.balance(accounts.fees).credit();
    let shares = state.balance(accounts.shares).credit();
    let split = waterfall(loss, fees, shares, notes);
    post(state, accounts.fees, credit, split.from_fee_buffer);
    post(state, accounts.shares, credit, split.from_shares);
    let on_notes = split.from_notes.saturating_add(split.uncovered);
    post(state, accounts.losses, credit, on_notes);
}

/// What was paid ahead is never more than what we owe.
pub(super) fn clamp_prepaid(state: &mut State, id: PeerId) {
    let owed = match state.balance(state.peer_of(id).clearing) {
        Balance::Credit(owed) => owed,
        Balance::Debit(_) => Amount::ZERO,
    };
    let peer = state.peer_mut(id);
    peer.prepaid = peer.prepaid.min(owed);
}

struct LaneBefore {
    ceiling: Amount,
    paid: Amount,
}

fn lane_in(state: &State, serial: ChannelSerial) -> Option<(PeerId, AssetId, LaneBefore)> {
    let id = channel_of(state, serial)?;
    let peer = state.peer_of(id);
    let lane = peer.channel.as_ref()?.incoming;
    Some((
        id,
        peer.asset,
        LaneBefore {
            ceiling: lane.ceiling(),
            paid: lane.paid(),
        },
    ))
}

fn channel_of(state: &State, serial: ChannelSerial) -> Option<PeerId> {
    let id = state.channel_peer(serial)?;
    let channel = state.peer_of(id).channel.as_ref()?;
    (channel.serial() == serial).then_some(id)
}

/// Changes the lane that we pay on, and keeps the sum of all allotments in step.
fn on_lane_out(state: &mut State, serial: ChannelSerial, change: impl FnOnce(&mut Peer)) {
    let Some(id) = channel_of(state, serial) else {
        return;
    };
    let remaining = |state: &State| {
        state
            .peer_of(id)
            .channel
            .as_ref()
            .map_or(Amount::ZERO, |channel| channel.outgoing.remaining())
    };
    let before = remaining(state);
    change(state.peer_mut(id));
    let after = remaining(state);
    let asset = state.peer_of(id).asset;
    let vault = &mut state.asset_mut(asset).vault;
    vault.chain_allotted = sum(vault.chain_allotted, after).saturating_sub(before);
}

pub(super) fn grow_vault(state: &mut State, asset: AssetId, amount: Amount) -> Amount {
    let before = state.asset_of(asset).vault.chain_total;
    let after = sum(before, amount);
    state.asset_mut(asset).vault.chain_total = after;
    ledger_delta(state, asset, before, after)
}

pub(super) fn shrink_vault(state: &mut State, asset: AssetId, amount: Amount) -> Amount {
    let before = state.asset_of(asset).vault.chain_total;
    let after = before
        .checked_sub(amount)
        .expect("[I15] a vault pays no more than it holds");
    state.asset_mut(asset).vault.chain_total = after;
    ledger_delta(state, asset, after, before)
}

fn set_deposits(state: &mut State, asset: AssetId, after: Amount) {
    let accounts = state.asset_of(asset).accounts;
    let before = state.asset_of(asset).vault.chain_deposits;
    state.asset_mut(asset).vault.chain_deposits = after;
    let (grown, shrunk) = (
        ledger_delta(state, asset, before, after),
        ledger_delta(state, asset, after, before),
    );
    post(state, accounts.deposits_held, accounts.deposits_owed, grown);
    post(
        state,
        accounts.deposits_owed,
        accounts.deposits_held,
        shrunk,
    );
}

/// Ledger units between two cumulative chain amounts, each floored; zero when the second is not above the first.
fn ledger_delta(state: &State, asset: AssetId, from: Amount, to: Amount) -> Amount {
    let asset = state.asset_of(asset);
    asset
        .ledger_floor(to)
        .saturating_sub(asset.ledger_floor(from))
}

pub(super) fn sum(a: Amount, b: Amount) -> Amount {
    a.checked_add(b)
        .expect("a chain's amounts fit 128 bits together")
}

/// What the pool has signed and not paid lies within what the vault holds for it.
fn assert_covered(state: &State, asset: AssetId) {
    let vault = &state.asset_of(asset).vault;
    assert!(
        vault.chain_allotted <= vault.chain_total,
        "[I15] allotments lie within the vault"
    );
}
