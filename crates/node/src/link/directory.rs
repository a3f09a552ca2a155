//! What links need to know of peers, copied from the state whenever the operator changed it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use forebay_channel::Domain;
use forebay_pool::State;
use forebay_quantity::{Hash32, PeerId};
use sha2::{Digest, Sha256};

/// What never changes about a peer.
#[derive(Debug)]
pub(crate) struct PeerFacts {
    pub(crate) peer: PeerId,
    pub(crate) name: String,
    /// Its ILP address.
    pub(crate) address: String,
    pub(crate) asset_code: String,
    pub(crate) asset_scale: u8,
    /// What its vouchers and ours are signed for.
    pub(crate) domain: Domain,
    token_hash: Hash32,
}

#[derive(Debug, Default)]
struct Entries {
    peers: Vec<Option<Arc<PeerFacts>>>,
    by_token: HashMap<[u8; 32], PeerId>,
    operator: Arc<str>,
}

/// Peers by number and by token.
#[derive(Debug, Default)]
pub(crate) struct Directory(RwLock<Entries>);

impl Directory {
    /// Takes in new peers and drops removed ones.
    pub(crate) fn follow(&self, state: &State) {
        let Some(genesis) = state.genesis() else {
            return;
        };
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        entries.operator = genesis.operator.as_str().into();
        let known = entries.peers.len();
        for (peer, account) in state.peers().skip(known) {
            let asset = state
                .asset(account.asset)
                .expect("a peer's asset is listed");
            let facts = PeerFacts {
                peer,
                name: account.name.clone(),
                address: format!("{}.{}", genesis.operator, account.name),
                asset_code: asset.definition.code.clone(),
                asset_scale: asset.definition.scale,
                domain: Domain::new(asset.definition.chain_id, asset.definition.vault),
                token_hash: account.token_hash,
            };
            entries.by_token.insert(account.token_hash.0, peer);
            entries.peers.push(Some(Arc::new(facts)));
        }
        for (peer, account) in state.peers() {
            if account.removed && entries.peers[peer.0 as usize].take().is_some() {
                entries.by_token.remove(&account.token_hash.0);
            }
        }
    }

    pub(crate) fn peer(&self, peer: PeerId) -> Option<Arc<PeerFacts>> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        entries.peers.get(peer.0 as usize)?.clone()
    }

    /// The operator's ILP address; empty before the pool is founded.
    pub(crate) fn operator(&self) -> Arc<str> {
        Arc::clone(
            &self
                .0
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .operator,
        )
    }

    /// The peer that knows this token. A name, where one is given, must be the peer's.
    pub(crate) fn admit(&self, name: Option<&str>, token: &str) -> Option<Arc<PeerFacts>> {
        // Looked up by the token's hash, of which a response time tells nothing that helps to find the token.
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let peer = *self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .by_token
            .get(&hash)?;
        let facts = self.peer(peer)?;
        let is_named = name.is_none_or(|name| name.is_empty() || name == facts.name);
        (is_named && equal_in_constant_time(&facts.token_hash.0, &hash)).then_some(facts)
    }
}

fn equal_in_constant_time(left: &[u8; 32], right: &[u8; 32]) -> bool {
    let difference = left
        .iter()
        .zip(right)
        .fold(0, |all, (left, right)| all | (left ^ right));
    std::hint::black_box(difference) == 0
}
