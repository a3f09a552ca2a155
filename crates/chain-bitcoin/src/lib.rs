//! Bitcoin: an embedded Lightning node on rust-lightning, a hot wallet, a reserve, and clients of bitcoind and Esplora.
//!
//! [`chain`] is the way to blocks and miners, by [`bitcoind`] or by [`esplora`]. [`wallet`] holds the operator's coins, [`reserve`] watches those that a
//! committee has a hand on, [`lightning`] holds channels, makes and pays invoices, and tells what happened until its
//! listener has kept it; [`lnd`] asks a Lightning node that is somebody's own.
//!
//! This crate does I/O: sockets to Lightning peers, HTTP to the chain source, REST to such a node, embedded stores. It never decides about
//! money, never knows the pool, and has no branch for any particular node or network.
#![forbid(unsafe_code)]

pub mod bitcoind;
pub mod chain;
pub mod esplora;
mod fault;
pub mod lightning;
pub mod lnd;
pub mod reserve;
pub mod wallet;

pub use bitcoin::{Network, NetworkKind, Psbt};
pub use fault::{Fault, Retry};

use bitcoin::address::NetworkUnchecked;
use bitcoin::hashes::Hash;
use bitcoin::{Address, Txid};

/// A future behind a pointer. What an async function does is compiled wherever it is awaited, again and again; behind a pointer
/// it is compiled where it is written. It is for what starts something large.
pub type Boxed<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;

/// Hash of the first block of a network's chain, in the byte order of the chain.
#[must_use]
pub fn genesis_hash(network: Network) -> [u8; 32] {
    let first = bitcoin::constants::genesis_block(network);
    first.block_hash().to_byte_array()
}

/// The script that an address on a network stands for.
///
/// # Errors
/// [`Fault::BadAddress`].
pub fn script_of(address: &str, network: Network) -> Result<Vec<u8>, Fault> {
    let bad = |error: &dyn std::fmt::Display| Fault::BadAddress {
        why: error.to_string(),
    };
    let address: Address<NetworkUnchecked> = address.parse().map_err(|error| bad(&error))?;
    let address = address
        .require_network(network)
        .map_err(|error| bad(&error))?;
    Ok(address.script_pubkey().into_bytes())
}

/// The address that a script is paid at on a network; none when it has none.
#[must_use]
pub fn address_of(script: &[u8], network: Network) -> Option<String> {
    let script = bitcoin::Script::from_bytes(script);
    let address = Address::from_script(script, network).ok()?;
    Some(address.to_string())
}

/// A transaction as nodes take it by RPC.
#[must_use]
pub fn to_hex(transaction: &bitcoin::Transaction) -> String {
    bitcoin::consensus::encode::serialize_hex(transaction)
}

/// A transaction's id as bytes, in the byte order of the chain.
#[must_use]
pub fn bytes_of(txid: Txid) -> [u8; 32] {
    txid.to_byte_array()
}
