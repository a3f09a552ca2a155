//! What is paid to us.

use super::{
    world::{CHANNEL_SAT, World, terms},
    *,
};

/// Claims about invoices of ours.
pub const INVOICES: &[Row<dyn LightningRail>] = &[
    Row {
        claim: "a settlement has one invoice, byte for byte, for ever",
        check: one_invoice,
    },
    Row {
        claim: "what is paid to an invoice is told once, and both ends agree on what is whose",
        check: received,
    },
    Row {
        claim: "an invoice that was paid is not paid again: its second payer has its money back",
        check: paid_again,
    },
    Row {
        claim: "what was received is told again after a restart unless it was acknowledged",
        check: acknowledged,
    },
];

type Rail<'a> = World<'a, dyn LightningRail>;

const ONE: Settlement = Settlement([1; 16]);
const TWO: Settlement = Settlement([2; 16]);
const PAID_MSAT: u64 = 40_000_001;

fn one_invoice(world: &mut Rail<'_>) {
    let first = world.rail.invoice(ONE, terms(PAID_MSAT));
    let first = first.expect("it is new");
    assert_eq!(world.rail.invoice(ONE, terms(PAID_MSAT)), Ok(first.clone()));
    assert_eq!(
        world.rail.invoice(ONE, terms(PAID_MSAT + 1)),
        Err(Refusal::OtherTerms)
    );
    let second = world
        .rail
        .invoice(TWO, terms(PAID_MSAT))
        .expect("it is new");
    let hashes = [&first, &second].map(|text| world.rail.read(text).hash);
    assert_ne!(hashes[0], hashes[1]);
    world.rail.pass(2);
    world.rail.mine(1);
    world.restart();
    assert_eq!(world.rail.invoice(ONE, terms(PAID_MSAT)), Ok(first));
    assert_eq!(world.rail.invoice(TWO, terms(PAID_MSAT)), Ok(second));
}

fn is_received(settlement: Settlement) -> impl Fn(&Observation) -> bool {
    move |o| matches!(o, Observation::Received { settlement: Some(id), .. } if *id == settlement)
}

fn received(world: &mut Rail<'_>) {
    world.channel();
    world.give(2, 90_000_000);
    let text = world
        .rail
        .invoice(ONE, terms(PAID_MSAT))
        .expect("it is new");
    let hash = world.rail.read(&text).hash;
    world.rail.they_pay(Other::Peer, &text);
    let told = world.wait("it is received", is_received(ONE));
    let expected = Observation::Received {
        settlement: Some(ONE),
        hash,
        amount_msat: PAID_MSAT,
    };
    assert_eq!(told, expected);
    world.they_end(Other::Peer, hash, true);
    world.agreed(CHANNEL_SAT * 1_000 - 180_000_000 + PAID_MSAT);
    assert_eq!(world.count(is_received(ONE)), 1);
}

fn paid_again(world: &mut Rail<'_>) {
    world.channel();
    world.rail.reach_beyond();
    world.give(2, 90_000_000);
    let text = world
        .rail
        .invoice(ONE, terms(PAID_MSAT))
        .expect("it is new");
    let hash = world.rail.read(&text).hash;
    world.rail.they_pay(Other::Peer, &text);
    world.wait("it is received", is_received(ONE));
    world.they_end(Other::Peer, hash, true);
    world.quiet();
    world.rail.they_pay(Other::Beyond, &text);
    world.they_end(Other::Beyond, hash, false);
    world.quiet();
    // The way was there.
    let next = world
        .rail
        .invoice(TWO, terms(PAID_MSAT))
        .expect("it is new");
    world.rail.they_pay(Other::Beyond, &next);
    world.wait("the other is received", is_received(TWO));
    world.quiet();
    assert_eq!(world.count(is_received(ONE)), 1);
    let balance = world.rail.channels()[0].balance_msat;
    assert_eq!(balance, CHANNEL_SAT * 1_000 - 180_000_000 + 2 * PAID_MSAT);
    assert_eq!(world.rail.invoice(ONE, terms(PAID_MSAT)), Ok(text));
}

fn acknowledged(world: &mut Rail<'_>) {
    world.channel();
    world.give(2, 90_000_000);
    let texts = [ONE, TWO].map(|id| world.rail.invoice(id, terms(PAID_MSAT)));
    let [first, second] = texts.map(|text| text.expect("it is new"));
    world.rail.they_pay(Other::Peer, &first);
    world.wait("it is received", is_received(ONE));
    world.quiet();
    world.rail.acknowledge(false);
    world.rail.they_pay(Other::Peer, &second);
    world.wait("it is received", is_received(TWO));
    world.restart();
    world.until("it is told again", |world| {
        world.count(is_received(TWO)) >= 2
    });
    world.until("they are connected", |world| {
        world.rail.channels().iter().all(|c| c.usable)
    });
    assert_eq!(world.count(is_received(ONE)), 1);
    world.agreed(CHANNEL_SAT * 1_000 - 180_000_000 + 2 * PAID_MSAT);
}
