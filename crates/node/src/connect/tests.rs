//! The peer's side against a pool, a chain and software that do as they like.

use forebay_channel::vault::{Head, Place, VaultFact, VaultObservation, VaultRequest};
use forebay_channel::{
    Address, Channel, ChannelPolicy, Domain, Finality, LaneId, PacketName, PeerMessage, Terms,
    Voucher,
};
use forebay_ilp::{Address as IlpAddress, ErrorCode, FulfillView, PacketView, PrepareView};
use forebay_quantity::{
    Amount, BlockHeight, ChannelSerial, EffectId, Hash32, Milliseconds, PacketId, Timestamp,
};
use sha2::{Digest, Sha256};

use super::{Command, Core, Effect, Event, LightningEffect, Policy, Rail, State, VaultRail};
use forebay_chain_evm::Key;

mod lightning;

const SERIAL: ChannelSerial = ChannelSerial::new(7);
const FACTOR: u128 = 1_000;
const EXPIRES: Timestamp = Timestamp(60_000);

struct World {
    core: Core,
    policy: Policy,
    vault: VaultRail,
    now: Timestamp,
    journal: Vec<Event>,
    pool_key: Key,
    log_index: u32,
}

fn policy() -> Policy {
    Policy {
        rail: Rail::Vault(vault_rail()),
        asset_scale: 9,
        credit_to_pool: Amount::new(100),
        prepay: Amount::new(50),
    }
}

fn vault_rail() -> VaultRail {
    VaultRail {
        signer: Address::new([1; 20]),
        payout: Address::new([2; 20]),
        chain_id: 31_337,
        vault: Address::new([3; 20]),
        chain_scale: 12,
        deposit: Amount::new(200 * FACTOR),
        channel: ChannelPolicy {
            redeem_threshold: Amount::new(500 * FACTOR),
            claim_min: Amount::new(1),
            answer_margin: Milliseconds::new(1_000),
        },
    }
}

fn preimage(seed: u8) -> [u8; 32] {
    [seed; 32]
}

fn condition(seed: u8) -> [u8; 32] {
    Sha256::digest(preimage(seed)).into()
}

fn prepare(amount: u64, seed: u8, expires_at: Timestamp) -> Vec<u8> {
    let condition = condition(seed);
    let destination = IlpAddress::parse(b"test.pool.b").expect("an address");
    let view = PrepareView {
        amount,
        expires_at,
        condition: &condition,
        destination,
        data: b"data",
    };
    let mut packet = Vec::new();
    view.encode(&mut packet).expect("encodes");
    packet
}

fn fulfill(seed: u8) -> Vec<u8> {
    let preimage = preimage(seed);
    let mut packet = Vec::new();
    FulfillView {
        fulfillment: &preimage,
        data: b"receipt",
    }
    .encode(&mut packet)
    .expect("encodes");
    packet
}

fn code(packet: &[u8]) -> String {
    match PacketView::parse(packet).expect("an ILP packet") {
        PacketView::Prepare(_) => "prepare".into(),
        PacketView::Fulfill(view) if view.data.is_empty() => "bare fulfill".into(),
        PacketView::Fulfill(_) => "fulfill".into(),
        PacketView::Reject(reject) => reject.code.to_string(),
    }
}

