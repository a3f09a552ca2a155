//! Packets from our software to the pool, and the vouchers ahead of them.

use forebay_ilp::{ErrorCode, FulfillView, PrepareView};
use forebay_quantity::{Amount, ChannelSerial, Timestamp};

use super::{Core, Effect, IN_FLIGHT_MAX, Rail, Waiting};
use crate::connect::event::Event;
use crate::connect::reply::{reject, too_large};

/// Prepares of our software that may wait for the pool to confirm a voucher; what one STREAM window needs.
const WAITING_MAX: usize = 1_024;

impl Core {
    pub(super) fn software_prepare(
        &mut self,
        now: Timestamp,
        software_request: u32,
        packet: &[u8],
        view: &PrepareView<'_>,
    ) {
        if !self.agreed {
            return self.refuse_software(
                software_request,
                ErrorCode::T01PeerUnreachable,
                "the pool cannot be reached",
            );
        }
        if view.expires_at <= now {
            return self.refuse_software(
                software_request,
                ErrorCode::R00TransferTimedOut,
                "expired on arrival",
            );
        }
        // The pool would refuse it: nothing is paid ahead for it.
        let maximum = self
            .state
            .terms
            .as_ref()
            .map_or(u64::MAX, |terms| terms.packet_max);
        if view.amount > maximum {
            let packet = too_large(view.amount, maximum);
            return self
                .effects
                .push(Effect::AnswerSoftware(software_request, packet));
        }
        if self.state.outgoing.len() + self.waiting.len() >= IN_FLIGHT_MAX
            || self.waiting.len() >= WAITING_MAX
        {
            return self.refuse_software(
                software_request,
                ErrorCode::T03ConnectorBusy,
                "too many packets in flight",
            );
        }
        let waiting = Waiting {
            software_request,
            packet: packet.to_vec(),
            amount: view.amount,
            expires_at: view.expires_at,
            condition: *view.condition,
        };
        // What waits goes first, or a stream of small packets would starve a large one.
        if view.amount == 0 || (self.waiting.is_empty() && self.is_covered(view.amount)) {
            return self.forward(waiting);
        }
        if !self.can_cover(view.amount) {
            let text = match &self.policy.rail {
                Rail::Vault(_) => {
                    "the deposit at the pool is used up: add to it, or wait until it pays back"
                }
                Rail::Lightning(_) => {
                    "the channels carry no more to the pool: open one, or wait until it pays back"
                }
            };
            return self.refuse_software(
                software_request,
                ErrorCode::T04InsufficientLiquidity,
                text,
            );
        }
        self.waiting.push_back(waiting);
    }

    /// What our vouchers must come to once this much more is in flight, in the chain's base units.
    pub(super) fn needed(&self, amount: u64) -> Option<Amount> {
        let packets = self
            .state
            .sent
            .checked_add(self.state.sent_pending)?
            .checked_add(Amount::from(amount))?;
        packets
            .saturating_sub(self.credit)
            .checked_mul(self.state.factor())
    }

    pub(super) fn is_covered(&self, amount: u64) -> bool {
        self.needed(amount)
            .is_some_and(|needed| needed <= self.held)
    }

    pub(super) fn can_cover(&self, amount: u64) -> bool {
        let waiting: u64 = self
            .waiting
            .iter()
            .map(|waiting| waiting.amount)
            .fold(0, u64::saturating_add);
        let usable = self.usable_ceiling();
        self.needed(amount.saturating_add(waiting))
            .is_some_and(|needed| needed <= usable)
    }

    /// Up to where we may sign or can pay: nothing unless the channel is live.
    pub(super) fn usable_ceiling(&self) -> Amount {
        if let Rail::Lightning(_) = self.policy.rail {
            return self.payable();
        }
        let live = self
            .state
            .channel
            .as_ref()
            .filter(|channel| channel.is_live());
        live.map_or(Amount::ZERO, |channel| channel.outgoing.usable_ceiling())
    }

    pub(super) fn forward(&mut self, waiting: Waiting) {
        // The upper half of the ids is left to messages that are no packets.
        let request = self.state.last_request.wrapping_add(1) & 0x7fff_ffff;
        let Waiting {
            software_request,
            packet,
            amount,
            expires_at,
            condition,
        } = waiting;
        self.record(Event::Sent {
            request,
            software_request,
            amount,
            expires_at,
            condition,
        });
        self.effects.push(Effect::Forward(request, packet));
    }

    pub(super) fn refuse_software(&mut self, software_request: u32, code: ErrorCode, text: &str) {
        self.effects
            .push(Effect::AnswerSoftware(software_request, reject(code, text)));
    }

