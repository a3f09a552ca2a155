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
}
