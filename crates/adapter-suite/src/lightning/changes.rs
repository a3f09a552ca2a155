//! Channels that are opened, changed and closed.

use super::{
    world::{CHANNEL, CHANNEL_SAT, FEE_MAX_SAT, MINERS_MAX_SAT, World, closed, pending},
    *,
};

/// Claims about channels.
pub const CHANGES: &[Row<dyn LightningRail>] = &[
    Row {
        claim: "an opening is told, then that it can be used, and costs its value and the fee that was told",
        check: opening,
    },
    Row {
        claim: "an opening without coins, or dearer than its bound, is refused or told closed, and its coins are free",
        check: opening_refused,
    },
    Row {
        claim: "what can be sent and received is told, after payments, and when the peer leaves and comes back",
        check: capacity,
    },
    Row {
        claim: "a splice in enlarges a channel, which pays all the while, and another one waits for it",
        check: splice_in,
    },
    Row {
        claim: "a splice out brings exactly what was asked for into the hot wallet, for the fee that was told",
        check: splice_out,
    },
    Row {
        claim: "a change that is dearer than its bound is refused and changes nothing",
        check: too_dear,
    },
    Row {
        claim: "a channel that both close brings back what was ours, less the fee",
        check: close_together,
    },
    Row {
        claim: "a channel that the peer closes with us brings back what was ours",
        check: peer_closes,
    },
];

type Rail<'a> = World<'a, dyn LightningRail>;

fn opening(world: &mut Rail<'_>) {
    world.rail.fund(2 * CHANNEL_SAT);
    let opening = world.opening(CHANNEL);
    assert_eq!(world.rail.open(&[opening]), [Ok(())]);
    let (_, fee_sat) = world.funding(CHANNEL);
    assert!(fee_sat > 0 && fee_sat <= FEE_MAX_SAT);
    assert!(world.standing(CHANNEL).is_some_and(|c| !c.usable));
    assert_eq!(
        world.count(|o| matches!(o, Observation::Ready { .. })),
        0,
        "no block has been made"
    );
    world.usable(CHANNEL);
    assert_eq!(world.rail.open(&[opening]), [Ok(())], "it is there already");
    world.agreed(CHANNEL_SAT * 1_000);
    assert_eq!(world.rail.unspent_sat(), CHANNEL_SAT - fee_sat);
    assert_eq!(world.count(pending(CHANNEL)), 1);
    assert_eq!(world.count(|o| matches!(o, Observation::Ready { .. })), 1);
}

fn opening_refused(world: &mut Rail<'_>) {
    world.rail.fund(CHANNEL_SAT + 200_000);
    let free = world.rail.spendable_sat();
    let too_large = Opening {
        value_sat: 2 * CHANNEL_SAT,
        ..world.opening(Channel(1))
    };
    let too_dear = Opening {
        fee_max_sat: 1,
        ..world.opening(Channel(2))
    };
    let too_few = Refusal::NotEnoughCoins;
    for (opening, why) in [(too_large, too_few), (too_dear, Refusal::FeeTooHigh)] {
        // Before the peer is asked, or after it has agreed.
        match world.rail.open(&[opening])[..] {
            [Ok(())] => {
                world.wait("it comes to nothing", closed(opening.channel));
            }
            ref refused => assert_eq!(refused, [Err(why)]),
        }
        world.until("its coins are free", |world| {
            world.rail.spendable_sat() == free
        });
        assert_eq!(world.count(pending(opening.channel)), 0);
    }
    let dear_enough = world.opening(Channel(3));
    assert_eq!(world.rail.open(&[dear_enough]), [Ok(())]);
    world.usable(Channel(3));
}

fn capacity(world: &mut Rail<'_>) {
    world.channel();
    let last = |world: &mut Rail<'_>| {
        let mut told = world.told().iter().rev();
        told.find_map(|o| match o {
            Observation::Capacity {
                outbound_msat,
                inbound_msat,
            } => Some((*outbound_msat, *inbound_msat)),
            _ => None,
        })
    };
    let now = |world: &mut Rail<'_>| {
        let channel = world.rail.channels()[0];
        Some((channel.outbound_msat, channel.inbound_msat))
    };
    world.until("what there is is told", |world| {
        last(world).is_some() && last(world) == now(world)
    });
    let (first, _) = last(world).expect("it was told");
    // All but what is set aside for closing: a hundredth, and what the commitment costs.
    assert!(
        first < CHANNEL_SAT * 1_000 && first > CHANNEL_SAT * 900,
        "{first}"
    );
    world.give(2, 50_000_000);
    world.until("what is left is told", |world| {
        last(world).is_some_and(|(outbound, inbound)| {
            outbound + 100_000_000 == first && inbound > 80_000_000 && inbound < 100_000_000
        })
    });
    assert_eq!(last(world), now(world));
    world.rail.connected(false);
    world.until("nothing can be paid", |world| last(world) == Some((0, 0)));
    world.rail.connected(true);
    world.until("it can again", |world| {
        last(world).is_some_and(|(outbound, _)| outbound + 100_000_000 == first)
    });
}

