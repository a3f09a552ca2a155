//! The BTP server: accepts connections, authenticates them, and runs a link for each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use forebay_ilp::{Link, LinkEvent};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tracing::{debug, info, warn};

use super::directory::{Directory, PeerFacts};
use super::frames::{LinkId, out_queue};
use super::session::{Closed, Session};
use super::speech::Speech;
use crate::core::{CoreHandle, Figures, Input};
use crate::lightning::Lightning;
use crate::socket::{self, Socket};
use crate::wall;
use crate::witness::Heard;

/// After a failed accept, usually for want of file descriptors, the server waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all links share.
pub(crate) struct Shared {
    pub(crate) core: CoreHandle,
    pub(crate) directory: Arc<Directory>,
    pub(crate) figures: Arc<Figures>,
    /// Where answers of peers that are witnesses go.
    pub(crate) heard: Heard,
    /// Our Lightning node, if there is one.
    pub(crate) lightning: Option<Arc<Lightning>>,
    next_link: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        core: CoreHandle,
        directory: Arc<Directory>,
        figures: Arc<Figures>,
        heard: Heard,
        lightning: Option<Arc<Lightning>>,
    ) -> Self {
        Self {
            core,
            directory,
            figures,
            heard,
            lightning,
            next_link: AtomicU64::new(0),
        }
    }

    pub(crate) fn next_link(&self) -> LinkId {
        LinkId(self.next_link.fetch_add(1, Ordering::Relaxed))
    }
}

/// Accepts connections until `stop` changes. At most `guests_max` at a time have not authenticated yet: one more shows
/// out the oldest, so that idle connections keep nobody out. Authenticated ones are bounded by the accounts, one each.
pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    guests_max: usize,
    auth_max: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let mut guests = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        make_room(&mut guests, guests_max);
        let guest = tokio::spawn(guest(stream, Arc::clone(&shared), auth_max));
        guests.push_back(guest.abort_handle());
    }
}

fn make_room(guests: &mut VecDeque<AbortHandle>, guests_max: usize) {
    if guests.len() < guests_max {
        return;
    }
    guests.retain(|guest| !guest.is_finished());
    if guests.len() < guests_max {
        return;
    }
    if let Some(oldest) = guests.pop_front() {
        debug!("the oldest of {guests_max} connections that did not authenticate is shown out");
        oldest.abort();
    }
}

async fn guest(stream: TcpStream, shared: Arc<Shared>, auth_max: Duration) {
    match timeout(auth_max, welcome(stream, &shared)).await {
        // In a task of its own: a guest can be shown out, a peer cannot.
        Ok(Some((socket, link, facts))) => {
            drop(tokio::spawn(run_link(socket, link, facts, shared)));
        }
        Ok(None) | Err(_) => debug!("a connection came to nothing before it was authenticated"),
    }
}

/// Handshake and authentication.
async fn welcome(stream: TcpStream, shared: &Shared) -> Option<(Socket, Link, Arc<PeerFacts>)> {
    let (mut socket, path) = socket::accept(stream).await.ok()?;
    let mut link = Link::server();
    let bytes = loop {
        match socket.next().await?.ok()? {
            Message::Binary(bytes) => break bytes,
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Text(_) | Message::Close(_) | Message::Frame(_) => return None,
        }
    };
    let LinkEvent::AuthRequested { username, token } = link.receive(&bytes).ok()? else {
        return None;
    };
    let named = username
        .filter(|name| !name.is_empty())
        .or_else(|| name_in_path(&path));
    let admitted = shared.directory.admit(named, token);
    let mut answer = Vec::new();
    match &admitted {
        Some(_) => link.accept(&mut answer),
        None => link
            .refuse(&mut answer, wall::now(), "unknown account or wrong token")
            .ok()?,
    }
    socket.send(Message::Binary(answer.into())).await.ok()?;
    match admitted {
        Some(facts) => Some((socket, link, facts)),
        None => {
            info!("a connection with an unknown account or a wrong token was refused");
            // It is being closed either way.
            let _ = socket.close(None).await;
            None
        }
    }
}

/// The account in a path of the form that interledger-rs dials: `/accounts/<name>/ilp/btp`.
fn name_in_path(path: &str) -> Option<&str> {
    path.strip_prefix("/accounts/")?.strip_suffix("/ilp/btp")
}

/// Runs an authenticated link to its end.
pub(crate) async fn run_link(
    socket: Socket,
    link: Link,
    facts: Arc<PeerFacts>,
    shared: Arc<Shared>,
) {
    let (sender, receiver) = out_queue();
    let id = shared.next_link();
    let peer = facts.peer;
    let speech = Speech::new(Arc::clone(&facts), Arc::clone(&shared), sender.downgrade());
    let session = Session::new(
        socket,
        link.clone(),
        Arc::clone(&facts),
        Arc::clone(&shared),
        speech,
        receiver,
    );
    let up = Input::LinkUp {
        peer,
        link: id,
        dialect: link.dialect(),
        out: sender,
    };
    if shared.core.give(up).is_err() {
        return;
    }
    info!(peer = %facts.name, "link open");
    let closed = session.run().await;
    // Without a core there is nobody to tell.
    let _ = shared.core.give(Input::LinkDown { peer, link: id });
    match closed {
        Closed::Broken => warn!(peer = %facts.name, "link closed: the peer broke the protocol"),
        Closed::ByPeer | Closed::Dropped | Closed::Silent => {
            info!(peer = %facts.name, ?closed, "link closed")
        }
    }
}
