//! The sequencer: stamps commands, decides, evolves in memory, collects the batch to make durable, and lets effects
//! out only after that [I7]. It does no I/O: the shell appends, syncs and says so.

use alloc::vec;
use alloc::vec::Vec;

use forebay_quantity::{AssetId, PeerId, Timestamp};

use crate::codec;
use crate::command::{Command, VaultFact};
use crate::decide::{decide, next_deadline, plan_assets, plan_peer, wakes};
use crate::effect::{Effect, effects};
use crate::event::Event;
use crate::evolve::{advance, evolve};
use crate::rejection::Rejection;
use crate::state::State;

/// A journal that this core cannot have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequencerFault {
    /// How many events of the payload were applied before the one that cannot be read.
    pub applied: usize,
}

/// Peers looked at in each plan beside those that something happened to.
const SCANNED_PER_PLAN: u32 = 32;
/// Steps for one peer or for all assets in one plan.
const STEPS_PER_PLAN: usize = 8;

/// The one writer of the state.
pub struct Sequencer {
    state: State,
    batch: Vec<u8>,
    records: u32,
    stamp: Option<Timestamp>,
    events: Vec<Event>,
    /// What the batch holds beside packets, each with its place in it.
    told: Vec<(u32, Event)>,
    effects: Vec<Effect>,
    touched: Vec<PeerId>,
    is_touched: Vec<bool>,
    scan: u32,
    syncing: bool,
    halted: bool,
}

impl Sequencer {
    /// Takes over a state: a new one, or one from a snapshot.
    pub fn new(state: State) -> Self {
        let peers = state.peers.len();
        Self {
            state,
            batch: Vec::new(),
            records: 0,
            stamp: None,
            events: Vec::with_capacity(64),
            told: Vec::new(),
            effects: Vec::new(),
            touched: Vec::new(),
            is_touched: vec![false; peers],
            scan: 0,
            syncing: false,
            halted: false,
        }
    }

    /// Applies one journalled batch.
    ///
    /// # Errors
    /// When the payload holds something that is no event of this version.
    pub fn replay(&mut self, payload: &[u8]) -> Result<(), SequencerFault> {
        let (stamp, events) = codec::read(payload).ok_or(SequencerFault { applied: 0 })?;
        advance(&mut self.state, stamp);
        self.told.clear();
        for (applied, event) in events.enumerate() {
            let event = event.ok_or(SequencerFault { applied })?;
            evolve(&mut self.state, &event);
            if !event.is_of_packet() {
                let at = u32::try_from(applied).expect("[I12] a batch is bounded");
                self.told.push((at, event));
            }
        }
        Ok(())
    }

    /// The state as decided so far, synced or not.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes a next hop that the route exchange chose, or forgets it. It is no event: packets are journalled with the hop
    /// that they took, so a replay needs no routes.
    pub fn learn(&mut self, prefix: Vec<u8>, hop: Option<PeerId>) {
        self.state.routes.learn(prefix, hop);
    }

    /// An asset's chain is heard of: this is its newest block's time. It is no event: a voucher that counts is one, so a
    /// replay needs no blocks.
    pub fn hear(&mut self, asset: AssetId, at: Timestamp) {
        if self.state.asset(asset).is_none() {
            return;
        }
        let heard = self.state.heard.entry(asset).or_insert(at);
        *heard = at.max(*heard);
    }

    /// Decides a command at the wall clock's time, which counts only where it does not go back.
    ///
    /// # Errors
    /// The core's no; nothing changed, but that a peer whose channels were closed as idle has one again soon.
    pub fn apply(&mut self, wall: Timestamp, command: &Command<'_>) -> Result<(), Rejection> {
        assert!(!self.syncing, "[I7] a batch being synced takes no more");
        if self.halted {
            return Err(Rejection::Halted);
        }
        let now = self.stamp.unwrap_or_else(|| self.state.now.max(wall));
        let mut events = core::mem::take(&mut self.events);
        let decided = decide(&self.state, now, command, &mut events);
        if decided.is_ok() {
            for event in &events {
                self.take(now, event);
            }
        } else if let Some(event) = wakes(&self.state, command, &decided) {
            self.take(now, &event);
        }
        events.clear();
        self.events = events;
        decided
    }

    /// Ends a batch: signs for, opens, raises, redeems and pays what is due for the peers that something happened to.
    pub fn plan(&mut self, wall: Timestamp) {
        if self.halted || self.state.genesis.is_none() {
            return;
        }
        let now = self.stamp.unwrap_or_else(|| self.state.now.max(wall));
        self.scan_some();
        while let Some(peer) = self.touched.pop() {
            self.is_touched[peer.0 as usize] = false;
            for _ in 0..STEPS_PER_PLAN {
                let Some(event) = plan_peer(&self.state, now, peer) else {
                    break;
                };
                self.take(now, &event);
            }
            // Its own steps touch it again; the next plan looks there.
            if self.touched.last() == Some(&peer) {
                self.touched.pop();
                self.is_touched[peer.0 as usize] = false;
            }
        }
        for _ in 0..STEPS_PER_PLAN {
            let Some(event) = plan_assets(&self.state, now) else {
                break;
            };
            self.take(now, &event);
        }
    }

    /// The payload to append and sync, if anything happened.
    pub fn batch(&mut self) -> Option<&[u8]> {
        if self.batch.is_empty() {
            return None;
        }
        self.syncing = true;
        Some(&self.batch)
    }

    /// Events in the open batch.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// After the sync: hands out every effect of the batch in order and begins the next batch.
    pub fn release(&mut self, mut each: impl FnMut(Effect)) {
        assert!(
            self.syncing || self.batch.is_empty(),
            "[I7] nothing leaves before its event is synced"
        );
        self.end_batch();
        for effect in self.effects.drain(..) {
            each(effect);
        }
    }

