//! `https` and `wss` outward, as a user types the commands: against Node's TLS, with a private certificate authority.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use forebay_chain_evm::anvil::{AnvilProcess, AnvilSettings, FUNDED_KEYS};
use forebay_chain_evm::{Account, AccountSettings, Key, MemoryStore, RpcNodes};
use forebay_channel::Finality;
use forebay_quantity::{Amount, EffectId};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_forebay");
const ETHER: u128 = 1_000_000_000_000_000_000;
const WAIT: Duration = Duration::from_secs(60);

/// A process that ends with the test.
struct Running(Child);

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in ["pool.log", "stranger.log", "peer.log"] {
                let text = std::fs::read_to_string(self.path(log)).unwrap_or_default();
                eprintln!("{log}:\n{text}");
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct World {
    folder: tempfile::TempDir,
    root: PathBuf,
    fronts: Vec<Running>,
}

impl World {
    /// A folder with an authority's certificate and one for `localhost` that it has signed.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut authority = rcgen::CertificateParams::new([]).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let root = authority.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let leaf = names.signed_by(&key, &issuer).unwrap();
        for (name, text) in [
            ("root.pem", root.pem()),
            ("leaf.pem", leaf.pem()),
            ("leaf-key.pem", key.serialize_pem()),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self {
            folder,
            root: Path::new(env!("CARGO_MANIFEST_DIR"))
                .ancestors()
                .nth(2)
                .unwrap()
                .to_owned(),
            fronts: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Puts TLS in front of a port; `localhost:port` is where it listens.
    fn front(&mut self, port: u16) -> String {
        let mut child = Command::new("node")
            .arg(self.root.join("tools/ilp/tls-front.cjs"))
            .args([self.path("leaf.pem"), self.path("leaf-key.pem")])
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is installed by `cargo xtask setup`");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        self.fronts.push(Running(child));
        let told: Value = serde_json::from_str(&line).unwrap();
        format!("localhost:{}", told["port"])
    }

    /// The command, for a machine that trusts the authority or one that does not.
    fn forebay(&self, trusts: bool) -> Command {
        let mut command = Command::new(BINARY);
        command
            .env("FOREBAY_PASSPHRASE", "of the test")
            .env_remove("SSL_CERT_DIR")
            .env_remove("SSL_CERT_FILE");
        if trusts {
            command.env("SSL_CERT_FILE", self.path("root.pem"));
        }
        command
    }

    fn run(&self, trusts: bool, arguments: &[&str]) -> Output {
        self.forebay(trusts).args(arguments).output().unwrap()
    }

    fn answer(&self, arguments: &[&str]) -> Value {
        let output = self.run(true, arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            errors(&output)
        );
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    fn start(&self, trusts: bool, arguments: &[&str], log: &str) -> Running {
        let log = std::fs::File::create(self.path(log)).unwrap();
        let mut command = self.forebay(trusts);
        Running(command.args(arguments).stderr(log).spawn().unwrap())
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn port_of(url: &str) -> u16 {
    url.rsplit(':').next().unwrap().parse().unwrap()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + WAIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited {WAIT:?} for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

async fn pay(chain: &str, to: &Value) {
    let settings = AccountSettings::new(RpcNodes::own(chain), 31_337);
    let key = Key::from_bytes(FUNDED_KEYS[0]).unwrap();
    let bank = Account::connect(settings, key, Box::new(MemoryStore::default()))
        .await
        .unwrap();
    let to = to["address"].as_str().unwrap().parse().unwrap();
    let amount = Amount::new(10 * ETHER);
    bank.pay(EffectId::new(1), to, amount, Finality::Seen)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_prices_and_pools_are_reached_by_tls_and_only_with_a_certificate_that_is_trusted() {
    let mut world = World::new();
    let anvil = AnvilProcess::start(&AnvilSettings::new(AnvilSettings::binary_in(&world.root)));
    let anvil = anvil.unwrap();
    let chain = format!("https://{}", world.front(port_of(anvil.url())));
    let source = world
        .forebay(true)
        .args(["demo", "price-source", "60000", "3000", "1"])
        .stdout(Stdio::piped())
        .spawn();
    let mut source = Running(source.unwrap());
    let mut line = String::new();
    BufReader::new(source.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let source_url: Value = serde_json::from_str(&line).unwrap();
    let price = world.front(port_of(
        source_url["url"].as_str().unwrap().trim_end_matches('/'),
    ));
    let price = format!("ETH=https://{price}#/ETH");
    let (btp, admin) = (free_port(), free_port());
    let pool_folder = world.path("pool");
    let config = world.path("pool/forebay.toml");
    world.answer(&[
        "init",
        "--operator",
        "test.pool",
        "--btp-listen",
        &format!("127.0.0.1:{btp}"),
        "--admin-listen",
        &format!("127.0.0.1:{admin}"),
        "--chain",
        &format!("31337={chain}"),
        "--price",
        &price,
        "--price-poll-ms",
        "200",
        &pool_folder,
    ]);
    let key = world.path("pool/key.json");
    let operator = world.answer(&["--json", "keys", "show", &key]);
    pay(anvil.url(), &operator).await;

    let operator = operator["address"].as_str().unwrap();
    let deploy = [
        "--json",
        "vault",
        "deploy",
        "--key",
        &key,
        "--rpc",
        &chain,
        "--chain-id",
        "31337",
        "--operator",
        operator,
    ];
    let refused = world.run(false, &deploy);
    assert!(!refused.status.success());
    assert!(
        errors(&refused).contains("certificate"),
        "{}",
        errors(&refused)
    );
    let vault = world.answer(&deploy)["vault"].as_str().unwrap().to_owned();

    let _pool = world.start(true, &["--config", &config, "run"], "pool.log");
    let of_pool = |arguments: &[&str]| {
        let output = world.run(
            true,
            &[&["--config", &config, "--json"], arguments].concat(),
        );
        (output.status.success()).then(|| serde_json::from_slice::<Value>(&output.stdout).unwrap())
    };
    wait_for("the pool to answer", || of_pool(&["status"]));
    let listed = of_pool(&[
        "assets",
        "add",
        "ETH",
        "--scale",
        "9",
        "--chain-scale",
        "18",
        "--chain-id",
        "31337",
        "--vault",
        &vault,
    ]);
    listed.expect("the vault is looked at by https");
    wait_for("a price by https", || {
        let assets = of_pool(&["assets", "list"])?;
        let price = assets[0]["sources"][0]["price"].as_str()?;
        (price.parse() == Ok(3_000.0)).then_some(())
    });
    let peer = of_pool(&["peers", "add", "a", "--asset", "ETH", "--token", "secret"]);
    peer.expect("the account is opened");

    let pool_url = format!("wss://{}/", world.front(btp));
    let peer_folder = world.path("peer");
    world.answer(&[
        "connect",
        "init",
        "--directory",
        &peer_folder,
        "--pool-url",
        &pool_url,
        "--pool-token",
        "secret",
        "--listen",
        "127.0.0.1:0",
        "--chain-id",
        "31337",
        "--rpc",
        anvil.url(),
        "--vault",
        &vault,
        "--asset-scale",
        "9",
    ]);
    let connect = world.path("peer/connect.toml");
    let stranger = world.start(
        false,
        &["connect", "--peer-config", &connect],
        "stranger.log",
    );
    wait_for("the certificate to be refused", || {
        let log = std::fs::read_to_string(world.path("stranger.log")).ok()?;
        log.contains("invalid peer certificate").then_some(())
    });
    drop(stranger);
    let _peer = world.start(true, &["connect", "--peer-config", &connect], "peer.log");
    wait_for("the peer to agree with the pool by wss", || {
        let status = std::fs::read_to_string(world.path("peer/data/status.json")).ok()?;
        let view: Value = serde_json::from_str(&status).ok()?;
        (view["ready"] == true && view["ilp_address"] == "test.pool.a").then_some(())
    });
}
