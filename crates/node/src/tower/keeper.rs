//! The one task that knows what is guarded and what is under way. It judges nothing itself: `watch_step` does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_chain_evm::{Account, FastVerifier, Vault};
use forebay_channel::vault::{SignedVoucher, VaultRequest};
use forebay_channel::{
    Address, GuardedLane, PeerMessage, Signature, Step, Verified, Voucher, WatchPolicy, WatchStep,
    watch_step, watched,
};
use forebay_quantity::{Amount, Bps, ChannelSerial, EffectId, Timestamp};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::chain::{self, Outcome, Reading};
use super::kept::{Kept, PrincipalId, Vouchers};
use super::status::Status;
use crate::witness::Heads;

/// Inputs that wait; those who send wait when it is full.
pub(super) const INPUTS_MAX: usize = 1_024;
/// Inputs that share one sync.
const BATCH_MAX: usize = 256;
/// Vouchers that wait for the first reading of their channel, in all.
const WAITING_MAX: usize = 10_000;
/// Readings under way at a time: what a node answers without being flooded.
const READINGS_MAX: usize = 16;
/// Two transactions for one lane: one under way, and one for a voucher that came after it.
const UNDER_WAY_PER_LANE_MAX: usize = 2;
/// All channels are read again this often, whatever the chain was heard to say.
const READ_ALL_EVERY: Duration = Duration::from_secs(600);
/// After a transaction that did nothing, or a reading that failed, the lane is looked at again this much later.
const RETRY: Duration = Duration::from_secs(10);

/// A vault on a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct VaultKey {
    pub(super) chain_id: u64,
    pub(super) vault: Address,
}

/// What a connection gets for a voucher: what is kept now, and why it was refused.
pub(super) type Answer = oneshot::Sender<(Amount, Option<String>)>;

/// What the keeper hears.
pub(super) enum Input {
    /// A principal's voucher.
    Guard {
        principal: PrincipalId,
        lane: GuardedLane,
        amount: Amount,
        signature: [u8; 64],
        answer: Answer,
    },
    /// A pool asks its witness, or tells it.
    Witness {
        message: PeerMessage,
        answer: oneshot::Sender<Result<PeerMessage, String>>,
    },
    /// A channel of the vault moved.
    Moved(VaultKey, ChannelSerial),
    /// Everything of the vault has to be read.
    ReadAll(VaultKey),
    /// The chain's clock.
    Head(VaultKey, Timestamp),
    /// A reading came back.
    Read(VaultKey, ChannelSerial, Result<Box<Reading>, String>),
    /// A transaction ended.
    Ended(u64, EffectId, Outcome),
    /// Stop.
    Stop,
}

/// A vault that gas is spent for.
pub(super) struct Watched {
    pub(super) vault: Arc<Vault>,
    pub(super) policy: WatchPolicy,
    pub(super) now: Timestamp,
}

struct Waiting {
    principal: PrincipalId,
    lane: GuardedLane,
    amount: Amount,
    signature: [u8; 64],
    answer: Answer,
}

#[derive(Default)]
struct Looked {
    reading: Option<Box<Reading>>,
    is_asked: bool,
    /// It moved while it was read.
    is_stale: bool,
    waiting: Vec<Waiting>,
}

struct UnderWay {
    /// `None` for one that an earlier process began.
    of: Option<(GuardedLane, PrincipalId)>,
    step: Step,
    urgency: Bps,
}

type ChannelKey = (VaultKey, ChannelSerial);

/// The keeper.
pub(super) struct Keeper {
    vouchers: Vouchers,
    heads: Heads,
    accounts: BTreeMap<u64, Arc<Account>>,
    vaults: BTreeMap<VaultKey, Watched>,
    channels: BTreeMap<ChannelKey, Looked>,
    due: BTreeSet<ChannelKey>,
    readings: usize,
    waiting: usize,
    under_way: BTreeMap<(u64, EffectId), UnderWay>,
    retry_at: BTreeMap<(GuardedLane, PrincipalId), Instant>,
    read_all_at: Instant,
    /// Something has changed that may ask for a transaction.
    must_look: bool,
    answers: Vec<(Answer, Amount, Option<String>)>,
    inputs: mpsc::Sender<Input>,
    status: Status,
}

