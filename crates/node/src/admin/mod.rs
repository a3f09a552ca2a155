//! The operator's interface: HTTP with JSON on this machine, behind a bearer token.

mod read;
mod relation;
mod token;
mod write;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_pool::Rejection;
use forebay_quantity::CommandId;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tracing::warn;

use crate::chain::{ChainFault, Chains};
use crate::core::{CommandFault, CoreHandle, Figures};
pub(crate) use token::{open_token, random};

/// Bytes of a request's body: a policy is some hundred.
const BODY_MAX: usize = 64 << 10;
/// Connections at a time: the operator's own programs.
const CONNECTIONS_MAX: usize = 64;
/// A request's head that takes longer is given up.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// What requests are answered from.
pub(crate) struct Office {
    pub(crate) core: CoreHandle,
    pub(crate) figures: Arc<Figures>,
    pub(crate) chains: Arc<Chains>,
    pub(crate) token: String,
    pub(crate) btp: String,
    pub(crate) began: Instant,
}

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct No {
    status: StatusCode,
    error: String,
}

impl No {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
        }
    }
}

impl From<CommandFault> for No {
    fn from(fault: CommandFault) -> Self {
        let status = match &fault {
            CommandFault::Rejected(
                Rejection::UnknownPeer(_) | Rejection::UnknownAsset(_) | Rejection::Unreachable,
            ) => StatusCode::NOT_FOUND,
            CommandFault::Rejected(
                Rejection::AlreadyExists | Rejection::AlreadyTaken | Rejection::PeerBusy(_),
            ) => StatusCode::CONFLICT,
            CommandFault::Rejected(_) => StatusCode::UNPROCESSABLE_ENTITY,
            CommandFault::Stopped(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, fault.to_string())
    }
}

impl From<ChainFault> for No {
    fn from(fault: ChainFault) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, fault.to_string())
    }
}

/// Serves until `stop` changes.
pub(crate) async fn serve(
    listener: TcpListener,
    office: Arc<Office>,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        let (Ok((stream, _)), Ok(place)) = (accepted, Arc::clone(&places).try_acquire_owned())
        else {
            warn!("a connection to the operator's interface was turned away");
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let office = Arc::clone(&office);
        tokio::spawn(async move {
            converse(stream, office).await;
            drop(place);
        });
    }
}

async fn converse(stream: TcpStream, office: Arc<Office>) {
    let service = service_fn(move |request| {
        let office = Arc::clone(&office);
        async move { Ok::<_, Infallible>(answer(&office, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // A broken connection concerns only its other end.
    let _ = connection.await;
}

async fn answer(office: &Arc<Office>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let answered = match is_authorized(office, &request) {
        true => route(office, request).await,
        false => Err(No::new(
            StatusCode::UNAUTHORIZED,
            "send the bearer token in the data directory's admin.token",
        )),
    };
    let (status, body) = match answered {
        Ok(body) => (StatusCode::OK, body),
        Err(no) => (
            no.status,
            json(&forebay_api::Refusal { error: no.error }).unwrap_or_default(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    response
}

fn is_authorized(office: &Office, request: &Request<Incoming>) -> bool {
    let sent = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    sent.and_then(|value| value.strip_prefix("Bearer "))
        .is_some_and(|sent| token::is_same(sent, &office.token))
}

async fn route(office: &Arc<Office>, request: Request<Incoming>) -> Result<Vec<u8>, No> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let steps: Vec<&str> = path.trim_matches('/').split('/').collect();
    if method == Method::GET {
        return match steps.as_slice() {
            ["v1", "status"] => json(&read::status(office).await?),
            ["v1", "books"] => json(&read::books(office).await?),
            ["v1", "assets"] => json(&read::assets(office).await?),
            ["v1", "peers"] => json(&read::peers(office).await?),
            ["v1", "routes"] => json(&relation::routes(office).await?),
            _ => Err(nothing_here(&path)),
        };
    }
    let id = command_id(&request)?;
    let body = request.into_body();
    match (method.as_str(), steps.as_slice()) {
        ("POST", ["v1", "assets"]) => {
            json(&write::add_asset(office, id, read_body(body).await?).await?)
        }
        ("PUT", ["v1", "assets", code]) => {
            json(&write::set_asset(office, id, code, read_body(body).await?).await?)
        }
        ("POST", ["v1", "peers"]) => {
            json(&write::add_peer(office, id, read_body(body).await?).await?)
        }
        ("PUT", ["v1", "peers", name]) => {
            json(&write::set_peer(office, id, name, read_body(body).await?).await?)
        }
        ("PUT", ["v1", "peers", name, "relation"]) => {
            json(&relation::set_relation(office, id, name, read_body(body).await?).await?)
        }
        ("DELETE", ["v1", "peers", name]) => json(&write::remove_peer(office, id, name).await?),
        ("POST", ["v1", "routes"]) => {
            json(&write::add_route(office, id, read_body(body).await?).await?)
        }
        ("DELETE", ["v1", "routes", prefix]) => {
            json(&write::remove_route(office, id, prefix).await?)
        }
        _ => Err(nothing_here(&path)),
    }
}

fn nothing_here(path: &str) -> No {
    No::new(
        StatusCode::NOT_FOUND,
        format!("there is no such request: {path}"),
    )
}

fn command_id(request: &Request<Incoming>) -> Result<CommandId, No> {
    let key = request
        .headers()
        .get(forebay_api::IDEMPOTENCY_KEY)
        .and_then(|value| value.to_str().ok());
    let mut id = [0; 16];
    let is_read = key.is_some_and(|key| hex::decode_to_slice(key, &mut id).is_ok());
    if !is_read {
        let text = format!(
            "send the header {}: 32 hexadecimal digits, new for each instruction",
            forebay_api::IDEMPOTENCY_KEY
        );
        return Err(No::new(StatusCode::BAD_REQUEST, text));
    }
    Ok(CommandId(id))
}

async fn read_body<T: DeserializeOwned>(body: Incoming) -> Result<T, No> {
    let bytes = Limited::new(body, BODY_MAX).collect().await;
    let bytes = bytes
        .map_err(|_| No::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long"))?
        .to_bytes();
    serde_json::from_slice(&bytes)
        .map_err(|error| No::new(StatusCode::BAD_REQUEST, error.to_string()))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, No> {
    serde_json::to_vec(value)
        .map_err(|error| No::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
