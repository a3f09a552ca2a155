//! Decisions: reads the state, answers with events or a rejection, changes nothing.

mod admin;
mod bitcoin;
mod chain;
mod claim;
mod lightning;
mod liquidity;
mod packet;
mod plan;
mod reserve;
mod sale;

use forebay_quantity::{Amount, AssetId, EffectId, Hash32, SourceId, Timestamp};

use crate::Events;
use crate::bitcoin::BitcoinFact;
use crate::command::Command;
use crate::event::Event;
use crate::rejection::Rejection;
use crate::state::{State, bounds};

pub(crate) use liquidity::wakes;
pub use sale::sale_terms;

pub(crate) use plan::{plan_assets, plan_peer};

/// Decides a command at `now`, appending what happened to `events`.
///
/// # Errors
/// The first [`Rejection`] in order of precedence; nothing was appended then.
pub fn decide(
    state: &State,
    now: Timestamp,
    command: &Command<'_>,
    events: &mut Events,
) -> Result<(), Rejection> {
    match command {
        Command::Prepare(prepare) => packet::prepare(state, now, prepare, events),
        Command::Fulfill {
            peer,
            packet,
            preimage,
        } => packet::fulfill(state, now, *peer, *packet, preimage, events),
        Command::Reject { peer, packet, code } => {
            packet::reject(state, *peer, *packet, *code, events)
        }
        Command::Admin(id, admin) => admin::instruct(state, now, *id, admin, events),
        Command::Keys { peer, keys } => admin::keys(state, *peer, *keys, events),
        Command::Voucher { peer, voucher } => chain::voucher(state, now, *peer, voucher, events),
        Command::Chain(fact) => chain::fact(state, fact, events),
        Command::Outcome { effect, failure } => outcome(state, *effect, failure.is_some(), events),
        Command::Price {
            asset,
            source,
            price,
            at,
        } => report(state, now, *asset, *source, *price, *at, events),
        Command::Tick => {
            packet::expire(state, now, events);
            Ok(())
        }
        Command::VaultRules { asset, rules } => chain::rules(state, *asset, *rules, events),
        Command::Bitcoin(fact) => bitcoin::fact(state, fact, events),
        Command::Lightning(command) => lightning::lightning(state, now, command, events),
        Command::ClaimPaid(paid) => claim::paid(state, paid, events),
        Command::Sale(command) => sale::sale(state, now, command, events),
        Command::Reserve(command) => reserve::reserve(state, command, events),
        Command::PaymentFinal { id, txid, fee } => payment_final(state, *id, *txid, *fee, events),
        Command::PaymentRefused { id } => {
            let event = match reserve::settled(state, *id, true) {
                Some(settled) => settled,
                None => Event::Claim(claim::failed(state, *id)?),
            };
            events.push(event);
            Ok(())
        }
    }
}

/// A payment of the hot wallet: to the reserve, or to an LP.
fn payment_final(
    state: &State,
    id: EffectId,
    txid: Hash32,
    fee: Amount,
    events: &mut Events,
) -> Result<(), Rejection> {
    let event = match reserve::settled(state, id, false) {
        Some(settled) => {
            let paid = BitcoinFact::MinersPaid { txid, amount: fee };
            bitcoin::fact(state, &paid, events)?;
            settled
        }
        None => Event::Claim(claim::sent(state, id, fee)?),
    };
    events.push(event);
    Ok(())
}

/// When the next tick has something to do.
pub fn next_deadline(state: &State) -> Option<Timestamp> {
    state.packets.next_expiry()
}

fn outcome(
    state: &State,
    effect: EffectId,
    failed: bool,
    events: &mut Events,
) -> Result<(), Rejection> {
    if !state.demands.contains_key(&effect) {
        return Err(Rejection::UnknownEffect);
    }
    events.push(Event::ChainSettled { id: effect, failed });
    Ok(())
}

/// A source's clock may run ahead of ours by this much.
const SOURCE_AHEAD_MAX_MS: u64 = 5_000;

fn report(
    state: &State,
    now: Timestamp,
    asset: AssetId,
    source: SourceId,
    price: u128,
    at: Timestamp,
    events: &mut Events,
) -> Result<(), Rejection> {
    let known = state.asset(asset).ok_or(Rejection::UnknownAsset(asset))?;
    if forebay_market::Price::new(price).is_none()
        || at.0 > now.0.saturating_add(SOURCE_AHEAD_MAX_MS)
    {
        return Err(Rejection::BadPrice);
    }
    let is_new = known.reports.iter().all(|report| report.source != source);
    #[cfg(feature = "planted-bugs")]
    let is_new =
        is_new && !forebay_quantity::planted::is(forebay_quantity::planted::Bug::SourcesUnbounded);
    if is_new && known.reports.len() >= bounds::SOURCES_MAX {
        return Err(Rejection::Full {
            bound: bounds::SOURCES_MAX as u64,
        });
    }
    events.push(Event::PriceReported {
        asset,
        source,
        price,
        at: at.min(now),
    });
    Ok(())
}
