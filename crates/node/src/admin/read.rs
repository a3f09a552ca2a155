//! What may be seen.

use forebay_api::{
    Asset, AssetBooks, AssetPolicy, Books, ChainCost, ChannelView, LaneView, Live, Peer,
    PeerChannel, PeerPolicy, ProblemKind, SourceView, Status, Units,
};
use forebay_channel::{Channel, Lane, Phase};
use forebay_ledger::Balance;
use forebay_pool::{Coverage, State};
use forebay_quantity::{Amount, AssetId, PeerId};

use super::page::{Asked, Page};
use super::problem::No;
use super::relation::relation;
use super::tokens::Caller;
use super::{Office, alarms};
use crate::core::ServingMode;
use crate::{history, wall};

pub(super) async fn status(office: &Office, caller: &Caller) -> Result<Status, No> {
    let figures = &office.figures;
    let known = office.core.query(|state| {
        let genesis = state.genesis().cloned();
        (genesis, state.packets().count())
    });
    let known = known.await;
    let accepting = known.is_ok() && figures.readiness.mode() != ServingMode::Draining;
    let (genesis, in_flight) = known.unwrap_or_default();
    let alarms = match caller.sees_all() {
        true => alarms::all(office).await,
        false => Vec::new(),
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
        alarms: alarms.into_iter().map(|alarm| alarm.detail).collect(),
        version: env!("CARGO_PKG_VERSION").into(),
    })
}

pub(super) async fn live(office: &Office) -> Result<Live, No> {
    let in_flight = office.core.query(|state| state.packets().count()).await?;
    let figures = &office.figures;
    let latency = office.history.latency_since(&figures.latency.counted());
    let links = figures.connected.clone_set().len();
    Ok(Live {
        at_ms: wall::now().0,
        packets_accepted: figures.accepted.value(),
        packets_fulfilled: figures.fulfilled.value(),
        packets_rejected: history::rejects(figures),
        packets_in_flight: u64::try_from(in_flight).unwrap_or(u64::MAX),
        links_up: u32::try_from(links).unwrap_or(u32::MAX),
        latency_p50_us: latency.quantile_us(500),
        latency_p99_us: latency.quantile_us(990),
        samples: office.history.samples(),
        interval_ms: u64::try_from(history::INTERVAL.as_millis()).unwrap_or(u64::MAX),
    })
}

pub(super) async fn books(office: &Office) -> Result<Books, No> {
    let gas = office.gas().await;
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
            .zip(state.coverages())
            .map(|((id, _), coverage)| asset_books(state, id, coverage))
            .collect(),
        chains,
    });
    Ok(books.await?)
}

fn asset_books(state: &State, id: AssetId, coverage: Coverage) -> AssetBooks {
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
        chain_scale: asset.definition.chain_scale,
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
        chain_reserved: state.reserved(id).into(),
        reserves: coverage.reserves.into(),
        outstanding: coverage.outstanding.into(),
        claims: coverage.claims.into(),
        coverage_ppm: coverage.ratio_ppm(),
        cohorts_waiting: u32::try_from(asset.vault.cohorts.len()).unwrap_or(u32::MAX),
    }
}

pub(super) async fn assets(office: &Office, asked: Asked) -> Result<Page<Asset>, No> {
    let passed_over = asked.passed_over()?;
    let page = office.core.query(move |state| {
        let rest = state.assets().skip(passed_over);
        Page::of(rest.map(|(id, _)| (id.0, asset(state, id))), asked.limit)
    });
    Ok(page.await?)
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

pub(super) async fn peers(
    office: &Office,
    caller: &Caller,
    asked: Asked,
) -> Result<Page<Peer>, No> {
    match caller.peer() {
        None => all_peers(office, asked).await,
        Some(own) => Ok(Page::one(peer_named(office, caller, own).await?)),
    }
}

pub(super) async fn all_peers(office: &Office, asked: Asked) -> Result<Page<Peer>, No> {
    let passed_over = asked.passed_over()?;
    let connected = office.figures.connected.clone_set();
    let page = office.core.query(move |state| {
        let rest = state.peers().skip(passed_over);
        let shown = rest.map(|(id, _)| (id.0, peer(state, id, connected.contains(&id))));
        Page::of(shown, asked.limit)
    });
    Ok(page.await?)
}

pub(super) async fn peer_named(office: &Office, caller: &Caller, name: &str) -> Result<Peer, No> {
    let is_own = caller.peer().is_none_or(|own| own == name);
    let connected = office.figures.connected.clone_set();
    let wanted = name.to_owned();
    let found = office.core.query(move |state| {
        let id = state.peer_named(&wanted)?;
        Some(peer(state, id, connected.contains(&id)))
    });
    let found = found.await?.filter(|_| is_own);
    found.ok_or_else(|| {
        let text = format!("no account is named {name}, or none that this token may see");
        No::new(ProblemKind::NotFound, text)
    })
}

pub(super) async fn channels(
    office: &Office,
    caller: &Caller,
    asked: Asked,
) -> Result<Page<PeerChannel>, No> {
    let Some(own) = caller.peer() else {
        return all_channels(office, asked).await;
    };
    let own = own.to_owned();
    let found = office.core.query(move |state| {
        let id = state.peer_named(&own)?;
        peer_channel(state, state.peer(id)?)
    });
    Ok(Page::some(found.await?))
}

pub(super) async fn all_channels(office: &Office, asked: Asked) -> Result<Page<PeerChannel>, No> {
    let passed_over = asked.passed_over()?;
    let page = office.core.query(move |state| {
        let rest = state.peers().skip(passed_over);
        let shown = rest.filter_map(|(id, peer)| Some((id.0, peer_channel(state, peer)?)));
        Page::of(shown, asked.limit)
    });
    Ok(page.await?)
}

fn peer_channel(state: &State, peer: &forebay_pool::Peer) -> Option<PeerChannel> {
    let asset = &state.asset(peer.asset)?.definition;
    Some(PeerChannel {
        peer: peer.name.clone(),
        asset: asset.code.clone(),
        chain_scale: asset.chain_scale,
        channel: channel(peer.channel.as_ref()?, peer),
    })
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
        scale: asset.definition.scale,
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
        channel: peer.channel.as_ref().map(|open| channel(open, peer)),
        lightning: peer.lightning.as_deref().map(super::bitcoin::view),
    }
}

fn channel(channel: &Channel, peer: &forebay_pool::Peer) -> ChannelView {
    let (phase, deadline) = match channel.phase() {
        Phase::Opening => ("opening", None),
        Phase::Open => ("open", None),
        Phase::Closing { deadline } => ("closing", Some(deadline.0)),
        Phase::Closed => ("closed", None),
    };
    ChannelView {
        serial: channel.serial().0,
        phase: phase.into(),
        close_deadline_ms: deadline,
        term_ends_ms: peer.term_ends.0,
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
