//! Wire types of the HTTP API: JSON in, JSON out.
//!
//! The node serves them; the command line, the dashboard and other programs ask for them. Amounts are decimal strings in
//! base units, because JSON numbers lose digits above 2^53; codes and names stand for ids. There is no I/O here.
//!
//! [`OPERATIONS`] is the table of all requests: what they take, what they answer, whose token may. The node routes and
//! judges by it, and [`document`] draws `spec/openapi.json` from it.
//!
//! Every request save a few carries `Authorization: Bearer <token>`, and every write [`IDEMPOTENCY_KEY`]: the same key never
//! takes effect twice [I11]. An answer that is no success is a [`Problem`].
#![forbid(unsafe_code)]

mod access;
mod asset;
mod bitcoin;
mod books;
mod claim;
mod live;
mod lp;
mod openapi;
mod operation;
mod peer;
mod problem;
mod relation;
mod reserve;
mod units;

pub use access::{AddToken, Role, Token};
pub use asset::{AddAsset, Asset, AssetPolicy, SetAsset, SourceView};
pub use bitcoin::{
    AddBitcoin, Address, Bitcoin, Buyers, LightningChannel, LightningView, Liquidity, NewAddress,
    SalePolicy, SetBitcoin, Sold,
};
pub use books::{AssetBooks, Books, ChainCost, Done, Status};
pub use claim::{BitcoinLp, Invoice, NewInvoice, SetPayout, Withdraw, Withdrawal};
pub use live::{Alarm, AssetSample, EventView, Live, Sample};
pub use lp::{Exit, Position};
pub use openapi::document;
pub use operation::{Found, Method, OPERATIONS, Operation, Row, find};
pub use peer::{AddPeer, ChannelView, LaneView, Peer, PeerChannel, PeerPolicy, Route, SetPeer};
pub use problem::{Problem, ProblemKind};
pub use relation::{Relation, RelationKind, RouteView, Routes};
pub use reserve::{CopyTaken, Reserve, ReserveDraft, ReserveOutput, SignedCopy};
pub use units::Units;

/// Is the process alive? No token.
pub const HEALTH: &str = "/healthz";
/// Does the pool take packets? No token.
pub const READY: &str = "/readyz";
/// Figures for Prometheus.
pub const METRICS: &str = "/metrics";
/// The OpenAPI document. No token.
pub const OPENAPI: &str = "/v1/openapi.json";
/// Where everything lives.
pub const STATUS: &str = "/v1/status";
/// Balances, reserves and what a stolen key would cost.
pub const BOOKS: &str = "/v1/books";
/// Listed assets.
pub const ASSETS: &str = "/v1/assets";
/// The pool's wallet and Lightning node.
pub const BITCOIN: &str = "/v1/bitcoin";
/// Addresses to pay to.
pub const BITCOIN_ADDRESSES: &str = "/v1/bitcoin/addresses";
/// The reserve on Bitcoin.
pub const BITCOIN_RESERVE: &str = "/v1/bitcoin/reserve";
/// Signed copies of drafts on it.
pub const BITCOIN_RESERVE_COPIES: &str = "/v1/bitcoin/reserve/copies";
/// LPs on Bitcoin.
pub const BITCOIN_LPS: &str = "/v1/bitcoin/lps";
/// Accounts with connectors.
pub const PEERS: &str = "/v1/peers";
/// Where packets go.
pub const ROUTES: &str = "/v1/routes";
/// Channels.
pub const CHANNELS: &str = "/v1/channels";
/// What LPs hold.
pub const LPS_PATH: &str = "/v1/lps";
/// What needs somebody.
pub const ALARMS: &str = "/v1/alarms";
/// Rates and latency.
pub const LIVE: &str = "/v1/live";
/// The journal's events.
pub const EVENTS: &str = "/v1/events";
/// The caller's own token.
pub const OWN_TOKEN: &str = "/v1/token";
/// All tokens.
pub const TOKENS: &str = "/v1/tokens";

/// The file in the data directory that holds the operator's first token; readable by its owner alone.
pub const TOKEN_FILE: &str = "admin.token";
/// The header that names an instruction.
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// The header that names a request.
pub const REQUEST_ID: &str = "X-Request-Id";
/// The header of an answer that was given before.
pub const REPLAYED: &str = "Idempotency-Replayed";
/// Entries of a page when the caller does not say.
pub const PAGE_DEFAULT: usize = 100;
/// Entries of a page at most: some hundred kilobytes of JSON.
pub const PAGE_MAX: usize = 1_000;