/// One effect as a word or two.
fn text(effect: &Effect) -> String {
    match effect {
        Effect::Forward(request, _) => format!("forward {request}"),
        Effect::Deliver(request, _) => format!("deliver {request}"),
        Effect::AnswerPool(request, packet) => format!("to pool {request} {}", code(packet)),
        Effect::AnswerSoftware(request, packet) => {
            format!("to software {request} {}", code(packet))
        }
        Effect::SignVoucher(_, amount) => format!("sign {}", amount.value() / FACTOR),
        Effect::SayHello(_) => "hello".into(),
        Effect::Say(PeerMessage::Resume { requests }) => format!("resume {requests:?}"),
        Effect::Say(PeerMessage::VoucherHeld {
            secured, refused, ..
        }) => {
            format!(
                "held {}{}",
                secured.value() / FACTOR,
                if refused.is_some() { " refused" } else { "" }
            )
        }
        Effect::Say(PeerMessage::PacketsUnknown { packets }) => {
            let packets = packets.iter().map(|name| name.packet.0);
            format!("unknown {:?}", packets.collect::<Vec<_>>())
        }
        Effect::Say(PeerMessage::Held { amount, .. }) => {
            format!("holds {}", amount.value() / FACTOR)
        }
        Effect::Say(PeerMessage::InvoiceAsked { settlement, amount }) => {
            format!("ask invoice {settlement} of {amount}")
        }
        Effect::Say(PeerMessage::InvoiceTold {
            settlement,
            invoice: None,
            ..
        }) => format!("no invoice {settlement}"),
        Effect::Say(other) => format!("{other:?}"),
        Effect::Transact(_, VaultRequest::Deposit { amount, .. }) => {
            format!("deposit {}", amount.value() / FACTOR)
        }
        Effect::Transact(_, VaultRequest::Redeem(vouchers)) => {
            format!("redeem {}", vouchers[0].voucher.amount.value() / FACTOR)
        }
        Effect::Transact(_, request) => format!("{request:?}"),
        Effect::Lightning(LightningEffect::SayHello { .. }) => "hello".into(),
        Effect::Lightning(LightningEffect::MakeInvoice {
            settlement, amount, ..
        }) => format!("invoice {settlement} of {amount}"),
        Effect::Lightning(LightningEffect::Pay { hash, invoice, .. }) => {
            format!("pay {} {invoice}", hash.0[0])
        }
        Effect::Lightning(LightningEffect::OpenChannel {
            channel, value_sat, ..
        }) => format!("open {channel} of {value_sat}"),
        Effect::Alarm(_) => "alarm".into(),
    }
}

impl World {
    fn new(policy: Policy) -> Self {
        let vault = match &policy.rail {
            Rail::Vault(rail) => rail.clone(),
            Rail::Lightning(_) => vault_rail(),
        };
        Self {
            core: Core::new(policy.clone(), State::default()),
            policy,
            vault,
            now: Timestamp(1_000),
            journal: Vec::new(),
            pool_key: Key::from_bytes([9; 32]).expect("a key"),
            log_index: 0,
        }
    }

    /// With both links up, the channel open, the deposit made and a voucher ahead confirmed.
    fn ready() -> Self {
        Self::ready_with(policy())
    }

    fn ready_with(policy: Policy) -> Self {
        let mut world = Self::new(policy);
        let deposit = world.vault.deposit;
        world.run(Command::SoftwareUp);
        world.run(Command::PoolUp);
        world.open_channel();
        if !deposit.is_zero() {
            world.fact(VaultFact::Deposited {
                serial: SERIAL,
                from: Address::new([2; 20]),
                amount: deposit,
                ceiling: deposit,
            });
        }
        world.terms(0);
        world.confirm();
        world
    }

    fn run(&mut self, command: Command<'_>) -> String {
        let (mut events, mut effects) = (Vec::new(), Vec::new());
        self.core
            .handle(self.now, command, &mut events, &mut effects);
        self.journal.append(&mut events);
        effects.iter().map(text).collect::<Vec<_>>().join(", ")
    }

    fn open_channel(&mut self) -> String {
        let pool_signer = self.pool_key.address();
        let (peer_signer, peer_payout) = (self.vault.signer, self.vault.payout);
        self.fact(VaultFact::Opened {
            serial: SERIAL,
            pool_signer,
            peer_signer,
            peer_payout,
        })
    }

    fn fact(&mut self, fact: VaultFact) -> String {
        self.fact_at(fact, Finality::Final)
    }

    fn fact_at(&mut self, fact: VaultFact, finality: Finality) -> String {
        self.log_index += 1;
        let place = Place {
            block: BlockHeight::new(5),
            log_index: self.log_index,
            block_hash: Hash32::ZERO,
        };
        let observation = VaultObservation::Fact {
            fact,
            place,
            transaction: Hash32::ZERO,
            finality,
        };
        self.run(Command::Chain(observation))
    }

    fn raised(&mut self, ceiling: u128) -> String {
        self.fact(VaultFact::Raised {
            serial: SERIAL,
            ceiling: Amount::new(ceiling * FACTOR),
        })
    }

    fn terms(&mut self, held: u128) -> String {
        self.terms_in(held, 12)
    }

    fn terms_in(&mut self, held: u128, chain_scale: u8) -> String {
        let terms = Terms {
            address: "test.pool.a".into(),
            asset_code: "ETH".into(),
            asset_scale: 9,
            chain_scale,
            chain_id: 31_337,
            vault: self.vault.vault,
            token: Address::ZERO,
            pool_signer: self.pool_key.address(),
            serial: Some(SERIAL),
            open: true,
            held: Amount::new(held * FACTOR),
            signed: Amount::ZERO,
            credit: Amount::ZERO,
            packet_max: 1_000,
            settle_threshold: Amount::new(10),
            owed_to_peer: Amount::ZERO,
            owed_to_pool: Amount::ZERO,
        };
        self.run(Command::PoolSays(PeerMessage::Terms(terms)))
    }

