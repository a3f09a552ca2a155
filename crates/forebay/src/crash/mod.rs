//! `forebay crash`: kills a real pool process under load, again and again, then fills its disk, and holds its journal to
//! every reply that anybody received. Nothing of it looks into the process: it sees sockets and, after each kill, the disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use forebay_ilp::btp::{self, FrameType, RequestId};
use forebay_ilp::{Address, FulfillView, PacketType, PrepareView, RejectView};
use forebay_journal::{Journal, LocalDisk};
use forebay_pool::{Event, Sequencer, State, events_of};
use forebay_quantity::PacketId;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::bench::{Closed, Connection, PoolProcess, expiry};
use crate::output::show;

/// A read that waits longer than this looks first whether the process still lives.
const READ_MAX: Duration = Duration::from_millis(20);

/// Packets go out little by little, answered or not: in bursts the pool would be idle between two of them, and most
/// kills would hit nothing that is not synced yet.
const CHUNK: u32 = 16;
const CHUNK_EVERY: Duration = Duration::from_micros(50);

/// Kills a pool process under load and compares every reply with what it recovers.
#[derive(Debug, Args)]
pub(crate) struct Crash {
    /// How often it is killed.
    #[arg(long, default_value_t = 30)]
    kills: u32,
    /// Packets in flight.
    #[arg(long, default_value_t = 4_096)]
    window: u32,
    /// Chooses the moments; the same seed tries the same ones.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A folder on a real disk; the journal is made in it and removed afterwards.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
}

/// What the kills showed.
#[derive(Debug, Default, Serialize)]
struct Report {
    kills: u32,
    kills_with_unsynced_commands: u32,
    packets_sent: u64,
    replies_compared: u64,
    forwards_compared: u64,
    fulfilled: u64,
    rejected: u64,
    torn_tails: u32,
    full_disk_refusals: u64,
}

impl Crash {
    /// Runs to the end; it blocks.
    pub(crate) fn run(self, json: bool) -> Result<()> {
        let folder = self
            .folder
            .join(format!("forebay-crash-{}", std::process::id()));
        std::fs::create_dir(&folder)
            .with_context(|| format!("{} cannot be made", folder.display()))?;
        let report = self.kill_all(&folder);
        match report {
            Ok(report) => {
                std::fs::remove_dir_all(&folder)?;
                show(json, &report, |report| {
                    println!(
                        "{} kills, {} of them with unsynced commands in flight",
                        report.kills, report.kills_with_unsynced_commands
                    );
                    println!(
                        "{} packets refused by T00 while the disk was full, and a whole restart after it",
                        report.full_disk_refusals
                    );
                    println!(
                        "{} packets sent; {} replies and {} forwards received, each of them recovered; {} torn tails cut",
                        report.packets_sent,
                        report.replies_compared,
                        report.forwards_compared,
                        report.torn_tails
                    );
                })
            }
            Err(error) => {
                Err(error.context(format!("the journal is kept in {}", folder.display())))
            }
        }
    }

    fn kill_all(&self, folder: &Path) -> Result<Report> {
        let mut report = Report::default();
        let mut random = self.seed;
        let mut next_request = 1;
        for kill in 1..=self.kills {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let lives = Duration::from_millis(30 + (random >> 33) % 170);
            let life = Life::lead(folder, self.window, lives, false, &mut next_request)?;
            let recovered = Recovered::read(folder)?;
            recovered
                .judge(&life, &mut report)
                .with_context(|| format!("after kill {kill} of {}", self.kills))?;
            report.kills = kill;
            eprint!(
                "\rkill {kill} of {}, {} packets sent ",
                self.kills, report.packets_sent
            );
        }
        eprintln!();
        ensure!(
            report.kills_with_unsynced_commands * 2 >= report.kills,
            "only {} of {} kills fell with unsynced commands in flight: raise --window",
            report.kills_with_unsynced_commands,
            report.kills
        );
        let while_killed = report.kills_with_unsynced_commands;
        for fills_disk in [true, false] {
            let lives = Duration::from_millis(400);
            let life = Life::lead(folder, self.window, lives, fills_disk, &mut next_request)?;
            let recovered = Recovered::read(folder)?;
            recovered
                .judge(&life, &mut report)
                .context(match fills_disk {
                    true => "after the disk was full",
                    false => "after a restart with room on the disk again",
                })?;
            let refused = life
                .replies
                .values()
                .filter(|reply| matches!(reply, Reply::Rejected(code) if code == b"T00"));
            let refused = u64::try_from(refused.count())?;
            ensure!(
                (refused > 0) == fills_disk,
                "{refused} packets were refused for want of a journal"
            );
            report.full_disk_refusals += refused;
        }
        report.kills_with_unsynced_commands = while_killed;
        ensure!(
            report.fulfilled > 0 && report.rejected > 0,
            "no packet was fulfilled, or none was rejected"
        );
        Ok(report)
    }
}

