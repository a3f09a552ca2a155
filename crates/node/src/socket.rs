//! WebSocket connections under BTP links, accepted or dialled.

use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, accept_hdr_async_with_config, connect_async_with_config,
};

use forebay_ilp::btp::FRAME_SIZE_MAX;

/// Bytes of each socket's read buffer: some fifty packets a system call. The library fills all of it with zeros before each
/// read, which is dear on a thousand links whose buffers are in no cache.
const READ_BYTES: usize = 16 << 10;
/// Bytes that a socket's write buffer takes before they are written: some two hundred packets a system call.
const WRITE_BYTES: usize = 64 << 10;
/// A WebSocket handshake that takes longer is given up.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// The longest path that is kept of a request: an account name and the words around it.
const PATH_SIZE_MAX: usize = 256;

/// One WebSocket connection.
pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why there is no connection.
#[derive(Debug, Error)]
pub(crate) enum SocketFault {
    /// The peer was too slow.
    #[error("no WebSocket handshake within {HANDSHAKE_MAX:?}")]
    TooSlow,
    /// The library's own error.
    #[error(transparent)]
    WebSocket(#[from] Box<tokio_tungstenite::tungstenite::Error>),
}

fn settings() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_write_buffer_size(WRITE_BYTES + 2 * FRAME_SIZE_MAX)
        .max_message_size(Some(FRAME_SIZE_MAX))
        .max_frame_size(Some(FRAME_SIZE_MAX))
}

/// Completes the handshake of an accepted connection and says which path was asked for.
///
/// # Errors
/// [`SocketFault`].
pub(crate) async fn accept(stream: TcpStream) -> Result<(Socket, String), SocketFault> {
    let _ = stream.set_nodelay(true);
    let mut path = String::new();
    // The library fixes the type of a refusal, which is never made here.
    #[allow(clippy::result_large_err)]
    let keep_path = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        path = request.uri().path().chars().take(PATH_SIZE_MAX).collect();
        Ok(response)
    };
    let handshake =
        accept_hdr_async_with_config(MaybeTlsStream::Plain(stream), keep_path, Some(settings()));
    let socket = timeout(HANDSHAKE_MAX, handshake)
        .await
        .map_err(|_| SocketFault::TooSlow)?
        .map_err(Box::new)?;
    Ok((socket, path))
}

/// Dials `ws://` or `wss://`.
///
/// # Errors
/// [`SocketFault`].
pub(crate) async fn dial(url: &str) -> Result<Socket, SocketFault> {
    let handshake = connect_async_with_config(url, Some(settings()), true);
    let (socket, _) = timeout(HANDSHAKE_MAX, handshake)
        .await
        .map_err(|_| SocketFault::TooSlow)?
        .map_err(Box::new)?;
    Ok(socket)
}

/// Makes ring the one provider of TLS for everything in this process; asking again changes nothing.
pub(crate) fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
