//! What LPs, peers, the committee and strangers do in a vault.

use forebay_channel::vault::Cosignature;
use forebay_channel::{CosignedRaise, Domain, Freeze, LaneId, MarkDown, Signable};
use forebay_quantity::{Amount, AssetId, ChannelSerial};

use super::vouchers::redeem_for;
use crate::setup::{self, address, submit};
use crate::signing::sign;
use crate::vault::{Call, Sender};
use crate::world::World;

/// LPs come and go.
pub(super) fn provide(world: &mut World) {
    let number = world.random.index(world.domains.len());
    let asset = AssetId(u16::try_from(number).expect("few"));
    let factor = world.factors[number];
    let owner = world.random.pick(&world.lps.clone());
    let amount =
        u128::from(world.random.magnitude(11)) * factor + u128::from(world.random.below(99));
    let sender = Sender::Account(owner);
    let held = world
        .chain
        .vault(asset)
        .units
        .get(&owner)
        .copied()
        .unwrap_or(0);
    let shares = world.chain.vault(asset).share_units;
    let part = u128::from(world.random.between(1, 100));
    let call = match world.random.below(6) {
        0 | 1 => Call::DepositNote { owner, amount },
        2 | 3 => Call::RequestExit {
            owner,
            units: held * part / 100,
        },
        4 => Call::DepositShare { amount },
        _ => match world.random.below(3) {
            0 => Call::WithdrawShare {
                amount: shares * part / 200,
            },
            _ => Call::PayExits,
        },
    };
    submit(world, asset, sender, call);
}

pub(super) fn give_notice(world: &mut World) {
    let number = world.random.index(world.actors.len());
    let Some(serial) = world.serial_of(number) else {
        return;
    };
    let actor = &world.actors[number];
    let (asset, payout) = (actor.asset, actor.payout);
    let channel = world.chain.final_vault(asset).channels[&serial].clone();
    let part = u128::from(world.random.below(100));
    let own = Sender::Account(payout);
    let (sender, call) = match world.random.below(10) {
        0 => (own, Call::StartClose { serial }),
        1 | 2 => {
            let ceiling = channel.peer.paid + channel.peer.remaining() * part / 100;
            let lane = LaneId::Peer;
            (
                own,
                Call::StartLowering {
                    serial,
                    lane,
                    ceiling,
                },
            )
        }
        3 | 4 => {
            let signer = address(b"signer", world.random.next());
            let actor = &mut world.actors[number];
            actor.former.push(actor.signer);
            actor.signer = signer;
            (own, Call::StartKeyChange { serial, signer })
        }
        5 => {
            // Anybody, who may once the term has ended.
            let lane = LaneId::Pool;
            (
                Sender::Account(address(b"stranger", 1)),
                Call::StartLowering {
                    serial,
                    lane,
                    ceiling: 0,
                },
            )
        }
        _ => {
            // The operator's own hand, outside the pool; often down to little more than what is signed.
            let signed = world.auditor.books.channels.get(&serial);
            let signed = signed.map_or(0, |channel| channel.out.promised.unsigned_abs());
            let (above, share) = if part < 40 {
                (channel.pool.paid, 100)
            } else {
                (signed.clamp(channel.pool.paid, channel.pool.ceiling), 2_000)
            };
            let ceiling = above + (channel.pool.ceiling - above) * (part % 50) / share;
            let lane = LaneId::Pool;
            (
                Sender::Operator,
                Call::StartLowering {
                    serial,
                    lane,
                    ceiling,
                },
            )
        }
    };
    submit(world, asset, sender, call);
}

/// What the committee signs, and now and then what it did not.
pub(super) fn meet(world: &mut World) {
    let number = world.random.index(world.domains.len());
    let asset = AssetId(u16::try_from(number).expect("few"));
    let domain = world.domains[number];
    let now_s = world.chain.time_s();
    let vault = world.chain.vault(asset);
    let (nonce, index) = (vault.growth.committee_nonce, vault.index);
    let open = vault.channels.iter().filter(|(_, channel)| !channel.closed);
    let serial = open.map(|(serial, _)| *serial).next_back();
    let valid_until_s = now_s + 3_600;
    let signers = world.random.pick(&[1, 2, 2, 3]);
    let (sender, call) = match world.random.below(5) {
        0 | 1 => {
            let freeze = Freeze {
                until_s: now_s + world.random.between(60, 2 * 3_600),
            };
            let list = cosigned(&domain, &freeze, signers);
            (stranger(), Call::Freeze(freeze, list))
        }
        2 => {
            let mark_down = MarkDown {
                index: Amount::new(index - index / u128::from(world.random.between(1_000, 9_999))),
                nonce,
                valid_until_s,
            };
            let list = cosigned(&domain, &mark_down, signers);
            (stranger(), Call::MarkDown(mark_down, list))
        }
        _ => {
            let Some(serial) = serial else { return };
            let raise = CosignedRaise {
                serial: ChannelSerial(serial),
                amount: Amount::new(
                    u128::from(world.random.magnitude(9)) * world.factors[number] + 1,
                ),
                term_end_s: 0,
                nonce,
                valid_until_s,
            };
            let list = cosigned(&domain, &raise, signers);
            (Sender::Operator, Call::RaiseCosigned(raise, list))
        }
    };
    submit(world, asset, sender, call);
}

fn cosigned(domain: &Domain, message: &impl Signable, signers: usize) -> Vec<Cosignature> {
    let digest = domain.digest(message);
    let members = (0u8..).zip(setup::committee()).take(signers);
    let one = |(member, signer)| Cosignature {
        member,
        signature: sign(&digest, signer),
    };
    members.map(one).collect()
}

fn stranger() -> Sender {
    Sender::Account(address(b"stranger", 3))
}

/// Anybody executes what notices have run out; a watchful peer redeems before.
pub(super) fn finish_notices(world: &mut World) {
    for number in 0..world.actors.len() {
        redeem_for(world, number);
        finish_for(world, number);
    }
}

pub(crate) fn finish_for(world: &mut World, number: usize) {
    let Some(serial) = world.serial_of(number) else {
        return;
    };
    let asset = world.actors[number].asset;
    let now_s = world.chain.time_s();
    let channel = &world.chain.final_vault(asset).channels[&serial];
    let ended = |deadline: Option<u64>| deadline.is_some_and(|at| at <= now_s);
    let mut calls = Vec::new();
    for (lane, books) in [(LaneId::Pool, channel.pool), (LaneId::Peer, channel.peer)] {
        if ended(books.lowering.map(|(_, at)| at)) {
            calls.push(Call::FinishLowering { serial, lane });
        }
    }
    if ended(channel.new_key.map(|(_, at)| at)) {
        calls.push(Call::FinishKeyChange { serial });
    }
    if ended(channel.close_at_s) {
        calls.push(Call::FinishClose { serial });
    }
    for call in calls {
        submit(world, asset, Sender::Account(address(b"stranger", 2)), call);
    }
}
