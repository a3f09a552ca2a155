//! Follows closed channels in the chain, and tells what each transaction on the way to the wallet cost, once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bitcoin::block::Header;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::{OutPoint, Script, Transaction, Txid};
use lightning::chain::transaction::TransactionData;
use lightning::chain::{BestBlock, Listen};
use lightning::ln::channel_state::ChannelDetails;
use lightning::ln::types::ChannelId;
use lightning::util::sweep::OutputSpendStatus;

use super::course::{self, Course, DEEP, Splice, Step};
use super::node::Inner;
use super::observation::{ChannelNumber, Observation};
use super::record;
use super::store::{Entry, Store};
use super::wallet::{Belonging, HotWallet};
use crate::Fault;

const COURSES: &[u8] = b"course/";
const PATHS: &[u8] = b"path/";
const UNPLACED: &[u8] = b"unplaced/";
/// Parts of payments that are remembered, so that none counts twice: more than LDK may repeat after a kill, which are those
/// that ended since the last write.
const PATHS_MAX: u64 = 1_024;
/// Names by which a channel is paid through: one for good, one more after each splice.
const NAMES_MAX: usize = 4;

/// A new value of a record.
type Change = (Vec<u8>, Option<Vec<u8>>);

/// All channels that there are, and those that were closed and are not resolved for good.
pub(crate) struct Closings {
    store: Arc<Store>,
    wallet: Arc<dyn HotWallet>,
    courses: Mutex<BTreeMap<[u8; 32], Course>>,
    paths: Mutex<(u64, VecDeque<[u8; 32]>)>,
    /// Of payments of ours that arrived, what is not known to have left by any channel yet, in msat, and since which height.
    /// LDK says it once both ends have put the payment away, and never when the channel is closed before.
    unplaced: Mutex<BTreeMap<[u8; 32], (u64, u32)>>,
    /// How often the monitors' events were handled.
    rounds: AtomicU64,
    /// Since when nothing more is expected of a channel.
    ripe: Mutex<BTreeMap<[u8; 32], u64>>,
    /// At which height all was looked at.
    looked_at: AtomicU32,
}

/// What is to be told of a channel.
#[derive(Clone, Copy)]
enum News {
    Fee(Txid, u64),
    End {
        cost_msat: i64,
        /// The height of the closing.
        height: u32,
    },
}

impl Closings {
    /// Goes on with what the store holds.
    pub(crate) fn load(store: Arc<Store>, wallet: Arc<dyn HotWallet>) -> Result<Self, Fault> {
        let mut courses = BTreeMap::new();
        for (key, value) in store.written_under(COURSES)? {
            let id: [u8; 32] = key.try_into().map_err(|_| Fault::Store {
                detail: "a closed channel's id cannot be read".to_owned(),
            })?;
            courses.insert(id, record::read(&value)?);
        }
        let mut paths: Vec<(u64, [u8; 32])> = Vec::new();
        for (_, value) in store.written_under(PATHS)? {
            paths.push(record::read(&value)?);
        }
        let mut unplaced = BTreeMap::new();
        for (key, value) in store.written_under(UNPLACED)? {
            let hash: [u8; 32] = key.try_into().map_err(|_| Fault::Store {
                detail: "a payment's hash cannot be read".to_owned(),
            })?;
            unplaced.insert(hash, record::read(&value)?);
        }
        paths.sort_unstable();
        let next = paths.last().map_or(0, |(number, _)| number + 1);
        Ok(Self {
            store,
            wallet,
            courses: Mutex::new(courses),
            paths: Mutex::new((next, paths.into_iter().map(|(_, path)| path).collect())),
            unplaced: Mutex::new(unplaced),
            rounds: AtomicU64::new(0),
            ripe: Mutex::default(),
            looked_at: AtomicU32::new(0),
        })
    }

    /// A channel has a monitor: its funding is watched from then on. What is in it is known later.
    pub(crate) fn watch(&self, channel: ChannelId, funding: OutPoint) {
        let mut courses = self.lock();
        if courses.contains_key(&channel.0) {
            return;
        }
        let course = Course::of(funding);
        self.store.put(key(&channel.0), record::write(&course));
        courses.insert(channel.0, course);
    }

    /// A channel that was open before courses were kept.
    pub(crate) fn adopt(&self, channel: ChannelId, funding: OutPoint, balance_msat: u64) {
        if self.lock().contains_key(&channel.0) {
            return;
        }
        self.watch(channel, funding);
        self.change(channel, |course| {
            course.booked_msat = signed(balance_msat);
            course.is_funded = true;
        });
    }

    /// The channel is funded, with so much of ours, in sat.
    pub(crate) fn funded(&self, channel: ChannelId, funding: OutPoint, ours_sat: u64) {
        self.watch(channel, funding);
        self.change(channel, |course| {
            if !course.is_funded {
                course.booked_msat += signed(ours_sat) * 1_000;
                course.is_funded = true;
            }
        });
    }

