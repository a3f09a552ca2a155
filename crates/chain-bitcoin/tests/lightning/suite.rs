//! The adapter suite on the real node: ldk-node is the peer and whoever is beyond it, bitcoind is the chain.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use bitcoin::Network;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::PublicKey;
use forebay_adapter_suite::lightning::{
    CHANGES, Channel, HOLDS, HoldRail, INVOICES, Invoice, KEYSENDS, KeysendRail, LightningRail,
    NODES, NodeRail, Observation, Opening, Other, PAYMENTS, Payment, Refusal, Settlement, Standing,
    Terms, run,
};
use forebay_chain_bitcoin::lightning::{
    self as ours, ChannelNumber, HotWallet, InvoiceTerms, KeysendTerms, PaymentStanding,
    PaymentTerms,
};
use forebay_chain_bitcoin::{Fault, Retry};
use forebay_channel::NodeId;
use forebay_quantity::Hash32;
use ldk_node::UserChannelId;
use ldk_node::lightning_invoice::{Bolt11Invoice, Bolt11InvoiceDescription, Description};
use ldk_node::lightning_types::payment::{PaymentHash, PaymentPreimage};
use ldk_node::payment::{PaymentDetails, PaymentDirection, PaymentKind, PaymentStatus};

use crate::world::{Ours, Theirs, World, until};

#[test]
fn the_node_keeps_every_claim_about_channels() {
    run(CHANGES, || Real::boxed() as Box<dyn LightningRail>);
}

#[test]
fn the_node_keeps_every_claim_about_payments() {
    run(PAYMENTS, || Real::boxed() as Box<dyn LightningRail>);
}

#[test]
fn the_node_keeps_every_claim_about_invoices() {
    run(INVOICES, || Real::boxed() as Box<dyn LightningRail>);
}

#[test]
fn the_node_keeps_every_claim_about_hold_invoices() {
    run(HOLDS, || Real::boxed() as Box<dyn HoldRail>);
}

#[test]
fn the_node_keeps_every_claim_about_nodes() {
    run(NODES, || Real::boxed() as Box<dyn NodeRail>);
}

#[test]
fn the_node_keeps_every_claim_about_payments_without_an_invoice() {
    run(KEYSENDS, || Real::boxed() as Box<dyn KeysendRail>);
}

/// Nodes end before their chain does, since they are named before it.
struct Real {
    ours: Option<Ours>,
    /// How many of its observations the suite has.
    taken: usize,
    peer: Theirs,
    /// What the peer holds.
    held: BTreeSet<[u8; 32]>,
    beyond: Option<Theirs>,
    world: World,
}

impl Real {
    fn boxed() -> Box<Self> {
        let world = World::new();
        let (ours, peer) = (world.ours("ours"), world.theirs("peer"));
        ours.connect(&peer);
        Box::new(Self {
            ours: Some(ours),
            taken: 0,
            peer,
            held: BTreeSet::new(),
            beyond: None,
            world,
        })
    }

    fn ours(&self) -> &Ours {
        self.ours.as_ref().expect("it runs but in a restart")
    }

    fn beyond(&mut self) -> &Theirs {
        let Self { beyond, world, .. } = self;
        beyond.get_or_insert_with(|| world.theirs("beyond"))
    }

    fn other(&mut self, who: Other) -> &Theirs {
        match who {
            Other::Peer => &self.peer,
            Other::Beyond => self.beyond(),
        }
    }

    /// Waits until everybody knows the newest block.
    fn caught_up(&self) {
        let height = self.world.height();
        until("all know the chain", || {
            let others = [Some(&self.peer), self.beyond.as_ref()];
            self.ours().node.height() == height
                && others.into_iter().flatten().all(|other| {
                    other.node.sync_wallets().is_ok()
                        && other.node.status().current_best_block.height == height
                })
        });
    }

    fn invoice_of(
        &self,
        terms: Terms,
        make: impl AsyncFn(InvoiceTerms) -> Result<String, Fault>,
    ) -> Result<String, Refusal> {
        let terms = InvoiceTerms {
            amount_msat: terms.amount_msat,
            expiry_s: terms.expiry_s,
            final_cltv: terms.final_cltv,
            payer: 5,
        };
        let made = self.world.runtime.block_on(make(terms));
        made.map_err(|fault| refusal(&fault))
    }

