//! Where a pool's journal stands: what the pool tells witnesses, what they keep, and what either makes of the other's
//! word [I14].
//!
//! A head is signed by the pool's key, so a witness can forget one but never invent one. Each start of a pool has a
//! number above all that witnesses know: of two processes on copies of one journal, the later start wins, and the other
//! finds its place taken.

use core::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::{Amount, ChannelSerial, Hash32};

use crate::address::Address;
use crate::digest::keccak256;
use crate::signature::{Signature, SignatureVerifier};

/// Begins every digest of a head. No other digest of ours begins so: those of the vault begin with 0x19.
const PURPOSE: &[u8; 24] = b"forebay journal head v1\0";

/// The head of a pool's journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct JournalHead {
    /// The pool's key, which signs this.
    pub pool: Address,
    /// The number of the start, above those of all starts that witnesses knew of.
    pub start: u64,
    /// Drawn at each start: tells two processes apart that took one number.
    pub process: [u8; 16],
    /// The last frame's number; 0 for an empty journal.
    pub sequence: u64,
    /// Its hash.
    pub hash: Hash32,
}

impl JournalHead {
    /// What the pool signs.
    #[must_use]
    pub fn digest(&self) -> Hash32 {
        let mut packed = [0; 108];
        packed[..24].copy_from_slice(PURPOSE);
        packed[24..44].copy_from_slice(&self.pool.value());
        packed[44..52].copy_from_slice(&self.start.to_le_bytes());
        packed[52..68].copy_from_slice(&self.process);
        packed[68..76].copy_from_slice(&self.sequence.to_le_bytes());
        packed[76..].copy_from_slice(self.hash.as_bytes());
        keccak256(&packed)
    }

    /// Whether a witness that knows `self` keeps `told` in its place: never a lower frame, never another history of the
    /// same length, never an earlier start.
    #[must_use]
    pub fn gives_way_to(&self, told: &Self) -> bool {
        let same_process = self.start == told.start && self.process == told.process;
        let later = same_process || told.start > self.start;
        let continues = told.sequence > self.sequence
            || (told.sequence == self.sequence && told.hash == self.hash);
        self.pool == told.pool && later && continues
    }
}

/// A head with the pool's signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct SignedHead {
    /// The head.
    pub head: JournalHead,
    /// The pool's signature under [`JournalHead::digest`].
    pub signature: Signature,
}

impl SignedHead {
    /// Whether the pool that it names signed it.
    #[must_use]
    pub fn is_genuine(&self, verifier: &impl SignatureVerifier) -> bool {
        verifier.is_signed_by(&self.head.digest(), &self.signature, self.head.pool)
    }
}

/// What a witness keeps of one pool once it was told a head: the higher one, for ever.
#[must_use]
pub fn kept(known: Option<SignedHead>, told: SignedHead) -> SignedHead {
    let Some(before) = known else { return told };
    if !before.head.gives_way_to(&told.head) {
        return before;
    }
    // [I14] what a witness knows never goes back.
    assert!(
        told.head.sequence >= before.head.sequence && told.head.start >= before.head.start,
        "[I14] a journal head never goes back"
    );
    told
}

/// The journal at hand is not the newest of its pool, or not the only one in use: nothing may be signed from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rollback {
    /// A witness knows a later frame.
    Older {
        /// The last frame here.
        ours: u64,
        /// The last frame that the witness knows.
        known: u64,
    },
    /// A witness knows another frame under a number that is taken here.
    Forked {
        /// The number.
        sequence: u64,
    },
    /// Another process has started on a copy of this journal.
    Replaced {
        /// The number of its start.
        start: u64,
    },
    /// A peer holds a voucher of ours above all that this journal has promised.
    Promised {
        /// The channel.
        serial: ChannelSerial,
        /// The voucher's cumulative amount, in the chain's base units.
        held: Amount,
        /// The highest amount that this journal knows.
        known: Amount,
    },
}

impl fmt::Display for Rollback {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Older { ours, known } => write!(
                out,
                "this journal ends at frame {ours}, and a witness has heard of frame {known}: it is an old copy"
            ),
            Self::Forked { sequence } => write!(
                out,
                "frame {sequence} of this journal is not the frame {sequence} that a witness knows: another process has gone on from a copy of it"
            ),
            Self::Replaced { start } => write!(
                out,
                "another process has taken this pool over, from a copy of this journal (start {start})"
            ),
            Self::Promised {
                serial,
                held,
                known,
            } => write!(
                out,
                "the peer of channel {serial} holds a voucher of this pool over {held}, and this journal knows of {known} only: it is an old copy"
            ),
        }
    }
}

impl core::error::Error for Rollback {}

/// Whether a journal that ends at frame `sequence` may be gone on with, as far as a witness tells that knows `known`.
/// `hash_at` is this journal's own hash of the frame that the witness knows; `None` when it has no such frame.
///
/// # Errors
/// [`Rollback`].
pub fn may_go_on(
    sequence: u64,
    hash_at: Option<Hash32>,
    known: Option<&JournalHead>,
) -> Result<(), Rollback> {
    let Some(known) = known else { return Ok(()) };
    if known.sequence > sequence {
        return Err(Rollback::Older {
            ours: sequence,
            known: known.sequence,
        });
    }
    if hash_at != Some(known.hash) {
        return Err(Rollback::Forked {
            sequence: known.sequence,
        });
    }
    Ok(())
}

/// Whether the place is still ours, when a witness that was just told `told` answers `known`.
///
/// # Errors
/// [`Rollback`].
pub fn is_still_ours(told: &JournalHead, known: &JournalHead) -> Result<(), Rollback> {
    if told.start == known.start && told.process == known.process {
        return Ok(());
    }
    if known.start >= told.start {
        return Err(Rollback::Replaced { start: known.start });
    }
    if known.sequence > told.sequence {
        return Err(Rollback::Older {
            ours: told.sequence,
            known: known.sequence,
        });
    }
    if known.sequence == told.sequence && known.hash != told.hash {
        return Err(Rollback::Forked {
            sequence: known.sequence,
        });
    }
    // It has not taken our word yet, which is no contradiction.
    Ok(())
}

/// Whether the payee's highest voucher is one that the payer knows to have promised.
///
/// # Errors
/// [`Rollback::Promised`].
pub fn knows_voucher(
    serial: ChannelSerial,
    held: Amount,
    promised: Amount,
) -> Result<(), Rollback> {
    #[cfg(feature = "planted-bugs")]
    let held = match forebay_quantity::planted::is(forebay_quantity::planted::Bug::OldCopyAccepted)
    {
        true => Amount::ZERO,
        false => held,
    };
    if held > promised {
        return Err(Rollback::Promised {
            serial,
            held,
            known: promised,
        });
    }
    Ok(())
}
