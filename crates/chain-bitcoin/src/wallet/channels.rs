//! What the Lightning node asks of the wallet.

use std::collections::BTreeSet;

use bdk_wallet::SignOptions;
use bitcoin::psbt::Input;
use bitcoin::{
    Amount, FeeRate, OutPoint, Psbt, Script, ScriptBuf, Transaction, TxOut, Txid, Weight,
};
use forebay_quantity::EffectId;
use lightning::ln::funding::FundingTxInput;

use super::book::Book;
use super::payment::{Kind, Payment, PaymentRecord, Version};
use super::spend::{bad_payment, keep, unix_time_s};
use super::{Purpose, Wallet};
use crate::Fault;
use crate::lightning::{Belonging, HotWallet};

/// Ids of transactions for channels have this bit, so that none is ever an effect's, which are counted from the bottom.
const CHANNELS_BIT: u64 = 1 << 63;

/// Generous for what a splice has beside our inputs: the channel's input with its two signatures, its output, change.
const SPLICE_WEIGHT: Weight = Weight::from_wu(1_200);
/// One taproot input that its key spends.
const INPUT_WEIGHT: Weight = Weight::from_wu(4 * 41 + 66);
/// Change below this would not pass.
const CHANGE_MIN: Amount = Amount::from_sat(1_000);

impl HotWallet for Wallet {
    fn script(&self) -> Result<ScriptBuf, Fault> {
        Ok(self.address(Purpose::ChannelFunding)?.script_pubkey())
    }

    fn spendable_sat(&self) -> u64 {
        self.balance().spendable.to_sat()
    }

    fn fund(&self, outputs: Vec<TxOut>, rate: u32) -> Result<(Transaction, u64), Fault> {
        let payments: Vec<_> = outputs
            .into_iter()
            .map(|output| Payment {
                script: output.script_pubkey,
                amount: output.value,
            })
            .collect();
        let id = draw_id()?;
        let transaction = Wallet::fund(self, id, &payments, fee_rate(rate))?;
        let book = self.book();
        let fee = book.payments.get(&id).map(|record| record.newest().fee);
        Ok((transaction, fee.unwrap_or_default().to_sat()))
    }

    fn waiting(&self) -> Vec<(Txid, bool)> {
        let book = self.book();
        waiting(&book)
            .map(|(id, _, txid)| {
                // What a splice pays is the channel's affair, so that its record names no outputs.
                let record = book.payments.get(&id);
                (txid, record.is_some_and(|r| r.outputs.is_empty()))
            })
            .collect()
    }

    fn handed_in(&self, txid: Txid) -> Result<(), Fault> {
        match self.waiting_id(txid) {
            Some(id) => self.release(id),
            None => Ok(()),
        }
    }

    fn give_up(&self, txid: Txid) -> Result<(), Fault> {
        match self.waiting_id(txid) {
            Some(id) => self.abandon(id),
            None => Ok(()),
        }
    }

    fn splice_inputs(&self, value_sat: u64, rate: u32) -> Result<Vec<FundingTxInput>, Fault> {
        let mut book = self.book();
        let locked: BTreeSet<OutPoint> = book.locked().into_iter().collect();
        let rate = fee_rate(rate);
        let cost = |weight| rate.fee_wu(weight).unwrap_or(Amount::MAX_MONEY);
        let mut needed = Amount::from_sat(value_sat) + cost(SPLICE_WEIGHT) + CHANGE_MIN;
        let mut coins: Vec<_> = book
            .wallet
            .list_unspent()
            .filter(|coin| coin.chain_position.is_confirmed() && !locked.contains(&coin.outpoint))
            .collect();
        // The largest first, so that few are needed.
        coins.sort_by_key(|coin| std::cmp::Reverse(coin.txout.value));
        let (mut have, mut inputs) = (Amount::ZERO, Vec::new());
        for coin in coins {
            if have >= needed {
                break;
            }
            have += coin.txout.value;
            needed += cost(INPUT_WEIGHT);
            inputs.push(funding_input(&book, coin.outpoint)?);
        }
        if have < needed {
            return Err(Fault::NotEnoughCoins { needed, have });
        }
        book.lent
            .extend(inputs.iter().map(FundingTxInput::outpoint));
        Ok(inputs)
    }

