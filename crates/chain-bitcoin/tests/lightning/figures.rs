//! The measurement of settlements, between two nodes of ours.

use std::sync::Arc;

use forebay_chain_bitcoin::lightning::bench::{SettlementLoad, settlements};
use forebay_chain_bitcoin::lightning::{ChannelNumber, HotWallet, Opening};

use crate::world::{World, listening_ours, start_silent, until};

#[test]
fn settlements_between_two_nodes_are_measured_one_by_one_and_many_at_once() {
    let world = World::new();
    let (payee, address) = listening_ours(&world, "payee");
    let (payer, mut told, wallet) = start_silent(&world, "payer");
    world.pay(&wallet.address(), 3_000_000);
    world.pay(&payee.wallet.address(), 100_000);
    world.mine(1);
    until("the coins are seen", || {
        wallet.spendable_sat() > 0 && payee.wallet.spendable_sat() > 0
    });
    let connected = payer.connect(payee.node.identity(), address);
    world.runtime.block_on(connected).expect("it listens");
    let opening = Opening {
        channel: ChannelNumber(1),
        peer: payee.node.identity(),
        value_sat: 2_000_000,
        public: false,
        fee_max_sat: 10_000,
    };
    payer.open_channel(opening).expect("the peer is there");
    world.runtime.block_on(async {
        use forebay_chain_bitcoin::lightning::Observation;
        loop {
            let observed = told.next().await.expect("it runs");
            let is_pending = matches!(observed.observation, Observation::ChannelPending { .. });
            observed.acknowledge();
            if is_pending {
                break;
            }
        }
    });
    std::thread::sleep(std::time::Duration::from_millis(200));
    world.mine(6);
    let kept = world.runtime.block_on(async {
        use forebay_chain_bitcoin::lightning::Observation;
        loop {
            let observed = told.next().await.expect("it runs");
            let is_ready = matches!(observed.observation, Observation::ChannelReady { .. });
            observed.acknowledge();
            if is_ready {
                break true;
            }
        }
    });
    assert!(kept);
    until("it is usable", || {
        payer.channels().expect("readable").iter().all(|c| c.usable)
    });
    let mut first = 0;
    for (count, at_once) in COUNTS {
        let load = SettlementLoad {
            count,
            at_once,
            amount_msat: 1_000,
            first,
        };
        first += u128::from(count);
        let payer: &Arc<_> = &payer;
        let measured = settlements(payer, &mut told, &payee.node, load);
        let figures = world.runtime.block_on(measured).expect("all arrive");
        println!(
            "{at_once} at once: {}/1000 s, p50 {:?}, p99 {:?}",
            figures.per_1000_s(),
            figures.percentile(50),
            figures.percentile(99)
        );
        assert_eq!(figures.latencies.len(), count as usize);
    }
    until("the payee has it all", || {
        let channels = payee.node.channels().expect("readable");
        channels.iter().map(|c| c.balance_msat).sum::<u64>()
            == 1_000 * u64::try_from(first).expect("few")
    });
}

const COUNTS: [(u32, u32); 2] = [(20, 1), (80, 40)];
