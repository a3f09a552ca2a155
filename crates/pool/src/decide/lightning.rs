//! Settlements over Lightning, both ways, and what Lightning says of them.

use forebay_quantity::{Amount, EffectId, Hash32, Milliseconds, PeerId, Timestamp};

use super::{claim, liquidity, sale};
use crate::Events;
use crate::effect::ChainRequest;
use crate::event::Event;
use crate::lightning::{InvoiceTerms, LightningCommand, LightningEvent};
use crate::rejection::Rejection;
use crate::state::{LightningAccount, Paying, Peer, Rail, Settlement, State, bounds};

/// An invoice is paid within this long after it was asked for.
pub(super) const INVOICE_EXPIRY: Milliseconds = Milliseconds(3_600_000);
/// An invoice that expires sooner is not begun with: routing takes a while.
pub(super) const INVOICE_LEFT_MIN: Milliseconds = Milliseconds(60_000);

pub(super) fn lightning(
    state: &State,
    now: Timestamp,
    command: &LightningCommand,
    events: &mut Events,
) -> Result<(), Rejection> {
    use LightningCommand::{
        Capacity, ChannelClosed, ChannelReturned, ChannelStands, ClosingPaid, Failed, Funded,
        InvoiceAsked, InvoiceRefused, InvoiceTold, NodeNamed, Received, Sent, Spliced, Started,
        Stored,
    };
    let event = match *command {
        NodeNamed { peer, node } => {
            let account = account(state, peer)?;
            let others = state.peers().filter(|(other, _)| *other != peer);
            let taken = others
                .filter(|(_, other)| !other.removed)
                .filter_map(|(_, other)| other.lightning.as_ref()?.node)
                .any(|other| other == node);
            if taken {
                return Err(Rejection::AlreadyExists);
            }
            (account.node != Some(node)).then_some(LightningEvent::NodeNamed { peer, node })
        }
        InvoiceAsked {
            peer,
            settlement,
            amount,
        } => give_invoice(state, now, peer, settlement, amount)?,
        Received {
            peer,
            settlement,
            amount,
        } => Some(received(state, peer, settlement, amount)?),
        InvoiceTold {
            peer,
            settlement,
            invoice,
        } => invoice_told(state, now, peer, settlement, &invoice)?,
        InvoiceRefused { peer, settlement } => {
            let under_way = running(state, peer, settlement)?;
            let is_paid = under_way.hash.is_some();
            #[cfg(feature = "planted-bugs")]
            let is_paid = is_paid
                && !forebay_quantity::planted::is(forebay_quantity::planted::Bug::PaidAgain);
            if is_paid {
                return Err(Rejection::BadInvoice(
                    "its invoice was told and is being paid",
                ));
            }
            Some(LightningEvent::SettlementFailed { peer, settlement })
        }
        Sent { hash, fee } => match paying(state, hash)? {
            Paid::Peer(peer, settlement) => Some(LightningEvent::SettlementPaid {
                peer,
                settlement,
                fee,
            }),
            Paid::Lp(id) => {
                events.push(Event::Claim(claim::sent(state, id, fee)?));
                None
            }
        },
        Failed { hash } => match paying(state, hash)? {
            Paid::Peer(peer, settlement) => {
                Some(LightningEvent::SettlementFailed { peer, settlement })
            }
            Paid::Lp(id) => {
                events.push(Event::Claim(claim::failed(state, id)?));
                None
            }
        },
        Funded { demand, fee } => {
            let request = state.demands.get(&demand);
            let settled = Event::ChainSettled {
                id: demand,
                failed: false,
            };
            match request {
                Some(ChainRequest::OpenLightning { peer, .. }) => {
                    events.push(settled);
                    Some(LightningEvent::ChannelFunded { peer: *peer, fee })
                }
                Some(ChainRequest::SellLightning { sale: sold, .. }) => {
                    events.extend([settled, sale::funded(*sold, fee)]);
                    None
                }
                _ => return Err(Rejection::UnknownEffect),
            }
        }
        Started => {
            events.extend(unknown_capacities(state).map(Event::Lightning));
            None
        }
        Stored { generation } => {
            let is_more = generation > state.on_bitcoin.stored;
            events.extend(is_more.then_some(Event::LightningStored { generation }));
            None
        }
        Capacity {
            peer,
            outbound,
            inbound,
        } => {
            let known = account(state, peer)?;
            ((known.outbound, known.inbound) != (outbound, inbound)).then_some(
                LightningEvent::CapacityKnown {
                    peer,
                    outbound,
                    inbound,
                },
            )
        }
        ChannelStands { .. }
        | Spliced { .. }
        | ChannelClosed { .. }
        | ClosingPaid { .. }
        | ChannelReturned { .. } => liquidity::observed(state, command, events)?,
    };
    events.extend(event.map(Event::Lightning));
    Ok(())
}

