//! When a payment to us counts, decided without I/O.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::{Amount, OutPoint, Txid};
use forebay_quantity::EffectId;
use serde::{Deserialize, Serialize};

use crate::chain::BlockPlace;

/// How many confirmations an amount needs: `clamp(⌈amount ÷ per_block⌉, min, max)`.
///
/// Whoever wants to undo *n* blocks has to make *n* others, and gives up what *n* blocks pay. So the money at stake in one
/// payment is held to what a reorg of its depth costs: `per_block` is the part of a block's subsidy that is counted on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConfirmationPolicy {
    /// What one more block makes safe. The default is a tenth of the subsidy of 3.125 BTC: hash power can be hired, and
    /// one reorg can undo more than one payment.
    pub per_block: Amount,
    /// For the smallest amount: an hour, on average.
    pub min: u32,
    /// For the largest. The default is a day: after that, people would undo the reorg.
    pub max: u32,
}

impl Default for ConfirmationPolicy {
    fn default() -> Self {
        Self {
            per_block: Amount::from_sat(31_250_000),
            min: 6,
            max: 144,
        }
    }
}

impl ConfirmationPolicy {
    /// The formula.
    #[must_use]
    pub fn needed(&self, amount: Amount) -> u32 {
        let blocks = amount.to_sat().div_ceil(self.per_block.to_sat().max(1));
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        // Not `clamp`, which panics when somebody configured the minimum above the maximum.
        blocks.max(self.min).min(self.max).max(1)
    }
}

/// Whose a deposit is, as the address was labelled when it was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct DepositTag(pub u64);

/// A payment to an address of ours that was made for a deposit, in a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Deposit {
    /// Whose.
    pub tag: DepositTag,
    /// Which output.
    pub outpoint: OutPoint,
    /// How much.
    pub amount: Amount,
    /// In which block.
    pub block: BlockPlace,
}

/// What the wallet saw in the chain; told until it is said that it was kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Observation {
    /// A deposit is in a block, not deep enough yet.
    Received {
        /// The deposit.
        deposit: Deposit,
        /// Confirmations at which it is final.
        needed: u32,
    },
    /// A deposit is as deep as its amount needs. Told once for each outpoint, whatever happens to it later.
    Final {
        /// The deposit.
        deposit: Deposit,
    },
    /// The chain dropped a deposit that was not final. It may come again, in another block.
    Undone {
        /// The deposit as it was told.
        deposit: Deposit,
    },
    /// A payment of ours is as deep as its amount needs.
    Settled {
        /// Its id.
        #[serde(with = "id_as_number")]
        id: EffectId,
        /// The transaction that made it, of all that were sent.
        txid: Txid,
        /// In which block.
        block: BlockPlace,
        /// What it paid to the miners.
        fee: Amount,
    },
    /// The chain dropped a block that held something final.
    DeepReorg {
        /// The block.
        block: BlockPlace,
    },
}

mod id_as_number {
    use forebay_quantity::EffectId;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(id: &EffectId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(id.value())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<EffectId, D::Error> {
        u64::deserialize(from).map(EffectId::new)
    }
}

/// What was told of a deposit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Standing {
    Received,
    Final,
    /// It was final, and a deep reorg took it.
    Lost,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct DepositRecord {
    pub(super) deposit: Deposit,
    pub(super) standing: Standing,
}

/// What is new since the last time: what to keep of each outpoint (nothing of one that was undone), and what to tell.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct Observed {
    pub(super) records: Vec<(OutPoint, Option<DepositRecord>)>,
    pub(super) told: Vec<Observation>,
}

/// Compares what was told with the deposits that the chain holds now.
pub(super) fn observe(
    known: &BTreeMap<OutPoint, DepositRecord>,
    in_chain: &[Deposit],
    tip_height: u32,
    policy: &ConfirmationPolicy,
) -> Observed {
    let mut observed = Observed::default();
    let present: BTreeSet<OutPoint> = in_chain.iter().map(|deposit| deposit.outpoint).collect();
    for (outpoint, record) in known {
        if !present.contains(outpoint) {
            observed.gone(*record);
        }
    }
    for deposit in in_chain {
        let record = known.get(&deposit.outpoint).copied();
        observed.present(record, *deposit, tip_height, policy);
    }
    observed
}

impl Observed {
    fn gone(&mut self, record: DepositRecord) {
        let DepositRecord { deposit, standing } = record;
        match standing {
            Standing::Received => {
                self.told.push(Observation::Undone { deposit });
                self.records.push((deposit.outpoint, None));
            }
            Standing::Final => {
                let block = deposit.block;
                self.told.push(Observation::DeepReorg { block });
                self.keep(deposit, Standing::Lost);
            }
            Standing::Lost => {}
        }
    }

