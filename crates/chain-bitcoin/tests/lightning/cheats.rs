//! A peer that publishes a state which it has given up.

use forebay_chain_bitcoin::lightning::Observation;

use crate::world::{Theirs, World, copy, until};

const CHANNEL_SAT: u64 = 1_000_000;
/// What miners get at most for the old state, our punishment of it, and the sweep.
const FEES_MAX_SAT: u64 = 10_000;

#[test]
fn a_peer_that_closes_with_an_old_state_loses_the_whole_channel_to_us() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    world.channel(&ours, &theirs, CHANNEL_SAT);
    ours.give(&theirs, 4, 90_000_000);
    // The state that it would rather have: 360,000 sat are its own.
    let folder = world.folder.path().join("theirs");
    let old = world.folder.path().join("old");
    drop(theirs);
    copy(&folder, &old);

    let theirs = Theirs::start(&world, "theirs");
    ours.connect(&theirs);
    ours.quiet();
    for number in 0..3 {
        let invoice = ours.invoice(number, 90_000_000);
        theirs.pay(&invoice);
        ours.wait("it is paid", |o| {
            matches!(o, Observation::Received { settlement: Some(id), .. } if *id == [number; 16])
        });
        ours.quiet();
    }
    // From now on neither speaks to the other.
    ours.node.disconnect(theirs.id()).expect("a node id");
    drop(theirs);
    std::fs::remove_dir_all(&folder).expect("it is ours to remove");
    std::fs::rename(&old, &folder).expect("on one disk");

    let address = ours.wallet.address();
    let before = world.unspent_at(&address);
    let cheat = Theirs::start(&world, "theirs");
    let channels = cheat.node.list_channels();
    assert_eq!(channels.len(), 1);
    cheat
        .node
        .force_close_channel(&channels[0].user_channel_id, ours.key(), None)
        .expect("it still believes in the old state");
    until("the old state is published", || world.mempool() > 0);
    ours_comes_home(&world, || {
        world.unspent_at(&address) + FEES_MAX_SAT >= before + CHANNEL_SAT
    });
    assert!(world.unspent_at(&address) < before + CHANNEL_SAT);
    assert!(
        ours.told()
            .iter()
            .any(|o| matches!(o, Observation::ChannelClosed { .. }))
    );
}

/// Makes blocks one by one, since whoever watches has to see each in time.
fn ours_comes_home(world: &World, is_home: impl Fn() -> bool) {
    until("the chain's coins are ours", || {
        world.mine(1);
        std::thread::sleep(std::time::Duration::from_millis(300));
        is_home()
    });
}
