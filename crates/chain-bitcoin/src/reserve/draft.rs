//! A spend of the reserve as a PSBT (BIP 174, 371) that the members and the operator sign.

use bdk_wallet::miniscript::psbt::PsbtExt;
use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, FeeRate, OutPoint, Psbt, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Weight, Witness,
};

use super::MEMBERS_ALONE_BLOCKS;
use super::policy::{Leaf, ReservePolicy, bad_reserve};
use crate::Fault;
use crate::wallet::Payment;

/// An output of the reserve that nothing spends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReserveCoin {
    /// Which output.
    pub outpoint: OutPoint,
    /// What is in it.
    pub output: TxOut,
    /// The place of its address in the descriptor.
    pub index: u32,
    /// The height of the block that holds it; none in the mempool.
    pub height: Option<u32>,
}

/// Drafts a transaction that spends all these coins by that leaf; what the payments and the fee leave goes to the
/// reserve's address at `back_index`, where its clock starts anew. Without payments it is a renewal.
///
/// # Errors
/// When a payment is dust, the coins do not reach, or a coin is not of this reserve.
pub fn draft(
    policy: &ReservePolicy,
    coins: &[ReserveCoin],
    payments: &[Payment],
    back_index: u32,
    fee_rate: FeeRate,
    leaf: Leaf,
) -> Result<Psbt, Fault> {
    for Payment { script, amount } in payments {
        let min = script.minimal_non_dust();
        if *amount < min {
            let amount = *amount;
            return Err(Fault::Dust { amount, min });
        }
    }
    let back_script = policy.script_at(back_index)?;
    let mut transaction = unsigned(coins, payments, leaf);
    let paid: Amount = payments.iter().map(|payment| payment.amount).sum();
    let have: Amount = coins.iter().map(|coin| coin.output.value).sum();
    let with_back = fee_of(policy, &transaction, Some(&back_script), fee_rate)?;
    let without = fee_of(policy, &transaction, None, fee_rate)?;
    let back = have.checked_sub(paid + with_back);
    let goes_back = back.filter(|back| *back >= back_script.minimal_non_dust());
    if goes_back.is_none() && (payments.is_empty() || have < paid + without) {
        let needed = paid + with_back;
        return Err(Fault::NotEnoughCoins { needed, have });
    }
    if let Some(value) = goes_back {
        transaction.output.push(TxOut {
            value,
            script_pubkey: back_script,
        });
    }
    describe(policy, coins, transaction, goes_back.map(|_| back_index))
}

fn unsigned(coins: &[ReserveCoin], payments: &[Payment], leaf: Leaf) -> Transaction {
    let sequence = match leaf {
        Leaf::WithOperator => Sequence::ENABLE_RBF_NO_LOCKTIME,
        Leaf::MembersAlone => Sequence::from_height(MEMBERS_ALONE_BLOCKS),
    };
    let inputs = coins.iter().map(|coin| TxIn {
        previous_output: coin.outpoint,
        script_sig: ScriptBuf::new(),
        sequence,
        witness: Witness::new(),
    });
    let outputs = payments.iter().map(|payment| TxOut {
        value: payment.amount,
        script_pubkey: payment.script.clone(),
    });
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: inputs.collect(),
        output: outputs.collect(),
    }
}

/// For the heavier of the two leaves, so it never pays less than asked for.
fn fee_of(
    policy: &ReservePolicy,
    transaction: &Transaction,
    back: Option<&ScriptBuf>,
    fee_rate: FeeRate,
) -> Result<Amount, Fault> {
    let satisfied = policy.at(0)?.max_weight_to_satisfy().map_err(bad_reserve)?;
    let mut weight = transaction.weight() + satisfied * transaction.input.len() as u64;
    // Segwit's marker and flag.
    weight += Weight::from_wu(2);
    if let Some(script_pubkey) = back {
        let output = TxOut {
            value: Amount::ZERO,
            script_pubkey: script_pubkey.clone(),
        };
        weight += output.weight();
    }
    fee_rate
        .checked_mul_by_weight(weight)
        .ok_or_else(|| bad_reserve("the fee is beyond all money"))
}

/// Adds what signers need: values, scripts, leaves, and from which keys they come.
fn describe(
    policy: &ReservePolicy,
    coins: &[ReserveCoin],
    transaction: Transaction,
    back_index: Option<u32>,
) -> Result<Psbt, Fault> {
    let mut psbt = Psbt::from_unsigned_tx(transaction).map_err(bad_reserve)?;
    for (place, coin) in coins.iter().enumerate() {
        psbt.inputs[place].witness_utxo = Some(coin.output.clone());
        psbt.update_input_with_descriptor(place, &policy.at(coin.index)?)
            .map_err(bad_reserve)?;
    }
    if let Some(index) = back_index {
        let place = psbt.outputs.len() - 1;
        psbt.update_output_with_descriptor(place, &policy.at(index)?)
            .map_err(bad_reserve)?;
    }
    Ok(psbt)
}

/// The coins to pay this with, oldest first, since what is left over starts anew; more than needed rather than less, for
/// the fee of each coin is not known before.
pub(super) fn choose(
    policy: &ReservePolicy,
    coins: &[ReserveCoin],
    payments: &[Payment],
    fee_rate: FeeRate,
    leaf: Leaf,
) -> Result<Vec<ReserveCoin>, Fault> {
    let mut oldest_first: Vec<_> = coins.iter().filter(|coin| coin.height.is_some()).collect();
    oldest_first.sort_by_key(|coin| (coin.height, coin.outpoint));
    let mut chosen = Vec::new();
    for coin in oldest_first {
        chosen.push(coin.clone());
        match draft(policy, &chosen, payments, 0, fee_rate, leaf) {
            Ok(_) => return Ok(chosen),
            Err(Fault::NotEnoughCoins { .. }) => {}
            Err(fault) => return Err(fault),
        }
    }
    draft(policy, &chosen, payments, 0, fee_rate, leaf).map(|_| chosen)
}
