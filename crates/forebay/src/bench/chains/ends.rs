//! Two Lightning nodes of this program's own, on a bitcoind on regtest, and the channels between them.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bitcoin::Amount;
use forebay_chain_bitcoin::Network;
use forebay_chain_bitcoin::bitcoind::Bitcoind;
use forebay_chain_bitcoin::bitcoind::regtest::{Regtest, RegtestSettings};
use forebay_chain_bitcoin::lightning::{
    ChannelNumber, LightningNode, LightningSettings, Observation, Observations, Opening, Seed,
};
use forebay_chain_bitcoin::wallet::{self, Purpose, Wallet, WalletSettings};

/// What the first channel holds, all of it the payer's.
pub(super) const FIRST_SAT: u64 = 2_000_000;
/// What each further channel holds, which nothing is paid over.
const FURTHER_SAT: u64 = 20_000;
/// For each channel, what a wallet keeps to close it, and more than its opening pays to miners.
const RESERVE_SAT: u64 = 30_000;
/// LDK takes no more channels of one peer whose funding is in no block yet.
const UNCONFIRMED_MAX: u32 = 4;
const POLL: Duration = Duration::from_millis(100);
/// A block is followed by the next after this long, while a channel waits for one.
const BLOCK_EVERY: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(60);

/// A node and its wallet.
struct End {
    node: Arc<LightningNode>,
    wallet: Arc<Wallet>,
}

/// Who pays, and who is paid.
pub(super) struct Ends {
    regtest: Regtest,
    folder: PathBuf,
    payer: End,
    payee: End,
    told: Observations,
    payee_listens: SocketAddr,
    opened: u32,
}

impl Ends {
    /// Both, connected, with coins for so many channels. The payee acknowledges what it observes by itself.
    pub(super) async fn start(bitcoind: &Path, folder: &Path, channels: u32) -> Result<Self> {
        let settings = RegtestSettings::new(bitcoind.to_owned(), folder.join("bitcoind"));
        let regtest = Regtest::start(settings).await?;
        regtest.mine(101).await?;
        let payee_listens = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (payer, told) = End::start(&regtest, folder.join("payer"), None).await?;
        let listen = Some(payee_listens);
        let (payee, payees_told) = End::start(&regtest, folder.join("payee"), listen).await?;
        tokio::spawn(payees_told.acknowledge_all());
        let each = FURTHER_SAT + RESERVE_SAT;
        for (end, sat) in [(&payer, each + RESERVE_SAT), (&payee, RESERVE_SAT)] {
            let address = end.wallet.address(Purpose::ChannelFunding)?;
            let coins = Amount::from_sat(FIRST_SAT + u64::from(channels) * sat);
            regtest.pay(&address, coins).await?;
        }
        regtest.mine(1).await?;
        payer.wallet.sync().await?;
        payee.wallet.sync().await?;
        let connected = payer.node.connect(payee.node.identity(), payee_listens);
        connected.await?;
        Ok(Self {
            regtest,
            folder: folder.to_owned(),
            payer,
            payee,
            told,
            payee_listens,
            opened: 0,
        })
    }

    /// Who pays, what it observes, and who is paid.
    pub(super) fn parts(
        &mut self,
    ) -> (&Arc<LightningNode>, &mut Observations, &Arc<LightningNode>) {
        (&self.payer.node, &mut self.told, &self.payee.node)
    }

    /// Opens channels, the payer's, until there are so many that can be used.
    pub(super) async fn open(&mut self, count: u32) -> Result<()> {
        while self.opened < count {
            let value_sat = if self.opened == 0 {
                FIRST_SAT
            } else {
                FURTHER_SAT
            };
            let wanted = if self.opened == 0 {
                1
            } else {
                count - self.opened
            };
            let now = wanted.min(UNCONFIRMED_MAX);
            let openings: Vec<Opening> = (1..=now)
                .map(|number| Opening {
                    channel: ChannelNumber(u128::from(self.opened + number)),
                    peer: self.payee.node.identity(),
                    value_sat,
                    public: false,
                    // On a chain of its own, so that the fee is no matter.
                    fee_max_sat: u64::MAX,
                })
                .collect();
            for asked in self.payer.node.open_channels(&openings) {
                asked?;
            }
            self.opened += now;
            for _ in 0..now {
                self.funded().await?;
            }
            self.usable(true).await?;
            self.payer.wallet.sync().await?;
        }
        Ok(())
    }

