//! What LPs hold.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Units;

/// An LP's notes in one asset, in the chain's base units unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Position {
    /// The asset's code.
    pub asset: String,
    /// Decimal places of the amounts.
    pub chain_scale: u8,
    /// The LP's address.
    pub owner: String,
    /// Note units, those locked for exit excluded.
    pub units: Units,
    /// What they claim now, rounded down.
    pub worth: Units,
    /// What was paid in for them.
    pub paid_in: Units,
    /// What they are worth beyond that.
    pub earned: Units,
    /// Exits that wait for money, oldest first. What is paid is fetched from the vault and not shown here.
    pub exits: Vec<Exit>,
}

/// Units on their way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exit {
    /// The cohort's number; the lowest is paid first.
    pub cohort: u64,
    /// Units that the LP locked in it.
    pub units: Units,
    /// Of those, not paid yet, rounded up.
    pub unpaid: Units,
}
