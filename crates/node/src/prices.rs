//! Polls price sources: what they say is read without floats, and what cannot be read is counted and changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_market::Price;
use forebay_pool::Command;
use forebay_quantity::{AssetId, SourceId};
use serde_json::value::RawValue;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::PriceSource;
use crate::core::{CommandFault, CoreHandle, Figures};
use crate::wall;

/// An answer that takes longer is as good as none.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const ANSWER_SIZE_MAX: usize = 1 << 20;
/// The longest number that is read, with its exponent worked in.
const DIGITS_MAX: usize = 64;

/// Polls every configured source until `stop` changes.
pub(crate) fn start(
    sources: BTreeMap<String, Vec<PriceSource>>,
    core: &CoreHandle,
    figures: &Arc<Figures>,
    stop: &watch::Receiver<bool>,
) {
    let client = match reqwest::Client::builder().timeout(ANSWER_MAX).build() {
        Ok(client) => client,
        Err(error) => {
            warn!("prices cannot be polled: {error}");
            return;
        }
    };
    for (code, sources) in sources {
        for (source, number) in sources.into_iter().zip(0_u16..) {
            let poller = Poller {
                code: code.clone(),
                source,
                number: SourceId(number),
                asset: None,
                client: client.clone(),
                core: core.clone(),
                figures: Arc::clone(figures),
                is_bad: false,
            };
            tokio::spawn(poller.run(stop.clone()));
        }
    }
}

struct Poller {
    code: String,
    source: PriceSource,
    number: SourceId,
    asset: Option<AssetId>,
    client: reqwest::Client,
    core: CoreHandle,
    figures: Arc<Figures>,
    is_bad: bool,
}

impl Poller {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut turn = tokio::time::interval(Duration::from_millis(self.source.poll_ms));
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = turn.tick() => {}
                _ = stop.changed() => return,
            }
            match self.poll().await {
                Ok(()) if self.is_bad => {
                    info!(asset = %self.code, url = %self.source.url, "the price source answers again");
                    self.is_bad = false;
                }
                Ok(()) => {}
                Err(why) => self.note(&why),
            }
        }
    }

    fn note(&mut self, why: &str) {
        self.figures.bad_prices.add(1);
        // One line an outage is enough.
        if !std::mem::replace(&mut self.is_bad, true) {
            warn!(asset = %self.code, url = %self.source.url, "no price from this source: {why}");
        }
    }

    async fn poll(&mut self) -> Result<(), String> {
        let Some(asset) = self.asset().await else {
            return Ok(());
        };
        let answer = self.fetch().await?;
        let price = read_price(&answer, &self.source.pointer)?;
        let command = Command::Price {
            asset,
            source: self.number,
            price: price.value(),
            at: wall::now(),
        };
        match self.core.command(command).await {
            Ok(()) | Err(CommandFault::Stopped(_)) => Ok(()),
            Err(CommandFault::Rejected(rejection)) => Err(rejection.to_string()),
        }
    }

    /// The asset's number; `None` until the operator lists it.
    async fn asset(&mut self) -> Option<AssetId> {
        if self.asset.is_none() {
            let code = self.code.clone();
            self.asset = self
                .core
                .query(move |state| state.asset_coded(&code))
                .await
                .ok()
                .flatten();
        }
        self.asset
    }

    async fn fetch(&self) -> Result<Vec<u8>, String> {
        let text = |error: reqwest::Error| error.without_url().to_string();
        let answer = self
            .client
            .get(&self.source.url)
            .send()
            .await
            .map_err(text)?;
        let mut answer = answer.error_for_status().map_err(text)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(text)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > ANSWER_SIZE_MAX {
                return Err(format!("the answer is longer than {ANSWER_SIZE_MAX} bytes"));
            }
        }
        Ok(bytes)
    }
}

/// Reads the price that a JSON pointer (RFC 6901) names: a number or a string of one.
fn read_price(answer: &[u8], pointer: &str) -> Result<Price, String> {
    let mut at: Box<RawValue> =
        serde_json::from_slice(answer).map_err(|error| format!("no JSON: {error}"))?;
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        at = step_into(&at, &step)
            .ok_or_else(|| format!("{pointer} names nothing in the answer"))?;
    }
    let text = at.get().trim();
    let unquoted: Option<String> = serde_json::from_str(text).ok();
    let number = plain_decimal(unquoted.as_deref().unwrap_or(text))
        .ok_or("the value is no positive number")?;
    number.parse::<Price>().map_err(|error| error.to_string())
}

fn step_into(value: &RawValue, step: &str) -> Option<Box<RawValue>> {
    match value.get().trim_start().bytes().next()? {
        b'{' => serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(value.get())
            .ok()?
            .remove(step),
        b'[' => {
            let mut items: Vec<Box<RawValue>> = serde_json::from_str(value.get()).ok()?;
            let index: usize = step.parse().ok()?;
            (index < items.len()).then(|| items.swap_remove(index))
        }
        _ => None,
    }
}

/// Works an exponent into the digits, so that `6.5e4` reads as `65000`.
fn plain_decimal(text: &str) -> Option<String> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if digits.len() > DIGITS_MAX || exponent.unsigned_abs() > 40 {
        return None;
    }
    let all = format!("{whole}{part}");
    let point = i32::try_from(whole.len()).ok()? + exponent;
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    let padded = format!(
        "{}{all}{}",
        zeros(1 - point),
        zeros(point - i32::try_from(all.len()).ok()?)
    );
    let point = usize::try_from(point.max(1)).ok()?;
    let (whole, part) = padded.split_at_checked(point)?;
    Some(if part.is_empty() {
        whole.to_owned()
    } else {
        format!("{whole}.{part}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_exactly_wherever_the_pointer_leads() {
        let rows = [
            (
                r#"{"data":{"price":"3512.25"}}"#,
                "/data/price",
                3_512_250_000_000_000,
            ),
            (
                r#"{"data":[{"p":1},{"p":0.1}]}"#,
                "/data/1/p",
                100_000_000_000,
            ),
            (r#"{"a/b":{"~":6.5e4}}"#, "/a~1b/~0", 65_000_000_000_000_000),
            ("2.5E-3", "", 2_500_000_000),
            // A float of 64 bits would lose the last digits.
            (
                r#"{"p":123456789.123456789012}"#,
                "/p",
                123_456_789_123_456_789_012,
            ),
        ];
        for (answer, pointer, price) in rows {
            assert_eq!(
                read_price(answer.as_bytes(), pointer).map(Price::value),
                Ok(price),
                "{answer}"
            );
        }
    }

    #[test]
    fn what_is_no_price_is_refused_in_words() {
        for answer in [
            "",
            "{",
            "{}",
            r#"{"p":null}"#,
            r#"{"p":-1}"#,
            r#"{"p":0}"#,
            r#"{"p":"1e99"}"#,
            r#"{"p":NaN}"#,
            r#"{"p":"NaN"}"#,
            r#"{"p":"Infinity"}"#,
            r#"{"p":"0.0"}"#,
            r#"{"p":"<b>5</b>"}"#,
            "<html><body>5</body></html>",
            r#"{"p":[1]}"#,
        ] {
            assert!(read_price(answer.as_bytes(), "/p").is_err(), "{answer}");
        }
    }
}
