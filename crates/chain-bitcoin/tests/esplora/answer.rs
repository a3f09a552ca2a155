//! What `electrs` answers, made of what bitcoind says: the same words, and no block that is not of the best chain.

use bitcoin::hashes::{Hash, sha256};
use bitcoin::hex::FromHex;
use forebay_chain_bitcoin::Fault;
use forebay_chain_bitcoin::bitcoind::Bitcoind;
use serde_json::{Value, json};

use super::gateway::Reply;

type Answer = Result<Reply, Fault>;

pub(super) async fn to(bitcoind: &Bitcoind, method: &str, path: &str, body: &str) -> Reply {
    let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let answer = match (method, words.as_slice()) {
        ("GET", ["blocks", "tip", "hash"]) => text(bitcoind, "getbestblockhash", &[]).await,
        ("GET", ["block-height", height]) => {
            let height = json!(height.parse::<u32>().unwrap_or(u32::MAX));
            text(bitcoind, "getblockhash", &[height]).await
        }
        ("GET", ["block", hash, what]) => block(bitcoind, hash, what).await,
        ("GET", ["tx", txid]) => transaction(bitcoind, txid).await,
        ("GET", ["tx", txid, "raw"]) => {
            bytes(bitcoind, "getrawtransaction", &[json!(txid), json!(false)]).await
        }
        ("GET", ["tx", txid, "status"]) => status(bitcoind, txid).await.map(|found| ok(&found)),
        ("GET", ["tx", txid, "outspend", vout]) => {
            let vout = json!(vout.parse::<u32>().unwrap_or(u32::MAX));
            let unspent: Result<Value, Fault> =
                bitcoind.call("gettxout", &[json!(txid), vout]).await;
            unspent.map(|unspent| ok(&json!({ "spent": unspent.is_null() })))
        }
        ("GET", ["scripthash", hash, "utxo"]) => outputs(bitcoind, hash).await,
        // As a server says whose bitcoind has no estimates.
        ("GET", ["fee-estimates"]) => Ok(ok(&json!({}))),
        ("POST", ["tx"]) => hand_in(bitcoind, "sendrawtransaction", json!(body)).await,
        ("POST", ["txs", "package"]) => {
            let transactions = serde_json::from_str(body).unwrap_or(Value::Null);
            hand_in(bitcoind, "submitpackage", transactions).await
        }
        _ => Ok(Reply::new(404, "endpoint does not exist")),
    };
    answer.unwrap_or_else(|fault| match fault {
        Fault::SourceRefused { .. } => Reply::new(404, "not found"),
        fault => Reply::new(500, fault.to_string()),
    })
}

fn ok(value: &Value) -> Reply {
    match value {
        Value::String(text) => Reply::new(200, text.clone()),
        other => Reply::new(200, other.to_string()),
    }
}

async fn text(bitcoind: &Bitcoind, method: &'static str, parameters: &[Value]) -> Answer {
    let value: Value = bitcoind.call(method, parameters).await?;
    Ok(ok(&value))
}

async fn bytes(bitcoind: &Bitcoind, method: &'static str, parameters: &[Value]) -> Answer {
    let hex: String = bitcoind.call(method, parameters).await?;
    Ok(Reply::new(
        200,
        Vec::from_hex(&hex).expect("bitcoind says hex"),
    ))
}

async fn block(bitcoind: &Bitcoind, hash: &str, what: &str) -> Answer {
    let header: Result<Value, Fault> = bitcoind.call("getblockheader", &[json!(hash)]).await;
    let best = header
        .ok()
        .filter(|header| header["confirmations"] != json!(-1));
    match (what, best) {
        ("status", best) => Ok(ok(&json!({
            "in_best_chain": best.is_some(),
            "height": best.map(|header| header["height"].clone()),
        }))),
        (_, None) => Ok(Reply::new(404, "Block not found")),
        ("header", Some(_)) => text(bitcoind, "getblockheader", &[json!(hash), json!(false)]).await,
        ("raw", Some(_)) => bytes(bitcoind, "getblock", &[json!(hash), json!(0)]).await,
        _ => Ok(Reply::new(404, "endpoint does not exist")),
    }
}

/// Looks through the whole chain.
async fn outputs(bitcoind: &Bitcoind, script: &str) -> Answer {
    let mut found = Vec::new();
    for height in 1..=bitcoind.tip().await?.height {
        let hash = bitcoind
            .block_hash(height)
            .await?
            .expect("it is below the tip");
        for transaction in bitcoind.block(hash).await?.txdata {
            let txid = transaction.compute_txid();
            for (vout, output) in (0_u32..).zip(&transaction.output) {
                let is_it =
                    sha256::Hash::hash(output.script_pubkey.as_bytes()).to_string() == script;
                let unspent: Value = match is_it {
                    true => {
                        bitcoind
                            .call("gettxout", &[json!(txid), json!(vout)])
                            .await?
                    }
                    false => Value::Null,
                };
                if !unspent.is_null() {
                    let status = json!({ "confirmed": true, "block_height": height });
                    found.push(json!({ "txid": txid, "vout": vout, "status": status }));
                }
            }
        }
    }
    Ok(ok(&json!(found)))
}

async fn status(bitcoind: &Bitcoind, txid: &str) -> Result<Value, Fault> {
    let parameters = [json!(txid), json!(true)];
    let found: Value = bitcoind.call("getrawtransaction", &parameters).await?;
    let Some(hash) = found["blockhash"].as_str() else {
        return Ok(json!({ "confirmed": false }));
    };
    let header: Value = bitcoind.call("getblockheader", &[json!(hash)]).await?;
    Ok(json!({ "confirmed": true, "block_height": header["height"], "block_hash": hash }))
}

async fn transaction(bitcoind: &Bitcoind, txid: &str) -> Answer {
    let status = status(bitcoind, txid).await?;
    let entry: Result<Value, Fault> = bitcoind.call("getmempoolentry", &[json!(txid)]).await;
    let fee = entry.ok().and_then(|entry| entry["fees"]["base"].as_f64());
    let fee = bitcoin::Amount::from_btc(fee.unwrap_or(0.0)).expect("a fee");
    Ok(ok(
        &json!({ "txid": txid, "fee": fee.to_sat(), "status": status }),
    ))
}

async fn hand_in(bitcoind: &Bitcoind, method: &'static str, what: Value) -> Answer {
    match bitcoind.call::<Value>(method, &[what]).await {
        Ok(value) => Ok(ok(&value)),
        Err(Fault::SourceRefused { code, message, .. }) => {
            let error = json!({ "code": code, "message": message });
            Ok(Reply::new(400, format!("{method} RPC error: {error}")))
        }
        Err(fault) => Err(fault),
    }
}
