//! Deposit → packet → voucher → redemption, on the core alone.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use forebay_pool::*;
use forebay_quantity::*;

#[test]
fn a_packet_crosses_assets_is_paid_by_voucher_and_redeemed() {
    let mut world = World::funded();
    // 0.001 ETH at 2,000 USD is 2 USD, less 0.1 %.
    world.prepare(1, 1_000_000, 10_000).unwrap();
    let effects = world.sync();
    let forwarded = World::forwarded(&effects);
    assert_eq!(forwarded.len(), 1);
    let (packet, amount) = forwarded[0];
    assert_eq!(amount, 1_998_000);

    world
        .apply(&Command::Fulfill {
            peer: BOB,
            packet,
            preimage: PREIMAGE,
        })
        .unwrap();
    let effects = world.sync();
    assert!(effects.iter().any(|effect| matches!(
        effect, Effect::RelayFulfill { peer: ALICE, request: 1, preimage, .. } if *preimage == PREIMAGE
    )));
    let voucher = effects.iter().find_map(|effect| match effect {
        Effect::SendVoucher {
            peer: BOB, amount, ..
        } => Some(*amount),
        _ => None,
    });
    assert_eq!(
        voucher,
        Some(Amount::new(1_998_000)),
        "paid at once: above the settle threshold"
    );

    let serial = world.serial(BOB);
    world
        .fact(
            USD,
            VaultFact::PoolPaid {
                serial,
                paid: Amount::new(1_998_000),
            },
        )
        .unwrap();
    let state = world.state();
    let usd = state.asset(USD).unwrap();
    assert_eq!(
        state.balance(usd.accounts.vault).debit(),
        Amount::new(10_000_000_000 - 1_998_000)
    );
    assert_eq!(
        state.balance(usd.accounts.fees).credit(),
        Amount::new(2_000)
    );
    assert_eq!(
        state
            .balance(state.peer(BOB).unwrap().vouchers_out)
            .credit(),
        Amount::ZERO
    );
    state.ledger().check_balanced().unwrap();

    // Alice's voucher is worth redeeming; its money arrives in the vault.
    let (effect, _) = state
        .chain_effects()
        .find(|(_, request)| matches!(request, ChainRequest::Redeem { .. }))
        .unwrap();
    let serial = world.serial(ALICE);
    world
        .apply(&Command::Outcome {
            effect,
            failure: None,
        })
        .unwrap();
    world
        .fact(
            ETH,
            VaultFact::PeerPaid {
                serial,
                paid: Amount::new(GWEI * GWEI / 2),
            },
        )
        .unwrap();
    let eth = world.state().asset(ETH).unwrap();
    assert_eq!(
        world.state().balance(eth.accounts.vault).debit(),
        Amount::new(GWEI / 2)
    );
    assert_eq!(
        world.state().balance(eth.accounts.deposits_owed).credit(),
        Amount::new(GWEI / 2)
    );
    world.sync();
}

#[test]
fn replay_of_the_journal_and_of_a_snapshot_with_its_tail_give_the_same_digest() {
    let mut world = World::funded();
    let mut snapshot = Vec::new();
    let mut tail_from = 0;
    for request in 0..50 {
        world.prepare(request, 1_000_000, 10_000).unwrap();
        let forwarded = World::forwarded(&world.sync());
        if request % 3 != 0 {
            world
                .apply(&Command::Fulfill {
                    peer: BOB,
                    packet: forwarded[0].0,
                    preimage: PREIMAGE,
                })
                .unwrap();
        }
        world.sync();
        if request == 25 {
            snapshot = world.state().snapshot();
            tail_from = world.journal.len();
        }
    }
    let expected = world.state().digest();

    let mut whole = Sequencer::new(State::default());
    world
        .journal
        .iter()
        .for_each(|payload| whole.replay(payload).unwrap());
    assert_eq!(whole.state().digest(), expected, "[I10]");

    let mut resumed = Sequencer::new(State::restore(&snapshot).unwrap());
    world.journal[tail_from..]
        .iter()
        .for_each(|payload| resumed.replay(payload).unwrap());
    assert_eq!(resumed.state().digest(), expected, "[I10]");
}

