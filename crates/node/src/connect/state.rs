//! All that the peer's side knows about money. It changes by [`State::evolve`] alone.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_channel::vault::{VaultFact, VaultRequest};
use forebay_channel::{Address, Channel, LaneId, Lowering, Step, Terms};
use forebay_quantity::{Amount, ChannelSerial, EffectId, Timestamp};

use super::account::LightningAccount;
use super::event::Event;

/// A prepare of our software that waits for the pool.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Outgoing {
    /// The id that our software gave it.
    pub software_request: u32,
    /// In packet units.
    pub amount: u64,
    /// When it expires.
    pub expires_at: Timestamp,
    /// SHA-256 of the preimage.
    pub condition: [u8; 32],
}

/// A prepare of the pool that waits for our software.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Incoming {
    /// In packet units.
    pub amount: u64,
    /// When it expires.
    pub expires_at: Timestamp,
    /// SHA-256 of the preimage.
    pub condition: [u8; 32],
}

/// An answer to the pool, to be sent again after a reconnect.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Answer {
    pub(super) packet: Vec<u8>,
    pub(super) expires_at: Timestamp,
}

/// The peer's side of the account. Packet amounts are in packet units, lanes in the chain's base units.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct State {
    /// The pool's terms, balances left out.
    pub terms: Option<Terms>,
    /// The channel; `incoming` is the lane on which the pool pays us.
    pub channel: Option<Channel>,
    /// Where the channel pays us.
    pub payout: Address,
    /// The pool's signature on the best voucher held.
    pub best_signature: [u8; 64],
    /// Fulfilled packets of ours, in all.
    pub sent: Amount,
    /// Fulfilled packets of the pool, in all.
    pub received: Amount,
    /// Packets of ours in flight, in all.
    pub sent_pending: Amount,
    /// Packets of the pool in flight, in all.
    pub received_pending: Amount,
    /// What deposits were asked for, in all, failed ones left out.
    pub deposit_asked: Amount,
    pub(super) outgoing: BTreeMap<u32, Outgoing>,
    pub(super) incoming: BTreeMap<u32, Incoming>,
    pub(super) answers: BTreeMap<u32, Answer>,
    pub(super) demands: BTreeMap<EffectId, VaultRequest>,
    pub(super) last_request: u32,
    pub(super) last_effect: EffectId,
    pub(super) cursor: Option<(u64, u32)>,
    /// A block that was final and is gone; nothing is agreed to until an operator has looked.
    pub lost_block: Option<u64>,
    /// What an account that settles over Lightning has instead of a channel. Stays last: [`State::read`] counts on it.
    pub lightning: Option<Box<LightningAccount>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            terms: None,
            channel: None,
            payout: Address::ZERO,
            best_signature: [0; 64],
            sent: Amount::ZERO,
            received: Amount::ZERO,
            sent_pending: Amount::ZERO,
            received_pending: Amount::ZERO,
            deposit_asked: Amount::ZERO,
            outgoing: BTreeMap::new(),
            incoming: BTreeMap::new(),
            answers: BTreeMap::new(),
            demands: BTreeMap::new(),
            last_request: 0,
            last_effect: EffectId(0),
            cursor: None,
            lost_block: None,
            lightning: None,
        }
    }
}

impl State {
    /// Reads a snapshot. One from before accounts could settle over Lightning ends without saying that this one does not.
    pub(super) fn read(bytes: &[u8]) -> borsh::io::Result<Self> {
        const NO_LIGHTNING: &[u8] = &[0];
        Self::try_from_slice(bytes)
            .or_else(|_| Self::try_from_slice(&[bytes, NO_LIGHTNING].concat()))
    }

    /// Chain units in one packet unit.
    #[must_use]
    pub fn factor(&self) -> u128 {
        self.terms.as_ref().map_or(1, |terms| {
            10u128.pow(u32::from(
                terms.chain_scale.saturating_sub(terms.asset_scale),
            ))
        })
    }

    /// What the pool's vouchers secure or its payments brought, cumulative, in packet units, rounded down.
    #[must_use]
    pub fn secured(&self) -> Amount {
        let vouchers = self
            .channel
            .as_ref()
            .map_or(Amount::ZERO, |channel| channel.incoming.secured());
        let lightning = self.lightning.as_ref();
        let secured = lightning.map_or(vouchers, |account| account.received);
        Amount::new(secured.value() / self.factor())
    }

    /// What the pool owes for fulfilled packets and has not paid.
    #[must_use]
    pub fn unpaid(&self) -> Amount {
        self.received.saturating_sub(self.secured())
    }

    /// What is known of the account on Lightning.
    #[must_use]
    pub fn account(&self) -> &LightningAccount {
        static NEW: LightningAccount = LightningAccount::NEW;
        self.lightning.as_deref().unwrap_or(&NEW)
    }

