//! Applies what happened to claims on Bitcoin. Amounts come in millisatoshi; the books keep ledger units.

use alloc::collections::BTreeMap;

use forebay_channel::Address;
use forebay_ledger::Leg;
use forebay_market::Index;
use forebay_quantity::{Amount, AssetId, EffectId};

use super::chain::{note_deposited, shrink_vault, sum};
use super::lightning::bear_cost;
use super::{draw, post};
use crate::claim::{ClaimEvent, Payout, Script};
use crate::state::{GivenInvoice, Lp, Paying, State, Withdrawal};

pub(super) fn happened(state: &mut State, event: &ClaimEvent) {
    let asset = state.asset_on_bitcoin();
    let asset = asset.expect("[I10] a claim on Bitcoin is on an asset there");
    match event {
        ClaimEvent::LpAdded { owner, payout } => added(state, *owner, payout),
        ClaimEvent::PayoutSet { owner, payout } => {
            lp_mut(state, *owner).payout = payout.clone();
        }
        ClaimEvent::WithdrawalBegun { .. } => begun(state, asset, event),
        ClaimEvent::WithdrawalPaid { id, fee, .. } => paid(state, asset, *id, *fee),
        ClaimEvent::WithdrawalFailed { id, .. } => failed(state, asset, *id),
        ClaimEvent::InvoiceGiven {
            owner,
            invoice,
            amount,
            expires_at,
        } => {
            let now = state.now;
            let invoices = &mut lp_mut(state, *owner).invoices;
            invoices.retain(|_, given| given.may_be_paid(now));
            let given = GivenInvoice {
                amount: *amount,
                expires_at: *expires_at,
                is_paid: false,
            };
            let earlier = invoices.insert(*invoice, given);
            assert!(earlier.is_none(), "[I16] an invoice is given once");
        }
        ClaimEvent::InvoicePaid {
            owner,
            invoice,
            amount,
        } => {
            let given = lp_mut(state, *owner).invoices.remove(invoice);
            assert!(given.is_some(), "[I11] an invoice counts once");
            let units = units_floor(state, asset, *amount);
            note_deposited(state, asset, *owner, units, *amount);
        }
    }
}

fn lp_mut(state: &mut State, owner: Address) -> &mut Lp {
    let lp = state.claims.lps.get_mut(&owner);
    lp.expect("[I10] a claim is an LP's that was made known")
}

fn added(state: &mut State, owner: Address, payout: &Script) {
    let claims = &mut state.claims;
    let number = u32::try_from(claims.owners.len()).expect("[I12] LPs are bounded");
    claims.owners.push(owner);
    let lp = Lp {
        number,
        payout: payout.clone(),
        withdrawn: Amount::ZERO,
        invoices: BTreeMap::new(),
    };
    let earlier = claims.lps.insert(owner, lp);
    assert!(earlier.is_none(), "[I11] an LP is made known once");
}

/// The units are burnt at once, so that their price is settled; the money stays in the books until it has left for good.
fn begun(state: &mut State, asset: AssetId, event: &ClaimEvent) {
    let ClaimEvent::WithdrawalBegun {
        id,
        owner,
        units,
        amount,
        fee_max,
        payout,
    } = event
    else {
        return;
    };
    assert_eq!(
        *id, state.next_effect,
        "[I10] effects are numbered in order"
    );
    state.next_effect = EffectId(id.0 + 1);
    let paid_in = burn(state, asset, *owner, *units);
    let mirror = state.asset_of(asset);
    let accounts = mirror.accounts;
    // Floors of many deposits may come to a unit less than the floor of the sum: the rest is drawn when it is paid.
    let booked = state.ledger.account(accounts.notes).debit_room();
    let leg = Leg {
        debit: accounts.notes,
        credit: accounts.vault,
        amount: mirror.ledger_ceil(sum(*amount, *fee_max)).min(booked),
    };
    let is_bookable = !leg.amount.is_zero();
    let transfer = is_bookable.then(|| state.ledger.pend(&[leg]));
    if let Payout::Invoice(hash) = payout {
        state.hashes.begin(*hash, Paying::Lp(*id));
    }
    let withdrawal = Withdrawal {
        owner: *owner,
        amount: *amount,
        fee_max: *fee_max,
        payout: payout.clone(),
        paid_in,
        transfer,
    };
    state.claims.withdrawals.insert(*id, withdrawal);
}

/// What was paid in for the units that go.
fn burn(state: &mut State, asset: AssetId, owner: Address, units: Amount) -> Amount {
    let vault = &mut state.asset_mut(asset).vault;
    vault.units = vault.units.saturating_sub(units);
    let Some(held) = vault.holders.get_mut(&owner) else {
        return Amount::ZERO;
    };
    let left = held.units.saturating_sub(units);
    let stays = held.paid_in.mul_div_floor(left.value(), held.units.value());
    let stays = stays.unwrap_or(Amount::ZERO);
    let gone = held.paid_in.saturating_sub(stays);
    (held.units, held.paid_in) = (left, stays);
    if left.is_zero() {
        vault.holders.remove(&owner);
    }
    gone
}

/// Units for what comes back, at the index of today; the money never left the notes.
fn mint(state: &mut State, asset: AssetId, owner: Address, amount: Amount, paid_in: Amount) {
    let units = units_floor(state, asset, amount);
    if units.is_zero() {
        return;
    }
    let vault = &mut state.asset_mut(asset).vault;
    vault.units = sum(vault.units, units);
    let held = vault.holders.entry(owner).or_default();
    held.units = sum(held.units, units);
    held.paid_in = sum(held.paid_in, paid_in);
}

fn units_floor(state: &State, asset: AssetId, amount: Amount) -> Amount {
    let index = state.asset_of(asset).vault.index;
    let units = amount.mul_div_floor(Index::ONE.value(), index);
    units.expect("the index begins at one and only rises")
}

/// The LP bears what the payment cost up to what it was told; what it did not cost is the LP's again.
fn paid(state: &mut State, asset: AssetId, id: EffectId, fee: Amount) {
    let ended = end(state, id);
    let borne = fee.min(ended.fee_max);
    let left = shrink_vault(state, asset, sum(ended.amount, borne));
    let accounts = state.asset_of(asset).accounts;
    draw(
        state,
        asset,
        &[accounts.notes, accounts.fees, accounts.shares],
        accounts.vault,
        left,
    );
    let lp = lp_mut(state, ended.owner);
    lp.withdrawn = sum(lp.withdrawn, ended.amount);
    let back = ended.fee_max.saturating_sub(borne);
    mint(state, asset, ended.owner, back, back.min(ended.paid_in));
    bear_cost(state, asset, fee.saturating_sub(borne));
    if state.asset_of(asset).vault.units.is_zero() && state.claims.withdrawals.is_empty() {
        // What rounding left when the last unit went belongs to the buffer.
        let rest = state.balance(accounts.notes).credit();
        post(state, accounts.notes, accounts.fees, rest);
    }
}

fn failed(state: &mut State, asset: AssetId, id: EffectId) {
    let ended = end(state, id);
    let claim = sum(ended.amount, ended.fee_max);
    mint(state, asset, ended.owner, claim, ended.paid_in);
}

/// Takes the withdrawal that ended, once [I3].
fn end(state: &mut State, id: EffectId) -> Withdrawal {
    let ended = state.claims.withdrawals.remove(&id);
    let ended = ended.expect("[I3] a withdrawal ends once");
    if let Some(transfer) = ended.transfer {
        state.ledger.void(transfer);
    }
    if let Payout::Invoice(hash) = &ended.payout {
        state.hashes.paying.remove(hash);
    }
    ended
}
