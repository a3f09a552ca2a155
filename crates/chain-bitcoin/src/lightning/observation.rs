//! What the node reports, each with an acknowledgement.

use tokio::sync::{mpsc, oneshot, watch};

/// How many observations may wait for the listener. LDK keeps the rest.
pub(crate) const OBSERVATIONS_MAX: usize = 64;

/// Who somebody is on Lightning: a compressed public key.
pub type NodeId = [u8; 33];

/// The SHA-256 that a payment is locked by.
pub type PaymentHash = [u8; 32];

/// A channel, by the number that its opener on our side gave it, or that we drew for one that a peer opened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChannelNumber(pub u128);

/// A channel sold, by the short channel id that stands in its buyer's invoice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SaleNumber(pub u64);

/// A question that a node waits for the answer to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SaleRequest {
    /// Who asks.
    pub peer: NodeId,
    /// Its own name for the question.
    pub id: String,
    /// Whether it buys, or asks for terms.
    pub is_purchase: bool,
}

/// On what terms a channel is sold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SaleTerms {
    /// What it costs at least, in msat.
    pub fee_min_msat: u64,
    /// What it costs, in millionths of the payment that opens it.
    pub fee_ppm: u32,
    /// Until when they stand, in seconds.
    pub valid_until_s: u64,
    /// How long the channel is kept open, in blocks.
    pub lifetime_blocks: u32,
    /// The smallest payment that opens it, in msat.
    pub payment_min_msat: u64,
    /// The largest, in msat.
    pub payment_max_msat: u64,
}

/// A transaction output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Output {
    /// The transaction's id, in the byte order of the chain.
    pub txid: [u8; 32],
    /// Which of its outputs.
    pub index: u32,
}

/// As everybody writes it: the transaction's id backwards, and the index after a colon.
impl std::fmt::Display for Output {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use bitcoin::hashes::Hash;
        let txid = bitcoin::Txid::from_byte_array(self.txid);
        write!(out, "{txid}:{}", self.index)
    }
}

