//! Applies what happened to the reserve on Bitcoin.

use super::chain::{bear_loss, shrink_vault};
use super::lightning::earn;
use crate::reserve::ReserveEvent;
use crate::state::State;

pub(super) fn happened(state: &mut State, event: &ReserveEvent) {
    match *event {
        ReserveEvent::RulesSet(rules) => state.reserve.rules = Some(rules),
        ReserveEvent::Found(found) => state.reserve.found = found,
        ReserveEvent::Given { outpoint, amount } => {
            let asset = state.asset_on_bitcoin();
            let asset = asset.expect("[I10] a reserve is of an asset on Bitcoin");
            let is_new = state.on_bitcoin.deposits.insert(outpoint);
            assert!(is_new, "[I11] an output counts once");
            earn(state, asset, amount);
        }
        ReserveEvent::Lost { amount, .. } => {
            let asset = state.asset_on_bitcoin();
            let asset = asset.expect("[I10] a reserve is of an asset on Bitcoin");
            let held = state.asset_of(asset).vault.chain_total;
            let lost = shrink_vault(state, asset, amount.min(held));
            let vault = state.asset_of(asset).accounts.vault;
            bear_loss(state, asset, vault, lost);
        }
    }
}
