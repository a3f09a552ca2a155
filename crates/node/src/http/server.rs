//! The HTTP server for packets: authenticates, reads, hands over, and answers or promises to.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use forebay_ilp::{PacketType, PacketView};
use forebay_quantity::Timestamp;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::warn;

use super::line::{Arrival, Reply};
use super::{BODY_MAX, CALLBACK_URL, ILP_OCTET_STREAM, Lines, OCTET_STREAM, REQUEST_ID};
use crate::link::PeerFacts;
use crate::wall;

/// A connection on which no request begins, or none is finished, for this long is closed.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// A response waits for its packet's expiry and this much longer.
const GRACE: Duration = Duration::from_secs(2);
/// A request id is a UUID; longer ones are cut off before they are kept.
const REQUEST_ID_MAX: usize = 64;

/// What a request was refused for.
type Refused = (StatusCode, &'static str);

/// Serves until `stop` changes; at most `connections_max` connections at a time.
pub(crate) async fn serve(
    listener: TcpListener,
    lines: Arc<Lines>,
    connections_max: usize,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(connections_max));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        let (Ok((stream, _)), Ok(place)) = (accepted, Arc::clone(&places).try_acquire_owned())
        else {
            warn!("an HTTP connection was turned away");
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let lines = Arc::clone(&lines);
        tokio::spawn(async move {
            converse(stream, lines).await;
            drop(place);
        });
    }
}

async fn converse(stream: TcpStream, lines: Arc<Lines>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let lines = Arc::clone(&lines);
        async move {
            let answered = answer(&lines, request).await;
            Ok::<_, Infallible>(answered.unwrap_or_else(refusal))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // A broken connection concerns only its other end.
    let _ = connection.await;
}

fn refusal((status, text): Refused) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}

