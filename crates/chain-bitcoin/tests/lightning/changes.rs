//! What the suite does not say of channels: what they cost, and those that peers open.

use forebay_chain_bitcoin::lightning::{ChannelNumber, Observation, Opening};

use crate::world::{World, until};

#[test]
fn what_a_channel_has_cost_is_its_opening_and_its_splices() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    let channel = world.channel(&ours, &theirs, 500_000);
    let standing = || ours.channel(channel).expect("it is open");
    let opening = ours.wait("its opening is told", |o| {
        matches!(o, Observation::ChannelPending { .. })
    });
    let Observation::ChannelPending { fee_sat, .. } = opening else {
        unreachable!("it was asked for");
    };
    assert_eq!(standing().fee_sat, fee_sat);
    let spliced = |count: usize| {
        let mut fees = Vec::new();
        until("the splice is pending", || {
            let told = ours.told();
            fees = told
                .iter()
                .filter_map(|o| match o {
                    Observation::SplicePending { fee_sat, .. } => *fee_sat,
                    _ => None,
                })
                .collect();
            fees.len() == count
        });
        world.settle(&theirs);
        fees.iter().sum::<u64>()
    };
    ours.node
        .splice_in(channel, 300_000, 10_000)
        .expect("there are coins");
    let after = fee_sat + spliced(1);
    until("it is larger", || standing().value_sat == 800_000);
    assert_eq!(standing().fee_sat, after);
    ours.quiet();
    ours.node
        .splice_out(channel, 200_000, 10_000)
        .expect("there is money in it");
    let after = fee_sat + spliced(2);
    until("it is smaller", || standing().value_sat < 600_000);
    assert_eq!(standing().fee_sat, after);
}

#[test]
fn an_opening_without_coins_is_reported_closed_with_the_reason() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    ours.connect(&theirs);
    let channel = ChannelNumber(1);
    ours.node
        .open_channel(Opening {
            channel,
            peer: theirs.id(),
            value_sat: 300_000,
            public: false,
            fee_max_sat: 10_000,
        })
        .expect("the peer is there");
    let told = ours.wait(
        "it came to nothing",
        |o| matches!(o, Observation::ChannelClosed { channel: c, .. } if *c == channel),
    );
    let Observation::ChannelClosed {
        reason, funding, ..
    } = told
    else {
        unreachable!("it was asked for");
    };
    assert!(reason.contains("can be spent"), "{reason}");
    assert_eq!(funding, None);
}

#[test]
fn a_channel_that_a_peer_opens_is_taken_while_the_hot_wallet_has_its_reserve() {
    let world = World::new();
    let theirs = world.theirs("theirs");
    let listening = crate::world::listening_ours(&world, "listening");
    let open = || {
        let address = listening.1.to_string().parse().expect("an address");
        theirs
            .node
            .open_channel(listening.0.key(), address, 500_000, Some(200_000_000), None)
            .expect("the peer is there")
    };
    open();
    until("it is refused", || theirs.node.list_channels().is_empty());
    assert!(listening.0.node.channels().expect("readable").is_empty());

    world.fund(&listening.0, 30_000);
    theirs.node.sync_wallets().expect("the peer sees blocks");
    open();
    listening.0.wait("it is pending", |o| {
        matches!(o, Observation::ChannelPending { fee_sat: 0, .. })
    });
    world.settle(&theirs);
    until("it is usable", || {
        let channels = listening.0.node.channels().expect("readable");
        channels
            .iter()
            .any(|c| c.usable && !c.ours && c.balance_msat == 200_000_000)
    });
    until("the peer can use it", || {
        theirs.node.list_channels().iter().any(|c| c.is_usable)
    });
    assert!(listening.0.pay(&theirs.invoice(1_000_000)).is_some());
}
