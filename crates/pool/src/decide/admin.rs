//! The operator's instructions and the peers' keys.

use alloc::boxed::Box;

use forebay_channel::PeerKeys;
use forebay_ilp::Address;
use forebay_quantity::{Amount, CommandId, Hash32, PeerId, Timestamp};

use super::claim;
use crate::Events;
use crate::command::Admin;
use crate::event::Event;
use crate::rejection::Rejection;
use crate::state::{
    Asset, AssetDefinition, AssetPolicy, BitcoinDefinition, Genesis, LiquidityPolicy,
    MILLISATOSHI_SCALE, PeerPolicy, Rail, Relation, RelationKind, SalePolicy, State, bounds,
};

pub(super) fn instruct(
    state: &State,
    now: Timestamp,
    id: CommandId,
    admin: &Admin,
    events: &mut Events,
) -> Result<(), Rejection> {
    #[cfg(feature = "planted-bugs")]
    if forebay_quantity::planted::is(forebay_quantity::planted::Bug::InstructionRepeated) {
        events.push(decide_one(state, now, admin)?);
        return Ok(());
    }
    let digest = admin.digest();
    if let Some(taken) = state.commands.get(&id) {
        // [I11] What an older version took left no digest, and counts as the same.
        return Err(match *taken == digest || *taken == Hash32([0; 32]) {
            true => Rejection::AlreadyTaken,
            false => Rejection::IdReused,
        });
    }
    let event = decide_one(state, now, admin)?;
    events.push(event);
    events.push(Event::InstructionTaken { id, digest });
    Ok(())
}

pub(super) fn keys(
    state: &State,
    peer: PeerId,
    keys: PeerKeys,
    events: &mut Events,
) -> Result<(), Rejection> {
    let account = state
        .peer(peer)
        .filter(|peer| !peer.removed)
        .ok_or(Rejection::UnknownPeer(peer))?;
    if keys.signer == forebay_channel::Address::ZERO
        || keys.payout == forebay_channel::Address::ZERO
    {
        return Err(Rejection::BadPolicy(
            "keys and payout addresses are not zero",
        ));
    }
    if account.keys != Some(keys) {
        events.push(Event::KeysNamed { peer, keys });
    }
    Ok(())
}

fn decide_one(state: &State, now: Timestamp, admin: &Admin) -> Result<Event, Rejection> {
    if let Admin::Found(genesis) = admin {
        return found(state, genesis);
    }
    if state.genesis.is_none() {
        return Err(Rejection::NotFounded);
    }
    let known_asset = |asset| {
        state
            .asset(asset)
            .map(|_| asset)
            .ok_or(Rejection::UnknownAsset(asset))
    };
    let live_peer = |peer| {
        state
            .peer(peer)
            .filter(|account| !account.removed)
            .ok_or(Rejection::UnknownPeer(peer))
    };
    Ok(match admin {
        Admin::Found(_) => return Err(Rejection::AlreadyFounded),
        Admin::AddAsset(definition, policy) => add_asset(state, definition, policy)?,
        Admin::AddBitcoin(definition, policy) => add_bitcoin(state, definition, policy)?,
        Admin::SetLiquidity(policy) => {
            sound_liquidity(policy)?;
            Event::LiquiditySet(Box::new(policy.clone()))
        }
        Admin::SetSales(policy) => {
            sound_sales(policy)?;
            Event::SalesSet(Box::new(policy.clone()))
        }
        Admin::SetAsset(asset, policy) => {
            let asset = known_asset(*asset)?;
            sound_asset(policy)?;
            Event::AssetSet(asset, Box::new(policy.clone()))
        }
        Admin::AddPeer {
            name,
            asset,
            token_hash,
            policy,
        } => {
            let asset = known_asset(*asset)?;
            sound_peer(policy)?;
            room_for(state.peers.len(), bounds::PEERS_MAX)?;
            if !is_segment(name) {
                return Err(Rejection::BadName);
            }
            let same_token = state.index.has_token(&state.peers, token_hash);
            if same_token || state.peer_named(name).is_some() {
                return Err(Rejection::AlreadyExists);
            }
            Event::PeerAdded {
                name: name.clone(),
                asset,
                token_hash: *token_hash,
                policy: Box::new(policy.clone()),
            }
        }
        Admin::SetPeer(peer, policy) => {
            live_peer(*peer)?;
            sound_peer(policy)?;
            let clearing = state.ledger.account(state.peer_of(*peer).clearing);
            if clearing.debit_exposure() > policy.credit {
                return Err(Rejection::PeerBusy(*peer));
            }
            Event::PeerSet(*peer, Box::new(policy.clone()))
        }
        Admin::RemovePeer(peer) => {
            live_peer(*peer)?;
            Event::PeerRemoved(*peer)
        }
        Admin::AddRoute { prefix, peer } => {
            live_peer(*peer)?;
            room_for(state.routes.fixed_len(), bounds::ROUTES_MAX)?;
            if Address::parse(prefix.as_bytes()).is_err() {
                return Err(Rejection::BadName);
            }
            if state.routes.fixed(prefix).is_some() {
                return Err(Rejection::AlreadyExists);
            }
            Event::RouteAdded {
                prefix: prefix.clone(),
                peer: *peer,
            }
        }
        Admin::RemoveRoute { prefix } => {
            state.routes.fixed(prefix).ok_or(Rejection::Unreachable)?;
            Event::RouteRemoved {
                prefix: prefix.clone(),
            }
        }
        Admin::HaltBook(asset) => Event::BookHalted {
            asset: known_asset(*asset)?,
            deep_reorg: false,
        },
        Admin::ResumeBook(asset) => {
            let asset = known_asset(*asset)?;
            if state.asset_of(asset).vault.runs_down {
                return Err(Rejection::BadPolicy(
                    "its vault runs down: list a new vault under another code",
                ));
            }
            Event::BookResumed(asset)
        }
        Admin::SetRelation(peer, relation) => {
            live_peer(*peer)?;
            sound_relation(state, *peer, relation)?;
            Event::RelationSet(*peer, *relation)
        }
        Admin::Claim(order) => Event::Claim(claim::order(state, now, order)?),
    })
}

