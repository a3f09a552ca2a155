//! The load: senders that keep a window full or follow a schedule, and a receiver that fulfils. Sender and receiver are
//! blocking threads, each with its own BTP link; many senders share one thread.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use forebay_ilp::btp::{self, FrameType, RequestId};
use forebay_ilp::{Address, FulfillView, PacketType, PrepareView, RejectView, patch_prepare};
use forebay_quantity::Timestamp;
use rustix::event::epoll;
use sha2::{Digest, Sha256};

use super::connection::Connection;

/// Base units that each packet carries, and how long it may take.
pub(super) const AMOUNT: u64 = 1_000;
const TTL_MS: u64 = 20_000;
pub(super) const PREIMAGE: [u8; 32] = [7; 32];
/// Bytes of application data in each packet.
const DATA_SIZE: usize = 200;
/// Links looked at in one turn of a fleet.
const READY_MAX: usize = 256;
/// A fleet that hears nothing for this long has lost its pool.
const FLEET_SILENCE_MAX: Duration = Duration::from_secs(10);

/// The receiver: fulfils every prepare until the other end closes the link.
pub(super) struct Receiver(Connection);

impl Receiver {
    pub(super) fn connect(address: SocketAddr, token: &str) -> Result<Self> {
        Connection::open(address, token).map(Self)
    }

    /// Runs until the connection ends, which is how the pool ends it.
    pub(super) fn run(mut self) {
        let mut answer = Vec::new();
        let fulfill = FulfillView {
            fulfillment: &PREIMAGE,
            data: &[],
        };
        let link = self.0.link();
        if link
            .encode_fulfill(&mut answer, RequestId(0), &fulfill)
            .is_err()
            || self.0.wait_at_most(None).is_err()
        {
            return;
        }
        while self.round(&mut answer).is_ok() {}
    }

    fn round(&mut self, answer: &mut [u8]) -> Result<()> {
        let connection = &mut self.0;
        connection.read()?;
        while let Some(frame) = connection.next_message()? {
            // A voucher of the pool comes as a message as well; only a prepare carries ILP.
            let Ok(parsed) = btp::Frame::parse(frame) else {
                continue;
            };
            let packet = parsed.protocol_data.ilp();
            if packet.and_then(PacketType::of) == Some(PacketType::Prepare) {
                btp::patch_header(answer, FrameType::Response, parsed.request_id);
                connection.queue(answer);
            }
        }
        connection.flush()
    }
}

/// What a run saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Microseconds from when each prepare was sent, or was to be sent, to its fulfill.
    pub(super) latencies_us: Vec<u32>,
    /// How late each packet of a schedule was handed to the system; empty without a schedule.
    pub(super) delays_us: Vec<u32>,
    /// Packets that came back as rejects.
    rejected: u64,
    /// The last reject.
    reject: String,
    /// How long it took.
    pub(super) elapsed: Duration,
}

impl Seen {
    fn answered(&self) -> u64 {
        let fulfilled = u64::try_from(self.latencies_us.len()).unwrap_or(u64::MAX);
        fulfilled.saturating_add(self.rejected)
    }

    /// Figures are of packets that all came through.
    pub(super) fn all_fulfilled(self) -> Result<Self> {
        ensure!(
            self.rejected == 0,
            "{} packets were rejected, the last by {}",
            self.rejected,
            self.reject
        );
        ensure!(!self.latencies_us.is_empty(), "no packet came through");
        Ok(self)
    }

    fn take(&mut self, packet: &[u8], sent: Instant, now: Instant) {
        if PacketType::of(packet) == Some(PacketType::Fulfill) {
            self.latencies_us
                .push(micros(now.saturating_duration_since(sent)));
            return;
        }
        self.rejected += 1;
        let reject = RejectView::parse(packet).map(|reject| {
            let message = String::from_utf8_lossy(reject.message).into_owned();
            (reject.code, message)
        });
        self.reject = format!("{reject:?}");
    }
}

/// A sender.
pub(super) struct Sender {
    connection: Connection,
    prepare: Prepare,
    next_request: u32,
    /// The first request of the run, and when each from it on was sent.
    first: u32,
    sent_at: Vec<Instant>,
    in_flight: u32,
}

