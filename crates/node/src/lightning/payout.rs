//! Pays LPs by outputs of the hot wallet: each once, under its withdrawal's number, the oldest first.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use forebay_chain_bitcoin::Fault;
use forebay_chain_bitcoin::bitcoind::FeeTarget;
use forebay_chain_bitcoin::wallet::{Payment, output_cost};
use forebay_pool::{Command, OutputCost};
use forebay_quantity::{Amount, EffectId};
use tracing::{info, warn};

use super::Lightning;
use super::wallet::millisatoshi;

/// A payment should be in the chain within an hour, and pays more from then on.
const TARGET: FeeTarget = FeeTarget { blocks: 6 };

/// A payment that the core has journalled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    /// The withdrawal's number, and the payment's in the wallet.
    pub(crate) id: EffectId,
    pub(crate) script: Vec<u8>,
    /// In millisatoshi, whole satoshi.
    pub(crate) amount: Amount,
}

impl Lightning {
    /// What an output to a script costs now.
    ///
    /// # Errors
    /// When bitcoind does not say.
    pub(crate) async fn output_cost(&self, script: &[u8]) -> Result<OutputCost, Fault> {
        let rate = self.wallet.fee_rate(TARGET).await?;
        let (fee, min) = output_cost(script, rate);
        Ok(OutputCost {
            fee: millisatoshi(fee),
            min: millisatoshi(min),
        })
    }

    pub(super) fn is_due(&self, due: Due) {
        self.due().insert(due.id, due);
    }

    /// Pays what is due, the oldest first: while there are too few coins for one, the later ones wait too.
    pub(super) async fn pay_out(&self) {
        let all: Vec<Due> = self.due().values().cloned().collect();
        for due in all {
            let id = due.id;
            match self.pay_one(due).await {
                Ok(()) => {
                    self.due().remove(&id);
                }
                Err(fault) => {
                    warn!(%id, "a withdrawal waits, and so do those after it: {fault}");
                    return;
                }
            }
        }
    }

    /// # Errors
    /// Why nothing is signed yet, although it may be later.
    async fn pay_one(&self, due: Due) -> Result<(), Fault> {
        let Due { id, script, amount } = due;
        let rate = self.wallet.fee_rate(TARGET).await?;
        let sat = u64::try_from(amount.value() / 1_000).unwrap_or(u64::MAX);
        let output = [Payment::new(script, sat)];
        match self.wallet.send(id, &output, rate, TARGET.blocks).await {
            Ok(txid) => info!(%id, %txid, "an LP is paid {sat} sat"),
            // On disk, so that the wallet hands it in until it is confirmed.
            Err(fault) if self.wallet.is_signed(id) => {
                warn!(%id, "an LP's payment is signed, and not handed in yet: {fault}");
            }
            Err(fault @ (Fault::Dust { .. } | Fault::BadPayment { .. })) => {
                warn!(%id, "an LP cannot be paid, and has its notes back: {fault}");
                let refused = Command::PaymentRefused { id };
                // A core that has stopped hears it at the next start, when the payment is tried again.
                let _ = self.core.command(refused).await;
            }
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    fn due(&self) -> MutexGuard<'_, BTreeMap<EffectId, Due>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
