//! The world around the pool: time, links, the chain, and the steps that tie them together.

mod bitcoin;
mod heads;
mod links;
mod lives;

use std::collections::BTreeMap;

use forebay_channel::{Address, Domain, PacketName, Verified, Voucher, knows_voucher};
use forebay_pool::{Admin, Command, Depth, Genesis, Prepare, Rejection, State};
use forebay_quantity::{
    Amount, AssetId, CommandId, EffectId, PacketId, PeerId, SourceId, Timestamp,
};
use sha2::{Digest, Sha256};

use crate::actor::Actor;
use crate::adapter::{Adapter, Report};
use crate::auditor::{Auditor, variant};
use crate::chain::{Chain, FINALITY_DEPTH};
use crate::counts::Counts;
use crate::lightning::Invoice;
use crate::process::Process;
use crate::random::Random;
use crate::witness::Witnesses;
use crate::{setup, trace};

pub(crate) use bitcoin::{LPS_FROM, OnBitcoin};

/// When the world begins.
pub(crate) const START_MS: u64 = 1_800_000_000_000;
pub(crate) const BLOCK_MS: u64 = 12_000;
/// One world in three has vaults alone.
const VAULTS_ALONE: u64 = 1;
/// How many steps pass between two replays of the whole journal.
const REPLAY_EVERY: u64 = 120;

/// Something on its way over a link.
#[derive(Debug, Clone)]
pub(crate) enum Mail {
    Fulfill {
        peer: PeerId,
        packet: PacketId,
        preimage: [u8; 32],
    },
    Reject {
        peer: PeerId,
        packet: PacketId,
        code: [u8; 3],
    },
    Voucher {
        peer: PeerId,
        voucher: Verified<Voucher>,
    },
    Forwarded {
        peer: PeerId,
        name: PacketName,
        condition: [u8; 32],
    },
    Fulfilled {
        peer: PeerId,
        request: u32,
        preimage: [u8; 32],
    },
    Rejected {
        peer: PeerId,
        request: u32,
    },
    Paid {
        peer: PeerId,
        serial: u64,
        amount: u128,
    },
    InvoiceWanted {
        peer: PeerId,
        settlement: EffectId,
        amount: Amount,
    },
    InvoiceTold {
        peer: PeerId,
        settlement: EffectId,
        invoice: Option<Invoice>,
    },
    InvoiceAsked {
        peer: PeerId,
        settlement: u64,
        amount_msat: u64,
    },
}

