//! One open BTP link: reads and writes whatever the socket takes, in batches, without one waiting for the other.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use forebay_ilp::btp::{self, ErrorKind, RequestId};
use forebay_ilp::{ErrorCode, Link, LinkError, LinkEvent, PacketType, PrepareView};
use futures_util::{Sink, Stream};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tracing::debug;

use super::directory::PeerFacts;
use super::frames::{IN_BATCHES, InBatch, OutFrames, OutReceiver};
use super::neighbour::{PeerAnswer, answer_peer, reject};
use super::server::Shared;
use super::speech::Speech;
use crate::core::Input;
use crate::socket::Socket;
use crate::wall;

/// A link on which nothing came for this long is asked for a sign of life, and dropped after as long again.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Bytes of answers that a link gives itself before it reads on.
const OWN_BYTES_MAX: usize = 256 << 10;
/// What the core has queued for a link that it drops may take this long to be written.
const LAST_WRITES_MAX: Duration = Duration::from_secs(1);
/// Steps of one poll before other links get their turn.
const STEPS_PER_POLL: usize = 8;

/// Why a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The peer closed it, or the network did.
    ByPeer,
    /// The peer broke the protocol.
    Broken,
    /// The core has dropped it: a newer link, a slow reader, or the end.
    Dropped,
    /// Nothing came any more.
    Silent,
}

/// One link after authentication.
pub(crate) struct Session {
    socket: Socket,
    link: Link,
    facts: Arc<PeerFacts>,
    shared: Arc<Shared>,
    speech: Speech,
    out: OutReceiver,
    /// Frames of the queue that are being written, and the next one's number and start.
    writing: Option<(Bytes, Vec<u32>, usize, u32)>,
    /// Answers that this link gives itself.
    own: OutFrames,
    must_flush: bool,
    home: mpsc::Receiver<InBatch>,
    filling: Option<InBatch>,
    silence: Pin<Box<Sleep>>,
    is_heard: bool,
    is_asked: bool,
    /// Runs once the core has dropped the link and the peer still does not read.
    ending: Option<Pin<Box<Sleep>>>,
    operator: Arc<str>,
}

impl Session {
    pub(crate) fn new(
        socket: Socket,
        link: Link,
        facts: Arc<PeerFacts>,
        shared: Arc<Shared>,
        speech: Speech,
        out: OutReceiver,
    ) -> Self {
        let (sender, home) = mpsc::channel(IN_BATCHES);
        for _ in 0..IN_BATCHES {
            let batch = InBatch::new(facts.peer, sender.clone());
            sender
                .try_send(batch)
                .expect("the channel has room for all batches");
        }
        let operator = shared.directory.operator();
        Self {
            socket,
            link,
            facts,
            shared,
            speech,
            out,
            writing: None,
            own: OutFrames::default(),
            must_flush: false,
            home,
            filling: None,
            silence: Box::pin(sleep(SILENCE_MAX)),
            is_heard: true,
            is_asked: false,
            ending: None,
            operator,
        }
    }