    /// The pool confirms whatever was signed.
    fn confirm(&mut self) -> String {
        let secured = self
            .core
            .state()
            .channel
            .as_ref()
            .expect("a channel")
            .outgoing
            .promised();
        self.run(Command::PoolSays(PeerMessage::VoucherHeld {
            serial: SERIAL,
            secured,
            refused: None,
        }))
    }

    fn software_sends(&mut self, request: u32, amount: u64) -> String {
        let packet = prepare(amount, 1, EXPIRES);
        let view = PrepareView::parse(&packet).expect("a prepare");
        self.run(Command::SoftwarePrepare(request, &packet, view))
    }

    fn pool_sends(&mut self, request: u32, amount: u64) -> String {
        let packet = prepare(amount, 1, EXPIRES);
        let view = PrepareView::parse(&packet).expect("a prepare");
        self.run(Command::PoolPrepare(request, &packet, view))
    }

    fn software_fulfills(&mut self, request: u32, seed: u8) -> String {
        let packet = fulfill(seed);
        self.run(Command::SoftwareFulfill(
            request,
            &packet,
            FulfillView::parse(&packet).expect("a fulfill"),
        ))
    }

    fn pool_fulfills(&mut self, request: u32, seed: u8) -> String {
        let packet = fulfill(seed);
        self.run(Command::PoolFulfill(
            request,
            &packet,
            FulfillView::parse(&packet).expect("a fulfill"),
        ))
    }

    fn pool_asks(&mut self, packets: &[(u32, Timestamp)]) -> String {
        let name = |&(packet, expires_at)| PacketName {
            expires_at,
            packet: PacketId(packet),
        };
        let packets = packets.iter().map(name).collect();
        self.run(Command::PoolSays(PeerMessage::PacketsAsked { packets }))
    }

    fn pool_pays(&mut self, amount: u128) -> String {
        let amount = Amount::new(amount * FACTOR);
        let domain = Domain::new(self.vault.chain_id, self.vault.vault);
        let digest = domain.digest(&Voucher {
            serial: SERIAL,
            lane: LaneId::Pool,
            amount,
        });
        let signature = self.pool_key.sign(&digest).0;
        self.run(Command::PoolSays(PeerMessage::Voucher {
            serial: SERIAL,
            amount,
            signature,
        }))
    }

    /// The process is killed and comes back with what its journal holds; nothing else.
    fn killed(&mut self) {
        let mut state = State::default();
        for event in &self.journal {
            let bytes = borsh::to_vec(event).expect("encodes");
            state.evolve(&borsh::from_slice(&bytes).expect("decodes"));
        }
        assert_eq!(
            &state,
            self.core.state(),
            "[I10] replay gives the same state"
        );
        self.core = Core::new(self.policy.clone(), state);
    }
}

#[test]
fn the_deposit_is_made_once_the_channel_is_open_at_finality_depth_and_only_once() {
    let mut world = World::new(policy());
    let opened = VaultFact::Opened {
        serial: SERIAL,
        pool_signer: world.pool_key.address(),
        peer_signer: world.vault.signer,
        peer_payout: world.vault.payout,
    };
    assert_eq!(world.fact_at(opened, Finality::Safe), "");
    assert_eq!(world.fact(opened), "deposit 200");
    assert_eq!(world.run(Command::Tick), "");
    world.killed();
    assert_eq!(
        world
            .core
            .outstanding()
            .map(|effect| text(&effect))
            .collect::<Vec<_>>(),
        ["deposit 200"]
    );
    assert_eq!(world.run(Command::Outcome(EffectId::new(1), true)), "");
    assert_eq!(world.run(Command::Tick), "");
}

#[test]
fn a_channel_for_somebody_else_is_not_ours() {
    let mut world = World::new(policy());
    let (pool_signer, peer_payout) = (world.pool_key.address(), world.vault.payout);
    let opened = VaultFact::Opened {
        serial: SERIAL,
        pool_signer,
        peer_signer: Address::new([8; 20]),
        peer_payout,
    };
    assert_eq!(world.fact(opened), "");
    assert!(world.core.state().channel.is_none());
}

