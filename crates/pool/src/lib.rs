//! The pool core: every decision about money, and nothing else.
//!
//! [`decide`] reads the state and answers a command with events or a [`Rejection`]; [`evolve`] applies an event and
//! cannot fail; [`effects`] names what the world must now do. The [`Sequencer`] stamps time, keeps the three in
//! order and hands back one batch of records to make durable before anything leaves.
//!
//! There is no I/O here: no clock, socket, disk, key or randomness. The node drives the same core that the simulator drives.
#![no_std]

extern crate alloc;

mod alarm;
mod bitcoin;
mod claim;
mod codec;
mod command;
mod decide;
mod effect;
mod event;
mod evolve;
mod exchange;
mod hash;
mod lightning;
mod rejection;
mod reserve;
mod sale;
mod sequencer;
mod state;

pub use alarm::Alarm;
pub use bitcoin::{BitcoinFact, Outpoint};
pub use claim::{
    ClaimEvent, ClaimOrder, ClaimPaid, InvoiceId, OutputCost, Payout, Script, Way, WithdrawalEffect,
};
pub use codec::events_of;
pub use command::{Admin, ChainFact, Command, Depth, FactAt, NoticeKind, Prepare, VaultFact};
pub use decide::{decide, next_deadline, sale_terms};
pub use effect::{ChainRequest, Effect, effects, outstanding};
pub use event::Event;
pub use evolve::evolve;
pub use exchange::{NotExchanged, RouteExchange, RouteMessage, bounds as exchange_bounds};
pub use forebay_channel::PeerKeys;
pub use lightning::{
    InvoiceTerms, LightningCommand, LightningEffect, LightningEvent, fee_max as lightning_fee_max,
};
pub use rejection::{RejectCode, Rejection};
pub use reserve::{ReserveCommand, ReserveEvent, ReserveRules, Whereabouts};
pub use sale::{SaleCommand, SaleEvent, SaleTerms};
pub use sequencer::{Sequencer, SequencerFault};
pub use state::{
    Asset, AssetAccounts, AssetDefinition, AssetPolicy, BitcoinDefinition, Buyers, Cohort,
    Coverage, Flow, Genesis, GivenInvoice, Holding, LightningAccount, LightningChannel,
    LightningChannelId, LiquidityPolicy, Lp, MILLISATOSHI_SCALE, Packet, Peer, PeerPolicy, Rail,
    Relation, RelationKind, ReserveState, Sale, SaleId, SalePolicy, Sales, Settlement, State,
    VaultMirror, VaultRules, Withdrawal, bounds,
};

/// A list of events filled by [`decide`]; the sequencer reuses one, so that a packet allocates nothing.
pub type Events = alloc::vec::Vec<Event>;
