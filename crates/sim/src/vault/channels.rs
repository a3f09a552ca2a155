//! Allotments, vouchers, notices and closes.

use forebay_channel::{Address, CoopClose, LaneId, NetOff, Release, Signature, Voucher};
use forebay_pool::VaultFact;
use forebay_quantity::{Amount, ChannelSerial};

use super::{Refusal, Sender, Vault, ended, lane_of, milliseconds, signed_by, signer_of};
use crate::signing::is_signed_by;

impl Vault {
    /// The allotment alone; bucket and free money are the caller's.
    pub(super) fn raise(
        &mut self,
        now_s: u64,
        serial: u64,
        added: u128,
        term_end_s: u64,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let channel = self.open_channel(serial)?;
        channel.pool.ceiling += added;
        let (raised, before) = (channel.pool.ceiling, channel.term_end_s);
        if term_end_s != 0 {
            channel.term_end_s = term_end_s;
            self.term(now_s, before, term_end_s)?;
        }
        let serial = ChannelSerial(serial);
        if added != 0 {
            let ceiling = Amount::new(raised);
            logs.push(VaultFact::AllotmentRaised { serial, ceiling });
        }
        if term_end_s != 0 {
            let term_ends = milliseconds(term_end_s);
            logs.push(VaultFact::AllotmentRenewed { serial, term_ends });
        }
        Ok(())
    }

    /// A closed channel has no pool signer, and nothing left to pay on the other lane.
    pub(super) fn redeem(
        &mut self,
        voucher: &Voucher,
        signature: &Signature,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let domain = self.parameters.domain;
        let (serial, lane) = (voucher.serial, voucher.lane);
        let channel = self.channels.get_mut(&serial.value());
        let channel = channel.ok_or("BadSignature")?;
        let mut most = voucher.amount.value();
        if signed_by(&domain, voucher, signature, signer_of(channel, lane)).is_err() {
            let digest = domain.digest(voucher);
            let former = channel
                .former
                .iter()
                .find(|((of, signer), _)| *of == lane && is_signed_by(&digest, signature, *signer));
            let (_, ceiling) = former.ok_or("BadSignature")?;
            most = most.min(*ceiling);
        }
        let payout = channel.payout;
        let books = lane_of(channel, lane);
        most = most.min(books.ceiling);
        if most <= books.paid {
            return Err("NothingToPay");
        }
        let due = most - books.paid;
        books.paid = most;
        let paid = Amount::new(most);
        match lane {
            LaneId::Pool => {
                self.pay(Sender::Account(payout), due);
                logs.push(VaultFact::PoolPaid { serial, paid });
            }
            LaneId::Peer => {
                self.free += due;
                logs.push(VaultFact::PeerPaid { serial, paid });
            }
        }
        Ok(())
    }

    pub(super) fn finish_lowering(
        &mut self,
        now_s: u64,
        serial: u64,
        lane: LaneId,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let channel = self.open_channel(serial)?;
        let books = lane_of(channel, lane);
        let (announced, deadline) = books.lowering.ok_or("NoNotice")?;
        ended(now_s, deadline)?;
        books.lowering = None;
        self.lower(serial, lane, announced, false, logs)?;
        Ok(())
    }

    pub(super) fn release(
        &mut self,
        release: &Release,
        payee: &Signature,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let domain = self.parameters.domain;
        let serial = release.serial.value();
        let channel = self.channels.get_mut(&serial).ok_or("BadSignature")?;
        let agreed = Release {
            nonce: channel.nonce,
            ..*release
        };
        let signer = signer_of(channel, release.lane.other());
        signed_by(&domain, &agreed, payee, signer)?;
        channel.nonce += 1;
        match self.lower(serial, release.lane, release.ceiling.value(), true, logs)? {
            0 => Err("CeilingNotLower"),
            _ => Ok(()),
        }
    }

