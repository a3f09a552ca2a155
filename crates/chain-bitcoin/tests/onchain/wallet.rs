//! The hot wallet.

use std::path::Path;
use std::sync::Arc;

use bitcoin::psbt::Psbt;
use bitcoin::{Amount, FeeRate, OutPoint, Sequence, Transaction, TxIn, TxOut, Txid};
use forebay_chain_bitcoin::Fault;
use forebay_chain_bitcoin::bitcoind::Bitcoind;
use forebay_chain_bitcoin::wallet::{
    ConfirmationPolicy, DepositTag, Observation, Payment, Purpose, Seed, Wallet, WalletSettings,
};
use forebay_quantity::EffectId;
use lightning::events::bump_transaction::WalletSource;
use serde_json::{Value, json};

use crate::world::{World, elsewhere};

const SEED: Seed = Seed([7; 32]);

/// A wallet of that seed in a folder, with deposits final after `min` confirmations.
async fn open(world: &World, folder: &Path, min: u32) -> Wallet {
    try_open(world, folder, min, &SEED).await.expect("it opens")
}

async fn try_open(world: &World, folder: &Path, min: u32, seed: &Seed) -> Result<Wallet, Fault> {
    let bitcoind = Bitcoind::new(world.node.client_settings()).expect("the URL is one");
    let mut settings = WalletSettings::new(folder.join("wallet.redb"));
    settings.confirmations = ConfirmationPolicy {
        min,
        ..ConfirmationPolicy::default()
    };
    Wallet::open(settings, seed, Arc::new(bitcoind)).await
}

/// A wallet with two coins of 1 BTC in blocks.
async fn funded(world: &World, folder: &Path) -> Wallet {
    world.mine(1).await;
    let wallet = open(world, folder, 2).await;
    for _ in 0..2 {
        pay_in(world, &wallet, Purpose::ChannelFunding, btc(1)).await;
    }
    world.mine(1).await;
    wallet.sync().await.expect("it reads blocks");
    assert_eq!(wallet.balance().spendable, btc(2));
    wallet
}

async fn pay_in(world: &World, wallet: &Wallet, purpose: Purpose, amount: Amount) -> Txid {
    let address = wallet.address(purpose).expect("an address");
    world.node.pay(&address, amount).await.expect("it is paid")
}

fn btc(whole: u64) -> Amount {
    Amount::from_sat(whole * 100_000_000)
}

fn rate(sat_per_vbyte: u32) -> FeeRate {
    FeeRate::from_sat_per_vb_u32(sat_per_vbyte)
}

fn to_elsewhere(sat: u64) -> Vec<Payment> {
    vec![Payment {
        script: elsewhere().script_pubkey(),
        amount: Amount::from_sat(sat),
    }]
}

/// Syncs; then takes what was observed, as letters, and forgets it.
async fn told(wallet: &Wallet) -> String {
    wallet.sync().await.expect("it reads blocks");
    let observations = wallet.observations();
    let letters = observations.iter().map(|(_, what)| match what {
        Observation::Received { .. } => 'R',
        Observation::Final { .. } => 'F',
        Observation::Undone { .. } => 'U',
        Observation::Settled { .. } => 'S',
        Observation::DeepReorg { .. } => 'D',
    });
    let letters = letters.collect();
    if let Some((last, _)) = observations.last() {
        wallet.forget_below(last + 1).expect("they are forgotten");
    }
    letters
}

async fn mempool(world: &World) -> Vec<Txid> {
    let all = world.node.client().call("getrawmempool", &[]).await;
    all.expect("it answers")
}

