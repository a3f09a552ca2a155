//! The suite for a Lightning rail: a node of ours, its peer, and whom it reaches through that peer.
//!
//! A row gets a network of its own. What a node does takes its time, on a real network and on a fake, so rows wait for
//! what is to come, step by step, and never for a time.

use forebay_channel::NodeId;
use forebay_quantity::Hash32;

mod changes;
mod holds;
mod invoices;
mod keysends;
mod nodes;
mod payments;
mod world;

pub use changes::CHANGES;
pub use holds::HOLDS;
pub use invoices::INVOICES;
pub use keysends::KEYSENDS;
pub use nodes::NODES;
pub use payments::PAYMENTS;
use world::World;

/// Who is not ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Other {
    /// At the other end of all channels of ours.
    Peer,
    /// Reached through the peer alone, once [`LightningRail::reach_beyond`] was called.
    Beyond,
}

/// A channel, by the number that we give it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Channel(pub u64);

/// A settlement, by its id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settlement(pub [u8; 16]);

/// A channel that is asked for; all of it is ours.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Its number.
    pub channel: Channel,
    /// The other end.
    pub with: Other,
    /// In sat.
    pub value_sat: u64,
    /// The most that miners may get for it, in sat.
    pub fee_max_sat: u64,
}

/// What an invoice is asked for with.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// In msat.
    pub amount_msat: u64,
    /// In seconds from now.
    pub expiry_s: u32,
    /// How many blocks its payer has to leave us.
    pub final_cltv: u16,
}

/// What an invoice says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invoice {
    /// What locks its payment.
    pub hash: Hash32,
    /// In msat.
    pub amount_msat: u64,
    /// Who is paid.
    pub payee: NodeId,
}

/// How a channel of ours stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Its number.
    pub channel: Channel,
    /// All that is in it, in sat.
    pub value_sat: u64,
    /// What is ours, in msat, with what is in payments of ours under way.
    pub balance_msat: u64,
    /// What we can send, in msat.
    pub outbound_msat: u64,
    /// What we can receive, in msat.
    pub inbound_msat: u64,
    /// The largest next payment of ours, in msat.
    pub next_max_msat: u64,
    /// How many payments are under way, both ways.
    pub pending: u64,
    /// Whether payments can pass now.
    pub usable: bool,
}

/// How a payment stands, for the one who pays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payment {
    /// Never heard of.
    Unknown,
    /// Under way.
    Pending,
    /// Arrived, for this fee in msat.
    Sent {
        /// What routing cost.
        fee_msat: u64,
    },
    /// For certain not arrived, now and later.
    Failed,
}

/// Why something is not done. Nothing has changed then, and nothing is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Its peer is not connected.
    PeerOffline,
    /// There is no such open channel.
    UnknownChannel,
    /// The channel cannot be changed so, or not now.
    Channel,
    /// Miners ask for more than was allowed.
    FeeTooHigh,
    /// The hot wallet has too little.
    NotEnoughCoins,
    /// No channel has room, or there is no way.
    NoRoute,
    /// It is no invoice, or one that cannot be.
    BadInvoice,
    /// The invoice's time is up.
    InvoiceExpired,
    /// The id or hash is taken, on other terms.
    OtherTerms,
    /// No invoice was made for the hash.
    UnknownInvoice,
}

