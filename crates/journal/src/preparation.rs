//! The next segment, made ready while the current one fills, so that no commit waits for it.

use crate::fault::Fault;
use crate::storage::{Storage, StoredFile, write_all};

/// The name a segment has until its header is durable.
pub(crate) const PREPARING_NAME: &str = "next.preparing";
/// Zeros written and synced at a time: about a millisecond of a disk's time.
const STEP_BYTES: usize = 1 << 20;
static ZEROS: [u8; STEP_BYTES] = [0; STEP_BYTES];

/// A file of zeros in the making. Zeros are written, not only reserved: otherwise each commit into it
/// would also have to commit the file system's record of which blocks were ever written.
pub(crate) struct Preparation {
    bytes: u64,
    zeroed: u64,
    file: Option<Box<dyn StoredFile>>,
    shortage: Option<Fault>,
    /// Fill of the current segment at which to try again after a shortage.
    again_at: u64,
}

impl Preparation {
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            bytes,
            zeroed: 0,
            file: None,
            shortage: None,
            again_at: 0,
        }
    }

    /// Why the next segment cannot be made ready now, if so.
    pub(crate) fn shortage(&self) -> Option<&Fault> {
        self.shortage.as_ref()
    }

    /// Takes at most one step, keeping the file twice as full of zeros as the current segment is of frames.
    /// A failure is a shortage, not a fault: the current segment still has room.
    pub(crate) fn keep_up(&mut self, storage: &dyn Storage, used: u64) {
        let behind = self.zeroed < self.bytes.min(used.saturating_mul(2));
        if !behind || (self.shortage.is_some() && used < self.again_at) {
            return;
        }
        match self.step(storage) {
            Ok(()) => self.shortage = None,
            Err(fault) => {
                self.abandon(storage);
                self.shortage = Some(fault);
                self.again_at = used.saturating_add(self.bytes / 16);
            }
        }
    }

    /// Completes the file and hands it over, all zeros and durable, still under its temporary name.
    pub(crate) fn finish(&mut self, storage: &dyn Storage) -> Result<Box<dyn StoredFile>, Fault> {
        while self.file.is_none() || self.zeroed < self.bytes {
            if let Err(fault) = self.step(storage) {
                self.abandon(storage);
                return Err(fault);
            }
        }
        self.zeroed = 0;
        self.shortage = None;
        self.again_at = 0;
        Ok(self.file.take().expect("the loop above made it"))
    }

    fn step(&mut self, storage: &dyn Storage) -> Result<(), Fault> {
        let fault = |error| Fault::from_io("making the next segment ready", error);
        if self.file.is_none() {
            let file = storage.create(PREPARING_NAME).map_err(fault)?;
            self.zeroed = 0;
            file.reserve(self.bytes).map_err(fault)?;
            self.file = Some(file);
        }
        let file = self.file.as_deref().expect("set just above");
        let left = self.bytes - self.zeroed;
        let count = usize::try_from(left).unwrap_or(STEP_BYTES).min(STEP_BYTES);
        write_all(file, &ZEROS[..count], self.zeroed).map_err(fault)?;
        file.sync().map_err(fault)?;
        self.zeroed += u64::try_from(count).expect("usize fits u64");
        Ok(())
    }

    fn abandon(&mut self, storage: &dyn Storage) {
        self.file = None;
        self.zeroed = 0;
        // What is left behind is emptied by the next attempt, or removed when the journal is opened.
        let _ = storage.remove(PREPARING_NAME);
    }
}
