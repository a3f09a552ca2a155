//! What price sources report.

use forebay_quantity::AssetId;

use crate::setup::{quote_round, report};
use crate::world::World;

pub(crate) fn quote_all(world: &mut World) {
    for number in 0..world.true_prices.len() {
        let move_ppm = u128::from(world.random.between(998_000, 1_002_000));
        world.true_prices[number] = world.true_prices[number] * move_ppm / 1_000_000;
        quote_round(world, AssetId(u16::try_from(number).expect("few")));
    }
}

pub(super) fn quote_oddly(world: &mut World) {
    let number = world.random.index(world.true_prices.len());
    let asset = AssetId(u16::try_from(number).expect("few"));
    let (price, wall) = (world.true_prices[number], world.wall().0);
    let source = u16::try_from(world.random.below(5)).expect("few");
    match world.random.below(8) {
        0 => report(world, asset, source, price * 2, wall),
        1 => report(
            world,
            asset,
            source,
            price / 3,
            wall.saturating_sub(100_000),
        ),
        2 => report(world, asset, source, 0, wall),
        3 => report(world, asset, source, price, wall + 60_000),
        4 => report(world, AssetId(77), source, price, wall),
        5 => {
            for source in 0..20 {
                report(world, asset, source, price, wall);
            }
        }
        6 => {
            // Sources drift apart until the guard trips.
            for source in 0..4 {
                let price = price * (100 + 10 * u128::from(source)) / 100;
                report(world, asset, source, price, wall);
            }
        }
        _ => report(world, asset, source, price * 1_001 / 1_000, wall + 4_000),
    }
}
