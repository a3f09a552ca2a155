//! What a transaction offers to pay, and what has to be set aside so that a channel can always be ended.

use crate::{fault::Fault, rpc::Rpc};
use alloy::{eips::BlockNumberOrTag, providers::Provider};
use forebay_quantity::{Amount, Bps};
use std::time::Duration;

/// How much is paid for gas, at most, and when a stuck transaction is replaced.
#[derive(Clone, Copy, Debug)]
pub struct FeePolicy {
    /// The most a transaction may ever offer, in wei per gas.
    pub fee_per_gas_max: u128,
    /// The fee spike that reserves are planned for, in wei per gas.
    pub fee_per_gas_planned: u128,
    /// How long a transaction that is next in line may wait before it is replaced by a dearer one.
    pub stuck_after: Duration,
}

impl Default for FeePolicy {
    fn default() -> Self {
        Self {
            fee_per_gas_max: 500_000_000_000,
            fee_per_gas_planned: 50_000_000_000,
            stuck_after: Duration::from_secs(60),
        }
    }
}

/// All of it, in basis points.
const BPS_ONE: u32 = 10_000;

/// The tip offered when a node does not say what is usual, in wei per gas.
const TIP_DEFAULT: u128 = 1_000_000_000;

/// What a transaction offers, in wei per gas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Offer {
    pub(crate) fee_max: u128,
    pub(crate) tip_max: u128,
}

impl FeePolicy {
    /// The policy for transactions of this urgency: what may be offered rises from the planned fee to the highest, and a
    /// stuck transaction is replaced up to ten times as soon.
    #[must_use]
    pub fn at(&self, urgency: Bps) -> Self {
        let used = urgency.value().min(BPS_ONE);
        let calm = self.fee_per_gas_planned.min(self.fee_per_gas_max);
        let more = (self.fee_per_gas_max - calm) / u128::from(BPS_ONE) * u128::from(used);
        Self {
            fee_per_gas_max: if used == BPS_ONE {
                self.fee_per_gas_max
            } else {
                calm.saturating_add(more)
            },
            stuck_after: self.stuck_after * (10 * BPS_ONE - 9 * used) / (10 * BPS_ONE),
            ..*self
        }
    }

    /// What to offer now: room for the base fee to double before inclusion.
    pub(crate) async fn offer(&self, rpc: &Rpc) -> Result<Offer, Fault> {
        let tip = match rpc
            .ask("eth_maxPriorityFeePerGas", |node| async move {
                node.get_max_priority_fee_per_gas().await
            })
            .await
        {
            Ok(tip) => tip,
            Err(Fault::RpcRefused { .. }) => TIP_DEFAULT,
            Err(fault) => return Err(fault),
        };
        let head = rpc
            .ask("eth_getBlockByNumber", |node| async move {
                node.get_block_by_number(BlockNumberOrTag::Latest).await
            })
            .await?;
        let base = head
            .and_then(|block| block.header.base_fee_per_gas)
            .map_or(0, u128::from);
        self.within_limit(base, tip)
    }

    fn within_limit(&self, base: u128, tip: u128) -> Result<Offer, Fault> {
        let need = base.saturating_add(tip);
        if need > self.fee_per_gas_max {
            return Err(Fault::FeesTooHigh {
                need,
                max: self.fee_per_gas_max,
            });
        }
        let fee_max = need.saturating_add(base).min(self.fee_per_gas_max);
        Ok(Offer {
            fee_max,
            tip_max: tip.min(fee_max),
        })
    }

    /// What replaces `old`: at least an eighth more, since nodes ask for a tenth; `None` past the limit.
    pub(crate) fn dearer(&self, old: Offer, market: Offer) -> Option<Offer> {
        let raised = |fee: u128| fee.saturating_add(fee / 8).saturating_add(1);
        let tip_max = raised(old.tip_max).max(market.tip_max);
        let fee_max = raised(old.fee_max).max(market.fee_max).max(tip_max);
        (fee_max <= self.fee_per_gas_max).then_some(Offer { fee_max, tip_max })
    }
}

/// Gas for one channel's whole life on its operator's side: the opening, a raise a week for a quarter, a
/// redemption a week, a lowering and a unilateral close, each by notice and execution. In gas.
pub const CHANNEL_LIFE_GAS: u64 = 2_000_000;

/// What has to be kept so that `channels` channels can live to their end at the planned fee, in wei.
#[must_use]
pub fn gas_reserve_needed(channels: u32, policy: &FeePolicy) -> Amount {
    let gas = u128::from(CHANNEL_LIFE_GAS).saturating_mul(u128::from(channels));
    Amount::new(gas.saturating_mul(policy.fee_per_gas_planned))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: FeePolicy = FeePolicy {
        fee_per_gas_max: 1_000,
        fee_per_gas_planned: 50,
        stuck_after: Duration::from_secs(1),
    };

    #[test]
    fn an_offer_leaves_room_up_to_the_limit_and_none_above_it() {
        assert_eq!(
            POLICY.within_limit(100, 10).ok(),
            Some(Offer {
                fee_max: 210,
                tip_max: 10
            })
        );
        assert_eq!(
            POLICY.within_limit(990, 10).ok(),
            Some(Offer {
                fee_max: 1_000,
                tip_max: 10
            })
        );
        let fault = POLICY.within_limit(991, 10).expect_err("over the limit");
        assert!(matches!(
            fault,
            Fault::FeesTooHigh {
                need: 1_001,
                max: 1_000
            }
        ));
    }

    #[test]
    fn a_replacement_is_at_least_a_tenth_dearer_in_both_parts_until_the_limit() {
        let mut offer = Offer {
            fee_max: 1,
            tip_max: 0,
        };
        let mut replacements = 0;
        while let Some(next) = POLICY.dearer(
            offer,
            Offer {
                fee_max: 0,
                tip_max: 0,
            },
        ) {
            assert!(
                next.fee_max * 10 >= offer.fee_max * 11 && next.tip_max * 10 >= offer.tip_max * 11
            );
            assert!(next.tip_max <= next.fee_max && next.fee_max <= POLICY.fee_per_gas_max);
            offer = next;
            replacements += 1;
        }
        assert!(replacements > 10);
    }

    #[test]
    fn what_may_be_offered_rises_with_urgency_from_the_planned_fee_to_the_highest() {
        let policy = FeePolicy {
            fee_per_gas_max: 500_000,
            fee_per_gas_planned: 50_000,
            stuck_after: Duration::from_secs(60),
        };
        for (urgency, fee, stuck_after_s) in [
            (0, 50_000, 60),
            (5_000, 275_000, 33),
            (10_000, 500_000, 6),
            (20_000, 500_000, 6),
        ] {
            let at = policy.at(Bps::new(urgency));
            assert_eq!(at.fee_per_gas_max, fee, "at {urgency}");
            assert_eq!(
                at.stuck_after,
                Duration::from_secs(stuck_after_s),
                "at {urgency}"
            );
        }
        let capped = FeePolicy {
            fee_per_gas_max: 10_000,
            ..policy
        };
        assert_eq!(capped.at(Bps::new(0)).fee_per_gas_max, 10_000);
    }

    #[test]
    fn the_reserve_grows_with_the_channels() {
        assert_eq!(gas_reserve_needed(0, &POLICY), Amount::ZERO);
        assert_eq!(
            gas_reserve_needed(3, &POLICY),
            Amount::new(3 * 2_000_000 * 50)
        );
    }
}
