//! What may happen in a step: what peers, LPs, price sources, the operator, the chains and the disk do, rightly and wrongly.

mod bitcoin;
mod faults;
mod nonsense;
mod operator;
mod packets;
mod prices;
mod vaults;
mod vouchers;

use crate::world::World;

pub(crate) use bitcoin::{
    act as act_on_bitcoin, heal as heal_bitcoin, invoice_wanted, liquidity, tend as tend_bitcoin,
};
pub(crate) use packets::answer;
pub(crate) use prices::quote_all;
pub(crate) use vaults::finish_for;
pub(crate) use vouchers::redeem_for;

/// One random thing.
pub(crate) fn act(world: &mut World) {
    match world.random.below(1_000) {
        0..=379 => packets::send(world),
        380..=449 => packets::send_oddly(world),
        450..=549 => vouchers::vouch(world),
        550..=589 => vouchers::vouch_falsely(world),
        590..=639 => vouchers::deposit(world),
        640..=719 => prices::quote_all(world),
        720..=749 => prices::quote_oddly(world),
        750..=799 => vouchers::redeem(world),
        800..=839 => vaults::provide(world),
        840..=869 => vaults::give_notice(world),
        870..=884 => vaults::finish_notices(world),
        885..=909 => operator::instruct(world),
        910..=929 => operator::instruct_badly(world),
        930..=939 => operator::repeat_instruction(world),
        940..=949 => nonsense::pester(world),
        950..=957 => faults::fail_disk(world),
        958..=963 => world.crash_if_up(),
        964..=971 => faults::jump_clock(world),
        972..=982 => faults::reorganise(world),
        983 => world.start_second(),
        988..=991 => vaults::meet(world),
        984..=987 => world.poll_limit = world.random.pick(&[0, 1, 3, usize::MAX, usize::MAX]),
        _ => {
            for number in 0..world.actors.len() {
                world.end_batch(None);
                world.resume(number);
            }
        }
    }
}

impl World {
    fn crash_if_up(&mut self) {
        if self.is_up() {
            self.crash("crash between batches");
        }
    }

    fn some_actor(&mut self, fit: impl Fn(&crate::actor::Actor) -> bool) -> Option<usize> {
        let fitting: Vec<usize> = (0..self.actors.len())
            .filter(|number| fit(&self.actors[*number]))
            .collect();
        (!fitting.is_empty()).then(|| self.random.pick(&fitting))
    }

    /// The open channel of a peer, as the chain has it for certain.
    fn serial_of(&self, number: usize) -> Option<u64> {
        let actor = &self.actors[number];
        if actor.node.is_some() {
            return None;
        }
        let vault = self.chain.final_vault(actor.asset);
        let mut own = vault
            .channels
            .iter()
            .filter(|(_, channel)| channel.payout == actor.payout && !channel.closed);
        own.next_back().map(|(serial, _)| *serial)
    }
}
