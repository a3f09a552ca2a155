//! A client of an Esplora server (<https://github.com/Blockstream/esplora/blob/master/API.md>): blocks, fees, and the way of
//! transactions to the miners, where no own bitcoind is at hand.
//!
//! The server is somebody else's word, so that what it says of the chain is checked: [`headers`] hold its blocks together,
//! and each block is whole or not taken. What it keeps back, and what it says of fees and of the mempool, cannot be checked.

mod answers;
mod follow;
mod headers;
mod http;
mod kept;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::{
    Amount, Block, BlockHash, FeeRate, Network, OutPoint, ScriptBuf, Transaction, TxOut, Txid,
};
use lightning_block_sync::BlockHeaderData;
use reqwest::StatusCode;
use serde_json::json;

use crate::Fault;
use crate::chain::{
    BlockPlace, ChainInfo, FeePolicy, FeeTarget, HealthLimits, Package, SourceKind, Unspent, judge,
    unix_time_s,
};
use answers::Estimates;
use follow::Chain;
use http::{Http, nonsense};
use kept::Kept;

/// How long estimates of fees are good for.
const ESTIMATES_AGE_MAX: Duration = Duration::from_secs(30);

/// Where an Esplora server is, and what is expected of it.
#[derive(Clone, Debug)]
pub struct EsploraSettings {
    /// `https://host/path` of its API; http too, for one on this machine.
    pub url: String,
    /// The network it must be on.
    pub network: Network,
    /// The file in which headers are kept over restarts.
    pub headers: PathBuf,
    /// The longest one answer may take.
    pub timeout: Duration,
    /// The least time between two questions for its tip; public servers count them.
    pub pause: Duration,
    /// When it counts as lagging.
    pub limits: HealthLimits,
    /// What is paid when it has no estimate, and between which bounds.
    pub fees: FeePolicy,
}

impl EsploraSettings {
    /// With a minute for an answer, a question for the tip each ten seconds, and usual limits and fees.
    #[must_use]
    pub fn new(url: String, network: Network, headers: PathBuf) -> Self {
        Self {
            url,
            network,
            headers,
            timeout: Duration::from_secs(60),
            pause: Duration::from_secs(10),
            limits: HealthLimits::default(),
            fees: FeePolicy::default(),
        }
    }
}

/// One Esplora server. It is shared by reference.
pub struct Esplora {
    http: Http,
    settings: EsploraSettings,
    chain: Mutex<Chain>,
    /// One at a time, so that no header is fetched twice.
    following: tokio::sync::Mutex<()>,
    estimates: Mutex<Option<(Instant, Estimates)>>,
}

