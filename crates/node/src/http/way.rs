//! How a peer is called: one POST a packet, answered in its response or later by a request to us.

use std::time::Duration;

use forebay_ilp::PacketType;
use forebay_quantity::Timestamp;
use reqwest::{Client, StatusCode, Url, header};
use serde::{Deserialize, Serialize};

use super::{BODY_MAX, CALLBACK_URL, OCTET_STREAM, REQUEST_ID};
use crate::wall;

/// A request that failed at the other end is made again after this long.
const RETRY: Duration = Duration::from_millis(500);
/// A peer that can be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpUplink {
    /// The peer's name in the pool.
    pub peer: String,
    /// `http://` or `https://`: where its packets go.
    pub url: String,
    /// What proves to it who we are.
    pub token: String,
    /// How it answers.
    #[serde(default)]
    pub mode: HttpMode,
}

/// Where the answer to a prepare comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpMode {
    /// In the response.
    #[default]
    Sync,
    /// In a request to our own URL.
    Async,
}

/// What a call brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Called {
    /// The answer.
    Answer(Vec<u8>),
    /// It comes later.
    Later,
    /// Nothing that is an answer, for this reason.
    Nothing(&'static str),
    /// The peer was not there, or said that it is in trouble.
    Failed,
}

/// A way to one peer.
#[derive(Debug)]
pub(super) struct Way {
    client: Client,
    url: Url,
    token: String,
    /// Where it sends answers; `None` when they come in the response.
    callback: Option<String>,
}

impl Way {
    pub(super) fn new(uplink: HttpUplink, own_url: Option<&str>) -> Result<Self, String> {
        let url = Url::parse(&uplink.url).map_err(|error| error.to_string())?;
        let callback = match uplink.mode {
            HttpMode::Sync => None,
            HttpMode::Async => Some(own_url.ok_or("mode async needs http_url")?.to_owned()),
        };
        let client = Client::builder().redirect(reqwest::redirect::Policy::none());
        Ok(Self {
            client: client.build().map_err(|error| error.to_string())?,
            url,
            token: uplink.token,
            callback,
        })
    }

    /// Whether answers come by requests to us.
    pub(super) fn is_async(&self) -> bool {
        self.callback.is_some()
    }

    /// A URL named by the peer, if it is on the very server that it is called at: anything else would let a peer send us
    /// anywhere in our own network.
    pub(super) fn callback(&self, named: &str) -> Option<Url> {
        let url = Url::parse(named).ok()?;
        (url.origin() == self.url.origin()).then_some(url)
    }

    /// Sends a prepare; tried again until it expires where the peer tells repetitions by the request's id.
    pub(super) async fn prepare(
        &self,
        request_id: &str,
        packet: &[u8],
        expires_at: Timestamp,
    ) -> Called {
        loop {
            let called = self
                .post(self.url.clone(), request_id, packet, expires_at)
                .await;
            if called != Called::Failed || !self.is_async() {
                return called;
            }
            if left(expires_at) <= RETRY {
                return called;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Sends the answer to a prepare of the peer, again and again until it is taken or the prepare has expired.
    pub(super) async fn answer(
        &self,
        url: Url,
        request_id: &str,
        packet: &[u8],
        expires_at: Timestamp,
    ) {
        loop {
            let called = self.post(url.clone(), request_id, packet, expires_at).await;
            if called != Called::Failed || left(expires_at) <= RETRY {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn post(
        &self,
        url: Url,
        request_id: &str,
        packet: &[u8],
        expires_at: Timestamp,
    ) -> Called {
        let mut request = self
            .client
            .post(url)
            .timeout(left(expires_at))
            .header(header::CONTENT_TYPE, OCTET_STREAM)
            .header(header::ACCEPT, OCTET_STREAM)
            .header(REQUEST_ID, request_id)
            .bearer_auth(&self.token)
            .body(packet.to_vec());
        let is_prepare = PacketType::of(packet) == Some(PacketType::Prepare);
        if let Some(callback) = self.callback.as_ref().filter(|_| is_prepare) {
            request = request
                .header(CALLBACK_URL, callback)
                .header("prefer", "respond-async");
        }
        match request.send().await {
            Ok(response) => read(response).await,
            Err(_) => Called::Failed,
        }
    }
}

async fn read(mut response: reqwest::Response) -> Called {
    match response.status() {
        StatusCode::ACCEPTED | StatusCode::NO_CONTENT => return Called::Later,
        status if status.is_server_error() => return Called::Failed,
        status if status.is_success() => {}
        _ => return Called::Nothing("the peer refused the request"),
    }
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= BODY_MAX => {
                body.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => return Called::Nothing("the peer's answer is too long"),
            Ok(None) if body.is_empty() => return Called::Later,
            Ok(None) => return Called::Answer(body),
            Err(_) => return Called::Failed,
        }
    }
}

fn left(expires_at: Timestamp) -> Duration {
    Duration::from_millis(expires_at.since(wall::now()).value())
}
