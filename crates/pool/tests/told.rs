//! What the core keeps for those who look: who holds what, what is behind it, and which events are told.
#![allow(clippy::unwrap_used)]

mod common;

use common::{PREIMAGE, USD, World};
use forebay_channel::Address;
use forebay_pool::*;
use forebay_quantity::*;

const LP: Address = Address::new([9; 20]);
const OTHER: Address = Address::new([10; 20]);

fn holding(world: &World, owner: Address) -> Option<(u128, u128)> {
    let holders = &world.state().asset(USD).unwrap().vault.holders;
    holders
        .get(&owner)
        .map(|held| (held.units.value(), held.paid_in.value()))
}

#[test]
fn what_an_lp_paid_in_leaves_in_proportion_and_its_exit_is_paid_with_its_cohort() {
    let mut world = World::funded();
    let units = |value| Amount::new(value);
    let raised = VaultFact::IndexRaised {
        index: 2 * 10_u128.pow(27),
    };
    world.fact(USD, raised).unwrap();
    let second = VaultFact::NoteDeposited {
        owner: LP,
        units: units(500),
        amount: units(1_000),
    };
    world.fact(USD, second).unwrap();
    assert_eq!(holding(&world, LP), Some((10_000_000_500, 10_000_001_000)));
    for (owner, locked) in [(LP, 10_000_000_500), (OTHER, 0)] {
        let exit = VaultFact::ExitRequested {
            owner,
            cohort: 3,
            units: units(locked / 2),
        };
        world.fact(USD, exit).unwrap();
    }
    assert_eq!(holding(&world, LP), Some((5_000_000_250, 5_000_000_500)));
    let paid = VaultFact::ExitPaid {
        cohort: 3,
        units: units(2_000_000_000),
        amount: units(4_000_000_000),
    };
    world.fact(USD, paid).unwrap();
    let cohort = &world.state().asset(USD).unwrap().vault.cohorts[&3];
    assert_eq!(cohort.unpaid(LP), units(3_000_000_250));
    assert_eq!(cohort.unpaid(OTHER), Amount::ZERO);
}

#[test]
fn coverage_is_one_before_anything_happened_and_rises_by_what_bears_the_first_loss() {
    let mut world = World::funded();
    let coverage = world.state().coverages()[1];
    assert_eq!(coverage.claims, Amount::new(10_000_000_000));
    assert_eq!(coverage.ratio_ppm(), Some(1_000_000));
    let shares = VaultFact::SharesDeposited {
        amount: Amount::new(1_000_000_000),
    };
    world.fact(USD, shares).unwrap();
    assert_eq!(world.state().coverages()[1].ratio_ppm(), Some(1_100_000));
}

#[test]
fn events_are_told_after_their_sync_save_those_of_packets_and_after_a_replay_as_well() {
    let mut world = World::funded();
    world.prepare(1, 1_000_000, 20_000).unwrap();
    let forwarded = World::forwarded(&world.sync());
    assert!(world.sequencer.told().is_empty());
    let (packet, _) = forwarded[0];
    let fulfill = Command::Fulfill {
        peer: common::BOB,
        packet,
        preimage: PREIMAGE,
    };
    world.apply(&fulfill).unwrap();
    world.price(USD, 0, 1);
    world.sync();
    let told = world.sequencer.told().to_vec();
    assert!(matches!(told[..], [(1, Event::PriceReported { .. }), ..]));
    let mut replayed = Sequencer::new(State::default());
    for payload in &world.journal {
        replayed.replay(payload).unwrap();
    }
    assert_eq!(replayed.told(), told);
}

/// [I11] and what the id stands for is in the snapshot.
#[test]
fn an_id_stands_for_one_instruction_after_a_restart_too() {
    let mut world = World::founded();
    let (id, halt) = (CommandId([77; 16]), Admin::HaltBook(USD));
    world.apply(&Command::Admin(id, halt.clone())).unwrap();
    world.sync();
    let mut restarted = Sequencer::new(State::restore(&world.state().snapshot()).unwrap());
    for (admin, expected) in [
        (halt, Rejection::AlreadyTaken),
        (Admin::ResumeBook(USD), Rejection::IdReused),
    ] {
        let command = Command::Admin(id, admin);
        assert_eq!(restarted.apply(world.wall, &command), Err(expected));
        assert_eq!(world.apply(&command), Err(expected));
    }
}

#[test]
fn alarms_name_what_is_halted_unpriced_and_under_notice_and_nothing_else() {
    let mut world = World::funded();
    let now = world.wall;
    let alarms = |world: &World, at: Timestamp| world.state().alarms(at).collect::<Vec<_>>();
    assert_eq!(alarms(&world, now), []);
    world.admin(Admin::HaltBook(USD));
    let deadline = Timestamp(now.0 + 1_000);
    let notice = VaultFact::NoticeGiven {
        serial: world.serial(common::ALICE),
        kind: NoticeKind::Close,
        ceiling: Amount::ZERO,
        deadline,
    };
    world.fact(common::ETH, notice).unwrap();
    let standing = forebay_channel::Notice {
        kind: forebay_channel::NoticeKind::Close,
        deadline,
    };
    let noticed = Alarm::Notice(common::ALICE, standing);
    assert_eq!(alarms(&world, now), [Alarm::Halted(USD), noticed]);
    let later = Timestamp(now.0 + 10_000_000);
    let all = [
        Alarm::NotQuoted(common::ETH),
        Alarm::Halted(USD),
        Alarm::Silent(common::ETH),
        Alarm::Silent(USD),
        noticed,
    ];
    assert_eq!(alarms(&world, later), all);
}
