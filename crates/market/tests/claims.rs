//! Claims about notes, shares, the waterfall and the release of fees.

use forebay_market::*;
use forebay_quantity::{Amount, Bps, Milliseconds, Timestamp};
use num_bigint::BigUint;
use proptest::prelude::*;

fn amount(units: u128) -> Amount {
    Amount::new(units)
}

const HOUR: Milliseconds = Milliseconds(3_600_000);

#[test]
fn a_note_is_minted_and_claimed_at_the_index_rounded_against_its_holder() {
    let index = Index(RAY + RAY / 2);
    assert_eq!(index.units_for_deposit_floor(amount(10)), Some(amount(6)));
    assert_eq!(index.claim_floor(amount(6)), Some(amount(9)));
    assert_eq!(index.claim_floor(amount(7)), Some(amount(10)));
    assert_eq!(index.claim_ceil(amount(7)), Some(amount(11)));
    assert_eq!(Index(0).units_for_deposit_floor(amount(10)), None);
    assert_eq!(Index::ONE.claim_floor(Amount::MAX), Some(Amount::MAX));
}

#[test]
fn the_index_rises_no_faster_than_the_contract_lets_it() {
    let ten_percent = RAY / 10;
    let raised = |elapsed_ms| {
        Index::ONE
            .raise_max_floor(ten_percent, Milliseconds(elapsed_ms))
            .value()
    };
    assert_eq!(raised(999), RAY);
    assert_eq!(raised(86_400_000), RAY + RAY / 10);
    assert_eq!(raised(43_200_000), RAY + RAY / 20);
    assert_eq!(raised(u64::MAX), RAY + RAY / 10);
    // The contract divides twice, by the day and by the ray; the second cut must be the same here.
    let second = Index(7).raise_max_floor(RAY - 1, Milliseconds(86_400_000));
    assert_eq!(second, Index(13));
}

#[test]
fn the_floor_is_rounded_up_as_the_contract_compares_it() {
    assert_eq!(floor_needed(Bps(2_000), amount(1_000)), amount(200));
    assert_eq!(floor_needed(Bps(2_000), amount(1_001)), amount(201));
    assert!(floor_holds(amount(201), Bps(2_000), amount(1_001)));
    assert!(!floor_holds(amount(200), Bps(2_000), amount(1_001)));
    assert!(floor_holds(Amount::ZERO, Bps(2_000), Amount::ZERO));
    assert!(!floor_holds(
        Amount::MAX.saturating_sub(amount(1)),
        Bps(u32::MAX),
        Amount::MAX
    ));
}

#[test]
fn what_exits_can_be_paid_is_the_most_that_leaves_the_floor() {
    for ratio in [0_u32, 1, 2_000, 5_000, 9_999] {
        for (free, claims) in (0..40_i64).flat_map(|free| (0..40).map(move |claims| (free, claims)))
        {
            let leaves_floor =
                |paid: &i64| (free - paid) * 10_000 >= i64::from(ratio) * (claims - paid);
            let most = (0..=free).rev().find(leaves_floor).unwrap_or(0);
            let plain = |value: i64| amount(u128::try_from(value).expect("not negative"));
            assert_eq!(
                payable_to_exits(plain(free), Bps(ratio), plain(claims)),
                plain(most),
                "{free} free, {claims} claimed, {ratio} bps"
            );
        }
    }
    let most = Amount::MAX;
    assert_eq!(
        payable_to_exits(most, Bps(2_000), amount(10)),
        most.saturating_sub(amount(2))
    );
    assert_eq!(
        payable_to_exits(amount(9), Bps(10_000), amount(4)),
        amount(5)
    );
}

