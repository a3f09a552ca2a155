//! The model's chain beside the simulator's fake of the vault, which the suite of all rails holds to the contract on a
//! real chain: the same calls are taken and refused, and leave the same books.

#[allow(dead_code, reason = "nothing bounds the vault's growth here")]
#[path = "../../sim/src/growth.rs"]
mod growth;
#[allow(dead_code, reason = "only addresses sign here")]
#[path = "../../sim/src/signing.rs"]
mod signing;
#[allow(dead_code, reason = "only one channel is compared")]
#[path = "../../sim/src/vault/mod.rs"]
mod vault;

use forebay_channel::{
    Address, CoopClose, Domain, LaneId, NetOff, Signature, Voucher, vault::SignedVoucher,
};
use forebay_model::chain::{self, Call, PAYOUT, SERIAL, first_signer, second_signer, units};
use forebay_model::signed;
use growth::GrowthRules;
use vault::{Sender, Vault, VaultParameters};

const START_S: u64 = 1_800_000_000;
const PERIOD: u8 = 4;
const LP: Sender = Sender::Account(Address::new([0xbb; 20]));
/// Free money beside what the lanes hold.
const FREE: u8 = 6;
const CEILINGS: [u8; 2] = [3, 3];

/// The fake, with the same channel as the model's.
struct Fake {
    domain: Domain,
    vault: Vault,
}

impl Fake {
    fn new() -> Self {
        let domain = Domain::new(31_337, Address::new([9; 20]));
        let parameters = VaultParameters {
            domain,
            floor_bps: 0,
            close_period_s: u64::from(PERIOD),
            exit_notice_s: 1,
            term_max_s: 1_000,
            index_rate_max: 0,
            note_min: 1,
            growth: GrowthRules {
                bucket_capacity: u128::MAX,
                bucket_refill_per_day: 0,
                heartbeat_max_s: 1_000_000,
                committee: Vec::new(),
                committee_spend: 0,
                committee_freeze: 0,
            },
        };
        let mut fake = Self {
            domain,
            vault: Vault::new(parameters, START_S),
        };
        let [pool, peer] = CEILINGS.map(u128::from);
        let share = vault::Call::DepositShare {
            amount: pool + u128::from(FREE),
        };
        let open = vault::Call::Open {
            serial: SERIAL.value(),
            pool_signer: first_signer(LaneId::Pool),
            peer_signer: first_signer(LaneId::Peer),
            payout: PAYOUT,
            allotment: pool,
            term_end_s: START_S + 900,
        };
        let deposit = vault::Call::Deposit {
            serial: SERIAL.value(),
            amount: peer,
            payout: PAYOUT,
        };
        let calls = [
            (LP, share),
            (Sender::Operator, open),
            (Sender::Account(PAYOUT), deposit),
        ];
        for (sender, call) in calls {
            let done = fake.vault.execute(START_S, sender, &call, &mut Vec::new());
            done.expect("a sound beginning");
        }
        fake
    }

    fn sign(&self, message: &impl forebay_channel::Signable, signer: Address) -> Signature {
        signing::sign(&self.domain.digest(message), signer)
    }

    fn ceiling(&self, lane: LaneId) -> u128 {
        let channel = &self.vault.channels[&SERIAL.value()];
        match lane {
            LaneId::Pool => channel.pool.ceiling,
            LaneId::Peer => channel.peer.ceiling,
        }
    }

