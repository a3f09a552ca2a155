//! Channels with the pool's node: opened, spliced, closed, and the transactions that do it.

use forebay_channel::NodeId;
use forebay_pool::Outpoint;
use forebay_quantity::Hash32;

use super::node::Step;
use super::{Coin, DUST_SAT, Lightning, Money, Observation, Owner, Refused};

/// Either end keeps a hundredth of a channel.
const KEPT: u64 = 100;

/// An open channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Channel {
    /// The other end.
    pub peer: NodeId,
    /// Ours, what is under way not counted.
    pub ours_msat: u64,
    /// The peer's, likewise.
    pub theirs_msat: u64,
    /// Both ends' money in it.
    pub value_sat: u64,
    /// Whether we opened it.
    pub is_ours: bool,
    /// Whether both ends can make it larger and smaller.
    pub splices: bool,
    /// Its funding is buried.
    pub is_ready: bool,
    /// A change that waits for its blocks.
    pub splice: Option<Splice>,
    pub(super) funding: Hash32,
}

/// A change of a channel that waits for its blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Splice {
    /// The transaction.
    pub txid: Hash32,
    /// By how much it makes our part larger.
    pub ours_msat: i128,
    /// Both ends' money after it.
    pub value_sat: u64,
}

/// How a channel closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Closing {
    txid: Hash32,
    cost_msat: u64,
    is_told: bool,
}

/// What a node says of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChannelStanding {
    /// Which.
    pub channel: u128,
    /// The other end.
    pub peer: NodeId,
    /// Both ends' money in it.
    pub value_sat: u64,
    /// What can be sent now.
    pub outbound_msat: u64,
    /// What can be received now.
    pub inbound_msat: u64,
    /// Whether we opened it.
    pub is_ours: bool,
    /// Whether it can be spliced.
    pub splices: bool,
    /// Whether it was ever usable.
    pub is_ready: bool,
    /// Whether it is now.
    pub is_usable: bool,
}

impl Channel {
    /// What is ours in it once a splice under way is done, in msat.
    pub(super) fn ours_after(&self) -> i128 {
        i128::from(self.ours_msat) + self.splice.map_or(0, |splice| splice.ours_msat)
    }

    fn kept_msat(&self) -> u64 {
        self.value_sat * 1_000 / KEPT
    }

    /// What can be sent, in msat.
    pub fn outbound_msat(&self) -> u64 {
        let after = u64::try_from(self.ours_after()).unwrap_or(0);
        self.ours_msat.min(after).saturating_sub(self.kept_msat())
    }

    /// What can be received, in msat.
    pub fn inbound_msat(&self) -> u64 {
        self.theirs_msat.saturating_sub(self.kept_msat())
    }
}

impl Lightning {
    /// How each channel stands.
    pub fn channels(&self) -> Vec<ChannelStanding> {
        let all = self.channels.iter().map(|(number, channel)| {
            let is_usable = channel.is_ready && self.is_online(channel.peer);
            ChannelStanding {
                channel: *number,
                peer: channel.peer,
                value_sat: channel.value_sat,
                outbound_msat: channel.outbound_msat(),
                inbound_msat: channel.inbound_msat(),
                is_ours: channel.is_ours,
                splices: channel.splices,
                is_ready: channel.is_ready,
                is_usable,
            }
        });
        all.collect()
    }

    /// A channel that is open.
    pub fn channel(&self, number: u128) -> Option<&Channel> {
        self.channels.get(&number)
    }

    pub(super) fn closing(&self, number: u128) -> Option<Hash32> {
        let closing = self.former.get(&number).copied().flatten();
        closing.map(|closing| closing.txid)
    }

    /// What all usable channels with a peer carry from us and to us, in msat.
    pub fn capacity(&self, peer: NodeId) -> (u64, u64) {
        let own = self.usable().filter(|(_, channel)| channel.peer == peer);
        own.fold((0, 0), |(out, into), (_, channel)| {
            (out + channel.outbound_msat(), into + channel.inbound_msat())
        })
    }

