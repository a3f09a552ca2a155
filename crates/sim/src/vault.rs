//! One vault as the contract keeps it (contracts/evm/src): its own exact integer books, and no knowledge of the pool.

use std::collections::BTreeMap;

use forebay_channel::{Address, Domain, LaneId, Signature, Voucher};
use forebay_pool::{NoticeKind, VaultFact};
use forebay_quantity::{Amount, ChannelSerial, Timestamp};

use crate::signing::is_signed_by;

pub(crate) const RAY: u128 = 1_000_000_000_000_000_000_000_000_000;
const DAY_S: u64 = 86_400;
const BPS: u128 = 10_000;

/// Who sends a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    Operator,
    Account(Address),
}

/// A call on the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Open {
        serial: u64,
        pool_signer: Address,
        peer_signer: Address,
        payout: Address,
        allotment: u128,
        term_end_s: u64,
    },
    Deposit {
        serial: u64,
        amount: u128,
    },
    /// The client turns the ceiling asked for into what is added to the one that stands.
    Raise {
        serial: u64,
        ceiling: u128,
        term_end_s: u64,
    },
    Redeem {
        serial: u64,
        lane: LaneId,
        amount: u128,
        signature: Signature,
    },
    StartLowering {
        serial: u64,
        lane: LaneId,
        ceiling: u128,
    },
    FinishLowering {
        serial: u64,
        lane: LaneId,
    },
    StartClose {
        serial: u64,
    },
    FinishClose {
        serial: u64,
    },
    StartKeyChange {
        serial: u64,
        signer: Address,
    },
    FinishKeyChange {
        serial: u64,
    },
    DepositNote {
        owner: Address,
        amount: u128,
    },
    RequestExit {
        owner: Address,
        units: u128,
    },
    PayExits,
    Accrue {
        index: u128,
    },
    DepositShare {
        amount: u128,
    },
    WithdrawShare {
        amount: u128,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LaneBooks {
    pub(crate) ceiling: u128,
    pub(crate) paid: u128,
    pub(crate) lowering: Option<(u128, u64)>,
}

impl LaneBooks {
    pub(crate) fn remaining(&self) -> u128 {
        self.ceiling - self.paid
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChannelBooks {
    pub(crate) closed: bool,
    pub(crate) payout: Address,
    pub(crate) pool_signer: Address,
    pub(crate) peer_signer: Address,
    pub(crate) term_end_s: u64,
    pub(crate) close_at_s: Option<u64>,
    pub(crate) new_key: Option<(Address, u64)>,
    /// What former signers of the peer's lane signed stays good up to this.
    pub(crate) former: BTreeMap<Address, u128>,
    pub(crate) pool: LaneBooks,
    pub(crate) peer: LaneBooks,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CohortBooks {
    pub(crate) day: u64,
    pub(crate) due_at_s: u64,
    pub(crate) unpaid: u128,
}

/// What the vault is built with.
#[derive(Debug, Clone)]
pub(crate) struct VaultParameters {
    pub(crate) domain: Domain,
    pub(crate) floor_bps: u128,
    pub(crate) close_period_s: u64,
    pub(crate) exit_notice_s: u64,
    pub(crate) term_max_s: u64,
    pub(crate) index_rate_max: u128,
    pub(crate) note_min: u128,
}

#[derive(Debug, Clone)]
pub(crate) struct Vault {
    pub(crate) parameters: VaultParameters,
    pub(crate) free: u128,
    pub(crate) units_total: u128,
    pub(crate) index: u128,
    accrued_at_s: u64,
    pub(crate) units: BTreeMap<Address, u128>,
    pub(crate) cohorts: Vec<CohortBooks>,
    pub(crate) cohort_oldest: usize,
    unclaimed: u128,
    pub(crate) share_units: u128,
    pub(crate) channels: BTreeMap<u64, ChannelBooks>,
    came_in: u128,
    went_out: u128,
}

type Refusal = &'static str;

impl Vault {
    pub(crate) fn new(parameters: VaultParameters, now_s: u64) -> Self {
        Self {
            parameters,
            free: 0,
            units_total: 0,
            index: RAY,
            accrued_at_s: now_s,
            units: BTreeMap::new(),
            cohorts: Vec::new(),
            cohort_oldest: 0,
            unclaimed: 0,
            share_units: 0,
            channels: BTreeMap::new(),
            came_in: 0,
            went_out: 0,
        }
    }

    /// Executes a call in a block of this time; a refusal changes nothing.
    pub(crate) fn execute(
        &mut self,
        now_s: u64,
        sender: Sender,
        call: &Call,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let mut after = self.clone();
        let logged = logs.len();
        let done = after.run(now_s, sender, call, logs);
        match done {
            Ok(()) => {
                *self = after;
                self.assert_tracked();
            }
            Err(_) => logs.truncate(logged),
        }
        done
    }

    /// `tracked = free + Σ remaining + exit money not claimed`, and that is what came in less what went out.
    fn assert_tracked(&self) {
        let remaining: u128 = self
            .channels
            .values()
            .map(|channel| channel.pool.remaining() + channel.peer.remaining())
            .sum();
        assert_eq!(
            self.free + remaining + self.unclaimed,
            self.came_in - self.went_out,
            "the fake of the vault lost track of money"
        );
    }

    pub(crate) fn note_claims(&self) -> u128 {
        mul_div(self.units_total, self.index, RAY, true)
    }

    /// Units of cohorts that wait to be paid.
    pub(crate) fn units_waiting(&self) -> u128 {
        self.cohorts.iter().map(|cohort| cohort.unpaid).sum()
    }

    /// Free money and what allotments still hold.
    pub(crate) fn total(&self) -> u128 {
        self.free + self.allotted()
    }

    pub(crate) fn allotted(&self) -> u128 {
        self.channels.values().map(|c| c.pool.remaining()).sum()
    }

    pub(crate) fn deposits(&self) -> u128 {
        self.channels.values().map(|c| c.peer.remaining()).sum()
    }

    fn run(
        &mut self,
        now_s: u64,
        sender: Sender,
        call: &Call,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let amount = Amount::new;
        match *call {
            Call::Open {
                serial,
                pool_signer,
                peer_signer,
                payout,
                allotment,
                term_end_s,
            } => {
                operator_only(sender)?;
                if self.channels.contains_key(&serial) {
                    return Err("SerialUsed");
                }
                if (allotment == 0) != (term_end_s == 0) {
                    return Err("BadTerm");
                }
                if allotment != 0 {
                    self.exits_in_time(now_s)?;
                    self.term(now_s, 0, term_end_s)?;
                    self.spend_free(allotment)?;
                }
                self.channels.insert(
                    serial,
                    ChannelBooks {
                        closed: false,
                        payout,
                        pool_signer,
                        peer_signer,
                        term_end_s,
                        close_at_s: None,
                        new_key: None,
                        former: BTreeMap::new(),
                        pool: LaneBooks {
                            ceiling: allotment,
                            ..LaneBooks::default()
                        },
                        peer: LaneBooks::default(),
                    },
                );
                let serial = ChannelSerial(serial);
                logs.push(VaultFact::ChannelOpened {
                    serial,
                    peer_signer,
                    pool_signer,
                });
                if allotment != 0 {
                    logs.push(VaultFact::AllotmentRaised {
                        serial,
                        ceiling: amount(allotment),
                    });
                    logs.push(VaultFact::AllotmentRenewed {
                        serial,
                        term_ends: milliseconds(term_end_s),
                    });
                }
            }
            Call::Deposit {
                serial,
                amount: added,
            } => {
                let channel = self.open_channel(serial)?;
                if channel.close_at_s.is_some() {
                    return Err("ChannelClosed");
                }
                channel.peer.ceiling += added;
                let ceiling = amount(channel.peer.ceiling);
                self.came_in += added;
                logs.push(VaultFact::PeerDeposited {
                    serial: ChannelSerial(serial),
                    ceiling,
                });
            }
            Call::Raise {
                serial,
                ceiling,
                term_end_s,
            } => {
                operator_only(sender)?;
                self.exits_in_time(now_s)?;
                let channel = self.open_channel(serial)?;
                let added = ceiling.saturating_sub(channel.pool.ceiling);
                channel.pool.ceiling += added;
                let (raised, before) = (channel.pool.ceiling, channel.term_end_s);
                channel.term_end_s = term_end_s;
                self.term(now_s, before, term_end_s)?;
                if added != 0 {
                    self.spend_free(added)?;
                    logs.push(VaultFact::AllotmentRaised {
                        serial: ChannelSerial(serial),
                        ceiling: amount(raised),
                    });
                }
                logs.push(VaultFact::AllotmentRenewed {
                    serial: ChannelSerial(serial),
                    term_ends: milliseconds(term_end_s),
                });
            }
            Call::Redeem {
                serial,
                lane,
                amount: most,
                signature,
            } => self.redeem(serial, lane, most, &signature, logs)?,
            Call::StartLowering {
                serial,
                lane,
                ceiling,
            } => {
                let period = self.parameters.close_period_s;
                let channel = self.open_channel(serial)?;
                let ended = lane == LaneId::Pool && now_s > channel.term_end_s;
                let ceiling = if ended { 0 } else { ceiling };
                if !ended {
                    owner_only(channel, sender, lane)?;
                }
                let books = lane_of(channel, lane);
                if ceiling >= books.ceiling || books.paid == books.ceiling {
                    return Err("CeilingNotLower");
                }
                if books.lowering.is_some() {
                    return Err("NoticeRuns");
                }
                books.lowering = Some((ceiling, now_s + period));
                logs.push(VaultFact::NoticeGiven {
                    serial: ChannelSerial(serial),
                    kind: match lane {
                        LaneId::Pool => NoticeKind::AllotmentLowering,
                        LaneId::Peer => NoticeKind::DepositWithdrawal,
                    },
                    ceiling: amount(ceiling),
                    deadline: milliseconds(now_s + period),
                });
            }
            Call::FinishLowering { serial, lane } => {
                self.finish_lowering(now_s, serial, lane, logs)?
            }
            Call::StartClose { serial } => {
                let period = self.parameters.close_period_s;
                let channel = self.open_channel(serial)?;
                if sender != Sender::Operator {
                    owner_only(channel, sender, LaneId::Peer)?;
                }
                if channel.close_at_s.is_some() {
                    return Err("NoticeRuns");
                }
                channel.close_at_s = Some(now_s + period);
                logs.push(VaultFact::NoticeGiven {
                    serial: ChannelSerial(serial),
                    kind: NoticeKind::Close,
                    ceiling: Amount::ZERO,
                    deadline: milliseconds(now_s + period),
                });
            }
            Call::FinishClose { serial } => self.finish_close(now_s, serial, logs)?,
            Call::StartKeyChange { serial, signer } => {
                let period = self.parameters.close_period_s;
                let channel = self.open_channel(serial)?;
                owner_only(channel, sender, LaneId::Peer)?;
                if channel.new_key.is_some() {
                    return Err("NoticeRuns");
                }
                channel.new_key = Some((signer, now_s + period));
                logs.push(VaultFact::NoticeGiven {
                    serial: ChannelSerial(serial),
                    kind: NoticeKind::PeerKeyChange,
                    ceiling: Amount::ZERO,
                    deadline: milliseconds(now_s + period),
                });
            }
            Call::FinishKeyChange { serial } => {
                let channel = self.open_channel(serial)?;
                let (signer, deadline) = channel.new_key.ok_or("NoNotice")?;
                ended(now_s, deadline)?;
                channel.new_key = None;
                let (former, ceiling) = (channel.peer_signer, channel.peer.ceiling);
                let kept = channel.former.entry(former).or_insert(0);
                *kept = ceiling.max(*kept);
                channel.peer_signer = signer;
                logs.push(VaultFact::KeyChanged {
                    serial: ChannelSerial(serial),
                    of_peer: true,
                    signer,
                });
            }
            Call::DepositNote {
                owner,
                amount: arrived,
            } => {
                let minted = mul_div(arrived, RAY, self.index, false);
                if arrived < self.parameters.note_min || minted == 0 {
                    return Err("TooSmall");
                }
                self.came_in += arrived;
                self.free += arrived;
                self.units_total += minted;
                *self.units.entry(owner).or_insert(0) += minted;
                logs.push(VaultFact::NoteDeposited {
                    owner,
                    units: amount(minted),
                    amount: amount(arrived),
                });
            }
            Call::RequestExit { owner, units } => self.request_exit(now_s, owner, units, logs)?,
            Call::PayExits => self.pay_exits(logs)?,
            Call::Accrue { index } => {
                operator_only(sender)?;
                let elapsed = (now_s - self.accrued_at_s).min(DAY_S);
                let part = self.parameters.index_rate_max * u128::from(elapsed) / u128::from(DAY_S);
                let rise_max = mul_div(self.index, part, RAY, false);
                if index <= self.index || index - self.index > rise_max {
                    return Err("IndexTooFast");
                }
                self.index = index;
                self.accrued_at_s = now_s;
                logs.push(VaultFact::IndexRaised { index });
            }
            Call::DepositShare { amount: arrived } => {
                self.came_in += arrived;
                self.free += arrived;
                self.share_units += arrived;
                logs.push(VaultFact::SharesDeposited {
                    amount: amount(arrived),
                });
            }
            Call::WithdrawShare { amount: leaves } => {
                self.exits_in_time(now_s)?;
                if leaves > self.share_units {
                    return Err("NotEnoughUnits");
                }
                self.share_units -= leaves;
                self.spend_free(leaves)?;
                self.went_out += leaves;
                logs.push(VaultFact::SharesWithdrawn {
                    amount: amount(leaves),
                });
            }
        }
        Ok(())
    }

    fn redeem(
        &mut self,
        serial: u64,
        lane: LaneId,
        most: u128,
        signature: &Signature,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let domain = self.parameters.domain;
        let channel = self.open_channel(serial)?;
        let voucher = Voucher {
            serial: ChannelSerial(serial),
            lane,
            amount: Amount::new(most),
        };
        let digest = domain.digest(&voucher);
        let current = match lane {
            LaneId::Pool => channel.pool_signer,
            LaneId::Peer => channel.peer_signer,
        };
        let mut most = most;
        if !is_signed_by(&digest, signature, current) {
            let former = channel
                .former
                .iter()
                .find(|(signer, _)| is_signed_by(&digest, signature, **signer));
            let (_, ceiling) = former
                .filter(|_| lane == LaneId::Peer)
                .ok_or("BadSignature")?;
            most = most.min(*ceiling);
        }
        let books = lane_of(channel, lane);
        most = most.min(books.ceiling);
        if most <= books.paid {
            return Err("NothingToPay");
        }
        let due = most - books.paid;
        books.paid = most;
        let (serial, paid) = (ChannelSerial(serial), Amount::new(most));
        match lane {
            LaneId::Pool => {
                self.went_out += due;
                logs.push(VaultFact::PoolPaid { serial, paid });
            }
            LaneId::Peer => {
                self.free += due;
                logs.push(VaultFact::PeerPaid { serial, paid });
            }
        }
        Ok(())
    }

    fn finish_lowering(
        &mut self,
        now_s: u64,
        serial: u64,
        lane: LaneId,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let channel = self.open_channel(serial)?;
        let books = lane_of(channel, lane);
        let (announced, deadline) = books.lowering.ok_or("NoNotice")?;
        ended(now_s, deadline)?;
        books.lowering = None;
        let ceiling = announced.max(books.paid).min(books.ceiling);
        let freed = books.ceiling - ceiling;
        books.ceiling = ceiling;
        let (serial, ceiling) = (ChannelSerial(serial), Amount::new(ceiling));
        match lane {
            LaneId::Pool => {
                self.free += freed;
                logs.push(VaultFact::AllotmentLowered {
                    serial,
                    ceiling,
                    released: false,
                });
            }
            LaneId::Peer => {
                self.went_out += freed;
                logs.push(VaultFact::PeerWithdrew {
                    serial,
                    ceiling,
                    released: false,
                });
            }
        }
        Ok(())
    }

    fn finish_close(
        &mut self,
        now_s: u64,
        serial: u64,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let channel = self.open_channel(serial)?;
        ended(now_s, channel.close_at_s.ok_or("NoNotice")?)?;
        let (freed, returned) = (channel.pool.remaining(), channel.peer.remaining());
        channel.closed = true;
        channel.close_at_s = None;
        channel.pool.ceiling = channel.pool.paid;
        channel.peer.ceiling = channel.peer.paid;
        let (pool_paid, peer_paid) = (channel.pool.paid, channel.peer.paid);
        self.free += freed;
        self.went_out += returned;
        logs.push(VaultFact::ChannelClosed {
            serial: ChannelSerial(serial),
            pool_paid: Amount::new(pool_paid),
            peer_paid: Amount::new(peer_paid),
        });
        Ok(())
    }

    fn request_exit(
        &mut self,
        now_s: u64,
        owner: Address,
        units: u128,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let held = self.units.get(&owner).copied().unwrap_or(0);
        if units == 0 || units > held {
            return Err("NotEnoughUnits");
        }
        if units != held && mul_div(units, self.index, RAY, false) < self.parameters.note_min {
            return Err("TooSmall");
        }
        self.units.insert(owner, held - units);
        let day = now_s / DAY_S;
        let joins = self
            .cohorts
            .last()
            .is_some_and(|last| last.day == day && last.unpaid != 0);
        if !joins {
            self.cohorts.push(CohortBooks {
                day,
                due_at_s: now_s + self.parameters.exit_notice_s,
                unpaid: 0,
            });
        }
        let number = self.cohorts.len() - 1;
        self.cohorts[number].unpaid += units;
        logs.push(VaultFact::ExitRequested {
            owner,
            cohort: u64::try_from(number).expect("usize fits u64"),
            units: Amount::new(units),
        });
        Ok(())
    }

    /// As the client calls it: one cohort at a time, and a payment of nothing is reported as a failure.
    fn pay_exits(&mut self, logs: &mut Vec<VaultFact>) -> Result<(), Refusal> {
        let oldest = self.cohort_oldest;
        let unpaid = self.cohorts.get(oldest).ok_or("nothing is unpaid")?.unpaid;
        let have = self.free * BPS;
        let kept = self.parameters.floor_bps * self.note_claims();
        let most = have.saturating_sub(kept) / (BPS - self.parameters.floor_bps);
        let payable = most.min(self.free);
        let mut burnt = unpaid;
        let mut worth = mul_div(unpaid, self.index, RAY, false);
        if worth > payable {
            burnt = mul_div(payable, RAY, self.index, false);
            if burnt == 0 {
                return Err("no free money above the floor");
            }
            worth = mul_div(burnt, self.index, RAY, false);
        }
        self.units_total -= burnt;
        self.spend_free(worth)?;
        self.unclaimed += worth;
        self.cohorts[oldest].unpaid -= burnt;
        if burnt == unpaid {
            self.cohort_oldest += 1;
        }
        logs.push(VaultFact::ExitPaid {
            cohort: u64::try_from(oldest).expect("usize fits u64"),
            units: Amount::new(burnt),
            amount: Amount::new(worth),
        });
        Ok(())
    }

    fn spend_free(&mut self, amount: u128) -> Result<(), Refusal> {
        let left = self.free.checked_sub(amount).ok_or("NotEnoughFree")?;
        if left * BPS < self.parameters.floor_bps * self.note_claims() {
            return Err("BelowFloor");
        }
        self.free = left;
        Ok(())
    }

    fn exits_in_time(&self, now_s: u64) -> Result<(), Refusal> {
        let oldest = self.cohorts.get(self.cohort_oldest);
        match oldest {
            Some(cohort) if now_s > cohort.due_at_s => Err("ExitsOverdue"),
            Some(_) | None => Ok(()),
        }
    }

    fn term(&self, now_s: u64, current: u64, term_end_s: u64) -> Result<(), Refusal> {
        let fits = term_end_s >= current
            && term_end_s > now_s
            && term_end_s <= now_s + self.parameters.term_max_s;
        if fits { Ok(()) } else { Err("BadTerm") }
    }

    fn open_channel(&mut self, serial: u64) -> Result<&mut ChannelBooks, Refusal> {
        let channel = self.channels.get_mut(&serial);
        channel
            .filter(|channel| !channel.closed)
            .ok_or("ChannelClosed")
    }
}

fn lane_of(channel: &mut ChannelBooks, lane: LaneId) -> &mut LaneBooks {
    match lane {
        LaneId::Pool => &mut channel.pool,
        LaneId::Peer => &mut channel.peer,
    }
}

fn operator_only(sender: Sender) -> Result<(), Refusal> {
    match sender {
        Sender::Operator => Ok(()),
        Sender::Account(_) => Err("NotOperator"),
    }
}

fn owner_only(channel: &ChannelBooks, sender: Sender, lane: LaneId) -> Result<(), Refusal> {
    let owns = match (lane, sender) {
        (LaneId::Pool, Sender::Operator) => true,
        (LaneId::Peer, Sender::Account(account)) => {
            account == channel.payout || account == channel.peer_signer
        }
        (LaneId::Pool, Sender::Account(_)) | (LaneId::Peer, Sender::Operator) => false,
    };
    if owns { Ok(()) } else { Err("NotLaneOwner") }
}

fn ended(now_s: u64, deadline_s: u64) -> Result<(), Refusal> {
    if now_s < deadline_s {
        return Err("TooEarly");
    }
    Ok(())
}

fn milliseconds(seconds: u64) -> Timestamp {
    Timestamp(seconds * 1_000)
}

fn mul_div(a: u128, b: u128, divisor: u128, up: bool) -> u128 {
    let exact = if up {
        forebay_quantity::mul_div_ceil(a, b, divisor)
    } else {
        forebay_quantity::mul_div_floor(a, b, divisor)
    };
    exact.expect("simulated amounts are far from 128 bits")
}
