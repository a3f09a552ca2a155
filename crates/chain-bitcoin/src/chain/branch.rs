//! Reading the blocks that somebody lacks, over reorgs.

use bitcoin::Block;

use super::{BlockPlace, ChainSource};
use crate::Fault;

/// Blocks that are read before the first of them is taken; each is up to 4 MB.
const BLOCKS_AT_ONCE_MAX: u32 = 50;

/// What a reader of blocks lacks.
pub(crate) enum Missing {
    /// Nothing, or the source has taken blocks out and has no others yet: nothing is undone until it has.
    Nothing,
    /// A reorg came while it was asked.
    AskAgain,
    /// The next blocks, each with its height; the first stands on a block that the reader has.
    Blocks(Vec<(u32, Block)>),
}

impl ChainSource {
    /// What comes next for a reader that has these blocks, given from its tip downwards to the network's first.
    ///
    /// # Errors
    /// As [`Self::tip`]; when it has none of them.
    pub(crate) async fn missing(&self, known: &[BlockPlace]) -> Result<Missing, Fault> {
        let tip = self.tip().await?;
        if known.first() == Some(&tip) {
            return Ok(Missing::Nothing);
        }
        let fork = self.fork(known).await?;
        if fork.height >= tip.height {
            return Ok(Missing::Nothing);
        }
        let end = tip
            .height
            .min(fork.height.saturating_add(BLOCKS_AT_ONCE_MAX));
        self.blocks_after(fork, end).await
    }

    /// The highest of these blocks that it has too.
    async fn fork(&self, known: &[BlockPlace]) -> Result<BlockPlace, Fault> {
        for place in known {
            if self.block_hash(place.height).await? == Some(place.hash) {
                return Ok(*place);
            }
        }
        Err(Fault::WrongNetwork {
            kind: self.kind(),
            expected: self.network().to_string(),
            found: "a chain with another first block".to_owned(),
        })
    }

    async fn blocks_after(&self, fork: BlockPlace, end: u32) -> Result<Missing, Fault> {
        let mut blocks = Vec::new();
        let mut below = fork.hash;
        for height in fork.height + 1..=end {
            let Some(hash) = self.block_hash(height).await? else {
                return Ok(Missing::AskAgain);
            };
            let block = self.block(hash).await?;
            if block.header.prev_blockhash != below {
                return Ok(Missing::AskAgain);
            }
            below = hash;
            blocks.push((height, block));
        }
        Ok(Missing::Blocks(blocks))
    }
}
