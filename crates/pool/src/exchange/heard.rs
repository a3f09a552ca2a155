//! What one neighbour has told us, how often it changed its word, and until when it counts.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use forebay_ilp::AddressBuf;
use forebay_ilp::ccp::{Span, TableId};
use forebay_quantity::{Milliseconds, Timestamp};

use super::bounds;

/// A way to a prefix, as the neighbour told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) path: Vec<AddressBuf>,
    pub(super) auth: [u8; 32],
}

#[derive(Debug)]
struct Word {
    /// `None` once withdrawn; remembered for the count.
    offer: Option<Offer>,
    /// Told of an earlier table and not yet of this one.
    is_stale: bool,
    flaps: u32,
    counted_from: Timestamp,
    held_until: Timestamp,
}

/// Everything heard from one neighbour.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) table: TableId,
    pub(super) epoch: u32,
    words: BTreeMap<Vec<u8>, Word>,
}

/// What an update does beside its routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    /// It goes on where we are.
    Directly,
    /// Something before it is missing.
    AfterAGap,
    /// It tells what we know.
    NotAtAll,
}

impl Heard {
    /// Judges where an update stands; a new table makes all that was told before stale.
    pub(super) fn follow(&mut self, span: &Span) -> Follows {
        if span.table != self.table {
            self.table = span.table;
            self.epoch = 0;
            for word in self.words.values_mut() {
                word.is_stale = true;
            }
        }
        if span.from_epoch > self.epoch {
            Follows::AfterAGap
        } else if span.to_epoch < self.epoch {
            Follows::NotAtAll
        } else {
            Follows::Directly
        }
    }

    /// Ends an update: prefixes of an earlier table that this one never named are withdrawn; returns them.
    pub(super) fn advance(&mut self, span: &Span) -> Vec<Vec<u8>> {
        self.epoch = span.to_epoch;
        if span.to_epoch < span.current_epoch {
            return Vec::new();
        }
        let stale = self.words.iter().filter(|(_, word)| word.is_stale);
        let stale: Vec<_> = stale.map(|(prefix, _)| prefix.clone()).collect();
        for prefix in &stale {
            self.withdraw(prefix);
        }
        stale
    }

    /// The way to a prefix that counts now.
    pub(super) fn offer(&self, prefix: &[u8], now: Timestamp) -> Option<&Offer> {
        let word = self.words.get(prefix)?;
        word.offer.as_ref().filter(|_| word.held_until <= now)
    }

    /// Until when a prefix does not count, if it does not count now.
    pub(super) fn held_until(&self, prefix: &[u8], now: Timestamp) -> Option<Timestamp> {
        let until = self.words.get(prefix)?.held_until;
        (until > now).then_some(until)
    }

    /// Takes a way; returns when the prefix counts again, if this was the first change too many.
    pub(super) fn take(
        &mut self,
        now: Timestamp,
        prefix: &[u8],
        offer: Offer,
    ) -> Option<Timestamp> {
        if let Some(word) = self.words.get_mut(prefix) {
            word.is_stale = false;
            if word.offer.as_ref() == Some(&offer) {
                return None;
            }
            word.offer = Some(offer);
            return word.flap(now);
        }
        if self.words.len() >= bounds::PREFIXES_PER_NEIGHBOUR_MAX {
            self.forget_the_quiet(now);
        }
        if self.words.len() < bounds::PREFIXES_PER_NEIGHBOUR_MAX {
            let word = Word {
                offer: Some(offer),
                is_stale: false,
                flaps: 0,
                counted_from: now,
                held_until: Timestamp(0),
            };
            self.words.insert(prefix.to_vec(), word);
        }
        None
    }

    /// Takes a prefix back; whether there was a way.
    pub(super) fn withdraw(&mut self, prefix: &[u8]) -> bool {
        let word = self.words.get_mut(prefix);
        word.is_some_and(|word| {
            word.is_stale = false;
            word.offer.take().is_some()
        })
    }

    /// Takes everything back and begins anew; returns the prefixes that had a way.
    pub(super) fn withdraw_all(&mut self) -> Vec<Vec<u8>> {
        self.table = TableId::default();
        self.epoch = 0;
        let prefixes = self.prefixes();
        for prefix in &prefixes {
            self.withdraw(prefix);
        }
        prefixes
    }

    /// Prefixes to which it knows a way, held down or not.
    pub(super) fn prefixes(&self) -> Vec<Vec<u8>> {
        let offered = self.words.iter().filter(|(_, word)| word.offer.is_some());
        offered.map(|(prefix, _)| prefix.clone()).collect()
    }

    fn forget_the_quiet(&mut self, now: Timestamp) {
        self.words
            .retain(|_, word| word.offer.is_some() || word.is_counting(now));
    }
}

impl Word {
    fn is_counting(&self, now: Timestamp) -> bool {
        let window = Milliseconds(bounds::FLAP_WINDOW_MS);
        self.held_until > now || self.counted_from.saturating_add(window) > now
    }

    fn flap(&mut self, now: Timestamp) -> Option<Timestamp> {
        if !self.is_counting(now) {
            self.flaps = 0;
            self.counted_from = now;
        }
        self.flaps = self.flaps.saturating_add(1);
        if self.flaps <= bounds::FLAPS_MAX {
            return None;
        }
        let was_held = self.held_until > now;
        self.held_until = now.saturating_add(Milliseconds(bounds::FLAP_HOLD_MS));
        (!was_held).then_some(self.held_until)
    }
}
