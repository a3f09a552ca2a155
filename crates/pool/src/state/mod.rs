//! All money-relevant state. It changes by [`crate::evolve`] alone, but for routes learned from neighbours, which are no
//! part of its bytes.

pub mod bounds;

mod asset;
mod claim;
mod index;
mod lightning;
mod liquidity;
mod packet;
mod peer;
mod reserve;
mod route;
mod sale;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};
use forebay_channel::{Address, NodeId, UNHEARD_MAX, is_heard};
use forebay_ledger::{Balance, Ledger};
use forebay_market::Rate;
use forebay_quantity::{
    AccountId, Amount, AssetId, ChannelSerial, CommandId, EffectId, Hash32, PacketId, PeerId, Ppm,
    Timestamp,
};

pub use asset::{
    Asset, AssetAccounts, AssetDefinition, AssetPolicy, Cohort, Coverage, Holding, VaultMirror,
    VaultRules,
};
pub(crate) use claim::Claims;
pub use claim::{Lp, Withdrawal};
use index::Index;
pub use lightning::{
    BitcoinDefinition, GivenInvoice, LightningAccount, MILLISATOSHI_SCALE, Rail, Settlement,
};
pub(crate) use lightning::{ClosedChannel, OnBitcoin, Paying, PaymentHashes};
pub use liquidity::{Flow, LightningChannel, LightningChannelId, LiquidityPolicy};
pub use packet::Packet;
pub(crate) use packet::Packets;
pub(crate) use peer::PeerDemands;
pub use peer::{Peer, PeerPolicy, Relation, RelationKind};
pub use reserve::ReserveState;
pub(crate) use route::Routes;
pub use sale::{Buyers, Sale, SaleId, SalePolicy, Sales};

use crate::effect::ChainRequest;
use crate::hash::LookupMap;

/// What a pool is founded with; never changes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Genesis {
    /// The operator's ILP address; peers live under it.
    pub operator: String,
    /// Who signs the pool's vouchers.
    pub pool_signer: Address,
    /// An outgoing packet expires this much earlier than the incoming one [I8].
    pub expiry_margin_ms: u64,
    /// No packet is held longer.
    pub hold_max_ms: u64,
    /// What must be left for the next hop.
    pub forward_min_ms: u64,
    /// The first channel serial; later ones count up. Never used by this operator before on any vault.
    pub first_serial: ChannelSerial,
}

/// The rate of a pair and the part of its spread that no packet changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Pair {
    pub(crate) rate: Rate,
    pub(crate) resting: Ppm,
}

/// The pool.
#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub struct State {
    pub(crate) now: Timestamp,
    pub(crate) genesis: Option<Genesis>,
    pub(crate) ledger: Ledger,
    pub(crate) assets: Vec<Asset>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) packets: Packets,
    pub(crate) routes: Routes,
    /// Row: asset paid in; column: asset paid out.
    pub(crate) pairs: Vec<Option<Pair>>,
    pub(crate) serials: BTreeMap<ChannelSerial, PeerId>,
    pub(crate) next_serial: ChannelSerial,
    pub(crate) demands: BTreeMap<EffectId, ChainRequest>,
    pub(crate) next_effect: EffectId,
    /// Instructions taken, each with the digest of what was instructed.
    pub(crate) commands: BTreeMap<CommandId, Hash32>,
    pub(crate) commands_in_order: VecDeque<CommandId>,
    pub(crate) hashes: PaymentHashes,
    pub(crate) on_bitcoin: OnBitcoin,
    pub(crate) claims: Claims,
    pub(crate) reserve: ReserveState,
    pub(crate) liquidity: LiquidityPolicy,
    pub(crate) sales: Sales,
    /// Look-ups only, rebuilt from the packets: which request ids each link has in flight.
    #[borsh(skip)]
    pub(crate) requests: LookupMap<(u32, u32), PacketId>,
    /// The time of the newest block that each asset's chain was heard of with, in this life of the process.
    #[borsh(skip)]
    pub(crate) heard: BTreeMap<AssetId, Timestamp>,
    /// Look-ups only, rebuilt from the peers.
    #[borsh(skip)]
    pub(crate) index: Index,
}

