//! Paying the pool ahead: one settlement at a time, by the invoice that the pool told for it.

use forebay_channel::PeerMessage;
use forebay_pool::{InvoiceTerms, lightning_fee_max};
use forebay_quantity::{Amount, Hash32, Milliseconds, Timestamp};

use super::{Core, Effect, LightningEffect, RETRY};
use crate::connect::account::LightningEvent;
use crate::connect::core::SAY_AGAIN_MS;
use crate::connect::event::Event;

/// Less than this is no settlement, in millisatoshi: one satoshi, below which nodes take no payment.
const PAYMENT_MIN: Amount = Amount::new(1_000);
/// An invoice that expires sooner is not begun with: routing takes a while.
const INVOICE_LEFT_MIN: Milliseconds = Milliseconds::from_seconds(60);
/// The longest invoice taken, in bytes: several times what one without route hints has.
const INVOICE_BYTES_MAX: usize = 2_048;
/// A payment that the pool has not credited after this long is an alarm, and again as often.
const UNCREDITED_MAX: Milliseconds = Milliseconds::from_seconds(60);

impl Core {
    /// What we can have paid by now: paid and under way, and what the channels carry beyond that with the fee.
    pub(in crate::connect::core) fn payable(&self) -> Amount {
        self.state.account().sent().saturating_add(self.next_max())
    }

    /// The most that one payment may come to, so that the channels carry its fee as well: the fee bound is at most half a
    /// percent and ten satoshi.
    fn next_max(&self) -> Amount {
        let outbound = self.passing.outbound;
        let before_base = outbound.saturating_sub(lightning_fee_max(Amount::ZERO));
        let most = before_base.mul_div_floor(200, 201).unwrap_or(Amount::ZERO);
        let most = most.min(Amount::from(u64::MAX));
        if most < PAYMENT_MIN {
            return Amount::ZERO;
        }
        most
    }

    /// Begins a settlement when too little is paid ahead. What was paid before must be credited first: a pool that credits
    /// nothing gets one payment.
    pub(in crate::connect::core) fn settle_ahead(&mut self, now: Timestamp) {
        let account = self.state.account();
        let waits = account.settlement.is_some() || now < self.passing.settle_at;
        if !self.agreed || waits || self.held < account.paid {
            return;
        }
        let Some((low, full)) = self.ahead() else {
            return;
        };
        let amount = full.saturating_sub(account.paid).min(self.next_max());
        if account.paid >= low || amount < PAYMENT_MIN {
            return;
        }
        let settlement = account.last_settlement + 1;
        self.record(Event::Lightning(LightningEvent::SettlementBegun {
            settlement,
            amount,
        }));
        self.ask_invoice(now);
    }

    /// Asks for the invoice of the settlement under way, if it is not known.
    pub(in crate::connect::core) fn ask_invoice(&mut self, now: Timestamp) {
        let under_way = self.state.account().settlement.as_ref();
        let Some(asked) = under_way.filter(|settlement| settlement.invoice.is_none()) else {
            return;
        };
        self.passing.asked_at = now;
        self.effects.push(Effect::Say(PeerMessage::InvoiceAsked {
            settlement: asked.number,
            amount: asked.amount,
        }));
    }

    /// Asks again for what the pool should have told by now, and complains of what it should have credited.
    pub(in crate::connect::core) fn ask_invoice_again(&mut self, now: Timestamp) {
        if !self.agreed {
            return;
        }
        if now.since(self.passing.asked_at).0 >= SAY_AGAIN_MS {
            self.ask_invoice(now);
        }
        let paid = self.state.account().paid;
        if self.held >= paid {
            return;
        }
        let since = *self.passing.uncredited_since.get_or_insert(now);
        if now.since(since) >= UNCREDITED_MAX {
            self.passing.uncredited_since = Some(now);
            self.alarm(format!(
                "the pool was paid {paid} msat and has credited {} only; nothing more is paid until it does",
                self.held
            ));
            self.say_hello();
        }
    }

