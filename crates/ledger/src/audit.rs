//! The whole ledger added up, to find what no single leg shows.

use crate::ledger::Ledger;
use alloc::{collections::BTreeMap, vec::Vec};
use core::fmt;
use forebay_quantity::{AccountId, Amount, AssetId};

/// The sums of one asset over all its accounts.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Totals {
    /// Debits that are final.
    pub debits_posted: Amount,
    /// Debits of pending transfers.
    pub debits_pending: Amount,
    /// Credits that are final.
    pub credits_posted: Amount,
    /// Credits of pending transfers.
    pub credits_pending: Amount,
}

/// How a ledger fails to add up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unbalanced {
    /// An asset's debits differ from its credits, posted or pending.
    Asset {
        /// The asset.
        asset: AssetId,
        /// Its sums.
        totals: Totals,
    },
    /// An asset's sums pass 2^128 - 1, so they cannot be compared.
    Overflow(AssetId),
    /// An account's pending columns differ from the legs of the transfers pending on it.
    Pending(AccountId),
}

impl fmt::Display for Unbalanced {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asset { asset, totals } => {
                write!(out, "[I1] asset {asset} does not balance: {totals:?}")
            }
            Self::Overflow(asset) => write!(out, "[I1] the sums of asset {asset} pass 2^128 - 1"),
            Self::Pending(account) => write!(
                out,
                "[I3] account {account} has pending columns that no pending transfer explains"
            ),
        }
    }
}

impl core::error::Error for Unbalanced {}

impl Ledger {
    /// One asset's sums over all accounts; `None` past [`Amount::MAX`]. Walks every account.
    #[must_use]
    pub fn totals(&self, asset: AssetId) -> Option<Totals> {
        let mut totals = Totals::default();
        for (_, account) in self.accounts() {
            if account.asset == asset {
                add(&mut totals.debits_posted, account.debits_posted)?;
                add(&mut totals.debits_pending, account.debits_pending)?;
                add(&mut totals.credits_posted, account.credits_posted)?;
                add(&mut totals.credits_pending, account.credits_pending)?;
            }
        }
        Some(totals)
    }

    /// Adds everything up: per asset debits equal credits, posted and pending [I1], and each account's pending
    /// columns are the legs pending on it [I3]. Walks every account and transfer.
    ///
    /// # Errors
    /// The first thing that does not add up.
    pub fn check_balanced(&self) -> Result<(), Unbalanced> {
        self.check_assets()?;
        self.check_pending()
    }

    fn check_assets(&self) -> Result<(), Unbalanced> {
        let assets: BTreeMap<AssetId, ()> = self
            .accounts()
            .map(|(_, account)| (account.asset, ()))
            .collect();
        for &asset in assets.keys() {
            let totals = self.totals(asset).ok_or(Unbalanced::Overflow(asset))?;
            let posted = totals.debits_posted == totals.credits_posted;
            let pending = totals.debits_pending == totals.credits_pending;
            if !posted || !pending {
                return Err(Unbalanced::Asset { asset, totals }); // [I1]
            }
        }
        Ok(())
    }

    fn check_pending(&self) -> Result<(), Unbalanced> {
        let mut expected: Vec<(Amount, Amount)> = self
            .accounts()
            .map(|(_, account)| (account.debits_pending, account.credits_pending))
            .collect();
        for leg in self.pending_all().flat_map(|(_, legs)| legs) {
            take(&mut expected, leg.debit, leg.amount, Amount::ZERO)?;
            take(&mut expected, leg.credit, Amount::ZERO, leg.amount)?;
        }
        let left = expected
            .iter()
            .position(|&columns| columns != (Amount::ZERO, Amount::ZERO));
        match left {
            Some(at) => Err(Unbalanced::Pending(id_at(at))), // [I3]
            None => Ok(()),
        }
    }
}

fn add(total: &mut Amount, amount: Amount) -> Option<()> {
    *total = total.checked_add(amount)?;
    Some(())
}

fn take(
    columns: &mut [(Amount, Amount)],
    account: AccountId,
    debit: Amount,
    credit: Amount,
) -> Result<(), Unbalanced> {
    let refusal = Unbalanced::Pending(account);
    let column = columns.get_mut(account.index()).ok_or(refusal)?;
    column.0 = column.0.checked_sub(debit).ok_or(refusal)?;
    column.1 = column.1.checked_sub(credit).ok_or(refusal)?;
    Ok(())
}

fn id_at(index: usize) -> AccountId {
    AccountId(u32::try_from(index).expect("ACCOUNTS_MAX accounts at most"))
}
