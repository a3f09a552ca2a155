//! What the peer's side decides: commands in, facts and chores out. No clock, socket, key or disk.
//!
//! The shell makes the facts durable before it carries out a single chore [I7]; the signature of a voucher is such a
//! chore, so none exists that the disk does not know of.

mod chain;
mod incoming;
mod lightning;
mod link;
mod outgoing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use forebay_channel::vault::{VaultObservation, VaultRequest};
use forebay_channel::{
    Address, ChannelPolicy, GuardedLane, LaneId, NodeId, PacketName, PeerKeys, PeerMessage, Phase,
    RESUME_MAX,
};
use forebay_ilp::{ErrorCode, FulfillView, PrepareView};
use forebay_quantity::{Amount, ChannelSerial, EffectId, Timestamp};

use super::event::Event;
use super::reply::reject;
use super::state::State;

pub use lightning::{LightningCommand, LightningEffect};

/// Packets in flight each way: what one resume can ask for.
const IN_FLIGHT_MAX: usize = RESUME_MAX;
/// Packets disowned at a time: all that a pool asks for on a link.
const DISOWNED_MAX: usize = 16 * RESUME_MAX;
/// An answer is kept this long after its packet expired, for a pool whose clock is behind.
const ANSWER_KEPT_MS: u64 = 5_000;
/// Unanswered prepares are asked for again this long after they expired, and then as often.
const ASK_AGAIN_MS: u64 = 5_000;
/// A voucher that the pool has not confirmed, and terms that name no channel yet, are sent and asked for again this often.
const SAY_AGAIN_MS: u64 = 2_000;

/// What the peer wants, from its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How the account is settled.
    pub rail: Rail,
    /// Decimal places of packet amounts that the pool must name.
    pub asset_scale: u8,
    /// What the pool may owe us unsecured, fulfilled and pending, in packet units.
    pub credit_to_pool: Amount,
    /// How far ahead of our packets we pay, in packet units.
    pub prepay: Amount,
}

/// How an account is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rail {
    /// By vouchers on a channel of a vault.
    Vault(VaultRail),
    /// By Lightning payments.
    Lightning(LightningRail),
}

/// What the peer wants of an account that settles by vouchers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultRail {
    /// Signs our vouchers.
    pub signer: Address,
    /// Is paid by the pool's vouchers.
    pub payout: Address,
    /// The chain that the vault must be on.
    pub chain_id: u64,
    /// The vault that the pool must name.
    pub vault: Address,
    /// Decimal places of the vault's token, as the chain says.
    pub chain_scale: u8,
    /// What we deposit once the channel is open, in the chain's base units; zero for an account that only receives.
    pub deposit: Amount,
    /// When the pool's vouchers are redeemed.
    pub channel: ChannelPolicy,
}

/// What the peer wants of an account that settles over Lightning. Its chain units are millisatoshi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LightningRail {
    /// Our ILP address, which the pool must name.
    pub account: String,
    /// Hash of the first block of the chain that the pool must name.
    pub genesis: [u8; 32],
    /// The pool's Lightning node: it must name it, and it alone is paid.
    pub pool_node: NodeId,
    /// The value of the channel that we open to that node, in satoshi; zero to open none.
    pub channel_sat: u64,
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
    /// The Lightning node reported, or an invoice of the pool was read.
    Lightning(LightningCommand),
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
    /// Do something on Lightning.
    Lightning(LightningEffect),
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
    state: State,
    pool_up: bool,
    software_up: bool,
    /// The pool's terms were taken on this link.
    agreed: bool,
    /// The channel of which the pool was told on this link what we hold.
    told_held: Option<ChannelSerial>,
    /// What the pool says it holds of ours, or was paid by us over Lightning; cumulative, in the chain's base units.
    held: Amount,
    credit: Amount,
    waiting: VecDeque<Waiting>,
    asked: Vec<u32>,
    asked_at: Timestamp,
    /// Requests known to be fulfilled whose data may still come: preimage, and until when they wait.
    bare: BTreeMap<u32, ([u8; 32], Timestamp)>,
    /// Packets of the pool of which we said that they never came: they are refused if they come after all.
    disowned: BTreeSet<PacketName>,
    said_at: Timestamp,
    retry_at: Timestamp,
    /// The chain's clock.
    chain_now: Timestamp,
    /// What passes on Lightning and is in no journal.
    passing: lightning::Passing,
    events: Vec<Event>,
    effects: Vec<Effect>,
}

impl Core {
    /// Takes up where the facts left off.
    #[must_use]
    pub fn new(policy: Policy, state: State) -> Self {
        Self {
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
            disowned: BTreeSet::new(),
            said_at: Timestamp(0),
            retry_at: Timestamp(0),
            chain_now: Timestamp(0),
            passing: lightning::Passing::default(),
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

    /// What was asked for and whose outcome is unknown, to be asked for again after a restart.
    pub fn outstanding(&self) -> impl Iterator<Item = Effect> + '_ {
        let demands = self.state.demands.iter();
        demands
            .map(|(id, request)| Effect::Transact(*id, request.clone()))
            .chain(self.outstanding_on_lightning())
    }

    /// How many transactions wait for their outcome.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.state.demands.len()
    }

    /// Whether no transaction waits for its outcome. A Lightning payment under way is safe without us.
    #[must_use]
    pub fn may_end(&self) -> bool {
        self.transactions() == 0
    }

    /// The pool's best voucher, while it may be redeemed: its lane, amount and signature.
    #[must_use]
    pub fn held(&self) -> BTreeMap<GuardedLane, (Amount, [u8; 64])> {
        let Rail::Vault(rail) = &self.policy.rail else {
            return BTreeMap::new();
        };
        let channel = self.state.channel.as_ref();
        let channel = channel.filter(|channel| channel.phase() != Phase::Closed);
        let held = channel.filter(|channel| !channel.incoming.promised().is_zero());
        let guarded = held.map(|channel| {
            let lane = GuardedLane {
                chain_id: rail.chain_id,
                vault: rail.vault,
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
            Command::Lightning(command) => self.lightning(now, command),
            Command::Outcome(id, succeeded) => self.outcome(now, id, succeeded),
            Command::RedeemNow => self.redeem_now(),
            Command::SettleReorg => self.settle_reorg(),
            Command::Tick => self.tick(now),
        }
        self.pay_ahead(now);
        self.act_on_chain(now);
        self.open_channel(now);
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
        self.disowned.retain(|name| name.expires_at > now);
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
        self.ask_invoice_again(now);
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
