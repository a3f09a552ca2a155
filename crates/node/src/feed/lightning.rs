//! What happened on Bitcoin and Lightning, said.

use forebay_pool::{BitcoinFact, LightningEvent};
use forebay_quantity::Amount;

use super::words::{Names, Said, of_pool};

impl Names {
    pub(super) fn on_bitcoin(&self, fact: &BitcoinFact) -> Said {
        match fact {
            BitcoinFact::Deposited {
                owner: Some(owner),
                amount,
                ..
            } => Said {
                owner: Some(*owner),
                ..of_pool(
                    "bitcoin-deposited",
                    format!("{owner} paid in {amount} msat"),
                )
            },
            BitcoinFact::Deposited {
                owner: None,
                amount,
                ..
            } => of_pool(
                "bitcoin-deposited",
                format!("the operator paid in {amount} msat"),
            ),
            BitcoinFact::MinersPaid { amount, .. } => {
                of_pool("miners-paid", format!("{amount} msat were paid to miners"))
            }
            BitcoinFact::DeepReorg => of_pool(
                "deep-reorg",
                "Bitcoin dropped a block that was final".into(),
            ),
        }
    }

    pub(super) fn lightning(&self, happened: &LightningEvent) -> Said {
        let peer = happened.peer();
        let amount = |amount: &Amount| self.lane(peer, *amount);
        let (kind, text) = match happened {
            LightningEvent::NodeNamed { node, .. } => (
                "lightning-node-named",
                format!("settles by its node {node}"),
            ),
            LightningEvent::InvoiceGiven {
                settlement,
                amount: asked,
                ..
            } => (
                "invoice-given",
                format!("may pay {} under its number {settlement}", amount(asked)),
            ),
            LightningEvent::Received {
                settlement,
                amount: paid,
                ..
            } => (
                "lightning-received",
                format!("paid {} under its number {settlement}", amount(paid)),
            ),
            LightningEvent::SettlementBegun {
                settlement,
                amount: owed,
                ..
            } => (
                "settlement-begun",
                format!("is paid {} by settlement {settlement}", amount(owed)),
            ),
            LightningEvent::SettlementHashed {
                settlement, hash, ..
            } => (
                "settlement-hashed",
                format!("told the invoice of settlement {settlement}: payment hash {hash}"),
            ),
            LightningEvent::SettlementPaid {
                settlement, fee, ..
            } => (
                "settlement-paid",
                format!(
                    "settlement {settlement} arrived; routing cost {}",
                    amount(fee)
                ),
            ),
            LightningEvent::SettlementFailed { settlement, .. } => (
                "settlement-failed",
                format!("settlement {settlement} failed for certain: the debt stands"),
            ),
            LightningEvent::ChannelFunded { fee, .. } => (
                "channel-funded",
                format!(
                    "a channel to it is funded; miners were paid {}",
                    amount(fee)
                ),
            ),
            LightningEvent::ChannelStands { channel, value, .. } => (
                "lightning-channel",
                format!("its channel {channel} holds {}", amount(value)),
            ),
            LightningEvent::ChannelSpliced { channel, fee, .. } => (
                "channel-spliced",
                format!(
                    "its channel {channel} is being spliced; miners were paid {}",
                    amount(fee)
                ),
            ),
            LightningEvent::ChannelClosed {
                channel, balance, ..
            } => (
                "lightning-channel-closed",
                format!(
                    "its channel {channel} is closed, with {} ours",
                    amount(balance)
                ),
            ),
            LightningEvent::ChannelReturned { channel, cost, .. } => (
                "channel-returned",
                format!(
                    "what was ours in its channel {channel} is back; the closing cost {}",
                    amount(cost)
                ),
            ),
            LightningEvent::ClosingPaid { channel, fee, .. } => (
                "closing-paid",
                format!(
                    "a transaction that brings the money of its channel {channel} back paid {} to miners",
                    amount(fee)
                ),
            ),
            LightningEvent::ChannelGained { channel, gain, .. } => (
                "channel-gained",
                format!(
                    "its channel {channel} brought {} more than was ours",
                    amount(gain)
                ),
            ),
            LightningEvent::Woken { .. } => (
                "lightning-woken",
                "is wanted again: its idle channels had been closed".into(),
            ),
            LightningEvent::CapacityKnown {
                outbound, inbound, ..
            } => (
                "lightning-capacity",
                format!(
                    "its channels carry {} to it and {} from it",
                    amount(outbound),
                    amount(inbound)
                ),
            ),
        };
        self.of_peer(kind, peer, text)
    }
}
