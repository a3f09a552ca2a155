//! Pending transfers in a slab whose slots are used again in the order they became free.

use crate::leg::{Leg, LegList};
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;

/// The most transfers pending at once: four times the packets that a 20-bit slot can number.
pub const TRANSFERS_MAX: u32 = 1 << 22;

/// Names one pending transfer; its generation tells it from all that had the slot before.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize,
)]
pub struct TransferId {
    /// The slot in the slab.
    pub slot: u32,
    /// How often the slot was used before; wraps.
    pub generation: u32,
}

impl fmt::Display for TransferId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.slot, self.generation)
    }
}

/// Slots of pending transfers and a first-in first-out list of the free ones.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct Transfers {
    slots: Vec<Slot>,
    free_first: u32,
    free_last: u32,
    pending_count: u32,
}

#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
struct Slot {
    generation: u32,
    /// The free slot after this one, [`LIST_END`], or [`IN_USE`].
    next: u32,
    legs: LegList,
}

const LIST_END: u32 = u32::MAX;
const IN_USE: u32 = u32::MAX - 1;

impl Transfers {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            slots: Vec::with_capacity(capacity),
            free_first: LIST_END,
            free_last: LIST_END,
            pending_count: 0,
        }
    }

    pub(crate) const fn pending_count(&self) -> u32 {
        self.pending_count
    }

    /// The id that the next [`Transfers::insert`] gives.
    pub(crate) fn next_id(&self) -> TransferId {
        match self.slots.get(index(self.free_first)) {
            Some(slot) => TransferId {
                slot: self.free_first,
                generation: slot.generation,
            },
            None => TransferId {
                slot: self.slot_count(),
                generation: 0,
            },
        }
    }

    #[inline]
    pub(crate) fn insert(&mut self, legs: &[Leg]) -> TransferId {
        self.pending_count += 1;
        if self.free_first == LIST_END {
            return self.insert_new(legs);
        }
        let at = self.free_first;
        let slot = &mut self.slots[index(at)];
        self.free_first = slot.next;
        if self.free_first == LIST_END {
            self.free_last = LIST_END;
        }
        slot.next = IN_USE;
        slot.legs.fill(legs);
        TransferId {
            slot: at,
            generation: slot.generation,
        }
    }

    #[cold]
    fn insert_new(&mut self, legs: &[Leg]) -> TransferId {
        let at = self.slot_count();
        assert!(
            at < TRANSFERS_MAX,
            "[I12] more than {TRANSFERS_MAX} transfers are pending"
        );
        let mut list = LegList::EMPTY;
        list.fill(legs);
        self.slots.push(Slot {
            generation: 0,
            next: IN_USE,
            legs: list,
        });
        TransferId {
            slot: at,
            generation: 0,
        }
    }

    /// The legs of a pending transfer; halts unless `id` is pending.
    #[inline]
    pub(crate) fn legs(&self, id: TransferId) -> &[Leg] {
        // [I3] An unknown id and one resolved before look alike: neither is pending now.
        match self.find(id) {
            Some(legs) => legs,
            None => halt_not_pending(id),
        }
    }

    /// Frees the slot of a transfer whose legs were just taken: nobody finds it by `id` again.
    #[inline]
    pub(crate) fn free(&mut self, id: TransferId) {
        let slot = &mut self.slots[index(id.slot)];
        slot.legs.fill(&[]);
        slot.generation = slot.generation.wrapping_add(1);
        slot.next = LIST_END;
        self.pending_count -= 1;
        match self.slots.get_mut(index(self.free_last)) {
            Some(last) => last.next = id.slot,
            None => self.free_first = id.slot,
        }
        self.free_last = id.slot;
    }

    #[inline]
    pub(crate) fn find(&self, id: TransferId) -> Option<&[Leg]> {
        let slot = self.slots.get(index(id.slot))?;
        (slot.next == IN_USE && slot.generation == id.generation).then(|| slot.legs.as_slice())
    }

    /// All pending transfers, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TransferId, &[Leg])> {
        let in_use = (0..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.next == IN_USE);
        in_use.map(|(at, slot)| {
            let id = TransferId {
                slot: at,
                generation: slot.generation,
            };
            (id, slot.legs.as_slice())
        })
    }

    fn slot_count(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("TRANSFERS_MAX slots at most")
    }
}

#[cold]
fn halt_not_pending(id: TransferId) -> ! {
    panic!("[I3] transfer {id} is not pending");
}

#[inline]
const fn index(slot: u32) -> usize {
    // Widening on every target this runs on: usize has at least 32 bits.
    slot as usize
}
