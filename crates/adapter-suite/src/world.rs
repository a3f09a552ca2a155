//! What a row needs to speak shortly: one channel on the rail under test.

use super::*;
use forebay_channel::vault::Cosignature;
use std::collections::BTreeSet;

/// The first allotment and the deposit of each row's channel, in base units.
pub(crate) const FUNDED: u128 = 1_000;

pub(crate) struct World<'a> {
    pub(crate) rail: &'a mut dyn Rail,
    pub(crate) serial: ChannelSerial,
    effects: u64,
    seen: Vec<VaultObservation>,
}

impl<'a> World<'a> {
    pub(crate) fn new(rail: &'a mut dyn Rail, serial: ChannelSerial) -> Self {
        let mut world = Self {
            rail,
            serial,
            effects: 0,
            seen: Vec::new(),
        };
        let _of_earlier_rows = world.rail.observations();
        world.effects = serial.value() * 1_000;
        world
    }

    pub(crate) fn effect(&mut self) -> EffectId {
        self.effects += 1;
        EffectId::new(self.effects)
    }

    pub(crate) fn ask(&mut self, party: Party, request: &VaultRequest) -> Answer {
        let effect = self.effect();
        self.rail.request(party, effect, request)
    }

    pub(crate) fn done(&mut self, party: Party, request: &VaultRequest) {
        assert_eq!(self.ask(party, request), Answer::Done, "{request:?}");
    }

    pub(crate) fn refused(&mut self, party: Party, request: &VaultRequest, name: &str) {
        assert_eq!(
            self.ask(party, request),
            Answer::Refused(name.to_owned()),
            "{request:?}"
        );
    }

    /// Opens this row's channel; with free money from the LP's notes behind its allotment.
    pub(crate) fn open(&mut self) {
        self.done(Party::Lp, &VaultRequest::DepositNote(Amount::new(FUNDED)));
        let opening = self.opening();
        self.done(Party::Operator, &VaultRequest::Open(opening));
    }

    pub(crate) fn opening(&self) -> Opening {
        Opening {
            serial: self.serial,
            pool_signer: self.rail.address(Party::Operator),
            peer_signer: self.rail.address(Party::Peer),
            peer_payout: self.rail.address(Party::Peer),
            allotment: Amount::new(FUNDED),
            term_end: Some(
                self.rail
                    .now()
                    .saturating_add(Milliseconds::from_seconds(7_200)),
            ),
            deposit: Amount::ZERO,
        }
    }

    pub(crate) fn deposit_request(&self, amount: u128) -> VaultRequest {
        let peer_payout = self.rail.address(Party::Peer);
        VaultRequest::Deposit {
            serial: self.serial,
            amount: Amount::new(amount),
            peer_payout,
        }
    }

    pub(crate) fn voucher(&self, lane: LaneId, amount: u128) -> SignedVoucher {
        let voucher = Voucher {
            serial: self.serial,
            lane,
            amount: Amount::new(amount),
        };
        let payer = match lane {
            LaneId::Pool => Party::Operator,
            LaneId::Peer => Party::Peer,
        };
        let signature = self.rail.sign(payer, &self.rail.domain(), &voucher);
        SignedVoucher { voucher, signature }
    }

    /// Signatures of the first `count` of the committee.
    pub(crate) fn cosigned(&self, count: usize, message: &dyn Digestible) -> Vec<Cosignature> {
        let members = (0u8..).zip(COMMITTEE).take(count);
        let one = |(member, party)| Cosignature {
            member,
            signature: self.rail.sign(party, &self.rail.domain(), message),
        };
        members.map(one).collect()
    }

    pub(crate) fn redeem(&self, lane: LaneId, amount: u128) -> VaultRequest {
        VaultRequest::Redeem(vec![self.voucher(lane, amount)])
    }

    pub(crate) fn balance(&self, party: Party) -> u128 {
        self.rail.balance(self.rail.address(party)).value()
    }

    pub(crate) fn finalize(&mut self) {
        self.rail.mine(BLOCKS_TO_FINAL);
    }

    /// All that was reported of this row's channel so far.
    pub(crate) fn reports(&mut self) -> Vec<VaultObservation> {
        self.seen.extend(self.rail.observations());
        let ours = |observation: &&VaultObservation| match observation {
            VaultObservation::Fact { fact, .. } | VaultObservation::Retracted { fact, .. } => {
                fact.serial() == Some(self.serial)
            }
            VaultObservation::Head(_) => false,
            VaultObservation::DeepReorg { .. } => true,
        };
        self.seen.iter().filter(ours).copied().collect()
    }

    /// The channel's facts at whatever depth they were reported first, in order.
    pub(crate) fn facts_reported(&mut self) -> Vec<VaultFact> {
        let mut places = BTreeSet::new();
        let first = |observation| match observation {
            VaultObservation::Fact { fact, place, .. } if places.insert(place) => Some(fact),
            VaultObservation::Fact { .. }
            | VaultObservation::Retracted { .. }
            | VaultObservation::Head(_)
            | VaultObservation::DeepReorg { .. } => None,
        };
        self.reports().into_iter().filter_map(first).collect()
    }

    /// All facts that were reported so far, of whatever channel or of none.
    pub(crate) fn facts_of_vault(&mut self) -> Vec<VaultFact> {
        self.seen.extend(self.rail.observations());
        let fact = |observation: &VaultObservation| match observation {
            VaultObservation::Fact { fact, .. } => Some(*fact),
            VaultObservation::Retracted { .. }
            | VaultObservation::Head(_)
            | VaultObservation::DeepReorg { .. } => None,
        };
        self.seen.iter().filter_map(fact).collect()
    }

    /// The channel's facts that were reported at this depth, in order.
    pub(crate) fn facts(&mut self, depth: Finality) -> Vec<VaultFact> {
        let at_depth = |observation| match observation {
            VaultObservation::Fact { fact, finality, .. } if finality == depth => Some(fact),
            VaultObservation::Fact { .. }
            | VaultObservation::Retracted { .. }
            | VaultObservation::Head(_)
            | VaultObservation::DeepReorg { .. } => None,
        };
        self.reports().into_iter().filter_map(at_depth).collect()
    }
}

impl World<'_> {
    /// The cohort that the LP's last exit request went into.
    pub(crate) fn cohort_of_last_exit(&mut self) -> u32 {
        self.seen.extend(self.rail.observations());
        let cohort = self
            .seen
            .iter()
            .rev()
            .find_map(|observation| match observation {
                VaultObservation::Fact {
                    fact: VaultFact::ExitRequested { cohort, .. },
                    ..
                } => Some(*cohort),
                _ => None,
            });
        cohort.expect("an exit request was reported")
    }
}