    /// The first block whose facts are not all absorbed.
    #[must_use]
    pub fn follow_from(&self) -> u64 {
        self.cursor.map_or(0, |(block, _)| block)
    }

    /// Applies a fact.
    pub fn evolve(&mut self, event: &Event) {
        match event {
            Event::TermsNamed(terms) => self.terms = Some((**terms).clone()),
            Event::Sent {
                request,
                software_request,
                amount,
                expires_at,
                condition,
            } => {
                self.last_request = *request;
                self.sent_pending = self.sent_pending.saturating_add(Amount::from(*amount));
                let (software_request, amount) = (*software_request, *amount);
                let sent = Outgoing {
                    software_request,
                    amount,
                    expires_at: *expires_at,
                    condition: *condition,
                };
                self.outgoing.insert(*request, sent);
            }
            Event::SentFulfilled { request } => {
                let amount = self.resolve_sent(*request);
                self.sent = self.sent.saturating_add(amount);
            }
            Event::SentFailed { request } => {
                self.resolve_sent(*request);
            }
            Event::Taken {
                request,
                amount,
                expires_at,
                condition,
            } => {
                self.received_pending = self.received_pending.saturating_add(Amount::from(*amount));
                // The pool numbers packets anew after a while: an answer of the former one is none of this.
                self.answers.remove(request);
                let taken = Incoming {
                    amount: *amount,
                    expires_at: *expires_at,
                    condition: *condition,
                };
                self.incoming.insert(*request, taken);
            }
            Event::TakenFulfilled { request, answer } => {
                let amount = self.resolve_taken(*request, answer);
                self.received = self.received.saturating_add(amount);
            }
            Event::TakenRejected { request, answer } => {
                self.resolve_taken(*request, answer);
            }
            Event::AnswersForgotten { expired_at } => self
                .answers
                .retain(|_, answer| answer.expires_at > *expired_at),
            Event::VoucherSigned { amount } => {
                self.channel
                    .as_mut()
                    .expect("a voucher is signed on a channel")
                    .outgoing
                    .sign(*amount);
            }
            Event::VoucherHeld { amount, signature } => {
                self.channel
                    .as_mut()
                    .expect("a voucher is held on a channel")
                    .incoming
                    .hold(*amount);
                self.best_signature = *signature;
            }
            Event::ChainFinal { fact, place } => {
                self.cursor = Some((place.block.value(), place.log_index));
                self.absorb_final(fact);
            }
            Event::NoticeSeen(fact) => self.absorb_notice(fact),
            Event::NoticeDropped(fact) => self.drop_notice(fact),
            Event::Demanded { id, request } => self.demand(*id, request),
            Event::DemandSettled { id, failed } => self.settle(*id, *failed),
            Event::FinalBlockLost { block } => self.lost_block = Some(*block),
            Event::ReorgSettled => self.lost_block = None,
            Event::Lightning(event) => self.lightning.get_or_insert_default().evolve(event),
        }
    }

    // [I3] a packet resolves once: it leaves the table, and only what was in the table counts.
    fn resolve_sent(&mut self, request: u32) -> Amount {
        let Some(sent) = self.outgoing.remove(&request) else {
            return Amount::ZERO;
        };
        let amount = Amount::from(sent.amount);
        self.sent_pending = self.sent_pending.saturating_sub(amount);
        amount
    }

    fn resolve_taken(&mut self, request: u32, answer: &[u8]) -> Amount {
        let Some(taken) = self.incoming.remove(&request) else {
            return Amount::ZERO;
        };
        let amount = Amount::from(taken.amount);
        self.received_pending = self.received_pending.saturating_sub(amount);
        self.answers.insert(
            request,
            Answer {
                packet: answer.to_vec(),
                expires_at: taken.expires_at,
            },
        );
        amount
    }

    fn demand(&mut self, id: EffectId, request: &VaultRequest) {
        self.last_effect = id;
        self.demands.insert(id, request.clone());
        if let VaultRequest::Deposit { amount, .. } = request {
            self.deposit_asked = self.deposit_asked.saturating_add(*amount);
        }
        if let (Some(channel), Some(step)) = (&mut self.channel, step_of(request)) {
            channel.asked(step);
        }
    }

    fn settle(&mut self, id: EffectId, failed: bool) {
        let Some(request) = self.demands.remove(&id) else {
            return;
        };
        if !failed {
            return;
        }
        if let VaultRequest::Deposit { amount, .. } = request {
            self.deposit_asked = self.deposit_asked.saturating_sub(amount);
        }
        if let (Some(channel), Some(step)) = (&mut self.channel, step_of(&request)) {
            channel.failed(step);
        }
    }

    fn channel_of(&mut self, serial: ChannelSerial) -> Option<&mut Channel> {
        self.channel
            .as_mut()
            .filter(|channel| channel.serial() == serial)
    }

