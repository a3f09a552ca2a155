//! Requests as calls on the contract.

use crate::{
    abi::{IVault, U24, U40, evm, seconds, signature},
    fault::Fault,
};
use alloy::sol_types::SolCall;
use forebay_channel::vault::{
    BATCH_MAX, COSIGNATURES_MAX, Cosignature, Opening, Raise, SignedVoucher, VaultRequest,
};
use forebay_quantity::{Amount, Timestamp};

/// The call's data, and how much of the vault's asset the caller pays with it.
pub(crate) struct Encoded {
    pub(crate) data: Vec<u8>,
    pub(crate) pays: Amount,
}

/// Writes a request as a call.
#[expect(clippy::too_many_lines, reason = "one arm a request, straight")]
pub(crate) fn encode(request: &VaultRequest) -> Result<Encoded, Fault> {
    let mut pays = Amount::ZERO;
    let data = match request {
        VaultRequest::Open(opening) => {
            pays = opening.deposit;
            IVault::openCall {
                opening: encode_opening(opening)?,
            }
            .abi_encode()
        }
        VaultRequest::Deposit {
            serial,
            amount,
            peer_payout,
        } => {
            pays = *amount;
            let (serial, amount) = (serial.value(), amount.value());
            IVault::depositCall {
                serial,
                amount,
                peerPayout: evm(*peer_payout),
            }
            .abi_encode()
        }
        VaultRequest::Raise(raises) => {
            within_batch(raises.len())?;
            let raises: Result<Vec<_>, _> = raises.iter().map(encode_raise).collect();
            IVault::raiseCall { raises: raises? }.abi_encode()
        }
        VaultRequest::Release(release, payee) => IVault::releaseCall {
            serial: release.serial.value(),
            lane: release.lane.number(),
            ceiling: release.ceiling.value(),
            payee: signature(*payee),
        }
        .abi_encode(),
        VaultRequest::StartLowering {
            serial,
            lane,
            ceiling,
        } => IVault::startLoweringCall {
            serial: serial.value(),
            lane: lane.number(),
            ceiling: ceiling.value(),
        }
        .abi_encode(),
        VaultRequest::FinishLowering { serial, lane } => IVault::finishLoweringCall {
            serial: serial.value(),
            lane: lane.number(),
        }
        .abi_encode(),
        VaultRequest::Redeem(vouchers) => encode_redemptions(vouchers)?,
        VaultRequest::NetOff(net_off, pool, peer) => IVault::netOffCall {
            serial: net_off.serial.value(),
            poolPaid: net_off.pool_paid.value(),
            peerPaid: net_off.peer_paid.value(),
            amount: net_off.amount.value(),
            pool: signature(*pool),
            peer: signature(*peer),
        }
        .abi_encode(),
        VaultRequest::CloseTogether(close, pool, peer) => IVault::closeTogetherCall {
            serial: close.serial.value(),
            poolPaid: close.pool_paid.value(),
            peerPaid: close.peer_paid.value(),
            pool: signature(*pool),
            peer: signature(*peer),
        }
        .abi_encode(),
        VaultRequest::StartClose(serial) => IVault::startCloseCall {
            serial: serial.value(),
        }
        .abi_encode(),
        VaultRequest::FinishClose(serial) => IVault::finishCloseCall {
            serial: serial.value(),
        }
        .abi_encode(),
        VaultRequest::ChangeKey(change, other) => IVault::changeKeyCall {
            serial: change.serial.value(),
            lane: change.lane.number(),
            signer: evm(change.signer),
            other: signature(*other),
        }
        .abi_encode(),
        VaultRequest::StartKeyChange {
            serial,
            lane,
            signer,
        } => IVault::startKeyChangeCall {
            serial: serial.value(),
            lane: lane.number(),
            signer: evm(*signer),
        }
        .abi_encode(),
        VaultRequest::FinishKeyChange { serial, lane } => IVault::finishKeyChangeCall {
            serial: serial.value(),
            lane: lane.number(),
        }
        .abi_encode(),
        VaultRequest::Reclaim(to) => IVault::reclaimCall { to: evm(*to) }.abi_encode(),
        VaultRequest::DepositNote(amount) => {
            pays = *amount;
            IVault::depositNoteCall {
                amount: amount.value(),
            }
            .abi_encode()
        }
        VaultRequest::RequestExit(units) => IVault::requestExitCall {
            units: units.value(),
        }
        .abi_encode(),
        VaultRequest::PayExits(cohorts) => IVault::payExitsCall {
            cohortsMax: cohort_number(*cohorts)?,
        }
        .abi_encode(),
        VaultRequest::ClaimExit { cohort, member } => IVault::claimExitCall {
            cohort: cohort_number(*cohort)?,
            member: evm(*member),
        }
        .abi_encode(),
        VaultRequest::DepositShare(amount) => {
            pays = *amount;
            IVault::depositShareCall {
                amount: amount.value(),
            }
            .abi_encode()
        }
        VaultRequest::WithdrawShare(exit, cosignatures) => IVault::withdrawShareCall {
            units: exit.units.value(),
            amount: exit.amount.value(),
            validUntil: word_of_seconds(exit.valid_until_s)?,
            signatures: encode_cosignatures(cosignatures)?,
        }
        .abi_encode(),
        VaultRequest::Accrue(index) => IVault::accrueCall {
            index: index.value(),
        }
        .abi_encode(),
        VaultRequest::Heartbeat => IVault::heartbeatCall {}.abi_encode(),
        VaultRequest::RaiseCosigned(raise, cosignatures) => IVault::raiseCosignedCall {
            more: IVault::Raise {
                serial: raise.serial.value(),
                amount: raise.amount.value(),
                termEnd: word_of_seconds(raise.term_end_s)?,
            },
            validUntil: word_of_seconds(raise.valid_until_s)?,
            signatures: encode_cosignatures(cosignatures)?,
        }
        .abi_encode(),
        VaultRequest::Freeze(freeze, cosignatures) => IVault::freezeCall {
            until: word_of_seconds(freeze.until_s)?,
            signatures: encode_cosignatures(cosignatures)?,
        }
        .abi_encode(),
        VaultRequest::MarkDown(mark_down, cosignatures) => IVault::markDownCall {
            index: mark_down.index.value(),
            validUntil: word_of_seconds(mark_down.valid_until_s)?,
            signatures: encode_cosignatures(cosignatures)?,
        }
        .abi_encode(),
        VaultRequest::StartRunDown => IVault::startRunDownCall {}.abi_encode(),
    };
    Ok(Encoded { data, pays })
}

