//! What a follower reports, and when it stops.

use crate::world::{Chain, LP, effect, follower_settings, key, units};
use forebay_chain_evm::{
    Account, AccountSettings, Fault, FollowerSettings, MemoryStore, RpcNodes, Vault,
};
use forebay_channel::{
    Finality,
    vault::{VaultFact, VaultObservation, VaultRequest},
};
use forebay_quantity::{Amount, BlockHeight};
use std::{sync::Arc, time::Duration};

fn deposits(seen: &[VaultObservation], depth: Finality) -> Vec<Amount> {
    let amount = |observation: &VaultObservation| match *observation {
        VaultObservation::Fact {
            fact: VaultFact::NoteDeposited { amount, .. },
            finality,
            ..
        } if finality == depth => Some(amount),
        _ => None,
    };
    seen.iter().filter_map(amount).collect()
}

#[tokio::test]
async fn a_late_follower_reports_the_same_final_facts_and_one_resumed_only_the_rest() {
    let chain = Chain::start();
    let (address, block) = chain.vault(false).await;
    let lp = chain.connect(address, LP).await;
    let mut early = lp.follow(follower_settings(block));
    let mut seen = Vec::new();
    for number in 1..=6 {
        let deposit = VaultRequest::DepositNote(units(number));
        lp.execute(
            effect(u64::try_from(number).expect("small")),
            &deposit,
            Finality::Seen,
        )
        .await
        .expect("deposited");
        if number == 3 {
            seen.extend(chain.catch_up(&mut early).await);
        }
    }
    let resume_from = chain.height().await - 2;
    chain.mine(4).await;
    seen.extend(chain.catch_up(&mut early).await);
    let all: Vec<Amount> = (1..=6).map(units).collect();
    assert_eq!(deposits(&seen, Finality::Final), all);

    let late = follower_settings(block);
    let mut late = lp.follow(FollowerSettings {
        log_range_max: 2,
        ..late
    });
    let report = chain.catch_up(&mut late).await;
    assert_eq!(deposits(&report, Finality::Final), all);
    assert_eq!(deposits(&report, Finality::Seen), []);

    let mut resumed = lp.follow(follower_settings(BlockHeight::new(resume_from)));
    let report = chain.catch_up(&mut resumed).await;
    assert_eq!(deposits(&report, Finality::Final), [4, 5, 6].map(units));
}

#[tokio::test]
async fn a_reorg_below_the_final_block_halts_the_follower() {
    let chain = Chain::start();
    let (address, block) = chain.vault(false).await;
    let lp = chain.connect(address, LP).await;
    let mut follower = lp.follow(follower_settings(block));
    lp.execute(
        effect(1),
        &VaultRequest::DepositNote(units(9)),
        Finality::Seen,
    )
    .await
    .expect("deposited");
    chain.mine(4).await;
    assert_eq!(
        deposits(&chain.catch_up(&mut follower).await, Finality::Final),
        [units(9)]
    );
    chain.reorg(6).await;
    let report = chain.catch_up(&mut follower).await;
    assert!(
        matches!(report.last(), Some(VaultObservation::DeepReorg { .. })),
        "{report:?}"
    );
    assert!(
        follower.next().await.is_none(),
        "nothing is reported after it"
    );
}

#[tokio::test]
async fn an_outage_is_told_once() {
    let chain = Chain::start();
    let (address, block) = chain.vault(false).await;
    let lp = chain.connect(address, LP).await;
    let mut follower = lp.follow(follower_settings(block));
    chain.catch_up(&mut follower).await;
    drop(chain);
    let fault = loop {
        match follower.next().await.expect("it goes on") {
            Ok(_) => {}
            Err(fault) => break fault,
        }
    };
    assert!(matches!(fault, Fault::RpcDown { .. }), "{fault}");
    let more = tokio::time::timeout(Duration::from_millis(200), follower.next()).await;
    assert!(more.is_err(), "quiet until the node is back: {more:?}");
}

#[tokio::test]
async fn a_final_block_lost_between_two_runs_is_noticed_by_the_second() {
    let chain = Chain::start();
    let (address, block) = chain.vault(false).await;
    let lp = chain.connect(address, LP).await;
    chain.mine(4).await;
    let mut first = lp.follow(follower_settings(block));
    chain.catch_up(&mut first).await;
    let known_final = first.last_final();
    let (height, _) = known_final.expect("four blocks make one final");
    drop(first);
    let settings = FollowerSettings {
        known_final,
        ..follower_settings(height)
    };
    let report = chain.catch_up(&mut lp.follow(settings)).await;
    assert!(
        matches!(report.last(), Some(VaultObservation::Head(_))),
        "it is still there"
    );
    chain.reorg(4).await;
    let report = chain.catch_up(&mut lp.follow(settings)).await;
    assert!(
        matches!(report.last(), Some(VaultObservation::DeepReorg { .. })),
        "{report:?}"
    );
}

#[tokio::test]
async fn two_nodes_of_one_chain_agree_on_what_the_vault_reports() {
    let chain = Chain::start();
    let (address, block) = chain.vault(false).await;
    let urls = vec![chain.anvil.url().to_owned(); 2];
    let nodes = RpcNodes {
        urls,
        agreeing_min: 2,
        timeout: Duration::from_secs(5),
    };
    let settings = AccountSettings {
        nodes,
        ..chain.account_settings()
    };
    let account = Account::connect(settings, key(LP), Box::new(MemoryStore::default())).await;
    let lp = Vault::connect(Arc::new(account.expect("connected")), address)
        .await
        .expect("the vault");
    lp.execute(
        effect(1),
        &VaultRequest::DepositNote(units(3)),
        Finality::Seen,
    )
    .await
    .expect("deposited");
    let mut follower = lp.follow(follower_settings(block));
    assert_eq!(
        deposits(&chain.catch_up(&mut follower).await, Finality::Seen),
        [units(3)]
    );
}
