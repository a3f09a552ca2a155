//! The Lightning node against ldk-node, over a real bitcoind, without which these tests fail and say how to get it.

mod changes;
mod cheats;
mod closings;
#[path = "../kill/coins.rs"]
mod coins;
mod electrum;
#[path = "../esplora/mod.rs"]
mod esplora;
mod figures;
mod hot_wallet;
mod jit;
mod jit_kill;
mod jit_words;
mod kill;
mod lost;
mod outages;
mod reorgs;
mod restart;
mod servers;
mod suite;
mod world;
