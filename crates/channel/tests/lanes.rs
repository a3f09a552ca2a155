//! Properties of lanes and channels against independent, naive models.

use forebay_channel::{
    Address, Channel, ChannelPolicy, ExpiryRefusal, Judgement, Lane, LaneId, Lowering, NoticeKind,
    Phase, Serials, SignRefusal, Step, VoucherRefusal, outgoing_expiry,
};
use forebay_quantity::{Amount, ChannelSerial, Milliseconds, Timestamp};
use proptest::prelude::*;

fn units(value: u128) -> Amount {
    Amount::new(value)
}

const POLICY: ChannelPolicy = ChannelPolicy {
    redeem_threshold: Amount::new(1_000),
    claim_min: Amount::new(5),
    answer_margin: Milliseconds::new(600),
};

fn channel(ceiling: u128, held: u128) -> Channel {
    let mut channel = Channel::new(ChannelSerial::new(7), LaneId::Peer, Address::new([1; 20]));
    channel.opened();
    channel.incoming.ceiling_is(units(ceiling));
    if held > 0 {
        channel.incoming.hold(units(held));
    }
    channel
}

#[test]
fn signing_stops_at_the_ceiling_and_never_shrinks() {
    let mut lane = Lane::default();
    assert_eq!(
        lane.may_sign(units(1)),
        Err(SignRefusal::OverCeiling {
            amount: units(1),
            usable: Amount::ZERO
        })
    );
    lane.ceiling_is(units(100));
    assert_eq!(lane.may_sign(units(100)), Ok(()));
    lane.sign(units(100));
    assert_eq!(
        lane.may_sign(units(100)),
        Err(SignRefusal::NotGrowing {
            amount: units(100),
            signed: units(100)
        })
    );
    assert_eq!(
        lane.may_sign(units(101)),
        Err(SignRefusal::OverCeiling {
            amount: units(101),
            usable: units(100)
        })
    );
}

#[test]
#[should_panic(expected = "[I4]")]
fn signing_over_the_ceiling_is_a_bug() {
    Lane::default().sign(units(1));
}

#[test]
#[should_panic(expected = "[I5]")]
fn signing_the_same_amount_again_is_a_bug() {
    let mut lane = Lane::default();
    lane.ceiling_is(units(10));
    lane.sign(units(10));
    lane.sign(units(10));
}

#[test]
fn an_announced_lowering_counts_at_once_and_a_withdrawn_one_no_more() {
    let mut lane = Lane::default();
    lane.ceiling_is(units(100));
    lane.lowering_announced(Lowering {
        ceiling: units(40),
        deadline: Timestamp::new(9),
    });
    assert_eq!(lane.usable_ceiling(), units(40));
    assert_eq!(
        lane.may_sign(units(41)),
        Err(SignRefusal::OverCeiling {
            amount: units(41),
            usable: units(40)
        })
    );
    lane.lowering_withdrawn();
    assert_eq!(lane.may_sign(units(41)), Ok(()));
}

#[test]
fn a_deposit_without_a_voucher_secures_nothing_and_a_voucher_over_it_only_the_deposit() {
    let mut lane = Lane::default();
    lane.ceiling_is(units(100));
    assert_eq!(lane.secured(), Amount::ZERO);
    assert_eq!(lane.hold(units(70)), units(70));
    assert_eq!(lane.hold(units(150)), units(30));
    assert_eq!(
        lane.may_hold(units(150)),
        Err(VoucherRefusal::NotGrowing {
            amount: units(150),
            held: units(150)
        })
    );
    assert_eq!(lane.secured(), units(100));
    lane.ceiling_is(units(120));
    assert_eq!(lane.secured(), units(120));
}

#[test]
fn a_net_off_pays_down_both_sides_without_moving_what_remains() {
    let mut lane = Lane::default();
    lane.ceiling_is(units(100));
    lane.hold(units(60));
    lane.net_off(units(25));
    assert_eq!(
        (lane.paid(), lane.ceiling(), lane.remaining()),
        (units(25), units(125), units(100))
    );
    assert_eq!(lane.redeemable(), units(35));
}

