//! The auditor: compares what the pool says and does with books of its own, after every step.

mod bitcoin;
mod check;
mod released;

use std::collections::{BTreeMap, BTreeSet};

use forebay_ledger::Balance;
use forebay_pool::{AssetPolicy, ChainRequest, Packet, Prepare, State, bounds};
use forebay_quantity::{AssetId, CommandId, EffectId, PacketId, PeerId};
use sha2::{Digest, Sha256};

use crate::books::{Books, PacketBook, PeerBook, signed};
use crate::witness::WITNESSES;

pub(crate) use bitcoin::BitcoinBook;

/// What has left the pool, which no crash takes back.
#[derive(Debug, Default)]
struct Released {
    vouchers: BTreeMap<u64, i128>,
    effects: BTreeMap<EffectId, ChainRequest>,
    /// Largest redemption asked for, by serial.
    redemptions: BTreeMap<u64, i128>,
    serials: BTreeSet<u64>,
    commands: BTreeSet<CommandId>,
    preimages: BTreeMap<(PeerId, u32), [u8; 32]>,
}

pub(crate) struct Auditor {
    pub(crate) books: Books,
    synced: (u64, Books),
    appended: Option<(u64, Books)>,
    released: Released,
    /// Accepted and not yet released.
    waiting: Vec<CommandId>,
    /// The highest frame that each witness was told of and took.
    witnessed: [u64; WITNESSES],
}

/// Ledger units that roundings of chain amounts may come to in one run: less than one a fact.
const ROUNDED_MAX: i128 = 400;
/// An answer to a notice must be asked for this long before its deadline.
const ANSWER_MARGIN_MS: u64 = 3_600_000;
/// What a running pool may take from hearing of a notice to asking for the answer.
const ATTENTION_MS: u64 = 1_800_000;

impl Auditor {
    pub(crate) fn new() -> Self {
        Self {
            books: Books::default(),
            synced: (0, Books::default()),
            appended: None,
            released: Released::default(),
            waiting: Vec::new(),
            witnessed: [0; WITNESSES],
        }
    }

    // What the pool accepted.

    pub(crate) fn peer_added(&mut self, asset: AssetId) {
        self.books.peers.push(PeerBook {
            asset,
            ..PeerBook::default()
        });
    }

    pub(crate) fn command_taken(&mut self, id: CommandId) {
        assert!(
            self.books.commands.insert(id),
            "[I11] command {id} took effect twice"
        );
        self.waiting.push(id);
    }

    pub(crate) fn prepared(&mut self, state: &State, prepare: &Prepare<'_>) -> PacketId {
        let own = |packet: &&(PacketId, &Packet)| {
            packet.1.in_peer == prepare.peer && packet.1.in_request == prepare.request
        };
        let mut all = state.packets().collect::<Vec<_>>();
        all.retain(|packet| own(&packet));
        assert_eq!(all.len(), 1, "[I11] one packet in flight for one request");
        let (id, packet) = all[0];
        let margin = state
            .genesis()
            .map_or(0, |genesis| genesis.expiry_margin_ms);
        assert!(
            packet.expires_out.0 + margin <= prepare.expires_at.0,
            "[I8] packet {id} is forwarded with less than the margin"
        );
        let book = PacketBook {
            from: prepare.peer,
            to: packet.out_peer,
            amount_in: i128::from(prepare.amount),
            amount_out: i128::from(packet.amount_out),
            condition: prepare.condition,
        };
        let earlier = self.books.packets.insert(id.0, book.clone());
        assert!(earlier.is_none(), "[I3] packet id {id} is in flight twice");
        self.assert_within_credit(state, prepare.peer);
        self.assert_next_hop_covered(state, packet.out_peer, book.amount_out);
        self.assert_lent_within_bound(state, &book);
        self.assert_priced(state, &book);
        id
    }

    pub(crate) fn fulfilled(&mut self, packet: PacketId, preimage: &[u8; 32]) -> PacketBook {
        let packet = self.books.fulfilled(packet.0);
        assert_eq!(
            <[u8; 32]>::from(Sha256::digest(preimage)),
            packet.condition,
            "[I8] fulfilled without the preimage"
        );
        packet
    }

    pub(crate) fn rejected(&mut self, packet: PacketId) {
        let known = self.books.packets.remove(&packet.0);
        assert!(
            known.is_some(),
            "[I3] packet {packet} was not in flight and is rejected"
        );
    }

    /// Packets that are gone from the pool's state without an answer: expired by a tick.
    pub(crate) fn expired(&mut self, state: &State) -> usize {
        let now = state.now();
        let gone: Vec<u32> = self.books.packets.keys().copied().collect();
        let mut count = 0;
        for id in gone {
            if state.packet(PacketId(id)).is_none() {
                self.rejected(PacketId(id));
                count += 1;
            }
        }
        let overdue = state.packets().any(|(_, packet)| packet.expires_out < now);
        let many = state.packets().count() > bounds::EXPIRED_PER_TICK_MAX;
        assert!(
            !overdue || many,
            "[I3] a tick leaves expired packets in flight"
        );
        count
    }

    pub(crate) fn price_reported(
        &mut self,
        state: &State,
        asset: AssetId,
        source: u16,
        price: u128,
        at: u64,
    ) {
        let now = state.now().0;
        let policy = &state
            .asset(asset)
            .expect("reported for a known asset")
            .policy;
        self.books
            .prices
            .insert((asset, source), (price, at.min(now)));
        self.believe(asset, policy, now);
    }

    /// The median of fresh reports by a plain sort, when more than half of them agree.
    pub(crate) fn believe(&mut self, asset: AssetId, policy: &AssetPolicy, now: u64) {
        let mut fresh: Vec<u128> = self
            .books
            .prices
            .iter()
            .filter(|((of, _), (_, at))| {
                *of == asset && *at <= now && now - at <= policy.guards.age_max_ms.0
            })
            .map(|(_, (price, _))| *price)
            .collect();
        fresh.sort_unstable();
        self.books.believed.remove(&asset);
        if fresh.len() < usize::from(policy.guards.sources_min).max(3) {
            return;
        }
        let middle = (fresh[(fresh.len() - 1) / 2] + fresh[fresh.len() / 2]) / 2;
        let allowed = middle * u128::from(policy.guards.deviation_max.0);
        let near = fresh
            .iter()
            .filter(|price| price.abs_diff(middle) * 10_000 <= allowed);
        if near.count() * 2 > fresh.len() {
            self.books.believed.insert(asset, middle);
        }
    }
}

/// The first word of a debug form: the variant's name.
pub(crate) fn variant(debug: &str) -> String {
    debug
        .split(|c: char| !c.is_ascii_alphanumeric())
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn plain(balance: Balance) -> i128 {
    match balance {
        Balance::Credit(amount) => signed(amount.value()),
        Balance::Debit(amount) => -signed(amount.value()),
    }
}
