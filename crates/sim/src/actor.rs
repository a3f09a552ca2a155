//! A peer as the world plays it: its keys, what it sent, what it holds.

use std::collections::{BTreeMap, BTreeSet};

use forebay_channel::{Address, NodeId, PacketName, Signature};
use forebay_quantity::{AssetId, PeerId};

/// A packet it sent and has no final answer to.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) expires_at: u64,
    pub(crate) condition: [u8; 32],
}

#[derive(Debug, Clone)]
pub(crate) struct Actor {
    pub(crate) id: PeerId,
    pub(crate) name: String,
    pub(crate) asset: AssetId,
    pub(crate) factor: u128,
    pub(crate) signer: Address,
    pub(crate) payout: Address,
    /// Signers it had before.
    pub(crate) former: Vec<Address>,
    pub(crate) sends: bool,
    pub(crate) receives: bool,
    pub(crate) next_request: u32,
    pub(crate) sent: BTreeMap<u32, Sent>,
    /// Answered one way or the other; `true` for fulfilled.
    pub(crate) answered: BTreeMap<u32, bool>,
    /// Best voucher from the pool, by serial.
    pub(crate) vouchers: BTreeMap<u64, (u128, Signature)>,
    /// Highest voucher it gave, by serial.
    pub(crate) given: BTreeMap<u64, u128>,
    pub(crate) removed: bool,
    /// Who settles for it over Lightning; none on a vault.
    pub(crate) node: Option<NodeId>,
    /// Its numbers for settlements by which it pays.
    pub(crate) next_settlement: u64,
    /// Packets of the pool that came.
    pub(crate) came: BTreeSet<PacketName>,
    /// Packets of the pool of which it said that they never came.
    pub(crate) disowned: BTreeSet<PacketName>,
}

impl Actor {
    /// The pool's answer reached it; it must be the only one, and right.
    pub(crate) fn fulfilled(&mut self, request: u32, hash: [u8; 32]) {
        assert_ne!(
            self.answered.get(&request),
            Some(&false),
            "[I3] request {request} of {} was rejected and is fulfilled",
            self.name
        );
        if let Some(sent) = self.sent.remove(&request) {
            assert_eq!(hash, sent.condition, "[I8] a fulfil without the preimage");
            self.answered.insert(request, true);
        }
    }

    /// A packet of the pool reached it.
    pub(crate) fn came(&mut self, name: PacketName) {
        assert!(
            !self.disowned.contains(&name),
            "[I3] packet {} comes to {} after it was rejected as lost",
            name.packet,
            self.name
        );
        self.came.insert(name);
    }

    pub(crate) fn rejected(&mut self, request: u32) {
        assert_ne!(
            self.answered.get(&request),
            Some(&true),
            "[I3] request {request} of {} was fulfilled and is rejected",
            self.name
        );
        if self.sent.remove(&request).is_some() {
            self.answered.insert(request, false);
        }
    }
}
