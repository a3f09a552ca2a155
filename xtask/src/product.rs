//! Subcommands that build a program of this workspace and hand their arguments on to it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bitcoind;
use crate::process::{capture, cargo, root, run as run_command, run_watching};
use crate::setup;

/// A program of this workspace, by its name.
struct Program(&'static str);

const FOREBAY: Program = Program("forebay");
/// The demonstration's counterparty on Lightning.
const LIGHTNING_PEER: Program = Program("forebay-lightning-peer");
const SIMULATOR: Program = Program("forebay-sim");
const MODEL: Program = Program("forebay-model");

/// Sets up, builds `forebay` and bitcoind side by side, runs `forebay demo`.
pub(crate) fn demo(arguments: &[String]) -> Result<()> {
    setup::run(&[])?;
    let beside = bitcoind::beside();
    let built = build(&[&FOREBAY, &LIGHTNING_PEER]);
    let (bitcoind, _took) = beside.join();
    built.and(bitcoind)?;
    start(&FOREBAY, "demo", arguments)
}

/// Kills the real process under load; its journals lie in the build folder, which is on a disk.
pub(crate) fn crash(arguments: &[String]) -> Result<()> {
    if arguments.iter().any(|argument| argument == "lightning") {
        bitcoind::run(&[])?;
    }
    let folder = folder_of_binaries()?.display().to_string();
    let folder = ["--folder".to_owned(), folder];
    run(&FOREBAY, "crash", &[&folder, arguments].concat())
}

/// Mixes load, faults and kills; its journals lie in the build folder, which is on a disk.
pub(crate) fn soak(arguments: &[String]) -> Result<()> {
    let folder = folder_of_binaries()?.display().to_string();
    let folder = ["--folder".to_owned(), folder];
    run(&FOREBAY, "soak", &[&folder, arguments].concat())
}

/// Measures the pool beside npm's ilp-connector; the journal lies in the build folder, which is on a disk.
pub(crate) fn bench_peers(arguments: &[String]) -> Result<()> {
    setup::run(&[])?;
    let folder = folder_of_binaries()?.display().to_string();
    let tools = root().join("tools/ilp").display().to_string();
    let words = ["peers", "--folder", &folder, "--tools", &tools].map(str::to_owned);
    run(&FOREBAY, "bench", &[&words, arguments].concat())
}

/// Mutates the committed inputs of every decoder.
pub(crate) fn fuzz(arguments: &[String]) -> Result<()> {
    let repository = ["--repository".to_owned(), root().display().to_string()];
    run(&FOREBAY, "fuzz", &[&repository, arguments].concat())
}

/// Runs seeds of the simulated world.
pub(crate) fn sim(arguments: &[String]) -> Result<()> {
    run(&SIMULATOR, "sim", arguments)
}

/// Walks through a channel's mixed world, as deep as it is told.
pub(crate) fn model(arguments: &[String]) -> Result<()> {
    build(&[&MODEL])?;
    let mut command = Command::new(folder_of_binaries()?.join(MODEL.0));
    run_command(command.args(arguments))
}

/// Runs a saved failure of the simulator again.
pub(crate) fn replay(arguments: &[String]) -> Result<()> {
    run(&SIMULATOR, "replay", arguments)
}

/// Runs the demonstration with a browser at the dashboard, handing each line to `see`; returns success.
pub(crate) fn look(see: impl FnMut(&str)) -> Result<bool> {
    setup::run(&[])?;
    build(&[&FOREBAY, &LIGHTNING_PEER])?;
    let folder = folder_of_binaries()?;
    let pictures = folder.parent().unwrap_or(&folder).join("dashboard");
    let mut command = Command::new(folder.join(FOREBAY.0));
    command.args(["demo", "--look"]).arg(pictures);
    run_watching(&mut command, see)
}

fn run(program: &Program, subcommand: &str, arguments: &[String]) -> Result<()> {
    build(&[program])?;
    start(program, subcommand, arguments)
}

fn start(program: &Program, subcommand: &str, arguments: &[String]) -> Result<()> {
    let mut command = Command::new(folder_of_binaries()?.join(program.0));
    run_command(command.arg(subcommand).args(arguments))
}

/// Where cargo unites features over what is built, a program built alone and the same one built beside its tests are two
/// builds. This makes the latter, by asking for the smallest test of the workspace too.
fn build(programs: &[&Program]) -> Result<()> {
    let named = programs.iter().flat_map(|program| ["--bin", program.0]);
    let smallest = ["--test", "arithmetic"];
    let whole = ["build", "--locked", "--workspace"].into_iter();
    let arguments: Vec<&str> = whole.chain(named).chain(smallest).collect();
    run_command(&mut cargo(&arguments))
}

fn folder_of_binaries() -> Result<PathBuf> {
    let text = capture(&mut cargo(&[
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
    ]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let target = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target directory")?;
    Ok(root().join(target).join("debug"))
}
