//! Liquidity on Lightning: how the channels with a peer are kept, and what is observed of them. ADR 21 explains each rule.

use forebay_market::DAY;
use forebay_quantity::{Amount, AssetId, PeerId, Ppm, Timestamp};

use super::lightning::account;
use super::{reserve, sale};
use crate::Events;
use crate::command::Command;
use crate::effect::ChainRequest;
use crate::event::Event;
use crate::lightning::{LightningCommand, LightningEvent};
use crate::rejection::Rejection;
use crate::state::{
    LightningAccount, LightningChannel, LightningChannelId, LiquidityPolicy, Peer, State, bounds,
};

/// Channels are enlarged below one half of what is wanted, and made smaller above three times it.
const LOW: u128 = 2;
const HIGH: u128 = 3;
/// All channels are there when they carry this part of what they hold; either end's hundredth and payments under way are the rest.
const PRESENT: Ppm = Ppm(700_000);
/// Of a channel that is emptied, this part stays: either end has to keep a hundredth of it.
const KEPT: u128 = 50;
/// A channel is closed when its money could have earned this often what the channel has cost: once for closing it, once for
/// opening it again.
const RENEWAL: u128 = 2;

/// What is looked at for one peer.
struct View<'a> {
    state: &'a State,
    now: Timestamp,
    id: PeerId,
    peer: &'a Peer,
    account: &'a LightningAccount,
    policy: &'a LiquidityPolicy,
    wanted: Amount,
}

/// The next change of a peer's channels, if any: one at a time.
pub(super) fn change(
    state: &State,
    now: Timestamp,
    id: PeerId,
    peer: &Peer,
) -> Option<ChainRequest> {
    let view = View::of(state, now, id, peer)?;
    if peer.removed {
        return view.leave();
    }
    view.grow()
        .or_else(|| view.shrink())
        .or_else(|| view.close_idle())
}

/// More is hot than the cap allows, and lies in channels: so much of it is taken out where it is used least, by a splice of
/// what is beyond the peer's wants, else by closing a channel that nothing flows through. One at a time, until all of it
/// is back.
pub(super) fn relieve(
    state: &State,
    now: Timestamp,
    asset: AssetId,
    excess: Amount,
) -> Option<ChainRequest> {
    let on_asset = || state.peers().filter(move |(_, peer)| peer.asset == asset);
    if on_asset().any(|(_, peer)| is_moving(peer)) {
        return None;
    }
    let views = || on_asset().filter_map(|(id, peer)| View::of(state, now, id, peer));
    let splice = views().filter_map(|view| Some((view.account.used_at, view.splice_out(excess)?)));
    let close = views().filter_map(|view| Some((view.account.used_at, view.close_unused()?)));
    let least_used = splice.min_by_key(|(used_at, _)| *used_at);
    let least_used = least_used.or_else(|| close.min_by_key(|(used_at, _)| *used_at));
    least_used.map(|(_, request)| request)
}

/// Whether a peer's money is on its way into channels, or out of them.
fn is_moving(peer: &Peer) -> bool {
    let account = peer.lightning.as_deref();
    is_under_way(peer) || account.is_some_and(|account| !account.closed.is_empty())
}

fn is_under_way(peer: &Peer) -> bool {
    let demands = &peer.demands;
    demands.open.is_some() || demands.raise.is_some() || demands.close.is_some()
}

impl<'a> View<'a> {
    /// What there is to look at, while nothing else is under way and the peer is there.
    fn of(state: &'a State, now: Timestamp, id: PeerId, peer: &'a Peer) -> Option<Self> {
        let account = peer.lightning.as_deref()?;
        let waits = is_under_way(peer) || now < peer.demands.retry_at;
        if waits || state.demands.len() >= bounds::DEMANDS_MAX {
            return None;
        }
        let policy = &state.liquidity;
        let allotment = state.asset_of(peer.asset).chain(peer.policy.allotment)?;
        let view = Self {
            state,
            now,
            id,
            peer,
            account,
            policy,
            wanted: policy.wanted(allotment, &account.flow, now),
        };
        (!view.is_away()).then_some(view)
    }

