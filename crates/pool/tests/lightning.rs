//! An account in bitcoin: paid for ahead and settled by Lightning payments, with the books whole at each step.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use forebay_channel::{Address, NodeId};
use forebay_pool::*;
use forebay_quantity::*;

const BTC: AssetId = AssetId(2);
const CAROL: PeerId = PeerId(2);
const DAVE: PeerId = PeerId(3);
const NODE: NodeId = NodeId([2; 33]);
const OTHER_NODE: NodeId = NodeId([3; 33]);
/// Millisatoshi in a thousandth of a bitcoin.
const MILLI: u128 = 100_000_000;

fn with_bitcoin(mut world: World) -> World {
    world.admin(Admin::AddBitcoin(
        BitcoinDefinition {
            code: "BTC".into(),
            scale: 11,
            genesis: Hash32([6; 32]),
            index_rate_max: 10u128.pow(24),
        },
        AssetPolicy {
            lent_max: Amount::new(MILLI * 1_000),
            ..policy()
        },
    ));
    for source in 0..3 {
        world.price(BTC, source, 100_000);
    }
    for name in ["carol", "dave"] {
        world.admin(Admin::AddPeer {
            name: name.into(),
            asset: BTC,
            token_hash: Hash32([name.as_bytes()[0]; 32]),
            policy: PeerPolicy {
                packet_max: 10_000_000_000,
                settle_threshold: Amount::new(1_000_000),
                ..peer_policy(0)
            },
        });
    }
    world
}

/// A pool with 1 BTC of the share holder's, and Carol's node with channels of 0.01 BTC each way.
fn funded() -> World {
    let mut world = with_bitcoin(World::funded());
    deposit(&mut world, 1, None, 1_000 * MILLI).unwrap();
    lightning(
        &mut world,
        LightningCommand::NodeNamed {
            peer: CAROL,
            node: NODE,
        },
    )
    .unwrap();
    capacity(&mut world, 10 * MILLI, 10 * MILLI);
    world.sync();
    world
}

fn deposit(
    world: &mut World,
    output: u8,
    owner: Option<Address>,
    amount: u128,
) -> Result<(), Rejection> {
    let outpoint = Outpoint {
        txid: Hash32([output; 32]),
        index: 0,
    };
    world.apply(&Command::Bitcoin(BitcoinFact::Deposited {
        outpoint,
        owner,
        amount: Amount::new(amount),
    }))
}

fn lightning(world: &mut World, command: LightningCommand) -> Result<(), Rejection> {
    world.apply(&Command::Lightning(command))
}

fn capacity(world: &mut World, outbound: u128, inbound: u128) {
    let told = LightningCommand::Capacity {
        peer: CAROL,
        outbound: Amount::new(outbound),
        inbound: Amount::new(inbound),
    };
    lightning(world, told).unwrap();
}

fn account(world: &World) -> &LightningAccount {
    world
        .state()
        .peer(CAROL)
        .unwrap()
        .lightning
        .as_deref()
        .unwrap()
}

fn clearing(world: &World) -> u128 {
    let account = world.state().peer(CAROL).unwrap().clearing;
    world.state().balance(account).credit().value()
}

fn held(world: &World) -> u128 {
    let accounts = world.state().asset(BTC).unwrap().accounts;
    world.state().balance(accounts.vault).debit().value()
}

/// Pays Carol `amount` msat by a packet of Alice's, in ETH.
fn earn(world: &mut World, request: u32, eth: u64) -> u64 {
    let expires_at = Timestamp(world.wall.0 + 10_000);
    world
        .apply(&prepare(request, eth, expires_at, "test.pool.carol"))
        .unwrap();
    let (packet, amount) = World::forwarded(&world.sync())[0];
    let fulfill = Command::Fulfill {
        peer: CAROL,
        packet,
        preimage: PREIMAGE,
    };
    world.apply(&fulfill).unwrap();
    amount
}

