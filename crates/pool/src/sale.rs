//! Channels sold just in time on Lightning: to a node without inbound capacity, when a payment for it arrives. And what is
//! earned by payments that pass through. All amounts are in millisatoshi.

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_channel::NodeId;
use forebay_quantity::{Amount, Hash32, PeerId, Timestamp};

use crate::state::{LightningChannelId, SaleId};

/// On what terms a channel is sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SaleTerms {
    /// What it costs at least.
    pub fee_min: Amount,
    /// What it costs, in millionths of the payment that opens it.
    pub fee_ppm: u32,
    /// Until when a payment may begin it.
    pub valid_until: Timestamp,
    /// How long it is kept open.
    pub lifetime_ms: u64,
    /// The smallest payment that opens it.
    pub payment_min: Amount,
    /// The largest.
    pub payment_max: Amount,
}

impl SaleTerms {
    /// What is withheld of a payment, rounded up as bLIP-52 says.
    pub fn fee(&self, payment: Amount) -> Amount {
        let part = payment.mul_div_ceil(u128::from(self.fee_ppm), 1_000_000);
        part.unwrap_or(Amount::MAX).max(self.fee_min)
    }
}

/// What a node asks, or the Lightning node observes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaleCommand {
    /// A node takes terms that we offered it.
    Bought {
        /// Drawn by our node for this sale.
        sale: SaleId,
        /// The buyer.
        node: NodeId,
        /// As we offered them.
        terms: SaleTerms,
        /// The payment that will open the channel, where it is known.
        payment: Option<Amount>,
    },
    /// The payment that opens the channel is held.
    PaymentHeld {
        /// Which sale.
        sale: SaleId,
        /// What is held.
        amount: Amount,
        /// What will be withheld of it.
        fee: Amount,
        /// What the wallet can put into one more channel.
        spendable: Amount,
    },
    /// A payment of others passed through.
    Forwarded {
        /// Above the numbers of all before.
        number: u64,
        /// All that stays with us.
        fee: Amount,
        /// What of it was withheld for a channel that was sold.
        withheld: Amount,
        /// The channel by which it went on, where it is known.
        channel: Option<LightningChannelId>,
    },
}

/// A fact about sales. The variant order is the wire format (`spec/events.md`): new variants go to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SaleEvent {
    /// A payment that arrives for this sale may open a channel.
    Promised {
        /// Which sale.
        sale: SaleId,
        /// The buyer.
        node: NodeId,
        /// On these terms.
        terms: SaleTerms,
    },
    /// The channel is funded.
    Funded {
        /// Which sale.
        sale: SaleId,
        /// What miners were paid.
        fee: Amount,
    },
    /// A payment of others passed through.
    Forwarded {
        /// Its number.
        number: u64,
        /// All that stays with us.
        fee: Amount,
        /// What of it was withheld for a channel that was sold.
        withheld: Amount,
        /// The sale by whose channel it went on.
        sale: Option<SaleId>,
        /// Or the peer by whose channel.
        peer: Option<PeerId>,
    },
    /// The channel takes no more payments.
    Closed {
        /// Which sale.
        sale: SaleId,
        /// What was ours in it.
        balance: Amount,
    },
    /// All that comes back of the closed channel has.
    Returned {
        /// Which sale.
        sale: SaleId,
        /// What of ours did not come back, beside what was paid for by transaction.
        cost: Amount,
        /// What came beyond what was ours.
        gain: Amount,
    },
    /// A transaction that brings the closed channel's money back is final.
    ClosingPaid {
        /// Which sale.
        sale: SaleId,
        /// The transaction.
        txid: Hash32,
        /// What it paid to miners.
        fee: Amount,
    },
}
