//! All that a state is made of, and what may happen next.

use std::fmt;

use forebay_channel::{
    ChannelPolicy, LaneId,
    vault::{SignedVoucher, VaultFact},
};
use forebay_quantity::Milliseconds;
use stateright::{Model, Property};

use crate::actor::{Actor, Output, Who, policy};
use crate::chain::{Call, Chain, Moment, Vault, index, second_signer, time};
use crate::properties::{Ending, properties};
use crate::signing::signed;

/// How often each thing may happen, and the numbers that the rules are held to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bounds {
    /// Lanes on which vouchers are signed, and whose payers may turn on their payees.
    pub lanes: &'static [LaneId],
    /// Ceilings at the beginning, by lane.
    pub ceilings: [u8; 2],
    /// Vouchers signed by the rules, on each lane.
    pub vouchers: u8,
    /// By how much a voucher may be above the one before.
    pub voucher_steps: &'static [u8],
    /// Looks at the chain as soon as anything is there to see; a payer who turns on its payee does not sleep.
    pub wakeful: Option<Who>,
    /// The payee that has a tower, by the lane that pays it.
    pub tower: Option<LaneId>,
    /// Sides redeem without any notice from this much on.
    pub threshold: Option<u8>,
    /// How long notices run.
    pub period: Moment,
    /// How long before the deadline somebody acts at the latest.
    pub margin: Moment,
    /// When it ends.
    pub horizon: Moment,
    /// How often each of the others may happen.
    pub budget: Budget,
}

/// How often each thing may happen, or did.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Budget {
    /// Vouchers that a payer signs above its ceiling.
    pub overpromises: u8,
    /// Messages lost.
    pub drops: u8,
    /// Messages that come twice.
    pub duplicates: u8,
    /// Crashes between a decision and what follows from it.
    pub crashes: u8,
    /// Blocks dropped.
    pub reorgs: u8,
    /// Transactions that fail for certain.
    pub failures: u8,
    /// Net-offs signed by both.
    pub net_offs: u8,
    /// Ends signed by both.
    pub closes_together: u8,
    /// Close notices.
    pub closes: u8,
    /// Lowering notices.
    pub lowerings: u8,
    /// Key change notices.
    pub key_changes: u8,
    /// Raises and deposits, of one unit each.
    pub raises: u8,
}

/// A voucher on its way.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Message {
    /// To whom.
    pub to: Who,
    /// What.
    pub voucher: SignedVoucher,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forebay_channel::Voucher { lane, amount, .. } = self.voucher.voucher;
        write!(f, "voucher {lane:?} {amount} to {:?}", self.to)
    }
}

/// A transaction that waits for a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pending {
    /// Who sent it.
    pub from: Who,
    /// What it calls.
    pub call: Call,
    /// How many blocks have ended without it.
    pub age: u8,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {:?}", self.call, self.from)
    }
}

/// A block holds whatever was sent this many blocks earlier.
pub const INCLUSION_MAX: u8 = 1;

/// What happened once and is told by nothing else.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Marks {
    /// The tower's redemption paid.
    pub tower_paid: bool,
    /// A dropped block held a redemption.
    pub redemption_came_back: bool,
    /// A net-off that both signed was void.
    pub net_off_void: bool,
    /// A net-off was executed.
    pub netted: bool,
    /// Both ended the channel at once.
    pub closed_together: bool,
}

/// A state.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct World {
    /// The chain.
    pub chain: Chain,
    /// By [`Who`]; the tower, if there is one, is the last.
    pub actors: Vec<Actor>,
    /// In no order: any of them may come next.
    pub network: Vec<Message>,
    /// Transactions that wait for a block, in no order.
    pub mempool: Vec<Pending>,
    /// Signed by both sides; either may send it at any time.
    pub agreed: Vec<Call>,
    /// What each payee counted as secured by a voucher, at the most, by lane.
    pub counted: [u8; 2],
    /// Whether nobody acted within a notice, by lane.
    pub neglected: [bool; 2],
    /// How many vouchers were signed, by lane.
    pub signed: [u8; 2],
    /// What happened how often.
    pub spent: Budget,
    /// What happened once.
    pub marks: Marks,
}

