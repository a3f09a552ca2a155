//! Claims about rates and quotes, checked exhaustively on small domains and against `num-bigint` on large ones.

use forebay_market::*;
use forebay_quantity::{Amount, Ppm};
use num_bigint::BigUint;
use proptest::prelude::*;

fn price(value: u128) -> Price {
    Price::new(value).expect("a price")
}

fn ten(power: u8) -> BigUint {
    BigUint::from(10u8).pow(u32::from(power))
}

/// `amount_in * price_in * 10^scale_out / (price_out * 10^scale_in)` as numerator and denominator.
fn exact(
    amount: u128,
    price_in: u128,
    scale_in: u8,
    price_out: u128,
    scale_out: u8,
) -> (BigUint, BigUint) {
    let numerator = BigUint::from(amount) * price_in * ten(scale_out);
    (numerator, ten(scale_in) * price_out)
}

#[test]
fn an_ether_at_3500_pays_3500_dollars() {
    let ether = price(3_500_000_000_000_000);
    let dollar = price(1_000_000_000_000);
    let rate = Rate::between(ether, 9, dollar, 6).expect("in range");
    // 1 ETH is 10^9 units of scale 9, 3,500 USD are 3.5 x 10^9 units of scale 6; a fraction cuts the last unit.
    let out = rate
        .convert_floor(Amount::new(1_000_000_000))
        .expect("fits")
        .value();
    assert!((3_499_999_999..=3_500_000_000).contains(&out), "{out}");
    let back = Rate::between(dollar, 6, ether, 9).expect("in range");
    let out = back
        .convert_floor(Amount::new(3_500_000_000))
        .expect("fits")
        .value();
    assert!((999_999_999..=1_000_000_000).contains(&out), "{out}");
}

#[test]
fn equal_prices_and_scales_convert_one_to_one() {
    let rate = Rate::between(price(7), 9, price(7), 9).expect("in range");
    for amount in [0, 1, 2, 999, u128::from(u64::MAX), u128::MAX] {
        assert_eq!(
            rate.convert_floor(Amount::new(amount)),
            Some(Amount::new(amount))
        );
    }
}

#[test]
fn a_denominator_past_128_bits_is_never_rounded_in_the_takers_favour() {
    // price_out x 10^18 is price_in x 2^58 and a little more, and that little lies beyond its leading 128 bits.
    // So 2^58 units buy just under one unit, which rounds to nothing.
    let price_in = price(4_294_967_295_999_990_731_172_380_274);
    let price_out = price(1_237_940_039_285_377_603_341_452_905);
    let rate = Rate::between(price_in, 18, price_out, 0).expect("in range");
    assert_eq!(rate.convert_floor(Amount::new(1 << 58)), Some(Amount::ZERO));
    assert_eq!(
        rate.convert_floor(Amount::new((1 << 58) + 1)),
        Some(Amount::new(1))
    );
}

#[test]
fn rates_out_of_range_are_refused() {
    assert_eq!(Rate::between(price(PRICE_MAX), 0, price(1), 0), None);
    assert_eq!(Rate::between(price(1), 0, price(PRICE_MAX), 0), None);
    assert_eq!(Rate::between(price(1), 39, price(1), 0), None);
    assert_eq!(Rate::from_parts(1, 0), None);
    assert_eq!(Rate::from_parts(1 << 63, 128), None);
    assert!(borsh::from_slice::<Rate>(&[0; 9]).is_err());
}

#[test]
fn every_small_fee_is_the_least_that_covers_its_part() {
    let rate = Rate::from_parts(1 << 63, 63).expect("one to one");
    for gross in 0u128..300 {
        for spread in [
            0u32,
            1,
            2,
            100,
            3_333,
            333_333,
            500_000,
            999_999,
            1_000_000,
            u32::MAX,
        ] {
            let quote = quote(rate, Amount::new(gross), Ppm(spread)).expect("small");
            let part = u128::from(spread.min(1_000_000)) * gross;
            let expected = (0..).find(|fee| fee * 1_000_000 >= part).expect("covers");
            assert_eq!(quote.out_gross.value(), gross);
            assert_eq!(quote.fee.value(), expected);
            assert_eq!(quote.out_net.value(), gross - expected);
            assert!(spread == 0 || gross == 0 || expected >= 1);
        }
    }
}

