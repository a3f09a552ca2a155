//! Where blocks come from and transactions go: an own bitcoind, or an Esplora server.
//!
//! All of this crate asks here, and cannot tell which it is.

mod branch;
mod fees;
mod health;
pub(crate) mod http;
mod ldk;
mod package;

use std::sync::Arc;

use bitcoin::{
    Amount, Block, BlockHash, FeeRate, Network, OutPoint, ScriptBuf, Transaction, TxOut, Txid,
};
use lightning_block_sync::BlockHeaderData;
use serde::{Deserialize, Serialize};

pub(crate) use branch::Missing;
pub use fees::{FeePolicy, FeeTarget};
pub use health::{ChainInfo, HealthLimits, agree};
pub(crate) use health::{judge, unix_time_s};
pub(crate) use package::Package;

use crate::Fault;
use crate::bitcoind::{Bitcoind, BitcoindSettings};
use crate::esplora::{Esplora, EsploraSettings};

/// A block of a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockPlace {
    /// Blocks below it.
    pub height: u32,
    /// Its hash.
    pub hash: BlockHash,
}

/// An output that nothing spends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unspent {
    /// What is in it.
    pub value: Amount,
    /// Who may spend it.
    pub script: ScriptBuf,
    /// Blocks that hold it, its own counted; 0 in the mempool.
    pub confirmations: u32,
}

/// Which kind of chain source is meant, as it is named to people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceKind {
    /// A bitcoind.
    Bitcoind,
    /// An Esplora server.
    Esplora,
}

impl std::fmt::Display for SourceKind {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Bitcoind => "bitcoind",
            Self::Esplora => "the Esplora server",
        })
    }
}

/// Where a chain source is, and what is expected of it.
#[derive(Clone, Debug)]
pub enum SourceSettings {
    /// A bitcoind.
    Bitcoind(BitcoindSettings),
    /// An Esplora server.
    Esplora(EsploraSettings),
}

/// One chain source. Copies of it share one connection.
#[derive(Clone)]
pub enum ChainSource {
    /// An own bitcoind, which has checked every block.
    Bitcoind(Arc<Bitcoind>),
    /// An Esplora server, which is somebody else's word.
    Esplora(Arc<Esplora>),
}

impl From<Arc<Bitcoind>> for ChainSource {
    fn from(bitcoind: Arc<Bitcoind>) -> Self {
        Self::Bitcoind(bitcoind)
    }
}

impl From<Arc<Esplora>> for ChainSource {
    fn from(esplora: Arc<Esplora>) -> Self {
        Self::Esplora(esplora)
    }
}

