//! The reserve: its two leaves, and what stops a spend by too few.

use std::path::Path;
use std::sync::Arc;

use bitcoin::{Amount, FeeRate, NetworkKind, Psbt, Transaction, Txid, Witness};
use forebay_chain_bitcoin::Fault;
use forebay_chain_bitcoin::bitcoind::Bitcoind;
use forebay_chain_bitcoin::reserve::{
    Age, Leaf, MEMBERS_ALONE_BLOCKS, RenewalRule, Reserve, ReserveKey, ReservePolicy, finish,
    review, sign,
};
use forebay_chain_bitcoin::wallet::{Payment, Seed};
use serde_json::{Value, json};

use crate::world::{World, elsewhere};

/// The operator's key is number 0, the members' 1 to 3.
fn key(number: u8) -> ReserveKey {
    ReserveKey::new(&Seed([0x50 + number; 32]), NetworkKind::Test).expect("it makes a key")
}

fn policy() -> ReservePolicy {
    let public = |number| key(number).public().expect("it has a public side");
    ReservePolicy::new(&public(0), &[1, 2, 3].map(public), 2).expect("2 of 3")
}

async fn open(world: &World, folder: &Path, birthday: Option<u32>) -> Result<Reserve, Fault> {
    let bitcoind = Bitcoind::new(world.node.client_settings()).expect("the URL is one");
    let file = folder.join("reserve.redb");
    // As a member does who got the descriptor from the operator.
    let policy = ReservePolicy::from_descriptor(&policy().descriptor()).expect("just exported");
    Reserve::open(&file, policy, birthday, Arc::new(bitcoind)).await
}

/// A reserve of that many coins of 1 BTC, all in one block.
async fn funded(world: &World, folder: &Path, coins: u32) -> Reserve {
    world.mine(1).await;
    let reserve = open(world, folder, None).await.expect("it opens");
    for _ in 0..coins {
        let address = reserve.address().expect("a new one");
        world.node.pay(&address, btc(1)).await.expect("it is paid");
    }
    world.mine(1).await;
    reserve.sync().await.expect("it reads blocks");
    assert_eq!(reserve.coins().len(), coins as usize);
    reserve
}

fn btc(whole: u64) -> Amount {
    Amount::from_sat(whole * 100_000_000)
}

fn rate() -> FeeRate {
    FeeRate::from_sat_per_vb_u32(3)
}

fn to_elsewhere(sat: u64) -> Vec<Payment> {
    vec![Payment {
        script: elsewhere().script_pubkey(),
        amount: Amount::from_sat(sat),
    }]
}

/// Each signs a copy, as they do at their own machines.
fn signed_by(draft: &Psbt, signers: &[u8]) -> Vec<Psbt> {
    let copies = signers.iter().map(|number| {
        let mut copy = Psbt::deserialize(&draft.serialize()).expect("it travels as bytes");
        sign(&policy(), &mut copy, &key(*number)).expect("it is of this reserve");
        copy
    });
    copies.collect()
}

/// Why bitcoind would not take it; none when it would.
async fn refusal(world: &World, transaction: &Transaction) -> Option<String> {
    let text = bitcoin::consensus::encode::serialize_hex(transaction);
    let answer: Value = world
        .node
        .client()
        .call("testmempoolaccept", &[json!([text])])
        .await
        .expect("it answers");
    let reason = answer[0]["reject-reason"].as_str();
    assert_eq!(answer[0]["allowed"], json!(reason.is_none()), "{answer}");
    reason.map(str::to_owned)
}

