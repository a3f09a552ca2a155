//! Esplora's HTTP API: questions, bounded answers, and patience with a server that is busy.

use std::time::Duration;

use reqwest::{Method, StatusCode};

use crate::Fault;
use crate::chain::{SourceKind, http};

/// The largest answer that is not a block.
pub(super) const SMALL_BYTES_MAX: usize = 64 * 1024;
/// A block or a transaction; the protocol allows neither more.
pub(super) const BLOCK_BYTES_MAX: usize = 4_000_000;
/// All that is unspent under one script.
pub(super) const LIST_BYTES_MAX: usize = 4_000_000;
/// What a transaction of 100,000 virtual bytes becomes in JSON.
pub(super) const TRANSACTION_BYTES_MAX: usize = 4_000_000;

/// How often a question is put to a server that says that it is busy.
const TRIES_MAX: u32 = 4;
/// The longest pause between two tries, whatever the server asks for.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How much of an answer's text is shown to people.
const SHOWN_CHARS_MAX: usize = 300;

pub(super) struct Http {
    url: String,
    client: reqwest::Client,
}

impl Http {
    /// # Errors
    /// When the URL is none, or holds a password, which would be shown in errors.
    pub(super) fn new(url: &str, timeout: Duration) -> Result<Self, Fault> {
        if url.contains('@') || url.contains('?') {
            let url = "…".to_owned();
            return Err(Fault::BadUrl { url });
        }
        let client = http::client(url, timeout)?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { url, client })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// What the server has under a path; none when it has nothing there. `method` names the question.
    ///
    /// # Errors
    /// When it does not answer, does not serve us, says no, or answers with too much.
    pub(super) async fn get(
        &self,
        method: &'static str,
        path: &str,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let (status, body) = self.ask(Method::GET, path, None, bytes_max).await?;
        match status {
            StatusCode::OK => Ok(Some(body)),
            StatusCode::NOT_FOUND => Ok(None),
            other => Err(self.refused(method, other, &body)),
        }
    }

    /// As [`Self::get`], of text.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) async fn text(
        &self,
        method: &'static str,
        path: &str,
    ) -> Result<Option<String>, Fault> {
        let body = self.get(method, path, SMALL_BYTES_MAX).await?;
        let text = |body| String::from_utf8(body).map_err(|_| nonsense(method, "it is no text"));
        body.map(text).transpose()
    }

    /// Hands something in; the status and the text of the answer.
    ///
    /// # Errors
    /// When the server does not answer or does not serve us.
    pub(super) async fn post(
        &self,
        path: &str,
        body: String,
    ) -> Result<(StatusCode, String), Fault> {
        let asked = self.ask(Method::POST, path, Some(body), SMALL_BYTES_MAX);
        let (status, answer) = asked.await?;
        Ok((status, String::from_utf8_lossy(&answer).into_owned()))
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        bytes_max: usize,
    ) -> Result<(StatusCode, Vec<u8>), Fault> {
        let url = format!("{}{path}", self.url);
        let mut tries = 0;
        loop {
            let mut request = self.client.request(method.clone(), &url);
            if let Some(body) = &body {
                request = request.body(body.clone());
            }
            let sent = request.send().await;
            let response = sent.map_err(|error| self.down(&http::reason(&error)))?;
            let status = response.status();
            tries += 1;
            match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    return Err(Fault::SourceDenies {
                        kind: SourceKind::Esplora,
                        url: self.url.clone(),
                    });
                }
                status if !is_busy(status) => {
                    let body = http::body(response, bytes_max).await;
                    return Ok((status, body.map_err(|why| self.down(&why))?));
                }
                status if tries == TRIES_MAX => {
                    return Err(self.down(&format!("it is busy ({status})")));
                }
                _ => tokio::time::sleep(pause(tries, asked_for(&response))).await,
            }
        }
    }

    pub(super) fn refused(&self, method: &'static str, status: StatusCode, body: &[u8]) -> Fault {
        let text = String::from_utf8_lossy(body);
        let message = match status.is_redirection() {
            true => "it sends us to another URL; configure that one".to_owned(),
            false => shown(&text),
        };
        Fault::SourceRefused {
            kind: SourceKind::Esplora,
            method,
            code: i64::from(status.as_u16()),
            message,
        }
    }

    fn down(&self, detail: &str) -> Fault {
        Fault::SourceDown {
            kind: SourceKind::Esplora,
            url: self.url.clone(),
            detail: detail.to_owned(),
        }
    }
}

pub(super) fn nonsense(method: &'static str, what: impl std::fmt::Display) -> Fault {
    Fault::Nonsense {
        method,
        what: what.to_string(),
    }
}

/// The beginning of a text, on one line.
pub(super) fn shown(text: &str) -> String {
    let line = text.chars().take(SHOWN_CHARS_MAX);
    line.map(|char| if char.is_control() { ' ' } else { char })
        .collect::<String>()
        .trim()
        .to_owned()
}

/// 500 is not among them: Esplora says it of what will not get better.
fn is_busy(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

fn asked_for(response: &reqwest::Response) -> Option<Duration> {
    let header = response.headers().get("retry-after")?;
    let seconds = header.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// One second, two, four; or as long as the server asks for, within reason.
fn pause(tries: u32, asked_for: Option<Duration>) -> Duration {
    let doubled = Duration::from_secs(1) * 2_u32.pow(tries.saturating_sub(1));
    asked_for.unwrap_or(doubled).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_server_is_given_time_and_no_more_than_that() {
        let seconds =
            |tries, asked: Option<u64>| pause(tries, asked.map(Duration::from_secs)).as_secs();
        assert_eq!(seconds(1, None), 1);
        assert_eq!(seconds(3, None), 4);
        assert_eq!(seconds(1, Some(7)), 7);
        assert_eq!(seconds(1, Some(u64::MAX)), 30);
    }

    #[test]
    fn a_url_that_holds_a_secret_is_refused_and_not_repeated() {
        for bad in [
            "https://me:swordfish@example.com/api",
            "ftp://a",
            "",
            "https://a/?key=swordfish",
        ] {
            let fault = Http::new(bad, Duration::from_secs(1)).err().expect(bad);
            assert!(!fault.to_string().contains("swordfish"), "{fault}");
        }
        let plain = Http::new("https://example.com/api/", Duration::from_secs(1));
        assert_eq!(plain.expect("it is a URL").url(), "https://example.com/api");
    }
}
