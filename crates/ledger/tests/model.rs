//! The ledger against an independent model that adds signed numbers in a map and knows no overlay, slab or column.

use forebay_ledger::*;
use forebay_quantity::{AccountId, Amount, AssetId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What the model keeps of an account: its two limits, its net credit posted, and what pends each way.
#[derive(Clone, Copy, Default)]
struct Naive {
    asset: u16,
    debit_max: i128,
    credit_max: i128,
    net_credit: i128,
    pending_debit: i128,
    pending_credit: i128,
}

impl Naive {
    fn within_limits(&self) -> bool {
        self.pending_debit - self.net_credit <= self.debit_max
            && self.pending_credit + self.net_credit <= self.credit_max
    }
}

#[derive(Clone, Default)]
struct Model {
    accounts: BTreeMap<u32, Naive>,
    pending: BTreeMap<TransferId, Vec<Leg>>,
}

impl Model {
    /// Does one leg whole, or leaves the model half-done and says no: the caller throws a copy away.
    fn try_leg(&mut self, leg: &Leg, pends: bool) -> bool {
        let amount = i128::try_from(leg.amount.value()).expect("small");
        let (debit, credit) = (leg.debit.value(), leg.credit.value());
        if amount == 0 || debit == credit {
            return false;
        }
        let (Some(from), Some(to)) = (self.accounts.get(&debit), self.accounts.get(&credit)) else {
            return false;
        };
        if from.asset != to.asset {
            return false;
        }
        let from = self.accounts.get_mut(&debit).expect("seen above");
        match pends {
            true => from.pending_debit += amount,
            false => from.net_credit -= amount,
        }
        if from.pending_debit - from.net_credit > from.debit_max {
            return false;
        }
        let to = self.accounts.get_mut(&credit).expect("seen above");
        match pends {
            true => to.pending_credit += amount,
            false => to.net_credit += amount,
        }
        to.pending_credit + to.net_credit <= to.credit_max
    }

    fn tried(&self, legs: &[Leg], pends: bool) -> Option<Self> {
        let mut copy = self.clone();
        legs.iter()
            .all(|leg| copy.try_leg(leg, pends))
            .then_some(copy)
    }

    fn resolve(&mut self, id: TransferId, posts: bool) {
        for leg in self.pending.remove(&id).expect("pending") {
            let amount = i128::try_from(leg.amount.value()).expect("small");
            let from = self.accounts.get_mut(&leg.debit.value()).expect("opened");
            from.pending_debit -= amount;
            from.net_credit -= if posts { amount } else { 0 };
            let to = self.accounts.get_mut(&leg.credit.value()).expect("opened");
            to.pending_credit -= amount;
            to.net_credit += if posts { amount } else { 0 };
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pend(Vec<Leg>),
    Post(Vec<Leg>),
    /// The n-th pending transfer is posted.
    Resolve(usize, bool),
    Limit(u32, u64, u64),
}

const ACCOUNTS: u32 = 5;

fn any_leg() -> impl Strategy<Value = Leg> {
    (0..ACCOUNTS + 1, 0..ACCOUNTS, 0u64..60).prop_map(|(debit, credit, amount)| Leg {
        debit: AccountId(debit),
        credit: AccountId(credit),
        amount: Amount::from(amount),
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let legs = || prop::collection::vec(any_leg(), 0..=LEGS_MAX);
    let few = || prop::collection::vec(any_leg(), 1..=2);
    prop_oneof![
        2 => legs().prop_map(Step::Pend),
        4 => few().prop_map(Step::Pend),
        1 => legs().prop_map(Step::Post),
        2 => few().prop_map(Step::Post),
        5 => (any::<usize>(), any::<bool>()).prop_map(|(at, posts)| Step::Resolve(at, posts)),
        1 => (0..ACCOUNTS, 0u64..150, 0u64..150).prop_map(|(at, debit, credit)| Step::Limit(at, debit, credit)),
    ]
}

fn limits(debit: u64, credit: u64) -> Limits {
    Limits {
        debit_balance_max: Amount::from(debit),
        credit_balance_max: Amount::from(credit),
    }
}

fn opened() -> (Ledger, Model) {
    let mut ledger = Ledger::new();
    let mut model = Model::default();
    for (at, (debit, credit)) in
        (0..ACCOUNTS).zip([(100, 100), (0, 200), (200, 0), (1_000, 1_000), (90, 90)])
    {
        // The last one holds another asset, so every leg on it is a mismatch.
        let asset = u16::from(at == ACCOUNTS - 1);
        assert_eq!(
            ledger.open(AssetId(asset), limits(debit, credit)),
            AccountId(at)
        );
        let naive = Naive {
            asset,
            debit_max: debit.into(),
            credit_max: credit.into(),
            ..Naive::default()
        };
        model.accounts.insert(at, naive);
    }
    (ledger, model)
}

fn assert_same(ledger: &Ledger, model: &Model) {
    for (id, account) in ledger.accounts() {
        let naive = model.accounts[&id.value()];
        let signed = |amount: Amount| i128::try_from(amount.value()).expect("small");
        let net = match account.credit_balance() {
            Balance::Credit(amount) => signed(amount),
            Balance::Debit(amount) => -signed(amount),
        };
        assert_eq!(net, naive.net_credit);
        assert_eq!(signed(account.debits_pending), naive.pending_debit);
        assert_eq!(signed(account.credits_pending), naive.pending_credit);
        assert_eq!(
            signed(account.debit_exposure()),
            (naive.pending_debit - naive.net_credit).max(0)
        );
        assert_eq!(
            signed(account.credit_exposure()),
            (naive.pending_credit + naive.net_credit).max(0)
        );
    }
    let ours: BTreeMap<_, _> = ledger
        .pending_all()
        .map(|(id, legs)| (id, legs.to_vec()))
        .collect();
    assert_eq!(ours, model.pending);
    assert_eq!(ledger.check_balanced(), Ok(())); // [I1] [I3]
}

/// Runs the steps on both, and says how many lists of legs were taken and refused.
fn run(steps: Vec<Step>) -> (u32, u32) {
    let (mut ledger, mut model) = opened();
    let (mut taken, mut refused) = (0, 0);
    let mut used = BTreeSet::new();
    let mut limits_lowered = false;
    for step in steps {
        match step {
            Step::Pend(legs) => {
                let tried = model.tried(&legs, true);
                assert_eq!(ledger.check(&legs).is_ok(), tried.is_some(), "{legs:?}");
                match tried {
                    Some(after) => {
                        model = after;
                        let named = ledger.next_transfer();
                        let id = ledger.pend(&legs);
                        assert_eq!(id, named);
                        assert!(used.insert(id), "an id is never given twice");
                        model.pending.insert(id, legs);
                        taken += 1;
                    }
                    None => refused += 1,
                }
            }
            Step::Post(legs) => {
                let tried = model.tried(&legs, false);
                assert_eq!(
                    ledger.check_post(&legs).is_ok(),
                    tried.is_some(),
                    "{legs:?}"
                );
                match tried {
                    Some(after) => {
                        model = after;
                        ledger.post(&legs);
                        taken += 1;
                    }
                    None => refused += 1,
                }
            }
            Step::Resolve(at, posts) => {
                let count = model.pending.len();
                if count == 0 {
                    continue;
                }
                let id = *model.pending.keys().nth(at % count).expect("counted");
                model.resolve(id, posts);
                match posts {
                    true => ledger.post_pending(id),
                    false => ledger.void(id),
                }
            }
            Step::Limit(at, debit, credit) => {
                ledger.set_limits(AccountId(at), limits(debit, credit));
                let naive = model.accounts.get_mut(&at).expect("opened");
                (naive.debit_max, naive.credit_max) = (debit.into(), credit.into());
                limits_lowered = true;
            }
        }
        assert_same(&ledger, &model);
        // [I2] Nothing but a lower limit ever puts an account beyond its limit.
        assert!(limits_lowered || model.accounts.values().all(Naive::within_limits));
    }
    let bytes = borsh::to_vec(&ledger).expect("memory");
    let back: Ledger = borsh::from_slice(&bytes).expect("written above");
    assert_eq!(back, ledger);
    assert_eq!(back.next_transfer(), ledger.next_transfer()); // [I10]
    (taken, refused)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn the_ledger_agrees_with_the_model_step_by_step(steps in prop::collection::vec(any_step(), 0..40)) {
        run(steps);
    }

    #[test]
    fn what_may_be_debited_and_credited_is_exactly_the_room(
        steps in prop::collection::vec(any_leg(), 0..20), at in 0..ACCOUNTS - 1, more in 1u64..3,
    ) {
        let (mut ledger, _) = opened();
        for leg in steps {
            if ledger.check(&[leg]).is_ok() {
                ledger.pend(&[leg]);
            }
        }
        let spare = ledger.open(AssetId(0), Limits::NONE);
        let account = *ledger.account(AccountId(at));
        let debit = |amount| Leg { debit: AccountId(at), credit: spare, amount };
        let credit = |amount| Leg { debit: spare, credit: AccountId(at), amount };
        let past = |room: Amount| room.saturating_add(Amount::from(more));
        let (debit_room, credit_room) = (account.debit_room(), account.credit_room());
        prop_assert!(debit_room.is_zero() || ledger.check(&[debit(debit_room)]).is_ok());
        prop_assert!(ledger.check(&[debit(past(debit_room))]).is_err());
        prop_assert!(credit_room.is_zero() || ledger.check(&[credit(credit_room)]).is_ok());
        prop_assert!(ledger.check(&[credit(past(credit_room))]).is_err());
    }
}

#[test]
fn the_model_runs_reach_both_answers() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let strategy = prop::collection::vec(any_step(), 60);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..50 {
        let steps = strategy.new_tree(&mut runner).expect("a tree").current();
        let counts = run(steps);
        (taken, refused) = (taken + counts.0, refused + counts.1);
    }
    assert!(
        taken > 200 && refused > 200,
        "{taken} taken, {refused} refused"
    );
}

#[test]
fn a_broken_snapshot_is_refused_or_found_unbalanced() {
    let (mut ledger, _) = opened();
    let leg = Leg {
        debit: AccountId(0),
        credit: AccountId(3),
        amount: Amount::new(7),
    };
    ledger.pend(&[leg]);
    let bytes = borsh::to_vec(&ledger).expect("memory");
    for cut in 0..bytes.len() {
        assert!(borsh::from_slice::<Ledger>(&bytes[..cut]).is_err());
    }
    let changed = |at: usize| {
        let mut copy = bytes.clone();
        copy[at] ^= 1;
        borsh::from_slice::<Ledger>(&copy).map(|ledger| ledger.check_balanced())
    };
    // The first account's columns follow the count of accounts.
    assert!(matches!(changed(4), Ok(Err(Unbalanced::Asset { .. }))));
    assert!(matches!(changed(4 + 16), Ok(Err(Unbalanced::Asset { .. }))));
}
