//! The thread that owns the core and its journal, and what carries its effects out.

use std::cell::Cell;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use forebay_chain_bitcoin::lightning::Observed;
use forebay_chain_evm::{Key, Vault};
use forebay_channel::vault::VaultObservation;
use forebay_channel::{LaneId, PROTOCOL, PeerKeys, PeerMessage, Voucher};
use forebay_ilp::btp::{self, Entry, ErrorKind, RequestId};
use forebay_ilp::{ErrorCode, Link, LinkEvent, PacketType};
use forebay_journal::Fault;
use forebay_quantity::EffectId;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::Bytes;
use tracing::{debug, error, info, warn};

use super::chain;
use super::core::{Command, Core, Effect, LightningCommand, LightningEffect};
use super::event::Event;
use super::lightning::Lightning;
use super::links::Side;
use super::memory::Memory;
use super::reply::reject;
use super::status::Status;
use crate::tower::Guarded;
use crate::wall;
use crate::witness::Heads;

/// Inputs that wait for the core; the sockets slow down when it is full.
const INPUTS_MAX: usize = 4_096;
/// Inputs that share one sync.
const BATCH_MAX: usize = 512;
/// How often time passes for the core.
const TICK: Duration = Duration::from_millis(100);
/// Request ids from here on are messages, below it packets.
const MESSAGES_FROM: u32 = 0x8000_0000;

/// What the shell hands to the core's thread.
pub(super) enum Input {
    Up {
        side: Side,
        generation: u64,
        link: Link,
        frames: mpsc::Sender<Vec<u8>>,
        open: oneshot::Sender<Infallible>,
    },
    Down {
        side: Side,
        generation: u64,
    },
    Frame {
        side: Side,
        generation: u64,
        bytes: Bytes,
    },
    Chain(VaultObservation),
    /// The Lightning node forgets this once it is acknowledged.
    Observed(LightningCommand, Observed),
    Command(Command<'static>),
    Say(PeerMessage),
    /// Redeem what can be redeemed, wait for it, and end.
    Drain,
}

/// The way to the core's thread.
#[derive(Clone)]
pub(super) struct Inputs {
    sender: SyncSender<Input>,
    generations: Arc<AtomicU64>,
    closed: Arc<std::sync::atomic::AtomicBool>,
}

/// The core's thread has ended.
pub(super) struct Gone;

impl Inputs {
    pub(super) fn give(&self, input: Input) -> Result<(), Gone> {
        // The queue drains within a sync or two; waiting for it is what slows a fast socket down.
        self.sender.send(input).map_err(|_| Gone)
    }

    pub(super) fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

/// The queue to the core's thread.
pub(super) fn inputs() -> (Inputs, Receiver<Input>) {
    let (sender, receiver) = sync_channel(INPUTS_MAX);
    (
        Inputs {
            sender,
            generations: Arc::default(),
            closed: Arc::default(),
        },
        receiver,
    )
}

struct OpenLink {
    generation: u64,
    link: Link,
    frames: mpsc::Sender<Vec<u8>>,
    /// A frame found no room: what is lost is said again on the next link.
    is_overrun: Cell<bool>,
    /// The socket closes when this is dropped.
    _open: oneshot::Sender<Infallible>,
}

/// What the account is settled with.
pub(super) enum Means {
    Vault(Key, Arc<Vault>),
    Lightning(Lightning),
}

/// All that the core's thread owns.
pub(super) struct Shell {
    pub(super) core: Core,
    pub(super) memory: Memory,
    /// What it remembers as a witness of the pool's journal.
    heads: Heads,
    means: Means,
    /// Taken in this batch, and acknowledged once it is durable.
    observed: Vec<Observed>,
    pub(super) inputs: Inputs,
    pub(super) runtime: Handle,
    pub(super) status: Status,
    /// What watchtowers are handed.
    guarded: watch::Sender<Guarded>,
    pool: Option<OpenLink>,
    software: Option<OpenLink>,
    last_message: u32,
    events: Vec<Event>,
    effects: Vec<Effect>,
    draining: bool,
}

impl Shell {
    pub(super) fn new(
        (core, memory, heads): (Core, Memory, Heads),
        means: Means,
        (inputs, runtime): (Inputs, Handle),
        (status, guarded): (Status, watch::Sender<Guarded>),
    ) -> Self {
        Self {
            core,
            memory,
            heads,
            means,
            observed: Vec::new(),
            inputs,
            runtime,
            status,
            guarded,
            pool: None,
            software: None,
            last_message: 0,
            events: Vec::new(),
            effects: Vec::new(),
            draining: false,
        }
    }

