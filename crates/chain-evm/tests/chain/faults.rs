//! Each fault is told by its name, with what to do.

use crate::world::{
    CLOSE_PERIOD_S, Chain, OPERATOR, PEER, SERIAL, effect, key, opening, settings, signed_voucher,
    units,
};
use forebay_chain_evm::{
    Account, AccountSettings, Fault, MemoryStore, Retry, RpcNodes, Vault,
    anvil::{AnvilProcess, AnvilSettings},
    gas_reserve_needed, test_token_code,
};
use forebay_channel::{
    Address, Finality, LaneId,
    vault::{BATCH_MAX, VaultRequest},
};
use std::{path::PathBuf, sync::Arc, time::Duration};

async fn connect(settings: AccountSettings) -> Fault {
    let store = Box::new(MemoryStore::default());
    Account::connect(settings, key(OPERATOR), store)
        .await
        .expect_err("it cannot connect")
}

#[test]
fn a_missing_anvil_names_the_command_that_installs_it() {
    let missing = AnvilSettings::new(PathBuf::from("/nowhere/anvil"));
    let error = AnvilProcess::start(&missing).expect_err("it is not there");
    assert!(error.to_string().contains("cargo xtask setup"), "{error}");
}

#[tokio::test]
async fn an_anvil_with_a_log_listens_and_is_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Some(folder.path().join("anvil.txt"));
    let chain = Chain::with(&AnvilSettings { log, ..settings() });
    let url = chain.anvil.url().to_owned();
    chain.account(OPERATOR).await;
    drop(chain);
    let fault = connect(AccountSettings::new(RpcNodes::own(url), 31_337)).await;
    assert!(matches!(fault, Fault::RpcDown { .. }), "{fault}");
}

#[tokio::test]
async fn a_node_that_is_down_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let fault = connect(AccountSettings::new(RpcNodes::own(&url), 31_337)).await;
    assert!(
        matches!(fault, Fault::RpcDown { .. }) && fault.to_string().contains(&url),
        "{fault}"
    );
    assert_eq!(fault.retry(), Retry::Later);
}

#[tokio::test]
async fn a_url_that_is_none_is_refused() {
    for url in ["", "localhost:8545", "ftp://127.0.0.1", "http//x"] {
        let fault = connect(AccountSettings::new(RpcNodes::own(url), 31_337)).await;
        assert!(matches!(fault, Fault::BadUrl { .. }), "{url}: {fault}");
    }
}

#[tokio::test]
async fn another_chain_is_refused() {
    let chain = Chain::start();
    let fault = connect(AccountSettings {
        chain_id: 1,
        ..chain.account_settings()
    })
    .await;
    assert!(
        matches!(
            fault,
            Fault::WrongChain {
                expected: 1,
                found: 31_337
            }
        ),
        "{fault}"
    );
    assert_eq!(fault.retry(), Retry::Never);
}

#[tokio::test]
async fn another_contract_or_none_is_refused() {
    let chain = Chain::start();
    let operator = chain.account(OPERATOR).await;
    let nowhere = Vault::connect(operator.clone(), Address::new([9; 20]))
        .await
        .expect_err("nothing there");
    assert!(matches!(nowhere, Fault::NoContract { .. }), "{nowhere}");
    let code = test_token_code("T", "T", 6, 1);
    let token = operator
        .deploy(effect(1), code, Finality::Seen)
        .await
        .expect("deployed");
    let other = Vault::connect(operator, token.address)
        .await
        .expect_err("a token is no vault");
    assert!(matches!(other, Fault::WrongCode { .. }), "{other}");
}

#[tokio::test]
async fn nodes_that_disagree_about_the_vault_are_not_believed() {
    let (chain, other) = (Chain::start(), Chain::start());
    let (address, _) = chain.vault(false).await;
    let urls = vec![chain.anvil.url().to_owned(), other.anvil.url().to_owned()];
    let nodes = RpcNodes {
        urls,
        agreeing_min: 2,
        timeout: Duration::from_secs(5),
    };
    let settings = AccountSettings {
        nodes,
        ..chain.account_settings()
    };
    let account = Account::connect(settings, key(PEER), Box::new(MemoryStore::default())).await;
    let fault = Vault::connect(Arc::new(account.expect("both are on the chain")), address).await;
    let fault = fault.expect_err("only one has the vault");
    assert!(
        matches!(fault, Fault::NodesDisagree { needed: 2, .. }),
        "{fault}"
    );
}

