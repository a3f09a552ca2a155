//! What the peer's side decides: commands in, facts and chores out. No clock, socket, key or disk.
//!
//! The shell makes the facts durable before it carries out a single chore [I7]; the signature of a voucher is such a
//! chore, so none exists that the disk does not know of.

use std::collections::{BTreeMap, VecDeque};

use forebay_channel::vault::{Head, SignedVoucher, VaultFact, VaultObservation, VaultRequest};
use forebay_channel::{
    Address, ChannelPolicy, Domain, Finality, GuardedLane, LaneId, PeerKeys, PeerMessage, Phase,
    RESUME_MAX, Signature, Step, Terms, Verified, Voucher,
};
use forebay_ilp::{ErrorCode, FulfillView, PrepareView};
use forebay_quantity::{Amount, ChannelSerial, EffectId, Milliseconds, Timestamp};

use super::event::Event;
use super::reply::{fulfill, reject};
use super::state::{State, is_notice};

/// Prepares of our software that may wait for the pool to confirm a voucher; what one STREAM window needs.
const WAITING_MAX: usize = 1_024;
/// Packets in flight each way: what one resume can ask for.
const IN_FLIGHT_MAX: usize = RESUME_MAX;
/// No packet is remembered longer: twice what any pool holds one.
const EXPIRY_MAX_MS: u64 = 120_000;
/// An answer is kept this long after its packet expired, for a pool whose clock is behind.
const ANSWER_KEPT_MS: u64 = 5_000;
/// Unanswered prepares are asked for again this long after they expired, and then as often.
const ASK_AGAIN_MS: u64 = 5_000;
/// A voucher that the pool has not confirmed, and terms that name no channel yet, are sent and asked for again this often.
const SAY_AGAIN_MS: u64 = 2_000;
/// A fulfill of which only the preimage came back waits this long for its data: the pool hears it again once the payee
/// is back, and an ILP sender that reads no data in a fulfill takes it for neither paid nor failed.
const BARE_WAIT_MS: u64 = 5_000;
/// Before its expiry by this much it is passed on without.
const BARE_MARGIN_MS: u64 = 1_000;
/// The pool's vouchers secure nothing while the chain was not heard of for longer: with the answer margin well within any
/// close period, so that a notice nobody heard of yet can still be answered.
const UNHEARD_MAX: Milliseconds = Milliseconds::from_seconds(2 * 3_600);
/// A failed transaction is tried again after this long.
const RETRY_MS: u64 = 30_000;

/// What the peer wants, from its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Signs our vouchers.
    pub signer: Address,
    /// Is paid by the pool's vouchers.
    pub payout: Address,
    /// The chain that the vault must be on.
    pub chain_id: u64,
    /// The vault that the pool must name.
    pub vault: Address,
    /// Decimal places of packet amounts that the pool must name.
    pub asset_scale: u8,
    /// Decimal places of the vault's token, as the chain says.
    pub chain_scale: u8,
    /// What the pool may owe us unsecured, fulfilled and pending, in packet units.
    pub credit_to_pool: Amount,
    /// How far ahead of our packets we pay, in packet units.
    pub prepay: Amount,
    /// What we deposit once the channel is open, in the chain's base units; zero for an account that only receives.
    pub deposit: Amount,
    /// When the pool's vouchers are redeemed.
    pub channel: ChannelPolicy,
}

/// What happened outside.
#[derive(Debug, Clone)]
pub enum Command<'a> {
    /// The link to the pool is up and authenticated.
    PoolUp,
    /// The link to the pool is down.
    PoolDown,
    /// Our software's link is up.
    SoftwareUp,
    /// Our software's link is down.
    SoftwareDown,
    /// Our software sends a prepare.
    SoftwarePrepare(u32, &'a [u8], PrepareView<'a>),
    /// Our software answers the pool's prepare with a fulfill.
    SoftwareFulfill(u32, &'a [u8], FulfillView<'a>),
    /// Our software answers the pool's prepare with a reject.
    SoftwareReject(u32, &'a [u8]),
    /// The pool sends a prepare.
    PoolPrepare(u32, &'a [u8], PrepareView<'a>),
    /// The pool answers our prepare with a fulfill.
    PoolFulfill(u32, &'a [u8], FulfillView<'a>),
    /// The pool answers our prepare with a reject.
    PoolReject(u32, &'a [u8]),
    /// The pool says something of its own.
    PoolSays(PeerMessage),
    /// The vault reported.
    Chain(VaultObservation),
    /// The outcome of a transaction.
    Outcome(EffectId, bool),
    /// Redeem whatever can be redeemed, whatever the threshold.
    RedeemNow,
    /// An operator has looked at the vault after a deep reorganisation, and goes on.
    SettleReorg,
    /// Time passed.
    Tick,
}

/// Something to do, once the facts are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send a prepare to the pool.
    Forward(u32, Vec<u8>),
    /// Send a prepare to our software.
    Deliver(u32, Vec<u8>),
    /// Answer the pool.
    AnswerPool(u32, Vec<u8>),
    /// Answer our software.
    AnswerSoftware(u32, Vec<u8>),
    /// Sign our lane's voucher and send it to the pool.
    SignVoucher(ChannelSerial, Amount),
    /// Name our keys to the pool, with the proof that we hold them.
    SayHello(PeerKeys),
    /// Say something to the pool.
    Say(PeerMessage),
    /// Carry out a transaction, once.
    Transact(EffectId, VaultRequest),
    /// Tell the operator.
    Alarm(String),
}

