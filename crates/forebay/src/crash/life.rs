//! One life of the pool process under load: what its clients saw until it was killed.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use forebay_ilp::btp::{self, FrameType, RequestId};
use forebay_ilp::{Address, FulfillView, PacketType, PrepareView, RejectView};
use forebay_quantity::PacketId;
use sha2::{Digest, Sha256};

use crate::bench::{Closed, Connection, PoolProcess, expiry};

/// A read that waits longer than this looks first whether the process still lives.
const READ_MAX: Duration = Duration::from_millis(20);
/// Packets go out in chunks of this many.
const CHUNK: u32 = 16;
/// A stranger waits this long for an answer, then goes.
const STRANGER_WAITS: Duration = Duration::from_millis(20);

/// What one life is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Packets in flight.
    pub(crate) window: u32,
    /// Between two chunks of packets.
    pub(crate) pace: Duration,
    /// How long it lasts.
    pub(crate) lives: Duration,
    /// What goes wrong in it.
    pub(crate) fault: Fault,
}

/// What goes wrong in a life, beside its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// From half its time on every write fails.
    FullDisk,
    /// It stands still for a third of its time, and its peers do not.
    Pause,
    /// Strangers talk nonsense to it all the time.
    Strangers,
}

impl Fault {
    /// Lets the fault happen for as long as the process lives.
    fn happen(self, pool: &PoolProcess, lives: Duration) -> Result<()> {
        match self {
            Self::None => std::thread::sleep(lives),
            Self::FullDisk => {
                std::thread::sleep(lives / 2);
                pool.fill_disk()?;
                std::thread::sleep(lives / 2);
            }
            Self::Pause => {
                std::thread::sleep(lives / 3);
                pool.pause()?;
                std::thread::sleep(lives / 3);
                pool.go_on()?;
                std::thread::sleep(lives / 3);
            }
            Self::Strangers => {
                let began = Instant::now();
                let mut number = 0;
                while began.elapsed() < lives {
                    // Whether it is answered, refused or cut off is the pool's matter.
                    let _ = visit(pool.address(), number);
                    number += 1;
                }
            }
        }
        Ok(())
    }
}

/// One visit of a stranger, each of another kind.
fn visit(address: SocketAddr, number: u32) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(STRANGER_WAITS))?;
    let handshake = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    let garbage: &[u8] = match number % 5 {
        // No handshake at all, then half of one.
        0 => return stream.write_all(&[0xff; 64]),
        1 => return stream.write_all(&handshake.as_bytes()[..40]),
        // A frame of a GiB; a packet before authentication; a wrong token.
        2 => &[0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 9, 9],
        3 => &[0x82, 0x86, 0, 0, 0, 0, 6, 0, 0, 0, 1, 0],
        _ => &[0x82, 0x82, 0, 0, 0, 0, 6, 0],
    };
    stream.write_all(handshake.as_bytes())?;
    let mut answer = [0; 512];
    let _ = stream.read(&mut answer)?;
    stream.write_all(garbage)?;
    let _ = stream.read(&mut answer)?;
    Ok(())
}

/// What clients saw of one life of the process.
pub(crate) struct Life {
    /// Requests sent, from the first to before the last.
    pub(super) sent: Range<u32>,
    pub(super) replies: BTreeMap<u32, Reply>,
    /// By request: the packet's id and amount as the next hop saw them, and whether it was answered.
    pub(super) forwards: BTreeMap<u32, Forward>,
}

pub(super) enum Reply {
    Fulfilled([u8; 32]),
    Rejected([u8; 3]),
}

#[derive(Clone, Copy)]
pub(super) struct Forward {
    pub(super) packet: PacketId,
    pub(super) amount: u64,
}

impl Life {
    /// Starts the process, loads it, kills it, and reads what is left in the sockets.
    pub(crate) fn lead(folder: &Path, load: &Load, next_request: &mut u32) -> Result<Self> {
        let &Load {
            window,
            pace,
            lives,
            fault,
        } = load;
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
            fault.happen(&pool, lives)?;
            pool.kill()
        });
        let answered = Arc::new(AtomicU32::new(0));
        let sending = {
            let (mut writer, answered) = (sender.writer()?, Arc::clone(&answered));
            std::thread::spawn(move || send_all(&mut writer, first, window, pace, &answered))
        };
        sender.wait_at_most(Some(READ_MAX))?;
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

    /// How many packets came back because nothing could be written.
    pub(crate) fn refused_for_want_of_a_journal(&self) -> u64 {
        let refused = self
            .replies
            .values()
            .filter(|reply| matches!(reply, Reply::Rejected(code) if code == b"T00"));
        u64::try_from(refused.count()).unwrap_or(u64::MAX)
    }
}

/// Sends until the socket breaks; returns the first request that was not sent.
fn send_all(
    writer: &mut Connection,
    first: u32,
    window: u32,
    pace: Duration,
    answered: &AtomicU32,
) -> Result<u32> {
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
        std::thread::sleep(pace);
    }
}

/// The preimage of a request; nobody else knows it.
pub(super) fn preimage(request: u32) -> [u8; 32] {
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
    hop.wait_at_most(Some(READ_MAX))?;
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
