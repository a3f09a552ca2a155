//! What the command line does on a chain with a key of its own: deploys vaults, and the LP's side of one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use forebay_chain_evm::{
    Account, AccountSettings, FileStore, Inclusion, RpcNodes, Vault, VaultParameters,
};
use forebay_channel::vault::{RUN_DOWN_COHORT, VaultRequest};
use forebay_channel::{Address, Finality};
use forebay_market::RAY;
use forebay_quantity::{Amount, EffectId};
use serde::Serialize;

use crate::claim::{OfPool, OnClaim};
use crate::keys::{self, Passphrase};
use crate::output::show;

/// A key and the chain it acts on.
#[derive(Debug, Args)]
pub(crate) struct OnChain {
    /// The key file that signs and pays for gas; `forebay keys new` makes one.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The chain's JSON-RPC.
    #[arg(long, value_name = "URL")]
    rpc: String,
    /// EVM chain id.
    #[arg(long)]
    chain_id: u64,
}

impl OnChain {
    async fn account(&self, passphrase: &Passphrase) -> Result<Arc<Account>> {
        let key = keys::open(&self.key, passphrase)?;
        let mut settings = AccountSettings::new(RpcNodes::own(&self.rpc), self.chain_id);
        settings.poll_interval = Duration::from_millis(250);
        let store = FileStore::open(beside(&self.key))
            .context("the record of sent transactions beside the key file")?;
        forebay_chain_evm::install_tls();
        Ok(Arc::new(
            Account::connect(settings, key, Box::new(store)).await?,
        ))
    }
}

/// Transactions are recorded beside the key that sent them, so that a killed command is not repeated blindly.
fn beside(key: &Path) -> PathBuf {
    let mut name = key.file_name().unwrap_or_default().to_owned();
    name.push(".sent");
    key.with_file_name(name)
}

/// A new effect: the command line does each thing once, and says so before it returns.
pub(crate) fn new_effect() -> Result<EffectId> {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock stands before 1970")?;
    Ok(EffectId(u64::try_from(since_epoch.as_nanos())?))
}

pub(crate) fn checked(what: &str, included: Inclusion) -> Result<Inclusion> {
    ensure!(
        included.succeeded,
        "{what} was refused by the vault (transaction {}); nothing happened but the fee",
        included.transaction
    );
    Ok(included)
}

/// Vault contracts.
#[derive(Debug, Subcommand)]
pub(crate) enum Vaults {
    /// Deploy a vault for one asset. It is immutable and has no owner: check every number.
    Deploy {
        #[command(flatten)]
        on: OnChain,
        /// The operator's address (the pool's key), which opens channels and raises allotments.
        #[arg(long)]
        operator: Address,
        /// The token; left out for the chain's own coin.
        #[arg(long)]
        token: Option<Address>,
        /// The one invited share holder, who bears the first loss.
        #[arg(long)]
        share_holder: Option<Address>,
        /// Free money never falls below this part of the note claims, in basis points.
        #[arg(long, default_value_t = 2_000)]
        floor_bps: u16,
        /// Every notice on a channel runs this long, in seconds.
        #[arg(long, default_value_t = 86_400)]
        close_period_s: u32,
        /// A cohort of exits unpaid for longer stops every raise, in seconds.
        #[arg(long, default_value_t = 604_800)]
        exit_notice_s: u32,
        /// An allotment's term ends at most this far ahead, in seconds.
        #[arg(long, default_value_t = 1_209_600)]
        term_max_s: u32,
        /// The note index rises at most this much a day, in parts per million.
        #[arg(long, default_value_t = 1_000)]
        index_rate_max_ppm: u32,
        /// The least note deposit, in base units.
        #[arg(long, default_value_t = 1)]
        note_min: u128,
        /// The most that the operator's key alone may allot at once, in the chain's base units. Left out, a stolen key may
        /// allot all free money above the floor.
        #[arg(long, value_name = "AMOUNT", requires = "bucket_refill_per_day")]
        bucket: Option<Amount>,
        /// What of that comes back in a day, in the chain's base units.
        #[arg(long, value_name = "AMOUNT", requires = "bucket")]
        bucket_refill_per_day: Option<Amount>,
        /// After this much silence of the operator anybody may start the run-down, in seconds.
        #[arg(long, default_value_t = 2_592_000)]
        heartbeat_max_s: u32,
        /// A committee member's address; once for each, and at least two. Their order is their places.
        #[arg(long = "member", value_name = "ADDRESS")]
        members: Vec<Address>,
        /// How many members co-sign; left out, the smallest majority.
        #[arg(long, requires = "members")]
        committee_spend: Option<u8>,
        /// How many members freeze; fewer.
        #[arg(long, default_value_t = 1)]
        committee_freeze: u8,
    },
    /// Start the run-down of a vault whose operator is gone, or whose exits stay unpaid. For ever, and by anybody.
    RunDown {
        #[command(flatten)]
        at: AtVault,
    },
}

#[derive(Debug, Serialize)]
struct Deployed {
    vault: String,
    block: u64,
}