/// A prepare of our software that waits until the pool has confirmed the voucher that covers it.
struct Waiting {
    software_request: u32,
    packet: Vec<u8>,
    amount: u64,
    expires_at: Timestamp,
    condition: [u8; 32],
}

/// The peer's side.
pub struct Core {
    policy: Policy,
    domain: Domain,
    state: State,
    pool_up: bool,
    software_up: bool,
    /// The pool's terms were taken on this link.
    agreed: bool,
    /// The channel of which the pool was told on this link what we hold.
    told_held: Option<ChannelSerial>,
    /// What the pool says it holds of ours, cumulative, in the chain's base units.
    held: Amount,
    credit: Amount,
    waiting: VecDeque<Waiting>,
    asked: Vec<u32>,
    asked_at: Timestamp,
    /// Requests known to be fulfilled whose data may still come: preimage, and until when they wait.
    bare: BTreeMap<u32, ([u8; 32], Timestamp)>,
    said_at: Timestamp,
    retry_at: Timestamp,
    /// The chain's clock.
    chain_now: Timestamp,
    events: Vec<Event>,
    effects: Vec<Effect>,
}

impl Core {
    /// Takes up where the facts left off.
    #[must_use]
    pub fn new(policy: Policy, state: State) -> Self {
        Self {
            domain: Domain::new(policy.chain_id, policy.vault),
            policy,
            state,
            pool_up: false,
            software_up: false,
            agreed: false,
            told_held: None,
            held: Amount::ZERO,
            credit: Amount::ZERO,
            waiting: VecDeque::new(),
            asked: Vec::new(),
            asked_at: Timestamp(0),
            bare: BTreeMap::new(),
            said_at: Timestamp(0),
            retry_at: Timestamp(0),
            chain_now: Timestamp(0),
            events: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// What it knows.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether the pool is there and agreed with.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.agreed
    }

    /// Transactions that were asked for and whose outcome is unknown, to be asked for again after a restart.
    pub fn outstanding(&self) -> impl Iterator<Item = Effect> + '_ {
        self.state
            .demands
            .iter()
            .map(|(id, request)| Effect::Transact(*id, request.clone()))
    }

    /// The pool's best voucher, while it may be redeemed: its lane, amount and signature.
    #[must_use]
    pub fn held(&self) -> BTreeMap<GuardedLane, (Amount, [u8; 64])> {
        let channel = self.state.channel.as_ref();
        let channel = channel.filter(|channel| channel.phase() != Phase::Closed);
        let held = channel.filter(|channel| !channel.incoming.promised().is_zero());
        let guarded = held.map(|channel| {
            let lane = GuardedLane {
                chain_id: self.policy.chain_id,
                vault: self.policy.vault,
                serial: channel.serial(),
                lane: LaneId::Pool,
            };
            let amount = channel.incoming.promised();
            (lane, (amount, self.state.best_signature))
        });
        guarded.into_iter().collect()
    }

    /// Takes one command. Hands the facts to make durable and the chores that may follow to the caller's lists.
    pub fn handle(
        &mut self,
        now: Timestamp,
        command: Command<'_>,
        events: &mut Vec<Event>,
        effects: &mut Vec<Effect>,
    ) {
        match command {
            Command::PoolUp => self.pool_came(),
            Command::PoolDown => self.pool_went(),
            Command::SoftwareUp => self.software_up = true,
            Command::SoftwareDown => self.software_up = false,
            Command::SoftwarePrepare(request, packet, view) => {
                self.software_prepare(now, request, packet, &view)
            }
            Command::SoftwareFulfill(request, packet, view) => {
                self.software_fulfill(now, request, packet, &view)
            }
            Command::SoftwareReject(request, packet) => self.refuse_pool(request, packet.to_vec()),
            Command::PoolPrepare(request, packet, view) => {
                self.pool_prepare(now, request, packet, &view)
            }
            Command::PoolFulfill(request, packet, view) => {
                self.pool_fulfill(request, packet, &view)
            }
            // What is known to be fulfilled cannot be rejected any more.
            Command::PoolReject(request, _) if self.bare.contains_key(&request) => {}
            Command::PoolReject(request, packet) => self.sent_failed(request, packet.to_vec()),
            Command::PoolSays(message) => self.pool_says(now, message),
            Command::Chain(observation) => self.observe(observation),
            Command::Outcome(id, succeeded) => self.outcome(now, id, succeeded),
            Command::RedeemNow => self.redeem_now(),
            Command::SettleReorg => self.settle_reorg(),
            Command::Tick => self.tick(now),
        }
        self.pay_ahead(now);
        self.act_on_chain(now);
        events.append(&mut self.events);
        effects.append(&mut self.effects);
    }

