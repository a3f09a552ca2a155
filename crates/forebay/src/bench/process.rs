//! The pool in a process of its own, as everything that measures or mistreats it starts it.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::host;

/// Where a pool process listens.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listening {
    pub(super) btp: SocketAddr,
    pub(super) http: Option<SocketAddr>,
    pub(super) admin: SocketAddr,
}

/// What the process did since it started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    pub(super) syncs: u64,
    pub(super) records: u64,
    /// Processor time, user and system.
    pub(super) cpu_us: u64,
}

/// The pool in a process of its own, told to end by the end of its input.
pub(crate) struct PoolProcess {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    listening: Listening,
}

impl PoolProcess {
    /// A pool with one sender and one receiver.
    pub(crate) fn start(folder: &Path, socket_threads: usize) -> Result<Self> {
        let threads = ["--socket-threads".into(), socket_threads.to_string()];
        Self::start_with(folder, &threads)
    }

    /// One with these arguments of the hidden `bench pool`.
    pub(super) fn start_with(folder: &Path, arguments: &[String]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bench", "pool", "--folder"])
            .arg(folder)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the pool process cannot be started")?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("the pool's output is a pipe")?;
        let mut pool = Self {
            child,
            input,
            output: BufReader::new(output),
            listening: Listening {
                btp: SocketAddr::from(([127, 0, 0, 1], 0)),
                http: None,
                admin: SocketAddr::from(([127, 0, 0, 1], 0)),
            },
        };
        pool.listening = serde_json::from_str(&pool.line()?)
            .context("the pool process did not start: its own words are above")?;
        Ok(pool)
    }

    /// Where it serves BTP.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listening.btp
    }

    /// Its number in the system.
    pub(super) fn number(&self) -> u32 {
        self.child.id()
    }

    /// Where it serves everything.
    pub(super) fn listening(&self) -> &Listening {
        &self.listening
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

    /// What it did since it started.
    pub(super) fn figures(&mut self) -> Result<Figures> {
        let input = self.input.as_mut();
        writeln!(input.context("the pool's input is open until its end")?)?;
        let line = self.line()?;
        let (syncs, records) = line.split_once(' ').context("the pool process is gone")?;
        Ok(Figures {
            syncs: syncs.parse()?,
            records: records.parse()?,
            cpu_us: host::cpu_us(self.child.id())?,
        })
    }

    /// Bytes of it that are in memory.
    pub(super) fn memory(&self) -> Result<u64> {
        host::memory(self.child.id())
    }

    /// Lets it end in order.
    pub(super) fn end(&mut self) -> Result<()> {
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
