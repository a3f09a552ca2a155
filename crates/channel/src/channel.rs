//! A channel as one side sees it: two lanes, notices, and what to do next.

use crate::{
    address::Address,
    digest::{LaneId, Voucher},
    lane::{Lane, Lowering, VoucherRefusal},
    signature::Verified,
};
use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::{Amount, ChannelSerial, Milliseconds, Timestamp};

/// Vouchers secure nothing while the chain was not heard of for longer: with the answer margin well within any close
/// period, so that a notice nobody heard of yet can still be answered.
pub const UNHEARD_MAX: Milliseconds = Milliseconds::from_seconds(2 * 3_600);

/// Whether the chain, whose newest block known is of `heard_at`, was heard of no longer than `unheard_max` ago.
#[must_use]
pub fn is_heard(now: Timestamp, heard_at: Timestamp, unheard_max: Milliseconds) -> bool {
    now <= heard_at.saturating_add(unheard_max)
}

/// Where a channel stands; derived from facts, never stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The opening is not final yet.
    Opening,
    /// Open, no close announced.
    Open,
    /// A close is announced and not executed.
    Closing {
        /// From when it may be executed.
        deadline: Timestamp,
    },
    /// The close is final; nothing is left to claim.
    Closed,
}

/// What one side does of its own accord, and how early.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct ChannelPolicy {
    /// Redeem without any notice once this much can be redeemed, in base units.
    pub redeem_threshold: Amount,
    /// The least worth a transaction: smaller claims are let go, in base units.
    pub claim_min: Amount,
    /// An answer to a notice is in the chain's hands this long before its deadline.
    pub answer_margin: Milliseconds,
}

/// What we would do now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing, until a fact or a voucher arrives.
    Nothing,
    /// Nothing before this moment.
    Wait {
        /// When to ask again.
        until: Timestamp,
    },
    /// Redeem the voucher held.
    Redeem {
        /// Its cumulative amount.
        amount: Amount,
        /// When the redemption has to be submitted by; `None` when nothing presses.
        before: Option<Timestamp>,
    },
    /// Execute the lowering that we announced on the lane we pay.
    FinishLowering,
    /// Execute the announced close.
    FinishClose,
}

/// A kind of notice that the other side may give.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize,
)]
pub enum NoticeKind {
    /// The channel ends.
    Close,
    /// The ceiling of the lane that pays us sinks: an allotment lowered or a deposit withdrawn.
    Lowering,
    /// The lane that pays us gets another signer.
    KeyChange,
}

/// A notice given on chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Notice {
    /// What is announced.
    pub kind: NoticeKind,
    /// From when it may be executed.
    pub deadline: Timestamp,
}

/// What a notice asks of us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// Nothing of ours is in danger.
    Harmless,
    /// Redeem, or lose what is named.
    Answer(Answer),
}

/// The redemption that a notice asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The cumulative amount of the voucher to redeem.
    pub redeem: Amount,
    /// What is lost otherwise, in base units.
    pub at_stake: Amount,
    /// When the redemption has to be submitted by: the deadline less the margin.
    pub before: Timestamp,
}

/// One side's view of a channel.
#[derive(Clone, PartialEq, Eq, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub struct Channel {
    serial: ChannelSerial,
    incoming_lane: LaneId,
    payer: Address,
    /// The lane on which we are paid.
    pub incoming: Lane,
    /// The lane on which we pay.
    pub outgoing: Lane,
    opened: bool,
    closing: Option<Timestamp>,
    key_change: Option<Timestamp>,
    closed: bool,
    redeem_asked: Amount,
    finish_lowering_asked: bool,
    finish_close_asked: bool,
}

impl Channel {
    /// A channel that was asked for and is not final yet: we are paid on `incoming_lane`, by `payer`'s signature.
    #[must_use]
    pub fn new(serial: ChannelSerial, incoming_lane: LaneId, payer: Address) -> Self {
        Self {
            serial,
            incoming_lane,
            payer,
            incoming: Lane::default(),
            outgoing: Lane::default(),
            opened: false,
            closing: None,
            key_change: None,
            closed: false,
            redeem_asked: Amount::ZERO,
            finish_lowering_asked: false,
            finish_close_asked: false,
        }
    }

