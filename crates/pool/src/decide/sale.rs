//! Channels sold just in time: to whom, on what terms, and when one is opened and closed. ADR 22 explains each rule.

use forebay_channel::NodeId;
use forebay_market::DAY;
use forebay_quantity::{Amount, AssetId, Hash32, PeerId, Ppm, Timestamp};

use crate::Events;
use crate::effect::ChainRequest;
use crate::event::Event;
use crate::rejection::Rejection;
use crate::sale::{SaleCommand, SaleEvent, SaleTerms};
use crate::state::{Buyers, LightningChannelId, Sale, SaleId, SalePolicy, State, bounds};

/// A channel holds at least so much beyond its payment: what either end has to leave in it, and a commitment's fee.
const ROOM_MIN: Amount = Amount::new(10_000_000);
/// A payment is at least so often the least fee.
const PAYMENT_FEES: u128 = 2;

/// On what terms a node may buy a channel now. `opening_cost` is what miners would take for opening and closing it, `spendable`
/// what the wallet can put into one more channel.
///
/// # Errors
/// [`Rejection::NotSold`], with the reason.
pub fn sale_terms(
    state: &State,
    now: Timestamp,
    node: NodeId,
    opening_cost: Amount,
    spendable: Amount,
) -> Result<SaleTerms, Rejection> {
    let asset = may_buy(state, now, node)?;
    let policy = &state.sales.policy;
    let fee_min = policy.fee_min.max(opening_cost);
    let rent = rent_ppm(policy, state.liquidity.capital_ppm_per_day);
    let fee_ppm = policy.fee_ppm.value().saturating_add(rent);
    let least = fee_min.checked_mul(PAYMENT_FEES).unwrap_or(Amount::MAX);
    let payment_min = policy.payment_min.max(least);
    let room = room(state, asset, spendable.saturating_sub(opening_cost));
    let payment_max = largest_payment(policy, room);
    if payment_max < payment_min {
        return Err(Rejection::NotSold(
            "too little is left to put into a channel",
        ));
    }
    Ok(SaleTerms {
        fee_min,
        fee_ppm,
        valid_until: Timestamp(now.0.saturating_add(policy.valid_ms)),
        lifetime_ms: policy.lifetime_ms,
        payment_min,
        payment_max,
    })
}

pub(super) fn sale(
    state: &State,
    now: Timestamp,
    command: &SaleCommand,
    events: &mut Events,
) -> Result<(), Rejection> {
    match *command {
        SaleCommand::Bought {
            sale,
            node,
            terms,
            payment,
        } => {
            let promised = bought(state, now, sale, node, terms, payment)?;
            events.push(Event::Sale(promised));
        }
        SaleCommand::PaymentHeld {
            sale,
            amount,
            fee,
            spendable,
        } => {
            let request = opening(state, now, sale, (amount, fee), spendable)?;
            events.push(Event::ChainDemanded {
                id: state.next_effect,
                request,
            });
        }
        SaleCommand::Forwarded {
            number,
            fee,
            withheld,
            channel,
        } => {
            state
                .asset_on_bitcoin()
                .ok_or(Rejection::BadFact("no asset on Bitcoin is listed"))?;
            if number <= state.sales.forwards {
                return Err(Rejection::AlreadyTaken);
            }
            let known = channel.and_then(|channel| state.sales.by_channel(channel));
            events.push(Event::Sale(SaleEvent::Forwarded {
                number,
                fee: fee.max(withheld),
                withheld,
                sale: known.map(|(id, _)| id),
                peer: channel.and_then(|channel| peer_with(state, channel)),
            }));
        }
    }
    Ok(())
}

fn peer_with(state: &State, channel: LightningChannelId) -> Option<PeerId> {
    let mut with = state.peers().filter(|(_, peer)| {
        let account = peer.lightning.as_deref();
        account.is_some_and(|account| account.channels.contains_key(&channel))
    });
    with.next().map(|(id, _)| id)
}

