//! Runs seeds of the simulated world, and again the ones that failed.

use std::fs;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use forebay_sim::{Case, Counts, Failure, STEPS, explain, run, silence_panics};

const USAGE: &str = "usage: forebay-sim sim [--seeds N] [--seed S] [--steps N] [--save FILE]
       forebay-sim replay FILE";
/// A seed that takes longer is a failure too.
const SEED_TIME_MAX: Duration = Duration::from_secs(15);
/// Steps told before the failure.
const STEPS_TOLD: usize = 60;

fn main() -> ExitCode {
    silence_panics();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((command, rest)) if command == "sim" => sim(rest),
        Some((command, [file])) if command == "replay" => replay(file),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

struct Wanted {
    seeds: u64,
    first: u64,
    steps: u64,
    save: String,
}

fn parse(arguments: &[String]) -> Result<Wanted, String> {
    let mut wanted = Wanted {
        seeds: 100,
        first: 1,
        steps: STEPS,
        save: "target/sim-failure.txt".to_owned(),
    };
    for pair in arguments.chunks(2) {
        let [name, value] = pair else {
            return Err(USAGE.to_owned());
        };
        let number = || {
            value
                .parse()
                .map_err(|_| format!("{name} takes a number, and {value} is none\n{USAGE}"))
        };
        match name.as_str() {
            "--seeds" => wanted.seeds = number()?,
            "--seed" => wanted.first = number()?,
            "--steps" => wanted.steps = number()?,
            "--save" => value.clone_into(&mut wanted.save),
            _ => return Err(format!("{name} is not known\n{USAGE}")),
        }
    }
    Ok(wanted)
}

fn sim(arguments: &[String]) -> Result<(), String> {
    let wanted = parse(arguments)?;
    let mut counts = Counts::default();
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    for number in 0..wanted.seeds {
        let case = Case {
            seed: wanted.first + number,
            steps: wanted.steps,
        };
        let seed_began = Instant::now();
        let reached = run(case).map_err(|failure| save(&wanted.save, &failure))?;
        counts.merge(&reached);
        slowest = slowest.max(seed_began.elapsed());
        if slowest > SEED_TIME_MAX {
            return Err(format!(
                "seed {} took {slowest:?}, above {SEED_TIME_MAX:?}",
                case.seed
            ));
        }
        if (number + 1) % 50 == 0 || number + 1 == wanted.seeds {
            eprint!("\r{} of {} seeds", number + 1, wanted.seeds);
            let _shown = std::io::stderr().flush();
        }
    }
    eprintln!();
    println!("{counts}");
    println!(
        "{} seeds from {} on passed in {:.1?}, the slowest took {slowest:.1?}",
        wanted.seeds,
        wanted.first,
        began.elapsed()
    );
    Ok(())
}

/// Writes the failing case to a file; gives the message for the caller.
fn save(file: &str, failure: &Failure) -> String {
    let Case { seed, steps } = failure.case;
    let text = format!(
        "seed {seed}\nsteps {steps}\nstep {}\nwhat {}\n",
        failure.step, failure.what
    );
    let folder = std::path::Path::new(file).parent();
    let _made_or_there = folder.map(fs::create_dir_all);
    match fs::write(file, text) {
        Ok(()) => format!("{failure}\nsaved: run `cargo xtask replay {file}`"),
        Err(error) => format!("{failure}\nit cannot be saved to {file}: {error}"),
    }
}

fn replay(file: &str) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|value| value.trim().parse().ok());
        value.ok_or_else(|| format!("{file} has no line `{name}N`: it was not saved by `sim`"))
    };
    let case = Case {
        seed: field("seed ")?,
        steps: field("steps ")?,
    };
    let (steps, outcome) = explain(case);
    for step in &steps[steps.len().saturating_sub(STEPS_TOLD)..] {
        println!("{step}");
    }
    match outcome {
        Ok(_) => {
            println!("seed {} passes now", case.seed);
            Ok(())
        }
        Err(failure) => Err(failure.to_string()),
    }
}
