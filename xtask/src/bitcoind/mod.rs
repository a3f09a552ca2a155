//! `cargo xtask bitcoind`: a Bitcoin node for tests and the demonstration, built once per machine.
//!
//! Debian has none, so it is built from Bitcoin Core's source as a crate of the Rust registry carries it. It has no wallet:
//! that part is not in the crate, and nothing here needs it.

mod cache;
mod recipe;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{capture, root};
use cache::Cache;

/// Names a bitcoind that the user has.
const OWN: &str = "FOREBAY_BITCOIND";
/// Where tests and the demonstration look for it, below the root.
const PLACE: &str = "tools/bitcoin/bitcoind";

/// Builds it unless this machine has it, and says where it is.
pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    let binary = ensure()?;
    println!("{}", binary.display());
    Ok(())
}

/// A build beside other work.
pub(crate) struct Beside(JoinHandle<(Result<PathBuf>, Duration)>);

/// Starts [`ensure`] on a thread of its own.
pub(crate) fn beside() -> Beside {
    Beside(std::thread::spawn(|| {
        let started = Instant::now();
        let result = ensure();
        (result, started.elapsed())
    }))
}

impl Beside {
    /// Waits for its end; also says how long it took.
    pub(crate) fn join(self) -> (Result<()>, Duration) {
        match self.0.join() {
            Ok((result, took)) => (result.map(|_binary| ()), took),
            Err(_) => (
                Err(anyhow::anyhow!("the build of bitcoind panicked")),
                Duration::ZERO,
            ),
        }
    }
}

/// The user's own, or the cached one, built when it is not there; linked to where tests look for it.
fn ensure() -> Result<PathBuf> {
    let binary = match std::env::var_os(OWN) {
        Some(own) => own_binary(own)?,
        None => cached_binary()?,
    };
    link(&binary, &root().join(PLACE))?;
    Ok(binary)
}

fn own_binary(own: OsString) -> Result<PathBuf> {
    let path = PathBuf::from(own);
    let version = capture(Command::new(&path).arg("--version"))
        .with_context(|| format!("{OWN} names {}, which does not run", path.display()))?;
    eprintln!("bitcoind: yours, {}", version.lines().next().unwrap_or(""));
    path.canonicalize()
        .with_context(|| format!("{OWN} must be a path to a file"))
}

fn cached_binary() -> Result<PathBuf> {
    let cache = Cache::new(&cache_folder()?, &recipe::name());
    let folder = cache.ensure(recipe::FILES, recipe::build)?;
    let binary = folder.join(recipe::FILES[0]);
    eprintln!("bitcoind: {}", binary.display());
    Ok(binary)
}

/// The user's folder for what can be made again.
fn cache_folder() -> Result<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    if let Some(folder) = named.filter(|folder| folder.is_absolute()) {
        return Ok(folder.join("forebay"));
    }
    match std::env::var_os("HOME") {
        Some(home) => Ok(PathBuf::from(home).join(".cache/forebay")),
        None => {
            bail!("neither XDG_CACHE_HOME nor HOME is set: set one, or name a bitcoind in {OWN}")
        }
    }
}

/// Puts a link in place in one step, so that whoever looks sees the old one or the new one.
fn link(target: &Path, place: &Path) -> Result<()> {
    if std::fs::read_link(place).is_ok_and(|linked| linked == target) {
        return Ok(());
    }
    let folder = place.parent().context("the link lies in a folder")?;
    std::fs::create_dir_all(folder)?;
    let fresh = folder.join(format!("bitcoind.{}", std::process::id()));
    std::os::unix::fs::symlink(target, &fresh)
        .and_then(|()| std::fs::rename(&fresh, place))
        .with_context(|| format!("cannot link {} to {}", place.display(), target.display()))
}
