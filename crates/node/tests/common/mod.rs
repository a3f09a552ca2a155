//! A pool of two assets with a sender and a receiver, and a BTP client to be either.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod pools;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use forebay_chain_evm::Key;
use forebay_channel::Address as ChainAddress;
use forebay_ilp::btp::RequestId;
use forebay_ilp::{
    Address, ErrorCode, FulfillView, Link, LinkEvent, PacketType, PrepareView, RejectView,
};
use forebay_journal::Storage;
use forebay_market::{Guards, SpreadPolicy};
use forebay_node::{Config, CoreHandle, Keys, Node, RunningNode};
use forebay_pool::*;
use forebay_quantity::*;
use futures_util::{SinkExt, StreamExt};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub const ETH: AssetId = AssetId(0);
pub const USD: AssetId = AssetId(1);
pub const ALICE: PeerId = PeerId(0);
pub const BOB: PeerId = PeerId(1);
pub const PREIMAGE: [u8; 32] = [7; 32];

static IDS: AtomicU64 = AtomicU64::new(1);

fn fresh() -> u64 {
    IDS.fetch_add(1, Ordering::Relaxed)
}

pub fn now() -> Timestamp {
    Timestamp(
        u64::try_from(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_millis(),
        )
        .unwrap(),
    )
}

/// A port of this machine that is free now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub fn keys() -> Keys {
    Keys {
        pool: Key::from_bytes([1; 32]).unwrap(),
    }
}

pub fn config(folder: &Path) -> Config {
    let text = format!(
        "data_directory = {folder:?}\nbtp_listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nkeys_file = \"keys\"\n[limits]\nsegment_bytes = 1048576\ndrain_max_ms = 2000\n"
    );
    let path = folder.join("forebay.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path).unwrap()
}

/// A pool with two funded peers.
pub async fn funded(folder: &Path) -> RunningNode {
    let node = Node::start(config(folder), keys()).await.unwrap();
    fund(node.core()).await;
    node
}

pub async fn funded_on(folder: &Path, storage: Arc<dyn Storage>) -> RunningNode {
    let node = Node::start_on(config(folder), keys(), storage)
        .await
        .unwrap();
    fund(node.core()).await;
    node
}

pub async fn admin(core: &CoreHandle, admin: Admin) {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&fresh().to_le_bytes());
    core.command(Command::Admin(CommandId(id), admin))
        .await
        .unwrap();
}

pub async fn fact(core: &CoreHandle, asset: AssetId, fact: VaultFact) {
    let at = FactAt {
        block: fresh(),
        log: 0,
    };
    core.command(Command::Chain(ChainFact {
        asset,
        at,
        depth: Depth::Final,
        fact,
    }))
    .await
    .unwrap();
}

pub async fn fund(core: &CoreHandle) {
    admin(
        core,
        Admin::Found(Genesis {
            operator: "test.pool".into(),
            pool_signer: keys().pool.address(),
            expiry_margin_ms: 1_000,
            hold_max_ms: 30_000,
            forward_min_ms: 500,
            first_serial: ChannelSerial(100),
        }),
    )
    .await;
    admin(core, Admin::AddAsset(definition("ETH", 9, 18, 2), policy())).await;
    admin(core, Admin::AddAsset(definition("USD", 6, 6, 3), policy())).await;
    for asset in [ETH, USD] {
        core.chain_heard(asset, now()).unwrap();
    }
    for source in 0..3 {
        for (asset, whole) in [(ETH, 2_000), (USD, 1)] {
            let price = whole * 10_u128.pow(12);
            core.command(Command::Price {
                asset,
                source: SourceId(source),
                price,
                at: now(),
            })
            .await
            .unwrap();
        }
    }
    for (name, asset, credit, allotment) in [
        ("alice", ETH, 1_000_000_000_000, 0),
        ("bob", USD, 0, 1_000_000_000_u128),
    ] {
        let token_hash = Hash32(Sha256::digest(name.as_bytes()).into());
        let policy = peer_policy(credit, allotment);
        admin(
            core,
            Admin::AddPeer {
                name: name.into(),
                asset,
                token_hash,
                policy,
            },
        )
        .await;
    }
    let (units, amount) = (Amount::new(10_000_000_000), Amount::new(10_000_000_000));
    fact(
        core,
        USD,
        VaultFact::NoteDeposited {
            owner: ChainAddress::new([9; 20]),
            units,
            amount,
        },
    )
    .await;
    let keys = peer_keys(&bobs_key());
    core.command(Command::Keys { peer: BOB, keys })
        .await
        .unwrap();
    open_channels(core).await;
}

/// What Bob signs with.
pub fn bobs_key() -> Key {
    Key::from_bytes([19; 32]).unwrap()
}

