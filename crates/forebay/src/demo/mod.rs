//! `forebay demo`: the main job on real parts, with a crash in the middle, and the sums at its end.

mod audit;
mod prices;
mod processes;
mod rpc;
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use forebay_api::{PEERS, Peer, SetPeer, Status, Units};
use forebay_node::connect::View;
use forebay_quantity::Amount;
use serde::Serialize;

use processes::{Process, answer};
use world::{NOTES, PAYMENT, World, node, progress, text};

/// Arguments of `forebay demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Leave everything running and say how to look at it.
    #[arg(long)]
    keep: bool,
    /// Look at the dashboard with Chromium as well, and keep the pictures in this folder.
    #[arg(long, value_name = "FOLDER")]
    look: Option<PathBuf>,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// A price source of the demonstration, a process of its own.
    #[command(hide = true)]
    PriceSource {
        /// What it says an ether is worth.
        eth: String,
        /// What it says a dollar token is worth.
        usdx: String,
    },
}

/// What came of it. Amounts are decimal strings in base units of the account's asset.
#[derive(Debug, Serialize)]
struct Outcome {
    /// By the npm sender's own total, in gwei.
    sent: String,
    /// By the npm receiver's own total, in millionths of the dollar token.
    delivered: String,
    /// Packets fulfilled, by the replayed journal.
    packets: u64,
    /// Transactions in the chain's blocks, everything from deployment on.
    onchain_transactions: u64,
    /// Gas of all blocks.
    gas_total: String,
    /// What the pool redeemed of the payer's vouchers, in gwei.
    settled_in: String,
    /// What the payee redeemed of the pool's vouchers, in millionths of the dollar token.
    settled_out: String,
    /// What the note holder took out above what it put in, by asset code.
    lp_fee_earned: BTreeMap<String, String>,
    /// Times that the pool was killed and came back.
    restarts: u32,
    /// A fresh replay of the journal agrees with the chain, balance by balance.
    books_balanced: bool,
}

/// The least number of packets.
const PACKETS_MIN: u64 = 2_000;
/// Packets for each transaction on chain, at least.
const PACKETS_PER_TRANSACTION_MIN: u64 = 20;
const PAYMENT_MAX: Duration = Duration::from_secs(120);
/// Fulfillments that the sender saw are rounded to nothing; what it never saw, the pool may still have been paid for.
const WEI_PER_GWEI: u128 = 1_000_000_000;

impl Demo {
    pub(crate) async fn run(self, json: bool) -> Result<()> {
        if let Some(Part::PriceSource { eth, usdx }) = self.part {
            return prices::serve(&eth, &usdx);
        }
        let began = Instant::now();
        let folder = tempfile::Builder::new().prefix("forebay-demo-").tempdir()?;
        let mut world = World::start(folder.path(), began).await?;
        let result = main_job(&mut world, self.look.as_deref(), began).await;
        let (outcome, problems) = match result {
            Ok(done) => done,
            Err(error) => {
                let kept = folder.keep();
                bail!("{error:#}; the logs are in {}", kept.display());
            }
        };
        draw(&outcome, json)?;
        if self.keep {
            keep(world, folder.keep().as_path());
        } else {
            end(world, began)?;
        }
        ensure!(
            problems.is_empty(),
            "it does not hold: {}",
            problems.join("; ")
        );
        Ok(())
    }
}

