//! An asset: its definition, policy, prices, and the mirror of its vault.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_channel::Address;
use forebay_market::{FeeRelease, Guards, Price, SourceReport, SpreadPolicy, Volatility};
use forebay_quantity::{AccountId, Amount, Bps, EffectId, Timestamp};

use super::Rail;
use crate::command::FactAt;

/// What an asset is; never changes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AssetDefinition {
    /// Code, e.g. `ETH`.
    pub code: String,
    /// Decimal places of the ledger's base unit.
    pub scale: u8,
    /// EVM chain id.
    pub chain_id: u64,
    /// Decimal places of the chain's base unit; at least `scale`.
    pub chain_scale: u8,
    /// The vault contract.
    pub vault: Address,
    /// The token contract; zero for the chain's own coin.
    pub token: Address,
    /// The vault's floor φ: free money never falls below this part of the note claims.
    pub floor: Bps,
    /// The most by which the vault lets the note index rise in a day, in ray of itself.
    pub index_rate_max: u128,
}

/// How fast an asset's vault lets allotments grow, and what shows it that the operator is there; never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VaultRules {
    /// The most that the operator's key alone may allot at once, in chain units.
    pub bucket_capacity: Amount,
    /// What of it comes back in a day, in chain units.
    pub bucket_refill_per_day: Amount,
    /// After this much silence of the operator anybody may start the run-down; zero when it is not known.
    pub heartbeat_max_ms: u64,
    /// Whether there is a committee, which can freeze raises and prices shares.
    pub has_committee: bool,
}

/// What is taken for granted of a vault that nothing was said about.
impl Default for VaultRules {
    fn default() -> Self {
        Self {
            bucket_capacity: Amount::MAX,
            bucket_refill_per_day: Amount::ZERO,
            heartbeat_max_ms: 0,
            has_committee: false,
        }
    }
}

/// How an asset is quoted and kept.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AssetPolicy {
    /// When its prices are believed.
    pub guards: Guards,
    /// What is charged.
    pub spread: SpreadPolicy,
    /// The most that may be lent into other assets, in base units [I15].
    pub lent_max: Amount,
    /// What notes are promised a day, in ray of their value, paid while fees and shares last.
    pub note_rate: u128,
    /// How often the note index is raised, in milliseconds.
    pub index_interval_ms: u64,
    /// Fees become payable to notes over this long, in milliseconds, so that nobody enters just before they do.
    pub fee_release_ms: u64,
}

/// What an LP holds in notes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Holding {
    /// Units, those locked for exit excluded.
    pub units: Amount,
    /// What was paid in for them, in chain units; leaves in proportion when units leave.
    pub paid_in: Amount,
}

/// Exits of one day that are not paid yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Cohort {
    /// Units locked and not burnt.
    pub units: Amount,
    /// Units that each LP locked; paid in proportion.
    pub members: BTreeMap<Address, Amount>,
}

impl Cohort {
    /// Of one LP's locked units, those not burnt yet, rounded up.
    pub fn unpaid(&self, owner: Address) -> Amount {
        let locked = self.members.values().copied();
        let locked = locked.fold(Amount::ZERO, Amount::saturating_add);
        let own = self.members.get(&owner).copied().unwrap_or_default();
        own.mul_div_ceil(self.units.value(), locked.value())
            .unwrap_or(Amount::ZERO)
    }
}

/// What is behind the claims on an asset, in ledger units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// In the vault, or on peers' vouchers that their deposits cover.
    pub reserves: Amount,
    /// Lent into other assets by swaps, and owed by peers on credit.
    pub outstanding: Amount,
    /// Of notes, of peers, of vouchers signed, and of other assets for what swaps brought in.
    pub claims: Amount,
}

