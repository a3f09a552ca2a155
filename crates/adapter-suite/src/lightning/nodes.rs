//! What a node does and the fake of a pool's world leaves out: transactions that are shared, ways that are not there, and
//! all that is locked by the height of the chain.

use super::{
    holds::{BLOCKS, READY_MSAT, hold, is_held, is_returned, prepared},
    world::{
        CHANNEL, CHANNEL_SAT, FEE_MAX_SAT, HELD_MSAT, MINERS_MAX_SAT, ROUTING_MAX_MSAT, World,
        hash_of, terms,
    },
    *,
};

/// Claims about whole nodes.
pub const NODES: &[Row<dyn NodeRail>] = &[
    Row {
        claim: "channels that are opened together share one transaction, and one that cannot be leaves the others",
        check: batch,
    },
    Row {
        claim: "a payment without a way fails for certain, and what has no amount or no form is none",
        check: no_way,
    },
    Row {
        claim: "an invoice leaves exactly as many blocks as were asked for, and too few are refused",
        check: final_cltv,
    },
    Row {
        claim: "a held payment leaves as many blocks as were asked for, and goes back by itself after them",
        check: deadline,
    },
    Row {
        claim: "a payment that its payee neither takes nor sends back ends on chain, and never again under its expired invoice",
        check: stuck,
    },
    Row {
        claim: "a channel that we close alone brings back what was ours after its delay",
        check: close_alone,
    },
    Row {
        claim: "a channel that the peer closes alone brings back what was ours",
        check: peer_closes_alone,
    },
];

type Rail<'a> = World<'a, dyn NodeRail>;

/// Blocks that LDK keeps of them: it sends a payment back 39 blocks before its end, and 3 may be found while it is under way.
const KEPT_MAX: u32 = 42;

fn batch(world: &mut Rail<'_>) {
    world.rail.fund(2_000_000);
    let with = |channel, with| Opening {
        channel,
        with,
        value_sat: 300_000,
        fee_max_sat: FEE_MAX_SAT,
    };
    let outcomes = world.rail.open(&[
        with(Channel(1), Other::Peer),
        // We are not connected to it.
        with(Channel(2), Other::Beyond),
        with(Channel(3), Other::Peer),
    ]);
    assert_eq!(outcomes, [Ok(()), Err(Refusal::PeerOffline), Ok(())]);
    let (one, one_fee_sat) = world.funding(Channel(1));
    let (three, three_fee_sat) = world.funding(Channel(3));
    assert!(one.is_some() && one == three, "one transaction");
    assert!(
        one_fee_sat > 0 && one_fee_sat.abs_diff(three_fee_sat) <= 1,
        "{one_fee_sat} {three_fee_sat}"
    );
    world.usable(Channel(1));
    world.usable(Channel(3));
    assert_eq!(
        world.rail.unspent_sat(),
        2_000_000 - 600_000 - one_fee_sat - three_fee_sat
    );
    // More than one of them carries.
    for _ in 0..12 {
        let invoice = world.their_invoice(28_000_000);
        assert!(world.pay(&invoice).is_some());
        world.quiet();
    }
    assert_eq!(world.standing(Channel(2)), None);
}

fn no_way(world: &mut Rail<'_>) {
    world.channel();
    // Nobody has a channel with it.
    let nowhere = world.rail.their_invoice(Other::Beyond, 1_000, 3_600);
    let hash = world.rail.read(&nowhere).hash;
    assert_eq!(
        world.rail.pay(&nowhere, ROUTING_MAX_MSAT),
        Err(Refusal::NoRoute)
    );
    assert_eq!(world.rail.payment(hash), Payment::Unknown);
    assert_eq!(
        world.rail.pay("lnbcrt1", ROUTING_MAX_MSAT),
        Err(Refusal::BadInvoice)
    );
    assert_eq!(world.rail.channels()[0].pending, 0);
    world.agreed(CHANNEL_SAT * 1_000);
}

fn final_cltv(world: &mut Rail<'_>) {
    for (settlement, blocks) in [(Settlement([1; 16]), 42), (Settlement([2; 16]), 300)] {
        let asked = Terms {
            final_cltv: blocks,
            ..terms(HELD_MSAT)
        };
        let text = world.rail.invoice(settlement, asked).expect("it is new");
        assert_eq!(world.rail.final_cltv(&text), u64::from(blocks));
    }
    let short = Terms {
        final_cltv: 41,
        ..terms(HELD_MSAT)
    };
    let third = world.rail.invoice(Settlement([3; 16]), short);
    assert_eq!(third, Err(Refusal::BadInvoice));
    let held = world.rail.hold_invoice(hash_of([3; 32]), short);
    assert_eq!(held, Err(Refusal::BadInvoice));
}

