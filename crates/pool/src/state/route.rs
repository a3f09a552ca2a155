//! Where packets go: peers' own addresses first, then prefixes, longest first, on whole segments. Of two equal ones the
//! operator's counts before the one learned from a neighbour.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::PeerId;

use crate::hash::LookupMap;

/// The routing table.
#[derive(Debug, Clone, Default, BorshSerialize, BorshDeserialize)]
pub(crate) struct Routes {
    operator: String,
    fixed: BTreeMap<String, PeerId>,
    #[borsh(skip)]
    prefixes: LookupMap<Vec<u8>, PeerId>,
    /// Told by neighbours: no fact of the journal, so no part of the state's bytes. Ordered, since strangers choose the keys.
    #[borsh(skip)]
    learned: BTreeMap<Vec<u8>, PeerId>,
}

impl Routes {
    pub(crate) fn found(&mut self, operator: &str) {
        self.operator = operator.into();
    }

    pub(crate) fn fixed(&self, prefix: &str) -> Option<PeerId> {
        self.fixed.get(prefix).copied()
    }

    pub(crate) fn fixed_len(&self) -> usize {
        self.fixed.len()
    }

    pub(crate) fn configured(&self) -> impl Iterator<Item = (&str, PeerId)> {
        let fixed = self.fixed.iter();
        fixed.map(|(prefix, peer)| (prefix.as_str(), *peer))
    }

    pub(crate) fn learned(&self) -> impl Iterator<Item = (&[u8], PeerId)> {
        let learned = self.learned.iter();
        learned.map(|(prefix, peer)| (&prefix[..], *peer))
    }

    pub(crate) fn add(&mut self, prefix: &str, peer: PeerId) {
        self.fixed.insert(prefix.into(), peer);
        self.prefixes.insert(prefix.as_bytes().to_vec(), peer);
    }

    pub(crate) fn remove(&mut self, prefix: &str) {
        self.fixed.remove(prefix);
        self.prefixes.remove(prefix.as_bytes());
    }

    pub(crate) fn remove_peer(&mut self, peer: PeerId) {
        self.fixed.retain(|_, hop| *hop != peer);
        self.prefixes.retain(|_, hop| *hop != peer);
        self.learned.retain(|_, hop| *hop != peer);
    }

    pub(crate) fn learn(&mut self, prefix: Vec<u8>, hop: Option<PeerId>) {
        match hop {
            Some(hop) => self.learned.insert(prefix, hop),
            None => self.learned.remove(&prefix),
        };
    }

    /// The next hop towards a destination; `child` finds a peer by its name.
    pub(crate) fn find(
        &self,
        destination: &[u8],
        child: impl FnOnce(&[u8]) -> Option<PeerId>,
    ) -> Option<PeerId> {
        // Nobody but us is there, and a neighbour would only send it back.
        if destination == self.operator.as_bytes() {
            return None;
        }
        if let Some(below) = self.below_operator(destination) {
            let end = below
                .iter()
                .position(|&byte| byte == b'.')
                .unwrap_or(below.len());
            return child(&below[..end]);
        }
        let mut prefix = destination;
        loop {
            let known = self.prefixes.get(prefix);
            if let Some(peer) = known.or_else(|| self.learned.get(prefix)) {
                return Some(*peer);
            }
            let dot = prefix.iter().rposition(|&byte| byte == b'.')?;
            prefix = &prefix[..dot];
        }
    }

    pub(crate) fn rebuild(&mut self) {
        self.prefixes = self
            .fixed
            .iter()
            .map(|(prefix, peer)| (prefix.as_bytes().to_vec(), *peer))
            .collect();
    }

    fn below_operator<'a>(&self, destination: &'a [u8]) -> Option<&'a [u8]> {
        destination
            .strip_prefix(self.operator.as_bytes())?
            .strip_prefix(b".")
    }
}
