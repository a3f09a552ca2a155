//! The writer: one thread that makes durable, with one sync, all that waits, and then lets go what waited for it.
//!
//! LDK holds back each message that depends on a monitor's update until the update is confirmed. The channel manager is
//! serialised after the updates were taken and is written with them, in one transaction: so on disk it is never behind a
//! monitor, for which LDK would close the channel, and each update that it has made and that is not on disk is in it as
//! under way, from where LDK repeats it after a restart. Our records are taken after that: LDK forgets an event once its
//! record is queued, so no manager on disk has forgotten what no record on disk says.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use lightning::util::ser::Writeable;
use lightning::util::wakers::Future;

use super::node::Inner;

/// LDK rings for all that it wants done; this is for what it forgets.
const ROUND_MAX: Duration = Duration::from_secs(1);

pub(crate) const MANAGER: &[u8] = b"manager";

/// Wakes the writer.
#[derive(Default)]
pub(crate) struct Wake {
    rung: Mutex<bool>,
    condition: Condvar,
}

impl Wake {
    pub(crate) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.condition.notify_one();
    }

    fn wait(&self) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut rung, _) = self
            .condition
            .wait_timeout_while(rung, ROUND_MAX, |rung| !*rung)
            .unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}

/// Rings the writer once for each time that LDK says something is to be done.
#[derive(Default)]
struct Bell(Arc<AtomicBool>);

impl Bell {
    fn arm(&self, wake: &Arc<Wake>, future: impl FnOnce() -> Future) {
        if self.0.swap(true, Ordering::SeqCst) {
            return;
        }
        let (armed, wake) = (Arc::clone(&self.0), Arc::clone(wake));
        future().register_callback(Box::new(move || {
            armed.store(false, Ordering::SeqCst);
            wake.ring();
        }));
    }
}

/// Writes until the node ends, or the disk fails.
pub(crate) fn run(inner: &Inner, wake: &Arc<Wake>) {
    // However this thread ends, by a panic too: without it nothing is durable any more.
    let _ends_with_this_thread = Ending(inner);
    let (channels_bell, monitors_bell) = (Bell::default(), Bell::default());
    loop {
        channels_bell.arm(wake, || {
            inner.channels.get_event_or_persistence_needed_future()
        });
        monitors_bell.arm(wake, || inner.monitors.get_update_future());
        let ending = inner.has_ended();
        move_payments_on(inner);
        let wrote = match write(inner) {
            Ok(wrote) => wrote,
            Err(fault) => {
                tracing::error!(target: "lightning", %fault, "the node stops");
                return;
            }
        };
        inner.ring_events();
        if ending {
            return;
        }
        if !wrote {
            wake.wait();
        }
    }
}

struct Ending<'a>(&'a Inner);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store.end();
        self.0.end();
    }
}

/// Without the delay that hides from an onlooker which payments belong together: here it would hide nothing, and it is
/// most of a payment's time.
fn move_payments_on(inner: &Inner) {
    inner.peers.process_events();
    if inner.channels.needs_pending_htlc_processing() {
        inner.channels.process_pending_htlc_forwards();
        inner.peers.process_events();
    }
}

/// Whether there was something to write.
fn write(inner: &Inner) -> Result<bool, crate::Fault> {
    // This order is what the module's first page promises. Confirmed is only what the batch is sure to contain; the manager
    // is younger than all monitors, and older than all records, in it.
    let queued = inner.persister.take_queued();
    let batch = inner.counting.apart(|| {
        let monitors = inner.store.take_monitors();
        let has_changed = inner.channels.get_and_clear_needs_persistence() || !monitors.is_empty();
        let manager = has_changed.then(|| (MANAGER.to_vec(), inner.channels.encode()));
        inner.store.take(monitors, manager)
    });
    if batch.is_empty() && queued.is_empty() {
        return Ok(false);
    }
    if !batch.is_empty() {
        inner.store.commit(batch)?;
    }
    for (channel, update) in queued {
        // LDK has forgotten a monitor only when it asked to archive it.
        let _unless_forgotten = inner.monitors.channel_monitor_updated(channel, update);
    }
    inner.peers.process_events();
    Ok(true)
}
