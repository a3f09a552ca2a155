//! Nodes that talk nonsense, lag, hang or contradict each other: told in clear words, nothing invented, nothing lost.

use crate::proxy::{Manner, Proxy};
use crate::world::{Chain, LP, PEER, effect, follower_settings, key, units};
use forebay_chain_evm::{Account, AccountSettings, Fault, Follower, MemoryStore, RpcNodes, Vault};
use forebay_channel::{
    Address, Finality,
    vault::{VaultFact, VaultObservation, VaultRequest},
};
use forebay_quantity::Amount;
use std::{sync::Arc, time::Duration};

/// A question that hangs is given up after this long.
const QUESTION_MAX: Duration = Duration::from_millis(500);

async fn vault_through(
    chain: &Chain,
    urls: Vec<String>,
    agreeing_min: usize,
    vault: Address,
) -> Vault {
    let nodes = RpcNodes {
        urls,
        agreeing_min,
        timeout: QUESTION_MAX,
    };
    let settings = AccountSettings {
        nodes,
        ..chain.account_settings()
    };
    let account = Account::connect(settings, key(PEER), Box::new(MemoryStore::default())).await;
    let account = Arc::new(account.expect("the chain is there"));
    Vault::connect(account, vault)
        .await
        .expect("it is the vault")
}

async fn deposit(lp: &Vault, number: u64) {
    let request = VaultRequest::DepositNote(units(u128::from(number)));
    let done = lp.execute(effect(number), &request, Finality::Seen).await;
    done.expect("deposited");
}

/// The next fault; facts on the way to it are a failure.
async fn fault(follower: &mut Follower) -> Fault {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(20), follower.next()).await;
        match next.expect("news in time").expect("it goes on") {
            Err(fault) => return fault,
            Ok(VaultObservation::Head(_)) => {}
            Ok(other) => panic!("nothing is reported on a liar's word: {other:?}"),
        }
    }
}

/// Amounts deposited at finality depth, up to a count; faults told before and retractions told apart.
async fn final_deposits(follower: &mut Follower, count: usize) -> Vec<Amount> {
    let mut amounts = Vec::new();
    while amounts.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(20), follower.next()).await;
        match next.expect("news in time").expect("it goes on") {
            Ok(VaultObservation::Fact {
                fact: VaultFact::NoteDeposited { amount, .. },
                finality: Finality::Final,
                ..
            }) => amounts.push(amount),
            Ok(VaultObservation::Retracted { .. } | VaultObservation::DeepReorg { .. }) => {
                panic!("nothing was dropped")
            }
            Ok(_) | Err(_) => {}
        }
    }
    amounts
}

/// For a second no fact is reported.
async fn nothing_new(follower: &mut Follower) {
    let news = async {
        loop {
            match follower.next().await.expect("it goes on") {
                Ok(VaultObservation::Head(_)) | Err(_) => {}
                Ok(other) => break other,
            }
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(1), news).await;
    assert!(waited.is_err(), "reported on one word: {waited:?}");
}

#[tokio::test]
async fn a_node_that_talks_nonsense_or_hangs_is_named_and_no_fact_is_lost_or_invented() {
    let chain = Chain::start();
    let (address, block) = chain.vault(false).await;
    let lp = chain.connect(address, LP).await;
    let proxy = Proxy::before(chain.anvil.url()).await;
    let ours = vault_through(&chain, vec![proxy.url.clone()], 1, address).await;
    let mut follower = ours.follow(follower_settings(block));
    let mut number = 0;
    for manner in [
        Manner::TalksHtml,
        Manner::TalksNull,
        Manner::TalksWrongShapes,
        Manner::Hangs,
    ] {
        proxy.becomes(manner);
        let told = fault(&mut follower).await;
        let words = told.to_string();
        let is_clear = words.contains(&proxy.url) || words.contains("makes no sense");
        assert!(is_clear, "{words}");
        number += 1;
        deposit(&lp, number).await;
        chain.mine(6).await;
        proxy.becomes(Manner::Honest);
        let amounts = final_deposits(&mut follower, 1).await;
        assert_eq!(amounts, [units(u128::from(number))], "once, and whole");
    }
}

#[tokio::test]
async fn a_node_that_lags_is_behind_and_nothing_worse() {
    let chain = Chain::start();
    let (address, block) = chain.vault(false).await;
    let lp = chain.connect(address, LP).await;
    let proxy = Proxy::before(chain.anvil.url()).await;
    let ours = vault_through(&chain, vec![proxy.url.clone()], 1, address).await;
    let mut follower = ours.follow(follower_settings(block));
    deposit(&lp, 1).await;
    chain.mine(6).await;
    assert_eq!(final_deposits(&mut follower, 1).await, [units(1)]);
    proxy.becomes(Manner::Lags);
    for number in 2..=4 {
        deposit(&lp, number).await;
        chain.mine(6).await;
    }
    nothing_new(&mut follower).await;
    proxy.becomes(Manner::Honest);
    assert_eq!(final_deposits(&mut follower, 3).await, [2, 3, 4].map(units));
}

#[tokio::test]
async fn of_three_nodes_one_liar_is_outvoted_and_what_a_single_one_says_waits() {
    let chain = Chain::start();
    let (address, block) = chain.vault(false).await;
    let lp = chain.connect(address, LP).await;
    let (liar, second) = (
        Proxy::before(chain.anvil.url()).await,
        Proxy::before(chain.anvil.url()).await,
    );
    let honest = chain.anvil.url().to_owned();
    let urls = vec![liar.url.clone(), honest, second.url.clone()];
    let ours = vault_through(&chain, urls, 2, address).await;
    let mut follower = ours.follow(follower_settings(block));
    for (number, manner) in [
        (1, Manner::TalksHtml),
        (2, Manner::TalksNull),
        (3, Manner::Lags),
    ] {
        liar.becomes(manner);
        deposit(&lp, number).await;
        chain.mine(6).await;
        let amounts = final_deposits(&mut follower, 1).await;
        assert_eq!(amounts, [units(u128::from(number))]);
    }
    // Now one talks nonsense, and of the other two only one has the news.
    liar.becomes(Manner::TalksHtml);
    second.becomes(Manner::Lags);
    deposit(&lp, 4).await;
    chain.mine(6).await;
    nothing_new(&mut follower).await;
    second.becomes(Manner::Honest);
    assert_eq!(final_deposits(&mut follower, 1).await, [units(4)]);
}
