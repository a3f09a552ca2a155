//! Packets: checks in a fixed order (expiry, size, duplicate, route, price, limit, liquidity).

use forebay_channel::{ExpiryRefusal, outgoing_expiry};
use forebay_ledger::Why;
use forebay_market::{Flow, Inventory, quote};
use forebay_quantity::{Amount, Milliseconds, PacketId, PeerId, Timestamp};
use sha2::{Digest, Sha256};

use crate::Events;
use crate::command::Prepare;
use crate::event::Event;
use crate::evolve::PacketLegs;
use crate::rejection::{RejectCode, Rejection};
use crate::state::{Asset, Genesis, Peer, State, bounds};

pub(super) fn prepare(
    state: &State,
    now: Timestamp,
    prepare: &Prepare<'_>,
    events: &mut Events,
) -> Result<(), Rejection> {
    let genesis = state.genesis.as_ref().ok_or(Rejection::NotFounded)?;
    let from = state
        .peer(prepare.peer)
        .filter(|peer| !peer.removed)
        .ok_or(Rejection::UnknownPeer(prepare.peer))?;
    let expires_out = expiry(genesis, now, prepare.expires_at)?;
    if prepare.amount > from.policy.packet_max {
        return Err(Rejection::AmountTooLarge {
            received: prepare.amount,
            maximum: from.policy.packet_max,
        });
    }
    if state
        .requests
        .contains_key(&(prepare.peer.0, prepare.request))
    {
        return Err(Rejection::DuplicateRequest {
            request: prepare.request,
        });
    }
    let next_hop = state
        .next_hop(prepare.destination)
        .filter(|hop| *hop != prepare.peer);
    let out_peer = next_hop.ok_or(Rejection::Unreachable)?;
    let to = state.peer_of(out_peer);
    if to.removed {
        return Err(Rejection::Unreachable);
    }
    let (amount_out, fee) = price(state, now, from, to, prepare.amount)?;
    if from.in_flight >= from.policy.in_flight_max {
        return Err(Rejection::Busy);
    }
    secured(state, from, to, prepare, out_peer, amount_out, fee)?;
    covered(state, to, amount_out)?;
    let packet = state.packets.next_id().ok_or(Rejection::Busy)?;
    events.push(Event::PacketPrepared {
        packet,
        in_peer: prepare.peer,
        in_request: prepare.request,
        out_peer,
        amount_in: prepare.amount,
        amount_out,
        fee,
        expires_in: prepare.expires_at,
        expires_out,
        condition: prepare.condition,
    });
    Ok(())
}

pub(super) fn fulfill(
    state: &State,
    now: Timestamp,
    peer: PeerId,
    id: PacketId,
    preimage: &[u8; 32],
    events: &mut Events,
) -> Result<(), Rejection> {
    let packet = state
        .packets
        .find(id)
        .filter(|packet| packet.out_peer == peer)
        .ok_or(Rejection::UnknownPacket)?;
    if packet.expires_out < now {
        return Err(Rejection::UnknownPacket);
    }
    // [I8] upstream is fulfilled only with the preimage.
    if <[u8; 32]>::from(Sha256::digest(preimage)) != packet.condition {
        return Err(Rejection::WrongPreimage);
    }
    events.push(Event::PacketFulfilled {
        packet: id,
        in_peer: packet.in_peer,
        in_request: packet.in_request,
        preimage: *preimage,
    });
    Ok(())
}

pub(super) fn reject(
    state: &State,
    peer: PeerId,
    id: PacketId,
    code: RejectCode,
    events: &mut Events,
) -> Result<(), Rejection> {
    let packet = state
        .packets
        .find(id)
        .filter(|packet| packet.out_peer == peer)
        .ok_or(Rejection::UnknownPacket)?;
    events.push(Event::PacketRejected {
        packet: id,
        in_peer: packet.in_peer,
        in_request: packet.in_request,
        code,
    });
    Ok(())
}

/// Answers R00 to every packet whose time is up, as many as one tick takes.
pub(super) fn expire(state: &State, now: Timestamp, events: &mut Events) {
    let expired = state.packets.expired(now, bounds::EXPIRED_PER_TICK_MAX);
    events.extend(expired.map(|(id, packet)| Event::PacketRejected {
        packet: id,
        in_peer: packet.in_peer,
        in_request: packet.in_request,
        code: *b"R00",
    }));
}