fn asked(effects: &[Effect]) -> Option<(EffectId, u128)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Lightning(LightningEffect::AskInvoice {
            peer: CAROL,
            settlement,
            amount,
        }) => Some((*settlement, amount.value())),
        _ => None,
    })
}

fn pays(effects: &[Effect]) -> Option<(EffectId, Hash32)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Lightning(LightningEffect::Pay {
            settlement, hash, ..
        }) => Some((*settlement, *hash)),
        _ => None,
    })
}

fn told(world: &World, settlement: EffectId, amount: u128, hash: u8) -> LightningCommand {
    LightningCommand::InvoiceTold {
        peer: CAROL,
        settlement,
        invoice: InvoiceTerms {
            hash: Hash32([hash; 32]),
            amount: Amount::new(amount),
            payee: NODE,
            expires_at: Timestamp(world.wall.0 + 3_600_000),
        },
    }
}

fn whole(world: &World) {
    world.state().ledger().check_balanced().unwrap();
    let accounts = world.state().asset(BTC).unwrap().accounts;
    let mirror = world.state().asset(BTC).unwrap().vault.chain_total;
    assert_eq!(
        world.state().balance(accounts.vault).debit(),
        mirror,
        "the books and the wallet agree to the millisatoshi"
    );
    let mut replayed = Sequencer::new(State::default());
    let batches = world.journal.iter();
    batches.for_each(|batch| replayed.replay(batch).unwrap());
    assert_eq!(replayed.state().digest(), world.state().digest(), "[I10]");
    let restored = State::restore(&world.state().snapshot()).unwrap();
    assert_eq!(restored.digest(), world.state().digest(), "[I10]");
}

#[test]
fn what_a_peer_earned_is_paid_once_by_the_invoice_that_it_told() {
    let mut world = funded();
    // 0.001 ETH at 2,000 USD is 2 USD, and 2,000 sat; less 0.1 %.
    let earned = u128::from(earn(&mut world, 1, 1_000_000));
    assert_eq!(earned, 1_998_000);
    let (settlement, amount) = asked(&world.sync()).unwrap();
    assert_eq!(amount, earned);
    assert_eq!(clearing(&world), earned, "owed until it is paid");

    let command = told(&world, settlement, amount, 7);
    lightning(&mut world, command).unwrap();
    assert_eq!(pays(&world.sync()), Some((settlement, Hash32([7; 32]))));
    // A restart asks for the same payment again, by the same hash [I16].
    let again = outstanding(world.state());
    assert_eq!(pays(&again), Some((settlement, Hash32([7; 32]))));
    // More is earned meanwhile: one settlement at a time.
    let more = u128::from(earn(&mut world, 2, 1_000_000));
    assert_eq!(asked(&world.sync()), None);

    let before = held(&world);
    let sent = LightningCommand::Sent {
        hash: Hash32([7; 32]),
        fee: Amount::new(1_500),
    };
    lightning(&mut world, sent).unwrap();
    assert_eq!(held(&world), before - earned - 1_500);
    assert_eq!(clearing(&world), more);
    assert_eq!(account(&world).paid.value(), earned);
    assert_eq!(
        lightning(&mut world, sent),
        Err(Rejection::UnknownEffect),
        "told again after a restart, it changes nothing"
    );
    let (next, amount) = asked(&world.sync()).unwrap();
    assert_eq!(amount, more);
    assert_ne!(next, settlement);
    // The same invoice is not paid for the next one.
    let command = told(&world, next, amount, 7);
    assert!(matches!(
        lightning(&mut world, command),
        Err(Rejection::BadInvoice(_))
    ));
    whole(&world);
}