/// Until the node has said what channels carry, they carry nothing.
fn unknown_capacities(state: &State) -> impl Iterator<Item = LightningEvent> {
    let known = state.peers().filter(|(_, peer)| {
        let account = peer.lightning.as_deref();
        account.is_some_and(LightningAccount::is_usable)
    });
    known.map(|(peer, _)| LightningEvent::CapacityKnown {
        peer,
        outbound: Amount::ZERO,
        inbound: Amount::ZERO,
    })
}

/// The Lightning side of an account that has one.
pub(super) fn account(state: &State, peer: PeerId) -> Result<&LightningAccount, Rejection> {
    let known = state.peer(peer).ok_or(Rejection::UnknownPeer(peer))?;
    let lightning = known.lightning.as_deref();
    lightning.ok_or(Rejection::BadInvoice(
        "this account settles by vouchers, not over Lightning",
    ))
}

fn give_invoice(
    state: &State,
    now: Timestamp,
    id: PeerId,
    settlement: u64,
    amount: Amount,
) -> Result<Option<LightningEvent>, Rejection> {
    let account = account(state, id)?;
    if let Some(given) = account.invoices.get(&settlement) {
        return match given {
            given if given.amount != amount => Err(Rejection::BadInvoice(
                "another amount was asked for under this number",
            )),
            given if given.is_paid || given.expires_at <= now => Err(Rejection::BadInvoice(
                "the invoice under this number was paid, or has expired",
            )),
            _ => Ok(None),
        };
    }
    if settlement <= account.invoices_forgotten {
        return Err(Rejection::BadInvoice(
            "this number was used before: each settlement has a higher one",
        ));
    }
    let peer = state.peer_of(id);
    if peer.removed {
        return Err(Rejection::UnknownPeer(id));
    }
    if amount.is_zero() || amount > account.inbound {
        return Err(Rejection::BadInvoice(
            "the channels cannot carry this much to the pool now",
        ));
    }
    let open = account.invoices.values();
    if open.filter(|given| given.may_be_paid(now)).count() >= bounds::INVOICES_MAX {
        return Err(Rejection::Full {
            bound: bounds::INVOICES_MAX as u64,
        });
    }
    Ok(Some(LightningEvent::InvoiceGiven {
        peer: id,
        settlement,
        amount,
        expires_at: now.saturating_add(INVOICE_EXPIRY),
    }))
}

/// Only invoices that were given are ever paid, and each counts once: what is not there was taken before [I11].
fn received(
    state: &State,
    peer: PeerId,
    settlement: u64,
    amount: Amount,
) -> Result<LightningEvent, Rejection> {
    let given = account(state, peer)?.invoices.get(&settlement);
    let given = given
        .filter(|given| !given.is_paid)
        .ok_or(Rejection::AlreadyTaken)?;
    if amount < given.amount {
        return Err(Rejection::BadFact("an invoice was paid in part"));
    }
    Ok(LightningEvent::Received {
        peer,
        settlement,
        amount,
    })
}

