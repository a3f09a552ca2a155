//! What leaves the core thread after a sync: packets patched into links' buffers, answers, vouchers and chain requests.

mod routes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Instant;

use forebay_channel::{PeerMessage, RESUME_MAX};
use forebay_ilp::btp::{self, RequestId};
use forebay_ilp::{
    Address, AmountTooLarge, Dialect, ErrorCode, FulfillView, PacketType, RejectView, patch_prepare,
};
use forebay_pool::{ChainRequest, Command, Effect, RejectCode, Rejection, State, outstanding};
use forebay_quantity::{Amount, ChannelSerial, EffectId, PacketId, PeerId, Timestamp};
use tokio::sync::mpsc;
use tracing::warn;

use super::figures::Figures;
use crate::link::{Directory, InBatch, Item, ItemKind, LinkId, OutFrames, OutSender, terms};
use crate::signer::VoucherOrder;
use routes::RouteRequests;

/// Request ids of our own messages lie where no packet's can: above every packet slot.
const OWN_REQUEST: u32 = 1 << 19;
const OWN_REQUEST_MASK: u32 = OWN_REQUEST - 1;
const _: () = assert!(forebay_pool::bounds::PACKETS_MAX <= OWN_REQUEST as usize);
/// Bytes of fulfills kept for payers that are away; past that the oldest go, and their payers get the preimage alone.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Where effects go that links do not carry.
pub(crate) struct Outside {
    /// Vouchers to be signed.
    pub(crate) vouchers: std_mpsc::Sender<VoucherOrder>,
    /// Chain requests; the core bounds how many are outstanding.
    pub(crate) chain: mpsc::UnboundedSender<(EffectId, ChainRequest)>,
}

/// Why an item had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Rejected(Rejection),
    Draining,
    JournalFailed,
}

/// The frame that an effect is made from.
#[derive(Debug, Clone, Copy)]
struct Source {
    batch: usize,
    item: Item,
}

/// A fulfill whose payer was away when it came.
struct Kept {
    peer: PeerId,
    request: u32,
    frame: Vec<u8>,
}

struct LinkSide {
    link: LinkId,
    dialect: Dialect,
    out: OutSender,
    frames: OutFrames,
    is_touched: bool,
    routes: RouteRequests,
    /// It speaks the sub-protocol: it hears terms, and numbers its requests so that a late answer finds the right one.
    speaks: bool,
}

/// Everything that waits to leave.
pub(crate) struct Post {
    links: Vec<Option<LinkSide>>,
    touched: Vec<PeerId>,
    /// Batches of this round.
    batches: Vec<InBatch>,
    /// Accepted items in the order in which their effects come.
    sources: VecDeque<Source>,
    refusals: Vec<(Source, Refusal)>,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    /// Requests fulfilled before this start, by preimage: the data of their fulfills may come once more.
    bare: BTreeMap<[u8; 32], (PeerId, u32)>,
    undelivered: Vec<Command<'static>>,
    /// Channels whose peers have not said yet which voucher of ours they hold.
    unheard: BTreeSet<ChannelSerial>,
    terms_due: BTreeSet<PeerId>,
    own_request: u32,
    text: String,
    operator: Vec<u8>,
    figures: Arc<Figures>,
    directory: Arc<Directory>,
    outside: Outside,
}

impl Post {
    pub(crate) fn new(
        figures: Arc<Figures>,
        directory: Arc<Directory>,
        outside: Outside,
        state: &State,
    ) -> Self {
        let mut post = Self {
            links: Vec::new(),
            touched: Vec::new(),
            batches: Vec::new(),
            sources: VecDeque::new(),
            refusals: Vec::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
            bare: bare(state),
            undelivered: Vec::new(),
            unheard: BTreeSet::new(),
            terms_due: BTreeSet::new(),
            own_request: 0,
            text: String::new(),
            operator: Vec::new(),
            figures,
            directory,
            outside,
        };
        post.learn_operator(state);
        post
    }

    fn learn_operator(&mut self, state: &State) {
        if let Some(genesis) = state.genesis() {
            self.operator = genesis.operator.clone().into_bytes();
        }
    }

    /// After a start: what the state still owes the chain. Vouchers follow when links open.
    pub(crate) fn repeat_outstanding(&mut self, state: &State) {
        for effect in outstanding(state) {
            if matches!(effect, Effect::Chain { .. }) {
                self.carry_out(effect);
            }
        }
    }

    /// Keeps a batch until the round ends.
    pub(crate) fn keep(&mut self, batch: InBatch) -> usize {
        self.batches.push(batch);
        self.batches.len() - 1
    }