    /// What a channel can be paid through by now, and what it holds while no splice waits.
    pub(crate) fn name(&self, details: &ChannelDetails) {
        let names = [details.outbound_scid_alias, details.short_channel_id];
        self.change(details.channel_id, |course| {
            if course.value_sat == 0 {
                course.value_sat = details.channel_value_satoshis;
            }
            for name in names.into_iter().flatten() {
                if !course.names.contains(&name) {
                    course.names.push(name);
                }
            }
            let surplus = course.names.len().saturating_sub(NAMES_MAX);
            course.names.drain(..surplus);
        });
    }

    pub(crate) fn course(&self, channel: ChannelId) -> Option<Course> {
        self.lock().get(&channel.0).cloned()
    }

    /// A splice is pending: to be written with what is kept of its cost.
    pub(crate) fn spliced(
        &self,
        channel: ChannelId,
        splice: Splice,
        funding: OutPoint,
        value_sat: u64,
    ) -> Vec<Change> {
        let mut courses = self.lock();
        let Some(course) = courses.get_mut(&channel.0) else {
            return Vec::new();
        };
        course.spliced(splice, funding, value_sat);
        vec![(key(&channel.0), Some(record::write(course)))]
    }

    /// What parts of a payment have brought, in msat, each by its channel: to be written with the payment's own record.
    pub(crate) fn received(&self, parts: &[(ChannelId, u64)]) -> Vec<Change> {
        let mut courses = self.lock();
        let mut changes = Vec::new();
        for (channel, msat) in parts {
            if let Some(course) = courses.get_mut(&channel.0) {
                course.booked_msat += signed(*msat);
                changes.push((key(&channel.0), Some(record::write(course))));
            }
        }
        changes
    }

    /// A payment of ours has arrived, by whichever channels: to be written with the payment's own record.
    pub(crate) fn arrived(&self, hash: [u8; 32], msat: u64, height: u32) -> Change {
        self.unplaced().insert(hash, (msat, height));
        let key = [UNPLACED, &hash].concat();
        (key, Some(record::write(&(msat, height))))
    }

    fn unplaced(&self) -> MutexGuard<'_, BTreeMap<[u8; 32], (u64, u32)>> {
        self.unplaced
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// A part of a payment of ours arrived: so much, in msat, left by the channel of this name. Once for each part.
    pub(crate) fn sent(&self, hash: [u8; 32], path: &[u8], name: u64, msat: u64) {
        let part = sha256::Hash::hash(&[hash.as_slice(), path].concat()).to_byte_array();
        let mut courses = self.lock();
        let mut paths = self.paths.lock().expect("nothing panics under this lock");
        if paths.1.contains(&part) {
            return;
        }
        let found = courses.iter_mut().find(|(_, c)| c.names.contains(&name));
        let Some((channel, course)) = found else {
            tracing::error!(target: "lightning", name, msat, "a payment left by a channel that is not known");
            return;
        };
        let mut unplaced = self.unplaced();
        // What a closing has counted already is not counted again.
        let Some((left, height)) = unplaced.remove(&hash) else {
            return;
        };
        let msat = msat.min(left);
        let rest = (left > msat).then_some((left - msat, height));
        unplaced.extend(rest.map(|rest| (hash, rest)));
        let rest = rest.map(|rest| record::write(&rest));
        course.booked_msat -= signed(msat);
        let number = paths.0;
        let slot = (number % PATHS_MAX).to_be_bytes();
        self.store.write([
            (key(channel), Some(record::write(course))),
            (
                [PATHS, &slot].concat(),
                Some(record::write(&(number, part))),
            ),
            ([UNPLACED, &hash].concat(), rest),
        ]);
        paths.0 += 1;
        paths.1.push_back(part);
        if paths.1.len() > usize::try_from(PATHS_MAX).unwrap_or(usize::MAX) {
            paths.1.pop_front();
        }
    }

    /// What of payments that arrived before this height left by no channel that is known: by one that was closed meanwhile.
    fn unplaced_by(&self, height: u32) -> Vec<([u8; 32], u64)> {
        let unplaced = self.unplaced();
        let before = unplaced.iter().filter(|(_, (_, since))| *since <= height);
        before.map(|(hash, (msat, _))| (*hash, *msat)).collect()
    }

    /// All of a channel is told, with what was unplaced by its closing.
    fn end(&self, channel: &[u8; 32], height: u32) {
        let mut courses = self.lock();
        let Some(course) = courses.get_mut(channel) else {
            return;
        };
        course.has_ended = true;
        let mut changes = vec![(key(channel), Some(record::write(course)))];
        for (hash, _) in self.unplaced_by(height) {
            self.unplaced().remove(&hash);
            changes.push(([UNPLACED, &hash].concat(), None));
        }
        self.store.write(changes);
        self.ripe().remove(channel);
    }

