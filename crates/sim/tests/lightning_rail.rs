//! The Lightning suite on the simulator's fake: the fake is never kinder than the node.

use std::collections::{BTreeMap, BTreeSet};

use forebay_adapter_suite::lightning::{
    self as suite, CHANGES, HOLDS, HoldRail, INVOICES, LightningRail, Other, PAYMENTS, Refusal,
    Settlement, Terms, run,
};
use forebay_channel::NodeId;
use forebay_quantity::Hash32;
use forebay_sim::lightning::{Invoice, Lightning, Observation, Outcome, Refused, Standing};
use sha2::{Digest, Sha256};

const OURS: NodeId = NodeId([2; 33]);
const PEER: NodeId = NodeId([3; 33]);
const BEYOND: NodeId = NodeId([4; 33]);

#[test]
fn the_fake_keeps_every_claim_about_channels() {
    run(CHANGES, || Fake::boxed() as Box<dyn LightningRail>);
}

#[test]
fn the_fake_keeps_every_claim_about_payments() {
    run(PAYMENTS, || Fake::boxed() as Box<dyn LightningRail>);
}

#[test]
fn the_fake_keeps_every_claim_about_invoices() {
    run(INVOICES, || Fake::boxed() as Box<dyn LightningRail>);
}

#[test]
fn the_fake_keeps_every_claim_about_hold_invoices() {
    run(HOLDS, || Fake::boxed() as Box<dyn HoldRail>);
}

/// The fake with nothing left to chance, and what its suite plays beside it: those who pay and are paid.
struct Fake {
    lightning: Lightning,
    now_ms: u64,
    /// The last observation that was told since the last start.
    told: u64,
    keeps: bool,
    capacity: (u64, u64),
    texts: BTreeMap<String, Invoice>,
    /// What the peer holds when it is paid.
    held: BTreeSet<Hash32>,
    /// Payments of others that did not even leave.
    refused: BTreeSet<(bool, Hash32)>,
    made: u8,
}

impl Fake {
    fn boxed() -> Box<Self> {
        let mut lightning = Lightning::new(1, OURS);
        lightning.calm = true;
        lightning.connect(PEER, true);
        lightning.connect(BEYOND, false);
        Box::new(Self {
            lightning,
            now_ms: 1_800_000_000_000,
            told: 0,
            keeps: true,
            capacity: (0, 0),
            texts: BTreeMap::new(),
            held: BTreeSet::new(),
            refused: BTreeSet::new(),
            made: 0,
        })
    }

    /// As text, which another invoice never has.
    fn write(&mut self, invoice: Invoice) -> String {
        let text = format!("{invoice:?}");
        self.texts.insert(text.clone(), invoice);
        text
    }

    fn expiry(&self, seconds: u32) -> u64 {
        self.now_ms + u64::from(seconds) * 1_000
    }

    fn value_sat(&self, channel: suite::Channel) -> u64 {
        let known = self.lightning.channel(channel.0.into());
        known.map_or(0, |known| known.value_sat)
    }

    fn only_channel(&self) -> u128 {
        let [channel] = self.lightning.channels()[..] else {
            panic!("there is one channel");
        };
        channel.channel
    }
}

impl LightningRail for Fake {
    fn mine(&mut self, blocks: u32) {
        for _ in 0..blocks {
            self.lightning.mine();
            self.go_on();
        }
    }

    fn height(&mut self) -> u32 {
        self.lightning.chain.height()
    }

    /// The node writes, and who is paid by what leaves then takes it, unless it holds it.
    fn go_on(&mut self) {
        self.now_ms += 10;
        self.lightning.sync();
        for invoice in self.lightning.take_left() {
            if !self.held.contains(&invoice.hash) {
                self.lightning.resolve(invoice.hash, Outcome::Arrived);
            }
        }
        self.lightning.check();
    }

    fn pass(&mut self, seconds: u64) {
        self.now_ms += seconds * 1_000;
    }

