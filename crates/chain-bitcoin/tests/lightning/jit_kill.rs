//! A seller that is killed, again and again, while channels are bought of it and paid for.

use std::net::SocketAddr;
use std::time::Duration;

use ldk_node::payment::{PaymentKind, PaymentStatus};

use crate::jit::{come_back, jit_invoice};
use crate::kill::Process;
use crate::world::{Theirs, World, free_port, until, until_equal};

const ROUNDS: u64 = 8;
const PAYMENT_MSAT: u64 = 20_000_000;
const COINS_SAT: u64 = 3_000_000;

#[test]
fn a_seller_killed_at_any_moment_opens_one_channel_for_a_payment_and_counts_what_it_earned_once() {
    let world = World::new();
    let folder = world.folder.path().join("killed");
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let start = || Process::start_seller(&folder, world.regtest.port(), listen);
    let mut process = start();
    let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> =
        process.ask("address").parse().expect("an address");
    let address = address.assume_checked();
    world.pay(&address, COINS_SAT);
    world.mine(1);
    until("the coins are seen", || process.ask("coins") != "0");
    let seller = process.identity;

    let at: ldk_node::lightning::ln::msgs::SocketAddress =
        listen.to_string().parse().expect("an address");
    let payer = world.theirs("payer");
    world.pay(
        &payer.node.onchain_payment().new_address().expect("one"),
        2_000_000,
    );
    let buyer = world.with_coins(Theirs::start_with(&world, "buyer", |builder| {
        builder.set_liquidity_source_lsps2(seller, at.clone(), None);
    }));
    payer.node.sync_wallets().expect("it sees blocks");
    payer
        .node
        .open_channel(seller, at, 1_500_000, None, None)
        .expect("the seller is there");
    until("the payer can pay", || {
        world.settle(&payer);
        payer.node.list_channels().iter().any(|c| c.is_usable)
    });
    let before = msat_in(&process.ask("channels")) + world.unspent_at(&address) * 1_000;

    let mut succeeded = 0;
    for round in 0..ROUNDS {
        let mut invoice = None;
        until("a channel is bought", || {
            invoice = jit_invoice(&buyer, PAYMENT_MSAT).ok();
            invoice.is_some()
        });
        let invoice = invoice.expect("it was bought");
        let mut id = None;
        until("the payment leaves", || {
            id = payer.node.bolt11_payment().send(&invoice, None).ok();
            id.is_some()
        });
        let id = id.expect("it left");
        // From before the payment is held to after it has passed.
        std::thread::sleep(Duration::from_millis(round * 97 % 700));
        process.kill();
        process = start();
        come_back(&[&payer, &buyer], seller, listen);
        let mut status = PaymentStatus::Pending;
        until("the payment ends", || {
            status = payer.node.payment(&id).expect("it is known").status;
            status != PaymentStatus::Pending
        });
        succeeded += u64::from(status == PaymentStatus::Succeeded);
        world.settle(&payer);
        let _unless_busy = buyer.node.sync_wallets();
    }
    assert!(succeeded > 0, "some arrived");

    let earned = succeeded * 1_000_000;
    until_equal("what was earned", &earned, || {
        let journal = std::fs::read_to_string(folder.join("journal")).expect("a journal");
        forwards(&journal)
    });
    until("nothing is under way", || {
        world.settle(&payer);
        let _unless_busy = buyer.node.sync_wallets();
        process.ask("channels").ends_with(" 0") && world.mempool() == 0
    });
    let journal = std::fs::read_to_string(folder.join("journal")).expect("a journal");
    let channels = process.ask("channels");
    let count: u64 = words(&channels)[0];
    assert!(
        count > succeeded && count - 1 <= ROUNDS,
        "{channels}: one channel at most for each payment, and the payer's"
    );
    let received: u64 = buyer
        .node
        .list_payments_with_filter(|p| {
            matches!(p.kind, PaymentKind::Bolt11Jit { .. }) && p.status == PaymentStatus::Succeeded
        })
        .iter()
        .filter_map(|p| p.amount_msat)
        .sum();
    assert_eq!(received, succeeded * (PAYMENT_MSAT - 1_000_000));
    let miners = miners_msat(&journal);
    let after = msat_in(&channels) + world.unspent_at(&address) * 1_000;
    assert_eq!(after, before + earned - miners, "{journal}");
}

fn words(line: &str) -> Vec<u64> {
    line.split(' ')
        .map(|word| word.parse().expect("a number"))
        .collect()
}

fn msat_in(line: &str) -> u64 {
    words(line)[2]
}

/// What forwards brought, each number once, as a book would take them.
fn forwards(journal: &str) -> u64 {
    let mut last = 0;
    let mut sum = 0;
    for line in journal.lines() {
        let Some(rest) = line.strip_prefix("forwarded ") else {
            continue;
        };
        let words = words(rest);
        if words[0] > last {
            (last, sum) = (words[0], sum + words[1]);
        }
    }
    sum
}

/// What fundings paid, each channel's once: a line names it, and is repeated after a crash.
fn miners_msat(journal: &str) -> u64 {
    let lines = journal.lines();
    let funded = lines.filter_map(|line| line.strip_prefix("funded "));
    let mut seen = std::collections::BTreeMap::new();
    for line in funded {
        let (channel, fee) = line.split_once(' ').expect("a channel and its fee");
        let fee: u64 = fee.parse().expect("a number");
        seen.insert(channel.to_owned(), fee);
    }
    seen.values().sum::<u64>() * 1_000
}
