//! What may happen on Lightning, and what did: settlements both ways, and what the channels with a peer can carry. All
//! amounts are in millisatoshi, the chain unit of an asset on Bitcoin.

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_channel::NodeId;
use forebay_quantity::{Amount, EffectId, Hash32, PeerId, Timestamp};

use crate::state::LightningChannelId;

/// What an invoice says, read from its text outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize)]
pub struct InvoiceTerms {
    /// What unlocks it is the preimage of this.
    pub hash: Hash32,
    /// What is to be paid.
    pub amount: Amount,
    /// Who is paid.
    pub payee: NodeId,
    /// After this the payee takes it no more.
    pub expires_at: Timestamp,
}

/// A wish of a peer, or an observation of the Lightning node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LightningCommand {
    /// A peer has proved that this node settles for it.
    NodeNamed {
        /// Whose.
        peer: PeerId,
        /// The node.
        node: NodeId,
    },
    /// A peer wants to pay and asks for an invoice.
    InvoiceAsked {
        /// Who pays.
        peer: PeerId,
        /// Its number for the settlement.
        settlement: u64,
        /// What it will pay.
        amount: Amount,
    },
    /// An invoice of ours was paid, and what it brought is ours for good.
    Received {
        /// Who asked for the invoice.
        peer: PeerId,
        /// Its number for the settlement.
        settlement: u64,
        /// What arrived.
        amount: Amount,
    },
    /// A peer told the invoice of a settlement that pays it.
    InvoiceTold {
        /// Who is paid.
        peer: PeerId,
        /// Our number for the settlement.
        settlement: EffectId,
        /// What the invoice says.
        invoice: InvoiceTerms,
    },
    /// A peer takes no payment now.
    InvoiceRefused {
        /// Who would be paid.
        peer: PeerId,
        /// Our number for the settlement.
        settlement: EffectId,
    },
    /// A payment of ours arrived.
    Sent {
        /// Its payment hash.
        hash: Hash32,
        /// What routing it cost.
        fee: Amount,
    },
    /// A payment of ours failed for certain: nothing of it is under way any more.
    Failed {
        /// Its payment hash.
        hash: Hash32,
    },
    /// The channel that a demand asked for is funded: its transaction is on its way to the chain.
    Funded {
        /// The demand.
        demand: EffectId,
        /// What it paid to miners.
        fee: Amount,
    },
    /// The pool has started: what channels carried before may have changed, and is not known until it is told again.
    Started,
    /// The node's store was written so often by now.
    Stored {
        /// How often.
        generation: u64,
    },
    /// What the usable channels with a peer can carry now.
    Capacity {
        /// Which peer.
        peer: PeerId,
        /// From us to it.
        outbound: Amount,
        /// From it to us.
        inbound: Amount,
    },
    /// A channel with a peer can be used, or is of another size than before; told after what it carries now.
    ChannelStands {
        /// Which peer.
        peer: PeerId,
        /// The channel.
        channel: LightningChannelId,
        /// Both ends' money in it.
        value: Amount,
        /// Whether we opened it.
        is_ours: bool,
        /// Whether both ends can make it larger and smaller.
        splices: bool,
    },
    /// A channel is made larger or smaller at our wish: the transaction is on its way to the chain.
    Spliced {
        /// The channel.
        channel: LightningChannelId,
        /// The transaction.
        txid: Hash32,
        /// What it paid to miners.
        fee: Amount,
    },
    /// A channel takes no more payments.
    ChannelClosed {
        /// The channel.
        channel: LightningChannelId,
        /// What was ours in it.
        balance: Amount,
    },
    /// A transaction that brings a closed channel's money back is final.
    ClosingPaid {
        /// The channel; of several, one.
        channel: LightningChannelId,
        /// The transaction.
        txid: Hash32,
        /// What it paid to miners.
        fee: Amount,
    },
    /// All that comes back of a closed channel has.
    ChannelReturned {
        /// The channel.
        channel: LightningChannelId,
        /// What did not, beside what was told by transaction.
        cost: Amount,
        /// What came beyond what was ours.
        gain: Amount,
    },
}

