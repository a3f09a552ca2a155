//! An account that settles over Lightning, against a pool, a Lightning node and crashes that do as they like.

use std::collections::BTreeMap;

use forebay_channel::{Address, LightningTerms, NodeId, PeerMessage, Terms};
use forebay_pool::InvoiceTerms;
use forebay_quantity::{Amount, Hash32, Timestamp};

use super::super::{
    Command, Core, Effect, LightningCommand, LightningEffect, LightningEvent, LightningRail,
    Policy, Rail,
};
use super::{EXPIRES, World, text};

const POOL: NodeId = NodeId([2; 33]);
const OTHER: NodeId = NodeId([3; 33]);
const GENESIS: [u8; 32] = [6; 32];
/// Millisatoshi in a packet unit: packets have 9 decimal places, a millisatoshi 11.
const MSAT: u128 = 100;

/// A name, and what spoils something good.
type Row<T> = (&'static str, fn(&mut T));

fn lightning_policy() -> Policy {
    Policy {
        rail: Rail::Lightning(LightningRail {
            account: "test.pool.a".into(),
            genesis: GENESIS,
            pool_node: POOL,
            channel_sat: 0,
        }),
        asset_scale: 9,
        credit_to_pool: Amount::new(100),
        prepay: Amount::new(1_000),
    }
}

fn terms(held: u128) -> LightningTerms {
    LightningTerms {
        terms: Terms {
            address: "test.pool.a".into(),
            asset_code: "BTC".into(),
            asset_scale: 9,
            chain_scale: 11,
            chain_id: 0,
            vault: Address::ZERO,
            token: Address::ZERO,
            pool_signer: Address::ZERO,
            serial: None,
            open: false,
            held: Amount::new(held),
            signed: Amount::ZERO,
            credit: Amount::ZERO,
            packet_max: 10_000,
            settle_threshold: Amount::new(10),
            owed_to_peer: Amount::ZERO,
            owed_to_pool: Amount::ZERO,
        },
        genesis: GENESIS,
        node: POOL,
        address: "127.0.0.1:9735".into(),
    }
}

impl World {
    /// With both links up, terms agreed on, and channels that carry a million millisatoshi each way.
    fn on_lightning() -> Self {
        Self::on_lightning_with(lightning_policy())
    }

    fn on_lightning_with(policy: Policy) -> Self {
        let mut world = Self::new(policy);
        world.run(Command::SoftwareUp);
        world.run(Command::PoolUp);
        world.carries(1_000_000);
        world
    }

    /// With what is to be paid ahead paid and credited: 100,000 millisatoshi, which cover 1,000 of packets.
    fn paid_ahead() -> Self {
        let mut world = Self::on_lightning();
        assert_eq!(world.credits(0), "ask invoice 1 of 100000");
        assert_eq!(world.tells(1, 100_000, 1), "pay 1 lnbc1");
        assert_eq!(world.arrives(1), "");
        assert_eq!(world.credits(100_000), "");
        world
    }

    fn on(&mut self, command: LightningCommand) -> String {
        self.run(Command::Lightning(command))
    }

    fn carries(&mut self, outbound: u128) -> String {
        self.on(LightningCommand::Capacity {
            outbound: Amount::new(outbound),
            inbound: Amount::new(1_000_000),
        })
    }

    fn credits(&mut self, held: u128) -> String {
        self.run(Command::PoolSays(PeerMessage::LightningTerms(terms(held))))
    }

    fn invoice(&self, amount: u128, hash: u8) -> InvoiceTerms {
        InvoiceTerms {
            hash: Hash32([hash; 32]),
            amount: Amount::new(amount),
            payee: POOL,
            expires_at: Timestamp(self.now.0 + 3_600_000),
        }
    }

    fn tells(&mut self, settlement: u64, amount: u128, hash: u8) -> String {
        let terms = self.invoice(amount, hash);
        self.tells_this(settlement, terms)
    }

    fn tells_this(&mut self, settlement: u64, terms: InvoiceTerms) -> String {
        self.on(LightningCommand::InvoiceTold {
            settlement,
            invoice: format!("lnbc{}", terms.hash.0[0]),
            terms,
        })
    }

    fn refuses(&mut self, settlement: u64) -> String {
        self.run(Command::PoolSays(PeerMessage::InvoiceTold {
            settlement,
            invoice: None,
            refused: Some("no".into()),
        }))
    }

    fn arrives(&mut self, hash: u8) -> String {
        self.on(LightningCommand::Sent {
            hash: Hash32([hash; 32]),
            fee: Amount::new(7),
        })
    }

    fn fails(&mut self, hash: u8) -> String {
        self.on(LightningCommand::Failed {
            hash: Hash32([hash; 32]),
            why: "no route".into(),
        })
    }

    fn asks(&mut self, settlement: u64, amount: u128) -> String {
        self.run(Command::PoolSays(PeerMessage::InvoiceAsked {
            settlement,
            amount: Amount::new(amount),
        }))
    }

    fn brings(&mut self, settlement: u64, amount: u128) -> String {
        self.on(LightningCommand::Received {
            settlement,
            amount: Amount::new(amount),
        })
    }

    fn later(&mut self, milliseconds: u64) -> String {
        self.now = Timestamp(self.now.0 + milliseconds);
        self.run(Command::Tick)
    }

    fn paid(&self) -> u128 {
        self.core.state().account().paid.value()
    }

    fn outstanding(&self) -> String {
        let effects = self.core.outstanding().map(|effect| text(&effect));
        effects.collect::<Vec<_>>().join(", ")
    }
}

#[test]
fn a_hello_names_the_account_and_the_pools_node() {
    let mut world = World::new(lightning_policy());
    let (mut events, mut effects) = (Vec::new(), Vec::new());
    let now = world.now;
    world
        .core
        .handle(now, Command::PoolUp, &mut events, &mut effects);
    let claim = forebay_channel::node_claim("test.pool.a", POOL);
    let hello = LightningEffect::SayHello { claim };
    assert_eq!(effects, [Effect::Lightning(hello)]);
}

#[test]
fn packets_go_once_the_pool_has_credited_what_was_paid_ahead() {
    let mut world = World::on_lightning();
    assert_eq!(world.credits(0), "ask invoice 1 of 100000");
    assert_eq!(world.software_sends(1, 10), "", "it waits");
    assert_eq!(world.tells(1, 100_000, 1), "pay 1 lnbc1");
    assert_eq!(world.arrives(1), "", "paid, and not credited yet");
    assert_eq!(world.credits(99_000), "forward 1");
    // 990 of packets are credited, 10 are in flight.
    assert_eq!(world.software_sends(2, 980), "forward 2");
    assert_eq!(world.software_sends(3, 1), "");
    assert_eq!(
        world.credits(100_000),
        "forward 3, ask invoice 2 of 99100",
        "1,000 ahead of the 991 that are used"
    );
    assert_eq!(world.pool_fulfills(1, 1), "to software 1 fulfill");
    let account = world.core.state().account();
    assert_eq!((account.paid.value(), account.fees.value()), (100_000, 7));
}

#[test]
fn what_is_paid_ahead_is_refilled_below_its_half_and_one_settlement_at_a_time() {
    let mut world = World::paid_ahead();
    assert_eq!(world.software_sends(1, 500), "forward 1", "half is left");
    assert_eq!(
        world.software_sends(2, 1),
        "forward 2, ask invoice 2 of 50100"
    );
    assert_eq!(world.software_sends(3, 400), "forward 3");
    assert_eq!(world.tells(2, 50_100, 2), "pay 2 lnbc2");
    assert_eq!(world.software_sends(4, 99), "forward 4");
    assert_eq!(world.software_sends(5, 2), "", "more than half is used");
    assert_eq!(world.arrives(2), "", "not before it is credited");
    assert_eq!(world.credits(150_100), "forward 5, ask invoice 3 of 50100");
    assert_eq!(world.paid(), 150_100);
}

#[test]
fn no_payment_passes_what_the_channels_carry_with_its_fee() {
    let mut world = World::on_lightning();
    world.carries(60_250);
    // (60,250 - 10,000) * 200 / 201 = 50,000; the fee is at most 250 + 10,000.
    assert_eq!(world.credits(0), "ask invoice 1 of 50000");
    assert_eq!(world.tells(1, 50_000, 1), "pay 1 lnbc1");
    world.carries(10_250);
    world.arrives(1);
    assert_eq!(world.credits(50_000), "");
    assert_eq!(world.software_sends(1, 500), "forward 1");
    assert_eq!(
        world.software_sends(2, 1),
        "to software 2 T04",
        "less than a satoshi is left beside the fee"
    );
    assert_eq!(world.carries(11_004), "");
    assert_eq!(world.carries(11_005), "ask invoice 2 of 1000");
    assert_eq!(world.software_sends(3, 10), "");
    assert_eq!(world.software_sends(4, 1), "to software 4 T04");
}

#[test]
fn without_channels_nothing_is_asked_for_and_nothing_forwarded() {
    let mut world = World::on_lightning();
    world.carries(0);
    assert_eq!(world.credits(0), "");
    assert_eq!(world.software_sends(1, 1), "to software 1 T04");
    assert_eq!(world.software_sends(2, 0), "forward 1");
}

#[test]
fn an_invoice_that_is_not_the_one_asked_for_is_not_paid() {
    let good = |world: &World| world.invoice(100_000, 1);
    let rows: [Row<InvoiceTerms>; 4] = [
        ("another amount", |terms| terms.amount = Amount::new(99_999)),
        ("another node", |terms| terms.payee = OTHER),
        ("soon over", |terms| {
            terms.expires_at = Timestamp(terms.expires_at.0 - 3_540_001);
        }),
        ("over", |terms| terms.expires_at = Timestamp(0)),
    ];
    for (name, spoil) in rows {
        let mut world = World::on_lightning();
        world.credits(0);
        let mut terms = good(&world);
        spoil(&mut terms);
        assert_eq!(world.tells_this(1, terms), "alarm", "{name}");
        assert_eq!(world.tells(1, 100_000, 1), "", "{name}: it has ended");
        assert_eq!(world.later(29_999), "", "{name}");
        assert_eq!(world.later(1), "ask invoice 2 of 100000", "{name}");
        let terms = InvoiceTerms {
            expires_at: Timestamp(world.now.0 + 60_000),
            ..good(&world)
        };
        assert_eq!(world.tells_this(2, terms), "pay 1 lnbc1", "{name}");
        world.killed();
    }
}

#[test]
fn an_invoice_that_cannot_be_read_or_is_too_long_ends_the_settlement() {
    let mut world = World::on_lightning();
    world.credits(0);
    let unreadable = LightningCommand::InvoiceUnreadable {
        settlement: 1,
        why: "a wrong letter".into(),
    };
    assert_eq!(world.on(unreadable), "alarm");
    assert_eq!(world.later(30_000), "ask invoice 2 of 100000");
    let told = |world: &World, length| LightningCommand::InvoiceTold {
        settlement: 2,
        invoice: "l".repeat(length),
        terms: world.invoice(100_000, 1),
    };
    let command = told(&world, 2_049);
    assert_eq!(world.on(command), "alarm");
    assert_eq!(world.later(30_000), "ask invoice 3 of 100000");
}

#[test]
fn a_payment_hash_is_used_once() {
    let mut world = World::paid_ahead();
    world.software_sends(1, 600);
    assert_eq!(world.tells(2, 60_000, 1), "alarm", "that of the first");
    assert_eq!(world.later(30_000), "ask invoice 3 of 60000");
    assert_eq!(world.tells(3, 60_000, 3), "pay 3 lnbc3");
    assert_eq!(world.fails(3), "alarm");
    assert_eq!(world.later(30_000), "ask invoice 4 of 60000");
    assert_eq!(
        world.tells(4, 60_000, 3),
        "alarm",
        "[I16] nor one that failed"
    );
}

#[test]
fn a_second_invoice_for_a_settlement_is_not_paid_and_a_repeated_one_not_twice() {
    let mut world = World::on_lightning();
    world.credits(0);
    assert_eq!(world.tells(1, 100_000, 1), "pay 1 lnbc1");
    assert_eq!(world.tells(1, 100_000, 1), "", "told again");
    assert_eq!(world.tells(1, 100_000, 2), "alarm", "[I16]");
    assert_eq!(world.refuses(1), "", "too late: it may be on its way");
    assert_eq!(world.later(60_000), "");
    assert_eq!(world.outstanding(), "pay 1 lnbc1");
    world.arrives(1);
    assert_eq!(world.arrives(1), "", "[I3]");
    assert_eq!(world.fails(1), "", "of what has arrived nothing fails");
    assert_eq!(world.tells(1, 100_000, 1), "");
    assert_eq!(world.paid(), 100_000);
}

#[test]
fn a_payment_that_failed_is_made_anew_under_another_number() {
    let mut world = World::on_lightning();
    world.credits(0);
    world.tells(1, 100_000, 1);
    assert_eq!(world.fails(9), "", "of no settlement");
    assert_eq!(world.fails(1), "alarm");
    assert_eq!((world.paid(), world.outstanding()), (0, String::new()));
    assert_eq!(world.later(29_999), "");
    assert_eq!(world.later(1), "ask invoice 2 of 100000");
    assert_eq!(world.refuses(1), "", "an old answer");
    assert_eq!(world.refuses(2), "alarm");
    assert_eq!(world.later(30_000), "ask invoice 3 of 100000");
    world.killed();
}

#[test]
fn an_unanswered_question_is_asked_again_under_its_number() {
    let mut world = World::on_lightning();
    assert_eq!(world.credits(0), "ask invoice 1 of 100000");
    assert_eq!(world.later(1_999), "");
    assert_eq!(world.later(1), "ask invoice 1 of 100000");
    world.run(Command::PoolDown);
    assert_eq!(world.later(2_000), "", "nobody is there");
    world.run(Command::PoolUp);
    assert_eq!(world.credits(0), "ask invoice 1 of 100000");
    world.killed();
    assert_eq!(world.run(Command::PoolUp), "hello");
    assert_eq!(world.credits(0), "ask invoice 1 of 100000");
}

#[test]
fn a_pool_that_credits_nothing_is_paid_once() {
    let mut world = World::on_lightning();
    world.credits(0);
    world.tells(1, 100_000, 1);
    world.arrives(1);
    assert_eq!(world.software_sends(1, 600), "", "it waits");
    assert_eq!(world.credits(0), "");
    assert_eq!(world.later(0), "");
    assert_eq!(world.later(59_999), "to software 1 R00");
    assert_eq!(world.later(1), "alarm, hello");
    assert_eq!(world.credits(0), "");
    assert_eq!(world.later(59_999), "");
    assert_eq!(world.later(1), "alarm, hello", "and again");
    assert_eq!(world.credits(100_000), "");
    assert_eq!(world.later(60_000), "", "all is well");
}

#[test]
fn a_pool_that_was_paid_more_than_we_know_of_stops_everything() {
    let mut world = World::paid_ahead();
    assert_eq!(world.credits(100_001), "alarm");
    assert!(!world.core.ready());
    assert_eq!(world.software_sends(1, 1), "to software 1 T01");
    assert_eq!(world.asks(1, 5), "no invoice 1");
    // What is under way may have arrived before we hear of it.
    let mut world = World::paid_ahead();
    world.software_sends(1, 600);
    assert_eq!(world.credits(160_000), "alarm", "its invoice is not told");
    let mut world = World::paid_ahead();
    world.software_sends(1, 600);
    world.tells(2, 60_000, 2);
    assert_eq!(world.credits(160_000), "");
    assert_eq!(world.arrives(2), "");
    assert_eq!(world.paid(), 160_000);
}

#[test]
fn terms_of_another_node_network_account_or_scale_are_not_taken() {
    let rows: [Row<LightningTerms>; 6] = [
        ("another node", |told| told.node = OTHER),
        ("another network", |told| told.genesis = [7; 32]),
        ("another account", |told| {
            told.terms.address = "test.pool.b".into()
        }),
        ("other packets", |told| told.terms.asset_scale = 8),
        ("satoshi", |told| told.terms.chain_scale = 8),
        ("more decimal places", |told| told.terms.chain_scale = 12),
    ];
    for (name, spoil) in rows {
        let mut world = World::on_lightning();
        let mut told = terms(0);
        spoil(&mut told);
        let told = Command::PoolSays(PeerMessage::LightningTerms(told));
        assert_eq!(world.run(told), "alarm", "{name}");
        assert_eq!(world.software_sends(1, 0), "to software 1 T01", "{name}");
        assert_eq!(world.credits(0), "ask invoice 1 of 100000", "{name}");
    }
}

#[test]
fn terms_of_the_other_rail_are_not_taken() {
    let mut world = World::on_lightning();
    let vouchers = Command::PoolSays(PeerMessage::Terms(terms(0).terms));
    assert_eq!(world.run(vouchers), "alarm");
    assert!(!world.core.ready());
    let mut world = World::ready();
    assert_eq!(world.credits(0), "alarm");
    assert!(!world.core.ready());
    assert_eq!(world.asks(1, 5), "no invoice 1");
}

#[test]
fn what_the_pool_pays_counts_once_and_frees_its_credit() {
    let mut world = World::paid_ahead();
    world.pool_sends(1, 100);
    assert_eq!(world.software_fulfills(1, 1), "to pool 1 fulfill");
    assert_eq!(world.pool_sends(2, 1), "to pool 2 T04", "100 are unpaid");
    assert_eq!(world.asks(40, 9_999), "invoice 40 of 9999");
    assert_eq!(world.asks(40, 9_999), "invoice 40 of 9999", "lost, or not");
    assert_eq!(world.asks(40, 10_000), "no invoice 40", "another amount");
    assert_eq!(world.brings(40, 9_999), "");
    assert_eq!(world.brings(40, 9_999), "", "told again by the node");
    let state = world.core.state();
    assert_eq!(state.account().received.value(), 9_999, "[I11]");
    assert_eq!(state.unpaid(), Amount::new(1), "99 packet units and a part");
    assert_eq!(world.pool_sends(3, 99), "deliver 3");
    assert_eq!(world.asks(40, 9_999), "no invoice 40", "it was paid");
    assert_eq!(world.asks(39, 9_999), "no invoice 39", "numbers grow");
    assert_eq!(world.asks(41, 0), "no invoice 41");
    assert_eq!(world.asks(41, u128::from(u64::MAX) + 1), "no invoice 41");
    assert_eq!(
        world.asks(41, u128::from(u64::MAX)),
        format!("invoice 41 of {}", u64::MAX)
    );
    world.killed();
    assert_eq!(world.brings(40, 9_999), "", "told again after a restart");
    assert_eq!(world.core.state().account().received.value(), 9_999);
}

#[test]
fn an_expired_invoice_is_not_given_again_but_what_it_brought_counts() {
    let mut world = World::paid_ahead();
    world.asks(5, 4_000);
    world.later(3_600_000);
    assert_eq!(world.asks(5, 4_000), "no invoice 5");
    assert_eq!(world.brings(5, 4_000), "");
    assert_eq!(world.core.state().account().received.value(), 4_000);
}

#[test]
fn money_for_a_settlement_that_nobody_asked_for_is_an_alarm() {
    let mut world = World::paid_ahead();
    assert_eq!(world.brings(5, 4_000), "alarm");
    assert_eq!(world.core.state().account().received, Amount::ZERO);
}

#[test]
fn invoices_that_the_pool_does_not_pay_are_bounded() {
    let mut world = World::paid_ahead();
    for settlement in 1..=4_096 {
        assert!(world.asks(settlement, 5).starts_with("invoice"));
    }
    assert_eq!(world.asks(4_097, 5), "no invoice 4097");
    world.brings(3, 5);
    assert_eq!(world.asks(4_097, 5), "invoice 4097 of 5");
    world.now = Timestamp(world.now.0 + 3_600_000 + 86_400_000);
    assert_eq!(world.asks(4_098, 5), "no invoice 4098");
    world.now = Timestamp(world.now.0 + 1);
    assert_eq!(
        world.asks(4_098, 5),
        "invoice 4098 of 5",
        "the first is over"
    );
    assert_eq!(world.core.state().account().invoices.len(), 4_096, "[I12]");
    world.killed();
}

#[test]
fn the_configured_channel_is_opened_once_and_after_its_end_only_by_a_restart() {
    let mut policy = lightning_policy();
    let Rail::Lightning(rail) = &mut policy.rail else {
        unreachable!("a Lightning policy")
    };
    rail.channel_sat = 50_000;
    let mut world = World::on_lightning_with(policy);
    world.carries(0);
    let ended = |channel| LightningCommand::ChannelEnded {
        channel,
        why: "the peer is not there".into(),
    };
    let funded = |channel| LightningCommand::ChannelFunded {
        channel,
        fee: Amount::new(300_000),
    };
    assert_eq!(world.credits(0), "open 1 of 50000");
    assert_eq!(world.later(0), "");
    assert_eq!(world.on(ended(9)), "", "none of ours");
    assert_eq!(world.on(ended(1)), "alarm");
    assert_eq!(world.later(29_999), "");
    assert_eq!(world.later(1), "open 2 of 50000");
    world.killed();
    assert_eq!(world.outstanding(), "open 2 of 50000", "asked for again");
    assert_eq!(world.on(funded(1)), "", "the former");
    assert_eq!(world.on(funded(2)), "");
    assert_eq!(world.on(funded(2)), "");
    assert_eq!(world.core.state().account().fees.value(), 300_000, "once");
    assert_eq!(world.outstanding(), "");
    world.run(Command::PoolUp);
    assert_eq!(world.credits(0), "");
    assert_eq!(world.on(ended(2)), "alarm");
    assert_eq!(world.later(600_000), "");
    world.killed();
    world.run(Command::PoolUp);
    assert_eq!(world.credits(0), "open 3 of 50000");
}

#[test]
fn nothing_is_opened_to_a_pool_that_was_not_agreed_with() {
    let mut policy = lightning_policy();
    let Rail::Lightning(rail) = &mut policy.rail else {
        unreachable!("a Lightning policy")
    };
    (rail.channel_sat, rail.pool_node) = (50_000, OTHER);
    let mut world = World::on_lightning_with(policy);
    assert_eq!(world.credits(0), "alarm");
    assert_eq!(world.later(60_000), "");
}

/// What the pool and our Lightning node remember whatever happens to this process: a naive model, kept apart.
#[derive(Default)]
struct Outside {
    /// The pool's invoices: one hash for each number of ours.
    told: BTreeMap<u64, (Amount, u8)>,
    /// Payments that left, by hash; each once.
    left: BTreeMap<u8, Amount>,
    /// What the node tells until it is acknowledged.
    untold: Vec<LightningCommand>,
    /// Invoices that our node made, by the pool's number.
    made: BTreeMap<u64, Amount>,
    /// Those that the pool has paid.
    brought: BTreeMap<u64, Amount>,
}

impl Outside {
    fn credited(&self) -> u128 {
        self.left.values().map(|amount| amount.value()).sum()
    }

    /// Carries one effect out; says what follows from it at this process.
    fn carry_out(&mut self, world: &World, effect: &Effect) -> Vec<Command<'static>> {
        match effect {
            Effect::Say(PeerMessage::InvoiceAsked { settlement, amount }) => {
                let hash = u8::try_from(self.told.len() + 1).expect("few settlements");
                let told = self.told.entry(*settlement).or_insert((*amount, hash));
                assert_eq!(told.0, *amount, "[I16] one amount for a number");
                let terms = world.invoice(told.0.value(), told.1);
                vec![Command::Lightning(LightningCommand::InvoiceTold {
                    settlement: *settlement,
                    invoice: format!("lnbc{}", told.1),
                    terms,
                })]
            }
            Effect::Lightning(LightningEffect::Pay { hash, .. }) => {
                let amount = self.told.values().find(|told| told.1 == hash.0[0]);
                let amount = amount.expect("the pool told it").0;
                // The node pays a hash once, and says how it stands to whoever asks again.
                self.left.insert(hash.0[0], amount);
                self.untold.push(LightningCommand::Sent {
                    hash: *hash,
                    fee: Amount::new(7),
                });
                Vec::new()
            }
            Effect::Lightning(LightningEffect::MakeInvoice {
                settlement, amount, ..
            }) => {
                let made = *self.made.entry(*settlement).or_insert(*amount);
                assert_eq!(made, *amount, "[I16]");
                // The pool pays it at once.
                if self.brought.insert(*settlement, made).is_none() {
                    self.untold.push(LightningCommand::Received {
                        settlement: *settlement,
                        amount: made,
                    });
                }
                Vec::new()
            }
            _ => Vec::new(),
        }
    }
}

