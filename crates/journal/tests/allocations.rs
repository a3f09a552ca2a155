//! Appending and syncing allocate nothing once the buffer has grown.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use forebay_journal::{Journal, LocalDisk, Options};

thread_local! {
    static COUNTED: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter is a thread-local cell without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNTED.with(|counted| counted.set(counted.get() + 1));
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_hundred_commits_allocate_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = LocalDisk::open(directory.path()).expect("opens");
    let options = Options {
        identity: [0; 32],
        segment_bytes: 1 << 20,
    };
    let (mut journal, _) = Journal::open(Arc::new(disk), options).expect("opens");
    let payload = [5; 4096];
    let mut commit = || {
        journal.append(&payload).expect("appends");
        journal
            .append_with(|frame| frame.extend_from_slice(&payload))
            .expect("appends");
        journal.sync().expect("syncs");
    };
    // The first commit grows the buffer and begins the next segment.
    commit();
    let before = COUNTED.get();
    assert!(before > 0, "the counter counts");
    for _ in 0..100 {
        commit();
    }
    assert_eq!(COUNTED.get(), before);
}
