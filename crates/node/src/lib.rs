//! Drives the sequencer: links, chain effects, prices, clock, configuration, and the operator's interface.
//!
//! This crate decides nothing about money: it carries bytes to the core and effects from it, and makes each batch
//! durable in between. All the I/O of a pool process is here or in the adapters that this crate starts: sockets in
//! `link` and `admin`, the disk through the journal, chains through their adapters, the clock in `wall`.

mod admin;
mod ask;
mod chain;
mod clock;
mod config;
pub mod connect;
mod core;
mod feed;
mod history;
mod http;
mod lightning;
mod link;
mod node;
mod prices;
mod signer;
mod slots;
mod socket;
pub mod tower;
mod wall;
mod witness;

pub use chain::ChainFault;
pub use clock::ClockFault;
pub use config::{ChainConfig, Config, ConfigFault, Limits, PriceSource};
pub use core::{
    BUCKETS_US, CommandFault, Connected, CoreHandle, Count, Counted, Ending, Figures, Histogram,
    Readiness, Rejects, ServingMode,
};
pub use http::{HttpMode, HttpUplink};
pub use lightning::{
    BitcoinConfig, LightningFault, RESERVE_LABEL, ReserveConfig, recover_channels,
};
pub use link::Uplink;
pub use node::{Keys, Node, RunningNode, StartFault};
pub use witness::Witness;
