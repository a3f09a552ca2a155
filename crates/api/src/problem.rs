//! Why not, and what to do: RFC 9457.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An answer that is no success, as `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Where this kind of problem is explained.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in a few words, always the same.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong this time, and what to do.
    pub detail: String,
    /// The request's id, as in the header `X-Request-Id` and in the node's log.
    pub request_id: String,
}

/// Every kind of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// The request cannot be read.
    BadRequest,
    /// No token, or one that is not known.
    Unauthorized,
    /// The token's role may not do this.
    Forbidden,
    /// Nothing is there, or nothing that the token may see.
    NotFound,
    /// The path is right and the method is not.
    MethodNotAllowed,
    /// The thing exists already, or is in use.
    Conflict,
    /// The body is too long.
    TooLarge,
    /// The idempotency key stood for something else.
    KeyReused,
    /// The core said no.
    Rejected,
    /// The chain says no, or cannot be asked.
    Chain,
    /// Too many requests.
    RateLimited,
    /// The node is at fault.
    Internal,
    /// The pool takes nothing now.
    Stopped,
    /// The pool is not ready for packets yet, or no more.
    NotReady,
}

/// The page that explains each kind under a heading of its name.
const PAGE: &str = "https://github.com/forebay/forebay/blob/main/docs/book/api.md";

impl ProblemKind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::TooLarge,
        Self::KeyReused,
        Self::Rejected,
        Self::Chain,
        Self::RateLimited,
        Self::Internal,
        Self::Stopped,
        Self::NotReady,
    ];

    /// Its name, and the anchor on the page that explains it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::Conflict => "conflict",
            Self::TooLarge => "too-large",
            Self::KeyReused => "key-reused",
            Self::Rejected => "rejected",
            Self::Chain => "chain",
            Self::RateLimited => "rate-limited",
            Self::Internal => "internal",
            Self::Stopped => "stopped",
            Self::NotReady => "not-ready",
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::KeyReused | Self::Rejected | Self::Chain => 422,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Stopped | Self::NotReady => 503,
        }
    }

    /// In a few words.
    pub const fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "The request cannot be read",
            Self::Unauthorized => "No valid token",
            Self::Forbidden => "The token may not do this",
            Self::NotFound => "Nothing is there",
            Self::MethodNotAllowed => "Not with this method",
            Self::Conflict => "It exists already, or is in use",
            Self::TooLarge => "The body is too long",
            Self::KeyReused => "The idempotency key stood for something else",
            Self::Rejected => "The pool refused it",
            Self::Chain => "The chain refused it, or could not be asked",
            Self::RateLimited => "Too many requests",
            Self::Internal => "The node is at fault",
            Self::Stopped => "The pool takes nothing now",
            Self::NotReady => "Not ready",
        }
    }

    /// The problem, as it is sent.
    pub fn with(self, detail: impl Into<String>, request_id: impl Into<String>) -> Problem {
        Problem {
            kind: format!("{PAGE}#{}", self.name()),
            title: self.title().to_owned(),
            status: self.status(),
            detail: detail.into(),
            request_id: request_id.into(),
        }
    }
}
