//! What a row needs to speak shortly.

use super::*;
use sha2::{Digest, Sha256};

/// The value of the channel that most rows have, in sat.
pub(crate) const CHANNEL_SAT: u64 = 1_000_000;
/// What a change may cost, where that does not matter, in sat.
pub(crate) const FEE_MAX_SAT: u64 = 10_000;
/// What routing may cost, where that does not matter, in msat.
pub(crate) const ROUTING_MAX_MSAT: u64 = 10_000;
/// What is paid to a payee that holds it, in msat.
pub(crate) const HELD_MSAT: u64 = 40_000_000;
/// What closings and sweeps of a row may cost, in sat.
pub(crate) const MINERS_MAX_SAT: u64 = 10_000;
/// The number of the channel that most rows have.
pub(crate) const CHANNEL: Channel = Channel(7);
/// How often a rail goes on before it counts as stuck: three minutes at 10 ms each.
const STEPS_MAX: u32 = 18_000;
/// What a transaction needs to reach all, in steps, before the next block.
const STEPS_A_BLOCK: u32 = 25;

pub(crate) struct World<'a, R: ?Sized> {
    pub(crate) rail: &'a mut R,
    told: Vec<Observation>,
}

impl<'a, R: LightningRail + ?Sized> World<'a, R> {
    pub(crate) fn new(rail: &'a mut R) -> Self {
        Self {
            rail,
            told: Vec::new(),
        }
    }

    /// All that was told so far.
    pub(crate) fn told(&mut self) -> &[Observation] {
        self.told.extend(self.rail.observations());
        &self.told
    }

    pub(crate) fn count(&mut self, is_it: impl Fn(&Observation) -> bool) -> usize {
        self.told().iter().filter(|o| is_it(o)).count()
    }