/// What our node reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Observation {
    /// A payment is ours for good.
    Received {
        /// Which; none for a hold invoice.
        settlement: Option<Settlement>,
        /// What locked it.
        hash: Hash32,
        /// In msat.
        amount_msat: u64,
    },
    /// A payment is held for us.
    Claimable {
        /// What locks it.
        hash: Hash32,
        /// In msat.
        amount_msat: u64,
        /// From this height on it goes back; none where the rail knows no such end.
        deadline_height: Option<u32>,
    },
    /// A payment that was held went back.
    Returned {
        /// What locked it.
        hash: Hash32,
    },
    /// Our payment arrived.
    Sent {
        /// What locked it.
        hash: Hash32,
        /// In msat.
        fee_msat: u64,
    },
    /// Our payment failed for certain.
    Failed {
        /// What locked it.
        hash: Hash32,
    },
    /// A channel's funding is on its way to the chain.
    Pending {
        /// The channel.
        channel: Channel,
        /// In which transaction; none where the rail does not say.
        funding: Option<Hash32>,
        /// In sat.
        fee_sat: u64,
    },
    /// A channel can be used.
    Ready {
        /// The channel.
        channel: Channel,
    },
    /// A channel cannot be used any more, or never came to be.
    Closed {
        /// The channel.
        channel: Channel,
        /// What was ours, in msat; none when it never came to be.
        balance_msat: Option<u64>,
    },
    /// What money of a closed channel cost on its way to the hot wallet.
    Back {
        /// The channel.
        channel: Channel,
        /// In msat.
        cost_msat: u64,
        /// Whether all of it is there.
        is_all: bool,
    },
    /// A splice is on its way to the chain.
    Spliced {
        /// The channel.
        channel: Channel,
        /// In sat.
        fee_sat: u64,
    },
    /// What can be sent to and received from the peer has changed.
    Capacity {
        /// In msat.
        outbound_msat: u64,
        /// In msat.
        inbound_msat: u64,
    },
}

/// A Lightning network around a node of ours, which is connected to its peer, and a chain. Blocks are made only when the
/// suite says so; they take whatever waits. At first nobody has a channel and our hot wallet is empty.
///
/// The peer forwards to and from [`Other::Beyond`] for [`FORWARDING_FEE_MSAT`], and takes at most a tenth of a channel of ours in
/// payments under way at once.
pub trait LightningRail {
    /// Makes blocks, and returns once all have seen them.
    fn mine(&mut self, blocks: u32);
    /// The height of the newest block.
    fn height(&mut self) -> u32;
    /// Lets what is under way go on for a moment.
    fn go_on(&mut self);
    /// Lets the clock pass, by seconds.
    fn pass(&mut self, seconds: u64);

    /// Pays confirmed coins into the hot wallet, and returns once it can spend them.
    fn fund(&mut self, sat: u64);
    /// What our hot wallet says that it can spend, in sat.
    fn spendable_sat(&mut self) -> u64;
    /// What the chain says is unspent at the hot wallet, in sat.
    fn unspent_sat(&mut self) -> u64;

    /// Asks for channels that share one transaction.
    fn open(&mut self, openings: &[Opening]) -> Vec<Result<(), Refusal>>;
    /// Adds money of the hot wallet, in sat.
    fn splice_in(&mut self, channel: Channel, sat: u64, fee_max_sat: u64) -> Result<(), Refusal>;
    /// Takes money out into the hot wallet, in sat.
    fn splice_out(&mut self, channel: Channel, sat: u64, fee_max_sat: u64) -> Result<(), Refusal>;
    /// Closes a channel together with its peer, where that costs us no more than so much.
    fn close(&mut self, channel: Channel, fee_max_sat: u64) -> Result<(), Refusal>;
    /// Those that are open, or being opened.
    fn channels(&mut self) -> Vec<Standing>;

    /// The text of a settlement's invoice.
    fn invoice(&mut self, settlement: Settlement, terms: Terms) -> Result<String, Refusal>;
    /// What an invoice says, whosever it is.
    fn read(&self, invoice: &str) -> Invoice;
    /// Pays, for at most this fee in msat, and says how the payment stood right then.
    fn pay(&mut self, invoice: &str, fee_max_msat: u64) -> Result<Payment, Refusal>;
    /// How a payment of ours stands.
    fn payment(&mut self, hash: Hash32) -> Payment;

    /// What was reported since this was last asked.
    fn observations(&mut self) -> Vec<Observation>;
    /// Whether observations are acknowledged from now on; they are at first, and after each restart.
    fn acknowledge(&mut self, keeps: bool);
    /// Stops our node and starts it with what it has on disk, and connects it to the peer.
    fn restart(&mut self);

