//! Exact products and quotients of 128-bit integers through a 256-bit intermediate.

const HALF_BITS: u32 = 64;
const HALF_MASK: u128 = (1 << HALF_BITS) - 1;

/// `a * b / denominator`, rounded down; `None` when `denominator` is zero or the quotient passes 128 bits.
#[inline]
#[must_use]
pub const fn mul_div_floor(a: u128, b: u128, denominator: u128) -> Option<u128> {
    match mul_div_rem(a, b, denominator) {
        Some((quotient, _)) => Some(quotient),
        None => None,
    }
}

/// `a * b / denominator`, rounded up; `None` when `denominator` is zero or the quotient passes 128 bits.
#[inline]
#[must_use]
pub const fn mul_div_ceil(a: u128, b: u128, denominator: u128) -> Option<u128> {
    match mul_div_rem(a, b, denominator) {
        Some((quotient, 0)) => Some(quotient),
        Some((quotient, _)) => quotient.checked_add(1),
        None => None,
    }
}

/// The whole product `a * b` as (high 128 bits, low 128 bits).
#[inline]
#[must_use]
pub const fn widening_mul(a: u128, b: u128) -> (u128, u128) {
    let (a_high, a_low) = (a >> HALF_BITS, a & HALF_MASK);
    let (b_high, b_low) = (b >> HALF_BITS, b & HALF_MASK);
    let low = a_low * b_low;
    let middle = a_high * b_low + (low >> HALF_BITS);
    let carry = a_low * b_high + (middle & HALF_MASK);
    let high = a_high * b_high + (middle >> HALF_BITS) + (carry >> HALF_BITS);
    (high, (carry << HALF_BITS) | (low & HALF_MASK))
}

#[inline]
const fn mul_div_rem(a: u128, b: u128, denominator: u128) -> Option<(u128, u128)> {
    if denominator == 0 {
        return None;
    }
    if let Some(product) = a.checked_mul(b) {
        return Some((product / denominator, product % denominator));
    }
    let (high, low) = widening_mul(a, b);
    if high >= denominator {
        return None;
    }
    Some(div_rem_wide(high, low, denominator))
}

/// Knuth's algorithm D (The Art of Computer Programming 4.3.1) for four 64-bit digits by two, `high < divisor`.
const fn div_rem_wide(high: u128, low: u128, divisor: u128) -> (u128, u128) {
    let shift = divisor.leading_zeros();
    let divisor = divisor << shift;
    let top = match shift {
        0 => high,
        _ => (high << shift) | (low >> (u128::BITS - shift)),
    };
    let low = low << shift;
    let (quotient_high, rest) = div_step(top, low >> HALF_BITS, divisor);
    let (quotient_low, rest) = div_step(rest, low & HALF_MASK, divisor);
    ((quotient_high << HALF_BITS) | quotient_low, rest >> shift)
}

/// One digit of the quotient of (`top`, `next`) by a normalised `divisor`, and what is left.
const fn div_step(top: u128, next: u128, divisor: u128) -> (u128, u128) {
    let (divisor_high, divisor_low) = (divisor >> HALF_BITS, divisor & HALF_MASK);
    let mut digit = top / divisor_high;
    let mut rest = top % divisor_high;
    // The guess is at most two too large, and `rest` passes the base by then.
    while digit > HALF_MASK || digit * divisor_low > ((rest << HALF_BITS) | next) {
        digit -= 1;
        rest += divisor_high;
        if rest > HALF_MASK {
            break;
        }
    }
    let taken = digit.wrapping_mul(divisor);
    let left = (top << HALF_BITS).wrapping_add(next).wrapping_sub(taken);
    (digit, left)
}