    pub(super) fn invoice_told(
        &mut self,
        now: Timestamp,
        settlement: u64,
        invoice: String,
        terms: &InvoiceTerms,
    ) {
        let under_way = self.state.account().settlement.as_ref();
        // One that has ended is paid by no invoice any more.
        let Some(asked) = under_way.filter(|asked| asked.number == settlement) else {
            return;
        };
        if let Some(paying) = &asked.invoice {
            if paying.hash != terms.hash {
                self.alarm(format!(
                    "the pool told a second invoice for settlement {settlement}; the first is being paid [I16]"
                ));
            }
            return;
        }
        if let Some(why) = self.unpayable(now, asked.amount, &invoice, terms) {
            return self.invoice_refused(now, settlement, why);
        }
        self.record(Event::Lightning(LightningEvent::SettlementHashed {
            settlement,
            hash: terms.hash,
            invoice,
        }));
        self.effects.extend(self.payment().map(Effect::Lightning));
    }

    /// Why an invoice is not the one asked for, in words.
    fn unpayable(
        &self,
        now: Timestamp,
        asked: Amount,
        invoice: &str,
        terms: &InvoiceTerms,
    ) -> Option<&'static str> {
        if self
            .lightning_rail()
            .is_none_or(|rail| rail.pool_node != terms.payee)
        {
            return Some("its invoice pays another node than the pool's");
        }
        if terms.amount != asked {
            return Some("its invoice is over another amount");
        }
        if terms.expires_at.since(now) < INVOICE_LEFT_MIN {
            return Some("its invoice expires too soon");
        }
        if self.state.account().is_used(terms.hash) {
            return Some("its invoice's payment hash was used before");
        }
        (invoice.len() > INVOICE_BYTES_MAX).then_some("its invoice is too long")
    }

    /// Ends a settlement for which nothing was sent.
    pub(in crate::connect::core) fn invoice_refused(
        &mut self,
        now: Timestamp,
        settlement: u64,
        why: &str,
    ) {
        let under_way = self.state.account().settlement.as_ref();
        let is_asked =
            under_way.is_some_and(|asked| asked.number == settlement && asked.invoice.is_none());
        if is_asked {
            self.settlement_failed(now, settlement, why);
        }
    }

    /// The chore that the settlement under way demands, once its invoice is known.
    pub(super) fn payment(&self) -> Option<LightningEffect> {
        let settlement = self.state.account().settlement.as_ref()?;
        let paying = settlement.invoice.as_ref()?;
        Some(LightningEffect::Pay {
            hash: paying.hash,
            invoice: paying.text.clone(),
            fee_max: lightning_fee_max(settlement.amount),
        })
    }

    pub(super) fn payment_sent(&mut self, hash: Hash32, fee: Amount) {
        if let Some(settlement) = self.paying(hash) {
            self.record(Event::Lightning(LightningEvent::SettlementPaid {
                settlement,
                fee,
            }));
        }
    }

    pub(super) fn payment_failed(&mut self, now: Timestamp, hash: Hash32, why: &str) {
        if let Some(settlement) = self.paying(hash) {
            self.settlement_failed(now, settlement, why);
        }
    }

    /// The settlement under way that this hash pays; none for one whose end is known.
    fn paying(&self, hash: Hash32) -> Option<u64> {
        let settlement = self.state.account().settlement.as_ref()?;
        let paying = settlement.invoice.as_ref()?;
        (paying.hash == hash).then_some(settlement.number)
    }

    fn settlement_failed(&mut self, now: Timestamp, settlement: u64, why: &str) {
        self.record(Event::Lightning(LightningEvent::SettlementFailed {
            settlement,
        }));
        self.passing.settle_at = now.saturating_add(RETRY);
        self.alarm(format!(
            "the pool could not be paid over Lightning: {why}; it is tried again in {} s",
            RETRY.0 / 1_000
        ));
    }
}
