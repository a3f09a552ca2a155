//! What closed channels cost, booked from what the node reports and held against what bitcoind says is unspent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bitcoin::hashes::{Hash, sha256};
use forebay_chain_bitcoin::lightning::{ChannelNumber, Closing, Observation};
use ldk_node::Event;
use ldk_node::lightning_invoice::{Bolt11InvoiceDescription, Description};
use ldk_node::lightning_types::payment::{PaymentHash, PaymentPreimage};

use crate::world::{Ours, Theirs, World, hash_of, payment, terms, until, until_equal};

const CHANNEL_SAT: u64 = 1_000_000;

/// A pool's books in small: what came in, less what is reported to have been paid.
struct Books {
    msat: i128,
    sent_msat: BTreeMap<[u8; 32], u64>,
    taken: BTreeSet<String>,
}

impl Books {
    fn of(sat: u64) -> Self {
        Self {
            msat: i128::from(sat) * 1_000,
            sent_msat: BTreeMap::new(),
            taken: BTreeSet::new(),
        }
    }

    /// That this is paid when it arrives.
    fn pays(&mut self, invoice: &str, msat: u64) {
        self.sent_msat.insert(hash_of(invoice), msat);
    }

    /// Each report counts once, as in the pool.
    fn take(&mut self, told: &[Observation]) {
        for observation in told {
            if !self.taken.insert(format!("{observation:?}")) {
                continue;
            }
            let less = |sat: u64| -i128::from(sat) * 1_000;
            self.msat += match observation {
                Observation::ChannelPending { fee_sat, .. }
                | Observation::ClosingPaid { fee_sat, .. } => less(*fee_sat),
                Observation::SplicePending { fee_sat, .. } => less(fee_sat.expect("it is known")),
                Observation::Received { amount_msat, .. } => i128::from(*amount_msat),
                Observation::Sent { hash, fee_msat, .. } => {
                    -i128::from(self.sent_msat[hash] + fee_msat)
                }
                Observation::ChannelReturned {
                    cost_msat,
                    gain_msat,
                    ..
                } => i128::from(*gain_msat) - i128::from(*cost_msat),
                _ => 0,
            };
        }
    }
}

/// Pays them, and has it in the books.
fn give(books: &mut Books, ours: &Ours, theirs: &Theirs, msat: u64) {
    ours.quiet();
    let invoice = theirs.invoice(msat);
    books.pays(&invoice, msat);
    assert_eq!(ours.pay(&invoice), Some(0));
    ours.quiet();
}

/// Waits until the other end reports this.
fn they_say(theirs: &Theirs, what: &str, is_it: impl Fn(&Event) -> bool) {
    until(what, || {
        let Some(event) = theirs.node.next_event() else {
            return false;
        };
        theirs.node.event_handled().expect("their store takes it");
        is_it(&event)
    });
}

/// A payment of ours that they hold.
fn held_by_them(books: &mut Books, ours: &Ours, theirs: &Theirs, number: u8, msat: u64) {
    let hash = sha256::Hash::hash(&[number; 32]).to_byte_array();
    let description = Bolt11InvoiceDescription::Direct(Description::empty());
    let invoice = theirs
        .node
        .bolt11_payment()
        .receive_for_hash(msat, &description, 3_600, PaymentHash(hash))
        .expect("an invoice")
        .to_string();
    books.pays(&invoice, msat);
    let before = ours.node.channels().expect("readable")[0].pending;
    ours.node.pay(&payment(&invoice)).expect("there is room");
    until("it is under way", || {
        ours.node.channels().expect("readable")[0].pending == before + 1
    });
    they_say(
        theirs,
        "they hold it",
        |event| matches!(event, Event::PaymentClaimable { payment_hash, .. } if payment_hash.0 == hash),
    );
}

/// A payment of theirs that we hold.
fn held_by_us(world: &World, ours: &Ours, theirs: &Theirs, number: u8, msat: u64) -> [u8; 32] {
    let hash = sha256::Hash::hash(&[number; 32]).to_byte_array();
    let asked = ours.node.invoice_for_hash(hash, terms(msat));
    let invoice = world.runtime.block_on(asked).expect("an invoice");
    theirs.pay(&invoice);
    ours.wait(
        "it is held",
        |o| matches!(o, Observation::Claimable { hash: h, .. } if *h == hash),
    );
    hash
}

fn claim(theirs: &Theirs, number: u8, msat: u64) {
    let hash = sha256::Hash::hash(&[number; 32]).to_byte_array();
    let claimed = theirs.node.bolt11_payment().claim_for_hash(
        PaymentHash(hash),
        msat,
        PaymentPreimage([number; 32]),
    );
    claimed.expect("it is held");
}

