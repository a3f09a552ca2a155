//! What the pool knows of its LPs on Bitcoin, and of withdrawals under way.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_channel::Address;
use forebay_ledger::TransferId;
use forebay_quantity::{Amount, EffectId};

use super::lightning::GivenInvoice;
use crate::claim::{InvoiceId, Payout, Script, WithdrawalEffect};

/// An LP on Bitcoin; its notes are among the asset's holders.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Lp {
    /// In the order in which they came, from 0: what its addresses and invoices are labelled with.
    pub number: u32,
    /// Where it is paid.
    pub payout: Script,
    /// All that it was paid, in millisatoshi.
    pub withdrawn: Amount,
    /// Invoices that may still be paid.
    pub(crate) invoices: BTreeMap<InvoiceId, GivenInvoice>,
}

/// A withdrawal under way, in millisatoshi.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Withdrawal {
    /// Whose.
    pub owner: Address,
    /// What arrives.
    pub amount: Amount,
    /// The most that miners or routing are paid from the claim.
    pub fee_max: Amount,
    /// How it is paid.
    pub payout: Payout,
    /// What had been paid in for its units.
    pub(crate) paid_in: Amount,
    /// The pending leg; none when it came to less than a unit of the books.
    pub(crate) transfer: Option<TransferId>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Claims {
    pub(crate) lps: BTreeMap<Address, Lp>,
    /// Their addresses in the books, by number.
    pub(crate) owners: Vec<Address>,
    pub(crate) withdrawals: BTreeMap<EffectId, Withdrawal>,
}

impl Claims {
    pub(crate) fn paid_at(&self, payout: &[u8]) -> Option<Address> {
        let mut all = self.lps.iter();
        all.find(|(_, lp)| lp.payout == payout)
            .map(|(owner, _)| *owner)
    }

    /// What withdrawals under way take with them at most.
    pub(crate) fn leaving(&self) -> Amount {
        let all = self.withdrawals.values();
        all.fold(Amount::ZERO, |sum, withdrawal| {
            let most = withdrawal.amount.saturating_add(withdrawal.fee_max);
            sum.saturating_add(most)
        })
    }

    pub(crate) fn outstanding(&self) -> impl Iterator<Item = WithdrawalEffect> + '_ {
        self.withdrawals
            .iter()
            .map(|(id, withdrawal)| WithdrawalEffect {
                id: *id,
                amount: withdrawal.amount,
                payout: withdrawal.payout.clone(),
            })
    }
}