impl Default for State {
    fn default() -> Self {
        Self {
            now: Timestamp(0),
            genesis: None,
            ledger: Ledger::new(),
            assets: Vec::new(),
            peers: Vec::new(),
            packets: Packets::new(),
            routes: Routes::default(),
            pairs: Vec::new(),
            serials: BTreeMap::new(),
            next_serial: ChannelSerial(0),
            demands: BTreeMap::new(),
            next_effect: EffectId(1),
            commands: BTreeMap::new(),
            commands_in_order: VecDeque::new(),
            hashes: PaymentHashes::default(),
            on_bitcoin: OnBitcoin::default(),
            claims: Claims::default(),
            reserve: ReserveState::default(),
            liquidity: LiquidityPolicy::default(),
            sales: Sales::default(),
            requests: LookupMap::default(),
            heard: BTreeMap::new(),
            index: Index::default(),
        }
    }
}

/// How long a stolen key is reckoned to be used before the committee freezes raises.
const DETECT_AND_FREEZE_DAYS: u128 = 1;

impl State {
    /// The time of the last batch.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What the pool was founded with.
    pub fn genesis(&self) -> Option<&Genesis> {
        self.genesis.as_ref()
    }

    /// The books.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Every asset with its number.
    pub fn assets(&self) -> impl Iterator<Item = (AssetId, &Asset)> {
        (0u16..).map(AssetId).zip(&self.assets)
    }

    /// Every peer with its number, removed ones included.
    pub fn peers(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        (0u32..).map(PeerId).zip(&self.peers)
    }

    /// One asset.
    pub fn asset(&self, asset: AssetId) -> Option<&Asset> {
        self.assets.get(usize::from(asset.0))
    }

    /// One peer.
    pub fn peer(&self, peer: PeerId) -> Option<&Peer> {
        self.peers.get(peer.0 as usize)
    }

    /// The peer with this address segment.
    pub fn peer_named(&self, name: &str) -> Option<PeerId> {
        self.index.named(&self.peers, name.as_bytes())
    }

    /// Who a packet to this destination goes to next.
    pub(crate) fn next_hop(&self, destination: &[u8]) -> Option<PeerId> {
        let child = |name: &[u8]| self.index.named(&self.peers, name);
        self.routes.find(destination, child)
    }

    /// Prefixes that the operator routes, in order, with their next hops.
    pub fn configured_routes(&self) -> impl Iterator<Item = (&str, PeerId)> {
        self.routes.configured()
    }

    /// Prefixes learned from neighbours, in order, with their next hops.
    pub fn learned_routes(&self) -> impl Iterator<Item = (&[u8], PeerId)> {
        self.routes.learned()
    }

    /// The asset with this code.
    pub fn asset_coded(&self, code: &str) -> Option<AssetId> {
        self.assets()
            .find(|(_, asset)| asset.definition.code == code)
            .map(|(id, _)| id)
    }

    /// A packet in flight.
    pub fn packet(&self, packet: PacketId) -> Option<&Packet> {
        self.packets.find(packet)
    }

    /// Every packet in flight.
    pub fn packets(&self) -> impl Iterator<Item = (PacketId, &Packet)> {
        self.packets.iter()
    }

    /// Chain effects without an outcome.
    pub fn chain_effects(&self) -> impl Iterator<Item = (EffectId, &ChainRequest)> {
        self.demands.iter().map(|(id, request)| (*id, request))
    }

    /// Whether an asset's chain was heard of lately enough that vouchers of its peers secure something.
    pub fn hears(&self, now: Timestamp, asset: AssetId) -> bool {
        let heard = self.heard.get(&asset);
        heard.is_some_and(|heard_at| is_heard(now, *heard_at, UNHEARD_MAX))
    }

    /// The last effect's number; zero when there was none.
    pub fn last_effect(&self) -> EffectId {
        EffectId(self.next_effect.0 - 1)
    }

    /// The peer on a channel.
    pub fn channel_peer(&self, serial: ChannelSerial) -> Option<PeerId> {
        self.serials.get(&serial).copied()
    }

    /// The asset on Bitcoin; there is one at most.
    pub fn asset_on_bitcoin(&self) -> Option<AssetId> {
        let mut on = self.assets();
        on.find(|(_, asset)| matches!(asset.rail, Rail::Bitcoin { .. }))
            .map(|(id, _)| id)
    }

    /// Whether a settlement is under way that is paid under this hash.
    pub fn is_paying(&self, hash: Hash32) -> bool {
        self.hashes.paying.contains_key(&hash)
    }

