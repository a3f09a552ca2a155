//! A seeded world around settlements over Lightning: lost mail, crashes at any point, payments that fail or arrive late,
//! observations told twice, peers that tell wrong invoices. Books of its own say what each account should hold, and the
//! Lightning network's own record says what was really paid.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::*;
use forebay_channel::NodeId;
use forebay_pool::*;
use forebay_quantity::*;
use sha2::{Digest, Sha256};

const BTC: AssetId = AssetId(0);
const PEERS: u32 = 3;
const CAPITAL: u128 = 50_000_000_000;
const THRESHOLD: u128 = 1_000_000;
const STEPS: u32 = 400;
const SEEDS: u64 = 60;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    fn peer(&mut self) -> PeerId {
        PeerId(u32::try_from(self.below(u64::from(PEERS))).unwrap())
    }
}

/// What Lightning knows of one payment of the pool; what it observed is told until it is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Payment {
    UnderWay,
    Arrived { fee: u128 },
    Failed,
}

/// What is true, whatever the pool believes.
#[derive(Default)]
struct Truth {
    /// Payments of the pool, by hash, with whom and how much they pay.
    out: BTreeMap<Hash32, (PeerId, u128, Payment)>,
    /// Observations that the pool has not acknowledged.
    untold: Vec<LightningCommand>,
    /// By peer: what it paid to the pool, and what it was paid.
    paid_in: BTreeMap<PeerId, u128>,
    paid_out: BTreeMap<PeerId, u128>,
    fees: u128,
    /// Invoices that the pool has made, by peer and number; paid ones are taken out.
    invoices: BTreeMap<(PeerId, u64), u128>,
}

struct World {
    random: Random,
    sequencer: Sequencer,
    journal: Vec<Vec<u8>>,
    wall: Timestamp,
    truth: Truth,
    /// Naive books: packets fulfilled from and to each peer, of batches that were synced.
    sent: BTreeMap<PeerId, u128>,
    earned: BTreeMap<PeerId, u128>,
    in_flight: BTreeMap<PacketId, (PeerId, PeerId, u128, u128)>,
    /// Invoices asked of peers, and those that the node has heard of, lost with a crash.
    asked: Vec<(PeerId, EffectId, u128)>,
    told: BTreeMap<Hash32, (PeerId, u128)>,
    errands: Vec<Hash32>,
    next_request: u32,
    next_settlement: u64,
    counts: BTreeSet<&'static str>,
}

fn node(peer: PeerId) -> NodeId {
    NodeId([u8::try_from(peer.0).unwrap() + 1; 33])
}

