//! What must be true of an asset on Bitcoin: its books against the coins and channels, and every payment once.

use std::collections::{BTreeMap, BTreeSet};

use forebay_channel::Address;
use forebay_pool::{
    Admin, ChainRequest, ClaimOrder, Command, LightningCommand, LightningEffect, Payout,
    ReserveCommand, State, WithdrawalEffect,
};
use forebay_quantity::{AssetId, EffectId, Hash32, PeerId};

use super::{Auditor, ROUNDED_MAX, plain};
use crate::books::signed;
use crate::lightning::{Invoice, Lightning, Money, Owner, Standing, settlement_name};

/// Naive books of the asset on Bitcoin, in msat.
#[derive(Debug, Clone, Default)]
pub(crate) struct BitcoinBook {
    /// Movements that were counted, each once.
    taken: BTreeSet<Money>,
    total: i128,
    /// What may be paid now, by hash.
    paying: BTreeMap<Hash32, Paying>,
    /// Hashes that were ever journalled.
    hashes: BTreeSet<Hash32>,
    /// A settlement that is under way.
    settling: BTreeMap<PeerId, (EffectId, i128)>,
    outbound: BTreeMap<PeerId, i128>,
    /// Channels demanded that do not carry anything yet.
    opening: BTreeMap<PeerId, EffectId>,
    /// Whose withdrawals are, and what each LP was paid.
    withdrawals: BTreeMap<EffectId, Address>,
    withdrawn: BTreeMap<Address, i128>,
}

#[derive(Debug, Clone, Copy)]
struct Paying {
    /// Whom; none for an LP.
    peer: Option<PeerId>,
    /// The settlement or the withdrawal.
    id: EffectId,
    amount_msat: u64,
}

impl BitcoinBook {
    pub(super) fn settling(&self, peer: PeerId, factor: i128) -> i128 {
        self.settling
            .get(&peer)
            .map_or(0, |(_, amount)| amount / factor)
    }

    pub(super) fn outbound(&self, peer: PeerId) -> i128 {
        self.outbound.get(&peer).copied().unwrap_or(0)
    }

    /// Counts a movement, once; gives by how many ledger units it changes what is held.
    fn take(&mut self, lightning: &Lightning, what: Money, factor: i128) -> i128 {
        let Some(moved) = lightning.moved(what) else {
            panic!("[I15] {what:?} is in the books, and never happened");
        };
        assert!(self.taken.insert(what), "[I11] {what:?} counts twice");
        let before = self.total;
        self.total += moved;
        self.total.div_euclid(factor) - before.div_euclid(factor)
    }
}

