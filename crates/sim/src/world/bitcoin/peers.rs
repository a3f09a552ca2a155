//! What peers and LPs say to the pool about payments, and what it says to them.

use forebay_pool::{Admin, ClaimOrder, Command, InvoiceTerms, LightningCommand, Way};
use forebay_quantity::{Amount, EffectId, PeerId, Timestamp};

use super::{Errand, World};
use crate::lightning::Invoice;
use crate::world::Mail;

impl World {
    /// A peer proves its node; the pool says again what it waits for.
    pub(crate) fn reconnect_on_bitcoin(&mut self, number: usize) {
        let Some(node) = self.actors[number].node else {
            return;
        };
        let peer = self.actors[number].id;
        let removed = self.actors[number].removed;
        let named = self.apply(&Command::Lightning(LightningCommand::NodeNamed {
            peer,
            node,
        }));
        assert!(
            named.is_ok() || removed,
            "a peer cannot name its node: {named:?}"
        );
        self.tell_capacity(peer, node);
        for standing in self.lightning().channels() {
            if standing.peer == node && self.process.state().peer_at(node) == Some(peer) {
                self.tell_channel(peer, standing.channel);
            }
        }
        let account = self.process.state().peer(peer);
        let under_way = account.and_then(|peer| peer.lightning.as_deref()?.settlement);
        if let Some(under_way) = under_way {
            let (settlement, amount) = (under_way.id, under_way.amount);
            self.post(Mail::InvoiceWanted {
                peer,
                settlement,
                amount,
            });
        }
    }

    /// A peer tells the invoice of a settlement.
    pub(in crate::world) fn invoice_told(
        &mut self,
        peer: PeerId,
        settlement: EffectId,
        invoice: Option<Invoice>,
    ) {
        if !self.works() {
            return;
        }
        let taken = match invoice {
            Some(invoice) => self.take_invoice(peer, settlement, invoice),
            None => false,
        };
        if !taken && self.works() {
            let refused = LightningCommand::InvoiceRefused { peer, settlement };
            let _known_or_not = self.apply(&Command::Lightning(refused));
        }
    }

    pub(super) fn take_invoice(
        &mut self,
        peer: PeerId,
        settlement: EffectId,
        invoice: Invoice,
    ) -> bool {
        let hash = invoice.hash;
        let terms = InvoiceTerms {
            hash,
            amount: Amount::from(invoice.amount_msat),
            payee: invoice.payee,
            expires_at: Timestamp(invoice.expires_at),
        };
        self.shell().told.insert(hash, invoice);
        let told = LightningCommand::InvoiceTold {
            peer,
            settlement,
            invoice: terms,
        };
        let taken = self.apply(&Command::Lightning(told));
        if taken.is_err() {
            self.counts.add("lightning", "invoice refused");
            self.shell().told.remove(&hash);
            return false;
        }
        #[cfg(feature = "planted-bugs")]
        if forebay_quantity::planted::is(forebay_quantity::planted::Bug::PaidBeforeJournalled) {
            let _begun_or_not = self.begin_payment(hash);
            self.sync_node();
            return true;
        }
        // After a restart no effect follows: the hash was journalled before it.
        self.shell().once_durable.push(Errand::Pay(hash));
        true
    }

    /// An LP asks to be paid by an invoice of its own; its text is here before it may be paid.
    pub(crate) fn withdraw_by_invoice(
        &mut self,
        owner: forebay_channel::Address,
        invoice: Invoice,
    ) {
        let hash = invoice.hash;
        let terms = InvoiceTerms {
            hash,
            amount: Amount::from(invoice.amount_msat),
            payee: invoice.payee,
            expires_at: Timestamp(invoice.expires_at),
        };
        let is_new = self.shell().told.insert(hash, invoice).is_none();
        let way = Way::Lightning(terms);
        let asked = self.admin(Admin::Claim(ClaimOrder::Withdraw { owner, way }));
        if asked.is_err() && is_new {
            self.shell().told.remove(&hash);
        }
    }

    /// A peer wants to pay.
    pub(in crate::world) fn invoice_asked(
        &mut self,
        peer: PeerId,
        settlement: u64,
        amount_msat: u64,
    ) {
        if !self.works() {
            return;
        }
        let asked = LightningCommand::InvoiceAsked {
            peer,
            settlement,
            amount: Amount::from(amount_msat),
        };
        if self.apply(&Command::Lightning(asked)).is_ok() {
            let name = crate::lightning::settlement_name(peer, settlement);
            let give = Errand::GiveInvoice(peer, name, amount_msat);
            self.shell().once_durable.push(give);
        }
    }
}
