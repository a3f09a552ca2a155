//! `forebay bench packets`: starts a pool process and a load, and prints what came through.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use super::generator::{Receiver, Seen, Sender};
use super::host::{self, Host};

/// Before each run the same load goes through for this long, unmeasured.
const WARM_UP: Duration = Duration::from_millis(500);

/// Measures packets fulfilled across two assets.
#[derive(Debug, Args)]
pub(crate) struct Packets {
    /// Packets in flight, one run for each.
    #[arg(long = "window", value_delimiter = ',', default_values_t = [1, 256, 1_024])]
    windows: Vec<u32>,
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

/// One run.
#[derive(Debug, Serialize)]
struct Run {
    window: u32,
    packets: u64,
    packets_per_second: u64,
    p50_us: u32,
    p99_us: u32,
    p999_us: u32,
    cpu_us_per_packet: f64,
    fsync: bool,
    syncs: u64,
    records_per_sync: f64,
}

const CONDITIONS: &str = "BTP over loopback, 200 B of data, BTC/8 to ETH/9, all fulfilled, synced before anything leaves, no replica; \
    one voucher signed each 1,000 packets or sync; the sender on credit, the receiver's lane from vault facts handed to the core in process";

impl Packets {
    pub(super) fn run(self, json: bool) -> Result<()> {
        ensure!(
            self.windows
                .iter()
                .all(|window| (1..=65_536).contains(window)),
            "a window holds 1 to 65536 packets"
        );
        let host = host::look(&self.folder)?;
        let folder = self
            .folder
            .join(format!("forebay-bench-{}", std::process::id()));
        std::fs::create_dir(&folder)
            .with_context(|| format!("{} cannot be made", folder.display()))?;
        let runs = self.measure(&folder);
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("{} stays behind", folder.display()))?;
        let report = Report {
            runs: runs?,
            host,
            conditions: CONDITIONS,
        };
        if json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            print(&report);
        }
        Ok(())
    }

    fn measure(&self, folder: &Path) -> Result<Vec<Run>> {
        let mut pool = PoolProcess::start(folder, self.socket_threads)?;
        let receiver = Receiver::connect(pool.address)?;
        let receiving = std::thread::spawn(move || receiver.run());
        let mut sender = Sender::connect(pool.address)?;
        let mut runs = Vec::new();
        for &window in &self.windows {
            sender.run(window, WARM_UP)?;
            let (syncs, records) = pool.figures()?;
            let cpu = host::cpu_us(pool.child.id())?;
            let seen = sender.run(window, Duration::from_secs(self.seconds))?;
            let cpu = host::cpu_us(pool.child.id())?.saturating_sub(cpu);
            let (syncs_after, records_after) = pool.figures()?;
            ensure!(
                seen.rejected == 0,
                "{} packets were rejected, the last by {}",
                seen.rejected,
                seen.reject
            );
            runs.push(summary(
                window,
                seen,
                cpu,
                syncs_after - syncs,
                records_after - records,
            )?);
        }
        pool.end()?;
        // The pool closed its link, which ends it.
        let _ = receiving.join();
        Ok(runs)
    }
}

#[expect(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "a measurement, not money"
)]
fn summary(window: u32, mut seen: Seen, cpu_us: u64, syncs: u64, records: u64) -> Result<Run> {
    seen.latencies_us.sort_unstable();
    let packets = u64::try_from(seen.latencies_us.len())?;
    ensure!(packets > 0, "no packet came through");
    let at = |per_mille: usize| {
        let last = seen.latencies_us.len() - 1;
        seen.latencies_us[(seen.latencies_us.len() * per_mille / 1_000).min(last)]
    };
    let elapsed_us = u64::try_from(seen.elapsed.as_micros())?.max(1);
    Ok(Run {
        window,
        packets,
        packets_per_second: packets.saturating_mul(1_000_000) / elapsed_us,
        p50_us: at(500),
        p99_us: at(990),
        p999_us: at(999),
        cpu_us_per_packet: (cpu_us as f64 / packets as f64 * 100.0).round() / 100.0,
        fsync: true,
        syncs,
        records_per_sync: (records as f64 / syncs.max(1) as f64 * 10.0).round() / 10.0,
    })
}

fn print(report: &Report) {
    println!("window  packets/s     p50 µs     p99 µs   p99.9 µs  CPU µs/packet  records/sync");
    for run in &report.runs {
        println!(
            "{:>6} {:>10} {:>10} {:>10} {:>10} {:>14} {:>13}",
            run.window,
            run.packets_per_second,
            run.p50_us,
            run.p99_us,
            run.p999_us,
            run.cpu_us_per_packet,
            run.records_per_sync
        );
    }
    let Host {
        cores,
        load_average,
        file_system,
    } = &report.host;
    println!(
        "{cores} cores shared with the load, load average {load_average}, journal on {file_system}"
    );
    println!("{}", report.conditions);
}

/// The pool in a process of its own, told to end by the end of its input.
pub(crate) struct PoolProcess {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl PoolProcess {
    pub(crate) fn start(folder: &Path, socket_threads: usize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bench", "pool", "--socket-threads"])
            .arg(socket_threads.to_string())
            .arg("--folder")
            .arg(folder)
            .env("FOREBAY_LOG", "error")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the pool process cannot be started")?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("the pool's output is a pipe")?);
        let mut pool = Self {
            child,
            input,
            output,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        pool.address = pool
            .line()?
            .parse()
            .context("the pool process did not start: its own words are above")?;
        Ok(pool)
    }

    /// Where it serves BTP.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes every further write of it fail, as a full disk does.
    pub(crate) fn fill_disk(&self) -> Result<()> {
        use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let maximum = getrlimit(Resource::Fsize).maximum;
        prlimit(
            pid,
            Resource::Fsize,
            Rlimit {
                current: Some(1),
                maximum,
            },
        )?;
        Ok(())
    }

    /// Makes it stand still, as a machine without a core to spare does.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(rustix::process::Signal::STOP)
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) -> Result<()> {
        self.signal(rustix::process::Signal::CONT)
    }

    fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok();
        let pid = pid.and_then(rustix::process::Pid::from_raw);
        let pid = pid.context("a process has a number")?;
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// Kills it as a power cut would, but for what the system has cached.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Syncs and records since it started.
    fn figures(&mut self) -> Result<(u64, u64)> {
        writeln!(
            self.input
                .as_mut()
                .context("the pool's input is open until its end")?
        )?;
        let line = self.line()?;
        let (syncs, records) = line.split_once(' ').context("the pool process is gone")?;
        Ok((syncs.parse()?, records.parse()?))
    }

    fn end(&mut self) -> Result<()> {
        self.input = None;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for PoolProcess {
    fn drop(&mut self) {
        self.input = None;
        // It ends by itself; this one only makes sure that nothing stays behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
