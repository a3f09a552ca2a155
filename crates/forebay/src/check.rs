//! `forebay config`: is what was configured fit to run?

use std::path::Path;

use anyhow::{Result, bail};
use clap::Subcommand;
use forebay_api::{ASSETS, Asset, PEERS, Peer};
use forebay_market::{Price, Rate, stream_precision_ok};
use forebay_node::Config;
use forebay_quantity::Amount;
use serde::Serialize;

use crate::client::Client;
use crate::output::show;

/// Actions on the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum Check {
    /// Check the file, and against a running pool its assets and accounts.
    Check,
    /// Show what is in force, defaults included.
    Show,
}

#[derive(Debug, Serialize)]
struct Report {
    checked: &'static str,
    findings: Vec<String>,
}

impl Check {
    pub(crate) async fn run(self, path: &Path, json: bool) -> Result<()> {
        let config = Config::load(path)?;
        match self {
            Self::Show => {
                let text = toml::to_string_pretty(&config)?;
                show(json, &config, |_| print!("{text}"))
            }
            Self::Check => check(&config, path, json).await,
        }
    }
}

async fn check(config: &Config, path: &Path, json: bool) -> Result<()> {
    let mut findings = Vec::new();
    for (code, sources) in &config.prices {
        if sources.len() < 3 {
            findings.push(format!(
                "prices.{code}: {} sources; the book is quoted from three on",
                sources.len()
            ));
        }
    }
    let checked = match known(path).await {
        Ok((assets, peers)) => {
            findings.extend(imprecise(&assets, &peers));
            "the file, and the running pool's accounts"
        }
        Err(_) => "the file only: no pool runs from it now",
    };
    let report = Report { checked, findings };
    show(json, &report, |report| {
        println!("Checked: {}.", report.checked);
        report
            .findings
            .iter()
            .for_each(|finding| println!("- {finding}"));
    })?;
    match report.findings.len() {
        0 => Ok(()),
        count => bail!("{count} to be put right"),
    }
}

async fn known(path: &Path) -> Result<(Vec<Asset>, Vec<Peer>)> {
    let client = Client::of(path)?;
    Ok((
        client.read_all(ASSETS).await?,
        client.read_all(PEERS).await?,
    ))
}

/// STREAM gives up on a path whose packets show less than three digits of the rate, in either direction.
fn imprecise(assets: &[Asset], peers: &[Peer]) -> Vec<String> {
    let mut findings = Vec::new();
    let asset_of = |peer: &Peer| assets.iter().find(|asset| asset.code == peer.asset);
    let live = || peers.iter().filter(|peer| !peer.removed);
    for payer in live() {
        for payee in live().filter(|payee| payee.asset != payer.asset) {
            let (Some(paid_in), Some(paid_out)) = (asset_of(payer), asset_of(payee)) else {
                continue;
            };
            let price = |asset: &Asset| {
                asset
                    .price
                    .as_deref()
                    .and_then(|text| text.parse::<Price>().ok())
            };
            let (Some(price_in), Some(price_out)) = (price(paid_in), price(paid_out)) else {
                findings.push(format!(
                    "{} to {}: no believed price to check the precision by",
                    payer.name, payee.name
                ));
                continue;
            };
            let Some(rate) = Rate::between(price_in, paid_in.scale, price_out, paid_out.scale)
            else {
                findings.push(format!(
                    "{} to {}: their rate cannot be written; change a scale",
                    payer.name, payee.name
                ));
                continue;
            };
            if !stream_precision_ok(Amount::from(payer.policy.packet_max), rate) {
                findings.push(format!(
                    "{} to {}: a packet of {} {} base units arrives as fewer than 1000 of {}; STREAM needs three digits, so \
                     raise packet_max of {} or a scale",
                    payer.name, payee.name, payer.policy.packet_max, paid_in.code, paid_out.code, payer.name
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_api::{AssetPolicy, PeerPolicy, Units};

    fn asset(code: &str, scale: u8, price: &str) -> Asset {
        Asset {
            code: code.into(),
            scale,
            chain_scale: 18,
            chain_id: 1,
            vault: String::new(),
            token: String::new(),
            policy: AssetPolicy::default(),
            price: Some(price.into()),
            halted: false,
            sources: Vec::new(),
        }
    }

    fn peer(name: &str, asset: &str, packet_max: u64) -> Peer {
        let none = Units(Amount::ZERO);
        Peer {
            name: name.into(),
            address: String::new(),
            asset: asset.into(),
            scale: 9,
            policy: PeerPolicy {
                packet_max,
                ..PeerPolicy::default()
            },
            relation: Default::default(),
            connected: false,
            removed: false,
            owed_to_peer: none,
            owed_to_pool: none,
            in_flight: 0,
            channel: None,
            lightning: None,
        }
    }

    // Measured with npm ilp-protocol-stream: 10,000 gwei arrive as 49 satoshi, and the connection is refused.
    #[test]
    fn packets_too_small_for_three_digits_are_found_in_the_direction_that_loses_them() {
        let assets = [asset("ETH", 9, "3250"), asset("BTC", 8, "65000")];
        let found = imprecise(
            &assets,
            &[peer("a", "ETH", 10_000), peer("b", "BTC", 10_000)],
        );
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("a to b"), "{found:?}");
        assert!(
            imprecise(
                &assets,
                &[peer("a", "ETH", 1_000_000), peer("b", "BTC", 10_000)]
            )
            .is_empty()
        );
    }
}
