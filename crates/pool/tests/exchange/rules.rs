//! One pool, whose neighbours are played by hand.

use forebay_ilp::ccp::{Control, Mode, Route, Span, TableId, Update, UpdateView};
use forebay_pool::{
    NotExchanged, Relation, RelationKind, RouteExchange, RouteMessage, exchange_bounds,
};
use forebay_quantity::{Amount, PeerId, Timestamp};

const ANN: PeerId = PeerId(1);
const BEN: PeerId = PeerId(2);
const EVE: PeerId = PeerId(3);

const ALL: Relation = Relation {
    kind: RelationKind::Peer,
    sends_routes: true,
    receives_routes: true,
    debt_max: Amount::ZERO,
};

struct Pool {
    exchange: RouteExchange,
    now: Timestamp,
    epochs: [u32; 4],
    changes: Vec<(String, Option<PeerId>)>,
}

impl Pool {
    fn with(neighbours: &[(PeerId, RelationKind)]) -> Self {
        let mut pool = Self {
            exchange: RouteExchange::new("test.pool".parse().unwrap(), [7; 32]),
            now: Timestamp(1_000_000),
            epochs: [0; 4],
            changes: Vec::new(),
        };
        for (peer, kind) in neighbours {
            let relation = Relation { kind: *kind, ..ALL };
            pool.exchange.relate(pool.now, *peer, Some(relation));
            pool.exchange.link_up(pool.now, *peer);
        }
        pool
    }

    fn peers() -> Self {
        Self::with(&[(ANN, RelationKind::Peer), (BEN, RelationKind::Peer)])
    }

    /// A neighbour tells routes by their paths, each from the speaker to the prefix's owner, and withdraws others.
    fn hears(&mut self, from: PeerId, routes: &[(&str, &[&str])], withdrawn: &[&str]) {
        let epoch = self.epochs[from.0 as usize];
        let told = u32::try_from(routes.len() + withdrawn.len()).unwrap();
        self.epochs[from.0 as usize] = epoch + told;
        let span = Span {
            table: TableId([u8::try_from(from.0).unwrap(); 16]),
            current_epoch: epoch + told,
            from_epoch: epoch,
            to_epoch: epoch + told,
            hold_down_ms: exchange_bounds::HOLD_DOWN_MS,
        };
        self.hears_of(from, span, routes, withdrawn).unwrap();
    }

    fn hears_of(
        &mut self,
        from: PeerId,
        span: Span,
        routes: &[(&str, &[&str])],
        withdrawn: &[&str],
    ) -> Result<(), NotExchanged> {
        let route = |(prefix, path): &(&str, &[&str])| Route {
            prefix: prefix.as_bytes().to_vec(),
            path: path.iter().map(|hop| hop.parse().unwrap()).collect(),
            auth: [9; 32],
        };
        let update = Update {
            span,
            speaker: "test.speaker".parse().unwrap(),
            routes: routes.iter().map(route).collect(),
            withdrawn: withdrawn
                .iter()
                .map(|prefix| prefix.as_bytes().to_vec())
                .collect(),
        };
        let mut data = Vec::new();
        update.encode(&mut data);
        let update = UpdateView::parse(&data).unwrap();
        let taken = self.exchange.update(self.now, from, &update);
        self.look();
        taken
    }

    fn look(&mut self) {
        while let Some((prefix, hop)) = self.exchange.take_change() {
            self.changes.push((String::from_utf8(prefix).unwrap(), hop));
        }
    }

    fn passes(&mut self, milliseconds: u64) {
        let until = self.now.0 + milliseconds;
        while self.now.0 < until {
            self.now.0 = (self.now.0 + 1_000).min(until);
            self.exchange.tick(self.now);
            while self.exchange.poll(self.now).is_some() {}
            self.look();
        }
    }

    fn hop(&self, prefix: &str) -> Option<PeerId> {
        let mut learned = self.exchange.learned();
        let found = learned.find(|(known, ..)| *known == prefix.as_bytes());
        found.map(|(_, hop, _)| hop)
    }

