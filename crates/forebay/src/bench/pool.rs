//! The pool process under measurement: the product's own node, on a fresh folder, with two assets and two peers.
//!
//! There is no chain: what the vaults would report is handed to the core here, through the same command that the
//! chain adapter uses. The sender has credit, the receiver a lane with an allotment; fees, spread, limits, vouchers
//! and the journal are as anywhere.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Args;
use forebay_chain_evm::Key;
use forebay_channel::Address;
use forebay_market::{Guards, SpreadPolicy};
use forebay_node::{Config, CoreHandle, Keys, Limits, Node};
use forebay_pool::{
    Admin, AssetDefinition, AssetPolicy, ChainFact, ChainRequest, Command, Depth, FactAt, Genesis,
    PeerKeys, PeerPolicy, VaultFact,
};
use forebay_quantity::{
    Amount, AssetId, Bps, ChannelSerial, CommandId, Hash32, Milliseconds, PeerId, Ppm, SourceId,
    Timestamp,
};
use sha2::{Digest, Sha256};

const BTC: AssetId = AssetId(0);
const ETH: AssetId = AssetId(1);
const RECEIVER: PeerId = PeerId(1);
const DAY_MS: u64 = 86_400_000;
/// More than any run moves.
const PLENTY: u128 = 10_u128.pow(24);
/// A voucher follows every so many base units of the receiver's asset: a thousand packets of the generator.
const SETTLE_THRESHOLD: u128 = 200_000_000;

/// The pool process; told to end by the end of its input.
#[derive(Debug, Args)]
pub(crate) struct Pool {
    /// Where its journal goes.
    #[arg(long)]
    folder: PathBuf,
    /// Threads for sockets.
    #[arg(long, default_value_t = 1)]
    socket_threads: usize,
}

impl Pool {
    pub(super) fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(self.socket_threads)
            .enable_all()
            .build()?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> Result<()> {
        let key = Key::from_bytes([7; 32]).context("a fixed key is a key")?;
        let signer = key.address();
        let node = Node::start(self.config(), Keys { pool: key }).await?;
        let is_founded = node.core().query(|state| state.genesis().is_some()).await?;
        if !is_founded {
            Setup {
                core: node.core(),
                block: 0,
                instruction: 0,
            }
            .fund(signer)
            .await?;
        }
        println!("{}", node.btp_address());
        let figures = std::sync::Arc::clone(node.figures());
        let answering = tokio::task::spawn_blocking(move || {
            for line in std::io::stdin().lock().lines() {
                if line.is_err() {
                    break;
                }
                println!("{} {}", figures.syncs.value(), figures.records.value());
                // A parent that is gone closes the input as well.
                let _ = std::io::stdout().flush();
            }
        });
        answering.await?;
        node.stop().await;
        Ok(())
    }

    fn config(&self) -> Config {
        Config {
            data_directory: self.folder.clone(),
            btp_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            keys_file: PathBuf::new(),
            chains: BTreeMap::new(),
            prices: BTreeMap::new(),
            uplinks: Vec::new(),
            http_listen: None,
            http_url: None,
            http_uplinks: Vec::new(),
            watchtowers: Vec::new(),
            witnesses: Vec::new(),
            witness_quorum: None,
            limits: Limits::default(),
        }
    }
}

/// Founds the pool and plays the vaults.
struct Setup<'a> {
    core: &'a CoreHandle,
    block: u64,
    instruction: u8,
}

