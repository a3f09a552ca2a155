//! One contract suite for every rail, fake or real.
//!
//! A rail is a vault with its chain, seen through requests and observations. The same rows run against the
//! contract on a real chain and against the simulator's fake, so that a fake is never kinder than its chain. A rail of
//! Lightning has rows of its own, in [`lightning`].
//! The suite does no I/O: the rail under test does, or pretends to.
#![forbid(unsafe_code)]

use forebay_channel::{
    Address, Domain, Finality, LaneId, Signable, Signature, Voucher,
    vault::{Opening, SignedVoucher, VaultFact, VaultObservation, VaultRequest},
};
use forebay_quantity::{Amount, ChannelSerial, EffectId, Milliseconds, Timestamp};

mod growth;
pub mod lightning;
mod rows;
mod world;

pub use rows::ROWS;
use world::World;

/// Who acts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Party {
    /// Runs the pool and signs for its lanes.
    Operator,
    /// A connector, which signs for its lanes and is paid at its own address.
    Peer,
    /// A liquidity provider with notes.
    Lp,
    /// Anybody else.
    Stranger,
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Its transaction is in the newest block, and did what was asked.
    Done,
    /// The contract refuses it, by the name of its error.
    Refused(String),
}

/// A vault with its chain. Blocks are made only when the suite says so.
///
/// Every party holds money enough for gas and, of the vault's asset, at least 10^24 base units. The vault was
/// built with [`CLOSE_PERIOD`], [`TERM_MAX`], [`BUCKET_CAPACITY`], [`HEARTBEAT_MAX`], the [`COMMITTEE`], no floor, no least
/// note and the operator above.
pub trait Rail {
    /// Where a party is paid, which is also the address of its signing key.
    fn address(&self, party: Party) -> Address;

    /// Signs as a party.
    fn sign(&self, party: Party, domain: &Domain, message: &dyn Digestible) -> Signature;

    /// The vault's signing domain.
    fn domain(&self) -> Domain;

    /// Carries a request out as `party`, and makes a block with it. Under an effect asked for before, by the
    /// same party, nothing is carried out again and the answer is the same.
    fn request(&mut self, party: Party, effect: EffectId, request: &VaultRequest) -> Answer;

    /// Makes empty blocks.
    fn mine(&mut self, blocks: u32);

    /// Lets the chain's clock pass and makes a block.
    fn pass(&mut self, span: Milliseconds);

    /// Replaces the newest `blocks` blocks, their transactions dropped, by as many empty ones and one more.
    fn reorg(&mut self, blocks: u32);

    /// The timestamp of the newest block.
    fn now(&self) -> Timestamp;

    /// Everything reported since this was last asked, up to the newest block.
    fn observations(&mut self) -> Vec<VaultObservation>;

    /// What an address holds of the vault's asset, in base units. Fees for gas are not in it, even for ETH.
    fn balance(&self, owner: Address) -> Amount;
}

/// A message of any kind, as its digest in a domain.
pub trait Digestible {
    /// The digest to sign.
    fn digest_in(&self, domain: &Domain) -> forebay_quantity::Hash32;
}

impl<T: Signable> Digestible for T {
    fn digest_in(&self, domain: &Domain) -> forebay_quantity::Hash32 {
        domain.digest(self)
    }
}

/// The length of every notice in the vault under test.
pub const CLOSE_PERIOD: Milliseconds = Milliseconds::from_seconds(3_600);
/// How far ahead a term may end in the vault under test.
pub const TERM_MAX: Milliseconds = Milliseconds::from_seconds(86_400);
/// What the operator's key alone may allot in the vault under test, once: nothing of it comes back.
pub const BUCKET_CAPACITY: Amount = Amount::new(1_000_000);
/// After this much silence of the operator anybody may start the run-down of the vault under test.
pub const HEARTBEAT_MAX: Milliseconds = Milliseconds::from_seconds(30 * 86_400);
/// The committee of the vault under test.
pub const COMMITTEE: [Party; 3] = [Party::Peer, Party::Lp, Party::Stranger];
/// How many of it co-sign.
pub const COMMITTEE_SPEND: u8 = 2;
/// How many of it freeze.
pub const COMMITTEE_FREEZE: u8 = 1;
/// How many blocks lie above the newest final one, at most, on the chain under test.
pub const BLOCKS_TO_FINAL: u32 = 4;

/// A claim about rails.
pub struct Row {
    /// What is claimed.
    pub claim: &'static str,
    check: fn(&mut World<'_>),
}

/// Runs every row on one rail; each uses a channel of its own, beginning with `first_serial`.
///
/// # Panics
/// When the rail does not keep a claim, whose text is in the message before it.
pub fn run(rail: &mut dyn Rail, first_serial: ChannelSerial) {
    for (at, row) in (0u64..).zip(ROWS) {
        let serial = ChannelSerial::new(first_serial.value() + at);
        println!("claim: {}", row.claim);
        (row.check)(&mut World::new(rail, serial));
    }
}
