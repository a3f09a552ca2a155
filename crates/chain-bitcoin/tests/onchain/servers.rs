//! An Esplora server as the chain source, held against the bitcoind behind it.

use std::path::Path;
use std::sync::Arc;

use bitcoin::{Amount, FeeRate, OutPoint, Transaction};
use forebay_chain_bitcoin::Fault;
use forebay_chain_bitcoin::bitcoind::Bitcoind;
use forebay_chain_bitcoin::chain::{ChainSource, FeeTarget, HealthLimits};
use forebay_chain_bitcoin::esplora::EsploraSettings;
use forebay_chain_bitcoin::wallet::{
    ConfirmationPolicy, DepositTag, Observation, Payment, Purpose, Seed, Wallet, WalletSettings,
};
use forebay_quantity::EffectId;
use lightning_block_sync::BlockSource;

use crate::esplora::{Server, client, settings};
use crate::world::{World, elsewhere};

async fn start() -> (World, Server) {
    let world = World::indexed().await;
    world.mine(1).await;
    let server = Server::start(&world.node, world.folder.path()).await;
    (world, server)
}

fn esplora(world: &World, server: &Server, headers: &str) -> ChainSource {
    let headers = world.folder.path().join(headers);
    client(settings(
        server.url(),
        &world.node.client_settings(),
        headers,
    ))
    .into()
}

fn own(world: &World) -> ChainSource {
    let bitcoind = Bitcoind::new(world.node.client_settings()).expect("the URL is one");
    Arc::new(bitcoind).into()
}

/// What a source says of each block from its tip downwards: its place, itself, and the work that it adds.
async fn blocks(source: &ChainSource) -> Vec<String> {
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    let tip = source.tip().await.expect("it answers");
    let mut blocks = vec![format!("{tip:?}")];
    for height in (1..=tip.height).rev() {
        let hash = source.block_hash(height).await.expect("it answers");
        let hash = hash.expect("it is below the tip");
        let header = source.get_header(&hash, None).await.expect("it has it");
        let below = source.get_header(&header.header.prev_blockhash, None).await;
        let work = header.chainwork - below.expect("it has it").chainwork;
        let block = source.block(hash).await.expect("it has it");
        blocks.push(format!(
            "{height} {hash} {work:?} {header:?} {block:?}",
            header = header.header
        ));
    }
    assert_eq!(
        source.block_hash(tip.height + 1).await.expect("it answers"),
        None
    );
    blocks
}

#[tokio::test]
async fn its_blocks_are_those_of_the_bitcoind_behind_it_over_reorgs_of_one_to_three_blocks() {
    let (world, server) = start().await;
    world.mine(20).await;
    server.caught_up(&world.node).await;
    let (ours, truth) = (esplora(&world, &server, "headers"), own(&world));
    let info = ours.check().await.expect("it is healthy");
    assert_eq!(info, truth.check().await.expect("it is healthy"));
    assert_eq!(blocks(&ours).await, blocks(&truth).await);
    for depth in 1..=3 {
        world.reorg(depth).await;
        server.caught_up(&world.node).await;
        assert_eq!(blocks(&ours).await, blocks(&truth).await, "{depth}");
    }
    // Who begins now sees the same.
    let fresh = esplora(&world, &server, "others");
    assert_eq!(blocks(&fresh).await, blocks(&truth).await);
}

/// The server does not have such a block any more; what stood at it has to be led back from it all the same.
#[tokio::test]
async fn a_block_that_a_reorg_dropped_while_nobody_looked_is_known_from_the_file() {
    let (world, server) = start().await;
    world.mine(5).await;
    server.caught_up(&world.node).await;
    let before = esplora(&world, &server, "headers");
    let dropped = before.tip().await.expect("it answers");
    let header = before
        .get_header(&dropped.hash, None)
        .await
        .expect("it is known");
    drop(before);
    world.reorg(2).await;
    server.caught_up(&world.node).await;

    let after = esplora(&world, &server, "headers");
    let tip = after.tip().await.expect("it answers");
    assert_eq!(tip.height, dropped.height + 1);
    let again = after
        .get_header(&dropped.hash, None)
        .await
        .expect("it is kept");
    assert_eq!((again.header, again.height), (header.header, header.height));
    let best = after
        .get_header(&tip.hash, None)
        .await
        .expect("it is known");
    assert!(best.chainwork > again.chainwork);
    let stranger = esplora(&world, &server, "others");
    stranger.tip().await.expect("it answers");
    let gone = stranger.get_header(&dropped.hash, None).await;
    assert!(
        gone.expect_err("nobody has it")
            .into_inner()
            .to_string()
            .contains("does not have block")
    );
}

