//! Channels sold just in time: each rule is a row, what happens in, demands or the reason for none out. Amounts are in satoshi.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use forebay_channel::NodeId;
use forebay_pool::*;
use forebay_quantity::*;

const BTC: AssetId = AssetId(2);
const CAROL: PeerId = PeerId(2);
const SAT: u128 = 1_000;
const CAPITAL: u128 = 20_000_000 * SAT;
const HOUR_MS: u64 = 3_600_000;

/// The node of an account, and a stranger's.
const PEER: NodeId = NodeId([2; 33]);
const STRANGER: NodeId = NodeId([3; 33]);

struct Table {
    world: World,
    terms: Option<SaleTerms>,
    sales: u64,
    forwards: u64,
    /// What the wallet can put into one more channel.
    spendable: u128,
    said: Vec<String>,
}

impl Table {
    fn new() -> Self {
        let mut world = World::founded();
        let bitcoin = BitcoinDefinition {
            code: "BTC".into(),
            scale: 11,
            genesis: Hash32([6; 32]),
            index_rate_max: 0,
        };
        world.admin(Admin::AddBitcoin(bitcoin, policy()));
        world.admin(Admin::AddPeer {
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
        world.apply(&Command::Bitcoin(capital)).unwrap();
        let named = LightningCommand::NodeNamed {
            peer: CAROL,
            node: PEER,
        };
        world.apply(&Command::Lightning(named)).unwrap();
        world.sync();
        Self {
            world,
            terms: None,
            sales: 0,
            forwards: 0,
            spendable: CAPITAL,
            said: Vec::new(),
        }
    }

    fn policy(&mut self, change: impl FnOnce(&mut SalePolicy)) {
        let mut policy = self.world.state().sales().policy().clone();
        change(&mut policy);
        self.world.admin(Admin::SetSales(policy));
    }

    fn sale(&mut self, command: SaleCommand) -> Result<(), Rejection> {
        let outcome = self.world.apply(&Command::Sale(command));
        if let Err(rejection) = &outcome {
            self.said.push(match rejection {
                Rejection::NotSold(why) => format!("no: {why}"),
                other => format!("no: {other:?}"),
            });
        }
        outcome
    }

    /// One step of a row's script.
    fn step(&mut self, step: &str) {
        let words: Vec<&str> = step.split_whitespace().collect();
        match *words.as_slice() {
            ["sell", "to", whom] => self.policy(|policy| {
                policy.buyers = match whom {
                    "nobody" => Buyers::Nobody,
                    "peers" => Buyers::Peers,
                    "anyone" => Buyers::Anyone,
                    _ => panic!("{step}"),
                };
            }),
            ["hold", "at", "most", amount] => {
                self.policy(|policy| policy.sold_max = Amount::new(sat(amount)));
            }
            ["coins", amount] => self.spendable = sat(amount),
            ["halt"] => self.world.admin(Admin::HaltBook(BTC)),
            ["remove"] => self.world.admin(Admin::RemovePeer(CAROL)),
            ["pass", hours] => self.world.wall.0 += hours.parse::<u64>().unwrap() * HOUR_MS,
            // A node asks; opening and closing would cost so much.
            ["ask", whom, cost] => self.ask(node(whom), sat(cost)),
            // It takes the terms that were told last.
            ["buy", whom] => self.buy(node(whom), None),
            ["buy", whom, "for", payment] => {
                self.buy(node(whom), Some(Amount::new(sat(payment))));
            }
            // A payment is held for the last sale, and brings the fee, or so much.
            ["held", amount] => self.held(sat(amount), None),
            ["held", amount, "less", fee] => self.held(sat(amount), Some(sat(fee))),
            ["funded", fee] => self.outcome(|demand| {
                Command::Lightning(LightningCommand::Funded {
                    demand,
                    fee: Amount::new(sat(fee)),
                })
            }),
            ["fails"] => self.outcome(|effect| Command::Outcome {
                effect,
                failure: Some("as the row says".into()),
            }),
            // So much stays of a payment, and so much of that was withheld for the channel.
            ["forwards", fee, withheld] => self.forward(sat(fee), sat(withheld)),
            ["gone"] => {
                let channel = self.last().1.channel().unwrap();
                let balance = Amount::ZERO;
                let closed = LightningCommand::ChannelClosed { channel, balance };
                self.world.apply(&Command::Lightning(closed)).unwrap();
            }
            ["closes", balance, cost] => {
                let (balance, cost) = (sat(balance), sat(cost));
                let channel = self.last().1.channel().unwrap();
                for command in [
                    LightningCommand::ChannelClosed {
                        channel,
                        balance: Amount::new(balance),
                    },
                    LightningCommand::ClosingPaid {
                        channel,
                        txid: Hash32([42; 32]),
                        fee: Amount::new(cost),
                    },
                    LightningCommand::ChannelReturned {
                        channel,
                        cost: Amount::ZERO,
                        gain: Amount::ZERO,
                    },
                ] {
                    self.world.apply(&Command::Lightning(command)).unwrap();
                    let again = self.world.apply(&Command::Lightning(command));
                    assert!(
                        matches!(
                            again,
                            Err(Rejection::AlreadyTaken | Rejection::UnknownEffect)
                        ),
                        "{again:?}"
                    );
                }
            }
            _ => panic!("{step}: no such step"),
        }
        self.sync();
    }

    fn sync(&mut self) {
        for effect in self.world.sync() {
            if let Effect::Chain { request, .. } = effect {
                let sat = |amount: Amount| amount.value() / SAT;
                self.said.push(match request {
                    ChainRequest::SellLightning { amount, .. } => format!("open {}", sat(amount)),
                    ChainRequest::CloseSold { .. } => "close".into(),
                    other => format!("{other:?}"),
                });
            }
        }
    }

    fn ask(&mut self, node: NodeId, cost: u128) {
        let (cost, spendable) = (Amount::new(cost), Amount::new(self.spendable));
        let now = self.world.wall;
        match sale_terms(self.world.state(), now, node, cost, spendable) {
            Ok(terms) => {
                let sat = |amount: Amount| amount.value() / SAT;
                self.said.push(format!(
                    "{} and {} ppm for {} to {}",
                    sat(terms.fee_min),
                    terms.fee_ppm,
                    sat(terms.payment_min),
                    sat(terms.payment_max)
                ));
                self.terms = Some(terms);
            }
            Err(Rejection::NotSold(why)) => self.said.push(format!("no: {why}")),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn buy(&mut self, node: NodeId, payment: Option<Amount>) {
        self.sales += 1;
        let _ = self.sale(SaleCommand::Bought {
            sale: SaleId(self.sales),
            node,
            terms: self.terms.unwrap(),
            payment,
        });
    }

    fn held(&mut self, amount: u128, fee: Option<u128>) {
        let amount = Amount::new(amount);
        let promised = self.terms.unwrap().fee(amount);
        let held = SaleCommand::PaymentHeld {
            sale: SaleId(self.sales),
            amount,
            fee: fee.map_or(promised, Amount::new),
            spendable: Amount::new(self.spendable),
        };
        if self.sale(held).is_ok() {
            // Told again after a crash, it opens no second channel.
            let again = self.world.apply(&Command::Sale(held));
            assert_eq!(again, Err(Rejection::AlreadyTaken));
        }
    }

    fn last(&self) -> (SaleId, Sale) {
        let (id, sale) = self.world.state().sales().open().last().unwrap();
        (id, *sale)
    }

    /// The outcome of the demand that is outstanding.
    fn outcome(&mut self, outcome: impl Fn(EffectId) -> Command<'static>) {
        let outstanding = self.world.state().chain_effects().next();
        let demand = outstanding.expect("something was demanded").0;
        self.world.apply(&outcome(demand)).unwrap();
        let again = self.world.apply(&outcome(demand));
        assert_eq!(again, Err(Rejection::UnknownEffect));
    }

    fn forward(&mut self, fee: u128, withheld: u128) {
        self.forwards += 1;
        let channel = self.world.state().sales().open().last();
        let forwarded = SaleCommand::Forwarded {
            number: self.forwards,
            fee: Amount::new(fee),
            withheld: Amount::new(withheld),
            channel: channel.and_then(|(_, sale)| sale.channel()),
        };
        self.sale(forwarded).unwrap();
        let again = self.world.apply(&Command::Sale(forwarded));
        assert_eq!(again, Err(Rejection::AlreadyTaken), "it counts once");
    }

    /// What the books hold beyond the capital, in satoshi; below nothing when it is less.
    fn grown(&self) -> i128 {
        let state = self.world.state();
        state.ledger().check_balanced().unwrap();
        let asset = state.asset(BTC).unwrap();
        let held = state.balance(asset.accounts.vault).debit();
        assert_eq!(held, asset.vault.chain_total);
        let signed = |value: u128| i128::try_from(value / SAT).unwrap();
        signed(held.value()) - signed(CAPITAL)
    }
}

fn node(whom: &str) -> NodeId {
    match whom {
        "peer" => PEER,
        "stranger" => STRANGER,
        _ => panic!("{whom}"),
    }
}

fn sat(text: &str) -> u128 {
    let (digits, unit) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1_000),
        None => match text.strip_suffix('m') {
            Some(digits) => (digits, 1_000_000),
            None => (text, 1),
        },
    };
    digits.parse::<u128>().unwrap() * unit * SAT
}

/// Thirty days at 100 ppm a day, for what the payment binds and a fifth of it more: 3,600 ppm.
const TOLD: &str = "1000 and 3600 ppm for 10000 to 8333333";

#[test]
fn each_rule_answers_with_terms_a_channel_or_a_reason() {
    let sold = |rest: &str| format!("{TOLD}, {rest}");
    let rows = [
        // To whom.
        ("a peer's node is told terms", "ask peer 300", TOLD.into()),
        (
            "a stranger is not",
            "ask stranger 300",
            "no: channels are sold to nodes of this pool's accounts alone".into(),
        ),
        (
            "unless the operator says so",
            "sell to anyone; ask stranger 300",
            TOLD.into(),
        ),
        (
            "nobody is where nothing is sold",
            "sell to nobody; ask peer 300",
            "no: channels are not sold".into(),
        ),
        (
            "a peer that was removed is a stranger",
            "remove; ask peer 300",
            "no: channels are sold to nodes of this pool's accounts alone".into(),
        ),
        (
            "a book that stands still sells nothing",
            "halt; ask peer 300",
            "no: this pool's book stands still".into(),
        ),
        // For what.
        (
            "what miners take is the least fee, and a payment is twice that at least",
            "ask peer 7k",
            "7000 and 3600 ppm for 14000 to 8333333".into(),
        ),
        (
            "few coins sell small channels",
            "coins 130k; ask peer 1k",
            "1000 and 3600 ppm for 10000 to 107500".into(),
        ),
        (
            "too few sell none",
            "coins 20k; ask peer 1k",
            "no: too little is left to put into a channel".into(),
        ),
        (
            "what all channels sold may hold is a bound",
            "hold at most 120k; ask peer 300",
            "1000 and 3600 ppm for 10000 to 100000".into(),
        ),
        // When a payment comes.
        (
            "a channel holds the payment and a fifth more",
            "ask peer 300; buy peer for 1m; held 1m",
            // 996,400 pass.
            sold("open 1195680"),
        ),
        (
            "and room for what must stay in it",
            "ask peer 300; buy peer for 20k; held 20k",
            sold("open 29000"),
        ),
        (
            "a payment of no size named opens one as well",
            "ask peer 300; buy peer; held 100k",
            sold("open 118800"),
        ),
        (
            "it opens one channel",
            "ask peer 300; buy peer; held 100k; funded 200; held 100k",
            sold("open 118800, no: AlreadyTaken"),
        ),
        (
            "a sale whose channel came to nothing is over",
            "ask peer 300; buy peer; held 100k; fails; held 100k",
            sold("open 118800, no: no channel is promised under this number"),
        ),
        // What is refused.
        (
            "a payment below the terms",
            "ask peer 300; buy peer; held 9k",
            sold("no: the payment is not within the terms"),
        ),
        (
            "one above them",
            "ask peer 300; buy peer; held 9m",
            sold("no: the payment is not within the terms"),
        ),
        (
            "a purchase for one above them",
            "ask peer 300; buy peer for 9m",
            sold("no: the payment is not within the terms"),
        ),
        (
            "a payment that brings less than the fee",
            "ask peer 300; buy peer; held 1m less 3599",
            sold("no: BadFact(\"a sale brings less than its fee\")"),
        ),
        (
            "a payment after the terms have expired",
            "ask peer 300; buy peer; pass 1; held 100k",
            sold("no: the terms have expired"),
        ),
        (
            "a purchase after that",
            "ask peer 300; pass 1; buy peer",
            sold("no: the terms have expired"),
        ),
        (
            "coins that left meanwhile",
            "ask peer 300; buy peer; coins 100k; held 100k",
            sold("no: too little is left to put into a channel"),
        ),
        (
            "a buyer that was removed meanwhile",
            "ask peer 300; buy peer; remove; held 100k",
            sold("no: nothing is sold to this node any more"),
        ),
        (
            "a ninth purchase of one node",
            "ask peer 300; buy peer; buy peer; buy peer; buy peer; buy peer; buy peer; buy peer; buy peer; buy peer",
            sold("no: this node has bought all that one may"),
        ),
        (
            "not once earlier ones have expired",
            "ask peer 300; buy peer; buy peer; buy peer; buy peer; buy peer; buy peer; buy peer; buy peer; pass 1; \
             ask peer 300; buy peer",
            format!("{TOLD}, {TOLD}"),
        ),
        // How long it is kept.
        (
            "a channel is kept for its time",
            "ask peer 300; buy peer; held 100k; funded 200; forwards 1000 1000; pass 719",
            sold("open 118800"),
        ),
        (
            "and closed after it when nothing passes",
            "ask peer 300; buy peer; held 100k; funded 200; forwards 1000 1000; pass 721",
            sold("open 118800, close"),
        ),
        (
            "not while payments pass",
            "ask peer 300; buy peer; held 100k; funded 200; pass 719; forwards 1 0; pass 719",
            sold("open 118800"),
        ),
        (
            "a node whose channel closed with nothing of ours in it may buy again",
            "ask peer 300; buy peer; held 100k; funded 200; gone; ask peer 300; buy peer; held 100k",
            sold(&format!("open 118800, {TOLD}, open 118800")),
        ),
        (
            "a closing that failed is tried again after a rest",
            "ask peer 300; buy peer; held 100k; funded 200; pass 721; fails; pass 23; pass 1",
            sold("open 118800, close, close"),
        ),
    ];
    let mut wrong = Vec::new();
    for (name, script, expected) in rows {
        let mut table = Table::new();
        for step in script.split(';') {
            table.step(step.trim());
        }
        let found = table.said.join(", ");
        if found != expected {
            wrong.push(format!("{name}: {found:?} in place of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_a_sale_costs_and_brings_is_booked_once_and_so_is_what_passes_through() {
    let mut table = Table::new();
    for step in ["ask peer 300", "buy peer for 1m", "held 1m"] {
        table.step(step);
    }
    assert_eq!(table.grown(), 0, "a promise costs nothing");
    table.step("funded 250");
    assert_eq!(table.grown(), -250);
    table.step("forwards 3600 3600");
    assert_eq!(table.grown(), 3_350);
    table.step("forwards 5 0");
    assert_eq!(table.grown(), 3_355);
    let (_, sale) = table.last();
    assert_eq!(sale.earned.value() / SAT, 3_600);
    assert_eq!(sale.cost.value() / SAT, 250);
    let fees = {
        let state = table.world.state();
        let asset = state.asset(BTC).unwrap();
        state.balance(asset.accounts.fees).credit().value() / SAT
    };
    // The opening was borne by shares, since there were no fees yet.
    assert_eq!(fees, 3_605);
    table.step("closes 900k 90");
    assert_eq!(table.grown(), 3_265);
    let sales = table.world.state().sales();
    assert_eq!(sales.open().count(), 0);
    let sums = [sales.earned, sales.cost, sales.routed].map(|sum| sum.value() / SAT);
    assert_eq!(sums, [3_600, 340, 5]);
    let restored = State::restore(&table.world.state().snapshot()).unwrap();
    assert_eq!(restored.digest(), table.world.state().digest(), "[I10]");
}

#[test]
fn a_channel_that_was_sold_is_no_part_of_what_is_planned_for_the_peer() {
    let mut table = Table::new();
    for step in ["ask peer 300", "buy peer", "held 1m", "funded 200"] {
        table.step(step);
    }
    let channel = table.last().1.channel().unwrap();
    for command in [
        LightningCommand::Capacity {
            peer: CAROL,
            outbound: Amount::new(190_000 * SAT),
            inbound: Amount::new(990_000 * SAT),
        },
        LightningCommand::ChannelStands {
            peer: CAROL,
            channel,
            value: Amount::new(1_195_680 * SAT),
            is_ours: true,
            splices: true,
        },
    ] {
        table.world.apply(&Command::Lightning(command)).unwrap();
    }
    table.said.clear();
    table.step("pass 48");
    assert_eq!(table.said, Vec::<String>::new(), "nothing is spliced out");
    let carol = table.world.state().peer(CAROL).unwrap();
    assert!(carol.lightning.as_deref().unwrap().channels.is_empty());
}

#[test]
fn a_policy_that_could_not_hold_is_refused() {
    let mut table = Table::new();
    let good = SalePolicy::default;
    let rows = [
        (
            "channels for nothing",
            SalePolicy {
                fee_min: Amount::ZERO,
                ..good()
            },
        ),
        (
            "for all that is paid",
            SalePolicy {
                fee_ppm: Ppm(1_000_000),
                ..good()
            },
        ),
        (
            "terms that never stand",
            SalePolicy {
                valid_ms: 0,
                ..good()
            },
        ),
        (
            "for payments of nothing",
            SalePolicy {
                payment_min: Amount::ZERO,
                ..good()
            },
        ),
    ];
    for (name, bad) in rows {
        let refused = table.world.try_admin(Admin::SetSales(bad));
        assert!(matches!(refused, Err(Rejection::BadPolicy(_))), "{name}");
    }
}