#[tokio::test]
async fn a_deposit_is_told_in_a_block_and_at_depth_and_shallow_reorgs_undo_it() {
    let (world, folder) = (World::start().await, tempfile::tempdir().expect("a folder"));
    world.mine(1).await;
    let wallet = open(&world, folder.path(), 7).await;
    let tag = DepositTag(42);
    let address = wallet.address(Purpose::Deposit(tag)).expect("an address");
    let amount = Amount::from_sat(700_000);
    let txid = world.node.pay(&address, amount).await.expect("it is paid");
    assert_eq!(told(&wallet).await, "", "the mempool is not read");
    for depth in 1..=6 {
        world.mine(depth).await;
        assert_eq!(told(&wallet).await, "R", "{depth}");
        assert_eq!(wallet.balance().spendable, Amount::ZERO);
        world.reorg(depth).await;
        assert_eq!(told(&wallet).await, "U", "{depth}");
    }
    world.mine(6).await;
    wallet.sync().await.expect("it reads blocks");
    let (_, received) = wallet.observations().remove(0);
    let Observation::Received { deposit, needed } = received else {
        panic!("{received:?}");
    };
    assert_eq!((deposit.tag, deposit.amount, needed), (tag, amount, 7));
    assert_eq!(deposit.outpoint.txid, txid);
    assert_eq!(deposit.block.height, world.height().await - 5);
    assert_eq!(told(&wallet).await, "R");
    world.mine(1).await;
    assert_eq!(told(&wallet).await, "F");
    assert_eq!(wallet.balance().spendable, amount);
    // Shallower than the depth: nothing that was acted on changes.
    world.reorg(6).await;
    assert_eq!(told(&wallet).await, "");
    let (height, dropped) = (deposit.block.height, deposit.block.hash);
    world.reorg(world.height().await - height + 1).await;
    wallet.sync().await.expect("it reads blocks");
    let observations = wallet.observations();
    assert!(
        matches!(&observations[..], [(_, Observation::DeepReorg { block })] if block.hash == dropped),
        "{observations:?}"
    );
    assert_eq!(told(&wallet).await, "D");
    world.mine(8).await;
    assert_eq!(told(&wallet).await, "", "it was told as final before");
}

#[tokio::test]
async fn addresses_and_observations_outlive_a_restart_and_files_are_not_mixed_up() {
    let (world, folder) = (World::start().await, tempfile::tempdir().expect("a folder"));
    world.mine(1).await;
    let wallet = open(&world, folder.path(), 1).await;
    let first = wallet
        .address(Purpose::Deposit(DepositTag(1)))
        .expect("one");
    let second = wallet.address(Purpose::ReserveRenewal).expect("another");
    assert_ne!(first, second);
    world
        .node
        .pay(&first, Amount::from_sat(10_000_000))
        .await
        .expect("it is paid");
    world.mine(1).await;
    wallet.sync().await.expect("it reads blocks");
    let before = wallet.observations();
    assert_eq!(before.len(), 2);
    let busy = try_open(&world, folder.path(), 1, &SEED).await;
    assert!(matches!(busy, Err(Fault::WalletStore { .. })));
    drop(wallet);

    let other = try_open(&world, folder.path(), 1, &Seed([8; 32])).await;
    assert!(matches!(other, Err(Fault::OtherWallet { .. })));
    let wallet = open(&world, folder.path(), 1).await;
    assert_eq!(wallet.observations(), before);
    assert_eq!(wallet.balance().spendable, Amount::from_sat(10_000_000));
    assert_eq!(
        wallet.purpose(&first),
        Some(Purpose::Deposit(DepositTag(1)))
    );
    assert_eq!(wallet.purpose(&second), Some(Purpose::ReserveRenewal));
    assert_eq!(wallet.purpose(&elsewhere()), None);
    let third = wallet.address(Purpose::ChannelFunding).expect("a third");
    assert!(third != first && third != second);
    assert_eq!(told(&wallet).await, "RF");
    drop(wallet);
    let wallet = open(&world, folder.path(), 1).await;
    assert_eq!(told(&wallet).await, "", "what was forgotten stays so");
}

#[tokio::test]
async fn a_seed_finds_its_money_again_from_its_birthday_on() {
    let (world, folder) = (World::start().await, tempfile::tempdir().expect("a folder"));
    drop(funded(&world, folder.path()).await);
    let bitcoind = Bitcoind::new(world.node.client_settings()).expect("the URL is one");
    let mut settings = WalletSettings::new(folder.path().join("restored.redb"));
    settings.birthday_height = Some(0);
    let wallet = Wallet::open(settings, &SEED, Arc::new(bitcoind)).await;
    let wallet = wallet.expect("it begins");
    wallet.sync().await.expect("it reads blocks");
    assert_eq!(wallet.balance().spendable, btc(2));
}

