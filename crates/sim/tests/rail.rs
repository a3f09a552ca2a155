//! The suite of all rails on the simulator's fake of the vault: the fake is never kinder than the chain.
//!
//! The fake is compiled in from its sources, since nothing else needs it from outside.

#[allow(dead_code, reason = "a block's time is the simulated world's")]
#[path = "../src/chain.rs"]
mod chain;
#[path = "../src/growth.rs"]
mod growth;
#[allow(dead_code, reason = "only blocks are shuffled here")]
#[path = "../src/random.rs"]
mod random;
#[allow(dead_code, reason = "only addresses sign here")]
#[path = "../src/signing.rs"]
mod signing;
#[allow(dead_code, reason = "the sums are the auditor's")]
#[path = "../src/vault/mod.rs"]
mod vault;

use std::collections::{BTreeMap, BTreeSet};

use chain::{Chain, Transaction};
use forebay_adapter_suite::{
    Answer, BLOCKS_TO_FINAL, BUCKET_CAPACITY, CLOSE_PERIOD, COMMITTEE, COMMITTEE_FREEZE,
    COMMITTEE_SPEND, Digestible, HEARTBEAT_MAX, Party, Rail, TERM_MAX, run,
};
use forebay_channel::{
    Address, Domain, Finality, LaneId, Signature,
    vault::{Head, Place, RUN_DOWN_COHORT, VaultFact, VaultObservation, VaultRequest},
};
use forebay_pool::{NoticeKind, VaultFact as Log};
use forebay_quantity::{
    Amount, AssetId, BlockHeight, ChannelSerial, EffectId, Hash32, Milliseconds, Timestamp,
};
use growth::GrowthRules;
use random::Random;
use vault::{Call, Sender, Vault, VaultParameters};

const ASSET: AssetId = AssetId(0);
const START_S: u64 = 1_800_000_000;
const ENDOWMENT: u128 = 1_000_000_000_000_000_000_000_000;
const CERTAIN: u64 = 1_000;

struct FakeRail {
    chain: Chain,
    random: Random,
    answers: BTreeMap<(Party, EffectId), Answer>,
    /// What each block reports, by its hash.
    facts: BTreeMap<u64, Vec<VaultFact>>,
    /// Reported and not final yet.
    seen: BTreeMap<Place, VaultFact>,
    finished: BTreeSet<Place>,
}

impl FakeRail {
    fn new() -> Self {
        let parameters = VaultParameters {
            domain: Domain::new(31_337, Address([9; 20])),
            floor_bps: 0,
            close_period_s: CLOSE_PERIOD.value() / 1_000,
            exit_notice_s: 7 * 86_400,
            term_max_s: TERM_MAX.value() / 1_000,
            index_rate_max: 0,
            note_min: 1,
            growth: GrowthRules {
                bucket_capacity: BUCKET_CAPACITY.value(),
                bucket_refill_per_day: 0,
                heartbeat_max_s: HEARTBEAT_MAX.value() / 1_000,
                committee: COMMITTEE.map(address).to_vec(),
                committee_spend: COMMITTEE_SPEND.into(),
                committee_freeze: COMMITTEE_FREEZE.into(),
            },
        };
        let depth = usize::try_from(BLOCKS_TO_FINAL).expect("a few");
        Self {
            chain: Chain::new(vec![Vault::new(parameters, START_S)], START_S, depth),
            random: Random::new(1),
            answers: BTreeMap::new(),
            facts: BTreeMap::new(),
            seen: BTreeMap::new(),
            finished: BTreeSet::new(),
        }
    }

    fn books(&self) -> &Vault {
        self.chain.vault(ASSET)
    }

    fn block(&mut self, after_s: u64) {
        let now_s = self.chain.time_s() + after_s;
        self.chain.mine(now_s, &mut self.random, 0);
    }

