//! One deliberate bug for each invariant in force, and some more on Bitcoin: the simulator finds each within 200 seeds, by its
//! own invariant.

use forebay_quantity::planted::{Bug, plant};
use forebay_sim::{Case, STEPS, run, silence_panics};

const SEEDS_MAX: u64 = 200;

/// The bug, and the invariants that may name it: with one broken, another's check may come first.
const BUGS: [(Bug, &[&str]); 21] = [
    (Bug::LegUncredited, &["[I1]"]),
    (Bug::PendingForgotten, &["[I2]"]),
    (Bug::LegsLeftPending, &["[I3]"]),
    (Bug::CeilingIgnored, &["[I4]"]),
    (Bug::SerialReused, &["[I5]"]),
    (Bug::EffectsAfterFailure, &["[I7]"]),
    (Bug::MarginForgotten, &["[I8]"]),
    (Bug::RoundedUp, &["[I9]"]),
    (Bug::AnswersLost, &["[I10]"]),
    (Bug::InstructionRepeated, &["[I11]"]),
    (Bug::SourcesUnbounded, &["[I12]"]),
    (Bug::NoticeIgnored, &["[I13]"]),
    (Bug::OldCopyAccepted, &["[I14]"]),
    (Bug::VaultNotLowered, &["[I15]"]),
    (Bug::PaidAgain, &["[I16]"]),
    (Bug::PaidBeforeJournalled, &["[I16]"]),
    (Bug::AmountUnchecked, &["[I16]"]),
    (Bug::ReceivedTwice, &["[I11]"]),
    (Bug::SpliceFeeForgotten, &["[I15]"]),
    (Bug::OpenedTwice, &["[I11]"]),
    (Bug::CapIgnored, &["[live]"]),
];

#[test]
fn each_planted_bug_is_found_by_its_invariant() {
    silence_panics();
    let mut missed = Vec::new();
    for (bug, names) in BUGS {
        plant(bug);
        let found = (1..=SEEDS_MAX).find_map(|seed| run(Case { seed, steps: STEPS }).err());
        match found {
            Some(failure) if names.iter().any(|name| failure.what.contains(name)) => {
                println!("{bug:?}: {failure}");
            }
            Some(failure) => missed.push(format!("{bug:?} is found as something else: {failure}")),
            None => missed.push(format!("{bug:?} is not found within {SEEDS_MAX} seeds")),
        }
    }
    plant(Bug::None);
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    let sound = run(Case {
        seed: 1,
        steps: STEPS,
    });
    assert!(sound.is_ok(), "without a bug: {sound:?}");
}
