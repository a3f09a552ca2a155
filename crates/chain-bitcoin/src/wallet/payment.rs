//! What becomes of a payment of ours after it was signed, decided without I/O.

use bitcoin::{Amount, FeeRate, ScriptBuf, Transaction, Txid};
use serde::{Deserialize, Serialize};

use crate::chain::BlockPlace;

/// An output to pay.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Payment {
    /// To whom.
    pub script: ScriptBuf,
    /// How much.
    pub amount: Amount,
}

impl Payment {
    /// Of so much to a script that is known as bytes.
    #[must_use]
    pub fn new(script: Vec<u8>, amount_sat: u64) -> Self {
        Self {
            script: ScriptBuf::from_bytes(script),
            amount: Amount::from_sat(amount_sat),
        }
    }
}

/// What a transaction of ours is for, which says who hands it in and whether another may take its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Kind {
    /// Handed in by us, replaced by one that pays more when it is not confirmed in time.
    Payment,
    /// The funding of channels: both sides of a channel rely on its id, so it is never replaced. Handed in by the Lightning
    /// node once the channel's first commitment is signed, and by us too once that was said.
    Funding { released: bool },
    /// A child that pays for its parent.
    Raise { parent: Txid },
    /// A funding that was given up before anybody could rely on it.
    Abandoned,
}

/// One of the transactions that were signed for a payment; only one of them can ever be confirmed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) transaction: Transaction,
    pub(super) fee: Amount,
    /// Satoshis per 1,000 weight units.
    pub(super) fee_rate: u64,
    /// When the wallet learnt of it, Unix seconds; a later one counts instead of an earlier one.
    pub(super) seen_s: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct PaymentRecord {
    pub(super) kind: Kind,
    pub(super) outputs: Vec<Payment>,
    /// The newest last; never empty.
    pub(super) versions: Vec<Version>,
    /// The height of the chain when the newest was made.
    pub(super) since_height: u32,
    /// Blocks until it should be confirmed.
    pub(super) target_blocks: u16,
    /// Told as settled, there.
    pub(super) settled: Option<BlockPlace>,
}

impl PaymentRecord {
    pub(super) fn newest(&self) -> &Version {
        self.versions
            .last()
            .expect("a record is made with its first version, and none is ever taken away")
    }

    pub(super) fn total(&self) -> Amount {
        self.outputs.iter().map(|payment| payment.amount).sum()
    }

    /// Whether somebody may see it: the wallet counts on no change of it before.
    pub(super) fn is_out(&self) -> bool {
        match self.kind {
            Kind::Payment | Kind::Raise { .. } | Kind::Funding { released: true } => true,
            Kind::Funding { released: false } | Kind::Abandoned => false,
        }
    }
}

/// What to do with a payment now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Nothing,
    /// Hand it in, again if need be: a source that was restarted, or is another, may not know it.
    HandIn,
    /// Sign one that pays this, and hand that in.
    Replace(FeeRate),
}

/// What a node asks a replacement to pay beyond what it replaces (BIP 125, rule 4): one satoshi per virtual byte.
pub(super) const REPLACEMENT_STEP: FeeRate = FeeRate::from_sat_per_kwu(250);

/// `is_confirmed`: one of its versions is in the chain. `estimate`: what it takes to be confirmed soon.
pub(super) fn next_step(
    record: &PaymentRecord,
    is_confirmed: bool,
    tip_height: u32,
    estimate: FeeRate,
    max: FeeRate,
) -> Step {
    if is_confirmed || !record.is_out() {
        return Step::Nothing;
    }
    let waited = tip_height.saturating_sub(record.since_height);
    let may_be_replaced = matches!(record.kind, Kind::Payment);
    if !may_be_replaced || waited < u32::from(record.target_blocks) {
        return Step::HandIn;
    }
    let paid = record.newest().fee_rate;
    let least = paid.saturating_add(REPLACEMENT_STEP.to_sat_per_kwu());
    let next = FeeRate::from_sat_per_kwu(least).max(estimate);
    if next > max {
        return Step::HandIn;
    }
    Step::Replace(next)
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::hashes::Hash;

    use super::*;

    fn record(kind: Kind, fee_rate: u64) -> PaymentRecord {
        let transaction = Transaction {
            version: bitcoin::transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: Vec::new(),
            output: Vec::new(),
        };
        PaymentRecord {
            kind,
            outputs: Vec::new(),
            versions: vec![Version {
                transaction,
                fee: Amount::ZERO,
                fee_rate,
                seen_s: 0,
            }],
            since_height: 100,
            target_blocks: 6,
            settled: None,
        }
    }

    #[test]
    fn a_payment_is_handed_in_until_it_is_late_and_then_replaced_by_one_that_pays_more() {
        let rate = FeeRate::from_sat_per_kwu;
        let step = |kind, fee_rate, confirmed, tip, estimate| {
            next_step(
                &record(kind, fee_rate),
                confirmed,
                tip,
                rate(estimate),
                rate(10_000),
            )
        };
        let payment = Kind::Payment;
        for (found, expected) in [
            (step(payment, 1_000, false, 100, 5_000), Step::HandIn),
            (step(payment, 1_000, false, 105, 5_000), Step::HandIn),
            (
                step(payment, 1_000, false, 106, 5_000),
                Step::Replace(rate(5_000)),
            ),
            // Without a higher estimate, by what nodes ask for.
            (
                step(payment, 1_000, false, 106, 900),
                Step::Replace(rate(1_250)),
            ),
            (
                step(payment, 9_750, false, 106, 900),
                Step::Replace(rate(10_000)),
            ),
            // Beyond what is ever paid.
            (step(payment, 9_751, false, 106, 900), Step::HandIn),
            (step(payment, 1_000, false, 106, 10_001), Step::HandIn),
            (step(payment, 1_000, true, 500, 5_000), Step::Nothing),
            // A tip that went back in a reorg.
            (step(payment, 1_000, false, 90, 5_000), Step::HandIn),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_others_rely_on_is_never_replaced_and_what_nobody_signed_for_is_not_handed_in() {
        let rate = FeeRate::from_sat_per_kwu;
        let parent = Txid::all_zeros();
        for (kind, expected) in [
            (Kind::Funding { released: false }, Step::Nothing),
            (Kind::Funding { released: true }, Step::HandIn),
            (Kind::Raise { parent }, Step::HandIn),
            (Kind::Abandoned, Step::Nothing),
        ] {
            let late = record(kind, 1_000);
            let found = next_step(&late, false, 500, rate(5_000), rate(10_000));
            assert_eq!(found, expected, "{kind:?}");
        }
    }
}
