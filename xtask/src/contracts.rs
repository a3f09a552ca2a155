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
        [word] if word == "slither" => {
            setup::run(&[])?;
            slither()
        }
        _ => bail!("cargo xtask contracts build|check|gas|slither"),
    }
}

const SLITHER: &str = "slither-analyzer==0.11.6";
/// How many findings of each kind contracts/evm/README.md answers, one kind a line.
const SLITHER_ANSWERED: &str = "contracts/evm/slither-answered.txt";

/// Installs slither beside the build, runs it on the sources alone, and holds what it finds to what was answered.
fn slither() -> Result<()> {
    let venv = root().join("target/slither");
    if !venv.join("bin/slither").is_file() {
        run_command(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        run_command(Command::new(venv.join("bin/pip")).args(["install", "--quiet", SLITHER]))?;
    }
    let scratch = Scratch::new("slither")?;
    let (out, report) = (scratch.path.join("out"), scratch.path.join("report.json"));
    let mut build = forge("build")?;
    run_command(
        build
            .args(["--force", "--build-info", "--out"])
            .arg(&out)
            .arg("src"),
    )?;
    // It exits with an error when it finds anything; what it wrote says what.
    let tools = root().join(FORGE);
    let tools = tools.parent().context("forge lies in a folder")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let _found = Command::new(venv.join("bin/slither"))
        .args([".", "--ignore-compile", "--foundry-out-directory"])
        .arg(&out)
        .arg("--json")
        .arg(&report)
        .env("PATH", format!("{}:{path}", tools.display()))
        .current_dir(root().join(CONTRACTS))
        .output()
        .context("slither does not start")?;
    let text = std::fs::read_to_string(&report).context("slither wrote no report")?;
    let counts = count_findings(&text)?;
    let answered = std::fs::read_to_string(root().join(SLITHER_ANSWERED))?;
    if counts != answered {
        bail!(
            "slither finds\n{counts}and {SLITHER_ANSWERED} answers\n{answered}answer the rest in contracts/evm/README.md"
        );
    }
    println!("{counts}all answered in contracts/evm/README.md");
    Ok(())
}

/// One line a kind, `name count`, in the order of names.
fn count_findings(report: &str) -> Result<String> {
    let report: serde_json::Value = serde_json::from_str(report)?;
    let findings = report["results"]["detectors"].as_array();
    let mut counts = std::collections::BTreeMap::new();
    for finding in findings.into_iter().flatten() {
        let kind = finding["check"].as_str().unwrap_or_default().to_owned();
        *counts.entry(kind).or_insert(0) += 1;
    }
    Ok(counts
        .iter()
        .map(|(kind, count)| format!("{kind} {count}\n"))
        .collect())
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
