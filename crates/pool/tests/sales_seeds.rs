//! Seeded weeks of channels sold just in time: buyers that never pay, payments that come late, twice or at once, channels that come
//! to nothing, buyers that never take the payment, payments passing through, crashes at any point, observations told again. A naive
//! wallet and node say what is true.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Random, peer_policy, policy};
use forebay_channel::NodeId;
use forebay_pool::*;
use forebay_quantity::*;

const BTC: AssetId = AssetId(0);
const CAROL: PeerId = PeerId(0);
const SAT: u128 = 1_000;
const CAPITAL: u128 = 30_000_000 * SAT;
const SOLD_MAX: u128 = 2_000_000 * SAT;
/// The least that a payment is, in msat.
const PAYMENT_MIN: u128 = 10_000 * SAT;
const MINUTE_MS: u64 = 60_000;
const STEPS: u64 = 1_500;
const SEEDS: u64 = 64;

/// What the node keeps of a sale.
#[derive(Debug, Clone, Copy)]
struct Promise {
    terms: SaleTerms,
    /// What is held for it.
    held: Option<u128>,
    /// The channel that it led to.
    channel: Option<LightningChannelId>,
}

struct World {
    random: Random,
    sequencer: Sequencer,
    journal: Vec<Vec<u8>>,
    wall: u64,
    command: u8,
    next_sale: u64,
    // What is true.
    on_chain: u128,
    /// What is ours in the channels by which payments come.
    upstream: u128,
    channels: BTreeMap<LightningChannelId, u128>,
    promises: BTreeMap<SaleId, Promise>,
    forwards: u64,
    earned: u128,
    routed: u128,
    miners: u128,
    opened: BTreeSet<EffectId>,
    led_to_channels: BTreeSet<SaleId>,
    untold: Vec<Command<'static>>,
    errands: Vec<(EffectId, ChainRequest)>,
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
            next_sale: 0,
            on_chain: CAPITAL,
            upstream: 0,
            channels: BTreeMap::new(),
            promises: BTreeMap::new(),
            forwards: 0,
            earned: 0,
            routed: 0,
            miners: 0,
            opened: BTreeSet::new(),
            led_to_channels: BTreeSet::new(),
            untold: Vec::new(),
            errands: Vec::new(),
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
        self.admin(Admin::AddPeer {
            name: "carol".into(),
            asset: BTC,
            token_hash: Hash32([7; 32]),
            policy: peer_policy(0),
        });
        let capital = BitcoinFact::Deposited {
            outpoint: Outpoint {
                txid: Hash32([1; 32]),
                index: 0,
            },
            owner: None,
            amount: Amount::new(CAPITAL),
        };
        self.apply(&Command::Bitcoin(capital)).unwrap();
        let named = LightningCommand::NodeNamed {
            peer: CAROL,
            node: node(0),
        };
        self.apply(&Command::Lightning(named)).unwrap();
        self.admin(Admin::SetSales(SalePolicy {
            buyers: Buyers::Anyone,
            sold_max: Amount::new(SOLD_MAX),
            lifetime_ms: 24 * 60 * MINUTE_MS,
            ..SalePolicy::default()
        }));
        self.admin(Admin::SetLiquidity(LiquidityPolicy {
            idle_ms: 24 * 60 * MINUTE_MS,
            ..LiquidityPolicy::default()
        }));
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

    /// Ends a batch, or dies in the midst of it: before the append, or after the sync and before anything left.
    fn sync(&mut self, death: Option<bool>) {
        self.sequencer.plan(Timestamp(self.wall));
        let batch = self.sequencer.batch().map(<[u8]>::to_vec);
        let Some(batch) = batch else {
            self.sequencer.release(|_| {});
            return;
        };
        if death != Some(false) {
            self.journal.push(batch);
        }
        if death.is_some() {
            self.counts.insert("restart");
            let mut sequencer = Sequencer::new(State::default());
            for batch in &self.journal {
                sequencer.replay(batch).unwrap();
            }
            self.sequencer = sequencer;
            self.errands.clear();
            let again = outstanding(self.sequencer.state());
            return self.take_errands(again);
        }
        let mut effects = Vec::new();
        self.sequencer.release(|effect| effects.push(effect));
        self.take_errands(effects);
    }

