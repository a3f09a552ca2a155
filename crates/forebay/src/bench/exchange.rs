//! The least of HTTP/1.1 that a load needs: requests and responses with a known length, one after the other on a
//! connection that stays open.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A head and its body are shorter than this, or they are none of ours.
const SIZE_MAX: usize = 4 << 20;

/// One connection, at either end.
pub(super) struct Exchange {
    stream: TcpStream,
    input: Vec<u8>,
}

/// A request or response that was read.
#[derive(Debug)]
pub(super) struct Message {
    head: String,
    pub(super) body: Vec<u8>,
}

impl Exchange {
    pub(super) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        Self::on(stream)
    }

    pub(super) fn on(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        let input = Vec::new();
        Ok(Self { stream, input })
    }

    /// Sends a request with these further header lines, and reads the response.
    pub(super) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<Message> {
        let size = body.len();
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: pool\r\ncontent-length: {size}\r\n{headers}\r\n"
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).await?;
        self.read().await?.context("the pool hung up")
    }

    /// Answers a request with nothing but yes.
    pub(super) async fn confirm(&mut self) -> Result<()> {
        let response = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        Ok(self.stream.write_all(response).await?)
    }

    /// The next message; `None` once the other end has hung up.
    pub(super) async fn read(&mut self) -> Result<Option<Message>> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            ensure!(self.input.len() < SIZE_MAX, "a message without an end");
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn take(&mut self) -> Result<Option<Message>> {
        let end = self.input.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(head_size) = end.map(|end| end + 4) else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&self.input[..head_size]).into_owned();
        let mut message = Message {
            head,
            body: Vec::new(),
        };
        let size = match message.header("content-length") {
            Some(size) => size.parse()?,
            None => 0,
        };
        if self.input.len() < head_size + size {
            return Ok(None);
        }
        message.body = self.input[head_size..head_size + size].to_vec();
        self.input.drain(..head_size + size);
        Ok(Some(message))
    }
}

impl Message {
    /// The status of a response.
    pub(super) fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// A header's value; `name` in small letters.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.split("\r\n").skip(1);
        let mut pairs = lines.filter_map(|line| line.split_once(':'));
        let (_, value) = pairs.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(value.trim())
    }
}
