//! What a watchtower keeps: one voucher a lane and principal, in one slot of constant size.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_channel::{Address, GuardedLane};
use forebay_quantity::{Amount, ChannelSerial};
use sha2::{Digest, Sha256};

use crate::slots::Slots;

/// A principal, by a hash of its name, which stays the same in every start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, BorshSerialize, BorshDeserialize)]
pub(super) struct PrincipalId([u8; 16]);

impl PrincipalId {
    pub(super) fn of(name: &str) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&Sha256::digest(name.as_bytes())[..16]);
        Self(id)
    }
}

/// A voucher that was kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(super) struct Kept {
    pub(super) principal: PrincipalId,
    pub(super) lane: GuardedLane,
    /// Cumulative, in the chain's base units.
    pub(super) amount: Amount,
    pub(super) signature: [u8; 64],
    /// Who signed it.
    pub(super) payer: Address,
}

/// Why a voucher is not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepFault {
    /// The principal has used up its places.
    #[error("this watchtower guards no more than {0} lanes for one principal")]
    Full(usize),
    /// The disk failed.
    #[error("the watchtower's disk failed: {0}")]
    Disk(#[from] io::Error),
}

/// All vouchers, on disk and in memory.
pub(super) struct Vouchers {
    slots: Slots,
    kept: BTreeMap<(GuardedLane, PrincipalId), (usize, Kept)>,
    lanes_max: usize,
}

impl Vouchers {
    pub(super) fn open(path: &Path, lanes_max: usize, principals: usize) -> io::Result<Self> {
        let (slots, records) = Slots::open(path, lanes_max.saturating_mul(principals))?;
        let mut kept = BTreeMap::new();
        for (place, record) in records {
            let voucher = Kept::try_from_slice(&record).map_err(|_| {
                io::Error::other(format!(
                    "slot {place} of {} was not written by this version",
                    path.display()
                ))
            })?;
            kept.insert((voucher.lane, voucher.principal), (place, voucher));
        }
        Ok(Self {
            slots,
            kept,
            lanes_max,
        })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Kept> {
        self.kept.values().map(|(_, kept)| kept)
    }

    /// What is kept for the lanes of a channel.
    pub(super) fn of_channel(
        &self,
        chain_id: u64,
        vault: Address,
        serial: ChannelSerial,
    ) -> impl Iterator<Item = &Kept> {
        let lane = |lane| GuardedLane {
            chain_id,
            vault,
            serial,
            lane,
        };
        let (first, last) = (
            lane(forebay_channel::LaneId::Pool),
            lane(forebay_channel::LaneId::Peer),
        );
        let from = (first, PrincipalId([0; 16]));
        let to = (last, PrincipalId([0xff; 16]));
        self.kept.range(from..=to).map(|(_, (_, kept))| kept)
    }

    pub(super) fn amount(&self, lane: &GuardedLane, principal: PrincipalId) -> Amount {
        let kept = self.kept.get(&(*lane, principal));
        kept.map_or(Amount::ZERO, |(_, kept)| kept.amount)
    }

    /// Keeps a voucher in place of the one before it; durable after [`Vouchers::sync`].
    ///
    /// # Errors
    /// [`KeepFault`].
    pub(super) fn keep(&mut self, voucher: Kept) -> Result<(), KeepFault> {
        let key = (voucher.lane, voucher.principal);
        let place = match self.kept.get(&key) {
            Some((place, _)) => *place,
            None => self.place_for(voucher.principal)?,
        };
        let record = borsh::to_vec(&voucher).expect("memory takes every byte");
        self.slots.write(place, &record)?;
        self.kept.insert(key, (place, voucher));
        Ok(())
    }

    fn place_for(&mut self, principal: PrincipalId) -> Result<usize, KeepFault> {
        let used = self.kept.keys().filter(|(_, owner)| *owner == principal);
        if used.count() >= self.lanes_max {
            return Err(KeepFault::Full(self.lanes_max));
        }
        self.slots.free().ok_or(KeepFault::Full(self.lanes_max))
    }

    /// Lets go of a voucher that can never be redeemed again.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn drop(&mut self, lane: GuardedLane, principal: PrincipalId) -> io::Result<()> {
        match self.kept.remove(&(lane, principal)) {
            Some((place, _)) => self.slots.write(place, b""),
            None => Ok(()),
        }
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.slots.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_channel::LaneId;

    fn voucher(principal: &str, serial: u64, amount: u128) -> Kept {
        Kept {
            principal: PrincipalId::of(principal),
            lane: GuardedLane {
                chain_id: 1,
                vault: Address::new([7; 20]),
                serial: ChannelSerial::new(serial),
                lane: LaneId::Peer,
            },
            amount: Amount::new(amount),
            signature: [3; 64],
            payer: Address::new([2; 20]),
        }
    }

    #[test]
    fn storage_a_channel_is_constant_however_often_its_voucher_grows() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("vouchers");
        let mut vouchers = Vouchers::open(&path, 10, 2).expect("it opens");
        let length = || std::fs::metadata(&path).expect("there").len();
        for serial in 1..=3 {
            vouchers.keep(voucher("pool", serial, 1)).expect("kept");
        }
        let before = length();
        assert_eq!(before, 3 * 512);
        for amount in 2..=5_000 {
            vouchers.keep(voucher("pool", 2, amount)).expect("kept");
        }
        vouchers.sync().expect("synced");
        assert_eq!(length(), before, "five thousand vouchers later");
        drop(vouchers);
        let vouchers = Vouchers::open(&path, 10, 2).expect("it opens");
        let kept = vouchers.amount(&voucher("pool", 2, 0).lane, PrincipalId::of("pool"));
        assert_eq!(kept, Amount::new(5_000));
        assert_eq!(vouchers.all().count(), 3);
    }

    #[test]
    fn a_principal_has_its_own_places_and_a_dropped_one_is_free_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("vouchers");
        let mut vouchers = Vouchers::open(&path, 2, 2).expect("it opens");
        for serial in 1..=2 {
            vouchers.keep(voucher("pool", serial, 1)).expect("kept");
        }
        assert!(matches!(
            vouchers.keep(voucher("pool", 3, 1)),
            Err(KeepFault::Full(2))
        ));
        vouchers.keep(voucher("pool", 2, 2)).expect("a known lane");
        vouchers.keep(voucher("peer", 1, 1)).expect("another's");
        let first = voucher("pool", 1, 0);
        vouchers.drop(first.lane, first.principal).expect("dropped");
        vouchers.keep(voucher("pool", 3, 1)).expect("room again");
        let (chain, vault) = (first.lane.chain_id, first.lane.vault);
        let of_first = vouchers.of_channel(chain, vault, ChannelSerial::new(1));
        assert_eq!(of_first.count(), 1, "the peer's, on the same lane");
    }
}
