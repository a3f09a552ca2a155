//! A real server, run by hand: `FOREBAY_ESPLORA` names its binary.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use forebay_chain_bitcoin::bitcoind::regtest::Regtest;
use forebay_chain_bitcoin::bitcoind::{Bitcoind, Credentials};
use serde_json::Value;

/// The longest that it may take to start or to read some blocks, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Electrs {
    binary: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    port: u16,
    child: Child,
}

impl Electrs {
    pub(crate) async fn start(binary: &Path, node: &Regtest, folder: &Path) -> Self {
        let settings = node.client_settings();
        let Credentials::User { name, password } = &settings.credentials else {
            panic!("it has a user");
        };
        let [http, electrum, monitoring] = ports();
        let at = |port: u16| format!("127.0.0.1:{port}");
        let pairs = [
            ("--network", "regtest".to_owned()),
            (
                "--daemon-dir",
                folder.join("bitcoind").display().to_string(),
            ),
            ("--daemon-rpc-addr", at(node.port())),
            ("--cookie", format!("{name}:{password}")),
            ("--db-dir", folder.join("electrs").display().to_string()),
            ("--http-addr", at(http)),
            ("--electrum-rpc-addr", at(electrum)),
            ("--monitoring-addr", at(monitoring)),
            ("--main-loop-delay", "100".to_owned()),
        ];
        let pairs = pairs
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value]);
        let mut arguments: Vec<_> = pairs.collect();
        arguments.push("--jsonrpc-import".to_owned());
        let log = folder.join("electrs.log");
        let child = launch(binary, &arguments, &log);
        // Already chosen when a client of ours was made before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let electrs = Self {
            binary: binary.to_owned(),
            arguments,
            log,
            port: http,
            child,
        };
        electrs.caught_up(node.client()).await;
        electrs
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn stop(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    pub(crate) async fn start_again(&mut self) {
        self.child = launch(&self.binary, &self.arguments, &self.log);
        let started = Instant::now();
        while self.get("/blocks/tip/hash").await.is_none() {
            self.wait(started, "it answers again").await;
        }
    }

    pub(crate) async fn caught_up(&self, node: &Bitcoind) {
        let started = Instant::now();
        loop {
            let tip = node.tip().await.expect("bitcoind answers").hash.to_string();
            let waiting: Vec<String> = node.call("getrawmempool", &[]).await.expect("it answers");
            let known = self.get("/mempool/txids").await;
            let known: Option<Vec<String>> = known
                .and_then(|known| serde_json::from_str::<Value>(&known).ok())
                .and_then(|known| serde_json::from_value(known).ok());
            let is_same = known.is_some_and(|mut known| {
                let mut waiting = waiting;
                known.sort();
                waiting.sort();
                known == waiting
            });
            if is_same && self.get("/blocks/tip/hash").await.as_ref() == Some(&tip) {
                return;
            }
            self.wait(started, "it has what bitcoind has").await;
        }
    }

    async fn get(&self, path: &str) -> Option<String> {
        let answer = reqwest::get(format!("{}{path}", self.url())).await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }

    async fn wait(&self, started: Instant, what: &str) {
        let log = self.log.display();
        assert!(
            started.elapsed() < PATIENCE,
            "not in time: {what}; see {log}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Drop for Electrs {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(binary: &Path, arguments: &[String], log: &Path) -> Child {
    let out = File::create(log).expect("a log");
    let mut command = Command::new(binary);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(out);
    let child = command.spawn();
    child.unwrap_or_else(|error| panic!("{}: {error}", binary.display()))
}

/// Free now, all three at once.
fn ports() -> [u16; 3] {
    [0, 1, 2]
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"))
        .map(|listener| listener.local_addr().expect("it is bound").port())
}
