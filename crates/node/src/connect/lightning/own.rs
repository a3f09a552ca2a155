//! The Lightning node of the peer's side: carries out what the core wants, and tells it what happened before the node may
//! forget it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forebay_chain_bitcoin::chain::ChainSource;
use forebay_chain_bitcoin::lightning::{
    ChannelNumber, LightningNode, LightningSettings, Observation, Observations, Opening,
    PaymentStanding, PaymentTerms, Seed,
};
use forebay_chain_bitcoin::wallet::{
    self, DepositTag, Observation as Deposited, Purpose, Wallet, WalletSettings,
};
use forebay_chain_bitcoin::{Fault, Network};
use forebay_chain_evm::Key;
use forebay_channel::{NodeId, PeerMessage};
use forebay_pool::LiquidityPolicy;
use forebay_quantity::{Amount, Hash32, Milliseconds};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{PAUSE, PAYMENT_TIMEOUT, asked, is_unsure, told};
use crate::connect::ConnectFault;
use crate::connect::config::{Config, LightningConfig};
use crate::connect::core::{Command, LightningCommand, LightningEffect};
use crate::connect::shell::{Input, Inputs};
use crate::lightning::{BitcoinConfig, head};

/// How often bitcoind is asked for a new block.
const POLL: Duration = Duration::from_secs(1);
/// At its end the node waits this long, this often, for errands that use it.
const STOP_PAUSE: Duration = Duration::from_millis(50);
const STOP_TRIES: u32 = 100;
/// All coins that come to this wallet are the peer's own.
const OWN: DepositTag = DepositTag(0);

/// A running node.
pub(in crate::connect) struct Own {
    node: LightningNode,
    wallet: Arc<Wallet>,
    network: Network,
    pool: NodeId,
    /// Where coins for channels may be sent to.
    address: Mutex<String>,
    inputs: Inputs,
}

/// The most that miners may be paid for a channel of this value: what a pool pays at most by default.
fn fee_max_sat(value_sat: u64) -> u64 {
    let moved = Amount::new(u128::from(value_sat) * 1_000);
    let fee = LiquidityPolicy::default().fee_max(moved);
    u64::try_from(fee.value() / 1_000).unwrap_or(u64::MAX)
}

/// A node, and the tasks beside it.
pub(in crate::connect) struct Running {
    node: Arc<Own>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    pub(in crate::connect) fn node(&self) -> Arc<Own> {
        Arc::clone(&self.node)
    }

    /// Leaves the network, and writes what waits. What was not acknowledged is told again after the next start.
    pub(in crate::connect) async fn stop(self) {
        for task in self.tasks {
            task.abort();
            // One that was aborted has nothing to say.
            drop(task.await);
        }
        let mut node = self.node;
        for _ in 0..STOP_TRIES {
            match Arc::try_unwrap(node) {
                Ok(alone) => return alone.node.stop().await,
                // An errand is about to end; it is begun again after the next start.
                Err(shared) => node = shared,
            }
            sleep(STOP_PAUSE).await;
        }
    }
}

/// Starts the wallet and the node in the data directory, from secrets of the key.
pub(in crate::connect) async fn start(
    config: &Config,
    (bitcoin, account): (&BitcoinConfig, &LightningConfig),
    key: &Key,
    inputs: Inputs,
) -> Result<Running, ConnectFault> {
    let network = bitcoin.network()?;
    let folder = config.data_directory.join("bitcoin");
    let chain = ChainSource::open(bitcoin.source(&folder)?)?;
    chain.check().await?;
    std::fs::create_dir_all(&folder)?;
    let seed = wallet::Seed(key.derive("bitcoin wallet"));
    let wallet = WalletSettings::new(folder.join("wallet.redb"));
    let wallet = Wallet::open(wallet, &seed, chain.clone()).await?;
    let wallet = Arc::new(wallet);
    let head = head::path(&config.data_directory);
    let settings = LightningSettings {
        generation_min: head::read(&head)?,
        listen: bitcoin.lightning_listen,
        alias: bitcoin.alias.clone(),
        confirmations: bitcoin.confirmations,
        ..LightningSettings::new(folder, network, Seed::new(key.derive("lightning")))
    };
    let (node, observations) = LightningNode::start(settings, chain, wallet.clone()).await?;
    let (pool, host) = account.pool()?;
    let address = wallet.address(Purpose::Deposit(OWN))?.to_string();
    info!(node = %NodeId(node.identity()), %network, "the Lightning node runs; coins for channels go to {address}");
    let node = Arc::new(Own {
        node,
        wallet,
        network,
        pool,
        address: Mutex::new(address),
        inputs,
    });
    let kept = Arc::downgrade(&node);
    let tasks = vec![
        tokio::spawn(head::keep(head, move || {
            kept.upgrade().map(|own| own.node.generation())
        })),
        tokio::spawn(observe(Arc::clone(&node), observations)),
        tokio::spawn(Arc::clone(&node).follow_wallet()),
        tokio::spawn(Arc::clone(&node).reach(host.to_owned())),
    ];
    Ok(Running { node, tasks })
}

