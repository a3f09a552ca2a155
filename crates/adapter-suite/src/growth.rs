//! The claims about what bounds a vault's growth, and about its end.

use super::{world::FUNDED, *};
use forebay_channel::vault::{Cosignature, RUN_DOWN_COHORT, Raise};
use forebay_channel::{CosignedRaise, Freeze, MarkDown, Release};

/// What a note unit is worth at first, in ray.
const INDEX: u128 = 1_000_000_000_000_000_000_000_000_000;

fn now_s(world: &World<'_>) -> u64 {
    world.rail.now().value() / 1_000
}

fn raise_by(world: &World<'_>, amount: Amount) -> VaultRequest {
    VaultRequest::Raise(vec![Raise {
        serial: world.serial,
        amount,
        term_end: None,
    }])
}

fn cosigned_raise(world: &World<'_>, nonce: u64) -> CosignedRaise {
    CosignedRaise {
        serial: world.serial,
        amount: BUCKET_CAPACITY,
        term_end_s: 0,
        nonce,
        valid_until_s: now_s(world) + 3_600,
    }
}

pub(crate) fn bucket(world: &mut World<'_>) {
    world.open();
    world.done(
        Party::Lp,
        &VaultRequest::DepositNote(Amount::new(2_000_000)),
    );
    // At least this row's opening has drained it.
    let whole = raise_by(world, BUCKET_CAPACITY);
    world.refused(Party::Operator, &whole, "BucketEmpty");
    let raise = cosigned_raise(world, 0);
    let list = world.cosigned(2, &raise);
    let one = VaultRequest::RaiseCosigned(raise, list[..1].to_vec());
    world.refused(Party::Operator, &one, "NotEnoughSignatures");
    let twice = VaultRequest::RaiseCosigned(raise, vec![list[0], list[0]]);
    world.refused(Party::Operator, &twice, "BadSignature");
    let both = VaultRequest::RaiseCosigned(raise, list);
    world.refused(Party::Stranger, &both, "NotOperator");
    world.done(Party::Operator, &both);
    world.refused(Party::Operator, &both, "BadSignature");
    let ceiling = Amount::new(FUNDED + BUCKET_CAPACITY.value());
    let facts = world.facts_reported();
    let raised = VaultFact::Raised {
        serial: world.serial,
        ceiling,
    };
    let cosigned = VaultFact::Cosigned {
        serial: world.serial,
        amount: BUCKET_CAPACITY,
        nonce: 0,
    };
    assert_eq!(facts[facts.len() - 2..], [raised, cosigned], "{facts:?}");
    let release = Release {
        serial: world.serial,
        lane: LaneId::Pool,
        ceiling: Amount::ZERO,
        nonce: 0,
    };
    let payee = world.rail.sign(Party::Peer, &world.rail.domain(), &release);
    world.done(Party::Operator, &VaultRequest::Release(release, payee));
    world.refused(Party::Operator, &whole, "BucketEmpty");
    let few = raise_by(world, Amount::new(5));
    world.done(Party::Operator, &few);
}

pub(crate) fn freeze(world: &mut World<'_>) {
    world.open();
    let more = raise_by(world, Amount::new(1));
    let span = Milliseconds::from_seconds(3_600);
    let until = |world: &World<'_>| Freeze {
        until_s: now_s(world) + span.value() / 1_000,
    };
    let first = until(world);
    let forged: Vec<Cosignature> = world
        .cosigned(1, &first)
        .into_iter()
        .map(|cosignature| Cosignature {
            member: 1,
            ..cosignature
        })
        .collect();
    world.refused(
        Party::Stranger,
        &VaultRequest::Freeze(first, forged),
        "BadSignature",
    );
    let list = world.cosigned(1, &first);
    world.done(Party::Stranger, &VaultRequest::Freeze(first, list));
    world.refused(Party::Operator, &more, "Frozen");
    world.done(Party::Peer, &world.redeem(LaneId::Pool, 300));
    world.rail.pass(span);
    world.done(Party::Operator, &more);
    let again = until(world);
    let list = world.cosigned(2, &again);
    let by_one = VaultRequest::Freeze(again, list[..1].to_vec());
    world.refused(Party::Stranger, &by_one, "NotEnoughSignatures");
    world.done(Party::Stranger, &VaultRequest::Freeze(again, list));
    world.refused(Party::Operator, &more, "Frozen");
    world.rail.pass(span);
    let too_long = Freeze {
        until_s: now_s(world) + 8 * 86_400,
    };
    let list = world.cosigned(2, &too_long);
    let request = VaultRequest::Freeze(too_long, list);
    world.refused(Party::Stranger, &request, "BadTerm");
}