impl Setup<'_> {
    async fn fund(mut self, pool_signer: Address) -> Result<()> {
        self.admin(Admin::Found(Genesis {
            operator: "test.pool".into(),
            pool_signer,
            expiry_margin_ms: 1_000,
            hold_max_ms: 30_000,
            forward_min_ms: 500,
            first_serial: ChannelSerial(1),
        }))
        .await?;
        self.admin(Admin::AddAsset(definition("BTC", 8, 2), policy()))
            .await?;
        self.admin(Admin::AddAsset(definition("ETH", 9, 3), policy()))
            .await?;
        for source in 0..3 {
            for (asset, whole) in [(BTC, 65_000), (ETH, 3_250)] {
                let price = whole * 10_u128.pow(12);
                self.core
                    .command(Command::Price {
                        asset,
                        source: SourceId(source),
                        price,
                        at: now(),
                    })
                    .await?;
            }
        }
        self.add_peer("sender", BTC, PLENTY, 0).await?;
        self.add_peer("receiver", ETH, 0, 10_u128.pow(19)).await?;
        let amount = Amount::new(PLENTY);
        self.fact(
            ETH,
            VaultFact::NoteDeposited {
                owner: Address::new([9; 20]),
                units: amount,
                amount,
            },
        )
        .await?;
        let keys = PeerKeys {
            signer: Address::new([5; 20]),
            payout: Address::new([6; 20]),
        };
        self.core
            .command(Command::Keys {
                peer: RECEIVER,
                keys,
            })
            .await?;
        self.open_channels(pool_signer).await
    }

    async fn open_channels(&mut self, pool_signer: Address) -> Result<()> {
        let asked = self.core.query(|state| {
            state
                .chain_effects()
                .map(|(id, request)| (id, request.clone()))
                .collect::<Vec<_>>()
        });
        for (effect, request) in asked.await? {
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
            self.core
                .command(Command::Outcome {
                    effect,
                    failure: None,
                })
                .await?;
            self.fact(
                asset,
                VaultFact::ChannelOpened {
                    serial,
                    peer_signer,
                    pool_signer,
                },
            )
            .await?;
            self.fact(asset, VaultFact::AllotmentRaised { serial, ceiling })
                .await?;
            self.fact(asset, VaultFact::AllotmentRenewed { serial, term_ends })
                .await?;
        }
        Ok(())
    }

    async fn add_peer(
        &mut self,
        name: &str,
        asset: AssetId,
        credit: u128,
        allotment: u128,
    ) -> Result<()> {
        let policy = PeerPolicy {
            credit: Amount::new(credit),
            packet_max: 1_000_000_000,
            in_flight_max: 100_000,
            settle_threshold: Amount::new(SETTLE_THRESHOLD),
            settle_target: Amount::ZERO,
            allotment: Amount::new(allotment),
            allotment_term_ms: DAY_MS,
            redeem_threshold: Amount::new(PLENTY),
        };
        let token_hash = Hash32(Sha256::digest(name.as_bytes()).into());
        self.admin(Admin::AddPeer {
            name: name.into(),
            asset,
            token_hash,
            policy,
        })
        .await
    }

    async fn admin(&mut self, admin: Admin) -> Result<()> {
        self.instruction += 1;
        Ok(self
            .core
            .command(Command::Admin(CommandId([self.instruction; 16]), admin))
            .await?)
    }

    async fn fact(&mut self, asset: AssetId, fact: VaultFact) -> Result<()> {
        self.block += 1;
        let at = FactAt {
            block: self.block,
            log: 0,
        };
        Ok(self
            .core
            .command(Command::Chain(ChainFact {
                asset,
                at,
                depth: Depth::Final,
                fact,
            }))
            .await?)
    }
}

fn definition(code: &str, scale: u8, vault: u8) -> AssetDefinition {
    AssetDefinition {
        code: code.into(),
        scale,
        chain_id: 1,
        chain_scale: scale,
        vault: Address::new([vault; 20]),
        token: Address::ZERO,
        floor: Bps(1_000),
        index_rate_max: 0,
    }
}

fn policy() -> AssetPolicy {
    AssetPolicy {
        guards: Guards {
            sources_min: 3,
            age_max_ms: Milliseconds(DAY_MS),
            deviation_max: Bps(100),
        },
        spread: SpreadPolicy {
            floor_ppm: Ppm(2_000),
            volatility_multiplier_ppm: Ppm(1_000_000),
            holding_time_ms: Milliseconds(1_000),
            size_ppm_per_depth: Ppm(100),
            depth: Amount::new(PLENTY),
            skew_ppm_max: Ppm(0),
        },
        lent_max: Amount::new(PLENTY),
        note_rate: 0,
        index_interval_ms: DAY_MS,
        fee_release_ms: DAY_MS,
    }
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
