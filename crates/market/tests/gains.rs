//! [I9] No sequence of swaps, deposits and withdrawals at a constant price gains anything.

use forebay_market::*;
use forebay_quantity::{Amount, Ppm};
use num_bigint::BigUint;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Swap {
        from: usize,
        part: u8,
        spread: u32,
    },
    DepositNote(u8),
    WithdrawNote(u8),
    DepositShare(u8),
    WithdrawShare(u8),
    /// The pool pays notes out of its shares, as it would in time.
    Raise(u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..2, any::<u8>(), prop_oneof![Just(0u32), 0u32..5_000])
            .prop_map(|(from, part, spread)| Step::Swap { from, part, spread }),
        2 => any::<u8>().prop_map(Step::DepositNote),
        2 => any::<u8>().prop_map(Step::WithdrawNote),
        1 => any::<u8>().prop_map(Step::DepositShare),
        1 => any::<u8>().prop_map(Step::WithdrawShare),
        1 => (0u8..4).prop_map(Step::Raise),
    ]
}

/// One caller against the pool: its purse in two assets, its notes and shares in the first.
struct World {
    prices: [Price; 2],
    scales: [u8; 2],
    purse: [Amount; 2],
    notes: Notes,
    notes_of_others: Amount,
    note_units: Amount,
    share_value: Amount,
    share_units_total: Amount,
    share_units: Amount,
    raised: BigUint,
}

impl World {
    fn rate(&self, from: usize) -> Option<Rate> {
        let to = 1 - from;
        Rate::between(
            self.prices[from],
            self.scales[from],
            self.prices[to],
            self.scales[to],
        )
    }

    /// Amounts of either asset in one exact unit: amount x price x 10^(the other's scale).
    fn worth(&self, asset: usize, amount: Amount) -> BigUint {
        let lift = BigUint::from(10u8).pow(u32::from(self.scales[1 - asset]));
        BigUint::from(amount.value()) * self.prices[asset].value() * lift
    }

    fn wealth(&self) -> BigUint {
        let notes = self
            .notes
            .index
            .claim_floor(self.note_units)
            .expect("small");
        let shares = share_claim(self.share_units, self.share_value, self.share_units_total);
        let held = [self.purse[0], notes, shares.unwrap_or(Amount::ZERO)];
        let first: BigUint = held.iter().map(|&amount| self.worth(0, amount)).sum();
        first + self.worth(1, self.purse[1])
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Swap { from, part, spread } => self.swap(from, part, spread),
            Step::DepositNote(part) => {
                let deposit = part_of(self.purse[0], part);
                if let Some(units) = self.notes.index.units_for_deposit_floor(deposit) {
                    self.purse[0] = minus(self.purse[0], deposit);
                    self.note_units = plus(self.note_units, units);
                    self.notes.units = plus(self.notes.units, units);
                }
            }
            Step::WithdrawNote(part) => {
                let units = part_of(self.note_units, part);
                let paid = self.notes.index.claim_floor(units).expect("small");
                self.note_units = minus(self.note_units, units);
                self.notes.units = minus(self.notes.units, units);
                self.purse[0] = plus(self.purse[0], paid);
            }
            Step::DepositShare(part) => {
                let deposit = part_of(self.purse[0], part);
                if let Some(units) =
                    share_units_for_deposit(deposit, self.share_value, self.share_units_total)
                {
                    self.purse[0] = minus(self.purse[0], deposit);
                    self.share_value = plus(self.share_value, deposit);
                    self.share_units = plus(self.share_units, units);
                    self.share_units_total = plus(self.share_units_total, units);
                }
            }
            Step::WithdrawShare(part) => {
                let units = part_of(self.share_units, part);
                let paid = share_claim(units, self.share_value, self.share_units_total)
                    .unwrap_or(Amount::ZERO);
                self.share_units = minus(self.share_units, units);
                self.share_units_total = minus(self.share_units_total, units);
                self.share_value = minus(self.share_value, paid);
                self.purse[0] = plus(self.purse[0], paid);
            }
            Step::Raise(part) => self.raise(part),
        }
    }

    fn swap(&mut self, from: usize, part: u8, spread: u32) {
        let paid = part_of(self.purse[from], part);
        let Some(rate) = self.rate(from) else { return };
        let Some(quote) = quote(rate, paid, Ppm(spread)) else {
            return;
        };
        self.purse[from] = minus(self.purse[from], paid);
        self.purse[1 - from] = plus(self.purse[1 - from], quote.out_net);
        if from == 1 {
            // A fee in the first asset is the share holders'.
            self.share_value = plus(self.share_value, quote.fee);
        }
    }

    /// Raises the index; what the caller's notes and shares gain or lose by it is the quoted rate, no milking.
    fn raise(&mut self, part: u8) {
        let before = self.wealth();
        let due = Amount::new(self.notes.claims_ceil().value() * u128::from(part) / 1_000);
        let rate = pay_note_rate(due, Amount::ZERO, self.share_value, self.notes);
        self.notes.index = rate.index_after;
        self.share_value = minus(self.share_value, rate.from_shares);
        let after = self.wealth();
        // One unit of each claim's rounding may come to light with it.
        let rounding = self.worth(0, Amount::new(2));
        if after > before {
            self.raised += after - before;
        }
        self.raised += rounding;
    }
}

