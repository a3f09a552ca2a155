//! The core's "no": a closed list in order of precedence, each with its ILP code.

use forebay_quantity::{Amount, AssetId, PeerId, Timestamp};

/// Three ASCII characters of an ILP error code.
pub type RejectCode = [u8; 3];

/// Why a command was refused. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The pool has no genesis yet, or has one already.
    NotFounded,
    /// The pool is already founded.
    AlreadyFounded,
    /// Nothing carries this id.
    UnknownPeer(PeerId),
    /// No asset carries this id.
    UnknownAsset(AssetId),
    /// The name, code or prefix is taken.
    AlreadyExists,
    /// A named bound is reached: no more of this kind.
    Full {
        /// The bound.
        bound: u64,
    },
    /// The name is no valid ILP address segment, or the prefix no valid address.
    BadName,
    /// Policy numbers contradict each other.
    BadPolicy(&'static str),
    /// The peer still has a balance, packets or a channel.
    PeerBusy(PeerId),
    /// The command was taken before [I11].
    AlreadyTaken,
    /// Another instruction was taken under this id [I11].
    IdReused,

    /// The prepare had expired when it arrived.
    Expired {
        /// When it expired.
        expires_at: Timestamp,
    },
    /// Too little time is left to forward it safely.
    TimeoutTooShort {
        /// When it expires.
        expires_at: Timestamp,
        /// The least that would do.
        needed_ms: u64,
    },
    /// The amount passes the account's or the next hop's packet maximum.
    AmountTooLarge {
        /// What was sent, in the incoming asset.
        received: u64,
        /// The most that would pass, in the incoming asset.
        maximum: u64,
    },
    /// The link already has this request id in flight.
    DuplicateRequest {
        /// The id.
        request: u32,
    },
    /// No route leads there, or it leads back.
    Unreachable,
    /// The book of an asset does not quote: halted, or its prices are stale, too few or too far apart.
    NotQuoting(AssetId),
    /// Nothing would be left after conversion and fees.
    AmountTooSmall,
    /// The peer has not secured this much.
    NotSecured {
        /// Secured and unused credit.
        available: Amount,
        /// What the packet needs.
        needed: Amount,
    },
    /// Our lane to the next hop does not cover this much.
    LaneExhausted {
        /// What the lane still covers.
        available: Amount,
        /// What the packet needs.
        needed: Amount,
    },
    /// The pool's position in the asset is at its bound.
    InventoryExhausted(AssetId),
    /// Every place for packets in flight is taken.
    Busy,
    /// The journal failed: nothing more is taken until a restart.
    Halted,

    /// No packet with this id waits for this peer: late or unknown.
    UnknownPacket,
    /// The preimage does not match the condition.
    WrongPreimage,

    /// The voucher names another channel, another signer, or is not above the last.
    BadVoucher(&'static str),
    /// An invoice that is not for this settlement, or none can be given.
    BadInvoice(&'static str),
    /// What an LP on Bitcoin asks for cannot be, or nobody knows it.
    BadClaim(&'static str),
    /// An LP's claim is not worth this much, in millisatoshi.
    ClaimTooLarge {
        /// What it is worth.
        has: Amount,
        /// What was asked for, with routing.
        needed: Amount,
    },
    /// After the miners' fee too little is left to be an output, in millisatoshi.
    ClaimTooSmall {
        /// What was asked for.
        amount: Amount,
        /// What miners get.
        fee: Amount,
        /// The least that an output holds.
        min: Amount,
    },
    /// The pool holds less that is not spoken for, in millisatoshi.
    NotHeld {
        /// What is free.
        free: Amount,
        /// What was asked for.
        needed: Amount,
    },
    /// No channel is sold, or none is opened for a payment that is held.
    NotSold(&'static str),
    /// No effect with this id is outstanding.
    UnknownEffect,
    /// A price of zero, or from the future.
    BadPrice,
    /// A fact that contradicts what the chain said before.
    BadFact(&'static str),
}

impl Rejection {
    /// The ILP code for a refused prepare or answer (RFC 27).
    pub fn ilp_code(&self) -> RejectCode {
        use Rejection::*;
        *match self {
            Expired { .. } => b"R00",
            TimeoutTooShort { .. } => b"R02",
            AmountTooSmall => b"R01",
            AmountTooLarge { .. } => b"F08",
            DuplicateRequest { .. } => b"F00",
            Unreachable => b"F02",
            WrongPreimage => b"F05",
            NotSecured { .. } | LaneExhausted { .. } | InventoryExhausted(_) => b"T04",
            Busy | Full { .. } => b"T03",
            NotQuoting(_) | NotFounded | Halted => b"T00",
            UnknownPeer(_) => b"F02",
            UnknownAsset(_)
            | AlreadyFounded
            | AlreadyExists
            | BadName
            | BadPolicy(_)
            | PeerBusy(_)
            | AlreadyTaken
            | IdReused
            | UnknownPacket
            | BadVoucher(_)
            | BadInvoice(_)
            | BadClaim(_)
            | ClaimTooLarge { .. }
            | ClaimTooSmall { .. }
            | NotHeld { .. }
            | NotSold(_)
            | UnknownEffect
            | BadPrice
            | BadFact(_) => b"F00",
        }
    }
}

impl core::fmt::Display for Rejection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        use Rejection::*;
        match self {
            NotFounded => write!(f, "the pool has not been founded yet: run `forebay init`"),
            AlreadyFounded => write!(f, "the pool is already founded"),
            UnknownPeer(peer) => write!(f, "no peer has the number {}", peer.0),
            UnknownAsset(asset) => write!(f, "no asset has the number {}", asset.0),
            AlreadyExists => write!(f, "that name is taken"),
            Full { bound } => write!(f, "no more than {bound} are allowed"),
            BadName => write!(
                f,
                "not a valid ILP address segment: use letters, digits, '_', '-' or '~'"
            ),
            BadPolicy(why) => write!(f, "the policy contradicts itself: {why}"),
            PeerBusy(peer) => write!(
                f,
                "peer {} still has a balance, packets in flight or an open channel",
                peer.0
            ),
            AlreadyTaken => write!(f, "this command was carried out before"),
            IdReused => write!(
                f,
                "another instruction was carried out under this id: use a new id for a new instruction"
            ),
            Expired { expires_at } => write!(f, "expired at {} ms", expires_at.0),
            TimeoutTooShort { needed_ms, .. } => {
                write!(f, "expires too soon: at least {needed_ms} ms are needed")
            }
            AmountTooLarge { received, maximum } => {
                write!(f, "amount {received} is above the maximum of {maximum}")
            }
            DuplicateRequest { request } => write!(f, "request id {request} is already in flight"),
            Unreachable => write!(f, "no route to the destination"),
            NotQuoting(asset) => write!(f, "asset {} is not quoted now", asset.0),
            AmountTooSmall => write!(f, "nothing would arrive after conversion and fees"),
            NotSecured { available, needed } => {
                write!(f, "secured {available}, needed {needed}: settle first")
            }
            LaneExhausted { available, needed } => {
                write!(
                    f,
                    "the lane to the next hop covers {available}, needed {needed}"
                )
            }
            InventoryExhausted(asset) => write!(
                f,
                "the pool's position in asset {} is at its bound",
                asset.0
            ),
            Busy => write!(f, "too many packets in flight"),
            Halted => write!(
                f,
                "the journal cannot be written: the pool takes nothing until it is restarted"
            ),
            UnknownPacket => write!(f, "no such packet is in flight"),
            WrongPreimage => write!(f, "the fulfillment does not match the condition"),
            BadVoucher(why) => write!(f, "voucher refused: {why}"),
            BadInvoice(why) => write!(f, "no invoice: {why}"),
            BadClaim(why) => write!(f, "no claim on Bitcoin: {why}"),
            ClaimTooLarge { has, needed } => write!(
                f,
                "the claim is worth {has} msat, and {needed} msat are needed, fees counted: ask for less"
            ),
            ClaimTooSmall { amount, fee, min } => write!(
                f,
                "of {amount} msat, {fee} msat go to miners now, and an output holds {min} msat at least: \
                 ask for more, wait for lower fees, or be paid over Lightning"
            ),
            NotHeld { free, needed } => write!(
                f,
                "the pool holds {free} msat that nothing else has spoken for, and {needed} msat are needed: \
                 ask for less, or again later"
            ),
            NotSold(why) => write!(f, "no channel is sold: {why}"),
            UnknownEffect => write!(f, "no such effect is outstanding"),
            BadPrice => write!(f, "a price of zero or from the future"),
            BadFact(why) => write!(f, "the chain contradicts itself: {why}"),
        }
    }
}
