//! The node, and what it is asked for.

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use bitcoin::Network;
use bitcoin::hex::DisplayHex;
use bitcoin::secp256k1::PublicKey;
use ldk_node::lightning::ln::channelmanager::PaymentId;
use ldk_node::lightning::ln::msgs::SocketAddress;
use ldk_node::lightning::routing::router::RouteParametersConfig;
use ldk_node::lightning_invoice::{Bolt11Invoice, Bolt11InvoiceDescription, Description};
use ldk_node::lightning_types::payment::{PaymentHash, PaymentPreimage};
use ldk_node::payment::{PaymentDetails, PaymentStatus};
use ldk_node::{Builder, ChannelDetails, Event, Node, NodeError};

use crate::invoices::{Invoice, Invoices, hash_of};
use crate::state::{Channel, State};

/// How often it is looked for events, and for the end of a payment.
pub(crate) const POLL: Duration = Duration::from_millis(20);
/// The file in its folder by which it is asked.
const MACAROON: &str = "admin.macaroon";

/// What it is started with.
#[derive(Debug)]
pub struct Settings {
    /// Where it keeps its keys and channels.
    pub folder: PathBuf,
    /// bitcoind on regtest.
    pub bitcoind: SocketAddr,
    /// A user of it.
    pub user: String,
    /// That user's password.
    pub password: String,
    /// Where other Lightning nodes connect.
    pub listen: SocketAddr,
}

/// A running node.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

