//! The commands of a committee, an LP and anybody, against a vault on a real local chain.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay_chain_evm::anvil::{AnvilProcess, AnvilSettings};
use serde_json::{Value, json};

const ETHER: u128 = 1_000_000_000_000_000_000;
/// The year 2100: no chain of this test gets there.
const FOREVER_S: &str = "4102444800";
const PAR: u128 = 1_000_000_000_000_000_000_000_000_000;

struct World {
    anvil: AnvilProcess,
    folder: tempfile::TempDir,
    vault: String,
    stop: Arc<AtomicBool>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl World {
    fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let settings = AnvilSettings::new(AnvilSettings::binary_in(&root));
        let anvil = AnvilProcess::start(&settings).expect("cargo xtask setup installs anvil");
        let stop = Arc::new(AtomicBool::new(false));
        finalise(anvil.url().to_owned(), Arc::clone(&stop));
        Self {
            anvil,
            folder: tempfile::tempdir().unwrap(),
            vault: String::new(),
            stop,
        }
    }

    fn key(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.json"))
    }

    /// Makes a key with gas money and says its address.
    fn new_key(&self, name: &str) -> String {
        let key = self.key(name);
        let made = self
            .forebay(&["keys", "new", key.to_str().unwrap()])
            .unwrap();
        let address = made["address"].as_str().unwrap().to_owned();
        let money = format!("0x{:x}", 100 * ETHER);
        rpc(
            self.anvil.url(),
            "anvil_setBalance",
            json!([address, money]),
        );
        address
    }

    fn deploy(&mut self, members: &[String]) {
        let mut arguments = vec!["vault", "deploy", "--operator", &members[0]];
        arguments.extend(["--share-holder", &members[1], "--heartbeat-max-s", "864000"]);
        arguments.extend(["--bucket", "1000", "--bucket-refill-per-day", "10"]);
        for member in &members[1..] {
            arguments.extend(["--member", member]);
        }
        let deployed = self.as_key("operator", &arguments).unwrap();
        self.vault = deployed["vault"].as_str().unwrap().to_owned();
    }

    fn as_key(&self, name: &str, arguments: &[&str]) -> Result<Value, String> {
        let key = self.key(name);
        let mut all = arguments.to_vec();
        all.extend(["--key", key.to_str().unwrap(), "--chain-id", "31337"]);
        all.extend(["--rpc", self.anvil.url()]);
        self.forebay(&all)
    }

    fn at_vault(&self, name: &str, arguments: &[&str]) -> Result<Value, String> {
        let mut all = arguments.to_vec();
        all.extend(["--vault", &self.vault]);
        self.as_key(name, &all)
    }

    /// Runs the binary; its JSON, or what it said on standard error.
    fn forebay(&self, arguments: &[&str]) -> Result<Value, String> {
        let run = Command::new(env!("CARGO_BIN_EXE_forebay"))
            .arg("--json")
            .args(arguments)
            .env("FOREBAY_PASSPHRASE", "not a secret")
            .env("FOREBAY_LOG", "error")
            .output()
            .unwrap();
        if run.status.success() {
            Ok(serde_json::from_slice(&run.stdout).unwrap())
        } else {
            Err(String::from_utf8(run.stderr).unwrap())
        }
    }

    fn pass(&self, seconds: u64) {
        rpc(self.anvil.url(), "evm_increaseTime", json!([seconds]));
        rpc(self.anvil.url(), "anvil_mine", json!(["0x1"]));
    }
}

/// Lets blocks become final at once, for as long as the world stands.
fn finalise(url: String, stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            rpc(&url, "anvil_mine", json!(["0x46"]));
            std::thread::sleep(Duration::from_millis(200));
        }
    });
}

fn rpc(url: &str, method: &str, params: Value) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    runtime.block_on(async {
        // The chain ends before the thread that mines on it.
        let _answer = reqwest::Client::new()
            .post(url)
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await;
    });
}

#[test]
fn a_committee_freezes_marks_down_and_pays_shares_and_anybody_runs_a_silent_vault_down() {
    forebay_chain_evm::install_tls();
    let mut world = World::start();
    let names = ["operator", "ann", "ben", "cam"];
    let keys = names.map(|name| world.new_key(name));
    world.deploy(&keys);

    let shown = world.at_vault("cam", &["committee", "show"]).unwrap();
    assert_eq!(shown["members"], json!(keys[1..]));
    assert_eq!((&shown["spend"], &shown["freeze"]), (&json!(2), &json!(1)));
    assert_eq!(shown["bucket"], "1000");

    // One freezes alone; the operator is no member.
    let refused = world.at_vault("operator", &["committee", "freeze"]);
    assert!(refused.unwrap_err().contains("nothing to sign"));
    let frozen = world.at_vault("ann", &["committee", "freeze", "--for-s", "3600"]);
    assert!(frozen.unwrap()["transaction"].is_string());
    let shown = world.at_vault("ben", &["committee", "show"]).unwrap();
    assert!(shown["frozen_until_s"].is_u64());

    // Shares go out by two signatures, by the holder's own hand.
    let share = ["lp", "deposit", "--share", "5000"];
    world.at_vault("ann", &share).unwrap();
    let exit = [
        "committee",
        "share-exit",
        "--units",
        "2000",
        "--amount",
        "1900",
    ];
    let exit = [&exit[..], &["--valid-until-s", FOREVER_S]].concat();
    let signed = world.at_vault("cam", &exit).unwrap();
    assert!(signed["transaction"].is_null(), "one is not enough");
    let given = signed["signature"].as_str().unwrap();
    let paid = world.at_vault("ann", &[&exit[..], &["--signature", given]].concat());
    assert!(paid.unwrap()["transaction"].is_string());
    let position = world.at_vault("ann", &["lp", "show"]).unwrap();
    assert_eq!(position["share_units"], "3000");

    // Notes are marked down to a half by two signatures under the same values.
    world.at_vault("cam", &["lp", "deposit", "8000"]).unwrap();
    let half = (PAR / 2).to_string();
    let other = (PAR / 3).to_string();
    let lower = |index: &'static str| ["committee", "mark-down", "--index", index];
    let half: &'static str = half.leak();
    let other: &'static str = other.leak();
    let valid = ["--valid-until-s", FOREVER_S];
    let signed = world
        .at_vault("ann", &[&lower(half)[..], &valid].concat())
        .unwrap();
    let given = signed["signature"].as_str().unwrap();
    let with = ["--signature", given];
    let bent = world.at_vault("ben", &[&lower(other)[..], &valid, &with].concat());
    assert!(bent.unwrap_err().contains("made for other values"));
    let done = world.at_vault("ben", &[&lower(half)[..], &valid, &with].concat());
    assert!(done.unwrap()["transaction"].is_string());
    let position = world.at_vault("cam", &["lp", "show"]).unwrap();
    assert_eq!(position["worth"], "4000");

    // The operator is silent; anybody ends it, and the LP is paid in kind.
    let early = world.at_vault("ben", &["vault", "run-down"]);
    assert!(early.unwrap_err().contains("TooEarly"));
    world.pass(864_001);
    world.at_vault("ben", &["vault", "run-down"]).unwrap();
    let paid = world.at_vault("cam", &["lp", "withdraw"]).unwrap();
    assert_eq!(
        (&paid["paid"], &paid["units_unpaid"]),
        (&json!("4000"), &json!("0"))
    );
}
