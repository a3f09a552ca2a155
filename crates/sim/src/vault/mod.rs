//! One vault as the contract keeps it (contracts/evm/src): its own exact integer books, and no knowledge of the pool.

mod books;
mod call;
mod channels;
mod claims;
mod run;

use std::collections::BTreeMap;

use forebay_channel::{Address, Domain, LaneId, Signable, Signature};
use forebay_pool::VaultFact;
use forebay_quantity::{ChannelSerial, Timestamp};

use crate::growth::{Growth, GrowthRules};
use crate::signing::is_signed_by;

pub(crate) use books::{ChannelBooks, CohortBooks, LaneBooks};
pub(crate) use call::{Call, Sender};

pub(crate) const RAY: u128 = 1_000_000_000_000_000_000_000_000_000;
const DAY_S: u64 = 86_400;
const BPS: u128 = 10_000;
/// Cohorts that are paid before a run-down is judged.
const COHORTS_TRIED_MAX: u8 = 32;
/// A cohort takes newcomers as long as one part in this many is unpaid.
const DILUTION_MAX: u128 = 1_000_000_000;

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