/// Makes blocks until what they claim on chain has been seen: before its time is up, and their node looks at the chain now and
/// then.
fn claimed_by_them(world: &World, ours: &Ours, theirs: &Theirs) {
    let sent = || {
        let told = ours.told();
        let sent = told
            .iter()
            .filter(|o| matches!(o, Observation::Sent { .. }));
        sent.count()
    };
    assert_eq!(sent(), 3, "those before the closing");
    until("they have claimed it on chain", || {
        std::thread::sleep(Duration::from_secs(1));
        world.mine(1);
        theirs.node.sync_wallets().expect("the peer sees blocks");
        sent() == 4
    });
}

fn has_returned(ours: &Ours, channel: ChannelNumber) -> bool {
    let told = ours.told();
    told.iter()
        .any(|o| matches!(o, Observation::ChannelReturned { channel: c, .. } if *c == channel))
}

/// Makes blocks until nothing more comes of the channel.
fn resolve(world: &World, ours: &Ours, channel: ChannelNumber) {
    until("all of the channel's money is back", || {
        world.mine(3);
        let height = world.height();
        until("the node knows the chain", || ours.node.height() == height);
        std::thread::sleep(Duration::from_millis(150));
        has_returned(ours, channel)
    });
}

fn assert_whole(world: &World, ours: &Ours, books: &mut Books) {
    books.take(&ours.told());
    let address = ours.wallet.address();
    let unspent = i128::from(world.unspent_at(&address)) * 1_000;
    assert_eq!(books.msat, unspent, "{:#?}", books.taken);
}

/// A channel of ours in which they have something, in amounts that are no whole satoshi.
fn begin(world: &World, ours: &Ours, theirs: &Theirs) -> (ChannelNumber, Books) {
    let channel = world.channel(ours, theirs, CHANNEL_SAT);
    let mut books = Books::of(world.unspent_at(&ours.wallet.address()) + CHANNEL_SAT);
    // The opening's fee is among what is reported.
    books.msat += 2_000_000;
    for part in [70_000_123, 70_000_456, 70_000_001] {
        give(&mut books, ours, theirs, part);
    }
    (channel, books)
}

#[test]
fn a_channel_that_we_close_alone_costs_what_bitcoind_says_with_payments_under_way_both_ways() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    let (channel, mut books) = begin(&world, &ours, &theirs);
    let taken = held_by_us(&world, &ours, &theirs, 1, 30_000_777);
    held_by_us(&world, &ours, &theirs, 2, 20_000_333);
    // One that they will claim on chain, one that they never will, and one too small to be an output.
    held_by_them(&mut books, &ours, &theirs, 3, 40_000_555);
    held_by_them(&mut books, &ours, &theirs, 4, 50_000_999);
    held_by_them(&mut books, &ours, &theirs, 5, 200_111);
    ours.close(channel, Closing::Unilateral)
        .expect("it is open");
    until("the closing is on its way", || world.mempool() > 0);
    ours.node.claim([1; 32]).expect("it is held");
    ours.wait(
        "it is ours",
        |o| matches!(o, Observation::Received { hash, .. } if *hash == taken),
    );
    // The peer's node gives a held payment back three blocks after it came.
    claim(&theirs, 3, 40_000_555);
    claimed_by_them(&world, &ours, &theirs);
    resolve(&world, &ours, channel);
    assert_whole(&world, &ours, &mut books);
}

#[test]
fn a_channel_that_the_peer_closes_alone_costs_what_bitcoind_says_over_a_kill_and_a_reorg() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    let (channel, mut books) = begin(&world, &ours, &theirs);
    held_by_us(&world, &ours, &theirs, 1, 30_000_777);
    held_by_them(&mut books, &ours, &theirs, 3, 40_000_555);
    held_by_them(&mut books, &ours, &theirs, 4, 50_000_999);
    let channels = theirs.node.list_channels();
    theirs
        .node
        .force_close_channel(&channels[0].user_channel_id, ours.key(), None)
        .expect("it is open");
    until("the closing is on its way", || world.mempool() > 0);
    claim(&theirs, 3, 40_000_555);
    world.mine(1);
    ours.wait("it is closed", |o| {
        matches!(o, Observation::ChannelClosed { .. })
    });
    ours.node.claim([1; 32]).expect("it is held");
    ours.wait("it is ours", |o| {
        matches!(
            o,
            Observation::Received {
                settlement: None,
                ..
            }
        )
    });
    claimed_by_them(&world, &ours, &theirs);
    world.mine(2);
    world.reorg(3);
    books.take(&ours.told());
    ours.stop();
    world.mine(2);

    let ours = world.ours("ours");
    resolve(&world, &ours, channel);
    let ends = ours.told();
    let ends = ends
        .iter()
        .filter(|o| matches!(o, Observation::ChannelReturned { .. }));
    assert_eq!(ends.count(), 1);
    assert_whole(&world, &ours, &mut books);
}

