//! `cargo xtask test`: every check of the repository, one after the other, each timed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::bitcoind::{self, Beside};
use crate::contracts;
use crate::process::{cargo, run as run_command, run_watching};
use crate::product;
use crate::research;
use crate::setup;
use crate::tidy;
use crate::vectors;

/// How many checks of a step passed and failed.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    /// A step that is one check.
    pub(crate) fn one(result: &Result<()>) -> Self {
        match result {
            Ok(()) => Self {
                passed: 1,
                failed: 0,
            },
            Err(error) => {
                eprintln!("error: {error:#}");
                Self {
                    passed: 0,
                    failed: 1,
                }
            }
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// What was counted from a program's output; a program that failed without counting a failure counts as one.
    pub(crate) fn or_failed(mut self, outcome: &Result<bool>) -> Self {
        if let Err(error) = outcome {
            eprintln!("error: {error:#}");
        }
        if !matches!(outcome, Ok(true)) && self.failed == 0 {
            self.failed = 1;
        }
        self
    }
}

/// One timed part of the whole.
struct Step {
    name: &'static str,
    run: fn() -> Tally,
}

const STEPS: &[Step] = &[
    Step {
        name: "setup",
        run: || Tally::one(&setup::run(&[])),
    },
    Step {
        name: "fmt",
        run: || Tally::one(&fmt()),
    },
    Step {
        name: "tidy",
        run: || Tally::one(&tidy::run(&[])),
    },
    Step {
        name: "research",
        run: || Tally::one(&research::check()),
    },
    Step {
        name: "vectors",
        run: || Tally::one(&vectors::check()),
    },
    Step {
        name: "contracts",
        run: contracts::check,
    },
    Step {
        name: "build",
        run: || Tally::one(&build()),
    },
    Step {
        name: BITCOIND,
        run: || Tally::one(&bitcoind::run(&[])),
    },
    Step {
        name: "cargo test",
        run: cargo_test,
    },
    Step {
        name: "planted bugs",
        run: planted_bugs,
    },
    Step {
        name: "simulator",
        run: || Tally::one(&product::sim(&words("--seeds 200 --seed 1"))),
    },
    Step {
        name: "crash",
        run: crash,
    },
    Step {
        name: "soak",
        run: || Tally::one(&product::soak(&words("--minutes 0.2"))),
    },
    Step {
        name: "fuzz",
        run: || Tally::one(&product::fuzz(&words("--minutes 0.1"))),
    },
    Step {
        name: "demo",
        run: || Tally::one(&product::demo(&words("--json"))),
    },
    Step {
        name: "web",
        run: web,
    },
    Step {
        name: "clippy",
        run: || Tally::one(&clippy()),
    },
];

/// Built beside the steps between set-up, which installs from Debian too, and the first that needs it.
const BITCOIND: &str = "bitcoind";
const NEED_BITCOIND: &[&str] = &["cargo test", "crash", "demo", "web"];

/// Runs all steps, or those named; a failed step does not stop the next.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(unknown) = arguments
        .iter()
        .find(|a| STEPS.iter().all(|s| s.name != **a))
    {
        let names: Vec<_> = STEPS.iter().map(|s| s.name).collect();
        bail!(
            "there is no step `{unknown}`; the steps are: {}",
            names.join(", ")
        );
    }
    let chosen: Vec<_> = STEPS.iter().filter(|s| is_run(s.name, arguments)).collect();
    let first_after_setup = chosen.iter().position(|step| step.name != "setup");
    let (all_started, mut results, mut beside) = (Instant::now(), Vec::new(), None);
    for (index, step) in chosen.into_iter().enumerate() {
        eprintln!("\n== {}", step.name);
        if Some(index) == first_after_setup && is_run(BITCOIND, arguments) {
            beside = Some(bitcoind::beside());
        }
        let (tally, took) = match beside.take_if(|_| step.name == BITCOIND) {
            Some(beside) => joined(beside),
            None => timed(step.run),
        };
        results.push((step.name, took, tally));
    }
    summarise(&results, all_started.elapsed())
}

fn is_run(step: &str, arguments: &[String]) -> bool {
    arguments.is_empty()
        || arguments.iter().any(|named| {
            named == step || (step == BITCOIND && NEED_BITCOIND.contains(&named.as_str()))
        })
}

fn timed(run: fn() -> Tally) -> (Tally, Duration) {
    let started = Instant::now();
    let tally = run();
    (tally, started.elapsed())
}

/// The minutes are its own, most of which it spent beside other steps.
fn joined(beside: Beside) -> (Tally, Duration) {
    let (result, took) = beside.join();
    (Tally::one(&result), took)
}