#[test]
fn a_failed_payment_gives_the_debt_back_and_is_begun_anew_under_another_number() {
    let mut world = funded();
    let earned = u128::from(earn(&mut world, 1, 1_000_000));
    let (settlement, amount) = asked(&world.sync()).unwrap();
    let command = told(&world, settlement, amount, 7);
    lightning(&mut world, command).unwrap();
    world.sync();
    let hash = Hash32([7; 32]);
    lightning(&mut world, LightningCommand::Failed { hash }).unwrap();
    assert_eq!(clearing(&world), earned);
    assert_eq!(asked(&world.sync()), None, "not at once");
    world.wall = Timestamp(world.wall.0 + 31_000);
    let (next, again) = asked(&world.sync()).unwrap();
    assert_eq!((again, next != settlement), (earned, true));
    // Refused before an invoice was told: nothing was sent, and nothing is lost.
    let refused = LightningCommand::InvoiceRefused {
        peer: CAROL,
        settlement: next,
    };
    lightning(&mut world, refused).unwrap();
    world.sync();
    assert_eq!(clearing(&world), earned);
    whole(&world);
}

#[test]
fn an_invoice_that_is_not_for_the_settlement_is_refused_and_changes_nothing() {
    let mut world = funded();
    earn(&mut world, 1, 1_000_000);
    let (settlement, amount) = asked(&world.sync()).unwrap();
    let wall = world.wall;
    let good = InvoiceTerms {
        hash: Hash32([7; 32]),
        amount: Amount::new(amount),
        payee: NODE,
        expires_at: Timestamp(wall.0 + 3_600_000),
    };
    let rows = [
        (
            "another amount",
            InvoiceTerms {
                amount: Amount::new(amount + 1),
                ..good
            },
        ),
        (
            "somebody else's node",
            InvoiceTerms {
                payee: OTHER_NODE,
                ..good
            },
        ),
        (
            "about to expire",
            InvoiceTerms {
                expires_at: Timestamp(wall.0 + 59_999),
                ..good
            },
        ),
    ];
    for (name, invoice) in rows {
        let command = LightningCommand::InvoiceTold {
            peer: CAROL,
            settlement,
            invoice,
        };
        let refused = lightning(&mut world, command);
        assert!(matches!(refused, Err(Rejection::BadInvoice(_))), "{name}");
    }
    let unknown = told(&world, EffectId(settlement.0 + 1), amount, 7);
    assert_eq!(
        lightning(&mut world, unknown),
        Err(Rejection::UnknownEffect)
    );
    let command = LightningCommand::InvoiceTold {
        peer: CAROL,
        settlement,
        invoice: good,
    };
    lightning(&mut world, command).unwrap();
    lightning(&mut world, command).unwrap();
    // Once more under the hash that is journalled, and over more: a seeded world would have paid it.
    let more = told(&world, settlement, amount + 1, 7);
    assert!(matches!(
        lightning(&mut world, more),
        Err(Rejection::BadInvoice(_))
    ));
    let other = told(&world, settlement, amount, 8);
    assert!(
        matches!(lightning(&mut world, other), Err(Rejection::BadInvoice(_))),
        "[I16] one hash a settlement"
    );
    let refused = LightningCommand::InvoiceRefused {
        peer: CAROL,
        settlement,
    };
    assert!(
        matches!(
            lightning(&mut world, refused),
            Err(Rejection::BadInvoice(_))
        ),
        "it may be on its way"
    );
    world.sync();
    whole(&world);
}