#[test]
fn a_notice_runs_on_through_net_offs_releases_and_payouts() {
    let mut lane = Lane::default();
    lane.ceiling_is(units(100));
    lane.lowering_announced(Lowering {
        ceiling: units(40),
        deadline: Timestamp::new(9),
    });
    lane.net_off(units(25));
    assert_eq!(
        (lane.ceiling(), lane.usable_ceiling()),
        (units(125), units(65))
    );
    lane.paid_is(units(80));
    assert_eq!(lane.usable_ceiling(), units(80), "never under what is paid");
    lane.released(units(90));
    assert_eq!(
        (lane.ceiling(), lane.usable_ceiling()),
        (units(90), units(80))
    );
    lane.lowered(units(80));
    assert_eq!((lane.ceiling(), lane.lowering()), (units(80), None));
}

#[test]
fn a_raise_after_a_key_change_does_not_cover_what_the_old_key_signed_too_much() {
    let mut channel = channel(100, 150);
    channel.key_changed(Address::new([2; 20]));
    channel.incoming.ceiling_is(units(500));
    assert_eq!(
        (channel.incoming.secured(), channel.incoming.redeemable()),
        (units(100), units(100))
    );
    assert_eq!(
        channel.incoming.may_hold(units(120)),
        Ok(()),
        "the new key starts from there"
    );
}

// The model walked here: a second lowering, and the reorg that dropped it, made the first one forgotten.
#[test]
fn a_second_lowering_hides_the_first_neither_before_that_is_final_nor_after_a_reorg() {
    let lowering = |ceiling, deadline| Lowering {
        ceiling: units(ceiling),
        deadline: Timestamp::new(deadline),
    };
    let mut lane = Lane::default();
    lane.ceiling_is(units(100));
    lane.lowering_announced(lowering(10, 9));
    lane.lowering_announced(lowering(10, 9));
    lane.lowering_announced(lowering(40, 20));
    assert_eq!(lane.usable_ceiling(), units(10), "the first is not final");
    let mut dropped = lane;
    dropped.lowering_withdrawn();
    assert_eq!(dropped.usable_ceiling(), units(10), "the first stands");
    dropped.lowered(units(10));
    assert_eq!((dropped.ceiling(), dropped.lowering()), (units(10), None));
    lane.lowered(units(10));
    lane.ceiling_is(units(60));
    assert_eq!(lane.usable_ceiling(), units(40), "the second goes on");
    lane.lowered(units(40));
    assert_eq!((lane.ceiling(), lane.lowering()), (units(40), None));
}

// The model walked here: after a key change the step named less than the voucher says, which no signature fits.
#[test]
fn a_redemption_names_the_voucher_held_also_when_a_replaced_key_signed_too_much() {
    let mut channel = channel(100, 150);
    channel.key_changed(Address::new([2; 20]));
    channel.close_announced(Timestamp::new(10_000));
    let Step::Redeem { amount, .. } = channel.next_step(Timestamp::new(1), &POLICY) else {
        panic!("a hundred are at stake")
    };
    assert_eq!(amount, units(150));
    assert_eq!(channel.incoming.redeemable(), units(100));
    channel.incoming.ceiling_is(units(500));
    channel.incoming.hold(units(120));
    assert_eq!(
        (channel.incoming.promised(), channel.incoming.redeemable()),
        (units(120), units(120)),
        "the new key's own voucher takes its place"
    );
}

#[test]
fn a_voucher_is_taken_while_it_can_be_redeemed_and_not_a_moment_later() {
    let unheard_max = Milliseconds::new(3_000);
    let takes = |channel: &Channel, now, heard_at| {
        let (now, heard_at) = (Timestamp::new(now), Timestamp::new(heard_at));
        channel.may_take(now, heard_at, unheard_max, &POLICY)
    };
    let opening = Channel::new(ChannelSerial::new(7), LaneId::Peer, Address::new([1; 20]));
    assert!(!takes(&opening, 0, 0));
    let mut channel = channel(100, 0);
    assert!(takes(&channel, 5_000, 2_000));
    assert!(!takes(&channel, 5_001, 2_000), "the chain is silent");
    channel.close_announced(Timestamp::new(10_000));
    assert!(takes(&channel, 9_400, 9_000));
    assert!(!takes(&channel, 9_401, 9_000), "the answer is due");
    channel.close_withdrawn();
    assert!(takes(&channel, 9_401, 9_000));
    channel.closed();
    assert!(!takes(&channel, 9_401, 9_000));
}

