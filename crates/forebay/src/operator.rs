//! The operator's commands on a running pool: assets, peers, routes, books.

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use forebay_api::{
    ASSETS, AddAsset, AddPeer, Asset, AssetPolicy, BOOKS, Books, Done, PEERS, Peer, PeerPolicy,
    ROUTES, Relation, RelationKind, Route, RouteView, Routes, STATUS, SetAsset, SetPeer, Status,
    Units,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::output::{show, table, whole};

/// Policy fields to change.
#[derive(Debug, Args)]
pub(crate) struct Changes {
    /// A policy field, e.g. credit=1000; once for each. Amounts are in base units. An unknown field lists them all.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    set: Vec<String>,
}

impl Changes {
    /// The policy with the fields replaced.
    pub(crate) fn on<T: Serialize + DeserializeOwned>(&self, policy: &T) -> Result<T> {
        let mut fields = serde_json::to_value(policy)?;
        for change in &self.set {
            let (field, value) = change
                .split_once('=')
                .with_context(|| format!("--set {change}: write FIELD=VALUE"))?;
            let value = value
                .parse::<u64>()
                .map_or_else(|_| value.into(), serde_json::Value::from);
            fields[field] = value;
        }
        serde_json::from_value(fields).context("--set")
    }
}

/// Assets of the pool.
#[derive(Debug, Subcommand)]
pub(crate) enum Assets {
    /// List an asset whose vault is deployed.
    Add {
        /// Code, e.g. ETH.
        code: String,
        /// Decimal places of packet amounts.
        #[arg(long)]
        scale: u8,
        /// Decimal places on the chain.
        #[arg(long)]
        chain_scale: u8,
        /// EVM chain id.
        #[arg(long)]
        chain_id: u64,
        /// The vault's address.
        #[arg(long)]
        vault: String,
        /// The token's address; leave it out for the chain's own coin.
        #[arg(long)]
        token: Option<String>,
        #[command(flatten)]
        changes: Changes,
    },
    /// Show the assets.
    List,
    /// Change an asset's policy.
    Set {
        /// Code.
        code: String,
        #[command(flatten)]
        changes: Changes,
        /// Stop (true) or resume (false) quoting it.
        #[arg(long)]
        halted: Option<bool>,
    },
}

impl Assets {
    pub(crate) async fn run(self, client: &Client, json: bool) -> Result<()> {
        match self {
            Self::Add {
                code,
                scale,
                chain_scale,
                chain_id,
                vault,
                token,
                changes,
            } => {
                let policy = changes.on(&AssetPolicy::default())?;
                let asset = AddAsset {
                    code,
                    scale,
                    chain_scale,
                    chain_id,
                    vault,
                    token,
                    policy,
                };
                let asset: Asset = client.post(ASSETS, &asset).await?;
                show(json, &asset, |asset| println!("{} is listed.", asset.code))
            }
            Self::List => {
                let assets: Vec<Asset> = client.read_all(ASSETS).await?;
                show(json, &assets, |assets| draw_assets(assets))
            }
            Self::Set {
                code,
                changes,
                halted,
            } => {
                let known: Vec<Asset> = client.read_all(ASSETS).await?;
                let asset = known.iter().find(|asset| asset.code == code);
                let asset = asset.with_context(|| format!("no asset has the code {code}"))?;
                // To stop or resume quoting is an instruction of its own.
                let policy = match halted {
                    Some(_) if changes.set.is_empty() => None,
                    Some(_) | None => Some(changes.on(&asset.policy)?),
                };
                let asset: Asset = client
                    .put(&format!("{ASSETS}/{code}"), &SetAsset { policy, halted })
                    .await?;
                show(json, &asset, |asset| println!("{} is changed.", asset.code))
            }
        }
    }
}

/// Accounts with connectors.
#[derive(Debug, Subcommand)]
pub(crate) enum Peers {
    /// Open an account.
    Add {
        /// Its address segment: letters, digits, '_', '~', '-'.
        name: String,
        /// Its asset's code.
        #[arg(long)]
        asset: String,
        /// The bearer token of its link; made and shown when left out.
        #[arg(long)]
        token: Option<String>,
        #[command(flatten)]
        changes: Changes,
    },
    /// Show the accounts.
    List,
    /// Change an account's policy.
    Set {
        /// Its name.
        name: String,
        #[command(flatten)]
        changes: Changes,
    },
    /// Take no more packets of a peer and close its channel.
    Remove {
        /// Its name.
        name: String,
    },
    /// Say what a peer is to the pool, and which routes pass; what is left out becomes none.
    Relate {
        /// Its name.
        name: String,
        /// child, peer or parent.
        #[arg(long, value_parser = word::<RelationKind>)]
        relation: RelationKind,
        /// none, send, receive or both, seen from the pool.
        #[arg(long, value_parser = word::<Routes>, default_value = "none")]
        routes: Routes,
        /// What the pool may owe it beyond what its lane covers, in base units; settled outside the vaults.
        #[arg(long, default_value = "0")]
        debt_max: Units,
    },
    /// Show where packets go: routes of the operator, and those learned from neighbours.
    Routes,
    /// Route an address prefix to a peer.
    Route {
        /// Whole segments, e.g. g.other.
        prefix: String,
        /// The peer's name; left out to forget the route.
        peer: Option<String>,
    },
}

#[derive(Debug, Serialize)]
struct Added {
    #[serde(flatten)]
    peer: Peer,
    token: String,
}

impl Peers {
    pub(crate) async fn run(self, client: &Client, json: bool) -> Result<()> {
        match self {
            Self::Add {
                name,
                asset,
                token,
                changes,
            } => {
                let token = match token {
                    Some(token) => token,
                    None => hex::encode(crate::keys::random::<24>()?),
                };
                let policy = changes.on(&PeerPolicy::default())?;
                let peer: Peer = client
                    .post(
                        PEERS,
                        &AddPeer {
                            name,
                            asset,
                            token: token.clone(),
                            policy,
                        },
                    )
                    .await?;
                show(json, &Added { peer, token }, |added| {
                    println!(
                        "{} has the address {}. Its link's token: {}",
                        added.peer.name, added.peer.address, added.token
                    );
                })
            }
            Self::List => {
                let peers: Vec<Peer> = client.read_all(PEERS).await?;
                show(json, &peers, |peers| draw_peers(peers))
            }
            Self::Set { name, changes } => {
                let known: Vec<Peer> = client.read_all(PEERS).await?;
                let peer = known.iter().find(|peer| peer.name == name && !peer.removed);
                let policy = changes.on(&peer
                    .with_context(|| format!("no peer is named {name}"))?
                    .policy)?;
                let peer: Peer = client
                    .put(&format!("{PEERS}/{name}"), &SetPeer { policy })
                    .await?;
                show(json, &peer, |peer| println!("{} is changed.", peer.name))
            }
            Self::Remove { name } => {
                let done: Done = client.delete(&format!("{PEERS}/{name}")).await?;
                show(json, &done, |_| {
                    println!("{name} sends and receives nothing more; its channel will close.")
                })
            }
            Self::Relate {
                name,
                relation: kind,
                routes,
                debt_max,
            } => {
                let relation = Relation {
                    kind,
                    routes,
                    debt_max,
                };
                let peer: Peer = client
                    .put(&format!("{PEERS}/{name}/relation"), &relation)
                    .await?;
                show(json, &peer, |peer| {
                    println!("{} is related anew.", peer.name)
                })
            }
            Self::Routes => {
                let routes: Vec<RouteView> = client.read_all(ROUTES).await?;
                show(json, &routes, |routes| draw_routes(routes))
            }
            Self::Route {
                prefix,
                peer: Some(peer),
            } => {
                let done: Done = client
                    .post(
                        ROUTES,
                        &Route {
                            prefix: prefix.clone(),
                            peer,
                        },
                    )
                    .await?;
                show(json, &done, |_| println!("{prefix} is routed."))
            }
            Self::Route { prefix, peer: None } => {
                let done: Done = client.delete(&format!("{ROUTES}/{prefix}")).await?;
                show(json, &done, |_| println!("{prefix} is forgotten."))
            }
        }
    }
}

/// Balances, reserves, and what a stolen key would cost now.
pub(crate) async fn books(client: &Client, json: bool) -> Result<()> {
    let books: Books = client.read(BOOKS).await?;
    show(json, &books, draw_books)
}

/// How the node is.
pub(crate) async fn status(client: &Client, json: bool) -> Result<()> {
    let status: Status = client.read(STATUS).await?;
    show(json, &status, |status| {
        println!(
            "{} at {}, {}",
            status.operator,
            status.btp,
            if status.accepting {
                "accepting"
            } else {
                "NOT accepting"
            }
        );
        println!(
            "{} packets fulfilled, {} in flight",
            status.packets_fulfilled, status.packets_in_flight
        );
        status
            .alarms
            .iter()
            .for_each(|alarm| println!("ALARM: {alarm}"));
    })
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|&cell| cell.to_owned()).collect()
}

