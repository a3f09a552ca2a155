//! Channels sold just in time, and payments that passed through, said.

use forebay_pool::SaleEvent;

use super::words::{Said, of_pool};

pub(super) fn sale(happened: &SaleEvent) -> Said {
    match happened {
        SaleEvent::Promised { sale, node, terms } => {
            let text = format!(
                "sale {}: {node} may have a Lightning channel for {} ppm of the payment that opens it, {} msat at least",
                sale.0, terms.fee_ppm, terms.fee_min
            );
            of_pool("channel-promised", text)
        }
        SaleEvent::Funded { sale, fee } => {
            let text = format!("sale {}: its channel cost {fee} msat", sale.0);
            of_pool("channel-sold", text)
        }
        SaleEvent::Forwarded { fee, withheld, .. } => {
            let text = format!(
                "a payment passed through and left {fee} msat, {withheld} msat of it for a channel that was sold"
            );
            of_pool("payment-forwarded", text)
        }
        SaleEvent::Closed { sale, balance } => {
            let text = format!(
                "sale {}: its channel closed, {balance} msat in it are the pool's",
                sale.0
            );
            of_pool("sold-channel-closed", text)
        }
        SaleEvent::ClosingPaid { sale, fee, .. } => {
            let text = format!(
                "sale {}: {fee} msat were paid to bring its channel's money back",
                sale.0
            );
            of_pool("sold-channel-paid", text)
        }
        SaleEvent::Returned { sale, cost, .. } => {
            let text = format!(
                "sale {}: its channel's money came back; closing cost {cost} msat",
                sale.0
            );
            of_pool("sold-channel-returned", text)
        }
    }
}
