//! Answers as gRPC's gateway writes them.

use bitcoin::base64::Engine;
use bitcoin::base64::engine::general_purpose::{STANDARD, URL_SAFE};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) type Answer = Response<Full<Bytes>>;

/// Why a request is refused: gRPC's code, and words.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: i64,
    pub(crate) message: String,
}

pub(crate) const UNKNOWN: i64 = 2;
pub(crate) const INVALID_ARGUMENT: i64 = 3;
pub(crate) const NOT_FOUND: i64 = 5;
pub(crate) const ALREADY_EXISTS: i64 = 6;
pub(crate) const UNAUTHENTICATED: i64 = 16;

impl Refusal {
    pub(crate) fn new(code: i64, message: impl std::fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::new(UNKNOWN, format_args!("{:#}", error.into()))
    }
}

/// One object, or one line of several.
pub(crate) fn answer(result: Result<Value, Refusal>, is_line: bool) -> Answer {
    let (status, body) = match result {
        Ok(said) if is_line => (StatusCode::OK, json!({ "result": said })),
        Ok(said) => (StatusCode::OK, said),
        Err(refusal) => {
            let status = match refusal.code {
                INVALID_ARGUMENT => StatusCode::BAD_REQUEST,
                NOT_FOUND => StatusCode::NOT_FOUND,
                ALREADY_EXISTS => StatusCode::CONFLICT,
                UNAUTHENTICATED => StatusCode::UNAUTHORIZED,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            let said = json!({ "code": refusal.code, "message": refusal.message, "details": [] });
            match is_line {
                true => (status, json!({ "error": said })),
                false => (status, said),
            }
        }
    };
    let mut answer = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
    *answer.status_mut() = status;
    answer
}

pub(crate) fn bad(what: &str) -> Refusal {
    Refusal::new(INVALID_ARGUMENT, what)
}

pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| bad(&error.to_string()))
}

/// Base64 as bodies have it.
pub(crate) fn bytes(text: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD
        .decode(text)
        .map_err(|error| bad(&error.to_string()))
}

/// Base64 as paths have it.
pub(crate) fn hash_in_path(text: &str) -> Result<[u8; 32], Refusal> {
    let decoded = URL_SAFE.decode(text);
    let decoded = decoded.map_err(|error| bad(&error.to_string()))?;
    decoded.try_into().map_err(|_| bad("a hash has 32 bytes"))
}

/// A number of 64 bits, which is a string.
pub(crate) fn number(text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| bad("a number was expected"))
}
