//! Vouchers from peers and facts from chains.

use forebay_channel::{Verified, Voucher, VoucherRefusal};
use forebay_quantity::{Amount, AssetId, ChannelSerial, PeerId, Timestamp};

use crate::Events;
use crate::command::{ChainFact, Depth, VaultFact};
use crate::event::Event;
use crate::rejection::Rejection;
use crate::state::{State, VaultRules};

pub(super) fn voucher(
    state: &State,
    now: Timestamp,
    peer: PeerId,
    voucher: &Verified<Voucher>,
    events: &mut Events,
) -> Result<(), Rejection> {
    let account = state.peer(peer).ok_or(Rejection::UnknownPeer(peer))?;
    let channel = account
        .channel
        .as_ref()
        .ok_or(Rejection::BadVoucher("no channel is open"))?;
    channel.accept_voucher(voucher).map_err(|refusal| {
        Rejection::BadVoucher(match refusal {
            VoucherRefusal::WrongLane => "it names another channel or lane",
            VoucherRefusal::WrongSigner { .. } => "it is signed by another key than the lane's",
            VoucherRefusal::NotGrowing { .. } => "it is not above the last one",
        })
    })?;
    if !channel.is_live() {
        return Err(Rejection::BadVoucher("the channel is not open, or closes"));
    }
    if !state.hears(now, account.asset) {
        return Err(Rejection::BadVoucher(
            "our chain node has been silent for too long to know what it is worth: try again later",
        ));
    }
    let amount = voucher.message().amount;
    if amount > channel.incoming.usable_ceiling() {
        return Err(Rejection::BadVoucher(
            "it is above the deposit that is final: deposit first",
        ));
    }
    events.push(Event::VoucherHeld {
        peer,
        serial: channel.serial(),
        amount,
        signature: voucher.signature(),
    });
    Ok(())
}

/// A vault's rules never change, so they are taken once.
pub(super) fn rules(
    state: &State,
    asset: AssetId,
    rules: VaultRules,
    events: &mut Events,
) -> Result<(), Rejection> {
    let known = state.asset(asset).ok_or(Rejection::UnknownAsset(asset))?;
    if known.rules == rules {
        return Err(Rejection::AlreadyTaken);
    }
    events.push(Event::VaultRulesKnown(asset, rules));
    Ok(())
}

pub(super) fn fact(state: &State, seen: &ChainFact, events: &mut Events) -> Result<(), Rejection> {
    let asset = state
        .asset(seen.asset)
        .ok_or(Rejection::UnknownAsset(seen.asset))?;
    let is_notice = matches!(
        seen.fact,
        VaultFact::NoticeGiven { .. } | VaultFact::NoticeDropped { .. }
    );
    let saw = Event::ChainSaw {
        asset: seen.asset,
        at: seen.at,
        depth: seen.depth,
        fact: seen.fact.clone(),
    };
    match seen.depth {
        // Money counts at its depth only; a notice is acted on at once.
        Depth::Seen => {
            // Told again after it became final, and perhaps was executed: it would never be taken back.
            let is_old = asset.vault.cursor.is_some_and(|last| seen.at <= last);
            if is_old && matches!(seen.fact, VaultFact::NoticeGiven { .. }) {
                return Err(Rejection::AlreadyTaken);
            }
            if is_notice || seen.fact == VaultFact::DeepReorg {
                events.push(saw);
            }
            if seen.fact == VaultFact::DeepReorg {
                events.push(Event::BookHalted {
                    asset: seen.asset,
                    deep_reorg: true,
                });
            }
            return Ok(());
        }
        Depth::Final => {}
    }
    if asset.vault.cursor.is_some_and(|last| seen.at <= last) {
        return Err(Rejection::AlreadyTaken);
    }
    plausible(state, seen)?;
    events.push(saw);
    if contradicts_our_key(state, seen) || seen.fact == VaultFact::RunDownStarted {
        events.push(Event::BookHalted {
            asset: seen.asset,
            deep_reorg: false,
        });
    }
    Ok(())
}

