//! The link to the pool: what is agreed on it, and what is said again after it broke.

use forebay_channel::{PeerKeys, PeerMessage, RESUME_MAX, Terms, node_claim};
use forebay_ilp::{ErrorCode, FulfillView};
use forebay_quantity::{Amount, ChannelSerial, Timestamp};

use super::{Core, Effect, LightningEffect, Rail};
use crate::connect::event::Event;
use crate::connect::reply::{fulfill, reject};

/// A fulfill of which only the preimage came back waits this long for its data: the pool hears it again once the payee
/// is back, and an ILP sender that reads no data in a fulfill takes it for neither paid nor failed.
const BARE_WAIT_MS: u64 = 5_000;
/// Before its expiry by this much it is passed on without.
const BARE_MARGIN_MS: u64 = 1_000;

impl Core {
    pub(super) fn pool_came(&mut self) {
        self.pool_up = true;
        self.agreed = false;
        self.told_held = None;
        self.say_hello();
    }

    pub(super) fn say_hello(&mut self) {
        self.effects.push(match &self.policy.rail {
            Rail::Vault(rail) => Effect::SayHello(PeerKeys {
                signer: rail.signer,
                payout: rail.payout,
            }),
            Rail::Lightning(rail) => Effect::Lightning(LightningEffect::SayHello {
                claim: node_claim(&rail.account, rail.pool_node),
            }),
        });
    }

    pub(super) fn pool_went(&mut self) {
        self.pool_up = false;
        self.agreed = false;
        self.asked.clear();
        for waiting in std::mem::take(&mut self.waiting) {
            self.refuse_software(
                waiting.software_request,
                ErrorCode::T01PeerUnreachable,
                "the link to the pool is down",
            );
        }
    }

    pub(super) fn pool_says(&mut self, now: Timestamp, message: PeerMessage) {
        match message {
            PeerMessage::Terms(terms) => self.take_terms(now, terms),
            PeerMessage::Voucher {
                serial,
                amount,
                signature,
            } => self.take_voucher(now, serial, amount, signature),
            PeerMessage::VoucherHeld {
                serial,
                secured,
                refused,
            } => self.voucher_held(now, serial, secured, refused),
            PeerMessage::Resumed { fulfilled, pending } => self.resumed(now, &fulfilled, &pending),
            PeerMessage::PacketsAsked { packets } => self.packets_asked(now, &packets),
            PeerMessage::LightningTerms(terms) => self.take_lightning_terms(now, &terms),
            PeerMessage::InvoiceAsked { settlement, amount } => {
                self.invoice_asked(now, settlement, amount)
            }
            // One that names an invoice is read outside, and comes as a command of its own.
            PeerMessage::InvoiceTold {
                settlement,
                refused,
                ..
            } => self.invoice_refused(now, settlement, refused.as_deref().unwrap_or("no reason")),
            PeerMessage::Hello { .. }
            | PeerMessage::Resume { .. }
            | PeerMessage::PacketsUnknown { .. }
            | PeerMessage::LightningHello { .. } => {
                self.alarm("the pool sent what only a peer says")
            }
            PeerMessage::Guard { .. }
            | PeerMessage::Guarded { .. }
            | PeerMessage::Held { .. }
            | PeerMessage::HeadAsked { .. }
            | PeerMessage::HeadTold(_)
            | PeerMessage::HeadKnown { .. } => {
                self.alarm("the pool sent what it does not say to a peer, or not so")
            }
        }
    }

    pub(super) fn take_terms(&mut self, now: Timestamp, terms: Terms) {
        if let Some(objection) = self.objection(&terms) {
            self.agreed = false;
            return self.alarm(objection);
        }
        let live = self
            .live_serial()
            .is_some_and(|serial| terms.serial == Some(serial));
        self.held = if live { terms.held } else { Amount::ZERO };
        self.agree(now, &terms, live);
    }

    /// Goes by terms that nothing speaks against.
    pub(super) fn agree(&mut self, now: Timestamp, terms: &Terms, live: bool) {
        let first = !self.agreed;
        self.agreed = true;
        self.credit = terms.credit;
        let named = lasting(terms);
        if self.state.terms.as_ref() != Some(&named) {
            self.record(Event::TermsNamed(Box::new(named)));
        }
        if live && self.told_held != terms.serial {
            self.tell_held();
        }
        if first {
            self.greet(now);
        }
        self.release_waiting(now);
    }

    /// Tells the pool of its own highest voucher: it signs no other before, and stops when it does not know this one.
    pub(super) fn tell_held(&mut self) {
        let Some(channel) = &self.state.channel else {
            return;
        };
        let (serial, amount) = (channel.serial(), channel.incoming.promised());
        self.told_held = Some(serial);
        self.effects.push(Effect::Say(PeerMessage::Held {
            serial,
            amount,
            signature: self.state.best_signature,
        }));
    }