    fn fund(&mut self, sat: u64) {
        self.lightning.deposit(None, sat);
        self.mine(forebay_sim::lightning::BURIED);
    }

    fn spendable_sat(&mut self) -> u64 {
        self.lightning.wallet().spendable_sat
    }

    fn unspent_sat(&mut self) -> u64 {
        let wallet = self.lightning.wallet();
        wallet.spendable_sat + wallet.waiting_sat
    }

    fn open(&mut self, openings: &[suite::Opening]) -> Vec<Result<(), Refusal>> {
        let asked = openings.iter().map(|opening| {
            let peer = node(opening.with);
            let number = opening.channel.0.into();
            let (value_sat, fee_max_sat) = (opening.value_sat, opening.fee_max_sat);
            let opened = self
                .lightning
                .open_channel(number, peer, value_sat, fee_max_sat);
            opened.map_err(refusal)
        });
        asked.collect()
    }

    fn splice_in(
        &mut self,
        channel: suite::Channel,
        sat: u64,
        fee_max_sat: u64,
    ) -> Result<(), Refusal> {
        let value = (self.value_sat(channel), sat);
        let spliced = self
            .lightning
            .splice_in(channel.0.into(), value, fee_max_sat);
        spliced.map_err(refusal)
    }

    fn splice_out(
        &mut self,
        channel: suite::Channel,
        sat: u64,
        fee_max_sat: u64,
    ) -> Result<(), Refusal> {
        let value = (self.value_sat(channel), sat);
        let spliced = self
            .lightning
            .splice_out(channel.0.into(), value, fee_max_sat);
        spliced.map_err(refusal)
    }

    fn close(&mut self, channel: suite::Channel, fee_max_sat: u64) -> Result<(), Refusal> {
        let closed = self.lightning.close_channel(channel.0.into(), fee_max_sat);
        closed.map_err(refusal)
    }

    fn channels(&mut self) -> Vec<suite::Standing> {
        let all = self.lightning.channels();
        let all = all.iter().map(|standing| {
            let number = standing.channel;
            let ours = self.lightning.payments();
            let ours: Vec<u64> = ours
                .filter(|(_, payment)| payment.is_pending())
                .map(|(_, payment)| payment.through(number))
                .filter(|part| *part > 0)
                .collect();
            let out: u64 = ours.iter().sum();
            let to_us = self.lightning.held();
            let to_us = to_us.filter(|(_, held)| held.channel == number).count();
            let channel = self.lightning.channel(number).expect("it is there");
            suite::Standing {
                channel: suite::Channel(u64::try_from(number).expect("the suite numbers it")),
                value_sat: standing.value_sat,
                balance_msat: channel.ours_msat + out,
                outbound_msat: standing.outbound_msat,
                inbound_msat: standing.inbound_msat,
                next_max_msat: standing.outbound_msat,
                pending: u64::try_from(ours.len() + to_us).expect("few"),
                usable: standing.is_usable,
            }
        });
        all.collect()
    }

    fn invoice(&mut self, settlement: Settlement, terms: Terms) -> Result<String, Refusal> {
        let expires_at = self.expiry(terms.expiry_s);
        let made = self
            .lightning
            .invoice(settlement.0, terms.amount_msat, 5, expires_at);
        let made = made.map_err(refusal)?;
        Ok(self.write(made))
    }

    fn read(&self, invoice: &str) -> suite::Invoice {
        let invoice = self.texts[invoice];
        suite::Invoice {
            hash: invoice.hash,
            amount_msat: invoice.amount_msat,
            payee: invoice.payee,
        }
    }

    fn pay(&mut self, invoice: &str, fee_max_msat: u64) -> Result<suite::Payment, Refusal> {
        let invoice = self.texts[invoice];
        let begun = self.lightning.pay(invoice, fee_max_msat, self.now_ms);
        begun.map_err(refusal)?;
        Ok(self.payment(invoice.hash))
    }

