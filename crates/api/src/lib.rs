//! Wire types of the admin HTTP API: JSON in, JSON out.
//!
//! The node serves them, the command line and other programs ask for them. Amounts are decimal strings in base units,
//! because JSON numbers lose digits above 2^53; codes and names stand for ids. There is no I/O here.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/status` | | [`Status`] |
//! | `GET /v1/books` | | [`Books`] |
//! | `GET /v1/assets` | | list of [`Asset`] |
//! | `POST /v1/assets` | [`AddAsset`] | [`Asset`] |
//! | `PUT /v1/assets/{code}` | [`SetAsset`] | [`Asset`] |
//! | `GET /v1/peers` | | list of [`Peer`] |
//! | `POST /v1/peers` | [`AddPeer`] | [`Peer`] |
//! | `PUT /v1/peers/{name}` | [`SetPeer`] | [`Peer`] |
//! | `DELETE /v1/peers/{name}` | | [`Done`] |
//! | `PUT /v1/peers/{name}/relation` | [`Relation`] | [`Peer`] |
//! | `GET /v1/routes` | | list of [`RouteView`] |
//! | `POST /v1/routes` | [`Route`] | [`Done`] |
//! | `DELETE /v1/routes/{prefix}` | | [`Done`] |
//!
//! Every request carries `Authorization: Bearer <token>`, the token being the text of the file [`TOKEN_FILE`] in the
//! data directory, and every instruction `Idempotency-Key: <32 hexadecimal digits>`: the same key never takes effect
//! twice [I11]. An answer that is no success carries [`Refusal`].
#![forbid(unsafe_code)]

mod asset;
mod books;
mod peer;
mod relation;
mod units;

pub use asset::{AddAsset, Asset, AssetPolicy, SetAsset, SourceView};
pub use books::{AssetBooks, Books, ChainCost, Done, Refusal, Status};
pub use peer::{AddPeer, ChannelView, LaneView, Peer, PeerPolicy, Route, SetPeer};
pub use relation::{Relation, RelationKind, RouteView, Routes};
pub use units::Units;

/// Where everything lives.
pub const STATUS: &str = "/v1/status";
/// Balances, reserves and what a stolen key would cost.
pub const BOOKS: &str = "/v1/books";
/// Listed assets.
pub const ASSETS: &str = "/v1/assets";
/// Accounts with connectors.
pub const PEERS: &str = "/v1/peers";
/// Where packets go.
pub const ROUTES: &str = "/v1/routes";

/// The file in the data directory that holds the bearer token; readable by its owner alone.
pub const TOKEN_FILE: &str = "admin.token";
/// The header that names an instruction.
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
