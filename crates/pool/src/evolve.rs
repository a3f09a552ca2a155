//! Applies events. Total: an event that was journalled always applies, and what cannot be is a bug that halts.

mod bitcoin;
mod chain;
mod claim;
mod lightning;
mod liquidity;
mod packet;
mod price;
mod reserve;
mod sale;

pub(crate) use packet::PacketLegs;

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use forebay_channel::{Address, Channel, LaneId, Signature, Step};
use forebay_ledger::{Leg, Limits};
use forebay_quantity::{
    AccountId, Amount, AssetId, Bps, CommandId, EffectId, Hash32, PeerId, Timestamp,
};

use crate::effect::ChainRequest;
use crate::event::Event;
use crate::state::{
    Asset, AssetAccounts, AssetDefinition, AssetPolicy, BitcoinDefinition, Genesis,
    MILLISATOSHI_SCALE, Peer, PeerDemands, PeerPolicy, Rail, Relation, State, VaultRules, bounds,
};

/// Applies one event.
pub fn evolve(state: &mut State, event: &Event) {
    match event {
        Event::PacketPrepared { .. } => packet::prepared(state, event),
        Event::PacketFulfilled {
            packet, preimage, ..
        } => packet::fulfilled(state, *packet, *preimage),
        Event::PacketRejected { packet, .. } => packet::rejected(state, *packet),
        Event::VoucherSigned { peer, amount, .. } => chain::voucher_signed(state, *peer, *amount),
        Event::VoucherHeld {
            peer,
            amount,
            signature,
            ..
        } => chain::voucher_held(state, *peer, *amount, *signature),
        Event::PriceReported {
            asset,
            source,
            price,
            at,
        } => price::reported(state, *asset, *source, *price, *at),
        Event::Founded(genesis) => found(state, genesis),
        Event::AssetAdded(definition, policy) => {
            add_asset(state, (**definition).clone(), Rail::Vault, policy);
        }
        Event::BitcoinAdded(definition, policy) => add_bitcoin(state, definition, policy),
        Event::AssetSet(asset, policy) => set_asset(state, *asset, policy),
        Event::BookHalted { asset, .. } => state.asset_mut(*asset).halted = true,
        Event::BookResumed(asset) => state.asset_mut(*asset).halted = false,
        Event::PeerAdded {
            name,
            asset,
            token_hash,
            policy,
        } => add_peer(state, name, *asset, *token_hash, policy),
        Event::PeerSet(peer, policy) => set_peer(state, *peer, policy),
        Event::PeerRemoved(peer) => remove_peer(state, *peer),
        Event::RouteAdded { prefix, peer } => state.routes.add(prefix, *peer),
        Event::RouteRemoved { prefix } => state.routes.remove(prefix),
        Event::KeysNamed { peer, keys } => state.peer_mut(*peer).keys = Some(*keys),
        Event::ChainDemanded { id, request } => demand(state, *id, request),
        Event::ChainSettled { id, failed } => settle_demand(state, *id, *failed),
        Event::ChainSaw {
            asset,
            at,
            depth,
            fact,
        } => chain::saw(state, *asset, *at, *depth, fact),
        Event::CommandTaken(id) => remember(state, *id, Hash32([0; 32])),
        Event::InstructionTaken { id, digest } => remember(state, *id, *digest),
        Event::RelationSet(peer, relation) => state.peer_mut(*peer).relation = *relation,
        Event::VaultRulesKnown(asset, rules) => know_rules(state, *asset, *rules),
        Event::IndexRaised { asset, index } => chain::index_raised(state, *asset, *index),
        Event::BitcoinSaw(fact) => bitcoin::saw(state, fact),
        Event::Claim(happened) => claim::happened(state, happened),
        Event::Reserve(happened) => reserve::happened(state, happened),
        Event::Lightning(happened) => lightning::happened(state, happened),
        Event::LightningStored { generation } => state.on_bitcoin.stored = *generation,
        Event::LiquiditySet(policy) => state.liquidity = (**policy).clone(),
        Event::Sale(happened) => sale::happened(state, happened),
        Event::SalesSet(policy) => state.sales.policy = (**policy).clone(),
    }
}

/// Brings the state's clock to a batch's stamp; it never goes back.
pub(crate) fn advance(state: &mut State, stamp: Timestamp) {
    state.now = state.now.max(stamp);
}

fn found(state: &mut State, genesis: &Genesis) {
    assert!(
        state.genesis.is_none(),
        "[I10] a journal founds its pool once"
    );
    state.next_serial = genesis.first_serial;
    state.routes.found(&genesis.operator);
    state.genesis = Some(genesis.clone());
}

