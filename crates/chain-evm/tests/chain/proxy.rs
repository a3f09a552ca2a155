//! A node that misbehaves: it stands before anvil, and refuses or loses what it is told to.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What happens to a transaction that is sent through.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Manner {
    Honest = 0,
    /// Refuses it.
    Refuses = 1,
    /// Passes it on, and hangs up instead of saying so.
    LosesAnswers = 2,
}

pub(crate) struct Proxy {
    pub(crate) url: String,
    manner: Arc<AtomicU8>,
}

impl Proxy {
    pub(crate) async fn before(node: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let manner = Arc::new(AtomicU8::new(0));
        let (node, shared) = (node.to_owned(), manner.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, node.clone(), shared.clone()));
            }
        });
        Self { url, manner }
    }

    pub(crate) fn becomes(&self, manner: Manner) {
        self.manner.store(manner as u8, Ordering::SeqCst);
    }
}

async fn serve(mut stream: TcpStream, node: String, manner: Arc<AtomicU8>) {
    let client = reqwest::Client::new();
    while let Some(body) = read_request(&mut stream).await {
        let sends = body.contains("eth_sendRawTransaction");
        let manner = if sends {
            manner.load(Ordering::SeqCst)
        } else {
            0
        };
        let answer = if manner == Manner::Refuses as u8 {
            let request: serde_json::Value = serde_json::from_str(&body).expect("JSON-RPC");
            let error = serde_json::json!({"code": -32000, "message": "not today"});
            serde_json::json!({"jsonrpc": "2.0", "id": request["id"], "error": error}).to_string()
        } else {
            let request = client
                .post(&node)
                .header("content-type", "application/json")
                .body(body);
            request
                .send()
                .await
                .expect("anvil answers")
                .text()
                .await
                .expect("in text")
        };
        if manner == Manner::LosesAnswers as u8 {
            return;
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        if stream.write_all((head + &answer).as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4_096];
        let read = stream
            .read(&mut chunk)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.to_lowercase();
        let length = length
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))?;
        if body.len() >= length.trim().parse::<usize>().ok()? {
            return Some(body.to_owned());
        }
    }
}
