//! What can go wrong between us and Bitcoin.

use bitcoin::Amount;
use forebay_quantity::EffectId;
use thiserror::Error;

use crate::chain::SourceKind;

/// Whether, and when, asking again may help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// At once.
    Now,
    /// After a while, or once somebody has acted.
    Later,
    /// Not without a change of what is asked.
    Never,
}

/// The world failed, or said no.
#[derive(Debug, Error)]
pub enum Fault {
    /// The chain source does not answer.
    #[error("{kind} does not answer at {url}: {detail}; check the URL and that it runs")]
    SourceDown {
        /// Which.
        kind: SourceKind,
        /// Where it was asked.
        url: String,
        /// Why there was no answer.
        detail: String,
    },
    /// A URL that is none.
    #[error("`{url}` is not an http or https URL")]
    BadUrl {
        /// The text given.
        url: String,
    },
    /// The chain source does not know us.
    #[error(
        "{kind} at {url} refuses {}",
        match kind {
            SourceKind::Bitcoind => "the credentials; check the cookie file, or user and password",
            SourceKind::Esplora => "to serve us; check the URL, or use one that asks for no login",
        }
    )]
    SourceDenies {
        /// Which.
        kind: SourceKind,
        /// Where it was asked.
        url: String,
    },
    /// The chain source is behind its chain.
    #[error("{kind} lags: {reason}; wait until it has caught up, or check its connections")]
    SourceLags {
        /// Which.
        kind: SourceKind,
        /// By what that shows.
        reason: String,
    },
    /// Sources that have to agree are on different chains.
    #[error(
        "the chain sources have different blocks at height {height}; find out which of them is cut off"
    )]
    NodesDisagree {
        /// A height at which they differ.
        height: u32,
    },
    /// The chain source answered with an error.
    #[error("{kind} refused {method}: {message} (code {code})")]
    SourceRefused {
        /// Which.
        kind: SourceKind,
        /// What was asked.
        method: &'static str,
        /// bitcoind's error code, or the HTTP status when there is none.
        code: i64,
        /// Its words.
        message: String,
    },
    /// There is too little to pay with.
    #[error(
        "{needed} are needed, and {have} can be spent; pay the difference in, or wait until what is on its way is confirmed"
    )]
    NotEnoughCoins {
        /// What was to be paid, fees included.
        needed: Amount,
        /// What can be spent.
        have: Amount,
    },
    /// An output that no node passes on, because spending it costs more than it holds.
    #[error("an output of {amount} is dust; pay at least {min} to this address")]
    Dust {
        /// What was to be paid.
        amount: Amount,
        /// What such an output holds at least.
        min: Amount,
    },
    /// Nothing can be paid that way.
    #[error("the payment cannot be made: {what}")]
    BadPayment {
        /// Why not.
        what: String,
    },
    /// The id names another payment.
    #[error("payment {id} was made with other outputs; take a new id for another payment")]
    OtherPayment {
        /// The id.
        id: EffectId,
    },
    /// The wallet's file is another seed's, or another network's.
    #[error(
        "the wallet's file does not belong to this seed and network: {what}; check which file and which key are used"
    )]
    OtherWallet {
        /// What differs.
        what: String,
    },
    /// The wallet's file failed.
    #[error("the wallet's file failed: {what}")]
    WalletStore {
        /// Why.
        what: String,
    },
    /// What was given is not of the reserve, or not how a reserve is.
    #[error("not of this reserve: {what}")]
    BadReserve {
        /// What does not fit.
        what: String,
    },
    /// A spend of the reserve has too few signatures.
    #[error(
        "input {input} has {have} of {needed} signatures of members{}; collect the others",
        if *operator_missing { ", and none of the operator" } else { "" }
    )]
    NotEnoughSignatures {
        /// Which input.
        input: usize,
        /// How many members signed it.
        have: usize,
        /// How many have to.
        needed: usize,
        /// The operator has to sign too, and has not.
        operator_missing: bool,
    },
    /// The chain source's answer makes no sense.
    #[error("the chain source's answer to {method} makes no sense: {what}")]
    Nonsense {
        /// What was asked.
        method: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The chain source follows another network than the configuration names.
    #[error("{kind} is on {found}, but the configuration says {expected}; use one on {expected}")]
    WrongNetwork {
        /// Which.
        kind: SourceKind,
        /// As configured.
        expected: String,
        /// As it says.
        found: String,
    },
    /// A block that the chain source does not have, or not any more.
    #[error(
        "the chain source does not have block {hash}; wait, or, when it stays so at a start, start once with a bitcoind, \
         which has blocks that a reorg dropped"
    )]
    BlockGone {
        /// Which.
        hash: bitcoin::BlockHash,
    },
    /// The file of headers cannot be read or written.
    #[error("the file of headers {} failed: {what}", path.display())]
    HeaderFile {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        what: String,
    },
    /// The store of the Lightning node cannot be read or written.
    #[error("the Lightning node's store failed: {detail}")]
    Store {
        /// What and why.
        detail: String,
    },
    /// Another process has the store open.
    #[error("{} is in use: another process runs this Lightning node; stop it first", path.display())]
    StoreInUse {
        /// The store's file.
        path: std::path::PathBuf,
    },
    /// The store was written by another version.
    #[error(
        "the Lightning node's store has a form that this version does not know; use the version that wrote it"
    )]
    StoreFormat,
    /// The store is of a node with another seed.
    #[error(
        "this folder holds the channels of another Lightning node; use that node's seed, or another folder"
    )]
    OtherNode,
    /// A copy of the store that is not the newest.
    #[error(
        "the Lightning store is an old copy, or is lost: it was written {found} times, and was known to be written {known} \
         times; put the newest back. A channel that goes on from an old copy falls to its peer"
    )]
    OldStore {
        /// By the store.
        found: u64,
        /// By what was remembered beside it.
        known: u64,
    },
    /// The node has stopped.
    #[error("the Lightning node has stopped; start it again")]
    Stopped,
    /// The address to listen on cannot be had.
    #[error("cannot listen on {address} for Lightning peers: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Text that is no address of the network.
    #[error("that is no address to pay to: {why}")]
    BadAddress {
        /// Why.
        why: String,
    },
    /// 33 bytes that are no node's id.
    #[error("this is no Lightning node's id")]
    BadNodeId,
    /// The peer is not connected.
    #[error("the Lightning peer is not connected; check its address, or wait")]
    PeerOffline,
    /// There is no such channel.
    #[error("there is no open Lightning channel of this number")]
    UnknownChannel,
    /// There is no such sale, or its payment is held no more.
    #[error("no payment waits for a channel to be sold under this number")]
    UnknownSale,
    /// A channel cannot be changed as asked.
    #[error("the Lightning channel cannot be changed so: {why}")]
    Channel {
        /// Why.
        why: String,
    },
    /// Miners would have to be paid more than was allowed.
    #[error("miners ask {fee} for this now, and {max} are allowed; wait, or allow more")]
    FeeTooHigh {
        /// What it would cost.
        fee: Amount,
        /// What it may cost.
        max: Amount,
    },
    /// An invoice that is none, or that this node cannot make or pay.
    #[error("the Lightning invoice is not usable: {why}")]
    BadInvoice {
        /// Why.
        why: String,
    },
    /// The invoice's time is up.
    #[error("the Lightning invoice has expired; ask for a new one")]
    InvoiceExpired,
    /// The settlement or hash has an invoice already, on other terms.
    #[error("there is an invoice of {amount_msat} msat for this already; a new one needs a new id")]
    InvoiceDiffers {
        /// What the first one asks for, in msat.
        amount_msat: u64,
    },
    /// The settlement pays another payee, or another amount.
    #[error(
        "this id was to pay {amount_msat} msat, or another payee, before; a new payment needs a new id"
    )]
    PaymentDiffers {
        /// What it was to pay, in msat.
        amount_msat: u64,
    },
    /// No invoice was made for this hash.
    #[error("no invoice was made for this hash")]
    UnknownInvoice,
    /// No channel has room for the payment now.
    #[error("no Lightning channel has room for this payment now; wait, or open or enlarge one")]
    NoRoute,
    /// A Lightning node of one's own does not answer.
    #[error(
        "the Lightning node does not answer at {url}: {detail}; check the URL, its certificate and that it runs"
    )]
    LndDown {
        /// Where it was asked.
        url: String,
        /// Why there was no answer.
        detail: String,
    },
    /// A Lightning node of one's own is on another network.
    #[error(
        "the Lightning node is on {found}, but the configuration says {expected}; use one on {expected}"
    )]
    LndNetwork {
        /// From the configuration.
        expected: String,
        /// What the node says.
        found: String,
    },
    /// A Lightning node of one's own said no.
    #[error("the Lightning node refused {what}: {message} (code {code})")]
    LndRefused {
        /// What was asked.
        what: &'static str,
        /// Its words.
        message: String,
        /// gRPC's code.
        code: i64,
    },
    /// A Lightning node of one's own said what makes no sense.
    #[error(
        "the Lightning node's answer makes no sense: {what}; does it speak LND's REST interface?"
    )]
    LndNonsense {
        /// What is wrong with it.
        what: String,
    },
    /// Something before this is still under way.
    #[error("{what} is still under way; ask again")]
    Busy {
        /// What.
        what: &'static str,
    },
}