/// The keys of a peer that signs with this one.
pub fn peer_keys(key: &Key) -> PeerKeys {
    PeerKeys {
        signer: key.address(),
        payout: ChainAddress::new([20; 20]),
    }
}

/// Carries out every channel opening that the core asks for.
async fn open_channels(core: &CoreHandle) {
    let demands = core.query(|state| {
        state
            .chain_effects()
            .map(|(id, request)| (id, request.clone()))
            .collect::<Vec<_>>()
    });
    for (effect, request) in demands.await.unwrap() {
        let ChainRequest::Open {
            asset,
            serial,
            peer_signer,
            ceiling,
            term_ends,
            ..
        } = request
        else {
            continue;
        };
        core.command(Command::Outcome {
            effect,
            failure: None,
        })
        .await
        .unwrap();
        let pool_signer = keys().pool.address();
        fact(
            core,
            asset,
            VaultFact::ChannelOpened {
                serial,
                peer_signer,
                pool_signer,
            },
        )
        .await;
        fact(core, asset, VaultFact::AllotmentRaised { serial, ceiling }).await;
        fact(
            core,
            asset,
            VaultFact::AllotmentRenewed { serial, term_ends },
        )
        .await;
    }
}

pub fn definition(code: &str, scale: u8, chain_scale: u8, vault: u8) -> AssetDefinition {
    AssetDefinition {
        code: code.into(),
        scale,
        chain_id: 31_337,
        chain_scale,
        vault: ChainAddress::new([vault; 20]),
        token: ChainAddress::ZERO,
        floor: Bps(1_000),
        index_rate_max: 10_u128.pow(24),
    }
}

pub fn policy() -> AssetPolicy {
    AssetPolicy {
        guards: Guards {
            sources_min: 3,
            age_max_ms: Milliseconds(600_000),
            deviation_max: Bps(100),
        },
        spread: SpreadPolicy {
            floor_ppm: Ppm(1_000),
            volatility_multiplier_ppm: Ppm(1_000_000),
            holding_time_ms: Milliseconds(1_000),
            size_ppm_per_depth: Ppm(0),
            depth: Amount::new(1_000_000_000_000),
            skew_ppm_max: Ppm(0),
        },
        lent_max: Amount::new(5_000_000_000),
        note_rate: 0,
        index_interval_ms: 60_000,
        fee_release_ms: 3_600_000,
    }
}

pub fn peer_policy(credit: u128, allotment: u128) -> PeerPolicy {
    PeerPolicy {
        credit: Amount::new(credit),
        packet_max: 1_000_000_000,
        in_flight_max: 10_000,
        settle_threshold: Amount::new(1_000_000),
        settle_target: Amount::ZERO,
        allotment: Amount::new(allotment),
        allotment_term_ms: 86_400_000,
        redeem_threshold: Amount::new(100_000_000),
    }
}

/// What a client hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Prepare {
        id: u32,
        amount: u64,
        expires_at: Timestamp,
        destination: String,
        data: Vec<u8>,
    },
    Fulfill {
        id: u32,
        preimage: [u8; 32],
        data: Vec<u8>,
    },
    Reject {
        id: u32,
        code: ErrorCode,
        by: String,
        message: String,
        data: Vec<u8>,
    },
    Message {
        id: u32,
        names: Vec<String>,
        data: Vec<u8>,
    },
    Response {
        id: u32,
        data: Vec<u8>,
    },
    Error {
        id: u32,
        code: String,
    },
    Other(String),
}

/// A BTP client.
pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub link: Link,
}

impl Client {
    pub async fn connect(address: SocketAddr, name: &str) -> Self {
        Self::try_connect(&format!("ws://{address}/"), None, name)
            .await
            .unwrap()
    }

    /// Dials and authenticates; says what the server answered when it refused.
    pub async fn try_connect(
        url: &str,
        username: Option<&str>,
        token: &str,
    ) -> Result<Self, String> {
        let (socket, _) = connect_async(url)
            .await
            .map_err(|error| error.to_string())?;
        let mut client = Self {
            socket,
            link: Link::client(),
        };
        let mut frame = Vec::new();
        client
            .link
            .start(&mut frame, RequestId(4_000_000_000), username, token);
        client.send(frame).await;
        let bytes = client.read().await.ok_or("closed")?;
        match client.link.receive(&bytes) {
            Ok(LinkEvent::Authenticated) => Ok(client),
            Ok(LinkEvent::AuthRefused(body)) => {
                Err(String::from_utf8_lossy(body.data).into_owned())
            }
            other => Err(format!("{other:?}")),
        }
    }

    pub async fn send(&mut self, frame: Vec<u8>) {
        self.socket
            .send(Message::Binary(frame.into()))
            .await
            .unwrap();
    }

    /// The next binary message; `None` when the socket closes or nothing comes for five seconds.
    pub async fn read(&mut self) -> Option<Vec<u8>> {
        self.read_within(Duration::from_secs(5)).await
    }

