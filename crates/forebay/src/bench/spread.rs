//! A load without sockets, spread over accounts at random: each round fulfils what the round before has forwarded,
//! prepares as many packets anew, and syncs once.

use std::io::Write;

use anyhow::Result;
use forebay_pool::{Command, Effect, Prepare};
use forebay_quantity::{PacketId, PeerId};
use sha2::{Digest, Sha256};

use super::core::{Accounts, Core, receiver_name};
use super::generator::{AMOUNT, PREIMAGE, expiry};

/// The load, and what of it is under way.
pub(super) struct Spread {
    accounts: Accounts,
    random: Random,
    next_request: u32,
    condition: [u8; 32],
    forwarded: Vec<(PacketId, PeerId)>,
    destination: Vec<u8>,
}

impl Spread {
    pub(super) fn new(accounts: Accounts) -> Self {
        Self {
            accounts,
            random: Random(0x5eed),
            next_request: 0,
            condition: Sha256::digest(PREIMAGE).into(),
            forwarded: Vec::new(),
            destination: Vec::new(),
        }
    }

    /// Fulfils what is under way and prepares `window` packets; returns how many events that made.
    pub(super) fn round(&mut self, core: &mut Core, window: u32) -> Result<u64> {
        for (packet, peer) in std::mem::take(&mut self.forwarded) {
            let preimage = PREIMAGE;
            core.apply(&Command::Fulfill {
                peer,
                packet,
                preimage,
            })?;
        }
        let expires_at = expiry();
        for _ in 0..window {
            self.next_request = self.next_request.wrapping_add(1);
            let sender = self.random.below(self.accounts.senders);
            let receiver = self.random.below(self.accounts.receivers);
            self.destination.clear();
            write!(
                self.destination,
                "test.pool.{}.account",
                receiver_name(receiver)
            )?;
            core.apply(&Command::Prepare(Prepare {
                peer: self.accounts.sender(sender),
                request: self.next_request,
                amount: AMOUNT,
                expires_at,
                condition: self.condition,
                destination: &self.destination,
            }))?;
        }
        let forwarded = &mut self.forwarded;
        core.commit(|effect| {
            if let Effect::Forward { packet, peer, .. } = effect {
                forwarded.push((packet, peer));
            }
        })
    }
}

/// Xorshift (Marsaglia 2003): the same accounts in the same order on each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let high = self.0 >> 32;
        u32::try_from((high * u64::from(bound)) >> 32).expect("below a bound of 32 bits")
    }
}
