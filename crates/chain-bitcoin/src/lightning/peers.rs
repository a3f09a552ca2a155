//! Connections: those that come, and those that are to be kept up.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lightning::ln::msgs::SocketAddress;
use tokio::net::{TcpListener, TcpStream};

use super::channel::public_key;
use super::node::{Inner, LightningNode};
use super::observation::NodeId;
use crate::Fault;

/// How long a connection, with its handshake, may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// The first pause before a lost connection is tried again; doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A peer whose connection is to be kept up.
pub(crate) struct Wanted {
    address: SocketAddr,
    pause: Duration,
    next_try: Instant,
}

pub(crate) type WantedPeers = BTreeMap<NodeId, Wanted>;

impl LightningNode {
    /// Connects to a peer, and keeps connecting whenever the connection is lost.
    ///
    /// # Errors
    ///
    /// [`Fault::PeerOffline`] when it does not answer now; it is tried again all the same. [`Fault::Stopped`].
    pub async fn connect(&self, peer: NodeId, address: SocketAddr) -> Result<(), Fault> {
        public_key(&peer)?;
        if self.inner.has_ended() {
            return Err(Fault::Stopped);
        }
        let wanted = Wanted {
            address,
            pause: PAUSE_MIN,
            next_try: Instant::now() + CONNECT_PATIENCE,
        };
        self.inner.lock_wanted().insert(peer, wanted);
        if self.inner.is_connected(&peer)? || self.inner.connect_once(peer, address).await {
            return Ok(());
        }
        Err(Fault::PeerOffline)
    }

    /// Ends the connection to a peer, and does not connect again by itself.
    ///
    /// # Errors
    ///
    /// [`Fault::BadNodeId`].
    pub fn disconnect(&self, peer: NodeId) -> Result<(), Fault> {
        self.inner.lock_wanted().remove(&peer);
        self.inner.peers.disconnect_by_node_id(public_key(&peer)?);
        Ok(())
    }

    /// The peers that are connected now.
    #[must_use]
    pub fn connected(&self) -> Vec<NodeId> {
        let peers = self.inner.peers.list_peers();
        peers
            .iter()
            .map(|p| p.counterparty_node_id.serialize())
            .collect()
    }
}

impl Inner {
    fn is_connected(&self, peer: &NodeId) -> Result<bool, Fault> {
        Ok(self.peers.peer_by_node_id(&public_key(peer)?).is_some())
    }

    /// Whether the peer answered, with the right key.
    async fn connect_once(&self, peer: NodeId, address: SocketAddr) -> bool {
        let Ok(key) = public_key(&peer) else {
            return false;
        };
        let stream = tokio::time::timeout(CONNECT_PATIENCE, TcpStream::connect(address)).await;
        let Ok(Ok(stream)) = stream else {
            return false;
        };
        // Its messages are small and each is waited for.
        let Ok(stream) = stream.set_nodelay(true).and_then(|()| stream.into_std()) else {
            return false;
        };
        let gone = lightning_net_tokio::setup_outbound(Arc::clone(&self.peers), key, stream);
        let shaken = async {
            while self.peers.peer_by_node_id(&key).is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let is_up = tokio::select! {
            () = gone => false,
            () = tokio::time::sleep(CONNECT_PATIENCE) => false,
            () = shaken => true,
            () = self.ending() => false,
        };
        // A connection that was being made while the node ended would keep its store in use.
        if self.has_ended() {
            self.peers.disconnect_all_peers();
            return false;
        }
        is_up
    }

    async fn ending(&self) {
        let mut ended = self.ended.subscribe();
        // Its sender is here, so that it cannot fail.
        let _ended = ended.wait_for(|ended| *ended).await;
    }
}

/// Listens for peers.
///
/// # Errors
///
/// [`Fault::Listen`] when the address cannot be had.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, Fault> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Fault::Listen { address, source })
}

/// Takes connections until the node ends.
pub(crate) async fn accept(inner: Arc<Inner>, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE_MIN).await;
            continue;
        };
        let Ok(stream) = stream.set_nodelay(true).and_then(|()| stream.into_std()) else {
            continue;
        };
        let served = lightning_net_tokio::setup_inbound(Arc::clone(&inner.peers), stream);
        tokio::spawn(served);
    }
}

/// Connects again to those that are wanted and not there.
pub(crate) async fn keep_connected(inner: Arc<Inner>) {
    loop {
        tokio::time::sleep(PAUSE_MIN).await;
        for (peer, address) in inner.due_peers() {
            let inner = Arc::clone(&inner);
            tokio::spawn(async move { inner.connect_once(peer, address).await });
        }
    }
}

impl Inner {
    fn due_peers(&self) -> Vec<(NodeId, SocketAddr)> {
        let mut due = Vec::new();
        let now = Instant::now();
        for (peer, wanted) in self.lock_wanted().iter_mut() {
            if self.is_connected(peer).unwrap_or(true) {
                wanted.pause = PAUSE_MIN;
                wanted.next_try = now;
            } else if wanted.next_try <= now {
                due.push((*peer, wanted.address));
                wanted.next_try = now + wanted.pause;
                wanted.pause = wanted.pause.saturating_mul(2).min(PAUSE_MAX);
            }
        }
        due
    }

    /// Tells the network our name and where to find us, once public channels exist.
    pub(crate) fn announce(&self) {
        let mut alias = [0; 32];
        for (to, from) in alias.iter_mut().zip(self.alias.bytes()) {
            *to = from;
        }
        let addresses = self.announced.iter().copied().map(SocketAddress::from);
        self.peers
            .broadcast_node_announcement([0; 3], alias, addresses.collect());
    }
}
