//! Each small world walked to its last state: what always holds does, and each ending is found. Each walk prints how many
//! states there are. [I4] [I5] [I13]

use forebay_model::properties::PAID_IN_FULL;
use forebay_model::scenarios::{MARGIN, MIXED, Scenario, named};
use forebay_model::{tell, walk};

/// As deep as the mixed world is walked here; `cargo xtask model --depth N` goes further.
const MIXED_DEPTH: usize = 6;

fn holds(name: &str) {
    let scenario = named(name).expect("a scenario of this name");
    let walk = walk(scenario.model, None);
    print!("{}", tell(scenario, &walk));
    assert!(walk.failures.is_empty(), "{name}: the way there is above");
    assert!(walk.states > 10_000, "{name} reaches nothing");
}

/// With this margin a voucher is lost although somebody acted, and the way there is told.
fn fails_with_margin(name: &'static str, margin: u8) {
    let mut model = named(name).expect("a scenario of this name").model;
    model.bounds.margin = margin;
    let scenario = Scenario { name, model };
    let walk = walk(model, None);
    println!("with a margin of {margin}:\n{}", tell(&scenario, &walk));
    let failed = walk
        .failures
        .iter()
        .find(|(property, _)| *property == PAID_IN_FULL);
    let (_, story) = failed.expect("the margin is too small");
    assert!(
        story.contains("Observe"),
        "somebody acted, and in vain:\n{story}"
    );
    assert!(
        story.contains("finish close"),
        "the close came first:\n{story}"
    );
}

#[test]
fn vouchers_are_paid_over_a_network_that_drops_doubles_and_reorders_and_through_crashes() {
    holds("network");
}

#[test]
fn a_tower_that_has_the_voucher_is_as_good_as_its_payee_awake() {
    holds("tower");
}

#[test]
fn a_dropped_block_and_a_failed_transaction_cost_nothing_within_the_margin() {
    holds("reorg");
}

#[test]
fn no_lowering_and_no_reorg_takes_what_was_counted_on() {
    holds("lowering");
}

#[test]
fn no_withdrawal_of_a_deposit_takes_what_was_counted_on() {
    holds("withdrawal");
}

#[test]
fn no_key_change_and_no_promise_above_the_ceiling_takes_what_was_counted_on() {
    holds("keys");
}

#[test]
fn net_offs_and_ends_signed_by_both_pay_both_in_full() {
    holds("net-off");
}

#[test]
fn a_margin_without_room_for_one_more_block_loses_a_voucher() {
    fails_with_margin("tower", MARGIN - 1);
}

#[test]
fn a_margin_without_room_for_a_reorg_loses_a_voucher() {
    fails_with_margin("reorg", MARGIN);
}

#[test]
fn the_first_deeds_of_the_mixed_world_break_nothing() {
    let walk = walk(MIXED.model, Some(MIXED_DEPTH));
    print!("{}", tell(&MIXED, &walk));
    assert!(walk.failures.is_empty(), "the way there is above");
}