    /// Goes on until it is so.
    pub(crate) fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        for _ in 0..STEPS_MAX {
            if is_so(self) {
                return;
            }
            self.rail.go_on();
        }
        panic!("it never came: {what}; told: {:?}", self.told());
    }

    /// The same, with so many blocks every few steps.
    pub(crate) fn until_mined(
        &mut self,
        what: &str,
        blocks: u32,
        mut is_so: impl FnMut(&mut Self) -> bool,
    ) {
        let mut steps = 0;
        self.until(what, |world| {
            if is_so(world) {
                return true;
            }
            steps += 1;
            if steps % STEPS_A_BLOCK == 0 {
                world.rail.mine(blocks);
            }
            false
        });
    }

    /// Waits for an observation, which may have come before.
    pub(crate) fn wait(&mut self, what: &str, is_it: impl Fn(&Observation) -> bool) -> Observation {
        self.until(what, |world| world.told().iter().any(&is_it));
        let found = self.told.iter().find(|o| is_it(o));
        *found.expect("it was told")
    }

    /// Our node starts anew; what it told before is known still.
    pub(crate) fn restart(&mut self) {
        self.told();
        self.rail.restart();
    }

    pub(crate) fn opening(&self, channel: Channel) -> Opening {
        Opening {
            channel,
            with: Other::Peer,
            value_sat: CHANNEL_SAT,
            fee_max_sat: FEE_MAX_SAT,
        }
    }

    /// Opens [`CHANNEL`], with as much left in the hot wallet.
    pub(crate) fn channel(&mut self) {
        self.rail.fund(2 * CHANNEL_SAT + 200_000);
        let opening = self.opening(CHANNEL);
        assert_eq!(self.rail.open(&[opening]), [Ok(())]);
        self.usable(CHANNEL);
    }

    /// Makes blocks until a channel can be used.
    pub(crate) fn usable(&mut self, channel: Channel) {
        self.until_mined("the channel can be used", 1, |world| {
            world.standing(channel).is_some_and(|c| c.usable)
        });
        self.wait(
            "the channel is ready",
            |o| matches!(o, Observation::Ready { channel: c } if *c == channel),
        );
        self.quiet();
    }

    pub(crate) fn standing(&mut self, channel: Channel) -> Option<Standing> {
        let all = self.rail.channels();
        all.into_iter().find(|c| c.channel == channel)
    }

    /// Waits until nothing is under way.
    pub(crate) fn quiet(&mut self) {
        self.until("nothing is under way", |world| {
            let all = world.rail.channels();
            all.iter().all(|c| c.pending == 0 && c.usable)
        });
    }

    /// Pays, and waits for the end: the fee, if it arrived.
    pub(crate) fn pay(&mut self, invoice: &str) -> Option<u64> {
        let hash = self.rail.read(invoice).hash;
        let begun = self.rail.pay(invoice, ROUTING_MAX_MSAT);
        begun.unwrap_or_else(|refusal| panic!("it is not paid: {refusal:?}"));
        self.end_of(hash)
    }

    /// Waits for the end of a payment: the fee, if it arrived.
    pub(crate) fn end_of(&mut self, hash: Hash32) -> Option<u64> {
        match self.wait("the payment ends", |o| ends(o, hash)) {
            Observation::Sent { fee_msat, .. } => Some(fee_msat),
            _ => None,
        }
    }

    /// How often a payment was told to have ended.
    pub(crate) fn ends_of(&mut self, hash: Hash32) -> usize {
        self.count(|o| ends(o, hash))
    }

    /// An invoice of the peer's, that can be paid for an hour.
    pub(crate) fn their_invoice(&mut self, amount_msat: u64) -> String {
        self.rail.their_invoice(Other::Peer, amount_msat, 3_600)
    }

    /// Gives the peer so much, in msat, in parts.
    pub(crate) fn give(&mut self, parts: u32, part_msat: u64) {
        for _ in 0..parts {
            let invoice = self.their_invoice(part_msat);
            assert_eq!(self.pay(&invoice), Some(0));
            self.quiet();
        }
    }

    /// Waits until both ends say what is ours in the only channel, in msat.
    pub(crate) fn agreed(&mut self, balance_msat: u64) {
        self.quiet();
        let [channel] = self.rail.channels()[..] else {
            panic!("there is one channel");
        };
        assert_eq!(channel.balance_msat, balance_msat);
        let theirs_msat = channel.value_sat * 1_000 - balance_msat;
        self.until("the peer has the rest", |world| {
            world.rail.peer_balance_msat() == theirs_msat
        });
    }

    /// A payment of [`HELD_MSAT`] that the peer holds, of an invoice with this expiry.
    pub(crate) fn held_by_peer(&mut self, preimage: [u8; 32], expiry_s: u32) -> (String, Hash32) {
        let hash = hash_of(preimage);
        let invoice = self.rail.their_hold_invoice(hash, HELD_MSAT, expiry_s);
        assert_eq!(self.rail.read(&invoice).hash, hash);
        self.pay_and_hold(&invoice);
        (invoice, hash)
    }

    pub(crate) fn pay_and_hold(&mut self, invoice: &str) {
        let hash = self.rail.read(invoice).hash;
        let ended = self.ends_of(hash);
        assert_eq!(
            self.rail.pay(invoice, ROUTING_MAX_MSAT),
            Ok(Payment::Pending)
        );
        self.until("the payment is under way", |world| {
            world.standing(CHANNEL).is_some_and(|c| c.pending == 1)
        });
        assert_eq!(self.ends_of(hash), ended);
    }

    /// Makes blocks until all of a closed channel is back, and says how much that is, in sat.
    pub(crate) fn all_back(&mut self, channel: Channel) -> u64 {
        let mut back = None;
        self.until_mined("the money is back", 1, |world| {
            back = world.back(channel);
            back.is_some()
        });
        back.expect("it is back")
    }

    /// What came back of a closed channel, in sat, once all of it has: what was ours in it, less what the way cost.
    fn back(&mut self, channel: Channel) -> Option<u64> {
        let (mut balance_msat, mut costs_msat, mut is_back) = (0, 0, false);
        for observation in self.told() {
            match observation {
                Observation::Closed {
                    channel: c,
                    balance_msat: Some(msat),
                } if *c == channel => balance_msat = *msat,
                Observation::Back {
                    channel: c,
                    cost_msat,
                    is_all,
                } if *c == channel => {
                    costs_msat += cost_msat;
                    is_back |= is_all;
                }
                _ => {}
            }
        }
        is_back.then(|| (balance_msat - costs_msat) / 1_000)
    }

    /// Waits until a channel is told closed with this as ours, in msat.
    pub(crate) fn closed_with(&mut self, channel: Channel, balance_msat: u64) {
        let told = self.wait("it is closed", closed(channel));
        let expected = Observation::Closed {
            channel,
            balance_msat: Some(balance_msat),
        };
        assert_eq!(told, expected);
    }

    /// The transaction and the fee of an opening.
    pub(crate) fn funding(&mut self, channel: Channel) -> (Option<Hash32>, u64) {
        match self.wait("the opening is pending", pending(channel)) {
            Observation::Pending {
                funding, fee_sat, ..
            } => (funding, fee_sat),
            _ => unreachable!("it was asked for"),
        }
    }

    /// Waits until somebody else's payment has ended so.
    pub(crate) fn they_end(&mut self, who: Other, hash: Hash32, arrived: bool) {
        self.until("their payment ends", |world| {
            match world.rail.their_payment(who, hash) {
                Payment::Sent { .. } => {
                    assert!(arrived, "it should have come back");
                    true
                }
                Payment::Failed => {
                    assert!(!arrived, "it should have arrived");
                    true
                }
                Payment::Unknown | Payment::Pending => false,
            }
        });
    }
}

pub(crate) fn terms(amount_msat: u64) -> Terms {
    Terms {
        amount_msat,
        expiry_s: 3_600,
        final_cltv: 80,
    }
}

pub(crate) fn ends(observation: &Observation, hash: Hash32) -> bool {
    match observation {
        Observation::Sent { hash: h, .. } | Observation::Failed { hash: h } => *h == hash,
        _ => false,
    }
}

pub(crate) fn pending(channel: Channel) -> impl Fn(&Observation) -> bool {
    move |o| matches!(o, Observation::Pending { channel: c, .. } if *c == channel)
}

pub(crate) fn closed(channel: Channel) -> impl Fn(&Observation) -> bool {
    move |o| matches!(o, Observation::Closed { channel: c, .. } if *c == channel)
}

pub(crate) fn hash_of(preimage: [u8; 32]) -> Hash32 {
    Hash32(Sha256::digest(preimage).into())
}
