//! Payments: signed, on disk, then handed in.

use std::time::{SystemTime, UNIX_EPOCH};

use bdk_wallet::error::{BuildFeeBumpError, CreateTxError};
use bdk_wallet::{KeychainKind, SignOptions};
use bitcoin::absolute::LockTime;
use bitcoin::{Amount, FeeRate, OutPoint, Psbt, ScriptBuf, Transaction, TxOut, Txid, Weight};
use forebay_quantity::EffectId;

use super::Wallet;
use super::book::Book;
use super::payment::{Kind, Payment, PaymentRecord, Version};
use super::store::Change;
use crate::Fault;
use crate::chain::FeeTarget;

impl Wallet {
    /// Pays, once for each id: asked again with the same outputs, it goes on with what was signed. The transaction is on
    /// disk before the chain source gets it, and [`Wallet::sync`] looks after it until it is confirmed, paying more when
    /// `target_blocks` have passed.
    ///
    /// # Errors
    /// When an output is dust, or there is too little, or the id was used for other outputs, or the file fails: then
    /// nothing is paid. When the source does not take it: then the payment stays, and is handed in again.
    pub async fn send(
        &self,
        id: EffectId,
        outputs: &[Payment],
        fee_rate: FeeRate,
        target_blocks: u16,
    ) -> Result<Txid, Fault> {
        let transaction = {
            let mut book = self.book();
            match known(&book, id, outputs)? {
                Some(record) => record.newest().transaction.clone(),
                None => sign(
                    &mut book,
                    id,
                    Kind::Payment,
                    outputs,
                    fee_rate,
                    target_blocks,
                )?,
            }
        };
        // In the chain for some time, it is known to no mempool and no source has to hear of it.
        let confirmed = self.confirmed_version(id);
        match confirmed {
            Some(txid) => Ok(txid),
            None => self.chain.broadcast(&transaction).await,
        }
    }

    /// Whether a payment with this id is signed and looked after.
    #[must_use]
    pub fn is_signed(&self, id: EffectId) -> bool {
        self.book().payments.contains_key(&id)
    }

    /// What the chain source says it takes to be in the chain that soon.
    ///
    /// # Errors
    /// When the source does not say.
    pub async fn fee_rate(&self, target: FeeTarget) -> Result<FeeRate, Fault> {
        self.chain.fee_rate(target).await
    }

    /// Signs a transaction that funds channels and keeps it, once for each id, without handing it in: the Lightning node
    /// does, after each channel's first commitment is signed.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn fund(
        &self,
        id: EffectId,
        outputs: &[Payment],
        fee_rate: FeeRate,
    ) -> Result<Transaction, Fault> {
        let mut book = self.book();
        match known(&book, id, outputs)? {
            Some(record) => Ok(record.newest().transaction.clone()),
            None => {
                let kind = Kind::Funding { released: false };
                sign(&mut book, id, kind, outputs, fee_rate, 0)
            }
        }
    }

    /// Says that the funding with this id may be in the mempool by now: its change counts, and it is handed in by
    /// [`Wallet::sync`] until it is confirmed.
    ///
    /// # Errors
    /// When there is no such funding, or the file fails.
    pub fn release(&self, id: EffectId) -> Result<(), Fault> {
        self.change_funding(id, Kind::Funding { released: true })
    }

    /// Gives a funding up that was never released, and frees its coins.
    ///
    /// # Errors
    /// When there is no such funding, or it was released, or the file fails.
    pub fn abandon(&self, id: EffectId) -> Result<(), Fault> {
        self.change_funding(id, Kind::Abandoned)
    }

    /// Raises what a transaction pays that has an output to us and is in the mempool, by a child that pays for
    /// both. Once for each id.
    ///
    /// # Errors
    /// When the source does not have it, or our output in it is too small for that, or the file fails.
    pub async fn raise(
        &self,
        id: EffectId,
        parent: Txid,
        fee_rate: FeeRate,
    ) -> Result<Txid, Fault> {
        let known = self.book().payments.get(&id).cloned();
        let child = match known {
            Some(record) if record.kind == (Kind::Raise { parent }) => {
                record.newest().transaction.clone()
            }
            Some(_) => return Err(Fault::OtherPayment { id }),
            None => {
                let (transaction, fee) = self.chain.in_mempool(parent).await?;
                sign_child(&mut self.book(), id, &transaction, fee, fee_rate)?
            }
        };
        self.chain.broadcast(&child).await
    }

    fn confirmed_version(&self, id: EffectId) -> Option<Txid> {
        let book = self.book();
        let record = book.payments.get(&id)?;
        book.confirmed(record).map(|(txid, _, _)| txid)
    }

    fn change_funding(&self, id: EffectId, kind: Kind) -> Result<(), Fault> {
        let mut book = self.book();
        let record = book.payments.get(&id).cloned();
        let Some(record) = record else {
            return Err(bad_payment(format!("there is no funding {id}")));
        };
        match record.kind {
            before if before == kind => return Ok(()),
            Kind::Funding { released: false } => {}
            Kind::Payment | Kind::Funding { .. } | Kind::Raise { .. } | Kind::Abandoned => {
                return Err(bad_payment(format!("{id} is no funding that waits")));
            }
        }
        if kind == Kind::Abandoned {
            let Version {
                transaction,
                seen_s,
                ..
            } = record.newest();
            book.wallet.cancel_tx(transaction);
            book.wallet
                .apply_evicted_txs([(transaction.compute_txid(), seen_s + 1)]);
        }
        book.write(Change {
            payments: vec![(id, PaymentRecord { kind, ..record })],
            ..Change::default()
        })
    }
}