#[test]
fn packets_wait_until_the_pool_confirms_the_voucher_that_covers_them() {
    let mut world = World::ready();
    assert_eq!(world.software_sends(1, 20), "forward 1");
    assert_eq!(world.software_sends(2, 25), "forward 2, sign 95");
    assert_eq!(
        world.software_sends(3, 30),
        "sign 125",
        "5 of the 50 confirmed are left"
    );
    assert_eq!(world.software_sends(4, 1), "", "what waits goes first");
    assert_eq!(world.confirm(), "forward 3, forward 4");
    assert_eq!(world.pool_fulfills(1, 1), "to software 1 fulfill");
}

#[test]
fn a_voucher_never_passes_the_final_ceiling_and_then_packets_are_refused() {
    let mut world = World::ready();
    let mut seen = 0;
    for request in 0..20 {
        let did = world.software_sends(request, 20);
        seen += usize::from(did.contains("T04"));
        world.confirm();
        let channel = world.core.state().channel.as_ref().expect("a channel");
        assert!(
            channel.outgoing.promised() <= Amount::new(200 * FACTOR),
            "[I4]"
        );
    }
    assert_eq!(seen, 10, "200 of deposit cover ten packets of 20");
    assert_eq!(
        world.software_sends(99, 0),
        "forward 11",
        "a packet of nothing needs no cover"
    );
}

#[test]
fn without_a_deposit_nothing_is_signed_and_nothing_forwarded() {
    let mut world = World::ready_with(Policy {
        rail: Rail::Vault(VaultRail {
            deposit: Amount::ZERO,
            ..vault_rail()
        }),
        ..policy()
    });
    assert_eq!(world.software_sends(1, 1), "to software 1 T04");
}

#[test]
fn a_lowering_of_the_deposit_that_is_announced_counts_at_once() {
    let mut world = World::ready();
    let lowering = VaultFact::LoweringStarted {
        serial: SERIAL,
        lane: LaneId::Peer,
        ceiling: Amount::new(60 * FACTOR),
        deadline: Timestamp(90_000_000),
    };
    world.fact_at(lowering, Finality::Seen);
    assert_eq!(world.software_sends(1, 30), "forward 1, sign 60");
    world.confirm();
    assert_eq!(world.software_sends(2, 31), "to software 2 T04");
}

#[test]
fn a_pool_that_does_not_pay_is_refused_before_anything_is_passed_on() {
    let mut world = World::ready();
    world.raised(1_000);
    assert_eq!(world.pool_sends(1, 60), "deliver 1");
    assert_eq!(
        world.pool_sends(2, 41),
        "to pool 2 T04",
        "pending counts: 60 + 41 > 100"
    );
    assert_eq!(world.pool_sends(3, 40), "deliver 3");
    assert_eq!(world.software_fulfills(1, 1), "to pool 1 fulfill");
    assert_eq!(
        world.pool_sends(4, 1),
        "to pool 4 T04",
        "fulfilled and unpaid counts as well"
    );
    assert_eq!(world.pool_pays(60), "held 60");
    assert_eq!(world.pool_sends(5, 60), "deliver 5");
}

#[test]
fn a_voucher_above_the_pools_final_ceiling_secures_the_ceiling_only() {
    let mut world = World::ready();
    world.raised(30);
    assert_eq!(world.pool_pays(80), "held 30");
    world.pool_sends(1, 100);
    world.software_fulfills(1, 1);
    assert_eq!(
        world.pool_sends(2, 31),
        "to pool 2 T04",
        "100 - 30 + 31 > 100"
    );
    world.raised(80);
    assert_eq!(world.pool_sends(3, 31), "deliver 3");
}

#[test]
fn a_voucher_that_is_forged_or_goes_back_is_refused() {
    let mut world = World::ready();
    world.raised(1_000);
    assert_eq!(world.pool_pays(60), "held 60");
    assert_eq!(world.pool_pays(59), "held 60 refused");
    assert_eq!(
        world.pool_pays(60),
        "held 60",
        "the same again is no offence"
    );
    world.pool_key = Key::from_bytes([8; 32]).expect("a key");
    assert_eq!(world.pool_pays(90), "held 60 refused");
}

