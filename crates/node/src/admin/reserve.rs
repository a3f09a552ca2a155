//! The reserve on Bitcoin, for the operator and for whoever wants to see it.

use forebay_api::{
    CopyTaken, ProblemKind, Reserve, ReserveDraft, ReserveOutput, SignedCopy, Units,
};
use forebay_chain_bitcoin::Psbt;
use forebay_quantity::Amount;

use super::Office;
use super::bitcoin::lightning;
use super::problem::No;
use crate::lightning::{Draft, Guarded, Lightning};

fn guarded(lightning: &Lightning) -> Result<&Guarded, No> {
    let missing =
        "no reserve is configured: add [bitcoin.reserve] to the configuration and start again";
    let guarded = lightning.reserve();
    guarded.ok_or_else(|| No::new(ProblemKind::Rejected, missing))
}

pub(super) fn show(office: &Office) -> Result<Reserve, No> {
    let guarded = guarded(lightning(office)?)?;
    let buried = guarded.buried();
    let mut coins = buried.coins;
    coins.sort_by_key(|coin| (coin.height, coin.outpoint));
    let total: u64 = coins.iter().map(|coin| coin.output.value.to_sat()).sum();
    let outputs = coins.iter().map(|coin| ReserveOutput {
        outpoint: coin.outpoint.to_string(),
        amount: units(coin.output.value.to_sat()),
        blocks: (buried.tip_height + 1).saturating_sub(coin.height.unwrap_or(buried.tip_height)),
    });
    let outputs = outputs.collect();
    let policy = guarded.policy();
    Ok(Reserve {
        descriptor: policy.descriptor(),
        threshold: count(policy.threshold()),
        members: count(policy.members()),
        hot_max: units(guarded.hot_max_sat()),
        total: units(total),
        outputs,
        drafts: guarded.drafts()?.iter().map(draft).collect(),
    })
}

pub(super) async fn take(office: &Office, asked: SignedCopy) -> Result<CopyTaken, No> {
    let guarded = guarded(lightning(office)?)?;
    let copy = asked.psbt.trim().parse::<Psbt>();
    let copy = copy.map_err(|error| {
        No::new(
            ProblemKind::BadRequest,
            format!("this is no PSBT in base64: {error}"),
        )
    })?;
    let transaction = guarded.take_copy(copy).await?;
    Ok(CopyTaken { transaction })
}

fn draft(draft: &Draft) -> ReserveDraft {
    let review = &draft.review;
    let pays: u64 = review
        .payments
        .iter()
        .map(|paid| paid.amount.to_sat())
        .sum();
    ReserveDraft {
        number: draft.demand.0,
        spends: units(review.spent.to_sat()),
        pays: units(pays),
        fee: units(review.fee.to_sat()),
        members_signed: review.members_signed.clone(),
        psbt: draft.psbt.to_string(),
    }
}

fn units(value: u64) -> Units {
    Amount::from(value).into()
}

fn count(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
