//! Shares: parts of the whole basket, priced by its net value.

use forebay_quantity::Amount;

/// Units for a deposit at the basket's value before it, rounded down.
///
/// The first deposit mints one unit for each unit of value. `None` past 128 bits, or when units are out and worth
/// nothing: new money cannot buy into a loss.
#[must_use]
pub const fn share_units_for_deposit(
    deposit: Amount,
    net_value: Amount,
    units: Amount,
) -> Option<Amount> {
    if units.is_zero() {
        return Some(deposit);
    }
    deposit.mul_div_floor(units.value(), net_value.value())
}

/// What `units` of `units_total` claim of the basket's value, rounded down; `None` when there are no units.
#[must_use]
pub const fn share_claim(units: Amount, net_value: Amount, units_total: Amount) -> Option<Amount> {
    net_value.mul_div_floor(units.value(), units_total.value())
}