    /// Whether a channel can be paid through now.
    pub fn carries(&self, number: u128) -> bool {
        self.usable().any(|(known, _)| known == number)
    }

    pub(super) fn usable(&self) -> impl Iterator<Item = (u128, &Channel)> {
        let ready = self.channels.iter().filter(|(_, channel)| channel.is_ready);
        ready
            .filter(|(_, channel)| self.is_online(channel.peer))
            .map(|(number, channel)| (*number, channel))
    }

    /// Opens a channel under a number, once.
    ///
    /// # Errors
    /// Why it is not.
    pub fn open_channel(
        &mut self,
        number: u128,
        peer: NodeId,
        value_sat: u64,
        fee_max_sat: u64,
    ) -> Result<(), Refused> {
        if self.is_used(number) {
            return Ok(());
        }
        if !self.is_online(peer) {
            return Err(Refused::PeerOffline);
        }
        let fee_sat = self.fee_within(fee_max_sat)?;
        if value_sat < DUST_SAT {
            return Err(Refused::Dust);
        }
        self.select(value_sat + fee_sat)
            .ok_or(Refused::TooFewCoins)?;
        self.unsynced.push(Step::Open {
            number,
            peer,
            value_sat,
            fee_sat,
        });
        Ok(())
    }

    fn is_used(&self, number: u128) -> bool {
        let asked = self
            .unsynced
            .iter()
            .any(|step| matches!(step, Step::Open { number: asked, .. } if *asked == number));
        asked || self.channels.contains_key(&number) || self.former.contains_key(&number)
    }

    fn fee_within(&mut self, fee_max_sat: u64) -> Result<u64, Refused> {
        let fee_sat = self.fee_sat();
        match fee_sat <= fee_max_sat {
            true => Ok(fee_sat),
            false => Err(Refused::FeeTooHigh),
        }
    }

    pub(super) fn open(&mut self, number: u128, peer: NodeId, value_sat: u64, fee_sat: u64) {
        let coins = self.select(value_sat + fee_sat);
        let Some(coins) = coins.filter(|_| !self.chance(100)) else {
            // The peer does not want it, or the coins went elsewhere.
            self.former.insert(number, None);
            return self.observe(Observation::ChannelClosed {
                channel: number,
                was_funded: false,
                balance_msat: 0,
            });
        };
        let funding = self.spend_wallet(
            &coins,
            Vec::new(),
            Owner::Channel(number),
            value_sat,
            fee_sat,
        );
        let splices = !self.chance(200);
        self.channels.insert(
            number,
            Channel {
                peer,
                ours_msat: value_sat * 1_000,
                theirs_msat: 0,
                value_sat,
                is_ours: true,
                splices,
                is_ready: false,
                splice: None,
                funding,
            },
        );
        self.truth
            .moved(Money::Funded(number), -i128::from(fee_sat) * 1_000);
        self.observe(Observation::ChannelPending {
            channel: number,
            fee_sat,
        });
    }

    /// A peer opens a channel to us, with all of its own money.
    pub fn be_opened(&mut self, peer: NodeId, value_sat: u64) -> u128 {
        let number = (u128::from(self.random.next()) << 64) | 1 << 127;
        let funding = self.chain.bring_in(Owner::Channel(number), value_sat);
        self.channels.insert(
            number,
            Channel {
                peer,
                ours_msat: 0,
                theirs_msat: value_sat * 1_000,
                value_sat,
                is_ours: false,
                splices: true,
                is_ready: false,
                splice: None,
                funding,
            },
        );
        self.observe(Observation::ChannelPending {
            channel: number,
            fee_sat: 0,
        });
        number
    }

