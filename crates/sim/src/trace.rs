//! The steps of a run in words, kept only when somebody will read them.

use std::cell::{Cell, RefCell};

thread_local! {
    static STEPS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
    static STEP: Cell<u64> = const { Cell::new(0) };
}

/// Begins to keep steps.
pub(crate) fn begin() {
    STEPS.with(|steps| *steps.borrow_mut() = Some(Vec::new()));
}

/// Ends it and gives what was kept.
pub(crate) fn end() -> Vec<String> {
    STEPS
        .with(|steps| steps.borrow_mut().take())
        .unwrap_or_default()
}

/// Keeps a step; its words are made only when they are kept.
pub(crate) fn step(words: impl FnOnce() -> String) {
    STEPS.with(|steps| {
        if let Some(steps) = steps.borrow_mut().as_mut() {
            steps.push(words());
        }
    });
}

/// Notes which step the run is at.
pub(crate) fn at(step: u64) {
    STEP.with(|now| now.set(step));
    self::step(|| format!("step {step}"));
}

/// The step that the last run of this thread came to.
pub(crate) fn last_step() -> u64 {
    STEP.with(Cell::get)
}