    fn record(&mut self, event: Event) {
        self.state.evolve(&event);
        self.events.push(event);
    }

    fn alarm(&mut self, text: impl Into<String>) {
        self.effects.push(Effect::Alarm(text.into()));
    }

    // ---- the link to the pool

    fn pool_came(&mut self) {
        self.pool_up = true;
        self.agreed = false;
        self.told_held = None;
        self.say_hello();
    }

    fn say_hello(&mut self) {
        let Policy { signer, payout, .. } = self.policy;
        self.effects
            .push(Effect::SayHello(PeerKeys { signer, payout }));
    }

    fn pool_went(&mut self) {
        self.pool_up = false;
        self.agreed = false;
        self.asked.clear();
        for waiting in std::mem::take(&mut self.waiting) {
            self.refuse_software(
                waiting.software_request,
                ErrorCode::T01PeerUnreachable,
                "the link to the pool is down",
            );
        }
    }

    fn pool_says(&mut self, now: Timestamp, message: PeerMessage) {
        match message {
            PeerMessage::Terms(terms) => self.take_terms(now, terms),
            PeerMessage::Voucher {
                serial,
                amount,
                signature,
            } => self.take_voucher(now, serial, amount, signature),
            PeerMessage::VoucherHeld {
                serial,
                secured,
                refused,
            } => self.voucher_held(now, serial, secured, refused),
            PeerMessage::Resumed { fulfilled, pending } => self.resumed(now, &fulfilled, &pending),
            PeerMessage::Hello { .. } | PeerMessage::Resume { .. } => {
                self.alarm("the pool sent what only a peer says")
            }
            PeerMessage::Guard { .. }
            | PeerMessage::Guarded { .. }
            | PeerMessage::Held { .. }
            | PeerMessage::HeadAsked { .. }
            | PeerMessage::HeadTold(_)
            | PeerMessage::HeadKnown { .. } => {
                self.alarm("the pool sent what it does not say to a peer, or not so")
            }
        }
    }

    fn take_terms(&mut self, now: Timestamp, terms: Terms) {
        if let Some(objection) = self.objection(&terms) {
            self.agreed = false;
            return self.alarm(objection);
        }
        let first = !self.agreed;
        self.agreed = true;
        self.credit = terms.credit;
        let live = self
            .live_serial()
            .is_some_and(|serial| terms.serial == Some(serial));
        self.held = if live { terms.held } else { Amount::ZERO };
        let named = lasting(&terms);
        if self.state.terms.as_ref() != Some(&named) {
            self.record(Event::TermsNamed(Box::new(named)));
        }
        if live && self.told_held != terms.serial {
            self.tell_held();
        }
        if first {
            self.greet(now);
        }
        self.release_waiting(now);
    }

    /// Tells the pool of its own highest voucher: it signs no other before, and stops when it does not know this one.
    fn tell_held(&mut self) {
        let Some(channel) = &self.state.channel else {
            return;
        };
        let (serial, amount) = (channel.serial(), channel.incoming.promised());
        self.told_held = Some(serial);
        self.effects.push(Effect::Say(PeerMessage::Held {
            serial,
            amount,
            signature: self.state.best_signature,
        }));
    }

    /// Says again, on a new link, what may have been lost with the old one.
    fn greet(&mut self, now: Timestamp) {
        if let Some(channel) = self
            .state
            .channel
            .as_ref()
            .filter(|channel| channel.is_live())
        {
            let signed = channel.outgoing.promised();
            if signed > self.held {
                self.effects
                    .push(Effect::SignVoucher(channel.serial(), signed));
            }
        }
        let answers = self
            .state
            .answers
            .iter()
            .filter(|(_, answer)| answer.expires_at > now);
        self.effects.extend(
            answers.map(|(request, answer)| Effect::AnswerPool(*request, answer.packet.clone())),
        );
        let requests = self.state.outgoing.keys().copied().collect();
        self.ask(now, requests);
    }

    fn ask(&mut self, now: Timestamp, mut requests: Vec<u32>) {
        if requests.is_empty() {
            return;
        }
        requests.truncate(RESUME_MAX);
        self.asked.clone_from(&requests);
        self.asked_at = now;
        self.effects
            .push(Effect::Say(PeerMessage::Resume { requests }));
    }