#[test]
fn vouchers_are_redeemed_at_the_threshold_on_a_notice_and_on_command() {
    let mut world = World::ready();
    world.raised(1_000);
    assert_eq!(world.pool_pays(499), "held 499");
    assert_eq!(world.run(Command::RedeemNow), "redeem 499");
    assert_eq!(world.run(Command::RedeemNow), "", "it is under way");
    assert_eq!(
        world.run(Command::Outcome(EffectId::new(2), false)),
        "alarm"
    );
    world.now = Timestamp(world.now.0 + 30_000);
    assert_eq!(world.run(Command::RedeemNow), "redeem 499");
    world.fact(VaultFact::Redeemed {
        serial: SERIAL,
        lane: LaneId::Pool,
        paid: Amount::new(499 * FACTOR),
    });
    assert_eq!(
        world.pool_pays(600),
        "held 600",
        "101 is below the threshold"
    );
    let close = VaultFact::CloseStarted {
        serial: SERIAL,
        by: Address::ZERO,
        deadline: Timestamp(90_000_000),
    };
    assert_eq!(world.fact_at(close, Finality::Seen), "redeem 600", "[I13]");
}

// The model walked here: a voucher taken when the close could already be executed was counted and never paid.
#[test]
fn a_voucher_or_packet_too_late_to_be_redeemed_before_a_close_is_refused() {
    let mut world = World::ready();
    world.raised(1_000);
    let margin = world.vault.channel.answer_margin;
    let deadline = Timestamp(world.now.0 + 2_000).saturating_add(margin);
    let close = VaultFact::CloseStarted {
        serial: SERIAL,
        by: Address::ZERO,
        deadline,
    };
    world.fact_at(close, Finality::Seen);
    world.now = deadline.saturating_sub(margin);
    assert_eq!(world.pool_pays(50), "held 50, redeem 50", "just in time");
    assert_eq!(world.pool_sends(1, 31), "deliver 1");
    world.now = Timestamp(world.now.0 + 1);
    assert_eq!(world.pool_pays(60), "held 50 refused");
    assert_eq!(world.pool_sends(2, 1), "to pool 2 T04");
    assert_eq!(world.pool_sends(3, 0), "deliver 3", "nothing is at stake");
}

// The model walked here: a payee that had not looked at the chain took vouchers behind an announced close.
#[test]
fn a_voucher_is_refused_while_the_chain_is_silent_for_too_long() {
    let mut world = World::ready();
    world.raised(1_000);
    let head = |time| {
        Command::Chain(VaultObservation::Head(Head {
            latest: BlockHeight::new(6),
            time,
            safe: BlockHeight::new(6),
            finalized: BlockHeight::new(6),
        }))
    };
    let heard_at = Timestamp(1_000_000_000);
    world.run(head(heard_at));
    world.now = Timestamp(heard_at.0 + 2 * 3_600_000);
    assert_eq!(world.pool_pays(50), "held 50");
    world.now = Timestamp(world.now.0 + 1);
    assert_eq!(world.pool_pays(60), "held 50 refused");
    world.run(head(world.now));
    assert_eq!(world.pool_pays(60), "held 60");
}

#[test]
fn the_threshold_alone_redeems() {
    let mut world = World::ready();
    world.raised(1_000);
    assert_eq!(world.pool_pays(500), "held 500, redeem 500");
}

#[test]
fn a_restart_loses_no_packet_no_voucher_and_no_answer() {
    let mut world = World::ready();
    world.raised(1_000);
    world.software_sends(1, 20);
    world.software_sends(2, 20);
    world.pool_fulfills(1, 1);
    world.pool_sends(11, 30);
    world.pool_sends(12, 30);
    world.software_fulfills(11, 1);
    world.pool_pays(10);
    world.killed();
    assert_eq!(world.run(Command::PoolUp), "hello");
    assert_eq!(
        world.terms(50),
        "holds 10, sign 90, to pool 11 fulfill, resume [2]"
    );
    let resumed = PeerMessage::Resumed {
        fulfilled: vec![(2, preimage(1))],
        pending: vec![],
    };
    assert_eq!(world.run(Command::PoolSays(resumed)), "");
    assert_eq!(world.pool_fulfills(2, 1), "to software 2 fulfill");
    assert_eq!(world.core.state().sent, Amount::new(40));
    assert_eq!(world.core.state().unpaid(), Amount::new(20));
}

#[test]
fn a_restart_of_the_pool_leaves_waiting_packets_waiting() {
    let mut world = World::ready();
    for request in 1..=3 {
        world.software_sends(request, 10);
    }
    assert_eq!(world.run(Command::PoolDown), "");
    assert_eq!(world.software_sends(4, 1), "to software 4 T01");
    assert_eq!(world.run(Command::PoolUp), "hello");
    assert_eq!(world.terms(80), "holds 0, resume [1, 2, 3]");
    let resumed = PeerMessage::Resumed {
        fulfilled: vec![(1, preimage(1))],
        pending: vec![2],
    };
    assert_eq!(world.run(Command::PoolSays(resumed)), "to software 3 T00");
    assert_eq!(world.pool_fulfills(2, 1), "to software 2 fulfill");
    assert_eq!(world.pool_fulfills(1, 1), "to software 1 fulfill");
    assert_eq!(world.core.state().sent, Amount::new(20));
    assert_eq!(world.core.state().sent_pending, Amount::ZERO);
}