/// Where the pool dies in the midst of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    BeforeAppend,
    BeforeSync,
    BeforeRelease,
    AfterRelease,
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) calm: bool,
    pub(crate) now: u64,
    /// The pool's clock less the true one.
    pub(crate) skew: i64,
    pub(crate) chain: Chain,
    next_block: u64,
    next_quotes: u64,
    pub(crate) adapter: Adapter,
    pub(crate) process: Process,
    pub(crate) halted: bool,
    pub(crate) restart_at: u64,
    pub(crate) up_since: u64,
    pub(crate) actors: Vec<Actor>,
    pub(crate) lps: Vec<Address>,
    pub(crate) true_prices: Vec<u128>,
    pub(crate) domains: Vec<Domain>,
    pub(crate) factors: Vec<u128>,
    mail: BTreeMap<(u64, u64), Mail>,
    mailed: u64,
    pub(crate) preimages: BTreeMap<[u8; 32], [u8; 32]>,
    conditions: BTreeMap<u32, [u8; 32]>,
    pub(crate) commands_sent: Vec<(CommandId, Admin)>,
    next_command: u64,
    pub(crate) next_secret: u64,
    pub(crate) auditor: Auditor,
    pub(crate) counts: Counts,
    pub(crate) genesis: Genesis,
    pub(crate) step: u64,
    /// How far a follower gets in one poll.
    pub(crate) poll_limit: usize,
    /// When each effect first left.
    pub(crate) effect_times: BTreeMap<EffectId, u64>,
    witnesses: Witnesses,
    /// How often the pool tells its witnesses where it stands.
    tell_every: u64,
    next_tell: u64,
    /// Where one asset settles over Lightning.
    pub(crate) bitcoin: Option<OnBitcoin>,
    /// A copy of the journal's files, which somebody may put back one day.
    copy: Option<BTreeMap<String, Vec<u8>>>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let genesis = setup::genesis(&mut random);
        let process = Process::new(random.next());
        let witnesses = Witnesses::new(genesis.pool_signer);
        let tell_every = random.pick(&[1_000, 60_000, 3_600_000]);
        let mut world = Self {
            adapter: Adapter::new(genesis.pool_signer),
            process,
            chain: Chain::new(Vec::new(), START_MS / 1_000, FINALITY_DEPTH),
            random,
            calm: false,
            now: START_MS,
            skew: 0,
            next_block: START_MS + BLOCK_MS,
            next_quotes: START_MS + 60_000,
            halted: false,
            restart_at: 0,
            up_since: START_MS,
            actors: Vec::new(),
            lps: Vec::new(),
            true_prices: Vec::new(),
            domains: Vec::new(),
            factors: Vec::new(),
            mail: BTreeMap::new(),
            mailed: 0,
            preimages: BTreeMap::new(),
            conditions: BTreeMap::new(),
            commands_sent: Vec::new(),
            next_command: 1,
            next_secret: seed,
            auditor: Auditor::new(),
            counts: Counts::default(),
            genesis,
            step: 0,
            poll_limit: usize::MAX,
            effect_times: BTreeMap::new(),
            witnesses,
            tell_every,
            next_tell: START_MS,
            bitcoin: None,
            copy: None,
        };
        world.process.start();
        setup::populate(&mut world, seed % 3 != VAULTS_ALONE);
        world
    }

    /// What the pool's clock shows.
    pub(crate) fn wall(&self) -> Timestamp {
        Timestamp(self.now.saturating_add_signed(self.skew))
    }

    pub(crate) fn is_up(&self) -> bool {
        self.process.is_up()
    }

    /// One step: time passes, the world moves, something random happens, the pool may end a batch.
    pub(crate) fn one_step(&mut self) {
        self.step += 1;
        trace::at(self.step);
        self.pass_time();
        self.move_world();
        crate::actions::act(self);
        if self.bitcoin.is_some() {
            crate::actions::act_on_bitcoin(self);
        }
        if self.random.chance(650) {
            let death = self.random.chance(12).then(|| {
                self.random.pick(&[
                    Death::BeforeAppend,
                    Death::BeforeSync,
                    Death::BeforeRelease,
                    Death::AfterRelease,
                ])
            });
            self.end_batch(death);
        }
        if self.step.is_multiple_of(REPLAY_EVERY) {
            self.end_batch(None);
            self.audit_replay();
        }
    }

    pub(crate) fn audit_replay(&mut self) {
        if self.is_up() && !self.halted {
            self.process.audit_replay();
        }
    }

    fn pass_time(&mut self) {
        let span = match self.random.below(100) {
            0..=64 => self.random.below(60),
            65..=86 => self.random.below(3_000),
            87..=97 => self.random.below(20_000),
            _ => {
                let minutes = self.random.between(20, 600);
                return self.leap(minutes);
            }
        };
        let until = self.now + span;
        if span > 1_000 {
            // A batch does not stay open over a pause.
            self.end_batch(None);
        }
        // What is on the links arrives at its own time, not at the end of the span.
        while let Some(due) = self.mail.keys().next().map(|(due, _)| *due) {
            if due >= until {
                break;
            }
            self.now = self.now.max(due);
            self.deliver_mail();
            if self.random.chance(700) {
                self.end_batch(None);
            }
            self.tick_if_up();
        }
        self.now = until;
    }

    /// Hours pass; the pool keeps working all the while.
    pub(crate) fn leap(&mut self, minutes: u64) {
        trace::step(|| format!("{minutes} minutes pass"));
        let mut left = minutes;
        // A follower may fall behind for seconds, and not for hours.
        self.poll_limit = usize::MAX;
        while left > 0 {
            let part = left.min(15);
            left -= part;
            self.now += part * 60_000;
            self.move_world();
            self.end_batch(None);
        }
    }

    /// Blocks, restarts, mail, the follower, ticks: what happens of its own accord.
    pub(crate) fn move_world(&mut self) {
        self.mine_due();
        if !self.is_up() && self.now >= self.restart_at {
            self.restart();
        }
        if self.halted && self.now >= self.restart_at {
            self.counts.add("fault", "restart after a halt");
            let power_lost = self.random.chance(400);
            self.die(power_lost, 0);
            self.restart();
        }
        self.deliver_mail();
        if self.bitcoin.is_some() {
            self.move_bitcoin();
        }
        if self.now >= self.next_quotes {
            self.next_quotes = self.now + 8_000;
            crate::actions::quote_all(self);
        }
        if self.is_up() && !self.halted {
            if self.calm || self.random.chance(600) {
                self.poll_chain();
            }
            self.tick_when_due();
            let (now, up_since) = (self.now, self.up_since);
            self.auditor.check_answers(&self.chain, now, up_since);
        }
    }

    fn mine_due(&mut self) {
        let mut mined = 0;
        while self.now >= self.next_block {
            if mined < 8 {
                let leave = if self.calm { 0 } else { 250 };
                let time_s = self
                    .next_block
                    .max(self.now.saturating_sub(BLOCK_MS * (8 - mined)))
                    / 1_000;
                self.chain.mine(time_s, &mut self.random, leave);
                mined += 1;
                self.next_block += BLOCK_MS;
            } else {
                self.next_block = self.now + 1;
            }
        }
    }

    fn tick_if_up(&mut self) {
        if self.is_up() && !self.halted {
            self.tick_when_due();
        }
    }

    fn tick_when_due(&mut self) {
        let due = self.process.sequencer().next_deadline();
        if let Some(deadline) = due {
            let earliest = self
                .process
                .state()
                .packets()
                .map(|(_, p)| p.expires_out)
                .min();
            assert!(
                Some(deadline) <= earliest,
                "[I3] a tick is due at {deadline}, and a packet expires at {earliest:?}"
            );
        }
        let wall = self.wall().max(self.process.state().now());
        if due.is_some_and(|deadline| deadline <= wall) || self.random.chance(100) {
            self.apply(&Command::Tick).expect("a tick is never refused");
        }
    }

    /// Tells the core what the follower sees.
    pub(crate) fn poll_chain(&mut self) {
        if !self.is_up() || self.halted {
            return;
        }
        let cursors: Vec<_> = self
            .process
            .state()
            .assets()
            .map(|(_, asset)| asset.vault.cursor)
            .collect();
        let newest = Timestamp(self.chain.time_s() * 1_000);
        for number in 0..self.domains.len() {
            let asset = AssetId(u16::try_from(number).expect("few"));
            self.process.sequencer().hear(asset, newest);
        }
        let reports = self
            .adapter
            .poll(&self.chain, &cursors, &mut self.random, self.poll_limit);
        for report in reports {
            match report {
                Report::Outcome(effect, failure) => {
                    let command = Command::Outcome { effect, failure };
                    let done = self.apply(&command);
                    match done {
                        Ok(()) | Err(Rejection::UnknownEffect) => self.adapter.acknowledged(effect),
                        Err(other) => panic!("an outcome is refused: {other}"),
                    }
                }
                Report::Fact(fact) => {
                    let again = !self.calm && self.random.chance(40);
                    let command = Command::Chain(fact);
                    let done = self.apply(&command);
                    let Command::Chain(fact) = &command else {
                        unreachable!("made above")
                    };
                    assert!(
                        done.is_ok() || fact.depth == Depth::Seen,
                        "[I15] the core refuses what the chain did: {fact:?}: {done:?}"
                    );
                    if again {
                        self.counts.add("fault", "fact told twice");
                        let done = self.apply(&command);
                        let Command::Chain(fact) = &command else {
                            unreachable!("made above")
                        };
                        assert!(
                            fact.depth == Depth::Seen || done == Err(Rejection::AlreadyTaken),
                            "[I11] a fact is taken twice"
                        );
                    }
                }
            }
        }
    }

    fn caught_up(&self, asset: AssetId) -> bool {
        let cursor = self
            .process
            .state()
            .asset(asset)
            .and_then(|a| a.vault.cursor);
        let height = self.chain.final_height();
        (0..=height)
            .rev()
            .find_map(|height| {
                let own = self.chain.facts(height).filter(|(of, _, _)| *of == asset);
                own.last().map(|(_, at, _)| at)
            })
            .is_none_or(|last| cursor >= Some(last))
    }

    // Commands.

    /// Hands a command to the core and books what it answers.
    pub(crate) fn apply(&mut self, command: &Command<'_>) -> Result<(), Rejection> {
        if !self.is_up() {
            return Err(Rejection::Halted);
        }
        let wall = self.wall();
        let compare = self.random.chance(30);
        let before = compare.then(|| (self.process.state().digest(), asleep(self.process.state())));
        let done = self.process.sequencer().apply(wall, command);
        trace::step(|| format!("{} {}: {done:?}", self.now - START_MS, brief(command)));
        match &done {
            Ok(()) => self.book(command),
            Err(rejection) => {
                self.counts
                    .add("rejection", variant(&format!("{rejection:?}")));
                if let Some((digest, sleeping)) = before {
                    let state = self.process.state();
                    // A packet that wants a sleeping peer's channel is refused, and wakes it.
                    let wakes = matches!(rejection, Rejection::LaneExhausted { .. });
                    assert!(
                        state.digest() == digest || (wakes && asleep(state) + 1 == sleeping),
                        "[I10] a refused command changed the state: {rejection:?}"
                    );
                }
            }
        }
        done
    }

    fn book(&mut self, command: &Command<'_>) {
        let now = self.now;
        self.book_on_bitcoin(command);
        let state = self
            .process
            .running
            .as_ref()
            .expect("it answered")
            .sequencer
            .state();
        let auditor = &mut self.auditor;
        match command {
            Command::Admin(id, admin) => {
                auditor.command_taken(*id);
                if let Admin::AddPeer { asset, .. } = admin {
                    auditor.peer_added(*asset);
                }
                if let Admin::SetAsset(asset, policy) = admin {
                    auditor.believe(*asset, policy, state.now().0);
                }
                self.counts.add("admin", variant(&format!("{admin:?}")));
            }
            Command::Prepare(prepare) => {
                let packet = auditor.prepared(state, prepare);
                self.conditions.insert(packet.0, prepare.condition);
            }
            Command::Fulfill {
                packet, preimage, ..
            } => {
                auditor.fulfilled(*packet, preimage);
            }
            Command::Reject { packet, .. } => auditor.rejected(*packet),
            Command::Voucher { voucher, .. } => {
                let Voucher { serial, amount, .. } = *voucher.message();
                auditor
                    .books
                    .held(serial.0, crate::books::signed(amount.value()), now);
            }
            Command::Chain(fact) => {
                auditor.books.fact(fact.depth, &fact.fact, now);
                let kind = Auditor::name_of(&fact.fact);
                self.counts.add("fact", format!("{kind} {:?}", fact.depth));
            }
            Command::Price {
                asset,
                source: SourceId(source),
                price,
                at,
            } => auditor.price_reported(state, *asset, *source, *price, at.0),
            Command::Tick => {
                for _ in 0..auditor.expired(state) {
                    self.counts.add("act", "expired");
                }
            }
            Command::Keys { .. }
            | Command::Outcome { .. }
            | Command::VaultRules { .. }
            | Command::Lightning(_)
            | Command::Bitcoin(_)
            | Command::Reserve(_)
            | Command::Sale(_)
            | Command::ClaimPaid(_)
            | Command::PaymentFinal { .. }
            | Command::PaymentRefused { .. } => {}
        }
    }

    /// An instruction under a new id.
    pub(crate) fn admin(&mut self, admin: Admin) -> Result<(), Rejection> {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.next_command.to_le_bytes());
        self.next_command += 1;
        self.commands_sent.push((CommandId(id), admin.clone()));
        self.apply(&Command::Admin(CommandId(id), admin))
    }

    pub(crate) fn prepare(
        &mut self,
        from: usize,
        request: u32,
        amount: u64,
        expires_at: u64,
        destination: &str,
    ) -> Result<(), Rejection> {
        self.next_secret += 1;
        let preimage: [u8; 32] = Sha256::digest(self.next_secret.to_le_bytes()).into();
        let condition: [u8; 32] = Sha256::digest(preimage).into();
        self.preimages.insert(condition, preimage);
        let actor = &mut self.actors[from];
        let peer = actor.id;
        let done = self.apply(&Command::Prepare(Prepare {
            peer,
            request,
            amount,
            expires_at: Timestamp(expires_at),
            condition,
            destination: destination.as_bytes(),
        }));
        if done.is_ok() {
            let sent = crate::actor::Sent {
                expires_at,
                condition,
            };
            self.actors[from].sent.insert(request, sent);
        }
        done
    }
}

