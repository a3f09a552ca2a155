//! What happened to claims on Bitcoin, said.

use forebay_pool::{ClaimEvent, Payout};
use forebay_quantity::Amount;

use super::words::{Said, of_pool};

pub(super) fn claim(happened: &ClaimEvent) -> Said {
    let msat = |amount: &Amount| format!("{amount} msat");
    let (kind, text) = match happened {
        ClaimEvent::LpAdded { .. } => ("lp-added", "an LP on Bitcoin is known".into()),
        ClaimEvent::PayoutSet { .. } => ("payout-set", "is paid at another address now".into()),
        ClaimEvent::WithdrawalBegun {
            id,
            amount,
            fee_max,
            payout,
            ..
        } => {
            let by = match payout {
                Payout::Output(_) => "by an output".to_owned(),
                Payout::Invoice(hash) => format!("by the invoice with payment hash {hash}"),
            };
            let text = format!(
                "withdrawal {id}: is paid {} {by}; the way costs {} at most",
                msat(amount),
                msat(fee_max)
            );
            ("withdrawal-begun", text)
        }
        ClaimEvent::WithdrawalPaid { id, fee, .. } => (
            "withdrawal-paid",
            format!("withdrawal {id} arrived; the way cost {}", msat(fee)),
        ),
        ClaimEvent::WithdrawalFailed { id, .. } => (
            "withdrawal-failed",
            format!("withdrawal {id} failed for certain: its notes are back"),
        ),
        ClaimEvent::InvoiceGiven { amount, .. } => {
            ("lp-invoice-given", format!("may pay in {}", msat(amount)))
        }
        ClaimEvent::InvoicePaid { amount, .. } => {
            ("lp-invoice-paid", format!("paid in {}", msat(amount)))
        }
    };
    Said {
        owner: Some(happened.owner()),
        ..of_pool(kind, text)
    }
}
