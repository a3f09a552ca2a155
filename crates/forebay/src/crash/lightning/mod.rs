//! `forebay crash --rail lightning`: kills a real pool process that pays and is paid over Lightning channels, again and again,
//! and holds its books to its node, to its peer's node and to bitcoind.

mod journal;
mod rest;
mod traffic;
mod world;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use journal::Payments;
use traffic::Traffic;
use world::World;

/// The pool is killed up to this long after a settlement of its own has begun: before its invoice is known, while it is being
/// paid, or after, and seldom at the same point.
const SPREAD_MS: u64 = 250;

/// What the kills showed. Amounts in millisatoshi.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) kills: u32,
    /// With a payment of the pool's begun and not ended, by its journal.
    pub(super) kills_with_a_payment_under_way: u32,
    pub(super) packets_fulfilled: u64,
    pub(super) settlements_paid: u64,
    pub(super) settlements_received: u64,
    pub(super) paid: u128,
    pub(super) received: u128,
    /// By the books, by the wallet and the node, and, of what is in the wallet, by bitcoind.
    pub(super) owned: u128,
}

/// Kills the pool so often; blocks until its books have been compared.
pub(super) fn kill_all(folder: &Path, kills: u32, seed: u64) -> Result<Report> {
    let runtime = crate::runtime(2)?;
    let mut world = runtime.block_on(World::start(folder))?;
    let traffic = Traffic::start(world.pool_address(), world.software_address())?;
    let (mut report, mut random) = (Report::default(), seed);
    for kill in 1..=kills {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        runtime.block_on(world.settles())?;
        std::thread::sleep(Duration::from_millis((random >> 33) % SPREAD_MS));
        world.kill_pool()?;
        let payments = Payments::read(&world.pool_data())
            .with_context(|| format!("after kill {kill} of {kills}"))?;
        if kill == 1 {
            world.keep_store()?;
        }
        report.kills = kill;
        report.kills_with_a_payment_under_way += u32::from(payments.is_under_way());
        eprint!(
            "\rkill {kill} of {kills}, {} settlements paid, {} received ",
            payments.paid, payments.received
        );
        runtime.block_on(world.restart_pool())?;
    }
    eprintln!();
    report.packets_fulfilled = traffic.end()?;
    report.owned = runtime.block_on(world.come_to_rest())?;
    world.kill_pool()?;
    let payments = Payments::read(&world.pool_data()).context("at the end")?;
    ensure!(
        !payments.is_under_way(),
        "a payment is under way that nobody waits for"
    );
    ensure!(
        payments.paid > 0 && payments.received > 0,
        "{} settlements were paid and {} received: nothing was tried",
        payments.paid,
        payments.received
    );
    report.settlements_paid = payments.paid;
    report.settlements_received = payments.received;
    report.paid = payments.paid_msat;
    report.received = payments.received_msat;
    world.compare_totals(&report)?;
    runtime.block_on(world.refuses_kept_store())?;
    Ok(report)
}
