//! What LPs hold, have earned, and wait for.

use std::collections::BTreeSet;
use std::str::FromStr;

use forebay_api::{Exit, Position, ProblemKind};
use forebay_channel::Address;
use forebay_market::{Index, Notes};
use forebay_pool::{Asset, State};
use forebay_quantity::{Amount, AssetId};

use super::Office;
use super::page::{Asked, Page};
use super::problem::No;
use super::tokens::Caller;

/// Where a position stands in the list: by asset, then by address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place(AssetId, Address);

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}", self.0.0, self.1)
    }
}

impl Place {
    fn read(text: &str) -> Result<Self, No> {
        let read = || {
            let (asset, owner) = text.split_once('.')?;
            Some(Self(
                AssetId(asset.parse().ok()?),
                Address::from_str(owner).ok()?,
            ))
        };
        read().ok_or_else(|| {
            No::new(
                ProblemKind::BadRequest,
                "after is what the last page's Link said",
            )
        })
    }
}

pub(super) async fn positions(
    office: &Office,
    caller: &Caller,
    asked: Asked,
) -> Result<Page<Position>, No> {
    let after = asked.after.as_deref().map(Place::read).transpose()?;
    let own = caller
        .owner()
        .and_then(|owner| Address::from_str(owner).ok());
    let may_see_all = caller.sees_all();
    let page = office.core.query(move |state| {
        let all = owners(state)
            .filter(|place| after.is_none_or(|after| *place > after))
            .filter(|place| may_see_all || own == Some(place.1))
            .map(|place| (place, position(state, place)));
        Page::of(all, asked.limit)
    });
    Ok(page.await?)
}

fn owners(state: &State) -> impl Iterator<Item = Place> + '_ {
    state.assets().flat_map(|(id, asset)| {
        let leaving = asset.vault.cohorts.values();
        let leaving = leaving.flat_map(|cohort| cohort.members.keys());
        let owners: BTreeSet<Address> =
            asset.vault.holders.keys().chain(leaving).copied().collect();
        owners.into_iter().map(move |owner| Place(id, owner))
    })
}

fn position(state: &State, Place(id, owner): Place) -> Position {
    let asset = state.asset(id).expect("taken from the state");
    let held = asset.vault.holders.get(&owner).copied().unwrap_or_default();
    let notes = Notes {
        units: asset.vault.units,
        index: Index(asset.vault.index),
    };
    let worth = notes.index.claim_floor(held.units).unwrap_or(Amount::MAX);
    Position {
        asset: asset.definition.code.clone(),
        chain_scale: asset.definition.chain_scale,
        owner: owner.to_string(),
        units: held.units.into(),
        worth: worth.into(),
        paid_in: held.paid_in.into(),
        earned: worth.saturating_sub(held.paid_in).into(),
        exits: exits(asset, owner),
    }
}

fn exits(asset: &Asset, owner: Address) -> Vec<Exit> {
    let cohorts = asset.vault.cohorts.iter();
    let own = cohorts.filter_map(|(number, cohort)| {
        Some(Exit {
            cohort: *number,
            units: (*cohort.members.get(&owner)?).into(),
            unpaid: cohort.unpaid(owner).into(),
        })
    });
    own.collect()
}
