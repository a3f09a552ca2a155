//! Hold invoices, with a final CLTV of days.

use bitcoin::hashes::{Hash, sha256};
use forebay_chain_bitcoin::Fault;
use forebay_chain_bitcoin::lightning::{InvoiceTerms, Observation};
use ldk_node::payment::PaymentStatus;

use crate::world::{Ours, Theirs, World, hash_of, terms, until};

const BLOCKS: u16 = 200;

fn held(ours: &Ours, theirs: &Theirs, preimage: [u8; 32]) -> ([u8; 32], u32) {
    let hash = sha256::Hash::hash(&preimage).to_byte_array();
    let terms = InvoiceTerms {
        final_cltv: BLOCKS,
        ..terms(50_000_000)
    };
    let invoice = ours.hold_invoice(hash, terms);
    assert_eq!(hash_of(&invoice), hash);
    theirs.pay(&invoice);
    let told = ours.wait(
        "the payment is held",
        |o| matches!(o, Observation::Claimable { hash: h, .. } if *h == hash),
    );
    let Observation::Claimable {
        payer,
        amount_msat,
        deadline_height,
        ..
    } = told
    else {
        unreachable!("it was asked for");
    };
    assert_eq!((payer, amount_msat), (5, 50_000_000));
    (hash, deadline_height)
}

fn status(theirs: &Theirs, hash: [u8; 32]) -> PaymentStatus {
    use ldk_node::payment::PaymentKind;
    let found = theirs.node.list_payments_with_filter(
        |p| matches!(p.kind, PaymentKind::Bolt11 { hash: h, .. } if h.0 == hash),
    );
    found.first().expect("it was paid").status
}

#[test]
fn a_held_payment_is_claimed_or_failed_and_leaves_as_many_blocks_as_were_asked_for() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    let channel = world.channel(&ours, &theirs, 1_000_000);
    ours.give(&theirs, 4, 90_000_000);

    let (hash, deadline) = held(&ours, &theirs, [3; 32]);
    // LDK gives a payment back 39 blocks before its end, and asks for 3 that may be found while it is under way.
    let least = world.height() + u32::from(BLOCKS) - 42;
    assert!(deadline >= least, "{deadline} is before {least}");
    assert_eq!(status(&theirs, hash), PaymentStatus::Pending);
    ours.node.claim([3; 32]).expect("it is held");
    ours.wait("it is ours", |o| {
        matches!(o, Observation::Received { settlement: None, hash: h, amount_msat: 50_000_000, .. } if *h == hash)
    });
    until("they have the proof", || {
        status(&theirs, hash) == PaymentStatus::Succeeded
    });
    ours.node
        .claim([3; 32])
        .expect("asking again changes nothing");

    let (hash, _) = held(&ours, &theirs, [4; 32]);
    ours.node.fail(hash).expect("it is held");
    ours.wait("it went back", |o| *o == Observation::Returned { hash });
    until("they have it back", || {
        status(&theirs, hash) == PaymentStatus::Failed
    });

    until("both agree on the balance", || {
        ours.channel(channel)
            .is_some_and(|c| c.balance_msat == 690_000_000 && c.pending == 0)
            && theirs.balance_msat() == 310_000_000
    });
}

#[test]
fn a_held_payment_is_still_held_after_a_restart() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    world.channel(&ours, &theirs, 1_000_000);
    ours.give(&theirs, 1, 90_000_000);
    let (hash, _) = held(&ours, &theirs, [3; 32]);
    ours.stop();
    let ours = world.ours("ours");
    ours.connect(&theirs);
    ours.node.claim([3; 32]).expect("it is held");
    ours.wait(
        "it is ours",
        |o| matches!(o, Observation::Received { hash: h, .. } if *h == hash),
    );
    until("they have the proof", || {
        status(&theirs, hash) == PaymentStatus::Succeeded
    });
    let held_again = ours
        .told()
        .iter()
        .any(|o| matches!(o, Observation::Claimable { .. }));
    assert!(!held_again, "that was acknowledged");
}

#[test]
fn terms_that_cannot_be_kept_are_refused() {
    let world = World::new();
    let ours = world.ours("ours");
    let ask = |hash, terms| {
        world
            .runtime
            .block_on(ours.node.invoice_for_hash(hash, terms))
    };
    let short = InvoiceTerms {
        final_cltv: 41,
        ..terms(1_000)
    };
    assert!(matches!(ask([1; 32], short), Err(Fault::BadInvoice { .. })));
    let first = ask([1; 32], terms(1_000)).expect("42 blocks and more are enough");
    assert_eq!(ask([1; 32], terms(1_000)).expect("the same"), first);
    assert!(matches!(
        ask([1; 32], terms(2_000)),
        Err(Fault::InvoiceDiffers { .. })
    ));
    assert!(matches!(
        ours.node.claim([9; 32]),
        Err(Fault::UnknownInvoice)
    ));
    assert!(matches!(
        ours.node.fail([9; 32]),
        Err(Fault::UnknownInvoice)
    ));
}
