//! Settling over Lightning: terms and what the node reports here; paying and being paid each in a room of its own.

mod opening;
mod paid;
mod paying;

use forebay_channel::{LightningTerms, NodeId};
use forebay_pool::{InvoiceTerms, MILLISATOSHI_SCALE};
use forebay_quantity::{Amount, Hash32, Milliseconds, Timestamp};

use super::{Core, Effect, LightningRail, Rail};

/// What failed is tried again after this long.
const RETRY: Milliseconds = Milliseconds::from_seconds(30);

/// What the Lightning node reported, or an invoice said. Amounts are in millisatoshi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LightningCommand {
    /// The pool told the invoice of a settlement that pays it.
    InvoiceTold {
        /// Our number for the settlement.
        settlement: u64,
        /// BOLT 11.
        invoice: String,
        /// What it says.
        terms: InvoiceTerms,
    },
    /// What the pool told is no invoice that can be read.
    InvoiceUnreadable {
        /// Our number for the settlement.
        settlement: u64,
        /// Why, in words.
        why: String,
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
        /// Why, in words.
        why: String,
    },
    /// An invoice of ours was paid, and what it brought is ours for good.
    Received {
        /// The pool's number for the settlement.
        settlement: u64,
        /// What arrived.
        amount: Amount,
    },
    /// What the usable channels with the pool's node carry now.
    Capacity {
        /// From us to it.
        outbound: Amount,
        /// From it to us.
        inbound: Amount,
    },
    /// A channel of ours is funded: its transaction is on its way to the chain.
    ChannelFunded {
        /// Our number for it.
        channel: u64,
        /// What it paid to miners.
        fee: Amount,
    },
    /// A channel of ours is closed, or never came to be.
    ChannelEnded {
        /// Our number for it.
        channel: u64,
        /// Why, in words.
        why: String,
    },
}

/// A chore on Lightning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LightningEffect {
    /// Name our node to the pool, with its signature over this text.
    SayHello {
        /// What is signed.
        claim: String,
    },
    /// Make the invoice of a settlement, the same for the same number for ever, and tell it to the pool.
    MakeInvoice {
        /// The pool's number for the settlement.
        settlement: u64,
        /// In millisatoshi.
        amount: Amount,
        /// How long it can be paid.
        expiry: Milliseconds,
    },
    /// Pay an invoice, once; when it may be under way already, find out how it stands instead.
    Pay {
        /// Its payment hash.
        hash: Hash32,
        /// BOLT 11.
        invoice: String,
        /// The most that routing may cost, in millisatoshi.
        fee_max: Amount,
    },
    /// Open a channel to the pool's node, once.
    OpenChannel {
        /// Our number for it.
        channel: u64,
        /// The other end.
        peer: NodeId,
        /// Its value, all of it ours, in satoshi.
        value_sat: u64,
    },
}

/// What passes on Lightning and is in no journal.
#[derive(Debug, Default)]
pub(super) struct Passing {
    outbound: Amount,
    inbound: Amount,
    /// No settlement is begun before.
    settle_at: Timestamp,
    /// When the invoice was asked for last.
    asked_at: Timestamp,
    /// Since when the pool has not credited what it was paid.
    uncredited_since: Option<Timestamp>,
    /// No channel is opened before.
    open_at: Timestamp,
    /// A channel that stood was closed: another is opened after a restart only.
    was_closed: bool,
}

impl Core {
    /// What the channels with the pool's node carry now, to it and from it, in millisatoshi.
    #[must_use]
    pub fn capacity(&self) -> (Amount, Amount) {
        (self.passing.outbound, self.passing.inbound)
    }

    /// What the pool says it was paid by us, as far as it was heard on this link: cumulative, in the chain's base units.
    #[must_use]
    pub fn credited(&self) -> Amount {
        self.held
    }

    pub(super) fn outstanding_on_lightning(&self) -> impl Iterator<Item = Effect> + '_ {
        self.payment()
            .into_iter()
            .chain(self.opening())
            .map(Effect::Lightning)
    }

    pub(super) fn lightning(&mut self, now: Timestamp, command: LightningCommand) {
        match command {
            LightningCommand::InvoiceTold {
                settlement,
                invoice,
                terms,
            } => self.invoice_told(now, settlement, invoice, &terms),
            LightningCommand::InvoiceUnreadable { settlement, why } => {
                self.invoice_refused(now, settlement, &why);
            }
            LightningCommand::Sent { hash, fee } => self.payment_sent(hash, fee),
            LightningCommand::Failed { hash, why } => self.payment_failed(now, hash, &why),
            LightningCommand::Received { settlement, amount } => self.received(settlement, amount),
            LightningCommand::Capacity { outbound, inbound } => {
                (self.passing.outbound, self.passing.inbound) = (outbound, inbound);
            }
            LightningCommand::ChannelFunded { channel, fee } => self.channel_funded(channel, fee),
            LightningCommand::ChannelEnded { channel, why } => {
                self.channel_ended(now, channel, &why);
            }
        }
    }

    /// What we want of Lightning, if the account settles over it.
    fn lightning_rail(&self) -> Option<&LightningRail> {
        match &self.policy.rail {
            Rail::Lightning(rail) => Some(rail),
            Rail::Vault(_) => None,
        }
    }

    pub(super) fn take_lightning_terms(&mut self, now: Timestamp, told: &LightningTerms) {
        if let Some(objection) = self.lightning_objection(told) {
            self.agreed = false;
            return self.alarm(objection);
        }
        self.held = told.terms.held;
        if self.held >= self.state.account().paid {
            self.passing.uncredited_since = None;
        }
        self.agree(now, &told.terms, false);
    }

    /// Why these terms are not for us, in words.
    fn lightning_objection(&self, told: &LightningTerms) -> Option<String> {
        let Some(rail) = self.lightning_rail() else {
            return Some(
                "the pool settles this account over Lightning, the configuration says by vouchers"
                    .into(),
            );
        };
        let terms = &told.terms;
        if told.genesis != rail.genesis {
            return Some("the pool's Bitcoin is another network than the configuration's".into());
        }
        if told.node != rail.pool_node {
            return Some(format!(
                "the pool's Lightning node is {}, the configuration says {}",
                told.node, rail.pool_node
            ));
        }
        if terms.address != rail.account {
            return Some(format!(
                "the pool calls this account {}, the configuration {}",
                terms.address, rail.account
            ));
        }
        let scales = (self.policy.asset_scale, MILLISATOSHI_SCALE);
        if (terms.asset_scale, terms.chain_scale) != scales {
            return Some(format!(
                "the pool counts packets in {} decimal places and payments in {}; the configuration says {} and a \
                 millisatoshi has {}",
                terms.asset_scale, terms.chain_scale, scales.0, scales.1
            ));
        }
        let before = self.state.terms.as_ref();
        if before.is_some_and(|before| before.asset_scale != terms.asset_scale) {
            return Some("the asset's scale was another: the books would no longer add up".into());
        }
        let sent = self.state.account().sent();
        (terms.held > sent).then(|| {
            format!(
                "the pool was paid {} msat and we know of {sent} only: this data directory is older than the last one in \
                 use; put the newest back",
                terms.held
            )
        })
    }
}
