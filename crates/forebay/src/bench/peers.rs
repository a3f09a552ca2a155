//! `forebay bench peers`: npm's ilp-connector under the same load as the pool, in one run and turn by turn.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::generator::{Receiver, Sender};
use super::host::{self, Host, Scratch};
use super::latency::{Latency, each, per_second};
use super::packets::{WARM_UP, WINDOW_MAX};
use super::process::PoolProcess;
use crate::output;

/// Node takes some seconds to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures the pool beside npm's ilp-connector.
#[derive(Debug, Args)]
pub(crate) struct Peers {
    /// The folder with ilp-connector installed: `tools/ilp` of the repository, after `cargo xtask setup`.
    #[arg(long, default_value = "tools/ilp")]
    tools: PathBuf,
    /// Packets in flight, one run for each.
    #[arg(long = "window", value_delimiter = ',', default_values_t = [1, 10, 100, 1_000])]
    windows: Vec<u32>,
    /// How long each turn takes.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Turns of each at each window, one after the other; of each figure the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..100))]
    turns: u32,
    /// A folder on a real disk; the journal is made in it and removed afterwards.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Report {
    turns: u32,
    runs: Vec<Run>,
    #[serde(flatten)]
    host: Host,
    conditions: &'static str,
}

/// One window.
#[derive(Debug, Serialize)]
struct Run {
    window: u32,
    forebay: Turn,
    ilp_connector: Turn,
    /// How many packets the pool moved for each of ilp-connector's.
    packets_ratio: f64,
    /// How much processor time ilp-connector used for a packet, for each of the pool's.
    cpu_ratio: f64,
}

/// One turn, or the medians of some.
#[derive(Debug, Clone, Copy, Serialize)]
struct Turn {
    packets_per_second: u64,
    #[serde(flatten)]
    latency: Latency,
    /// Of the connector's own process.
    cpu_ns_per_packet: u64,
}

const CONDITIONS: &str = "one generator and one load for both: BTP over loopback, 200 B of data, BTC/8 to ETH/9 at the same price and spread, all \
    fulfilled; the pool syncs each batch to disk, ilp-connector keeps its balances in memory";

impl Peers {
    pub(super) fn run(self, json: bool) -> Result<()> {
        ensure!(
            self.windows
                .iter()
                .all(|window| (1..=WINDOW_MAX).contains(window)),
            "a window holds 1 to {WINDOW_MAX} packets"
        );
        let host = Host::look(&self.folder)?;
        let scratch = Scratch::new(&self.folder)?;
        let report = Report {
            turns: self.turns,
            runs: self.measure(scratch.path())?,
            host,
            conditions: CONDITIONS,
        };
        output::show(json, &report, print)
    }

    fn measure(&self, folder: &Path) -> Result<Vec<Run>> {
        let pool = PoolProcess::start(folder, 1)?;
        let mut theirs = IlpConnector::start(&self.tools)?;
        let mut forebay = Contender::new(pool.number(), pool.address(), pool.address())?;
        let mut ilp_connector = theirs.contender()?;
        let mut runs = Vec::new();
        for &window in &self.windows {
            let (mut ours, mut others) = (Vec::new(), Vec::new());
            for _ in 0..self.turns {
                ours.push(forebay.turn(window, self.seconds)?);
                others.push(ilp_connector.turn(window, self.seconds)?);
            }
            let (forebay, ilp_connector) = (Turn::median(&ours), Turn::median(&others));
            runs.push(Run {
                window,
                packets_ratio: each(forebay.packets_per_second, ilp_connector.packets_per_second),
                cpu_ratio: each(ilp_connector.cpu_ns_per_packet, forebay.cpu_ns_per_packet),
                forebay,
                ilp_connector,
            });
        }
        Ok(runs)
    }
}

/// A connector with a sender and a receiver at it.
struct Contender {
    process: u32,
    sender: Sender,
}

impl Contender {
    /// The receiver ends when the process does.
    fn new(process: u32, for_sender: SocketAddr, for_receiver: SocketAddr) -> Result<Self> {
        let receiver = Receiver::connect(for_receiver, "receiver")?;
        std::thread::spawn(move || receiver.run());
        let sender = Sender::connect(for_sender, "sender")?;
        Ok(Self { process, sender })
    }

    fn turn(&mut self, window: u32, seconds: u64) -> Result<Turn> {
        self.sender.run(window, WARM_UP)?.all_fulfilled()?;
        let before = host::cpu_us(self.process)?;
        let seen = self.sender.run(window, Duration::from_secs(seconds))?;
        let cpu_us = host::cpu_us(self.process)? - before;
        let mut seen = seen.all_fulfilled()?;
        let packets = u64::try_from(seen.latencies_us.len())?;
        Ok(Turn {
            packets_per_second: per_second(packets, seen.elapsed.as_micros()),
            latency: Latency::of(&mut seen.latencies_us),
            cpu_ns_per_packet: cpu_us * 1_000 / packets,
        })
    }
}