/// What may happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// A payer signs this much by the rules.
    Sign(LaneId, u8),
    /// A payer signs this much against the rules.
    Overpromise(LaneId, u8),
    /// What an actor decided leaves it.
    LetOut(Who),
    /// A message comes.
    Deliver(Message),
    /// A message is lost.
    Drop(Message),
    /// A message comes and will come again.
    Duplicate(Message),
    /// An actor wakes, takes in all that the chain did, and decides.
    Observe(Who),
    /// An actor dies, with what it had not let out.
    Crash(Who),
    /// It is started again.
    Restart(Who),
    /// A transaction gets into the block.
    Include(Pending),
    /// A transaction fails for certain.
    Fail(Pending),
    /// Somebody's own transaction, in the block at once.
    Call(Call),
    /// Both sides sign.
    Agree(Call),
    /// The block ends.
    Tick,
    /// The newest block is dropped.
    Reorg,
}

/// The model: bounds, and what must be reached within them.
#[derive(Clone, Copy, Debug)]
pub struct ChannelModel {
    /// The bounds.
    pub bounds: Bounds,
    /// What must be found.
    pub endings: &'static [Ending],
}

impl ChannelModel {
    fn side_policy(&self, who: Who) -> ChannelPolicy {
        let threshold = match who {
            Who::Pool | Who::Peer => self.bounds.threshold,
            Who::Tower => None,
        };
        policy(threshold, self.bounds.margin)
    }

    fn watches(&self, world: &World, who: Who) -> bool {
        let incoming = world.actors[who.index()].incoming();
        who != Who::Tower && self.bounds.tower == Some(incoming)
    }

    /// Where nobody can lose anything by a crash any more, what is decided leaves at once.
    fn settle(&self, world: &mut World, who: Who) {
        if world.spent.crashes >= self.bounds.budget.crashes {
            self.let_out(world, who);
        }
    }

    fn let_out(&self, world: &mut World, who: Who) {
        let has_tower = self.watches(world, who);
        let actor = &mut world.actors[who.index()];
        let (mut messages, mut sent) = (Vec::new(), Vec::new());
        for output in std::mem::take(&mut actor.outbox) {
            match output {
                Output::Voucher => messages.extend(actor.last_signed.map(|voucher| Message {
                    to: Who::payee(voucher.voucher.lane),
                    voucher,
                })),
                Output::Copy if has_tower => messages.extend(actor.best.map(|voucher| Message {
                    to: Who::Tower,
                    voucher,
                })),
                Output::Copy => {}
                Output::Transactions => sent.append(&mut actor.demands),
            }
        }
        for message in messages {
            world.post(message);
        }
        for call in sent {
            world.submit(who, call);
        }
    }

    /// Of a notice given right after an actor looked, the rest is left to answer in.
    fn unheard_max(&self) -> Milliseconds {
        Milliseconds::new(u64::from(self.bounds.period - self.bounds.margin))
    }

    /// What a payee counts on: what is secured while it is not too late to redeem, for only then it gives anything for it.
    fn count(&self, world: &mut World) {
        let now = time(world.chain.now);
        for &lane in self.bounds.lanes {
            let who = Who::payee(lane);
            let payee = &world.actors[who.index()];
            let policy = self.side_policy(who);
            let heard_at = time(payee.seen_before);
            if payee
                .channel
                .may_take(now, heard_at, self.unheard_max(), &policy)
            {
                let secured = payee.channel.incoming.secured().value();
                let secured = u8::try_from(secured).expect("small numbers");
                let counted = &mut world.counted[index(lane)];
                *counted = secured.max(*counted);
            }
        }
    }

