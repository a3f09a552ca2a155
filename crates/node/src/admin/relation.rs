//! What peers are to the pool, and where packets go.

use forebay_api::{Peer, Relation, RelationKind, RouteView, Routes};
use forebay_pool::{Admin, State};
use forebay_quantity::{CommandId, PeerId};

use super::Office;
use super::page::{Asked, Page};
use super::problem::No;
use super::write::{instruct, peer_named, show_peer};

pub(super) async fn set_relation(
    office: &Office,
    id: CommandId,
    name: &str,
    asked: Relation,
) -> Result<Peer, No> {
    let peer = peer_named(office, name).await?;
    let relation = forebay_pool::Relation {
        kind: match asked.kind {
            RelationKind::Child => forebay_pool::RelationKind::Child,
            RelationKind::Peer => forebay_pool::RelationKind::Peer,
            RelationKind::Parent => forebay_pool::RelationKind::Parent,
        },
        sends_routes: matches!(asked.routes, Routes::Send | Routes::Both),
        receives_routes: matches!(asked.routes, Routes::Receive | Routes::Both),
        debt_max: asked.debt_max.0,
    };
    instruct(office, id, Admin::SetRelation(peer, relation)).await?;
    show_peer(office, name).await
}

pub(super) async fn routes(office: &Office, asked: Asked) -> Result<Page<RouteView>, No> {
    let passed_over = asked.passed_over()?;
    let page = office
        .core
        .query(move |state| Page::of(list(state).enumerate().skip(passed_over), asked.limit));
    Ok(page.await?)
}

fn list(state: &State) -> impl Iterator<Item = RouteView> + '_ {
    let name = move |peer: PeerId| state.peer(peer).map(|peer| peer.name.clone());
    let view = move |prefix: &str, peer, learned| {
        Some(RouteView {
            prefix: prefix.to_owned(),
            peer: name(peer)?,
            learned,
        })
    };
    let configured = state.configured_routes();
    let configured = configured.filter_map(move |(prefix, peer)| view(prefix, peer, false));
    let learned = state.learned_routes().filter_map(move |(prefix, peer)| {
        let prefix = String::from_utf8_lossy(prefix);
        view(&prefix, peer, true)
    });
    configured.chain(learned)
}

/// The relation as it is shown.
pub(super) fn relation(relation: &forebay_pool::Relation) -> Relation {
    Relation {
        kind: match relation.kind {
            forebay_pool::RelationKind::Child => RelationKind::Child,
            forebay_pool::RelationKind::Peer => RelationKind::Peer,
            forebay_pool::RelationKind::Parent => RelationKind::Parent,
        },
        routes: match (relation.sends_routes, relation.receives_routes) {
            (false, false) => Routes::None,
            (true, false) => Routes::Send,
            (false, true) => Routes::Receive,
            (true, true) => Routes::Both,
        },
        debt_max: relation.debt_max.into(),
    }
}