    fn call(&self, sender: Sender, request: &VaultRequest) -> Call {
        match *request {
            VaultRequest::Open(opening) => {
                assert!(
                    opening.deposit.is_zero(),
                    "the fake deposits by calls of their own"
                );
                Call::Open {
                    serial: opening.serial.value(),
                    pool_signer: opening.pool_signer,
                    peer_signer: opening.peer_signer,
                    payout: opening.peer_payout,
                    allotment: opening.allotment.value(),
                    term_end_s: opening.term_end.map_or(0, seconds),
                }
            }
            VaultRequest::Deposit {
                serial,
                amount,
                peer_payout,
            } => Call::Deposit {
                serial: serial.value(),
                amount: amount.value(),
                payout: peer_payout,
            },
            VaultRequest::Raise(ref raises) => {
                let [raise] = raises[..] else {
                    panic!("the fake raises one allotment at a time")
                };
                let channel = self.books().channels.get(&raise.serial.value());
                let stands = channel.map_or(0, |channel| channel.pool.ceiling);
                Call::Raise {
                    serial: raise.serial.value(),
                    ceiling: stands + raise.amount.value(),
                    term_end_s: raise.term_end.map_or(0, seconds),
                }
            }
            VaultRequest::Redeem(ref vouchers) => match vouchers[..] {
                [one] => Call::Redeem {
                    serial: one.voucher.serial.value(),
                    lane: one.voucher.lane,
                    amount: one.voucher.amount.value(),
                    signature: one.signature,
                },
                _ => Call::RedeemMany(vouchers.clone()),
            },
            VaultRequest::Release(release, payee) => Call::Release(release, payee),
            VaultRequest::NetOff(net_off, pool, peer) => Call::NetOff(net_off, pool, peer),
            VaultRequest::CloseTogether(close, pool, peer) => {
                Call::CloseTogether(close, pool, peer)
            }
            VaultRequest::ChangeKey(change, other) => Call::ChangeKey(change, other),
            VaultRequest::StartLowering {
                serial,
                lane,
                ceiling,
            } => Call::StartLowering {
                serial: serial.value(),
                lane,
                ceiling: ceiling.value(),
            },
            VaultRequest::FinishLowering { serial, lane } => Call::FinishLowering {
                serial: serial.value(),
                lane,
            },
            VaultRequest::StartClose(serial) => Call::StartClose {
                serial: serial.value(),
            },
            VaultRequest::FinishClose(serial) => Call::FinishClose {
                serial: serial.value(),
            },
            VaultRequest::DepositNote(amount) => Call::DepositNote {
                owner: self.account(sender),
                amount: amount.value(),
            },
            VaultRequest::RequestExit(units) => Call::RequestExit {
                owner: self.account(sender),
                units: units.value(),
            },
            VaultRequest::PayExits(_) => Call::PayExits,
            VaultRequest::ClaimExit { cohort, member } => Call::ClaimExit { cohort, member },
            VaultRequest::Heartbeat => Call::Heartbeat,
            VaultRequest::RaiseCosigned(raise, ref list) => {
                Call::RaiseCosigned(raise, list.clone())
            }
            VaultRequest::Freeze(freeze, ref list) => Call::Freeze(freeze, list.clone()),
            VaultRequest::MarkDown(mark_down, ref list) => Call::MarkDown(mark_down, list.clone()),
            VaultRequest::StartRunDown => Call::StartRunDown,
            ref other => panic!("the suite asks for what the fake has no call for: {other:?}"),
        }
    }

    fn account(&self, sender: Sender) -> Address {
        match sender {
            Sender::Operator => self.address(Party::Operator),
            Sender::Account(account) => account,
        }
    }

    /// The newest block's logs as the contract's events: the fake leaves out what the pool never asks about.
    fn events(&self, sender: Sender, call: &Call) -> Vec<VaultFact> {
        let logs = &self.chain.blocks[self.chain.blocks.len() - 1].logs;
        logs.iter()
            .map(|(_, log)| self.event(sender, call, log))
            .collect()
    }

    fn event(&self, sender: Sender, call: &Call, log: &Log) -> VaultFact {
        match *log {
            Log::ChannelOpened {
                serial,
                peer_signer,
                pool_signer,
            } => VaultFact::Opened {
                serial,
                pool_signer,
                peer_signer,
                peer_payout: self.books().channels[&serial.value()].payout,
            },
            Log::AllotmentRaised { serial, ceiling } => VaultFact::Raised { serial, ceiling },
            Log::AllotmentRenewed { serial, term_ends } => VaultFact::Renewed {
                serial,
                term_end: term_ends,
            },
            Log::PeerDeposited { serial, ceiling } => VaultFact::Deposited {
                serial,
                from: self.account(sender),
                amount: deposited(call),
                ceiling,
            },
            Log::PoolPaid { serial, paid } => redeemed(serial, LaneId::Pool, paid),
            Log::PeerPaid { serial, paid } => redeemed(serial, LaneId::Peer, paid),
            Log::AllotmentLowered {
                serial,
                ceiling,
                released,
            } => lowered(serial, LaneId::Pool, ceiling, released),
            Log::PeerWithdrew {
                serial,
                ceiling,
                released,
            } => lowered(serial, LaneId::Peer, ceiling, released),
            Log::NoticeGiven {
                serial,
                kind,
                ceiling,
                deadline,
            } => self.notice(sender, (serial, kind), ceiling, deadline),
            Log::NettedOff { serial, amount } => {
                let channel = &self.books().channels[&serial.value()];
                VaultFact::NettedOff {
                    serial,
                    pool_paid: Amount::new(channel.pool.paid),
                    peer_paid: Amount::new(channel.peer.paid),
                    amount,
                }
            }
            Log::ChannelClosed {
                serial,
                pool_paid,
                peer_paid,
            } => VaultFact::Closed {
                serial,
                pool_paid,
                peer_paid,
            },
            Log::KeyChanged { serial, signer, .. } => key_changed(self.books(), serial, signer),
            ref log => self.event_of_claims(log),
        }
    }