/// Hands over all that the node reports, for as long as anybody listens.
async fn observe(own: Arc<Own>, mut observations: Observations) {
    while let Some(observed) = observations.next().await {
        let Some(command) = own.command_of(&observed.observation) else {
            observed.acknowledge();
            continue;
        };
        if own.inputs.give(Input::Observed(command, observed)).is_err() {
            return;
        }
    }
}

impl Own {
    /// Who we are on Lightning.
    pub(super) fn identity(&self) -> NodeId {
        NodeId(self.node.identity())
    }

    /// Where coins for channels may be sent to.
    pub(super) fn address(&self) -> String {
        let address = self.address.lock();
        address.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn network(&self) -> Network {
        self.network
    }

    /// The hello that names our node; the proof binds it to the account and to the pool's node.
    fn hello(&self, claim: &str) -> PeerMessage {
        PeerMessage::LightningHello {
            node: self.identity(),
            proof: self.node.sign_message(claim),
        }
    }

    /// Carries out what takes its time. What comes of it is told as a command, or said to the pool.
    pub(super) async fn carry_out(self: Arc<Self>, effect: LightningEffect) {
        match effect {
            LightningEffect::SayHello { claim } => self.give(Input::Say(self.hello(&claim))),
            LightningEffect::MakeInvoice {
                settlement,
                amount,
                expiry,
            } => self.make_invoice(settlement, amount, expiry).await,
            LightningEffect::Pay {
                hash,
                invoice,
                fee_max,
            } => self.pay(hash, invoice, fee_max).await,
            LightningEffect::OpenChannel {
                channel,
                peer,
                value_sat,
            } => self.open(channel, peer, value_sat),
        }
    }

    async fn make_invoice(&self, settlement: u64, amount: Amount, expiry: Milliseconds) {
        let terms = asked(amount, expiry);
        let made = self.node.invoice(settlement_id(settlement), terms).await;
        self.give(Input::Say(told(settlement, made)));
    }

    /// Pays an invoice that the core has journalled, unless it left before: then it is found out how it stands [I16].
    async fn pay(&self, hash: Hash32, invoice: String, fee_max: Amount) {
        let terms = PaymentTerms {
            invoice,
            fee_max_msat: fee_max.to_u64().unwrap_or(u64::MAX),
            timeout: PAYMENT_TIMEOUT,
            cltv_max: None,
        };
        while !self.node.has_stopped() {
            match self.attempt(hash, &terms) {
                Ok(PaymentStanding::Unknown | PaymentStanding::Pending) => return,
                Ok(PaymentStanding::Sent { fee_msat, .. }) => {
                    let fee = Amount::from(fee_msat);
                    return self.tell(LightningCommand::Sent { hash, fee });
                }
                Ok(PaymentStanding::Failed) => {
                    let why = "it had failed before the restart".into();
                    return self.tell(LightningCommand::Failed { hash, why });
                }
                Err(fault) if is_unsure(&fault) => {
                    warn!(%hash, "a payment to the pool waits: {fault}");
                    sleep(PAUSE).await;
                }
                Err(fault) => {
                    let why = fault.to_string();
                    return self.tell(LightningCommand::Failed { hash, why });
                }
            }
        }
    }

    fn attempt(&self, hash: Hash32, terms: &PaymentTerms) -> Result<PaymentStanding, Fault> {
        match self.node.payment(hash.0)? {
            PaymentStanding::Unknown => self.node.pay(terms),
            standing => Ok(standing),
        }
    }

    fn open(&self, channel: u64, peer: NodeId, value_sat: u64) {
        let opening = Opening {
            channel: ChannelNumber(u128::from(channel)),
            peer: peer.0,
            value_sat,
            public: false,
            fee_max_sat: fee_max_sat(value_sat),
        };
        if let Err(fault) = self.node.open_channel(opening) {
            let why = fault.to_string();
            self.tell(LightningCommand::ChannelEnded { channel, why });
        }
    }

    fn command_of(&self, observation: &Observation) -> Option<LightningCommand> {
        Some(match observation {
            Observation::Received {
                settlement,
                amount_msat,
                ..
            } => LightningCommand::Received {
                settlement: settlement.and_then(settlement_of)?,
                amount: Amount::from(*amount_msat),
            },
            Observation::Sent { hash, fee_msat, .. } => LightningCommand::Sent {
                hash: Hash32(*hash),
                fee: Amount::from(*fee_msat),
            },
            Observation::Failed { hash, reason } => LightningCommand::Failed {
                hash: Hash32(*hash),
                why: format!("{reason:?}"),
            },
            Observation::Capacity {
                peer,
                outbound_msat,
                inbound_msat,
            } if *peer == self.pool.0 => LightningCommand::Capacity {
                outbound: Amount::from(*outbound_msat),
                inbound: Amount::from(*inbound_msat),
            },
            Observation::ChannelPending {
                channel, fee_sat, ..
            } => LightningCommand::ChannelFunded {
                channel: own(*channel)?,
                fee: Amount::from(*fee_sat).checked_mul(1_000)?,
            },
            Observation::ChannelClosed {
                channel, reason, ..
            } => LightningCommand::ChannelEnded {
                channel: own(*channel)?,
                why: reason.clone(),
            },
            // No hold invoice of ours exists: whoever pays one made it up.
            Observation::Claimable { hash, .. } => {
                if let Err(fault) = self.node.fail(*hash) {
                    warn!("a payment that nobody asked for stays held: {fault}");
                }
                return None;
            }
            Observation::Capacity { .. }
            | Observation::Returned { .. }
            | Observation::ChannelReady { .. }
            | Observation::ClosingPaid { .. }
            | Observation::ChannelReturned { .. }
            | Observation::SplicePending { .. }
            | Observation::SpliceFailed { .. }
            | Observation::Forwarded { .. }
            | Observation::TermsAsked { .. }
            | Observation::ChannelAsked { .. }
            | Observation::PaymentHeld { .. } => return None,
        })
    }

    fn tell(&self, command: LightningCommand) {
        self.give(Input::Command(Command::Lightning(command)));
    }

    fn give(&self, input: Input) {
        // Without anybody to tell, the process is ending, and the next one asks again.
        let _ = self.inputs.give(input);
    }

    /// Finds the pool's node, which the node then keeps connected.
    async fn reach(self: Arc<Self>, host: String) {
        while !self.node.has_stopped() && !self.inputs.is_closed() {
            match self.reach_once(&host).await {
                Ok(()) => return info!(%host, "the pool's Lightning node is connected"),
                Err(why) => info!(%host, "the pool's Lightning node is not connected: {why}"),
            }
            sleep(PAUSE).await;
        }
    }

    async fn reach_once(&self, host: &str) -> Result<(), String> {
        let mut found = tokio::net::lookup_host(host)
            .await
            .map_err(|error| error.to_string())?;
        let address: SocketAddr = found.next().ok_or("its name has no address")?;
        let connected = self.node.connect(self.pool.0, address).await;
        connected.map_err(|fault| fault.to_string())
    }

    /// Follows the chain until the process ends. Coins that come are the peer's own: nothing is booked.
    async fn follow_wallet(self: Arc<Self>) {
        while !self.node.has_stopped() && !self.inputs.is_closed() {
            if let Err(fault) = self.sync_wallet().await {
                warn!("the wallet cannot follow the chain for now: {fault}");
            }
            sleep(POLL).await;
        }
    }

    async fn sync_wallet(&self) -> Result<(), Fault> {
        self.wallet.sync().await?;
        for (number, observation) in self.wallet.observations() {
            if let Deposited::Received { deposit, .. } = &observation {
                info!(amount = %deposit.amount, "coins arrived for channels");
                let fresh = self.wallet.address(Purpose::Deposit(OWN))?.to_string();
                *self.address.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
            }
            self.wallet.forget_below(number + 1)?;
        }
        Ok(())
    }
}

/// What the node calls the settlement that the pool numbered so. Only the pool pays invoices of this node, and what we pay
/// ourselves has no such name here: so the number alone, after eight zero bytes, names it.
fn settlement_id(settlement: u64) -> [u8; 16] {
    u128::from(settlement).to_be_bytes()
}

fn settlement_of(id: [u8; 16]) -> Option<u64> {
    u64::try_from(u128::from_be_bytes(id)).ok()
}

/// Channels that we opened have small numbers; the node draws those of others at random.
fn own(channel: ChannelNumber) -> Option<u64> {
    u64::try_from(channel.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_settlements_and_channels_come_back_and_those_of_others_are_none_of_ours() {
        for number in [0, 1, 255, u64::MAX] {
            assert_eq!(settlement_of(settlement_id(number)), Some(number));
            assert_eq!(own(ChannelNumber(u128::from(number))), Some(number));
        }
        let foreign = 1_u128 << 64;
        assert_eq!(settlement_of(foreign.to_be_bytes()), None);
        assert_eq!(own(ChannelNumber(foreign)), None);
        // Eight bytes for the account, which is the only one here, and eight for the number, the highest byte first.
        assert_eq!(settlement_id(0x0102)[..8], [0; 8]);
        assert_eq!(settlement_id(0x0102)[8..], [0, 0, 0, 0, 0, 0, 1, 2]);
    }
}
