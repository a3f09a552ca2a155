//! One account: what it holds and how far it may go.

use crate::leg::Why;
use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::{Amount, AssetId};

/// How far an account may go either way; pending legs count against it, never for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Limits {
    /// `debits_posted + debits_pending - credits_posted` stays at or under this; zero: never below nothing.
    pub debit_balance_max: Amount,
    /// `credits_posted + credits_pending - debits_posted` stays at or under this.
    pub credit_balance_max: Amount,
}

impl Limits {
    /// May go any way: accounts that mirror a fact, such as reserves on a chain, profit and loss.
    pub const NONE: Self = Self {
        debit_balance_max: Amount::MAX,
        credit_balance_max: Amount::MAX,
    };
    /// May be credited without end, and debited down to nothing.
    pub const CREDIT_ONLY: Self = Self {
        debit_balance_max: Amount::ZERO,
        credit_balance_max: Amount::MAX,
    };
    /// May be debited without end, and credited back to nothing.
    pub const DEBIT_ONLY: Self = Self {
        debit_balance_max: Amount::MAX,
        credit_balance_max: Amount::ZERO,
    };
}

/// The net of what is posted on an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Balance {
    /// Credits exceed debits by this much, or equal them.
    Credit(Amount),
    /// Debits exceed credits by this much, which is not zero.
    Debit(Amount),
}

impl Balance {
    /// `credits - debits`, signed by its variant.
    #[must_use]
    pub const fn of(credits: Amount, debits: Amount) -> Self {
        match credits.checked_sub(debits) {
            Some(net) => Self::Credit(net),
            None => Self::Debit(debits.saturating_sub(credits)),
        }
    }

    /// The net credit; zero when debits exceed credits.
    #[must_use]
    pub const fn credit(self) -> Amount {
        match self {
            Self::Credit(amount) => amount,
            Self::Debit(_) => Amount::ZERO,
        }
    }

    /// The net debit; zero when credits exceed debits.
    #[must_use]
    pub const fn debit(self) -> Amount {
        match self {
            Self::Credit(_) => Amount::ZERO,
            Self::Debit(amount) => amount,
        }
    }
}

/// An account as it stands. Each side's posted and pending together always fit in an [`Amount`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
#[repr(align(64))]
pub struct Account {
    /// Debits that are final.
    pub debits_posted: Amount,
    /// Debits that a pending transfer may still post.
    pub debits_pending: Amount,
    /// Credits that are final.
    pub credits_posted: Amount,
    /// Credits that a pending transfer may still post.
    pub credits_pending: Amount,
    /// How far this account may go.
    pub limits: Limits,
    /// The asset that all of the above are amounts of.
    pub asset: AssetId,
}

impl Account {
    pub(crate) const fn open(asset: AssetId, limits: Limits) -> Self {
        Self {
            debits_posted: Amount::ZERO,
            debits_pending: Amount::ZERO,
            credits_posted: Amount::ZERO,
            credits_pending: Amount::ZERO,
            limits,
            asset,
        }
    }

    /// Posted credits less posted debits.
    #[must_use]
    pub const fn credit_balance(&self) -> Balance {
        Balance::of(self.credits_posted, self.debits_posted)
    }

    /// `debits_posted + debits_pending - credits_posted`, or zero when credits exceed them.
    #[must_use]
    pub const fn debit_exposure(&self) -> Amount {
        self.debits_all().saturating_sub(self.credits_posted)
    }

    /// `credits_posted + credits_pending - debits_posted`, or zero when debits exceed them.
    #[must_use]
    pub const fn credit_exposure(&self) -> Amount {
        self.credits_all().saturating_sub(self.debits_posted)
    }

    /// `debits_posted - credits_posted - credits_pending`, or zero when credits exceed it: what of a debit balance is left when every
    /// pending credit is posted.
    #[must_use]
    pub const fn debit_left(&self) -> Amount {
        self.debits_posted.saturating_sub(self.credits_all())
    }

    /// How much a pending or posted leg may still debit here.
    #[must_use]
    pub const fn debit_room(&self) -> Amount {
        room(
            self.debits_all(),
            self.credits_posted,
            self.limits.debit_balance_max,
        )
    }

    /// How much a pending or posted leg may still credit here.
    #[must_use]
    pub const fn credit_room(&self) -> Amount {
        room(
            self.credits_all(),
            self.debits_posted,
            self.limits.credit_balance_max,
        )
    }

    /// Debits posted and pending.
    #[inline]
    const fn debits_all(&self) -> Amount {
        self.debits_posted.saturating_add(self.debits_pending)
    }

    /// Credits posted and pending.
    #[inline]
    const fn credits_all(&self) -> Amount {
        self.credits_posted.saturating_add(self.credits_pending)
    }

    /// Judges one more debit after `debited` and `credited`, which earlier legs of the same list have done here.
    #[inline]
    pub(crate) fn check_debit(
        &self,
        amount: Amount,
        debited: Amount,
        credited: Amount,
    ) -> Result<(), Why> {
        let side = self.debits_all().saturating_add(debited);
        #[cfg(feature = "planted-bugs")]
        let side =
            if forebay_quantity::planted::is(forebay_quantity::planted::Bug::PendingForgotten) {
                self.debits_posted.saturating_add(debited)
            } else {
                side
            };
        let opposite = self.credits_posted.saturating_add(credited);
        let max = self.limits.debit_balance_max;
        match admit(side, opposite, amount, max) {
            Admission::Fits => Ok(()),
            Admission::Overflow => Err(Why::Overflow),
            Admission::PassesLimit => Err(Why::DebitLimit {
                amount,
                available: room(side, opposite, max),
                max,
            }),
        }
    }

    /// Judges one more credit after `credited` and `debited`, which earlier legs of the same list have done here.
    #[inline]
    pub(crate) fn check_credit(
        &self,
        amount: Amount,
        credited: Amount,
        debited: Amount,
    ) -> Result<(), Why> {
        let side = self.credits_all().saturating_add(credited);
        let opposite = self.debits_posted.saturating_add(debited);
        let max = self.limits.credit_balance_max;
        match admit(side, opposite, amount, max) {
            Admission::Fits => Ok(()),
            Admission::Overflow => Err(Why::Overflow),
            Admission::PassesLimit => Err(Why::CreditLimit {
                amount,
                available: room(side, opposite, max),
                max,
            }),
        }
    }
}

enum Admission {
    Fits,
    Overflow,
    PassesLimit,
}

/// The whole rule of limits: `side + amount - opposite <= max`, without going below zero on the way.
#[inline]
const fn admit(side: Amount, opposite: Amount, amount: Amount, max: Amount) -> Admission {
    let Some(reached) = side.checked_add(amount) else {
        return Admission::Overflow;
    };
    if reached.value() > opposite.saturating_add(max).value() {
        return Admission::PassesLimit;
    }
    Admission::Fits
}

/// The largest amount that [`admit`] lets through.
const fn room(side: Amount, opposite: Amount, max: Amount) -> Amount {
    opposite.saturating_add(max).saturating_sub(side)
}