impl ChainSource {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// When the URL is none, or a file of it cannot be used.
    pub fn open(settings: SourceSettings) -> Result<Self, Fault> {
        Ok(match settings {
            SourceSettings::Bitcoind(settings) => Arc::new(Bitcoind::new(settings)?).into(),
            SourceSettings::Esplora(settings) => Arc::new(Esplora::new(settings)?).into(),
        })
    }

    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> SourceKind {
        match self {
            Self::Bitcoind(_) => SourceKind::Bitcoind,
            Self::Esplora(_) => SourceKind::Esplora,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        match self {
            Self::Bitcoind(bitcoind) => bitcoind.url(),
            Self::Esplora(esplora) => esplora.url(),
        }
    }

    /// The network it must be on.
    #[must_use]
    pub fn network(&self) -> Network {
        match self {
            Self::Bitcoind(bitcoind) => bitcoind.network(),
            Self::Esplora(esplora) => esplora.network(),
        }
    }

    /// That it is on the network expected of it, has the chain, and is not behind.
    ///
    /// # Errors
    /// When it does not answer, does not know us, or makes no sense; on another network; lagging.
    pub async fn check(&self) -> Result<ChainInfo, Fault> {
        match self {
            Self::Bitcoind(bitcoind) => bitcoind.check().await,
            Self::Esplora(esplora) => esplora.check().await,
        }
    }

    /// The block on top.
    ///
    /// # Errors
    /// When it does not answer, does not know us, says no, or makes no sense.
    pub async fn tip(&self) -> Result<BlockPlace, Fault> {
        match self {
            Self::Bitcoind(bitcoind) => bitcoind.tip().await,
            Self::Esplora(esplora) => esplora.tip().await,
        }
    }

    /// The hash of the block at this height of the chain it is on; none above its tip.
    ///
    /// # Errors
    /// As [`Self::tip`].
    pub async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, Fault> {
        match self {
            Self::Bitcoind(bitcoind) => bitcoind.block_hash(height).await,
            Self::Esplora(esplora) => esplora.block_hash(height).await,
        }
    }

    /// A whole block.
    ///
    /// # Errors
    /// As [`Self::tip`]; also when it does not have it.
    pub async fn block(&self, hash: BlockHash) -> Result<Block, Fault> {
        match self {
            Self::Bitcoind(bitcoind) => bitcoind.block(hash).await,
            Self::Esplora(esplora) => esplora.block(hash).await,
        }
    }

    /// The header of a block, its height, and the work of the chain that ends with it. Work can be compared, and is of no
    /// use otherwise.
    pub(crate) async fn header(&self, hash: BlockHash) -> Result<BlockHeaderData, Fault> {
        match self {
            Self::Bitcoind(bitcoind) => bitcoind.header(hash).await,
            Self::Esplora(esplora) => esplora.header(hash).await,
        }
    }

    /// What is unspent in an output, the mempool counted; none when it is spent or not known.
    ///
    /// # Errors
    /// As [`Self::tip`].
    pub async fn unspent(&self, outpoint: OutPoint) -> Result<Option<Unspent>, Fault> {
        match self {
            Self::Bitcoind(bitcoind) => bitcoind.unspent(outpoint).await,
            Self::Esplora(esplora) => esplora.unspent(outpoint).await,
        }
    }

    /// What is unspent in the chain under these scripts. On the main network it takes minutes.
    ///
    /// # Errors
    /// As [`Self::tip`].
    pub async fn unspent_of(&self, scripts: &[ScriptBuf]) -> Result<Vec<(OutPoint, TxOut)>, Fault> {
        match self {
            Self::Bitcoind(bitcoind) => bitcoind.unspent_of(scripts).await,
            Self::Esplora(esplora) => esplora.unspent_of(scripts).await,
        }
    }

    /// A transaction in the mempool, and what it pays.
    ///
    /// # Errors
    /// As [`Self::tip`]; also when it is not in the mempool.
    pub async fn in_mempool(&self, txid: Txid) -> Result<(Transaction, Amount), Fault> {
        match self {
            Self::Bitcoind(bitcoind) => bitcoind.in_mempool(txid).await,
            Self::Esplora(esplora) => esplora.in_mempool(txid).await,
        }
    }

    /// Hands a transaction in. One that is in the mempool or in the chain already is no fault.
    ///
    /// # Errors
    /// As [`Self::tip`]; the reason when it is not taken.
    pub async fn broadcast(&self, transaction: &Transaction) -> Result<Txid, Fault> {
        match self {
            Self::Bitcoind(bitcoind) => bitcoind.broadcast(transaction).await,
            Self::Esplora(esplora) => esplora.broadcast(transaction).await,
        }
    }

    /// Hands in a child with its parents, judged by what they pay together; the child comes last.
    ///
    /// # Errors
    /// As [`Self::tip`]; the reason when they are not taken.
    pub async fn submit_package(&self, transactions: &[Transaction]) -> Result<(), Fault> {
        match self {
            Self::Bitcoind(bitcoind) => bitcoind.submit_package(transactions).await,
            Self::Esplora(esplora) => esplora.submit_package(transactions).await,
        }
    }

    /// What to pay to be in the chain that soon.
    ///
    /// # Errors
    /// As [`Self::tip`].
    pub async fn fee_rate(&self, target: FeeTarget) -> Result<FeeRate, Fault> {
        match self {
            Self::Bitcoind(bitcoind) => bitcoind.fee_rate(target).await,
            Self::Esplora(esplora) => esplora.fee_rate(target).await,
        }
    }
}
