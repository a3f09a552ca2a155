//! The program itself: founds a pool, runs it with a log for programs, and hands out tokens.
#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

struct Pool {
    folder: tempfile::TempDir,
    process: Child,
}

fn forebay(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command
        .env("FOREBAY_PASSPHRASE", "a passphrase of a test")
        .env("FOREBAY_CONFIG", folder.join("pool/forebay.toml"))
        .env("FOREBAY_LOG", "debug")
        .stdin(Stdio::null());
    command
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Pool {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listen = |port: u16| format!("127.0.0.1:{port}");
        let founded = forebay(folder.path())
            .args(["init", "--operator", "test.pool", "--btp-listen"])
            .args([
                listen(free_port()),
                "--admin-listen".into(),
                listen(free_port()),
            ])
            .arg(folder.path().join("pool"))
            .output()
            .unwrap();
        assert!(founded.status.success(), "{}", text(&founded.stderr));
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = forebay(folder.path())
            .args(["--log-format", "json", "run"])
            .stderr(log)
            .spawn()
            .unwrap();
        let pool = Self { folder, process };
        let until = Instant::now() + Duration::from_secs(60);
        while !pool.ask(&["status"]).status.success() {
            assert!(Instant::now() < until, "the pool does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        pool
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        forebay(self.folder.path())
            .args(arguments)
            .output()
            .unwrap()
    }

    fn answer(&self, arguments: &[&str]) -> Value {
        let output = self.ask(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Ends it in order, and gives its log.
    fn end(mut self) -> String {
        let pid = i32::try_from(self.process.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success());
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn tokens_are_made_listed_and_revoked_and_each_request_is_found_in_a_log_of_json_lines() {
    let pool = Pool::start();
    let made = pool.answer(&["--json", "tokens", "add", "grafana", "--role", "read"]);
    assert_eq!(made["token"].as_str().unwrap().len(), 64);
    let listed = pool.answer(&["--json", "tokens", "list"]);
    assert_eq!(
        (&listed[0]["name"], &listed[0]["role"]),
        (&"grafana".into(), &"read".into())
    );
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let twice = pool.ask(&["tokens", "add", "grafana", "--role", "read"]);
    assert!(text(&twice.stderr).contains("choose another"), "{twice:?}");
    pool.answer(&["--json", "tokens", "revoke", "grafana"]);
    assert_eq!(
        pool.answer(&["--json", "tokens", "list"]),
        Value::Array(Vec::new())
    );

    let log = pool.end();
    let lines: Vec<Value> = log
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.len() > 5, "{log}");
    let posted = lines.iter().find(|line| {
        line["span"]["path"] == "/v1/tokens"
            && line["span"]["method"] == "POST"
            && line["fields"]["message"] == "answered"
    });
    let posted = posted.unwrap_or_else(|| panic!("{log}"));
    assert_eq!(posted["fields"]["status"], 200);
    assert_eq!(posted["span"]["token"], "admin.token");
    assert!(posted["span"]["id"].as_str().unwrap().contains('-'));
}
