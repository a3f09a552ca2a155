//! What a running `forebay connect` shows: one JSON file in its data directory, replaced a few times a second.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use forebay_api::Units;
use forebay_channel::Phase;
use forebay_quantity::Amount;
use serde::{Deserialize, Serialize};

use super::core::Core;
use super::lightning::Lightning;

/// The file's name in the data directory.
pub const STATUS_FILE: &str = "status.json";
const INTERVAL: Duration = Duration::from_millis(250);
const ALARMS_MAX: usize = 16;

/// The peer's side at a glance. Packet amounts in packet units, lanes in the chain's base units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The process.
    pub pid: u32,
    /// The key's address: it signs, deposits and is paid.
    pub address: String,
    /// The ILP address that the pool gave.
    pub ilp_address: Option<String>,
    /// The link to the pool is up.
    pub pool_connected: bool,
    /// The pool's terms were agreed to on this link.
    pub ready: bool,
    /// The peer's own software is connected.
    pub software_connected: bool,
    /// The channel's serial.
    pub serial: Option<u64>,
    /// `none`, `opening`, `open`, `closing` or `closed`.
    pub phase: String,
    /// Fulfilled packets to the pool, in all.
    pub sent: Units,
    /// Fulfilled packets from the pool, in all.
    pub received: Units,
    /// What the pool owes and has not paid by a voucher.
    pub unpaid: Units,
    /// Of the peer's lane: the deposit at finality depth.
    pub deposit_ceiling: Units,
    /// Of the peer's lane: the highest voucher signed.
    pub signed: Units,
    /// Of the peer's lane: redeemed by the pool.
    pub deposit_paid: Units,
    /// Of the pool's lane: the allotment at finality depth.
    pub allotment_ceiling: Units,
    /// Of the pool's lane: the best voucher held.
    pub held: Units,
    /// Of the pool's lane: redeemed.
    pub redeemed: Units,
    /// Transactions under way.
    pub transactions: usize,
    /// Of an account that settles over Lightning; none of one that settles by vouchers.
    #[serde(default)]
    pub lightning: Option<LightningView>,
    /// The last alarms.
    pub alarms: Vec<String>,
}

/// The Lightning side at a glance. Amounts in millisatoshi.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LightningView {
    /// Our node.
    pub node: String,
    /// Where coins for channels may be sent to; never used before. Empty with a node that runs anyway: its coins are its own.
    pub deposit_address: String,
    /// What the pool was paid, in all.
    pub paid: Units,
    /// What of it the pool says that it has, as far as it was heard on this link.
    pub credited: Units,
    /// What the pool paid us, in all.
    pub received: Units,
    /// What routing and opening channels cost, in all.
    pub fees: Units,
    /// What is being paid to the pool.
    pub under_way: Units,
    /// Invoices that the pool has and has not paid.
    pub open_invoices: usize,
    /// What the channels carry to the pool now.
    pub outbound: Units,
    /// What they carry from the pool now.
    pub inbound: Units,
    /// Of the channel that we open: `none`, `asked` or `funded`.
    pub channel: String,
}

/// Writes the file.
pub(super) struct Status {
    path: PathBuf,
    address: String,
    alarms: Vec<String>,
    written: Option<Instant>,
}

impl Status {
    pub(super) fn new(data_directory: &std::path::Path, address: String) -> Self {
        Self {
            path: data_directory.join(STATUS_FILE),
            address,
            alarms: Vec::new(),
            written: None,
        }
    }

    pub(super) fn alarm(&mut self, text: String) {
        // What is tried again and again says the same each time.
        if self.alarms.last() == Some(&text) {
            return;
        }
        if self.alarms.len() == ALARMS_MAX {
            self.alarms.remove(0);
        }
        self.alarms.push(text);
    }

    pub(super) fn write(
        &mut self,
        core: &Core,
        (pool_connected, software_connected): (bool, bool),
        node: Option<&Lightning>,
    ) {
        if self.written.is_some_and(|at| at.elapsed() < INTERVAL) {
            return;
        }
        self.written = Some(Instant::now());
        let view = View {
            lightning: node.map(|node| lightning_view(core, node)),
            ..self.view(core, pool_connected, software_connected)
        };
        let beside = self.path.with_extension("new");
        let text = serde_json::to_string_pretty(&view).expect("plain data");
        // A status that cannot be written is seen to be old; the journal is what tells of a full disk.
        let _ = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &self.path));
    }

    fn view(&self, core: &Core, pool_connected: bool, software_connected: bool) -> View {
        let state = core.state();
        let channel = state.channel.as_ref();
        let lane = |amount: fn(&forebay_channel::Channel) -> Amount| {
            Units(channel.map_or(Amount::ZERO, amount))
        };
        View {
            pid: std::process::id(),
            address: self.address.clone(),
            ilp_address: state.terms.as_ref().map(|terms| terms.address.clone()),
            pool_connected,
            ready: core.ready(),
            software_connected,
            serial: channel.map(|channel| channel.serial().value()),
            phase: match channel.map(forebay_channel::Channel::phase) {
                None => "none",
                Some(Phase::Opening) => "opening",
                Some(Phase::Open) => "open",
                Some(Phase::Closing { .. }) => "closing",
                Some(Phase::Closed) => "closed",
            }
            .into(),
            sent: Units(state.sent),
            received: Units(state.received),
            unpaid: Units(state.unpaid()),
            deposit_ceiling: lane(|channel| channel.outgoing.ceiling()),
            signed: lane(|channel| channel.outgoing.promised()),
            deposit_paid: lane(|channel| channel.outgoing.paid()),
            allotment_ceiling: lane(|channel| channel.incoming.ceiling()),
            held: lane(|channel| channel.incoming.promised()),
            redeemed: lane(|channel| channel.incoming.paid()),
            transactions: core.transactions(),
            lightning: None,
            alarms: self.alarms.clone(),
        }
    }
}

fn lightning_view(core: &Core, node: &Lightning) -> LightningView {
    let account = core.state().account();
    let (outbound, inbound) = core.capacity();
    let under_way = account.settlement.as_ref();
    LightningView {
        node: node.identity().to_string(),
        deposit_address: node.address(),
        paid: Units(account.paid),
        credited: Units(core.credited()),
        received: Units(account.received),
        fees: Units(account.fees),
        under_way: Units(under_way.map_or(Amount::ZERO, |settlement| settlement.amount)),
        open_invoices: account.invoices.len(),
        outbound: Units(outbound),
        inbound: Units(inbound),
        channel: match account.channel {
            None => "none",
            Some(channel) if channel.is_funded => "funded",
            Some(_) => "asked",
        }
        .into(),
    }
}
