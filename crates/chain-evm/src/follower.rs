//! Follows a vault: reads its logs block by block and reports each fact as it sinks deeper, or out of the chain.

use crate::{
    abi::{evm, hash, time},
    facts,
    fault::Fault,
    rpc::Rpc,
    vault::Vault,
};
use alloy::{
    eips::BlockNumberOrTag,
    primitives::B256,
    providers::{Provider, RootProvider},
    rpc::types::{Filter, Header, Log},
};
use forebay_channel::{
    Address, Finality,
    vault::{Head, Place, VaultFact, VaultObservation},
};
use forebay_quantity::{BlockHeight, Hash32};
use std::{collections::VecDeque, time::Duration};
use tokio::sync::{mpsc, watch};

/// How a vault is followed.
#[derive(Clone, Copy, Debug)]
pub struct FollowerSettings {
    /// The first block to read: the vault's own, or one after the last final block that was taken in. Facts at
    /// or above it are reported, even if they were before; their places tell.
    pub from: BlockHeight,
    /// A final block of an earlier run, from [`Follower::last_final`]: when the chain has lost it, that is a deep reorg.
    pub known_final: Option<(BlockHeight, Hash32)>,
    /// How often the chain is asked.
    pub poll_interval: Duration,
    /// How many final blocks one question for logs may span.
    pub log_range_max: u64,
}

impl FollowerSettings {
    /// Follows from a block on, asking once a second.
    #[must_use]
    pub fn from(from: BlockHeight) -> Self {
        Self {
            from,
            known_final: None,
            poll_interval: Duration::from_secs(1),
            log_range_max: 1_000,
        }
    }
}

/// How many observations wait for their reader; a slow one holds the follower back.
const QUEUE_MAX: usize = 1_024;
/// How many blocks above the final one are read in one round.
const BLOCKS_PER_ROUND_MAX: usize = 256;

/// What a vault reports, in the chain's order. Dropping it ends the following.
#[derive(Debug)]
pub struct Follower {
    queue: mpsc::Receiver<Result<VaultObservation, Fault>>,
    last_final: watch::Receiver<Option<(BlockHeight, Hash32)>>,
}

impl Follower {
    /// The next observation, or a fault of the nodes, after which the following goes on by itself.
    /// `None` once a [`VaultObservation::DeepReorg`] ended it.
    pub async fn next(&mut self) -> Option<Result<VaultObservation, Fault>> {
        self.queue.recv().await
    }

    /// The newest final block that was seen, with its hash: kept by the caller for
    /// [`FollowerSettings::known_final`].
    #[must_use]
    pub fn last_final(&self) -> Option<(BlockHeight, Hash32)> {
        *self.last_final.borrow()
    }
}

impl Vault {
    /// Follows the vault in a task of its own.
    #[must_use]
    pub fn follow(&self, settings: FollowerSettings) -> Follower {
        let (out, queue) = mpsc::channel(QUEUE_MAX);
        let (tell_final, last_final) = watch::channel(settings.known_final);
        let tracker = Tracker {
            rpc: self.account.rpc.clone(),
            vault: self.address(),
            next: settings.from.value(),
            log_range_max: settings.log_range_max.max(1),
            finalized: settings
                .known_final
                .map(|(height, hash)| (height.value(), B256::from(hash.value()))),
            blocks: VecDeque::new(),
            head: None,
            reports: Vec::new(),
            tell_final,
        };
        tokio::spawn(run(tracker, settings.poll_interval, out));
        Follower { queue, last_final }
    }
}

async fn run(
    mut tracker: Tracker,
    poll_interval: Duration,
    out: mpsc::Sender<Result<VaultObservation, Fault>>,
) {
    let mut down = false;
    loop {
        let round = tracker.round().await;
        for observation in tracker.reports.drain(..) {
            let last = matches!(observation, VaultObservation::DeepReorg { .. });
            if out.send(Ok(observation)).await.is_err() || last {
                return;
            }
        }
        match round {
            Ok(()) => down = false,
            // One report an outage is enough.
            Err(_) if down => {}
            Err(fault) => {
                down = true;
                if out.send(Err(fault)).await.is_err() {
                    return;
                }
            }
        }
        tokio::select! {
            () = out.closed() => return,
            () = tokio::time::sleep(poll_interval) => {}
        }
    }
}

/// A block above the final one, whose facts may still be dropped.
struct Block {
    height: u64,
    hash: B256,
    facts: Vec<Held>,
}

/// What of a header links blocks and tells the time. Nodes differ in what else they say.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Link {
    number: u64,
    hash: B256,
    parent_hash: B256,
    timestamp: u64,
}

