//! What is on links: effects on their way out, mail, and what a new link says again.

use forebay_channel::{PacketName, Voucher};
use forebay_pool::{Command, Effect, LightningEffect};
use forebay_quantity::{ChannelSerial, PeerId};
use sha2::{Digest, Sha256};

use super::{Mail, World, index};
use crate::auditor::variant;
use crate::signing::sign;
use crate::trace;

impl World {
    /// A link comes back: the peer asks what became of its requests, and names its keys again.
    pub(crate) fn reconnect(&mut self, number: usize) {
        self.resume(number);
        if !self.is_up() || self.halted {
            return;
        }
        let peer = self.actors[number].id;
        let owed = self.process.state().peer(peer);
        if let Some(effect) = owed.and_then(|account| account.voucher_owed(peer)) {
            self.carry_out(&effect, true);
        }
        if self.actors[number].node.is_some() {
            self.reconnect_on_bitcoin(number);
        } else {
            self.name_keys(number);
        }
        self.disown_lost(number);
    }

    fn name_keys(&mut self, number: usize) {
        let actor = &self.actors[number];
        let keys = forebay_pool::PeerKeys {
            signer: actor.signer,
            payout: actor.payout,
        };
        let (peer, removed) = (actor.id, actor.removed);
        let done = self.apply(&Command::Keys { peer, keys });
        // The peer may have been added in a batch that was lost.
        assert!(
            done.is_ok() || removed,
            "a peer cannot name its keys: {done:?}"
        );
    }

    /// What the pool forwards to a peer on a link and never came there is lost with that link; asked, the peer says so.
    pub(super) fn disown_lost(&mut self, number: usize) {
        let peer = self.actors[number].id;
        self.mail
            .retain(|_, mail| !matches!(mail, Mail::Forwarded { peer: to, .. } if *to == peer));
        let state = self.process.state();
        let waiting = state.packets().filter(|(_, found)| found.out_peer == peer);
        let names = waiting.map(|(packet, found)| PacketName {
            expires_at: found.expires_out,
            packet,
        });
        let lost: Vec<PacketName> = names
            .filter(|name| !self.actors[number].came.contains(name))
            .collect();
        for name in lost {
            self.counts.add("fault", "packet lost with its link");
            self.actors[number].disowned.insert(name);
            let packet = name.packet;
            let code = *b"T01";
            let done = self.apply(&Command::Reject { peer, packet, code });
            assert_eq!(done, Ok(()), "[I3] a packet that waits cannot be rejected");
        }
    }

    /// Asks the pool about requests without an answer.
    pub(crate) fn resume(&mut self, number: usize) {
        if !self.is_up() || self.halted {
            return;
        }
        // Only what is on the disk is told.
        self.end_batch(None);
        if !self.is_up() || self.halted {
            return;
        }
        let now = self.wall().max(self.process.state().now()).0;
        let peer = self.actors[number].id;
        let open: Vec<(u32, u64)> = self.actors[number]
            .sent
            .iter()
            .map(|(request, sent)| (*request, sent.expires_at))
            .collect();
        for (request, expires_at) in open {
            let state = self.process.state();
            if let Some(preimage) = state.answer(peer, request) {
                self.actors[number].fulfilled(request, Sha256::digest(preimage).into());
            } else if !state.waits(peer, request) && now > expires_at + 5_000 {
                self.actors[number].sent.remove(&request);
            }
        }
    }

    // Effects and mail.