    pub(super) fn pool_fulfill(&mut self, request: u32, packet: &[u8], view: &FulfillView<'_>) {
        self.bare.remove(&request);
        let Some(sent) = self.state.outgoing.get(&request) else {
            return;
        };
        if !view.fulfills(&sent.condition) {
            self.alarm(format!(
                "the pool fulfilled request {request} with a wrong preimage"
            ));
            return self.sent_failed(
                request,
                reject(ErrorCode::F05WrongCondition, "the fulfillment is wrong"),
            );
        }
        self.answer_sent(request, packet.to_vec());
        self.record(Event::SentFulfilled { request });
    }

    pub(super) fn sent_failed(&mut self, request: u32, packet: Vec<u8>) {
        if !self.state.outgoing.contains_key(&request) {
            return;
        }
        self.answer_sent(request, packet);
        self.record(Event::SentFailed { request });
    }

    /// Answers our software, unless it has begun its numbers anew and means another packet by this one.
    pub(super) fn answer_sent(&mut self, request: u32, packet: Vec<u8>) {
        let outgoing = &self.state.outgoing;
        let Some(software_request) = outgoing.get(&request).map(|sent| sent.software_request)
        else {
            return;
        };
        let newest = outgoing
            .iter()
            .filter(|(_, sent)| sent.software_request == software_request)
            .map(|(request, _)| *request)
            .max();
        let waiting = self.waiting.iter();
        let taken_anew = waiting
            .map(|waiting| waiting.software_request)
            .any(|waiting| waiting == software_request);
        if newest == Some(request) && !taken_anew {
            self.effects
                .push(Effect::AnswerSoftware(software_request, packet));
        }
    }

    pub(super) fn voucher_held(
        &mut self,
        now: Timestamp,
        serial: ChannelSerial,
        secured: Amount,
        refused: Option<String>,
    ) {
        if self.live_serial() != Some(serial) {
            return;
        }
        let promised = self
            .state
            .channel
            .as_ref()
            .map_or(Amount::ZERO, |channel| channel.outgoing.promised());
        // The pool cannot hold more than we signed, whatever it says.
        self.held = secured.min(promised);
        if let Some(why) = refused {
            self.alarm(format!("the pool refused a voucher: {why}"));
        }
        self.release_waiting(now);
    }

    pub(super) fn release_waiting(&mut self, now: Timestamp) {
        while let Some(first) = self.waiting.front() {
            let (amount, expires_at) = (first.amount, first.expires_at);
            if expires_at > now && !self.is_covered(amount) {
                return;
            }
            let Some(waiting) = self.waiting.pop_front() else {
                return;
            };
            if expires_at <= now {
                let text = "expired before the pool confirmed our voucher";
                self.refuse_software(
                    waiting.software_request,
                    ErrorCode::R00TransferTimedOut,
                    text,
                );
            } else {
                self.forward(waiting);
            }
        }
    }

    /// Pays ahead: as soon as less than half of `prepay` is left, up to the whole of it, never above what is there.
    pub(super) fn pay_ahead(&mut self, now: Timestamp) {
        match self.policy.rail {
            Rail::Vault(_) => self.sign_ahead(now),
            Rail::Lightning(_) => self.settle_ahead(now),
        }
    }

    fn sign_ahead(&mut self, now: Timestamp) {
        if !self.agreed
            || self.live_serial() != self.state.terms.as_ref().and_then(|terms| terms.serial)
        {
            return;
        }
        let Some(channel) = self
            .state
            .channel
            .as_ref()
            .filter(|channel| channel.is_live())
        else {
            return;
        };
        let Some((low, full)) = self.ahead() else {
            return;
        };
        let signed = channel.outgoing.promised();
        let target = full.min(channel.outgoing.usable_ceiling());
        if signed >= low || channel.outgoing.may_sign(target).is_err() {
            return;
        }
        let serial = channel.serial();
        self.record(Event::VoucherSigned { amount: target });
        self.said_at = now;
        self.effects.push(Effect::SignVoucher(serial, target));
    }

    /// Below the first of these, what we paid must grow to the second: cumulative, in the chain's base units.
    pub(super) fn ahead(&self) -> Option<(Amount, Amount)> {
        let factor = self.state.factor();
        let waiting: u64 = self
            .waiting
            .iter()
            .map(|waiting| waiting.amount)
            .fold(0, u64::saturating_add);
        let used = self
            .state
            .sent
            .saturating_add(self.state.sent_pending)
            .saturating_add(Amount::from(waiting));
        let half = Amount::new(self.policy.prepay.value() / 2);
        Some((
            used.saturating_add(half).checked_mul(factor)?,
            used.saturating_add(self.policy.prepay)
                .checked_mul(factor)?,
        ))
    }
}
