//! A wall clock that cannot be right is refused before anything is decided by it.

use forebay_quantity::Timestamp;
use thiserror::Error;

/// Why the wall clock is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClockFault {
    /// It went back since the journal was written.
    #[error(
        "the clock of this machine is {behind_ms} ms behind the journal's last entry; set it right (is NTP running?) and start again"
    )]
    Behind {
        /// By how much.
        behind_ms: u64,
    },
    /// It is ahead of a chain's newest block by more than a halted chain would explain.
    #[error(
        "the clock of this machine is {ahead_ms} ms ahead of the newest block of chain {chain_id}; set it right, or see whether the chain or its node stands still"
    )]
    Ahead {
        /// By how much.
        ahead_ms: u64,
        /// Ahead of which chain.
        chain_id: u64,
    },
}

/// Refuses a clock that went back by more than `behind_max_ms` since `last`.
///
/// # Errors
/// [`ClockFault::Behind`].
pub(crate) fn check_not_behind(
    now: Timestamp,
    last: Timestamp,
    behind_max_ms: u64,
) -> Result<(), ClockFault> {
    let behind_ms = last.since(now).value();
    if behind_ms > behind_max_ms {
        Err(ClockFault::Behind { behind_ms })
    } else {
        Ok(())
    }
}

/// Refuses a clock that is more than `ahead_max_ms` ahead of a chain's newest block.
///
/// # Errors
/// [`ClockFault::Ahead`].
pub(crate) fn check_not_ahead(
    now: Timestamp,
    chain_id: u64,
    chain_time: Timestamp,
    ahead_max_ms: u64,
) -> Result<(), ClockFault> {
    let ahead_ms = now.since(chain_time).value();
    if ahead_ms > ahead_max_ms {
        Err(ClockFault::Ahead { ahead_ms, chain_id })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_refused_beyond_its_tolerance_and_believed_at_it() {
        let last = Timestamp(1_000_000);
        assert_eq!(check_not_behind(Timestamp(998_000), last, 2_000), Ok(()));
        assert_eq!(
            check_not_behind(Timestamp(997_999), last, 2_000),
            Err(ClockFault::Behind { behind_ms: 2_001 })
        );
        assert_eq!(check_not_behind(Timestamp(2_000_000), last, 2_000), Ok(()));
        assert_eq!(
            check_not_ahead(Timestamp(1_500_000), 1, last, 500_000),
            Ok(())
        );
        assert_eq!(
            check_not_ahead(Timestamp(1_500_001), 1, last, 500_000),
            Err(ClockFault::Ahead {
                ahead_ms: 500_001,
                chain_id: 1
            })
        );
    }
}
