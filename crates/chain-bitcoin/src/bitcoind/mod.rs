//! A client of bitcoind: blocks, fees, and the way of transactions to the miners.
//!
//! It is not one of the ready-made ones: those block their thread, or speak no TLS and have no time limit.

mod fees;
mod header;
pub mod regtest;
mod rpc;
mod views;

use std::time::Duration;

use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::constants::genesis_block;
use bitcoin::{Amount, Block, BlockHash, Network, OutPoint, ScriptBuf, Transaction, TxOut, Txid};
use serde_json::{Value, json};

pub use rpc::Credentials;

use crate::Fault;
use crate::chain::{
    BlockPlace, ChainInfo, FeePolicy, HealthLimits, Package, SourceKind, Unspent, judge,
    unix_time_s,
};
use rpc::Rpc;

/// Where a bitcoind is, and what is expected of it.
#[derive(Clone, Debug)]
pub struct BitcoindSettings {
    /// `http://host:port`; https too, when something in front of bitcoind speaks it.
    pub url: String,
    /// How it knows us.
    pub credentials: Credentials,
    /// The network it must be on.
    pub network: Network,
    /// The longest one answer may take.
    pub timeout: Duration,
    /// When it counts as lagging.
    pub limits: HealthLimits,
    /// What is paid when it has no estimate, and between which bounds.
    pub fees: FeePolicy,
}

impl BitcoindSettings {
    /// With a minute for an answer, and usual limits and fees.
    #[must_use]
    pub fn new(url: String, credentials: Credentials, network: Network) -> Self {
        Self {
            url,
            credentials,
            network,
            timeout: Duration::from_secs(60),
            limits: HealthLimits::default(),
            fees: FeePolicy::default(),
        }
    }
}

/// One bitcoind. It is shared by reference; each call is one HTTP request.
pub struct Bitcoind {
    rpc: Rpc,
    settings: BitcoindSettings,
}

impl Bitcoind {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn new(settings: BitcoindSettings) -> Result<Self, Fault> {
        let rpc = Rpc::new(
            &settings.url,
            settings.credentials.clone(),
            settings.timeout,
        )?;
        Ok(Self { rpc, settings })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        self.rpc.url()
    }

    /// The network it must be on.
    #[must_use]
    pub fn network(&self) -> Network {
        self.settings.network
    }

    /// Asks anything, and reads the answer as `T`.
    ///
    /// # Errors
    /// When bitcoind does not answer, does not know us, says no, or makes no sense.
    pub async fn call<T: serde::de::DeserializeOwned>(
        &self,
        method: &'static str,
        parameters: &[Value],
    ) -> Result<T, Fault> {
        self.rpc.call(method, parameters).await
    }

    /// That it is on the network expected of it, has the chain, and is not behind.
    ///
    /// # Errors
    /// As [`Self::call`]; on another network; lagging.
    pub async fn check(&self) -> Result<ChainInfo, Fault> {
        let info = self.chain_info().await?;
        let expected = genesis_block(self.settings.network).block_hash();
        judge(
            SourceKind::Bitcoind,
            &info,
            self.settings.network,
            expected,
            &self.settings.limits,
            unix_time_s(),
        )?;
        Ok(info)
    }

    /// The block on top. Whoever follows the chain begins here, so that another one, of a bitcoind that was put in this one's
    /// place, is never taken for it.
    ///
    /// # Errors
    /// As [`Self::call`]; on another network.
    pub async fn tip(&self) -> Result<BlockPlace, Fault> {
        let info = self.blockchain_info().await?;
        info.expect_on(self.settings.network)?;
        Ok(info.tip())
    }

