//! What leaves the core thread after a sync: packets patched into links' buffers, answers, vouchers and chain requests.

mod answers;
mod asking;
mod lightning;
mod links;
mod routes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Instant;

use forebay_channel::RESUME_MAX;
use forebay_ilp::Dialect;
use forebay_ilp::btp::{self, RequestId};
use forebay_pool::{ChainRequest, Command, Effect, LightningEffect, Rejection, State, outstanding};
use forebay_quantity::{ChannelSerial, EffectId, PeerId};
use tokio::sync::mpsc;
use tracing::warn;

use super::figures::Figures;
use crate::lightning::{Errand, LightningFace};
use crate::link::{Directory, InBatch, Item, LinkId, OutFrames, OutSender};
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
    /// Errands on Lightning, bounded likewise.
    pub(crate) errands: mpsc::UnboundedSender<Errand>,
    /// What peers are told of our Lightning node, if there is one.
    pub(crate) face: Option<LightningFace>,
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
    /// It was, or will be, asked which packets never came.
    is_asked: bool,
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
    /// Who has just said hello on a new link, and is asked which packets never came.
    ask_due: BTreeSet<PeerId>,
    /// Before then all packets in flight are not gone through for that again.
    ask_from: Option<Instant>,
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
            ask_due: BTreeSet::new(),
            ask_from: None,
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

    /// After a start: what the state still owes the chain and LPs, and payments begun. Vouchers and invoices follow when links open.
    pub(crate) fn repeat_outstanding(&mut self, state: &State) {
        for effect in outstanding(state) {
            let is_paid = matches!(effect, Effect::Lightning(LightningEffect::Pay { .. }));
            let is_withdrawal = matches!(effect, Effect::Withdrawal(_));
            if is_paid || is_withdrawal || matches!(effect, Effect::Chain { .. }) {
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
            Effect::Chain { id, request } => self.demand(id, request),
            Effect::Lightning(effect) => self.settle_over_lightning(effect),
            Effect::Withdrawal(withdrawal) => self.pay_lp(withdrawal),
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
