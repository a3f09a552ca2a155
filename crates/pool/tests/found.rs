//! Bugs that the simulator found, each with its story in one line and the fewest steps that show it.
#![allow(clippy::unwrap_used)]

mod common;

use common::{ALICE, BOB, ETH, GWEI, PREIMAGE, USD, World};
use forebay_channel::Address;
use forebay_pool::*;
use forebay_quantity::*;

/// Redemptions among these effects: the cumulative amounts asked for.
fn redemptions(effects: &[Effect]) -> Vec<u128> {
    let amounts = effects.iter().filter_map(|effect| match effect {
        Effect::Chain {
            request: ChainRequest::Redeem { amount, .. },
            ..
        } => Some(amount.value()),
        _ => None,
    });
    amounts.collect()
}

fn notice(kind: NoticeKind, ceiling: u128, world: &World) -> VaultFact {
    VaultFact::NoticeGiven {
        serial: world.serial(ALICE),
        kind,
        ceiling: Amount::new(ceiling),
        deadline: Timestamp(world.wall.0 + 86_400_000),
    }
}

/// A better voucher that came between a redemption and its fact left the redemption standing for ever: none followed.
#[test]
fn a_voucher_that_comes_while_another_is_redeemed_is_redeemed_after_it() {
    let mut world = World::funded();
    let serial = world.serial(ALICE);
    world.voucher(ALICE, GWEI * GWEI * 3 / 4).unwrap();
    assert!(redemptions(&world.sync()).is_empty(), "one at a time");
    let paid = Amount::new(GWEI * GWEI / 2);
    world
        .fact(ETH, VaultFact::PeerPaid { serial, paid })
        .unwrap();
    assert_eq!(redemptions(&world.sync()), [GWEI * GWEI * 3 / 4]);
}

/// The answer to a notice waited for an earlier redemption to become final [I13].
#[test]
fn a_notice_is_answered_while_an_earlier_redemption_is_under_way() {
    let mut world = World::funded();
    world.voucher(ALICE, GWEI * GWEI * 3 / 4).unwrap();
    assert!(redemptions(&world.sync()).is_empty());
    let withdrawal = notice(NoticeKind::DepositWithdrawal, 0, &world);
    world.fact(ETH, withdrawal).unwrap();
    assert_eq!(redemptions(&world.sync()), [GWEI * GWEI * 3 / 4]);
}

/// A threshold of "never" did not fit chain units, so that nothing at all was asked for on such a peer's channel [I13].
#[test]
fn a_notice_is_answered_for_a_peer_whose_vouchers_are_never_redeemed_without_one() {
    let mut world = World::funded();
    let policy = PeerPolicy {
        redeem_threshold: Amount::MAX,
        ..world.state().peer(ALICE).unwrap().policy.clone()
    };
    world.admin(Admin::SetPeer(ALICE, policy));
    world.voucher(ALICE, GWEI * GWEI * 3 / 4).unwrap();
    world.sync();
    let withdrawal = notice(NoticeKind::DepositWithdrawal, 0, &world);
    world.fact(ETH, withdrawal).unwrap();
    assert_eq!(redemptions(&world.sync()), [GWEI * GWEI * 3 / 4]);
}

/// What a replaced key signed is good up to the ceiling, but the contract checks the signature under the signed amount.
#[test]
fn a_voucher_of_a_replaced_key_is_redeemed_for_the_amount_that_was_signed() {
    let mut world = World::funded();
    let serial = world.serial(ALICE);
    let signed = GWEI * GWEI * 3 / 4;
    world.voucher(ALICE, signed).unwrap();
    world
        .fact(
            ETH,
            VaultFact::PeerWithdrew {
                serial,
                ceiling: Amount::new(GWEI * GWEI * 5 / 8),
                released: false,
            },
        )
        .unwrap();
    let signer = Address::new([77; 20]);
    let changed = VaultFact::KeyChanged {
        serial,
        of_peer: true,
        signer,
    };
    world.fact(ETH, changed).unwrap();
    let paid = Amount::new(GWEI * GWEI / 2);
    world
        .fact(ETH, VaultFact::PeerPaid { serial, paid })
        .unwrap();
    assert_eq!(redemptions(&world.sync()), [signed]);
}

/// A notice told again after it was executed was heard as a new one, and nothing ever took it back.
#[test]
fn an_old_notice_told_again_is_not_a_new_one() {
    let mut world = World::funded();
    let serial = world.serial(ALICE);
    let given = notice(NoticeKind::DepositWithdrawal, GWEI * GWEI * 3 / 4, &world);
    world.fact(ETH, given.clone()).unwrap();
    let at = world.state().asset(ETH).unwrap().vault.cursor.unwrap();
    let ceiling = Amount::new(GWEI * GWEI * 3 / 4);
    let withdrew = VaultFact::PeerWithdrew {
        serial,
        ceiling,
        released: false,
    };
    world.fact(ETH, withdrew).unwrap();
    let again = world.apply(&Command::Chain(ChainFact {
        asset: ETH,
        at,
        depth: Depth::Seen,
        fact: given,
    }));
    assert_eq!(again, Err(Rejection::AlreadyTaken));
}

