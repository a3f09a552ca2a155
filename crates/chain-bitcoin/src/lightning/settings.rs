//! What a Lightning node is started with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bitcoin::Network;
use lightning::util::config::UserConfig;

use super::keys::Seed;

/// As many payments as BOLT 2 allows under way in each direction of a channel.
pub const PAYMENT_SLOTS_MAX: u16 = 483;

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct LightningSettings {
    /// Where its store lies.
    pub folder: PathBuf,
    /// Which Bitcoin.
    pub network: Network,
    /// What its keys are made of.
    pub seed: Seed,
    /// Where it listens for peers; none to only connect.
    pub listen: Option<SocketAddr>,
    /// Where others are told that it listens.
    pub announced: Vec<SocketAddr>,
    /// Its name, at most 32 bytes of it.
    pub alias: String,
    /// Whether peers may open channels to it.
    pub accepts_channels: bool,
    /// Whether it sells channels just in time (LSPS2), to whom its listener says. Payments of others then pass to channels that
    /// the network is not told of, as those sold are.
    pub sells_channels: bool,
    /// How deep the funding of a channel that a peer opens has to lie, in blocks.
    pub confirmations: u32,
    /// How many payments may be under way to us in one channel, at most [`PAYMENT_SLOTS_MAX`].
    pub payment_slots: u16,
    /// What the hot wallet keeps for each channel, so that it can be closed without the peer, in sat.
    pub reserve_sat: u64,
    /// How often the chain source is asked for a new block.
    pub poll: Duration,
    /// What is known from elsewhere of [`LightningNode::generation`](super::LightningNode::generation): a store that was
    /// written less often is an old copy.
    pub generation_min: u64,
}

impl LightningSettings {
    /// Usual settings: nothing is listened on.
    #[must_use]
    pub fn new(folder: PathBuf, network: Network, seed: Seed) -> Self {
        Self {
            folder,
            network,
            seed,
            listen: None,
            announced: Vec::new(),
            alias: String::new(),
            accepts_channels: true,
            sells_channels: false,
            confirmations: 3,
            payment_slots: PAYMENT_SLOTS_MAX,
            reserve_sat: 25_000,
            poll: Duration::from_secs(1),
            generation_min: 0,
        }
    }

    pub(crate) fn for_ldk(&self) -> UserConfig {
        let mut config = UserConfig::default();
        let handshake = &mut config.channel_handshake_config;
        handshake.negotiate_anchors_zero_fee_htlc_tx = true;
        handshake.our_max_accepted_htlcs = self.payment_slots.min(PAYMENT_SLOTS_MAX);
        handshake.max_inbound_htlc_value_in_flight_percent_of_channel = 100;
        handshake.minimum_depth = self.confirmations;
        config
            .channel_handshake_limits
            .force_announced_channel_preference = false;
        // Each channel that a peer asks for is judged by the hot wallet's reserve.
        config.manually_accept_inbound_channels = true;
        config.reject_inbound_splices = false;
        config.accept_intercept_htlcs = self.sells_channels;
        config.accept_forwards_to_priv_channels = self.sells_channels;
        config
    }
}
