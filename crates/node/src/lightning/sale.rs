//! Channels sold just in time: the core says to whom and for what, the Lightning node does it.

use forebay_chain_bitcoin::lightning::{
    ChannelNumber, Observation, Opening, SaleNumber, SaleRequest, SaleTerms as Offered,
};
use forebay_channel::NodeId;
use forebay_pool::{
    Command, LightningChannelId, Rejection, SaleCommand, SaleId, SaleTerms, sale_terms,
};
use forebay_quantity::{Amount, EffectId, Milliseconds, Timestamp};
use tracing::{info, warn};

use super::Lightning;
use super::errand::satoshi;
use super::wallet::millisatoshi;
use crate::core::CommandFault;
use crate::wall;

/// How often a block comes, for what the protocol counts in blocks.
const BLOCK_MS: u64 = 600_000;

impl Lightning {
    /// Whether an observation about sales is durable, or nothing that has to be.
    pub(super) async fn take_sale(&self, observation: &Observation) -> bool {
        match observation {
            Observation::TermsAsked { request } => self.offer(request).await,
            Observation::ChannelAsked {
                request,
                terms,
                payment_msat,
            } => self.promise(request, terms, *payment_msat).await,
            Observation::PaymentHeld {
                sale,
                amount_msat,
                fee_msat,
                spendable_sat,
                ..
            } => {
                let held = SaleCommand::PaymentHeld {
                    sale: SaleId(sale.0),
                    amount: Amount::from(*amount_msat),
                    fee: Amount::from(*fee_msat),
                    spendable: millisatoshi(*spendable_sat),
                };
                self.payment_held(*sale, held).await
            }
            Observation::Forwarded {
                number,
                fee_msat,
                withheld_msat,
                to,
            } => {
                let forwarded = SaleCommand::Forwarded {
                    number: *number,
                    fee: Amount::from(*fee_msat),
                    withheld: Amount::from(*withheld_msat),
                    channel: to.map(|channel| LightningChannelId(channel.0)),
                };
                self.tell_core(Command::Sale(forwarded)).await
            }
            _ => true,
        }
    }

    async fn offer(&self, request: &SaleRequest) -> bool {
        let node = NodeId(request.peer);
        let cost = millisatoshi(self.node.opening_cost_sat());
        let spendable = millisatoshi(self.node.spendable_sat());
        let terms = self
            .core
            .query(move |state| sale_terms(state, wall::now(), node, cost, spendable));
        match terms.await {
            Ok(Ok(terms)) => {
                if let Err(fault) = self.node.offer(request, &offered(&terms)) {
                    info!(%node, "terms were not told: {fault}");
                }
                true
            }
            Ok(Err(rejection)) => {
                self.decline(request, &rejection);
                true
            }
            Err(_) => false,
        }
    }

    async fn promise(
        &self,
        request: &SaleRequest,
        terms: &Offered,
        payment_msat: Option<u64>,
    ) -> bool {
        let sale = self.node.draw_sale();
        let bought = SaleCommand::Bought {
            sale: SaleId(sale.0),
            node: NodeId(request.peer),
            terms: as_offered(terms),
            payment: payment_msat.map(Amount::from),
        };
        match self.core.command(Command::Sale(bought)).await {
            Ok(()) => {
                let promised = self.node.promise(request, sale, terms.valid_until_s);
                if let Err(fault) = promised.await {
                    info!(sale = sale.0, "a channel was not promised: {fault}");
                }
                true
            }
            Err(CommandFault::Rejected(rejection)) => {
                self.decline(request, &rejection);
                true
            }
            Err(CommandFault::Stopped(_)) => false,
        }
    }

    fn decline(&self, request: &SaleRequest, rejection: &Rejection) {
        info!(node = %NodeId(request.peer), "no channel is sold: {rejection}");
        self.node.decline(request, &rejection.to_string());
    }

    /// The core opens a channel for it, or it goes back.
    async fn payment_held(&self, sale: SaleNumber, held: SaleCommand) -> bool {
        match self.core.command(Command::Sale(held)).await {
            // It was told before: the channel is on its way, or there.
            Ok(()) | Err(CommandFault::Rejected(Rejection::AlreadyTaken)) => true,
            Err(CommandFault::Rejected(rejection)) => {
                warn!(
                    sale = sale.0,
                    "a payment for a channel goes back: {rejection}"
                );
                self.node.give_back(sale).await;
                true
            }
            Err(CommandFault::Stopped(_)) => false,
        }
    }

    /// Opens the channel that a held payment passes through.
    pub(super) async fn sell(
        &self,
        demand: EffectId,
        sale: SaleId,
        (node, amount, fee_max): (NodeId, Amount, Amount),
    ) -> Result<(), forebay_chain_bitcoin::Fault> {
        let opening = Opening {
            channel: ChannelNumber(u128::from(demand.0)),
            peer: node.0,
            value_sat: satoshi(amount),
            public: false,
            fee_max_sat: satoshi(fee_max),
        };
        self.node.sell(SaleNumber(sale.0), opening).await
    }
}

fn offered(terms: &SaleTerms) -> Offered {
    let msat = |amount: Amount| amount.to_u64().unwrap_or(u64::MAX);
    let blocks = terms.lifetime_ms.div_ceil(BLOCK_MS);
    Offered {
        fee_min_msat: msat(terms.fee_min),
        fee_ppm: terms.fee_ppm,
        valid_until_s: terms.valid_until.0 / 1_000,
        lifetime_blocks: u32::try_from(blocks).unwrap_or(u32::MAX),
        payment_min_msat: msat(terms.payment_min),
        payment_max_msat: msat(terms.payment_max),
    }
}

/// Terms as they come back with a purchase: what was offered, since their promise was checked.
fn as_offered(terms: &Offered) -> SaleTerms {
    SaleTerms {
        fee_min: Amount::from(terms.fee_min_msat),
        fee_ppm: terms.fee_ppm,
        valid_until: Timestamp(0).saturating_add(Milliseconds::from_seconds(terms.valid_until_s)),
        lifetime_ms: u64::from(terms.lifetime_blocks).saturating_mul(BLOCK_MS),
        payment_min: Amount::from(terms.payment_min_msat),
        payment_max: Amount::from(terms.payment_max_msat),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_that_come_back_are_those_that_were_offered() {
        let terms = SaleTerms {
            fee_min: Amount::new(1_000_001),
            fee_ppm: 3_600,
            valid_until: Timestamp(1_800_000_000_000),
            lifetime_ms: 30 * 86_400_000,
            payment_min: Amount::new(10_000_000),
            payment_max: Amount::new(5_000_000_000),
        };
        assert_eq!(as_offered(&offered(&terms)), terms);
    }
}
