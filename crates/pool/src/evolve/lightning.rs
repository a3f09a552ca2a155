//! Applies what happened on Lightning. Amounts come in millisatoshi; the books keep ledger units.

use forebay_ledger::Leg;
use forebay_quantity::{Amount, AssetId, EffectId, Hash32, PeerId, Timestamp};

use super::chain::{clamp_prepaid, grow_vault, shrink_vault, sum};
use super::liquidity;
use super::packet::release_fee;
use super::{RETRY_MS, draw, post};
use crate::lightning::LightningEvent;
use crate::state::{GivenInvoice, LightningAccount, Paying, Settlement, State, bounds};

pub(super) fn happened(state: &mut State, event: &LightningEvent) {
    match *event {
        LightningEvent::NodeNamed { peer, node } => {
            let account = account_mut(state, peer);
            // What was known was of the former node's channels.
            (account.outbound, account.inbound) = (Amount::ZERO, Amount::ZERO);
            for channel in account.channels.values_mut() {
                channel.value = Amount::ZERO;
            }
            account.node = Some(node);
        }
        LightningEvent::InvoiceGiven {
            peer,
            settlement,
            amount,
            expires_at,
        } => invoice_given(state, peer, settlement, amount, expires_at),
        LightningEvent::Received {
            peer,
            settlement,
            amount,
        } => received(state, peer, settlement, amount),
        LightningEvent::SettlementBegun {
            peer,
            settlement,
            amount,
        } => begun(state, peer, settlement, amount),
        LightningEvent::SettlementHashed { peer, hash, .. } => hashed(state, peer, hash),
        LightningEvent::SettlementPaid { peer, fee, .. } => paid(state, peer, fee),
        LightningEvent::SettlementFailed { peer, .. } => failed(state, peer),
        LightningEvent::CapacityKnown {
            peer,
            outbound,
            inbound,
        } => {
            let account = account_mut(state, peer);
            (account.outbound, account.inbound) = (outbound, inbound);
        }
        LightningEvent::ChannelFunded { peer, fee } => liquidity::funded(state, peer, fee),
        LightningEvent::ChannelStands { .. }
        | LightningEvent::ChannelSpliced { .. }
        | LightningEvent::ChannelClosed { .. }
        | LightningEvent::ChannelReturned { .. }
        | LightningEvent::ClosingPaid { .. }
        | LightningEvent::ChannelGained { .. }
        | LightningEvent::Woken { .. } => liquidity::happened(state, event),
    }
}

/// Routing and miners are paid by those who earn by it: the fee buffer, then the shares.
pub(super) fn bear_cost(state: &mut State, asset: AssetId, cost: Amount) {
    let held = state.asset_of(asset).vault.chain_total;
    let cost = shrink_vault(state, asset, cost.min(held));
    let accounts = state.asset_of(asset).accounts;
    draw(
        state,
        asset,
        &[accounts.fees, accounts.shares],
        accounts.vault,
        cost,
    );
}

/// What nobody has a claim on is earned, as a fee is.
pub(super) fn earn(state: &mut State, asset: AssetId, amount: Amount) {
    let arrived = grow_vault(state, asset, amount);
    let accounts = state.asset_of(asset).accounts;
    post(state, accounts.vault, accounts.fees, arrived);
    release_fee(state, asset, arrived);
}

pub(super) fn account_mut(state: &mut State, peer: PeerId) -> &mut LightningAccount {
    let account = state.peer_mut(peer).lightning.as_deref_mut();
    account.expect("[I10] a Lightning fact is of a Lightning account")
}

