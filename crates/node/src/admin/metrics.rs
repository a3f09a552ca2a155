//! Figures for Prometheus, in its text format. Amounts are in whole units, written exactly.

use std::fmt::Write;

use forebay_api::{Asset, AssetBooks, Books, Peer, PeerChannel};
use forebay_quantity::Amount;

use super::Office;
use super::page::Asked;
use super::problem::No;
use super::{alarms, read};
use crate::core::{BUCKETS_US, Counted, Figures, ServingMode};
use crate::feed::whole;
use crate::wall;

/// Accounts and channels shown by name; more would make the text larger than what a scraper takes.
const SHOWN_MAX: usize = 1_000;

/// Everything, as of now.
pub(super) async fn print(office: &Office) -> Result<String, No> {
    let all = Asked {
        limit: SHOWN_MAX,
        after: None,
    };
    let books = read::books(office).await?;
    let assets = read::assets(office, all.clone()).await?.entries;
    let peers = read::all_peers(office, all.clone()).await?.entries;
    let channels = read::all_channels(office, all).await?.entries;
    let in_flight = office.core.query(|state| state.packets().count()).await?;
    let mut text = Text::default();
    of_process(&mut text, office, in_flight);
    of_packets(&mut text, &office.figures);
    of_journal(&mut text, &office.figures);
    of_books(&mut text, &books);
    of_prices(&mut text, &assets);
    of_peers(&mut text, &peers);
    of_channels(&mut text, &channels);
    of_alarms(&mut text, &alarms::all(office).await);
    of_interface(&mut text, office);
    Ok(text.0)
}

fn of_process(text: &mut Text, office: &Office, in_flight: usize) {
    let figures = &office.figures;
    let ready = figures.readiness.mode() == ServingMode::Serving;
    let version = env!("CARGO_PKG_VERSION");
    text.gauge("forebay_build_info", "Always 1; the version is a label.");
    text.line("forebay_build_info", &[("version", version)], 1);
    text.gauge("forebay_ready", "1 while packets are taken.");
    text.line("forebay_ready", &[], u8::from(ready));
    text.gauge("forebay_uptime_seconds", "Since the process started.");
    text.line(
        "forebay_uptime_seconds",
        &[],
        office.began.elapsed().as_secs(),
    );
    text.gauge("forebay_links_up", "Peers whose links are up.");
    text.line("forebay_links_up", &[], figures.connected.clone_set().len());
    text.gauge("forebay_packets_in_flight", "Prepared and not answered.");
    text.line("forebay_packets_in_flight", &[], in_flight);
}

fn of_packets(text: &mut Text, figures: &Figures) {
    let counters = [
        (
            "forebay_packets_accepted_total",
            "Prepares accepted.",
            &figures.accepted,
        ),
        (
            "forebay_packets_fulfilled_total",
            "Fulfillments relayed.",
            &figures.fulfilled,
        ),
        (
            "forebay_late_answers_total",
            "Answers to nothing that waits any more.",
            &figures.late_answers,
        ),
        (
            "forebay_unreadable_frames_total",
            "Frames of links that could not be read.",
            &figures.unreadable_frames,
        ),
        (
            "forebay_slow_links_total",
            "Links dropped because they read too slowly.",
            &figures.slow_links,
        ),
        (
            "forebay_bad_prices_total",
            "Price reports that could not be read or were refused.",
            &figures.bad_prices,
        ),
    ];
    for (name, about, count) in counters {
        text.counter(name, about);
        text.line(name, &[], count.value());
    }
    let name = "forebay_rejects_total";
    text.counter(
        name,
        "Rejects given to packets' senders, by ILP code and by who gave them.",
    );
    let origins = [
        ("pool", &figures.own_rejects),
        ("next_hop", &figures.relayed_rejects),
    ];
    for (origin, rejects) in origins {
        for (code, count) in rejects.by_code().filter(|(_, count)| *count > 0) {
            text.line(name, &[("code", &code), ("origin", origin)], count);
        }
    }
    text.histogram(
        "forebay_packet_latency_seconds",
        "How long frames of packets stayed in the pool, the sync included.",
        &figures.latency.counted(),
    );
}

