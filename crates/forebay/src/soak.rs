//! `forebay soak`: load, faults and kills in a random mix, for as long as it is told; after each life, and in the end, the
//! journal is replayed from nothing, its books are added up again, and every reply that anybody heard is looked for in it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::crash::{Fault, Life, Load, Recovered, Verdict};
use crate::output::{minutes, show};

/// A journal that holds the packets of more lives than this many is put away, so that a replay stays short.
const LIVES_PER_JOURNAL: u32 = 25;

/// Mixes load, faults and kills, and ends with the auditor's verdict.
#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// For how long; 0.2 are twelve seconds.
    #[arg(long, value_parser = minutes, default_value = "10")]
    minutes: Duration,
    /// Chooses faults and moments; the same seed tries the same ones.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A folder on a real disk; journals are made in it and removed afterwards.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
}

/// What it all came to.
#[derive(Debug, Default, Serialize)]
struct Report {
    seconds: u64,
    kills: u32,
    full_disks: u32,
    full_disk_refusals: u64,
    pauses: u32,
    lives_among_strangers: u32,
    journals: u32,
    journal_bytes: u64,
    #[serde(flatten)]
    verdict: Verdict,
}

/// A small generator, so that a seed is a run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn load(&mut self) -> Load {
        let fault = match self.below(6) {
            0 => Fault::FullDisk,
            1 => Fault::Pause,
            2 | 3 => Fault::Strangers,
            _ => Fault::None,
        };
        Load {
            window: [1, 64, 1_024, 4_096][usize::try_from(self.below(4)).unwrap_or(0)],
            pace: Duration::from_micros(
                [50, 500, 2_000][usize::try_from(self.below(3)).unwrap_or(0)],
            ),
            lives: Duration::from_millis(50 + self.below(2_000)),
            fault,
        }
    }
}

impl Soak {
    /// Runs to the end; it blocks.
    pub(crate) fn run(self, json: bool) -> Result<()> {
        let folder = self
            .folder
            .join(format!("forebay-soak-{}", std::process::id()));
        std::fs::create_dir(&folder)
            .with_context(|| format!("{} cannot be made", folder.display()))?;
        let report = self
            .soak(&folder)
            .with_context(|| format!("the journal is kept in {}", folder.display()))?;
        std::fs::remove_dir_all(&folder)?;
        show(json, &report, print)
    }

    fn soak(&self, folder: &Path) -> Result<Report> {
        let (mut report, mut random) = (Report::default(), Random(self.seed));
        let (began, mut next_request) = (Instant::now(), 1);
        while began.elapsed() < self.minutes {
            let journal = folder.join(report.journals.to_string());
            std::fs::create_dir(&journal)?;
            report.journals += 1;
            for _ in 0..LIVES_PER_JOURNAL {
                one_life(&journal, &random.load(), &mut next_request, &mut report)
                    .with_context(|| format!("life {}, seed {}", report.kills, self.seed))?;
                if began.elapsed() >= self.minutes {
                    break;
                }
            }
            report.journal_bytes += bytes_of(&journal.join("journal"))?;
            std::fs::remove_dir_all(&journal)?;
        }
        eprintln!();
        report.seconds = began.elapsed().as_secs();
        ensure!(
            report.verdict.fulfilled > 0 && report.verdict.rejected > 0,
            "no packet was fulfilled, or none was rejected"
        );
        Ok(report)
    }
}

fn one_life(folder: &Path, load: &Load, next_request: &mut u32, report: &mut Report) -> Result<()> {
    report.kills += 1;
    match load.fault {
        Fault::None => {}
        Fault::FullDisk => report.full_disks += 1,
        Fault::Pause => report.pauses += 1,
        Fault::Strangers => report.lives_among_strangers += 1,
    }
    let life = Life::lead(folder, load, next_request)?;
    Recovered::read(folder)?.judge(&life, &mut report.verdict)?;
    let refused = life.refused_for_want_of_a_journal();
    ensure!(
        refused == 0 || load.fault == Fault::FullDisk,
        "{refused} packets were refused for want of a journal, and the disk had room"
    );
    report.full_disk_refusals += refused;
    eprint!(
        "\rlife {}, {} packets sent ",
        report.kills, report.verdict.packets_sent
    );
    Ok(())
}

fn bytes_of(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for file in std::fs::read_dir(folder)? {
        bytes += file?.metadata()?.len();
    }
    Ok(bytes)
}

fn print(report: &Report) {
    let verdict = &report.verdict;
    println!(
        "{} s: {} kills, {} of them with unsynced commands in flight",
        report.seconds, report.kills, verdict.kills_with_unsynced_commands
    );
    println!(
        "{} full disks with {} packets refused by T00, {} pauses, {} lives among strangers",
        report.full_disks, report.full_disk_refusals, report.pauses, report.lives_among_strangers
    );
    println!(
        "{} packets sent; {} replies ({} fulfilled, {} rejected) and {} forwards received, each of them recovered; {} torn tails cut",
        verdict.packets_sent,
        verdict.replies_compared,
        verdict.fulfilled,
        verdict.rejected,
        verdict.forwards_compared,
        verdict.torn_tails
    );
    println!(
        "the auditor: {} journals of {} MiB in all, each replayed from nothing after each life, their books balanced",
        report.journals,
        report.journal_bytes >> 20
    );
}