/// What clients saw of one life of the process.
struct Life {
    /// Requests sent, from the first to before the last.
    sent: std::ops::Range<u32>,
    replies: BTreeMap<u32, Reply>,
    /// By request: the packet's id and amount as the next hop saw them, and whether it was answered.
    forwards: BTreeMap<u32, Forward>,
}

enum Reply {
    Fulfilled([u8; 32]),
    Rejected([u8; 3]),
}

#[derive(Clone, Copy)]
struct Forward {
    packet: PacketId,
    amount: u64,
}

impl Life {
    /// Starts the process, loads it, kills it, and reads what is left in the sockets.
    fn lead(
        folder: &Path,
        window: u32,
        lives: Duration,
        fills_disk: bool,
        next_request: &mut u32,
    ) -> Result<Self> {
        let mut pool = PoolProcess::start(folder, 1)?;
        let dead = Arc::new(AtomicBool::new(false));
        let hop = Connection::open(pool.address(), "receiver")?;
        let receiving = {
            let dead = Arc::clone(&dead);
            std::thread::spawn(move || receive(hop, &dead))
        };
        let mut sender = Connection::open(pool.address(), "sender")?;
        let first = *next_request;
        let mut replies = BTreeMap::new();
        // From a thread of its own, so that the moment has nothing to do with what the sender waits for.
        let killing = std::thread::spawn(move || {
            std::thread::sleep(lives / 2);
            if fills_disk {
                pool.fill_disk()?;
            }
            std::thread::sleep(lives / 2);
            pool.kill()
        });
        let answered = Arc::new(AtomicU32::new(0));
        let sending = {
            let (mut writer, answered) = (sender.writer()?, Arc::clone(&answered));
            std::thread::spawn(move || send_all(&mut writer, first, window, &answered))
        };
        sender.wait_at_most(READ_MAX)?;
        while !killing.is_finished() && sender.read_some().is_ok() {
            if !take_replies(&mut sender, &mut replies)? {
                break;
            }
            answered.store(u32::try_from(replies.len())?, Ordering::Relaxed);
        }
        killing
            .join()
            .map_err(|_| anyhow::anyhow!("the killer met a bug"))??;
        dead.store(true, Ordering::Relaxed);
        // A full window waits for answers that do not come any more.
        answered.store(u32::MAX, Ordering::Relaxed);
        let sent = sending.join();
        *next_request = sent.map_err(|_| anyhow::anyhow!("the sender met a bug"))??;
        // What the kernel still holds was sent by the process, so it counts.
        while sender.read().is_ok() && take_replies(&mut sender, &mut replies)? {}
        let forwards = receiving
            .join()
            .map_err(|_| anyhow::anyhow!("the receiver met a bug"))??;
        Ok(Self {
            sent: first..*next_request,
            replies,
            forwards,
        })
    }
}

/// Sends until the socket breaks; returns the first request that was not sent.
fn send_all(writer: &mut Connection, first: u32, window: u32, answered: &AtomicU32) -> Result<u32> {
    let mut next = first;
    loop {
        let in_flight = (next - first).saturating_sub(answered.load(Ordering::Relaxed));
        let until = next + window.saturating_sub(in_flight).min(CHUNK);
        for request in next..until {
            prepare(writer, request)?;
        }
        next = until;
        if writer.flush().is_err() {
            return Ok(next);
        }
        std::thread::sleep(CHUNK_EVERY);
    }
}

/// The preimage of a request; nobody else knows it.
fn preimage(request: u32) -> [u8; 32] {
    Sha256::digest(request.to_be_bytes()).into()
}

