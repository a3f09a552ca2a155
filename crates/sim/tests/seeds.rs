//! Many small worlds, all sound; and together they reach everything that can happen.

use forebay_sim::{Case, Counts, STEPS, run, silence_panics};

/// Runs seeds and adds up what they reached.
fn seeds(first: u64, count: u64) -> Counts {
    silence_panics();
    let mut counts = Counts::default();
    for seed in first..first + count {
        match run(Case { seed, steps: STEPS }) {
            Ok(reached) => counts.merge(&reached),
            Err(failure) => panic!("{failure}"),
        }
    }
    counts
}

#[test]
fn a_hundred_worlds_keep_every_invariant() {
    let counts = seeds(1, 100);
    assert!(counts.of("event", "PacketFulfilled") > 1_000);
}
