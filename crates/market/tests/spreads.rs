//! Claims about volatility and the half-spread.

use forebay_market::*;
use forebay_quantity::{Amount, Milliseconds, PPM_ONE, Ppm};
use proptest::prelude::*;

const HOUR: Milliseconds = Milliseconds(3_600_000);

fn price(value: u128) -> Price {
    Price::new(value).expect("a price")
}

fn policy() -> SpreadPolicy {
    SpreadPolicy {
        floor_ppm: Ppm(500),
        volatility_multiplier_ppm: Ppm(PPM_ONE),
        holding_time_ms: Milliseconds(60_000),
        size_ppm_per_depth: Ppm(1_000),
        depth: Amount::new(1_000_000),
        skew_ppm_max: Ppm(400),
    }
}

fn inventory(position: u128) -> Inventory {
    Inventory {
        position: Amount::new(position),
        target: Amount::new(1_000),
        range: Amount::new(500),
    }
}

/// A price that moves by one part in a thousand back and forth, every `step_ms`.
fn seesaw(step_ms: u64, steps: u32) -> Volatility {
    let (low, high) = (price(1_000_000), price(1_001_000));
    (0..steps).fold(Volatility::default(), |volatility, at| {
        let (old, new) = if at % 2 == 0 {
            (low, high)
        } else {
            (high, low)
        };
        volatility.update(old, new, Milliseconds(step_ms), HOUR)
    })
}

#[test]
fn steady_moves_of_1000_ppm_a_minute_are_7746_ppm_an_hour() {
    // 1000 x sqrt(60) = 7745.97; the mean of a long run reaches it from under, discrete weights within 2 percent.
    let hourly = seesaw(60_000, 2_000).over_ceil(HOUR).value();
    assert!((7_600..=7_900).contains(&hourly), "{hourly}");
    let over_a_minute = seesaw(60_000, 2_000)
        .over_ceil(Milliseconds(60_000))
        .value();
    assert!((980..=1_020).contains(&over_a_minute), "{over_a_minute}");
}

#[test]
fn four_times_the_time_is_twice_the_deviation() {
    let volatility = seesaw(60_000, 500);
    let once = volatility.over_ceil(HOUR).value();
    let twice = volatility.over_ceil(Milliseconds(4 * HOUR.value())).value();
    assert!(twice.abs_diff(2 * once) <= 2, "{once} {twice}");
}

#[test]
fn a_still_market_forgets_even_in_steps_of_a_millisecond() {
    let mut volatility = seesaw(60_000, 100);
    let wild = volatility.over_ceil(HOUR).value();
    let still = price(5);
    for _ in 0..1_000_000 {
        volatility = volatility.update(still, still, Milliseconds(10), HOUR);
    }
    // 10,000 s are 2.8 averaging times: the variance falls to e^-2.8, the deviation to a quarter.
    let calm = volatility.over_ceil(HOUR).value();
    assert!(
        calm * 100 < wild * 26 && calm * 100 > wild * 23,
        "{wild} then {calm}"
    );
}

#[test]
fn a_jump_of_any_size_neither_overflows_nor_is_lost() {
    let jump =
        Volatility::default().update(price(1), price(PRICE_MAX), Milliseconds(0), Milliseconds(0));
    assert!(jump.over_ceil(HOUR).value() > PPM_ONE);
    let again = jump.update(
        price(PRICE_MAX),
        price(1),
        Milliseconds(0),
        Milliseconds(u64::MAX),
    );
    assert!(again >= jump);
    assert!(again.over_ceil(Milliseconds(u64::MAX)).value() > PPM_ONE);
}

#[test]
fn each_part_of_the_half_spread_adds_what_its_formula_says() {
    let policy = policy();
    let quiet = policy.resting_ceil(Volatility::default(), Volatility::default());
    assert_eq!(quiet, Ppm(500));
    let spread = |amount: u128, skew| {
        policy
            .half_spread_ceil(quiet, Amount::new(amount), skew)
            .value()
    };
    assert_eq!(spread(0, Skew::NONE), 500);
    assert_eq!(spread(1, Skew::NONE), 501);
    assert_eq!(spread(500_000, Skew::NONE), 1_000);
    assert_eq!(spread(1_000_000, Skew(250)), 1_750);
    assert_eq!(spread(1_000_000, Skew(-250)), 1_250);
    assert_eq!(spread(0, Skew(-250)), 500);
    assert_eq!(spread(u128::MAX, Skew(i32::MAX)), PPM_ONE);
    assert_eq!(spread(u128::MAX, Skew(i32::MIN)), PPM_ONE);
    let moving = policy.resting_ceil(seesaw(60_000, 2_000), Volatility::default());
    assert!((1_480..=1_520).contains(&moving.value()), "{moving}");
}

