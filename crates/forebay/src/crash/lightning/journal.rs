//! What the journal of a killed pool says of its settlements, read by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use forebay_journal::{Journal, LocalDisk};
use forebay_pool::{Event, LightningEvent, Sequencer, State, events_of};
use forebay_quantity::{Amount, EffectId, Hash32, PeerId};

/// Settlements both ways, as the journal has them.
#[derive(Default)]
pub(super) struct Payments {
    pub(super) paid: u64,
    pub(super) received: u64,
    pub(super) paid_msat: u128,
    pub(super) received_msat: u128,
    begun: BTreeMap<EffectId, Amount>,
    /// Of each settlement, its only hash.
    hashed: BTreeMap<EffectId, Hash32>,
    hashes: BTreeSet<Hash32>,
    ended: BTreeSet<EffectId>,
    arrived: BTreeSet<(PeerId, u64)>,
}

impl Payments {
    /// Reads the journal from its first frame.
    ///
    /// # Errors
    /// When it cannot be replayed, or a settlement has two hashes, two ends, or a hash that another one had.
    pub(super) fn read(data: &Path) -> Result<Self> {
        let storage = Arc::new(LocalDisk::read_only(data.join("journal")));
        let mut recovery = Journal::replay(storage, [0; 32])?;
        let mut payments = Self::default();
        let mut sequencer = Sequencer::new(State::default());
        while let Some(frame) = recovery.next_frame()? {
            for event in events_of(frame.payload) {
                if let Event::Lightning(event) = event.context("an event of another version")? {
                    payments.take(event)?;
                }
            }
            sequencer
                .replay(frame.payload)
                .map_err(|_| anyhow!("frame {} cannot be replayed", frame.sequence))?;
        }
        let balanced = sequencer.state().ledger().check_balanced();
        balanced.map_err(|error| anyhow!("{error:?}"))?;
        Ok(payments)
    }

    /// Whether one has a hash and no end: the node may have begun to pay it.
    pub(super) fn is_under_way(&self) -> bool {
        self.hashed.keys().any(|id| !self.ended.contains(id))
    }

    fn take(&mut self, event: LightningEvent) -> Result<()> {
        match event {
            LightningEvent::SettlementBegun {
                settlement, amount, ..
            } => {
                self.begun.insert(settlement, amount);
            }
            LightningEvent::SettlementHashed {
                settlement, hash, ..
            } => {
                ensure!(
                    self.hashed.insert(settlement, hash).is_none(),
                    "settlement {settlement} has two payment hashes [I16]"
                );
                ensure!(
                    self.hashes.insert(hash),
                    "hash {hash} pays two settlements [I16]"
                );
            }
            LightningEvent::SettlementPaid { settlement, .. } => {
                self.end(settlement)?;
                let amount = self.begun.get(&settlement);
                let amount = amount.context("a settlement was paid that was never begun")?;
                self.paid += 1;
                self.paid_msat += amount.value();
            }
            LightningEvent::SettlementFailed { settlement, .. } => self.end(settlement)?,
            LightningEvent::Received {
                peer,
                settlement,
                amount,
            } => {
                ensure!(
                    self.arrived.insert((peer, settlement)),
                    "settlement {settlement} of peer {peer} was received twice [I11]"
                );
                self.received += 1;
                self.received_msat += amount.value();
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, settlement: EffectId) -> Result<()> {
        ensure!(
            self.ended.insert(settlement),
            "settlement {settlement} ended twice [I3]"
        );
        Ok(())
    }
}
