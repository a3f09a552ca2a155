//! What came of the demonstration, what of it has to hold, and how it is shown.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::stream::Payment;
use super::world::{PAYMENT, Views};

/// What came of it. Amounts are decimal strings in base units of the account's asset, by asset code where there are several.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// Of the payment during which the pool was killed, by the npm sender's own total, in gwei.
    pub(super) sent: String,
    /// By the npm receiver's own total, in millionths of the dollar token.
    pub(super) delivered: String,
    /// All payments, that one first.
    pub(super) payments: Vec<Payment>,
    /// Packets fulfilled, by the replayed journal.
    pub(super) packets: u64,
    /// Transactions in the blocks of both chains, everything from deployment on.
    pub(super) onchain_transactions: u64,
    /// Gas of all blocks.
    pub(super) gas_total: String,
    /// What peers paid the pool: by vouchers that it redeemed, and over Lightning.
    pub(super) settled_in: BTreeMap<&'static str, String>,
    /// What the pool paid peers: by vouchers that they redeemed, and over Lightning.
    pub(super) settled_out: BTreeMap<&'static str, String>,
    /// What of `settled_in` was paid ahead and not used, by the replayed journal: vouchers run ahead of packets, also of those that
    /// come to nothing.
    pub(super) prepaid_left: BTreeMap<&'static str, String>,
    /// Settlements over Lightning, both ways, by the replayed journal.
    pub(super) lightning_payments: u64,
    /// Lightning channels of the pool's node that can be used at the end.
    pub(super) lightning_channels: u64,
    /// What the note holder took out above what it put in, by asset code.
    pub(super) lp_fee_earned: BTreeMap<&'static str, String>,
    /// Times that the pool was killed and came back.
    pub(super) restarts: u32,
    /// A fresh replay of the journal agrees with both chains, with the pool's Lightning node and with the `ldk-node` at the other
    /// end of its channels, balance by balance.
    pub(super) books_balanced: bool,
}

/// The least number of packets.
const PACKETS_MIN: u64 = 2_000;
/// Packets for each transaction on chain, at least.
const PACKETS_PER_TRANSACTION_MIN: u64 = 20;
/// One that peer c paid ahead, one for what it paid in all, one that paid it.
const LIGHTNING_PAYMENTS_MIN: u64 = 3;
/// One each way.
const LIGHTNING_CHANNELS: u64 = 2;
/// Fulfillments that the sender saw are rounded to nothing; what it never saw, the pool may still have been paid for.
pub(super) const WEI_PER_GWEI: u128 = 1_000_000_000;

impl Outcome {
    /// What does not hold, in words.
    pub(super) fn problems(&self, views: &Views, in_flight: u64) -> Vec<String> {
        let mut checks = self.payments_hold(views);
        checks.extend(self.settlements_hold(views));
        checks.extend([
            (
                in_flight > 0,
                "no packet was in flight when the pool was killed".to_owned(),
            ),
            (
                self.packets >= PACKETS_MIN,
                format!("{} packets are fewer than {PACKETS_MIN}", self.packets),
            ),
            (
                self.packets >= PACKETS_PER_TRANSACTION_MIN * self.onchain_transactions,
                format!(
                    "{} transactions are too many for {} packets",
                    self.onchain_transactions, self.packets
                ),
            ),
            (
                self.lightning_payments >= LIGHTNING_PAYMENTS_MIN
                    && self.lightning_channels == LIGHTNING_CHANNELS,
                format!(
                    "{} payments over {} Lightning channels are not what was to be shown",
                    self.lightning_payments, self.lightning_channels
                ),
            ),
            (
                self.lp_fee_earned.values().any(|amount| amount != "0"),
                "the note holder earned nothing".to_owned(),
            ),
            (
                self.restarts >= 1,
                "the pool was never restarted".to_owned(),
            ),
        ]);
        let failed = checks.into_iter().filter(|(holds, _)| !holds);
        failed.map(|(_, problem)| problem).collect()
    }