#[tokio::test]
async fn operator_and_t_members_spend_and_nobody_with_fewer_does() {
    let (world, folder) = (World::start().await, tempfile::tempdir().expect("a folder"));
    let reserve = funded(&world, folder.path(), 2).await;
    let payments = to_elsewhere(150_000_000);
    let draft = reserve.draft_spend(&payments, rate(), Leaf::WithOperator);
    let draft = draft.expect("two coins reach");
    let seen = review(&policy(), &draft).expect("it is of this reserve");
    assert_eq!((seen.spent, &seen.payments), (btc(2), &payments));
    assert_eq!(seen.back + seen.fee, btc(2) - payments[0].amount);
    assert_eq!(seen.members_signed, [false; 3]);
    assert!(seen.fee < Amount::from_sat(3_000), "{}", seen.fee);

    for (signers, have, operator_is_missing) in [
        (&[0, 2][..], 1, false),
        (&[1, 2, 3], 3, true),
        (&[0], 0, false),
    ] {
        let fault = finish(&policy(), &signed_by(&draft, signers)).expect_err("too few");
        assert!(
            matches!(&fault, Fault::NotEnoughSignatures { have: found, operator_missing, .. }
                if *found == have && *operator_missing == operator_is_missing),
            "{fault}"
        );
    }
    let copies = signed_by(&draft, &[3, 0, 1]);
    let seen = review(&policy(), &copies[0]).expect("it is of this reserve");
    assert_eq!(
        (seen.members_signed, seen.operator_signed),
        (vec![false, false, true], false)
    );
    let whole = finish(&policy(), &copies).expect("operator and two members");
    // The chain itself says no to one signature less, whoever's it is; an empty one counts as none.
    let witness: Vec<Vec<u8>> = whole.input[0].witness.to_vec();
    let filled: Vec<_> = (0..witness.len() - 2)
        .filter(|at| !witness[*at].is_empty())
        .collect();
    assert_eq!(filled.len(), 3);
    for at in filled {
        let mut fewer = witness.clone();
        fewer[at].clear();
        let mut short = whole.clone();
        short.input[0].witness = Witness::from_slice(&fewer);
        let reason = refusal(&world, &short).await.expect("it is refused");
        assert!(reason.contains("script-verify-flag"), "{reason}");
    }
    let rate_paid = seen.fee.to_sat() * 1_000 / whole.weight().to_wu();
    assert!(
        (750..800).contains(&rate_paid),
        "{rate_paid} per 1,000 weight units"
    );

    let txid = reserve.hand_in(&copies).await.expect("it is taken");
    assert_eq!(txid, whole.compute_txid());
    world.mine(1).await;
    reserve.sync().await.expect("it reads blocks");
    let coins = reserve.coins();
    assert_eq!(coins.len(), 1, "{coins:?}");
    assert_eq!(coins[0].output.value, seen.back);
    drop(reserve);
    let reserve = open(&world, folder.path(), None).await.expect("it opens");
    assert_eq!(reserve.coins(), coins, "the file has them");
    let beyond = reserve.draft_spend(&to_elsewhere(50_000_000), rate(), Leaf::WithOperator);
    assert!(matches!(beyond, Err(Fault::NotEnoughCoins { .. })));
}

