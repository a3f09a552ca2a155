//! Payments that are held for us until we take them or send them back.

use super::{
    world::{CHANNEL_SAT, World, hash_of, terms},
    *,
};

/// Claims about hold invoices.
pub const HOLDS: &[Row<dyn HoldRail>] = &[
    Row {
        claim: "a held payment is claimed, which is told once, or goes back",
        check: held,
    },
    Row {
        claim: "a held payment is held still after a restart",
        check: restarted,
    },
    Row {
        claim: "what is paid again while a payment is held goes back, and the first stays held",
        check: paid_again,
    },
    Row {
        claim: "a hash has one hold invoice, and only what has one is claimed or sent back",
        check: refused,
    },
];

type Rail<'a> = World<'a, dyn HoldRail>;

pub(super) const HELD_MSAT: u64 = 50_000_000;
pub(super) const BLOCKS: u16 = 200;
pub(super) fn is_held(hash: Hash32) -> impl Fn(&Observation) -> bool {
    move |o| matches!(o, Observation::Claimable { hash: h, .. } if *h == hash)
}

pub(super) fn is_returned(hash: Hash32) -> impl Fn(&Observation) -> bool {
    move |o| *o == Observation::Returned { hash }
}

pub(super) fn is_received(hash: Hash32) -> impl Fn(&Observation) -> bool {
    move |o| matches!(o, Observation::Received { hash: h, .. } if *h == hash)
}

pub(super) fn asked() -> Terms {
    Terms {
        final_cltv: BLOCKS,
        ..terms(HELD_MSAT)
    }
}

/// Ready to be paid by the peer.
pub(super) fn prepared<R: HoldRail + ?Sized>(world: &mut World<'_, R>) {
    world.channel();
    world.give(2, 90_000_000);
}

pub(super) const READY_MSAT: u64 = CHANNEL_SAT * 1_000 - 180_000_000;

/// The invoice of a payment of the peer's that is held, and its hash.
pub(super) fn hold<R: HoldRail + ?Sized>(
    world: &mut World<'_, R>,
    preimage: [u8; 32],
) -> (String, Hash32) {
    let hash = hash_of(preimage);
    let text = world.rail.hold_invoice(hash, asked()).expect("it is new");
    assert_eq!(world.rail.read(&text).hash, hash);
    world.rail.they_pay(Other::Peer, &text);
    match world.wait("it is held", is_held(hash)) {
        Observation::Claimable {
            amount_msat: HELD_MSAT,
            ..
        } => (text, hash),
        other => panic!("it is of another amount: {other:?}"),
    }
}

fn held(world: &mut Rail<'_>) {
    prepared(world);
    let (_, hash) = hold(world, [3; 32]);
    assert_eq!(
        world.rail.their_payment(Other::Peer, hash),
        Payment::Pending
    );
    assert_eq!(world.rail.claim([3; 32]), Ok(()));
    let told = world.wait("it is ours", is_received(hash));
    let expected = Observation::Received {
        settlement: None,
        hash,
        amount_msat: HELD_MSAT,
    };
    assert_eq!(told, expected);
    world.they_end(Other::Peer, hash, true);
    assert_eq!(world.rail.claim([3; 32]), Ok(()), "it changes nothing");
    world.agreed(READY_MSAT + HELD_MSAT);

    let (_, other) = hold(world, [4; 32]);
    assert_eq!(world.rail.give_back(other), Ok(()));
    world.wait("it went back", is_returned(other));
    world.they_end(Other::Peer, other, false);
    world.agreed(READY_MSAT + HELD_MSAT);
    assert_eq!(world.count(is_received(hash)), 1);
    assert_eq!(world.count(is_returned(hash)), 0);
    assert_eq!(world.count(is_received(other)), 0);
    assert_eq!(world.count(is_returned(other)), 1);
}

fn restarted(world: &mut Rail<'_>) {
    prepared(world);
    let (text, hash) = hold(world, [3; 32]);
    world.restart();
    world.until("they are connected", |world| {
        world.rail.channels().iter().all(|c| c.usable)
    });
    assert_eq!(world.rail.hold_invoice(hash, asked()), Ok(text));
    assert_eq!(world.rail.claim([3; 32]), Ok(()));
    world.wait("it is ours", is_received(hash));
    world.they_end(Other::Peer, hash, true);
    world.agreed(READY_MSAT + HELD_MSAT);
}

fn paid_again(world: &mut Rail<'_>) {
    prepared(world);
    world.rail.reach_beyond();
    let (text, hash) = hold(world, [3; 32]);
    world.rail.they_pay(Other::Beyond, &text);
    world.they_end(Other::Beyond, hash, false);
    assert_eq!(
        world.rail.their_payment(Other::Peer, hash),
        Payment::Pending
    );
    assert_eq!(world.rail.claim([3; 32]), Ok(()));
    world.wait("the first is ours", is_received(hash));
    world.they_end(Other::Peer, hash, true);
    world.quiet();
    let balance_msat = world.rail.channels()[0].balance_msat;
    assert_eq!(balance_msat, READY_MSAT + HELD_MSAT);
    assert_eq!(world.count(is_received(hash)), 1);
    assert_eq!(
        world.count(is_returned(hash)),
        0,
        "it was held all the while"
    );
}

fn refused(world: &mut Rail<'_>) {
    let hash = hash_of([1; 32]);
    let first = world.rail.hold_invoice(hash, asked()).expect("it is new");
    assert_eq!(world.rail.hold_invoice(hash, asked()), Ok(first));
    let other = terms(HELD_MSAT + 1);
    assert_eq!(
        world.rail.hold_invoice(hash, other),
        Err(Refusal::OtherTerms)
    );
    assert_eq!(world.rail.claim([9; 32]), Err(Refusal::UnknownInvoice));
    let unknown = hash_of([9; 32]);
    assert_eq!(world.rail.give_back(unknown), Err(Refusal::UnknownInvoice));
}