    /// Says again, on a new link, what may have been lost with the old one.
    pub(super) fn greet(&mut self, now: Timestamp) {
        self.ask_invoice(now);
        if let Some(channel) = self
            .state
            .channel
            .as_ref()
            .filter(|channel| channel.is_live())
        {
            let signed = channel.outgoing.promised();
            if signed > self.held {
                self.effects
                    .push(Effect::SignVoucher(channel.serial(), signed));
            }
        }
        let answers = self
            .state
            .answers
            .iter()
            .filter(|(_, answer)| answer.expires_at > now);
        self.effects.extend(
            answers.map(|(request, answer)| Effect::AnswerPool(*request, answer.packet.clone())),
        );
        let requests = self.state.outgoing.keys().copied().collect();
        self.ask(now, requests);
    }

    pub(super) fn ask(&mut self, now: Timestamp, mut requests: Vec<u32>) {
        if requests.is_empty() {
            return;
        }
        requests.truncate(RESUME_MAX);
        self.asked.clone_from(&requests);
        self.asked_at = now;
        self.effects
            .push(Effect::Say(PeerMessage::Resume { requests }));
    }

    /// Why these terms are not for us, in words.
    pub(super) fn objection(&self, terms: &Terms) -> Option<String> {
        let Rail::Vault(rail) = &self.policy.rail else {
            return Some(
                "the pool settles this account by vouchers, the configuration says over Lightning"
                    .into(),
            );
        };
        let (chain_id, vault) = (rail.chain_id, rail.vault);
        if terms.chain_id != chain_id {
            return Some(format!(
                "the pool settles on chain {}, the configuration says {chain_id}",
                terms.chain_id
            ));
        }
        if terms.vault != vault {
            return Some(format!(
                "the pool's vault is {}, the configuration says {vault}",
                terms.vault
            ));
        }
        if let Some(block) = self.state.lost_block {
            return Some(format!(
                "the chain dropped block {block} that had been final: look at the vault, then start with --after-reorg"
            ));
        }
        if terms.chain_scale < terms.asset_scale || terms.chain_scale > 38 {
            return Some("the pool's chain scale is below its asset scale, or above 38".into());
        }
        let scales = (self.policy.asset_scale, rail.chain_scale);
        if (terms.asset_scale, terms.chain_scale) != scales {
            return Some(format!(
                "the pool counts packets in {} decimal places and vouchers in {}; the configuration says {} and the vault's \
                 token has {}",
                terms.asset_scale, terms.chain_scale, scales.0, scales.1
            ));
        }
        let before = self.state.terms.as_ref()?;
        if (before.asset_scale, before.chain_scale) != (terms.asset_scale, terms.chain_scale) {
            return Some(
                "the pool changed the asset's scales: the books would no longer add up".into(),
            );
        }
        let promised = self
            .state
            .channel
            .as_ref()
            .map_or(Amount::ZERO, |channel| channel.outgoing.promised());
        if terms.serial == self.live_serial() && terms.serial.is_some() && terms.held > promised {
            return Some(format!(
                "the pool holds a voucher over {} and we know of {promised} only: this data directory is older than the \
                 last one in use; put the newest back",
                terms.held
            ));
        }
        None
    }

    pub(super) fn live_serial(&self) -> Option<ChannelSerial> {
        self.state
            .channel
            .as_ref()
            .filter(|channel| channel.is_live())
            .map(|channel| channel.serial())
    }

    pub(super) fn resumed(
        &mut self,
        now: Timestamp,
        fulfilled: &[(u32, [u8; 32])],
        pending: &[u32],
    ) {
        for request in std::mem::take(&mut self.asked) {
            if let Some((_, preimage)) = fulfilled.iter().find(|(id, _)| *id == request) {
                self.await_data(now, request, *preimage);
            } else if !pending.contains(&request) {
                self.sent_failed(
                    request,
                    reject(
                        ErrorCode::T00InternalError,
                        "the pool restarted and rejected it",
                    ),
                );
            }
        }
    }

    pub(super) fn await_data(&mut self, now: Timestamp, request: u32, preimage: [u8; 32]) {
        let Some(sent) = self.state.outgoing.get(&request) else {
            return;
        };
        let until = Timestamp(
            now.0
                .saturating_add(BARE_WAIT_MS)
                .min(sent.expires_at.0.saturating_sub(BARE_MARGIN_MS)),
        );
        self.bare.entry(request).or_insert((preimage, until));
        self.give_up_data(now);
    }

    /// Passes on without data what has waited for it long enough.
    pub(super) fn give_up_data(&mut self, now: Timestamp) {
        let due = self.bare.iter().filter(|(_, (_, until))| *until <= now);
        let due: Vec<(u32, [u8; 32])> = due
            .map(|(request, (preimage, _))| (*request, *preimage))
            .collect();
        for (request, preimage) in due {
            let view = FulfillView {
                fulfillment: &preimage,
                data: &[],
            };
            self.pool_fulfill(request, &fulfill(&preimage), &view);
        }
    }
}

/// The part of the terms that stays the same between two settlements.
fn lasting(terms: &Terms) -> Terms {
    let (held, signed, owed_to_peer, owed_to_pool) =
        (Amount::ZERO, Amount::ZERO, Amount::ZERO, Amount::ZERO);
    Terms {
        held,
        signed,
        owed_to_peer,
        owed_to_pool,
        ..terms.clone()
    }
}
