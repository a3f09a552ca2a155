//! Applies what happened to Lightning channels: opened, spliced, closed, and what that cost.

use forebay_quantity::{Amount, EffectId, PeerId, Timestamp};

use super::chain::sum;
use super::lightning::{account_mut, bear_cost, earn};
use super::sale;
use crate::effect::ChainRequest;
use crate::lightning::LightningEvent;
use crate::state::{ClosedChannel, LightningChannel, LightningChannelId, State, bounds};

pub(super) fn happened(state: &mut State, event: &LightningEvent) {
    let now = state.now;
    match *event {
        LightningEvent::ChannelStands {
            peer,
            channel,
            value,
            is_ours,
            splices,
        } => stands(state, peer, channel, (value, is_ours, splices)),
        LightningEvent::ChannelSpliced {
            peer,
            channel,
            txid,
            fee,
        } => {
            state.on_bitcoin.paid_for(txid);
            #[cfg(feature = "planted-bugs")]
            let fee = match forebay_quantity::planted::is(
                forebay_quantity::planted::Bug::SpliceFeeForgotten,
            ) {
                true => Amount::ZERO,
                false => fee,
            };
            pay_for(state, peer, channel, fee);
            account_mut(state, peer).changed_at = now;
        }
        LightningEvent::ChannelClosed {
            peer,
            channel,
            balance,
        } => closed(state, peer, ClosedChannel { channel, balance }),
        LightningEvent::ChannelReturned {
            peer,
            channel,
            cost,
        } => {
            account_mut(state, peer)
                .closed
                .retain(|closed| closed.channel != channel);
            pay_for(state, peer, channel, cost);
        }
        LightningEvent::ClosingPaid {
            peer,
            channel,
            txid,
            fee,
        } => {
            state.on_bitcoin.paid_for(txid);
            pay_for(state, peer, channel, fee);
        }
        LightningEvent::ChannelGained { peer, gain, .. } => {
            let asset = state.peer_of(peer).asset;
            earn(state, asset, gain);
        }
        LightningEvent::Woken { peer } => account_mut(state, peer).is_asleep = false,
        LightningEvent::NodeNamed { .. }
        | LightningEvent::InvoiceGiven { .. }
        | LightningEvent::Received { .. }
        | LightningEvent::SettlementBegun { .. }
        | LightningEvent::SettlementHashed { .. }
        | LightningEvent::SettlementPaid { .. }
        | LightningEvent::SettlementFailed { .. }
        | LightningEvent::CapacityKnown { .. }
        | LightningEvent::ChannelFunded { .. } => unreachable!("[I10] of a settlement"),
    }
}

/// The channel that was demanded: its number is the demand's.
pub(super) fn funded(state: &mut State, peer: PeerId, fee: Amount) {
    let now = state.now;
    let demand = state.peer_of(peer).demands.open;
    let EffectId(number) = demand.expect("[I3] a channel is funded for a demand");
    let channel = LightningChannelId(u128::from(number));
    let account = account_mut(state, peer);
    (account.changed_at, account.used_at) = (now, now);
    // After a restart a channel may be told to stand before it is told to be funded.
    let stands = account.channels.contains_key(&channel);
    account.channels.entry(channel).or_insert(LightningChannel {
        value: Amount::ZERO,
        is_ours: true,
        splices: false,
        cost: Amount::ZERO,
    });
    pay_for(state, peer, channel, fee);
    if stands {
        state.peer_mut(peer).demands.open = None;
    }
    #[cfg(feature = "planted-bugs")]
    if forebay_quantity::planted::is(forebay_quantity::planted::Bug::OpenedTwice) {
        state.peer_mut(peer).demands.open = None;
    }
}

fn stands(
    state: &mut State,
    peer: PeerId,
    channel: LightningChannelId,
    (value, is_ours, splices): (Amount, bool, bool),
) {
    let now = state.now;
    let account = account_mut(state, peer);
    let known = account.channels.get(&channel);
    let has_changed = known.is_some_and(|known| known.value != value);
    if known.is_none() {
        account.used_at = now;
    }
    let cost = known.map_or(Amount::ZERO, |known| known.cost);
    account.channels.insert(
        channel,
        LightningChannel {
            value,
            is_ours,
            splices,
            cost,
        },
    );
    if has_changed {
        end_settled(state, peer, |demands| &mut demands.raise);
    }
    // What a peer's channels carry falls and rises with its connection: only the channel itself says that it is there.
    if is_of(state.peer_of(peer).demands.open, channel) {
        end_settled(state, peer, |demands| &mut demands.open);
    }
}