#[test]
fn a_peer_pays_ahead_and_what_it_paid_counts_once() {
    let mut world = funded();
    let send = |world: &mut World, request, amount| {
        let Command::Prepare(by_alice) = prepare(
            request,
            amount,
            Timestamp(world.wall.0 + 10_000),
            "test.pool.bob",
        ) else {
            unreachable!()
        };
        world.apply(&Command::Prepare(Prepare {
            peer: CAROL,
            ..by_alice
        }))
    };
    assert!(matches!(
        send(&mut world, 1, 1_000_000),
        Err(Rejection::NotSecured { .. })
    ));
    let ask = |amount| LightningCommand::InvoiceAsked {
        peer: CAROL,
        settlement: 1,
        amount: Amount::new(amount),
    };
    lightning(&mut world, ask(MILLI)).unwrap();
    // Asked again, it is the same; over another amount, or beyond the channels, there is none.
    lightning(&mut world, ask(MILLI)).unwrap();
    assert!(matches!(
        lightning(&mut world, ask(MILLI + 1)),
        Err(Rejection::BadInvoice(_))
    ));
    let beyond = LightningCommand::InvoiceAsked {
        peer: CAROL,
        settlement: 2,
        amount: Amount::new(10 * MILLI + 1),
    };
    assert!(matches!(
        lightning(&mut world, beyond),
        Err(Rejection::BadInvoice(_))
    ));
    assert!(
        matches!(
            send(&mut world, 1, 1_000_000),
            Err(Rejection::NotSecured { .. })
        ),
        "an invoice secures nothing"
    );
    let before = held(&world);
    let paid = LightningCommand::Received {
        peer: CAROL,
        settlement: 1,
        amount: Amount::new(MILLI),
    };
    lightning(&mut world, paid).unwrap();
    assert_eq!((held(&world) - before, clearing(&world)), (MILLI, MILLI));
    assert_eq!(lightning(&mut world, paid), Err(Rejection::AlreadyTaken));
    let unknown = LightningCommand::Received {
        peer: CAROL,
        settlement: 9,
        amount: Amount::new(MILLI),
    };
    assert_eq!(lightning(&mut world, unknown), Err(Rejection::AlreadyTaken));
    send(&mut world, 1, 1_000_000).unwrap();
    let (packet, amount) = World::forwarded(&world.sync())[0];
    // 1,000 sat at 100,000 USD are 1 USD, less 0.1 %, in millionths.
    assert_eq!(amount, 999_000);
    let fulfill = Command::Fulfill {
        peer: BOB,
        packet,
        preimage: PREIMAGE,
    };
    world.apply(&fulfill).unwrap();
    assert_eq!(
        asked(&world.sync()),
        None,
        "what is paid ahead is not owed back"
    );
    assert_eq!(clearing(&world), MILLI - 1_000_000);
    whole(&world);
}

#[test]
fn a_peer_settles_as_often_as_it_likes_and_no_number_comes_twice() {
    let mut world = funded();
    let ask = |settlement| LightningCommand::InvoiceAsked {
        peer: CAROL,
        settlement,
        amount: Amount::new(1_000),
    };
    let most = bounds::INVOICES_MAX as u64;
    for settlement in 1..=3 * most {
        lightning(&mut world, ask(settlement)).unwrap();
        let paid = LightningCommand::Received {
            peer: CAROL,
            settlement,
            amount: Amount::new(1_000),
        };
        lightning(&mut world, paid).unwrap();
        if settlement % 500 == 0 {
            world.sync();
        }
    }
    assert!(account(&world).invoices.len() <= bounds::INVOICES_MAX + 1);
    assert_eq!(
        account(&world).received.value(),
        u128::from(3 * most) * 1_000
    );
    for used in [1, most, 3 * most] {
        assert!(matches!(
            lightning(&mut world, ask(used)),
            Err(Rejection::BadInvoice(_))
        ));
    }
    // Those that may still be paid are never forgotten: past their bound there is no other.
    for settlement in 0..most {
        lightning(&mut world, ask(3 * most + 1 + settlement)).unwrap();
    }
    assert!(matches!(
        lightning(&mut world, ask(9 * most)),
        Err(Rejection::Full { .. })
    ));
    world.sync();
    whole(&world);
}

