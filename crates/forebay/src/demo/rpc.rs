//! A tiny JSON-RPC client of the demonstration's own: what it asks the chain shares no code with the adapter.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use forebay_channel::keccak256;
use serde_json::{Value, json};

/// One node.
pub(super) struct Rpc {
    address: String,
}

/// What the chain's blocks hold in all.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    pub(super) transactions: u64,
    pub(super) gas: u64,
}

/// A vault's own books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct VaultBooks {
    pub(super) free: u128,
    pub(super) units: u128,
    pub(super) index: u128,
}

/// One lane of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) ceiling: u128,
    pub(super) paid: u128,
}

impl Rpc {
    pub(super) fn new(url: &str) -> Self {
        Self {
            address: url
                .trim_start_matches("http://")
                .trim_end_matches('/')
                .to_owned(),
        }
    }

    fn ask(&self, method: &str, parameters: &Value) -> Result<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters })
            .to_string();
        let mut stream = TcpStream::connect(&self.address).context("the chain's RPC")?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer
            .split_once("\r\n\r\n")
            .context("no HTTP answer from the chain's RPC")?;
        let value: Value = serde_json::from_str(body)
            .with_context(|| format!("the RPC answered {method} with {body}"))?;
        if let Some(error) = value.get("error") {
            bail!("the RPC refused {method}: {error}");
        }
        Ok(value["result"].clone())
    }

    /// Adds up every block there is.
    pub(super) fn used(&self) -> Result<Used> {
        let latest = number(&self.ask("eth_blockNumber", &json!([]))?)?;
        let mut used = Used::default();
        for height in 0..=latest {
            let block = self.ask(
                "eth_getBlockByNumber",
                &json!([format!("0x{height:x}"), false]),
            )?;
            used.transactions +=
                u64::try_from(block["transactions"].as_array().map_or(0, Vec::len))?;
            used.gas += u64::try_from(number(&block["gasUsed"])?)?;
        }
        Ok(used)
    }

    /// Wei of an address in the newest final block.
    pub(super) fn balance(&self, owner: &str) -> Result<u128> {
        number(&self.ask("eth_getBalance", &json!([owner, "finalized"]))?)
    }

    /// Units of an ERC-20 that an address holds.
    pub(super) fn token_balance(&self, token: &str, owner: &str) -> Result<u128> {
        let words = self.call(
            token,
            "balanceOf(address)",
            &format!("{:0>64}", owner.trim_start_matches("0x")),
        )?;
        word(&words, 0)
    }

    /// A vault's `books()`.
    pub(super) fn books(&self, vault: &str) -> Result<VaultBooks> {
        let words = self.call(vault, "books()", "")?;
        Ok(VaultBooks {
            free: word(&words, 0)?,
            units: word(&words, 1)?,
            index: word(&words, 2)?,
        })
    }

    /// Both lanes of a channel, the pool's first: words 6 and 13 of `channel(uint64)` begin them, each with its signer.
    pub(super) fn lanes(&self, vault: &str, serial: u64) -> Result<(Lane, Lane)> {
        let words = self.call(vault, "channel(uint64)", &format!("{serial:064x}"))?;
        let lane = |at: usize| {
            Ok::<_, anyhow::Error>(Lane {
                ceiling: word(&words, at + 1)?,
                paid: word(&words, at + 2)?,
            })
        };
        Ok((lane(6)?, lane(13)?))
    }

    fn call(&self, to: &str, signature: &str, arguments: &str) -> Result<String> {
        let selector = hex::encode(&keccak256(signature.as_bytes()).as_bytes()[..4]);
        let call = json!({ "to": to, "data": format!("0x{selector}{arguments}") });
        let answer = self.ask("eth_call", &json!([call, "finalized"]))?;
        let words = answer.as_str().context("eth_call gives a string")?;
        Ok(words.trim_start_matches("0x").to_owned())
    }
}

fn number(value: &Value) -> Result<u128> {
    let text = value.as_str().context("the RPC gives numbers as strings")?;
    Ok(u128::from_str_radix(text.trim_start_matches("0x"), 16)?)
}

fn word(words: &str, at: usize) -> Result<u128> {
    let word = words
        .get(at * 64..at * 64 + 64)
        .context("the contract gave fewer words")?;
    Ok(u128::from_str_radix(&word[32..], 16)?)
}