impl Fault {
    /// Whether asking again may help.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::SourceRefused { code, .. } => retry_after_refusal(*code),
            Self::SourceDown { .. }
            | Self::SourceDenies { .. }
            | Self::SourceLags { .. }
            | Self::NodesDisagree { .. }
            | Self::NotEnoughCoins { .. }
            | Self::NotEnoughSignatures { .. }
            | Self::WalletStore { .. }
            | Self::Nonsense { .. }
            | Self::BlockGone { .. }
            | Self::HeaderFile { .. }
            | Self::Store { .. }
            | Self::StoreInUse { .. }
            | Self::Stopped
            | Self::Listen { .. }
            | Self::PeerOffline
            | Self::Channel { .. }
            | Self::FeeTooHigh { .. }
            | Self::LndDown { .. }
            | Self::LndRefused { .. }
            | Self::LndNonsense { .. }
            | Self::NoRoute => Retry::Later,
            Self::Busy { .. } => Retry::Now,
            Self::BadUrl { .. }
            | Self::WrongNetwork { .. }
            | Self::LndNetwork { .. }
            | Self::Dust { .. }
            | Self::BadPayment { .. }
            | Self::BadReserve { .. }
            | Self::OtherPayment { .. }
            | Self::OtherWallet { .. }
            | Self::StoreFormat
            | Self::OtherNode
            | Self::OldStore { .. }
            | Self::BadNodeId
            | Self::BadAddress { .. }
            | Self::UnknownChannel
            | Self::UnknownSale
            | Self::BadInvoice { .. }
            | Self::InvoiceExpired
            | Self::InvoiceDiffers { .. }
            | Self::PaymentDiffers { .. }
            | Self::UnknownInvoice => Retry::Never,
        }
    }
}

/// By bitcoind's error codes (`src/rpc/protocol.h`): what was asked wrongly stays wrong; the rest depends on its state.
fn retry_after_refusal(code: i64) -> Retry {
    const INVALID_REQUEST: i64 = -32_600;
    const METHOD_NOT_FOUND: i64 = -32_601;
    const INVALID_PARAMS: i64 = -32_602;
    const TYPE_ERROR: i64 = -3;
    const INVALID_PARAMETER: i64 = -8;
    const DESERIALIZATION_ERROR: i64 = -22;
    match code {
        INVALID_REQUEST
        | METHOD_NOT_FOUND
        | INVALID_PARAMS
        | TYPE_ERROR
        | INVALID_PARAMETER
        | DESERIALIZATION_ERROR => Retry::Never,
        _ => Retry::Later,
    }
}
