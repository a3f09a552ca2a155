//! Pools of one asset, related to each other.

use std::net::SocketAddr;
use std::time::Duration;

use forebay_node::{Config, Node, RunningNode, Uplink};
use forebay_pool::*;
use forebay_quantity::*;
use sha2::{Digest, Sha256};

use super::{admin, config, definition, free_port, keys, peer_policy, policy};

/// A pool that counts dollars alone, at its own address.
pub struct Pool {
    pub node: RunningNode,
    config: Config,
    folder: tempfile::TempDir,
}

pub const BOTH_WAYS: Relation = Relation {
    kind: RelationKind::Peer,
    sends_routes: true,
    receives_routes: true,
    debt_max: Amount::new(5_000_000),
};

/// Software of the operator's own, which is owed without a lane.
pub const RECEIVER: Relation = Relation {
    debt_max: Amount::new(5_000_000),
    ..Relation::CHILD
};

fn named(name: &str, credit: u128) -> Admin {
    Admin::AddPeer {
        name: name.into(),
        asset: AssetId(0),
        token_hash: Hash32(Sha256::digest(name.as_bytes()).into()),
        policy: peer_policy(credit, 0),
    }
}

impl Pool {
    /// Starts a pool with these accounts: name, what the pool grants it, what it is to the pool.
    pub async fn start(
        address: &str,
        accounts: &[(&str, u128, Relation)],
        uplinks: Vec<Uplink>,
    ) -> Self {
        Self::start_with(address, accounts, |config| config.uplinks = uplinks).await
    }

    /// The same, with a configuration of its own.
    pub async fn start_with(
        address: &str,
        accounts: &[(&str, u128, Relation)],
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        configure(&mut config);
        // A restart finds the same port.
        config.btp_listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let node = Node::start(config.clone(), keys()).await.unwrap();
        let core = node.core();
        let founded = Genesis {
            operator: address.into(),
            pool_signer: keys().pool.address(),
            expiry_margin_ms: 1_000,
            hold_max_ms: 30_000,
            forward_min_ms: 500,
            first_serial: ChannelSerial(100),
        };
        admin(core, Admin::Found(founded)).await;
        admin(core, Admin::AddAsset(definition("USD", 6, 6, 3), policy())).await;
        for ((name, credit, relation), number) in accounts.iter().zip(0..) {
            admin(core, named(name, *credit)).await;
            admin(core, Admin::SetRelation(PeerId(number), *relation)).await;
        }
        Self {
            node,
            config,
            folder,
        }
    }

    /// Stops the pool and starts it again on what it left behind.
    pub async fn restart(self) -> Self {
        self.node.stop().await;
        let node = Node::start(self.config.clone(), keys()).await.unwrap();
        Self { node, ..self }
    }

    /// Where the pool would send packets to a prefix, once it is as expected.
    pub async fn waits_for(&self, prefix: &str, hop: Option<&str>) {
        for _ in 0..300 {
            let wanted = prefix.as_bytes().to_vec();
            let found = self.node.core().query(move |state| {
                let mut learned = state.learned_routes();
                let hop = learned
                    .find(|(known, _)| *known == wanted)
                    .map(|(_, hop)| hop);
                hop.map(|hop| state.peer(hop).unwrap().name.clone())
            });
            if found.await.unwrap().as_deref() == hop {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{prefix} is not reached by {hop:?} after 15 s");
    }

    /// What a peer is owed, and owes.
    pub async fn balance(&self, peer: u32) -> (u128, u128) {
        let balance = self
            .node
            .core()
            .query(move |state| state.balance(state.peer(PeerId(peer)).unwrap().clearing));
        let balance = balance.await.unwrap();
        (balance.credit().value(), balance.debit().value())
    }
}

pub fn uplink(peer: &str, to: &Pool, token: &str) -> Uplink {
    Uplink {
        peer: peer.into(),
        url: format!("ws://{}/", to.node.btp_address()),
        username: None,
        token: token.into(),
    }
}
