//! The chain: one channel of a vault by the contract's rules (contracts/evm/src/Channels.sol), in blocks of which the
//! newest may be dropped. The block under it is final.

use std::fmt;

use forebay_channel::{
    Address, LaneId,
    vault::{SignedVoucher, VaultFact},
};
use forebay_quantity::{Amount, ChannelSerial, Timestamp};

use crate::actor::Who;
use crate::signing::signer_of;

/// The only channel.
pub const SERIAL: ChannelSerial = ChannelSerial::new(7);
/// Whom the pool's lane pays.
pub const PAYOUT: Address = Address::new([0xee; 20]);

/// A moment of the chain: the number of a block, which is also its time.
pub type Moment = u8;

/// The moment as the channel reads it.
#[must_use]
pub fn time(moment: Moment) -> Timestamp {
    Timestamp::new(u64::from(moment))
}

/// A call on the vault, by anybody who may.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Redeem a voucher; anybody may.
    Redeem(SignedVoucher),
    /// Raise the pool's ceiling, or deposit on the peer's lane; the payer.
    Raise(LaneId, u8),
    /// Give notice of a lower ceiling; the payer.
    StartLowering(LaneId, u8),
    /// Execute that notice; anybody may.
    FinishLowering(LaneId),
    /// Give notice of a close; either side.
    StartClose,
    /// Execute that notice; anybody may.
    FinishClose,
    /// Give notice of another signer; the payer.
    StartKeyChange(LaneId),
    /// Execute that notice; anybody may.
    FinishKeyChange(LaneId),
    /// Net both lanes; signed by both over both paids.
    NetOff {
        /// The pool lane's paid, as it stood.
        pool_paid: u8,
        /// The peer lane's paid, as it stood.
        peer_paid: u8,
        /// What both rise by.
        amount: u8,
    },
    /// Close at once with these paids; signed by both.
    CloseTogether {
        /// The pool lane's last paid.
        pool_paid: u8,
        /// The peer lane's last paid.
        peer_paid: u8,
    },
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redeem(SignedVoucher { voucher, .. }) => {
                write!(f, "redeem {:?} {}", voucher.lane, voucher.amount)
            }
            Self::Raise(lane, amount) => write!(f, "raise {lane:?} by {amount}"),
            Self::StartLowering(lane, to) => write!(f, "start lowering {lane:?} to {to}"),
            Self::FinishLowering(lane) => write!(f, "finish lowering {lane:?}"),
            Self::StartClose => write!(f, "start close"),
            Self::FinishClose => write!(f, "finish close"),
            Self::StartKeyChange(lane) => write!(f, "start key change {lane:?}"),
            Self::FinishKeyChange(lane) => write!(f, "finish key change {lane:?}"),
            Self::NetOff { amount, .. } => write!(f, "net off {amount}"),
            Self::CloseTogether {
                pool_paid,
                peer_paid,
            } => write!(f, "close together at {pool_paid}, {peer_paid}"),
        }
    }
}

/// The books of one lane.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LaneBooks {
    /// Who signs.
    pub signer: Address,
    /// Cumulative.
    pub ceiling: u8,
    /// Cumulative.
    pub paid: u8,
    /// To where, and from when on.
    pub lowering: Option<(u8, Moment)>,
    /// From when on.
    pub new_key: Option<Moment>,
    /// Who signed before, and up to which amount that counts.
    pub former: Option<(Address, u8)>,
}

impl LaneBooks {
    fn new(lane: LaneId, ceiling: u8) -> Self {
        Self {
            signer: first_signer(lane),
            ceiling,
            paid: 0,
            lowering: None,
            new_key: None,
            former: None,
        }
    }

    /// Up to where a voucher of this signer counts; `None` for a stranger.
    fn counts_up_to(&self, signer: Address) -> Option<u8> {
        if signer == self.signer {
            return Some(self.ceiling);
        }
        let (former, kept) = self.former?;
        (former == signer).then(|| kept.min(self.ceiling))
    }
}

/// Who signs a lane at first.
#[must_use]
pub fn first_signer(lane: LaneId) -> Address {
    Address::new([0x10 + lane.number(); 20])
}

