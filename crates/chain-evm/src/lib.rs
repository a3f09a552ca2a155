//! Client of the vault contracts on EVM chains.
//!
//! An [`Account`] sends each effect's transaction once, across kills, stuck fees and reorgs. A [`Vault`] turns
//! requests into its transactions and reads the contract; a [`Follower`] reports what the contract says has
//! happened, at each depth. [`Key`] signs vouchers, [`FastVerifier`] checks them.
//!
//! This crate does I/O: JSON-RPC over HTTP, and one file of sent transactions. It never decides about money,
//! never knows the pool, and has no branch for any particular node or chain.
#![forbid(unsafe_code)]

mod abi;
mod account;
pub mod anvil;
mod artifact;
mod calls;
mod facts;
mod fault;
mod fees;
mod follower;
mod key;
mod parameters;
mod payment;
mod record;
mod rpc;
mod store;
mod vault;
mod views;

pub use account::{Account, AccountSettings, Inclusion};
pub use artifact::test_token_code;
pub use fault::{Fault, Retry, VaultRefusal};
pub use fees::{CHANNEL_LIFE_GAS, FeePolicy, gas_reserve_needed};
pub use follower::{Follower, FollowerSettings};
pub use key::{BadKey, FastVerifier, Key};
pub use parameters::VaultParameters;
pub use payment::Deployment;
pub use rpc::{RpcNodes, install_tls};
pub use store::{EffectStore, Entry, FileStore, MemoryStore, Sending};
pub use vault::Vault;
pub use views::{Books, ChannelView, LaneView};
