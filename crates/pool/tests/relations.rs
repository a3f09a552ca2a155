//! What a peer is to the pool, routes learned from it, and what the pool may owe it.
#![allow(clippy::unwrap_used)]

mod common;

use common::{ALICE, BOB, PREIMAGE, USD, World, peer_policy};
use forebay_pool::*;
use forebay_quantity::*;
use sha2::{Digest, Sha256};

const CAROL: PeerId = PeerId(2);

fn relation(kind: RelationKind, debt_max: u128) -> Relation {
    Relation {
        kind,
        sends_routes: true,
        receives_routes: true,
        debt_max: Amount::new(debt_max),
    }
}

/// A funded pool with a third account, in dollars and without a channel.
fn with_carol() -> World {
    let mut world = World::funded();
    world.admin(Admin::AddPeer {
        name: "carol".into(),
        asset: USD,
        token_hash: Hash32([3; 32]),
        policy: peer_policy(0),
    });
    world.sync();
    world
}

fn send(world: &mut World, from: PeerId, request: u32, to: &str) -> Result<(), Rejection> {
    send_amount(world, from, request, to, 1_000_000)
}

fn send_amount(
    world: &mut World,
    from: PeerId,
    request: u32,
    to: &str,
    amount: u64,
) -> Result<(), Rejection> {
    let expires_at = Timestamp(world.wall.0 + 10_000);
    world.apply(&Command::Prepare(Prepare {
        peer: from,
        request,
        amount,
        expires_at,
        condition: Sha256::digest(PREIMAGE).into(),
        destination: to.as_bytes(),
    }))
}

/// Who the only packet that left went to, and how much it was.
fn forwarded_to(effects: &[Effect]) -> (PeerId, u64) {
    match effects {
        [Effect::Forward { peer, amount, .. }] => (*peer, *amount),
        other => panic!("one packet leaves, not {other:?}"),
    }
}

#[test]
fn a_learned_route_is_taken_and_the_operators_own_comes_before_it() {
    let mut world = with_carol();
    assert_eq!(
        send(&mut world, ALICE, 1, "test.far.shop"),
        Err(Rejection::Unreachable)
    );
    world.sequencer.learn(b"test.far".to_vec(), Some(BOB));
    send(&mut world, ALICE, 2, "test.far.shop").unwrap();
    assert_eq!(forwarded_to(&world.sync()).0, BOB);
    assert_eq!(
        send(&mut world, ALICE, 3, "test.farther"),
        Err(Rejection::Unreachable)
    );

    world.admin(Admin::SetRelation(
        CAROL,
        relation(RelationKind::Peer, 10_000_000),
    ));
    world.admin(Admin::AddRoute {
        prefix: "test.far".into(),
        peer: CAROL,
    });
    world.sync();
    send(&mut world, ALICE, 4, "test.far.shop").unwrap();
    assert_eq!(
        forwarded_to(&world.sync()).0,
        CAROL,
        "equal prefixes: the operator's"
    );
    world.sequencer.learn(b"test.far.shop".to_vec(), Some(BOB));
    send(&mut world, ALICE, 5, "test.far.shop").unwrap();
    assert_eq!(
        forwarded_to(&world.sync()).0,
        BOB,
        "the longer prefix before either"
    );
    world.sequencer.learn(b"test.far.shop".to_vec(), None);
    send(&mut world, ALICE, 6, "test.far.shop").unwrap();
    assert_eq!(forwarded_to(&world.sync()).0, CAROL);
}

