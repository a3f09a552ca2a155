//! Just so much of HTTP and of Esplora's API as our client asks for, answered out of a bitcoind, or falsely.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use forebay_chain_bitcoin::bitcoind::{Bitcoind, BitcoindSettings};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::answer;

/// An answer: its status, headers besides the usual ones, and its body.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: String::new(),
            body: body.into(),
        }
    }
}

/// Makes another answer of a true one to a path.
type Lie = Box<dyn Fn(&str, Reply) -> Reply + Send>;

struct Shared {
    bitcoind: Mutex<Arc<Bitcoind>>,
    lie: Mutex<Option<Lie>>,
    asked: Mutex<Vec<String>>,
}

pub(crate) struct Gateway {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

impl Gateway {
    pub(crate) async fn start(bitcoind: BitcoindSettings) -> Self {
        let shared = Arc::new(Shared {
            bitcoind: Mutex::new(Arc::new(super::bitcoind(bitcoind))),
            lie: Mutex::new(None),
            asked: Mutex::new(Vec::new()),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let task = Some(tokio::spawn(serve(listener, Arc::clone(&shared))));
        Self {
            address,
            shared,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // It ends with the error that it was aborted.
            let _ = task.await;
        }
    }

    pub(crate) async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("our port");
        self.task = Some(tokio::spawn(serve(listener, Arc::clone(&self.shared))));
    }

    /// Answers out of another bitcoind from now on.
    pub(crate) fn put_before(&self, bitcoind: BitcoindSettings) {
        *self.shared.bitcoind.lock().expect("lock") = Arc::new(super::bitcoind(bitcoind));
    }

    /// Answers so from now on.
    pub(crate) fn lie(&self, lie: impl Fn(&str, Reply) -> Reply + Send + 'static) {
        *self.shared.lie.lock().expect("lock") = Some(Box::new(lie));
    }

    pub(crate) fn tell_the_truth(&self) {
        *self.shared.lie.lock().expect("lock") = None;
    }

    /// The paths asked for since this was asked last.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.asked.lock().expect("lock"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // They end with this task.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(speak(stream, Arc::clone(&shared)));
    }
}

/// Until the client goes away.
async fn speak(stream: TcpStream, shared: Arc<Shared>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (method, path, body) = read(&mut stream).await?;
        shared.asked.lock().expect("lock").push(path.clone());
        let bitcoind = Arc::clone(&*shared.bitcoind.lock().expect("lock"));
        let mut reply = answer::to(&bitcoind, &method, &path, &body).await;
        if let Some(lie) = &*shared.lie.lock().expect("lock") {
            reply = lie(&path, reply);
        }
        let head = format!(
            "HTTP/1.1 {} x\r\ncontent-length: {}\r\n{}\r\n",
            reply.status,
            reply.body.len(),
            reply.headers
        );
        stream.write_all(head.as_bytes()).await.ok()?;
        stream.write_all(&reply.body).await.ok()?;
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<(String, String, String)> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut length = 0;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((method, path, String::from_utf8(body).ok()?))
}
