//! ILP over HTTP (RFC 35): one packet a request. A peer that speaks it has a line instead of a link.

mod line;
mod server;
mod way;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forebay_quantity::PeerId;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::link::{PeerFacts, Shared};
use line::Arrival;
pub(crate) use server::serve;
use way::Way;
pub use way::{HttpMode, HttpUplink};

/// What RFC 35 asks for and what we send.
const OCTET_STREAM: &str = "application/octet-stream";
/// What npm's `ilp-plugin-http` sends instead.
const ILP_OCTET_STREAM: &str = "application/ilp+octet-stream";
/// Pairs a prepare with an answer that comes as a request of its own.
const REQUEST_ID: &str = "request-id";
/// Where such an answer goes.
const CALLBACK_URL: &str = "callback-url";
/// Bytes of a body that are read: the longest ILP packet is less than 34,000.
const BODY_MAX: usize = 40_960;
/// How often it is seen to that peers which we can call have a line.
const KEEP_EVERY: Duration = Duration::from_secs(5);

/// All lines, and the ways to those peers that can be called.
pub(crate) struct Lines {
    shared: Arc<Shared>,
    ways: HashMap<String, Arc<Way>>,
    open: Mutex<HashMap<PeerId, mpsc::Sender<Arrival>>>,
}

impl Lines {
    /// Prepares the ways; `own_url` is where answers to us may be sent.
    pub(crate) fn new(
        shared: Arc<Shared>,
        uplinks: Vec<HttpUplink>,
        own_url: Option<&str>,
    ) -> Arc<Self> {
        let ways = uplinks.into_iter().filter_map(|uplink| {
            let peer = uplink.peer.clone();
            match Way::new(uplink, own_url) {
                Ok(way) => Some((peer, Arc::new(way))),
                Err(why) => {
                    warn!(%peer, "this peer cannot be called by HTTP: {why}");
                    None
                }
            }
        });
        Arc::new(Self {
            ways: ways.collect(),
            shared,
            open: Mutex::default(),
        })
    }

    /// The line of a peer, opened if there is none.
    fn line(&self, facts: &Arc<PeerFacts>) -> mpsc::Sender<Arrival> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = open.get(&facts.peer).filter(|line| !line.is_closed()) {
            return line.clone();
        }
        let way = self.ways.get(&facts.name).cloned();
        let line = line::open(Arc::clone(&self.shared), Arc::clone(facts), way);
        open.insert(facts.peer, line.clone());
        line
    }
}

/// Keeps a line open to every peer that can be called, until `stop` changes.
pub(crate) async fn keep_lines(lines: Arc<Lines>, mut stop: watch::Receiver<bool>) {
    loop {
        for name in lines.ways.keys() {
            let wanted = name.clone();
            let query = move |state: &forebay_pool::State| state.peer_named(&wanted);
            let peer = lines.shared.core.query(query).await;
            let facts = peer
                .ok()
                .flatten()
                .and_then(|peer| lines.shared.directory.peer(peer));
            match facts {
                Some(facts) => drop(lines.line(&facts)),
                None => warn!(peer = %name, "not called by HTTP: no such peer"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(KEEP_EVERY) => {}
            _ = stop.changed() => return,
        }
    }
}
