//! Bugs planted on purpose, one at a time: a test shows that the simulator finds each. Nothing of this is compiled
//! into a build without the feature `planted-bugs`.

use core::sync::atomic::{AtomicU8, Ordering};

/// A bug, named by the invariant that it breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// None.
    None,
    /// A posted leg is debited and not credited.
    LegUncredited,
    /// Limits forget what is pending.
    PendingForgotten,
    /// The legs of a rejected packet stay pending.
    LegsLeftPending,
    /// What is owed is signed for, whatever the ceiling.
    CeilingIgnored,
    /// A second channel gets the serial of the first.
    SerialReused,
    /// After the journal failed, effects leave all the same.
    EffectsAfterFailure,
    /// Packets are forwarded with the expiry that they came with.
    MarginForgotten,
    /// A swap pays out one unit more than its price gives.
    RoundedUp,
    /// A state restored from its snapshot has lost the answers it remembered.
    AnswersLost,
    /// An instruction is carried out each time it is sent.
    InstructionRepeated,
    /// Any number of price sources is kept.
    SourcesUnbounded,
    /// No notice seems to endanger anything.
    NoticeIgnored,
    /// A pool goes on from an old copy of its journal, whatever witnesses and peers say.
    OldCopyAccepted,
    /// An exit is paid and the vault in the books is not lowered.
    VaultNotLowered,
    /// A settlement whose payment may still arrive is given up, and paid anew.
    PaidAgain,
    /// An invoice is paid before its hash is on the disk.
    PaidBeforeJournalled,
    /// An invoice that is told again under a journalled hash may be over any amount.
    AmountUnchecked,
    /// What a peer pays counts each time it is observed.
    ReceivedTwice,
    /// What a splice paid to miners is in no book.
    SpliceFeeForgotten,
    /// A channel that is funded and carries nothing yet is forgotten, and another one demanded.
    OpenedTwice,
    /// Whatever is hot stays hot.
    CapIgnored,
}

static PLANTED: AtomicU8 = AtomicU8::new(0);

impl Bug {
    /// Its own number; up to sixteen that of the invariant that it breaks. Zero for none.
    const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::LegUncredited => 1,
            Self::PendingForgotten => 2,
            Self::LegsLeftPending => 3,
            Self::CeilingIgnored => 4,
            Self::SerialReused => 5,
            Self::EffectsAfterFailure => 7,
            Self::MarginForgotten => 8,
            Self::RoundedUp => 9,
            Self::AnswersLost => 10,
            Self::InstructionRepeated => 11,
            Self::SourcesUnbounded => 12,
            Self::NoticeIgnored => 13,
            Self::OldCopyAccepted => 14,
            Self::VaultNotLowered => 15,
            Self::PaidAgain => 16,
            Self::PaidBeforeJournalled => 17,
            Self::AmountUnchecked => 18,
            Self::ReceivedTwice => 19,
            Self::SpliceFeeForgotten => 20,
            Self::OpenedTwice => 21,
            Self::CapIgnored => 22,
        }
    }
}

/// Plants this bug instead of the one before.
pub fn plant(bug: Bug) {
    PLANTED.store(bug.number(), Ordering::SeqCst);
}

/// Whether this bug is planted.
pub fn is(bug: Bug) -> bool {
    PLANTED.load(Ordering::Relaxed) == bug.number()
}