impl Sender {
    pub(super) fn connect(address: SocketAddr, token: &str) -> Result<Self> {
        let connection = Connection::open(address, token)?;
        Ok(Self {
            prepare: Prepare::new(&connection)?,
            connection,
            next_request: 1,
            first: 1,
            sent_at: Vec::new(),
            in_flight: 0,
        })
    }

    /// Keeps `window` packets in flight for `span`, then waits for the last.
    pub(super) fn run(&mut self, window: u32, span: Duration) -> Result<Seen> {
        let began = Instant::now();
        let mut seen = Seen::default();
        self.begin();
        loop {
            let window = if began.elapsed() < span { window } else { 0 };
            self.fill(window)?;
            if self.in_flight == 0 {
                seen.elapsed = began.elapsed();
                return Ok(seen);
            }
            self.take_answers(&mut seen)?;
        }
    }

    /// Sends `rate` packets a second for `span` when each is due, whatever has come back, then waits for the last. What
    /// waits behind a slow packet is late as well, and counts so: latency runs from when a packet was due.
    pub(super) fn run_at(&mut self, rate: u64, span: Duration) -> Result<Seen> {
        let schedule = Schedule::new(rate, span)?;
        let first = self.next_request;
        self.next_request = first.wrapping_add(schedule.packets);
        let (writer, prepare) = (self.connection.writer()?, self.prepare.clone());
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| schedule.keep(writer, prepare, first));
            let mut seen = Seen::default();
            while seen.answered() < u64::from(schedule.packets) {
                self.connection.read()?;
                let now = Instant::now();
                take_all(&mut self.connection, |request, packet| {
                    let number = request.wrapping_sub(first);
                    ensure!(number < schedule.packets, "an answer to nothing asked");
                    seen.take(packet, schedule.due(number), now);
                    Ok(())
                })?;
            }
            seen.elapsed = schedule.began.elapsed();
            seen.delays_us = sending
                .join()
                .map_err(|_| anyhow::anyhow!("the sender met a bug"))??;
            Ok(seen)
        })
    }

    fn begin(&mut self) {
        self.first = self.next_request;
        self.sent_at.clear();
    }

    /// Sends until `window` packets are in flight.
    fn fill(&mut self, window: u32) -> Result<()> {
        let count = window.saturating_sub(self.in_flight);
        if count == 0 {
            return Ok(());
        }
        self.prepare
            .queue(&mut self.connection, self.next_request, count)?;
        self.next_request = self.next_request.wrapping_add(count);
        self.in_flight += count;
        let now = Instant::now();
        self.sent_at.extend((0..count).map(|_| now));
        self.connection.flush()
    }

    /// Waits for answers and takes all that have come.
    fn take_answers(&mut self, seen: &mut Seen) -> Result<()> {
        self.connection.read()?;
        let now = Instant::now();
        let Self {
            connection,
            first,
            sent_at,
            in_flight,
            ..
        } = self;
        take_all(connection, |request, packet| {
            let slot = usize::try_from(request.wrapping_sub(*first))?;
            let sent = sent_at.get(slot).context("an answer to nothing asked")?;
            seen.take(packet, *sent, now);
            *in_flight -= 1;
            Ok(())
        })
    }
}

/// Hands each answer that was read to `take`, by its request.
fn take_all(
    connection: &mut Connection,
    mut take: impl FnMut(u32, &[u8]) -> Result<()>,
) -> Result<()> {
    while let Some(message) = connection.next_message()? {
        let frame = btp::Frame::parse(message).map_err(|error| anyhow::anyhow!("{error}"))?;
        if let Some(packet) = frame.protocol_data.ilp() {
            take(frame.request_id.0, packet)?;
        }
    }
    Ok(())
}

/// A prepare in its frame, patched for each packet.
#[derive(Clone)]
struct Prepare {
    frame: Vec<u8>,
    packet_at: usize,
}

impl Prepare {
    fn new(connection: &Connection) -> Result<Self> {
        let mut frame = Vec::new();
        let packet = with_prepare(|prepare| {
            connection
                .link()
                .encode_prepare(&mut frame, RequestId(0), prepare)?;
            Ok(prepare.encoded_size())
        })?;
        let packet_at = frame.len() - packet;
        Ok(Self { frame, packet_at })
    }

