//! `forebay bench conns`: the same number of packets in flight, spread over more and more connections, each of an account
//! of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use super::core::sender_name;
use super::generator::{Fleet, Receiver, Sender};
use super::host::{Host, Scratch};
use super::latency::{Latency, each, per_second};
use super::packets::{CONDITIONS, WARM_UP, WINDOW_MAX};
use super::process::PoolProcess;
use crate::output;

/// Measures what connections cost.
#[derive(Debug, Args)]
pub(crate) struct Conns {
    /// Connections that send, one run for each number; one more receives.
    #[arg(long = "connections", value_delimiter = ',', default_values_t = [1, 4, 16, 64, 256, 1_024])]
    counts: Vec<u32>,
    /// Packets in flight, shared by all connections; each has one at least.
    #[arg(long, default_value_t = 1_024)]
    window: u32,
    /// How long each run takes.
    #[arg(long, default_value_t = 3)]
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
#[derive(Debug, Serialize)]
struct Run {
    connections: u32,
    packets: u64,
    packets_per_second: u64,
    #[serde(flatten)]
    latency: Latency,
    cpu_us_per_packet: f64,
    /// What the pool process grew by when they connected, for each.
    idle_bytes_per_connection: u64,
    /// The same after the load.
    loaded_bytes_per_connection: u64,
}

impl Conns {
    pub(super) fn run(self, json: bool) -> Result<()> {
        ensure!(
            self.counts
                .iter()
                .all(|count| (1..=self.window).contains(count)),
            "1 to as many connections as packets in flight"
        );
        ensure!(
            self.window <= WINDOW_MAX,
            "a window holds 1 to {WINDOW_MAX} packets"
        );
        let host = Host::look(&self.folder)?;
        let mut runs = Vec::new();
        for &count in &self.counts {
            let scratch = Scratch::new(&self.folder)?;
            runs.push(self.measure(count, scratch.path())?);
        }
        let report = Report {
            window: self.window,
            runs,
            host,
            conditions: CONDITIONS,
        };
        output::show(json, &report, print)
    }

    /// Each number has a pool process of its own, so that none inherits memory of another.
    fn measure(&self, count: u32, folder: &Path) -> Result<Run> {
        let senders = ["--senders".into(), count.to_string()];
        let mut pool = PoolProcess::start_with(folder, &senders)?;
        let receiver = Receiver::connect(pool.address(), "receiver")?;
        let receiving = std::thread::spawn(move || receiver.run());
        let before = pool.memory()?;
        let senders: Result<Vec<Sender>> = (0..count)
            .map(|number| Sender::connect(pool.address(), &sender_name(number)))
            .collect();
        let mut fleet =
            Fleet::new(senders.context("not all could connect; `ulimit -n` bounds open files")?)?;
        let idle = pool.memory()?;
        let window = self.window / count;
        fleet.run(window, WARM_UP)?.all_fulfilled()?;
        let figures = pool.figures()?;
        let seen = fleet.run(window, Duration::from_secs(self.seconds))?;
        let cpu_us = pool.figures()?.cpu_us - figures.cpu_us;
        let loaded = pool.memory()?;
        pool.end()?;
        // The pool closed its link, which ends it.
        let _ = receiving.join();
        let mut seen = seen.all_fulfilled()?;
        let packets = u64::try_from(seen.latencies_us.len())?;
        let share = |bytes: u64| bytes.saturating_sub(before) / u64::from(count);
        Ok(Run {
            connections: count,
            packets,
            packets_per_second: per_second(packets, seen.elapsed.as_micros()),
            latency: Latency::of(&mut seen.latencies_us),
            cpu_us_per_packet: each(cpu_us, packets),
            idle_bytes_per_connection: share(idle),
            loaded_bytes_per_connection: share(loaded),
        })
    }
}

fn print(report: &Report) {
    let [p50, p99, p999] = Latency::HEADS;
    let heads = [
        "connections",
        "packets/s",
        p50,
        p99,
        p999,
        "CPU µs/packet",
        "idle KiB each",
        "loaded KiB each",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(report.runs.iter().map(|run| {
        let mut cells = vec![
            run.connections.to_string(),
            run.packets_per_second.to_string(),
        ];
        cells.extend(run.latency.cells());
        cells.extend([
            run.cpu_us_per_packet.to_string(),
            (run.idle_bytes_per_connection / 1_024).to_string(),
            (run.loaded_bytes_per_connection / 1_024).to_string(),
        ]);
        cells
    }));
    output::table(&rows);
    println!("{} packets in flight in all", report.window);
    report.host.print();
    println!("{}", report.conditions);
}
