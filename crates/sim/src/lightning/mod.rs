//! A fake of Bitcoin and of Lightning: a chain of coins, the pool's hot wallet and reserve on it, its Lightning node, and
//! the nodes that it has channels with.
//!
//! It answers in the vocabulary of the real adapter (`crates/chain-bitcoin`) and is no kinder: what its node was told is
//! lost with a kill until [`Lightning::sync`], observations repeat until they are acknowledged, payments hang, peers go
//! away, fees pass the bound, blocks are dropped. Every movement of the pool's money is kept apart in a record of what is
//! true, for an auditor to hold the books to. Seeded; there is no clock and no I/O.

mod chain;
mod channels;
mod node;
mod payments;
mod truth;
mod wallet;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use forebay_channel::NodeId;
use forebay_quantity::{EffectId, Hash32, PeerId};

use crate::random::Random;

pub use chain::{BURIED, Chain, Coin, DUST_SAT, Owner, Transaction};
pub use channels::{Channel, ChannelStanding, Splice};
pub use payments::{Held, Invoice, Outcome, OwnInvoice, Part, Payment, Standing};
pub use truth::Money;
pub use wallet::{Draft, Reserved, WalletObservation, WalletStanding};

/// Names an invoice of the pool's node: its hash is made of this, so that the same name has the same invoice for ever.
pub type InvoiceName = [u8; 16];

/// Names a peer's settlement among those of all peers.
pub fn settlement_name(peer: PeerId, settlement: u64) -> InvoiceName {
    ((u128::from(peer.0) << 64) | u128::from(settlement)).to_be_bytes()
}

/// The peer's own number, from such a name.
pub fn settlement_of(name: InvoiceName) -> u64 {
    let number = u128::from_be_bytes(name) & u128::from(u64::MAX);
    u64::try_from(number).expect("64 bits")
}

/// Why something was not begun: nothing of it is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The peer is not connected.
    PeerOffline,
    /// No channel of this number takes payments.
    UnknownChannel,
    /// A splice waits for its blocks, or payments are under way.
    Busy,
    /// Miners would be paid more than was allowed.
    FeeTooHigh,
    /// The wallet has too few coins now.
    TooFewCoins,
    /// The channel holds another sum by now, or would be left with too little.
    WrongValue,
    /// No channel has room for a payment.
    NoRoute,
    /// The invoice has expired.
    InvoiceExpired,
    /// There is an invoice of another amount already.
    OtherTerms,
    /// Nobody pays so little.
    Dust,
}

/// What the node says has happened, at least once: until it was acknowledged and that was synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Observation {
    /// A payment is ours for good.
    Received {
        /// Whose invoice; none for a hold invoice that was claimed.
        name: Option<InvoiceName>,
        /// As given when the invoice was made.
        payer: u64,
        /// What locked it.
        hash: Hash32,
        /// What came.
        amount_msat: u64,
    },
    /// A payment to a hold invoice is held for us.
    Claimable {
        /// What locks it.
        hash: Hash32,
        /// As given when the invoice was made.
        payer: u64,
        /// What is held.
        amount_msat: u64,
    },
    /// A payment that was held for us went back to its payer.
    Returned {
        /// What locked it.
        hash: Hash32,
    },
    /// Our payment arrived.
    Sent {
        /// What locked it.
        hash: Hash32,
        /// What routing cost.
        fee_msat: u64,
    },
    /// Our payment failed for certain.
    Failed {
        /// What would have locked it.
        hash: Hash32,
    },
    /// A channel's funding is on its way to the chain.
    ChannelPending {
        /// The channel.
        channel: u128,
        /// What it paid to miners; 0 when the peer funds it.
        fee_sat: u64,
    },
    /// A channel can be paid through; again after each splice.
    ChannelReady {
        /// The channel.
        channel: u128,
        /// Its other end.
        peer: NodeId,
    },
    /// A channel takes no more payments, or never came to be.
    ChannelClosed {
        /// The channel.
        channel: u128,
        /// Whether there was a funding transaction.
        was_funded: bool,
        /// What was ours in it, before fees of the closing.
        balance_msat: u64,
    },
    /// Money of a closed channel is on chain, under keys of ours alone.
    ChannelReturned {
        /// The channel.
        channel: u128,
        /// What did not come back.
        cost_msat: u64,
    },
    /// Both ends agreed on a splice; its transaction is on its way to the chain.
    SplicePending {
        /// The channel.
        channel: u128,
        /// Its transaction.
        txid: Hash32,
        /// What it paid to miners; 0 when the peer asked for it.
        fee_sat: u64,
    },
    /// A splice came to nothing.
    SpliceFailed {
        /// The channel.
        channel: u128,
    },
}