#[test]
fn every_rejection_of_a_prepare_has_its_code_and_a_neighbour_that_passes() {
    let mut world = World::funded();
    let code = |outcome: Result<(), Rejection>| outcome.err().map(|rejection| rejection.ilp_code());
    let far = Timestamp(world.wall.0 + 10_000);
    let at = |ms: u64| Timestamp(world.wall.0 + ms);
    let rows: Vec<(&str, Command<'_>, Option<[u8; 3]>)> = vec![
        (
            "expired",
            prepare(1, 1_000_000, world.wall, "test.pool.bob"),
            Some(*b"R00"),
        ),
        (
            "too short",
            prepare(1, 1_000_000, at(1_499), "test.pool.bob"),
            Some(*b"R02"),
        ),
        (
            "just long enough",
            prepare(1, 1_000_000, at(1_500), "test.pool.bob"),
            None,
        ),
        (
            "too large",
            prepare(2, 1_000_000_001, far, "test.pool.bob"),
            Some(*b"F08"),
        ),
        (
            "too large for the next hop",
            prepare(2, 501_000_000, far, "test.pool.bob"),
            Some(*b"F08"),
        ),
        (
            "duplicate",
            prepare(1, 1_000_000, far, "test.pool.bob"),
            Some(*b"F00"),
        ),
        (
            "no such peer",
            prepare(2, 1_000_000, far, "test.pool.carol"),
            Some(*b"F02"),
        ),
        (
            "elsewhere",
            prepare(2, 1_000_000, far, "test.other.bob"),
            Some(*b"F02"),
        ),
        (
            "back to the sender",
            prepare(2, 1_000_000, far, "test.pool.alice"),
            Some(*b"F02"),
        ),
        (
            "half a segment",
            prepare(2, 1_000_000, far, "test.pool.bobby"),
            Some(*b"F02"),
        ),
        ("nothing arrives", prepare(2, 0, far, "test.pool.bob"), None),
        (
            "secured",
            prepare(3, 400_000_000, far, "test.pool.bob.shop"),
            None,
        ),
        (
            "not secured any more",
            prepare(4, 99_000_001, far, "test.pool.bob.shop"),
            Some(*b"T04"),
        ),
        (
            "the rest is",
            prepare(4, 99_000_000, far, "test.pool.bob.shop"),
            None,
        ),
    ];
    for (name, command, expected) in &rows {
        assert_eq!(code(world.apply(command)), *expected, "{name}");
    }
    world
        .apply(&Command::Admin(CommandId([99; 16]), Admin::HaltBook(USD)))
        .unwrap();
    let halted = Timestamp(world.wall.0 + 10_000);
    assert_eq!(
        code(world.apply(&prepare(9, 1_000, halted, "test.pool.bob"))),
        Some(*b"T00")
    );
}

#[test]
fn an_unanswered_packet_is_r00_and_its_legs_are_voided() {
    let mut world = World::funded();
    world.prepare(1, 1_000_000, 10_000).unwrap();
    let forwarded = World::forwarded(&world.sync());
    world.wall = world.sequencer.next_deadline().unwrap();
    world.apply(&Command::Tick).unwrap();
    let effects = world.sync();
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::RelayReject { code, .. } if code == b"R00"))
    );
    assert_eq!(world.state().ledger().pending_count(), 0);
    let late = world.apply(&Command::Fulfill {
        peer: BOB,
        packet: forwarded[0].0,
        preimage: PREIMAGE,
    });
    assert_eq!(late, Err(Rejection::UnknownPacket));
}

#[test]
fn nothing_is_taken_after_the_journal_failed() {
    let mut world = World::funded();
    world.prepare(1, 1_000_000, 10_000).unwrap();
    world.sequencer.halt();
    let mut left = 0;
    world.sequencer.release(|_| left += 1);
    assert_eq!(left, 0, "[I7]");
    assert_eq!(world.prepare(2, 1_000_000, 10_000), Err(Rejection::Halted));
}