#[test]
fn no_packet_goes_where_the_channels_could_not_pay_for_it() {
    let mut world = funded();
    let far = |world: &World| Timestamp(world.wall.0 + 10_000);
    capacity(&mut world, 1_998_000, 0);
    let at = far(&world);
    world
        .apply(&prepare(1, 1_000_000, at, "test.pool.carol"))
        .unwrap();
    assert!(matches!(
        world.apply(&prepare(2, 1_000_000, at, "test.pool.carol")),
        Err(Rejection::LaneExhausted { .. })
    ));
    // A peer whose node is not known has no channels at all.
    assert!(matches!(
        world.apply(&prepare(3, 1_000_000, at, "test.pool.dave")),
        Err(Rejection::LaneExhausted { .. })
    ));
    world.sync();
    whole(&world);
}

#[test]
fn a_settlement_takes_no_more_than_the_channels_carry_with_the_fee() {
    let mut world = funded();
    let earned = u128::from(earn(&mut world, 1, 50_000_000));
    world.sync();
    let (settlement, _) = asked(&outstanding(world.state())).unwrap();
    let refused = LightningCommand::InvoiceRefused {
        peer: CAROL,
        settlement,
    };
    lightning(&mut world, refused).unwrap();
    capacity(&mut world, earned / 2, 0);
    world.sync();
    world.wall = Timestamp(world.wall.0 + 31_000);
    let (_, amount) = asked(&world.sync()).unwrap();
    let carried = earned / 2 - lightning_fee_max(Amount::new(earned / 2)).value();
    assert_eq!(amount, carried);
    whole(&world);
}

#[test]
fn a_channel_is_opened_once_as_large_as_the_policy_allots_and_its_cost_is_booked() {
    let mut world = funded();
    let allots = PeerPolicy {
        allotment: Amount::new(50 * MILLI),
        ..world.state().peer(CAROL).unwrap().policy.clone()
    };
    world.admin(Admin::SetPeer(CAROL, allots));
    let demanded = |effects: &[Effect]| {
        let opens = effects.iter().filter_map(|effect| match effect {
            Effect::Chain {
                id,
                request: ChainRequest::OpenLightning { node, amount, .. },
            } => Some((*id, *node, amount.value())),
            _ => None,
        });
        opens.collect::<Vec<_>>()
    };
    let effects = world.sync();
    let (demand, node, amount) = demanded(&effects)[0];
    assert_eq!((node, amount), (NODE, 50 * MILLI));
    // Refused by the world: asked for again, later and under another number.
    let failed = Command::Outcome {
        effect: demand,
        failure: Some("offline".into()),
    };
    world.apply(&failed).unwrap();
    assert_eq!(demanded(&world.sync()), []);
    world.wall = Timestamp(world.wall.0 + 31_000);
    let (again, ..) = demanded(&world.sync())[0];
    assert_ne!(again, demand);
    let before = held(&world);
    let funded = LightningCommand::Funded {
        demand: again,
        fee: Amount::new(200_000),
    };
    lightning(&mut world, funded).unwrap();
    assert_eq!(before - held(&world), 200_000);
    assert_eq!(
        lightning(&mut world, funded),
        Err(Rejection::UnknownEffect),
        "told again after a restart, it costs nothing"
    );
    assert_eq!(demanded(&world.sync()), [], "it is on its way");
    capacity(&mut world, 60 * MILLI, 10 * MILLI);
    let stands = LightningCommand::ChannelStands {
        peer: CAROL,
        channel: LightningChannelId(u128::from(again.0)),
        value: Amount::new(50 * MILLI),
        is_ours: true,
        splices: false,
    };
    lightning(&mut world, stands).unwrap();
    assert_eq!(demanded(&world.sync()), []);
    // Used up: another one.
    capacity(&mut world, 20 * MILLI, 50 * MILLI);
    assert_eq!(demanded(&world.sync()).len(), 1);
    whole(&world);
}

