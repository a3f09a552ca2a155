//! `cargo xtask contracts`: builds the vault contracts, and checks that what is committed is what the source gives.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{root, run as run_command, run_watching};
use crate::setup;
use crate::test::{Tally, counted};

const FORGE: &str = "tools/evm/node_modules/@foundry-rs/forge-linux-amd64/bin/forge";
const CONTRACTS: &str = "contracts/evm";
const ARTIFACTS: &str = "contracts/evm/artifacts";

/// `build` writes the artifacts; `check` compares them with a fresh build, then runs the tests and the gas snapshot.
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
        _ => bail!("cargo xtask contracts build|check"),
    }
}

/// Each of the three parts is run, whatever the others say.
pub(crate) fn check() -> Tally {
    let mut tally = Tally::one(&check_artifacts());
    tally.add(forge_test());
    tally.add(Tally::one(&check_gas()));
    tally
}

fn build_into(artifacts: &Path) -> Result<()> {
    let scratch = Scratch::new("build")?;
    let out = scratch.path.join("out");
    let mut build = forge("build")?;
    build
        .arg("--out")
        .arg(&out)
        .arg("--cache-path")
        .arg(scratch.path.join("cache"));
    run_command(&mut build)?;
    std::fs::create_dir_all(artifacts)?;
    run_command(
        Command::new("node")
            .arg("tools/evm/artifacts.cjs")
            .arg(&out)
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

fn forge_test() -> Tally {
    let mut tally = Tally::default();
    let outcome = forge("test").and_then(|mut test| {
        run_watching(&mut test, |line| {
            if let Some(counted) = counted(line) {
                tally.add(counted);
            }
        })
    });
    tally.or_failed(&outcome)
}

fn check_gas() -> Result<()> {
    let mut snapshot = forge("snapshot")?;
    snapshot.args(["--isolate", "--check"]);
    run_command(&mut snapshot).context(
        "gas differs from contracts/evm/.gas-snapshot: if that is meant, write it again by `forge snapshot --isolate`",
    )
}

fn forge(subcommand: &str) -> Result<Command> {
    let forge = root().join(FORGE);
    if !forge.is_file() {
        bail!("{FORGE} is missing: run `cargo xtask setup`");
    }
    let mut command = Command::new(forge);
    command
        .args([subcommand, "--root", CONTRACTS])
        .current_dir(root());
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
