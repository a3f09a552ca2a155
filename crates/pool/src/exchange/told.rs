//! What we tell neighbours: one table of prefixes for all of them, in which each change has the next epoch.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use forebay_ilp::ccp::{Route, Span, TableId, Update};
use forebay_ilp::{AddressBuf, oer};
use forebay_quantity::PeerId;
use sha2::{Digest, Sha256};

use super::bounds;
use crate::state::RelationKind;

/// A prefix that we reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advert {
    /// By whom, and what that peer is to us; `None` for our own address.
    pub(super) by: Option<(PeerId, RelationKind)>,
    pub(super) path: Vec<AddressBuf>,
    pub(super) auth: [u8; 32],
}

#[derive(Debug)]
struct Entry {
    epoch: u32,
    advert: Option<Advert>,
}

/// The table, and the order in which it changed.
#[derive(Debug)]
pub(super) struct Told {
    secret: [u8; 32],
    life: u64,
    pub(super) table: TableId,
    /// Number of changes: the epoch that the next one gets.
    pub(super) epoch: u32,
    entries: BTreeMap<Vec<u8>, Entry>,
    order: BTreeMap<u32, Vec<u8>>,
    withdrawn: usize,
    /// Withdrawals before this epoch are forgotten: who knows less begins anew.
    forgotten: u32,
}

impl Told {
    /// An empty table; `secret` is new at each start, so that no two starts share a table's name.
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self {
            secret,
            life: 0,
            table: table_id(&secret, 0),
            epoch: 0,
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            withdrawn: 0,
            forgotten: 0,
        }
    }

    /// Proof of origin for a prefix of ours, and what it becomes at each hop.
    pub(super) fn auth(&self, prefix: &[u8]) -> [u8; 32] {
        let digest = Sha256::new_with_prefix(self.secret);
        digest.chain_update(prefix).finalize().into()
    }

    /// Says a prefix anew; whether that changed anything.
    pub(super) fn set(&mut self, prefix: &[u8], advert: Option<Advert>) -> bool {
        let before = self.entries.get(prefix);
        if before.map_or(advert.is_none(), |entry| entry.advert == advert) {
            return false;
        }
        if let Some(entry) = before {
            self.order.remove(&entry.epoch);
            self.withdrawn -= usize::from(entry.advert.is_none());
        }
        self.withdrawn += usize::from(advert.is_none());
        let epoch = self.epoch;
        self.epoch += 1;
        self.order.insert(epoch, prefix.to_vec());
        self.entries
            .insert(prefix.to_vec(), Entry { epoch, advert });
        if self.withdrawn > bounds::WITHDRAWN_MAX {
            self.forget_withdrawn();
        }
        true
    }

    /// Whether somebody who knows the table up to `epoch` can be told the rest.
    pub(super) fn reaches_back_to(&self, epoch: u32) -> bool {
        (epoch == 0 || epoch >= self.forgotten) && self.epoch < u32::MAX
    }

    /// Begins a new table of the same prefixes.
    pub(super) fn begin_anew(&mut self) {
        self.life += 1;
        self.table = table_id(&self.secret, self.life);
        self.epoch = 0;
        self.withdrawn = 0;
        self.forgotten = 0;
        self.order.clear();
        self.entries.retain(|_, entry| entry.advert.is_some());
        for (prefix, entry) in &mut self.entries {
            entry.epoch = self.epoch;
            self.order.insert(self.epoch, prefix.clone());
            self.epoch += 1;
        }
    }

    /// The next part of the table for a neighbour that knows it up to `known`; what it must not hear is withdrawn.
    pub(super) fn update(
        &self,
        speaker: &AddressBuf,
        known: u32,
        may_hear: impl Fn(&Advert) -> bool,
    ) -> Update {
        let mut update = Update {
            span: Span {
                table: self.table,
                current_epoch: self.epoch,
                from_epoch: known,
                to_epoch: self.epoch,
                hold_down_ms: bounds::HOLD_DOWN_MS,
            },
            speaker: speaker.clone(),
            routes: Vec::new(),
            withdrawn: Vec::new(),
        };
        let mut bytes = 0;
        for (epoch, prefix) in self.order.range(known..) {
            let advert = self
                .entries
                .get(prefix)
                .and_then(|entry| entry.advert.as_ref());
            let route = advert
                .filter(|advert| may_hear(advert))
                .map(|advert| Route {
                    prefix: prefix.clone(),
                    path: advert.path.clone(),
                    auth: advert.auth,
                });
            bytes += route
                .as_ref()
                .map_or(oer::var_size(prefix.len()), Route::size);
            if bytes > bounds::UPDATE_BYTES_MAX {
                update.span.to_epoch = *epoch;
                break;
            }
            match route {
                Some(route) => update.routes.push(route),
                None => update.withdrawn.push(prefix.clone()),
            }
        }
        update
    }

    /// Forgets the older half of the withdrawals.
    fn forget_withdrawn(&mut self) {
        let withdrawn = self.order.iter().filter(|(_, prefix)| {
            let entry = self.entries.get(*prefix);
            entry.is_some_and(|entry| entry.advert.is_none())
        });
        let oldest = withdrawn.take(bounds::WITHDRAWN_MAX / 2);
        let oldest: Vec<_> = oldest
            .map(|(epoch, prefix)| (*epoch, prefix.clone()))
            .collect();
        for (epoch, prefix) in oldest {
            self.order.remove(&epoch);
            self.entries.remove(&prefix);
            self.withdrawn -= 1;
            self.forgotten = epoch + 1;
        }
    }
}

fn table_id(secret: &[u8; 32], life: u64) -> TableId {
    let digest = Sha256::new_with_prefix(secret).chain_update(life.to_be_bytes());
    let digest: [u8; 32] = digest.finalize().into();
    TableId(*digest.first_chunk().expect("32 bytes begin with 16"))
}
