//! The reserve beside the core: watches it, says where money lies, keeps drafts that wait for members, and hands in what
//! enough of them have signed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use forebay_chain_bitcoin::chain::{ChainSource, FeeTarget};
use forebay_chain_bitcoin::lightning::HotWallet;
use forebay_chain_bitcoin::reserve::{
    Buried, Leaf, Received, RenewalRule, Reserve, ReserveCoin, ReserveKey, ReservePolicy,
    ReserveSpend, Review, combine, finish, review, sign,
};
use forebay_chain_bitcoin::wallet::{ConfirmationPolicy, Payment, Purpose, Seed};
use forebay_chain_bitcoin::{Fault, NetworkKind, Psbt, bytes_of};
use forebay_chain_evm::Key;
use forebay_pool::{Command, Outpoint, ReserveCommand, ReserveRules, Whereabouts};
use forebay_quantity::{Amount, EffectId, Hash32};
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use super::config::{BitcoinConfig, ReserveConfig};
use super::wallet::millisatoshi;
use super::{Lightning, LightningFault};

/// What the operator's key in the reserve, and each member's, is derived by from its key file.
pub const RESERVE_LABEL: &str = "bitcoin reserve";
/// Members take days: the fee is for a transaction that may wait a while.
const TARGET: FeeTarget = FeeTarget { blocks: 12 };
const BLOCKS_PER_DAY: u32 = 144;

/// A reserve that the configuration names.
pub(crate) struct Guarded {
    pub(crate) reserve: Reserve,
    key: ReserveKey,
    rules: ReserveRules,
    /// Drafts, each a file under its demand's number.
    folder: PathBuf,
    /// Spends that the core has heard of in this life of the process.
    told: Mutex<BTreeSet<[u8; 32]>>,
    /// Likewise outputs that came in.
    outputs_told: Mutex<BTreeSet<Outpoint>>,
    confirmations: ConfirmationPolicy,
}

/// What waits for members.
pub(crate) struct Draft {
    pub(crate) demand: EffectId,
    pub(crate) psbt: Psbt,
    pub(crate) review: Review,
}

impl Guarded {
    /// Opens the reserve of a configuration.
    ///
    /// # Errors
    /// [`LightningFault`].
    pub(super) async fn open(
        config: &BitcoinConfig,
        reserve: &ReserveConfig,
        (key, folder): (&Key, &Path),
        chain: ChainSource,
    ) -> Result<Self, LightningFault> {
        let seed = Seed(key.derive(RESERVE_LABEL));
        let key = ReserveKey::new(&seed, NetworkKind::from(chain.network()))?;
        let policy = ReservePolicy::new(&key.public()?, &reserve.members, reserve.threshold)?;
        let rules = ReserveRules {
            hot_max: millisatoshi(config.hot_max_sat()?),
            descriptor: Hash32(Sha256::digest(policy.descriptor()).into()),
        };
        let file = folder.join("reserve.redb");
        let folder = folder.join("drafts");
        std::fs::create_dir_all(&folder).map_err(|error| Fault::WalletStore {
            what: error.to_string(),
        })?;
        let reserve = Reserve::open(&file, policy, reserve.birthday_height, chain).await?;
        Ok(Self {
            reserve,
            key,
            rules,
            folder,
            told: Mutex::new(BTreeSet::new()),
            outputs_told: Mutex::new(BTreeSet::new()),
            confirmations: ConfirmationPolicy::default(),
        })
    }

    /// What is final of it, as of the last block read.
    pub(crate) fn buried(&self) -> Buried {
        self.reserve.buried(&self.confirmations)
    }

    pub(crate) fn hot_max_sat(&self) -> u64 {
        u64::try_from(self.rules.hot_max.value() / 1_000).unwrap_or(u64::MAX)
    }

    pub(crate) fn policy(&self) -> &ReservePolicy {
        self.reserve.policy()
    }

