//! The load: one sender that keeps a window full, one receiver that fulfils, each a blocking thread with its own BTP
//! socket. The WebSocket framing is the least that RFC 6455 asks of a client: one frame a message, and a mask of
//! zeros, which leaves the bytes as they are.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use forebay_ilp::btp::{self, FrameType, RequestId};
use forebay_ilp::{Address, FulfillView, Link, LinkEvent, PacketType, PrepareView, patch_prepare};
use forebay_quantity::Timestamp;
use sha2::{Digest, Sha256};

/// Base units that each packet carries, and how long it may take.
const AMOUNT: u64 = 1_000;
const TTL_MS: u64 = 20_000;
const PREIMAGE: [u8; 32] = [7; 32];
/// Bytes of application data in each packet.
const DATA_SIZE: usize = 200;
const BUFFER_SIZE: usize = 256 << 10;
/// Nothing for this long means that the pool has stopped answering.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Nothing came for as long as a read waits.
#[derive(Debug, thiserror::Error)]
#[error("the pool did not answer in time")]
struct Silence;

/// The pool closed the link.
#[derive(Debug, thiserror::Error)]
#[error("the pool closed the link")]
pub(crate) struct Closed;

/// One WebSocket with an authenticated BTP link.
pub(crate) struct Connection {
    stream: TcpStream,
    link: Link,
    /// Bytes read; those before `used` are done with.
    input: Vec<u8>,
    used: usize,
    output: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr, name: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        write!(
            stream,
            "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream
                .read_exact(&mut byte)
                .context("the pool closed the connection in the handshake")?;
            head.push(byte[0]);
        }
        ensure!(
            head.starts_with(b"HTTP/1.1 101"),
            "the pool did not switch to WebSocket"
        );
        let mut connection = Self {
            stream,
            link: Link::client(),
            input: Vec::new(),
            used: 0,
            output: Vec::with_capacity(BUFFER_SIZE),
        };
        connection.authenticate(name)?;
        Ok(connection)
    }

    fn authenticate(&mut self, name: &str) -> Result<()> {
        let mut frame = Vec::new();
        self.link.start(&mut frame, RequestId(u32::MAX), None, name);
        self.queue(&frame);
        self.flush()?;
        loop {
            self.read()?;
            if let Some((start, end)) = self.next_frame()? {
                let event = self.link.receive(&self.input[start..end]);
                ensure!(
                    matches!(event, Ok(LinkEvent::Authenticated)),
                    "the pool refused the {name}: {event:?}"
                );
                return Ok(());
            }
        }
    }

    /// Queues one binary message.
    pub(crate) fn queue(&mut self, frame: &[u8]) {
        write_head(&mut self.output, frame.len());
        self.output.extend_from_slice(frame);
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
        Ok(())
    }

    /// Reads whatever has come, waiting for something.
    pub(crate) fn read(&mut self) -> Result<()> {
        self.input.drain(..self.used);
        self.used = 0;
        let before = self.input.len();
        self.input.resize(before + BUFFER_SIZE, 0);
        let read = self.stream.read(&mut self.input[before..]);
        let count = match &read {
            Ok(count) => *count,
            Err(_) => 0,
        };
        self.input.truncate(before + count);
        match read {
            Ok(0) => bail!("the pool closed the connection"),
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(Silence.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A second handle that only writes.
    pub(crate) fn writer(&self) -> Result<Self> {
        let stream = self.stream.try_clone()?;
        Ok(Self {
            stream,
            link: Link::client(),
            input: Vec::new(),
            used: 0,
            output: Vec::new(),
        })
    }

    /// The BTP session.
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// From now on a read waits this long at most.
    pub(crate) fn wait_at_most(&mut self, span: Duration) -> Result<()> {
        Ok(self.stream.set_read_timeout(Some(span))?)
    }

    /// Reads whatever has come; false when nothing did in time.
    pub(crate) fn read_some(&mut self) -> Result<bool> {
        match self.read() {
            Ok(()) => Ok(true),
            Err(error) if error.is::<Silence>() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The next whole binary message.
    pub(crate) fn next_message(&mut self) -> Result<Option<&[u8]>> {
        Ok(self
            .next_frame()?
            .map(|(start, end)| &self.input[start..end]))
    }

    /// Where the next whole binary message lies in `input`; control frames are passed over.
    fn next_frame(&mut self) -> Result<Option<(usize, usize)>> {
        loop {
            let rest = &self.input[self.used..];
            let Some((opcode, head, size)) = read_head(rest) else {
                return Ok(None);
            };
            if rest.len() < head + size {
                return Ok(None);
            }
            let start = self.used + head;
            self.used = start + size;
            match opcode {
                2 => return Ok(Some((start, start + size))),
                8 => return Err(Closed.into()),
                _ => {}
            }
        }
    }
}

fn write_head(out: &mut Vec<u8>, size: usize) {
    out.push(0x82);
    match u16::try_from(size) {
        Ok(small @ 0..126) => out.push(0x80 | small.to_be_bytes()[1]),
        Ok(size) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&size.to_be_bytes());
        }
        Err(_) => unreachable!("a BTP frame has at most 64 KiB, and these have some hundred bytes"),
    }
    out.extend_from_slice(&[0; 4]);
}

/// Opcode, size of the head, size of the payload.
fn read_head(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    match second & 0x7f {
        127 => {
            let size = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            Some((first & 0x0f, 10, usize::try_from(size).ok()?))
        }
        126 => Some((
            first & 0x0f,
            4,
            usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
        )),
        size => Some((first & 0x0f, 2, usize::from(size))),
    }
}

/// The receiver: fulfils every prepare until the pool closes the link.
pub(super) struct Receiver(Connection);

impl Receiver {
    pub(super) fn connect(address: SocketAddr) -> Result<Self> {
        Connection::open(address, "receiver").map(Self)
    }

    /// Runs until the connection ends, which is how the pool ends it.
    pub(super) fn run(mut self) {
        let mut answer = Vec::new();
        let fulfill = FulfillView {
            fulfillment: &PREIMAGE,
            data: &[],
        };
        if self
            .0
            .link
            .encode_fulfill(&mut answer, RequestId(0), &fulfill)
            .is_err()
        {
            return;
        }
        while self.round(&mut answer).is_ok() {}
    }

    fn round(&mut self, answer: &mut [u8]) -> Result<()> {
        let connection = &mut self.0;
        connection.stream.set_read_timeout(None)?;
        connection.read()?;
        while let Some((start, end)) = connection.next_frame()? {
            let frame = &connection.input[start..end];
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
    /// Microseconds from each prepare to its fulfill.
    pub(super) latencies_us: Vec<u32>,
    /// Packets that came back as rejects.
    pub(super) rejected: u64,
    /// The last reject.
    pub(super) reject: String,
    /// How long it took.
    pub(super) elapsed: Duration,
}

/// The sender.
pub(super) struct Sender {
    connection: Connection,
    /// A prepare in its frame.
    frame: Vec<u8>,
    packet_at: usize,
    next_request: u32,
}

impl Sender {
    pub(super) fn connect(address: SocketAddr) -> Result<Self> {
        let connection = Connection::open(address, "sender")?;
        let condition: [u8; 32] = Sha256::digest(PREIMAGE).into();
        let destination =
            Address::parse(b"test.pool.receiver.account").context("a fixed address is one")?;
        let data = [0; DATA_SIZE];
        let prepare = PrepareView {
            amount: AMOUNT,
            expires_at: expiry(),
            condition: &condition,
            destination,
            data: &data,
        };
        let mut frame = Vec::new();
        connection
            .link
            .encode_prepare(&mut frame, RequestId(0), &prepare)?;
        let packet_at = frame.len() - prepare.encoded_size();
        Ok(Self {
            connection,
            frame,
            packet_at,
            next_request: 1,
        })
    }

    /// Keeps `window` packets in flight for `span`, then waits for the last.
    pub(super) fn run(&mut self, window: u32, span: Duration) -> Result<Seen> {
        let began = Instant::now();
        let first = self.next_request;
        let mut sent_at: Vec<Instant> = Vec::new();
        let mut seen = Seen::default();
        let mut in_flight = 0_u32;
        loop {
            let free = if began.elapsed() < span {
                window - in_flight
            } else {
                0
            };
            if free > 0 {
                self.send(free, &mut sent_at)?;
                in_flight += free;
            }
            if in_flight == 0 {
                seen.elapsed = began.elapsed();
                return Ok(seen);
            }
            self.connection.read()?;
            let now = Instant::now();
            while let Some((start, end)) = self.connection.next_frame()? {
                let frame = btp::Frame::parse(&self.connection.input[start..end])
                    .map_err(|error| anyhow::anyhow!("{error}"))?;
                let Some(packet) = frame.protocol_data.ilp() else {
                    continue;
                };
                let slot = usize::try_from(frame.request_id.0.wrapping_sub(first))?;
                let sent = sent_at
                    .get(slot)
                    .context("an answer to nothing that was asked")?;
                in_flight -= 1;
                if PacketType::of(packet) == Some(PacketType::Fulfill) {
                    let waited = now.duration_since(*sent).as_micros();
                    seen.latencies_us
                        .push(u32::try_from(waited).unwrap_or(u32::MAX));
                } else {
                    seen.rejected += 1;
                    seen.reject = format!(
                        "{:?}",
                        forebay_ilp::RejectView::parse(packet).map(|reject| {
                            (
                                reject.code,
                                String::from_utf8_lossy(reject.message).into_owned(),
                            )
                        })
                    );
                }
            }
        }
    }

    fn send(&mut self, count: u32, sent_at: &mut Vec<Instant>) -> Result<()> {
        let Self {
            connection,
            frame,
            packet_at,
            next_request,
        } = self;
        patch_prepare(&mut frame[*packet_at..], AMOUNT, expiry())?;
        for _ in 0..count {
            btp::patch_header(frame, FrameType::Message, RequestId(*next_request));
            *next_request = next_request.wrapping_add(1);
            connection.queue(frame);
        }
        let now = Instant::now();
        sent_at.extend((0..count).map(|_| now));
        connection.flush()
    }
}

/// When a packet sent now expires.
pub(crate) fn expiry() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(
        u64::try_from(since_epoch.as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(TTL_MS),
    )
}
