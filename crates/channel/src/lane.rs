//! One direction of a channel: what the chain guarantees and what was promised against it.

use crate::address::Address;
use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::{Amount, Timestamp};

/// An announced lowering of a ceiling, executable from its deadline on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub struct Lowering {
    /// The ceiling once the lowering is executed.
    pub ceiling: Amount,
    /// When it may be executed; set once, never moved.
    pub deadline: Timestamp,
}

/// Why the payer may not sign a voucher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignRefusal {
    /// The amount is not above what was signed before.
    NotGrowing {
        /// The cumulative amount asked for.
        amount: Amount,
        /// The cumulative amount signed last.
        signed: Amount,
    },
    /// The ceiling, at finality depth and under every announcement, does not cover the amount.
    OverCeiling {
        /// The cumulative amount asked for.
        amount: Amount,
        /// The largest cumulative amount that is covered.
        usable: Amount,
    },
}

/// Why the payee takes no notice of a genuine voucher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VoucherRefusal {
    /// It names another channel or the other lane.
    WrongLane,
    /// It is signed, but not by who pays on this lane.
    WrongSigner {
        /// Who signed it.
        signer: Address,
        /// Who should have.
        payer: Address,
    },
    /// It adds nothing to the voucher already held.
    NotGrowing {
        /// The cumulative amount offered.
        amount: Amount,
        /// The cumulative amount held.
        held: Amount,
    },
}

/// One lane of a channel, from payer to payee.
///
/// All numbers are cumulative over the channel's life. Raises and payouts are absorbed at finality
/// depth, an announced lowering as soon as it is seen: each side errs towards less.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub struct Lane {
    ceiling: Amount,
    paid: Amount,
    promised: Amount,
    lowering: Option<Lowering>,
    /// The lowering announced before it: executed, or the vault would not have taken another, and not final yet.
    executed: Option<Lowering>,
    /// Up to where the highest voucher counts when a replaced key signed it.
    replaced: Option<Amount>,
}

impl Lane {
    /// The ceiling at finality depth, announcements aside.
    #[must_use]
    pub const fn ceiling(&self) -> Amount {
        self.ceiling
    }

    /// What the chain has paid, or netted off, at finality depth.
    #[must_use]
    pub const fn paid(&self) -> Amount {
        self.paid
    }

    /// The highest voucher: signed by us on the outgoing lane, held by us on the incoming one.
    #[must_use]
    pub const fn promised(&self) -> Amount {
        self.promised
    }

    /// The lowering that is announced and not yet executed.
    #[must_use]
    pub const fn lowering(&self) -> Option<Lowering> {
        self.lowering
    }

    /// The largest cumulative amount that is guaranteed: min(current, max(announced, paid)).
    #[must_use]
    pub fn usable_ceiling(&self) -> Amount {
        let announced = [self.lowering, self.executed].into_iter().flatten();
        announced
            .map(|lowering| lowering.ceiling.max(self.paid))
            .fold(self.ceiling, Amount::min)
    }

    /// What the highest voucher is good for while the ceiling is no matter.
    fn valid(&self) -> Amount {
        self.promised.min(self.replaced.unwrap_or(Amount::MAX))
    }

    /// What the ceiling still guarantees beyond the highest voucher.
    #[must_use]
    pub fn headroom(&self) -> Amount {
        self.usable_ceiling().saturating_sub(self.promised)
    }

    /// What the vault still holds for this lane: ceiling − paid.
    #[must_use]
    pub const fn remaining(&self) -> Amount {
        self.ceiling.saturating_sub(self.paid)
    }

    /// What the highest voucher secures, cumulative: the part within the guaranteed ceiling.
    #[must_use]
    pub fn secured(&self) -> Amount {
        self.valid().min(self.usable_ceiling())
    }

    /// What redeeming the highest voucher pays now: min(amount, ceiling) − paid.
    #[must_use]
    pub fn redeemable(&self) -> Amount {
        self.valid().min(self.ceiling).saturating_sub(self.paid)
    }

