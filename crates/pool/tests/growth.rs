//! What bounds a vault's growth, as the core knows and heeds it: bucket, freeze, heartbeat, mark-down, run-down.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use forebay_channel::Address;
use forebay_channel::vault::RUN_DOWN_COHORT;
use forebay_ledger::Balance;
use forebay_pool::*;
use forebay_quantity::*;

const DAY_MS: u64 = 86_400_000;
const USD_UNIT: u128 = 1_000_000;

/// A bucket that holds this much after the 1,000 that Bob's lane begins with.
fn rules(left: u128, refill: u128) -> VaultRules {
    VaultRules {
        bucket_capacity: Amount::new((1_000 + left) * USD_UNIT),
        bucket_refill_per_day: Amount::new(refill * USD_UNIT),
        heartbeat_max_ms: 0,
        has_committee: true,
    }
}

fn heard(heartbeat_max_ms: u64) -> VaultRules {
    VaultRules {
        heartbeat_max_ms,
        ..rules(500, 0)
    }
}

/// Bob's lane has 1,000 USD and wants 4,000; 8,000 are free above the floor of 1,000.
fn wanting(rules: VaultRules) -> World {
    let mut world = World::funded_under(rules);
    world.admin(Admin::SetPeer(BOB, peer_policy(4_000 * USD_UNIT)));
    world
}

impl World {
    /// The requests for the USD vault of the next batch, settled at once.
    fn asked(&mut self) -> Vec<ChainRequest> {
        let mut requests = Vec::new();
        for effect in self.sync() {
            let Effect::Chain { id, request } = effect else {
                continue;
            };
            let (effect, failure) = (id, None);
            self.apply(&Command::Outcome { effect, failure }).unwrap();
            if request.asset() == USD && !matches!(request, ChainRequest::RaiseIndex { .. }) {
                requests.push(request);
            }
        }
        requests
    }

    /// The ceilings asked for; a renewal asks for the one that stands.
    fn raises(&mut self) -> Vec<u128> {
        let raise = |request| match request {
            ChainRequest::Raise { ceiling, .. } => Some(ceiling.value() / USD_UNIT),
            _ => None,
        };
        self.asked().into_iter().filter_map(raise).collect()
    }

    fn raised(&mut self, ceiling: u128) {
        let (serial, ceiling) = (self.serial(BOB), Amount::new(ceiling * USD_UNIT));
        let raised = VaultFact::AllotmentRaised { serial, ceiling };
        self.fact(USD, raised).unwrap();
    }

    fn usd(&self) -> &Asset {
        self.state().asset(USD).unwrap()
    }

    fn days(&mut self, days: u64) {
        self.wall = Timestamp(self.wall.0 + days * DAY_MS);
        self.apply(&Command::Tick).unwrap();
    }
}

// ------------------------------------------------------------------------------------------------------------- bucket

#[test]
fn a_raise_asks_for_no_more_than_the_bucket_holds() {
    let mut world = wanting(rules(500, 600));
    assert_eq!(world.raises(), [1_500], "1,000 and what the bucket holds");
    world.raised(1_500);
    assert_eq!(world.raises(), [0u128; 0], "an empty bucket");
    world.days(1);
    let raises = world.raises();
    assert_eq!(raises.len(), 1, "a day later");
    let more = raises[0] - 1_500;
    assert!(
        (599..=600).contains(&more),
        "what a day gave, less the chain's lag"
    );
}

#[test]
fn a_wide_bucket_leaves_the_wish_and_a_raise_under_way_counts_against_it() {
    let mut world = wanting(rules(9_000, 0));
    assert_eq!(world.raises(), [4_000]);
    // The transaction was sent, and its fact has not come: nothing is asked for twice.
    assert_eq!(world.raises(), [0u128; 0]);
}

#[test]
fn the_mirror_never_shows_more_than_the_contract_has() {
    let mut world = wanting(rules(500, 400));
    let before = world.usd().bucket(world.wall);
    assert_eq!(
        before,
        Amount::new(500 * USD_UNIT),
        "full, never above the brim"
    );
    world.raised(1_300);
    assert_eq!(world.usd().bucket(world.wall), Amount::new(200 * USD_UNIT));
    let serial = world.serial(BOB);
    let released = VaultFact::AllotmentLowered {
        serial,
        ceiling: Amount::new(1_000 * USD_UNIT),
        released: true,
    };
    world.fact(USD, released).unwrap();
    let after = world.usd().bucket(world.wall);
    assert_eq!(
        after,
        Amount::new(200 * USD_UNIT),
        "a release fills nothing"
    );
}