#[test]
fn a_close_notice_is_answered_at_once_and_then_finished() {
    let mut channel = channel(100, 80);
    assert_eq!(channel.next_step(Timestamp::new(0), &POLICY), Step::Nothing);
    channel.close_announced(Timestamp::new(10_000));
    assert_eq!(
        channel.phase(),
        Phase::Closing {
            deadline: Timestamp::new(10_000)
        }
    );
    assert!(!channel.is_live());
    let redeem = Step::Redeem {
        amount: units(80),
        before: Some(Timestamp::new(9_400)),
    };
    assert_eq!(channel.next_step(Timestamp::new(1), &POLICY), redeem);
    channel.asked(redeem);
    assert_eq!(
        channel.next_step(Timestamp::new(1), &POLICY),
        Step::Wait {
            until: Timestamp::new(10_000)
        }
    );
    channel.failed(redeem);
    assert_eq!(
        channel.next_step(Timestamp::new(20_000), &POLICY),
        redeem,
        "late beats never"
    );
    channel.asked(redeem);
    channel.incoming.paid_is(units(80));
    assert_eq!(
        channel.next_step(Timestamp::new(10_000), &POLICY),
        Step::FinishClose
    );
    channel.asked(Step::FinishClose);
    assert_eq!(
        channel.next_step(Timestamp::new(10_001), &POLICY),
        Step::Nothing
    );
    channel.closed();
    assert_eq!(
        (channel.phase(), channel.notices().count()),
        (Phase::Closed, 0)
    );
}

#[test]
fn a_lowering_endangers_only_what_lies_above_it() {
    let mut channel = channel(100, 80);
    channel.incoming.lowering_announced(Lowering {
        ceiling: units(80),
        deadline: Timestamp::new(10_000),
    });
    assert_eq!(channel.next_step(Timestamp::new(1), &POLICY), Step::Nothing);
    channel.incoming.lowering_announced(Lowering {
        ceiling: units(30),
        deadline: Timestamp::new(10_000),
    });
    let notice = channel.notices().next().expect("one notice stands");
    assert_eq!(notice.kind, NoticeKind::Lowering);
    match channel.judge(notice, &POLICY) {
        Judgement::Answer(answer) => {
            assert_eq!((answer.redeem, answer.at_stake), (units(80), units(50)));
        }
        Judgement::Harmless => panic!("fifty are in danger"),
    }
}

#[test]
fn a_key_change_calls_in_what_the_old_key_signed() {
    let mut channel = channel(100, 80);
    channel.key_change_announced(Timestamp::new(10_000));
    assert_eq!(
        channel.next_step(Timestamp::new(1), &POLICY),
        Step::Redeem {
            amount: units(80),
            before: Some(Timestamp::new(9_400))
        }
    );
    channel.key_changed(Address::new([2; 20]));
    assert_eq!(channel.payer(), Address::new([2; 20]));
    assert_eq!(channel.next_step(Timestamp::new(1), &POLICY), Step::Nothing);
}

#[test]
fn dust_is_let_go_and_one_unit_more_is_not() {
    for (held, harmless) in [(4, true), (5, false)] {
        let mut channel = channel(100, held);
        channel.close_announced(Timestamp::new(10_000));
        let notice = channel.notices().next().expect("the close stands");
        assert_eq!(
            channel.judge(notice, &POLICY) == Judgement::Harmless,
            harmless
        );
    }
}

