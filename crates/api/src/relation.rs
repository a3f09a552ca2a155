//! What a peer is to the pool, and where packets go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Units;

/// What a peer is to the pool (RFC 34).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RelationKind {
    /// It lives under the pool's address.
    #[default]
    Child,
    /// An equal, with an address of its own.
    Peer,
    /// The pool lives under its address: what nobody else reaches goes there.
    Parent,
}

/// Which way routes pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Routes {
    /// Neither way.
    #[default]
    None,
    /// The pool tells the peer its routes.
    Send,
    /// The pool takes the peer's routes.
    Receive,
    /// Both ways.
    Both,
}

/// What a peer is to the pool, which routes pass, and what the pool may owe it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Relation {
    /// Child, peer or parent.
    pub kind: RelationKind,
    /// Which way routes pass.
    pub routes: Routes,
    /// What the pool may owe it beyond what its lane covers, in the account's base units; settled outside the vaults.
    pub debt_max: Units,
}

/// Where packets to a prefix go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteView {
    /// Whole address segments.
    pub prefix: String,
    /// Next hop, by name.
    pub peer: String,
    /// Told by a neighbour, not by the operator.
    pub learned: bool,
}
