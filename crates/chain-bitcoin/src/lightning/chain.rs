//! The node's view of the chain: fee rates, the way out for transactions, and blocks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bitcoin::{FeeRate, Transaction, Txid};
use lightning::chain::chaininterface::{BroadcasterInterface, ConfirmationTarget, FeeEstimator};
use tokio::sync::mpsc;

use super::outbox::Outbox;
use crate::chain::{ChainSource, FeeTarget};
use crate::{Fault, Retry};

/// Packages that wait for the chain source. What does not fit here is handed in again later, by LDK or from the outbox.
const BROADCASTS_MAX: usize = 1_000;
/// How often a package is handed in while the source does not answer, a second apart.
const BROADCAST_TRIES_MAX: u32 = 60;

/// The lowest rate that LDK takes, and that nodes pass on, in sat per 1000 weight units.
const FEE_RATE_MIN: u32 = 253;

/// What LDK asks rates for, and in how many blocks a transaction at that rate should be in the chain.
const TARGETS: &[(ConfirmationTarget, u16)] = &[
    (ConfirmationTarget::MaximumFeeEstimate, 1),
    (ConfirmationTarget::UrgentOnChainSweep, 6),
    (ConfirmationTarget::MinAllowedAnchorChannelRemoteFee, 1_008),
    (ConfirmationTarget::MinAllowedNonAnchorChannelRemoteFee, 144),
    (ConfirmationTarget::AnchorChannelFee, 1_008),
    (ConfirmationTarget::NonAnchorChannelFee, 12),
    (ConfirmationTarget::ChannelCloseMinimum, 144),
    (ConfirmationTarget::OutputSpendingFee, 12),
];

/// The blocks within which a transaction that funds a channel should be in the chain.
const FUNDING_BLOCKS: u16 = 12;

/// Rates as they were estimated them last.
pub(crate) struct FeeRates(RwLock<BTreeMap<u16, u32>>);

impl FeeRates {
    /// Asks for all rates.
    ///
    /// # Errors
    ///
    /// When the source does not answer: without a first estimate no channel can be held.
    pub(crate) async fn start(chain: &ChainSource) -> Result<Self, Fault> {
        let rates = Self(RwLock::default());
        rates.update(chain).await?;
        Ok(rates)
    }

    /// Asks anew; on a fault the rates stay as they are. Those of another network are none.
    pub(crate) async fn update(&self, chain: &ChainSource) -> Result<(), Fault> {
        chain.tip().await?;
        let mut fresh = BTreeMap::new();
        for (_, blocks) in TARGETS {
            if !fresh.contains_key(blocks) {
                let target = FeeTarget { blocks: *blocks };
                fresh.insert(*blocks, per_1000_weight(chain.fee_rate(target).await?));
            }
        }
        *self
            .0
            .write()
            .expect("nothing panics while it holds this lock") = fresh;
        Ok(())
    }

    /// What a transaction that funds channels pays, in sat per 1000 weight units.
    pub(crate) fn funding(&self) -> u32 {
        self.of(FUNDING_BLOCKS)
    }

    fn of(&self, blocks: u16) -> u32 {
        self.0
            .read()
            .expect("nothing panics while it holds this lock")
            .get(&blocks)
            .copied()
            .unwrap_or(FEE_RATE_MIN)
    }
}

impl FeeEstimator for FeeRates {
    fn get_est_sat_per_1000_weight(&self, target: ConfirmationTarget) -> u32 {
        let blocks = TARGETS
            .iter()
            .find(|(known, _)| *known == target)
            .map_or(FUNDING_BLOCKS, |(_, blocks)| *blocks);
        match target {
            // Somewhat below our own estimate, since the peer's node may see another mempool.
            ConfirmationTarget::MinAllowedNonAnchorChannelRemoteFee => {
                self.of(blocks).saturating_sub(250).max(FEE_RATE_MIN)
            }
            ConfirmationTarget::MinAllowedAnchorChannelRemoteFee => FEE_RATE_MIN,
            ConfirmationTarget::MaximumFeeEstimate
            | ConfirmationTarget::UrgentOnChainSweep
            | ConfirmationTarget::AnchorChannelFee
            | ConfirmationTarget::NonAnchorChannelFee
            | ConfirmationTarget::ChannelCloseMinimum
            | ConfirmationTarget::OutputSpendingFee => self.of(blocks),
        }
    }
}

