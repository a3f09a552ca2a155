//! The course of one channel's money after its closing, judged from what the chain holds: no I/O.
//!
//! A commitment may be paid for by a child, payments under way are claimed by transactions of their own, and what comes of all
//! that is swept. What the listener was told to be ours in the channel, less what came into the wallet, is what the way cost.

use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Script, Transaction, Txid};
use borsh::{BorshDeserialize, BorshSerialize};

use super::wallet::Belonging;

/// From its funding on, transactions are followed over so many steps: a splice, the commitment, a claim, a sweep.
const STEPS_MAX: usize = 4;
/// More than a commitment has outputs, twice.
const SEEN_MAX: usize = 2_000;
/// A transaction this deep is not taken out again, as LDK reckons (`ANTI_REORG_DELAY`).
pub(crate) const DEEP: u32 = 6;

/// What is kept of one channel.
#[derive(Clone, Default, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct Course {
    /// What the listener was told to be ours in it, in msat; below nothing when we paid out what a peer had given us.
    pub(crate) booked_msat: i64,
    /// Whether its opening is in that.
    pub(crate) is_funded: bool,
    /// Both ends' money in it, in sat.
    pub(crate) value_sat: u64,
    /// Where its money is, and where a splice that waits puts it.
    fundings: Vec<Place>,
    /// The newest splice.
    splice: Option<Splice>,
    /// By what names payments of ours find it.
    pub(crate) names: Vec<u64>,
    /// Transactions that spend it, and those that spend their outputs, as they lie in the chain.
    seen: Vec<Seen>,
    /// Of these the listener knows what they paid to miners.
    pub(crate) told: Vec<[u8; 32]>,
    /// The listener knows all of it.
    pub(crate) has_ended: bool,
}

type Place = ([u8; 32], u32);

/// A change of a channel's size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct Splice {
    pub(crate) txid: [u8; 32],
    /// What the channel grew by, in sat, of our money.
    pub(crate) grown_sat: i64,
    /// What of ours it paid to miners, in sat.
    pub(crate) fee_sat: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
struct Seen {
    height: u32,
    transaction: Vec<u8>,
}

/// A transaction of a course, read.
pub(crate) struct Step {
    pub(crate) height: u32,
    pub(crate) txid: Txid,
    pub(crate) transaction: Transaction,
}

/// What a transaction did, seen from the courses that it spends.
pub(crate) struct Effect {
    /// What left this course towards the wallet, in sat.
    pub(crate) left_sat: i64,
    /// What it paid to miners, where all that it spends is ours.
    pub(crate) fee_sat: Option<u64>,
}

impl Course {
    pub(crate) fn of(funding: OutPoint) -> Self {
        Self {
            fundings: vec![place(&funding)],
            ..Self::default()
        }
    }

    pub(crate) fn splice(&self) -> Option<Splice> {
        self.splice
    }

    /// A splice waits for its blocks. Those before it are settled: LDK makes the next one only then.
    pub(crate) fn spliced(&mut self, splice: Splice, funding: OutPoint, value_sat: u64) {
        if self.splice.is_some_and(|known| known.txid == splice.txid) {
            return;
        }
        if let Some(before) = self.splice.replace(splice) {
            self.booked_msat += before.grown_sat * 1_000;
            self.fundings.remove(0);
            self.seen.clear();
        }
        self.fundings.push(place(&funding));
        self.value_sat = value_sat;
    }

    /// What would be ours in it if all that was told comes about, in sat by outputs that are watched.
    pub(crate) fn watched(&self, wallet: &impl Fn(&Script) -> Belonging) -> Vec<(OutPoint, u64)> {
        let mut watched: Vec<_> = self.fundings.iter().map(|p| (outpoint(p), 0)).collect();
        let mut level: Vec<OutPoint> = watched.iter().map(|(at, _)| *at).collect();
        let steps = self.steps();
        for _ in 1..STEPS_MAX {
            let next: Vec<_> = steps
                .iter()
                .filter(|step| spends(&step.transaction, &level))
                .flat_map(|step| outputs(step, wallet))
                .filter(|(at, _)| watched.iter().all(|(known, _)| known != at))
                .collect();
            level = next.iter().map(|(at, _)| *at).collect();
            watched.extend(next);
        }
        watched
    }

    /// Takes a transaction that spends what is watched.
    pub(crate) fn see(&mut self, transaction: &Transaction, height: u32) {
        let bytes = bitcoin::consensus::encode::serialize(transaction);
        let is_known = self.seen.iter().any(|seen| seen.transaction == bytes);
        if is_known || self.seen.len() >= SEEN_MAX {
            return;
        }
        self.seen.push(Seen {
            height,
            transaction: bytes,
        });
    }

    /// A reorg took out all blocks above this one. Says whether anything is gone by that.
    pub(crate) fn fall_back(&mut self, height: u32) -> bool {
        let before = self.seen.len();
        self.seen.retain(|seen| seen.height <= height);
        self.seen.len() != before
    }

