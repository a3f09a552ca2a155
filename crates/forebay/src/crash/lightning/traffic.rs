//! Packets both ways between a connector on credit and the software of a peer that settles over Lightning.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use forebay_ilp::btp::{self, FrameType, RequestId};
use forebay_ilp::{Address, FulfillView, PacketType, PrepareView};
use sha2::{Digest, Sha256};

use super::world::{PACKET_MSAT, PEER, SOFTWARE_TOKEN, USER};
use crate::bench::{Connection, expiry};

/// Packets of one end in flight.
const WINDOW: usize = 8;
/// Between two packets of one end: refusals come no faster, and channels last for some hundred kills.
const PACE: Duration = Duration::from_millis(15);
const READ_MAX: Duration = Duration::from_millis(3);
/// An end that sends no more stays for the other one this long.
const LAST_WORD: Duration = Duration::from_millis(500);
/// Before a link that was lost is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// What both ends share.
#[derive(Default)]
struct Shared {
    next: AtomicU32,
    fulfilled: AtomicU64,
    is_over: AtomicBool,
}

/// Both ends, each on a thread of its own.
pub(super) struct Traffic {
    shared: Arc<Shared>,
    ends: Vec<JoinHandle<Result<()>>>,
}

impl Traffic {
    /// Starts both; a link that is lost is made again.
    pub(super) fn start(pool: SocketAddr, software: SocketAddr) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let end = |address, token: &'static str, to: &str| {
            let (shared, destination) = (Arc::clone(&shared), format!("test.pool.{to}.account"));
            std::thread::Builder::new()
                .name(format!("packets to {to}"))
                .spawn(move || talk(address, token, &destination, &shared))
        };
        let ends = vec![end(pool, USER, PEER)?, end(software, SOFTWARE_TOKEN, USER)?];
        Ok(Self { shared, ends })
    }

    /// Sends no more, and gives the number of packets that were fulfilled.
    pub(super) fn end(self) -> Result<u64> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for end in self.ends {
            end.join().map_err(|_| anyhow!("an end met a bug"))??;
        }
        Ok(self.shared.fulfilled.load(Ordering::Relaxed))
    }
}

fn talk(address: SocketAddr, token: &str, destination: &str, shared: &Shared) -> Result<()> {
    while !shared.is_over.load(Ordering::Relaxed) {
        if let Ok(mut link) = Connection::open(address, token) {
            link.wait_at_most(Some(READ_MAX))?;
            // It ends when the link is lost, as it is at each kill.
            let _lost = converse(&mut link, destination, shared);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn converse(link: &mut Connection, destination: &str, shared: &Shared) -> Result<()> {
    let mut in_flight = BTreeSet::new();
    let mut over_since: Option<Instant> = None;
    loop {
        if shared.is_over.load(Ordering::Relaxed) {
            // What the other end sends last is answered too.
            let since = *over_since.get_or_insert_with(Instant::now);
            if in_flight.is_empty() && since.elapsed() > LAST_WORD {
                return Ok(());
            }
        } else if in_flight.len() < WINDOW {
            let request = shared.next.fetch_add(1, Ordering::Relaxed);
            prepare(link, destination, request)?;
            in_flight.insert(request);
        }
        link.flush()?;
        link.read_some()?;
        let mut answers = Vec::new();
        while let Some(message) = link.next_message()? {
            let Ok(frame) = btp::Frame::parse(message) else {
                continue;
            };
            let Some(packet) = frame.protocol_data.ilp() else {
                continue;
            };
            match PacketType::of(packet) {
                // Some are of an earlier link, which a kill cut off.
                Some(PacketType::Fulfill) => {
                    shared.fulfilled.fetch_add(1, Ordering::Relaxed);
                    in_flight.remove(&frame.request_id.0);
                }
                Some(PacketType::Reject) => {
                    in_flight.remove(&frame.request_id.0);
                }
                Some(PacketType::Prepare) => {
                    let data = PrepareView::parse(packet)?.data.to_vec();
                    answers.push((frame.request_id, data));
                }
                None => {}
            }
        }
        for (id, data) in answers {
            fulfill(link, id, &data)?;
        }
        std::thread::sleep(PACE);
    }
}

/// The preimage of a packet; both ends know it.
fn preimage(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

fn prepare(link: &mut Connection, destination: &str, request: u32) -> Result<()> {
    let data = request.to_be_bytes();
    let condition: [u8; 32] = Sha256::digest(preimage(&data)).into();
    let destination = Address::parse(destination.as_bytes()).context("a fixed address is one")?;
    let prepare = PrepareView {
        amount: PACKET_MSAT,
        expires_at: expiry(),
        condition: &condition,
        destination,
        data: &data,
    };
    let mut frame = Vec::new();
    link.link()
        .encode_prepare(&mut frame, RequestId(request), &prepare)?;
    link.queue(&frame);
    Ok(())
}

fn fulfill(link: &mut Connection, id: RequestId, data: &[u8]) -> Result<()> {
    let fulfill = FulfillView {
        fulfillment: &preimage(data),
        data: &[],
    };
    let mut answer = Vec::new();
    link.link().encode_fulfill(&mut answer, id, &fulfill)?;
    btp::patch_header(&mut answer, FrameType::Response, id);
    link.queue(&answer);
    Ok(())
}
