//! What an Esplora server answers, read into types of ours. No I/O here.

use std::collections::BTreeMap;
use std::str::FromStr;

use bitcoin::block::Header;
use bitcoin::consensus::encode::{deserialize, deserialize_hex};
use bitcoin::{Block, BlockHash, FeeRate, OutPoint, Transaction, Txid};
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::http::{nonsense, shown};
use crate::Fault;
use crate::chain::{FeeTarget, SourceKind};

/// The height from which on a block's first transaction says its height by a push of bytes; below, an opcode does.
const PUSHED_HEIGHT_MIN: u64 = 17;

/// `/block/:hash/status`
#[derive(Deserialize)]
pub(super) struct BlockStatus {
    pub(super) in_best_chain: bool,
    pub(super) height: Option<u32>,
}

/// `/tx/:txid/status`
#[derive(Deserialize)]
pub(super) struct TxStatus {
    pub(super) confirmed: bool,
    pub(super) block_height: Option<u32>,
}

/// `/tx/:txid/outspend/:vout`
#[derive(Deserialize)]
pub(super) struct Outspend {
    pub(super) spent: bool,
}

/// `/tx/:txid`, of which only this is not better read from the transaction itself.
#[derive(Deserialize)]
pub(super) struct TxView {
    /// Satoshi.
    pub(super) fee: u64,
    pub(super) status: TxStatus,
}

/// One of `/scripthash/:hash/utxo`
#[derive(Deserialize)]
pub(super) struct Utxo {
    txid: Txid,
    vout: u32,
    status: TxStatus,
}

impl Utxo {
    /// None while it is in no block.
    pub(super) fn confirmed(&self) -> Option<OutPoint> {
        self.status.confirmed.then_some(OutPoint {
            txid: self.txid,
            vout: self.vout,
        })
    }
}

/// # Errors
/// [`Fault::Nonsense`].
pub(super) fn json<T: DeserializeOwned>(method: &'static str, body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| nonsense(method, error))
}

/// # Errors
/// [`Fault::Nonsense`].
pub(super) fn parsed<T: FromStr>(method: &'static str, text: &str) -> Result<T, Fault>
where
    T::Err: std::fmt::Display,
{
    let text = text.trim();
    let unreadable = |error| nonsense(method, format!("`{}`: {error}", shown(text)));
    text.parse().map_err(unreadable)
}

/// A header, which has to be the one asked for.
///
/// # Errors
/// [`Fault::Nonsense`].
pub(super) fn header(method: &'static str, text: &str, hash: BlockHash) -> Result<Header, Fault> {
    let header: Header = deserialize_hex(text.trim()).map_err(|error| nonsense(method, error))?;
    match header.block_hash() == hash {
        true => Ok(header),
        false => Err(nonsense(method, "it is another header than was asked for")),
    }
}

/// A block, which has to be the one asked for, and whole: its header has the proof of work and names all that is in it.
///
/// # Errors
/// [`Fault::Nonsense`].
pub(super) fn block(
    method: &'static str,
    bytes: &[u8],
    hash: BlockHash,
    height: Option<u32>,
) -> Result<Block, Fault> {
    let block: Block = deserialize(bytes).map_err(|error| nonsense(method, error))?;
    let bad = |what: String| Err(nonsense(method, what));
    if block.block_hash() != hash {
        return bad("it is another block than was asked for".to_owned());
    }
    if let Err(error) = block.header.validate_pow(block.header.target()) {
        return bad(format!("its proof of work does not hold: {error}"));
    }
    if !block.check_merkle_root() {
        return bad("its transactions are not those that its header names".to_owned());
    }
    if !block.check_witness_commitment() {
        return bad("its witnesses are not those that it names".to_owned());
    }
    match (block.bip34_block_height(), height) {
        (Ok(said), Some(height)) if said >= PUSHED_HEIGHT_MIN && said != u64::from(height) => bad(
            format!("it says that its height is {said}, and not {height}"),
        ),
        _ => Ok(block),
    }
}

/// # Errors
/// [`Fault::Nonsense`].
pub(super) fn transaction(
    method: &'static str,
    bytes: &[u8],
    txid: Txid,
) -> Result<Transaction, Fault> {
    let transaction: Transaction = deserialize(bytes).map_err(|error| nonsense(method, error))?;
    match transaction.compute_txid() == txid {
        true => Ok(transaction),
        false => Err(nonsense(
            method,
            "it is another transaction than was asked for",
        )),
    }
}

/// `/fee-estimates`: rates in satoshi per virtual byte, by the blocks within which they are enough.
pub(super) struct Estimates(BTreeMap<u16, FeeRate>);

impl Estimates {
    /// # Errors
    /// [`Fault::Nonsense`].
    pub(super) fn read(method: &'static str, body: &[u8]) -> Result<Self, Fault> {
        let rates: BTreeMap<String, Box<RawValue>> = json(method, body)?;
        let mut read = BTreeMap::new();
        for (blocks, rate) in rates {
            let blocks = parsed(method, &blocks)?;
            let rate = fee_rate(rate.get());
            let no_rate = || nonsense(method, "a rate is no number with a decimal point");
            read.insert(blocks, rate.ok_or_else(no_rate)?);
        }
        Ok(Self(read))
    }

    /// The rate for that target, or for the nearest sooner one; for none so soon, that of the soonest.
    pub(super) fn of(&self, target: FeeTarget) -> Option<FeeRate> {
        let sooner = self.0.range(..=target.blocks).next_back();
        let (_, rate) = sooner.or_else(|| self.0.iter().next())?;
        Some(*rate)
    }
}

/// Reads satoshi per virtual byte digit by digit, rounded up to a thousandth; no floating point is near it.
fn fee_rate(number: &str) -> Option<FeeRate> {
    const PLACES: usize = 3;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) {
        return None;
    }
    let (kept, rest) = part.split_at(part.len().min(PLACES));
    let thousandths: u64 = format!("{whole}{kept:0<PLACES$}").parse().ok()?;
    let up = u64::from(rest.bytes().any(|byte| byte != b'0'));
    // A thousandth of a satoshi per virtual byte is a satoshi per 4,000 weight units.
    let per_4000 = thousandths.checked_add(up)?;
    Some(FeeRate::from_sat_per_kwu(per_4000.div_ceil(4)))
}

