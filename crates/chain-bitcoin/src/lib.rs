//! Bitcoin: an embedded Lightning node on rust-lightning, a hot wallet, a reserve, and a client of bitcoind.
//!
//! [`bitcoind`] is the way to blocks and miners, [`wallet`] holds the operator's coins, [`reserve`] watches those that a
//! committee has a hand on, [`lightning`] holds channels, makes and pays invoices, and tells what happened until its
//! listener has kept it.
//!
//! This crate does I/O: sockets to Lightning peers, JSON-RPC to bitcoind, embedded stores. It never decides about
//! money, never knows the pool, and has no branch for any particular node or network.
#![forbid(unsafe_code)]

pub mod bitcoind;
mod fault;
pub mod lightning;
pub mod reserve;
pub mod wallet;

pub use fault::{Fault, Retry};
