//! `forebay crash`: kills a real pool process under load, again and again, then fills its disk, and holds its journal to
//! every reply that anybody received. Nothing of it looks into the process: it sees sockets and, after each kill, the disk.

mod life;
mod lightning;
mod recovered;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

pub(crate) use life::{Fault, Life, Load};
pub(crate) use recovered::Recovered;

use crate::output::show;

/// Packets go out little by little, answered or not: in bursts the pool would be idle between two of them, and most
/// kills would hit nothing that is not synced yet.
const PACE: Duration = Duration::from_micros(50);

/// What a killed pool is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rail {
    /// Packets alone.
    Packets,
    /// Packets, and payments both ways over Lightning channels.
    Lightning,
}

/// Kills a pool process under load and compares every reply with what it recovers.
#[derive(Debug, Args)]
pub(crate) struct Crash {
    /// What it is busy with.
    #[arg(long, value_enum, default_value_t = Rail::Packets)]
    rail: Rail,
    /// How often it is killed.
    #[arg(long, default_value_t = 30)]
    kills: u32,
    /// Packets in flight, of packets alone.
    #[arg(long, default_value_t = 4_096)]
    window: u32,
    /// Chooses the moments; the same seed tries the same ones.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A folder on a real disk; the journal is made in it and removed afterwards.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
}

/// What the kills showed.
#[derive(Debug, Default, Serialize)]
struct Report {
    kills: u32,
    #[serde(flatten)]
    verdict: Verdict,
    full_disk_refusals: u64,
}

/// What was compared, life after life.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Verdict {
    pub(crate) kills_with_unsynced_commands: u32,
    pub(crate) packets_sent: u64,
    pub(crate) replies_compared: u64,
    pub(crate) forwards_compared: u64,
    pub(crate) fulfilled: u64,
    pub(crate) rejected: u64,
    pub(crate) torn_tails: u32,
}

impl Crash {
    /// Runs to the end; it blocks.
    pub(crate) fn run(self, json: bool) -> Result<()> {
        let folder = self
            .folder
            .join(format!("forebay-crash-{}", std::process::id()));
        std::fs::create_dir(&folder)
            .with_context(|| format!("{} cannot be made", folder.display()))?;
        let done = match self.rail {
            Rail::Packets => self.kill_under_packets(&folder, json),
            Rail::Lightning => self.kill_under_payments(&folder, json),
        };
        match done {
            Ok(()) => Ok(std::fs::remove_dir_all(&folder)?),
            Err(error) => {
                Err(error.context(format!("what it left is kept in {}", folder.display())))
            }
        }
    }

    fn kill_under_packets(&self, folder: &Path, json: bool) -> Result<()> {
        let report = self.kill_all(folder)?;
        show(json, &report, |report| {
            println!(
                "{} kills, {} of them with unsynced commands in flight",
                report.kills, report.verdict.kills_with_unsynced_commands
            );
            println!(
                "{} packets refused by T00 while the disk was full, and a whole restart after it",
                report.full_disk_refusals
            );
            println!(
                "{} packets sent; {} replies and {} forwards received, each of them recovered; {} torn tails cut",
                report.verdict.packets_sent,
                report.verdict.replies_compared,
                report.verdict.forwards_compared,
                report.verdict.torn_tails
            );
        })
    }

    fn kill_under_payments(&self, folder: &Path, json: bool) -> Result<()> {
        let report = lightning::kill_all(folder, self.kills, self.seed)?;
        show(json, &report, |report| {
            println!(
                "{} kills, {} of them with a payment of the pool's under way",
                report.kills, report.kills_with_a_payment_under_way
            );
            println!(
                "{} packets fulfilled; {} settlements paid, {} msat, and {} received, {} msat, none of them twice and none lost",
                report.packets_fulfilled,
                report.settlements_paid,
                report.paid,
                report.settlements_received,
                report.received
            );
            println!(
                "{} msat owned, by the books and by wallet and channels; an old copy of the Lightning store was refused",
                report.owned
            );
        })
    }

    fn load(&self, lives: Duration, fault: Fault) -> Load {
        Load {
            window: self.window,
            pace: PACE,
            lives,
            fault,
        }
    }

    fn kill_all(&self, folder: &Path) -> Result<Report> {
        let mut report = Report::default();
        let mut random = self.seed;
        let mut next_request = 1;
        for kill in 1..=self.kills {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let lives = Duration::from_millis(30 + (random >> 33) % 170);
            let life = Life::lead(folder, &self.load(lives, Fault::None), &mut next_request)?;
            let recovered = Recovered::read(folder)?;
            recovered
                .judge(&life, &mut report.verdict)
                .with_context(|| format!("after kill {kill} of {}", self.kills))?;
            report.kills = kill;
            eprint!(
                "\rkill {kill} of {}, {} packets sent ",
                self.kills, report.verdict.packets_sent
            );
        }
        eprintln!();
        ensure!(
            report.verdict.kills_with_unsynced_commands * 2 >= report.kills,
            "only {} of {} kills fell with unsynced commands in flight: raise --window",
            report.verdict.kills_with_unsynced_commands,
            report.kills
        );
        let while_killed = report.verdict.kills_with_unsynced_commands;
        for fills_disk in [true, false] {
            let fault = match fills_disk {
                true => Fault::FullDisk,
                false => Fault::None,
            };
            let load = self.load(Duration::from_millis(400), fault);
            let life = Life::lead(folder, &load, &mut next_request)?;
            let recovered = Recovered::read(folder)?;
            recovered
                .judge(&life, &mut report.verdict)
                .context(match fills_disk {
                    true => "after the disk was full",
                    false => "after a restart with room on the disk again",
                })?;
            let refused = life.refused_for_want_of_a_journal();
            ensure!(
                (refused > 0) == fills_disk,
                "{refused} packets were refused for want of a journal"
            );
            report.full_disk_refusals += refused;
        }
        report.verdict.kills_with_unsynced_commands = while_killed;
        ensure!(
            report.verdict.fulfilled > 0 && report.verdict.rejected > 0,
            "no packet was fulfilled, or none was rejected"
        );
        Ok(report)
    }
}
