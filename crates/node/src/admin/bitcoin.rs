//! The pool's wallet and Lightning node, for the operator.

use std::sync::Arc;

use forebay_api::{
    AddBitcoin, Asset, Bitcoin, Buyers, LightningChannel, LightningView, Liquidity, ProblemKind,
    SalePolicy, SetBitcoin, Sold, Units,
};
use forebay_channel::NodeId;
use forebay_pool::{
    Admin, BitcoinDefinition, LightningAccount, LightningChannelId, LiquidityPolicy,
};
use forebay_quantity::{Amount, CommandId, Hash32, Ppm};

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

pub(super) async fn set(office: &Office, id: CommandId, asked: SetBitcoin) -> Result<Bitcoin, No> {
    let told = asked.liquidity;
    let policy = LiquidityPolicy {
        cover_days: told.cover_days,
        channel_max: millisatoshi(told.channel_max)?,
        change_min: millisatoshi(told.change_min)?,
        fee_base: millisatoshi(told.fee_base)?,
        fee_ppm: Ppm(told.fee_ppm),
        rest_ms: told.rest_ms,
        idle_ms: told.idle_ms,
        capital_ppm_per_day: Ppm(told.capital_ppm_per_day),
    };
    instruct(office, id, Admin::SetLiquidity(policy)).await?;
    if let Some(told) = asked.sales {
        instruct(office, second(id), Admin::SetSales(sales(&told)?)).await?;
    }
    show(office).await
}

/// The id of the second instruction of one request.
fn second(CommandId(mut id): CommandId) -> CommandId {
    id[0] = !id[0];
    CommandId(id)
}

fn sales(told: &SalePolicy) -> Result<forebay_pool::SalePolicy, No> {
    Ok(forebay_pool::SalePolicy {
        buyers: match told.buyers {
            Buyers::Nobody => forebay_pool::Buyers::Nobody,
            Buyers::Peers => forebay_pool::Buyers::Peers,
            Buyers::Anyone => forebay_pool::Buyers::Anyone,
        },
        payment_min: millisatoshi(told.payment_min)?,
        channel_max: millisatoshi(told.channel_max)?,
        sold_max: millisatoshi(told.sold_max)?,
        fee_min: millisatoshi(told.fee_min)?,
        fee_ppm: Ppm(told.fee_ppm),
        room_ppm: Ppm(told.room_ppm),
        lifetime_ms: told.lifetime_ms,
        valid_ms: told.valid_ms,
    })
}

fn sale_policy(policy: &forebay_pool::SalePolicy) -> SalePolicy {
    SalePolicy {
        buyers: match policy.buyers {
            forebay_pool::Buyers::Nobody => Buyers::Nobody,
            forebay_pool::Buyers::Peers => Buyers::Peers,
            forebay_pool::Buyers::Anyone => Buyers::Anyone,
        },
        payment_min: satoshi(policy.payment_min),
        channel_max: satoshi(policy.channel_max),
        sold_max: satoshi(policy.sold_max),
        fee_min: satoshi(policy.fee_min),
        fee_ppm: policy.fee_ppm.value(),
        room_ppm: policy.room_ppm.value(),
        lifetime_ms: policy.lifetime_ms,
        valid_ms: policy.valid_ms,
    }
}

fn sold(sales: &forebay_pool::Sales) -> Sold {
    Sold {
        held: sales.held().into(),
        earned: sales.earned.into(),
        cost: sales.cost.into(),
        routed: sales.routed.into(),
    }
}

fn liquidity(policy: &LiquidityPolicy) -> Liquidity {
    Liquidity {
        cover_days: policy.cover_days,
        channel_max: satoshi(policy.channel_max),
        change_min: satoshi(policy.change_min),
        fee_base: satoshi(policy.fee_base),
        fee_ppm: policy.fee_ppm.value(),
        rest_ms: policy.rest_ms,
        idle_ms: policy.idle_ms,
        capital_ppm_per_day: policy.capital_ppm_per_day.value(),
    }
}

fn satoshi(amount: Amount) -> Units {
    Amount::new(amount.value() / 1_000).into()
}

fn millisatoshi(satoshi: Units) -> Result<Amount, No> {
    let amount = satoshi.0.checked_mul(1_000);
    amount.ok_or_else(|| No::new(ProblemKind::BadRequest, "an amount is beyond all bitcoin"))
}

pub(super) async fn show(office: &Office) -> Result<Bitcoin, No> {
    let lightning = lightning(office)?;
    let face = lightning.face();
    let mut channels = Vec::new();
    for standing in lightning.channels()? {
        let node = NodeId(standing.peer);
        let channel = LightningChannelId(standing.channel.0);
        let named = office.core.query(move |state| {
            let peer = state.peer_at(node).and_then(|peer| state.peer(peer));
            let account = peer.and_then(|peer| peer.lightning.as_deref());
            let known = account.and_then(|account| account.channels.get(&channel));
            let mut sales = state.sales().open();
            let sale = sales.find(|(_, sale)| sale.channel() == Some(channel));
            let earned = sale.map(|(_, sale)| sale.earned);
            let cost = sale.map(|(_, sale)| sale.cost);
            let cost = cost.or(known.map(|known| known.cost));
            (peer.map(|peer| peer.name.clone()), cost, earned)
        });
        let (peer, cost, earned) = named.await?;
        channels.push(LightningChannel {
            channel: standing.channel.0.to_string(),
            node: node.to_string(),
            peer,
            funding: standing.funding.map(|output| output.to_string()),
            value: units(standing.value_sat),
            balance: units(standing.balance_msat),
            outbound: units(standing.outbound_msat),
            inbound: units(standing.inbound_msat),
            usable: standing.usable,
            cost: cost.unwrap_or(Amount::ZERO).into(),
            earned: earned.map(Units::from),
        });
    }
    let (confirmed, pending) = lightning.balance();
    let core = &office.core;
    let (liquidity, sales, sold) = core
        .query(|state| {
            let sales = state.sales();
            (
                liquidity(state.liquidity()),
                sale_policy(sales.policy()),
                sold(sales),
            )
        })
        .await?;
    Ok(Bitcoin {
        network: lightning.network().to_string(),
        node: face.node.to_string(),
        address: face.address.clone(),
        height: lightning.height(),
        confirmed: units(confirmed),
        pending: units(pending),
        channels,
        liquidity,
        sales,
        sold,
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
        cost: account.cost.into(),
    }
}

fn units(value: u64) -> Units {
    Amount::from(value).into()
}
