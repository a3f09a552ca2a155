//! This crate's on-chain side on a real bitcoind.

#[path = "../esplora/mod.rs"]
mod esplora;
mod lies;
mod nodes;
mod reserve;
mod servers;
mod wallet;
mod world;
