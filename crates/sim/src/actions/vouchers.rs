//! How peers on vaults pay ahead and are paid: deposits, vouchers, true and false ones, redemptions.

use forebay_channel::{LaneId, Voucher};
use forebay_pool::Command;
use forebay_quantity::{Amount, ChannelSerial};

use crate::setup::{address, submit};
use crate::signing::signed;
use crate::vault::{Call, Sender};
use crate::world::{Mail, World};

pub(super) fn vouch(world: &mut World) {
    if let Some(number) = world.some_actor(|actor| actor.sends) {
        vouch_from(world, number);
    }
}

pub(super) fn vouch_from(world: &mut World, number: usize) {
    let Some(serial) = world.serial_of(number) else {
        return;
    };
    let actor = &world.actors[number];
    let channel = &world.chain.final_vault(actor.asset).channels[&serial];
    let announced = channel.peer.lowering.map_or(u128::MAX, |(to, _)| to);
    let most = channel.peer.ceiling.min(announced);
    let given = actor.given.get(&serial).copied().unwrap_or(0);
    let Some(room) = most.checked_sub(given).filter(|room| *room > 0) else {
        return;
    };
    let part = u128::from(world.random.between(1, 1_000));
    let amount = given + (room * part).div_ceil(1_000);
    give_voucher(world, number, serial, LaneId::Peer, amount);
}

fn give_voucher(world: &mut World, number: usize, serial: u64, lane: LaneId, amount: u128) {
    let actor = &mut world.actors[number];
    // The signer that the chain knows signs.
    let known = world.chain.final_vault(actor.asset).channels.get(&serial);
    let signer = known.map_or(actor.signer, |channel| channel.peer_signer);
    let given = actor.given.entry(serial).or_insert(0);
    *given = amount.max(*given);
    let peer = actor.id;
    let message = Voucher {
        serial: ChannelSerial(serial),
        lane,
        amount: Amount::new(amount),
    };
    let voucher = signed(&world.domains[usize::from(actor.asset.0)], message, signer);
    world.post(Mail::Voucher { peer, voucher });
}

pub(super) fn vouch_falsely(world: &mut World) {
    let number = world.random.index(world.actors.len());
    let Some(serial) = world.serial_of(number) else {
        return;
    };
    let (peer, asset) = (world.actors[number].id, world.actors[number].asset);
    let signer = world.actors[number].signer;
    let given = world.actors[number]
        .given
        .get(&serial)
        .copied()
        .unwrap_or(0);
    let held = world.auditor.books.channels.get(&serial);
    let held = held.map_or(0, |channel| channel.held.promised.unsigned_abs());
    let choice = world.random.below(5);
    let (serial, lane, amount, signer) = match choice {
        0 => (serial, LaneId::Peer, given.min(held), signer),
        1 => (serial, LaneId::Pool, given + 1, signer),
        2 => (serial + 1, LaneId::Peer, given + 1, signer),
        3 => (serial, LaneId::Peer, u128::from(u64::MAX) << 20, signer),
        _ => (serial, LaneId::Peer, given + 5, address(b"stranger", 1)),
    };
    world.counts.add("fault", "false voucher");
    let message = Voucher {
        serial: ChannelSerial(serial),
        lane,
        amount: Amount::new(amount),
    };
    let voucher = signed(&world.domains[usize::from(asset.0)], message, signer);
    let done = world.apply(&Command::Voucher { peer, voucher });
    assert!(
        done.is_err() || !world.is_up(),
        "[I5] a false voucher was accepted"
    );
}

pub(super) fn deposit(world: &mut World) {
    if let Some(number) = world.some_actor(|actor| actor.sends) {
        deposit_from(world, number);
    }
}

pub(super) fn deposit_from(world: &mut World, number: usize) {
    if world.actors[number].node.is_some() {
        return super::bitcoin::pay_ahead(world, number);
    }
    let Some(serial) = world.serial_of(number) else {
        return;
    };
    let actor = &world.actors[number];
    let (asset, factor, payout) = (actor.asset, actor.factor, actor.payout);
    let dust = u128::from(world.random.below(1_000_000)) % factor;
    let amount = u128::from(world.random.magnitude(10)) * factor + dust;
    submit(
        world,
        asset,
        Sender::Account(payout),
        Call::Deposit {
            serial,
            amount,
            payout,
        },
    );
}

pub(super) fn redeem(world: &mut World) {
    let number = world.random.index(world.actors.len());
    redeem_for(world, number);
}

/// A peer redeems the best voucher that it holds of its open channel.
pub(crate) fn redeem_for(world: &mut World, number: usize) {
    let Some(serial) = world.serial_of(number) else {
        return;
    };
    let actor = &world.actors[number];
    let Some((amount, signature)) = actor.vouchers.get(&serial).copied() else {
        return;
    };
    let (asset, payout) = (actor.asset, actor.payout);
    let paid = world
        .chain
        .vault(asset)
        .channels
        .get(&serial)
        .map_or(0, |c| c.pool.paid);
    if amount <= paid {
        return;
    }
    let call = Call::Redeem {
        serial,
        lane: LaneId::Pool,
        amount,
        signature,
    };
    submit(world, asset, Sender::Account(payout), call);
}