impl Keeper {
    pub(super) fn new(
        (vouchers, heads): (Vouchers, Heads),
        accounts: BTreeMap<u64, Arc<Account>>,
        vaults: BTreeMap<VaultKey, Watched>,
        inputs: mpsc::Sender<Input>,
        status: Status,
    ) -> Self {
        Self {
            vouchers,
            heads,
            accounts,
            vaults,
            channels: BTreeMap::new(),
            due: BTreeSet::new(),
            readings: 0,
            waiting: 0,
            under_way: BTreeMap::new(),
            retry_at: BTreeMap::new(),
            read_all_at: Instant::now() + READ_ALL_EVERY,
            must_look: true,
            answers: Vec::new(),
            inputs,
            status,
        }
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// When the disk fails: what a principal counts on would not be there after a restart.
    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) -> std::io::Result<()> {
        self.resume().await;
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut look = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                _ = inputs.recv_many(&mut batch, BATCH_MAX) => {}
                _ = look.tick() => self.must_look = true,
            }
            for input in batch.drain(..) {
                if matches!(input, Input::Stop) {
                    return Ok(());
                }
                self.take(input).await;
            }
            self.vouchers.sync()?;
            for (answer, amount, refused) in self.answers.drain(..) {
                // Whoever asked may have left; it asks again on its next link.
                let _ = answer.send((amount, refused));
            }
            if Instant::now() >= self.read_all_at {
                self.read_all_at = Instant::now() + READ_ALL_EVERY;
                let vaults: Vec<_> = self.vaults.keys().copied().collect();
                vaults.into_iter().for_each(|vault| self.read_all(vault));
            }
            if std::mem::take(&mut self.must_look) {
                self.act();
            }
            self.start_readings();
            self.status.write(&self.vouchers, self.under_way.len());
        }
    }

    /// Sees to their end the transactions that an earlier process began, whether or not they are still needed: their
    /// nonces have to be used before any other's.
    async fn resume(&mut self) {
        let accounts = self.accounts.clone();
        for (chain_id, account) in accounts {
            let vault = self.vaults.iter().find(|(key, _)| key.chain_id == chain_id);
            let Some(vault) = vault.map(|(_, watched)| Arc::clone(&watched.vault)) else {
                continue;
            };
            for effect in account.effects_under_way().await {
                info!(
                    effect = effect.value(),
                    "a transaction of the process before is seen to its end"
                );
                let begun = UnderWay {
                    of: None,
                    step: Step::Nothing,
                    urgency: Bps::new(0),
                };
                self.under_way.insert((chain_id, effect), begun);
                self.carry_out(chain_id, Arc::clone(&vault), effect, None);
            }
        }
    }

    async fn take(&mut self, input: Input) {
        match input {
            Input::Guard {
                principal,
                lane,
                amount,
                signature,
                answer,
            } => self.guard(Waiting {
                principal,
                lane,
                amount,
                signature,
                answer,
            }),
            Input::Witness { message, answer } => {
                let known = self.heads.answer(&message);
                let known = known.unwrap_or_else(|| Err("this is not for a witness".into()));
                // Whoever asked may have left.
                let _ = answer.send(known);
            }
            Input::Moved(vault, serial) => {
                if self.channels.contains_key(&(vault, serial)) {
                    self.due.insert((vault, serial));
                }
            }
            Input::ReadAll(vault) => self.read_all(vault),
            Input::Head(vault, now) => {
                if let Some(watched) = self.vaults.get_mut(&vault) {
                    watched.now = watched.now.max(now);
                    self.must_look = true;
                }
            }
            Input::Read(vault, serial, reading) => self.read((vault, serial), reading),
            Input::Ended(chain_id, effect, outcome) => self.ended(chain_id, effect, outcome).await,
            Input::Stop => {}
        }
    }

    // ---- vouchers

    fn guard(&mut self, voucher: Waiting) {
        let key = channel_key(&voucher.lane);
        if !self.vaults.contains_key(&key.0) {
            return self.answer(
                voucher,
                Some("this watchtower does not watch that vault".into()),
            );
        }
        let looked = self.channels.entry(key).or_default();
        if looked.reading.is_some() {
            return self.judge(voucher);
        }
        if self.waiting >= WAITING_MAX {
            return self.answer(voucher, Some("too many vouchers wait: try again".into()));
        }
        self.waiting += 1;
        looked.waiting.push(voucher);
        self.due.insert(key);
    }

    fn answer(&mut self, voucher: Waiting, refused: Option<String>) {
        let kept = self.vouchers.amount(&voucher.lane, voucher.principal);
        self.answers.push((voucher.answer, kept, refused));
    }

    /// Keeps a voucher that is genuine, by the chain's own facts, and above the one before it.
    fn judge(&mut self, voucher: Waiting) {
        let refused = self.keep(&voucher).err();
        self.answer(voucher, refused);
    }

    fn keep(&mut self, voucher: &Waiting) -> Result<(), String> {
        let Waiting {
            principal,
            lane,
            amount,
            signature,
            ..
        } = *voucher;
        if amount <= self.vouchers.amount(&lane, principal) {
            // Told again, or out of order: what is kept is at least as good.
            return Ok(());
        }
        let key = channel_key(&lane);
        let reading = self.channels.get(&key).and_then(|it| it.reading.as_ref());
        let reading = reading.ok_or("the channel was not read yet: try again")?;
        if !reading.newest.opened || reading.newest.closed {
            return Err("no such channel is open".into());
        }
        let domain = self.vaults[&key.0].vault.domain();
        let message = Voucher {
            serial: lane.serial,
            lane: lane.lane,
            amount,
        };
        let signature = Signature::new(signature);
        let payers = [&reading.newest, &reading.last_final];
        let mut payers = payers
            .map(|standing| standing.lane(lane.lane).payer)
            .into_iter();
        let payer = payers
            .find(|payer| Verified::by(&FastVerifier, domain, message, signature, *payer).is_ok());
        let payer = payer.ok_or("it is not signed by who pays on that lane")?;
        let kept = Kept {
            principal,
            lane,
            amount,
            signature: signature.0,
            payer,
        };
        self.vouchers.keep(kept).map_err(|fault| {
            warn!("a voucher is not kept: {fault}");
            fault.to_string()
        })
    }

    // ---- readings

    fn read_all(&mut self, vault: VaultKey) {
        let kept = self.vouchers.all().map(|kept| channel_key(&kept.lane));
        let kept: BTreeSet<_> = kept.filter(|(of, _)| *of == vault).collect();
        for key in kept {
            self.channels.entry(key).or_default();
            self.due.insert(key);
        }
    }

    fn start_readings(&mut self) {
        while self.readings < READINGS_MAX {
            let Some(key) = self.due.pop_first() else {
                return;
            };
            let Some(watched) = self.vaults.get(&key.0) else {
                continue;
            };
            let looked = self.channels.entry(key).or_default();
            if looked.is_asked {
                looked.is_stale = true;
                continue;
            }
            looked.is_asked = true;
            self.readings += 1;
            let (vault, inputs) = (Arc::clone(&watched.vault), self.inputs.clone());
            let (of, serial) = key;
            let kept = self.vouchers.of_channel(of.chain_id, of.vault, serial);
            let signers = kept.map(|kept| (kept.lane.lane, kept.payer)).collect();
            tokio::spawn(async move {
                let reading = chain::read(&vault, serial, signers).await;
                let reading = reading.map(Box::new).map_err(|fault| fault.to_string());
                // Without the keeper the process is ending.
                let _ = inputs.send(Input::Read(of, serial, reading)).await;
            });
        }
    }

    fn read(&mut self, key: ChannelKey, reading: Result<Box<Reading>, String>) {
        self.readings -= 1;
        let Some(looked) = self.channels.get_mut(&key) else {
            return;
        };
        looked.is_asked = false;
        if std::mem::take(&mut looked.is_stale) {
            self.due.insert(key);
        }
        let waiting = std::mem::take(&mut looked.waiting);
        self.waiting -= waiting.len();
        match reading {
            Ok(reading) => {
                let is_over = reading.last_final.closed;
                looked.reading = Some(reading);
                waiting.into_iter().for_each(|voucher| self.judge(voucher));
                self.must_look = true;
                if is_over || !self.is_kept(key) {
                    self.forget(key);
                }
            }
            Err(why) => {
                warn!(
                    serial = key.1.value(),
                    "a channel cannot be read now: {why}"
                );
                for voucher in waiting {
                    self.answer(
                        voucher,
                        Some("the chain cannot be asked now: try again".into()),
                    );
                }
                if !self.is_kept(key) {
                    return self.forget(key);
                }
                let inputs = self.inputs.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(RETRY).await;
                    // Without the keeper the process is ending.
                    let _ = inputs.send(Input::Moved(key.0, key.1)).await;
                });
            }
        }
    }

    /// Whether any voucher of the channel is kept: only such channels are remembered [I12].
    fn is_kept(&self, key: ChannelKey) -> bool {
        let mut kept = self.vouchers.of_channel(key.0.chain_id, key.0.vault, key.1);
        kept.next().is_some()
    }

    /// The channel is closed for good, so that nothing of it can be redeemed and its serial never comes again; or
    /// nothing of it was worth keeping.
    fn forget(&mut self, key: ChannelKey) {
        let reading = self.channels.remove(&key).and_then(|it| it.reading);
        let kept = self.vouchers.of_channel(key.0.chain_id, key.0.vault, key.1);
        let kept: Vec<Kept> = kept.copied().collect();
        for voucher in kept {
            let paid = reading.as_ref().map_or(Amount::ZERO, |it| {
                it.last_final.lane(voucher.lane.lane).paid
            });
            info!(
                serial = key.1.value(),
                %paid,
                held = %voucher.amount,
                "a channel is closed, and its voucher is let go"
            );
            if let Err(fault) = self.vouchers.drop(voucher.lane, voucher.principal) {
                error!("a slot could not be freed: {fault}");
            }
            self.retry_at.remove(&(voucher.lane, voucher.principal));
        }
    }

    // ---- acting

    fn act(&mut self) {
        let mut wanted = Vec::new();
        let mut urgencies: BTreeMap<u64, Bps> = BTreeMap::new();
        for kept in self.vouchers.all() {
            let Some((urgency, step)) = self.wanted(kept) else {
                continue;
            };
            let urgent = urgencies.entry(kept.lane.chain_id).or_insert(Bps::new(0));
            *urgent = (*urgent).max(urgency);
            wanted.extend(step.map(|step| (*kept, step, urgency)));
        }
        for (&chain_id, account) in &self.accounts {
            let urgency = urgencies.get(&chain_id).copied().unwrap_or(Bps::new(0));
            account.set_urgency(urgency);
        }
        for (kept, step, urgency) in wanted {
            self.begin(&kept, step, urgency);
        }
    }

    /// How urgent the lane is, and what is to be begun that is not under way.
    fn wanted(&self, kept: &Kept) -> Option<(Bps, Option<Step>)> {
        let key = channel_key(&kept.lane);
        let reading = self.channels.get(&key)?.reading.as_ref()?;
        let watched_vault = self.vaults.get(&key.0)?;
        let former = reading
            .former
            .iter()
            .find(|(lane, signer, _)| *lane == kept.lane.lane && *signer == kept.payer);
        let held = former.map_or(kept.amount, |(_, _, ceiling)| kept.amount.min(*ceiling));
        let GuardedLane { serial, lane, .. } = kept.lane;
        let mut channel = watched(serial, lane, &reading.last_final, &reading.newest, held);
        let (now, policy) = (watched_vault.now, &watched_vault.policy);
        let WatchStep::Act { step, urgency } = watch_step(&channel, now, policy) else {
            return None;
        };
        let mine = (kept.lane, kept.principal);
        let under_way = self.under_way.values().filter(|it| it.of == Some(mine));
        let mut count = 0;
        for it in under_way {
            channel.asked(it.step);
            count += 1;
        }
        let waits = self
            .retry_at
            .get(&mine)
            .is_some_and(|at| Instant::now() < *at);
        let more = match watch_step(&channel, now, policy) {
            WatchStep::Act { step: next, .. } => next == step,
            WatchStep::Nothing | WatchStep::Wait { .. } => false,
        };
        let begin = more && !waits && count < UNDER_WAY_PER_LANE_MAX;
        Some((urgency, begin.then_some(step)))
    }

    fn begin(&mut self, kept: &Kept, step: Step, urgency: Bps) {
        let GuardedLane {
            chain_id,
            serial,
            lane,
            ..
        } = kept.lane;
        let request = match step {
            Step::Nothing | Step::Wait { .. } => return,
            // The amount that was signed, of which the vault pays what it can.
            Step::Redeem { .. } => VaultRequest::Redeem(vec![SignedVoucher {
                voucher: Voucher {
                    serial,
                    lane,
                    amount: kept.amount,
                },
                signature: Signature::new(kept.signature),
            }]),
            Step::FinishClose => VaultRequest::FinishClose(serial),
            Step::FinishLowering => VaultRequest::FinishLowering {
                serial,
                lane: lane.other(),
            },
        };
        let effect = effect_of(&kept.lane, &request);
        if self.under_way.contains_key(&(chain_id, effect)) {
            return;
        }
        let Some(watched) = self.vaults.get(&channel_key(&kept.lane).0) else {
            return;
        };
        let vault = Arc::clone(&watched.vault);
        warn!(
            serial = serial.value(),
            ?step,
            urgency_bps = urgency.value(),
            "the principal has not acted: acting for it"
        );
        self.status.acted(serial, step, urgency);
        let begun = UnderWay {
            of: Some((kept.lane, kept.principal)),
            step,
            urgency,
        };
        self.under_way.insert((chain_id, effect), begun);
        self.carry_out(chain_id, vault, effect, Some(request));
    }

    fn carry_out(
        &self,
        chain_id: u64,
        vault: Arc<Vault>,
        effect: EffectId,
        request: Option<VaultRequest>,
    ) {
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let outcome = chain::carry_out(vault, effect, request).await;
            // Without the keeper the process is ending, and the next one sees to it.
            let _ = inputs.send(Input::Ended(chain_id, effect, outcome)).await;
        });
    }

    async fn ended(&mut self, chain_id: u64, effect: EffectId, outcome: Outcome) {
        let ended = self.under_way.remove(&(chain_id, effect));
        if let Some(account) = self.accounts.get(&chain_id)
            && let Err(fault) = account.forget(effect).await
        {
            warn!("the record of sent transactions keeps one that is done: {fault}");
        }
        let Some(UnderWay {
            of: Some(mine),
            urgency,
            step,
        }) = ended
        else {
            return;
        };
        info!(
            serial = mine.0.serial.value(),
            ?step,
            ?outcome,
            begun_at_bps = urgency.value(),
            "a transaction has ended"
        );
        if outcome == Outcome::Void {
            self.retry_at.insert(mine, Instant::now() + RETRY);
        }
        // Nothing is begun on what was read before.
        let key = channel_key(&mine.0);
        if let Some(looked) = self.channels.get_mut(&key) {
            looked.reading = None;
            looked.is_stale = looked.is_asked;
        }
        self.due.insert(key);
    }
}

fn channel_key(lane: &GuardedLane) -> ChannelKey {
    let key = VaultKey {
        chain_id: lane.chain_id,
        vault: lane.vault,
    };
    (key, lane.serial)
}

/// The same request has the same id in every start, so that what a killed process began is gone on with.
fn effect_of(lane: &GuardedLane, request: &VaultRequest) -> EffectId {
    let bytes = borsh::to_vec(&("forebay watch", lane, request)).expect("memory takes every byte");
    let hash = Sha256::digest(bytes);
    EffectId::new(u64::from_le_bytes(
        *hash.first_chunk().expect("a hash has eight bytes"),
    ))
}