    /// What passed through from one channel to another: the one has it now, the other has it no more.
    pub(crate) fn forwarded(&self, from: ChannelId, came_msat: u64, to: ChannelId, went_msat: u64) {
        self.change(from, |course| course.booked_msat += signed(came_msat));
        self.change(to, |course| course.booked_msat -= signed(went_msat));
    }

    pub(crate) fn round(&self) {
        self.rounds.fetch_add(1, Ordering::SeqCst);
    }

    /// Forgets what is told and is in no monitor any more.
    pub(crate) fn forget_all_but(&self, monitors: &BTreeSet<[u8; 32]>) {
        let mut forgotten = Vec::new();
        self.lock().retain(|id, course| {
            let stays = !course.has_ended || monitors.contains(id);
            if !stays {
                forgotten.push((key(id), None));
            }
            stays
        });
        if !forgotten.is_empty() {
            self.store.write(forgotten);
        }
    }

    /// Whether there may be news: at another height, or when something was about to be told.
    fn is_due(&self, tip: u32) -> bool {
        let is_waiting = !self.ripe().is_empty();
        self.looked_at.load(Ordering::SeqCst) != tip || is_waiting
    }

    fn ripe(&self) -> MutexGuard<'_, BTreeMap<[u8; 32], u64>> {
        self.ripe
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    fn change(&self, channel: ChannelId, change: impl FnOnce(&mut Course)) {
        let mut courses = self.lock();
        let Some(course) = courses.get_mut(&channel.0) else {
            return;
        };
        let before = course.clone();
        change(course);
        if *course != before {
            self.store.put(key(&channel.0), record::write(course));
        }
    }

