//! This crate's on-chain side on a real bitcoind.

mod nodes;
mod reserve;
mod wallet;
mod world;
