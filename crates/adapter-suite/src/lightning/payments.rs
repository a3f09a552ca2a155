//! What we pay.

use super::{
    world::{CHANNEL, CHANNEL_SAT, HELD_MSAT, ROUTING_MAX_MSAT, World, ends},
    *,
};

/// Claims about payments of ours.
pub const PAYMENTS: &[Row<dyn LightningRail>] = &[
    Row {
        claim: "a payment arrives, which is told once, and both ends agree on what is whose",
        check: arrives,
    },
    Row {
        claim: "a payment that is asked for again is one payment",
        check: once,
    },
    Row {
        claim: "more than a channel can send fails for certain and changes nothing, and a msat less arrives",
        check: beyond_capacity,
    },
    Row {
        claim: "a payment to a peer that is away fails for certain, and arrives once it is back",
        check: peer_away,
    },
    Row {
        claim: "a way that costs more than is allowed is not taken, and one that costs as much is, with its fee told",
        check: fee_bound,
    },
    Row {
        claim: "an invoice that has expired is not paid",
        check: expired,
    },
    Row {
        claim: "a payment that its payee sends back has failed for certain, and may be tried again",
        check: sent_back,
    },
    Row {
        claim: "how a payment stands is told by its hash, under way and at its end, and after restarts",
        check: by_hash,
    },
    Row {
        claim: "an end that was not acknowledged is told again after a restart, and one that was is not",
        check: acknowledged,
    },
];

type Rail<'a> = World<'a, dyn LightningRail>;

fn arrives(world: &mut Rail<'_>) {
    world.channel();
    let invoice = world.their_invoice(90_000_123);
    let read = world.rail.read(&invoice);
    assert_eq!(read.amount_msat, 90_000_123);
    assert_eq!(read.payee, world.rail.id(Other::Peer));
    assert_eq!(
        world.pay(&invoice),
        Some(0),
        "a direct channel costs nothing"
    );
    assert_eq!(
        world.rail.they_received(Other::Peer, read.hash),
        Some(90_000_123)
    );
    world.agreed(CHANNEL_SAT * 1_000 - 90_000_123);
    assert_eq!(world.ends_of(read.hash), 1);
}

fn once(world: &mut Rail<'_>) {
    world.channel();
    let invoice = world.their_invoice(50_000_000);
    let hash = world.rail.read(&invoice).hash;
    assert_eq!(
        world.rail.pay(&invoice, ROUTING_MAX_MSAT),
        Ok(Payment::Pending)
    );
    // Both while it is under way and after it has arrived.
    let again = world.rail.pay(&invoice, ROUTING_MAX_MSAT);
    assert!(
        matches!(again, Ok(Payment::Pending | Payment::Sent { .. })),
        "{again:?}"
    );
    assert_eq!(world.end_of(hash), Some(0));
    world.until("it stands as sent", |world| {
        world.rail.pay(&invoice, ROUTING_MAX_MSAT) == Ok(Payment::Sent { fee_msat: 0 })
    });
    world.give(1, 1_000_000);
    world.agreed(CHANNEL_SAT * 1_000 - 51_000_000);
    assert_eq!(world.ends_of(hash), 1);
}

fn beyond_capacity(world: &mut Rail<'_>) {
    world.channel();
    let before = world.rail.channels();
    let max_msat = before[0].next_max_msat;
    let too_much = world.their_invoice(max_msat + 1);
    let hash = world.rail.read(&too_much).hash;
    assert_eq!(
        world.rail.pay(&too_much, ROUTING_MAX_MSAT),
        Err(Refusal::NoRoute)
    );
    assert_eq!(world.rail.channels(), before);
    assert_eq!(world.rail.payment(hash), Payment::Unknown);
    let just_right = world.their_invoice(max_msat);
    assert_eq!(world.pay(&just_right), Some(0));
    world.agreed(CHANNEL_SAT * 1_000 - max_msat);
    assert_eq!(world.ends_of(hash), 0);
}

fn peer_away(world: &mut Rail<'_>) {
    world.channel();
    let invoice = world.their_invoice(1_000_000);
    let hash = world.rail.read(&invoice).hash;
    world.rail.connected(false);
    assert_eq!(
        world.rail.pay(&invoice, ROUTING_MAX_MSAT),
        Err(Refusal::NoRoute)
    );
    assert_eq!(world.rail.payment(hash), Payment::Unknown);
    world.rail.connected(true);
    world.quiet();
    assert_eq!(world.pay(&invoice), Some(0));
    world.agreed(CHANNEL_SAT * 1_000 - 1_000_000);
}