#[test]
fn a_cosigned_raise_drains_nothing_and_fills_nothing() {
    let mut world = wanting(rules(500, 0));
    world.raised(1_400);
    assert_eq!(world.usd().bucket(world.wall), Amount::new(100 * USD_UNIT));
    world.raised(3_000);
    assert!(
        world.usd().bucket(world.wall).is_zero(),
        "as if it had drained it"
    );
    let cosigned = VaultFact::RaiseCosigned {
        serial: world.serial(BOB),
        amount: Amount::new(1_600 * USD_UNIT),
    };
    world.fact(USD, cosigned).unwrap();
    assert_eq!(world.usd().bucket(world.wall), Amount::new(100 * USD_UNIT));
}

#[test]
fn a_vault_whose_past_was_taken_before_its_rules_counts_as_drained() {
    let mut world = World::funded();
    let told = Command::VaultRules {
        asset: USD,
        rules: rules(500, 0),
    };
    world.apply(&told).unwrap();
    assert!(world.usd().bucket(world.wall).is_zero());
    let again = world.apply(&told);
    assert_eq!(again, Err(Rejection::AlreadyTaken), "rules never change");
    let unknown = Command::VaultRules {
        asset: AssetId(9),
        rules: rules(1, 1),
    };
    let refused = world.apply(&unknown);
    assert_eq!(refused, Err(Rejection::UnknownAsset(AssetId(9))));
}

// ------------------------------------------------------------------------------------------------------------- freeze

#[test]
fn a_freeze_stops_raises_and_renewals_until_it_ends() {
    let mut world = wanting(rules(500, 0));
    let until = Timestamp(world.wall.0 + 3 * DAY_MS);
    world.fact(USD, VaultFact::Frozen { until }).unwrap();
    assert_eq!(world.raises(), [0u128; 0]);
    world.days(2);
    assert_eq!(world.raises(), [0u128; 0], "neither more nor longer");
    world.days(1);
    assert_eq!(world.raises(), [1_500], "when it has ended");
}

// ---------------------------------------------------------------------------------------------------------- heartbeat

fn beats(world: &mut World) -> usize {
    let asked = world.asked();
    let beats = asked
        .iter()
        .filter(|request| matches!(request, ChainRequest::Heartbeat { asset } if *asset == USD));
    beats.count()
}

#[test]
fn the_vault_hears_from_the_operator_three_times_as_often_as_it_must() {
    let mut world = World::funded_under(rules(500, 0));
    assert_eq!(beats(&mut world), 0, "nothing is known of it");
    let mut world = World::founded();
    let told = Command::VaultRules {
        asset: USD,
        rules: heard(30 * DAY_MS),
    };
    world.apply(&told).unwrap();
    assert_eq!(beats(&mut world), 1, "its last one is not known");
    assert_eq!(beats(&mut world), 0, "once");
    let at = world.wall;
    world.fact(USD, VaultFact::HeartbeatSeen { at }).unwrap();
    world.days(9);
    assert_eq!(beats(&mut world), 0);
    world.days(1);
    assert_eq!(beats(&mut world), 1, "after a third of the time");
}

#[test]
fn a_heartbeat_that_failed_is_asked_for_again() {
    let mut world = World::founded();
    let told = Command::VaultRules {
        asset: USD,
        rules: heard(30 * DAY_MS),
    };
    world.apply(&told).unwrap();
    let effects = world.sync();
    let id = effects.iter().find_map(|effect| match effect {
        Effect::Chain {
            id,
            request: ChainRequest::Heartbeat { .. },
        } => Some(*id),
        _ => None,
    });
    let failure = Some("no gas money".into());
    let failed = Command::Outcome {
        effect: id.unwrap(),
        failure,
    };
    world.apply(&failed).unwrap();
    assert_eq!(beats(&mut world), 0, "not at once");
    world.wall = Timestamp(world.wall.0 + 30_000);
    world.apply(&Command::Tick).unwrap();
    assert_eq!(beats(&mut world), 1);
}