#[test]
fn a_channel_that_was_spliced_and_is_closed_with_the_peer_costs_what_bitcoind_says() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    let (channel, mut books) = begin(&world, &ours, &theirs);
    let value = || ours.channel(channel).map_or(0, |c| c.value_sat);
    ours.node
        .splice_in(channel, 300_000, 10_000)
        .expect("there are coins");
    until("the splice waits for a block", || world.mempool() == 1);
    world.settle(&theirs);
    until_equal("its value", &1_300_000, value);
    give(&mut books, &ours, &theirs, 30_000_888);
    ours.node
        .splice_out(channel, 200_000, 10_000)
        .expect("there is money in it");
    until("the splice waits for a block", || world.mempool() == 1);
    world.settle(&theirs);
    until("it is smaller", || value() < 1_100_000);
    give(&mut books, &ours, &theirs, 10_000_222);
    ours.close(channel, Closing::Cooperative)
        .expect("it is open");
    until("the closing is on its way", || world.mempool() > 0);
    resolve(&world, &ours, channel);
    assert_whole(&world, &ours, &mut books);
}

/// The node ends between a splice and its report: in the mempool, or in a block by the time that it starts again.
#[test]
fn a_splice_that_was_not_reported_before_the_end_is_reported_with_its_fee_after_the_start() {
    for is_mined in [false, true] {
        let world = World::new();
        let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
        let (channel, mut books) = begin(&world, &ours, &theirs);
        ours.wallet.forget();
        ours.node
            .splice_in(channel, 300_000, 10_000)
            .expect("there are coins");
        until("the splice waits for a block", || world.mempool() == 1);
        they_say(&theirs, "they have signed it too", |event| {
            matches!(event, Event::SplicePending { .. })
        });
        let told = ours.told();
        let is_report = |o: &Observation| matches!(o, Observation::SplicePending { .. });
        assert!(!told.iter().any(is_report), "{told:?}");
        books.take(&told);
        ours.stop();
        if is_mined {
            world.mine(1);
        }

        let ours = world.ours("ours");
        let told = ours.wait("the splice is pending", is_report);
        let Observation::SplicePending { fee_sat, .. } = told else {
            unreachable!("it was asked for");
        };
        assert!(fee_sat.is_some_and(|fee| fee > 0), "{told:?}");
        ours.connect(&theirs);
        world.settle(&theirs);
        until_equal(
            "its value, and whether it can be used",
            &Some((1_300_000, true)),
            || ours.channel(channel).map(|c| (c.value_sat, c.usable)),
        );
        give(&mut books, &ours, &theirs, 30_000_888);
        ours.close(channel, Closing::Cooperative)
            .expect("it is open");
        until("the closing is on its way", || world.mempool() > 0);
        resolve(&world, &ours, channel);
        assert_whole(&world, &ours, &mut books);
    }
}

/// The peer gives away what it has: the books gain it, and lose nothing.
#[test]
fn what_a_peer_opens_with_a_gift_and_closes_is_gained() {
    let world = World::new();
    let theirs = world.theirs("theirs");
    let (ours, address) = crate::world::listening_ours(&world, "listening");
    world.fund(&ours, 50_000);
    theirs.node.sync_wallets().expect("the peer sees blocks");
    let mut books = Books::of(50_000);
    theirs
        .node
        .open_channel(
            ours.key(),
            address.to_string().parse().expect("an address"),
            500_000,
            Some(200_000_000),
            None,
        )
        .expect("the peer is there");
    let told = ours.wait("it is pending", |o| {
        matches!(o, Observation::ChannelPending { .. })
    });
    let Observation::ChannelPending { channel, .. } = told else {
        unreachable!("it was asked for");
    };
    world.ready(&ours, &theirs, channel);
    give(&mut books, &ours, &theirs, 50_000_050);
    ours.close(channel, Closing::Unilateral)
        .expect("it is open");
    until("the closing is on its way", || world.mempool() > 0);
    resolve(&world, &ours, channel);
    assert_whole(&world, &ours, &mut books);
    let told = ours.told();
    let gained = told.iter().any(
        |o| matches!(o, Observation::ChannelReturned { gain_msat, .. } if *gain_msat > 190_000_000),
    );
    assert!(gained, "{told:?}");
}
