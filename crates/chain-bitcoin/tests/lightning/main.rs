//! The Lightning node against ldk-node, over a real bitcoind, without which these tests fail and say how to get it.

mod changes;
#[path = "../kill/coins.rs"]
mod coins;
mod figures;
mod hold;
mod payments;
mod restart;
mod world;