async fn main_job(
    world: &mut World,
    pictures: Option<&Path>,
    began: Instant,
) -> Result<(Outcome, Vec<String>)> {
    let mut receiver = Process::start(
        "receiver",
        command(world, "stream-receive.cjs", &[&world.listen_b]),
        &world.folder,
    )?;
    let invitation = receiver.line(Duration::from_secs(30))?;
    let (account, secret) = (
        text(&invitation, "destination_account")?,
        text(&invitation, "shared_secret")?,
    );
    progress(
        began,
        &format!(
            "the npm STREAM server waits behind peer b at {}…",
            &account[..account.len().min(24)]
        ),
    );
    let amount = PAYMENT.to_string();
    let arguments = [world.listen_a.as_str(), &account, &secret, &amount];
    let mut sender = Process::start(
        "sender",
        command(world, "stream-send.cjs", &arguments),
        &world.folder,
    )?;
    let in_flight = kill_in_flight(world, &mut sender, began).await?;
    let last = finish(&mut sender)?;
    let sent = number(&text(&last, "sent")?)?;
    // The receiver hears of its last packets a moment later.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let delivered = number(&text(&receiver.ask()?, "received")?)?;
    progress(
        began,
        &format!(
            "paid: {sent} gwei sent over {} STREAM connections, {delivered} arrived",
            last["connections"]
        ),
    );
    world.restart_peer_b()?;
    progress(
        began,
        "peer b was killed as well, and is back on its own journal",
    );
    if let Some(pictures) = pictures {
        look(world, pictures)?;
        progress(
            began,
            &format!(
                "the dashboard was looked at; the pictures are in {}",
                pictures.display()
            ),
        );
    }
    let (a, b) = settle(world, began).await?;
    let earned = leave(world, began)?;
    let (packets, books_balanced) = audit(world, began)?;
    let used = world.rpc.used()?;
    let outcome = Outcome {
        sent: sent.to_string(),
        delivered: delivered.to_string(),
        packets,
        onchain_transactions: used.transactions,
        gas_total: used.gas.to_string(),
        settled_in: (a.deposit_paid.0.value() / WEI_PER_GWEI).to_string(),
        settled_out: b.redeemed.to_string(),
        lp_fee_earned: BTreeMap::from([("USDX".to_owned(), earned.to_string())]),
        restarts: 1,
        books_balanced: books_balanced.is_ok(),
    };
    let mut problems = problems(&outcome, &a, &b, in_flight);
    problems.extend(books_balanced.err().map(|error| format!("{error:#}")));
    let paid_out = world
        .rpc
        .token_balance(&world.token.to_string(), &world.address_b)?;
    if paid_out != b.redeemed.0.value() {
        problems.push(format!(
            "peer b's address holds {paid_out} tokens on chain, and redeemed {}",
            b.redeemed
        ));
    }
    Ok((outcome, problems))
}

/// Drives the dashboard in a browser while everybody is still there; what it says goes to standard output.
fn look(world: &World, pictures: &Path) -> Result<()> {
    let pool = forebay_node::Config::load(&world.folder.join("pool/forebay.toml"))?;
    let token = std::fs::read_to_string(pool.data_directory.join(forebay_api::TOKEN_FILE))?;
    std::fs::create_dir_all(pictures)?;
    let status = std::process::Command::new("node")
        .current_dir(world.tools.join("web"))
        .arg("look.cjs")
        .arg(format!("http://{}/", pool.admin_listen))
        .arg(pictures.canonicalize()?)
        .env("FOREBAY_TOKEN", token.trim())
        .status()
        .context("node cannot be started: run `cargo xtask setup`")?;
    ensure!(
        status.success(),
        "the dashboard does not do what it should: see above"
    );
    Ok(())
}

fn command(world: &World, script: &str, arguments: &[&str]) -> std::process::Command {
    let mut command = node(&world.tools, script);
    command.args(arguments);
    command
}

