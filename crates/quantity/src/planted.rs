//! Bugs planted on purpose, one at a time: a test shows that the simulator finds each. Nothing of this is compiled
//! into a build without the feature `planted-bugs`.

use core::sync::atomic::{AtomicU8, Ordering};

/// A bug, named by the invariant that it breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Bug {
    /// None.
    None = 0,
    /// A posted leg is debited and not credited.
    LegUncredited = 1,
    /// Limits forget what is pending.
    PendingForgotten = 2,
    /// The legs of a rejected packet stay pending.
    LegsLeftPending = 3,
    /// What is owed is signed for, whatever the ceiling.
    CeilingIgnored = 4,
    /// A second channel gets the serial of the first.
    SerialReused = 5,
    /// After the journal failed, effects leave all the same.
    EffectsAfterFailure = 7,
    /// Packets are forwarded with the expiry that they came with.
    MarginForgotten = 8,
    /// A swap pays out one unit more than its price gives.
    RoundedUp = 9,
    /// A state restored from its snapshot has lost the answers it remembered.
    AnswersLost = 10,
    /// An instruction is carried out each time it is sent.
    InstructionRepeated = 11,
    /// Any number of price sources is kept.
    SourcesUnbounded = 12,
    /// No notice seems to endanger anything.
    NoticeIgnored = 13,
    /// An exit is paid and the vault in the books is not lowered.
    VaultNotLowered = 15,
}

static PLANTED: AtomicU8 = AtomicU8::new(0);

/// Plants this bug instead of the one before.
pub fn plant(bug: Bug) {
    PLANTED.store(bug as u8, Ordering::SeqCst);
}

/// Whether this bug is planted.
pub fn is(bug: Bug) -> bool {
    PLANTED.load(Ordering::Relaxed) == bug as u8
}
