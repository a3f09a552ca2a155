//! Channels sold just in time: the policy, what was promised, and the channels that it led to. All amounts are in millisatoshi.

use alloc::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_channel::NodeId;
use forebay_market::DAY;
use forebay_quantity::{Amount, EffectId, Ppm, Timestamp};

use super::bounds;
use super::liquidity::LightningChannelId;
use crate::sale::SaleTerms;

/// A sale: the short channel id that stands in the buyer's invoice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct SaleId(pub u64);

/// Who may buy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Buyers {
    /// Nobody.
    Nobody,
    /// Nodes that settle for an account here.
    Peers,
    /// Any node.
    Anyone,
}

/// To whom channels are sold, how large, and for what.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SalePolicy {
    /// Who may buy.
    pub buyers: Buyers,
    /// A smaller payment opens no channel.
    pub payment_min: Amount,
    /// No channel sold is larger.
    pub channel_max: Amount,
    /// All channels sold together hold no more.
    pub sold_max: Amount,
    /// What a channel costs at least, whatever miners take.
    pub fee_min: Amount,
    /// What it costs beyond miners and the rent of its money, of the payment.
    pub fee_ppm: Ppm,
    /// What a channel holds beyond the payment, of the payment.
    pub room_ppm: Ppm,
    /// How long a channel is kept open at least.
    pub lifetime_ms: u64,
    /// How long terms stand.
    pub valid_ms: u64,
}

impl Default for SalePolicy {
    fn default() -> Self {
        Self {
            buyers: Buyers::Peers,
            payment_min: Amount::new(10_000_000),
            channel_max: Amount::new(10_000_000_000),
            sold_max: Amount::new(50_000_000_000),
            fee_min: Amount::new(1_000_000),
            fee_ppm: Ppm(0),
            room_ppm: Ppm(200_000),
            lifetime_ms: 30 * DAY.0,
            valid_ms: 600_000,
        }
    }
}

/// One sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Sale {
    /// The buyer.
    pub node: NodeId,
    /// On these terms.
    pub terms: SaleTerms,
    /// The demand that its payment led to: the channel's number.
    pub demand: Option<EffectId>,
    /// What we put into the channel.
    pub value: Amount,
    /// Whether the channel is funded.
    pub is_funded: bool,
    /// What was withheld for it.
    pub earned: Amount,
    /// What miners were paid for it.
    pub cost: Amount,
    /// When it was opened.
    pub(crate) opened_at: Timestamp,
    /// When a payment last passed through it.
    pub(crate) used_at: Timestamp,
    /// The demand that closes it.
    pub(crate) closing: Option<EffectId>,
    /// A closing that failed is tried again from then on.
    pub(crate) retry_at: Timestamp,
    /// What was ours in it when it was closed.
    pub(crate) closed: Option<Amount>,
}

impl Sale {
    pub(crate) fn promised(node: NodeId, terms: SaleTerms) -> Self {
        Self {
            node,
            terms,
            demand: None,
            value: Amount::ZERO,
            is_funded: false,
            earned: Amount::ZERO,
            cost: Amount::ZERO,
            opened_at: Timestamp(0),
            used_at: Timestamp(0),
            closing: None,
            retry_at: Timestamp(0),
            closed: None,
        }
    }

    /// The channel that it led to, or is leading to.
    pub fn channel(&self) -> Option<LightningChannelId> {
        let EffectId(number) = self.demand?;
        Some(LightningChannelId(u128::from(number)))
    }

    /// Whether nobody can begin it any more.
    pub(crate) fn is_stale(&self, now: Timestamp) -> bool {
        self.demand.is_none() && now > self.terms.valid_until
    }
}

/// All that is known of sales, and of payments that passed through.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Sales {
    pub(crate) policy: SalePolicy,
    /// Those that are not over.
    pub(crate) open: BTreeMap<SaleId, Sale>,
    /// The number of the last payment that passed through.
    pub(crate) forwards: u64,
    /// All that was withheld for channels sold.
    pub earned: Amount,
    /// All that miners were paid for them, closed ones included.
    pub cost: Amount,
    /// What payments that passed through have earned beyond that.
    pub routed: Amount,
}

impl Sales {
    /// To whom, how large, and for what.
    pub fn policy(&self) -> &SalePolicy {
        &self.policy
    }

    /// Promises, and channels that are not closed for good.
    pub fn open(&self) -> impl Iterator<Item = (SaleId, &Sale)> {
        self.open.iter().map(|(id, sale)| (*id, sale))
    }

    /// What lies in channels sold, those being opened included.
    pub fn held(&self) -> Amount {
        let values = self.open.values().filter(|sale| sale.closed.is_none());
        values.fold(Amount::ZERO, |sum, sale| sum.saturating_add(sale.value))
    }

    pub(crate) fn by_channel(&self, channel: LightningChannelId) -> Option<(SaleId, &Sale)> {
        let mut open = self.open();
        open.find(|(_, sale)| sale.channel() == Some(channel))
    }

    /// How many of a node's are neither stale nor closed, and how many of all.
    pub(crate) fn count(&self, node: NodeId, now: Timestamp) -> (usize, usize) {
        let live = self.open.values().filter(|sale| !sale.is_stale(now));
        let live = live.filter(|sale| sale.closed.is_none());
        let (mut of_node, mut all) = (0, 0);
        for sale in live {
            all += 1;
            of_node += usize::from(sale.node == node);
        }
        (of_node, all)
    }

    /// Makes room for one more: of what nobody can begin any more, and then of a closed channel whose money never came back.
    pub(crate) fn make_room(&mut self, now: Timestamp) {
        if self.open.len() >= bounds::SALES_MAX / 2 {
            self.open.retain(|_, sale| !sale.is_stale(now));
        }
        if self.open.len() >= bounds::SALES_MAX {
            let mut closed = self.open.iter().filter(|(_, sale)| sale.closed.is_some());
            if let Some(oldest) = closed.next().map(|(id, _)| *id) {
                self.open.remove(&oldest);
            }
        }
    }
}
