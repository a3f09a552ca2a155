//! What the peer's side remembers: facts, in the past tense.

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_channel::Terms;
use forebay_channel::vault::{Place, VaultFact, VaultRequest};
use forebay_quantity::{Amount, EffectId, Timestamp};

use super::account::LightningEvent;

/// One fact. The variant order is the format on disk: new variants go to the end.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Event {
    /// The pool named its terms, balances left out.
    TermsNamed(Box<Terms>),
    /// A prepare of our software goes to the pool.
    Sent {
        /// The id towards the pool.
        request: u32,
        /// The id that our software gave it.
        software_request: u32,
        /// In packet units.
        amount: u64,
        /// When it expires.
        expires_at: Timestamp,
        /// SHA-256 of the preimage.
        condition: [u8; 32],
    },
    /// The pool fulfilled it: we owe the amount.
    SentFulfilled {
        /// The id towards the pool.
        request: u32,
    },
    /// It was rejected, or never arrived: we owe nothing.
    SentFailed {
        /// The id towards the pool.
        request: u32,
    },
    /// A prepare of the pool goes to our software.
    Taken {
        /// The pool's id, used towards our software as well.
        request: u32,
        /// In packet units.
        amount: u64,
        /// When it expires.
        expires_at: Timestamp,
        /// SHA-256 of the preimage.
        condition: [u8; 32],
    },
    /// Our software fulfilled it: the pool owes the amount. The answer is kept until the packet expires.
    TakenFulfilled {
        /// The pool's id.
        request: u32,
        /// The ILP fulfill.
        answer: Vec<u8>,
    },
    /// It was rejected here or by our software, or expired.
    TakenRejected {
        /// The pool's id.
        request: u32,
        /// The ILP reject.
        answer: Vec<u8>,
    },
    /// Answers to packets that expired by then are kept no longer.
    AnswersForgotten {
        /// The moment.
        expired_at: Timestamp,
    },
    /// We promised the pool this much; the signature is made after this is on disk.
    VoucherSigned {
        /// Cumulative, in the chain's base units.
        amount: Amount,
    },
    /// The pool promised us this much.
    VoucherHeld {
        /// Cumulative, in the chain's base units.
        amount: Amount,
        /// The pool's signature.
        signature: [u8; 64],
    },
    /// The vault reported something at finality depth.
    ChainFinal {
        /// What.
        fact: VaultFact,
        /// Where.
        place: Place,
    },
    /// The vault reported a notice that may still be reorganised away.
    NoticeSeen(VaultFact),
    /// A reorg dropped that notice.
    NoticeDropped(VaultFact),
    /// A transaction is wanted.
    Demanded {
        /// Idempotency key.
        id: EffectId,
        /// What.
        request: VaultRequest,
    },
    /// A transaction's outcome is known.
    DemandSettled {
        /// Which.
        id: EffectId,
        /// Whether it failed for good.
        failed: bool,
    },
    /// The chain dropped a block that had been final: what we know of the channel may be wrong.
    FinalBlockLost {
        /// Its height.
        block: u64,
    },
    /// An operator has looked after that, and goes on.
    ReorgSettled,
    /// Something happened on Lightning.
    Lightning(LightningEvent),
}
