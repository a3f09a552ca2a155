//! A peer that shares no code with LDK: Electrum, which has its own Lightning. `cargo xtask setup` installs it and its server.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use forebay_chain_bitcoin::lightning::{ChannelNumber, NodeId, Observation, Opening};
use serde_json::Value;

use crate::world::{World, free_port, hash_of, until, until_equal};

const CLIENT: &str = "/usr/bin/electrum";
const MISSING: &str = "is not there: run `cargo xtask setup`";

/// Electrum as a process, and the server that it asks for the chain.
struct Electrum {
    server: Child,
    daemon: Child,
    folder: PathBuf,
    id: NodeId,
    address: String,
}

impl Electrum {
    fn start(world: &World) -> Self {
        let folder = world.folder.path().join("electrum");
        let (server_port, peers_port) = (free_port(), free_port());
        let server = start_server(world, server_port);
        let address = format!("127.0.0.1:{peers_port}");
        // With gossip it finds routes by itself, not through others' nodes.
        let config = serde_json::json!({
            "config_version": 3,
            "server": format!("127.0.0.1:{server_port}:t"),
            "oneserver": true,
            "auto_connect": false,
            "check_updates": false,
            "use_gossip": true,
            "lightning_listen": address,
        });
        std::fs::create_dir_all(folder.join("regtest")).expect("a folder");
        std::fs::write(folder.join("regtest/config"), config.to_string()).expect("written");
        ask(&folder, &["--offline", "create"]);
        let daemon = client(&folder)
            .arg("daemon")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{CLIENT} {MISSING}: {error}"));
        until("Electrum answers", || {
            let loaded = client(&folder).arg("load_wallet").output();
            loaded.is_ok_and(|loaded| loaded.status.success())
        });
        let told = ask(&folder, &["nodeid"]);
        let (id, _) = told.split_once('@').expect("an id and an address");
        let id = node_id(id.trim());
        let electrum = Self {
            server,
            daemon,
            folder,
            id,
            address,
        };
        electrum.sees(world);
        electrum
    }

    fn ask(&self, arguments: &[&str]) -> Value {
        let told = ask(&self.folder, arguments);
        serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"))
    }

    /// Waits until it knows the last block.
    fn sees(&self, world: &World) {
        let height = u64::from(world.height());
        until("Electrum sees the last block", || {
            self.ask(&["getinfo"])["blockchain_height"].as_u64() == Some(height)
        });
    }

    /// Whether its one channel is open, and what is its own in it, in satoshi.
    fn channel(&self) -> Option<(bool, u64)> {
        let channels = self.ask(&["list_channels"]);
        let channel = channels.as_array()?.first()?;
        let is_open = channel["state"] == "OPEN" && channel["peer_state"] == "GOOD";
        Some((is_open, channel["local_balance"].as_u64()?))
    }
}

impl Drop for Electrum {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.server] {
            // One that has ended is not there to be killed.
            let _unless_gone = child.kill();
            let _unless_gone = child.wait();
        }
    }
}

fn start_server(world: &World, port: u16) -> Child {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let program = root.join("tools/electrumx/.venv/bin/electrumx_server");
    let data = world.folder.path().join("electrumx");
    std::fs::create_dir_all(&data).expect("a folder");
    let bitcoind = format!("http://forebay:regtest@127.0.0.1:{}", world.regtest.port());
    let services = format!("tcp://127.0.0.1:{port}");
    Command::new(&program)
        .envs([
            ("COIN", "Bitcoin"),
            ("NET", "regtest"),
            ("DB_ENGINE", "leveldb"),
            ("DAEMON_URL", &bitcoind),
            ("SERVICES", &services),
            ("ALLOW_ROOT", "1"),
            ("PEER_DISCOVERY", "off"),
            ("PEER_ANNOUNCE", ""),
            ("COST_SOFT_LIMIT", "0"),
            ("COST_HARD_LIMIT", "0"),
        ])
        .env("DB_DIRECTORY", &data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{} {MISSING}: {error}", program.display()))
}

fn client(folder: &Path) -> Command {
    let mut client = Command::new(CLIENT);
    client.args(["--regtest", "-D"]).arg(folder);
    client
}

fn ask(folder: &Path, arguments: &[&str]) -> String {
    let told = client(folder)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{CLIENT} {MISSING}: {error}"));
    let said = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{arguments:?}: {said}");
    String::from_utf8(told.stdout).expect("text")
}

fn node_id(text: &str) -> NodeId {
    let bytes: Vec<u8> = (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hexadecimal digits"))
        .collect();
    bytes.try_into().expect("33 bytes")
}

#[test]
fn electrum_takes_a_channel_of_ours_is_paid_over_it_and_pays() {
    let world = World::indexed();
    let ours = world.ours("ours");
    world.fund(&ours, 2_000_000);
    let electrum = Electrum::start(&world);
    let address = electrum.address.parse().expect("an address");
    world
        .runtime
        .block_on(ours.node.connect(electrum.id, address))
        .expect("Electrum answers");
    let channel = ChannelNumber(7);
    ours.node
        .open_channel(Opening {
            channel,
            peer: electrum.id,
            value_sat: 500_000,
            public: false,
            fee_max_sat: 10_000,
        })
        .expect("the peer is there");
    ours.wait(
        "the channel is pending",
        |o| matches!(o, Observation::ChannelPending { channel: c, .. } if *c == channel),
    );
    until("both can use the channel", || {
        world.mine(1);
        electrum.sees(&world);
        let is_usable = ours.channel(channel).is_some_and(|c| c.usable);
        is_usable && electrum.channel() == Some((true, 0))
    });
    let standing = ours.channel(channel).expect("it is open");
    assert!(!standing.splices, "Electrum cannot");

    // Electrum is paid 100,000 sat.
    let request = electrum.ask(&["add_request", "0.001"]);
    let invoice = request["lightning_invoice"].as_str().expect("an invoice");
    assert_eq!(ours.pay(invoice), Some(0));
    until_equal("what is Electrum's", &Some((true, 100_000)), || {
        electrum.channel()
    });

    // And pays 20,000 of them back.
    let invoice = ours.invoice(2, 20_000_000);
    let paid = electrum.ask(&["lnpay", &invoice]);
    assert_eq!(paid["success"], true, "{paid}");
    let received = ours.wait(
        "it arrived",
        |o| matches!(o, Observation::Received { hash, .. } if *hash == hash_of(&invoice)),
    );
    assert!(
        matches!(received, Observation::Received { amount_msat, .. } if amount_msat == 20_000_000)
    );
    until_equal("what is Electrum's", &Some((true, 80_000)), || {
        electrum.channel()
    });
    until_equal("what is ours", &Some(420_000_000), || {
        ours.channel(channel).map(|c| c.balance_msat)
    });
}
