//! What a watchtower does for one channel: the principal's own judgement, a stated while later.
//!
//! It knows no history: a channel is what the vault says now, money at finality depth, notices at any depth, together
//! with the best voucher that the principal handed over. So nothing of it can be old, and there is nothing to replay.

use forebay_quantity::{Amount, Bps, ChannelSerial, Milliseconds, Timestamp};

use crate::address::Address;
use crate::channel::{Channel, ChannelPolicy, Phase, Step};
use crate::digest::LaneId;
use crate::lane::Lowering;

const BPS_ONE: u64 = 10_000;

/// When a watchtower acts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WatchPolicy {
    /// The least worth a transaction, in base units.
    pub claim_min: Amount,
    /// An answer is in the chain's hands this long before its deadline.
    pub answer_margin: Milliseconds,
    /// How long notices of this vault run.
    pub notice: Milliseconds,
    /// The part of the time for an answer that is left to the principal.
    pub patience: Bps,
}

/// What a watchtower does now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchStep {
    /// Nothing, until the vault or the principal says something new.
    Nothing,
    /// Nothing before this moment: it is the principal's turn, or a notice still runs.
    Wait {
        /// When to ask again.
        until: Timestamp,
    },
    /// Carry this out.
    Act {
        /// What.
        step: Step,
        /// How much of the time for it is used up: what it may cost rises with it.
        urgency: Bps,
    },
}

/// One lane as the vault says it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneStanding {
    /// Who signs its vouchers.
    pub payer: Address,
    /// Cumulative, in base units.
    pub ceiling: Amount,
    /// Cumulative, in base units.
    pub paid: Amount,
    /// The lowering that runs.
    pub lowering: Option<Lowering>,
    /// From when an announced signer may replace the payer.
    pub key_change: Option<Timestamp>,
}

/// A channel as the vault says it stands at one depth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// True for ever once the serial was used.
    pub opened: bool,
    /// True once nothing remains.
    pub closed: bool,
    /// From when an announced close may be executed.
    pub close_at: Option<Timestamp>,
    /// From the pool to the peer.
    pub pool: LaneStanding,
    /// From the peer to the pool.
    pub peer: LaneStanding,
}

impl Standing {
    /// One of the lanes.
    #[must_use]
    pub const fn lane(&self, lane: LaneId) -> &LaneStanding {
        match lane {
            LaneId::Pool => &self.pool,
            LaneId::Peer => &self.peer,
        }
    }
}

/// The channel seen by the payee of `lane`, who holds a voucher over `held`.
///
/// What can be redeemed counts at finality depth. A notice counts as soon as it is in the newest block, and so does a
/// payment: the principal's own answer spares ours, and a reorg that drops it shows in the next reading.
#[must_use]
pub fn watched(
    serial: ChannelSerial,
    lane: LaneId,
    last_final: &Standing,
    newest: &Standing,
    held: Amount,
) -> Channel {
    let (was, is) = (last_final.lane(lane), newest.lane(lane));
    let mut channel = Channel::new(serial, lane, is.payer);
    if last_final.opened {
        channel.opened();
    }
    if newest.closed {
        channel.closed();
    }
    if let Some(deadline) = newest.close_at {
        channel.close_announced(deadline);
    }
    if let Some(deadline) = is.key_change {
        channel.key_change_announced(deadline);
    }
    channel.incoming.ceiling_is(was.ceiling);
    channel.incoming.paid_is(was.paid.max(is.paid));
    channel.incoming.hold(held);
    if let Some(lowering) = is.lowering {
        channel.incoming.lowering_announced(lowering);
    }
    if let Some(lowering) = newest.lane(lane.other()).lowering {
        channel.outgoing.lowering_announced(lowering);
    }
    channel
}

/// What a watchtower does for the channel at `now`, by the chain's own clock.
#[must_use]
pub fn watch_step(channel: &Channel, now: Timestamp, policy: &WatchPolicy) -> WatchStep {
    let own = ChannelPolicy {
        // Without a notice the principal chooses when it redeems.
        redeem_threshold: Amount::MAX,
        claim_min: policy.claim_min,
        answer_margin: policy.answer_margin,
    };
    let step = channel.next_step(now, &own);
    match step {
        Step::Nothing => WatchStep::Nothing,
        Step::Wait { until } => WatchStep::Wait { until },
        Step::Redeem { before: None, .. } => WatchStep::Nothing,
        Step::Redeem {
            before: Some(before),
            ..
        } => from(turn(before, policy), before, now, step),
        Step::FinishClose => match channel.phase() {
            Phase::Closing { deadline } => finish(deadline, now, policy, step),
            Phase::Opening | Phase::Open | Phase::Closed => WatchStep::Nothing,
        },
        Step::FinishLowering => match channel.outgoing.lowering() {
            Some(Lowering { deadline, .. }) => finish(deadline, now, policy, step),
            None => WatchStep::Nothing,
        },
    }
}

/// When the principal's time for an answer ends and the watchtower's begins.
fn turn(before: Timestamp, policy: &WatchPolicy) -> Timestamp {
    let given = before
        .saturating_add(policy.answer_margin)
        .saturating_sub(policy.notice);
    let ours = given
        .saturating_add(share(before.since(given), policy.patience))
        .min(before);
    // [I13] the watchtower's turn comes before the answer is due.
    assert!(
        ours <= before,
        "[I13] a watchtower answers before it is due"
    );
    ours
}

/// A notice that has run out endangers nothing of ours: the principal has as long again as for an answer.
fn finish(deadline: Timestamp, now: Timestamp, policy: &WatchPolicy, step: Step) -> WatchStep {
    let ours = deadline.saturating_add(share(policy.notice, policy.patience));
    from(ours, Timestamp::MAX, now, step)
}

fn from(ours: Timestamp, before: Timestamp, now: Timestamp, step: Step) -> WatchStep {
    if now < ours {
        return WatchStep::Wait { until: ours };
    }
    let (used, all) = (now.since(ours).0, before.since(ours).0);
    let urgency = if used >= all {
        BPS_ONE
    } else {
        scaled(used, BPS_ONE, all)
    };
    WatchStep::Act {
        step,
        urgency: Bps::new(u32::try_from(urgency).expect("at most ten thousand")),
    }
}

fn share(span: Milliseconds, part: Bps) -> Milliseconds {
    Milliseconds(scaled(
        span.0,
        u64::from(part.value()).min(BPS_ONE),
        BPS_ONE,
    ))
}

/// value × part ÷ whole, rounded down, for a part of the whole.
fn scaled(value: u64, part: u64, whole: u64) -> u64 {
    let product = u128::from(value) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(product).unwrap_or(u64::MAX)
}