#[test]
fn of_packets_that_never_came_the_pool_is_told_and_they_are_refused_should_they_come() {
    let mut world = World::ready();
    world.raised(1_000);
    world.pool_sends(1, 10);
    world.pool_sends(2, 10);
    world.software_fulfills(2, 1);
    world.pool_sends(3, 10);
    let rejected = super::reply::reject(ErrorCode::F99ApplicationError, "");
    world.run(Command::SoftwareReject(3, &rejected));
    // The pool was killed: what it sent last was lost on its way here, and so was this process.
    world.killed();
    world.run(Command::SoftwareUp);
    world.run(Command::PoolUp);
    world.terms(50);
    let of = |numbers: &[u32]| -> Vec<(u32, Timestamp)> {
        numbers.iter().map(|number| (*number, EXPIRES)).collect()
    };
    assert_eq!(world.pool_asks(&of(&[1, 2, 3, 4, 5])), "unknown [4, 5]");
    assert_eq!(world.pool_asks(&of(&[1, 2, 3])), "");
    assert_eq!(world.pool_sends(4, 10), "to pool 4 T01");
    assert_eq!(world.pool_asks(&of(&[4])), "unknown [4]", "as before");
    // Its number comes again in another packet, which is none of this.
    let packet = prepare(10, 1, Timestamp(EXPIRES.0 + 1));
    let view = PrepareView::parse(&packet).expect("a prepare");
    let effects = world.run(Command::PoolPrepare(4, &packet, view));
    assert_eq!(effects, "deliver 4");
    assert_eq!(world.pool_asks(&of(&[4])), "unknown [4]");
    assert_eq!(world.software_fulfills(1, 1), "to pool 1 fulfill");
    assert_eq!(world.core.state().received, Amount::new(20));
}

/// Answers are forgotten some time after their packets have expired: what they said is not known any more.
#[test]
fn of_an_expired_packet_nothing_is_said() {
    let mut world = World::ready();
    world.raised(1_000);
    world.pool_sends(1, 10);
    world.software_fulfills(1, 1);
    world.now = Timestamp(EXPIRES.0 + 5_000);
    world.run(Command::Tick);
    assert!(world.core.state().answers.is_empty());
    assert_eq!(world.pool_asks(&[(1, EXPIRES), (2, EXPIRES)]), "");
    let later = Timestamp(world.now.0 + 1);
    assert_eq!(world.pool_asks(&[(2, later)]), "unknown [2]");
    world.now = later;
    world.run(Command::Tick);
    assert_eq!(world.pool_asks(&[(2, later)]), "", "too late by now");
}

/// A pool may ask for what it likes: memory for it is bounded, and beyond that nothing is disowned.
#[test]
fn no_more_packets_are_disowned_than_can_be_refused() {
    let mut world = World::ready();
    let question = |first: u32| -> Vec<(u32, Timestamp)> {
        (first..first + 1_024)
            .map(|number| (number, EXPIRES))
            .collect()
    };
    for part in 0..16 {
        assert!(
            world
                .pool_asks(&question(part * 1_024))
                .starts_with("unknown")
        );
    }
    assert_eq!(world.pool_asks(&question(16 * 1_024)), "");
    assert_eq!(world.pool_sends(16 * 1_024, 1), "deliver 16384");
    assert_eq!(world.pool_sends(0, 1), "to pool 0 T01");
}

#[test]
fn terms_in_other_decimal_places_than_the_vaults_token_has_are_not_taken() {
    let mut world = World::ready();
    world.run(Command::PoolDown);
    world.run(Command::PoolUp);
    for scale in [9, 11, 13, 38, 39] {
        assert_eq!(world.terms_in(50, scale), "alarm", "{scale}");
        assert!(!world.core.ready());
    }
    world.terms(50);
    assert!(world.core.ready());
}

