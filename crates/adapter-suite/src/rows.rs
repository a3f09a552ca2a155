//! The claims.

use super::{growth, world::FUNDED, *};
use forebay_channel::{CoopClose, KeyChange, NetOff, Release};

/// Every claim about rails.
pub const ROWS: &[Row] = &[
    Row {
        claim: "an opening is seen, then final, each once and in this order",
        check: opening,
    },
    Row {
        claim: "a serial is never used twice",
        check: serial_twice,
    },
    Row {
        claim: "one deposit is credited once, whatever is asked again",
        check: deposit_once,
    },
    Row {
        claim: "redeeming pays min(amount, ceiling) - paid, and the same voucher nothing more",
        check: redeem,
    },
    Row {
        claim: "a voucher by another signer, lane or channel is refused",
        check: forged,
    },
    Row {
        claim: "a batch skips what pays nothing",
        check: batch,
    },
    Row {
        claim: "only the operator raises, and a raise lifts what a voucher pays",
        check: raise,
    },
    Row {
        claim: "a lowering waits for its notice; vouchers are paid until it is executed",
        check: lowering,
    },
    Row {
        claim: "a release lowers at once, for one nonce",
        check: release,
    },
    Row {
        claim: "a net-off moves no money and is void once a redemption came between",
        check: net_off,
    },
    Row {
        claim: "a lowering runs on through a release and a net-off, which lifts what it announced",
        check: running_notice,
    },
    Row {
        claim: "a close waits for its notice, pays vouchers until then, and returns the rest",
        check: close,
    },
    Row {
        claim: "both together close at once",
        check: close_together,
    },
    Row {
        claim: "what a former key signed stays redeemable up to the ceiling of the change",
        check: key_change,
    },
    Row {
        claim: "a reorg retracts what was seen, and what is final stays",
        check: reorg,
    },
    Row {
        claim: "an exit is paid from free money and no more",
        check: exit,
    },
    Row {
        claim: "the operator's key allots no more than its bucket, which releases do not fill; above it the committee co-signs",
        check: growth::bucket,
    },
    Row {
        claim: "one of the committee freezes raises for some days, two again, and nothing that pays out is frozen",
        check: growth::freeze,
    },
    Row {
        claim: "the operator shows that it lives",
        check: growth::heartbeat,
    },
    Row {
        claim: "two of the committee mark notes down, and exits are paid by the lower index",
        check: growth::mark_down,
    },
    // The last: it ends the vault.
    Row {
        claim: "after the operator's silence anybody starts the run-down, and every note is paid in kind",
        check: growth::run_down,
    },
];

fn opening(world: &mut World<'_>) {
    world.open();
    let opened = VaultFact::Opened {
        serial: world.serial,
        pool_signer: world.rail.address(Party::Operator),
        peer_signer: world.rail.address(Party::Peer),
        peer_payout: world.rail.address(Party::Peer),
    };
    assert_eq!(world.facts_reported().first(), Some(&opened));
    assert_eq!(world.facts(Finality::Final), []);
    world.finalize();
    let last = world.facts(Finality::Final);
    assert_eq!(last.iter().filter(|fact| **fact == opened).count(), 1);
    let raised = VaultFact::Raised {
        serial: world.serial,
        ceiling: Amount::new(FUNDED),
    };
    assert!(
        last.contains(&raised),
        "the first allotment is reported like a raise: {last:?}"
    );
    world.finalize();
    assert_eq!(
        world.facts(Finality::Final),
        last,
        "nothing is reported again"
    );
}

fn serial_twice(world: &mut World<'_>) {
    world.open();
    let again = Opening {
        allotment: Amount::ZERO,
        term_end: None,
        ..world.opening()
    };
    world.refused(Party::Operator, &VaultRequest::Open(again), "SerialUsed");
    world.done(Party::Operator, &VaultRequest::StartClose(world.serial));
    world.rail.pass(CLOSE_PERIOD);
    world.done(Party::Stranger, &VaultRequest::FinishClose(world.serial));
    world.refused(Party::Operator, &VaultRequest::Open(again), "SerialUsed");
}

