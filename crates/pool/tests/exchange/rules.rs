//! Who is heard and told, and whose way is taken.

use forebay_ilp::ccp::{Control, Mode, Span, TableId};
use forebay_pool::{NotExchanged, Relation, RelationKind, RouteMessage, exchange_bounds};
use forebay_quantity::PeerId;

use crate::pool::{ALL, ANN, BEN, EVE, Pool, span};

#[test]
fn the_shorter_path_is_taken_and_the_longer_one_once_it_is_withdrawn() {
    let mut pool = Pool::peers();
    pool.hears(
        ANN,
        &[("test.far", &["test.ann", "test.x", "test.far"])],
        &[],
    );
    assert_eq!(pool.hop("test.far"), Some(ANN));
    pool.hears(BEN, &[("test.far", &["test.ben", "test.far"])], &[]);
    assert_eq!(pool.hop("test.far"), Some(BEN));
    pool.hears(BEN, &[], &["test.far"]);
    assert_eq!(pool.hop("test.far"), Some(ANN));
    pool.hears(ANN, &[], &["test.far"]);
    assert_eq!(pool.hop("test.far"), None);
    let far = |hop| ("test.far".to_owned(), hop);
    assert_eq!(
        pool.changes,
        [far(Some(ANN)), far(Some(BEN)), far(Some(ANN)), far(None)]
    );
}

#[test]
fn the_operator_counts_before_children_they_before_peers_and_they_before_the_parent() {
    let relations = [
        (ANN, RelationKind::Parent),
        (BEN, RelationKind::Peer),
        (EVE, RelationKind::Child),
    ];
    let mut pool = Pool::with(&relations);
    let way: &[&str] = &["test.way"];
    pool.hears(ANN, &[("test.far", &[])], &[]);
    assert_eq!(pool.hop("test.far"), Some(ANN));
    pool.hears(BEN, &[("test.far", way)], &[]);
    assert_eq!(
        pool.hop("test.far"),
        Some(BEN),
        "though the parent's path is shorter"
    );
    pool.hears(EVE, &[("test.far", &["test.eve", "test.way"])], &[]);
    assert_eq!(pool.hop("test.far"), Some(EVE));
    let configured = [("test.far", ANN, RelationKind::Parent)];
    pool.exchange.configure(pool.now, configured.into_iter());
    assert_eq!(
        pool.hop("test.far"),
        None,
        "nothing learned counts beside the operator's word"
    );
    pool.exchange.configure(pool.now, [].into_iter());
    assert_eq!(pool.hop("test.far"), Some(EVE));
}

#[test]
fn of_equals_the_older_account_is_taken_and_kept() {
    let mut pool = Pool::peers();
    pool.hears(BEN, &[("test.far", &["test.ben"])], &[]);
    pool.hears(ANN, &[("test.far", &["test.ann"])], &[]);
    assert_eq!(pool.hop("test.far"), Some(ANN));
    pool.hears(BEN, &[("test.far", &["test.ben"])], &[]);
    assert_eq!(pool.hop("test.far"), Some(ANN));
}

#[test]
fn a_path_through_us_is_no_path_and_takes_back_the_one_before_it() {
    let mut pool = Pool::peers();
    pool.hears(
        ANN,
        &[("test.far", &["test.ann", "test.pool", "test.far"])],
        &[],
    );
    assert_eq!(pool.hop("test.far"), None);
    pool.hears(ANN, &[("test.far", &["test.ann", "test.far"])], &[]);
    assert_eq!(pool.hop("test.far"), Some(ANN));
    pool.hears(
        ANN,
        &[("test.far", &["test.ann", "test.pool", "test.far"])],
        &[],
    );
    assert_eq!(pool.hop("test.far"), None);
}

#[test]
fn what_is_ours_a_whole_network_or_another_network_is_not_learned() {
    let mut pool = Pool::peers();
    let way: &[&str] = &["test.ann"];
    for prefix in [
        "",
        "test",
        "test.pool",
        "test.pool.alice",
        "g.far",
        "peer.route",
        "test2.far",
    ] {
        pool.hears(ANN, &[(prefix, way)], &[prefix]);
        assert_eq!(pool.hop(prefix), None, "{prefix}");
    }
    pool.hears(ANN, &[("test.pools", way)], &[]);
    assert_eq!(pool.hop("test.pools"), Some(ANN));
    let own = ("test.pool".to_owned(), 1);
    assert!(
        pool.tells(BEN).contains(&own),
        "our own address is still told"
    );
}

