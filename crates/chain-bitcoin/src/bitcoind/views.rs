//! What bitcoind answers, read into types of ours.

use bitcoin::{Amount, BlockHash, Denomination, Network, OutPoint, ScriptBuf, Txid};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Fault;
use crate::chain::{BlockPlace, ChainInfo, SourceKind, Unspent};

#[derive(Deserialize)]
pub(super) struct BlockchainInfo {
    /// The network, as bitcoind's options name it.
    chain: String,
    blocks: u32,
    headers: u32,
    #[serde(rename = "bestblockhash")]
    hash: BlockHash,
    time: u64,
    #[serde(rename = "initialblockdownload")]
    downloading: bool,
}

impl BlockchainInfo {
    /// # Errors
    /// [`Fault::WrongNetwork`].
    pub(super) fn expect_on(&self, network: Network) -> Result<(), Fault> {
        if self.chain == network.to_core_arg() {
            return Ok(());
        }
        let found = Network::from_core_arg(&self.chain);
        Err(Fault::WrongNetwork {
            kind: SourceKind::Bitcoind,
            expected: network.to_string(),
            found: found.map_or_else(|_| self.chain.clone(), |network| network.to_string()),
        })
    }

    pub(super) fn tip(&self) -> BlockPlace {
        BlockPlace {
            height: self.blocks,
            hash: self.hash,
        }
    }

    pub(super) fn read(&self, genesis: BlockHash) -> ChainInfo {
        ChainInfo {
            genesis,
            tip: self.tip(),
            headers: self.headers,
            tip_time_s: self.time,
            downloading: self.downloading,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct TxOut {
    value: Box<RawValue>,
    #[serde(rename = "scriptPubKey")]
    script: Script,
    confirmations: u32,
}

#[derive(Deserialize)]
struct Script {
    hex: ScriptBuf,
}

impl TxOut {
    pub(super) fn read(self) -> Result<Unspent, Fault> {
        Ok(Unspent {
            value: bitcoins("gettxout", &self.value)?,
            script: self.script.hex,
            confirmations: self.confirmations,
        })
    }
}

#[derive(Deserialize)]
pub(super) struct Scan {
    unspents: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    txid: Txid,
    vout: u32,
    #[serde(rename = "scriptPubKey")]
    script: ScriptBuf,
    amount: Box<RawValue>,
}

impl Scan {
    pub(super) fn read(self) -> Result<Vec<(OutPoint, bitcoin::TxOut)>, Fault> {
        let read = |found: Found| {
            let outpoint = OutPoint {
                txid: found.txid,
                vout: found.vout,
            };
            let output = bitcoin::TxOut {
                value: bitcoins("scantxoutset", &found.amount)?,
                script_pubkey: found.script,
            };
            Ok((outpoint, output))
        };
        self.unspents.into_iter().map(read).collect()
    }
}

#[derive(Deserialize)]
pub(super) struct MempoolEntry {
    fees: Fees,
}

#[derive(Deserialize)]
struct Fees {
    base: Box<RawValue>,
}

impl MempoolEntry {
    pub(super) fn fee(&self) -> Result<Amount, Fault> {
        bitcoins("getmempoolentry", &self.fees.base)
    }
}

/// Reads the digits of an amount in bitcoins, which JSON calls a number; no floating point is near it.
pub(super) fn bitcoins(method: &'static str, number: &RawValue) -> Result<Amount, Fault> {
    Amount::from_str_in(number.get(), Denomination::Bitcoin).map_err(|error| Fault::Nonsense {
        method,
        what: format!("{} is no amount: {error}", number.get()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount_of(text: &str) -> Option<u64> {
        let number: Box<RawValue> = serde_json::from_str(text).expect("it is JSON");
        bitcoins("gettxout", &number).ok().map(Amount::to_sat)
    }

    #[test]
    fn amounts_are_read_digit_by_digit() {
        // The second has no double that is near enough to be multiplied by 10^8 and cut.
        assert_eq!(amount_of("50.00000000"), Some(5_000_000_000));
        assert_eq!(amount_of("20999999.99999997"), Some(2_099_999_999_999_997));
        assert_eq!(amount_of("0.00000001"), Some(1));
        for bad in ["-1.0", "0.000000001", "\"1\"", "1e-5"] {
            assert_eq!(amount_of(bad), None, "{bad}");
        }
    }
}