#[test]
fn a_loss_falls_on_the_buffer_then_on_shares_then_on_notes() {
    let notes = Notes {
        units: amount(1_000),
        index: Index::ONE,
    };
    let split = |loss| waterfall(amount(loss), amount(100), amount(200), notes);
    let parts = |split: LossSplit| {
        [
            split.from_fee_buffer,
            split.from_shares,
            split.from_notes,
            split.uncovered,
        ]
        .map(Amount::value)
    };
    assert_eq!(parts(split(0)), [0, 0, 0, 0]);
    assert_eq!(parts(split(99)), [99, 0, 0, 0]);
    assert_eq!(parts(split(101)), [100, 1, 0, 0]);
    assert_eq!(split(300).index_after, Index::ONE);
    assert_eq!(parts(split(301)), [100, 200, 1, 0]);
    assert_eq!(split(301).index_after, Index(RAY - RAY / 1_000));
    assert_eq!(parts(split(1_300)), [100, 200, 1_000, 0]);
    assert_eq!(split(1_300).index_after, Index(0));
    assert_eq!(parts(split(1_301)), [100, 200, 1_000, 1]);
}

#[test]
fn the_rate_of_notes_is_paid_from_fees_then_shares_and_stops_with_them() {
    let notes = Notes {
        units: amount(1_000_000),
        index: Index::ONE,
    };
    let target = notes.index.raise_max_floor(RAY / 1_000, DAY);
    let due = notes.due_for(target);
    assert_eq!(due, amount(1_000));
    let paid = |fees, shares| pay_note_rate(due, amount(fees), amount(shares), notes);
    let from_fees = paid(5_000, 5_000);
    assert_eq!(
        (from_fees.from_fees, from_fees.from_shares),
        (amount(1_000), Amount::ZERO)
    );
    assert_eq!(from_fees.index_after, target);
    let both = paid(600, 5_000);
    assert_eq!(
        (both.from_fees, both.from_shares, both.unpaid),
        (amount(600), amount(400), Amount::ZERO)
    );
    let stopped = paid(600, 100);
    assert_eq!(
        (stopped.from_shares, stopped.unpaid),
        (amount(100), amount(300))
    );
    assert_eq!(stopped.index_after, Index(RAY + RAY / 10_000 * 7));
    assert_eq!(paid(0, 0).index_after, Index::ONE);
    let nobody = pay_note_rate(
        amount(9),
        amount(9),
        amount(9),
        Notes {
            units: Amount::ZERO,
            ..notes
        },
    );
    assert_eq!(
        (nobody.from_fees, nobody.from_shares, nobody.unpaid),
        (Amount::ZERO, Amount::ZERO, amount(9))
    );
}

#[test]
fn shares_cannot_be_bought_out_of_a_loss() {
    assert_eq!(
        share_units_for_deposit(amount(5), Amount::ZERO, Amount::ZERO),
        Some(amount(5))
    );
    assert_eq!(
        share_units_for_deposit(amount(5), Amount::ZERO, amount(5)),
        None
    );
    assert_eq!(
        share_units_for_deposit(amount(5), amount(20), amount(10)),
        Some(amount(2))
    );
    assert_eq!(
        share_claim(amount(2), amount(25), amount(12)),
        Some(amount(4))
    );
    assert_eq!(share_claim(amount(2), amount(25), Amount::ZERO), None);
}

#[test]
fn a_fee_is_released_evenly_over_its_window() {
    let start = Timestamp(5_000);
    let mut fees = FeeRelease::new(start);
    assert_eq!(fees.add(amount(3_600), start, HOUR), Amount::ZERO);
    let mut released = 0;
    for second in 1..=3_600u64 {
        released += fees.release(Timestamp(5_000 + second * 1_000)).value();
        assert_eq!(released, u128::from(second));
    }
    assert_eq!(fees.locked(), Amount::ZERO);
    assert_eq!(fees.release(Timestamp::MAX), Amount::ZERO);
}