    /// The same, with patience of another length.
    pub async fn read_within(&mut self, patience: Duration) -> Option<Vec<u8>> {
        let next = async {
            loop {
                match self.socket.next().await? {
                    Ok(Message::Binary(bytes)) => return Some(bytes.to_vec()),
                    Ok(Message::Close(_)) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(patience, next).await.ok().flatten()
    }

    pub async fn prepare(&mut self, id: u32, amount: u64, ttl_ms: u64) -> Timestamp {
        self.prepare_to("test.pool.bob.shop", id, amount, ttl_ms, b"hello")
            .await
    }

    pub async fn prepare_to(
        &mut self,
        to: &str,
        id: u32,
        amount: u64,
        ttl_ms: u64,
        data: &[u8],
    ) -> Timestamp {
        let condition: [u8; 32] = Sha256::digest(PREIMAGE).into();
        let expires_at = Timestamp(now().0 + ttl_ms);
        let destination = Address::parse(to.as_bytes()).unwrap();
        let prepare = PrepareView {
            amount,
            expires_at,
            condition: &condition,
            destination,
            data,
        };
        let mut frame = Vec::new();
        self.link
            .encode_prepare(&mut frame, RequestId(id), &prepare)
            .unwrap();
        self.send(frame).await;
        expires_at
    }

    pub async fn fulfill(&mut self, id: u32, preimage: &[u8; 32], data: &[u8]) {
        let mut frame = Vec::new();
        self.link
            .encode_fulfill(
                &mut frame,
                RequestId(id),
                &FulfillView {
                    fulfillment: preimage,
                    data,
                },
            )
            .unwrap();
        self.send(frame).await;
    }

    pub async fn reject(&mut self, id: u32, code: ErrorCode, message: &[u8], data: &[u8]) {
        let mut frame = Vec::new();
        let triggered_by = Some(Address::parse(b"test.pool.bob.shop").unwrap());
        self.link
            .encode_reject(
                &mut frame,
                RequestId(id),
                &RejectView {
                    code,
                    triggered_by,
                    message,
                    data,
                },
            )
            .unwrap();
        self.send(frame).await;
    }

    /// The next thing heard.
    pub async fn hear(&mut self) -> Heard {
        let bytes = self
            .read()
            .await
            .expect("something is heard within five seconds");
        match self.link.receive(&bytes) {
            Ok(LinkEvent::Prepare(id, prepare)) => Heard::Prepare {
                id: id.0,
                amount: prepare.view.amount,
                expires_at: prepare.view.expires_at,
                destination: prepare.view.destination.to_string(),
                data: prepare.view.data.to_vec(),
            },
            Ok(LinkEvent::Fulfill(id, fulfill)) => Heard::Fulfill {
                id: id.0,
                preimage: *fulfill.view.fulfillment,
                data: fulfill.view.data.to_vec(),
            },
            Ok(LinkEvent::Reject(id, reject)) => Heard::Reject {
                id: id.0,
                code: reject.view.code,
                by: reject
                    .view
                    .triggered_by
                    .map(|by| by.to_string())
                    .unwrap_or_default(),
                message: String::from_utf8_lossy(reject.view.message).into_owned(),
                data: reject.view.data.to_vec(),
            },
            Ok(LinkEvent::Message(id, data)) => Heard::Message {
                id: id.0,
                names: data.iter().map(|entry| entry.name.to_owned()).collect(),
                data: data
                    .find("forebay")
                    .map(|entry| entry.data.to_vec())
                    .unwrap_or_default(),
            },
            Ok(LinkEvent::Response(id, data)) => Heard::Response {
                id: id.0,
                data: data
                    .find("forebay")
                    .map(|entry| entry.data.to_vec())
                    .unwrap_or_default(),
            },
            Ok(LinkEvent::Error(id, body)) => Heard::Error {
                id: id.0,
                code: String::from_utf8_lossy(&body.code).into_owned(),
            },
            other => Heard::Other(format!("{other:?}")),
        }
    }

    /// The next prepare heard, other messages passed over.
    pub async fn hear_prepare(&mut self) -> (u32, u64, Timestamp) {
        loop {
            if let Heard::Prepare {
                id,
                amount,
                expires_at,
                ..
            } = self.hear().await
            {
                return (id, amount, expires_at);
            }
        }
    }

    /// The code of the next reject, which must be next.
    pub async fn hear_reject(&mut self) -> (u32, ErrorCode) {
        match self.hear().await {
            Heard::Reject { id, code, .. } => (id, code),
            other => panic!("a reject was expected, not {other:?}"),
        }
    }
}

/// The packet type of a raw ILP packet, to keep the import in use.
pub fn kind(packet: &[u8]) -> Option<PacketType> {
    PacketType::of(packet)
}
