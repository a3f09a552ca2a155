//! What is signed: EIP-712 digests of the vault, packed by hand as `spec/voucher.md` draws them.

use crate::address::Address;
use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::{Amount, ChannelSerial, Hash32};
use sha3::{Digest as _, Keccak256};

// Keccak-256 of each type string, of the domain's name and of its version; a test hashes them anew.
const DOMAIN_HASH: &[u8; 32] =
    b"\x8b\x73\xc3\xc6\x9b\xb8\xfe\x3d\x51\x2e\xcc\x4c\xf7\x59\xcc\x79\x23\x9f\x7b\x17\x9b\x0f\xfa\xca\xa9\xa7\x5d\x52\x2b\x39\x40\x0f";
const VOUCHER_HASH: &[u8; 32] =
    b"\x9a\x57\xc3\xaa\x07\xe8\x47\x3a\x65\xf6\xd2\x3d\x89\x18\x3f\x8f\x09\x7d\xf7\x48\x8f\x1d\x7b\x59\x6b\x96\xe1\x13\xc6\xaf\x0a\xf6";
const RELEASE_HASH: &[u8; 32] =
    b"\x52\x59\xb6\x5d\xd9\xc0\x11\xdd\x74\x08\xbe\x4c\x9d\x89\x61\xa4\x5b\xc1\x93\x37\x81\xe7\xc8\x99\x66\xc0\x0d\xd8\x4d\xe4\xe6\xd6";
const NET_OFF_HASH: &[u8; 32] =
    b"\xd9\x11\xa7\xd2\x13\xba\x74\xbf\xde\xd0\xd8\x0d\x34\x0a\xac\xdd\xeb\x51\xce\xea\x8c\x84\x82\x43\x5b\x06\x8b\xab\x2c\x03\x56\x8f";
const COOP_CLOSE_HASH: &[u8; 32] =
    b"\x1a\x3a\xbb\x0d\xf8\x7e\xa6\x44\x18\x9f\x58\x3d\x64\x09\xcc\xee\xaa\x36\x05\xb8\x3e\xa6\x1f\x15\x9f\xe0\x03\x5f\x24\xe0\x8b\x92";
const KEY_CHANGE_HASH: &[u8; 32] =
    b"\x7a\x44\x44\x38\xd5\x80\x26\xc4\xc2\x78\xb8\x63\x78\xed\x6c\x01\x0f\xe0\x29\xcc\x04\x5b\x88\x94\x31\x04\x0c\x9e\xa0\xe4\xd1\x0f";
const SHARE_EXIT_HASH: &[u8; 32] =
    b"\xe7\x6e\x2e\x96\x8f\x1d\x23\xd6\xc3\x62\x2d\x88\x19\x36\xce\x1a\x2a\x21\xe6\x8d\x2d\xf8\x65\x00\x5d\xed\x91\xed\xc6\x06\x52\xee";
const COSIGNED_RAISE_HASH: &[u8; 32] =
    b"\x62\x33\xe1\xd5\xa7\xe7\xf0\x7f\xf6\x27\x45\x43\x45\x06\xbb\x21\x48\xdd\x21\xaf\x11\x18\xbb\x94\x39\xea\xa1\x5a\x1e\x03\xe3\xf3";
const FREEZE_HASH: &[u8; 32] =
    b"\xe0\xc3\x80\xa2\xd8\x5f\x63\xdb\x7c\x01\x07\x3c\x58\x5e\xfa\xae\x76\xa0\x65\x6e\xa2\xd0\x21\xa2\x1e\xa1\x1a\x61\x9f\x98\x78\x5f";
const MARK_DOWN_HASH: &[u8; 32] =
    b"\xb3\x54\xcb\x4b\x1e\x3a\x4f\xcd\x67\x62\x12\xa4\x47\xeb\x38\x3c\x60\xaf\x8f\x71\x4e\x1e\x65\xa6\x48\x6f\x8f\x06\x75\x89\x50\x2a";
