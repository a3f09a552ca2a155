//! Planning: what the pool would do of its own accord, one step at a time, asked again after each.

use forebay_channel::vault::RUN_DOWN_COHORT;
use forebay_channel::{ChannelPolicy, Phase, Step};
use forebay_market::{DAY, Index, NoteRate, Notes, RAY, pay_note_rate, payable_to_exits};
use forebay_quantity::{Amount, AssetId, Milliseconds, PeerId, Timestamp};

use super::{lightning, liquidity, reserve, sale};
use crate::command::NoticeKind;
use crate::effect::ChainRequest;
use crate::event::Event;
use crate::lightning::LightningEvent;
use crate::state::{Asset, Peer, Rail, State, bounds};

/// An answer to a notice is handed to the chain this long before its deadline at the latest; it is asked for at once.
const ANSWER_MARGIN: Milliseconds = Milliseconds(3_600_000);

/// The next thing to do for one peer, if any.
pub(crate) fn plan_peer(state: &State, now: Timestamp, id: PeerId) -> Option<Event> {
    let peer = state.peer_of(id);
    if lightning::is_on(state, peer) {
        let next = state.next_effect;
        let due = lightning::due(state, now, peer).map(|amount| LightningEvent::SettlementBegun {
            peer: id,
            settlement: next,
            amount,
        });
        return due.map(Event::Lightning).or_else(|| {
            let request = liquidity::change(state, now, id, peer)?;
            Some(Event::ChainDemanded { id: next, request })
        });
    }
    if let Some(event) = settle(state, id, peer) {
        return Some(event);
    }
    let waits = now < peer.demands.retry_at || state.demands.len() >= bounds::DEMANDS_MAX;
    let request = if waits {
        None
    } else {
        chain_step(state, now, id, peer)
    }?;
    Some(Event::ChainDemanded {
        id: state.next_effect,
        request,
    })
}

/// The next thing to do for an asset's vault, if any.
pub(crate) fn plan_assets(state: &State, now: Timestamp) -> Option<Event> {
    if state.demands.len() >= bounds::DEMANDS_MAX {
        return None;
    }
    let due = state.assets().filter(|(_, asset)| now >= asset.retry_at);
    let mut events = due.filter_map(|(id, asset)| match asset.rail {
        Rail::Vault => heartbeat(now, id, asset)
            .or_else(|| exits(id, asset))
            .or_else(|| {
                let index = index(state, now, asset)?;
                Some(ChainRequest::RaiseIndex { asset: id, index })
            })
            .map(|request| Event::ChainDemanded {
                id: state.next_effect,
                request,
            }),
        // No contract keeps this index.
        Rail::Bitcoin { .. } => {
            let index = index(state, now, asset);
            let raised = index.map(|index| Event::IndexRaised { asset: id, index });
            raised.or_else(|| {
                let request =
                    reserve::next(state, now, id).or_else(|| sale::closing(state, now, id))?;
                Some(Event::ChainDemanded {
                    id: state.next_effect,
                    request,
                })
            })
        }
    });
    events.next()
}

/// Pays by voucher what the peer has earned, once it passes the threshold (RFC 32).
fn settle(state: &State, id: PeerId, peer: &Peer) -> Option<Event> {
    let channel = peer.channel.as_ref().filter(|channel| channel.is_live())?;
    let earned = state.earned(peer);
    // A peer that leaves is paid to the last unit.
    let (threshold, target) = if peer.removed {
        (Amount::ZERO, Amount::ZERO)
    } else {
        (peer.policy.settle_threshold, peer.policy.settle_target)
    };
    if earned.is_zero() || earned < threshold {
        return None;
    }
    let asset = state.asset_of(peer.asset);
    let owed = earned.saturating_sub(target);
    let covered = asset.ledger_floor(channel.outgoing.headroom());
    #[cfg(feature = "planted-bugs")]
    let covered = if forebay_quantity::planted::is(forebay_quantity::planted::Bug::CeilingIgnored) {
        owed
    } else {
        covered
    };
    // What pending packets of the peer rely on stays.
    let room = state.ledger.account(peer.clearing).debit_room();
    let paid = owed.min(covered).min(room);
    let promised = channel.outgoing.promised();
    let amount = promised.checked_add(asset.chain(paid)?)?;
    #[cfg(feature = "planted-bugs")]
    if forebay_quantity::planted::is(forebay_quantity::planted::Bug::CeilingIgnored)
        && amount > promised
    {
        return Some(Event::VoucherSigned {
            peer: id,
            serial: channel.serial(),
            amount,
        });
    }
    channel.outgoing.may_sign(amount).ok()?; // [I4] [I5]
    Some(Event::VoucherSigned {
        peer: id,
        serial: channel.serial(),
        amount,
    })
}

