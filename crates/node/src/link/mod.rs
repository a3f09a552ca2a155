//! Links of peers, and what answers on them. BTP: one task a connection, batches of frames between it and the core thread.

mod client;
mod directory;
mod frames;
mod neighbour;
mod server;
mod session;
mod speech;

pub use client::Uplink;
pub(crate) use client::keep_dialled;
pub(crate) use directory::{Directory, PeerFacts};
pub(crate) use frames::{
    IN_BATCHES, InBatch, Item, ItemKind, LinkId, OutFrames, OutReceiver, OutSender, out_queue,
};
pub(crate) use neighbour::{PeerAnswer, answer_peer};
pub(crate) use server::{Shared, serve};
pub(crate) use speech::{encode_message, terms};
