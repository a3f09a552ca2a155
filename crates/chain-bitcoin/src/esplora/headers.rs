//! The headers that we know: a tree in which each but the lowest stands on another, and all carry their proof of work.
//!
//! No I/O here. An Esplora server is not asked what can be reckoned: the height and the work of a block follow from the
//! block below it.

use std::collections::HashMap;

use bitcoin::block::Header;
use bitcoin::consensus::Params;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Network, Target, Work};
use lightning_block_sync::BlockHeaderData;

use crate::chain::BlockPlace;

pub(super) struct Headers {
    params: Params,
    known: HashMap<BlockHash, BlockHeaderData>,
    lowest: Option<BlockPlace>,
}

impl Headers {
    pub(super) fn new(network: Network) -> Self {
        Self {
            params: Params::new(network),
            known: HashMap::new(),
            lowest: None,
        }
    }

    pub(super) fn get(&self, hash: BlockHash) -> Option<BlockHeaderData> {
        self.known.get(&hash).copied()
    }

    /// The header that stands on none that we know.
    pub(super) fn lowest(&self) -> Option<BlockPlace> {
        self.lowest
    }

    /// The hash of the block below the lowest.
    pub(super) fn below_lowest(&self) -> Option<BlockHash> {
        let lowest = self.get(self.lowest?.hash)?;
        Some(lowest.header.prev_blockhash)
    }

    /// The first header, with the height that it is said to have.
    ///
    /// # Errors
    /// Why it can be none of this network's.
    pub(super) fn first(&self, header: Header, height: u32) -> Result<BlockHeaderData, String> {
        self.check_work(&header)?;
        let mut work = [0; 32];
        // Only differences count. This leaves room above for ages, and below for all that is there.
        work[8] = 1;
        Ok(BlockHeaderData {
            header,
            height,
            chainwork: Work::from_be_bytes(work),
        })
    }

    /// A header whose parent is known.
    ///
    /// # Errors
    /// Why it cannot stand there.
    pub(super) fn above(&self, header: Header) -> Result<BlockHeaderData, String> {
        let parent = self.get(header.prev_blockhash);
        let parent = parent.ok_or("the block below it is not known")?;
        let height = parent.height.checked_add(1).ok_or("it is too high")?;
        self.check_work(&header)?;
        self.check_difficulty(&parent.header, &header, height)?;
        let chainwork = parent.chainwork + header.work();
        Ok(BlockHeaderData {
            header,
            height,
            chainwork,
        })
    }

    /// The header of [`Self::below_lowest`].
    ///
    /// # Errors
    /// Why it cannot stand there.
    pub(super) fn below(&self, header: Header) -> Result<BlockHeaderData, String> {
        let lowest = self.lowest.and_then(|place| self.get(place.hash));
        let lowest = lowest.ok_or("nothing is known yet")?;
        if lowest.header.prev_blockhash != header.block_hash() {
            return Err("it is not the block below the lowest known".into());
        }
        let height = lowest.height.checked_sub(1).ok_or("it is below block 0")?;
        self.check_work(&header)?;
        self.check_difficulty(&header, &lowest.header, lowest.height)?;
        let chainwork = lowest.chainwork - lowest.header.work();
        Ok(BlockHeaderData {
            header,
            height,
            chainwork,
        })
    }

    /// Takes what one of the three above has made.
    pub(super) fn insert(&mut self, data: BlockHeaderData) {
        let BlockHeaderData { header, height, .. } = data;
        let hash = header.block_hash();
        if self.lowest.is_none_or(|lowest| height < lowest.height) {
            self.lowest = Some(BlockPlace { height, hash });
        }
        self.known.insert(hash, data);
    }

    /// The blocks from this one downwards, as far as they are known.
    pub(super) fn downwards(&self, from: BlockHash) -> impl Iterator<Item = BlockPlace> + '_ {
        let first = self.get(from);
        let chain = std::iter::successors(first, |data| self.get(data.header.prev_blockhash));
        chain.map(|data| BlockPlace {
            height: data.height,
            hash: data.header.block_hash(),
        })
    }

    fn check_work(&self, header: &Header) -> Result<(), String> {
        let target = header.target();
        if target > self.params.max_attainable_target {
            return Err("it asks for less work than any block of this network".into());
        }
        let proven = header.validate_pow(target).map(drop);
        proven.map_err(|error| format!("its proof of work does not hold: {error}"))
    }

    /// What one block's difficulty says about the next. Networks whose difficulty may fall at any block say nothing.
    fn check_difficulty(&self, below: &Header, above: &Header, height: u32) -> Result<(), String> {
        let params = &self.params;
        if params.no_pow_retargeting || !params.allow_min_difficulty_blocks {
            let at_retarget =
                u64::from(height).is_multiple_of(params.difficulty_adjustment_interval());
            if params.no_pow_retargeting || !at_retarget {
                return match above.bits == below.bits {
                    true => Ok(()),
                    false => Err(format!("its difficulty changes at height {height}")),
                };
            }
            let lowest = below.target().min_transition_threshold();
            // As a header writes it down, which rounds it off.
            let lowest = Target::from_compact(lowest.to_compact_lossy());
            let highest = below.target().max_transition_threshold(params);
            if above.target() < lowest || above.target() > highest {
                return Err(format!(
                    "its difficulty changes by more than it can at height {height}"
                ));
            }
        }
        Ok(())
    }
}

