//! `cargo xtask vectors`: the files in `spec/vectors/` that a script writes from packages which are not ours.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{root, run as run_command};
use crate::setup;

/// A script and the file that it writes, whose path is its one argument.
const SCRIPTS: &[(&str, &str)] = &[("tools/evm/digests.cjs", "spec/vectors/evm-digests.json")];

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
    for (script, vectors) in SCRIPTS {
        generate(script, &root().join(vectors))?;
    }
    Ok(())
}

pub(crate) fn check() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("forebay-vectors-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = SCRIPTS
        .iter()
        .try_for_each(|(script, vectors)| compare(script, vectors, &folder));
    std::fs::remove_dir_all(&folder)?;
    result
}

fn compare(script: &str, vectors: &str, folder: &Path) -> Result<()> {
    let fresh = folder.join("vectors.json");
    generate(script, &fresh)?;
    let committed =
        std::fs::read(root().join(vectors)).with_context(|| format!("cannot read {vectors}"))?;
    if std::fs::read(&fresh)? != committed {
        bail!(
            "{vectors} is not what {script} writes: run `cargo xtask vectors` and look at the difference"
        );
    }
    Ok(())
}

fn generate(script: &str, output: &Path) -> Result<()> {
    run_command(
        Command::new("node")
            .arg(script)
            .arg(output)
            .current_dir(root()),
    )
}