fn deadline(world: &mut Rail<'_>) {
    prepared(world);
    let (_, hash) = hold(world, [3; 32]);
    let told = world.wait("it was held", is_held(hash));
    let Observation::Claimable {
        deadline_height: Some(deadline_height),
        ..
    } = told
    else {
        panic!("it has an end: {told:?}");
    };
    let height = world.rail.height();
    let least = height + u32::from(BLOCKS) - KEPT_MAX;
    assert!(deadline_height >= least, "{deadline_height} < {least}");
    world.rail.mine(deadline_height - height - 1);
    assert_eq!(world.count(is_returned(hash)), 0);
    assert_eq!(
        world.rail.their_payment(Other::Peer, hash),
        Payment::Pending
    );
    world.until("it went back", |world| {
        if world.count(is_returned(hash)) == 1 {
            return true;
        }
        if world.rail.height() < deadline_height + 1 {
            world.rail.mine(1);
        }
        false
    });
    world.they_end(Other::Peer, hash, false);
    world.agreed(READY_MSAT);
}

/// Less than what was paid, so that this is seen to come back: miners are bid more with every few blocks.
const STUCK_FEES_MAX_SAT: u64 = 36_000;

fn stuck(world: &mut Rail<'_>) {
    world.channel();
    let coins = world.rail.unspent_sat();
    let (invoice, hash) = world.held_by_peer([5; 32], 2);
    world.rail.connected(false);
    world.rail.pass(3);
    assert_eq!(world.rail.payment(hash), Payment::Pending);
    assert_eq!(
        world.rail.pay(&invoice, ROUTING_MAX_MSAT),
        Ok(Payment::Pending),
        "asked again, nothing leaves"
    );
    // No part of it is given up before the chain has taken it back.
    let height = world.rail.height();
    world.until_mined("the payment has failed for certain", 6, |world| {
        world.ends_of(hash) == 1
    });
    let blocks = world.rail.height() - height;
    assert!(blocks > 40, "it is given up after {blocks} blocks already");
    assert_eq!(world.end_of(hash), None);
    assert_eq!(world.rail.payment(hash), Payment::Failed);
    assert_eq!(
        world.rail.pay(&invoice, ROUTING_MAX_MSAT),
        Err(Refusal::InvoiceExpired)
    );
    world.until_mined("all the money is back", 6, |world| {
        world.rail.unspent_sat() + STUCK_FEES_MAX_SAT > coins + CHANNEL_SAT
    });
    assert_eq!(world.ends_of(hash), 1);
}

fn close_alone(world: &mut Rail<'_>) {
    world.channel();
    world.give(1, 50_000_000);
    let before = world.rail.unspent_sat();
    world.rail.connected(false);
    let together = world.rail.close(CHANNEL, FEE_MAX_SAT);
    assert_eq!(together, Err(Refusal::PeerOffline));
    assert_eq!(world.rail.close_alone(CHANNEL), Ok(()));
    world.closed_with(CHANNEL, CHANNEL_SAT * 1_000 - 50_000_000);
    world.until_mined("the money is back", 6, |world| {
        world.rail.unspent_sat() + MINERS_MAX_SAT > before + CHANNEL_SAT - 50_000
    });
    let value_sat = world.all_back(CHANNEL);
    let most = CHANNEL_SAT - 50_000;
    assert!(
        value_sat < most && value_sat + MINERS_MAX_SAT > most,
        "{value_sat}"
    );
    assert_eq!(world.rail.unspent_sat() - before, value_sat);
    let again = world.rail.close_alone(CHANNEL);
    assert_eq!(again, Err(Refusal::UnknownChannel));
}

fn peer_closes_alone(world: &mut Rail<'_>) {
    world.channel();
    world.give(1, 50_000_000);
    let before = world.rail.unspent_sat();
    world.rail.peer_closes_alone();
    world.closed_with(CHANNEL, CHANNEL_SAT * 1_000 - 50_000_000);
    let most = CHANNEL_SAT - 50_000;
    world.until_mined("the money is back", 6, |world| {
        world.rail.unspent_sat() + MINERS_MAX_SAT > before + most
    });
    let value_sat = world.all_back(CHANNEL);
    assert!(value_sat < most && value_sat > most - MINERS_MAX_SAT);
    assert_eq!(world.rail.unspent_sat() - before, value_sat);
}
