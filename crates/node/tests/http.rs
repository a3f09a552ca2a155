//! Packets over real HTTP, both ways, answered in the response or by a request.
#![allow(clippy::unwrap_used)]

mod common;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use common::*;
use forebay_ilp::{Address, ErrorCode, FulfillView, PacketView, PrepareView, RejectView, ildcp};
use forebay_node::{Config, HttpMode, HttpUplink, Node, RunningNode};
use forebay_quantity::Timestamp;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use reqwest::StatusCode;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

const OCTETS: &str = "application/octet-stream";

/// A request that came to a peer's own server, and the place of its answer.
struct Came {
    headers: HeaderMap,
    body: Vec<u8>,
    answer: oneshot::Sender<(u16, Vec<u8>)>,
}

impl Came {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }
}

/// A peer's own HTTP server.
struct Server {
    address: SocketAddr,
    came: mpsc::UnboundedReceiver<Came>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, came) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                let service = service_fn(move |request| take(request, sender.clone()));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move {
                    let _ = connection.await;
                });
            }
        });
        Self { address, came }
    }

    fn url(&self) -> String {
        format!("http://{}/ilp", self.address)
    }

    async fn next(&mut self) -> Came {
        let next = tokio::time::timeout(Duration::from_secs(5), self.came.recv());
        next.await
            .expect("a request comes within five seconds")
            .unwrap()
    }
}

async fn take(
    request: Request<Incoming>,
    sender: mpsc::UnboundedSender<Came>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let headers = request.headers().clone();
    let body = request
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes()
        .to_vec();
    let (answer, answered) = oneshot::channel();
    let _ = sender.send(Came {
        headers,
        body,
        answer,
    });
    let (status, body) = answered.await.unwrap_or((500, Vec::new()));
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
    Ok(response)
}

/// A pool with Alice and Bob that takes packets by HTTP, and calls those named here.
async fn pool(folder: &Path, uplinks: Vec<HttpUplink>) -> RunningNode {
    let port = free_port();
    let config = Config {
        http_listen: Some(SocketAddr::from(([127, 0, 0, 1], port))),
        http_url: Some(format!("http://127.0.0.1:{port}/ilp")),
        http_uplinks: uplinks,
        ..config(folder)
    };
    config.check().unwrap();
    let node = Node::start(config, keys()).await.unwrap();
    fund(node.core()).await;
    node
}

fn uplink(peer: &str, server: &Server, mode: HttpMode) -> HttpUplink {
    HttpUplink {
        peer: peer.into(),
        url: server.url(),
        token: format!("{peer} knows us by this"),
        mode,
    }
}

/// Waits until the pool has a line to the peer.
async fn connected(node: &RunningNode, peer: forebay_quantity::PeerId) {
    for _ in 0..200 {
        if node.figures().connected.clone_set().contains(&peer) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no line to {peer:?} after ten seconds");
}

fn prepare(to: &str, amount: u64, ttl_ms: u64) -> Vec<u8> {
    let condition: [u8; 32] = Sha256::digest(PREIMAGE).into();
    let view = PrepareView {
        amount,
        expires_at: Timestamp(now().0 + ttl_ms),
        condition: &condition,
        destination: Address::parse(to.as_bytes()).unwrap(),
        data: b"hello",
    };
    let mut packet = Vec::new();
    view.encode(&mut packet).unwrap();
    packet
}

fn fulfill(data: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    FulfillView {
        fulfillment: &PREIMAGE,
        data,
    }
    .encode(&mut packet)
    .unwrap();
    packet
}

fn is_fulfilled(packet: &[u8], data: &[u8]) -> bool {
    let expected = FulfillView {
        fulfillment: &PREIMAGE,
        data,
    };
    PacketView::parse(packet) == Ok(PacketView::Fulfill(expected))
}

fn code(packet: &[u8]) -> ErrorCode {
    RejectView::parse(packet).unwrap().code
}

struct Caller {
    client: reqwest::Client,
    url: String,
}

impl Caller {
    fn new(node: &RunningNode) -> Self {
        let url = format!("http://{}/any/path", node.http_address().unwrap());
        Self {
            client: reqwest::Client::new(),
            url,
        }
    }

    fn post(&self, token: &str, content_type: &str, body: Vec<u8>) -> reqwest::RequestBuilder {
        let request = self.client.post(&self.url).bearer_auth(token);
        request.header("content-type", content_type).body(body)
    }

    async fn status(&self, request: reqwest::RequestBuilder) -> StatusCode {
        request.send().await.unwrap().status()
    }
}

#[tokio::test]
async fn a_prepare_is_answered_in_its_response_in_either_content_type() {
    let folder = tempfile::tempdir().unwrap();
    let node = pool(folder.path(), vec![]).await;
    let mut bob = Client::connect(node.btp_address(), "bob").await;
    let caller = Caller::new(&node);
    for content_type in [
        OCTETS,
        "application/ilp+octet-stream",
        "Application/Octet-Stream; x=y",
    ] {
        let request = caller.post(
            "alice",
            content_type,
            prepare("test.pool.bob.shop", 1_000_000, 10_000),
        );
        let asked = tokio::spawn(request.send());
        let (id, amount, _) = bob.hear_prepare().await;
        assert_eq!(amount, 1_998_000);
        bob.fulfill(id, &PREIMAGE, b"thanks").await;
        let response = asked.await.unwrap().unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], OCTETS);
        assert!(
            is_fulfilled(&response.bytes().await.unwrap(), b"thanks"),
            "{content_type}"
        );
    }
    // The core's no, and an expiry, are rejects in a response that is no error.
    let unknown = caller
        .post("alice", OCTETS, prepare("test.elsewhere", 1, 10_000))
        .send()
        .await
        .unwrap();
    assert_eq!(unknown.status(), StatusCode::OK);
    assert_eq!(
        code(&unknown.bytes().await.unwrap()),
        ErrorCode::F02Unreachable
    );
    let late = caller
        .post(
            "alice",
            OCTETS,
            prepare("test.pool.bob.shop", 1_000_000, 2_000),
        )
        .send();
    let late = late.await.unwrap().bytes().await.unwrap();
    assert_eq!(code(&late), ErrorCode::R00TransferTimedOut);
    // ILDCP is answered on the spot.
    let mut ask = Vec::new();
    ildcp::request(Timestamp(now().0 + 5_000))
        .encode(&mut ask)
        .unwrap();
    let answer = caller
        .post("alice", OCTETS, ask)
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let fulfilled = FulfillView::parse(&answer).unwrap();
    let told = ildcp::Response::from_fulfill(&fulfilled).unwrap();
    assert_eq!(
        (told.address.as_str(), told.asset_code),
        ("test.pool.alice", "ETH")
    );
    node.stop().await;
}

