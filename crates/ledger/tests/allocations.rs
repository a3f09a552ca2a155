//! The steady state allocates nothing: shown by an allocator that counts.
#![allow(unsafe_code)]

use forebay_ledger::*;
use forebay_quantity::{AccountId, Amount, AssetId};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system's allocator; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const ACCOUNTS: u32 = 1_000;

fn books() -> Ledger {
    let mut ledger = Ledger::new();
    for _ in 0..ACCOUNTS {
        ledger.open(AssetId(0), Limits::NONE);
    }
    ledger
}

/// The two legs of the n-th packet, spread over the accounts.
fn packet(at: u32) -> [Leg; 2] {
    let account =
        |salt: u32| AccountId(at.wrapping_mul(2_654_435_761).wrapping_add(salt) % ACCOUNTS);
    let leg = |salt| Leg {
        debit: account(salt),
        credit: account(salt + 1),
        amount: Amount::new(5),
    };
    [leg(0), leg(7)]
}

/// Keeps a window of transfers pending: each step checks and pends one and resolves the oldest.
fn run(ledger: &mut Ledger, window: &mut [TransferId], steps: u32) {
    for at in 0..steps {
        let slot = usize::try_from(at).expect("32 bits") % window.len();
        ledger.post_pending(window[slot]);
        let legs = packet(at);
        ledger.check(&legs).expect("no limits");
        window[slot] = ledger.pend(&legs);
    }
}

#[test]
fn pending_and_posting_allocate_nothing_in_steady_state() {
    let mut ledger = books();
    let mut window: Vec<TransferId> = (0..64).map(|at| ledger.pend(&packet(at))).collect();
    let before = ALLOCATIONS.get();
    let refused = ledger.check(&[
        packet(1)[0],
        Leg {
            amount: Amount::ZERO,
            ..packet(1)[1]
        },
    ]);
    run(&mut ledger, &mut window, 10_000);
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert!(refused.is_err());
    assert!(before > 0, "the counter counts");
}

/// What this thread has spent on a processor, by the kernel's own count: other load does not show in it.
fn processor_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let spent = text.split_whitespace().next().expect("three numbers");
    spent.parse().expect("a number")
}

/// Prints nanoseconds for one check, pend and post of two legs; judges nothing.
#[test]
fn the_cost_of_two_legs_is_printed() {
    let mut ledger = books();
    let mut window: Vec<TransferId> = (0..64).map(|at| ledger.pend(&packet(at))).collect();
    let steps = 1_000_000;
    let before = processor_ns();
    run(&mut ledger, &mut window, steps);
    let nanoseconds = (processor_ns() - before) / u64::from(steps);
    println!("{nanoseconds} ns for check, pend and post of two legs over {ACCOUNTS} accounts");
    assert_eq!(ledger.pending_count(), 64);
}