fn draw_assets(assets: &[Asset]) {
    let mut rows = vec![row(&[
        "asset", "scale", "chain", "price", "quotes", "vault",
    ])];
    rows.extend(assets.iter().map(|asset| {
        let quotes = if asset.price.is_some() { "yes" } else { "no" };
        let price = asset.price.clone().unwrap_or_else(|| "-".into());
        vec![
            asset.code.clone(),
            asset.scale.to_string(),
            asset.chain_id.to_string(),
            price,
            quotes.into(),
            asset.vault.clone(),
        ]
    }));
    table(&rows);
}

fn draw_peers(peers: &[Peer]) {
    let mut rows = vec![row(&[
        "peer",
        "asset",
        "link",
        "owed to it",
        "owed by it",
        "in flight",
        "channel",
        "address",
    ])];
    rows.extend(peers.iter().filter(|peer| !peer.removed).map(|peer| {
        let channel = peer
            .channel
            .as_ref()
            .map_or_else(|| "-".into(), |channel| channel.phase.clone());
        let link = if peer.connected { "up" } else { "down" };
        vec![
            peer.name.clone(),
            peer.asset.clone(),
            link.into(),
            peer.owed_to_peer.to_string(),
            peer.owed_to_pool.to_string(),
            peer.in_flight.to_string(),
            channel,
            peer.address.clone(),
        ]
    }));
    table(&rows);
}