    /// Who somebody is.
    fn id(&mut self, who: Other) -> NodeId;
    /// Gives [`Other::Beyond`] a channel with the peer that is known to all, and with money enough on both sides.
    fn reach_beyond(&mut self);
    /// Ends our connection to the peer, or makes it again.
    fn connected(&mut self, is_up: bool);
    /// An invoice of somebody else's.
    fn their_invoice(&mut self, who: Other, amount_msat: u64, expiry_s: u32) -> String;
    /// An invoice of the peer's whose payment it holds.
    fn their_hold_invoice(&mut self, hash: Hash32, amount_msat: u64, expiry_s: u32) -> String;
    /// The peer takes what it holds.
    fn they_claim(&mut self, preimage: [u8; 32]);
    /// The peer sends back what it holds.
    fn they_return(&mut self, hash: Hash32);
    /// Somebody else pays an invoice of ours.
    fn they_pay(&mut self, who: Other, invoice: &str);
    /// How somebody else's payment stands, of whatever fee.
    fn their_payment(&mut self, who: Other, hash: Hash32) -> Payment;
    /// What somebody else has received under a hash, in msat.
    fn they_received(&mut self, who: Other, hash: Hash32) -> Option<u64>;
    /// What the peer says is its own in its channels with us, in msat.
    fn peer_balance_msat(&mut self) -> u64;
    /// The peer closes its only channel together with us.
    fn peer_closes(&mut self);
}

/// A rail with hold invoices.
pub trait HoldRail: LightningRail {
    /// An invoice for a hash that somebody else chose.
    fn hold_invoice(&mut self, hash: Hash32, terms: Terms) -> Result<String, Refusal>;
    /// Takes what is held.
    fn claim(&mut self, preimage: [u8; 32]) -> Result<(), Refusal>;
    /// Sends back what is held.
    fn give_back(&mut self, hash: Hash32) -> Result<(), Refusal>;
}

/// A rail with all that a node does.
pub trait NodeRail: HoldRail {
    /// The blocks that an invoice says it has to be left.
    fn final_cltv(&self, invoice: &str) -> u64;
    /// Closes a channel without its peer.
    fn close_alone(&mut self, channel: Channel) -> Result<(), Refusal>;
    /// The peer closes its only channel without us.
    fn peer_closes_alone(&mut self);
}

/// A rail that can pay without an invoice.
pub trait KeysendRail: HoldRail {
    /// The peer pays our node without an invoice, under this preimage: the hash, whatever comes of it.
    fn they_keysend(&mut self, amount_msat: u64, preimage: [u8; 32]) -> Hash32;
    /// The hash that a settlement is paid under without an invoice.
    fn keysend_hash(&mut self, settlement: Settlement) -> Hash32;
    /// Pays a settlement so, for at most this fee in msat, and says how the payment stood right then.
    fn keysend(
        &mut self,
        settlement: Settlement,
        payee: NodeId,
        amount_msat: u64,
        fee_max_msat: u64,
    ) -> Result<Payment, Refusal>;
    /// The hash that a node with other keys pays a settlement of this id under.
    fn keysend_hash_of_another(&mut self, settlement: Settlement) -> Hash32;
}

/// What the peer takes for a payment that it forwards.
pub const FORWARDING_FEE_MSAT: u64 = 1_000;

/// A claim about Lightning rails.
pub struct Row<R: ?Sized + 'static> {
    /// What is claimed.
    pub claim: &'static str,
    check: fn(&mut World<'_, R>),
}

/// Runs each row on a network of its own.
///
/// # Panics
/// When the rail does not keep a claim, whose text is in the message before it.
pub fn run<R: LightningRail + ?Sized + 'static>(
    rows: &[Row<R>],
    mut fresh: impl FnMut() -> Box<R>,
) {
    for row in rows {
        println!("claim: {}", row.claim);
        let mut rail = fresh();
        (row.check)(&mut World::new(&mut *rail));
    }
}
