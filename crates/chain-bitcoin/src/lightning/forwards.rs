//! Payments that others sent through us, each counted once.
//!
//! LDK names no payment that it forwarded, and repeats what a kill kept it from forgetting. So each is numbered here, and
//! that number is in one batch of the store with the channel manager that has forgotten the event: a restart finds both, or
//! neither.

use std::sync::{Arc, Mutex, PoisonError};

use borsh::{BorshDeserialize, BorshSerialize};
use lightning::events::Event;
use tokio::sync::{Notify, OwnedMutexGuard};

use super::node::Inner;
use super::observation::{ChannelNumber, Observation};
use super::payment::Unheard;
use super::record;
use crate::Fault;

const FORWARDS: &[u8] = b"forward/";
/// The number of the last one.
const COUNT: &[u8] = b"forwards";

/// What is earned by one payment that passed through.
#[derive(Clone, Copy, BorshSerialize, BorshDeserialize)]
struct Forward {
    /// All that stays with us, in msat.
    fee_msat: u64,
    /// What of it was withheld from the payee, for a channel that it bought, in msat.
    withheld_msat: u64,
    to: Option<u128>,
}

/// Holds the writer back from the moment when a forward is counted until LDK has forgotten its event.
#[derive(Default)]
pub(crate) struct Counting {
    /// Held by the writer while it puts a batch together.
    gate: Arc<tokio::sync::Mutex<()>>,
    counted: Mutex<Option<OwnedMutexGuard<()>>>,
    news: Notify,
}

impl Counting {
    /// Runs what puts a batch together, not from an async task.
    pub(crate) fn apart<T>(&self, put_together: impl FnOnce() -> T) -> T {
        let _gate = self.gate.blocking_lock();
        put_together()
    }

    /// Whether one was counted that LDK has not forgotten: no other event is handled until it has.
    pub(crate) fn is_under_way(&self) -> bool {
        self.lock().is_some()
    }

    /// LDK has forgotten what was counted. Says whether that was anything.
    pub(crate) fn end(&self) -> bool {
        let was = self.lock().take().is_some();
        if was {
            self.news.notify_one();
        }
        was
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<OwnedMutexGuard<()>>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// A payment passed through. Where its fee is not known, the channel that it came by was closed: what comes back of that
    /// says it.
    pub(crate) async fn forwarded(&self, event: Event) -> Result<(), Unheard> {
        let Event::PaymentForwarded {
            prev_channel_id,
            next_channel_id,
            next_user_channel_id,
            total_fee_earned_msat,
            skimmed_fee_msat,
            outbound_amount_forwarded_msat,
            ..
        } = event
        else {
            return Ok(());
        };
        let by_id = next_channel_id.and_then(|id| self.number_of(&id).ok().flatten());
        let to = next_user_channel_id.map(ChannelNumber).or(by_id);
        let withheld_msat = skimmed_fee_msat.unwrap_or(0);
        if let (Some(channel), Some(id)) = (to, next_channel_id) {
            self.sale_forwarded(channel, id, withheld_msat).await;
        }
        let forward = Forward {
            fee_msat: total_fee_earned_msat.unwrap_or(0),
            withheld_msat,
            to: to.map(|channel| channel.0),
        };
        let gate = Arc::clone(&self.counting.gate).lock_owned().await;
        let number = self.forwards().map_err(|fault| {
            tracing::error!(target: "lightning", %fault, "a forwarded payment cannot be counted");
            Unheard
        })? + 1;
        if let (Some(from), Some(to), Some(went_msat)) = (
            prev_channel_id,
            next_channel_id,
            outbound_amount_forwarded_msat,
        ) {
            let came_msat = went_msat.saturating_add(forward.fee_msat);
            self.closings.forwarded(from, came_msat, to, went_msat);
        }
        let earned = to.and_then(|channel| self.sale_earned(channel, withheld_msat));
        let counted = [
            (forward_key(number), Some(record::write(&forward))),
            (COUNT.to_vec(), Some(record::write(&number))),
        ];
        self.store.write(counted.into_iter().chain(earned));
        *self.counting.lock() = Some(gate);
        Ok(())
    }

    fn forwards(&self) -> Result<u64, Fault> {
        let count = self.store.read(COUNT)?;
        Ok(count.as_deref().map(record::read).transpose()?.unwrap_or(0))
    }
}

/// Tells of each forward once it is durable, and forgets it once it was heard.
pub(crate) async fn tell_forwards(inner: Arc<Inner>) {
    let mut told = 0;
    loop {
        if inner.store.durable().await.is_err() {
            return;
        }
        let kept = match inner.store.written_under(FORWARDS) {
            Ok(kept) => kept,
            Err(fault) => {
                tracing::error!(target: "lightning", %fault, "forwarded payments cannot be read");
                return;
            }
        };
        for (key, value) in kept {
            let Some((number, observation)) = observation_of(&key, &value) else {
                tracing::error!(target: "lightning", "a forwarded payment cannot be read");
                continue;
            };
            if number <= told {
                continue;
            }
            while inner.tell(observation.clone()).await.is_err() {}
            told = number;
            inner.store.write([(forward_key(number), None)]);
        }
        inner.counting.news.notified().await;
    }
}

fn observation_of(key: &[u8], value: &[u8]) -> Option<(u64, Observation)> {
    let number = u64::from_be_bytes(key.try_into().ok()?);
    let forward: Forward = record::read(value).ok()?;
    let told = Observation::Forwarded {
        number,
        fee_msat: forward.fee_msat,
        withheld_msat: forward.withheld_msat,
        to: forward.to.map(ChannelNumber),
    };
    Some((number, told))
}

fn forward_key(number: u64) -> Vec<u8> {
    [FORWARDS, &number.to_be_bytes()].concat()
}