    fn payment(&mut self, hash: Hash32) -> suite::Payment {
        match self.lightning.payment(hash) {
            Standing::Unknown => suite::Payment::Unknown,
            Standing::Pending => suite::Payment::Pending,
            Standing::Failed => suite::Payment::Failed,
            Standing::Sent => {
                let mut all = self.lightning.payments();
                let (_, payment) = all.find(|(known, _)| *known == hash).expect("it was sent");
                suite::Payment::Sent {
                    fee_msat: payment.fee_msat,
                }
            }
        }
    }

    fn observations(&mut self) -> Vec<suite::Observation> {
        let mut fresh = Vec::new();
        for (number, observed) in self.lightning.observations() {
            if number <= self.told {
                continue;
            }
            self.told = number;
            fresh.extend(observation(observed));
            if self.keeps {
                self.lightning.acknowledge(number);
            }
        }
        let capacity = self.lightning.capacity(PEER);
        if capacity != self.capacity {
            self.capacity = capacity;
            fresh.push(suite::Observation::Capacity {
                outbound_msat: capacity.0,
                inbound_msat: capacity.1,
            });
        }
        fresh
    }

    fn acknowledge(&mut self, keeps: bool) {
        self.keeps = keeps;
    }

    fn restart(&mut self) {
        self.lightning.sync();
        self.lightning.kill();
        (self.told, self.keeps, self.capacity) = (0, true, (0, 0));
        self.lightning.connect(PEER, true);
    }

    fn id(&mut self, who: Other) -> NodeId {
        node(who)
    }

    /// The fake reaches everybody.
    fn reach_beyond(&mut self) {}

    fn connected(&mut self, is_up: bool) {
        self.lightning.connect(PEER, is_up);
    }

    fn their_invoice(&mut self, who: Other, amount_msat: u64, expiry_s: u32) -> String {
        self.made += 1;
        let invoice = Invoice {
            hash: Hash32(Sha256::digest([self.made; 32]).into()),
            amount_msat,
            payee: node(who),
            expires_at: self.expiry(expiry_s),
        };
        self.write(invoice)
    }

    fn their_hold_invoice(&mut self, hash: Hash32, amount_msat: u64, expiry_s: u32) -> String {
        self.held.insert(hash);
        let invoice = Invoice {
            hash,
            amount_msat,
            payee: PEER,
            expires_at: self.expiry(expiry_s),
        };
        self.write(invoice)
    }

    fn they_claim(&mut self, preimage: [u8; 32]) {
        let hash = Hash32(Sha256::digest(preimage).into());
        self.lightning.resolve(hash, Outcome::Arrived);
    }

    fn they_return(&mut self, hash: Hash32) {
        self.lightning.resolve(hash, Outcome::Failed);
    }

    fn they_pay(&mut self, who: Other, invoice: &str) {
        let invoice = self.texts[invoice];
        let (hash, amount_msat) = (invoice.hash, invoice.amount_msat);
        // Whoever pays, it comes by the peer.
        let paid = self.lightning.be_paid(hash, PEER, amount_msat, self.now_ms);
        if paid.is_err() {
            self.refused.insert((who == Other::Peer, hash));
        }
    }

    fn their_payment(&mut self, who: Other, hash: Hash32) -> suite::Payment {
        let is_held = self.lightning.held().any(|(held, _)| held == hash);
        let own = self.lightning.own_invoice(hash);
        if self.refused.contains(&(who == Other::Peer, hash)) {
            return suite::Payment::Failed;
        }
        match own {
            None => suite::Payment::Unknown,
            Some(own) if own.is_paid => suite::Payment::Sent { fee_msat: 0 },
            Some(_) if is_held => suite::Payment::Pending,
            Some(_) => suite::Payment::Failed,
        }
    }

    fn they_received(&mut self, who: Other, hash: Hash32) -> Option<u64> {
        let mut all = self.lightning.payments();
        let (_, payment) = all.find(|(known, _)| *known == hash)?;
        let has_it = payment.standing == Standing::Sent && payment.invoice.payee == node(who);
        has_it.then_some(payment.invoice.amount_msat)
    }

