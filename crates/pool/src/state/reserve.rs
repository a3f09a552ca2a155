//! What the pool knows of the reserve on Bitcoin.

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::{Amount, EffectId, Timestamp};

use crate::reserve::{ReserveRules, Whereabouts};

/// The reserve.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReserveState {
    /// What the operator configured; none without a reserve.
    pub rules: Option<ReserveRules>,
    /// Where money lies.
    pub found: Whereabouts,
    /// The sweep under way, and its amount.
    pub(crate) sweep: Option<(EffectId, Amount)>,
    /// The draft that waits for members or for the chain.
    pub(crate) draft: Option<EffectId>,
    pub(crate) retry_at: Timestamp,
}

/// The parts of the cap between which the hot money moves.
impl ReserveRules {
    /// A sweep leaves this much.
    pub(crate) fn hot_after_sweep(&self) -> Amount {
        Amount::new(self.hot_max.value() / 4 * 3)
    }

    /// A return brings it up to this.
    pub(crate) fn hot_after_return(&self) -> Amount {
        Amount::new(self.hot_max.value() / 2)
    }

    /// Below this a return is asked for.
    pub(crate) fn hot_min(&self) -> Amount {
        Amount::new(self.hot_max.value() / 4)
    }

    /// Less is not worth a transaction.
    pub(crate) fn worth_moving(&self) -> Amount {
        Amount::new(self.hot_max.value() / 16)
    }
}