    fn take_errands(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Effect::Chain { id, request } = effect {
                self.errands.push((id, request));
            }
        }
    }

    fn death(&mut self) -> Option<bool> {
        match self.random.below(14) {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn spendable(&self) -> Amount {
        Amount::new(self.on_chain)
    }

    // What others do.

    /// A node asks, and may buy what it is offered; a crash in between loses the promise before the buyer has it.
    fn buy(&mut self) {
        let buyer = node(u8::try_from(self.random.below(6)).unwrap());
        let cost = Amount::new((200 + u128::from(self.random.below(2_000))) * SAT);
        let now = Timestamp(self.wall);
        // Now and then most coins are set aside for something else.
        let spendable = match self.random.chance(50) {
            true => Amount::new(PAYMENT_MIN),
            false => self.spendable(),
        };
        let Ok(terms) = sale_terms(self.sequencer.state(), now, buyer, cost, spendable) else {
            self.counts.insert("nothing was offered");
            return;
        };
        assert!(terms.payment_min.value() >= PAYMENT_MIN);
        assert!(terms.fee_min >= cost, "miners are paid for");
        self.next_sale += 1;
        let sale = SaleId(self.next_sale);
        let bought = SaleCommand::Bought {
            sale,
            node: buyer,
            terms,
            payment: None,
        };
        self.apply(&Command::Sale(bought)).unwrap();
        let death = self.death();
        self.sync(death);
        if death.is_some() {
            self.counts.insert("a promise was lost");
            return;
        }
        self.promises.insert(
            sale,
            Promise {
                terms,
                held: None,
                channel: None,
            },
        );
    }

    /// Somebody pays a buyer, perhaps too much, too late, or while another payment is held.
    fn pay(&mut self) {
        let count = self.promises.len();
        if count == 0 {
            return;
        }
        let at = usize::try_from(self.random.below(count as u64)).unwrap();
        let (sale, promise) = self.promises.iter().nth(at).unwrap();
        let (sale, promise) = (*sale, *promise);
        if promise.held.is_some() {
            // The node holds it beside the first.
            return;
        }
        if let Some(channel) = promise.channel {
            return self.pass_through(channel);
        }
        let most = promise.terms.payment_max.value() / SAT + 1_000;
        let amount = (9_000 + u128::from(self.random.below(u64::try_from(most).unwrap()))) * SAT;
        self.promises.get_mut(&sale).unwrap().held = Some(amount);
        let held = SaleCommand::PaymentHeld {
            sale,
            amount: Amount::new(amount),
            fee: promise.terms.fee(Amount::new(amount)),
            spendable: self.spendable(),
        };
        self.untold.push(Command::Sale(held));
    }

    /// A payment goes by a channel that was sold, and leaves a routing fee.
    fn pass_through(&mut self, channel: LightningChannelId) {
        let Some(ours) = self.channels.get_mut(&channel) else {
            return;
        };
        let amount = *ours / 10;
        let fee = SAT + amount / 1_000;
        *ours -= amount;
        self.upstream += amount + fee;
        self.routed += fee;
        self.forwarded(channel, fee, 0);
        self.counts.insert("passed through");
    }

    fn forwarded(&mut self, channel: LightningChannelId, fee: u128, withheld: u128) {
        self.forwards += 1;
        let forwarded = SaleCommand::Forwarded {
            number: self.forwards,
            fee: Amount::new(fee),
            withheld: Amount::new(withheld),
            channel: Some(channel),
        };
        self.untold.push(Command::Sale(forwarded));
    }

    /// A buyer closes its channel.
    fn close(&mut self, channel: LightningChannelId) {
        let Some(ours) = self.channels.remove(&channel) else {
            return;
        };
        let fee = ours.min(300 * SAT);
        self.miners += fee;
        self.on_chain += ours - fee;
        let (balance, cost) = (Amount::new(ours), Amount::new(fee));
        let closed = LightningCommand::ChannelClosed { channel, balance };
        let returned = LightningCommand::ChannelReturned {
            channel,
            cost,
            gain: Amount::ZERO,
        };
        self.untold.push(Command::Lightning(closed));
        self.untold.push(Command::Lightning(returned));
        self.promises
            .retain(|_, promise| promise.channel != Some(channel));
        self.counts.insert("closed");
    }

    // What the node does.

    fn run_errands(&mut self) {
        for (demand, request) in std::mem::take(&mut self.errands) {
            let state = self.sequencer.state();
            let is_open = state.chain_effects().any(|(id, _)| id == demand);
            if !is_open {
                continue;
            }
            let outcome = match request {
                ChainRequest::SellLightning { sale, amount, .. } => {
                    self.sell(demand, sale, amount.value())
                }
                ChainRequest::CloseSold { channel, .. } => match self.random.chance(300) {
                    true => Err("away"),
                    false => {
                        self.close(channel);
                        self.counts.insert("closed as idle");
                        Ok(())
                    }
                },
                other => panic!("{other:?}"),
            };
            if let Err(why) = outcome {
                self.counts.insert(why);
                let failure = Some(why.to_owned());
                let failed = Command::Outcome {
                    effect: demand,
                    failure,
                };
                self.apply(&failed).unwrap();
            }
        }
    }

    fn sell(&mut self, demand: EffectId, sale: SaleId, value: u128) -> Result<(), &'static str> {
        let channel = LightningChannelId(u128::from(demand.0));
        if self.opened.contains(&demand) {
            // Opened before a crash: the node knows the number.
            return Ok(());
        }
        let promise = self.promises.get(&sale).copied();
        let Some((promise, amount)) = promise.and_then(|p| Some((p, p.held?))) else {
            return Err("its payment had gone back");
        };
        if self.random.chance(200) {
            // The buyer is away, or does not agree: the payment goes back, and the sale is over.
            self.promises.remove(&sale);
            return Err("no channel came of it");
        }
        let fee = (100 + u128::from(self.random.below(150))) * SAT;
        self.on_chain -= value + fee;
        self.miners += fee;
        self.opened.insert(demand);
        assert!(
            self.led_to_channels.insert(sale),
            "a sale leads to one channel"
        );
        self.channels.insert(channel, value);
        let in_sold: u128 = self.channels.values().sum();
        assert!(in_sold <= SOLD_MAX, "no more is bound than is said");
        let fee = Amount::new(fee);
        self.untold
            .push(Command::Lightning(LightningCommand::Funded { demand, fee }));
        let kept = self.promises.get_mut(&sale).unwrap();
        (kept.channel, kept.held) = (Some(channel), None);
        if self.random.chance(150) {
            self.counts.insert("the buyer took no payment");
            return Ok(());
        }
        let withheld = promise.terms.fee(Amount::new(amount)).value();
        *self.channels.get_mut(&channel).unwrap() -= amount - withheld;
        self.upstream += amount;
        self.earned += withheld;
        self.forwarded(channel, withheld, withheld);
        self.counts.insert("sold");
        Ok(())
    }

    /// Nothing is held for longer than the node's patience: what the core has not demanded a channel for goes back.
    fn give_back(&mut self) {
        let state = self.sequencer.state();
        let under_way: BTreeSet<SaleId> = state
            .chain_effects()
            .filter_map(|(_, request)| match request {
                ChainRequest::SellLightning { sale, .. } => Some(*sale),
                _ => None,
            })
            .collect();
        for (sale, promise) in &mut self.promises {
            if promise.held.is_some() && !under_way.contains(sale) {
                promise.held = None;
                self.counts.insert("gave back");
            }
        }
    }

    /// Tells the core, and acknowledges once that is durable; sometimes dies in between, and tells again.
    fn observe(&mut self, may_die: bool) {
        while let Some(observation) = self.untold.first().cloned() {
            let taken = self.apply(&observation);
            match (&observation, taken) {
                (_, Ok(()) | Err(Rejection::AlreadyTaken | Rejection::UnknownEffect)) => {}
                (
                    Command::Sale(SaleCommand::PaymentHeld { sale, .. }),
                    Err(Rejection::NotSold(_)),
                ) => {
                    if let Some(promise) = self.promises.get_mut(sale) {
                        promise.held = None;
                    }
                    self.counts.insert("a payment was refused");
                }
                (observation, refused) => panic!("{observation:?}: {refused:?}"),
            }
            let death = self.death().filter(|_| may_die);
            self.sync(death);
            if death.is_some() {
                self.counts.insert("died before acknowledging");
                let is_held = |command: &Command<'_>| {
                    matches!(command, Command::Sale(SaleCommand::PaymentHeld { .. }))
                };
                if is_held(&observation) && self.random.chance(500) {
                    // The node forgot its question, and holds the payment no longer than its patience.
                    self.untold.remove(0);
                }
                return;
            }
            self.untold.remove(0);
        }
    }

    fn step(&mut self) {
        self.sync(None);
        self.wall += MINUTE_MS * (1 + self.random.below(20));
        match self.random.below(8) {
            0 | 1 => self.buy(),
            2..=4 => self.pay(),
            5 if self.random.chance(100) => {
                let channel = self.channels.keys().next().copied();
                if let Some(channel) = channel {
                    self.observe(true);
                    self.close(channel);
                }
            }
            // A quiet day.
            6 if self.random.chance(60) => self.wall += 30 * 60 * MINUTE_MS,
            _ => {}
        }
        let _ = self.apply(&Command::Tick);
        let death = self.death();
        self.sync(death);
        self.observe(true);
        if self.random.chance(800) {
            self.run_errands();
        }
        self.observe(true);
        if self.untold.is_empty() {
            self.give_back();
        }
    }

    // What must be true.

    fn agree(&mut self) {
        for _ in 0..6 {
            self.run_errands();
            self.observe(false);
            self.sync(None);
        }
        self.give_back();
        assert!(self.promises.values().all(|promise| promise.held.is_none()));
        let in_channels: u128 = self.channels.values().sum::<u128>() + self.upstream;
        let truth = self.on_chain + in_channels;
        assert_eq!(
            truth,
            CAPITAL + self.earned + self.routed - self.miners,
            "the naive books hold"
        );
        let state = self.sequencer.state();
        state.ledger().check_balanced().unwrap();
        let asset = state.asset(BTC).unwrap();
        let held = state.balance(asset.accounts.vault).debit().value();
        assert_eq!(held, truth, "the books are the truth");
        let sales = state.sales();
        let sums = [sales.earned, sales.routed, sales.cost].map(Amount::value);
        assert_eq!(sums, [self.earned, self.routed, self.miners]);
        let open: BTreeSet<_> = sales
            .open()
            .filter(|(_, sale)| sale.is_funded)
            .filter_map(|(_, sale)| sale.channel())
            .collect();
        let real: BTreeSet<_> = self.channels.keys().copied().collect();
        assert_eq!(open, real, "the core knows each channel that there is");
        let restored = State::restore(&state.snapshot()).unwrap();
        assert_eq!(restored.digest(), state.digest(), "[I10]");
    }
}

fn node(number: u8) -> NodeId {
    let mut bytes = [2; 33];
    bytes[32] = number;
    NodeId(bytes)
}

#[test]
fn weeks_of_sales_open_one_channel_for_each_payment_and_book_all_of_it_once() {
    let mut seen = BTreeSet::new();
    for seed in 1..=SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.agree();
        seen.append(&mut world.counts);
    }
    for wanted in [
        "restart",
        "a promise was lost",
        "nothing was offered",
        "died before acknowledging",
        "a payment was refused",
        "no channel came of it",
        "the buyer took no payment",
        "sold",
        "passed through",
        "gave back",
        "closed",
        "closed as idle",
        "away",
    ] {
        assert!(seen.contains(wanted), "never: {wanted}");
    }
}
