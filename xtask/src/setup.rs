//! `cargo xtask setup`: what the other commands need from this machine. Running it twice does nothing the second time.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{capture, root, run_aside};

const RUST_MIN: (u32, u32) = (1, 95);
const NODE_MAJOR_MIN: u32 = 18;
const NODE_INSTALL: &str =
    "apt-get update && apt-get install -y --no-install-recommends nodejs npm";
const ELECTRUM: &str = "/usr/bin/electrum";
/// Debian's: another one on the path may be too new for the pinned packages.
const PYTHON: &str = "/usr/bin/python3";
const ELECTRUM_INSTALL: &str =
    "apt-get update && apt-get install -y --no-install-recommends electrum python3-venv";
const CHROMIUM_INSTALL: &str =
    "apt-get update && apt-get install -y --no-install-recommends chromium";

/// Checks compilers and Node, then installs the locked npm packages of each folder in `tools/`.
pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    check_c_compiler()?;
    check_rust()?;
    let folders = npm_folders()?;
    if !folders.is_empty() {
        ensure_node()?;
    }
    for folder in folders {
        install_packages(&folder)?;
    }
    ensure_electrum()?;
    eprintln!("setup: done");
    Ok(())
}

fn check_c_compiler() -> Result<()> {
    let version = capture(Command::new("cc").arg("--version"))
        .context("no C compiler: run `apt-get install -y build-essential` as root")?;
    eprintln!("setup: C compiler  {}", first_line(&version));
    Ok(())
}

fn check_rust() -> Result<()> {
    let version = capture(Command::new("rustc").arg("--version"))?;
    let (major, minor) = major_minor(&version).context("cannot read the version of rustc")?;
    if (major, minor) < RUST_MIN {
        bail!(
            "rustc {major}.{minor} is too old: run `rustup update stable` (1.95 or newer is needed)"
        );
    }
    eprintln!("setup: Rust        {}", first_line(&version));
    Ok(())
}

fn ensure_node() -> Result<()> {
    if let Some(version) = node_version() {
        eprintln!("setup: Node        {version}");
        return Ok(());
    }
    let what = format!("Node {NODE_MAJOR_MIN} or newer with npm");
    install(&what, NODE_INSTALL)?;
    let version = node_version().with_context(|| {
        format!("the Node that apt installed is older than {NODE_MAJOR_MIN}: install a newer one by hand")
    })?;
    eprintln!("setup: Node        {version}");
    Ok(())
}

/// The version of Node when it is new enough and npm is there too.
fn node_version() -> Option<String> {
    let version = capture(Command::new("node").arg("--version")).ok()?;
    capture(Command::new("npm").arg("--version")).ok()?;
    let (major, _) = major_minor(&version)?;
    (major >= NODE_MAJOR_MIN).then(|| first_line(&version).to_owned())
}

/// The Lightning peer that is no LDK, and in `tools/electrumx` the server that it asks for the chain.
fn ensure_electrum() -> Result<()> {
    let mut python = Command::new(PYTHON);
    let can_make_environments = capture(python.args(["-c", "import ensurepip"])).is_ok();
    if !Path::new(ELECTRUM).is_file() || !can_make_environments {
        install("Electrum", ELECTRUM_INSTALL)?;
    }
    let folder = root().join("tools/electrumx");
    let (wanted, home) = (folder.join("requirements.txt"), folder.join(".venv"));
    // Copied there last, so that it is the stamp of a finished installation.
    let stamp = home.join("requirements.txt");
    let locked = std::fs::read(&wanted)?;
    if std::fs::read(&stamp).is_ok_and(|installed| installed == locked) {
        eprintln!("setup: packages    tools/electrumx is up to date");
        return Ok(());
    }
    eprintln!("setup: packages    installing tools/electrumx");
    let mut make = Command::new(PYTHON);
    run_aside(make.args(["-m", "venv", "--clear"]).arg(&home))?;
    let mut install = Command::new(home.join("bin/pip"));
    install
        .args([
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
        ])
        .arg("--requirement")
        .arg(&wanted);
    run_aside(&mut install)?;
    std::fs::write(&stamp, locked)?;
    Ok(())
}

