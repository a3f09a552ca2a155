//! A pool's core that settles with its one receiver over Lightning each so many packets, as a node would bring it about.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use forebay_chain_bitcoin::lightning::{
    InvoiceTerms as Asked, LightningNode, Observation, Observations, PaymentTerms, read_invoice,
};
use forebay_chain_bitcoin::{Network, genesis_hash};
use forebay_channel::NodeId;
use forebay_pool::{
    Admin, BitcoinDefinition, BitcoinFact, Command, InvoiceTerms, LightningCommand, Outpoint,
    PeerPolicy, lightning_fee_max,
};
use forebay_quantity::{Amount, AssetId, Hash32, PeerId, Timestamp};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::ends::Ends;
use crate::bench::core::{Accounts, Core, policy, receiver_name, sender_name};
use crate::bench::generator::AMOUNT;
use crate::bench::host::cpu_us;
use crate::bench::latency::each;
use crate::bench::spread::Spread;

const BTC: AssetId = AssetId(0);
/// The second account, after the sender's.
const RECEIVER: PeerId = PeerId(1);
/// Packets prepared, and packets fulfilled, with one sync.
const WINDOW: u32 = 1_024;
/// More than any run moves.
const PLENTY: Amount = Amount::new(10_u128.pow(18));
/// What an account in bitcoin earns by a packet, whose fee is 2,000 ppm.
const EARNED: u64 = AMOUNT - AMOUNT / 500;

/// What packets cost when so many share a settlement.
#[derive(Debug, Serialize)]
pub(super) struct Shared {
    pub(super) settle_every: u32,
    pub(super) packets: u64,
    pub(super) settlements: u32,
    /// With the settlements, each of which the next packets waited for.
    pub(super) us_per_packet: f64,
    /// Of that, what the settlements took.
    pub(super) settling_us_per_packet: f64,
    pub(super) cpu_us_per_packet: f64,
}

/// The core, and the packets that it takes.
pub(super) struct Settling {
    core: Core,
    load: Spread,
}

impl Settling {
    /// Founds it: an asset on Bitcoin, a sender on credit, and a receiver whose node is the payee's.
    pub(super) fn found(folder: &Path, ends: &mut Ends) -> Result<Self> {
        let mut core = Core::begin(folder)?;
        let bitcoin = BitcoinDefinition {
            code: "BTC".into(),
            scale: 11,
            genesis: Hash32(genesis_hash(Network::Regtest)),
            index_rate_max: 0,
        };
        core.admin(Admin::AddBitcoin(bitcoin, policy()))?;
        for name in [sender_name(0), receiver_name(0)] {
            let token_hash = Hash32(Sha256::digest(name.as_bytes()).into());
            core.admin(Admin::AddPeer {
                name,
                asset: BTC,
                token_hash,
                policy: account(1),
            })?;
        }
        core.apply(&Command::Bitcoin(BitcoinFact::Deposited {
            outpoint: Outpoint {
                txid: Hash32([1; 32]),
                index: 0,
            },
            owner: None,
            amount: PLENTY,
        }))?;
        let (payer, _, payee) = ends.parts();
        let channels = payer.channels()?;
        let channel = channels.first().context("a channel was opened")?;
        for told in [
            LightningCommand::NodeNamed {
                peer: RECEIVER,
                node: NodeId(payee.identity()),
            },
            capacity(channel.outbound_msat, channel.inbound_msat),
        ] {
            core.apply(&Command::Lightning(told))?;
        }
        core.commit(drop)?;
        let load = Spread::new(Accounts::PAIR);
        Ok(Self { core, load })
    }