    /// Runs until it is drained.
    ///
    /// # Errors
    /// When the journal fails: nothing more may leave.
    pub(super) fn run(mut self, receiver: &Receiver<Input>) -> Result<(), Fault> {
        let outstanding: Vec<Effect> = self.core.outstanding().collect();
        outstanding
            .into_iter()
            .for_each(|effect| self.carry_out(effect));
        let result = self.serve(receiver);
        self.inputs.closed.store(true, Ordering::Relaxed);
        result
    }

    fn serve(&mut self, receiver: &Receiver<Input>) -> Result<(), Fault> {
        loop {
            if let Ok(first) = receiver.recv_timeout(TICK) {
                self.take(first);
                for input in receiver.try_iter().take(BATCH_MAX) {
                    self.take(input);
                }
            }
            self.decide(Command::Tick);
            self.release()?;
            let node = match &self.means {
                Means::Vault(..) => None,
                Means::Lightning(node) => Some(node),
            };
            let links = (self.pool.is_some(), self.software.is_some());
            self.status.write(&self.core, links, node);
            if self.draining && self.core.may_end() {
                return self.memory.snapshot(self.core.state(), true);
            }
        }
    }

    fn decide(&mut self, command: Command<'_>) {
        self.core
            .handle(wall::now(), command, &mut self.events, &mut self.effects);
    }

    /// Makes the batch durable, then carries out what follows from it [I7].
    fn release(&mut self) -> Result<(), Fault> {
        let events = std::mem::take(&mut self.events);
        self.memory
            .keep(&events)
            .inspect_err(|fault| error!("the journal failed, so this process ends: {fault}"))?;
        self.observed.drain(..).for_each(Observed::acknowledge);
        for event in &events {
            if let Event::DemandSettled { id, .. } = event {
                self.forget_transaction(*id);
            }
        }
        let mut effects = std::mem::take(&mut self.effects);
        effects.drain(..).for_each(|effect| self.carry_out(effect));
        self.effects = effects;
        self.drop_overrun();
        self.hand_over();
        self.memory.snapshot(self.core.state(), false)
    }

    fn forget_transaction(&self, id: EffectId) {
        let Means::Vault(_, vault) = &self.means else {
            return;
        };
        let vault = Arc::clone(vault);
        self.runtime.spawn(async move {
            if let Err(fault) = vault.account().forget(id).await {
                warn!("transaction {} stays in the record: {fault}", id.value());
            }
        });
    }

    /// Tells watchtowers of the pool's best voucher, once it is durable here.
    fn hand_over(&self) {
        let held = self.core.held();
        self.guarded.send_if_modified(|told| {
            let grown = **told != held;
            if grown {
                *told = Arc::new(held);
            }
            grown
        });
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Up {
                side,
                generation,
                link,
                frames,
                open,
            } => {
                *self.side(side) = Some(OpenLink {
                    generation,
                    link,
                    frames,
                    is_overrun: Cell::new(false),
                    _open: open,
                });
                info!(?side, "connected");
                self.decide(if side == Side::Pool {
                    Command::PoolUp
                } else {
                    Command::SoftwareUp
                });
            }
            Input::Down { side, generation } => {
                if self
                    .side(side)
                    .as_ref()
                    .is_some_and(|link| link.generation == generation)
                {
                    info!(?side, "disconnected");
                    self.lose(side);
                }
            }
            Input::Frame {
                side,
                generation,
                bytes,
            } => self.take_frame(side, generation, &bytes),
            Input::Chain(observation) => self.decide(Command::Chain(observation)),
            Input::Observed(command, observed) => {
                self.decide(Command::Lightning(command));
                self.observed.push(observed);
            }
            Input::Command(command) => self.decide(command),
            Input::Say(message) => self.say(&message),
            Input::Drain => {
                self.draining = true;
                self.decide(Command::RedeemNow);
            }
        }
    }

    fn lose(&mut self, side: Side) {
        *self.side(side) = None;
        self.decide(match side {
            Side::Pool => Command::PoolDown,
            Side::Software => Command::SoftwareDown,
        });
    }

    /// A neighbour that reads too slowly loses its link: on the next one it hears what it missed.
    fn drop_overrun(&mut self) {
        for side in [Side::Pool, Side::Software] {
            let open = self.side(side).as_ref();
            if open.is_some_and(|open| open.is_overrun.get()) {
                warn!(?side, "the neighbour reads too slowly: its link is dropped");
                self.lose(side);
            }
        }
    }

