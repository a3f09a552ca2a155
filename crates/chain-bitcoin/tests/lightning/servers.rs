//! A node whose chain source is an Esplora server, with a peer that stands on the bitcoind behind it.

use forebay_chain_bitcoin::lightning::{ChannelNumber, Closing, HotWallet, Observation, Opening};

use crate::world::{Ours, Theirs, World, until};

const CHANNEL_SAT: u64 = 500_000;

fn caught_up(world: &World, ours: &Ours, theirs: &Theirs) {
    until("both know the chain", || {
        theirs.node.sync_wallets().expect("the peer sees blocks");
        let height = world.height();
        ours.node.height() == height && theirs.node.status().current_best_block.height == height
    });
}

fn pays_both_ways(ours: &Ours, theirs: &Theirs, settlement: u8) {
    ours.give(theirs, 2, 20_000_000);
    theirs.pay(&ours.invoice(settlement, 10_000_000));
    let is_it = |o: &Observation| matches!(o, Observation::Received { settlement: Some(id), .. } if *id == [settlement; 16]);
    ours.wait("the settlement is received", is_it);
    ours.quiet();
}

#[test]
fn a_channel_opens_pays_both_ways_and_closes_over_reorgs_outages_and_restarts() {
    let mut world = World::on_esplora();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    world.fund(&ours, 2 * CHANNEL_SAT);
    ours.connect(&theirs);
    let channel = ChannelNumber(7);
    ours.node
        .open_channel(Opening {
            channel,
            peer: theirs.id(),
            value_sat: CHANNEL_SAT,
            public: false,
            fee_max_sat: 10_000,
        })
        .expect("the peer is there");
    ours.wait(
        "the channel is pending",
        |o| matches!(o, Observation::ChannelPending { channel: c, .. } if *c == channel),
    );
    until("its funding waits for a block", || world.mempool() == 1);
    for depth in 1..=3 {
        world.mine(depth);
        caught_up(&world, &ours, &theirs);
        world.reorg(depth);
        caught_up(&world, &ours, &theirs);
    }
    world.mine(6);
    until("the channel is usable", || {
        theirs.node.sync_wallets().expect("the peer sees blocks");
        ours.channel(channel).is_some_and(|c| c.usable)
    });
    pays_both_ways(&ours, &theirs, 1);

    // The blocks at which the node stood are dropped while it is stopped, and the server has them no more.
    ours.stop();
    world.reorg(3);
    let ours = world.ours("ours");
    caught_up(&world, &ours, &theirs);
    ours.connect(&theirs);
    until("the channel is usable again", || {
        ours.channel(channel).is_some_and(|c| c.usable)
    });
    pays_both_ways(&ours, &theirs, 2);

    world.stop_esplora();
    pays_both_ways(&ours, &theirs, 3);
    ours.close(channel, Closing::Cooperative)
        .expect("it is open");
    ours.wait(
        "it is closed",
        |o| matches!(o, Observation::ChannelClosed { channel: c, .. } if *c == channel),
    );
    world.start_esplora_again();
    until("the closing waits for a block", || world.mempool() == 1);
    world.mine(6);
    ours.wait(
        "the money is back",
        |o| matches!(o, Observation::ChannelReturned { channel: c, .. } if *c == channel),
    );
    let address = ours.wallet.address();
    until("the wallet knows what bitcoind knows", || {
        ours.wallet.spendable_sat() == world.unspent_at(&address)
    });
}