fn fee_bound(world: &mut Rail<'_>) {
    world.channel();
    world.rail.reach_beyond();
    let near = world.rail.their_invoice(Other::Beyond, 10_000_000, 3_600);
    let dear = world.rail.their_invoice(Other::Beyond, 10_000_000, 3_600);
    let dear_hash = world.rail.read(&dear).hash;
    world.until("the way is known", |world| {
        let begun = world.rail.pay(&near, FORWARDING_FEE_MSAT);
        assert!(
            matches!(begun, Ok(Payment::Pending) | Err(Refusal::NoRoute)),
            "{begun:?}"
        );
        begun.is_ok()
    });
    let near_hash = world.rail.read(&near).hash;
    assert_eq!(world.end_of(near_hash), Some(FORWARDING_FEE_MSAT));
    assert_eq!(
        world.rail.they_received(Other::Beyond, near_hash),
        Some(10_000_000)
    );
    world.quiet();
    assert_eq!(
        world.rail.pay(&dear, FORWARDING_FEE_MSAT - 1),
        Err(Refusal::NoRoute)
    );
    assert_eq!(world.rail.payment(dear_hash), Payment::Unknown);
    assert_eq!(
        world.standing(CHANNEL).map(|c| c.balance_msat),
        Some(CHANNEL_SAT * 1_000 - 10_000_000 - FORWARDING_FEE_MSAT)
    );
    assert_eq!(
        world.pay(&dear),
        Some(FORWARDING_FEE_MSAT),
        "it was the fee"
    );
}

fn expired(world: &mut Rail<'_>) {
    world.channel();
    let invoice = world.rail.their_invoice(Other::Peer, 1_000_000, 1);
    let hash = world.rail.read(&invoice).hash;
    world.rail.pass(2);
    assert_eq!(
        world.rail.pay(&invoice, ROUTING_MAX_MSAT),
        Err(Refusal::InvoiceExpired)
    );
    assert_eq!(world.rail.payment(hash), Payment::Unknown);
    world.agreed(CHANNEL_SAT * 1_000);
}

fn sent_back(world: &mut Rail<'_>) {
    world.channel();
    let (invoice, hash) = world.held_by_peer([5; 32], 3_600);
    world.rail.they_return(hash);
    assert_eq!(world.end_of(hash), None);
    world.until("it stands as failed", |world| {
        world.rail.payment(hash) == Payment::Failed
    });
    world.agreed(CHANNEL_SAT * 1_000);
    world.pay_and_hold(&invoice);
    assert_eq!(world.rail.payment(hash), Payment::Pending);
    world.rail.they_claim([5; 32]);
    world.wait(
        "it arrives",
        |o| matches!(o, Observation::Sent { hash: h, .. } if *h == hash),
    );
    assert_eq!(world.ends_of(hash), 2, "failed, and then sent");
    world.agreed(CHANNEL_SAT * 1_000 - HELD_MSAT);
}

fn by_hash(world: &mut Rail<'_>) {
    world.channel();
    let (_, hash) = world.held_by_peer([6; 32], 3_600);
    assert_eq!(world.rail.payment(hash), Payment::Pending);
    world.restart();
    assert_eq!(world.rail.payment(hash), Payment::Pending);
    assert_eq!(world.rail.payment(Hash32([1; 32])), Payment::Unknown);
    world.until("they are connected", |world| {
        world.standing(CHANNEL).is_some_and(|c| c.usable)
    });
    world.rail.they_claim([6; 32]);
    assert_eq!(world.end_of(hash), Some(0));
    world.quiet();
    world.restart();
    assert_eq!(world.rail.payment(hash), Payment::Sent { fee_msat: 0 });
    world.agreed(CHANNEL_SAT * 1_000 - HELD_MSAT);
    assert_eq!(world.ends_of(hash), 1);
}

fn acknowledged(world: &mut Rail<'_>) {
    world.channel();
    let kept = world.their_invoice(1_000_000);
    assert_eq!(world.pay(&kept), Some(0));
    world.quiet();
    world.rail.acknowledge(false);
    let told = world.their_invoice(2_000_000);
    assert_eq!(world.pay(&told), Some(0));
    world.restart();
    let (kept, told) = (world.rail.read(&kept).hash, world.rail.read(&told).hash);
    world.until("it is told again", |world| world.ends_of(told) >= 2);
    world.until("they are connected", |world| {
        world.standing(CHANNEL).is_some_and(|c| c.usable)
    });
    // What is told now is acknowledged, and told no more.
    world.quiet();
    let so_far = world.count(|o| ends(o, told));
    world.restart();
    world.give(1, 1_000_000);
    assert_eq!(world.ends_of(told), so_far);
    assert_eq!(world.ends_of(kept), 1);
    assert_eq!(world.count(|o| matches!(o, Observation::Ready { .. })), 1);
    for hash in [kept, told] {
        assert_eq!(world.rail.payment(hash), Payment::Sent { fee_msat: 0 });
    }
}