    /// The hash of the block at this height of the chain it is on; none above its tip.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, Fault> {
        /// "Block height out of range".
        const INVALID_PARAMETER: i64 = -8;
        match self.call("getblockhash", &[json!(height)]).await {
            Ok(hash) => Ok(Some(hash)),
            Err(Fault::SourceRefused {
                code: INVALID_PARAMETER,
                ..
            }) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// A whole block.
    ///
    /// # Errors
    /// As [`Self::call`]; also when bitcoind does not have it.
    pub async fn block(&self, hash: BlockHash) -> Result<Block, Fault> {
        let text: String = self.call("getblock", &[json!(hash), json!(0)]).await?;
        let block: Block = deserialize_hex(&text).map_err(|error| Fault::Nonsense {
            method: "getblock",
            what: error.to_string(),
        })?;
        if block.block_hash() != hash {
            return Err(Fault::Nonsense {
                method: "getblock",
                what: "it is another block than was asked for".to_owned(),
            });
        }
        Ok(block)
    }

    /// What is unspent in an output, the mempool counted; none when it is spent or not known.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn unspent(&self, outpoint: OutPoint) -> Result<Option<Unspent>, Fault> {
        let answer: Option<views::TxOut> = self
            .call(
                "gettxout",
                &[json!(outpoint.txid), json!(outpoint.vout), json!(true)],
            )
            .await?;
        answer.map(views::TxOut::read).transpose()
    }

    /// What is unspent in the chain under these scripts. bitcoind looks through all that is unspent, for minutes on the
    /// main network.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn unspent_of(&self, scripts: &[ScriptBuf]) -> Result<Vec<(OutPoint, TxOut)>, Fault> {
        let wanted: Vec<_> = scripts
            .iter()
            .map(|script| format!("raw({})", script.to_hex_string()))
            .collect();
        let found: views::Scan = self
            .call("scantxoutset", &[json!("start"), json!(wanted)])
            .await?;
        found.read()
    }

    /// A transaction in the mempool, and what it pays.
    ///
    /// # Errors
    /// As [`Self::call`]; also when it is not in the mempool.
    pub async fn in_mempool(&self, txid: Txid) -> Result<(Transaction, Amount), Fault> {
        const METHOD: &str = "getrawtransaction";
        let text: String = self.call(METHOD, &[json!(txid), json!(false)]).await?;
        let transaction = deserialize_hex(&text).map_err(|error| Fault::Nonsense {
            method: METHOD,
            what: error.to_string(),
        })?;
        let entry: views::MempoolEntry = self.call("getmempoolentry", &[json!(txid)]).await?;
        Ok((transaction, entry.fee()?))
    }

    /// Hands a transaction in. One that is in the mempool or in the chain already is no fault.
    ///
    /// # Errors
    /// As [`Self::call`]; bitcoind's reason when it takes it not.
    pub async fn broadcast(&self, transaction: &Transaction) -> Result<Txid, Fault> {
        /// "Transaction outputs already in utxo set".
        const IN_CHAIN: i64 = -27;
        let txid = transaction.compute_txid();
        let parameters = [json!(serialize_hex(transaction))];
        match self.call::<Txid>("sendrawtransaction", &parameters).await {
            Ok(_) | Err(Fault::SourceRefused { code: IN_CHAIN, .. }) => Ok(txid),
            Err(fault) => Err(fault),
        }
    }

    /// Hands in a child with its parents, judged by what they pay together; the child comes last.
    ///
    /// # Errors
    /// As [`Self::call`]; bitcoind's reason when it takes them not.
    pub async fn submit_package(&self, transactions: &[Transaction]) -> Result<(), Fault> {
        const METHOD: &str = "submitpackage";
        let texts: Vec<_> = transactions.iter().map(serialize_hex).collect();
        let answer: Package = self.call(METHOD, &[json!(texts)]).await?;
        answer.read(SourceKind::Bitcoind, METHOD)
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        let info = self.blockchain_info().await?;
        let genesis = self.block_hash(0).await?.ok_or_else(|| Fault::Nonsense {
            method: "getblockhash",
            what: "it has no block 0".to_owned(),
        })?;
        Ok(info.read(genesis))
    }

    async fn blockchain_info(&self) -> Result<views::BlockchainInfo, Fault> {
        self.call("getblockchaininfo", &[]).await
    }
}