    /// A new channel's lanes begin at zero: what the former one paid is settled and counts no more.
    fn settle_former_channel(&mut self) {
        let Some(former) = &self.channel else { return };
        let factor = self.factor();
        let settled = |paid: Amount| Amount::new(paid.value() / factor);
        let (sent, received) = (
            settled(former.outgoing.paid()),
            settled(former.incoming.paid()),
        );
        self.sent = self.sent.saturating_sub(sent);
        self.received = self.received.saturating_sub(received);
    }

    fn absorb_final(&mut self, fact: &VaultFact) {
        if let VaultFact::Opened {
            serial,
            pool_signer,
            peer_payout,
            ..
        } = *fact
        {
            self.settle_former_channel();
            let mut channel = Channel::new(serial, LaneId::Pool, pool_signer);
            channel.opened();
            self.channel = Some(channel);
            self.payout = peer_payout;
            self.deposit_asked = Amount::ZERO;
            return;
        }
        self.absorb_notice(fact);
        let Some(channel) = fact.serial().and_then(|serial| self.channel_of(serial)) else {
            return;
        };
        match *fact {
            VaultFact::Raised { ceiling, .. } => channel.incoming.ceiling_is(ceiling),
            VaultFact::Deposited { ceiling, .. } => channel.outgoing.ceiling_is(ceiling),
            VaultFact::Redeemed {
                lane: LaneId::Pool,
                paid,
                ..
            } => channel.incoming.paid_is(paid),
            VaultFact::Redeemed {
                lane: LaneId::Peer,
                paid,
                ..
            } => channel.outgoing.paid_is(paid),
            VaultFact::Lowered {
                lane: LaneId::Pool,
                ceiling,
                released: true,
                ..
            } => channel.incoming.released(ceiling),
            VaultFact::Lowered {
                lane: LaneId::Pool,
                ceiling,
                ..
            } => channel.incoming.lowered(ceiling),
            VaultFact::Lowered {
                lane: LaneId::Peer,
                ceiling,
                ..
            } => channel.outgoing_lowered(ceiling),
            VaultFact::NettedOff { amount, .. } => {
                channel.incoming.net_off(amount);
                channel.outgoing.net_off(amount);
            }
            VaultFact::Closed {
                pool_paid,
                peer_paid,
                ..
            } => {
                channel.incoming.paid_is(pool_paid);
                channel.outgoing.paid_is(peer_paid);
                channel.closed();
            }
            VaultFact::KeyChanged {
                lane: LaneId::Pool,
                signer,
                ..
            } => channel.key_changed(signer),
            // Our own key changes only by our own hand, and the rest names no lane of ours.
            _ => {}
        }
    }

    fn absorb_notice(&mut self, fact: &VaultFact) {
        let Some(channel) = fact.serial().and_then(|serial| self.channel_of(serial)) else {
            return;
        };
        match *fact {
            VaultFact::LoweringStarted {
                lane,
                ceiling,
                deadline,
                ..
            } => {
                let lowering = Lowering { ceiling, deadline };
                match lane {
                    LaneId::Pool => channel.incoming.lowering_announced(lowering),
                    LaneId::Peer => channel.outgoing.lowering_announced(lowering),
                }
            }
            VaultFact::CloseStarted { deadline, .. } => channel.close_announced(deadline),
            VaultFact::KeyChangeStarted {
                lane: LaneId::Pool,
                deadline,
                ..
            } => channel.key_change_announced(deadline),
            // Everything else counts at finality depth only.
            _ => {}
        }
    }

    fn drop_notice(&mut self, fact: &VaultFact) {
        let Some(channel) = fact.serial().and_then(|serial| self.channel_of(serial)) else {
            return;
        };
        match *fact {
            VaultFact::LoweringStarted {
                lane: LaneId::Pool, ..
            } => channel.incoming.lowering_withdrawn(),
            VaultFact::LoweringStarted {
                lane: LaneId::Peer, ..
            } => channel.outgoing.lowering_withdrawn(),
            VaultFact::CloseStarted { .. } => channel.close_withdrawn(),
            VaultFact::KeyChangeStarted {
                lane: LaneId::Pool, ..
            } => channel.key_change_withdrawn(),
            // Nothing else was absorbed before it was final.
            _ => {}
        }
    }
}

/// Whether a fact is one that is acted on before it is final.
pub(super) const fn is_notice(fact: &VaultFact) -> bool {
    matches!(
        fact,
        VaultFact::LoweringStarted { .. }
            | VaultFact::CloseStarted { .. }
            | VaultFact::KeyChangeStarted { .. }
    )
}

fn step_of(request: &VaultRequest) -> Option<Step> {
    match request {
        VaultRequest::Redeem(vouchers) => {
            let amount = vouchers.first()?.voucher.amount;
            Some(Step::Redeem {
                amount,
                before: None,
            })
        }
        VaultRequest::FinishClose(_) => Some(Step::FinishClose),
        VaultRequest::FinishLowering { .. } => Some(Step::FinishLowering),
        // No step of a channel leads to any other request.
        _ => None,
    }
}