struct Inner {
    node: Node,
    invoices: Invoices,
    macaroon: String,
    folder: PathBuf,
    stopped: AtomicBool,
    events: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Peer {
    /// Starts it where it stopped.
    ///
    /// # Errors
    /// Those of `ldk-node`, and of the folder.
    pub fn start(settings: Settings) -> Result<Self> {
        let folder = settings.folder;
        std::fs::create_dir_all(&folder)?;
        let listen = SocketAddress::from_str(&settings.listen.to_string())
            .map_err(|error| anyhow!("{} is no address: {error}", settings.listen))?;
        let mut builder = Builder::new();
        builder.set_network(Network::Regtest);
        builder.set_storage_dir_path(folder.join("ldk").display().to_string());
        builder.set_chain_source_bitcoind_rpc(
            settings.bitcoind.ip().to_string(),
            settings.bitcoind.port(),
            settings.user,
            settings.password,
        );
        builder.set_listening_addresses(vec![listen])?;
        let node = builder.build()?;
        node.start()?;
        let peer = Self(Arc::new(Inner {
            node,
            invoices: Invoices::open(&folder.join("invoices.jsonl"))?,
            macaroon: macaroon(&folder)?,
            folder,
            stopped: AtomicBool::new(false),
            events: std::sync::Mutex::new(None),
        }));
        let events = peer.clone();
        let events = std::thread::spawn(move || events.handle_events());
        *peer.0.events.lock().map_err(|_| anyhow!("a bug"))? = Some(events);
        Ok(peer)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> String {
        self.0.node.node_id().to_string()
    }

    /// The file that lets others ask.
    #[must_use]
    pub fn macaroon_file(&self) -> PathBuf {
        self.0.folder.join(MACAROON)
    }

    /// Its own numbers.
    #[must_use]
    pub fn state(&self) -> State {
        let node = &self.0.node;
        let mut state = State {
            node: self.id(),
            wallet_sat: node.list_balances().total_onchain_balance_sats,
            channels: node.list_channels().iter().map(Channel::of).collect(),
            ..State::default()
        };
        for payment in node.list_payments() {
            state.add_payment(&payment);
        }
        state
    }

    /// Leaves its peers and ends.
    ///
    /// # Errors
    /// Those of `ldk-node`.
    pub fn stop(&self) -> Result<()> {
        self.0.stopped.store(true, Ordering::Relaxed);
        let events = self.0.events.lock().map_err(|_| anyhow!("a bug"))?.take();
        if let Some(events) = events {
            events
                .join()
                .map_err(|_| anyhow!("what handles its events met a bug"))?;
        }
        Ok(self.0.node.stop()?)
    }

    /// Claims what comes on invoices whose preimages others chose: `ldk-node` does it itself for its own alone.
    fn handle_events(&self) {
        while !self.0.stopped.load(Ordering::Relaxed) {
            let Some(event) = self.0.node.next_event() else {
                std::thread::sleep(POLL);
                continue;
            };
            if let Event::PaymentClaimable {
                payment_hash,
                claimable_amount_msat,
                ..
            } = event
                && let Err(error) = self.claim(payment_hash, claimable_amount_msat)
            {
                eprintln!("a payment could not be claimed: {error:#}");
            }
            if let Err(error) = self.0.node.event_handled() {
                eprintln!("an event comes again: {error}");
            }
        }
    }

    fn claim(&self, hash: PaymentHash, amount_msat: u64) -> Result<()> {
        let payments = self.0.node.bolt11_payment();
        let Some(invoice) = self.0.invoices.find(hash.0) else {
            payments.fail_for_hash(hash)?;
            bail!("no invoice was made for it");
        };
        let preimage = PaymentPreimage(invoice.preimage()?);
        Ok(payments.claim_for_hash(hash, amount_msat, preimage)?)
    }

    pub(crate) fn is_known(&self, macaroon: &str) -> bool {
        self.0.macaroon == macaroon
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Relaxed)
    }

    pub(crate) fn new_address(&self) -> Result<String> {
        Ok(self.0.node.onchain_payment().new_address()?.to_string())
    }

    pub(crate) fn sign(&self, text: &[u8]) -> String {
        self.0.node.sign_message(text)
    }

    pub(crate) fn is_connected(&self, peer: PublicKey) -> bool {
        let peers = self.0.node.list_peers();
        peers
            .iter()
            .any(|known| known.node_id == peer && known.is_connected)
    }

    pub(crate) fn connect(&self, peer: PublicKey, host: &str) -> Result<()> {
        Ok(self.0.node.connect(peer, address(host)?, true)?)
    }

    pub(crate) fn open_channel(&self, peer: PublicKey, value_sat: u64) -> Result<()> {
        let node = &self.0.node;
        let known = node.list_peers().into_iter();
        let known = known.filter(|known| known.is_connected);
        let connected = known.into_iter().find(|known| known.node_id == peer);
        let address = connected.context("connect to the peer first")?.address;
        node.open_channel(peer, address, value_sat, None, None)?;
        Ok(())
    }

    pub(crate) fn channels(&self) -> Vec<ChannelDetails> {
        self.0.node.list_channels()
    }

    pub(crate) fn balance(&self) -> (u64, u64) {
        let balances = self.0.node.list_balances();
        (
            balances.total_onchain_balance_sats,
            balances.spendable_onchain_balance_sats,
        )
    }

    /// The invoice with a preimage. None when there is one already.
    pub(crate) fn make_invoice(
        &self,
        preimage: [u8; 32],
        amount_msat: u64,
        expiry_s: u32,
    ) -> Result<Option<Invoice>> {
        let hash = hash_of(preimage);
        if self.0.invoices.find(hash).is_some() {
            return Ok(None);
        }
        let description = Bolt11InvoiceDescription::Direct(Description::empty());
        let made = self.0.node.bolt11_payment().receive_for_hash(
            amount_msat,
            &description,
            expiry_s,
            PaymentHash(hash),
        )?;
        let expires_at_s = now_s().saturating_add(u64::from(expiry_s));
        let invoice = Invoice::new(preimage, made.to_string(), amount_msat, expires_at_s);
        self.0.invoices.keep(invoice.clone())?;
        Ok(Some(invoice))
    }

    pub(crate) fn invoice(&self, hash: [u8; 32]) -> Option<(Invoice, &'static str, u64)> {
        let invoice = self.0.invoices.find(hash)?;
        let payment = self.payment(hash);
        let came = payment.filter(|payment| payment.status == PaymentStatus::Succeeded);
        let (state, came) = match came {
            Some(came) => ("SETTLED", came.amount_msat.unwrap_or(0)),
            None if invoice.expires_at_s <= now_s() => ("CANCELED", 0),
            None => ("OPEN", 0),
        };
        Some((invoice, state, came))
    }

    /// Begins to pay. None when it was asked for this before.
    pub(crate) fn pay(&self, invoice: &str, fee_max_msat: u64) -> Result<Option<[u8; 32]>> {
        let invoice = Bolt11Invoice::from_str(invoice).map_err(|error| anyhow!("{error}"))?;
        let route = RouteParametersConfig {
            max_total_routing_fee_msat: Some(fee_max_msat),
            ..RouteParametersConfig::default()
        };
        match self.0.node.bolt11_payment().send(&invoice, Some(route)) {
            Ok(id) => Ok(Some(id.0)),
            Err(NodeError::DuplicatePayment) => Ok(None),
            // It is kept as failed, and told so.
            Err(NodeError::PaymentSendingFailed) => {
                let hash: &[u8] = invoice.payment_hash().as_ref();
                Ok(Some(hash.try_into().context("a hash has 32 bytes")?))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn payment(&self, hash: [u8; 32]) -> Option<PaymentDetails> {
        self.0.node.payment(&PaymentId(hash))
    }
}

fn address(host: &str) -> Result<SocketAddress> {
    SocketAddress::from_str(host).map_err(|error| anyhow!("{host} is no address: {error}"))
}

fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// The bytes by which it is asked, in hexadecimal; drawn once.
fn macaroon(folder: &std::path::Path) -> Result<String> {
    let path = folder.join(MACAROON);
    if !path.exists() {
        let mut drawn = [0; 32];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut drawn)?;
        std::fs::write(&path, drawn)?;
    }
    Ok(std::fs::read(&path)?.to_lower_hex_string())
}
