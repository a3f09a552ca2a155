//! Bounds, time and loss: what is too much, too often, too late, missing, or nonsense.

use forebay_ilp::ccp::{Control, Mode, Span, TableId, UpdateView};
use forebay_pool::{NotExchanged, RouteMessage, exchange_bounds};

use crate::pool::{ANN, BEN, EVE, Pool, span};

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
        pool.now,
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
        assert_eq!(
            pool.exchange.control(pool.now, peer, &ask).is_err(),
            peer == EVE
        );
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