/// What the dashboard is tested with: Debian's Chromium, or the one that `FOREBAY_CHROMIUM` names.
pub(crate) fn ensure_chromium() -> Result<()> {
    if has_chromium() {
        return Ok(());
    }
    install("Chromium", CHROMIUM_INSTALL)
        .context("FOREBAY_CHROMIUM can name one that lies elsewhere")?;
    if !has_chromium() {
        bail!("apt installed no Chromium: name one in FOREBAY_CHROMIUM");
    }
    Ok(())
}

fn has_chromium() -> bool {
    let named = std::env::var_os("FOREBAY_CHROMIUM").map(PathBuf::from);
    let known = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].map(PathBuf::from);
    named.into_iter().chain(known).any(|path| path.is_file())
}

/// Installs what is missing from Debian by a shell line, or says the line to run when nobody here may.
pub(crate) fn install(what: &str, line: &str) -> Result<()> {
    let Some(mut install) = as_root(line) else {
        bail!("{what} is missing: run `{line}` as root");
    };
    eprintln!("setup: {what} is missing, installing it from Debian");
    run_aside(&mut install)
}

/// The shell line as root, by sudo if need be; none when neither is possible without asking.
fn as_root(line: &str) -> Option<Command> {
    capture(Command::new("apt-get").arg("--version")).ok()?;
    let user_id = capture(Command::new("id").arg("-u")).ok()?;
    let mut command = if user_id.trim() == "0" {
        Command::new("sh")
    } else {
        capture(Command::new("sudo").args(["-n", "true"])).ok()?;
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "sh"]);
        sudo
    };
    command
        .args(["-c", line])
        .env("DEBIAN_FRONTEND", "noninteractive");
    Some(command)
}

/// Folders in `tools/` that have a package.json, in order of name.
fn npm_folders() -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(root().join("tools"))? {
        let folder = entry?.path();
        if folder.join("package.json").is_file() {
            folders.push(folder);
        }
    }
    folders.sort();
    Ok(folders)
}

fn install_packages(folder: &Path) -> Result<()> {
    let shown = folder.strip_prefix(root()).unwrap_or(folder).display();
    if is_installed(folder)? {
        eprintln!("setup: packages    {shown} is up to date");
        return Ok(());
    }
    eprintln!("setup: packages    installing {shown}");
    let mut install = Command::new("npm");
    install
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(folder);
    run_aside(&mut install)
}

/// npm writes `.package-lock.json` last, so it is the stamp of a finished installation.
fn is_installed(folder: &Path) -> Result<bool> {
    let lock = folder.join("package-lock.json");
    let locked = std::fs::metadata(&lock)
        .with_context(|| format!("{} is missing: commit it", lock.display()))?
        .modified()?;
    match std::fs::metadata(folder.join("node_modules/.package-lock.json")) {
        Ok(stamp) => Ok(stamp.modified()? >= locked),
        Err(_) => Ok(false),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("")
}

/// The first `a.b` in a version text such as `rustc 1.95.0 (…)` or `v20.20.2`.
fn major_minor(version: &str) -> Option<(u32, u32)> {
    let word = version.split_whitespace().find(|w| {
        w.trim_start_matches('v')
            .starts_with(|c: char| c.is_ascii_digit())
    })?;
    let mut numbers = word.trim_start_matches('v').split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::major_minor;

    #[test]
    fn versions_are_read_from_what_rustc_and_node_print() {
        assert_eq!(
            major_minor("rustc 1.95.0 (59807616e 2026-04-14)"),
            Some((1, 95))
        );
        assert_eq!(major_minor("v20.20.2"), Some((20, 20)));
        assert_eq!(major_minor("no number here"), None);
    }
}
