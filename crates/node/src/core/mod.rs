//! The core thread: takes what waits, decides it all, makes it durable with one sync, and only then lets answers out.

mod figures;
mod histogram;
mod input;
mod post;
mod routes;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use forebay_channel::{PacketName, knows_voucher};
use forebay_journal::{Fault, Head, Journal};
use forebay_pool::{Command, LightningCommand, Prepare, Rejection, Sequencer};
use forebay_quantity::{Amount, ChannelSerial, PeerId, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tracing::{error, info, warn};

pub use figures::{Connected, Count, Figures, Mode as ServingMode, Readiness, Rejects};
pub use histogram::{BUCKETS_US, Counted, Histogram};
pub(crate) use input::{Asked, Input, Query, Reply, core_queue};
pub use input::{CommandFault, CoreHandle};
pub(crate) use post::{Outside, Post};

use crate::feed::FeedSender;
use crate::link::{Directory, InBatch, Item, ItemKind};
use crate::wall;
use post::Refusal;
use routes::Routes;

/// Packets decided before a sync: what keeps a frame under a few megabytes and a round under some ten milliseconds.
const ROUND_ITEMS_MAX: usize = 8_192;
/// Without anything to do the core looks at its deadlines this often.
const IDLE: Duration = Duration::from_millis(250);

/// How the core thread ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Everything in flight was answered or is journalled; a snapshot was written where that could be.
    Drained,
    /// Stopped at once; the journal holds everything that was acknowledged.
    Stopped,
    /// The journal failed before; nothing was acknowledged since.
    Failed(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Mode {
    Serving,
    Draining { until: Timestamp },
    Failed(String),
    Done(Ending),
}

/// What the core thread owns.
pub(crate) struct Core {
    inputs: Receiver<Input>,
    sequencer: Sequencer,
    journal: Journal,
    directory: Arc<Directory>,
    figures: Arc<Figures>,
    feed: FeedSender,
    snapshot_frames: u64,
    frames_since_snapshot: u64,
    mode: Mode,
    post: Post,
    routes: Routes,
    /// Answers that the core gives itself: rejects of what could not be delivered.
    own: Vec<Command<'static>>,
    replies: Vec<(Reply, Result<(), Rejection>)>,
    queries: Vec<(Query, OwnedSemaphorePermit)>,
    directory_changed: bool,
    /// Until the chains are caught up with, nothing is signed or asked for: a ceiling may have sunk meanwhile [I4].
    has_begun: bool,
    /// The last frame that is durable.
    head: watch::Sender<Head>,
}

/// What a core thread is started with.
pub(crate) struct CoreParts {
    pub(crate) inputs: Receiver<Input>,
    pub(crate) head: watch::Sender<Head>,
    pub(crate) sequencer: Sequencer,
    pub(crate) journal: Journal,
    pub(crate) directory: Arc<Directory>,
    pub(crate) figures: Arc<Figures>,
    pub(crate) outside: Outside,
    pub(crate) feed: FeedSender,
    /// Frames between snapshots.
    pub(crate) snapshot_frames: u64,
    /// Random, and new at each start: names this life of the routes that we tell.
    pub(crate) routes_secret: [u8; 32],
}

/// Starts the core thread.
pub(crate) fn start(parts: CoreParts) -> std::io::Result<JoinHandle<Ending>> {
    let CoreParts {
        inputs,
        head,
        sequencer,
        journal,
        directory,
        figures,
        outside,
        feed,
        snapshot_frames,
        routes_secret,
    } = parts;
    let post = Post::new(
        Arc::clone(&figures),
        Arc::clone(&directory),
        outside,
        sequencer.state(),
    );
    let core = Core {
        inputs,
        sequencer,
        journal,
        directory,
        figures,
        feed,
        snapshot_frames,
        frames_since_snapshot: 0,
        mode: Mode::Serving,
        post,
        routes: Routes::new(routes_secret),
        // What channels carried is not known any more, and nothing is decided by it.
        own: vec![Command::Lightning(LightningCommand::Started)],
        replies: Vec::new(),
        queries: Vec::new(),
        directory_changed: true,
        has_begun: false,
        head,
    };
    std::thread::Builder::new()
        .name("core".into())
        .spawn(move || core.run())
}

impl Core {
    fn run(mut self) -> Ending {
        self.post.repeat_outstanding(self.sequencer.state());
        loop {
            let first = self.wait();
            self.round(first);
            self.finish_draining();
            if let Mode::Done(ending) = &self.mode {
                let ending = ending.clone();
                self.close(&ending);
                return ending;
            }
        }
    }

    /// Waits for an input, a deadline or the idle time.
    fn wait(&mut self) -> Option<Input> {
        let left = match self.sequencer.next_deadline() {
            _ if !self.own.is_empty() => Duration::ZERO,
            Some(deadline) => Duration::from_millis(deadline.since(wall::now()).value()).min(IDLE),
            None => IDLE,
        };
        match self.inputs.recv_timeout(left) {
            Ok(input) => Some(input),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                self.mode = Mode::Done(Ending::Stopped);
                None
            }
        }
    }

    /// One batch: decide all that waits, sync once, let everything out.
    fn round(&mut self, first: Option<Input>) {
        let wall = wall::now();
        self.expire(wall);
        for command in std::mem::take(&mut self.own) {
            self.apply_own(wall, command);
        }
        let mut items = 0;
        let mut next = first;
        while let Some(input) = next {
            items += self.take(wall, input);
            next = if items < ROUND_ITEMS_MAX {
                self.inputs.try_recv().ok()
            } else {
                None
            };
        }
        self.commit(wall);
        self.post.send_refusals();
        self.answer();
        if !self.is_failed() {
            self.routes.turn(wall, &mut self.sequencer, &mut self.post);
        }
        self.post.flush();
        self.post.take_own(&mut self.own);
    }

    fn expire(&mut self, wall: Timestamp) {
        if self
            .sequencer
            .next_deadline()
            .is_some_and(|deadline| deadline <= wall)
            && !self.is_failed()
        {
            // A tick is never refused; on a halted core nothing is asked.
            let _ = self.sequencer.apply(wall, &Command::Tick);
        }
    }

    fn apply_own(&mut self, wall: Timestamp, command: Command<'static>) {
        // The packet may have been answered or expired meanwhile.
        let _ = self.sequencer.apply(wall, &command);
    }

    /// Takes one input; returns how much work it was.
    fn take(&mut self, wall: Timestamp, input: Input) -> usize {
        match input {
            Input::Packets(batch) => return self.take_packets(wall, batch),
            // What the state says now was never made durable: no link may hear of it, least of all a voucher [I7].
            Input::LinkUp { .. } if self.is_failed() => {}
            Input::LinkUp {
                peer,
                link,
                dialect,
                out,
            } => {
                self.post
                    .link_up(self.sequencer.state(), peer, link, dialect, out);
                self.routes.link_up(wall, peer);
            }
            Input::LinkDown { peer, link } => {
                if self.post.link_down(peer, link) {
                    self.routes.link_down(wall, peer);
                }
            }
            Input::Routes(asked) => {
                self.routes.take(wall, &asked, &mut self.post);
                drop(asked.place);
            }
            Input::Command(asked) => self.take_command(wall, asked),
            Input::Query(query, place) => self.queries.push((query, place)),
            Input::ChainHeard { asset, at } => self.sequencer.hear(asset, at),
            Input::Deliver { peer, frames } => self.post.deliver(peer, &frames),
            Input::Begin => self.begin(),
            Input::Held {
                peer,
                serial,
                amount,
            } => self.held(peer, serial, amount),
            Input::Unknown {
                peer,
                packets,
                place,
            } => {
                drop(place);
                return self.unknown(wall, peer, &packets);
            }
            Input::Halt(why) => self.halt(why),
            Input::Drain { until } => self.begin_draining(until),
            Input::Stop => self.mode = Mode::Done(self.ending(Ending::Stopped)),
        }
        1
    }

    fn begin(&mut self) {
        self.has_begun = true;
        self.post.must_hear(self.sequencer.state());
        if self.mode == Mode::Serving {
            self.figures.readiness.set(ServingMode::Serving);
        }
    }

    /// A peer says what it holds of ours: more than this journal has promised, and the journal is not the newest [I14].
    fn held(&mut self, peer: PeerId, serial: ChannelSerial, amount: Amount) {
        let state = self.sequencer.state();
        let channel = state
            .peer(peer)
            .and_then(|account| account.channel.as_ref())
            .filter(|channel| channel.serial() == serial);
        let Some(channel) = channel else { return };
        match knows_voucher(serial, amount, channel.outgoing.promised()) {
            Ok(()) if !self.is_failed() => self.post.heard(state, peer, serial),
            Ok(()) => {}
            Err(rollback) => self.halt(rollback.to_string()),
        }
    }

    /// A packet that never came to its next hop need not wait for its expiry; one that was answered meanwhile stays so.
    fn unknown(&mut self, wall: Timestamp, peer: PeerId, packets: &[PacketName]) -> usize {
        if self.is_failed() {
            return 1;
        }
        let mut lost = 0;
        for name in packets {
            let PacketName { packet, expires_at } = *name;
            if !self.sequencer.state().awaits(peer, packet, expires_at) {
                continue;
            }
            let code = *b"T01";
            self.apply_own(wall, Command::Reject { peer, packet, code });
            lost += 1;
        }
        if lost > 0 {
            info!(
                peer = peer.0,
                "{lost} packets were lost on their way to this peer: they are rejected"
            );
        }
        packets.len().max(1)
    }

    fn begin_draining(&mut self, until: Timestamp) {
        match &self.mode {
            Mode::Serving => {
                info!("draining: no new prepares are taken");
                self.mode = Mode::Draining { until };
                self.figures.readiness.set(ServingMode::Draining);
            }
            Mode::Failed(_) => self.mode = Mode::Done(self.ending(Ending::Stopped)),
            Mode::Draining { .. } | Mode::Done(_) => {}
        }
    }

    fn take_command(&mut self, wall: Timestamp, asked: Asked) {
        let Asked {
            command,
            reply,
            place,
        } = asked;
        drop(place);
        if let Mode::Failed(why) = &self.mode {
            // Whoever asked may have left.
            let _ = reply.send(Err(CommandFault::Stopped(why.clone())));
            return;
        }
        let decided = self.sequencer.apply(wall, &command);
        self.directory_changed |= matches!(command, Command::Admin(..));
        if decided.is_ok() {
            self.post.terms_may_change(self.sequencer.state(), &command);
        }
        self.replies.push((reply, decided));
    }

    fn take_packets(&mut self, wall: Timestamp, batch: InBatch) -> usize {
        let peer = batch.peer;
        self.post.speaks(peer, batch.dialect);
        let items = batch.items.len();
        let mut prepares = 0;
        let at = self.post.keep(batch);
        for index in 0..items {
            let (_, item) = self.post.kept(at, index);
            if let Some((kind, accepted)) = self.post.route_answer(peer, item) {
                self.routes.answered(wall, peer, kind, accepted);
                continue;
            }
            let (batch, item) = self.post.kept(at, index);
            match decide_item(&mut self.sequencer, &self.mode, wall, peer, batch, item) {
                Ok(()) => {
                    prepares += u64::from(matches!(item.kind, ItemKind::Prepare { .. }));
                    self.post.accepted(at, item);
                }
                Err(refusal) => self.post.refused(at, item, refusal),
            }
        }
        self.figures.accepted.add(prepares);
        items.max(1)
    }

    /// Appends the open batch, syncs it, and releases its effects; on failure nothing of it leaves [I7].
    fn commit(&mut self, wall: Timestamp) {
        if self.is_failed() {
            return;
        }
        if self.has_begun {
            self.sequencer.plan(wall);
        }
        let records = u64::from(self.sequencer.records());
        let journal = &mut self.journal;
        let began = Instant::now();
        let durable = match self.sequencer.batch() {
            None => return self.release(wall),
            Some(payload) => journal.append(payload).and_then(|_| journal.sync()),
        };
        match durable {
            Ok(()) => {
                self.figures.syncs.add(1);
                self.figures.sync_time.add(began.elapsed(), 1);
                self.figures.records.add(records);
                self.figures.frames.set(self.journal.head().sequence.0);
                // Nobody is woken by it: witnesses are told at a rate of their own.
                let head = self.journal.head();
                self.head.send_if_modified(|told| {
                    *told = head;
                    false
                });
                self.frames_since_snapshot += 1;
                self.release(wall);
                self.tell();
                self.snapshot_when_due();
            }
            Err(fault) => self.fail(&fault),
        }
    }

    fn release(&mut self, wall: Timestamp) {
        let Self {
            sequencer, post, ..
        } = self;
        sequencer.release(|effect| post.carry_out(effect));
        if std::mem::take(&mut self.directory_changed) {
            self.directory.follow(self.sequencer.state());
            self.routes.follow(wall, self.sequencer.state(), &self.post);
        }
    }

    /// Hands the events of the synced batch to the live feed.
    fn tell(&mut self) {
        let (sequencer, figures) = (&self.sequencer, &self.figures);
        let frame = self.journal.head().sequence.0;
        if !self
            .feed
            .tell(frame, sequencer.state().now(), sequencer.told())
        {
            figures.feed_missed.add(1);
        }
    }

    /// The disk did not take the batch: everything in it is refused, and so is everything from now on.
    fn fail(&mut self, fault: &Fault) {
        error!("the journal failed, so nothing is accepted any more: {fault}");
        self.stop_accepting(fault.to_string());
    }

    /// The disk is well, and this journal must not be gone on with.
    fn halt(&mut self, why: String) {
        if self.is_failed() {
            return;
        }
        error!("[I14] {why}: nothing is signed or accepted any more");
        self.stop_accepting(why);
    }

    fn stop_accepting(&mut self, why: String) {
        // The first reason is the one that counts.
        let _ = self.figures.stopped.set(why.clone());
        self.sequencer.halt();
        self.post.refuse_accepted();
        for (reply, _) in self.replies.drain(..) {
            // Whoever asked may have left.
            let _ = reply.send(Err(CommandFault::Stopped(why.clone())));
        }
        self.mode = Mode::Failed(why);
        self.figures.readiness.set(ServingMode::Failed);
    }

    fn answer(&mut self) {
        for (reply, decided) in self.replies.drain(..) {
            // Whoever asked may have left.
            let _ = reply.send(decided.map_err(CommandFault::Rejected));
        }
        if self.is_failed() {
            // Dropped: those who asked are told that the pool has stopped.
            self.queries.clear();
            return;
        }
        for (query, _place) in self.queries.drain(..) {
            query(self.sequencer.state());
        }
        self.post.send_terms(self.sequencer.state());
        self.post.ask_in_flight(self.sequencer.state());
    }

    fn finish_draining(&mut self) {
        let Mode::Draining { until } = self.mode else {
            return;
        };
        let in_flight = self.sequencer.state().packets().count();
        if in_flight == 0 || until <= wall::now() {
            info!(
                "drained; {in_flight} packets stay in flight and are answered after the next start"
            );
            self.mode = Mode::Done(Ending::Drained);
        }
    }

    fn snapshot_when_due(&mut self) {
        if self.frames_since_snapshot >= self.snapshot_frames {
            self.snapshot();
        }
    }

    fn snapshot(&mut self) {
        self.frames_since_snapshot = 0;
        let state = self.sequencer.state().snapshot();
        match self.journal.snapshot(self.journal.head(), &state) {
            Ok(()) => self.figures.snapshots.add(1),
            Err(fault) => warn!("no snapshot was written; the next start replays more: {fault}"),
        }
    }

    fn close(mut self, ending: &Ending) {
        if *ending == Ending::Drained {
            self.snapshot();
        }
        if matches!(ending, Ending::Failed(_)) {
            return;
        }
        if let Err(fault) = self.journal.close() {
            error!("the journal could not be closed in order; the next start recovers it: {fault}");
        }
    }

    fn is_failed(&self) -> bool {
        matches!(self.mode, Mode::Failed(_))
    }

    fn ending(&self, otherwise: Ending) -> Ending {
        match &self.mode {
            Mode::Failed(why) => Ending::Failed(why.clone()),
            Mode::Serving | Mode::Draining { .. } | Mode::Done(_) => otherwise,
        }
    }
}

fn decide_item(
    sequencer: &mut Sequencer,
    mode: &Mode,
    wall: Timestamp,
    peer: PeerId,
    batch: &InBatch,
    item: Item,
) -> Result<(), Refusal> {
    if matches!(mode, Mode::Failed(_)) {
        return Err(Refusal::JournalFailed);
    }
    let command = match item.kind {
        ItemKind::Prepare { .. } if *mode != Mode::Serving => return Err(Refusal::Draining),
        ItemKind::Prepare {
            request,
            amount,
            expires_at,
            condition,
            destination,
        } => Command::Prepare(Prepare {
            peer,
            request,
            amount,
            expires_at,
            condition,
            destination: batch.destination(item, destination),
        }),
        ItemKind::Fulfill { packet, preimage } => Command::Fulfill {
            peer,
            packet,
            preimage,
        },
        ItemKind::Reject { packet, code, .. } => Command::Reject { peer, packet, code },
    };
    sequencer.apply(wall, &command).map_err(Refusal::Rejected)
}
