//! The reserve: coins that the operator spends with *t* of *n* members, and that *t* members get back alone when the
//! operator is gone for 90 days.
//!
//! No key that signs for it is in a pool's process, but the operator's. The process watches, drafts spends and renewals,
//! and hands in what was signed; [`review`], [`sign`] and [`finish`] are what people do with a draft, without I/O.

mod age;
mod draft;
mod policy;
mod sign;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bdk_wallet::chain::{BlockId, ChainPosition};
use bdk_wallet::{KeychainKind, LoadError, Update};
use bitcoin::{Address, Amount, FeeRate, OutPoint, Psbt, Transaction, Txid};

pub use age::{Age, MEMBERS_ALONE_BLOCKS, RenewalRule};
pub use draft::{ReserveCoin, draft};
pub use policy::{Leaf, ReserveKey, ReservePolicy};
pub use sign::{Review, combine, finish, review, sign};

use crate::Fault;
use crate::chain::{BlockPlace, ChainSource, Missing};
use crate::wallet::store::{Change, Store};
use crate::wallet::sync::places;
use crate::wallet::{ConfirmationPolicy, Payment, birthday};

/// A transaction in a block that spends the reserve.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReserveSpend {
    /// Which.
    pub txid: Txid,
    /// The height of its block.
    pub height: u32,
    /// Which outputs it spends.
    pub inputs: Vec<OutPoint>,
    /// What it spends of the reserve.
    pub spent: Amount,
    /// What it pays the miners; none when it spends coins of others too.
    pub fee: Option<Amount>,
    /// What it pays to others than the reserve.
    pub payments: Vec<Payment>,
}

/// An output that was paid into the reserve.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// Which.
    pub outpoint: OutPoint,
    /// How much.
    pub amount: Amount,
    /// What made it.
    pub transaction: Arc<Transaction>,
}

/// What of a reserve is final.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Buried {
    /// Outputs that nothing spends; what a spend of the reserve left in it from the beginning.
    pub coins: Vec<ReserveCoin>,
    /// Transactions that spend it, whoever made them.
    pub spends: Vec<ReserveSpend>,
    /// What was paid into it by transactions that do not spend it, spent since or not.
    pub received: Vec<Received>,
    /// The height of the chain.
    pub tip_height: u32,
}

impl Buried {
    /// Whether another transaction spends what a draft would: it can never be handed in.
    #[must_use]
    pub fn overtook(&self, draft: &Psbt) -> bool {
        let draft = &draft.unsigned_tx;
        let txid = draft.compute_txid();
        let mut others = self.spends.iter().filter(|spend| spend.txid != txid);
        others.any(|spend| {
            let mut inputs = draft.input.iter();
            inputs.any(|input| spend.inputs.contains(&input.previous_output))
        })
    }
}

/// A reserve that is watched. It is shared by reference.
pub struct Reserve {
    chain: ChainSource,
    policy: ReservePolicy,
    watch: Mutex<Watch>,
    syncing: tokio::sync::Mutex<()>,
}

struct Watch {
    wallet: bdk_wallet::Wallet,
    store: Store,
}

impl Reserve {
    /// Opens the file, or begins to watch from that height on; from the tip when left out, for a reserve that is new.
    ///
    /// # Errors
    /// When the file cannot be used or is another reserve's, or the chain source does not say where the chain is.
    pub async fn open(
        file: &Path,
        policy: ReservePolicy,
        birthday_height: Option<u32>,
        chain: impl Into<ChainSource>,
    ) -> Result<Self, Fault> {
        let chain = chain.into();
        let (store, kept) = Store::open(file)?;
        let watch = match kept.wallet {
            Some(noted) => Watch::load(store, noted, &policy)?,
            None => {
                let birthday = birthday(birthday_height, &chain).await?;
                Watch::begin(store, &policy, chain.network(), birthday)?
            }
        };
        Ok(Self {
            chain,
            policy,
            watch: Mutex::new(watch),
            syncing: tokio::sync::Mutex::new(()),
        })
    }

    /// Who may spend it.
    #[must_use]
    pub fn policy(&self) -> &ReservePolicy {
        &self.policy
    }

    /// An address that was never given out before.
    ///
    /// # Errors
    /// When the file fails.
    pub fn address(&self) -> Result<Address, Fault> {
        Ok(self.watch().next_address()?.address)
    }

    /// Reads blocks up to the source's tip, over reorgs.
    ///
    /// # Errors
    /// When the source or the file fails; what was read before counts.
    pub async fn sync(&self) -> Result<BlockPlace, Fault> {
        let _alone = self.syncing.lock().await;
        loop {
            let known = places(&self.watch().wallet);
            match self.chain.missing(&known).await? {
                Missing::Nothing => return Ok(known[0]),
                Missing::AskAgain => {}
                Missing::Blocks(blocks) => self.watch().take_blocks(&blocks)?,
            }
        }
    }

