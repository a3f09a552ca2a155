//! After healing, everything that was begun comes to its end, in bounded time.

use forebay_quantity::AssetId;

use crate::actions::{finish_for, redeem_for, tend_bitcoin};
use crate::setup::{quote_round, submit};
use crate::trace;
use crate::vault::{Call, Sender};
use crate::world::{OnBitcoin, World};
use forebay_pool::{Admin, Rail};

/// Simulated time from healing to the end.
const ROUNDS: u64 = 90;
const ROUND_MS: u64 = 10 * 60_000;
/// An effect is settled within this long once nothing fails.
const EFFECT_MS: u64 = 30 * 60_000;

/// Blocks are slow there, and six of them have to pass.
const BITCOIN_MS: u64 = 6 * 3_600_000;

/// No more faults, no more cheating, money enough: then what was begun must end.
pub(crate) fn heal_and_check(world: &mut World) {
    trace::step(|| "the world heals".to_owned());
    world.calm = true;
    world.skew = 0;
    world.poll_limit = usize::MAX;
    world
        .process
        .storage
        .set_faults(forebay_journal::testing::Faults::default());
    world.settle_place();
    world.move_world();
    for number in 0..world.factors.len() {
        let asset = AssetId(u16::try_from(number).expect("few"));
        world
            .admin(Admin::ResumeBook(asset))
            .expect("a healthy pool resumes");
        if number >= world.domains.len() {
            crate::actions::heal_bitcoin(world);
            quote_round(world, asset);
            continue;
        }
        let owner = world.lps[0];
        let amount = 10u128.pow(13) * world.factors[number];
        let call = Call::DepositNote { owner, amount };
        submit(world, asset, Sender::Account(owner), call);
        quote_round(world, asset);
    }
    for round in 0..ROUNDS {
        world.now += ROUND_MS;
        world.move_world();
        for number in 0..world.actors.len() {
            redeem_for(world, number);
            finish_for(world, number);
            if round % 4 == 0 {
                world.reconnect(number);
            }
        }
        world.end_batch(None);
        if world.bitcoin.is_some() {
            tend_bitcoin(world);
        }
    }
    world.poll_chain();
    world.end_batch(None);
    check(world);
    world.audit_replay();
}

fn check(world: &World) {
    let state = world.process.state();
    assert_eq!(state.packets().count(), 0, "[live] packets stay in flight");
    for actor in &world.actors {
        assert!(
            actor.sent.is_empty(),
            "[live] {} waits for answers for ever: {:?}",
            actor.name,
            actor.sent.keys()
        );
    }
    for (id, request) in state.chain_effects() {
        let since = world.effect_times[&id];
        let patience = match request.is_of_reserve() || request.lightning_channel().is_some() {
            true => BITCOIN_MS,
            false => EFFECT_MS,
        };
        assert!(
            world.now - since <= patience,
            "[live] effect {id} has no outcome: {request:?}"
        );
    }
    for (id, peer) in state.peers() {
        if peer.removed {
            assert!(
                peer.channel.is_none(),
                "[live] the channel of removed peer {id} does not close"
            );
            continue;
        }
        let earned = state.earned(peer);
        let policy = &peer.policy;
        let settled = earned < policy.settle_threshold || earned <= policy.settle_target;
        assert!(
            settled || policy.allotment.is_zero(),
            "[live] peer {id} has earned {earned} and is not paid (threshold {}, {:?}, {:?})",
            policy.settle_threshold,
            peer.channel,
            peer.lightning
        );
        let out = state.balance(peer.vouchers_out).credit();
        assert!(
            out.is_zero(),
            "[live] peer {id} cannot redeem {out} of its vouchers"
        );
        if let Some(channel) = &peer.channel {
            let asset = state.asset(peer.asset).expect("listed");
            let worth = asset.ledger_floor(channel.incoming.redeemable());
            assert!(
                worth.is_zero() || worth < policy.redeem_threshold,
                "[live] {worth} held of peer {id} is not redeemed (threshold {})",
                policy.redeem_threshold
            );
        }
    }
    for (id, asset) in state.assets() {
        if let (Rail::Bitcoin { .. }, Some(bitcoin)) = (asset.rail, &world.bitcoin) {
            check_bitcoin(world, bitcoin);
            continue;
        }
        assert!(
            asset.vault.cohorts.is_empty(),
            "[live] exits of asset {id} stay unpaid: {:?}",
            asset.vault.cohorts
        );
        let waiting = world.chain.final_vault(id).units_waiting();
        assert_eq!(waiting, 0, "[live] the chain has unpaid exits");
    }
}

/// All that happened on Bitcoin is in the books, nobody waits for a payment, and no more is hot than may be.
fn check_bitcoin(world: &World, bitcoin: &OnBitcoin) {
    let state = world.process.state();
    let lightning = &bitcoin.lightning;
    world.auditor.check_all_counted(lightning);
    assert_eq!(state.withdrawals().count(), 0, "[live] LPs wait to be paid");
    let pending = lightning
        .payments()
        .filter(|(_, payment)| payment.is_pending());
    assert_eq!(pending.count(), 0, "[live] payments stay under way");
    let asset = state.asset(bitcoin.asset).expect("listed");
    let reserved = u128::from(lightning.reserved().sat) * 1_000;
    let hot = asset.vault.chain_total.value() - reserved;
    let spendable = u128::from(lightning.wallet().spendable_sat) * 1_000;
    let hot_max = bitcoin.rules.hot_max.value();
    assert!(
        hot <= hot_max || spendable < hot_max / 16,
        "[live] {hot} msat stay hot, of which {spendable} could be swept, and the cap is {hot_max}"
    );
}
