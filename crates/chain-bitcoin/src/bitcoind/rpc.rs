//! JSON-RPC to one bitcoind over HTTP.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::Fault;
use crate::chain::{SourceKind, http};

/// How bitcoind knows us.
#[derive(Clone)]
pub enum Credentials {
    /// The file `.cookie` in its data folder, which it writes anew at each start.
    Cookie(PathBuf),
    /// As in its configuration (`rpcauth`, or `rpcuser` and `rpcpassword`).
    User {
        /// The name.
        name: String,
        /// The password.
        password: String,
    },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cookie(path) => write!(out, "Cookie({})", path.display()),
            Self::User { name, .. } => write!(out, "User({name}, …)"),
        }
    }
}

/// The largest answer taken: a block of 4 million bytes in hexadecimal, and room for what is around it.
const ANSWER_BYTES_MAX: usize = 9_000_000;

pub(super) struct Rpc {
    url: String,
    credentials: Credentials,
    /// Read from the cookie; forgotten when bitcoind does not know it any more.
    cookie: Mutex<Option<(String, String)>>,
    http: reqwest::Client,
}

impl Rpc {
    /// # Errors
    /// When the URL is none.
    pub(super) fn new(
        url: &str,
        credentials: Credentials,
        timeout: Duration,
    ) -> Result<Self, Fault> {
        Ok(Self {
            url: url.to_owned(),
            credentials,
            cookie: Mutex::new(None),
            http: http::client(url, timeout)?,
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Asks, and reads the answer as `T`.
    ///
    /// # Errors
    /// When bitcoind does not answer, does not know us, says no, or makes no sense.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        parameters: &[Value],
    ) -> Result<T, Fault> {
        let question = serde_json::json!({ "id": 0, "method": method, "params": parameters });
        let question = question.to_string();
        let (mut status, mut body) = self.post(question.clone()).await?;
        if status == StatusCode::UNAUTHORIZED && self.forget_cookie() {
            (status, body) = self.post(question).await?;
        }
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Fault::SourceDenies {
                kind: SourceKind::Bitcoind,
                url: self.url.clone(),
            }),
            // Its queue is full.
            StatusCode::SERVICE_UNAVAILABLE => Err(self.down("it is busy")),
            _ => read_answer(method, &body),
        }
    }

    async fn post(&self, question: String) -> Result<(StatusCode, Vec<u8>), Fault> {
        let (name, password) = self.name_and_password()?;
        let response = self
            .http
            .post(&self.url)
            .basic_auth(name, Some(password))
            .header("content-type", "application/json")
            .body(question)
            .send()
            .await
            .map_err(|error| self.down(&http::reason(&error)))?;
        let status = response.status();
        let body = http::body(response, ANSWER_BYTES_MAX).await;
        Ok((status, body.map_err(|why| self.down(&why))?))
    }

    fn name_and_password(&self) -> Result<(String, String), Fault> {
        let path = match &self.credentials {
            Credentials::User { name, password } => return Ok((name.clone(), password.clone())),
            Credentials::Cookie(path) => path,
        };
        let mut kept = self.cookie.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pair) = &*kept {
            return Ok(pair.clone());
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| self.down(&format!("no cookie at {}: {error}", path.display())))?;
        let (name, password) = text
            .trim()
            .split_once(':')
            .ok_or_else(|| self.down("the cookie has no colon"))?;
        let pair = (name.to_owned(), password.to_owned());
        *kept = Some(pair.clone());
        Ok(pair)
    }

    /// Whether there was one, so that asking again with a new one may help.
    fn forget_cookie(&self) -> bool {
        let mut kept = self.cookie.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take().is_some()
    }

    fn down(&self, detail: &str) -> Fault {
        Fault::SourceDown {
            kind: SourceKind::Bitcoind,
            url: self.url.clone(),
            detail: detail.to_owned(),
        }
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: i64,
    message: String,
}

fn read_answer<T: DeserializeOwned>(method: &'static str, body: &[u8]) -> Result<T, Fault> {
    let nonsense = |error: serde_json::Error| Fault::Nonsense {
        method,
        what: error.to_string(),
    };
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(nonsense)?;
    if let Some(Refusal { code, message }) = answer.error {
        return Err(Fault::SourceRefused {
            kind: SourceKind::Bitcoind,
            method,
            code,
            message,
        });
    }
    // Null is an answer too, and read as none.
    let result = answer.result.map_or("null", RawValue::get);
    serde_json::from_str(result).map_err(nonsense)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_asked_for() {
        let read = |body: &str| read_answer::<Option<u64>>("getblockcount", body.as_bytes());
        assert_eq!(
            read(r#"{"result":7,"error":null,"id":0}"#).expect("a number"),
            Some(7)
        );
        assert_eq!(
            read(r#"{"result":null,"error":null,"id":0}"#).expect("nothing"),
            None
        );
        let refused = read(r#"{"result":null,"error":{"code":-28,"message":"Loading"},"id":0}"#);
        assert!(matches!(
            refused,
            Err(Fault::SourceRefused { code: -28, .. })
        ));
        for nonsense in ["", "[]", "{}x", r#"{"result":"x","error":null}"#] {
            assert!(
                matches!(read(nonsense), Err(Fault::Nonsense { .. })),
                "{nonsense}"
            );
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let credentials = Credentials::User {
            name: "pool".into(),
            password: "swordfish".into(),
        };
        assert!(!format!("{credentials:?}").contains("swordfish"));
    }

    #[test]
    fn only_http_is_spoken() {
        for bad in ["", "bitcoind", "ftp://127.0.0.1:8332"] {
            let made = Rpc::new(
                bad,
                Credentials::Cookie(PathBuf::new()),
                Duration::from_secs(1),
            );
            assert!(matches!(made, Err(Fault::BadUrl { .. })), "{bad}");
        }
    }
}
