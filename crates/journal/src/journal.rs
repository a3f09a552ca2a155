//! The running journal: append, sync, snapshot, prune.

use std::fmt;
use std::sync::Arc;

use crate::fault::{Fault, OpenFault};
use crate::format::{
    FORMAT_VERSION, FRAME_HEADER_BYTES, Head, SEGMENT_HEADER_BYTES, SegmentHeader, Sequence,
    frame_bytes, mark, seal_batch,
};
use crate::preparation::{PREPARING_NAME, Preparation};
use crate::recovered::Recovery;
use crate::recovery;
use crate::snapshot::{self, SNAPSHOTS_KEPT};
use crate::storage::{Storage, StoredFile, write_all};

/// Smallest segment: the header and one block for frames.
pub const SEGMENT_BYTES_MIN: u64 = 8192;
/// Largest segment: recovery holds one in memory.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;

/// What a journal is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whose journal it is; the chain's genesis. Another identity is refused.
    pub identity: [u8; 32],
    /// Size of segments to come, in bytes; existing ones keep theirs. A multiple of 4096.
    pub segment_bytes: u64,
}

impl Options {
    /// Segments of 64 MiB.
    pub fn new(identity: [u8; 32]) -> Self {
        Self {
            identity,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
        }
    }

    fn check(&self) -> Result<(), OpenFault> {
        let allowed = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        if allowed.contains(&self.segment_bytes) && self.segment_bytes.is_multiple_of(4096) {
            return Ok(());
        }
        Err(OpenFault::SegmentBytes {
            segment_bytes: self.segment_bytes,
            min: SEGMENT_BYTES_MIN,
            max: SEGMENT_BYTES_MAX,
        })
    }
}

/// What was done since opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Frames appended.
    pub frames: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Times the storage was asked to sync frames.
    pub syncs: u64,
    /// Segments begun.
    pub segments: u64,
    /// Snapshots written.
    pub snapshots: u64,
}

/// The segment that frames go to.
pub(crate) struct Active {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Box<dyn StoredFile>,
    /// Where the next frame goes.
    pub(crate) offset: u64,
}

/// An open journal. After any fault but [`Fault::FrameTooLarge`] it refuses everything until it is opened again:
/// the kernel may have dropped what it failed to write, so a second sync that succeeds would prove nothing.
pub struct Journal {
    storage: Arc<dyn Storage>,
    options: Options,
    active: Active,
    seed: u32,
    head: Head,
    synced: Sequence,
    frame: Vec<u8>,
    preparation: Preparation,
    poison: Option<Arc<Fault>>,
    counts: Counts,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("place", &self.storage.place())
            .field("head", &self.head)
            .field("synced", &self.synced)
            .field("poison", &self.poison)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the journal in `storage`, or begins one where there is none; recovers, upgrades and cuts a torn tail.
    ///
    /// # Errors
    /// [`OpenFault`], whose text says what to do.
    pub fn open(
        storage: Arc<dyn Storage>,
        options: Options,
    ) -> Result<(Self, Recovery), OpenFault> {
        options.check()?;
        recovery::open(storage, options)
    }

    /// Reads the whole journal from its first frame, past every snapshot and with every check, and changes nothing:
    /// for an audit, also while another process writes. A torn tail is reported and not cut.
    ///
    /// # Errors
    /// [`OpenFault`]; a pruned journal has a missing segment here.
    pub fn replay(storage: Arc<dyn Storage>, identity: [u8; 32]) -> Result<Recovery, OpenFault> {
        recovery::replay(storage, identity)
    }

    pub(crate) fn resume(
        storage: Arc<dyn Storage>,
        options: Options,
        active: Active,
        head: Head,
    ) -> Self {
        Self {
            seed: active.header.seed(),
            preparation: Preparation::new(Arc::clone(&storage), options.segment_bytes),
            storage,
            options,
            active,
            head,
            synced: head.sequence,
            frame: Vec::with_capacity(64 << 10),
            poison: None,
            counts: Counts::default(),
        }
    }

