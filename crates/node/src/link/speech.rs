//! The `forebay` sub-protocol on a peer's link: keys, terms, vouchers, and what became of requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_chain_evm::FastVerifier;
use forebay_channel::{
    Address, LaneId, LightningTerms, NodeId, PROTOCOL, PacketName, PeerMessage, RESUME_MAX,
    Signature, Terms, Verified, Voucher,
};
use forebay_ilp::btp::{self, Entry, ErrorKind, RequestId};
use forebay_pool::{Command, LightningAccount, PeerKeys, State};
use forebay_quantity::{Amount, ChannelSerial, EffectId, PeerId};
use tokio::sync::mpsc;

use super::directory::PeerFacts;
use super::frames::{OutFrames, WeakOut};
use super::server::Shared;
use crate::core::Input;
use crate::lightning::Lightning;
use crate::wall;

/// Messages of one link that may wait for their answer.
const WAITING_MAX: usize = 64;

type Heard = (Option<RequestId>, PeerMessage);

/// A link's ear for the sub-protocol; what is heard is answered by a task of its own, in order.
pub(crate) struct Speech {
    facts: Arc<PeerFacts>,
    shared: Arc<Shared>,
    out: WeakOut,
    to_task: Option<mpsc::Sender<Heard>>,
}

impl Speech {
    pub(crate) fn new(facts: Arc<PeerFacts>, shared: Arc<Shared>, out: WeakOut) -> Self {
        Self {
            facts,
            shared,
            out,
            to_task: None,
        }
    }

    /// Takes one message; `id` is where an answer is due.
    pub(crate) fn take(&mut self, bytes: &[u8], id: Option<RequestId>, own: &mut OutFrames) {
        let heard = PeerMessage::decode(bytes).map(|message| (id, message));
        let taken = heard.is_some_and(|heard| self.task().try_send(heard).is_ok());
        if let (Some(id), false) = (id, taken) {
            let text = "not a forebay message of this version, or too many at once";
            own.push(|out| error(out, id, ErrorKind::InvalidFields, text));
        }
    }

    fn task(&mut self) -> &mpsc::Sender<Heard> {
        self.to_task.get_or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(WAITING_MAX);
            let speaker = Speaker {
                facts: Arc::clone(&self.facts),
                shared: Arc::clone(&self.shared),
                out: self.out.clone(),
            };
            tokio::spawn(speaker.run(receiver));
            sender
        })
    }
}

struct Speaker {
    facts: Arc<PeerFacts>,
    shared: Arc<Shared>,
    out: WeakOut,
}

impl Speaker {
    async fn run(self, mut heard: mpsc::Receiver<Heard>) {
        while let Some((id, message)) = heard.recv().await {
            let answer = self.answer(message).await;
            let Some(id) = id else { continue };
            let mut frames = OutFrames::default();
            frames.push(|out| match answer {
                Ok(Some(message)) => {
                    btp::encode_response(out, id, &[Entry::bytes(PROTOCOL, &message.encode())]);
                }
                Ok(None) => btp::encode_response(out, id, &[]),
                Err(text) => error(out, id, ErrorKind::NotAccepted, &text),
            });
            if self.out.send(frames).is_err() {
                return;
            }
        }
    }

    async fn answer(&self, message: PeerMessage) -> Result<Option<PeerMessage>, String> {
        match message {
            PeerMessage::Hello {
                signer,
                payout,
                proof,
            } => self
                .hello(PeerKeys { signer, payout }, proof)
                .await
                .map(Some),
            PeerMessage::Voucher {
                serial,
                amount,
                signature,
            } => Ok(Some(self.voucher(serial, amount, signature).await)),
            PeerMessage::Resume { requests } => self.resume(requests).await.map(Some),
            PeerMessage::VoucherHeld { .. } => Ok(None),
            PeerMessage::PacketsUnknown { packets } => self.unknown(packets).await.map(|()| None),
            PeerMessage::Terms(_)
            | PeerMessage::Resumed { .. }
            | PeerMessage::PacketsAsked { .. } => Err("this message is for peers".into()),
            PeerMessage::Held {
                serial,
                amount,
                signature,
            } => self.holds(serial, amount, signature).await.map(|()| None),
            PeerMessage::HeadKnown { known, .. } => {
                // When too many wait, the peer is asked or told again.
                let _ = self.shared.heard.try_send((self.facts.peer, known));
                Ok(None)
            }
            PeerMessage::HeadAsked { .. } | PeerMessage::HeadTold(_) => {
                Err("a pool is nobody's witness".into())
            }
            PeerMessage::Guard { .. } | PeerMessage::Guarded { .. } => {
                Err("this message is for watchtowers and their principals".into())
            }
            PeerMessage::LightningHello { node, proof } => {
                self.lightning_hello(node, &proof).await.map(Some)
            }
            PeerMessage::LightningTerms(_) => Err("this message is for peers".into()),
            PeerMessage::InvoiceAsked { settlement, amount } => {
                let given = self
                    .lightning()?
                    .give_invoice(self.facts.peer, settlement, amount)
                    .await;
                let (invoice, refused) = match given {
                    Ok(invoice) => (Some(invoice), None),
                    Err(why) => (None, Some(why)),
                };
                Ok(Some(PeerMessage::InvoiceTold {
                    settlement,
                    invoice,
                    refused,
                }))
            }
            PeerMessage::InvoiceTold {
                settlement,
                invoice,
                ..
            } => {
                let told =
                    self.lightning()?
                        .invoice_told(self.facts.peer, EffectId(settlement), invoice);
                told.await.map(|()| None)
            }
        }
    }

