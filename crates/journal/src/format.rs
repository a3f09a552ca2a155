//! The byte layout of segments and frames, as drawn in `spec/journal.md`. Little-endian throughout.

use std::fmt;

use sha2::{Digest, Sha256};

/// The format this software writes. It reads this one, and upgrades version 1.
pub const FORMAT_VERSION: u32 = 2;
pub(crate) const SEGMENT_HEADER_BYTES: usize = 4096;
pub(crate) const FRAME_ALIGN: usize = 8;
/// Header of a version 2 frame; a version 1 frame lacks `kind` and `synced_through`.
pub(crate) const FRAME_HEADER_BYTES: usize = 96;
const FRAME_HEADER_BYTES_V1: usize = 88;

const SEGMENT_MAGIC: [u8; 8] = *b"FOREBAYJ";
pub(crate) const FRAME_MAGIC: [u8; 4] = *b"FBfr";
const SEGMENT_CRC_AT: usize = 104;
const KIND_BATCH: u32 = 1;
const KIND_MARK: u32 = 2;

/// The number of a frame; the first is 1, and 0 stands for the empty journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    pub(crate) fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("2^64 frames outlast the disk"))
    }

    pub(crate) fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// SHA-256 over the previous frame's hash, the sequence, the length and the payload.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameHash(pub [u8; 32]);

impl fmt::Display for FrameHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for FrameHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The last frame of a history, which it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub sequence: Sequence,
    /// Its hash.
    pub hash: FrameHash,
}

impl Head {
    /// The head before the first frame: SHA-256 of `forebay journal genesis` and the identity.
    pub(crate) fn genesis(identity: &[u8; 32]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"forebay journal genesis");
        hasher.update(identity);
        Self {
            sequence: Sequence(0),
            hash: FrameHash(hasher.finalize().into()),
        }
    }

    /// The head after one more payload. The same in every format version, so an upgrade keeps the chain.
    pub(crate) fn followed_by(self, payload: &[u8]) -> Self {
        let sequence = self.sequence.next();
        let mut hasher = Sha256::new();
        hasher.update(self.hash.0);
        hasher.update(sequence.0.to_le_bytes());
        hasher.update(
            u64::try_from(payload.len())
                .expect("usize fits u64")
                .to_le_bytes(),
        );
        hasher.update(payload);
        Self {
            sequence,
            hash: FrameHash(hasher.finalize().into()),
        }
    }
}

/// First block of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) version: u32,
    pub(crate) index: u64,
    pub(crate) first: Sequence,
    pub(crate) bytes: u64,
    pub(crate) identity: [u8; 32],
    pub(crate) previous: FrameHash,
}

/// Why a block is no segment header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderFlaw {
    Damaged(&'static str),
    Newer(u32),
}

impl SegmentHeader {
    pub(crate) fn head_before(&self) -> Head {
        Head {
            sequence: self.first.previous(),
            hash: self.previous,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; SEGMENT_HEADER_BYTES];
        block[0..8].copy_from_slice(&SEGMENT_MAGIC);
        block[8..12].copy_from_slice(&self.version.to_le_bytes());
        block[12..16].copy_from_slice(&u32_of(SEGMENT_HEADER_BYTES).to_le_bytes());
        block[16..24].copy_from_slice(&self.index.to_le_bytes());
        block[24..32].copy_from_slice(&self.first.0.to_le_bytes());
        block[32..40].copy_from_slice(&self.bytes.to_le_bytes());
        block[40..72].copy_from_slice(&self.identity);
        block[72..104].copy_from_slice(&self.previous.0);
        let crc = crc32c::crc32c(&block[..SEGMENT_CRC_AT]);
        block[SEGMENT_CRC_AT..SEGMENT_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// The checksum of the header, with which every frame's checksum starts: a frame from another
    /// segment or another journal never passes here.
    pub(crate) fn seed(&self) -> u32 {
        u32_at(&self.encode(), SEGMENT_CRC_AT)
    }

    pub(crate) fn parse(block: &[u8]) -> Result<Self, HeaderFlaw> {
        if block.len() < SEGMENT_HEADER_BYTES {
            return Err(HeaderFlaw::Damaged(
                "the file is shorter than a segment header",
            ));
        }
        if block[0..8] != SEGMENT_MAGIC {
            return Err(HeaderFlaw::Damaged(
                "the segment header does not begin with FOREBAYJ",
            ));
        }
        let version = u32_at(block, 8);
        if version > FORMAT_VERSION {
            return Err(HeaderFlaw::Newer(version));
        }
        if u32_at(block, SEGMENT_CRC_AT) != crc32c::crc32c(&block[..SEGMENT_CRC_AT]) {
            return Err(HeaderFlaw::Damaged(
                "the checksum of the segment header does not match",
            ));
        }
        if version == 0 || u32_at(block, 12) != u32_of(SEGMENT_HEADER_BYTES) {
            return Err(HeaderFlaw::Damaged(
                "the segment header has impossible fields",
            ));
        }
        Ok(Self {
            version,
            index: u64_at(block, 16),
            first: Sequence(u64_at(block, 24)),
            bytes: u64_at(block, 32),
            identity: array_at(block, 40),
            previous: FrameHash(array_at(block, 72)),
        })
    }
}

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Carries one payload.
    Batch,
    /// Carries nothing; says that all up to its sequence was synced.
    Mark,
}

/// A frame whose checksum matched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParsedFrame<'a> {
    pub(crate) kind: Kind,
    pub(crate) sequence: Sequence,
    pub(crate) synced_through: Sequence,
    pub(crate) previous: FrameHash,
    pub(crate) hash: FrameHash,
    pub(crate) payload: &'a [u8],
    /// With header and padding.
    pub(crate) bytes: usize,
}

