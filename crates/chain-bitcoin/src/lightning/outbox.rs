//! Transactions that the chain source has to get, kept until the chain has spent what they spend.
//!
//! LDK makes its claims anew until they are in the chain, but hands in only once what funds a channel, splices it, or closes
//! it with its peer. A kill before the source had such a transaction would lose it, and so would one that forgot its
//! mempool.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bitcoin::block::Header;
use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Transaction, Txid};
use lightning::chain::transaction::TransactionData;
use lightning::chain::{BestBlock, Listen};

use super::record;
use super::store::Store;
use crate::Fault;

/// More than all channels of a node have under way at once.
const OUTBOX_MAX: usize = 1_000;

const OUTBOX: &[u8] = b"outbox/";

/// By the first coin that each spends: a transaction takes the place of one that it replaces.
type Waiting = BTreeMap<OutPoint, Transaction>;

pub(crate) struct Outbox {
    store: Arc<Store>,
    waiting: Mutex<Waiting>,
}

impl Outbox {
    /// Goes on with what the store holds.
    pub(crate) fn load(store: Arc<Store>) -> Result<Self, Fault> {
        let mut waiting = Waiting::new();
        for (_, value) in store.written_under(OUTBOX)? {
            let bytes: Vec<u8> = record::read(&value)?;
            let transaction: Transaction = deserialize(&bytes).map_err(|error| Fault::Store {
                detail: format!(
                    "a transaction that waits for the chain source cannot be read: {error}"
                ),
            })?;
            if let Some(first) = first_coin(&transaction) {
                waiting.insert(first, transaction);
            }
        }
        Ok(Self {
            store,
            waiting: Mutex::new(waiting),
        })
    }

    /// Keeps a transaction. The record is in the same batch of the store as the channel that LDK takes for handed in, or in
    /// an earlier one.
    pub(crate) fn keep(&self, transaction: &Transaction) {
        let Some(first) = first_coin(transaction) else {
            return;
        };
        let mut waiting = self.lock();
        if waiting.get(&first) == Some(transaction) {
            return;
        }
        if waiting.len() >= OUTBOX_MAX && !waiting.contains_key(&first) {
            tracing::warn!(target: "lightning", "too many transactions are not in the chain; one is handed in only once");
            return;
        }
        waiting.insert(first, transaction.clone());
        let value = record::write(&serialize(transaction));
        self.store.put(outbox_key(&first), value);
    }

    /// All that is not in the chain yet.
    pub(crate) fn waiting(&self) -> Vec<Transaction> {
        self.lock().values().cloned().collect()
    }

    /// A transaction that is not in the chain yet.
    pub(crate) fn find(&self, txid: &Txid) -> Option<Transaction> {
        let waiting = self.lock();
        waiting
            .values()
            .find(|transaction| transaction.compute_txid() == *txid)
            .cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

/// It has to see a block before the channel manager does: a manager that has seen it is then never on disk without what the
/// block settled here. What a reorg takes out of the chain goes back to the mempool.
impl Listen for Outbox {
    fn filtered_block_connected(&self, _header: &Header, data: &TransactionData, _height: u32) {
        let mut waiting = self.lock();
        if waiting.is_empty() {
            return;
        }
        let inputs = data.iter().flat_map(|(_, transaction)| &transaction.input);
        let spent: BTreeSet<_> = inputs.map(|input| input.previous_output).collect();
        let mut settled = Vec::new();
        waiting.retain(|first, transaction| {
            let mut coins = transaction.input.iter().map(|i| i.previous_output);
            let is_settled = coins.any(|coin| spent.contains(&coin));
            if is_settled {
                settled.push((outbox_key(first), None));
            }
            !is_settled
        });
        if !settled.is_empty() {
            self.store.write(settled);
        }
    }

    fn blocks_disconnected(&self, _fork_point: BestBlock) {}
}

fn first_coin(transaction: &Transaction) -> Option<OutPoint> {
    transaction.input.first().map(|input| input.previous_output)
}

fn outbox_key(first: &OutPoint) -> Vec<u8> {
    let txid = first.txid.to_byte_array();
    [OUTBOX, &txid, &first.vout.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::transaction::Version;
    use bitcoin::{ScriptBuf, Sequence, TxIn, Witness};
    use lightning::chain::Listen;

    use super::*;

    fn spending(coins: &[u8], lock_time: u32) -> Transaction {
        let input = |coin: &u8| TxIn {
            previous_output: OutPoint {
                txid: Txid::from_byte_array([*coin; 32]),
                vout: 0,
            },
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        };
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::from_consensus(lock_time),
            input: coins.iter().map(input).collect(),
            output: Vec::new(),
        }
    }

    #[test]
    fn a_transaction_waits_until_one_of_its_coins_is_spent_in_the_chain_and_outlives_a_kill() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || {
            let store = Store::open(&folder.path().join("store"), Box::new(|| {}));
            Arc::new(store.expect("a folder of its own"))
        };
        let commit = |store: &Store| {
            let batch = store.take(store.take_monitors(), None);
            store.commit(batch).expect("the disk has room");
        };
        let store = open();
        let outbox = Outbox::load(Arc::clone(&store)).expect("an empty store");
        outbox.keep(&spending(&[1, 2], 0));
        outbox.keep(&spending(&[3], 0));
        // One that pays more, of the same coin.
        outbox.keep(&spending(&[3], 1));
        let expected = vec![spending(&[1, 2], 0), spending(&[3], 1)];
        assert_eq!(outbox.waiting(), expected);
        commit(&store);
        drop((outbox, store));

        let store = open();
        let outbox = Outbox::load(Arc::clone(&store)).expect("it was written");
        assert_eq!(outbox.waiting(), expected);
        let header = bitcoin::constants::genesis_block(bitcoin::Network::Regtest).header;
        let see = |transaction: &Transaction| {
            outbox.filtered_block_connected(&header, &[(0, transaction)], 1);
        };
        see(&spending(&[4], 0));
        assert_eq!(outbox.waiting(), expected, "another coin");
        see(&spending(&[2], 7));
        assert_eq!(outbox.waiting(), expected[1..], "spent by another");
        see(&spending(&[3], 1));
        assert_eq!(outbox.waiting(), []);
        commit(&store);
        assert_eq!(store.written_under(OUTBOX).expect("read"), []);
    }
}