fn expiry(
    genesis: &Genesis,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<Timestamp, Rejection> {
    let margin = Milliseconds(genesis.expiry_margin_ms);
    #[cfg(feature = "planted-bugs")]
    let margin = if forebay_quantity::planted::is(forebay_quantity::planted::Bug::MarginForgotten) {
        Milliseconds::ZERO
    } else {
        margin
    };
    let too_short = Rejection::TimeoutTooShort {
        expires_at,
        needed_ms: genesis
            .expiry_margin_ms
            .saturating_add(genesis.forward_min_ms),
    };
    let outgoing = outgoing_expiry(expires_at, now, margin, Milliseconds(genesis.hold_max_ms));
    let outgoing = outgoing.map_err(|refusal| match refusal {
        ExpiryRefusal::Expired { incoming } => Rejection::Expired {
            expires_at: incoming,
        },
        ExpiryRefusal::TooShort { .. } => too_short,
    })?;
    if outgoing.since(now).0 < genesis.forward_min_ms {
        return Err(too_short);
    }
    Ok(outgoing)
}

/// What goes out and what is kept, in the asset paid out.
fn price(
    state: &State,
    now: Timestamp,
    from: &Peer,
    to: &Peer,
    amount: u64,
) -> Result<(u64, u64), Rejection> {
    if amount == 0 {
        return Ok((0, 0));
    }
    let paid_out = state.asset_of(to.asset);
    let spread = &paid_out.policy.spread;
    let quoted = if from.asset == to.asset {
        if paid_out.halted {
            return Err(Rejection::NotQuoting(to.asset));
        }
        let fee = spread
            .floor_ppm
            .of_ceil(Amount::from(amount))
            .unwrap_or(Amount::MAX);
        (Amount::from(amount).saturating_sub(fee), fee)
    } else {
        let paid_in = state.asset_of(from.asset);
        for (id, asset) in [(from.asset, paid_in), (to.asset, paid_out)] {
            asset.quoted(now).ok_or(Rejection::NotQuoting(id))?;
        }
        let pair = state
            .pair(from.asset, to.asset)
            .ok_or(Rejection::NotQuoting(to.asset))?;
        let inventory_in = inventory(state, paid_in).skew(Flow::In, spread.skew_ppm_max);
        let skew =
            inventory_in.and(inventory(state, paid_out).skew(Flow::Out, spread.skew_ppm_max));
        let gross = pair.rate.convert_floor(Amount::from(amount));
        let gross = gross.ok_or(Rejection::AmountTooSmall)?;
        let half_spread = spread.half_spread_ceil(pair.resting, gross, skew);
        let quote =
            quote(pair.rate, Amount::from(amount), half_spread).ok_or(Rejection::AmountTooSmall)?;
        #[cfg(feature = "planted-bugs")]
        let quote = forebay_market::Quote {
            out_net: Amount::new(
                quote.out_net.value()
                    + u128::from(forebay_quantity::planted::is(
                        forebay_quantity::planted::Bug::RoundedUp,
                    )),
            ),
            ..quote
        };
        (quote.out_net, quote.fee)
    };
    let (out, fee) = quoted;
    if out.is_zero() {
        return Err(Rejection::AmountTooSmall);
    }
    let too_large = || Rejection::AmountTooLarge {
        received: amount,
        maximum: fitting(amount, out, to.policy.packet_max),
    };
    let out = out
        .to_u64()
        .filter(|out| *out <= to.policy.packet_max)
        .ok_or_else(too_large)?;
    Ok((out, fee.to_u64().ok_or_else(too_large)?))
}

/// The largest incoming amount whose outgoing one fits, by the same price, a little less for rounding.
fn fitting(amount: u64, out: Amount, maximum_out: u64) -> u64 {
    let exact =
        forebay_quantity::mul_div_floor(u128::from(amount), u128::from(maximum_out), out.value());
    exact
        .and_then(|exact| u64::try_from(exact).ok())
        .unwrap_or(maximum_out)
        .saturating_sub(1)
}

/// The pool's position in an asset, around what it may lend.
fn inventory(state: &State, asset: &Asset) -> Inventory {
    let middle = asset.policy.lent_max;
    let balance = state.balance(asset.accounts.exchange);
    let position = middle
        .saturating_add(balance.credit())
        .saturating_sub(balance.debit());
    Inventory {
        position,
        target: middle,
        range: middle,
    }
}

/// The sender has secured, or has credit for, what is posted and pending.
fn secured(
    state: &State,
    from: &Peer,
    to: &Peer,
    prepare: &Prepare<'_>,
    out_peer: PeerId,
    amount_out: u64,
    fee: u64,
) -> Result<(), Rejection> {
    let legs = PacketLegs::of(
        state,
        prepare.peer,
        out_peer,
        prepare.amount,
        amount_out,
        fee,
    );
    let Err(refusal) = state.ledger.check(legs.as_slice()) else {
        return Ok(());
    };
    let account = state.ledger.account(from.clearing);
    let not_secured = Rejection::NotSecured {
        available: account.debit_room(),
        needed: Amount::from(prepare.amount),
    };
    // Only two accounts have a debit limit that a packet can meet: the sender's and the position in what is paid out.
    let senders = matches!(refusal.why, Why::DebitLimit { .. }) && refusal.account == from.clearing;
    Err(if senders {
        not_secured
    } else {
        Rejection::InventoryExhausted(to.asset)
    })
}

/// Our lane or our Lightning channels to the next hop guarantee all that it has earned, what is pending, and this; or we may owe
/// it that much. What it owes us comes first: a packet works that off, and nobody has to be paid for it.
fn covered(state: &State, to: &Peer, amount_out: u64) -> Result<(), Rejection> {
    if amount_out == 0 {
        return Ok(());
    }
    let needed = Amount::from(amount_out);
    let asset = state.asset_of(to.asset);
    let headroom = match (&to.channel, &to.lightning) {
        (Some(channel), _) if channel.is_live() => asset.ledger_floor(channel.outgoing.headroom()),
        (_, Some(account)) => asset.ledger_floor(account.outbound),
        (Some(_) | None, None) => Amount::ZERO,
    };
    let clearing = state.ledger.account(to.clearing);
    let owed = clearing.credit_exposure().saturating_sub(to.prepaid);
    let allowed = headroom
        .saturating_add(to.relation.debt_max)
        .saturating_add(clearing.debit_left());
    let available = allowed.saturating_sub(owed);
    if needed > available {
        return Err(Rejection::LaneExhausted { available, needed });
    }
    Ok(())
}
