//! What became of transactions handed in together, as bitcoind says it and Esplora passes it on.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::SourceKind;
use crate::Fault;

#[derive(Deserialize)]
pub(crate) struct Package {
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
    /// What is said against the package, or against the first transaction in it that it refuses.
    pub(crate) fn read(self, kind: SourceKind, method: &'static str) -> Result<(), Fault> {
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
        Err(Fault::SourceRefused {
            kind,
            method,
            code: VERIFY_REJECTED,
            message,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_taken_whole_or_says_why_not() {
        let read = |text: &str| {
            serde_json::from_str::<Package>(text)
                .expect("it is JSON")
                .read(SourceKind::Bitcoind, "submitpackage")
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
