//! What a vault is built with.

use crate::abi::{IVault, evm};
use forebay_channel::Address;
use forebay_quantity::Amount;

/// What a vault is built with. Nothing of it ever changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VaultParameters {
    /// The ERC-20, or `None` for ETH.
    pub asset: Option<Address>,
    /// Opens channels, makes allotments, lets the index rise.
    pub operator: Address,
    /// The one invited share holder; `None` for a vault without shares.
    pub share_holder: Option<Address>,
    /// The floor under free money, in basis points of the note claims; below 10,000.
    pub floor_bps: u16,
    /// The length of every notice on a channel, in seconds.
    pub close_period_s: u32,
    /// An exit cohort unpaid for longer stops all raises, in seconds.
    pub exit_notice_s: u32,
    /// An allotment's term ends at most this far ahead, in seconds.
    pub term_max_s: u32,
    /// The most that the index rises in a day, in ray.
    pub index_rate_max_ray_per_day: u128,
    /// The least value of a note deposit and of an exit request, in base units.
    pub note_min: Amount,
    /// What the operator's key alone may allot at once, in base units; [`Amount::MAX`] for as much as there is.
    pub bucket_capacity: Amount,
    /// What of that comes back in a day, in base units; nothing else refills it.
    pub bucket_refill_per_day: Amount,
    /// The operator's silence after which anybody may start the run-down, in seconds; not zero.
    pub heartbeat_max_s: u32,
    /// How many of the committee co-sign raises beside the bucket, price shares and mark notes down: more than half.
    pub committee_spend: u8,
    /// How many of the committee may freeze: fewer.
    pub committee_freeze: u8,
    /// The committee's keys.
    pub committee: Vec<Address>,
}

/// Writes them as the constructor's argument.
pub(crate) fn encode_parameters(parameters: &VaultParameters) -> IVault::Parameters {
    IVault::Parameters {
        asset: evm(parameters.asset.unwrap_or_default()),
        operator: evm(parameters.operator),
        shareHolder: evm(parameters.share_holder.unwrap_or_default()),
        floorBps: parameters.floor_bps,
        closePeriodS: parameters.close_period_s,
        exitNoticeS: parameters.exit_notice_s,
        termMaxS: parameters.term_max_s,
        indexRateMaxRayPerDay: parameters.index_rate_max_ray_per_day,
        noteMin: parameters.note_min.value(),
        bucketCapacity: parameters.bucket_capacity.value(),
        bucketRefillPerDay: parameters.bucket_refill_per_day.value(),
        heartbeatMaxS: parameters.heartbeat_max_s,
        committeeSpend: parameters.committee_spend,
        committeeFreeze: parameters.committee_freeze,
        committee: parameters.committee.iter().copied().map(evm).collect(),
    }
}