fn found(state: &State, genesis: &Genesis) -> Result<Event, Rejection> {
    if state.genesis.is_some() {
        return Err(Rejection::AlreadyFounded);
    }
    if Address::parse(genesis.operator.as_bytes()).is_err() {
        return Err(Rejection::BadName);
    }
    if genesis.hold_max_ms == 0 || genesis.hold_max_ms > bounds::HOLD_MAX_MS {
        return Err(Rejection::BadPolicy("a packet is held for 1 to 60,000 ms"));
    }
    Ok(Event::Founded(Box::new(genesis.clone())))
}

fn add_asset(
    state: &State,
    definition: &AssetDefinition,
    policy: &AssetPolicy,
) -> Result<Event, Rejection> {
    may_list(state, &definition.code, policy)?;
    let steps = definition.chain_scale.checked_sub(definition.scale);
    if steps.is_none_or(|steps| steps > 18) || definition.scale > 18 {
        return Err(Rejection::BadPolicy(
            "the chain's scale is 0 to 18 above the ledger's, which is at most 18",
        ));
    }
    if definition.floor.value() > 10_000 {
        return Err(Rejection::BadPolicy(
            "the floor is at most 10,000 basis points",
        ));
    }
    let taken = state.assets.iter().any(|asset| {
        let known = &asset.definition;
        asset.rail == Rail::Vault
            && (known.chain_id, known.vault) == (definition.chain_id, definition.vault)
    });
    if taken {
        return Err(Rejection::AlreadyExists);
    }
    Ok(Event::AssetAdded(
        Box::new(definition.clone()),
        Box::new(policy.clone()),
    ))
}

fn add_bitcoin(
    state: &State,
    definition: &BitcoinDefinition,
    policy: &AssetPolicy,
) -> Result<Event, Rejection> {
    may_list(state, &definition.code, policy)?;
    if definition.scale > MILLISATOSHI_SCALE {
        return Err(Rejection::BadPolicy(
            "the ledger's scale is at most 11, that of a millisatoshi",
        ));
    }
    // One wallet and one node: two assets could not tell whose money is whose.
    let taken = |asset: &Asset| matches!(asset.rail, Rail::Bitcoin { .. });
    if state.assets.iter().any(taken) {
        return Err(Rejection::AlreadyExists);
    }
    Ok(Event::BitcoinAdded(
        Box::new(definition.clone()),
        Box::new(policy.clone()),
    ))
}