pub(crate) fn heartbeat(world: &mut World<'_>) {
    world.refused(Party::Peer, &VaultRequest::Heartbeat, "NotOperator");
    world.done(Party::Operator, &VaultRequest::Heartbeat);
    let seen = VaultFact::Heartbeat {
        at: world.rail.now(),
    };
    assert!(world.facts_of_vault().contains(&seen));
}

pub(crate) fn mark_down(world: &mut World<'_>) {
    world.done(Party::Lp, &VaultRequest::DepositNote(Amount::new(4_000)));
    let lower = MarkDown {
        index: Amount::new(INDEX / 2),
        nonce: 1,
        valid_until_s: now_s(world) + 3_600,
    };
    let list = world.cosigned(2, &lower);
    let by_one = VaultRequest::MarkDown(lower, list[..1].to_vec());
    world.refused(Party::Stranger, &by_one, "NotEnoughSignatures");
    let higher = MarkDown {
        index: Amount::new(2 * INDEX),
        ..lower
    };
    let up = VaultRequest::MarkDown(higher, world.cosigned(2, &higher));
    world.refused(Party::Stranger, &up, "IndexNotLower");
    world.done(Party::Stranger, &VaultRequest::MarkDown(lower, list));
    let before = world.balance(Party::Lp);
    world.done(Party::Lp, &VaultRequest::RequestExit(Amount::new(400)));
    world.done(Party::Stranger, &VaultRequest::PayExits(1));
    let member = world.rail.address(Party::Lp);
    let cohort = world.cohort_of_last_exit();
    world.done(Party::Stranger, &VaultRequest::ClaimExit { cohort, member });
    assert_eq!(world.balance(Party::Lp), before + 200, "half of it");
}

pub(crate) fn run_down(world: &mut World<'_>) {
    world.open();
    let member = world.rail.address(Party::Lp);
    world.refused(Party::Stranger, &VaultRequest::StartRunDown, "TooEarly");
    world.done(Party::Operator, &VaultRequest::Heartbeat);
    world.rail.pass(HEARTBEAT_MAX);
    world.rail.pass(Milliseconds::from_seconds(1));
    world.done(Party::Stranger, &VaultRequest::StartRunDown);
    for (party, request) in [
        (Party::Stranger, VaultRequest::StartRunDown),
        (Party::Operator, VaultRequest::Heartbeat),
        (Party::Operator, raise_by(world, Amount::new(1))),
        (Party::Lp, VaultRequest::DepositNote(Amount::new(1))),
        (Party::Lp, VaultRequest::RequestExit(Amount::new(1))),
    ] {
        world.refused(party, &request, "RunsDown");
    }
    let before = world.balance(Party::Lp);
    world.done(Party::Stranger, &VaultRequest::PayExits(1));
    let claim = VaultRequest::ClaimExit {
        cohort: RUN_DOWN_COHORT,
        member,
    };
    world.done(Party::Stranger, &claim);
    let gained = world.balance(Party::Lp) - before;
    assert!(gained > 0, "what is free is paid");
    world.done(Party::Stranger, &claim);
    assert_eq!(world.balance(Party::Lp), before + gained, "once");
    // Every term has ended: a stranger brings the allotment home, and it goes the same way.
    let (serial, lane) = (world.serial, LaneId::Pool);
    let lower = VaultRequest::StartLowering {
        serial,
        lane,
        ceiling: Amount::new(FUNDED - 1),
    };
    world.done(Party::Stranger, &lower);
    world.rail.pass(CLOSE_PERIOD);
    let finish = VaultRequest::FinishLowering { serial, lane };
    world.done(Party::Stranger, &finish);
    let lowered = VaultFact::Lowered {
        serial,
        lane,
        ceiling: Amount::ZERO,
        released: false,
    };
    assert!(world.facts_reported().contains(&lowered), "all the way");
    world.done(Party::Stranger, &VaultRequest::PayExits(1));
    world.done(Party::Stranger, &claim);
    let more = world.balance(Party::Lp) - before - gained;
    assert!(more <= FUNDED, "no more than came home: {more}");
}