    fn event_of_claims(&self, log: &Log) -> VaultFact {
        match *log {
            Log::NoteDeposited {
                owner,
                units,
                amount,
            } => VaultFact::NoteDeposited {
                member: owner,
                amount,
                units,
            },
            Log::ExitRequested {
                owner,
                cohort,
                units,
            } => {
                let at = usize::try_from(cohort).expect("few cohorts");
                let due_at_s = self.books().cohorts[at].due_at_s;
                VaultFact::ExitRequested {
                    member: owner,
                    cohort: u32::try_from(cohort).expect("few cohorts"),
                    units,
                    due_at: Timestamp(due_at_s * 1_000),
                }
            }
            Log::ExitPaid {
                cohort,
                units,
                amount,
            } => {
                let cohort = u32::try_from(cohort).expect("24 bits");
                let books = match cohort {
                    RUN_DOWN_COHORT => self.books().all.as_ref(),
                    cohort => self
                        .books()
                        .cohorts
                        .get(usize::try_from(cohort).expect("few")),
                };
                VaultFact::ExitsPaid {
                    cohort,
                    units,
                    amount,
                    units_left: Amount::new(books.expect("it was paid").unpaid),
                }
            }
            Log::RaiseCosigned { serial, amount } => VaultFact::Cosigned {
                serial,
                amount,
                nonce: self.books().growth.committee_nonce - 1,
            },
            Log::HeartbeatSeen { at } => VaultFact::Heartbeat { at },
            Log::Frozen { until } => VaultFact::FrozenUntil { until },
            Log::MarkedDown { index } => VaultFact::MarkedDown {
                index: Amount::new(index),
                share_units: Amount::ZERO,
                nonce: self.books().growth.committee_nonce - 1,
            },
            Log::RunDownStarted => VaultFact::RunDownStarted {
                units: Amount::new(self.books().units_total),
            },
            ref other => panic!("the suite asks for nothing that logs this: {other:?}"),
        }
    }

    fn notice(
        &self,
        sender: Sender,
        (serial, kind): (ChannelSerial, NoticeKind),
        ceiling: Amount,
        deadline: Timestamp,
    ) -> VaultFact {
        let lane = match kind {
            NoticeKind::AllotmentLowering => LaneId::Pool,
            NoticeKind::DepositWithdrawal => LaneId::Peer,
            NoticeKind::Close => {
                return VaultFact::CloseStarted {
                    serial,
                    by: self.account(sender),
                    deadline,
                };
            }
            NoticeKind::PeerKeyChange | NoticeKind::PoolKeyChange => {
                panic!("the suite gives no notice of a key")
            }
        };
        VaultFact::LoweringStarted {
            serial,
            lane,
            ceiling,
            deadline,
        }
    }

    fn retractions(&mut self, reports: &mut Vec<VaultObservation>) {
        let blocks = &self.chain.blocks;
        let stands = |place: &Place| {
            let at = usize::try_from(place.block.value()).expect("few blocks");
            blocks
                .get(at)
                .is_some_and(|block| hash_of(block.hash) == place.block_hash)
        };
        self.seen.retain(|place, fact| {
            let (fact, place) = (*fact, *place);
            if !stands(&place) {
                reports.push(VaultObservation::Retracted { fact, place });
            }
            stands(&place)
        });
    }

    fn arrivals(&mut self, finality: Finality, reports: &mut Vec<VaultObservation>) {
        let last_final = self.chain.final_height();
        for (height, block) in self.chain.blocks.iter().enumerate() {
            if finality == Finality::Final && height > last_final {
                break;
            }
            let facts = self.facts.get(&block.hash).into_iter().flatten();
            for (log_index, fact) in (0u32..).zip(facts) {
                let place = Place {
                    block: block_height(height),
                    log_index,
                    block_hash: hash_of(block.hash),
                };
                let news = !self.finished.contains(&place)
                    && match finality {
                        Finality::Final => {
                            self.seen.remove(&place);
                            self.finished.insert(place)
                        }
                        _ => self.seen.insert(place, *fact).is_none(),
                    };
                if news {
                    reports.push(VaultObservation::Fact {
                        fact: *fact,
                        place,
                        transaction: hash_of(block.hash),
                        finality,
                    });
                }
            }
        }
    }
}

