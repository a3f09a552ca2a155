//! A seeded world around settlements over Lightning and an LP's claim: lost mail, crashes at any point, payments that fail or
//! arrive late, observations told twice, peers that tell wrong invoices, outputs that cannot be paid. Books of its own say
//! what each account should hold, and the Lightning network's and the chain's own records say what was really paid.
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

impl Random {
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

/// Whom a payment over Lightning pays.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Payee {
    Peer(PeerId),
    Lp,
}

/// What the pool is told, until it acknowledges it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Lightning(LightningCommand),
    ClaimPaid(ClaimPaid),
    PaymentFinal(EffectId, Amount),
}

impl Told {
    fn command(self) -> Command<'static> {
        match self {
            Self::Lightning(command) => Command::Lightning(command),
            Self::ClaimPaid(paid) => Command::ClaimPaid(paid),
            Self::PaymentFinal(id, fee) => {
                let mut txid = [4; 32];
                txid[..8].copy_from_slice(&id.0.to_le_bytes());
                let txid = Hash32(txid);
                Command::PaymentFinal { id, txid, fee }
            }
        }
    }
}

/// What is true of the LP, whatever the pool believes.
#[derive(Default)]
struct LpTruth {
    paid_in: u128,
    /// What it was paid, and what of the way it bore.
    paid_out: u128,
    bore: u128,
    /// Invoices that the pool has made for it, by name; paid ones are taken out.
    invoices: BTreeMap<InvoiceId, u128>,
    /// Outputs that the wallet has signed, by the withdrawal's number: what is paid, what the LP was told that it costs at
    /// most, and whether it is final.
    outputs: BTreeMap<EffectId, (u128, u128, bool)>,
}

/// What is true, whatever the pool believes.
#[derive(Default)]
struct Truth {
    /// Payments of the pool, by hash, with whom and how much they pay.
    out: BTreeMap<Hash32, (Payee, u128, Payment)>,
    /// Observations that the pool has not acknowledged.
    untold: Vec<Told>,
    lp: LpTruth,
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
    told: BTreeMap<Hash32, (Payee, u128)>,
    errands: Vec<Hash32>,
    /// Outputs that the wallet is to pay, lost with a crash.
    due: BTreeMap<EffectId, u128>,
    owner: forebay_channel::Address,
    next_order: u64,
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
            due: BTreeMap::new(),
            owner: forebay_channel::Address::ZERO,
            next_order: 1 << 32,
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
        let payout = vec![0x51; 34];
        self.order(ClaimOrder::Add {
            payout: payout.clone(),
        })
        .unwrap();
        self.owner = self.sequencer.state().lp_paid_at(&payout).unwrap();
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

    fn order(&mut self, order: ClaimOrder) -> Result<(), Rejection> {
        self.next_order += 1;
        let id = CommandId(u128::from(self.next_order).to_le_bytes());
        self.apply(&Command::Admin(id, Admin::Claim(order)))
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
            Effect::Withdrawal(WithdrawalEffect { id, amount, payout }) => match payout {
                Payout::Output(_) => {
                    self.due.insert(id, amount.value());
                }
                Payout::Invoice(hash) => self.errands.push(hash),
            },
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
        self.due.clear();
        let state = self.sequencer.state();
        self.in_flight
            .retain(|packet, _| state.packet(*packet).is_some());
        for effect in outstanding(self.sequencer.state()) {
            if matches!(
                effect,
                Effect::Lightning(LightningEffect::Pay { .. }) | Effect::Withdrawal(_)
            ) {
                self.carry_out(effect);
            }
        }
    }

    // What happens.

