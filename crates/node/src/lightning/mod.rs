//! Lightning beside the core: makes invoices for peers that pay, pays what the core has journalled, opens the channels that
//! it demands, and tells it what happened before the Lightning node may forget it.

mod config;
mod errand;
pub(crate) mod head;
mod lp;
mod observe;
mod payout;
mod recover;
mod reserve;
mod sale;
mod start;
mod wallet;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forebay_chain_bitcoin::lightning::{
    ChannelStanding, InvoiceTerms as Asked, LightningNode, read_invoice,
};
use forebay_chain_bitcoin::wallet::Wallet;
use forebay_chain_bitcoin::{Fault, Network};
use forebay_channel::NodeId;
use forebay_pool::{Command, InvoiceTerms, LightningChannelId, LightningCommand, Rejection};
use forebay_quantity::{Amount, EffectId, Hash32, Milliseconds, PeerId, Timestamp};
use tokio::sync::{mpsc, watch};

pub(crate) use config::network;
pub use config::{BitcoinConfig, ReserveConfig};
pub(crate) use errand::{ChannelChange, Errand, run_errands};
pub(crate) use lp::{InvoiceAsked, invoice_id};
pub(crate) use observe::observe;
pub(crate) use payout::{Due, Payee};
pub use recover::recover_channels;
pub use reserve::RESERVE_LABEL;
pub(crate) use reserve::{Draft, Guarded};
pub use start::LightningFault;
pub(crate) use start::{Started, start};

use crate::core::{CommandFault, CoreHandle};
use wallet::{follow_wallet, millisatoshi};

/// How long an invoice of ours can be paid, in seconds: as long as the core expects it to be.
const INVOICE_EXPIRY_S: u32 = 3_600;
/// Blocks that a payer leaves us to claim a settlement: we claim at once, and a day passes before it could be lost.
const FINAL_CLTV: u16 = 144;

/// What peers are told of our Lightning node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LightningFace {
    pub(crate) node: NodeId,
    /// As host:port; empty when it listens nowhere.
    pub(crate) address: String,
    pub(crate) genesis: [u8; 32],
}

/// The pool's Lightning node, as its links and its core use it.
pub(crate) struct Lightning {
    node: LightningNode,
    wallet: Arc<Wallet>,
    network: Network,
    core: CoreHandle,
    face: LightningFace,
    /// Invoices that peers told and that are not paid yet, by payment hash.
    told: Mutex<BTreeMap<Hash32, String>>,
    /// What is not hot, where there is any.
    reserve: Option<Guarded>,
    /// The file that remembers how often the node's store was written.
    head: std::path::PathBuf,
    /// Payments that the wallet has not signed yet, oldest first.
    due: Mutex<BTreeMap<EffectId, Due>>,
    /// The last of them that was said to wait.
    waits: AtomicU64,
    /// Held while a payment is begun, and while one is told to have failed, so that neither overtakes the other.
    outcome: tokio::sync::Mutex<()>,
}

impl Lightning {
    pub(crate) fn face(&self) -> &LightningFace {
        &self.face
    }

    /// Leaves the Lightning peers and writes what waits.
    pub(crate) async fn stop(&self) {
        self.node.end().await;
    }

    pub(crate) fn network(&self) -> Network {
        self.network
    }

    /// Has it journalled how often the node's store was written.
    pub(crate) async fn tell_stored(&self) {
        let generation = self.node.generation();
        // A core that has stopped keeps what it was told last.
        self.tell(LightningCommand::Stored { generation }).await;
    }

    /// The last block that the Lightning node knows.
    pub(crate) fn height(&self) -> u32 {
        self.node.height()
    }

    pub(crate) fn reserve(&self) -> Option<&Guarded> {
        self.reserve.as_ref()
    }

    pub(crate) fn channels(&self) -> Result<Vec<ChannelStanding>, Fault> {
        self.node.channels()
    }

    /// What the wallet can spend, and what of it waits for a block, in satoshi.
    pub(crate) fn balance(&self) -> (u64, u64) {
        let balance = self.wallet.balance();
        (balance.spendable.to_sat(), balance.waiting.to_sat())
    }

    /// Takes a peer's word that a node settles for it.
    ///
    /// # Errors
    /// In words for the peer.
    pub(crate) async fn name_node(
        &self,
        peer: PeerId,
        account: &str,
        node: NodeId,
        proof: &str,
    ) -> Result<(), String> {
        let claim = forebay_channel::node_claim(account, self.face.node);
        if !forebay_chain_bitcoin::lightning::verify_message(&claim, proof, node.0) {
            return Err(format!(
                "the proof is not a signature of {node} over `{claim}`"
            ));
        }
        self.command(LightningCommand::NodeNamed { peer, node })
            .await
            .map_err(|fault| fault.to_string())?;
        self.tell_capacity(peer, node).await;
        let channels = self.node.channels().unwrap_or_default();
        for channel in channels.iter().filter(|channel| channel.peer == node.0) {
            self.tell_channel(peer, channel).await;
        }
        Ok(())
    }

    /// How one channel stands, once what it carries was told: the core takes a splice for done then. Says whether that is
    /// durable, or nothing that has to be.
    async fn tell_channel(&self, peer: PeerId, channel: &ChannelStanding) -> bool {
        if !channel.ready {
            return true;
        }
        self.tell(LightningCommand::ChannelStands {
            peer,
            channel: LightningChannelId(channel.channel.0),
            value: millisatoshi(channel.value_sat),
            is_ours: channel.ours,
            splices: channel.splices,
        })
        .await
    }

