//! An effect is carried out once: across restarts, stuck fees, reorgs and others who use the key.

use crate::proxy::{Manner, Proxy};
use crate::world::{Chain, LP, effect, key, settings, units};
use forebay_chain_evm::{
    Account, AccountSettings, Fault, FeePolicy, FileStore, Inclusion, Retry, RpcNodes,
    anvil::AnvilSettings,
};
use forebay_channel::{Address, Finality};
use forebay_quantity::{Amount, EffectId, Hash32};
use std::{path::Path, sync::Arc, time::Duration};

const PAYEE: Address = Address::new([0x77; 20]);

/// A chain that makes a block only when told to.
fn silent_chain() -> Chain {
    Chain::with(&AnvilSettings {
        mines_nothing: true,
        ..settings()
    })
}

async fn reopened(chain: &Chain, path: &Path) -> Arc<Account> {
    chain
        .account_with(
            LP,
            Box::new(FileStore::open(path).expect("the record opens")),
        )
        .await
}

/// Pays a thousand wei, waiting at most `wait`, and gives the fault when it is not included by then.
async fn pay(account: &Account, effect: EffectId) -> Result<Inclusion, Fault> {
    account
        .pay(effect, PAYEE, units(1_000), Finality::Seen)
        .await
}

async fn impatient(chain: &Chain, path: &Path, wait: Duration, stuck_after: Duration) -> Account {
    let settings = AccountSettings {
        wait_max: wait,
        fees: FeePolicy {
            stuck_after,
            ..FeePolicy::default()
        },
        ..chain.account_settings()
    };
    let store = Box::new(FileStore::open(path).expect("the record opens"));
    Account::connect(settings, key(LP), store)
        .await
        .expect("the chain is there")
}

async fn paid(chain: &Chain) -> Amount {
    chain
        .account(LP)
        .await
        .balance_of(PAYEE, Finality::Seen)
        .await
        .expect("read")
}

async fn pooled(chain: &Chain) -> Vec<Hash32> {
    let content = chain.rpc("txpool_content", ()).await;
    let senders = content["pending"].as_object().expect("an object").values();
    let transactions =
        senders.flat_map(|by_nonce| by_nonce.as_object().expect("an object").values());
    transactions
        .map(|one| {
            one["hash"]
                .as_str()
                .expect("a hash")
                .parse()
                .expect("a hash")
        })
        .collect()
}

#[tokio::test]
async fn a_restarted_process_finds_its_transaction_and_pays_once() {
    let (chain, folder) = (silent_chain(), tempfile::tempdir().expect("a folder"));
    let path = folder.path().join("sent");
    let short = Duration::from_millis(50);
    let first = impatient(&chain, &path, short, Duration::from_secs(60)).await;
    let fault = pay(&first, effect(7)).await.expect_err("no block is made");
    assert!(
        matches!(fault, Fault::NotIncluded { .. }) && fault.retry() == Retry::Now,
        "{fault}"
    );
    let sent = pooled(&chain).await;
    assert_eq!(sent.len(), 1);
    drop(first);

    // Restarted while it waits in the pool, then once more after the pool has lost it.
    let second = impatient(&chain, &path, short, Duration::from_secs(60)).await;
    assert!(second.knows(effect(7)).await);
    pay(&second, effect(7)).await.expect_err("no block is made");
    assert_eq!(pooled(&chain).await, sent);
    drop(second);
    chain.rpc("anvil_dropAllTransactions", ()).await;
    assert_eq!(pooled(&chain).await, []);
    let third = impatient(&chain, &path, short, Duration::from_secs(60)).await;
    pay(&third, effect(7)).await.expect_err("no block is made");
    assert_eq!(pooled(&chain).await, sent, "the very same transaction");
    drop(third);
    chain.mine(1).await;

    let fourth = reopened(&chain, &path).await;
    let included = pay(&fourth, effect(7)).await.expect("included");
    assert_eq!(included.transaction, sent[0]);
    assert_eq!(pay(&fourth, effect(7)).await.expect("included"), included);
    assert_eq!(paid(&chain).await, units(1_000));
    fourth.forget(effect(7)).await.expect("forgotten");
    assert!(
        !fourth.knows(effect(7)).await && !reopened(&chain, &path).await.knows(effect(7)).await
    );
}

#[tokio::test]
async fn a_stuck_transaction_is_replaced_by_a_dearer_one_under_its_nonce() {
    let (chain, folder) = (silent_chain(), tempfile::tempdir().expect("a folder"));
    let path = folder.path().join("sent");
    let (wait, stuck) = (Duration::from_millis(400), Duration::from_millis(100));
    let account = impatient(&chain, &path, wait, stuck).await;
    let quick = impatient(&chain, &folder.path().join("other"), Duration::ZERO, stuck).await;
    pay(&quick, effect(1)).await.expect_err("does not wait");
    let first = pooled(&chain).await;
    drop(quick);
    chain.rpc("anvil_dropAllTransactions", ()).await;

    pay(&account, effect(1))
        .await
        .expect_err("no block is made");
    let replaced = pooled(&chain).await;
    assert_eq!(replaced.len(), 1, "one nonce, one place in the pool");
    assert_ne!(replaced, first, "the price rose");
    chain.mine(1).await;
    let included = pay(&account, effect(1)).await.expect("included");
    assert_eq!(included.transaction, replaced[0]);
    assert_eq!(paid(&chain).await, units(1_000));
}

