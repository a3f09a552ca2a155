//! LPs on Bitcoin: addresses and invoices that they pay in by, and what they take out.

use std::str::FromStr;

use forebay_api::{
    Address as PayAddress, BitcoinLp, Invoice, NewAddress, NewInvoice, ProblemKind, Role,
    SetPayout, Withdraw, Withdrawal as WithdrawalView,
};
use forebay_chain_bitcoin::{Network, address_of};
use forebay_channel::Address;
use forebay_market::Index;
use forebay_pool::{Admin, ClaimOrder, Lp, Payout, State, Way, Withdrawal};
use forebay_quantity::{Amount, CommandId, EffectId};

use super::Office;
use super::bitcoin::lightning;
use super::page::{Asked, Page};
use super::problem::No;
use super::tokens::Caller;
use super::write::instruct;
use crate::lightning::{InvoiceAsked, Lightning, invoice_id};

/// The LP that a path names, unless the caller is another.
pub(super) fn own(caller: &Caller, text: &str) -> Result<Address, No> {
    let owner = Address::from_str(text)
        .map_err(|error| No::new(ProblemKind::BadRequest, format!("{text}: {error}")))?;
    let is_other = caller.token.role == Role::Lp && caller_owner(caller) != Some(owner);
    if is_other {
        let text = "an `lp` token is good for its own LP alone";
        return Err(No::new(ProblemKind::Forbidden, text));
    }
    Ok(owner)
}

fn caller_owner(caller: &Caller) -> Option<Address> {
    caller
        .owner()
        .and_then(|owner| Address::from_str(owner).ok())
}

pub(super) async fn address(
    office: &Office,
    caller: &Caller,
    key: CommandId,
    asked: NewAddress,
) -> Result<PayAddress, No> {
    let lightning = lightning(office)?;
    let owner = match (asked.lp, asked.payout) {
        (Some(_), Some(_)) => {
            let text = "name the LP either by lp or by payout";
            return Err(No::new(ProblemKind::BadRequest, text));
        }
        (Some(lp), None) => Some(own(caller, &lp)?),
        (None, Some(payout)) => {
            let payout = script_at(lightning, &payout)?;
            Some(paid_at(office, caller, key, payout).await?)
        }
        (None, None) => caller_owner(caller),
    };
    let number = match owner {
        Some(owner) => Some(numbered(office, owner).await?),
        None => None,
    };
    Ok(PayAddress {
        address: lightning.new_address(number)?,
        owner: owner.map(|owner| owner.to_string()),
    })
}

/// The LP that is paid at a script; the operator makes one known where there is none.
async fn paid_at(
    office: &Office,
    caller: &Caller,
    key: CommandId,
    payout: Vec<u8>,
) -> Result<Address, No> {
    let script = payout.clone();
    let known = office.core.query(move |state| state.lp_paid_at(&script));
    if let Some(owner) = known.await? {
        return own(caller, &owner.to_string());
    }
    if caller.token.role != Role::Operator {
        let text = "no LP is paid there: the operator makes LPs known";
        return Err(No::new(ProblemKind::Forbidden, text));
    }
    let script = payout.clone();
    let order = ClaimOrder::Add { payout };
    instruct(office, key, Admin::Claim(order)).await?;
    let known = office.core.query(move |state| state.lp_paid_at(&script));
    known.await?.ok_or_else(|| unknown("it"))
}

fn script_at(lightning: &Lightning, address: &str) -> Result<Vec<u8>, No> {
    let script = lightning.payout_script(address);
    script.map_err(|fault| No::new(ProblemKind::BadRequest, fault.to_string()))
}

async fn numbered(office: &Office, owner: Address) -> Result<u32, No> {
    let known = office
        .core
        .query(move |state| state.lp_on_bitcoin(owner).map(|lp| lp.number));
    known.await?.ok_or_else(|| unknown(&owner.to_string()))
}

fn unknown(owner: &str) -> No {
    let text =
        format!("{owner} is no LP on Bitcoin: list them, or ask for an address to pay in at");
    No::new(ProblemKind::NotFound, text)
}

pub(super) async fn all(
    office: &Office,
    caller: &Caller,
    asked: Asked,
) -> Result<Page<BitcoinLp>, No> {
    let network = lightning(office)?.network();
    let after = asked.after.as_deref().map(place);
    let after = after.transpose()?;
    let (own, may_see_all) = (caller_owner(caller), caller.sees_all());
    let page = office.core.query(move |state| {
        let all = state
            .lps_on_bitcoin()
            .filter(|(owner, _)| after.is_none_or(|after| *owner > after))
            .filter(|(owner, _)| may_see_all || own == Some(*owner))
            .map(|(owner, lp)| (owner, view(state, network, owner, lp)));
        Page::of(all, asked.limit)
    });
    Ok(page.await?)
}

fn place(text: &str) -> Result<Address, No> {
    Address::from_str(text).map_err(|_| {
        No::new(
            ProblemKind::BadRequest,
            "after is what the last page's Link said",
        )
    })
}

