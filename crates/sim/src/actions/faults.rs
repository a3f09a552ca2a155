//! What disks, clocks and chains do wrong.

use forebay_journal::testing::Faults;

use crate::chain::FINALITY_DEPTH;
use crate::world::World;

pub(super) fn fail_disk(world: &mut World) {
    let soon = Some(world.random.below(3));
    let mut faults = Faults::default();
    match world.random.below(5) {
        0 => faults.sync_fails_in = soon,
        1 => faults.write_fails_in = soon,
        2 => faults.write_short_in = soon,
        3 => faults.capacity_bytes = Some(0),
        _ => faults.capacity_bytes = Some(world.random.below(1 << 18)),
    }
    world.process.storage.set_faults(faults);
}

pub(super) fn jump_clock(world: &mut World) {
    let (kind, skew) = match world.random.below(6) {
        0 => (
            "clock forward",
            1_000 * i64::try_from(world.random.below(20)).expect("small"),
        ),
        1 => (
            "clock forward",
            60_000 * i64::try_from(world.random.below(10)).expect("small"),
        ),
        2 => (
            "clock back",
            -1_000 * i64::try_from(world.random.below(60)).expect("small"),
        ),
        // The core's time stands still as long; further back, the node does not start.
        3 => ("clock back", -600_000),
        _ => ("clock right again", 0),
    };
    world.counts.add("fault", kind);
    world.skew = skew;
}

pub(super) fn reorganise(world: &mut World) {
    let depth = 1 + world.random.index(FINALITY_DEPTH);
    let dropped = world.chain.reorganise(depth, &mut world.random, 300);
    if dropped > 0 {
        world.counts.add("fault", "reorg");
    }
}