// ---------------------------------------------------------------------------------------------- mark-down and run-down

#[test]
fn a_mark_down_lets_notes_bear_what_was_lost() {
    let mut world = World::funded();
    let stolen = VaultFact::PoolPaid {
        serial: world.serial(BOB),
        paid: Amount::new(500 * USD_UNIT),
    };
    world.fact(USD, stolen).unwrap();
    let accounts = world.usd().accounts;
    let lost = Balance::Debit(Amount::new(500 * USD_UNIT));
    assert_eq!(
        world.state().balance(accounts.losses),
        lost,
        "on nobody yet"
    );
    let index = 95 * 10u128.pow(25);
    world.fact(USD, VaultFact::MarkedDown { index }).unwrap();
    assert!(world.state().balance(accounts.losses).debit().is_zero());
    let notes = world.state().balance(accounts.notes).credit();
    assert_eq!(notes, Amount::new(9_500 * USD_UNIT));
    assert_eq!(world.usd().note_claims(), notes);
    let up = world.fact(USD, VaultFact::MarkedDown { index });
    assert!(matches!(up, Err(Rejection::BadFact(_))), "it only falls");
}

#[test]
fn what_a_mark_down_takes_beyond_losses_and_what_is_left_of_shares_are_the_buffers() {
    let mut world = World::funded();
    let amount = Amount::new(70 * USD_UNIT);
    world
        .fact(USD, VaultFact::SharesDeposited { amount })
        .unwrap();
    let index = 99 * 10u128.pow(25);
    world.fact(USD, VaultFact::MarkedDown { index }).unwrap();
    let accounts = world.usd().accounts;
    assert!(world.state().balance(accounts.shares).credit().is_zero());
    let fees = world.state().balance(accounts.fees).credit();
    assert_eq!(fees, Amount::new(170 * USD_UNIT));
}

#[test]
fn a_run_down_halts_the_book_for_good_and_pays_all_notes_from_all_free_money() {
    let mut world = wanting(rules(500, 500));
    let owner = Address::new([9; 20]);
    let units = Amount::new(10 * USD_UNIT);
    let asked = VaultFact::ExitRequested {
        owner,
        cohort: 4,
        units,
    };
    world.fact(USD, asked).unwrap();
    world.fact(USD, VaultFact::RunDownStarted).unwrap();
    assert!(world.usd().halted);
    let resumed = world.try_admin(Admin::ResumeBook(USD));
    assert!(matches!(resumed, Err(Rejection::BadPolicy(_))));
    let pays = ChainRequest::PayExits {
        asset: USD,
        cohort: u64::from(RUN_DOWN_COHORT),
    };
    assert_eq!(world.asked(), [pays], "no raise, no renewal, no heartbeat");
    let paid = VaultFact::ExitPaid {
        cohort: u64::from(RUN_DOWN_COHORT),
        units: Amount::new(9_000 * USD_UNIT),
        amount: Amount::new(9_000 * USD_UNIT),
    };
    world.fact(USD, paid).unwrap();
    assert_eq!(world.asked(), [], "nothing is free");
    assert_eq!(world.usd().note_claims(), Amount::new(1_000 * USD_UNIT));
    assert_eq!(
        world.state().stolen_key_cost(USD),
        Amount::new(1_000 * USD_UNIT),
        "allotments alone"
    );
}

// --------------------------------------------------------------------------------------------------------- stolen key

#[test]
fn a_stolen_key_costs_allotments_and_bucket_and_a_day_of_refill_and_never_the_floor() {
    let cost = |rules| {
        let world = wanting(rules);
        world.state().stolen_key_cost(USD).value() / USD_UNIT
    };
    // 1,000 allotted; 9,000 free, of which 1,000 are the floor.
    assert_eq!(cost(rules(500, 40)), 1_000 + 500 + 40);
    assert_eq!(cost(rules(500, 40_000)), 1_000 + 8_000, "the floor holds");
    let nobody_freezes = VaultRules {
        has_committee: false,
        ..rules(500, 40)
    };
    assert_eq!(cost(nobody_freezes), 1_000 + 8_000, "time fills any bucket");
}