pub(super) async fn set_payout(
    office: &Office,
    key: CommandId,
    owner: Address,
    asked: SetPayout,
) -> Result<BitcoinLp, No> {
    let payout = script_at(lightning(office)?, &asked.payout)?;
    let order = ClaimOrder::SetPayout { owner, payout };
    instruct(office, key, Admin::Claim(order)).await?;
    show(office, owner).await
}

pub(super) async fn withdraw(
    office: &Office,
    (caller, key): (&Caller, CommandId),
    owner: Address,
    asked: Withdraw,
) -> Result<BitcoinLp, No> {
    match (asked.amount, asked.invoice) {
        (Some(_), Some(_)) => {
            let text = "an invoice names its own amount: leave amount out";
            return Err(No::new(ProblemKind::BadRequest, text));
        }
        (_, Some(_)) if caller_owner(caller) != Some(owner) => {
            let text = "only the LP's own token names an invoice: it may be anybody's";
            return Err(No::new(ProblemKind::Forbidden, text));
        }
        (None, Some(invoice)) => by_invoice(office, key, owner, invoice).await?,
        (amount, None) => by_output(office, key, owner, amount.map(|units| units.0)).await?,
    }
    show(office, owner).await
}

async fn by_output(
    office: &Office,
    key: CommandId,
    owner: Address,
    amount: Option<Amount>,
) -> Result<(), No> {
    let payout = office
        .core
        .query(move |state| state.lp_on_bitcoin(owner).map(|lp| lp.payout.clone()));
    let payout = payout.await?.ok_or_else(|| unknown(&owner.to_string()))?;
    let cost = lightning(office)?.output_cost(&payout).await?;
    let way = Way::OnChain { amount, cost };
    let order = ClaimOrder::Withdraw { owner, way };
    instruct(office, key, Admin::Claim(order)).await
}

async fn by_invoice(
    office: &Office,
    key: CommandId,
    owner: Address,
    invoice: String,
) -> Result<(), No> {
    let lightning = lightning(office)?;
    let terms = lightning.read_lp_invoice(&invoice);
    let terms = terms.map_err(|why| No::new(ProblemKind::BadRequest, why))?;
    let way = Way::Lightning(terms);
    let order = Admin::Claim(ClaimOrder::Withdraw { owner, way });
    let paid = instruct(office, key, order);
    lightning.with_invoice(terms.hash, invoice, paid).await
}

pub(super) async fn invoice(
    office: &Office,
    key: CommandId,
    owner: Address,
    asked: NewInvoice,
) -> Result<Invoice, No> {
    let lightning = lightning(office)?;
    let lp = numbered(office, owner).await?;
    let (invoice, amount) = (invoice_id(owner, key), asked.amount.0);
    let order = ClaimOrder::GiveInvoice {
        owner,
        invoice,
        amount,
    };
    instruct(office, key, Admin::Claim(order)).await?;
    let asked = InvoiceAsked {
        lp,
        invoice,
        amount,
    };
    let made = lightning.lp_invoice(asked).await;
    let invoice = made.map_err(|why| No::new(ProblemKind::Rejected, why))?;
    Ok(Invoice { invoice })
}

async fn show(office: &Office, owner: Address) -> Result<BitcoinLp, No> {
    let network = lightning(office)?.network();
    let found = office.core.query(move |state| {
        let lp = state.lp_on_bitcoin(owner)?;
        Some(view(state, network, owner, lp))
    });
    found.await?.ok_or_else(|| unknown(&owner.to_string()))
}

fn view(state: &State, network: Network, owner: Address, lp: &Lp) -> BitcoinLp {
    let asset = state.asset_on_bitcoin().and_then(|id| state.asset(id));
    let worth = asset.and_then(|asset| {
        let held = asset.vault.holders.get(&owner)?;
        Index(asset.vault.index).claim_floor(held.units)
    });
    let under_way = state.withdrawals();
    BitcoinLp {
        owner: owner.to_string(),
        payout: written(&lp.payout, network),
        worth: worth.unwrap_or(Amount::ZERO).into(),
        withdrawn: lp.withdrawn.into(),
        withdrawals: under_way
            .filter(|(_, withdrawal)| withdrawal.owner == owner)
            .map(|(id, withdrawal)| withdrawal_view(id, withdrawal, network))
            .collect(),
    }
}

fn withdrawal_view(id: EffectId, withdrawal: &Withdrawal, network: Network) -> WithdrawalView {
    let (address, payment_hash) = match &withdrawal.payout {
        Payout::Output(script) => (Some(written(script, network)), None),
        Payout::Invoice(hash) => (None, Some(hash.to_string())),
    };
    WithdrawalView {
        number: id.0,
        amount: withdrawal.amount.into(),
        fee_max: withdrawal.fee_max.into(),
        address,
        payment_hash,
    }
}

fn written(script: &[u8], network: Network) -> String {
    address_of(script, network).unwrap_or_else(|| hex::encode(script))
}
