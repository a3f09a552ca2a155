//! A chain source as rust-lightning reads it.

use bitcoin::{BlockHash, OutPoint};
use lightning_block_sync::gossip::UtxoSource;
use lightning_block_sync::{
    AsyncBlockSourceResult, BlockData, BlockHeaderData, BlockSource, BlockSourceError,
};

use super::ChainSource;
use crate::{Fault, Retry};

impl BlockSource for ChainSource {
    fn get_header<'a>(
        &'a self,
        hash: &'a BlockHash,
        _height: Option<u32>,
    ) -> AsyncBlockSourceResult<'a, BlockHeaderData> {
        Box::pin(async move { self.header(*hash).await.map_err(told) })
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

impl UtxoSource for ChainSource {
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
