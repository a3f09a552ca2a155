//! The wallet's state: BDK's, and ours beside it, changed together or not at all.

use std::collections::{BTreeMap, BTreeSet};

use bdk_wallet::chain::{BlockId, ChainPosition};
use bdk_wallet::template::Bip86;
use bdk_wallet::{KeychainKind, LoadError, Update};
use bitcoin::bip32::Xpriv;
use bitcoin::{Address, Amount, Block, Network, OutPoint, Script, Transaction, Txid};
use forebay_quantity::EffectId;

use super::deposit::{self, Deposit, DepositRecord, Observation, Standing};
use super::payment::PaymentRecord;
use super::store::{Change, Kept, Store};
use super::{ConfirmationPolicy, Purpose, Seed, WalletBalance};
use crate::Fault;
use crate::chain::BlockPlace;

pub(super) struct Book {
    pub(super) wallet: bdk_wallet::Wallet,
    store: Store,
    purposes: BTreeMap<u32, Purpose>,
    pub(super) payments: BTreeMap<EffectId, PaymentRecord>,
    deposits: BTreeMap<OutPoint, DepositRecord>,
    observations: BTreeMap<u64, Observation>,
    next_observation: u64,
    /// Coins that were signed for the Lightning node, which hands the transaction in by itself and may make another one
    /// of the same coins. After a restart it asks again.
    pub(super) lent: BTreeSet<OutPoint>,
}

impl Book {
    /// Begins a wallet that looks at no block up to its birthday.
    pub(super) fn begin(
        store: Store,
        seed: &Seed,
        network: Network,
        birthday: BlockPlace,
    ) -> Result<Self, Fault> {
        let (external, internal) = descriptors(seed, network)?;
        let mut wallet = bdk_wallet::Wallet::create(external, internal)
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
        let mut book = Self::with(wallet, store, Kept::default());
        book.write(Change::default())?;
        Ok(book)
    }

    pub(super) fn load(
        store: Store,
        mut kept: Kept,
        seed: &Seed,
        network: Network,
    ) -> Result<Self, Fault> {
        let (external, internal) = descriptors(seed, network)?;
        let noted = kept.wallet.take().unwrap_or_default();
        let loaded = bdk_wallet::Wallet::load()
            .descriptor(KeychainKind::External, Some(external))
            .descriptor(KeychainKind::Internal, Some(internal))
            .extract_keys()
            .check_network(network)
            .load_wallet_no_persist(noted);
        match loaded {
            Ok(Some(wallet)) => Ok(Self::with(wallet, store, kept)),
            Ok(None) => Err(other_wallet("it is empty")),
            Err(LoadError::Mismatch(_)) => {
                Err(other_wallet("its addresses, or its network, are others"))
            }
            Err(error) => Err(other_wallet(error)),
        }
    }

    fn with(wallet: bdk_wallet::Wallet, store: Store, kept: Kept) -> Self {
        Self {
            wallet,
            store,
            purposes: kept.purposes,
            payments: kept.payments,
            deposits: kept.deposits,
            observations: kept.observations,
            next_observation: kept.next_observation,
            lent: BTreeSet::new(),
        }
    }

    /// Makes a change durable together with all that BDK noted since the last time, then takes it into memory.
    pub(super) fn write(&mut self, mut change: Change) -> Result<(), Fault> {
        change.wallet = self.wallet.staged().cloned();
        self.store.write(&change)?;
        let _written = self.wallet.take_staged();
        self.purposes.extend(change.purpose);
        self.payments.extend(change.payments);
        for (outpoint, record) in change.deposits {
            match record {
                Some(record) => self.deposits.insert(outpoint, record),
                None => self.deposits.remove(&outpoint),
            };
        }
        for (number, observation) in change.observations {
            self.next_observation = number + 1;
            self.observations.insert(number, observation);
        }
        if let Some(below) = change.forget_below {
            self.observations = self.observations.split_off(&below);
        }
        Ok(())
    }

    pub(super) fn address(&mut self, purpose: Purpose) -> Result<Address, Fault> {
        let fresh = self.wallet.reveal_next_address(KeychainKind::External);
        self.write(Change {
            purpose: Some((fresh.index, purpose)),
            ..Change::default()
        })?;
        Ok(fresh.address)
    }

    pub(super) fn purpose(&self, script: &Script) -> Option<Purpose> {
        match self.wallet.derivation_of_spk(script.to_owned())? {
            (KeychainKind::Internal, _) => Some(Purpose::Change),
            (KeychainKind::External, index) => self.purposes.get(&index).copied(),
        }
    }

    pub(super) fn balance(&self) -> WalletBalance {
        let locked: BTreeSet<OutPoint> = self.locked().into_iter().collect();
        let mut balance = WalletBalance::default();
        for coin in self.wallet.list_unspent() {
            let free = coin.chain_position.is_confirmed() && !locked.contains(&coin.outpoint);
            let part = if free {
                &mut balance.spendable
            } else {
                &mut balance.waiting
            };
            *part += coin.txout.value;
        }
        balance
    }

    pub(super) fn observations(&self) -> Vec<(u64, Observation)> {
        let all = self.observations.iter();
        all.map(|(number, observation)| (*number, observation.clone()))
            .collect()
    }

    pub(super) fn forget_below(&mut self, number: u64) -> Result<(), Fault> {
        self.write(Change {
            forget_below: Some(number),
            ..Change::default()
        })
    }

    pub(super) fn tip(&self) -> BlockPlace {
        let tip = self.wallet.latest_checkpoint();
        BlockPlace {
            height: tip.height(),
            hash: tip.hash(),
        }
    }