fn deposit_once(world: &mut World<'_>) {
    world.open();
    let before = world.balance(Party::Peer);
    let (effect, request) = (world.effect(), world.deposit_request(FUNDED));
    for _ in 0..3 {
        assert_eq!(
            world.rail.request(Party::Peer, effect, &request),
            Answer::Done
        );
    }
    assert_eq!(world.balance(Party::Peer), before - FUNDED);
    world.done(Party::Peer, &world.deposit_request(5));
    world.finalize();
    let credited: Vec<VaultFact> = world
        .facts(Finality::Final)
        .into_iter()
        .filter(|fact| matches!(fact, VaultFact::Deposited { .. }))
        .collect();
    let deposited = |amount, ceiling| VaultFact::Deposited {
        serial: world.serial,
        from: world.rail.address(Party::Peer),
        amount: Amount::new(amount),
        ceiling: Amount::new(ceiling),
    };
    assert_eq!(
        credited,
        [deposited(FUNDED, FUNDED), deposited(5, FUNDED + 5)]
    );
}

fn redeem(world: &mut World<'_>) {
    world.open();
    let before = world.balance(Party::Peer);
    world.done(Party::Stranger, &world.redeem(LaneId::Pool, 300));
    assert_eq!(world.balance(Party::Peer), before + 300);
    world.refused(
        Party::Stranger,
        &world.redeem(LaneId::Pool, 300),
        "NothingToPay",
    );
    world.refused(
        Party::Stranger,
        &world.redeem(LaneId::Pool, 200),
        "NothingToPay",
    );
    world.done(Party::Peer, &world.redeem(LaneId::Pool, 5 * FUNDED));
    assert_eq!(
        world.balance(Party::Peer),
        before + FUNDED,
        "the ceiling bounds it"
    );
    world.refused(
        Party::Peer,
        &world.redeem(LaneId::Pool, 6 * FUNDED),
        "NothingToPay",
    );
    world.finalize();
    let paid: Vec<VaultFact> = world
        .facts(Finality::Final)
        .into_iter()
        .filter(|fact| matches!(fact, VaultFact::Redeemed { .. }))
        .collect();
    let redeemed = |paid| VaultFact::Redeemed {
        serial: world.serial,
        lane: LaneId::Pool,
        paid: Amount::new(paid),
    };
    assert_eq!(paid, [redeemed(300), redeemed(FUNDED)]);
}

fn forged(world: &mut World<'_>) {
    world.open();
    world.done(Party::Peer, &world.deposit_request(FUNDED));
    let genuine = world.voucher(LaneId::Peer, 10);
    let mut other_amount = genuine;
    other_amount.voucher.amount = Amount::new(11);
    let mut other_lane = genuine;
    other_lane.voucher.lane = LaneId::Pool;
    let mut other_signer = genuine;
    other_signer.signature =
        world
            .rail
            .sign(Party::Stranger, &world.rail.domain(), &genuine.voucher);
    for bent in [other_amount, other_lane, other_signer] {
        world.refused(
            Party::Operator,
            &VaultRequest::Redeem(vec![bent]),
            "BadSignature",
        );
    }
    world.done(Party::Operator, &VaultRequest::Redeem(vec![genuine]));
}

fn batch(world: &mut World<'_>) {
    world.open();
    world.done(Party::Peer, &world.deposit_request(FUNDED));
    let before = world.balance(Party::Peer);
    let mut forged = world.voucher(LaneId::Pool, 900);
    forged.signature = world
        .rail
        .sign(Party::Stranger, &world.rail.domain(), &forged.voucher);
    let batch = vec![
        world.voucher(LaneId::Pool, 100),
        forged,
        world.voucher(LaneId::Pool, 50),
        world.voucher(LaneId::Peer, 70),
        world.voucher(LaneId::Pool, 150),
    ];
    world.done(Party::Stranger, &VaultRequest::Redeem(batch));
    assert_eq!(world.balance(Party::Peer), before + 150);
    let facts = world.facts_reported();
    let redeemed = |lane, paid| VaultFact::Redeemed {
        serial: world.serial,
        lane,
        paid: Amount::new(paid),
    };
    assert!(
        facts.contains(&redeemed(LaneId::Pool, 150)) && facts.contains(&redeemed(LaneId::Peer, 70))
    );
}

