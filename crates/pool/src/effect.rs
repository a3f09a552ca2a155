//! Effects: chores that follow from events.

use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_channel::{Address, NodeId, Signature};
use forebay_quantity::{
    Amount, AssetId, ChannelSerial, EffectId, Hash32, PacketId, PeerId, Timestamp,
};

use crate::claim::{ClaimEvent, WithdrawalEffect};
use crate::command::NoticeKind;
use crate::event::Event;
use crate::lightning::{LightningEffect, LightningEvent};
use crate::rejection::RejectCode;
use crate::state::{LightningChannelId, SaleId, State};

/// Something the world must now do. Link effects are repeated from the state when a link returns; chain effects
/// stay outstanding, by id, until their outcome is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send a prepare on: patch amount and expiry in the bytes that came with it.
    Forward {
        /// Its id, and the request id on the outgoing link.
        packet: PacketId,
        /// The next hop.
        peer: PeerId,
        /// In the next hop's base units.
        amount: u64,
        /// The shortened expiry.
        expires_at: Timestamp,
    },
    /// Answer the sender's request with the preimage.
    RelayFulfill {
        /// The packet.
        packet: PacketId,
        /// Who waits.
        peer: PeerId,
        /// The request id it waits on.
        request: u32,
        /// The preimage.
        preimage: [u8; 32],
    },
    /// Answer the sender's request with a reject.
    RelayReject {
        /// The packet.
        packet: PacketId,
        /// Who waits.
        peer: PeerId,
        /// The request id it waits on.
        request: u32,
        /// The ILP code.
        code: RejectCode,
    },
    /// Sign and send the voucher that pays a peer.
    SendVoucher {
        /// Who is paid.
        peer: PeerId,
        /// On which channel.
        serial: ChannelSerial,
        /// The lane's cumulative amount in the chain's base units.
        amount: Amount,
    },
    /// Do something on an asset's chain, once.
    Chain {
        /// Idempotency key.
        id: EffectId,
        /// What.
        request: ChainRequest,
    },
    /// Bring a settlement over Lightning a step further.
    Lightning(LightningEffect),
    /// Pay an LP on Bitcoin what it takes out, once.
    Withdrawal(WithdrawalEffect),
}

