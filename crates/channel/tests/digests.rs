//! Digests and signatures against `spec/vectors/evm-digests.json`, which npm's ethers made.

use forebay_channel::{
    Address, CoopClose, CosignedRaise, CurveVerifier, Domain, Freeze, KeyChange, LaneId, MarkDown,
    NetOff, NotSigned, PeerKeys, Release, ShareExit, Signable, Signature, SignatureVerifier,
    Verified, Voucher,
};
use forebay_quantity::{Amount, ChannelSerial, Hash32};
use serde_json::Value;

fn vectors() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../spec/vectors/evm-digests.json"
    );
    let text = std::fs::read_to_string(path).expect("the vectors are committed");
    serde_json::from_str(&text).expect("the vectors are JSON")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} is a string in {value}"))
}

fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value, name: &str) -> T {
    text(value, name).parse().expect("a number in range")
}

fn address(value: &Value, name: &str) -> Address {
    text(value, name).parse().expect("an address")
}

fn hash(value: &Value, name: &str) -> Hash32 {
    text(value, name).parse().expect("a hash")
}

fn amount(value: &Value, name: &str) -> Amount {
    number(value, name)
}

fn signature(vector: &Value) -> Signature {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(hash(vector, "r").as_bytes());
    bytes[32..].copy_from_slice(hash(vector, "vs").as_bytes());
    Signature::new(bytes)
}

struct Any(Hash32);

impl Signable for Any {
    fn struct_hash(&self) -> Hash32 {
        self.0
    }
}

fn struct_hash(kind: &str, message: &Value) -> Hash32 {
    let serial = || ChannelSerial::new(number(message, "serial"));
    let lane = || LaneId::from_number(number(message, "lane")).expect("a lane");
    match kind {
        "Voucher" => Voucher {
            serial: serial(),
            lane: lane(),
            amount: amount(message, "amount"),
        }
        .struct_hash(),
        "Release" => Release {
            serial: serial(),
            lane: lane(),
            ceiling: amount(message, "ceiling"),
            nonce: number(message, "nonce"),
        }
        .struct_hash(),
        "NetOff" => NetOff {
            serial: serial(),
            pool_paid: amount(message, "poolPaid"),
            peer_paid: amount(message, "peerPaid"),
            amount: amount(message, "amount"),
        }
        .struct_hash(),
        "CoopClose" => CoopClose {
            serial: serial(),
            pool_paid: amount(message, "poolPaid"),
            peer_paid: amount(message, "peerPaid"),
        }
        .struct_hash(),
        "KeyChange" => KeyChange {
            serial: serial(),
            lane: lane(),
            signer: address(message, "signer"),
            nonce: number(message, "nonce"),
        }
        .struct_hash(),
        "ShareExit" => ShareExit {
            holder: address(message, "holder"),
            units: amount(message, "units"),
            amount: amount(message, "amount"),
            nonce: number(message, "nonce"),
            valid_until_s: number(message, "validUntil"),
        }
        .struct_hash(),
        "CosignedRaise" => CosignedRaise {
            serial: serial(),
            amount: amount(message, "amount"),
            term_end_s: number(message, "termEnd"),
            nonce: number(message, "nonce"),
            valid_until_s: number(message, "validUntil"),
        }
        .struct_hash(),
        "Freeze" => Freeze {
            until_s: number(message, "until"),
        }
        .struct_hash(),
        "MarkDown" => MarkDown {
            index: amount(message, "index"),
            nonce: number(message, "nonce"),
            valid_until_s: number(message, "validUntil"),
        }
        .struct_hash(),
        "PeerKeys" => PeerKeys {
            signer: address(message, "signer"),
            payout: address(message, "payout"),
        }
        .struct_hash(),
        other => panic!("a type without an encoder: {other}"),
    }
}

#[test]
fn every_digest_and_signature_is_the_one_that_ethers_makes() {
    let file = vectors();
    let vectors = file["vectors"].as_array().expect("a list");
    assert_eq!(
        Some(vectors.len()),
        file["count"].as_u64().and_then(|n| usize::try_from(n).ok())
    );
    let off_chain = file["offChain"].as_array().expect("a list");
    let mut kinds = std::collections::BTreeSet::new();
    for vector in vectors.iter().chain(off_chain) {
        let kind = text(vector, "type");
        kinds.insert(kind);
        let domain = Domain::new(number(vector, "chainId"), address(vector, "contract"));
        let made = struct_hash(kind, &vector["message"]);
        assert_eq!(made, hash(vector, "structHash"), "{vector}");
        assert_eq!(
            domain.digest(&Any(made)),
            hash(vector, "digest"),
            "{vector}"
        );
        let signer = address(&file["keys"][text(vector, "signer")], "address");
        assert!(CurveVerifier.is_signed_by(&hash(vector, "digest"), &signature(vector), signer));
    }
    assert_eq!(kinds.len(), 10, "every purpose is among the vectors");
}

#[test]
fn every_domain_separator_is_the_one_that_ethers_makes() {
    for vector in vectors()["domains"].as_array().expect("a list") {
        let domain = Domain::new(number(vector, "chainId"), address(vector, "contract"));
        assert_eq!(domain.separator(), hash(vector, "separator"));
    }
}

/// Order of the curve (SEC 2, section 2.4.1), big-endian.
const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

#[test]
fn a_forged_bent_or_misplaced_signature_is_refused() {
    let file = vectors();
    let vector = file["vectors"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|vector| vector["type"] == "Voucher")
        .expect("a voucher");
    let signer = address(&file["keys"][text(vector, "signer")], "address");
    let domain = Domain::new(number(vector, "chainId"), address(vector, "contract"));
    let message = &vector["message"];
    let voucher = Voucher {
        serial: ChannelSerial::new(number(message, "serial")),
        lane: LaneId::from_number(number(message, "lane")).expect("a lane"),
        amount: amount(message, "amount"),
    };
    let genuine = signature(vector);
    let verified = Verified::verify(&domain, voucher, genuine, signer).expect("it is genuine");
    assert_eq!(
        (verified.message(), verified.signer(), verified.signature()),
        (&voucher, signer, genuine)
    );

    let refused = Err(NotSigned { signer });
    for bit in 0..512 {
        let mut bytes = genuine.0;
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            Verified::verify(&domain, voucher, Signature::new(bytes), signer),
            refused,
            "bit {bit}"
        );
    }
    let more = Voucher {
        amount: Amount::new(voucher.amount.value() + 1),
        ..voucher
    };
    let other_lane = Voucher {
        lane: voucher.lane.other(),
        ..voucher
    };
    let other_serial = Voucher {
        serial: ChannelSerial::new(voucher.serial.value() + 1),
        ..voucher
    };
    for message in [more, other_lane, other_serial] {
        assert_eq!(Verified::verify(&domain, message, genuine, signer), refused);
    }
    let elsewhere = Domain::new(2, address(vector, "contract"));
    assert_eq!(
        Verified::verify(&elsewhere, voucher, genuine, signer),
        refused
    );
    assert!(Verified::verify(&domain, voucher, Signature::new([0; 64]), signer).is_err());
    assert!(Verified::verify(&domain, voucher, Signature::new([0xff; 64]), signer).is_err());
    assert!(Verified::verify(&domain, voucher, genuine, Address::ZERO).is_err());

    let order = hex::decode(ORDER).expect("hexadecimal");
    let mut r_of_order = genuine.0;
    r_of_order[..32].copy_from_slice(&order);
    assert!(Verified::verify(&domain, voucher, Signature::new(r_of_order), signer).is_err());
}