fn word_of_seconds(seconds: u64) -> Result<U40, Fault> {
    U40::try_from(seconds).map_err(|_| Fault::BadRequest {
        what: "a time passes 40 bits of seconds",
    })
}

fn encode_cosignatures(list: &[Cosignature]) -> Result<Vec<IVault::Cosignature>, Fault> {
    if list.len() > COSIGNATURES_MAX {
        return Err(Fault::BadRequest {
            what: "there are more signatures than a committee has places",
        });
    }
    let one = |cosignature: &Cosignature| IVault::Cosignature {
        member: cosignature.member,
        signature: signature(cosignature.signature),
    };
    Ok(list.iter().map(one).collect())
}

fn encode_opening(opening: &Opening) -> Result<IVault::Opening, Fault> {
    Ok(IVault::Opening {
        serial: opening.serial.value(),
        poolSigner: evm(opening.pool_signer),
        peerSigner: evm(opening.peer_signer),
        peerPayout: evm(opening.peer_payout),
        allotment: opening.allotment.value(),
        termEnd: encode_term(opening.term_end)?,
        deposit: opening.deposit.value(),
    })
}

fn encode_raise(raise: &Raise) -> Result<IVault::Raise, Fault> {
    Ok(IVault::Raise {
        serial: raise.serial.value(),
        amount: raise.amount.value(),
        termEnd: encode_term(raise.term_end)?,
    })
}

fn encode_term(term_end: Option<Timestamp>) -> Result<U40, Fault> {
    let Some(term_end) = term_end else {
        return Ok(U40::ZERO);
    };
    seconds(term_end).ok_or(Fault::BadRequest {
        what: "term_end passes 40 bits of seconds",
    })
}

fn encode_redemptions(vouchers: &[SignedVoucher]) -> Result<Vec<u8>, Fault> {
    within_batch(vouchers.len())?;
    let one = |signed: &SignedVoucher| IVault::Redemption {
        serial: signed.voucher.serial.value(),
        lane: signed.voucher.lane.number(),
        amount: signed.voucher.amount.value(),
        signature: signature(signed.signature),
    };
    Ok(match vouchers {
        [voucher] => IVault::redeemCall {
            redemption: one(voucher),
        }
        .abi_encode(),
        vouchers => IVault::redeemManyCall {
            redemptions: vouchers.iter().map(one).collect(),
        }
        .abi_encode(),
    })
}

fn within_batch(length: usize) -> Result<(), Fault> {
    if length == 0 {
        return Err(Fault::BadRequest {
            what: "the list is empty",
        });
    }
    if length > BATCH_MAX {
        return Err(Fault::BadRequest {
            what: "the list has more than 100 entries",
        });
    }
    Ok(())
}

fn cohort_number(cohort: u32) -> Result<U24, Fault> {
    U24::try_from(cohort).map_err(|_| Fault::BadRequest {
        what: "the cohort passes 24 bits",
    })
}