const PEER_KEYS_HASH: &[u8; 32] =
    b"\xd7\xc5\x72\xf3\x29\xb8\x75\x38\x90\xaf\xdf\xf8\xee\xa0\xdc\x8b\x7f\x19\x32\x93\x30\x07\xe0\x90\x3a\x6c\xe2\x48\x83\xa7\x7c\x7c";
const NAME_HASH: &[u8; 32] =
    b"\x01\x1d\x85\x6d\x34\xe7\x3c\x14\x4f\x0f\x59\x50\x0b\xa6\x55\x1e\x0b\x49\xb3\xf0\x11\xab\x0c\x47\xb0\x23\x13\x5d\xee\xc9\x5e\x8b";
const VERSION_HASH: &[u8; 32] =
    b"\xc8\x9e\xfd\xaa\x54\xc0\xf2\x0c\x7a\xdf\x61\x28\x82\xdf\x09\x50\xf5\xa9\x51\x63\x7e\x03\x07\xcd\xcb\x4c\x67\x2f\x29\x8b\x8b\xc6";

/// One direction of a channel, by the number that the contract and every digest know it under.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize,
)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum LaneId {
    /// From the pool to the peer, covered by the allotment.
    Pool = 0,
    /// From the peer to the pool, covered by the peer's deposit.
    Peer = 1,
}

impl LaneId {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Pool => 0,
            Self::Peer => 1,
        }
    }

    /// The lane with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Pool),
            1 => Some(Self::Peer),
            _ => None,
        }
    }

    /// The other direction.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Pool => Self::Peer,
            Self::Peer => Self::Pool,
        }
    }
}

/// Keccak-256, as EVM chains hash.
#[must_use]
pub fn keccak256(bytes: &[u8]) -> Hash32 {
    Hash32::new(Keccak256::digest(bytes).into())
}

/// The EIP-712 domain of one vault on one chain, its separator hashed once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Domain {
    separator: Hash32,
}

impl Domain {
    /// The domain of the vault at `contract` on the chain with this EVM chain id.
    #[must_use]
    pub fn new(chain_id: u64, contract: Address) -> Self {
        let separator = Words::<5>::of(DOMAIN_HASH)
            .word(NAME_HASH)
            .word(VERSION_HASH)
            .number(u128::from(chain_id))
            .word(&contract.to_word())
            .hash();
        Self { separator }
    }

    /// The separator, as the contract's `domainSeparator()` gives it.
    #[must_use]
    pub const fn separator(&self) -> Hash32 {
        self.separator
    }

    /// The digest that a signature under `message` signs.
    #[must_use]
    pub fn digest(&self, message: &impl Signable) -> Hash32 {
        let mut packed = [0; 66];
        packed[..2].copy_from_slice(b"\x19\x01");
        packed[2..34].copy_from_slice(self.separator.as_bytes());
        packed[34..].copy_from_slice(message.struct_hash().as_bytes());
        keccak256(&packed)
    }
}

/// A message with an EIP-712 struct type of its own: one type a purpose, so none passes for another.
pub trait Signable {
    /// The hash of its type and fields.
    fn struct_hash(&self) -> Hash32;
}

/// Promises a lane's payee a cumulative amount; signed by the lane's payer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub struct Voucher {
    /// The channel.
    pub serial: ChannelSerial,
    /// The lane.
    pub lane: LaneId,
    /// Cumulative over the channel's life, in base units.
    pub amount: Amount,
}

/// Agrees to a lower ceiling at once; signed by the lane's payee.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Release {
    /// The channel.
    pub serial: ChannelSerial,
    /// The lane.
    pub lane: LaneId,
    /// The new ceiling, cumulative.
    pub ceiling: Amount,
    /// The channel's nonce.
    pub nonce: u16,
}

/// Nets what both lanes owe; signed by both sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct NetOff {
    /// The channel.
    pub serial: ChannelSerial,
    /// What the pool's lane has paid, as it stands.
    pub pool_paid: Amount,
    /// What the peer's lane has paid, as it stands.
    pub peer_paid: Amount,
    /// What both paid and both ceilings rise by.
    pub amount: Amount,
}