/// Who may buy now.
fn may_buy(state: &State, now: Timestamp, node: NodeId) -> Result<AssetId, Rejection> {
    let no = |why| Err(Rejection::NotSold(why));
    let Some(asset) = state.asset_on_bitcoin() else {
        return no("this pool has no asset on Bitcoin");
    };
    if state.asset_of(asset).halted {
        return no("this pool's book stands still");
    }
    match state.sales.policy.buyers {
        Buyers::Nobody => return no("channels are not sold"),
        Buyers::Peers if state.peer_at(node).is_none() => {
            return no("channels are sold to nodes of this pool's accounts alone");
        }
        Buyers::Peers | Buyers::Anyone => {}
    }
    let (of_node, all) = state.sales.count(node, now);
    if of_node >= bounds::SALES_OF_NODE_MAX {
        return no("this node has bought all that one may");
    }
    if all >= bounds::SALES_MAX {
        return no("too many channels are promised or sold");
    }
    Ok(asset)
}

/// The rent of what a payment binds until the channel may be closed, of the payment.
fn rent_ppm(policy: &SalePolicy, per_day: Ppm) -> u32 {
    let days = u128::from(policy.lifetime_ms.div_ceil(DAY.0));
    let bound = u128::from(policy.room_ppm.value()).saturating_add(1_000_000);
    let rent = u128::from(per_day.value())
        .saturating_mul(days)
        .saturating_mul(bound)
        .div_ceil(1_000_000);
    u32::try_from(rent).unwrap_or(u32::MAX)
}

/// What one more channel may hold.
fn room(state: &State, asset: AssetId, spendable: Amount) -> Amount {
    let policy = &state.sales.policy;
    // What LPs are being paid leaves the wallet.
    let free = spendable.saturating_sub(state.claims.leaving());
    let unsold = policy.sold_max.saturating_sub(state.sales.held());
    free.min(unsold)
        .min(policy.channel_max)
        .min(state.hot(asset))
}

/// The largest payment whose channel is no larger than this.
fn largest_payment(policy: &SalePolicy, channel: Amount) -> Amount {
    let bound = u128::from(policy.room_ppm.value()).saturating_add(1_000_000);
    let by_part = channel.mul_div_floor(1_000_000, bound);
    let by_part = by_part.unwrap_or(Amount::ZERO);
    whole_satoshi(by_part.min(channel.saturating_sub(ROOM_MIN)))
}

/// What a channel holds through which so much is to pass at once.
fn channel_value(policy: &SalePolicy, passed: Amount) -> Option<Amount> {
    let part = policy.room_ppm.of_floor(passed)?;
    let value = passed.checked_add(part.max(ROOM_MIN))?;
    Some(whole_satoshi(value.checked_add(Amount::new(999))?))
}

fn bought(
    state: &State,
    now: Timestamp,
    sale: SaleId,
    node: NodeId,
    terms: SaleTerms,
    payment: Option<Amount>,
) -> Result<SaleEvent, Rejection> {
    if state.sales.open.contains_key(&sale) {
        return Err(Rejection::AlreadyTaken);
    }
    may_buy(state, now, node)?;
    if now > terms.valid_until {
        return Err(Rejection::NotSold("the terms have expired"));
    }
    if payment.is_some_and(|payment| !is_payable(&terms, payment)) {
        return Err(Rejection::NotSold("the payment is not within the terms"));
    }
    Ok(SaleEvent::Promised { sale, node, terms })
}

fn is_payable(terms: &SaleTerms, payment: Amount) -> bool {
    payment >= terms.payment_min && payment <= terms.payment_max && terms.fee(payment) < payment
}

/// The channel that a held payment opens, once.
fn opening(
    state: &State,
    now: Timestamp,
    id: SaleId,
    (amount, fee): (Amount, Amount),
    spendable: Amount,
) -> Result<ChainRequest, Rejection> {
    let no = |why| Err(Rejection::NotSold(why));
    let Some(sale) = state.sales.open.get(&id) else {
        return no("no channel is promised under this number");
    };
    if sale.demand.is_some() {
        return Err(Rejection::AlreadyTaken);
    }
    if now > sale.terms.valid_until {
        return no("the terms have expired");
    }
    if !is_payable(&sale.terms, amount) {
        return no("the payment is not within the terms");
    }
    if fee < sale.terms.fee(amount) {
        return Err(Rejection::BadFact("a sale brings less than its fee"));
    }
    let asset = may_open(state, sale)?;
    let policy = &state.sales.policy;
    let value = channel_value(policy, amount.saturating_sub(fee));
    let value = value.ok_or(Rejection::AmountTooSmall)?;
    let cost_max = state.liquidity.fee_max(value);
    let room = room(state, asset, spendable.saturating_sub(cost_max));
    if value > room || state.demands.len() >= bounds::DEMANDS_MAX {
        return no("too little is left to put into a channel");
    }
    Ok(ChainRequest::SellLightning {
        asset,
        sale: id,
        node: sale.node,
        amount: value,
    })
}

