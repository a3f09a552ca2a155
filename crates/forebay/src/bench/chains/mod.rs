//! `forebay bench chains`: settlements over one Lightning channel, restarts with many, and what settling costs a packet.

mod ends;
mod settling;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use forebay_chain_bitcoin::lightning::bench::{SettlementLoad, settlements};
use serde::Serialize;

use super::growth::millis;
use super::host::{Host, Scratch, cpu_us};
use super::latency::each;
use crate::{output, runtime};
use ends::{Ends, FIRST_SAT};
use settling::{Settling, Shared};

/// What one settlement pays while they are counted.
const AMOUNT_MSAT: u64 = 1_000;
/// Settlements before those that are measured.
const WARM_UP: u32 = 10;
/// Openings come four to a block: more channels take longer than anybody waits.
const CHANNELS_MAX: u32 = 400;
/// BOLT 2 lets so many be under way in one direction of a channel.
const AT_ONCE_MAX: u32 = 483;

/// Measures settlements over Lightning.
#[derive(Debug, Args)]
pub(crate) struct Chains {
    /// Settlements under way together, one run for each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 40])]
    at_once: Vec<u32>,
    /// Settlements of each of those runs.
    #[arg(long, default_value_t = 500)]
    settlements: u32,
    /// Packets between two settlements, one run for each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 10_000])]
    settle_every: Vec<u32>,
    /// Settlements of each of those runs.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Channels that the node has when it is started again.
    #[arg(long, default_value_t = 100)]
    channels: u32,
    /// A bitcoind, which is run on regtest; `cargo xtask bitcoind` builds one.
    #[arg(
        long,
        env = "FOREBAY_BITCOIND",
        default_value = "tools/bitcoin/bitcoind"
    )]
    bitcoind: PathBuf,
    /// A folder on a real disk; the journal and the nodes' stores are made in it and removed afterwards.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Report {
    /// Over one channel.
    runs: Vec<Run>,
    packets: Vec<Shared>,
    restart: Restart,
    /// What others do in a second, and where that is from.
    references: &'static [Reference],
    #[serde(flatten)]
    host: Host,
    conditions: &'static str,
}

/// Settlements under way together.
#[derive(Debug, Serialize)]
struct Run {
    at_once: u32,
    settlements: u32,
    settlements_per_second: f64,
    p50_us: u64,
    p99_us: u64,
    /// Of both nodes.
    cpu_us_per_settlement: f64,
}

/// A start of wallet and node in their folder.
#[derive(Debug, Serialize)]
struct Restart {
    channels: u32,
    /// Until requests are taken.
    serves_ms: u64,
    /// Until a payment can go over every channel.
    usable_ms: u64,
}

/// What others do, not measured by this command.
#[derive(Debug, Serialize)]
struct Reference {
    node: &'static str,
    settlements_per_second: &'static str,
    conditions: &'static str,
}

const CONDITIONS: &str = "both nodes are this program's own, in one process, over loopback, with one channel of 2,000,000 sat on a bitcoind on \
    regtest; a settlement is an invoice asked for, paid, and reported as sent to the payer; each node's store is synced before a message leaves; \
    packets: the core and its journal, without sockets, BTC to BTC, 1,000 msat each, which wait for every settlement; CPU is that of the whole \
    process; restart: wallet and node, which had ended in order";

/// <https://github.com/getAlby/lightning-benchmark> has the published ones.
const REFERENCES: &[Reference] = &[
    Reference {
        node: "ldk-node 0.7.1, one by one",
        settlements_per_second: "9",
        conditions: "two nodes in one process, one channel, SQLite synced on a disk, 2 cores; by hand in November 2026",
    },
    Reference {
        node: "ldk-node 0.7.1, 45 at once",
        settlements_per_second: "75",
        conditions: "the same",
    },
    Reference {
        node: "lnd 0.12.1, bbolt",
        settlements_per_second: "33",
        conditions: "published in 2021: 10 channels, 100 workers, 8 virtual processors",
    },
    Reference {
        node: "c-lightning 0.9.3, SQLite",
        settlements_per_second: "61",
        conditions: "published in 2021: the same with 1 channel",
    },
    Reference {
        node: "eclair 0.6.1, SQLite",
        settlements_per_second: "89",
        conditions: "published in 2021: 10 channels, 100 workers, 8 virtual processors",
    },
];

