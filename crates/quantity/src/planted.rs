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
}

static PLANTED: AtomicU8 = AtomicU8::new(0);

impl Bug {
    /// The number of the invariant that it breaks; zero for none.
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