#[tokio::test]
async fn a_server_on_another_network_or_behind_is_refused_and_one_that_is_gone_is_told() {
    let (world, mut server) = start().await;
    let (url, node) = (server.url(), world.node.client_settings());
    let with = |file: &str, change: fn(&mut EsploraSettings)| {
        let headers = world.folder.path().join(file);
        let mut settings = settings(url.clone(), &node, headers);
        change(&mut settings);
        client(settings)
    };
    let elsewhere = with("mainnet", |s| s.network = bitcoin::Network::Bitcoin);
    let fault = elsewhere.check().await.expect_err("it is on regtest");
    assert!(
        matches!(&fault, Fault::WrongNetwork { .. }) && fault.to_string().contains("Esplora"),
        "{fault}"
    );
    let strict = with("strict", |s| s.limits = HealthLimits::default());
    strict.check().await.expect("the tip is new");
    let late = with("late", |s| s.limits.tip_age_max = std::time::Duration::ZERO);
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let fault = late.check().await.expect_err("a second is too old");
    assert!(matches!(fault, Fault::SourceLags { .. }), "{fault}");
    server.stop().await;
    let fault = strict.check().await.expect_err("it is gone");
    assert!(matches!(fault, Fault::SourceDown { .. }), "{fault}");
    server.start_again().await;
    strict.check().await.expect("it is back");
}

#[tokio::test]
async fn coins_and_transactions_are_seen_and_taken_as_by_the_bitcoind_behind_it() {
    let (world, server) = start().await;
    let (ours, truth) = (esplora(&world, &server, "headers"), own(&world));
    let amount = Amount::from_sat(123_456_789);
    let txid = world
        .node
        .pay(&elsewhere(), amount)
        .await
        .expect("it is paid");
    server.caught_up(&world.node).await;
    let (paid, fee) = truth.in_mempool(txid).await.expect("it is there");
    assert_eq!(
        ours.in_mempool(txid).await.expect("it is there"),
        (paid.clone(), fee)
    );
    assert_eq!(
        ours.broadcast(&paid).await.expect("it is there already"),
        txid
    );
    let target = FeeTarget { blocks: 6 };
    let fallback = FeeRate::from_sat_per_kwu(2_500);
    assert_eq!(ours.fee_rate(target).await.expect("it answers"), fallback);

    let outpoints = [
        OutPoint { txid, vout: 0 },
        OutPoint { txid, vout: 99 },
        paid.input[0].previous_output,
        OutPoint {
            txid: elsewhere_txid(),
            vout: 0,
        },
    ];
    for blocks in [0, 3] {
        world.mine(blocks).await;
        server.caught_up(&world.node).await;
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        for outpoint in outpoints {
            let unspent = ours.unspent(outpoint).await.expect("it answers");
            assert_eq!(
                unspent,
                truth.unspent(outpoint).await.expect("it answers"),
                "{outpoint}"
            );
        }
    }
    assert_eq!(
        ours.broadcast(&paid).await.expect("it is in the chain"),
        txid
    );
    let nobody = bitcoin::ScriptBuf::new_op_return([7]);
    let scripts = [elsewhere().script_pubkey(), nobody];
    let found = ours.unspent_of(&scripts).await.expect("it looks");
    assert_eq!(found, truth.unspent_of(&scripts).await.expect("it looks"));
    assert_eq!((found.len(), found[0].0), (1, outpoints[0]));
    assert!(ours.in_mempool(txid).await.is_err() && truth.in_mempool(txid).await.is_err());

    // What bitcoind refuses is refused with its own code and words.
    let twice = Transaction {
        output: vec![bitcoin::TxOut {
            value: amount,
            script_pubkey: elsewhere().script_pubkey(),
        }],
        ..paid
    };
    let said = |fault: Fault| match fault {
        Fault::SourceRefused { code, message, .. } => (code, message),
        other => panic!("{other}"),
    };
    let refused = said(
        ours.broadcast(&twice)
            .await
            .expect_err("its input is spent"),
    );
    assert_eq!(
        refused,
        said(
            truth
                .broadcast(&twice)
                .await
                .expect_err("its input is spent")
        )
    );
}

