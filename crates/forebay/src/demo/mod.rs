//! `forebay demo`: the main job on real parts, with a crash in the middle, and the sums at its end.

mod audit;
mod lightning_peer;
mod outcome;
mod prices;
pub(crate) mod processes;
mod regtest;
mod rpc;
mod stream;
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use forebay_api::{BITCOIN, Bitcoin, PEERS, Peer, SetPeer, Status, Units};
use forebay_chain_evm::Key;
use forebay_pool::State;
use forebay_quantity::Amount;

use crate::keys::{self, Passphrase};
use audit::Holders;
use outcome::{Outcome, WEI_PER_GWEI};
use processes::answer;
use regtest::PAYMENT_MSAT;
use stream::{PAYMENT_MAX, Payment, Receiver, Sender, cross};
use world::{NOTES, PACKET, PAYMENT, Views, World, progress, text};

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
        /// What it says a bitcoin is worth.
        btc: String,
        /// What it says an ether is worth.
        eth: String,
        /// What it says a dollar token is worth.
        usdx: String,
    },
}

/// What peer a pays in bitcoin, in gwei.
const PAYMENT_IN_BITCOIN: u64 = 200 * PACKET;

impl Demo {
    pub(crate) async fn run(self, json: bool) -> Result<()> {
        if let Some(Part::PriceSource { btc, eth, usdx }) = self.part {
            return prices::serve(&btc, &eth, &usdx);
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
        outcome.show(json)?;
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
    let (first, in_flight) = pay_through_a_kill(world, began).await?;
    world.restart_peer_b()?;
    progress(
        began,
        "peer b was killed as well, and is back on its own journal",
    );
    let mut payments = vec![first];
    payments.extend(pay_in_bitcoin(world, began).await?);
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
    let views = settle(world, began).await?;
    let earned = leave(world, began)?;
    let audited = audit(world, began).await?;
    let used = world.rpc.used()?;
    let lightning = views.c.lightning.as_ref().context("peer c has a node")?;
    let outcome = Outcome {
        sent: payments[0].sent.clone(),
        delivered: payments[0].delivered.clone(),
        payments,
        packets: audited.replay.packets,
        onchain_transactions: used.transactions + world.bitcoin.transactions().await?,
        gas_total: used.gas.to_string(),
        settled_in: BTreeMap::from([
            ("BTC", lightning.paid.to_string()),
            ("ETH", gwei(views.a.deposit_paid)),
        ]),
        settled_out: BTreeMap::from([
            ("BTC", lightning.received.to_string()),
            ("ETH", gwei(views.a.redeemed)),
            ("USDX", views.b.redeemed.to_string()),
        ]),
        prepaid_left: prepaid(&audited.replay.state),
        lightning_payments: audited.replay.lightning_payments,
        lightning_channels: audited.channels,
        lp_fee_earned: BTreeMap::from([("USDX", earned.to_string())]),
        restarts: 1,
        books_balanced: audited.verdict.is_ok(),
    };
    let mut problems = outcome.problems(&views, in_flight);
    problems.extend(audited.verdict.err().map(|error| format!("{error:#}")));
    let paid_out = world
        .rpc
        .token_balance(&world.token.to_string(), &world.address_b)?;
    if paid_out != views.b.redeemed.0.value() {
        problems.push(format!(
            "peer b's address holds {paid_out} tokens on chain, and redeemed {}",
            views.b.redeemed
        ));
    }
    Ok((outcome, problems))
}

/// What peers paid ahead and have not used, in packet units.
fn prepaid(state: &State) -> BTreeMap<&'static str, String> {
    let by_code = [("a", "ETH"), ("b", "USDX"), ("c", "BTC")];
    let of = |name| {
        let mut peers = state.peers();
        let found = peers.find(|(_, peer)| peer.name == name);
        found.map_or(Amount::ZERO, |(_, peer)| {
            state.balance(peer.clearing).credit()
        })
    };
    by_code
        .into_iter()
        .map(|(name, code)| (code, of(name).to_string()))
        .collect()
}

fn gwei(wei: Units) -> String {
    (wei.0.value() / WEI_PER_GWEI).to_string()
}

/// Pays from ETH to the token, and kills the pool in the middle of it; also returns what was in flight then.
async fn pay_through_a_kill(world: &mut World, began: Instant) -> Result<(Payment, u64)> {
    let mut receiver = Receiver::start(world, &world.b)?;
    progress(began, "the npm STREAM server waits behind peer b");
    let mut sender = Sender::start(world, &world.a, &receiver, PAYMENT)?;
    let in_flight = kill_in_flight(world, &mut sender, began).await?;
    let (sent, connections) = sender.finish()?;
    let delivered = receiver.received().await?;
    progress(
        began,
        &format!(
            "paid: {sent} gwei sent over {connections} STREAM connections, {delivered} arrived"
        ),
    );
    let payment = Payment {
        from: "ETH",
        to: "USDX",
        sent: sent.to_string(),
        delivered: delivered.to_string(),
    };
    Ok((payment, in_flight))
}

/// Pays into bitcoin and out of it: peer c settles over Lightning, the others by vouchers.
async fn pay_in_bitcoin(world: &World, began: Instant) -> Result<Vec<Payment>> {
    world.wait_until(
        "the pool's ether covers what peer a is to be paid",
        |views| !views.a.allotment_ceiling.0.is_zero(),
    )?;
    let (a, b, c) = (("ETH", &world.a), ("USDX", &world.b), ("BTC", &world.c));
    let payments = vec![
        cross(world, c, a, PAYMENT_MSAT, began).await?,
        cross(world, a, c, PAYMENT_IN_BITCOIN, began).await?,
        cross(world, c, b, PAYMENT_MSAT, began).await?,
    ];
    Ok(payments)
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

/// Lets about a third through, then kills the pool while packets are in flight, and starts it again.
async fn kill_in_flight(world: &mut World, sender: &mut Sender, began: Instant) -> Result<u64> {
    let until = Instant::now() + PAYMENT_MAX;
    loop {
        ensure!(
            Instant::now() < until,
            "the payment does not get on: {} | pool: {}",
            sender.complaints(),
            world.pool.complaints()
        );
        if sender.sent()? >= u128::from(PAYMENT) / 3 {
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
    world.wait_until("the pool is back", |views| {
        let channels = views.c.lightning.as_ref();
        let can_settle = channels.is_some_and(|l| !l.inbound.0.is_zero());
        views.a.ready && views.b.ready && views.c.ready && can_settle
    })?;
    progress(began, "the pool is back on the journal it left");
    Ok(in_flight)
}

/// Settles what is left on all sides, and has those that hold vouchers redeem on chain.
async fn settle(world: &World, began: Instant) -> Result<Views> {
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
    world.wait_until("the pool has paid all that it owes", |views| {
        let Views { a, b, c } = views;
        [a, b, c].iter().all(|view| view.unpaid.0.is_zero())
    })?;
    for name in ["peer-a", "peer-b"] {
        let path = world.folder.join(name).join("connect.toml");
        let path = path.display().to_string();
        answer(
            &world.passphrase,
            ["connect", "--peer-config", &path, "redeem"],
        )?;
    }
    let settled = world.wait_until("all sides are settled", |views| {
        let Views { a, b, c } = views;
        let by_voucher = [a, b]
            .iter()
            .all(|view| view.deposit_paid == view.signed && view.redeemed == view.held);
        let over_lightning = c
            .lightning
            .as_ref()
            .is_some_and(|l| l.under_way.0.is_zero() && l.credited == l.paid);
        by_voucher && over_lightning
    })?;
    progress(
        began,
        "all sides are settled: vouchers are redeemed both ways, and Lightning has paid both ways",
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

/// What the replayed journal gives, and whether everybody else agrees.
struct Audited {
    replay: audit::Replay,
    channels: u64,
    verdict: Result<()>,
}

/// Replays the journal until it has caught up with the chains, or shows what differs.
async fn audit(world: &mut World, began: Instant) -> Result<Audited> {
    let passphrase = world.folder.join("passphrase");
    keys::write_private(&passphrase, world.passphrase.as_bytes())?;
    let passphrase = Passphrase::in_file(passphrase);
    let key = |folder: &str| keys::open(&world.folder.join(folder).join("key.json"), &passphrase);
    let pool = key("pool")?;
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let replay = audit::replay(&world.data())?;
        let shown: Bitcoin = world.client()?.read(BITCOIN).await?;
        let verdict = compare(world, &replay, &shown, &pool).await;
        if verdict.is_ok() || Instant::now() >= until {
            let said = if verdict.is_ok() {
                "agrees with"
            } else {
                "DIFFERS from"
            };
            progress(
                began,
                &format!(
                    "a fresh replay of {} packets {said} the chains, the pool's Lightning node and the ldk-node",
                    replay.prepared
                ),
            );
            let usable = shown.channels.iter().filter(|channel| channel.usable);
            return Ok(Audited {
                replay,
                channels: u64::try_from(usable.count())?,
                verdict,
            });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn compare(
    world: &mut World,
    replay: &audit::Replay,
    shown: &Bitcoin,
    pool: &Key,
) -> Result<()> {
    audit::compare_vaults(&replay.state, &world.rpc)?;
    let c_shows = world.views()?.c.lightning.context("peer c has a node")?;
    let c_counts = world.lightning_peer.counted()?;
    let holders = Holders {
        pool,
        channels: &shown.channels,
        c_counts: &c_counts,
        c_shows: &c_shows,
    };
    audit::compare_bitcoin(&replay.state, &world.bitcoin, &holders).await
}

/// Ends everything, the pool by SIGTERM, which it must answer by draining.
fn end(mut world: World, began: Instant) -> Result<()> {
    let sides = [&mut world.a, &mut world.b, &mut world.c].map(|side| &mut side.process);
    let others = [&mut world.pool, &mut world.lightning_peer.process];
    for process in sides.into_iter().chain(others) {
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
    let sides = [&mut world.a, &mut world.b, &mut world.c].map(|side| &mut side.process);
    let others = [&mut world.pool, &mut world.lightning_peer.process];
    let others = others.into_iter().chain(&mut world.prices);
    for process in sides.into_iter().chain(others) {
        process.keep();
        eprintln!("{} runs on as process {}", process.name, process.id());
    }
    let url = world.anvil.url().to_owned();
    eprintln!(
        "the chain runs on at {url} as process {}",
        world.anvil.keep()
    );
    let url = world.bitcoin.url();
    eprintln!(
        "bitcoind runs on at {url} as process {}",
        world.bitcoin.keep()
    );
    let config = folder.join("pool/forebay.toml");
    eprintln!(
        "Look: forebay --config {} books | status | peers list | assets list | bitcoin show",
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
