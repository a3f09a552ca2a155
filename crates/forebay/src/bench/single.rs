//! `forebay bench vouchers` and `forebay bench quotes`: single operations, again and again on one thread.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use forebay_chain_evm::FastVerifier;
use forebay_channel::{Address, Domain, LaneId, Signature, Verified, Voucher};
use forebay_market::{Flow, Inventory, Price, Rate, SpreadPolicy, quote};
use forebay_quantity::{Amount, ChannelSerial, Milliseconds, Ppm};
use serde::Serialize;

use super::core::pool_key;
use super::latency::per_second;
use crate::output;

/// Operations between two looks at the clock.
const BATCH: u64 = 64;

/// Measures signing and checking vouchers.
#[derive(Debug, Args)]
pub(crate) struct Vouchers {
    /// How long each operation is repeated.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
}

/// Measures quotes.
#[derive(Debug, Args)]
pub(crate) struct Quotes {
    /// How long it is repeated.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Report {
    runs: Vec<Run>,
}

/// One operation.
#[derive(Debug, Serialize)]
struct Run {
    what: &'static str,
    operations_per_second: u64,
    nanoseconds_each: u64,
}

impl Vouchers {
    pub(super) fn run(self, json: bool) -> Result<()> {
        let (key, domain) = (pool_key()?, Domain::new(1, Address::new([3; 20])));
        let voucher = |amount| Voucher {
            serial: ChannelSerial(1),
            lane: LaneId::Peer,
            amount: Amount::new(u128::from(amount)),
        };
        let sign = |amount| key.sign(&domain.digest(&voucher(amount)));
        let signatures: Vec<Signature> = (0..BATCH).map(sign).collect();
        let signer = key.address();
        let signing = repeat("sign", self.seconds, |number| {
            black_box(sign(number));
            Ok(())
        });
        let checking = repeat("check", self.seconds, |number| {
            let place = usize::try_from(number % BATCH)?;
            let (voucher, signature) = (voucher(number % BATCH), signatures[place]);
            let checked = Verified::by(&FastVerifier, &domain, voucher, signature, signer);
            black_box(checked.ok().context("a genuine voucher is one")?);
            Ok(())
        });
        report(json, vec![signing?, checking?])
    }
}

impl Quotes {
    pub(super) fn run(self, json: bool) -> Result<()> {
        let price = |whole: u128| Price::new(whole * 10_u128.pow(12)).context("a price");
        let rate = Rate::between(price(65_000)?, 8, price(3_250)?, 9).context("a rate")?;
        let spread = SpreadPolicy {
            floor_ppm: Ppm(2_000),
            volatility_multiplier_ppm: Ppm(1_000_000),
            holding_time_ms: Milliseconds(1_000),
            size_ppm_per_depth: Ppm(100),
            depth: Amount::new(10_u128.pow(12)),
            skew_ppm_max: Ppm(500),
        };
        let middle = Amount::new(10_u128.pow(18));
        let inventory = |number: u64| Inventory {
            position: middle.saturating_add(Amount::from(number)),
            target: middle,
            range: middle,
        };
        let quoting = repeat("quote", self.seconds, |number| {
            let amount = Amount::from(1_000 + number % 1_000_000);
            let gross = rate.convert_floor(amount).context("a small amount")?;
            let skew = inventory(number).skew(Flow::In, spread.skew_ppm_max);
            let skew = skew.and(inventory(number).skew(Flow::Out, spread.skew_ppm_max));
            let half_spread = spread.half_spread_ceil(spread.floor_ppm, gross, skew);
            black_box(quote(rate, amount, half_spread).context("a small amount")?);
            Ok(())
        });
        report(json, vec![quoting?])
    }
}

fn repeat(
    what: &'static str,
    seconds: u64,
    mut operation: impl FnMut(u64) -> Result<()>,
) -> Result<Run> {
    let (began, span) = (Instant::now(), Duration::from_secs(seconds));
    let mut count = 0;
    while began.elapsed() < span {
        for number in count..count + BATCH {
            operation(number)?;
        }
        count += BATCH;
    }
    let elapsed = began.elapsed();
    Ok(Run {
        what,
        operations_per_second: per_second(count, elapsed.as_micros()),
        nanoseconds_each: u64::try_from(elapsed.as_nanos() / u128::from(count.max(1)))?,
    })
}

fn report(json: bool, runs: Vec<Run>) -> Result<()> {
    output::show(json, &Report { runs }, |report| {
        let heads = ["", "a second", "ns each"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        rows.extend(report.runs.iter().map(|run| {
            vec![
                run.what.to_owned(),
                run.operations_per_second.to_string(),
                run.nanoseconds_each.to_string(),
            ]
        }));
        output::table(&rows);
        println!("one thread");
    })
}
