//! Claims of LPs on Bitcoin: orders, and what became of withdrawals and invoices.

use forebay_channel::Address;
use forebay_market::Index;
use forebay_quantity::{Amount, AssetId, EffectId, Timestamp};

use super::lightning::{INVOICE_EXPIRY, INVOICE_LEFT_MIN};
use crate::Events;
use crate::claim::{ClaimEvent, ClaimOrder, ClaimPaid, OutputCost, Payout, Way, owner_of};
use crate::event::Event;
use crate::lightning::InvoiceTerms;
use crate::rejection::Rejection;
use crate::state::{Asset, Lp, State, bounds};

/// Millisatoshi in a satoshi: no output holds a part of one.
const SATOSHI: u128 = 1_000;

pub(super) fn order(
    state: &State,
    now: Timestamp,
    order: &ClaimOrder,
) -> Result<ClaimEvent, Rejection> {
    let asset = state
        .asset_on_bitcoin()
        .ok_or(Rejection::BadClaim("no asset on Bitcoin is listed"))?;
    match order {
        ClaimOrder::Add { payout } => {
            let owner = owner_of(payout);
            new_payout(state, payout)?;
            if state.claims.lps.contains_key(&owner) {
                return Err(Rejection::BadClaim(
                    "another LP was first paid at this address: use a new one",
                ));
            }
            if state.claims.lps.len() >= bounds::LPS_MAX {
                return Err(Rejection::Full {
                    bound: bounds::LPS_MAX as u64,
                });
            }
            let payout = payout.clone();
            Ok(ClaimEvent::LpAdded { owner, payout })
        }
        ClaimOrder::SetPayout { owner, payout } => {
            known(state, *owner)?;
            new_payout(state, payout)?;
            Ok(ClaimEvent::PayoutSet {
                owner: *owner,
                payout: payout.clone(),
            })
        }
        ClaimOrder::Withdraw { owner, way } => {
            if state.claims.withdrawals.len() >= bounds::WITHDRAWALS_MAX {
                return Err(Rejection::Full {
                    bound: bounds::WITHDRAWALS_MAX as u64,
                });
            }
            match way {
                Way::OnChain { amount, cost } => on_chain(state, asset, *owner, *amount, *cost),
                Way::Lightning(invoice) => over_lightning(state, now, asset, *owner, invoice),
            }
        }
        ClaimOrder::GiveInvoice {
            owner,
            invoice,
            amount,
        } => give_invoice(state, now, *owner, *invoice, *amount),
    }
}

fn known(state: &State, owner: Address) -> Result<&Lp, Rejection> {
    let lp = state.claims.lps.get(&owner);
    lp.ok_or(Rejection::BadClaim(
        "no LP on Bitcoin has this address in the books",
    ))
}

/// A payout script is one LP's alone, so that who is paid is never in doubt.
fn new_payout(state: &State, payout: &[u8]) -> Result<(), Rejection> {
    if payout.is_empty() || payout.len() > bounds::SCRIPT_MAX {
        return Err(Rejection::BadClaim("it is no script that can be paid to"));
    }
    match state.claims.paid_at(payout) {
        Some(_) => Err(Rejection::AlreadyExists),
        None => Ok(()),
    }
}

fn on_chain(
    state: &State,
    id: AssetId,
    owner: Address,
    wanted: Option<Amount>,
    cost: OutputCost,
) -> Result<ClaimEvent, Rejection> {
    let payout = known(state, owner)?.payout.clone();
    let asset = state.asset_of(id);
    let (units, claim) = match wanted {
        Some(amount) => (burnt_for(asset, owner, amount)?, amount),
        None => {
            let units = held(asset, owner);
            let claim = Index(asset.vault.index).claim_floor(units);
            (units, claim.unwrap_or(Amount::MAX))
        }
    };
    let amount = claim.saturating_sub(cost.fee);
    let amount = Amount::new(amount.value() - amount.value() % SATOSHI);
    if amount.is_zero() || amount < cost.min {
        return Err(Rejection::ClaimTooSmall {
            amount: claim,
            fee: cost.fee,
            min: cost.min,
        });
    }
    begin(
        state,
        id,
        (owner, units),
        (amount, claim.saturating_sub(amount)),
        Payout::Output(payout),
    )
}

