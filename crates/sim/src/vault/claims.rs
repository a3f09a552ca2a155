//! Exits, losses and the run-down.

use forebay_channel::vault::{Cosignature, RUN_DOWN_COHORT};
use forebay_channel::{Address, MarkDown};
use forebay_pool::VaultFact;
use forebay_quantity::Amount;

use super::{
    BPS, COHORTS_TRIED_MAX, CohortBooks, DAY_S, DILUTION_MAX, RAY, Refusal, Sender, Vault, in_time,
    mul_div,
};

impl Vault {
    pub(super) fn mark_down(
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

    pub(super) fn start_run_down(
        &mut self,
        now_s: u64,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
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

    pub(super) fn claim_exit(&mut self, cohort: u32, member: Address) {
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

    pub(super) fn request_exit(
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
    pub(super) fn pay_exits(&mut self, logs: &mut Vec<VaultFact>) -> Result<(), Refusal> {
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

    pub(super) fn payable_to_exits(&self) -> u128 {
        let have = self.free * BPS;
        let kept = self.parameters.floor_bps * self.note_claims();
        let most = have.saturating_sub(kept) / (BPS - self.parameters.floor_bps);
        most.min(self.free)
    }

    /// All notes alike from all free money; once they are paid, the share holder.
    pub(super) fn pay_run_down(&mut self, logs: &mut Vec<VaultFact>) -> Result<(), Refusal> {
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
}