    /// Less than half of what is wanted is left: the largest channel is enlarged, or another one opened.
    fn grow(&self) -> Option<ChainRequest> {
        let have = self.account.outbound;
        let is_low = have < Amount::new(self.wanted.value() / LOW);
        let is_asleep = self.account.is_asleep && !self.is_due();
        if !is_low || is_asleep || self.is_partly_away() {
            return None;
        }
        let missing = self.wanted.saturating_sub(have);
        let room = reserve::channel_room(self.state, self.peer.asset);
        let (request, added) = match self.largest(|channel| channel.splices) {
            Some((channel, LightningChannel { value, .. })) => {
                let splice = ChainRequest::SpliceIn {
                    peer: self.id,
                    asset: self.peer.asset,
                    channel,
                    value,
                    amount: missing,
                };
                (splice, missing)
            }
            None if self.account.channels.len() >= bounds::LIGHTNING_CHANNELS_MAX => return None,
            None => {
                let open = ChainRequest::OpenLightning {
                    peer: self.id,
                    asset: self.peer.asset,
                    node: self.account.node?,
                    amount: self.wanted,
                };
                (open, self.wanted)
            }
        };
        // What lies in the reserve funds no channel, and the pool has no more than is hot.
        let held = self.state.hot(self.peer.asset);
        (self.wanted <= held && added <= room).then_some(request)
    }

    /// More than three times what is wanted lies idle: what is beyond it goes back to the wallet.
    fn shrink(&self) -> Option<ChainRequest> {
        let have = self.account.outbound;
        let is_high = have.value() > self.wanted.value().saturating_mul(HIGH);
        match is_high {
            true => self.splice_out(Amount::MAX),
            false => None,
        }
    }

    /// Takes out what is beyond the peer's wants, up to so much.
    fn splice_out(&self, most: Amount) -> Option<ChainRequest> {
        if !self.has_rested() {
            return None;
        }
        let have = self.account.outbound;
        let (channel, LightningChannel { value, .. }) = self.largest(|channel| channel.splices)?;
        let kept = self.wanted.max(Amount::new(value.value() / KEPT));
        let idle = have.min(value).saturating_sub(kept);
        let amount = idle.saturating_sub(self.policy.fee_max(idle)).min(most);
        (amount >= self.policy.change_min).then_some(ChainRequest::SpliceOut {
            peer: self.id,
            asset: self.peer.asset,
            channel,
            value,
            amount,
        })
    }

    /// Nothing has flowed for long, and by now the money in the channels could have earned elsewhere what closing and
    /// opening again costs.
    fn close_idle(&self) -> Option<ChainRequest> {
        let idle_ms = self.now.since(self.account.used_at).0;
        if idle_ms < self.policy.idle_ms || !self.has_rested() || self.is_busy() {
            return None;
        }
        let (channel, LightningChannel { cost, .. }) = self.largest(|channel| channel.is_ours)?;
        let have = self.account.outbound;
        let per_day = self.policy.capital_ppm_per_day.of_floor(have)?;
        let missed = per_day.mul_div_floor(u128::from(idle_ms), u128::from(DAY.0))?;
        let renewal = cost.max(self.policy.fee_base).checked_mul(RENEWAL)?;
        (missed > renewal).then(|| self.close(channel))
    }

    /// A channel that nothing flowed through since the last rest, whoever opened it.
    fn close_unused(&self) -> Option<ChainRequest> {
        let is_unused = self.now.since(self.account.used_at).0 >= self.policy.rest_ms;
        let has_money = self.account.outbound >= self.policy.change_min;
        let may_close = is_unused && has_money && self.has_rested() && !self.is_busy();
        let (channel, _) = self.largest(|_| true).filter(|_| may_close)?;
        Some(self.close(channel))
    }

    /// A peer that was removed and is owed nothing needs no channel.
    fn leave(&self) -> Option<ChainRequest> {
        let is_paid = self.state.earned(self.peer).is_zero();
        if !is_paid || self.is_busy() {
            return None;
        }
        // One that failed, since the peer is away, is tried again later.
        let (channel, _) = self.largest(|_| true).filter(|_| self.has_rested())?;
        Some(self.close(channel))
    }

