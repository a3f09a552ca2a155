//! A whole pool process: starts everything in order, and ends it in order.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use forebay_chain_bitcoin::Boxed;
use forebay_chain_evm::Key;
use forebay_channel::Address;
use forebay_journal::{Fault, Journal, LocalDisk, OpenFault, Options, Recovery, Storage};
use forebay_pool::{AssetDefinition, FactAt, Rail, Sequencer, State};
use forebay_quantity::{AssetId, Milliseconds, Timestamp};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::admin::{self, Office, OfficeParts, Tokens};
use crate::chain::{self, ChainFault, Chains};
use crate::clock::{self, ClockFault};
use crate::config::Config;
use crate::core::{self, CoreHandle, CoreParts, Ending, Figures, Input, Outside, core_queue};
use crate::feed::{self, History};
use crate::http::{self, Lines};
use crate::lightning::{self, Lightning, LightningFault};
use crate::link::{self, Directory, Shared};
use crate::witness::{self, Journalled, LAST_WORD_MAX, Telling};
use crate::{history, prices, signer, socket, tower, wall};

/// What the process may sign with.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Signs vouchers and the operator's transactions.
    pub pool: Key,
}

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum StartFault {
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] OpenFault),
    /// The journal cannot be read back.
    #[error(transparent)]
    Reading(#[from] Fault),
    /// A snapshot or frame that this version cannot read.
    #[error(
        "{what} was not written by this version's core; start the version that wrote it, or restore a backup"
    )]
    UnknownState {
        /// Which.
        what: String,
    },
    /// The journal's pool signs with another key.
    #[error(
        "the key file's address is {ours}, but the pool was founded with {founded}; use the key file made at `forebay init`"
    )]
    OtherKey {
        /// The key in the file.
        ours: Address,
        /// The key in the journal.
        founded: Address,
    },
    /// A chain or a vault cannot be used.
    #[error(transparent)]
    Chain(#[from] ChainFault),
    /// Bitcoin or the Lightning node cannot be used.
    #[error(transparent)]
    Lightning(#[from] LightningFault),
    /// The clock is not believed.
    #[error(transparent)]
    Clock(#[from] ClockFault),
    /// An address cannot be listened on.
    #[error("{address} cannot be listened on; is another process using the port?")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// A witness has shown that this journal is not the newest.
    #[error(
        "{0}. Nothing was signed and nothing changed: stop the other process or put the newest data directory back"
    )]
    Rollback(#[from] forebay_channel::Rollback),
    /// The system gives no thread.
    #[error("a thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// Sent for a write past the file-size limit; it kills unless it is caught.
const SIGXFSZ: i32 = 25;
/// How often a node is asked whether its core still runs.
const ENDED_EVERY: Duration = Duration::from_millis(250);

/// Starts nodes.
#[derive(Debug)]
pub struct Node;

/// A node that runs until it is drained.
pub struct RunningNode {
    btp_address: SocketAddr,
    http_address: Option<SocketAddr>,
    admin_address: SocketAddr,
    core: CoreHandle,
    figures: Arc<Figures>,
    core_thread: JoinHandle<Ending>,
    stop: watch::Sender<bool>,
    /// Closed once every witness has heard the last word, or was given up on.
    said: mpsc::Receiver<Infallible>,
    drain_max_ms: u64,
    lightning: Option<Arc<Lightning>>,
}

impl Node {
    /// Opens the data directory, recovers, and serves. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartFault`], whose text says what to do.
    pub fn start(config: Config, keys: Keys) -> Boxed<Result<RunningNode, StartFault>> {
        Box::pin(async move {
            let storage = LocalDisk::open(config.data_directory.join("journal"))?;
            Self::starting(config, keys, Arc::new(storage)).await
        })
    }

    /// The same on any storage: tests hand in one that fails.
    ///
    /// # Errors
    /// [`StartFault`], whose text says what to do.
    pub fn start_on(
        config: Config,
        keys: Keys,
        storage: Arc<dyn Storage>,
    ) -> Boxed<Result<RunningNode, StartFault>> {
        Box::pin(Self::starting(config, keys, storage))
    }

    async fn starting(
        config: Config,
        keys: Keys,
        storage: Arc<dyn Storage>,
    ) -> Result<RunningNode, StartFault> {
        socket::install_tls();
        // Caught, so that a write past the process's file-size limit fails like any other and the pool says so.
        let _stays_caught = signal(SignalKind::from_raw(SIGXFSZ))?;
        let options = Options {
            segment_bytes: config.limits.segment_bytes,
            ..Options::new([0; 32])
        };
        let journalled = Journalled {
            pool: keys.pool.address(),
            storage: Arc::clone(&storage),
            identity: options.identity,
        };
        let (journal, recovery) = Journal::open(storage, options)?;
        let (sequencer, told) = recover(recovery)?;
        check(sequencer.state(), &keys, &config)?;
        let listener = listen(config.btp_listen).await?;
        let admin_listener = listen(config.admin_listen).await?;
        let http_listener = match config.http_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let http_address = match &http_listener {
            Some(listener) => Some(listener.local_addr()?),
            None => None,
        };
        let (btp_address, admin_address) = (listener.local_addr()?, admin_listener.local_addr()?);
        let directory = Arc::new(Directory::default());
        directory.follow(sequencer.state());
        let place = witness::prove(
            &config.witnesses,
            config.quorum(),
            &keys.pool,
            (&journalled, journal.head()),
            (&listener, &directory),
        )
        .await?;
        let tokens = Tokens::open(&config.data_directory)?;
        let (feed_sender, feed) = feed::start(sequencer.state(), told);
        let (core, inputs) = core_queue();
        let figures = Arc::new(Figures::default());
        let listed = listed_assets(sequencer.state());
        let limits = config.limits.clone();
        let behind_ms = limits.clock_ahead_max_ms;
        let chains = Chains::connect(
            &config.chains,
            &keys.pool,
            &config.data_directory,
            core.clone(),
            behind_ms,
        )
        .await?;
        chains.check_records(sequencer.state()).await?;
        let chains = Arc::new(chains);
        let lightning = lightning::start(&config, &keys.pool, sequencer.state(), &core).await?;
        let served = lightning
            .as_ref()
            .map(|started| Arc::clone(&started.lightning));
        let (vouchers, _signer) = signer::start(keys.pool, core.clone())?;
        let (errands, errands_taken) = mpsc::unbounded_channel();
        let (chain, requests) = mpsc::unbounded_channel();
        let (head, heads) = watch::channel(journal.head());
        let core_thread = core::start(CoreParts {
            inputs,
            head,
            sequencer,
            journal,
            directory: Arc::clone(&directory),
            figures: Arc::clone(&figures),
            outside: Outside {
                vouchers,
                chain,
                errands,
                face: served.as_ref().map(|served| served.face().clone()),
            },
            feed: feed_sender,
            snapshot_frames: limits.snapshot_frames,
            routes_secret: admin::random()?,
        })?;
        let (stop, stopped) = watch::channel(false);
        let (saying, said) = mpsc::channel(1);
        let telling = Telling {
            journal: journalled,
            place,
            head: heads,
            interval: Duration::from_millis(limits.witness_interval_ms),
            core: core.clone(),
            stopped: stopped.clone(),
            saying,
        };
        let heard = witness::tell(config.witnesses, &telling);
        for (asset, definition, cursor) in listed {
            if !chains.knows(definition.chain_id) {
                warn!(asset = %definition.code, "chain {} is not configured: this asset's vault is not followed", definition.chain_id);
                continue;
            }
            info!(asset = %definition.code, "reading what the vault did while the pool was away");
            if !chains
                .attach(asset, &definition, cursor, chain::CATCHING_UP_MAX)
                .await?
            {
                return Err(ChainFault::Behind(definition.chain_id).into());
            }
        }
        if let Some(started) = lightning {
            lightning::spawn(started, errands_taken, stopped.clone());
        }
        // The core thread lives as long as its handle, which is held here.
        let _ = core.give(Input::Begin);
        tokio::spawn(chain::dispatch(Arc::clone(&chains), requests));
        prices::start(config.prices, &core, &figures, &stopped);
        let samples = Arc::new(history::History::default());
        tokio::spawn(history::keep(
            Arc::clone(&samples),
            core.clone(),
            Arc::clone(&figures),
            stopped.clone(),
        ));
        let office = Office::new(OfficeParts {
            core: core.clone(),
            figures: Arc::clone(&figures),
            chains,
            lightning: served.clone(),
            tokens,
            feed,
            history: samples,
            btp: format!("ws://{btp_address}/"),
            stop: stopped.clone(),
        });
        tokio::spawn(admin::serve(
            admin_listener,
            Arc::new(office),
            stopped.clone(),
        ));
        let shared = Arc::new(Shared::new(
            core.clone(),
            directory,
            Arc::clone(&figures),
            heard,
            served.clone(),
        ));
        tokio::spawn(link::serve(
            listener,
            Arc::clone(&shared),
            limits.connections_max,
            Duration::from_millis(limits.auth_max_ms),
            stopped.clone(),
        ));
        for uplink in config.uplinks {
            tokio::spawn(link::keep_dialled(
                uplink,
                Arc::clone(&shared),
                stopped.clone(),
            ));
        }
        let http_url = config.http_url.as_deref();
        let lines = Lines::new(shared, config.http_uplinks, http_url);
        tokio::spawn(http::keep_lines(Arc::clone(&lines), stopped.clone()));
        if let Some(listener) = http_listener {
            let connections_max = limits.connections_max;
            tokio::spawn(http::serve(listener, lines, connections_max, stopped));
        }
        tower::guard_pool(config.watchtowers, core.clone());
        info!(%btp_address, ?http_address, %admin_address, "serving");
        Ok(RunningNode {
            btp_address,
            http_address,
            admin_address,
            core,
            figures,
            core_thread,
            stop,
            said,
            drain_max_ms: limits.drain_max_ms,
            lightning: served,
        })
    }
}

impl RunningNode {
    /// Where BTP is served.
    pub fn btp_address(&self) -> SocketAddr {
        self.btp_address
    }

    /// Where packets are taken by HTTP, if they are.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// Where the operator's interface is served.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Returns once the core thread has ended by itself, which only a bug makes it do.
    pub async fn ended(&self) {
        while !self.core_thread.is_finished() {
            tokio::time::sleep(ENDED_EVERY).await;
        }
    }

    /// The way to the core.
    pub fn core(&self) -> &CoreHandle {
        &self.core
    }

    /// Counters.
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    /// Refuses new prepares (T03), waits for what is in flight, snapshots, and ends.
    pub async fn drain(self) -> Ending {
        let until = wall::now().saturating_add(Milliseconds(self.drain_max_ms));
        self.end(Input::Drain { until }).await
    }

    /// Ends at once; the journal holds all that was acknowledged.
    pub async fn stop(self) -> Ending {
        self.end(Input::Stop).await
    }

    async fn end(mut self, how: Input) -> Ending {
        if let Some(lightning) = &self.lightning {
            lightning.tell_stored().await;
        }
        // A core that is gone has ended already.
        let _ = self.core.give(how);
        let thread = self.core_thread;
        let ended = tokio::task::spawn_blocking(move || thread.join()).await;
        self.stop.send_replace(true);
        if let Some(lightning) = self.lightning.take() {
            lightning.stop().await;
            let users = Arc::downgrade(&lightning);
            drop(lightning);
            // Its store is free for another start in this process once all who use it have heard that the node ends.
            let _ = tokio::time::timeout(LAST_WORD_MAX, async {
                while users.strong_count() > 0 {
                    tokio::time::sleep(ENDED_EVERY).await;
                }
            })
            .await;
        }
        // Nothing ever comes: what is waited for is the end of all who could say it.
        let _ = tokio::time::timeout(LAST_WORD_MAX, self.said.recv()).await;
        match ended {
            Ok(Ok(ending)) => ending,
            Ok(Err(_)) | Err(_) => {
                Ending::Failed("the core thread met a bug; its report is above".into())
            }
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartFault> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartFault::Listen { address, source })
}

fn recover(mut recovery: Recovery) -> Result<(Sequencer, History), StartFault> {
    let report = &recovery.report;
    if let Some(tail) = &report.torn_tail {
        warn!(segment = %tail.segment, offset = tail.offset, bytes = tail.bytes, "a torn tail was cut: nothing of it was acknowledged");
    }
    for (name, why) in &report.damaged_snapshots {
        warn!("snapshot {name} is damaged and was passed over: {why}");
    }
    let state = match recovery.snapshot.take() {
        None => State::default(),
        Some(snapshot) => {
            State::restore(&snapshot.state).ok_or_else(|| StartFault::UnknownState {
                what: format!("the snapshot at frame {}", snapshot.head.sequence),
            })?
        }
    };
    let mut sequencer = Sequencer::new(state);
    let (mut frames, mut told) = (0_u64, History::default());
    while let Some(frame) = recovery.next_frame()? {
        let what = || format!("journal frame {}", frame.sequence);
        sequencer
            .replay(frame.payload)
            .map_err(|_| StartFault::UnknownState { what: what() })?;
        told.add(frame.sequence.0, sequencer.state().now(), sequencer.told());
        frames += 1;
    }
    info!(frames, "recovered");
    Ok((sequencer, told))
}

fn check(state: &State, keys: &Keys, config: &Config) -> Result<(), StartFault> {
    clock::check_not_behind(
        wall::now(),
        last_stamp(state),
        config.limits.clock_behind_max_ms,
    )?;
    let ours = keys.pool.address();
    let Some(genesis) = state.genesis() else {
        return Ok(());
    };
    if genesis.pool_signer != ours {
        return Err(StartFault::OtherKey {
            ours,
            founded: genesis.pool_signer,
        });
    }
    Ok(())
}

fn listed_assets(state: &State) -> Vec<(AssetId, AssetDefinition, Option<FactAt>)> {
    let in_vaults = state
        .assets()
        .filter(|(_, asset)| asset.rail == Rail::Vault);
    in_vaults
        .map(|(id, asset)| (id, asset.definition.clone(), asset.vault.cursor))
        .collect()
}

fn last_stamp(state: &State) -> Timestamp {
    state.now()
}
