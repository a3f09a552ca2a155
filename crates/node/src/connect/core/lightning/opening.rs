//! The channel that we open to the pool's node, so that it can be paid.

use forebay_quantity::{Amount, Timestamp};

use super::{Core, Effect, LightningEffect, RETRY};
use crate::connect::account::LightningEvent;
use crate::connect::event::Event;

impl Core {
    /// Opens the configured channel, if there is none of ours.
    pub(in crate::connect::core) fn open_channel(&mut self, now: Timestamp) {
        let account = self.state.account();
        let is_wanted = self
            .lightning_rail()
            .is_some_and(|rail| rail.channel_sat > 0);
        let waits = account.channel.is_some() || now < self.passing.open_at;
        if !is_wanted || !self.agreed || waits || self.passing.was_closed {
            return;
        }
        let channel = account.last_channel + 1;
        self.record(Event::Lightning(LightningEvent::ChannelAsked { channel }));
        self.effects.extend(self.opening().map(Effect::Lightning));
    }

    /// The chore that a channel demands which is asked for and not funded yet.
    pub(super) fn opening(&self) -> Option<LightningEffect> {
        let rail = self.lightning_rail()?;
        let channel = self.state.account().channel?;
        (!channel.is_funded).then_some(LightningEffect::OpenChannel {
            channel: channel.number,
            peer: rail.pool_node,
            value_sat: rail.channel_sat,
        })
    }

    pub(super) fn channel_funded(&mut self, channel: u64, fee: Amount) {
        let own = self.state.account().channel;
        if own.is_some_and(|own| own.number == channel && !own.is_funded) {
            self.record(Event::Lightning(LightningEvent::ChannelFunded {
                channel,
                fee,
            }));
        }
    }

    pub(super) fn channel_ended(&mut self, now: Timestamp, channel: u64, why: &str) {
        let own = self.state.account().channel;
        // Those that the pool opened are its own business.
        let Some(own) = own.filter(|own| own.number == channel) else {
            return;
        };
        self.record(Event::Lightning(LightningEvent::ChannelEnded { channel }));
        if own.is_funded {
            // A pool that closes each one cannot make us pay for opening more than one a start.
            self.passing.was_closed = true;
            return self.alarm(format!(
                "our channel to the pool is closed ({why}); another is opened after a restart"
            ));
        }
        self.passing.open_at = now.saturating_add(RETRY);
        self.alarm(format!(
            "no channel to the pool could be opened: {why}; it is tried again in {} s",
            RETRY.0 / 1_000
        ));
    }
}