#[test]
fn a_neighbour_that_starts_again_loses_only_what_it_tells_no_more() {
    let mut pool = Pool::peers();
    let way: &[&str] = &["test.ann"];
    pool.hears(ANN, &[("test.kept", way), ("test.gone", way)], &[]);
    pool.changes.clear();
    let half = Span {
        to_epoch: 1,
        ..span((0, 2), 200)
    };
    pool.hears_of(ANN, half, &[("test.kept", way)], &[])
        .unwrap();
    assert_eq!(pool.hop("test.gone"), Some(ANN), "it has not finished");
    pool.hears_of(ANN, span((1, 2), 200), &[("test.new", way)], &[])
        .unwrap();
    let changes = [("test.new", Some(ANN)), ("test.gone", None)];
    assert_eq!(
        pool.changes,
        changes.map(|(prefix, hop)| (prefix.to_owned(), hop))
    );
}

#[test]
fn nothing_goes_back_where_it_came_from_and_a_parent_hears_of_children_only() {
    let relations = [
        (ANN, RelationKind::Parent),
        (BEN, RelationKind::Peer),
        (EVE, RelationKind::Child),
    ];
    let mut pool = Pool::with(&relations);
    let static_routes = [
        ("test.fixed-child", PeerId(9), RelationKind::Child),
        ("test.fixed-peer", PeerId(8), RelationKind::Peer),
    ];
    pool.exchange.configure(pool.now, static_routes.into_iter());
    pool.hears(ANN, &[("test.a", &["test.ann"])], &[]);
    pool.hears(BEN, &[("test.b", &["test.ben"])], &[]);
    pool.hears(EVE, &[("test.e", &["test.eve", "test.e"])], &[]);
    let told = |routes: &[(&str, usize)]| -> Vec<_> {
        routes
            .iter()
            .map(|(prefix, hops)| ((*prefix).to_owned(), *hops))
            .collect()
    };
    let (child, peer, own) = (
        ("test.fixed-child", 1),
        ("test.fixed-peer", 1),
        ("test.pool", 1),
    );
    assert_eq!(pool.tells(ANN), told(&[("test.e", 3), child, own]));
    pool.hears(ANN, &[("test.a", &["test.ann"])], &[]);
    assert_eq!(
        pool.tells(BEN),
        told(&[("test.a", 2), ("test.e", 3), child, peer, own])
    );
}

#[test]
fn only_those_are_heard_and_told_with_whom_it_was_agreed() {
    let mut pool = Pool::peers();
    let silent = Relation {
        receives_routes: false,
        ..ALL
    };
    pool.exchange.relate(pool.now, ANN, Some(silent));
    pool.exchange.link_up(pool.now, ANN);
    let deaf = Relation {
        sends_routes: false,
        ..ALL
    };
    pool.exchange.relate(pool.now, BEN, Some(deaf));
    pool.exchange.link_up(pool.now, BEN);
    let route: &[(&str, &[&str])] = &[("test.far", &["test.ann"])];
    assert_eq!(
        pool.hears_of(ANN, span((0, 1), 1), route, &[]),
        Err(NotExchanged)
    );
    assert_eq!(pool.hears_of(BEN, span((0, 1), 1), route, &[]), Ok(()));
    assert_eq!(
        pool.hears_of(EVE, span((0, 1), 1), route, &[]),
        Err(NotExchanged)
    );
    let ask = Control {
        mode: Mode::Sync,
        table: TableId([0; 16]),
        epoch: 0,
    };
    assert_eq!(pool.exchange.control(pool.now, ANN, &ask), Ok(()));
    assert_eq!(
        pool.exchange.control(pool.now, BEN, &ask),
        Err(NotExchanged)
    );
    pool.exchange.relate(pool.now, BEN, None);
    assert_eq!(
        pool.hop("test.far"),
        None,
        "with the relation its routes go"
    );
}

#[test]
fn the_parent_gets_what_nobody_else_reaches() {
    let mut pool = Pool::peers();
    pool.exchange.set_parent(Some(BEN));
    pool.exchange.set_parent(Some(BEN));
    pool.look();
    assert_eq!(pool.changes, [("test".to_owned(), Some(BEN))]);
    pool.exchange.set_parent(None);
    pool.look();
    assert_eq!(pool.changes.last(), Some(&("test".to_owned(), None)));
}

#[test]
fn who_refused_us_and_then_asks_us_is_asked_again_at_once() {
    let mut pool = Pool::peers();
    while let Some((peer, message)) = pool.exchange.poll(pool.now) {
        pool.exchange
            .answered(pool.now, peer, message.kind(), peer != ANN);
    }
    pool.now.0 += exchange_bounds::ASK_INTERVAL_MS;
    assert_eq!(pool.exchange.poll(pool.now), None);
    let ask = Control {
        mode: Mode::Idle,
        table: TableId([0; 16]),
        epoch: 0,
    };
    for peer in [ANN, BEN] {
        pool.exchange.control(pool.now, peer, &ask).unwrap();
    }
    let asked = Control {
        mode: Mode::Sync,
        ..ask
    };
    let asked = Some((ANN, RouteMessage::Control(asked)));
    assert_eq!(
        pool.exchange.poll(pool.now),
        asked,
        "Ben has taken our request"
    );
    assert_eq!(pool.exchange.poll(pool.now), None);
}
