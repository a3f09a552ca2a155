//! A Lightning node as a process of its own, told what to do on standard input, for tests that kill it at any moment.
//!
//! Arguments: its folder, its name, the port of a regtest bitcoind, and where it listens if it sells channels just in time, to
//! anybody, one sat for each hundred. Each line asks for one thing and gets one line.
//! What it observes goes to the file `journal` in its folder, synced before it is acknowledged.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bitcoin::Network;
use bitcoin::hashes::{Hash, sha256};
use forebay_chain_bitcoin::bitcoind::{Bitcoind, BitcoindSettings, Credentials};
use forebay_chain_bitcoin::lightning::{
    ChannelNumber, HotWallet, InvoiceTerms, LightningNode, LightningSettings, NodeId, Observation,
    Observations, Opening, PaymentStanding, PaymentTerms, SaleTerms, Seed,
};

mod coins;

use coins::TestCoins;

type Outcome = Result<String, String>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, name, port, listen) = match arguments.as_slice() {
        [folder, name, port] => (folder, name, port, None),
        [folder, name, port, listen] => (folder, name, port, Some(listen)),
        _ => {
            eprintln!("arguments: folder, name, port of bitcoind, where a seller listens");
            std::process::exit(2);
        }
    };
    let folder = PathBuf::from(folder);
    let seed = sha256::Hash::hash(name.as_bytes()).to_byte_array();
    let (node, observations, wallet) = start(folder.clone(), seed, port, listen).await;
    let node = Arc::new(node);
    let journal = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("journal"))
        .expect("a journal");
    tokio::spawn(keep(Arc::clone(&node), observations, journal));
    println!("ready {}", hex(&node.identity()));
    for line in std::io::stdin().lock().lines() {
        let words: Vec<String> = line
            .expect("text")
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        let answer = obey(&node, &wallet, &words).await;
        println!(
            "{}",
            answer.unwrap_or_else(|fault| format!("fault {fault}"))
        );
    }
}

async fn start(
    folder: PathBuf,
    seed: [u8; 32],
    port: &str,
    listen: Option<&String>,
) -> (LightningNode, Observations, Arc<TestCoins>) {
    let credentials = Credentials::User {
        name: "forebay".to_owned(),
        password: "regtest".to_owned(),
    };
    let url = format!("http://127.0.0.1:{port}");
    let bitcoind = Bitcoind::new(BitcoindSettings::new(url, credentials, Network::Regtest));
    let bitcoind = Arc::new(bitcoind.expect("the URL is one"));
    let wallet = TestCoins::start(seed, Arc::clone(&bitcoind));
    let mut settings = LightningSettings::new(folder, Network::Regtest, Seed::new(seed));
    settings.poll = Duration::from_millis(100);
    settings.listen = listen.map(|listen| listen.parse().expect("an address"));
    settings.sells_channels = listen.is_some();
    let (node, observations) = LightningNode::start(settings, bitcoind, wallet.clone())
        .await
        .unwrap_or_else(|fault| panic!("{fault}"));
    (node, observations, wallet)
}

async fn keep(node: Arc<LightningNode>, mut observations: Observations, mut journal: File) {
    while let Some(observed) = observations.next().await {
        let line = match &observed.observation {
            Observation::Received {
                hash, amount_msat, ..
            } => format!("received {} {amount_msat}\n", hex(hash)),
            Observation::Sent { hash, fee_msat, .. } => format!("sent {} {fee_msat}\n", hex(hash)),
            Observation::Failed { hash, .. } => format!("failed {}\n", hex(hash)),
            Observation::ChannelPending {
                channel, fee_sat, ..
            } => format!("funded {} {fee_sat}\n", channel.0),
            Observation::Forwarded {
                number, fee_msat, ..
            } => format!("forwarded {number} {fee_msat}\n"),
            Observation::PaymentHeld { sale, .. } => format!("held {}\n", sale.0),
            Observation::ChannelClosed { reason, .. } => format!("closed {reason}\n"),
            _ => String::new(),
        };
        if !line.is_empty() {
            journal
                .write_all(line.as_bytes())
                .expect("the disk has room");
            journal.sync_data().expect("the disk works");
        }
        sell(&node, &observed.observation).await;
        observed.acknowledge();
    }
}

