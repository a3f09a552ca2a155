//! A watchtower acts on every kind of notice, after its principal's turn and before the answer is due [I13].

use forebay_channel::{
    Address, LaneId, LaneStanding, Lowering, Standing, Step, WatchPolicy, WatchStep, watch_step,
    watched,
};
use forebay_quantity::{Amount, Bps, ChannelSerial, Milliseconds, Timestamp};
use proptest::prelude::*;

const SERIAL: ChannelSerial = ChannelSerial::new(7);
const GIVEN: u64 = 1_000_000;
const NOTICE: u64 = 10_000;
const DEADLINE: Timestamp = Timestamp::new(GIVEN + NOTICE);
/// The deadline less the margin: 2,000 of the 8,000 before it are the principal's.
const DUE: u64 = GIVEN + 8_000;
const OURS: u64 = GIVEN + 2_000;

const POLICY: WatchPolicy = WatchPolicy {
    claim_min: Amount::new(5),
    answer_margin: Milliseconds::new(2_000),
    notice: Milliseconds::new(NOTICE),
    patience: Bps::new(2_500),
};

fn units(value: u128) -> Amount {
    Amount::new(value)
}

fn lane(ceiling: u128) -> LaneStanding {
    LaneStanding {
        payer: Address::new([1; 20]),
        ceiling: units(ceiling),
        paid: Amount::ZERO,
        lowering: None,
        key_change: None,
    }
}

fn standing() -> Standing {
    Standing {
        opened: true,
        closed: false,
        close_at: None,
        pool: lane(500),
        peer: lane(100),
    }
}

fn lowered_to(ceiling: u128) -> Option<Lowering> {
    Some(Lowering {
        ceiling: units(ceiling),
        deadline: DEADLINE,
    })
}

/// One line for what is done at a moment by the payee of the peer's lane, who holds a voucher over `held`.
fn step(newest: &Standing, held: u128, now: u64) -> String {
    let channel = watched(SERIAL, LaneId::Peer, &standing(), newest, units(held));
    match watch_step(&channel, Timestamp::new(now), &POLICY) {
        WatchStep::Nothing => "nothing".into(),
        WatchStep::Wait { until } => {
            format!("wait until {}", i128::from(until.0) - i128::from(GIVEN))
        }
        WatchStep::Act { step, urgency } => match step {
            Step::Redeem { amount, .. } => format!("redeem {amount} at {}", urgency.value()),
            Step::FinishClose => format!("finish the close at {}", urgency.value()),
            Step::FinishLowering => format!("finish the lowering at {}", urgency.value()),
            Step::Nothing | Step::Wait { .. } => panic!("these are no acts"),
        },
    }
}

#[test]
fn without_a_notice_nothing_is_redeemed_whatever_is_held() {
    assert_eq!(step(&standing(), 100, GIVEN), "nothing");
}

#[test]
fn every_notice_is_answered_after_the_principals_turn_and_ever_more_urgently() {
    let closing = Standing {
        close_at: Some(DEADLINE),
        ..standing()
    };
    let mut withdrawing = standing();
    withdrawing.peer.lowering = lowered_to(30);
    let mut changing = standing();
    changing.peer.key_change = Some(DEADLINE);
    for (notice, newest) in [
        ("close", closing),
        ("deposit withdrawal", withdrawing),
        ("key change", changing),
    ] {
        for (now, says) in [
            (GIVEN, "wait until 2000"),
            (OURS - 1, "wait until 2000"),
            (OURS, "redeem 80 at 0"),
            (OURS + 3_000, "redeem 80 at 5000"),
            (DUE, "redeem 80 at 10000"),
            // Late is better than never: a voucher counts until the notice is executed.
            (DEADLINE.0 + 1, "redeem 80 at 10000"),
        ] {
            assert_eq!(step(&newest, 80, now), says, "{notice} at {now}");
        }
    }
}

