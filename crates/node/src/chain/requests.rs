//! The core's chain requests, in the vault's words.

use forebay_chain_evm::{Fault, Vault};
use forebay_channel::vault::{Opening, Raise, SignedVoucher, VaultRequest};
use forebay_channel::{Finality, LaneId, Voucher};
use forebay_pool::{ChainRequest, NoticeKind};
use forebay_quantity::Amount;

/// Says what to ask the vault for.
///
/// # Errors
/// A fault of the nodes: a raise is asked for as a sum, and the vault takes a difference.
pub(super) async fn translate(
    vault: &Vault,
    request: &ChainRequest,
) -> Result<VaultRequest, Fault> {
    Ok(match request {
        ChainRequest::OpenLightning { .. }
        | ChainRequest::SpliceIn { .. }
        | ChainRequest::SpliceOut { .. }
        | ChainRequest::CloseLightning { .. }
        | ChainRequest::SellLightning { .. }
        | ChainRequest::CloseSold { .. }
        | ChainRequest::ToReserve { .. }
        | ChainRequest::FromReserve { .. }
        | ChainRequest::RenewReserve { .. } => {
            unreachable!("[I11] what Lightning and the wallet must do is no vault's")
        }
        ChainRequest::Open {
            serial,
            peer_signer,
            peer_payout,
            ceiling,
            term_ends,
            ..
        } => VaultRequest::Open(Opening {
            serial: *serial,
            pool_signer: vault.account().address(),
            peer_signer: *peer_signer,
            peer_payout: *peer_payout,
            allotment: *ceiling,
            term_end: (!ceiling.is_zero()).then_some(*term_ends),
            deposit: Amount::ZERO,
        }),
        ChainRequest::Raise {
            serial,
            ceiling,
            term_ends,
            ..
        } => {
            let standing = vault.channel(*serial, Finality::Seen).await?.pool.ceiling;
            VaultRequest::Raise(vec![Raise {
                serial: *serial,
                amount: ceiling.saturating_sub(standing),
                term_end: Some(*term_ends),
            }])
        }
        ChainRequest::Redeem {
            serial,
            amount,
            signature,
            ..
        } => VaultRequest::Redeem(vec![SignedVoucher {
            voucher: Voucher {
                serial: *serial,
                lane: LaneId::Peer,
                amount: *amount,
            },
            signature: *signature,
        }]),
        ChainRequest::RaiseIndex { index, .. } => VaultRequest::Accrue(Amount::new(*index)),
        ChainRequest::PayExits { .. } => VaultRequest::PayExits(1),
        ChainRequest::Heartbeat { .. } => VaultRequest::Heartbeat,
        ChainRequest::StartClose { serial, .. } => VaultRequest::StartClose(*serial),
        ChainRequest::StartLower {
            serial, ceiling, ..
        } => VaultRequest::StartLowering {
            serial: *serial,
            lane: LaneId::Pool,
            ceiling: *ceiling,
        },
        ChainRequest::FinishNotice { serial, kind, .. } => match kind {
            NoticeKind::Close => VaultRequest::FinishClose(*serial),
            NoticeKind::AllotmentLowering => VaultRequest::FinishLowering {
                serial: *serial,
                lane: LaneId::Pool,
            },
            NoticeKind::DepositWithdrawal => VaultRequest::FinishLowering {
                serial: *serial,
                lane: LaneId::Peer,
            },
            NoticeKind::PeerKeyChange => VaultRequest::FinishKeyChange {
                serial: *serial,
                lane: LaneId::Peer,
            },
            NoticeKind::PoolKeyChange => VaultRequest::FinishKeyChange {
                serial: *serial,
                lane: LaneId::Pool,
            },
        },
    })
}
