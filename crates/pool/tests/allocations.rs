//! The packet path allocates nothing once its buffers have grown.
#![allow(clippy::unwrap_used, unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::*;
use forebay_pool::*;

thread_local! {
    static COUNTED: Cell<Option<u64>> = const { Cell::new(None) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter is a thread-local cell without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn count() {
    COUNTED.with(|counted| counted.set(counted.get().map(|seen| seen + 1)));
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_thousand_packets_allocate_nothing() {
    let mut world = World::funded();
    let mut packets = Vec::with_capacity(64);
    let mut request = 0;
    let mut round = |world: &mut World| {
        packets.clear();
        for _ in 0..50 {
            request += 1;
            world.prepare(request, 1_000, 10_000).unwrap();
        }
        flush(world, |effect| {
            if let Effect::Forward { packet, .. } = effect {
                packets.push(packet);
            }
        });
        for packet in &packets {
            world
                .apply(&Command::Fulfill {
                    peer: BOB,
                    packet: *packet,
                    preimage: PREIMAGE,
                })
                .unwrap();
        }
        flush(world, |_| ());
    };
    // The ring of remembered answers and every buffer grow to their size first.
    for _ in 0..bounds::ANSWERS_MAX / 50 + 2 {
        round(&mut world);
    }
    COUNTED.set(Some(0));
    for _ in 0..20 {
        round(&mut world);
    }
    let allocations = COUNTED.take().unwrap();
    assert_eq!(allocations, 0, "1,000 packets");
}

fn flush(world: &mut World, each: impl FnMut(Effect)) {
    world.sequencer.plan(world.wall);
    assert!(world.sequencer.batch().is_some());
    world.sequencer.release(each);
}