fn add_bitcoin(state: &mut State, definition: &BitcoinDefinition, policy: &AssetPolicy) {
    let rail = Rail::Bitcoin {
        genesis: definition.genesis,
    };
    let definition = AssetDefinition {
        code: definition.code.clone(),
        scale: definition.scale,
        chain_id: 0,
        chain_scale: MILLISATOSHI_SCALE,
        vault: Address::ZERO,
        token: Address::ZERO,
        floor: Bps(0),
        index_rate_max: definition.index_rate_max,
    };
    add_asset(state, definition, rail, policy);
}

fn add_asset(state: &mut State, definition: AssetDefinition, rail: Rail, policy: &AssetPolicy) {
    let asset = AssetId(u16::try_from(state.assets.len()).expect("[I12] assets are bounded"));
    let ledger = &mut state.ledger;
    let accounts = AssetAccounts {
        vault: ledger.open(asset, Limits::DEBIT_ONLY),
        notes: ledger.open(asset, Limits::CREDIT_ONLY),
        shares: ledger.open(asset, Limits::CREDIT_ONLY),
        fees: ledger.open(asset, Limits::CREDIT_ONLY),
        exchange: ledger.open(asset, exchange_limits(policy)),
        deposits_held: ledger.open(asset, Limits::DEBIT_ONLY),
        deposits_owed: ledger.open(asset, Limits::CREDIT_ONLY),
        losses: ledger.open(asset, Limits::NONE),
    };
    state.assets.push(Asset::new(
        (definition, rail),
        policy.clone(),
        accounts,
        state.now,
    ));
    price::rebuild(state);
}

fn know_rules(state: &mut State, asset: AssetId, rules: VaultRules) {
    let now = state.now;
    let asset = state.asset_mut(asset);
    asset.rules = rules;
    // What the vault's history drained is subtracted as its facts arrive; of a history that was taken before, nothing is known.
    let level = match asset.vault.cursor {
        None => rules.bucket_capacity,
        Some(_) => Amount::ZERO,
    };
    (asset.vault.bucket, asset.vault.bucket_at) = (level, now);
}

fn set_asset(state: &mut State, asset: AssetId, policy: &AssetPolicy) {
    let exchange = state.asset_of(asset).accounts.exchange;
    state.ledger.set_limits(exchange, exchange_limits(policy));
    state.asset_mut(asset).policy = policy.clone();
    price::judge_anew(state, asset);
}

fn exchange_limits(policy: &AssetPolicy) -> Limits {
    Limits {
        debit_balance_max: policy.lent_max,
        credit_balance_max: Amount::MAX,
    }
}

fn add_peer(
    state: &mut State,
    name: &str,
    asset: AssetId,
    token_hash: Hash32,
    policy: &PeerPolicy,
) {
    let id = PeerId(u32::try_from(state.peers.len()).expect("[I12] peers are bounded"));
    let lightning = match state.asset_of(asset).rail {
        Rail::Vault => None,
        Rail::Bitcoin { .. } => Some(Box::default()),
    };
    let ledger = &mut state.ledger;
    state.peers.push(Peer {
        name: name.into(),
        asset,
        token_hash,
        policy: policy.clone(),
        removed: false,
        clearing: ledger.open(asset, clearing_limits(policy)),
        vouchers_held: ledger.open(asset, Limits::DEBIT_ONLY),
        vouchers_out: ledger.open(asset, Limits::CREDIT_ONLY),
        keys: None,
        channel: None,
        best_amount: Amount::ZERO,
        best_signature: Signature::new([0; 64]),
        term_ends: Timestamp(0),
        credited: Amount::ZERO,
        prepaid: Amount::ZERO,
        in_flight: 0,
        demands: PeerDemands::default(),
        answers: VecDeque::new(),
        relation: Relation::CHILD,
        lightning,
    });
    state.index.insert(&state.peers, id);
}

fn set_peer(state: &mut State, peer: PeerId, policy: &PeerPolicy) {
    let clearing = state.peer_of(peer).clearing;
    state.ledger.set_limits(clearing, clearing_limits(policy));
    state.peer_mut(peer).policy = policy.clone();
    if let Some(account) = state.peer_mut(peer).lightning.as_deref_mut() {
        account.is_asleep = false;
    }
}

fn clearing_limits(policy: &PeerPolicy) -> Limits {
    Limits {
        debit_balance_max: policy.credit,
        credit_balance_max: Amount::MAX,
    }
}