/// When the process dies in a step: before its facts are durable, or after, before any of its chores.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Death {
    BeforeSync,
    AfterSync,
}

/// One step of the process. Says what follows, or that it died.
fn step(
    world: &mut World,
    outside: &mut Outside,
    command: Command<'static>,
    death: Option<Death>,
) -> Option<Vec<Command<'static>>> {
    let (mut events, mut effects) = (Vec::new(), Vec::new());
    let observed = match &command {
        Command::Lightning(
            report @ (LightningCommand::Sent { .. } | LightningCommand::Received { .. }),
        ) => Some(report.clone()),
        _ => None,
    };
    let now = world.now;
    world.core.handle(now, command, &mut events, &mut effects);
    if death == Some(Death::BeforeSync) {
        return None;
    }
    world.journal.append(&mut events);
    if death == Some(Death::AfterSync) {
        return None;
    }
    // Acknowledged after the sync.
    outside
        .untold
        .retain(|told| Some(told) != observed.as_ref());
    let follows = effects
        .iter()
        .flat_map(|effect| outside.carry_out(world, effect));
    Some(follows.collect())
}

/// Restarts from the journal alone, and hears what the world repeats.
fn restarted(world: &mut World, outside: &mut Outside) -> Vec<Command<'static>> {
    world.core = Core::new(world.policy.clone(), replayed(world));
    let outstanding: Vec<Effect> = world.core.outstanding().collect();
    let mut follows: Vec<Command<'static>> = vec![
        Command::PoolUp,
        Command::Lightning(LightningCommand::Capacity {
            outbound: Amount::new(1_000_000),
            inbound: Amount::new(1_000_000),
        }),
    ];
    let answers = outstanding
        .iter()
        .flat_map(|effect| outside.carry_out(world, effect));
    follows.extend(answers.collect::<Vec<_>>());
    follows.extend(outside.untold.iter().cloned().map(Command::Lightning));
    follows
}

