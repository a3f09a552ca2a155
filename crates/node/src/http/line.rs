//! The line of one peer: what a link is to BTP. It brings packets to the core in the same batches and takes the same frames
//! from it; requests and responses stand in for frames.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_ilp::btp::{Frame, RequestId};
use forebay_ilp::{Arrived, Dialect, FulfillView, PacketType, PacketView, PrepareView, RejectView};
use forebay_quantity::Timestamp;
use reqwest::Url;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::way::{Called, Way};
use crate::admin;
use crate::core::Input;
use crate::link::{
    IN_BATCHES, InBatch, OutFrames, OutReceiver, PeerAnswer, PeerFacts, Shared, answer_peer,
    out_queue,
};
use crate::wall;

/// Requests that may wait for the line; a peer that sends more is told to come back.
const ARRIVALS_MAX: usize = 1_024;
/// A line that nothing waits on is looked at this often, and one that only hears is closed then.
const IDLE: Duration = Duration::from_secs(60);
/// Request ids remembered against repetition; past that, requests with new ones are not taken until some have expired.
const SEEN_MAX: usize = 1 << 14;

/// A request of the peer.
pub(super) enum Arrival {
    /// A prepare, read as one.
    Prepare { packet: Vec<u8>, reply: Reply },
    /// The answer to a prepare of ours; whether it was waited for goes back.
    Answer {
        request_id: String,
        packet: Vec<u8>,
        known: oneshot::Sender<bool>,
    },
}

/// Where the answer to a prepare goes.
#[derive(Debug)]
pub(super) enum Reply {
    /// Into the response.
    InResponse(oneshot::Sender<Vec<u8>>),
    /// Into a request to the peer.
    ByRequest { url: Url, request_id: String },
}

struct Waiting {
    reply: Reply,
    expires_at: Timestamp,
}

struct Line {
    shared: Arc<Shared>,
    facts: Arc<PeerFacts>,
    way: Option<Arc<Way>>,
    arrivals: mpsc::Receiver<Arrival>,
    out: OutReceiver,
    home: mpsc::Receiver<InBatch>,
    /// What calls brought; as many as the core has packets in flight.
    called: mpsc::UnboundedReceiver<(RequestId, Called)>,
    calling: mpsc::UnboundedSender<(RequestId, Called)>,
    /// Prepares of the peer at the core.
    waiting: HashMap<u32, Waiting>,
    /// Prepares of ours that the peer answers by a request, and when they expire.
    asked: HashMap<String, (RequestId, Timestamp)>,
    /// Request ids of the peer's prepares, and when they expire.
    seen: HashMap<String, Timestamp>,
    next: u32,
    secret: [u8; 32],
    sent: u64,
}

/// Opens a line: its peer counts as connected from now on.
pub(super) fn open(
    shared: Arc<Shared>,
    facts: Arc<PeerFacts>,
    way: Option<Arc<Way>>,
) -> mpsc::Sender<Arrival> {
    let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
    let (own, home) = mpsc::channel(IN_BATCHES);
    for _ in 0..IN_BATCHES {
        own.try_send(InBatch::new(facts.peer, own.clone()))
            .expect("the channel has room for all batches");
    }
    let (calling, called) = mpsc::unbounded_channel();
    let (out_sender, out) = out_queue();
    let link = shared.next_link();
    let up = Input::LinkUp {
        peer: facts.peer,
        link,
        dialect: Dialect::Rfc,
        out: out_sender,
    };
    let Ok(secret) = admin::random() else {
        warn!(peer = %facts.name, "no line: the system gives no random bytes");
        return sender;
    };
    let line = Line {
        shared: Arc::clone(&shared),
        facts: Arc::clone(&facts),
        way,
        arrivals,
        out,
        home,
        called,
        calling,
        waiting: HashMap::new(),
        asked: HashMap::new(),
        seen: HashMap::new(),
        next: 0,
        secret,
        sent: 0,
    };
    tokio::spawn(async move {
        if shared.core.give(up).is_err() {
            return;
        }
        info!(peer = %facts.name, "line open");
        line.run().await;
        let peer = facts.peer;
        // Without a core there is nobody to tell.
        let _ = shared.core.give(Input::LinkDown { peer, link });
        info!(peer = %facts.name, "line closed");
    });
    sender
}