    fn close(&self, channel: LightningChannelId) -> ChainRequest {
        ChainRequest::CloseLightning {
            peer: self.id,
            asset: self.peer.asset,
            channel,
            amount: self.account.outbound,
        }
    }

    /// Channels that carry nothing either way are those of a peer that is not connected.
    fn is_away(&self) -> bool {
        let has_channels = self.largest(|_| true).is_some();
        has_channels && !self.account.is_usable()
    }

    /// After a restart of either end one channel may carry again while another does not yet: what is missing then is no want.
    fn is_partly_away(&self) -> bool {
        let values = self.account.channels.values().map(|channel| channel.value);
        let held = values.fold(Amount::ZERO, Amount::saturating_add);
        let carried = self.account.outbound.saturating_add(self.account.inbound);
        carried < PRESENT.of_floor(held).unwrap_or(held)
    }

    fn has_rested(&self) -> bool {
        self.now.since(self.account.changed_at).0 >= self.policy.rest_ms
    }

    /// Whether it is to be paid what it has earned.
    fn is_due(&self) -> bool {
        let earned = self.state.earned(self.peer);
        !earned.is_zero() && earned >= self.peer.policy.settle_threshold
    }

    fn is_busy(&self) -> bool {
        let pending = self
            .state
            .ledger
            .account(self.peer.clearing)
            .credits_pending;
        self.account.settlement.is_some() || self.peer.in_flight > 0 || !pending.is_zero()
    }

    /// The largest usable channel of a kind.
    fn largest(
        &self,
        is_of_kind: impl Fn(&LightningChannel) -> bool,
    ) -> Option<(LightningChannelId, LightningChannel)> {
        let channels = self.account.channels.iter();
        channels
            .filter(|(_, channel)| !channel.value.is_zero() && is_of_kind(channel))
            .max_by_key(|(_, channel)| channel.value)
            .map(|(id, channel)| (*id, *channel))
    }
}

/// A packet that was refused for want of a channel wakes a peer whose idle channels were closed.
pub(crate) fn wakes(
    state: &State,
    command: &Command<'_>,
    decided: &Result<(), Rejection>,
) -> Option<Event> {
    let (Command::Prepare(prepare), Err(Rejection::LaneExhausted { .. })) = (command, decided)
    else {
        return None;
    };
    let peer = state.next_hop(prepare.destination)?;
    let account = state.peer(peer)?.lightning.as_deref()?;
    account
        .is_asleep
        .then_some(Event::Lightning(LightningEvent::Woken { peer }))
}