/// Who signs a lane after its key change.
#[must_use]
pub fn second_signer(lane: LaneId) -> Address {
    Address::new([0x20 + lane.number(); 20])
}

/// The vault's books, as far as one channel needs them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Vault {
    /// All that was ever put in.
    pub funded: u8,
    /// What no lane holds.
    pub free: u8,
    /// What the peer was paid, its deposit's rest counted.
    pub paid_out: u8,
    /// Whether the channel is closed.
    pub closed: bool,
    /// When a close may be executed.
    pub close_at: Option<Moment>,
    /// How long notices run.
    pub period: Moment,
    /// By [`LaneId`].
    pub lanes: [LaneBooks; 2],
}

/// Where a lane lies in arrays of two.
#[must_use]
pub fn index(lane: LaneId) -> usize {
    usize::from(lane.number())
}

impl Vault {
    /// An open channel with these ceilings, and free money left over.
    #[must_use]
    pub fn open(pool_ceiling: u8, peer_ceiling: u8, free: u8, period: Moment) -> Self {
        Self {
            funded: pool_ceiling + peer_ceiling + free,
            free,
            paid_out: 0,
            closed: false,
            close_at: None,
            period,
            lanes: [
                LaneBooks::new(LaneId::Pool, pool_ceiling),
                LaneBooks::new(LaneId::Peer, peer_ceiling),
            ],
        }
    }

    /// The books of one lane.
    #[must_use]
    pub fn lane(&self, lane: LaneId) -> &LaneBooks {
        &self.lanes[index(lane)]
    }

    /// What the lane will have paid once this voucher is redeemed, cumulative.
    #[must_use]
    pub fn collectable(&self, voucher: &SignedVoucher) -> u8 {
        let books = self.lane(voucher.voucher.lane);
        let signer = signer_of(voucher);
        let most = signer
            .and_then(|signer| books.counts_up_to(signer))
            .unwrap_or(0);
        let amount = u8::try_from(voucher.voucher.amount.value()).unwrap_or(u8::MAX);
        if self.closed {
            books.paid
        } else {
            books.paid.max(amount.min(most))
        }
    }

    /// What went out and what is still there come to what was put in.
    #[must_use]
    pub fn is_covered(&self) -> bool {
        let held = self.lanes.iter().map(|lane| lane.ceiling - lane.paid);
        let held: u8 = held.sum::<u8>() + self.free;
        self.paid_out <= self.funded && self.funded - self.paid_out == held
    }

    /// Executes a call in a block of this moment; a refusal changes nothing.
    pub fn execute(&mut self, now: Moment, call: &Call) -> Option<Vec<VaultFact>> {
        if self.closed {
            return None;
        }
        let serial = SERIAL;
        let deadline = now + self.period;
        match *call {
            Call::Redeem(signed) => self.redeem(&signed, signer_of(&signed)?),
            Call::Raise(lane, by) => {
                let ceiling = self.raise(lane, by)?;
                Some(vec![match lane {
                    LaneId::Pool => VaultFact::Raised { serial, ceiling },
                    LaneId::Peer => VaultFact::Deposited {
                        serial,
                        from: PAYOUT,
                        amount: Amount::from(u64::from(by)),
                        ceiling,
                    },
                }])
            }
            Call::StartLowering(lane, to) => {
                let books = &mut self.lanes[index(lane)];
                let runs = books.lowering.is_some();
                if runs || to >= books.ceiling || books.paid == books.ceiling {
                    return None;
                }
                books.lowering = Some((to, deadline));
                Some(vec![VaultFact::LoweringStarted {
                    serial,
                    lane,
                    ceiling: units(to),
                    deadline: time(deadline),
                }])
            }
            Call::FinishLowering(lane) => {
                let (to, ends) = self.lane(lane).lowering?;
                (now >= ends).then(|| self.lower(lane, to))
            }
            Call::StartClose => {
                if self.close_at.is_some() {
                    return None;
                }
                self.close_at = Some(deadline);
                Some(vec![VaultFact::CloseStarted {
                    serial,
                    by: PAYOUT,
                    deadline: time(deadline),
                }])
            }
            Call::FinishClose => {
                let ends = self.close_at?;
                let [pool, peer] = self.lanes;
                (now >= ends).then(|| self.close(pool.paid, peer.paid))
            }
            Call::StartKeyChange(lane) => {
                let books = &mut self.lanes[index(lane)];
                if books.new_key.is_some() || books.signer == second_signer(lane) {
                    return None;
                }
                books.new_key = Some(deadline);
                Some(vec![VaultFact::KeyChangeStarted {
                    serial,
                    lane,
                    signer: second_signer(lane),
                    deadline: time(deadline),
                }])
            }
            Call::FinishKeyChange(lane) => {
                let ends = self.lane(lane).new_key?;
                (now >= ends).then(|| self.change_key(lane))
            }
            Call::NetOff {
                pool_paid,
                peer_paid,
                amount,
            } => {
                let [pool, peer] = &self.lanes;
                let stands = pool.paid == pool_paid && peer.paid == peer_paid;
                (stands && self.has_first_signers()).then(|| self.net_off(amount))
            }
            Call::CloseTogether {
                pool_paid,
                peer_paid,
            } => {
                let [pool, peer] = &self.lanes;
                let within = (pool.paid..=pool.ceiling).contains(&pool_paid)
                    && (peer.paid..=peer.ceiling).contains(&peer_paid);
                (within && self.has_first_signers()).then(|| self.close(pool_paid, peer_paid))
            }
        }
    }

