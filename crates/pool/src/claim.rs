//! Claims of LPs on Bitcoin: where each is paid, what it takes out, and what it pays in over Lightning. All amounts are in
//! millisatoshi.

use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_channel::Address;
use forebay_quantity::{Amount, EffectId, Hash32, Timestamp};
use sha2::{Digest, Sha256};

use crate::lightning::InvoiceTerms;

/// The script of an output.
pub type Script = Vec<u8>;

/// Names one invoice of one LP, drawn by the caller.
pub type InvoiceId = [u8; 16];

/// What is told of an LP on Bitcoin, or asked for it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize)]
pub enum ClaimOrder {
    /// Makes an LP known that is paid at this script.
    Add {
        /// Where it is paid.
        payout: Script,
    },
    /// Pays an LP elsewhere from now on.
    SetPayout {
        /// Which LP.
        owner: Address,
        /// Where it is paid.
        payout: Script,
    },
    /// Pays an LP out of its claim.
    Withdraw {
        /// Which LP.
        owner: Address,
        /// By which way.
        way: Way,
    },
    /// Gives an LP an invoice: what is paid on it becomes its notes.
    GiveInvoice {
        /// Which LP.
        owner: Address,
        /// The invoice's name.
        invoice: InvoiceId,
        /// What it is over.
        amount: Amount,
    },
}

/// How an LP wants to be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize)]
pub enum Way {
    /// By an output to its payout script.
    OnChain {
        /// What its claim sinks by, the miners' fee in it; all of it when left out.
        amount: Option<Amount>,
        /// What the payment costs now: no part of what is asked for, so that the same request is known again.
        #[borsh(skip)]
        cost: OutputCost,
    },
    /// By the LP's own invoice; routing is paid from the claim too.
    Lightning(InvoiceTerms),
}

/// What an output costs at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutputCost {
    /// What miners are paid for it.
    pub fee: Amount,
    /// The least that the chain's nodes let pass.
    pub min: Amount,
}

/// What Lightning says of an LP's invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimPaid {
    /// The LP's number.
    pub lp: u32,
    /// Which invoice.
    pub invoice: InvoiceId,
    /// What arrived.
    pub amount: Amount,
}

/// How a withdrawal is paid.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Payout {
    /// To this script, as it was when the withdrawal began.
    Output(Script),
    /// By the invoice with this hash; nothing else is ever paid for it [I16].
    Invoice(Hash32),
}

/// A fact about a claim. The variant order is the wire format (`spec/events.md`): new variants go to the end.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ClaimEvent {
    /// An LP is known; its number is the next one.
    LpAdded {
        /// What stands for it in the books, for ever.
        owner: Address,
        /// Where it is paid.
        payout: Script,
    },
    /// It is paid elsewhere from now on.
    PayoutSet {
        /// Which LP.
        owner: Address,
        /// Where it is paid.
        payout: Script,
    },
    /// A withdrawal is under way: its units are burnt, and what it may cost is pending.
    WithdrawalBegun {
        /// Its number; the hot wallet's payment has the same.
        id: EffectId,
        /// Which LP.
        owner: Address,
        /// Units burnt.
        units: Amount,
        /// What arrives.
        amount: Amount,
        /// The most that miners or routing are paid from the claim.
        fee_max: Amount,
        /// How it is paid.
        payout: Payout,
    },
    /// It arrived, and is final.
    WithdrawalPaid {
        /// Which.
        id: EffectId,
        /// Which LP.
        owner: Address,
        /// What miners or routing were paid.
        fee: Amount,
    },
    /// Nothing of it was paid, for certain: the units are the LP's again.
    WithdrawalFailed {
        /// Which.
        id: EffectId,
        /// Which LP.
        owner: Address,
    },
    /// An LP may have an invoice.
    InvoiceGiven {
        /// Which LP.
        owner: Address,
        /// The invoice's name.
        invoice: InvoiceId,
        /// What it is over.
        amount: Amount,
        /// After this it is not paid any more.
        expires_at: Timestamp,
    },
    /// It was paid.
    InvoicePaid {
        /// Which LP.
        owner: Address,
        /// The invoice's name.
        invoice: InvoiceId,
        /// What arrived.
        amount: Amount,
    },
}

impl ClaimEvent {
    /// Whose claim it is.
    pub fn owner(&self) -> Address {
        match self {
            Self::LpAdded { owner, .. }
            | Self::PayoutSet { owner, .. }
            | Self::WithdrawalBegun { owner, .. }
            | Self::WithdrawalPaid { owner, .. }
            | Self::WithdrawalFailed { owner, .. }
            | Self::InvoiceGiven { owner, .. }
            | Self::InvoicePaid { owner, .. } => *owner,
        }
    }
}

/// A withdrawal to pay, once; outstanding until it was paid or has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithdrawalEffect {
    /// Its number.
    pub id: EffectId,
    /// What arrives.
    pub amount: Amount,
    /// How.
    pub payout: Payout,
}

/// What stands in the books for an LP that was first paid at this script: the beginning of its SHA-256.
pub(crate) fn owner_of(payout: &[u8]) -> Address {
    let hash: [u8; 32] = Sha256::digest(payout).into();
    let mut first = [0; 20];
    first.copy_from_slice(&hash[..20]);
    Address::new(first)
}
