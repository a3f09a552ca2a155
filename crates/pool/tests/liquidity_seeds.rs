//! Seeded months of a peer's channels: flow that turns, splices and openings that fail, blocks that are late, observations that
//! come twice, crashes at any point. A naive wallet and channel say what is true.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{PREIMAGE, Random, peer_policy, policy, prepare};
use forebay_channel::NodeId;
use forebay_pool::*;
use forebay_quantity::*;

const BTC: AssetId = AssetId(0);
const CAROL: PeerId = PeerId(0);
const DAVE: PeerId = PeerId(1);
const SAT: u128 = 1_000;
const CAPITAL: u128 = 100_000_000 * SAT;
const ALLOTMENT: u128 = 1_000_000 * SAT;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const DAYS: u64 = 120;
const SEEDS: u64 = 24;

/// A channel as it really is; in millisatoshi.
#[derive(Debug, Clone, Copy)]
struct Real {
    value: u128,
    ours: u128,
    is_ready: bool,
    /// What its value and our part become, once the transaction is in a block.
    pending: Option<(u128, u128)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Open,
    In,
    Out,
    Close,
}

struct World {
    random: Random,
    sequencer: Sequencer,
    journal: Vec<Vec<u8>>,
    wall: u64,
    command: u8,
    request: u32,
    invoices: u64,
    // What is true.
    on_chain: u128,
    channels: BTreeMap<LightningChannelId, Real>,
    /// Closed channels: what was ours in each, and what the way back costs.
    closing: Vec<(LightningChannelId, u128, u128)>,
    miners: u128,
    paid: u128,
    received: u128,
    transactions: u8,
    carried_out: BTreeSet<EffectId>,
    untold: Vec<LightningCommand>,
    errands: Vec<(EffectId, ChainRequest)>,
    is_online: bool,
    /// When each change was, and what had gone to Carol by then.
    changes: Vec<(Change, u64, u128)>,
    counts: BTreeSet<&'static str>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1),
            sequencer: Sequencer::new(State::default()),
            journal: Vec::new(),
            wall: 1_800_000_000_000,
            command: 0,
            request: 0,
            invoices: 0,
            on_chain: CAPITAL,
            channels: BTreeMap::new(),
            closing: Vec::new(),
            miners: 0,
            paid: 0,
            received: 0,
            transactions: 0,
            carried_out: BTreeSet::new(),
            untold: Vec::new(),
            errands: Vec::new(),
            is_online: true,
            changes: Vec::new(),
            counts: BTreeSet::new(),
        };
        world.found();
        world
    }

    fn found(&mut self) {
        self.admin(Admin::Found(Genesis {
            operator: "test.pool".into(),
            pool_signer: forebay_channel::Address::new([1; 20]),
            expiry_margin_ms: 1_000,
            hold_max_ms: 30_000,
            forward_min_ms: 500,
            first_serial: ChannelSerial(1),
        }));
        let bitcoin = BitcoinDefinition {
            code: "BTC".into(),
            scale: 11,
            genesis: Hash32([6; 32]),
            index_rate_max: 0,
        };
        self.admin(Admin::AddBitcoin(bitcoin, policy()));
        for (name, allotment, credit) in [("carol", ALLOTMENT, 0), ("dave", 0, CAPITAL)] {
            self.admin(Admin::AddPeer {
                name: name.into(),
                asset: BTC,
                token_hash: Hash32([name.as_bytes()[0]; 32]),
                policy: PeerPolicy {
                    packet_max: u64::MAX,
                    credit: Amount::new(credit),
                    settle_threshold: Amount::new(SAT),
                    ..peer_policy(allotment)
                },
            });
        }
        let capital = BitcoinFact::Deposited {
            outpoint: Outpoint {
                txid: Hash32([1; 32]),
                index: 0,
            },
            owner: None,
            amount: Amount::new(CAPITAL),
        };
        self.apply(&Command::Bitcoin(capital)).unwrap();
        self.hello();
        self.sync(None);
    }

    fn admin(&mut self, admin: Admin) {
        self.command += 1;
        self.apply(&Command::Admin(CommandId([self.command; 16]), admin))
            .unwrap();
    }

    fn apply(&mut self, command: &Command<'_>) -> Result<(), Rejection> {
        self.sequencer.apply(Timestamp(self.wall), command)
    }

    fn lightning(&mut self, command: LightningCommand) -> Result<(), Rejection> {
        self.apply(&Command::Lightning(command))
    }

    fn account(&self) -> &LightningAccount {
        let carol = self.sequencer.state().peer(CAROL).unwrap();
        carol.lightning.as_deref().unwrap()
    }

    /// After a connection, and after each change: what is carried, and how each channel stands.
    fn hello(&mut self) {
        let node = NodeId([2; 33]);
        self.lightning(LightningCommand::NodeNamed { peer: CAROL, node })
            .unwrap();
        self.tell_capacity();
        let ready: Vec<_> = self
            .channels
            .iter()
            .filter(|(_, real)| real.is_ready)
            .map(|(channel, real)| (*channel, real.value))
            .collect();
        for (channel, value) in ready {
            self.lightning(stands(channel, value)).unwrap();
        }
    }

    fn tell_capacity(&mut self) {
        let usable = self
            .channels
            .values()
            .filter(|real| real.is_ready && self.is_online);
        let (outbound, inbound) = usable.fold((0, 0), |(out, into), real| {
            let kept = real.value / 100;
            let after = real
                .pending
                .map_or(real.ours, |(_, ours)| ours.min(real.ours));
            let theirs = real.value - real.ours;
            (
                out + after.saturating_sub(kept),
                into + theirs.saturating_sub(kept),
            )
        });
        self.lightning(LightningCommand::Capacity {
            peer: CAROL,
            outbound: Amount::new(outbound),
            inbound: Amount::new(inbound),
        })
        .unwrap();
    }

    /// Ends a batch, or dies in the midst of it: before the append, or after the sync and before anything left.
    fn sync(&mut self, death: Option<bool>) -> Vec<Effect> {
        self.sequencer.plan(Timestamp(self.wall));
        let batch = self.sequencer.batch().map(<[u8]>::to_vec);
        let Some(batch) = batch else {
            self.sequencer.release(|_| {});
            return Vec::new();
        };
        if death != Some(false) {
            self.journal.push(batch);
        }
        if death.is_some() {
            self.restart();
            return Vec::new();
        }
        let mut effects = Vec::new();
        self.sequencer.release(|effect| effects.push(effect));
        self.take_errands(&effects);
        effects
    }

    fn take_errands(&mut self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Chain { id, request } = effect {
                self.errands.push((*id, request.clone()));
            }
        }
    }

    fn restart(&mut self) {
        self.counts.insert("restart");
        let mut sequencer = Sequencer::new(State::default());
        for batch in &self.journal {
            sequencer.replay(batch).unwrap();
        }
        self.sequencer = sequencer;
        self.errands.clear();
        let again = outstanding(self.sequencer.state());
        self.take_errands(&again);
    }

    // What the node does.

    fn run_errands(&mut self) {
        for (demand, request) in std::mem::take(&mut self.errands) {
            let is_open = self
                .sequencer
                .state()
                .chain_effects()
                .any(|(id, _)| id == demand);
            if !is_open {
                continue;
            }
            if let Err(why) = self.carry_out(demand, &request) {
                let failure = Some(why.to_owned());
                let outcome = Command::Outcome {
                    effect: demand,
                    failure,
                };
                self.apply(&outcome).unwrap();
            }
        }
    }

    fn carry_out(&mut self, demand: EffectId, request: &ChainRequest) -> Result<(), &'static str> {
        let number = LightningChannelId(u128::from(demand.0));
        if self.channels.contains_key(&number) {
            // Opened before a crash: the node knows the number.
            return Ok(());
        }
        if !self.is_online {
            return Err("offline");
        }
        if self.random.chance(150) {
            self.counts.insert("a change failed");
            return Err("refused");
        }
        let real = request.lightning_channel().map(|channel| {
            let real = self.channels.get(&channel).copied();
            real.ok_or("no such channel").map(|real| (channel, real))
        });
        let real = real.transpose()?;
        if real.is_some_and(|(_, real)| real.pending.is_some()) {
            self.counts.insert("a second change was refused");
            return Err("a splice is pending");
        }
        let fee = (100 + u128::from(self.random.below(900))) * SAT;
        let (change, observed) = match *request {
            ChainRequest::OpenLightning { amount, .. } => {
                let amount = amount.value();
                self.on_chain -= amount + fee;
                let opened = Real {
                    value: amount,
                    ours: amount,
                    is_ready: false,
                    pending: None,
                };
                self.channels.insert(number, opened);
                let fee = Amount::new(fee);
                (Change::Open, LightningCommand::Funded { demand, fee })
            }
            ChainRequest::SpliceIn { value, amount, .. } => {
                let (channel, mut real) = real.unwrap();
                if real.value != value.value() {
                    return Err("of another size by now");
                }
                let amount = amount.value();
                self.on_chain -= amount + fee;
                real.pending = Some((real.value + amount, real.ours + amount));
                self.channels.insert(channel, real);
                (Change::In, self.spliced(channel, fee))
            }
            ChainRequest::SpliceOut { value, amount, .. } => {
                let (channel, mut real) = real.unwrap();
                let left = real.ours.checked_sub(amount.value() + fee);
                let left = left.filter(|left| *left >= real.value / 100);
                let (Some(left), true) = (left, real.value == value.value()) else {
                    return Err("not so much, or of another size by now");
                };
                self.on_chain += amount.value();
                real.pending = Some((real.value - amount.value() - fee, left));
                self.channels.insert(channel, real);
                (Change::Out, self.spliced(channel, fee))
            }
            ChainRequest::CloseLightning { .. } => {
                let (channel, real) = real.unwrap();
                self.channels.remove(&channel);
                self.closing.push((channel, real.ours, fee));
                let balance = Amount::new(real.ours);
                let closed = LightningCommand::ChannelClosed { channel, balance };
                (Change::Close, closed)
            }
            _ => unreachable!("a vault's"),
        };
        self.miners += fee;
        assert!(
            self.carried_out.insert(demand),
            "{request:?} is carried out once"
        );
        self.changes.push((change, self.wall, self.paid));
        self.untold.push(observed);
        Ok(())
    }

    fn spliced(&mut self, channel: LightningChannelId, fee: u128) -> LightningCommand {
        self.transactions += 1;
        LightningCommand::Spliced {
            channel,
            txid: Hash32([self.transactions; 32]),
            fee: Amount::new(fee),
        }
    }

    fn block(&mut self) {
        let mut news = Vec::new();
        for (channel, real) in &mut self.channels {
            if let Some((value, ours)) = real.pending.take() {
                (real.value, real.ours) = (value, ours);
                news.push((*channel, real.value));
            } else if !real.is_ready {
                real.is_ready = true;
                news.push((*channel, real.value));
            }
        }
        for (channel, value) in news {
            self.untold.push(stands(channel, value));
        }
        for (channel, ours, fee) in std::mem::take(&mut self.closing) {
            self.on_chain += ours - fee;
            // A sweep, and the closing itself.
            let mut txid = [0xcc; 32];
            txid[..16].copy_from_slice(&channel.0.to_le_bytes());
            let swept = fee / 3;
            self.untold.push(LightningCommand::ClosingPaid {
                channel,
                txid: Hash32(txid),
                fee: Amount::new(swept),
            });
            self.untold.push(LightningCommand::ChannelReturned {
                channel,
                cost: Amount::new(fee - swept),
                gain: Amount::ZERO,
            });
        }
    }

    /// Tells the core, and acknowledges once that is durable; sometimes dies in between, and tells again.
    /// Says whether it died.
    fn observe(&mut self, may_die: bool) -> bool {
        while let Some(&observation) = self.untold.first() {
            self.tell_capacity();
            let taken = self.lightning(observation);
            assert!(
                matches!(
                    taken,
                    Ok(()) | Err(Rejection::AlreadyTaken | Rejection::UnknownEffect)
                ),
                "{observation:?}: {taken:?}"
            );
            let death = match self.random.below(12) {
                0 if may_die => Some(false),
                1 if may_die => Some(true),
                _ => None,
            };
            self.sync(death);
            match death {
                None => {
                    self.untold.remove(0);
                }
                Some(_) => {
                    // It is told again, after what the restart asks for anew.
                    self.counts.insert("died before acknowledging");
                    self.hello();
                    return true;
                }
            }
        }
        false
    }

    // What flows.

    /// Dave pays Carol by a packet, and she is paid over the channels, as far as they carry it.
    fn pay(&mut self, amount: u128) {
        self.request += 1;
        let expires_at = Timestamp(self.wall + 10_000);
        let amount = u64::try_from(amount).unwrap();
        let Command::Prepare(by_alice) =
            prepare(self.request, amount, expires_at, "test.pool.carol")
        else {
            unreachable!()
        };
        let by_dave = Prepare {
            peer: DAVE,
            ..by_alice
        };
        if self.apply(&Command::Prepare(by_dave)).is_err() {
            self.counts.insert("a packet was refused");
            self.sync(None);
            return;
        }
        let effects = self.sync(None);
        let packet = effects.iter().find_map(|effect| match effect {
            Effect::Forward { packet, .. } => Some(*packet),
            _ => None,
        });
        let fulfill = Command::Fulfill {
            peer: CAROL,
            packet: packet.unwrap(),
            preimage: PREIMAGE,
        };
        self.apply(&fulfill).unwrap();
        let effects = self.sync(None);
        let asked = effects.iter().find_map(|effect| match effect {
            Effect::Lightning(LightningEffect::AskInvoice {
                settlement, amount, ..
            }) => Some((*settlement, amount.value())),
            _ => None,
        });
        let Some((settlement, amount)) = asked else {
            return;
        };
        let mut hash = [9; 32];
        hash[..4].copy_from_slice(&self.request.to_le_bytes());
        let hash = Hash32(hash);
        self.lightning(LightningCommand::InvoiceTold {
            peer: CAROL,
            settlement,
            invoice: InvoiceTerms {
                hash,
                amount: Amount::new(amount),
                payee: NodeId([2; 33]),
                expires_at: Timestamp(self.wall + 3_600_000),
            },
        })
        .unwrap();
        self.sync(None);
        let can_pay = |real: &&mut Real| real.is_ready && real.ours >= amount + real.value / 100;
        let paying = self.channels.values_mut().find(can_pay);
        let Some(real) = paying.filter(|_| self.is_online) else {
            self.untold.push(LightningCommand::Failed { hash });
            return;
        };
        real.ours -= amount;
        if let Some((_, ours)) = &mut real.pending {
            *ours = ours.saturating_sub(amount);
        }
        self.paid += amount;
        self.untold.push(LightningCommand::Sent {
            hash,
            fee: Amount::ZERO,
        });
        self.observe(false);
        self.tell_capacity();
    }

    fn receive(&mut self, amount: u128) {
        let can_pay = |real: &&mut Real| {
            real.is_ready
                && real.pending.is_none()
                && real.value - real.ours >= amount + real.value / 100
        };
        let Some(real) = self
            .channels
            .values_mut()
            .find(can_pay)
            .filter(|_| self.is_online)
        else {
            return;
        };
        self.invoices += 1;
        let (settlement, amount) = (self.invoices, Amount::new(amount));
        real.ours += amount.value();
        let asked = LightningCommand::InvoiceAsked {
            peer: CAROL,
            settlement,
            amount,
        };
        if self.lightning(asked).is_err() {
            let real = self
                .channels
                .values_mut()
                .find(|real| real.ours >= amount.value());
            real.unwrap().ours -= amount.value();
            return;
        }
        self.received += amount.value();
        self.sync(None);
        self.untold.push(LightningCommand::Received {
            peer: CAROL,
            settlement,
            amount,
        });
        self.observe(false);
        self.tell_capacity();
    }

    /// An hour of a month: flow goes one way, the other, both, or nowhere, for days at a time.
    fn hour(&mut self, mood: u64) {
        // No batch stays open over an hour.
        self.sync(None);
        self.wall += HOUR_MS;
        let some = |world: &mut Self| (1 + u128::from(world.random.below(300_000))) * SAT;
        match mood {
            0 => {
                let amount = some(self);
                self.pay(amount);
            }
            1 => {
                let amount = some(self);
                self.receive(amount);
            }
            2 => {
                let amount = some(self);
                self.pay(amount);
                self.receive(amount);
            }
            _ => {}
        }
        if self.random.chance(20) {
            self.is_online = !self.is_online;
        }
        self.hello();
        let _ = self.apply(&Command::Tick);
        let death = match self.random.below(30) {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        };
        self.sync(death);
        if self.random.chance(900) {
            self.run_errands();
        }
        if self.observe(true) {
            return;
        }
        if self.random.chance(500) {
            self.block();
        }
        self.observe(true);
    }

    // What must be true.

    fn agree(&mut self) {
        self.is_online = true;
        for _ in 0..4 {
            self.run_errands();
            self.observe(false);
            self.block();
            self.observe(false);
            self.hello();
            self.sync(None);
        }
        let in_channels: u128 = self.channels.values().map(|real| real.ours).sum();
        assert_eq!(
            self.on_chain + in_channels,
            CAPITAL - self.paid + self.received - self.miners,
            "the naive books hold"
        );
        let state = self.sequencer.state();
        state.ledger().check_balanced().unwrap();
        let asset = state.asset(BTC).unwrap();
        let held = state.balance(asset.accounts.vault).debit().value();
        assert_eq!(held, self.on_chain + in_channels, "the books are the truth");
        assert_eq!(self.account().cost.value(), self.miners);
        let restored = State::restore(&state.snapshot()).unwrap();
        assert_eq!(restored.digest(), state.digest(), "[I10]");
    }

    fn swings(&mut self) {
        let rest_ms = self.sequencer.state().liquidity().rest_ms;
        let mut last: Option<(Change, u64, u128)> = None;
        for &(change, at, paid) in &self.changes {
            if let Some((before, then, paid_then)) = last {
                let out = paid - paid_then;
                match (before, change) {
                    (_, Change::Out) => {
                        assert!(at - then >= rest_ms, "it had rested");
                        self.counts.insert("out");
                    }
                    (Change::Out, Change::In | Change::Open) => {
                        self.counts.insert("in after out");
                        assert!(out >= ALLOTMENT / 4, "out, then in, after {out} went");
                    }
                    (_, Change::Close) => {
                        self.counts.insert("close");
                        assert!(at - then >= 30 * DAY_MS, "it was idle");
                    }
                    (Change::Close, Change::Open) => {
                        self.counts.insert("opened again");
                    }
                    _ => {}
                }
            }
            last = Some((change, at, paid));
        }
        // Each enlargement follows the use of half of what there was.
        let grown = |&&(change, ..): &&(Change, u64, u128)| change == Change::In;
        let count = self.changes.iter().filter(grown).count();
        let most = 2 + self.paid / (ALLOTMENT / 2);
        assert!(u128::try_from(count).unwrap() <= most, "{count} of {most}");
    }
}

fn stands(channel: LightningChannelId, value: u128) -> LightningCommand {
    LightningCommand::ChannelStands {
        peer: CAROL,
        channel,
        value: Amount::new(value),
        is_ours: true,
        splices: true,
    }
}

#[test]
fn months_of_turning_flow_swing_nothing_and_every_change_is_made_and_paid_for_once() {
    let mut seen = BTreeSet::new();
    for seed in 1..=SEEDS {
        let mut world = World::new(seed);
        let mut mood = 0;
        for hour in 0..DAYS * 24 {
            if hour % 72 == 0 {
                // Now and then nothing flows for two months.
                mood = match world.random.below(12) {
                    11 if hour < 40 * 24 => 4,
                    _ if mood == 4 && hour < 100 * 24 => 4,
                    other => other % 4,
                };
            }
            world.hour(mood);
        }
        world.agree();
        world.swings();
        seen.append(&mut world.counts);
    }
    for wanted in [
        "restart",
        "died before acknowledging",
        "a change failed",
        "a second change was refused",
        "a packet was refused",
        "out",
        "in after out",
        "close",
        "opened again",
    ] {
        assert!(seen.contains(wanted), "never: {wanted}");
    }
}
