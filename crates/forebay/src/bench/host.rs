//! What a figure must name: the machine it was taken on; and what a process costs there.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

/// The machine, as far as it explains a figure.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Host {
    /// Processors that the pool and the generator share.
    cores: usize,
    /// One, five and fifteen minutes.
    load_average: String,
    /// Of the journal.
    file_system: String,
}

impl Host {
    /// Looks at this machine.
    ///
    /// # Errors
    /// When `folder` lies in memory: a sync there would cost nothing.
    pub(super) fn look(folder: &Path) -> Result<Self> {
        let file_system = file_system(&existing(folder)?)?;
        ensure!(
            !["tmpfs", "ramfs", "devtmpfs"].contains(&file_system.as_str()),
            "{} is a {file_system}, where a sync costs nothing: name a folder on a disk with --folder",
            folder.display()
        );
        let load = read_to_string("/proc/loadavg").context("/proc/loadavg cannot be read")?;
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load_average: load
                .split_whitespace()
                .take(3)
                .collect::<Vec<_>>()
                .join(" "),
            file_system,
        })
    }

    /// One line for people.
    pub(super) fn print(&self) {
        let Self {
            cores,
            load_average,
            file_system,
        } = self;
        println!(
            "{cores} cores shared with the load, load average {load_average}, journal on {file_system}"
        );
    }
}

fn existing(folder: &Path) -> Result<PathBuf> {
    let absent = || format!("there is no folder {}: make it first", folder.display());
    folder.canonicalize().with_context(absent)
}

/// A folder for one measurement, removed at its end.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(folder: &Path) -> Result<Self> {
        let path = existing(folder)?.join(format!("forebay-bench-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}

/// The type of the file system with the longest mount point above `folder`.
fn file_system(folder: &Path) -> Result<String> {
    let mounts = read_to_string("/proc/self/mounts").context("/proc/self/mounts cannot be read")?;
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        folder.starts_with(point).then_some((point.len(), kind))
    });
    let longest = mounted.max_by_key(|(length, _)| *length);
    // In a changed root its mount point may not be named.
    Ok(longest
        .map_or("an unnamed file system", |(_, kind)| kind)
        .to_owned())
}

/// Processor time of a process, user and system, in microseconds.
pub(super) fn cpu_us(process: u32) -> Result<u64> {
    let stat = read_to_string(format!("/proc/{process}/stat")).context("the process is gone")?;
    let fields = stat
        .rsplit_once(')')
        .context("/proc/…/stat has another form here")?
        .1;
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    // The kernel counts them in hundredths of a second towards user space.
    Ok(ticks * 10_000)
}

/// Bytes of a process that are in memory.
pub(super) fn memory(process: u32) -> Result<u64> {
    let status =
        read_to_string(format!("/proc/{process}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.and_then(|line| line.split_whitespace().next());
    let kilobytes: u64 = words
        .context("/proc/…/status has another form here")?
        .parse()?;
    Ok(kilobytes * 1_024)
}