    /// Why these terms are not for us, in words.
    fn objection(&self, terms: &Terms) -> Option<String> {
        let Policy {
            chain_id, vault, ..
        } = self.policy;
        if terms.chain_id != chain_id {
            return Some(format!(
                "the pool settles on chain {}, the configuration says {chain_id}",
                terms.chain_id
            ));
        }
        if terms.vault != vault {
            return Some(format!(
                "the pool's vault is {}, the configuration says {vault}",
                terms.vault
            ));
        }
        if let Some(block) = self.state.lost_block {
            return Some(format!(
                "the chain dropped block {block} that had been final: look at the vault, then start with --after-reorg"
            ));
        }
        if terms.chain_scale < terms.asset_scale || terms.chain_scale > 38 {
            return Some("the pool's chain scale is below its asset scale, or above 38".into());
        }
        let scales = (self.policy.asset_scale, self.policy.chain_scale);
        if (terms.asset_scale, terms.chain_scale) != scales {
            return Some(format!(
                "the pool counts packets in {} decimal places and vouchers in {}; the configuration says {} and the vault's \
                 token has {}",
                terms.asset_scale, terms.chain_scale, scales.0, scales.1
            ));
        }
        let before = self.state.terms.as_ref()?;
        if (before.asset_scale, before.chain_scale) != (terms.asset_scale, terms.chain_scale) {
            return Some(
                "the pool changed the asset's scales: the books would no longer add up".into(),
            );
        }
        let promised = self
            .state
            .channel
            .as_ref()
            .map_or(Amount::ZERO, |channel| channel.outgoing.promised());
        if terms.serial == self.live_serial() && terms.serial.is_some() && terms.held > promised {
            return Some(format!(
                "the pool holds a voucher over {} and we know of {promised} only: this data directory is older than the \
                 last one in use; put the newest back",
                terms.held
            ));
        }
        None
    }

    fn live_serial(&self) -> Option<ChannelSerial> {
        self.state
            .channel
            .as_ref()
            .filter(|channel| channel.is_live())
            .map(|channel| channel.serial())
    }

    fn resumed(&mut self, now: Timestamp, fulfilled: &[(u32, [u8; 32])], pending: &[u32]) {
        for request in std::mem::take(&mut self.asked) {
            if let Some((_, preimage)) = fulfilled.iter().find(|(id, _)| *id == request) {
                self.await_data(now, request, *preimage);
            } else if !pending.contains(&request) {
                self.sent_failed(
                    request,
                    reject(
                        ErrorCode::T00InternalError,
                        "the pool restarted and rejected it",
                    ),
                );
            }
        }
    }

    fn await_data(&mut self, now: Timestamp, request: u32, preimage: [u8; 32]) {
        let Some(sent) = self.state.outgoing.get(&request) else {
            return;
        };
        let until = Timestamp(
            now.0
                .saturating_add(BARE_WAIT_MS)
                .min(sent.expires_at.0.saturating_sub(BARE_MARGIN_MS)),
        );
        self.bare.entry(request).or_insert((preimage, until));
        self.give_up_data(now);
    }

    /// Passes on without data what has waited for it long enough.
    fn give_up_data(&mut self, now: Timestamp) {
        let due = self.bare.iter().filter(|(_, (_, until))| *until <= now);
        let due: Vec<(u32, [u8; 32])> = due
            .map(|(request, (preimage, _))| (*request, *preimage))
            .collect();
        for (request, preimage) in due {
            let view = FulfillView {
                fulfillment: &preimage,
                data: &[],
            };
            self.pool_fulfill(request, &fulfill(&preimage), &view);
        }
    }

    // ---- packets from our software to the pool

    fn software_prepare(
        &mut self,
        now: Timestamp,
        software_request: u32,
        packet: &[u8],
        view: &PrepareView<'_>,
    ) {
        if !self.agreed {
            return self.refuse_software(
                software_request,
                ErrorCode::T01PeerUnreachable,
                "the pool cannot be reached",
            );
        }
        if view.expires_at <= now {
            return self.refuse_software(
                software_request,
                ErrorCode::R00TransferTimedOut,
                "expired on arrival",
            );
        }
        if self.state.outgoing.len() + self.waiting.len() >= IN_FLIGHT_MAX
            || self.waiting.len() >= WAITING_MAX
        {
            return self.refuse_software(
                software_request,
                ErrorCode::T03ConnectorBusy,
                "too many packets in flight",
            );
        }
        let waiting = Waiting {
            software_request,
            packet: packet.to_vec(),
            amount: view.amount,
            expires_at: view.expires_at,
            condition: *view.condition,
        };
        // What waits goes first, or a stream of small packets would starve a large one.
        if view.amount == 0 || (self.waiting.is_empty() && self.is_covered(view.amount)) {
            return self.forward(waiting);
        }
        if !self.can_cover(view.amount) {
            let text = "the deposit at the pool is used up: add to it, or wait until it pays back";
            return self.refuse_software(
                software_request,
                ErrorCode::T04InsufficientLiquidity,
                text,
            );
        }
        self.waiting.push_back(waiting);
    }