    /// All that a neighbour is told from the beginning: prefixes with the path's length.
    fn tells(&mut self, to: PeerId) -> Vec<(String, usize)> {
        let ask = Control {
            mode: Mode::Sync,
            table: TableId([0; 16]),
            epoch: 0,
        };
        self.exchange.control(to, &ask).unwrap();
        self.now.0 += exchange_bounds::RETRY_MS + 1;
        let mut told = Vec::new();
        while let Some((peer, message)) = self.exchange.poll(self.now) {
            let kind = message.kind();
            if let (RouteMessage::Update(update), true) = (message, peer == to) {
                let routes = update.routes.into_iter();
                told.extend(
                    routes
                        .map(|route| (String::from_utf8(route.prefix).unwrap(), route.path.len())),
                );
                self.exchange.answered(self.now, to, kind, true);
                self.now.0 += exchange_bounds::UPDATE_INTERVAL_MS;
                if update.span.to_epoch == update.span.current_epoch {
                    break;
                }
            }
        }
        told.sort();
        told
    }
}

fn span(epochs: (u32, u32), table: u8) -> Span {
    Span {
        table: TableId([table; 16]),
        current_epoch: epochs.1,
        from_epoch: epochs.0,
        to_epoch: epochs.1,
        hold_down_ms: exchange_bounds::HOLD_DOWN_MS,
    }
}

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
fn routes_longer_than_their_bounds_are_not_learned() {
    let mut pool = Pool::peers();
    let hops: Vec<String> = (0..32).map(|hop| format!("test.hop{hop}")).collect();
    let hops: Vec<&str> = hops.iter().map(String::as_str).collect();
    pool.hears(ANN, &[("test.far", &hops)], &[]);
    assert_eq!(
        pool.hop("test.far"),
        None,
        "with us it would be longer than anybody reads"
    );
    pool.hears(ANN, &[("test.far", &hops[..31])], &[]);
    assert_eq!(pool.hop("test.far"), Some(ANN));
    let long = format!("test.{}", "a".repeat(1_000));
    pool.hears(ANN, &[("test.long", &[&long, &long, &long])], &[]);
    assert_eq!(pool.hop("test.long"), None);
    pool.hears(ANN, &[("test.long", &[&long])], &[]);
    assert_eq!(pool.hop("test.long"), Some(ANN));
}

#[test]
fn a_neighbour_brings_no_more_prefixes_than_the_bound() {
    let mut pool = Pool::peers();
    let bound = exchange_bounds::PREFIXES_PER_NEIGHBOUR_MAX;
    for number in 0..bound + 10 {
        pool.hears(ANN, &[(&format!("test.n{number}"), &["test.ann"])], &[]);
    }
    assert_eq!(pool.exchange.learned().count(), bound);
    // Room comes back with what is withdrawn, once its flaps are forgotten.
    pool.hears(ANN, &[], &["test.n0"]);
    pool.hears(ANN, &[("test.late", &["test.ann"])], &[]);
    assert_eq!(pool.hop("test.late"), None);
    pool.now.0 += exchange_bounds::FLAP_WINDOW_MS;
    pool.hears(ANN, &[("test.late", &["test.ann"])], &[]);
    assert_eq!(pool.hop("test.late"), Some(ANN));
}

#[test]
fn a_neighbour_that_flaps_is_held_down_until_it_was_quiet() {
    let mut pool = Pool::peers();
    pool.hears(
        BEN,
        &[("test.far", &["test.ben", "test.x", "test.far"])],
        &[],
    );
    let begun = pool.now.0;
    while pool.now.0 < begun + exchange_bounds::FLAP_WINDOW_MS {
        pool.hears(ANN, &[("test.far", &["test.ann", "test.far"])], &[]);
        pool.hears(ANN, &[], &["test.far"]);
        pool.now.0 += 100;
    }
    let flaps = exchange_bounds::FLAPS_MAX as usize;
    // Once by Ben; then, for the first time and for each flap allowed, to Ann and back.
    assert_eq!(pool.changes.len(), 1 + 2 * (1 + flaps), "of 600 changes");
    pool.hears(ANN, &[("test.far", &["test.ann", "test.far"])], &[]);
    assert_eq!(pool.hop("test.far"), Some(BEN), "held down");
    pool.hears(BEN, &[], &["test.far"]);
    assert_eq!(pool.hop("test.far"), None, "even if nobody else is left");
    pool.passes(30_000);
    pool.hears(ANN, &[], &[]);
    pool.passes(exchange_bounds::FLAP_HOLD_MS - 31_000);
    assert_eq!(pool.hop("test.far"), None);
    pool.hears(ANN, &[], &[]);
    pool.passes(1_000);
    assert_eq!(
        pool.hop("test.far"),
        Some(ANN),
        "its last word counts again"
    );
}

