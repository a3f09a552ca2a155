//! A Lightning node that the peer runs anyway, asked by LND's REST interface. It has its own coins and opens its own channels;
//! what we ask it for is known by a preimage or a hash to it too, so that nothing has to be remembered here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forebay_chain_bitcoin::lightning::PaymentTerms;
use forebay_chain_bitcoin::lnd::{InvoiceStanding, Lnd, Paid};
use forebay_chain_bitcoin::{Fault, Network};
use forebay_chain_evm::Key;
use forebay_channel::{NodeId, PeerMessage};
use forebay_quantity::{Amount, Hash32, Milliseconds};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{PAUSE, PAYMENT_TIMEOUT, asked, is_unsure, told};
use crate::connect::ConnectFault;
use crate::connect::config::{LightningConfig, LndConfig};
use crate::connect::core::{Command, LightningCommand, LightningEffect};
use crate::connect::shell::{Input, Inputs};
use crate::connect::state::State;

/// How often the node is asked what its channels carry.
const POLL: Duration = Duration::from_secs(1);
/// And how often while the pool may be paying an invoice.
const POLL_PAID: Duration = Duration::from_millis(200);

/// The node.
pub(in crate::connect) struct External {
    lnd: Lnd,
    identity: NodeId,
    network: Network,
    pool: NodeId,
    account: String,
    key: Key,
    /// Invoices that the pool may pay, by its number for the settlement.
    open: Mutex<BTreeMap<u64, Hash32>>,
    /// What the channels with the pool's node carry, to it and from it, in msat.
    carried: watch::Sender<(u64, u64)>,
    /// Something changed that is worth a look.
    changed: Notify,
    inputs: Inputs,
}

/// The node, and the tasks that follow it.
pub(in crate::connect) struct Running {
    node: Arc<External>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    pub(in crate::connect) fn node(&self) -> Arc<External> {
        Arc::clone(&self.node)
    }

    /// The node runs on.
    pub(in crate::connect) async fn stop(self) {
        for task in self.tasks {
            task.abort();
            // One that was aborted has nothing to say.
            drop(task.await);
        }
    }
}

/// Reaches the node, and follows the invoices that the pool had before a restart.
pub(in crate::connect) async fn start(
    (config, account): (&LndConfig, &LightningConfig),
    (key, state): (&Key, &State),
    inputs: Inputs,
) -> Result<Running, ConnectFault> {
    let settings = config.settings()?;
    let lnd = Lnd::new(&settings)?;
    let identity = NodeId(lnd.identity().await?);
    let (pool, host) = account.pool()?;
    let node = External {
        lnd,
        identity,
        network: settings.network,
        pool,
        account: account.account.clone(),
        key: key.clone(),
        open: Mutex::default(),
        carried: watch::Sender::new((0, 0)),
        changed: Notify::new(),
        inputs,
    };
    for settlement in state.account().invoices.keys() {
        node.watch(*settlement);
    }
    info!(node = %identity, url = %settings.url, "the account settles through a Lightning node of its own");
    let node = Arc::new(node);
    let tasks = vec![
        tokio::spawn(Arc::clone(&node).follow()),
        tokio::spawn(Arc::clone(&node).reach(host.to_owned())),
    ];
    Ok(Running { node, tasks })
}

impl External {
    pub(super) fn identity(&self) -> NodeId {
        self.identity
    }

    pub(super) fn network(&self) -> Network {
        self.network
    }

    pub(super) async fn carry_out(self: Arc<Self>, effect: LightningEffect) {
        match effect {
            LightningEffect::SayHello { claim } => self.say_hello(&claim).await,
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
            // The configuration allows no channel of ours.
            LightningEffect::OpenChannel { channel, .. } => {
                let why = "a node of one's own opens its channels itself".into();
                self.tell(LightningCommand::ChannelEnded { channel, why });
            }
        }
    }

    /// The core says hello again on each link, so that one that fails waits for the next.
    async fn say_hello(&self, claim: &str) {
        while !self.inputs.is_closed() {
            match self.lnd.sign_message(claim).await {
                Ok(proof) => {
                    return self.give(Input::Say(PeerMessage::LightningHello {
                        node: self.identity,
                        proof,
                    }));
                }
                Err(fault) => warn!("the node cannot be named to the pool yet: {fault}"),
            }
            sleep(PAUSE).await;
        }
    }

    async fn make_invoice(&self, settlement: u64, amount: Amount, expiry: Milliseconds) {
        let terms = asked(amount, expiry);
        let made = self.lnd.invoice(self.preimage(settlement), terms).await;
        self.watch(settlement);
        self.give(Input::Say(told(settlement, made)));
    }

