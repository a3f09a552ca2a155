//! The books that a vault keeps of lanes, channels and cohorts of exits.

use std::collections::BTreeMap;

use forebay_channel::{Address, LaneId};

use super::{RAY, mul_div};

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
    pub(super) parts: u128,
    /// In ray, rounded up: so that a member's share, rounded down, is not a unit short.
    paid_per_part: u128,
    /// What rounding up could promise beyond the money set aside, this refuses.
    pub(super) unclaimed: u128,
    pub(super) members: BTreeMap<Address, Membership>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) parts: u128,
    paid_per_part_seen: u128,
}

impl CohortBooks {
    pub(super) fn new(day: u64, due_at_s: u64) -> Self {
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
    pub(super) fn pay(&mut self, index: u128, payable: u128) -> (u128, u128) {
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
    pub(super) fn leave(&mut self, member: Address) -> u128 {
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
    pub(super) fn join_late(&mut self, member: Address, units: u128) -> u128 {
        let missed = mul_div(units, self.paid_per_part, RAY, false).min(self.unclaimed);
        self.unclaimed -= missed;
        self.members.entry(member).or_default().parts += units;
        missed
    }

    /// Takes what a member has coming.
    pub(super) fn take_owed(&mut self, member: Address) -> u128 {
        let membership = self.members.entry(member).or_default();
        let rise = self.paid_per_part - membership.paid_per_part_seen;
        membership.paid_per_part_seen = self.paid_per_part;
        let owed = mul_div(membership.parts, rise, RAY, false).min(self.unclaimed);
        self.unclaimed -= owed;
        owed
    }
}