    /// Moves packets and settles after each so many, so many times.
    pub(super) async fn run(
        &mut self,
        ends: &mut Ends,
        settle_every: u32,
        settlements: u32,
    ) -> Result<Shared> {
        self.core
            .admin(Admin::SetPeer(RECEIVER, account(settle_every)))?;
        self.core.commit(drop)?;
        let (payer, told, payee) = ends.parts();
        let (began, cpu_before) = (Instant::now(), cpu_us(std::process::id())?);
        let mut settling = Duration::ZERO;
        for _ in 0..settlements {
            let mut left = settle_every;
            while left > 0 {
                let window = left.min(WINDOW);
                self.load.round(&mut self.core, window)?;
                left -= window;
            }
            // The last of them are fulfilled.
            self.load.round(&mut self.core, 0)?;
            let since = Instant::now();
            self.settle(payer, told, payee).await?;
            settling += since.elapsed();
        }
        let took = began.elapsed();
        let cpu_us = cpu_us(std::process::id())? - cpu_before;
        let packets = u64::from(settle_every) * u64::from(settlements);
        let us = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Ok(Shared {
            settle_every,
            packets,
            settlements,
            us_per_packet: each(us(took), packets),
            settling_us_per_packet: each(us(settling), packets),
            cpu_us_per_packet: each(cpu_us, packets),
        })
    }

    /// Ends the journal in order.
    pub(super) fn close(self) -> Result<()> {
        self.core.close()
    }

    /// Brings the settlement that the core has begun to its end: the payee's invoice, told, journalled, paid.
    async fn settle(
        &mut self,
        payer: &LightningNode,
        told: &mut Observations,
        payee: &LightningNode,
    ) -> Result<()> {
        let receiver = self.core.sequencer.state().peer(RECEIVER);
        let account = receiver.and_then(|receiver| receiver.lightning.as_deref());
        let begun = account.and_then(|account| account.settlement);
        let begun = begun.context("the core has begun a settlement")?;
        let amount_msat = begun.amount.to_u64().context("a small amount")?;
        let asked = Asked {
            amount_msat,
            expiry_s: 3_600,
            final_cltv: 144,
            payer: 0,
        };
        // Far from the numbers of settlements without a core.
        let id = (u128::from(begun.id.0) | 1 << 127).to_be_bytes();
        let invoice = payee.invoice(id, asked).await?;
        let read = read_invoice(&invoice, Network::Regtest)?;
        self.tell(LightningCommand::InvoiceTold {
            peer: RECEIVER,
            settlement: begun.id,
            invoice: InvoiceTerms {
                hash: Hash32(read.hash),
                amount: begun.amount,
                payee: NodeId(read.payee),
                expires_at: Timestamp(read.expires_at_s.saturating_mul(1_000)),
            },
        })?;
        payer.pay(&PaymentTerms {
            invoice,
            fee_max_msat: lightning_fee_max(begun.amount).to_u64().unwrap_or(0),
            timeout: Duration::from_secs(60),
            cltv_max: None,
        })?;
        loop {
            let observed = told.next().await.context("the node has stopped")?;
            let is_end = match observed.observation {
                Observation::Sent { hash, fee_msat, .. } => {
                    let (hash, fee) = (Hash32(hash), Amount::from(fee_msat));
                    self.tell(LightningCommand::Sent { hash, fee })?;
                    true
                }
                Observation::Failed { reason, .. } => bail!("a settlement failed: {reason:?}"),
                Observation::Capacity {
                    outbound_msat,
                    inbound_msat,
                    ..
                } => {
                    self.tell(capacity(outbound_msat, inbound_msat))?;
                    false
                }
                _ => false,
            };
            observed.acknowledge();
            if is_end {
                return Ok(());
            }
        }
    }

    fn tell(&mut self, told: LightningCommand) -> Result<()> {
        self.core.apply(&Command::Lightning(told))?;
        self.core.commit(drop)?;
        Ok(())
    }
}

fn capacity(outbound_msat: u64, inbound_msat: u64) -> LightningCommand {
    LightningCommand::Capacity {
        peer: RECEIVER,
        outbound: Amount::from(outbound_msat),
        inbound: Amount::from(inbound_msat),
    }
}

/// The sender has credit; the receiver is paid once it has earned so many packets.
fn account(settle_every: u32) -> PeerPolicy {
    PeerPolicy {
        credit: PLENTY,
        packet_max: AMOUNT,
        in_flight_max: 2 * WINDOW,
        settle_threshold: Amount::from(EARNED * u64::from(settle_every)),
        settle_target: Amount::ZERO,
        allotment: Amount::ZERO,
        allotment_term_ms: 86_400_000,
        redeem_threshold: PLENTY,
    }
}
