//! bitcoind as the source of blocks that rust-lightning reads.

use std::str::FromStr;

use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, CompactTarget, OutPoint, TxMerkleNode, Work};
use lightning_block_sync::gossip::UtxoSource;
use lightning_block_sync::{
    AsyncBlockSourceResult, BlockData, BlockHeaderData, BlockSource, BlockSourceError,
};
use serde::Deserialize;
use serde_json::json;

use super::Bitcoind;
use crate::{Fault, Retry};

impl BlockSource for Bitcoind {
    fn get_header<'a>(
        &'a self,
        hash: &'a BlockHash,
        _height: Option<u32>,
    ) -> AsyncBlockSourceResult<'a, BlockHeaderData> {
        Box::pin(async move {
            let view: HeaderView = self
                .call("getblockheader", &[json!(hash)])
                .await
                .map_err(told)?;
            let data = view.read().map_err(told)?;
            if data.header.block_hash() != *hash {
                return Err(BlockSourceError::persistent("it is another header"));
            }
            Ok(data)
        })
    }

    fn get_block<'a>(&'a self, hash: &'a BlockHash) -> AsyncBlockSourceResult<'a, BlockData> {
        Box::pin(async move { Ok(BlockData::FullBlock(self.block(*hash).await.map_err(told)?)) })
    }

    fn get_best_block(&self) -> AsyncBlockSourceResult<'_, (BlockHash, Option<u32>)> {
        Box::pin(async move {
            let tip = self.tip().await.map_err(told)?;
            Ok((tip.hash, Some(tip.height)))
        })
    }
}

impl UtxoSource for Bitcoind {
    fn get_block_hash_by_height<'a>(
        &'a self,
        height: u32,
    ) -> AsyncBlockSourceResult<'a, BlockHash> {
        Box::pin(async move {
            let hash = self.block_hash(height).await.map_err(told)?;
            hash.ok_or_else(|| BlockSourceError::transient("it has no block at that height"))
        })
    }

    fn is_output_unspent<'a>(&'a self, outpoint: OutPoint) -> AsyncBlockSourceResult<'a, bool> {
        Box::pin(async move { Ok(self.unspent(outpoint).await.map_err(told)?.is_some()) })
    }
}

fn told(fault: Fault) -> BlockSourceError {
    match fault.retry() {
        Retry::Now | Retry::Later => BlockSourceError::transient(fault),
        Retry::Never => BlockSourceError::persistent(fault),
    }
}

#[derive(Deserialize)]
struct HeaderView {
    version: i32,
    /// Not there in block 0.
    previousblockhash: Option<BlockHash>,
    merkleroot: TxMerkleNode,
    time: u32,
    /// Hexadecimal.
    bits: String,
    nonce: u32,
    height: u32,
    /// Hexadecimal.
    chainwork: String,
}

impl HeaderView {
    fn read(self) -> Result<BlockHeaderData, Fault> {
        let nonsense = |what: &str| Fault::Nonsense {
            method: "getblockheader",
            what: what.to_owned(),
        };
        let bits = CompactTarget::from_unprefixed_hex(&self.bits)
            .map_err(|_| nonsense("its bits are no number"))?;
        // A hash reads its digits backwards, as work is written forwards.
        let work = BlockHash::from_str(&self.chainwork)
            .map_err(|_| nonsense("its work is no number"))?
            .to_byte_array();
        Ok(BlockHeaderData {
            header: Header {
                version: Version::from_consensus(self.version),
                prev_blockhash: self.previousblockhash.unwrap_or_else(BlockHash::all_zeros),
                merkle_root: self.merkleroot,
                time: self.time,
                bits,
                nonce: self.nonce,
            },
            height: self.height,
            chainwork: Work::from_le_bytes(work),
        })
    }
}
