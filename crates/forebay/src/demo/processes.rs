//! The demonstration's processes: each with its own folder and log, all ended when this program ends.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A started program.
pub(crate) struct Process {
    pub(super) name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    log: PathBuf,
    kept: bool,
}

impl Process {
    /// Starts a program whose complaints go to a log, and whose standard output is read as JSON lines.
    pub(crate) fn start(name: &str, mut command: Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file);
        let mut child = command
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        let output = child.stdout.take().context("standard output is piped")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(value) = serde_json::from_str(&line) {
                    // Nobody may wait for it any more.
                    let _ = sender.send(value);
                }
            }
        });
        let stdin = child.stdin.take();
        Ok(Self {
            name: name.into(),
            child,
            stdin,
            lines,
            log,
            kept: false,
        })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line it says.
    pub(super) fn line(&mut self, wait: Duration) -> Result<Value> {
        match self.lines.recv_timeout(wait) {
            Ok(value) => Ok(value),
            Err(_) => bail!("{} says nothing: {}", self.name, self.complaints()),
        }
    }

    /// Asks for a line and waits for it.
    pub(super) fn ask(&mut self) -> Result<Value> {
        if let Some(stdin) = &mut self.stdin {
            stdin
                .write_all(b"\n")
                .with_context(|| format!("{} has ended: {}", self.name, tail(&self.log)))?;
        }
        self.line(Duration::from_secs(10))
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))
    }

    /// SIGKILL, and nothing before it.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and its exit status.
    pub(super) fn terminate(&mut self, wait: Duration) -> Result<ExitStatus> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .context("a process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let until = Instant::now() + wait;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= until {
                bail!(
                    "{} does not end on SIGTERM within {wait:?}: {}",
                    self.name,
                    self.complaints()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets it run on after this program.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }

    /// The end of its log.
    pub(crate) fn complaints(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.kept {
            // Both fail only when it has ended already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The last lines of a log.
pub(super) fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(6);
    lines[from..].join(" | ")
}

/// This very program with other arguments.
pub(crate) fn forebay(passphrase: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .env("FOREBAY_PASSPHRASE", passphrase)
        .env_remove("FOREBAY_CONFIG");
    Ok(command)
}

/// Runs this program to its end and reads its answer, if it gives one as JSON.
pub(crate) fn answer<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
    passphrase: &str,
    arguments: I,
) -> Result<Value> {
    let output = forebay(passphrase)?
        .args(arguments)
        .env("FOREBAY_LOG", "warn")
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}