impl Esplora {
    /// Asks nothing yet; reads the headers kept.
    ///
    /// # Errors
    /// When the URL is none, or the file of headers cannot be used.
    pub fn new(settings: EsploraSettings) -> Result<Self, Fault> {
        let http = Http::new(&settings.url, settings.timeout)?;
        let (kept, headers) = Kept::open(&settings.headers, settings.network)?;
        let chain = Mutex::new(Chain::new(kept, headers));
        Ok(Self {
            http,
            settings,
            chain,
            following: tokio::sync::Mutex::new(()),
            estimates: Mutex::new(None),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        self.http.url()
    }

    /// The network it must be on.
    #[must_use]
    pub fn network(&self) -> Network {
        self.settings.network
    }

    /// As [`ChainSource::check`](crate::chain::ChainSource::check). It says nothing of blocks that it has yet to fetch.
    ///
    /// # Errors
    /// As there.
    pub async fn check(&self) -> Result<ChainInfo, Fault> {
        const METHOD: &str = "/block-height/0";
        let expected = genesis_block(self.settings.network).block_hash();
        let genesis = self.hash_at(0).await?;
        let genesis = genesis.ok_or_else(|| nonsense(METHOD, "it has no block 0"))?;
        let mut info = ChainInfo {
            genesis,
            tip: BlockPlace {
                height: 0,
                hash: genesis,
            },
            headers: 0,
            tip_time_s: unix_time_s(),
            downloading: false,
        };
        let judged = |info: &ChainInfo| {
            let (network, limits) = (self.settings.network, &self.settings.limits);
            let now_s = unix_time_s();
            judge(SourceKind::Esplora, info, network, expected, limits, now_s)
        };
        // Its headers are of no use to us on another network.
        judged(&info)?;
        info.tip = self.ask_tip().await?;
        info.headers = info.tip.height;
        info.tip_time_s = u64::from(self.header(info.tip.hash).await?.header.time);
        judged(&info)?;
        Ok(info)
    }

    /// As [`ChainSource::tip`](crate::chain::ChainSource::tip), as of the last [`EsploraSettings::pause`].
    ///
    /// # Errors
    /// As there.
    pub async fn tip(&self) -> Result<BlockPlace, Fault> {
        let is_fresh = |told: Instant| told.elapsed() < self.settings.pause;
        {
            let chain = self.chain();
            if let (Some(tip), true) = (chain.tip(), chain.told.is_some_and(is_fresh)) {
                return Ok(tip);
            }
        }
        self.ask_tip().await
    }

    /// As [`ChainSource::block_hash`](crate::chain::ChainSource::block_hash).
    ///
    /// # Errors
    /// As there.
    pub async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, Fault> {
        {
            let chain = self.chain();
            let lowest = chain.best.first_key_value();
            if lowest.is_some_and(|(lowest, _)| *lowest <= height) {
                return Ok(chain.best.get(&height).copied());
            }
        }
        self.hash_at(height).await
    }

    /// As [`ChainSource::block`](crate::chain::ChainSource::block): it is whole, and carries its proof of work.
    ///
    /// # Errors
    /// As there.
    pub async fn block(&self, hash: BlockHash) -> Result<Block, Fault> {
        let known = self.get(hash);
        self.fetch_block(hash, known.map(|data| data.height)).await
    }

    pub(crate) async fn header(&self, hash: BlockHash) -> Result<BlockHeaderData, Fault> {
        if let Some(known) = self.get(hash) {
            return Ok(known);
        }
        let _alone = self.following.lock().await;
        self.lead_back(hash).await
    }

    /// As [`ChainSource::unspent`](crate::chain::ChainSource::unspent). That nothing spends it is the server's word.
    ///
    /// # Errors
    /// As there.
    pub async fn unspent(&self, outpoint: OutPoint) -> Result<Option<Unspent>, Fault> {
        const SPENT: &str = "/tx/:txid/outspend/:vout";
        const STATUS: &str = "/tx/:txid/status";
        let OutPoint { txid, vout } = outpoint;
        let Some(output) = self.output(outpoint).await? else {
            return Ok(None);
        };
        let spent = self
            .text(SPENT, &format!("/tx/{txid}/outspend/{vout}"))
            .await?;
        let status = self.text(STATUS, &format!("/tx/{txid}/status")).await?;
        let (Some(spent), Some(status)) = (spent, status) else {
            return Ok(None);
        };
        let spent: answers::Outspend = answers::json(SPENT, spent.as_bytes())?;
        let status: answers::TxStatus = answers::json(STATUS, status.as_bytes())?;
        if spent.spent {
            return Ok(None);
        }
        let confirmations = match (status.confirmed, status.block_height) {
            (true, Some(height)) => (self.tip().await?.height + 1).saturating_sub(height),
            _ => 0,
        };
        Ok(Some(Unspent {
            value: output.value,
            script: output.script_pubkey,
            confirmations,
        }))
    }

    /// As [`ChainSource::unspent_of`](crate::chain::ChainSource::unspent_of): one question for each script.
    ///
    /// # Errors
    /// As there.
    pub async fn unspent_of(&self, scripts: &[ScriptBuf]) -> Result<Vec<(OutPoint, TxOut)>, Fault> {
        const METHOD: &str = "/scripthash/:hash/utxo";
        let mut found = Vec::new();
        for script in scripts {
            let hash = sha256::Hash::hash(script.as_bytes());
            let path = format!("/scripthash/{hash}/utxo");
            let body = self.http.get(METHOD, &path, http::LIST_BYTES_MAX).await?;
            // Of a script that it never saw, a server lists nothing, and says so.
            let body = body.ok_or_else(|| nonsense(METHOD, "it lists no outputs by script"))?;
            let listed: Vec<answers::Utxo> = answers::json(METHOD, &body)?;
            for outpoint in listed.iter().filter_map(answers::Utxo::confirmed) {
                match self.output(outpoint).await? {
                    Some(output) if output.script_pubkey == *script => {
                        found.push((outpoint, output));
                    }
                    _ => return Err(nonsense(METHOD, "it names an output of another script")),
                }
            }
        }
        Ok(found)
    }

    /// As [`ChainSource::in_mempool`](crate::chain::ChainSource::in_mempool); what it pays is the server's word.
    ///
    /// # Errors
    /// As there.
    pub async fn in_mempool(&self, txid: Txid) -> Result<(Transaction, Amount), Fault> {
        const METHOD: &str = "/tx/:txid";
        let missing = || {
            let status = StatusCode::NOT_FOUND;
            self.http
                .refused(METHOD, status, b"it is not in the mempool")
        };
        let path = format!("/tx/{txid}");
        let body = self
            .http
            .get(METHOD, &path, http::TRANSACTION_BYTES_MAX)
            .await?;
        let view: answers::TxView = answers::json(METHOD, &body.ok_or_else(missing)?)?;
        if view.status.confirmed {
            return Err(missing());
        }
        let transaction = self.transaction(txid).await?.ok_or_else(missing)?;
        Ok((transaction, Amount::from_sat(view.fee)))
    }

    /// As [`ChainSource::broadcast`](crate::chain::ChainSource::broadcast).
    ///
    /// # Errors
    /// As there.
    pub async fn broadcast(&self, transaction: &Transaction) -> Result<Txid, Fault> {
        const METHOD: &str = "POST /tx";
        /// bitcoind's "Transaction outputs already in utxo set".
        const IN_CHAIN: i64 = -27;
        let txid = transaction.compute_txid();
        let (status, text) = self.http.post("/tx", serialize_hex(transaction)).await?;
        if status != StatusCode::OK {
            return match answers::refusal(METHOD, status, &text) {
                Fault::SourceRefused { code: IN_CHAIN, .. } => Ok(txid),
                fault => Err(fault),
            };
        }
        match answers::parsed::<Txid>(METHOD, &text)? == txid {
            true => Ok(txid),
            false => Err(nonsense(METHOD, "it names another transaction")),
        }
    }

    /// As [`ChainSource::submit_package`](crate::chain::ChainSource::submit_package). A server that knows no packages gets
    /// the transactions one by one, and takes only those that pay enough alone.
    ///
    /// # Errors
    /// As there.
    pub async fn submit_package(&self, transactions: &[Transaction]) -> Result<(), Fault> {
        const METHOD: &str = "POST /txs/package";
        let texts: Vec<_> = transactions.iter().map(serialize_hex).collect();
        let (status, text) = self
            .http
            .post("/txs/package", json!(texts).to_string())
            .await?;
        match status {
            StatusCode::OK => {
                let package: Package = answers::json(METHOD, text.as_bytes())?;
                package.read(SourceKind::Esplora, METHOD)
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                for transaction in transactions {
                    self.broadcast(transaction).await?;
                }
                Ok(())
            }
            status => Err(answers::refusal(METHOD, status, &text)),
        }
    }

    /// As [`ChainSource::fee_rate`](crate::chain::ChainSource::fee_rate), on the server's word, between our bounds.
    ///
    /// # Errors
    /// As there.
    pub async fn fee_rate(&self, target: FeeTarget) -> Result<FeeRate, Fault> {
        const METHOD: &str = "/fee-estimates";
        let lock = || {
            self.estimates
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        {
            let told = lock();
            let fresh = told
                .as_ref()
                .filter(|(at, _)| at.elapsed() < ESTIMATES_AGE_MAX);
            if let Some((_, estimates)) = fresh {
                return Ok(self.settings.fees.choose(estimates.of(target)));
            }
        }
        let body = self.http.get(METHOD, METHOD, http::SMALL_BYTES_MAX).await?;
        let body = body.ok_or_else(|| nonsense(METHOD, "it has none"))?;
        let estimates = Estimates::read(METHOD, &body)?;
        let rate = self.settings.fees.choose(estimates.of(target));
        *lock() = Some((Instant::now(), estimates));
        Ok(rate)
    }

    async fn fetch_block(&self, hash: BlockHash, height: Option<u32>) -> Result<Block, Fault> {
        const METHOD: &str = "/block/:hash/raw";
        let path = format!("/block/{hash}/raw");
        let body = self.http.get(METHOD, &path, http::BLOCK_BYTES_MAX).await?;
        answers::block(
            METHOD,
            &body.ok_or(Fault::BlockGone { hash })?,
            hash,
            height,
        )
    }

    async fn hash_at(&self, height: u32) -> Result<Option<BlockHash>, Fault> {
        const METHOD: &str = "/block-height/:height";
        let text = self
            .text(METHOD, &format!("/block-height/{height}"))
            .await?;
        text.map(|text| answers::parsed(METHOD, &text)).transpose()
    }

    async fn output(&self, outpoint: OutPoint) -> Result<Option<TxOut>, Fault> {
        let transaction = self.transaction(outpoint.txid).await?;
        let place = usize::try_from(outpoint.vout).unwrap_or(usize::MAX);
        Ok(transaction.and_then(|transaction| transaction.output.get(place).cloned()))
    }

    async fn transaction(&self, txid: Txid) -> Result<Option<Transaction>, Fault> {
        const METHOD: &str = "/tx/:txid/raw";
        let path = format!("/tx/{txid}/raw");
        let body = self.http.get(METHOD, &path, http::BLOCK_BYTES_MAX).await?;
        let read = |body: Vec<u8>| answers::transaction(METHOD, &body, txid);
        body.map(read).transpose()
    }

    async fn text(&self, method: &'static str, path: &str) -> Result<Option<String>, Fault> {
        self.http.text(method, path).await
    }

    fn get(&self, hash: BlockHash) -> Option<BlockHeaderData> {
        self.chain().headers.get(hash)
    }

    /// A panic elsewhere leaves whole headers.
    fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