impl Turn {
    /// Of each figure by itself.
    fn median(turns: &[Self]) -> Self {
        fn middle<T: Ord + Copy>(turns: &[Turn], figure: impl Fn(&Turn) -> T) -> T {
            let mut figures: Vec<T> = turns.iter().map(figure).collect();
            figures.sort_unstable();
            figures[figures.len() / 2]
        }
        Self {
            packets_per_second: middle(turns, |turn| turn.packets_per_second),
            latency: Latency {
                p50_us: middle(turns, |turn| turn.latency.p50_us),
                p99_us: middle(turns, |turn| turn.latency.p99_us),
                p999_us: middle(turns, |turn| turn.latency.p999_us),
            },
            cpu_ns_per_packet: middle(turns, |turn| turn.cpu_ns_per_packet),
        }
    }
}

/// npm's ilp-connector in a process of its own, told to end by the end of its input.
struct IlpConnector {
    child: Child,
    for_sender: SocketAddr,
    for_receiver: SocketAddr,
}

impl IlpConnector {
    fn start(tools: &Path) -> Result<Self> {
        let tools = tools.canonicalize().context("no folder of --tools")?;
        ensure!(
            tools.join("node_modules/ilp-connector").is_dir(),
            "ilp-connector is not installed in {}: run cargo xtask setup",
            tools.display()
        );
        let (for_sender, for_receiver) = (free_address()?, free_address()?);
        let configuration = json!({
            "env": "test",
            "ilpAddress": "test.pool",
            "spread": 0.002,
            "backend": tools.join("rates.cjs"),
            "backendConfig": { "prices": { "BTC": 65_000, "ETH": 3_250 } },
            "accounts": {
                "sender": account("BTC", 8, for_sender, "sender"),
                "receiver": account("ETH", 9, for_receiver, "receiver"),
            },
        });
        let child = Command::new("node")
            .arg("connector.cjs")
            .arg(configuration.to_string())
            .current_dir(&tools)
            .env_remove("DEBUG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("node does not start: run cargo xtask setup")?;
        Ok(Self {
            child,
            for_sender,
            for_receiver,
        })
    }

    /// Waits until it listens, connects both ends, and waits until it has taken them.
    fn contender(&mut self) -> Result<Contender> {
        for address in [self.for_sender, self.for_receiver] {
            let until = Instant::now() + PATIENCE;
            while std::net::TcpStream::connect(address).is_err() {
                ensure!(
                    self.child.try_wait()?.is_none() && Instant::now() < until,
                    "ilp-connector does not listen: its own words are above"
                );
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let contender = Contender::new(self.child.id(), self.for_sender, self.for_receiver)?;
        let output = self.child.stdout.take().context("its output is a pipe")?;
        let mut lines = BufReader::new(output).lines();
        let says =
            |line: std::io::Result<String>| line.is_ok_and(|line| line.contains("listening"));
        ensure!(
            lines.any(says),
            "ilp-connector ended: its own words are above"
        );
        // Read on, so that it never waits for somebody to.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(contender)
    }
}

impl Drop for IlpConnector {
    fn drop(&mut self) {
        // Its input may be closed already; nothing stays behind either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An account as the pool has it: bounded, and with no other limit in the way of a load.
fn account(code: &str, scale: u8, listens: SocketAddr, token: &str) -> Value {
    json!({
        "relation": "child",
        "plugin": "ilp-plugin-btp",
        "assetCode": code,
        "assetScale": scale,
        "options": { "listener": { "port": listens.port(), "secret": token } },
        "balance": { "minimum": "-1000000000000000000", "maximum": "1000000000000000000" },
        "rateLimit": { "refillPeriod": 1_000, "refillCount": 10_000_000, "capacity": 10_000_000 },
        "sendRoutes": false,
        "receiveRoutes": false,
    })
}

/// A port of this machine that is free now.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn print(report: &Report) {
    let [p50, p99, p999] = Latency::HEADS;
    let heads = ["", "window", "packets/s", p50, p99, p999, "CPU ns/packet"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for run in &report.runs {
        for (name, turn) in [
            ("forebay", run.forebay),
            ("ilp-connector", run.ilp_connector),
        ] {
            let mut cells = vec![
                name.to_owned(),
                run.window.to_string(),
                turn.packets_per_second.to_string(),
            ];
            cells.extend(turn.latency.cells());
            cells.push(turn.cpu_ns_per_packet.to_string());
            rows.push(cells);
        }
        rows.push(vec![
            "ratio".to_owned(),
            run.window.to_string(),
            format!("{}×", run.packets_ratio),
            String::new(),
            String::new(),
            String::new(),
            format!("{}×", run.cpu_ratio),
        ]);
    }
    output::table(&rows);
    println!("medians of {} turns each", report.turns);
    report.host.print();
    println!("{}", report.conditions);
}
