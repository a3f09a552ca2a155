//! A side, or the watchtower of one: the real `Channel`, and around it the same few lines that the pool and a peer's own
//! side put there. What it absorbed and decided is durable; what waits in its outbox is lost in a crash.

use forebay_channel::{
    Channel, ChannelPolicy, LaneId, Lowering, Step,
    vault::{SignedVoucher, VaultFact},
};
use forebay_quantity::{Amount, Milliseconds};

use crate::chain::{Call, Chain, Moment, SERIAL, Vault, first_signer, time};
use crate::signing::{signed, verify};

/// Who acts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Who {
    /// Pays on the pool's lane.
    Pool,
    /// Pays on the peer's lane.
    Peer,
    /// Redeems for one of them when a notice threatens what that one holds.
    Tower,
}

impl Who {
    /// Who pays on this lane.
    #[must_use]
    pub const fn payer(lane: LaneId) -> Self {
        match lane {
            LaneId::Pool => Self::Pool,
            LaneId::Peer => Self::Peer,
        }
    }

    /// Whom this lane pays.
    #[must_use]
    pub const fn payee(lane: LaneId) -> Self {
        Self::payer(lane.other())
    }

    /// The place in arrays of three.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Pool => 0,
            Self::Peer => 1,
            Self::Tower => 2,
        }
    }
}

/// What an actor has decided and not yet let out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Output {
    /// The voucher signed last, to its payee.
    Voucher,
    /// The best voucher held, to the tower.
    Copy,
    /// What it asks of the chain.
    Transactions,
}

/// One actor.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Actor {
    /// Which one.
    pub who: Who,
    /// Its view.
    pub channel: Channel,
    /// The best voucher held, with its signature.
    pub best: Option<SignedVoucher>,
    /// The voucher signed last.
    pub last_signed: Option<SignedVoucher>,
    /// Asked of the chain, and not known to have come to its end.
    pub demands: Vec<Call>,
    /// To be let out.
    pub outbox: Vec<Output>,
    /// Blocks before this moment are absorbed as seen.
    pub seen_before: Moment,
    /// Blocks before this moment are absorbed as final.
    pub final_before: Moment,
    /// Notices seen in a block that was dropped since.
    pub retracted: Vec<VaultFact>,
    /// Signed the end of the channel: nothing is signed or taken any more.
    pub is_done: bool,
    /// Crashed and not restarted.
    pub is_down: bool,
}

impl Actor {
    /// Paid on `incoming`, with the opening of the channel absorbed.
    #[must_use]
    pub fn new(who: Who, incoming: LaneId, vault: &Vault) -> Self {
        let mut channel = Channel::new(SERIAL, incoming, first_signer(incoming));
        channel.opened();
        let ceiling = |lane| Amount::from(u64::from(vault.lane(lane).ceiling));
        channel.incoming.ceiling_is(ceiling(incoming));
        channel.outgoing.ceiling_is(ceiling(incoming.other()));
        Self {
            who,
            channel,
            best: None,
            last_signed: None,
            demands: Vec::new(),
            outbox: Vec::new(),
            seen_before: 0,
            final_before: 0,
            retracted: Vec::new(),
            is_done: false,
            is_down: false,
        }
    }

    /// The lane that pays it.
    #[must_use]
    pub fn incoming(&self) -> LaneId {
        self.channel.incoming_lane()
    }

    /// Whether it has nothing to say and has lost nothing that it said.
    #[must_use]
    pub fn owes_nothing(&self) -> bool {
        !self.is_down && self.outbox.is_empty()
    }

    /// Whether the chain reported anything that it has not absorbed.
    #[must_use]
    pub fn is_behind(&self, chain: &Chain) -> bool {
        let newest = chain.newest();
        let unread = |moment: Moment| !chain.facts_at(moment).is_empty();
        !self.retracted.is_empty()
            || (self.final_before..newest).any(unread)
            || (self.seen_before..chain.now).any(unread)
    }

    /// Passes over blocks in which nothing was reported.
    pub fn pass_over(&mut self, chain: &Chain) {
        if !self.is_behind(chain) {
            self.seen_before = chain.now;
            self.final_before = chain.newest();
        }
    }