#[test]
fn redeeming_again_after_a_raise_asks_for_what_the_raise_covers() {
    let mut channel = channel(1_000, 3_000);
    let redeem = Step::Redeem {
        amount: units(3_000),
        before: None,
    };
    assert_eq!(channel.next_step(Timestamp::new(1), &POLICY), redeem);
    channel.asked(redeem);
    channel.incoming.paid_is(units(1_000));
    assert_eq!(channel.next_step(Timestamp::new(1), &POLICY), Step::Nothing);
    channel.incoming.ceiling_is(units(2_000));
    assert_eq!(channel.next_step(Timestamp::new(1), &POLICY), redeem);
}

#[test]
fn our_own_lowering_is_finished_at_its_deadline() {
    let mut channel = channel(0, 0);
    channel.outgoing.ceiling_is(units(50));
    channel.outgoing.lowering_announced(Lowering {
        ceiling: units(20),
        deadline: Timestamp::new(500),
    });
    assert_eq!(
        channel.next_step(Timestamp::new(499), &POLICY),
        Step::Wait {
            until: Timestamp::new(500)
        }
    );
    assert_eq!(
        channel.next_step(Timestamp::new(500), &POLICY),
        Step::FinishLowering
    );
    channel.outgoing_lowered(units(20));
    assert_eq!(
        channel.next_step(Timestamp::new(501), &POLICY),
        Step::Nothing
    );
}

#[test]
fn a_serial_is_never_given_out_twice() {
    let mut serials = Serials::START;
    for taken in [1, 5, 3, 5, 6] {
        serials.taken(ChannelSerial::new(taken));
        assert!(serials.next() > ChannelSerial::new(taken), "[I5]");
    }
    assert_eq!(serials.next(), ChannelSerial::new(7));
}

#[test]
fn an_expired_or_too_short_promise_is_not_passed_on() {
    let (now, margin, hold) = (
        Timestamp::new(1_000),
        Milliseconds::new(100),
        Milliseconds::new(500),
    );
    let offer = |incoming| outgoing_expiry(Timestamp::new(incoming), now, margin, hold);
    assert_eq!(
        offer(1_000),
        Err(ExpiryRefusal::Expired {
            incoming: Timestamp::new(1_000)
        })
    );
    assert_eq!(
        offer(1_100),
        Err(ExpiryRefusal::TooShort {
            left: Milliseconds::new(100),
            margin
        })
    );
    assert_eq!(offer(1_101), Ok(Timestamp::new(1_001)));
    assert_eq!(offer(9_000), Ok(Timestamp::new(1_500)));
}

#[derive(Clone, Debug)]
enum Deed {
    Raise(u64),
    Announce(u64),
    Withdraw,
    Execute,
    Sign(u64),
    Pay,
    NetOff(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        (0..200u64).prop_map(Deed::Raise),
        (0..400u64).prop_map(Deed::Announce),
        Just(Deed::Withdraw),
        Just(Deed::Execute),
        (0..600u64).prop_map(Deed::Sign),
        Just(Deed::Pay),
        (0..30u64).prop_map(Deed::NetOff),
    ]
}

/// Books of one lane kept the long way round, by a chain that knows nothing of `Lane`. Of several announcements all but
/// the last are executed and not final: the vault takes one at a time.
#[derive(Default)]
struct NaiveLane {
    ceiling: u64,
    announced: Vec<u64>,
    paid: u64,
    signed: Vec<u64>,
}

impl NaiveLane {
    fn covered(&self) -> u64 {
        let announced = self.announced.iter().map(|to| to.max(&self.paid));
        announced.copied().chain([self.ceiling]).min().unwrap_or(0)
    }
}