    /// What our vouchers must come to once this much more is in flight, in the chain's base units.
    fn needed(&self, amount: u64) -> Option<Amount> {
        let packets = self
            .state
            .sent
            .checked_add(self.state.sent_pending)?
            .checked_add(Amount::from(amount))?;
        packets
            .saturating_sub(self.credit)
            .checked_mul(self.state.factor())
    }

    fn is_covered(&self, amount: u64) -> bool {
        self.needed(amount)
            .is_some_and(|needed| needed <= self.held)
    }

    fn can_cover(&self, amount: u64) -> bool {
        let waiting: u64 = self
            .waiting
            .iter()
            .map(|waiting| waiting.amount)
            .fold(0, u64::saturating_add);
        let usable = self.usable_ceiling();
        self.needed(amount.saturating_add(waiting))
            .is_some_and(|needed| needed <= usable)
    }

    /// Up to where we may sign: nothing unless the channel is live.
    fn usable_ceiling(&self) -> Amount {
        let live = self
            .state
            .channel
            .as_ref()
            .filter(|channel| channel.is_live());
        live.map_or(Amount::ZERO, |channel| channel.outgoing.usable_ceiling())
    }

    fn forward(&mut self, waiting: Waiting) {
        // The upper half of the ids is left to messages that are no packets.
        let request = self.state.last_request.wrapping_add(1) & 0x7fff_ffff;
        let Waiting {
            software_request,
            packet,
            amount,
            expires_at,
            condition,
        } = waiting;
        self.record(Event::Sent {
            request,
            software_request,
            amount,
            expires_at,
            condition,
        });
        self.effects.push(Effect::Forward(request, packet));
    }

    fn refuse_software(&mut self, software_request: u32, code: ErrorCode, text: &str) {
        self.effects
            .push(Effect::AnswerSoftware(software_request, reject(code, text)));
    }

    fn pool_fulfill(&mut self, request: u32, packet: &[u8], view: &FulfillView<'_>) {
        self.bare.remove(&request);
        let Some(sent) = self.state.outgoing.get(&request) else {
            return;
        };
        if !view.fulfills(&sent.condition) {
            self.alarm(format!(
                "the pool fulfilled request {request} with a wrong preimage"
            ));
            return self.sent_failed(
                request,
                reject(ErrorCode::F05WrongCondition, "the fulfillment is wrong"),
            );
        }
        self.answer_sent(request, packet.to_vec());
        self.record(Event::SentFulfilled { request });
    }

    fn sent_failed(&mut self, request: u32, packet: Vec<u8>) {
        if !self.state.outgoing.contains_key(&request) {
            return;
        }
        self.answer_sent(request, packet);
        self.record(Event::SentFailed { request });
    }

    /// Answers our software, unless it has begun its numbers anew and means another packet by this one.
    fn answer_sent(&mut self, request: u32, packet: Vec<u8>) {
        let outgoing = &self.state.outgoing;
        let Some(software_request) = outgoing.get(&request).map(|sent| sent.software_request)
        else {
            return;
        };
        let newest = outgoing
            .iter()
            .filter(|(_, sent)| sent.software_request == software_request)
            .map(|(request, _)| *request)
            .max();
        let waiting = self.waiting.iter();
        let taken_anew = waiting
            .map(|waiting| waiting.software_request)
            .any(|waiting| waiting == software_request);
        if newest == Some(request) && !taken_anew {
            self.effects
                .push(Effect::AnswerSoftware(software_request, packet));
        }
    }

    fn voucher_held(
        &mut self,
        now: Timestamp,
        serial: ChannelSerial,
        secured: Amount,
        refused: Option<String>,
    ) {
        if self.live_serial() != Some(serial) {
            return;
        }
        let promised = self
            .state
            .channel
            .as_ref()
            .map_or(Amount::ZERO, |channel| channel.outgoing.promised());
        // The pool cannot hold more than we signed, whatever it says.
        self.held = secured.min(promised);
        if let Some(why) = refused {
            self.alarm(format!("the pool refused a voucher: {why}"));
        }
        self.release_waiting(now);
    }

    fn release_waiting(&mut self, now: Timestamp) {
        while let Some(first) = self.waiting.front() {
            let (amount, expires_at) = (first.amount, first.expires_at);
            if expires_at > now && !self.is_covered(amount) {
                return;
            }
            let Some(waiting) = self.waiting.pop_front() else {
                return;
            };
            if expires_at <= now {
                let text = "expired before the pool confirmed our voucher";
                self.refuse_software(
                    waiting.software_request,
                    ErrorCode::R00TransferTimedOut,
                    text,
                );
            } else {
                self.forward(waiting);
            }
        }
    }

