//! `forebay demo`.

use clap::Args;

/// Arguments of `forebay demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Leave everything running and say how to look at it.
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(crate) async fn run(self, json: bool) -> anyhow::Result<()> {
        anyhow::bail!("{} {}", json, self.keep)
    }
}