/// What was promised is kept to whoever may still buy.
fn may_open(state: &State, sale: &Sale) -> Result<AssetId, Rejection> {
    let asset = state.asset_on_bitcoin();
    let asset = asset.expect("[I10] a channel is sold where an asset is on Bitcoin");
    let may = match state.sales.policy.buyers {
        Buyers::Nobody => false,
        Buyers::Peers => state.peer_at(sale.node).is_some(),
        Buyers::Anyone => true,
    };
    match may && !state.asset_of(asset).halted {
        true => Ok(asset),
        false => Err(Rejection::NotSold("nothing is sold to this node any more")),
    }
}

/// A channel that was kept for its time, and that nothing passed through for long, is closed.
pub(super) fn closing(state: &State, now: Timestamp, asset: AssetId) -> Option<ChainRequest> {
    let idle_ms = state.liquidity.idle_ms;
    let is_over = |sale: &Sale| {
        let kept = now.since(sale.opened_at).0 >= sale.terms.lifetime_ms;
        let idle = now.since(sale.used_at).0 >= idle_ms;
        let is_open = sale.is_funded && sale.closed.is_none() && sale.closing.is_none();
        is_open && kept && idle && now >= sale.retry_at
    };
    let (sale, over) = state.sales.open().find(|(_, sale)| is_over(sale))?;
    Some(ChainRequest::CloseSold {
        asset,
        sale,
        channel: over.channel()?,
        amount: over.value,
    })
}

/// The channel of a sale is funded.
pub(super) fn funded(sale: SaleId, fee: Amount) -> Event {
    Event::Sale(SaleEvent::Funded { sale, fee })
}

/// The channel of a sale takes no more payments.
pub(super) fn closed(
    state: &State,
    channel: LightningChannelId,
    balance: Amount,
    events: &mut Events,
) -> Result<(), Rejection> {
    let (id, sale) = of_channel(state, channel)?;
    if sale.closed.is_some() {
        return Err(Rejection::AlreadyTaken);
    }
    let demands = [sale.demand, sale.closing].into_iter().flatten();
    let outstanding = demands.filter(|demand| state.demands.contains_key(demand));
    events.extend(outstanding.map(|id| Event::ChainSettled { id, failed: false }));
    events.push(Event::Sale(SaleEvent::Closed { sale: id, balance }));
    Ok(())
}

/// All that comes back of a sale's channel has.
pub(super) fn returned(
    state: &State,
    channel: LightningChannelId,
    (cost, gain): (Amount, Amount),
) -> Result<Event, Rejection> {
    let sale = of_closed(state, channel)?;
    Ok(Event::Sale(SaleEvent::Returned { sale, cost, gain }))
}

/// A transaction that brings money of a sale's channel back is final.
pub(super) fn closing_paid(
    state: &State,
    channel: LightningChannelId,
    (txid, fee): (Hash32, Amount),
) -> Result<Event, Rejection> {
    let sale = of_closed(state, channel)?;
    if state.on_bitcoin.paid_for.contains(&txid) {
        return Err(Rejection::AlreadyTaken);
    }
    Ok(Event::Sale(SaleEvent::ClosingPaid { sale, txid, fee }))
}

fn of_closed(state: &State, channel: LightningChannelId) -> Result<SaleId, Rejection> {
    let (id, sale) = of_channel(state, channel)?;
    let closed = sale.closed.map(|_| id);
    closed.ok_or(Rejection::UnknownEffect)
}

fn of_channel(state: &State, channel: LightningChannelId) -> Result<(SaleId, &Sale), Rejection> {
    let found = state.sales.by_channel(channel);
    found
        .filter(|(_, sale)| sale.is_funded)
        .ok_or(Rejection::UnknownEffect)
}

fn whole_satoshi(amount: Amount) -> Amount {
    Amount::new(amount.value() - amount.value() % 1_000)
}