#[tokio::test]
async fn a_payment_is_made_once_for_each_id_whatever_happens_in_between() {
    let (mut world, folder) = (World::start().await, tempfile::tempdir().expect("a folder"));
    let wallet = funded(&world, folder.path()).await;
    let id = EffectId::new(1);
    let outputs = to_elsewhere(30_000_000);
    let txid = wallet
        .send(id, &outputs, rate(5), 6)
        .await
        .expect("it is sent");
    let again = wallet.send(id, &outputs, rate(9), 6).await;
    assert_eq!(again.expect("it is sent"), txid);
    let other = wallet.send(id, &to_elsewhere(30_000_001), rate(5), 6).await;
    assert!(matches!(other, Err(Fault::OtherPayment { .. })));
    let dust = wallet
        .send(EffectId::new(2), &to_elsewhere(329), rate(5), 6)
        .await;
    assert!(
        matches!(&dust, Err(Fault::Dust { min, .. }) if min.to_sat() == 330),
        "{dust:?}"
    );
    let beyond = wallet
        .send(EffectId::new(3), &to_elsewhere(200_000_000), rate(5), 6)
        .await;
    assert!(
        matches!(&beyond, Err(Fault::NotEnoughCoins { .. })),
        "{beyond:?}"
    );
    let smallest = to_elsewhere(330);
    wallet
        .send(EffectId::new(4), &smallest, rate(5), 6)
        .await
        .expect("no dust");

    // bitcoind is gone just when the next is signed, and then the process is.
    world.node.stop().await.expect("it stops");
    let (id, outputs) = (EffectId::new(5), to_elsewhere(40_000_000));
    let down = wallet.send(id, &outputs, rate(5), 6).await;
    assert!(matches!(down, Err(Fault::SourceDown { .. })), "{down:?}");
    drop(wallet);
    world.node.start_again().await.expect("it starts again");
    let wallet = open(&world, folder.path(), 2).await;
    let synced = wallet.sync().await.expect("it reads blocks");
    assert!(synced.refused.is_empty(), "{synced:?}");
    assert_eq!(mempool(&world).await.len(), 3);
    let sent = wallet
        .send(id, &outputs, rate(5), 6)
        .await
        .expect("it is sent");
    assert!(mempool(&world).await.contains(&sent));

    world.mine(2).await;
    assert_eq!(told(&wallet).await, "SSS");
    assert_eq!(told(&wallet).await, "");
    let again = wallet.send(id, &outputs, rate(5), 6).await;
    assert_eq!(again.expect("it is in the chain"), sent);
    assert!(mempool(&world).await.is_empty());
    let left = wallet.balance().spendable;
    let paid = Amount::from_sat(70_000_330);
    assert!(left < btc(2) - paid && left > btc(2) - paid - Amount::from_sat(10_000));
}

#[tokio::test]
async fn a_payment_that_is_late_is_replaced_by_one_that_pays_more() {
    let (world, folder) = (World::start().await, tempfile::tempdir().expect("a folder"));
    let wallet = funded(&world, folder.path()).await;
    let id = EffectId::new(1);
    let outputs = to_elsewhere(150_000_000);
    let first = wallet
        .send(id, &outputs, rate(2), 2)
        .await
        .expect("it is sent");
    world.node.mine_only(&[]).await.expect("a block without it");
    wallet.sync().await.expect("it reads blocks");
    assert_eq!(mempool(&world).await, [first], "it is not late yet");
    world.node.mine_only(&[]).await.expect("a block without it");
    let synced = wallet.sync().await.expect("it reads blocks");
    assert!(synced.refused.is_empty(), "{synced:?}");
    let replaced = mempool(&world).await;
    assert_eq!(replaced.len(), 1);
    assert_ne!(replaced, [first]);
    let again = wallet.send(id, &outputs, rate(2), 2).await;
    assert_eq!(again.expect("it is sent"), replaced[0]);
    drop(wallet);
    let wallet = open(&world, folder.path(), 3).await;
    world.mine(4).await;
    assert_eq!(told(&wallet).await, "", "1.5 BTC need five blocks");
    world.mine(1).await;
    wallet.sync().await.expect("it reads blocks");
    let observations = wallet.observations();
    let [
        (
            _,
            Observation::Settled {
                id: settled,
                txid,
                fee,
                ..
            },
        ),
    ] = &observations[..]
    else {
        panic!("{observations:?}");
    };
    assert_eq!((*settled, *txid), (id, replaced[0]));
    let left = btc(2) - Amount::from_sat(150_000_000) - *fee;
    assert_eq!(wallet.balance().spendable, left);
    assert!(*fee > Amount::from_sat(1_000), "{fee}");
}

