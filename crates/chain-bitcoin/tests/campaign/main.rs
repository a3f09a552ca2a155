//! What is run by hand, `cargo test -p forebay-chain-bitcoin --test campaign`: kills at any moment, and a channel's whole life
//! on the operator's wallet. Both fail now and then, waiting for a transaction that does not come; why is not found yet (SECURITY.md).

// It shares its world with tests/lightning, and needs a part of it.
#![allow(dead_code)]

#[path = "../kill/coins.rs"]
mod coins;
#[path = "../lightning/hot_wallet.rs"]
mod hot_wallet;
#[path = "../lightning/kill.rs"]
mod kill;
#[path = "../lightning/world.rs"]
mod world;
