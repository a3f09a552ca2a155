//! What the core thread is asked, and how others ask it.

use std::sync::Arc;
use std::sync::mpsc;

use forebay_channel::PacketName;
use forebay_ilp::Dialect;
use forebay_ilp::ccp::Kind;
use forebay_pool::{Command, Rejection, State};
use forebay_quantity::{Amount, AssetId, ChannelSerial, PeerId, Timestamp};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::routes::RouteRequest;
use crate::link::{InBatch, LinkId, OutFrames, OutSender};

/// Commands and queries that may wait for the core beside packets; more wait at their source.
const ASKED_MAX: usize = 1_024;

/// Reads the state, on the core thread, after a sync.
pub(crate) type Query = Box<dyn FnOnce(&State) + Send>;

/// Where a command's outcome goes once it is durable.
pub(crate) type Reply = oneshot::Sender<Result<(), CommandFault>>;

/// One thing for the core thread to take.
pub(crate) enum Input {
    /// Packets that a link read.
    Packets(InBatch),
    /// A peer's link is authenticated.
    LinkUp {
        peer: PeerId,
        link: LinkId,
        dialect: Dialect,
        out: OutSender,
    },
    /// It is gone.
    LinkDown { peer: PeerId, link: LinkId },
    /// A neighbour's route message.
    Routes(RouteRequest),
    /// A command of an adapter or the operator.
    Command(Asked),
    /// A question.
    Query(Query, OwnedSemaphorePermit),
    /// An asset's chain has a block of this time.
    ChainHeard { asset: AssetId, at: Timestamp },
    /// Frames made off the core thread for a peer.
    Deliver { peer: PeerId, frames: OutFrames },
    /// What the vaults did while the pool was away is known: plan from now on.
    Begin,
    /// A peer holds this voucher of ours, or none, on a channel.
    Held {
        peer: PeerId,
        serial: ChannelSerial,
        amount: Amount,
    },
    /// Of the packets in flight to a peer, these never came there and never will.
    Unknown {
        peer: PeerId,
        packets: Vec<PacketName>,
        /// Held while they wait.
        place: OwnedSemaphorePermit,
    },
    /// Sign and take nothing any more: this journal is not the newest, or not the only one in use [I14].
    Halt(String),
    /// Take no new prepares; stop when nothing is in flight any more, or then.
    Drain { until: Timestamp },
    /// Stop now.
    Stop,
}

/// A command with its way back.
pub(crate) struct Asked {
    pub(crate) command: Command<'static>,
    pub(crate) reply: Reply,
    /// Held while the command waits.
    pub(crate) place: OwnedSemaphorePermit,
}

/// Why a command had no effect.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommandFault {
    /// The core's no.
    #[error("{0}")]
    Rejected(Rejection),
    /// The pool takes nothing any more: its journal failed, or it is stopping.
    #[error("the pool has stopped: {0}")]
    Stopped(String),
}

/// Asks the core thread; cheap to clone.
#[derive(Clone)]
pub struct CoreHandle {
    sender: mpsc::Sender<Input>,
    places: Arc<Semaphore>,
}

/// Makes the way to the core thread.
pub(crate) fn core_queue() -> (CoreHandle, mpsc::Receiver<Input>) {
    let (sender, receiver) = mpsc::channel();
    (
        CoreHandle {
            sender,
            places: Arc::new(Semaphore::new(ASKED_MAX)),
        },
        receiver,
    )
}

impl CoreHandle {
    /// Has a command decided; returns once it is durable.
    ///
    /// # Errors
    /// [`CommandFault`].
    pub async fn command(&self, command: Command<'static>) -> Result<(), CommandFault> {
        let place = self.place().await?;
        let (reply, answer) = oneshot::channel();
        self.give(Input::Command(Asked {
            command,
            reply,
            place,
        }))?;
        answer.await.map_err(|_| stopped())?
    }

    /// Reads the state as of the last sync.
    ///
    /// # Errors
    /// [`CommandFault::Stopped`].
    pub async fn query<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, CommandFault> {
        let place = self.place().await?;
        let (reply, answer) = oneshot::channel();
        let query: Query = Box::new(move |state| {
            // Whoever asked may have left.
            let _ = reply.send(ask(state));
        });
        self.give(Input::Query(query, place))?;
        answer.await.map_err(|_| stopped())
    }

    /// Has a neighbour's route message taken and answered, if there is room for it.
    ///
    /// # Errors
    /// [`CommandFault::Stopped`] when too much waits already, or the core is gone.
    pub(crate) fn take_routes(
        &self,
        peer: PeerId,
        request: u32,
        kind: Kind,
        data: Vec<u8>,
    ) -> Result<(), CommandFault> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        self.give(Input::Routes(RouteRequest {
            peer,
            request,
            kind,
            data,
            place: place.map_err(|_| stopped())?,
        }))
    }

    /// An asset's chain is heard of, with its newest block's time; vouchers count while that is not too long ago.
    ///
    /// # Errors
    /// [`CommandFault::Stopped`].
    pub fn chain_heard(&self, asset: AssetId, at: Timestamp) -> Result<(), CommandFault> {
        self.give(Input::ChainHeard { asset, at })
    }

    /// Has packets rejected that never came to the peer they were meant for.
    ///
    /// # Errors
    /// [`CommandFault::Stopped`].
    pub(crate) async fn unknown(
        &self,
        peer: PeerId,
        packets: Vec<PacketName>,
    ) -> Result<(), CommandFault> {
        let place = self.place().await?;
        self.give(Input::Unknown {
            peer,
            packets,
            place,
        })
    }

    /// Hands over what is bounded at its source: packets by their batches, link changes by their links.
    pub(crate) fn give(&self, input: Input) -> Result<(), CommandFault> {
        self.sender.send(input).map_err(|_| stopped())
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, CommandFault> {
        Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(|_| stopped())
    }
}

fn stopped() -> CommandFault {
    CommandFault::Stopped("it is not running any more".into())
}