fn remove_peer(state: &mut State, peer: PeerId) {
    state.peer_mut(peer).removed = true;
    state.index.remove(&state.peers, peer);
    state.routes.remove_peer(peer);
}

fn remember(state: &mut State, id: CommandId, digest: Hash32) {
    assert!(
        state.commands.insert(id, digest).is_none(),
        "[I11] a command takes effect once"
    );
    state.commands_in_order.push_back(id);
    if state.commands_in_order.len() > bounds::COMMANDS_REMEMBERED_MAX {
        let oldest = state
            .commands_in_order
            .pop_front()
            .expect("longer than its bound");
        state.commands.remove(&oldest);
    }
}

fn demand(state: &mut State, id: EffectId, request: &ChainRequest) {
    assert_eq!(id, state.next_effect, "[I10] effects are numbered in order");
    state.next_effect = EffectId(id.0 + 1);
    state.demands.insert(id, request.clone());
    match request {
        ChainRequest::Open {
            peer,
            serial,
            peer_signer,
            ..
        } => {
            let peer = *peer;
            assert!(
                state.peer_of(peer).channel.is_none(),
                "[I5] a peer has one channel at a time"
            );
            state.serials.insert(*serial, peer);
            #[cfg(feature = "planted-bugs")]
            let serial =
                &if forebay_quantity::planted::is(forebay_quantity::planted::Bug::SerialReused) {
                    forebay_quantity::ChannelSerial(serial.0.saturating_sub(1))
                } else {
                    *serial
                };
            state.next_serial = state
                .next_serial
                .max(forebay_quantity::ChannelSerial(serial.0 + 1));
            let account = state.peer_mut(peer);
            let channel = Channel::new(*serial, LaneId::Peer, *peer_signer);
            account.channel = Some(Box::new(channel));
            account.demands.open = Some(id);
        }
        ChainRequest::Raise { serial, .. } => {
            on_channel(state, *serial, |peer| peer.demands.raise = Some(id))
        }
        ChainRequest::Redeem { serial, amount, .. } => on_channel(state, *serial, |peer| {
            peer.demands.redeem = Some(id);
            asked(
                peer,
                Step::Redeem {
                    amount: *amount,
                    before: None,
                },
            );
        }),
        ChainRequest::StartClose { serial, .. } | ChainRequest::StartLower { serial, .. } => {
            on_channel(state, *serial, |peer| peer.demands.close = Some(id));
        }
        ChainRequest::FinishNotice { serial, kind, .. } => on_channel(state, *serial, |peer| {
            peer.demands.close = Some(id);
            asked(peer, finishing(*kind));
        }),
        ChainRequest::RaiseIndex { asset, .. } => state.asset_mut(*asset).index_demand = Some(id),
        ChainRequest::PayExits { asset, .. } => state.asset_mut(*asset).exits_demand = Some(id),
        ChainRequest::Heartbeat { asset } => state.asset_mut(*asset).heartbeat_demand = Some(id),
        ChainRequest::OpenLightning { peer, .. } => {
            state.peer_mut(*peer).demands.open = Some(id);
        }
        ChainRequest::ToReserve { amount, .. } => state.reserve.sweep = Some((id, *amount)),
        ChainRequest::FromReserve { .. } | ChainRequest::RenewReserve { .. } => {
            state.reserve.draft = Some(id);
        }
        ChainRequest::SpliceIn { peer, .. } | ChainRequest::SpliceOut { peer, .. } => {
            state.peer_mut(*peer).demands.raise = Some(id);
        }
        ChainRequest::CloseLightning { peer, .. } => {
            state.peer_mut(*peer).demands.close = Some(id);
        }
        ChainRequest::SellLightning {
            sale: sold, amount, ..
        } => sale::demanded(state, *sold, id, *amount),
        ChainRequest::CloseSold { sale: sold, .. } => sale::closing(state, *sold, id),
    }
}