/// Whether a block has no parent.
pub(super) fn is_first(header: &Header) -> bool {
    header.prev_blockhash == BlockHash::all_zeros()
}

#[cfg(test)]
pub(super) mod tests {
    use bitcoin::CompactTarget;
    use bitcoin::consensus::encode::deserialize_hex;
    use bitcoin::constants::genesis_block;

    use super::*;

    /// The main network's blocks 0 to 2.
    pub(in super::super) fn mainnet() -> [Header; 3] {
        let read = |hex: &str| deserialize_hex(hex).expect("a header");
        [
            genesis_block(Network::Bitcoin).header,
            read(
                "010000006fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000982051fd1e4ba744bbbe680e1fee14677ba1a3c3540bf7b1cdb606e857233e0e61bc6649ffff001d01e36299",
            ),
            read(
                "010000004860eb18bf1b1620e37e9490fc8a427514416fd75159ab86688e9a8300000000d5fdcc541e25de1c7a5addedf24858b8bb665c9f36ef744ee42c316022c90f9bb0bc6649ffff001d08d2bd61",
            ),
        ]
    }

    /// A block of regtest on another, with the work that its difficulty asks for.
    pub(in super::super) fn mined(below: &Header, bits: CompactTarget, number: u32) -> Header {
        let mut header = Header {
            prev_blockhash: below.block_hash(),
            time: below.time + number,
            bits,
            nonce: 0,
            ..*below
        };
        while header.validate_pow(header.target()).is_err() {
            header.nonce += 1;
        }
        header
    }

    fn put(headers: &mut Headers, data: Result<BlockHeaderData, String>) {
        headers.insert(data.expect("it fits"));
    }

    #[test]
    fn a_tree_grows_both_ways_from_its_first_header() {
        let [zero, one, two] = mainnet();
        let mut headers = Headers::new(Network::Bitcoin);
        let data = headers.first(one, 1);
        put(&mut headers, data);
        assert!(headers.below(two).is_err() && headers.above(zero).is_err());
        let data = headers.above(two);
        put(&mut headers, data);
        let data = headers.below(zero);
        put(&mut headers, data);
        let heights: Vec<_> = headers.downwards(two.block_hash()).collect();
        assert!(heights.iter().map(|place| place.height).eq([2, 1, 0]));
        assert_eq!(headers.lowest().map(|place| place.height), Some(0));
        let work = |header: &Header| headers.get(header.block_hash()).expect("known").chainwork;
        assert_eq!(work(&two) - work(&zero), one.work() + two.work());
        // Nothing is below block 0, whatever is said.
        assert!(headers.below(one).is_err());
    }

    #[test]
    fn a_header_without_its_work_or_with_another_difficulty_has_no_place() {
        let [zero, one, _] = mainnet();
        let mut headers = Headers::new(Network::Bitcoin);
        let data = headers.first(zero, 0);
        put(&mut headers, data);
        let lazy = Header {
            nonce: one.nonce ^ 1,
            ..one
        };
        let why = headers.above(lazy).expect_err("it has no work");
        assert!(why.contains("proof of work"), "{why}");
        // The work of regtest is no work on the main network.
        let easy = CompactTarget::from_consensus(0x207f_ffff);
        let why = headers.above(mined(&zero, easy, 1)).expect_err("too easy");
        assert!(why.contains("less work than any block"), "{why}");

        let zero = genesis_block(Network::Regtest).header;
        let mut headers = Headers::new(Network::Regtest);
        let data = headers.first(zero, 0);
        put(&mut headers, data);
        let harder = CompactTarget::from_consensus(0x2000_ffff);
        let why = headers
            .above(mined(&zero, harder, 1))
            .expect_err("regtest never changes");
        assert!(why.contains("changes at height 1"), "{why}");
        assert!(headers.above(mined(&zero, zero.bits, 1)).is_ok());
    }

    #[test]
    fn difficulty_changes_each_2016_blocks_alone_and_fourfold_at_most() {
        let headers = Headers::new(Network::Bitcoin);
        let with = |bits| Header {
            bits: CompactTarget::from_consensus(bits),
            ..genesis_block(Network::Bitcoin).header
        };
        // Of blocks 32,255 and 32,256: the first change that there was.
        let (before, after) = (with(0x1d00_ffff), with(0x1d00_d86a));
        assert!(headers.check_difficulty(&before, &after, 32_256).is_ok());
        assert!(headers.check_difficulty(&before, &after, 32_255).is_err());
        let fourfold = with(0x1c3f_ffc0);
        assert!(headers.check_difficulty(&before, &fourfold, 32_256).is_ok());
        let more = with(0x1c3f_ff00);
        assert!(headers.check_difficulty(&before, &more, 32_256).is_err());
        // On a test network that lets difficulty fall, any may follow.
        let headers = Headers::new(Network::Testnet4);
        assert!(headers.check_difficulty(&after, &before, 32_255).is_ok());
    }
}
