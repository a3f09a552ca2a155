//! The pool's node as a process: what it was told lies in memory until it is synced, and a kill loses it.

use forebay_channel::NodeId;
use forebay_quantity::Hash32;

use super::{Lightning, Observation, Payment};

/// Something the node was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Pay(Box<Payment>),
    Open {
        number: u128,
        peer: NodeId,
        value_sat: u64,
        fee_sat: u64,
    },
    SpliceIn {
        number: u128,
        added_sat: u64,
        fee_sat: u64,
    },
    SpliceOut {
        number: u128,
        taken_sat: u64,
        fee_sat: u64,
    },
    Close {
        number: u128,
        fee_sat: u64,
    },
    Claim(Hash32),
    FailHeld(Hash32),
    Acknowledge(u64),
}

impl Step {
    /// The channel that it changes, where it is there already.
    pub(super) fn channel(&self) -> Option<u128> {
        match self {
            Self::SpliceIn { number, .. }
            | Self::SpliceOut { number, .. }
            | Self::Close { number, .. } => Some(*number),
            Self::Pay(_)
            | Self::Open { .. }
            | Self::Claim(_)
            | Self::FailHeld(_)
            | Self::Acknowledge(_) => None,
        }
    }
}

impl Lightning {
    /// Writes down what the node was asked for, all of it together; only then does any of it leave. What came for us by then
    /// is claimed by the next one.
    pub fn sync(&mut self) {
        for step in std::mem::take(&mut self.unsynced) {
            match step {
                Step::Pay(payment) => self.payment_leaves(*payment),
                Step::Open {
                    number,
                    peer,
                    value_sat,
                    fee_sat,
                } => self.open(number, peer, value_sat, fee_sat),
                Step::SpliceIn {
                    number,
                    added_sat,
                    fee_sat,
                } => self.splice(number, added_sat, 0, fee_sat),
                Step::SpliceOut {
                    number,
                    taken_sat,
                    fee_sat,
                } => self.splice(number, 0, taken_sat, fee_sat),
                Step::Close { number, fee_sat } => self.close(number, fee_sat),
                Step::Claim(hash) => self.claimed(hash),
                Step::FailHeld(hash) => self.sent_back(hash),
                Step::Acknowledge(number) => {
                    self.observations.retain(|(told, _)| *told != number);
                }
            }
        }
        self.claim_what_came();
    }

    /// The process ends, and what was not synced is lost.
    pub fn kill(&mut self) {
        self.unsynced.clear();
        for held in self.held.values_mut() {
            held.is_told = false;
        }
    }

    /// What was observed and not acknowledged, in order, each with its number.
    pub fn observations(&self) -> Vec<(u64, Observation)> {
        self.observations.iter().copied().collect()
    }

    /// An observation is on its listener's stable storage.
    pub fn acknowledge(&mut self, number: u64) {
        self.unsynced.push(Step::Acknowledge(number));
    }
}
