//! What bitcoind answers, read into types of ours.

use std::collections::BTreeMap;

use bitcoin::{Amount, BlockHash, Denomination, Network, OutPoint, ScriptBuf, Txid};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::ChainInfo;
use crate::Fault;

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

#[derive(Deserialize)]
pub(super) struct Package {
    package_msg: String,
    #[serde(rename = "tx-results", default)]
    results: BTreeMap<String, PackageResult>,
}

#[derive(Deserialize)]
struct PackageResult {
    error: Option<String>,
}

impl Package {
    /// # Errors
    /// What bitcoind says against the package, or against the first transaction in it that it refuses.
    pub(super) fn read(self) -> Result<(), Fault> {
        /// "Transaction or block was rejected by network rules".
        const VERIFY_REJECTED: i64 = -26;
        if self.package_msg == "success" {
            return Ok(());
        }
        let detail = self.results.into_values().find_map(|result| result.error);
        let message = match detail {
            Some(detail) => format!("{}: {detail}", self.package_msg),
            None => self.package_msg,
        };
        Err(Fault::BitcoindRefused {
            method: "submitpackage",
            code: VERIFY_REJECTED,
            message,
        })
    }
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

    #[test]
    fn a_package_is_taken_whole_or_says_why_not() {
        let read = |text: &str| {
            serde_json::from_str::<Package>(text)
                .expect("it is JSON")
                .read()
        };
        assert!(read(r#"{"package_msg":"success","tx-results":{}}"#).is_ok());
        let refused = read(
            r#"{"package_msg":"transaction failed","tx-results":{"a":{"txid":"b"},"c":{"error":"min relay fee not met"}}}"#,
        );
        let message = refused.expect_err("it was refused").to_string();
        assert!(
            message.contains("transaction failed: min relay fee not met"),
            "{message}"
        );
    }
}
