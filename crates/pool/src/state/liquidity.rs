//! How large Lightning channels are kept: the policy, the channels with a peer, and what flows through them. All amounts are
//! in millisatoshi.

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_market::DAY;
use forebay_quantity::{Amount, Ppm, Timestamp};

/// A Lightning channel: the number of the demand that opened it, or one that our node drew for a channel that its peer opened.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct LightningChannelId(pub u128);

impl core::fmt::Display for LightningChannelId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

/// When channels are opened, enlarged, made smaller and closed, and what that may cost.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LiquidityPolicy {
    /// A peer's channels should carry what flows to it on so many days.
    pub cover_days: u32,
    /// Flow makes no channel larger than this; an allotment may.
    pub channel_max: Amount,
    /// Less than this is left where it is.
    pub change_min: Amount,
    /// What one change may cost, whatever it moves.
    pub fee_base: Amount,
    /// What it may cost beyond that, of what it moves.
    pub fee_ppm: Ppm,
    /// After a change nothing is taken out or closed for so long.
    pub rest_ms: u64,
    /// A channel that nothing flowed through for so long may be closed.
    pub idle_ms: u64,
    /// What money in a channel could earn elsewhere in a day.
    pub capital_ppm_per_day: Ppm,
}

impl Default for LiquidityPolicy {
    fn default() -> Self {
        Self {
            cover_days: 2,
            channel_max: Amount::new(10_000_000_000),
            change_min: Amount::new(100_000_000),
            fee_base: Amount::new(5_000_000),
            fee_ppm: Ppm(5_000),
            rest_ms: DAY.0,
            idle_ms: 30 * DAY.0,
            capital_ppm_per_day: Ppm(100),
        }
    }
}

impl LiquidityPolicy {
    /// The most that a change which moves so much may pay to miners.
    pub fn fee_max(&self, moved: Amount) -> Amount {
        let part = self.fee_ppm.of_floor(moved).unwrap_or(Amount::MAX);
        self.fee_base.saturating_add(part)
    }

    /// What should be sendable to a peer: its flow over the days to be covered, at least its allotment, and nothing to a
    /// peer without one.
    pub(crate) fn wanted(&self, allotment: Amount, flow: &Flow, now: Timestamp) -> Amount {
        if allotment.is_zero() {
            return Amount::ZERO;
        }
        let days = u128::from(self.cover_days);
        let covered = flow.busier_day(now).checked_mul(days);
        let covered = covered.unwrap_or(Amount::MAX).min(self.channel_max);
        covered.max(allotment)
    }
}

/// What was paid to a peer less what it paid, on this day and the one before; days begin with the first payment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Flow {
    day_began: Timestamp,
    today: Day,
    yesterday: Day,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Day {
    paid: Amount,
    received: Amount,
}

impl Day {
    fn net(&self) -> Amount {
        self.paid.saturating_sub(self.received)
    }
}

impl Flow {
    /// The larger net flow of both days.
    pub fn busier_day(&self, now: Timestamp) -> Amount {
        let turned = self.turned(now);
        turned.today.net().max(turned.yesterday.net())
    }

    pub(crate) fn paid(&mut self, now: Timestamp, amount: Amount) {
        *self = self.turned(now);
        self.today.paid = self.today.paid.saturating_add(amount);
    }

    pub(crate) fn received(&mut self, now: Timestamp, amount: Amount) {
        *self = self.turned(now);
        self.today.received = self.today.received.saturating_add(amount);
    }

    fn turned(&self, now: Timestamp) -> Self {
        let yesterday = match now.since(self.day_began).0 / DAY.0 {
            0 => return *self,
            1 => self.today,
            _ => Day::default(),
        };
        let into_day = now.since(self.day_began).0 % DAY.0;
        Self {
            day_began: Timestamp(now.0 - into_day),
            today: Day::default(),
            yesterday,
        }
    }
}

/// An open Lightning channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LightningChannel {
    /// Both ends' money in it; zero until it can be used.
    pub value: Amount,
    /// Whether we opened it.
    pub is_ours: bool,
    /// Whether both ends can make it larger and smaller.
    pub splices: bool,
    /// What miners were paid for it.
    pub cost: Amount,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_is_of_today_and_yesterday_and_older_flow_is_forgotten() {
        let day = |days: u64| Timestamp(1_800_000_000_000 + days * DAY.0);
        let mut flow = Flow::default();
        flow.paid(day(0), Amount::new(700));
        flow.received(day(0), Amount::new(200));
        let rows = [(0, 500), (1, 500), (2, 0), (9, 0)];
        for (days, expected) in rows {
            assert_eq!(flow.busier_day(day(days)).value(), expected, "day {days}");
        }
        flow.paid(day(1), Amount::new(400));
        assert_eq!(flow.busier_day(day(1)).value(), 500);
        assert_eq!(flow.busier_day(day(2)).value(), 400);
        flow.received(day(2), Amount::new(9_000));
        assert_eq!(
            flow.busier_day(day(2)).value(),
            400,
            "a peer that pays needs nothing"
        );
    }

    #[test]
    fn what_is_wanted_is_the_flow_within_its_bounds() {
        let policy = LiquidityPolicy {
            channel_max: Amount::new(5_000),
            ..LiquidityPolicy::default()
        };
        let now = Timestamp(1_800_000_000_000);
        let rows = [
            ("no allotment", 0, 900, 0),
            ("little flow", 1_000, 400, 1_000),
            ("flow", 1_000, 900, 1_800),
            ("much flow", 1_000, 9_000, 5_000),
            ("a large allotment", 7_000, 9_000, 7_000),
        ];
        for (name, allotment, paid, expected) in rows {
            let mut flow = Flow::default();
            flow.paid(now, Amount::new(paid));
            let wanted = policy.wanted(Amount::new(allotment), &flow, now);
            assert_eq!(wanted.value(), expected, "{name}");
        }
    }
}
