//! Settlements over Lightning, as far as the core thread carries them: peers are asked for invoices, the rest is ordered.

use forebay_channel::{LightningTerms, PeerMessage, Terms};
use forebay_pool::{ChainRequest, LightningEffect, Payout, State, WithdrawalEffect};
use forebay_quantity::{Amount, EffectId, PeerId};

use super::Post;
use crate::lightning::{ChannelChange, Due, Errand, Payee};

impl Post {
    pub(super) fn settle_over_lightning(&mut self, effect: LightningEffect) {
        match effect {
            LightningEffect::AskInvoice {
                peer,
                settlement,
                amount,
            } => self.ask_invoice(peer, settlement, amount),
            LightningEffect::Pay { hash, .. } => self.order(Errand::Pay(hash)),
        }
    }

    /// By an output, or by the LP's invoice.
    pub(super) fn pay_lp(&mut self, withdrawal: WithdrawalEffect) {
        let WithdrawalEffect { id, amount, payout } = withdrawal;
        self.order(match payout {
            Payout::Output(script) => Errand::PayOut(Due {
                id,
                payee: Payee::Lp(script),
                amount,
            }),
            Payout::Invoice(hash) => Errand::Pay(hash),
        });
    }

    /// A demand goes to the Lightning node, or to a vault's chain.
    pub(super) fn demand(&mut self, id: EffectId, request: ChainRequest) {
        if let Some(change) = ChannelChange::of(&request) {
            return self.order(Errand::Change(id, change));
        }
        match request {
            ChainRequest::ToReserve { amount, .. } => self.order(Errand::PayOut(Due {
                id,
                payee: Payee::Reserve,
                amount,
            })),
            ChainRequest::FromReserve { amount, .. } => {
                self.order(Errand::Draft(id, Some(amount)));
            }
            ChainRequest::RenewReserve { .. } => self.order(Errand::Draft(id, None)),
            // A chain side that is gone finds the request outstanding at the next start.
            request => drop(self.outside.chain.send((id, request))),
        }
    }

    /// A Lightning side that is gone finds it outstanding at the next start.
    fn order(&mut self, errand: Errand) {
        let _ = self.outside.errands.send(errand);
    }

    /// The peer has said which node settles for it: the settlement under way goes on, whether its invoice is known or not.
    pub(super) fn lightning_came(&mut self, state: &State, peer: PeerId) {
        let account = state.peer(peer);
        let under_way = account
            .and_then(|account| account.lightning.as_deref())
            .and_then(|account| account.settlement);
        if let Some(settlement) = under_way {
            self.ask_invoice(peer, settlement.id, settlement.amount);
        }
    }

    fn ask_invoice(&mut self, peer: PeerId, settlement: EffectId, amount: Amount) {
        let message = PeerMessage::InvoiceAsked {
            settlement: settlement.0,
            amount,
        };
        self.say(peer, &message);
    }

    /// Terms as the account's rail has them.
    pub(super) fn terms_message(&self, state: &State, peer: PeerId, terms: Terms) -> PeerMessage {
        let settles_by_lightning = state
            .peer(peer)
            .is_some_and(|account| account.lightning.is_some());
        match self.outside.face.as_ref().filter(|_| settles_by_lightning) {
            Some(face) => PeerMessage::LightningTerms(LightningTerms {
                terms,
                genesis: face.genesis,
                node: face.node,
                address: face.address.clone(),
            }),
            None => PeerMessage::Terms(terms),
        }
    }
}