/// After a clock jump the wheel of expiries named a packet of its next turn as the first to expire.
#[test]
fn the_next_deadline_is_that_of_the_packet_that_expires_first() {
    let mut world = World::funded();
    world.prepare(1, 1_000_000, 3_000).unwrap();
    world.prepare(2, 1_000_000, 20_000).unwrap();
    let packet = World::forwarded(&world.sync())[0].0;
    let code = *b"F99";
    let peer = BOB;
    world
        .apply(&Command::Reject { peer, packet, code })
        .unwrap();
    let first = world.state().packets().next().unwrap().1.expires_out;
    world.sync();
    // Nobody ticks, and a packet comes whose place on the wheel lies before the first one's, a turn later.
    world.wall.0 += 42_000;
    for source in 0..3 {
        world.price(ETH, source, 2_000);
        world.price(USD, source, 1);
    }
    world.prepare(3, 1_000_000, 40_000).unwrap();
    assert_eq!(world.sequencer.next_deadline(), Some(first));
}

/// A peer that was removed kept what it had earned below its threshold, and lost what was still pending.
#[test]
fn a_removed_peer_is_paid_to_the_last_unit_before_its_channel_closes() {
    let mut world = World::funded();
    world.prepare(1, 1_000, 10_000).unwrap();
    let (packet, amount) = World::forwarded(&world.sync())[0];
    world.admin(Admin::RemovePeer(BOB));
    let closes = |effects: &[Effect]| {
        effects.iter().any(|effect| {
            matches!(
                effect,
                Effect::Chain {
                    request: ChainRequest::StartClose { .. },
                    ..
                }
            )
        })
    };
    assert!(!closes(&world.sync()), "a packet to it is in flight");
    world
        .apply(&Command::Fulfill {
            peer: BOB,
            packet,
            preimage: PREIMAGE,
        })
        .unwrap();
    let effects = world.sync();
    let paid = effects.iter().find_map(|effect| match effect {
        Effect::SendVoucher { amount, .. } => Some(amount.value()),
        _ => None,
    });
    assert_eq!(paid, Some(u128::from(amount)), "far below its threshold");
    assert!(closes(&effects) || closes(&world.sync()));
}

/// A policy with a shorter term had every raise refused by the vault until the longer term that stood had passed.
#[test]
fn a_shorter_term_never_ends_before_the_one_that_stands() {
    let mut world = World::funded();
    world.sync();
    let stands = world.state().peer(BOB).unwrap().term_ends;
    let mut policy = world.state().peer(BOB).unwrap().policy.clone();
    policy.allotment_term_ms = 3_600_000;
    policy.allotment = Amount::new(3_000_000_000);
    world.admin(Admin::SetPeer(BOB, policy));
    let effects = world.sync();
    let terms = effects.iter().filter_map(|effect| match effect {
        Effect::Chain {
            request: ChainRequest::Raise { term_ends, .. },
            ..
        } => Some(*term_ends),
        _ => None,
    });
    assert_eq!(terms.collect::<Vec<_>>(), [stands]);
}

/// All peers shared one list of answers, and a busy peer pushed out what a slow one had not yet heard.
#[test]
fn a_busy_peer_does_not_push_out_the_answers_of_another() {
    let mut world = World::funded();
    let prepare = |peer, request, destination: &'static str| {
        let Command::Prepare(prepare) =
            common::prepare(request, 0, Timestamp(1_700_000_010_000), destination)
        else {
            unreachable!("a prepare was made")
        };
        (peer, prepare)
    };
    let fulfil = |world: &mut World, peer, request, destination, by| {
        let (peer, made) = prepare(peer, request, destination);
        let expires_at = Timestamp(world.wall.0 + 10_000);
        let asked = Prepare {
            peer,
            expires_at,
            ..made
        };
        world.apply(&Command::Prepare(asked)).unwrap();
        let (packet, _) = World::forwarded(&world.sync())[0];
        let preimage = PREIMAGE;
        let peer = by;
        let answer = Command::Fulfill {
            peer,
            packet,
            preimage,
        };
        world.apply(&answer).unwrap();
        world.sync();
    };
    fulfil(&mut world, BOB, 7, "test.pool.alice.x", ALICE);
    let most = u32::try_from(bounds::ANSWERS_MAX).unwrap();
    for request in 0..=most {
        fulfil(&mut world, ALICE, request, "test.pool.bob.shop", BOB);
    }
    assert_eq!(world.state().answer(BOB, 7), Some(PREIMAGE));
    assert_eq!(
        world.state().answer(ALICE, 0),
        None,
        "the oldest goes [I12]"
    );
    assert_eq!(world.state().answer(ALICE, 1), Some(PREIMAGE));
}