impl From<Header> for Link {
    fn from(header: Header) -> Self {
        Self {
            number: header.number,
            hash: header.hash,
            parent_hash: header.parent_hash,
            timestamp: header.timestamp,
        }
    }
}

struct Held {
    fact: VaultFact,
    place: Place,
    transaction: Hash32,
    reported: Finality,
}

struct Tracker {
    rpc: Rpc,
    vault: Address,
    /// The next block to read.
    next: u64,
    log_range_max: u64,
    /// The newest block known to be final.
    finalized: Option<(u64, B256)>,
    /// The blocks read above it, each the parent of the next.
    blocks: VecDeque<Block>,
    head: Option<Head>,
    reports: Vec<VaultObservation>,
    tell_final: watch::Sender<Option<(BlockHeight, Hash32)>>,
}

impl Tracker {
    /// One look at the chain. What it found out before a fault is reported all the same.
    async fn round(&mut self) -> Result<(), Fault> {
        let latest = self.tagged(BlockNumberOrTag::Latest).await?;
        let finalized = self.tagged(BlockNumberOrTag::Finalized).await?;
        let safe = self.tagged(BlockNumberOrTag::Safe).await?;
        if self.lost_final_block().await? {
            return Ok(());
        }
        self.drop_blocks_off_the_chain().await?;
        self.read_final_blocks(finalized.number).await?;
        // Before newer blocks are read: facts reach each depth in the chain's order.
        self.sink(safe.number, finalized.number);
        let reached = self
            .read_blocks(latest.number, safe.number, finalized.number)
            .await?;
        self.finalize(&finalized);
        let head = Head {
            latest: BlockHeight::new(
                reached
                    .as_ref()
                    .map_or(latest.number, |header| header.number),
            ),
            time: time(
                reached
                    .as_ref()
                    .map_or(latest.timestamp, |header| header.timestamp),
            ),
            safe: BlockHeight::new(safe.number),
            finalized: BlockHeight::new(finalized.number),
        };
        if self.head != Some(head) && self.next > latest.number {
            self.head = Some(head);
            self.reports.push(VaultObservation::Head(head));
        }
        Ok(())
    }

    /// The newest block under a tag that as many nodes as have to agree have reached: one alone neither holds the others
    /// back nor calls final what is not.
    async fn tagged(&self, tag: BlockNumberOrTag) -> Result<Link, Fault> {
        const METHOD: &str = "eth_getBlockByNumber";
        let absent = || Fault::Nonsense {
            method: METHOD,
            what: format!("no {tag} block"),
        };
        let needed = self.rpc.agreeing_min();
        let (mut told, mut fault) = (Vec::new(), None);
        for node in self.rpc.nodes() {
            let question = |provider: RootProvider| async move {
                let block = provider.get_block_by_number(tag).await?;
                Ok(block.map(|block| Link::from(block.header)))
            };
            match node.ask(METHOD, question).await {
                Ok(Some(link)) if needed == 1 => return Ok(link),
                Ok(Some(link)) => told.push(link.number),
                Ok(None) => fault = Some(absent()),
                Err(error) => fault = Some(error),
            }
        }
        told.sort_unstable_by(|one, other| other.cmp(one));
        match told.get(needed - 1) {
            Some(height) => self.header(*height).await?.ok_or_else(absent),
            None => Err(fault.unwrap_or_else(absent)),
        }
    }

    /// The header at a height, if the chain is that long; as many nodes as have to agree on it.
    async fn header(&self, height: u64) -> Result<Option<Link>, Fault> {
        let header = self
            .rpc
            .agree("eth_getBlockByNumber", |node| async move {
                Ok(node
                    .get_block_by_number(height.into())
                    .await?
                    .map(|block| Link::from(block.header)))
            })
            .await?;
        Ok(header)
    }

    async fn is_on_chain(&self, height: u64, hash: B256) -> Result<bool, Fault> {
        Ok(self
            .header(height)
            .await?
            .is_some_and(|header| header.hash == hash))
    }

    async fn lost_final_block(&mut self) -> Result<bool, Fault> {
        let Some((height, hash)) = self.finalized else {
            return Ok(false);
        };
        // A chain that is shorter now comes from a node that lags behind: it says nothing about this block.
        let Some(header) = self.header(height).await? else {
            return Ok(false);
        };
        if header.hash == hash {
            return Ok(false);
        }
        self.reports.push(VaultObservation::DeepReorg {
            block: BlockHeight::new(height),
        });
        Ok(true)
    }

