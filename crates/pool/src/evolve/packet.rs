//! Packets: legs pend, then post or void, exactly once [I3].

use forebay_ledger::{Balance, Leg};
use forebay_quantity::{Amount, AssetId, Milliseconds, PacketId, PeerId};

use crate::event::Event;
use crate::state::{Packet, State, bounds};

/// The linked legs of a packet; at most three.
pub(crate) struct PacketLegs {
    legs: [Leg; 3],
    count: usize,
}

impl PacketLegs {
    /// The legs of `amount_in` from one peer, `amount_out` to another, `fee` kept in the asset paid out.
    pub(crate) fn of(
        state: &State,
        from: PeerId,
        to: PeerId,
        amount_in: u64,
        amount_out: u64,
        fee: u64,
    ) -> Self {
        let (from, to) = (state.peer_of(from), state.peer_of(to));
        let paid_in = state.asset_of(from.asset).accounts;
        let paid_out = state.asset_of(to.asset).accounts;
        let leg = |debit, credit, amount: u64| Leg {
            debit,
            credit,
            amount: Amount::from(amount),
        };
        let legs = if from.asset == to.asset {
            [
                leg(from.clearing, to.clearing, amount_out),
                leg(from.clearing, paid_out.fees, fee),
                NOTHING,
            ]
        } else {
            [
                leg(from.clearing, paid_in.exchange, amount_in),
                leg(paid_out.exchange, to.clearing, amount_out),
                leg(paid_out.exchange, paid_out.fees, fee),
            ]
        };
        let mut kept = Self {
            legs: [NOTHING; 3],
            count: 0,
        };
        for leg in legs {
            if !leg.amount.is_zero() {
                kept.legs[kept.count] = leg;
                kept.count += 1;
            }
        }
        kept
    }

    pub(crate) fn as_slice(&self) -> &[Leg] {
        &self.legs[..self.count]
    }
}

const NOTHING: Leg = Leg {
    debit: forebay_quantity::AccountId(u32::MAX),
    credit: forebay_quantity::AccountId(u32::MAX),
    amount: Amount::ZERO,
};

pub(super) fn prepared(state: &mut State, event: &Event) {
    let Event::PacketPrepared {
        packet,
        in_peer,
        in_request,
        out_peer,
        amount_in,
        amount_out,
        fee,
        expires_in,
        expires_out,
        condition,
    } = event
    else {
        unreachable!("called for a prepared packet")
    };
    let margin = state
        .genesis
        .as_ref()
        .map_or(0, |genesis| genesis.expiry_margin_ms);
    assert!(
        expires_out.0.saturating_add(margin) <= expires_in.0,
        "[I8] the outgoing promise ends first"
    );
    let legs = PacketLegs::of(state, *in_peer, *out_peer, *amount_in, *amount_out, *fee);
    let transfer = (legs.count > 0).then(|| state.ledger.pend(legs.as_slice()));
    let earlier = state.requests.insert((in_peer.0, *in_request), *packet);
    assert!(earlier.is_none(), "[I11] a request id is in flight once");
    state.peer_mut(*in_peer).in_flight += 1;
    state.packets.insert(
        *packet,
        Packet {
            in_peer: *in_peer,
            in_request: *in_request,
            out_peer: *out_peer,
            amount_in: *amount_in,
            amount_out: *amount_out,
            fee: *fee,
            expires_out: *expires_out,
            condition: *condition,
            transfer,
        },
    );
}

pub(super) fn fulfilled(state: &mut State, id: PacketId, preimage: [u8; 32]) {
    let packet = take(state, id);
    if let Some(transfer) = packet.transfer {
        state.ledger.post_pending(transfer);
    }
    let asset = state.peer_of(packet.out_peer).asset;
    release_fee(state, asset, Amount::from(packet.fee));
    use_up_prepayment(state, packet.in_peer, Amount::from(packet.amount_in));
    for peer in [packet.in_peer, packet.out_peer] {
        let now = state.now;
        if let Some(account) = state.peer_mut(peer).lightning.as_deref_mut() {
            account.used_at = now;
        }
    }
    let answers = &mut state.peer_mut(packet.in_peer).answers;
    if answers.len() == bounds::ANSWERS_MAX {
        answers.pop_front();
    }
    answers.push_back((packet.in_request, preimage));
}

pub(super) fn rejected(state: &mut State, id: PacketId) {
    let packet = take(state, id);
    #[cfg(feature = "planted-bugs")]
    if forebay_quantity::planted::is(forebay_quantity::planted::Bug::LegsLeftPending) {
        return;
    }
    if let Some(transfer) = packet.transfer {
        state.ledger.void(transfer);
    }
}

fn take(state: &mut State, id: PacketId) -> Packet {
    let packet = state.packets.remove(id, state.now);
    let held = state
        .requests
        .remove(&(packet.in_peer.0, packet.in_request));
    assert_eq!(held, Some(id), "[I3] a request resolves once");
    state.peer_mut(packet.in_peer).in_flight -= 1;
    packet
}

/// An earned fee goes to the notes little by little.
pub(super) fn release_fee(state: &mut State, asset: AssetId, fee: Amount) {
    if fee.is_zero() {
        return;
    }
    let now = state.now;
    let asset = state.asset_mut(asset);
    let window = Milliseconds(asset.policy.fee_release_ms);
    let before = asset.release.add(fee, now, window);
    asset.released = asset.released.saturating_add(before);
}

fn use_up_prepayment(state: &mut State, peer: PeerId, amount: Amount) {
    let owed = match state.balance(state.peer_of(peer).clearing) {
        Balance::Credit(owed) => owed,
        Balance::Debit(_) => Amount::ZERO,
    };
    let account = state.peer_mut(peer);
    account.prepaid = account.prepaid.saturating_sub(amount).min(owed);
}
