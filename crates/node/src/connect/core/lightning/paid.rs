//! Being paid by the pool: an invoice for each of its settlements, and what it brought, counted once.

use forebay_channel::PeerMessage;
use forebay_quantity::{Amount, Milliseconds, Timestamp};

use super::{Core, Effect, LightningEffect};
use crate::connect::account::{INVOICES_MAX, LightningEvent};
use crate::connect::event::Event;

/// An invoice is paid within this long after it was asked for.
const INVOICE_EXPIRY: Milliseconds = Milliseconds::from_seconds(3_600);
/// One that expired this long ago makes room for another: whatever paid it at its last moment was reported.
const INVOICE_KEPT: Milliseconds = Milliseconds::from_seconds(86_400);

impl Core {
    pub(in crate::connect::core) fn invoice_asked(
        &mut self,
        now: Timestamp,
        settlement: u64,
        amount: Amount,
    ) {
        match self.give_invoice(now, settlement, amount) {
            Ok(event) => {
                if let Some(event) = event {
                    self.record(Event::Lightning(event));
                }
                self.effects
                    .push(Effect::Lightning(LightningEffect::MakeInvoice {
                        settlement,
                        amount,
                        expiry: INVOICE_EXPIRY,
                    }));
            }
            Err(why) => self.effects.push(Effect::Say(PeerMessage::InvoiceTold {
                settlement,
                invoice: None,
                refused: Some(why.into()),
            })),
        }
    }

    /// The fact that lets the pool have an invoice; none when it may have the same again.
    fn give_invoice(
        &self,
        now: Timestamp,
        settlement: u64,
        amount: Amount,
    ) -> Result<Option<LightningEvent>, &'static str> {
        if self.lightning_rail().is_none() {
            return Err("this account settles by vouchers, not over Lightning");
        }
        if !self.agreed {
            return Err("no terms are agreed on");
        }
        let account = self.state.account();
        if let Some(given) = account.invoices.get(&settlement) {
            return match given {
                given if given.amount != amount => {
                    Err("another amount was asked for under this number")
                }
                given if given.expires_at <= now => {
                    Err("the invoice under this number has expired")
                }
                _ => Ok(None),
            };
        }
        // Numbers grow, so that one whose invoice was paid is known without a list of them all.
        if settlement <= account.last_given {
            return Err("the invoice under this number was paid, or a later number was asked for");
        }
        if amount.is_zero() || amount.to_u64().is_none() {
            return Err("no invoice is over this amount");
        }
        let oldest = account.invoices.values().next();
        let is_over = oldest.is_some_and(|oldest| now.since(oldest.expires_at) > INVOICE_KEPT);
        if account.invoices.len() >= INVOICES_MAX && !is_over {
            return Err("too many invoices of this account are not paid");
        }
        Ok(Some(LightningEvent::InvoiceGiven {
            settlement,
            amount,
            expires_at: now.saturating_add(INVOICE_EXPIRY),
        }))
    }

    /// Only invoices that were given are ever paid, and each counts once: what is not there was taken before [I11].
    pub(super) fn received(&mut self, settlement: u64, amount: Amount) {
        let account = self.state.account();
        if account.invoices.contains_key(&settlement) {
            return self.record(Event::Lightning(LightningEvent::Received {
                settlement,
                amount,
            }));
        }
        if settlement > account.last_given {
            self.alarm(format!(
                "{amount} msat came for settlement {settlement}, of which nothing is known: this data directory is older \
                 than the last one in use; put the newest back"
            ));
        }
    }
}