    /// Ends the payer's wallet and node and starts them again: how long until they serve, and until every channel can be
    /// used.
    pub(super) async fn restart(mut self) -> Result<(Duration, Duration)> {
        let End { node, wallet } = self.payer;
        let node = Arc::into_inner(node).context("no task uses the node any more")?;
        node.stop().await;
        let waiting = Instant::now();
        while Arc::strong_count(&wallet) > 1 && waiting.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(wallet);
        let began = Instant::now();
        (self.payer, self.told) =
            End::start(&self.regtest, self.folder.join("payer"), None).await?;
        let serves = began.elapsed();
        let payee = self.payee.node.identity();
        self.payer.node.connect(payee, self.payee_listens).await?;
        self.usable(false).await?;
        Ok((serves, began.elapsed()))
    }

    /// Waits until one more channel's funding is on its way to the chain.
    async fn funded(&mut self) -> Result<()> {
        let waiting = Instant::now();
        while waiting.elapsed() < PATIENCE {
            match self.observe(PATIENCE).await? {
                Some(Observation::ChannelPending { .. }) => return Ok(()),
                Some(Observation::ChannelClosed { reason, .. }) => {
                    bail!("a channel could not be opened: {reason}")
                }
                _ => {}
            }
        }
        bail!("a channel was not funded within {PATIENCE:?}")
    }

    /// Waits until every channel can be used, with blocks that come by themselves if they are needed.
    async fn usable(&mut self, needs_blocks: bool) -> Result<()> {
        let waiting = Instant::now();
        let mut last_block = None;
        loop {
            let channels = self.payer.node.channels()?;
            let usable = channels.iter().filter(|channel| channel.usable).count();
            if usable == usize::try_from(self.opened)? {
                return Ok(());
            }
            ensure!(
                waiting.elapsed() < PATIENCE,
                "{usable} of {} channels can be used after {PATIENCE:?}",
                self.opened
            );
            let is_due = last_block.is_none_or(|at: Instant| at.elapsed() >= BLOCK_EVERY);
            if needs_blocks && is_due {
                self.regtest.mine(1).await?;
                last_block = Some(Instant::now());
            }
            self.observe(Duration::from_millis(5)).await?;
        }
    }

    /// What the payer's node observes next, acknowledged; nothing when it takes longer than this.
    async fn observe(&mut self, patience: Duration) -> Result<Option<Observation>> {
        let Ok(observed) = tokio::time::timeout(patience, self.told.next()).await else {
            return Ok(None);
        };
        let observed = observed.context("the node has stopped")?;
        let observation = observed.observation.clone();
        observed.acknowledge();
        Ok(Some(observation))
    }
}

impl End {
    async fn start(
        regtest: &Regtest,
        folder: PathBuf,
        listen: Option<SocketAddr>,
    ) -> Result<(Self, Observations)> {
        let bitcoind = Arc::new(Bitcoind::new(regtest.client_settings())?);
        std::fs::create_dir_all(&folder)?;
        // Whoever listens is somebody else.
        let seed = [u8::from(listen.is_some()) + 1; 32];
        let wallet = WalletSettings::new(folder.join("wallet.redb"));
        let wallet = Wallet::open(wallet, &wallet::Seed(seed), Arc::clone(&bitcoind)).await?;
        let wallet = Arc::new(wallet);
        let settings = LightningSettings {
            listen,
            confirmations: 1,
            poll: POLL,
            ..LightningSettings::new(folder, Network::Regtest, Seed::new(seed))
        };
        let (node, told) = LightningNode::start(settings, bitcoind, wallet.clone()).await?;
        let node = Arc::new(node);
        Ok((Self { node, wallet }, told))
    }
}