    /// What both signed was signed by their first keys, and a contract knows the present ones only.
    fn has_first_signers(&self) -> bool {
        let first = |lane| self.lane(lane).signer == first_signer(lane);
        first(LaneId::Pool) && first(LaneId::Peer)
    }

    fn redeem(&mut self, signed: &SignedVoucher, signer: Address) -> Option<Vec<VaultFact>> {
        let lane = signed.voucher.lane;
        let most = self.lane(lane).counts_up_to(signer)?;
        let amount = u8::try_from(signed.voucher.amount.value()).ok()?.min(most);
        let books = &mut self.lanes[index(lane)];
        let due = amount.checked_sub(books.paid).filter(|due| *due > 0)?;
        books.paid = amount;
        match lane {
            LaneId::Pool => self.paid_out += due,
            LaneId::Peer => self.free += due,
        }
        Some(vec![VaultFact::Redeemed {
            serial: SERIAL,
            lane,
            paid: units(amount),
        }])
    }

    fn raise(&mut self, lane: LaneId, by: u8) -> Option<Amount> {
        match lane {
            LaneId::Pool => self.free = self.free.checked_sub(by)?,
            LaneId::Peer if self.close_at.is_some() => return None,
            LaneId::Peer => self.funded += by,
        }
        let books = &mut self.lanes[index(lane)];
        books.ceiling += by;
        Some(units(books.ceiling))
    }

    fn lower(&mut self, lane: LaneId, to: u8) -> Vec<VaultFact> {
        let books = &mut self.lanes[index(lane)];
        books.lowering = None;
        let ceiling = to.max(books.paid).min(books.ceiling);
        let freed = books.ceiling - ceiling;
        books.ceiling = ceiling;
        match lane {
            LaneId::Pool => self.free += freed,
            LaneId::Peer => self.paid_out += freed,
        }
        vec![VaultFact::Lowered {
            serial: SERIAL,
            lane,
            ceiling: units(ceiling),
            released: false,
        }]
    }

    fn change_key(&mut self, lane: LaneId) -> Vec<VaultFact> {
        let books = &mut self.lanes[index(lane)];
        let (former, signer) = (books.signer, second_signer(lane));
        books.new_key = None;
        books.former = Some((former, books.ceiling));
        books.signer = signer;
        vec![VaultFact::KeyChanged {
            serial: SERIAL,
            lane,
            former,
            signer,
            former_ceiling: units(books.ceiling),
            consented: false,
        }]
    }

    fn net_off(&mut self, amount: u8) -> Vec<VaultFact> {
        for books in &mut self.lanes {
            books.ceiling += amount;
            books.paid += amount;
            if let Some((to, _)) = &mut books.lowering {
                *to += amount;
            }
        }
        let [pool, peer] = &self.lanes;
        vec![VaultFact::NettedOff {
            serial: SERIAL,
            pool_paid: units(pool.paid),
            peer_paid: units(peer.paid),
            amount: units(amount),
        }]
    }

