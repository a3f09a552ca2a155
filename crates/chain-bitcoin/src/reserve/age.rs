//! When an output of the reserve has to be moved, decided without I/O.
//!
//! The members alone may spend an output once it is 90 days old in blocks (BIP 68 counts from the block that holds it).
//! So that they never can while the operator is there, each output is moved to a new one, which starts at zero.

use super::ReserveCoin;

/// Ten-minute blocks.
const BLOCKS_PER_DAY: u32 = 144;

/// The age at which members may spend without the operator, in blocks: 90 days.
pub const MEMBERS_ALONE_BLOCKS: u16 = 12_960;

/// When outputs are renewed, in blocks since the one that holds them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RenewalRule {
    /// From here on a renewal is drafted; members need some days to sign.
    pub due: u32,
    /// From here on it is late, and somebody has to be told.
    pub late: u32,
}

impl Default for RenewalRule {
    fn default() -> Self {
        Self {
            due: 50 * BLOCKS_PER_DAY,
            late: 60 * BLOCKS_PER_DAY,
        }
    }
}

/// How an output stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Age {
    /// In no block: the clock has not started.
    Unconfirmed,
    /// Nothing to do.
    Fresh,
    /// To be renewed.
    Due,
    /// To be renewed, and overdue.
    Late,
    /// The next block may hold a spend by the members alone.
    Exposed,
}

impl RenewalRule {
    /// The age of an output in the block at this height, when the chain's tip is at that one.
    #[must_use]
    pub fn age(&self, height: Option<u32>, tip_height: u32) -> Age {
        let Some(height) = height else {
            return Age::Unconfirmed;
        };
        // A spend in the next block would see it this old.
        let blocks = (tip_height + 1).saturating_sub(height);
        if blocks >= u32::from(MEMBERS_ALONE_BLOCKS) {
            return Age::Exposed;
        }
        match blocks {
            late if late >= self.late => Age::Late,
            due if due >= self.due => Age::Due,
            _ => Age::Fresh,
        }
    }

    /// The outputs to renew now, oldest first; the operator may have to wait for signatures, so all that are due go at once.
    #[must_use]
    pub fn due_coins(&self, coins: &[ReserveCoin], tip_height: u32) -> Vec<ReserveCoin> {
        let mut due: Vec<_> = coins
            .iter()
            .filter(|coin| self.age(coin.height, tip_height) >= Age::Due)
            .cloned()
            .collect();
        due.sort_by_key(|coin| (coin.height, coin.outpoint));
        due
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;
    use bitcoin::{Amount, OutPoint, ScriptBuf, TxOut, Txid};

    use super::*;

    #[test]
    fn an_output_is_due_by_day_50_late_by_day_60_and_exposed_by_day_90() {
        let rule = RenewalRule::default();
        let age = |blocks: u32| rule.age(Some(1_000), 1_000 + blocks - 1);
        for (blocks, expected) in [
            (1, Age::Fresh),
            (7_199, Age::Fresh),
            (7_200, Age::Due),
            (8_639, Age::Due),
            (8_640, Age::Late),
            (12_959, Age::Late),
            (12_960, Age::Exposed),
            (20_000, Age::Exposed),
        ] {
            assert_eq!(age(blocks), expected, "{blocks}");
        }
        assert_eq!(rule.age(None, 1_000_000), Age::Unconfirmed);
        // In a reorg the tip can lie below.
        assert_eq!(rule.age(Some(1_000), 900), Age::Fresh);
        let odd = RenewalRule {
            due: 20_000,
            late: 0,
        };
        assert_eq!(odd.age(Some(0), 12_959), Age::Exposed);
    }

    #[test]
    fn what_is_due_is_renewed_oldest_first_and_nothing_else() {
        let coin = |vout, height| ReserveCoin {
            outpoint: OutPoint {
                txid: Txid::all_zeros(),
                vout,
            },
            output: TxOut {
                value: Amount::ZERO,
                script_pubkey: ScriptBuf::new(),
            },
            index: 0,
            height,
        };
        let coins = [
            coin(0, Some(3_000)),
            coin(1, Some(2_801)),
            coin(2, None),
            coin(3, Some(1_000)),
            coin(4, Some(2_800)),
        ];
        let due = RenewalRule::default().due_coins(&coins, 9_999);
        let vouts: Vec<_> = due.iter().map(|coin| coin.outpoint.vout).collect();
        assert_eq!(vouts, [3, 4]);
    }
}
