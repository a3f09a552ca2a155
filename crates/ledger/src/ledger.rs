//! The ledger: opens accounts, judges lists of legs, and moves them through pending to posted or void.

use crate::account::{Account, Limits};
use crate::leg::{LEGS_MAX, Leg, LegRefusal, Why};
use crate::transfer::{TransferId, Transfers};
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::{AccountId, Amount, AssetId};

/// The most accounts of one ledger: sixteen million of 128 bytes are 2 GiB.
pub const ACCOUNTS_MAX: u32 = 1 << 24;

/// All accounts and all pending transfers of one pool.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Ledger {
    pub(crate) accounts: Vec<Account>,
    pub(crate) transfers: Transfers,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger {
    /// A ledger without accounts.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(0, 0)
    }

    /// A ledger without accounts, with memory set aside for this many accounts and pending transfers.
    #[must_use]
    pub fn with_capacity(accounts: usize, transfers: usize) -> Self {
        Self {
            accounts: Vec::with_capacity(accounts),
            transfers: Transfers::with_capacity(transfers),
        }
    }

    /// Opens an account; ids are dense and count up from zero.
    pub fn open(&mut self, asset: AssetId, limits: Limits) -> AccountId {
        let id = self.next_account();
        assert!(
            id.value() < ACCOUNTS_MAX,
            "[I12] more than {ACCOUNTS_MAX} accounts"
        );
        self.accounts.push(Account::open(asset, limits));
        id
    }

    /// The id that the next [`Ledger::open`] gives.
    #[must_use]
    pub fn next_account(&self) -> AccountId {
        AccountId(u32::try_from(self.accounts.len()).expect("ACCOUNTS_MAX accounts at most"))
    }

    /// Changes how far an account may go. What stands beyond a lower limit stays; nothing may be added to it.
    pub fn set_limits(&mut self, id: AccountId, limits: Limits) {
        self.accounts[id.index()].limits = limits;
    }

    /// The account, which must have been opened.
    #[inline]
    #[must_use]
    pub fn account(&self, id: AccountId) -> &Account {
        &self.accounts[id.index()]
    }

    /// The account, or `None` when it was never opened.
    #[inline]
    #[must_use]
    pub fn find_account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(id.index())
    }

    /// All accounts by id.
    pub fn accounts(&self) -> impl Iterator<Item = (AccountId, &Account)> {
        (0..).map(AccountId).zip(&self.accounts)
    }

    /// Judges `legs` as [`Ledger::pend`] would take them: each sees the ones before it, and what they would
    /// credit is still pending, so it pays for nothing.
    ///
    /// # Errors
    /// The first leg that cannot be, and why.
    #[inline]
    pub fn check(&self, legs: &[Leg]) -> Result<(), LegRefusal> {
        self.check_legs(legs, Effect::Pends)
    }

    /// Judges `legs` as [`Ledger::post`] would take them: each sees the ones before it, credits included.
    ///
    /// # Errors
    /// The first leg that cannot be, and why.
    #[inline]
    pub fn check_post(&self, legs: &[Leg]) -> Result<(), LegRefusal> {
        self.check_legs(legs, Effect::Posts)
    }

    /// Pends `legs` together under one id; an empty list is one too (an ILP packet may carry nothing).
    ///
    /// Halts on legs that [`Ledger::check`] refuses, or more than [`LEGS_MAX`] of them.
    #[inline]
    pub fn pend(&mut self, legs: &[Leg]) -> TransferId {
        assert!(legs.len() <= LEGS_MAX, "[I12] more than {LEGS_MAX} legs");
        for leg in legs {
            self.assert_leg(leg);
            let debit = &mut self.accounts[leg.debit.index()];
            debit.debits_pending = grow(debit.debits_pending, leg.amount);
            let credit = &mut self.accounts[leg.credit.index()];
            credit.credits_pending = grow(credit.credits_pending, leg.amount);
        }
        self.transfers.insert(legs)
    }

    /// Posts a pending transfer; halts unless it is pending [I3].
    #[inline]
    pub fn post_pending(&mut self, id: TransferId) {
        for leg in self.transfers.legs(id) {
            let debit = &mut self.accounts[leg.debit.index()];
            debit.debits_pending = shrink(debit.debits_pending, leg.amount);
            debit.debits_posted = grow(debit.debits_posted, leg.amount);
            let credit = &mut self.accounts[leg.credit.index()];
            credit.credits_pending = shrink(credit.credits_pending, leg.amount);
            #[cfg(feature = "planted-bugs")]
            if forebay_quantity::planted::is(forebay_quantity::planted::Bug::LegUncredited) {
                continue;
            }
            credit.credits_posted = grow(credit.credits_posted, leg.amount);
        }
        self.transfers.free(id); // [I3]
    }

    /// Voids a pending transfer; halts unless it is pending [I3].
    #[inline]
    pub fn void(&mut self, id: TransferId) {
        for leg in self.transfers.legs(id) {
            let debit = &mut self.accounts[leg.debit.index()];
            debit.debits_pending = shrink(debit.debits_pending, leg.amount);
            let credit = &mut self.accounts[leg.credit.index()];
            credit.credits_pending = shrink(credit.credits_pending, leg.amount);
        }
        self.transfers.free(id); // [I3]
    }

    /// Posts `legs` at once; halts on legs that [`Ledger::check_post`] refuses, or more than [`LEGS_MAX`].
    #[inline]
    pub fn post(&mut self, legs: &[Leg]) {
        assert!(legs.len() <= LEGS_MAX, "[I12] more than {LEGS_MAX} legs");
        for leg in legs {
            self.assert_leg(leg);
            let debit = &mut self.accounts[leg.debit.index()];
            debit.debits_posted = grow(debit.debits_posted, leg.amount);
            let credit = &mut self.accounts[leg.credit.index()];
            credit.credits_posted = grow(credit.credits_posted, leg.amount);
        }
    }

    /// The legs of a pending transfer; `None` when it was resolved or never was.
    #[must_use]
    pub fn pending(&self, id: TransferId) -> Option<&[Leg]> {
        self.transfers.find(id)
    }

    /// All pending transfers, by slot.
    pub fn pending_all(&self) -> impl Iterator<Item = (TransferId, &[Leg])> {
        self.transfers.iter()
    }

    /// How many transfers are pending.
    #[must_use]
    pub fn pending_count(&self) -> u32 {
        self.transfers.pending_count()
    }

    /// The id that the next [`Ledger::pend`] gives, so that an event can name it before it takes effect.
    #[must_use]
    pub fn next_transfer(&self) -> TransferId {
        self.transfers.next_id()
    }

    #[inline]
    fn check_legs(&self, legs: &[Leg], effect: Effect) -> Result<(), LegRefusal> {
        for (at, leg) in legs.iter().enumerate() {
            self.check_leg(&legs[..at], leg, effect)
                .map_err(|(account, why)| LegRefusal {
                    leg: at,
                    account,
                    why,
                })?;
        }
        Ok(())
    }

    /// Judges one leg as if `before` had taken effect. The list itself is the overlay: it is at most
    /// [`LEGS_MAX`] long, so summing what it does to an account is cheaper than keeping a copy.
    #[inline]
    fn check_leg(&self, before: &[Leg], leg: &Leg, effect: Effect) -> Result<(), (AccountId, Why)> {
        if leg.amount.is_zero() {
            return Err((leg.debit, Why::Zero));
        }
        if leg.debit == leg.credit {
            return Err((leg.debit, Why::SameAccount));
        }
        let Some(debit) = self.find_account(leg.debit) else {
            return Err((leg.debit, Why::UnknownAccount));
        };
        let Some(credit) = self.find_account(leg.credit) else {
            return Err((leg.credit, Why::UnknownAccount));
        };
        if debit.asset != credit.asset {
            let why = Why::AssetMismatch {
                debit: debit.asset,
                credit: credit.asset,
            };
            return Err((leg.credit, why));
        }
        let (debited, credited) = overlay(before, leg.debit);
        let counted = effect.counted(credited);
        debit
            .check_debit(leg.amount, debited, counted)
            .map_err(|why| (leg.debit, why))?;
        let (debited, credited) = overlay(before, leg.credit);
        let counted = effect.counted(debited);
        credit
            .check_credit(leg.amount, credited, counted)
            .map_err(|why| (leg.credit, why))
    }

    #[inline]
    fn assert_leg(&self, leg: &Leg) {
        // [I1] One asset on both sides; [I2] no limit is passed, pending counted.
        if let Err((account, why)) = self.check_leg(&[], leg, Effect::Pends) {
            refuse_applied(account, why);
        }
    }
}

