//! The live feed as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use forebay_api::ProblemKind;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::{Bytes, Frame};
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{Span, info};

use super::Office;
use super::page::parameter;
use super::problem::No;
use super::request::{Ask, Body, with_body};
use super::tokens::Caller;
use crate::core::Figures;
use crate::feed::{Line, Place, Reading};

/// Streams at a time: dashboards and programs that follow along.
pub(super) const READERS_MAX: usize = 64;
/// Without events the reader gets a sign of life, by which both sides notice a dead connection.
const QUIET_MAX: Duration = Duration::from_secs(15);
/// Events written at one stroke.
const STROKE_MAX: usize = 256;
/// The header by which a browser resumes.
const RESUME: &str = "Last-Event-ID";

/// Starts a stream of what the caller may see.
pub(super) fn stream(office: &Office, ask: &Ask<'_>) -> Result<Response<Body>, No> {
    let after = after(ask)?;
    let place = Arc::clone(&office.readers).try_acquire_owned();
    let place = place.map_err(|_| {
        let text = format!("{READERS_MAX} streams are open: end one, then ask again");
        No::new(ProblemKind::RateLimited, text)
    })?;
    let Reading {
        backlog,
        has_gap,
        live,
    } = office.feed.read(after);
    let mut ticks = interval(QUIET_MAX);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reader = Reader {
        caller: Arc::clone(ask.caller()),
        figures: Arc::clone(&office.figures),
        backlog,
        has_gap,
        live,
        ticks,
        stop: office.stop.clone(),
        span: Span::current(),
        _place: place,
    };
    let strokes = stream::unfold(reader, |mut reader| async move {
        let text = reader.next().await?;
        let frame = Frame::data(Bytes::from(text));
        Some((Ok::<_, Infallible>(frame), reader))
    });
    let body = StreamBody::new(strokes).boxed_unsync();
    Ok(with_body("text/event-stream", body))
}

fn after(ask: &Ask<'_>) -> Result<Option<Place>, No> {
    let resumed = ask.headers.get(RESUME).and_then(|id| id.to_str().ok());
    let text = resumed.or_else(|| parameter(ask.query, "after"));
    text.map(|text| {
        Place::read(text).ok_or_else(|| {
            let text = format!("{RESUME} is the id of an event, such as 120.3");
            No::new(ProblemKind::BadRequest, text)
        })
    })
    .transpose()
}

/// One reader of the feed.
struct Reader {
    caller: Arc<Caller>,
    figures: Arc<Figures>,
    backlog: VecDeque<Arc<Line>>,
    has_gap: bool,
    live: broadcast::Receiver<Arc<Line>>,
    ticks: Interval,
    stop: watch::Receiver<bool>,
    span: Span,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// What to write next; none when the stream ends.
    async fn next(&mut self) -> Option<String> {
        loop {
            if self.caller.is_revoked() {
                return None;
            }
            let mut text = String::new();
            if std::mem::take(&mut self.has_gap) {
                text.push_str("event: gap\ndata: {}\n\n");
            }
            for line in self.backlog.drain(..self.backlog.len().min(STROKE_MAX)) {
                if may_see(&self.caller, &line) {
                    write(&mut text, &line);
                }
            }
            if !text.is_empty() {
                return Some(text);
            }
            if self.backlog.is_empty() && !self.wait(&mut text).await {
                return None;
            }
            if !text.is_empty() {
                return Some(text);
            }
        }
    }

    /// Waits for an event or a tick; `false` when the stream ends.
    async fn wait(&mut self, text: &mut String) -> bool {
        tokio::select! {
            told = self.live.recv() => match told {
                Ok(line) => {
                    self.backlog.push_back(line);
                    true
                }
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    let _entered = self.span.enter();
                    info!(missed, "the stream is read too slowly and ends");
                    self.figures.slow_readers.add(1);
                    false
                }
                Err(broadcast::error::RecvError::Closed) => false,
            },
            _ = self.ticks.tick() => {
                text.push_str(": quiet\n\n");
                true
            }
            _ = self.stop.changed() => false,
        }
    }
}

/// An LP sees its own doings and what concerns every note; a peer its own account.
fn may_see(caller: &Caller, line: &Line) -> bool {
    let view = &line.view;
    caller.sees_all()
        || caller
            .peer()
            .is_some_and(|peer| view.peer.as_deref() == Some(peer))
        || caller.owner().is_some_and(|owner| {
            view.owner.as_deref() == Some(owner) || OF_EVERY_NOTE.contains(&view.kind.as_str())
        })
}

/// Kinds of events that every LP may see.
const OF_EVERY_NOTE: &[&str] = &[
    "asset-added",
    "book-halted",
    "book-resumed",
    "deep-reorg",
    "exit-paid",
    "frozen",
    "index-raised",
    "marked-down",
    "run-down-started",
];

fn write(text: &mut String, line: &Line) {
    let data = serde_json::to_string(&line.view).unwrap_or_default();
    text.push_str("id: ");
    text.push_str(&line.view.id);
    text.push_str("\ndata: ");
    text.push_str(&data);
    text.push_str("\n\n");
}