#[test]
fn stream_needs_three_digits_on_both_accounts() {
    let ether = price(3_500_000_000_000_000);
    let bitcoin = price(100_000_000_000_000_000);
    // A largest packet of 10,000 gwei is 35 satoshi at these prices, too few digits for STREAM.
    let rate = Rate::between(ether, 9, bitcoin, 8).expect("in range");
    assert!(!stream_precision_ok(Amount::new(10_000), rate));
    assert!(stream_precision_ok(Amount::new(1_000_000), rate));
    let back = Rate::between(bitcoin, 8, ether, 9).expect("in range");
    assert!(!stream_precision_ok(Amount::new(999), back));
    assert!(stream_precision_ok(Amount::new(1_000), back));
}

#[test]
fn prices_are_read_exactly_or_refused() {
    let read = |text: &str| text.parse::<Price>().map(Price::value);
    assert_eq!(read("3512.25"), Ok(3_512_250_000_000_000));
    assert_eq!(read("0.000000000001"), Ok(1));
    assert_eq!(read("1.9999999999999"), Ok(1_999_999_999_999));
    assert_eq!(read("0.0000000000001"), Err(ParsePriceError::Zero));
    assert_eq!(read("0"), Err(ParsePriceError::Zero));
    assert_eq!(read("1000000000000000000"), Ok(PRICE_MAX));
    assert_eq!(read("1000000000000000001"), Err(ParsePriceError::TooLarge));
    for text in [
        "", ".", "1.", ".5", "-1", "+1", "1e5", "1.2.3", "NaN", "1,5", " 1",
    ] {
        assert_eq!(read(text), Err(ParsePriceError::NotDecimal), "{text:?}");
    }
    assert_eq!(
        "12.5".parse::<Price>().expect("read").to_string(),
        "12.500000000000"
    );
}

fn any_price() -> impl Strategy<Value = u128> {
    (1u128..=PRICE_MAX, 0u32..96).prop_map(|(value, shift)| (value >> shift).max(1))
}

fn any_amount() -> impl Strategy<Value = u128> {
    (any::<u128>(), 0u32..128).prop_map(|(value, shift)| value >> shift)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_rate_never_exceeds_the_exact_one_and_misses_it_by_under_2_to_the_minus_60(
        price_in in any_price(), price_out in any_price(), scale_in in 0u8..=38, scale_out in 0u8..=38,
    ) {
        let rate = Rate::between(price(price_in), scale_in, price(price_out), scale_out);
        let (numerator, denominator) = exact(1, price_in, scale_in, price_out, scale_out);
        let Some(rate) = rate else {
            // Refused only outside 2^-64 .. 2^64.
            let large = numerator >= &denominator << 64u32;
            let small = &numerator << 64u32 < denominator;
            prop_assert!(large || small);
            return Ok(());
        };
        let (mantissa, shift) = rate.parts();
        // mantissa / 2^shift <= n / d, and the gap is under 2^-60 of n / d.
        let ours = BigUint::from(mantissa) * &denominator;
        let true_one = numerator << u32::from(shift);
        prop_assert!(ours <= true_one);
        prop_assert!((&true_one - &ours) << 60u32 < true_one);
    }

    #[test]
    fn a_conversion_never_pays_more_than_the_exact_one(
        amount in any_amount(), price_in in any_price(), price_out in any_price(), scale_in in 0u8..=38, scale_out in 0u8..=38,
    ) {
        let rate = Rate::between(price(price_in), scale_in, price(price_out), scale_out);
        let Some(rate) = rate else { return Ok(()) };
        let (mantissa, shift) = rate.parts();
        let expected = (BigUint::from(amount) * mantissa) >> u32::from(shift);
        let out = rate.convert_floor(Amount::new(amount));
        prop_assert_eq!(out.map(Amount::value), u128::try_from(&expected).ok());
        let (numerator, denominator) = exact(amount, price_in, scale_in, price_out, scale_out);
        prop_assert!(expected * denominator <= numerator);
        if let Ok(amount) = u64::try_from(amount) {
            let narrow = out.and_then(Amount::to_u64);
            prop_assert_eq!(rate.convert_floor_u64(amount), narrow);
        }
    }

    #[test]
    fn a_large_fee_is_rounded_up_exactly(gross in any_amount(), spread in 0u32..=1_000_000) {
        let rate = Rate::from_parts(1 << 63, 63).expect("one to one");
        let quote = quote(rate, Amount::new(gross), Ppm(spread)).expect("one to one fits");
        let expected = (BigUint::from(gross) * spread + 999_999u32) / 1_000_000u32;
        prop_assert_eq!(BigUint::from(quote.fee.value()), expected);
        prop_assert_eq!(quote.out_net.value() + quote.fee.value(), gross);
    }
}
