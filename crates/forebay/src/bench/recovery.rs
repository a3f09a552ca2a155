//! `forebay bench recovery`: how long a pool process takes until it serves again, on journals that the real sequencer made.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;

use super::core::{Accounts, Core};
use super::growth::{millis, restart};
use super::host::{Host, Scratch};
use super::latency::per_second;
use super::spread::Spread;
use crate::output;

/// Packets prepared, and packets fulfilled, in each batch of the journal.
const WINDOW: u32 = 1_024;

/// Measures restarts.
#[derive(Debug, Args)]
pub(crate) struct Recovery {
    /// Records of packets in the journal, one run for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000, 10_000_000])]
    records: Vec<u64>,
    /// Accounts that the packets are spread over.
    #[arg(long, default_value_t = 100_000)]
    accounts: u32,
    /// Records after the snapshot, in percent of all.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..100))]
    tail_percent: u64,
    /// A folder on a real disk; the journal is made in it and removed afterwards.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Report {
    accounts: u32,
    runs: Vec<Run>,
    #[serde(flatten)]
    host: Host,
    conditions: &'static str,
}

/// One run.
#[derive(Debug, Serialize)]
struct Run {
    /// Of packets; those of the founding come before them.
    records: u64,
    journal_bytes: u64,
    /// From the first frame.
    whole_ms: u64,
    /// Records of packets in each second of that.
    whole_records_per_second: u64,
    tail_records: u64,
    snapshot_bytes: u64,
    /// From a snapshot and the records after it.
    snapshot_ms: u64,
}

const CONDITIONS: &str = "a whole process, from its start until it serves; files in the system's cache; frames of 2,048 packet records after those \
    of the founding; half of the accounts send on credit, half receive, each on a channel of its own";

impl Recovery {
    pub(super) fn run(self, json: bool) -> Result<()> {
        ensure!(self.accounts >= 2, "packets need 2 accounts at least");
        let host = Host::look(&self.folder)?;
        let mut runs = Vec::new();
        for &records in &self.records {
            let scratch = Scratch::new(&self.folder)?;
            runs.push(self.measure(records, scratch.path())?);
        }
        let report = Report {
            accounts: self.accounts,
            runs,
            host,
            conditions: CONDITIONS,
        };
        output::show(json, &report, print)
    }

    fn measure(&self, records: u64, folder: &Path) -> Result<Run> {
        let accounts = Accounts {
            senders: self.accounts.div_ceil(2),
            receivers: self.accounts / 2,
        };
        let mut core = Core::found(folder, accounts)?;
        let mut load = Spread::new(accounts);
        let head_records = records - records * self.tail_percent / 100;
        let mut made = fill(&mut core, &mut load, 0, head_records)?;
        let (head, state) = core.snapshot();
        let snapshot_at = made;
        made = fill(&mut core, &mut load, made, records)?;
        made += load.round(&mut core, 0)?;
        core.close()?;
        let (whole, _) = restart(folder)?;
        let journal_bytes = size_of_files(&folder.join("journal"))?;
        Core::add_snapshot(folder, head, &state)?;
        let (short, _) = restart(folder)?;
        Ok(Run {
            records: made,
            journal_bytes,
            whole_ms: millis(whole),
            whole_records_per_second: per_second(made, whole.as_micros()),
            tail_records: made - snapshot_at,
            snapshot_bytes: u64::try_from(state.len())?,
            snapshot_ms: millis(short),
        })
    }
}

/// Rounds until there are `until` records of packets; returns how many there are.
fn fill(core: &mut Core, load: &mut Spread, mut made: u64, until: u64) -> Result<u64> {
    while made < until {
        made += load.round(core, WINDOW)?;
    }
    Ok(made)
}

fn size_of_files(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

fn print(report: &Report) {
    let heads = [
        "records",
        "journal MiB",
        "from nothing ms",
        "records/s",
        "tail records",
        "snapshot MiB",
        "snapshot + tail ms",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(report.runs.iter().map(|run| {
        vec![
            run.records.to_string(),
            (run.journal_bytes >> 20).to_string(),
            run.whole_ms.to_string(),
            run.whole_records_per_second.to_string(),
            run.tail_records.to_string(),
            (run.snapshot_bytes >> 20).to_string(),
            run.snapshot_ms.to_string(),
        ]
    }));
    output::table(&rows);
    println!("{} accounts", report.accounts);
    report.host.print();
    println!("{}", report.conditions);
}
