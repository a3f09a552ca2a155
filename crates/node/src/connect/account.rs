//! The Lightning side of the peer's account: what was paid and what came, in millisatoshi. It changes by
//! [`LightningAccount::evolve`] alone.

use std::collections::{BTreeMap, VecDeque};

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_quantity::{Amount, Hash32, Timestamp};

/// Invoices that the pool may still pay: one every 30 s for a day, should all of them fail, and some.
pub(super) const INVOICES_MAX: usize = 1 << 12;
/// Payment hashes remembered, so that none is used twice: months of settlements.
const HASHES_MAX: usize = 1 << 16;

/// A fact about Lightning. The variant order is the format on disk: new variants go to the end.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum LightningEvent {
    /// The pool is to be paid; its invoice is asked for under this number.
    SettlementBegun {
        /// Our number for the settlement, never used for another.
        settlement: u64,
        /// In millisatoshi.
        amount: Amount,
    },
    /// Its invoice is known and will be paid; nothing else is ever paid for it unless this fails for certain [I16].
    SettlementHashed {
        /// Our number.
        settlement: u64,
        /// The invoice's payment hash.
        hash: Hash32,
        /// The invoice, BOLT 11.
        invoice: String,
    },
    /// It arrived.
    SettlementPaid {
        /// Our number.
        settlement: u64,
        /// What routing it cost, in millisatoshi.
        fee: Amount,
    },
    /// It failed for certain, or was refused before anything was sent.
    SettlementFailed {
        /// Our number.
        settlement: u64,
    },
    /// The pool may have an invoice for a settlement.
    InvoiceGiven {
        /// The pool's number.
        settlement: u64,
        /// In millisatoshi.
        amount: Amount,
        /// After this it is not paid any more.
        expires_at: Timestamp,
    },
    /// The pool paid it.
    Received {
        /// The pool's number.
        settlement: u64,
        /// What arrived, in millisatoshi.
        amount: Amount,
    },
    /// A channel to the pool's node is asked for.
    ChannelAsked {
        /// Our number for it, never used for another.
        channel: u64,
    },
    /// It is funded: its transaction is on its way to the chain.
    ChannelFunded {
        /// Our number for it.
        channel: u64,
        /// What it paid to miners, in millisatoshi.
        fee: Amount,
    },
    /// It is closed, or never came to be.
    ChannelEnded {
        /// Our number for it.
        channel: u64,
    },
}

/// A payment to the pool that is under way.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Settlement {
    /// Our number for it.
    pub number: u64,
    /// In millisatoshi.
    pub amount: Amount,
    /// What is being paid, once the pool has told it.
    pub invoice: Option<PaidInvoice>,
}

/// An invoice of the pool that is being paid.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PaidInvoice {
    /// Its payment hash.
    pub hash: Hash32,
    /// BOLT 11.
    pub text: String,
}

/// An invoice that the pool may pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GivenInvoice {
    /// In millisatoshi.
    pub amount: Amount,
    /// After this it is not paid any more.
    pub expires_at: Timestamp,
}

/// A channel that we open to the pool's node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OwnChannel {
    /// Our number for it.
    pub number: u64,
    /// Its transaction is on its way, or in the chain.
    pub is_funded: bool,
}

/// All that is known of the account on Lightning. Amounts are in millisatoshi, and cumulative.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LightningAccount {
    /// What we paid the pool and it has for certain.
    pub paid: Amount,
    /// What the pool paid us.
    pub received: Amount,
    /// What routing and opening channels cost us.
    pub fees: Amount,
    /// What is being paid to the pool.
    pub settlement: Option<Settlement>,
    /// Invoices that the pool has and has not paid, by its numbers.
    pub invoices: BTreeMap<u64, GivenInvoice>,
    /// The channel that we open.
    pub channel: Option<OwnChannel>,
    /// The highest number of a settlement that the pool has asked an invoice for.
    pub(super) last_given: u64,
    pub(super) last_settlement: u64,
    pub(super) last_channel: u64,
    hashes: VecDeque<Hash32>,
}