fn of_journal(text: &mut Text, figures: &Figures) {
    let counters = [
        (
            "forebay_journal_syncs_total",
            "Batches made durable.",
            &figures.syncs,
        ),
        (
            "forebay_journal_records_total",
            "Events in them.",
            &figures.records,
        ),
        (
            "forebay_snapshots_total",
            "Snapshots written.",
            &figures.snapshots,
        ),
    ];
    for (name, about, count) in counters {
        text.counter(name, about);
        text.line(name, &[], count.value());
    }
    text.gauge("forebay_journal_frames", "The newest frame's number.");
    text.line("forebay_journal_frames", &[], figures.frames.value());
    text.histogram(
        "forebay_journal_sync_seconds",
        "How long an append with its sync took.",
        &figures.sync_time.counted(),
    );
}

/// Amounts of an asset's books with the metric that shows them.
type Shown = (&'static str, &'static str, fn(&AssetBooks) -> Amount);

const OF_BOOKS: &[Shown] = &[
    (
        "forebay_asset_vault",
        "Free money and allotments in the vault.",
        |books| books.vault.0,
    ),
    (
        "forebay_asset_reserves",
        "In the vault, or on covered vouchers of peers.",
        |books| books.reserves.0,
    ),
    (
        "forebay_asset_outstanding",
        "Lent by swaps, and owed by peers.",
        |books| books.outstanding.0,
    ),
    (
        "forebay_asset_claims",
        "Of notes, peers, vouchers and other assets.",
        |books| books.claims.0,
    ),
    ("forebay_asset_notes", "What notes may claim.", |books| {
        books.notes.0
    }),
    ("forebay_asset_shares", "First-loss capital.", |books| {
        books.shares.0
    }),
    (
        "forebay_asset_fees",
        "Fees not paid to notes yet.",
        |books| books.fees.0,
    ),
    (
        "forebay_asset_fees_earned",
        "Fees over the pool's life.",
        |books| books.fees_earned.0,
    ),
    (
        "forebay_asset_owed_to_peers",
        "What the pool owes peers for packets.",
        |books| books.owed_to_peers.0,
    ),
    (
        "forebay_asset_owed_by_peers",
        "What peers owe the pool for packets.",
        |books| books.owed_by_peers.0,
    ),
    (
        "forebay_asset_vouchers_held",
        "Vouchers of peers, not redeemed.",
        |books| books.vouchers_held.0,
    ),
    (
        "forebay_asset_vouchers_out",
        "Vouchers to peers, not redeemed.",
        |books| books.vouchers_out.0,
    ),
    (
        "forebay_asset_lent",
        "What swaps lent out of this asset.",
        |books| books.lent.0,
    ),
    (
        "forebay_asset_stolen_key_cost",
        "What a stolen operator key would cost now.",
        |books| books.stolen_key_cost.0,
    ),
];

