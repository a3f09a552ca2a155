//! The auditor's own books: plain signed sums of what was accepted, sent and seen, kept without the ledger.

use std::collections::{BTreeMap, BTreeSet};

use forebay_pool::{Depth, NoticeKind, VaultFact};
use forebay_quantity::{AssetId, CommandId, PeerId};

use crate::auditor::BitcoinBook;

/// One direction of a channel, in chain units.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LaneBook {
    pub(crate) ceiling: i128,
    pub(crate) paid: i128,
    pub(crate) promised: i128,
    /// Ceiling announced, and from when it may be executed.
    pub(crate) lowering: Option<(i128, u64)>,
}

impl LaneBook {
    /// What is paid stays paid, whatever is announced.
    pub(crate) fn usable(&self) -> i128 {
        self.lowering.map_or(self.ceiling, |(announced, _)| {
            announced.max(self.paid).min(self.ceiling)
        })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct ChannelBook {
    pub(crate) peer: PeerId,
    pub(crate) asset: AssetId,
    factor: i128,
    pub(crate) out: LaneBook,
    pub(crate) held: LaneBook,
    /// When the best voucher came, by the true clock.
    pub(crate) held_at: u64,
    pub(crate) close_deadline: Option<u64>,
    pub(crate) key_deadline: Option<u64>,
    /// When the last notice was told, by the true clock.
    pub(crate) told_at: u64,
    credited: i128,
    pub(crate) on_account: i128,
    pub(crate) closed: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct PeerBook {
    pub(crate) asset: AssetId,
    /// Ledger units of fulfilled packets it sent and got.
    pub(crate) sent: i128,
    pub(crate) got: i128,
    /// Credited for vouchers it gave.
    pub(crate) secured: i128,
    /// Signed to it, less what closes made worthless.
    pub(crate) vouched: i128,
}

impl PeerBook {
    /// What the pool owes it and has not promised by voucher; negative when it owes.
    pub(crate) fn claim(&self) -> i128 {
        self.got - self.sent + self.secured - self.vouched
    }
}

#[derive(Debug, Clone)]
pub(crate) struct PacketBook {
    pub(crate) from: PeerId,
    pub(crate) to: PeerId,
    pub(crate) amount_in: i128,
    pub(crate) amount_out: i128,
    pub(crate) condition: [u8; 32],
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    pub(crate) peers: Vec<PeerBook>,
    pub(crate) packets: BTreeMap<u32, PacketBook>,
    pub(crate) channels: BTreeMap<u64, ChannelBook>,
    pub(crate) commands: BTreeSet<CommandId>,
    /// Last accepted report of each source.
    pub(crate) prices: BTreeMap<(AssetId, u16), (u128, u64)>,
    /// The median as of the last report, by a plain sort.
    pub(crate) believed: BTreeMap<AssetId, u128>,
    pub(crate) fulfilled: u64,
    pub(crate) bitcoin: BitcoinBook,
}

impl Books {
    pub(crate) fn opened(&mut self, serial: u64, peer: PeerId, asset: AssetId, factor: i128) {
        self.channels.entry(serial).or_insert(ChannelBook {
            peer,
            asset,
            factor,
            out: LaneBook::default(),
            held: LaneBook::default(),
            held_at: 0,
            close_deadline: None,
            key_deadline: None,
            told_at: 0,
            credited: 0,
            on_account: 0,
            closed: false,
        });
    }

    pub(crate) fn held(&mut self, serial: u64, amount: i128, now: u64) {
        let channel = self.channel(serial);
        channel.held.promised = channel.held.promised.max(amount);
        channel.held_at = now;
        self.credit(serial);
    }

    /// A voucher of ours left.
    pub(crate) fn signed(&mut self, serial: u64, amount: i128) {
        let channel = self.channel(serial);
        let added = amount / channel.factor - channel.out.promised / channel.factor;
        channel.out.promised = channel.out.promised.max(amount);
        let peer = channel.peer;
        self.peer(peer).vouched += added.max(0);
    }

    pub(crate) fn fulfilled(&mut self, packet: u32) -> PacketBook {
        let packet = self
            .packets
            .remove(&packet)
            .expect("[I3] a packet that is not in flight was fulfilled");
        self.peer(packet.from).sent += packet.amount_in;
        self.peer(packet.to).got += packet.amount_out;
        self.fulfilled += 1;
        packet
    }

    pub(crate) fn pending_from(&self, peer: PeerId) -> i128 {
        let own = self.packets.values().filter(|packet| packet.from == peer);
        own.map(|packet| packet.amount_in).sum()
    }

    pub(crate) fn pending_to(&self, peer: PeerId) -> i128 {
        let own = self.packets.values().filter(|packet| packet.to == peer);
        own.map(|packet| packet.amount_out).sum()
    }

    /// The open channel of a peer.
    pub(crate) fn channel_of(&self, peer: PeerId) -> Option<(u64, &ChannelBook)> {
        let newest = self
            .channels
            .iter()
            .rev()
            .find(|(_, channel)| channel.peer == peer);
        newest
            .filter(|(_, channel)| !channel.closed)
            .map(|(serial, channel)| (*serial, channel))
    }

    pub(crate) fn fact(&mut self, depth: Depth, fact: &VaultFact, now: u64) {
        match *fact {
            VaultFact::NoticeGiven {
                serial,
                kind,
                ceiling,
                deadline,
            } => {
                let Some(channel) = self.open_channel(serial.0) else {
                    return;
                };
                channel.told_at = now;
                let lowering = Some((signed(ceiling.value()), deadline.0));
                match kind {
                    NoticeKind::Close => channel.close_deadline = Some(deadline.0),
                    NoticeKind::AllotmentLowering => channel.out.lowering = lowering,
                    NoticeKind::DepositWithdrawal => channel.held.lowering = lowering,
                    NoticeKind::PeerKeyChange => channel.key_deadline = Some(deadline.0),
                    NoticeKind::PoolKeyChange => {}
                }
            }
            VaultFact::NoticeDropped { serial, kind } => {
                let Some(channel) = self.open_channel(serial.0) else {
                    return;
                };
                match kind {
                    NoticeKind::Close => channel.close_deadline = None,
                    NoticeKind::AllotmentLowering => channel.out.lowering = None,
                    NoticeKind::DepositWithdrawal => channel.held.lowering = None,
                    NoticeKind::PeerKeyChange => channel.key_deadline = None,
                    NoticeKind::PoolKeyChange => {}
                }
            }
            _ if depth == Depth::Final => self.settled(fact),
            _ => {}
        }
    }

    /// A fact about money, at its depth.
    fn settled(&mut self, fact: &VaultFact) {
        match *fact {
            VaultFact::PeerDeposited { serial, ceiling } => {
                let Some(channel) = self.open_channel(serial.0) else {
                    return;
                };
                channel.held.ceiling = signed(ceiling.value());
                self.credit(serial.0);
            }
            VaultFact::PeerWithdrew {
                serial, ceiling, ..
            } => {
                let Some(channel) = self.open_channel(serial.0) else {
                    return;
                };
                channel.held.lowering = None;
                channel.held.ceiling = signed(ceiling.value());
                channel.write_off(signed(ceiling.value()));
            }
            VaultFact::AllotmentRaised { serial, ceiling } => {
                if let Some(channel) = self.open_channel(serial.0) {
                    channel.out.ceiling = signed(ceiling.value());
                }
            }
            VaultFact::AllotmentLowered {
                serial, ceiling, ..
            } => {
                if let Some(channel) = self.open_channel(serial.0) {
                    channel.out.ceiling = signed(ceiling.value());
                    channel.out.lowering = None;
                }
            }
            VaultFact::PoolPaid { serial, paid } => {
                if let Some(channel) = self.open_channel(serial.0) {
                    channel.out.paid = signed(paid.value());
                }
            }
            VaultFact::PeerPaid { serial, paid } => self.peer_paid(serial.0, signed(paid.value())),
            VaultFact::KeyChanged { serial, .. } => {
                if let Some(channel) = self.open_channel(serial.0) {
                    channel.key_deadline = None;
                    // What the former key signed stays good up to the ceiling of that moment.
                    channel.held.promised = channel.held.promised.min(channel.held.ceiling);
                }
            }
            VaultFact::ChannelClosed {
                serial,
                pool_paid,
                peer_paid,
            } => {
                let Some(channel) = self.open_channel(serial.0) else {
                    return;
                };
                channel.out.paid = signed(pool_paid.value());
                self.peer_paid(serial.0, signed(peer_paid.value()));
                let channel = self.channel(serial.0);
                channel.write_off(signed(peer_paid.value()));
                channel.closed = true;
                let worthless =
                    channel.out.promised / channel.factor - channel.out.paid / channel.factor;
                let peer = channel.peer;
                self.peer(peer).vouched -= worthless.max(0);
            }
            _ => {}
        }
    }

    fn peer_paid(&mut self, serial: u64, paid: i128) {
        let Some(channel) = self.open_channel(serial) else {
            return;
        };
        let before = channel.held.paid;
        channel.held.promised = channel.held.promised.max(paid);
        channel.held.paid = paid;
        let factor = channel.factor;
        self.credit(serial);
        self.channel(serial).on_account -= paid / factor - before / factor;
    }

    /// Credits what the best voucher secures beyond what was credited.
    fn credit(&mut self, serial: u64) {
        let channel = self.channel(serial);
        let secured = channel
            .held
            .promised
            .min(channel.held.usable())
            .max(channel.held.paid);
        let fresh = (secured / channel.factor - channel.credited).max(0);
        channel.credited += fresh;
        channel.on_account += fresh;
        let peer = channel.peer;
        self.peer(peer).secured += fresh;
    }

    pub(crate) fn peer(&mut self, peer: PeerId) -> &mut PeerBook {
        &mut self.peers[usize::try_from(peer.0).expect("u32 fits usize")]
    }

    fn channel(&mut self, serial: u64) -> &mut ChannelBook {
        self.channels
            .get_mut(&serial)
            .unwrap_or_else(|| panic!("[I5] channel {serial} was never asked for"))
    }

    fn open_channel(&mut self, serial: u64) -> Option<&mut ChannelBook> {
        self.channels
            .get_mut(&serial)
            .filter(|channel| !channel.closed)
    }
}

impl ChannelBook {
    fn write_off(&mut self, collectable: i128) {
        let lost = (self.credited - collectable / self.factor)
            .min(self.on_account)
            .max(0);
        self.credited -= lost;
        self.on_account -= lost;
    }

    /// What of the voucher held is lost unless it is redeemed in time, with the deadlines that press.
    pub(crate) fn pressing(&self) -> Vec<(u64, i128)> {
        let good = self.held.promised.min(self.held.ceiling);
        let all = good - self.held.paid;
        let endangered = good - self.held.usable().max(self.held.paid);
        let withdrawal = self
            .held
            .lowering
            .map(|(_, deadline)| (deadline, endangered));
        let close = self.close_deadline.map(|deadline| (deadline, all));
        let key = self.key_deadline.map(|deadline| (deadline, all));
        let notices = [withdrawal, close, key].into_iter().flatten();
        notices.filter(|(_, at_stake)| *at_stake > 0).collect()
    }

    pub(crate) fn signed_out(&self) -> i128 {
        self.out.promised / self.factor
            - (self.out.paid / self.factor).min(self.out.promised / self.factor)
    }

    pub(crate) fn headroom(&self) -> i128 {
        (self.out.usable() - self.out.promised).max(0) / self.factor
    }
}

pub(crate) fn signed(amount: u128) -> i128 {
    i128::try_from(amount).expect("simulated amounts are far from 127 bits")
}
