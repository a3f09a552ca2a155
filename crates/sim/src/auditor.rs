//! The auditor: compares what the pool says and does with books of its own, after every step.

use std::collections::{BTreeMap, BTreeSet};

use forebay_ledger::Balance;
use forebay_pool::{AssetPolicy, ChainRequest, Effect, Packet, Prepare, State, VaultFact, bounds};
use forebay_quantity::{AssetId, CommandId, EffectId, PacketId, PeerId};
use sha2::{Digest, Sha256};

use crate::actor::Actor;
use crate::books::{Books, PacketBook, PeerBook, signed};
use crate::chain::Chain;
use crate::witness::WITNESSES;

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

    // What leaves the pool.

    /// The next frame's number, before it is appended.
    pub(crate) fn appends(&mut self, sequence: u64) {
        self.appended = Some((sequence, self.books.clone()));
    }

    pub(crate) fn synced(&mut self) {
        if let Some(appended) = self.appended.take() {
            self.synced = appended;
        }
    }

    /// After the release of a batch: its effects are in the books now, and its replies are out.
    pub(crate) fn released_batch(&mut self) {
        self.synced.1 = self.books.clone();
        self.released.commands.extend(self.waiting.drain(..));
    }

    pub(crate) fn released(
        &mut self,
        effect: &Effect,
        chain: &Chain,
        factor: impl Fn(AssetId) -> i128,
    ) {
        match effect {
            Effect::SendVoucher { serial, amount, .. } => {
                self.voucher_released(serial.0, signed(amount.value()), chain);
            }
            Effect::Chain { id, request } => self.chain_released(*id, request, factor),
            Effect::RelayFulfill {
                peer,
                request,
                preimage,
                ..
            } => {
                self.released.preimages.insert((*peer, *request), *preimage);
            }
            Effect::Forward { .. } | Effect::RelayReject { .. } => {}
        }
    }

    fn voucher_released(&mut self, serial: u64, amount: i128, chain: &Chain) {
        let before = self.released.vouchers.get(&serial).copied().unwrap_or(0);
        assert!(
            amount >= before,
            "[I5] channel {serial}: a voucher of {amount} after one of {before}"
        );
        self.released.vouchers.insert(serial, amount);
        self.books.signed(serial, amount);
        let channel = &self.books.channels[&serial];
        let on_chain = &chain.final_vault(channel.asset).channels[&serial].pool;
        let ceiling = signed(on_chain.ceiling);
        // What was signed before a lowering was announced may be sent again: the peer's to redeem in time.
        let fresh = amount > before;
        assert!(
            !fresh || amount <= ceiling,
            "[I4] channel {serial}: a voucher of {amount}, and the final ceiling is {ceiling}"
        );
        assert!(
            !fresh || amount <= channel.out.usable(),
            "[I4] channel {serial}: a voucher of {amount}, and {} is guaranteed",
            channel.out.usable()
        );
    }

    fn chain_released(
        &mut self,
        id: EffectId,
        request: &ChainRequest,
        factor: impl Fn(AssetId) -> i128,
    ) {
        if let Some(known) = self.released.effects.get(&id) {
            assert_eq!(known, request, "[I11] effect {id} changed");
            if let ChainRequest::Open {
                serial,
                peer,
                asset,
                ..
            } = request
            {
                self.books.opened(serial.0, *peer, *asset, factor(*asset));
            }
            return;
        }
        self.released.effects.insert(id, request.clone());
        match request {
            ChainRequest::Open {
                serial,
                peer,
                asset,
                ..
            } => {
                assert!(
                    self.released.serials.insert(serial.0),
                    "[I5] serial {serial} is used twice"
                );
                self.books.opened(serial.0, *peer, *asset, factor(*asset));
            }
            ChainRequest::Redeem { serial, amount, .. } => {
                let most = self.released.redemptions.entry(serial.0).or_insert(0);
                *most = signed(amount.value()).max(*most);
            }
            ChainRequest::Raise { .. }
            | ChainRequest::RaiseIndex { .. }
            | ChainRequest::PayExits { .. }
            | ChainRequest::StartClose { .. }
            | ChainRequest::FinishNotice { .. }
            | ChainRequest::StartLower { .. }
            | ChainRequest::Heartbeat { .. } => {}
        }
    }

    /// A witness took a head of the pool's.
    pub(crate) fn witnessed(&mut self, witness: usize, sequence: u64) {
        let known = &mut self.witnessed[witness];
        *known = sequence.max(*known);
    }

    /// A started pool goes on from this frame: it is no older than what any quorum has heard of, and no peer holds a
    /// voucher that it does not know.
    pub(crate) fn goes_on<'a>(
        &self,
        sequence: u64,
        state: &State,
        actors: impl Iterator<Item = &'a Actor>,
    ) {
        let mut witnessed = self.witnessed;
        witnessed.sort_unstable();
        let known_to_most = witnessed[WITNESSES / 2];
        assert!(
            sequence >= known_to_most,
            "[I14] a pool goes on from frame {sequence}, and most witnesses have heard of frame {known_to_most}"
        );
        for actor in actors {
            let channel = state
                .peer(actor.id)
                .and_then(|account| account.channel.as_ref());
            let Some(channel) = channel else { continue };
            let (serial, promised) = (channel.serial().0, channel.outgoing.promised().value());
            let held = actor.vouchers.get(&serial).map_or(0, |(held, _)| *held);
            assert!(
                held <= promised,
                "[I14] a pool goes on from frame {sequence}, which knows of a voucher over {promised} on channel {serial}, \
                 and {} holds one over {held}",
                actor.name
            );
        }
    }

    /// After a restart: nothing that had left is forgotten [I7], and the books go on from the recovered frame.
    pub(crate) fn recovered(&mut self, sequence: u64, state: &State) {
        assert!(
            sequence >= self.synced.0,
            "[I7] frame {} was synced, and recovery ends at frame {sequence}",
            self.synced.0
        );
        let survived = self.appended.take().filter(|(at, _)| *at == sequence);
        match survived {
            Some(appended) => self.synced = appended,
            None => assert_eq!(
                sequence, self.synced.0,
                "[I10] a frame that nobody appended"
            ),
        }
        self.books = self.synced.1.clone();
        self.waiting.clear();
        for id in &self.released.commands {
            assert!(
                self.books.commands.contains(id),
                "[I7] command {id} was acknowledged and is lost"
            );
        }
        for (serial, amount) in &self.released.vouchers {
            let peer = state.channel_peer(forebay_quantity::ChannelSerial(*serial));
            let channel = peer
                .and_then(|peer| state.peer(peer))
                .and_then(|peer| peer.channel.as_ref());
            let Some(channel) = channel.filter(|channel| channel.serial().0 == *serial) else {
                continue;
            };
            assert!(
                signed(channel.outgoing.promised().value()) >= *amount,
                "[I7] a voucher of {amount} left and is forgotten"
            );
        }
        for ((peer, request), preimage) in &self.released.preimages {
            assert_eq!(
                state.answer(*peer, *request).as_ref(),
                Some(preimage),
                "[I7] a fulfil left and is forgotten"
            );
        }
    }

    // What must be true of the state between two batches.

    pub(crate) fn check(&self, state: &State, chain: &Chain, caught_up: impl Fn(AssetId) -> bool) {
        // [I1] and, for what is pending, [I3].
        if let Err(unbalanced) = state.ledger().check_balanced() {
            panic!("{unbalanced}");
        }
        self.check_peers(state);
        self.check_packets(state);
        self.check_bounds(state);
        for (id, asset) in state.assets() {
            let vault = &asset.vault;
            let held = state.balance(asset.accounts.vault).debit();
            assert_eq!(
                held,
                asset.ledger_floor(vault.chain_total),
                "[I15] asset {id}: the books hold {held} in the vault"
            );
            if caught_up(id) {
                self.check_vault(state, chain, id);
            }
        }
    }

    fn check_peers(&self, state: &State) {
        assert_eq!(state.peers().count(), self.books.peers.len(), "[I10] peers");
        for ((id, peer), book) in state.peers().zip(&self.books.peers) {
            let account = state.ledger().account(peer.clearing);
            let claim = plain(account.credit_balance());
            assert_eq!(
                claim,
                book.claim(),
                "[I9] peer {id}: the books owe it this much, and naive sums that much ({book:?})"
            );
            assert_eq!(
                signed(account.debits_pending.value()),
                self.books.pending_from(id),
                "[I3] peer {id}: pending debits are its packets in flight"
            );
            assert_eq!(
                signed(account.credits_pending.value()),
                self.books.pending_to(id),
                "[I3] peer {id}: pending credits are packets in flight to it"
            );
            assert!(
                signed(peer.prepaid.value()) <= claim.max(0),
                "[I15] peer {id} is counted as having paid ahead more than it is owed"
            );
            let channel = self.books.channel_of(id);
            let (out, held) = channel.map_or((0, 0), |(_, channel)| {
                (channel.signed_out(), channel.on_account)
            });
            assert_eq!(
                plain(state.balance(peer.vouchers_out)),
                out,
                "[I15] peer {id}: vouchers signed and not redeemed"
            );
            assert_eq!(
                -plain(state.balance(peer.vouchers_held)),
                held,
                "[I15] peer {id}: vouchers held and not redeemed"
            );
        }
    }

    fn check_packets(&self, state: &State) {
        let in_state: Vec<u32> = {
            let mut ids: Vec<u32> = state.packets().map(|(id, _)| id.0).collect();
            ids.sort_unstable();
            ids
        };
        let in_books: Vec<u32> = self.books.packets.keys().copied().collect();
        assert_eq!(in_state, in_books, "[I3] packets in flight");
    }

    fn check_bounds(&self, state: &State) {
        let packets = state.packets().count();
        assert!(packets <= bounds::PACKETS_MAX, "[I12] packets");
        assert!(
            state.chain_effects().count() <= bounds::DEMANDS_MAX,
            "[I12] chain effects"
        );
        for (id, asset) in state.assets() {
            assert!(
                asset.reports.len() <= bounds::SOURCES_MAX,
                "[I12] asset {id} keeps {} price sources",
                asset.reports.len()
            );
            assert!(
                asset.vault.cohorts.len() <= bounds::COHORTS_MAX,
                "[I12] cohorts"
            );
        }
        for (id, peer) in state.peers() {
            let own = self.books.packets.values().filter(|p| p.from == id).count();
            assert_eq!(
                usize::try_from(peer.in_flight).expect("few"),
                own,
                "[I12] peer {id}: packets counted in flight"
            );
        }
    }

    fn check_vault(&self, state: &State, chain: &Chain, id: AssetId) {
        let asset = state.asset(id).expect("listed");
        let vault = chain.final_vault(id);
        let mirror = &asset.vault;
        let pairs = [
            (
                "free and allotted",
                mirror.chain_total.value(),
                vault.total(),
            ),
            ("allotted", mirror.chain_allotted.value(), vault.allotted()),
            ("deposits", mirror.chain_deposits.value(), vault.deposits()),
            ("units", mirror.units.value(), vault.units_total),
            ("index", mirror.index, vault.index),
            (
                "units of LPs, and in exit",
                mirror
                    .holders
                    .values()
                    .map(|h| h.units.value())
                    .sum::<u128>()
                    + mirror
                        .cohorts
                        .values()
                        .map(|c| c.units.value())
                        .sum::<u128>(),
                vault.units_total,
            ),
            (
                "units in exit",
                mirror.cohorts.values().map(|c| c.units.value()).sum(),
                vault.units_waiting(),
            ),
        ];
        for (what, ours, theirs) in pairs {
            assert_eq!(
                ours, theirs,
                "[I15] asset {id}: {what}, ours and the chain's"
            );
        }
        self.check_claims(state, id);
    }

    /// Notes may claim no more than the reserves and what is lent.
    fn check_claims(&self, state: &State, id: AssetId) {
        let asset = state.asset(id).expect("listed");
        let reserves = signed(asset.ledger_floor(asset.vault.chain_total).value());
        let held: i128 = state
            .peers()
            .filter(|(_, peer)| peer.asset == id)
            .map(|(_, peer)| -plain(state.balance(peer.vouchers_held)))
            .sum();
        let owed: i128 = self
            .books
            .peers
            .iter()
            .filter(|peer| peer.asset == id)
            .map(|peer| peer.claim())
            .sum();
        let out: i128 = state
            .peers()
            .filter(|(_, peer)| peer.asset == id)
            .map(|(_, peer)| plain(state.balance(peer.vouchers_out)))
            .sum();
        let lent = -plain(state.balance(asset.accounts.exchange));
        let losses = -plain(state.balance(asset.accounts.losses));
        let notes = signed(asset.ledger_floor(asset.note_claims()).value());
        let backed = reserves + held - owed - out + lent + losses;
        let booked = plain(state.balance(asset.accounts.notes));
        assert!(
            (booked - notes).abs() <= ROUNDED_MAX,
            "[I15] asset {id}: notes claim {notes}, and the books have {booked} for them"
        );
        // A ledger unit may be short for each rounding of a chain amount; they are counted by facts.
        assert!(
            notes <= backed + ROUNDED_MAX,
            "[I15] asset {id}: notes claim {notes}, and {backed} is behind them"
        );
    }

    fn assert_within_credit(&self, state: &State, id: PeerId) {
        let peer = state.peer(id).expect("it sent a packet");
        let book = &self.books.peers[usize::try_from(id.0).expect("u32 fits usize")];
        let left = book.claim() - self.books.pending_from(id) + signed(peer.policy.credit.value());
        assert!(
            left >= 0,
            "[I2] peer {id} is {} beyond what it secured and its credit, pending counted",
            -left
        );
    }

    fn assert_next_hop_covered(&self, state: &State, id: PeerId, newest: i128) {
        let peer = state.peer(id).expect("it is sent a packet");
        let book = &self.books.peers[usize::try_from(id.0).expect("u32 fits usize")];
        let owed = book.claim() + self.books.pending_to(id) - signed(peer.prepaid.value());
        let headroom = self
            .books
            .channel_of(id)
            .filter(|(_, channel)| channel.close_deadline.is_none())
            .map_or(0, |(_, channel)| channel.headroom());
        assert!(
            owed <= headroom || newest == 0,
            "[I15] peer {id} would be owed {owed}, and its lane guarantees {headroom} more"
        );
    }

    fn assert_lent_within_bound(&self, state: &State, packet: &PacketBook) {
        let asset_of = |peer| state.peer(peer).expect("it is in the books").asset;
        let (from, to) = (asset_of(packet.from), asset_of(packet.to));
        let asset = state.asset(to).expect("a peer's asset is listed");
        let exchange = state.ledger().account(asset.accounts.exchange);
        assert!(
            from == to
                || packet.amount_out == 0
                || exchange.debit_exposure() <= asset.policy.lent_max,
            "[I15] more is lent than the bound, pending counted"
        );
    }

    /// The packet pays out no more than its price at most gives, after the least fee.
    fn assert_priced(&self, state: &State, packet: &PacketBook) {
        if packet.amount_in == 0 {
            return assert_eq!(packet.amount_out, 0, "[I9] something for nothing");
        }
        let from = state.peer(packet.from).expect("it sent a packet").asset;
        let to = state.peer(packet.to).expect("it is sent a packet").asset;
        let paid_out = state.asset(to).expect("listed");
        let paid_in = state.asset(from).expect("listed");
        let gross = if from == to {
            packet.amount_in
        } else {
            let believed = |asset| {
                let price = self.books.believed.get(&asset).copied();
                signed(
                    price.unwrap_or_else(|| panic!("[I9] asset {asset} is quoted without a price")),
                )
            };
            for asset in [from, to] {
                let policy = &state.asset(asset).expect("listed").policy;
                let now = state.now().0;
                let fresh = self.books.prices.iter().filter(|((of, _), (_, at))| {
                    *of == asset && now.saturating_sub(*at) <= policy.guards.age_max_ms.0
                });
                assert!(
                    fresh.count() >= 3,
                    "[I9] asset {asset} is quoted on stale prices"
                );
            }
            let scales = (paid_in.definition.scale, paid_out.definition.scale);
            let power = 10i128.pow(u32::from(scales.0.abs_diff(scales.1)));
            let (up, down) = if scales.1 >= scales.0 {
                (power, 1)
            } else {
                (1, power)
            };
            packet.amount_in * believed(from) * up / (believed(to) * down)
        };
        let floor = i128::from(paid_out.policy.spread.floor_ppm.0);
        let fee = (gross * floor + 999_999) / 1_000_000;
        assert!(
            packet.amount_out <= gross - fee,
            "[I9] {} pays out {}, and the price gives {gross} less a fee of {fee}",
            packet.amount_in,
            packet.amount_out
        );
    }

    /// Answers to notices are asked for in time while the pool is up [I13].
    pub(crate) fn check_answers(&self, chain: &Chain, now: u64, up_since: u64) {
        let chain_now = chain.time_s() * 1_000;
        for (serial, channel) in &self.books.channels {
            if channel.closed {
                continue;
            }
            let attentive = up_since.max(channel.told_at).max(channel.held_at) + ATTENTION_MS;
            for (deadline, at_stake) in channel.pressing() {
                let latest = deadline.saturating_sub(ANSWER_MARGIN_MS);
                let late_now = chain_now.min(now) > latest;
                let had_time = attentive < latest;
                let good = channel.held.promised.min(channel.held.ceiling);
                let asked = self.released.redemptions.get(serial).copied().unwrap_or(0);
                assert!(
                    !(late_now && had_time) || asked >= good || channel.held.paid >= good,
                    "[I13] channel {serial}: {at_stake} at stake until {deadline}, and nobody redeems"
                );
            }
        }
    }

    /// Kinds of facts, for the summary.
    pub(crate) fn name_of(fact: &VaultFact) -> String {
        variant(&format!("{fact:?}"))
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
