//! What the disk says after a kill, and whether it agrees with what everybody was told.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use forebay_journal::{Journal, LocalDisk};
use forebay_pool::{Event, Sequencer, State, events_of};
use forebay_quantity::PacketId;

use super::Verdict;
use super::life::{Life, Reply, preimage};

/// What the disk says after a kill.
pub(crate) struct Recovered {
    prepared: BTreeMap<u32, (PacketId, u64, u64)>,
    outcomes: BTreeMap<u32, Option<[u8; 32]>>,
    torn_tail: bool,
}

impl Recovered {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let storage = Arc::new(LocalDisk::read_only(folder.join("journal")));
        let mut recovery = Journal::replay(storage, [0; 32])?;
        let mut recovered = Self {
            prepared: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            torn_tail: recovery.report.torn_tail.is_some(),
        };
        let mut sequencer = Sequencer::new(State::default());
        while let Some(frame) = recovery.next_frame()? {
            for event in events_of(frame.payload) {
                recovered.take(event.context("an event of another version")?)?;
            }
            sequencer
                .replay(frame.payload)
                .map_err(|_| anyhow::anyhow!("frame {} cannot be replayed", frame.sequence))?;
        }
        recovered.compare_books(sequencer.state())?;
        Ok(recovered)
    }

    fn take(&mut self, event: Event) -> Result<()> {
        let (request, outcome) = match event {
            Event::PacketPrepared {
                packet,
                in_request,
                amount_in,
                amount_out,
                ..
            } => {
                self.prepared
                    .insert(in_request, (packet, amount_in, amount_out));
                return Ok(());
            }
            Event::PacketFulfilled {
                in_request,
                preimage,
                ..
            } => (in_request, Some(preimage)),
            Event::PacketRejected { in_request, .. } => (in_request, None),
            _ => return Ok(()),
        };
        ensure!(
            self.outcomes.insert(request, outcome).is_none(),
            "request {request} was resolved twice [I3]"
        );
        Ok(())
    }

    /// Sums kept here by plain addition against the ledger of the replayed state.
    fn compare_books(&self, state: &State) -> Result<()> {
        state
            .ledger()
            .check_balanced()
            .map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let fulfilled = self
            .outcomes
            .iter()
            .filter(|(_, outcome)| outcome.is_some());
        let paid_in: u64 = fulfilled
            .filter_map(|(request, _)| self.prepared.get(request))
            .map(|(_, paid_in, _)| paid_in)
            .sum();
        let Some(sender) = state.peer_named("sender").and_then(|peer| state.peer(peer)) else {
            return Ok(());
        };
        let owed = state.balance(sender.clearing).debit();
        ensure!(
            owed.value() == u128::from(paid_in),
            "the sender owes {owed}, its fulfilled packets sum to {paid_in}"
        );
        let waiting = u64::try_from(self.prepared.len() - self.outcomes.len())?;
        ensure!(
            u64::from(sender.in_flight) == waiting,
            "{waiting} packets wait, the books say {}",
            sender.in_flight
        );
        Ok(())
    }

    pub(crate) fn judge(&self, life: &Life, report: &mut Verdict) -> Result<()> {
        for (request, reply) in &life.replies {
            match (reply, self.outcomes.get(request)) {
                (Reply::Fulfilled(told), Some(Some(kept)))
                    if told == kept && *kept == preimage(*request) =>
                {
                    report.fulfilled += 1
                }
                (Reply::Rejected(_), Some(None)) => report.rejected += 1,
                // Refused at once: it never was in the books.
                (Reply::Rejected(_), None) if !self.prepared.contains_key(request) => {
                    report.rejected += 1
                }
                (Reply::Fulfilled(_), _) => bail!(
                    "the sender heard that request {request} was fulfilled; the journal does not know it [I7]"
                ),
                (Reply::Rejected(code), _) => {
                    bail!(
                        "the sender heard {} for request {request}; the journal says otherwise [I7]",
                        String::from_utf8_lossy(code)
                    )
                }
            }
            report.replies_compared += 1;
        }
        for (request, forward) in &life.forwards {
            let kept = self.prepared.get(request);
            let is_kept = kept.is_some_and(|(packet, _, amount_out)| {
                *packet == forward.packet && *amount_out == forward.amount
            });
            ensure!(
                is_kept,
                "the next hop got request {request}; the journal does not know it [I7]"
            );
            report.forwards_compared += 1;
        }
        let unsynced_prepares = life.sent.clone().any(|request| {
            !self.prepared.contains_key(&request) && !life.replies.contains_key(&request)
        });
        let unsynced_answers = life
            .forwards
            .keys()
            .any(|request| !self.outcomes.contains_key(request));
        report.kills_with_unsynced_commands += u32::from(unsynced_prepares || unsynced_answers);
        report.packets_sent += u64::from(life.sent.end - life.sent.start);
        report.torn_tails += u32::from(self.torn_tail);
        Ok(())
    }
}
