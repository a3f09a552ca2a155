//! Each call, as the contract carries it out.

use std::collections::BTreeMap;

use forebay_channel::vault::SignedVoucher;
use forebay_channel::{Address, CosignedRaise, KeyChange, LaneId, Voucher};
use forebay_pool::{NoticeKind, VaultFact};
use forebay_quantity::{Amount, ChannelSerial};

use super::{
    Call, ChannelBooks, DAY_S, LaneBooks, RAY, Refusal, Sender, Vault, change_key, ended, in_time,
    lane_of, milliseconds, mul_div, operator_only, owner_only, signed_by, signer_of,
};

impl Vault {
    pub(super) fn run(
        &mut self,
        now_s: u64,
        sender: Sender,
        call: &Call,
        logs: &mut Vec<VaultFact>,
    ) -> Result<(), Refusal> {
        let amount = Amount::new;
        match *call {
            Call::Open {
                serial,
                pool_signer,
                peer_signer,
                payout,
                allotment,
                term_end_s,
            } => {
                operator_only(sender)?;
                if self.channels.contains_key(&serial) {
                    return Err("SerialUsed");
                }
                if [pool_signer, peer_signer, payout].contains(&Address::ZERO) {
                    return Err("BadSigner");
                }
                if (allotment == 0) != (term_end_s == 0) {
                    return Err("BadTerm");
                }
                if allotment != 0 {
                    self.growth.may_grow(now_s)?;
                    self.exits_in_time(now_s)?;
                    self.growth.spend_bucket(now_s, allotment)?;
                    self.term(now_s, 0, term_end_s)?;
                    self.spend_free(allotment)?;
                }
                self.channels.insert(
                    serial,
                    ChannelBooks {
                        closed: false,
                        nonce: 0,
                        payout,
                        pool_signer,
                        peer_signer,
                        term_end_s,
                        close_at_s: None,
                        new_key: None,
                        former: BTreeMap::new(),
                        pool: LaneBooks {
                            ceiling: allotment,
                            ..LaneBooks::default()
                        },
                        peer: LaneBooks::default(),
                    },
                );
                let serial = ChannelSerial(serial);
                logs.push(VaultFact::ChannelOpened {
                    serial,
                    peer_signer,
                    pool_signer,
                });
                if allotment != 0 {
                    logs.push(VaultFact::AllotmentRaised {
                        serial,
                        ceiling: amount(allotment),
                    });
                    logs.push(VaultFact::AllotmentRenewed {
                        serial,
                        term_ends: milliseconds(term_end_s),
                    });
                }
            }
            Call::Deposit {
                serial,
                amount: added,
                payout,
            } => {
                let channel = self.open_channel(serial)?;
                if channel.close_at_s.is_some() {
                    return Err("ChannelClosed");
                }
                if channel.payout != payout {
                    return Err("WrongPayout");
                }
                channel.peer.ceiling += added;
                let ceiling = amount(channel.peer.ceiling);
                self.receive(sender, added)?;
                logs.push(VaultFact::PeerDeposited {
                    serial: ChannelSerial(serial),
                    ceiling,
                });
            }
            Call::Raise {
                serial,
                ceiling,
                term_end_s,
            } => {
                operator_only(sender)?;
                self.growth.may_grow(now_s)?;
                self.exits_in_time(now_s)?;
                let channel = self.open_channel(serial)?;
                let added = ceiling.saturating_sub(channel.pool.ceiling);
                self.raise(now_s, serial, added, term_end_s, logs)?;
                if added != 0 {
                    self.growth.spend_bucket(now_s, added)?;
                    self.spend_free(added)?;
                }
            }
            Call::RaiseCosigned(ref raise, ref signatures) => {
                operator_only(sender)?;
                self.growth.may_grow(now_s)?;
                self.exits_in_time(now_s)?;
                in_time(now_s, raise.valid_until_s)?;
                let agreed = CosignedRaise {
                    nonce: self.growth.committee_nonce,
                    ..*raise
                };
                let domain = self.parameters.domain;
                self.growth.cosigned_by_t(&domain, &agreed, signatures)?;
                self.growth.committee_nonce += 1;
                let (serial, added) = (raise.serial.value(), raise.amount.value());
                self.raise(now_s, serial, added, raise.term_end_s, logs)?;
                self.spend_free(added)?;
                logs.push(VaultFact::RaiseCosigned {
                    serial: raise.serial,
                    amount: raise.amount,
                });
            }
            Call::Heartbeat => {
                operator_only(sender)?;
                self.growth.heartbeat(now_s)?;
                logs.push(VaultFact::HeartbeatSeen {
                    at: milliseconds(now_s),
                });
            }
            Call::Freeze(ref freeze, ref signatures) => {
                let domain = self.parameters.domain;
                self.growth.freeze(now_s, &domain, freeze, signatures)?;
                logs.push(VaultFact::Frozen {
                    until: milliseconds(freeze.until_s),
                });
            }
            Call::MarkDown(ref mark_down, ref signatures) => {
                self.mark_down(now_s, mark_down, signatures, logs)?
            }
            Call::StartRunDown => self.start_run_down(now_s, logs)?,
            Call::Redeem {
                serial,
                lane,
                amount: most,
                signature,
            } => {
                let voucher = Voucher {
                    serial: ChannelSerial(serial),
                    lane,
                    amount: amount(most),
                };
                self.redeem(&voucher, &signature, logs)?
            }
            Call::RedeemMany(ref vouchers) => {
                for SignedVoucher { voucher, signature } in vouchers {
                    let _skipped = self.redeem(voucher, signature, logs);
                }
            }
            Call::Release(ref release, ref payee) => self.release(release, payee, logs)?,
            Call::NetOff(ref net_off, ref pool, ref peer) => {
                self.net_off(net_off, pool, peer, logs)?
            }
            Call::CloseTogether(ref close, ref pool, ref peer) => {
                self.close_together(close, pool, peer, logs)?
            }
            Call::ChangeKey(change, ref other) => {
                let domain = self.parameters.domain;
                let serial = change.serial.value();
                let channel = self.open_channel(serial)?;
                owner_only(channel, sender, change.lane)?;
                let agreed = KeyChange {
                    nonce: channel.nonce,
                    ..change
                };
                let signer = signer_of(channel, change.lane.other());
                signed_by(&domain, &agreed, other, signer)?;
                channel.nonce += 1;
                change_key(channel, serial, change.lane, change.signer, logs)?
            }
            Call::StartLowering {
                serial,
                lane,
                ceiling,
            } => {
                let period = self.parameters.close_period_s;
                let runs_down = self.growth.runs_down;
                let channel = self.open_channel(serial)?;
                let ended = lane == LaneId::Pool && (now_s > channel.term_end_s || runs_down);
                let ceiling = if ended { 0 } else { ceiling };
                if !ended {
                    owner_only(channel, sender, lane)?;
                }
                let books = lane_of(channel, lane);
                if ceiling >= books.ceiling || books.paid == books.ceiling {
                    return Err("CeilingNotLower");
                }
                if books.lowering.is_some() {
                    return Err("NoticeRuns");
                }
                books.lowering = Some((ceiling, now_s + period));
                logs.push(VaultFact::NoticeGiven {
                    serial: ChannelSerial(serial),
                    kind: match lane {
                        LaneId::Pool => NoticeKind::AllotmentLowering,
                        LaneId::Peer => NoticeKind::DepositWithdrawal,
                    },
                    ceiling: amount(ceiling),
                    deadline: milliseconds(now_s + period),
                });
            }
            Call::FinishLowering { serial, lane } => {
                self.finish_lowering(now_s, serial, lane, logs)?
            }
            Call::StartClose { serial } => {
                let period = self.parameters.close_period_s;
                let channel = self.open_channel(serial)?;
                if sender != Sender::Operator {
                    owner_only(channel, sender, LaneId::Peer)?;
                }
                if channel.close_at_s.is_some() {
                    return Err("NoticeRuns");
                }
                channel.close_at_s = Some(now_s + period);
                logs.push(VaultFact::NoticeGiven {
                    serial: ChannelSerial(serial),
                    kind: NoticeKind::Close,
                    ceiling: Amount::ZERO,
                    deadline: milliseconds(now_s + period),
                });
            }
            Call::FinishClose { serial } => self.finish_close(now_s, serial, logs)?,
            Call::StartKeyChange { serial, signer } => {
                let period = self.parameters.close_period_s;
                let channel = self.open_channel(serial)?;
                owner_only(channel, sender, LaneId::Peer)?;
                if signer == Address::ZERO {
                    return Err("BadSigner");
                }
                if channel.new_key.is_some() {
                    return Err("NoticeRuns");
                }
                channel.new_key = Some((signer, now_s + period));
                logs.push(VaultFact::NoticeGiven {
                    serial: ChannelSerial(serial),
                    kind: NoticeKind::PeerKeyChange,
                    ceiling: Amount::ZERO,
                    deadline: milliseconds(now_s + period),
                });
            }
            Call::FinishKeyChange { serial } => {
                let channel = self.open_channel(serial)?;
                let (signer, deadline) = channel.new_key.ok_or("NoNotice")?;
                ended(now_s, deadline)?;
                channel.new_key = None;
                change_key(channel, serial, LaneId::Peer, signer, logs)?
            }
            Call::DepositNote {
                owner,
                amount: arrived,
            } => {
                self.growth.requires_running()?;
                self.receive(Sender::Account(owner), arrived)?;
                let minted = mul_div(arrived, RAY, self.index, false);
                if arrived < self.parameters.note_min || minted == 0 {
                    return Err("TooSmall");
                }
                self.free += arrived;
                self.units_total += minted;
                *self.units.entry(owner).or_insert(0) += minted;
                logs.push(VaultFact::NoteDeposited {
                    owner,
                    units: amount(minted),
                    amount: amount(arrived),
                });
            }
            Call::RequestExit { owner, units } => self.request_exit(now_s, owner, units, logs)?,
            Call::PayExits => self.pay_exits(logs)?,
            Call::ClaimExit { cohort, member } => self.claim_exit(cohort, member),
            Call::Accrue { index } => {
                operator_only(sender)?;
                self.growth.requires_running()?;
                let elapsed = (now_s - self.accrued_at_s).min(DAY_S);
                let part = self.parameters.index_rate_max * u128::from(elapsed) / u128::from(DAY_S);
                let rise_max = mul_div(self.index, part, RAY, false);
                if index <= self.index || index - self.index > rise_max {
                    return Err("IndexTooFast");
                }
                self.index = index;
                self.accrued_at_s = now_s;
                logs.push(VaultFact::IndexRaised { index });
            }
            Call::DepositShare { amount: arrived } => {
                self.growth.requires_running()?;
                self.share_holder = Some(sender);
                self.receive(sender, arrived)?;
                self.free += arrived;
                self.share_units += arrived;
                logs.push(VaultFact::SharesDeposited {
                    amount: amount(arrived),
                });
            }
            Call::WithdrawShare { amount: leaves } => {
                self.growth.requires_running()?;
                self.exits_in_time(now_s)?;
                if leaves > self.share_units {
                    return Err("NotEnoughUnits");
                }
                self.share_units -= leaves;
                self.spend_free(leaves)?;
                self.pay(sender, leaves);
                logs.push(VaultFact::SharesWithdrawn {
                    amount: amount(leaves),
                });
            }
        }
        Ok(())
    }
}
