//! The pool's shell around its Lightning node and its wallet: carries out each effect once, tells the core what happened, and
//! acknowledges it once that is durable. What it has in memory dies with the process.

mod errands;
mod observe;
mod peers;

use std::collections::{BTreeMap, BTreeSet};

use forebay_pool::{ChainRequest, Command, ReserveRules};
use forebay_quantity::{Amount, AssetId, EffectId, Hash32, PeerId};

use super::World;
use crate::lightning::{Invoice, InvoiceName, Lightning, Owner};
use crate::trace;

/// Payers from here on are LPs, and peers below.
pub(crate) const LPS_FROM: u64 = 1 << 32;
/// How long an invoice of ours can be paid.
const INVOICE_EXPIRY_MS: u64 = 3_600_000;

/// Bitcoin in this world.
pub(crate) struct OnBitcoin {
    pub(crate) asset: AssetId,
    pub(crate) lightning: Lightning,
    pub(crate) rules: ReserveRules,
    pub(crate) next_block: u64,
    shell: Shell,
}

/// What the process knows, and forgets when it dies.
#[derive(Default)]
struct Shell {
    /// Invoices that were told and are not paid yet.
    told: BTreeMap<Hash32, Invoice>,
    errands: Vec<Errand>,
    /// To be done once what was decided is durable.
    once_durable: Vec<Errand>,
    /// What the wallet is to pay.
    due: BTreeMap<EffectId, (Owner, u64)>,
    /// What the core has heard of and is not durable yet.
    heard: Vec<Heard>,
    spends_told: BTreeSet<Hash32>,
}

#[derive(Debug, Clone, PartialEq)]
enum Errand {
    Pay(Hash32),
    Change(EffectId, ChainRequest),
    Draft(EffectId, Option<u64>),
    GiveInvoice(PeerId, InvoiceName, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    OfNode(u64),
    OfWallet(u64),
    Spend(Hash32, Option<EffectId>),
    Draft(EffectId),
}

impl OnBitcoin {
    pub(crate) fn new(asset: AssetId, lightning: Lightning, rules: ReserveRules) -> Self {
        Self {
            asset,
            lightning,
            rules,
            next_block: 0,
            shell: Shell::default(),
        }
    }
}

impl World {
    fn on_bitcoin(&mut self) -> &mut OnBitcoin {
        self.bitcoin.as_mut().expect("this world has Bitcoin")
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.on_bitcoin().shell
    }

    fn lightning(&mut self) -> &mut Lightning {
        &mut self.on_bitcoin().lightning
    }

    /// Books what was accepted.
    pub(in crate::world) fn book_on_bitcoin(&mut self, command: &Command<'_>) {
        if let Some(bitcoin) = &self.bitcoin {
            let factor = crate::books::signed(self.factors[usize::from(bitcoin.asset.0)]);
            let running = self.process.running.as_ref().expect("it answered");
            let state = running.sequencer.state();
            self.auditor
                .on_bitcoin(state, &bitcoin.lightning, (command, factor));
        }
    }

    fn works(&self) -> bool {
        self.bitcoin.is_some() && self.is_up() && !self.halted
    }

    /// Blocks, the node's own writing, what it and the wallet observe, what they have to do.
    pub(crate) fn move_bitcoin(&mut self) {
        self.mine_bitcoin();
        if !self.works() {
            return;
        }
        let eager = self.calm;
        if eager || self.random.chance(700) {
            self.sync_node();
        }
        if eager || self.random.chance(500) {
            self.run_errands();
        }
        if self.works() && (eager || self.random.chance(600)) {
            self.follow_bitcoin();
        }
    }

    fn mine_bitcoin(&mut self) {
        let Some(bitcoin) = &mut self.bitcoin else {
            return;
        };
        while self.now >= bitcoin.next_block {
            bitcoin.next_block += self.random.between(60_000, 1_140_000);
            bitcoin.lightning.mine();
        }
    }

    /// The node writes, and what it was asked for leaves.
    pub(crate) fn sync_node(&mut self) {
        self.lightning().sync();
        for invoice in self.lightning().take_left() {
            trace::step(|| format!("  {} msat leave for {}", invoice.amount_msat, invoice.hash));
            self.counts.add("lightning", "payment left");
            self.auditor.payment_left(&invoice);
        }
    }

    pub(in crate::world) fn kill_node(&mut self) {
        if let Some(bitcoin) = &mut self.bitcoin {
            bitcoin.lightning.kill();
            bitcoin.shell = Shell::default();
        }
    }

    /// What the core has heard of is on the disk now.
    pub(in crate::world) fn bitcoin_is_durable(&mut self) {
        let Some(bitcoin) = &mut self.bitcoin else {
            return;
        };
        let shell = &mut bitcoin.shell;
        for heard in std::mem::take(&mut shell.heard) {
            match heard {
                Heard::OfNode(number) => bitcoin.lightning.acknowledge(number),
                Heard::OfWallet(number) => bitcoin.lightning.forget_below(number + 1),
                Heard::Spend(txid, demand) => {
                    shell.spends_told.insert(txid);
                    if let Some(demand) = demand {
                        bitcoin.lightning.forget_draft(demand);
                    }
                }
                Heard::Draft(demand) => bitcoin.lightning.forget_draft(demand),
            }
        }
        shell.errands.append(&mut shell.once_durable);
    }
}

fn millisatoshi(sat: u64) -> Amount {
    Amount::new(u128::from(sat) * 1_000)
}

fn satoshi(amount: Amount) -> u64 {
    u64::try_from(amount.value() / 1_000).unwrap_or(u64::MAX)
}