    fn side(&mut self, side: Side) -> &mut Option<OpenLink> {
        match side {
            Side::Pool => &mut self.pool,
            Side::Software => &mut self.software,
        }
    }

    fn take_frame(&mut self, side: Side, generation: u64, bytes: &[u8]) {
        let Some(mut open) = self
            .side(side)
            .take_if(|open| open.generation == generation)
        else {
            return;
        };
        match open.link.receive(bytes) {
            Ok(event) => self.take_event(side, &open, event),
            Err(error) => debug!(?side, "a frame was passed over: {error}"),
        }
        *self.side(side) = Some(open);
    }

    fn take_event(&mut self, side: Side, open: &OpenLink, event: LinkEvent<'_>) {
        match (side, event) {
            (Side::Pool, LinkEvent::Prepare(id, prepare)) => {
                self.decide(Command::PoolPrepare(id.0, prepare.packet, prepare.view));
            }
            (Side::Pool, LinkEvent::Fulfill(id, fulfill)) => {
                self.decide(Command::PoolFulfill(id.0, fulfill.packet, fulfill.view));
            }
            (Side::Pool, LinkEvent::Reject(id, reject)) => {
                self.decide(Command::PoolReject(id.0, reject.packet))
            }
            (Side::Pool, LinkEvent::InvalidReply(id, _)) => {
                self.decide(Command::PoolReject(
                    id.0,
                    &reject(ErrorCode::T00InternalError, "an unreadable reply"),
                ));
            }
            (Side::Pool, LinkEvent::Error(id, error)) if id.0 >= MESSAGES_FROM => {
                warn!(
                    "the pool refused a message: {}",
                    String::from_utf8_lossy(error.data)
                );
            }
            (Side::Pool, LinkEvent::Error(id, _)) => {
                self.decide(Command::PoolReject(
                    id.0,
                    &reject(ErrorCode::T00InternalError, "the pool failed"),
                ));
            }
            (Side::Pool, LinkEvent::Message(id, data)) => {
                let said = data.find(PROTOCOL).map(|entry| entry.data);
                if !self.answer_as_witness(open, id, said) {
                    send(open, |out| btp::encode_response(out, id, &[]));
                    self.hear(said);
                }
            }
            (Side::Pool, LinkEvent::Response(_, data)) => {
                self.hear(data.find(PROTOCOL).map(|entry| entry.data))
            }
            (Side::Software, LinkEvent::Prepare(id, prepare)) => {
                self.decide(Command::SoftwarePrepare(id.0, prepare.packet, prepare.view));
            }
            (Side::Software, LinkEvent::Fulfill(id, fulfill)) => {
                self.decide(Command::SoftwareFulfill(id.0, fulfill.packet, fulfill.view));
            }
            (Side::Software, LinkEvent::Reject(id, reject)) => {
                self.decide(Command::SoftwareReject(id.0, reject.packet));
            }
            (Side::Software, LinkEvent::InvalidReply(id, _) | LinkEvent::Error(id, _)) => {
                self.decide(Command::SoftwareReject(
                    id.0,
                    &reject(ErrorCode::T00InternalError, "an unreadable reply"),
                ));
            }
            (_, LinkEvent::InvalidPrepare(id, error)) => {
                let packet = reject(ErrorCode::F01InvalidPacket, &error.to_string());
                send(open, |out| {
                    open.link.encode_ilp(out, PacketType::Reject, id, &packet)
                });
            }
            (Side::Software, LinkEvent::Message(id, _)) | (_, LinkEvent::Transfer(id, ..)) => {
                let text = "only ILP packets pass here";
                send(open, |out| {
                    btp::encode_error(out, id, ErrorKind::NotAccepted, wall::now(), text)
                        .expect("before the year 10000");
                });
            }
            (Side::Software, LinkEvent::Response(..))
            | (
                _,
                LinkEvent::AuthRequested { .. }
                | LinkEvent::Authenticated
                | LinkEvent::AuthRefused(_),
            ) => {}
        }
    }

