//! A payment of ours that its payee neither takes nor gives back.

use std::time::Duration;

use bitcoin::hashes::{Hash, sha256};
use forebay_chain_bitcoin::Fault;
use forebay_chain_bitcoin::lightning::{Observation, PaymentStanding};
use ldk_node::lightning_invoice::{Bolt11InvoiceDescription, Description};
use ldk_node::lightning_types::payment::PaymentHash;

use crate::world::{World, hash_of, payment, until};

const CHANNEL_SAT: u64 = 500_000;
const PAID_MSAT: u64 = 40_000_000;
/// What miners get at most, who are bid more with every few blocks; less than was paid, so that this is seen to come back.
const FEES_MAX_SAT: u64 = 36_000;
/// Shorter than the payment is stuck.
const EXPIRY_S: u32 = 2;

#[test]
fn a_payment_that_the_peer_holds_ends_on_chain_and_is_not_paid_again_under_its_expired_invoice() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    world.channel(&ours, &theirs, CHANNEL_SAT);
    let address = ours.wallet.address();
    let coins = world.unspent_at(&address);
    let hash = sha256::Hash::hash(&[5; 32]).to_byte_array();
    let description = Bolt11InvoiceDescription::Direct(Description::empty());
    let invoice = theirs
        .node
        .bolt11_payment()
        .receive_for_hash(PAID_MSAT, &description, EXPIRY_S, PaymentHash(hash))
        .expect("an invoice")
        .to_string();
    assert_eq!(hash_of(&invoice), hash);
    ours.node.pay(&payment(&invoice)).expect("there is room");
    until("the peer holds it", || {
        let channels = theirs.node.list_channels();
        channels
            .iter()
            .any(|c| c.inbound_capacity_msat + PAID_MSAT <= CHANNEL_SAT * 1_000)
            && ours.node.channels().is_ok_and(|c| c[0].pending == 1)
    });
    drop(theirs);
    std::thread::sleep(Duration::from_secs(u64::from(EXPIRY_S) + 1));
    assert_eq!(
        ours.node.payment(hash).expect("readable"),
        PaymentStanding::Pending
    );
    assert_eq!(
        ours.node.pay(&payment(&invoice)).expect("it is under way"),
        PaymentStanding::Pending,
        "asked again, nothing leaves"
    );

    // No part of it is given up before the chain has taken it back.
    let failed = || {
        ours.told()
            .iter()
            .any(|o| matches!(o, Observation::Failed { hash: h, .. } if *h == hash))
    };
    until("the payment has failed for certain", || {
        world.mine(6);
        std::thread::sleep(Duration::from_millis(300));
        failed()
    });
    assert_eq!(
        ours.node.payment(hash).expect("readable"),
        PaymentStanding::Failed
    );
    let again = ours.node.pay(&payment(&invoice));
    assert!(matches!(again, Err(Fault::InvoiceExpired)), "{again:?}");
    until("all the money is back", || {
        world.mine(6);
        std::thread::sleep(Duration::from_millis(300));
        world.unspent_at(&address) + FEES_MAX_SAT > coins + CHANNEL_SAT
    });
    assert!(
        !ours
            .told()
            .iter()
            .any(|o| matches!(o, Observation::Sent { .. }))
    );
}
