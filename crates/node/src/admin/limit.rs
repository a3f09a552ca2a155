//! How often somebody may ask.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A steady rate, and how far it may be run ahead of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// Between two requests, in the long run.
    pub(super) every: Duration,
    /// What may be asked for at once, as so much time ahead.
    pub(super) ahead: Duration,
}

/// Of each token: 100 a second, 400 at once. A page of the dashboard asks for five things every two seconds.
pub(super) const OF_A_TOKEN: Rate = Rate {
    every: Duration::from_millis(10),
    ahead: Duration::from_secs(4),
};
/// Of all requests without a valid token together: ten a second, 30 at once. A token cannot be guessed at that rate.
pub(super) const OF_STRANGERS: Rate = Rate {
    every: Duration::from_millis(100),
    ahead: Duration::from_secs(3),
};

/// Counts one caller's requests by the time at which its next one would be due.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    due: Mutex<Option<Instant>>,
}

impl Bucket {
    pub(super) const fn new(rate: Rate) -> Self {
        Self {
            rate,
            due: Mutex::new(None),
        }
    }

    /// Takes one request, or says how long to wait.
    pub(super) fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let next = due.map_or(now, |due| due.max(now)) + self.rate.every;
        let ahead = next.duration_since(now);
        if ahead > self.rate.ahead {
            return Err(ahead - self.rate.ahead);
        }
        *due = Some(next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_one_at_each_interval() {
        let rate = Rate {
            every: Duration::from_millis(100),
            ahead: Duration::from_millis(300),
        };
        let (bucket, start) = (Bucket::new(rate), Instant::now());
        for _ in 0..3 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        assert_eq!(bucket.take(start), Err(Duration::from_millis(100)));
        let later = start + Duration::from_millis(100);
        assert_eq!(bucket.take(later), Ok(()));
        assert!(bucket.take(later).is_err());
    }
}