/// Facts that no vault can report were believed, and took the books below nothing.
#[test]
fn what_no_vault_can_have_done_is_not_believed_and_its_neighbour_is() {
    let mut world = World::funded();
    let serial = world.serial(BOB);
    let (free, ceiling) = {
        let asset = world.state().asset(USD).unwrap();
        let channel = world.state().peer(BOB).unwrap().channel.as_ref().unwrap();
        (asset.chain_free(), channel.outgoing.ceiling())
    };
    let more = |amount: Amount| amount.checked_add(Amount::new(1)).unwrap();
    let lowered = |ceiling| VaultFact::AllotmentLowered {
        serial,
        ceiling,
        released: false,
    };
    let closed = |pool_paid| VaultFact::ChannelClosed {
        serial,
        pool_paid,
        peer_paid: Amount::ZERO,
    };
    let withdrawn = |amount| VaultFact::SharesWithdrawn { amount };
    let before = world.state().digest();
    for (fact, what) in [
        (withdrawn(more(free)), "more left the vault than was free"),
        (
            lowered(more(ceiling)),
            "an allotment lowered to more than it was",
        ),
        (closed(more(ceiling)), "a lane closed above its ceiling"),
    ] {
        assert_eq!(world.fact(USD, fact), Err(Rejection::BadFact(what)));
    }
    assert_eq!(world.state().digest(), before, "a no changes nothing");
    world.fact(USD, lowered(ceiling)).unwrap();
    world.fact(USD, closed(Amount::ZERO)).unwrap();
}

/// Free money a few base units above the floor had an empty payment asked for, again and again, at its gas.
#[test]
fn an_exit_is_paid_once_there_is_money_worth_a_transaction() {
    let mut world = World::funded();
    let ether = GWEI * GWEI;
    let owner = Address::new([9; 20]);
    let (units, amount) = (Amount::new(10 * ether), Amount::new(10 * ether));
    world
        .fact(
            ETH,
            VaultFact::NoteDeposited {
                owner,
                units,
                amount,
            },
        )
        .unwrap();
    let serial = world.serial(ALICE);
    let ceiling = Amount::new(9 * ether - 5);
    world
        .fact(ETH, VaultFact::AllotmentRaised { serial, ceiling })
        .unwrap();
    let exit = VaultFact::ExitRequested {
        owner,
        cohort: 3,
        units: Amount::new(ether),
    };
    world.fact(ETH, exit).unwrap();
    let pays = |effects: &[Effect]| {
        let chain = effects.iter().filter_map(|effect| match effect {
            Effect::Chain { request, .. } => Some(request),
            _ => None,
        });
        chain
            .filter(|request| matches!(request, ChainRequest::PayExits { cohort: 3, .. }))
            .count()
    };
    assert_eq!(pays(&world.sync()), 0, "five wei are above the floor");
    let paid = Amount::new(GWEI);
    world
        .fact(ETH, VaultFact::PeerPaid { serial, paid })
        .unwrap();
    assert_eq!(pays(&world.sync()), 1);
}

/// The pool counted vouchers as security behind a close that its own chain node, silent for hours, had not told it of.
#[test]
fn a_voucher_is_refused_while_the_chain_is_silent_for_too_long() {
    let mut world = World::funded();
    let (half, three_quarters) = (GWEI * GWEI / 2, GWEI * GWEI * 3 / 4);
    let heard_at = world.wall;
    world.wall = Timestamp(heard_at.0 + 2 * 3_600_000 + 1);
    let refused = world.voucher(ALICE, three_quarters);
    assert!(
        matches!(refused, Err(Rejection::BadVoucher(why)) if why.contains("silent")),
        "{refused:?}"
    );
    let held = |world: &World| {
        let channel = world.state().peer(ALICE).unwrap().channel.as_ref();
        channel.unwrap().incoming.promised().value()
    };
    assert_eq!(held(&world), half);
    world.hear();
    world.voucher(ALICE, three_quarters).unwrap();
    assert_eq!(held(&world), three_quarters);

    // Exactly so long is not too long; an older block changes nothing, and a new process has heard of none.
    let heard_at = world.wall;
    world.sequencer.hear(ETH, Timestamp(heard_at.0 - 1));
    let last = Timestamp(heard_at.0 + 2 * 3_600_000);
    assert!(world.state().hears(last, ETH));
    let restarted = State::restore(&world.state().snapshot()).unwrap();
    assert!(!restarted.hears(heard_at, ETH));
    assert_eq!(restarted.digest(), world.state().digest(), "[I10]");
}