#[test]
fn dust_does_not_hold_back_what_is_locked() {
    let mut fees = FeeRelease::new(Timestamp(0));
    fees.add(amount(1_000_000_000), Timestamp(0), HOUR);
    let mut released = 0;
    // Fifty units of dust a millisecond for an hour are 18 percent of the fee, so they may hold back no more.
    for at in 1..=3_600_000u64 {
        released += fees.add(amount(50), Timestamp(at), HOUR).value();
    }
    assert!(released > 800_000_000, "{released}");
    // Nor is the dust itself let out at once.
    assert!(fees.locked().value() > 60_000_000, "{}", fees.locked());
}

#[test]
fn asking_often_releases_as_much_as_asking_once() {
    let mut often = FeeRelease::new(Timestamp(0));
    often.add(amount(7), Timestamp(0), HOUR);
    let released: u128 = (1..=1_800_000)
        .map(|at| often.release(Timestamp(at)).value())
        .sum();
    assert_eq!(released, 3);
}

#[test]
fn every_small_loss_is_split_whole_and_leaves_notes_no_more_than_they_kept() {
    for loss in 0..30 {
        for buffer in 0..6 {
            for shares in 0..6 {
                for units in 0..8 {
                    for index in [0, 1, RAY / 3, RAY, RAY + RAY / 7, 3 * RAY] {
                        let notes = Notes {
                            units: amount(units),
                            index: Index(index),
                        };
                        check_split(loss, amount(buffer), amount(shares), notes);
                    }
                }
            }
        }
    }
}

fn check_split(loss: u128, buffer: Amount, shares: Amount, notes: Notes) {
    let split = waterfall(amount(loss), buffer, shares, notes);
    let parts = [
        split.from_fee_buffer,
        split.from_shares,
        split.from_notes,
        split.uncovered,
    ];
    assert_eq!(parts.map(Amount::value).iter().sum::<u128>(), loss);
    // Each bears only when the one before is used up.
    assert!(split.from_shares.is_zero() || split.from_fee_buffer == buffer);
    assert!(split.from_notes.is_zero() || split.from_shares == shares);
    assert!(split.uncovered.is_zero() || split.from_notes == notes.claims_ceil());
    let after = Notes {
        index: split.index_after,
        ..notes
    };
    let kept = notes.claims_ceil().saturating_sub(split.from_notes);
    assert!(after.claims_ceil() <= kept);
    assert!(split.index_after <= notes.index);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_raise_costs_no_more_than_was_paid(units in 1u128..1 << 90, index in 1u128..1 << 100, paid in 0u128..1 << 80) {
        let notes = Notes { units: amount(units), index: Index(index) };
        let rate = pay_note_rate(amount(paid), amount(paid), Amount::ZERO, notes);
        // units x (after - before) <= paid x ray, exactly.
        let raise = rate.index_after.value() - index;
        let paid = rate.from_fees.value() + rate.from_shares.value();
        prop_assert!(BigUint::from(units) * raise <= BigUint::from(paid) * RAY);
    }

    #[test]
    fn released_and_locked_are_all_that_was_added_and_nothing_comes_early(
        steps in prop::collection::vec((0u64..5_000_000, 0u128..1_000_000, 0u64..10_000_000), 1..40),
    ) {
        let mut fees = FeeRelease::new(Timestamp(0));
        let (mut now, mut added, mut released, mut ends) = (Timestamp(0), 0, 0, Timestamp(0));
        for (elapsed, fee, window) in steps {
            now = now.saturating_add(Milliseconds(elapsed));
            released += fees.add(amount(fee), now, Milliseconds(window)).value();
            added += fee;
            ends = ends.max(now.saturating_add(Milliseconds(window)));
            prop_assert_eq!(released + fees.locked().value(), added);
            let mut copy = fees;
            let at_once = copy.release(now).value();
            prop_assert!(window == 0 || at_once == 0 , "{} at once", at_once);
        }
        released += fees.release(ends.saturating_add(Milliseconds(1))).value();
        prop_assert_eq!(released, added);
    }
}
