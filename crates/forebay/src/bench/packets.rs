//! `forebay bench packets`: starts a pool process and a load, and prints what came through.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;

use super::generator::{Receiver, Seen, Sender};
use super::host::{Host, Scratch};
use super::latency::{Latency, at, each, per_second};
use super::process::PoolProcess;
use crate::output;

/// Before each run the same load goes through for this long, unmeasured.
pub(super) const WARM_UP: Duration = Duration::from_millis(500);
/// Most packets in flight: what a peer's policy lets through here.
pub(super) const WINDOW_MAX: u32 = 65_536;
/// Most packets a second on a schedule: more than comes through anywhere.
const RATE_MAX: u64 = 10_000_000;

/// Measures packets fulfilled across two assets.
#[derive(Debug, Args)]
pub(crate) struct Packets {
    /// Packets in flight, one run for each.
    #[arg(long = "window", value_delimiter = ',', default_values_t = [1, 256, 1_024])]
    windows: Vec<u32>,
    /// Packets a second on a schedule that waits for no answer, one run for each, in place of windows.
    #[arg(long = "rate", value_delimiter = ',', conflicts_with = "windows")]
    rates: Vec<u64>,
    /// How long each run takes.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// A folder on a real disk; the journal is made in it and removed afterwards.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// Threads that the pool uses for sockets, beside the core's own.
    #[arg(long, default_value_t = 1)]
    socket_threads: usize,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Report {
    runs: Vec<Run>,
    #[serde(flatten)]
    host: Host,
    conditions: &'static str,
}

/// What a run keeps to.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Pace {
    /// So many packets in flight.
    Window(u32),
    /// So many sent a second.
    Rate(u64),
}

/// One run.
#[derive(Debug, Serialize)]
struct Run {
    #[serde(flatten)]
    pace: Pace,
    packets: u64,
    packets_per_second: u64,
    #[serde(flatten)]
    latency: Latency,
    /// Of the generator: how late it was itself, which is in the latency too.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_late_p99_us: Option<u32>,
    cpu_us_per_packet: f64,
    fsync: bool,
    syncs: u64,
    records_per_sync: f64,
}

pub(super) const CONDITIONS: &str = "BTP over loopback, 200 B of data, BTC/8 to ETH/9, all fulfilled, synced before anything leaves, no replica; \
    one voucher signed each 1,000 packets or sync; the sender on credit, the receiver's lane from vault facts handed to the core in process";

impl Packets {
    pub(super) fn run(self, json: bool) -> Result<()> {
        ensure!(
            self.windows
                .iter()
                .all(|window| (1..=WINDOW_MAX).contains(window)),
            "a window holds 1 to {WINDOW_MAX} packets"
        );
        ensure!(
            self.rates.iter().all(|rate| (1..=RATE_MAX).contains(rate)),
            "a rate is 1 to {RATE_MAX} packets a second"
        );
        let host = Host::look(&self.folder)?;
        let scratch = Scratch::new(&self.folder)?;
        let report = Report {
            runs: self.measure(scratch.path())?,
            host,
            conditions: CONDITIONS,
        };
        output::show(json, &report, print)
    }

    fn paces(&self) -> Vec<Pace> {
        if self.rates.is_empty() {
            self.windows.iter().copied().map(Pace::Window).collect()
        } else {
            self.rates.iter().copied().map(Pace::Rate).collect()
        }
    }

    fn measure(&self, folder: &Path) -> Result<Vec<Run>> {
        let mut pool = PoolProcess::start(folder, self.socket_threads)?;
        let receiver = Receiver::connect(pool.address(), "receiver")?;
        let receiving = std::thread::spawn(move || receiver.run());
        let mut sender = Sender::connect(pool.address(), "sender")?;
        let mut runs = Vec::new();
        for pace in self.paces() {
            pace.go(&mut sender, WARM_UP)?;
            let before = pool.figures()?;
            let seen = pace.go(&mut sender, Duration::from_secs(self.seconds))?;
            let after = pool.figures()?;
            let seen = seen.all_fulfilled()?;
            let cpu_us = after.cpu_us - before.cpu_us;
            let syncs = after.syncs - before.syncs;
            let records = after.records - before.records;
            runs.push(Run::new(pace, seen, cpu_us, syncs, records));
        }
        pool.end()?;
        // The pool closed its link, which ends it.
        let _ = receiving.join();
        Ok(runs)
    }
}

impl Pace {
    fn go(self, sender: &mut Sender, span: Duration) -> Result<Seen> {
        match self {
            Self::Window(window) => sender.run(window, span),
            Self::Rate(rate) => sender.run_at(rate, span),
        }
    }
}

impl Run {
    fn new(pace: Pace, mut seen: Seen, cpu_us: u64, syncs: u64, records: u64) -> Self {
        let packets = u64::try_from(seen.latencies_us.len()).unwrap_or(u64::MAX);
        seen.delays_us.sort_unstable();
        let is_late = !seen.delays_us.is_empty();
        Self {
            pace,
            packets,
            packets_per_second: per_second(packets, seen.elapsed.as_micros()),
            latency: Latency::of(&mut seen.latencies_us),
            sent_late_p99_us: is_late.then(|| at(&seen.delays_us, 990)),
            cpu_us_per_packet: each(cpu_us, packets),
            fsync: true,
            syncs,
            records_per_sync: each(records, syncs),
        }
    }

    fn cells(&self) -> Vec<String> {
        let pace = match self.pace {
            Pace::Window(window) => format!("window {window}"),
            Pace::Rate(rate) => format!("rate {rate}"),
        };
        let late = self.sent_late_p99_us.map(|us| us.to_string());
        let mut cells = vec![pace, self.packets_per_second.to_string()];
        cells.extend(self.latency.cells());
        cells.extend([
            self.cpu_us_per_packet.to_string(),
            self.records_per_sync.to_string(),
            late.unwrap_or_else(|| "-".into()),
        ]);
        cells
    }
}

fn print(report: &Report) {
    let [p50, p99, p999] = Latency::HEADS;
    let heads = [
        "",
        "packets/s",
        p50,
        p99,
        p999,
        "CPU µs/packet",
        "records/sync",
        "sent late p99 µs",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(report.runs.iter().map(Run::cells));
    output::table(&rows);
    report.host.print();
    println!("{}", report.conditions);
}