    fn present(
        &mut self,
        record: Option<DepositRecord>,
        deposit: Deposit,
        tip_height: u32,
        policy: &ConfirmationPolicy,
    ) {
        let needed = policy.needed(deposit.amount);
        let confirmations = (tip_height + 1).saturating_sub(deposit.block.height);
        match record.map(|record| (record.standing, record.deposit)) {
            // Told as final before, so its money is in the books already.
            Some((Standing::Lost, _)) => return self.keep(deposit, Standing::Final),
            Some((Standing::Final, before)) if before.block != deposit.block => {
                let block = before.block;
                self.told.push(Observation::DeepReorg { block });
                return self.keep(deposit, Standing::Final);
            }
            Some((Standing::Final, _)) => return,
            Some((Standing::Received, before)) if before.block != deposit.block => {
                self.told.push(Observation::Undone { deposit: before });
                self.told.push(Observation::Received { deposit, needed });
            }
            Some((Standing::Received, _)) if confirmations < needed => return,
            Some((Standing::Received, _)) => {}
            None => self.told.push(Observation::Received { deposit, needed }),
        }
        if confirmations < needed {
            return self.keep(deposit, Standing::Received);
        }
        self.told.push(Observation::Final { deposit });
        self.keep(deposit, Standing::Final);
    }

    fn keep(&mut self, deposit: Deposit, standing: Standing) {
        let record = DepositRecord { deposit, standing };
        self.records.push((deposit.outpoint, Some(record)));
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::BlockHash;
    use bitcoin::hashes::Hash;

    use super::*;

    #[test]
    fn confirmations_grow_with_the_amount_between_bounds() {
        let policy = ConfirmationPolicy::default();
        let bitcoin = |whole: u64| Amount::from_sat(whole * 100_000_000);
        for (amount, needed) in [
            (Amount::ZERO, 6),
            (Amount::from_sat(1), 6),
            // 6 × 0.3125 BTC, and one unit more.
            (Amount::from_sat(187_500_000), 6),
            (Amount::from_sat(187_500_001), 7),
            (bitcoin(10), 32),
            (bitcoin(45), 144),
            (bitcoin(46), 144),
            (Amount::MAX_MONEY, 144),
        ] {
            assert_eq!(policy.needed(amount), needed, "{amount}");
        }
        let odd = ConfirmationPolicy {
            per_block: Amount::ZERO,
            min: 0,
            max: 3,
        };
        assert_eq!(odd.needed(Amount::ZERO), 1);
        assert_eq!(odd.needed(bitcoin(1)), 3);
    }

    fn deposit(number: u32, height: u32, branch: u8) -> Deposit {
        Deposit {
            tag: DepositTag(7),
            outpoint: OutPoint {
                txid: Txid::all_zeros(),
                vout: number,
            },
            amount: Amount::from_sat(1_000),
            block: BlockPlace {
                height,
                hash: BlockHash::from_byte_array([branch; 32]),
            },
        }
    }

    /// Goes through what a chain holds at one tip after another; says what was told at each, in letters.
    fn told(steps: &[(u32, &[Deposit])]) -> Vec<String> {
        let policy = ConfirmationPolicy {
            min: 3,
            ..ConfirmationPolicy::default()
        };
        let mut known = BTreeMap::new();
        let mut all = Vec::new();
        for (tip, in_chain) in steps {
            let observed = observe(&known, in_chain, *tip, &policy);
            for (outpoint, record) in observed.records {
                match record {
                    Some(record) => known.insert(outpoint, record),
                    None => known.remove(&outpoint),
                };
            }
            all.push(observed.told.iter().map(letter).collect());
            let again = observe(&known, in_chain, *tip, &policy);
            assert_eq!(again, Observed::default(), "nothing is told twice");
        }
        all
    }

    fn letter(observation: &Observation) -> &'static str {
        match observation {
            Observation::Received { .. } => "R",
            Observation::Final { .. } => "F",
            Observation::Undone { .. } => "U",
            Observation::Settled { .. } => "S",
            Observation::DeepReorg { .. } => "D",
        }
    }

    #[test]
    fn a_deposit_is_told_when_it_is_in_a_block_and_when_it_is_deep_enough() {
        let one = deposit(0, 10, 1);
        assert_eq!(
            told(&[
                (9, &[]),
                (10, &[one]),
                (11, &[one]),
                (12, &[one]),
                (13, &[one])
            ]),
            ["", "R", "", "F", ""]
        );
        // Found late: both at once.
        assert_eq!(told(&[(12, &[one])]), ["RF"]);
        assert_eq!(told(&[(10, &[one, deposit(1, 10, 1)])]), ["RR"]);
    }

    #[test]
    fn a_reorg_undoes_what_was_not_final_and_a_deeper_one_is_told_as_such() {
        let (one, moved) = (deposit(0, 10, 1), deposit(0, 11, 2));
        // Dropped, and back in another block.
        assert_eq!(
            told(&[(11, &[one]), (12, &[]), (12, &[moved])]),
            ["R", "U", "R"]
        );
        assert_eq!(told(&[(11, &[one]), (12, &[moved])]), ["R", "UR"]);
        assert_eq!(told(&[(11, &[one]), (13, &[moved])]), ["R", "URF"]);
        // Final before: never told as received or final again, whichever way it comes back.
        assert_eq!(
            told(&[(12, &[one]), (13, &[]), (14, &[moved]), (15, &[moved])]),
            ["RF", "D", "", ""]
        );
        assert_eq!(
            told(&[(12, &[one]), (14, &[moved]), (15, &[])]),
            ["RF", "D", "D"]
        );
    }
}