/// Lets about a third through, then kills the pool while packets are in flight, and starts it again.
async fn kill_in_flight(world: &mut World, sender: &mut Process, began: Instant) -> Result<u64> {
    let until = Instant::now() + PAYMENT_MAX;
    loop {
        ensure!(
            Instant::now() < until,
            "the payment does not get on: {} | pool: {}",
            sender.complaints(),
            world.pool.complaints()
        );
        ensure!(
            !sender.has_ended(),
            "the sender ended early: {}",
            sender.complaints()
        );
        if number(&text(&sender.ask()?, "sent")?)? >= u128::from(PAYMENT) / 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let client = world.client()?;
    let mut in_flight = 0;
    for _ in 0..100 {
        let status: Status = client.read(forebay_api::STATUS).await?;
        in_flight = status.packets_in_flight;
        if in_flight > 0 {
            break;
        }
    }
    world.pool.kill()?;
    progress(
        began,
        &format!("the pool was killed with {in_flight} packet(s) in flight"),
    );
    world.restart_pool().await?;
    world.wait_until("the pool is back", |a, b| a.ready && b.ready)?;
    progress(began, "the pool is back on the journal it left");
    Ok(in_flight)
}

fn finish(sender: &mut Process) -> Result<serde_json::Value> {
    let until = Instant::now() + PAYMENT_MAX;
    loop {
        let line = sender.line(PAYMENT_MAX)?;
        if line["last"] == true {
            return Ok(line);
        }
        ensure!(
            Instant::now() < until,
            "the payment does not end: {}",
            sender.complaints()
        );
    }
}

/// Settles what is left on both sides and has both redeem on chain.
async fn settle(world: &World, began: Instant) -> Result<(View, View)> {
    let client = world.client()?;
    let peers: Vec<Peer> = client.read_all(PEERS).await?;
    for peer in peers {
        let one = Units(Amount::new(1));
        let policy = forebay_api::PeerPolicy {
            settle_threshold: one,
            redeem_threshold: one,
            ..peer.policy
        };
        let _: Peer = client
            .put(&format!("{PEERS}/{}", peer.name), &SetPeer { policy })
            .await?;
    }
    world.wait_until("the pool has paid all that it owes by voucher", |_, b| {
        b.unpaid.0.is_zero()
    })?;
    let path = world.folder.join("peer-b/connect.toml");
    answer(
        &world.passphrase,
        [
            "connect",
            "--peer-config",
            &path.display().to_string(),
            "redeem",
        ],
    )?;
    let settled = world.wait_until("both sides have redeemed", |a, b| {
        a.deposit_paid == a.signed && b.redeemed == b.held
    })?;
    progress(
        began,
        "both sides are settled: the pool redeemed a's vouchers, b redeemed the pool's",
    );
    Ok(settled)
}

/// The note holder leaves with what its notes have become; returns what they earned.
fn leave(world: &World, began: Instant) -> Result<u128> {
    let url = world.anvil.url();
    let key = world.lp_note.display().to_string();
    let vault = world.vault_usdx.to_string();
    let arguments = [
        "--json",
        "lp",
        "withdraw",
        "--rpc",
        url,
        "--chain-id",
        "31337",
        "--key",
        &key,
        "--vault",
        &vault,
    ];
    let paid = answer(&world.passphrase, arguments).context("the note holder's exit")?;
    let paid = number(&text(&paid, "paid")?)?;
    let earned = paid
        .checked_sub(NOTES)
        .with_context(|| format!("the note holder put in {NOTES} and took out {paid}"))?;
    progress(
        began,
        &format!("the note holder left with {paid}, {earned} more than it put in"),
    );
    Ok(earned)
}

/// Replays the journal until it has caught up with the chain, or shows what differs.
fn audit(world: &World, began: Instant) -> Result<(u64, Result<()>)> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let replay = audit::replay(&world.data())?;
        let compared = audit::compare(&replay.state, &world.rpc);
        if compared.is_ok() || Instant::now() >= until {
            let verdict = if compared.is_ok() {
                "agrees with"
            } else {
                "DIFFERS from"
            };
            progress(
                began,
                &format!(
                    "a fresh replay of {} packets {verdict} the chain",
                    replay.prepared
                ),
            );
            return Ok((replay.packets, compared));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// What does not hold, in words.
fn problems(outcome: &Outcome, a: &View, b: &View, in_flight: u64) -> Vec<String> {
    let sent: u128 = outcome.sent.parse().unwrap_or(0);
    let delivered: u128 = outcome.delivered.parse().unwrap_or(0);
    let earned = outcome.lp_fee_earned.values().any(|amount| amount != "0");
    let checks = [
        (
            sent >= u128::from(PAYMENT),
            format!("{sent} of {PAYMENT} were sent"),
        ),
        (
            in_flight > 0,
            "no packet was in flight when the pool was killed".to_owned(),
        ),
        (
            delivered > 0 && b.received.0.value() == delivered,
            format!("{delivered} arrived, and peer b was owed {}", b.received),
        ),
        (
            a.sent.0.value() >= sent,
            format!("peer a owes for {}, and its software sent {sent}", a.sent),
        ),
        (
            outcome.packets >= PACKETS_MIN,
            format!("{} packets are fewer than {PACKETS_MIN}", outcome.packets),
        ),
        (
            outcome.packets >= PACKETS_PER_TRANSACTION_MIN * outcome.onchain_transactions,
            format!(
                "{} transactions are too many for {} packets",
                outcome.onchain_transactions, outcome.packets
            ),
        ),
        (
            a.deposit_paid.0.value() / WEI_PER_GWEI >= sent,
            format!("{} was settled in for {sent}", outcome.settled_in),
        ),
        (
            b.redeemed.0.value() == delivered,
            format!("{} was settled out for {delivered}", outcome.settled_out),
        ),
        (earned, "the note holder earned nothing".to_owned()),
        (
            outcome.restarts >= 1,
            "the pool was never restarted".to_owned(),
        ),
    ];
    checks
        .into_iter()
        .filter(|(holds, _)| !holds)
        .map(|(_, problem)| problem)
        .collect()
}

fn draw(outcome: &Outcome, json: bool) -> Result<()> {
    let earned: Vec<String> = outcome
        .lp_fee_earned
        .iter()
        .map(|(code, amount)| format!("{amount} {code}"))
        .collect();
    let rows = [
        (
            "sent by the npm client",
            format!("{} gwei of ETH", outcome.sent),
        ),
        (
            "delivered to the npm server",
            format!("{} millionths of USDX", outcome.delivered),
        ),
        ("packets", outcome.packets.to_string()),
        (
            "transactions on chain",
            outcome.onchain_transactions.to_string(),
        ),
        ("gas in all", outcome.gas_total.clone()),
        ("settled in", format!("{} gwei of ETH", outcome.settled_in)),
        (
            "settled out",
            format!("{} millionths of USDX", outcome.settled_out),
        ),
        ("the note holder earned", earned.join(", ")),
        ("restarts after SIGKILL", outcome.restarts.to_string()),
        (
            "replayed books agree with the chain",
            outcome.books_balanced.to_string(),
        ),
    ];
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in &rows {
        let line = format!("{name:<width$}  {value}");
        if json {
            eprintln!("{line}")
        } else {
            println!("{line}")
        }
    }
    if json {
        println!("{}", serde_json::to_string_pretty(outcome)?);
    }
    Ok(())
}

/// Ends everything, the pool by SIGTERM, which it must answer by draining.
fn end(mut world: World, began: Instant) -> Result<()> {
    for process in [&mut world.peer_a, &mut world.peer_b, &mut world.pool] {
        let status = process.terminate(Duration::from_secs(40))?;
        ensure!(
            status.success(),
            "{} ended with {status} on SIGTERM: {}",
            process.name,
            process.complaints()
        );
    }
    progress(began, "everything is ended");
    Ok(())
}

fn keep(mut world: World, folder: &Path) {
    for process in [&mut world.peer_a, &mut world.peer_b, &mut world.pool]
        .into_iter()
        .chain(&mut world.prices)
    {
        process.keep();
        eprintln!("{} runs on as process {}", process.name, process.id());
    }
    let url = world.anvil.url().to_owned();
    eprintln!(
        "the chain runs on at {url} as process {}",
        world.anvil.keep()
    );
    let config = folder.join("pool/forebay.toml");
    eprintln!(
        "Look: forebay --config {} books | status | peers list | assets list",
        config.display()
    );
    if let Ok(pool) = forebay_node::Config::load(&config) {
        eprintln!(
            "Look: http://{}/ with the token in {}",
            pool.admin_listen,
            pool.data_directory.join(forebay_api::TOKEN_FILE).display()
        );
    }
    eprintln!(
        "Look: forebay connect --peer-config {} show",
        folder.join("peer-a/connect.toml").display()
    );
    eprintln!(
        "The passphrase of all key files is {}. End the processes by their numbers.",
        world.passphrase
    );
}

fn number(text: &str) -> Result<u128> {
    text.parse().with_context(|| format!("{text} is no amount"))
}