fn draw_routes(routes: &[RouteView]) {
    let mut rows = vec![row(&["prefix", "next hop", "by"])];
    rows.extend(routes.iter().map(|route| {
        let by = if route.learned {
            "neighbour"
        } else {
            "operator"
        };
        vec![route.prefix.clone(), route.peer.clone(), by.into()]
    }));
    table(&rows);
}

/// A word of the operator's interface.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

fn draw_books(books: &Books) {
    for asset in &books.assets {
        println!("{}", asset.code);
        let lines = [
            ("vault: free money and allotments", asset.vault),
            ("notes", asset.notes),
            ("shares (first loss)", asset.shares),
            ("fees not yet paid to notes", asset.fees),
            ("fees earned in all", asset.fees_earned),
            ("owed to peers", asset.owed_to_peers),
            ("owed by peers", asset.owed_by_peers),
            ("vouchers held", asset.vouchers_held),
            ("vouchers signed, not redeemed", asset.vouchers_out),
            ("lent into other assets", asset.lent),
            ("brought in by swaps", asset.borrowed),
            ("a stolen key would cost now", asset.stolen_key_cost),
        ];
        let reserved = whole(asset.chain_reserved, asset.chain_scale);
        let rows: Vec<_> = lines
            .iter()
            .map(|(name, units)| vec![format!("  {name}"), whole(units, asset.scale)])
            .collect();
        table(&rows);
        if !asset.chain_reserved.0.is_zero() {
            println!("  {reserved} of it lie in the reserve");
        }
    }
    for chain in &books.chains {
        println!(
            "chain {}: gas money {} wei, {} wei of it set aside for open channels",
            chain.chain_id, chain.gas_money, chain.gas_reserved
        );
    }
    println!(
        "{}",
        if books.balanced {
            "The books balance."
        } else {
            "THE BOOKS DO NOT BALANCE."
        }
    );
}