/// An effect's outcome. Success leaves the demand standing at its peer until the chain's own fact arrives.
fn settle_demand(state: &mut State, id: EffectId, failed: bool) {
    let request = state
        .demands
        .remove(&id)
        .expect("[I3] an effect settles once");
    let retry_at = Timestamp(state.now.0.saturating_add(RETRY_MS));
    if request.is_of_reserve() {
        let reserve = &mut state.reserve;
        reserve.sweep = reserve.sweep.filter(|(sweep, _)| *sweep != id);
        reserve.draft = reserve.draft.filter(|draft| *draft != id);
        if failed {
            reserve.retry_at = retry_at;
        }
        return;
    }
    if !failed {
        // A payment of exits may have found nothing to pay, and then no fact follows: it is looked at again.
        if let ChainRequest::PayExits { asset, .. } = request {
            let asset = state.asset_mut(asset);
            if asset.exits_demand == Some(id) {
                asset.exits_demand = None;
                asset.retry_at = retry_at;
            }
        }
        return;
    }
    if liquidity::failed(state, &request, retry_at) {
        return;
    }
    let never_opened = if let ChainRequest::Open { serial, .. } = &request {
        Some(*serial)
    } else {
        None
    };
    if let Some(serial) = request.serial() {
        on_channel(state, serial, |peer| {
            let demands = &mut peer.demands;
            for standing in [
                &mut demands.open,
                &mut demands.raise,
                &mut demands.redeem,
                &mut demands.close,
            ] {
                if *standing == Some(id) {
                    *standing = None;
                }
            }
            demands.retry_at = retry_at;
            match &request {
                ChainRequest::Open { .. } => peer.channel = None,
                ChainRequest::Redeem { amount, .. } => failed_step(
                    peer,
                    Step::Redeem {
                        amount: *amount,
                        before: None,
                    },
                ),
                ChainRequest::FinishNotice { kind, .. } => failed_step(peer, finishing(*kind)),
                ChainRequest::Raise { .. }
                | ChainRequest::StartClose { .. }
                | ChainRequest::StartLower { .. }
                | ChainRequest::RaiseIndex { .. }
                | ChainRequest::PayExits { .. }
                | ChainRequest::Heartbeat { .. }
                | ChainRequest::OpenLightning { .. }
                | ChainRequest::ToReserve { .. }
                | ChainRequest::FromReserve { .. }
                | ChainRequest::RenewReserve { .. }
                | ChainRequest::SpliceIn { .. }
                | ChainRequest::SpliceOut { .. }
                | ChainRequest::CloseLightning { .. }
                | ChainRequest::SellLightning { .. }
                | ChainRequest::CloseSold { .. } => {}
            }
        });
        if let Some(serial) = never_opened {
            // [I12] tried again under the next serial: a chain that refuses for long must not fill the table.
            state.serials.remove(&serial);
        }
        return;
    }
    let asset = state.asset_mut(request.asset());
    asset.retry_at = retry_at;
    for standing in [
        &mut asset.index_demand,
        &mut asset.exits_demand,
        &mut asset.heartbeat_demand,
    ] {
        if *standing == Some(id) {
            *standing = None;
        }
    }
}

/// A failed effect is planned again after this long.
pub(super) const RETRY_MS: u64 = 30_000;

fn finishing(kind: crate::command::NoticeKind) -> Step {
    match kind {
        crate::command::NoticeKind::AllotmentLowering => Step::FinishLowering,
        crate::command::NoticeKind::Close
        | crate::command::NoticeKind::DepositWithdrawal
        | crate::command::NoticeKind::PeerKeyChange
        | crate::command::NoticeKind::PoolKeyChange => Step::FinishClose,
    }
}

fn asked(peer: &mut Peer, step: Step) {
    if let Some(channel) = &mut peer.channel {
        channel.asked(step);
    }
}

fn failed_step(peer: &mut Peer, step: Step) {
    if let Some(channel) = &mut peer.channel {
        channel.failed(step);
    }
}

fn on_channel(
    state: &mut State,
    serial: forebay_quantity::ChannelSerial,
    change: impl FnOnce(&mut Peer),
) {
    let peer = state.serials.get(&serial).copied();
    if let Some(peer) = peer {
        let account = state.peer_mut(peer);
        if account
            .channel
            .as_ref()
            .is_some_and(|channel| channel.serial() == serial)
        {
            change(account);
        }
    }
}

/// Posts one leg unless its amount is zero.
fn post(state: &mut State, debit: AccountId, credit: AccountId, amount: Amount) {
    if !amount.is_zero() {
        state.ledger.post(&[Leg {
            debit,
            credit,
            amount,
        }]);
    }
}

/// Debits `amount` to the first of these claims that can bear it, then the next; what none can is a loss.
fn draw(state: &mut State, asset: AssetId, from: &[AccountId], credit: AccountId, amount: Amount) {
    let mut left = amount;
    for &source in from {
        let part = left.min(state.ledger.account(source).debit_room());
        post(state, source, credit, part);
        left = left.saturating_sub(part);
    }
    let losses = state.asset_of(asset).accounts.losses;
    post(state, losses, credit, left);
}
