//! `forebay bench`: measures and prints, and never judges.

mod generator;
mod host;
mod packets;
mod pool;

pub(crate) use generator::{Closed, Connection, expiry};
pub(crate) use packets::PoolProcess;

use anyhow::{Result, anyhow};
use clap::Subcommand;

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Packets fulfilled across two assets over real BTP sockets, with every batch synced to disk.
    Packets(packets::Packets),
    /// The pool process that `packets` starts.
    #[command(hide = true)]
    Pool(pool::Pool),
}

impl Bench {
    /// Runs to the end, on a thread of its own, because it blocks.
    pub(crate) fn run(self, json: bool) -> Result<()> {
        let measure = move || match self {
            Self::Packets(packets) => packets.run(json),
            Self::Pool(pool) => pool.run(),
        };
        std::thread::spawn(measure)
            .join()
            .map_err(|_| anyhow!("the benchmark met a bug; its report is above"))?
    }
}
