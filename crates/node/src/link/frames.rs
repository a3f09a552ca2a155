//! What passes between a link's task and the core thread: batches of frames either way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use forebay_ilp::btp::{self, RequestId};
use forebay_ilp::{Arrived, Dialect, FulfillView, PacketType, PrepareView, RejectView};
use forebay_pool::RejectCode;
use forebay_quantity::{PacketId, PeerId, Timestamp};
use tokio::sync::mpsc;

/// Frames that a link hands over at a time: what a core batch can take from one link at best.
pub(crate) const IN_FRAMES_MAX: usize = 1_024;
/// Bytes after which a link hands over what it has.
pub(crate) const IN_BYTES_MAX: usize = 1 << 20;
/// Batches that a link may have at the core: one being worked on, one waiting, one being filled.
pub(crate) const IN_BATCHES: usize = 3;
/// Batches that may wait for a link's socket.
pub(crate) const OUT_BATCHES_MAX: usize = 256;
/// Bytes that may wait for a link's socket; a reader slower than that is dropped.
pub(crate) const OUT_BYTES_MAX: usize = 16 << 20;

/// One connection, told from an earlier one of the same peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkId(pub(crate) u64);

/// A frame of a batch, already read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item {
    start: u32,
    end: u32,
    /// Where the ILP packet begins in the frame; it reaches to the end.
    packet_at: u16,
    pub(crate) kind: ItemKind,
}

/// What a frame asks or answers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ItemKind {
    Prepare {
        request: u32,
        amount: u64,
        expires_at: Timestamp,
        condition: [u8; 32],
        /// Position of the destination in the packet.
        destination: (u16, u16),
    },
    Fulfill {
        packet: PacketId,
        preimage: [u8; 32],
    },
    Reject {
        packet: PacketId,
        code: RejectCode,
        /// Whether the frame holds an ILP reject to be passed on.
        whole: bool,
    },
}

/// Frames that one link has read, each alone in canonical form, so that they are relayed by patching.
#[derive(Debug)]
pub(crate) struct InBatch {
    pub(crate) peer: PeerId,
    pub(crate) dialect: Dialect,
    bytes: Vec<u8>,
    pub(crate) items: Vec<Item>,
    /// When its first frame was read.
    pub(crate) read_at: Option<Instant>,
    /// Where the batch goes when it is done with.
    home: mpsc::Sender<InBatch>,
}

impl InBatch {
    pub(crate) fn new(peer: PeerId, home: mpsc::Sender<InBatch>) -> Self {
        Self {
            peer,
            dialect: Dialect::default(),
            bytes: Vec::new(),
            items: Vec::new(),
            read_at: None,
            home,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.items.len() >= IN_FRAMES_MAX || self.bytes.len() >= IN_BYTES_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Gives the batch back, empty, for the link to fill again.
    pub(crate) fn go_home(mut self) {
        self.items.clear();
        self.read_at = None;
        self.bytes.clear();
        self.bytes.shrink_to(2 * IN_BYTES_MAX);
        let home = self.home.clone();
        // A link that is gone needs no batch.
        let _ = home.try_send(self);
    }

    pub(crate) fn frame(&self, item: Item) -> &[u8] {
        &self.bytes[item.start as usize..item.end as usize]
    }

    pub(crate) fn packet(&self, item: Item) -> &[u8] {
        &self.frame(item)[usize::from(item.packet_at)..]
    }

    pub(crate) fn destination(&self, item: Item, (from, to): (u16, u16)) -> &[u8] {
        &self.packet(item)[usize::from(from)..usize::from(to)]
    }

    pub(crate) fn push_prepare(
        &mut self,
        frame: &[u8],
        id: RequestId,
        prepare: &Arrived<'_, PrepareView<'_>>,
    ) {
        let view = &prepare.view;
        let (start, packet_at) = self.push_frame(
            frame,
            PacketType::Prepare,
            prepare,
            |out| view.encode(out).is_ok(),
            view.encoded_size(),
        );
        let destination = view.destination.as_bytes().len();
        // In canonical form the data, with its prefix, is all that follows the destination.
        let end =
            self.bytes.len() - start - packet_at - forebay_ilp::oer::var_size(view.data.len());
        let kind = ItemKind::Prepare {
            request: id.0,
            amount: view.amount,
            expires_at: view.expires_at,
            condition: *view.condition,
            destination: (short(end - destination), short(end)),
        };
        self.push_item(start, packet_at, kind);
    }

    pub(crate) fn push_fulfill(
        &mut self,
        frame: &[u8],
        id: RequestId,
        fulfill: &Arrived<'_, FulfillView<'_>>,
    ) {
        let view = &fulfill.view;
        let (start, packet_at) = self.push_frame(
            frame,
            PacketType::Fulfill,
            fulfill,
            |out| view.encode(out).is_ok(),
            view.encoded_size(),
        );
        self.push_item(
            start,
            packet_at,
            ItemKind::Fulfill {
                packet: PacketId(id.0),
                preimage: *view.fulfillment,
            },
        );
    }

    pub(crate) fn push_reject(
        &mut self,
        frame: &[u8],
        id: RequestId,
        reject: &Arrived<'_, RejectView<'_>>,
    ) {
        let view = &reject.view;
        let (start, packet_at) = self.push_frame(
            frame,
            PacketType::Reject,
            reject,
            |out| view.encode(out).is_ok(),
            view.encoded_size(),
        );
        let code = view.code.to_bytes();
        self.push_item(
            start,
            packet_at,
            ItemKind::Reject {
                packet: PacketId(id.0),
                code,
                whole: true,
            },
        );
    }

    /// A reply that says nothing readable, or a BTP error: as good as a reject.
    pub(crate) fn push_failure(&mut self, id: RequestId, code: RejectCode) {
        let start = self.bytes.len();
        self.push_item(
            start,
            0,
            ItemKind::Reject {
                packet: PacketId(id.0),
                code,
                whole: false,
            },
        );
    }

    /// Appends the frame as it came, or anew when it is not canonical or carries more than the packet.
    fn push_frame<V>(
        &mut self,
        frame: &[u8],
        packet_type: PacketType,
        arrived: &Arrived<'_, V>,
        encode: impl FnOnce(&mut Vec<u8>) -> bool,
        encoded_size: usize,
    ) -> (usize, usize) {
        let start = self.bytes.len();
        if arrived.relayable {
            self.bytes.extend_from_slice(frame);
            return (start, frame.len() - arrived.packet.len());
        }
        btp::encode_ilp_head(
            &mut self.bytes,
            Dialect::Rfc.frame_type(packet_type),
            RequestId(0),
            encoded_size,
        );
        let packet_at = self.bytes.len() - start;
        assert!(
            encode(&mut self.bytes),
            "what was parsed within its bounds can be encoded"
        );
        (start, packet_at)
    }

    fn push_item(&mut self, start: usize, packet_at: usize, kind: ItemKind) {
        let position = |at: usize| {
            u32::try_from(at).expect("a batch is bounded by IN_BYTES_MAX and one frame")
        };
        self.read_at.get_or_insert_with(Instant::now);
        self.items.push(Item {
            start: position(start),
            end: position(self.bytes.len()),
            packet_at: short(packet_at),
            kind,
        });
    }
}

fn short(at: usize) -> u16 {
    u16::try_from(at).expect("positions before a packet's data lie within two kilobytes")
}

/// Encoded frames on their way to one socket.
#[derive(Debug, Default)]
pub(crate) struct OutFrames {
    pub(crate) bytes: Vec<u8>,
    /// Where each frame ends.
    pub(crate) ends: Vec<u32>,
}

impl OutFrames {
    /// Appends what `encode` writes as one frame.
    pub(crate) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.bytes);
        self.close_frame();
    }

