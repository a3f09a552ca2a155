//! A pool, two peers, a watchtower and a chain: real processes of the real binary, on an anvil of their own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod packets;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use forebay_chain_evm::anvil::{AnvilProcess, AnvilSettings, FUNDED_KEYS};
use forebay_chain_evm::{
    Account, AccountSettings, Key, MemoryStore, RpcNodes, Vault, VaultParameters,
};
use forebay_channel::vault::VaultRequest;
use forebay_channel::{Address, Finality};
use forebay_quantity::{Amount, EffectId};
use serde_json::{Value, json};

pub const ETHER: u128 = 1_000_000_000_000_000_000;
/// Base units in one packet unit (gwei).
pub const GWEI: u128 = 1_000_000_000;
pub const NOTES: u128 = 20 * ETHER;
pub const DEPOSIT: u128 = 2 * ETHER;
/// How long the vault's notices run.
pub const NOTICE_S: u64 = 3_600;
/// The watchtower's: an answer is due this long before the deadline, and a quarter of the time before is the principal's.
pub const MARGIN_S: u64 = 600;
pub const PATIENCE_S: u64 = (NOTICE_S - MARGIN_S) / 4;
const CHAIN_ID: &str = "31337";
const PASSPHRASE: &str = "drill";
const WAIT: Duration = Duration::from_secs(60);

static EFFECTS: AtomicU64 = AtomicU64::new(1);

/// One process; killed when dropped.
pub struct Process {
    pub name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(name: &'static str, folder: &Path, arguments: &[&str]) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let child = forebay()
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { name, child, log }
    }

    /// SIGKILL, and nothing before it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; waits for the end and says whether that was in order.
    pub fn terminate(&mut self) -> bool {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.ended()
            .unwrap_or_else(|| panic!("{} does not end: {}", self.name, self.log()))
    }

    /// Whether it ended in order, once it has ended by itself.
    pub fn ended(&mut self) -> Option<bool> {
        let until = Instant::now() + WAIT;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status.success());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forebay() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command
        .env("FOREBAY_PASSPHRASE", PASSPHRASE)
        .env_remove("FOREBAY_CONFIG")
        .env_remove("FOREBAY_LOG");
    command
}

