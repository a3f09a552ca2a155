//! Facts of the wallet on Bitcoin.

use crate::Events;
use crate::bitcoin::BitcoinFact;
use crate::event::Event;
use crate::rejection::Rejection;
use crate::state::{State, bounds};

pub(super) fn fact(
    state: &State,
    fact: &BitcoinFact,
    events: &mut Events,
) -> Result<(), Rejection> {
    let asset = state
        .asset_on_bitcoin()
        .ok_or(Rejection::BadFact("no asset on Bitcoin is listed"))?;
    let wallet = &state.on_bitcoin;
    match fact {
        BitcoinFact::Deposited { outpoint, .. } => {
            if wallet.deposits.contains(outpoint) {
                return Err(Rejection::AlreadyTaken);
            }
            if wallet.deposits.len() >= bounds::DEPOSITS_MAX {
                return Err(Rejection::Full {
                    bound: bounds::DEPOSITS_MAX as u64,
                });
            }
        }
        BitcoinFact::MinersPaid { txid, amount } => {
            if wallet.paid_for.contains(txid) {
                return Err(Rejection::AlreadyTaken);
            }
            if *amount > state.asset_of(asset).vault.chain_total {
                return Err(Rejection::BadFact("more was paid to miners than was held"));
            }
        }
        BitcoinFact::DeepReorg => events.push(Event::BookHalted {
            asset,
            deep_reorg: true,
        }),
    }
    events.push(Event::BitcoinSaw(*fact));
    Ok(())
}