#[derive(Clone, Copy)]
enum Effect {
    Pends,
    Posts,
}

impl Effect {
    /// What earlier legs have done on the opposite side counts only once it is posted.
    #[inline]
    const fn counted(self, opposite: Amount) -> Amount {
        match self {
            Self::Pends => Amount::ZERO,
            Self::Posts => opposite,
        }
    }
}

/// What `legs` debit and credit on one account.
#[inline]
fn overlay(legs: &[Leg], account: AccountId) -> (Amount, Amount) {
    let mut debited = Amount::ZERO;
    let mut credited = Amount::ZERO;
    for leg in legs {
        if leg.debit == account {
            debited = debited.saturating_add(leg.amount);
        }
        if leg.credit == account {
            credited = credited.saturating_add(leg.amount);
        }
    }
    (debited, credited)
}

#[cold]
fn refuse_applied(account: AccountId, why: Why) -> ! {
    match why {
        Why::AssetMismatch { .. } | Why::SameAccount => {
            panic!("[I1] a leg on account {account} cannot balance: {why:?}")
        }
        Why::DebitLimit { .. } | Why::CreditLimit { .. } => {
            panic!("[I2] a leg on account {account} passes its limit: {why:?}")
        }
        Why::Zero | Why::UnknownAccount | Why::Overflow => {
            panic!("[I1] a leg on account {account} was never checked: {why:?}")
        }
    }
}

#[inline]
fn grow(amount: Amount, by: Amount) -> Amount {
    amount
        .checked_add(by)
        .expect("posted and pending together fit: a leg is refused otherwise")
}

#[inline]
fn shrink(amount: Amount, by: Amount) -> Amount {
    amount
        .checked_sub(by)
        .expect("[I3] every pending leg is in the pending totals until it resolves")
}
