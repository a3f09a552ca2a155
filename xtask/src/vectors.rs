//! `cargo xtask vectors`: the files in `spec/vectors/` that a script writes from packages which are not ours.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{root, run as run_command};
use crate::setup;

/// A script under `tools/` that writes vectors.
struct Script {
    path: &'static str,
    /// The one file it writes, whose path is its argument; a script with none writes several and checks them itself.
    output: Option<&'static str>,
}

const SCRIPTS: &[Script] = &[
    Script {
        path: "tools/evm/digests.cjs",
        output: Some("spec/vectors/evm-digests.json"),
    },
    Script {
        path: "tools/ilp/vectors.cjs",
        output: None,
    },
];

/// Writes the vectors again, or with `--check` compares what would be written with what is committed.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    setup::run(&[])?;
    match arguments {
        [] => write(),
        [flag] if flag == "--check" => check(),
        _ => bail!("cargo xtask vectors [--check]"),
    }
}

fn write() -> Result<()> {
    SCRIPTS
        .iter()
        .try_for_each(|script| run_command(&mut node(script)))
}

/// An error when a committed vector is not what its script writes.
pub(crate) fn check() -> Result<()> {
    for script in SCRIPTS {
        match script.output {
            Some(output) => compare(script, output)?,
            None => run_command(node(script).arg("--check"))?,
        }
    }
    Ok(())
}

fn compare(script: &Script, output: &str) -> Result<()> {
    let fresh = std::env::temp_dir().join(format!("forebay-vectors-{}.json", std::process::id()));
    run_command(node(script).arg(&fresh))?;
    let written = std::fs::read(&fresh)?;
    std::fs::remove_file(&fresh)?;
    let committed =
        std::fs::read(root().join(output)).with_context(|| format!("cannot read {output}"))?;
    if written != committed {
        bail!(
            "{output} is not what {} writes: run `cargo xtask vectors` and look at the difference",
            script.path
        );
    }
    Ok(())
}

fn node(script: &Script) -> Command {
    let mut command = Command::new("node");
    command.arg(script.path).current_dir(root());
    command
}
