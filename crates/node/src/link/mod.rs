//! BTP links: one task a connection, batches of frames between it and the core thread.

mod client;
mod directory;
mod frames;
mod neighbour;
mod server;
mod session;
mod speech;

pub use client::Uplink;
pub(crate) use client::keep_dialled;
pub(crate) use directory::Directory;
pub(crate) use frames::{InBatch, Item, ItemKind, LinkId, OutFrames, OutSender};
pub(crate) use server::{Shared, serve};
pub(crate) use speech::{encode_message, terms};