fn replayed(world: &World) -> super::State {
    let mut state = super::State::default();
    for event in &world.journal {
        let bytes = borsh::to_vec(event).expect("encodes");
        state.evolve(&borsh::from_slice(&bytes).expect("decodes"));
    }
    let snapshot = borsh::to_vec(&state).expect("encodes");
    assert_eq!(super::State::read(&snapshot).expect("decodes"), state);
    state
}

/// Pays ahead and is paid, with one death in step `dies_at`; says how many steps it took.
fn live(dies_at: usize, death: Death) -> usize {
    let mut world = World::new(lightning_policy());
    let mut outside = Outside::default();
    let mut steps = 0;
    let mut commands = restarted(&mut world, &mut outside);
    for round in 1..=15_u64 {
        // Time, terms as they stand, and a settlement of the pool, asked for until it is paid.
        world.now = Timestamp(world.now.0 + 31_000);
        commands.push(Command::Tick);
        let told = terms(outside.credited());
        commands.push(Command::PoolSays(PeerMessage::LightningTerms(told)));
        if !outside.brought.contains_key(&(round / 4)) {
            commands.push(Command::PoolSays(PeerMessage::InvoiceAsked {
                settlement: round / 4,
                amount: Amount::new(1_000 + u128::from(round / 4)),
            }));
        }
        commands.extend(outside.untold.iter().cloned().map(Command::Lightning));
        while !commands.is_empty() {
            let command = commands.remove(0);
            steps += 1;
            let dies = (steps == dies_at).then_some(death);
            match step(&mut world, &mut outside, command, dies) {
                Some(mut follows) => commands.append(&mut follows),
                None => commands = restarted(&mut world, &mut outside),
            }
        }
    }
    let account = world.core.state().account();
    assert_eq!(
        account.paid.value(),
        outside.credited(),
        "{dies_at} {death:?}"
    );
    assert_eq!(
        account.paid.value(),
        100_000,
        "{dies_at} {death:?}: paid twice"
    );
    let brought: u128 = outside.brought.values().map(|amount| amount.value()).sum();
    assert_eq!(account.received.value(), brought, "{dies_at} {death:?}");
    assert_eq!(outside.brought.len(), 3, "{dies_at} {death:?}");
    assert_eq!(&replayed(&world), world.core.state(), "[I10]");
    steps
}

