//! How Lightning channels are kept: each rule is a row, flow in, demands out. Amounts are in satoshi.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use forebay_channel::NodeId;
use forebay_pool::*;
use forebay_quantity::*;

const BTC: AssetId = AssetId(2);
const CAROL: PeerId = PeerId(2);
const DAVE: PeerId = PeerId(3);
const SAT: u128 = 1_000;
const CAPITAL: u128 = 100_000_000 * SAT;
const MINUTE_MS: u64 = 60_000;

/// Carol's channels are looked at; Dave pays her by packets, on credit.
struct Table {
    world: World,
    request: u32,
    invoices: u64,
    outstanding: Vec<(EffectId, ChainRequest)>,
    demanded: Vec<String>,
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
        for (name, credit) in [("carol", 0), ("dave", CAPITAL)] {
            world.admin(Admin::AddPeer {
                name: name.into(),
                asset: BTC,
                token_hash: Hash32([name.as_bytes()[0]; 32]),
                policy: peer(0, credit),
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
        world.apply(&Command::Bitcoin(capital)).unwrap();
        let mut table = Self {
            world,
            request: 0,
            invoices: 0,
            outstanding: Vec::new(),
            demanded: Vec::new(),
        };
        table.lightning(LightningCommand::NodeNamed {
            peer: CAROL,
            node: NodeId([2; 33]),
        });
        table
    }

    fn lightning(&mut self, command: LightningCommand) {
        self.world.apply(&Command::Lightning(command)).unwrap();
    }

    /// One step of a row's script.
    fn step(&mut self, step: &str) {
        let words: Vec<&str> = step.split_whitespace().collect();
        match *words.as_slice() {
            // Carol's channels should carry so much.
            ["allot", amount] => {
                self.world
                    .admin(Admin::SetPeer(CAROL, peer(sat(amount), 0)));
            }
            // What they carry, out and in.
            ["carry", outbound, inbound] => self.lightning(LightningCommand::Capacity {
                peer: CAROL,
                outbound: Amount::new(sat(outbound)),
                inbound: Amount::new(sat(inbound)),
            }),
            // The pool was killed, and starts again.
            ["start"] => self.lightning(LightningCommand::Started),
            // A channel stands: its number, value, whose it is, whether it can be spliced.
            ["channel", number, value, whose, kind] => {
                self.lightning(LightningCommand::ChannelStands {
                    peer: CAROL,
                    channel: LightningChannelId(number.parse().unwrap()),
                    value: Amount::new(sat(value)),
                    is_ours: whose == "ours",
                    splices: kind == "splices",
                });
            }
            ["settle", amount, "above", threshold] => {
                let policy = PeerPolicy {
                    settle_threshold: Amount::new(sat(threshold)),
                    ..peer(sat(amount), 0)
                };
                self.world.admin(Admin::SetPeer(CAROL, policy));
            }
            ["pay", amount] => self.pay(sat(amount)),
            // Carol earns what is too little to be paid.
            ["earn", amount] => self.earn(sat(amount)),
            ["receive", amount] => self.receive(sat(amount)),
            ["pass", hours] => {
                self.world.wall.0 += hours.parse::<u64>().unwrap() * 60 * MINUTE_MS;
            }
            ["a", "minute"] => self.world.wall.0 += MINUTE_MS,
            // The last demand came about, and cost so much.
            ["done", fee] => self.done(sat(fee)),
            ["fail"] => {
                let (effect, _) = self.outstanding.pop().unwrap();
                let failure = Some("as the row says".into());
                let outcome = Command::Outcome { effect, failure };
                self.world.apply(&outcome).unwrap();
            }
            // The peer closes a channel of which so much was ours.
            ["closes", number, balance] => self.lightning(LightningCommand::ChannelClosed {
                channel: LightningChannelId(number.parse().unwrap()),
                balance: Amount::new(sat(balance)),
            }),
            // A packet for Carol is refused.
            ["knock"] => {
                let refused = self.prepare(SAT);
                assert!(matches!(refused, Err(Rejection::LaneExhausted { .. })));
            }
            ["remove"] => self.world.admin(Admin::RemovePeer(CAROL)),
            _ => panic!("{step}: no such step"),
        }
        self.sync();
    }

    fn sync(&mut self) -> Vec<Effect> {
        let effects = self.world.sync();
        for effect in &effects {
            if let Effect::Chain { id, request } = effect {
                self.demanded.extend(word(request));
                self.outstanding.push((*id, request.clone()));
            }
        }
        effects
    }

    fn prepare(&mut self, amount: u128) -> Result<(), Rejection> {
        self.request += 1;
        let expires_at = Timestamp(self.world.wall.0 + 10_000);
        let amount = u64::try_from(amount).unwrap();
        let Command::Prepare(by_alice) =
            prepare(self.request, amount, expires_at, "test.pool.carol")
        else {
            unreachable!()
        };
        self.world.apply(&Command::Prepare(Prepare {
            peer: DAVE,
            ..by_alice
        }))
    }

    fn earn(&mut self, amount: u128) {
        self.prepare(amount).unwrap();
        let (packet, _) = World::forwarded(&self.sync())[0];
        let fulfill = Command::Fulfill {
            peer: CAROL,
            packet,
            preimage: PREIMAGE,
        };
        self.world.apply(&fulfill).unwrap();
    }

    /// Carol earns by a packet, and is paid.
    fn pay(&mut self, amount: u128) {
        self.earn(amount);
        let asked = self.sync().into_iter().find_map(|effect| match effect {
            Effect::Lightning(LightningEffect::AskInvoice {
                settlement, amount, ..
            }) => Some((settlement, amount)),
            _ => None,
        });
        let (settlement, amount) = asked.unwrap();
        let mut hash = [9; 32];
        hash[..4].copy_from_slice(&self.request.to_le_bytes());
        let hash = Hash32(hash);
        self.lightning(LightningCommand::InvoiceTold {
            peer: CAROL,
            settlement,
            invoice: InvoiceTerms {
                hash,
                amount,
                payee: NodeId([2; 33]),
                expires_at: Timestamp(self.world.wall.0 + 3_600_000),
            },
        });
        self.lightning(LightningCommand::Sent {
            hash,
            fee: Amount::ZERO,
        });
    }

    fn receive(&mut self, amount: u128) {
        self.invoices += 1;
        let (settlement, amount) = (self.invoices, Amount::new(amount));
        self.lightning(LightningCommand::InvoiceAsked {
            peer: CAROL,
            settlement,
            amount,
        });
        self.lightning(LightningCommand::Received {
            peer: CAROL,
            settlement,
            amount,
        });
    }

    fn done(&mut self, fee: u128) {
        let (demand, request) = self.outstanding.pop().unwrap();
        let fee = Amount::new(fee);
        let command = match request {
            ChainRequest::OpenLightning { .. } => LightningCommand::Funded { demand, fee },
            ChainRequest::SpliceIn { channel, .. } | ChainRequest::SpliceOut { channel, .. } => {
                LightningCommand::Spliced {
                    channel,
                    txid: Hash32([u8::try_from(demand.0).unwrap(); 32]),
                    fee,
                }
            }
            ChainRequest::CloseLightning {
                channel, amount, ..
            } => {
                self.lightning(LightningCommand::ChannelClosed {
                    channel,
                    balance: amount,
                });
                LightningCommand::ChannelReturned {
                    channel,
                    cost: fee,
                    gain: Amount::ZERO,
                }
            }
            other => panic!("{other:?}"),
        };
        self.lightning(command);
        // Told again, after a crash, nothing of it counts twice.
        let again = self.world.apply(&Command::Lightning(command));
        assert!(matches!(
            again,
            Err(Rejection::AlreadyTaken | Rejection::UnknownEffect)
        ));
    }
}

fn peer(allotment: u128, credit: u128) -> PeerPolicy {
    PeerPolicy {
        packet_max: u64::MAX,
        credit: Amount::new(credit),
        settle_threshold: Amount::new(SAT),
        ..peer_policy(allotment)
    }
}

/// `5k` and `3m` are thousands and millions.
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

fn word(request: &ChainRequest) -> Option<String> {
    let sat = |amount: &Amount| amount.value() / SAT;
    Some(match request {
        ChainRequest::OpenLightning { amount, .. } => format!("open {}", sat(amount)),
        ChainRequest::SpliceIn {
            channel,
            value,
            amount,
            ..
        } => format!("splice {} into {channel} of {}", sat(amount), sat(value)),
        ChainRequest::SpliceOut {
            channel,
            value,
            amount,
            ..
        } => format!("splice {} out of {channel} of {}", sat(amount), sat(value)),
        ChainRequest::CloseLightning { channel, .. } => format!("close {channel}"),
        _ => return None,
    })
}

#[test]
fn each_rule_answers_flow_with_its_demand_and_its_neighbour_with_none() {
    // Name, what happens, what is demanded.
    let rows = [
        // The first channel.
        ("a peer that only sends has no channel", "carry 0 0", ""),
        (
            "a first channel is as large as the allotment",
            "allot 500k",
            "open 500000",
        ),
        (
            "it is asked for once",
            "allot 500k; a minute; a minute; done 200; a minute",
            "open 500000",
        ),
        (
            "one that failed is asked for again, later",
            "allot 500k; fail; carry 0 0; a minute",
            "open 500000, open 500000",
        ),
        (
            "what the pool has not is not put into a channel",
            "allot 101m",
            "",
        ),
        // What runs out is filled up.
        (
            "half of what is wanted is enough",
            "allot 500k; done 200; channel 1 500k ours splices; carry 250k 250k",
            "open 500000",
        ),
        (
            "below a half, the rest is spliced in",
            "allot 500k; done 200; channel 1 500k ours splices; carry 490k 0; carry 249k 241k",
            "open 500000, splice 251000 into 1 of 500000",
        ),
        (
            "a splice is asked for once, until the channel is larger",
            "allot 500k; done 200; channel 1 500k ours splices; carry 490k 0; carry 100k 390k; done 300; a minute; \
             carry 490k 390k; channel 1 900k ours splices; a minute",
            "open 500000, splice 400000 into 1 of 500000",
        ),
        (
            "a splice that failed is asked for again, later",
            "allot 500k; done 200; channel 1 500k ours splices; carry 490k 0; carry 100k 390k; fail; carry 100k 389k; a minute",
            "open 500000, splice 400000 into 1 of 500000, splice 400000 into 1 of 500000",
        ),
        (
            "a peer that cannot splice has another channel",
            "allot 500k; done 200; channel 1 500k ours fixed; carry 490k 0; carry 100k 390k",
            "open 500000, open 500000",
        ),
        (
            "a channel that the peer opened is enlarged as well",
            "channel 9 800k theirs splices; carry 10k 700k; allot 400k",
            "splice 390000 into 9 of 800000",
        ),
        (
            "a peer that is away waits",
            "allot 500k; done 200; channel 1 500k ours splices; carry 490k 0; carry 0 0; a minute; pass 100",
            "open 500000",
        ),
        (
            "while one of two channels is not back, the other is not enlarged",
            "allot 500k; done 200; channel 1 500k ours splices; channel 9 400k theirs splices; carry 490k 390k; carry 0 390k; \
             a minute; carry 490k 390k; a minute",
            "open 500000",
        ),
        (
            "a channel that is told to stand before it is told to be funded is there",
            "allot 500k; channel 1 500k ours splices; carry 490k 0; done 200; allot 2m; a minute",
            "open 500000, splice 1510000 into 1 of 500000",
        ),
        (
            "a splice that has made its channel larger before it is told is done",
            "allot 500k; done 200; channel 1 500k ours splices; carry 490k 0; allot 2m; a minute; \
             carry 2m 0; channel 1 2010k ours splices; done 300; allot 9m; a minute",
            "open 500000, splice 1510000 into 1 of 500000, splice 7000000 into 1 of 2010000",
        ),
        (
            "a peer that comes back while a channel waits for its blocks gets no second one",
            "channel 9 600k theirs fixed; carry 10k 500k; allot 500k; done 200; carry 0 0; carry 10k 500k; a minute; \
             carry 510k 500k; channel 1 500k ours fixed; a minute",
            "open 500000",
        ),
        (
            "after a start nothing is changed until the node has said what the channels carry",
            "allot 500k; done 200; channel 1 500k ours splices; carry 490k 0; start; allot 2m; a minute; pass 50; \
             carry 490k 0",
            "open 500000, splice 1510000 into 1 of 500000",
        ),
        // Size from flow.
        (
            "two days' flow is wanted",
            "allot 500k; done 200; channel 1 4m ours splices; carry 4m 0; pay 1500k; carry 1400k 2m",
            // A packet's fee is 0.1 %: 1,498,500 flowed.
            "open 500000, splice 1597000 into 1 of 4000000",
        ),
        (
            "what comes back the same day needs no room",
            "allot 500k; done 200; channel 1 4m ours splices; carry 4m 3m; pay 1500k; receive 1300k; carry 1400k 2m",
            "open 500000",
        ),
        (
            "flow of the day before yesterday counts no more",
            "allot 500k; done 200; channel 1 4m ours splices; carry 1500k 0; pay 1400k; pass 48; carry 1400k 2m",
            "open 500000",
        ),
        (
            "no flow makes a channel larger than the policy's most",
            "allot 500k; done 200; channel 1 40m ours splices; carry 40m 0; pay 9m; carry 4m 36m",
            "open 500000, splice 6000000 into 1 of 40000000",
        ),
        // Idle balance goes back.
        (
            "three times what is wanted may lie there",
            "allot 500k; done 200; channel 1 2m ours splices; carry 1500k 500k; pass 25; carry 1500k 499k",
            "open 500000",
        ),
        (
            "beyond, what is idle is spliced out, less what that may cost",
            "allot 500k; done 200; channel 1 2m ours splices; carry 1600k 400k; pass 25; carry 1600k 399k",
            // 1,100,000 less 5,000 and half a percent.
            "open 500000, splice 1089500 out of 1 of 2000000",
        ),
        (
            "time alone does it, without any event",
            "allot 500k; done 200; channel 1 2m ours splices; carry 1600k 400k; pass 23; pass 2",
            "open 500000, splice 1089500 out of 1 of 2000000",
        ),
        (
            "not before the channel has rested",
            "allot 500k; done 200; channel 1 2m ours splices; carry 1600k 400k; pass 23; carry 1600k 399k",
            "open 500000",
        ),
        (
            "what a peer that only sends has brought is taken out, but for what must stay",
            "channel 9 2m theirs splices; carry 900k 1m",
            // 2 % of the channel stays.
            "splice 850700 out of 9 of 2000000",
        ),
        (
            "little is left where it is",
            "channel 9 2m theirs splices; carry 140k 1m",
            "",
        ),
        (
            "what cannot be taken out is tried again after a rest",
            "channel 9 2m theirs splices; carry 900k 1m; fail; a minute; pass 23; a minute; pass 1; a minute",
            "splice 850700 out of 9 of 2000000, splice 850700 out of 9 of 2000000",
        ),
        // Nothing swings: out, then in, takes flow.
        (
            "after a splice out, what is left is above the low mark",
            "allot 500k; done 200; channel 1 2m ours splices; carry 1600k 400k; pass 25; carry 1600k 399k; done 300; \
             carry 510k 400k; channel 1 910k ours splices; pass 25; carry 509k 400k; pass 30; carry 510k 400k",
            "open 500000, splice 1089500 out of 1 of 2000000",
        ),
        // Idle channels are closed.
        (
            "an idle channel is closed once its money could have earned what it cost, twice",
            // 300 sat a day of 3,000,000; the channel cost 4,600, and twice 5,000 is the least.
            "allot 3m; done 4600; channel 1 3m ours splices; carry 3m 0; pass 792; carry 3m 1; pass 24; carry 3m 0",
            "open 3000000, close 1",
        ),
        (
            "not while it costs less than another one would",
            "allot 3m; done 5600; channel 1 3m ours splices; carry 3m 0; pass 816; carry 3m 1",
            "open 3000000",
        ),
        (
            "not sooner than the policy says, however much is in it",
            "allot 30m; done 1000; channel 1 30m ours splices; carry 30m 0; pass 719; carry 30m 1",
            "open 30000000",
        ),
        (
            "a payment makes it busy again",
            "allot 3m; done 4600; channel 1 3m ours splices; carry 3m 0; pass 700; pay 10; pass 200; carry 3m 1",
            "open 3000000",
        ),
        (
            "it is not opened again until a packet knocks",
            "allot 3m; done 4600; channel 1 3m ours splices; carry 3m 0; pass 840; carry 3m 1; done 700; carry 0 0; \
             pass 40; carry 0 0; knock",
            "open 3000000, close 1, open 3000000",
        ),
        (
            "nor until the peer is to be paid",
            "allot 3m; done 4600; channel 1 3m ours splices; carry 3m 0; settle 3m above 1m; earn 100k; pass 840; carry 3m 1; \
             done 700; carry 0 0; pass 40; settle 3m above 200k; a minute; settle 3m above 10k; a minute",
            "open 3000000, close 1, open 3000000",
        ),
        (
            "one that the peer opened costs it, not us, and stays",
            "channel 9 500k theirs fixed; carry 100k 300k; pass 9999; carry 100k 299k",
            "",
        ),
        // Who leaves, and who closes.
        (
            "a removed peer's channels are closed",
            "allot 500k; done 200; channel 1 500k ours splices; carry 490k 0; pass 25; remove; done 300; carry 0 0; a minute",
            "open 500000, close 1",
        ),
        (
            "a peer that closes has another one after a rest",
            "allot 500k; done 200; channel 1 500k ours splices; carry 490k 0; closes 1 500k; carry 0 0; a minute; pass 23; \
             a minute; pass 1; a minute",
            "open 500000, open 500000",
        ),
    ];
    let mut wrong = Vec::new();
    for (name, script, demanded) in rows {
        let mut table = Table::new();
        for step in script.split(';') {
            table.step(step.trim());
        }
        let found = table.demanded.join(", ");
        if found != demanded {
            wrong.push(format!("{name}: {found:?} in place of {demanded:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_miners_take_is_booked_on_the_channel_and_borne_by_the_pool_once() {
    let mut table = Table::new();
    let held = |table: &Table| {
        let asset = table.world.state().asset(BTC).unwrap();
        table.world.state().ledger().check_balanced().unwrap();
        let held = table.world.state().balance(asset.accounts.vault).debit();
        assert_eq!(held, asset.vault.chain_total);
        (CAPITAL - held.value()) / SAT
    };
    let costs = |table: &Table| {
        let carol = table.world.state().peer(CAROL).unwrap();
        let account = carol.lightning.as_deref().unwrap();
        let of_channel = account
            .channels
            .values()
            .map(|channel| channel.cost.value());
        (of_channel.sum::<u128>() / SAT, account.cost.value() / SAT)
    };
    for step in [
        "allot 500k",
        "done 200",
        "channel 1 500k ours splices",
        "carry 490k 0",
        "carry 100k 390k",
        "done 300",
    ] {
        table.step(step);
    }
    assert_eq!((held(&table), costs(&table)), (500, (500, 500)));
    for step in [
        "carry 490k 390k",
        "channel 1 900k ours splices",
        "pass 25",
        "remove",
        "done 70",
    ] {
        table.step(step);
    }
    assert_eq!((held(&table), costs(&table)), (570, (0, 570)));
    let restored = State::restore(&table.world.state().snapshot()).unwrap();
    assert_eq!(restored.digest(), table.world.state().digest(), "[I10]");
}

#[test]
fn the_way_back_from_a_closed_channel_is_booked_once_by_transaction_and_what_is_too_much_is_earned()
{
    let mut table = Table::new();
    for step in [
        "allot 500k",
        "done 200",
        "channel 1 500k ours splices",
        "carry 490k 0",
        "closes 1 480k",
    ] {
        table.step(step);
    }
    let channel = LightningChannelId(1);
    let paid = |transaction, fee| LightningCommand::ClosingPaid {
        channel,
        txid: Hash32([transaction; 32]),
        fee: Amount::new(fee * SAT),
    };
    let returned = |cost, gain| LightningCommand::ChannelReturned {
        channel,
        cost: Amount::new(cost * SAT),
        gain: Amount::new(gain * SAT),
    };
    let held = |table: &Table| {
        let state = table.world.state();
        state.ledger().check_balanced().unwrap();
        let accounts = state.asset(BTC).unwrap().accounts;
        let fees = state.balance(accounts.fees).credit().value();
        let held = state.balance(accounts.vault).debit().value();
        (held / SAT, fees / SAT)
    };
    let begin = CAPITAL / SAT - 200;
    // What is told, what is held less of then, and what the fee buffer has; told again it is refused.
    for (told, less, fees) in [
        (paid(1, 700), 700, 0),
        (paid(2, 300), 1_000, 0),
        (returned(50, 0), 1_050, 0),
    ] {
        table.lightning(told);
        assert_eq!(held(&table), (begin - less, fees), "{told:?}");
        let again = table.world.apply(&Command::Lightning(told));
        assert_eq!(again, Err(Rejection::AlreadyTaken));
        assert_eq!(held(&table), (begin - less, fees), "{told:?}");
    }
    let late = table.world.apply(&Command::Lightning(paid(3, 1)));
    assert_eq!(late, Err(Rejection::AlreadyTaken), "all of it is back");

    // A peer forfeits, or gives away, what was its own.
    table.step("channel 9 800k theirs splices");
    table.step("closes 9 0");
    let channel = LightningChannelId(9);
    table.lightning(LightningCommand::ChannelReturned {
        channel,
        cost: Amount::ZERO,
        gain: Amount::new(70_000 * SAT),
    });
    assert_eq!(held(&table), (begin - 1_050 + 70_000, 70_000));
    let restored = State::restore(&table.world.state().snapshot()).unwrap();
    assert_eq!(restored.digest(), table.world.state().digest(), "[I10]");
}

#[test]
fn a_policy_that_could_not_hold_is_refused() {
    let mut table = Table::new();
    let good = LiquidityPolicy::default;
    let rows = [
        (
            "a fee of all that is moved",
            LiquidityPolicy {
                fee_ppm: Ppm(1_000_000),
                ..good()
            },
        ),
        (
            "no rest",
            LiquidityPolicy {
                rest_ms: 0,
                ..good()
            },
        ),
        (
            "changes of nothing",
            LiquidityPolicy {
                change_min: Amount::ZERO,
                ..good()
            },
        ),
    ];
    for (name, bad) in rows {
        let refused = table.world.try_admin(Admin::SetLiquidity(bad));
        assert!(matches!(refused, Err(Rejection::BadPolicy(_))), "{name}");
    }
    let other = LiquidityPolicy {
        cover_days: 7,
        ..good()
    };
    table.world.admin(Admin::SetLiquidity(other.clone()));
    assert_eq!(table.world.state().liquidity(), &other);
}