/// Every sixteenth packet is rejected by the next hop.
fn is_rejected(request: u32) -> bool {
    request.is_multiple_of(16)
}

fn amount(request: u32) -> u64 {
    1_000 + u64::from(request % 1_000)
}

fn prepare(sender: &mut Connection, request: u32) -> Result<()> {
    let condition: [u8; 32] = Sha256::digest(preimage(request)).into();
    let destination =
        Address::parse(b"test.pool.receiver.account").context("a fixed address is one")?;
    let data = request.to_be_bytes();
    let prepare = PrepareView {
        amount: amount(request),
        expires_at: expiry(),
        condition: &condition,
        destination,
        data: &data,
    };
    let mut frame = Vec::new();
    sender
        .link()
        .encode_prepare(&mut frame, RequestId(request), &prepare)?;
    sender.queue(&frame);
    Ok(())
}

/// Takes in what was read; false once the pool has closed the link.
fn take_replies(sender: &mut Connection, replies: &mut BTreeMap<u32, Reply>) -> Result<bool> {
    loop {
        let frame = match sender.next_message() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(true),
            // A flood of refusals is read too slowly, and a slow reader is dropped.
            Err(error) if error.is::<Closed>() => return Ok(false),
            Err(error) => return Err(error),
        };
        let Ok(frame) = btp::Frame::parse(frame) else {
            continue;
        };
        let Some(packet) = frame.protocol_data.ilp() else {
            continue;
        };
        let reply = match PacketType::of(packet) {
            Some(PacketType::Fulfill) => Reply::Fulfilled(*FulfillView::parse(packet)?.fulfillment),
            Some(PacketType::Reject) => Reply::Rejected(RejectView::parse(packet)?.code.to_bytes()),
            Some(PacketType::Prepare) | None => continue,
        };
        let earlier = replies.insert(frame.request_id.0, reply);
        ensure!(
            earlier.is_none(),
            "request {} was answered twice",
            frame.request_id.0
        );
    }
}