fn raise(world: &mut World<'_>) {
    world.open();
    world.done(Party::Lp, &VaultRequest::DepositNote(Amount::new(500)));
    let raise = forebay_channel::vault::Raise {
        serial: world.serial,
        amount: Amount::new(500),
        term_end: None,
    };
    world.refused(
        Party::Peer,
        &VaultRequest::Raise(vec![raise]),
        "NotOperator",
    );
    world.done(Party::Operator, &VaultRequest::Raise(vec![raise]));
    let before = world.balance(Party::Peer);
    world.done(Party::Peer, &world.redeem(LaneId::Pool, 5 * FUNDED));
    assert_eq!(world.balance(Party::Peer), before + FUNDED + 500);
}

fn lowering(world: &mut World<'_>) {
    world.open();
    let (serial, lane) = (world.serial, LaneId::Pool);
    let lower = |ceiling| VaultRequest::StartLowering {
        serial,
        lane,
        ceiling: Amount::new(ceiling),
    };
    let finish = VaultRequest::FinishLowering { serial, lane };
    world.refused(Party::Stranger, &finish, "NoNotice");
    world.done(Party::Operator, &lower(200));
    let deadline = world.rail.now().saturating_add(CLOSE_PERIOD);
    let announced = VaultFact::LoweringStarted {
        serial,
        lane,
        ceiling: Amount::new(200),
        deadline,
    };
    assert!(world.facts_reported().contains(&announced));
    world.refused(Party::Operator, &lower(100), "NoticeRuns");
    world.refused(Party::Stranger, &finish, "TooEarly");
    let before = world.balance(Party::Peer);
    world.done(Party::Peer, &world.redeem(lane, 400));
    assert_eq!(
        world.balance(Party::Peer),
        before + 400,
        "a claim counts until the lowering is executed"
    );
    world.rail.pass(CLOSE_PERIOD);
    world.done(Party::Stranger, &finish);
    let lowered = VaultFact::Lowered {
        serial,
        lane,
        ceiling: Amount::new(400),
        released: false,
    };
    assert!(
        world.facts_reported().contains(&lowered),
        "never under what was paid"
    );
    world.refused(Party::Peer, &world.redeem(lane, FUNDED), "NothingToPay");
}

fn release(world: &mut World<'_>) {
    world.open();
    let release = Release {
        serial: world.serial,
        lane: LaneId::Pool,
        ceiling: Amount::new(100),
        nonce: 0,
    };
    let by_payer = world
        .rail
        .sign(Party::Operator, &world.rail.domain(), &release);
    world.refused(
        Party::Operator,
        &VaultRequest::Release(release, by_payer),
        "BadSignature",
    );
    let by_payee = world.rail.sign(Party::Peer, &world.rail.domain(), &release);
    world.done(Party::Operator, &VaultRequest::Release(release, by_payee));
    let lowered = VaultFact::Lowered {
        serial: world.serial,
        lane: LaneId::Pool,
        ceiling: Amount::new(100),
        released: true,
    };
    assert!(world.facts_reported().contains(&lowered));
    let again = world.ask(Party::Operator, &VaultRequest::Release(release, by_payee));
    assert_ne!(again, Answer::Done, "the nonce is used up");
}