    fn peer_balance_msat(&mut self) -> u64 {
        let all = self.lightning.channels();
        let theirs = all.iter().map(|standing| {
            let channel = self.lightning.channel(standing.channel);
            channel.map_or(0, |channel| channel.theirs_msat)
        });
        theirs.sum()
    }

    fn peer_closes(&mut self) {
        let channel = self.only_channel();
        self.lightning.be_closed(channel);
    }
}

impl HoldRail for Fake {
    fn hold_invoice(&mut self, hash: Hash32, terms: Terms) -> Result<String, Refusal> {
        let expires_at = self.expiry(terms.expiry_s);
        let made = self
            .lightning
            .hold_invoice(hash, terms.amount_msat, 5, expires_at);
        let made = made.map_err(refusal)?;
        Ok(self.write(made))
    }

    fn claim(&mut self, preimage: [u8; 32]) -> Result<(), Refusal> {
        let hash = Hash32(Sha256::digest(preimage).into());
        let own = self.lightning.own_invoice(hash);
        own.ok_or(Refusal::UnknownInvoice)?;
        self.lightning.claim(preimage);
        Ok(())
    }

    fn give_back(&mut self, hash: Hash32) -> Result<(), Refusal> {
        let own = self.lightning.own_invoice(hash);
        own.ok_or(Refusal::UnknownInvoice)?;
        self.lightning.fail_held(hash);
        Ok(())
    }
}

fn node(who: Other) -> NodeId {
    match who {
        Other::Peer => PEER,
        Other::Beyond => BEYOND,
    }
}

fn refusal(refused: Refused) -> Refusal {
    match refused {
        Refused::PeerOffline => Refusal::PeerOffline,
        Refused::UnknownChannel => Refusal::UnknownChannel,
        Refused::Busy | Refused::WrongValue | Refused::Dust => Refusal::Channel,
        Refused::FeeTooHigh => Refusal::FeeTooHigh,
        Refused::TooFewCoins => Refusal::NotEnoughCoins,
        Refused::NoRoute => Refusal::NoRoute,
        Refused::InvoiceExpired => Refusal::InvoiceExpired,
        Refused::OtherTerms => Refusal::OtherTerms,
    }
}

fn observation(observed: Observation) -> Option<suite::Observation> {
    let channel_of = |number: u128| suite::Channel(u64::try_from(number).expect("the suite's"));
    Some(match observed {
        Observation::Received {
            name,
            hash,
            amount_msat,
            ..
        } => suite::Observation::Received {
            settlement: name.map(Settlement),
            hash,
            amount_msat,
        },
        Observation::Claimable {
            hash, amount_msat, ..
        } => suite::Observation::Claimable {
            hash,
            amount_msat,
            deadline_height: None,
        },
        Observation::Returned { hash } => suite::Observation::Returned { hash },
        Observation::Sent { hash, fee_msat } => suite::Observation::Sent { hash, fee_msat },
        Observation::Failed { hash } => suite::Observation::Failed { hash },
        Observation::ChannelPending { channel, fee_sat } => suite::Observation::Pending {
            channel: channel_of(channel),
            funding: None,
            fee_sat,
        },
        Observation::ChannelReady { channel, .. } => suite::Observation::Ready {
            channel: channel_of(channel),
        },
        Observation::ChannelClosed {
            channel,
            was_funded,
            balance_msat,
        } => suite::Observation::Closed {
            channel: channel_of(channel),
            balance_msat: was_funded.then_some(balance_msat),
        },
        Observation::ChannelReturned { channel, cost_msat } => suite::Observation::Back {
            channel: channel_of(channel),
            cost_msat,
            // The fake's closings bring all back at once.
            is_all: true,
        },
        Observation::SplicePending {
            channel, fee_sat, ..
        } => suite::Observation::Spliced {
            channel: channel_of(channel),
            fee_sat,
        },
        Observation::SpliceFailed { .. } => return None,
    })
}
