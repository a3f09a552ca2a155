//! `forebay bitcoin`: the running pool's wallet and Lightning node.

use anyhow::Result;
use clap::Subcommand;
use forebay_api::{
    AddBitcoin, Address, Asset, AssetPolicy, BITCOIN, BITCOIN_ADDRESSES, Bitcoin, NewAddress, Units,
};
use forebay_quantity::Amount;

use crate::client::Client;
use crate::operator::Changes;
use crate::output::{show, table, whole};

/// Decimal places of a satoshi, and of a millisatoshi, in a bitcoin.
const SATOSHI: u8 = 8;
const MILLISATOSHI: u8 = 11;

/// The pool's wallet and Lightning node.
#[derive(Debug, Subcommand)]
pub(crate) enum OnBitcoin {
    /// List the asset on Bitcoin.
    Add {
        /// Code, e.g. BTC.
        code: String,
        /// Decimal places of packet amounts, at most 11, that of a millisatoshi.
        #[arg(long, default_value_t = MILLISATOSHI)]
        scale: u8,
        #[command(flatten)]
        changes: Changes,
    },
    /// Show the wallet, the node and its channels.
    Show,
    /// Print an address that was never used.
    Address {
        /// Where an LP is paid back: what arrives becomes its notes. Left out, it is the operator's own capital.
        #[arg(long)]
        payout: Option<String>,
    },
}

impl OnBitcoin {
    pub(crate) async fn run(self, client: &Client, json: bool) -> Result<()> {
        match self {
            Self::Add {
                code,
                scale,
                changes,
            } => {
                let asset = AddBitcoin {
                    code,
                    scale,
                    policy: changes.on(&AssetPolicy::default())?,
                };
                let asset: Asset = client.post(BITCOIN, &asset).await?;
                show(json, &asset, |asset| println!("{} is listed.", asset.code))
            }
            Self::Show => {
                let bitcoin: Bitcoin = client.read(BITCOIN).await?;
                show(json, &bitcoin, draw)
            }
            Self::Address { payout } => {
                let address: Address = client
                    .post(BITCOIN_ADDRESSES, &NewAddress { payout, lp: None })
                    .await?;
                show(json, &address, |address| {
                    println!("{}", address.address);
                    if let Some(owner) = &address.owner {
                        eprintln!("It is for the LP {owner}.");
                    }
                })
            }
        }
    }
}

fn draw(bitcoin: &Bitcoin) {
    println!(
        "{} at block {}: {} BTC confirmed, {} BTC on their way",
        bitcoin.network,
        bitcoin.height,
        whole(bitcoin.confirmed, SATOSHI),
        whole(bitcoin.pending, SATOSHI)
    );
    println!("node {}@{}", bitcoin.node, bitcoin.address);
    let msat = |units: Units| whole(units, MILLISATOSHI);
    let none = Units(Amount::ZERO);
    let mut rows = vec![
        ["peer", "value", "ours", "can send", "can receive", "usable"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(bitcoin.channels.iter().map(|channel| {
        let peer = channel.peer.clone().unwrap_or_else(|| channel.node.clone());
        let usable = if channel.usable { "yes" } else { "no" };
        vec![
            peer,
            whole(channel.value, SATOSHI),
            msat(channel.balance),
            msat(if channel.usable {
                channel.outbound
            } else {
                none
            }),
            msat(if channel.usable {
                channel.inbound
            } else {
                none
            }),
            usable.into(),
        ]
    }));
    table(&rows);
}
