//! What a running `forebay watch` shows: one JSON file in its data directory, replaced a few times a second.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use forebay_api::Units;
use forebay_channel::Step;
use forebay_quantity::{Bps, ChannelSerial};
use serde::{Deserialize, Serialize};

use super::kept::{PrincipalId, Vouchers};

/// The file's name in the data directory.
pub const STATUS_FILE: &str = "status.json";
const INTERVAL: Duration = Duration::from_millis(250);
const ACTS_MAX: usize = 32;

/// A watchtower at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The process.
    pub pid: u32,
    /// The key that pays for gas.
    pub address: String,
    /// Where principals connect.
    pub listen: String,
    /// Lanes guarded, by principal.
    pub lanes: BTreeMap<String, Lanes>,
    /// Transactions under way.
    pub transactions: usize,
    /// What was done for principals, the newest last.
    pub acts: Vec<String>,
}

/// What is guarded for one principal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lanes {
    /// How many.
    pub count: usize,
    /// The amounts of their vouchers by vault and serial, cumulative, in the chain's base units; the first hundred.
    pub held: BTreeMap<String, Units>,
}

const HELD_SHOWN_MAX: usize = 100;

/// Writes the file.
pub(super) struct Status {
    path: PathBuf,
    view: View,
    names: BTreeMap<PrincipalId, String>,
    written: Option<Instant>,
}

impl Status {
    pub(super) fn new(
        data_directory: &Path,
        address: String,
        listen: String,
        names: impl Iterator<Item = String>,
    ) -> Self {
        Self {
            path: data_directory.join(STATUS_FILE),
            view: View {
                pid: std::process::id(),
                address,
                listen,
                lanes: BTreeMap::new(),
                transactions: 0,
                acts: Vec::new(),
            },
            names: names.map(|name| (PrincipalId::of(&name), name)).collect(),
            written: None,
        }
    }

    pub(super) fn acted(&mut self, serial: ChannelSerial, step: Step, urgency: Bps) {
        if self.view.acts.len() == ACTS_MAX {
            self.view.acts.remove(0);
        }
        let what = match step {
            Step::Redeem { amount, .. } => format!("redeems up to {amount}"),
            Step::FinishClose => "finishes the close".into(),
            Step::FinishLowering => "finishes the lowering".into(),
            Step::Nothing | Step::Wait { .. } => return,
        };
        let late = if urgency.value() >= 10_000 {
            ", after the answer was due"
        } else {
            ""
        };
        self.view
            .acts
            .push(format!("channel {serial}: {what}{late}"));
        self.written = None;
    }

    pub(super) fn write(&mut self, vouchers: &Vouchers, transactions: usize) {
        if self.written.is_some_and(|at| at.elapsed() < INTERVAL) {
            return;
        }
        self.written = Some(Instant::now());
        self.view.transactions = transactions;
        self.view.lanes = self
            .names
            .values()
            .map(|name| (name.clone(), Lanes::default()))
            .collect();
        for kept in vouchers.all() {
            let name = self.names.get(&kept.principal);
            let name = name.map_or("one that the configuration no longer names", String::as_str);
            let lanes = self.view.lanes.entry(name.to_owned()).or_default();
            lanes.count += 1;
            if lanes.held.len() < HELD_SHOWN_MAX {
                let of = format!("{}/{}", kept.lane.vault, kept.lane.serial);
                lanes.held.insert(of, Units(kept.amount));
            }
        }
        let beside = self.path.with_extension("new");
        let text = serde_json::to_string_pretty(&self.view).expect("plain data");
        // A status that cannot be written is seen to be old; the slots are what tells of a full disk.
        let _ = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &self.path));
    }
}