    fn signs(&self, world: &World, deeds: &mut Vec<Deed>) {
        for &lane in self.bounds.lanes {
            let payer = &world.actors[Who::payer(lane).index()];
            if payer.is_down {
                continue;
            }
            let promised = payer.channel.outgoing.promised().value();
            let promised = u8::try_from(promised).expect("small numbers");
            if world.signed[index(lane)] < self.bounds.vouchers {
                let steps = self.bounds.voucher_steps.iter();
                deeds.extend(steps.map(|step| Deed::Sign(lane, promised + step)));
            }
            if world.spent.overpromises < self.bounds.budget.overpromises {
                let ceiling = world.chain.tip.lane(lane).ceiling;
                deeds.push(Deed::Overpromise(lane, ceiling + 1));
            }
        }
    }

    fn messages(&self, world: &World, deeds: &mut Vec<Deed>) {
        let Budget {
            drops, duplicates, ..
        } = self.bounds.budget;
        for &message in &world.network {
            if !world.actors[message.to.index()].is_down {
                deeds.push(Deed::Deliver(message));
                if world.spent.duplicates < duplicates {
                    deeds.push(Deed::Duplicate(message));
                }
            }
            if world.spent.drops < drops {
                deeds.push(Deed::Drop(message));
            }
        }
    }

    fn lives(&self, world: &World, deeds: &mut Vec<Deed>) {
        for actor in &world.actors {
            let who = actor.who;
            if actor.is_down {
                deeds.push(Deed::Restart(who));
                continue;
            }
            if !actor.outbox.is_empty() {
                deeds.push(Deed::LetOut(who));
            }
            if actor.is_behind(&world.chain) {
                deeds.push(Deed::Observe(who));
            }
            if world.spent.crashes < self.bounds.budget.crashes {
                deeds.push(Deed::Crash(who));
            }
        }
    }

    fn chain_deeds(&self, world: &World, deeds: &mut Vec<Deed>) {
        let budget = &self.bounds.budget;
        for &pending in &world.mempool {
            deeds.push(Deed::Include(pending));
            if world.spent.failures < budget.failures {
                deeds.push(Deed::Fail(pending));
            }
        }
        deeds.extend(world.agreed.iter().map(|call| Deed::Call(*call)));
        for &lane in self.bounds.lanes {
            let books = world.chain.tip.lane(lane);
            if world.spent.lowerings < budget.lowerings {
                let to = books.paid..books.ceiling;
                deeds.extend(to.map(|to| Deed::Call(Call::StartLowering(lane, to))));
            }
            if world.spent.key_changes < budget.key_changes {
                deeds.push(Deed::Call(Call::StartKeyChange(lane)));
            }
            if world.spent.raises < budget.raises {
                deeds.push(Deed::Call(Call::Raise(lane, 1)));
            }
            deeds.push(Deed::Call(Call::FinishLowering(lane)));
            deeds.push(Deed::Call(Call::FinishKeyChange(lane)));
        }
        if world.spent.closes < budget.closes {
            deeds.push(Deed::Call(Call::StartClose));
        }
        deeds.push(Deed::Call(Call::FinishClose));
        let waits = world
            .mempool
            .iter()
            .any(|pending| pending.age >= INCLUSION_MAX);
        let goes_on = !waits && world.chain.now < self.bounds.horizon;
        if goes_on && world.is_time_of_matter() {
            deeds.push(Deed::Tick);
        }
        if world.spent.reorgs < budget.reorgs && world.chain.blocks.len() > 1 {
            deeds.push(Deed::Reorg);
        }
    }

    /// Once nobody acted in time, only the chain's part is still told.
    fn aftermath(&self, world: &World, deeds: &mut Vec<Deed>) {
        for &lane in self.bounds.lanes {
            deeds.push(Deed::Call(Call::FinishLowering(lane)));
        }
        deeds.push(Deed::Call(Call::FinishClose));
        if world.chain.now < self.bounds.horizon {
            deeds.push(Deed::Tick);
        }
    }