fn splice_in(world: &mut Rail<'_>) {
    world.channel();
    let before = world.rail.unspent_sat();
    assert_eq!(world.rail.splice_in(CHANNEL, 300_000, FEE_MAX_SAT), Ok(()));
    let fee_sat = spliced(world, 1);
    assert!(fee_sat > 0 && fee_sat <= FEE_MAX_SAT);
    let again = world.rail.splice_out(CHANNEL, 100_000, FEE_MAX_SAT);
    assert_eq!(again, Err(Refusal::Channel), "one at a time");
    let invoice = world.their_invoice(1_000_000);
    assert!(world.pay(&invoice).is_some(), "while it is pending");
    world.until_mined("it is larger", 1, |world| {
        world
            .standing(CHANNEL)
            .is_some_and(|c| c.usable && c.value_sat == CHANNEL_SAT + 300_000)
    });
    world.agreed((CHANNEL_SAT + 300_000) * 1_000 - 1_000_000);
    world.until("the wallet has the change", |world| {
        world.rail.unspent_sat() == before - 300_000 - fee_sat
    });
    world.give(1, 90_000_000);
    assert_eq!(world.count(|o| matches!(o, Observation::Spliced { .. })), 1);
}

/// The fee of the splice that is told as this one, counted from one.
fn spliced(world: &mut Rail<'_>, which: usize) -> u64 {
    let mut fee = None;
    world.until("the splice is pending", |world| {
        let mut all = world.told().iter().filter_map(|o| match o {
            Observation::Spliced { fee_sat, .. } => Some(*fee_sat),
            _ => None,
        });
        fee = all.nth(which - 1);
        fee.is_some()
    });
    fee.expect("it was told")
}

fn splice_out(world: &mut Rail<'_>) {
    world.channel();
    world.give(1, 2_000_000);
    let before = world.rail.unspent_sat();
    assert_eq!(world.rail.splice_out(CHANNEL, 200_000, FEE_MAX_SAT), Ok(()));
    let fee_sat = spliced(world, 1);
    let invoice = world.their_invoice(1_000_000);
    assert!(world.pay(&invoice).is_some(), "while it is pending");
    let left_sat = CHANNEL_SAT - 200_000 - fee_sat;
    world.until_mined("it is smaller", 1, |world| {
        world
            .standing(CHANNEL)
            .is_some_and(|c| c.usable && c.value_sat == left_sat)
    });
    assert!(fee_sat > 0 && fee_sat <= FEE_MAX_SAT);
    world.agreed(left_sat * 1_000 - 3_000_000);
    assert_eq!(world.rail.unspent_sat(), before + 200_000);
}

fn too_dear(world: &mut Rail<'_>) {
    world.channel();
    let (before, free) = (world.rail.channels(), world.rail.spendable_sat());
    let refused = Err(Refusal::FeeTooHigh);
    assert_eq!(world.rail.splice_in(CHANNEL, 300_000, 1), refused);
    assert_eq!(world.rail.splice_out(CHANNEL, 300_000, 1), refused);
    assert_eq!(world.rail.close(CHANNEL, 1), refused);
    world.give(1, 1_000_000);
    world.rail.mine(6);
    let after = world.rail.channels();
    assert_eq!(after[0].value_sat, before[0].value_sat);
    assert_eq!(world.rail.spendable_sat(), free);
    let changed =
        |o: &Observation| matches!(o, Observation::Spliced { .. } | Observation::Closed { .. });
    assert_eq!(world.count(changed), 0);
    assert_eq!(
        world.rail.splice_out(CHANNEL, 300_000, FEE_MAX_SAT),
        Ok(()),
        "with a bound that it keeps"
    );
    spliced(world, 1);
}

fn close_together(world: &mut Rail<'_>) {
    world.channel();
    world.give(2, 50_000_000);
    let before = world.rail.unspent_sat();
    assert_eq!(world.rail.close(CHANNEL, FEE_MAX_SAT), Ok(()));
    world.closed_with(CHANNEL, CHANNEL_SAT * 1_000 - 100_000_000);
    let value_sat = world.all_back(CHANNEL);
    let most = CHANNEL_SAT - 100_000;
    assert!(
        value_sat <= most && value_sat + MINERS_MAX_SAT > most,
        "{value_sat}"
    );
    assert_eq!(world.rail.unspent_sat() - before, value_sat);
    let again = world.rail.close(CHANNEL, FEE_MAX_SAT);
    assert_eq!(again, Err(Refusal::UnknownChannel));
    assert_eq!(world.rail.channels(), []);
}

fn peer_closes(world: &mut Rail<'_>) {
    world.channel();
    world.give(1, 50_000_000);
    let before = world.rail.unspent_sat();
    world.rail.peer_closes();
    world.closed_with(CHANNEL, CHANNEL_SAT * 1_000 - 50_000_000);
    let (value_sat, most) = (world.all_back(CHANNEL), CHANNEL_SAT - 50_000);
    assert!(
        value_sat <= most && value_sat + MINERS_MAX_SAT > most,
        "{value_sat}"
    );
    assert_eq!(world.rail.unspent_sat() - before, value_sat);
}