#[test]
fn a_lowered_allotment_is_answered_for_the_peer() {
    let mut newest = standing();
    newest.pool.lowering = lowered_to(40);
    let channel = watched(SERIAL, LaneId::Pool, &standing(), &newest, units(41 + 5));
    let acts = |now| matches!(watch_step(&channel, now, &POLICY), WatchStep::Act { .. });
    assert!(acts(Timestamp::new(OURS)));
    let channel = watched(SERIAL, LaneId::Pool, &standing(), &newest, units(40));
    assert_eq!(
        watch_step(&channel, Timestamp::new(OURS), &POLICY),
        WatchStep::Nothing,
        "what stays covered is not redeemed"
    );
}

#[test]
fn what_the_principal_redeemed_in_the_newest_block_is_left_alone_until_a_reorg_drops_it() {
    let mut newest = Standing {
        close_at: Some(DEADLINE),
        ..standing()
    };
    newest.peer.paid = units(80);
    assert_eq!(step(&newest, 80, OURS), "wait until 10000");
    newest.peer.paid = Amount::ZERO;
    assert_eq!(step(&newest, 80, OURS), "redeem 80 at 0");
}

#[test]
fn what_is_worth_no_transaction_is_let_go_and_its_neighbour_is_not() {
    let closing = Standing {
        close_at: Some(DEADLINE),
        ..standing()
    };
    assert_eq!(step(&closing, 4, OURS), "wait until 10000");
    assert_eq!(step(&closing, 5, OURS), "redeem 5 at 0");
}

#[test]
fn a_close_and_the_principals_own_lowering_are_finished_a_while_after_their_deadline() {
    let closing = Standing {
        close_at: Some(DEADLINE),
        ..standing()
    };
    let mut lowering = standing();
    lowering.pool.lowering = lowered_to(40);
    for (newest, word) in [(closing, "close"), (lowering, "lowering")] {
        assert_eq!(step(&newest, 0, GIVEN), "wait until 10000");
        assert_eq!(step(&newest, 0, DEADLINE.0), "wait until 12500");
        assert_eq!(
            step(&newest, 0, DEADLINE.0 + 2_500),
            format!("finish the {word} at 0")
        );
    }
}

#[test]
fn a_channel_that_is_closed_asks_for_nothing() {
    let closed = Standing {
        closed: true,
        close_at: Some(DEADLINE),
        ..standing()
    };
    assert_eq!(step(&closed, 80, OURS), "nothing");
}

#[test]
fn a_deposit_that_is_not_final_is_not_counted_on() {
    let mut newest = Standing {
        close_at: Some(DEADLINE),
        ..standing()
    };
    newest.peer.ceiling = units(900);
    let channel = watched(SERIAL, LaneId::Peer, &standing(), &newest, units(900));
    assert_eq!(channel.incoming.redeemable(), units(100));
}

proptest! {
    /// [I13] whatever the numbers, the turn of the watchtower comes before the answer is due, and from then on it acts.
    #[test]
    fn it_acts_by_the_time_an_answer_is_due(
        notice in 0_u64..1_000_000, margin in 0_u64..1_000_000, patience in 0_u32..20_000, deadline in 0_u64..10_000_000,
        early in 0_u64..1_000_000,
    ) {
        let newest = Standing { close_at: Some(Timestamp::new(deadline)), ..standing() };
        let channel = watched(SERIAL, LaneId::Peer, &standing(), &newest, units(80));
        let policy = WatchPolicy {
            answer_margin: Milliseconds::new(margin),
            notice: Milliseconds::new(notice),
            patience: Bps::new(patience),
            ..POLICY
        };
        let due = deadline.saturating_sub(margin);
        let at_last = watch_step(&channel, Timestamp::new(due), &policy);
        let redeems = matches!(at_last, WatchStep::Act { step: Step::Redeem { .. }, urgency } if urgency == Bps::new(10_000));
        prop_assert!(redeems, "at {due}: {at_last:?}");
        let before = due.saturating_sub(early);
        match watch_step(&channel, Timestamp::new(before), &policy) {
            WatchStep::Wait { until } => prop_assert!(until.0 <= due && until.0 > before),
            WatchStep::Act { urgency, .. } => prop_assert!(urgency.value() <= 10_000),
            WatchStep::Nothing => prop_assert!(false, "a notice stands"),
        }
    }
}
