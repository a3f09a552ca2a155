//! The contract's events as facts.

use crate::{
    abi::{IVault, U24, amount, plain, seconds_of},
    fault::Fault,
};
use IVault::IVaultEvents as Event;
use alloy::{primitives::Log, sol_types::SolEventInterface};
use forebay_channel::{LaneId, vault::VaultFact};
use forebay_quantity::ChannelSerial;

/// Reads one log of the vault; `None` for its `Built`, which says nothing that its parameters do not.
pub(crate) fn read(log: &Log) -> Result<Option<VaultFact>, Fault> {
    let event = Event::decode_log(log).map_err(|error| nonsense(error.to_string()))?;
    fact(event.data)
}

#[expect(clippy::too_many_lines, reason = "one arm an event, straight")]
fn fact(event: Event) -> Result<Option<VaultFact>, Fault> {
    let serial = ChannelSerial::new;
    Ok(Some(match event {
        Event::Built(_) => return Ok(None),
        Event::Opened(e) => VaultFact::Opened {
            serial: serial(e.serial),
            pool_signer: plain(e.poolSigner),
            peer_signer: plain(e.peerSigner),
            peer_payout: plain(e.peerPayout),
        },
        Event::Raised(e) => VaultFact::Raised {
            serial: serial(e.serial),
            ceiling: amount(e.ceiling),
        },
        Event::Renewed(e) => VaultFact::Renewed {
            serial: serial(e.serial),
            term_end: seconds_of(e.termEnd),
        },
        Event::Deposited(e) => VaultFact::Deposited {
            serial: serial(e.serial),
            from: plain(e.from),
            amount: amount(e.amount),
            ceiling: amount(e.ceiling),
        },
        Event::Redeemed(e) => VaultFact::Redeemed {
            serial: serial(e.serial),
            lane: lane(e.lane)?,
            paid: amount(e.paid),
        },
        Event::LoweringStarted(e) => VaultFact::LoweringStarted {
            serial: serial(e.serial),
            lane: lane(e.lane)?,
            ceiling: amount(e.ceiling),
            deadline: seconds_of(e.deadline),
        },
        Event::Lowered(e) => VaultFact::Lowered {
            serial: serial(e.serial),
            lane: lane(e.lane)?,
            ceiling: amount(e.ceiling),
            released: e.released,
        },
        Event::NettedOff(e) => VaultFact::NettedOff {
            serial: serial(e.serial),
            pool_paid: amount(e.poolPaid),
            peer_paid: amount(e.peerPaid),
            amount: amount(e.amount),
        },
        Event::CloseStarted(e) => VaultFact::CloseStarted {
            serial: serial(e.serial),
            by: plain(e.by),
            deadline: seconds_of(e.deadline),
        },
        Event::Closed(e) => VaultFact::Closed {
            serial: serial(e.serial),
            pool_paid: amount(e.poolPaid),
            peer_paid: amount(e.peerPaid),
        },
        Event::KeyChangeStarted(e) => VaultFact::KeyChangeStarted {
            serial: serial(e.serial),
            lane: lane(e.lane)?,
            signer: plain(e.signer),
            deadline: seconds_of(e.deadline),
        },
        Event::KeyChanged(e) => VaultFact::KeyChanged {
            serial: serial(e.serial),
            lane: lane(e.lane)?,
            former: plain(e.former),
            signer: plain(e.signer),
            former_ceiling: amount(e.formerCeiling),
            consented: e.consented,
        },
        Event::PayoutFailed(e) => VaultFact::PayoutFailed {
            payee: plain(e.payee),
            amount: amount(e.amount),
        },
        Event::Reclaimed(e) => VaultFact::Reclaimed {
            payee: plain(e.payee),
            to: plain(e.to),
            amount: amount(e.amount),
        },
        Event::NoteDeposited(e) => VaultFact::NoteDeposited {
            member: plain(e.member),
            amount: amount(e.amount),
            units: amount(e.units),
        },
        Event::ExitRequested(e) => VaultFact::ExitRequested {
            member: plain(e.member),
            cohort: number(e.cohort),
            units: amount(e.units),
            due_at: seconds_of(e.dueAt),
        },
        Event::ExitsPaid(e) => VaultFact::ExitsPaid {
            cohort: number(e.cohort),
            units: amount(e.units),
            amount: amount(e.amount),
            units_left: amount(e.unitsLeft),
        },
        Event::ExitClaimed(e) => VaultFact::ExitClaimed {
            cohort: number(e.cohort),
            member: plain(e.member),
            amount: amount(e.amount),
        },
        Event::Accrued(e) => VaultFact::Accrued {
            index: amount(e.index),
        },
        Event::ShareDeposited(e) => VaultFact::ShareDeposited {
            amount: amount(e.amount),
            units: amount(e.units),
        },
        Event::ShareWithdrawn(e) => VaultFact::ShareWithdrawn {
            units: amount(e.units),
            amount: amount(e.amount),
            nonce: e.nonce,
        },
        Event::Heartbeat(e) => VaultFact::Heartbeat {
            at: seconds_of(e.seenAt),
        },
        Event::FrozenUntil(e) => VaultFact::FrozenUntil {
            until: seconds_of(e.until),
        },
        Event::MarkedDown(e) => VaultFact::MarkedDown {
            index: amount(e.index),
            share_units: amount(e.shareUnits),
            nonce: e.nonce,
        },
        Event::Cosigned(e) => VaultFact::Cosigned {
            serial: serial(e.serial),
            amount: amount(e.amount),
            nonce: e.nonce,
        },
        Event::RunDownStarted(e) => VaultFact::RunDownStarted {
            units: amount(e.units),
        },
    }))
}

fn lane(number: u8) -> Result<LaneId, Fault> {
    LaneId::from_number(number).ok_or_else(|| nonsense(format!("lane {number}")))
}

fn number(word: U24) -> u32 {
    word.to::<u32>()
}

fn nonsense(what: String) -> Fault {
    Fault::Nonsense {
        method: "eth_getLogs",
        what,
    }
}
