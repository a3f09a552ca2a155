//! Reading blocks until the wallet is where the chain source is, and looking after payments there.

use bitcoin::{FeeRate, Transaction};
use forebay_quantity::EffectId;

use super::Wallet;
use super::payment::{Step, next_step};
use super::spend;
use crate::Fault;
use crate::chain::{BlockPlace, FeeTarget, Missing};

/// In how many blocks a payment that is late should be in the chain.
const LATE_TARGET: FeeTarget = FeeTarget { blocks: 2 };

/// Where the wallet is now.
#[derive(Debug)]
pub struct Synced {
    /// The last block it has read.
    pub tip: BlockPlace,
    /// Payments that the source does not take at the moment, and why. They are handed in again at the next sync.
    pub refused: Vec<(EffectId, Fault)>,
}

impl Wallet {
    /// Reads blocks up to the source's tip, over reorgs; then hands in payments that are not in a block yet, and replaces
    /// those that are late.
    ///
    /// # Errors
    /// When the source or the file fails; what was read before counts.
    pub async fn sync(&self) -> Result<Synced, Fault> {
        let _alone = self.syncing.lock().await;
        while self.read_blocks().await? {}
        let refused = self.tend().await?;
        let tip = self.book().tip();
        Ok(Synced { tip, refused })
    }

    /// Reads some blocks; false when there are none left.
    async fn read_blocks(&self) -> Result<bool, Fault> {
        let known = places(&self.book().wallet);
        match self.chain.missing(&known).await? {
            Missing::Nothing => Ok(false),
            Missing::AskAgain => Ok(true),
            Missing::Blocks(blocks) => {
                self.book()
                    .take_blocks(&blocks, &self.settings.confirmations)?;
                Ok(true)
            }
        }
    }

    async fn tend(&self) -> Result<Vec<(EffectId, Fault)>, Fault> {
        let waiting = self.waiting();
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        let estimate = self.chain.fee_rate(LATE_TARGET).await?;
        let mut refused = Vec::new();
        for id in waiting {
            match self.step(id, estimate) {
                Ok(Some(transaction)) => {
                    if let Err(fault) = self.chain.broadcast(&transaction).await {
                        refused.push((id, fault));
                    }
                }
                Ok(None) => {}
                // A replacement that cannot be paid for leaves the payment as it is.
                Err(fault @ (Fault::NotEnoughCoins { .. } | Fault::BadPayment { .. })) => {
                    refused.push((id, fault));
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(refused)
    }

    fn waiting(&self) -> Vec<EffectId> {
        let book = self.book();
        let payments = book.payments.iter();
        payments
            .filter(|(_, record)| record.is_out() && book.confirmed(record).is_none())
            .map(|(id, _)| *id)
            .collect()
    }

    /// The transaction to hand in for a payment now, on disk already.
    fn step(&self, id: EffectId, estimate: FeeRate) -> Result<Option<Transaction>, Fault> {
        let mut book = self.book();
        let Some(record) = book.payments.get(&id).cloned() else {
            return Ok(None);
        };
        let is_confirmed = book.confirmed(&record).is_some();
        let tip_height = book.tip().height;
        let max = self.settings.fee_rate_max;
        match next_step(&record, is_confirmed, tip_height, estimate, max) {
            Step::Nothing => Ok(None),
            Step::HandIn => Ok(Some(record.newest().transaction.clone())),
            Step::Replace(fee_rate) => spend::replace(&mut book, id, record, fee_rate).map(Some),
        }
    }
}

/// The blocks that BDK has, from its tip downwards.
pub(crate) fn places(wallet: &bdk_wallet::Wallet) -> Vec<BlockPlace> {
    let checkpoints = wallet.checkpoints();
    checkpoints
        .map(|place| BlockPlace {
            height: place.height(),
            hash: place.hash(),
        })
        .collect()
}
