//! One vault as the contract keeps it (contracts/evm/src): its own exact integer books, and no knowledge of the pool.

use std::collections::BTreeMap;

use forebay_channel::{
    Address, CoopClose, CosignedRaise, Domain, Freeze, KeyChange, LaneId, MarkDown, NetOff,
    Release, Signable, Signature, Voucher,
    vault::{Cosignature, RUN_DOWN_COHORT, SignedVoucher},
};
use forebay_pool::{NoticeKind, VaultFact};
use forebay_quantity::{Amount, ChannelSerial, Timestamp};

use crate::growth::{Growth, GrowthRules};
use crate::signing::is_signed_by;

pub(crate) const RAY: u128 = 1_000_000_000_000_000_000_000_000_000;
const DAY_S: u64 = 86_400;
const BPS: u128 = 10_000;
/// Cohorts that are paid before a run-down is judged.
const COHORTS_TRIED_MAX: u8 = 32;
/// A cohort takes newcomers as long as one part in this many is unpaid.
const DILUTION_MAX: u128 = 1_000_000_000;

/// Who sends a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
        payout: Address,
    },
    /// The client turns the ceiling asked for into what is added to the one that stands. A term that ends at zero
    /// leaves the one that runs.
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
    /// Of several, those that pay nothing are skipped.
    #[allow(dead_code, reason = "only the suite of all rails asks for it so far")]
    RedeemMany(Vec<SignedVoucher>),
    /// With the payee's signature under the channel's nonce.
    #[allow(dead_code, reason = "only the suite of all rails asks for it so far")]
    Release(Release, Signature),
    /// The pool's signature, then the peer's.
    #[allow(dead_code, reason = "only the suite of all rails asks for it so far")]
    NetOff(NetOff, Signature, Signature),
    /// The pool's signature, then the peer's.
    #[allow(dead_code, reason = "only the suite of all rails asks for it so far")]
    CloseTogether(CoopClose, Signature, Signature),
    /// With the other side's signature under the channel's nonce.
    #[allow(dead_code, reason = "only the suite of all rails asks for it so far")]
    ChangeKey(KeyChange, Signature),
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
    #[allow(dead_code, reason = "only the suite of all rails asks for it so far")]
    ClaimExit {
        cohort: u32,
        member: Address,
    },
    Heartbeat,
    RaiseCosigned(CosignedRaise, Vec<Cosignature>),
    Freeze(Freeze, Vec<Cosignature>),
    MarkDown(MarkDown, Vec<Cosignature>),
    #[allow(dead_code, reason = "only the suite of all rails asks for it so far")]
    StartRunDown,
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
    pub(crate) nonce: u16,
    pub(crate) payout: Address,
    pub(crate) pool_signer: Address,
    pub(crate) peer_signer: Address,
    pub(crate) term_end_s: u64,
    pub(crate) close_at_s: Option<u64>,
    pub(crate) new_key: Option<(Address, u64)>,
    /// What a lane's former signers signed stays good up to this.
    pub(crate) former: BTreeMap<(LaneId, Address), u128>,
    pub(crate) pool: LaneBooks,
    pub(crate) peer: LaneBooks,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CohortBooks {
    pub(crate) day: u64,
    pub(crate) due_at_s: u64,
    pub(crate) unpaid: u128,
    parts: u128,
    /// In ray, rounded up: so that a member's share, rounded down, is not a unit short.
    paid_per_part: u128,
    /// What rounding up could promise beyond the money set aside, this refuses.
    unclaimed: u128,
    members: BTreeMap<Address, Membership>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Membership {
    parts: u128,
    paid_per_part_seen: u128,
}

impl CohortBooks {
    fn new(day: u64, due_at_s: u64) -> Self {
        Self {
            day,
            due_at_s,
            unpaid: 0,
            parts: 0,
            paid_per_part: 0,
            unclaimed: 0,
            members: BTreeMap::new(),
        }
    }

    /// Burns as many unpaid units as the money can pay, and sets it aside; says how many units for how much.
    fn pay(&mut self, index: u128, payable: u128) -> (u128, u128) {
        let mut burnt = self.unpaid;
        let mut worth = mul_div(burnt, index, RAY, false);
        if worth > payable {
            burnt = mul_div(payable, RAY, index, false);
            worth = mul_div(burnt, index, RAY, false);
        }
        if burnt != 0 {
            self.unpaid -= burnt;
            self.paid_per_part += mul_div(worth, RAY, self.parts, true);
            self.unclaimed += worth;
        }
        (burnt, worth)
    }

    /// A member's unpaid units leave with it.
    fn leave(&mut self, member: Address) -> u128 {
        let Some(membership) = self.members.get_mut(&member) else {
            return 0;
        };
        let parts = std::mem::take(&mut membership.parts);
        if parts == 0 {
            return 0;
        }
        let units = mul_div(parts, self.unpaid, self.parts, false);
        self.parts -= parts;
        self.unpaid -= units;
        units
    }

    /// Parts that were there from the beginning join late, and get what they missed.
    fn join_late(&mut self, member: Address, units: u128) -> u128 {
        let missed = mul_div(units, self.paid_per_part, RAY, false).min(self.unclaimed);
        self.unclaimed -= missed;
        self.members.entry(member).or_default().parts += units;
        missed
    }

    /// Takes what a member has coming.
    fn take_owed(&mut self, member: Address) -> u128 {
        let membership = self.members.entry(member).or_default();
        let rise = self.paid_per_part - membership.paid_per_part_seen;
        membership.paid_per_part_seen = self.paid_per_part;
        let owed = mul_div(membership.parts, rise, RAY, false).min(self.unclaimed);
        self.unclaimed -= owed;
        owed
    }
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
    pub(crate) growth: GrowthRules,
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
    pub(crate) share_units: u128,
    /// Who deposited shares last; the contract knows but one.
    share_holder: Option<Sender>,
    pub(crate) growth: Growth,
    /// The cohort of all units, once the vault runs down.
    pub(crate) all: Option<CohortBooks>,
    pub(crate) channels: BTreeMap<u64, ChannelBooks>,
    /// What everybody was paid by the vault, less what they paid in.
    pub(crate) purses: BTreeMap<Sender, i128>,
}

type Refusal = &'static str;

impl Vault {
    pub(crate) fn new(parameters: VaultParameters, now_s: u64) -> Self {
        let growth = Growth::new(parameters.growth.clone(), now_s);
        Self {
            parameters,
            growth,
            share_holder: None,
            all: None,
            free: 0,
            units_total: 0,
            index: RAY,
            accrued_at_s: now_s,
            units: BTreeMap::new(),
            cohorts: Vec::new(),
            cohort_oldest: 0,
            share_units: 0,
            channels: BTreeMap::new(),
            purses: BTreeMap::new(),
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
        let cohorts = self.cohorts.iter().chain(&self.all);
        let unclaimed: u128 = cohorts.map(|cohort| cohort.unclaimed).sum();
        assert_eq!(
            signed(self.free + remaining + unclaimed),
            -self.purses.values().sum::<i128>(),
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
                if [pool_signer, peer_signer, payout].contains(&Address::ZERO) {
                    return Err("BadSigner");
                }
                if (allotment == 0) != (term_end_s == 0) {
                    return Err("BadTerm");
                }
                if allotment != 0 {
                    self.growth.may_grow(now_s)?;
                    self.exits_in_time(now_s)?;
                    self.growth.spend_bucket(now_s, allotment)?;
                    self.term(now_s, 0, term_end_s)?;
                    self.spend_free(allotment)?;
                }
                self.channels.insert(
                    serial,
                    ChannelBooks {
                        closed: false,
                        nonce: 0,
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
                payout,
            } => {
                let channel = self.open_channel(serial)?;
                if channel.close_at_s.is_some() {
                    return Err("ChannelClosed");
                }
                if channel.payout != payout {
                    return Err("WrongPayout");
                }
                channel.peer.ceiling += added;
                let ceiling = amount(channel.peer.ceiling);
                self.receive(sender, added)?;
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
                self.growth.may_grow(now_s)?;
                self.exits_in_time(now_s)?;
                let channel = self.open_channel(serial)?;
                let added = ceiling.saturating_sub(channel.pool.ceiling);
                self.raise(now_s, serial, added, term_end_s, logs)?;
                if added != 0 {
                    self.growth.spend_bucket(now_s, added)?;
                    self.spend_free(added)?;
                }
            }
            Call::RaiseCosigned(ref raise, ref signatures) => {
                operator_only(sender)?;
                self.growth.may_grow(now_s)?;
                self.exits_in_time(now_s)?;
                in_time(now_s, raise.valid_until_s)?;
                let agreed = CosignedRaise {
                    nonce: self.growth.committee_nonce,
                    ..*raise
                };
                let domain = self.parameters.domain;
                self.growth.cosigned_by_t(&domain, &agreed, signatures)?;
                self.growth.committee_nonce += 1;
                let (serial, added) = (raise.serial.value(), raise.amount.value());
                self.raise(now_s, serial, added, raise.term_end_s, logs)?;
                self.spend_free(added)?;
                logs.push(VaultFact::RaiseCosigned {
                    serial: raise.serial,
                    amount: raise.amount,
                });
            }
            Call::Heartbeat => {
                operator_only(sender)?;
                self.growth.heartbeat(now_s)?;
                logs.push(VaultFact::HeartbeatSeen {
                    at: milliseconds(now_s),
                });
            }
            Call::Freeze(ref freeze, ref signatures) => {
                let domain = self.parameters.domain;
                self.growth.freeze(now_s, &domain, freeze, signatures)?;
                logs.push(VaultFact::Frozen {
                    until: milliseconds(freeze.until_s),
                });
            }
            Call::MarkDown(ref mark_down, ref signatures) => {
                self.mark_down(now_s, mark_down, signatures, logs)?
            }
            Call::StartRunDown => self.start_run_down(now_s, logs)?,
            Call::Redeem {
                serial,
                lane,
                amount: most,
                signature,
            } => {
                let voucher = Voucher {
                    serial: ChannelSerial(serial),
                    lane,
                    amount: amount(most),
                };
                self.redeem(&voucher, &signature, logs)?
            }
            Call::RedeemMany(ref vouchers) => {
                for SignedVoucher { voucher, signature } in vouchers {
                    let _skipped = self.redeem(voucher, signature, logs);
                }
            }
            Call::Release(ref release, ref payee) => self.release(release, payee, logs)?,
            Call::NetOff(ref net_off, ref pool, ref peer) => {
                self.net_off(net_off, pool, peer, logs)?
            }
            Call::CloseTogether(ref close, ref pool, ref peer) => {
                self.close_together(close, pool, peer, logs)?
            }
            Call::ChangeKey(change, ref other) => {
                let domain = self.parameters.domain;
                let serial = change.serial.value();
                let channel = self.open_channel(serial)?;
                owner_only(channel, sender, change.lane)?;
                let agreed = KeyChange {
                    nonce: channel.nonce,
                    ..change
                };
                let signer = signer_of(channel, change.lane.other());
                signed_by(&domain, &agreed, other, signer)?;
                channel.nonce += 1;
                change_key(channel, serial, change.lane, change.signer, logs)?
            }
            Call::StartLowering {
                serial,
                lane,
                ceiling,
            } => {
                let period = self.parameters.close_period_s;
                let runs_down = self.growth.runs_down;
                let channel = self.open_channel(serial)?;
                let ended = lane == LaneId::Pool && (now_s > channel.term_end_s || runs_down);
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
                if signer == Address::ZERO {
                    return Err("BadSigner");
                }
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
                change_key(channel, serial, LaneId::Peer, signer, logs)?
            }
            Call::DepositNote {
                owner,
                amount: arrived,
            } => {
                self.growth.requires_running()?;
                self.receive(Sender::Account(owner), arrived)?;
                let minted = mul_div(arrived, RAY, self.index, false);
                if arrived < self.parameters.note_min || minted == 0 {
                    return Err("TooSmall");
                }
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
            Call::ClaimExit { cohort, member } => self.claim_exit(cohort, member),
            Call::Accrue { index } => {
                operator_only(sender)?;
                self.growth.requires_running()?;
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
                self.growth.requires_running()?;
                self.share_holder = Some(sender);
                self.receive(sender, arrived)?;
                self.free += arrived;
                self.share_units += arrived;
                logs.push(VaultFact::SharesDeposited {
                    amount: amount(arrived),
                });
            }
            Call::WithdrawShare { amount: leaves } => {
                self.growth.requires_running()?;
                self.exits_in_time(now_s)?;
                if leaves > self.share_units {
                    return Err("NotEnoughUnits");
                }
                self.share_units -= leaves;
                self.spend_free(leaves)?;
                self.pay(sender, leaves);
                logs.push(VaultFact::SharesWithdrawn {
                    amount: amount(leaves),
                });
            }
        }
        Ok(())
    }

    /// The allotment alone; bucket and free money are the caller's.
    fn raise(
        &mut self,
        now_s: u64,
        serial: u64,
        added: u128,
        term_end_s: u64,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let channel = self.open_channel(serial)?;
        channel.pool.ceiling += added;
        let (raised, before) = (channel.pool.ceiling, channel.term_end_s);
        if term_end_s != 0 {
            channel.term_end_s = term_end_s;
            self.term(now_s, before, term_end_s)?;
        }
        let serial = ChannelSerial(serial);
        if added != 0 {
            let ceiling = Amount::new(raised);
            logs.push(VaultFact::AllotmentRaised { serial, ceiling });
        }
        if term_end_s != 0 {
            let term_ends = milliseconds(term_end_s);
            logs.push(VaultFact::AllotmentRenewed { serial, term_ends });
        }
        Ok(())
    }

    fn mark_down(
        &mut self,
        now_s: u64,
        mark_down: &MarkDown,
        signatures: &[Cosignature],
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        self.growth.requires_running()?;
        in_time(now_s, mark_down.valid_until_s)?;
        let index = mark_down.index.value();
        if index == 0 || index >= self.index {
            return Err("IndexNotLower");
        }
        let agreed = MarkDown {
            nonce: self.growth.committee_nonce,
            ..*mark_down
        };
        let domain = self.parameters.domain;
        self.growth.cosigned_by_t(&domain, &agreed, signatures)?;
        self.growth.committee_nonce += 1;
        (self.index, self.accrued_at_s) = (index, now_s);
        self.share_units = 0;
        logs.push(VaultFact::MarkedDown { index });
        Ok(())
    }

    fn start_run_down(&mut self, now_s: u64, logs: &mut Vec<VaultFact>) -> Result<(), Refusal> {
        self.growth.requires_running()?;
        for _ in 0..COHORTS_TRIED_MAX {
            if self.pay_exits(logs).is_err() {
                break;
            }
        }
        let span = self.parameters.term_max_s + self.parameters.close_period_s;
        let oldest = self.cohorts.get(self.cohort_oldest);
        let unpaid = oldest.is_some_and(|cohort| now_s > cohort.due_at_s + span);
        if !unpaid && !self.growth.is_silent(now_s) {
            return Err("TooEarly");
        }
        self.growth.runs_down = true;
        let mut all = CohortBooks::new(0, now_s);
        (all.unpaid, all.parts) = (self.units_total, self.units_total);
        self.all = Some(all);
        logs.push(VaultFact::RunDownStarted);
        Ok(())
    }

    fn claim_exit(&mut self, cohort: u32, member: Address) {
        let of = usize::try_from(cohort).ok();
        let of = of.and_then(|at| self.cohorts.get_mut(at));
        let (mut owed, mut moved) = (0, 0);
        if let Some(cohort) = of {
            owed = cohort.take_owed(member);
            if self.all.is_some() {
                moved = cohort.leave(member);
            }
        }
        if let Some(all) = &mut self.all {
            moved += self.units.insert(member, 0).unwrap_or(0);
            owed += all.take_owed(member) + all.join_late(member, moved);
        }
        self.pay(Sender::Account(member), owed);
    }

    /// A closed channel has no pool signer, and nothing left to pay on the other lane.
    fn redeem(
        &mut self,
        voucher: &Voucher,
        signature: &Signature,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let domain = self.parameters.domain;
        let (serial, lane) = (voucher.serial, voucher.lane);
        let channel = self.channels.get_mut(&serial.value());
        let channel = channel.ok_or("BadSignature")?;
        let mut most = voucher.amount.value();
        if signed_by(&domain, voucher, signature, signer_of(channel, lane)).is_err() {
            let digest = domain.digest(voucher);
            let former = channel
                .former
                .iter()
                .find(|((of, signer), _)| *of == lane && is_signed_by(&digest, signature, *signer));
            let (_, ceiling) = former.ok_or("BadSignature")?;
            most = most.min(*ceiling);
        }
        let payout = channel.payout;
        let books = lane_of(channel, lane);
        most = most.min(books.ceiling);
        if most <= books.paid {
            return Err("NothingToPay");
        }
        let due = most - books.paid;
        books.paid = most;
        let paid = Amount::new(most);
        match lane {
            LaneId::Pool => {
                self.pay(Sender::Account(payout), due);
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
        self.lower(serial, lane, announced, false, logs)?;
        Ok(())
    }

    fn release(
        &mut self,
        release: &Release,
        payee: &Signature,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let domain = self.parameters.domain;
        let serial = release.serial.value();
        let channel = self.channels.get_mut(&serial).ok_or("BadSignature")?;
        let agreed = Release {
            nonce: channel.nonce,
            ..*release
        };
        let signer = signer_of(channel, release.lane.other());
        signed_by(&domain, &agreed, payee, signer)?;
        channel.nonce += 1;
        match self.lower(serial, release.lane, release.ceiling.value(), true, logs)? {
            0 => Err("CeilingNotLower"),
            _ => Ok(()),
        }
    }

    /// Lowers to `max(ceiling, paid)`; gives what went back to where the ceiling came from.
    fn lower(
        &mut self,
        serial: u64,
        lane: LaneId,
        ceiling: u128,
        released: bool,
        logs: &mut Vec<VaultFact>,
    ) -> Result<u128, Refusal> {
        let channel = self.channels.get_mut(&serial).ok_or("ChannelClosed")?;
        let payout = channel.payout;
        let books = lane_of(channel, lane);
        let ceiling = ceiling.max(books.paid).min(books.ceiling);
        let freed = books.ceiling - ceiling;
        books.ceiling = ceiling;
        let (serial, ceiling) = (ChannelSerial(serial), Amount::new(ceiling));
        match lane {
            LaneId::Pool => {
                self.free += freed;
                logs.push(VaultFact::AllotmentLowered {
                    serial,
                    ceiling,
                    released,
                });
            }
            LaneId::Peer => {
                self.pay(Sender::Account(payout), freed);
                logs.push(VaultFact::PeerWithdrew {
                    serial,
                    ceiling,
                    released,
                });
            }
        }
        Ok(freed)
    }

    /// A running notice announced what would remain, and a net-off does not take from it.
    fn net_off(
        &mut self,
        net_off: &NetOff,
        pool: &Signature,
        peer: &Signature,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let amount = net_off.amount.value();
        if amount == 0 {
            return Err("ZeroAmount");
        }
        let domain = self.parameters.domain;
        let channel = self.channels.get_mut(&net_off.serial.value());
        let channel = channel.ok_or("BadSignature")?;
        signed_by(&domain, net_off, pool, channel.pool_signer)?;
        signed_by(&domain, net_off, peer, channel.peer_signer)?;
        let stated = (net_off.pool_paid.value(), net_off.peer_paid.value());
        if stated != (channel.pool.paid, channel.peer.paid) {
            return Err("WrongPaid");
        }
        for books in [&mut channel.pool, &mut channel.peer] {
            books.ceiling += amount;
            books.paid += amount;
            if let Some((announced, _)) = &mut books.lowering {
                *announced += amount;
            }
        }
        logs.push(VaultFact::NettedOff {
            serial: net_off.serial,
            amount: net_off.amount,
        });
        Ok(())
    }

    fn close_together(
        &mut self,
        close: &CoopClose,
        pool: &Signature,
        peer: &Signature,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let domain = self.parameters.domain;
        let serial = close.serial.value();
        let channel = self.channels.get(&serial).ok_or("BadSignature")?;
        signed_by(&domain, close, pool, channel.pool_signer)?;
        signed_by(&domain, close, peer, channel.peer_signer)?;
        let (pool_paid, peer_paid) = (close.pool_paid.value(), close.peer_paid.value());
        if pool_paid < channel.pool.paid || peer_paid < channel.peer.paid {
            return Err("BelowPaid");
        }
        if pool_paid > channel.pool.ceiling || peer_paid > channel.peer.ceiling {
            return Err("AboveCeiling");
        }
        self.close(serial, pool_paid, peer_paid, logs)
    }

    fn finish_close(
        &mut self,
        now_s: u64,
        serial: u64,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let channel = self.open_channel(serial)?;
        ended(now_s, channel.close_at_s.ok_or("NoNotice")?)?;
        let (pool_paid, peer_paid) = (channel.pool.paid, channel.peer.paid);
        self.close(serial, pool_paid, peer_paid, logs)
    }

    /// A closed channel has no pool signer; its peer's stays.
    fn close(
        &mut self,
        serial: u64,
        pool_paid: u128,
        peer_paid: u128,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let channel = self.open_channel(serial)?;
        let (pool, peer) = (channel.pool, channel.peer);
        channel.closed = true;
        channel.close_at_s = None;
        channel.pool_signer = Address::ZERO;
        (channel.pool.ceiling, channel.pool.paid) = (pool_paid, pool_paid);
        (channel.peer.ceiling, channel.peer.paid) = (peer_paid, peer_paid);
        let payout = channel.payout;
        self.free += (peer_paid - peer.paid) + (pool.ceiling - pool_paid);
        let to_peer = (pool_paid - pool.paid) + (peer.ceiling - peer_paid);
        self.pay(Sender::Account(payout), to_peer);
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
        self.growth.requires_running()?;
        let held = self.units.get(&owner).copied().unwrap_or(0);
        if units == 0 {
            return Err("ZeroAmount");
        }
        if units > held {
            return Err("NotEnoughUnits");
        }
        if units != held && mul_div(units, self.index, RAY, false) < self.parameters.note_min {
            return Err("TooSmall");
        }
        self.units.insert(owner, held - units);
        let day = now_s / DAY_S;
        let joins = self.cohorts.last().is_some_and(|last| {
            let open = last.day == day && last.unpaid != 0;
            open && last.parts <= last.unpaid * DILUTION_MAX
        });
        if !joins {
            let due_at_s = now_s + self.parameters.exit_notice_s;
            self.cohorts.push(CohortBooks::new(day, due_at_s));
        }
        let number = self.cohorts.len() - 1;
        let joined = &mut self.cohorts[number];
        let owed = joined.take_owed(owner);
        let parts = match joined.parts {
            0 => units,
            parts => mul_div(units, parts, joined.unpaid, false),
        };
        joined.members.entry(owner).or_default().parts += parts;
        joined.parts += parts;
        joined.unpaid += units;
        self.pay(Sender::Account(owner), owed);
        logs.push(VaultFact::ExitRequested {
            owner,
            cohort: u64::try_from(number).expect("usize fits u64"),
            units: Amount::new(units),
        });
        Ok(())
    }

    /// As the client calls it: one cohort at a time, and a payment of nothing is reported as a failure.
    fn pay_exits(&mut self, logs: &mut Vec<VaultFact>) -> Result<(), Refusal> {
        if self.all.is_some() {
            return self.pay_run_down(logs);
        }
        let oldest = self.cohort_oldest;
        let payable = self.payable_to_exits();
        let paying = self.cohorts.get_mut(oldest).ok_or("nothing is unpaid")?;
        let (burnt, worth) = paying.pay(self.index, payable);
        if burnt == 0 {
            return Err("no free money above the floor");
        }
        if paying.unpaid == 0 {
            self.cohort_oldest += 1;
        }
        self.units_total -= burnt;
        self.spend_free(worth)?;
        logs.push(VaultFact::ExitPaid {
            cohort: u64::try_from(oldest).expect("usize fits u64"),
            units: Amount::new(burnt),
            amount: Amount::new(worth),
        });
        Ok(())
    }

    fn payable_to_exits(&self) -> u128 {
        let have = self.free * BPS;
        let kept = self.parameters.floor_bps * self.note_claims();
        let most = have.saturating_sub(kept) / (BPS - self.parameters.floor_bps);
        most.min(self.free)
    }

    /// All notes alike from all free money; once they are paid, the share holder.
    fn pay_run_down(&mut self, logs: &mut Vec<VaultFact>) -> Result<(), Refusal> {
        let all = self.all.as_mut().expect("it runs down");
        let (burnt, worth) = all.pay(self.index, self.free);
        self.free -= worth;
        self.units_total -= burnt;
        if burnt != 0 {
            logs.push(VaultFact::ExitPaid {
                cohort: u64::from(RUN_DOWN_COHORT),
                units: Amount::new(burnt),
                amount: Amount::new(worth),
            });
        }
        let rest = self.free;
        let holder = self.share_holder.filter(|_| self.share_units != 0);
        if let Some(holder) = holder.filter(|_| self.units_total == 0 && rest != 0) {
            self.free = 0;
            self.pay(holder, rest);
            logs.push(VaultFact::SharesWithdrawn {
                amount: Amount::new(rest),
            });
        }
        Ok(())
    }

    fn receive(&mut self, from: Sender, amount: u128) -> Result<(), Refusal> {
        if amount == 0 {
            return Err("ZeroAmount");
        }
        *self.purses.entry(from).or_insert(0) -= signed(amount);
        Ok(())
    }

    fn pay(&mut self, to: Sender, amount: u128) {
        *self.purses.entry(to).or_insert(0) += signed(amount);
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

fn signer_of(channel: &ChannelBooks, lane: LaneId) -> Address {
    match lane {
        LaneId::Pool => channel.pool_signer,
        LaneId::Peer => channel.peer_signer,
    }
}

/// Nobody signs for address zero.
fn signed_by(
    domain: &Domain,
    message: &impl Signable,
    signature: &Signature,
    signer: Address,
) -> Result<(), Refusal> {
    let good = signer != Address::ZERO && is_signed_by(&domain.digest(message), signature, signer);
    if good { Ok(()) } else { Err("BadSignature") }
}

/// The former signer's vouchers stay good up to today's ceiling.
fn change_key(
    channel: &mut ChannelBooks,
    serial: u64,
    lane: LaneId,
    signer: Address,
    logs: &mut Vec<VaultFact>,
) -> Result<(), Refusal> {
    if signer == Address::ZERO {
        return Err("BadSigner");
    }
    let former = signer_of(channel, lane);
    let ceiling = lane_of(channel, lane).ceiling;
    let kept = channel.former.entry((lane, former)).or_insert(0);
    *kept = ceiling.max(*kept);
    match lane {
        LaneId::Pool => channel.pool_signer = signer,
        LaneId::Peer => channel.peer_signer = signer,
    }
    logs.push(VaultFact::KeyChanged {
        serial: ChannelSerial(serial),
        of_peer: lane == LaneId::Peer,
        signer,
    });
    Ok(())
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

fn in_time(now_s: u64, valid_until_s: u64) -> Result<(), Refusal> {
    if now_s > valid_until_s {
        return Err("Expired");
    }
    Ok(())
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

fn signed(amount: u128) -> i128 {
    i128::try_from(amount).expect("simulated amounts are far from 128 bits")
}

fn mul_div(a: u128, b: u128, divisor: u128, up: bool) -> u128 {
    let exact = if up {
        forebay_quantity::mul_div_ceil(a, b, divisor)
    } else {
        forebay_quantity::mul_div_floor(a, b, divisor)
    };
    exact.expect("simulated amounts are far from 128 bits")
}