    fn agreements(&self, world: &World, deeds: &mut Vec<Deed>) {
        let [pool, peer, ..] = &world.actors[..] else {
            return;
        };
        if pool.is_down || peer.is_down || pool.is_done || peer.is_done {
            return;
        }
        let small =
            |amount: forebay_quantity::Amount| u8::try_from(amount.value()).expect("small numbers");
        let (to_pool, to_peer) = (&pool.channel.incoming, &peer.channel.incoming);
        if world.spent.net_offs < self.bounds.budget.net_offs {
            let amount = small(to_pool.redeemable().min(to_peer.redeemable()));
            let see_the_same = to_peer.paid() == pool.channel.outgoing.paid()
                && to_pool.paid() == peer.channel.outgoing.paid();
            if amount > 0 && see_the_same {
                deeds.push(Deed::Agree(Call::NetOff {
                    pool_paid: small(to_peer.paid()),
                    peer_paid: small(to_pool.paid()),
                    amount,
                }));
            }
        }
        if world.spent.closes_together < self.bounds.budget.closes_together {
            let last = |lane: &forebay_channel::Lane| small(lane.secured().max(lane.paid()));
            deeds.push(Deed::Agree(Call::CloseTogether {
                pool_paid: last(to_peer),
                peer_paid: last(to_pool),
            }));
        }
    }

    /// Marks lanes on which nobody acted within a notice: the block now ends in which somebody had to at the latest.
    fn judge_watchers(&self, world: &mut World) {
        let now = world.chain.now;
        for &lane in self.bounds.lanes {
            let vault = &world.chain.tip;
            let books = vault.lane(lane);
            let lowering = books.lowering.map(|(_, deadline)| deadline);
            let notices = [vault.close_at, lowering, books.new_key];
            let missed = notices.into_iter().flatten().any(|deadline| {
                let given = deadline - vault.period;
                let due = now >= deadline.saturating_sub(self.bounds.margin);
                given < now && due && !self.somebody_acted(world, lane, given)
            });
            world.neglected[index(lane)] |= missed;
        }
    }

    fn somebody_acted(&self, world: &World, lane: LaneId, given: Moment) -> bool {
        let payee = &world.actors[Who::payee(lane).index()];
        let tower = world.actors.get(Who::Tower.index());
        let tower = tower.filter(|tower| tower.incoming() == lane && tower.best == payee.best);
        let acted = |actor: &Actor| {
            actor.seen_before > given && actor.retracted.is_empty() && actor.owes_nothing()
        };
        acted(payee) || tower.is_some_and(acted)
    }