impl Vaults {
    pub(crate) async fn run(self, passphrase: &Passphrase, json: bool) -> Result<()> {
        match self {
            Self::Deploy { .. } => self.deploy(passphrase, json).await,
            Self::RunDown { at } => run_down(&at.vault(passphrase).await?, json).await,
        }
    }

    async fn deploy(self, passphrase: &Passphrase, json: bool) -> Result<()> {
        let Self::Deploy {
            on,
            operator,
            token,
            share_holder,
            floor_bps,
            close_period_s,
            exit_notice_s,
            term_max_s,
            index_rate_max_ppm,
            note_min,
            bucket,
            bucket_refill_per_day,
            heartbeat_max_s,
            members,
            committee_spend,
            committee_freeze,
        } = self
        else {
            return Ok(());
        };
        let majority = u8::try_from(members.len() / 2 + 1).context("at most 255 members")?;
        let (committee_spend, committee_freeze) = if members.is_empty() {
            (0, 0)
        } else {
            (committee_spend.unwrap_or(majority), committee_freeze)
        };
        let account = on.account(passphrase).await?;
        let parameters = VaultParameters {
            asset: token,
            operator,
            share_holder,
            floor_bps,
            close_period_s,
            exit_notice_s,
            term_max_s,
            index_rate_max_ray_per_day: u128::from(index_rate_max_ppm) * (RAY / 1_000_000),
            note_min: Amount::new(note_min),
            bucket_capacity: bucket.unwrap_or(Amount::MAX),
            bucket_refill_per_day: bucket_refill_per_day.unwrap_or(Amount::ZERO),
            heartbeat_max_s,
            committee_spend,
            committee_freeze,
            committee: members,
        };
        let deployed = account
            .deploy_vault(new_effect()?, &parameters, Finality::Final)
            .await?;
        let deployed = Deployed {
            vault: deployed.address.to_string(),
            block: deployed.block.0,
        };
        show(json, &deployed, |deployed| {
            println!(
                "The vault is {}, created in block {}.",
                deployed.vault, deployed.block
            )
        })
    }
}

async fn run_down(vault: &Vault, json: bool) -> Result<()> {
    eprintln!("starting the run-down, waiting until it is final …");
    let start = VaultRequest::StartRunDown;
    let included = vault
        .execute(new_effect()?, &start, Finality::Final)
        .await?;
    let included = checked("the run-down", included)?;
    let started = serde_json::json!({ "transaction": included.transaction.to_string() });
    show(json, &started, |_| {
        println!(
            "The vault runs down. Each LP is paid by `forebay lp withdraw`; allotments come home as their lowerings are started and finished."
        );
    })
}

/// An LP's side of a vault.
#[derive(Debug, Subcommand)]
pub(crate) enum Lp {
    /// Deposit: notes, or with --share the invited holder's first-loss capital.
    Deposit {
        #[command(flatten)]
        at: AtVault,
        /// In the chain's base units.
        amount: Amount,
        /// As the invited share holder.
        #[arg(long)]
        share: bool,
    },
    /// Leave: locks note units, pays the oldest cohorts from free money, and claims what is due.
    Withdraw {
        #[command(flatten)]
        at: AtVault,
        /// Note units; all when left out.
        units: Option<Amount>,
    },
    /// Show a position.
    Show {
        #[command(flatten)]
        at: AtVault,
    },
    /// A claim on Bitcoin, which has no vault: by the LP's token of the pool's interface.
    Bitcoin {
        #[command(flatten)]
        of: OfPool,
        #[command(subcommand)]
        deed: OnClaim,
    },
}

/// A vault, and who acts on it.
#[derive(Debug, Args)]
pub(crate) struct AtVault {
    #[command(flatten)]
    on: OnChain,
    /// The vault's address.
    #[arg(long)]
    vault: Address,
}

impl AtVault {
    pub(crate) async fn vault(&self, passphrase: &Passphrase) -> Result<Vault> {
        let account = self.on.account(passphrase).await?;
        Ok(Vault::connect(account, self.vault).await?)
    }

    /// The key file that signs.
    pub(crate) fn key(&self) -> &Path {
        &self.on.key
    }
}

/// An LP's position in one vault, in base units.
#[derive(Debug, Serialize)]
struct Position {
    lp: String,
    units: String,
    worth: String,
    index: String,
    leaving: Vec<Leaving>,
    share_units: Option<String>,
}

#[derive(Debug, Serialize)]
struct Leaving {
    cohort: u32,
    units_unpaid: String,
    claimable: String,
}

#[derive(Debug, Serialize)]
struct Paid {
    units_locked: String,
    paid: String,
    units_unpaid: String,
}

/// Cohorts that one withdrawal pays at most.
const COHORTS_PAID_MAX: u32 = 8;

impl Lp {
    pub(crate) async fn run(
        self,
        config: &Path,
        passphrase: &Passphrase,
        json: bool,
    ) -> Result<()> {
        match self {
            Self::Deposit { at, amount, share } => {
                deposit(&at.vault(passphrase).await?, amount, share, json).await
            }
            Self::Withdraw { at, units } => {
                withdraw(&at.vault(passphrase).await?, units, json).await
            }
            Self::Show { at } => {
                let position = position(&at.vault(passphrase).await?).await?;
                show(json, &position, draw)
            }
            Self::Bitcoin { of, deed } => deed.run(of, config, json).await,
        }
    }
}