/// The payee's secret makes it, so that the same number has the same hash for ever.
fn hash_of(peer: PeerId, settlement: EffectId) -> Hash32 {
    let mut hasher = Sha256::new();
    hasher.update(peer.0.to_le_bytes());
    hasher.update(settlement.0.to_le_bytes());
    Hash32(hasher.finalize().into())
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1),
            sequencer: Sequencer::new(State::default()),
            journal: Vec::new(),
            wall: Timestamp(1_800_000_000_000),
            truth: Truth::default(),
            sent: BTreeMap::new(),
            earned: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            asked: Vec::new(),
            told: BTreeMap::new(),
            errands: Vec::new(),
            next_request: 0,
            next_settlement: 1,
            counts: BTreeSet::new(),
        };
        world.found();
        world
    }

    fn found(&mut self) {
        let genesis = Genesis {
            operator: "test.pool".into(),
            pool_signer: forebay_channel::Address::new([1; 20]),
            expiry_margin_ms: 1_000,
            hold_max_ms: 30_000,
            forward_min_ms: 500,
            first_serial: ChannelSerial(1),
        };
        let bitcoin = BitcoinDefinition {
            code: "BTC".into(),
            scale: 11,
            genesis: Hash32([6; 32]),
            index_rate_max: 0,
        };
        let mut admins = vec![Admin::Found(genesis), Admin::AddBitcoin(bitcoin, policy())];
        admins.extend((0..PEERS).map(|number| Admin::AddPeer {
            name: format!("p{number}"),
            asset: BTC,
            token_hash: Hash32([u8::try_from(number).unwrap(); 32]),
            policy: PeerPolicy {
                packet_max: u64::MAX,
                settle_threshold: Amount::new(THRESHOLD),
                ..peer_policy(0)
            },
        }));
        for (number, admin) in admins.into_iter().enumerate() {
            let mut id = [0; 16];
            id[0] = u8::try_from(number).unwrap();
            self.apply(&Command::Admin(CommandId(id), admin)).unwrap();
        }
        let outpoint = Outpoint {
            txid: Hash32([1; 32]),
            index: 0,
        };
        let capital = BitcoinFact::Deposited {
            outpoint,
            owner: None,
            amount: Amount::new(CAPITAL),
        };
        self.apply(&Command::Bitcoin(capital)).unwrap();
        for peer in (0..PEERS).map(PeerId) {
            self.say_hello(peer);
        }
        self.sync(None);
    }

    fn apply(&mut self, command: &Command<'_>) -> Result<(), Rejection> {
        self.sequencer.apply(self.wall, command)
    }

    fn lightning(&mut self, command: LightningCommand) -> Result<(), Rejection> {
        self.apply(&Command::Lightning(command))
    }

    fn say_hello(&mut self, peer: PeerId) {
        let named = LightningCommand::NodeNamed {
            peer,
            node: node(peer),
        };
        self.lightning(named).unwrap();
        self.tell_capacity(peer);
        // The node asks for the invoice of what is under way.
        let under_way = self.account(peer).settlement;
        if let Some(under_way) = under_way {
            self.asked
                .push((peer, under_way.id, under_way.amount.value()));
        }
    }

    fn tell_capacity(&mut self, peer: PeerId) {
        let carried = 2_000_000 + u128::from(self.random.below(40_000_000));
        let told = LightningCommand::Capacity {
            peer,
            outbound: Amount::new(carried),
            inbound: Amount::new(20_000_000),
        };
        self.lightning(told).unwrap();
    }

    fn account(&self, peer: PeerId) -> &LightningAccount {
        let account = self.sequencer.state().peer(peer).unwrap();
        account.lightning.as_deref().unwrap()
    }

    /// Ends a batch, or dies in the midst of it: before the append, or after the sync and before anything left.
    fn sync(&mut self, death: Option<bool>) {
        self.sequencer.plan(self.wall);
        let batch = self.sequencer.batch().map(<[u8]>::to_vec);
        let Some(batch) = batch else {
            self.sequencer.release(|_| {});
            return;
        };
        if death == Some(false) {
            return self.restart();
        }
        self.journal.push(batch);
        if death == Some(true) {
            return self.restart();
        }
        let mut effects = Vec::new();
        self.sequencer.release(|effect| effects.push(effect));
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Lightning(LightningEffect::AskInvoice {
                peer,
                settlement,
                amount,
            }) => {
                if !self.random.chance(150) {
                    self.asked.push((peer, settlement, amount.value()));
                }
            }
            Effect::Lightning(LightningEffect::Pay { hash, .. }) => self.errands.push(hash),
            Effect::Forward { .. }
            | Effect::RelayFulfill { .. }
            | Effect::RelayReject { .. }
            | Effect::SendVoucher { .. }
            | Effect::Chain { .. } => {}
        }
    }

    fn restart(&mut self) {
        self.counts.insert("restart");
        let mut sequencer = Sequencer::new(State::default());
        for batch in &self.journal {
            sequencer.replay(batch).unwrap();
        }
        self.sequencer = sequencer;
        self.asked.clear();
        self.told.clear();
        self.errands.clear();
        let state = self.sequencer.state();
        self.in_flight
            .retain(|packet, _| state.packet(*packet).is_some());
        for effect in outstanding(self.sequencer.state()) {
            if matches!(effect, Effect::Lightning(LightningEffect::Pay { .. })) {
                self.carry_out(effect);
            }
        }
    }

    // What happens.

    fn step(&mut self) {
        self.wall = Timestamp(self.wall.0 + self.random.below(4_000));
        match self.random.below(13) {
            0..=2 => self.send(),
            3 => self.answer(),
            4 => self.ask_to_pay(),
            5 => self.pay_in(),
            6 | 7 => self.tell_invoice(),
            8 => self.run_errand(),
            9 => self.resolve(),
            10 => self.observe(),
            11 => {
                let peer = self.random.peer();
                self.say_hello(peer);
            }
            _ => {
                let peer = self.random.peer();
                self.tell_capacity(peer);
            }
        }
        match self.random.below(40) {
            0 => self.sync(Some(false)),
            1 => self.sync(Some(true)),
            2 => {
                self.sync(None);
                self.restart();
            }
            3..=30 => self.sync(None),
            _ => {}
        }
    }

    fn send(&mut self) {
        let (from, to) = (self.random.peer(), self.random.peer());
        let amount = 1 + self.random.below(3_000_000);
        self.next_request += 1;
        let destination = format!("test.pool.p{}", to.0);
        let expires_at = Timestamp(self.wall.0 + 20_000);
        let prepare = Prepare {
            peer: from,
            request: self.next_request,
            amount,
            expires_at,
            condition: Sha256::digest(PREIMAGE).into(),
            destination: destination.as_bytes(),
        };
        if self.apply(&Command::Prepare(prepare)).is_err() {
            return;
        }
        let state = self.sequencer.state();
        let (packet, book) = state
            .packets()
            .find(|(_, packet)| packet.in_peer == from && packet.in_request == self.next_request)
            .unwrap();
        let amounts = (
            from,
            to,
            u128::from(book.amount_in),
            u128::from(book.amount_out),
        );
        // Answers are given in a batch of their own, so that the naive books know what survived.
        self.sync(None);
        self.in_flight.insert(packet, amounts);
    }

    fn answer(&mut self) {
        let Some((&packet, &(from, to, amount_in, amount_out))) = self.in_flight.iter().next()
        else {
            return;
        };
        self.in_flight.remove(&packet);
        let fulfill = Command::Fulfill {
            peer: to,
            packet,
            preimage: PREIMAGE,
        };
        if self.apply(&fulfill).is_err() {
            return;
        }
        self.sync(None);
        *self.sent.entry(from).or_default() += amount_in;
        *self.earned.entry(to).or_default() += amount_out;
    }

    fn ask_to_pay(&mut self) {
        let peer = self.random.peer();
        let amount = 1 + u128::from(self.random.below(19_000_000));
        let asked = LightningCommand::InvoiceAsked {
            peer,
            settlement: self.next_settlement,
            amount: Amount::new(amount),
        };
        self.next_settlement += 1;
        if self.lightning(asked).is_ok() {
            // The invoice leaves after the sync only [I7].
            let before = self.journal.len();
            self.sync(None);
            if self.journal.len() > before {
                let number = self.next_settlement - 1;
                self.truth.invoices.insert((peer, number), amount);
            }
        }
    }

    fn pay_in(&mut self) {
        let Some((&(peer, settlement), &amount)) = self.truth.invoices.iter().next() else {
            return;
        };
        self.truth.invoices.remove(&(peer, settlement));
        *self.truth.paid_in.entry(peer).or_default() += amount;
        self.truth.untold.push(LightningCommand::Received {
            peer,
            settlement,
            amount: Amount::new(amount),
        });
    }

    /// A peer answers with its invoice, with a wrong one, with none, or not at all.
    fn tell_invoice(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let (peer, settlement, amount) = self.asked.remove(0);
        let mut invoice = InvoiceTerms {
            hash: hash_of(peer, settlement),
            amount: Amount::new(amount),
            payee: node(peer),
            expires_at: Timestamp(self.wall.0 + 3_600_000),
        };
        match self.random.below(12) {
            0 => {
                let refused = LightningCommand::InvoiceRefused { peer, settlement };
                let _ = self.lightning(refused);
                return;
            }
            1 => invoice.amount = Amount::new(amount + 1),
            2 => invoice.payee = NodeId([9; 33]),
            3 => invoice.hash = hash_of(peer, EffectId(settlement.0 + 1_000_000)),
            // Lost on the way.
            4 => return,
            _ => {}
        }
        self.told
            .insert(invoice.hash, (peer, invoice.amount.value()));
        let told = LightningCommand::InvoiceTold {
            peer,
            settlement,
            invoice,
        };
        match self.lightning(told) {
            // After a restart no effect follows, so that it is paid here too.
            Ok(()) => self.errands.push(invoice.hash),
            Err(_) => {
                self.told.remove(&invoice.hash);
                self.counts.insert("invoice refused");
                let refused = LightningCommand::InvoiceRefused { peer, settlement };
                let _ = self.lightning(refused);
            }
        }
    }

    /// As the node does it: paid only while the core wants it, and never while it is under way.
    fn run_errand(&mut self) {
        if self.errands.is_empty() {
            return;
        }
        let hash = self.errands.remove(0);
        // The effect followed a sync; what the core has decided since is not lost with it.
        self.sync(None);
        if !self.sequencer.state().is_paying(hash) {
            return;
        }
        let stands = self.truth.out.get(&hash).map(|(_, _, payment)| *payment);
        let told = self.told.get(&hash).copied();
        match (stands, told) {
            (Some(Payment::UnderWay | Payment::Arrived { .. }), _) => {}
            (None | Some(Payment::Failed), Some((peer, amount))) => {
                // What was observed of an earlier attempt is not told any more.
                self.truth
                    .untold
                    .retain(|told| *told != LightningCommand::Failed { hash });
                self.truth
                    .out
                    .insert(hash, (peer, amount, Payment::UnderWay));
            }
            (None | Some(Payment::Failed), None) => {
                let _ = self.lightning(LightningCommand::Failed { hash });
            }
        }
    }

    fn resolve(&mut self) {
        let mut under_way = self.truth.out.iter_mut();
        let Some((&hash, (peer, amount, payment))) =
            under_way.find(|(_, (_, _, payment))| *payment == Payment::UnderWay)
        else {
            return;
        };
        if self.random.chance(300) {
            *payment = Payment::Failed;
            self.counts.insert("payment failed");
            self.truth.untold.push(LightningCommand::Failed { hash });
            return;
        }
        let fee = u128::from(self.random.below(10_000));
        *payment = Payment::Arrived { fee };
        self.counts.insert("payment arrived");
        *self.truth.paid_out.entry(*peer).or_default() += *amount;
        self.truth.fees += fee;
        self.truth.untold.push(LightningCommand::Sent {
            hash,
            fee: Amount::new(fee),
        });
    }

    /// Tells the core, and acknowledges once that is durable; sometimes dies in between, and tells again.
    fn observe(&mut self) {
        let Some(&observation) = self.truth.untold.first() else {
            return;
        };
        let taken = self.lightning(observation);
        assert!(
            matches!(
                taken,
                Ok(()) | Err(Rejection::AlreadyTaken | Rejection::UnknownEffect)
            ),
            "{observation:?}: {taken:?}"
        );
        let death = match self.random.below(8) {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        };
        self.sync(death);
        if death.is_none() {
            self.truth.untold.remove(0);
        } else {
            self.counts.insert("died before acknowledging");
        }
    }

    // What must be true.

    fn check(&self) {
        let state = self.sequencer.state();
        state.ledger().check_balanced().unwrap();
        for (hash, (peer, _, payment)) in &self.truth.out {
            if *payment == Payment::UnderWay {
                let account = self.account(*peer);
                let hash_under_way = account.settlement.and_then(|under_way| under_way.hash);
                assert_eq!(
                    hash_under_way,
                    Some(*hash),
                    "[I16] what is under way is journalled, and nothing else of the peer is"
                );
            }
        }
    }

    /// Everything resolves once nothing goes wrong any more; then all books agree to the millisatoshi.
    fn heal(&mut self) {
        for _ in 0..400 {
            self.wall = Timestamp(self.wall.0 + 5_000);
            let _ = self.apply(&Command::Tick);
            self.sync(None);
            for peer in (0..PEERS).map(PeerId) {
                let told = LightningCommand::Capacity {
                    peer,
                    outbound: Amount::new(u128::from(u64::MAX)),
                    inbound: Amount::new(20_000_000),
                };
                self.lightning(told).unwrap();
                let under_way = self.account(peer).settlement;
                if let Some(Settlement { id, amount, .. }) = under_way
                    && self.asked.is_empty()
                {
                    self.asked.push((peer, id, amount.value()));
                }
            }
            self.tell_invoice();
            self.run_errand();
            self.resolve();
            self.observe();
        }
    }

    fn agree(&self) {
        assert!(self.truth.untold.is_empty(), "all is told");
        let state = self.sequencer.state();
        let of = |books: &BTreeMap<PeerId, u128>, peer| books.get(&peer).copied().unwrap_or(0);
        for (id, peer) in state.peers() {
            let claim = state.balance(peer.clearing).credit().value();
            let naive = of(&self.truth.paid_in, id) + of(&self.earned, id)
                - of(&self.sent, id)
                - of(&self.truth.paid_out, id);
            assert_eq!(claim, naive, "peer {id}");
            assert!(
                state.earned(peer).value() < THRESHOLD,
                "what it earned was paid: {} is left",
                state.earned(peer)
            );
            assert_eq!(self.account(id).paid.value(), of(&self.truth.paid_out, id));
            assert_eq!(
                self.account(id).received.value(),
                of(&self.truth.paid_in, id)
            );
        }
        let sum = |books: &BTreeMap<PeerId, u128>| books.values().sum::<u128>();
        let held = CAPITAL + sum(&self.truth.paid_in) - sum(&self.truth.paid_out) - self.truth.fees;
        let accounts = state.asset(BTC).unwrap().accounts;
        assert_eq!(state.balance(accounts.vault).debit().value(), held);
        assert_eq!(state.balance(accounts.losses).debit(), Amount::ZERO);
    }
}

#[test]
fn every_settlement_is_paid_once_whatever_is_lost_and_the_books_agree_with_what_lightning_did() {
    let mut seen = BTreeSet::new();
    for seed in 1..=SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
            world.check();
        }
        world.heal();
        world.agree();
        seen.append(&mut world.counts);
    }
    for wanted in [
        "restart",
        "invoice refused",
        "payment failed",
        "payment arrived",
        "died before acknowledging",
    ] {
        assert!(seen.contains(wanted), "never: {wanted}");
    }
}