    /// Ends a frame that was written to `bytes` directly.
    pub(crate) fn close_frame(&mut self) {
        self.ends
            .push(u32::try_from(self.bytes.len()).expect("the queue's bound is far below 4 GiB"));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Takes all there is and leaves room for as much again.
    pub(crate) fn take(&mut self) -> Self {
        let next = Self {
            bytes: Vec::with_capacity(self.bytes.len()),
            ends: Vec::with_capacity(self.ends.len()),
        };
        std::mem::replace(self, next)
    }
}

/// The core's end of a link's output queue.
#[derive(Debug, Clone)]
pub(crate) struct OutSender {
    sender: mpsc::Sender<OutFrames>,
    waiting: Arc<AtomicUsize>,
}

/// A way to a link's queue that does not keep the link open.
#[derive(Debug, Clone)]
pub(crate) struct WeakOut {
    sender: mpsc::WeakSender<OutFrames>,
    waiting: Arc<AtomicUsize>,
}

impl WeakOut {
    /// Queues frames if the link is still there.
    pub(crate) fn send(&self, frames: OutFrames) -> Result<(), NotTaken> {
        let sender = self.sender.upgrade().ok_or(NotTaken)?;
        OutSender {
            sender,
            waiting: Arc::clone(&self.waiting),
        }
        .send(frames)
    }
}

/// The link's end.
#[derive(Debug)]
pub(crate) struct OutReceiver {
    pub(crate) receiver: mpsc::Receiver<OutFrames>,
    waiting: Arc<AtomicUsize>,
}

/// The link is gone, or reads too slowly to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotTaken;

/// Makes the output queue of a link.
pub(crate) fn out_queue() -> (OutSender, OutReceiver) {
    let (sender, receiver) = mpsc::channel(OUT_BATCHES_MAX);
    let waiting = Arc::new(AtomicUsize::new(0));
    (
        OutSender {
            sender,
            waiting: Arc::clone(&waiting),
        },
        OutReceiver { receiver, waiting },
    )
}

impl OutSender {
    pub(crate) fn downgrade(&self) -> WeakOut {
        WeakOut {
            sender: self.sender.downgrade(),
            waiting: Arc::clone(&self.waiting),
        }
    }

    /// Queues frames without waiting.
    ///
    /// # Errors
    /// [`NotTaken`] when the link must be dropped.
    pub(crate) fn send(&self, frames: OutFrames) -> Result<(), NotTaken> {
        let bytes = frames.bytes.len();
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > OUT_BYTES_MAX {
            return Err(NotTaken);
        }
        self.sender.try_send(frames).map_err(|_| NotTaken)
    }
}

impl OutReceiver {
    /// Counts frames as no longer waiting.
    pub(crate) fn written(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }
}
