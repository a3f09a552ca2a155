//! Set-up, checks, demo and CI of this repository, as one command: `cargo xtask`.
//!
//! It starts other programs (cargo, npm, forge, the product's own binaries) and reads the checkout; it knows no
//! crate of the product. All I/O is here: processes and files, no network of its own.

mod bitcoind;
mod contracts;
mod process;
mod product;
mod research;
mod setup;
mod test;
mod tidy;
mod vectors;

use std::process::ExitCode;

use anyhow::{Result, bail};

/// One `cargo xtask` subcommand.
struct Subcommand {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<()>,
}

const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "setup",
        about: "install what the other commands need; does nothing when all is there",
        run: setup::run,
    },
    Subcommand {
        name: "test",
        about: "set up, then run every check; ends with `N passed, N failed`",
        run: test::run,
    },
    Subcommand {
        name: "tidy",
        about: "check crate arrows, banned types and words, invariants, links, licences, duplicates",
        run: tidy::run,
    },
    Subcommand {
        name: "research",
        about: "check: documents, citations, commands and diagrams of the research report",
        run: research::run,
    },
    Subcommand {
        name: "demo",
        about: "set up, then run the whole product once: [--json] [--keep]",
        run: product::demo,
    },
    Subcommand {
        name: "bitcoind",
        about: "build the Bitcoin node of tests and demo, once per machine; FOREBAY_BITCOIND names your own",
        run: bitcoind::run,
    },
    Subcommand {
        name: "sim",
        about: "run the simulator: --seeds N --seed S",
        run: product::sim,
    },
    Subcommand {
        name: "replay",
        about: "run a failure again that the simulator saved: FILE",
        run: product::replay,
    },
    Subcommand {
        name: "crash",
        about: "kill the real process under load and compare its books: --kills N, --rail lightning for payments over channels",
        run: product::crash,
    },
    Subcommand {
        name: "soak",
        about: "mix load, faults and kills, and end with the auditor's verdict: --minutes N --seed S",
        run: product::soak,
    },
    Subcommand {
        name: "fuzz",
        about: "hand mutated inputs to every decoder: --minutes N --seed S",
        run: product::fuzz,
    },
    Subcommand {
        name: "bench-peers",
        about: "measure the pool beside npm's ilp-connector, one load for both: [--json]",
        run: product::bench_peers,
    },
    Subcommand {
        name: "model",
        about: "walk through all that a channel's parties can do, deeper than the tests: --depth N",
        run: product::model,
    },
    Subcommand {
        name: "contracts",
        about: "build|gas: write the artifacts or the gas snapshots of the contracts; check: compare both, test; slither: lint",
        run: contracts::run,
    },
    Subcommand {
        name: "vectors",
        about: "write spec/vectors again, or --check that nothing would change",
        run: vectors::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace: these errors say what to do.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let Some((name, rest)) = arguments.split_first() else {
        print_usage();
        bail!("name a subcommand");
    };
    if matches!(name.as_str(), "help" | "-h" | "--help") {
        print_usage();
        return Ok(());
    }
    let Some(subcommand) = SUBCOMMANDS.iter().find(|s| s.name == name) else {
        print_usage();
        bail!("there is no subcommand `{name}`")
    };
    (subcommand.run)(rest)
}

fn print_usage() {
    eprintln!("cargo xtask <subcommand>\n");
    for subcommand in SUBCOMMANDS {
        eprintln!("  {:<11} {}", subcommand.name, subcommand.about);
    }
}