#[test]
fn learned_routes_end_with_the_link_and_with_the_hold_down() {
    let mut pool = Pool::peers();
    pool.hears(ANN, &[("test.far", &["test.ann"])], &[]);
    pool.exchange.link_down(pool.now, ANN);
    assert_eq!(pool.hop("test.far"), None);
    let told = pool.hears_of(ANN, span((0, 1), 1), &[("test.far", &["test.ann"])], &[]);
    assert_eq!(told, Err(NotExchanged), "no link, no routes");

    pool.exchange.link_up(pool.now, ANN);
    pool.epochs[1] = 0;
    pool.hears(ANN, &[("test.far", &["test.ann"])], &[]);
    pool.passes(u64::from(exchange_bounds::HOLD_DOWN_MS) - 1_000);
    assert_eq!(pool.hop("test.far"), Some(ANN));
    pool.hears(ANN, &[], &[]);
    pool.passes(u64::from(exchange_bounds::HOLD_DOWN_MS) - 1_000);
    assert_eq!(pool.hop("test.far"), Some(ANN), "a heartbeat prolongs it");
    pool.passes(1_000);
    assert_eq!(pool.hop("test.far"), None);
}

#[test]
fn a_gap_changes_nothing_and_is_asked_about() {
    let mut pool = Pool::peers();
    pool.passes(1_000);
    for peer in [ANN, BEN] {
        pool.exchange
            .answered(pool.now, peer, forebay_ilp::ccp::Kind::Control, true);
    }
    pool.hears_of(ANN, span((0, 2), 1), &[("test.far", &["test.ann"])], &[])
        .unwrap();
    assert_eq!(pool.exchange.poll(pool.now), None);
    pool.hears_of(ANN, span((3, 4), 1), &[("test.more", &["test.ann"])], &[])
        .unwrap();
    assert_eq!(
        (pool.hop("test.far"), pool.hop("test.more")),
        (Some(ANN), None)
    );
    pool.now.0 += exchange_bounds::ASK_INTERVAL_MS;
    let asked = RouteMessage::Control(Control {
        mode: Mode::Sync,
        table: TableId([1; 16]),
        epoch: 2,
    });
    assert_eq!(pool.exchange.poll(pool.now), Some((ANN, asked)));
    pool.hears_of(ANN, span((2, 4), 1), &[("test.more", &["test.ann"])], &[])
        .unwrap();
    assert_eq!(pool.hop("test.more"), Some(ANN));
    // Old news change nothing.
    pool.hears_of(ANN, span((0, 3), 1), &[], &["test.more"])
        .unwrap();
    assert_eq!(pool.hop("test.more"), Some(ANN));
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
    assert_eq!(pool.exchange.control(ANN, &ask), Ok(()));
    assert_eq!(pool.exchange.control(BEN, &ask), Err(NotExchanged));
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
fn a_table_too_long_for_one_packet_is_told_in_parts() {
    let mut pool = Pool::peers();
    for number in 0..2_000 {
        pool.hears(
            ANN,
            &[(&format!("test.number{number}"), &["test.ann"])],
            &[],
        );
    }
    assert_eq!(pool.tells(BEN).len(), 2_001);
}

#[test]
fn who_missed_forgotten_withdrawals_is_told_all_anew() {
    let mut pool = Pool::peers();
    for number in 0..10 {
        pool.hears(ANN, &[(&format!("test.kept{number}"), &["test.ann"])], &[]);
    }
    assert_eq!(pool.tells(BEN).len(), 11);
    let first = pool.exchange.control(
        BEN,
        &Control {
            mode: Mode::Idle,
            table: TableId([0; 16]),
            epoch: 0,
        },
    );
    assert_eq!(first, Ok(()));
    for number in 0..=exchange_bounds::WITHDRAWN_MAX {
        let prefix = format!("test.passing{number}");
        if number % 1_000 == 0 {
            pool.now.0 += exchange_bounds::FLAP_WINDOW_MS;
        }
        pool.hears(ANN, &[(&prefix, &["test.ann"])], &[]);
        pool.hears(ANN, &[], &[&prefix]);
    }
    assert_eq!(
        pool.tells(BEN).len(),
        11,
        "nothing that is gone, and all that is there"
    );
}

/// Whatever neighbours tell: nothing of ours is taken from us, nothing passes its bound, and what we tell can be read.
#[test]
fn neighbours_that_say_anything_at_all_do_no_harm() {
    let mut state = 7_u64;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    let prefixes = [
        "",
        "test",
        "test.pool",
        "test.pool.x",
        "test.a",
        "test.a.b",
        "test.b",
        "g.a",
    ];
    let hops = [
        "test.pool",
        "test.a",
        "test.b",
        "test.c",
        "g.a",
        "test.pool.x",
    ];
    let epochs = [0, 1, 2, 3, 1_000, u32::MAX - 1, u32::MAX];
    let mut pool = Pool::peers();
    for _ in 0..20_000 {
        let peer = [ANN, BEN, EVE][usize::try_from(random(3)).unwrap()];
        let mut some = |list: &[&'static str], most: u64| -> Vec<&'static str> {
            let count = random(most);
            let places = (0..count).map(|_| random(list.len() as u64));
            places
                .map(|place| list[usize::try_from(place).unwrap()])
                .collect()
        };
        let paths: Vec<_> = (0..3).map(|_| some(&hops, 5)).collect();
        let (told, withdrawn) = (some(&prefixes, 4), some(&prefixes, 3));
        let routes: Vec<_> = told
            .iter()
            .zip(&paths)
            .map(|(told, path)| (*told, &path[..]))
            .collect();
        let mut ends: Vec<u32> = (0..3)
            .map(|_| epochs[usize::try_from(random(7)).unwrap()])
            .collect();
        ends.sort_unstable();
        let table = u8::try_from(random(3)).unwrap();
        let hold_down_ms = epochs[usize::try_from(random(7)).unwrap()];
        let span = Span {
            current_epoch: ends[2],
            to_epoch: ends[1],
            hold_down_ms,
            ..span((ends[0], ends[1]), table)
        };
        let taken = pool.hears_of(peer, span, &routes, &withdrawn);
        assert_eq!(taken.is_err(), peer == EVE);
        let known = epochs[usize::try_from(random(7)).unwrap()];
        let ask = Control {
            mode: Mode::Sync,
            table: TableId([table; 16]),
            epoch: known,
        };
        assert_eq!(pool.exchange.control(peer, &ask).is_err(), peer == EVE);
        pool.now.0 += random(3_000);
        pool.exchange.tick(pool.now);
        while let Some((to, message)) = pool.exchange.poll(pool.now) {
            let mut data = Vec::new();
            message.encode(&mut data);
            if let RouteMessage::Update(_) = message {
                let told = UpdateView::parse(&data).unwrap();
                assert!(
                    told.routes()
                        .all(|route| route.path().next().unwrap().as_str() == "test.pool")
                );
            }
            pool.exchange
                .answered(pool.now, to, message.kind(), random(4) > 0);
        }
    }
    for (prefix, hop, path) in pool.exchange.learned() {
        assert!(
            [&b"test.a"[..], b"test.a.b", b"test.b"].contains(&prefix),
            "{prefix:?}"
        );
        assert!(hop != EVE && path.iter().all(|hop| hop.to_string() != "test.pool"));
    }
    assert!(
        pool.changes.len() > 100,
        "{} changes: nothing was reached",
        pool.changes.len()
    );
    assert!(
        pool.tells(BEN).contains(&("test.pool".to_owned(), 1)),
        "our own address stays"
    );
}