    fn lightning(&self) -> Result<&Lightning, String> {
        let lightning = self.shared.lightning.as_deref();
        lightning.ok_or_else(|| "this pool has no Lightning node".into())
    }

    /// Takes a peer's word for whose node settles for it, and answers with terms.
    async fn lightning_hello(&self, node: NodeId, proof: &str) -> Result<PeerMessage, String> {
        let lightning = self.lightning()?;
        let peer = self.facts.peer;
        lightning
            .name_node(peer, &self.facts.address, node, proof)
            .await?;
        let face = lightning.face();
        Ok(PeerMessage::LightningTerms(LightningTerms {
            terms: self.terms().await?,
            genesis: face.genesis,
            node: face.node,
            address: face.address.clone(),
        }))
    }

    async fn hello(&self, keys: PeerKeys, proof: [u8; 64]) -> Result<PeerMessage, String> {
        let peer = self.facts.peer;
        // Else another account could name them first, and their holder would take its channel for its own.
        Verified::by(
            &FastVerifier,
            &self.facts.domain,
            keys,
            Signature(proof),
            keys.signer,
        )
        .map_err(|fault| fault.to_string())?;
        let named = self.shared.core.command(Command::Keys { peer, keys }).await;
        named.map_err(|fault| fault.to_string())?;
        self.terms().await.map(PeerMessage::Terms)
    }

    async fn terms(&self) -> Result<Terms, String> {
        let peer = self.facts.peer;
        let terms = self
            .shared
            .core
            .query(move |state| terms(state, peer))
            .await;
        let terms = terms.map_err(|fault| fault.to_string())?;
        terms.ok_or_else(|| "this account is closed".into())
    }

    async fn voucher(
        &self,
        serial: ChannelSerial,
        amount: Amount,
        signature: [u8; 64],
    ) -> PeerMessage {
        let peer = self.facts.peer;
        let refused = self.take_voucher(serial, amount, signature).await.err();
        let secured = self
            .shared
            .core
            .query(move |state| held(state, peer))
            .await
            .unwrap_or(Amount::ZERO);
        PeerMessage::VoucherHeld {
            serial,
            secured,
            refused,
        }
    }

    async fn take_voucher(
        &self,
        serial: ChannelSerial,
        amount: Amount,
        signature: [u8; 64],
    ) -> Result<(), String> {
        let peer = self.facts.peer;
        let payer = self
            .shared
            .core
            .query(move |state| payer(state, peer))
            .await
            .map_err(|fault| fault.to_string())?;
        let payer = payer.ok_or("no channel is open")?;
        let voucher = Voucher {
            serial,
            lane: LaneId::Peer,
            amount,
        };
        let voucher = Verified::by(
            &FastVerifier,
            &self.facts.domain,
            voucher,
            Signature(signature),
            payer,
        );
        let voucher = voucher.map_err(|fault| fault.to_string())?;
        let taken = self
            .shared
            .core
            .command(Command::Voucher { peer, voucher })
            .await;
        taken.map_err(|fault| fault.to_string())
    }