impl Coverage {
    /// Reserves and what is outstanding for each one claimed, in parts per million, rounded down; none without claims.
    pub fn ratio_ppm(&self) -> Option<u64> {
        let behind = self.reserves.saturating_add(self.outstanding);
        let ppm =
            behind.mul_div_floor(u128::from(forebay_quantity::PPM_ONE), self.claims.value())?;
        Some(u64::try_from(ppm.value()).unwrap_or(u64::MAX))
    }
}

/// What the vault contract holds, as far as it is final; units and index are the contract's own.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VaultMirror {
    /// The last fact taken.
    pub cursor: Option<FactAt>,
    /// Note units, locked ones included.
    pub units: Amount,
    /// What each LP holds.
    pub holders: BTreeMap<Address, Holding>,
    /// Note index in ray.
    pub index: u128,
    /// When the index last rose.
    pub index_at: Timestamp,
    /// Unpaid exits by cohort.
    pub cohorts: BTreeMap<u64, Cohort>,
    /// What the chain holds for LPs and lanes, in chain units: free money and remaining allotments.
    pub chain_total: Amount,
    /// What allotments still hold of it, in chain units.
    pub chain_allotted: Amount,
    /// What peers have deposited and not paid, in chain units.
    pub chain_deposits: Amount,
    /// What was in the token bucket at `bucket_at`, in chain units, or less.
    pub bucket: Amount,
    /// When that was.
    pub bucket_at: Timestamp,
    /// What the last raise drained, in chain units: it comes back when it turns out to be co-signed.
    pub bucket_drained: Amount,
    /// The committee froze raises and renewals until then.
    pub frozen_until: Timestamp,
    /// The operator's last heartbeat.
    pub heartbeat_at: Timestamp,
    /// All notes alike are paid in kind, and nothing else is begun.
    pub runs_down: bool,
}

/// The accounts every asset has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AssetAccounts {
    /// Asset: the vault's free money and allotments.
    pub vault: AccountId,
    /// Claim: LP notes, principal and earnings.
    pub notes: AccountId,
    /// Claim: the share holder's first-loss capital.
    pub shares: AccountId,
    /// Claim: fees earned and not yet paid to notes.
    pub fees: AccountId,
    /// Position: what swaps lent out of this asset, or brought in.
    pub exchange: AccountId,
    /// Asset: peers' own deposits in the vault.
    pub deposits_held: AccountId,
    /// Claim: those deposits, owed to the peers.
    pub deposits_owed: AccountId,
    /// Expense: vouchers that could not be collected.
    pub losses: AccountId,
}

/// A listed asset.
#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub struct Asset {
    /// What it is; on Bitcoin without chain id, vault and token.
    pub definition: AssetDefinition,
    /// Where its money is.
    pub rail: Rail,
    /// How it is quoted.
    pub policy: AssetPolicy,
    /// Its accounts.
    pub accounts: AssetAccounts,
    /// What its vault was built with.
    pub rules: VaultRules,
    /// Its vault.
    pub vault: VaultMirror,
    /// The last report of each source.
    pub reports: Vec<SourceReport>,
    /// The median believed, and until when.
    pub price: Option<(Price, Timestamp)>,
    /// How much the price moves.
    pub volatility: Volatility,
    /// Stopped by the operator or by a reorg below our depth.
    pub halted: bool,
    /// Fees on their way to the notes.
    pub(crate) release: FeeRelease,
    /// Fees released and not paid to notes yet, in ledger units.
    pub(crate) released: Amount,
    /// Running index raise, exit payment and heartbeat.
    pub(crate) index_demand: Option<EffectId>,
    pub(crate) exits_demand: Option<EffectId>,
    pub(crate) heartbeat_demand: Option<EffectId>,
    pub(crate) retry_at: Timestamp,
}

/// Blocks are stamped this much earlier than we hear of them, at most.
const CHAIN_CLOCK_LAG_MS: u64 = 60_000;