/// A transaction demanded of an asset's vault, amounts in the chain's base units.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ChainRequest {
    /// Open a channel with a first allotment.
    Open {
        /// For whom.
        peer: PeerId,
        /// Vault.
        asset: AssetId,
        /// Fresh serial.
        serial: ChannelSerial,
        /// Who signs for the peer.
        peer_signer: Address,
        /// Where the peer is paid.
        peer_payout: Address,
        /// First ceiling of the pool's lane.
        ceiling: Amount,
        /// How long the allotment stands.
        term_ends: Timestamp,
    },
    /// Raise the ceiling of the pool's lane and renew its term.
    Raise {
        /// Vault.
        asset: AssetId,
        /// Channel.
        serial: ChannelSerial,
        /// New ceiling.
        ceiling: Amount,
        /// New term.
        term_ends: Timestamp,
    },
    /// Redeem the best voucher held of a peer.
    Redeem {
        /// Vault.
        asset: AssetId,
        /// Channel.
        serial: ChannelSerial,
        /// Cumulative amount.
        amount: Amount,
        /// The peer's signature.
        signature: Signature,
    },
    /// Raise the note index.
    RaiseIndex {
        /// Vault.
        asset: AssetId,
        /// New index in ray.
        index: u128,
    },
    /// Pay the oldest exit cohort from free money.
    PayExits {
        /// Vault.
        asset: AssetId,
        /// Which cohort waits.
        cohort: u64,
    },
    /// Give notice of closing a channel.
    StartClose {
        /// Vault.
        asset: AssetId,
        /// Channel.
        serial: ChannelSerial,
    },
    /// Execute a notice that has run out.
    FinishNotice {
        /// Vault.
        asset: AssetId,
        /// Channel.
        serial: ChannelSerial,
        /// Which.
        kind: NoticeKind,
    },
    /// Give notice of lowering the pool's lane to this ceiling.
    StartLower {
        /// Vault.
        asset: AssetId,
        /// Channel.
        serial: ChannelSerial,
        /// The ceiling announced.
        ceiling: Amount,
    },
    /// Show the vault that the operator is there.
    Heartbeat {
        /// Vault.
        asset: AssetId,
    },
    /// Open a Lightning channel to a peer; the demand's id is the channel's number.
    OpenLightning {
        /// For whom.
        peer: PeerId,
        /// The asset on Bitcoin.
        asset: AssetId,
        /// The peer's node.
        node: NodeId,
        /// What we put into it, in millisatoshi.
        amount: Amount,
    },
    /// Pay from the hot wallet to the reserve.
    ToReserve {
        /// The asset on Bitcoin.
        asset: AssetId,
        /// In millisatoshi, whole satoshi.
        amount: Amount,
    },
    /// Draft a payment from the reserve to the hot wallet, for the members to sign.
    FromReserve {
        /// The asset on Bitcoin.
        asset: AssetId,
        /// In millisatoshi, whole satoshi.
        amount: Amount,
    },
    /// Draft the move of old outputs of the reserve to new ones, for the members to sign.
    RenewReserve {
        /// The asset on Bitcoin.
        asset: AssetId,
    },
    /// Add money of the wallet to a Lightning channel that is of this value, in millisatoshi.
    SpliceIn {
        /// For whom.
        peer: PeerId,
        /// The asset on Bitcoin.
        asset: AssetId,
        /// The channel.
        channel: LightningChannelId,
        /// Both ends' money in it before.
        value: Amount,
        /// What is added.
        amount: Amount,
    },
    /// Take money out of a Lightning channel that is of this value, in millisatoshi.
    SpliceOut {
        /// From whom.
        peer: PeerId,
        /// The asset on Bitcoin.
        asset: AssetId,
        /// The channel.
        channel: LightningChannelId,
        /// Both ends' money in it before.
        value: Amount,
        /// What comes back to the wallet.
        amount: Amount,
    },
    /// Close a Lightning channel together with the peer.
    CloseLightning {
        /// With whom.
        peer: PeerId,
        /// The asset on Bitcoin.
        asset: AssetId,
        /// The channel.
        channel: LightningChannelId,
        /// What is ours in the peer's channels, in millisatoshi: the closing may cost as much as moving that may.
        amount: Amount,
    },
    /// Open a Lightning channel that was sold just in time, through which a held payment passes; the demand's id is the
    /// channel's number.
    SellLightning {
        /// The asset on Bitcoin.
        asset: AssetId,
        /// Which sale.
        sale: SaleId,
        /// The buyer.
        node: NodeId,
        /// What we put into it, in millisatoshi.
        amount: Amount,
    },
    /// Close a Lightning channel that was sold, together with its buyer.
    CloseSold {
        /// The asset on Bitcoin.
        asset: AssetId,
        /// Which sale.
        sale: SaleId,
        /// The channel.
        channel: LightningChannelId,
        /// What it holds, in millisatoshi: the closing may cost as much as moving that may.
        amount: Amount,
    },
}

impl ChainRequest {
    /// SHA-256 of the request: what its effect's number stands for.
    pub fn digest(&self) -> Hash32 {
        use sha2::Digest;
        let bytes = borsh::to_vec(self).expect("memory takes every byte");
        Hash32(sha2::Sha256::digest(bytes).into())
    }

    /// The vault that must act.
    pub fn asset(&self) -> AssetId {
        match self {
            Self::Open { asset, .. }
            | Self::Raise { asset, .. }
            | Self::Redeem { asset, .. }
            | Self::RaiseIndex { asset, .. }
            | Self::PayExits { asset, .. }
            | Self::StartClose { asset, .. }
            | Self::FinishNotice { asset, .. }
            | Self::StartLower { asset, .. }
            | Self::Heartbeat { asset }
            | Self::OpenLightning { asset, .. }
            | Self::ToReserve { asset, .. }
            | Self::FromReserve { asset, .. }
            | Self::RenewReserve { asset }
            | Self::SpliceIn { asset, .. }
            | Self::SpliceOut { asset, .. }
            | Self::CloseLightning { asset, .. }
            | Self::SellLightning { asset, .. }
            | Self::CloseSold { asset, .. } => *asset,
        }
    }