    /// Lowers to `max(ceiling, paid)`; gives what went back to where the ceiling came from.
    pub(super) fn lower(
        &mut self,
        serial: u64,
        lane: LaneId,
        ceiling: u128,
        released: bool,
        logs: &mut Vec<VaultFact>,
    ) -> Result<u128, Refusal> {
        let channel = self.channels.get_mut(&serial).ok_or("ChannelClosed")?;
        let payout = channel.payout;
        let books = lane_of(channel, lane);
        let ceiling = ceiling.max(books.paid).min(books.ceiling);
        let freed = books.ceiling - ceiling;
        books.ceiling = ceiling;
        let (serial, ceiling) = (ChannelSerial(serial), Amount::new(ceiling));
        match lane {
            LaneId::Pool => {
                self.free += freed;
                logs.push(VaultFact::AllotmentLowered {
                    serial,
                    ceiling,
                    released,
                });
            }
            LaneId::Peer => {
                self.pay(Sender::Account(payout), freed);
                logs.push(VaultFact::PeerWithdrew {
                    serial,
                    ceiling,
                    released,
                });
            }
        }
        Ok(freed)
    }

    /// A running notice announced what would remain, and a net-off does not take from it.
    pub(super) fn net_off(
        &mut self,
        net_off: &NetOff,
        pool: &Signature,
        peer: &Signature,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let amount = net_off.amount.value();
        if amount == 0 {
            return Err("ZeroAmount");
        }
        let domain = self.parameters.domain;
        let channel = self.channels.get_mut(&net_off.serial.value());
        let channel = channel.ok_or("BadSignature")?;
        signed_by(&domain, net_off, pool, channel.pool_signer)?;
        signed_by(&domain, net_off, peer, channel.peer_signer)?;
        let stated = (net_off.pool_paid.value(), net_off.peer_paid.value());
        if stated != (channel.pool.paid, channel.peer.paid) {
            return Err("WrongPaid");
        }
        for books in [&mut channel.pool, &mut channel.peer] {
            books.ceiling += amount;
            books.paid += amount;
            if let Some((announced, _)) = &mut books.lowering {
                *announced += amount;
            }
        }
        logs.push(VaultFact::NettedOff {
            serial: net_off.serial,
            amount: net_off.amount,
        });
        Ok(())
    }

    pub(super) fn close_together(
        &mut self,
        close: &CoopClose,
        pool: &Signature,
        peer: &Signature,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let domain = self.parameters.domain;
        let serial = close.serial.value();
        let channel = self.channels.get(&serial).ok_or("BadSignature")?;
        signed_by(&domain, close, pool, channel.pool_signer)?;
        signed_by(&domain, close, peer, channel.peer_signer)?;
        let (pool_paid, peer_paid) = (close.pool_paid.value(), close.peer_paid.value());
        if pool_paid < channel.pool.paid || peer_paid < channel.peer.paid {
            return Err("BelowPaid");
        }
        if pool_paid > channel.pool.ceiling || peer_paid > channel.peer.ceiling {
            return Err("AboveCeiling");
        }
        self.close(serial, pool_paid, peer_paid, logs)
    }

    pub(super) fn finish_close(
        &mut self,
        now_s: u64,
        serial: u64,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let channel = self.open_channel(serial)?;
        ended(now_s, channel.close_at_s.ok_or("NoNotice")?)?;
        let (pool_paid, peer_paid) = (channel.pool.paid, channel.peer.paid);
        self.close(serial, pool_paid, peer_paid, logs)
    }

    /// A closed channel has no pool signer; its peer's stays.
    pub(super) fn close(
        &mut self,
        serial: u64,
        pool_paid: u128,
        peer_paid: u128,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let channel = self.open_channel(serial)?;
        let (pool, peer) = (channel.pool, channel.peer);
        channel.closed = true;
        channel.close_at_s = None;
        channel.pool_signer = Address::ZERO;
        (channel.pool.ceiling, channel.pool.paid) = (pool_paid, pool_paid);
        (channel.peer.ceiling, channel.peer.paid) = (peer_paid, peer_paid);
        let payout = channel.payout;
        self.free += (peer_paid - peer.paid) + (pool.ceiling - pool_paid);
        let to_peer = (pool_paid - pool.paid) + (peer.ceiling - peer_paid);
        self.pay(Sender::Account(payout), to_peer);
        logs.push(VaultFact::ChannelClosed {
            serial: ChannelSerial(serial),
            pool_paid: Amount::new(pool_paid),
            peer_paid: Amount::new(peer_paid),
        });
        Ok(())
    }
}