    /// What somebody else knows of a payment.
    fn known(
        &mut self,
        who: Other,
        hash: Hash32,
        direction: PaymentDirection,
    ) -> Option<PaymentDetails> {
        let other = self.other(who);
        let found = other.node.list_payments_with_filter(|p| {
            p.direction == direction
                && match &p.kind {
                    PaymentKind::Bolt11 { hash: h, .. }
                    | PaymentKind::Spontaneous { hash: h, .. } => h.0 == hash.0,
                    _ => false,
                }
        });
        found.into_iter().next()
    }

    /// The peer's only channel with us, as it calls it, and us.
    fn channel_of_peer(&self) -> (UserChannelId, PublicKey) {
        let (us, channels) = (self.ours().key(), self.peer.node.list_channels());
        let with_us = channels.iter().find(|c| c.counterparty_node_id == us);
        (with_us.expect("it has one").user_channel_id, us)
    }

    /// Waits until the peer holds a payment.
    fn holds(&mut self, hash: [u8; 32]) {
        let (peer, held) = (&self.peer.node, &mut self.held);
        until("the peer holds it", || {
            while let Some(event) = peer.next_event() {
                if let ldk_node::Event::PaymentClaimable { payment_hash, .. } = event {
                    held.insert(payment_hash.0);
                }
                peer.event_handled().expect("its store is there");
            }
            held.remove(&hash)
        });
    }
}

impl LightningRail for Real {
    fn mine(&mut self, blocks: u32) {
        self.world.mine(blocks);
        self.caught_up();
    }

    fn height(&mut self) -> u32 {
        self.world.height()
    }

    fn go_on(&mut self) {
        std::thread::sleep(Duration::from_millis(10));
    }

    fn pass(&mut self, seconds: u64) {
        std::thread::sleep(Duration::from_secs(seconds));
    }

    fn fund(&mut self, sat: u64) {
        let all = self.unspent_sat() + sat;
        self.world.pay(&self.ours().wallet.address(), sat);
        self.mine(1);
        until("the coins are seen", || {
            self.ours().wallet.spendable_sat() == all
        });
    }

    fn spendable_sat(&mut self) -> u64 {
        self.ours().wallet.spendable_sat()
    }

    fn unspent_sat(&mut self) -> u64 {
        self.world.unspent_at(&self.ours().wallet.address())
    }

    fn open(&mut self, openings: &[Opening]) -> Vec<Result<(), Refusal>> {
        let asked: Vec<_> = openings
            .iter()
            .map(|opening| ours::Opening {
                channel: number(opening.channel),
                peer: self.id(opening.with).0,
                value_sat: opening.value_sat,
                // ldk-node forwards to no channel that the network is not told of.
                public: true,
                fee_max_sat: opening.fee_max_sat,
            })
            .collect();
        let outcomes = self.ours().node.open_channels(&asked);
        outcomes.into_iter().map(answer).collect()
    }

    fn splice_in(&mut self, channel: Channel, sat: u64, fee_max_sat: u64) -> Result<(), Refusal> {
        let node = &self.ours().node;
        answer(node.splice_in(number(channel), sat, fee_max_sat))
    }

    fn splice_out(&mut self, channel: Channel, sat: u64, fee_max_sat: u64) -> Result<(), Refusal> {
        let node = &self.ours().node;
        answer(node.splice_out(number(channel), sat, fee_max_sat))
    }

    fn close(&mut self, channel: Channel, fee_max_sat: u64) -> Result<(), Refusal> {
        let closed = self.ours().node.close_within(number(channel), fee_max_sat);
        answer(self.world.runtime.block_on(closed))
    }

    fn channels(&mut self) -> Vec<Standing> {
        let all = self.ours().node.channels().expect("the store can be read");
        let mut all: Vec<_> = all
            .iter()
            .map(|c| Standing {
                channel: channel(c.channel),
                value_sat: c.value_sat,
                balance_msat: c.balance_msat,
                outbound_msat: c.outbound_msat,
                inbound_msat: c.inbound_msat,
                next_max_msat: c.next_outbound_max_msat,
                pending: c.pending,
                usable: c.usable,
            })
            .collect();
        all.sort_by_key(|c| c.channel);
        all
    }

    fn invoice(&mut self, settlement: Settlement, terms: Terms) -> Result<String, Refusal> {
        let node = &self.ours().node;
        self.invoice_of(terms, async |terms| node.invoice(settlement.0, terms).await)
    }

