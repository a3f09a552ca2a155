//! `forebay bench growth`: what more accounts cost, with the load spread over all of them.
//!
//! A million accounts cannot have a million sockets here, so the core takes the packets itself: the product's own
//! sequencer and journal, each batch synced, without links.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use forebay_pool::bounds::PEERS_MAX;
use serde::{Deserialize, Serialize};

use super::core::{Accounts, Core};
use super::host::{self, Host, Scratch};
use super::latency::{each, per_second};
use super::packets::{WARM_UP, WINDOW_MAX};
use super::process::PoolProcess;
use super::spread::Spread;
use crate::output;

/// Measures what more accounts cost.
#[derive(Debug, Args)]
pub(crate) struct Growth {
    /// Accounts, half of them sending on credit and half receiving on a channel each; one run for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000, 1_000_000])]
    accounts: Vec<u32>,
    /// Packets prepared, and packets fulfilled, in each batch.
    #[arg(long, default_value_t = 1_024)]
    window: u32,
    /// How long each run takes.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// A folder on a real disk; the journal is made in it and removed afterwards.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Report {
    window: u32,
    runs: Vec<Run>,
    #[serde(flatten)]
    host: Host,
    conditions: &'static str,
}

/// One run.
#[derive(Debug, Serialize, Deserialize)]
struct Run {
    accounts: u32,
    founding_ms: u64,
    /// What the core's memory grew by in the founding, for each account.
    core_bytes_per_account: u64,
    packets: u64,
    packets_per_second: u64,
    cpu_us_per_packet: f64,
    /// What it grew by under load, for each packet: answers remembered in case a link breaks.
    core_bytes_per_packet: u64,
    /// A whole pool process, started on the journal: until it serves.
    restart_ms: u64,
    /// Its memory then, for each account.
    process_bytes_per_account: u64,
}

const CONDITIONS: &str = "the core on one thread without sockets, packets from random accounts to random accounts, BTC/8 to ETH/9, all fulfilled, \
    each batch synced; half of the accounts send on credit, half receive, each on a channel of its own";

impl Growth {
    pub(super) fn run(self, json: bool) -> Result<()> {
        let most = u32::try_from(PEERS_MAX)?;
        ensure!(
            self.accounts.iter().all(|count| (2..=most).contains(count)),
            "a pool holds 2 to {most} accounts"
        );
        ensure!(
            (1..=WINDOW_MAX).contains(&self.window),
            "a window holds 1 to {WINDOW_MAX} packets"
        );
        let host = Host::look(&self.folder)?;
        let runs = match self.accounts[..] {
            [accounts] => vec![self.measure(accounts)?],
            _ => self.apart()?,
        };
        let report = Report {
            window: self.window,
            runs,
            host,
            conditions: CONDITIONS,
        };
        output::show(json, &report, print)
    }

    /// Each number in a process of its own, so that none inherits memory of another.
    fn apart(&self) -> Result<Vec<Run>> {
        #[derive(Deserialize)]
        struct One {
            runs: Vec<Run>,
        }
        let mut runs = Vec::new();
        for accounts in &self.accounts {
            let output = Command::new(std::env::current_exe()?)
                .args(["bench", "growth", "--json"])
                .args(["--accounts", &accounts.to_string()])
                .args(["--window", &self.window.to_string()])
                .args(["--seconds", &self.seconds.to_string()])
                .arg("--folder")
                .arg(&self.folder)
                .stderr(Stdio::inherit())
                .output()?;
            ensure!(output.status.success(), "{accounts} accounts: see above");
            let one: One = serde_json::from_slice(&output.stdout)
                .context("the process that measured said something else")?;
            runs.extend(one.runs);
        }
        Ok(runs)
    }

    fn measure(&self, accounts: u32) -> Result<Run> {
        let scratch = Scratch::new(&self.folder)?;
        let own = std::process::id();
        let (before, began) = (host::memory(own)?, Instant::now());
        let pair = Accounts {
            senders: accounts.div_ceil(2),
            receivers: accounts / 2,
        };
        let mut core = Core::found(scratch.path(), pair)?;
        let (founding, founded) = (began.elapsed(), host::memory(own)?);
        let mut load = Spread::new(pair);
        self.go(&mut core, &mut load, WARM_UP)?;
        let (cpu_us, warm, began) = (host::cpu_us(own)?, host::memory(own)?, Instant::now());
        let packets = self.go(&mut core, &mut load, Duration::from_secs(self.seconds))?;
        let (elapsed, cpu_us) = (began.elapsed(), host::cpu_us(own)? - cpu_us);
        let loaded = host::memory(own)?;
        load.round(&mut core, 0)?;
        core.close()?;
        let (restart, process) = restart(scratch.path())?;
        Ok(Run {
            accounts,
            founding_ms: millis(founding),
            core_bytes_per_account: founded.saturating_sub(before) / u64::from(accounts),
            packets,
            packets_per_second: per_second(packets, elapsed.as_micros()),
            cpu_us_per_packet: each(cpu_us, packets),
            core_bytes_per_packet: loaded.saturating_sub(warm) / packets.max(1),
            restart_ms: millis(restart),
            process_bytes_per_account: process / u64::from(accounts),
        })
    }

    /// Rounds for `span`; returns how many packets were fulfilled.
    fn go(&self, core: &mut Core, load: &mut Spread, span: Duration) -> Result<u64> {
        let (began, mut packets) = (Instant::now(), 0);
        while began.elapsed() < span {
            load.round(core, self.window)?;
            packets += u64::from(self.window);
        }
        Ok(packets)
    }
}

/// Starts a pool process on a journal; how long it took until it served, and its memory then.
pub(super) fn restart(folder: &Path) -> Result<(Duration, u64)> {
    let began = Instant::now();
    let mut pool = PoolProcess::start(folder, 1)?;
    let took = began.elapsed();
    let memory = pool.memory()?;
    pool.end()?;
    Ok((took, memory))
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn print(report: &Report) {
    let heads = [
        "accounts",
        "founded ms",
        "core B/account",
        "packets/s",
        "CPU µs/packet",
        "core B/packet",
        "restart ms",
        "process B/account",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(report.runs.iter().map(|run| {
        vec![
            run.accounts.to_string(),
            run.founding_ms.to_string(),
            run.core_bytes_per_account.to_string(),
            run.packets_per_second.to_string(),
            run.cpu_us_per_packet.to_string(),
            run.core_bytes_per_packet.to_string(),
            run.restart_ms.to_string(),
            run.process_bytes_per_account.to_string(),
        ]
    }));
    output::table(&rows);
    println!("{} packets in each batch", report.window);
    report.host.print();
    println!("{}", report.conditions);
}