    /// The channel concerned, if one is.
    pub fn serial(&self) -> Option<ChannelSerial> {
        match self {
            Self::Open { serial, .. }
            | Self::Raise { serial, .. }
            | Self::Redeem { serial, .. }
            | Self::StartClose { serial, .. }
            | Self::FinishNotice { serial, .. }
            | Self::StartLower { serial, .. } => Some(*serial),
            Self::RaiseIndex { .. }
            | Self::PayExits { .. }
            | Self::Heartbeat { .. }
            | Self::OpenLightning { .. }
            | Self::ToReserve { .. }
            | Self::FromReserve { .. }
            | Self::RenewReserve { .. }
            | Self::SpliceIn { .. }
            | Self::SpliceOut { .. }
            | Self::CloseLightning { .. }
            | Self::SellLightning { .. }
            | Self::CloseSold { .. } => None,
        }
    }

    /// Whether the reserve on Bitcoin is concerned.
    pub fn is_of_reserve(&self) -> bool {
        match self {
            Self::ToReserve { .. } | Self::FromReserve { .. } | Self::RenewReserve { .. } => true,
            Self::Open { .. }
            | Self::Raise { .. }
            | Self::Redeem { .. }
            | Self::RaiseIndex { .. }
            | Self::PayExits { .. }
            | Self::StartClose { .. }
            | Self::FinishNotice { .. }
            | Self::StartLower { .. }
            | Self::Heartbeat { .. }
            | Self::OpenLightning { .. }
            | Self::SpliceIn { .. }
            | Self::SpliceOut { .. }
            | Self::CloseLightning { .. }
            | Self::SellLightning { .. }
            | Self::CloseSold { .. } => false,
        }
    }

    /// What goes from the hot wallet into a Lightning channel.
    pub(crate) fn for_channel(&self) -> Option<Amount> {
        match self {
            Self::OpenLightning { amount, .. }
            | Self::SpliceIn { amount, .. }
            | Self::SellLightning { amount, .. } => Some(*amount),
            Self::Open { .. }
            | Self::Raise { .. }
            | Self::Redeem { .. }
            | Self::RaiseIndex { .. }
            | Self::PayExits { .. }
            | Self::StartClose { .. }
            | Self::FinishNotice { .. }
            | Self::StartLower { .. }
            | Self::Heartbeat { .. }
            | Self::ToReserve { .. }
            | Self::FromReserve { .. }
            | Self::RenewReserve { .. }
            | Self::SpliceOut { .. }
            | Self::CloseLightning { .. }
            | Self::CloseSold { .. } => None,
        }
    }

    /// The Lightning channel concerned, if one is.
    pub fn lightning_channel(&self) -> Option<LightningChannelId> {
        match self {
            Self::SpliceIn { channel, .. }
            | Self::SpliceOut { channel, .. }
            | Self::CloseLightning { channel, .. }
            | Self::CloseSold { channel, .. } => Some(*channel),
            Self::Open { .. }
            | Self::Raise { .. }
            | Self::Redeem { .. }
            | Self::RaiseIndex { .. }
            | Self::PayExits { .. }
            | Self::StartClose { .. }
            | Self::FinishNotice { .. }
            | Self::StartLower { .. }
            | Self::Heartbeat { .. }
            | Self::OpenLightning { .. }
            | Self::ToReserve { .. }
            | Self::FromReserve { .. }
            | Self::RenewReserve { .. }
            | Self::SellLightning { .. } => None,
        }
    }
}