#[test]
fn one_node_settles_for_one_account() {
    let mut world = funded();
    let name = |peer, node| LightningCommand::NodeNamed { peer, node };
    assert_eq!(
        lightning(&mut world, name(DAVE, NODE)),
        Err(Rejection::AlreadyExists)
    );
    lightning(&mut world, name(DAVE, OTHER_NODE)).unwrap();
    assert!(
        matches!(
            lightning(&mut world, name(BOB, NODE)),
            Err(Rejection::BadInvoice(_))
        ),
        "an account in a vault has none"
    );
    // Another node of Carol's: nothing is known of its channels yet.
    lightning(&mut world, name(CAROL, NodeId([4; 33]))).unwrap();
    assert!(account(&world).outbound.is_zero());
    world.sync();
    whole(&world);
}

#[test]
fn notes_on_bitcoin_are_minted_at_the_index_and_miners_are_paid_by_the_buffer() {
    let mut world = funded();
    let owner = Address::new([5; 20]);
    deposit(&mut world, 2, Some(owner), 100 * MILLI).unwrap();
    assert_eq!(
        deposit(&mut world, 2, Some(owner), 100 * MILLI),
        Err(Rejection::AlreadyTaken),
        "told again, from a wallet that was restored"
    );
    let notes = |world: &World| {
        let asset = world.state().asset(BTC).unwrap();
        (
            asset.vault.holders[&owner].units.value(),
            world.state().balance(asset.accounts.notes).credit().value(),
        )
    };
    assert_eq!(notes(&world), (100 * MILLI, 100 * MILLI));
    world.sync();
    // A day's rate is due to them; there are no fees yet, so the shares pay it, and the core raises the index itself.
    world.wall = Timestamp(world.wall.0 + 86_400_000);
    let effects = world.sync();
    assert!(
        !effects.iter().any(
            |effect| matches!(effect, Effect::Chain { request, .. } if request.asset() == BTC)
        ),
        "no contract is asked"
    );
    let (units, claim) = notes(&world);
    assert_eq!(units, 100 * MILLI);
    assert!(claim > 100 * MILLI);
    let shares = |world: &World| {
        let accounts = world.state().asset(BTC).unwrap().accounts;
        world.state().balance(accounts.shares).credit().value()
    };
    let before = (shares(&world), held(&world));
    let paid = |txid, amount| {
        Command::Bitcoin(BitcoinFact::MinersPaid {
            txid: Hash32([txid; 32]),
            amount: Amount::new(amount),
        })
    };
    world.apply(&paid(3, 3_000_000)).unwrap();
    assert_eq!(
        (before.0 - shares(&world), before.1 - held(&world)),
        (3_000_000, 3_000_000)
    );
    assert_eq!(
        world.apply(&paid(3, 3_000_000)),
        Err(Rejection::AlreadyTaken)
    );
    assert!(matches!(
        world.apply(&paid(4, 2_000 * MILLI)),
        Err(Rejection::BadFact(_))
    ));
    world
        .apply(&Command::Bitcoin(BitcoinFact::DeepReorg))
        .unwrap();
    assert!(world.state().asset(BTC).unwrap().halted);
    world.sync();
    whole(&world);
}

#[test]
fn an_asset_on_bitcoin_is_listed_once_and_under_a_code_of_its_own() {
    let mut world = with_bitcoin(World::founded());
    let add = |code: &str, scale| {
        Admin::AddBitcoin(
            BitcoinDefinition {
                code: code.into(),
                scale,
                genesis: Hash32([6; 32]),
                index_rate_max: 0,
            },
            policy(),
        )
    };
    assert_eq!(
        world.try_admin(add("XBT", 8)),
        Err(Rejection::AlreadyExists)
    );
    assert_eq!(
        world.try_admin(Admin::AddAsset(definition("BTC", 8, 8, 9), policy())),
        Err(Rejection::AlreadyExists)
    );
    let mut fresh = World::founded();
    assert!(matches!(
        fresh.try_admin(add("BTC", 12)),
        Err(Rejection::BadPolicy(_))
    ));
    fresh.try_admin(add("BTC", 8)).unwrap();
}
