//! Texts signed by a node's key, as Lightning nodes sign them for people (zbase32 of a recoverable signature).

use bitcoin::secp256k1::PublicKey;
use lightning::sign::NodeSigner;
use lightning::util::message_signing;

use super::node::LightningNode;
use super::observation::NodeId;

impl LightningNode {
    /// Signs a text with the node's key.
    #[must_use]
    pub fn sign_message(&self, text: &str) -> String {
        let signed = self.inner.keys.sign_message(text.as_bytes());
        signed.expect("a key in this process signs every text")
    }
}

/// Whether a node signed a text.
#[must_use]
pub fn verify_message(text: &str, signature: &str, node: NodeId) -> bool {
    PublicKey::from_slice(&node)
        .is_ok_and(|key| message_signing::verify(text.as_bytes(), signature, &key))
}