/// What happened.
///
/// Each comes at least once: again after a restart, until it was acknowledged and that was written. A capacity alone
/// waits for nobody: the next one says all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Observation {
    /// A payment is ours for good.
    Received {
        /// The settlement whose invoice was paid; none for a hold invoice that was claimed.
        settlement: Option<[u8; 16]>,
        /// As given when the invoice was made.
        payer: u64,
        /// What locked it.
        hash: PaymentHash,
        /// What came, in msat.
        amount_msat: u64,
    },
    /// A payment to a hold invoice is held for us, to be claimed or failed.
    Claimable {
        /// What locks it.
        hash: PaymentHash,
        /// As given when the invoice was made.
        payer: u64,
        /// What is held, in msat.
        amount_msat: u64,
        /// The height from which on it is failed back unless it was claimed.
        deadline_height: u32,
    },
    /// A payment that was held for us went back to its payer.
    Returned {
        /// What locked it.
        hash: PaymentHash,
    },
    /// Our payment arrived.
    Sent {
        /// What locked it.
        hash: PaymentHash,
        /// The proof.
        preimage: [u8; 32],
        /// What routing cost, in msat.
        fee_msat: u64,
    },
    /// Our payment failed for certain: no part of it is under way, and none can arrive any more.
    Failed {
        /// What would have locked it.
        hash: PaymentHash,
        /// Why.
        reason: PaymentFailure,
    },
    /// A channel's funding transaction is signed and on its way to the chain.
    ChannelPending {
        /// The channel.
        channel: ChannelNumber,
        /// Its other end.
        peer: NodeId,
        /// Where its money is.
        funding: Output,
        /// This channel's part of what the funding transaction paid to miners, in sat; 0 when the peer funds it.
        fee_sat: u64,
    },
    /// A channel can be paid through; again after each splice.
    ChannelReady {
        /// The channel.
        channel: ChannelNumber,
        /// Its other end.
        peer: NodeId,
    },
    /// A channel takes no more payments, or never came to be.
    ChannelClosed {
        /// The channel.
        channel: ChannelNumber,
        /// Its other end, where it is known.
        peer: Option<NodeId>,
        /// Where its money was; none when it was never funded.
        funding: Option<Output>,
        /// What was ours in it, in msat, payments under way not counted, before fees of the closing.
        balance_msat: Option<u64>,
        /// Why, in words.
        reason: String,
    },
    /// A transaction that brings a closed channel's money to the wallet lies deep in the chain: one that hurries the closing
    /// along, claims a payment that was under way, or sweeps.
    ClosingPaid {
        /// The channel; of several, one.
        channel: ChannelNumber,
        /// The transaction's id, in the byte order of the chain.
        txid: [u8; 32],
        /// What it paid to miners, in sat.
        fee_sat: u64,
    },
    /// All of a closed channel's money is in the wallet, and nothing more comes of it. Of what was told to be ours in it, by
    /// its funding and by payments, this did not come, [`Self::ClosingPaid`] apart; or more came than that.
    ChannelReturned {
        /// The channel.
        channel: ChannelNumber,
        /// What is missing, in msat: what the closing itself paid to miners, and outputs too small to be made.
        cost_msat: u64,
        /// What is too much, in msat: what the peer gave away, or forfeited.
        gain_msat: u64,
    },
    /// Both ends agreed on a splice; its transaction is on its way to the chain.
    SplicePending {
        /// The channel.
        channel: ChannelNumber,
        /// Where its money will be.
        funding: Output,
        /// What the splice pays to miners, in sat, all of it ours when we asked for it and none when the peer did; not
        /// known when the node was killed between the splice and this.
        fee_sat: Option<u64>,
    },
    /// A splice came to nothing; the channel is as it was.
    SpliceFailed {
        /// The channel.
        channel: ChannelNumber,
    },
    /// A payment that others sent passed through.
    Forwarded {
        /// Its number: one more than that of the one before.
        number: u64,
        /// All that stays with us, in msat.
        fee_msat: u64,
        /// What of it was withheld from the payee for a channel that it bought, in msat.
        withheld_msat: u64,
        /// The channel by which it went on, where it is known.
        to: Option<ChannelNumber>,
    },
    /// A node asks on what terms it could buy a channel: to be answered by an offer or a no.
    TermsAsked {
        /// The question.
        request: SaleRequest,
    },
    /// A node buys a channel on terms of ours: to be answered by a promise or a no.
    ChannelAsked {
        /// The question.
        request: SaleRequest,
        /// As we offered them.
        terms: SaleTerms,
        /// The payment that will open it, in msat; where none is named, it comes in one part.
        payment_msat: Option<u64>,
    },
    /// The payment that opens a channel is held: the channel is to be sold now, or the payment given back.
    PaymentHeld {
        /// Which sale.
        sale: SaleNumber,
        /// Its buyer, connected a moment ago.
        peer: NodeId,
        /// What is held, in msat.
        amount_msat: u64,
        /// What will be withheld of it, in msat.
        fee_msat: u64,
        /// What the hot wallet can put into one more channel, in sat.
        spendable_sat: u64,
    },
    /// What can be paid to and received from a peer has changed.
    Capacity {
        /// The peer.
        peer: NodeId,
        /// Over all its usable channels, what we can send, in msat.
        outbound_msat: u64,
        /// Over all its usable channels, what we can receive, in msat.
        inbound_msat: u64,
    },
}

/// Why a payment failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PaymentFailure {
    /// The payee said no.
    Refused,
    /// No way to the payee has room for it now.
    NoRoute,
    /// All that was tried until the time was up failed.
    TimeUp,
    /// The invoice has expired.
    InvoiceExpired,
    /// It never left: the node stopped before.
    NeverLeft,
    /// The invoice asks for what this node does not know, or something unforeseen happened.
    Other,
}

/// An observation, and the means to say that it is kept.
#[derive(Debug)]
pub struct Observed {
    /// What happened.
    pub observation: Observation,
    kept: oneshot::Sender<()>,
}

impl Observed {
    pub(crate) fn new(observation: Observation) -> (Self, oneshot::Receiver<()>) {
        let (kept, wait) = oneshot::channel();
        (Self { observation, kept }, wait)
    }

    /// Says that the observation is on stable storage with its listener. One that is dropped without comes again.
    pub fn acknowledge(self) {
        // A node that has stopped does not wait any more, and tells it again after its next start.
        let _not_waited_for = self.kept.send(());
    }
}

/// All that is observed, in order.
#[derive(Debug)]
pub struct Observations {
    pub(crate) observed: mpsc::Receiver<Observed>,
    pub(crate) ended: watch::Receiver<bool>,
}

impl Observations {
    /// The next one; none once the node has stopped. What is not taken by then is told again after its next start.
    pub async fn next(&mut self) -> Option<Observed> {
        tokio::select! {
            observed = self.observed.recv() => observed,
            // Whoever listens may hold the node, and the node holds the other end.
            _ = self.ended.wait_for(|has_ended| *has_ended) => None,
        }
    }

    /// Acknowledges whatever comes, for as long as the node runs: for a node that nobody keeps books of.
    pub async fn acknowledge_all(mut self) {
        while let Some(observed) = self.next().await {
            observed.acknowledge();
        }
    }
}