    /// What the npm ends counted against what the peers' sides did.
    fn payments_hold(&self, views: &Views) -> Vec<(bool, String)> {
        let whole = self.sum("ETH", "USDX", |payment| &payment.sent);
        let mut checks = vec![(
            whole >= u128::from(PAYMENT),
            format!("{whole} of {PAYMENT} were sent"),
        )];
        for (code, view) in [("ETH", &views.a), ("USDX", &views.b), ("BTC", &views.c)] {
            let sent = self.sum(code, "", |payment| &payment.sent);
            let delivered = self.sum("", code, |payment| &payment.delivered);
            checks.push((
                view.sent.0.value() >= sent,
                format!(
                    "the peer in {code} owes for {}, and its software sent {sent}",
                    view.sent
                ),
            ));
            checks.push((
                delivered > 0 && view.received.0.value() == delivered,
                format!(
                    "{delivered} {code} arrived, and the peer was owed {}",
                    view.received
                ),
            ));
        }
        checks
    }

    /// What was settled against what was paid.
    fn settlements_hold(&self, views: &Views) -> Vec<(bool, String)> {
        let sides = [("ETH", &views.a), ("USDX", &views.b), ("BTC", &views.c)];
        let settled = |settled: &BTreeMap<_, String>, code| {
            settled.get(code).map_or(0, |amount| units(amount))
        };
        let each = sides.into_iter().flat_map(|(code, view)| {
            let (sent, received) = (view.sent.0.value(), view.received.0.value());
            let paid_in = settled(&self.settled_in, code);
            let left = settled(&self.prepaid_left, code);
            let paid_out = settled(&self.settled_out, code);
            [
                (
                    paid_in == sent + left,
                    format!("{paid_in} {code} was settled in for {sent}, of which {left} is left"),
                ),
                (
                    paid_out == received,
                    format!("{paid_out} {code} was settled out for {received}"),
                ),
            ]
        });
        each.collect()
    }

    /// Over all payments from and to these assets; an empty code stands for any.
    fn sum(&self, from: &str, to: &str, of: impl Fn(&Payment) -> &String) -> u128 {
        let is = |wanted: &str, code: &str| wanted.is_empty() || wanted == code;
        let payments = self.payments.iter();
        payments
            .filter(|payment| is(from, payment.from) && is(to, payment.to))
            .map(|payment| units(of(payment)))
            .sum()
    }

    /// Shows it as a table, and with `json` as an object on standard output beside.
    pub(super) fn show(&self, json: bool) -> Result<()> {
        let rows = self.rows();
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in &rows {
            let line = format!("{name:<width$}  {value}");
            if json {
                eprintln!("{line}")
            } else {
                println!("{line}")
            }
        }
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
        }
        Ok(())
    }

    fn rows(&self) -> Vec<(String, String)> {
        let by_code = |amounts: &BTreeMap<&'static str, String>| {
            let amounts = amounts.iter().filter(|(_, amount)| *amount != "0");
            let shown: Vec<_> = amounts
                .map(|(code, amount)| format!("{amount} {}", unit(code)))
                .collect();
            shown.join(", ")
        };
        let mut rows: Vec<(String, String)> = Vec::new();
        for Payment {
            from,
            to,
            sent,
            delivered,
        } in &self.payments
        {
            let value = format!(
                "{sent} {} sent, {delivered} {} arrived",
                unit(from),
                unit(to)
            );
            rows.push((format!("paid by the npm client, {from} to {to}"), value));
        }
        let rest = [
            ("packets", self.packets.to_string()),
            (
                "transactions on both chains",
                self.onchain_transactions.to_string(),
            ),
            ("gas in all", self.gas_total.clone()),
            ("settled in", by_code(&self.settled_in)),
            ("settled out", by_code(&self.settled_out)),
            ("of settled in, not used", by_code(&self.prepaid_left)),
            (
                "payments over Lightning",
                self.lightning_payments.to_string(),
            ),
            ("Lightning channels", self.lightning_channels.to_string()),
            ("the note holder earned", by_code(&self.lp_fee_earned)),
            ("restarts after SIGKILL", self.restarts.to_string()),
            (
                "replayed books agree with chains, Lightning node and ldk-node",
                self.books_balanced.to_string(),
            ),
        ];
        rows.extend(rest.map(|(name, value)| (name.to_owned(), value)));
        rows
    }
}

/// The base unit of an account in an asset.
fn unit(code: &str) -> &'static str {
    match code {
        "BTC" => "msat",
        "ETH" => "gwei",
        _ => "millionths of USDX",
    }
}

/// Those of an amount that this program has written itself.
fn units(amount: &str) -> u128 {
    amount.parse().unwrap_or(0)
}
