//! Drills: one side asleep or dead while the other takes its collateral away, and what the watchtower makes of it [I13].
//! Judged by what the chain's own RPC says of balances and blocks.
#![allow(clippy::unwrap_used)]

mod world;

use forebay_channel::LaneId;
use forebay_channel::vault::VaultRequest;
use forebay_quantity::{Amount, ChannelSerial};
use world::packets::{Software, pay};
use world::{DEPOSIT, ETHER, GWEI, MARGIN_S, NOTES, NOTICE_S, PATIENCE_S, World, units};

/// The pool sleeps; the peer takes its deposit back by two notices at once. The watchtower is killed after it has sent
/// its answer and before that is in a block, and started again.
#[tokio::test(flavor = "multi_thread")]
async fn for_a_pool_asleep_the_deposit_is_redeemed_in_full_even_across_a_kill_of_the_watchtower() {
    let mut world = World::start().await;
    let signed = world.wait("the watchtower holds A's voucher", || {
        let signed = units(&world.view("a")?["signed"]);
        (world.guarded("pool", world.serial_a) == signed).then_some(signed)
    });
    assert_eq!(signed, 500_000_000 * GWEI, "A pays half an ether ahead");
    world.pool.kill();
    world.peer_a.kill();
    let (key, serial) = (world.key("a"), ChannelSerial::new(world.serial_a));
    let (vault_before, peer_before) = (
        world.rpc.balance(world.vault),
        world.rpc.balance(key.address()),
    );
    assert_eq!(vault_before, NOTES + DEPOSIT);
    let withdrawal = VaultRequest::StartLowering {
        serial,
        lane: LaneId::Peer,
        ceiling: Amount::ZERO,
    };
    world.call(key.clone(), withdrawal).await;
    world
        .call(key.clone(), VaultRequest::StartClose(serial))
        .await;
    let given = world.rpc.now();
    let gas_spent_by_a = peer_before - world.rpc.balance(key.address());

    // The principal's turn: the watchtower waits.
    world.rpc.pass(PATIENCE_S - 60);
    std::thread::sleep(std::time::Duration::from_secs(3));
    let tower = world.address("tower");
    assert_eq!(world.rpc.nonce(tower), 0, "it is still the pool's turn");

    // Its own turn: what it sends waits, because no block is made, and it is killed.
    world.rpc.pass(80);
    world.rpc.mine_every(0);
    world.rpc.pass(60);
    world.wait("the answer waits for a block", || {
        (!world.rpc.waiting(tower).is_empty()).then_some(())
    });
    world.tower.kill();
    world.restart_tower();
    world.wait("it goes on with the same one", || {
        world
            .tower
            .log()
            .contains("is seen to its end")
            .then_some(())
    });
    world.rpc.mine_every(1);
    world.wait("the answer is in a block", || {
        (world.rpc.nonce(tower) > 0).then_some(())
    });
    let due = given + u128::from(NOTICE_S - MARGIN_S);
    let answers = world.rpc.sent_by(tower);
    assert_eq!(answers.len(), 1, "one answer, sent once: {answers:?}");
    assert!(
        answers[0].succeeded && answers[0].at < due,
        "{answers:?}, due at {due}"
    );
    assert!(
        answers[0].at >= given + u128::from(PATIENCE_S),
        "not before its turn"
    );

    // Nobody of the two is there to finish the close, so the watchtower does.
    world.rpc.pass(NOTICE_S + NOTICE_S / 4);
    let kept = NOTES + signed;
    world.wait("the close is finished", || {
        (world.rpc.balance(world.vault) == kept).then_some(())
    });
    let back = world.rpc.balance(key.address()) + gas_spent_by_a - peer_before;
    assert_eq!(back, DEPOSIT - signed, "the peer has the rest, and no more");
    world.wait("the slot is free again", || {
        (world.guarded("pool", world.serial_a) == 0).then_some(())
    });
}

/// The peer is dead, and the operator takes the allotment back; fees jump a hundredfold after the answer was sent.
#[tokio::test(flavor = "multi_thread")]
async fn for_a_dead_peer_the_allotment_is_redeemed_in_full_however_fees_jump() {
    let mut world = World::start().await;
    let mut a = Software::connect(&world.listen_a).await;
    let mut b = Software::connect(&world.listen_b).await;
    for id in 2..12 {
        pay(&mut a, &mut b, id, 20_000_000).await;
    }
    let held = world.wait(
        "the watchtower holds the pool's voucher for all ten packets",
        || {
            let view = world.view("b")?;
            let is_paid = units(&view["received"]) > 0 && units(&view["unpaid"]) == 0;
            let held = units(&view["held"]);
            (is_paid && world.guarded("b", world.serial_b) == held).then_some(held)
        },
    );
    assert!(
        held > 199_000_000 * GWEI && held <= 200_000_000 * GWEI,
        "{held}"
    );
    world.peer_b.kill();
    world.pool.kill();
    let (b, tower) = (world.address("b"), world.address("tower"));
    let before = world.rpc.balance(b);
    let lowering = VaultRequest::StartLowering {
        serial: ChannelSerial::new(world.serial_b),
        lane: LaneId::Pool,
        ceiling: Amount::ZERO,
    };
    world.call(world.key("pool"), lowering).await;
    let given = world.rpc.now();
    world.rpc.pass(PATIENCE_S + 600);
    world.rpc.mine_every(0);
    world.rpc.pass(1);
    let first = world.wait("the answer waits for a block", || {
        world.rpc.waiting(tower).pop()
    });
    assert!(first.1 < 50 * GWEI, "offered when fees were low: {first:?}");

    // Every block from now on asks for a hundred gwei, until the answer is in one.
    let spike = 100 * GWEI;
    world.wait("a dearer one is in a block", || {
        let fee = format!("{spike:#x}");
        world
            .rpc
            .ask("anvil_setNextBlockBaseFeePerGas", serde_json::json!([fee]));
        world.rpc.ask("anvil_mine", serde_json::json!([1]));
        (world.rpc.nonce(tower) > 0).then_some(())
    });
    let answers = world.rpc.sent_by(tower);
    assert_eq!(answers.len(), 1, "{answers:?}");
    let answer = &answers[0];
    assert!(
        answer.succeeded && answer.fee_per_gas >= spike,
        "{answer:?}"
    );
    assert_ne!(answer.hash, first.0, "it was replaced");
    assert!(
        answer.at < given + u128::from(NOTICE_S - MARGIN_S),
        "{answer:?}"
    );
    assert_eq!(
        world.rpc.balance(b) - before,
        held,
        "the dead peer is paid in full"
    );
    assert_eq!(world.rpc.balance(world.vault), NOTES + DEPOSIT - held);
    assert!(
        world.rpc.balance(tower) < 100 * ETHER,
        "the watchtower paid for gas and for nothing else"
    );
}
