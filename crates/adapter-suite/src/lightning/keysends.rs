//! Payments without an invoice, whose preimage the payer makes.

use super::{
    holds::{HELD_MSAT, READY_MSAT, asked, is_held, is_received, is_returned, prepared},
    world::{CHANNEL_SAT, ROUTING_MAX_MSAT, World, hash_of, terms},
    *,
};
use sha2::{Digest, Sha256};

/// Claims about payments without an invoice.
pub const KEYSENDS: &[Row<dyn KeysendRail>] = &[
    Row {
        claim: "a keysend arrives, which is told once, and asked for again is one payment",
        check: arrives,
    },
    Row {
        claim: "a settlement has one keysend hash for ever, which nobody makes of the id alone",
        check: one_hash,
    },
    Row {
        claim: "a settlement is paid to one payee, in one amount",
        check: one_payee,
    },
    Row {
        claim: "a keysend without a way fails for certain, and arrives once there is one",
        check: no_way,
    },
    Row {
        claim: "a payment without an invoice goes back, also under the hash of a hold invoice, and nothing is told of it",
        check: under_held_hash,
    },
    Row {
        claim: "a keysend to us goes back, and nothing is told of it",
        check: comes_in,
    },
];

type Rail<'a> = World<'a, dyn KeysendRail>;

const ONE: Settlement = Settlement([1; 16]);
const TWO: Settlement = Settlement([2; 16]);
const PAID_MSAT: u64 = 40_000_001;

fn keysend(world: &mut Rail<'_>, settlement: Settlement) -> Result<Payment, Refusal> {
    let payee = world.rail.id(Other::Peer);
    world
        .rail
        .keysend(settlement, payee, PAID_MSAT, ROUTING_MAX_MSAT)
}

fn arrives(world: &mut Rail<'_>) {
    world.channel();
    let hash = world.rail.keysend_hash(ONE);
    assert_eq!(world.rail.payment(hash), Payment::Unknown);
    assert_eq!(keysend(world, ONE), Ok(Payment::Pending));
    let again = keysend(world, ONE);
    assert!(
        matches!(again, Ok(Payment::Pending | Payment::Sent { .. })),
        "{again:?}"
    );
    assert_eq!(world.end_of(hash), Some(0));
    world.until("the payee has it", |world| {
        world.rail.they_received(Other::Peer, hash) == Some(PAID_MSAT)
    });
    world.agreed(CHANNEL_SAT * 1_000 - PAID_MSAT);
    world.restart();
    world.quiet();
    let sent = Payment::Sent { fee_msat: 0 };
    assert_eq!(world.rail.payment(hash), sent);
    assert_eq!(keysend(world, ONE), Ok(sent));
    world.agreed(CHANNEL_SAT * 1_000 - PAID_MSAT);
    assert_eq!(world.ends_of(hash), 1);
}

fn one_hash(world: &mut Rail<'_>) {
    let hash = world.rail.keysend_hash(ONE);
    assert_eq!(world.rail.keysend_hash(ONE), hash);
    assert_ne!(world.rail.keysend_hash(TWO), hash);
    assert_ne!(world.rail.keysend_hash_of_another(ONE), hash);
    // What a hop could try that knows the id: the id itself and digests of it, as they are or filled up with zeros.
    let mut filled = [0; 32];
    filled[..16].copy_from_slice(&ONE.0);
    let guesses = [
        filled,
        Sha256::digest(ONE.0).into(),
        Sha256::digest(filled).into(),
    ];
    for guess in guesses {
        assert_ne!(Hash32(Sha256::digest(guess).into()), hash);
    }
    // Its preimage is not that of the invoice with the same id, which its payer learns.
    let invoice = world
        .rail
        .invoice(ONE, terms(PAID_MSAT))
        .expect("it is new");
    assert_ne!(world.rail.read(&invoice).hash, hash);
    world.restart();
    assert_eq!(world.rail.keysend_hash(ONE), hash);
}

fn one_payee(world: &mut Rail<'_>) {
    world.channel();
    assert_eq!(keysend(world, ONE), Ok(Payment::Pending));
    let hash = world.rail.keysend_hash(ONE);
    assert_eq!(world.end_of(hash), Some(0));
    let (peer, beyond) = (world.rail.id(Other::Peer), world.rail.id(Other::Beyond));
    for (payee, amount_msat) in [(beyond, PAID_MSAT), (peer, PAID_MSAT + 1)] {
        let other = world
            .rail
            .keysend(ONE, payee, amount_msat, ROUTING_MAX_MSAT);
        assert_eq!(other, Err(Refusal::OtherTerms));
    }
    // The first payee of one that has failed knows its preimage as well.
    world.rail.connected(false);
    assert_eq!(keysend(world, TWO), Err(Refusal::NoRoute));
    world.rail.connected(true);
    world.quiet();
    let other = world.rail.keysend(TWO, beyond, PAID_MSAT, ROUTING_MAX_MSAT);
    assert_eq!(other, Err(Refusal::OtherTerms));
    world.agreed(CHANNEL_SAT * 1_000 - PAID_MSAT);
}

fn no_way(world: &mut Rail<'_>) {
    world.channel();
    let hash = world.rail.keysend_hash(ONE);
    world.rail.connected(false);
    assert_eq!(keysend(world, ONE), Err(Refusal::NoRoute));
    assert_eq!(world.rail.payment(hash), Payment::Unknown);
    world.rail.connected(true);
    world.quiet();
    assert_eq!(keysend(world, ONE), Ok(Payment::Pending));
    assert_eq!(world.end_of(hash), Some(0));
    world.agreed(CHANNEL_SAT * 1_000 - PAID_MSAT);
}

fn comes_in(world: &mut Rail<'_>) {
    world.channel();
    world.give(2, 90_000_000);
    let hash = world.rail.they_keysend(PAID_MSAT, [8; 32]);
    world.they_end(Other::Peer, hash, false);
    world.agreed(CHANNEL_SAT * 1_000 - 180_000_000);
    // An invoice over as much is received, by the same way.
    let invoice = world
        .rail
        .invoice(ONE, terms(PAID_MSAT))
        .expect("it is new");
    world.rail.they_pay(Other::Peer, &invoice);
    world.they_end(Other::Peer, world.rail.read(&invoice).hash, true);
    world.agreed(CHANNEL_SAT * 1_000 - 180_000_000 + PAID_MSAT);
    let told = |o: &Observation| {
        matches!(
            o,
            Observation::Received { .. }
                | Observation::Claimable { .. }
                | Observation::Returned { .. }
        )
    };
    assert_eq!(world.count(told), 1, "the invoice's payment alone");
}

fn under_held_hash(world: &mut Rail<'_>) {
    prepared(world);
    let hash = hash_of([3; 32]);
    let invoice = world.rail.hold_invoice(hash, asked());
    assert!(invoice.is_ok(), "{invoice:?}");
    assert_eq!(world.rail.they_keysend(HELD_MSAT, [3; 32]), hash);
    world.they_end(Other::Peer, hash, false);
    world.agreed(READY_MSAT);
    assert_eq!(world.count(is_held(hash)), 0);
    assert_eq!(world.count(is_returned(hash)), 0);
    assert_eq!(world.count(is_received(hash)), 0);
}