impl Asset {
    pub(crate) fn new(
        (definition, rail): (AssetDefinition, Rail),
        policy: AssetPolicy,
        accounts: AssetAccounts,
        now: Timestamp,
    ) -> Self {
        Self {
            definition,
            rail,
            policy,
            accounts,
            rules: VaultRules::default(),
            vault: VaultMirror {
                cursor: None,
                units: Amount::ZERO,
                holders: BTreeMap::new(),
                index: forebay_market::Index::ONE.value(),
                index_at: now,
                cohorts: BTreeMap::new(),
                chain_total: Amount::ZERO,
                chain_allotted: Amount::ZERO,
                chain_deposits: Amount::ZERO,
                bucket: Amount::MAX,
                bucket_at: now,
                bucket_drained: Amount::ZERO,
                frozen_until: Timestamp(0),
                heartbeat_at: Timestamp(0),
                runs_down: false,
            },
            reports: Vec::new(),
            price: None,
            volatility: Volatility::default(),
            halted: false,
            release: FeeRelease::new(now),
            released: Amount::ZERO,
            index_demand: None,
            exits_demand: None,
            heartbeat_demand: None,
            retry_at: Timestamp(0),
        }
    }

    /// Chain units in one ledger unit.
    pub fn factor(&self) -> u128 {
        10u128.pow(u32::from(
            self.definition.chain_scale - self.definition.scale,
        ))
    }

    /// Ledger units, rounded down: for what we receive.
    pub fn ledger_floor(&self, chain: Amount) -> Amount {
        Amount::new(chain.value() / self.factor())
    }

    /// Ledger units, rounded up: for what we pay.
    pub fn ledger_ceil(&self, chain: Amount) -> Amount {
        Amount::new(chain.value().div_ceil(self.factor()))
    }

    /// Chain units of a ledger amount, exact.
    pub fn chain(&self, ledger: Amount) -> Option<Amount> {
        ledger.checked_mul(self.factor())
    }

    /// Fees that notes may be paid from at `now`, in ledger units.
    pub fn payable_fees(&self, now: Timestamp) -> Amount {
        let mut release = self.release;
        self.released.saturating_add(release.release(now))
    }

    /// Free money in the vault, in chain units.
    pub fn chain_free(&self) -> Amount {
        self.vault
            .chain_total
            .saturating_sub(self.vault.chain_allotted)
    }

    /// What free money must not fall under: the vault's floor, in chain units.
    pub fn floor_needed(&self) -> Amount {
        forebay_market::floor_needed(self.definition.floor, self.note_claims())
    }

    /// What the operator's key alone may allot at `now`, in chain units. The mirror hears of each use late, so that it never
    /// shows more than the contract has: a full bucket that is drained late was not refilled in between.
    pub fn bucket(&self, now: Timestamp) -> Amount {
        // The chain's clock runs behind ours, by less than this.
        let elapsed = now
            .since(self.vault.bucket_at)
            .0
            .saturating_sub(CHAIN_CLOCK_LAG_MS);
        let per_day = self.rules.bucket_refill_per_day;
        let refilled = per_day
            .mul_div_floor(u128::from(elapsed), u128::from(forebay_market::DAY.0))
            .unwrap_or(Amount::MAX);
        let level = self.vault.bucket.saturating_add(refilled);
        level.min(self.rules.bucket_capacity)
    }

    /// Whether raises and renewals are refused at `now`.
    pub fn growth_stops(&self, now: Timestamp) -> bool {
        self.vault.runs_down || now < self.vault.frozen_until
    }

    /// What all notes may claim, in chain units, rounded up.
    pub fn note_claims(&self) -> Amount {
        self.vault
            .units
            .mul_div_ceil(self.vault.index, forebay_market::Index::ONE.value())
            .unwrap_or(Amount::MAX)
    }

    /// The price that counts at `now`.
    pub fn quoted(&self, now: Timestamp) -> Option<Price> {
        self.price
            .filter(|(_, until)| !self.halted && now <= *until)
            .map(|(price, _)| price)
    }
}