#[tokio::test]
async fn each_bad_request_has_its_status() {
    let folder = tempfile::tempdir().unwrap();
    let node = pool(folder.path(), vec![]).await;
    let caller = Caller::new(&node);
    let good = || prepare("test.elsewhere", 1, 10_000);
    assert_eq!(
        caller.status(caller.post("alice", OCTETS, good())).await,
        StatusCode::OK
    );
    assert_eq!(
        caller.status(caller.post("nobody", OCTETS, good())).await,
        StatusCode::UNAUTHORIZED
    );
    let without_token = caller
        .client
        .post(&caller.url)
        .header("content-type", OCTETS)
        .body(good());
    assert_eq!(caller.status(without_token).await, StatusCode::UNAUTHORIZED);
    let json = caller.post("alice", "application/json", good());
    assert_eq!(
        caller.status(json).await,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    let get = caller.client.get(&caller.url).bearer_auth("alice");
    assert_eq!(caller.status(get).await, StatusCode::METHOD_NOT_ALLOWED);
    let mut cut = good();
    cut.truncate(40);
    assert_eq!(
        caller.status(caller.post("alice", OCTETS, cut)).await,
        StatusCode::BAD_REQUEST
    );
    let long = caller.post("alice", OCTETS, vec![12; 50_000]);
    assert_eq!(caller.status(long).await, StatusCode::PAYLOAD_TOO_LARGE);
    let not_asked = caller
        .post("alice", OCTETS, fulfill(b""))
        .header("request-id", "nobody asked");
    assert_eq!(caller.status(not_asked).await, StatusCode::BAD_REQUEST);
    node.stop().await;
}

#[tokio::test]
async fn a_prepare_is_answered_by_a_request_where_its_sender_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut alice = Server::start().await;
    let node = pool(folder.path(), vec![uplink("alice", &alice, HttpMode::Sync)]).await;
    let mut bob = Client::connect(node.btp_address(), "bob").await;
    let caller = Caller::new(&node);
    let packet = prepare("test.pool.bob.shop", 1_000_000, 10_000);
    let ask = |callback: &str| {
        let request = caller
            .post("alice", OCTETS, packet.clone())
            .header("prefer", "respond-async");
        request
            .header("request-id", "42ee09c8")
            .header("callback-url", callback)
    };
    let callback = format!("http://{}/answers", alice.address);
    // The same request twice is one packet.
    assert_eq!(caller.status(ask(&callback)).await, StatusCode::ACCEPTED);
    assert_eq!(caller.status(ask(&callback)).await, StatusCode::ACCEPTED);
    let (id, ..) = bob.hear_prepare().await;
    assert_eq!(bob.read_within(Duration::from_millis(300)).await, None);
    bob.fulfill(id, &PREIMAGE, b"thanks").await;
    // The answer is repeated until it is taken.
    let first = alice.next().await;
    first.answer.send((503, vec![])).unwrap();
    let again = alice.next().await;
    assert_eq!(again.header("request-id"), "42ee09c8");
    assert_eq!(
        again.header("authorization"),
        "Bearer alice knows us by this"
    );
    assert_eq!(again.header("content-type"), OCTETS);
    assert!(is_fulfilled(&again.body, b"thanks"));
    again.answer.send((200, vec![])).unwrap();
    // Nobody is sent where the operator does not know the peer to be.
    assert_eq!(
        caller.status(ask("http://127.0.0.1:1/answers")).await,
        StatusCode::BAD_REQUEST
    );
    let nowhere = caller
        .post("alice", OCTETS, packet.clone())
        .header("prefer", "respond-async");
    assert_eq!(caller.status(nowhere).await, StatusCode::BAD_REQUEST);
    node.stop().await;
}

