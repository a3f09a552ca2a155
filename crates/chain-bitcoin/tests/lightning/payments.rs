//! Settlements in both directions.

use forebay_chain_bitcoin::Fault;
use forebay_chain_bitcoin::lightning::{Observation, PaymentStanding};

use crate::world::{World, hash_of, payment, terms, until};

#[test]
fn settlements_are_paid_in_both_directions_and_balances_agree() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    let channel = world.channel(&ours, &theirs, 1_000_000);

    let invoice = theirs.invoice(90_000_123);
    assert_eq!(
        ours.pay(&invoice),
        Some(0),
        "a direct channel costs nothing"
    );
    assert_eq!(
        ours.pay(&invoice),
        Some(0),
        "asked again, nothing is paid again"
    );

    let settlement = ours.invoice(1, 40_000_001);
    assert_eq!(
        settlement,
        ours.invoice(1, 40_000_001),
        "one invoice for ever"
    );
    let other = world.runtime.block_on(ours.node.invoice([1; 16], terms(5)));
    assert!(matches!(
        other,
        Err(Fault::InvoiceDiffers {
            amount_msat: 40_000_001
        })
    ));
    theirs.pay(&settlement);
    let received = ours.wait(
        "the settlement is received",
        |o| matches!(o, Observation::Received { settlement: Some(id), .. } if *id == [1; 16]),
    );
    assert_eq!(
        received,
        Observation::Received {
            settlement: Some([1; 16]),
            payer: 5,
            hash: hash_of(&settlement),
            amount_msat: 40_000_001,
        }
    );
    let left = 1_000_000_000 - 90_000_123 + 40_000_001;
    until("both agree on the balance", || {
        ours.channel(channel)
            .is_some_and(|c| c.balance_msat == left && c.pending == 0)
            && theirs.balance_msat() == 1_000_000_000 - left
    });
}

#[test]
fn a_payment_that_finds_no_room_or_no_way_fails_for_certain_and_may_be_tried_again() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    let stranger = world.theirs("stranger");
    let channel = world.channel(&ours, &theirs, 100_000);

    let limit = ours
        .channel(channel)
        .expect("it is open")
        .next_outbound_max_msat;
    let too_much = theirs.invoice(limit + 1);
    let refused = ours.node.pay(&payment(&too_much));
    assert!(matches!(refused, Err(Fault::NoRoute)), "{refused:?}");
    assert_eq!(
        ours.pay(&theirs.invoice(limit)),
        Some(0),
        "a msat less has room"
    );
    ours.quiet();
    let nowhere = stranger.invoice(1_000);
    let refused = ours.node.pay(&payment(&nowhere));
    assert!(matches!(refused, Err(Fault::NoRoute)), "{refused:?}");
    let standing = ours.node.payment(hash_of(&nowhere)).expect("readable");
    assert_eq!(standing, PaymentStanding::Unknown);

    ours.node.disconnect(theirs.id()).expect("a node id");
    let small = theirs.invoice(1_000_000);
    until("the peer is gone", || ours.node.connected().is_empty());
    let refused = ours.node.pay(&payment(&small));
    assert!(matches!(refused, Err(Fault::NoRoute)), "{refused:?}");
    ours.connect(&theirs);
    ours.quiet();
    assert_eq!(ours.pay(&small), Some(0), "the same invoice arrives later");
    let garbage = ours.node.pay(&payment("lnbcrt1"));
    assert!(matches!(garbage, Err(Fault::BadInvoice { .. })));
}

#[test]
fn a_way_over_a_channel_that_others_announced_is_found_and_its_fee_is_told() {
    let world = World::new();
    let (ours, first, second) = (
        world.ours("ours"),
        world.theirs("first"),
        world.theirs("second"),
    );
    let address = second.address.parse().expect("an address");
    first
        .node
        .open_announced_channel(second.node.node_id(), address, 500_000, None, None)
        .expect("the peer is there");
    until("the peers can use their channel", || {
        world.settle(&first);
        second.node.sync_wallets().expect("the peer sees blocks");
        first.node.list_channels().iter().any(|c| c.is_usable)
    });
    world.channel(&ours, &first, 1_000_000);
    let invoice = second.invoice(10_000_000);
    until("the announcement has come", || {
        !matches!(ours.node.pay(&payment(&invoice)), Err(Fault::NoRoute))
    });
    let end = ours.wait("it arrives", |o| {
        matches!(o, Observation::Sent { .. } | Observation::Failed { .. })
    });
    // ldk-node's fee for forwarding: 1,000 msat and nothing per amount.
    assert!(
        matches!(
            end,
            Observation::Sent {
                fee_msat: 1_000,
                ..
            }
        ),
        "{end:?}"
    );
}