proptest! {
    // [I4] [I5]
    #[test]
    fn whatever_happens_each_signature_is_covered_when_made_and_larger_than_the_last(
        deeds in prop::collection::vec(deed(), 1..60)
    ) {
        let (mut lane, mut naive, mut deadline) = (Lane::default(), NaiveLane::default(), 0);
        for deed in deeds {
            match deed {
                Deed::Raise(by) => {
                    naive.ceiling += by;
                    lane.ceiling_is(Amount::from(naive.ceiling));
                }
                Deed::Announce(to) => {
                    if naive.announced.len() < 2 {
                        deadline += 1;
                        naive.announced.push(to);
                        lane.lowering_announced(Lowering { ceiling: Amount::from(to), deadline: Timestamp::new(deadline) });
                    }
                }
                Deed::Withdraw => {
                    naive.announced.pop();
                    lane.lowering_withdrawn();
                }
                Deed::Execute => {
                    if !naive.announced.is_empty() {
                        let to = naive.announced.remove(0);
                        naive.ceiling = naive.ceiling.min(to.max(naive.paid));
                        lane.lowered(Amount::from(naive.ceiling));
                    }
                }
                Deed::Sign(to) => {
                    let allowed = to <= naive.covered() && naive.signed.iter().all(|before| to > *before) && to > 0;
                    prop_assert_eq!(lane.may_sign(Amount::from(to)).is_ok(), allowed);
                    if allowed {
                        lane.sign(Amount::from(to));
                        naive.signed.push(to);
                    }
                }
                Deed::Pay => {
                    let best = naive.signed.last().copied().unwrap_or(0).min(naive.ceiling);
                    let pays = best.saturating_sub(naive.paid);
                    prop_assert_eq!(lane.redeemable(), Amount::from(pays));
                    naive.paid += pays;
                    lane.paid_is(Amount::from(naive.paid));
                }
                Deed::NetOff(by) => {
                    naive.ceiling += by;
                    naive.paid += by;
                    naive.announced.iter_mut().for_each(|to| *to += by);
                    lane.net_off(Amount::from(by));
                }
            }
            prop_assert_eq!(lane.usable_ceiling(), Amount::from(naive.covered()));
            prop_assert_eq!(lane.remaining(), Amount::from(naive.ceiling.saturating_sub(naive.paid)));
        }
    }

    // [I13]
    #[test]
    fn while_a_watcher_is_up_a_stake_is_asked_for_before_deadline_less_margin(
        ceiling in 0..2_000u64, held in 0..3_000u64, paid in 0..2_000u64, lower_to in 0..2_000u64,
        kind in 0..3u8, margin in 0..5_000u64, given_at in 0..1_000u64, period in 5_000..50_000u64, asks_at in 0..50_000u64,
    ) {
        let policy = ChannelPolicy { answer_margin: Milliseconds::new(margin), claim_min: Amount::new(1), ..POLICY };
        let paid = paid.min(ceiling).min(held);
        let mut channel = channel(u128::from(ceiling), u128::from(held));
        channel.incoming.paid_is(Amount::from(paid));
        let deadline = Timestamp::new(given_at + period);
        let lower_to = lower_to.clamp(paid, ceiling.max(paid));
        let lost = match kind {
            0 => { channel.close_announced(deadline); held.min(ceiling).saturating_sub(paid) }
            1 => {
                channel.incoming.lowering_announced(Lowering { ceiling: Amount::from(lower_to), deadline });
                held.min(ceiling).saturating_sub(held.min(lower_to))
            }
            _ => { channel.key_change_announced(deadline); held.min(ceiling).saturating_sub(paid) }
        };
        let step = channel.next_step(Timestamp::new(given_at + asks_at), &policy);
        if lost > 0 {
            let before = Timestamp::new(given_at + period - margin);
            prop_assert_eq!(step, Step::Redeem { amount: Amount::from(held), before: Some(before) });
        } else {
            let pressed = matches!(step, Step::Redeem { before: Some(_), .. });
            prop_assert!(!pressed, "nothing is at stake, so nothing presses");
        }
    }

    // [I8]
    #[test]
    fn an_outgoing_expiry_leaves_the_margin_and_lies_ahead(
        incoming in 0..100_000u64, now in 0..100_000u64, margin in 0..20_000u64, hold in 0..100_000u64
    ) {
        match outgoing_expiry(Timestamp::new(incoming), Timestamp::new(now), Milliseconds::new(margin), Milliseconds::new(hold)) {
            Ok(outgoing) => {
                prop_assert!(outgoing.value() > now && outgoing.value() + margin <= incoming);
                prop_assert!(outgoing.value() <= now + hold);
            }
            Err(_) => prop_assert!(hold == 0 || incoming <= now + margin),
        }
    }
}
