//! A channel's life on a chain that makes its own blocks, at finality depth.

use crate::world::{
    Chain, LP, OPERATOR, PEER, SERIAL, effect, key, opening, signed, signed_voucher, units,
};
use forebay_chain_evm::Vault;
use forebay_channel::{CoopClose, Finality, LaneId, vault::VaultRequest};
use forebay_quantity::{Milliseconds, Timestamp};
use std::time::SystemTime;

fn term_end() -> Timestamp {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    Timestamp::new(u64::try_from(now.as_millis()).expect("fits"))
        .saturating_add(Milliseconds::from_seconds(7_200))
}

async fn live_and_end(with_token: bool) {
    let chain = Chain::start();
    let (address, _) = chain.vault(with_token).await;
    chain.rpc("evm_setIntervalMining", (1,)).await;
    let operator = chain.connect(address, OPERATOR).await;
    let peer = chain.connect(address, PEER).await;
    let lp = chain.connect(address, LP).await;
    let before = holdings(&peer).await;

    lp.submit(effect(1), &VaultRequest::DepositNote(units(5_000)))
        .await
        .expect("sent");
    lp.outcome(effect(1), Finality::Seen)
        .await
        .expect("included");
    operator
        .submit(effect(1), &VaultRequest::Open(opening(1_000, term_end())))
        .await
        .expect("sent");
    operator
        .outcome(effect(1), Finality::Seen)
        .await
        .expect("included");
    let early = operator
        .channel(SERIAL, Finality::Final)
        .await
        .expect("read");
    assert!(!early.opened, "seen is not final");

    let deposit = VaultRequest::Deposit {
        serial: SERIAL,
        amount: units(800),
        peer_payout: key(PEER).address(),
    };
    let gas = [
        peer.execute(effect(1), &deposit, Finality::Seen)
            .await
            .expect("deposited")
            .fee,
        peer.execute(
            effect(2),
            &VaultRequest::Redeem(vec![signed_voucher(&peer, LaneId::Pool, 300)]),
            Finality::Seen,
        )
        .await
        .expect("redeemed")
        .fee,
    ];
    assert!(gas.iter().all(|fee| !fee.is_zero()));
    operator
        .outcome(effect(1), Finality::Final)
        .await
        .expect("final");
    let view = operator
        .channel(SERIAL, Finality::Final)
        .await
        .expect("read");
    assert_eq!((view.opened, view.pool.ceiling), (true, units(1_000)));
    let close = CoopClose {
        serial: SERIAL,
        pool_paid: units(350),
        peer_paid: units(500),
    };
    let (pool, other) = (
        signed(&operator, OPERATOR, &close),
        signed(&peer, PEER, &close),
    );
    let closing = VaultRequest::CloseTogether(close, pool, other);
    let closed = operator
        .execute(effect(2), &closing, Finality::Final)
        .await
        .expect("closed");
    assert!(closed.succeeded);

    let view = peer.channel(SERIAL, Finality::Final).await.expect("read");
    assert!(view.closed);
    assert_eq!((view.pool.paid, view.peer.paid), (units(350), units(500)));
    let books = peer.books(Finality::Final).await.expect("read");
    assert_eq!(books.free, units(5_000 - 350 + 500));
    if with_token {
        assert_eq!(holdings(&peer).await, before + 350 - 500);
    }
}

async fn holdings(vault: &Vault) -> u128 {
    let (account, owner) = (vault.account(), vault.account().address());
    let held = match vault.asset() {
        Some(token) => account.token_balance_of(token, owner, Finality::Seen).await,
        None => account.balance_of(owner, Finality::Seen).await,
    };
    held.expect("read").value()
}

#[tokio::test]
async fn an_eth_channel_lives_and_ends_at_finality_depth() {
    live_and_end(false).await;
}

#[tokio::test]
async fn a_token_channel_lives_and_ends_at_finality_depth() {
    live_and_end(true).await;
}
