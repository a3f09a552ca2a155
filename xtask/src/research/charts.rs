//! Charts are what their data say: the command that draws them would change none.

use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{capture, root};

const SCRIPT: &str = "tools/research/charts.cjs";

/// Draws all again and compares.
pub(super) fn check() -> Result<()> {
    let mut draw = Command::new("node");
    draw.args([SCRIPT, "--check"]).current_dir(root());
    capture(&mut draw).context("a chart is not what its data say")?;
    Ok(())
}
