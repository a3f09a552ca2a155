//! What a figure must name: the machine it was taken on.

use std::fs::read_to_string;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

/// The machine, as far as it explains a figure.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Host {
    /// Processors that the pool and the generator share.
    pub(super) cores: usize,
    /// One, five and fifteen minutes.
    pub(super) load_average: String,
    /// Of the journal.
    pub(super) file_system: String,
}

/// Looks at this machine.
///
/// # Errors
/// When `folder` lies in memory: a sync there would cost nothing.
pub(super) fn look(folder: &Path) -> Result<Host> {
    let file_system = file_system(&folder.canonicalize()?)?;
    ensure!(
        !["tmpfs", "ramfs", "devtmpfs"].contains(&file_system.as_str()),
        "{} is a {file_system}, where a sync costs nothing: name a folder on a disk with --folder",
        folder.display()
    );
    let load = read_to_string("/proc/loadavg").context("/proc/loadavg cannot be read")?;
    Ok(Host {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        load_average: load
            .split_whitespace()
            .take(3)
            .collect::<Vec<_>>()
            .join(" "),
        file_system,
    })
}

/// The type of the file system with the longest mount point above `folder`.
fn file_system(folder: &Path) -> Result<String> {
    let mounts = read_to_string("/proc/self/mounts").context("/proc/self/mounts cannot be read")?;
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        folder.starts_with(point).then_some((point.len(), kind))
    });
    let (_, kind) = mounted
        .max_by_key(|(length, _)| *length)
        .context("the folder is on no mounted file system")?;
    Ok(kind.to_owned())
}

/// Processor time of a process, user and system, in microseconds.
pub(super) fn cpu_us(process: u32) -> Result<u64> {
    let stat =
        read_to_string(format!("/proc/{process}/stat")).context("the pool process is gone")?;
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