#[tokio::test]
async fn a_peer_is_called_and_answers_in_the_response() {
    let folder = tempfile::tempdir().unwrap();
    let mut bob = Server::start().await;
    let node = pool(folder.path(), vec![uplink("bob", &bob, HttpMode::Sync)]).await;
    connected(&node, BOB).await;
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    let send = [
        (200, fulfill(b"thanks"), None),
        (200, b"what?".to_vec(), Some(ErrorCode::T00InternalError)),
        (404, vec![], Some(ErrorCode::T00InternalError)),
        (503, vec![], Some(ErrorCode::T01PeerUnreachable)),
    ];
    for ((status, body, expected), id) in send.into_iter().zip(1..) {
        alice.prepare(id, 1_000_000, 10_000).await;
        let came = bob.next().await;
        assert_eq!(came.header("authorization"), "Bearer bob knows us by this");
        assert_eq!(
            (came.header("content-type"), came.header("prefer")),
            (OCTETS, "")
        );
        let prepare = PrepareView::parse(&came.body).unwrap();
        assert_eq!((prepare.amount, prepare.data), (1_998_000, &b"hello"[..]));
        came.answer.send((status, body)).unwrap();
        match expected {
            None => assert_eq!(
                alice.hear().await,
                Heard::Fulfill {
                    id,
                    preimage: PREIMAGE,
                    data: b"thanks".to_vec()
                }
            ),
            Some(code) => assert_eq!(alice.hear_reject().await, (id, code)),
        }
    }
    // A reject of the peer comes back as it was.
    alice.prepare(9, 1_000_000, 10_000).await;
    let mut reject = Vec::new();
    let triggered_by = Some(Address::parse(b"test.pool.bob.shop").unwrap());
    let code = ErrorCode::F06UnexpectedPayment;
    RejectView {
        code,
        triggered_by,
        message: b"who?",
        data: b"x",
    }
    .encode(&mut reject)
    .unwrap();
    bob.next().await.answer.send((200, reject)).unwrap();
    let heard = Heard::Reject {
        id: 9,
        code,
        by: "test.pool.bob.shop".into(),
        message: "who?".into(),
        data: b"x".to_vec(),
    };
    assert_eq!(alice.hear().await, heard);
    node.stop().await;
}

#[tokio::test]
async fn a_peer_is_called_and_answers_by_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let mut bob = Server::start().await;
    let node = pool(folder.path(), vec![uplink("bob", &bob, HttpMode::Async)]).await;
    connected(&node, BOB).await;
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    alice.prepare(1, 1_000_000, 10_000).await;
    // In trouble at first: the same request comes again.
    let first = bob.next().await;
    let request_id = first.header("request-id").to_owned();
    assert_eq!(request_id.len(), 36, "a UUID");
    first.answer.send((503, vec![])).unwrap();
    let again = bob.next().await;
    assert_eq!(
        (again.header("request-id"), again.header("prefer")),
        (&request_id[..], "respond-async")
    );
    let own_url = again.header("callback-url").to_owned();
    again.answer.send((202, vec![])).unwrap();
    let caller = Caller {
        client: reqwest::Client::new(),
        url: own_url,
    };
    let answer = || {
        caller
            .post("bob", OCTETS, fulfill(b"thanks"))
            .header("request-id", &request_id)
    };
    assert_eq!(caller.status(answer()).await, StatusCode::OK);
    let heard = Heard::Fulfill {
        id: 1,
        preimage: PREIMAGE,
        data: b"thanks".to_vec(),
    };
    assert_eq!(alice.hear().await, heard);
    assert_eq!(
        caller.status(answer()).await,
        StatusCode::BAD_REQUEST,
        "answered already"
    );
    // Another account cannot answer for Bob.
    alice.prepare(2, 1_000_000, 10_000).await;
    let came = bob.next().await;
    let request_id = came.header("request-id").to_owned();
    came.answer.send((202, vec![])).unwrap();
    let by_another = caller
        .post("alice", OCTETS, fulfill(b""))
        .header("request-id", &request_id);
    assert_eq!(caller.status(by_another).await, StatusCode::BAD_REQUEST);
    node.stop().await;
}