fn chain_step(state: &State, now: Timestamp, id: PeerId, peer: &Peer) -> Option<ChainRequest> {
    let asset = state.asset_of(peer.asset);
    let Some(channel) = &peer.channel else {
        return open(state, now, id, peer, asset);
    };
    let serial = channel.serial();
    match channel.next_step(now, &channel_policy(peer, asset)) {
        // [I13] An answer to a notice does not wait for an earlier redemption to become final.
        Step::Redeem { before, .. } if peer.demands.redeem.is_none() || before.is_some() => {
            return Some(ChainRequest::Redeem {
                asset: peer.asset,
                serial,
                amount: peer.best_amount,
                signature: peer.best_signature,
            });
        }
        Step::FinishClose if peer.demands.close.is_none() => {
            return Some(ChainRequest::FinishNotice {
                asset: peer.asset,
                serial,
                kind: NoticeKind::Close,
            });
        }
        Step::FinishLowering if peer.demands.close.is_none() => {
            return Some(ChainRequest::FinishNotice {
                asset: peer.asset,
                serial,
                kind: NoticeKind::AllotmentLowering,
            });
        }
        Step::Nothing
        | Step::Wait { .. }
        | Step::Redeem { .. }
        | Step::FinishClose
        | Step::FinishLowering => {}
    }
    if channel.phase() != Phase::Open {
        return None;
    }
    if peer.removed {
        let pending = state.ledger.account(peer.clearing).credits_pending;
        let idle = peer.in_flight == 0 && pending.is_zero() && peer.demands.close.is_none();
        return idle.then_some(ChainRequest::StartClose {
            asset: peer.asset,
            serial,
        });
    }
    raise(state, now, peer, asset)
}

fn channel_policy(peer: &Peer, asset: &Asset) -> ChannelPolicy {
    // "Never" is more than chain units can say, and says the same there.
    let redeem_threshold = asset.chain(peer.policy.redeem_threshold);
    ChannelPolicy {
        redeem_threshold: redeem_threshold.unwrap_or(Amount::MAX),
        claim_min: Amount::new(1),
        answer_margin: ANSWER_MARGIN,
    }
}

fn open(
    state: &State,
    now: Timestamp,
    id: PeerId,
    peer: &Peer,
    asset: &Asset,
) -> Option<ChainRequest> {
    let keys = peer
        .keys
        .filter(|_| !peer.removed && !asset.vault.runs_down)?;
    let ceiling = asset
        .chain(peer.policy.allotment)?
        .min(allottable(state, now, peer.asset, asset));
    Some(ChainRequest::Open {
        peer: id,
        asset: peer.asset,
        serial: state.next_serial,
        peer_signer: keys.signer,
        peer_payout: keys.payout,
        ceiling,
        term_ends: term(now, peer),
    })
}

/// Keeps the lane to a peer covering its allotment, and its term from running out.
fn raise(state: &State, now: Timestamp, peer: &Peer, asset: &Asset) -> Option<ChainRequest> {
    let channel = peer.channel.as_ref()?;
    let idle = peer.policy.allotment.is_zero() || peer.demands.raise.is_some();
    if idle || asset.growth_stops(now) {
        return None;
    }
    let lane = &channel.outgoing;
    let owed = state
        .ledger
        .account(peer.clearing)
        .credit_exposure()
        .saturating_sub(peer.prepaid);
    let left = asset.ledger_floor(lane.headroom()).saturating_sub(owed);
    let ageing = peer.term_ends.since(now).0 < peer.policy.allotment_term_ms / 2
        && !lane.remaining().is_zero();
    let low = left < peer.policy.allotment_low();
    if !low && !ageing {
        return None;
    }
    let wanted = lane
        .promised()
        .checked_add(asset.chain(owed.checked_add(peer.policy.allotment)?)?)?;
    let more = wanted
        .saturating_sub(lane.ceiling())
        .min(allottable(state, now, peer.asset, asset));
    // A raise too small to help waits for free money; a term is renewed all the same.
    let helps = !more.is_zero()
        && asset.ledger_floor(more) >= Amount::new(peer.policy.allotment.value().div_ceil(8));
    let more = if helps && low { more } else { Amount::ZERO };
    if more.is_zero() && !ageing {
        return None;
    }
    Some(ChainRequest::Raise {
        asset: peer.asset,
        serial: channel.serial(),
        ceiling: lane.ceiling().checked_add(more)?,
        term_ends: term(now, peer),
    })
}

/// The vault refuses a term that ends before the one that stands, also after the policy's became shorter.
fn term(now: Timestamp, peer: &Peer) -> Timestamp {
    Timestamp(now.0.saturating_add(peer.policy.allotment_term_ms)).max(peer.term_ends)
}

