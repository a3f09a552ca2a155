//! What the operator may see.

use forebay_api::{
    Asset, AssetBooks, AssetPolicy, Books, ChainCost, ChannelView, LaneView, Peer, PeerPolicy,
    SourceView, Status, Units,
};
use forebay_channel::{Channel, Lane, Phase};
use forebay_ledger::Balance;
use forebay_pool::State;
use forebay_quantity::{Amount, AssetId, PeerId};

use super::relation::relation;
use super::{No, Office};
use crate::wall;

pub(super) async fn status(office: &Office) -> Result<Status, No> {
    let figures = &office.figures;
    let known = office.core.query(|state| {
        let genesis = state.genesis().cloned();
        (genesis, state.packets().count(), alarms(state))
    });
    let known = known.await;
    let accepting = known.is_ok();
    let (genesis, in_flight, alarms) = match known {
        Ok(known) => known,
        Err(fault) => (None, 0, vec![fault.to_string()]),
    };
    Ok(Status {
        operator: genesis
            .as_ref()
            .map(|genesis| genesis.operator.clone())
            .unwrap_or_default(),
        pool_signer: genesis
            .map(|genesis| genesis.pool_signer.to_string())
            .unwrap_or_default(),
        btp: office.btp.clone(),
        accepting,
        packets_in_flight: u64::try_from(in_flight).unwrap_or(u64::MAX),
        packets_fulfilled: figures.fulfilled.value(),
        journal_frames: figures.frames.value(),
        uptime_ms: u64::try_from(office.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        alarms,
    })
}

fn alarms(state: &State) -> Vec<String> {
    let now = wall::now();
    let books = state.assets().filter_map(|(_, asset)| {
        let code = &asset.definition.code;
        if asset.vault.runs_down {
            return Some(format!(
                "{code}'s vault runs down: LPs claim in kind, peers redeem; nothing else can be done with it"
            ));
        }
        if now < asset.vault.frozen_until {
            return Some(format!("{code}'s committee froze raises and renewals"));
        }
        if asset.halted {
            return Some(format!("{code} is halted"));
        }
        asset
            .quoted(now)
            .is_none()
            .then(|| format!("{code} has no believed price and is not quoted"))
    });
    let unbalanced = state
        .ledger()
        .check_balanced()
        .err()
        .map(|error| format!("the books do not balance: {error:?}"));
    books.chain(unbalanced).collect()
}

pub(super) async fn books(office: &Office) -> Result<Books, No> {
    let gas = office.chains.gas().await;
    let chains = gas
        .into_iter()
        .map(|(chain_id, gas_money, gas_reserved)| ChainCost {
            chain_id,
            gas_money: gas_money.into(),
            gas_reserved: gas_reserved.into(),
        });
    let chains = chains.collect();
    let books = office.core.query(|state| Books {
        at_ms: state.now().0,
        balanced: state.ledger().check_balanced().is_ok(),
        assets: state
            .assets()
            .map(|(id, _)| asset_books(state, id))
            .collect(),
        chains,
    });
    Ok(books.await?)
}

fn asset_books(state: &State, id: AssetId) -> AssetBooks {
    let asset = state.asset(id).expect("the caller took it from the state");
    let accounts = &asset.accounts;
    let credit = |account| Units(state.balance(account).credit());
    let debit = |account| Units(state.balance(account).debit());
    let peers = || {
        state
            .peers()
            .map(|(_, peer)| peer)
            .filter(|peer| peer.asset == id)
    };
    let sum = |amounts: &mut dyn Iterator<Item = Amount>| {
        Units(amounts.fold(Amount::ZERO, Amount::saturating_add))
    };
    AssetBooks {
        code: asset.definition.code.clone(),
        scale: asset.definition.scale,
        vault: debit(accounts.vault),
        chain_free: asset.chain_free().into(),
        chain_allotted: asset.vault.chain_allotted.into(),
        notes: credit(accounts.notes),
        shares: credit(accounts.shares),
        fees: credit(accounts.fees),
        fees_earned: Units(state.ledger().account(accounts.fees).credits_posted),
        owed_to_peers: sum(&mut peers().map(|peer| state.balance(peer.clearing).credit())),
        owed_by_peers: sum(&mut peers().map(|peer| state.balance(peer.clearing).debit())),
        vouchers_held: sum(&mut peers().map(|peer| state.balance(peer.vouchers_held).debit())),
        vouchers_out: sum(&mut peers().map(|peer| state.balance(peer.vouchers_out).credit())),
        lent: debit(accounts.exchange),
        borrowed: credit(accounts.exchange),
        note_index: Units(Amount::new(asset.vault.index)),
        stolen_key_cost: state.stolen_key_cost(id).into(),
    }
}

pub(super) async fn assets(office: &Office) -> Result<Vec<Asset>, No> {
    Ok(office
        .core
        .query(|state| state.assets().map(|(id, _)| asset(state, id)).collect())
        .await?)
}

/// One asset as the operator sees it.
pub(super) fn asset(state: &State, id: AssetId) -> Asset {
    let asset = state.asset(id).expect("the caller took it from the state");
    let definition = &asset.definition;
    let sources = asset.reports.iter().map(|report| SourceView {
        source: report.source.0,
        price: report.price.to_string(),
        at_ms: report.at.0,
    });
    Asset {
        code: definition.code.clone(),
        scale: definition.scale,
        chain_scale: definition.chain_scale,
        chain_id: definition.chain_id,
        vault: definition.vault.to_string(),
        token: definition.token.to_string(),
        policy: asset_policy(&asset.policy),
        price: asset.quoted(wall::now()).map(|price| price.to_string()),
        halted: asset.halted,
        sources: sources.collect(),
    }
}

fn asset_policy(policy: &forebay_pool::AssetPolicy) -> AssetPolicy {
    let ppm = u32::try_from(policy.note_rate / super::write::RAY_PER_PPM).unwrap_or(u32::MAX);
    AssetPolicy {
        sources_min: policy.guards.sources_min,
        price_age_max_ms: policy.guards.age_max_ms.value(),
        price_deviation_max_bps: u16::try_from(policy.guards.deviation_max.value())
            .unwrap_or(u16::MAX),
        spread_floor_ppm: policy.spread.floor_ppm.value(),
        volatility_multiplier_ppm: policy.spread.volatility_multiplier_ppm.value(),
        holding_time_ms: policy.spread.holding_time_ms.value(),
        size_ppm_per_depth: policy.spread.size_ppm_per_depth.value(),
        depth: policy.spread.depth.into(),
        skew_ppm_max: policy.spread.skew_ppm_max.value(),
        lent_max: policy.lent_max.into(),
        note_rate_ppm: ppm,
        index_interval_ms: policy.index_interval_ms,
    }
}

pub(super) async fn peers(office: &Office) -> Result<Vec<Peer>, No> {
    let connected = office.figures.connected.clone_set();
    let peers = office.core.query(move |state| {
        let all = state
            .peers()
            .map(|(id, _)| peer(state, id, connected.contains(&id)));
        all.collect()
    });
    Ok(peers.await?)
}

/// One peer as the operator sees it.
pub(super) fn peer(state: &State, id: PeerId, connected: bool) -> Peer {
    let peer = state.peer(id).expect("the caller took it from the state");
    let asset = state.asset(peer.asset).expect("a peer's asset is listed");
    let operator = state
        .genesis()
        .map(|genesis| genesis.operator.as_str())
        .unwrap_or_default();
    let (owed_to_peer, owed_to_pool) = match state.balance(peer.clearing) {
        Balance::Credit(owed) => (owed, Amount::ZERO),
        Balance::Debit(owed) => (Amount::ZERO, owed),
    };
    let policy = &peer.policy;
    Peer {
        name: peer.name.clone(),
        address: format!("{operator}.{}", peer.name),
        asset: asset.definition.code.clone(),
        policy: PeerPolicy {
            credit: policy.credit.into(),
            packet_max: policy.packet_max,
            in_flight_max: policy.in_flight_max,
            settle_threshold: policy.settle_threshold.into(),
            settle_target: policy.settle_target.into(),
            allotment: policy.allotment.into(),
            allotment_term_ms: policy.allotment_term_ms,
            redeem_threshold: policy.redeem_threshold.into(),
        },
        relation: relation(&peer.relation),
        connected,
        removed: peer.removed,
        owed_to_peer: owed_to_peer.into(),
        owed_to_pool: owed_to_pool.into(),
        in_flight: peer.in_flight,
        channel: peer.channel.as_ref().map(channel),
    }
}

fn channel(channel: &Channel) -> ChannelView {
    let phase = match channel.phase() {
        Phase::Opening => "opening",
        Phase::Open => "open",
        Phase::Closing { .. } => "closing",
        Phase::Closed => "closed",
    };
    ChannelView {
        serial: channel.serial().0,
        phase: phase.into(),
        pool: lane(&channel.outgoing),
        peer: lane(&channel.incoming),
    }
}

fn lane(lane: &Lane) -> LaneView {
    LaneView {
        ceiling: lane.ceiling().into(),
        paid: lane.paid().into(),
        promised: lane.promised().into(),
    }
}