    fn apply(&self, world: &mut World, deed: Deed) -> bool {
        match deed {
            Deed::Sign(lane, amount) => {
                let payer = Who::payer(lane);
                world.signed[index(lane)] += 1;
                if !world.actors[payer.index()].sign(amount) {
                    return false;
                }
                self.settle(world, payer);
            }
            Deed::Overpromise(lane, amount) => {
                world.spent.overpromises += 1;
                let signer = world.chain.tip.lane(lane).signer;
                let voucher = signed(lane, amount, signer);
                world.post(Message {
                    to: Who::payee(lane),
                    voucher,
                });
            }
            Deed::LetOut(who) => self.let_out(world, who),
            Deed::Deliver(message) => {
                world.network.retain(|other| *other != message);
                self.deliver(world, message);
            }
            Deed::Duplicate(message) => {
                world.spent.duplicates += 1;
                self.deliver(world, message);
            }
            Deed::Drop(message) => {
                world.spent.drops += 1;
                world.network.retain(|other| *other != message);
            }
            Deed::Observe(who) => {
                let policy = self.side_policy(who);
                world.actors[who.index()].observe(&world.chain, &policy);
                world.forget();
                self.settle(world, who);
            }
            Deed::Crash(who) => {
                world.spent.crashes += 1;
                world.actors[who.index()].crash();
            }
            Deed::Restart(who) => {
                world.actors[who.index()].restart();
                self.settle(world, who);
            }
            Deed::Include(pending) => world.include(pending),
            Deed::Fail(pending) => {
                world.spent.failures += 1;
                world.mempool.retain(|other| *other != pending);
                let (who, now) = (pending.from, world.chain.now);
                let policy = self.side_policy(who);
                world.actors[who.index()].failed(&pending.call, now, &policy);
                self.settle(world, who);
                // It is tried again at once: a failure costs no time.
                let again = world.mempool.iter_mut();
                again
                    .filter(|other| other.from == who && other.call == pending.call)
                    .for_each(|other| other.age = pending.age);
            }
            Deed::Call(call) => return world.call(call),
            Deed::Agree(call) => world.agree(call),
            Deed::Tick => {
                self.judge_watchers(world);
                world.chain.tick();
                world
                    .mempool
                    .iter_mut()
                    .for_each(|pending| pending.age += 1);
                world.forget();
                self.wake(world);
            }
            Deed::Reorg => {
                world.spent.reorgs += 1;
                world.reorg();
                world.forget();
                self.wake(world);
            }
        }
        true
    }

    fn wake(&self, world: &mut World) {
        let Some(who) = self.bounds.wakeful else {
            return;
        };
        let policy = self.side_policy(who);
        let actor = &mut world.actors[who.index()];
        if !actor.is_down && actor.is_behind(&world.chain) {
            actor.observe(&world.chain, &policy);
            world.forget();
            self.settle(world, who);
        }
    }

    fn deliver(&self, world: &mut World, message: Message) {
        let policy = self.side_policy(message.to);
        let now = world.chain.now;
        let unheard_max = self.unheard_max();
        let actor = &mut world.actors[message.to.index()];
        actor.take(&message.voucher, now, unheard_max, &policy);
        self.settle(world, message.to);
    }
}

impl World {
    fn new(bounds: &Bounds) -> Self {
        let [pool, peer] = bounds.ceilings;
        let vault = Vault::open(pool, peer, bounds.budget.raises, bounds.period);
        let mut actors = vec![
            Actor::new(Who::Pool, LaneId::Peer, &vault),
            Actor::new(Who::Peer, LaneId::Pool, &vault),
        ];
        actors.extend(
            bounds
                .tower
                .map(|lane| Actor::new(Who::Tower, lane, &vault)),
        );
        Self {
            chain: Chain::new(vault),
            actors,
            network: Vec::new(),
            mempool: Vec::new(),
            agreed: Vec::new(),
            counted: [0; 2],
            neglected: [false; 2],
            signed: [0; 2],
            spent: Budget::default(),
            marks: Marks::default(),
        }
    }

    /// Whether a block more changes anything but the date.
    fn is_time_of_matter(&self) -> bool {
        let vault = &self.chain.tip;
        let runs =
            |lane: &crate::chain::LaneBooks| lane.lowering.is_some() || lane.new_key.is_some();
        vault.close_at.is_some()
            || vault.lanes.iter().any(runs)
            || !self.mempool.is_empty()
            || self
                .chain
                .blocks
                .iter()
                .any(|block| !block.facts.is_empty())
    }

    fn post(&mut self, message: Message) {
        if !self.network.contains(&message) {
            self.network.push(message);
            self.network
                .sort_unstable_by_key(|m| (m.to, m.voucher.voucher.lane, m.voucher.signature.0));
        }
    }

    fn submit(&mut self, from: Who, call: Call) {
        let pending = Pending { from, call, age: 0 };
        let waits = self
            .mempool
            .iter()
            .any(|p| p.from == from && p.call == call);
        if !waits {
            self.mempool.push(pending);
            self.mempool
                .sort_by_cached_key(|p| (p.from, format!("{:?}", p.call)));
        }
    }

