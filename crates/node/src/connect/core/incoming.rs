//! Packets from the pool to our software, and the vouchers that pay for them.

use forebay_channel::{
    Domain, LaneId, PacketName, PeerMessage, Phase, Signature, UNHEARD_MAX, Verified, Voucher,
};
use forebay_ilp::{ErrorCode, FulfillView, PrepareView};
use forebay_quantity::{Amount, ChannelSerial, PacketId, Timestamp};

use super::{Core, DISOWNED_MAX, Effect, IN_FLIGHT_MAX};
use crate::connect::event::Event;
use crate::connect::reply::reject;

/// No packet is remembered longer: twice what any pool holds one.
const EXPIRY_MAX_MS: u64 = 120_000;

impl Core {
    pub(super) fn pool_prepare(
        &mut self,
        now: Timestamp,
        request: u32,
        packet: &[u8],
        view: &PrepareView<'_>,
    ) {
        let name = PacketName {
            expires_at: view.expires_at,
            packet: PacketId(request),
        };
        if self.disowned.contains(&name) {
            let text = "it comes after we said that it never came";
            let answer = reject(ErrorCode::T01PeerUnreachable, text);
            return self.effects.push(Effect::AnswerPool(request, answer));
        }
        if self.state.incoming.contains_key(&request) {
            return;
        }
        let known = self.state.answers.get(&request);
        if let Some(answer) = known.filter(|answer| answer.expires_at == view.expires_at) {
            return self
                .effects
                .push(Effect::AnswerPool(request, answer.packet.clone()));
        }
        if let Some((code, text)) = self.refusal(now, view) {
            return self
                .effects
                .push(Effect::AnswerPool(request, reject(code, text)));
        }
        let (amount, expires_at, condition) = (view.amount, view.expires_at, *view.condition);
        self.record(Event::Taken {
            request,
            amount,
            expires_at,
            condition,
        });
        self.effects.push(Effect::Deliver(request, packet.to_vec()));
    }

    /// Says which packets of the pool never came. What it sent before it asked was read before its question, on this link
    /// or on an earlier one that is gone; so they cannot come any more, and would be refused.
    pub(super) fn packets_asked(&mut self, now: Timestamp, packets: &[PacketName]) {
        let unknown = |name: &&PacketName| !self.has_seen(now, name);
        let packets: Vec<PacketName> = packets.iter().filter(unknown).copied().collect();
        let anew = packets.iter().filter(|name| !self.disowned.contains(name));
        if packets.is_empty() || self.disowned.len() + anew.count() > DISOWNED_MAX {
            return;
        }
        self.disowned.extend(&packets);
        self.effects
            .push(Effect::Say(PeerMessage::PacketsUnknown { packets }));
    }

    /// Whether a packet came, or may have come: answers are forgotten some time after their packets have expired.
    fn has_seen(&self, now: Timestamp, name: &PacketName) -> bool {
        let taken = self.state.incoming.get(&name.packet.0);
        let answer = self.state.answers.get(&name.packet.0);
        name.expires_at <= now
            || taken.is_some_and(|taken| taken.expires_at == name.expires_at)
            || answer.is_some_and(|answer| answer.expires_at == name.expires_at)
    }

    pub(super) fn refusal(
        &self,
        now: Timestamp,
        view: &PrepareView<'_>,
    ) -> Option<(ErrorCode, &'static str)> {
        if view.expires_at <= now {
            return Some((ErrorCode::R00TransferTimedOut, "expired on arrival"));
        }
        if view.expires_at.0 > now.0.saturating_add(EXPIRY_MAX_MS) {
            return Some((ErrorCode::F00BadRequest, "it expires too far ahead"));
        }
        if !self.software_up {
            return Some((
                ErrorCode::T01PeerUnreachable,
                "the connector behind this peer is not connected",
            ));
        }
        if self.state.incoming.len() >= IN_FLIGHT_MAX {
            return Some((ErrorCode::T03ConnectorBusy, "too many packets in flight"));
        }
        let channel = self.state.channel.as_ref();
        let has_channel = channel.is_some_and(|channel| channel.phase() != Phase::Closed);
        let is_late = has_channel && !self.may_take(now);
        if view.amount > 0 && is_late {
            let text = "the channel closes, or the chain is silent: too late to redeem what would pay for this";
            return Some((ErrorCode::T04InsufficientLiquidity, text));
        }
        let exposed = self
            .state
            .unpaid()
            .checked_add(self.state.received_pending)
            .and_then(|owed| owed.checked_add(Amount::from(view.amount)));
        // Pending counts: a pool that stops paying finds its packets refused before one more is passed on.
        if view.amount > 0 && exposed.is_none_or(|exposed| exposed > self.policy.credit_to_pool) {
            return Some((
                ErrorCode::T04InsufficientLiquidity,
                "the pool has not secured this: it must pay first",
            ));
        }
        None
    }