/// What a payment to a script costs, as most are made: of two coins, with change.
///
/// The fee and the least that such an output holds, in satoshi.
#[must_use]
pub fn output_cost(script: &[u8], fee_rate: FeeRate) -> (u64, u64) {
    /// Version, lock time, counts, and segwit's marker and flag.
    const FRAME: u64 = 4 * 10 + 2;
    const INPUT: u64 = 4 * 41 + 66;
    const CHANGE: u64 = 4 * 43;
    let script = ScriptBuf::from_bytes(script.to_vec());
    let output = TxOut {
        value: Amount::ZERO,
        script_pubkey: script.clone(),
    };
    let weight = Weight::from_wu(FRAME + 2 * INPUT + CHANGE) + output.weight();
    let fee = fee_rate.fee_wu(weight).unwrap_or(Amount::MAX_MONEY);
    (fee.to_sat(), script.minimal_non_dust().to_sat())
}

/// The payment with this id, when there is one.
fn known(book: &Book, id: EffectId, outputs: &[Payment]) -> Result<Option<PaymentRecord>, Fault> {
    match book.payments.get(&id) {
        None => Ok(None),
        Some(record) if record.kind == Kind::Abandoned => {
            Err(bad_payment(format!("{id} was given up")))
        }
        Some(record) if record.outputs == outputs => Ok(Some(record.clone())),
        Some(_) => Err(Fault::OtherPayment { id }),
    }
}

fn sign(
    book: &mut Book,
    id: EffectId,
    kind: Kind,
    outputs: &[Payment],
    fee_rate: FeeRate,
    target_blocks: u16,
) -> Result<Transaction, Fault> {
    for Payment { script, amount } in outputs {
        let min = script.minimal_non_dust();
        if *amount < min {
            let amount = *amount;
            return Err(Fault::Dust { amount, min });
        }
    }
    let locked = book.locked();
    let mut builder = book.wallet.build_tx();
    let recipients = outputs.iter();
    builder
        .set_recipients(
            recipients
                .map(|payment| (payment.script.clone(), payment.amount))
                .collect(),
        )
        .unspendable(locked)
        .fee_rate(fee_rate);
    if matches!(kind, Kind::Funding { .. }) {
        // The Lightning node may know a block less than the wallet, and takes no transaction that it finds too early.
        builder.nlocktime(LockTime::ZERO);
    }
    let psbt = builder.finish().map_err(not_built)?;
    let version = signed(book, psbt, fee_rate, 0)?;
    let transaction = version.transaction.clone();
    let record = PaymentRecord {
        kind,
        outputs: outputs.to_vec(),
        versions: Vec::new(),
        since_height: 0,
        target_blocks,
        settled: None,
    };
    keep(book, id, record, version)?;
    Ok(transaction)
}

/// Signs a version that pays more, and keeps it.
pub(super) fn replace(
    book: &mut Book,
    id: EffectId,
    record: PaymentRecord,
    fee_rate: FeeRate,
) -> Result<Transaction, Fault> {
    let locked = book.locked();
    let before = record.newest();
    let (txid, seen_s) = (before.transaction.compute_txid(), before.seen_s);
    let mut builder = book.wallet.build_fee_bump(txid).map_err(not_bumped)?;
    builder.unspendable(locked).fee_rate(fee_rate);
    let psbt = builder.finish().map_err(not_built)?;
    let version = signed(book, psbt, fee_rate, seen_s)?;
    let transaction = version.transaction.clone();
    keep(book, id, record, version)?;
    Ok(transaction)
}