/// Closes a channel at once; signed by both sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct CoopClose {
    /// The channel.
    pub serial: ChannelSerial,
    /// What the pool's lane has paid in the end.
    pub pool_paid: Amount,
    /// What the peer's lane has paid in the end.
    pub peer_paid: Amount,
}

/// Agrees to another signer of a lane at once; signed by the other side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct KeyChange {
    /// The channel.
    pub serial: ChannelSerial,
    /// The lane.
    pub lane: LaneId,
    /// The new signer.
    pub signer: Address,
    /// The channel's nonce.
    pub nonce: u16,
}

/// States what share units are worth; signed by *t* of the committee, or by the operator where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct ShareExit {
    /// The share holder.
    pub holder: Address,
    /// The units to burn.
    pub units: Amount,
    /// What they are worth, in base units.
    pub amount: Amount,
    /// The vault's share nonce.
    pub nonce: u64,
    /// The last second at which it can be used, Unix time (40 bits on chain).
    pub valid_until_s: u64,
}

/// Agrees to one raise beside the operator's bucket; signed by *t* of the committee.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct CosignedRaise {
    /// The channel.
    pub serial: ChannelSerial,
    /// Added to the ceiling, in base units.
    pub amount: Amount,
    /// The new end of the term in Unix seconds (40 bits on chain); zero leaves it.
    pub term_end_s: u64,
    /// The vault's committee nonce.
    pub nonce: u64,
    /// The last second at which it can be used, Unix time (40 bits on chain).
    pub valid_until_s: u64,
}

/// Stops raises and renewals for some days; signed by *f* of the committee, or *t*.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Freeze {
    /// Until then, Unix seconds (40 bits on chain).
    pub until_s: u64,
}

/// Lowers what a note unit is worth, and writes off all share units; signed by *t* of the committee.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct MarkDown {
    /// The new index, in ray.
    pub index: Amount,
    /// The vault's committee nonce.
    pub nonce: u64,
    /// The last second at which it can be used, Unix time (40 bits on chain).
    pub valid_until_s: u64,
}

/// Shows that whoever names these keys holds the signing one; no contract reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct PeerKeys {
    /// Signs the peer's vouchers, and this.
    pub signer: Address,
    /// Is paid by the pool's vouchers.
    pub payout: Address,
}

impl Signable for PeerKeys {
    fn struct_hash(&self) -> Hash32 {
        Words::<3>::of(PEER_KEYS_HASH)
            .word(&self.signer.to_word())
            .word(&self.payout.to_word())
            .hash()
    }
}

impl Signable for Voucher {
    fn struct_hash(&self) -> Hash32 {
        Words::<4>::of(VOUCHER_HASH)
            .number(u128::from(self.serial.value()))
            .number(u128::from(self.lane.number()))
            .number(self.amount.value())
            .hash()
    }
}

impl Signable for Release {
    fn struct_hash(&self) -> Hash32 {
        Words::<5>::of(RELEASE_HASH)
            .number(u128::from(self.serial.value()))
            .number(u128::from(self.lane.number()))
            .number(self.ceiling.value())
            .number(u128::from(self.nonce))
            .hash()
    }
}

impl Signable for NetOff {
    fn struct_hash(&self) -> Hash32 {
        Words::<5>::of(NET_OFF_HASH)
            .number(u128::from(self.serial.value()))
            .number(self.pool_paid.value())
            .number(self.peer_paid.value())
            .number(self.amount.value())
            .hash()
    }
}

impl Signable for CoopClose {
    fn struct_hash(&self) -> Hash32 {
        Words::<4>::of(COOP_CLOSE_HASH)
            .number(u128::from(self.serial.value()))
            .number(self.pool_paid.value())
            .number(self.peer_paid.value())
            .hash()
    }
}

impl Signable for KeyChange {
    fn struct_hash(&self) -> Hash32 {
        Words::<5>::of(KEY_CHANGE_HASH)
            .number(u128::from(self.serial.value()))
            .number(u128::from(self.lane.number()))
            .word(&self.signer.to_word())
            .number(u128::from(self.nonce))
            .hash()
    }
}