#[tokio::test]
async fn what_funds_channels_waits_for_its_release_and_can_be_given_up() {
    let (world, folder) = (World::start().await, tempfile::tempdir().expect("a folder"));
    let wallet = funded(&world, folder.path()).await;
    let (id, outputs) = (EffectId::new(1), to_elsewhere(60_000_000));
    let funding = wallet.fund(id, &outputs, rate(5)).expect("it is signed");
    wallet.sync().await.expect("it reads blocks");
    assert!(mempool(&world).await.is_empty());
    // One coin is in it, and its change is nobody's yet.
    assert_eq!(wallet.balance().spendable, btc(1));
    let beyond = wallet
        .send(EffectId::new(2), &to_elsewhere(110_000_000), rate(5), 6)
        .await;
    assert!(matches!(beyond, Err(Fault::NotEnoughCoins { .. })));
    drop(wallet);
    let wallet = open(&world, folder.path(), 2).await;
    let again = wallet.fund(id, &outputs, rate(50)).expect("as before");
    assert_eq!(again, funding);
    wallet.abandon(id).expect("nobody has seen it");
    assert_eq!(wallet.balance().spendable, btc(2));
    assert!(wallet.fund(id, &outputs, rate(5)).is_err(), "given up");
    assert!(wallet.release(id).is_err(), "given up");

    let id = EffectId::new(3);
    let funding = wallet.fund(id, &outputs, rate(5)).expect("it is signed");
    wallet.release(id).expect("the channel's other side signed");
    assert!(wallet.abandon(id).is_err(), "it may be out");
    wallet.sync().await.expect("it hands it in");
    assert_eq!(mempool(&world).await, [funding.compute_txid()]);
    // Late or not, its id stays.
    for _ in 0..10 {
        world.node.mine_only(&[]).await.expect("a block without it");
    }
    wallet.sync().await.expect("it reads blocks");
    assert_eq!(mempool(&world).await, [funding.compute_txid()]);
    world.mine(2).await;
    assert_eq!(told(&wallet).await, "S");
}

#[tokio::test]
async fn a_child_pays_for_a_parent_that_pays_us() {
    let (world, folder) = (World::start().await, tempfile::tempdir().expect("a folder"));
    let wallet = funded(&world, folder.path()).await;
    let parent = pay_in(&world, &wallet, Purpose::ChannelFunding, btc(3)).await;
    let id = EffectId::new(9);
    let child = wallet
        .raise(id, parent, rate(60))
        .await
        .expect("it is raised");
    let again = wallet.raise(id, parent, rate(60)).await;
    assert_eq!(again.expect("the same"), child);
    let entry: Value = world
        .node
        .client()
        .call("getmempoolentry", &[json!(child)])
        .await
        .expect("it is in the mempool");
    let size = entry["ancestorsize"].as_u64().expect("a size");
    let fees = entry["fees"]["ancestor"].to_string();
    let fees = Amount::from_str_in(&fees, bitcoin::Denomination::Bitcoin).expect("an amount");
    let paid = fees.to_sat() / size;
    assert!((60..=62).contains(&paid), "{paid} per virtual byte");
    let stranger = wallet.raise(EffectId::new(10), elsewhere_paid(&world).await, rate(60));
    let fault = stranger.await.expect_err("it pays us nothing");
    assert!(matches!(fault, Fault::BadPayment { .. }), "{fault}");
    world.mine(2).await;
    assert_eq!(told(&wallet).await, "S");
}

async fn elsewhere_paid(world: &World) -> Txid {
    world
        .node
        .pay(&elsewhere(), btc(1))
        .await
        .expect("it is paid")
}

#[tokio::test]
async fn the_lightning_node_borrows_coins_that_payments_then_leave_alone() {
    let (world, folder) = (World::start().await, tempfile::tempdir().expect("a folder"));
    let wallet = funded(&world, folder.path()).await;
    let coins = wallet.list_confirmed_utxos().await.expect("two coins");
    assert_eq!(coins.len(), 2);
    let coin = &coins[0];
    let script_pubkey = wallet.get_change_script().await.expect("a script");
    let unsigned = Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: coin.outpoint,
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            ..TxIn::default()
        }],
        output: vec![TxOut {
            value: coin.output.value - Amount::from_sat(1_000),
            script_pubkey,
        }],
    };
    let weight_before = unsigned.weight();
    let mut psbt = Psbt::from_unsigned_tx(unsigned).expect("it is not signed");
    psbt.inputs[0].witness_utxo = Some(coin.output.clone());
    let signed = wallet.sign_psbt(psbt).await.expect("it is ours");
    // An empty script_sig was counted before; segwit's marker and flag are not the input's.
    let weight = signed.weight().to_wu() - weight_before.to_wu() - 2;
    assert_eq!(weight + 4, coin.satisfaction_weight);
    let client = world.node.client();
    client.broadcast(&signed).await.expect("it is valid");

    let still = wallet
        .list_confirmed_utxos()
        .await
        .expect("for a replacement");
    assert_eq!(still.len(), 2);
    assert_eq!(wallet.balance().spendable, btc(1));
    let lent: OutPoint = coin.outpoint;
    let sent = wallet
        .send(EffectId::new(1), &to_elsewhere(1_000_000), rate(5), 6)
        .await;
    let sent: Value = client
        .call(
            "getrawtransaction",
            &[json!(sent.expect("of the other")), json!(true)],
        )
        .await
        .expect("it is in the mempool");
    assert_ne!(sent["vin"][0]["txid"], json!(lent.txid));
}
