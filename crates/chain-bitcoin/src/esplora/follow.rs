//! Following the server's chain: from its tip down to what we know.

use std::collections::BTreeMap;
use std::time::Instant;

use bitcoin::BlockHash;
use bitcoin::block::Header;
use lightning_block_sync::BlockHeaderData;

use super::headers::{self, Headers};
use super::http::nonsense;
use super::kept::Kept;
use super::{Esplora, answers};
use crate::Fault;
use crate::chain::{BlockPlace, SourceKind};

/// Headers that are fetched one by one to lead a block back to one that we know: a year of blocks.
const HEADERS_AT_ONCE_MAX: usize = 52_560;
/// How many headers are fetched at the very first: no reorg that a deposit may live to see is as deep.
const BEGIN_DEPTH: usize = 144;
/// The question for a block's height.
const STATUS: &str = "/block/:hash/status";

/// Where a header lies whose parent is not known.
enum Place {
    /// It is known now.
    Known,
    /// On the server's chain, higher than the lowest that we know.
    Above,
    /// On a chain that the server has left.
    Aside,
}

pub(super) struct Chain {
    pub(super) headers: Headers,
    kept: Kept,
    /// What lies under the tip that the server named last, by height.
    pub(super) best: BTreeMap<u32, BlockHash>,
    pub(super) told: Option<Instant>,
}

impl Esplora {
    /// Asks for the tip, and fetches the headers that lead from it to what we know. What comes of it is the chain with the
    /// most work of those that were named.
    pub(super) async fn ask_tip(&self) -> Result<BlockPlace, Fault> {
        const METHOD: &str = "/blocks/tip/hash";
        let _alone = self.following.lock().await;
        let text = self.text(METHOD, METHOD).await?;
        let text = text.ok_or_else(|| nonsense(METHOD, "it has none"))?;
        let data = self.lead_back(answers::parsed(METHOD, &text)?).await?;
        Ok(self.chain().follow(&data))
    }

    /// A block's header, once it stands on what we know. Not to be called by two at once.
    pub(super) async fn lead_back(&self, hash: BlockHash) -> Result<BlockHeaderData, Fault> {
        let is_empty = self.chain().headers.lowest().is_none();
        if is_empty {
            self.begin(hash).await?;
        }
        let mut above = Vec::new();
        let mut at = hash;
        let mut is_above = false;
        while self.get(at).is_none() {
            let header = self.fetch_header(at).await?;
            let parent = header.prev_blockhash;
            if !is_above && self.get(parent).is_none() {
                match self.place(at, &header).await? {
                    Place::Known => break,
                    Place::Above => is_above = true,
                    Place::Aside => {}
                }
            }
            if above.len() == HEADERS_AT_ONCE_MAX || headers::is_first(&header) {
                return Err(self.other_chain());
            }
            above.push(header);
            at = parent;
        }
        for header in above.into_iter().rev() {
            self.chain().put_above(header)?;
        }
        self.get(hash).ok_or_else(|| self.other_chain())
    }

    /// Takes a block and those right below it for what all others have to lead to.
    async fn begin(&self, hash: BlockHash) -> Result<(), Fault> {
        let height = self.height_of(hash).await?;
        let height = height.ok_or(Fault::BlockGone { hash })?;
        // The one height that does not follow from others is said by the block itself.
        self.fetch_block(hash, Some(height)).await?;
        let mut lowest = self.fetch_header(hash).await?;
        let mut above = Vec::new();
        while above.len() < BEGIN_DEPTH && !headers::is_first(&lowest) {
            let below = self.fetch_header(lowest.prev_blockhash).await?;
            above.push(std::mem::replace(&mut lowest, below));
        }
        let depth = u32::try_from(above.len()).expect("it is no more than BEGIN_DEPTH");
        let too_low = || nonsense(STATUS, "its height is less than there are blocks below it");
        let height = height.checked_sub(depth).ok_or_else(too_low)?;
        let mut chain = self.chain();
        chain.begin(lowest, height)?;
        above
            .into_iter()
            .rev()
            .try_for_each(|header| chain.put_above(header))
    }