#[test]
fn a_policy_without_depth_charges_every_trade_in_full() {
    let policy = SpreadPolicy {
        depth: Amount::ZERO,
        ..policy()
    };
    assert_eq!(
        policy.half_spread_ceil(Ppm(500), Amount::new(1), Skew::NONE),
        Ppm(1_500)
    );
}

#[test]
fn trades_that_worsen_the_inventory_are_dearer_and_those_that_mend_it_cheaper() {
    let max = Ppm(400);
    assert_eq!(inventory(1_000).skew(Flow::In, max), Skew::NONE);
    assert_eq!(inventory(1_250).skew(Flow::In, max), Skew(200));
    assert_eq!(inventory(1_250).skew(Flow::Out, max), Skew(-200));
    assert_eq!(inventory(750).skew(Flow::Out, max), Skew(200));
    assert_eq!(inventory(750).skew(Flow::In, max), Skew(-200));
    assert_eq!(inventory(u128::MAX).skew(Flow::In, max), Skew(400));
    assert_eq!(inventory(0).skew(Flow::In, max), Skew(-400));
    let none = Inventory {
        range: Amount::ZERO,
        ..inventory(1_001)
    };
    assert_eq!(none.skew(Flow::In, max), Skew(400));
    // What one trade worsens on both sides adds up.
    assert_eq!(skew(&inventory(1_250), &inventory(750), max), Skew(400));
    assert_eq!(skew(&inventory(1_250), &inventory(1_250), max), Skew(0));
}

#[test]
fn skew_rounds_against_the_taker_everywhere_in_a_small_domain() {
    for position in 0..40 {
        for range in 1..20 {
            for max in 0..12u32 {
                let inventory = Inventory {
                    position: Amount::new(position),
                    target: Amount::new(20),
                    range: Amount::new(range),
                };
                let distance = i64::try_from(position).expect("small") - 20;
                let range = i64::try_from(range).expect("small");
                for (flow, sign) in [(Flow::In, 1), (Flow::Out, -1)] {
                    let skew = i64::from(inventory.skew(flow, Ppm(max)).0);
                    let exact = sign * i64::from(max) * distance.clamp(-range, range);
                    // The least integer that is not under the exact fraction.
                    assert!(skew * range >= exact && (skew - 1) * range < exact);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_half_spread_stays_between_its_floor_and_the_whole(
        floor in 0u32..=2_000_000, resting in any::<u32>(), amount in any::<u128>(), depth in any::<u128>(),
        size in any::<u32>(), lean in any::<i32>(),
    ) {
        let policy = SpreadPolicy {
            floor_ppm: Ppm(floor), size_ppm_per_depth: Ppm(size), depth: Amount::new(depth), ..policy()
        };
        let spread = policy.half_spread_ceil(Ppm(resting), Amount::new(amount), Skew(lean)).value();
        prop_assert!(spread >= floor.min(PPM_ONE) && spread <= PPM_ONE);
    }

    #[test]
    fn a_larger_trade_is_never_cheaper(small in any::<u64>(), more in any::<u64>(), lean in -500i32..500) {
        let policy = policy();
        let spread = |amount: u128| policy.half_spread_ceil(Ppm(700), Amount::new(amount), Skew(lean));
        prop_assert!(spread(u128::from(small) + u128::from(more)) >= spread(u128::from(small)));
    }

    #[test]
    fn a_move_is_as_far_up_as_down_and_at_least_its_logarithm(old in 1u128..=PRICE_MAX, new in 1u128..=PRICE_MAX) {
        let (old, new) = (price(old), price(new));
        prop_assert_eq!(old.distance_ppm_ceil(new), new.distance_ppm_ceil(old));
        prop_assert_eq!(old.distance_ppm_ceil(new) == 0, old == new);
    }
}
