//! When a chain fact counts.

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::Amount;

/// How sure the chain is of a fact, least first.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize,
)]
pub enum Finality {
    /// In a block that a reorg may still drop.
    Seen,
    /// Under the chain's `safe` tag.
    Safe,
    /// Under the chain's `finalized` tag.
    Final,
}

/// The depth at which both sides count a fact: small amounts at `safe`, all else at `finalized`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct FinalityRule {
    /// The largest amount that counts once it is safe, in base units; zero asks for `finalized` always.
    pub safe_max: Amount,
}

impl FinalityRule {
    /// Counts nothing before it is final.
    pub const STRICT: Self = Self {
        safe_max: Amount::ZERO,
    };

    /// The depth that a fact about `amount` must reach.
    #[must_use]
    pub fn depth(self, amount: Amount) -> Finality {
        if amount <= self.safe_max && !self.safe_max.is_zero() {
            Finality::Safe
        } else {
            Finality::Final
        }
    }

    /// True when a fact about `amount`, seen at `finality`, may be acted on.
    #[must_use]
    pub fn counts(self, amount: Amount, finality: Finality) -> bool {
        finality >= self.depth(amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_counts_when_only_seen() {
        for safe_max in [0, 1, u128::MAX] {
            let rule = FinalityRule {
                safe_max: Amount::new(safe_max),
            };
            for amount in [0, 1, u128::MAX] {
                assert!(!rule.counts(Amount::new(amount), Finality::Seen));
                assert!(rule.counts(Amount::new(amount), Finality::Final));
            }
        }
    }

    #[test]
    fn a_small_amount_counts_when_safe_and_its_neighbour_does_not() {
        let rule = FinalityRule {
            safe_max: Amount::new(10),
        };
        assert!(rule.counts(Amount::new(10), Finality::Safe));
        assert!(!rule.counts(Amount::new(11), Finality::Safe));
        assert!(!FinalityRule::STRICT.counts(Amount::ZERO, Finality::Safe));
    }
}