    /// Signs ahead: as soon as less than half of `prepay` is left, up to the whole of it, never above the ceiling.
    fn pay_ahead(&mut self, now: Timestamp) {
        if !self.agreed
            || self.live_serial() != self.state.terms.as_ref().and_then(|terms| terms.serial)
        {
            return;
        }
        let Some(channel) = self
            .state
            .channel
            .as_ref()
            .filter(|channel| channel.is_live())
        else {
            return;
        };
        let factor = self.state.factor();
        let waiting: u64 = self
            .waiting
            .iter()
            .map(|waiting| waiting.amount)
            .fold(0, u64::saturating_add);
        let used = self
            .state
            .sent
            .saturating_add(self.state.sent_pending)
            .saturating_add(Amount::from(waiting));
        let half = Amount::new(self.policy.prepay.value() / 2);
        let (Some(low), Some(full)) = (
            used.saturating_add(half).checked_mul(factor),
            used.saturating_add(self.policy.prepay).checked_mul(factor),
        ) else {
            return;
        };
        let signed = channel.outgoing.promised();
        let target = full.min(channel.outgoing.usable_ceiling());
        if signed >= low || channel.outgoing.may_sign(target).is_err() {
            return;
        }
        let serial = channel.serial();
        self.record(Event::VoucherSigned { amount: target });
        self.said_at = now;
        self.effects.push(Effect::SignVoucher(serial, target));
    }

    // ---- packets from the pool to our software

    fn pool_prepare(
        &mut self,
        now: Timestamp,
        request: u32,
        packet: &[u8],
        view: &PrepareView<'_>,
    ) {
        if self.state.incoming.contains_key(&request) {
            return;
        }
        let known = self.state.answers.get(&request);
        if let Some(answer) = known.filter(|answer| answer.expires_at == view.expires_at) {
            return self
                .effects
                .push(Effect::AnswerPool(request, answer.packet.clone()));
        }
        if let Some((code, text)) = self.refusal(now, view) {
            return self
                .effects
                .push(Effect::AnswerPool(request, reject(code, text)));
        }
        let (amount, expires_at, condition) = (view.amount, view.expires_at, *view.condition);
        self.record(Event::Taken {
            request,
            amount,
            expires_at,
            condition,
        });
        self.effects.push(Effect::Deliver(request, packet.to_vec()));
    }

    fn refusal(&self, now: Timestamp, view: &PrepareView<'_>) -> Option<(ErrorCode, &'static str)> {
        if view.expires_at <= now {
            return Some((ErrorCode::R00TransferTimedOut, "expired on arrival"));
        }
        if view.expires_at.0 > now.0.saturating_add(EXPIRY_MAX_MS) {
            return Some((ErrorCode::F00BadRequest, "it expires too far ahead"));
        }
        if !self.software_up {
            return Some((
                ErrorCode::T01PeerUnreachable,
                "the connector behind this peer is not connected",
            ));
        }
        if self.state.incoming.len() >= IN_FLIGHT_MAX {
            return Some((ErrorCode::T03ConnectorBusy, "too many packets in flight"));
        }
        let channel = self.state.channel.as_ref();
        let has_channel = channel.is_some_and(|channel| channel.phase() != Phase::Closed);
        let is_late = has_channel && !self.may_take(now);
        if view.amount > 0 && is_late {
            let text = "the channel closes, or the chain is silent: too late to redeem what would pay for this";
            return Some((ErrorCode::T04InsufficientLiquidity, text));
        }
        let exposed = self
            .state
            .unpaid()
            .checked_add(self.state.received_pending)
            .and_then(|owed| owed.checked_add(Amount::from(view.amount)));
        // Pending counts: a pool that stops paying finds its packets refused before one more is passed on.
        if view.amount > 0 && exposed.is_none_or(|exposed| exposed > self.policy.credit_to_pool) {
            return Some((
                ErrorCode::T04InsufficientLiquidity,
                "the pool has not secured this: pay by voucher first",
            ));
        }
        None
    }

    /// Whether a voucher of the pool can still be redeemed before any close, announced or not heard of yet.
    fn may_take(&self, now: Timestamp) -> bool {
        let now = now.max(self.chain_now);
        self.state.channel.as_ref().is_some_and(|channel| {
            channel.may_take(now, self.chain_now, UNHEARD_MAX, &self.policy.channel)
        })
    }

