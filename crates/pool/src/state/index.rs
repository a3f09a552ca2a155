//! Live peers by name and by token: look-ups that hold numbers alone, and read the rest where the peers are.

use core::hash::Hasher;

use forebay_quantity::{Hash32, PeerId};
use hashbrown::HashTable;

use super::peer::Peer;
use crate::hash::FixedHasher;

/// Rebuilt from the peers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    names: HashTable<PeerId>,
    tokens: HashTable<PeerId>,
}

impl Index {
    /// The live peer with this address segment.
    pub(crate) fn named(&self, peers: &[Peer], name: &[u8]) -> Option<PeerId> {
        let is_its = |peer: &PeerId| of(peers, *peer).name.as_bytes() == name;
        self.names.find(hash_of_name(name), is_its).copied()
    }

    /// Whether a live peer has this token.
    pub(crate) fn has_token(&self, peers: &[Peer], token_hash: &Hash32) -> bool {
        let is_its = |peer: &PeerId| of(peers, *peer).token_hash == *token_hash;
        self.tokens
            .find(hash_of_token(token_hash), is_its)
            .is_some()
    }

    /// Takes in a peer that is among `peers` already.
    pub(crate) fn insert(&mut self, peers: &[Peer], peer: PeerId) {
        let name = |peer: &PeerId| hash_of_name(of(peers, *peer).name.as_bytes());
        let token = |peer: &PeerId| hash_of_token(&of(peers, *peer).token_hash);
        self.names.insert_unique(name(&peer), peer, name);
        self.tokens.insert_unique(token(&peer), peer, token);
    }

    /// Forgets a peer, if it is known.
    pub(crate) fn remove(&mut self, peers: &[Peer], peer: PeerId) {
        let account = of(peers, peer);
        let name = hash_of_name(account.name.as_bytes());
        if let Ok(found) = self.names.find_entry(name, |other| *other == peer) {
            found.remove();
        }
        let token = hash_of_token(&account.token_hash);
        if let Ok(found) = self.tokens.find_entry(token, |other| *other == peer) {
            found.remove();
        }
    }

    pub(crate) fn rebuild(&mut self, peers: &[Peer]) {
        *self = Self::default();
        for (peer, account) in (0u32..).map(PeerId).zip(peers) {
            if !account.removed {
                self.insert(peers, peer);
            }
        }
    }
}

fn of(peers: &[Peer], peer: PeerId) -> &Peer {
    &peers[peer.0 as usize]
}

fn hash_of_name(name: &[u8]) -> u64 {
    let mut hasher = FixedHasher::default();
    hasher.write(name);
    hasher.finish()
}

/// A SHA-256 is spread evenly already.
fn hash_of_token(token_hash: &Hash32) -> u64 {
    let first = token_hash.0.first_chunk().expect("32 bytes begin with 8");
    u64::from_le_bytes(*first)
}
