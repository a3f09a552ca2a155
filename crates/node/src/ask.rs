//! A link on which this process only asks: the `forebay` messages of principals to watchtowers, and of pools to witnesses.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_channel::{PROTOCOL, PeerMessage};
use forebay_ilp::btp::{self, Entry, RequestId};
use forebay_ilp::{Link, LinkEvent};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::socket::{self, Socket};

/// How long the other side may take for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Messages that wait for their answers at a time.
pub(crate) const ASKED_MAX: usize = 64;
/// Request ids of messages lie above those of packets; there are none here, but who reads a trace knows them by it.
const MESSAGES_FROM: u32 = 0x8000_0000;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskFault {
    /// It cannot be reached, or does not let us in.
    #[error("{0}")]
    NotReached(String),
    /// It did not answer in time, or hung up.
    #[error("it closed the connection, or does not answer")]
    NoAnswer,
    /// It answered with an error, or with something else than a message.
    #[error("it refused: {0}")]
    Refused(String),
}

/// An authenticated link to somebody who answers.
pub(crate) struct Asker {
    socket: Socket,
    link: Link,
    last: u32,
}

impl Asker {
    /// Dials and authenticates.
    ///
    /// # Errors
    /// [`AskFault`].
    pub(crate) async fn dial(
        url: &str,
        username: Option<&str>,
        token: &str,
    ) -> Result<Self, AskFault> {
        let (socket, link) = timeout(ANSWER_MAX, dial(url, username, token))
            .await
            .map_err(|_| AskFault::NoAnswer)?
            .map_err(AskFault::NotReached)?;
        Ok(Self {
            socket,
            link,
            last: 0,
        })
    }

    /// Takes in somebody who dials, and whom `admit` knows by name and token; then it is this side that asks.
    pub(crate) async fn accept<T>(
        stream: TcpStream,
        admit: impl FnOnce(Option<&str>, &str) -> Option<T>,
    ) -> Option<(Self, T)> {
        let (mut socket, _) = socket::accept(stream).await.ok()?;
        let mut link = Link::server();
        let bytes = next_frame(&mut socket).await?;
        let LinkEvent::AuthRequested { username, token } = link.receive(&bytes).ok()? else {
            return None;
        };
        let admitted = admit(username, token)?;
        let mut frame = Vec::new();
        link.accept(&mut frame);
        socket.send(Message::Binary(frame.into())).await.ok()?;
        let asker = Self {
            socket,
            link,
            last: 0,
        };
        Some((asker, admitted))
    }

    /// Sends one message and waits for its answer.
    ///
    /// # Errors
    /// [`AskFault`]; after all but [`AskFault::Refused`] the link is of no more use.
    pub(crate) async fn ask(&mut self, message: &PeerMessage) -> Result<PeerMessage, AskFault> {
        let mut answers = self.ask_all(std::slice::from_ref(message)).await?;
        answers
            .pop()
            .expect("each message asked has its answer, or a fault was given")
    }

    /// Sends messages, at most [`ASKED_MAX`], and waits for the answers, which come in the messages' order.
    ///
    /// # Errors
    /// [`AskFault`], after which the link is of no more use; single refusals are among the answers.
    pub(crate) async fn ask_all(
        &mut self,
        messages: &[PeerMessage],
    ) -> Result<Vec<Result<PeerMessage, AskFault>>, AskFault> {
        assert!(messages.len() <= ASKED_MAX, "[I12] asked within the bound");
        timeout(ANSWER_MAX, self.exchange(messages))
            .await
            .map_err(|_| AskFault::NoAnswer)?
    }

    async fn exchange(
        &mut self,
        messages: &[PeerMessage],
    ) -> Result<Vec<Result<PeerMessage, AskFault>>, AskFault> {
        let mut waiting = BTreeMap::new();
        for (place, message) in messages.iter().enumerate() {
            self.last = self.last.wrapping_add(1) & !MESSAGES_FROM;
            let id = MESSAGES_FROM | self.last;
            waiting.insert(id, place);
            let mut frame = Vec::new();
            let bytes = message.encode();
            btp::encode_message(&mut frame, RequestId(id), &[Entry::bytes(PROTOCOL, &bytes)]);
            let fed = self.socket.feed(Message::Binary(frame.into())).await;
            fed.map_err(|_| AskFault::NoAnswer)?;
        }
        self.socket.flush().await.map_err(|_| AskFault::NoAnswer)?;
        let mut answers: Vec<_> = messages.iter().map(|_| Err(AskFault::NoAnswer)).collect();
        while !waiting.is_empty() {
            let bytes = next_frame(&mut self.socket)
                .await
                .ok_or(AskFault::NoAnswer)?;
            let Ok(event) = self.link.receive(&bytes) else {
                continue;
            };
            let (id, answer) = match event {
                LinkEvent::Response(id, data) => {
                    let message = data
                        .find(PROTOCOL)
                        .and_then(|entry| PeerMessage::decode(entry.data));
                    let empty = || AskFault::Refused("the answer holds no message".into());
                    (id, message.ok_or_else(empty))
                }
                LinkEvent::Error(id, body) => {
                    let text = String::from_utf8_lossy(body.data).into_owned();
                    (id, Err(AskFault::Refused(text)))
                }
                _ => continue,
            };
            if let Some(place) = waiting.remove(&id.0) {
                answers[place] = answer;
            }
        }
        Ok(answers)
    }

    /// Waits until the other side hangs up or says something unasked.
    pub(crate) async fn lost(&mut self) {
        while let Some(Ok(message)) = self.socket.next().await {
            if matches!(message, Message::Close(_)) {
                return;
            }
        }
    }
}

/// The next binary message; `None` when the socket has ended.
pub(crate) async fn next_frame(socket: &mut Socket) -> Option<Bytes> {
    loop {
        match socket.next().await?.ok()? {
            Message::Binary(bytes) => return Some(bytes),
            Message::Close(_) => return None,
            Message::Ping(_) | Message::Pong(_) | Message::Text(_) | Message::Frame(_) => {}
        }
    }
}

async fn dial(url: &str, username: Option<&str>, token: &str) -> Result<(Socket, Link), String> {
    let mut socket = socket::dial(url).await.map_err(|fault| fault.to_string())?;
    let mut link = Link::client();
    let mut frame = Vec::new();
    link.start(&mut frame, RequestId(u32::MAX), username, token);
    let sent = socket.send(Message::Binary(frame.into())).await;
    sent.map_err(|error| error.to_string())?;
    let bytes = next_frame(&mut socket)
        .await
        .ok_or("it closed the connection")?;
    match link.receive(&bytes) {
        Ok(LinkEvent::Authenticated) => Ok((socket, link)),
        Ok(LinkEvent::AuthRefused(error)) => Err(format!(
            "it refused the token: {}",
            String::from_utf8_lossy(error.data)
        )),
        Ok(_) | Err(_) => Err("it did not answer the auth message".into()),
    }
}