#[tokio::test]
async fn members_alone_wait_for_90_days_and_a_renewal_starts_them_anew() {
    let (world, folder) = (World::start().await, tempfile::tempdir().expect("a folder"));
    let reserve = funded(&world, folder.path(), 2).await;
    let held_at = world.height().await;
    let rule = RenewalRule { due: 3, late: 5 };
    assert!(
        reserve
            .draft_renewal(&rule, rate())
            .expect("nothing fails")
            .is_none()
    );

    // The one coin is renewed: by being what an early payment left over.
    let draft = reserve.draft_spend(&to_elsewhere(40_000_000), rate(), Leaf::WithOperator);
    let copies = signed_by(&draft.expect("one coin reaches"), &[0, 1, 2]);
    reserve.hand_in(&copies).await.expect("it is taken");
    world.mine(2).await;
    let tip = reserve.sync().await.expect("it reads blocks");
    let ages = |reserve: &Reserve| {
        let coins = reserve.coins();
        let mut ages: Vec<_> = coins
            .iter()
            .map(|coin| rule.age(coin.height, tip.height))
            .collect();
        ages.sort();
        ages
    };
    assert_eq!(ages(&reserve), [Age::Fresh, Age::Due]);
    let draft = reserve
        .draft_renewal(&rule, rate())
        .expect("it pays for itself");
    let draft = draft.expect("one is due");
    let seen = review(&policy(), &draft).expect("it is of this reserve");
    assert_eq!((seen.spent, &seen.payments[..]), (btc(1), &[][..]));
    let renewal = finish(&policy(), &signed_by(&draft, &[0, 2, 3])).expect("all have signed");
    assert_eq!(refusal(&world, &renewal).await, None);

    // It is never handed in: the operator is gone. The members look for the money with the descriptor alone.
    let members_folder = tempfile::tempdir().expect("a folder");
    let members = open(&world, members_folder.path(), Some(held_at - 1)).await;
    let members = members.expect("it opens");
    members.sync().await.expect("it reads blocks");
    let mut coins = members.coins();
    coins.sort_by_key(|coin| coin.height);
    assert_eq!(
        coins.iter().map(|coin| coin.height).collect::<Vec<_>>(),
        [Some(held_at), Some(held_at + 1)]
    );
    let [old, renewed] = [0, 1].map(|at| {
        let coin = &coins[at..=at];
        let leaf = Leaf::MembersAlone;
        let draft = forebay_chain_bitcoin::reserve::draft(
            members.policy(),
            coin,
            &to_elsewhere(1_000_000),
            9,
            rate(),
            leaf,
        );
        let draft = draft.expect("it reaches");
        let fault = finish(&policy(), &signed_by(&draft, &[3])).expect_err("one of two");
        assert!(
            matches!(fault, Fault::NotEnoughSignatures { have: 1, .. }),
            "{fault}"
        );
        let mut copy = draft.clone();
        let stranger = sign(&policy(), &mut copy, &key(0)).expect_err("the operator is not in it");
        assert!(stranger.to_string().contains("members alone"), "{stranger}");
        finish(&policy(), &signed_by(&draft, &[1, 3])).expect("two of three")
    });
    let too_early = Some("non-BIP68-final".to_owned());
    assert_eq!(refusal(&world, &old).await, too_early);
    let blocks_of_age = |height: u32, tip: u32| tip + 1 - height;
    let now = world.height().await;
    let wanted = u32::from(MEMBERS_ALONE_BLOCKS) - 1;
    world.mine(wanted - blocks_of_age(held_at, now)).await;
    assert_eq!(refusal(&world, &old).await, too_early, "12,959 blocks");
    world.mine(1).await;
    assert_eq!(refusal(&world, &old).await, None, "12,960 blocks");
    assert_eq!(
        refusal(&world, &renewed).await,
        too_early,
        "its clock began later"
    );
    assert_eq!(rule.age(Some(held_at), world.height().await), Age::Exposed);
    let taken: Txid = world
        .node
        .client()
        .broadcast(&old)
        .await
        .expect("it is taken");
    world.mine(1).await;
    assert_eq!(refusal(&world, &renewed).await, None, "one block later");
    let spent = world.node.client().unspent(coins[0].outpoint).await;
    assert_eq!(spent.expect("it answers"), None, "{taken}");
}

#[tokio::test]
async fn what_is_not_of_this_reserve_is_not_signed() {
    let (world, folder) = (World::start().await, tempfile::tempdir().expect("a folder"));
    let reserve = funded(&world, folder.path(), 1).await;
    let draft = reserve.draft_spend(&to_elsewhere(1_000_000), rate(), Leaf::WithOperator);
    let draft = draft.expect("it reaches");
    let refused = |psbt: &Psbt, who: u8| {
        let mut copy = psbt.clone();
        let fault = sign(&policy(), &mut copy, &key(who)).expect_err("it is not signed");
        assert_eq!(&copy, psbt, "nothing is in it");
        fault.to_string()
    };
    assert!(refused(&draft, 9).contains("neither the operator's nor a member's"));
    let mut other_script = draft.clone();
    let output = other_script.inputs[0]
        .witness_utxo
        .as_mut()
        .expect("it has one");
    output.script_pubkey = elsewhere().script_pubkey();
    assert!(refused(&other_script, 1).contains("input 0 is no output of the reserve"));
    let mut nameless = draft.clone();
    nameless.inputs[0].tap_key_origins.clear();
    assert!(refused(&nameless, 1).contains("input 0 is no output of the reserve"));
    // An output that calls itself ours and is not counts as a payment.
    let mut dressed = draft.clone();
    let back = review(&policy(), &draft)
        .expect("it is of this reserve")
        .back;
    let place = dressed.unsigned_tx.output.len() - 1;
    dressed.unsigned_tx.output[place].script_pubkey = elsewhere().script_pubkey();
    let seen = review(&policy(), &dressed).expect("it is of this reserve");
    assert_eq!((seen.back, seen.payments[1].amount), (Amount::ZERO, back));
    // A value that is not what lies in the chain makes a signature for nothing.
    let mut dearer = draft.clone();
    let output = dearer.inputs[0].witness_utxo.as_mut().expect("it has one");
    output.value += Amount::from_sat(1);
    let whole = finish(&policy(), &signed_by(&dearer, &[0, 1, 2]));
    let reason = match whole {
        Ok(whole) => refusal(&world, &whole).await.expect("it is refused"),
        Err(fault) => fault.to_string(),
    };
    assert!(reason.contains("script-verify-flag"), "{reason}");
}
