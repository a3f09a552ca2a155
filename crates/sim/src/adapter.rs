//! The pool's client of the chain: carries out each effect once per id, and follows the vaults' logs.
//! What it knows survives crashes of the pool, as a store of its own would.

use std::collections::BTreeMap;

use forebay_channel::{Address, LaneId};
use forebay_pool::{ChainFact, ChainRequest, Depth, FactAt, NoticeKind, VaultFact};
use forebay_quantity::{AssetId, EffectId, Timestamp};

use crate::chain::{Chain, Transaction};
use crate::random::Random;
use crate::vault::{Call, Sender};

/// What goes to the core.
#[derive(Debug, Clone)]
pub(crate) enum Report {
    Fact(ChainFact),
    Outcome(EffectId, Option<String>),
}

struct Job {
    request: ChainRequest,
    done: Option<Result<(), String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    asset: AssetId,
    height: usize,
    hash: u64,
    log: u32,
}

pub(crate) struct Adapter {
    pool_signer: Address,
    jobs: BTreeMap<EffectId, Job>,
    /// Finished and not acknowledged.
    reports: BTreeMap<EffectId, Option<String>>,
    scanned: usize,
    /// Reported as seen and not final yet.
    seen: BTreeMap<Place, VaultFact>,
}

impl Adapter {
    pub(crate) fn new(pool_signer: Address) -> Self {
        Self {
            pool_signer,
            jobs: BTreeMap::new(),
            reports: BTreeMap::new(),
            scanned: 0,
            seen: BTreeMap::new(),
        }
    }

    /// Carries an effect out unless it did before; without gas it gives up at once and for good.
    pub(crate) fn perform(
        &mut self,
        id: EffectId,
        request: &ChainRequest,
        has_gas: bool,
        chain: &mut Chain,
    ) {
        if let Some(job) = self.jobs.get(&id) {
            assert_eq!(
                &job.request, request,
                "[I11] effect {id} is asked for again as something else"
            );
            if let Some(done) = &job.done {
                self.reports.insert(id, done.clone().err());
            }
            return;
        }
        let done = (!has_gas).then(|| Err("no gas money".to_owned()));
        if let Some(done) = &done {
            self.reports.insert(id, done.clone().err());
        } else {
            chain.submit(Transaction {
                asset: request.asset(),
                sender: Sender::Operator,
                call: self.call(request),
                effect: Some(id),
            });
        }
        self.jobs.insert(
            id,
            Job {
                request: request.clone(),
                done,
            },
        );
    }

    pub(crate) fn acknowledged(&mut self, id: EffectId) {
        self.reports.remove(&id);
    }

    /// A new process asks anew for what may have been lost with the old one's memory.
    pub(crate) fn restarted(&mut self, chain: &Chain) {
        self.seen.retain(|place, _| !is_canonical(place, chain));
    }

    /// Everything that is to be told now, in order: outcomes, retractions, what is new, what is final.
    pub(crate) fn poll(
        &mut self,
        chain: &Chain,
        cursors: &[Option<FactAt>],
        random: &mut Random,
        limit: usize,
    ) -> Vec<Report> {
        let mut reports = Vec::new();
        self.finish_jobs(chain);
        reports.extend(
            self.reports
                .iter()
                .map(|(id, failure)| Report::Outcome(*id, failure.clone())),
        );
        self.retract(chain, &mut reports);
        self.newly_seen(chain, random, &mut reports);
        self.finals(chain, cursors, limit, &mut reports);
        reports
    }

    fn finish_jobs(&mut self, chain: &Chain) {
        while self.scanned < chain.final_height() {
            self.scanned += 1;
            for (transaction, result) in &chain.blocks[self.scanned].transactions {
                let Some(id) = transaction.effect else {
                    continue;
                };
                let job = self
                    .jobs
                    .get_mut(&id)
                    .expect("its transaction came from here");
                let done = result.map_err(str::to_owned);
                self.reports.insert(id, done.clone().err());
                job.done = Some(done);
            }
        }
    }

    fn retract(&mut self, chain: &Chain, reports: &mut Vec<Report>) {
        let gone: Vec<Place> = self
            .seen
            .keys()
            .filter(|place| !is_canonical(place, chain))
            .copied()
            .collect();
        for place in gone {
            let fact = self.seen.remove(&place).expect("just listed");
            if let VaultFact::NoticeGiven { serial, kind, .. } = fact {
                let dropped = VaultFact::NoticeDropped { serial, kind };
                reports.push(report(place.asset, at(&place), Depth::Seen, dropped));
            }
        }
        let final_height = chain.final_height();
        self.seen.retain(|place, _| place.height > final_height);
    }