#[test]
fn after_a_deep_reorganisation_nothing_is_agreed_to_until_an_operator_has_looked() {
    let mut world = World::ready();
    let block = BlockHeight::new(4);
    let lost = VaultObservation::DeepReorg { block };
    assert_eq!(world.run(Command::Chain(lost)), "alarm");
    assert_eq!(world.software_sends(1, 10), "to software 1 T01");
    assert_eq!(world.terms(50), "alarm");
    world.killed();
    world.run(Command::SoftwareUp);
    world.run(Command::PoolUp);
    assert_eq!(world.terms(50), "alarm");
    assert_eq!(world.run(Command::SettleReorg), "hello");
    assert_eq!(world.terms(50), "holds 0");
    assert_eq!(world.software_sends(2, 10), "forward 1");
    assert_eq!(world.run(Command::SettleReorg), "", "nothing to settle");
}

#[test]
fn software_that_begins_its_numbers_anew_hears_no_answer_of_its_former_life() {
    let mut world = World::ready();
    assert_eq!(world.software_sends(1, 10), "forward 1");
    world.run(Command::SoftwareDown);
    world.run(Command::SoftwareUp);
    assert_eq!(world.software_sends(1, 10), "forward 2");
    assert_eq!(world.pool_fulfills(1, 1), "");
    assert_eq!(
        world.core.state().sent,
        Amount::new(10),
        "it was paid all the same"
    );
    assert_eq!(world.pool_fulfills(2, 1), "to software 1 fulfill");
}

/// The npm STREAM client counts a fulfill without data as neither paid nor failed, and waits for ever: seen in a demo.
#[test]
fn a_fulfill_waits_for_its_data_but_not_past_its_time_and_no_reject_undoes_it() {
    let mut world = World::ready();
    for request in 1..=3 {
        world.software_sends(request, 10);
    }
    world.run(Command::PoolDown);
    world.run(Command::PoolUp);
    world.terms(80);
    let fulfilled = (1..=3).map(|request| (request, preimage(1))).collect();
    let resumed = PeerMessage::Resumed {
        fulfilled,
        pending: vec![],
    };
    assert_eq!(world.run(Command::PoolSays(resumed.clone())), "");
    let rejected = super::reply::reject(ErrorCode::T00InternalError, "");
    assert_eq!(world.run(Command::PoolReject(3, &rejected)), "");
    world.now = Timestamp(world.now.0 + 4_999);
    assert_eq!(world.run(Command::Tick), "");
    assert_eq!(world.pool_fulfills(2, 1), "to software 2 fulfill");
    world.now = Timestamp(world.now.0 + 1);
    assert_eq!(
        world.run(Command::Tick),
        "to software 1 bare fulfill, to software 3 bare fulfill"
    );
    assert_eq!(world.core.state().sent, Amount::new(30));
    assert_eq!(world.run(Command::PoolSays(resumed)), "", "[I3]");

    world.now = Timestamp(EXPIRES.0 - 1_500);
    world.software_sends(4, 10);
    world.run(Command::PoolDown);
    world.run(Command::PoolUp);
    world.terms(80);
    let resumed = PeerMessage::Resumed {
        fulfilled: vec![(4, preimage(1))],
        pending: vec![],
    };
    assert_eq!(world.run(Command::PoolSays(resumed)), "");
    world.now = Timestamp(EXPIRES.0 - 1_000);
    assert_eq!(world.run(Command::Tick), "to software 4 bare fulfill");
}

#[test]
fn duplicate_and_late_answers_change_nothing() {
    let mut world = World::ready();
    world.raised(1_000);
    world.software_sends(1, 20);
    assert_eq!(world.pool_fulfills(1, 1), "to software 1 fulfill");
    assert_eq!(world.pool_fulfills(1, 1), "");
    assert_eq!(world.core.state().sent, Amount::new(20), "[I3]");
    world.pool_sends(5, 20);
    assert_eq!(world.pool_sends(5, 20), "", "the same prepare again");
    assert_eq!(world.software_fulfills(5, 1), "to pool 5 fulfill");
    assert_eq!(world.software_fulfills(5, 1), "");
    assert_eq!(
        world.pool_sends(5, 20),
        "to pool 5 fulfill",
        "answered as before, not delivered again"
    );
    assert_eq!(world.core.state().received, Amount::new(20));
    world.pool_sends(6, 20);
    world.now = EXPIRES;
    assert_eq!(world.run(Command::Tick), "to pool 6 R00");
    assert_eq!(world.software_fulfills(6, 1), "");
    assert_eq!(world.core.state().received, Amount::new(20));
}

