//! Packets: what peers send, rightly and oddly, and how they answer.

use forebay_pool::{Command, Prepare, Rejection};
use forebay_quantity::{PacketId, PeerId, Timestamp};

use super::vouchers::{deposit_from, vouch_from};
use crate::world::{Mail, World};

pub(super) fn send(world: &mut World) {
    let Some(from) = world.some_actor(|actor| actor.sends && !actor.removed) else {
        return;
    };
    let sender = world.actors[from].id;
    let Some(to) = world.some_actor(|actor| actor.receives && actor.id != sender) else {
        return;
    };
    let destination = format!("test.pool.{}.shop", world.actors[to].name);
    for _ in 0..world.random.between(1, 4) {
        let amount = world.random.magnitude(9);
        let span = world.random.pick(&[2_000, 10_000, 30_000, 60_000]);
        let expires_at = world.wall().0 + span;
        let request = world.actors[from].next_request;
        world.actors[from].next_request += 1;
        let done = world.prepare(from, request, amount, expires_at, &destination);
        if matches!(done, Err(Rejection::NotSecured { .. })) {
            if world.random.chance(500) {
                return vouch_from(world, from);
            }
            return deposit_from(world, from);
        }
    }
}

pub(super) fn send_oddly(world: &mut World) {
    let Some(from) = world.some_actor(|actor| actor.sends) else {
        return;
    };
    let to = world.random.index(world.actors.len());
    let known = format!("test.pool.{}", world.actors[to].name);
    let own = format!("test.pool.{}.x", world.actors[from].name);
    let wall = world.wall().0;
    let margin = world.genesis.expiry_margin_ms;
    let usual = wall + 20_000;
    let in_flight = world.actors[from].sent.keys().next().copied();
    let request = world.actors[from].next_request;
    world.actors[from].next_request += 1;
    let choice = world.random.below(10);
    let _refused_or_not = match choice {
        0 => world.prepare(from, request, 0, usual, &known),
        1 => world.prepare(from, request, u64::MAX, usual, &known),
        2 => world.prepare(from, request, 5, wall, &known),
        3 => world.prepare(from, request, 5, wall.saturating_sub(9_999), &known),
        4 => world.prepare(from, request, 5, wall + margin, &known),
        5 => world.prepare(from, request, 5, wall + margin + 501, &known),
        6 => world.prepare(from, request, 5, usual, "g.nowhere.at.all"),
        7 => world.prepare(from, request, 5, usual, &own),
        8 => match in_flight {
            Some(request) if waits(world, from, request) => {
                let done = world.apply(&Command::Prepare(Prepare {
                    peer: world.actors[from].id,
                    request,
                    amount: 7,
                    expires_at: Timestamp(usual),
                    condition: [0; 32],
                    destination: known.as_bytes(),
                }));
                assert!(done.is_err(), "[I11] one request is in flight twice");
                done
            }
            Some(_) | None => Ok(()),
        },
        _ => world.apply(&Command::Prepare(Prepare {
            peer: PeerId(9_999),
            request,
            amount: 1,
            expires_at: Timestamp(usual),
            condition: [0; 32],
            destination: b"test.pool.peer0",
        })),
    };
}

fn waits(world: &World, number: usize, request: u32) -> bool {
    let peer = world.actors[number].id;
    world.is_up() && !world.halted && world.process.state().waits(peer, request)
}

/// How a peer answers a packet that was forwarded to it.
pub(crate) fn answer(world: &mut World, peer: PeerId, packet: PacketId, condition: [u8; 32]) {
    let preimage = world.preimages[&condition];
    let fulfill = Mail::Fulfill {
        peer,
        packet,
        preimage,
    };
    let choice = if world.calm {
        0
    } else {
        world.random.below(40)
    };
    match choice {
        36 => {
            let preimage = [0xaa; 32];
            world.post(Mail::Fulfill {
                peer,
                packet,
                preimage,
            });
        }
        37 => {
            let code = world.random.pick(&[*b"F99", *b"T04", *b"F02"]);
            world.post(Mail::Reject { peer, packet, code });
        }
        38 => world.counts.add("fault", "answer never given"),
        39 => {
            // Both at once, twice.
            world.post(fulfill.clone());
            world.post(fulfill);
            let code = *b"F99";
            world.post(Mail::Reject { peer, packet, code });
        }
        _ => world.post(fulfill),
    }
}