    fn read(&self, invoice: &str) -> Invoice {
        let read = ours::read_invoice(invoice, Network::Regtest).expect("an invoice");
        Invoice {
            hash: Hash32(read.hash),
            amount_msat: read.amount_msat.expect("it names an amount"),
            payee: NodeId(read.payee),
        }
    }

    fn pay(&mut self, invoice: &str, fee_max_msat: u64) -> Result<Payment, Refusal> {
        let terms = PaymentTerms {
            fee_max_msat,
            ..crate::world::payment(invoice)
        };
        once_free(|| self.ours().node.pay(&terms))
    }

    fn payment(&mut self, hash: Hash32) -> Payment {
        let standing = self.ours().node.payment(hash.0);
        payment(standing.expect("the store can be read"))
    }

    fn observations(&mut self) -> Vec<Observation> {
        let all = self.ours().told();
        let fresh = all[self.taken..].iter().filter_map(observation).collect();
        self.taken = all.len();
        fresh
    }

    fn acknowledge(&mut self, keeps: bool) {
        assert!(!keeps, "it does until it is told not to");
        self.ours().keep_no_more();
    }

    fn restart(&mut self) {
        self.ours.take().expect("it runs").stop();
        let started = self.world.ours("ours");
        started.connect(&self.peer);
        self.taken = 0;
        self.ours = Some(started);
    }

    fn id(&mut self, who: Other) -> NodeId {
        NodeId(self.other(who).id())
    }

    fn reach_beyond(&mut self) {
        self.beyond();
        let (world, peer) = (&self.world, &self.peer);
        let beyond = self.beyond.as_ref().expect("it was just started");
        let address = beyond.address.parse().expect("an address");
        let opened = peer.node.open_announced_channel(
            beyond.node.node_id(),
            address,
            900_000,
            Some(200_000_000),
            None,
        );
        opened.expect("it is there");
        until("they can use their channel", || {
            world.settle(peer);
            beyond.node.sync_wallets().expect("it sees blocks");
            beyond.node.list_channels().iter().any(|c| c.is_usable)
        });
        self.caught_up();
    }

    fn connected(&mut self, is_up: bool) {
        if is_up {
            return self.ours().connect(&self.peer);
        }
        let node = &self.ours().node;
        node.disconnect(self.peer.id()).expect("a node id");
        until("they are apart", || node.connected().is_empty());
    }

    fn their_invoice(&mut self, who: Other, amount_msat: u64, expiry_s: u32) -> String {
        let payments = self.other(who).node.bolt11_payment();
        let made = payments.receive(amount_msat, &nothing(), expiry_s);
        made.expect("an invoice").to_string()
    }

    fn their_hold_invoice(&mut self, hash: Hash32, amount_msat: u64, expiry_s: u32) -> String {
        let payments = self.peer.node.bolt11_payment();
        let hash = PaymentHash(hash.0);
        let made = payments.receive_for_hash(amount_msat, &nothing(), expiry_s, hash);
        made.expect("an invoice").to_string()
    }

    fn they_claim(&mut self, preimage: [u8; 32]) {
        let hash = sha256::Hash::hash(&preimage).to_byte_array();
        self.holds(hash);
        let held = self.known(Other::Peer, Hash32(hash), PaymentDirection::Inbound);
        let amount_msat = held.and_then(|p| p.amount_msat).expect("it is known");
        let payments = self.peer.node.bolt11_payment();
        payments
            .claim_for_hash(PaymentHash(hash), amount_msat, PaymentPreimage(preimage))
            .expect("it is held");
    }

    fn they_return(&mut self, hash: Hash32) {
        self.holds(hash.0);
        let payments = self.peer.node.bolt11_payment();
        let returned = payments.fail_for_hash(PaymentHash(hash.0));
        returned.expect("it is held");
    }

    fn they_pay(&mut self, who: Other, invoice: &str) {
        let invoice = Bolt11Invoice::from_str(invoice).expect("an invoice");
        let payments = self.other(who).node.bolt11_payment();
        until("the payment leaves", || {
            payments.send(&invoice, None).is_ok()
        });
    }

