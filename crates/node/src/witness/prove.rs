//! Before anything else a started pool asks its witnesses, and takes its place only when enough of them agree [I14].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use forebay_chain_evm::Key;
use forebay_channel::{Rollback, SignedHead};
use forebay_journal::Head;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{Journalled, Place, Refuted, Witness, agrees, asked, told};
use crate::ask::Asker;
use crate::link::Directory;

const PAUSE: Duration = Duration::from_secs(1);
/// While witnesses are waited for, the log says so this often.
const SAID_EVERY: Duration = Duration::from_secs(10);
/// A connection that has not authenticated by then is closed.
const AUTH_MAX: Duration = Duration::from_secs(10);
/// Connections that are looked at at a time while only witnesses are let in.
const GUESTS_MAX: usize = 64;

/// What one witness answered, and the link to go on with.
struct Answered {
    witness: usize,
    asker: Asker,
    known: Option<SignedHead>,
}

/// Waits until `quorum` of the witnesses know no other head than this journal's, and take it for the newest.
///
/// # Errors
/// [`Rollback`] as soon as one of them proves that this is not the newest journal.
pub(crate) async fn prove(
    witnesses: &[Witness],
    quorum: usize,
    key: &Key,
    (journal, head): (&Journalled, Head),
    (door, directory): (&TcpListener, &Arc<Directory>),
) -> Result<Place, Rollback> {
    let mut place = Place {
        key: key.clone(),
        start: 1,
        process: random(),
    };
    if witnesses.is_empty() {
        warn!("no witness is configured: nobody notices when this journal is an old copy");
        return Ok(place);
    }
    let mut agreed = 0;
    while agreed < quorum {
        let mut answers = hear(witnesses, quorum, (journal, head), (door, directory)).await?;
        let known = answers.values().filter_map(|answer| answer.known.as_ref());
        let highest = known.map(|known| known.head.start).max().unwrap_or(0);
        place.start = highest.saturating_add(1);
        let ours = place.at(head);
        agreed = 0;
        for answer in answers.values_mut() {
            match told(&mut answer.asker, ours).await {
                Ok(known) if agrees(&ours, known.as_ref())? => agreed += 1,
                Ok(_) => warn!("a witness did not take our word"),
                Err(fault) => warn!("a witness is lost: {fault}"),
            }
        }
        if agreed < quorum {
            sleep(PAUSE).await;
        }
    }
    // [I14] nothing is signed before enough witnesses took this journal for the newest.
    assert!(agreed >= quorum, "[I14] a quorum of witnesses agrees");
    info!(
        start = place.start,
        frame = head.sequence.0,
        agreed,
        "witnesses agree that this journal is the newest"
    );
    Ok(place)
}

/// Asks all witnesses until enough of them have answered that they know nothing else.
async fn hear(
    witnesses: &[Witness],
    quorum: usize,
    (journal, head): (&Journalled, Head),
    (door, directory): (&TcpListener, &Arc<Directory>),
) -> Result<BTreeMap<usize, Answered>, Rollback> {
    let mut asking = JoinSet::new();
    for (number, witness) in witnesses.iter().enumerate() {
        if let Witness::Dialled { url, token } = witness {
            asking.spawn(dial(number, url.clone(), token.clone(), journal.clone()));
        }
    }
    let peers = Arc::new(peers(witnesses));
    let mut answers = BTreeMap::new();
    let mut said = tokio::time::interval(SAID_EVERY);
    said.reset();
    while answers.len() < quorum {
        tokio::select! {
            Some(answer) = asking.join_next() => {
                let Ok(Some(answer)) = answer else { continue };
                let Answered { witness, ref known, .. } = answer;
                match journal.compare(head, known.as_ref()) {
                    Ok(()) => {
                        answers.insert(witness, answer);
                    }
                    Err(Refuted::Rollback(rollback)) => return Err(rollback),
                    Err(Refuted::Nonsense) => warn!(witness, "a witness answers what this pool never signed: it does not count"),
                }
            }
            accepted = door.accept(), if !peers.is_empty() && asking.len() < GUESTS_MAX + witnesses.len() => {
                if let Ok((stream, _)) = accepted {
                    let (directory, journal) = (Arc::clone(directory), journal.clone());
                    asking.spawn(admit(stream, directory, Arc::clone(&peers), journal));
                }
            }
            _ = said.tick() => {
                warn!("waiting for witnesses before anything is signed: {} of {quorum} have answered", answers.len());
            }
        }
    }
    Ok(answers)
}

fn peers(witnesses: &[Witness]) -> BTreeMap<String, usize> {
    let peers = witnesses.iter().enumerate();
    let peers = peers.filter_map(|(number, witness)| match witness {
        Witness::Peer { peer } => Some((peer.clone(), number)),
        Witness::Dialled { .. } => None,
    });
    peers.collect()
}

async fn dial(witness: usize, url: String, token: String, journal: Journalled) -> Option<Answered> {
    loop {
        let answer = async {
            let mut asker = Asker::dial(&url, None, &token).await?;
            let known = asked(&mut asker, journal.pool).await?;
            Ok::<_, crate::ask::AskFault>(Answered {
                witness,
                asker,
                known,
            })
        };
        match answer.await {
            Ok(answer) => return Some(answer),
            Err(fault) => warn!(url, "a witness does not answer: {fault}"),
        }
        sleep(PAUSE).await;
    }
}

/// Lets a peer in that is a witness, to ask it and for nothing else.
async fn admit(
    stream: TcpStream,
    directory: Arc<Directory>,
    peers: Arc<BTreeMap<String, usize>>,
    journal: Journalled,
) -> Option<Answered> {
    let admitted = Asker::accept(stream, |name, token| {
        let facts = directory.admit(name, token)?;
        peers.get(&facts.name).copied()
    });
    let (mut asker, witness) = timeout(AUTH_MAX, admitted).await.ok()??;
    let known = asked(&mut asker, journal.pool).await.ok()?;
    Some(Answered {
        witness,
        asker,
        known,
    })
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    let drawn = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    drawn.expect("the system has randomness");
    bytes
}