    /// What the channels with a peer carry at this moment.
    async fn tell_capacity(&self, peer: PeerId, node: NodeId) {
        let channels = self.node.channels().unwrap_or_default();
        let usable = channels
            .iter()
            .filter(|channel| channel.usable && channel.peer == node.0);
        let (outbound, inbound) = usable.fold((0, 0), |(out, into), channel| {
            (out + channel.outbound_msat, into + channel.inbound_msat)
        });
        let told = LightningCommand::Capacity {
            peer,
            outbound: Amount::from(outbound),
            inbound: Amount::from(inbound),
        };
        // A core that has stopped hears it at its next start.
        let _ = self.command(told).await;
    }

    /// The invoice by which a peer pays a settlement of its own.
    ///
    /// # Errors
    /// In words for the peer.
    pub(crate) async fn give_invoice(
        &self,
        peer: PeerId,
        settlement: u64,
        amount: Amount,
    ) -> Result<String, String> {
        let asked = LightningCommand::InvoiceAsked {
            peer,
            settlement,
            amount,
        };
        self.command(asked)
            .await
            .map_err(|fault| fault.to_string())?;
        let amount_msat = amount
            .to_u64()
            .ok_or("no invoice is over more than 64 bits of millisatoshi")?;
        let terms = Asked {
            amount_msat,
            expiry_s: INVOICE_EXPIRY_S,
            final_cltv: FINAL_CLTV,
            payer: u64::from(peer.0),
        };
        let invoice = self.node.invoice(settlement_id(peer, settlement), terms);
        invoice.await.map_err(|fault| fault.to_string())
    }

    /// Takes the invoice by which we pay a settlement, or the word that there is none.
    ///
    /// # Errors
    /// In words for the peer.
    pub(crate) async fn invoice_told(
        &self,
        peer: PeerId,
        settlement: EffectId,
        invoice: Option<String>,
    ) -> Result<(), String> {
        let taken = match invoice {
            Some(text) => self.take_invoice(peer, settlement, text).await,
            None => Err("the peer has no invoice".into()),
        };
        if taken.is_err() {
            // Unless one is being paid already, the settlement is begun anew later.
            let refused = LightningCommand::InvoiceRefused { peer, settlement };
            let _ = self.command(refused).await;
        }
        taken
    }

    async fn take_invoice(
        &self,
        peer: PeerId,
        settlement: EffectId,
        text: String,
    ) -> Result<(), String> {
        let read = read_invoice(&text, self.network).map_err(|fault| fault.to_string())?;
        let hash = Hash32(read.hash);
        let invoice = InvoiceTerms {
            hash,
            amount: Amount::from(read.amount_msat.ok_or("it names no amount")?),
            payee: NodeId(read.payee),
            expires_at: Timestamp(0).saturating_add(Milliseconds::from_seconds(read.expires_at_s)),
        };
        self.told().insert(hash, text);
        let told = LightningCommand::InvoiceTold {
            peer,
            settlement,
            invoice,
        };
        match self.command(told).await {
            // After a restart no effect follows: the hash was journalled before it.
            Ok(()) => {
                self.pay(hash).await;
                Ok(())
            }
            Err(fault) => {
                self.told().remove(&hash);
                Err(fault.to_string())
            }
        }
    }

    fn told(&self) -> MutexGuard<'_, BTreeMap<Hash32, String>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn command(&self, command: LightningCommand) -> Result<(), CommandFault> {
        self.core.command(Command::Lightning(command)).await
    }

    /// Tells the core what happened; says whether it is durable now, or was before.
    async fn tell(&self, command: LightningCommand) -> bool {
        self.tell_core(Command::Lightning(command)).await
    }

    async fn tell_core(&self, command: Command<'static>) -> bool {
        let said = format!("{command:?}");
        match self.core.command(command).await {
            Ok(())
            | Err(CommandFault::Rejected(Rejection::AlreadyTaken | Rejection::UnknownEffect)) => {
                true
            }
            Err(CommandFault::Rejected(rejection)) => {
                tracing::error!(
                    command = said,
                    "the core does not take what Lightning says: {rejection}"
                );
                true
            }
            Err(CommandFault::Stopped(_)) => false,
        }
    }
}

/// Names a peer's settlement among those of all peers: the invoice's preimage is made of it.
fn settlement_id(peer: PeerId, settlement: u64) -> [u8; 16] {
    let number = (u128::from(peer.0) << 64) | u128::from(settlement);
    number.to_be_bytes()
}

/// The peer's own number, from such a name.
fn settlement_of(id: [u8; 16]) -> Option<u64> {
    let (_, number) = id.split_at(8);
    Some(u64::from_be_bytes(number.try_into().ok()?))
}

/// Runs the node's side of Bitcoin until it stops.
pub(crate) fn spawn(
    started: Started,
    errands: mpsc::UnboundedReceiver<Errand>,
    stop: watch::Receiver<bool>,
) {
    let Started {
        lightning,
        observations,
    } = started;
    tokio::spawn(observe(Arc::clone(&lightning), observations));
    let (head, node) = (lightning.head.clone(), Arc::downgrade(&lightning));
    tokio::spawn(head::keep(head, move || {
        node.upgrade().map(|lightning| lightning.node.generation())
    }));
    tokio::spawn(head::journal(Arc::clone(&lightning), stop.clone()));
    tokio::spawn(follow_wallet(Arc::clone(&lightning), stop));
    tokio::spawn(run_errands(lightning, errands));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settlement_s_name_is_its_peer_s_alone_and_gives_its_number_back() {
        let name = settlement_id(PeerId(7), 9);
        assert_ne!(name, settlement_id(PeerId(9), 7));
        assert_ne!(name, settlement_id(PeerId(8), 9));
        assert_eq!(settlement_of(name), Some(9));
    }
}