impl Chains {
    pub(super) fn run(self, json: bool) -> Result<()> {
        ensure!(
            self.at_once
                .iter()
                .all(|at_once| (1..=AT_ONCE_MAX).contains(at_once)),
            "1 to {AT_ONCE_MAX} payments are under way in a channel"
        );
        ensure!(
            (1..=CHANNELS_MAX).contains(&self.channels),
            "the node has 1 to {CHANNELS_MAX} channels here"
        );
        ensure!(
            self.settlements > 0 && self.rounds > 0 && self.settle_every.iter().all(|n| *n > 0),
            "a run has one settlement and one packet at least"
        );
        let settled: u64 = self.settle_every.iter().copied().map(u64::from).sum();
        let counted = u64::from(self.settlements) * u64::try_from(self.at_once.len())?;
        ensure!(
            settled.saturating_mul(u64::from(self.rounds)) + counted <= FIRST_SAT * 9 / 10,
            "a packet and a settlement take a satoshi each of the channel, which has {FIRST_SAT}: fewer of them, please"
        );
        let host = Host::look(&self.folder)?;
        let scratch = Scratch::new(&self.folder)?;
        let report = runtime(2)?.block_on(self.measure(scratch.path(), host))?;
        output::show(json, &report, print)
    }

    async fn measure(&self, folder: &Path, host: Host) -> Result<Report> {
        let mut ends = Ends::start(&self.bitcoind, folder, self.channels).await?;
        ends.open(1).await?;
        let runs = self.count(&mut ends).await?;
        let mut settling = Settling::found(folder, &mut ends)?;
        let mut packets = Vec::new();
        for &settle_every in &self.settle_every {
            packets.push(settling.run(&mut ends, settle_every, self.rounds).await?);
        }
        settling.close()?;
        ends.open(self.channels).await?;
        let (serves, usable) = ends.restart().await?;
        Ok(Report {
            runs,
            packets,
            restart: Restart {
                channels: self.channels,
                serves_ms: millis(serves),
                usable_ms: millis(usable),
            },
            references: REFERENCES,
            host,
            conditions: CONDITIONS,
        })
    }

    async fn count(&self, ends: &mut Ends) -> Result<Vec<Run>> {
        let (payer, told, payee) = ends.parts();
        let mut load = SettlementLoad {
            count: WARM_UP,
            at_once: 1,
            amount_msat: AMOUNT_MSAT,
            first: 0,
        };
        settlements(payer, told, payee, load).await?;
        let mut runs = Vec::new();
        for &at_once in &self.at_once {
            load.first += u128::from(load.count);
            (load.count, load.at_once) = (self.settlements, at_once);
            let cpu_before = cpu_us(std::process::id())?;
            let seen = settlements(payer, told, payee, load).await?;
            let cpu_us = cpu_us(std::process::id())? - cpu_before;
            let per_1000_s = u64::try_from(seen.per_1000_s()).context("fewer than that")?;
            let us = |percent| u64::try_from(seen.percentile(percent).as_micros());
            runs.push(Run {
                at_once,
                settlements: self.settlements,
                settlements_per_second: each(per_1000_s, 1_000),
                p50_us: us(50)?,
                p99_us: us(99)?,
                cpu_us_per_settlement: each(cpu_us, u64::from(self.settlements)),
            });
        }
        Ok(runs)
    }
}

fn print(report: &Report) {
    let heads = [
        "at once",
        "settlements/s",
        "p50 µs",
        "p99 µs",
        "CPU µs each",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(report.runs.iter().map(|run| {
        vec![
            run.at_once.to_string(),
            run.settlements_per_second.to_string(),
            run.p50_us.to_string(),
            run.p99_us.to_string(),
            run.cpu_us_per_settlement.to_string(),
        ]
    }));
    rows.extend(report.references.iter().map(|reference| {
        vec![
            reference.node.to_owned(),
            reference.settlements_per_second.to_owned(),
        ]
    }));
    output::table(&rows);
    println!();
    let heads = [
        "packets a settlement",
        "µs/packet",
        "of it settling",
        "CPU µs/packet",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(report.packets.iter().map(|run| {
        vec![
            run.settle_every.to_string(),
            run.us_per_packet.to_string(),
            run.settling_us_per_packet.to_string(),
            run.cpu_us_per_packet.to_string(),
        ]
    }));
    output::table(&rows);
    let Restart {
        channels,
        serves_ms,
        usable_ms,
    } = report.restart;
    println!(
        "\nrestart with {channels} channels: serves after {serves_ms} ms, all channels usable after {usable_ms} ms"
    );
    report.host.print();
    println!("{}", report.conditions);
    for reference in report.references {
        println!("{}: {}", reference.node, reference.conditions);
    }
}