    /// Every draft on disk, oldest first.
    ///
    /// # Errors
    /// When a file cannot be read, or is no draft of this reserve.
    pub(crate) fn drafts(&self) -> Result<Vec<Draft>, Fault> {
        let failed = |error: &dyn std::fmt::Display| Fault::WalletStore {
            what: format!("{}: {error}", self.folder.display()),
        };
        let mut drafts = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(|error| failed(&error))? {
            let path = entry.map_err(|error| failed(&error))?.path();
            let number = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse().ok());
            let is_draft = path
                .extension()
                .is_some_and(|extension| extension == "psbt");
            let Some(number) = number.filter(|_| is_draft) else {
                continue;
            };
            let text = std::fs::read_to_string(&path).map_err(|error| failed(&error))?;
            let psbt = text.trim().parse::<Psbt>();
            let psbt = psbt.map_err(|error| failed(&error))?;
            let review = review(self.policy(), &psbt)?;
            drafts.push(Draft {
                demand: EffectId(number),
                psbt,
                review,
            });
        }
        drafts.sort_by_key(|draft| draft.demand);
        Ok(drafts)
    }

    /// At one stroke, so that a crash leaves the draft as it was or as it is.
    fn keep(&self, demand: EffectId, psbt: &Psbt) -> Result<(), Fault> {
        let path = self.path(demand);
        let fresh = path.with_extension("fresh");
        let written = || -> std::io::Result<()> {
            let mut file = std::fs::File::create(&fresh)?;
            std::io::Write::write_all(&mut file, psbt.to_string().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&fresh, &path)?;
            std::fs::File::open(&self.folder)?.sync_all()
        };
        written().map_err(|error| Fault::WalletStore {
            what: format!("{}: {error}", path.display()),
        })
    }

    fn path(&self, demand: EffectId) -> PathBuf {
        self.folder.join(format!("{}.psbt", demand.0))
    }

    fn forget(&self, demand: EffectId) {
        if let Err(error) = std::fs::remove_file(self.path(demand)) {
            warn!("a draft that is done stays on disk: {error}");
        }
    }

    /// Takes a copy that somebody has signed; hands the spend in once it is whole.
    ///
    /// # Errors
    /// When it is a copy of no draft, or the chain source does not take what is whole.
    pub(crate) async fn take_copy(&self, copy: Psbt) -> Result<Option<String>, Fault> {
        let unsigned = copy.unsigned_tx.compute_txid();
        let drafts = self.drafts()?;
        let mut same = drafts
            .into_iter()
            .filter(|draft| draft.psbt.unsigned_tx.compute_txid() == unsigned);
        let Some(draft) = same.next() else {
            return Err(Fault::BadReserve {
                what: "it is a copy of no draft that waits: ask for the drafts again".into(),
            });
        };
        let both = combine(self.policy(), &[draft.psbt, copy])?;
        self.keep(draft.demand, &both)?;
        match finish(self.policy(), std::slice::from_ref(&both)) {
            Ok(_) => {
                let txid = self.reserve.hand_in(&[both]).await?;
                info!(%txid, "a spend of the reserve is handed in");
                Ok(Some(txid.to_string()))
            }
            Err(Fault::NotEnoughSignatures { .. }) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Whether the core has not heard of a spend yet.
    fn is_new(&self, txid: [u8; 32]) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        !told.contains(&txid)
    }

    fn is_new_output(&self, outpoint: Outpoint) -> bool {
        let told = self
            .outputs_told
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        !told.contains(&outpoint)
    }

    fn output_was_told(&self, outpoint: Outpoint) {
        let mut told = self
            .outputs_told
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        told.insert(outpoint);
    }

    fn was_told(&self, txid: [u8; 32]) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(txid);
    }
}

impl Lightning {
    /// Follows the reserve to the tip, and tells the core what is new: where money lies before what was spent, so that
    /// nothing ever counts as hot and as reserved at once.
    pub(super) async fn follow_reserve(&self) -> Result<(), Fault> {
        let Some(guarded) = &self.reserve else {
            return Ok(());
        };
        guarded.reserve.sync().await?;
        let rules = ReserveCommand::Rules(guarded.rules);
        let buried = guarded.buried();
        let found = ReserveCommand::Found(self.whereabouts(&buried));
        if self.asset_is_listed().await {
            for told in [rules, found] {
                self.tell_core(Command::Reserve(told)).await;
            }
            for received in &buried.received {
                self.tell_received(guarded, received).await;
            }
            for spend in &buried.spends {
                self.tell_spend(guarded, spend).await?;
            }
            for draft in guarded.drafts()? {
                if buried.overtook(&draft.psbt) {
                    warn!(
                        demand = draft.demand.0,
                        "another transaction spends what a draft would: it is given up"
                    );
                    self.give_up(draft.demand).await;
                    guarded.forget(draft.demand);
                }
            }
        }
        Ok(())
    }

    async fn asset_is_listed(&self) -> bool {
        let listed = self.core.query(|state| state.asset_on_bitcoin().is_some());
        listed.await.unwrap_or(false)
    }