    /// Adds to a channel that holds this much.
    ///
    /// # Errors
    /// Why it is left as it is.
    pub fn splice_in(
        &mut self,
        number: u128,
        (value_sat, added_sat): (u64, u64),
        fee_max_sat: u64,
    ) -> Result<(), Refused> {
        self.may_splice(number, value_sat)?;
        let fee_sat = self.fee_within(fee_max_sat)?;
        self.select(added_sat + fee_sat)
            .ok_or(Refused::TooFewCoins)?;
        self.unsynced.push(Step::SpliceIn {
            number,
            added_sat,
            fee_sat,
        });
        Ok(())
    }

    /// Takes out of a channel that holds this much.
    ///
    /// # Errors
    /// Why it is left as it is.
    pub fn splice_out(
        &mut self,
        number: u128,
        (value_sat, taken_sat): (u64, u64),
        fee_max_sat: u64,
    ) -> Result<(), Refused> {
        self.may_splice(number, value_sat)?;
        let fee_sat = self.fee_within(fee_max_sat)?;
        let channel = &self.channels[&number];
        if channel.outbound_msat() < (taken_sat + fee_sat) * 1_000 || taken_sat < DUST_SAT {
            return Err(Refused::WrongValue);
        }
        self.unsynced.push(Step::SpliceOut {
            number,
            taken_sat,
            fee_sat,
        });
        Ok(())
    }

    fn may_splice(&self, number: u128, value_sat: u64) -> Result<(), Refused> {
        let channel = self.channels.get(&number).ok_or(Refused::UnknownChannel)?;
        if channel.value_sat != value_sat {
            return Err(Refused::WrongValue);
        }
        if !self.is_online(channel.peer) {
            return Err(Refused::PeerOffline);
        }
        let is_asked = self
            .unsynced
            .iter()
            .any(|step| step.channel() == Some(number));
        if !channel.is_ready || channel.splice.is_some() || is_asked {
            return Err(Refused::Busy);
        }
        Ok(())
    }

    pub(super) fn splice(&mut self, number: u128, added_sat: u64, taken_sat: u64, fee_sat: u64) {
        let failed = Observation::SpliceFailed { channel: number };
        let refuses = self.chance(100);
        let Some(channel) = self.channels.get(&number).copied() else {
            return self.observe(failed);
        };
        let is_out = taken_sat > 0;
        let coins = match is_out {
            true => Some(Vec::new()),
            false => self.select(added_sat + fee_sat),
        };
        let has_room = !is_out || channel.outbound_msat() >= (taken_sat + fee_sat) * 1_000;
        let is_free = channel.splice.is_none() && has_room && !refuses;
        let Some(mut coins) = coins.filter(|_| is_free) else {
            return self.observe(failed);
        };
        coins.push(self.coin_of(number));
        let value_sat = match is_out {
            true => channel.value_sat - taken_sat - fee_sat,
            false => channel.value_sat + added_sat,
        };
        let taken = is_out.then_some(Coin {
            owner: Owner::Wallet,
            sat: taken_sat,
        });
        let taken = taken.into_iter().collect();
        let txid = self.spend_wallet(&coins, taken, Owner::Channel(number), value_sat, fee_sat);
        let ours_msat = match is_out {
            true => -i128::from(taken_sat + fee_sat) * 1_000,
            false => i128::from(added_sat) * 1_000,
        };
        let channel = self.channels.get_mut(&number).expect("found above");
        channel.splice = Some(Splice {
            txid,
            ours_msat,
            value_sat,
        });
        self.truth
            .moved(Money::Spliced(txid), -i128::from(fee_sat) * 1_000);
        self.observe(Observation::SplicePending {
            channel: number,
            txid,
            fee_sat,
        });
    }

    fn coin_of(&self, number: u128) -> Outpoint {
        let mut coins = self.chain.unspent();
        let coin = coins.find(|(_, coin)| coin.owner == Owner::Channel(number));
        coin.expect("an open channel has a coin").0
    }