/// A child that spends our outputs of the parent and pays for both.
fn sign_child(
    book: &mut Book,
    id: EffectId,
    parent: &Transaction,
    parent_fee: Amount,
    fee_rate: FeeRate,
) -> Result<Transaction, Fault> {
    let seen_s = unix_time_s();
    book.note(parent, seen_s);
    let txid = parent.compute_txid();
    let ours: Vec<OutPoint> = book
        .wallet
        .list_unspent()
        .map(|coin| coin.outpoint)
        .filter(|outpoint| outpoint.txid == txid)
        .collect();
    if ours.is_empty() {
        return Err(bad_payment(format!("{txid} pays nothing to this wallet")));
    }
    let change = book
        .wallet
        .next_unused_address(KeychainKind::Internal)
        .script_pubkey();
    let mut build = |fee: Amount| {
        let mut builder = book.wallet.build_tx();
        builder
            .add_utxos(&ours)
            .map_err(|error| bad_payment(error.to_string()))?;
        builder
            .manually_selected_only()
            .drain_to(change.clone())
            .fee_absolute(fee);
        builder.finish().map_err(not_built)
    };
    // The child's size does not depend on its fee, so a first one tells what the second has to pay.
    let unsigned = build(Amount::from_sat(200))?.unsigned_tx;
    let child_weight = unsigned.weight() + Weight::from_wu(witness_weight(ours.len()));
    let fee = child_fee(parent.weight(), parent_fee, child_weight, fee_rate)
        .ok_or_else(|| bad_payment("the fee is beyond all money".to_owned()))?;
    let psbt = build(fee)?;
    let version = signed(book, psbt, fee_rate, seen_s)?;
    let transaction = version.transaction.clone();
    let record = PaymentRecord {
        kind: Kind::Raise { parent: txid },
        outputs: Vec::new(),
        versions: Vec::new(),
        since_height: 0,
        target_blocks: 0,
        settled: None,
    };
    keep(book, id, record, version)?;
    Ok(transaction)
}

/// What a child pays so that it and its parent pay this rate together, each counted in whole virtual bytes, as nodes do;
/// never less than for itself alone. None beyond all money.
fn child_fee(
    parent: Weight,
    parent_fee: Amount,
    child: Weight,
    fee_rate: FeeRate,
) -> Option<Amount> {
    let parent_vbytes = parent.to_vbytes_ceil();
    let child_vbytes = child.to_vbytes_ceil();
    let both = fee_rate.checked_mul_by_weight(Weight::from_vb(parent_vbytes + child_vbytes)?)?;
    let alone = fee_rate.checked_mul_by_weight(Weight::from_vb(child_vbytes)?)?;
    Some(both.checked_sub(parent_fee).unwrap_or(alone).max(alone))
}

/// Segwit's marker and flag, and for each input one signature of 64 bytes under its two lengths.
fn witness_weight(inputs: usize) -> u64 {
    const KEY_SPEND: u64 = 66;
    2 + KEY_SPEND * inputs as u64
}

/// Signs all inputs. `after_s`: later than this, so that it counts instead of what it replaces.
fn signed(
    book: &mut Book,
    mut psbt: Psbt,
    fee_rate: FeeRate,
    after_s: u64,
) -> Result<Version, Fault> {
    let fee = psbt.fee().map_err(|error| bad_payment(error.to_string()))?;
    let finished = book
        .wallet
        .sign(&mut psbt, SignOptions::default())
        .map_err(|error| bad_payment(error.to_string()))?;
    if !finished {
        return Err(bad_payment("not all inputs can be signed".to_owned()));
    }
    let transaction = psbt
        .extract_tx()
        .map_err(|error| bad_payment(error.to_string()))?;
    Ok(Version {
        transaction,
        fee,
        fee_rate: fee_rate.to_sat_per_kwu(),
        seen_s: unix_time_s().max(after_s.saturating_add(1)),
    })
}

/// On disk with all that BDK noted: only then may it leave.
pub(super) fn keep(
    book: &mut Book,
    id: EffectId,
    mut record: PaymentRecord,
    version: Version,
) -> Result<(), Fault> {
    book.note(&version.transaction, version.seen_s);
    record.versions.push(version);
    record.since_height = book.tip().height;
    book.write(Change {
        payments: vec![(id, record)],
        ..Change::default()
    })
}

fn not_built(error: CreateTxError) -> Fault {
    match error {
        CreateTxError::CoinSelection(short) => Fault::NotEnoughCoins {
            needed: short.needed,
            have: short.available,
        },
        other => bad_payment(other.to_string()),
    }
}

fn not_bumped(error: BuildFeeBumpError) -> Fault {
    bad_payment(error.to_string())
}

pub(super) fn bad_payment(what: String) -> Fault {
    Fault::BadPayment { what }
}

pub(super) fn unix_time_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_pays_what_its_parent_lacks_and_for_itself_at_least() {
        let fee = |parent_fee, sat_per_vbyte| {
            let rate = FeeRate::from_sat_per_vb_u32(sat_per_vbyte);
            // 150 and 112 virtual bytes, rounded up.
            let (parent, child) = (Weight::from_wu(597), Weight::from_wu(446));
            child_fee(parent, Amount::from_sat(parent_fee), child, rate).map(Amount::to_sat)
        };
        assert_eq!(fee(150, 10), Some(2_620 - 150));
        assert_eq!(fee(0, 1), Some(262));
        // A parent that pays enough already, and more than both together.
        assert_eq!(fee(2_000, 10), Some(1_120));
        assert_eq!(fee(5_000, 10), Some(1_120));
        assert_eq!(fee(0, u32::MAX).map(|fee| fee > 0), Some(true));
    }
}