fn of_books(text: &mut Text, books: &Books) {
    for (name, about, amount) in OF_BOOKS {
        text.gauge(name, &format!("{about} In whole units."));
        for asset in &books.assets {
            let value = whole(amount(asset), asset.scale);
            text.line(name, &[("asset", &asset.code)], value);
        }
    }
    let chain = [
        (
            "forebay_asset_free",
            "Free money in the vault. In whole units.",
            (|books| books.chain_free.0) as fn(&AssetBooks) -> Amount,
        ),
        (
            "forebay_asset_allotted",
            "Remaining allotments. In whole units.",
            |books| books.chain_allotted.0,
        ),
        (
            "forebay_asset_reserved",
            "In the reserve on Bitcoin. In whole units.",
            |books| books.chain_reserved.0,
        ),
    ];
    for (name, about, amount) in chain {
        text.gauge(name, about);
        for asset in &books.assets {
            let value = whole(amount(asset), asset.chain_scale);
            text.line(name, &[("asset", &asset.code)], value);
        }
    }
    let name = "forebay_asset_coverage_ratio";
    text.gauge(
        name,
        "Reserves and what is outstanding for each one claimed.",
    );
    for asset in &books.assets {
        if let Some(ppm) = asset.coverage_ppm {
            let ratio = whole(Amount::new(ppm.into()), 6);
            text.line(name, &[("asset", &asset.code)], ratio);
        }
    }
    text.gauge("forebay_books_balanced", "1 while debits equal credits.");
    text.line("forebay_books_balanced", &[], u8::from(books.balanced));
    let gas = [
        (
            "forebay_chain_gas_money",
            "The operator's balance, in whole coins.",
            true,
        ),
        (
            "forebay_chain_gas_reserved",
            "Set aside for open channels, in whole coins.",
            false,
        ),
    ];
    for (name, about, has) in gas {
        text.gauge(name, about);
        for chain in &books.chains {
            let wei = if has {
                chain.gas_money
            } else {
                chain.gas_reserved
            };
            let id = chain.chain_id.to_string();
            text.line(name, &[("chain_id", &id)], whole(wei.0, 18));
        }
    }
}

fn of_prices(text: &mut Text, assets: &[Asset]) {
    let now = wall::now().0;
    text.gauge(
        "forebay_asset_quoted",
        "1 while the asset has a believed price.",
    );
    for asset in assets {
        let quoted = u8::from(asset.price.is_some());
        text.line("forebay_asset_quoted", &[("asset", &asset.code)], quoted);
    }
    text.gauge(
        "forebay_asset_price",
        "The believed price, in reference units for a whole one.",
    );
    for asset in assets {
        if let Some(price) = &asset.price {
            text.line("forebay_asset_price", &[("asset", &asset.code)], price);
        }
    }
    let name = "forebay_price_age_seconds";
    text.gauge(name, "How old each source's last report is.");
    for asset in assets {
        for source in &asset.sources {
            let age_ms = now.saturating_sub(source.at_ms);
            let (number, age) = (
                source.source.to_string(),
                whole(Amount::new(age_ms.into()), 3),
            );
            text.line(name, &[("asset", &asset.code), ("source", &number)], age);
        }
    }
}

fn of_peers(text: &mut Text, peers: &[Peer]) {
    let live = || peers.iter().filter(|peer| !peer.removed);
    text.gauge("forebay_peer_link_up", "1 while the peer's link is up.");
    for peer in live() {
        let up = u8::from(peer.connected);
        text.line("forebay_peer_link_up", &labels(peer), up);
    }
    let name = "forebay_peer_owed";
    text.gauge(
        name,
        "What the pool owes a peer for packets; below zero what it owes the pool. In whole units.",
    );
    for peer in live() {
        let owed = match peer.owed_to_pool.0.is_zero() {
            true => whole(peer.owed_to_peer.0, peer.scale),
            false => format!("-{}", whole(peer.owed_to_pool.0, peer.scale)),
        };
        text.line(name, &labels(peer), owed);
    }
    text.gauge("forebay_peer_in_flight", "Packets of a peer in flight.");
    for peer in live() {
        text.line("forebay_peer_in_flight", &labels(peer), peer.in_flight);
    }
}