fn invoice_told(
    state: &State,
    now: Timestamp,
    peer: PeerId,
    settlement: EffectId,
    invoice: &InvoiceTerms,
) -> Result<Option<LightningEvent>, Rejection> {
    let under_way = running(state, peer, settlement)?;
    // Checked whenever it is told: what was told first under this hash may be lost with a restart.
    if account(state, peer)?.node != Some(invoice.payee) {
        return Err(Rejection::BadInvoice("it pays somebody else's node"));
    }
    let is_right = invoice.amount == under_way.amount;
    #[cfg(feature = "planted-bugs")]
    let is_right = is_right
        || (under_way.hash == Some(invoice.hash)
            && forebay_quantity::planted::is(forebay_quantity::planted::Bug::AmountUnchecked));
    if !is_right {
        return Err(Rejection::BadInvoice("it is over another amount"));
    }
    match under_way.hash {
        // Told again: it is the one that may be under way.
        Some(hash) if hash == invoice.hash => return Ok(None),
        Some(_) => {
            return Err(Rejection::BadInvoice(
                "another invoice was told for this settlement",
            ));
        }
        None => {}
    }
    if invoice.expires_at.since(now) < INVOICE_LEFT_MIN {
        return Err(Rejection::BadInvoice("it expires too soon"));
    }
    if state.hashes.is_used(invoice.hash) {
        return Err(Rejection::BadInvoice("its payment hash was used before"));
    }
    Ok(Some(LightningEvent::SettlementHashed {
        peer,
        settlement,
        hash: invoice.hash,
    }))
}

fn running(state: &State, peer: PeerId, settlement: EffectId) -> Result<&Settlement, Rejection> {
    let under_way = account(state, peer)?.settlement.as_ref();
    under_way
        .filter(|under_way| under_way.id == settlement)
        .ok_or(Rejection::UnknownEffect)
}

/// What is paid under a hash.
enum Paid {
    Peer(PeerId, EffectId),
    Lp(EffectId),
}

fn paying(state: &State, hash: Hash32) -> Result<Paid, Rejection> {
    let whom = state.hashes.paying.get(&hash);
    Ok(match *whom.ok_or(Rejection::UnknownEffect)? {
        Paying::Peer(peer) => {
            let under_way = account(state, peer)?.settlement;
            let settlement = under_way.expect("[I16] a hash is paid for a settlement").id;
            Paid::Peer(peer, settlement)
        }
        Paying::Lp(id) => Paid::Lp(id),
    })
}

/// What is to be paid to a peer now, in millisatoshi: as much of what it has earned as passes its threshold, its channels
/// carry with the fee, and its books have room for.
pub(super) fn due(state: &State, now: Timestamp, peer: &Peer) -> Option<Amount> {
    let account = peer.lightning.as_deref()?;
    let waits = account.settlement.is_some() || now < account.retry_at;
    if waits || account.node.is_none() {
        return None;
    }
    let asset = state.asset_of(peer.asset);
    let earned = state.earned(peer);
    // A peer that leaves is paid to the last unit.
    let (threshold, target) = match peer.removed {
        true => (Amount::ZERO, Amount::ZERO),
        false => (peer.policy.settle_threshold, peer.policy.settle_target),
    };
    if earned.is_zero() || earned < threshold {
        return None;
    }
    let owed = earned.saturating_sub(target);
    let carried = account.outbound;
    let carried = carried.saturating_sub(crate::lightning::fee_max(carried));
    // What pending packets of the peer rely on stays, and so does what other settlements take.
    let room = state.ledger.account(peer.clearing).debit_room();
    let held = state.ledger.account(asset.accounts.vault).credit_room();
    let paid = owed.min(asset.ledger_floor(carried)).min(room).min(held);
    // A small part of it would soon be followed by another.
    let is_worth = !paid.is_zero() && paid >= Amount::new(owed.value() / 8);
    is_worth.then(|| asset.chain(paid))?
}

/// Whether an asset's accounts settle over Lightning.
pub(super) fn is_on(state: &State, peer: &Peer) -> bool {
    matches!(state.asset_of(peer.asset).rail, Rail::Bitcoin { .. })
}