    /// Runs until the link ends.
    pub(crate) async fn run(mut self) -> Closed {
        let closed = std::future::poll_fn(|cx| self.poll(cx)).await;
        if closed == Closed::Dropped {
            // What the peer does with it is its own matter.
            let _ = tokio::time::timeout(Duration::from_secs(1), self.socket.close(None)).await;
        }
        closed
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        for _ in 0..STEPS_PER_POLL {
            let was_full = match self.poll_read(cx) {
                Ok(was_full) => was_full,
                Err(closed) => return Poll::Ready(closed),
            };
            if let Err(closed) = self.poll_write(cx).and_then(|()| self.poll_ending(cx)) {
                return Poll::Ready(closed);
            }
            // With answers that the peer does not read, reading waits for writing.
            if !was_full || self.own.bytes.len() >= OWN_BYTES_MAX {
                return self.poll_silence(cx);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads all that has come, up to a batch, and hands it over; true when there may be more at once.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<bool, Closed> {
        if self.filling.is_none() {
            match self.home.poll_recv(cx) {
                Poll::Ready(batch) => self.filling = batch,
                // The core has them all: not reading on is what slows the peer down.
                Poll::Pending => return Ok(false),
            }
        }
        let mut more = true;
        while more && self.may_read() {
            match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => self.take_message(message)?,
                Poll::Ready(Some(Err(error))) => {
                    debug!(peer = %self.facts.name, "the link broke: {error}");
                    return Err(Closed::ByPeer);
                }
                Poll::Ready(None) => return Err(Closed::ByPeer),
                Poll::Pending => more = false,
            }
        }
        self.hand_over()?;
        Ok(more)
    }

    /// A link that the core has dropped ends, also when its peer never reads what is being written.
    fn poll_ending(&mut self, cx: &mut Context<'_>) -> Result<(), Closed> {
        if self.writing.is_none() || !self.out.receiver.is_closed() {
            return Ok(());
        }
        let ending = self
            .ending
            .get_or_insert_with(|| Box::pin(sleep(LAST_WRITES_MAX)));
        match ending.as_mut().poll(cx) {
            Poll::Ready(()) => Err(Closed::Dropped),
            Poll::Pending => Ok(()),
        }
    }

    /// Nothing more is read for a core that has dropped the link.
    fn may_read(&self) -> bool {
        !self.out.receiver.is_closed()
            && self.own.bytes.len() < OWN_BYTES_MAX
            && self.filling.as_ref().is_some_and(|batch| !batch.is_full())
    }

    fn hand_over(&mut self) -> Result<(), Closed> {
        let Some(mut batch) = self.filling.take_if(|batch| !batch.is_empty()) else {
            return Ok(());
        };
        batch.dialect = self.link.dialect();
        self.shared
            .core
            .give(Input::Packets(batch))
            .map_err(|_| Closed::Dropped)
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        while self.silence.as_mut().poll(cx).is_ready() {
            self.silence.as_mut().reset(Instant::now() + SILENCE_MAX);
            if std::mem::take(&mut self.is_heard) {
                self.is_asked = false;
                continue;
            }
            if std::mem::replace(&mut self.is_asked, true) {
                return Poll::Ready(Closed::Silent);
            }
            if Pin::new(&mut self.socket)
                .start_send(Message::Ping(Bytes::new()))
                .is_err()
            {
                return Poll::Ready(Closed::ByPeer);
            }
            self.must_flush = true;
            if let Err(closed) = self.poll_write(cx) {
                return Poll::Ready(closed);
            }
        }
        Poll::Pending
    }

    fn take_message(&mut self, message: Message) -> Result<(), Closed> {
        self.is_heard = true;
        match message {
            Message::Binary(bytes) => self.take_frame(&bytes),
            Message::Close(_) => Err(Closed::ByPeer),
            Message::Ping(_) => {
                // The library has queued the pong.
                self.must_flush = true;
                Ok(())
            }
            Message::Pong(_) | Message::Text(_) | Message::Frame(_) => Ok(()),
        }
    }

    fn take_frame(&mut self, frame: &[u8]) -> Result<(), Closed> {
        let event = match self.link.receive(frame) {
            Ok(event) => event,
            Err(error) if error.is_fatal() => return Err(Closed::Broken),
            Err(LinkError::Unreadable(_)) => {
                self.shared.figures.unreadable_frames.add(1);
                return Ok(());
            }
            Err(_) => return Ok(()),
        };
        let batch = self
            .filling
            .as_mut()
            .expect("frames are read only into a batch");
        match event {
            LinkEvent::Prepare(id, prepare) if prepare.view.destination.is_peer() => {
                self.answer_peer_request(id, &prepare.view)
            }
            LinkEvent::Prepare(id, prepare) => batch.push_prepare(frame, id, &prepare),
            LinkEvent::Fulfill(id, fulfill) => batch.push_fulfill(frame, id, &fulfill),
            LinkEvent::Reject(id, reject) => batch.push_reject(frame, id, &reject),
            LinkEvent::InvalidReply(id, _) => batch.push_failure(id, *b"T00"),
            LinkEvent::Error(id, _) => batch.push_failure(id, *b"T00"),
            LinkEvent::InvalidPrepare(id, error) => {
                let text = error.to_string();
                self.reject(id, ErrorCode::F01InvalidPacket, &text);
            }
            LinkEvent::Message(id, data) => match data.find(forebay_channel::PROTOCOL) {
                Some(entry) => self.speech.take(entry.data, Some(id), &mut self.own),
                None => self.answer_error(id, "this sub-protocol is not spoken here"),
            },
            LinkEvent::Response(_, data) => {
                if let Some(entry) = data.find(forebay_channel::PROTOCOL) {
                    self.speech.take(entry.data, None, &mut self.own);
                }
            }
            LinkEvent::Transfer(id, ..) => {
                self.answer_error(id, "value moves by vouchers here, not by transfers")
            }
            LinkEvent::AuthRequested { .. }
            | LinkEvent::Authenticated
            | LinkEvent::AuthRefused(_) => {}
        }
        Ok(())
    }

    /// `peer.*` is for us alone.
    fn answer_peer_request(&mut self, id: RequestId, prepare: &PrepareView<'_>) {
        let answer = answer_peer(&self.shared, &self.facts, id.0, prepare);
        let PeerAnswer::Packet(packet) = answer else {
            return;
        };
        let packet_type = PacketType::of(&packet).expect("an answer is a packet");
        let link = &self.link;
        self.own
            .push(|out| link.encode_ilp(out, packet_type, id, &packet));
    }

    fn reject(&mut self, id: RequestId, code: ErrorCode, text: &str) {
        let packet = reject(&self.operator, code, text);
        let link = &self.link;
        self.own
            .push(|out| link.encode_ilp(out, PacketType::Reject, id, &packet));
    }

    fn answer_error(&mut self, id: RequestId, text: &str) {
        self.own.push(|out| {
            btp::encode_error(out, id, ErrorKind::NotAccepted, wall::now(), text)
                .expect("the clock is guarded");
        });
    }

    /// Writes all that waits, as far as the socket takes it.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), Closed> {
        while self.next_frames(cx)? {
            let Some((bytes, ends, next, start)) = &mut self.writing else {
                break;
            };
            while *next < ends.len() {
                match Pin::new(&mut self.socket).poll_ready(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Err(Closed::ByPeer),
                    Poll::Pending => return Ok(()),
                }
                let end = ends[*next];
                let frame = bytes.slice(*start as usize..end as usize);
                Pin::new(&mut self.socket)
                    .start_send(Message::Binary(frame))
                    .map_err(|_| Closed::ByPeer)?;
                self.must_flush = true;
                *start = end;
                *next += 1;
            }
            self.writing = None;
        }
        if self.must_flush {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.must_flush = false,
                Poll::Ready(Err(_)) => return Err(Closed::ByPeer),
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    /// Makes sure that there are frames to write; false when nothing waits.
    fn next_frames(&mut self, cx: &mut Context<'_>) -> Result<bool, Closed> {
        if self.writing.is_some() {
            return Ok(true);
        }
        if !self.own.is_empty() {
            let OutFrames { bytes, ends } = std::mem::take(&mut self.own);
            self.writing = Some((bytes.into(), ends, 0, 0));
            return Ok(true);
        }
        match self.out.receiver.poll_recv(cx) {
            Poll::Ready(Some(OutFrames { bytes, ends })) => {
                self.out.written(bytes.len());
                self.writing = Some((bytes.into(), ends, 0, 0));
                Ok(true)
            }
            Poll::Ready(None) => Err(Closed::Dropped),
            Poll::Pending => Ok(false),
        }
    }
}