    /// Queues `count` prepares with requests from `first` on.
    fn queue(&mut self, connection: &mut Connection, first: u32, count: u32) -> Result<()> {
        patch_prepare(&mut self.frame[self.packet_at..], AMOUNT, expiry())?;
        for number in 0..count {
            let request = first.wrapping_add(number);
            btp::patch_header(&mut self.frame, FrameType::Message, RequestId(request));
            // No two packets are alike, as in life: a connector may answer the second from memory.
            let data_at = self.frame.len() - DATA_SIZE;
            self.frame[data_at..data_at + 4].copy_from_slice(&request.to_be_bytes());
            connection.queue(&self.frame);
        }
        Ok(())
    }
}

/// The packet of every load, for the receiver's account.
pub(super) fn with_prepare<T>(then: impl FnOnce(&PrepareView<'_>) -> Result<T>) -> Result<T> {
    let condition: [u8; 32] = Sha256::digest(PREIMAGE).into();
    let destination =
        Address::parse(b"test.pool.receiver.account").context("a fixed address is one")?;
    then(&PrepareView {
        amount: AMOUNT,
        expires_at: expiry(),
        condition: &condition,
        destination,
        data: &[0; DATA_SIZE],
    })
}

/// When each packet is due.
struct Schedule {
    began: Instant,
    rate: u64,
    packets: u32,
}

impl Schedule {
    fn new(rate: u64, span: Duration) -> Result<Self> {
        let packets = u128::from(rate) * span.as_millis() / 1_000;
        Ok(Self {
            began: Instant::now(),
            rate,
            packets: u32::try_from(packets).context("more packets than there are requests")?,
        })
    }

    fn due(&self, number: u32) -> Instant {
        self.began + Duration::from_nanos(u64::from(number) * 1_000_000_000 / self.rate)
    }

    /// Sends each packet when it is due; returns how late each was.
    fn keep(&self, mut writer: Connection, mut prepare: Prepare, first: u32) -> Result<Vec<u32>> {
        let mut delays_us = Vec::new();
        let mut next = 0;
        while next < self.packets {
            let now = Instant::now();
            let mut until = next;
            while until < self.packets && self.due(until) <= now {
                delays_us.push(micros(now.duration_since(self.due(until))));
                until += 1;
            }
            if until == next {
                std::thread::sleep(self.due(next).duration_since(now));
                continue;
            }
            prepare.queue(&mut writer, first.wrapping_add(next), until - next)?;
            writer.flush()?;
            next = until;
        }
        Ok(delays_us)
    }
}

/// Many senders on one thread.
pub(super) struct Fleet {
    senders: Vec<Sender>,
    poll: OwnedFd,
}

impl Fleet {
    pub(super) fn new(senders: Vec<Sender>) -> Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (number, sender) in senders.iter().enumerate() {
            let data = epoll::EventData::new_u64(u64::try_from(number)?);
            epoll::add(&poll, &sender.connection, data, epoll::EventFlags::IN)?;
        }
        Ok(Self { senders, poll })
    }

    /// Each sender keeps `window` packets in flight for `span`; then waits for the last.
    pub(super) fn run(&mut self, window: u32, span: Duration) -> Result<Seen> {
        let began = Instant::now();
        let mut seen = Seen::default();
        let mut in_flight = 0;
        for sender in &mut self.senders {
            sender.begin();
            sender.fill(window)?;
            in_flight += sender.in_flight;
        }
        let silence = FLEET_SILENCE_MAX.try_into()?;
        let mut ready = Vec::with_capacity(READY_MAX);
        while in_flight > 0 {
            let spare = rustix::buffer::spare_capacity(&mut ready);
            if epoll::wait(&self.poll, spare, Some(&silence))? == 0 {
                bail!("no answer in time");
            }
            let window = if began.elapsed() < span { window } else { 0 };
            for event in ready.drain(..) {
                let number = event.data;
                let sender = &mut self.senders[usize::try_from(number.u64())?];
                in_flight -= sender.in_flight;
                sender.take_answers(&mut seen)?;
                sender.fill(window)?;
                in_flight += sender.in_flight;
            }
        }
        seen.elapsed = began.elapsed();
        Ok(seen)
    }
}

/// When a packet sent now expires.
pub(crate) fn expiry() -> Timestamp {
    Timestamp(now().0.saturating_add(TTL_MS))
}

/// The wall clock.
pub(super) fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

pub(super) fn micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}
