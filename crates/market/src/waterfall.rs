//! Who bears a loss, and who pays the rate of notes: fee buffer, then shares, then notes pro rata.

use crate::notes::Index;
use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::Amount;

/// All notes of one vault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Notes {
    /// Units out.
    pub units: Amount,
    /// What each is worth.
    pub index: Index,
}

impl Notes {
    /// What all units claim together, rounded up; [`Amount::MAX`] past that.
    #[must_use]
    pub fn claims_ceil(&self) -> Amount {
        self.index.claim_ceil(self.units).unwrap_or(Amount::MAX)
    }

    /// What raising the index to `target` costs: all claims then less all claims now; zero for a lower target.
    #[must_use]
    pub fn due_for(&self, target: Index) -> Amount {
        let raised = Self {
            index: target,
            ..*self
        };
        raised.claims_ceil().saturating_sub(self.claims_ceil())
    }
}

/// How a loss falls; the four parts add up to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct LossSplit {
    /// Taken from the fee buffer, first.
    pub from_fee_buffer: Amount,
    /// Taken from shares, second.
    pub from_shares: Amount,
    /// Taken from notes, last.
    pub from_notes: Amount,
    /// What nobody is left to bear.
    pub uncovered: Amount,
    /// The notes' index after it, rounded down.
    pub index_after: Index,
}

/// Splits a loss in the one order there is: fee buffer, shares, notes pro rata.
#[must_use]
pub fn waterfall(loss: Amount, fee_buffer: Amount, shares: Amount, notes: Notes) -> LossSplit {
    let (from_fee_buffer, left) = take(loss, fee_buffer);
    let (from_shares, left) = take(left, shares);
    let claims = notes.claims_ceil();
    let (from_notes, uncovered) = take(left, claims);
    LossSplit {
        from_fee_buffer,
        from_shares,
        from_notes,
        uncovered,
        index_after: marked_down(notes.index, claims, from_notes),
    }
}

/// How the rate of notes is paid; the three parts add up to what was due.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct NoteRate {
    /// Paid from released fees, first.
    pub from_fees: Amount,
    /// Paid from shares, second.
    pub from_shares: Amount,
    /// What stays unpaid for good: the rate stops with fees and shares.
    pub unpaid: Amount,
    /// The notes' index after it, rounded down.
    pub index_after: Index,
}

/// Pays what is due to notes from released fees, then from shares, and no further; without units nobody is paid.
#[must_use]
pub fn pay_note_rate(due: Amount, fees: Amount, shares: Amount, notes: Notes) -> NoteRate {
    let (from_fees, left) = take(due, fees);
    let (from_shares, unpaid) = take(left, shares);
    let paid = from_fees.saturating_add(from_shares);
    let Some(index_after) = notes.index.raised_floor(paid, notes.units) else {
        return NoteRate {
            from_fees: Amount::ZERO,
            from_shares: Amount::ZERO,
            unpaid: due,
            index_after: notes.index,
        };
    };
    NoteRate {
        from_fees,
        from_shares,
        unpaid,
        index_after,
    }
}

/// What `source` bears of `amount`, and what is left of it.
fn take(amount: Amount, source: Amount) -> (Amount, Amount) {
    (amount.min(source), amount.saturating_sub(source))
}

fn marked_down(index: Index, claims: Amount, loss: Amount) -> Index {
    let kept = claims.saturating_sub(loss);
    match forebay_quantity::mul_div_floor(index.value(), kept.value(), claims.value()) {
        Some(rays) => Index(rays),
        // Nothing is claimed, so nothing was lost.
        None => index,
    }
}