#[tokio::test]
async fn a_second_node_steps_in_when_the_first_is_down() {
    let chain = Chain::start();
    let (address, _) = chain.vault(false).await;
    let urls = vec![
        "http://127.0.0.1:9".to_owned(),
        chain.anvil.url().to_owned(),
    ];
    let nodes = RpcNodes {
        urls,
        agreeing_min: 1,
        timeout: Duration::from_secs(5),
    };
    let settings = AccountSettings {
        nodes,
        ..chain.account_settings()
    };
    let account = Account::connect(settings, key(PEER), Box::new(MemoryStore::default())).await;
    Vault::connect(Arc::new(account.expect("one is there")), address)
        .await
        .expect("it is the vault");
}

#[tokio::test]
async fn no_channel_is_opened_without_gas_for_its_whole_life() {
    let chain = Chain::start();
    let (address, _) = chain.vault(false).await;
    let operator = chain.connect(address, OPERATOR).await;
    let need = gas_reserve_needed(3, &chain.account_settings().fees);
    let unknown = operator
        .outcome(effect(1), Finality::Seen)
        .await
        .expect_err("never submitted");
    assert!(matches!(unknown, Fault::NotSubmitted { .. }), "{unknown}");
    let short = need.checked_sub(units(1)).expect("more than one wei");
    chain
        .rpc(
            "anvil_setBalance",
            (
                operator.account().address().to_string(),
                format!("0x{:x}", short.value()),
            ),
        )
        .await;
    operator.set_channels_open(2);
    let open = VaultRequest::Open(opening(0, chain.now().await));
    let fault = operator
        .submit(effect(1), &open)
        .await
        .expect_err("one wei short");
    match fault {
        Fault::NoGasMoney {
            have,
            need: told,
            address,
        } => {
            assert_eq!(
                (have, told, address),
                (short, need, key(OPERATOR).address())
            );
        }
        other => panic!("{other}"),
    }
    operator.set_channels_open(1);
    operator
        .execute(effect(1), &open, Finality::Seen)
        .await
        .expect("enough for two");
}

#[tokio::test]
async fn a_request_that_the_vault_refuses_costs_nothing_and_names_the_reason() {
    let chain = Chain::start();
    let (address, _) = chain.vault(false).await;
    let operator = chain.connect(address, OPERATOR).await;
    let peer = chain.connect(address, PEER).await;
    let before = peer.account().balance().await.expect("read");
    let open = VaultRequest::Open(opening(0, chain.now().await));
    let refusals = [(open.clone(), "NotOperator", Retry::Never)];
    operator
        .execute(effect(1), &open, Finality::Seen)
        .await
        .expect("opened");
    operator
        .execute(effect(2), &VaultRequest::StartClose(SERIAL), Finality::Seen)
        .await
        .expect("announced");
    let voucher = signed_voucher(&peer, LaneId::Pool, 5);
    let more = [
        (VaultRequest::FinishClose(SERIAL), "TooEarly", Retry::Later),
        (
            VaultRequest::Redeem(vec![voucher]),
            "NothingToPay",
            Retry::Never,
        ),
    ];
    for (number, (request, name, retry)) in (1..).zip(refusals.into_iter().chain(more)) {
        let fault = peer.submit(effect(number), &request).await.expect_err(name);
        assert!(
            matches!(&fault, Fault::Refused { reason } if reason.name == name),
            "{fault}"
        );
        assert_eq!(fault.retry(), retry, "{name}");
    }
    assert_eq!(peer.account().balance().await.expect("read"), before);
    chain.pass(CLOSE_PERIOD_S).await;
    let finish = VaultRequest::FinishClose(SERIAL);
    peer.execute(effect(2), &finish, Finality::Seen)
        .await
        .expect("the same effect, later");
}

#[tokio::test]
async fn a_request_that_no_call_can_carry_is_refused_before_anything_is_asked() {
    let chain = Chain::with(&settings());
    let (address, _) = chain.vault(false).await;
    let peer = chain.connect(address, PEER).await;
    let voucher = signed_voucher(&peer, LaneId::Pool, 5);
    for request in [
        VaultRequest::Redeem(Vec::new()),
        VaultRequest::Redeem(vec![voucher; BATCH_MAX + 1]),
        VaultRequest::Raise(Vec::new()),
        VaultRequest::PayExits(1 << 24),
    ] {
        let fault = peer
            .submit(effect(1), &request)
            .await
            .expect_err("it does not fit");
        assert!(
            matches!(fault, Fault::BadRequest { .. }) && fault.retry() == Retry::Never,
            "{fault}"
        );
    }
}
