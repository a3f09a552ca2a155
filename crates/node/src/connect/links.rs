//! The two BTP links: sockets and authentication here, what frames mean in the core's thread.

use std::time::Duration;

use forebay_ilp::btp::RequestId;
use forebay_ilp::{Link, LinkEvent};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tracing::{info, warn};

use super::config::Pool;
use super::shell::{Input, Inputs};
use crate::socket::{self, Socket};
use crate::wall;

const AUTH_MAX: Duration = Duration::from_secs(10);
/// The pool restarts within seconds, and our software's packets wait for it.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Frames that wait for a socket; a neighbour that reads slower than this is dropped.
pub(super) const FRAMES_MAX: usize = 16_384;

/// Which side a link leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Pool,
    Software,
}

/// Keeps a link to the pool, with growing pauses.
pub(super) async fn keep_pool(pool: Pool, inputs: Inputs) {
    let mut pause = PAUSE_FIRST;
    loop {
        match timeout(AUTH_MAX, dial(&pool)).await {
            Ok(Ok((socket, link))) => {
                pause = PAUSE_FIRST;
                carry(socket, link, Side::Pool, &inputs).await;
            }
            Ok(Err(why)) => info!(url = %pool.url, "the pool is not connected: {why}"),
            Err(_) => info!(url = %pool.url, "the pool does not answer"),
        }
        if inputs.is_closed() {
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn dial(pool: &Pool) -> Result<(Socket, Link), String> {
    let mut socket = socket::dial(&pool.url)
        .await
        .map_err(|fault| fault.to_string())?;
    let mut link = Link::client();
    let mut frame = Vec::new();
    link.start(
        &mut frame,
        RequestId(u32::MAX),
        pool.username.as_deref(),
        &pool.token,
    );
    socket
        .send(Message::Binary(frame.into()))
        .await
        .map_err(|error| error.to_string())?;
    loop {
        let message = socket.next().await.ok_or("it closed the connection")?;
        let Message::Binary(bytes) = message.map_err(|error| error.to_string())? else {
            continue;
        };
        match link.receive(&bytes) {
            Ok(LinkEvent::Authenticated) => return Ok((socket, link)),
            Ok(LinkEvent::AuthRefused(error)) => {
                return Err(format!(
                    "it refused the token: {}",
                    String::from_utf8_lossy(error.data)
                ));
            }
            Ok(_) | Err(_) => return Err("it did not answer the auth message".into()),
        }
    }
}

/// Lets the peer's own software in, one link at a time: a newer one replaces the older.
pub(super) async fn serve_software(listener: TcpListener, token: String, inputs: Inputs) {
    while let Ok((stream, _)) = listener.accept().await {
        let (token, inputs) = (token.clone(), inputs.clone());
        tokio::spawn(async move {
            let Ok((socket, _)) = socket::accept(stream).await else {
                return;
            };
            match timeout(AUTH_MAX, admit(socket, &token)).await {
                Ok(Some((socket, link))) => carry(socket, link, Side::Software, &inputs).await,
                Ok(None) => warn!("a connection to the software's port showed no valid token"),
                Err(_) => info!("a connection to the software's port did not authenticate in time"),
            }
        });
    }
}

async fn admit(mut socket: Socket, token: &str) -> Option<(Socket, Link)> {
    let mut link = Link::server();
    loop {
        let Message::Binary(bytes) = socket.next().await?.ok()? else {
            continue;
        };
        let LinkEvent::AuthRequested { token: shown, .. } = link.receive(&bytes).ok()? else {
            return None;
        };
        let mut frame = Vec::new();
        let genuine = is_same(shown, token);
        if genuine {
            link.accept(&mut frame);
        } else {
            link.refuse(&mut frame, wall::now(), "wrong token").ok()?;
        }
        socket.send(Message::Binary(frame.into())).await.ok()?;
        return genuine.then_some((socket, link));
    }
}

/// Compares without telling by its time how much was right.
fn is_same(shown: &str, token: &str) -> bool {
    let differences = shown
        .bytes()
        .zip(token.bytes())
        .fold(0, |sum, (a, b)| sum | (a ^ b));
    shown.len() == token.len() && differences == 0
}

/// Carries frames both ways until the link ends.
async fn carry(socket: Socket, link: Link, side: Side, inputs: &Inputs) {
    let (sender, mut frames) = mpsc::channel::<Vec<u8>>(FRAMES_MAX);
    let (open, dropped) = oneshot::channel();
    let generation = inputs.next_generation();
    if inputs
        .give(Input::Up {
            side,
            generation,
            link,
            frames: sender,
            open,
        })
        .is_err()
    {
        return;
    }
    let (mut write, mut read) = socket.split();
    let reading = async {
        while let Some(Ok(message)) = read.next().await {
            match message {
                Message::Binary(bytes) => {
                    if inputs
                        .give(Input::Frame {
                            side,
                            generation,
                            bytes,
                        })
                        .is_err()
                    {
                        return;
                    }
                }
                Message::Close(_) => return,
                Message::Ping(_) | Message::Pong(_) | Message::Text(_) | Message::Frame(_) => {}
            }
        }
    };
    let writing = async {
        while let Some(first) = frames.recv().await {
            if write
                .feed(Message::Binary(Bytes::from(first)))
                .await
                .is_err()
            {
                return;
            }
            while let Ok(next) = frames.try_recv() {
                if write
                    .feed(Message::Binary(Bytes::from(next)))
                    .await
                    .is_err()
                {
                    return;
                }
            }
            if write.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
        _ = dropped => {}
    }
    // The core's thread may have ended, and then nobody needs to know.
    let _ = inputs.give(Input::Down { side, generation });
}
