//! What opening hands back: the snapshot, the frames after it, and a report.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::fault::Fault;
use crate::format::{
    Head, Kind, SEGMENT_HEADER_BYTES, SegmentHeader, Sequence, frame_header_bytes, parse_frame,
};
use crate::recovery::segment_name;
use crate::storage::{Storage, read_whole};

/// The newest state that could be read, and the frame it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The frame after which the state was this.
    pub head: Head,
    /// The state, as it was handed to [`crate::Journal::snapshot`].
    pub state: Vec<u8>,
}

/// Bytes that a crash left behind after the last whole frame, and that were cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub segment: String,
    /// Offset of the cut in it.
    pub offset: u64,
    /// Bytes from there to the last that was not zero.
    pub bytes: u64,
    /// The first frame that is not there; it was never synced.
    pub sequence: Sequence,
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a crash left {} bytes at byte {} of {} that were never synced; they were cut, and frame {} is the next",
            self.bytes, self.offset, self.segment, self.sequence
        )
    }
}

/// What opening found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// There was no journal, and one was begun.
    pub created: bool,
    /// What was cut, if anything.
    pub torn_tail: Option<TornTail>,
    /// Snapshots that could not be read, and why; each was set aside under a name beginning with `damaged-`.
    pub damaged_snapshots: Vec<(String, String)>,
    /// The format version that segments were upgraded from; copies are in `before-upgrade-v<version>`.
    pub upgraded_from: Option<u32>,
    /// Segments there are.
    pub segments: u64,
    /// Frames after the snapshot.
    pub frames: u64,
}

/// One batch, as it was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its number.
    pub sequence: Sequence,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// What was recovered: first take the snapshot, then the frames after it, in order.
pub struct Recovery {
    /// The state to begin with; without one, begin with nothing.
    pub snapshot: Option<Snapshot>,
    /// What opening found and did.
    pub report: Report,
    storage: Arc<dyn Storage>,
    /// Indexes of the segments still to be read.
    segments: Range<u64>,
    /// The last frame handed out.
    after: Sequence,
    until: Sequence,
    buffer: Vec<u8>,
    /// Of the segment in the buffer, until it is used up.
    header: Option<SegmentHeader>,
    seed: u32,
    at: usize,
}

impl fmt::Debug for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.snapshot.as_ref().map(|snapshot| snapshot.head);
        f.debug_struct("Recovery")
            .field("snapshot", &snapshot)
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

impl Recovery {
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        snapshot: Option<Snapshot>,
        report: Report,
        segments: Range<u64>,
        until: Sequence,
    ) -> Self {
        let after = snapshot
            .as_ref()
            .map_or(Sequence(0), |snapshot| snapshot.head.sequence);
        Self {
            snapshot,
            report,
            storage,
            segments,
            after,
            until,
            buffer: Vec::new(),
            header: None,
            seed: 0,
            at: 0,
        }
    }

    /// Yields the next frame, and `None` after the last. All of them passed every check when the journal was opened.
    ///
    /// # Errors
    /// A [`Fault`] when the storage fails now.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Fault> {
        while self.after < self.until {
            let Some(version) = self.header.as_ref().map(|header| header.version) else {
                self.load_segment()?;
                continue;
            };
            let Some(frame) = parse_frame(version, self.seed, &self.buffer[self.at..]) else {
                self.header = None;
                continue;
            };
            let start = self.at + frame.bytes;
            if frame.kind == Kind::Mark || frame.sequence <= self.after {
                self.at = start;
                continue;
            }
            let (sequence, payload_bytes) = (frame.sequence, frame.payload.len());
            let payload_at = self.at + frame_header_bytes(version);
            self.at = start;
            self.after = sequence;
            let payload = &self.buffer[payload_at..payload_at + payload_bytes];
            return Ok(Some(Frame { sequence, payload }));
        }
        self.buffer = Vec::new();
        Ok(None)
    }

    fn load_segment(&mut self) -> Result<(), Fault> {
        let changed = || io::Error::other("the segments changed since the journal was opened");
        let fault = |error| Fault::from_io("reading frames back", error);
        let index = self.segments.next().ok_or_else(changed).map_err(fault)?;
        read_whole(&*self.storage, &segment_name(index), &mut self.buffer).map_err(fault)?;
        let header = SegmentHeader::parse(&self.buffer).map_err(|_| fault(changed()))?;
        self.seed = header.seed();
        self.at = SEGMENT_HEADER_BYTES;
        self.header = Some(header);
        Ok(())
    }
}
