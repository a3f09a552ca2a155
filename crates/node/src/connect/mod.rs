//! `forebay connect`: the peer's own side, standing in line between its connector and a pool.
//!
//! Towards the pool it is a BTP client, towards the peer's own software a BTP server on this machine. It passes ILP
//! packets unchanged, keeps the peer's own clearing balance from them, pays the pool ahead by vouchers, and takes no
//! packet from the pool that the pool has not secured within the limit granted to it. What it decides is in [`Core`],
//! without I/O; the shell around it has the sockets, the key, the disk and the chain.

mod core;
mod event;
mod reply;
mod state;

#[cfg(test)]
mod tests;

pub use self::core::{Command, Core, Effect, Policy};
pub use event::Event;
pub use state::{Incoming, Outgoing, State};
