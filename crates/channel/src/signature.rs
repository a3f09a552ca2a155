//! Signatures, and the one way to call a message genuine.

use crate::{
    address::Address,
    digest::{Domain, Signable, keccak256},
};
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;
use forebay_quantity::Hash32;
use k256::ecdsa::{RecoveryId, VerifyingKey};

/// A compact secp256k1 signature (EIP-2098): r, then s with the parity of y in its highest bit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);

impl Signature {
    /// The signature with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The first word.
    #[must_use]
    pub fn r(&self) -> [u8; 32] {
        let mut r = [0; 32];
        r.copy_from_slice(&self.0[..32]);
        r
    }

    /// The second word: s, with the parity in its highest bit.
    #[must_use]
    pub fn vs(&self) -> [u8; 32] {
        let mut vs = [0; 32];
        vs.copy_from_slice(&self.0[32..]);
        vs
    }

    /// r and s without the parity, as most libraries take them, and the parity of y.
    #[must_use]
    pub fn to_rs_and_parity(self) -> ([u8; 64], bool) {
        let mut rs = self.0;
        let odd = rs[32] & 0x80 != 0;
        rs[32] &= 0x7f;
        (rs, odd)
    }

    /// Packs r and s, s being low, with the parity of y.
    #[must_use]
    pub fn from_rs_and_parity(mut rs: [u8; 64], odd: bool) -> Self {
        assert!(
            rs[32] & 0x80 == 0,
            "a low s leaves its highest bit to the parity"
        );
        if odd {
            rs[32] |= 0x80;
        }
        Self(rs)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Signature(0x")?;
        self.0
            .iter()
            .try_for_each(|byte| write!(out, "{byte:02x}"))?;
        out.write_str(")")
    }
}

/// The address of a public key given as its two 32-byte coordinates.
#[must_use]
pub fn address_of_point(xy: &[u8; 64]) -> Address {
    let mut address = [0; 20];
    address.copy_from_slice(&keccak256(xy).as_bytes()[12..]);
    Address::new(address)
}

/// Something that can tell whether a signer signed a digest; it must accept exactly what the contract does.
pub trait SignatureVerifier {
    /// True when `signature` is `signer`'s under `digest`, s being low and `signer` not zero.
    fn is_signed_by(&self, digest: &Hash32, signature: &Signature, signer: Address) -> bool;
}

/// Recovers the signer with the pure Rust curve; slower than a library in C, and enough where speed is no matter.
#[derive(Clone, Copy, Default, Debug)]
pub struct CurveVerifier;

impl SignatureVerifier for CurveVerifier {
    fn is_signed_by(&self, digest: &Hash32, signature: &Signature, signer: Address) -> bool {
        signer != Address::ZERO && recover(digest, signature) == Some(signer)
    }
}

fn recover(digest: &Hash32, signature: &Signature) -> Option<Address> {
    let (rs, odd) = signature.to_rs_and_parity();
    let rs = k256::ecdsa::Signature::from_slice(&rs).ok()?;
    if rs.normalize_s().is_some() {
        return None;
    }
    let parity = RecoveryId::new(odd, false);
    let key = VerifyingKey::recover_from_prehash(digest.as_bytes(), &rs, parity).ok()?;
    let point = key.to_encoded_point(false);
    let xy = <&[u8; 64]>::try_from(point.as_bytes().get(1..)?).ok()?;
    Some(address_of_point(xy))
}

/// The signature is not the named signer's under this message in this domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotSigned {
    /// Who should have signed.
    pub signer: Address,
}

impl fmt::Display for NotSigned {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "the signature is not by {} under this message, vault and chain",
            self.signer
        )
    }
}

impl core::error::Error for NotSigned {}

/// A message whose signature was checked; there is no other way to make one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verified<T> {
    message: T,
    signer: Address,
    signature: Signature,
}

impl<T: Signable> Verified<T> {
    /// Checks `signature` with the pure Rust curve.
    ///
    /// # Errors
    /// When it is not `signer`'s.
    pub fn verify(
        domain: &Domain,
        message: T,
        signature: Signature,
        signer: Address,
    ) -> Result<Self, NotSigned> {
        Self::by(&CurveVerifier, domain, message, signature, signer)
    }

    /// Checks `signature` with the given verifier.
    ///
    /// # Errors
    /// When it is not `signer`'s.
    pub fn by(
        verifier: &impl SignatureVerifier,
        domain: &Domain,
        message: T,
        signature: Signature,
        signer: Address,
    ) -> Result<Self, NotSigned> {
        if !verifier.is_signed_by(&domain.digest(&message), &signature, signer) {
            return Err(NotSigned { signer });
        }
        Ok(Self {
            message,
            signer,
            signature,
        })
    }
}

impl<T> Verified<T> {
    /// The message.
    pub const fn message(&self) -> &T {
        &self.message
    }

    /// Who signed it.
    pub const fn signer(&self) -> Address {
        self.signer
    }

    /// The signature, to be kept with the message.
    pub const fn signature(&self) -> Signature {
        self.signature
    }
}
