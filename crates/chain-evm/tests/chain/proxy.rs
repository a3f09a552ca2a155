//! A node that misbehaves: it stands before anvil, and refuses or loses what it is told to.

use std::collections::HashMap;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU8, Ordering},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What happens to a transaction that is sent through, or to every question.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Manner {
    Honest = 0,
    /// Refuses it.
    Refuses = 1,
    /// Passes it on, and hangs up instead of saying so.
    LosesAnswers = 2,
    /// Answers everything with a page for people.
    TalksHtml = 3,
    /// Answers everything with nothing, in JSON.
    TalksNull = 4,
    /// Answers everything with JSON that is not of the shape asked for.
    TalksWrongShapes = 5,
    /// Takes every question and answers none.
    Hangs = 6,
    /// Answers as it did before it began to lag, whatever it was asked then.
    Lags = 7,
}

impl Manner {
    const ALL: [Self; 8] = [
        Self::Honest,
        Self::Refuses,
        Self::LosesAnswers,
        Self::TalksHtml,
        Self::TalksNull,
        Self::TalksWrongShapes,
        Self::Hangs,
        Self::Lags,
    ];
}

/// Results by method and parameters.
type Memory = Arc<Mutex<HashMap<String, serde_json::Value>>>;

/// Longer than anybody waits.
const HANG: std::time::Duration = std::time::Duration::from_secs(60);

pub(crate) struct Proxy {
    pub(crate) url: String,
    manner: Arc<AtomicU8>,
}

impl Proxy {
    pub(crate) async fn before(node: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let manner = Arc::new(AtomicU8::new(0));
        let (node, shared, memory) = (node.to_owned(), manner.clone(), Memory::default());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, node.clone(), shared.clone(), memory.clone()));
            }
        });
        Self { url, manner }
    }

    pub(crate) fn becomes(&self, manner: Manner) {
        self.manner.store(manner as u8, Ordering::SeqCst);
    }
}

async fn serve(mut stream: TcpStream, node: String, manner: Arc<AtomicU8>, memory: Memory) {
    let client = reqwest::Client::new();
    while let Some(body) = read_request(&mut stream).await {
        let manner = Manner::ALL[usize::from(manner.load(Ordering::SeqCst))];
        let sends = body.contains("eth_sendRawTransaction");
        let request: serde_json::Value = serde_json::from_str(&body).expect("JSON-RPC");
        let reply = |part: &str, value: serde_json::Value| {
            serde_json::json!({"jsonrpc": "2.0", "id": request["id"], part: value}).to_string()
        };
        let key = format!("{} {}", request["method"], request["params"]);
        let remembered = memory.lock().expect("unbroken").get(&key).cloned();
        let answer = match (manner, remembered) {
            (Manner::Refuses, _) if sends => reply(
                "error",
                serde_json::json!({"code": -32000, "message": "not today"}),
            ),
            (Manner::TalksHtml, _) => "<html><body>502 Bad Gateway</body></html>".to_owned(),
            (Manner::TalksNull, _) => reply("result", serde_json::Value::Null),
            (Manner::TalksWrongShapes, _) => {
                reply("result", serde_json::json!([{"number": "NaN"}]))
            }
            (Manner::Hangs, _) => {
                tokio::time::sleep(HANG).await;
                return;
            }
            (Manner::Lags, Some(result)) => reply("result", result),
            (Manner::Honest | Manner::Refuses | Manner::LosesAnswers | Manner::Lags, _) => {
                let answer = ask(&client, &node, body).await;
                let parsed: serde_json::Value = serde_json::from_str(&answer).expect("JSON-RPC");
                if let Some(result) = parsed.get("result") {
                    let mut memory = memory.lock().expect("unbroken");
                    memory.insert(key, result.clone());
                }
                answer
            }
        };
        if manner == Manner::LosesAnswers && sends {
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

async fn ask(client: &reqwest::Client, node: &str, body: String) -> String {
    let request = client
        .post(node)
        .header("content-type", "application/json")
        .body(body);
    let answer = request.send().await.expect("anvil answers");
    answer.text().await.expect("in text")
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
