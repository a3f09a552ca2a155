//! Reads the vectors that the npm packages wrote.
#![allow(dead_code, reason = "each test file uses its part")]

use forebay_ilp::{Address, ccp};
use serde_json::Value;
use std::path::Path;

/// A file of `spec/vectors`.
pub(crate) fn vectors(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../spec/vectors")
        .join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_json::from_str(&text).expect("the vectors are JSON")
}

/// The cases of a list, of which there must be some.
pub(crate) fn cases<'a>(file: &'a Value, list: &str) -> &'a [Value] {
    let cases = file[list]
        .as_array()
        .unwrap_or_else(|| panic!("no list {list}"));
    assert!(!cases.is_empty(), "{list} is empty");
    cases
}

/// A field that holds text.
pub(crate) fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text {field} in {case}"))
}

/// A field that holds a decimal number as text.
pub(crate) fn number(case: &Value, field: &str) -> u64 {
    text(case, field).parse().expect("a decimal number")
}

/// A field that holds bytes: hex, or a list of hex and of runs of one byte.
pub(crate) fn bytes(case: &Value, field: &str) -> Vec<u8> {
    match &case[field] {
        Value::String(digits) => hex::decode(digits).expect("hex"),
        Value::Array(parts) => parts.iter().flat_map(part).collect(),
        other => panic!("no bytes in {field}: {other}"),
    }
}

/// A field that holds 32 bytes.
pub(crate) fn hash(case: &Value, field: &str) -> [u8; 32] {
    bytes(case, field).try_into().expect("32 bytes")
}

/// An update as we would tell it: properties are left out.
pub(crate) fn owned_update(update: &ccp::UpdateView<'_>) -> ccp::Update {
    let route = |route: ccp::RouteView<'_>| ccp::Route {
        prefix: route.prefix.to_vec(),
        path: route.path().map(Address::to_owned).collect(),
        auth: *route.auth,
    };
    ccp::Update {
        span: update.span,
        speaker: update.speaker.to_owned(),
        routes: update.routes().map(route).collect(),
        withdrawn: update.withdrawn().map(<[u8]>::to_vec).collect(),
    }
}

fn part(part: &Value) -> Vec<u8> {
    match part.as_str() {
        Some(digits) => hex::decode(digits).expect("hex"),
        None => {
            let byte = bytes(part, "repeat");
            byte.repeat(
                part["times"]
                    .as_u64()
                    .and_then(|times| times.try_into().ok())
                    .expect("times"),
            )
        }
    }
}