impl Auditor {
    /// A command that was accepted, as far as it is about Bitcoin.
    pub(crate) fn on_bitcoin(
        &mut self,
        state: &State,
        lightning: &Lightning,
        (command, factor): (&Command<'_>, i128),
    ) {
        match command {
            Command::Lightning(command) => self.on_lightning(lightning, command, factor),
            Command::Bitcoin(forebay_pool::BitcoinFact::Deposited { outpoint, .. }) => {
                let what = Money::Deposited(*outpoint);
                self.books.bitcoin.take(lightning, what, factor);
            }
            Command::ClaimPaid(paid) => {
                let what = Money::Received(paid.invoice);
                self.books.bitcoin.take(lightning, what, factor);
            }
            Command::Reserve(ReserveCommand::Spent { txid, .. }) => {
                let what = Money::Spent(*txid);
                self.books.bitcoin.take(lightning, what, factor);
            }
            Command::PaymentFinal { id, txid, .. } => {
                self.books.bitcoin.take(lightning, Money::Paid(*id), factor);
                self.output_paid(lightning, *id, *txid);
            }
            Command::PaymentRefused { id } => {
                assert!(
                    !lightning.is_signed(*id),
                    "[I16] payment {id} is given up, and was signed"
                );
                self.books.bitcoin.withdrawals.remove(id);
            }
            Command::Admin(_, Admin::Claim(ClaimOrder::Withdraw { .. })) => {
                self.withdrawal_begun(state);
            }
            Command::Outcome {
                effect,
                failure: Some(_),
            } => {
                let opening = &mut self.books.bitcoin.opening;
                opening.retain(|_, demand| demand != effect);
            }
            _ => {}
        }
    }

    fn on_lightning(&mut self, lightning: &Lightning, command: &LightningCommand, factor: i128) {
        let book = &mut self.books.bitcoin;
        match *command {
            LightningCommand::Received {
                peer, settlement, ..
            } => {
                let what = Money::Received(settlement_name(peer, settlement));
                let arrived = book.take(lightning, what, factor);
                self.books.peer(peer).secured += arrived;
            }
            LightningCommand::InvoiceTold {
                peer,
                settlement,
                invoice,
            } => {
                let amount_msat = u64::try_from(invoice.amount.value()).expect("few");
                let paying = Paying {
                    peer: Some(peer),
                    id: settlement,
                    amount_msat,
                };
                let under_way = book.settling.get(&peer).copied();
                let is_known = book.paying.contains_key(&invoice.hash);
                assert!(
                    is_known || book.hashes.insert(invoice.hash),
                    "[I16] hash {} is used for a second payment",
                    invoice.hash
                );
                if !is_known {
                    assert_eq!(
                        under_way,
                        Some((settlement, i128::from(amount_msat))),
                        "[I16] an invoice is taken for what is not under way"
                    );
                    book.paying.insert(invoice.hash, paying);
                }
            }
            LightningCommand::InvoiceRefused { peer, settlement } => {
                let mut paid = book.paying.values();
                assert!(
                    paid.all(|paying| paying.peer != Some(peer) || paying.id != settlement),
                    "[I16] settlement {settlement} is given up while its invoice is paid"
                );
                book.settling.remove(&peer);
            }
            LightningCommand::Sent { hash, .. } => self.sent(lightning, hash, factor),
            LightningCommand::Failed { hash } => {
                assert!(
                    matches!(
                        lightning.payment(hash),
                        Standing::Unknown | Standing::Failed
                    ),
                    "[I16] a payment is given up that is under way, or has arrived"
                );
                let paying = book.paying.remove(&hash);
                let paying = paying.expect("[I16] what fails was to be paid");
                match paying.peer {
                    Some(peer) => book.settling.remove(&peer).map(|_| ()),
                    None => book.withdrawals.remove(&paying.id).map(|_| ()),
                };
            }
            LightningCommand::Funded { demand, .. } => {
                book.take(lightning, Money::Funded(u128::from(demand.0)), factor);
            }
            LightningCommand::Capacity { peer, outbound, .. } => {
                book.outbound.insert(peer, signed(outbound.value()));
            }
            LightningCommand::ChannelStands { channel, .. } => {
                let opening = &mut book.opening;
                opening.retain(|_, demand| u128::from(demand.0) != channel.0);
            }
            LightningCommand::Spliced { txid, .. } => {
                book.take(lightning, Money::Spliced(txid), factor);
            }
            LightningCommand::ChannelClosed { channel, .. } => {
                let opening = &mut book.opening;
                opening.retain(|_, demand| u128::from(demand.0) != channel.0);
            }
            LightningCommand::ChannelReturned { channel, .. } => {
                let what = Money::Closed(channel.0);
                if lightning.moved(what).is_some() {
                    book.take(lightning, what, factor);
                }
            }
            LightningCommand::Started => {
                book.outbound.values_mut().for_each(|carried| *carried = 0);
            }
            // A closing of the fake's is one transaction, which it tells of as a whole.
            LightningCommand::ClosingPaid { .. }
            | LightningCommand::Stored { .. }
            | LightningCommand::NodeNamed { .. }
            | LightningCommand::InvoiceAsked { .. } => {}
        }
    }

    fn sent(&mut self, lightning: &Lightning, hash: Hash32, factor: i128) {
        let book = &mut self.books.bitcoin;
        let paying = book.paying.remove(&hash);
        let paying = paying.expect("[I16] what arrived was to be paid");
        book.take(lightning, Money::Sent(hash), factor);
        let mut all = lightning.payments();
        let (_, paid) = all.find(|(of, _)| *of == hash).expect("it arrived");
        let amount = i128::from(paid.invoice.amount_msat);
        match paying.peer {
            Some(peer) => {
                book.settling.remove(&peer);
                self.books.peer(peer).vouched += amount / factor;
            }
            None => {
                let owner = book.withdrawals.remove(&paying.id);
                let owner = owner.expect("[I16] a withdrawal ends once");
                *book.withdrawn.entry(owner).or_insert(0) += amount;
            }
        }
    }

    fn output_paid(&mut self, lightning: &Lightning, id: EffectId, txid: Hash32) {
        let Some(owner) = self.books.bitcoin.withdrawals.remove(&id) else {
            // A sweep.
            return;
        };
        let transaction = lightning.chain.transaction(txid).expect("it is final");
        assert!(
            lightning.chain.is_buried(txid),
            "[I15] a payment counts before it is final"
        );
        let outputs = transaction.outputs.iter();
        let strange = outputs.filter(|coin| coin.owner == Owner::Stranger);
        let sat: u64 = strange.map(|coin| coin.sat).sum();
        let withdrawn = &mut self.books.bitcoin.withdrawn;
        *withdrawn.entry(owner).or_insert(0) += i128::from(sat) * 1_000;
    }

    fn withdrawal_begun(&mut self, state: &State) {
        let id = state.last_effect();
        let mut all = state.withdrawals();
        let (_, begun) = all
            .find(|(known, _)| *known == id)
            .expect("it was just begun");
        let book = &mut self.books.bitcoin;
        book.withdrawals.insert(id, begun.owner);
        if let Payout::Invoice(hash) = begun.payout {
            assert!(
                book.hashes.insert(hash),
                "[I16] hash {hash} is used for a second payment"
            );
            let amount_msat = u64::try_from(begun.amount.value()).expect("few");
            let paying = Paying {
                peer: None,
                id,
                amount_msat,
            };
            book.paying.insert(hash, paying);
        }
    }

    // What leaves.

    pub(super) fn lightning_released(&mut self, effect: &LightningEffect) {
        if let LightningEffect::AskInvoice {
            peer,
            settlement,
            amount,
        } = *effect
        {
            let asked = (settlement, signed(amount.value()));
            let earlier = self.books.bitcoin.settling.insert(peer, asked);
            assert!(
                earlier.is_none_or(|earlier| earlier == asked),
                "[I16] two settlements of peer {peer} are under way"
            );
        }
    }

    pub(super) fn withdrawal_released(&self, effect: &WithdrawalEffect) {
        let withdrawals = &self.books.bitcoin.withdrawals;
        assert!(
            withdrawals.contains_key(&effect.id),
            "[I16] withdrawal {} is paid, and nobody asked for it",
            effect.id
        );
    }

    pub(super) fn change_released(&mut self, id: EffectId, request: &ChainRequest) {
        if let ChainRequest::OpenLightning { peer, .. } = request {
            let earlier = self.books.bitcoin.opening.insert(*peer, id);
            assert!(
                earlier.is_none_or(|earlier| earlier == id),
                "[I11] a second channel to peer {peer} is demanded before the first carries anything"
            );
        }
    }

    /// A payment left the node: what it pays was journalled and synced before.
    pub(crate) fn payment_left(&self, invoice: &Invoice) {
        let journalled = self.synced.1.bitcoin.paying.get(&invoice.hash);
        let Some(paying) = journalled else {
            panic!(
                "[I16] {} is paid before its hash is journalled",
                invoice.hash
            );
        };
        assert_eq!(
            invoice.amount_msat, paying.amount_msat,
            "[I16] what is paid under {} is not what was journalled",
            invoice.hash
        );
    }

    // What is true between batches.

    pub(super) fn check_bitcoin(&self, state: &State, lightning: &Lightning, id: AssetId) {
        lightning.check();
        let asset = state.asset(id).expect("listed");
        let book = &self.books.bitcoin;
        let held = signed(asset.vault.chain_total.value());
        assert_eq!(
            held, book.total,
            "[I15] the books hold {held} msat on Bitcoin, and what was counted comes to {}",
            book.total
        );
        for (hash, payment) in lightning.payments() {
            assert!(
                !payment.is_pending() || book.paying.contains_key(&hash),
                "[I16] {hash} is being paid, and the books know nothing of it"
            );
        }
        for (id, withdrawal) in state.withdrawals() {
            let owner = book.withdrawals.get(&id);
            assert_eq!(owner, Some(&withdrawal.owner), "[I16] withdrawal {id}");
        }
        for (owner, lp) in state.lps_on_bitcoin() {
            let withdrawn = book.withdrawn.get(&owner).copied().unwrap_or(0);
            assert_eq!(
                signed(lp.withdrawn.value()),
                withdrawn,
                "[I15] what an LP was paid, by the books and by the chain and Lightning"
            );
        }
        self.check_notes_on_bitcoin(state, id);
    }

    fn check_notes_on_bitcoin(&self, state: &State, id: AssetId) {
        let asset = state.asset(id).expect("listed");
        let units = signed(asset.vault.units.value());
        let holders = asset.vault.holders.values();
        let held: i128 = holders.map(|holding| signed(holding.units.value())).sum();
        assert_eq!(units, held, "[I15] units of LPs on Bitcoin");
        let leaving = state.withdrawals().map(|(_, withdrawal)| {
            let most = withdrawal.amount.saturating_add(withdrawal.fee_max);
            signed(asset.ledger_floor(most).value())
        });
        let leaving: i128 = leaving.sum();
        let notes = signed(asset.ledger_floor(asset.note_claims()).value());
        let booked = plain(state.balance(asset.accounts.notes));
        assert!(
            (booked - notes - leaving).abs() <= ROUNDED_MAX,
            "[I15] notes on Bitcoin claim {notes} and {leaving} is on its way to LPs, and the books have {booked} for them"
        );
    }

    /// In the end all that happened was counted.
    pub(crate) fn check_all_counted(&self, lightning: &Lightning) {
        for what in lightning.movements().filter(|what| lightning.is_old(*what)) {
            let is_counted = self.books.bitcoin.taken.contains(&what);
            assert!(is_counted, "[live] {what:?} is in no book");
        }
    }
}