    /// Whether a voucher of the pool can still be redeemed before any close, announced or not heard of yet.
    pub(super) fn may_take(&self, now: Timestamp) -> bool {
        let now = now.max(self.chain_now);
        let (Some(channel), Some(rail)) = (&self.state.channel, self.vault_rail()) else {
            return false;
        };
        channel.may_take(now, self.chain_now, UNHEARD_MAX, &rail.channel)
    }

    pub(super) fn software_fulfill(
        &mut self,
        now: Timestamp,
        request: u32,
        packet: &[u8],
        view: &FulfillView<'_>,
    ) {
        let Some(taken) = self.state.incoming.get(&request) else {
            return;
        };
        if taken.expires_at <= now {
            return self.refuse_pool(
                request,
                reject(ErrorCode::R00TransferTimedOut, "fulfilled too late"),
            );
        }
        if !view.fulfills(&taken.condition) {
            return self.refuse_pool(
                request,
                reject(ErrorCode::F05WrongCondition, "the fulfillment is wrong"),
            );
        }
        self.record(Event::TakenFulfilled {
            request,
            answer: packet.to_vec(),
        });
        self.effects
            .push(Effect::AnswerPool(request, packet.to_vec()));
    }

    pub(super) fn refuse_pool(&mut self, request: u32, answer: Vec<u8>) {
        if !self.state.incoming.contains_key(&request) {
            return;
        }
        self.record(Event::TakenRejected {
            request,
            answer: answer.clone(),
        });
        self.effects.push(Effect::AnswerPool(request, answer));
    }

    pub(super) fn take_voucher(
        &mut self,
        now: Timestamp,
        serial: ChannelSerial,
        amount: Amount,
        signature: [u8; 64],
    ) {
        let refused = self.hold_voucher(now, serial, amount, signature).err();
        let secured = self
            .state
            .channel
            .as_ref()
            .map_or(Amount::ZERO, |channel| channel.incoming.secured());
        self.effects.push(Effect::Say(PeerMessage::VoucherHeld {
            serial,
            secured,
            refused,
        }));
    }

    pub(super) fn hold_voucher(
        &mut self,
        now: Timestamp,
        serial: ChannelSerial,
        amount: Amount,
        signature: [u8; 64],
    ) -> Result<(), String> {
        let (Some(channel), Some(rail)) = (&self.state.channel, self.vault_rail()) else {
            return Err("no channel is open at finality depth".into());
        };
        if channel.serial() == serial && amount == channel.incoming.promised() {
            return Ok(());
        }
        let voucher = Voucher {
            serial,
            lane: LaneId::Pool,
            amount,
        };
        let signed = Verified::verify(
            &Domain::new(rail.chain_id, rail.vault),
            voucher,
            Signature::new(signature),
            channel.payer(),
        );
        let signed = signed
            .map_err(|_| format!("not signed by {}, who pays on this lane", channel.payer()))?;
        channel
            .accept_voucher(&signed)
            .map_err(|why| format!("{why:?}"))?;
        if !self.may_take(now) {
            return Err("the channel closes, or the chain is silent: too late to redeem it".into());
        }
        self.record(Event::VoucherHeld { amount, signature });
        Ok(())
    }
}