    fn software_fulfill(
        &mut self,
        now: Timestamp,
        request: u32,
        packet: &[u8],
        view: &FulfillView<'_>,
    ) {
        let Some(taken) = self.state.incoming.get(&request) else {
            return;
        };
        if taken.expires_at <= now {
            return self.refuse_pool(
                request,
                reject(ErrorCode::R00TransferTimedOut, "fulfilled too late"),
            );
        }
        if !view.fulfills(&taken.condition) {
            return self.refuse_pool(
                request,
                reject(ErrorCode::F05WrongCondition, "the fulfillment is wrong"),
            );
        }
        self.record(Event::TakenFulfilled {
            request,
            answer: packet.to_vec(),
        });
        self.effects
            .push(Effect::AnswerPool(request, packet.to_vec()));
    }

    fn refuse_pool(&mut self, request: u32, answer: Vec<u8>) {
        if !self.state.incoming.contains_key(&request) {
            return;
        }
        self.record(Event::TakenRejected {
            request,
            answer: answer.clone(),
        });
        self.effects.push(Effect::AnswerPool(request, answer));
    }

    fn take_voucher(
        &mut self,
        now: Timestamp,
        serial: ChannelSerial,
        amount: Amount,
        signature: [u8; 64],
    ) {
        let refused = self.hold_voucher(now, serial, amount, signature).err();
        let secured = self
            .state
            .channel
            .as_ref()
            .map_or(Amount::ZERO, |channel| channel.incoming.secured());
        self.effects.push(Effect::Say(PeerMessage::VoucherHeld {
            serial,
            secured,
            refused,
        }));
    }

    fn hold_voucher(
        &mut self,
        now: Timestamp,
        serial: ChannelSerial,
        amount: Amount,
        signature: [u8; 64],
    ) -> Result<(), String> {
        let channel = self
            .state
            .channel
            .as_ref()
            .ok_or("no channel is open at finality depth")?;
        if channel.serial() == serial && amount == channel.incoming.promised() {
            return Ok(());
        }
        let voucher = Voucher {
            serial,
            lane: LaneId::Pool,
            amount,
        };
        let signed = Verified::verify(
            &self.domain,
            voucher,
            Signature::new(signature),
            channel.payer(),
        );
        let signed = signed
            .map_err(|_| format!("not signed by {}, who pays on this lane", channel.payer()))?;
        channel
            .accept_voucher(&signed)
            .map_err(|why| format!("{why:?}"))?;
        if !self.may_take(now) {
            return Err("the channel closes, or the chain is silent: too late to redeem it".into());
        }
        self.record(Event::VoucherHeld { amount, signature });
        Ok(())
    }

    // ---- the chain

    fn observe(&mut self, observation: VaultObservation) {
        match observation {
            VaultObservation::Fact {
                fact,
                place,
                finality,
                ..
            } => {
                let position = (place.block.value(), place.log_index);
                if self.state.cursor.is_some_and(|cursor| position <= cursor)
                    || !self.concerns_us(&fact)
                {
                    return;
                }
                if finality == Finality::Final {
                    self.record(Event::ChainFinal { fact, place });
                } else if is_notice(&fact) {
                    self.record(Event::NoticeSeen(fact));
                }
            }
            VaultObservation::Retracted { fact, .. }
                if self.concerns_us(&fact) && is_notice(&fact) =>
            {
                self.record(Event::NoticeDropped(fact));
            }
            VaultObservation::Retracted { .. } => {}
            VaultObservation::Head(Head { time, .. }) => self.chain_now = self.chain_now.max(time),
            VaultObservation::DeepReorg { block } => {
                self.agreed = false;
                self.record(Event::FinalBlockLost {
                    block: block.value(),
                });
                self.alarm(format!(
                    "the chain dropped block {} that had been final: nothing is signed or taken until an operator has looked",
                    block.value()
                ));
            }
        }
    }

    /// A channel is ours when it names our signer and our payout; later facts are ours by its serial.
    fn concerns_us(&self, fact: &VaultFact) -> bool {
        if let VaultFact::Opened {
            peer_signer,
            peer_payout,
            ..
        } = *fact
        {
            let free = self
                .state
                .channel
                .as_ref()
                .is_none_or(|channel| channel.phase() == Phase::Closed);
            return free && peer_signer == self.policy.signer && peer_payout == self.policy.payout;
        }
        let ours = self.state.channel.as_ref().map(|channel| channel.serial());
        ours.is_some() && fact.serial() == ours
    }

    fn act_on_chain(&mut self, now: Timestamp) {
        if now < self.retry_at {
            return;
        }
        self.deposit();
        let Some(channel) = &self.state.channel else {
            return;
        };
        match channel.next_step(self.chain_now, &self.policy.channel) {
            Step::Nothing | Step::Wait { .. } => {}
            Step::Redeem { amount, .. } => self.redeem(amount),
            Step::FinishLowering => {
                let request = VaultRequest::FinishLowering {
                    serial: channel.serial(),
                    lane: LaneId::Peer,
                };
                self.demand(request);
            }
            Step::FinishClose => self.demand(VaultRequest::FinishClose(channel.serial())),
        }
    }