    /// Absorbs what happened on chain since it last looked, oldest first, and decides.
    pub fn observe(&mut self, chain: &Chain, policy: &ChannelPolicy) {
        for fact in std::mem::take(&mut self.retracted) {
            self.drop_notice(&fact);
        }
        let newest = chain.newest();
        for moment in self.final_before..newest {
            for fact in chain.facts_at(moment) {
                self.absorb_final(fact);
            }
        }
        self.final_before = newest;
        if self.seen_before < chain.now {
            for fact in chain.facts_at(newest) {
                self.absorb_notice(fact);
            }
        }
        self.seen_before = chain.now;
        self.decide(newest, policy);
    }

    /// Asks the channel what to do until it has nothing more to say.
    fn decide(&mut self, newest: Moment, policy: &ChannelPolicy) {
        loop {
            let step = self.channel.next_step(time(newest), policy);
            let call = match step {
                Step::Nothing | Step::Wait { .. } => return,
                Step::Redeem { amount, .. } => {
                    let best = self.best.expect("it redeems what it holds");
                    assert_eq!(
                        best.voucher.amount, amount,
                        "a step names the voucher that is held"
                    );
                    Call::Redeem(best)
                }
                // A watchtower only ever redeems.
                Step::FinishLowering | Step::FinishClose if self.who == Who::Tower => return,
                Step::FinishLowering => Call::FinishLowering(self.incoming().other()),
                Step::FinishClose => Call::FinishClose,
            };
            self.channel.asked(step);
            self.demands.push(call);
            self.say(Output::Transactions);
        }
    }

    /// The step that a call carries out.
    fn step_of(call: &Call) -> Option<Step> {
        match call {
            Call::Redeem(signed) => Some(Step::Redeem {
                amount: signed.voucher.amount,
                before: None,
            }),
            Call::FinishLowering(_) => Some(Step::FinishLowering),
            Call::FinishClose => Some(Step::FinishClose),
            Call::Raise(..)
            | Call::StartLowering(..)
            | Call::StartClose
            | Call::StartKeyChange(_)
            | Call::FinishKeyChange(_)
            | Call::NetOff { .. }
            | Call::CloseTogether { .. } => None,
        }
    }

    /// Hears that a transaction failed for certain, and decides anew.
    pub fn failed(&mut self, call: &Call, now: Moment, policy: &ChannelPolicy) {
        self.demands.retain(|demand| demand != call);
        if let Some(step) = Self::step_of(call) {
            self.channel.failed(step);
        }
        self.decide(now.saturating_sub(1), policy);
    }

    /// Queues what to say, once.
    pub fn say(&mut self, output: Output) {
        if !self.outbox.contains(&output) {
            self.outbox.push(output);
            self.outbox.sort_unstable();
        }
    }

    /// Signs for the lane it pays, if the rules allow it [I4] [I5].
    pub fn sign(&mut self, amount: u8) -> bool {
        let cumulative = Amount::from(u64::from(amount));
        let may = !self.is_done
            && self.channel.is_live()
            && self.channel.outgoing.may_sign(cumulative).is_ok();
        if may {
            self.channel.outgoing.sign(cumulative);
            let lane = self.incoming().other();
            self.last_signed = Some(signed(lane, amount, first_signer(lane)));
            self.say(Output::Voucher);
        }
        may
    }

    /// Takes a voucher, or refuses it. A side takes one that can still be redeemed; the pool only while no close is
    /// announced, and within its ceiling; the tower whatever it is handed.
    pub fn take(
        &mut self,
        voucher: &SignedVoucher,
        now: Moment,
        unheard_max: Milliseconds,
        policy: &ChannelPolicy,
    ) {
        let Some(verified) = verify(voucher, self.channel.payer()) else {
            return;
        };
        if self.channel.accept_voucher(&verified).is_err() {
            return;
        }
        let amount = voucher.voucher.amount;
        let channel = &self.channel;
        let in_time = channel.may_take(time(now), time(self.seen_before), unheard_max, policy);
        let may = match self.who {
            Who::Pool => {
                in_time && channel.is_live() && amount <= channel.incoming.usable_ceiling()
            }
            Who::Peer => in_time,
            Who::Tower => true,
        };
        if !may || self.is_done {
            return;
        }
        self.channel.incoming.hold(amount);
        self.best = Some(*voucher);
        if self.who != Who::Tower {
            self.say(Output::Copy);
        }
        self.decide(now.saturating_sub(1), policy);
    }

