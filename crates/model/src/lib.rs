//! Every order in which the parties of a channel can act, checked to the last state of small worlds.
//!
//! A pool, a peer, a watchtower and a chain share one channel. Each party decides by the real functions of
//! `forebay-channel`; the network drops, duplicates and reorders, actors crash and sleep, the chain drops its newest
//! block, payers give notices whenever they like. What always holds is checked in each state, and each ending, good or
//! bad, must be found. There is no clock, no thread of ours and no I/O here.
#![forbid(unsafe_code)]

pub mod actor;
pub mod chain;
pub mod properties;
pub mod scenarios;
mod signing;
pub mod world;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, Model};

use scenarios::Scenario;
pub use signing::signed;
use world::ChannelModel;

/// What walking through a world showed.
#[derive(Clone, Debug)]
pub struct Walk {
    /// States, each counted once.
    pub states: usize,
    /// The longest way to one of them that was walked.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// What always holds and did not, or must be found and was not, with the way there.
    pub failures: Vec<(&'static str, String)>,
    /// What had to be found and was, with the length of the way there.
    pub found: Vec<(&'static str, usize)>,
}

/// Walks through a world breadth first, to its end or to a depth.
#[must_use]
pub fn walk(model: ChannelModel, depth_max: Option<usize>) -> Walk {
    let began = Instant::now();
    let properties = model.properties();
    let mut builder = model.checker();
    if let Some(depth) = depth_max {
        builder = builder.target_max_depth(depth);
    }
    let checker = builder.spawn_bfs().join();
    let discoveries = checker.discoveries();
    let mut walk = Walk {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        took: began.elapsed(),
        failures: Vec::new(),
        found: Vec::new(),
    };
    for property in properties {
        let path = discoveries.get(property.name);
        match (property.expectation, path) {
            (Expectation::Sometimes, Some(path)) => {
                walk.found
                    .push((property.name, path.clone().into_actions().len()));
            }
            (Expectation::Sometimes, None) => {
                walk.failures
                    .push((property.name, "it never happens".to_owned()));
            }
            (Expectation::Always | Expectation::Eventually, Some(path)) => {
                let mut story = String::new();
                for (number, deed) in (1..).zip(path.clone().into_actions()) {
                    let _ = writeln!(story, "  {number:>2} {deed:?}");
                }
                walk.failures.push((property.name, story));
            }
            (Expectation::Always | Expectation::Eventually, None) => {}
        }
    }
    walk
}

/// A walk in words: how many states, what was found, and each failure with the way there.
#[must_use]
pub fn tell(scenario: &Scenario, walk: &Walk) -> String {
    let Walk {
        states,
        depth,
        took,
        ..
    } = walk;
    let name = scenario.name;
    let seconds = took.as_millis() / 1_000;
    let mut text = format!("{name}: {states} states, {depth} deeds deep, in {seconds} s\n");
    for (ending, steps) in &walk.found {
        let _ = writeln!(text, "{name}: found after {steps} deeds: {ending}");
    }
    for (property, story) in &walk.failures {
        let _ = writeln!(text, "{name}: DOES NOT HOLD: {property}\n{story}");
    }
    text
}
