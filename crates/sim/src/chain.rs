//! A chain of blocks around the vaults: a mempool, blocks, reorgs above the finality depth.

use forebay_pool::{FactAt, VaultFact};
use forebay_quantity::{AssetId, EffectId};

use crate::random::Random;
use crate::vault::{Call, Sender, Vault};

/// A block this far under the head is final in the simulated world.
pub(crate) const FINALITY_DEPTH: usize = 6;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) asset: AssetId,
    pub(crate) sender: Sender,
    pub(crate) call: Call,
    /// The pool's own carry the effect that asked for them.
    pub(crate) effect: Option<EffectId>,
}

pub(crate) struct Block {
    pub(crate) time_s: u64,
    /// Differs between two blocks of one height.
    pub(crate) hash: u64,
    pub(crate) logs: Vec<(AssetId, VaultFact)>,
    pub(crate) transactions: Vec<(Transaction, Result<(), &'static str>)>,
    /// The vaults after it, dropped once it is well below finality.
    after: Vec<Vault>,
}

pub(crate) struct Chain {
    pub(crate) blocks: Vec<Block>,
    pub(crate) mempool: Vec<Transaction>,
    finality_depth: usize,
    next_hash: u64,
}

impl Chain {
    pub(crate) fn new(vaults: Vec<Vault>, now_s: u64, finality_depth: usize) -> Self {
        let genesis = Block {
            time_s: now_s,
            hash: 0,
            logs: Vec::new(),
            transactions: Vec::new(),
            after: vaults,
        };
        Self {
            blocks: vec![genesis],
            mempool: Vec::new(),
            finality_depth,
            next_hash: 1,
        }
    }

    pub(crate) fn time_s(&self) -> u64 {
        self.blocks.last().expect("there is a genesis").time_s
    }

    /// Height of the newest final block.
    pub(crate) fn final_height(&self) -> usize {
        (self.blocks.len() - 1).saturating_sub(self.finality_depth)
    }

    pub(crate) fn vault(&self, asset: AssetId) -> &Vault {
        &self.blocks.last().expect("there is a genesis").after[usize::from(asset.0)]
    }

    pub(crate) fn final_vault(&self, asset: AssetId) -> &Vault {
        &self.blocks[self.final_height()].after[usize::from(asset.0)]
    }

    pub(crate) fn submit(&mut self, transaction: Transaction) {
        self.mempool.push(transaction);
    }

    /// Mines a block of what the mempool holds, in any order, leaving some for later.
    pub(crate) fn mine(&mut self, now_s: u64, random: &mut Random, leave: u64) {
        let mut waiting = std::mem::take(&mut self.mempool);
        random.shuffle(&mut waiting);
        let mut taken = Vec::new();
        for transaction in waiting {
            if random.chance(leave) {
                self.mempool.push(transaction);
            } else {
                taken.push(transaction);
            }
        }
        self.append(now_s, taken);
    }

    fn append(&mut self, now_s: u64, taken: Vec<Transaction>) {
        let parent = self.blocks.last().expect("there is a genesis");
        let time_s = now_s.max(parent.time_s + 1);
        let mut after = parent.after.clone();
        let mut logs = Vec::new();
        let mut transactions = Vec::new();
        for transaction in taken {
            let mut facts = Vec::new();
            let vault = &mut after[usize::from(transaction.asset.0)];
            let done = vault.execute(time_s, transaction.sender, &transaction.call, &mut facts);
            logs.extend(facts.into_iter().map(|fact| (transaction.asset, fact)));
            transactions.push((transaction, done));
        }
        let hash = self.next_hash;
        self.next_hash += 1;
        self.blocks.push(Block {
            time_s,
            hash,
            logs,
            transactions,
            after,
        });
        let height = self.final_height();
        if height > 0 {
            self.blocks[height - 1].after = Vec::new();
        }
    }

    /// Drops up to `depth` blocks above the final one and mines one more than it dropped: their transactions come
    /// again in another order, later, or (when nobody resends them) not at all.
    pub(crate) fn reorganise(&mut self, depth: usize, random: &mut Random, lost: u64) -> usize {
        let depth = depth.min(self.blocks.len() - 1 - self.final_height());
        let dropped = self.blocks.split_off(self.blocks.len() - depth);
        let times: Vec<u64> = dropped.iter().map(|block| block.time_s).collect();
        for (transaction, _) in dropped.into_iter().flat_map(|block| block.transactions) {
            if transaction.effect.is_some() || !random.chance(lost) {
                self.mempool.push(transaction);
            }
        }
        let last = times.last().copied().unwrap_or(self.time_s()) + 1;
        for time_s in times.into_iter().chain([last]) {
            self.mine(time_s, random, 300);
        }
        depth
    }

    /// The logs of a block with their places.
    pub(crate) fn facts(
        &self,
        height: usize,
    ) -> impl Iterator<Item = (AssetId, FactAt, &VaultFact)> {
        let block = u64::try_from(height).expect("usize fits u64");
        (0u32..)
            .zip(&self.blocks[height].logs)
            .map(move |(log, (asset, fact))| (*asset, FactAt { block, log }, fact))
    }
}
