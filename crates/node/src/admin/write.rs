//! What the operator may change: each becomes one command, which takes effect once.

use std::str::FromStr;
use std::sync::Arc;

use forebay_api::{AddAsset, AddPeer, Asset, Done, Peer, ProblemKind, Route, SetAsset, SetPeer};
use forebay_channel::Address;
use forebay_market::{Guards, SpreadPolicy};
use forebay_pool::{Admin, AssetDefinition, AssetPolicy, Command, PeerPolicy, Rejection};
use forebay_quantity::{AssetId, Bps, CommandId, Hash32, Milliseconds, PeerId, Ppm};
use sha2::{Digest, Sha256};

use super::problem::No;
use super::{Office, read};
use crate::chain::FIRST_HEAD_MAX;
use crate::core::CommandFault;

/// A millionth of one, in ray.
pub(super) const RAY_PER_PPM: u128 = 10_u128.pow(21);
/// Fees become payable to notes over this long.
const FEE_RELEASE_MS: u64 = 3_600_000;

/// Has an instruction carried out, unless the very same one was before [I11].
pub(super) async fn instruct(office: &Office, id: CommandId, admin: Admin) -> Result<(), No> {
    match office.core.command(Command::Admin(id, admin)).await {
        Ok(()) | Err(CommandFault::Rejected(Rejection::AlreadyTaken)) => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}

pub(super) async fn add_asset(
    office: &Arc<Office>,
    id: CommandId,
    asked: AddAsset,
) -> Result<Asset, No> {
    let mut definition = AssetDefinition {
        code: asked.code.clone(),
        scale: asked.scale,
        chain_id: asked.chain_id,
        chain_scale: asked.chain_scale,
        vault: address(&asked.vault)?,
        token: asked.token.as_deref().map_or(Ok(Address::ZERO), address)?,
        floor: Bps(0),
        index_rate_max: 0,
    };
    let vault = office.chains.inspect(&definition).await?;
    let parameters = vault
        .parameters()
        .await
        .map_err(crate::chain::ChainFault::from)?;
    definition.floor = Bps(parameters.floor_bps.into());
    definition.index_rate_max = parameters.index_rate_max_ray_per_day;
    instruct(
        office,
        id,
        Admin::AddAsset(definition.clone(), policy(&asked.policy)),
    )
    .await?;
    let asset = asset_coded(office, &asked.code).await?;
    if !office.chains.follows(asset) {
        office
            .chains
            .attach(asset, &definition, None, FIRST_HEAD_MAX)
            .await?;
    }
    Ok(office
        .core
        .query(move |state| read::asset(state, asset))
        .await?)
}

pub(super) async fn set_asset(
    office: &Office,
    id: CommandId,
    code: &str,
    asked: SetAsset,
) -> Result<Asset, No> {
    let asset = asset_coded(office, code).await?;
    let admin = match (&asked.policy, asked.halted) {
        (Some(new), None) => Admin::SetAsset(asset, policy(new)),
        (None, Some(true)) => Admin::HaltBook(asset),
        (None, Some(false)) => Admin::ResumeBook(asset),
        (Some(_), Some(_)) | (None, None) => {
            return Err(No::new(
                ProblemKind::BadRequest,
                "send either a policy or halted, one at a time",
            ));
        }
    };
    instruct(office, id, admin).await?;
    Ok(office
        .core
        .query(move |state| read::asset(state, asset))
        .await?)
}

pub(super) async fn add_peer(office: &Office, id: CommandId, asked: AddPeer) -> Result<Peer, No> {
    if asked.token.is_empty() {
        return Err(No::new(
            ProblemKind::BadRequest,
            "a link without a token would be open to everybody",
        ));
    }
    let asset = asset_coded(office, &asked.asset).await?;
    let token_hash = Hash32(Sha256::digest(asked.token.as_bytes()).into());
    let policy = peer_policy(&asked.policy);
    instruct(
        office,
        id,
        Admin::AddPeer {
            name: asked.name.clone(),
            asset,
            token_hash,
            policy,
        },
    )
    .await?;
    show_peer(office, &asked.name).await
}

pub(super) async fn set_peer(
    office: &Office,
    id: CommandId,
    name: &str,
    asked: SetPeer,
) -> Result<Peer, No> {
    let peer = peer_named(office, name).await?;
    instruct(office, id, Admin::SetPeer(peer, peer_policy(&asked.policy))).await?;
    show_peer(office, name).await
}

pub(super) async fn remove_peer(office: &Office, id: CommandId, name: &str) -> Result<Done, No> {
    let peer = peer_named(office, name).await?;
    instruct(office, id, Admin::RemovePeer(peer)).await?;
    Ok(Done { done: true })
}

pub(super) async fn add_route(office: &Office, id: CommandId, asked: Route) -> Result<Done, No> {
    let peer = peer_named(office, &asked.peer).await?;
    instruct(
        office,
        id,
        Admin::AddRoute {
            prefix: asked.prefix,
            peer,
        },
    )
    .await?;
    Ok(Done { done: true })
}

pub(super) async fn remove_route(office: &Office, id: CommandId, prefix: &str) -> Result<Done, No> {
    instruct(
        office,
        id,
        Admin::RemoveRoute {
            prefix: prefix.to_owned(),
        },
    )
    .await?;
    Ok(Done { done: true })
}

pub(super) async fn show_peer(office: &Office, name: &str) -> Result<Peer, No> {
    let peer = peer_named(office, name).await?;
    let connected = office.figures.connected.clone_set().contains(&peer);
    Ok(office
        .core
        .query(move |state| read::peer(state, peer, connected))
        .await?)
}

pub(super) async fn asset_coded(office: &Office, code: &str) -> Result<AssetId, No> {
    let wanted = code.to_owned();
    let found = office
        .core
        .query(move |state| state.asset_coded(&wanted))
        .await?;
    found.ok_or_else(|| {
        No::new(
            ProblemKind::NotFound,
            format!("no asset has the code {code}: list the assets"),
        )
    })
}

pub(super) async fn peer_named(office: &Office, name: &str) -> Result<PeerId, No> {
    let wanted = name.to_owned();
    let found = office.core.query(move |state| {
        // One that is gone as well: the instruction that removed it may be asked for again.
        let gone = || {
            let all = state.peers().filter(|(_, peer)| peer.name == wanted);
            all.last().map(|(id, _)| id)
        };
        state.peer_named(&wanted).or_else(gone)
    });
    let found = found.await?;
    found.ok_or_else(|| {
        let text = format!("no peer is named {name}: list the peers");
        No::new(ProblemKind::NotFound, text)
    })
}

fn address(text: &str) -> Result<Address, No> {
    Address::from_str(text)
        .map_err(|error| No::new(ProblemKind::BadRequest, format!("{text}: {error}")))
}

pub(super) fn policy(asked: &forebay_api::AssetPolicy) -> AssetPolicy {
    AssetPolicy {
        guards: Guards {
            sources_min: asked.sources_min,
            age_max_ms: Milliseconds(asked.price_age_max_ms),
            deviation_max: Bps(asked.price_deviation_max_bps.into()),
        },
        spread: SpreadPolicy {
            floor_ppm: Ppm(asked.spread_floor_ppm),
            volatility_multiplier_ppm: Ppm(asked.volatility_multiplier_ppm),
            holding_time_ms: Milliseconds(asked.holding_time_ms),
            size_ppm_per_depth: Ppm(asked.size_ppm_per_depth),
            depth: asked.depth.0,
            skew_ppm_max: Ppm(asked.skew_ppm_max),
        },
        lent_max: asked.lent_max.0,
        note_rate: u128::from(asked.note_rate_ppm) * RAY_PER_PPM,
        index_interval_ms: asked.index_interval_ms,
        fee_release_ms: FEE_RELEASE_MS,
    }
}

fn peer_policy(asked: &forebay_api::PeerPolicy) -> PeerPolicy {
    PeerPolicy {
        credit: asked.credit.0,
        packet_max: asked.packet_max,
        in_flight_max: asked.in_flight_max,
        settle_threshold: asked.settle_threshold.0,
        settle_target: asked.settle_target.0,
        allotment: asked.allotment.0,
        allotment_term_ms: asked.allotment_term_ms,
        redeem_threshold: asked.redeem_threshold.0,
    }
}