#[tokio::test]
async fn what_a_reorg_dropped_gets_back_into_the_chain_once() {
    let (chain, folder) = (silent_chain(), tempfile::tempdir().expect("a folder"));
    let path = folder.path().join("sent");
    let stuck = Duration::from_millis(50);
    let account = impatient(&chain, &path, Duration::from_secs(20), stuck).await;
    let seen = tokio::join!(pay(&account, effect(1)), mine_once_pooled(&chain))
        .0
        .expect("included");
    chain.reorg(1).await;
    assert_eq!(paid(&chain).await, Amount::ZERO, "the reorg dropped it");
    let last = account.pay(effect(1), PAYEE, units(1_000), Finality::Final);
    let last = tokio::join!(last, async {
        mine_once_pooled(&chain).await;
        chain.mine(4).await;
    });
    let last = last.0.expect("final");
    assert!(last.succeeded && last.block > seen.block);
    assert_eq!(paid(&chain).await, units(1_000));
}

async fn mine_once_pooled(chain: &Chain) {
    while pooled(chain).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    chain.mine(1).await;
}

#[tokio::test]
async fn a_nonce_used_up_by_somebody_else_with_the_key_is_told_and_then_replaced() {
    let (chain, folder) = (silent_chain(), tempfile::tempdir().expect("a folder"));
    let short = Duration::from_millis(50);
    let path = folder.path().join("sent");
    let ours = impatient(&chain, &path, short, Duration::from_secs(60)).await;
    pay(&ours, effect(1)).await.expect_err("no block is made");
    chain.rpc("anvil_dropAllTransactions", ()).await;
    let theirs = chain.account(LP).await;
    let sent = theirs.pay(
        effect(1),
        Address::new([0x78; 20]),
        units(5),
        Finality::Final,
    );
    let sent = tokio::join!(sent, async {
        mine_once_pooled(&chain).await;
        chain.mine(4).await;
    });
    sent.0.expect("final");
    let fault = pay(&ours, effect(1)).await.expect_err("the nonce is gone");
    assert!(
        matches!(fault, Fault::NonceTaken { .. }) && fault.retry() == Retry::Now,
        "{fault}"
    );
    drop(ours);
    let again = reopened(&chain, &path).await;
    tokio::join!(pay(&again, effect(1)), mine_once_pooled(&chain))
        .0
        .expect("included");
    assert_eq!(paid(&chain).await, units(1_000));
}

#[tokio::test]
async fn many_effects_at_once_get_a_nonce_each_and_leave_no_gap() {
    let (chain, folder) = (silent_chain(), tempfile::tempdir().expect("a folder"));
    let account = reopened(&chain, &folder.path().join("sent")).await;
    let tasks: Vec<_> = (1..=20)
        .map(|number| {
            let account = account.clone();
            tokio::spawn(async move { pay(&account, effect(number)).await.expect("included") })
        })
        .collect();
    while pooled(&chain).await.len() < 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    chain.mine(1).await;
    for task in tasks {
        assert!(task.await.expect("it ends").succeeded);
    }
    assert_eq!(paid(&chain).await, units(20_000));
}

async fn behind(proxy: &Proxy, chain: &Chain, path: &Path) -> Account {
    let nodes = RpcNodes::own(&proxy.url);
    let settings = AccountSettings {
        nodes,
        ..chain.account_settings()
    };
    let store = Box::new(FileStore::open(path).expect("the record opens"));
    Account::connect(settings, key(LP), store)
        .await
        .expect("the proxy passes it on")
}

#[tokio::test]
async fn a_refused_transaction_leaves_no_gap_behind() {
    let (chain, folder) = (Chain::start(), tempfile::tempdir().expect("a folder"));
    let (proxy, path) = (
        Proxy::before(chain.anvil.url()).await,
        folder.path().join("sent"),
    );
    let account = behind(&proxy, &chain, &path).await;
    proxy.becomes(Manner::Refuses);
    let fault = pay(&account, effect(1)).await.expect_err("refused");
    assert!(
        matches!(fault, Fault::RpcRefused { .. }) && fault.retry() == Retry::Later,
        "{fault}"
    );
    assert!(!account.knows(effect(1)).await, "it was never sent");
    proxy.becomes(Manner::Honest);
    // The nonce that the first had serves the second; with a gap this would wait for ever.
    pay(&account, effect(2)).await.expect("included");
    pay(&account, effect(1)).await.expect("included");
    drop(account);
    pay(&behind(&proxy, &chain, &path).await, effect(3))
        .await
        .expect("included");
    assert_eq!(paid(&chain).await, units(3_000));
}

#[tokio::test]
async fn an_answer_that_was_lost_does_not_pay_twice() {
    let (chain, folder) = (Chain::start(), tempfile::tempdir().expect("a folder"));
    let (proxy, path) = (
        Proxy::before(chain.anvil.url()).await,
        folder.path().join("sent"),
    );
    let account = behind(&proxy, &chain, &path).await;
    proxy.becomes(Manner::LosesAnswers);
    let fault = pay(&account, effect(1))
        .await
        .expect_err("nobody says that it worked");
    assert!(matches!(fault, Fault::RpcDown { .. }), "{fault}");
    assert_eq!(paid(&chain).await, units(1_000), "though it did");
    proxy.becomes(Manner::Refuses);
    pay(&account, effect(1))
        .await
        .expect("known to be included all the same");
    proxy.becomes(Manner::Honest);
    pay(&account, effect(1)).await.expect("included");
    assert_eq!(paid(&chain).await, units(1_000));
}