fn labels(peer: &Peer) -> [(&'static str, &str); 2] {
    [("peer", &peer.name), ("asset", &peer.asset)]
}

/// An amount of a channel with the metric that shows it.
type OfChannel = (&'static str, &'static str, fn(&PeerChannel) -> Amount);

const OF_CHANNELS: &[OfChannel] = &[
    (
        "forebay_channel_allotment",
        "What the pool's lane may still pay.",
        |channel| {
            channel
                .channel
                .pool
                .ceiling
                .0
                .saturating_sub(channel.channel.pool.paid.0)
        },
    ),
    (
        "forebay_channel_allotment_unpromised",
        "Of that, what no voucher promises.",
        |channel| {
            channel
                .channel
                .pool
                .ceiling
                .0
                .saturating_sub(channel.channel.pool.promised.0)
        },
    ),
    (
        "forebay_channel_deposit",
        "What the peer's lane may still pay.",
        |channel| {
            channel
                .channel
                .peer
                .ceiling
                .0
                .saturating_sub(channel.channel.peer.paid.0)
        },
    ),
    (
        "forebay_channel_redeemable",
        "The peer's vouchers that are not redeemed.",
        |channel| {
            channel
                .channel
                .peer
                .promised
                .0
                .saturating_sub(channel.channel.peer.paid.0)
        },
    ),
];

fn of_channels(text: &mut Text, channels: &[PeerChannel]) {
    for (name, about, amount) in OF_CHANNELS {
        text.gauge(name, &format!("{about} In whole units."));
        for channel in channels {
            let value = whole(amount(channel), channel.chain_scale);
            let serial = channel.channel.serial.to_string();
            let labels = [
                ("peer", channel.peer.as_str()),
                ("asset", &channel.asset),
                ("serial", &serial),
            ];
            text.line(name, &labels, value);
        }
    }
}

fn of_alarms(text: &mut Text, alarms: &[forebay_api::Alarm]) {
    text.gauge("forebay_alarms", "What needs somebody now.");
    text.line("forebay_alarms", &[], alarms.len());
    text.gauge("forebay_alarm", "1 for each thing that needs somebody.");
    for alarm in alarms {
        let labels = [("kind", alarm.kind.as_str()), ("subject", &alarm.subject)];
        text.line("forebay_alarm", &labels, 1);
    }
}

fn of_interface(text: &mut Text, office: &Office) {
    let figures = &office.figures;
    let name = "forebay_api_requests_total";
    text.counter(
        name,
        "Requests to this interface, by operation and HTTP status.",
    );
    for ((operation, status), count) in office.asks.all() {
        let (operation, status) = (format!("{operation:?}"), status.to_string());
        text.line(
            name,
            &[("operation", &operation), ("status", &status)],
            count,
        );
    }
    let counters = [
        (
            "forebay_feed_missed_total",
            "Batches of events that the live feed was too slow to take.",
            &figures.feed_missed,
        ),
        (
            "forebay_slow_readers_total",
            "Streams of events ended because they were read too slowly.",
            &figures.slow_readers,
        ),
    ];
    for (name, about, count) in counters {
        text.counter(name, about);
        text.line(name, &[], count.value());
    }
}

/// Text in the making.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    fn gauge(&mut self, name: &str, about: &str) {
        self.head(name, "gauge", about);
    }

    fn counter(&mut self, name: &str, about: &str) {
        self.head(name, "counter", about);
    }

    fn head(&mut self, name: &str, kind: &str, about: &str) {
        self.write(format_args!(
            "# HELP {name} {about}\n# TYPE {name} {kind}\n"
        ));
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            self.write(format_args!("{open}{label}=\"{text}\""));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.write(format_args!("{close} {value}\n"));
    }

    fn histogram(&mut self, name: &str, about: &str, counted: &Counted) {
        self.head(name, "histogram", about);
        let bucket = format!("{name}_bucket");
        let mut so_far = 0;
        for (count, end) in counted.buckets.iter().zip(BUCKETS_US) {
            so_far += count;
            self.line(&bucket, &[("le", &seconds(end))], so_far);
        }
        self.line(&bucket, &[("le", "+Inf")], counted.count());
        self.line(&format!("{name}_sum"), &[], seconds(counted.sum_us));
        self.line(&format!("{name}_count"), &[], counted.count());
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.0
            .write_fmt(text)
            .expect("a string takes every character");
    }
}

fn seconds(microseconds: u64) -> String {
    whole(Amount::new(microseconds.into()), 6)
}
