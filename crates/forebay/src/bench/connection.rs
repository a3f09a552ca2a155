//! One BTP link as a load sees it: a blocking socket. The WebSocket framing is the least that RFC 6455 asks of a client:
//! one frame a message, and a mask of zeros, which leaves the bytes as they are.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use forebay_ilp::btp::RequestId;
use forebay_ilp::{Link, LinkEvent};

/// What a link may have read and not used; some hundred packets a read, and more than the longest BTP frame.
const BUFFER_SIZE: usize = 256 << 10;
/// Nothing for this long means that the pool has stopped answering.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Nothing came for as long as a read waits.
#[derive(Debug, thiserror::Error)]
#[error("no answer in time")]
struct Silence;

/// The other end closed the link.
#[derive(Debug, thiserror::Error)]
#[error("the link was closed at the other end")]
pub(crate) struct Closed;

/// One WebSocket with an authenticated BTP link.
pub(crate) struct Connection {
    stream: TcpStream,
    link: Link,
    /// Bytes read lie from `used` to `filled`.
    input: Vec<u8>,
    used: usize,
    filled: usize,
    output: Vec<u8>,
}

impl Connection {
    /// Dials, and authenticates with `token`.
    pub(crate) fn open(address: SocketAddr, token: &str) -> Result<Self> {
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
                .context("the connection was closed in the handshake")?;
            head.push(byte[0]);
        }
        ensure!(
            head.starts_with(b"HTTP/1.1 101"),
            "{address} did not switch to WebSocket"
        );
        let mut connection = Self::on(stream, vec![0; BUFFER_SIZE]);
        connection.authenticate(token)?;
        Ok(connection)
    }

    fn on(stream: TcpStream, input: Vec<u8>) -> Self {
        Self {
            stream,
            link: Link::client(),
            input,
            used: 0,
            filled: 0,
            output: Vec::new(),
        }
    }

    fn authenticate(&mut self, token: &str) -> Result<()> {
        let mut frame = Vec::new();
        self.link
            .start(&mut frame, RequestId(u32::MAX), None, token);
        self.queue(&frame);
        self.flush()?;
        loop {
            self.read()?;
            if let Some((start, end)) = self.next_frame()? {
                let event = self.link.receive(&self.input[start..end]);
                ensure!(
                    matches!(event, Ok(LinkEvent::Authenticated)),
                    "{token} was refused: {event:?}"
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
        self.input.copy_within(self.used..self.filled, 0);
        self.filled -= std::mem::take(&mut self.used);
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => bail!("the connection was closed"),
            Ok(count) => {
                self.filled += count;
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(Silence.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A second end that only writes.
    pub(crate) fn writer(&self) -> Result<Self> {
        Ok(Self::on(self.stream.try_clone()?, Vec::new()))
    }

    /// The BTP session.
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// From now on a read waits this long at most; for ever without.
    pub(crate) fn wait_at_most(&mut self, span: Option<Duration>) -> Result<()> {
        Ok(self.stream.set_read_timeout(span)?)
    }

    /// Reads whatever has come; false when nothing did in time.
    pub(crate) fn read_some(&mut self) -> Result<bool> {
        match self.read() {
            Ok(()) => Ok(true),
            Err(error) if error.is::<Silence>() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The next whole binary message of what was read.
    pub(crate) fn next_message(&mut self) -> Result<Option<&[u8]>> {
        Ok(self
            .next_frame()?
            .map(|(start, end)| &self.input[start..end]))
    }

    /// Where the next whole binary message lies in `input`; control frames are passed over.
    fn next_frame(&mut self) -> Result<Option<(usize, usize)>> {
        loop {
            let rest = &self.input[self.used..self.filled];
            let Some((opcode, head, size)) = read_head(rest) else {
                return Ok(None);
            };
            if rest.len() < head + size {
                ensure!(head + size <= BUFFER_SIZE, "a message of {size} bytes");
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

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
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
