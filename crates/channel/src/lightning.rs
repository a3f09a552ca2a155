//! What names a party on Lightning, and what it signs to prove that an account is its own.

use alloc::format;
use alloc::string::String;
use core::fmt::{Debug, Display, Formatter};

use borsh::{BorshDeserialize, BorshSerialize};

/// A Lightning node: its compressed public key on secp256k1 (BOLT 1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct NodeId(pub [u8; 33]);

impl Display for NodeId {
    fn fmt(&self, f: &mut Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Debug for NodeId {
    fn fmt(&self, f: &mut Formatter<'_>) -> core::fmt::Result {
        Display::fmt(self, f)
    }
}

/// The text that a peer's node signs to say that it settles for the account with this ILP address: bound to the account, so
/// that no other account can name the same node, and to the pool's own node.
#[must_use]
pub fn node_claim(account: &str, pool: NodeId) -> String {
    format!("forebay lightning account v1 {account} at {pool}")
}