/// Found by reading: packet numbers come again, and the answer of the former packet was given to the new one.
#[test]
fn a_number_that_comes_again_is_a_new_packet() {
    let mut world = World::ready();
    world.raised(1_000);
    world.pool_sends(5, 10);
    assert_eq!(world.software_fulfills(5, 1), "to pool 5 fulfill");
    let packet = prepare(10, 1, Timestamp(EXPIRES.0 + 1));
    let view = PrepareView::parse(&packet).expect("a prepare");
    let effects = world.run(Command::PoolPrepare(5, &packet, view));
    assert!(world.core.state().incoming.contains_key(&5), "{effects}");
    assert!(world.core.state().answers.is_empty());
    world.killed();
}

/// Found by reading: on a second channel everything ever sent was paid for once more.
#[test]
fn a_second_channel_opens_after_the_first_is_closed_and_pays_for_nothing_again() {
    let mut world = World::ready();
    world.software_sends(1, 20);
    world.pool_fulfills(1, 1);
    let channel = world.core.state().channel.as_ref().expect("a channel");
    let paid = channel.outgoing.promised();
    let second = forebay_quantity::ChannelSerial(SERIAL.0 + 1);
    let opened = VaultFact::Opened {
        serial: second,
        pool_signer: world.pool_key.address(),
        peer_signer: world.vault.signer,
        peer_payout: world.vault.payout,
    };
    world.fact(opened);
    let serial = |world: &World| world.core.state().channel.as_ref().map(Channel::serial);
    assert_eq!(serial(&world), Some(SERIAL), "the first still stands");
    world.fact(VaultFact::Closed {
        serial: SERIAL,
        pool_paid: Amount::ZERO,
        peer_paid: paid,
    });
    world.fact(opened);
    assert_eq!(serial(&world), Some(second));
    assert_eq!(world.core.state().sent, Amount::ZERO);
    world.killed();
}

#[test]
fn a_wrong_preimage_pays_nobody() {
    let mut world = World::ready();
    world.raised(1_000);
    world.software_sends(1, 20);
    assert_eq!(world.pool_fulfills(1, 2), "alarm, to software 1 F05");
    world.pool_sends(5, 20);
    assert_eq!(world.software_fulfills(5, 2), "to pool 5 F05");
    assert_eq!(
        (world.core.state().sent, world.core.state().received),
        (Amount::ZERO, Amount::ZERO)
    );
}

#[test]
fn terms_for_another_vault_or_a_voucher_we_never_signed_stop_everything() {
    let mut world = World::ready();
    assert_eq!(world.terms(51), "alarm", "we signed 50");
    assert_eq!(world.software_sends(1, 1), "to software 1 T01");
    let mut world = World::ready();
    world.vault.vault = Address::new([4; 20]);
    assert_eq!(world.terms(50), "alarm");
    assert_eq!(world.software_sends(1, 1), "to software 1 T01");
}

#[test]
fn packets_for_absent_software_are_refused() {
    let mut world = World::ready();
    world.run(Command::SoftwareDown);
    assert_eq!(world.pool_sends(1, 1), "to pool 1 T01");
}

#[test]
fn an_unconfirmed_voucher_is_sent_again() {
    let mut world = World::ready();
    assert_eq!(world.software_sends(1, 40), "forward 1, sign 90");
    world.now = Timestamp(world.now.0 + 2_000);
    assert_eq!(world.run(Command::Tick), "sign 90");
    world.confirm();
    world.now = Timestamp(world.now.0 + 2_000);
    assert_eq!(world.run(Command::Tick), "");
}

#[test]
fn the_chains_own_clock_drives_notices() {
    let mut world = World::ready();
    let head = |time| {
        let (latest, safe, finalized) = (
            BlockHeight::new(9),
            BlockHeight::new(8),
            BlockHeight::new(7),
        );
        VaultObservation::Head(Head {
            latest,
            time,
            safe,
            finalized,
        })
    };
    let close = VaultFact::CloseStarted {
        serial: SERIAL,
        by: Address::ZERO,
        deadline: Timestamp(50_000),
    };
    world.fact_at(close, Finality::Seen);
    assert_eq!(
        world.software_sends(1, 50),
        "forward 1",
        "paid for before the notice"
    );
    assert_eq!(
        world.software_sends(2, 1),
        "to software 2 T04",
        "nothing is signed on a channel that closes"
    );
    assert_eq!(world.run(Command::Chain(head(Timestamp(49_999)))), "");
    assert_eq!(
        world.run(Command::Chain(head(Timestamp(50_000)))),
        "FinishClose(ChannelSerial(7))"
    );
}