impl Line {
    async fn run(mut self) {
        loop {
            let goes_on = tokio::select! {
                arrival = self.arrivals.recv() => match arrival {
                    Some(arrival) => self.take_arrivals(arrival).await,
                    None => false,
                },
                // A newer link or line of the peer closes this queue.
                frames = self.out.receiver.recv() => match frames {
                    Some(frames) => self.take_frames(&frames),
                    None => false,
                },
                Some((id, called)) = self.called.recv() => self.take_called(id, called).await,
                () = tokio::time::sleep(IDLE) => self.look_around(),
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Forgets what has expired; a line that only hears ends when nothing is under way.
    fn look_around(&mut self) -> bool {
        self.forget_expired();
        self.way.is_some() || !self.waiting.is_empty()
    }

    fn forget_expired(&mut self) {
        let now = wall::now();
        self.asked.retain(|_, (_, expires_at)| *expires_at > now);
        self.seen.retain(|_, expires_at| *expires_at > now);
        // The core answers each prepare by its expiry; who is gone does not wait.
        self.waiting
            .retain(|_, waiting| waiting.expires_at.0.saturating_add(5_000) > now.0);
    }

    /// Hands all that has arrived to the core; false when there is no core any more.
    async fn take_arrivals(&mut self, first: Arrival) -> bool {
        let Some(mut batch) = self.home.recv().await else {
            return false;
        };
        let mut next = Some(first);
        while let Some(arrival) = next {
            match arrival {
                Arrival::Prepare { packet, reply } => self.take_prepare(&packet, reply, &mut batch),
                Arrival::Answer {
                    request_id,
                    packet,
                    known,
                } => {
                    let asked = self.asked.remove(&request_id);
                    // The peer may have left.
                    let _ = known.send(asked.is_some());
                    if let Some((id, _)) = asked {
                        push_answer(&mut batch, id, &packet);
                    }
                }
            }
            next = match batch.is_full() {
                true => None,
                false => self.arrivals.try_recv().ok(),
            };
        }
        self.hand_over(batch)
    }

    fn hand_over(&self, batch: InBatch) -> bool {
        if batch.is_empty() {
            batch.go_home();
            return true;
        }
        self.shared.core.give(Input::Packets(batch)).is_ok()
    }

    fn take_prepare(&mut self, packet: &[u8], reply: Reply, batch: &mut InBatch) {
        let view = PrepareView::parse(packet).expect("the server has read it");
        if !self.is_new(&reply, view.expires_at) {
            return;
        }
        self.next = self.next.wrapping_add(1);
        let id = self.next;
        let waiting = Waiting {
            reply,
            expires_at: view.expires_at,
        };
        if view.destination.is_peer() {
            match answer_peer(&self.shared, &self.facts, id, &view) {
                PeerAnswer::Packet(packet) => self.reply(waiting, &packet),
                PeerAnswer::ByTheCore => drop(self.waiting.insert(id, waiting)),
            }
            return;
        }
        self.waiting.insert(id, waiting);
        let arrived = Arrived {
            view,
            packet,
            relayable: false,
        };
        batch.push_prepare(&[], RequestId(id), &arrived);
    }

    /// Whether a request was not seen before; one whose answer goes into its response cannot come twice.
    fn is_new(&mut self, reply: &Reply, expires_at: Timestamp) -> bool {
        let Reply::ByRequest { request_id, .. } = reply else {
            return true;
        };
        if self.seen.len() >= SEEN_MAX {
            self.forget_expired();
        }
        if self.seen.len() >= SEEN_MAX || self.seen.contains_key(request_id) {
            return false;
        }
        self.seen.insert(request_id.clone(), expires_at);
        true
    }

    /// Takes frames of the core: prepares to be sent, and answers to the peer's own.
    fn take_frames(&mut self, frames: &OutFrames) -> bool {
        self.out.written(frames.bytes.len());
        let mut start = 0;
        for &end in &frames.ends {
            let end = end as usize;
            let frame = Frame::parse(&frames.bytes[start..end]);
            start = end;
            // Messages of other sub-protocols have no place in HTTP.
            let Some((id, packet)) = frame
                .ok()
                .and_then(|frame| Some((frame.request_id, frame.protocol_data.ilp()?)))
            else {
                continue;
            };
            match PacketType::of(packet) {
                Some(PacketType::Prepare) => self.call(id, packet),
                Some(PacketType::Fulfill | PacketType::Reject) => {
                    if let Some(waiting) = self.waiting.remove(&id.0) {
                        self.reply(waiting, packet);
                    }
                }
                None => {}
            }
        }
        true
    }

    fn reply(&self, waiting: Waiting, packet: &[u8]) {
        match waiting.reply {
            // The peer may have hung up.
            Reply::InResponse(response) => drop(response.send(packet.to_vec())),
            Reply::ByRequest { url, request_id } => {
                let Some(way) = self.way.clone() else { return };
                let packet = packet.to_vec();
                tokio::spawn(async move {
                    way.answer(url, &request_id, &packet, waiting.expires_at)
                        .await;
                });
            }
        }
    }

    /// Sends a prepare of ours; what comes of it arrives by `called`.
    fn call(&mut self, id: RequestId, packet: &[u8]) {
        let calling = self.calling.clone();
        let (Some(way), Ok(view)) = (self.way.clone(), PrepareView::parse(packet)) else {
            // The receiver lives as long as this line.
            let _ = calling.send((id, Called::Failed));
            return;
        };
        let expires_at = view.expires_at;
        let request_id = self.request_id();
        if way.is_async() {
            self.asked.insert(request_id.clone(), (id, expires_at));
        }
        let packet = packet.to_vec();
        tokio::spawn(async move {
            let called = way.prepare(&request_id, &packet, expires_at).await;
            let _ = calling.send((id, called));
        });
    }

    async fn take_called(&mut self, id: RequestId, called: Called) -> bool {
        let Some(mut batch) = self.home.recv().await else {
            return false;
        };
        match called {
            Called::Answer(packet) => push_answer(&mut batch, id, &packet),
            // It comes by a request, or never: the core rejects what has expired.
            Called::Later => {}
            Called::Failed => batch.push_failure(id, *b"T01"),
            Called::Nothing(why) => {
                warn!(peer = %self.facts.name, "a packet was not answered: {why}");
                batch.push_failure(id, *b"T00");
            }
        }
        self.hand_over(batch)
    }

    /// A UUID of version 4, as RFC 35 wants it: nobody can guess it.
    fn request_id(&mut self) -> String {
        self.sent += 1;
        let digest = Sha256::new_with_prefix(self.secret).chain_update(self.sent.to_be_bytes());
        let digest: [u8; 32] = digest.finalize().into();
        let mut bytes: [u8; 16] = *digest.first_chunk().expect("32 bytes begin with 16");
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let digits = hex::encode(bytes);
        let parts = [
            &digits[..8],
            &digits[8..12],
            &digits[12..16],
            &digits[16..20],
            &digits[20..],
        ];
        parts.join("-")
    }
}

/// An answer to a prepare of ours; what is none is as good as a reject.
fn push_answer(batch: &mut InBatch, id: RequestId, packet: &[u8]) {
    fn arrived<V>(view: V, packet: &[u8]) -> Arrived<'_, V> {
        Arrived {
            view,
            packet,
            relayable: false,
        }
    }
    match PacketView::parse(packet) {
        Ok(PacketView::Fulfill(view)) => {
            let view: FulfillView<'_> = view;
            batch.push_fulfill(&[], id, &arrived(view, packet));
        }
        Ok(PacketView::Reject(view)) => {
            let view: RejectView<'_> = view;
            batch.push_reject(&[], id, &arrived(view, packet));
        }
        Ok(PacketView::Prepare(_)) | Err(_) => batch.push_failure(id, *b"T00"),
    }
}
