//! Payments over Lightning: ours to others, and others' to us, step by step.

use forebay_channel::NodeId;
use forebay_quantity::Hash32;
use sha2::{Digest, Sha256};

use super::node::Step;
use super::{Channel, InvoiceName, Lightning, Money, Observation, Refused};

/// What somebody is to be paid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Invoice {
    /// What locks it.
    pub hash: Hash32,
    /// How much.
    pub amount_msat: u64,
    /// Who is paid.
    pub payee: NodeId,
    /// In milliseconds; after this the payee takes it no more.
    pub expires_at: u64,
}

/// An invoice of the pool's node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnInvoice {
    /// What was told to the payer.
    pub invoice: Invoice,
    /// Its name; none for a hold invoice.
    pub name: Option<InvoiceName>,
    /// As given when it was made.
    pub payer: u64,
    /// It was.
    pub is_paid: bool,
}

/// A payment to us that has come as far as our node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Through which channel.
    pub channel: u128,
    /// How much.
    pub amount_msat: u64,
    /// The listener was told that it may be claimed.
    pub(super) is_told: bool,
}

/// A channel, and what goes through it, in msat.
pub type Part = (u128, u64);

/// A payment is split over no more channels.
const PARTS_MAX: usize = 8;

/// A payment of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Payment {
    /// What is paid.
    pub invoice: Invoice,
    /// Through which channel its largest part goes.
    pub channel: u128,
    /// What routing costs.
    pub fee_msat: u64,
    parts: [Part; PARTS_MAX],
    /// How it stands.
    pub standing: Standing,
}

impl Payment {
    /// Whether it may still arrive or fail.
    pub fn is_pending(&self) -> bool {
        self.standing == Standing::Pending
    }

    /// What goes through which channel.
    pub fn parts(&self) -> impl Iterator<Item = Part> + use<> {
        self.parts.into_iter().filter(|(_, part)| *part > 0)
    }

    /// What goes through one channel, in msat.
    pub fn through(&self, channel: u128) -> u64 {
        let own = self.parts().filter(|(number, _)| *number == channel);
        own.map(|(_, part)| part).sum()
    }
}

/// How a payment of ours stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Never asked for, as far as stable storage knows: nothing left.
    Unknown,
    /// It may still arrive or fail.
    Pending,
    /// It arrived.
    Sent,
    /// It failed for certain, and may be asked for again.
    Failed,
}

/// How a payment ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The payee took it.
    Arrived,
    /// Nothing of it is under way any more.
    Failed,
}

impl Lightning {
    // Ours.

    /// Pays an invoice, unless that is under way or done.
    ///
    /// # Errors
    /// Why nothing is under way.
    pub fn pay(
        &mut self,
        invoice: Invoice,
        fee_max_msat: u64,
        now_ms: u64,
    ) -> Result<Standing, Refused> {
        match self.payment(invoice.hash) {
            standing @ (Standing::Pending | Standing::Sent) => return Ok(standing),
            Standing::Unknown | Standing::Failed => {}
        }
        if invoice.expires_at <= now_ms {
            return Err(Refused::InvoiceExpired);
        }
        let (parts, fee_msat) = self.route(&invoice, fee_max_msat).ok_or(Refused::NoRoute)?;
        self.unsynced.push(Step::Pay(Box::new(Payment {
            invoice,
            channel: parts[0].0,
            fee_msat,
            parts,
            standing: Standing::Pending,
        })));
        Ok(Standing::Pending)
    }

    /// How a payment stands.
    pub fn payment(&self, hash: Hash32) -> Standing {
        let begun = self.unsynced.iter().any(|step| match step {
            Step::Pay(payment) => payment.invoice.hash == hash,
            _ => false,
        });
        if begun {
            return Standing::Pending;
        }
        let known = self.payments.get(&hash);
        known.map_or(Standing::Unknown, |payment| payment.standing)
    }

    /// All payments that ever left, by hash.
    pub fn payments(&self) -> impl Iterator<Item = (Hash32, &Payment)> {
        self.payments.iter().map(|(hash, payment)| (*hash, payment))
    }

    /// Payments that left since this was last asked.
    pub fn take_left(&mut self) -> Vec<Invoice> {
        std::mem::take(&mut self.left)
    }

