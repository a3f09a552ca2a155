//! Signatures that only look like ones: a hash of digest and signer. The curve itself is tested in `channel`, and
//! would take most of a run's time.

use forebay_channel::{Address, Domain, Signable, Signature, SignatureVerifier, Verified};
use forebay_quantity::Hash32;
use sha2::{Digest, Sha256};

pub(crate) fn sign(digest: &Hash32, signer: Address) -> Signature {
    let mut hasher = Sha256::new();
    hasher.update(digest.as_bytes());
    hasher.update(signer.value());
    let half: [u8; 32] = hasher.finalize().into();
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&half);
    bytes[32..].copy_from_slice(&half);
    Signature::new(bytes)
}

pub(crate) fn is_signed_by(digest: &Hash32, signature: &Signature, signer: Address) -> bool {
    sign(digest, signer) == *signature
}

pub(crate) fn signed<T: Signable + Copy>(
    domain: &Domain,
    message: T,
    signer: Address,
) -> Verified<T> {
    let signature = sign(&domain.digest(&message), signer);
    Verified::by(&Checker, domain, message, signature, signer).expect("just signed")
}

struct Checker;

impl SignatureVerifier for Checker {
    fn is_signed_by(&self, digest: &Hash32, signature: &Signature, signer: Address) -> bool {
        is_signed_by(digest, signature, signer)
    }
}