    fn step(&mut self) {
        self.wall = Timestamp(self.wall.0 + self.random.below(4_000));
        match self.random.below(19) {
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
            12 => self.lp_pays_in(),
            13 => self.lp_withdraws(),
            14 => self.lp_withdraws_over_lightning(),
            15 => self.lp_asks_for_an_invoice(),
            16 => self.pay_output(),
            17 => self.bury_output(),
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
        self.truth
            .untold
            .push(Told::Lightning(LightningCommand::Received {
                peer,
                settlement,
                amount: Amount::new(amount),
            }));
    }

    /// By an output, or by an invoice of the pool's.
    fn lp_pays_in(&mut self) {
        let amount = if let Some((invoice, amount)) = self.truth.lp.invoices.pop_first() {
            self.counts.insert("LP paid an invoice");
            self.truth.untold.push(Told::ClaimPaid(ClaimPaid {
                lp: 0,
                invoice,
                amount: Amount::new(amount),
            }));
            amount
        } else {
            let amount = 1_000 * (1 + u128::from(self.random.below(20_000)));
            self.next_order += 1;
            let mut txid = [9; 32];
            txid[..8].copy_from_slice(&self.next_order.to_le_bytes());
            let outpoint = Outpoint {
                txid: Hash32(txid),
                index: 1,
            };
            let deposited = BitcoinFact::Deposited {
                outpoint,
                owner: Some(self.owner),
                amount: Amount::new(amount),
            };
            self.apply(&Command::Bitcoin(deposited)).unwrap();
            // Told until it is kept: here at once.
            self.sync(None);
            amount
        };
        self.truth.lp.paid_in += amount;
    }

    fn lp_asks_for_an_invoice(&mut self) {
        let amount = 1 + u128::from(self.random.below(5_000_000));
        let mut invoice = [8; 16];
        invoice[..8].copy_from_slice(&self.next_order.to_le_bytes());
        let given = self.order(ClaimOrder::GiveInvoice {
            owner: self.owner,
            invoice,
            amount: Amount::new(amount),
        });
        let before = self.journal.len();
        self.sync(None);
        if given.is_ok() && self.journal.len() > before {
            self.truth.lp.invoices.insert(invoice, amount);
        }
    }

    fn lp_withdraws(&mut self) {
        let amount = self.random.chance(800);
        let amount = amount.then(|| Amount::new(u128::from(self.random.below(8_000_000))));
        let cost = OutputCost {
            fee: Amount::new(1_000 * u128::from(self.random.below(2_000))),
            min: Amount::new(330_000),
        };
        let way = Way::OnChain { amount, cost };
        let owner = self.owner;
        if self.order(ClaimOrder::Withdraw { owner, way }).is_err() {
            self.counts.insert("withdrawal refused");
        }
    }

    fn lp_withdraws_over_lightning(&mut self) {
        self.next_order += 1;
        let invoice = InvoiceTerms {
            hash: hash_of(PeerId(99), EffectId(self.next_order)),
            amount: Amount::new(1 + u128::from(self.random.below(5_000_000))),
            payee: NodeId([77; 33]),
            expires_at: Timestamp(self.wall.0 + 3_600_000),
        };
        let (owner, way) = (self.owner, Way::Lightning(invoice));
        self.told
            .insert(invoice.hash, (Payee::Lp, invoice.amount.value()));
        if self.order(ClaimOrder::Withdraw { owner, way }).is_err() {
            self.told.remove(&invoice.hash);
        }
    }

    /// The wallet signs what is due once, the oldest first, or finds that it never can.
    fn pay_output(&mut self) {
        self.sync(None);
        let Some((id, amount)) = self.due.pop_first() else {
            return;
        };
        if self.truth.lp.outputs.contains_key(&id) {
            self.counts.insert("output asked for again");
            return;
        }
        if self.random.chance(100) {
            self.counts.insert("output refused");
            self.apply(&Command::PaymentRefused { id }).unwrap();
            return;
        }
        let state = self.sequencer.state();
        let (_, withdrawal) = state.withdrawals().find(|(found, _)| *found == id).unwrap();
        let fee_max = withdrawal.fee_max.value();
        self.truth.lp.outputs.insert(id, (amount, fee_max, false));
    }

    /// An output is final, and cost less or more than was thought.
    fn bury_output(&mut self) {
        let waiting = self.truth.lp.outputs.iter_mut();
        let Some((&id, output)) = waiting.into_iter().find(|(_, (.., is_final))| !is_final) else {
            return;
        };
        let (amount, fee_max, is_final) = output;
        *is_final = true;
        let fee = u128::from(self.random.below(3_000)) * 1_000;
        self.counts.insert("output final");
        self.truth.lp.paid_out += *amount;
        self.truth.lp.bore += fee.min(*fee_max);
        self.truth.fees += fee.saturating_sub(*fee_max);
        let told = Told::PaymentFinal(id, Amount::new(fee));
        self.truth.untold.push(told);
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
            .insert(invoice.hash, (Payee::Peer(peer), invoice.amount.value()));
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
            (None | Some(Payment::Failed), Some((payee, amount))) => {
                // What was observed of an earlier attempt is not told any more.
                self.truth
                    .untold
                    .retain(|told| *told != Told::Lightning(LightningCommand::Failed { hash }));
                self.truth
                    .out
                    .insert(hash, (payee, amount, Payment::UnderWay));
            }
            (None | Some(Payment::Failed), None) => {
                let _ = self.lightning(LightningCommand::Failed { hash });
            }
        }
    }