    /// Straight to the payee, or through other peers for a fee; in parts where no one channel has room.
    fn route(&mut self, invoice: &Invoice, fee_max_msat: u64) -> Option<([Part; PARTS_MAX], u64)> {
        let amount = invoice.amount_msat;
        if let Some(parts) = self.split(amount, |peer| peer == invoice.payee) {
            return Some((parts, 0));
        }
        let most = (amount / 300).saturating_add(1_000);
        let fee = if self.calm {
            1_000
        } else {
            self.random.between(1, most)
        };
        let parts = self.split(amount.checked_add(fee)?, |peer| peer != invoice.payee)?;
        (fee <= fee_max_msat).then_some((parts, fee))
    }

    /// The largest channels first.
    fn split(&self, amount_msat: u64, is_to: impl Fn(NodeId) -> bool) -> Option<[Part; PARTS_MAX]> {
        let fitting = self.usable().filter(|(_, channel)| is_to(channel.peer));
        let mut fitting: Vec<Part> = fitting
            .map(|(number, channel)| (number, channel.outbound_msat()))
            .collect();
        fitting.sort_by_key(|(number, room)| (std::cmp::Reverse(*room), *number));
        let mut parts = [(0, 0); PARTS_MAX];
        let mut left = amount_msat;
        for (part, (number, room)) in parts.iter_mut().zip(fitting) {
            *part = (number, room.min(left));
            left -= part.1;
        }
        (left == 0).then_some(parts)
    }

    pub(super) fn payment_leaves(&mut self, payment: Payment) {
        let hash = payment.invoice.hash;
        let has_room = payment.parts().all(|(number, part)| {
            let channel = self.channels.get(&number);
            channel.is_some_and(|channel| channel.is_ready && channel.outbound_msat() >= part)
        });
        if !has_room {
            // It went in the meantime.
            let standing = Standing::Failed;
            self.payments.insert(
                hash,
                Payment {
                    standing,
                    ..payment
                },
            );
            self.observe(Observation::Failed { hash });
            return;
        }
        for (number, part) in payment.parts() {
            self.carrying(number).ours_msat -= part;
        }
        self.payments.insert(hash, payment);
        self.left.push(payment.invoice);
    }

    /// A channel that a payment is under way in: it is not closed.
    fn carrying(&mut self, number: u128) -> &mut Channel {
        let channel = self.channels.get_mut(&number);
        channel.expect("a channel with a payment under way is not closed")
    }

    /// Ends a payment of ours, as its payee or those on the way want; the node has to be up to hear of it.
    pub fn resolve(&mut self, hash: Hash32, outcome: Outcome) {
        let Some(payment) = self
            .payments
            .get_mut(&hash)
            .filter(|known| known.is_pending())
        else {
            return;
        };
        payment.standing = match outcome {
            Outcome::Arrived => Standing::Sent,
            Outcome::Failed => Standing::Failed,
        };
        let (ended, fee_msat) = (*payment, payment.fee_msat);
        for (number, part) in ended.parts() {
            let channel = self.carrying(number);
            match outcome {
                Outcome::Arrived => channel.theirs_msat += part,
                Outcome::Failed => channel.ours_msat += part,
            }
        }
        match outcome {
            Outcome::Arrived => {
                let whole = i128::from(ended.invoice.amount_msat + fee_msat);
                self.truth.moved(Money::Sent(hash), -whole);
                self.observe(Observation::Sent { hash, fee_msat });
            }
            Outcome::Failed => self.observe(Observation::Failed { hash }),
        }
    }

    // Others'.

    /// The invoice of this name, the same for ever.
    ///
    /// # Errors
    /// [`Refused::OtherTerms`].
    pub fn invoice(
        &mut self,
        name: InvoiceName,
        amount_msat: u64,
        payer: u64,
        expires_at: u64,
    ) -> Result<Invoice, Refused> {
        let mut hasher = Sha256::new();
        hasher.update(b"own invoice");
        hasher.update(name);
        let hash = Hash32(hasher.finalize().into());
        self.make_invoice(hash, Some(name), amount_msat, payer, expires_at)
    }

    /// An invoice whose payment is held until it is claimed or failed.
    ///
    /// # Errors
    /// [`Refused::OtherTerms`].
    pub fn hold_invoice(
        &mut self,
        hash: Hash32,
        amount_msat: u64,
        payer: u64,
        expires_at: u64,
    ) -> Result<Invoice, Refused> {
        self.make_invoice(hash, None, amount_msat, payer, expires_at)
    }