#[test]
fn no_packet_leaves_by_the_peer_it_came_from_nor_for_the_pool_itself() {
    let mut world = with_carol();
    world.sequencer.learn(b"test.far".to_vec(), Some(ALICE));
    assert_eq!(
        send(&mut world, ALICE, 1, "test.far.shop"),
        Err(Rejection::Unreachable)
    );
    // A parent reaches everything, and would only send it back.
    world.sequencer.learn(b"test".to_vec(), Some(BOB));
    assert_eq!(
        send(&mut world, ALICE, 2, "test.pool"),
        Err(Rejection::Unreachable)
    );
    assert_eq!(
        send(&mut world, ALICE, 3, "test.pool.nobody"),
        Err(Rejection::Unreachable)
    );
    send(&mut world, ALICE, 4, "test.pools").unwrap();
    assert_eq!(forwarded_to(&world.sync()).0, BOB);
}

#[test]
fn learned_routes_are_no_part_of_the_state_and_go_with_their_peer() {
    let mut world = with_carol();
    let (bytes, digest) = (world.state().snapshot(), world.state().digest());
    world.sequencer.learn(b"test.far".to_vec(), Some(BOB));
    assert_eq!(
        (world.state().snapshot(), world.state().digest()),
        (bytes.clone(), digest)
    );
    let mut restarted = Sequencer::new(State::restore(&bytes).unwrap());
    std::mem::swap(&mut world.sequencer, &mut restarted);
    assert_eq!(
        send(&mut world, ALICE, 1, "test.far.shop"),
        Err(Rejection::Unreachable)
    );
    std::mem::swap(&mut world.sequencer, &mut restarted);
    world.admin(Admin::RemovePeer(BOB));
    assert_eq!(
        send(&mut world, ALICE, 2, "test.far.shop"),
        Err(Rejection::Unreachable)
    );
}

#[test]
fn without_a_lane_the_pool_owes_a_peer_up_to_the_debt_agreed_on() {
    let mut world = with_carol();
    // 0.001 ETH at 2,000 USD is 2 USD, less 0.1 %.
    let refused = send(&mut world, ALICE, 1, "test.pool.carol");
    let (available, needed) = (Amount::ZERO, Amount::new(1_998_000));
    assert_eq!(refused, Err(Rejection::LaneExhausted { available, needed }));
    let debt_max = 2 * 1_998_000;
    world.admin(Admin::SetRelation(
        CAROL,
        relation(RelationKind::Peer, debt_max),
    ));
    world.sync();
    for request in 2..4 {
        send(&mut world, ALICE, request, "test.pool.carol").unwrap();
    }
    assert!(matches!(
        send(&mut world, ALICE, 4, "test.pool.carol"),
        Err(Rejection::LaneExhausted {
            available: Amount::ZERO,
            ..
        })
    ));
    let packets: Vec<_> = World::forwarded(&world.sync())
        .iter()
        .map(|sent| sent.0)
        .collect();
    for packet in packets {
        let preimage = PREIMAGE;
        world
            .apply(&Command::Fulfill {
                peer: CAROL,
                packet,
                preimage,
            })
            .unwrap();
    }
    world.sync();
    let carol = world.state().peer(CAROL).unwrap();
    assert_eq!(
        world.state().balance(carol.clearing).credit(),
        Amount::new(debt_max)
    );
    // What Carol sends is taken off what she is owed.
    send(&mut world, CAROL, 5, "test.pool.bob").unwrap();
    let (_, amount) = forwarded_to(&world.sync());
    assert!(amount > 0);
}

