//! A running pool tells its witnesses where it stands, at a bounded rate, and hears from them when its place is taken.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use forebay_channel::{JournalHead, PeerMessage, Rollback, SignedHead};
use forebay_ilp::btp::RequestId;
use forebay_journal::Head;
use forebay_quantity::PeerId;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

use super::{Journalled, Place, Refuted, Witness, agrees, asked, told};
use crate::ask::{AskFault, Asker};
use crate::core::{CoreHandle, Input};
use crate::link::{OutFrames, encode_message};

/// How long the last word may take when the pool ends.
pub(crate) const LAST_WORD_MAX: Duration = Duration::from_secs(3);
/// A head that has not changed is told again this often: the answer tells whether the place is still ours.
const AGAIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(2);
/// Answers of peers that wait to be looked at.
const HEARD_MAX: usize = 64;

/// What a running pool tells, and how.
#[derive(Clone)]
pub(crate) struct Telling {
    pub(crate) journal: Journalled,
    pub(crate) place: Place,
    /// The last frame that is durable.
    pub(crate) head: watch::Receiver<Head>,
    pub(crate) interval: Duration,
    pub(crate) core: CoreHandle,
    pub(crate) stopped: watch::Receiver<bool>,
    /// Held by all who tell, so that the pool's end can wait for the last word.
    #[expect(dead_code, reason = "it is held, and nothing is ever said by it")]
    pub(crate) saying: mpsc::Sender<Infallible>,
}

/// The way in for what peers answer.
pub(crate) type Heard = mpsc::Sender<(PeerId, Option<SignedHead>)>;

/// Starts telling every witness; returns where peers' answers go.
pub(crate) fn tell(witnesses: Vec<Witness>, telling: &Telling) -> Heard {
    let (heard, answers) = mpsc::channel(HEARD_MAX);
    let mut peers = Vec::new();
    for witness in witnesses {
        match witness {
            Witness::Dialled { url, token } => {
                tokio::spawn(keep_told(url, token, telling.clone()));
            }
            Witness::Peer { peer } => peers.push(peer),
        }
    }
    tokio::spawn(keep_peers_told(peers, telling.clone(), answers));
    heard
}

impl Telling {
    fn now(&self) -> SignedHead {
        self.place.at(*self.head.borrow())
    }

    /// What a witness knows that was not told anything by this process yet.
    fn first_word(&self, known: Option<&SignedHead>) -> Result<bool, Rollback> {
        let ours = self.now();
        if let Some(known) = known
            && (known.head.start >= ours.head.start || known.head.process == ours.head.process)
        {
            return agrees(&ours, Some(known)).map(|_| true);
        }
        match self.journal.compare(*self.head.borrow(), known) {
            Ok(()) => Ok(true),
            Err(Refuted::Nonsense) => Ok(false),
            Err(Refuted::Rollback(rollback)) => Err(rollback),
        }
    }

    fn halt(&self, rollback: &Rollback) {
        error!("[I14] {rollback}: nothing is signed any more");
        // A core that is gone signs nothing either.
        let _ = self.core.give(Input::Halt(rollback.to_string()));
    }
}

async fn keep_told(url: String, token: String, telling: Telling) {
    let mut stopped = telling.stopped.clone();
    loop {
        match one_link(&url, &token, &telling).await {
            Ok(Ok(())) => return,
            Ok(Err(rollback)) => return telling.halt(&rollback),
            Err(fault) => warn!(
                url,
                "a witness is not told where the journal stands: {fault}"
            ),
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            _ = stopped.changed() => return,
        }
    }
}

/// Tells over one link until the pool ends.
async fn one_link(
    url: &str,
    token: &str,
    telling: &Telling,
) -> Result<Result<(), Rollback>, AskFault> {
    let mut stopped = telling.stopped.clone();
    let mut asker = Asker::dial(url, None, token).await?;
    let known = asked(&mut asker, telling.journal.pool).await?;
    match telling.first_word(known.as_ref()) {
        Ok(true) => {}
        Ok(false) => {
            return Err(AskFault::Refused(
                "it knows what this pool never signed".into(),
            ));
        }
        Err(rollback) => return Ok(Err(rollback)),
    }
    let mut last: Option<(JournalHead, Instant)> = None;
    loop {
        let ours = telling.now();
        if last.is_none_or(|(head, at)| head != ours.head || at.elapsed() >= AGAIN) {
            let known = told(&mut asker, ours).await?;
            match agrees(&ours, known.as_ref()) {
                Ok(true) => last = Some((ours.head, Instant::now())),
                Ok(false) => warn!(url, "a witness did not take our word"),
                Err(rollback) => return Ok(Err(rollback)),
            }
        }
        tokio::select! {
            () = sleep(telling.interval) => {}
            _ = stopped.changed() => {
                let ours = telling.now();
                // The journal is closed: a witness that misses the last word knows an older one of ours.
                let _ = timeout(LAST_WORD_MAX, told(&mut asker, ours)).await;
                return Ok(Ok(()));
            }
        }
    }
}

/// Peers answer on their own links: those that were heard are told, the others asked.
async fn keep_peers_told(
    names: Vec<String>,
    telling: Telling,
    mut answers: mpsc::Receiver<(PeerId, Option<SignedHead>)>,
) {
    let mut stopped = telling.stopped.clone();
    let mut said: BTreeMap<PeerId, Option<(SignedHead, Option<Instant>)>> = BTreeMap::new();
    let mut tick = tokio::time::interval(telling.interval);
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            Some((peer, known)) = answers.recv() => {
                let Some(last) = said.get_mut(&peer) else { continue };
                let verdict = match last {
                    // It answers a question, or a word of a moment ago.
                    Some((told, _)) => agrees(told, known.as_ref()),
                    None => telling.first_word(known.as_ref()),
                };
                match verdict {
                    // It is told at the next tick, from here on.
                    Ok(true) if last.is_none() => *last = Some((telling.now(), None)),
                    Ok(_) => {}
                    Err(rollback) => return telling.halt(&rollback),
                }
            }
            _ = tick.tick() => {
                for name in &names {
                    let found = telling.core.query({
                        let name = name.clone();
                        move |state| state.peer_named(&name)
                    });
                    let Ok(Some(peer)) = found.await else { continue };
                    let message = match said.entry(peer).or_insert(None) {
                        None => PeerMessage::HeadAsked { pool: telling.journal.pool },
                        Some(last) => {
                            let ours = telling.now();
                            let is_due = last.1.is_none_or(|at| at.elapsed() >= AGAIN);
                            if last.0 == ours && !is_due { continue }
                            *last = (ours, Some(Instant::now()));
                            PeerMessage::HeadTold(ours)
                        }
                    };
                    deliver(&telling.core, peer, &message);
                }
            }
        }
    }
}

fn deliver(core: &CoreHandle, peer: PeerId, message: &PeerMessage) {
    let mut frames = OutFrames::default();
    // The core puts a request id of its own here.
    frames.push(|out| encode_message(out, RequestId(0), &message.encode()));
    // Without a link it is lost, and asked or told again.
    let _ = core.give(Input::Deliver { peer, frames });
}
