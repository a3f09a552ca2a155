//! Claims about price sources: a liar is outvoted, silence and disagreement stop the book.

use forebay_market::*;
use forebay_quantity::{Bps, Milliseconds, SourceId, Timestamp};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_000_000);
const GUARDS: Guards = Guards {
    sources_min: 3,
    age_max_ms: Milliseconds(10_000),
    deviation_max: Bps(50),
};

fn report(source: u16, price: u128, age_ms: u64) -> SourceReport {
    SourceReport {
        source: SourceId(source),
        price: Price::new(price).expect("a price"),
        at: NOW.saturating_sub(Milliseconds(age_ms)),
    }
}

fn fresh(prices: &[u128]) -> Vec<SourceReport> {
    (1..)
        .zip(prices)
        .map(|(source, &price)| report(source, price, 0))
        .collect()
}

fn price(reports: &[SourceReport]) -> Result<u128, GuardTripped> {
    median(reports, NOW, GUARDS).map(Price::value)
}

#[test]
fn one_liar_among_three_is_outvoted_and_the_book_quotes_on() {
    for lie in [1, 50_000, 200_000, PRICE_MAX] {
        let price = price(&fresh(&[100_000, lie, 100_200])).expect("two of three agree");
        assert!((100_000..=100_200).contains(&price), "{lie} gave {price}");
    }
}

#[test]
fn three_that_all_differ_stop_the_book() {
    let refusal = price(&fresh(&[100_000, 110_000, 120_000]));
    assert_eq!(
        refusal,
        Err(GuardTripped::TooFarApart {
            agreeing: 1,
            fresh: 3
        })
    );
}

#[test]
fn half_is_no_majority() {
    let refusal = price(&fresh(&[100_000, 100_000, 200_000, 200_000]));
    assert!(matches!(refusal, Err(GuardTripped::TooFarApart { .. })));
}

#[test]
fn deviation_is_allowed_up_to_its_limit_and_no_further() {
    assert_eq!(price(&fresh(&[1, 1_000_000, 1_005_000])), Ok(1_000_000));
    assert!(price(&fresh(&[1, 1_000_000, 1_005_001])).is_err());
}

#[test]
fn fewer_than_three_never_make_a_price() {
    assert_eq!(price(&[]), Err(GuardTripped::TooFew { have: 0, need: 3 }));
    assert_eq!(
        price(&fresh(&[5, 5])),
        Err(GuardTripped::TooFew { have: 2, need: 3 })
    );
    let lax = Guards {
        sources_min: 0,
        ..GUARDS
    };
    let refusal = median(&fresh(&[5, 5]), NOW, lax);
    assert_eq!(refusal, Err(GuardTripped::TooFew { have: 2, need: 3 }));
    let strict = Guards {
        sources_min: 4,
        ..GUARDS
    };
    let refusal = median(&fresh(&[5, 5, 5]), NOW, strict);
    assert_eq!(refusal, Err(GuardTripped::TooFew { have: 3, need: 4 }));
}

#[test]
fn one_source_has_one_vote_its_newest() {
    let doubled = [report(1, 5, 0), report(1, 5, 0), report(2, 5, 0)];
    assert_eq!(
        price(&doubled),
        Err(GuardTripped::TooFew { have: 2, need: 3 })
    );
    let renewed = [
        report(1, 900_000, 9),
        report(2, 100, 0),
        report(3, 100, 0),
        report(1, 100, 1),
    ];
    assert_eq!(price(&renewed), Ok(100));
}

#[test]
fn old_reports_and_reports_from_the_future_are_not_fresh() {
    let aged = |age_ms| [report(1, 5, 0), report(2, 5, 0), report(3, 5, age_ms)];
    assert_eq!(price(&aged(10_000)), Ok(5));
    assert_eq!(
        price(&aged(10_001)),
        Err(GuardTripped::Stale { fresh: 2, need: 3 })
    );
    let ahead = SourceReport {
        at: Timestamp(NOW.value() + 1),
        ..report(3, 5, 0)
    };
    let refusal = price(&[report(1, 5, 0), report(2, 5, 0), ahead]);
    assert_eq!(refusal, Err(GuardTripped::Stale { fresh: 2, need: 3 }));
}

#[test]
fn zero_is_no_price() {
    assert_eq!(Price::new(0), None);
    assert_eq!(Price::new(PRICE_MAX + 1), None);
    assert!(borsh::from_slice::<Price>(&[0; 16]).is_err());
    assert!(borsh::from_slice::<Price>(&[0xff; 16]).is_err());
}

#[test]
#[should_panic(expected = "[I12]")]
fn more_reports_than_the_bound_halt() {
    let _ = price(&fresh(&[5; SOURCES_MAX + 1]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_minority_of_liars_cannot_move_the_price_out_of_the_honest_range(
        honest in prop::collection::vec(1_000_000u128..1_004_000, 2..=8),
        lies in prop::collection::vec(1u128..=PRICE_MAX, 0..=7),
        order in any::<u64>(),
    ) {
        let lies = &lies[..lies.len().min(honest.len() - 1)];
        let mut prices: Vec<u128> = honest.iter().chain(lies).copied().collect();
        let turn = usize::try_from(order % 16).expect("small") % prices.len();
        prices.rotate_left(turn);
        prop_assume!(prices.len() >= 3);
        let found = price(&fresh(&prices)).expect("the honest majority agrees within 40 of 50 bps");
        let (least, most) = (honest.iter().min().expect("two"), honest.iter().max().expect("two"));
        prop_assert!(*least <= found && found <= *most, "{} outside {}..={}", found, least, most);
    }

    #[test]
    fn a_price_comes_only_with_a_majority_near_it(prices in prop::collection::vec(1u128..40, 0..=7)) {
        let near = |middle: u128| prices.iter().filter(|price| price.abs_diff(middle) * 200 <= middle).count();
        match price(&fresh(&prices)) {
            Ok(middle) => prop_assert!(prices.len() >= 3 && near(middle) * 2 > prices.len()),
            Err(GuardTripped::TooFew { .. }) => prop_assert!(prices.len() < 3),
            Err(GuardTripped::TooFarApart { agreeing, fresh }) => {
                prop_assert!(usize::from(fresh) == prices.len() && usize::from(agreeing) * 2 <= prices.len());
            }
            Err(GuardTripped::Stale { .. }) => prop_assert!(false, "all are fresh"),
        }
    }
}