    /// Pays an invoice that the core has journalled, unless the node was asked for it before: then it is found out how it
    /// stands [I16].
    async fn pay(&self, hash: Hash32, invoice: String, fee_max: Amount) {
        let terms = PaymentTerms {
            invoice,
            fee_max_msat: fee_max.to_u64().unwrap_or(u64::MAX),
            timeout: PAYMENT_TIMEOUT,
            cltv_max: None,
        };
        while !self.inputs.is_closed() {
            match self.attempt(hash, &terms).await {
                Ok(ended) => {
                    self.tell(ended);
                    return self.changed.notify_one();
                }
                Err(fault) => warn!(%hash, "a payment to the pool waits: {fault}"),
            }
            sleep(PAUSE).await;
        }
    }

    /// # Errors
    /// When nothing is known of its end.
    async fn attempt(&self, hash: Hash32, terms: &PaymentTerms) -> Result<LightningCommand, Fault> {
        if let Some(ended) = ended(hash, self.lnd.payment(hash.0).await?) {
            return Ok(ended);
        }
        let why = match self.lnd.pay(terms).await {
            Ok(paid) => match ended(hash, paid) {
                Some(ended) => return Ok(ended),
                None => "the node does not say what became of it".to_owned(),
            },
            Err(fault) if is_unsure(&fault) => return Err(fault),
            Err(refusal) => refusal.to_string(),
        };
        // Refused: it never began, or an earlier request that seemed lost began it.
        let standing = self.lnd.payment(hash.0).await?;
        Ok(ended(hash, standing).unwrap_or(LightningCommand::Failed { hash, why }))
    }

    /// Asks the node to be connected to the pool's while no channel with it can be used: left alone, nodes wait for a minute or
    /// longer before they try again.
    async fn reach(self: Arc<Self>, host: String) {
        let mut carried = self.carried.subscribe();
        while !self.inputs.is_closed() {
            let is_away = *carried.borrow_and_update() == (0, 0);
            if is_away && let Err(fault) = self.lnd.connect(self.pool.0, &host).await {
                info!(%host, "the pool's Lightning node is not connected: {fault}");
            }
            // Either way it is looked at again.
            let _ = timeout(PAUSE, carried.changed()).await;
        }
    }

    /// Looks at channels and open invoices until the process ends.
    async fn follow(self: Arc<Self>) {
        while !self.inputs.is_closed() {
            if let Err(fault) = self.look().await {
                warn!("the Lightning node cannot be followed for now: {fault}");
            }
            let pause = match self.open().is_empty() {
                true => POLL,
                false => POLL_PAID,
            };
            // Either way it is looked at again.
            let _ = timeout(pause, self.changed.notified()).await;
        }
    }

    async fn look(&self) -> Result<(), Fault> {
        let open: Vec<_> = self
            .open()
            .iter()
            .map(|(number, hash)| (*number, *hash))
            .collect();
        for (settlement, hash) in open {
            match self.lnd.standing(hash.0).await? {
                InvoiceStanding::Settled { amount_msat } => {
                    let amount = Amount::from(amount_msat);
                    self.tell(LightningCommand::Received { settlement, amount });
                    self.open().remove(&settlement);
                }
                InvoiceStanding::Cancelled => {
                    self.open().remove(&settlement);
                }
                // One that is not made yet is made when the pool asks again.
                InvoiceStanding::Open | InvoiceStanding::Unknown => {}
            }
        }
        let carried = self.lnd.capacity(self.pool.0).await?;
        if *self.carried.borrow() != carried {
            self.carried.send_replace(carried);
            self.tell(LightningCommand::Capacity {
                outbound: Amount::from(carried.0),
                inbound: Amount::from(carried.1),
            });
        }
        Ok(())
    }

    fn watch(&self, settlement: u64) {
        let hash = Hash32(Sha256::digest(self.preimage(settlement)).into());
        self.open().insert(settlement, hash);
        self.changed.notify_one();
    }

    /// The same for the same number of the same account for ever, and nobody's guess.
    fn preimage(&self, settlement: u64) -> [u8; 32] {
        let account = &self.account;
        self.key
            .derive(&format!("lightning invoice {account} {settlement}"))
    }

    fn open(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Hash32>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, command: LightningCommand) {
        self.give(Input::Command(Command::Lightning(command)));
    }

    fn give(&self, input: Input) {
        // Without anybody to tell, the process is ending, and the next one asks again.
        let _ = self.inputs.give(input);
    }
}

/// What the core is told of a payment that the node was asked for.
fn ended(hash: Hash32, paid: Paid) -> Option<LightningCommand> {
    match paid {
        Paid::Unknown => None,
        Paid::Sent { fee_msat } => Some(LightningCommand::Sent {
            hash,
            fee: Amount::from(fee_msat),
        }),
        Paid::Failed { why } => Some(LightningCommand::Failed { hash, why }),
    }
}
