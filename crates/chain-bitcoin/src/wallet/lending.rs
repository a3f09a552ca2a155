//! Coins that the Lightning node pays fees with when it claims what a channel left on the chain.

use bdk_wallet::{KeychainKind, SignOptions};
use bitcoin::{Psbt, ScriptBuf, Transaction};
use lightning::events::bump_transaction::{Utxo, WalletSource};
use lightning::util::async_poll::AsyncResult;

use super::Wallet;
use super::store::Change;

/// An empty script_sig's length, four times; then one witness item of 64 bytes, and two lengths.
const KEY_SPEND_WEIGHT: u64 = 4 + 1 + 1 + 64;

impl WalletSource for Wallet {
    /// Coins that were lent before are listed too: the Lightning node replaces its claims by others of the same coins.
    fn list_confirmed_utxos<'a>(&'a self) -> AsyncResult<'a, Vec<Utxo>, ()> {
        Box::pin(async move {
            let book = self.book();
            let coins = book.wallet.list_unspent();
            Ok(coins
                .filter(|coin| coin.chain_position.is_confirmed() && !book.is_young_deposit(coin))
                .map(|coin| Utxo {
                    outpoint: coin.outpoint,
                    output: coin.txout,
                    satisfaction_weight: KEY_SPEND_WEIGHT,
                })
                .collect())
        })
    }

    fn get_change_script<'a>(&'a self) -> AsyncResult<'a, ScriptBuf, ()> {
        Box::pin(async move {
            let mut book = self.book();
            let change = book.wallet.reveal_next_address(KeychainKind::Internal);
            book.write(Change::default()).map_err(|fault| {
                tracing::error!(%fault, "no address for change of a claim");
            })?;
            Ok(change.script_pubkey())
        })
    }

    fn sign_psbt<'a>(&'a self, mut psbt: Psbt) -> AsyncResult<'a, Transaction, ()> {
        Box::pin(async move {
            let mut book = self.book();
            // All our inputs are taproot, whose signatures say themselves what is spent.
            let options = SignOptions {
                trust_witness_utxo: true,
                ..SignOptions::default()
            };
            book.wallet.sign(&mut psbt, options).map_err(|error| {
                tracing::error!(%error, "a claim cannot be signed");
            })?;
            for input in &psbt.unsigned_tx.input {
                if book.wallet.get_utxo(input.previous_output).is_some() {
                    book.lent.insert(input.previous_output);
                }
            }
            Ok(psbt.extract_tx_unchecked_fee_rate())
        })
    }
}
