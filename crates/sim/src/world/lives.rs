//! The pool's batches, its deaths and its restarts.

use forebay_pool::{Command, Rejection, outstanding};

use super::{Death, Mail, START_MS, World};
use crate::{setup, trace};

impl World {
    // Batches.

    /// Plans, appends, syncs and releases, dying on the way if told to.
    pub(crate) fn end_batch(&mut self, death: Option<Death>) {
        if !self.is_up() || self.halted {
            return;
        }
        let wall = self.wall();
        self.process.sequencer().plan(wall);
        let payload = self.process.sequencer().batch().map(<[u8]>::to_vec);
        if death == Some(Death::BeforeAppend) {
            return self.crash("crash before append");
        }
        if let Some(payload) = payload {
            self.count_events(&payload);
            let sequence = self.process.expect_frame();
            self.auditor.appends(sequence);
            if let Err(fault) = self.process.append(&payload) {
                return self.halt(&fault);
            }
            if death == Some(Death::BeforeSync) {
                return self.crash("crash before sync");
            }
            if let Err(fault) = self.process.sync() {
                return self.halt(&fault);
            }
            self.auditor.synced();
        }
        if death == Some(Death::BeforeRelease) {
            return self.crash("crash before release");
        }
        let mut effects = Vec::new();
        self.process
            .sequencer()
            .release(|effect| effects.push(effect));
        for effect in &effects {
            self.carry_out(effect, false);
        }
        self.auditor.released_batch();
        self.bitcoin_is_durable();
        if death == Some(Death::AfterRelease) {
            return self.crash("crash after release");
        }
        self.check();
        if !self.calm && self.random.chance(20) {
            self.copy = Some(self.process.storage.files());
        }
        if !self.calm && self.random.chance(6) {
            let prune = self.random.chance(100);
            if self.process.snapshot(prune) {
                self.counts.add("act", "snapshot");
            }
        }
        self.tell_witnesses();
    }

    pub(crate) fn check(&self) {
        let state = self.process.state();
        let lightning = self.bitcoin.as_ref().map(|bitcoin| &bitcoin.lightning);
        self.auditor
            .check(state, (&self.chain, lightning), |asset| {
                self.caught_up(asset)
            });
    }

    pub(super) fn count_events(&mut self, payload: &[u8]) {
        for name in crate::events::names(payload) {
            self.counts.add("event", name);
        }
    }

    /// The journal failed: the pool stops taking anything, and a restart comes later.
    pub(super) fn halt(&mut self, fault: &forebay_journal::Fault) {
        let kind = if fault.is_full() {
            "disk full"
        } else {
            "disk failed"
        };
        self.counts.add("fault", kind);
        self.stop_for(&format!("{kind}: {fault}"));
    }

    pub(super) fn stop_for(&mut self, why: &str) {
        trace::step(|| format!("{} {why}", self.now - START_MS));
        self.process.sequencer().halt();
        self.halted = true;
        self.restart_at = self.now + self.random.below(30_000);
        let mut leaked = 0;
        self.process.sequencer().release(|_| leaked += 1);
        assert_eq!(leaked, 0, "[I7] effects left after the journal failed");
        let refused = self.apply(&Command::Tick);
        assert_eq!(
            refused,
            Err(Rejection::Halted),
            "[I7] a pool without a journal takes commands"
        );
    }

    pub(crate) fn crash(&mut self, kind: &'static str) {
        self.counts.add("fault", kind);
        let power_lost = self.random.chance(600);
        let span = if self.random.chance(30) {
            self.counts.add("fault", "down for hours");
            self.random.between(3_600_000, 60_000_000)
        } else {
            self.random.magnitude(6)
        };
        self.die(power_lost, span);
    }

    pub(super) fn die(&mut self, power_lost: bool, down_ms: u64) {
        trace::step(|| {
            format!(
                "{} the pool dies (power lost: {power_lost})",
                self.now - START_MS
            )
        });
        self.counts
            .add("fault", if power_lost { "power lost" } else { "killed" });
        self.process.die(power_lost);
        self.kill_node();
        self.halted = false;
        self.restart_at = self.now + down_ms;
        // What was on the links to the pool is gone with it.
        self.mail.retain(|_, mail| {
            !matches!(
                mail,
                Mail::Fulfill { .. }
                    | Mail::Reject { .. }
                    | Mail::Voucher { .. }
                    | Mail::InvoiceTold { .. }
                    | Mail::InvoiceAsked { .. }
            )
        });
    }

    pub(super) fn restart(&mut self) {
        let sleepy = if self.calm { 0 } else { 150 };
        self.witnesses.sleep(&mut self.random, sleepy);
        if let Some(files) = self.copy.take_if(|_| !self.calm && self.random.chance(300)) {
            self.start_old_copy(files);
        }
        let sequence = self.process.start();
        if !self.prove(sequence) {
            self.counts.add("fault", "too few witnesses");
            self.process.die(false);
            self.restart_at = self.now + 5_000;
            return;
        }
        self.auditor
            .goes_on(sequence, self.process.state(), self.actors.iter());
        trace::step(|| {
            format!(
                "{} the pool restarts at frame {sequence}",
                self.now - START_MS
            )
        });
        let state = self.process.state();
        self.auditor.recovered(sequence, state);
        let owed = outstanding(state);
        self.adapter.restarted(&self.chain);
        for effect in &owed {
            self.carry_out(effect, true);
        }
        self.auditor.released_batch();
        self.up_since = self.now;
        // The follower catches up before anything is decided.
        let limit = std::mem::replace(&mut self.poll_limit, usize::MAX);
        self.poll_chain();
        self.poll_limit = limit;
        setup::match_actors(self);
        for number in 0..self.actors.len() {
            self.reconnect(number);
        }
    }
}