fn net_off(world: &mut World<'_>) {
    world.open();
    world.done(Party::Peer, &world.deposit_request(FUNDED));
    let (operator, peer) = (Party::Operator, Party::Peer);
    let signed = |world: &World<'_>, net_off: NetOff| {
        let domain = world.rail.domain();
        let pool = world.rail.sign(operator, &domain, &net_off);
        let peer = world.rail.sign(peer, &domain, &net_off);
        VaultRequest::NetOff(net_off, pool, peer)
    };
    let net_off = NetOff {
        serial: world.serial,
        pool_paid: Amount::ZERO,
        peer_paid: Amount::ZERO,
        amount: Amount::new(250),
    };
    let before = world.balance(Party::Peer);
    let request = signed(world, net_off);
    world.done(Party::Stranger, &request);
    assert_eq!(world.balance(Party::Peer), before, "no money moves");
    world.refused(Party::Stranger, &request, "WrongPaid");
    world.done(Party::Peer, &world.redeem(LaneId::Pool, 5 * FUNDED));
    assert_eq!(
        world.balance(Party::Peer),
        before + FUNDED,
        "what remains is what remained"
    );
    let stale = NetOff {
        pool_paid: Amount::new(250),
        peer_paid: Amount::new(250),
        ..net_off
    };
    let stale = signed(world, stale);
    world.refused(Party::Stranger, &stale, "WrongPaid");
}

fn running_notice(world: &mut World<'_>) {
    world.open();
    let (serial, lane) = (world.serial, LaneId::Pool);
    let announced = Amount::new(200);
    world.done(
        Party::Operator,
        &VaultRequest::StartLowering {
            serial,
            lane,
            ceiling: announced,
        },
    );
    let release = Release {
        serial,
        lane,
        ceiling: Amount::new(900),
        nonce: 0,
    };
    let payee = world.rail.sign(Party::Peer, &world.rail.domain(), &release);
    world.done(Party::Operator, &VaultRequest::Release(release, payee));
    let (pool_paid, peer_paid) = (Amount::ZERO, Amount::ZERO);
    let net_off = NetOff {
        serial,
        pool_paid,
        peer_paid,
        amount: Amount::new(50),
    };
    let pool = world
        .rail
        .sign(Party::Operator, &world.rail.domain(), &net_off);
    let peer = world.rail.sign(Party::Peer, &world.rail.domain(), &net_off);
    world.done(Party::Operator, &VaultRequest::NetOff(net_off, pool, peer));
    world.rail.pass(CLOSE_PERIOD);
    world.done(
        Party::Stranger,
        &VaultRequest::FinishLowering { serial, lane },
    );
    let lowered = |ceiling, released| VaultFact::Lowered {
        serial,
        lane,
        ceiling,
        released,
    };
    let facts = world.facts_reported();
    assert!(
        facts.contains(&lowered(Amount::new(900), true)),
        "{facts:?}"
    );
    assert_eq!(facts.last(), Some(&lowered(Amount::new(250), false)));
}

fn close(world: &mut World<'_>) {
    world.open();
    world.done(Party::Peer, &world.deposit_request(FUNDED));
    let serial = world.serial;
    world.refused(
        Party::Stranger,
        &VaultRequest::FinishClose(serial),
        "NoNotice",
    );
    world.done(Party::Peer, &VaultRequest::StartClose(serial));
    let deadline = world.rail.now().saturating_add(CLOSE_PERIOD);
    let announced = VaultFact::CloseStarted {
        serial,
        by: world.rail.address(Party::Peer),
        deadline,
    };
    assert!(world.facts_reported().contains(&announced));
    world.refused(
        Party::Operator,
        &VaultRequest::StartClose(serial),
        "NoticeRuns",
    );
    world.refused(
        Party::Stranger,
        &VaultRequest::FinishClose(serial),
        "TooEarly",
    );
    let before = world.balance(Party::Peer);
    world.rail.pass(CLOSE_PERIOD);
    world.done(Party::Peer, &world.redeem(LaneId::Pool, 300));
    world.done(Party::Operator, &world.redeem(LaneId::Peer, 100));
    world.done(Party::Stranger, &VaultRequest::FinishClose(serial));
    assert_eq!(world.balance(Party::Peer), before + 300 + FUNDED - 100);
    let closed = VaultFact::Closed {
        serial,
        pool_paid: Amount::new(300),
        peer_paid: Amount::new(100),
    };
    assert!(world.facts_reported().contains(&closed));
    let late = world.ask(Party::Peer, &world.redeem(LaneId::Pool, 400));
    assert_ne!(late, Answer::Done, "a closed channel pays nothing");
}