/// The next hop: answers until the process is dead and its socket is read empty.
fn receive(mut hop: Connection, dead: &AtomicBool) -> Result<BTreeMap<u32, Forward>> {
    let mut forwards = BTreeMap::new();
    hop.wait_at_most(READ_MAX)?;
    loop {
        match hop.read_some() {
            Ok(_) => {}
            Err(_) if dead.load(Ordering::Relaxed) => return Ok(forwards),
            // The kill and its flag are two moments.
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
        let mut answers = Vec::new();
        while let Some(message) = hop.next_message()? {
            let Ok(frame) = btp::Frame::parse(message) else {
                continue;
            };
            let Some(packet) = frame.protocol_data.ilp() else {
                continue;
            };
            let Ok(prepare) = PrepareView::parse(packet) else {
                continue;
            };
            let request = u32::from_be_bytes(
                prepare
                    .data
                    .try_into()
                    .context("the data is the request's number")?,
            );
            let forward = Forward {
                packet: PacketId(frame.request_id.0),
                amount: prepare.amount,
            };
            ensure!(
                forwards.insert(request, forward).is_none(),
                "request {request} was forwarded twice"
            );
            answers.push((frame.request_id, request));
        }
        for (id, request) in answers {
            let mut answer = Vec::new();
            if is_rejected(request) {
                let code = forebay_ilp::ErrorCode::F99ApplicationError;
                let reject = RejectView {
                    code,
                    triggered_by: None,
                    message: b"",
                    data: &[],
                };
                hop.link().encode_reject(&mut answer, id, &reject)?;
            } else {
                hop.link().encode_fulfill(
                    &mut answer,
                    id,
                    &FulfillView {
                        fulfillment: &preimage(request),
                        data: &[],
                    },
                )?;
            }
            btp::patch_header(&mut answer, FrameType::Response, id);
            hop.queue(&answer);
        }
        // A dead process takes no answers.
        let _ = hop.flush();
    }
}

/// What the disk says after a kill.
struct Recovered {
    prepared: BTreeMap<u32, (PacketId, u64, u64)>,
    outcomes: BTreeMap<u32, Option<[u8; 32]>>,
    torn_tail: bool,
}

impl Recovered {
    fn read(folder: &Path) -> Result<Self> {
        let storage = Arc::new(LocalDisk::read_only(folder.join("journal")));
        let mut recovery = Journal::replay(storage, [0; 32])?;
        let mut recovered = Self {
            prepared: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            torn_tail: recovery.report.torn_tail.is_some(),
        };
        let mut sequencer = Sequencer::new(State::default());
        while let Some(frame) = recovery.next_frame()? {
            for event in events_of(frame.payload) {
                recovered.take(event.context("an event of another version")?)?;
            }
            sequencer
                .replay(frame.payload)
                .map_err(|_| anyhow::anyhow!("frame {} cannot be replayed", frame.sequence))?;
        }
        recovered.compare_books(sequencer.state())?;
        Ok(recovered)
    }

    fn take(&mut self, event: Event) -> Result<()> {
        let (request, outcome) = match event {
            Event::PacketPrepared {
                packet,
                in_request,
                amount_in,
                amount_out,
                ..
            } => {
                self.prepared
                    .insert(in_request, (packet, amount_in, amount_out));
                return Ok(());
            }
            Event::PacketFulfilled {
                in_request,
                preimage,
                ..
            } => (in_request, Some(preimage)),
            Event::PacketRejected { in_request, .. } => (in_request, None),
            _ => return Ok(()),
        };
        ensure!(
            self.outcomes.insert(request, outcome).is_none(),
            "request {request} was resolved twice [I3]"
        );
        Ok(())
    }

    /// Sums kept here by plain addition against the ledger of the replayed state.
    fn compare_books(&self, state: &State) -> Result<()> {
        state
            .ledger()
            .check_balanced()
            .map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let fulfilled = self
            .outcomes
            .iter()
            .filter(|(_, outcome)| outcome.is_some());
        let paid_in: u64 = fulfilled
            .filter_map(|(request, _)| self.prepared.get(request))
            .map(|(_, paid_in, _)| paid_in)
            .sum();
        let Some(sender) = state.peer_named("sender").and_then(|peer| state.peer(peer)) else {
            return Ok(());
        };
        let owed = state.balance(sender.clearing).debit();
        ensure!(
            owed.value() == u128::from(paid_in),
            "the sender owes {owed}, its fulfilled packets sum to {paid_in}"
        );
        let waiting = u64::try_from(self.prepared.len() - self.outcomes.len())?;
        ensure!(
            u64::from(sender.in_flight) == waiting,
            "{waiting} packets wait, the books say {}",
            sender.in_flight
        );
        Ok(())
    }

    fn judge(&self, life: &Life, report: &mut Report) -> Result<()> {
        for (request, reply) in &life.replies {
            match (reply, self.outcomes.get(request)) {
                (Reply::Fulfilled(told), Some(Some(kept)))
                    if told == kept && *kept == preimage(*request) =>
                {
                    report.fulfilled += 1
                }
                (Reply::Rejected(_), Some(None)) => report.rejected += 1,
                // Refused at once: it never was in the books.
                (Reply::Rejected(_), None) if !self.prepared.contains_key(request) => {
                    report.rejected += 1
                }
                (Reply::Fulfilled(_), _) => bail!(
                    "the sender heard that request {request} was fulfilled; the journal does not know it [I7]"
                ),
                (Reply::Rejected(code), _) => {
                    bail!(
                        "the sender heard {} for request {request}; the journal says otherwise [I7]",
                        String::from_utf8_lossy(code)
                    )
                }
            }
            report.replies_compared += 1;
        }
        for (request, forward) in &life.forwards {
            let kept = self.prepared.get(request);
            let is_kept = kept.is_some_and(|(packet, _, amount_out)| {
                *packet == forward.packet && *amount_out == forward.amount
            });
            ensure!(
                is_kept,
                "the next hop got request {request}; the journal does not know it [I7]"
            );
            report.forwards_compared += 1;
        }
        let unsynced_prepares = life.sent.clone().any(|request| {
            !self.prepared.contains_key(&request) && !life.replies.contains_key(&request)
        });
        let unsynced_answers = life
            .forwards
            .keys()
            .any(|request| !self.outcomes.contains_key(request));
        report.kills_with_unsynced_commands += u32::from(unsynced_prepares || unsynced_answers);
        report.packets_sent += u64::from(life.sent.end - life.sent.start);
        report.torn_tails += u32::from(self.torn_tail);
        Ok(())
    }
}
