//! `forebay bench http`: packets by HTTP (RFC 35), and reads of the operator's interface.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use forebay_ilp::PacketType;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet, spawn_local};
use tokio::time::timeout;

use super::exchange::Exchange;
use super::generator::{Receiver, micros, now, with_prepare};
use super::host::{Host, Scratch};
use super::latency::{Latency, each, per_second};
use super::process::PoolProcess;
use crate::output;

/// Requests under way: as many connections as the operator's interface takes at a time, of which one is kept free.
const WINDOW_MAX: u32 = 255;
/// A packet that asks for a call back is remembered until it expires, and not too many are: so these are short.
const CALLED_TTL_MS: u64 = 2_500;
/// Tokens that take turns in reading: each may ask a hundred times a second, and 400 times at once. The operator's own
/// makes them all at once.
const TOKENS: usize = 390;
/// An answer that does not come.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_millis(300);

/// Measures what goes by HTTP.
#[derive(Debug, Args)]
pub(crate) struct Http {
    /// Requests under way, each on a connection of its own; one run for each number.
    #[arg(long = "window", value_delimiter = ',', default_values_t = [1, 16, 64, 255])]
    windows: Vec<u32>,
    /// How long each run takes.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// A folder on a real disk; the journal is made in it and removed afterwards.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Report {
    runs: Vec<Run>,
    #[serde(flatten)]
    host: Host,
    conditions: &'static str,
}

/// One run.
#[derive(Debug, Serialize)]
struct Run {
    what: &'static str,
    window: u32,
    requests: u64,
    requests_per_second: u64,
    #[serde(flatten)]
    latency: Latency,
    cpu_us_per_request: f64,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A prepare, answered in the response.
    Sync,
    /// A prepare, answered by a request to the sender.
    Async,
    /// A page of the operator's interface.
    Read(&'static str),
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Sync,
        Self::Async,
        Self::Read(forebay_api::STATUS),
        Self::Read(forebay_api::BOOKS),
        Self::Read(forebay_api::PEERS),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Sync => "prepare, sync",
            Self::Async => "prepare, async",
            Self::Read(path) => path,
        }
    }
}

const CONDITIONS: &str = "HTTP/1.1 over loopback, one request at a time on each connection; prepares of 200 B of data, BTC/8 to ETH/9, all fulfilled \
    by a receiver on BTP, synced before anything leaves; reads with tokens, each within its limit of 100 a second";

impl Http {
    pub(super) fn run(self, json: bool) -> Result<()> {
        ensure!(
            self.windows
                .iter()
                .all(|window| (1..=WINDOW_MAX).contains(window)),
            "1 to {WINDOW_MAX} requests under way"
        );
        let host = Host::look(&self.folder)?;
        let scratch = Scratch::new(&self.folder)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let measuring = self.measure(scratch.path());
        let report = Report {
            runs: LocalSet::new().block_on(&runtime, measuring)?,
            host,
            conditions: CONDITIONS,
        };
        output::show(json, &report, print)
    }

    async fn measure(&self, folder: &Path) -> Result<Vec<Run>> {
        let callbacks = Callbacks::listen().await?;
        let url = format!("http://{}/", callbacks.address);
        let mut pool = PoolProcess::start_with(folder, &["--sender-url".into(), url])?;
        let receiver = Receiver::connect(pool.address(), "receiver")?;
        let receiving = std::thread::spawn(move || receiver.run());
        let http = pool.listening().http.context("the pool serves HTTP")?;
        let admin = pool.listening().admin;
        let load = Load {
            http,
            admin,
            tokens: make_tokens(admin, folder).await?,
            turn: Cell::new(0),
            callbacks,
        };
        let load = Rc::new(load);
        let mut runs = Vec::new();
        for kind in Kind::ALL {
            for &window in &self.windows {
                load.run(kind, window, WARM_UP).await?;
                let before = pool.figures()?.cpu_us;
                let began = Instant::now();
                let span = Duration::from_secs(self.seconds);
                let mut latencies_us = load.run(kind, window, span).await?;
                let elapsed_us = began.elapsed().as_micros();
                let cpu_us = pool.figures()?.cpu_us - before;
                let requests = u64::try_from(latencies_us.len())?;
                runs.push(Run {
                    what: kind.name(),
                    window,
                    requests,
                    requests_per_second: per_second(requests, elapsed_us),
                    latency: Latency::of(&mut latencies_us),
                    cpu_us_per_request: each(cpu_us, requests),
                });
            }
        }
        pool.end()?;
        // The pool closed its link, which ends it.
        let _ = receiving.join();
        Ok(runs)
    }
}

/// Where requests go, and what they need.
struct Load {
    http: SocketAddr,
    admin: SocketAddr,
    tokens: Vec<String>,
    /// Reads so far.
    turn: Cell<usize>,
    callbacks: Callbacks,
}

impl Load {
    /// `window` connections ask for `span`; how long each request took, in microseconds.
    async fn run(self: &Rc<Self>, kind: Kind, window: u32, span: Duration) -> Result<Vec<u32>> {
        let until = Instant::now() + span;
        let mut asking = JoinSet::new();
        for _ in 0..window {
            let load = Rc::clone(self);
            asking.spawn_local(async move { load.ask_until(kind, until).await });
        }
        let mut all = Vec::new();
        while let Some(asked) = asking.join_next().await {
            all.extend(asked??);
        }
        ensure!(!all.is_empty(), "nothing was answered");
        Ok(all)
    }