fn over_lightning(
    state: &State,
    now: Timestamp,
    id: AssetId,
    owner: Address,
    invoice: &InvoiceTerms,
) -> Result<ClaimEvent, Rejection> {
    known(state, owner)?;
    let InvoiceTerms {
        hash,
        amount,
        expires_at,
        ..
    } = *invoice;
    if amount.is_zero() {
        return Err(Rejection::BadInvoice("it names no amount"));
    }
    if expires_at.since(now) < INVOICE_LEFT_MIN {
        return Err(Rejection::BadInvoice("it expires too soon"));
    }
    if state.hashes.is_used(hash) {
        return Err(Rejection::BadInvoice("its payment hash was used before"));
    }
    let fee_max = crate::lightning::fee_max(amount);
    let units = burnt_for(state.asset_of(id), owner, amount.saturating_add(fee_max))?;
    begin(
        state,
        id,
        (owner, units),
        (amount, fee_max),
        Payout::Invoice(hash),
    )
}

/// The pending leg must fit: what packets and other withdrawals have spoken for is not there twice.
fn begin(
    state: &State,
    id: AssetId,
    (owner, units): (Address, Amount),
    (amount, fee_max): (Amount, Amount),
    payout: Payout,
) -> Result<ClaimEvent, Rejection> {
    let asset = state.asset_of(id);
    let claim = asset.ledger_ceil(amount.saturating_add(fee_max));
    let free = state.ledger.account(asset.accounts.vault).credit_room();
    if claim > free {
        return Err(Rejection::NotHeld {
            free: asset.chain(free).unwrap_or(Amount::MAX),
            needed: amount.saturating_add(fee_max),
        });
    }
    Ok(ClaimEvent::WithdrawalBegun {
        id: state.next_effect,
        owner,
        units,
        amount,
        fee_max,
        payout,
    })
}

fn held(asset: &Asset, owner: Address) -> Amount {
    let holding = asset.vault.holders.get(&owner);
    holding.map_or(Amount::ZERO, |holding| holding.units)
}

/// Units that this much is burnt for, rounded up, and the LP has.
fn burnt_for(asset: &Asset, owner: Address, amount: Amount) -> Result<Amount, Rejection> {
    let index = Index(asset.vault.index);
    let held = held(asset, owner);
    let units = amount.mul_div_ceil(Index::ONE.value(), index.value());
    units.filter(|units| *units <= held).ok_or_else(|| {
        let has = index.claim_floor(held).unwrap_or(Amount::MAX);
        Rejection::ClaimTooLarge {
            has,
            needed: amount,
        }
    })
}

fn give_invoice(
    state: &State,
    now: Timestamp,
    owner: Address,
    invoice: [u8; 16],
    amount: Amount,
) -> Result<ClaimEvent, Rejection> {
    let lp = known(state, owner)?;
    if amount.is_zero() {
        return Err(Rejection::BadInvoice("name an amount above zero"));
    }
    if lp.invoices.contains_key(&invoice) {
        return Err(Rejection::AlreadyTaken);
    }
    let open = lp.invoices.values().filter(|given| given.may_be_paid(now));
    if open.count() >= bounds::INVOICES_MAX {
        return Err(Rejection::Full {
            bound: bounds::INVOICES_MAX as u64,
        });
    }
    Ok(ClaimEvent::InvoiceGiven {
        owner,
        invoice,
        amount,
        expires_at: now.saturating_add(INVOICE_EXPIRY),
    })
}

/// Each invoice counts once: what is not there was taken before, or was never given [I11].
pub(super) fn paid(state: &State, paid: &ClaimPaid, events: &mut Events) -> Result<(), Rejection> {
    let owner = state.claims.owners.get(paid.lp as usize);
    let owner = *owner.ok_or(Rejection::AlreadyTaken)?;
    let given = known(state, owner)?.invoices.get(&paid.invoice);
    let given = given.ok_or(Rejection::AlreadyTaken)?;
    if paid.amount < given.amount {
        return Err(Rejection::BadFact("an invoice was paid in part"));
    }
    events.push(Event::Claim(ClaimEvent::InvoicePaid {
        owner,
        invoice: paid.invoice,
        amount: paid.amount,
    }));
    Ok(())
}

/// What ends a withdrawal, by whichever way: it counts once, for what has ended is not known any more [I11].
pub(super) fn sent(state: &State, id: EffectId, fee: Amount) -> Result<ClaimEvent, Rejection> {
    let owner = under_way(state, id)?;
    Ok(ClaimEvent::WithdrawalPaid { id, owner, fee })
}

pub(super) fn failed(state: &State, id: EffectId) -> Result<ClaimEvent, Rejection> {
    let owner = under_way(state, id)?;
    Ok(ClaimEvent::WithdrawalFailed { id, owner })
}

fn under_way(state: &State, id: EffectId) -> Result<Address, Rejection> {
    let withdrawal = state.claims.withdrawals.get(&id);
    withdrawal
        .map(|withdrawal| withdrawal.owner)
        .ok_or(Rejection::UnknownEffect)
}