    fn execute(&mut self, now: u8, call: &Call, signer: Address) -> bool {
        let serial = SERIAL.value();
        let peer = Sender::Account(PAYOUT);
        let owner = |lane| match lane {
            LaneId::Pool => Sender::Operator,
            LaneId::Peer => peer,
        };
        let both = [LaneId::Pool, LaneId::Peer].map(first_signer);
        let (sender, call) = match *call {
            Call::Redeem(SignedVoucher { voucher, .. }) => {
                let Voucher { lane, amount, .. } = voucher;
                let redeem = vault::Call::Redeem {
                    serial,
                    lane,
                    amount: amount.value(),
                    signature: self.sign(&voucher, signer),
                };
                (LP, redeem)
            }
            Call::Raise(LaneId::Pool, by) => {
                let raise = vault::Call::Raise {
                    serial,
                    ceiling: self.ceiling(LaneId::Pool) + u128::from(by),
                    term_end_s: 0,
                };
                (Sender::Operator, raise)
            }
            Call::Raise(LaneId::Peer, by) => {
                let deposit = vault::Call::Deposit {
                    serial,
                    amount: u128::from(by),
                    payout: PAYOUT,
                };
                (peer, deposit)
            }
            Call::StartLowering(lane, to) => {
                let ceiling = u128::from(to);
                let start = vault::Call::StartLowering {
                    serial,
                    lane,
                    ceiling,
                };
                (owner(lane), start)
            }
            Call::FinishLowering(lane) => (LP, vault::Call::FinishLowering { serial, lane }),
            Call::StartClose => (peer, vault::Call::StartClose { serial }),
            Call::FinishClose => (LP, vault::Call::FinishClose { serial }),
            Call::StartKeyChange(lane) => {
                let signer = second_signer(lane);
                (peer, vault::Call::StartKeyChange { serial, signer })
            }
            Call::FinishKeyChange(_) => (LP, vault::Call::FinishKeyChange { serial }),
            Call::NetOff {
                pool_paid,
                peer_paid,
                amount,
            } => {
                let net_off = NetOff {
                    serial: SERIAL,
                    pool_paid: units(pool_paid),
                    peer_paid: units(peer_paid),
                    amount: units(amount),
                };
                let [pool, peer] = both.map(|signer| self.sign(&net_off, signer));
                (LP, vault::Call::NetOff(net_off, pool, peer))
            }
            Call::CloseTogether {
                pool_paid,
                peer_paid,
            } => {
                let close = CoopClose {
                    serial: SERIAL,
                    pool_paid: units(pool_paid),
                    peer_paid: units(peer_paid),
                };
                let [pool, peer] = both.map(|signer| self.sign(&close, signer));
                (LP, vault::Call::CloseTogether(close, pool, peer))
            }
        };
        let now_s = START_S + u64::from(now);
        let done = self.vault.execute(now_s, sender, &call, &mut Vec::new());
        done.is_ok()
    }

    /// Ceiling and paid of both lanes, and whether the channel is closed.
    fn books(&self) -> ([u128; 4], bool) {
        let channel = &self.vault.channels[&SERIAL.value()];
        let (pool, peer) = (&channel.pool, &channel.peer);
        let numbers = [pool.ceiling, pool.paid, peer.ceiling, peer.paid];
        (numbers, channel.closed)
    }
}

fn books(vault: &chain::Vault) -> ([u128; 4], bool) {
    let [pool, peer] = &vault.lanes;
    let numbers = [pool.ceiling, pool.paid, peer.ceiling, peer.paid];
    (numbers.map(u128::from), vault.closed)
}

/// A generator that is the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u8) -> u8 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u8::try_from((self.0 >> 33) % u64::from(end)).expect("small")
    }

    fn lane(&mut self) -> LaneId {
        LaneId::from_number(self.below(2)).expect("two lanes")
    }

    /// A call, and who signed its voucher.
    fn call(&mut self, vault: &chain::Vault) -> (Call, Address) {
        let lane = self.lane();
        let signer = match self.below(3) {
            0 => second_signer(lane),
            _ => first_signer(lane),
        };
        let [pool, peer] = vault.lanes;
        let call = match self.below(14) {
            0..=3 => Call::Redeem(signed(lane, self.below(8), signer)),
            4 => Call::Raise(lane, 1),
            5 => Call::StartLowering(lane, self.below(4)),
            6 | 7 => Call::FinishLowering(lane),
            8 => Call::StartClose,
            9 => Call::FinishClose,
            // The model changes each key once.
            10 if peer.signer == first_signer(LaneId::Peer) => Call::StartKeyChange(LaneId::Peer),
            10 => Call::FinishClose,
            11 => Call::FinishKeyChange(LaneId::Peer),
            12 => Call::NetOff {
                pool_paid: pool.paid,
                peer_paid: peer.paid - peer.paid.min(self.below(2)),
                amount: 1 + self.below(2),
            },
            _ => Call::CloseTogether {
                pool_paid: pool.paid + self.below(3),
                peer_paid: peer.paid,
            },
        };
        (call, signer)
    }
}

#[test]
fn the_models_chain_takes_refuses_and_books_what_the_contracts_fake_does() {
    let (mut taken, mut refused) = (0_u32, 0_u32);
    for seed in 0..4_000 {
        let mut random = Random(seed);
        let [pool, peer] = CEILINGS;
        let (mut ours, mut fake) = (chain::Vault::open(pool, peer, FREE, PERIOD), Fake::new());
        let mut now = 0;
        for step in 0..40 {
            now += random.below(2);
            let (call, signer) = random.call(&ours);
            let did = ours.execute(now, &call).is_some();
            let theirs = fake.execute(now, &call, signer);
            assert_eq!(
                did, theirs,
                "seed {seed}, step {step}, at {now}: {call:?}\n{ours:?}"
            );
            assert_eq!(
                books(&ours),
                fake.books(),
                "seed {seed}, step {step}: {call:?}"
            );
            assert!(ours.is_covered(), "seed {seed}, step {step}: {call:?}");
            match did {
                true => taken += 1,
                false => refused += 1,
            }
        }
    }
    println!("{taken} calls taken, {refused} refused, by both alike");
    assert!(taken > 20_000 && refused > 20_000, "both are reached");
}
