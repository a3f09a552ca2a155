//! How bitcoind is built. All that decides what comes out is in constants, and their digest is in the name of what is cached.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::cache::hexadecimal;
use crate::process::{capture, cargo};
use crate::setup;

/// What a build makes; the first is the node.
pub(super) const FILES: &[&str] = &["bitcoind", "bitcoin-cli"];

/// The crate that carries Bitcoin Core's source, a snapshot between 30 and 31.
const CRATE: &str = "libbitcoinkernel-sys";
const CRATE_VERSION: &str = "0.4.1";
/// SHA-256 of the crate as the registry serves it.
const CRATE_CHECKSUM: &str = "345d18a1ce19a1becfcaaa066e3a60e9c7813ef5c23ea8c20704ca4ba1a46339";

/// The node and its command line alone. Tests never spend long in it, so a short build counts for more than fast code.
const OPTIONS: &[&str] = &[
    "-GNinja",
    "-DCMAKE_BUILD_TYPE=Release",
    "-DAPPEND_CXXFLAGS=-O1 -w",
    "-DBUILD_DAEMON=ON",
    "-DBUILD_CLI=ON",
    "-DBUILD_TESTS=OFF",
    "-DBUILD_BENCH=OFF",
    "-DBUILD_GUI=OFF",
    "-DBUILD_TX=OFF",
    "-DBUILD_UTIL=OFF",
    "-DBUILD_WALLET_TOOL=OFF",
    "-DBUILD_BITCOIN_BIN=OFF",
    "-DBUILD_FUZZ_BINARY=OFF",
    "-DENABLE_WALLET=OFF",
    "-DENABLE_EXTERNAL_SIGNER=OFF",
    "-DENABLE_IPC=OFF",
    "-DWITH_ZMQ=OFF",
    "-DWITH_EMBEDDED_ASMAP=OFF",
    "-DINSTALL_MAN=OFF",
];

const INSTALL: &str = "apt-get update && apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends \
    cmake ninja-build g++ pkg-config libboost-dev libevent-dev";

/// The pause between two lines about progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(15);

/// Says what it is and how it was built.
pub(super) fn name() -> String {
    let mut digest = Sha256::new();
    for part in [CRATE, CRATE_VERSION, CRATE_CHECKSUM].iter().chain(OPTIONS) {
        digest.update(part.as_bytes());
        digest.update([0]);
    }
    let digest = hexadecimal(&digest.finalize());
    format!("bitcoind-{CRATE_VERSION}-{}", &digest[..16])
}

/// Builds into the folder, which is empty and keeps only what is asked for.
pub(super) fn build(folder: &Path) -> Result<()> {
    ensure_tools()?;
    let work = folder.join("work");
    eprintln!("bitcoind: building it, once for this machine (10 minutes of one core)");
    let source = fetch(&work)?;
    let build = work.join("build");
    configure(&source, &build)?;
    compile(&build)?;
    for name in FILES {
        let (from, to) = (build.join("bin").join(name), folder.join(name));
        capture(Command::new("strip").arg("-o").arg(&to).arg(&from))?;
    }
    let version = capture(Command::new(folder.join(FILES[0])).arg("--version"))
        .context("the bitcoind that was built does not run")?;
    eprintln!("bitcoind: built {}", version.lines().next().unwrap_or(""));
    Ok(std::fs::remove_dir_all(work)?)
}

fn ensure_tools() -> Result<()> {
    if has_tools() {
        return Ok(());
    }
    setup::install("what bitcoind is built with", INSTALL)?;
    ensure!(
        has_tools(),
        "apt installed less than bitcoind is built with"
    );
    Ok(())
}

fn has_tools() -> bool {
    let runs = |program: &str, arguments: &[&str]| {
        capture(Command::new(program).args(arguments).stdin(Stdio::null())).is_ok()
    };
    let boost = [
        "-E",
        "-x",
        "c++",
        "-include",
        "boost/version.hpp",
        "/dev/null",
    ];
    runs("cmake", &["--version"])
        && runs("ninja", &["--version"])
        && runs("pkg-config", &["--exists", "libevent"])
        && runs("g++", &boost)
}

