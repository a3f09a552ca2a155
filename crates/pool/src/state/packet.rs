//! Packets in flight: a slab with ids that are reused last, and a wheel of expiries threaded through it.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_ledger::TransferId;
use forebay_quantity::{PacketId, PeerId, Timestamp};

use super::bounds::PACKETS_MAX;

const SLOT_BITS: u32 = 20;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;
const BUCKETS: usize = 1 << 10;
/// Milliseconds in a bucket, as a power of two: 1,024 buckets of 64 ms reach 65 s.
const BUCKET_SHIFT: u32 = 6;
const NONE: u32 = u32::MAX;

/// One packet that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Packet {
    /// Who sent it.
    pub in_peer: PeerId,
    /// The sender's request id.
    pub in_request: u32,
    /// Who has it.
    pub out_peer: PeerId,
    /// In the sender's base units.
    pub amount_in: u64,
    /// In the next hop's base units.
    pub amount_out: u64,
    /// Kept by the pool, in the next hop's base units.
    pub fee: u64,
    /// When we answer R00.
    pub expires_out: Timestamp,
    /// SHA-256 of the preimage that fulfils it.
    pub condition: [u8; 32],
    /// The pending legs; `None` for an amount of zero.
    pub transfer: Option<TransferId>,
}

#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
struct Slot {
    generation: u32,
    packet: Option<Packet>,
    previous: u32,
    next: u32,
}

/// All packets in flight.
#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub(crate) struct Packets {
    slots: Vec<Slot>,
    free: VecDeque<u32>,
    count: u32,
    heads: Vec<u32>,
    /// No packet expires before this.
    floor: Timestamp,
}

impl Packets {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: VecDeque::new(),
            count: 0,
            heads: vec![NONE; BUCKETS],
            floor: Timestamp(u64::MAX),
        }
    }

    /// The id that the next packet will have; `None` when every slot is taken [I12].
    pub(crate) fn next_id(&self) -> Option<PacketId> {
        if let Some(&slot) = self.free.front() {
            return Some(id(slot, self.slots[slot as usize].generation));
        }
        let slot = u32::try_from(self.slots.len())
            .ok()
            .filter(|&slot| (slot as usize) < PACKETS_MAX)?;
        Some(id(slot, 0))
    }

    pub(crate) fn find(&self, packet: PacketId) -> Option<&Packet> {
        let slot = self.slots.get((packet.0 & SLOT_MASK) as usize)?;
        (slot.generation == packet.0 >> SLOT_BITS)
            .then_some(slot.packet.as_ref())
            .flatten()
    }

    pub(crate) fn insert(&mut self, packet_id: PacketId, packet: Packet) {
        assert_eq!(
            self.next_id(),
            Some(packet_id),
            "[I10] events replay in the order they were made"
        );
        let slot = packet_id.0 & SLOT_MASK;
        if self.free.pop_front().is_none() {
            self.slots.push(Slot {
                generation: 0,
                packet: None,
                previous: NONE,
                next: NONE,
            });
        }
        self.floor = self.floor.min(packet.expires_out);
        self.count += 1;
        let head = &mut self.heads[bucket(packet.expires_out)];
        let next = core::mem::replace(head, slot);
        if next != NONE {
            self.slots[next as usize].previous = slot;
        }
        let place = &mut self.slots[slot as usize];
        place.packet = Some(packet);
        place.previous = NONE;
        place.next = next;
    }

    /// Takes a packet out; the caller resolves its legs.
    pub(crate) fn remove(&mut self, packet_id: PacketId, now: Timestamp) -> Packet {
        let slot = packet_id.0 & SLOT_MASK;
        let place = &mut self.slots[slot as usize];
        assert_eq!(
            place.generation,
            packet_id.0 >> SLOT_BITS,
            "[I3] a packet resolves once"
        );
        let packet = place.packet.take().expect("[I3] a packet resolves once");
        place.generation = (place.generation + 1) & (u32::MAX >> SLOT_BITS);
        let (previous, next) = (place.previous, place.next);
        match previous {
            NONE => self.heads[bucket(packet.expires_out)] = next,
            before => self.slots[before as usize].next = next,
        }
        if next != NONE {
            self.slots[next as usize].previous = previous;
        }
        self.free.push_back(slot);
        self.count -= 1;
        self.raise_floor(now);
        packet
    }

    /// Packets whose time is up, at most `most`.
    pub(crate) fn expired(
        &self,
        now: Timestamp,
        most: usize,
    ) -> impl Iterator<Item = (PacketId, &Packet)> {
        let first = self.floor.0 >> BUCKET_SHIFT;
        let last = (now.0 >> BUCKET_SHIFT).min(first.saturating_add(BUCKETS as u64 - 1));
        let turns = if self.count == 0 || last < first {
            0
        } else {
            last - first + 1
        };
        (first..first.saturating_add(turns))
            .flat_map(move |turn| self.bucket_slots(turn))
            .filter(move |(_, packet)| packet.expires_out <= now)
            .take(most)
    }

    /// When the next packet may expire; never later than it does.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        if self.count == 0 {
            return None;
        }
        let first = self.floor.0 >> BUCKET_SHIFT;
        let own_turn = |turn: u64| {
            let expiries = self
                .bucket_slots(turn)
                .map(|(_, packet)| packet.expires_out);
            // A bucket may also hold packets of a later turn of the wheel.
            expiries
                .filter(|expiry| expiry.0 >> BUCKET_SHIFT <= turn)
                .min()
        };
        let soonest = (first..first.saturating_add(BUCKETS as u64)).find_map(own_turn);
        soonest.or_else(|| self.iter().map(|(_, packet)| packet.expires_out).min())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PacketId, &Packet)> {
        self.slots.iter().zip(0u32..).filter_map(|(slot, number)| {
            slot.packet
                .as_ref()
                .map(|packet| (id(number, slot.generation), packet))
        })
    }

    fn bucket_slots(&self, turn: u64) -> impl Iterator<Item = (PacketId, &Packet)> {
        let mut slot = self.heads[turn_bucket(turn)];
        core::iter::from_fn(move || {
            let place = self.slots.get(slot as usize)?;
            let this = id(slot, place.generation);
            slot = place.next;
            Some((
                this,
                place
                    .packet
                    .as_ref()
                    .expect("a threaded slot holds a packet"),
            ))
        })
    }

    /// Lets the floor follow the clock over empty buckets, so that a tick looks only where something is.
    fn raise_floor(&mut self, now: Timestamp) {
        if self.count == 0 {
            self.floor = Timestamp(u64::MAX);
            return;
        }
        while self.floor < now && self.heads[bucket(self.floor)] == NONE {
            self.floor = Timestamp(((self.floor.0 >> BUCKET_SHIFT) + 1) << BUCKET_SHIFT);
        }
    }
}

fn id(slot: u32, generation: u32) -> PacketId {
    PacketId(generation << SLOT_BITS | slot)
}

fn bucket(at: Timestamp) -> usize {
    turn_bucket(at.0 >> BUCKET_SHIFT)
}

fn turn_bucket(turn: u64) -> usize {
    (turn % BUCKETS as u64) as usize
}