impl Default for LightningAccount {
    fn default() -> Self {
        Self::NEW
    }
}

impl LightningAccount {
    /// Of which nothing is known yet.
    pub(super) const NEW: Self = Self {
        paid: Amount::ZERO,
        received: Amount::ZERO,
        fees: Amount::ZERO,
        settlement: None,
        invoices: BTreeMap::new(),
        channel: None,
        last_given: 0,
        last_settlement: 0,
        last_channel: 0,
        hashes: VecDeque::new(),
    };

    /// What has left for the pool, or may have: paid, and under way since its invoice is known.
    #[must_use]
    pub fn sent(&self) -> Amount {
        let under_way = self.settlement.as_ref();
        let under_way = under_way.filter(|settlement| settlement.invoice.is_some());
        let amount = under_way.map_or(Amount::ZERO, |settlement| settlement.amount);
        self.paid.saturating_add(amount)
    }

    /// Whether a payment of ours had this hash before.
    pub(super) fn is_used(&self, hash: Hash32) -> bool {
        self.hashes.contains(&hash)
    }

    pub(super) fn evolve(&mut self, event: &LightningEvent) {
        match event {
            LightningEvent::SettlementBegun { settlement, amount } => {
                self.begin(*settlement, *amount);
            }
            LightningEvent::SettlementHashed { hash, invoice, .. } => self.hash(*hash, invoice),
            LightningEvent::SettlementPaid { fee, .. } => {
                let settled = self.end();
                self.paid = self.paid.saturating_add(settled.amount);
                self.fees = self.fees.saturating_add(*fee);
            }
            LightningEvent::SettlementFailed { .. } => {
                self.end();
            }
            LightningEvent::InvoiceGiven {
                settlement,
                amount,
                expires_at,
            } => self.give(*settlement, *amount, *expires_at),
            LightningEvent::Received { settlement, amount } => {
                let given = self.invoices.remove(settlement);
                assert!(given.is_some(), "[I11] a payment counts once");
                self.received = self.received.saturating_add(*amount);
            }
            LightningEvent::ChannelAsked { channel } => {
                self.last_channel = *channel;
                self.channel = Some(OwnChannel {
                    number: *channel,
                    is_funded: false,
                });
            }
            LightningEvent::ChannelFunded { fee, .. } => {
                let channel = self.channel.as_mut();
                channel.expect("one that was asked for is funded").is_funded = true;
                self.fees = self.fees.saturating_add(*fee);
            }
            LightningEvent::ChannelEnded { .. } => self.channel = None,
        }
    }

    fn begin(&mut self, number: u64, amount: Amount) {
        self.last_settlement = number;
        let begun = Settlement {
            number,
            amount,
            invoice: None,
        };
        let earlier = self.settlement.replace(begun);
        assert!(earlier.is_none(), "[I16] one settlement at a time");
    }

    fn hash(&mut self, hash: Hash32, text: &str) {
        let under_way = self.settlement.as_mut();
        let under_way = under_way.expect("[I16] a hash is told for a settlement");
        let text = text.to_owned();
        let earlier = under_way.invoice.replace(PaidInvoice { hash, text });
        assert!(earlier.is_none(), "[I16] a settlement has one payment hash");
        self.hashes.push_back(hash);
        if self.hashes.len() > HASHES_MAX {
            self.hashes.pop_front();
        }
    }

    /// Takes the settlement that ended, once [I3].
    fn end(&mut self) -> Settlement {
        let settled = self.settlement.take();
        settled.expect("[I3] a settlement ends once")
    }

    fn give(&mut self, number: u64, amount: Amount, expires_at: Timestamp) {
        if self.invoices.len() >= INVOICES_MAX {
            self.invoices.pop_first();
        }
        self.last_given = self.last_given.max(number);
        let given = GivenInvoice { amount, expires_at };
        let earlier = self.invoices.insert(number, given);
        assert!(earlier.is_none(), "[I16] a settlement has one invoice");
    }
}