/// Runs the binary to its end; its standard output, or its complaint.
pub fn answer(arguments: &[&str]) -> Result<String, String> {
    let output = forebay()
        .args(arguments)
        .env("FOREBAY_LOG", "warn")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

pub fn done(arguments: &[&str]) -> String {
    answer(arguments).unwrap_or_else(|why| panic!("forebay {arguments:?}: {why}"))
}

/// A JSON-RPC client that shares no code with the adapter.
pub struct Rpc(String);

impl Rpc {
    pub fn ask(&self, method: &str, parameters: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters });
        let body = body.to_string();
        let host = self.0.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        write!(
            stream,
            "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let json = &text[text.find('{').unwrap()..=text.rfind('}').unwrap()];
        let answer: Value = serde_json::from_str(json).unwrap();
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    pub fn balance(&self, of: Address) -> u128 {
        number(&self.ask("eth_getBalance", json!([of.to_string(), "latest"])))
    }

    pub fn nonce(&self, of: Address) -> u128 {
        number(&self.ask("eth_getTransactionCount", json!([of.to_string(), "latest"])))
    }

    /// The chain's clock, in seconds.
    pub fn now(&self) -> u128 {
        let block = self.ask("eth_getBlockByNumber", json!(["latest", false]));
        number(&block["timestamp"])
    }

    pub fn pass(&self, seconds: u64) {
        self.ask("evm_increaseTime", json!([seconds]));
        self.ask("anvil_mine", json!([1]));
    }

    /// Blocks every so many seconds, or none at all with 0.
    pub fn mine_every(&self, seconds: u64) {
        self.ask("evm_setAutomine", json!([false]));
        self.ask("evm_setIntervalMining", json!([seconds]));
    }

    /// Every transaction that this address has in the chain, with its block's time and what it paid for gas.
    pub fn sent_by(&self, address: Address) -> Vec<Sent> {
        let height = number(&self.ask("eth_blockNumber", json!([])));
        let mut sent = Vec::new();
        for height in 0..=height {
            let block = self.ask(
                "eth_getBlockByNumber",
                json!([format!("{height:#x}"), true]),
            );
            for transaction in block["transactions"].as_array().unwrap() {
                if is(&transaction["from"], address) {
                    let hash = transaction["hash"].as_str().unwrap().to_owned();
                    let receipt = self.ask("eth_getTransactionReceipt", json!([hash]));
                    sent.push(Sent {
                        at: number(&block["timestamp"]),
                        succeeded: receipt["status"] == "0x1",
                        fee_per_gas: number(&receipt["effectiveGasPrice"]),
                        hash,
                    });
                }
            }
        }
        sent
    }

    /// The hashes of this address's transactions that wait for a block.
    pub fn waiting(&self, of: Address) -> Vec<(String, u128)> {
        let pool = self.ask("txpool_content", json!([]));
        let mut waiting = Vec::new();
        for (sender, transactions) in pool["pending"].as_object().unwrap() {
            if is(&json!(sender), of) {
                waiting.extend(
                    transactions
                        .as_object()
                        .unwrap()
                        .values()
                        .map(|transaction| {
                            let hash = transaction["hash"].as_str().unwrap().to_owned();
                            (hash, number(&transaction["maxFeePerGas"]))
                        }),
                );
            }
        }
        waiting
    }
}

/// A transaction in the chain.
#[derive(Debug, Clone)]
pub struct Sent {
    pub hash: String,
    /// Its block's time, in seconds.
    pub at: u128,
    pub succeeded: bool,
    /// In wei.
    pub fee_per_gas: u128,
}

fn is(text: &Value, address: Address) -> bool {
    let text = text.as_str().unwrap_or_default();
    text.eq_ignore_ascii_case(&address.to_string())
}

pub fn number(hexadecimal: &Value) -> u128 {
    let digits = hexadecimal.as_str().unwrap().trim_start_matches("0x");
    u128::from_str_radix(digits, 16).unwrap()
}

/// All of it.
pub struct World {
    pub pool: Process,
    pub peer_a: Process,
    pub peer_b: Process,
    pub tower: Process,
    pub rpc: Rpc,
    pub vault: Address,
    pub serial_a: u64,
    pub serial_b: u64,
    pub listen_a: String,
    pub listen_b: String,
    anvil: AnvilProcess,
    folder: tempfile::TempDir,
}

impl World {
    /// Starts everything: A has paid ahead, B has an allotment, and the watchtower knows both principals.
    pub async fn start() -> Self {
        forebay_chain_evm::install_tls();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let settings = AnvilSettings::new(AnvilSettings::binary_in(&root));
        let anvil = AnvilProcess::start(&settings).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let (btp, admin) = (free_port(), free_port());
        done(&[
            "init",
            &at("pool"),
            "--operator",
            "test.pool",
            "--chain",
            &format!("{CHAIN_ID}={}", anvil.url()),
            "--btp-listen",
            &format!("127.0.0.1:{btp}"),
            "--admin-listen",
            &format!("127.0.0.1:{admin}"),
        ]);
        let pool_key = address_in(&folder.path().join("pool/key.json"));
        let vault = deploy(anvil.url(), pool_key).await;
        done(&[
            "watch",
            "init",
            "--directory",
            &at("tower"),
            "--listen",
            &format!("127.0.0.1:{}", free_port()),
            "--chain-id",
            CHAIN_ID,
            "--rpc",
            anvil.url(),
            "--vault",
            &vault.to_string(),
            "--principal",
            "pool",
            "--principal",
            "b",
        ]);
        let (listen_a, listen_b) = (free_port(), free_port());
        for (name, listen, token, limits) in [
            (
                "a",
                listen_a,
                "token-a",
                vec!["--deposit", "2000000000000000000", "--prepay", "500000000"],
            ),
            (
                "b",
                listen_b,
                "token-b",
                vec!["--credit-to-pool", "1000000000"],
            ),
        ] {
            let (directory, listen) = (at(name), format!("127.0.0.1:{listen}"));
            let (pool_url, vault) = (format!("ws://127.0.0.1:{btp}/"), vault.to_string());
            let mut arguments = vec![
                "connect",
                "init",
                "--directory",
                &directory,
                "--pool-url",
                &pool_url,
                "--pool-token",
                token,
                "--listen",
                &listen,
                "--software-token",
                "software",
                "--asset-scale",
                "9",
                "--chain-id",
                CHAIN_ID,
                "--rpc",
                anvil.url(),
                "--vault",
                &vault,
            ];
            arguments.extend(limits);
            done(&arguments);
        }
        let rpc = Rpc(anvil.url().to_owned());
        let world_of = |name: &str| address_in(&folder.path().join(name).join("key.json"));
        fund(
            anvil.url(),
            &[pool_key, world_of("tower"), world_of("a"), world_of("b")],
        )
        .await;
        name_tower(folder.path());
        let tower = start_tower(folder.path());
        let pool = start_pool(folder.path());
        let pool_config = at("pool/forebay.toml");
        let asks = |arguments: &[&str]| {
            let mut all = vec!["--config", &pool_config, "--json"];
            all.extend(arguments);
            wait_for(&format!("forebay {arguments:?}"), || answer(&all).ok());
        };
        asks(&["status"]);
        asks(&[
            "assets",
            "add",
            "ETH",
            "--scale",
            "9",
            "--chain-scale",
            "18",
            "--chain-id",
            CHAIN_ID,
            "--vault",
            &vault.to_string(),
        ]);
        asks(&["peers", "add", "a", "--asset", "ETH", "--token", "token-a"]);
        asks(&[
            "peers",
            "add",
            "b",
            "--asset",
            "ETH",
            "--token",
            "token-b",
            "--set",
            "allotment=4000000000",
        ]);
        let mut world = Self {
            pool,
            peer_a: start_peer(folder.path(), "a"),
            peer_b: start_peer(folder.path(), "b"),
            tower,
            rpc,
            vault,
            serial_a: 0,
            serial_b: 0,
            listen_a: format!("127.0.0.1:{listen_a}"),
            listen_b: format!("127.0.0.1:{listen_b}"),
            anvil,
            folder,
        };
        let ready = || {
            let (a, b) = (world.view("a")?, world.view("b")?);
            let is_ready = a["ready"] == true
                && b["ready"] == true
                && units(&a["signed"]) > 0
                && units(&b["allotment_ceiling"]) > 0;
            is_ready.then(|| (a["serial"].as_u64().unwrap(), b["serial"].as_u64().unwrap()))
        };
        (world.serial_a, world.serial_b) =
            wait_or("A has paid ahead and B has an allotment", ready, || {
                world.logs()
            });
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn key(&self, name: &str) -> Key {
        open_key(&self.path(name).join("key.json"))
    }

    pub fn address(&self, name: &str) -> Address {
        address_in(&self.path(name).join("key.json"))
    }

    /// What `status.json` of a peer's side or the watchtower says; `None` while it is not there.
    pub fn view(&self, name: &str) -> Option<Value> {
        let text = std::fs::read_to_string(self.path(name).join("data/status.json")).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// The voucher that the watchtower keeps for a principal's channel, in base units.
    pub fn guarded(&self, principal: &str, serial: u64) -> u128 {
        let view = self.view("tower").unwrap_or_default();
        let held = &view["lanes"][principal]["held"][format!("{}/{serial}", self.vault)];
        held.as_str().map_or(0, |_| units(held))
    }

    /// What the watchtower says it has done.
    pub fn acts(&self) -> Vec<String> {
        let view = self.view("tower").unwrap_or_default();
        serde_json::from_value(view["acts"].clone()).unwrap_or_default()
    }

    /// Carries out a call on the vault by a key that cheats, and waits until it is in a block.
    pub async fn call(&self, key: Key, request: VaultRequest) {
        let vault = Vault::connect(account(self.anvil.url(), key).await, self.vault)
            .await
            .unwrap();
        let effect = EffectId::new(EFFECTS.fetch_add(1, Ordering::Relaxed));
        let included = vault
            .execute(effect, &request, Finality::Seen)
            .await
            .unwrap();
        assert!(included.succeeded, "{request:?}");
    }

    pub fn restart_tower(&mut self) {
        self.tower = start_tower(self.folder.path());
    }

    pub fn restart_pool(&mut self) {
        self.pool = start_pool(self.folder.path());
    }

    pub fn wait<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        wait_or(what, look, || self.logs())
    }

    pub fn logs(&self) -> String {
        [&self.pool, &self.peer_a, &self.peer_b, &self.tower]
            .map(|process| {
                let log = process.log();
                let lines: Vec<&str> = log.lines().collect();
                let from = lines.len().saturating_sub(12);
                format!("---- {}\n{}\n", process.name, lines[from..].join("\n"))
            })
            .concat()
    }
}

pub fn units(text: &Value) -> u128 {
    text.as_str().unwrap().parse().unwrap()
}

pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_or(what, look, String::new)
}

fn wait_or<T>(what: &str, mut look: impl FnMut() -> Option<T>, why: impl Fn() -> String) -> T {
    let until = Instant::now() + WAIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < until,
            "waited {WAIT:?} until {what}\n{}",
            why()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn start_tower(folder: &Path) -> Process {
    let config = folder.join("tower/watch.toml").display().to_string();
    Process::start("tower", folder, &["watch", "--watch-config", &config])
}

fn start_pool(folder: &Path) -> Process {
    start_pool_in(&folder.join("pool"), "pool")
}

/// Starts the pool of a folder; its log lies beside the folder.
pub fn start_pool_in(pool: &Path, name: &'static str) -> Process {
    let config = pool.join("forebay.toml").display().to_string();
    Process::start(name, pool.parent().unwrap(), &["--config", &config, "run"])
}

pub fn start_peer(folder: &Path, name: &'static str) -> Process {
    let config = folder.join(name).join("connect.toml").display().to_string();
    Process::start(name, folder, &["connect", "--peer-config", &config])
}

/// Tells pool and B of the watchtower, and gives it the times of this drill.
fn name_tower(folder: &Path) {
    let path = folder.join("tower/watch.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut tower: toml::Table = text.parse().unwrap();
    let listen = tower["listen"].as_str().unwrap().to_owned();
    for (principal, file) in [("pool", "pool/forebay.toml"), ("b", "b/connect.toml")] {
        let token = tower["principals"][principal]["token"].as_str().unwrap();
        let path = folder.join(file);
        let mut config: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        let entry = toml::toml! { url = (format!("ws://{listen}/")) token = (token) };
        config.insert("watchtowers".into(), toml::Value::Array(vec![entry.into()]));
        std::fs::write(&path, toml::to_string(&config).unwrap()).unwrap();
    }
    let limits = tower["limits"].as_table_mut().unwrap();
    limits.insert(
        "answer_margin_ms".into(),
        i64::try_from(MARGIN_S * 1_000).unwrap().into(),
    );
    limits.insert("poll_ms".into(), 200.into());
    limits.insert("stuck_after_ms".into(), 2_000.into());
    std::fs::write(&path, toml::to_string(&tower).unwrap()).unwrap();
}

async fn account(url: &str, key: Key) -> std::sync::Arc<Account> {
    let settings = AccountSettings {
        poll_interval: Duration::from_millis(50),
        ..AccountSettings::new(RpcNodes::own(url), 31_337)
    };
    let account = Account::connect(settings, key, Box::new(MemoryStore::default())).await;
    std::sync::Arc::new(account.unwrap())
}

async fn deploy(url: &str, operator: Address) -> Address {
    let deployer = account(url, Key::from_bytes(FUNDED_KEYS[0]).unwrap()).await;
    let parameters = VaultParameters {
        asset: None,
        operator,
        share_holder: None,
        floor_bps: 0,
        close_period_s: u32::try_from(NOTICE_S).unwrap(),
        exit_notice_s: 86_400,
        term_max_s: 30 * 86_400,
        index_rate_max_ray_per_day: 1,
        note_min: Amount::new(1),
        bucket_capacity: Amount::MAX,
        bucket_refill_per_day: Amount::ZERO,
        heartbeat_max_s: 30 * 86_400,
        committee_spend: 0,
        committee_freeze: 0,
        committee: Vec::new(),
    };
    let made = deployer
        .deploy_vault(EffectId::new(1), &parameters, Finality::Seen)
        .await
        .unwrap();
    let lp = account(url, Key::from_bytes(FUNDED_KEYS[1]).unwrap()).await;
    let vault = Vault::connect(lp, made.address).await.unwrap();
    let deposit = VaultRequest::DepositNote(Amount::new(NOTES));
    vault
        .execute(EffectId::new(1), &deposit, Finality::Seen)
        .await
        .unwrap();
    made.address
}

async fn fund(url: &str, addresses: &[Address]) {
    let giver = account(url, Key::from_bytes(FUNDED_KEYS[2]).unwrap()).await;
    for (number, address) in (1..).zip(addresses) {
        giver
            .pay(
                EffectId::new(number),
                *address,
                Amount::new(100 * ETHER),
                Finality::Seen,
            )
            .await
            .unwrap();
    }
}

fn address_in(path: &Path) -> Address {
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    file["address"].as_str().unwrap().parse().unwrap()
}

/// Opens a key file as docs/book/recover.md describes it.
fn open_key(path: &Path) -> Key {
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let bytes = |field: &str| hex::decode(file[field].as_str().unwrap()).unwrap();
    let whole = |field: &str| u32::try_from(file[field].as_u64().unwrap()).unwrap();
    let params = Params::new(whole("memory_kib"), whole("passes"), 1, Some(32)).unwrap();
    let mut seal = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(PASSPHRASE.as_bytes(), &bytes("salt"), &mut seal)
        .unwrap();
    let nonce: [u8; 12] = bytes("nonce").try_into().unwrap();
    let (sealed, address) = (bytes("sealed"), file["address"].as_str().unwrap());
    let payload = Payload {
        msg: &sealed,
        aad: address.as_bytes(),
    };
    let secret = ChaCha20Poly1305::new(&seal.into()).decrypt(&Nonce::from(nonce), payload);
    Key::from_bytes(secret.unwrap().try_into().unwrap()).unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
