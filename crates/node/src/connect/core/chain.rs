//! What the vault reports, and what is asked of it.

use forebay_channel::vault::{Head, SignedVoucher, VaultFact, VaultObservation, VaultRequest};
use forebay_channel::{ChannelPolicy, Finality, LaneId, Phase, Signature, Step, Voucher};
use forebay_quantity::{Amount, EffectId, Timestamp};

use super::{Core, Effect, Rail, VaultRail};
use crate::connect::event::Event;
use crate::connect::state::is_notice;

/// A failed transaction is tried again after this long.
const RETRY_MS: u64 = 30_000;

impl Core {
    pub(super) fn observe(&mut self, observation: VaultObservation) {
        match observation {
            VaultObservation::Fact {
                fact,
                place,
                finality,
                ..
            } => {
                let position = (place.block.value(), place.log_index);
                if self.state.cursor.is_some_and(|cursor| position <= cursor)
                    || !self.concerns_us(&fact)
                {
                    return;
                }
                if finality == Finality::Final {
                    self.record(Event::ChainFinal { fact, place });
                } else if is_notice(&fact) {
                    self.record(Event::NoticeSeen(fact));
                }
            }
            VaultObservation::Retracted { fact, .. }
                if self.concerns_us(&fact) && is_notice(&fact) =>
            {
                self.record(Event::NoticeDropped(fact));
            }
            VaultObservation::Retracted { .. } => {}
            VaultObservation::Head(Head { time, .. }) => self.chain_now = self.chain_now.max(time),
            VaultObservation::DeepReorg { block } => {
                self.agreed = false;
                self.record(Event::FinalBlockLost {
                    block: block.value(),
                });
                self.alarm(format!(
                    "the chain dropped block {} that had been final: nothing is signed or taken until an operator has looked",
                    block.value()
                ));
            }
        }
    }

    /// A channel is ours when it names our signer and our payout; later facts are ours by its serial.
    pub(super) fn concerns_us(&self, fact: &VaultFact) -> bool {
        if let VaultFact::Opened {
            peer_signer,
            peer_payout,
            ..
        } = *fact
        {
            let free = self
                .state
                .channel
                .as_ref()
                .is_none_or(|channel| channel.phase() == Phase::Closed);
            return free
                && self
                    .vault_rail()
                    .is_some_and(|rail| peer_signer == rail.signer && peer_payout == rail.payout);
        }
        let ours = self.state.channel.as_ref().map(|channel| channel.serial());
        ours.is_some() && fact.serial() == ours
    }

    /// What we want of the vault, if the account settles by vouchers.
    pub(super) fn vault_rail(&self) -> Option<&VaultRail> {
        match &self.policy.rail {
            Rail::Vault(rail) => Some(rail),
            Rail::Lightning(_) => None,
        }
    }

    pub(super) fn act_on_chain(&mut self, now: Timestamp) {
        if now < self.retry_at {
            return;
        }
        self.deposit();
        let (Some(channel), Some(rail)) = (&self.state.channel, self.vault_rail()) else {
            return;
        };
        match channel.next_step(self.chain_now, &rail.channel) {
            Step::Nothing | Step::Wait { .. } => {}
            Step::Redeem { amount, .. } => self.redeem(amount),
            Step::FinishLowering => {
                let request = VaultRequest::FinishLowering {
                    serial: channel.serial(),
                    lane: LaneId::Peer,
                };
                self.demand(request);
            }
            Step::FinishClose => self.demand(VaultRequest::FinishClose(channel.serial())),
        }
    }

    pub(super) fn deposit(&mut self) {
        let (Some(serial), Some(rail)) = (self.live_serial(), self.vault_rail()) else {
            return;
        };
        let peer_payout = rail.payout;
        let amount = rail.deposit.saturating_sub(self.state.deposit_asked);
        if !amount.is_zero() {
            self.demand(VaultRequest::Deposit {
                serial,
                amount,
                peer_payout,
            });
        }
    }

    pub(super) fn redeem_now(&mut self) {
        let (Some(channel), Some(rail)) = (&self.state.channel, self.vault_rail()) else {
            return;
        };
        let everything = ChannelPolicy {
            redeem_threshold: rail.channel.claim_min.max(Amount::new(1)),
            ..rail.channel
        };
        if let Step::Redeem { amount, .. } = channel.next_step(self.chain_now, &everything) {
            self.redeem(amount);
        }
    }

    pub(super) fn settle_reorg(&mut self) {
        if self.state.lost_block.is_some() {
            self.record(Event::ReorgSettled);
            self.say_hello();
        }
    }

    pub(super) fn redeem(&mut self, amount: Amount) {
        let Some(serial) = self.state.channel.as_ref().map(|channel| channel.serial()) else {
            return;
        };
        let voucher = Voucher {
            serial,
            lane: LaneId::Pool,
            amount,
        };
        let signature = Signature::new(self.state.best_signature);
        self.demand(VaultRequest::Redeem(vec![SignedVoucher {
            voucher,
            signature,
        }]));
    }

    pub(super) fn demand(&mut self, request: VaultRequest) {
        let id = EffectId::new(self.state.last_effect.value() + 1);
        self.record(Event::Demanded {
            id,
            request: request.clone(),
        });
        self.effects.push(Effect::Transact(id, request));
    }

    pub(super) fn outcome(&mut self, now: Timestamp, id: EffectId, succeeded: bool) {
        if !self.state.demands.contains_key(&id) {
            return;
        }
        self.record(Event::DemandSettled {
            id,
            failed: !succeeded,
        });
        if !succeeded {
            self.retry_at = Timestamp(now.0.saturating_add(RETRY_MS));
            self.alarm(format!(
                "transaction {} failed; it is tried again in {} s",
                id.value(),
                RETRY_MS / 1_000
            ));
        }
    }
}
