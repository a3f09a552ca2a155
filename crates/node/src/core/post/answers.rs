//! Packets and their answers: forwarded, relayed, refused.

use std::fmt::Write;

use forebay_ilp::btp::{self, RequestId};
use forebay_ilp::{
    Address, AmountTooLarge, ErrorCode, FulfillView, PacketType, RejectView, patch_prepare,
};
use forebay_pool::{Command, RejectCode, Rejection};
use forebay_quantity::{PacketId, PeerId, Timestamp};

use super::{KEPT_BYTES_MAX, Kept, Post, Refusal, Source, relay, side_of};
use crate::link::{Item, ItemKind};

impl Post {
    pub(super) fn forward(
        &mut self,
        packet: PacketId,
        peer: PeerId,
        amount: u64,
        expires_at: Timestamp,
    ) {
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
    pub(super) fn answer_source(&mut self, packet: PacketId) -> Option<Source> {
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

    pub(super) fn relay_fulfill(
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
    pub(super) fn keep_fulfill(&mut self, source: Source, peer: PeerId, request: u32) {
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
    pub(super) fn return_fulfills(&mut self, peer: PeerId) {
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

    pub(super) fn relay_reject(
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
            b"T01" => "the packet did not reach the next hop",
            _ => "the next hop could not handle the packet",
        });
        self.reject(peer, request, code, &[]);
    }

    /// Appends a reject of ours with the message in `self.text`.
    pub(super) fn reject(&mut self, peer: PeerId, request: u32, code: RejectCode, data: &[u8]) {
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

    pub(super) fn refuse_prepare(&mut self, peer: PeerId, request: u32, refusal: Refusal) {
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
    pub(super) fn complete_fulfill(&mut self, source: Source, preimage: &[u8; 32]) {
        let Some((peer, request)) = self.bare.remove(preimage) else {
            return;
        };
        let side = self.links.get(peer.0 as usize).and_then(Option::as_ref);
        match side {
            Some(side) if side.speaks => self.relay_fulfill(Some(source), peer, request, preimage),
            // Away, or about to say hello. Another kind of peer may have given the request's number to a new packet.
            Some(_) | None => self.keep_fulfill(source, peer, request),
        }
    }

    /// A wrong preimage ends the packet (RFC 27: F05); anything else came too late and is discarded.
    pub(super) fn refuse_answer(&mut self, peer: PeerId, packet: PacketId, refusal: Refusal) {
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
}
