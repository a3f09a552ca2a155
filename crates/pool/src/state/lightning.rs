//! What the pool knows of Lightning: a peer's node and channels, invoices given, settlements under way.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_channel::NodeId;
use forebay_ledger::TransferId;
use forebay_quantity::{Amount, EffectId, Hash32, PeerId, Timestamp};

use super::bounds;
use super::liquidity::{Flow, LightningChannel, LightningChannelId};
use crate::bitcoin::Outpoint;
use crate::lightning::LightningEffect;

/// Decimal places of a millisatoshi below a bitcoin: the chain unit of an asset on Bitcoin.
pub const MILLISATOSHI_SCALE: u8 = 11;

/// How an asset's money is held, and how its accounts are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Rail {
    /// In a vault contract; by vouchers on channels of that vault.
    Vault,
    /// In the operator's own wallet and Lightning channels; by Lightning payments.
    Bitcoin {
        /// Hash of the chain's first block.
        genesis: Hash32,
    },
}

/// An asset on Bitcoin, as the operator lists it; never changes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BitcoinDefinition {
    /// Code, e.g. `BTC`.
    pub code: String,
    /// Decimal places of the ledger's base unit, at most [`MILLISATOSHI_SCALE`].
    pub scale: u8,
    /// Hash of the chain's first block.
    pub genesis: Hash32,
    /// The most by which the note index rises in a day, in ray of itself.
    pub index_rate_max: u128,
}

/// An invoice that a peer may pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GivenInvoice {
    /// In millisatoshi.
    pub amount: Amount,
    /// After this it is not paid any more.
    pub expires_at: Timestamp,
    /// It was.
    pub is_paid: bool,
}

impl GivenInvoice {
    /// Whether something can still come of it: an HTLC taken at its last moment may take days to resolve.
    pub(crate) fn may_be_paid(&self, now: Timestamp) -> bool {
        !self.is_paid && now.since(self.expires_at).0 <= bounds::INVOICE_KEPT_MS
    }
}

/// A payment to a peer that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Settlement {
    /// Our number for it.
    pub id: EffectId,
    /// In millisatoshi.
    pub amount: Amount,
    /// The payment hash, once the peer has told its invoice [I16].
    pub hash: Option<Hash32>,
    /// The pending leg.
    pub(crate) transfer: TransferId,
}

/// The Lightning side of an account, in millisatoshi.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LightningAccount {
    /// Who settles for the peer, once proved.
    pub node: Option<NodeId>,
    /// What the usable channels carry from us to it.
    pub outbound: Amount,
    /// What they carry from it to us.
    pub inbound: Amount,
    /// All that it has paid.
    pub received: Amount,
    /// All that it was paid.
    pub paid: Amount,
    /// What is being paid to it.
    pub settlement: Option<Settlement>,
    /// Invoices that it may pay or has paid, by its own numbers.
    pub invoices: BTreeMap<u64, GivenInvoice>,
    /// Numbers up to this one were given and are forgotten: none of them is given again.
    pub(crate) invoices_forgotten: u64,
    /// A failed settlement is begun anew from then on.
    pub(crate) retry_at: Timestamp,
    /// Open channels.
    pub channels: BTreeMap<LightningChannelId, LightningChannel>,
    /// All that miners were paid for channels, closed ones included.
    pub cost: Amount,
    /// Its channels were closed as idle, and none is opened until a packet is to go to it.
    pub is_asleep: bool,
    /// What was paid, both ways, of late.
    pub flow: Flow,
    /// When a channel was last of use.
    pub(crate) used_at: Timestamp,
    /// When a channel was last opened, spliced or closed, or could not be.
    pub(crate) changed_at: Timestamp,
    /// Closed channels whose money has not come back, in the order of their closing.
    pub(crate) closed: VecDeque<ClosedChannel>,
}

/// A channel that takes no more payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct ClosedChannel {
    pub(crate) channel: LightningChannelId,
    /// What was ours in it.
    pub(crate) balance: Amount,
}

impl LightningAccount {
    /// Whether any channel carries something.
    pub fn is_usable(&self) -> bool {
        !self.outbound.is_zero() || !self.inbound.is_zero()
    }

    /// The chore that the settlement under way demands.
    pub(crate) fn owed(&self, peer: PeerId) -> Option<LightningEffect> {
        let Settlement {
            id: settlement,
            amount,
            hash,
            ..
        } = self.settlement?;
        Some(match hash {
            None => LightningEffect::AskInvoice {
                peer,
                settlement,
                amount,
            },
            Some(hash) => LightningEffect::Pay {
                peer,
                settlement,
                hash,
            },
        })
    }
}

/// What counts once, for ever: outputs deposited, transactions paid for.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct OnBitcoin {
    pub(crate) deposits: BTreeSet<Outpoint>,
    pub(crate) paid_for: BTreeSet<Hash32>,
    /// How often the Lightning node's store was written, as was last said.
    pub(crate) stored: u64,
    paid_in_order: VecDeque<Hash32>,
}

impl OnBitcoin {
    pub(crate) fn paid_for(&mut self, txid: Hash32) {
        assert!(self.paid_for.insert(txid), "[I11] a fee counts once");
        self.paid_in_order.push_back(txid);
        if self.paid_in_order.len() > bounds::HASHES_REMEMBERED_MAX {
            let oldest = self.paid_in_order.pop_front();
            self.paid_for
                .remove(&oldest.expect("longer than its bound"));
        }
    }
}

/// Whom a payment of ours pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Paying {
    /// A peer, by its settlement under way.
    Peer(PeerId),
    /// An LP, by this withdrawal.
    Lp(EffectId),
}

/// Payment hashes of ours: each is used once.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct PaymentHashes {
    /// Of payments under way, with whom they pay.
    pub(crate) paying: BTreeMap<Hash32, Paying>,
    used: BTreeSet<Hash32>,
    used_in_order: VecDeque<Hash32>,
}

impl PaymentHashes {
    pub(crate) fn is_used(&self, hash: Hash32) -> bool {
        self.used.contains(&hash)
    }

    pub(crate) fn begin(&mut self, hash: Hash32, whom: Paying) {
        self.paying.insert(hash, whom);
        if self.used.insert(hash) {
            self.used_in_order.push_back(hash);
        }
        if self.used_in_order.len() > bounds::HASHES_REMEMBERED_MAX {
            let oldest = self.used_in_order.pop_front();
            let oldest = oldest.expect("longer than its bound");
            self.used.remove(&oldest);
        }
    }
}