fn invoice_given(
    state: &mut State,
    peer: PeerId,
    settlement: u64,
    amount: Amount,
    expires_at: Timestamp,
) {
    let now = state.now;
    let account = account_mut(state, peer);
    // The lowest numbers go first, so that one bound says which were given.
    while account.invoices.len() > bounds::INVOICES_MAX {
        let lowest = account.invoices.first_key_value();
        let Some((&number, _)) = lowest.filter(|(_, given)| !given.may_be_paid(now)) else {
            break;
        };
        account.invoices.remove(&number);
        account.invoices_forgotten = number;
    }
    let given = GivenInvoice {
        amount,
        expires_at,
        is_paid: false,
    };
    let earlier = account.invoices.insert(settlement, given);
    assert!(earlier.is_none(), "[I16] a settlement has one invoice");
}

/// What a peer pays is paid ahead, as what its vouchers secure is.
fn received(state: &mut State, id: PeerId, settlement: u64, amount: Amount) {
    let now = state.now;
    let account = account_mut(state, id);
    let given = account.invoices.get_mut(&settlement);
    let given = given.expect("[I11] only an invoice that was given is paid");
    assert!(!given.is_paid, "[I11] a payment counts once");
    given.is_paid = true;
    #[cfg(feature = "planted-bugs")]
    if forebay_quantity::planted::is(forebay_quantity::planted::Bug::ReceivedTwice) {
        given.is_paid = false;
    }
    account.received = sum(account.received, amount);
    account.flow.received(now, amount);
    account.used_at = now;
    let peer = state.peer_of(id);
    let (asset, clearing) = (peer.asset, peer.clearing);
    let arrived = grow_vault(state, asset, amount);
    let accounts = state.asset_of(asset).accounts;
    post(state, accounts.vault, clearing, arrived);
    let peer = state.peer_mut(id);
    peer.prepaid = sum(peer.prepaid, arrived);
    clamp_prepaid(state, id);
}

fn begun(state: &mut State, id: PeerId, settlement: EffectId, amount: Amount) {
    assert_eq!(
        settlement, state.next_effect,
        "[I10] effects are numbered in order"
    );
    state.next_effect = EffectId(settlement.0 + 1);
    let peer = state.peer_of(id);
    let asset = state.asset_of(peer.asset);
    let leg = Leg {
        debit: peer.clearing,
        credit: asset.accounts.vault,
        amount: asset.ledger_floor(amount),
    };
    let transfer = state.ledger.pend(&[leg]);
    let account = account_mut(state, id);
    let begun = Settlement {
        id: settlement,
        amount,
        hash: None,
        transfer,
    };
    assert!(
        account.settlement.replace(begun).is_none(),
        "[I16] one settlement of a peer is under way at a time"
    );
}

fn hashed(state: &mut State, peer: PeerId, hash: Hash32) {
    let under_way = account_mut(state, peer).settlement.as_mut();
    let under_way = under_way.expect("[I16] a hash is told for a settlement");
    assert!(
        under_way.hash.replace(hash).is_none(),
        "[I16] a settlement has one payment hash"
    );
    state.hashes.begin(hash, Paying::Peer(peer));
}

fn paid(state: &mut State, id: PeerId, fee: Amount) {
    let settled = end(state, id);
    state.ledger.post_pending(settled.transfer);
    let now = state.now;
    let account = account_mut(state, id);
    account.paid = sum(account.paid, settled.amount);
    account.flow.paid(now, settled.amount);
    account.used_at = now;
    let asset = state.peer_of(id).asset;
    shrink_vault(state, asset, settled.amount);
    clamp_prepaid(state, id);
    bear_cost(state, asset, fee);
}

fn failed(state: &mut State, id: PeerId) {
    let settled = end(state, id);
    state.ledger.void(settled.transfer);
    let retry_at = Timestamp(state.now.0.saturating_add(RETRY_MS));
    account_mut(state, id).retry_at = retry_at;
}

/// Takes the settlement that ended, once [I3].
fn end(state: &mut State, id: PeerId) -> Settlement {
    let settled = account_mut(state, id).settlement.take();
    let settled = settled.expect("[I3] a settlement ends once");
    if let Some(hash) = settled.hash {
        state.hashes.paying.remove(&hash);
    }
    settled
}