fn close_together(world: &mut World<'_>) {
    world.open();
    world.done(Party::Peer, &world.deposit_request(FUNDED));
    let close = CoopClose {
        serial: world.serial,
        pool_paid: Amount::new(40),
        peer_paid: Amount::new(60),
    };
    let domain = world.rail.domain();
    let pool = world.rail.sign(Party::Operator, &domain, &close);
    let peer = world.rail.sign(Party::Peer, &domain, &close);
    let bent = world.ask(
        Party::Stranger,
        &VaultRequest::CloseTogether(close, pool, pool),
    );
    assert_eq!(
        bent,
        Answer::Refused("BadSignature".into()),
        "one side alone cannot"
    );
    let before = world.balance(Party::Peer);
    world.done(
        Party::Stranger,
        &VaultRequest::CloseTogether(close, pool, peer),
    );
    assert_eq!(world.balance(Party::Peer), before + 40 + FUNDED - 60);
}

fn key_change(world: &mut World<'_>) {
    world.open();
    world.done(Party::Peer, &world.deposit_request(FUNDED));
    let old = world.voucher(LaneId::Peer, 5 * FUNDED);
    let change = KeyChange {
        serial: world.serial,
        lane: LaneId::Peer,
        signer: world.rail.address(Party::Stranger),
        nonce: 0,
    };
    let consent = world
        .rail
        .sign(Party::Operator, &world.rail.domain(), &change);
    world.done(Party::Peer, &VaultRequest::ChangeKey(change, consent));
    world.done(Party::Peer, &world.deposit_request(500));
    world.done(Party::Operator, &VaultRequest::Redeem(vec![old]));
    let redeemed = VaultFact::Redeemed {
        serial: world.serial,
        lane: LaneId::Peer,
        paid: Amount::new(FUNDED),
    };
    assert!(
        world.facts_reported().contains(&redeemed),
        "the former key reaches the former ceiling"
    );
    world.refused(
        Party::Operator,
        &VaultRequest::Redeem(vec![old]),
        "NothingToPay",
    );
}

fn reorg(world: &mut World<'_>) {
    world.open();
    world.finalize();
    world.done(Party::Peer, &world.deposit_request(FUNDED));
    let is_deposit = |fact: &VaultFact| matches!(fact, VaultFact::Deposited { .. });
    assert_eq!(
        world
            .facts(Finality::Seen)
            .iter()
            .filter(|fact| is_deposit(fact))
            .count(),
        1
    );
    let before = world.reports().len();
    world.rail.reorg(1);
    let after = world.reports();
    match after[before..] {
        [
            VaultObservation::Retracted {
                fact: VaultFact::Deposited { .. },
                ..
            },
        ] => {}
        ref other => panic!("the deposit, and nothing else, is retracted: {other:?}"),
    }
    world.finalize();
    let last = world.facts(Finality::Final);
    assert!(
        last.iter()
            .any(|fact| matches!(fact, VaultFact::Opened { .. }))
    );
    assert!(
        !last.iter().any(is_deposit),
        "what was dropped never becomes final"
    );
    world.done(Party::Peer, &world.deposit_request(7));
    world.finalize();
    let ceilings: Vec<Amount> = world
        .facts(Finality::Final)
        .into_iter()
        .filter_map(|fact| match fact {
            VaultFact::Deposited { ceiling, .. } => Some(ceiling),
            _ => None,
        })
        .collect();
    assert_eq!(ceilings, [Amount::new(7)]);
}

fn exit(world: &mut World<'_>) {
    world.done(Party::Lp, &VaultRequest::DepositNote(Amount::new(400)));
    let before = world.balance(Party::Lp);
    world.done(Party::Lp, &VaultRequest::RequestExit(Amount::new(400)));
    assert_eq!(world.balance(Party::Lp), before);
    world.done(Party::Stranger, &VaultRequest::PayExits(8));
    let member = world.rail.address(Party::Lp);
    let cohort = world.cohort_of_last_exit();
    world.done(Party::Stranger, &VaultRequest::ClaimExit { cohort, member });
    assert_eq!(world.balance(Party::Lp), before + 400);
}
