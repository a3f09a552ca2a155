//! What is true of the pool's money, whatever the pool believes: each movement under its name, once.

use std::collections::BTreeMap;

use forebay_pool::Outpoint;
use forebay_quantity::{EffectId, Hash32};

use super::{InvoiceName, Lightning, Owner};

/// What made the pool's money more or less; it counts once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Money {
    /// An output to the hot wallet, once it is buried.
    Deposited(Outpoint),
    /// A paid invoice of ours.
    Received(InvoiceName),
    /// A claimed hold invoice of ours.
    Claimed(Hash32),
    /// A payment of ours that arrived.
    Sent(Hash32),
    /// What funding a channel cost.
    Funded(u128),
    /// What a splice cost.
    Spliced(Hash32),
    /// What closing a channel cost.
    Closed(u128),
    /// A payment of the hot wallet, and what it cost.
    Paid(EffectId),
    /// What a spend of the reserve cost.
    Spent(Hash32),
}

/// All movements, in msat.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth(BTreeMap<Money, i128>);

impl Truth {
    pub(super) fn moved(&mut self, what: Money, msat: i128) {
        let earlier = self.0.insert(what, msat);
        assert!(
            earlier.is_none(),
            "the fake of Bitcoin moves {what:?} twice"
        );
    }
}

impl Lightning {
    /// By how much a movement made the pool's money more, in msat; none when it never happened.
    pub fn moved(&self, what: Money) -> Option<i128> {
        self.truth.0.get(&what).copied()
    }

    /// Every movement there was.
    pub fn movements(&self) -> impl Iterator<Item = Money> {
        self.truth.0.keys().copied()
    }

    /// Whether a movement's transaction is buried, where it has one: until then nobody has to have heard of it.
    pub fn is_old(&self, what: Money) -> bool {
        let txid = match what {
            Money::Deposited(_) | Money::Received(_) | Money::Claimed(_) | Money::Sent(_) => None,
            Money::Funded(channel) => self.channel(channel).map(|channel| channel.funding),
            Money::Closed(channel) => self.closing(channel),
            Money::Paid(id) => self
                .signed()
                .find(|(of, _)| *of == id)
                .map(|(_, txid)| txid),
            Money::Spliced(txid) | Money::Spent(txid) => Some(txid),
        };
        txid.is_none_or(|txid| self.chain.is_buried(txid))
    }

    /// All the pool has, in msat: its coins, its side of channels, and what is under way and may still come back.
    pub fn money_msat(&self) -> i128 {
        let coins = self.chain.unspent().filter(|(outpoint, coin)| {
            match coin.owner {
                Owner::Wallet | Owner::Reserve => true,
                // Nobody's until no reorg can lose it.
                Owner::Deposit(_) => self.chain.is_buried(outpoint.txid),
                Owner::Channel(_) | Owner::Stranger => false,
            }
        });
        let on_chain: i128 = coins.map(|(_, coin)| i128::from(coin.sat) * 1_000).sum();
        let in_channels: i128 = self
            .channels
            .values()
            .map(|channel| channel.ours_after())
            .sum();
        on_chain + in_channels + i128::from(self.under_way_msat())
    }

    /// What payments of ours hold, with their fees.
    fn under_way_msat(&self) -> u64 {
        let pending = self
            .payments
            .values()
            .filter(|payment| payment.is_pending());
        pending
            .map(|payment| payment.invoice.amount_msat + payment.fee_msat)
            .sum()
    }

    /// The fake loses track of nothing.
    ///
    /// # Panics
    /// When it does.
    pub fn check(&self) {
        let moved: i128 = self.truth.0.values().sum();
        assert_eq!(
            self.money_msat(),
            moved,
            "the fake of Bitcoin lost track of money"
        );
        for (number, channel) in &self.channels {
            let coins = self
                .chain
                .unspent()
                .filter(|(_, coin)| coin.owner == Owner::Channel(*number));
            let funded: i128 = coins.map(|(_, coin)| i128::from(coin.sat) * 1_000).sum();
            let held = self.held.values().filter(|held| held.channel == *number);
            let held: i128 = held.map(|held| i128::from(held.amount_msat)).sum();
            let pending = self
                .payments
                .values()
                .filter(|payment| payment.is_pending());
            let out: i128 = pending
                .map(|payment| i128::from(payment.through(*number)))
                .sum();
            let inside = channel.ours_after() + i128::from(channel.theirs_msat) + held + out;
            assert_eq!(
                inside, funded,
                "the fake's channel {number} lost track of money"
            );
        }
    }
}
