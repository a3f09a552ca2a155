//! A node whose store is lost: the peer closes, and the seed finds what that pays us.

use std::sync::Arc;

use forebay_chain_bitcoin::bitcoind::Bitcoind;
use forebay_chain_bitcoin::chain::ChainSource;
use forebay_chain_bitcoin::lightning::{Seed, recover};

use crate::world::{World, seed_of, until};

const CHANNEL_SAT: u64 = 500_000;
const GIVEN_SAT: u64 = 100_000;

#[test]
fn with_its_store_lost_a_node_has_its_peer_close_and_the_seed_fetches_its_part() {
    let world = World::new();
    let (ours, theirs) = (world.ours("ours"), world.theirs("theirs"));
    world.channel(&ours, &theirs, CHANNEL_SAT);
    ours.give(&theirs, 2, GIVEN_SAT * 1_000 / 2);
    ours.stop();
    std::fs::remove_dir_all(world.folder.path().join("ours")).expect("it is ours to lose");

    // The same seed and nothing else. The peer is told that its channel is not known, and closes it.
    let ours = world.ours("ours");
    ours.connect(&theirs);
    until("the peer closes", || world.mempool() > 0);
    let address = ours.wallet.address();
    let bitcoind = Bitcoind::new(world.regtest.client_settings()).expect("the URL is one");
    let chain = ChainSource::from(Arc::new(bitcoind));
    let seed = Seed::new(seed_of("ours"));
    let find = || {
        let (wallet, to) = (ours.wallet.clone(), address.script_pubkey().into_bytes());
        let found = world.runtime.block_on(recover(&seed, &chain, wallet, to));
        found.unwrap_or_else(|fault| panic!("{fault}"))
    };
    assert_eq!(find(), None, "it is in no block yet");
    world.mine(2);
    let before = world.unspent_at(&address);
    let found = find().expect("the peer has paid it");
    // The channel's opener pays for its closing: less than this.
    let least = CHANNEL_SAT - GIVEN_SAT - 5_000;
    assert!(found.outputs == 1 && found.value_sat > least, "{found:?}");
    world.mine(1);
    assert!(
        world.unspent_at(&address) > before + least,
        "and the wallet has it"
    );
    assert_eq!(find(), None, "nothing is left");
}
