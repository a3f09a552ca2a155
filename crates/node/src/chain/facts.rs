//! The vault's own words for what happened, in the core's.

use forebay_channel::vault::VaultFact as Seen;
use forebay_channel::{Finality, LaneId};
use forebay_pool::{Depth, NoticeKind, VaultFact};
use forebay_quantity::{Amount, ChannelSerial};

/// The depth that the core knows; what is merely safe is reported again when it is final.
pub(super) fn depth(finality: Finality) -> Option<Depth> {
    match finality {
        Finality::Seen => Some(Depth::Seen),
        Finality::Safe => None,
        Finality::Final => Some(Depth::Final),
    }
}

/// What a fact means to the core; `None` for what moves no money of the pool's.
pub(super) fn fact(seen: &Seen) -> Option<VaultFact> {
    Some(match *seen {
        Seen::Opened {
            serial,
            pool_signer,
            peer_signer,
            ..
        } => VaultFact::ChannelOpened {
            serial,
            peer_signer,
            pool_signer,
        },
        Seen::Raised { serial, ceiling } => VaultFact::AllotmentRaised { serial, ceiling },
        Seen::Renewed { serial, term_end } => VaultFact::AllotmentRenewed {
            serial,
            term_ends: term_end,
        },
        Seen::Deposited {
            serial, ceiling, ..
        } => VaultFact::PeerDeposited { serial, ceiling },
        Seen::Redeemed {
            serial,
            lane: LaneId::Pool,
            paid,
        } => VaultFact::PoolPaid { serial, paid },
        Seen::Redeemed {
            serial,
            lane: LaneId::Peer,
            paid,
        } => VaultFact::PeerPaid { serial, paid },
        Seen::Lowered {
            serial,
            lane: LaneId::Pool,
            ceiling,
            released,
        } => VaultFact::AllotmentLowered {
            serial,
            ceiling,
            released,
        },
        Seen::Lowered {
            serial,
            lane: LaneId::Peer,
            ceiling,
            released,
        } => VaultFact::PeerWithdrew {
            serial,
            ceiling,
            released,
        },
        Seen::NettedOff { serial, amount, .. } => VaultFact::NettedOff { serial, amount },
        Seen::Closed {
            serial,
            pool_paid,
            peer_paid,
        } => VaultFact::ChannelClosed {
            serial,
            pool_paid,
            peer_paid,
        },
        Seen::KeyChanged {
            serial,
            lane,
            signer,
            ..
        } => VaultFact::KeyChanged {
            serial,
            of_peer: lane == LaneId::Peer,
            signer,
        },
        Seen::NoteDeposited {
            member,
            amount,
            units,
        } => VaultFact::NoteDeposited {
            owner: member,
            units,
            amount,
        },
        Seen::ExitRequested {
            member,
            cohort,
            units,
            ..
        } => VaultFact::ExitRequested {
            owner: member,
            cohort: u64::from(cohort),
            units,
        },
        Seen::ExitsPaid {
            cohort,
            units,
            amount,
            ..
        } => VaultFact::ExitPaid {
            cohort: u64::from(cohort),
            units,
            amount,
        },
        Seen::Accrued { index } => VaultFact::IndexRaised {
            index: index.value(),
        },
        Seen::ShareDeposited { amount, .. } => VaultFact::SharesDeposited { amount },
        Seen::ShareWithdrawn { amount, .. } => VaultFact::SharesWithdrawn { amount },
        Seen::LoweringStarted { .. }
        | Seen::CloseStarted { .. }
        | Seen::KeyChangeStarted { .. } => return notice(seen),
        Seen::Heartbeat { at } => VaultFact::HeartbeatSeen { at },
        Seen::FrozenUntil { until } => VaultFact::Frozen { until },
        Seen::MarkedDown { index, .. } => VaultFact::MarkedDown {
            index: index.value(),
        },
        Seen::Cosigned { serial, amount, .. } => VaultFact::RaiseCosigned { serial, amount },
        Seen::RunDownStarted { .. } => VaultFact::RunDownStarted,
        Seen::PayoutFailed { .. } | Seen::Reclaimed { .. } | Seen::ExitClaimed { .. } => {
            return None;
        }
    })
}

fn notice(seen: &Seen) -> Option<VaultFact> {
    let (serial, kind, ceiling, deadline) = match *seen {
        Seen::LoweringStarted {
            serial,
            lane: LaneId::Pool,
            ceiling,
            deadline,
        } => (serial, NoticeKind::AllotmentLowering, ceiling, deadline),
        Seen::LoweringStarted {
            serial,
            lane: LaneId::Peer,
            ceiling,
            deadline,
        } => (serial, NoticeKind::DepositWithdrawal, ceiling, deadline),
        Seen::CloseStarted {
            serial, deadline, ..
        } => (serial, NoticeKind::Close, Amount::ZERO, deadline),
        Seen::KeyChangeStarted {
            serial,
            lane: LaneId::Pool,
            deadline,
            ..
        } => (serial, NoticeKind::PoolKeyChange, Amount::ZERO, deadline),
        Seen::KeyChangeStarted {
            serial,
            lane: LaneId::Peer,
            deadline,
            ..
        } => (serial, NoticeKind::PeerKeyChange, Amount::ZERO, deadline),
        _ => return None,
    };
    Some(VaultFact::NoticeGiven {
        serial,
        kind,
        ceiling,
        deadline,
    })
}

/// What it means that a fact which was seen did not happen after all: only notices were acted on.
pub(super) fn retracted(seen: &Seen) -> Option<VaultFact> {
    match notice(seen)? {
        VaultFact::NoticeGiven { serial, kind, .. } => {
            Some(VaultFact::NoticeDropped { serial, kind })
        }
        _ => None,
    }
}

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