fn per_1000_weight(rate: FeeRate) -> u32 {
    u32::try_from(rate.to_sat_per_kwu())
        .unwrap_or(u32::MAX)
        .max(FEE_RATE_MIN)
}

/// Hands LDK's transactions to the chain source, in order, on a task of its own.
pub(crate) struct Broadcaster {
    packages: mpsc::Sender<Vec<Transaction>>,
    /// Single transactions; a child that pays for its parents is made anew by LDK until they are in the chain.
    outbox: Arc<Outbox>,
    /// The last ones, the newest at the end, for who wants to know what one paid.
    recent: Mutex<VecDeque<Transaction>>,
}

/// A transaction is asked for by the event that comes with it, so that few are enough.
const RECENT_MAX: usize = 64;

impl Broadcaster {
    /// Starts the task; it ends with the last reference to the broadcaster.
    pub(crate) fn start(chain: ChainSource, outbox: Arc<Outbox>) -> Self {
        let (sender, mut packages) = mpsc::channel::<Vec<Transaction>>(BROADCASTS_MAX);
        tokio::spawn(async move {
            while let Some(package) = packages.recv().await {
                broadcast(&chain, &package).await;
            }
        });
        Self {
            packages: sender,
            outbox,
            recent: Mutex::default(),
        }
    }

    /// Hands in again what is not in the chain, unless the source has not taken all of it from before.
    pub(crate) fn hand_in_again(&self) {
        if self.packages.capacity() < self.packages.max_capacity() {
            return;
        }
        for transaction in self.outbox.waiting() {
            self.hand_in(vec![transaction]);
        }
    }

    fn hand_in(&self, package: Vec<Transaction>) {
        if self.packages.try_send(package).is_err() {
            tracing::warn!(target: "lightning", "too many transactions wait for the chain source; this one comes again");
        }
    }

    /// A transaction that was handed in lately.
    pub(crate) fn recent(&self, txid: &Txid) -> Option<Transaction> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().find(|t| t.compute_txid() == *txid).cloned()
    }

    fn remember(&self, package: &[Transaction]) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for transaction in package {
            if recent.len() == RECENT_MAX {
                recent.pop_front();
            }
            recent.push_back(transaction.clone());
        }
    }
}

impl BroadcasterInterface for Broadcaster {
    fn broadcast_transactions(&self, transactions: &[&Transaction]) {
        let package: Vec<_> = transactions.iter().map(|t| (*t).clone()).collect();
        self.remember(&package);
        if let [single] = package.as_slice() {
            self.outbox.keep(single);
        }
        self.hand_in(package);
    }
}

async fn broadcast(chain: &ChainSource, package: &[Transaction]) {
    let txids: Vec<_> = package.iter().map(Transaction::compute_txid).collect();
    for _ in 0..BROADCAST_TRIES_MAX {
        let outcome = match package {
            [single] => chain.broadcast(single).await.map(drop),
            several => chain.submit_package(several).await,
        };
        match outcome {
            Ok(()) => {
                tracing::info!(target: "lightning", ?txids, "transaction handed to the chain source");
                return;
            }
            Err(fault @ Fault::SourceDown { .. }) if fault.retry() == Retry::Later => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(fault) => {
                // Usual where a conflicting transaction was faster: the chain says what happened.
                tracing::warn!(target: "lightning", ?txids, %fault, "the chain source does not take a transaction");
                return;
            }
        }
    }
    tracing::error!(target: "lightning", ?txids, "the chain source is down; a transaction is handed in again later");
}
