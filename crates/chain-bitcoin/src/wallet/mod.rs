//! The operator's hot wallet: addresses with a purpose, deposits seen in blocks, payments that are made once.
//!
//! BDK keeps the coins and signs. What it notes, what addresses are for, what was paid and what was told lie in one file,
//! and each call is one durable write to it before anything leaves. Blocks come from the chain source; the mempool is not read.

mod book;
mod channels;
mod deposit;
mod lending;
mod payment;
mod spend;
pub(crate) mod store;
pub(crate) mod sync;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bitcoin::{Address, Amount, FeeRate, Network, Script};

pub use deposit::{ConfirmationPolicy, Deposit, DepositTag, Observation};
pub use payment::Payment;
pub use spend::output_cost;
pub use store::Purpose;
pub use sync::Synced;

use crate::Fault;
use crate::chain::{BlockPlace, ChainSource};
use book::Book;

/// How a wallet is opened.
#[derive(Clone, Debug)]
pub struct WalletSettings {
    /// Its file; one process has it open.
    pub file: PathBuf,
    /// From which block on a new wallet is looked for in the chain; the tip when left out, for a seed that is new.
    pub birthday_height: Option<u32>,
    /// When payments count.
    pub confirmations: ConfirmationPolicy,
    /// The most that a replacement pays.
    pub fee_rate_max: FeeRate,
}

impl WalletSettings {
    /// For a new seed, with usual limits.
    #[must_use]
    pub fn new(file: PathBuf) -> Self {
        Self {
            file,
            birthday_height: None,
            confirmations: ConfirmationPolicy::default(),
            fee_rate_max: FeeRate::from_sat_per_vb_u32(500),
        }
    }
}

/// What all keys of a wallet are made of. It is the operator's to keep, and never written here.
#[derive(Clone)]
pub struct Seed(pub [u8; 32]);

/// What is in a wallet.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct WalletBalance {
    /// In blocks, and free to be spent.
    pub spendable: Amount,
    /// In blocks, but not final, or change of what is not in a block yet.
    pub waiting: Amount,
}

/// The wallet. It is shared by reference.
pub struct Wallet {
    chain: ChainSource,
    settings: WalletSettings,
    book: Mutex<Book>,
    /// One at a time, so that no two read blocks for the same tip.
    syncing: tokio::sync::Mutex<()>,
}

impl Wallet {
    /// Opens the file, or begins a wallet in it.
    ///
    /// # Errors
    /// When the file cannot be used or is another wallet's; for a new wallet, when the chain source does not say where the chain is.
    pub async fn open(
        settings: WalletSettings,
        seed: &Seed,
        chain: impl Into<ChainSource>,
    ) -> Result<Self, Fault> {
        let chain = chain.into();
        let network = chain.network();
        let (store, kept) = store::Store::open(&settings.file)?;
        let book = if kept.wallet.is_some() {
            Book::load(store, kept, seed, network)?
        } else {
            let birthday = birthday(settings.birthday_height, &chain).await?;
            Book::begin(store, seed, network, birthday)?
        };
        Ok(Self {
            chain,
            settings,
            book: Mutex::new(book),
            syncing: tokio::sync::Mutex::new(()),
        })
    }

    /// The network it is on.
    #[must_use]
    pub fn network(&self) -> Network {
        self.chain.network()
    }

    /// An address that was never given out before. Its purpose is on disk before it is returned.
    ///
    /// # Errors
    /// When the file fails.
    pub fn address(&self, purpose: Purpose) -> Result<Address, Fault> {
        self.book().address(purpose)
    }

    /// What an address of this wallet is for; none when it is not this wallet's.
    #[must_use]
    pub fn purpose(&self, address: &Address) -> Option<Purpose> {
        self.book().purpose(&address.script_pubkey())
    }

    /// Whether a script is one of this wallet's.
    #[must_use]
    pub fn owns(&self, script: &Script) -> bool {
        self.book().purpose(script).is_some()
    }

    /// What is in it, as of the last [`Self::sync`].
    #[must_use]
    pub fn balance(&self) -> WalletBalance {
        self.book().balance()
    }

    /// What was seen and not forgotten yet, in order, each with its number.
    #[must_use]
    pub fn observations(&self) -> Vec<(u64, Observation)> {
        self.book().observations()
    }

    /// Forgets the observations below this number, once they were kept elsewhere.
    ///
    /// # Errors
    /// When the file fails.
    pub fn forget_below(&self, number: u64) -> Result<(), Fault> {
        self.book().forget_below(number)
    }

    /// A panic elsewhere leaves the book as its last whole write left it, or ahead of it by what was not written.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The block up to which a new wallet looks at none: that height, or the tip.
pub(crate) async fn birthday(
    height: Option<u32>,
    chain: &ChainSource,
) -> Result<BlockPlace, Fault> {
    let Some(height) = height else {
        return chain.tip().await;
    };
    let hash = chain.block_hash(height).await?;
    let hash = hash.ok_or_else(|| Fault::SourceLags {
        kind: chain.kind(),
        reason: format!("it has no block {height}, which the wallet begins at"),
    })?;
    Ok(BlockPlace { height, hash })
}