    fn their_payment(&mut self, who: Other, hash: Hash32) -> Payment {
        match self.known(who, hash, PaymentDirection::Outbound) {
            None => Payment::Unknown,
            Some(known) => match known.status {
                PaymentStatus::Pending => Payment::Pending,
                PaymentStatus::Succeeded => Payment::Sent {
                    fee_msat: known.fee_paid_msat.unwrap_or(0),
                },
                PaymentStatus::Failed => Payment::Failed,
            },
        }
    }

    fn they_received(&mut self, who: Other, hash: Hash32) -> Option<u64> {
        let known = self.known(who, hash, PaymentDirection::Inbound)?;
        match known.status {
            PaymentStatus::Succeeded => known.amount_msat,
            PaymentStatus::Pending | PaymentStatus::Failed => None,
        }
    }

    fn peer_balance_msat(&mut self) -> u64 {
        self.peer.balance_msat()
    }

    fn peer_closes(&mut self) {
        let (id, us) = self.channel_of_peer();
        let closed = self.peer.node.close_channel(&id, us);
        closed.expect("it can be closed");
    }
}

impl HoldRail for Real {
    fn hold_invoice(&mut self, hash: Hash32, terms: Terms) -> Result<String, Refusal> {
        let node = &self.ours().node;
        self.invoice_of(terms, async |terms| {
            node.invoice_for_hash(hash.0, terms).await
        })
    }

    fn claim(&mut self, preimage: [u8; 32]) -> Result<(), Refusal> {
        answer(self.ours().node.claim(preimage))
    }

    fn give_back(&mut self, hash: Hash32) -> Result<(), Refusal> {
        answer(self.ours().node.fail(hash.0))
    }
}

impl NodeRail for Real {
    fn final_cltv(&self, invoice: &str) -> u64 {
        let read = ours::read_invoice(invoice, Network::Regtest);
        read.expect("an invoice").final_cltv
    }

    fn close_alone(&mut self, channel: Channel) -> Result<(), Refusal> {
        let node = &self.ours().node;
        let closed = node.close(number(channel), ours::Closing::Unilateral);
        answer(self.world.runtime.block_on(closed))
    }

    fn peer_closes_alone(&mut self) {
        let (id, us) = self.channel_of_peer();
        let closed = self.peer.node.force_close_channel(&id, us, None);
        closed.expect("it can be closed");
    }
}

impl KeysendRail for Real {
    fn they_keysend(&mut self, amount_msat: u64, preimage: [u8; 32]) -> Hash32 {
        let (us, payments) = (self.ours().key(), self.peer.node.spontaneous_payment());
        until("the payment leaves", || {
            let preimage = PaymentPreimage(preimage);
            payments
                .send_with_preimage(amount_msat, us, preimage, None)
                .is_ok()
        });
        Hash32(sha256::Hash::hash(&preimage).to_byte_array())
    }

    fn keysend_hash(&mut self, settlement: Settlement) -> Hash32 {
        Hash32(self.ours().node.keysend_hash(settlement.0))
    }

    fn keysend(
        &mut self,
        settlement: Settlement,
        payee: NodeId,
        amount_msat: u64,
        fee_max_msat: u64,
    ) -> Result<Payment, Refusal> {
        let terms = KeysendTerms {
            payee: payee.0,
            amount_msat,
            fee_max_msat,
            timeout: Duration::from_secs(10),
            cltv_max: None,
        };
        once_free(|| self.ours().node.keysend(settlement.0, &terms))
    }

    fn keysend_hash_of_another(&mut self, settlement: Settlement) -> Hash32 {
        let another = self.world.ours("another");
        let hash = another.node.keysend_hash(settlement.0);
        another.stop();
        Hash32(hash)
    }
}

fn nothing() -> Bolt11InvoiceDescription {
    Bolt11InvoiceDescription::Direct(Description::empty())
}

fn number(channel: Channel) -> ChannelNumber {
    ChannelNumber(u128::from(channel.0))
}

fn channel(number: ChannelNumber) -> Channel {
    Channel(u64::try_from(number.0).expect("the suite numbers all channels"))
}

/// Asks again while an earlier attempt is being put away, as who pays does.
fn once_free(mut ask: impl FnMut() -> Result<PaymentStanding, Fault>) -> Result<Payment, Refusal> {
    let mut answer = ask();
    until("the node is free for it", || {
        let is_busy = matches!(&answer, Err(fault) if fault.retry() == Retry::Now);
        if is_busy {
            answer = ask();
        }
        !is_busy
    });
    answer.map(payment).map_err(|fault| refusal(&fault))
}

