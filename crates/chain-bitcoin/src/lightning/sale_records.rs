//! What is kept of channels sold just in time: in memory, and in the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use borsh::{BorshDeserialize, BorshSerialize};

use super::observation::{ChannelNumber, NodeId};
use super::record;
use super::store::Store;
use crate::Fault;

/// How long parts of a payment wait for the others, and the whole for the listener's word (bLIP-52: 90 seconds).
const HOLDING_PATIENCE: Duration = Duration::from_secs(90);
/// Sales that are not over: a listener bounds those of each buyer.
const SALES_MAX: usize = 10_000;

const SALES: &[u8] = b"sale/";

/// One sale.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub(crate) struct Sale {
    pub(crate) node: NodeId,
    /// After this, in seconds, no payment begins it.
    pub(crate) valid_until_s: u64,
    /// The whole payment and the fee, in msat, once all of it is held and its channel is to be asked for.
    pub(crate) asked: Option<(u64, u64)>,
    /// What it led to.
    pub(crate) channel: Option<u128>,
    /// Parts that were neither forwarded nor sent back, as far as is known here.
    pub(crate) held: Vec<[u8; 32]>,
    /// What was withheld so far, in msat.
    pub(crate) earned_msat: u64,
}

#[derive(Default)]
struct Known {
    sales: BTreeMap<u64, Sale>,
    /// Since when something is held for a sale.
    held_since: BTreeMap<u64, Instant>,
}

/// All sales that are not over.
pub(crate) struct Sales {
    store: Arc<Store>,
    known: Mutex<Known>,
}

impl Sales {
    /// Goes on with what the store holds.
    pub(crate) fn load(store: Arc<Store>) -> Result<Self, Fault> {
        let mut known = Known::default();
        for (key, value) in store.written_under(SALES)? {
            let number = key.try_into().map_err(|_| Fault::Store {
                detail: "a sale's number cannot be read".to_owned(),
            })?;
            let number = u64::from_be_bytes(number);
            let sale: Sale = record::read(&value)?;
            if !sale.held.is_empty() {
                known.held_since.insert(number, Instant::now());
            }
            known.sales.insert(number, sale);
        }
        Ok(Self {
            store,
            known: Mutex::new(known),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn find(&self, number: u64) -> Option<Sale> {
        self.lock().sales.get(&number).cloned()
    }

    pub(crate) fn by_channel(&self, channel: ChannelNumber) -> Option<(u64, Sale)> {
        let known = self.lock();
        let mut sales = known.sales.iter();
        let found = sales.find(|(_, sale)| sale.channel == Some(channel.0));
        found.map(|(number, sale)| (*number, sale.clone()))
    }

    /// Changes a sale, here and in the store; says how it is then.
    pub(crate) fn change(&self, number: u64, change: impl FnOnce(&mut Sale)) -> Option<Sale> {
        let changed = self.change_unwritten(number, change)?;
        self.store.write([entry_of(number, &changed)]);
        Some(changed)
    }

    pub(crate) fn change_unwritten(
        &self,
        number: u64,
        change: impl FnOnce(&mut Sale),
    ) -> Option<Sale> {
        let mut known = self.lock();
        let sale = known.sales.get_mut(&number)?;
        change(sale);
        let changed = sale.clone();
        if changed.held.is_empty() {
            known.held_since.remove(&number);
        } else {
            known.held_since.entry(number).or_insert_with(Instant::now);
        }
        Some(changed)
    }

    pub(crate) fn put(&self, number: u64, sale: Sale) -> Result<(), Fault> {
        let mut known = self.lock();
        if known.sales.len() >= SALES_MAX {
            return Err(Fault::Channel {
                why: "too many sales are not over".to_owned(),
            });
        }
        self.store.write([entry_of(number, &sale)]);
        known.sales.insert(number, sale);
        Ok(())
    }

    pub(crate) fn forget(&self, number: u64) {
        let mut known = self.lock();
        known.sales.remove(&number);
        known.held_since.remove(&number);
        self.store.write([(sale_key(number), None)]);
    }

    /// Sales whose channel was asked for, as far as is known here without an answer.
    pub(crate) fn asked(&self) -> Vec<u64> {
        let known = self.lock();
        let sales = known.sales.iter();
        sales
            .filter(|(_, sale)| sale.asked.is_some() && sale.channel.is_none())
            .map(|(number, _)| *number)
            .collect()
    }

    /// Sales for which something is held for long, without a channel that is being opened, and those that nobody can begin any
    /// more.
    pub(crate) fn overdue(&self, is_there: impl Fn(ChannelNumber) -> bool) -> (Vec<u64>, Vec<u64>) {
        let known = self.lock();
        let held = known.held_since.iter();
        let held = held.filter(|(_, since)| since.elapsed() >= HOLDING_PATIENCE);
        let held = held.filter(|(number, _)| {
            let channel = known.sales.get(*number).and_then(|sale| sale.channel);
            channel.is_none_or(|channel| !is_there(ChannelNumber(channel)))
        });
        let stale = known.sales.iter().filter(|(_, sale)| {
            sale.channel.is_none() && sale.held.is_empty() && is_past(sale.valid_until_s)
        });
        (
            held.map(|(number, _)| *number).collect(),
            stale.map(|(number, _)| *number).collect(),
        )
    }
}

pub(crate) fn is_past(time_s: u64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs() > time_s
}

pub(crate) fn entry_of(number: u64, sale: &Sale) -> (Vec<u8>, Option<Vec<u8>>) {
    (sale_key(number), Some(record::write(sale)))
}

fn sale_key(number: u64) -> Vec<u8> {
    [SALES, &number.to_be_bytes()].concat()
}
