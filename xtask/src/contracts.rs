//! `cargo xtask contracts`: builds the vault contracts, and checks that what is committed is what the source gives.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{root, run as run_command, run_watching};
use crate::setup;
use crate::test::{Tally, counted};

const FORGE: &str = "tools/evm/node_modules/@foundry-rs/forge-linux-amd64/bin/forge";
const CONTRACTS: &str = "contracts/evm";
const GAS_TESTS: &str = "test/Gas.t.sol";
const ARTIFACTS: &str = "contracts/evm/artifacts";

/// `build` writes the artifacts and `gas` the gas snapshots; `check` compares both with what the source gives, and runs
/// the tests.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    match arguments {
        [word] if word == "build" => {
            setup::run(&[])?;
            build_into(&root().join(ARTIFACTS))
        }
        [word] if word == "check" => {
            setup::run(&[])?;
            let tally = check();
            println!("{} passed, {} failed", tally.passed, tally.failed);
            if tally.failed > 0 {
                std::process::exit(1);
            }
            Ok(())
        }
        [word] if word == "gas" => {
            setup::run(&[])?;
            write_gas()
        }
        _ => bail!("cargo xtask contracts build|check|gas"),
    }
}

/// Each of the three parts is run, whatever the others say.
pub(crate) fn check() -> Tally {
    let mut tally = Tally::one(&check_artifacts());
    tally.add(forge_test());
    tally.add(check_gas());
    tally
}

fn build_into(artifacts: &Path) -> Result<()> {
    run_command(
        Command::new("node")
            .arg("tools/evm/artifacts.cjs")
            .arg(artifacts)
            .current_dir(root()),
    )
}

fn check_artifacts() -> Result<()> {
    let scratch = Scratch::new("artifacts")?;
    build_into(&scratch.path)?;
    let committed = files(&root().join(ARTIFACTS))?;
    let fresh = files(&scratch.path)?;
    let differing: Vec<&str> = names_of_both(&committed, &fresh)
        .into_iter()
        .filter(|name| content(&committed, name) != content(&fresh, name))
        .collect();
    if !differing.is_empty() {
        bail!(
            "{} in {ARTIFACTS} are not what the source gives: run `cargo xtask contracts build` and commit",
            differing.join(", ")
        );
    }
    Ok(())
}

type Files = Vec<(String, Vec<u8>)>;

fn files(folder: &Path) -> Result<Files> {
    let mut files = Vec::new();
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        files.push((
            entry.file_name().to_string_lossy().into_owned(),
            std::fs::read(entry.path())?,
        ));
    }
    Ok(files)
}

fn names_of_both<'a>(one: &'a Files, other: &'a Files) -> std::collections::BTreeSet<&'a str> {
    one.iter()
        .chain(other)
        .map(|(name, _)| name.as_str())
        .collect()
}

fn content<'a>(files: &'a Files, name: &str) -> Option<&'a [u8]> {
    files
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, content)| content.as_slice())
}

/// All tests but those that measure gas, which need a transaction for each call.
fn forge_test() -> Tally {
    count_forge(&["--no-match-path", GAS_TESTS])
}

/// Each call is a transaction of its own, and costs what `contracts/evm/snapshots/` says.
fn check_gas() -> Tally {
    let tally = count_forge(&[
        "--match-path",
        GAS_TESTS,
        "--isolate",
        "--gas-snapshot-check=true",
        "--gas-snapshot-emit=false",
    ]);
    if tally.failed > 0 {
        eprintln!(
            "if the gas was meant to change: `cargo xtask contracts gas`, and commit contracts/evm/snapshots/"
        );
    }
    tally
}

fn write_gas() -> Result<()> {
    let mut test = forge("test")?;
    run_command(test.args([
        "--match-path",
        GAS_TESTS,
        "--isolate",
        "--gas-snapshot-check=false",
        "--gas-snapshot-emit=true",
    ]))
}

fn count_forge(arguments: &[&str]) -> Tally {
    let mut tally = Tally::default();
    let outcome = forge("test").and_then(|mut test| {
        run_watching(test.args(arguments), |line| {
            if let Some(counted) = counted(line) {
                tally.add(counted);
            }
        })
    });
    tally.or_failed(&outcome)
}

fn forge(subcommand: &str) -> Result<Command> {
    let forge = root().join(FORGE);
    if !forge.is_file() {
        bail!("{FORGE} is missing: run `cargo xtask setup`");
    }
    let mut command = Command::new(forge);
    // foundry.toml names the compiler relative to where forge runs.
    command.arg(subcommand).current_dir(root().join(CONTRACTS));
    Ok(command)
}

/// A folder that goes away with its owner.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new(purpose: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!(
            "forebay-contracts-{purpose}-{}",
            std::process::id()
        ));
        std::fs::create_dir_all(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays in the temporary folder and harms nobody.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
