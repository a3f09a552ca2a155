//! Claims about the books, checked against an independent model and on hostile lists of legs.

use forebay_ledger::*;
use forebay_quantity::{AccountId, Amount, AssetId};

const ETH: AssetId = AssetId(1);
const USD: AssetId = AssetId(2);

fn leg(debit: AccountId, credit: AccountId, amount: u128) -> Leg {
    Leg {
        debit,
        credit,
        amount: Amount::new(amount),
    }
}

/// Two ETH accounts, the first of which may go 100 below nothing, and one of dollars.
fn small() -> (Ledger, AccountId, AccountId, AccountId) {
    let mut ledger = Ledger::new();
    let limits = Limits {
        debit_balance_max: Amount::new(100),
        credit_balance_max: Amount::new(1_000),
    };
    let peer = ledger.open(ETH, limits);
    let pool = ledger.open(ETH, Limits::NONE);
    let dollars = ledger.open(USD, Limits::NONE);
    (ledger, peer, pool, dollars)
}

#[test]
fn linked_legs_cannot_overdraw_one_account_together() {
    let (ledger, peer, pool, _) = small();
    assert_eq!(ledger.check(&[leg(peer, pool, 60)]), Ok(()));
    let refusal = ledger
        .check(&[leg(peer, pool, 60), leg(peer, pool, 41)])
        .expect_err("101 of 100");
    assert_eq!((refusal.leg, refusal.account), (1, peer));
    let why = Why::DebitLimit {
        amount: Amount::new(41),
        available: Amount::new(40),
        max: Amount::new(100),
    };
    assert_eq!(refusal.why, why);
    assert_eq!(
        ledger.check(&[leg(peer, pool, 60), leg(peer, pool, 40)]),
        Ok(())
    );
}

#[test]
fn a_pending_credit_pays_for_nothing_until_it_is_posted() {
    let (mut ledger, peer, pool, _) = small();
    let in_and_out = [leg(pool, peer, 50), leg(peer, pool, 150)];
    assert!(ledger.check(&in_and_out).is_err());
    assert_eq!(ledger.check_post(&in_and_out), Ok(()));
    let credit = ledger.pend(&in_and_out[..1]);
    assert!(ledger.check(&in_and_out[1..]).is_err());
    ledger.post_pending(credit);
    assert_eq!(ledger.check(&in_and_out[1..]), Ok(()));
}

#[test]
fn each_wrong_leg_is_refused_by_name() {
    let (ledger, peer, pool, dollars) = small();
    let why = |leg| ledger.check(&[leg]).expect_err("wrong").why;
    let nobody = AccountId(9);
    assert_eq!(why(leg(peer, pool, 0)), Why::Zero);
    assert_eq!(why(leg(peer, peer, 1)), Why::SameAccount);
    assert_eq!(why(leg(nobody, pool, 1)), Why::UnknownAccount);
    assert_eq!(why(leg(pool, nobody, 1)), Why::UnknownAccount);
    assert_eq!(
        why(leg(pool, dollars, 1)),
        Why::AssetMismatch {
            debit: ETH,
            credit: USD
        }
    );
    assert!(matches!(why(leg(peer, pool, 101)), Why::DebitLimit { .. }));
    assert!(matches!(
        why(leg(pool, peer, 1_001)),
        Why::CreditLimit { .. }
    ));
    let whole = [leg(pool, dollars, 1)];
    assert!(ledger.check(&whole).is_err());
}

#[test]
fn totals_never_wrap() {
    let mut ledger = Ledger::new();
    let left = ledger.open(ETH, Limits::NONE);
    let right = ledger.open(ETH, Limits::NONE);
    ledger.post(&[leg(left, right, u128::MAX)]);
    let refusal = ledger
        .check(&[leg(left, right, 1)])
        .expect_err("past the last amount");
    assert_eq!(refusal.why, Why::Overflow);
    assert_eq!(ledger.check(&[leg(right, left, u128::MAX)]), Ok(()));
    assert_eq!(ledger.check_balanced(), Ok(()));
}

#[test]
#[should_panic(expected = "[I3]")]
fn a_transfer_cannot_resolve_twice() {
    let (mut ledger, peer, pool, _) = small();
    let id = ledger.pend(&[leg(peer, pool, 1)]);
    ledger.post_pending(id);
    ledger.void(id);
}

#[test]
#[should_panic(expected = "[I3]")]
fn an_id_from_before_the_slot_was_used_again_resolves_nothing() {
    let (mut ledger, peer, pool, _) = small();
    let old = ledger.pend(&[leg(peer, pool, 1)]);
    ledger.void(old);
    let new = ledger.pend(&[leg(peer, pool, 1)]);
    assert_eq!(new.slot, old.slot);
    ledger.void(old);
}

#[test]
#[should_panic(expected = "[I2]")]
fn an_unchecked_leg_beyond_the_limit_halts() {
    let (mut ledger, peer, pool, _) = small();
    ledger.pend(&[leg(peer, pool, 101)]);
}

#[test]
#[should_panic(expected = "[I1]")]
fn an_unchecked_leg_across_assets_halts() {
    let (mut ledger, _, pool, dollars) = small();
    ledger.post(&[leg(pool, dollars, 1)]);
}

#[test]
fn a_lower_limit_refuses_more_but_lets_the_account_come_back() {
    let (mut ledger, peer, pool, _) = small();
    ledger.post(&[leg(peer, pool, 80)]);
    ledger.set_limits(
        peer,
        Limits {
            debit_balance_max: Amount::new(10),
            ..Limits::NONE
        },
    );
    assert!(ledger.check(&[leg(peer, pool, 1)]).is_err());
    assert_eq!(ledger.account(peer).debit_room(), Amount::ZERO);
    assert_eq!(ledger.check(&[leg(pool, peer, 30)]), Ok(()));
}

#[test]
fn nothing_is_a_transfer_too() {
    let (mut ledger, ..) = small();
    assert_eq!(ledger.check(&[]), Ok(()));
    let id = ledger.pend(&[]);
    assert_eq!(ledger.pending(id), Some(&[][..]));
    ledger.post_pending(id);
    assert_eq!(ledger.pending(id), None);
}