    /// Where a header lies whose parent we do not know. It becomes known when it lies under the lowest that we know.
    async fn place(&self, hash: BlockHash, header: &Header) -> Result<Place, Fault> {
        let (lowest, below) = {
            let chain = self.chain();
            (chain.headers.lowest(), chain.headers.below_lowest())
        };
        if below == Some(hash) {
            self.chain().put_below(*header)?;
            return Ok(Place::Known);
        }
        let Some(height) = self.height_of(hash).await? else {
            return Ok(Place::Aside);
        };
        let under = lowest.and_then(|lowest| lowest.height.checked_sub(height));
        let Some(under) = under.filter(|under| *under > 0) else {
            return Ok(Place::Above);
        };
        self.go_down(under).await?;
        let is_known = self.get(hash).is_some();
        Ok(if is_known { Place::Known } else { Place::Aside })
    }

    /// The height of a block of the server's chain; none of one that it has left, or never had.
    async fn height_of(&self, hash: BlockHash) -> Result<Option<u32>, Fault> {
        let Some(text) = self.text(STATUS, &format!("/block/{hash}/status")).await? else {
            return Ok(None);
        };
        let status: answers::BlockStatus = answers::json(STATUS, text.as_bytes())?;
        Ok(status.height.filter(|_| status.in_best_chain))
    }

    /// Fetches that many headers below the lowest that we know.
    async fn go_down(&self, headers: u32) -> Result<(), Fault> {
        for _ in 0..headers {
            let below = self.chain().headers.below_lowest();
            let below = below.ok_or_else(|| self.other_chain())?;
            let header = self.fetch_header(below).await?;
            self.chain().put_below(header)?;
        }
        Ok(())
    }

    async fn fetch_header(&self, hash: BlockHash) -> Result<Header, Fault> {
        const METHOD: &str = "/block/:hash/header";
        let text = self.text(METHOD, &format!("/block/{hash}/header")).await?;
        answers::header(METHOD, &text.ok_or(Fault::BlockGone { hash })?, hash)
    }

    fn other_chain(&self) -> Fault {
        Fault::WrongNetwork {
            kind: SourceKind::Esplora,
            expected: self.settings.network.to_string(),
            found: "a chain that does not lead to the blocks that we know".to_owned(),
        }
    }
}

impl Chain {
    pub(super) fn new(kept: Kept, headers: Headers) -> Self {
        Self {
            headers,
            kept,
            best: BTreeMap::new(),
            told: None,
        }
    }

    fn begin(&mut self, header: Header, height: u32) -> Result<(), Fault> {
        self.keep(self.headers.first(header, height))
    }

    fn put_above(&mut self, header: Header) -> Result<(), Fault> {
        self.keep(self.headers.above(header))
    }

    fn put_below(&mut self, header: Header) -> Result<(), Fault> {
        self.keep(self.headers.below(header))
    }

    /// It is on disk before it is used.
    fn keep(&mut self, fits: Result<BlockHeaderData, String>) -> Result<(), Fault> {
        let data = fits.map_err(|what| nonsense("/block/:hash/header", what))?;
        self.kept.add(&data.header, data.height)?;
        self.headers.insert(data);
        Ok(())
    }

    /// Takes a block, which is known, for the tip if there is more work in it than in the one before: a server that falls
    /// back, or that names a chain of less work, takes nothing away. The tip then.
    fn follow(&mut self, named: &BlockHeaderData) -> BlockPlace {
        self.told = Some(Instant::now());
        let before = self.tip().and_then(|tip| self.headers.get(tip.hash));
        if before.is_none_or(|before| named.chainwork > before.chainwork) {
            self.best.retain(|height, _| *height <= named.height);
            for place in self.headers.downwards(named.header.block_hash()) {
                if self.best.insert(place.height, place.hash) == Some(place.hash) {
                    break;
                }
            }
        }
        self.tip().expect("there is one now")
    }

    pub(super) fn tip(&self) -> Option<BlockPlace> {
        let (height, hash) = self.best.last_key_value()?;
        let (height, hash) = (*height, *hash);
        Some(BlockPlace { height, hash })
    }
}
