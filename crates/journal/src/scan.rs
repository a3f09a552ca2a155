//! Reading one segment's bytes: what is whole, what was torn by a crash, what is damaged.

use std::collections::VecDeque;

use crate::format::{
    FRAME_ALIGN, FRAME_MAGIC, Head, Kind, SEGMENT_HEADER_BYTES, SegmentHeader, Sequence,
    parse_frame,
};

/// What a segment holds.
#[derive(Debug)]
pub(crate) struct Scan {
    /// After the last whole frame.
    pub(crate) head: Head,
    /// Where the next frame goes.
    pub(crate) end: usize,
    /// The last frame that a later one says was synced.
    pub(crate) vouched: Sequence,
    /// Start of the first frame or mark that nothing after it vouches for; `end` when there is none.
    pub(crate) unvouched_at: usize,
    pub(crate) stop: Stop,
}

/// Why reading stopped at `end`.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Only zeros follow.
    Clean,
    /// Bytes follow that no sync ever covered, as far as anything says.
    Torn { bytes: usize },
    /// A synced frame is damaged, or the chain is broken.
    Damaged { what: String },
}

/// Walks the frames of a segment, calling `each` with the head after it and the payload.
pub(crate) fn scan(
    header: &SegmentHeader,
    segment: &[u8],
    each: &mut dyn FnMut(Head, &[u8]),
) -> Scan {
    let seed = header.seed();
    let mut head = header.head_before();
    let mut at = SEGMENT_HEADER_BYTES;
    let mut vouched = head.sequence;
    let mut trailing_mark_at: Option<usize> = None;
    let mut starts: VecDeque<(Sequence, usize)> = VecDeque::new();
    let stop = loop {
        let Some(frame) = parse_frame(header.version, seed, &segment[at.min(segment.len())..])
        else {
            break judge_rest(header, seed, segment, at, head.sequence.next());
        };
        let after = match frame.kind {
            Kind::Batch => head.followed_by(frame.payload),
            Kind::Mark => head,
        };
        let follows = frame.previous == head.hash
            && frame.sequence == after.sequence
            && frame.hash == after.hash;
        if !follows {
            break judge_rest(header, seed, segment, at, head.sequence.next());
        }
        match frame.kind {
            Kind::Batch => {
                starts.push_back((frame.sequence, at));
                trailing_mark_at = None;
                each(after, frame.payload);
            }
            Kind::Mark => trailing_mark_at = trailing_mark_at.or(Some(at)),
        }
        vouched = vouched.max(frame.synced_through);
        while starts
            .front()
            .is_some_and(|(sequence, _)| *sequence <= vouched)
        {
            starts.pop_front();
        }
        head = after;
        at += frame.bytes;
    };
    let end = at.min(segment.len());
    let unvouched_at = starts
        .front()
        .map(|(_, start)| *start)
        .or(trailing_mark_at)
        .unwrap_or(end);
    Scan {
        head,
        end,
        vouched,
        unvouched_at,
        stop,
    }
}

/// A readable frame from here on that says `expected` was synced turns its absence into damage.
/// Frames that say no such thing were written before a sync covered it, and may be cut.
fn judge_rest(
    header: &SegmentHeader,
    seed: u32,
    segment: &[u8],
    at: usize,
    expected: Sequence,
) -> Stop {
    let rest = segment.get(at..).unwrap_or_default();
    let Some(last) = rest.iter().rposition(|byte| *byte != 0) else {
        return Stop::Clean;
    };
    let vouches = |ahead: &usize| {
        let bytes = &rest[*ahead..];
        bytes.starts_with(&FRAME_MAGIC)
            && parse_frame(header.version, seed, bytes)
                .is_some_and(|frame| frame.synced_through >= expected)
    };
    if let Some(ahead) = (0..=last).step_by(FRAME_ALIGN).find(vouches) {
        let what = format!(
            "byte {} holds a frame written after this one was synced",
            at + ahead
        );
        return Stop::Damaged { what };
    }
    Stop::Torn { bytes: last + 1 }
}
