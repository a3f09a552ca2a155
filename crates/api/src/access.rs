//! Who may ask for what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a token is good for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Operator,
    /// Everything that can be read, save the list of tokens.
    Read,
    /// The books, the assets, and the position of one address.
    Lp,
    /// One account and its channel.
    Peer,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Operator, Self::Read, Self::Lp, Self::Peer];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Read => "read",
            Self::Lp => "lp",
            Self::Peer => "peer",
        }
    }
}

/// A token, without the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// What it is called.
    pub name: String,
    /// What it is good for.
    pub role: Role,
    /// Of an `lp` token the address, of a `peer` token the account's name.
    pub subject: Option<String>,
    /// When it was made, in milliseconds since the Unix epoch; zero for the one in the data directory.
    pub made_at_ms: u64,
}

/// Makes a token known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddToken {
    /// What to call it: 1 to 64 letters, digits, `_`, `-` or `.`.
    pub name: String,
    /// What it is good for.
    pub role: Role,
    /// Of an `lp` token the address, of a `peer` token the account's name; no other has one.
    #[serde(default)]
    pub subject: Option<String>,
    /// The token, 32 characters or more, chosen by the caller; only its SHA-256 is kept.
    pub token: String,
}