fn address(party: Party) -> Address {
    Address(match party {
        Party::Operator => [1; 20],
        Party::Peer => [2; 20],
        Party::Lp => [3; 20],
        Party::Stranger => [4; 20],
    })
}

fn redeemed(serial: ChannelSerial, lane: LaneId, paid: Amount) -> VaultFact {
    VaultFact::Redeemed { serial, lane, paid }
}

fn lowered(serial: ChannelSerial, lane: LaneId, ceiling: Amount, released: bool) -> VaultFact {
    VaultFact::Lowered {
        serial,
        lane,
        ceiling,
        released,
    }
}

fn deposited(call: &Call) -> Amount {
    match call {
        Call::Deposit { amount, .. } => Amount::new(*amount),
        other => panic!("{other:?} deposited"),
    }
}

fn key_changed(books: &Vault, serial: ChannelSerial, signer: Address) -> VaultFact {
    let former = &books.channels[&serial.value()].former;
    let ((lane, former), ceiling) = former.iter().next().expect("a former key is kept");
    VaultFact::KeyChanged {
        serial,
        lane: *lane,
        former: *former,
        signer,
        former_ceiling: Amount::new(*ceiling),
        consented: true,
    }
}

fn seconds(at: Timestamp) -> u64 {
    at.0 / 1_000
}

fn hash_of(number: u64) -> Hash32 {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Hash32::new(bytes)
}

fn block_height(height: usize) -> BlockHeight {
    BlockHeight::new(u64::try_from(height).expect("usize fits u64"))
}

impl Rail for FakeRail {
    fn address(&self, party: Party) -> Address {
        address(party)
    }

    fn sign(&self, party: Party, domain: &Domain, message: &dyn Digestible) -> Signature {
        signing::sign(&message.digest_in(domain), self.address(party))
    }

    fn domain(&self) -> Domain {
        self.books().parameters.domain
    }

    fn request(&mut self, party: Party, effect: EffectId, request: &VaultRequest) -> Answer {
        if let Some(answer) = self.answers.get(&(party, effect)) {
            return answer.clone();
        }
        let sender = self.sender(party);
        let call = self.call(sender, request);
        self.chain.submit(Transaction {
            asset: ASSET,
            sender,
            call: call.clone(),
            effect: None,
        });
        self.block(1);
        let block = &self.chain.blocks[self.chain.blocks.len() - 1];
        let [(_, done)] = &block.transactions[..] else {
            panic!("one transaction a block")
        };
        let answer = match done {
            Ok(()) => Answer::Done,
            Err(name) => Answer::Refused((*name).to_owned()),
        };
        let hash = block.hash;
        let events = self.events(sender, &call);
        assert!(
            answer == Answer::Done || events.is_empty(),
            "a refusal logs nothing"
        );
        self.facts.insert(hash, events);
        self.answers.insert((party, effect), answer.clone());
        answer
    }

    fn mine(&mut self, blocks: u32) {
        for _ in 0..blocks {
            self.block(1);
        }
    }

    fn pass(&mut self, span: Milliseconds) {
        self.block(span.value() / 1_000);
    }

    fn reorg(&mut self, blocks: u32) {
        let depth = usize::try_from(blocks).expect("a few");
        let dropped = self.chain.reorganise(depth, &mut self.random, CERTAIN);
        assert_eq!(dropped, depth, "no final block is dropped");
        assert!(self.chain.mempool.is_empty(), "their transactions are lost");
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.chain.time_s() * 1_000)
    }

    fn observations(&mut self) -> Vec<VaultObservation> {
        let mut reports = Vec::new();
        self.retractions(&mut reports);
        self.arrivals(Finality::Final, &mut reports);
        self.arrivals(Finality::Seen, &mut reports);
        let last_final = block_height(self.chain.final_height());
        reports.push(VaultObservation::Head(Head {
            latest: block_height(self.chain.blocks.len() - 1),
            time: self.now(),
            safe: last_final,
            finalized: last_final,
        }));
        reports
    }

    fn balance(&self, owner: Address) -> Amount {
        let holder = if owner == self.address(Party::Operator) {
            Sender::Operator
        } else {
            Sender::Account(owner)
        };
        let gained = self.books().purses.get(&holder).copied().unwrap_or(0);
        let held = ENDOWMENT.checked_add_signed(gained);
        Amount::new(held.expect("nobody pays more than was given to it"))
    }
}

impl FakeRail {
    fn sender(&self, party: Party) -> Sender {
        match party {
            Party::Operator => Sender::Operator,
            Party::Peer | Party::Lp | Party::Stranger => Sender::Account(self.address(party)),
        }
    }
}

#[test]
fn the_fake_of_the_vault_keeps_every_claim_of_the_suite() {
    run(&mut FakeRail::new(), ChannelSerial::new(1));
}
