//! Claims about the arithmetic, checked exhaustively on small domains and against `num-bigint` on large ones.

use forebay_quantity::*;
use num_bigint::BigUint;
use proptest::prelude::*;

fn big(value: u128) -> BigUint {
    BigUint::from(value)
}

/// Numbers of every width, with the edges of 64 and 128 bits met often.
fn any_width() -> impl Strategy<Value = u128> {
    prop_oneof![
        4 => (any::<u128>(), 0u32..128).prop_map(|(bits, shift)| bits >> shift),
        1 => prop::sample::select(vec![
            0,
            1,
            u128::from(u64::MAX),
            1 << 64,
            (1 << 64) + 1,
            u128::MAX,
            u128::MAX - 1,
            1 << 127,
            u128::MAX << 64,
        ]),
    ]
}

#[test]
fn small_products_and_quotients_are_exact() {
    for a in 0u128..40 {
        for b in 0u128..40 {
            assert_eq!(mul_div_floor(a, b, 0), None);
            assert_eq!(mul_div_ceil(a, b, 0), None);
            for denominator in 1u128..40 {
                let product = a * b;
                assert_eq!(
                    mul_div_floor(a, b, denominator),
                    Some(product / denominator)
                );
                let rounded_up = (0..).find(|quotient| quotient * denominator >= product);
                assert_eq!(mul_div_ceil(a, b, denominator), rounded_up);
            }
        }
    }
}

#[test]
fn every_small_rescale_loses_nothing() {
    for units in 0u128..2_000 {
        for from_scale in 0u8..5 {
            for to_scale in 0u8..5 {
                let (scaled, remainder) =
                    rescale_floor(Amount::new(units), from_scale, to_scale).expect("small");
                // Compare at the finer of both scales.
                let finer = from_scale.max(to_scale);
                let lift = |amount: Amount, scale: u8| {
                    amount.value() * 10u128.pow(u32::from(finer - scale))
                };
                let total = lift(scaled, to_scale) + lift(remainder, from_scale);
                assert_eq!(total, lift(Amount::new(units), from_scale));
                let one_unit = lift(Amount::new(1), to_scale);
                assert!(lift(remainder, from_scale) < one_unit);
            }
        }
    }
}

#[test]
fn rescale_refuses_what_does_not_fit() {
    assert_eq!(rescale_floor(Amount::MAX, 0, 1), None);
    assert_eq!(rescale_floor(Amount::new(1), 0, SCALE_MAX + 1), None);
    assert_eq!(rescale_floor(Amount::new(1), SCALE_MAX + 1, 0), None);
    let whole = Amount::new(10u128.pow(38));
    assert_eq!(
        rescale_floor(Amount::new(1), 0, SCALE_MAX),
        Some((whole, Amount::ZERO))
    );
}

#[test]
fn hostile_amount_texts_are_refused() {
    for text in [
        "", "+1", "-1", " 1", "1 ", "1.0", "0x1", "1_000", "١", "1e3",
    ] {
        assert!(text.parse::<Amount>().is_err(), "{text:?}");
    }
    let one_past = "340282366920938463463374607431768211456";
    assert_eq!(one_past.parse::<Amount>(), Err(ParseAmountError::TooLarge));
    assert_eq!(
        "340282366920938463463374607431768211455".parse(),
        Ok(Amount::MAX)
    );
}

#[test]
fn a_hash_reads_back_what_it_writes() {
    let hash = Hash32::new(core::array::from_fn(|at| {
        u8::try_from(at * 8 % 256).expect("a byte")
    }));
    assert_eq!(hash.to_string().parse(), Ok(hash));
    assert_eq!(
        format!("0x{hash}")
            .to_uppercase()
            .replace("0X", "0x")
            .parse(),
        Ok(hash)
    );
    assert_eq!("00".repeat(31).parse::<Hash32>(), Err(ParseHexError));
    assert_eq!("zz".repeat(32).parse::<Hash32>(), Err(ParseHexError));
    assert_eq!(
        Hash32::ZERO.to_string(),
        "0000000000000000000000000000000000000000000000000000000000000000"
    );
}

#[test]
fn time_never_wraps() {
    let end = Timestamp::MAX;
    assert_eq!(end.checked_add(Milliseconds(1)), None);
    assert_eq!(end.saturating_add(Milliseconds(1)), end);
    assert_eq!(Timestamp(5).since(Timestamp(9)), Milliseconds::ZERO);
    assert_eq!(Timestamp(9).since(Timestamp(5)), Milliseconds(4));
    assert_eq!(Timestamp(3).checked_sub(Milliseconds(4)), None);
}

#[test]
fn ratios_round_as_their_names_say() {
    let amount = Amount::new(10_001);
    assert_eq!(Bps(1).of_floor(amount), Some(Amount::new(1)));
    assert_eq!(Bps(1).of_ceil(amount), Some(Amount::new(2)));
    assert_eq!(Ppm(PPM_ONE).of_floor(Amount::MAX), Some(Amount::MAX));
    assert_eq!(Ppm(1).of_ceil(Amount::new(1)), Some(Amount::new(1)));
    assert_eq!(Ppm(0).of_ceil(Amount::MAX), Some(Amount::ZERO));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn mul_div_agrees_with_num_bigint(a in any_width(), b in any_width(), denominator in any_width()) {
        if denominator == 0 {
            prop_assert_eq!(mul_div_floor(a, b, 0), None);
            return Ok(());
        }
        let product = big(a) * big(b);
        let floor = &product / big(denominator);
        let ceil = (&product + big(denominator) - 1u8) / big(denominator);
        prop_assert_eq!(mul_div_floor(a, b, denominator), u128::try_from(floor).ok());
        prop_assert_eq!(mul_div_ceil(a, b, denominator), u128::try_from(ceil).ok());
    }

    #[test]
    fn mul_div_of_near_quotients_agrees_with_num_bigint(a in any_width(), b in any_width(), nudge in 0u128..3) {
        // Denominators just above the high word make the largest quotients and the hardest digit guesses.
        let denominator = widening_mul(a, b).0.saturating_add(nudge);
        prop_assume!(denominator > 0);
        let floor = big(a) * big(b) / big(denominator);
        prop_assert_eq!(mul_div_floor(a, b, denominator), u128::try_from(floor).ok());
    }

    #[test]
    fn widening_mul_agrees_with_num_bigint(a in any_width(), b in any_width()) {
        let (high, low) = widening_mul(a, b);
        prop_assert_eq!((big(high) << 128u32) + big(low), big(a) * big(b));
    }

    #[test]
    fn an_amount_reads_back_what_it_writes(units in any_width()) {
        let amount = Amount::new(units);
        prop_assert_eq!(amount.to_string(), big(units).to_string());
        prop_assert_eq!(amount.to_string().parse(), Ok(amount));
        let bytes = borsh::to_vec(&amount).expect("memory");
        prop_assert_eq!(&bytes[..], &units.to_le_bytes()[..]);
        prop_assert_eq!(borsh::from_slice::<Amount>(&bytes).expect("written above"), amount);
    }
}
