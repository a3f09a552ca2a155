//! A chain of coins: transactions that wait, blocks that take some of them, and reorgs that give them back.

use std::collections::{BTreeMap, BTreeSet};

use forebay_pool::Outpoint;
use forebay_quantity::Hash32;

use crate::random::Random;

/// A transaction with this many blocks on it, its own counted, is never dropped again.
pub const BURIED: u32 = 6;
/// Nodes let no smaller output pass, in sat.
pub const DUST_SAT: u64 = 330;
/// Blocks of a day.
const BLOCKS_PER_DAY: u32 = 144;

/// Whose a coin is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Owner {
    /// The pool's hot wallet, out of a transaction of its own or of the reserve.
    Wallet,
    /// The pool's hot wallet, at an address made for this LP, or for the operator.
    Deposit(Option<u32>),
    /// The pool's reserve.
    Reserve,
    /// Both ends of a Lightning channel.
    Channel(u128),
    /// Anybody else.
    Stranger,
}

/// An output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Coin {
    /// Whose.
    pub owner: Owner,
    /// How much, in sat.
    pub sat: u64,
}

/// A transaction, in a block or waiting for one.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// What it spends.
    pub inputs: Vec<(Outpoint, Coin)>,
    /// What it makes.
    pub outputs: Vec<Coin>,
    /// What it pays to miners, in sat.
    pub fee_sat: u64,
    /// The height of its block.
    pub height: Option<u32>,
    /// Nobody hands it in again when a reorg loses it.
    is_strange: bool,
}

/// Everything on chain that concerns the pool.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    height: u32,
    transactions: BTreeMap<Hash32, Transaction>,
    /// In the order in which they were made, so that none is mined before what it spends.
    order: Vec<Hash32>,
    unspent: BTreeMap<Outpoint, Coin>,
    made: u64,
}

impl Chain {
    /// The height of the newest block.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// A transaction, unless a reorg lost it.
    pub fn transaction(&self, txid: Hash32) -> Option<&Transaction> {
        self.transactions.get(&txid)
    }

    /// All of them, oldest first.
    pub fn transactions(&self) -> impl Iterator<Item = (Hash32, &Transaction)> {
        let known = |txid: &Hash32| Some((*txid, self.transactions.get(txid)?));
        self.order.iter().filter_map(known)
    }

    /// Blocks on a transaction, its own counted; zero while it waits.
    pub fn depth(&self, txid: Hash32) -> u32 {
        let height = self.transactions.get(&txid).and_then(|known| known.height);
        height.map_or(0, |height| self.height + 1 - height)
    }

    /// Whether no reorg drops a transaction any more.
    pub fn is_buried(&self, txid: Hash32) -> bool {
        self.depth(txid) >= BURIED
    }

    /// How old a transaction is, in days of blocks.
    pub fn days(&self, txid: Hash32) -> u32 {
        self.depth(txid) / BLOCKS_PER_DAY
    }

    /// What nothing spends yet, waiting transactions counted.
    pub fn unspent(&self) -> impl Iterator<Item = (Outpoint, Coin)> + '_ {
        self.unspent
            .iter()
            .map(|(outpoint, coin)| (*outpoint, *coin))
    }

    /// Whether nothing spends a coin yet.
    pub fn is_unspent(&self, outpoint: &Outpoint) -> bool {
        self.unspent.contains_key(outpoint)
    }

    /// A stranger pays this much: a reorg may lose it for ever.
    pub(super) fn pay_in(&mut self, owner: Owner, sat: u64) -> Hash32 {
        self.insert(Vec::new(), vec![Coin { owner, sat }], 0, true)
    }

    /// A stranger pays this much, and sees to it that no reorg loses it.
    pub(super) fn bring_in(&mut self, owner: Owner, sat: u64) -> Hash32 {
        self.insert(Vec::new(), vec![Coin { owner, sat }], 0, false)
    }

    /// Spends coins of the pool's, and of nobody else; what is left over goes to miners. It is handed in again whenever a
    /// reorg drops it.
    pub(super) fn spend(&mut self, inputs: &[Outpoint], outputs: Vec<Coin>) -> Hash32 {
        let mut spent = Vec::new();
        for outpoint in inputs {
            let coin = self.unspent.remove(outpoint);
            spent.push((*outpoint, coin.expect("the chain takes no coin twice")));
        }
        let came: u64 = spent.iter().map(|(_, coin)| coin.sat).sum();
        let goes: u64 = outputs.iter().map(|coin| coin.sat).sum();
        let fee_sat = came.checked_sub(goes).expect("no more goes than came");
        self.insert(spent, outputs, fee_sat, false)
    }

    fn insert(
        &mut self,
        inputs: Vec<(Outpoint, Coin)>,
        outputs: Vec<Coin>,
        fee_sat: u64,
        is_strange: bool,
    ) -> Hash32 {
        self.made += 1;
        let mut txid = [0xb7; 32];
        txid[..8].copy_from_slice(&self.made.to_le_bytes());
        let txid = Hash32(txid);
        for (index, coin) in (0..).zip(&outputs) {
            self.unspent.insert(Outpoint { txid, index }, *coin);
        }
        self.order.push(txid);
        self.transactions.insert(
            txid,
            Transaction {
                inputs,
                outputs,
                fee_sat,
                height: None,
                is_strange,
            },
        );
        txid
    }

    /// One block more. Of what waits it leaves this part of a thousand, and what spends that, for later.
    pub(super) fn mine(&mut self, random: &mut Random, leave: u64) {
        self.height += 1;
        let mut waiting = BTreeSet::new();
        for txid in &self.order {
            let Some(transaction) = self.transactions.get_mut(txid) else {
                continue;
            };
            if transaction.height.is_some() {
                continue;
            }
            let mut parents = transaction.inputs.iter();
            let is_early = parents.any(|(spent, _)| waiting.contains(&spent.txid));
            if is_early || random.chance(leave) {
                waiting.insert(*txid);
            } else {
                transaction.height = Some(self.height);
            }
        }
    }

    /// Drops up to so many of the newest blocks, none that is buried, and makes one more than it dropped. A stranger's payment
    /// is lost with this chance in a thousand. Says how many it dropped.
    pub(super) fn reorganise(&mut self, blocks: u32, random: &mut Random, lost: u64) -> u32 {
        let blocks = blocks.min(BURIED - 1).min(self.height);
        let kept = self.height - blocks;
        let mut gone = Vec::new();
        for txid in &self.order {
            let Some(transaction) = self.transactions.get_mut(txid) else {
                continue;
            };
            if transaction.height.is_none_or(|height| height <= kept) {
                continue;
            }
            transaction.height = None;
            if transaction.is_strange && random.chance(lost) {
                gone.push(*txid);
            }
        }
        for txid in gone {
            self.transactions.remove(&txid);
            self.unspent.retain(|outpoint, _| outpoint.txid != txid);
        }
        self.height = kept;
        for _ in 0..=blocks {
            self.mine(random, 300);
        }
        blocks
    }
}
