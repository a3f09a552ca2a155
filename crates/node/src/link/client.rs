//! The BTP client: keeps a link to a peer that we dial.

use std::sync::Arc;
use std::time::Duration;

use forebay_ilp::btp::RequestId;
use forebay_ilp::{Link, LinkEvent};
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tracing::{info, warn};

use super::server::{Shared, run_link};
use crate::socket::{self, Socket};

const AUTH_MAX: Duration = Duration::from_secs(10);
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A link that lasted this long makes the next pause the first one again.
const LASTED: Duration = Duration::from_secs(60);

/// A peer that we dial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    /// The peer's name in the pool.
    pub peer: String,
    /// `ws://` or `wss://`.
    pub url: String,
    /// What we call ourselves there, if the peer wants a name.
    #[serde(default)]
    pub username: Option<String>,
    /// What proves it.
    pub token: String,
}

/// Dials again and again, with growing pauses, until `stop` changes.
pub(crate) async fn keep_dialled(
    uplink: Uplink,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let mut pause = PAUSE_FIRST;
    loop {
        let began = tokio::time::Instant::now();
        tokio::select! {
            () = one_link(&uplink, &shared) => {}
            _ = stop.changed() => return,
        }
        pause = if began.elapsed() >= LASTED {
            PAUSE_FIRST
        } else {
            (pause * 2).min(PAUSE_MAX)
        };
        tokio::select! {
            () = sleep(pause) => {}
            _ = stop.changed() => return,
        }
    }
}

async fn one_link(uplink: &Uplink, shared: &Arc<Shared>) {
    let facts = shared.core.query({
        let name = uplink.peer.clone();
        move |state| state.peer_named(&name)
    });
    let Some(facts) = facts
        .await
        .ok()
        .flatten()
        .and_then(|peer| shared.directory.peer(peer))
    else {
        warn!(peer = %uplink.peer, "not dialled: no such peer");
        return;
    };
    match timeout(AUTH_MAX, dial(uplink)).await {
        Ok(Ok((socket, link))) => run_link(socket, link, facts, Arc::clone(shared)).await,
        Ok(Err(why)) => info!(peer = %uplink.peer, url = %uplink.url, "not connected: {why}"),
        Err(_) => info!(peer = %uplink.peer, url = %uplink.url, "not connected: no answer in time"),
    }
}

async fn dial(uplink: &Uplink) -> Result<(Socket, Link), String> {
    let mut socket = socket::dial(&uplink.url)
        .await
        .map_err(|fault| fault.to_string())?;
    let mut link = Link::client();
    let mut frame = Vec::new();
    link.start(
        &mut frame,
        RequestId(u32::MAX),
        uplink.username.as_deref(),
        &uplink.token,
    );
    socket
        .send(Message::Binary(frame.into()))
        .await
        .map_err(|error| error.to_string())?;
    loop {
        let message = socket
            .next()
            .await
            .ok_or("the peer closed the connection")?;
        let Message::Binary(bytes) = message.map_err(|error| error.to_string())? else {
            continue;
        };
        match link.receive(&bytes) {
            Ok(LinkEvent::Authenticated) => return Ok((socket, link)),
            Ok(LinkEvent::AuthRefused(error)) => {
                return Err(format!(
                    "the peer refused us: {}",
                    String::from_utf8_lossy(error.data)
                ));
            }
            Ok(_) | Err(_) => return Err("the peer did not answer the auth message".into()),
        }
    }
}
