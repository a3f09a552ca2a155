//! Applies what happened to channels sold just in time, and to payments that passed through.

use forebay_quantity::{Amount, EffectId, PeerId, Timestamp};

use super::chain::sum;
use super::lightning::{account_mut, bear_cost, earn};
use crate::sale::SaleEvent;
use crate::state::{Sale, SaleId, State};

pub(super) fn happened(state: &mut State, event: &SaleEvent) {
    let now = state.now;
    match *event {
        SaleEvent::Promised { sale, node, terms } => {
            state.sales.make_room(now);
            let earlier = state.sales.open.insert(sale, Sale::promised(node, terms));
            assert!(earlier.is_none(), "[I11] a channel is promised once");
        }
        SaleEvent::Funded { sale, fee } => {
            let sold = sale_mut(state, sale);
            sold.is_funded = true;
            (sold.opened_at, sold.used_at) = (now, now);
            pay_for(state, sale, fee);
        }
        SaleEvent::Forwarded {
            number,
            fee,
            withheld,
            sale,
            peer,
        } => forwarded(state, number, (fee, withheld), sale, peer),
        SaleEvent::Closed { sale, balance } => {
            let sold = sale_mut(state, sale);
            (sold.closed, sold.closing) = (Some(balance), None);
        }
        SaleEvent::Returned { sale, cost, gain } => {
            pay_for(state, sale, cost);
            state.sales.open.remove(&sale);
            let asset = state.asset_on_bitcoin();
            let asset = asset.expect("[I10] a channel is sold where an asset is on Bitcoin");
            earn(state, asset, gain);
        }
        SaleEvent::ClosingPaid { sale, txid, fee } => {
            state.on_bitcoin.paid_for(txid);
            pay_for(state, sale, fee);
        }
    }
}

/// What stays with us of a payment that passed through is earned as a packet's fee is.
fn forwarded(
    state: &mut State,
    number: u64,
    (fee, withheld): (Amount, Amount),
    sale: Option<SaleId>,
    peer: Option<PeerId>,
) {
    assert!(
        number > state.sales.forwards,
        "[I11] a payment that passed through counts once"
    );
    let now = state.now;
    let sales = &mut state.sales;
    sales.forwards = number;
    sales.earned = sum(sales.earned, withheld);
    sales.routed = sum(sales.routed, fee.saturating_sub(withheld));
    if let Some(sale) = sale
        && let Some(sold) = sales.open.get_mut(&sale)
    {
        sold.earned = sum(sold.earned, withheld);
        sold.used_at = now;
    }
    if let Some(peer) = peer {
        account_mut(state, peer).used_at = now;
    }
    let asset = state.asset_on_bitcoin();
    let asset = asset.expect("[I10] a payment passes through an asset on Bitcoin");
    earn(state, asset, fee);
}

/// A payment is held, and its channel is being opened.
pub(super) fn demanded(state: &mut State, sale: SaleId, id: EffectId, value: Amount) {
    let sold = sale_mut(state, sale);
    assert!(sold.demand.is_none(), "[I11] a sale leads to one channel");
    (sold.demand, sold.value) = (Some(id), value);
}

pub(super) fn closing(state: &mut State, sale: SaleId, id: EffectId) {
    sale_mut(state, sale).closing = Some(id);
}

/// No channel came of a sale: its payment goes back, and it is over.
pub(super) fn opening_failed(state: &mut State, sale: SaleId) {
    state.sales.open.remove(&sale);
}

pub(super) fn closing_failed(state: &mut State, sale: SaleId) {
    let rest_ms = state.liquidity.rest_ms;
    let retry_at = Timestamp(state.now.0.saturating_add(rest_ms));
    if let Some(sold) = state.sales.open.get_mut(&sale) {
        (sold.closing, sold.retry_at) = (None, retry_at);
    }
}

fn sale_mut(state: &mut State, sale: SaleId) -> &mut Sale {
    let sold = state.sales.open.get_mut(&sale);
    sold.expect("[I10] a fact about a sale is of one that was promised")
}

/// Books what miners were paid for a channel that was sold.
fn pay_for(state: &mut State, sale: SaleId, cost: Amount) {
    let sold = sale_mut(state, sale);
    sold.cost = sum(sold.cost, cost);
    state.sales.cost = sum(state.sales.cost, cost);
    let asset = state.asset_on_bitcoin();
    let asset = asset.expect("[I10] a channel is sold where an asset is on Bitcoin");
    bear_cost(state, asset, cost);
}