    /// After a failed append or sync: the state is ahead of the disk, so nothing leaves and nothing is taken any more.
    pub fn halt(&mut self) {
        #[cfg(feature = "planted-bugs")]
        if forebay_quantity::planted::is(forebay_quantity::planted::Bug::EffectsAfterFailure) {
            self.end_batch();
            self.halted = true;
            return;
        }
        self.effects.clear();
        self.told.clear();
        self.end_batch();
        self.halted = true;
    }

    /// The events of the last batch that are no packets', each with its place in it; a live feed is made of them. They
    /// may leave only after that batch is released [I7].
    pub fn told(&self) -> &[(u32, Event)] {
        assert!(!self.syncing, "[I7] nothing is told before it is synced");
        &self.told
    }

    /// When a tick is due.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        next_deadline(&self.state)
    }

    fn end_batch(&mut self) {
        self.batch.clear();
        self.records = 0;
        self.stamp = None;
        self.syncing = false;
    }

    fn take(&mut self, now: Timestamp, event: &Event) {
        if self.stamp.is_none() {
            self.stamp = Some(now);
            self.told.clear();
            codec::start(&mut self.batch, now);
            advance(&mut self.state, now);
        }
        codec::append(&mut self.batch, event);
        if !event.is_of_packet() {
            self.told.push((self.records, event.clone()));
        }
        self.records += 1;
        let concerned = concerned(&self.state, event);
        evolve(&mut self.state, event);
        if let Some(peer) = concerned {
            self.touch(peer);
        }
        self.effects.extend(effects(event));
    }

    fn touch(&mut self, peer: PeerId) {
        let index = peer.0 as usize;
        if index >= self.is_touched.len() {
            self.is_touched
                .resize(self.state.peers.len().max(index + 1), false);
        }
        if !core::mem::replace(&mut self.is_touched[index], true) {
            self.touched.push(peer);
        }
    }

    /// Touches the next few peers in turn, so that deadlines and freed money reach everyone.
    fn scan_some(&mut self) {
        let count = u32::try_from(self.state.peers.len()).expect("[I12] peers are bounded");
        for _ in 0..count.min(SCANNED_PER_PLAN) {
            self.scan = if self.scan + 1 < count {
                self.scan + 1
            } else {
                0
            };
            self.touch(PeerId(self.scan));
        }
    }
}

/// The peer whose plans an event may change, as the state was before it.
fn concerned(state: &State, event: &Event) -> Option<PeerId> {
    match event {
        Event::PacketFulfilled { packet, .. } => {
            state.packet(*packet).map(|packet| packet.out_peer)
        }
        Event::VoucherHeld { peer, .. }
        | Event::VoucherSigned { peer, .. }
        | Event::KeysNamed { peer, .. }
        | Event::PeerSet(peer, _)
        | Event::PeerRemoved(peer) => Some(*peer),
        Event::Lightning(happened) => Some(happened.peer()),
        Event::ChainSaw { fact, .. } => {
            fact_serial(fact).and_then(|serial| state.channel_peer(serial))
        }
        Event::PacketPrepared { .. }
        | Event::PacketRejected { .. }
        | Event::PriceReported { .. }
        | Event::Founded(_)
        | Event::AssetAdded(..)
        | Event::AssetSet(..)
        | Event::BookHalted { .. }
        | Event::BookResumed(_)
        | Event::PeerAdded { .. }
        | Event::RouteAdded { .. }
        | Event::RouteRemoved { .. }
        | Event::ChainDemanded { .. }
        | Event::ChainSettled { .. }
        | Event::CommandTaken(_)
        | Event::InstructionTaken { .. }
        | Event::RelationSet(..)
        | Event::VaultRulesKnown(..)
        | Event::BitcoinAdded(..)
        | Event::IndexRaised { .. }
        | Event::BitcoinSaw(_)
        | Event::Claim(_)
        | Event::Reserve(_)
        | Event::LiquiditySet(_)
        | Event::LightningStored { .. }
        | Event::Sale(_)
        | Event::SalesSet(_) => None,
    }
}

fn fact_serial(fact: &VaultFact) -> Option<forebay_quantity::ChannelSerial> {
    match fact {
        VaultFact::ChannelOpened { serial, .. }
        | VaultFact::PeerDeposited { serial, .. }
        | VaultFact::PeerWithdrew { serial, .. }
        | VaultFact::AllotmentRaised { serial, .. }
        | VaultFact::AllotmentRenewed { serial, .. }
        | VaultFact::AllotmentLowered { serial, .. }
        | VaultFact::PoolPaid { serial, .. }
        | VaultFact::PeerPaid { serial, .. }
        | VaultFact::NoticeGiven { serial, .. }
        | VaultFact::NoticeDropped { serial, .. }
        | VaultFact::KeyChanged { serial, .. }
        | VaultFact::NettedOff { serial, .. }
        | VaultFact::ChannelClosed { serial, .. }
        | VaultFact::RaiseCosigned { serial, .. } => Some(*serial),
        VaultFact::NoteDeposited { .. }
        | VaultFact::ExitRequested { .. }
        | VaultFact::ExitPaid { .. }
        | VaultFact::IndexRaised { .. }
        | VaultFact::SharesDeposited { .. }
        | VaultFact::SharesWithdrawn { .. }
        | VaultFact::DeepReorg
        | VaultFact::HeartbeatSeen { .. }
        | VaultFact::Frozen { .. }
        | VaultFact::MarkedDown { .. }
        | VaultFact::RunDownStarted => None,
    }
}