    fn whereabouts(&self, buried: &Buried) -> Whereabouts {
        let balance = self.wallet.balance();
        let sum = |coins: &[ReserveCoin]| coins.iter().map(|coin| coin.output.value.to_sat()).sum();
        let heights = buried.coins.iter().filter_map(|coin| coin.height);
        let oldest = heights.min().unwrap_or(buried.tip_height);
        Whereabouts {
            spendable: millisatoshi(balance.spendable.to_sat()),
            waiting: millisatoshi(balance.waiting.to_sat()),
            wanted: self.wanted(),
            reserve: millisatoshi(sum(&buried.coins)),
            oldest_days: buried.tip_height.saturating_sub(oldest) / BLOCKS_PER_DAY,
        }
    }

    /// What came into the reserve from elsewhere than the hot wallet.
    async fn tell_received(&self, guarded: &Guarded, received: &Received) {
        let outpoint = Outpoint {
            txid: Hash32(bytes_of(received.outpoint.txid)),
            index: received.outpoint.vout,
        };
        if !guarded.is_new_output(outpoint) {
            return;
        }
        let is_strangers = self.wallet.spent_sat(&received.transaction) == 0;
        let told = ReserveCommand::Given {
            outpoint,
            amount: millisatoshi(received.amount.to_sat()),
        };
        if !is_strangers || self.tell_core(Command::Reserve(told)).await {
            guarded.output_was_told(outpoint);
        }
    }

    /// A transaction that spends the reserve: what miners got, and what went to strangers.
    async fn tell_spend(&self, guarded: &Guarded, spend: &ReserveSpend) -> Result<(), Fault> {
        let txid = bytes_of(spend.txid);
        if !guarded.is_new(txid) {
            return Ok(());
        }
        let strangers = spend.payments.iter();
        let lost: u64 = strangers
            .filter(|payment| !self.wallet.owns(&payment.script))
            .map(|payment| payment.amount.to_sat())
            .sum();
        let drafts = guarded.drafts()?;
        let mut drafted = drafts
            .iter()
            .filter(|draft| draft.psbt.unsigned_tx.compute_txid() == spend.txid);
        let demand = drafted.next().map(|draft| draft.demand);
        if lost > 0 {
            tracing::error!(txid = %spend.txid, "the reserve paid {lost} sat to somebody who is neither it nor the hot wallet");
        }
        let told = ReserveCommand::Spent {
            txid: Hash32(txid),
            demand,
            fee: millisatoshi(spend.fee.map_or(0, |fee| fee.to_sat())),
            lost: millisatoshi(lost),
        };
        if self.tell_core(Command::Reserve(told)).await {
            guarded.was_told(txid);
            if let Some(demand) = demand {
                guarded.forget(demand);
            }
        }
        Ok(())
    }

    /// Drafts what a demand asks for, signs the operator's part, and keeps it for the members; once for each demand.
    pub(super) async fn draft(&self, demand: EffectId, back: Option<Amount>) {
        let Some(guarded) = &self.reserve else {
            warn!(
                demand = demand.0,
                "no reserve is configured: nothing is drafted"
            );
            return;
        };
        if guarded.path(demand).exists() {
            return;
        }
        if let Err(fault) = self.draft_one(guarded, demand, back).await {
            warn!(
                demand = demand.0,
                "the reserve cannot be drafted on now: {fault}"
            );
            self.give_up(demand).await;
        }
    }

    async fn draft_one(
        &self,
        guarded: &Guarded,
        demand: EffectId,
        back: Option<Amount>,
    ) -> Result<(), Fault> {
        let rate = self.wallet.fee_rate(TARGET).await?;
        let drafted = match back {
            Some(amount) => {
                let address = self.wallet.address(Purpose::FromReserve)?;
                let sat = u64::try_from(amount.value() / 1_000).unwrap_or(u64::MAX);
                let payment = Payment::new(address.script_pubkey().into_bytes(), sat);
                let leaf = Leaf::WithOperator;
                Some(guarded.reserve.draft_spend(&[payment], rate, leaf)?)
            }
            None => guarded
                .reserve
                .draft_renewal(&RenewalRule::default(), rate)?,
        };
        let mut psbt = drafted.ok_or_else(|| Fault::BadReserve {
            what: "no output is due for renewal".into(),
        })?;
        sign(guarded.policy(), &mut psbt, &guarded.key)?;
        guarded.keep(demand, &psbt)?;
        info!(
            demand = demand.0,
            "a draft on the reserve waits for members: forebay bitcoin reserve show"
        );
        Ok(())
    }
}