impl Signable for ShareExit {
    fn struct_hash(&self) -> Hash32 {
        Words::<6>::of(SHARE_EXIT_HASH)
            .word(&self.holder.to_word())
            .number(self.units.value())
            .number(self.amount.value())
            .number(u128::from(self.nonce))
            .number(u128::from(self.valid_until_s))
            .hash()
    }
}

impl Signable for CosignedRaise {
    fn struct_hash(&self) -> Hash32 {
        Words::<6>::of(COSIGNED_RAISE_HASH)
            .number(u128::from(self.serial.value()))
            .number(self.amount.value())
            .number(u128::from(self.term_end_s))
            .number(u128::from(self.nonce))
            .number(u128::from(self.valid_until_s))
            .hash()
    }
}

impl Signable for Freeze {
    fn struct_hash(&self) -> Hash32 {
        Words::<2>::of(FREEZE_HASH)
            .number(u128::from(self.until_s))
            .hash()
    }
}

impl Signable for MarkDown {
    fn struct_hash(&self) -> Hash32 {
        Words::<4>::of(MARK_DOWN_HASH)
            .number(self.index.value())
            .number(u128::from(self.nonce))
            .number(u128::from(self.valid_until_s))
            .hash()
    }
}

/// Thirty-two-byte words, laid side by side as the ABI does, on the stack.
struct Words<const N: usize> {
    words: [[u8; 32]; N],
    filled: usize,
}

impl<const N: usize> Words<N> {
    fn of(first: &[u8; 32]) -> Self {
        Self {
            words: [[0; 32]; N],
            filled: 0,
        }
        .word(first)
    }

    fn word(mut self, word: &[u8; 32]) -> Self {
        self.words[self.filled] = *word;
        self.filled += 1;
        self
    }

    fn number(mut self, number: u128) -> Self {
        self.words[self.filled][16..].copy_from_slice(&number.to_be_bytes());
        self.filled += 1;
        self
    }

    fn hash(self) -> Hash32 {
        assert!(self.filled == N, "every field of the type is filled in");
        keccak256(self.words.as_flattened())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_constant_is_the_hash_of_its_text() {
        for (hash, text) in [
            (
                DOMAIN_HASH,
                "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)",
            ),
            (
                VOUCHER_HASH,
                "Voucher(uint64 serial,uint8 lane,uint128 amount)",
            ),
            (
                RELEASE_HASH,
                "Release(uint64 serial,uint8 lane,uint128 ceiling,uint16 nonce)",
            ),
            (
                NET_OFF_HASH,
                "NetOff(uint64 serial,uint128 poolPaid,uint128 peerPaid,uint128 amount)",
            ),
            (
                COOP_CLOSE_HASH,
                "CoopClose(uint64 serial,uint128 poolPaid,uint128 peerPaid)",
            ),
            (
                KEY_CHANGE_HASH,
                "KeyChange(uint64 serial,uint8 lane,address signer,uint16 nonce)",
            ),
            (
                SHARE_EXIT_HASH,
                "ShareExit(address holder,uint128 units,uint128 amount,uint64 nonce,uint40 validUntil)",
            ),
            (
                COSIGNED_RAISE_HASH,
                "CosignedRaise(uint64 serial,uint128 amount,uint40 termEnd,uint64 nonce,uint40 validUntil)",
            ),
            (FREEZE_HASH, "Freeze(uint40 until)"),
            (
                MARK_DOWN_HASH,
                "MarkDown(uint128 index,uint64 nonce,uint40 validUntil)",
            ),
            (PEER_KEYS_HASH, "PeerKeys(address signer,address payout)"),
            (NAME_HASH, "Forebay Vault"),
            (VERSION_HASH, "1"),
        ] {
            assert_eq!(keccak256(text.as_bytes()).as_bytes(), hash, "{text}");
        }
    }

    #[test]
    fn a_lane_keeps_its_number() {
        for lane in [LaneId::Pool, LaneId::Peer] {
            assert_eq!(LaneId::from_number(lane.number()), Some(lane));
            assert_eq!(lane.other().other(), lane);
            assert_eq!(borsh::to_vec(&lane).expect("a byte"), [lane.number()]);
        }
        assert_eq!(LaneId::from_number(2), None);
    }
}