/// A fact about Lightning. The variant order is the wire format (`spec/events.md`): new variants go to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum LightningEvent {
    /// A peer's node is known.
    NodeNamed {
        /// Whose.
        peer: PeerId,
        /// The node.
        node: NodeId,
    },
    /// A peer may have an invoice for a settlement.
    InvoiceGiven {
        /// Who pays.
        peer: PeerId,
        /// Its number for the settlement.
        settlement: u64,
        /// What it will pay.
        amount: Amount,
        /// After this the invoice is not paid any more.
        expires_at: Timestamp,
    },
    /// It was paid.
    Received {
        /// Who paid.
        peer: PeerId,
        /// Its number for the settlement.
        settlement: u64,
        /// What arrived.
        amount: Amount,
    },
    /// A peer is to be paid; its debt is pending.
    SettlementBegun {
        /// Who is paid.
        peer: PeerId,
        /// Our number for the settlement.
        settlement: EffectId,
        /// What is paid.
        amount: Amount,
    },
    /// The invoice of a settlement is known; nothing else is ever paid for it unless this fails for certain [I16].
    SettlementHashed {
        /// Who is paid.
        peer: PeerId,
        /// Our number for the settlement.
        settlement: EffectId,
        /// The invoice's payment hash.
        hash: Hash32,
    },
    /// It arrived.
    SettlementPaid {
        /// Who was paid.
        peer: PeerId,
        /// Our number for the settlement.
        settlement: EffectId,
        /// What routing it cost.
        fee: Amount,
    },
    /// It failed for certain, or was refused before anything was sent.
    SettlementFailed {
        /// Who was to be paid.
        peer: PeerId,
        /// Our number for the settlement.
        settlement: EffectId,
    },
    /// What the usable channels with a peer can carry.
    CapacityKnown {
        /// Which peer.
        peer: PeerId,
        /// From us to it.
        outbound: Amount,
        /// From it to us.
        inbound: Amount,
    },
    /// A channel to a peer is funded.
    ChannelFunded {
        /// Which peer.
        peer: PeerId,
        /// What it paid to miners.
        fee: Amount,
    },
    /// A channel with a peer can be used, or is of another size than before.
    ChannelStands {
        /// Which peer.
        peer: PeerId,
        /// The channel.
        channel: LightningChannelId,
        /// Both ends' money in it.
        value: Amount,
        /// Whether we opened it.
        is_ours: bool,
        /// Whether both ends can make it larger and smaller.
        splices: bool,
    },
    /// A channel is being made larger or smaller.
    ChannelSpliced {
        /// Which peer.
        peer: PeerId,
        /// The channel.
        channel: LightningChannelId,
        /// The transaction.
        txid: Hash32,
        /// What it paid to miners.
        fee: Amount,
    },
    /// A channel takes no more payments.
    ChannelClosed {
        /// Which peer.
        peer: PeerId,
        /// The channel.
        channel: LightningChannelId,
        /// What was ours in it.
        balance: Amount,
    },
    /// All that comes back of a closed channel has.
    ChannelReturned {
        /// Which peer.
        peer: PeerId,
        /// The channel.
        channel: LightningChannelId,
        /// What of ours did not come back, beside what was paid for by transaction: the closing's own fee.
        cost: Amount,
    },
    /// A packet was to go to a peer whose idle channels are closed: it may have a channel again.
    Woken {
        /// Which peer.
        peer: PeerId,
    },
    /// A transaction that brings a closed channel's money back is final.
    ClosingPaid {
        /// Which peer.
        peer: PeerId,
        /// The channel.
        channel: LightningChannelId,
        /// The transaction.
        txid: Hash32,
        /// What it paid to miners.
        fee: Amount,
    },
    /// More came back of a closed channel than was ours: its peer gave it away, or forfeited it.
    ChannelGained {
        /// Which peer.
        peer: PeerId,
        /// The channel.
        channel: LightningChannelId,
        /// How much more.
        gain: Amount,
    },
}

impl LightningEvent {
    /// Whom it is about.
    pub fn peer(&self) -> PeerId {
        match self {
            Self::NodeNamed { peer, .. }
            | Self::InvoiceGiven { peer, .. }
            | Self::Received { peer, .. }
            | Self::SettlementBegun { peer, .. }
            | Self::SettlementHashed { peer, .. }
            | Self::SettlementPaid { peer, .. }
            | Self::SettlementFailed { peer, .. }
            | Self::CapacityKnown { peer, .. }
            | Self::ChannelFunded { peer, .. }
            | Self::ChannelStands { peer, .. }
            | Self::ChannelSpliced { peer, .. }
            | Self::ChannelClosed { peer, .. }
            | Self::ChannelReturned { peer, .. }
            | Self::Woken { peer }
            | Self::ClosingPaid { peer, .. }
            | Self::ChannelGained { peer, .. } => *peer,
        }
    }
}

/// A chore on Lightning; outstanding until the settlement is paid or has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LightningEffect {
    /// Ask a peer for the invoice of a settlement.
    AskInvoice {
        /// Who is paid.
        peer: PeerId,
        /// Our number for the settlement.
        settlement: EffectId,
        /// What is paid.
        amount: Amount,
    },
    /// Pay the invoice with this hash, once.
    Pay {
        /// Who is paid.
        peer: PeerId,
        /// Our number for the settlement.
        settlement: EffectId,
        /// The invoice's payment hash.
        hash: Hash32,
    },
}

/// What routing a settlement may cost: half a percent, and ten satoshi for small ones.
pub fn fee_max(amount: Amount) -> Amount {
    Amount::new(amount.value() / 200).saturating_add(Amount::new(10_000))
}
