//! Payments by Interledger's own npm client and server, each a process behind a peer's side.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::number;
use super::processes::Process;
use super::world::{Side, World, node, progress, text};

/// The longest that a payment may take.
pub(super) const PAYMENT_MAX: Duration = Duration::from_secs(120);
/// The receiver hears of its last packets a moment after the sender does.
const LAST_WORD: Duration = Duration::from_millis(500);

/// What both ends counted, in base units of their accounts.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Payment {
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) sent: String,
    pub(super) delivered: String,
}

/// A STREAM server.
pub(super) struct Receiver {
    process: Process,
    account: String,
    secret: String,
}

impl Receiver {
    pub(super) fn start(world: &World, side: &Side) -> Result<Self> {
        let name = format!("receiver-at-{}", side.process.name);
        let command = script(world, "stream-receive.cjs", &[&side.listen]);
        let mut process = Process::start(&name, command, &world.folder)?;
        let invitation = process.line(Duration::from_secs(30))?;
        Ok(Self {
            process,
            account: text(&invitation, "destination_account")?,
            secret: text(&invitation, "shared_secret")?,
        })
    }

    /// What has arrived, once nothing is on its way any more.
    pub(super) async fn received(&mut self) -> Result<u128> {
        tokio::time::sleep(LAST_WORD).await;
        number(&text(&self.process.ask()?, "received")?)
    }
}

/// A STREAM client that pays.
pub(super) struct Sender(Process);

impl Sender {
    pub(super) fn start(world: &World, side: &Side, to: &Receiver, amount: u64) -> Result<Self> {
        let name = format!("sender-at-{}", side.process.name);
        let amount = amount.to_string();
        let arguments = [side.listen.as_str(), &to.account, &to.secret, &amount];
        let command = script(world, "stream-send.cjs", &arguments);
        Ok(Self(Process::start(&name, command, &world.folder)?))
    }

    /// What it has sent so far.
    pub(super) fn sent(&mut self) -> Result<u128> {
        ensure!(
            !self.0.has_ended(),
            "the sender ended early: {}",
            self.complaints()
        );
        number(&text(&self.0.ask()?, "sent")?)
    }

    pub(super) fn complaints(&self) -> String {
        self.0.complaints()
    }

    /// What it has sent at its end, and over how many connections.
    pub(super) fn finish(mut self) -> Result<(u128, u64)> {
        let until = Instant::now() + PAYMENT_MAX;
        loop {
            let line = self.0.line(PAYMENT_MAX)?;
            if line["last"] == true {
                let connections = line["connections"].as_u64();
                let connections = connections.context("it counts its connections")?;
                return Ok((number(&text(&line, "sent")?)?, connections));
            }
            ensure!(
                Instant::now() < until,
                "the payment does not end: {}",
                self.complaints()
            );
        }
    }
}

/// Pays from one peer's side to another's, each named with its asset.
pub(super) async fn cross(
    world: &World,
    (from, payer): (&'static str, &Side),
    (to, payee): (&'static str, &Side),
    amount: u64,
    began: Instant,
) -> Result<Payment> {
    let mut receiver = Receiver::start(world, payee)?;
    let sender = Sender::start(world, payer, &receiver, amount)?;
    let paid = sender.finish();
    let (sent, _) = paid.with_context(|| format!("{from} to {to}"))?;
    let delivered = receiver.received().await?;
    progress(
        began,
        &format!("paid from {from} to {to}: {sent} sent, {delivered} arrived"),
    );
    Ok(Payment {
        from,
        to,
        sent: sent.to_string(),
        delivered: delivered.to_string(),
    })
}

/// A program of tools/ilp, with its arguments.
fn script(world: &World, name: &str, arguments: &[&str]) -> Command {
    let mut command = node(&world.tools, name);
    command.args(arguments);
    command
}