    pub(super) fn carry_out(&mut self, effect: &Effect, again: bool) {
        self.counts.add("effect", variant(&format!("{effect:?}")));
        let factors = &self.factors;
        self.auditor.released(effect, &self.chain, |asset| {
            crate::books::signed(factors[usize::from(asset.0)])
        });
        match effect {
            Effect::Chain { id, request } => {
                let has_gas = Self::is_of_bitcoin(request) || self.calm || !self.random.chance(40);
                if !has_gas {
                    self.counts.add("fault", "no gas");
                }
                trace::step(|| format!("  effect {id} {request:?} again: {again}"));
                self.effect_times.entry(*id).or_insert(self.now);
                if Self::is_of_bitcoin(request) {
                    return self.carry_out_on_bitcoin(*id, request);
                }
                self.adapter.perform(*id, request, has_gas, &mut self.chain);
            }
            Effect::Forward {
                packet,
                peer,
                expires_at,
                ..
            } => self.post(Mail::Forwarded {
                peer: *peer,
                name: PacketName {
                    expires_at: *expires_at,
                    packet: *packet,
                },
                condition: self.conditions[&packet.0],
            }),
            Effect::RelayFulfill {
                peer,
                request,
                preimage,
                ..
            } => self.post(Mail::Fulfilled {
                peer: *peer,
                request: *request,
                preimage: *preimage,
            }),
            Effect::RelayReject { peer, request, .. } => self.post(Mail::Rejected {
                peer: *peer,
                request: *request,
            }),
            Effect::SendVoucher {
                peer,
                serial,
                amount,
            } => self.post(Mail::Paid {
                peer: *peer,
                serial: serial.0,
                amount: amount.value(),
            }),
            Effect::Lightning(LightningEffect::AskInvoice {
                peer,
                settlement,
                amount,
            }) => self.post(Mail::InvoiceWanted {
                peer: *peer,
                settlement: *settlement,
                amount: *amount,
            }),
            Effect::Lightning(LightningEffect::Pay { hash, .. }) => self.must_pay(*hash),
            Effect::Withdrawal(effect) => self.must_pay_out(effect),
        }
    }

    /// Puts something on a link: it takes its time, or is lost.
    pub(crate) fn post(&mut self, mail: Mail) {
        if !self.calm && self.random.chance(15) {
            self.counts.add("fault", "mail lost");
            return;
        }
        let span = match self.random.below(20) {
            0 => self.random.below(40_000),
            _ => self.random.below(400),
        };
        let span = if self.calm { span.min(50) } else { span };
        self.mailed += 1;
        self.mail.insert((self.now + span, self.mailed), mail);
    }

    pub(super) fn deliver_mail(&mut self) {
        while let Some(entry) = self.mail.first_entry() {
            if entry.key().0 > self.now {
                return;
            }
            let mail = entry.remove();
            self.deliver(mail);
        }
    }

    pub(super) fn deliver(&mut self, mail: Mail) {
        match mail {
            Mail::Fulfill {
                peer,
                packet,
                preimage,
            } => {
                let _late_or_not = self.apply(&Command::Fulfill {
                    peer,
                    packet,
                    preimage,
                });
            }
            Mail::Reject { peer, packet, code } => {
                let _late_or_not = self.apply(&Command::Reject { peer, packet, code });
            }
            Mail::Voucher { peer, voucher } => {
                let _taken_or_not = self.apply(&Command::Voucher { peer, voucher });
            }
            Mail::Forwarded {
                peer,
                name,
                condition,
            } => {
                self.actors[index(peer)].came(name);
                crate::actions::answer(self, peer, name.packet, condition);
            }
            Mail::Fulfilled {
                peer,
                request,
                preimage,
            } => {
                let hash = Sha256::digest(preimage).into();
                self.actors[index(peer)].fulfilled(request, hash);
            }
            Mail::Rejected { peer, request } => self.actors[index(peer)].rejected(request),
            Mail::Paid {
                peer,
                serial,
                amount,
            } => self.paid(peer, serial, amount),
            Mail::InvoiceWanted {
                peer,
                settlement,
                amount,
            } => crate::actions::invoice_wanted(self, peer, settlement, amount),
            Mail::InvoiceTold {
                peer,
                settlement,
                invoice,
            } => self.invoice_told(peer, settlement, invoice),
            Mail::InvoiceAsked {
                peer,
                settlement,
                amount_msat,
            } => self.invoice_asked(peer, settlement, amount_msat),
        }
    }

    /// A voucher of the pool arrives, signed by the shell with the pool's key.
    pub(super) fn paid(&mut self, peer: PeerId, serial: u64, amount: u128) {
        let actor = &mut self.actors[index(peer)];
        let voucher = Voucher {
            serial: ChannelSerial(serial),
            lane: forebay_channel::LaneId::Pool,
            amount: forebay_quantity::Amount::new(amount),
        };
        let digest = self.domains[usize::from(actor.asset.0)].digest(&voucher);
        let signature = sign(&digest, self.genesis.pool_signer);
        let best = actor.vouchers.entry(serial).or_insert((0, signature));
        if amount > best.0 {
            *best = (amount, signature);
        }
    }
}
