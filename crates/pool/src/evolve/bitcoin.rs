//! Applies what the wallet on Bitcoin saw, in millisatoshi.

use forebay_market::Index;

use super::chain::{grow_vault, note_deposited};
use super::lightning::bear_cost;
use super::post;
use crate::bitcoin::BitcoinFact;
use crate::state::State;

pub(super) fn saw(state: &mut State, fact: &BitcoinFact) {
    let asset = state.asset_on_bitcoin();
    let asset = asset.expect("[I10] a fact of Bitcoin is of an asset on it");
    match *fact {
        BitcoinFact::Deposited {
            outpoint,
            owner,
            amount,
        } => {
            let is_new = state.on_bitcoin.deposits.insert(outpoint);
            assert!(is_new, "[I11] a deposit counts once");
            match owner {
                Some(owner) => {
                    let index = state.asset_of(asset).vault.index;
                    let units = amount.mul_div_floor(Index::ONE.value(), index);
                    let units = units.expect("the index begins at one and only rises");
                    note_deposited(state, asset, owner, units, amount);
                }
                None => {
                    let arrived = grow_vault(state, asset, amount);
                    let accounts = state.asset_of(asset).accounts;
                    post(state, accounts.vault, accounts.shares, arrived);
                }
            }
        }
        BitcoinFact::MinersPaid { txid, amount } => {
            state.on_bitcoin.paid_for(txid);
            bear_cost(state, asset, amount);
        }
        BitcoinFact::DeepReorg => {}
    }
}