/// The source, by cargo from the registry, held to the checksum.
fn fetch(work: &Path) -> Result<std::path::PathBuf> {
    let scratch = work.join("scratch");
    std::fs::create_dir_all(scratch.join("src"))?;
    std::fs::write(scratch.join("src/lib.rs"), "")?;
    let manifest = format!(
        "[package]\nname = \"scratch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n{CRATE} = \"={CRATE_VERSION}\"\n"
    );
    std::fs::write(scratch.join("Cargo.toml"), manifest)?;
    let vendor = work.join("vendor");
    capture(
        cargo(&["vendor", "--quiet"])
            .arg(&vendor)
            .current_dir(&scratch),
    )
    .with_context(|| format!("cargo cannot fetch {CRATE} {CRATE_VERSION}"))?;
    let place = vendor.join(CRATE);
    let noted = std::fs::read_to_string(place.join(".cargo-checksum.json"))?;
    let noted: Value = serde_json::from_str(&noted)?;
    ensure!(
        noted["package"] == CRATE_CHECKSUM,
        "{CRATE} {CRATE_VERSION} is not the crate that was looked at: its checksum is {}",
        noted["package"]
    );
    Ok(place.join("bitcoin"))
}

fn configure(source: &Path, build: &Path) -> Result<()> {
    let mut command = nice("cmake");
    command.arg("-S").arg(source).arg("-B").arg(build);
    capture(command.args(OPTIONS)).map(drop)
}

fn compile(build: &Path) -> Result<()> {
    let mut command = nice("ninja");
    command.arg("-C").arg(build).args(FILES);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("standard output is piped")?;
    let said = watch(BufReader::new(output).lines().map_while(Result::ok));
    let status = child.wait()?;
    if !status.success() {
        bail!("bitcoind does not build ({status}):\n{}", said.join("\n"));
    }
    Ok(())
}

/// Prints a line about progress now and then; returns the last lines, which say what failed.
fn watch(lines: impl Iterator<Item = String>) -> Vec<String> {
    const KEPT_MAX: usize = 40;
    let mut kept = std::collections::VecDeque::new();
    let mut told = Instant::now();
    for line in lines {
        if told.elapsed() >= PROGRESS_EVERY
            && let Some((built, all)) = progress(&line)
        {
            eprintln!("bitcoind: {built} of {all} objects built");
            told = Instant::now();
        }
        kept.push_back(line);
        if kept.len() > KEPT_MAX {
            kept.pop_front();
        }
    }
    kept.into()
}

/// Reads `[12/276] Building …` as ninja prints it.
fn progress(line: &str) -> Option<(u32, u32)> {
    let (built, rest) = line.strip_prefix('[')?.split_once('/')?;
    let (all, _) = rest.split_once(']')?;
    Some((built.parse().ok()?, all.parse().ok()?))
}

/// Behind whatever else this machine does.
fn nice(program: &str) -> Command {
    let mut command = Command::new("nice");
    command.args(["-n", "10", program]);
    command
}

#[cfg(test)]
mod tests {
    use super::{name, progress};

    #[test]
    fn progress_is_read_from_what_ninja_prints() {
        let line = "[12/276] Building CXX object src/CMakeFiles/bitcoin_node.dir/init.cpp.o";
        assert_eq!(progress(line), Some((12, 276)));
        for other in ["ninja: no work to do.", "[12] x", "[a/b] x"] {
            assert_eq!(progress(other), None, "{other}");
        }
    }

    #[test]
    fn the_name_is_a_folder_of_its_own_for_each_recipe() {
        let name = name();
        let (_, digest) = name.rsplit_once('-').expect("it ends with a digest");
        assert!(
            name.starts_with("bitcoind-0.4.1-") && digest.len() == 16,
            "{name}"
        );
    }
}
