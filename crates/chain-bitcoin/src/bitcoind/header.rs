//! Headers, as bitcoind tells them.

use std::str::FromStr;

use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, CompactTarget, TxMerkleNode, Work};
use lightning_block_sync::BlockHeaderData;
use serde::Deserialize;
use serde_json::json;

use super::Bitcoind;
use crate::Fault;

const METHOD: &str = "getblockheader";

impl Bitcoind {
    pub(crate) async fn header(&self, hash: BlockHash) -> Result<BlockHeaderData, Fault> {
        let view: HeaderView = self.call(METHOD, &[json!(hash)]).await?;
        let data = view.read()?;
        if data.header.block_hash() != hash {
            return Err(nonsense("it is another header"));
        }
        Ok(data)
    }
}

fn nonsense(what: &str) -> Fault {
    Fault::Nonsense {
        method: METHOD,
        what: what.to_owned(),
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
