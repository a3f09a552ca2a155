//! Double-entry accounts with linked pending legs.
//!
//! Every movement is a list of legs, each a debit of one account and a credit of another in the same asset.
//! Legs are posted at once, or pended and later posted or voided. Limits count what is pending. This crate
//! never converts between assets, never reads a clock and does no I/O: the pool decides, this crate counts.
//!
//! Ask [`Ledger::check`] first; [`Ledger::pend`] and [`Ledger::post`] take what was checked and halt on
//! anything else, because by then it is written in the journal.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod account;
mod audit;
mod ledger;
mod leg;
mod transfer;

pub use account::{Account, Balance, Limits};
pub use audit::{Totals, Unbalanced};
pub use ledger::{ACCOUNTS_MAX, Ledger};
pub use leg::{LEGS_MAX, Leg, LegRefusal, Why};
pub use transfer::{TRANSFERS_MAX, TransferId};