    pub(crate) fn steps(&self) -> Vec<Step> {
        let read = |seen: &Seen| {
            let transaction: Transaction =
                bitcoin::consensus::encode::deserialize(&seen.transaction).ok()?;
            Some(Step {
                height: seen.height,
                txid: transaction.compute_txid(),
                transaction,
            })
        };
        self.seen.iter().filter_map(read).collect()
    }

    /// The transaction that ended the channel.
    pub(crate) fn closing(&self) -> Option<Step> {
        let fundings: Vec<_> = self.fundings.iter().map(outpoint).collect();
        let splice = self.splice.map(|splice| splice.txid);
        self.steps().into_iter().find(|step| {
            let is_splice = splice == Some(step.txid.to_byte_array());
            spends(&step.transaction, &fundings) && !is_splice
        })
    }

    /// What was ours in it when it was closed so, in msat. A splice that another transaction overtook never came about, and
    /// what it would have paid to miners was told.
    pub(crate) fn booked_msat_at(&self, closing: &Step) -> i64 {
        let Some(splice) = self.splice else {
            return self.booked_msat;
        };
        let of_splice =
            |input: &bitcoin::TxIn| input.previous_output.txid.to_byte_array() == splice.txid;
        match closing.transaction.input.iter().any(of_splice) {
            true => self.booked_msat + splice.grown_sat * 1_000,
            false => {
                let fee_sat = i64::try_from(splice.fee_sat).unwrap_or(i64::MAX);
                self.booked_msat - fee_sat.saturating_mul(1_000)
            }
        }
    }
}

/// What one transaction did. `worth` says what an output of any course is worth, and whether it is this course's;
/// `spent` what of the wallet's one input spends.
pub(crate) fn effect(
    step: &Step,
    is_closing: bool,
    is_first: bool,
    worth: &impl Fn(&OutPoint) -> Option<(u64, bool)>,
    spent: &impl Fn(&Transaction) -> u64,
    wallet: &impl Fn(&Script) -> Belonging,
) -> Effect {
    let signed = |sat: u64| i64::try_from(sat).unwrap_or(i64::MAX);
    let paid: u64 = step
        .transaction
        .output
        .iter()
        .map(|o| o.value.to_sat())
        .sum();
    let came: u64 = step
        .transaction
        .output
        .iter()
        .filter(|output| wallet(&output.script_pubkey) == Belonging::Channels)
        .map(|output| output.value.to_sat())
        .sum();
    if is_closing {
        return Effect {
            left_sat: signed(came),
            fee_sat: None,
        };
    }
    let (mut own, mut all, mut from_wallet, mut is_all_known) = (0, 0, 0, true);
    for input in &step.transaction.input {
        match worth(&input.previous_output) {
            Some((sat, is_own)) => {
                all += sat;
                own += if is_own { sat } else { 0 };
            }
            None => {
                let alone = Transaction {
                    input: vec![input.clone()],
                    ..step.transaction.clone()
                };
                let sat = spent(&alone);
                is_all_known &= sat > 0;
                from_wallet += sat;
            }
        }
    }
    let is_ours = came > 0 || from_wallet > 0;
    if !is_ours {
        return Effect {
            left_sat: 0,
            fee_sat: None,
        };
    }
    if !is_all_known {
        let left = signed(came) - signed(from_wallet);
        return Effect {
            left_sat: if is_first { left } else { 0 },
            fee_sat: None,
        };
    }
    let goes_on: u64 = outputs(step, wallet).iter().map(|(_, sat)| *sat).sum();
    Effect {
        left_sat: signed(own) - if is_first { signed(goes_on) } else { 0 },
        fee_sat: is_first.then(|| (all + from_wallet).saturating_sub(paid)),
    }
}

/// A transaction's outputs that are not the wallet's, and their worth.
pub(crate) fn outputs(step: &Step, wallet: &impl Fn(&Script) -> Belonging) -> Vec<(OutPoint, u64)> {
    let all = (0..).zip(&step.transaction.output);
    all.filter(|(_, output)| wallet(&output.script_pubkey) == Belonging::Nobody)
        .map(|(vout, output)| {
            let at = OutPoint {
                txid: step.txid,
                vout,
            };
            (at, output.value.to_sat())
        })
        .collect()
}

fn spends(transaction: &Transaction, places: &[OutPoint]) -> bool {
    let mut inputs = transaction.input.iter();
    inputs.any(|input| places.contains(&input.previous_output))
}

fn place(outpoint: &OutPoint) -> Place {
    (outpoint.txid.to_byte_array(), outpoint.vout)
}

fn outpoint((txid, vout): &Place) -> OutPoint {
    OutPoint {
        txid: Txid::from_byte_array(*txid),
        vout: *vout,
    }
}