    fn include(&mut self, pending: Pending) {
        self.mempool.retain(|other| *other != pending);
        let worked = self.chain.include(&pending.call);
        let block = self.chain.blocks.last_mut().expect("one is being made");
        if worked {
            block.sent.push((pending.from, pending.call));
            self.marks.tower_paid |= pending.from == Who::Tower;
        }
    }

    /// A payer's own call, which it times as it likes.
    fn call(&mut self, call: Call) -> bool {
        let worked = self.chain.include(&call);
        match call {
            Call::StartLowering(..) => self.spent.lowerings += 1,
            Call::StartClose => self.spent.closes += 1,
            Call::StartKeyChange(_) => self.spent.key_changes += 1,
            Call::Raise(..) => self.spent.raises += 1,
            Call::NetOff { .. } if !worked && !self.marks.net_off_void => {
                self.marks.net_off_void = true;
                return true;
            }
            Call::NetOff { .. } => self.marks.netted = true,
            Call::CloseTogether { .. } => self.marks.closed_together = true,
            Call::Redeem(_)
            | Call::FinishLowering(_)
            | Call::FinishClose
            | Call::FinishKeyChange(_) => {}
        }
        worked
    }

    fn agree(&mut self, call: Call) {
        let [pool, peer, ..] = &mut self.actors[..] else {
            return;
        };
        match call {
            Call::CloseTogether { .. } => {
                self.spent.closes_together += 1;
                (pool.is_done, peer.is_done) = (true, true);
            }
            _ => self.spent.net_offs += 1,
        }
        self.agreed.push(call);
    }

    fn reorg(&mut self) {
        let newest = self.chain.now - 1;
        let (sent, facts) = self.chain.reorg();
        for (from, call) in sent {
            self.marks.redemption_came_back |= matches!(call, Call::Redeem(_));
            self.submit(from, call);
        }
        for actor in &mut self.actors {
            if actor.seen_before > newest {
                actor.seen_before = newest;
                let notices = facts.iter().filter(|fact| is_notice(fact));
                actor.retracted.extend(notices.copied());
            }
        }
    }

    /// Passes over empty blocks and forgets what everybody knows, so that states which differ in nothing else are one.
    fn forget(&mut self) {
        for actor in &mut self.actors {
            actor.pass_over(&self.chain);
        }
        let oldest = self.actors.iter().map(|actor| actor.final_before).min();
        self.chain
            .forget_before(oldest.expect("two sides at the least"));
    }

    /// Whether a lane's signer was changed.
    #[must_use]
    pub fn has_new_key(&self, lane: LaneId) -> bool {
        self.chain.settled().lane(lane).signer == second_signer(lane)
    }
}

fn is_notice(fact: &VaultFact) -> bool {
    matches!(
        fact,
        VaultFact::LoweringStarted { .. }
            | VaultFact::CloseStarted { .. }
            | VaultFact::KeyChangeStarted { .. }
    )
}

impl Model for ChannelModel {
    type State = World;
    type Action = Deed;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.bounds)]
    }

    fn actions(&self, world: &World, deeds: &mut Vec<Deed>) {
        if world.chain.settled().closed {
            return;
        }
        if self
            .bounds
            .lanes
            .iter()
            .all(|lane| world.neglected[index(*lane)])
        {
            return self.aftermath(world, deeds);
        }
        self.signs(world, deeds);
        self.messages(world, deeds);
        self.lives(world, deeds);
        self.agreements(world, deeds);
        self.chain_deeds(world, deeds);
    }

    fn next_state(&self, world: &World, deed: Deed) -> Option<World> {
        let mut next = world.clone();
        let happened = self.apply(&mut next, deed);
        self.count(&mut next);
        happened.then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties(self.endings)
    }
}
