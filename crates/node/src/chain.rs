//! Between the core's chain requests and facts, and the chain adapters.

use forebay_pool::VaultFact;
use forebay_quantity::ChannelSerial;

/// The channel that a fact concerns, if one is.
pub(crate) fn serial_of(fact: &VaultFact) -> Option<ChannelSerial> {
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
        | VaultFact::ChannelClosed { serial, .. } => Some(*serial),
        VaultFact::NoteDeposited { .. }
        | VaultFact::ExitRequested { .. }
        | VaultFact::ExitPaid { .. }
        | VaultFact::IndexRaised { .. }
        | VaultFact::SharesDeposited { .. }
        | VaultFact::SharesWithdrawn { .. }
        | VaultFact::DeepReorg => None,
    }
}
