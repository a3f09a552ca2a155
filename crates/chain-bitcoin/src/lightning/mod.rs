//! The Lightning node, on rust-lightning.
//!
//! Requests are answered at once, as a rule; what comes of them is an [`Observation`]. LDK keeps each event until its
//! observation is acknowledged, so that the listener can put it into a journal first.
//!
//! The [writer](cycle) makes all that waits durable with one sync, channels and monitors in one transaction, before any
//! message that depends on it leaves. So a kill at any moment loses nothing that a peer has seen.

pub mod bench;
mod chain;
mod channel;
mod closings;
mod course;
mod cycle;
mod events;
mod forwards;
mod invoice;
mod keys;
mod keysend;
mod lsps;
mod message;
mod node;
mod observation;
mod outbox;
mod payment;
mod peers;
mod persist;
mod record;
mod recover;
mod sale_records;
mod sales;
mod settings;
mod start;
mod store;
mod sweep;
mod tasks;
mod types;
mod wallet;

pub use channel::{ChannelStanding, Closing, Opening};
pub use invoice::{FINAL_CLTV_MIN, InvoiceTerms, InvoiceView, read_invoice};
pub use keys::Seed;
pub use keysend::KeysendTerms;
pub use message::verify_message;
pub use node::LightningNode;
pub use observation::{
    ChannelNumber, NodeId, Observation, Observations, Observed, Output, PaymentFailure,
    PaymentHash, SaleNumber, SaleRequest, SaleTerms,
};
pub use payment::{PaymentStanding, PaymentTerms};
pub use recover::{Recovered, recover};
pub use settings::{LightningSettings, PAYMENT_SLOTS_MAX};
pub use wallet::{Belonging, HotWallet};