/// Sells to whoever asks. What a buyer that is gone does not hear, and what has gone back meanwhile, is no fault.
async fn sell(node: &LightningNode, observation: &Observation) {
    match observation {
        Observation::TermsAsked { request } => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let terms = SaleTerms {
                fee_min_msat: 1_000_000,
                fee_ppm: 10_000,
                valid_until_s: now.expect("after 1970").as_secs() + 3_600,
                lifetime_blocks: 4_320,
                payment_min_msat: 10_000_000,
                payment_max_msat: 400_000_000,
            };
            let _unless_gone = node.offer(request, &terms);
        }
        Observation::ChannelAsked { request, terms, .. } => {
            let sale = node.draw_sale();
            let _unless_gone = node.promise(request, sale, terms.valid_until_s).await;
        }
        Observation::PaymentHeld {
            sale,
            peer,
            amount_msat,
            ..
        } => {
            let opening = Opening {
                channel: ChannelNumber(u128::from(sale.0)),
                peer: *peer,
                value_sat: amount_msat / 1_000 + 50_000,
                public: false,
                fee_max_sat: 10_000,
            };
            let _unless_gone = node.sell(*sale, opening).await;
        }
        _ => {}
    }
}

async fn obey(node: &LightningNode, wallet: &TestCoins, words: &[String]) -> Outcome {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["address"] => Ok(wallet.address().to_string()),
        ["coins"] => Ok(wallet.spendable_sat().to_string()),
        ["connect", peer, address] => {
            let address = address.parse().map_err(told)?;
            node.connect(node_id(peer)?, address).await.map_err(told)?;
            Ok("done".to_owned())
        }
        ["open", peer, sat] => {
            let opening = Opening {
                channel: ChannelNumber(1),
                peer: node_id(peer)?,
                value_sat: sat.parse().map_err(told)?,
                public: false,
                fee_max_sat: 10_000,
            };
            node.open_channel(opening).map_err(told)?;
            Ok("done".to_owned())
        }
        ["invoice", number, msat] => {
            let number: u128 = number.parse().map_err(told)?;
            let terms = InvoiceTerms {
                amount_msat: msat.parse().map_err(told)?,
                expiry_s: 3_600,
                final_cltv: 80,
                payer: 1,
            };
            node.invoice(number.to_be_bytes(), terms)
                .await
                .map_err(told)
        }
        ["pay", invoice] => {
            let terms = PaymentTerms {
                invoice: (*invoice).to_owned(),
                fee_max_msat: 1_000,
                timeout: Duration::from_secs(20),
                cltv_max: None,
            };
            node.pay(&terms).map(word).map_err(told)
        }
        ["payment", hash] => node.payment(bytes(hash)?).map(word).map_err(told),
        // What is ours in all channels, in msat; how many are usable; how many payments are under way.
        ["channels"] => {
            let channels = node.channels().map_err(told)?;
            let ours: u64 = channels.iter().map(|c| c.balance_msat).sum();
            let usable = channels.iter().filter(|c| c.usable).count();
            let pending: u64 = channels.iter().map(|c| c.pending).sum();
            Ok(format!("{} {usable} {ours} {pending}", channels.len()))
        }
        ["channel"] => {
            let channels = node.channels().map_err(told)?;
            Ok(channels.first().map_or("none".to_owned(), |c| {
                format!("{} {} {}", c.usable, c.balance_msat, c.pending)
            }))
        }
        _ => Err("what?".to_owned()),
    }
}

fn word(standing: PaymentStanding) -> String {
    match standing {
        PaymentStanding::Unknown => "unknown",
        PaymentStanding::Pending => "pending",
        PaymentStanding::Sent { .. } => "sent",
        PaymentStanding::Failed => "failed",
    }
    .to_owned()
}

fn node_id(text: &str) -> Result<NodeId, String> {
    bytes(text)
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], String> {
    use bitcoin::hex::FromHex;
    <[u8; N]>::from_hex(text).map_err(told)
}

fn hex(bytes: &[u8]) -> String {
    use bitcoin::hex::DisplayHex;
    bytes.to_lower_hex_string()
}

fn told(error: impl ToString) -> String {
    error.to_string()
}
