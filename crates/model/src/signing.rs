//! Signatures that only look like ones: the digest and the signer, side by side. The digests are real, so that a voucher
//! of another lane or channel never passes; the curve is tested in `channel`.

use std::sync::LazyLock;

use forebay_channel::{
    Address, Domain, LaneId, Signable, Signature, SignatureVerifier, Verified, Voucher,
    vault::SignedVoucher,
};
use forebay_quantity::Hash32;

use crate::chain::{SERIAL, units};

static DOMAIN: LazyLock<Domain> = LazyLock::new(|| Domain::new(31_337, Address::new([9; 20])));

fn sign(message: &impl Signable, signer: Address) -> Signature {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(DOMAIN.digest(message).as_bytes());
    bytes[32..52].copy_from_slice(&signer.value());
    Signature::new(bytes)
}

/// A voucher by this signer.
#[must_use]
pub fn signed(lane: LaneId, amount: u8, signer: Address) -> SignedVoucher {
    let voucher = Voucher {
        serial: SERIAL,
        lane,
        amount: units(amount),
    };
    SignedVoucher {
        voucher,
        signature: sign(&voucher, signer),
    }
}

/// Who signed a voucher; nobody when the signature is over something else.
#[must_use]
pub(crate) fn signer_of(signed: &SignedVoucher) -> Option<Address> {
    let bytes = signed.signature.0;
    let mut signer = [0; 20];
    signer.copy_from_slice(&bytes[32..52]);
    let signer = Address::new(signer);
    (sign(&signed.voucher, signer) == signed.signature).then_some(signer)
}

struct Checker;

impl SignatureVerifier for Checker {
    fn is_signed_by(&self, digest: &Hash32, signature: &Signature, signer: Address) -> bool {
        signature.0[..32] == digest.as_bytes()[..] && signature.0[32..52] == signer.value()
    }
}

/// The voucher, if this signer signed it.
#[must_use]
pub(crate) fn verify(signed: &SignedVoucher, signer: Address) -> Option<Verified<Voucher>> {
    Verified::by(&Checker, &DOMAIN, signed.voucher, signed.signature, signer).ok()
}