/// Free money above the floor, as far as the operator's bucket reaches, that no raise under way has spoken for, in whole
/// ledger units.
fn allottable(state: &State, now: Timestamp, id: AssetId, asset: &Asset) -> Amount {
    if asset.growth_stops(now) {
        return Amount::ZERO;
    }
    let floor = asset.floor_needed();
    let spoken = state
        .chain_effects()
        .filter(|(_, request)| request.asset() == id)
        .map(|(_, request)| match request {
            ChainRequest::Open { ceiling, .. } => *ceiling,
            ChainRequest::Raise {
                serial, ceiling, ..
            } => {
                let peer = state.channel_peer(*serial).map(|peer| state.peer_of(peer));
                let channel = peer.and_then(|peer| peer.channel.as_ref());
                channel.map_or(*ceiling, |channel| {
                    ceiling.saturating_sub(channel.outgoing.ceiling())
                })
            }
            ChainRequest::Redeem { .. }
            | ChainRequest::RaiseIndex { .. }
            | ChainRequest::PayExits { .. }
            | ChainRequest::StartClose { .. }
            | ChainRequest::FinishNotice { .. }
            | ChainRequest::StartLower { .. }
            | ChainRequest::Heartbeat { .. }
            | ChainRequest::OpenLightning { .. }
            | ChainRequest::ToReserve { .. }
            | ChainRequest::FromReserve { .. }
            | ChainRequest::RenewReserve { .. }
            | ChainRequest::SpliceIn { .. }
            | ChainRequest::SpliceOut { .. }
            | ChainRequest::CloseLightning { .. }
            | ChainRequest::SellLightning { .. }
            | ChainRequest::CloseSold { .. } => Amount::ZERO,
        });
    let spoken = spoken.fold(Amount::ZERO, Amount::saturating_add);
    let free = asset
        .chain_free()
        .saturating_sub(floor)
        .min(asset.bucket(now))
        .saturating_sub(spoken);
    Amount::new(free.value() - free.value() % asset.factor())
}

/// A vault that hears nothing from its operator may be run down by anybody: it hears three times as often as it must.
fn heartbeat(now: Timestamp, id: AssetId, asset: &Asset) -> Option<ChainRequest> {
    let silence_max = asset.rules.heartbeat_max_ms;
    let silent = now.since(asset.vault.heartbeat_at).0 >= silence_max / 3;
    let idle = silence_max == 0 || asset.vault.runs_down || asset.heartbeat_demand.is_some();
    (silent && !idle).then_some(ChainRequest::Heartbeat { asset: id })
}

fn exits(id: AssetId, asset: &Asset) -> Option<ChainRequest> {
    if asset.vault.runs_down {
        let can_pay = !asset.chain_free().is_zero() && !asset.vault.units.is_zero();
        let cohort = u64::from(RUN_DOWN_COHORT);
        return (can_pay && asset.exits_demand.is_none())
            .then_some(ChainRequest::PayExits { asset: id, cohort });
    }
    let (&cohort, exiting) = asset.vault.cohorts.first_key_value()?;
    let payable = payable_to_exits(
        asset.chain_free(),
        asset.definition.floor,
        asset.note_claims(),
    );
    let index = asset.vault.index;
    // The whole rest, or at least a ledger unit's worth: less is not worth a transaction.
    let whole = exiting.units.mul_div_floor(index, RAY)? <= payable;
    let some = payable.value() >= asset.factor() && !payable.mul_div_floor(RAY, index)?.is_zero();
    let can_pay = asset.exits_demand.is_none() && (whole || some);
    can_pay.then_some(ChainRequest::PayExits { asset: id, cohort })
}

/// Pays notes their rate from fees that are released, then from shares, by raising the index within the vault's cap.
fn index(state: &State, now: Timestamp, asset: &Asset) -> Option<u128> {
    let policy = &asset.policy;
    let elapsed = now.since(asset.vault.index_at);
    let idle = asset.index_demand.is_some() || asset.vault.units.is_zero() || policy.note_rate == 0;
    if idle || asset.vault.runs_down || elapsed.0 < policy.index_interval_ms {
        return None;
    }
    let elapsed = elapsed.min(DAY);
    let notes = Notes {
        units: asset.vault.units,
        index: Index(asset.vault.index),
    };
    let promised = notes.index.raise_max_floor(policy.note_rate, elapsed);
    let due = promised
        .claim_floor(notes.units)?
        .saturating_sub(notes.index.claim_ceil(notes.units)?);
    let fees = state.balance(asset.accounts.fees).credit();
    let released = asset.payable_fees(now).min(fees);
    let shares = state.balance(asset.accounts.shares).credit();
    let NoteRate { index_after, .. } =
        pay_note_rate(due, asset.chain(released)?, asset.chain(shares)?, notes);
    let capped = index_after.min(
        notes
            .index
            .raise_max_floor(asset.definition.index_rate_max, elapsed),
    );
    (capped > notes.index).then_some(capped.value())
}
