//! Channels that are enlarged, made smaller, closed, opened together, opened by the peer.

use forebay_chain_bitcoin::Fault;
use forebay_chain_bitcoin::lightning::{ChannelNumber, Closing, HotWallet, Observation, Opening};

use crate::world::{World, until, until_equal};

#[test]
fn a_channel_is_spliced_in_and_out_and_pays_all_the_while() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    let channel = world.channel(&ours, &theirs, 500_000);
    let splices = |count: usize| {
        until("the splice is pending", || {
            let told = ours.told();
            told.iter()
                .filter(|o| matches!(o, Observation::SplicePending { .. }))
                .count()
                == count
        });
        assert!(
            ours.pay(&theirs.invoice(1_000_000)).is_some(),
            "while it is pending"
        );
        ours.quiet();
        world.settle(&theirs);
    };

    let value = || ours.channel(channel).map_or(0, |c| c.value_sat);
    ours.node
        .splice_in(channel, 300_000, 10_000)
        .expect("there are coins");
    splices(1);
    until("it is larger", || value() == 800_000);

    let before = ours.wallet.spendable_sat();
    ours.node
        .splice_out(channel, 200_000, 10_000)
        .expect("there is money in it");
    splices(2);
    until("it is smaller", || value() < 600_000 && value() > 590_000);
    until("the money is back", || {
        ours.wallet.spendable_sat() == before + 200_000
    });
    let now = ours.channel(channel).expect("it is open");
    let fees: Vec<_> = ours
        .told()
        .iter()
        .filter_map(|o| match o {
            Observation::SplicePending { fee_sat, .. } => Some(fee_sat.expect("it was not killed")),
            _ => None,
        })
        .collect();
    assert_eq!(
        fees[1],
        800_000 - 200_000 - now.value_sat,
        "what left and did not arrive"
    );
    assert!(fees[0] > 0);
    assert_eq!(
        now.fee_sat,
        2_000 + fees[0] + fees[1],
        "with that of the opening"
    );
    until_equal("the peer's balance", &2_000_000, || theirs.balance_msat());
    assert_eq!(now.balance_msat, now.value_sat * 1_000 - 2_000_000);
    ours.give(&theirs, 2, 40_000_000);
}

#[test]
fn a_channel_is_closed_with_the_peer_and_its_money_comes_back() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    let channel = world.channel(&ours, &theirs, 500_000);
    ours.give(&theirs, 2, 50_000_000);
    let before = ours.wallet.spendable_sat();
    ours.close(channel, Closing::Cooperative)
        .expect("it is open");
    let told = ours.wait(
        "it is closed",
        |o| matches!(o, Observation::ChannelClosed { channel: c, .. } if *c == channel),
    );
    assert!(
        matches!(
            told,
            Observation::ChannelClosed {
                balance_msat: Some(400_000_000),
                ..
            }
        ),
        "{told:?}"
    );
    world.settle(&theirs);
    let told = ours.wait("the money is back", |o| {
        matches!(o, Observation::ChannelReturned { .. })
    });
    let Observation::ChannelReturned {
        channel: c,
        value_sat,
        in_wallet: true,
        ..
    } = told
    else {
        panic!("it goes to the hot wallet: {told:?}");
    };
    assert!(
        c == channel && value_sat > 390_000 && value_sat <= 400_000,
        "{told:?}"
    );
    assert_eq!(ours.wallet.spendable_sat() - before, value_sat);
    assert!(matches!(
        ours.close(channel, Closing::Cooperative),
        Err(Fault::UnknownChannel)
    ));
}

#[test]
fn a_channel_is_closed_alone_and_its_money_comes_back_after_the_delay() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    let channel = world.channel(&ours, &theirs, 500_000);
    let before = ours.wallet.spendable_sat();
    ours.close(channel, Closing::Unilateral)
        .expect("it is open");
    ours.wait(
        "it is closed",
        |o| matches!(o, Observation::ChannelClosed { channel: c, .. } if *c == channel),
    );
    until("the money is back", || {
        world.mine(24);
        std::thread::sleep(std::time::Duration::from_millis(300));
        // The commitment was paid for by a coin of the hot wallet.
        ours.wallet.spendable_sat() + 10_000 > before + 500_000
    });
    let told = ours.wait("it was told", |o| {
        matches!(o, Observation::ChannelReturned { .. })
    });
    let Observation::ChannelReturned {
        value_sat,
        in_wallet: false,
        ..
    } = told
    else {
        panic!("it is swept: {told:?}");
    };
    assert!(value_sat > 490_000 && value_sat < 500_000, "{value_sat}");
}

#[test]
fn several_channels_share_one_transaction_and_a_peer_that_is_gone_keeps_none_waiting() {
    let world = World::new();
    let (ours, first, second) = (
        world.ours("ours"),
        world.theirs("first"),
        world.theirs("second"),
    );
    world.fund(&ours, 2_000_000);
    ours.connect(&first);
    ours.connect(&second);
    let opening = |number, peer| Opening {
        channel: ChannelNumber(number),
        peer,
        value_sat: 300_000,
        public: false,
        fee_max_sat: 10_000,
    };
    let nobody = world.ours("nobody").node.identity();
    let outcomes = ours.node.open_channels(&[
        opening(1, first.id()),
        opening(2, nobody),
        opening(3, second.id()),
    ]);
    assert!(
        matches!(outcomes[..], [Ok(()), Err(Fault::PeerOffline), Ok(())]),
        "{outcomes:?}"
    );
    let funding = |number| {
        let told = ours.wait(
            "it is pending",
            |o| matches!(o, Observation::ChannelPending { channel, .. } if channel.0 == number),
        );
        match told {
            Observation::ChannelPending {
                funding, fee_sat, ..
            } => (funding.txid, fee_sat),
            _ => unreachable!("it was asked for"),
        }
    };
    let ((one, one_fee), (three, three_fee)) = (funding(1), funding(3));
    assert_eq!(one, three, "one transaction");
    assert!(
        one_fee > 0 && one_fee.abs_diff(three_fee) <= 1,
        "{one_fee} {three_fee}"
    );
    world.settle(&first);
    until("both are usable", || {
        [1, 3]
            .iter()
            .all(|n| ours.channel(ChannelNumber(*n)).is_some_and(|c| c.usable))
    });
    assert!(ours.pay(&first.invoice(1_000_000)).is_some());
    assert!(ours.pay(&second.invoice(1_000_000)).is_some());
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