    fn resolve(&mut self) {
        let mut under_way = self.truth.out.iter_mut();
        let Some((&hash, (payee, amount, payment))) =
            under_way.find(|(_, (_, _, payment))| *payment == Payment::UnderWay)
        else {
            return;
        };
        if self.random.chance(300) {
            *payment = Payment::Failed;
            self.counts.insert("payment failed");
            let failed = LightningCommand::Failed { hash };
            self.truth.untold.push(Told::Lightning(failed));
            return;
        }
        let fee = u128::from(self.random.below(10_000));
        *payment = Payment::Arrived { fee };
        match *payee {
            Payee::Peer(peer) => {
                self.counts.insert("payment arrived");
                *self.truth.paid_out.entry(peer).or_default() += *amount;
                self.truth.fees += fee;
            }
            Payee::Lp => {
                self.counts.insert("LP's invoice paid");
                self.truth.lp.paid_out += *amount;
                self.truth.lp.bore += fee;
            }
        }
        let sent = LightningCommand::Sent {
            hash,
            fee: Amount::new(fee),
        };
        self.truth.untold.push(Told::Lightning(sent));
    }

    /// Tells the core, and acknowledges once that is durable; sometimes dies in between, and tells again.
    fn observe(&mut self) {
        let Some(&observation) = self.truth.untold.first() else {
            return;
        };
        let taken = self.apply(&observation.command());
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
        for (hash, (payee, _, payment)) in &self.truth.out {
            if *payment != Payment::UnderWay {
                continue;
            }
            match payee {
                Payee::Peer(peer) => {
                    let account = self.account(*peer);
                    let hash_under_way = account.settlement.and_then(|under_way| under_way.hash);
                    assert_eq!(
                        hash_under_way,
                        Some(*hash),
                        "[I16] what is under way is journalled, and nothing else of the peer is"
                    );
                }
                Payee::Lp => {
                    let mut paid = state.withdrawals();
                    let is_known = paid.any(|(_, paid)| paid.payout == Payout::Invoice(*hash));
                    assert!(is_known, "[I16] what is under way is journalled");
                }
            }
        }
        for (id, (.., is_final)) in &self.truth.lp.outputs {
            let mut under_way = state.withdrawals();
            let is_known = under_way.any(|(known, _)| known == *id);
            assert!(is_known || *is_final, "what was signed is in the books");
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
            self.pay_output();
            self.bury_output();
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
        let lp = &self.truth.lp;
        let claim = lp.paid_in - lp.paid_out - lp.bore;
        let holders = &state.asset(BTC).unwrap().vault.holders;
        let units = holders
            .get(&self.owner)
            .map_or(0, |held| held.units.value());
        assert_eq!(units, claim, "the LP's notes");
        assert_eq!(state.withdrawals().count(), 0);
        let withdrawn = state.lp_on_bitcoin(self.owner).unwrap().withdrawn;
        assert_eq!(withdrawn.value(), lp.paid_out);
        let held = CAPITAL + claim + sum(&self.truth.paid_in)
            - sum(&self.truth.paid_out)
            - self.truth.fees;
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
        "LP paid an invoice",
        "LP's invoice paid",
        "withdrawal refused",
        "output refused",
        "output final",
        "output asked for again",
    ] {
        assert!(seen.contains(wanted), "never: {wanted}");
    }
}