/// The effect an event demands, if any.
pub fn effects(event: &Event) -> Option<Effect> {
    match event {
        Event::PacketPrepared {
            packet,
            out_peer,
            amount_out,
            expires_out,
            ..
        } => Some(Effect::Forward {
            packet: *packet,
            peer: *out_peer,
            amount: *amount_out,
            expires_at: *expires_out,
        }),
        Event::PacketFulfilled {
            packet,
            in_peer,
            in_request,
            preimage,
        } => Some(Effect::RelayFulfill {
            packet: *packet,
            peer: *in_peer,
            request: *in_request,
            preimage: *preimage,
        }),
        Event::PacketRejected {
            packet,
            in_peer,
            in_request,
            code,
        } => Some(Effect::RelayReject {
            packet: *packet,
            peer: *in_peer,
            request: *in_request,
            code: *code,
        }),
        Event::VoucherSigned {
            peer,
            serial,
            amount,
        } => Some(Effect::SendVoucher {
            peer: *peer,
            serial: *serial,
            amount: *amount,
        }),
        Event::ChainDemanded { id, request } => Some(Effect::Chain {
            id: *id,
            request: request.clone(),
        }),
        Event::Lightning(happened) => lightning(happened).map(Effect::Lightning),
        Event::Claim(ClaimEvent::WithdrawalBegun {
            id, amount, payout, ..
        }) => Some(Effect::Withdrawal(WithdrawalEffect {
            id: *id,
            amount: *amount,
            payout: payout.clone(),
        })),
        Event::Founded(_)
        | Event::AssetAdded(..)
        | Event::AssetSet(..)
        | Event::BookHalted { .. }
        | Event::BookResumed(_)
        | Event::PeerAdded { .. }
        | Event::PeerSet(..)
        | Event::PeerRemoved(_)
        | Event::RouteAdded { .. }
        | Event::RouteRemoved { .. }
        | Event::PriceReported { .. }
        | Event::KeysNamed { .. }
        | Event::VoucherHeld { .. }
        | Event::ChainSettled { .. }
        | Event::ChainSaw { .. }
        | Event::CommandTaken(_)
        | Event::InstructionTaken { .. }
        | Event::RelationSet(..)
        | Event::VaultRulesKnown(..)
        | Event::BitcoinAdded(..)
        | Event::IndexRaised { .. }
        | Event::BitcoinSaw(_)
        | Event::Claim(
            ClaimEvent::LpAdded { .. }
            | ClaimEvent::PayoutSet { .. }
            | ClaimEvent::WithdrawalPaid { .. }
            | ClaimEvent::WithdrawalFailed { .. }
            | ClaimEvent::InvoiceGiven { .. }
            | ClaimEvent::InvoicePaid { .. },
        )
        | Event::Reserve(_)
        | Event::LiquiditySet(_)
        | Event::LightningStored { .. }
        | Event::Sale(_)
        | Event::SalesSet(_) => None,
    }
}

fn lightning(happened: &LightningEvent) -> Option<LightningEffect> {
    match *happened {
        LightningEvent::SettlementBegun {
            peer,
            settlement,
            amount,
        } => Some(LightningEffect::AskInvoice {
            peer,
            settlement,
            amount,
        }),
        LightningEvent::SettlementHashed {
            peer,
            settlement,
            hash,
        } => Some(LightningEffect::Pay {
            peer,
            settlement,
            hash,
        }),
        LightningEvent::NodeNamed { .. }
        | LightningEvent::InvoiceGiven { .. }
        | LightningEvent::Received { .. }
        | LightningEvent::SettlementPaid { .. }
        | LightningEvent::SettlementFailed { .. }
        | LightningEvent::CapacityKnown { .. }
        | LightningEvent::ChannelFunded { .. }
        | LightningEvent::ChannelStands { .. }
        | LightningEvent::ChannelSpliced { .. }
        | LightningEvent::ChannelClosed { .. }
        | LightningEvent::ChannelReturned { .. }
        | LightningEvent::ClosingPaid { .. }
        | LightningEvent::ChannelGained { .. }
        | LightningEvent::Woken { .. } => None,
    }
}

/// What is still owed to the world after a restart: every chain effect without an outcome, for every peer the
/// voucher it should hold or the settlement under way, and every withdrawal.
pub fn outstanding(state: &State) -> Vec<Effect> {
    let chain = state.chain_effects().map(|(id, request)| Effect::Chain {
        id,
        request: request.clone(),
    });
    let vouchers = state
        .peers()
        .filter_map(|(peer, account)| account.voucher_owed(peer));
    let settlements = state.peers().filter_map(|(peer, account)| {
        let owed = account.lightning.as_deref()?.owed(peer)?;
        Some(Effect::Lightning(owed))
    });
    let withdrawals = state.claims.outstanding().map(Effect::Withdrawal);
    let all = chain.chain(vouchers).chain(settlements);
    all.chain(withdrawals).collect()
}
