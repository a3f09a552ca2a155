//! Bitcoin: the pool's own wallet and Lightning node.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AssetPolicy, Units};

/// Lists the asset on Bitcoin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddBitcoin {
    /// Code, e.g. `BTC`.
    pub code: String,
    /// Decimal places of packet amounts, at most 11, that of a millisatoshi.
    pub scale: u8,
    /// How it is quoted and kept; absent fields take their defaults.
    #[serde(default)]
    pub policy: AssetPolicy,
}

/// The pool's wallet and Lightning node as they are now. Amounts are in satoshi unless named otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bitcoin {
    /// `bitcoin`, `testnet4`, `signet` or `regtest`.
    pub network: String,
    /// The Lightning node's public key, 66 hexadecimal digits.
    pub node: String,
    /// Where it listens, as host:port; empty when it does not.
    pub address: String,
    /// The last block that it knows.
    pub height: u32,
    /// In the wallet, on chain, confirmed.
    pub confirmed: Units,
    /// In the wallet, on chain, on its way.
    pub pending: Units,
    /// Channels.
    pub channels: Vec<LightningChannel>,
    /// How large channels are kept, and what that may cost.
    pub liquidity: Liquidity,
    /// To whom channels are sold just in time, and for what.
    pub sales: SalePolicy,
    /// What sales and payments that passed through have brought and cost.
    pub sold: Sold,
}

/// Who may buy a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Buyers {
    /// Nobody.
    Nobody,
    /// Nodes that settle for an account here.
    Peers,
    /// Any node.
    Anyone,
}

/// To whom Lightning channels are sold just in time (LSPS2), how large, and for what. Amounts are in satoshi.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SalePolicy {
    /// Who may buy.
    pub buyers: Buyers,
    /// A smaller payment opens no channel.
    pub payment_min: Units,
    /// No channel sold is larger.
    pub channel_max: Units,
    /// All channels sold together hold no more.
    pub sold_max: Units,
    /// What a channel costs at least; what miners would take for opening and closing it, if that is more.
    pub fee_min: Units,
    /// What it costs beyond the rent of its money until it may be closed, in millionths of the payment.
    pub fee_ppm: u32,
    /// What a channel holds beyond the payment, in millionths of it.
    pub room_ppm: u32,
    /// How long a channel is kept open at least, in milliseconds.
    pub lifetime_ms: u64,
    /// How long terms stand, in milliseconds.
    pub valid_ms: u64,
}

/// What sales and payments that passed through have brought and cost, in millisatoshi.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sold {
    /// What lies in channels sold now.
    pub held: Units,
    /// All that was withheld of payments for channels sold.
    pub earned: Units,
    /// All that miners were paid for them, closed ones included.
    pub cost: Units,
    /// What payments of others have left beyond that, as routing fees.
    pub routed: Units,
}

/// When Lightning channels are opened, enlarged, made smaller and closed, and what that may cost. Amounts are in satoshi.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Liquidity {
    /// A peer's channels should carry what flows to it on so many days, at least its allotment. Below a half of that more
    /// is put in; above three times it what is idle is taken out.
    pub cover_days: u32,
    /// Flow makes no channel larger than this; an allotment may.
    pub channel_max: Units,
    /// Less than this is left where it is.
    pub change_min: Units,
    /// The most that one change may pay to miners, whatever it moves.
    pub fee_base: Units,
    /// And beyond that, in millionths of what it moves.
    pub fee_ppm: u32,
    /// After a change nothing is taken out or closed for so long, in milliseconds.
    pub rest_ms: u64,
    /// A channel of ours that nothing flowed through for so long may be closed, in milliseconds.
    pub idle_ms: u64,
    /// What money in a channel could earn elsewhere, in millionths a day: an idle channel is closed once that comes to more
    /// than twice what the channel has cost.
    pub capital_ppm_per_day: u32,
}

/// Says how large Lightning channels are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetBitcoin {
    /// All of it anew.
    pub liquidity: Liquidity,
    /// To whom channels are sold, all of it anew; absent, it stays.
    #[serde(default)]
    pub sales: Option<SalePolicy>,
}

/// A Lightning channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LightningChannel {
    /// Our number for it.
    pub channel: String,
    /// The node at its other end.
    pub node: String,
    /// The account that this node settles for, if any does.
    pub peer: Option<String>,
    /// The output that holds it, as transaction id, colon and index; none until it is funded.
    pub funding: Option<String>,
    /// Both ends' money in it, in satoshi.
    pub value: Units,
    /// What is ours, in millisatoshi.
    pub balance: Units,
    /// What can be sent now, in millisatoshi.
    pub outbound: Units,
    /// What can be received now, in millisatoshi.
    pub inbound: Units,
    /// Whether it can be used now.
    pub usable: bool,
    /// What miners were paid for it by us, in millisatoshi.
    pub cost: Units,
    /// What was withheld for it, in millisatoshi; absent for a channel that was not sold.
    pub earned: Option<Units>,
}

/// Asks for an address that was never used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAddress {
    /// Where an LP is paid back: what arrives becomes its notes. An LP that is paid there is made known if there is none.
    #[serde(default)]
    pub payout: Option<String>,
    /// Or the LP, as `owner` names it. With neither, it is for the operator's own capital, which becomes shares.
    #[serde(default)]
    pub lp: Option<String>,
}

/// An address to pay to, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Address {
    /// The address.
    pub address: String,
    /// The LP that it is for, as the books name it; absent for the operator's own capital.
    pub owner: Option<String>,
}

/// How an account settles over Lightning, in millisatoshi.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LightningView {
    /// The peer's node, once it is proved.
    pub node: Option<String>,
    /// What our channels carry to it.
    pub outbound: Units,
    /// What they carry from it.
    pub inbound: Units,
    /// All that it has paid.
    pub received: Units,
    /// All that it was paid.
    pub paid: Units,
    /// What is being paid to it.
    pub under_way: Units,
    /// What miners were paid for channels with it, closed ones included.
    pub cost: Units,
}
