//! The simulated world and its independent auditor.
//!
//! A seed decides everything: peers, liquidity providers, prices, blocks and reorgs, faults of disk, link, clock and
//! process. Two worlds of three list bitcoin beside the vaults, and settle it over a fake of Lightning. Around them runs the real sequencer over the real journal. After every step the auditor compares what the
//! pool did with naive books of its own and with the chain's; in the end the world heals, and all that was begun must
//! come to its end. There is no clock, no thread, no network and no file here; the binary saves what failed.

mod actions;
mod actor;
mod adapter;
mod auditor;
mod books;
mod chain;
mod counts;
mod events;
mod growth;
pub mod lightning;
mod liveness;
mod process;
mod random;
mod setup;
mod signing;
mod trace;
mod vault;
mod witness;
mod world;

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use counts::Counts;

/// Steps of a run, unless told otherwise.
pub const STEPS: u64 = 400;

/// A run to be made, or made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Decides everything.
    pub seed: u64,
    /// How many steps before healing.
    pub steps: u64,
}

/// A run in which something was not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The run.
    pub case: Case,
    /// The step at which it failed.
    pub step: u64,
    /// What is wrong, with its invariant in brackets.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, step, what } = self;
        write!(
            f,
            "seed {} fails at step {step} of {}: {what}",
            case.seed, case.steps
        )
    }
}

impl std::error::Error for Failure {}

/// Runs one world to its end; gives what it reached.
///
/// # Errors
/// The invariant that does not hold, or what was begun and does not end.
pub fn run(case: Case) -> Result<Counts, Failure> {
    trace::at(0);
    catch_unwind(AssertUnwindSafe(|| whole_run(case))).map_err(|panicked| Failure {
        case,
        step: trace::last_step(),
        what: words_of(&*panicked),
    })
}

/// Runs it again and gives its steps in words, with what it came to.
pub fn explain(case: Case) -> (Vec<String>, Result<Counts, Failure>) {
    trace::begin();
    let outcome = run(case);
    (trace::end(), outcome)
}

/// Keeps assertions that fail from printing themselves: [`run`] hands them back.
pub fn silence_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

fn whole_run(case: Case) -> Counts {
    let mut world = world::World::new(case.seed);
    for _ in 0..case.steps {
        world.one_step();
    }
    liveness::heal_and_check(&mut world);
    let faults = world.process.storage.fault_counts();
    for (kind, count) in [
        ("sync failed", faults.syncs_failed),
        ("write failed", faults.writes_failed),
        ("write short", faults.writes_short),
        ("write without space", faults.full),
        ("sector lost", faults.sectors_lost),
        ("sector torn", faults.sectors_torn),
    ] {
        if count > 0 {
            world.counts.add("fault", kind);
        }
    }
    world.counts
}

fn words_of(panicked: &(dyn Any + Send)) -> String {
    let text = panicked.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panicked.downcast_ref::<&str>().map(|&text| text.to_owned()));
    text.unwrap_or_else(|| "a panic without words".to_owned())
}