/// Whether a channel was opened for this demand.
fn is_of(demand: Option<EffectId>, channel: LightningChannelId) -> bool {
    demand.is_some_and(|EffectId(number)| u128::from(number) == channel.0)
}

fn closed(state: &mut State, peer: PeerId, closed: ClosedChannel) {
    let now = state.now;
    let rest_ms = state.liquidity.rest_ms;
    let demands = &state.peer_of(peer).demands;
    let is_wanted = demands.close.is_some();
    let is_opening = is_of(demands.open, closed.channel);
    let is_removed = state.peer_of(peer).removed;
    let account = account_mut(state, peer);
    account.channels.remove(&closed.channel);
    account.changed_at = now;
    account.is_asleep |= is_wanted && !is_removed;
    account.closed.push_back(closed);
    if account.closed.len() > bounds::LIGHTNING_CHANNELS_MAX {
        account.closed.pop_front();
    }
    if is_opening {
        end_settled(state, peer, |demands| &mut demands.open);
    }
    end_settled(state, peer, |demands| &mut demands.raise);
    end_settled(state, peer, |demands| &mut demands.close);
    if !is_wanted {
        // Somebody who closes what we open should not have us pay for another one at once.
        let demands = &mut state.peer_mut(peer).demands;
        demands.retry_at = demands
            .retry_at
            .max(Timestamp(now.0.saturating_add(rest_ms)));
    }
}

/// A demand of Lightning has failed; says whether it was one.
pub(super) fn failed(state: &mut State, request: &ChainRequest, retry_at: Timestamp) -> bool {
    let now = state.now;
    match *request {
        ChainRequest::OpenLightning { peer, .. } => {
            let demands = &mut state.peer_mut(peer).demands;
            (demands.open, demands.retry_at) = (None, retry_at);
        }
        ChainRequest::SpliceIn { peer, .. } => {
            let demands = &mut state.peer_mut(peer).demands;
            (demands.raise, demands.retry_at) = (None, retry_at);
        }
        // Nobody waits for these.
        ChainRequest::SpliceOut { peer, .. } => {
            state.peer_mut(peer).demands.raise = None;
            account_mut(state, peer).changed_at = now;
        }
        ChainRequest::CloseLightning { peer, .. } => {
            state.peer_mut(peer).demands.close = None;
            account_mut(state, peer).changed_at = now;
        }
        ChainRequest::SellLightning { sale, .. } => sale::opening_failed(state, sale),
        ChainRequest::CloseSold { sale, .. } => sale::closing_failed(state, sale),
        ChainRequest::Open { .. }
        | ChainRequest::Raise { .. }
        | ChainRequest::Redeem { .. }
        | ChainRequest::RaiseIndex { .. }
        | ChainRequest::PayExits { .. }
        | ChainRequest::StartClose { .. }
        | ChainRequest::FinishNotice { .. }
        | ChainRequest::StartLower { .. }
        | ChainRequest::Heartbeat { .. }
        | ChainRequest::ToReserve { .. }
        | ChainRequest::FromReserve { .. }
        | ChainRequest::RenewReserve { .. } => return false,
    }
    true
}

/// Forgets a peer's demand whose outcome is known.
fn end_settled(
    state: &mut State,
    peer: PeerId,
    which: impl Fn(&mut crate::state::PeerDemands) -> &mut Option<EffectId>,
) {
    let standing = *which(&mut state.peer_mut(peer).demands);
    if standing.is_some_and(|demand| !state.demands.contains_key(&demand)) {
        *which(&mut state.peer_mut(peer).demands) = None;
    }
}

/// Books what miners were paid for a channel.
fn pay_for(state: &mut State, peer: PeerId, channel: LightningChannelId, cost: Amount) {
    let account = account_mut(state, peer);
    account.cost = sum(account.cost, cost);
    if let Some(channel) = account.channels.get_mut(&channel) {
        channel.cost = sum(channel.cost, cost);
    }
    let asset = state.peer_of(peer).asset;
    bear_cost(state, asset, cost);
}
