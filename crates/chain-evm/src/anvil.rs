//! A local anvil process, for tests and the demonstration. Nothing else in this crate knows of it.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// How an anvil is started.
#[derive(Clone, Debug)]
pub struct AnvilSettings {
    /// The binary.
    pub binary: PathBuf,
    /// Seconds between blocks; `None` makes one for each transaction.
    pub block_time_s: Option<u64>,
    /// Mines nothing by itself.
    pub mines_nothing: bool,
    /// The EVM chain id.
    pub chain_id: u64,
    /// Where its output goes, so that it can outlive us; `None` reads it here.
    pub log: Option<PathBuf>,
}

impl AnvilSettings {
    /// The binary that `cargo xtask setup` installs below the repository's root.
    #[must_use]
    pub fn binary_in(root: &Path) -> PathBuf {
        root.join("tools/evm/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil")
    }

    /// A chain with a block a second, whose `safe` and `finalized` tags move.
    #[must_use]
    pub fn new(binary: PathBuf) -> Self {
        Self {
            binary,
            block_time_s: Some(1),
            mines_nothing: false,
            chain_id: 31_337,
            log: None,
        }
    }
}

/// The private keys of anvil's funded accounts: `m/44'/60'/0'/0/i` of its public test mnemonic.
pub const FUNDED_KEYS: [[u8; 32]; 4] = [
    key(b"ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"),
    key(b"59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"),
    key(b"5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"),
    key(b"7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"),
];

const fn key(digits: &[u8; 64]) -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < 32 {
        bytes[at] = (nibble(digits[2 * at]) << 4) | nibble(digits[2 * at + 1]);
        at += 1;
    }
    bytes
}

const fn nibble(digit: u8) -> u8 {
    if digit <= b'9' {
        digit - b'0'
    } else {
        digit - b'a' + 10
    }
}

/// A running anvil on a port of its own choosing; ended when dropped.
#[derive(Debug)]
pub struct AnvilProcess {
    child: Child,
    url: String,
    kept: bool,
}

/// The longest a start may take on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);

impl AnvilProcess {
    /// Starts one and waits until it listens.
    ///
    /// # Errors
    /// When the binary is missing (says how to install it), ends, or does not listen in time.
    pub fn start(settings: &AnvilSettings) -> io::Result<Self> {
        if !settings.binary.is_file() {
            let message = format!(
                "there is no anvil at {}; run `cargo xtask setup`",
                settings.binary.display()
            );
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        let mut command = command(settings);
        let told = match &settings.log {
            Some(log) => {
                let mut child = command.stdout(File::create(log)?).spawn()?;
                listening_in(log, &mut child).map(|url| (child, url))
            }
            None => {
                let mut child = command.stdout(Stdio::piped()).spawn()?;
                listening_on(&mut child).map(|url| (child, url))
            }
        };
        let (child, url) = told?;
        Ok(Self {
            child,
            url,
            kept: false,
        })
    }

    /// Lets it run on after this program; only with a log, else it stops at its next line of output.
    #[must_use]
    pub fn keep(mut self) -> u32 {
        self.kept = true;
        self.id()
    }

    /// Its RPC URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for AnvilProcess {
    fn drop(&mut self) {
        if !self.kept {
            end(&mut self.child);
        }
    }
}

/// Reads the output through a pipe, and on until the process ends, so that it never blocks on it.
fn listening_on(child: &mut Child) -> io::Result<String> {
    let output = child.stdout.take().expect("standard output is piped");
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(url) = url_in(&line) {
                let _nobody_waits_any_more = tell.send(url);
            }
        }
    });
    told.recv_timeout(START_MAX)
        .map_err(|_| not_listening(child))
}

fn listening_in(log: &Path, child: &mut Child) -> io::Result<String> {
    let started = Instant::now();
    while started.elapsed() < START_MAX && child.try_wait()?.is_none() {
        let text = std::fs::read_to_string(log)?;
        if let Some(url) = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .find_map(url_in)
        {
            return Ok(url);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(not_listening(child))
}

/// The URL in anvil's line about it.
fn url_in(line: &str) -> Option<String> {
    let address = line.strip_prefix("Listening on ")?.trim();
    address
        .parse::<SocketAddr>()
        .ok()
        .map(|address| format!("http://{address}"))
}

fn not_listening(child: &mut Child) -> io::Error {
    end(child);
    io::Error::other("anvil does not listen; is the machine out of memory or ports?")
}

fn end(child: &mut Child) {
    // Both fail only when the process has ended already.
    let _ended = child.kill();
    let _reaped = child.wait();
}

fn command(settings: &AnvilSettings) -> Command {
    let mut command = Command::new(&settings.binary);
    command
        .args(["--host", "127.0.0.1", "--port", "0", "--hardfork", "cancun"])
        .args([
            "--slots-in-an-epoch",
            "1",
            "--chain-id",
            &settings.chain_id.to_string(),
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    if let Some(seconds) = settings.block_time_s {
        command.args(["--block-time", &seconds.to_string()]);
    }
    if settings.mines_nothing {
        command.arg("--no-mining");
    }
    command
}