/// Why a transaction was not taken: bitcoind's own words, when the server passes them on.
pub(super) fn refusal(method: &'static str, status: StatusCode, text: &str) -> Fault {
    #[derive(Deserialize)]
    struct Refusal {
        code: i64,
        message: String,
    }
    let passed_on = text.find('{').and_then(|start| {
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Refusal>();
        values.next()?.ok()
    });
    let (code, message) = match passed_on {
        Some(Refusal { code, message }) => (code, shown(&message)),
        None => (i64::from(status.as_u16()), shown(text)),
    };
    Fault::SourceRefused {
        kind: SourceKind::Esplora,
        method,
        code,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(number: &str) -> Option<u64> {
        fee_rate(number).map(FeeRate::to_sat_per_kwu)
    }

    #[test]
    fn rates_are_read_digit_by_digit_and_rounded_up() {
        assert_eq!(rate("1.0"), Some(250));
        assert_eq!(rate("87.882"), Some(21_971));
        assert_eq!(rate("2"), Some(500));
        assert_eq!(rate("1.0040000000000002"), Some(252));
        for bad in ["", "-1", "1e3", "1.", ".5", "NaN", "99999999999999999999"] {
            assert_eq!(rate(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_estimate_for_a_target_is_that_of_the_nearest_sooner_one() {
        // From Esplora's documentation of its API.
        let body = br#"{ "1": 87.882, "2": 87.882, "3": 87.882, "4": 87.882, "5": 81.129, "6": 68.285, "144": 1.027, "504": 1.027, "1008": 1.027 }"#;
        let estimates = Estimates::read("/fee-estimates", body).expect("it is as documented");
        let of = |blocks| {
            estimates
                .of(FeeTarget { blocks })
                .map(FeeRate::to_sat_per_kwu)
        };
        assert_eq!(of(1), Some(21_971));
        assert_eq!(of(12), Some(17_072));
        assert_eq!(of(1_008), Some(257));
        let none = Estimates::read("/fee-estimates", b"{}").expect("it is empty");
        assert_eq!(none.of(FeeTarget { blocks: 6 }), None);
        for bad in [
            "[]",
            "null",
            r#"{"1":"x"}"#,
            r#"{"x":1.0}"#,
            r#"{"1":-1.0}"#,
        ] {
            assert!(
                Estimates::read("/fee-estimates", bad.as_bytes()).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn bitcoinds_own_words_are_passed_on() {
        let said = |text: &str| match refusal("/tx", StatusCode::BAD_REQUEST, text) {
            Fault::SourceRefused { code, message, .. } => (code, message),
            other => panic!("{other}"),
        };
        let passed = r#"sendrawtransaction RPC error: {"code":-26,"message":"min relay fee not met, 0 < 110"}"#;
        assert_eq!(said(passed), (-26, "min relay fee not met, 0 < 110".into()));
        assert_eq!(said("no\nway {"), (400, "no way {".into()));
    }
}