    fn make_invoice(
        &mut self,
        hash: Hash32,
        name: Option<InvoiceName>,
        amount_msat: u64,
        payer: u64,
        expires_at: u64,
    ) -> Result<Invoice, Refused> {
        let made = self.invoices.entry(hash).or_insert(OwnInvoice {
            invoice: Invoice {
                hash,
                amount_msat,
                payee: self.node,
                expires_at,
            },
            name,
            payer,
            is_paid: false,
        });
        match made.invoice.amount_msat == amount_msat && made.name == name {
            true => Ok(made.invoice),
            false => Err(Refused::OtherTerms),
        }
    }

    /// An invoice of ours, if this locks one.
    pub fn own_invoice(&self, hash: Hash32) -> Option<&OwnInvoice> {
        self.invoices.get(&hash)
    }

    /// Invoices of ours that were not paid.
    pub fn unpaid(&self) -> impl Iterator<Item = &OwnInvoice> {
        let waiting = |hash: &Hash32| self.held.contains_key(hash);
        self.invoices
            .values()
            .filter(move |own| !own.is_paid && !waiting(&own.invoice.hash))
    }

    /// A peer's node pays an invoice of ours, over a channel with it, its own money or somebody's further away.
    ///
    /// # Errors
    /// Why nothing is under way.
    pub fn be_paid(
        &mut self,
        hash: Hash32,
        by: NodeId,
        amount_msat: u64,
        now_ms: u64,
    ) -> Result<(), Refused> {
        let own = self.invoices.get(&hash).ok_or(Refused::NoRoute)?;
        let invoice = own.invoice;
        if invoice.expires_at <= now_ms {
            return Err(Refused::InvoiceExpired);
        }
        if own.is_paid || self.held.contains_key(&hash) || amount_msat < invoice.amount_msat {
            return Err(Refused::NoRoute);
        }
        let mut usable = self.usable();
        let found =
            usable.find(|(_, channel)| channel.peer == by && channel.inbound_msat() >= amount_msat);
        let number = found.map(|(number, _)| number).ok_or(Refused::NoRoute)?;
        drop(usable);
        let channel = self.channels.get_mut(&number).expect("just found");
        channel.theirs_msat -= amount_msat;
        self.held.insert(
            hash,
            Held {
                channel: number,
                amount_msat,
                is_told: false,
            },
        );
        Ok(())
    }

    /// What is held for us and not claimed.
    pub fn held(&self) -> impl Iterator<Item = (Hash32, &Held)> {
        self.held.iter().map(|(hash, held)| (*hash, held))
    }

    /// Takes a payment that is held, by its preimage.
    pub fn claim(&mut self, preimage: [u8; 32]) {
        let hash = Hash32(Sha256::digest(preimage).into());
        if self.held.contains_key(&hash) {
            self.unsynced.push(Step::Claim(hash));
        }
    }

    /// Sends a payment back that is held.
    pub fn fail_held(&mut self, hash: Hash32) {
        if self.held.contains_key(&hash) {
            self.unsynced.push(Step::FailHeld(hash));
        }
    }

    /// Invoices under a name are claimed as their payments come, others when the listener says so.
    pub(super) fn claim_what_came(&mut self) {
        let mut told = Vec::new();
        for (hash, held) in &mut self.held {
            let Some(own) = self.invoices.get(hash) else {
                continue;
            };
            let is_asked = self.unsynced.contains(&Step::Claim(*hash));
            if own.name.is_some() && !is_asked {
                self.unsynced.push(Step::Claim(*hash));
            } else if own.name.is_none() && !held.is_told {
                held.is_told = true;
                told.push(Observation::Claimable {
                    hash: *hash,
                    payer: own.payer,
                    amount_msat: held.amount_msat,
                });
            }
        }
        for observation in told {
            self.observe(observation);
        }
    }

    pub(super) fn claimed(&mut self, hash: Hash32) {
        let Some(held) = self.held.remove(&hash) else {
            return;
        };
        let own = self
            .invoices
            .get_mut(&hash)
            .expect("what is held was asked for");
        own.is_paid = true;
        let (name, payer) = (own.name, own.payer);
        self.carrying(held.channel).ours_msat += held.amount_msat;
        let what = name.map_or(Money::Claimed(hash), Money::Received);
        self.truth.moved(what, i128::from(held.amount_msat));
        self.observe(Observation::Received {
            name,
            payer,
            hash,
            amount_msat: held.amount_msat,
        });
    }

    pub(super) fn sent_back(&mut self, hash: Hash32) {
        let Some(held) = self.held.remove(&hash) else {
            return;
        };
        self.carrying(held.channel).theirs_msat += held.amount_msat;
        self.observe(Observation::Returned { hash });
    }
}
