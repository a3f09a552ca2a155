//! The pool's wallet and Lightning node, for the operator.

use std::sync::Arc;

use forebay_api::{
    AddBitcoin, Asset, Bitcoin, LightningChannel, LightningView, ProblemKind, Units,
};
use forebay_channel::NodeId;
use forebay_pool::{Admin, BitcoinDefinition, LightningAccount};
use forebay_quantity::{Amount, CommandId, Hash32};

use super::problem::No;
use super::write::{RAY_PER_PPM, asset_coded, instruct, policy};
use super::{Office, read};
use crate::lightning::Lightning;

/// Without a contract that bounds it, the note index rises by no more than a tenth of a percent a day.
const INDEX_RATE_MAX: u128 = 1_000 * RAY_PER_PPM;

pub(super) fn lightning(office: &Office) -> Result<&Arc<Lightning>, No> {
    let missing = "no Bitcoin is configured: add [bitcoin] to the configuration and start again";
    let lightning = office.lightning.as_ref();
    lightning.ok_or_else(|| No::new(ProblemKind::Rejected, missing))
}

pub(super) async fn add(office: &Office, id: CommandId, asked: AddBitcoin) -> Result<Asset, No> {
    let definition = BitcoinDefinition {
        code: asked.code.clone(),
        scale: asked.scale,
        genesis: Hash32(lightning(office)?.face().genesis),
        index_rate_max: INDEX_RATE_MAX,
    };
    instruct(
        office,
        id,
        Admin::AddBitcoin(definition, policy(&asked.policy)),
    )
    .await?;
    let asset = asset_coded(office, &asked.code).await?;
    Ok(office
        .core
        .query(move |state| read::asset(state, asset))
        .await?)
}

pub(super) async fn show(office: &Office) -> Result<Bitcoin, No> {
    let lightning = lightning(office)?;
    let face = lightning.face();
    let mut channels = Vec::new();
    for standing in lightning.channels()? {
        let node = NodeId(standing.peer);
        let named = office.core.query(move |state| {
            let peer = state.peer(state.peer_at(node)?)?;
            Some(peer.name.clone())
        });
        channels.push(LightningChannel {
            channel: standing.channel.0.to_string(),
            node: node.to_string(),
            peer: named.await?,
            value: units(standing.value_sat),
            balance: units(standing.balance_msat),
            outbound: units(standing.outbound_msat),
            inbound: units(standing.inbound_msat),
            usable: standing.usable,
        });
    }
    let (confirmed, pending) = lightning.balance();
    Ok(Bitcoin {
        network: lightning.network().to_string(),
        node: face.node.to_string(),
        address: face.address.clone(),
        height: lightning.height(),
        confirmed: units(confirmed),
        pending: units(pending),
        channels,
    })
}

pub(super) fn view(account: &LightningAccount) -> LightningView {
    let under_way = account
        .settlement
        .map_or(Amount::ZERO, |under_way| under_way.amount);
    LightningView {
        node: account.node.map(|node| node.to_string()),
        outbound: account.outbound.into(),
        inbound: account.inbound.into(),
        received: account.received.into(),
        paid: account.paid.into(),
        under_way: under_way.into(),
    }
}

fn units(value: u64) -> Units {
    Amount::from(value).into()
}