async fn deposit(vault: &Vault, amount: Amount, share: bool, json: bool) -> Result<()> {
    let request = if share {
        VaultRequest::DepositShare(amount)
    } else {
        VaultRequest::DepositNote(amount)
    };
    eprintln!("depositing {amount}, waiting until it is final …");
    checked(
        "the deposit",
        vault
            .execute(new_effect()?, &request, Finality::Final)
            .await?,
    )?;
    show(json, &position(vault).await?, draw)
}

async fn withdraw(vault: &Vault, units: Option<Amount>, json: bool) -> Result<()> {
    let member = vault.account().address();
    let held = vault.units_of(member, Finality::Seen).await?;
    // In a run-down nothing is locked: all units are paid alike.
    let runs_down = vault.books(Finality::Seen).await?.runs_down;
    let units = if runs_down {
        Amount::ZERO
    } else {
        units.unwrap_or(held)
    };
    ensure!(
        !units.is_zero() || !exits(vault, member).await?.is_empty(),
        "{member} holds no units and waits in no exit cohort"
    );
    if !units.is_zero() {
        eprintln!("locking {units} units …");
        let lock = VaultRequest::RequestExit(units);
        checked(
            "the exit request",
            vault.execute(new_effect()?, &lock, Finality::Seen).await?,
        )?;
    }
    eprintln!("paying the oldest cohorts from free money …");
    let pay = VaultRequest::PayExits(COHORTS_PAID_MAX);
    vault.execute(new_effect()?, &pay, Finality::Seen).await?;
    let mut claimed = Amount::ZERO;
    for exit in exits(vault, member).await? {
        if exit.claimable.is_zero() {
            continue;
        }
        eprintln!("claiming {}, waiting until it is final …", exit.claimable);
        let claim = VaultRequest::ClaimExit {
            cohort: exit.cohort,
            member,
        };
        checked(
            "the claim",
            vault
                .execute(new_effect()?, &claim, Finality::Final)
                .await?,
        )?;
        claimed = claimed.saturating_add(exit.claimable);
    }
    let waiting = exits(vault, member).await?;
    let unpaid = waiting.iter().fold(Amount::ZERO, |sum, exit| {
        sum.saturating_add(exit.units_unpaid)
    });
    let paid = Paid {
        units_locked: units.to_string(),
        paid: claimed.to_string(),
        units_unpaid: unpaid.to_string(),
    };
    show(json, &paid, |paid| {
        println!("Locked {} units, paid {}.", paid.units_locked, paid.paid);
        if !unpaid.is_zero() {
            println!(
                "{unpaid} units wait for free money; run `forebay lp withdraw` again later to be paid."
            );
        }
    })
}

/// What a member has in one exit cohort.
struct Exit {
    cohort: u32,
    units_unpaid: Amount,
    claimable: Amount,
}

/// Every cohort in which something is due to a member or waits.
async fn exits(vault: &Vault, member: Address) -> Result<Vec<Exit>> {
    let mut exits = Vec::new();
    let books = vault.books(Finality::Seen).await?;
    let all = books.runs_down.then_some(RUN_DOWN_COHORT);
    for cohort in (0..books.cohort_count).chain(all) {
        let (units_unpaid, claimable) = vault.exit_of(cohort, member, Finality::Seen).await?;
        if !units_unpaid.is_zero() || !claimable.is_zero() {
            exits.push(Exit {
                cohort,
                units_unpaid,
                claimable,
            });
        }
    }
    Ok(exits)
}

async fn position(vault: &Vault) -> Result<Position> {
    let member = vault.account().address();
    let books = vault.books(Finality::Seen).await?;
    let units = vault.units_of(member, Finality::Seen).await?;
    let worth = units
        .mul_div_floor(books.index.value(), RAY)
        .unwrap_or(Amount::MAX);
    let leaving = exits(vault, member).await?.into_iter().map(|exit| Leaving {
        cohort: exit.cohort,
        units_unpaid: exit.units_unpaid.to_string(),
        claimable: exit.claimable.to_string(),
    });
    let leaving = leaving.collect();
    let is_holder = vault.parameters().await?.share_holder == Some(member);
    Ok(Position {
        lp: member.to_string(),
        units: units.to_string(),
        worth: worth.to_string(),
        index: books.index.to_string(),
        leaving,
        share_units: is_holder.then(|| books.share_units.to_string()),
    })
}

fn draw(position: &Position) {
    println!(
        "{} holds {} note units, worth {} base units now.",
        position.lp, position.units, position.worth
    );
    for leaving in &position.leaving {
        println!(
            "In exit cohort {}: {} units unpaid, {} to claim.",
            leaving.cohort, leaving.units_unpaid, leaving.claimable
        );
    }
    if let Some(units) = &position.share_units {
        println!("First-loss capital: {units} share units.");
    }
}
