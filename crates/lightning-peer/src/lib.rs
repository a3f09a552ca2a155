//! An `ldk-node` that other programs ask by LND's REST interface, as far as `forebay connect` and whoever sets a node up ask: a
//! counterparty whose channels and routing are not ours. For the demonstration and for tests; no product crate knows it.
//!
//! This crate does I/O. What it answers is `ldk-node`'s word, put into LND's.
#![forbid(unsafe_code)]

mod answer;
mod invoices;
mod node;
mod rest;
mod state;

pub use node::{Peer, Settings};
pub use state::{Channel, State};