fn elsewhere_txid() -> bitcoin::Txid {
    use bitcoin::hashes::Hash;
    bitcoin::Txid::from_byte_array([9; 32])
}

async fn open(source: &ChainSource, folder: &Path) -> Wallet {
    let mut settings = WalletSettings::new(folder.join("wallet.redb"));
    settings.confirmations = ConfirmationPolicy {
        min: 4,
        ..ConfirmationPolicy::default()
    };
    let opened = Wallet::open(settings, &Seed([7; 32]), source.clone()).await;
    opened.expect("it opens")
}

/// Syncs; then takes what was observed, as letters, and forgets it.
async fn told(world: &World, server: &Server, wallet: &Wallet) -> String {
    server.caught_up(&world.node).await;
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
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

#[tokio::test]
async fn a_deposit_comes_and_a_withdrawal_goes_by_it_over_reorgs_an_outage_and_restarts() {
    let (world, mut server) = start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let ours = esplora(&world, &server, "headers");
    let wallet = open(&ours, folder.path()).await;
    let address = wallet
        .address(Purpose::Deposit(DepositTag(42)))
        .expect("an address");
    let amount = Amount::from_sat(700_000);
    let txid = world.node.pay(&address, amount).await.expect("it is paid");
    for depth in 1..=3 {
        world.mine(depth).await;
        assert_eq!(told(&world, &server, &wallet).await, "R", "{depth}");
        world.reorg(depth).await;
        assert_eq!(told(&world, &server, &wallet).await, "U", "{depth}");
    }
    // A reorg while the wallet and the client are closed.
    world.mine(2).await;
    assert_eq!(told(&world, &server, &wallet).await, "R");
    drop((wallet, ours));
    world.reorg(2).await;
    let ours = esplora(&world, &server, "headers");
    let wallet = open(&ours, folder.path()).await;
    assert_eq!(told(&world, &server, &wallet).await, "U");
    world.mine(4).await;
    assert_eq!(told(&world, &server, &wallet).await, "RF");
    assert_eq!(wallet.balance().spendable, amount);

    let id = EffectId::new(1);
    let payment = vec![Payment {
        script: elsewhere().script_pubkey(),
        amount: Amount::from_sat(300_000),
    }];
    server.stop().await;
    let rate = FeeRate::from_sat_per_vb_u32(5);
    let fault = wallet
        .send(id, &payment, rate, 6)
        .await
        .expect_err("nobody takes it");
    assert!(matches!(fault, Fault::SourceDown { .. }), "{fault}");
    server.start_again().await;
    // Written down, and handed in by the next sync.
    assert_eq!(told(&world, &server, &wallet).await, "");
    let waiting: Vec<bitcoin::Txid> = world
        .node
        .client()
        .call("getrawmempool", &[])
        .await
        .expect("it answers");
    assert_eq!(waiting.len(), 1);
    assert_ne!(waiting[0], txid);
    world.mine(4).await;
    assert_eq!(told(&world, &server, &wallet).await, "S");
    let left = own(&world)
        .unspent_of(&[elsewhere().script_pubkey()])
        .await
        .expect("it looks");
    let paid: Vec<_> = left
        .iter()
        .filter(|(outpoint, _)| outpoint.txid == waiting[0])
        .collect();
    assert_eq!(paid.len(), 1);
    assert_eq!(paid[0].1.value, Amount::from_sat(300_000));
}