    /// What of [`Lane::redeemable`] is lost unless it is redeemed before the announced lowering.
    #[must_use]
    pub fn endangered(&self) -> Amount {
        let kept = self.usable_ceiling();
        self.valid().min(self.ceiling).saturating_sub(kept)
    }

    /// Whether the payer may sign a voucher for the cumulative `amount`.
    ///
    /// # Errors
    /// When the amount does not grow [I5], or passes what the ceiling guarantees [I4].
    pub fn may_sign(&self, amount: Amount) -> Result<(), SignRefusal> {
        if amount <= self.promised {
            return Err(SignRefusal::NotGrowing {
                amount,
                signed: self.promised,
            });
        }
        let usable = self.usable_ceiling();
        if amount > usable {
            return Err(SignRefusal::OverCeiling { amount, usable });
        }
        Ok(())
    }

    /// Absorbs that the payer promised `amount`, before the signature is made.
    pub fn sign(&mut self, amount: Amount) {
        // [I5] a voucher's amount only grows.
        assert!(amount > self.promised, "[I5] voucher amounts only grow");
        // [I4] what is signed stays within what the ceiling guarantees.
        assert!(
            amount <= self.usable_ceiling(),
            "[I4] signed within the guaranteed ceiling"
        );
        self.promised = amount;
    }

    /// Whether a genuine voucher for the cumulative `amount` tells the payee anything new.
    ///
    /// # Errors
    /// When the voucher held is at least as large.
    pub fn may_hold(&self, amount: Amount) -> Result<(), VoucherRefusal> {
        let held = self.valid();
        if amount <= held {
            return Err(VoucherRefusal::NotGrowing { amount, held });
        }
        Ok(())
    }

    /// Absorbs that the payee holds a voucher for `amount`; gives what is secured beyond what was before.
    pub fn hold(&mut self, amount: Amount) -> Amount {
        let before = self.secured();
        if amount > self.valid() {
            (self.promised, self.replaced) = (amount, None);
        }
        self.secured().saturating_sub(before)
    }

    /// Absorbs the ceiling at finality depth, after a raise or a deposit.
    pub fn ceiling_is(&mut self, ceiling: Amount) {
        self.ceiling = ceiling;
    }

    /// Absorbs an announced lowering, at any depth. One that still stood was executed, and counts until that is final.
    pub fn lowering_announced(&mut self, lowering: Lowering) {
        if self.lowering != Some(lowering) {
            self.executed = self.lowering.replace(lowering);
        }
    }

    /// Absorbs that the announcement was withdrawn, or dropped by a reorg; what it had replaced stands again.
    pub fn lowering_withdrawn(&mut self) {
        self.lowering = self.executed.take();
    }

    /// Absorbs that the oldest announced lowering was executed, and the ceiling now is `ceiling`.
    pub fn lowered(&mut self, ceiling: Amount) {
        if self.executed.take().is_none() {
            self.lowering = None;
        }
        self.ceiling = ceiling;
    }

    /// Absorbs that the payee released the ceiling down to `ceiling`; an announcement that runs goes on running.
    pub fn released(&mut self, ceiling: Amount) {
        self.ceiling = ceiling;
    }

    /// Absorbs that what is held was signed by a replaced key: it stays redeemable, but no later raise covers it.
    pub(crate) fn signer_replaced(&mut self) {
        self.replaced = Some(self.valid().min(self.ceiling));
    }

    /// Absorbs what the chain has paid in all, at finality depth.
    pub fn paid_is(&mut self, paid: Amount) {
        self.paid = self.paid.max(paid);
    }

    /// Absorbs a net-off: paid, ceiling and an announced ceiling rise by `netted` alike, and no money moves.
    pub fn net_off(&mut self, netted: Amount) {
        self.ceiling = self.ceiling.saturating_add(netted);
        self.paid = self.paid.saturating_add(netted);
        for lowering in [&mut self.lowering, &mut self.executed]
            .into_iter()
            .flatten()
        {
            lowering.ceiling = lowering.ceiling.saturating_add(netted);
        }
    }
}
