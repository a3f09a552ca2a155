//! What the core wants done on Bitcoin, each once.

use forebay_pool::{
    ChainRequest, Command, LightningCommand, Payout, WithdrawalEffect, lightning_fee_max,
};
use forebay_quantity::{Amount, EffectId, Hash32};

use super::{Errand, INVOICE_EXPIRY_MS, World, satoshi};
use crate::lightning::{Owner, Refused, Standing};

impl World {
    pub(in crate::world) fn is_of_bitcoin(request: &ChainRequest) -> bool {
        request.is_of_reserve()
            || request.lightning_channel().is_some()
            || matches!(request, ChainRequest::OpenLightning { .. })
    }

    pub(in crate::world) fn carry_out_on_bitcoin(&mut self, id: EffectId, request: &ChainRequest) {
        let errand = match request {
            ChainRequest::ToReserve { amount, .. } => {
                let due = (Owner::Reserve, satoshi(*amount));
                self.shell().due.insert(id, due);
                return;
            }
            ChainRequest::FromReserve { amount, .. } => Errand::Draft(id, Some(satoshi(*amount))),
            ChainRequest::RenewReserve { .. } => Errand::Draft(id, None),
            _ => Errand::Change(id, request.clone()),
        };
        self.shell().errands.push(errand);
    }

    pub(in crate::world) fn must_pay(&mut self, hash: Hash32) {
        self.shell().errands.push(Errand::Pay(hash));
    }

    pub(in crate::world) fn must_pay_out(&mut self, effect: &WithdrawalEffect) {
        match &effect.payout {
            Payout::Output(_) => {
                let due = (Owner::Stranger, satoshi(effect.amount));
                self.shell().due.insert(effect.id, due);
            }
            Payout::Invoice(hash) => self.must_pay(*hash),
        }
    }

    pub(super) fn run_errands(&mut self) {
        for errand in std::mem::take(&mut self.shell().errands) {
            if !self.works() {
                return;
            }
            if !self.calm && self.random.chance(300) {
                self.shell().errands.push(errand);
                continue;
            }
            match errand {
                Errand::Pay(hash) => self.pay(hash),
                Errand::Change(demand, request) => self.change(demand, &request),
                Errand::Draft(demand, back_sat) => {
                    if self.lightning().draft(demand, back_sat).is_err() {
                        let _known_or_not = self.apply(&Command::PaymentRefused { id: demand });
                    }
                }
                Errand::GiveInvoice(peer, name, amount_msat) => {
                    let expires_at = self.now + INVOICE_EXPIRY_MS;
                    let payer = u64::from(peer.0);
                    // The peer pays it when it likes.
                    let given = self
                        .lightning()
                        .invoice(name, amount_msat, payer, expires_at);
                    given.expect("the core gives a number one amount");
                }
            }
        }
    }

    /// Begins a payment that the core has journalled, unless it is under way.
    pub(super) fn pay(&mut self, hash: Hash32) {
        // The core answers between batches: what it has decided since the effect is not lost with it.
        self.end_batch(None);
        if !self.works() || !self.process.state().is_paying(hash) {
            return;
        }
        if let Err(why) = self.begin_payment(hash) {
            self.counts.add("lightning", format!("not paid: {why:?}"));
            let failed = LightningCommand::Failed { hash };
            self.tell(&Command::Lightning(failed));
        }
    }

    pub(super) fn begin_payment(&mut self, hash: Hash32) -> Result<(), Option<Refused>> {
        let now_ms = self.now;
        let Some(invoice) = self.shell().told.get(&hash).copied() else {
            return match self.lightning().payment(hash) {
                Standing::Pending | Standing::Sent => Ok(()),
                // It had not left before the last restart.
                Standing::Unknown | Standing::Failed => Err(None),
            };
        };
        let fee_max = lightning_fee_max(Amount::from(invoice.amount_msat));
        let fee_max_msat = u64::try_from(fee_max.value()).unwrap_or(u64::MAX);
        let begun = self.lightning().pay(invoice, fee_max_msat, now_ms);
        begun.map(|_| ()).map_err(Some)
    }

    pub(super) fn change(&mut self, demand: EffectId, request: &ChainRequest) {
        self.end_batch(None);
        if !self.works() {
            return;
        }
        let mut open = self.process.state().chain_effects();
        if !open.any(|(id, _)| id == demand) {
            return;
        }
        drop(open);
        let policy = self.process.state().liquidity().clone();
        let lightning = self.lightning();
        let done = match *request {
            ChainRequest::OpenLightning { node, amount, .. } => {
                let fee_max = satoshi(policy.fee_max(amount));
                let number = u128::from(demand.0);
                lightning.open_channel(number, node, satoshi(amount), fee_max)
            }
            ChainRequest::SpliceIn {
                channel,
                value,
                amount,
                ..
            } => {
                let fee_max = satoshi(policy.fee_max(amount));
                lightning.splice_in(channel.0, (satoshi(value), satoshi(amount)), fee_max)
            }
            ChainRequest::SpliceOut {
                channel,
                value,
                amount,
                ..
            } => {
                let fee_max = satoshi(policy.fee_max(amount));
                lightning.splice_out(channel.0, (satoshi(value), satoshi(amount)), fee_max)
            }
            ChainRequest::CloseLightning {
                channel, amount, ..
            } => lightning.close_channel(channel.0, satoshi(policy.fee_max(amount))),
            _ => unreachable!("a vault's"),
        };
        if let Err(why) = done {
            self.counts.add("lightning", format!("no change: {why:?}"));
            self.change_failed(demand, format!("{why:?}"));
        }
    }

    pub(super) fn change_failed(&mut self, effect: EffectId, why: String) {
        self.tell(&Command::Outcome {
            effect,
            failure: Some(why),
        });
    }

    /// Pays what is due, the oldest first: while there are too few coins for one, the later ones wait too.
    pub(super) fn pay_out(&mut self) {
        let due = &self.shell().due;
        let all: Vec<(EffectId, (Owner, u64))> = due.iter().map(|(id, due)| (*id, *due)).collect();
        for (id, (to, sat)) in all {
            match self.lightning().send(id, to, sat) {
                Ok(()) => self.counts.add("lightning", "output signed"),
                Err(why) if to == Owner::Reserve || why == Refused::Dust => {
                    self.counts.add("lightning", "output given up");
                    self.tell(&Command::PaymentRefused { id });
                }
                Err(_) => {
                    self.counts.add("lightning", "output waits");
                    return;
                }
            }
            self.shell().due.remove(&id);
        }
    }
}
