//! Keys that sign vouchers and transactions, and a quick check of others' signatures.

use forebay_channel::{
    Address, Domain, Signable, Signature, SignatureVerifier, address_of_point, keccak256,
};
use forebay_quantity::Hash32;
use secp256k1::{
    Message, PublicKey, SecretKey,
    ecdsa::{RecoverableSignature, RecoveryId},
};
use std::fmt;

/// A secp256k1 private key; it never shows its bytes.
#[derive(Clone)]
pub struct Key {
    secret: SecretKey,
    address: Address,
}

/// Thirty-two bytes that are no private key: zero, or not below the order of the curve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("these 32 bytes are not a secp256k1 private key")]
pub struct BadKey;

impl Key {
    /// The key with these bytes.
    ///
    /// # Errors
    /// When they are no private key.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, BadKey> {
        let secret = SecretKey::from_secret_bytes(bytes).map_err(|_| BadKey)?;
        let address = address_of(&secret.public_key());
        Ok(Self { secret, address })
    }

    /// The address that its signatures are checked against.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.address
    }

    /// Signs a digest, the same way every time (RFC 6979).
    #[must_use]
    pub fn sign(&self, digest: &Hash32) -> Signature {
        let message = Message::from_digest(digest.value());
        let (parity, rs) =
            RecoverableSignature::sign_ecdsa_recoverable(message, &self.secret).serialize_compact();
        let odd = match parity {
            RecoveryId::Zero | RecoveryId::Two => false,
            RecoveryId::One | RecoveryId::Three => true,
        };
        Signature::from_rs_and_parity(rs, odd)
    }

    /// Thirty-two secret bytes for another use, named by its label: Keccak-256 of the label, a zero, and the key. Who has them
    /// learns nothing about the key or about those of another label.
    #[must_use]
    pub fn derive(&self, label: &str) -> [u8; 32] {
        let secret = self.secret.to_secret_bytes();
        let bytes = [label.as_bytes(), &[0], &secret].concat();
        keccak256(&bytes).value()
    }

    /// Signs a message for one vault.
    #[must_use]
    pub fn sign_message(&self, domain: &Domain, message: &impl Signable) -> Signature {
        self.sign(&domain.digest(message))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Key({})", self.address)
    }
}

fn address_of(key: &PublicKey) -> Address {
    let point = key.serialize_uncompressed();
    let mut xy = [0; 64];
    xy.copy_from_slice(&point[1..]);
    address_of_point(&xy)
}

/// Checks signatures in C: a third of the time that the pure Rust curve takes.
#[derive(Clone, Copy, Default, Debug)]
pub struct FastVerifier;

impl SignatureVerifier for FastVerifier {
    fn is_signed_by(&self, digest: &Hash32, signature: &Signature, signer: Address) -> bool {
        signer != Address::ZERO && recover(digest, signature) == Some(signer)
    }
}

// The contract recovers the signer, so the parity counts: checking against a known key alone would let a
// voucher with the wrong parity through, which nobody could redeem.
fn recover(digest: &Hash32, signature: &Signature) -> Option<Address> {
    let (rs, odd) = signature.to_rs_and_parity();
    let parity = if odd {
        RecoveryId::One
    } else {
        RecoveryId::Zero
    };
    let signature = RecoverableSignature::from_compact(&rs, parity).ok()?;
    let mut low = signature.to_standard();
    low.normalize_s();
    if low != signature.to_standard() {
        return None;
    }
    let key = signature
        .recover(Message::from_digest(digest.value()))
        .ok()?;
    Some(address_of(&key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_channel::CurveVerifier;

    fn key(byte: u8) -> Key {
        Key::from_bytes([byte; 32]).expect("below the order of the curve")
    }

    #[test]
    fn bytes_that_are_no_key_are_refused() {
        assert_eq!(Key::from_bytes([0; 32]).err(), Some(BadKey));
        assert_eq!(Key::from_bytes([0xff; 32]).err(), Some(BadKey));
        assert!(
            !format!("{:?}", key(7)).contains("0707"),
            "a key never shows its bytes"
        );
    }

    #[test]
    fn both_verifiers_agree_on_genuine_and_on_bent_signatures() {
        for byte in 1..20 {
            let (key, digest) = (key(byte), Hash32::new([byte ^ 0x5a; 32]));
            let genuine = key.sign(&digest);
            assert!(FastVerifier.is_signed_by(&digest, &genuine, key.address()));
            assert!(CurveVerifier.is_signed_by(&digest, &genuine, key.address()));
            for bit in (0..512).step_by(37).chain([256]) {
                let mut bent = genuine;
                bent.0[bit / 8] ^= 0x80 >> (bit % 8);
                assert!(
                    !FastVerifier.is_signed_by(&digest, &bent, key.address()),
                    "bit {bit}"
                );
                assert!(
                    !CurveVerifier.is_signed_by(&digest, &bent, key.address()),
                    "bit {bit}"
                );
            }
            for odd in [Signature::new([0; 64]), Signature::new([0xff; 64])] {
                assert!(!FastVerifier.is_signed_by(&digest, &odd, key.address()));
                assert!(!FastVerifier.is_signed_by(&digest, &odd, Address::ZERO));
            }
        }
    }
}
