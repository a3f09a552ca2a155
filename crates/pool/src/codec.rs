//! One batch of events as the journal keeps it: the stamp in milliseconds (u64, little-endian), then each event in
//! borsh, to the end of the payload (`spec/events.md`).

use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::Timestamp;

use crate::event::Event;

pub(crate) fn start(batch: &mut Vec<u8>, stamp: Timestamp) {
    batch.extend_from_slice(&stamp.0.to_le_bytes());
}

pub(crate) fn append(batch: &mut Vec<u8>, event: &Event) {
    event.serialize(batch).expect("memory takes every byte");
}

/// The stamp and the events of a payload; an event that cannot be read ends the iteration with an error.
pub(crate) fn read(
    payload: &[u8],
) -> Option<(Timestamp, impl Iterator<Item = Option<Event>> + '_)> {
    let (stamp, mut rest) = payload.split_first_chunk::<8>()?;
    let events = core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let event = Event::deserialize(&mut rest).ok();
        if event.is_none() {
            rest = &[];
        }
        Some(event)
    });
    Some((Timestamp(u64::from_le_bytes(*stamp)), events))
}

/// The events of a journal payload, for audits and read models; `None` where one cannot be read, and nothing after it.
pub fn events_of(payload: &[u8]) -> impl Iterator<Item = Option<Event>> + '_ {
    let read = read(payload);
    let is_unreadable = read.is_none();
    let events = read.map(|(_, events)| events);
    events
        .into_iter()
        .flatten()
        .chain(is_unreadable.then_some(None))
}