    fn close(&mut self, pool_paid: u8, peer_paid: u8) -> Vec<VaultFact> {
        let [pool, peer] = &mut self.lanes;
        self.paid_out += (pool_paid - pool.paid) + (peer.ceiling - peer_paid);
        self.free += (peer_paid - peer.paid) + (pool.ceiling - pool_paid);
        (pool.paid, pool.ceiling) = (pool_paid, pool_paid);
        (peer.paid, peer.ceiling) = (peer_paid, peer_paid);
        (self.closed, self.close_at) = (true, None);
        vec![VaultFact::Closed {
            serial: SERIAL,
            pool_paid: units(pool_paid),
            peer_paid: units(peer_paid),
        }]
    }
}

/// Base units.
#[must_use]
pub fn units(amount: u8) -> Amount {
    Amount::from(u64::from(amount))
}

/// A block and what it holds.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Block {
    /// The vault before it.
    pub before: Vault,
    /// What honest parties sent: it comes back when the block is dropped.
    pub sent: Vec<(Who, Call)>,
    /// What the vault reported.
    pub facts: Vec<VaultFact>,
}

/// Blocks that somebody has not taken in yet, and the one being made.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Chain {
    /// The moment of the block being made.
    pub now: Moment,
    /// The books after all that happened.
    pub tip: Vault,
    /// The last of them is being made; the one before may still be dropped; all others are final.
    pub blocks: Vec<Block>,
}

impl Chain {
    /// A chain whose past is final.
    #[must_use]
    pub fn new(vault: Vault) -> Self {
        let block = Block {
            before: vault,
            sent: Vec::new(),
            facts: Vec::new(),
        };
        Self {
            now: 0,
            tip: vault,
            blocks: vec![block],
        }
    }

    /// The newest block that is closed; before the first is, the one being made.
    #[must_use]
    pub fn newest(&self) -> Moment {
        self.now.saturating_sub(1)
    }

    /// The books that no reorg changes any more.
    #[must_use]
    pub fn settled(&self) -> &Vault {
        let newest_closed = self.blocks.len().saturating_sub(2);
        &self.blocks[newest_closed].before
    }

    /// Executes a call in the block being made.
    pub fn include(&mut self, call: &Call) -> bool {
        let Some(facts) = self.tip.execute(self.now, call) else {
            return false;
        };
        let block = self.blocks.last_mut().expect("one block is being made");
        block.facts.extend(facts);
        true
    }

    /// Ends the block being made and begins the next.
    pub fn tick(&mut self) {
        self.now += 1;
        self.blocks.push(Block {
            before: self.tip,
            sent: Vec::new(),
            facts: Vec::new(),
        });
    }

    /// Drops the newest closed block and what came after it; gives what was sent in them, and what is taken back.
    pub fn reorg(&mut self) -> (Vec<(Who, Call)>, Vec<VaultFact>) {
        let count = self.blocks.len();
        let (_, dropped) = self.blocks.split_at_mut(count - 2);
        let before = dropped[0].before;
        let sent = dropped
            .iter_mut()
            .flat_map(|block| std::mem::take(&mut block.sent));
        let sent = sent.collect();
        let facts = std::mem::take(&mut dropped[0].facts);
        dropped[1].facts.clear();
        dropped[1].before = before;
        self.tip = before;
        (sent, facts)
    }

    /// Forgets blocks that everybody has taken in as final.
    pub fn forget_before(&mut self, moment: Moment) {
        let oldest = usize::from(self.now) + 1 - self.blocks.len();
        let keep = self.blocks.len().saturating_sub(2);
        let count = usize::from(moment).saturating_sub(oldest).min(keep);
        self.blocks.drain(..count);
    }

    /// What happened at a moment that is not forgotten.
    #[must_use]
    pub fn facts_at(&self, moment: Moment) -> &[VaultFact] {
        let oldest = usize::from(self.now) + 1 - self.blocks.len();
        let at = usize::from(moment).checked_sub(oldest);
        at.map_or(&[], |at| &self.blocks[at].facts)
    }
}
