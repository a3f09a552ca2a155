//! Reorgs while a channel's funding or closing is young.

use forebay_chain_bitcoin::lightning::{ChannelNumber, Closing, HotWallet, Observation, Opening};

use crate::world::{Ours, Theirs, World, until};

const CHANNEL_SAT: u64 = 300_000;

fn open(world: &World, ours: &Ours, theirs: &Theirs, channel: ChannelNumber) {
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
}

fn caught_up(world: &World, ours: &Ours, theirs: &Theirs) {
    until("both know the chain", || {
        theirs.node.sync_wallets().expect("the peer sees blocks");
        let height = world.height();
        ours.node.height() == height && theirs.node.status().current_best_block.height == height
    });
}

#[test]
fn a_channel_opens_pays_and_closes_over_reorgs_of_one_to_six_blocks_and_each_satoshi_comes_back_once()
 {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    world.fund(&ours, 2_000_000);
    ours.connect(&theirs);
    for depth in 1..=6 {
        let channel = ChannelNumber(u128::from(depth));
        open(&world, &ours, &theirs, channel);
        // The sixth block makes it ready for both: that case is the next test's.
        let young = depth.min(5);
        world.mine(young);
        caught_up(&world, &ours, &theirs);
        world.reorg(young);
        caught_up(&world, &ours, &theirs);
        world.mine(6);
        until("the channel is usable", || {
            theirs.node.sync_wallets().expect("the peer sees blocks");
            ours.channel(channel).is_some_and(|c| c.usable)
        });
        until("a payment leaves", || {
            ours.node
                .pay(&crate::world::payment(&theirs.invoice(1_000_000)))
                .is_ok()
        });
        ours.quiet();

        ours.close(channel, Closing::Cooperative)
            .expect("it is open");
        until("its closing waits for a block", || world.mempool() == 1);
        world.mine(depth);
        caught_up(&world, &ours, &theirs);
        world.reorg(depth);
        caught_up(&world, &ours, &theirs);
        world.mine(6);
        ours.wait(
            "the money is back",
            |o| matches!(o, Observation::ChannelReturned { channel: c, .. } if *c == channel),
        );
    }
    caught_up(&world, &ours, &theirs);
    let told = ours.told();
    let returned = told.iter().filter_map(|o| match o {
        Observation::ChannelReturned { channel, .. } => Some(channel.0),
        _ => None,
    });
    assert!(returned.eq(1..=6), "each once, in order: {told:?}");
    let address = ours.wallet.address();
    until("the wallet knows what bitcoind knows", || {
        ours.wallet.spendable_sat() == world.unspent_at(&address)
    });
}

/// LDK closes a channel whose funding is in the chain no more: neither end can be sure of it.
#[test]
fn a_ready_channel_whose_funding_a_reorg_takes_out_is_closed_and_its_money_comes_back() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    let channel = world.channel(&ours, &theirs, CHANNEL_SAT);
    let address = ours.wallet.address();
    let coins = world.unspent_at(&address);
    // The funding is in the first of six blocks, and not in the first of those that take their place.
    world.reorg(6);
    ours.wait(
        "it is closed",
        |o| matches!(o, Observation::ChannelClosed { channel: c, .. } if *c == channel),
    );
    until("the money is back", || {
        world.mine(24);
        std::thread::sleep(std::time::Duration::from_millis(300));
        world.unspent_at(&address) + 10_000 > coins + CHANNEL_SAT
    });
}
