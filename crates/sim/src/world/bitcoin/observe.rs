//! What the wallet, the reserve and the Lightning node have seen, told to the core.

use forebay_channel::NodeId;
use forebay_pool::{
    BitcoinFact, ChainRequest, ClaimPaid, Command, LightningChannelId, LightningCommand, Rejection,
    ReserveCommand, Whereabouts,
};
use forebay_quantity::{Amount, EffectId, Hash32, PeerId, Timestamp};

use super::{Heard, LPS_FROM, OnBitcoin, World, millisatoshi};
use crate::lightning::{
    InvoiceName, Observation, Owner, Standing, WalletObservation, settlement_of,
};
use crate::trace;

impl World {
    /// Tells the core what is new, the reserve first.
    pub(super) fn follow_bitcoin(&mut self) {
        let now = Timestamp(self.now);
        let asset = self.on_bitcoin().asset;
        self.process.sequencer().hear(asset, now);
        self.follow_reserve();
        self.hear_wallet();
        self.hear_node();
        self.tell_capacities();
        self.pay_out();
    }

    /// Tells the core; what it knew before is as good as told.
    pub(super) fn tell(&mut self, command: &Command<'_>) {
        let done = self.apply(command);
        assert!(
            matches!(
                done,
                Ok(()) | Err(Rejection::AlreadyTaken | Rejection::UnknownEffect)
            ),
            "[I15] the core refuses what happened on Bitcoin: {command:?}: {done:?}"
        );
        if !self.calm && self.random.chance(40) {
            self.counts.add("fault", "observation told twice");
            let _known_or_not = self.apply(command);
        }
    }

    pub(super) fn follow_reserve(&mut self) {
        let rules = ReserveCommand::Rules(self.on_bitcoin().rules);
        let reserved = self.lightning().reserved();
        let wallet = self.lightning().wallet();
        let OnBitcoin {
            lightning, shell, ..
        } = self.on_bitcoin();
        let of_lps = shell
            .due
            .iter()
            .filter(|(_, (to, _))| *to != Owner::Reserve);
        let unsigned = of_lps.filter(|(id, _)| !lightning.is_signed(**id));
        let wanted: u64 = unsigned.map(|(_, (_, sat))| *sat).sum();
        let found = ReserveCommand::Found(Whereabouts {
            spendable: millisatoshi(wallet.spendable_sat),
            waiting: millisatoshi(wallet.waiting_sat),
            wanted: millisatoshi(wanted),
            reserve: millisatoshi(reserved.sat),
            oldest_days: reserved.oldest_days,
        });
        for told in [rules, found] {
            self.tell(&Command::Reserve(told));
        }
        for (txid, fee_sat, lost_sat) in reserved.spends {
            self.tell_spend(txid, fee_sat, lost_sat);
        }
        let drafts: Vec<EffectId> = self
            .lightning()
            .drafts()
            .map(|(demand, _)| demand)
            .collect();
        for demand in drafts {
            if self.lightning().is_overtaken(demand) {
                self.counts.add("lightning", "draft overtaken");
                self.tell(&Command::PaymentRefused { id: demand });
                self.shell().heard.push(Heard::Draft(demand));
            }
        }
    }

    pub(super) fn tell_spend(&mut self, txid: Hash32, fee_sat: u64, lost_sat: u64) {
        if self.shell().spends_told.contains(&txid) {
            return;
        }
        let mut drafts = self.lightning().drafts();
        let drafted = drafts.find(|(_, draft)| draft.txid == Some(txid));
        let demand = drafted.map(|(demand, _)| demand);
        drop(drafts);
        self.tell(&Command::Reserve(ReserveCommand::Spent {
            txid,
            demand,
            fee: millisatoshi(fee_sat),
            lost: millisatoshi(lost_sat),
        }));
        self.shell().heard.push(Heard::Spend(txid, demand));
    }

    pub(super) fn hear_wallet(&mut self) {
        for (number, observation) in self.lightning().wallet_observations() {
            let heard = Heard::OfWallet(number);
            if self.shell().heard.contains(&heard) {
                continue;
            }
            let command = match observation {
                WalletObservation::Deposited { outpoint, lp, sat } => {
                    let owner = lp.map(|lp| {
                        let known = self.process.state().lp_numbered(lp);
                        known.expect(
                            "[I7] an address was given to an LP that the journal does not know",
                        )
                    });
                    Command::Bitcoin(BitcoinFact::Deposited {
                        outpoint,
                        owner,
                        amount: millisatoshi(sat),
                    })
                }
                WalletObservation::Settled { id, txid, fee_sat } => Command::PaymentFinal {
                    id,
                    txid,
                    fee: millisatoshi(fee_sat),
                },
            };
            self.tell(&command);
            self.shell().heard.push(heard);
        }
    }

    pub(super) fn hear_node(&mut self) {
        for (number, observation) in self.lightning().observations() {
            let heard = Heard::OfNode(number);
            if self.shell().heard.contains(&heard) {
                continue;
            }
            trace::step(|| format!("  {observation:?}"));
            self.counts.add(
                "observation",
                crate::auditor::variant(&format!("{observation:?}")),
            );
            self.observed(&observation);
            self.shell().heard.push(heard);
        }
    }

