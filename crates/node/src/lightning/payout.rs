//! Pays LPs and the reserve by outputs of the hot wallet: each once, under its effect's number, the oldest first.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use forebay_chain_bitcoin::Fault;
use forebay_chain_bitcoin::chain::FeeTarget;
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
    /// The effect's number, and the payment's in the wallet.
    pub(crate) id: EffectId,
    pub(crate) payee: Payee,
    /// In millisatoshi, whole satoshi.
    pub(crate) amount: Amount,
}

/// Whom a payment pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payee {
    /// An LP, at this script.
    Lp(Vec<u8>),
    /// A new address of the reserve.
    Reserve,
}

impl Lightning {
    /// What an output to a script costs now.
    ///
    /// # Errors
    /// When the chain source does not say.
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

    /// What LPs are to be paid and the wallet has not signed.
    pub(super) fn wanted(&self) -> Amount {
        let due = self.due();
        let of_lps = due.values().filter(|due| due.payee != Payee::Reserve);
        // After a restart what was signed before is asked for once more.
        let unsigned = of_lps.filter(|due| !self.wallet.is_signed(due.id));
        unsigned.fold(Amount::ZERO, |sum, due| sum.saturating_add(due.amount))
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
                    // Said once: it is tried again each second.
                    if self.waits.swap(id.0, Ordering::Relaxed) != id.0 {
                        warn!(%id, "a payment waits, and so do those after it: {fault}");
                    }
                    return;
                }
            }
        }
    }

    /// # Errors
    /// Why nothing is signed yet, although it may be later.
    async fn pay_one(&self, due: Due) -> Result<(), Fault> {
        let Due { id, payee, amount } = due;
        if self.wallet.is_signed(id) {
            return Ok(());
        }
        let is_sweep = payee == Payee::Reserve;
        let script = match (payee, &self.reserve) {
            (Payee::Lp(script), _) => script,
            (Payee::Reserve, Some(guarded)) => {
                guarded.reserve.address()?.script_pubkey().into_bytes()
            }
            (Payee::Reserve, None) => {
                warn!(%id, "no reserve is configured: a sweep is given up");
                self.give_up(id).await;
                return Ok(());
            }
        };
        let rate = self.wallet.fee_rate(TARGET).await?;
        let sat = u64::try_from(amount.value() / 1_000).unwrap_or(u64::MAX);
        let output = [Payment::new(script, sat)];
        match self.wallet.send(id, &output, rate, TARGET.blocks).await {
            Ok(txid) => info!(%id, %txid, is_sweep, "{sat} sat are paid"),
            // On disk, so that the wallet hands it in until it is confirmed.
            Err(fault) if self.wallet.is_signed(id) => {
                warn!(%id, "a payment is signed, and not handed in yet: {fault}");
            }
            // A sweep is planned anew from what is there then; what can never be paid is an LP's again.
            Err(fault) if is_sweep || is_hopeless(&fault) => {
                warn!(%id, "a payment is given up: {fault}");
                self.give_up(id).await;
            }
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    /// Says that nothing was signed for an effect, and nothing will be.
    pub(super) async fn give_up(&self, id: EffectId) {
        let refused = Command::PaymentRefused { id };
        // A core that has stopped hears it at the next start, when the effect is asked for again.
        let _ = self.core.command(refused).await;
    }

    fn due(&self) -> MutexGuard<'_, BTreeMap<EffectId, Due>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nothing was signed and nothing ever can be.
fn is_hopeless(fault: &Fault) -> bool {
    matches!(fault, Fault::Dust { .. } | Fault::BadPayment { .. })
}
