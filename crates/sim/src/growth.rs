//! What bounds a vault's growth, as the contract has it (contracts/evm/src/Growth.sol).

use forebay_channel::vault::Cosignature;
use forebay_channel::{Address, Domain, Signable};

use crate::signing::is_signed_by;

const DAY_S: u128 = 86_400;
const FREEZE_MAX_S: u64 = 7 * 86_400;
const FREEZE_REST_S: u64 = 30 * 86_400;

type Refusal = &'static str;

/// What a vault is built with; none of it ever changes.
#[derive(Debug, Clone)]
pub(crate) struct GrowthRules {
    pub(crate) bucket_capacity: u128,
    pub(crate) bucket_refill_per_day: u128,
    pub(crate) heartbeat_max_s: u64,
    pub(crate) committee: Vec<Address>,
    pub(crate) committee_spend: usize,
    pub(crate) committee_freeze: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Growth {
    rules: GrowthRules,
    bucket: u128,
    bucket_at_s: u64,
    frozen_until_s: u64,
    heartbeat_at_s: u64,
    pub(crate) runs_down: bool,
    pub(crate) committee_nonce: u64,
}

impl Growth {
    pub(crate) fn new(rules: GrowthRules, now_s: u64) -> Self {
        Self {
            bucket: rules.bucket_capacity,
            rules,
            bucket_at_s: now_s,
            frozen_until_s: 0,
            heartbeat_at_s: now_s,
            runs_down: false,
            committee_nonce: 0,
        }
    }

    pub(crate) fn requires_running(&self) -> Result<(), Refusal> {
        if self.runs_down {
            return Err("RunsDown");
        }
        Ok(())
    }

    /// Overdue exits are the vault's to look at.
    pub(crate) fn may_grow(&self, now_s: u64) -> Result<(), Refusal> {
        self.requires_running()?;
        if now_s < self.frozen_until_s {
            return Err("Frozen");
        }
        Ok(())
    }

    pub(crate) fn bucket(&self, now_s: u64) -> u128 {
        let elapsed_s = u128::from(now_s - self.bucket_at_s);
        let refilled = self.rules.bucket_refill_per_day * elapsed_s / DAY_S;
        let level = self.bucket.saturating_add(refilled);
        level.min(self.rules.bucket_capacity)
    }

    /// What the operator's key allots on its own is a sign of life as well.
    pub(crate) fn spend_bucket(&mut self, now_s: u64, amount: u128) -> Result<(), Refusal> {
        let level = self.bucket(now_s);
        self.bucket = level.checked_sub(amount).ok_or("BucketEmpty")?;
        self.bucket_at_s = now_s;
        self.heartbeat_at_s = now_s;
        Ok(())
    }

    pub(crate) fn heartbeat(&mut self, now_s: u64) -> Result<(), Refusal> {
        self.requires_running()?;
        self.heartbeat_at_s = now_s;
        Ok(())
    }

    pub(crate) fn is_silent(&self, now_s: u64) -> bool {
        now_s > self.heartbeat_at_s + self.rules.heartbeat_max_s
    }

    pub(crate) fn freeze(
        &mut self,
        now_s: u64,
        domain: &Domain,
        freeze: &forebay_channel::Freeze,
        signatures: &[Cosignature],
    ) -> Result<(), Refusal> {
        let until_s = freeze.until_s;
        let fits = until_s > now_s && until_s <= now_s + FREEZE_MAX_S;
        if !fits || until_s <= self.frozen_until_s {
            return Err("BadTerm");
        }
        let rests = now_s < self.frozen_until_s + FREEZE_REST_S;
        let needed = if rests {
            self.rules.committee_spend
        } else {
            self.rules.committee_freeze
        };
        self.cosigned(domain, freeze, signatures, needed)?;
        self.frozen_until_s = until_s;
        Ok(())
    }

    /// At least *t* of the committee signed, in the order of their places.
    pub(crate) fn cosigned_by_t(
        &self,
        domain: &Domain,
        message: &impl Signable,
        signatures: &[Cosignature],
    ) -> Result<(), Refusal> {
        self.cosigned(domain, message, signatures, self.rules.committee_spend)
    }

    fn cosigned(
        &self,
        domain: &Domain,
        message: &impl Signable,
        signatures: &[Cosignature],
        needed: usize,
    ) -> Result<(), Refusal> {
        if needed == 0 || signatures.len() < needed {
            return Err("NotEnoughSignatures");
        }
        let digest = domain.digest(message);
        let mut next = 0;
        for Cosignature { member, signature } in signatures {
            let place = usize::from(*member);
            let signer = self.rules.committee.get(place).filter(|_| place >= next);
            let signer = signer.ok_or("BadSignature")?;
            if !is_signed_by(&digest, signature, *signer) {
                return Err("BadSignature");
            }
            next = place + 1;
        }
        Ok(())
    }
}
