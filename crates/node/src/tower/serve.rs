//! The connections of principals: BTP links on which only `forebay` messages pass.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_channel::{PROTOCOL, PeerMessage};
use forebay_ilp::btp::{self, Entry, ErrorKind, RequestId};
use forebay_ilp::{Link, LinkEvent};
use futures_util::SinkExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tracing::{info, warn};

use super::keeper::Input;
use super::kept::PrincipalId;
use crate::ask::{ASKED_MAX, next_frame};
use crate::socket::{self, Socket};
use crate::wall;

/// A connection that has not authenticated by then is closed.
const AUTH_MAX: Duration = Duration::from_secs(10);
/// After a failed accept, usually for want of file descriptors, the server waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const ENDING: &str = "the watchtower is ending";

/// What all connections share.
pub(super) struct Desk {
    pub(super) principals: BTreeMap<String, PrincipalId>,
    pub(super) inputs: mpsc::Sender<Input>,
}

/// Accepts connections for as long as the process runs.
pub(super) async fn serve(listener: TcpListener, desk: Arc<Desk>, connections_max: usize) {
    let places = Arc::new(Semaphore::new(connections_max));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            warn!("a connection was turned away: {connections_max} are open already");
            continue;
        };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            let _place = place;
            match timeout(AUTH_MAX, admit(stream, &desk)).await {
                Ok(Some((socket, link, principal))) => {
                    info!("a principal is connected");
                    talk(socket, link, principal, &desk).await;
                    info!("a principal is gone");
                }
                Ok(None) => warn!("a connection showed no valid token"),
                Err(_) => info!("a connection did not authenticate in time"),
            }
        });
    }
}

async fn admit(stream: TcpStream, desk: &Desk) -> Option<(Socket, Link, PrincipalId)> {
    let (mut socket, _) = socket::accept(stream).await.ok()?;
    let mut link = Link::server();
    let bytes = next_frame(&mut socket).await?;
    let LinkEvent::AuthRequested { token, .. } = link.receive(&bytes).ok()? else {
        return None;
    };
    let principal = desk.principals.get(&token_hash(token)).copied();
    let mut frame = Vec::new();
    match principal {
        Some(_) => link.accept(&mut frame),
        None => link.refuse(&mut frame, wall::now(), "wrong token").ok()?,
    }
    socket.send(Message::Binary(frame.into())).await.ok()?;
    Some((socket, link, principal?))
}

/// Tokens are looked up by their hash, of which a response time tells nothing that helps to find one.
pub(super) fn token_hash(token: &str) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// Answers in the order of the questions; several may wait for one sync.
async fn talk(mut socket: Socket, mut link: Link, principal: PrincipalId, desk: &Arc<Desk>) {
    let (to_answer, mut answers) = mpsc::channel::<(RequestId, Answering)>(ASKED_MAX);
    loop {
        tokio::select! {
            // All that has come is taken before the first answer is waited for: it shares one sync.
            biased;
            bytes = next_frame(&mut socket) => {
                let Some(bytes) = bytes else { return };
                let Ok(event) = link.receive(&bytes) else { continue };
                let LinkEvent::Message(id, data) = event else { continue };
                let message = data.find(PROTOCOL).and_then(|entry| PeerMessage::decode(entry.data));
                let answering = begin(message, principal, desk).await;
                if to_answer.try_send((id, answering)).is_err() {
                    // More questions wait than may be asked: this is not one of ours.
                    return;
                }
            }
            Some((id, answering)) = answers.recv() => {
                let frame = frame(id, answering.finish().await);
                if socket.send(Message::Binary(frame.into())).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// An answer in the making.
enum Answering {
    Guarded(
        forebay_channel::GuardedLane,
        oneshot::Receiver<(forebay_quantity::Amount, Option<String>)>,
    ),
    Witnessed(oneshot::Receiver<Result<PeerMessage, String>>),
    Refused(String),
}

async fn begin(message: Option<PeerMessage>, principal: PrincipalId, desk: &Desk) -> Answering {
    match message {
        Some(PeerMessage::Guard {
            lane,
            amount,
            signature,
        }) => {
            let (answer, answered) = oneshot::channel();
            let input = Input::Guard {
                principal,
                lane,
                amount,
                signature,
                answer,
            };
            // Without a keeper the answer never comes, and the link ends with it.
            let _ = desk.inputs.send(input).await;
            Answering::Guarded(lane, answered)
        }
        Some(message @ (PeerMessage::HeadAsked { .. } | PeerMessage::HeadTold(_))) => {
            let (answer, answered) = oneshot::channel();
            // Without a keeper the answer never comes, and the link ends with it.
            let _ = desk.inputs.send(Input::Witness { message, answer }).await;
            Answering::Witnessed(answered)
        }
        Some(
            PeerMessage::Hello { .. }
            | PeerMessage::Terms(_)
            | PeerMessage::Voucher { .. }
            | PeerMessage::VoucherHeld { .. }
            | PeerMessage::Resume { .. }
            | PeerMessage::Resumed { .. }
            | PeerMessage::Guarded { .. }
            | PeerMessage::Held { .. }
            | PeerMessage::HeadKnown { .. }
            | PeerMessage::PacketsAsked { .. }
            | PeerMessage::PacketsUnknown { .. }
            | PeerMessage::LightningHello { .. }
            | PeerMessage::LightningTerms(_)
            | PeerMessage::InvoiceAsked { .. }
            | PeerMessage::InvoiceTold { .. },
        ) => Answering::Refused(
            "a watchtower guards vouchers and remembers heads, and no more".into(),
        ),
        None => Answering::Refused("not a forebay message of this version".into()),
    }
}

impl Answering {
    async fn finish(self) -> Result<PeerMessage, String> {
        match self {
            Self::Guarded(lane, answered) => {
                let (amount, refused) = answered.await.map_err(|_| ENDING)?;
                Ok(PeerMessage::Guarded {
                    lane,
                    amount,
                    refused,
                })
            }
            Self::Witnessed(answered) => answered.await.map_err(|_| ENDING)?,
            Self::Refused(why) => Err(why),
        }
    }
}

fn frame(id: RequestId, answer: Result<PeerMessage, String>) -> Vec<u8> {
    let mut frame = Vec::new();
    match answer {
        Ok(message) => {
            btp::encode_response(&mut frame, id, &[Entry::bytes(PROTOCOL, &message.encode())]);
        }
        Err(why) => btp::encode_error(&mut frame, id, ErrorKind::NotAccepted, wall::now(), &why)
            .expect("the clock is guarded"),
    }
    frame
}