/// The fake.
#[derive(Clone, Debug)]
pub struct Lightning {
    /// The chain.
    pub chain: Chain,
    /// Nothing goes wrong by chance any more.
    pub calm: bool,
    node: NodeId,
    random: Random,
    channels: BTreeMap<u128, Channel>,
    /// Numbers that were used before, and of a channel that closed the transaction that did it and what that brought.
    former: BTreeMap<u128, Option<channels::Closing>>,
    invoices: BTreeMap<Hash32, OwnInvoice>,
    held: BTreeMap<Hash32, Held>,
    payments: BTreeMap<Hash32, Payment>,
    offline: BTreeSet<NodeId>,
    observations: VecDeque<(u64, Observation)>,
    observed: u64,
    /// What the node was asked for and has not written down; a kill loses it.
    unsynced: Vec<node::Step>,
    /// Payments that left, for whoever looks.
    left: Vec<Invoice>,
    wallet: wallet::Wallet,
    drafts: BTreeMap<EffectId, Draft>,
    truth: truth::Truth,
}

impl Lightning {
    /// Nothing but a node of this name.
    pub fn new(seed: u64, node: NodeId) -> Self {
        Self {
            chain: Chain::default(),
            calm: false,
            node,
            random: Random::new(seed),
            channels: BTreeMap::new(),
            former: BTreeMap::new(),
            invoices: BTreeMap::new(),
            held: BTreeMap::new(),
            payments: BTreeMap::new(),
            offline: BTreeSet::new(),
            observations: VecDeque::new(),
            observed: 0,
            unsynced: Vec::new(),
            left: Vec::new(),
            wallet: wallet::Wallet::default(),
            drafts: BTreeMap::new(),
            truth: truth::Truth::default(),
        }
    }

    /// Who the pool's node is.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Makes a block.
    pub fn mine(&mut self) {
        let leave = if self.calm { 0 } else { 250 };
        self.chain.mine(&mut self.random, leave);
        self.chain_moved();
    }

    /// Drops up to so many blocks, none that is buried, and makes one more than it dropped; says how many.
    pub fn reorganise(&mut self, blocks: u32) -> u32 {
        let dropped = self.chain.reorganise(blocks, &mut self.random, 300);
        self.chain_moved();
        dropped
    }

    /// A peer comes, or goes.
    pub fn connect(&mut self, peer: NodeId, is_online: bool) {
        if is_online {
            self.offline.remove(&peer);
        } else {
            self.offline.insert(peer);
        }
    }

    /// Whether a peer is connected.
    pub fn is_online(&self, peer: NodeId) -> bool {
        !self.offline.contains(&peer)
    }

    /// What a transaction of about this many outputs pays to miners now, in sat.
    fn fee_sat(&mut self) -> u64 {
        if self.calm {
            return 300;
        }
        self.random.between(150, 2_500)
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        !self.calm && self.random.chance(per_mille)
    }

    fn observe(&mut self, observation: Observation) {
        self.observed += 1;
        self.observations.push_back((self.observed, observation));
    }
}