fn payment(standing: PaymentStanding) -> Payment {
    match standing {
        PaymentStanding::Unknown => Payment::Unknown,
        PaymentStanding::Pending => Payment::Pending,
        PaymentStanding::Sent { fee_msat, .. } => Payment::Sent { fee_msat },
        PaymentStanding::Failed => Payment::Failed,
    }
}

fn answer(outcome: Result<(), Fault>) -> Result<(), Refusal> {
    outcome.map_err(|fault| refusal(&fault))
}

fn refusal(fault: &Fault) -> Refusal {
    match fault {
        Fault::PeerOffline => Refusal::PeerOffline,
        Fault::UnknownChannel => Refusal::UnknownChannel,
        Fault::Channel { .. } => Refusal::Channel,
        Fault::FeeTooHigh { .. } => Refusal::FeeTooHigh,
        Fault::NotEnoughCoins { .. } => Refusal::NotEnoughCoins,
        Fault::NoRoute => Refusal::NoRoute,
        Fault::BadInvoice { .. } => Refusal::BadInvoice,
        Fault::InvoiceExpired => Refusal::InvoiceExpired,
        Fault::InvoiceDiffers { .. } | Fault::PaymentDiffers { .. } => Refusal::OtherTerms,
        Fault::UnknownInvoice => Refusal::UnknownInvoice,
        other => panic!("{other}"),
    }
}

fn observation(told: &ours::Observation) -> Option<Observation> {
    use ours::Observation as Told;
    Some(match *told {
        Told::Received {
            settlement,
            hash,
            amount_msat,
            payer,
        } => {
            assert_eq!(payer, 5, "as given when the invoice was made");
            Observation::Received {
                settlement: settlement.map(Settlement),
                hash: Hash32(hash),
                amount_msat,
            }
        }
        Told::Claimable {
            hash,
            amount_msat,
            deadline_height,
            payer,
        } => {
            assert_eq!(payer, 5, "as given when the invoice was made");
            Observation::Claimable {
                hash: Hash32(hash),
                amount_msat,
                deadline_height: Some(deadline_height),
            }
        }
        Told::Returned { hash } => Observation::Returned { hash: Hash32(hash) },
        Told::Sent {
            hash,
            fee_msat,
            preimage,
        } => {
            let proof = sha256::Hash::hash(&preimage).to_byte_array();
            assert_eq!(proof, hash, "the proof is one");
            Observation::Sent {
                hash: Hash32(hash),
                fee_msat,
            }
        }
        Told::Failed { hash, .. } => Observation::Failed { hash: Hash32(hash) },
        Told::ChannelPending {
            channel: number,
            funding,
            fee_sat,
            ..
        } => Observation::Pending {
            channel: channel(number),
            funding: Some(Hash32(funding.txid)),
            fee_sat,
        },
        Told::ChannelReady {
            channel: number, ..
        } => Observation::Ready {
            channel: channel(number),
        },
        Told::ChannelClosed {
            channel: number,
            funding,
            balance_msat,
            ..
        } => Observation::Closed {
            channel: channel(number),
            balance_msat: funding.and(balance_msat),
        },
        Told::ClosingPaid {
            channel: number,
            fee_sat,
            ..
        } => Observation::Back {
            channel: channel(number),
            cost_msat: fee_sat * 1_000,
            is_all: false,
        },
        Told::ChannelReturned {
            channel: number,
            cost_msat,
            gain_msat,
        } => {
            assert_eq!(gain_msat, 0, "nobody gives anything away");
            Observation::Back {
                channel: channel(number),
                cost_msat,
                is_all: true,
            }
        }
        Told::SplicePending {
            channel: number,
            fee_sat,
            ..
        } => Observation::Spliced {
            channel: channel(number),
            fee_sat: fee_sat.expect("the node was not killed"),
        },
        // Who sells channels is not in the suite.
        Told::SpliceFailed { .. }
        | Told::Forwarded { .. }
        | Told::TermsAsked { .. }
        | Told::ChannelAsked { .. }
        | Told::PaymentHeld { .. } => return None,
        Told::Capacity {
            outbound_msat,
            inbound_msat,
            ..
        } => Observation::Capacity {
            outbound_msat,
            inbound_msat,
        },
    })
}