    /// Closes a channel together with its peer.
    ///
    /// # Errors
    /// Why it stays open.
    pub fn close_channel(&mut self, number: u128, fee_max_sat: u64) -> Result<(), Refused> {
        let channel = self.channels.get(&number).ok_or(Refused::UnknownChannel)?;
        let (peer, is_ours) = (channel.peer, channel.is_ours);
        if !self.is_online(peer) {
            return Err(Refused::PeerOffline);
        }
        let fee_sat = self.fee_within(if is_ours { fee_max_sat } else { u64::MAX })?;
        let is_asked = self
            .unsynced
            .iter()
            .any(|step| step.channel() == Some(number));
        if is_asked || !self.may_close(number) {
            return Err(Refused::Busy);
        }
        self.unsynced.push(Step::Close { number, fee_sat });
        Ok(())
    }

    /// Nothing is under way in it.
    pub fn may_close(&self, number: u128) -> bool {
        let pays = self
            .payments
            .values()
            .any(|payment| payment.is_pending() && payment.through(number) > 0);
        let is_paid = self.held.values().any(|held| held.channel == number);
        let channel = self.channels.get(&number);
        let is_idle = channel.is_some_and(|channel| channel.splice.is_none() && channel.is_ready);
        is_idle && !pays && !is_paid
    }

    /// The peer closes it. Whoever opened it pays for that.
    pub fn be_closed(&mut self, number: u128) {
        if self.may_close(number) {
            let fee_sat = self.fee_sat();
            self.close(number, fee_sat);
        }
    }

    pub(super) fn close(&mut self, number: u128, fee_sat: u64) {
        if !self.may_close(number) {
            return;
        }
        let coin = self.coin_of(number);
        let channel = self.channels.remove(&number).expect("it may be closed");
        let borne_sat = if channel.is_ours { fee_sat } else { 0 };
        let value_sat = (channel.ours_msat / 1_000).saturating_sub(borne_sat);
        let value_sat = if value_sat < DUST_SAT { 0 } else { value_sat };
        let theirs_sat = channel.theirs_msat / 1_000;
        let theirs_sat = theirs_sat.saturating_sub(if channel.is_ours { 0 } else { fee_sat });
        let outputs = [(Owner::Wallet, value_sat), (Owner::Stranger, theirs_sat)];
        let outputs = outputs.into_iter().filter(|(_, sat)| *sat >= DUST_SAT);
        let outputs = outputs.map(|(owner, sat)| Coin { owner, sat }).collect();
        let txid = self.chain.spend(&[coin], outputs);
        let cost_msat = channel.ours_msat - value_sat * 1_000;
        let closing = Closing {
            txid,
            cost_msat,
            is_told: false,
        };
        self.former.insert(number, Some(closing));
        if cost_msat > 0 {
            let moved = -i128::from(cost_msat);
            self.truth.moved(Money::Closed(number), moved);
        }
        self.observe(Observation::ChannelClosed {
            channel: number,
            was_funded: true,
            balance_msat: channel.ours_msat,
        });
    }

    /// What blocks have made of channels: funded, changed, and come back.
    pub(super) fn channels_moved(&mut self) {
        let mut news = Vec::new();
        for (number, channel) in &mut self.channels {
            let spliced = channel
                .splice
                .filter(|splice| self.chain.is_buried(splice.txid));
            if let Some(splice) = spliced {
                let ours = i128::from(channel.ours_msat) + splice.ours_msat;
                channel.ours_msat = u64::try_from(ours).expect("what is taken out was there");
                (channel.value_sat, channel.splice) = (splice.value_sat, None);
            } else if channel.is_ready || !self.chain.is_buried(channel.funding) {
                continue;
            }
            channel.is_ready = true;
            news.push(Observation::ChannelReady {
                channel: *number,
                peer: channel.peer,
            });
        }
        for (number, closing) in &mut self.former {
            let Some(closing) = closing else { continue };
            if !closing.is_told && self.chain.is_buried(closing.txid) {
                closing.is_told = true;
                news.push(Observation::ChannelReturned {
                    channel: *number,
                    cost_msat: closing.cost_msat,
                });
            }
        }
        for observation in news {
            self.observe(observation);
        }
    }
}