    pub(crate) fn kept(&self, batch: usize, index: usize) -> (&InBatch, Item) {
        let batch = &self.batches[batch];
        (batch, batch.items[index])
    }

    pub(crate) fn accepted(&mut self, batch: usize, item: Item) {
        self.sources.push_back(Source { batch, item });
    }

    pub(crate) fn refused(&mut self, batch: usize, item: Item, refusal: Refusal) {
        self.refusals.push((Source { batch, item }, refusal));
    }

    /// The batch was not made durable: what was accepted is refused after all.
    pub(crate) fn refuse_accepted(&mut self) {
        let accepted = self.sources.drain(..);
        self.refusals
            .extend(accepted.map(|source| (source, Refusal::JournalFailed)));
        self.terms_due.clear();
    }

    pub(crate) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Forward {
                packet,
                peer,
                amount,
                expires_at,
            } => self.forward(packet, peer, amount, expires_at),
            Effect::RelayFulfill {
                packet,
                peer,
                request,
                preimage,
            } => {
                self.figures.fulfilled.add(1);
                let source = self.answer_source(packet);
                self.relay_fulfill(source, peer, request, &preimage);
            }
            Effect::RelayReject {
                packet,
                peer,
                request,
                code,
            } => {
                self.figures.relayed_rejects.add(code);
                let source = self.answer_source(packet);
                self.relay_reject(source, peer, request, code);
            }
            Effect::SendVoucher {
                peer,
                serial,
                amount,
            } => self.order_voucher(peer, serial, amount),
            // A chain side that is gone finds the request outstanding at the next start.
            Effect::Chain { id, request } => drop(self.outside.chain.send((id, request))),
        }
    }

    fn forward(&mut self, packet: PacketId, peer: PeerId, amount: u64, expires_at: Timestamp) {
        let source = self
            .sources
            .pop_front()
            .expect("each prepare accepted gives one forward, in order");
        let Self {
            batches,
            links,
            touched,
            ..
        } = self;
        let Some(side) = side_of(links, touched, peer) else {
            self.undelivered.push(Command::Reject {
                peer,
                packet,
                code: *b"T01",
            });
            return;
        };
        let batch = &batches[source.batch];
        let start = side.frames.bytes.len();
        side.frames
            .bytes
            .extend_from_slice(batch.frame(source.item));
        let frame = &mut side.frames.bytes[start..];
        btp::patch_header(
            frame,
            side.dialect.frame_type(PacketType::Prepare),
            RequestId(packet.0),
        );
        let at = frame.len() - batch.packet(source.item).len();
        patch_prepare(&mut frame[at..], amount, expires_at)
            .expect("a frame that was read as a prepare can be patched");
        side.frames.close_frame();
    }

    /// The frame that brought an answer, when it came in this round; an expiry has none.
    fn answer_source(&mut self, packet: PacketId) -> Option<Source> {
        let answers = match self.sources.front()?.item.kind {
            ItemKind::Fulfill { packet, .. } | ItemKind::Reject { packet, .. } => packet,
            ItemKind::Prepare { .. } => return None,
        };
        if answers == packet {
            self.sources.pop_front()
        } else {
            None
        }
    }

    fn relay_fulfill(
        &mut self,
        source: Option<Source>,
        peer: PeerId,
        request: u32,
        preimage: &[u8; 32],
    ) {
        let Self {
            batches,
            links,
            touched,
            ..
        } = self;
        let Some(side) = side_of(links, touched, peer) else {
            if let Some(source) = source {
                self.keep_fulfill(source, peer, request);
            }
            return;
        };
        let frame_type = side.dialect.frame_type(PacketType::Fulfill);
        match source {
            Some(source) => relay(
                side,
                batches[source.batch].frame(source.item),
                frame_type,
                request,
            ),
            None => side.frames.push(|out| {
                let fulfill = FulfillView {
                    fulfillment: preimage,
                    data: &[],
                };
                btp::encode_ilp_head(out, frame_type, RequestId(request), fulfill.encoded_size());
                fulfill.encode(out).expect("no data is never too long");
            }),
        }
    }

    /// Keeps a fulfill for a payer that is away: it asks when it returns, and the books know the preimage alone.
    fn keep_fulfill(&mut self, source: Source, peer: PeerId, request: u32) {
        let frame = self.batches[source.batch].frame(source.item).to_vec();
        self.kept_bytes += frame.len();
        self.kept.push_back(Kept {
            peer,
            request,
            frame,
        });
        while self.kept_bytes > KEPT_BYTES_MAX {
            let oldest = self.kept.pop_front().expect("bytes are of what is kept");
            self.kept_bytes -= oldest.frame.len();
        }
    }

    /// Gives a payer that has returned the fulfills that came while it was away.
    fn return_fulfills(&mut self, peer: PeerId) {
        let Self {
            links,
            touched,
            kept,
            kept_bytes,
            ..
        } = self;
        if kept.iter().all(|fulfill| fulfill.peer != peer) {
            return;
        }
        let Some(side) = side_of(links, touched, peer) else {
            return;
        };
        let frame_type = side.dialect.frame_type(PacketType::Fulfill);
        kept.retain(|fulfill| {
            if fulfill.peer != peer {
                return true;
            }
            relay(side, &fulfill.frame, frame_type, fulfill.request);
            *kept_bytes -= fulfill.frame.len();
            false
        });
    }

    fn relay_reject(
        &mut self,
        source: Option<Source>,
        peer: PeerId,
        request: u32,
        code: RejectCode,
    ) {
        if let Some(Source {
            batch,
            item:
                item @ Item {
                    kind: ItemKind::Reject { whole: true, .. },
                    ..
                },
        }) = source
        {
            let Self {
                batches,
                links,
                touched,
                ..
            } = self;
            let Some(side) = side_of(links, touched, peer) else {
                return;
            };
            let frame_type = side.dialect.frame_type(PacketType::Reject);
            relay(side, batches[batch].frame(item), frame_type, request);
            return;
        }
        self.text.clear();
        self.text.push_str(match &code {
            b"R00" => "the next hop did not answer in time",
            b"T01" => "the next hop is not connected",
            _ => "the next hop could not handle the packet",
        });
        self.reject(peer, request, code, &[]);
    }

    /// Appends a reject of ours with the message in `self.text`.
    fn reject(&mut self, peer: PeerId, request: u32, code: RejectCode, data: &[u8]) {
        let Self {
            links,
            touched,
            text,
            operator,
            ..
        } = self;
        let Some(side) = side_of(links, touched, peer) else {
            return;
        };
        let frame_type = side.dialect.frame_type(PacketType::Reject);
        let reject = RejectView {
            code: ErrorCode::from_bytes(code).unwrap_or(ErrorCode::F00BadRequest),
            triggered_by: Address::parse(operator).ok(),
            message: text.as_bytes(),
            data,
        };
        side.frames.push(|out| {
            btp::encode_ilp_head(out, frame_type, RequestId(request), reject.encoded_size());
            reject.encode(out).expect("our messages are short");
        });
    }

    /// Answers what was refused in this round.
    pub(crate) fn send_refusals(&mut self) {
        let mut refusals = std::mem::take(&mut self.refusals);
        for (source, refusal) in refusals.drain(..) {
            let peer = self.batches[source.batch].peer;
            match source.item.kind {
                ItemKind::Prepare { request, .. } => self.refuse_prepare(peer, request, refusal),
                ItemKind::Fulfill { packet, preimage } => {
                    match refusal {
                        Refusal::Rejected(Rejection::UnknownPacket) => {
                            self.complete_fulfill(source, &preimage);
                        }
                        Refusal::Rejected(_) | Refusal::Draining | Refusal::JournalFailed => {}
                    }
                    self.refuse_answer(peer, packet, refusal);
                }
                ItemKind::Reject { .. } => self.figures.late_answers.add(1),
            }
        }
        self.refusals = refusals;
    }

    fn refuse_prepare(&mut self, peer: PeerId, request: u32, refusal: Refusal) {
        self.figures.refused.add(1);
        self.text.clear();
        let code = match refusal {
            Refusal::Rejected(rejection) => {
                write!(self.text, "{rejection}").expect("a string takes every character");
                rejection.ilp_code()
            }
            Refusal::Draining => {
                self.text
                    .push_str("this connector is stopping: try again soon");
                *b"T03"
            }
            Refusal::JournalFailed => {
                self.text
                    .push_str("this connector cannot store packets now");
                *b"T00"
            }
        };
        self.figures.own_rejects.add(code);
        match refusal {
            Refusal::Rejected(Rejection::AmountTooLarge { received, maximum }) => {
                self.reject(
                    peer,
                    request,
                    code,
                    &AmountTooLarge { received, maximum }.to_bytes(),
                );
            }
            Refusal::Rejected(_) | Refusal::Draining | Refusal::JournalFailed => {
                self.reject(peer, request, code, &[])
            }
        }
    }

    /// A payee that said a fulfill again after our restart brings the data that its payer still lacks.
    fn complete_fulfill(&mut self, source: Source, preimage: &[u8; 32]) {
        let Some((peer, request)) = self.bare.remove(preimage) else {
            return;
        };
        let side = self.links.get(peer.0 as usize).and_then(Option::as_ref);
        match side {
            Some(side) if side.speaks => self.relay_fulfill(Some(source), peer, request, preimage),
            // Another kind of peer may have given the request's number to a new packet.
            Some(_) => {}
            None => self.keep_fulfill(source, peer, request),
        }
    }

    /// A wrong preimage ends the packet (RFC 27: F05); anything else came too late and is discarded.
    fn refuse_answer(&mut self, peer: PeerId, packet: PacketId, refusal: Refusal) {
        match refusal {
            Refusal::Rejected(Rejection::WrongPreimage) => {
                self.undelivered.push(Command::Reject {
                    peer,
                    packet,
                    code: *b"F05",
                });
            }
            Refusal::Rejected(_) | Refusal::Draining | Refusal::JournalFailed => {
                self.figures.late_answers.add(1)
            }
        }
    }

    /// Hands each link what it got in this round, and each batch back to its link.
    pub(crate) fn flush(&mut self) {
        while let Some(peer) = self.touched.pop() {
            let Some(side) = self.links[peer.0 as usize].as_mut() else {
                continue;
            };
            side.is_touched = false;
            if side.frames.is_empty() {
                continue;
            }
            if side.out.send(side.frames.take()).is_err() {
                warn!(
                    peer = peer.0,
                    "the link is gone or reads too slowly: it is dropped"
                );
                self.figures.slow_links.add(1);
                self.links[peer.0 as usize] = None;
                self.figures.connected.note(peer, false);
            }
        }
        assert!(
            self.sources.is_empty(),
            "[I7] every accepted item had its effect, or was refused"
        );
        let now = (!self.batches.is_empty()).then(Instant::now);
        for batch in self.batches.drain(..) {
            let began = now.zip(batch.read_at);
            if let Some((now, read_at)) = began {
                let frames = u64::try_from(batch.items.len()).unwrap_or(u64::MAX);
                let latency = &self.figures.latency;
                latency.add(now.saturating_duration_since(read_at), frames);
            }
            batch.go_home();
        }
    }

    /// Moves the rejects of what could not be delivered to the core, for its next round.
    pub(crate) fn take_own(&mut self, own: &mut Vec<Command<'static>>) {
        own.append(&mut self.undelivered);
    }

    pub(crate) fn link_up(
        &mut self,
        state: &State,
        peer: PeerId,
        link: LinkId,
        dialect: Dialect,
        out: OutSender,
    ) {
        self.learn_operator(state);
        let place = peer.0 as usize;
        if self.links.len() <= place {
            self.links.resize_with(place + 1, || None);
        }
        let is_touched = self.links[place]
            .as_ref()
            .is_some_and(|side| side.is_touched);
        // The link before it, if any, sees its queue closed and ends.
        self.links[place] = Some(LinkSide {
            link,
            dialect,
            out,
            frames: OutFrames::default(),
            is_touched,
            routes: RouteRequests::default(),
            speaks: false,
        });
        self.figures.connected.note(peer, true);
        let owed = state
            .peer(peer)
            .and_then(|account| account.voucher_owed(peer));
        if let Some(effect) = owed {
            self.carry_out(effect);
        }
    }

    /// Whether the peer has no link any more; it may have a newer one.
    pub(crate) fn link_down(&mut self, peer: PeerId, link: LinkId) -> bool {
        let Some(place) = self.links.get_mut(peer.0 as usize) else {
            return true;
        };
        if place.as_ref().is_some_and(|side| side.link == link) {
            *place = None;
            self.figures.connected.note(peer, false);
        }
        place.is_none()
    }

    pub(crate) fn speaks(&mut self, peer: PeerId, dialect: Dialect) {
        if let Some(Some(side)) = self.links.get_mut(peer.0 as usize) {
            side.dialect = dialect;
        }
    }

    /// Frames made off the core thread.
    pub(crate) fn deliver(&mut self, peer: PeerId, frames: &OutFrames) {
        let request = self.next_request();
        let Self { links, touched, .. } = self;
        let Some(side) = side_of(links, touched, peer) else {
            return;
        };
        let mut start = 0;
        for &end in &frames.ends {
            let end = end as usize;
            let at = side.frames.bytes.len();
            side.frames
                .bytes
                .extend_from_slice(&frames.bytes[start..end]);
            btp::patch_header(
                &mut side.frames.bytes[at..],
                btp::FrameType::Message,
                request,
            );
            side.frames.close_frame();
            start = end;
        }
    }

    fn next_request(&mut self) -> RequestId {
        self.own_request = (self.own_request + 1) & OWN_REQUEST_MASK;
        RequestId(OWN_REQUEST | self.own_request)
    }

    /// Of channels that were there at the start: their peers first say which voucher of ours they hold [I14].
    pub(crate) fn must_hear(&mut self, state: &State) {
        let channels = state
            .peers()
            .filter_map(|(_, account)| account.channel.as_ref());
        self.unheard = channels.map(|channel| channel.serial()).collect();
    }

    /// The peer holds nothing that this journal does not know: what it is owed may be signed.
    pub(crate) fn heard(&mut self, state: &State, peer: PeerId, serial: ChannelSerial) {
        if !self.unheard.remove(&serial) {
            return;
        }
        let account = state.peer(peer);
        if let Some(effect) = account.and_then(|account| account.voucher_owed(peer)) {
            self.carry_out(effect);
        }
    }

    fn order_voucher(&mut self, peer: PeerId, serial: ChannelSerial, amount: Amount) {
        if self.unheard.contains(&serial) {
            // It is owed again once the peer was heard.
            return;
        }
        let Some(facts) = self.directory.peer(peer) else {
            return;
        };
        // Without a signer the node is stopping; the voucher is owed again when the link opens.
        let _ = self.outside.vouchers.send(VoucherOrder {
            peer,
            serial,
            amount,
            domain: facts.domain,
        });
    }

    /// Notes whose terms an accepted command may have changed.
    pub(crate) fn terms_may_change(&mut self, state: &State, command: &Command<'_>) {
        let peer = match command {
            Command::Chain(fact) => {
                crate::chain::serial_of(&fact.fact).and_then(|serial| state.channel_peer(serial))
            }
            Command::Admin(_, forebay_pool::Admin::SetPeer(peer, _)) => Some(*peer),
            Command::Keys { peer, .. } => {
                if let Some(Some(side)) = self.links.get_mut(peer.0 as usize) {
                    side.speaks = true;
                }
                self.return_fulfills(*peer);
                Some(*peer)
            }
            Command::Admin(..)
            | Command::Prepare(_)
            | Command::Fulfill { .. }
            | Command::Reject { .. }
            | Command::Voucher { .. }
            | Command::Outcome { .. }
            | Command::Price { .. }
            | Command::Tick
            | Command::VaultRules { .. } => None,
        };
        self.terms_due.extend(peer);
    }

    /// Sends the terms that changed to the peers that speak of them.
    pub(crate) fn send_terms(&mut self, state: &State) {
        for peer in std::mem::take(&mut self.terms_due) {
            let speaks = self
                .links
                .get(peer.0 as usize)
                .and_then(Option::as_ref)
                .is_some_and(|side| side.speaks);
            let Some(terms) = terms(state, peer).filter(|_| speaks) else {
                continue;
            };
            let request = self.next_request();
            let Self { links, touched, .. } = self;
            let Some(side) = side_of(links, touched, peer) else {
                continue;
            };
            let message = PeerMessage::Terms(terms).encode();
            side.frames
                .push(|out| crate::link::encode_message(out, request, &message));
        }
    }
}

/// What each peer may ask for on its first link after a start.
fn bare(state: &State) -> BTreeMap<[u8; 32], (PeerId, u32)> {
    let peers = state.peers().map(|(peer, _)| peer);
    peers
        .flat_map(|peer| {
            let newest = state.answers_of(peer).rev().take(RESUME_MAX);
            newest.map(move |(request, preimage)| (preimage, (peer, request)))
        })
        .collect()
}

/// A peer's link, noted as having something to send.
fn side_of<'a>(
    links: &'a mut [Option<LinkSide>],
    touched: &mut Vec<PeerId>,
    peer: PeerId,
) -> Option<&'a mut LinkSide> {
    let side = links.get_mut(peer.0 as usize)?.as_mut()?;
    if !std::mem::replace(&mut side.is_touched, true) {
        touched.push(peer);
    }
    Some(side)
}

fn relay(side: &mut LinkSide, frame: &[u8], frame_type: btp::FrameType, request: u32) {
    let start = side.frames.bytes.len();
    side.frames.bytes.extend_from_slice(frame);
    btp::patch_header(
        &mut side.frames.bytes[start..],
        frame_type,
        RequestId(request),
    );
    side.frames.close_frame();
}
