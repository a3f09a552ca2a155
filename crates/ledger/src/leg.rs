//! Legs, lists of them, and why one is refused.

use borsh::{BorshDeserialize, BorshSerialize, io};
use core::fmt;
use forebay_quantity::{AccountId, Amount, AssetId};

/// The most legs of one list: a packet across assets takes one in, one out and one for its fee; the rest is spare.
pub const LEGS_MAX: usize = 6;

/// One movement: `amount` out of `debit`'s favour into `credit`'s, both in the same asset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Leg {
    /// The account debited.
    pub debit: AccountId,
    /// The account credited, never the same.
    pub credit: AccountId,
    /// How much, never zero.
    pub amount: Amount,
}

/// The first leg of a list that cannot be, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LegRefusal {
    /// Which leg of the list, from zero.
    pub leg: usize,
    /// The account at fault.
    pub account: AccountId,
    /// What is wrong with it.
    pub why: Why,
}

/// Why a leg is refused, in order of precedence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The amount is zero.
    Zero,
    /// One account is both debited and credited.
    SameAccount,
    /// No such account was opened.
    UnknownAccount,
    /// The account credited holds another asset than the one debited.
    AssetMismatch {
        /// The asset of the account debited.
        debit: AssetId,
        /// The asset of the account credited.
        credit: AssetId,
    },
    /// The account's debits or credits would pass 2^128 - 1.
    Overflow,
    /// The debit balance, pending counted, would pass its limit.
    DebitLimit {
        /// What the leg asks.
        amount: Amount,
        /// What it could have asked at most.
        available: Amount,
        /// The account's `debit_balance_max`.
        max: Amount,
    },
    /// The credit balance, pending counted, would pass its limit.
    CreditLimit {
        /// What the leg asks.
        amount: Amount,
        /// What it could have asked at most.
        available: Amount,
        /// The account's `credit_balance_max`.
        max: Amount,
    },
}

impl fmt::Display for LegRefusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "leg {} on account {}: ", self.leg, self.account)?;
        match self.why {
            Why::Zero => write!(out, "the amount is zero"),
            Why::SameAccount => write!(out, "debit and credit are the same account"),
            Why::UnknownAccount => write!(out, "no such account"),
            Why::AssetMismatch { debit, credit } => {
                write!(
                    out,
                    "debits asset {debit} but the account holds asset {credit}"
                )
            }
            Why::Overflow => write!(out, "the account's total would pass 2^128 - 1"),
            Why::DebitLimit {
                amount,
                available,
                max,
            } => write!(
                out,
                "a debit of {amount} exceeds the {available} left of its debit limit {max}"
            ),
            Why::CreditLimit {
                amount,
                available,
                max,
            } => write!(
                out,
                "a credit of {amount} exceeds the {available} left of its credit limit {max}"
            ),
        }
    }
}

impl core::error::Error for LegRefusal {}

/// A list of legs kept in place, so that pending them allocates nothing.
#[derive(Clone, Copy)]
pub(crate) struct LegList {
    count: u8,
    legs: [Leg; LEGS_MAX],
}

const NO_LEG: Leg = Leg {
    debit: AccountId(0),
    credit: AccountId(0),
    amount: Amount::ZERO,
};

impl LegList {
    pub(crate) const EMPTY: Self = Self {
        count: 0,
        legs: [NO_LEG; LEGS_MAX],
    };

    #[inline]
    pub(crate) fn fill(&mut self, legs: &[Leg]) {
        self.legs[..legs.len()].copy_from_slice(legs);
        self.count = u8::try_from(legs.len()).expect("at most LEGS_MAX legs fit the array above");
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[Leg] {
        &self.legs[..usize::from(self.count)]
    }
}

// What lies beyond `count` is no part of the state: two lists of the same legs are equal and encode alike.
impl PartialEq for LegList {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for LegList {}

impl fmt::Debug for LegList {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(out)
    }
}

impl BorshSerialize for LegList {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        self.count.serialize(writer)?;
        for leg in self.as_slice() {
            leg.serialize(writer)?;
        }
        Ok(())
    }
}

impl BorshDeserialize for LegList {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let count = u8::deserialize_reader(reader)?;
        let mut list = Self::EMPTY;
        list.count = count;
        let Some(legs) = list.legs.get_mut(..usize::from(count)) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a list of more than LEGS_MAX legs",
            ));
        };
        for leg in legs {
            *leg = Leg::deserialize_reader(reader)?;
        }
        Ok(list)
    }
}