fn summarise(results: &[(&str, Duration, Tally)], all_took: Duration) -> Result<()> {
    let mut total = Tally::default();
    println!(
        "\n{:<14}{:>9}{:>9}{:>9}",
        "step", "minutes", "passed", "failed"
    );
    for (name, took, tally) in results {
        println!(
            "{name:<14}{:>9}{:>9}{:>9}",
            minutes(*took),
            tally.passed,
            tally.failed
        );
        total.add(*tally);
    }
    println!("{:<14}{:>9}", "all", minutes(all_took));
    println!("\n{} passed, {} failed", total.passed, total.failed);
    if total.failed > 0 {
        // Exits here, so that the count stays the last line.
        std::process::exit(1);
    }
    Ok(())
}

/// Minutes with two digits after the point.
fn minutes(took: Duration) -> String {
    let hundredths = took.as_millis() / 600;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn fmt() -> Result<()> {
    run_command(&mut cargo(&["fmt", "--all", "--check"]))
}

/// One build with the features that the tests use, so that nothing is compiled twice.
fn build() -> Result<()> {
    run_command(&mut cargo(&[
        "build",
        "--workspace",
        "--locked",
        "--bins",
        "--tests",
    ]))
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn cargo_test() -> Tally {
    counting(&["test", "--workspace", "--locked", "--no-fail-fast"])
}

/// Under packets alone, and with payments over Lightning under way.
fn crash() -> Tally {
    let mut tally = Tally::default();
    for arguments in ["--kills 30", "--rail lightning --kills 3"] {
        tally.add(Tally::one(&product::crash(&words(arguments))));
    }
    tally
}

/// Built apart, so that the bugs are in no other binary.
fn planted_bugs() -> Tally {
    let arguments = "test --locked --package forebay-sim --features planted-bugs --test planted";
    counting(&arguments.split(' ').collect::<Vec<_>>())
}

/// The dashboard of a running pool, in a real browser.
fn web() -> Tally {
    let mut tally = Tally::default();
    let outcome = setup::ensure_chromium().and_then(|()| {
        product::look(|line| {
            if let Some(counted) = counted(line) {
                tally.add(counted);
            }
        })
    });
    tally.or_failed(&outcome)
}

fn counting(arguments: &[&str]) -> Tally {
    let mut tally = Tally::default();
    let mut command = cargo(arguments);
    let outcome = run_watching(&mut command, |line| {
        if let Some(counted) = counted(line) {
            tally.add(counted);
        }
    });
    tally.or_failed(&outcome)
}

/// Reads `test result: ok. 3 passed; 0 failed; …` of libtest, and forge's `Suite result: …`. What is ignored or skipped
/// counts as failed: there is no such thing here.
pub(crate) fn counted(line: &str) -> Option<Tally> {
    let line = without_colours(line);
    let rest = line
        .strip_prefix("test result: ")
        .or_else(|| line.strip_prefix("Suite result: "))?;
    let mut tally = Tally::default();
    for part in rest.split([';', '.']) {
        let mut words = part.split_whitespace();
        let (Some(number), Some(what)) = (words.next(), words.next()) else {
            continue;
        };
        let Ok(number) = number.parse::<u64>() else {
            continue;
        };
        match what {
            "passed" => tally.passed += number,
            "failed" | "ignored" | "skipped" => tally.failed += number,
            _ => {}
        }
    }
    Some(tally)
}

/// Drops the escape sequences by which terminals are told colours.
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.split_once('m').map_or("", |(_, rest)| rest)
    })
}

fn clippy() -> Result<()> {
    run_command(&mut cargo(&[
        "clippy",
        "--workspace",
        "--locked",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BITCOIND, Tally, counted, is_run, minutes};

    #[test]
    fn the_line_that_libtest_prints_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s";
        assert_eq!(
            counted(line),
            Some(Tally {
                passed: 12,
                failed: 4
            })
        );
        assert_eq!(counted("running 3 tests"), None);
    }

    #[test]
    fn the_line_that_forge_prints_is_counted_through_its_colours() {
        let line = "Suite result: \u{1b}[32mok\u{1b}[0m. \u{1b}[32m5\u{1b}[0m passed; \u{1b}[31m0\u{1b}[0m failed; \u{1b}[33m2\u{1b}[0m skipped; finished in 1.2ms";
        assert_eq!(
            counted(line),
            Some(Tally {
                passed: 5,
                failed: 2
            })
        );
    }

    #[test]
    fn bitcoind_is_built_for_what_needs_it() {
        let named = |step: &str| is_run(BITCOIND, &[step.to_owned()]);
        assert!(is_run(BITCOIND, &[]) && named("demo") && named("bitcoind"));
        assert!(!named("fmt"));
    }

    #[test]
    fn minutes_have_two_digits() {
        assert_eq!(minutes(Duration::from_secs(90)), "1.50");
        assert_eq!(minutes(Duration::from_millis(600)), "0.01");
    }
}