    /// The serial.
    #[must_use]
    pub const fn serial(&self) -> ChannelSerial {
        self.serial
    }

    /// The lane on which we are paid.
    #[must_use]
    pub const fn incoming_lane(&self) -> LaneId {
        self.incoming_lane
    }

    /// Who signs the vouchers that pay us.
    #[must_use]
    pub const fn payer(&self) -> Address {
        self.payer
    }

    /// What a voucher would secure beyond what is secured; held by [`Lane::hold`].
    ///
    /// # Errors
    /// When it is for another channel or lane, by another signer, or adds nothing.
    pub fn accept_voucher(&self, voucher: &Verified<Voucher>) -> Result<Amount, VoucherRefusal> {
        let Voucher {
            serial,
            lane,
            amount,
        } = *voucher.message();
        if serial != self.serial || lane != self.incoming_lane {
            return Err(VoucherRefusal::WrongLane);
        }
        if voucher.signer() != self.payer {
            return Err(VoucherRefusal::WrongSigner {
                signer: voucher.signer(),
                payer: self.payer,
            });
        }
        self.incoming.may_hold(amount)?;
        Ok({ self.incoming }.hold(amount))
    }

    /// Where the channel stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.closed {
            return Phase::Closed;
        }
        if let Some(deadline) = self.closing {
            return Phase::Closing { deadline };
        }
        if self.opened {
            Phase::Open
        } else {
            Phase::Opening
        }
    }

    /// True while new vouchers may be signed and taken: opened for certain and no close announced.
    #[must_use]
    pub fn is_live(&self) -> bool {
        match self.phase() {
            Phase::Open => true,
            Phase::Opening | Phase::Closing { .. } | Phase::Closed => false,
        }
    }

    /// True when a voucher taken at `now`, by the chain's clock, can still be redeemed before any close: none is
    /// announced, or the time to answer it is not over; and the chain was heard of no longer than `unheard_max` ago. With
    /// that and the margin within the close period, a notice that nobody heard of yet can be answered as well.
    #[must_use]
    pub fn may_take(
        &self,
        now: Timestamp,
        heard_at: Timestamp,
        unheard_max: Milliseconds,
        policy: &ChannelPolicy,
    ) -> bool {
        let in_time = match self.phase() {
            Phase::Open => true,
            Phase::Closing { deadline } => now <= deadline.saturating_sub(policy.answer_margin),
            Phase::Opening | Phase::Closed => false,
        };
        in_time && is_heard(now, heard_at, unheard_max)
    }

    /// Absorbs that the opening reached its depth.
    pub fn opened(&mut self) {
        self.opened = true;
    }

    /// Absorbs a close notice, at any depth.
    pub fn close_announced(&mut self, deadline: Timestamp) {
        self.closing = Some(deadline);
    }

    /// Absorbs that a reorg dropped the close notice.
    pub fn close_withdrawn(&mut self) {
        self.closing = None;
    }

    /// Absorbs that the close is final.
    pub fn closed(&mut self) {
        self.closed = true;
    }

    /// Absorbs notice of another signer on the lane that pays us, at any depth.
    pub fn key_change_announced(&mut self, deadline: Timestamp) {
        self.key_change = Some(deadline);
    }

    /// Absorbs that a reorg dropped the notice of a key change.
    pub fn key_change_withdrawn(&mut self) {
        self.key_change = None;
    }

    /// Absorbs that `payer` signs for the lane that pays us from now on.
    pub fn key_changed(&mut self, payer: Address) {
        self.key_change = None;
        self.payer = payer;
        self.incoming.signer_replaced();
    }

    /// Notes that `step` was handed to an adapter, so that it is not asked for twice.
    pub fn asked(&mut self, step: Step) {
        match step {
            Step::Nothing | Step::Wait { .. } => {}
            Step::Redeem { amount, .. } => self.redeem_asked = amount.min(self.incoming.ceiling()),
            Step::FinishLowering => self.finish_lowering_asked = true,
            Step::FinishClose => self.finish_close_asked = true,
        }
    }

    /// Notes that `step` failed for certain, so that it is asked for again.
    pub fn failed(&mut self, step: Step) {
        match step {
            Step::Nothing | Step::Wait { .. } => {}
            Step::Redeem { .. } => self.redeem_asked = self.incoming.paid(),
            Step::FinishLowering => self.finish_lowering_asked = false,
            Step::FinishClose => self.finish_close_asked = false,
        }
    }

    /// Absorbs that the lowering of the lane we pay was executed.
    pub fn outgoing_lowered(&mut self, ceiling: Amount) {
        self.outgoing.lowered(ceiling);
        self.finish_lowering_asked = false;
    }

    /// The notices that stand against us.
    pub fn notices(&self) -> impl Iterator<Item = Notice> + '_ {
        let closing = self.closing.map(|deadline| Notice {
            kind: NoticeKind::Close,
            deadline,
        });
        let lowering = self
            .incoming
            .lowering()
            .map(|Lowering { deadline, .. }| Notice {
                kind: NoticeKind::Lowering,
                deadline,
            });
        let key = self.key_change.map(|deadline| Notice {
            kind: NoticeKind::KeyChange,
            deadline,
        });
        let standing = if self.closed {
            [None; 3]
        } else {
            [closing, lowering, key]
        };
        standing.into_iter().flatten()
    }

    /// Judges a notice against the best voucher held.
    #[must_use]
    pub fn judge(&self, notice: Notice, policy: &ChannelPolicy) -> Judgement {
        let at_stake = match notice.kind {
            NoticeKind::Close | NoticeKind::KeyChange => self.incoming.redeemable(),
            NoticeKind::Lowering => self.incoming.endangered(),
        };
        #[cfg(feature = "planted-bugs")]
        if forebay_quantity::planted::is(forebay_quantity::planted::Bug::NoticeIgnored) {
            return Judgement::Harmless;
        }
        if at_stake.is_zero() || at_stake < policy.claim_min {
            return Judgement::Harmless;
        }
        let before = notice.deadline.saturating_sub(policy.answer_margin);
        // [I13] the answer is asked for a margin before the deadline.
        assert!(
            before <= notice.deadline,
            "[I13] answered before the deadline"
        );
        Judgement::Answer(Answer {
            redeem: self.incoming.promised(),
            at_stake,
            before,
        })
    }

    /// What we would do at `now`, by the chain's own clock.
    #[must_use]
    pub fn next_step(&self, now: Timestamp, policy: &ChannelPolicy) -> Step {
        if self.closed {
            return Step::Nothing;
        }
        if let Some(step) = self.redemption(policy) {
            return step;
        }
        let finishes = [
            (self.closing, self.finish_close_asked, Step::FinishClose),
            (
                self.outgoing.lowering().map(|lowering| lowering.deadline),
                self.finish_lowering_asked,
                Step::FinishLowering,
            ),
        ];
        let mut wait: Option<Timestamp> = None;
        for (deadline, asked, step) in finishes {
            match deadline {
                Some(deadline) if !asked && now >= deadline => return step,
                Some(deadline) if !asked => {
                    wait = Some(wait.map_or(deadline, |at| at.min(deadline)))
                }
                Some(_) | None => {}
            }
        }
        wait.map_or(Step::Nothing, |until| Step::Wait { until })
    }

    fn redemption(&self, policy: &ChannelPolicy) -> Option<Step> {
        let amount = self.incoming.promised();
        if self.redeem_asked >= amount.min(self.incoming.ceiling()) {
            return None;
        }
        let pressing = self
            .notices()
            .filter_map(|notice| match self.judge(notice, policy) {
                Judgement::Answer(answer) => Some(answer.before),
                Judgement::Harmless => None,
            })
            .min();
        if pressing.is_some() {
            return Some(Step::Redeem {
                amount,
                before: pressing,
            });
        }
        let redeemable = self.incoming.redeemable();
        let worthwhile = !redeemable.is_zero() && redeemable >= policy.redeem_threshold;
        (self.opened && worthwhile).then_some(Step::Redeem {
            amount,
            before: None,
        })
    }
}