    /// Takes blocks in order, sees what they change, and writes all of it at once.
    pub(super) fn take_blocks(
        &mut self,
        blocks: &[(u32, Block)],
        policy: &ConfirmationPolicy,
    ) -> Result<(), Fault> {
        for (height, block) in blocks {
            self.wallet
                .apply_block(block, *height)
                .map_err(|error| Fault::Nonsense {
                    method: "getblock",
                    what: error.to_string(),
                })?;
        }
        self.observe(policy)
    }

    fn observe(&mut self, policy: &ConfirmationPolicy) -> Result<(), Fault> {
        let tip_height = self.tip().height;
        let in_chain = self.deposits_in_chain();
        let observed = deposit::observe(&self.deposits, &in_chain, tip_height, policy);
        let mut told = observed.told;
        let payments = self.settled_payments(tip_height, policy, &mut told);
        let observations = (self.next_observation..).zip(told).collect();
        self.write(Change {
            payments,
            deposits: observed.records,
            observations,
            ..Change::default()
        })?;
        // What the chain spent is nobody's to spend again.
        let unspent: BTreeSet<_> = self
            .wallet
            .list_unspent()
            .map(|coin| coin.outpoint)
            .collect();
        self.lent.retain(|outpoint| unspent.contains(outpoint));
        Ok(())
    }

    fn deposits_in_chain(&self) -> Vec<Deposit> {
        let outputs = self.wallet.list_output();
        outputs
            .filter(|output| output.keychain == KeychainKind::External)
            .filter_map(|output| {
                let Purpose::Deposit(tag) = self.purposes.get(&output.derivation_index)? else {
                    return None;
                };
                Some(Deposit {
                    tag: *tag,
                    outpoint: output.outpoint,
                    amount: output.txout.value,
                    block: place(&output.chain_position)?,
                })
            })
            .collect()
    }

    /// Payments that became deep enough, or were and are not any more.
    fn settled_payments(
        &self,
        tip_height: u32,
        policy: &ConfirmationPolicy,
        told: &mut Vec<Observation>,
    ) -> Vec<(EffectId, PaymentRecord)> {
        let mut changed = Vec::new();
        for (id, record) in &self.payments {
            let confirmed = self.confirmed(record);
            if let Some(before) = record.settled {
                if confirmed.is_none_or(|(_, _, block)| block != before) {
                    told.push(Observation::DeepReorg { block: before });
                    let settled = confirmed.map(|(_, _, block)| block);
                    changed.push((
                        *id,
                        PaymentRecord {
                            settled,
                            ..record.clone()
                        },
                    ));
                }
                continue;
            }
            let Some((txid, fee, block)) = confirmed else {
                continue;
            };
            let confirmations = (tip_height + 1).saturating_sub(block.height);
            if confirmations >= policy.needed(record.total()) {
                told.push(Observation::Settled {
                    id: *id,
                    txid,
                    block,
                    fee,
                });
                changed.push((
                    *id,
                    PaymentRecord {
                        settled: Some(block),
                        ..record.clone()
                    },
                ));
            }
        }
        changed
    }

    /// The version of a payment that is in the chain, what it paid to the miners, and where it is.
    pub(super) fn confirmed(&self, record: &PaymentRecord) -> Option<(Txid, Amount, BlockPlace)> {
        record.versions.iter().find_map(|version| {
            let txid = version.transaction.compute_txid();
            let seen = self.wallet.get_tx(txid)?;
            Some((txid, version.fee, place(&seen.chain_position)?))
        })
    }

    /// What must not be spent: deposits that a reorg may still undo, what is in no block and not change of a payment that
    /// is out, and coins that the Lightning node has.
    pub(super) fn locked(&self) -> Vec<OutPoint> {
        let out: BTreeSet<Txid> = self
            .payments
            .values()
            .filter(|record| record.is_out())
            .map(|record| record.newest().transaction.compute_txid())
            .collect();
        let coins = self.wallet.list_unspent();
        coins
            .filter(|coin| {
                let counts =
                    coin.chain_position.is_confirmed() || out.contains(&coin.outpoint.txid);
                !counts || self.lent.contains(&coin.outpoint) || self.is_young_deposit(coin)
            })
            .map(|coin| coin.outpoint)
            .collect()
    }

    pub(super) fn is_young_deposit(&self, coin: &bdk_wallet::LocalOutput) -> bool {
        let purpose = self.purposes.get(&coin.derivation_index);
        coin.keychain == KeychainKind::External
            && matches!(purpose, Some(Purpose::Deposit(_)))
            && self
                .deposits
                .get(&coin.outpoint)
                .is_none_or(|record| record.standing != Standing::Final)
    }

    /// A transaction of ours, so that its coins count as spent and its change as ours.
    pub(super) fn note(&mut self, transaction: &Transaction, seen_s: u64) {
        self.wallet
            .apply_unconfirmed_txs([(transaction.clone(), seen_s)]);
    }
}

fn place(position: &ChainPosition<bdk_wallet::chain::ConfirmationBlockTime>) -> Option<BlockPlace> {
    match position {
        ChainPosition::Confirmed { anchor, .. } => Some(BlockPlace {
            height: anchor.block_id.height,
            hash: anchor.block_id.hash,
        }),
        ChainPosition::Unconfirmed { .. } => None,
    }
}

/// BIP 86: outputs that look like everybody's and are the cheapest to spend.
fn descriptors(seed: &Seed, network: Network) -> Result<(Bip86<Xpriv>, Bip86<Xpriv>), Fault> {
    let key = Xpriv::new_master(network, &seed.0).map_err(other_wallet)?;
    Ok((
        Bip86(key, KeychainKind::External),
        Bip86(key, KeychainKind::Internal),
    ))
}

fn other_wallet(error: impl std::fmt::Display) -> Fault {
    Fault::OtherWallet {
        what: error.to_string(),
    }
}