    async fn ask_until(&self, kind: Kind, until: Instant) -> Result<Vec<u32>> {
        let address = match kind {
            Kind::Sync | Kind::Async => self.http,
            Kind::Read(_) => self.admin,
        };
        let mut exchange = Exchange::open(address).await?;
        let mut latencies_us = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            let asked = async {
                match kind {
                    Kind::Sync => prepare(&mut exchange).await,
                    Kind::Async => self.prepare_and_wait(&mut exchange).await,
                    Kind::Read(path) => self.read(&mut exchange, path).await,
                }
            };
            let asked = timeout(SILENCE_MAX, asked).await;
            asked.context("no answer in time")??;
            latencies_us.push(micros(began.elapsed()));
        }
        Ok(latencies_us)
    }

    async fn read(&self, exchange: &mut Exchange, path: &str) -> Result<()> {
        let token = &self.tokens[self.turn.get()];
        self.turn.set((self.turn.get() + 1) % self.tokens.len());
        let headers = format!("authorization: Bearer {token}\r\n");
        let answer = exchange.ask("GET", path, &headers, b"").await?;
        ensure!(answer.status() == "200", "{path}: {answer:?}");
        Ok(())
    }

    async fn prepare_and_wait(&self, exchange: &mut Exchange) -> Result<()> {
        let (id, called) = self.callbacks.expect();
        let url = self.callbacks.address;
        let headers = format!(
            "{PACKET_HEADERS}request-id: {id}\r\ncallback-url: http://{url}/\r\nprefer: respond-async\r\n"
        );
        let body = packet(Some(CALLED_TTL_MS))?;
        let answer = exchange.ask("POST", "/", &headers, &body).await?;
        ensure!(answer.status() == "202", "{answer:?}");
        must_fulfill(&called.await?)
    }
}

const PACKET_HEADERS: &str =
    "authorization: Bearer sender\r\ncontent-type: application/octet-stream\r\n";

async fn prepare(exchange: &mut Exchange) -> Result<()> {
    let body = packet(None)?;
    let answer = exchange.ask("POST", "/", PACKET_HEADERS, &body).await?;
    ensure!(answer.status() == "200", "{answer:?}");
    must_fulfill(&answer.body)
}

/// A prepare's bytes, with the generator's lifetime or another.
fn packet(ttl_ms: Option<u64>) -> Result<Vec<u8>> {
    with_prepare(|prepare| {
        let mut prepare = *prepare;
        if let Some(ttl_ms) = ttl_ms {
            prepare.expires_at.0 = now().0 + ttl_ms;
        }
        let mut body = Vec::new();
        prepare.encode(&mut body)?;
        Ok(body)
    })
}

fn must_fulfill(packet: &[u8]) -> Result<()> {
    match PacketType::of(packet) {
        Some(PacketType::Fulfill) => Ok(()),
        _ => bail!(
            "a packet was not fulfilled: {:?}",
            forebay_ilp::RejectView::parse(packet)
        ),
    }
}

/// Where the pool calls back, and who waits for that.
struct Callbacks {
    address: SocketAddr,
    waiting: Rc<RefCell<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    by_id: HashMap<String, oneshot::Sender<Vec<u8>>>,
}

impl Callbacks {
    async fn listen() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let waiting = Rc::new(RefCell::new(Waiting::default()));
        let everybody = Rc::clone(&waiting);
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let waiting = Rc::clone(&everybody);
                // A call that breaks off leaves its request without an answer, which says so.
                spawn_local(async move { take_calls(stream, &waiting).await });
            }
        });
        Ok(Self { address, waiting })
    }

    /// A new request's id, and its answer to come.
    fn expect(&self) -> (String, oneshot::Receiver<Vec<u8>>) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.next += 1;
        let id = format!("00000000-0000-4000-8000-{:012x}", waiting.next);
        let (sender, receiver) = oneshot::channel();
        waiting.by_id.insert(id.clone(), sender);
        (id, receiver)
    }
}

async fn take_calls(stream: tokio::net::TcpStream, waiting: &RefCell<Waiting>) -> Result<()> {
    let mut exchange = Exchange::on(stream)?;
    while let Some(call) = exchange.read().await? {
        let id = call.header("request-id").context("an answer to nothing")?;
        let waits = waiting.borrow_mut().by_id.remove(id);
        if let Some(waits) = waits {
            // The run may have ended.
            let _ = waits.send(call.body);
        }
        exchange.confirm().await?;
    }
    Ok(())
}

/// Makes tokens that may read everything, with the operator's own first one.
async fn make_tokens(admin: SocketAddr, folder: &Path) -> Result<Vec<String>> {
    let first = std::fs::read_to_string(folder.join("admin.token"))?;
    let mut exchange = Exchange::open(admin).await?;
    let mut tokens = Vec::new();
    for number in 0..TOKENS {
        let token = format!("{number:032}");
        let headers = format!(
            "authorization: Bearer {}\r\ncontent-type: application/json\r\nidempotency-key: {number:032x}\r\n",
            first.trim()
        );
        let asked = serde_json::json!({ "name": format!("reader-{number}"), "role": "read", "token": token });
        let body = asked.to_string();
        let answer = exchange
            .ask("POST", forebay_api::TOKENS, &headers, body.as_bytes())
            .await?;
        let made = answer.status().starts_with('2');
        ensure!(
            made,
            "{answer:?}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        tokens.push(token);
    }
    Ok(tokens)
}

fn print(report: &Report) {
    let [p50, p99, p999] = Latency::HEADS;
    let heads = ["", "window", "requests/s", p50, p99, p999, "CPU µs/request"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(report.runs.iter().map(|run| {
        let mut cells = vec![
            run.what.to_owned(),
            run.window.to_string(),
            run.requests_per_second.to_string(),
        ];
        cells.extend(run.latency.cells());
        cells.push(run.cpu_us_per_request.to_string());
        cells
    }));
    output::table(&rows);
    report.host.print();
    println!("{}", report.conditions);
}