    fn belonging(&self) -> impl Fn(&Script) -> Belonging + '_ {
        move |script: &Script| self.wallet.belonging(script)
    }

    /// What is new of one channel at this height, with nothing said twice; and its end, if no more came of it than lies deep in
    /// the chain now.
    fn news(&self, id: &[u8; 32], tip: u32) -> (Vec<News>, Option<News>) {
        let courses = self.lock();
        let nothing = (Vec::new(), None);
        let Some(course) = courses.get(id) else {
            return nothing;
        };
        let Some(closing) = course.closing() else {
            return nothing;
        };
        let belonging = self.belonging();
        let mut worths: BTreeMap<OutPoint, (u64, [u8; 32])> = BTreeMap::new();
        for (other, course) in courses.iter() {
            for (at, sat) in course.watched(&belonging) {
                worths.entry(at).or_insert((sat, *other));
            }
        }
        let mut news = Vec::new();
        let mut left_sat = 0;
        let mut is_deep = true;
        for step in course.steps() {
            if course
                .splice()
                .is_some_and(|s| s.txid == step.txid.to_byte_array())
            {
                continue;
            }
            is_deep &= step.height + DEEP <= tip + 1;
            let worth = |at: &OutPoint| worths.get(at).map(|(sat, of)| (*sat, of == id));
            let first = spent_courses(&step, &worths).into_iter().next();
            let effect = course::effect(
                &step,
                step.txid == closing.txid,
                first == Some(*id),
                &worth,
                &|alone: &Transaction| self.wallet.spent_sat(alone),
                &belonging,
            );
            left_sat += effect.left_sat;
            let is_told = course.told.contains(&step.txid.to_byte_array());
            if let Some(fee_sat) = effect.fee_sat.filter(|_| !is_told)
                && step.height + DEEP <= tip + 1
            {
                news.push(News::Fee(step.txid, fee_sat));
            }
        }
        let unplaced = self.unplaced_by(closing.height).into_iter();
        let unplaced_msat: u64 = unplaced.map(|(_, msat)| msat).sum();
        let booked_msat = course.booked_msat_at(&closing) - signed(unplaced_msat);
        let end = News::End {
            cost_msat: booked_msat - left_sat * 1_000,
            height: closing.height,
        };
        (news, is_deep.then_some(end))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<[u8; 32], Course>> {
        self.courses
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

/// The courses that a transaction spends from.
fn spent_courses(step: &Step, worths: &BTreeMap<OutPoint, (u64, [u8; 32])>) -> BTreeSet<[u8; 32]> {
    let inputs = step.transaction.input.iter();
    inputs
        .filter_map(|input| Some(worths.get(&input.previous_output)?.1))
        .collect()
}

/// As the [outbox](super::outbox), it sees a block before the channel manager does.
impl Listen for Closings {
    fn filtered_block_connected(&self, _header: &Header, data: &TransactionData, height: u32) {
        let belonging = self.belonging();
        let mut courses = self.lock();
        let mut changes: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for (id, course) in courses.iter_mut().filter(|(_, course)| !course.has_ended) {
            let mut watched = places(course, &belonging);
            for (_, transaction) in data {
                let mut inputs = transaction.input.iter();
                if inputs.any(|input| watched.contains(&input.previous_output)) {
                    course.see(transaction, height);
                    watched = places(course, &belonging);
                    changes.insert(key(id), record::write(course));
                }
            }
        }
        write_all(&self.store, changes);
    }

    fn blocks_disconnected(&self, fork_point: BestBlock) {
        let mut changes = BTreeMap::new();
        for (id, course) in self.lock().iter_mut() {
            if course.fall_back(fork_point.height) {
                changes.insert(key(id), record::write(course));
            }
        }
        write_all(&self.store, changes);
        self.ripe().clear();
    }
}

fn write_all(store: &Store, changes: BTreeMap<Vec<u8>, Vec<u8>>) {
    if !changes.is_empty() {
        store.write(
            changes
                .into_iter()
                .map(|(key, value): Entry| (key, Some(value))),
        );
    }
}

fn places(course: &Course, belonging: &impl Fn(&Script) -> Belonging) -> BTreeSet<OutPoint> {
    let watched = course.watched(belonging).into_iter();
    watched.map(|(at, _)| at).collect()
}

impl Inner {
    /// Tells what is new of closed channels. It comes after the channels' events, so that a course is not ended before a
    /// payment that it held has been counted. Says whether to look again soon.
    pub(crate) async fn tell_closings(&self) -> bool {
        let tip = self.channels.current_best_block().height;
        if !self.closings.is_due(tip) {
            return false;
        }
        let channels = self.channels.list_channels();
        let open: BTreeSet<_> = channels.iter().map(|c| c.channel_id.0).collect();
        let closed: Vec<_> = {
            let courses = self.closings.lock();
            let all = courses
                .iter()
                .filter(|(id, course)| !course.has_ended && !open.contains(*id));
            all.map(|(id, _)| *id).collect()
        };
        for id in closed {
            let Ok(Some(channel)) = self.number_of(&ChannelId(id)) else {
                continue;
            };
            let (mut news, end) = self.closings.news(&id, tip);
            let end = end.filter(|_| self.is_resolved(id, tip));
            news.extend(end);
            for news in news {
                if self.tell_news(id, channel, news).await.is_err() {
                    return true;
                }
            }
        }
        self.closings.looked_at.store(tip, Ordering::SeqCst);
        !self.closings.ripe().is_empty()
    }

    async fn tell_news(
        &self,
        id: [u8; 32],
        channel: ChannelNumber,
        news: News,
    ) -> Result<(), super::payment::Unheard> {
        let observation = match news {
            News::Fee(txid, fee_sat) => Observation::ClosingPaid {
                channel,
                txid: txid.to_byte_array(),
                fee_sat,
            },
            News::End { cost_msat, .. } => Observation::ChannelReturned {
                channel,
                cost_msat: u64::try_from(cost_msat).unwrap_or(0),
                gain_msat: u64::try_from(-cost_msat).unwrap_or(0),
            },
        };
        self.tell(observation).await?;
        match news {
            News::Fee(txid, _) => self.closings.change(ChannelId(id), |course| {
                course.told.push(txid.to_byte_array());
            }),
            News::End { height, .. } => self.closings.end(&id, height),
        }
        Ok(())
    }

    /// Whether nothing more comes of a closed channel: LDK has nothing to claim, all that it claimed is swept, and both its
    /// event queues were empty since that was first seen.
    fn is_resolved(&self, id: [u8; 32], tip: u32) -> bool {
        let channel = ChannelId(id);
        let has_claims = self
            .monitors
            .get_monitor(channel)
            .is_ok_and(|monitor| !monitor.get_claimable_balances().is_empty());
        let is_swept = self
            .sweeper
            .tracked_spendable_outputs()
            .iter()
            .filter(|output| output.channel_id == Some(channel))
            .all(|output| match &output.status {
                OutputSpendStatus::PendingThresholdConfirmations {
                    confirmation_height,
                    ..
                } => confirmation_height + DEEP <= tip + 1,
                OutputSpendStatus::PendingInitialBroadcast { .. }
                | OutputSpendStatus::PendingFirstConfirmation { .. } => false,
            });
        let mut ripe = self.closings.ripe();
        if has_claims || !is_swept {
            ripe.remove(&id);
            return false;
        }
        let now = self.closings.rounds.load(Ordering::SeqCst);
        let since = *ripe.entry(id).or_insert(now);
        now >= since + 2
    }
}

fn key(channel: &[u8; 32]) -> Vec<u8> {
    [COURSES, channel].concat()
}

fn signed(unsigned: u64) -> i64 {
    i64::try_from(unsigned).unwrap_or(i64::MAX)
}