    pub(super) fn observed(&mut self, observation: &Observation) {
        match *observation {
            Observation::Received {
                name: Some(name),
                payer,
                amount_msat,
                ..
            } => self.received(name, payer, amount_msat),
            Observation::Sent { hash, fee_msat } => {
                self.shell().told.remove(&hash);
                let fee = Amount::from(fee_msat);
                self.tell_lightning(LightningCommand::Sent { hash, fee });
            }
            // Unless it was begun again since that was said.
            Observation::Failed { hash } => {
                if self.lightning().payment(hash) != Standing::Pending {
                    self.shell().told.remove(&hash);
                    self.tell_lightning(LightningCommand::Failed { hash });
                }
            }
            Observation::ChannelPending { channel, fee_sat } => {
                if let Some(demand) = demand_of(channel) {
                    let fee = millisatoshi(fee_sat);
                    self.tell_lightning(LightningCommand::Funded { demand, fee });
                }
            }
            Observation::ChannelReady { channel, peer } => {
                if let Some(id) = self.process.state().peer_at(peer) {
                    self.tell_capacity(id, peer);
                    self.tell_channel(id, channel);
                }
            }
            Observation::ChannelClosed {
                channel,
                was_funded,
                balance_msat,
            } => match (was_funded, demand_of(channel)) {
                (false, Some(demand)) => self.change_failed(demand, "refused".to_owned()),
                (false, None) => {}
                (true, _) => self.tell_lightning(LightningCommand::ChannelClosed {
                    channel: LightningChannelId(channel),
                    balance: Amount::from(balance_msat),
                }),
            },
            Observation::ChannelReturned { channel, cost_msat } => {
                self.tell_lightning(LightningCommand::ChannelReturned {
                    channel: LightningChannelId(channel),
                    cost: Amount::from(cost_msat),
                    gain: Amount::ZERO,
                });
            }
            // Who asks for a splice pays for it: this one is the peer's.
            Observation::SplicePending { fee_sat: 0, .. } => {}
            Observation::SplicePending {
                channel,
                txid,
                fee_sat,
            } => self.tell_lightning(LightningCommand::Spliced {
                channel: LightningChannelId(channel),
                txid,
                fee: millisatoshi(fee_sat),
            }),
            Observation::SpliceFailed { channel } => self.splice_failed(channel),
            // No hold invoice of the pool's exists: whoever pays one made it up.
            Observation::Claimable { hash, .. } => self.lightning().fail_held(hash),
            Observation::Received { name: None, .. } | Observation::Returned { .. } => {}
        }
    }

    pub(super) fn tell_lightning(&mut self, command: LightningCommand) {
        self.tell(&Command::Lightning(command));
    }

    pub(super) fn received(&mut self, name: InvoiceName, payer: u64, amount_msat: u64) {
        let amount = Amount::from(amount_msat);
        let command = match payer.checked_sub(LPS_FROM) {
            Some(lp) => Command::ClaimPaid(ClaimPaid {
                lp: u32::try_from(lp).expect("few LPs"),
                invoice: name,
                amount,
            }),
            None => Command::Lightning(LightningCommand::Received {
                peer: PeerId(u32::try_from(payer).expect("few peers")),
                settlement: settlement_of(name),
                amount,
            }),
        };
        self.tell(&command);
    }

    pub(super) fn splice_failed(&mut self, channel: u128) {
        let channel = LightningChannelId(channel);
        let mut effects = self.process.state().chain_effects();
        let waiting = effects.find(|(_, request)| {
            let is_close = matches!(request, ChainRequest::CloseLightning { .. });
            request.lightning_channel() == Some(channel) && !is_close
        });
        let demand = waiting.map(|(demand, _)| demand);
        drop(effects);
        if let Some(demand) = demand {
            self.change_failed(demand, "the peer took no splice".to_owned());
        }
    }

    /// Now and then the node is slow to say what channels carry.
    pub(super) fn tell_capacities(&mut self) {
        for number in 0..self.actors.len() {
            let Some(node) = self.actors[number].node else {
                continue;
            };
            if self.calm || self.random.chance(700) {
                let id = self.actors[number].id;
                self.tell_capacity(id, node);
            }
        }
    }

    pub(super) fn tell_capacity(&mut self, peer: PeerId, node: NodeId) {
        if self.process.state().peer_at(node) != Some(peer) {
            return;
        }
        let (outbound, inbound) = self.lightning().capacity(node);
        self.tell_lightning(LightningCommand::Capacity {
            peer,
            outbound: Amount::from(outbound),
            inbound: Amount::from(inbound),
        });
    }

    pub(super) fn tell_channel(&mut self, peer: PeerId, channel: u128) {
        let channels = self.lightning().channels();
        let standing = channels.iter().find(|standing| standing.channel == channel);
        let Some(standing) = standing.filter(|standing| standing.is_ready) else {
            return;
        };
        self.tell_lightning(LightningCommand::ChannelStands {
            peer,
            channel: LightningChannelId(channel),
            value: millisatoshi(standing.value_sat),
            is_ours: standing.is_ours,
            splices: standing.splices,
        });
    }
}

/// The demand that a channel was opened for; none for a channel that the other end opened.
fn demand_of(channel: u128) -> Option<EffectId> {
    u64::try_from(channel).ok().map(EffectId)
}
