//! One request from its head to its answer: id, token, limit, body, idempotency, log line.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use forebay_api::{Found, IDEMPOTENCY_KEY, ProblemKind, REPLAYED, REQUEST_ID, Role, Row, find};
use forebay_quantity::CommandId;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde::Serialize;
use tracing::{Instrument, debug, info, info_span, warn};

use super::Office;
use super::answers::{Asked, Known};
use super::problem::No;
use super::route;
use super::tokens::Caller;
use super::web;

/// Bytes of a request's body: a policy is some hundred.
const BODY_MAX: usize = 64 << 10;
/// A body that takes longer is given up.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// Characters of a request id that a caller brings.
const ID_MAX: usize = 64;

/// An answer's body, whole or as it comes.
pub(super) type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// A request that may be answered.
pub(super) struct Ask<'a> {
    pub(super) row: &'static Row,
    /// What stands for `{…}` in the path.
    pub(super) step: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) headers: &'a HeaderMap,
    /// None where no token is needed.
    pub(super) caller: Option<Arc<Caller>>,
    /// Zero for what is no write.
    pub(super) key: CommandId,
    pub(super) body: Bytes,
}

impl Ask<'_> {
    pub(super) fn caller(&self) -> &Arc<Caller> {
        self.caller
            .as_ref()
            .expect("an operation with roles is asked for with a token")
    }
}

/// Makes ids of requests: the process's own beginning, and a number.
#[derive(Debug)]
pub(super) struct RequestIds {
    start: String,
    next: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        let mut random = [0; 4];
        // Ids only have to differ; without the file they start alike.
        let _ = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
        Self {
            start: hex::encode(random),
            next: AtomicU64::new(1),
        }
    }
}

impl RequestIds {
    /// The caller's own id where it brought a harmless one, or a new one.
    fn of(&self, headers: &HeaderMap) -> String {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let brought = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
        match brought {
            Some(id) if (1..=ID_MAX).contains(&id.len()) && id.bytes().all(allowed) => {
                id.to_owned()
            }
            Some(_) | None => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                format!("{}-{number}", self.start)
            }
        }
    }
}

/// Answers a request, whatever it is.
pub(super) async fn answer(office: &Arc<Office>, request: Request<Incoming>) -> Response<Body> {
    let (began, id) = (Instant::now(), office.ids.of(request.headers()));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = info_span!("request", id, %method, path, token = tracing::field::Empty);
    async {
        let is_read = method == hyper::Method::GET;
        let mut response = match respond(office, request).await {
            Ok(response) => response,
            Err(no) => refuse(no, &id),
        };
        let status = response.status().as_u16();
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        match (is_read, response.status().is_success()) {
            (true, true) => debug!(status, took_us, "answered"),
            (false, true) => info!(status, took_us, "answered"),
            (_, false) => info!(status, took_us, "refused"),
        }
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(name(REQUEST_ID), id);
        }
        response
    }
    .instrument(span)
    .await
}

async fn respond(office: &Arc<Office>, request: Request<Incoming>) -> Result<Response<Body>, No> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let page = web::file(path).filter(|_| parts.method == hyper::Method::GET);
    if let Some(page) = page {
        return Ok(page);
    }
    let (row, step) = match find(parts.method.as_str(), path) {
        Found::Row(row, step) => (row, step),
        Found::Methods(methods) => return Err(other_method(&methods)),
        Found::Nothing => {
            let text = format!(
                "there is no such request: {path}; all are listed at {}",
                forebay_api::OPENAPI
            );
            return Err(No::new(ProblemKind::NotFound, text));
        }
    };
    let admitted = admit(office, row, &parts.headers);
    if let Ok(Some(caller)) = &admitted {
        tracing::Span::current().record("token", caller.token.name.as_str());
    }
    let answered = match admitted {
        Err(no) => Err(no),
        Ok(caller) => {
            let ask = Ask {
                row,
                step: step.unwrap_or_default(),
                query: parts.uri.query(),
                headers: &parts.headers,
                caller,
                key: CommandId([0; 16]),
                body: Bytes::new(),
            };
            match row.is_write() {
                true => once(office, ask, path, body).await,
                false => route::carry_out(office, &ask).await,
            }
        }
    };
    let status = match &answered {
        Ok(response) => response.status().as_u16(),
        Err(no) => no.kind.status(),
    };
    office.asks.count(row.operation, status);
    answered
}

fn other_method(methods: &[forebay_api::Method]) -> No {
    let allow = methods.iter().map(|method| method.name());
    let allow = allow.collect::<Vec<_>>().join(", ");
    No {
        allow: Some(allow.clone()),
        ..No::new(
            ProblemKind::MethodNotAllowed,
            format!("this path takes {allow}"),
        )
    }
}