    /// What nothing spends, as of the last [`Self::sync`].
    #[must_use]
    pub fn coins(&self) -> Vec<ReserveCoin> {
        self.watch().coins()
    }

    /// What of it lies as deep as its amount needs, as of the last [`Self::sync`].
    #[must_use]
    pub fn buried(&self, confirmations: &ConfirmationPolicy) -> Buried {
        let watch = self.watch();
        let tip_height = watch.wallet.latest_checkpoint().height();
        let is_deep = |amount, height: u32| {
            (tip_height + 1).saturating_sub(height) >= confirmations.needed(amount)
        };
        let (mut coins, mut spends) = (watch.coins(), watch.spends());
        coins.retain(|coin| {
            let height = coin.height;
            height.is_some_and(|height| is_deep(coin.output.value, height))
                || watch.is_left_over(coin)
        });
        spends.retain(|spend| is_deep(spend.spent, spend.height));
        let received = watch.received(is_deep);
        Buried {
            coins,
            spends,
            received,
            tip_height,
        }
    }

    /// Drafts payments out of the reserve, from its oldest coins; what is left over goes to a new address of it.
    ///
    /// # Errors
    /// When a payment is dust, or there is too little in blocks; when the file fails.
    pub fn draft_spend(
        &self,
        payments: &[Payment],
        fee_rate: FeeRate,
        leaf: Leaf,
    ) -> Result<Psbt, Fault> {
        let mut watch = self.watch();
        let coins = draft::choose(&self.policy, &watch.coins(), payments, fee_rate, leaf)?;
        let back = watch.next_address()?.index;
        draft(&self.policy, &coins, payments, back, fee_rate, leaf)
    }

    /// Drafts the move of all coins that are due to a new address; none when none is.
    ///
    /// # Errors
    /// When they do not pay for their own move, or the file fails.
    pub fn draft_renewal(
        &self,
        rule: &RenewalRule,
        fee_rate: FeeRate,
    ) -> Result<Option<Psbt>, Fault> {
        let mut watch = self.watch();
        let tip_height = watch.wallet.latest_checkpoint().height();
        let due = rule.due_coins(&watch.coins(), tip_height);
        if due.is_empty() {
            return Ok(None);
        }
        let back = watch.next_address()?.index;
        draft(&self.policy, &due, &[], back, fee_rate, Leaf::WithOperator).map(Some)
    }