fn part_of(amount: Amount, part: u8) -> Amount {
    amount
        .mul_div_floor(part.into(), 255)
        .expect("a part of the whole")
}

fn plus(amount: Amount, more: Amount) -> Amount {
    amount.checked_add(more).expect("small")
}

fn minus(amount: Amount, less: Amount) -> Amount {
    amount.checked_sub(less).expect("covered")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn no_sequence_at_constant_prices_gains(
        prices in (1u128..1 << 60, 1u128..1 << 60),
        scales in (0u8..=18, 0u8..=18),
        purse in (0u128..1 << 50, 0u128..1 << 50),
        notes in (1u128..1 << 50, RAY / 3..3 * RAY),
        shares in (1u128..1 << 50, 1u128..1 << 50),
        steps in prop::collection::vec(any_step(), 1..40),
    ) {
        let price = |value| Price::new(value).expect("a price");
        let mut world = World {
            prices: [price(prices.0), price(prices.1)],
            scales: [scales.0, scales.1],
            purse: [Amount::new(purse.0), Amount::new(purse.1)],
            notes: Notes { units: Amount::new(notes.0), index: Index(notes.1) },
            notes_of_others: Amount::new(notes.0),
            note_units: Amount::ZERO,
            share_value: Amount::new(shares.0),
            share_units_total: Amount::new(shares.1),
            share_units: Amount::ZERO,
            raised: BigUint::ZERO,
        };
        let before = world.wealth();
        for step in steps {
            world.step(step);
            prop_assert!(world.wealth() <= &before + &world.raised, "after {:?}", step);
            prop_assert!(world.notes.units >= world.notes_of_others);
        }
    }

    #[test]
    fn there_and_back_never_profits(
        prices in (1u128..=PRICE_MAX, 1u128..=PRICE_MAX), scales in (0u8..=18, 0u8..=18), amount in any::<u64>(),
    ) {
        let price = |value| Price::new(value).expect("a price");
        let there = Rate::between(price(prices.0), scales.0, price(prices.1), scales.1);
        let back = Rate::between(price(prices.1), scales.1, price(prices.0), scales.0);
        let (Some(there), Some(back)) = (there, back) else { return Ok(()) };
        let bought = there.convert_floor(Amount::from(amount)).expect("64 bits times under 2^64");
        if let Some(returned) = back.convert_floor(bought) {
            prop_assert!(returned <= Amount::from(amount));
        }
    }
}

#[test]
fn there_and_back_never_profits_anywhere_in_a_small_domain() {
    for price_in in 1..12 {
        for price_out in 1..12 {
            for (scale_in, scale_out) in [(0, 0), (0, 1), (1, 0), (2, 1)] {
                let price = |value| Price::new(value).expect("a price");
                let there = Rate::between(price(price_in), scale_in, price(price_out), scale_out)
                    .expect("in range");
                let back = Rate::between(price(price_out), scale_out, price(price_in), scale_in)
                    .expect("in range");
                for amount in 0..200 {
                    let bought = there.convert_floor(Amount::new(amount)).expect("small");
                    let exact_in = amount * price_in * 10u128.pow(u32::from(scale_out));
                    let exact_unit = price_out * 10u128.pow(u32::from(scale_in));
                    assert!(bought.value() * exact_unit <= exact_in);
                    // And no more than the last unit is kept back.
                    assert!((bought.value() + 1) * exact_unit >= exact_in);
                    assert!(back.convert_floor(bought).expect("small").value() <= amount);
                }
            }
        }
    }
}

/// Prints nanoseconds for one quote with size and skew; judges nothing.
#[test]
fn the_cost_of_a_quote_is_printed() {
    let price = |value| Price::new(value).expect("a price");
    let rate = Rate::between(price(3_500_000_000_000_000), 9, price(1_000_000_000_000), 6)
        .expect("in range");
    let policy = SpreadPolicy {
        floor_ppm: Ppm(500),
        volatility_multiplier_ppm: Ppm(500_000),
        holding_time_ms: forebay_quantity::Milliseconds(60_000),
        size_ppm_per_depth: Ppm(1_000),
        depth: Amount::new(1_000_000_000_000),
        skew_ppm_max: Ppm(400),
    };
    let inventory = |position| Inventory {
        position: Amount::new(position),
        target: Amount::new(5_000_000_000_000),
        range: Amount::new(2_000_000_000_000),
    };
    let steps = 1_000_000u64;
    let before = processor_ns();
    let mut paid = 0u128;
    for at in 0..steps {
        let amount = Amount::from(100_000 + at);
        let lean = skew(
            &inventory(4_000_000_000_000 + u128::from(at)),
            &inventory(6_000_000_000_000),
            policy.skew_ppm_max,
        );
        let spread = policy.half_spread_ceil(Ppm(700), amount, lean);
        paid += quote(rate, amount, spread).expect("small").out_net.value();
    }
    println!("{} ns a quote", (processor_ns() - before) / steps);
    assert!(paid > 0);
}

/// What this thread has spent on a processor, by the kernel's own count: other load does not show in it.
fn processor_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let spent = text.split_whitespace().next().expect("three numbers");
    spent.parse().expect("a number")
}
