//! The dashboard: files of `web/`, built in, which ask this same interface and nothing else.

use hyper::Response;
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};

use super::request::{Body, with_type};

/// A file: its path, its media type, its bytes.
type Page = (&'static str, &'static str, &'static [u8]);

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../../../../web/", $name))
    };
}

const PAGES: &[Page] = &[
    ("/", HTML, file!("index.html")),
    ("/app.js", SCRIPT, file!("app.js")),
    ("/api.js", SCRIPT, file!("api.js")),
    ("/charts.js", SCRIPT, file!("charts.js")),
    ("/dom.js", SCRIPT, file!("dom.js")),
    ("/format.js", SCRIPT, file!("format.js")),
    ("/pages.js", SCRIPT, file!("pages.js")),
    ("/style.css", "text/css; charset=utf-8", file!("style.css")),
    ("/icon.svg", "image/svg+xml", file!("icon.svg")),
];

/// Scripts, styles and answers come from this node alone, nothing is inline, and nobody may frame the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers that keep other pages away from this one.
const HEADERS: &[(&str, &str)] = &[
    ("content-security-policy", POLICY),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// The file at a path, if there is one.
pub(super) fn file(path: &str) -> Option<Response<Body>> {
    let (_, media, bytes) = PAGES.iter().find(|(at, ..)| *at == path)?;
    let mut response = with_type(media, Bytes::from_static(bytes));
    for (name, value) in HEADERS {
        let name = HeaderName::from_static(name);
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    Some(response)
}