    /// Makes the transaction of signed copies, and hands it in. It is on disk before the chain source gets it.
    ///
    /// # Errors
    /// As [`finish`]; when the file fails, or the source does not take it.
    pub async fn hand_in(&self, signed: &[Psbt]) -> Result<Txid, Fault> {
        let transaction = finish(&self.policy, signed)?;
        self.watch().note(&transaction)?;
        self.chain.broadcast(&transaction).await
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    fn begin(
        store: Store,
        policy: &ReservePolicy,
        network: bitcoin::Network,
        birthday: BlockPlace,
    ) -> Result<Self, Fault> {
        let mut wallet = bdk_wallet::Wallet::create_single(policy.ranged().clone())
            .network(network)
            .create_wallet_no_persist()
            .map_err(other_wallet)?;
        let BlockPlace { height, hash } = birthday;
        let chain = wallet.latest_checkpoint().insert(BlockId { height, hash });
        let update = Update {
            chain: Some(chain),
            ..Update::default()
        };
        wallet.apply_update(update).map_err(other_wallet)?;
        let mut watch = Self { wallet, store };
        watch.write()?;
        Ok(watch)
    }

    fn load(
        store: Store,
        noted: bdk_wallet::ChangeSet,
        policy: &ReservePolicy,
    ) -> Result<Self, Fault> {
        let loaded = bdk_wallet::Wallet::load()
            .descriptor(KeychainKind::External, Some(policy.ranged().clone()))
            .load_wallet_no_persist(noted);
        match loaded {
            Ok(Some(wallet)) => Ok(Self { wallet, store }),
            Ok(None) => Err(other_wallet("it is empty")),
            Err(LoadError::Mismatch(_)) => Err(other_wallet("it watches another reserve")),
            Err(error) => Err(other_wallet(error)),
        }
    }

    fn write(&mut self) -> Result<(), Fault> {
        let wallet = self.wallet.staged().cloned();
        self.store.write(&Change::of_wallet(wallet))?;
        let _written = self.wallet.take_staged();
        Ok(())
    }

    fn next_address(&mut self) -> Result<bdk_wallet::AddressInfo, Fault> {
        let fresh = self.wallet.reveal_next_address(KeychainKind::External);
        self.write()?;
        Ok(fresh)
    }

    fn take_blocks(&mut self, blocks: &[(u32, bitcoin::Block)]) -> Result<(), Fault> {
        for (height, block) in blocks {
            self.wallet
                .apply_block(block, *height)
                .map_err(|error| Fault::Nonsense {
                    method: "getblock",
                    what: error.to_string(),
                })?;
        }
        self.write()
    }

    fn coins(&self) -> Vec<ReserveCoin> {
        let coins = self.wallet.list_unspent();
        coins
            .map(|coin| ReserveCoin {
                outpoint: coin.outpoint,
                output: coin.txout,
                index: coin.derivation_index,
                height: match coin.chain_position {
                    ChainPosition::Confirmed { anchor, .. } => Some(anchor.block_id.height),
                    ChainPosition::Unconfirmed { .. } => None,
                },
            })
            .collect()
    }

    /// Whether a spend of the reserve left it there: it never was anywhere else.
    fn is_left_over(&self, coin: &ReserveCoin) -> bool {
        let made_by = self.wallet.get_tx(coin.outpoint.txid);
        made_by.is_some_and(|found| {
            let (spent, _) = self.wallet.sent_and_received(&found.tx_node.tx);
            spent > Amount::ZERO
        })
    }

    fn received(&self, is_deep: impl Fn(Amount, u32) -> bool) -> Vec<Received> {
        let outputs = self.wallet.list_output().filter_map(|output| {
            let ChainPosition::Confirmed { anchor, .. } = output.chain_position else {
                return None;
            };
            let made_by = self.wallet.get_tx(output.outpoint.txid)?.tx_node.tx;
            let (spent, _) = self.wallet.sent_and_received(&made_by);
            let is_deep = is_deep(output.txout.value, anchor.block_id.height);
            (spent == Amount::ZERO && is_deep).then_some(Received {
                outpoint: output.outpoint,
                amount: output.txout.value,
                transaction: made_by,
            })
        });
        outputs.collect()
    }

    fn spends(&self) -> Vec<ReserveSpend> {
        let wallet = &self.wallet;
        let in_blocks = wallet.transactions().filter_map(|found| {
            let ChainPosition::Confirmed { anchor, .. } = found.chain_position else {
                return None;
            };
            let transaction = &found.tx_node.tx;
            let (spent, _) = wallet.sent_and_received(transaction);
            let outputs = transaction.output.iter();
            let payments = outputs
                .filter(|output| !wallet.is_mine(output.script_pubkey.clone()))
                .map(|output| Payment {
                    script: output.script_pubkey.clone(),
                    amount: output.value,
                });
            (spent > Amount::ZERO).then(|| ReserveSpend {
                txid: found.tx_node.txid,
                inputs: transaction
                    .input
                    .iter()
                    .map(|input| input.previous_output)
                    .collect(),
                height: anchor.block_id.height,
                spent,
                fee: wallet.calculate_fee(transaction).ok(),
                payments: payments.collect(),
            })
        });
        in_blocks.collect()
    }

    fn note(&mut self, transaction: &Transaction) -> Result<(), Fault> {
        let seen_s = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        self.wallet
            .apply_unconfirmed_txs([(transaction.clone(), seen_s)]);
        self.write()
    }
}

fn other_wallet(error: impl std::fmt::Display) -> Fault {
    Fault::OtherWallet {
        what: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::hashes::Hash;
    use bitcoin::transaction::Version;
    use bitcoin::{TxIn, TxOut};

    use super::*;

    fn place(vout: u32) -> OutPoint {
        OutPoint {
            txid: Txid::all_zeros(),
            vout,
        }
    }

    fn draft(inputs: &[u32]) -> Psbt {
        let inputs = inputs.iter().map(|vout| TxIn {
            previous_output: place(*vout),
            ..TxIn::default()
        });
        let transaction = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: inputs.collect(),
            output: vec![TxOut::NULL],
        };
        Psbt::from_unsigned_tx(transaction).expect("it is unsigned")
    }

    fn spend(txid: Txid, inputs: &[u32]) -> ReserveSpend {
        ReserveSpend {
            txid,
            inputs: inputs.iter().map(|vout| place(*vout)).collect(),
            height: 1,
            spent: Amount::ONE_BTC,
            fee: None,
            payments: Vec::new(),
        }
    }

    #[test]
    fn a_draft_is_overtaken_by_another_spend_of_any_of_its_outputs() {
        let two = draft(&[3, 4]);
        let own = two.unsigned_tx.compute_txid();
        let other = Txid::from_byte_array([1; 32]);
        for (spends, expected) in [
            (vec![], false),
            (vec![spend(own, &[3, 4])], false),
            (vec![spend(other, &[1, 2])], false),
            (vec![spend(other, &[4])], true),
            (vec![spend(other, &[1]), spend(other, &[2, 3])], true),
        ] {
            let buried = Buried {
                coins: Vec::new(),
                spends: spends.clone(),
                received: Vec::new(),
                tip_height: 9,
            };
            assert_eq!(buried.overtook(&two), expected, "{spends:?}");
        }
    }
}
