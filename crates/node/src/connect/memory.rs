//! The peer's journal: batches of facts, and a snapshot now and then.

use std::path::Path;
use std::sync::Arc;

use borsh::BorshDeserialize;
use forebay_journal::{Fault, Journal, LocalDisk, OpenFault, Options};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::event::Event;
use super::state::State;

/// Small segments: a peer's side writes a few megabytes a day.
const SEGMENT_BYTES: u64 = 4 << 20;
/// Frames between two snapshots: what is read again in a fraction of a second.
const SNAPSHOT_FRAMES: u64 = 50_000;

/// An event may hold an answer of 32 KiB: this many fit a frame whatever they hold.
const EVENTS_PER_FRAME: usize = 64;

/// Why the memory cannot be opened.
#[derive(Debug, Error)]
pub enum MemoryFault {
    /// The journal cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenFault),
    /// The journal cannot be read or written.
    #[error(transparent)]
    Journal(#[from] Fault),
    /// A frame that this version cannot read.
    #[error(
        "{0} was not written by this version; start the version that wrote it, or restore a backup"
    )]
    Unknown(String),
}

/// The journal and its reader.
pub(super) struct Memory {
    journal: Journal,
    frames: u64,
}

impl Memory {
    /// Opens the journal of this owner and reads all it holds; another's is not opened.
    pub(super) fn open(directory: &Path, owner: &str) -> Result<(Self, State), MemoryFault> {
        let storage = LocalDisk::open(directory.join("journal"))?;
        let identity = Sha256::digest(format!("forebay connect {owner}")).into();
        let options = Options {
            segment_bytes: SEGMENT_BYTES,
            ..Options::new(identity)
        };
        let (journal, mut recovery) = Journal::open(Arc::new(storage), options)?;
        let mut state = State::default();
        if let Some(snapshot) = recovery.snapshot.take() {
            state = State::read(&snapshot.state).map_err(|_| {
                MemoryFault::Unknown(format!("the snapshot at frame {}", snapshot.head.sequence))
            })?;
        }
        let mut frames = 0;
        while let Some(frame) = recovery.next_frame()? {
            let events = Vec::<Event>::try_from_slice(frame.payload)
                .map_err(|_| MemoryFault::Unknown(format!("frame {}", frame.sequence)))?;
            events.iter().for_each(|event| state.evolve(event));
            frames += 1;
        }
        Ok((Self { journal, frames }, state))
    }

    /// Makes facts durable; nothing that follows from them leaves before this returns [I7].
    pub(super) fn keep(&mut self, events: &[Event]) -> Result<(), Fault> {
        if events.is_empty() {
            return Ok(());
        }
        for part in events.chunks(EVENTS_PER_FRAME) {
            let count = u32::try_from(part.len()).expect("a part is small");
            self.journal.append_with(|out| {
                out.extend_from_slice(&count.to_le_bytes());
                for event in part {
                    borsh::to_writer(&mut *out, event).expect("memory takes every byte");
                }
            })?;
            self.frames += 1;
        }
        self.journal.sync()
    }

    /// Snapshots when enough frames have come together, or when asked to.
    pub(super) fn snapshot(&mut self, state: &State, now: bool) -> Result<(), Fault> {
        if !now && self.frames < SNAPSHOT_FRAMES {
            return Ok(());
        }
        self.frames = 0;
        let bytes = borsh::to_vec(state).expect("memory takes every byte");
        let head = self.journal.head();
        self.journal.snapshot(head, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch of answers of 32 KiB each passed the journal's largest frame, and ended the process.
    #[test]
    fn a_batch_of_the_largest_answers_is_kept_and_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut memory, mut state) = Memory::open(folder.path(), "somebody").expect("opens");
        let mut events = Vec::new();
        for request in 0..200 {
            events.push(Event::Taken {
                request,
                amount: 1,
                expires_at: forebay_quantity::Timestamp(1),
                condition: [0; 32],
            });
            let answer = vec![7; 33_000];
            events.push(Event::TakenFulfilled { request, answer });
        }
        memory.keep(&events).expect("kept");
        events.iter().for_each(|event| state.evolve(event));
        drop(memory);
        assert!(Memory::open(folder.path(), "somebody else").is_err());
        let (_, again) = Memory::open(folder.path(), "somebody").expect("opens again");
        assert_eq!(again, state, "[I10]");
    }
}
