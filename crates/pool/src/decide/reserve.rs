//! The reserve on Bitcoin: what is kept hot, what is swept, what is asked back, and when outputs are renewed.

use forebay_quantity::{Amount, AssetId, EffectId, Timestamp};

use super::liquidity;
use crate::Events;
use crate::bitcoin::BitcoinFact;
use crate::effect::ChainRequest;
use crate::event::Event;
use crate::rejection::Rejection;
use crate::reserve::{ReserveCommand, ReserveEvent};
use crate::state::{State, bounds};

/// From here on outputs are renewed: members need some days to sign, and by day 60 it is done.
pub(crate) const RENEWAL_DUE_DAYS: u32 = 50;
/// Of a draft's inputs this part at least stays for miners: it bounds what can be asked for.
const FEE_PART: u128 = 64;

pub(super) fn reserve(
    state: &State,
    command: &ReserveCommand,
    events: &mut Events,
) -> Result<(), Rejection> {
    let asset = state
        .asset_on_bitcoin()
        .ok_or(Rejection::BadFact("no asset on Bitcoin is listed"))?;
    let known = &state.reserve;
    match *command {
        ReserveCommand::Rules(rules) => {
            if rules.hot_max.is_zero() {
                return Err(Rejection::BadPolicy("hot_max is above zero"));
            }
            let is_new = known.rules != Some(rules);
            let set = is_new.then_some(Event::Reserve(ReserveEvent::RulesSet(rules)));
            events.extend(set);
        }
        ReserveCommand::Found(found) => {
            let is_new = known.found != found;
            let changed = is_new.then_some(Event::Reserve(ReserveEvent::Found(found)));
            events.extend(changed);
        }
        ReserveCommand::Given { outpoint, amount } => {
            let deposits = &state.on_bitcoin.deposits;
            if deposits.contains(&outpoint) {
                return Err(Rejection::AlreadyTaken);
            }
            if deposits.len() >= bounds::DEPOSITS_MAX {
                return Err(Rejection::Full {
                    bound: bounds::DEPOSITS_MAX as u64,
                });
            }
            events.push(Event::Reserve(ReserveEvent::Given { outpoint, amount }));
        }
        ReserveCommand::Spent {
            txid,
            demand,
            fee,
            lost,
        } => {
            let paid = BitcoinFact::MinersPaid { txid, amount: fee };
            super::bitcoin::fact(state, &paid, events)?;
            if !lost.is_zero() {
                let amount = lost;
                events.push(Event::Reserve(ReserveEvent::Lost { txid, amount }));
                events.push(Event::BookHalted {
                    asset,
                    deep_reorg: false,
                });
            }
            events.extend(demand.and_then(|id| settled(state, id, false)));
        }
    }
    Ok(())
}

/// The end of a demand that is the reserve's.
pub(super) fn settled(state: &State, id: EffectId, failed: bool) -> Option<Event> {
    let request = state.demands.get(&id)?;
    request
        .is_of_reserve()
        .then_some(Event::ChainSettled { id, failed })
}

/// What is moved next between the hot wallet and the reserve, or renewed in it.
pub(super) fn next(state: &State, now: Timestamp, asset: AssetId) -> Option<ChainRequest> {
    let known = &state.reserve;
    let rules = known.rules.filter(|_| now >= known.retry_at)?;
    // What LPs are being paid leaves, and is neither too much nor enough.
    let (hot, leaving) = (state.hot(asset), state.claims.leaving());
    let kept = hot.saturating_sub(leaving);
    let is_above = kept > rules.hot_max;
    #[cfg(feature = "planted-bugs")]
    let is_above =
        is_above && !forebay_quantity::planted::is(forebay_quantity::planted::Bug::CapIgnored);
    if known.sweep.is_none() && is_above {
        let free = free(state);
        let amount = kept.saturating_sub(rules.hot_after_sweep()).min(free);
        if amount >= rules.worth_moving() {
            return Some(ChainRequest::ToReserve {
                asset,
                amount: whole_satoshi(amount),
            });
        }
        // The rest lies in channels.
        let excess = in_channels(state, asset).saturating_sub(rules.hot_after_sweep());
        if !excess.is_zero()
            && let Some(relief) = liquidity::relieve(state, now, asset, excess)
        {
            return Some(relief);
        }
    }
    if known.draft.is_some() || known.found.reserve.is_zero() {
        return None;
    }
    let soon = known.found.spendable.saturating_add(known.found.waiting);
    let lacks = known.found.wanted.saturating_sub(soon);
    let wanted = rules.hot_after_return().saturating_add(leaving);
    let missing = match kept < rules.hot_min() || !lacks.is_zero() {
        true => lacks.max(wanted.saturating_sub(hot)),
        false => Amount::ZERO,
    };
    let reserve = known.found.reserve;
    let most = reserve.saturating_sub(Amount::new(reserve.value() / FEE_PART));
    let amount = whole_satoshi(missing.min(most));
    if amount >= rules.worth_moving() && !amount.is_zero() {
        return Some(ChainRequest::FromReserve { asset, amount });
    }
    let is_due = known.found.oldest_days >= RENEWAL_DUE_DAYS;
    is_due.then_some(ChainRequest::RenewReserve { asset })
}

/// What the hot wallet can spend on nothing in particular: not what LPs are to be paid, nor what is to go into channels.
fn free(state: &State) -> Amount {
    let found = &state.reserve.found;
    let growing = state.demands.values().filter_map(ChainRequest::for_channel);
    let growing = growing.fold(Amount::ZERO, Amount::saturating_add);
    found
        .spendable
        .saturating_sub(found.wanted)
        .saturating_sub(growing)
}

/// What is hot and not in the wallet.
fn in_channels(state: &State, asset: AssetId) -> Amount {
    let found = &state.reserve.found;
    let on_chain = found.spendable.saturating_add(found.waiting);
    state.hot(asset).saturating_sub(on_chain)
}

/// What may go from the wallet into channels. With a reserve, no more than lets a sweep bring down what is hot: money in a
/// channel cannot be swept.
pub(super) fn channel_room(state: &State, asset: AssetId) -> Amount {
    let Some(rules) = state.reserve.rules else {
        return state.hot(asset);
    };
    let found = &state.reserve.found;
    let growing = found
        .spendable
        .saturating_sub(found.wanted)
        .saturating_sub(free(state));
    let by_cap = rules
        .hot_after_sweep()
        .saturating_sub(in_channels(state, asset))
        .saturating_sub(growing);
    by_cap.min(free(state))
}

fn whole_satoshi(amount: Amount) -> Amount {
    Amount::new(amount.value() - amount.value() % 1_000)
}
