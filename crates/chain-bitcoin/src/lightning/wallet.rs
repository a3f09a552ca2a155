//! What the node asks of the hot wallet.

use bitcoin::{ScriptBuf, Transaction, TxOut};
use lightning::events::bump_transaction::sync::WalletSourceSync;
use lightning::ln::funding::FundingTxInput;

use crate::Fault;

/// Coins on chain, under keys of this process: they fund channels, and closed channels pay into them.
///
/// Rates are in sat per 1,000 weight units. What LDK asks by itself, to hurry a closing along, is the supertrait.
pub trait HotWallet: WalletSourceSync + Send + Sync {
    /// A script of the wallet's that was not used before. It has to be a witness program.
    ///
    /// # Errors
    ///
    /// When that it is used cannot be remembered.
    fn script(&self) -> Result<ScriptBuf, Fault>;

    /// What is confirmed and not set aside for a transaction that is under way, in sat.
    fn spendable_sat(&self) -> u64;

    /// A signed transaction that pays these outputs, and what it pays to miners, in sat. Its inputs are set aside.
    ///
    /// # Errors
    ///
    /// [`Fault::NotEnoughCoins`].
    fn fund(&self, outputs: Vec<TxOut>, rate: u32) -> Result<(Transaction, u64), Fault>;

    /// A transaction that was made here will never be on chain: its inputs may be spent otherwise.
    fn release(&self, transaction: &Transaction);

    /// Inputs for a splice that adds so much, in sat, and pays for itself.
    ///
    /// # Errors
    ///
    /// [`Fault::NotEnoughCoins`].
    fn splice_inputs(&self, value_sat: u64, rate: u32) -> Result<Vec<FundingTxInput>, Fault>;

    /// What of the wallet's coins a transaction spends, in sat.
    fn spent_sat(&self, transaction: &Transaction) -> u64;

    /// Signs those inputs that spend the wallet's coins, each for the whole transaction.
    ///
    /// # Errors
    ///
    /// When they cannot be signed.
    fn sign_own_inputs(&self, transaction: Transaction) -> Result<Transaction, Fault>;
}