/// Bytes before the payload of a frame.
pub(crate) fn frame_header_bytes(version: u32) -> usize {
    if version == 1 {
        FRAME_HEADER_BYTES_V1
    } else {
        FRAME_HEADER_BYTES
    }
}

/// Bytes a frame of the current version takes in a segment.
pub(crate) fn frame_bytes(payload_bytes: usize) -> usize {
    FRAME_HEADER_BYTES + payload_bytes.next_multiple_of(FRAME_ALIGN)
}

/// Fills in the header at the front of `frame`, whose payload and padding are already in place.
pub(crate) fn seal_batch(
    frame: &mut [u8],
    payload_bytes: usize,
    seed: u32,
    before: Head,
    synced_through: Sequence,
) -> Head {
    let head = before.followed_by(&frame[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + payload_bytes]);
    write_header(
        frame,
        KIND_BATCH,
        payload_bytes,
        before,
        head,
        synced_through,
        seed,
    );
    head
}

/// A frame that carries nothing and says that `head` was synced.
pub(crate) fn mark(seed: u32, head: Head) -> [u8; FRAME_HEADER_BYTES] {
    let mut frame = [0; FRAME_HEADER_BYTES];
    write_header(&mut frame, KIND_MARK, 0, head, head, head.sequence, seed);
    frame
}

fn write_header(
    frame: &mut [u8],
    kind: u32,
    payload_bytes: usize,
    before: Head,
    head: Head,
    synced_through: Sequence,
    seed: u32,
) {
    frame[0..4].copy_from_slice(&FRAME_MAGIC);
    frame[8..12].copy_from_slice(&kind.to_le_bytes());
    frame[12..16].copy_from_slice(&u32_of(payload_bytes).to_le_bytes());
    frame[16..24].copy_from_slice(&head.sequence.0.to_le_bytes());
    frame[24..32].copy_from_slice(&synced_through.0.to_le_bytes());
    frame[32..64].copy_from_slice(&before.hash.0);
    frame[64..96].copy_from_slice(&head.hash.0);
    let crc = crc32c::crc32c_append(seed, &frame[8..FRAME_HEADER_BYTES + payload_bytes]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the frame at the front of `bytes`, if its checksum matches. Chain and sequence are the caller's to judge.
pub(crate) fn parse_frame(version: u32, seed: u32, bytes: &[u8]) -> Option<ParsedFrame<'_>> {
    if version == 1 {
        parse_frame_v1(seed, bytes)
    } else {
        parse_frame_v2(seed, bytes)
    }
}

fn parse_frame_v2(seed: u32, bytes: &[u8]) -> Option<ParsedFrame<'_>> {
    if bytes.len() < FRAME_HEADER_BYTES || bytes[0..4] != FRAME_MAGIC {
        return None;
    }
    let payload_bytes = usize::try_from(u32_at(bytes, 12)).ok()?;
    let end = FRAME_HEADER_BYTES.checked_add(payload_bytes)?;
    if end > bytes.len() || u32_at(bytes, 4) != crc32c::crc32c_append(seed, &bytes[8..end]) {
        return None;
    }
    let kind = match u32_at(bytes, 8) {
        KIND_BATCH => Kind::Batch,
        KIND_MARK => Kind::Mark,
        _ => return None,
    };
    Some(ParsedFrame {
        kind,
        sequence: Sequence(u64_at(bytes, 16)),
        synced_through: Sequence(u64_at(bytes, 24)),
        previous: FrameHash(array_at(bytes, 32)),
        hash: FrameHash(array_at(bytes, 64)),
        payload: &bytes[FRAME_HEADER_BYTES..end],
        bytes: end.next_multiple_of(FRAME_ALIGN),
    })
}

/// Version 1 synced after each frame, so a frame vouches for the one before it.
fn parse_frame_v1(seed: u32, bytes: &[u8]) -> Option<ParsedFrame<'_>> {
    if bytes.len() < FRAME_HEADER_BYTES_V1 || bytes[0..4] != FRAME_MAGIC {
        return None;
    }
    let payload_bytes = usize::try_from(u64_at(bytes, 8)).ok()?;
    let end = FRAME_HEADER_BYTES_V1.checked_add(payload_bytes)?;
    if end > bytes.len() || u32_at(bytes, 4) != crc32c::crc32c_append(seed, &bytes[8..end]) {
        return None;
    }
    let sequence = Sequence(u64_at(bytes, 16));
    Some(ParsedFrame {
        kind: Kind::Batch,
        sequence,
        synced_through: sequence.previous(),
        previous: FrameHash(array_at(bytes, 24)),
        hash: FrameHash(array_at(bytes, 56)),
        payload: &bytes[FRAME_HEADER_BYTES_V1..end],
        bytes: end.next_multiple_of(FRAME_ALIGN),
    })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has N bytes")
}

fn u32_of(value: usize) -> u32 {
    u32::try_from(value).expect("bounded by SEGMENT_BYTES_MAX")
}