    fn sign_splice(&self, transaction: Transaction, shared: TxOut) -> Result<Transaction, Fault> {
        let mut book = self.book();
        let mut psbt =
            Psbt::from_unsigned_tx(transaction).map_err(|error| bad_payment(error.to_string()))?;
        let places: Vec<_> = psbt
            .unsigned_tx
            .input
            .iter()
            .map(|i| i.previous_output)
            .collect();
        for (place, input) in places.iter().zip(&mut psbt.inputs) {
            *input = match book.wallet.get_utxo(*place) {
                Some(coin) => own_input(&book, coin)?,
                None => Input {
                    witness_utxo: Some(shared.clone()),
                    ..Input::default()
                },
            };
        }
        let options = SignOptions {
            trust_witness_utxo: true,
            ..SignOptions::default()
        };
        book.wallet
            .sign(&mut psbt, options)
            .map_err(|error| bad_payment(error.to_string()))?;
        let signed = psbt.extract_tx_unchecked_fee_rate();
        // From now on its coins are spent in this wallet's eyes too, after a restart as well.
        let version = Version {
            transaction: signed.clone(),
            fee: Amount::ZERO,
            fee_rate: 0,
            seen_s: unix_time_s(),
        };
        let record = PaymentRecord {
            kind: Kind::Funding { released: false },
            outputs: Vec::new(),
            versions: Vec::new(),
            since_height: 0,
            target_blocks: 0,
            settled: None,
        };
        keep(&mut book, draw_id()?, record, version)?;
        Ok(signed)
    }

    fn give_back(&self, inputs: &[OutPoint]) -> Result<(), Fault> {
        let signed = {
            let mut book = self.book();
            inputs.iter().for_each(|place| {
                book.lent.remove(place);
            });
            let spends = |transaction: &Transaction| {
                let mut places = transaction.input.iter().map(|i| i.previous_output);
                places.any(|place| inputs.contains(&place))
            };
            let found: Vec<_> = waiting(&book)
                .filter(|(_, transaction, _)| spends(transaction))
                .map(|(id, _, _)| id)
                .collect();
            found
        };
        signed.into_iter().try_for_each(|id| self.abandon(id))
    }

    fn belonging(&self, script: &Script) -> Belonging {
        match self.book().purpose(script) {
            Some(Purpose::ChannelFunding | Purpose::Change) => Belonging::Channels,
            Some(Purpose::Deposit(_) | Purpose::ReserveRenewal | Purpose::FromReserve) => {
                Belonging::Others
            }
            None => Belonging::Nobody,
        }
    }

    fn spent_sat(&self, transaction: &Transaction) -> u64 {
        self.book().wallet.sent_and_received(transaction).0.to_sat()
    }
}

impl Wallet {
    /// Whether a payment was made for channels, whose own reports name what it cost.
    #[must_use]
    pub fn is_for_channels(id: EffectId) -> bool {
        id.value() & CHANNELS_BIT != 0
    }

    fn waiting_id(&self, txid: Txid) -> Option<EffectId> {
        let book = self.book();
        waiting(&book)
            .find(|(_, _, waiting)| *waiting == txid)
            .map(|(id, _, _)| id)
    }
}

fn waiting(book: &Book) -> impl Iterator<Item = (EffectId, &Transaction, Txid)> {
    book.payments
        .iter()
        .filter(|(_, record)| record.kind == Kind::Funding { released: false })
        .map(|(id, record)| {
            let transaction = &record.newest().transaction;
            (*id, transaction, transaction.compute_txid())
        })
}

fn funding_input(book: &Book, place: OutPoint) -> Result<FundingTxInput, Fault> {
    let parent = book.wallet.get_tx(place.txid);
    let parent = parent.ok_or_else(|| bad_payment(format!("{place} has no transaction")))?;
    FundingTxInput::new_p2tr_key_spend(parent.tx_node.tx.as_ref().clone(), place.vout)
        .map_err(|()| bad_payment(format!("{place} is no taproot output")))
}

fn own_input(book: &Book, coin: bdk_wallet::LocalOutput) -> Result<Input, Fault> {
    book.wallet
        .get_psbt_input(coin, None, true)
        .map_err(|error| bad_payment(error.to_string()))
}

fn draw_id() -> Result<EffectId, Fault> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| bad_payment(error.to_string()))?;
    Ok(EffectId::new(u64::from_be_bytes(bytes) | CHANNELS_BIT))
}

fn fee_rate(per_1000_weight: u32) -> FeeRate {
    FeeRate::from_sat_per_kwu(u64::from(per_1000_weight))
}