async fn answer(
    lines: &Arc<Lines>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Refused> {
    if request.method() != Method::POST {
        return Err((
            StatusCode::METHOD_NOT_ALLOWED,
            "packets are sent by POST, one each",
        ));
    }
    let facts = admit(lines, request.headers())?;
    let headers = request.headers().clone();
    check_content_type(&headers)?;
    let packet = read_body(request.into_body()).await?;
    match PacketView::parse(&packet) {
        Ok(PacketView::Prepare(prepare)) => {
            let expires_at = prepare.expires_at;
            take_prepare(lines, &facts, &headers, packet, expires_at).await
        }
        Ok(PacketView::Fulfill(_) | PacketView::Reject(_)) => {
            take_answer(lines, &facts, &headers, packet).await
        }
        Err(_) => Err((StatusCode::BAD_REQUEST, "the body is not one ILP packet")),
    }
}

fn admit(lines: &Lines, headers: &HeaderMap) -> Result<Arc<PeerFacts>, Refused> {
    let token = text(headers, header::AUTHORIZATION.as_str())
        .and_then(|value| value.strip_prefix("Bearer "));
    token
        .and_then(|token| lines.shared.directory.admit(None, token))
        .ok_or((
            StatusCode::UNAUTHORIZED,
            "send Authorization: Bearer and the account's token",
        ))
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Refused> {
    let sent = text(headers, header::CONTENT_TYPE.as_str()).unwrap_or_default();
    let essence = sent.split(';').next().unwrap_or_default().trim();
    let known = [OCTET_STREAM, ILP_OCTET_STREAM];
    match known
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
    {
        true => Ok(()),
        false => Err((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send Content-Type: application/octet-stream",
        )),
    }
}

async fn read_body(body: Incoming) -> Result<Vec<u8>, Refused> {
    match timeout(REQUEST_MAX, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes().to_vec()),
        Ok(Err(_)) => Err((
            StatusCode::PAYLOAD_TOO_LARGE,
            "no ILP packet is that long, or the request broke off",
        )),
        Err(_) => Err((
            StatusCode::REQUEST_TIMEOUT,
            "the packet did not come in time",
        )),
    }
}

async fn take_prepare(
    lines: &Arc<Lines>,
    facts: &Arc<PeerFacts>,
    headers: &HeaderMap,
    packet: Vec<u8>,
    expires_at: Timestamp,
) -> Result<Response<Full<Bytes>>, Refused> {
    if wants_to_be_called(headers) {
        let reply = reply_by_request(lines, facts, headers)?;
        hand_over(&lines.line(facts), Arrival::Prepare { packet, reply })?;
        return Ok(empty(StatusCode::ACCEPTED));
    }
    let (response, answer) = oneshot::channel();
    let reply = Reply::InResponse(response);
    hand_over(&lines.line(facts), Arrival::Prepare { packet, reply })?;
    let left = Duration::from_millis(expires_at.since(wall::now()).value());
    match timeout(left.saturating_add(GRACE), answer).await {
        Ok(Ok(packet)) => Ok(with_packet(packet)),
        Ok(Err(_)) => Err((
            StatusCode::SERVICE_UNAVAILABLE,
            "the account is connected in another way now, or the pool is stopping",
        )),
        Err(_) => Err((StatusCode::GATEWAY_TIMEOUT, "no answer in time")),
    }
}

/// RFC 35: the sender names where it wants to be called, or prefers not to wait.
fn wants_to_be_called(headers: &HeaderMap) -> bool {
    let preferred = headers.get_all("prefer").iter();
    let mut preferred = preferred.filter_map(|value| value.to_str().ok());
    headers.contains_key(CALLBACK_URL)
        || preferred.any(|value| {
            let mut words = value.split([',', ';']);
            words.any(|word| word.trim().eq_ignore_ascii_case("respond-async"))
        })
}

fn reply_by_request(
    lines: &Lines,
    facts: &PeerFacts,
    headers: &HeaderMap,
) -> Result<Reply, Refused> {
    let request_id = text(headers, REQUEST_ID).filter(|id| id.len() <= REQUEST_ID_MAX);
    let url = text(headers, CALLBACK_URL);
    let (Some(request_id), Some(url)) = (request_id, url) else {
        return Err((
            StatusCode::BAD_REQUEST,
            "send Request-Id and Callback-Url with Prefer: respond-async",
        ));
    };
    let way = lines.ways.get(&facts.name);
    let url = way.and_then(|way| way.callback(url)).ok_or((
        StatusCode::BAD_REQUEST,
        "Callback-Url must be on the server that the pool's operator knows for this account",
    ))?;
    let request_id = request_id.to_owned();
    Ok(Reply::ByRequest { url, request_id })
}

async fn take_answer(
    lines: &Arc<Lines>,
    facts: &Arc<PeerFacts>,
    headers: &HeaderMap,
    packet: Vec<u8>,
) -> Result<Response<Full<Bytes>>, Refused> {
    let not_asked = (
        StatusCode::BAD_REQUEST,
        "no prepare waits for an answer with this Request-Id",
    );
    let request_id = text(headers, REQUEST_ID).ok_or(not_asked)?.to_owned();
    debug_assert_ne!(PacketType::of(&packet), Some(PacketType::Prepare));
    let (known, is_known) = oneshot::channel();
    let arrival = Arrival::Answer {
        request_id,
        packet,
        known,
    };
    hand_over(&lines.line(facts), arrival)?;
    match is_known.await {
        Ok(true) => Ok(empty(StatusCode::OK)),
        Ok(false) => Err(not_asked),
        Err(_) => Err((StatusCode::SERVICE_UNAVAILABLE, "the pool is stopping")),
    }
}

fn hand_over(line: &mpsc::Sender<Arrival>, arrival: Arrival) -> Result<(), Refused> {
    line.try_send(arrival).map_err(|_| {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests at once: try again",
        )
    })
}

fn with_packet(packet: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(packet)));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(OCTET_STREAM),
    );
    response
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
