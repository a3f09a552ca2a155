//! What must be true of the state between two batches.

use forebay_pool::{Rail, State, VaultFact, bounds};
use forebay_quantity::{AssetId, PeerId};

use super::{ANSWER_MARGIN_MS, ATTENTION_MS, Auditor, ROUNDED_MAX, plain, variant};
use crate::books::{PacketBook, signed};
use crate::chain::Chain;
use crate::lightning::Lightning;

impl Auditor {
    // What must be true of the state between two batches.

    pub(crate) fn check(
        &self,
        state: &State,
        (chain, lightning): (&Chain, Option<&Lightning>),
        caught_up: impl Fn(AssetId) -> bool,
    ) {
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
            match (asset.rail, lightning) {
                (Rail::Bitcoin { .. }, Some(lightning)) => self.check_bitcoin(state, lightning, id),
                (Rail::Vault, _) if caught_up(id) => self.check_vault(state, chain, id),
                _ => {}
            }
        }
    }

    pub(super) fn check_peers(&self, state: &State) {
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
                self.books.pending_from(id) + self.settling(state, id),
                "[I3] peer {id}: pending debits are its packets in flight, and what is being paid to it"
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

    fn settling(&self, state: &State, id: PeerId) -> i128 {
        let asset = state.peer(id).and_then(|peer| state.asset(peer.asset));
        let factor = asset.map_or(1, |asset| signed(asset.factor()));
        self.books.bitcoin.settling(id, factor)
    }

    pub(super) fn check_packets(&self, state: &State) {
        let in_state: Vec<u32> = {
            let mut ids: Vec<u32> = state.packets().map(|(id, _)| id.0).collect();
            ids.sort_unstable();
            ids
        };
        let in_books: Vec<u32> = self.books.packets.keys().copied().collect();
        assert_eq!(in_state, in_books, "[I3] packets in flight");
    }

    pub(super) fn check_bounds(&self, state: &State) {
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

    pub(super) fn check_vault(&self, state: &State, chain: &Chain, id: AssetId) {
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
    pub(super) fn check_claims(&self, state: &State, id: AssetId) {
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

    pub(super) fn assert_within_credit(&self, state: &State, id: PeerId) {
        let peer = state.peer(id).expect("it sent a packet");
        let book = &self.books.peers[usize::try_from(id.0).expect("u32 fits usize")];
        let left = book.claim() - self.books.pending_from(id) + signed(peer.policy.credit.value());
        assert!(
            left >= 0,
            "[I2] peer {id} is {} beyond what it secured and its credit, pending counted",
            -left
        );
    }

    pub(super) fn assert_next_hop_covered(&self, state: &State, id: PeerId, newest: i128) {
        let peer = state.peer(id).expect("it is sent a packet");
        let book = &self.books.peers[usize::try_from(id.0).expect("u32 fits usize")];
        let owed = book.claim() + self.books.pending_to(id) - signed(peer.prepaid.value());
        let headroom = self
            .books
            .channel_of(id)
            .filter(|(_, channel)| channel.close_deadline.is_none())
            .map_or(0, |(_, channel)| channel.headroom());
        let asset = state.asset(peer.asset).expect("a peer's asset is listed");
        let headroom = match asset.rail {
            Rail::Vault => headroom,
            Rail::Bitcoin { .. } => self.books.bitcoin.outbound(id) / signed(asset.factor()),
        };
        assert!(
            owed <= headroom || newest == 0,
            "[I15] peer {id} would be owed {owed}, and its lane or its channels guarantee {headroom}"
        );
    }

    pub(super) fn assert_lent_within_bound(&self, state: &State, packet: &PacketBook) {
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
    pub(super) fn assert_priced(&self, state: &State, packet: &PacketBook) {
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