/// A peer that owed the pool got T04 for packets that would have worked its debt off.
#[test]
fn without_a_lane_a_peer_that_owes_the_pool_is_sent_packets_up_to_what_it_owes() {
    let mut world = World::funded();
    world.admin(Admin::AddPeer {
        name: "carol".into(),
        asset: USD,
        token_hash: Hash32([3; 32]),
        policy: PeerPolicy {
            credit: Amount::new(5_000_000),
            ..peer_policy(0)
        },
    });
    world.sync();
    let exhausted = |available: u128, needed: u128| {
        let (available, needed) = (Amount::new(available), Amount::new(needed));
        Err(Rejection::LaneExhausted { available, needed })
    };
    let refused = send(&mut world, ALICE, 1, "test.pool.carol");
    assert_eq!(refused, exhausted(0, 1_998_000));
    // What is pending from her is no debt yet.
    send(&mut world, CAROL, 2, "test.pool.bob").unwrap();
    let packet = World::forwarded(&world.sync())[0].0;
    let refused = send(&mut world, ALICE, 3, "test.pool.carol");
    assert_eq!(refused, exhausted(0, 1_998_000));
    let (peer, preimage) = (BOB, PREIMAGE);
    let fulfilled = Command::Fulfill {
        peer,
        packet,
        preimage,
    };
    world.apply(&fulfilled).unwrap();
    world.sync();
    // She owes 1,000,000 now; half an ether's thousandth is 0.999 dollars, and the next one would be too much by all but 1,000.
    let refused = send(&mut world, ALICE, 4, "test.pool.carol");
    assert_eq!(refused, exhausted(1_000_000, 1_998_000));
    send_amount(&mut world, ALICE, 5, "test.pool.carol", 500_000).unwrap();
    let (peer, amount) = forwarded_to(&world.sync());
    assert_eq!((peer, amount), (CAROL, 999_000));
    let refused = send_amount(&mut world, ALICE, 6, "test.pool.carol", 500_000);
    assert_eq!(refused, exhausted(1_000, 999_000));
}

#[test]
fn a_pool_has_one_parent_and_relations_are_set_of_live_peers() {
    let mut world = with_carol();
    world.admin(Admin::SetRelation(BOB, relation(RelationKind::Parent, 0)));
    let second = world.try_admin(Admin::SetRelation(CAROL, relation(RelationKind::Parent, 0)));
    assert!(matches!(second, Err(Rejection::BadPolicy(_))));
    world.admin(Admin::SetRelation(BOB, relation(RelationKind::Parent, 5)));
    world.admin(Admin::SetRelation(BOB, Relation::CHILD));
    world.admin(Admin::SetRelation(CAROL, relation(RelationKind::Parent, 0)));
    let unknown = world.try_admin(Admin::SetRelation(PeerId(9), Relation::CHILD));
    assert_eq!(unknown, Err(Rejection::UnknownPeer(PeerId(9))));
    world.sync();
}

#[test]
fn no_more_peers_exchange_routes_than_the_bound() {
    let mut world = World::founded();
    let bound = u32::try_from(bounds::NEIGHBOURS_MAX).unwrap();
    for number in 0..=bound {
        let mut token_hash = Hash32([0; 32]);
        token_hash.0[..4].copy_from_slice(&number.to_le_bytes());
        let name = format!("peer{number}");
        world.admin(Admin::AddPeer {
            name,
            asset: USD,
            token_hash,
            policy: peer_policy(0),
        });
        let set = Admin::SetRelation(PeerId(2 + number), relation(RelationKind::Peer, 0));
        let full = Err(Rejection::Full {
            bound: u64::from(bound),
        });
        let expected = if number < bound { Ok(()) } else { full };
        assert_eq!(world.try_admin(set), expected, "neighbour {number}");
        world.sync();
    }
}

#[test]
fn a_token_is_that_of_one_live_peer_also_after_a_restart() {
    let mut world = World::funded();
    let add = |name: &str| Admin::AddPeer {
        name: name.into(),
        asset: USD,
        token_hash: Hash32([3; 32]),
        policy: peer_policy(0),
    };
    let refused = Err(Rejection::AlreadyExists);
    world.admin(add("carol"));
    let carol = world.state().peer_named("carol").unwrap();
    assert_eq!(world.try_admin(add("dave")), refused);
    restart(&mut world);
    assert_eq!(world.try_admin(add("dave")), refused);
    world.admin(Admin::RemovePeer(carol));
    restart(&mut world);
    world.admin(add("dave"));
    assert_eq!(world.try_admin(add("erin")), refused);
}

fn restart(world: &mut World) {
    world.sync();
    let state = State::restore(&world.state().snapshot()).unwrap();
    world.sequencer = Sequencer::new(state);
}