    /// LPs on Bitcoin, by what stands for them in the books.
    pub fn lps_on_bitcoin(&self) -> impl Iterator<Item = (Address, &Lp)> {
        self.claims.lps.iter().map(|(owner, lp)| (*owner, lp))
    }

    /// One LP on Bitcoin.
    pub fn lp_on_bitcoin(&self, owner: Address) -> Option<&Lp> {
        self.claims.lps.get(&owner)
    }

    /// What stands in the books for the LP on Bitcoin with this number.
    pub fn lp_numbered(&self, number: u32) -> Option<Address> {
        self.claims.owners.get(number as usize).copied()
    }

    /// The LP that is paid at this script now.
    pub fn lp_paid_at(&self, payout: &[u8]) -> Option<Address> {
        self.claims.paid_at(payout)
    }

    /// Withdrawals under way, oldest first.
    pub fn withdrawals(&self) -> impl Iterator<Item = (EffectId, &Withdrawal)> {
        self.claims
            .withdrawals
            .iter()
            .map(|(id, withdrawal)| (*id, withdrawal))
    }

    /// The peer for which a Lightning node settles.
    pub fn peer_at(&self, node: NodeId) -> Option<PeerId> {
        let mut live = self.peers().filter(|(_, peer)| !peer.removed);
        live.find(|(_, peer)| peer.lightning.as_deref().and_then(|own| own.node) == Some(node))
            .map(|(id, _)| id)
    }

    /// How large Lightning channels are kept.
    pub fn liquidity(&self) -> &LiquidityPolicy {
        &self.liquidity
    }

    /// Channels sold just in time, and what payments that passed through have earned.
    pub fn sales(&self) -> &Sales {
        &self.sales
    }

    /// An account's net balance.
    pub fn balance(&self, account: AccountId) -> Balance {
        self.ledger.account(account).credit_balance()
    }

    /// What we owe a peer for packets, beyond what it has paid ahead.
    pub fn earned(&self, peer: &Peer) -> Amount {
        match self.balance(peer.clearing) {
            Balance::Credit(owed) => owed.saturating_sub(peer.prepaid),
            Balance::Debit(_) => Amount::ZERO,
        }
    }

    /// SHA-256 of the whole state: equal states, equal digests [I10].
    pub fn digest(&self) -> forebay_quantity::Hash32 {
        use sha2::Digest;
        forebay_quantity::Hash32(sha2::Sha256::digest(self.snapshot()).into())
    }

    /// The state as bytes, for a snapshot.
    pub fn snapshot(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("memory takes every byte")
    }

    /// The state a snapshot stands for; `None` when the bytes are not one.
    pub fn restore(bytes: &[u8]) -> Option<Self> {
        let mut state: Self = borsh::from_slice(bytes).ok()?;
        #[cfg(feature = "planted-bugs")]
        if forebay_quantity::planted::is(forebay_quantity::planted::Bug::AnswersLost) {
            state.peers.iter_mut().for_each(|peer| peer.answers.clear());
        }
        state.routes.rebuild();
        state.index.rebuild(&state.peers);
        state.requests = state
            .packets
            .iter()
            .map(|(id, packet)| ((packet.in_peer.0, packet.in_request), id))
            .collect();
        Some(state)
    }

    /// How often the Lightning node's store was written at least: with one that was written less often its channels are lost.
    pub fn lightning_stored(&self) -> u64 {
        self.on_bitcoin.stored
    }

    /// The preimage that answered a peer's request, while it is remembered.
    pub fn answer(&self, peer: PeerId, request: u32) -> Option<[u8; 32]> {
        let answers = self.peer(peer)?.answers.iter().rev();
        let mut newest = answers.filter(|(answered, _)| *answered == request);
        newest.next().map(|(_, preimage)| *preimage)
    }

    /// The last fulfilled requests of a peer with their preimages, oldest first.
    pub fn answers_of(&self, peer: PeerId) -> impl DoubleEndedIterator<Item = (u32, [u8; 32])> {
        self.peer(peer)
            .into_iter()
            .flat_map(|peer| peer.answers.iter().copied())
    }

    /// Whether a peer's request still waits for the next hop.
    pub fn waits(&self, peer: PeerId, request: u32) -> bool {
        self.requests.contains_key(&(peer.0, request))
    }

