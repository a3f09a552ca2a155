//! From an operation to who answers it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use forebay_api::{Done, Operation, ProblemKind};
use hyper::Response;
use hyper::header::{self, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::page::{self, Page};
use super::problem::No;
use super::request::{Ask, Body, json, with_type};
use super::{
    Office, alarms, bitcoin, claims, events, lps, metrics, read, relation, reserve, write,
};
use crate::core::ServingMode;

/// The OpenAPI document, as committed.
const DOCUMENT: &[u8] = include_bytes!("../../../../spec/openapi.json");

/// How often each operation was asked for, and how that ended.
#[derive(Debug, Default)]
pub(super) struct Asks(Mutex<BTreeMap<(Operation, u16), u64>>);

impl Asks {
    pub(super) fn count(&self, operation: Operation, status: u16) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((operation, status)).or_insert(0) += 1;
    }

    pub(super) fn all(&self) -> BTreeMap<(Operation, u16), u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Answers what the caller may ask.
pub(super) async fn carry_out(office: &Arc<Office>, ask: &Ask<'_>) -> Result<Response<Body>, No> {
    let (step, key) = (ask.step, ask.key);
    let key_text = || hex::encode(key.0);
    match ask.row.operation {
        Operation::Health => Ok(with_type("text/plain; charset=utf-8", "alive\n".into())),
        Operation::Ready => ready(office).await,
        Operation::Metrics => {
            let text = metrics::print(office).await?;
            Ok(with_type(
                "text/plain; version=0.0.4; charset=utf-8",
                text.into(),
            ))
        }
        Operation::OpenApi => Ok(with_type("application/json", DOCUMENT.into())),
        Operation::Status => json(&read::status(office, ask.caller()).await?),
        Operation::Books => json(&read::books(office).await?),
        Operation::Assets => paged(ask, read::assets(office, asked(ask)?).await?),
        Operation::AddAsset => json(&write::add_asset(office, key, body(ask)?).await?),
        Operation::SetAsset => json(&write::set_asset(office, key, step, body(ask)?).await?),
        Operation::Bitcoin => json(&bitcoin::show(office).await?),
        Operation::AddBitcoin => json(&bitcoin::add(office, key, body(ask)?).await?),
        Operation::NewAddress => {
            json(&claims::address(office, ask.caller(), key, body(ask)?).await?)
        }
        Operation::Reserve => json(&reserve::show(office)?),
        Operation::TakeCopy => json(&reserve::take(office, body(ask)?).await?),
        Operation::BitcoinLps => paged(ask, claims::all(office, ask.caller(), asked(ask)?).await?),
        Operation::SetPayout => {
            let owner = claims::own(ask.caller(), step)?;
            json(&claims::set_payout(office, key, owner, body(ask)?).await?)
        }
        Operation::Withdraw => {
            let owner = claims::own(ask.caller(), step)?;
            json(&claims::withdraw(office, (ask.caller(), key), owner, body(ask)?).await?)
        }
        Operation::NewInvoice => {
            let owner = claims::own(ask.caller(), step)?;
            json(&claims::invoice(office, key, owner, body(ask)?).await?)
        }
        Operation::SetBitcoin => json(&bitcoin::set(office, key, body(ask)?).await?),
        Operation::Peers => paged(ask, read::peers(office, ask.caller(), asked(ask)?).await?),
        Operation::Peer => json(&read::peer_named(office, ask.caller(), step).await?),
        Operation::AddPeer => json(&write::add_peer(office, key, body(ask)?).await?),
        Operation::SetPeer => json(&write::set_peer(office, key, step, body(ask)?).await?),
        Operation::RemovePeer => json(&write::remove_peer(office, key, step).await?),
        Operation::SetRelation => {
            json(&relation::set_relation(office, key, step, body(ask)?).await?)
        }
        Operation::Routes => paged(ask, relation::routes(office, asked(ask)?).await?),
        Operation::AddRoute => json(&write::add_route(office, key, body(ask)?).await?),
        Operation::RemoveRoute => json(&write::remove_route(office, key, step).await?),
        Operation::Channels => paged(
            ask,
            read::channels(office, ask.caller(), asked(ask)?).await?,
        ),
        Operation::Lps => paged(
            ask,
            lps::positions(office, ask.caller(), asked(ask)?).await?,
        ),
        Operation::Alarms => json(&alarms::all(office).await),
        Operation::Live => json(&read::live(office).await?),
        Operation::Events => events::stream(office, ask),
        Operation::OwnToken => json(&ask.caller().token),
        Operation::Tokens => paged(ask, tokens(office, &asked(ask)?)),
        Operation::AddToken => json(&office.tokens.add(&key_text(), body(ask)?)?),
        Operation::RemoveToken => {
            office.tokens.remove(&key_text(), step)?;
            json(&Done { done: true })
        }
    }
}

/// Whether packets are taken: the core's own word, which also shows that it still answers.
async fn ready(office: &Office) -> Result<Response<Body>, No> {
    office.core.query(|_| ()).await?;
    let why = match office.figures.readiness.mode() {
        ServingMode::Serving => {
            return Ok(with_type("text/plain; charset=utf-8", "ready\n".into()));
        }
        ServingMode::Starting => "the chains are being caught up with: wait",
        ServingMode::Draining => "the pool is stopping: new packets are refused",
        ServingMode::Failed => "the journal failed: look at the log, mend the disk, restart",
    };
    Err(No::new(ProblemKind::NotReady, why))
}

fn tokens(office: &Office, asked: &page::Asked) -> Page<forebay_api::Token> {
    let after = asked.after.clone().unwrap_or_default();
    let all = office.tokens.list().into_iter();
    let rest = all
        .filter(|token| token.name > after)
        .map(|token| (token.name.clone(), token));
    Page::of(rest, asked.limit)
}

fn asked(ask: &Ask<'_>) -> Result<page::Asked, No> {
    page::Asked::of(ask.query)
}

fn body<T: DeserializeOwned>(ask: &Ask<'_>) -> Result<T, No> {
    serde_json::from_slice(&ask.body).map_err(|error| {
        let text = format!(
            "the body is not what {} describes: {error}",
            forebay_api::OPENAPI
        );
        No::new(ProblemKind::BadRequest, text)
    })
}

/// A page as a list, and where the next one is (RFC 8288).
fn paged<T: Serialize>(ask: &Ask<'_>, page: Page<T>) -> Result<Response<Body>, No> {
    let mut response = json(&page.entries)?;
    if let Some(next) = page.next {
        let limit = asked(ask)?.limit;
        let link = format!(
            "<{}?limit={limit}&after={next}>; rel=\"next\"",
            ask.row.path
        );
        let link = HeaderValue::from_str(&link)
            .map_err(|error| No::new(ProblemKind::Internal, error.to_string()))?;
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}