fn may_list(state: &State, code: &str, policy: &AssetPolicy) -> Result<(), Rejection> {
    room_for(state.assets.len(), bounds::ASSETS_MAX)?;
    sound_asset(policy)?;
    if code.is_empty() || code.len() > bounds::NAME_MAX || !code.is_ascii() {
        return Err(Rejection::BadName);
    }
    match state.asset_coded(code) {
        Some(_) => Err(Rejection::AlreadyExists),
        None => Ok(()),
    }
}

fn sound_asset(policy: &AssetPolicy) -> Result<(), Rejection> {
    if policy.spread.floor_ppm.value() >= forebay_quantity::PPM_ONE {
        return Err(Rejection::BadPolicy(
            "the spread's floor is below the whole",
        ));
    }
    if policy.guards.age_max_ms.value() == 0 {
        return Err(Rejection::BadPolicy("a price may have some age"));
    }
    if policy.index_interval_ms == 0 || policy.fee_release_ms == 0 {
        return Err(Rejection::BadPolicy("intervals are above zero"));
    }
    Ok(())
}

fn sound_peer(policy: &PeerPolicy) -> Result<(), Rejection> {
    if policy.packet_max == 0 || policy.in_flight_max == 0 {
        return Err(Rejection::BadPolicy(
            "packet and in-flight maxima are above zero",
        ));
    }
    if policy.settle_target > policy.settle_threshold {
        return Err(Rejection::BadPolicy(
            "the settle target is at most the settle threshold",
        ));
    }
    if !policy.allotment.is_zero() && policy.allotment <= policy.settle_threshold {
        return Err(Rejection::BadPolicy(
            "the allotment is above the settle threshold",
        ));
    }
    if policy.allotment > Amount::new(u128::from(u64::MAX)) || policy.allotment_term_ms == 0 {
        return Err(Rejection::BadPolicy(
            "the allotment fits 64 bits and has a term",
        ));
    }
    Ok(())
}

fn sound_liquidity(policy: &LiquidityPolicy) -> Result<(), Rejection> {
    if policy.fee_ppm.value() >= forebay_quantity::PPM_ONE {
        return Err(Rejection::BadPolicy(
            "a change of channels costs less than it moves",
        ));
    }
    if policy.change_min.is_zero() || policy.rest_ms == 0 || policy.idle_ms == 0 {
        return Err(Rejection::BadPolicy(
            "the smallest change, the rest after it and the idle time are above zero",
        ));
    }
    Ok(())
}

fn sound_sales(policy: &SalePolicy) -> Result<(), Rejection> {
    if policy.payment_min.is_zero() || policy.fee_min.is_zero() || policy.valid_ms == 0 {
        return Err(Rejection::BadPolicy(
            "the smallest payment, the least fee and the time that terms stand are above zero",
        ));
    }
    if policy.fee_ppm.value() >= forebay_quantity::PPM_ONE {
        return Err(Rejection::BadPolicy(
            "a channel costs less than the payment that opens it",
        ));
    }
    Ok(())
}

fn sound_relation(state: &State, peer: PeerId, relation: &Relation) -> Result<(), Rejection> {
    let others = || {
        let peers = state.peers();
        let others = peers.filter(|(other, account)| *other != peer && !account.removed);
        others.map(|(_, account)| account.relation)
    };
    let is_parent = |relation: &Relation| relation.kind == RelationKind::Parent;
    if is_parent(relation) && others().any(|other| is_parent(&other)) {
        return Err(Rejection::BadPolicy("a pool has one parent"));
    }
    if relation.exchanges_routes() {
        let neighbours = others().filter(Relation::exchanges_routes).count();
        room_for(neighbours, bounds::NEIGHBOURS_MAX)?;
    }
    Ok(())
}

fn room_for(used: usize, most: usize) -> Result<(), Rejection> {
    if used < most {
        Ok(())
    } else {
        Err(Rejection::Full { bound: most as u64 })
    }
}

fn is_segment(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'~' | b'-');
    !name.is_empty() && name.len() <= bounds::NAME_MAX && name.bytes().all(allowed)
}
