//! HTTP to the node: JSON, its refusals, and answers that come line by line.

use std::path::Path;

use bitcoin::hex::DisplayHex;
use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::TIMEOUT;
use crate::Fault;
use crate::chain::http::install_tls;

/// The largest answer taken: some thousand channels.
const ANSWER_BYTES_MAX: usize = 8_000_000;
/// A connection on which nothing comes is asked whether it still stands.
const KEEPALIVE: std::time::Duration = std::time::Duration::from_secs(30);
/// gRPC's code for what is not there.
pub(super) const NOT_FOUND: i64 = 5;

pub(super) struct Http {
    url: String,
    macaroon: Option<String>,
    client: reqwest::Client,
}

/// What the node made of a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answered<T> {
    Said(T),
    Refused { code: i64, message: String },
}

impl<T> Answered<T> {
    pub(super) fn or_fault(self, what: &'static str) -> Result<T, Fault> {
        match self {
            Self::Said(said) => Ok(said),
            Self::Refused { code, message } => Err(Fault::LndRefused {
                what,
                message,
                code,
            }),
        }
    }
}

/// gRPC's status, as its gateway writes it: alone, or under `error` in an answer of several lines.
#[derive(Deserialize)]
struct Status {
    #[serde(default, alias = "grpc_code")]
    code: i64,
    message: String,
}

#[derive(Deserialize)]
struct Line<T> {
    result: Option<T>,
    error: Option<Status>,
}

impl Http {
    pub(super) fn new(url: &str, macaroon_file: Option<&Path>) -> Result<Self, Fault> {
        let bad_url = || Fault::BadUrl {
            url: url.to_owned(),
        };
        let parsed = reqwest::Url::parse(url).map_err(|_| bad_url())?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(bad_url());
        }
        let url = url.trim_end_matches('/').to_owned();
        let macaroon = macaroon_file.map(std::fs::read).transpose();
        let macaroon = macaroon.map_err(|error| Fault::LndDown {
            url: url.clone(),
            detail: format!("its macaroon cannot be read: {error}"),
        })?;
        install_tls();
        let client = reqwest::Client::builder()
            .connect_timeout(TIMEOUT)
            .tcp_keepalive(KEEPALIVE)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|_| bad_url())?;
        Ok(Self {
            url,
            macaroon: macaroon.map(|bytes| bytes.to_lower_hex_string()),
            client,
        })
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answered<T>, Fault> {
        self.once(self.request(Method::GET, path)).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<Answered<T>, Fault> {
        self.once(self.request(Method::POST, path).body(body.to_string()))
            .await
    }

    /// Reads line after line until one is wanted.
    pub(super) async fn follow<T: DeserializeOwned>(
        &self,
        path: &str,
        is_wanted: fn(&T) -> bool,
    ) -> Result<Answered<T>, Fault> {
        self.until(self.request(Method::GET, path), is_wanted).await
    }

    /// Reads line after line until one is wanted.
    pub(super) async fn follow_post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        is_wanted: fn(&T) -> bool,
    ) -> Result<Answered<T>, Fault> {
        let request = self.request(Method::POST, path).body(body.to_string());
        self.until(request, is_wanted).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = request.header("content-type", "application/json");
        match &self.macaroon {
            Some(macaroon) => request.header("Grpc-Metadata-macaroon", macaroon),
            None => request,
        }
    }

    async fn once<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<Answered<T>, Fault> {
        let sent = request.timeout(TIMEOUT).send().await;
        let mut response = sent.map_err(|error| self.down(&error))?;
        let mut body = Vec::new();
        while self.more(&mut response, &mut body).await? {}
        read(response.status().is_success(), &body)
    }

    async fn until<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        is_wanted: fn(&T) -> bool,
    ) -> Result<Answered<T>, Fault> {
        let sent = request.send().await;
        let mut response = sent.map_err(|error| self.down(&error))?;
        let is_success = response.status().is_success();
        let mut body = Vec::new();
        loop {
            let is_more = self.more(&mut response, &mut body).await?;
            if !is_success {
                match is_more {
                    true => continue,
                    false => return read_line(&body),
                }
            }
            while let Some(end) = body.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = body.drain(..=end).collect();
                match read_line(&line)? {
                    Answered::Said(said) if !is_wanted(&said) => {}
                    answered => return Ok(answered),
                }
            }
            if !is_more {
                return Err(Fault::LndDown {
                    url: self.url.clone(),
                    detail: "it ended its answer early".to_owned(),
                });
            }
        }
    }

    async fn more(&self, response: &mut Response, body: &mut Vec<u8>) -> Result<bool, Fault> {
        let chunk = response.chunk().await.map_err(|error| self.down(&error))?;
        let Some(chunk) = chunk else {
            return Ok(false);
        };
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(nonsense("it is too long"));
        }
        Ok(true)
    }

    fn down(&self, error: &reqwest::Error) -> Fault {
        Fault::LndDown {
            url: self.url.clone(),
            detail: crate::chain::http::reason(error),
        }
    }
}

fn read<T: DeserializeOwned>(is_success: bool, body: &[u8]) -> Result<Answered<T>, Fault> {
    if is_success {
        let said = serde_json::from_slice(body).map_err(|error| nonsense(&error.to_string()))?;
        return Ok(Answered::Said(said));
    }
    let status: Status =
        serde_json::from_slice(body).map_err(|_| nonsense("it gives no reason"))?;
    Ok(refused(status))
}

fn read_line<T: DeserializeOwned>(line: &[u8]) -> Result<Answered<T>, Fault> {
    let found: Result<Line<T>, _> = serde_json::from_slice(line);
    match found.map_err(|error| nonsense(&error.to_string()))? {
        Line {
            result: Some(said), ..
        } => Ok(Answered::Said(said)),
        Line {
            error: Some(status),
            ..
        } => Ok(refused(status)),
        // The gateway writes a refusal that comes before the first line as it does elsewhere.
        Line { .. } => read(false, line),
    }
}

fn refused<T>(status: Status) -> Answered<T> {
    Answered::Refused {
        code: status.code,
        message: status.message,
    }
}

fn nonsense(what: &str) -> Fault {
    Fault::LndNonsense {
        what: what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Channels, Payment};
    use super::*;

    /// As LND writes it of a payment that it was never asked for.
    const NOT_INITIATED: &str =
        r#"{"error":{"code":5,"message":"payment isn't initiated","details":[]}}"#;

    #[test]
    fn a_refusal_is_read_alone_and_within_a_line() {
        let is_refused = |answered: Answered<Payment>| match answered {
            Answered::Refused { code, message } => (code, message),
            Answered::Said(_) => panic!("said"),
        };
        let expected = (NOT_FOUND, "payment isn't initiated".to_owned());
        assert_eq!(
            is_refused(read_line(NOT_INITIATED.as_bytes()).expect("a refusal")),
            expected
        );
        let alone = r#"{"code":5,"message":"payment isn't initiated","details":[]}"#;
        assert_eq!(
            is_refused(read_line(alone.as_bytes()).expect("a refusal")),
            expected
        );
        assert_eq!(
            is_refused(read(false, alone.as_bytes()).expect("a refusal")),
            expected
        );
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in ["", "[]", "<html>", "{}", r#"{"result":{}}"#] {
            assert!(read_line::<Payment>(text.as_bytes()).is_err(), "{text}");
            assert!(read::<Channels>(true, text.as_bytes()).is_err(), "{text}");
        }
    }
}
