//! What both kinds of source need of HTTP.

use std::sync::Once;
use std::time::Duration;

use crate::Fault;

/// A client with a time limit, that follows no redirects and asks no proxy.
///
/// # Errors
/// [`Fault::BadUrl`] when the URL is none.
pub(crate) fn client(url: &str, timeout: Duration) -> Result<reqwest::Client, Fault> {
    let bad_url = || Fault::BadUrl {
        url: url.to_owned(),
    };
    let parsed = reqwest::Url::parse(url).map_err(|_| bad_url())?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(bad_url());
    }
    install_tls();
    reqwest::Client::builder()
        .timeout(timeout)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|_| bad_url())
}

/// Reads an answer's body up to that many bytes.
///
/// # Errors
/// Why it cannot be had.
pub(crate) async fn body(
    mut response: reqwest::Response,
    bytes_max: usize,
) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| reason(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > bytes_max {
            return Err("its answer is too long".to_owned());
        }
    }
    Ok(body)
}

/// The innermost cause, which says most and names no URL.
pub(crate) fn reason(error: &dyn std::error::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// reqwest is built without a choice of cryptography, so that the process makes one.
pub(crate) fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that the process chose one already, which serves as well.
        let _chosen_before = rustls::crypto::ring::default_provider().install_default();
    });
}