    /// Hears the highest voucher of ours that the peer holds; only one that we signed counts [I14].
    async fn holds(
        &self,
        serial: ChannelSerial,
        amount: Amount,
        signature: [u8; 64],
    ) -> Result<(), String> {
        let ours = self
            .shared
            .core
            .query(|state| state.genesis().map(|genesis| genesis.pool_signer));
        let ours = ours.await.map_err(|fault| fault.to_string())?;
        let ours = ours.ok_or("the pool is not founded")?;
        if !amount.is_zero() {
            let voucher = Voucher {
                serial,
                lane: LaneId::Pool,
                amount,
            };
            let signature = Signature(signature);
            Verified::by(&FastVerifier, &self.facts.domain, voucher, signature, ours)
                .map_err(|fault| fault.to_string())?;
        }
        let peer = self.facts.peer;
        let held = Input::Held {
            peer,
            serial,
            amount,
        };
        self.shared
            .core
            .give(held)
            .map_err(|fault| fault.to_string())
    }

    async fn resume(&self, requests: Vec<u32>) -> Result<PeerMessage, String> {
        if requests.len() > RESUME_MAX {
            return Err(format!(
                "at most {RESUME_MAX} requests are resumed at a time"
            ));
        }
        let peer = self.facts.peer;
        let resumed = self
            .shared
            .core
            .query(move |state| resumed(state, peer, &requests))
            .await;
        resumed.map_err(|fault| fault.to_string())
    }

    /// Hands on which packets of ours never came to the peer.
    async fn unknown(&self, packets: Vec<PacketName>) -> Result<(), String> {
        if packets.len() > RESUME_MAX {
            return Err(format!("at most {RESUME_MAX} packets are named at a time"));
        }
        let told = self.shared.core.unknown(self.facts.peer, packets).await;
        told.map_err(|fault| fault.to_string())
    }
}

fn error(out: &mut Vec<u8>, id: RequestId, kind: ErrorKind, text: &str) {
    btp::encode_error(out, id, kind, wall::now(), text).expect("the clock is guarded");
}

/// Appends a message with one encoded [`PeerMessage`].
pub(crate) fn encode_message(out: &mut Vec<u8>, id: RequestId, message: &[u8]) {
    btp::encode_message(out, id, &[Entry::bytes(PROTOCOL, message)]);
}

/// What the pool offers a peer now.
pub(crate) fn terms(state: &State, peer: PeerId) -> Option<Terms> {
    let account = state.peer(peer).filter(|account| !account.removed)?;
    let asset = &state.asset(account.asset)?.definition;
    let genesis = state.genesis()?;
    let channel = account.channel.as_ref();
    let lightning = account.lightning.as_deref();
    let (owed_to_peer, owed_to_pool) = match state.balance(account.clearing) {
        forebay_ledger::Balance::Credit(owed) => (owed, Amount::ZERO),
        forebay_ledger::Balance::Debit(owed) => (Amount::ZERO, owed),
    };
    Some(Terms {
        address: format!("{}.{}", genesis.operator, account.name),
        asset_code: asset.code.clone(),
        asset_scale: asset.scale,
        chain_scale: asset.chain_scale,
        chain_id: asset.chain_id,
        vault: asset.vault,
        token: asset.token,
        pool_signer: genesis.pool_signer,
        serial: channel.map(|channel| channel.serial()),
        open: channel.is_some_and(|channel| channel.is_live())
            || lightning.is_some_and(LightningAccount::is_usable),
        held: held(state, peer),
        signed: match lightning {
            Some(account) => account.paid,
            None => channel.map_or(Amount::ZERO, |channel| channel.outgoing.promised()),
        },
        credit: account.policy.credit,
        packet_max: account.policy.packet_max,
        settle_threshold: account.policy.settle_threshold,
        owed_to_peer,
        owed_to_pool,
    })
}

/// What a peer has paid over the account's life: the highest voucher that the pool holds, or all that came over Lightning.
fn held(state: &State, peer: PeerId) -> Amount {
    let Some(account) = state.peer(peer) else {
        return Amount::ZERO;
    };
    match (&account.lightning, &account.channel) {
        (Some(lightning), _) => lightning.received,
        (None, Some(channel)) => channel.incoming.promised(),
        (None, None) => Amount::ZERO,
    }
}

/// Who signs on the lane that pays us.
fn payer(state: &State, peer: PeerId) -> Option<Address> {
    Some(state.peer(peer)?.channel.as_ref()?.payer())
}

fn resumed(state: &State, peer: PeerId, requests: &[u32]) -> PeerMessage {
    let mut fulfilled = Vec::new();
    let mut pending = Vec::new();
    // Collected once: a request id that came again keeps its newest answer.
    let answers: BTreeMap<u32, [u8; 32]> = state.answers_of(peer).collect();
    for &request in requests {
        if let Some(preimage) = answers.get(&request) {
            fulfilled.push((request, *preimage));
        } else if state.waits(peer, request) {
            pending.push(request);
        }
    }
    PeerMessage::Resumed { fulfilled, pending }
}
