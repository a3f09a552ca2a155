//! What needs somebody: judged from the state, so that nobody outside has to.

use forebay_channel::Notice;
use forebay_quantity::{Amount, AssetId, PPM_ONE, PeerId, Timestamp};

use crate::state::State;

/// At day 90 the members could spend an output alone: by day 60 it was to be renewed.
const RENEWAL_LATE_DAYS: u32 = 60;

/// One thing that needs somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// The vault runs down: nothing but claims and redemptions is possible.
    RunsDown(AssetId),
    /// The committee froze raises and renewals.
    Frozen(AssetId),
    /// An asset's book is stopped.
    Halted(AssetId),
    /// An asset has no price that is believed.
    NotQuoted(AssetId),
    /// Less is behind an asset's claims than is claimed, in parts per million of them [I15].
    UnderCovered(AssetId, u64),
    /// An asset's chain was not heard of for so long that its peers' vouchers are not taken.
    Silent(AssetId),
    /// Debits and credits differ, which only a bug can do [I1].
    Unbalanced,
    /// A notice runs on a peer's channel.
    Notice(PeerId, Notice),
    /// An output of the reserve on Bitcoin is this many days old, and was to be renewed before.
    ReserveLate(AssetId, u32),
    /// The operator's key alone holds more on Bitcoin than it should, in ledger units.
    AboveCap(AssetId, Amount),
}

impl State {
    /// Everything that needs somebody at `now`, assets first.
    pub fn alarms(&self, now: Timestamp) -> impl Iterator<Item = Alarm> + '_ {
        let unbalanced = self.ledger.check_balanced().is_err();
        let books = self
            .assets()
            .filter_map(move |(id, asset)| match asset.halted {
                _ if asset.vault.runs_down => Some(Alarm::RunsDown(id)),
                _ if now < asset.vault.frozen_until => Some(Alarm::Frozen(id)),
                true => Some(Alarm::Halted(id)),
                false if asset.quoted(now).is_none() => Some(Alarm::NotQuoted(id)),
                false => None,
            });
        let covered = (0..).map(AssetId).zip(self.coverages());
        let covered = covered.filter_map(|(id, coverage)| {
            let ratio = coverage.ratio_ppm()?;
            (ratio < u64::from(PPM_ONE)).then_some(Alarm::UnderCovered(id, ratio))
        });
        let notices = self.peers().flat_map(|(id, peer)| {
            let channel = peer.channel.iter();
            channel
                .flat_map(|channel| channel.notices())
                .map(move |notice| Alarm::Notice(id, notice))
        });
        let silent = self.assets().filter_map(move |(id, _)| {
            let mut peers = self.peers();
            let has_channel = peers.any(|(_, peer)| peer.asset == id && peer.channel.is_some());
            (has_channel && !self.hears(now, id)).then_some(Alarm::Silent(id))
        });
        let on_bitcoin = self.asset_on_bitcoin();
        let reserve = on_bitcoin
            .into_iter()
            .flat_map(|id| self.reserve_alarms(id));
        let unbalanced = unbalanced.then_some(Alarm::Unbalanced);
        unbalanced
            .into_iter()
            .chain(books)
            .chain(covered)
            .chain(silent)
            .chain(reserve)
            .chain(notices)
    }

    fn reserve_alarms(&self, id: AssetId) -> impl Iterator<Item = Alarm> + use<> {
        let days = self.reserve.found.oldest_days;
        let late = (days >= RENEWAL_LATE_DAYS).then_some(Alarm::ReserveLate(id, days));
        let swept = self.reserve.sweep.map(|(_, amount)| amount);
        let hot = self.hot(id).saturating_sub(swept.unwrap_or_default());
        let rules = self.reserve.rules;
        let is_above = rules.is_some_and(|rules| hot > rules.hot_max);
        let above = is_above.then(|| Alarm::AboveCap(id, self.asset_of(id).ledger_ceil(hot)));
        late.into_iter().chain(above)
    }
}