    /// Loses what was not let out.
    pub fn crash(&mut self) {
        self.outbox.clear();
        self.is_down = true;
    }

    /// Says again whatever may have been lost.
    pub fn restart(&mut self) {
        self.is_down = false;
        if self.last_signed.is_some() {
            self.say(Output::Voucher);
        }
        if self.best.is_some() {
            self.say(Output::Copy);
        }
        if !self.demands.is_empty() {
            self.say(Output::Transactions);
        }
    }

    fn absorb_final(&mut self, fact: &VaultFact) {
        self.absorb_notice(fact);
        let incoming = self.incoming();
        let channel = &mut self.channel;
        match *fact {
            VaultFact::Raised { ceiling, .. } => lane_of(channel, LaneId::Pool).ceiling_is(ceiling),
            VaultFact::Deposited { ceiling, .. } => {
                lane_of(channel, LaneId::Peer).ceiling_is(ceiling);
            }
            VaultFact::Redeemed { lane, paid, .. } => lane_of(channel, lane).paid_is(paid),
            VaultFact::Lowered { lane, ceiling, .. } if lane == incoming => {
                channel.incoming.lowered(ceiling);
            }
            VaultFact::Lowered { ceiling, .. } => channel.outgoing_lowered(ceiling),
            VaultFact::NettedOff { amount, .. } => {
                channel.incoming.net_off(amount);
                channel.outgoing.net_off(amount);
            }
            VaultFact::KeyChanged { lane, signer, .. } if lane == incoming => {
                channel.key_changed(signer);
            }
            VaultFact::Closed {
                pool_paid,
                peer_paid,
                ..
            } => {
                lane_of(channel, LaneId::Pool).paid_is(pool_paid);
                lane_of(channel, LaneId::Peer).paid_is(peer_paid);
                channel.closed();
            }
            // Notices were absorbed above; of the rest nothing concerns a channel that is open.
            _ => {}
        }
    }

    fn absorb_notice(&mut self, fact: &VaultFact) {
        let incoming = self.incoming();
        match *fact {
            VaultFact::LoweringStarted {
                lane,
                ceiling,
                deadline,
                ..
            } => {
                lane_of(&mut self.channel, lane).lowering_announced(Lowering { ceiling, deadline })
            }
            VaultFact::CloseStarted { deadline, .. } => self.channel.close_announced(deadline),
            VaultFact::KeyChangeStarted { lane, deadline, .. } if lane == incoming => {
                self.channel.key_change_announced(deadline);
            }
            // Everything else counts at finality depth only.
            _ => {}
        }
    }

    fn drop_notice(&mut self, fact: &VaultFact) {
        let incoming = self.incoming();
        match *fact {
            VaultFact::LoweringStarted { lane, .. } => {
                lane_of(&mut self.channel, lane).lowering_withdrawn();
            }
            VaultFact::CloseStarted { .. } => self.channel.close_withdrawn(),
            VaultFact::KeyChangeStarted { lane, .. } if lane == incoming => {
                self.channel.key_change_withdrawn();
            }
            // Nothing else was absorbed before it was final.
            _ => {}
        }
    }
}

fn lane_of(channel: &mut Channel, lane: LaneId) -> &mut forebay_channel::Lane {
    if channel.incoming_lane() == lane {
        &mut channel.incoming
    } else {
        &mut channel.outgoing
    }
}

/// A policy that redeems from `threshold` on, and answers notices `margin` before their deadline.
#[must_use]
pub fn policy(threshold: Option<u8>, margin: Moment) -> ChannelPolicy {
    ChannelPolicy {
        redeem_threshold: threshold.map_or(Amount::MAX, |units| Amount::from(u64::from(units))),
        claim_min: Amount::new(1),
        answer_margin: Milliseconds::new(u64::from(margin)),
    }
}