/// How many peers have no channel until a packet is to go to them.
fn asleep(state: &State) -> usize {
    let accounts = state
        .peers()
        .filter_map(|(_, peer)| peer.lightning.as_deref());
    accounts.filter(|account| account.is_asleep).count()
}

/// What the node makes of a peer's word about what it holds of ours.
fn knows_voucher_of(state: &State, actor: &Actor) -> bool {
    let channel = state
        .peer(actor.id)
        .and_then(|account| account.channel.as_ref());
    let Some(channel) = channel else { return true };
    let held = actor.vouchers.get(&channel.serial().0);
    let held = Amount::new(held.map_or(0, |(held, _)| *held));
    knows_voucher(channel.serial(), held, channel.outgoing.promised()).is_ok()
}

pub(crate) fn index(peer: PeerId) -> usize {
    usize::try_from(peer.0).expect("u32 fits usize")
}

fn brief(command: &Command<'_>) -> String {
    match command {
        Command::Prepare(prepare) => format!(
            "prepare {} from {} to {}",
            prepare.amount,
            prepare.peer,
            String::from_utf8_lossy(prepare.destination)
        ),
        Command::Fulfill { peer, packet, .. } => format!("fulfill {packet} by {peer}"),
        Command::Voucher { peer, voucher } => format!("voucher of {peer}: {:?}", voucher.message()),
        Command::Chain(fact) => format!(
            "{:?} {:?} {:?} {:?}",
            fact.asset, fact.at, fact.depth, fact.fact
        ),
        other => format!("{other:?}"),
    }
}
