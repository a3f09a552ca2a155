//! The next segment, made ready while the current one fills, so that no commit waits for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use crate::fault::Fault;
use crate::storage::{Storage, StoredFile, write_all};

/// The name a segment has until its header is durable.
pub(crate) const PREPARING_NAME: &str = "next.preparing";
/// Zeros written and synced at a time: about a millisecond of a disk's time.
const STEP_BYTES: usize = 1 << 20;
static ZEROS: [u8; STEP_BYTES] = [0; STEP_BYTES];

/// Makes files of zeros, one after the other, each twice as full of zeros as the current segment is of frames.
pub(crate) struct Preparation {
    storage: Arc<dyn Storage>,
    bytes: u64,
    work: Work,
    shortage: Option<Fault>,
    /// Fill of the current segment at which to try again after a shortage.
    again_at: u64,
}

enum Work {
    Idle,
    /// Step by step on the caller's thread, so that a simulated storage stays deterministic.
    Here(Zeros),
    /// On a thread of its own: the disk takes the zeros between two commits.
    Aside {
        pace: Arc<Pace>,
        thread: JoinHandle<Result<Zeros, Fault>>,
    },
}

#[derive(Default)]
struct Pace {
    wanted: AtomicU64,
    zeroed: AtomicU64,
    cancelled: AtomicBool,
}

/// A file in the making. Zeros are written, not only reserved: otherwise each commit into it would also have to
/// commit the file system's record of which blocks were ever written.
struct Zeros {
    file: Box<dyn StoredFile>,
    bytes: u64,
    zeroed: u64,
}

impl Preparation {
    pub(crate) fn new(storage: Arc<dyn Storage>, bytes: u64) -> Self {
        Self {
            storage,
            bytes,
            work: Work::Idle,
            shortage: None,
            again_at: 0,
        }
    }

    /// Why the next segment cannot be made ready now, if so.
    pub(crate) fn shortage(&self) -> Option<&Fault> {
        self.shortage.as_ref()
    }

    /// Takes or asks for at most one step. A failure is a shortage, not a fault: the current segment still has room.
    pub(crate) fn keep_up(&mut self, used: u64) {
        if self.shortage.is_some() && used < self.again_at {
            return;
        }
        match self.advance(self.bytes.min(used.saturating_mul(2))) {
            Ok(()) => {}
            Err(fault) => {
                self.abandon();
                self.shortage = Some(fault);
                self.again_at = used.saturating_add(self.bytes / 16);
            }
        }
    }

    fn advance(&mut self, wanted: u64) -> Result<(), Fault> {
        match &mut self.work {
            Work::Idle => {
                self.work = self.begin()?;
                self.shortage = None;
            }
            Work::Here(zeros) if zeros.zeroed < wanted => zeros.step()?,
            Work::Aside { pace, thread } => {
                pace.wanted.store(wanted, Ordering::Release);
                let zeroed = pace.zeroed.load(Ordering::Acquire);
                if zeroed < self.bytes && thread.is_finished() {
                    self.join()?;
                } else if zeroed < wanted {
                    thread.thread().unpark();
                }
            }
            Work::Here(_) => {}
        }
        Ok(())
    }

    /// Completes the file and hands it over, all zeros and durable, still under its temporary name.
    pub(crate) fn finish(&mut self) -> Result<Box<dyn StoredFile>, Fault> {
        self.again_at = 0;
        let finished = self.complete();
        if finished.is_err() {
            self.abandon();
        }
        finished
    }

    fn complete(&mut self) -> Result<Box<dyn StoredFile>, Fault> {
        if let Work::Idle = self.work {
            self.work = Work::Here(Zeros::begin(&*self.storage, self.bytes)?);
        }
        if let Work::Aside { pace, thread } = &self.work {
            pace.wanted.store(self.bytes, Ordering::Release);
            thread.thread().unpark();
        }
        let mut zeros = self.join()?;
        while zeros.zeroed < zeros.bytes {
            zeros.step()?;
        }
        self.shortage = None;
        Ok(zeros.file)
    }

    fn begin(&self) -> Result<Work, Fault> {
        let zeros = Zeros::begin(&*self.storage, self.bytes)?;
        if !self.storage.allows_threads() {
            return Ok(Work::Here(zeros));
        }
        let pace = Arc::new(Pace::default());
        let theirs = Arc::clone(&pace);
        let thread = thread::Builder::new()
            .name("journal-zeros".to_owned())
            .spawn(move || zeros.fill_at(&theirs))
            .map_err(fault)?;
        Ok(Work::Aside { pace, thread })
    }

    /// Takes the file, waiting for the thread if there is one.
    fn join(&mut self) -> Result<Zeros, Fault> {
        match std::mem::replace(&mut self.work, Work::Idle) {
            Work::Idle => Err(fault(io::Error::other("nothing was begun"))),
            Work::Here(zeros) => Ok(zeros),
            Work::Aside { thread, .. } => thread
                .join()
                .unwrap_or_else(|_| Err(fault(io::Error::other("its thread panicked")))),
        }
    }

    fn abandon(&mut self) {
        self.stop();
        // What is left behind is emptied by the next attempt, or removed when the journal is opened.
        let _ = self.storage.remove(PREPARING_NAME);
    }

    fn stop(&mut self) {
        if let Work::Aside { pace, thread } = &self.work {
            pace.cancelled.store(true, Ordering::Release);
            thread.thread().unpark();
        }
        drop(self.join());
    }
}

impl Drop for Preparation {
    /// The thread ends before the storage, and with it the lock on the directory, is given up.
    fn drop(&mut self) {
        self.stop();
    }
}

impl Zeros {
    fn begin(storage: &dyn Storage, bytes: u64) -> Result<Self, Fault> {
        let file = storage.create(PREPARING_NAME).map_err(fault)?;
        file.reserve(bytes).map_err(fault)?;
        Ok(Self {
            file,
            bytes,
            zeroed: 0,
        })
    }

    fn step(&mut self) -> Result<(), Fault> {
        let left = self.bytes - self.zeroed;
        let count = usize::try_from(left).unwrap_or(STEP_BYTES).min(STEP_BYTES);
        write_all(&*self.file, &ZEROS[..count], self.zeroed).map_err(fault)?;
        self.file.sync().map_err(fault)?;
        self.zeroed += u64::try_from(count).expect("usize fits u64");
        Ok(())
    }

    fn fill_at(mut self, pace: &Pace) -> Result<Self, Fault> {
        while self.zeroed < self.bytes && !pace.cancelled.load(Ordering::Acquire) {
            if self.zeroed < pace.wanted.load(Ordering::Acquire) {
                self.step()?;
                pace.zeroed.store(self.zeroed, Ordering::Release);
            } else {
                // An unpark that came in between makes this return at once.
                thread::park();
            }
        }
        Ok(self)
    }
}

fn fault(error: io::Error) -> Fault {
    Fault::from_io("making the next segment ready", error)
}
