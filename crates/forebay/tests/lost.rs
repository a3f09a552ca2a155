//! A pool and a payee's side that are killed together, with a packet between them.
#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use world::packets::{Software, pay};
use world::{World, start_peer, units};

const AMOUNT: u64 = 20_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_under_way_when_pool_and_payee_are_killed_ends_once_and_is_paid_by_nobody() {
    let mut world = World::start().await;
    let mut a = Software::connect(&world.listen_a).await;
    let mut b = Software::connect(&world.listen_b).await;
    pay(&mut a, &mut b, 2, AMOUNT).await;
    let paid = world.wait("B is paid for the first", || {
        let view = world.view("b")?;
        let is_paid = units(&view["received"]) > 0 && units(&view["unpaid"]) == 0;
        is_paid.then(|| units(&view["received"]))
    });

    a.prepare(3, AMOUNT).await;
    let arrived = b.asked().await;
    world.pool.kill();
    world.peer_b.kill();
    // Whoever hears it is gone.
    drop((b, arrived));
    world.restart_pool();
    world.peer_b = start_peer(&world.path(""), "b");

    let ending = tokio::time::timeout(Duration::from_secs(30), a.ending(3)).await;
    let code = ending.unwrap_or_else(|_| panic!("packet 3 never ended\n{}", world.logs()));
    assert!(
        matches!(code.as_deref(), Some("T00" | "T01" | "R00")),
        "{code:?}"
    );
    world.wait("both peers are back", || {
        let (a, b) = (world.view("a")?, world.view("b")?);
        (a["ready"] == true && b["ready"] == true).then_some(())
    });

    let mut b = Software::connect(&world.listen_b).await;
    pay(&mut a, &mut b, 4, AMOUNT).await;
    world.wait("B is paid for the first and the last, and no more", || {
        let view = world.view("b")?;
        let is_whole = units(&view["received"]) == 2 * paid && units(&view["unpaid"]) == 0;
        is_whole.then_some(())
    });
}