    /// Appends one batch; it is durable only after [`Journal::sync`]. One write, no allocation once the buffer has grown.
    ///
    /// # Errors
    /// Any [`Fault`]; all but [`Fault::FrameTooLarge`] poison the journal.
    pub fn append(&mut self, payload: &[u8]) -> Result<Sequence, Fault> {
        self.append_with(|frame| frame.extend_from_slice(payload))
    }

    /// Appends one batch that `encode` writes behind what the buffer already holds, which saves a copy.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<Sequence, Fault> {
        self.check_alive()?;
        self.frame.clear();
        self.frame.resize(FRAME_HEADER_BYTES, 0);
        encode(&mut self.frame);
        let payload_bytes = self
            .frame
            .len()
            .checked_sub(FRAME_HEADER_BYTES)
            .expect("the encoder only adds to the buffer");
        let bytes_max = self.payload_bytes_max();
        if u64_of(payload_bytes) > bytes_max {
            return Err(Fault::FrameTooLarge {
                bytes: u64_of(payload_bytes),
                bytes_max,
            });
        }
        self.frame.resize(frame_bytes(payload_bytes), 0);
        self.write_frame(payload_bytes)
            .map_err(|fault| self.poison(fault))?;
        self.counts.frames += 1;
        self.counts.payload_bytes += u64_of(payload_bytes);
        Ok(self.head.sequence)
    }

    /// Most bytes one batch may have.
    pub fn payload_bytes_max(&self) -> u64 {
        self.options.segment_bytes - u64_of(SEGMENT_HEADER_BYTES) - u64_of(FRAME_HEADER_BYTES)
    }

    fn write_frame(&mut self, payload_bytes: usize) -> Result<(), Fault> {
        let bytes = u64_of(self.frame.len());
        if self.active.offset + bytes > self.active.header.bytes {
            self.next_segment()?;
        }
        let head = seal_batch(
            &mut self.frame,
            payload_bytes,
            self.seed,
            self.head,
            self.synced,
        );
        write_all(&*self.active.file, &self.frame, self.active.offset)
            .map_err(|error| Fault::from_io(format!("appending frame {}", head.sequence), error))?;
        self.active.offset += bytes;
        self.head = head;
        Ok(())
    }

    /// Makes every appended batch durable: one sync for all of them.
    ///
    /// # Errors
    /// Any [`Fault`]; it poisons the journal, and what was not synced before may or may not survive.
    pub fn sync(&mut self) -> Result<(), Fault> {
        self.check_alive()?;
        self.sync_frames().map_err(|fault| self.poison(fault))?;
        self.preparation.keep_up(self.active.offset);
        Ok(())
    }

    fn sync_frames(&mut self) -> Result<(), Fault> {
        if self.synced == self.head.sequence {
            return Ok(());
        }
        self.active.file.sync().map_err(|error| {
            Fault::from_io(format!("syncing up to frame {}", self.head.sequence), error)
        })?;
        self.counts.syncs += 1;
        self.synced = self.head.sequence;
        Ok(())
    }

    /// The last frame appended.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The last frame that is durable.
    pub fn synced(&self) -> Sequence {
        self.synced
    }

    /// What was done since opening.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Why the next segment cannot be made ready, usually a disk near full. Appends still succeed for the rest of the
    /// current segment, at most half of it: time to stop taking in work and to finish what is in flight.
    pub fn shortage(&self) -> Option<&Fault> {
        self.preparation.shortage()
    }

    /// The fault that stopped the journal, if one did.
    pub fn poisoned(&self) -> Option<&Fault> {
        self.poison.as_deref()
    }

    /// Writes a snapshot of the state as it was at `head`, which must be synced, and keeps the two newest.
    /// Not being able to is no fault of the journal: it goes on.
    ///
    /// # Errors
    /// A [`Fault`]; the older snapshots are untouched by it.
    ///
    /// # Panics
    /// When `head` is not synced yet.
    pub fn snapshot(&mut self, head: Head, state: &[u8]) -> Result<(), Fault> {
        self.check_alive()?;
        assert!(
            head.sequence <= self.synced,
            "[I7] a snapshot stands for synced frames only"
        );
        assert!(
            head.sequence < self.head.sequence || head == self.head,
            "[I10] the head handed in is the one the journal had"
        );
        snapshot::write(&*self.storage, &self.options.identity, head, state)?;
        self.counts.snapshots += 1;
        self.drop_old_snapshots()
    }

    fn drop_old_snapshots(&self) -> Result<(), Fault> {
        let fault = |error| Fault::from_io("removing old snapshots", error);
        let names = self.storage.names().map_err(fault)?;
        for sequence in snapshot::newest_first(&names)
            .into_iter()
            .skip(SNAPSHOTS_KEPT)
        {
            self.storage
                .remove(&snapshot::name_of(sequence))
                .map_err(fault)?;
        }
        Ok(())
    }

    /// Removes the segments that even the older of the kept snapshots does not need, and returns how many.
    /// Without a call every segment is kept, for audit.
    ///
    /// # Errors
    /// A [`Fault`]; some segments may have been removed, oldest first.
    pub fn prune(&mut self) -> Result<u64, Fault> {
        self.check_alive()?;
        recovery::prune(&*self.storage)
    }

    /// Syncs, and leaves a mark that says so, by which later damage to the last frames is told from a torn write.
    ///
    /// # Errors
    /// As [`Journal::sync`].
    pub fn close(mut self) -> Result<Head, Fault> {
        self.sync()?;
        self.write_mark()?;
        Ok(self.head)
    }

    /// Writes and syncs a mark, if one fits and there is anything to vouch for.
    pub(crate) fn write_mark(&mut self) -> Result<(), Fault> {
        let fault = |error| Fault::from_io("marking what was synced", error);
        let fits = self.active.offset + u64_of(FRAME_HEADER_BYTES) <= self.active.header.bytes;
        if !fits || self.head.sequence < self.active.header.first {
            return Ok(());
        }
        let frame = mark(self.seed, self.head);
        write_all(&*self.active.file, &frame, self.active.offset).map_err(fault)?;
        self.active.file.sync().map_err(fault)?;
        self.active.offset += u64_of(FRAME_HEADER_BYTES);
        Ok(())
    }

    /// The old segment is synced before the new one exists, so only the last segment can have a torn tail.
    fn next_segment(&mut self) -> Result<(), Fault> {
        self.sync_frames()?;
        let header = SegmentHeader {
            version: FORMAT_VERSION,
            index: self.active.header.index + 1,
            first: self.head.sequence.next(),
            bytes: self.options.segment_bytes,
            identity: self.options.identity,
            previous: self.head.hash,
        };
        let file = self.preparation.finish()?;
        self.active = begin_segment(&*self.storage, file, header)?;
        self.seed = self.active.header.seed();
        self.counts.segments += 1;
        Ok(())
    }

    fn check_alive(&self) -> Result<(), Fault> {
        match &self.poison {
            None => Ok(()),
            Some(first) => Err(Fault::Poisoned {
                first: Arc::clone(first),
            }),
        }
    }

    fn poison(&mut self, fault: Fault) -> Fault {
        self.poison = Some(Arc::new(fault.clone()));
        fault
    }
}

/// Gives a prepared file its header and then its name.
pub(crate) fn begin_segment(
    storage: &dyn Storage,
    file: Box<dyn StoredFile>,
    header: SegmentHeader,
) -> Result<Active, Fault> {
    let name = recovery::segment_name(header.index);
    let fault = |error| Fault::from_io(format!("beginning {name}"), error);
    write_all(&*file, &header.encode(), 0).map_err(fault)?;
    file.sync().map_err(fault)?;
    storage.rename(PREPARING_NAME, &name).map_err(fault)?;
    storage.sync_names(&name).map_err(fault)?;
    Ok(Active {
        header,
        file,
        offset: u64_of(SEGMENT_HEADER_BYTES),
    })
}

fn u64_of(value: usize) -> u64 {
    u64::try_from(value).expect("usize fits u64")
}