    fn deposit(&mut self) {
        let Some(serial) = self.live_serial() else {
            return;
        };
        let amount = self.policy.deposit.saturating_sub(self.state.deposit_asked);
        if !amount.is_zero() {
            self.demand(VaultRequest::Deposit {
                serial,
                amount,
                peer_payout: self.policy.payout,
            });
        }
    }

    fn redeem_now(&mut self) {
        let Some(channel) = &self.state.channel else {
            return;
        };
        let everything = ChannelPolicy {
            redeem_threshold: self.policy.channel.claim_min.max(Amount::new(1)),
            ..self.policy.channel
        };
        if let Step::Redeem { amount, .. } = channel.next_step(self.chain_now, &everything) {
            self.redeem(amount);
        }
    }

    fn settle_reorg(&mut self) {
        if self.state.lost_block.is_some() {
            self.record(Event::ReorgSettled);
            self.say_hello();
        }
    }

    fn redeem(&mut self, amount: Amount) {
        let Some(serial) = self.state.channel.as_ref().map(|channel| channel.serial()) else {
            return;
        };
        let voucher = Voucher {
            serial,
            lane: LaneId::Pool,
            amount,
        };
        let signature = Signature::new(self.state.best_signature);
        self.demand(VaultRequest::Redeem(vec![SignedVoucher {
            voucher,
            signature,
        }]));
    }

    fn demand(&mut self, request: VaultRequest) {
        let id = EffectId::new(self.state.last_effect.value() + 1);
        self.record(Event::Demanded {
            id,
            request: request.clone(),
        });
        self.effects.push(Effect::Transact(id, request));
    }

    fn outcome(&mut self, now: Timestamp, id: EffectId, succeeded: bool) {
        if !self.state.demands.contains_key(&id) {
            return;
        }
        self.record(Event::DemandSettled {
            id,
            failed: !succeeded,
        });
        if !succeeded {
            self.retry_at = Timestamp(now.0.saturating_add(RETRY_MS));
            self.alarm(format!(
                "transaction {} failed; it is tried again in {} s",
                id.value(),
                RETRY_MS / 1_000
            ));
        }
    }

    // ---- time

    fn tick(&mut self, now: Timestamp) {
        let expired: Vec<u32> = self
            .state
            .incoming
            .iter()
            .filter(|(_, taken)| taken.expires_at <= now)
            .map(|(request, _)| *request)
            .collect();
        for request in expired {
            self.refuse_pool(
                request,
                reject(ErrorCode::R00TransferTimedOut, "no answer in time"),
            );
        }
        self.release_waiting(now);
        let forget = Timestamp(now.0.saturating_sub(ANSWER_KEPT_MS));
        if self
            .state
            .answers
            .values()
            .any(|answer| answer.expires_at <= forget)
        {
            self.record(Event::AnswersForgotten { expired_at: forget });
        }
        self.give_up_data(now);
        self.ask_for_late(now);
        self.say_again(now);
    }

    /// Says again what the pool should have confirmed by now: it may have seen our deposit final a moment after us.
    fn say_again(&mut self, now: Timestamp) {
        let Some(serial) = self.live_serial() else {
            return;
        };
        if !self.agreed || now.0 < self.said_at.0.saturating_add(SAY_AGAIN_MS) {
            return;
        }
        self.said_at = now;
        if self.state.terms.as_ref().and_then(|terms| terms.serial) != Some(serial) {
            return self.say_hello();
        }
        let promised = self
            .state
            .channel
            .as_ref()
            .map_or(Amount::ZERO, |channel| channel.outgoing.promised());
        if promised > self.held {
            self.effects.push(Effect::SignVoucher(serial, promised));
        }
    }

    /// The pool answers each packet by its expiry; one that it left unanswered is asked for.
    fn ask_for_late(&mut self, now: Timestamp) {
        if !self.agreed || now.0 < self.asked_at.0.saturating_add(ASK_AGAIN_MS) {
            return;
        }
        let late = |expires_at: Timestamp| expires_at.0.saturating_add(ASK_AGAIN_MS) <= now.0;
        let outgoing = self.state.outgoing.iter();
        let requests = outgoing
            .filter(|(_, sent)| late(sent.expires_at))
            .map(|(request, _)| *request)
            .collect();
        self.ask(now, requests);
    }
}

/// The part of the terms that stays the same between two settlements.
fn lasting(terms: &Terms) -> Terms {
    let (held, signed, owed_to_peer, owed_to_pool) =
        (Amount::ZERO, Amount::ZERO, Amount::ZERO, Amount::ZERO);
    Terms {
        held,
        signed,
        owed_to_peer,
        owed_to_pool,
        ..terms.clone()
    }
}
