//! The interface by HTTP: JSON behind bearer tokens, the live feed, figures, and the dashboard.

mod alarms;
mod answers;
mod bitcoin;
mod claims;
mod events;
mod limit;
mod lps;
mod metrics;
mod page;
mod problem;
mod read;
mod relation;
mod request;
mod reserve;
mod route;
mod tokens;
mod web;
mod write;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_quantity::Amount;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tracing::warn;

use crate::chain::Chains;
use crate::core::{CoreHandle, Figures};
use crate::feed::Feed;
use crate::history::History;
use crate::lightning::Lightning;
use answers::Answers;
use events::READERS_MAX;
use limit::{Bucket, OF_STRANGERS};
use request::RequestIds;
use route::Asks;
pub(crate) use tokens::{Tokens, random};

/// Connections at a time: the operator's own programs, what reads along, and a proxy's.
const CONNECTIONS_MAX: usize = 256;
/// A request's head that takes longer is given up.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// Gas money known this lately is not asked for again.
const GAS_AGE_MAX: Duration = Duration::from_secs(5);
/// A chain that takes longer is not waited for.
const GAS_TIME_MAX: Duration = Duration::from_secs(3);

/// By chain: what the operator has, and what of it is set aside.
type Gas = Vec<(u64, Amount, Amount)>;

/// What an interface is made of.
pub(crate) struct OfficeParts {
    pub(crate) core: CoreHandle,
    pub(crate) figures: Arc<Figures>,
    pub(crate) chains: Arc<Chains>,
    pub(crate) lightning: Option<Arc<Lightning>>,
    pub(crate) tokens: Tokens,
    pub(crate) feed: Arc<Feed>,
    pub(crate) history: Arc<History>,
    pub(crate) btp: String,
    pub(crate) stop: watch::Receiver<bool>,
}

/// What requests are answered from.
pub(crate) struct Office {
    core: CoreHandle,
    figures: Arc<Figures>,
    chains: Arc<Chains>,
    lightning: Option<Arc<Lightning>>,
    tokens: Tokens,
    feed: Arc<Feed>,
    history: Arc<History>,
    btp: String,
    stop: watch::Receiver<bool>,
    answers: Answers,
    strangers: Bucket,
    /// Places for streams of events.
    readers: Arc<Semaphore>,
    ids: RequestIds,
    asks: Asks,
    began: Instant,
    gas: tokio::sync::Mutex<Option<(Instant, Gas)>>,
}

impl Office {
    pub(crate) fn new(parts: OfficeParts) -> Self {
        Self {
            core: parts.core,
            figures: parts.figures,
            chains: parts.chains,
            lightning: parts.lightning,
            tokens: parts.tokens,
            feed: parts.feed,
            history: parts.history,
            btp: parts.btp,
            stop: parts.stop,
            answers: Answers::default(),
            strangers: Bucket::new(OF_STRANGERS),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            ids: RequestIds::default(),
            asks: Asks::default(),
            began: Instant::now(),
            gas: tokio::sync::Mutex::new(None),
        }
    }
}

impl Office {
    /// Gas money and what of it is set aside, by chain: not asked of the chains more often than needed.
    async fn gas(&self) -> Gas {
        let mut known = self.gas.lock().await;
        if let Some((at, gas)) = known.as_ref()
            && at.elapsed() < GAS_AGE_MAX
        {
            return gas.clone();
        }
        let asked = tokio::time::timeout(GAS_TIME_MAX, self.chains.gas()).await;
        // A chain that does not answer shows in the log; what was known last is better than nothing.
        let gas = asked.unwrap_or_else(|_| known.take().map(|(_, gas)| gas).unwrap_or_default());
        *known = Some((Instant::now(), gas.clone()));
        gas
    }
}

/// Serves until `stop` changes.
pub(crate) async fn serve(
    listener: TcpListener,
    office: Arc<Office>,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        let (Ok((stream, _)), Ok(place)) = (accepted, Arc::clone(&places).try_acquire_owned())
        else {
            warn!("a connection to the interface was turned away");
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let office = Arc::clone(&office);
        tokio::spawn(async move {
            converse(stream, office).await;
            drop(place);
        });
    }
}

async fn converse(stream: TcpStream, office: Arc<Office>) {
    let service = service_fn(move |request| {
        let office = Arc::clone(&office);
        async move { Ok::<_, Infallible>(request::answer(&office, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // A broken connection concerns only its other end.
    let _ = connection.await;
}
