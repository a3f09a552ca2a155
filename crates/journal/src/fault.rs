//! What can go wrong, in words that say what to do.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::format::{FORMAT_VERSION, Sequence};

/// When asking again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// At once, on the same journal.
    Now,
    /// After the cause is gone and the journal is opened again.
    Later,
    /// Not without a change to what is asked.
    Never,
}

/// The world failed while the journal was running.
#[derive(Debug, Clone, Error)]
pub enum Fault {
    /// No space: ENOSPC, a quota or a file-size limit.
    #[error(
        "the disk is full while {doing}: {source}. Free space (or raise the quota or file-size limit), then start again; nothing that was acknowledged is lost"
    )]
    Full {
        /// What was attempted.
        doing: String,
        /// The system's own error.
        source: Arc<io::Error>,
    },
    /// Any other failure of the storage.
    #[error(
        "the disk failed while {doing}: {source}. Check the device and its cabling or volume, then start again; nothing that was acknowledged is lost"
    )]
    Disk {
        /// What was attempted.
        doing: String,
        /// The system's own error.
        source: Arc<io::Error>,
    },
    /// An earlier fault; after it nothing is written until the journal is opened again.
    #[error("the journal stopped at an earlier fault and must be opened again: {first}")]
    Poisoned {
        /// The fault that stopped it.
        first: Arc<Fault>,
    },
    /// One frame does not fit into a segment; the journal stays usable.
    #[error(
        "a batch of {bytes} bytes does not fit into a segment, which holds {bytes_max}; split the batch"
    )]
    FrameTooLarge {
        /// Bytes of the payload offered.
        bytes: u64,
        /// Most bytes a payload may have.
        bytes_max: u64,
    },
}

impl Fault {
    /// Says when asking again can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Full { .. } | Self::Disk { .. } | Self::Poisoned { .. } => Retry::Later,
            Self::FrameTooLarge { .. } => Retry::Never,
        }
    }

    /// Whether the cause, at the bottom, is a lack of space.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Poisoned { first } => first.is_full(),
            Self::Disk { .. } | Self::FrameTooLarge { .. } => false,
        }
    }

    pub(crate) fn from_io(doing: impl Into<String>, source: io::Error) -> Self {
        let full = matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        let (doing, source) = (doing.into(), Arc::new(source));
        if full {
            Self::Full { doing, source }
        } else {
            Self::Disk { doing, source }
        }
    }
}

/// Why a journal was not opened. Nothing was changed, except by an upgrade that had already begun.
#[derive(Debug, Clone, Error)]
pub enum OpenFault {
    /// Another process holds the directory.
    #[error("{place} is in use by another process{}; stop it first, or give this one its own data directory", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse {
        /// The directory.
        place: String,
        /// The process that holds it, when it could be read.
        pid: Option<u32>,
    },
    /// The storage failed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The options contradict the limits.
    #[error("segment_bytes is {segment_bytes}; it must be a multiple of 4096 from {min} to {max}")]
    SegmentBytes {
        /// What was asked.
        segment_bytes: u64,
        /// Smallest allowed.
        min: u64,
        /// Largest allowed.
        max: u64,
    },
    /// Written by newer software.
    #[error(
        "{file} has format version {found}, and this software reads up to version {FORMAT_VERSION}; upgrade the software, and do not edit the file"
    )]
    NewerFormat {
        /// The file.
        file: String,
        /// The version it states.
        found: u32,
    },
    /// The journal of another pool.
    #[error(
        "{file} belongs to another pool (identity {found}, expected {expected}); check the data directory in the configuration"
    )]
    OtherIdentity {
        /// The file.
        file: String,
        /// Identity in the file, in hex.
        found: String,
        /// Identity asked for, in hex.
        expected: String,
    },
    /// Synced data is damaged.
    #[error(
        "{file} is damaged at byte {offset}, where frame {sequence} is expected: {what}. Frames known to be synced follow or are missing, so this is no torn write and nothing was cut; restore this file from a backup, a replica or the storage's own copy, and start again"
    )]
    Corrupt {
        /// The segment.
        file: String,
        /// Byte offset in it.
        offset: u64,
        /// Frame expected there.
        sequence: Sequence,
        /// What is wrong.
        what: String,
    },
    /// A segment that should be there is not.
    #[error("{missing} is missing ({why}); restore it from a backup or a replica, and start again")]
    MissingSegment {
        /// Name of the file, or of the first of several.
        missing: String,
        /// How that is known.
        why: String,
    },
    /// A snapshot stands for frames that the segments no longer hold.
    #[error(
        "{snapshot} stands for frame {snapshot_sequence}, but the segments end at frame {head}: synced frames are missing; restore the last segment from a backup or a replica, and start again"
    )]
    BehindSnapshot {
        /// The snapshot.
        snapshot: String,
        /// Frame it stands for.
        snapshot_sequence: Sequence,
        /// Last frame found.
        head: Sequence,
    },
    /// A snapshot and the chain name different hashes for one frame.
    #[error(
        "{snapshot} was taken of another history: its hash of frame {sequence} is not the one in the segments; snapshots and segments of two journals were mixed, so restore both from one backup"
    )]
    SnapshotDisagrees {
        /// The snapshot.
        snapshot: String,
        /// Frame it stands for.
        sequence: Sequence,
    },
}
