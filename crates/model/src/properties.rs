//! What always holds, and what must be found to happen.

use forebay_channel::{LaneId, Phase};
use stateright::Property;

use crate::actor::Who;
use crate::chain::index;
use crate::world::{ChannelModel, World};

/// The name of the property that no wrong margin survives.
pub const PAID_IN_FULL: &str =
    "every voucher held is paid in full while someone acts within each notice";

/// Something that must be found to happen.
pub type Ending = (&'static str, fn(&ChannelModel, &World) -> bool);

/// All that is checked, with these endings.
#[must_use]
pub fn properties(endings: &[Ending]) -> Vec<Property<ChannelModel>> {
    let mut all = vec![
        Property::always(PAID_IN_FULL, paid_in_full),
        Property::always(
            "payouts never exceed what the chain holds",
            |_, world: &World| world.chain.tip.is_covered(),
        ),
        Property::always(
            "nobody counts on more than was promised",
            |_, world: &World| {
                both(world, |world, lane| {
                    let payee = &world.actors[Who::payee(lane).index()];
                    let best = payee.best.map_or(0, |best| best.voucher.amount.value());
                    payee.channel.incoming.promised().value() <= best
                })
            },
        ),
    ];
    let found = |(name, holds): &Ending| Property::sometimes(name, *holds);
    all.extend(endings.iter().map(found));
    all
}

fn both(world: &World, holds: impl Fn(&World, LaneId) -> bool) -> bool {
    holds(world, LaneId::Pool) && holds(world, LaneId::Peer)
}

/// What was counted on was paid by now, or is whenever it is asked for.
fn paid_in_full(_: &ChannelModel, world: &World) -> bool {
    both(world, |world, lane| {
        world.neglected[index(lane)] || !is_lost(world, lane)
    })
}

fn is_lost(world: &World, lane: LaneId) -> bool {
    let vault = world.chain.settled();
    let best = world.actors[Who::payee(lane).index()].best;
    let collectable = best.map_or(0, |best| vault.collectable(&best));
    collectable < world.counted[index(lane)]
}

fn is_any_lost(world: &World) -> bool {
    is_lost(world, LaneId::Pool) || is_lost(world, LaneId::Peer)
}

fn ended(world: &World) -> bool {
    world.chain.settled().closed
}

fn paid(world: &World, lane: LaneId) -> u8 {
    world.chain.settled().lane(lane).paid
}

fn all_paid(world: &World, lane: LaneId) -> bool {
    let counted = world.counted[index(lane)];
    counted > 0 && paid(world, lane) >= counted
}

/// Good: closed by notice, the pool's lane paid in full.
pub const PEER_PAID_AND_CLOSED: Ending = ("closed by notice, the peer paid in full", |_, world| {
    ended(world) && !world.marks.closed_together && all_paid(world, LaneId::Pool)
});

/// Good: closed by notice, the peer's lane paid in full.
pub const POOL_PAID_AND_CLOSED: Ending = ("closed by notice, the pool paid in full", |_, world| {
    ended(world) && !world.marks.closed_together && all_paid(world, LaneId::Peer)
});

/// Good: closed at once by both, both lanes paid in full.
pub const CLOSED_TOGETHER: Ending = ("closed by both, each paid in full", |_, world| {
    ended(world)
        && world.marks.closed_together
        && all_paid(world, LaneId::Pool)
        && all_paid(world, LaneId::Peer)
});

/// Good: both lanes netted, the rest redeemed, closed.
pub const NETTED_AND_CLOSED: Ending = ("netted off, the rest redeemed, closed", |_, world| {
    ended(world)
        && world.marks.netted
        && all_paid(world, LaneId::Pool)
        && all_paid(world, LaneId::Peer)
});

/// Bad, and harmless: what both signed to net off is void, because one redeemed first.
pub const NET_OFF_VOID: Ending = ("a net-off is void after a redemption", |_, world| {
    world.marks.net_off_void && !world.marks.netted
});

/// Good: the payee slept, its tower did not.
pub const TOWER_PAID: Ending = (
    "the payee sleeps through, its tower has it paid in full",
    |model, world| {
        model.bounds.tower.is_some_and(|lane| {
            let payee = &world.actors[Who::payee(lane).index()];
            let slept = !matches!(payee.channel.phase(), Phase::Closing { .. } | Phase::Closed);
            ended(world) && world.marks.tower_paid && slept && all_paid(world, lane)
        })
    },
);

/// Bad: everybody slept.
pub const LOST_IN_SLEEP: Ending = ("nobody acts, and a voucher is lost", |_, world| {
    is_any_lost(world)
});

/// Bad, and mended: the block with the redemption was dropped, and it was paid all the same.
pub const PAID_AFTER_REORG: Ending = (
    "a redemption is dropped by a reorg and paid all the same",
    |_, world| world.marks.redemption_came_back && ended(world) && all_paid(world, LaneId::Pool),
);

/// Bad, and harmless: a ceiling fell to its announced height, and what was held was paid before.
pub const LOWERED_AFTER_PAYING: Ending = (
    "a ceiling falls after what it covered was paid",
    |model, world| {
        let fell = |lane: LaneId| {
            let start = model.bounds.ceilings[index(lane)];
            world.chain.settled().lane(lane).ceiling < start && all_paid(world, lane)
        };
        !ended(world) && (fell(LaneId::Pool) || fell(LaneId::Peer))
    },
);

/// Bad: a ceiling fell under what somebody held.
pub const LOWERED_UNDER_A_VOUCHER: Ending = (
    "nobody acts, and a ceiling falls under a voucher",
    |_, world| !ended(world) && is_any_lost(world),
);

/// Good: the key changed, and what the old one signed was paid afterwards.
pub const OLD_KEY_PAID: Ending = ("what a replaced key signed is paid after it", |_, world| {
    [LaneId::Pool, LaneId::Peer].into_iter().any(|lane| {
        let before = world.chain.settled().lane(lane).paid;
        world.has_new_key(lane)
            && world.chain.tip.lane(lane).paid > before
            && all_counted(world, lane)
    })
});

fn all_counted(world: &World, lane: LaneId) -> bool {
    world.chain.tip.lane(lane).paid >= world.counted[index(lane)]
}

/// Bad, and bounded: a voucher above the ceiling pays up to the ceiling.
pub const OVERPROMISE_PAYS_THE_CEILING: Ending = (
    "a voucher above the ceiling pays the ceiling",
    |_, world| {
        [LaneId::Pool, LaneId::Peer].into_iter().any(|lane| {
            let payee = &world.actors[Who::payee(lane).index()];
            let books = world.chain.settled().lane(lane);
            let best = payee.best.map_or(0, |best| best.voucher.amount.value());
            best > u128::from(books.ceiling) && books.paid == books.ceiling && books.paid > 0
        })
    },
);

/// Bad, and mended: every message of a voucher was lost or died with its sender, and a later one carried all of it.
pub const HELD_DESPITE_LOSS: Ending = (
    "a voucher is held although one was lost on the way",
    |_, world| world.spent.drops + world.spent.crashes >= 2 && all_paid(world, LaneId::Pool),
);

/// Bad: what was signed never arrived.
pub const NEVER_ARRIVED: Ending = (
    "a signed voucher never arrives, and the channel ends without it",
    |_, world| {
        let [pool, peer, ..] = &world.actors[..] else {
            return false;
        };
        ended(world) && pool.channel.outgoing.promised() > peer.channel.incoming.promised()
    },
);