    /// Answers the pool's questions about its own journal; says whether this was one.
    fn answer_as_witness(&mut self, open: &OpenLink, id: RequestId, said: Option<&[u8]>) -> bool {
        let message = said.and_then(PeerMessage::decode);
        let Some(answer) = message.and_then(|message| self.heads.answer(&message)) else {
            return false;
        };
        send(open, |out| match answer {
            Ok(known) => btp::encode_response(out, id, &[Entry::bytes(PROTOCOL, &known.encode())]),
            Err(why) => btp::encode_error(out, id, ErrorKind::NotAccepted, wall::now(), &why)
                .expect("before the year 10000"),
        });
        true
    }

    fn hear(&mut self, bytes: Option<&[u8]>) {
        let Some(bytes) = bytes else { return };
        match PeerMessage::decode(bytes) {
            Some(PeerMessage::InvoiceTold {
                settlement,
                invoice: Some(invoice),
                ..
            }) => {
                // An account that settles by vouchers asked for none.
                if let Means::Lightning(node) = &self.means {
                    let read = node.read(settlement, invoice);
                    self.decide(Command::Lightning(read));
                }
            }
            Some(message) => self.decide(Command::PoolSays(message)),
            None => warn!("the pool said something that this version does not understand"),
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Forward(request, packet) => {
                self.send_ilp(Side::Pool, PacketType::Prepare, request, &packet)
            }
            Effect::Deliver(request, packet) => {
                self.send_ilp(Side::Software, PacketType::Prepare, request, &packet)
            }
            Effect::AnswerPool(request, packet) => {
                self.send_ilp(Side::Pool, PacketType::Fulfill, request, &packet)
            }
            Effect::AnswerSoftware(request, packet) => {
                self.send_ilp(Side::Software, PacketType::Fulfill, request, &packet);
            }
            Effect::SignVoucher(..) | Effect::SayHello(_) | Effect::Transact(..) => {
                self.carry_out_on_vault(effect);
            }
            Effect::Say(message) => self.say(&message),
            Effect::Lightning(effect) => self.carry_out_on_lightning(effect),
            Effect::Alarm(text) => {
                warn!("{text}");
                self.status.alarm(text);
            }
        }
    }

    fn carry_out_on_vault(&mut self, effect: Effect) {
        let Means::Vault(key, vault) = &self.means else {
            unreachable!("an account on Lightning asks nothing of a vault: {effect:?}")
        };
        let (key, vault) = (key.clone(), Arc::clone(vault));
        match effect {
            Effect::SignVoucher(serial, amount) => {
                let voucher = Voucher {
                    serial,
                    lane: LaneId::Peer,
                    amount,
                };
                let signature = key.sign_message(vault.domain(), &voucher).0;
                self.say(&PeerMessage::Voucher {
                    serial,
                    amount,
                    signature,
                });
            }
            Effect::SayHello(keys) => {
                let proof = key.sign_message(vault.domain(), &keys).0;
                let PeerKeys { signer, payout } = keys;
                self.say(&PeerMessage::Hello {
                    signer,
                    payout,
                    proof,
                });
            }
            Effect::Transact(id, request) => {
                let inputs = self.inputs.clone();
                self.runtime
                    .spawn(chain::transact(vault, id, request, inputs));
            }
            other => unreachable!("no chore of a vault: {other:?}"),
        }
    }

    fn carry_out_on_lightning(&mut self, effect: LightningEffect) {
        let Means::Lightning(node) = &self.means else {
            unreachable!("an account with a vault asks nothing of Lightning: {effect:?}")
        };
        self.runtime.spawn(node.clone().carry_out(effect));
    }

    /// Answers of both kinds travel in the same frame, so that `Fulfill` stands for either here.
    fn send_ilp(&mut self, side: Side, packet_type: PacketType, request: u32, packet: &[u8]) {
        if let Some(open) = self.side(side) {
            send(open, |out| {
                open.link
                    .encode_ilp(out, packet_type, RequestId(request), packet)
            });
        }
    }

    fn say(&mut self, message: &PeerMessage) {
        self.last_message = self.last_message.wrapping_add(1) & !MESSAGES_FROM;
        let id = RequestId(MESSAGES_FROM | self.last_message);
        if let Some(open) = &self.pool {
            send(open, |out| {
                btp::encode_message(out, id, &[Entry::bytes(PROTOCOL, &message.encode())])
            });
        }
    }
}

fn send(open: &OpenLink, encode: impl FnOnce(&mut Vec<u8>)) {
    let mut frame = Vec::new();
    encode(&mut frame);
    // What matters is said again on the next link.
    if open.frames.try_send(frame).is_err() {
        open.is_overrun.set(true);
    }
}