    /// Whether this very packet waits for this peer: its number comes again, its number and expiry do not.
    pub fn awaits(&self, peer: PeerId, packet: PacketId, expires_out: Timestamp) -> bool {
        self.packet(packet)
            .is_some_and(|found| found.out_peer == peer && found.expires_out == expires_out)
    }

    pub(crate) fn pair(&self, paid_in: AssetId, paid_out: AssetId) -> Option<Pair> {
        *self
            .pairs
            .get(usize::from(paid_in.0) * self.assets.len() + usize::from(paid_out.0))?
    }

    pub(crate) fn asset_of(&self, asset: AssetId) -> &Asset {
        &self.assets[usize::from(asset.0)]
    }

    pub(crate) fn peer_of(&self, peer: PeerId) -> &Peer {
        &self.peers[peer.0 as usize]
    }

    pub(crate) fn asset_mut(&mut self, asset: AssetId) -> &mut Asset {
        &mut self.assets[usize::from(asset.0)]
    }

    pub(crate) fn peer_mut(&mut self, peer: PeerId) -> &mut Peer {
        &mut self.peers[peer.0 as usize]
    }

    /// What is behind the claims on each asset, in ledger units, in the order of the assets [I15].
    pub fn coverages(&self) -> Vec<Coverage> {
        let of_books = self.assets.iter().map(|asset| {
            let balance = |account| self.balance(account);
            let exchange = balance(asset.accounts.exchange);
            let notes = balance(asset.accounts.notes).credit();
            Coverage {
                reserves: balance(asset.accounts.vault).debit(),
                outstanding: exchange.debit(),
                claims: notes.saturating_add(exchange.credit()),
            }
        });
        let mut coverages: Vec<Coverage> = of_books.collect();
        for peer in &self.peers {
            let clearing = self.balance(peer.clearing);
            let (held, out) = (
                self.balance(peer.vouchers_held).debit(),
                self.balance(peer.vouchers_out).credit(),
            );
            let of = &mut coverages[usize::from(peer.asset.0)];
            of.reserves = of.reserves.saturating_add(held);
            of.outstanding = of.outstanding.saturating_add(clearing.debit());
            of.claims = of
                .claims
                .saturating_add(clearing.credit())
                .saturating_add(out);
        }
        coverages
    }

    /// The reserve on Bitcoin.
    pub fn reserve(&self) -> &ReserveState {
        &self.reserve
    }

    /// What of an asset's money lies in the reserve on Bitcoin, in chain units.
    pub fn reserved(&self, asset: AssetId) -> Amount {
        match self.asset_on_bitcoin() == Some(asset) {
            true => self.reserve.found.reserve,
            false => Amount::ZERO,
        }
    }

    /// What of an asset's money on Bitcoin the operator's key alone could take, in millisatoshi; with a sweep on its way to
    /// the reserve, which until it is buried could still be paid elsewhere.
    pub(crate) fn hot(&self, asset: AssetId) -> Amount {
        let total = self.asset_of(asset).vault.chain_total;
        total.saturating_sub(self.reserve.found.reserve)
    }

    /// What a stolen operator key could cost in an asset now, in ledger units: every remaining allotment, what the bucket
    /// holds, and what runs into it until the theft is seen and raises are frozen. Never more than all free money above
    /// the floor; as much as that where no committee can freeze, since time alone fills the bucket again and again. On Bitcoin
    /// all that is not in the reserve.
    pub fn stolen_key_cost(&self, asset: AssetId) -> Amount {
        if self.asset_on_bitcoin() == Some(asset) {
            return self.asset_of(asset).ledger_ceil(self.hot(asset));
        }
        let asset = self.asset_of(asset);
        let above_floor = asset.chain_free().saturating_sub(asset.floor_needed());
        let raised = if asset.vault.runs_down {
            Amount::ZERO
        } else if asset.rules.has_committee {
            let until_frozen = asset
                .rules
                .bucket_refill_per_day
                .checked_mul(DETECT_AND_FREEZE_DAYS)
                .unwrap_or(Amount::MAX);
            let bucket = asset.bucket(self.now).saturating_add(until_frozen);
            bucket.min(above_floor)
        } else {
            above_floor
        };
        asset.ledger_ceil(asset.vault.chain_allotted.saturating_add(raised))
    }
}
