//! Channel serials: counted up, never given out twice.

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::ChannelSerial;

/// Gives out channel serials, one after the other, for one vault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Serials {
    next: ChannelSerial,
}

impl Serials {
    /// Starts at one: serial zero means "no channel".
    pub const START: Self = Self {
        next: ChannelSerial::new(1),
    };

    /// The serial that the next channel gets.
    #[must_use]
    pub const fn next(self) -> ChannelSerial {
        self.next
    }

    /// Notes that `serial` is taken, by us or by anybody else on the chain.
    pub fn taken(&mut self, serial: ChannelSerial) {
        let after = serial.value().saturating_add(1).max(self.next.value());
        // [I5] the counter never goes back, so no serial is given out twice.
        assert!(after >= self.next.value(), "[I5] serials only grow");
        self.next = ChannelSerial::new(after);
    }
}

impl Default for Serials {
    fn default() -> Self {
        Self::START
    }
}