/// A fact that would take out more than was ever put in comes from a lying or broken node.
fn plausible(state: &State, seen: &ChainFact) -> Result<(), Rejection> {
    let asset = state.asset_of(seen.asset);
    let total = asset.vault.chain_total;
    let lane_paid = |serial: &ChannelSerial| {
        let peer = state
            .channel_peer(*serial)
            .and_then(|peer| state.peer(peer));
        let channel = peer
            .and_then(|peer| peer.channel.as_ref())
            .filter(|channel| channel.serial() == *serial);
        channel.map(|channel| (channel.outgoing.paid(), channel.outgoing.ceiling()))
    };
    let leaves = match &seen.fact {
        VaultFact::ExitPaid { amount, .. } | VaultFact::SharesWithdrawn { amount } => {
            if *amount > asset.chain_free() {
                return Err(Rejection::BadFact("more left the vault than was free"));
            }
            *amount
        }
        VaultFact::PoolPaid { serial, paid } => match lane_paid(serial) {
            Some((_, ceiling)) if *paid > ceiling => {
                return Err(Rejection::BadFact("a lane paid above its ceiling"));
            }
            Some((before, _)) => paid.saturating_sub(before),
            None => Amount::ZERO,
        },
        VaultFact::ChannelClosed {
            serial, pool_paid, ..
        } => match lane_paid(serial) {
            Some((_, ceiling)) if *pool_paid > ceiling => {
                return Err(Rejection::BadFact("a lane closed above its ceiling"));
            }
            Some((before, _)) => pool_paid.saturating_sub(before),
            None => Amount::ZERO,
        },
        VaultFact::AllotmentLowered {
            serial, ceiling, ..
        } => match lane_paid(serial) {
            Some((_, before)) if *ceiling > before => {
                return Err(Rejection::BadFact(
                    "an allotment lowered to more than it was",
                ));
            }
            Some(_) | None => Amount::ZERO,
        },
        VaultFact::AllotmentRaised { serial, ceiling } => match lane_paid(serial) {
            Some((_, before)) if ceiling.saturating_sub(before) > asset.chain_free() => {
                return Err(Rejection::BadFact(
                    "an allotment above the vault's free money",
                ));
            }
            Some(_) | None => Amount::ZERO,
        },
        VaultFact::MarkedDown { index } if *index >= asset.vault.index => {
            return Err(Rejection::BadFact(
                "an index marked down to more than it was",
            ));
        }
        VaultFact::MarkedDown { .. }
        | VaultFact::NoteDeposited { .. }
        | VaultFact::ExitRequested { .. }
        | VaultFact::IndexRaised { .. }
        | VaultFact::SharesDeposited { .. }
        | VaultFact::ChannelOpened { .. }
        | VaultFact::PeerDeposited { .. }
        | VaultFact::PeerWithdrew { .. }
        | VaultFact::AllotmentRenewed { .. }
        | VaultFact::PeerPaid { .. }
        | VaultFact::NoticeGiven { .. }
        | VaultFact::NoticeDropped { .. }
        | VaultFact::KeyChanged { .. }
        | VaultFact::NettedOff { .. }
        | VaultFact::DeepReorg
        | VaultFact::RaiseCosigned { .. }
        | VaultFact::HeartbeatSeen { .. }
        | VaultFact::Frozen { .. }
        | VaultFact::RunDownStarted => Amount::ZERO,
    };
    if leaves > total {
        return Err(Rejection::BadFact("more left the vault than it held"));
    }
    Ok(())
}

/// A redemption above what we know to have signed: another signer holds our key, or our journal is not the newest [I14].
fn contradicts_our_key(state: &State, seen: &ChainFact) -> bool {
    let VaultFact::PoolPaid { serial, paid } = &seen.fact else {
        return false;
    };
    let peer = state
        .channel_peer(*serial)
        .and_then(|peer| state.peer(peer));
    let channel = peer
        .and_then(|peer| peer.channel.as_ref())
        .filter(|channel| channel.serial() == *serial);
    channel.is_some_and(|channel| *paid > channel.outgoing.promised())
}
