//! What the node asks of the hot wallet.

use bitcoin::{OutPoint, Script, ScriptBuf, Transaction, TxOut, Txid};
use lightning::events::bump_transaction::WalletSource;
use lightning::ln::funding::FundingTxInput;

use crate::Fault;

/// Whose a script is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Belonging {
    /// The wallet's, made for channels or for change: what a closed channel pays there is told of as the channel's.
    Channels,
    /// The wallet's, made for what it tells of by itself.
    Others,
    /// Not the wallet's.
    Nobody,
}

/// Coins on chain, under keys of this process: they fund channels, and closed channels pay into them.
///
/// Rates are in sat per 1,000 weight units. What LDK asks by itself, to hurry a closing along, is the supertrait.
pub trait HotWallet: WalletSource + Send + Sync {
    /// A script of the wallet's that was not used before. It has to be a witness program.
    ///
    /// # Errors
    ///
    /// When that it is used cannot be remembered.
    fn script(&self) -> Result<ScriptBuf, Fault>;

    /// What is confirmed and not set aside for a transaction that is under way, in sat.
    fn spendable_sat(&self) -> u64;

    /// A signed transaction that pays these outputs, and what it pays to miners, in sat. Its inputs are set aside until it
    /// is given up. It is not handed in.
    ///
    /// # Errors
    ///
    /// [`Fault::NotEnoughCoins`].
    fn fund(&self, outputs: Vec<TxOut>, rate: u32) -> Result<(Transaction, u64), Fault>;

    /// Transactions that were signed here for channels, and neither handed in nor given up, as far as the wallet was told;
    /// and whether each is a splice.
    fn waiting(&self) -> Vec<(Txid, bool)>;

    /// A transaction that was signed here may be in the mempool from now on.
    ///
    /// # Errors
    ///
    /// When that cannot be remembered.
    fn handed_in(&self, txid: Txid) -> Result<(), Fault>;

    /// A transaction that was signed here will never be on chain: its inputs may be spent otherwise.
    ///
    /// # Errors
    ///
    /// When that cannot be remembered.
    fn give_up(&self, txid: Txid) -> Result<(), Fault>;

    /// Inputs for a splice that adds so much, in sat, and pays for itself. They are set aside until they are given back.
    ///
    /// # Errors
    ///
    /// [`Fault::NotEnoughCoins`].
    fn splice_inputs(&self, value_sat: u64, rate: u32) -> Result<Vec<FundingTxInput>, Fault>;

    /// Signs those inputs of a splice that spend the wallet's coins, each for the whole transaction. `shared` is what the
    /// channel's own input spends.
    ///
    /// # Errors
    ///
    /// When they cannot be signed, or that cannot be remembered.
    fn sign_splice(&self, transaction: Transaction, shared: TxOut) -> Result<Transaction, Fault>;

    /// A splice came to nothing: its inputs may be spent otherwise, and what was signed with them is given up.
    ///
    /// # Errors
    ///
    /// When that cannot be remembered.
    fn give_back(&self, inputs: &[OutPoint]) -> Result<(), Fault>;

    /// Whose a script is, and who tells of what is paid there.
    fn belonging(&self, script: &Script) -> Belonging;

    /// What of the wallet's coins a transaction spends, in sat, of those that it has spent before as well.
    fn spent_sat(&self, transaction: &Transaction) -> u64;
}