    async fn drop_blocks_off_the_chain(&mut self) -> Result<(), Fault> {
        while let Some(block) = self.blocks.back() {
            if self.is_on_chain(block.height, block.hash).await? {
                return Ok(());
            }
            let block = self.blocks.pop_back().expect("looked at just now");
            self.next = block.height;
            let dropped = block.facts.into_iter().rev();
            self.reports
                .extend(dropped.map(|held| VaultObservation::Retracted {
                    fact: held.fact,
                    place: held.place,
                }));
        }
        Ok(())
    }

    /// Reads what is final already in wide steps; only for a follower that is behind.
    async fn read_final_blocks(&mut self, finalized: u64) -> Result<(), Fault> {
        while self.blocks.is_empty() && self.next <= finalized {
            let to = finalized.min(self.next.saturating_add(self.log_range_max - 1));
            let filter = Filter::new().from_block(self.next).to_block(to);
            for held in self.facts(filter, Finality::Final).await? {
                self.reports.push(report(&held));
            }
            self.next = to.saturating_add(1);
        }
        Ok(())
    }

    async fn read_blocks(
        &mut self,
        latest: u64,
        safe: u64,
        finalized: u64,
    ) -> Result<Option<Link>, Fault> {
        let mut reached = None;
        for _ in 0..BLOCKS_PER_ROUND_MAX {
            if self.next > latest {
                break;
            }
            let Some(header) = self.header(self.next).await? else {
                break;
            };
            let joins = self
                .blocks
                .back()
                .is_none_or(|parent| parent.hash == header.parent_hash);
            if !joins {
                // The chain changed while it was read; the next round finds out from where on.
                break;
            }
            let depth = depth_of(header.number, safe, finalized);
            let facts = self
                .facts(Filter::new().at_block_hash(header.hash), depth)
                .await?;
            self.reports.extend(facts.iter().map(report));
            self.blocks.push_back(Block {
                height: header.number,
                hash: header.hash,
                facts,
            });
            self.next = header.number.saturating_add(1);
            reached = Some(header);
        }
        Ok(reached)
    }

    /// Reports the facts that lie deeper than when they were reported last; lets go of final blocks.
    fn sink(&mut self, safe: u64, finalized: u64) {
        for block in &mut self.blocks {
            let depth = depth_of(block.height, safe, finalized);
            for held in &mut block.facts {
                if held.reported < depth {
                    held.reported = depth;
                    self.reports.push(report(held));
                }
            }
        }
        while self.blocks.len() > 1
            && self
                .blocks
                .front()
                .is_some_and(|block| block.height < finalized)
        {
            self.blocks.pop_front();
        }
    }

    fn finalize(&mut self, finalized: &Link) {
        // Blocks read as final in wide steps, or linked to those read singly, lie below this one.
        if self
            .finalized
            .is_none_or(|(height, _)| finalized.number > height)
        {
            self.finalized = Some((finalized.number, finalized.hash));
            self.tell_final.send_replace(Some((
                BlockHeight::new(finalized.number),
                hash(finalized.hash),
            )));
        }
    }

    async fn facts(&self, filter: Filter, reported: Finality) -> Result<Vec<Held>, Fault> {
        let filter = filter.address(evm(self.vault));
        let logs = self
            .rpc
            .agree("eth_getLogs", |node| {
                let filter = filter.clone();
                async move {
                    let mut logs = node.get_logs(&filter).await?;
                    // Some nodes add it and some do not.
                    logs.iter_mut().for_each(|log| log.block_timestamp = None);
                    Ok(logs)
                }
            })
            .await?;
        let mut facts = Vec::with_capacity(logs.len());
        for log in &logs {
            if let Some(fact) = facts::read(&log.inner)? {
                facts.push(held(log, fact, reported)?);
            }
        }
        facts.sort_by_key(|held| held.place);
        Ok(facts)
    }
}

fn held(log: &Log, fact: VaultFact, reported: Finality) -> Result<Held, Fault> {
    let complete = || {
        let place = Place {
            block: BlockHeight::new(log.block_number?),
            log_index: u32::try_from(log.log_index?).ok()?,
            block_hash: hash(log.block_hash?),
        };
        Some(Held {
            fact,
            place,
            transaction: hash(log.transaction_hash?),
            reported,
        })
    };
    complete().ok_or_else(|| Fault::Nonsense {
        method: "eth_getLogs",
        what: "a log without its place".into(),
    })
}

fn report(held: &Held) -> VaultObservation {
    VaultObservation::Fact {
        fact: held.fact,
        place: held.place,
        transaction: held.transaction,
        finality: held.reported,
    }
}

fn depth_of(height: u64, safe: u64, finalized: u64) -> Finality {
    if height <= finalized {
        Finality::Final
    } else if height <= safe {
        Finality::Safe
    } else {
        Finality::Seen
    }
}