    fn newly_seen(&mut self, chain: &Chain, random: &mut Random, reports: &mut Vec<Report>) {
        for height in chain.final_height() + 1..chain.blocks.len() {
            let hash = chain.blocks[height].hash;
            for (asset, at, fact) in chain.facts(height) {
                let place = Place {
                    asset,
                    height,
                    hash,
                    log: at.log,
                };
                let again = random.chance(50);
                if !again && self.seen.contains_key(&place) {
                    continue;
                }
                self.seen.insert(place, fact.clone());
                reports.push(report(asset, at, Depth::Seen, fact.clone()));
            }
        }
    }

    /// A node that tells old notices again, as if they were new.
    pub(crate) fn old_notice(chain: &Chain, random: &mut Random) -> Option<ChainFact> {
        let height = random.index(chain.final_height() + 1);
        let mut notices = chain
            .facts(height)
            .filter(|(_, _, fact)| matches!(fact, VaultFact::NoticeGiven { .. }));
        let (asset, at, fact) = notices.next()?;
        Some(ChainFact {
            asset,
            at,
            depth: Depth::Seen,
            fact: fact.clone(),
        })
    }

    fn finals(
        &self,
        chain: &Chain,
        cursors: &[Option<FactAt>],
        limit: usize,
        reports: &mut Vec<Report>,
    ) {
        for (asset, cursor) in (0u16..).map(AssetId).zip(cursors) {
            let start = cursor.map_or(0, |at| usize::try_from(at.block).expect("few blocks"));
            let facts = (start..=chain.final_height())
                .flat_map(|height| chain.facts(height))
                .filter(|(of, at, _)| *of == asset && cursor.is_none_or(|last| *at > last));
            for (_, at, fact) in facts.take(limit) {
                reports.push(report(asset, at, Depth::Final, fact.clone()));
            }
        }
    }

    fn call(&self, request: &ChainRequest) -> Call {
        match request {
            ChainRequest::Open {
                serial,
                peer_signer,
                peer_payout,
                ceiling,
                term_ends,
                ..
            } => Call::Open {
                serial: serial.0,
                pool_signer: self.pool_signer,
                peer_signer: *peer_signer,
                payout: *peer_payout,
                allotment: ceiling.value(),
                term_end_s: if ceiling.is_zero() {
                    0
                } else {
                    seconds(*term_ends)
                },
            },
            ChainRequest::Raise {
                serial,
                ceiling,
                term_ends,
                ..
            } => Call::Raise {
                serial: serial.0,
                ceiling: ceiling.value(),
                term_end_s: seconds(*term_ends),
            },
            ChainRequest::Redeem {
                serial,
                amount,
                signature,
                ..
            } => Call::Redeem {
                serial: serial.0,
                lane: LaneId::Peer,
                amount: amount.value(),
                signature: *signature,
            },
            ChainRequest::RaiseIndex { index, .. } => Call::Accrue { index: *index },
            ChainRequest::PayExits { .. } => Call::PayExits,
            ChainRequest::StartClose { serial, .. } => Call::StartClose { serial: serial.0 },
            ChainRequest::FinishNotice { serial, kind, .. } => match kind {
                NoticeKind::Close => Call::FinishClose { serial: serial.0 },
                NoticeKind::AllotmentLowering => Call::FinishLowering {
                    serial: serial.0,
                    lane: LaneId::Pool,
                },
                NoticeKind::DepositWithdrawal => Call::FinishLowering {
                    serial: serial.0,
                    lane: LaneId::Peer,
                },
                NoticeKind::PeerKeyChange | NoticeKind::PoolKeyChange => {
                    Call::FinishKeyChange { serial: serial.0 }
                }
            },
            ChainRequest::Heartbeat { .. } => Call::Heartbeat,
            ChainRequest::OpenLightning { .. }
            | ChainRequest::ToReserve { .. }
            | ChainRequest::FromReserve { .. }
            | ChainRequest::RenewReserve { .. }
            | ChainRequest::SpliceIn { .. }
            | ChainRequest::SpliceOut { .. }
            | ChainRequest::CloseLightning { .. }
            | ChainRequest::SellLightning { .. }
            | ChainRequest::CloseSold { .. } => {
                unreachable!("this world has vaults only")
            }
            ChainRequest::StartLower {
                serial, ceiling, ..
            } => Call::StartLowering {
                serial: serial.0,
                lane: LaneId::Pool,
                ceiling: ceiling.value(),
            },
        }
    }
}

fn seconds(at: Timestamp) -> u64 {
    at.0 / 1_000
}

fn at(place: &Place) -> FactAt {
    FactAt {
        block: u64::try_from(place.height).expect("usize fits u64"),
        log: place.log,
    }
}

fn is_canonical(place: &Place, chain: &Chain) -> bool {
    let block = chain.blocks.get(place.height);
    block.is_some_and(|block| block.hash == place.hash)
}

fn report(asset: AssetId, at: FactAt, depth: Depth, fact: VaultFact) -> Report {
    Report::Fact(ChainFact {
        asset,
        at,
        depth,
        fact,
    })
}