#[test]
fn a_death_at_any_step_pays_nothing_twice_and_loses_nothing() {
    let steps = live(usize::MAX, Death::AfterSync);
    assert!(steps > 20, "{steps}");
    for dies_at in 1..=steps {
        for death in [Death::BeforeSync, Death::AfterSync] {
            live(dies_at, death);
        }
    }
}

/// The snapshot of an account that settles by vouchers, as it was written before there was another way.
#[test]
fn a_snapshot_from_before_lightning_is_read() {
    let world = World::ready();
    let state = world.core.state();
    let bytes = borsh::to_vec(state).expect("encodes");
    let (last, before) = bytes.split_last().expect("not empty");
    assert_eq!(*last, 0, "no Lightning account");
    assert_eq!(&super::State::read(before).expect("reads"), state);
    assert_eq!(&super::State::read(&bytes).expect("reads"), state);
    assert!(super::State::read(&before[1..]).is_err());
}

/// A hash is on disk before the effect that pays it [I16].
#[test]
fn the_hash_is_a_fact_before_anything_is_paid() {
    let mut world = World::on_lightning();
    world.credits(0);
    world.tells(1, 100_000, 1);
    let hashed = super::Event::Lightning(LightningEvent::SettlementHashed {
        settlement: 1,
        hash: Hash32([1; 32]),
        invoice: "lnbc1".into(),
    });
    assert_eq!(world.journal.last(), Some(&hashed));
    assert_eq!(MSAT, world.core.state().factor());
    assert!(world.now < EXPIRES);
}

/// A STREAM client tries how much passes by packets of up to 10^12: an ether was paid ahead for one of them.
#[test]
fn nothing_is_paid_ahead_for_a_packet_that_the_pool_would_refuse() {
    let mut world = World::paid_ahead();
    assert_eq!(world.software_sends(1, 10_001), "to software 1 F08");
    let fits = world.software_sends(2, 10_000);
    assert!(!fits.contains("F08"), "{fits}");
}
