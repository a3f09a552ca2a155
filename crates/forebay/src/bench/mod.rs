//! `forebay bench`: measures and prints, and never judges.

mod chains;
mod connection;
mod conns;
mod core;
mod exchange;
mod generator;
mod growth;
mod host;
mod http;
mod latency;
mod packets;
mod peers;
mod pool;
mod process;
mod recovery;
mod single;
mod spread;

pub(crate) use connection::{Closed, Connection};
pub(crate) use generator::expiry;
pub(crate) use process::PoolProcess;

use anyhow::{Result, anyhow};
use clap::Subcommand;

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Packets fulfilled across two assets over real BTP sockets, with every batch synced to disk.
    Packets(packets::Packets),
    /// The same load spread over up to a thousand connections: speed, and memory for each.
    Conns(conns::Conns),
    /// What more accounts cost, up to a million: speed, memory, restart.
    Growth(growth::Growth),
    /// How long a pool takes to start again, by the length of its journal.
    Recovery(recovery::Recovery),
    /// Packets by HTTP, and reads of the operator's interface.
    Http(http::Http),
    /// The pool beside npm's ilp-connector, one load for both, turn by turn.
    Peers(peers::Peers),
    /// Settlements over a Lightning channel, restarts with many channels, and what settling costs a packet.
    Chains(chains::Chains),
    /// Vouchers signed and checked, on one thread.
    Vouchers(single::Vouchers),
    /// Quotes for packets across two assets, on one thread.
    Quotes(single::Quotes),
    /// The pool process that the others start.
    #[command(hide = true)]
    Pool(pool::Pool),
}

impl Bench {
    /// Runs to the end, on a thread of its own, because it blocks.
    pub(crate) fn run(self, json: bool) -> Result<()> {
        let measure = move || match self {
            Self::Packets(packets) => packets.run(json),
            Self::Conns(conns) => conns.run(json),
            Self::Growth(growth) => growth.run(json),
            Self::Recovery(recovery) => recovery.run(json),
            Self::Http(http) => http.run(json),
            Self::Peers(peers) => peers.run(json),
            Self::Chains(chains) => chains.run(json),
            Self::Vouchers(vouchers) => vouchers.run(json),
            Self::Quotes(quotes) => quotes.run(json),
            Self::Pool(pool) => pool.run(),
        };
        std::thread::spawn(measure)
            .join()
            .map_err(|_| anyhow!("the benchmark met a bug; its report is above"))?
    }
}