/// Who asks, if it may: by its token, not too often, and by its role.
fn admit(office: &Office, row: &Row, headers: &HeaderMap) -> Result<Option<Arc<Caller>>, No> {
    if row.roles.is_empty() {
        return Ok(None);
    }
    let now = Instant::now();
    let sent = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = sent.and_then(|value| value.strip_prefix("Bearer "));
    let Some(caller) = token.and_then(|token| office.tokens.caller(token.trim())) else {
        office.strangers.take(now).map_err(No::too_often)?;
        let text = "send `Authorization: Bearer` with a token made by `forebay tokens add`, or the operator's own in the data directory's admin.token";
        return Err(No::new(ProblemKind::Unauthorized, text));
    };
    caller.bucket.take(now).map_err(No::too_often)?;
    if !row.roles.contains(&caller.token.role) {
        let allowed = row.roles.iter().map(|role| Role::name(*role));
        let text = format!(
            "this takes a token of the role {}, and {} is of the role {}",
            allowed.collect::<Vec<_>>().join(" or "),
            caller.token.name,
            caller.token.role.name()
        );
        return Err(No::new(ProblemKind::Forbidden, text));
    }
    Ok(Some(caller))
}

/// A write: under its key it takes effect once, and its answer is given again to whoever asks again [I11].
async fn once(
    office: &Arc<Office>,
    mut ask: Ask<'_>,
    path: &str,
    body: Incoming,
) -> Result<Response<Body>, No> {
    ask.key = key_of(ask.headers)?;
    ask.body = read_body(body).await?;
    let asked = Asked::new(ask.row.method.name(), path, &ask.body);
    match office.answers.find(ask.key, asked) {
        Known::Nothing => {}
        Known::OtherRequest => return Err(No::key_reused()),
        Known::Answer(bytes) => {
            let mut response = json_bytes(bytes);
            let headers = response.headers_mut();
            headers.insert(name(REPLAYED), HeaderValue::from_static("true"));
            return Ok(response);
        }
    }
    let response = route::carry_out(office, &ask).await?;
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.map(|whole| whole.to_bytes());
    let Ok(bytes) = bytes;
    office.answers.keep(ask.key, asked, bytes.clone());
    Ok(Response::from_parts(head, Full::new(bytes).boxed_unsync()))
}

fn key_of(headers: &HeaderMap) -> Result<CommandId, No> {
    let key = headers
        .get(IDEMPOTENCY_KEY)
        .and_then(|value| value.to_str().ok());
    let mut id = [0; 16];
    let is_read = key.is_some_and(|key| hex::decode_to_slice(key, &mut id).is_ok());
    if !is_read {
        let text = format!(
            "send the header {IDEMPOTENCY_KEY}: 32 hexadecimal digits, new for each instruction"
        );
        return Err(No::new(ProblemKind::BadRequest, text));
    }
    Ok(CommandId(id))
}

async fn read_body(body: Incoming) -> Result<Bytes, No> {
    let whole = tokio::time::timeout(BODY_TIME_MAX, Limited::new(body, BODY_MAX).collect()).await;
    let whole = whole.map_err(|_| {
        No::new(
            ProblemKind::BadRequest,
            "the body did not come within ten seconds: send it at once",
        )
    })?;
    let whole = whole.map_err(|_| {
        let text = format!("a body has at most {BODY_MAX} bytes");
        No::new(ProblemKind::TooLarge, text)
    })?;
    Ok(whole.to_bytes())
}

fn refuse(no: No, id: &str) -> Response<Body> {
    let problem = no.kind.with(no.detail, id);
    if no.kind == ProblemKind::Internal {
        warn!("{}", problem.detail);
    }
    let bytes = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = with_type("application/problem+json", bytes.into());
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if no.kind == ProblemKind::Unauthorized {
        let challenge = HeaderValue::from_static("Bearer realm=\"forebay\"");
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if let Some(wait) = no.wait {
        let seconds = u64::try_from(wait.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u64::MAX);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(allow) = no
        .allow
        .and_then(|allow| HeaderValue::from_str(&allow).ok())
    {
        headers.insert(header::ALLOW, allow);
    }
    response
}

/// A value as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<Response<Body>, No> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| No::new(ProblemKind::Internal, error.to_string()))?;
    Ok(json_bytes(bytes.into()))
}

fn json_bytes(bytes: Bytes) -> Response<Body> {
    with_type("application/json", bytes)
}

/// Bytes of a media type, never to be stored.
pub(super) fn with_type(media: &'static str, bytes: Bytes) -> Response<Body> {
    with_body(media, Full::new(bytes).boxed_unsync())
}

pub(super) fn with_body(media: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let guessing = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, guessing);
    response
}

fn name(text: &'static str) -> HeaderName {
    HeaderName::try_from(text).expect("our headers are well-formed")
}
