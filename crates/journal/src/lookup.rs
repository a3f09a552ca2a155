//! One frame's hash, looked up in segments on disk: what a witness's word is compared with.

use crate::fault::Fault;
use crate::format::{
    FrameHash, Head, Kind, SEGMENT_HEADER_BYTES, SegmentHeader, Sequence, parse_frame,
};
use crate::recovery::{segment_indexes, segment_name};
use crate::storage::{Storage, read_front, read_whole};

/// The hash of a frame; `None` when the journal has no such frame, or its segment was pruned. Reads one segment, also
/// beside the writer.
///
/// # Errors
/// A [`Fault`] when the storage fails.
pub fn hash_at(
    storage: &dyn Storage,
    identity: &[u8; 32],
    sequence: Sequence,
) -> Result<Option<FrameHash>, Fault> {
    if sequence == Sequence(0) {
        return Ok(Some(Head::genesis(identity).hash));
    }
    let fault = |error| Fault::from_io(format!("looking up frame {sequence}"), error);
    let names = storage.names().map_err(fault)?;
    let mut block = Vec::new();
    for index in segment_indexes(&names).into_iter().rev() {
        let name = segment_name(index);
        let file = storage.open(&name).map_err(fault)?;
        let front = u64::try_from(SEGMENT_HEADER_BYTES).expect("usize fits u64");
        read_front(&*file, front, &mut block).map_err(fault)?;
        let Ok(header) = SegmentHeader::parse(&block) else {
            return Ok(None);
        };
        if header.first > sequence {
            continue;
        }
        read_whole(storage, &name, &mut block).map_err(fault)?;
        return Ok(find(&header, &block, sequence));
    }
    Ok(None)
}

fn find(header: &SegmentHeader, segment: &[u8], sequence: Sequence) -> Option<FrameHash> {
    let seed = header.seed();
    let mut at = SEGMENT_HEADER_BYTES;
    while let Some(frame) = parse_frame(header.version, seed, segment.get(at..)?) {
        if frame.kind == Kind::Batch && frame.sequence == sequence {
            return Some(frame.hash);
        }
        at += frame.bytes;
    }
    None
}