/// What the node says of a channel. An outcome that this is goes to `events` first.
pub(super) fn observed(
    state: &State,
    command: &LightningCommand,
    events: &mut Events,
) -> Result<Option<LightningEvent>, Rejection> {
    Ok(Some(match *command {
        LightningCommand::ChannelStands {
            peer,
            channel,
            value,
            is_ours,
            splices,
        } => {
            let account = account(state, peer)?;
            // What was sold is kept apart: it is no part of what is wanted.
            if state.sales.by_channel(channel).is_some() {
                return Ok(None);
            }
            let known = account.channels.get(&channel);
            if known.is_some_and(|known| known.value != value) {
                // After a restart what a splice has come to may be told before the splice.
                let raise = state.peer_of(peer).demands.raise;
                settle(state, raise, channel, false, events);
            }
            let is_closed = account
                .closed
                .iter()
                .any(|closed| closed.channel == channel);
            let is_known = known.is_some_and(|known| {
                (known.value, known.is_ours, known.splices) == (value, is_ours, splices)
            });
            if is_closed || is_known {
                return Ok(None);
            }
            if known.is_none() && account.channels.len() >= bounds::LIGHTNING_CHANNELS_MAX {
                return Err(Rejection::Full {
                    bound: bounds::LIGHTNING_CHANNELS_MAX as u64,
                });
            }
            LightningEvent::ChannelStands {
                peer,
                channel,
                value,
                is_ours,
                splices,
            }
        }
        LightningCommand::Spliced { channel, txid, fee } => {
            let (peer, account) = with_channel(state, channel)?;
            if state.on_bitcoin.paid_for.contains(&txid) {
                return Err(Rejection::AlreadyTaken);
            }
            settle(state, account.demands.raise, channel, false, events);
            LightningEvent::ChannelSpliced {
                peer,
                channel,
                txid,
                fee,
            }
        }
        LightningCommand::ChannelClosed { channel, balance }
            if state.sales.by_channel(channel).is_some() =>
        {
            sale::closed(state, channel, balance, events)?;
            return Ok(None);
        }
        LightningCommand::ChannelReturned {
            channel,
            cost,
            gain,
        } if state.sales.by_channel(channel).is_some() => {
            events.push(sale::returned(state, channel, (cost, gain))?);
            return Ok(None);
        }
        LightningCommand::ClosingPaid { channel, txid, fee }
            if state.sales.by_channel(channel).is_some() =>
        {
            events.push(sale::closing_paid(state, channel, (txid, fee))?);
            return Ok(None);
        }
        LightningCommand::ChannelClosed { channel, balance } => {
            let (peer, account) = with_channel(state, channel)?;
            settle(state, account.demands.raise, channel, true, events);
            settle(state, account.demands.close, channel, false, events);
            LightningEvent::ChannelClosed {
                peer,
                channel,
                balance,
            }
        }
        LightningCommand::ClosingPaid { channel, txid, fee } => {
            let peer = with_closed(state, channel)?;
            if state.on_bitcoin.paid_for.contains(&txid) {
                return Err(Rejection::AlreadyTaken);
            }
            LightningEvent::ClosingPaid {
                peer,
                channel,
                txid,
                fee,
            }
        }
        LightningCommand::ChannelReturned {
            channel,
            cost,
            gain,
        } => {
            let peer = with_closed(state, channel)?;
            if !gain.is_zero() {
                events.push(Event::Lightning(LightningEvent::ChannelGained {
                    peer,
                    channel,
                    gain,
                }));
            }
            LightningEvent::ChannelReturned {
                peer,
                channel,
                cost,
            }
        }
        LightningCommand::NodeNamed { .. }
        | LightningCommand::InvoiceAsked { .. }
        | LightningCommand::Received { .. }
        | LightningCommand::InvoiceTold { .. }
        | LightningCommand::InvoiceRefused { .. }
        | LightningCommand::Sent { .. }
        | LightningCommand::Failed { .. }
        | LightningCommand::Funded { .. }
        | LightningCommand::Started
        | LightningCommand::Stored { .. }
        | LightningCommand::Capacity { .. } => return Ok(None),
    }))
}

fn with_channel(state: &State, channel: LightningChannelId) -> Result<(PeerId, &Peer), Rejection> {
    let mut with = state.peers().filter(|(_, peer)| {
        let account = peer.lightning.as_deref();
        account.is_some_and(|account| account.channels.contains_key(&channel))
    });
    with.next().ok_or(Rejection::UnknownEffect)
}

/// Whose closed channel this is; one that has come back is not known any more [I11].
fn with_closed(state: &State, channel: LightningChannelId) -> Result<PeerId, Rejection> {
    let mut with = state.peers().filter(|(_, peer)| {
        let account = peer.lightning.as_deref();
        account.is_some_and(|account| {
            account
                .closed
                .iter()
                .any(|closed| closed.channel == channel)
        })
    });
    let found = with.next().map(|(peer, _)| peer);
    found.ok_or(Rejection::AlreadyTaken)
}

/// The outcome of a demand, if it is outstanding and about this channel.
fn settle(
    state: &State,
    demand: Option<forebay_quantity::EffectId>,
    channel: LightningChannelId,
    failed: bool,
    events: &mut Events,
) {
    let outstanding = demand.filter(|demand| {
        let request = state.demands.get(demand);
        request.and_then(ChainRequest::lightning_channel) == Some(channel)
    });
    events.extend(outstanding.map(|id| Event::ChainSettled { id, failed }));
}
